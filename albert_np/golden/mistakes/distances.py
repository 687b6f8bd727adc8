"""Distances in units of noise, in which NaN and infinity are never near a number."""

from __future__ import annotations

import numpy as np

from albert_np.ops import Array


class Noise:
    """Draws of the noise around one prediction, and its size for each number."""

    def __init__(self, draws: Array, outputs: Array, unit: float) -> None:
        draws = np.where(np.isfinite(draws), draws, 0)
        each = (draws**2).mean(0)
        floor = (unit * np.abs(np.where(np.isfinite(outputs), outputs, 0))) ** 2 / 3
        self.sd = np.sqrt((each + each.mean()) / 2 + floor) + np.finfo(np.float64).tiny
        self.draws = draws / self.sd

    def effect(self, outputs: Array, truth: Array, shown: Array | None = None) -> tuple[float, float]:
        """How much of (outputs − truth) is in what is shown, a row in units of noise; and the standard error of that."""
        direction = gap(outputs, truth, self.sd)
        square = float(direction @ direction)
        if not np.isfinite(direction).all():  # seen by its infinities
            return float(shown is None or not np.isfinite(shown).all()), 0.0
        if square == 0:
            return 0.0, float("inf")
        error = float(np.sqrt(((self.draws @ direction) ** 2).mean())) / square
        seen = 0.0 if shown is None or not np.isfinite(shown).all() else float(shown @ direction) / square
        return seen, error


def gap(a: Array, b: Array, sd: Array) -> Array:
    """(a − b)/sd. 0 where both are the same infinity or NaN, infinite where only one is."""
    with np.errstate(all="ignore"):
        found = (a - b) / sd
    odd = ~np.isfinite(found)
    if odd.any():
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        found = np.where(odd, np.where(same, 0, np.inf), found)
    return np.asarray(found)


def rms(x: Array) -> float:
    return float(np.sqrt(np.mean(x**2))) if x.size else 0.0


def relative(a: Array, b: Array) -> float:
    """The distance, relative to the size of b."""
    size = rms(np.where(np.isfinite(b), b, 0)) or 1.0
    return rms(gap(a, b, np.full(a.shape, size)))
