"""What counting gets at guessing a token: by its two neighbours, and by nothing.

The neighbours' guess is p(w|left) · p(w|right) / p(w), exact if a token's two neighbours told of it independently. Each factor
is counted on the training text and smoothed with a tenth of a count, shared out as the tokens are:
p(w|left) = (count(left w) + 0.1 p(w)) / (count(left) + 0.1), and p(w) = (count(w) + 0.1) / (all + 0.1 V).
"""

from __future__ import annotations

import numpy as np

from albert_np.ops import Array

SMOOTHING = 0.1


class NeighbourCounts:
    """How often tokens, and pairs of neighbours, stand in a text of V tokens.

    Pairs are kept sparse and twice: by their left token, whose followers and counts are a stretch of two arrays, and by their
    right one. probabilities (V,) float64 is p(w).
    """

    def __init__(self, ids: Array, starts: Array, vocab_size: int, before: int, after: int) -> None:
        """ids (n,) of all paragraphs, end to end; starts (P+1,), where each begins, and n. before, after: the tokens that
        stand for a paragraph's two ends, [CLS] and [SEP]."""
        V, self.vocab_size = vocab_size, vocab_size
        counts = np.bincount(ids, minlength=V).astype(np.float64)
        self.probabilities = (counts + SMOOTHING) / (counts.sum() + SMOOTHING * V)
        text = np.insert(ids.astype(np.int64), np.repeat(starts[1:-1], 2), np.tile([after, before], len(starts) - 2))
        text = np.concatenate([[before], text, [after]])
        left, right = text[:-1], text[1:]
        inside = ~((left == after) & (right == before))
        pairs, times = np.unique(left[inside] * V + right[inside], return_counts=True)
        left, right = np.divmod(pairs, V)
        self._followers = _Sparse(left, right, times, V)
        by_right = np.lexsort((left, right))
        self._leaders = _Sparse(right[by_right], left[by_right], times[by_right], V)

    def scores(self, left: int | None, right: int | None) -> Array:  # -> (V,) float64
        """In the order of p(w|left) · p(w|right) / p(w): without the factors that are the same for every w.

        A neighbour that is None is not known, and its factor is p(w).
        """
        p = self.probabilities
        by_left = p if left is None else self._followers.row(left) + SMOOTHING * p
        by_right = p if right is None else self._leaders.row(right) + SMOOTHING * p
        return by_left * by_right / p


class _Sparse:
    """A V×V table of counts, row by row."""

    def __init__(self, rows: Array, columns: Array, counts: Array, size: int) -> None:  # three of (n,), rows in order
        self.starts = np.searchsorted(rows, np.arange(size + 1))
        self.columns, self.counts, self.size = columns, counts, size

    def row(self, row: int) -> Array:  # -> (V,) float64
        first, last = self.starts[row], self.starts[row + 1]
        dense = np.zeros(self.size)
        dense[self.columns[first:last]] = self.counts[first:last]
        return dense


def rank(scores: Array, answer: int) -> int:  # (V,) -> 0 for the best
    """How many come before the answer; of equal scores the lower number comes first, as in argmax."""
    best = scores[answer]
    return int(np.count_nonzero(scores > best) + np.count_nonzero(scores[:answer] == best))
