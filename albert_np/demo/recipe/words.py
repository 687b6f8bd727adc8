"""The words' vectors that the demo's training begins with: counted, not learned.

Words that stand beside the same words mean much the same. How much oftener than by chance w stands at a distance d from c, as
log p(w, c) / (p(w) p(c)), is a matrix for each d; its largest singular vectors are word vectors, as good as those that a
network learns from the same text by predicting (Levy & Goldberg 2014, "Neural word embedding as implicit matrix factorization";
Levy, Goldberg & Dagan 2015, section 3.3: positive values, the smoothing of p(c) by a power of 0.75, the root of the singular
values). Counting takes a quarter of a minute. The model's table of words is also what its answers are compared with, so it
begins with synonyms side by side on both ends.
"""

from __future__ import annotations

import numpy as np

from albert_np import AlbertForPreTraining
from albert_np.ops import Array

WINDOW = {-2: 0.5, -1: 1.0, 1: 1.0, 2: 0.5}  # distance -> weight
CONTEXTS = 4000  # the most frequent tokens: a rarer one is beside few
SMOOTHING = 0.75  # the power of c's frequency
FEW = 10  # a token seen so often has vectors of half their length: they are half chance
SPARE, ROUNDS = 32, 3  # of the randomised search for singular vectors (Halko et al. 2011, algorithm 4.4)


def count_words(model: AlbertForPreTraining, ids: Array) -> None:  # (n,)
    """Puts word vectors counted on a text into the table of words, and log p(w) into the bias of the answers, in place.

    The vectors get the deviation of random ones. A token that the text has not, such as [MASK], keeps its random vector.
    """
    (words,) = (x for name, x in model.named_parameters() if name.endswith("word_embeddings.weight"))
    (bias,) = (x for name, x in model.named_parameters() if name.endswith("predictions.bias"))
    V, E = words.shape
    seen = np.bincount(ids, minlength=V)
    log_p = np.log((seen + 0.1) / (seen + 0.1).sum())
    bias[...] = log_p - log_p.mean()
    vectors = word_vectors(ids, V, E)
    there = seen > 0
    words[there] = vectors[there] * (model.config.initializer_range / np.sqrt(np.mean(vectors[there] ** 2)))


def word_vectors(ids: Array, vocab_size: int, size: int, seed: int = 0) -> Array:  # (n,) -> (V, E)
    """U·√S of associations ≈ U·S·Wᵀ."""
    matrix = associations(ids, vocab_size)
    rng = np.random.default_rng(seed)
    right = rng.standard_normal((matrix.shape[1], min(size + SPARE, vocab_size))).astype(matrix.dtype)
    for _ in range(ROUNDS):
        left, _ = np.linalg.qr(matrix @ right)
        right, _ = np.linalg.qr(matrix.T @ left)
    left, _ = np.linalg.qr(matrix @ right)
    within, values, _ = np.linalg.svd(left.T @ matrix, full_matrices=False)
    return ((left @ within) * np.sqrt(values))[:, :size]


def associations(ids: Array, vocab_size: int) -> Array:  # (n,) -> (V, 4C) float32
    """For each distance of the window: max(0, log p(w, c) / (p(w) p(c))) of every token w and the most frequent tokens c."""
    V, ids = vocab_size, np.asarray(ids, np.int64)
    seen = np.bincount(ids, minlength=V).astype(np.float64)
    contexts = np.argsort(-seen, kind="stable")[: min(CONTEXTS, V)]
    C = len(contexts)
    column = np.full(V, -1)
    column[contexts] = np.arange(C)
    p_context = seen[contexts] ** SMOOTHING / np.sum(seen**SMOOTHING)
    parts = []
    for distance, weight in WINDOW.items():
        w, c = (ids[-distance:], ids[:distance]) if distance < 0 else (ids[:-distance], ids[distance:])
        kept = column[c] >= 0
        pairs = np.bincount(w[kept] * C + column[c[kept]], minlength=V * C).reshape(V, C)
        with np.errstate(divide="ignore", invalid="ignore"):  # a pair, or a token, never seen
            log_ratio = np.log(pairs / (seen[:, None] * p_context))
        parts.append(weight * np.maximum(np.nan_to_num(log_ratio, nan=0.0, neginf=0.0), 0.0).astype(np.float32))
    trust = (seen / (seen + FEW)).astype(np.float32)
    return np.concatenate(parts, axis=1) * trust[:, None]
