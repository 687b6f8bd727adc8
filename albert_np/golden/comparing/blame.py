"""Which op is wrong: each tensor of a candidate is judged by its local error alone, in the order of the graph."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from albert_np.golden.budgets.judging import judge
from albert_np.golden.budgets.parts import Budget
from albert_np.golden.budgets.precisions import Precision
from albert_np.golden.comparing.own_inputs import Replay, Replayer
from albert_np.golden.graph import Step
from albert_np.golden.measures.metrics import metrics
from albert_np.golden.recording import Recording
from albert_np.ops import Array

KEPT = 24  # tensors of the candidate in memory: those that one application of a layer reads
BINS = np.linspace(-3, 3, 25)  # of a histogram: log₁₀ of the share of its budget that an element uses
COVERED = -1000.0  # a score below it stands for a key that may not be attended to
# what a program does without an error, in any order of sums, where the numbers are small multiples of a power of two
LINEAR = ("gather", "add", "linear", "heads", "scores", "context")
WORST = 5  # elements that a result shows


@dataclass(frozen=True)
class OpResult:
    """One tensor of the candidate.

    local: the largest error of the op itself; inherited: the largest that came with its inputs; total: the largest against
    the golden tensor. budget_share: the largest local error as a share of what a correct program may be off there; rms_share
    and bias_share: the same for the statistical tests. More than 1 is outside. three_way and twin_ratio: the total error beside
    that of an emulated twin (measures/three_errors.py), if one was asked for.
    """

    name: str
    op: str
    application: int | None
    module: str
    shape: tuple[int, ...]
    verdict: str  # "pass", "fail", "suspicious" or "unjudged"
    reason: str = ""
    span: tuple[str, ...] = ()
    local: float | None = None
    inherited: float | None = None
    total: float | None = None
    local_rms: float | None = None
    inherited_rms: float | None = None
    total_rms: float | None = None
    golden_rms: float | None = None
    budget_share: float | None = None
    rms_share: float | None = None
    bias_share: float | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    worst: list[dict[str, Any]] = field(default_factory=list)
    histogram: list[int] = field(default_factory=list)
    three_way: str | None = None
    twin_ratio: float | None = None

    @property
    def bad(self) -> bool:
        """Does it count against the candidate?"""
        return self.verdict in ("fail", "suspicious")


class Values(Mapping[str, Array]):
    """The candidate's tensors in float64, the last few of them kept. Those with a wrong shape are not there.

    padding: a mask of the real tokens (B,T), if padding is to be ignored: whatever a program left there reads as 0.
    pooled: tensors that keep their first token all the same, since the pooler reads it, padding or not.
    """

    def __init__(
        self,
        candidate: Mapping[str, Array],
        names: set[str],
        padding: Array | None = None,
        pooled: frozenset[str] = frozenset(),
    ) -> None:
        self._candidate, self._names = candidate, names
        self._kept: OrderedDict[str, Array] = OrderedDict()
        self.real, self._pooled = padding, pooled
        self.changed: dict[str, Array] = {}  # scores without the mask that the candidate has added

    def __getitem__(self, name: str) -> Array:
        if name not in self._names:
            raise KeyError(name)
        if name in self.changed:
            return self.changed[name]
        if name not in self._kept:
            x = np.asarray(self._candidate[name]).astype(np.float64)
            real = None if self.real is None else real_places(x.shape, self.real)
            if real is not None and name in self._pooled:
                real = real | (np.arange(x.shape[1]) == 0)[:, None]
            self._kept[name] = x if real is None else np.where(real, x, 0.0)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(name)
        return self._kept[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def blame(
    reference: Recording,
    values: Values,
    precision: Precision,
    *,
    seed: int = 0,
) -> Iterator[tuple[OpResult, str]]:
    """A result for each tensor of the candidate that the graph has, in its order, and what there is to say about it."""
    steps, batch = reference.steps, reference.batch
    exact = bool(reference.manifest.get("exact"))
    replayer = Replayer(steps, values, batch, reference.weights, precision, rng=np.random.default_rng(seed))
    for step in steps:
        if step.name in values:
            note = ""
            if step.op == "scores":
                note = _without_mask(step, values, batch["allowed"])
            where = _where(step, values[step.name], batch["allowed"], note != "", values.real)
            yield _result(step, values[step.name], reference[step.name], replayer, precision, where, exact), note
        replayer.forget(step)


def _result(
    step: Step,
    actual: Array,
    golden: Array,
    replayer: Replayer,
    precision: Precision,
    where: Array | None,
    exact: bool,
) -> OpResult:
    about: dict[str, Any] = {
        "name": step.name,
        "op": step.op,
        "application": step.application,
        "module": step.module,
        "shape": actual.shape,
    }
    replay = replayer.replay(step, actual, where)
    about["span"] = replay.span
    chosen = np.ones(actual.shape, bool) if where is None else np.broadcast_to(where, actual.shape)
    expected_nan = np.isnan(replay.value)
    if np.any(expected_nan & chosen) and not np.any(np.isnan(golden)):
        return OpResult(**about, verdict="unjudged", reason="an input of it holds NaN or infinity")
    chosen = chosen & ~(expected_nan & np.isnan(actual))  # both say that there is no answer
    if not chosen.any():
        return OpResult(**about, verdict="unjudged", reason="nothing is left to compare")
    with np.errstate(invalid="ignore", over="ignore"):
        local, inherited, total = (
            np.where(chosen, x, 0.0) for x in (actual - replay.value, replay.value - golden, actual - golden)
        )
    if exact and step.op in LINEAR and np.array_equal(replay.value, golden):  # models/exact_model.py: to the bit
        replay.budget = Budget(np.zeros(actual.shape), np.zeros(actual.shape))
    judgement = judge(local, replay.budget, where=chosen)
    verdict: str = judgement.verdict
    reason = "" if verdict == "pass" else judgement.group if judgement.worst_share <= 1 else "beyond the worst case"
    # numbers that nearly agree may be rounded to the same one: that is inside, and no fault
    if verdict == "fail" and _constant(actual, chosen) and not _constant(replay.value, chosen):
        reason = "every element is the same"
    return OpResult(
        **about,
        verdict=verdict,
        reason=reason,
        local=_largest(local),
        inherited=_largest(inherited),
        total=_largest(total),
        local_rms=_rms(local, chosen),
        inherited_rms=_rms(inherited, chosen),
        total_rms=_rms(total, chosen),
        golden_rms=_rms(np.where(chosen, golden, 0.0), chosen),
        budget_share=judgement.worst_share,
        rms_share=judgement.rms_share,
        bias_share=judgement.bias_share,
        metrics=metrics(actual, golden, where=chosen, precision=precision.name).as_dict(),
        worst=_worst(actual, replay, local, chosen),
        histogram=_histogram(local, replay, chosen),
    )


def _constant(x: Array, chosen: Array) -> bool:
    some = x[chosen]
    return some.size > 1 and bool(np.all(some == some[0]))


def _largest(error: Array) -> float:
    return float(np.max(np.abs(error)))


def _rms(error: Array, chosen: Array) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.sqrt(np.sum(np.square(error)) / np.count_nonzero(chosen)))


def _shares(local: Array, replay: Replay) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.abs(local) / replay.budget.worst
    return np.where(local == 0, 0.0, np.where(np.isnan(shares), np.inf, shares))


def _worst(actual: Array, replay: Replay, local: Array, chosen: Array) -> list[dict[str, Any]]:
    """The elements that use most of their budgets."""
    shares = np.where(chosen, _shares(local, replay), -1.0).reshape(-1)
    count = min(WORST, shares.size)
    first = np.argpartition(-shares, count - 1)[:count]
    worst = np.broadcast_to(replay.budget.worst, actual.shape)
    found = []
    for flat in first[np.argsort(-shares[first], kind="stable")]:
        index = np.unravel_index(flat, actual.shape)
        found.append(
            {
                "index": [int(i) for i in index],
                "got": float(actual[index]),
                "expected": float(replay.value[index]),
                "budget": float(worst[index]),
                "share": float(shares[flat]),
            }
        )
    return found


def _histogram(local: Array, replay: Replay, chosen: Array) -> list[int]:
    """How many elements use which share of their budgets: below 10⁻³ in the first, above 10³ in the last."""
    shares = _shares(local, replay)[chosen]
    with np.errstate(divide="ignore"):
        places = np.clip(np.log10(shares), BINS[0], BINS[-1] - 1e-9)
    return [int(n) for n in np.histogram(places, BINS)[0]]


def _without_mask(step: Step, values: Values, allowed: Array) -> str:
    """Scores that have the mask in them already: takes it out where it stands, and says so."""
    scores = values[step.name]
    masked = ~np.broadcast_to(allowed, scores.shape)
    if not masked.any():
        return ""
    there = scores[masked]
    largest = float(np.max(np.abs(scores[~masked]), initial=0))
    if not (np.all(there < COVERED) and np.min(-there) > 10 * largest):
        return ""
    values.changed[step.name] = np.where(masked, 0.0, scores)
    return f"{step.name} has the mask added already: only keys that may be attended to are compared"


def real_places(shape: tuple[int, ...], real: Array) -> Array | None:  # (B,T) bool -> bool, of that shape or smaller
    """Which elements of a tensor are of real tokens: of both, where it has pairs. None: it has no axis of tokens."""
    B, T = real.shape
    if len(shape) == 4 and (shape[0], *shape[2:]) == (B, T, T):
        return real[:, None, :, None] & real[:, None, None, :]
    if len(shape) == 4 and (shape[0], shape[2]) == (B, T):
        return real[:, None, :, None]
    return real[..., None] if len(shape) == 3 and shape[:2] == (B, T) else None


def _where(step: Step, actual: Array, allowed: Array, has_mask: bool, real: Array | None) -> Array | None:
    """Which elements are compared: all (None), or not those of padded tokens, nor of keys that the mask has covered."""
    where = None
    if step.op == "masked_scores" or has_mask:  # what covers a key is −10000, the lowest number or −∞: all the same
        where = np.broadcast_to(allowed, actual.shape)
    places = None if real is None else real_places(actual.shape, real)
    if places is None:
        return where
    return places if where is None else where & places
