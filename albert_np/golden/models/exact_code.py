"""How the exact set (exact_model.py) keeps bits in channels, and shares work between dimensions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from albert_np.ops import Array


@dataclass(frozen=True)
class Code:
    """How channels hold bits: channel j is size[j]·s[bit[j]] + offset[j], or offset[j] alone where bit[j] is −1."""

    bit: Array  # (C,) int
    size: Array  # (C,), with a sign
    offset: Array  # (C,)

    @property
    def pairs(self) -> Array:  # -> (bits, 2) int
        """The two channels of each bit."""
        order = np.argsort(self.bit, kind="stable")
        return order[np.count_nonzero(self.bit < 0) :].reshape(-1, 2)

    @property
    def empty(self) -> Array:  # -> (…,) int
        """The channels that hold no bit."""
        return np.flatnonzero(self.bit < 0)

    def read(self, bits: Array, gains: Array) -> tuple[Array, Array]:  # (R,) int, (R,) -> (R,C), (R,)
        """The weight and bias of a linear layer whose row r is gains[r]·s[bits[r]]; half of it from either channel.

        Rows also read empty channels, each of which some row reads if there are not too many; the bias takes them away.
        """
        weight = np.zeros((len(bits), len(self.bit)))
        for channels in self.pairs[bits].T:
            weight[np.arange(len(bits)), channels] = gains / (2 * self.size[channels])
        rows, empty = np.flatnonzero(gains), self.empty
        if len(empty):
            n = min(max(len(empty), len(rows)), 3 * len(rows))
            weight[np.resize(rows, n), np.resize(empty, n)] = np.resize(gains[rows], n)
        return weight, -weight @ self.offset


def binary(values: Array, bits: int) -> Array:  # (n,) int -> (n, bits)
    """The lowest bits of each value, as ±1, the lowest first."""
    return np.where(values[:, None] >> np.arange(bits) & 1, 1, -1)


def shares(kinds: Array) -> Array:  # (n,) int -> (n,)
    """For each the share of its kind's work: ½, ¼ … of 1, the last two alike, so that they add up to 1 exactly."""
    share = np.empty(len(kinds))
    order = np.argsort(kinds, kind="stable")
    _, start, count = np.unique(kinds[order], return_index=True, return_counts=True)
    rank = np.arange(len(kinds)) - np.repeat(start, count)
    share[order] = 0.5 ** np.minimum(rank + 1, np.repeat(count, count) - 1)
    return share
