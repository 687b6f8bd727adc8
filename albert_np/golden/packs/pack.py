"""The arrays of a pack: an op's inputs and weights, rounded to one dtype, and what float64 makes of exactly these."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from albert_np.files import shown
from albert_np.golden.arithmetic import Exact
from albert_np.golden.graph import Step, evaluate
from albert_np.golden.measures.ulps import rounded as nearest
from albert_np.golden.packs.boundaries import PRODUCT, Boundary
from albert_np.golden.recording import Recording, sha256
from albert_np.ops import Array

FORMAT, VERSION = "albert_np.golden.pack", 1
DTYPES = ("float32", "float16", "bfloat16", "float64")
# the largest finite value of each, and bfloat16's smallest step, as IEEE 754 has it for 8 bits of exponent and 7 of fraction
LARGEST = {name: float(np.finfo(name).max) for name in DTYPES if name != "bfloat16"} | {"bfloat16": 2.0**128 - 2.0**120}


@dataclass(frozen=True)
class Argument:
    """One array that goes into the op."""

    name: str  # as the methods of arithmetic.py call it: x, weight, bias, query …
    source: str  # the step, the array of the batch, or the weight that it is
    role: str  # "input" or "weight"
    value: Array  # float64, of values that the pack's dtype has; or int64, or bool


@dataclass(frozen=True)
class Pack:
    """One op, and all that is needed to try it alone."""

    boundary: Boundary
    dtype: str
    arguments: tuple[Argument, ...]
    values: Mapping[str, Array]  # what each step gives, float64, by name
    budget: Array  # what each element may be off
    about: Mapping[str, Any] = field(default_factory=dict)  # where it comes from

    @property
    def name(self) -> str:
        """The boundary's."""
        return self.boundary.name

    @property
    def steps(self) -> tuple[Step, ...]:
        """The ops, in order."""
        return self.boundary.steps

    @property
    def expected(self) -> Array:
        """The output in float64."""
        return self.values[self.steps[-1].name]

    @property
    def inputs(self) -> list[Argument]:
        """The arguments that are no weights."""
        return [one for one in self.arguments if one.role == "input"]

    def named(self, source: str) -> str:
        """The argument that a step or a weight comes as."""
        return next(one.name for one in self.arguments if one.source == source)


def arguments(recording: Recording, boundary: Boundary, dtype: str) -> tuple[Argument, ...]:
    """What goes into a boundary, as it is recorded, rounded to the dtype. Raises ValueError if the dtype cannot hold it."""
    made = {one.name for one in boundary.steps}
    found: dict[str, Argument] = {}
    for one in boundary.steps:
        sources = (*one.inputs, *one.weights)
        for name, source in zip(_parameters(one), sources, strict=True):
            if source not in made and source not in found:
                role = "weight" if source in one.weights else "input"
                value = rounded(_recorded(recording, one, source), dtype, source)
                found[source] = Argument(name, source, role, value)
    return tuple(found.values())


def _parameters(step: Step) -> list[str]:
    if step.op == "add":
        return [f"term_{i}" for i, _ in enumerate(step.inputs)] + [name.rpartition(".")[2] for name in step.weights]
    positional = [
        name
        for name, one in inspect.signature(getattr(Exact(), step.op)).parameters.items()
        if one.kind is one.POSITIONAL_OR_KEYWORD
    ]
    return positional[: len(step.inputs) + len(step.weights)]


def _recorded(recording: Recording, step: Step, source: str) -> Array:
    if source in step.weights:
        return recording.weights[source]
    if source in recording.batch:
        return recording.batch[source]
    if source.endswith(PRODUCT):  # x·Wᵀ, which no trace has: what the linear step gives, without its bias
        return _recorded(recording, step, step.name).astype(np.float64) - recording.weights[step.weights[0]]
    if source not in recording:
        raise ValueError(f"{recording.folder} lacks {shown(source)}, which {step.name} reads: record it again")
    return recording[source]


