"""What the kernels of bfloat16 compute, in NumPy, to the bit: for tests, and for who ports them to another unit.

What is rounded and in which order sums are added stands in operand.py. The sources, in Intel's Software Developer's Manual,
volume 2: the operation of TDPBF16PS (sums of even and of odd k over a row of a tile, then C + (even + odd)), and that of
VDPBF16PS (the upper half of a pair first). Both say: round to nearest even, subnormal inputs and results are zeros, MXCSR is
neither read nor written.

A product of two bfloat16 numbers is exact in float64: 16 bits, and an exponent that float64 has. What is left is to add it to
a float32 sum and round once, as a fused multiply-add does. Here the sum is rounded twice, to float64 and to float32, and yet
never differs:

- Where the larger of the two is less than 2²⁸ times the other, 53 bits hold their sum, and the first rounding does nothing.
- Beyond that, what is added is below an eighth of the last place of the larger one, which float32 holds. Neither one rounding
  nor two leave it: the next number half way between two of float32 is at least a quarter of that place away.

The sum of two float32 numbers may always be rounded to float64 first, because 53 ≥ 2·24 + 2 (Figueroa 1995).

Which results are subnormal is asked after rounding, as if exponents had no end (x86; AMX has it the same way): between 2⁻¹²⁷
and 2⁻¹²⁶ numbers of 24 bits are 2⁻¹⁵⁰ apart, so whatever is below LEAST = 2⁻¹²⁶ − 2⁻¹⁵¹ is a zero, and LEAST itself is a tie,
whose even neighbour is 2⁻¹²⁶. float32's own rounding is twice as coarse there, and would keep what is from
2⁻¹²⁶ − 2⁻¹⁵⁰ on. (ARM asks before rounding, so between LEAST and 2⁻¹²⁶ its unit of floats gives a zero.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

STEP = 32  # k whose even and odd products are summed apart before their sum is added
LEAST = 2.0**-126 - 2.0**-151  # the smallest size that is no zero when it has been rounded
ZEROS, NAN = "zeros", "nan"  # of mask_mode; else what a query with nothing to see gets is uniform


class Float32(Protocol):
    """What is not a product: functions in float32, as the kernels of dtype="float32" compute them (backends.cpu.ops.CpuOps)."""

    def layer_norm(self, x: Array, weight: Array, bias: Array, eps: float) -> Array: ...
    def activation(self, x: Array, name: str) -> Array: ...
    def exp(self, x: Array) -> Array: ...


# --- rounding and sums ----------------------------------------------------------------------------------------------------


def round_to_bfloat16(x: Array) -> Array:  # (...) -> (...) float32
    """The nearest bfloat16, ties to even, as float32. Subnormal numbers become zeros of their sign, NaN stays NaN.

    x: float32, or what NumPy converts to it.
    """
    bits = np.asarray(x, np.float32).view(np.uint32)
    bits = np.where(bits & 0x7F800000 == 0, bits & 0x80000000, bits)
    nearest = bits + (bits >> 16 & 1) + np.uint32(0x7FFF)
    is_nan = bits & 0x7FFFFFFF > 0x7F800000
    return (np.where(is_nan, bits | 0x00400000, nearest) & np.uint32(0xFFFF0000)).view(np.float32)


def add(x: Array, y: Array) -> Array:  # (...) float32, (...) float32 or products in float64 -> (...) float32
    """x + y, rounded once; what is subnormal then is a zero of its sign."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        total = np.asarray(x, np.float64) + np.asarray(y, np.float64)
        return np.where(np.abs(total) < LEAST, np.copysign(0.0, total), total).astype(np.float32)


def product(a: Array, b: Array) -> Array:  # (...,M,K), (...,K,N) -> (...,M,N) float32
    """a·b of operands rounded to bfloat16, added in the order of AMX's tiles.

    For each 32 k: the products of even k from zero on, those of odd k from zero on, and then C + (even + odd), with a rounding
    after each addition. K is filled up with zeros to whole steps, which changes at most the sign of a zero on the way.
    """
    K = a.shape[-1]
    behind = [(0, -K % STEP)]
    a = np.pad(round_to_bfloat16(a), [(0, 0)] * (a.ndim - 1) + behind).astype(np.float64)
    b = np.pad(round_to_bfloat16(b), [(0, 0)] * (b.ndim - 2) + behind + [(0, 0)]).astype(np.float64)
    shape = (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1])
    total = np.zeros(shape, np.float32)
    with np.errstate(invalid="ignore"):
        for k in range(0, a.shape[-1], STEP):
            even, odd = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
            for j in range(k, k + STEP, 2):
                even = add(even, a[..., :, j, None] * b[..., None, j, :])
                odd = add(odd, a[..., :, j + 1, None] * b[..., None, j + 1, :])
            total = add(total, add(even, odd))
    return total


# --- attention ------------------------------------------------------------------------------------------------------------


