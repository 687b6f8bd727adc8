"""The reference: every operation of ALBERT as a plain NumPy function, any float dtype in, the same dtype out.

Run in float64, this file is the truth that kernels are judged by. It is written to be read, and it is never made faster.
The shapes are on the def lines, in the letters of config.py; `...` is any number of leading axes. The functions assume
valid input, because model.py and inputs.py refuse everything else first. These names are the table of ops that every
backend provides.

A function is followed by its backward function, if it has one. That takes dy, the gradient of the loss with respect to the
output, and returns the gradients with respect to the inputs. The first line of its docstring quotes what it differentiates.
Activations and losses have files of their own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from albert_np.activations import (  # noqa: F401  part of the table
    ACTIVATIONS,
    SQRT_2_OVER_PI,
    Array,
    activation,
    activation_backward,
    gelu,
    gelu_new,
    relu,
    sigmoid,
    silu,
    tanh,
)
from albert_np.losses import (  # noqa: F401
    IGNORE_INDEX,
    bce_with_logits,
    bce_with_logits_backward,
    cross_entropy,
    cross_entropy_backward,
    log_softmax,
    mse_loss,
    mse_loss_backward,
)

MaskMode = Literal["uniform", "zeros", "nan"]
MASK_MODES: tuple[MaskMode, ...] = get_args(MaskMode)  # kernels know each by its index here


@dataclass(frozen=True)
class Attending:
    """Which query attends to which key, and how: all that attention needs apart from queries, keys and values."""

    allowed: Array  # (B,1,1|T,T) bool: may the query (row) see the key (column)?
    num_heads: int  # N
    mask_mode: MaskMode = "uniform"  # what a query with no key to attend to gets: see masked_softmax
    head_mask: Array | None = None  # (N,): one factor for each head
    position_type: str = "absolute"  # or "relative_key", "relative_key_query"
    distance_table: Array | None = None  # (2P−1,D), for relative positions
    positions: Array | None = None  # (T,) int: columns, for relative positions; None is 0 … T−1
    dropout_probability: float | None = None  # that a query loses sight of a key, in one head


# --- linear algebra and gathers ---------------------------------------------------------------------------------------


def linear(x: Array, weight: Array, bias: Array) -> Array:  # (..., in), (out, in), (out,) -> (..., out)
    """x·Wᵀ + b. The weight is stored (out, in), as checkpoints hold it."""
    return x @ weight.T + bias


def linear_backward(  # (..., out), (..., in), (out, in) -> (..., in), (out, in), (out,)
    dy: Array, x: Array, weight: Array
) -> tuple[Array, Array, Array]:
    """y = x·Wᵀ + b: dx = dy·W, dW = dyᵀ·x and db = Σ dy, summed over every leading axis."""
    rows_dy, rows_x = dy.reshape(-1, dy.shape[-1]), x.reshape(-1, x.shape[-1])
    return dy @ weight, rows_dy.T @ rows_x, rows_dy.sum(axis=0)


def embedding(ids: Array, table: Array) -> Array:  # (...) int, (V, E) -> (..., E)
    """Row ids[...] of the table."""
    return table[ids]


def embedding_backward(  # (..., E), (...) int -> (rows, E)
    dy: Array, ids: Array, rows: int, padding_idx: int | None = None
) -> Array:
    """y = table[ids]: each row of the table gathers the gradients of the places that read it.

    The pad row gets none, as in torch.nn.Embedding(padding_idx): it keeps its initial value.
    """
    table = np.zeros((rows, dy.shape[-1]), dy.dtype)
    np.add.at(table, ids, dy)
    if padding_idx is not None:
        table[padding_idx] = 0
    return table


# --- normalisation ----------------------------------------------------------------------------------------------------


def layer_norm(x: Array, weight: Array, bias: Array, eps: float) -> Array:  # (..., H), (H,), (H,) -> (..., H)
    """(x − mean) / √(variance + ε) · weight + bias over the last axis (Ba et al. 2016, eq. 4).

    The variance is the biased one (divided by H), and ε is inside the root. Both passes add in float32 or wider, so that a
    float16 row does not overflow.
    """
    wide = np.promote_types(x.dtype, np.float32)
    centred = x.astype(wide) - np.mean(x, axis=-1, keepdims=True, dtype=wide)
    variance = np.mean(centred * centred, axis=-1, keepdims=True)
    normalised = centred / np.sqrt(variance + wide.type(eps))
    return (normalised * weight + bias).astype(x.dtype)


def layer_norm_backward(  # (..., H), (..., H), (H,) -> (..., H), (H,), (H,)
    dy: Array, x: Array, weight: Array, eps: float
) -> tuple[Array, Array, Array]:
    """y = n·w + b, n = (x − mean)/√(variance + ε): dw = Σ dy·n, db = Σ dy, and with dn = dy·w

    dx = (dn − mean(dn) − n·mean(dn·n)) / √(variance + ε). This is dn without its components along the all-ones vector and
    along n: x can move in these two directions without changing y.
    """
    wide = np.promote_types(x.dtype, np.float32)
    centred = x.astype(wide) - np.mean(x, axis=-1, keepdims=True, dtype=wide)
    deviation = np.sqrt(np.mean(centred * centred, axis=-1, keepdims=True) + wide.type(eps))
    n, dn = centred / deviation, dy * weight
    dx = (dn - np.mean(dn, axis=-1, keepdims=True) - n * np.mean(dn * n, axis=-1, keepdims=True)) / deviation
    leading = tuple(range(x.ndim - 1))
    return dx.astype(x.dtype), (dy * n).sum(axis=leading), dy.sum(axis=leading)


def softmax(x: Array) -> Array:  # (..., T) -> (..., T)
    """exp(x) / Σ exp(x) over the last axis. The largest entry is subtracted first: this only prevents overflow."""
    e = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return e / np.sum(e, axis=-1, keepdims=True)


def softmax_backward(dp: Array, p: Array) -> Array:  # (..., T), (..., T) -> (..., T)
    """p = softmax(x): dx = p·(dp − Σ p·dp), since p sums to one for every x."""
    return p * (dp - np.sum(p * dp, axis=-1, keepdims=True))


def masked_softmax(  # (B,N,T,T), (B,1,1|T,T) bool -> (B,N,T,T)
    scores: Array, allowed: Array, mask_mode: MaskMode = "uniform"
) -> Array:
    """Softmax over the keys that a query may attend to.

    As in transformers' eager attention, the mask is *added*: 0 where allowed, else the dtype's most negative finite value,
    which swallows the score. So a query with no key at all sees equal scores and attends to all keys uniformly. Two other
    answers are in use: all probabilities are zero ("zeros"), or NaN, the 0/0 of scores that are all −∞ ("nan").
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


