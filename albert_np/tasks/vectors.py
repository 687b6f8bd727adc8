"""From the hidden states of a text to one vector; how alike two vectors are; the nearest of many.

Source: sentence-transformers 5.7 (modules/pooling.py, util/similarity.py, util/semantic_search.py, util/quantization.py).
Every sum runs over the tokens or the entries of one text alone, in one order, so no vector depends on its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from albert_np.files import shown
from albert_np.ops import Array

POOLINGS = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
PRECISIONS = ("float32", "int8", "uint8", "binary", "ubinary")
SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")
TINY = 1e-12  # the least length that a vector is divided by
BLOCK = 4096  # vectors of a corpus that are compared at a time


def pooled(states: Array, modes: Sequence[str]) -> Array:  # (n,H) -> (len(modes)·H,)
    """The hidden states of the n tokens of a text as one vector: what each mode makes of them, end to end."""
    return np.concatenate([_pooled(states, mode) for mode in modes])


def _pooled(states: Array, mode: str) -> Array:  # (n,H) -> (H,)
    n, dtype = len(states), states.dtype.type
    if mode == "cls":
        return states[0]
    if mode == "lasttoken":
        return states[-1]
    if mode == "max":
        return states.max(axis=0)
    if mode == "weightedmean":
        weights = np.arange(1, n + 1, dtype=dtype)
        return (states * weights[:, None]).sum(axis=0) / weights.sum()
    return states.sum(axis=0) / dtype(n if mode == "mean" else np.sqrt(n))


def normalised(x: Array) -> Array:  # (…,n) -> (…,n)
    """Vectors of length 1, or of length 0 where there was nothing."""
    return x / np.maximum(np.sqrt((x * x).sum(axis=-1, keepdims=True)), x.dtype.type(TINY))


def similarity(a: Array, b: Array, kind: str = "cosine") -> Array:  # (n,d), (m,d) -> (n,m)
    """How alike each pair is: "cosine", "dot", or the negative distance, "euclidean" or "manhattan"."""
    if kind not in SIMILARITIES:
        raise ValueError(f"similarity is one of {', '.join(SIMILARITIES)}; got {shown(repr(kind), 60)}")
    if kind == "manhattan":
        return -np.stack([np.abs(row - b).sum(axis=1) for row in a])
    if kind == "euclidean":
        return -np.stack([np.sqrt(((row - b) ** 2).sum(axis=1)) for row in a])
    return (normalised(a) if kind == "cosine" else a) @ (normalised(b) if kind == "cosine" else b).T


def nearest(
    queries: Array, corpus: Array, top_k: int, kind: str = "cosine"
) -> list[list[dict[str, Any]]]:  # (n,d), (m,d)
    """For each query its top_k nearest vectors of the corpus, {"corpus_id", "score"}, best first, all of them compared.

    Of equal scores the earlier vector comes first. The corpus is read BLOCK vectors at a time. A matrix product finds whatever
    may be among the best, with its rounding allowed for; the scores of these are computed once more, each by itself and in
    float64. So an answer does not depend on the other queries, nor on the BLAS.
    """
    lengths = [np.sqrt((x.astype(np.float64) ** 2).sum(axis=1)) for x in (queries, corpus)]
    scale = np.ones(len(queries)) if kind == "cosine" else lengths[0] * lengths[1].max(initial=0)
    doubt = (
        2 * (queries.shape[1] + 3) * np.finfo(queries.dtype).eps * scale
    )  # of a sum of d products (Higham 2002, eq. 3.5)
    found: list[tuple[Array, Array]] = [(np.zeros(0), np.zeros(0, np.int64))] * len(queries)  # rough scores, places
    for first in range(0, len(corpus), BLOCK):
        block = similarity(queries, corpus[first : first + BLOCK], kind)
        for i, row in enumerate(block):
            scores, ids = np.concatenate([found[i][0], row]), np.concatenate([found[i][1], first + np.arange(len(row))])
            least = np.partition(scores, -top_k)[-top_k] if len(scores) > top_k else -np.inf
            kept = scores >= least - 2 * doubt[i]
            found[i] = scores[kept], ids[kept]
    return [_ranked(query, corpus, ids, top_k, kind) for query, (_, ids) in zip(queries, found, strict=True)]


def _ranked(
    query: Array, corpus: Array, ids: Array, top_k: int, kind: str
) -> list[dict[str, Any]]:  # (d,), (m,d), (k,) int
    a, b = query.astype(np.float64), corpus[ids].astype(np.float64)
    if kind in ("cosine", "dot"):
        a, b = (normalised(a), normalised(b)) if kind == "cosine" else (a, b)
        scores = (b * a).sum(axis=1)  # each row by itself, which `@` does not promise
    else:
        scores = similarity(a[None], b, kind)[0]
    best = np.lexsort((ids, -scores))[:top_k]
    return [{"corpus_id": int(ids[i]), "score": float(scores[i])} for i in best]


def quantized(x: Array, precision: str, ranges: Array | None = None) -> Array:  # (n,d), (2,d) -> (n,d) or (n,d/8)
    """Vectors in fewer bits: "int8" and "uint8" in 256 steps of each entry's range; "binary" and "ubinary" keep the signs.

    ranges: least and greatest value of each entry. Without it these are taken from x, so that an int8 vector then depends on
    the others. Raises ValueError for another precision.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision is one of {', '.join(PRECISIONS)}; got {shown(repr(precision), 60)}")
    if precision == "float32":
        return x.astype(np.float32)
    if precision in ("binary", "ubinary"):
        bits = np.packbits(x > 0, axis=-1)
        return bits if precision == "ubinary" else (bits.astype(np.int16) - 128).astype(np.int8)
    low, high = (x.min(axis=0), x.max(axis=0)) if ranges is None else ranges
    steps = np.where(high == low, 1, (high - low) / 255)
    whole = np.clip(np.floor((x - low) / steps), 0, 255)
    return whole.astype(np.uint8) if precision == "uint8" else (whole - 128).astype(np.int8)
