"""Runs of lists of steps that differ little from one another: what a change does not reach is not computed again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from albert_np.golden.graph import Step, evaluate, run
from albert_np.golden.mistakes.rewriting import Mistaken
from albert_np.ops import Array


class Replay:
    """The right run, and others beside it.

    values: what the right steps give, by name.
    """

    def __init__(self, steps: list[Step], batch: Mapping[str, Array], weights: Mapping[str, Array], table: Any) -> None:
        self.steps, self.batch, self.weights, self.table = steps, batch, weights, Mistaken(table)
        self.values = run(steps, batch, weights, self.table)
        self._right = {one.name: one for one in steps}

    def run(self, steps: list[Step]) -> dict[str, Array]:
        """All values of other steps. Those that are as in the right run are the same arrays."""
        values: dict[str, Array] = {}
        known, changed = dict(self.batch), set[str]()
        with np.errstate(all="ignore"):
            for one in steps:
                if one.beside:
                    continue
                right = self._right.get(one.name)
                if (one is right or one == right) and not changed.intersection(one.inputs):
                    x = self.values[one.name]
                else:
                    x = np.asarray(evaluate(one, known, self.weights, self.table))
                    if right is not None and (one != right or one.op == "probs") and _equal(x, self.values[one.name]):
                        x = self.values[one.name]  # the change has no effect here
                    else:
                        changed.add(one.name)
                values[one.name] = known[one.name] = x
        return values


def _equal(a: Array, b: Array) -> bool:
    return a.shape == b.shape and np.array_equal(a, b, equal_nan=True)
