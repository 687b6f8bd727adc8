"""A table of arithmetic that rounds where a program of some precision rounds, made in the ways that correct programs differ in.

A value that is stored between two ops has the format `stored`. Inside an op everything is float32, and the result is rounded
once: so compute PyTorch's and most devices' kernels. An op in `stepwise` is made of smaller ones, each of which rounds to the
stored format, as transformers' gelu_new is in PyTorch. Products of matrices are added in the order, and in the accumulator, of
`summation`.

float32 is also how an op of fewer digits is computed: to round a float32 sum, product, quotient or root to bfloat16 or float16
gives what one rounding of the exact result would, because 24 ≥ 2·11 + 2 (Figueroa 1995).

`forward` runs a whole model. `fused` names what the program fuses: there the next op reads what was never rounded, while the
recorded value is a rounded copy of it, as a fused kernel's debug output is.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from albert_np.activations import SQRT_2_OVER_PI
from albert_np.golden.graph import Step, evaluate
from albert_np.golden.measures.formats import FLOAT32, FLOAT64, Format, Rounding
from albert_np.golden.twin.functions import EXACT, Function
from albert_np.golden.twin.summation import Summation
from albert_np.ops import Array, MaskMode, distances, merge_heads, split_heads

STEPWISE = ("add", "linear", "layer_norm", "scores", "probs", "activation")  # ops that smaller ones may make up
# what may be fused -> (op, the op that reads it), between which nothing is rounded
FUSIONS: dict[str, set[tuple[str, str]]] = {
    "attention": {("scores", "probs"), ("probs", "context")},
    "flash": {("scores", "probs"), ("probs", "context")},  # … and context comes from unnormalised probabilities
    "activation": {("linear", "activation"), ("linear", "tanh")},
    "residual": {("gather", "add"), ("linear", "add"), ("add", "layer_norm")},
}
LOG2_E = math.log2(math.e)
SUMMATION = Summation()  # NumPy's own, in float32


@dataclass(frozen=True)
class Program:
    """One way to compute ALBERT. It has the methods of arithmetic.Table."""

    stored: Format = FLOAT32
    summation: Summation = SUMMATION
    multiply: Format | None = None  # what the operands of a product of matrices are rounded to first: tf32
    quantised: Format | Literal["int8"] | None = None  # … or, in linear, scaled by rows to this small format
    rounding: Rounding = "nearest"
    flush: bool = False  # subnormals are zero
    round_weights: bool = True  # weights are stored in `stored` too; else as they come
    stepwise: frozenset[str] = frozenset()
    fused: frozenset[str] = frozenset()
    functions: Mapping[str, Function] = field(default_factory=lambda: EXACT)

    gelu: Literal["tanh", "sigmoid"] = "tanh"  # ½x(1 + tanh u), or x·σ(2u)
    norm: Literal["rsqrt", "divide", "shifted"] = (
        "rsqrt"  # (x − m)·r, (x − m)/√v, or x·r − m·r, which PyTorch's CPU has
    )
    reciprocal: bool = False  # e·(1/Σ) in place of e/Σ
    base_2: bool = False  # exp(x) as 2^(x·log₂e)
    online: int | None = None  # the softmax's sum in blocks of keys, rescaled whenever a larger score comes
    mask: Literal["lowest", "-10000", "-inf"] = "lowest"
    scale: Literal["divide", "multiply", "query"] = "divide"  # by √D, by 1/√D, or the query before the product
    bias_first: bool = False  # the bias is where the sum begins
    contract: bool = False  # x·w + b of a LayerNorm in one rounding

    reads: bool = True  # arrays that come in are rounded to `stored` first
    writes: bool = True  # … and results

    # --- rounding ------------------------------------------------------------------------------------------------------

    def store(self, x: Array) -> Array:  # (...) -> (...)
        """x as it is stored between two ops."""
        return self.stored.round(x, self.rounding, flush=self.flush).astype(self._dtype, copy=False)

    @property
    def _dtype(self) -> type[np.floating]:
        return np.float64 if FLOAT64 in (self.stored, self.summation.accumulate) else np.float32

    def _read(self, x: Array) -> Array:
        return self.store(np.asarray(x)) if self.reads else np.asarray(x).astype(self._dtype, copy=False)

    def _read_weight(self, x: Array) -> Array:
        return self._read(x) if self.round_weights else np.asarray(x).astype(self._dtype, copy=False)

    def _write(self, x: Array) -> Array:
        return self.store(x) if self.writes else x.astype(self._dtype, copy=False)

    def _inside(self, op: str) -> Callable[[Array], Array]:
        """What rounds the steps inside an op."""
        if op in self.stepwise:
            return self.store
        if self.flush and self._dtype is np.float32:
            return functools.partial(FLOAT32.round, flush=True)
        return lambda x: x.astype(self._dtype, copy=False)

    def _function(self, name: str, x: Array) -> Array:
        return self.functions[name](x.astype(np.float64)).astype(self._dtype)

    def _operand(self, x: Array) -> Array:
        return x if self.multiply is None else self.multiply.round(x, self.rounding).astype(self._dtype, copy=False)

    def _dot(self, a: Array, b: Array) -> Array:
        return self.summation.dot(self._operand(a), self._operand(b)).astype(self._dtype, copy=False)

    def _total(self, x: Array) -> Array:
        return self.summation.total(x).astype(self._dtype, copy=False)

    def _multiply_add(self, x: Array, weight: Array, bias: Array, r: Callable[[Array], Array]) -> Array:
        if self.contract:
            return r((x.astype(np.float64) * weight + bias).astype(self._dtype))
        return r(r(x * weight) + bias)

    # --- the table -----------------------------------------------------------------------------------------------------

    def gather(self, ids: Array, table: Array) -> Array:  # (...) int, (V,E) -> (...,E)
        """Rows of the table."""
        return self._write(self._read_weight(table[ids]))

    @np.errstate(all="ignore")
    def add(self, *terms: Array) -> Array:  # (...) -> (...)
        """The sum, from left to right."""
        r = self._inside("add")
        return self._write(functools.reduce(lambda a, b: r(a + b), map(self._read, terms)))

    @np.errstate(all="ignore")
    def linear(  # (...,in), (out,in), (out,) -> (...,out)
        self, x: Array, weight: Array, bias: Array, *, first_token: bool = False
    ) -> Array:
        """x·Wᵀ + b; with first_token, of each sequence's first token alone."""
        r, x = self._inside("linear"), self._read(x[:, 0] if first_token else x)
        weight, bias = self._read_weight(weight), self._read_weight(bias)
        rows = x.reshape(-1, x.shape[-1])
        if self.quantised is not None:
            product = self._quantised_dot(rows, weight)
        elif self.bias_first:
            ones = np.ones((len(rows), 1), rows.dtype)
            first = np.concatenate([ones, self._operand(rows)], axis=1)
            second = np.concatenate([bias[None], self._operand(weight).T])
            return self._write(self.summation.dot(first, second).reshape(*x.shape[:-1], len(weight)))
        else:
            product = self._dot(rows, weight.T)
        return self._write(r(r(product) + bias).reshape(*x.shape[:-1], len(weight)))

    def _quantised_dot(self, x: Array, weight: Array) -> Array:  # (M,K), (N,K) -> (M,N)
        """Each row of x and of the weight is scaled so that its largest entry is the small format's largest number."""
        (small_x, scale_x), (small_w, scale_w) = self._quantise(x), self._quantise(weight)
        return (self.summation.dot(small_x, small_w.T) * scale_x * scale_w.T).astype(self._dtype, copy=False)

    def _quantise(self, x: Array) -> tuple[Array, Array]:  # (M,K) -> (M,K), (M,1)
        small = self.quantised
        assert small is not None
        largest = np.max(np.abs(x), axis=-1, keepdims=True)
        scale = np.where(largest == 0, 1, largest / (127 if small == "int8" else small.largest)).astype(x.dtype)
        scaled = x / scale
        if small == "int8":
            return np.clip(np.rint(scaled), -127, 127), scale
        return small.round(np.clip(scaled, -small.largest, small.largest), self.rounding), scale

    @np.errstate(all="ignore")
    def layer_norm(self, x: Array, weight: Array, bias: Array, *, eps: float) -> Array:  # (...,H) -> (...,H)
        """(x − mean)/√(variance + ε)·weight + bias; the variance from the centred row."""
        r, x = self._inside("layer_norm"), self._read(x)
        weight, bias = self._read_weight(weight), self._read_weight(bias)
        mean = r(self._total(x) / x.shape[-1])
        centred = r(x - mean)
        inside = r(r(self._total(r(centred * centred)) / x.shape[-1]) + self._dtype(eps))
        if self.norm == "divide":
            normalised = r(centred / r(np.sqrt(inside)))
        else:
            inverse = r(self._function("rsqrt", inside))
            normalised = r(centred * inverse)
            if self.norm == "shifted":
                normalised = self._multiply_add(x, inverse, r(-mean * inverse), r)
        return self._write(self._multiply_add(normalised, weight, bias, r))

    @np.errstate(all="ignore")
    def mean(self, x: Array) -> Array:  # (...,H) -> (...,1)
        """LayerNorm's mean."""
        return self._write(self._total(self._read(x)) / x.shape[-1])

    @np.errstate(all="ignore")
    def variance(self, x: Array) -> Array:  # (...,H) -> (...,1)
        """LayerNorm's variance."""
        r, x = self._inside("layer_norm"), self._read(x)
        centred = r(x - r(self._total(x) / x.shape[-1]))
        return self._write(self._total(r(centred * centred)) / x.shape[-1])

    def heads(self, x: Array, *, num_heads: int) -> Array:  # (B,T,H) -> (B,N,T,D)
        """The heads apart."""
        return self._write(split_heads(self._read(x), num_heads))

    @np.errstate(all="ignore")
    def scores(  # 2 × (B,T,H), (2P−1,D) -> (B,N,T,T)
        self,
        query: Array,
        key: Array,
        distance_table: Array | None = None,
        *,
        num_heads: int,
        position_type: str = "absolute",
    ) -> Array:
        """q·kᵀ/√D, and what relative positions add."""
        r = self._inside("scores")
        q, k = (split_heads(self._read(x), num_heads) for x in (query, key))
        root = self._dtype(math.sqrt(q.shape[-1]))
        if self.scale == "query":
            scores = r(self._dot(r(q / root), k.swapaxes(-1, -2)))
        else:
            product = r(self._dot(q, k.swapaxes(-1, -2)))
            scores = r(product / root if self.scale == "divide" else product * (1 / root))
        if position_type != "absolute":
            assert distance_table is not None
            table, T = self._read_weight(distance_table), q.shape[2]
            a = table[distances(T, len(table), None)]  # (T,T,D): row i, column j holds a[i−j]
            by_query = self._dot(q[:, :, :, None], a.swapaxes(-1, -2))[:, :, :, 0]  # (B,N,T,1,D)·(T,D,T)
            scores = r(scores + r(by_query))
            if position_type == "relative_key_query":
                by_key = self._dot(k[:, :, :, None], a.transpose(1, 2, 0))[:, :, :, 0]  # (B,N,Tj,1,D)·(Tj,D,Ti)
                scores = r(scores + r(by_key.swapaxes(-1, -2)))
        return self._write(scores)

    @np.errstate(all="ignore")
    def masked_scores(self, scores: Array, allowed: Array) -> Array:  # (B,N,T,T), (B,1,1|T,T) bool -> (B,N,T,T)
        """The scores, and the mask's value where a query may not look."""
        return self._write(self._masked(self._read(scores), allowed, self._inside("probs")))

    def _masked(self, scores: Array, allowed: Array, r: Callable[[Array], Array]) -> Array:
        if self.mask == "-inf":
            return np.where(allowed, scores, self._dtype(-np.inf))
        value = self._dtype(-10000 if self.mask == "-10000" else -self.stored.largest)
        return np.where(allowed, scores, r(scores + value))

    @np.errstate(all="ignore")
    def probs(  # (B,N,T,T), (B,1,1|T,T) bool, (N,) -> (B,N,T,T)
        self, scores: Array, allowed: Array, head_mask: Array | None = None, *, mask_mode: MaskMode = "uniform"
    ) -> Array:
        """Softmax over the keys that a query may attend to, times the factors of the heads."""
        r = self._inside("probs")
        masked = self._masked(self._read(scores), allowed, r)
        largest, total = self._normaliser(masked, r)
        e = self._exp(r(masked - largest), r)
        probs = r(e * r(1 / total)) if self.reciprocal else r(e / total)
        probs = self._of_nothing(probs, allowed, mask_mode)
        return self._write(probs if head_mask is None else r(probs * self._read(head_mask)[:, None, None]))

    def _normaliser(self, masked: Array, r: Callable[[Array], Array]) -> tuple[Array, Array]:  # (...,T) -> 2 × (...,1)
        """The largest score, and the sum of all exp(score − largest)."""
        step = self.online or masked.shape[-1]
        largest, total = self._largest(masked[..., :step]), np.zeros((), self._dtype)
        for first in range(0, masked.shape[-1], step):
            block, before = masked[..., first : first + step], largest
            largest = np.maximum(before, self._largest(block))
            here = r(self._total(self._exp(r(block - largest), r)))
            total = here if first == 0 else r(r(total * self._exp(r(before - largest), r)) + here)
        return largest, total

    @staticmethod
    def _largest(scores: Array) -> Array:
        largest = np.max(scores, axis=-1, keepdims=True)
        return np.where(np.isneginf(largest), np.finfo(largest.dtype).min, largest)  # a row, or a block, that is masked

    def _exp(self, x: Array, r: Callable[[Array], Array]) -> Array:
        if not self.base_2:
            return r(self._function("exp", x))
        return r(self._function("exp", r(x * self._dtype(LOG2_E)).astype(np.float64) * math.log(2)))

    def _of_nothing(self, probs: Array, allowed: Array, mask_mode: MaskMode) -> Array:
        """The row of a query that may attend to nothing: what a mask's value happens to do there is no arithmetic."""
        value = {"uniform": 1 / probs.shape[-1], "zeros": 0.0, "nan": np.nan}[mask_mode]
        return np.where(np.any(allowed, axis=-1, keepdims=True), probs, self._dtype(value))

    @np.errstate(all="ignore")
    def context(self, probs: Array, value: Array, *, num_heads: int) -> Array:  # (B,N,T,T), (B,T,H) -> (B,T,H)
        """Each query's mixture of the values, the heads side by side."""
        return self._write(merge_heads(self._dot(self._read(probs), split_heads(self._read(value), num_heads))))

    @np.errstate(all="ignore")
    def flash(  # (B,N,T,T), (B,1,1|T,T) bool, (B,T,H) -> (B,T,H)
        self, scores: Array, allowed: Array, value: Array, head_mask: Array | None, num_heads: int, mask_mode: MaskMode
    ) -> Array:
        """The context by blocks of keys, of probabilities that are divided by their sum only at the end (Dao et al. 2022)."""
        r, v = self._inside("probs"), split_heads(self._read(value), num_heads)
        masked = self._masked(self._read(scores), allowed, r)
        step = self.online or masked.shape[-1]
        largest, total = self._largest(masked[..., :step]), np.zeros((), self._dtype)
        mixed = np.zeros((), self._dtype)
        for first in range(0, masked.shape[-1], step):
            block, before = masked[..., first : first + step], largest
            largest = np.maximum(before, self._largest(block))
            e, old = self._exp(r(block - largest), r), self._exp(r(before - largest), r)
            total = r(r(total * old) + r(self._total(e)))
            mixed = r(r(mixed * old) + self._dot(e, v[..., first : first + step, :]))
        context = r(mixed * r(1 / total)) if self.reciprocal else r(mixed / total)
        nothing = {"uniform": np.mean(v, axis=-2, keepdims=True), "zeros": 0.0, "nan": np.nan}[mask_mode]
        context = np.where(np.any(allowed, axis=-1, keepdims=True), context, nothing).astype(self._dtype)
        if head_mask is not None:
            context = r(context * self._read(head_mask)[:, None, None])
        return self._write(merge_heads(context))

    @np.errstate(all="ignore")
    def activation(self, x: Array, *, name: str) -> Array:  # (...) -> (...)
        """The activation that the config names."""
        r, x = self._inside("activation"), self._read(x)
        if name in ("gelu_new", "gelu_pytorch_tanh", "gelu_fast"):
            u = r(self._dtype(SQRT_2_OVER_PI) * r(x + r(self._dtype(0.044715) * r(x * x * x))))
            if self.gelu == "sigmoid":
                return self._write(r(x * self._sigmoid(r(2 * u), r)))
            return self._write(r(r(x / 2) * r(1 + r(self._function("tanh", u)))))
        if name in ("gelu", "gelu_python"):
            return self._write(r(r(x / 2) * r(1 + r(self._function("erf", r(x * self._dtype(math.sqrt(0.5))))))))
        if name in ("silu", "swish"):
            return self._write(r(x * self._sigmoid(x, r)))
        if name == "tanh":
            return self.tanh(x)
        return self._write(np.maximum(x, 0))

    def _sigmoid(self, x: Array, r: Callable[[Array], Array]) -> Array:
        return r(1 / r(1 + self._exp(-x, r)))

    @np.errstate(all="ignore")
    def tanh(self, x: Array) -> Array:  # (...) -> (...)
        """The pooler's."""
        return self._write(self._function("tanh", self._read(x)))

    # --- whole models --------------------------------------------------------------------------------------------------

    def forward(
        self, steps: list[Step], batch: Mapping[str, Array], weights: Mapping[str, Array], *, beside: bool = False
    ) -> dict[str, Array]:
        """Every step's value by name, as graph.run gives them, with what is fused kept wide between its ops.

        The values are those that are stored: of a fused step, a rounded copy of what the next op read.
        """
        inside = replace(self, reads=False, writes=False)
        weights = {name: self._read_weight(x) for name, x in weights.items()}
        known = {name: self.store(x) if x.dtype.kind == "f" else x for name, x in batch.items()}
        wide = unrounded(steps, self.fused)
        values: dict[str, Array] = {}
        for one in steps:
            if one.beside and not beside:
                continue
            if one.op == "context" and "flash" in self.fused:
                x = inside._flash_of(one, steps, known)
            else:
                x = evaluate(one, known, weights, inside)
            values[one.name] = self.store(x)
            known[one.name] = x if one.name in wide else values[one.name]
        return values

    def _flash_of(self, one: Step, steps: list[Step], known: Mapping[str, Array]) -> Array:
        """The context, from what its probs were made of."""
        probs = next(other for other in steps if other.name == one.inputs[0])
        scores, allowed, *head_mask = (known[name] for name in probs.inputs)
        return self.flash(
            scores,
            allowed,
            known[one.inputs[1]],
            head_mask[0] if head_mask else None,
            one.attributes["num_heads"],
            probs.attributes["mask_mode"],
        )


def unrounded(steps: list[Step], fused: Iterable[str]) -> set[str]:
    """The steps whose values a program that fuses this never rounds: all their readers are in the same kernel."""
    edges = set().union(*(FUSIONS[name] for name in fused))
    readers: dict[str, list[str]] = {}
    for one in steps:
        if not one.beside:
            for name in one.inputs:
                readers.setdefault(name, []).append(one.op)
    return {
        one.name
        for one in steps
        if one.name in readers and all((one.op, reader) in edges for reader in readers[one.name])
    }