def rounded(x: Array, dtype: str, name: str) -> Array:
    """Its nearest values in the dtype, as float64; ids and masks stay. Raises ValueError if a finite one becomes infinite."""
    if x.dtype == bool:
        return x
    if x.dtype.kind in "iu":
        return x.astype(np.int64)
    wide = x.astype(np.float64)
    near = nearest(wide, dtype)
    check_range(wide, near, dtype, name)
    return near


def check_range(wide: Array, near: Array, dtype: str, name: str) -> None:
    """Raises ValueError if rounding made a finite value infinite."""
    lost = np.isfinite(wide) & ~np.isfinite(near)
    if lost.any():
        most = float(np.max(np.abs(wide[lost])))
        raise ValueError(
            f"{shown(name)} has values up to {most:.4g}, and {dtype} ends at {LARGEST[dtype]:.4g}: "
            "choose --dtype bfloat16 or float32"
        )


def evaluated(boundary: Boundary, given: tuple[Argument, ...], dtype: str) -> dict[str, Array]:
    """Each step's value in float64. A masked score is the lowest value of the pack's own dtype."""
    known = {one.source: one.value for one in given}
    values: dict[str, Array] = {}
    for one in boundary.steps:
        x = np.asarray(evaluate(one, known, known, Exact()))
        if one.op == "masked_scores":
            x = np.where(known[one.inputs[1]], x, -LARGEST[dtype])
        values[one.name] = known[one.name] = x
    rounded(values[boundary.steps[-1].name], dtype, boundary.name)
    return values


def stored(x: Array, dtype: str) -> Array:
    """As files hold it: little-endian, in C order; bfloat16 as its 16 bits."""
    if x.dtype == np.float64 and dtype == "bfloat16":
        bits = np.asarray(x, np.float32).view(np.uint32) >> 16
        x = bits.astype(np.uint16)
    elif x.dtype == np.float64:
        x = x.astype(dtype)
    return np.ascontiguousarray(x.astype(x.dtype.newbyteorder("<"), copy=False)).reshape(x.shape)


def output_in(pack: Pack) -> Array:
    """The expected output rounded to the pack's dtype, as float64."""
    return rounded(pack.expected, pack.dtype, pack.name)


def dtype_of(x: Array, dtype: str) -> str:
    """The name of the dtype that a manifest gives."""
    return dtype if x.dtype == np.float64 else x.dtype.name


def manifest(pack: Pack) -> dict[str, Any]:
    """All that is to be said about a pack; each tensor by its argument and by its name in the trace."""
    tensors = [
        {"name": one.source, "argument": one.name, "role": one.role, **_described(one.value, pack.dtype)}
        for one in pack.arguments
    ]
    last = pack.steps[-1]
    for role, name, x in (("expected", last.name, pack.expected), ("budget", f"{last.name}.budget", pack.budget)):
        tensors.append({"name": name, "argument": role, "role": role, **_described(x, "float64")})
    return {
        "format": FORMAT,
        "format_version": VERSION,
        "name": pack.name,
        "op": "+".join(one.op for one in pack.steps),
        "application": pack.boundary.application,
        "attributes": {key: value for one in pack.steps for key, value in one.attributes.items()},
        "dtype": pack.dtype,
        "steps": [
            {
                "name": one.name,
                "op": one.op,
                "inputs": list(one.inputs),
                "weights": list(one.weights),
                "attributes": dict(one.attributes),
                "module": one.module,
                "formula": inspect.getdoc(getattr(Exact, one.op)),
            }
            for one in pack.steps
        ],
        "tensors": tensors,
        "passes": "abs(output - expected) <= budget for every element; NaN only where expected is NaN",
        "recording": dict(pack.about),
    }


def _described(x: Array, dtype: str) -> dict[str, Any]:
    return {"shape": list(x.shape), "dtype": dtype_of(x, dtype), "sha256": sha256(stored(x, dtype))}