def attention_scores(  # (B,N,T,D), (B,N,T,D), (2P−1,D), (T,) int -> (B,N,T,T)
    query: Array,
    key: Array,
    distance_table: Array | None = None,
    positions: Array | None = None,
    position_type: str = "absolute",
) -> Array:
    """q·kᵀ/√D (Vaswani et al. 2017, eq. 1), plus what relative positions add.

    relative_key adds q_i·a[i−j] (Shaw et al. 2018, eq. 5); relative_key_query adds k_j·a[i−j] as well (Huang et al. 2020,
    method 4). As in transformers 4.57.6, these terms are *not* divided by √D. There they are added after the mask, here
    before it. The bits are the same: where the mask adds 0, the order does not matter; elsewhere it swallows everything.
    """
    scores = query @ key.swapaxes(-1, -2) / query.dtype.type(math.sqrt(query.shape[-1]))
    if position_type != "absolute":
        assert distance_table is not None
        a = distance_table[
            distances(query.shape[2], len(distance_table), positions)
        ]  # (T,T,D): row i, column j holds a[i−j]
        scores = scores + np.einsum("bnid,ijd->bnij", query, a)
        if position_type == "relative_key_query":
            scores = scores + np.einsum("bnjd,ijd->bnij", key, a)
    return scores


def attention_scores_backward(  # (B,N,T,T), (B,N,T,D), (B,N,T,D), (2P−1,D) -> (B,N,T,D), (B,N,T,D), (2P−1,D)
    ds: Array,
    query: Array,
    key: Array,
    distance_table: Array | None = None,
    positions: Array | None = None,
    position_type: str = "absolute",
) -> tuple[Array, Array, Array | None]:
    """s = q·kᵀ/√D + q_i·a[i−j] + k_j·a[i−j]: dq = ds·k/√D + Σⱼ ds·a, dk = dsᵀ·q/√D + Σᵢ ds·a, and each row of the table
    gathers ds·q (and ds·k) from the pairs that are that far apart."""
    scaled = ds / query.dtype.type(math.sqrt(query.shape[-1]))
    dq, dk, d_table = scaled @ key, scaled.swapaxes(-1, -2) @ query, None
    if position_type != "absolute":
        assert distance_table is not None
        where = distances(query.shape[2], len(distance_table), positions)
        a = distance_table[where]
        dq = dq + np.einsum("bnij,ijd->bnid", ds, a)
        da = np.einsum("bnij,bnid->ijd", ds, query)
        if position_type == "relative_key_query":
            dk = dk + np.einsum("bnij,ijd->bnjd", ds, a)
            da = da + np.einsum("bnij,bnjd->ijd", ds, key)
        d_table = embedding_backward(da, where, len(distance_table))
    return dq, dk, d_table


