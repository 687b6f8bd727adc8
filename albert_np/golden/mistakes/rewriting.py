"""What a porting mistake is: a small rewriting of the list of steps, which runs like the right one.

Most mistakes compute a step differently. Such a step keeps its name, inputs and weights; its op becomes `mistaken`, and the
attribute `how` says what is computed, through the ops of any table. `Mistaken` adds that op to a table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from albert_np.golden.arithmetic import Table
from albert_np.golden.graph import Step
from albert_np.ops import Array

How = Callable[..., Array]  # (table, *arrays, **attributes) -> what the step gives
Rewrite = Callable[[list[Step], int | None], list[Step]]  # (steps, one application, or None for all) -> steps


@dataclass(frozen=True)
class Mistake:
    """One porting mistake."""

    name: str
    description: str  # in words, as one would write it into a ticket
    where: tuple[str, ...]  # patterns of the names of the steps that become wrong
    rewrite: Rewrite


class Mistaken:
    """Any table, which also computes the steps that a mistake has changed."""

    def __init__(self, table: Table) -> None:
        self.table = table

    def __getattr__(self, op: str) -> Any:
        return getattr(self.table, op)

    def mistaken(self, *arrays: Array, how: How, **attributes: Any) -> Array:
        """What `how` makes of the arrays. A wrong formula may overflow; that is no news."""
        with np.errstate(all="ignore"):
            return how(self.table, *arrays, **attributes)


def matches(one: Step, where: Iterable[str], application: int | None = None) -> bool:
    """Whether the step's name fits one of the patterns, and its application is the one that is asked for."""
    here = application is None or one.application == application
    return here and any(fnmatchcase(one.name, pattern) for pattern in where)


def computed(one: Step, how: How, **more: Any) -> Step:
    """The same step, computed in another way."""
    return replace(one, op="mistaken", attributes={**one.attributes, **more, "how": how})


def passed_on(one: Step, name: str) -> Step:
    """A step that only hands on what another one gives."""
    return replace(one, op="mistaken", inputs=(name,), weights=(), attributes={"how": same})


def same(table: Table, x: Array) -> Array:  # (...) -> (...)
    """The array itself."""
    return x


def changed(
    name: str, description: str, where: str | Sequence[str], change: Callable[[Step], Step | Sequence[Step]]
) -> Mistake:
    """A mistake that changes each of some steps, or puts several (or none) in their place."""
    patterns = (where,) if isinstance(where, str) else tuple(where)

    def rewrite(steps: list[Step], application: int | None) -> list[Step]:
        out: list[Step] = []
        for one in steps:
            new = change(one) if matches(one, patterns, application) else one
            out += [new] if isinstance(new, Step) else new
        return out

    return Mistake(name, description, patterns, rewrite)


def wrong(name: str, description: str, where: str | Sequence[str], how: How) -> Mistake:
    """A mistake that computes some steps in another way, from the same inputs and weights."""
    return changed(name, description, where, lambda one: computed(one, how))


def with_mistake(steps: list[Step], mistake: Mistake, application: int | None = None) -> list[Step]:
    """The steps of a program that makes this mistake: everywhere, or in one application of a layer only.

    Run them with a table that is wrapped in `Mistaken`. Raises ValueError if the mistake changes none of these steps.
    """
    out = mistake.rewrite(steps, application)
    if out == steps:
        at = "these steps" if application is None else f"the steps of application {application}"
        raise ValueError(f"{mistake.name} changes none of {at}: it falls on {', '.join(mistake.where)}")
    return out


def first_wrong_step(steps: list[Step], mutant: list[Step], *, optional: bool = False) -> str:
    """The name that blame must report for the mutant: its first step that is not computed as it should be.

    Without optional steps in a candidate, what is wrong in one of them belongs to the first step that reads it. Raises
    ValueError if no step differs.
    """
    right = {one.name: one for one in steps}
    hidden: set[str] = set()  # optional steps that are wrong, and which nobody can see
    for one in mutant:
        if one.beside:
            continue
        differs = one != right.get(one.name) or bool(hidden & set(one.inputs))
        if differs and one.optional and not optional:
            hidden.add(one.name)
        elif differs:
            return one.name
    raise ValueError("the two lists of steps are the same")
