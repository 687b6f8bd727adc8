"""A candidate against a recording: what is there at all, how precise it is, which op is wrong, and one verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from albert_np.files import listed
from albert_np.golden.budgets.precisions import Precision
from albert_np.golden.budgets.precisions import precision as precision_called
from albert_np.golden.candidates.candidate import Candidate, read
from albert_np.golden.candidates.detection import detected
from albert_np.golden.candidates.output_names import as_steps
from albert_np.golden.comparing.blame import OpResult, Values, blame, real_places
from albert_np.golden.measures.metrics import json_ready
from albert_np.golden.measures.three_errors import three_way
from albert_np.golden.recording import CALL, Recording
from albert_np.ops import Array


@dataclass(frozen=True)
class Problem:
    """Something about a tensor that is no matter of rounding: "missing", "extra", "shape", "input"."""

    name: str
    kind: str
    message: str


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    verdict: "pass", "suspicious" (inside every worst case, and yet not what a correct program does) or "fail".
    first_bad_op: the first op, in the order of the graph, whose local error is outside; None if there is none. span: the steps
    that were computed for it from what the candidate has, itself the last; more than one where tensors are missing.
    """

    verdict: str
    first_bad_op: str | None
    span: tuple[str, ...]
    precision: str
    precision_reason: str
    mask_mode: str
    architecture: str
    partial: bool
    ops: tuple[OpResult, ...]
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Is the verdict "pass"?"""
        return self.verdict == "pass"

    def __getitem__(self, name: str) -> OpResult:
        """The result of one tensor. Raises KeyError for a name that was not compared."""
        for one in self.ops:
            if one.name == name:
                return one
        raise KeyError(f"{name} was not compared")

    def as_dict(self) -> dict[str, Any]:
        """Plain Python, ready for JSON: infinities and NaN are text, span has the two ends alone, and span_ops all of it."""
        values = json_ready(asdict(self))
        return values | {"span": values["span"][:1] + values["span"][-1:], "span_ops": values["span"]}


def compare(
    reference: Recording | str | Path,
    candidate: Mapping[str, Array] | str | Path,
    *,
    name_map: Mapping[str, str] | str | Path | None = None,
    partial: bool = False,
    precision: str | Precision | None = None,
    accumulate: str | None = None,
    ignore_padding: bool = False,
    twin: bool = False,
) -> Comparison:
    """Judges a candidate's tensors: each op by what it makes of the candidate's own inputs.

    reference: a recording of the reference in float64, or its folder. candidate: arrays by name, or a file or folder that
    candidates.read takes. name_map: our names -> the candidate's, with globs (candidates/name_maps.py).
    partial: the candidate may hold some of the tensors only. Without it, a missing tensor is a failure; optional ones
    (graph.py) are never missing.
    precision: "float32", "tf32", "float16" or "bfloat16"; None finds out. accumulate: what sums are kept in, if it is not
    float32. ignore_padding: leave out padded queries and padded keys.
    twin: also run an emulated program of that precision (twin/emulation.py), and hold each total error against its: "expected",
    "suspicious" or "broken" (measures/three_errors.py). It changes no verdict.
    Raises ValueError if nothing can be compared, and for a recording that is not the truth.
    """
    reference = reference if isinstance(reference, Recording) else Recording(reference)
    if (reference.backend, reference.dtype) != ("numpy", "float64"):
        raise ValueError(
            f"{reference.folder} holds what backend {reference.backend!r} computes in {reference.dtype}, a candidate: the "
            "reference is recorded without --backend"
        )
    given = as_steps(read(candidate, name_map), reference.architecture, reference.config)
    notes = list(given.notes)
    if reference.manifest.get("exact"):
        notes.append("the recording is exact: sums, products, gathers and residuals are compared to the bit")
    mapped = name_map is not None
    problems, usable = _problems(given, reference, partial=partial, mapped=mapped)
    if not usable:
        raise ValueError(
            f"no tensor of the candidate has a name and shape of this recording; it has {listed(sorted(given))}, and the "
            f"recording has {listed(list(reference))}: give a name map"
        )
    pooled = frozenset(name for one in reference.steps if one.attributes.get("first_token") for name in one.inputs)
    values = Values(given, usable, _real_tokens(reference) if ignore_padding else None, pooled)
    chosen, reason = _precision(precision, accumulate, reference, values, given)
    results: list[OpResult] = []
    for result, note in blame(reference, values, chosen):
        results.append(result)
        notes += [note] if note else []
    if twin:
        results = list(_beside_a_twin(results, reference, values, chosen.name, accumulate or "float32"))
    bad = [one for one in results if one.bad]
    shape = next((p for p in problems if p.kind == "shape"), None)
    first = _first(reference, bad, shape)
    failed = bool(problems) or any(one.verdict == "fail" for one in results)
    return Comparison(
        verdict="fail" if failed else "suspicious" if bad else "pass",
        first_bad_op=first,
        span=_in_order(reference, next((one.span for one in bad if one.name == first), (first,) if first else ())),
        precision=chosen.name,
        precision_reason=reason,
        mask_mode=reference.mask_mode,
        architecture=reference.architecture,
        partial=partial,
        ops=tuple(results),
        problems=tuple(problems),
        notes=tuple(dict.fromkeys(notes)),
        about={
            "reference": str(reference.folder),
            "candidate": "" if isinstance(candidate, Mapping) else str(candidate),
        },
    )


def _beside_a_twin(
    results: list[OpResult], reference: Recording, values: Values, precision: str, accumulate: str
) -> Iterator[OpResult]:
    """The results with what a twin of that precision says about each total error."""
    from albert_np.golden.twin.emulation import emulate

    made = emulate(reference.model(), precision, accumulate=accumulate)
    call: dict[str, Any] = {**reference.call, "mask_mode": reference.mask_mode}
    steps = made.run(call, beside=True)
    for one in results:
        golden, places = reference[one.name], None
        if values.real is not None:
            places = real_places(golden.shape, values.real)
        chosen = np.ones(golden.shape, bool) if places is None else np.broadcast_to(places, golden.shape)
        if one.op == "masked_scores":
            chosen = chosen & reference.batch["allowed"]
        chosen = chosen & ~np.isnan(golden)  # of a row without an answer
        if not chosen.any():
            yield one
            continue
        with np.errstate(invalid="ignore", over="ignore"):
            errors = (values[one.name] - golden)[chosen], (steps[one.name].astype(np.float64) - golden)[chosen]
        found = three_way(*errors)
        yield replace(one, three_way=found.verdict, twin_ratio=found.ratio)


def _real_tokens(reference: Recording) -> Array | None:  # -> (B,T) bool
    """Which tokens are no padding; None where a mask of pairs says nothing about it."""
    allowed = reference.batch["allowed"]
    return allowed[:, 0, 0] if allowed.shape[2] == 1 else None


def _in_order(reference: Recording, span: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(one.name for one in reference.steps if one.name in span)


def _first(reference: Recording, bad: list[OpResult], misshapen: Problem | None) -> str | None:
    names = {one.name for one in bad} | ({misshapen.name} if misshapen else set())
    return next((one.name for one in reference.steps if one.name in names), None)


def _problems(given: Candidate, reference: Recording, *, partial: bool, mapped: bool) -> tuple[list[Problem], set[str]]:
    """What is wrong with the tensors as such, and those that can be compared."""
    problems: list[Problem] = []
    usable: set[str] = set()
    steps = {one.name: one for one in reference.steps}
    for name in given:
        if name in steps:
            expected = tuple(reference.entries[name]["shape"])
            if given.shapes[name] != expected:
                message = f"its shape is {given.shapes[name]}, and that of the recording {expected}"
                problems.append(Problem(name, "shape", message))
            else:
                usable.add(name)
        elif name in CALL:
            recorded = reference.call.get(name)
            if recorded is None or not np.array_equal(np.asarray(given[name]), recorded):
                message = "it differs from what the recording was made with: run the candidate on inputs.npz"
                problems.append(Problem(name, "input", message))
        elif name not in reference.entries and not mapped:
            problems.append(Problem(name, "extra", "the recording has no tensor of that name"))
    if not partial:
        for name, one in steps.items():
            if not one.optional and name not in given:
                message = "the candidate lacks it (--partial takes candidates that hold some tensors only)"
                problems.append(Problem(name, "missing", message))
    return problems, usable


def _precision(
    precision: str | Precision | None,
    accumulate: str | None,
    reference: Recording,
    values: Values,
    given: Candidate,
) -> tuple[Precision, str]:
    if isinstance(precision, Precision):
        return precision, "given"
    if precision is not None:
        name, reason = precision, "given"
    else:
        name, reason = detected(reference, values, given.stored)
    return precision_called(name, accumulate or "float32"), reason
