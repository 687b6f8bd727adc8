"""Which porting mistake explains a candidate's outputs: all mistakes of the catalogue are run, and compared with it.

Distances are in units of noise: what a program without the mistake, or with it, is off by in the candidate's precision
(noise.py; each number has its own unit). A hypothesis (a mistake, or none) *fits* if the candidate is no further from what
it predicts than noise is. Of those that fit, the likeliest is named. A mistake must also be *seen*: how much of its effect the
candidate shows (a matched filter: the difference from the truth, projected on the effect) must be near 1, and many times
its own uncertainty away from 0. So an effect that is smaller than the noise of each number is found, if it is in enough of
them. If nothing fits, the answer is "unknown".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from albert_np.golden import candidates
from albert_np.golden.arithmetic import Exact
from albert_np.golden.candidates import Candidate
from albert_np.golden.graph import Step, run
from albert_np.golden.mistakes import Mistaken, mistakes, with_mistake
from albert_np.golden.noise import NARROW, UNIT, precision_of, rounded_weights, tables
from albert_np.golden.outcomes import chosen_values, found_outputs, real_tokens
from albert_np.golden.replay import Replay
from albert_np.ops import Array

NONE, UNKNOWN = "none", "unknown"
DRAWS = 12  # of a noisy run; of a large model SLOW_DRAWS, since its outputs have many numbers
SLOW_DRAWS, SLOW = 4, 0.3  # seconds of one run
FINALISTS = 6  # hypotheses whose own noise is drawn
FITS = 3.0  # a hypothesis fits if the candidate is at most this many times its noise away (few numbers: more)
WORST = 8.0  # …and no number more than this many times further
SEEN = 5.0  # standard errors between the effect that is seen and none
APART = 3.0  # …and between two mistakes that can be told apart
SAME = 0.05  # two predictions are equal if they differ by this share of the noise


@dataclass(frozen=True)
class Evidence:
    """How well one hypothesis explains the candidate. Distances are relative to the size of the outputs."""

    name: str
    description: str
    before: float  # the candidate's distance from the truth
    after: float  # …and from what the hypothesis predicts
    explained: float  # the share of the squared distance that the hypothesis takes away
    noise: float  # after, as a multiple of the noise of the candidate's precision
    effect: float  # how much of the mistake's effect is seen: 1 is all of it
    effect_error: float  # its standard error
    fits: bool
    ties: tuple[str, ...] = ()  # mistakes that predict the same


@dataclass(frozen=True)
class Diagnosis:
    """The answer. diagnosis: the name of a mistake, "none" or "unknown"."""

    diagnosis: str
    description: str
    precision: str
    precision_detected: bool
    outputs: tuple[str, ...]
    ties: tuple[str, ...]
    evidence: tuple[Evidence, ...]
    tried: int
    invisible: tuple[str, ...] = field(repr=False)  # mistakes that change no output here by more than noise
    seconds: float = 0.0
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return asdict(self)


@dataclass(frozen=True)
class _Hypothesis:
    """A mistake or none, and what it predicts."""

    name: str
    description: str
    steps: list[Step]
    outputs: Array  # (n,) all outputs in one row
    ties: tuple[str, ...] = ()


def diagnose(
    reference: Any,
    outputs: Any,
    inputs: Mapping[str, Any] | None = None,
    *,
    precision: str | None = None,
    ignore_padding: bool = False,
    progress: Callable[[int, int, float], None] | None = None,
) -> Diagnosis:
    """Names the porting mistake that explains a candidate's final outputs.

    reference: a Recording; or a model, with the inputs of a call. outputs: arrays by name, or a path that
    candidates.read takes: what the class returns (logits, last_hidden_state …) or the names of steps; one is enough.
    precision: what the candidate computes in: "float64", "float32", "tf32", "float16", "bfloat16"; by default the narrowest
    that holds its values. ignore_padding: leave out numbers of padded tokens. progress: called with (done, all, seconds).
    Raises ValueError for outputs without a known name, or of the wrong shape, and for an unknown precision.
    """
    return Suspects(reference, inputs).diagnose(
        outputs, precision=precision, ignore_padding=ignore_padding, progress=progress
    )


class Suspects:
    """The mistakes that a model can have, and what each predicts: several candidates of one recording share the runs."""

    def __init__(self, reference: Any, inputs: Mapping[str, Any] | None = None) -> None:
        """A Recording; or a model, with the inputs of a call."""
        self.recording = _recording(reference, inputs)
        self._known: dict[Any, tuple[list[_Hypothesis], list[str], _Noise]] = {}

    def diagnose(
        self,
        outputs: Any,
        *,
        precision: str | None = None,
        ignore_padding: bool = False,
        progress: Callable[[int, int, float], None] | None = None,
    ) -> Diagnosis:
        """As the function of that name."""
        start = time.perf_counter()
        if precision is not None and precision not in UNIT:
            raise ValueError(f"precision must be one of {', '.join(UNIT)}; got {precision!r:.80}")
        search = _Search(self.recording, candidates.read(outputs), precision, ignore_padding)
        key = (search.precision, tuple(search.found), ignore_padding)
        if key not in self._known:
            self._known[key] = search.suspects(progress)
        return search.result(*self._known[key], start)


def _recording(reference: Any, inputs: Mapping[str, Any] | None) -> Any:
    """What has .config .architecture .steps .batch .weights."""
    if inputs is None and all(hasattr(reference, name) for name in ("steps", "batch", "weights", "architecture")):
        return reference
    from albert_np.golden.recorder import record

    if inputs is None:
        raise ValueError("diagnose takes a recording, or a model and inputs; inputs are missing")
    return record(reference, inputs)


class _Search:
    """One candidate, and all that is computed for it."""

    def __init__(self, recording: Any, candidate: Candidate, precision: str | None, ignore_padding: bool) -> None:
        self.config, self.architecture = recording.config, recording.architecture
        self.batch, weights = recording.batch, recording.weights
        self.steps: list[Step] = recording.steps
        start = time.perf_counter()
        exact = Replay(self.steps, self.batch, weights, Exact())
        self.count = SLOW_DRAWS if time.perf_counter() - start > SLOW else DRAWS
        self.found = found_outputs(candidate, self.architecture, self.config, self.steps, exact.values)
        stored = [candidate.stored[name] for name in candidate if name in {o.name for o in self.found}]
        self.detected = precision is None
        self.precision = precision or precision_of(self.found.values(), stored)
        self.keep = self._kept(ignore_padding)
        self.seen = self._row(list(self.found.values()))
        truth = self._row(chosen_values(self.found, exact.values, self.steps, self.steps) or [])
        self.replay, self.shift = exact, np.zeros_like(truth)
        if self.precision in NARROW:
            self.replay = Replay(self.steps, self.batch, rounded_weights(weights, self.precision), Exact())
            here = self._row(chosen_values(self.found, self.replay.values, self.steps, self.steps) or [])
            self.shift, truth = truth - here, here  # what weights that were not rounded change
        self.truth = _Hypothesis(NONE, "no mistake: within the noise of the precision", self.steps, truth)

    def _kept(self, ignore_padding: bool) -> Array:
        if not ignore_padding:
            return np.ones(sum(x.size for x in self.found.values()), bool)
        return np.concatenate([mask.ravel() for mask in real_tokens(self.found, self.batch["allowed"])])

    def _row(self, arrays: list[Array]) -> Array:
        return np.concatenate([np.ravel(x) for x in arrays])[self.keep]

    def _predicted(self, steps: list[Step], values: Mapping[str, Array]) -> Array | None:
        chosen = chosen_values(self.found, values, steps, self.steps)
        return None if chosen is None else self._row(chosen)

    def draws(self, hypothesis: _Hypothesis, count: int) -> Array:  # -> (count,n)
        """Noise: how far noisy runs of the hypothesis are from its prediction."""
        rows = []
        with np.errstate(all="ignore"):
            for table in tables(Mistaken(Exact()), self.precision, count):
                values = run(hypothesis.steps, self.batch, self.replay.weights, table)
                row = self._predicted(hypothesis.steps, values)
                assert row is not None
                rows.append(row - hypothesis.outputs)
        return np.array(rows)

    def hypotheses(self, progress: Callable[[int, int, float], None] | None) -> Iterator[_Hypothesis]:
        """Each mistake that changes the steps."""
        known = mistakes(self.config, self.architecture)
        start = time.perf_counter()
        for i, mistake in enumerate(known):
            try:
                steps = with_mistake(self.steps, mistake)
            except ValueError:  # this model, or this call, does not have what it falls on
                continue
            row = self._predicted(steps, self.replay.run(steps))
            if row is not None:
                yield _Hypothesis(mistake.name, mistake.description, steps, row)
            if progress is not None:
                progress(i + 1, len(known), time.perf_counter() - start)

    def suspects(
        self, progress: Callable[[int, int, float], None] | None
    ) -> tuple[list[_Hypothesis], list[str], _Noise]:
        """Mistakes that could be seen, the names of the others, and the noise around the truth."""
        noise = _Noise(self.draws(self.truth, self.count), self.truth.outputs, UNIT[self.precision])
        return *_merged(self.hypotheses(progress), self.truth, noise), noise

    def result(self, wrong: list[_Hypothesis], invisible: list[str], noise: _Noise, start: float) -> Diagnosis:
        """The answer for this candidate."""
        ranked = sorted([self.truth, *wrong], key=lambda one: self._distance(one, noise))
        finalists = ranked[:FINALISTS]
        if self.truth not in finalists:
            finalists.append(self.truth)
        judged = [self._judge(one, noise) for one in finalists]
        best = _choice(judged)
        if best is not None and best.name != NONE:
            best = self._with_near(best, judged, noise)
        order = sorted(judged, key=lambda one: (one.evidence is not best, one.score))
        return Diagnosis(
            diagnosis=best.name if best else UNKNOWN,
            description=best.description if best else _unknown(order[0].evidence),
            precision=self.precision,
            precision_detected=self.detected,
            outputs=tuple(output.name for output in self.found),
            ties=best.ties if best else (),
            evidence=tuple(one.evidence for one in order[:3]),
            tried=len(wrong) + len(invisible),
            invisible=tuple(invisible),
            seconds=time.perf_counter() - start,
        )

    def _with_near(self, best: Evidence, judged: list[_Judged], noise: _Noise) -> Evidence:
        """The same, with ties: mistakes that fit too, and differ from it by less than could be seen."""
        chosen = next(one for one in judged if one.evidence is best)
        for one in judged:
            if one is not chosen and one.evidence.fits and one.evidence.name != NONE:
                error = noise.effect(one.hypothesis.outputs, chosen.hypothesis.outputs)[1]
                if error > 1 / APART:
                    best = replace(best, ties=(*best.ties, one.evidence.name, *one.evidence.ties))
        chosen.evidence = best
        return best

    def _difference(self, hypothesis: _Hypothesis, sd: Array) -> Array:
        """The candidate less the prediction, in units of noise; infinite where only one of them is finite."""
        return min((_gap(self.seen, hypothesis.outputs + s, sd) for s in self._shifts()), key=_rms)

    def _shifts(self) -> list[Array]:
        return [np.zeros_like(self.shift), self.shift] if self.shift.any() else [self.shift]

    def _distance(self, hypothesis: _Hypothesis, noise: _Noise) -> float:
        return _rms(self._difference(hypothesis, noise.sd))

    def _judge(self, hypothesis: _Hypothesis, noise: _Noise) -> _Judged:
        own = noise
        if hypothesis is not self.truth:
            own = _Noise(self.draws(hypothesis, max(self.count // 2, 3)), hypothesis.outputs, UNIT[self.precision])
        gap = self._difference(hypothesis, own.sd)
        off, worst, n = _rms(gap), float(np.abs(gap).max(initial=0)), gap.size
        limit = FITS * (1 + 2 / np.sqrt(n))
        fits = bool(off <= limit and worst <= WORST * limit)
        effect, error = noise.effect(
            hypothesis.outputs, self.truth.outputs, _gap(self.seen, self.truth.outputs, noise.sd)
        )
        before, after = _plain(self.seen, self.truth.outputs), _plain(self.seen, hypothesis.outputs)
        evidence = Evidence(
            hypothesis.name,
            hypothesis.description,
            before=before,
            after=after,
            explained=1 - (after / before) ** 2 if before else 0.0,
            noise=off,
            effect=effect,
            effect_error=error,
            fits=fits,
            ties=hypothesis.ties,
        )
        return _Judged(hypothesis, evidence, n * (np.log(own.sd).mean() + off**2 / 2))


@dataclass
class _Judged:
    hypothesis: _Hypothesis
    evidence: Evidence
    score: float  # the negative logarithm of the likelihood: smaller is likelier


class _Noise:
    """Draws of the noise around one prediction, and its size for each number."""

    def __init__(self, draws: Array, outputs: Array, unit: float) -> None:
        draws = np.where(np.isfinite(draws), draws, 0)
        each = (draws**2).mean(0)
        floor = (unit * np.abs(np.where(np.isfinite(outputs), outputs, 0))) ** 2 / 3
        self.sd = np.sqrt((each + each.mean()) / 2 + floor) + np.finfo(np.float64).tiny
        self.draws = draws / self.sd

    def effect(self, outputs: Array, truth: Array, gap: Array | None = None) -> tuple[float, float]:
        """How much of (outputs − truth) is in the gap, a row in units of noise; and the standard error of that."""
        direction = _gap(outputs, truth, self.sd)
        square = float(direction @ direction)
        if not np.isfinite(direction).all():  # seen by its infinities
            return float(gap is None or not np.isfinite(gap).all()), 0.0
        if square == 0:
            return 0.0, float("inf")
        error = float(np.sqrt(((self.draws @ direction) ** 2).mean())) / square
        seen = 0.0 if gap is None or not np.isfinite(gap).all() else float(gap @ direction) / square
        return seen, error


def _gap(a: Array, b: Array, sd: Array) -> Array:
    """(a − b)/sd. 0 where both are the same infinity or NaN, infinite where only one is."""
    with np.errstate(all="ignore"):
        gap = (a - b) / sd
    odd = ~np.isfinite(gap)
    if odd.any():
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        gap = np.where(odd, np.where(same, 0, np.inf), gap)
    return np.asarray(gap)


def _rms(x: Array) -> float:
    return float(np.sqrt(np.mean(x**2))) if x.size else 0.0


def _plain(a: Array, b: Array) -> float:
    """The distance, relative to the size of b."""
    size = _rms(np.where(np.isfinite(b), b, 0)) or 1.0
    return _rms(_gap(a, b, np.full(a.shape, size)))


def _merged(found: Iterator[_Hypothesis], truth: _Hypothesis, noise: _Noise) -> tuple[list[_Hypothesis], list[str]]:
    """Mistakes that predict the same become one, with ties. Those whose whole effect would not be seen come apart, by name."""
    kept: list[_Hypothesis] = []
    sizes: list[float] = []
    invisible = []
    for one in found:
        size = _rms(_gap(one.outputs, truth.outputs, noise.sd))
        if size < SAME or noise.effect(one.outputs, truth.outputs)[1] > 1 / SEEN:
            invisible.append(one.name)
            continue
        near = [i for i, other in enumerate(sizes) if abs(other - size) < SAME or not other < np.inf]
        for i in near:
            if _rms(_gap(one.outputs, kept[i].outputs, noise.sd)) < SAME:
                kept[i] = replace(kept[i], ties=(*kept[i].ties, one.name))
                break
        else:
            kept.append(one)
            sizes.append(size)
    return kept, invisible


def _choice(judged: list[_Judged]) -> Evidence | None:
    """The likeliest hypothesis that fits; a mistake only if it is seen."""
    fitting = sorted((one for one in judged if one.evidence.fits), key=lambda one: one.score)
    none = next((one for one in fitting if one.evidence.name == NONE), None)
    for one in fitting:
        found = one.evidence
        if found.name == NONE or none is None:
            return found
        seen = abs(found.effect) > SEEN * found.effect_error and abs(found.effect - 1) < max(
            0.2, 4 * found.effect_error
        )
        if seen:
            return found
    return none.evidence if none else None


def _unknown(nearest: Evidence) -> str:
    return (
        f"no mistake of the catalogue explains the outputs: the nearest, {nearest.name}, leaves {nearest.noise:.3g} times the "
        "noise of the precision"
    )