def attention(  # (T,D), (keys,D), (keys,D) -> (T,D) float32 that holds bfloat16, (T,keys) float32
    q: Array,
    k: Array,
    v: Array,
    exp: Any,
    *,
    allowed: Array | None = None,
    table: Array | None = None,
    distances: Array | None = None,
    both: bool = False,
    mask_mode: str = "uniform",
    factor: Any = 1.0,
) -> tuple[Array, Array]:
    """softmax(q·kᵀ/√D + mask)·v of one head, and the probabilities. Keys that no query sees are left out by the caller.

    exp: the kernels' exponential, of a float32 array. allowed (T,keys) bool: who sees whom; None: all.
    table (2P−1,D) and distances (T,keys) int: relative positions, + q·table[distances], and with `both` + k·table[distances].
    factor: of the head mask. The exponentials are rounded for their product with v; their sum is of those that are not.
    """
    scores = product(q, k.T) * np.float32(1 / math.sqrt(q.shape[-1]))
    if table is not None:
        assert distances is not None
        rows, columns = np.indices(distances.shape)
        scores = scores + product(q, table.T)[rows, distances]
        if both:
            scores = scores + product(k, table.T)[columns, distances]
    blank = np.zeros(len(q), bool)
    if allowed is not None:
        blank = np.logical_not(np.any(allowed, axis=1))
        scores = np.where(blank[:, None], np.float32(0), np.where(allowed, scores, np.float32(-np.inf)))
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        exponentials = exp(scores - scores.max(axis=1, keepdims=True))
        inverse = np.float32(1) / sum_of_lanes(exponentials)
        if mask_mode == ZEROS:
            inverse[blank] = 0
        if mask_mode == NAN:
            inverse[blank] = np.nan
        inverse = (inverse * np.float32(factor))[:, None]
        return round_to_bfloat16(product(exponentials, v) * inverse), exponentials * inverse


def sum_of_lanes(x: Array) -> Array:  # (R,C) float32 -> (R,)
    """The sum of each row as vector.py has it: sixteen sums side by side, and a tree of these."""
    lanes = np.pad(x, [(0, 0), (0, -x.shape[1] % 16)]).reshape(len(x), -1, 16)
    total = np.zeros((len(x), 16), np.float32)
    for i in range(lanes.shape[1]):
        total = total + lanes[:, i]
    while total.shape[1] > 1:
        half = total.shape[1] // 2
        total = total[:, :half] + total[:, half:]
    return total[:, 0]


# --- layers ---------------------------------------------------------------------------------------------------------------


def linear(x: Array, w: Any) -> Array:  # (R,in) -> (R,out)
    """x·Wᵀ + b for a linear layer's weights, float32 as the kernels leave it before anybody rounds."""
    return product(x, w.weight.T) + w.bias


def layer(  # (T,H) -> (T,H), (N,T,T)
    float32: Float32, config: Any, w: Any, x: Array, seen: Array, head_mask: Array | None, mask_mode: str = "uniform"
) -> tuple[Array, Array]:
    """One application to one sequence. w: the layer's weights as attributes that follow Hugging Face's names.

    seen: (T,) bool, the keys that all queries see, or (T,T) [query, key]. head_mask (N,).
    """
    a, N, T = w.attention, config.num_attention_heads, len(x)
    D = config.hidden_size // N
    q, k, v = (round_to_bfloat16(linear(x, one)) for one in (a.query, a.key, a.value))
    keys, allowed = _keys(seen)
    relative: dict[str, Any] = {}
    if config.position_embedding_type != "absolute":
        table = a.distance_embedding.weight
        distances = np.subtract.outer(np.arange(T), keys) + len(table) // 2
        both = config.position_embedding_type == "relative_key_query"
        relative = {"table": table, "distances": distances, "both": both}
    context, probs = np.empty_like(q), np.zeros((N, T, T), np.float32)
    for n in range(N):
        head = slice(n * D, (n + 1) * D)
        factor = 1.0 if head_mask is None else head_mask[n]
        context[:, head], probs[n][:, keys] = attention(
            q[:, head],
            k[keys, head],
            v[keys, head],
            float32.exp,
            allowed=allowed,
            mask_mode=mask_mode,
            factor=factor,
            **relative,
        )
    norm = a.LayerNorm
    attended = float32.layer_norm(linear(context, a.dense) + x, norm.weight, norm.bias, config.layer_norm_eps)
    wide = float32.activation(linear(attended, w.ffn), config.hidden_act)
    norm = w.full_layer_layer_norm
    y = linear(wide, w.ffn_output) + attended
    return float32.layer_norm(y, norm.weight, norm.bias, config.layer_norm_eps), probs


def _keys(seen: Array) -> tuple[Array, Array]:  # (T,) or (T,T) bool -> (keys,) int, (T,keys) bool
    """The keys that are scored, in order, and who sees which: all keys, where a query has nothing to see."""
    if seen.ndim == 1:
        keys = np.flatnonzero(seen) if np.any(seen) else np.arange(len(seen))
        return keys, np.broadcast_to(seen[keys], (len(seen), len(keys)))
    any_blank = not np.all(np.any(seen, axis=1))
    keys = np.arange(len(seen)) if any_blank else np.flatnonzero(np.any(seen, axis=0))
    return keys, seen[:, keys]


def encoder(  # (T,H) -> (T,H) each, (N,T,T) each
    float32: Float32,
    config: Any,
    layers: Sequence[Any],
    x: Array,
    seen: Array | None = None,
    head_masks: Array | None = None,
    mask_mode: str = "uniform",
) -> tuple[list[Array], list[Array]]:
    """Every application of a layer, for one sequence: the states behind each, x in front of them, and all probabilities.

    layers: the weights of each application in turn. x: the projected embeddings, which are float32's.
    head_masks (applications,N).
    """
    states, attentions = [x], []
    everything = np.ones(len(x), bool) if seen is None else seen
    for i, w in enumerate(layers):
        head_mask = None if head_masks is None else head_masks[i]
        y, probs = layer(float32, config, w, states[-1], everything, head_mask, mask_mode)
        states.append(y)
        attentions.append(probs)
    return states, attentions