def distances(T: int, table_rows: int, positions: Array | None) -> Array:  # (T,) int -> (T,T) int
    """Which row of the table (2P−1, D) belongs to query i and key j: row i − j + P − 1."""
    where = np.arange(T) if positions is None else positions
    return where[:, None] - where[None, :] + (table_rows + 1) // 2 - 1


def attention_context(probs: Array, value: Array) -> Array:  # (B,N,T,T), (B,N,T,D) -> (B,N,T,D)
    """Each query's mixture of the values: probs·v."""
    return probs @ value


def attention(  # 3 × (B,T,H) -> (B,T,H), 2 × (B,N,T,T)
    query: Array, key: Array, value: Array, attending: Attending, rng: np.random.Generator | None = None
) -> tuple[Array, Array, Array]:
    """concat(softmax(qₙ·kₙᵀ/√D + mask)·vₙ) (Vaswani et al. 2017, section 3.2); also the unmasked scores and the probs.

    With a generator, dropout makes each query lose sight of some keys, in some heads.
    """
    q, k, v = (split_heads(x, attending.num_heads) for x in (query, key, value))  # (B,T,H) -> (B,N,T,D)
    scores = attention_scores(q, k, attending.distance_table, attending.positions, attending.position_type)
    probs = masked_softmax(scores, attending.allowed, attending.mask_mode)
    probs = dropout(probs, attending.dropout_probability, rng)
    if attending.head_mask is not None:
        probs = probs * attending.head_mask[:, None, None]
    return merge_heads(attention_context(probs, v)), scores, probs


def attention_backward(  # (B,T,H), 3 × (B,T,H), (B,N,T,T) -> 3 × (B,T,H), (2P−1,D)
    d_context: Array,
    query: Array,
    key: Array,
    value: Array,
    scores: Array,
    attending: Attending,
    rng: np.random.Generator | None = None,
) -> tuple[Array, Array, Array, Array | None]:
    """context = drop(softmax(scores + mask))·head_mask · v: the gradient goes back through each factor, from right to left.

    The arguments are those of `attention`, and its scores. rng must be in the state that it had there, so that the same
    keys are lost.
    """
    q, k = split_heads(query, attending.num_heads), split_heads(key, attending.num_heads)
    dv, _, ds = attention_context_backward(d_context, value, scores, attending, rng)
    dq, dk, d_table = attention_scores_backward(
        ds, q, k, attending.distance_table, attending.positions, attending.position_type
    )
    return merge_heads(dq), merge_heads(dk), merge_heads(dv), d_table


def attention_context_backward(  # 2 × (B,T,H), (B,N,T,T) -> (B,N,T,D), 2 × (B,N,T,T)
    d_context: Array, value: Array, scores: Array, attending: Attending, rng: np.random.Generator | None = None
) -> tuple[Array, Array, Array]:
    """The first half of attention_backward: dv, and the gradients with respect to the probs and to the scores."""
    v, dc = split_heads(value, attending.num_heads), split_heads(d_context, attending.num_heads)
    softmaxed = masked_softmax(scores, attending.allowed, attending.mask_mode)
    factors = dropout(np.ones_like(softmaxed), attending.dropout_probability, rng)
    if attending.head_mask is not None:
        factors = factors * attending.head_mask[:, None, None]
    dv = (softmaxed * factors).swapaxes(-1, -2) @ dc
    d_probs = dc @ v.swapaxes(-1, -2)
    return dv, d_probs, softmax_backward(factors * d_probs, softmaxed)


# --- dropout ----------------------------------------------------------------------------------------------------------


def dropout(x: Array, p: float | None, rng: np.random.Generator | None) -> Array:  # (...,) -> (...,)
    """Zeroes each entry with probability p and divides the others by 1 − p. Without a generator (inference) it returns x."""
    if rng is None or not p:
        return x
    keep = rng.random(x.shape) >= p
    return np.where(
        keep | np.isnan(x), x / x.dtype.type(1 - p), x.dtype.type(0)
    )  # NaN stays, as with torch's factor of 0


def dropout_backward(dy: Array, p: float | None, rng: np.random.Generator | None) -> Array:  # (...,) -> (...,)
    """y = x·keep/(1 − p): dx = dy·keep/(1 − p). rng must be in the state that it had then, so that keep is the same."""
    return dropout(dy, p, rng)
