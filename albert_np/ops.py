"""The reference: every operation of ALBERT as a plain NumPy function, any float dtype in, the same dtype out.

This file is the truth that kernels are judged by, run in float64. It is written to be read and never made faster.
Shapes stand on the def lines, in the letters of config.py; `...` is any number of leading axes. Functions assume valid
input: model.py and inputs.py refuse the rest first. These names are the table of ops that a backend provides.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
MaskMode = Literal["uniform", "zeros", "nan"]

SQRT_2_OVER_PI = 0.7978845608028654  # √(2/π) rounded to float64
IGNORE_INDEX = -100  # a label that takes no part in the loss (torch.nn.CrossEntropyLoss)


# --- linear algebra and gathers ---------------------------------------------------------------------------------------


def linear(x: Array, weight: Array, bias: Array) -> Array:  # (..., in), (out, in), (out,) -> (..., out)
    """x·Wᵀ + b. The weight is stored (out, in), as checkpoints hold it."""
    return x @ weight.T + bias


def embedding(ids: Array, table: Array) -> Array:  # (...) int, (V, E) -> (..., E)
    """Row ids[...] of the table."""
    return table[ids]


# --- normalisation ----------------------------------------------------------------------------------------------------


def layer_norm(x: Array, weight: Array, bias: Array, eps: float) -> Array:  # (..., H), (H,), (H,) -> (..., H)
    """(x − mean) / √(variance + ε) · weight + bias over the last axis (Ba et al. 2016, eq. 4).

    The variance is the biased one (divided by H), ε stands inside the root, and both passes add in float32 or wider, so
    that a float16 row does not overflow.
    """
    wide = np.promote_types(x.dtype, np.float32)
    centred = x.astype(wide) - np.mean(x, axis=-1, keepdims=True, dtype=wide)
    variance = np.mean(centred * centred, axis=-1, keepdims=True)
    normalised = centred / np.sqrt(variance + wide.type(eps))
    return (normalised * weight + bias).astype(x.dtype)


def softmax(x: Array) -> Array:  # (..., T) -> (..., T)
    """exp(x) / Σ exp(x) over the last axis; the largest entry is subtracted first, which changes nothing but overflow."""
    e = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return e / np.sum(e, axis=-1, keepdims=True)


def masked_softmax(
    scores: Array, allowed: Array, mask_mode: MaskMode = "uniform"
) -> Array:  # (B,N,T,T), (B,1,1|T,T) bool -> (B,N,T,T)
    """Softmax over the keys that a query may attend to.

    As transformers' eager attention, the mask is *added*: 0 where allowed, else the dtype's most negative finite value,
    which swallows the score. So a query with no key at all sees equal scores and attends to all of them uniformly. The
    two other answers in use: all-zero probabilities ("zeros") and the 0/0 of −∞ everywhere ("nan").
    """
    lowest = np.finfo(scores.dtype).min
    probs = softmax(scores + np.where(allowed, scores.dtype.type(0), lowest))
    if mask_mode != "uniform":
        nothing = ~np.any(allowed, axis=-1, keepdims=True)
        probs = np.where(nothing, probs.dtype.type(0 if mask_mode == "zeros" else np.nan), probs)
    return probs


# --- attention --------------------------------------------------------------------------------------------------------


def split_heads(x: Array, num_heads: int) -> Array:  # (B,T,H) -> (B,N,T,D)
    """Cuts the last axis into N heads of D; head n holds entries n·D … n·D + D − 1."""
    B, T, H = x.shape
    return x.reshape(B, T, num_heads, H // num_heads).transpose(0, 2, 1, 3)


def merge_heads(x: Array) -> Array:  # (B,N,T,D) -> (B,T,H)
    """Puts the heads side by side again: the inverse of split_heads."""
    B, N, T, D = x.shape
    return x.transpose(0, 2, 1, 3).reshape(B, T, N * D)


def attention_scores(
    query: Array,
    key: Array,
    distance_table: Array | None = None,
    positions: Array | None = None,
    position_type: str = "absolute",
) -> Array:  # (B,N,T,D), (B,N,T,D), (2P−1,D), (T,) int -> (B,N,T,T)
    """q·kᵀ/√D (Vaswani et al. 2017, eq. 1), plus what relative positions add.

    relative_key adds q_i·a[i−j] (Shaw et al. 2018, eq. 5); relative_key_query adds k_j·a[i−j] as well (Huang et al. 2020,
    method 4). As transformers 4.57.6, these terms are *not* divided by √D. There they are added after the mask; here
    before it, with the same bits: where the mask adds 0 the order does not matter, elsewhere it swallows everything.
    """
    scores = query @ key.swapaxes(-1, -2) / query.dtype.type(math.sqrt(query.shape[-1]))
    if position_type != "absolute":
        assert distance_table is not None
        T = query.shape[2]
        where = np.arange(T) if positions is None else positions
        P = (len(distance_table) + 1) // 2
        a = distance_table[where[:, None] - where[None, :] + P - 1]  # (T,T,D): row i, column j holds a[i−j]
        scores = scores + np.einsum("bnid,ijd->bnij", query, a)
        if position_type == "relative_key_query":
            scores = scores + np.einsum("bnjd,ijd->bnij", key, a)
    return scores


def attention_context(probs: Array, value: Array) -> Array:  # (B,N,T,T), (B,N,T,D) -> (B,N,T,D)
    """Each query's mixture of the values: probs·v."""
    return probs @ value


