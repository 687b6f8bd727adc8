"""What one call of a model carries from box to box: the table of ops, the config, dropout's generator, the trace."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from albert_np.config import AlbertConfig
from albert_np.ops import Array

# A table of ops is anything with the functions of ops.py as attributes; ops.py itself is the first one.
Ops = Any


class Weights(SimpleNamespace):
    """The stored tensors as attributes, along their Hugging Face names: `w.albert_layers[0].attention.query.weight`."""

    def __getattr__(self, name: str) -> Any:  # only called for what is missing; here for the type checker's sake
        raise AttributeError(f"no weight {name!r}; there are {', '.join(vars(self))}")


def weight_tree(named: Mapping[str, Array]) -> Any:  # {"a.0.weight": x} -> .a[0].weight
    """Turns dotted names into attributes and numbers into list places. The arrays are the same objects."""
    branches: dict[str, dict[str, Array]] = {}
    for name, array in named.items():
        head, _, rest = name.partition(".")
        branches.setdefault(head, {})[rest] = array
    children = {head: rest[""] if "" in rest else weight_tree(rest) for head, rest in branches.items()}
    if all(head.isdecimal() for head in children):
        return [children[str(i)] for i in range(len(children))]
    return Weights(**children)


@dataclass(frozen=True)
class Run:
    ops: Ops
    config: AlbertConfig
    rng: np.random.Generator | None = None  # None: inference, where dropout does nothing
    trace: dict[str, Array] | None = None
    labelled_only: bool = False  # logits over the vocabulary for labelled tokens alone: the loss reads no others
    wanted: Callable[[str], bool] | None = None  # which names the trace keeps; None: all
    states: dict[str, Any] = field(default_factory=dict)  # of the generator, before each draw, where a trace is kept

    def record(self, name: str, x: Array) -> Array:
        """Hands x on, and keeps it under its name where a trace was asked for."""
        if self.trace is not None and (self.wanted is None or self.wanted(name)):
            self.trace[name] = x
        return x

    def draw(self, name: str) -> np.random.Generator | None:
        """The generator, for the dropout of that name."""
        if self.rng is not None and self.trace is not None:
            self.states[name] = self.rng.bit_generator.state
        return self.rng

    def draw_again(self, name: str) -> np.random.Generator | None:
        """A generator that draws what the dropout of that name drew."""
        if self.rng is None:
            return None
        again = np.random.default_rng()
        again.bit_generator.state = self.states[name]
        return again
