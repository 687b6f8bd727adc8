"""Of a large model: which mistakes are worth a whole run, and in which order, from runs of its first application alone.

A run with one application costs a fraction of a whole one, and shows how much a mistake changes there. At the end of all
applications the effect is of the same order: each application makes the mistake anew, and none of them has all the earlier
ones' effects grow or vanish by more than APART. So a mistake is tried early if its effect is as large as the candidate's
distance from the truth, and not at all if it is larger or smaller by more than that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from albert_np.golden.graph import Step
from albert_np.golden.mistakes.distances import gap, rms
from albert_np.golden.mistakes.outcomes import last_layer
from albert_np.ops import Array

APART = 50.0  # an effect after all applications is at most this many times larger or smaller than after the first
ALIKE = 0.3  # two mistakes are alike if their effects after the first application differ by this share of one of them


def shortened(steps: list[Step]) -> list[Step]:
    """The same model with its first application alone."""
    kept = [one for one in steps if one.application in (None, 0)]
    swap = {last_layer(steps): last_layer(kept)}
    return [replace(one, inputs=tuple(swap.get(name, name) for name in one.inputs)) for one in kept]


def complete(steps: Iterable[Step], batch: Mapping[str, Array]) -> bool:
    """Whether every step's inputs are there when it is run."""
    known = set(batch)
    for one in steps:
        if not known.issuperset(one.inputs):
            return False
        known.add(one.name)
    return True


class Screen:
    """The effects of mistakes after the first application, in units of noise, by name; None where it cannot be told."""

    def __init__(self, effects: Mapping[str, Array | None], seen: Array) -> None:
        """seen: the candidate less the truth, in units of noise."""
        self.effects, self.distance = effects, rms(seen)

    def order(self, limit: float) -> list[str]:
        """The names of the mistakes to try, the likeliest first. limit: a distance up to which noise may be all there is."""
        rank = {name: self._rank(effect, limit) for name, effect in self.effects.items()}
        return sorted((name for name, at in rank.items() if np.isfinite(at)), key=lambda name: rank[name])

    def _rank(self, effect: Array | None, limit: float) -> float:
        """How many times larger or smaller the effect is than what is to be explained, as a logarithm."""
        size = np.inf if effect is None else rms(effect)
        if not (np.isfinite(size) and np.isfinite(self.distance)):
            return 1.0  # neither ruled out nor suspected
        ratio = np.log(max(size, 1e-300) / max(self.distance, 1e-300))
        hidden = self.distance <= limit and ratio < 0  # by the noise
        return 1.0 if hidden else abs(ratio) if abs(ratio) <= np.log(APART) else np.inf

    def alike(self, name: str) -> Iterator[str]:
        """The mistakes that could predict the same as this one."""
        effect = self.effects[name]
        for other, x in self.effects.items():
            if (
                effect is not None
                and x is not None
                and rms(gap(x, effect, np.ones_like(effect))) <= ALIKE * rms(effect)
            ):
                yield other