def attention(
    query: Array,
    key: Array,
    value: Array,
    allowed: Array,
    num_heads: int,
    *,
    mask_mode: MaskMode = "uniform",
    head_mask: Array | None = None,
    position_type: str = "absolute",
    distance_table: Array | None = None,
    positions: Array | None = None,
    dropout_probability: float | None = None,
    rng: np.random.Generator | None = None,
) -> tuple[Array, Array, Array]:  # 3 × (B,T,H), (B,1,1|T,T) bool, (N,) -> (B,T,H), 2 × (B,N,T,T)
    """concat(softmax(qₙ·kₙᵀ/√D + mask)·vₙ) (Vaswani et al. 2017, section 3.2); also the scores, unmasked, and the probs.

    With a generator, dropout makes each query lose sight of some keys, in some heads. head_mask: one factor a head.
    """
    q, k, v = (split_heads(x, num_heads) for x in (query, key, value))  # (B,T,H) -> (B,N,T,D)
    scores = attention_scores(q, k, distance_table, positions, position_type)
    probs = masked_softmax(scores, allowed, mask_mode)
    probs = dropout(probs, dropout_probability, rng)
    if head_mask is not None:
        probs = probs * head_mask[:, None, None]
    return merge_heads(attention_context(probs, v)), scores, probs


# --- activations ------------------------------------------------------------------------------------------------------


def sigmoid(x: Array) -> Array:  # (...,) -> (...,)
    """1 / (1 + e⁻ˣ). The exponent is never positive, so nothing overflows and the left tail keeps its digits."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


def gelu_new(x: Array) -> Array:  # (...,) -> (...,)
    """x·½(1 + tanh u), u = √(2/π)(x + 0.044715 x³): the tanh form of GELU, ALBERT's activation.

    Written as x·sigmoid(2u), the same function: in float64, 1 + tanh u is 0.7 % off at x = −7 and 0 below −7.2.
    """
    dtype = x.dtype.type
    z = np.clip(x, -40, 40)  # beyond, the sigmoid is 0 or 1 in every dtype, and the cube would overflow
    u = dtype(SQRT_2_OVER_PI) * (z + dtype(0.044715) * (z * z * z))
    return x * sigmoid(2 * u)


def gelu(x: Array) -> Array:  # (...,) -> (...,)
    """x·Φ(x) = x·½ erfc(−x/√2): the erf form of GELU (Hendrycks & Gimpel 2016, eq. 2).

    Through erfc of the standard library, in float64 whatever the dtype: 1 + erf(x) would lose the left tail.
    """
    phi = 0.5 * _erfc(np.asarray(x, np.float64) * -math.sqrt(0.5))
    return (x * phi).astype(x.dtype)


_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def relu(x: Array) -> Array:  # (...,) -> (...,)
    """max(x, 0), and NaN stays NaN."""
    return np.maximum(x, 0)


def silu(x: Array) -> Array:  # (...,) -> (...,)
    """x·sigmoid(x), also known as swish."""
    return x * sigmoid(x)


def tanh(x: Array) -> Array:  # (...,) -> (...,)
    return np.tanh(x)


# the names a config may use (transformers, ACT2FN); gelu_fast is the same tanh form with u factored as x·√(2/π)·(1 + …x²)
ACTIVATIONS = {
    "gelu_new": gelu_new,
    "gelu_pytorch_tanh": gelu_new,
    "gelu_fast": gelu_new,
    "gelu": gelu,
    "gelu_python": gelu,
    "relu": relu,
    "silu": silu,
    "swish": silu,
    "tanh": tanh,
}


def activation(x: Array, name: str) -> Array:  # (...,) -> (...,)
    """The activation a config names. `gelu` is the erf form here and in transformers, the tanh form in google-research."""
    return ACTIVATIONS[name](x)


# --- dropout ----------------------------------------------------------------------------------------------------------


def dropout(x: Array, p: float | None, rng: np.random.Generator | None) -> Array:  # (...,) -> (...,)
    """Zeroes each entry with probability p and divides the others by 1 − p. Without a generator: inference, x itself."""
    if rng is None or not p:
        return x
    keep = rng.random(x.shape) >= p
    return np.where(keep, x / x.dtype.type(1 - p), x.dtype.type(0))


# --- losses -----------------------------------------------------------------------------------------------------------


def log_softmax(x: Array) -> Array:  # (..., K) -> (..., K)
    """log of softmax(x), without the zeros that softmax would round to."""
    shifted = x - np.max(x, axis=-1, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True))


def cross_entropy(logits: Array, labels: Array, ignore_index: int = IGNORE_INDEX) -> Any:  # (R,K), (R,) int -> ()
    """Mean of −log p[label] over the rows whose label counts; NaN where none does, as torch.nn.CrossEntropyLoss."""
    rows = np.flatnonzero(labels != ignore_index)
    if len(rows) == 0:
        return logits.dtype.type(np.nan)
    return -np.mean(log_softmax(logits[rows])[np.arange(len(rows)), labels[rows]])


def mse_loss(x: Array, target: Array) -> Any:  # (...,), (...,) -> ()
    """Mean of (x − target)²."""
    return np.mean(np.square(x - target.astype(x.dtype)))


def bce_with_logits(logits: Array, target: Array) -> Any:  # (...,), (...,) -> ()
    """Mean of −y·log σ(z) − (1−y)·log(1 − σ(z)) = max(z,0) − z·y + log(1 + e^−|z|): no overflow for any z."""
    z, y = logits, target.astype(logits.dtype)
    return np.mean(np.maximum(z, 0) - z * y + np.log1p(np.exp(-np.abs(z))))
