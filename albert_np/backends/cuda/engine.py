"""A call on the GPU: the same maths as embeddings.py, encoder.py and heads.py, without a way back between ids and logits.

The rows of all sequences lie end to end, padded ones only where they are asked for. A layer is the seven steps of
backends/cpu/engine.py, each one kernel, or two where a matrix product is split:

    qkv      = x·[Wq Wk Wv] + b          one product instead of three
    context  = attention(qkv)            without its scores in memory; in bfloat16 qkv, context and wide are nothing else,
                                         and beside embedded, x and attended lies a copy in it, for products to read
    y        = context·Wo + b + x
    attended = LayerNorm(y)
    wide     = gelu(attended·W1 + b)
    y        = wide·W2 + b + attended
    x        = LayerNorm(y)

A plan, the launches with all their numbers, is kept for each shape of batch while memory lies where it did; what changes from
call to call, ids, types, positions, masks, goes up in one piece.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from albert_np.backends import cuda
from albert_np.backends import numpy as reference
from albert_np.backends.cuda.arrays import FLOAT, Block, DeviceArray, Layout
from albert_np.backends.cuda.ops import INT, CudaOps, Rows, canonical
from albert_np.backends.cuda.precision import row_of
from albert_np.backends.cuda.program import (
    Heads,
    Program,
    Related,
    Tap,
    add_attention,
    add_layer_norm,
    add_linear,
    add_rounding,
    add_scores,
    is_fused,
    is_tensor_fused,
    split_sums,
)
from albert_np.config import AlbertConfig
from albert_np.encoder import applications, step
from albert_np.inputs import Inputs
from albert_np.kernels.cuda import device
from albert_np.kernels.cuda.embeddings import COPIED, embed, spread_rows
from albert_np.kernels.cuda.kernel import Buffer, OutOfMemoryError, ceil_div
from albert_np.kernels.cuda.rows import row_of as lanes_of
from albert_np.ops import Array, MaskMode
from albert_np.outputs import ModelOutput
from albert_np.run import Encoded, Head, Run, Trace, Wanted, WantedGradients, Weights

PLANS = 16  # kept, for so many shapes of batch
LOGITS = ("classifier", "qa_outputs", "predictions.decoder", "sop_classifier.classifier")

# the steps of encoder.py and embeddings.py that are no step of their own here
ABSENT = {
    "embeddings.sum": "the sum of the embeddings and its LayerNorm are one kernel",
    "attention.scores": "attention is one kernel, which never has all scores in memory",
    "attention.probs": "attention is one kernel, which never has all probabilities in memory",
    "attention.dense": "the product, its bias and the residual are one kernel, which gives encoder.layer.….attention.sum",
    "ffn": "the product, its bias and the activation are one kernel",
    "ffn_output": "the product, its bias and the residual are one kernel, which gives encoder.layer.….sum",
}


@dataclass(frozen=True)
class DeviceRun(Run):
    """Lets a head run on the GPU. Its logits come down where they are wanted as NumPy arrays, and so does all for a trace."""

    downloads: bool = True

    def record(self, name: str, x: Any) -> Any:
        here = x.numpy() if isinstance(x, DeviceArray) and (self.trace is not None or name in LOGITS) else x
        super().record(name, here)
        return here if self.downloads and name in LOGITS else x


class CudaEngine:
    """See protocol.Engine. It computes no gradients and no dropout; trace="unfused" goes op by op, carried up and down."""

    outputs = ("numpy", "device")

    def __init__(self, w: Weights, config: AlbertConfig, dtype: str) -> None:
        self.w, self.config, self.dtype = w, config, dtype
        self.ops = CudaOps(dtype)

    def forward(self, batch: Inputs, head: Head, wanted: Wanted) -> ModelOutput:
        if wanted.rng is not None:
            raise ValueError("backend 'cuda' computes no dropout: leave out training=True, or choose backend='numba'")
        if wanted.trace == "unfused":
            run = Run(self.ops, self.config, trace=Trace(cuda.NAME, self.dtype))
            return reference.answer(run, head, reference.encode(run, self.w, batch, wanted))
        trace = Trace(cuda.NAME, self.dtype, ABSENT) if wanted.trace else None
        run = DeviceRun(self.ops, self.config, trace=trace, downloads=not wanted.on_device)
        try:
            with self.ops.lock:
                return self._answer(run, batch, head, wanted)
        except OutOfMemoryError as error:
            B, T = batch.shape
            raise ValueError(
                f"{B} sequences of {T} tokens need {error.nbytes:,} bytes of GPU memory more than there are: run fewer at a "
                "time, or ask for fewer outputs (logits_positions, no attentions, no hidden states)"
            ) from error

    def _answer(self, run: Run, batch: Inputs, head: Head, wanted: Wanted) -> ModelOutput:
        encoded = encode(self.ops, self.w, self.config, batch, wanted, run.trace)
        hidden = Rows(self.ops, encoded.hidden)  # a head asks no more of it than indexing, and hands it on to ops
        out = reference.answer(run, head, replace(encoded, hidden=hidden))
        for field in fields(out):  # type: ignore[arg-type]  # every output is a dataclass
            x = getattr(out, field.name)
            if x is hidden:
                x = encoded.hidden
            if field.name != "trace":
                setattr(out, field.name, x if wanted.on_device else _downloaded(x))
        return out

    def loss_and_gradients(self, batch: Inputs, head: Head, wanted: WantedGradients) -> Any:
        raise ValueError("backend 'cuda' computes no gradients: choose backend='numba'")

    def forget_weights(self, w: Weights) -> None:
        self.ops.forget_weights()
        self.w = w


def _downloaded(x: Any) -> Any:
    if isinstance(x, tuple):
        return tuple(_downloaded(one) for one in x)
    return x.numpy() if isinstance(x, DeviceArray) else x


@dataclass(frozen=True)
class Shape:
    """What a plan depends on."""

    B: int
    T: int
    rows: int
    longest: int  # rows of a sequence
    lengths: tuple[int, ...]  # rows of each sequence, where they are attended to one by one
    embeds: bool
    mask: str
    mode: MaskMode
    factors: bool
    skip_padding: bool
    hidden_states: bool
    attentions: bool


def encode(  # (B,T) -> (B,T,H)
    ops: CudaOps, w: Weights, config: AlbertConfig, batch: Inputs, wanted: Wanted, trace: dict[str, Array] | None = None
) -> Any:
    """Encoded, of DeviceArrays, in memory that no call writes to while somebody holds it; zeros where nothing was computed."""
    B, T = batch.shape
    skip_padding = wanted.skip_padding
    mask = "none" if skip_padding or batch.mask.all() else "keys" if batch.mask.ndim == 2 else "pairs"
    lengths = tuple(batch.mask.sum(axis=1).tolist()) if skip_padding else (T,) * B
    shape = Shape(
        B,
        T,
        sum(lengths),
        max(lengths),
        (),
        batch.input_ids is None,
        mask,
        wanted.mask_mode,
        batch.head_mask is not None,
        skip_padding,
        wanted.hidden_states,
        wanted.attentions,
    )
    if skip_padding and not is_fused(*_attention_of(config, shape)):
        shape = replace(shape, lengths=lengths)
    given, work, outputs = _given(config, batch, shape, lengths), Layout(), Layout()
    for name, x in given.items():
        work.add(name, x.shape, x.dtype)
    packed = work.packed(given)
    _lay_out(work, outputs, config, shape, ops.kind)
    block, kept = ops.pool.take(work.nbytes), ops.pool.take(outputs.nbytes)
    block.memory.write(0, packed)
    key = (shape, block.memory.address, kept.memory.address)
    buffers = work.buffers(block) | outputs.buffers(kept)
    plan = ops.plans.pop(key, None)
    if plan is None:
        plan = Program()
        _Writer(plan, ops, config, shape, buffers).write(w)
    ops.plans[key] = plan  # the last one used stands last
    while len(ops.plans) > PLANS:
        del ops.plans[next(iter(ops.plans))]
    if trace is None:
        plan.run()
    else:

        def look(tap: Tap) -> None:
            trace[tap.name] = tap.read(buffers[tap.array], shape.rows).reshape(B, T, tap.columns)

        plan.run_and_look(look)
    device.synchronize()
    return _states(config, batch, shape, kept, outputs)


def _given(config: AlbertConfig, batch: Inputs, shape: Shape, lengths: tuple[int, ...]) -> dict[str, Array]:
    """What goes up: a row each of real tokens, end to end."""
    B, T = shape.B, shape.T
    places = np.flatnonzero(batch.mask) if shape.skip_padding else None

    def flat(x: Array) -> Array:  # (B|1,T) -> (R,) int32
        rows = np.broadcast_to(x, (B, T)).reshape(-1)
        return np.ascontiguousarray(rows if places is None else rows[places], INT)

    given = {
        "token_types": flat(batch.token_type_ids),
        "positions": flat(batch.position_ids),
        "columns": flat(np.arange(T)[None]),
        "starts": np.concatenate([[0], np.cumsum(lengths)]).astype(INT),
    }
    if batch.input_ids is not None:
        given["ids"] = flat(batch.input_ids)
    else:
        assert batch.inputs_embeds is not None
        rows = batch.inputs_embeds.reshape(B * T, -1)
        given["embeds"] = np.ascontiguousarray(rows if places is None else rows[places], FLOAT)
    if shape.factors:
        assert batch.head_mask is not None
        given["head_mask"] = np.ascontiguousarray(batch.head_mask, FLOAT)
    if shape.mask != "none":
        given["allowed"] = np.ascontiguousarray(batch.mask, np.uint8)
    elif not is_fused(*_attention_of(config, shape)):
        given["allowed"] = np.ones((B, T), np.uint8)
    if places is not None:
        source = np.full(B * T, -1, INT)
        source[places] = np.arange(len(places))
        given["source"] = source
    return given


def _attention_of(config: AlbertConfig, shape: Shape) -> tuple[int, bool, bool]:
    D = config.hidden_size // config.num_attention_heads
    return D, config.position_embedding_type != "absolute", shape.attentions


def _lay_out(work: Layout, outputs: Layout, config: AlbertConfig, shape: Shape, kind: str) -> None:
    R, B, T, N = shape.rows, shape.B, shape.T, config.num_attention_heads
    E, H, I = config.embedding_size, config.hidden_size, config.intermediate_size
    columns = {
        "embedded": E,
        "x": H,
        "qkv": 3 * H,
        "context": H,
        "y": H,
        "attended": H,
        "wide": I,
    }
    rounded, only_rounded = set(), set()  # what products read, and what nobody else does
    if kind == "bfloat16":
        only_rounded = {"qkv", "context", "wide"} if is_tensor_fused(*_attention_of(config, shape)) else {"wide"}
        rounded = only_rounded | {"embedded", "x", "context", "attended"}
    for name, width in columns.items():
        if name not in only_rounded:
            work.add(name, (R, width))
        if name in rounded:
            work.add(f"{name}.rounded", (R, row_of(kind, width)), np.uint16)
    products = ((E, H), (H, 3 * H), (H, H), (H, I), (I, H))
    work.add("sums", (max(split_sums(R, width, K, kind) for K, width in products),))
    if not is_fused(*_attention_of(config, shape)) and not shape.attentions:
        work.add("scores", (1 if shape.skip_padding else B, N, shape.longest, shape.longest))
    outputs.add("hidden", (B, T, H))
    if shape.hidden_states:
        for i in range(config.num_hidden_layers):
            outputs.add(f"hidden_states.{i}", (B, T, H))  # the last is `hidden`
    if shape.attentions:
        for i in range(config.num_hidden_layers * config.inner_group_num):
            outputs.add(f"attentions.{i}", (B, N, T, T))


def _states(config: AlbertConfig, batch: Inputs, shape: Shape, kept: Block, outputs: Layout) -> Any:
    found: dict[str, Any] = {name: DeviceArray(kept, x.offset, x.shape) for name, x in outputs.buffers(kept).items()}

    def named(prefix: str) -> tuple[Any, ...]:
        return tuple(x for name, x in found.items() if name.startswith(prefix))

    return Encoded(
        found["hidden"],
        (*named("hidden_states."), found["hidden"]) if shape.hidden_states else None,
        named("attentions.") if shape.attentions else None,
        batch.mask if shape.skip_padding else None,
    )


class _Writer:
    """Writes a plan down: every step from ids to hidden states."""

    def __init__(
        self, program: Program, ops: CudaOps, config: AlbertConfig, shape: Shape, buffers: dict[str, Buffer]
    ) -> None:
        self.program, self.ops, self.config, self.shape, self.at = program, ops, config, shape, buffers

    def write(self, w: Weights) -> None:
        config = self.config
        E, H, I = config.embedding_size, config.hidden_size, config.intermediate_size
        self.embed(w.embeddings)
        self.tap("embeddings.LayerNorm", "embedded", E)
        self.round("embedded")
        mapping, x = w.encoder.embedding_hidden_mapping_in, self.place(0)
        self.linear("embedded", (mapping,), x)
        self.tap("encoder.embedding_hidden_mapping_in", x, H)
        self.round(x)
        self.spread(0)
        for application, group, inner in applications(config):
            layer = w.encoder.albert_layer_groups[group].albert_layers[inner]
            a, i = layer.attention, application // config.inner_group_num + 1
            ends = inner == config.inner_group_num - 1
            at = step(application, "attention")
            self.linear(x, (a.query, a.key, a.value), "qkv")
            for part, name in enumerate(("query", "key", "value")):
                self.tap(f"{at}.{name}", "qkv", H, part * H)
            self.attention(a, application)
            self.tap(f"{at}.context", "context", H)
            self.round("context")
            self.linear("context", (a.dense,), "y", residual=x)
            self.tap(f"{at}.sum", "y", H)
            self.layer_norm("y", a.LayerNorm, "attended")
            self.tap(f"{at}.LayerNorm", "attended", H)
            self.linear("attended", (layer.ffn,), "wide", activation=canonical(config.hidden_act))
            self.tap(step(application, "activation"), "wide", I)
            self.linear("wide", (layer.ffn_output,), "y", residual="attended")
            self.tap(step(application, "sum"), "y", H)
            x = self.place(i) if ends else "x"
            self.layer_norm("y", layer.full_layer_layer_norm, x)
            self.tap(step(application, "full_layer_layer_norm"), x, H)
            if ends:
                self.spread(i)

    def tap(self, name: str, x: str, columns: int, first: int = 0) -> None:
        """Marks the columns of an array as that step of a trace: they are read only when a trace is wanted."""
        if not self.shape.skip_padding:
            self.program.tap(name, x if x in self.at else f"{x}.rounded", columns, first)

    def output(self, i: int) -> str:
        """The array that keeps the state after i layers; "x" where none does."""
        if i == self.config.num_hidden_layers:
            return "hidden"
        return f"hidden_states.{i}" if self.shape.hidden_states else "x"

    def place(self, i: int) -> str:
        """Where that state is computed: in its output, if no row is missing there."""
        return "x" if self.shape.skip_padding else self.output(i)

    def operand(self, x: str) -> Buffer:
        """What products read of an array: in bfloat16 a copy, one for whatever array the state lies in."""
        copies = (f"{x}.rounded", "x.rounded", x)
        return next(self.at[name] for name in copies if name in self.at)

    def result(self, x: str) -> Buffer:
        """Where an array is computed."""
        return self.at[x] if x in self.at else self.at[f"{x}.rounded"]

    def round(self, x: str) -> None:
        """For products, where what computed it has not done so already."""
        if self.operand(x) is not self.result(x):
            columns = self.at[x].shape[-1]
            add_rounding(self.program, self.at[x], columns, self.operand(x), self.shape.rows, columns)

    def spread(self, i: int) -> None:
        """To its output, among zeros, where padding was skipped."""
        out = self.output(i)
        if self.place(i) != out:
            rows, H = self.shape.B * self.shape.T, self.config.hidden_size
            grid = (ceil_div(rows * H, COPIED),)
            self.program.add(spread_rows, grid, self.at["x"], self.at["source"], self.at[out], rows, H)

    def embed(self, w: Weights) -> None:  # (R,) -> (R,E)
        ops, at, config, E, R = self.ops, self.at, self.config, self.config.embedding_size, self.shape.rows
        absolute = config.position_embedding_type == "absolute"
        words = at["embeds"] if self.shape.embeds else ops.resident(w.word_embeddings.weight)
        self.program.add(
            embed(E, not self.shape.embeds, absolute),
            (ceil_div(R, lanes_of(E).rows_a_block),),
            at.get("ids"),
            words,
            at["token_types"],
            ops.resident(w.token_type_embeddings.weight),
            at["positions"],
            ops.resident(w.position_embeddings.weight) if absolute else None,
            ops.resident(w.LayerNorm.weight),
            ops.resident(w.LayerNorm.bias),
            at["embedded"],
            R,
            float(config.layer_norm_eps),
        )

    def linear(  # (R,K) -> (R,N)
        self,
        x: str,
        layers: tuple[Any, ...],
        out: str,
        *,
        activation: str = "none",
        residual: str | None = None,
    ) -> None:
        w = self.ops.linear_of(tuple(one.weight for one in layers), tuple(one.bias for one in layers))
        operand = self.operand(x)
        add_linear(
            self.program,
            operand,
            operand.shape[-1],
            w,
            self.result(out),
            self.shape.rows,
            activation=activation,
            residual=None if residual is None else self.at[residual],
            sums=self.at["sums"],
        )

    def layer_norm(self, x: str, w: Any, out: str) -> None:  # (R,H) -> (R,H)
        weight, bias = self.ops.resident(w.weight), self.ops.resident(w.bias)
        eps = float(self.config.layer_norm_eps)
        rounded = self.operand(out) if self.operand(out) is not self.at[out] else None
        add_layer_norm(self.program, self.at[x], weight, bias, self.at[out], self.shape.rows, eps, rounded)

    def attention(self, w: Any, application: int) -> None:  # (R,3H) -> (R,H)
        config, shape, at, H = self.config, self.shape, self.at, self.config.hidden_size
        N, qkv, context = config.num_attention_heads, self.result("qkv"), self.result("context")
        factors = at["head_mask"].behind(application * N) if shape.factors else None
        fused = is_fused(*_attention_of(config, shape))
        heads = Heads(
            qkv,
            qkv.behind(H),
            qkv.behind(2 * H),
            3 * H,
            N,
            H // N,
            shape.B,
            at["starts"],
            shape.longest,
            shape.mask if fused or shape.mask != "none" else "keys",
            at.get("allowed"),
            shape.mode,
            factors,
        )
        if fused:
            add_attention(self.program, heads, context, H, shape.T)
            return
        related = None
        if config.position_embedding_type != "absolute":
            table = self.ops.resident(w.distance_embedding.weight)
            related = Related(table, at["columns"], config.position_embedding_type == "relative_key_query")
        scores = at[f"attentions.{application}"] if shape.attentions else at["scores"]
        if not shape.skip_padding:
            add_scores(self.program, heads, shape.T, scores, scores, context, H, related)
            return
        first = 0
        for length in shape.lengths:  # one sequence after the other: each has another length
            one = replace(
                heads,
                q=heads.q.behind(first * 3 * H),
                k=heads.k.behind(first * 3 * H),
                v=heads.v.behind(first * 3 * H),
                B=1,
                longest=length,
            )
            its = None if related is None else replace(related, columns=related.columns.behind(first))
            add_scores(self.program, one, length, scores, scores, context.behind(first * H), H, its)
            first += length
