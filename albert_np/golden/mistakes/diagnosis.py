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
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from albert_np.golden.candidates import candidate as candidates
from albert_np.golden.mistakes.distances import Noise, gap, relative, rms
from albert_np.golden.mistakes.hypotheses import FITS, NONE, Hypothesis, Search, Suspected
from albert_np.golden.mistakes.noise import UNIT

UNKNOWN = "unknown"
FINALISTS = 6  # hypotheses whose own noise is drawn
NEAR = 100.0  # of a large model, only hypotheses that are this many times as near as FITS get noise of their own
WORST = 8.0  # …and no number more than this many times further
SEEN = 4.0  # standard errors between the effect that is seen and none
ONCE = 0.15  # …and at most this far from the whole effect
APART = 3.0  # …between two mistakes that can be told apart


UNTRIED = (
    "{} other mistakes were not tried: after the first application they change too much, too little or other numbers."
)


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
    application: int | None = None  # if the mistake is made in one application only
    seconds: float = 0.0
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return asdict(self)


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
        self._known: dict[Any, Suspected] = {}

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
        search = Search(self.recording, candidates.read(outputs), precision, ignore_padding)
        key = (search.precision, tuple(search.found), ignore_padding)
        known = self._known.get(key) or search.suspects(progress)
        if not search.slow:  # what is tried of a large model depends on the candidate
            self._known[key] = known
        found = _Verdict(search, known).result()
        return replace(found, seconds=time.perf_counter() - start)


def _recording(reference: Any, inputs: Mapping[str, Any] | None) -> Any:
    """What has .config .architecture .steps .batch .weights."""
    if inputs is None and all(hasattr(reference, name) for name in ("steps", "batch", "weights", "architecture")):
        return reference
    from albert_np.golden.recorder import record

    if inputs is None:
        raise ValueError("diagnose takes a recording, or a model and inputs; inputs are missing")
    return record(reference, inputs)


class _Verdict:
    """The judgement of one candidate."""

    def __init__(self, search: Search, known: Suspected) -> None:
        self.search, self.known, self.noise, self.truth = search, known, known.noise, search.truth

    def result(self) -> Diagnosis:
        """A mistake in all applications; if there is none that explains the candidate, one in a single application."""
        found = self._answer(self.known.everywhere)
        if found.diagnosis == UNKNOWN:
            alone = self._answer(self.search.alone(self.known))
            if alone.diagnosis != UNKNOWN:
                name, _, application = alone.diagnosis.partition("@")
                return replace(alone, diagnosis=name, application=int(application))
        return found

    def _answer(self, wrong: list[Hypothesis]) -> Diagnosis:
        ranked = sorted([self.truth, *wrong], key=lambda one: self.search.distance(one, self.noise.sd))
        finalists = [self.search.exactly(one) if self._near(one) else one for one in ranked[:FINALISTS]]
        if self.truth not in finalists:
            finalists.append(self.truth)
        judged = [self._judge(one) for one in finalists]
        best = _choice(judged)
        if best is not None and best.evidence.name != NONE:
            best.evidence = self._with_near(best, judged)
        order = sorted(judged, key=lambda one: (one is not best, one.score))
        return Diagnosis(
            diagnosis=best.evidence.name if best else UNKNOWN,
            description=best.evidence.description if best else _unknown(order[0].evidence),
            precision=self.search.precision,
            precision_detected=self.search.detected,
            outputs=tuple(output.name for output in self.search.found),
            ties=best.evidence.ties if best else (),
            evidence=tuple(one.evidence for one in order[:3]),
            tried=len(self.known.everywhere) + len(self.known.invisible),
            invisible=tuple(self.known.invisible),
            notes=(UNTRIED.format(self.known.untried),) if self.known.untried else (),
        )

    def _with_near(self, best: _Judged, judged: list[_Judged]) -> Evidence:
        """The same, with ties: mistakes that fit too, and differ from it by less than could be seen."""
        ties = best.evidence.ties
        for one in judged:
            if one is not best and one.evidence.fits and one.evidence.name != NONE:
                error = self.noise.effect(one.hypothesis.outputs, best.hypothesis.outputs)[1]
                if error > 1 / APART:
                    ties = (*ties, one.evidence.name, *one.evidence.ties)
        return replace(best.evidence, ties=ties)

    def _near(self, hypothesis: Hypothesis) -> bool:
        """Whether it may be the answer, so that more work on it is worth the time."""
        return not self.search.slow or self.search.distance(hypothesis, self.noise.sd) <= NEAR * FITS

    def _judge(self, hypothesis: Hypothesis) -> _Judged:
        seen, truth, noise = self.search.seen, self.truth.outputs, self.noise
        if hypothesis is not self.truth and self._near(hypothesis):
            draws = self.search.draws(hypothesis, max(self.search.count // 2, 2))
            noise = Noise(draws, hypothesis.outputs, UNIT[self.search.precision])
        off_by = self.search.difference(hypothesis, noise.sd)
        off, n = rms(off_by), off_by.size
        limit = FITS * (1 + 2 / np.sqrt(n))
        fits = bool(off <= limit and np.abs(off_by).max(initial=0) <= WORST * limit)
        if fits and self.search.sampled:
            rest = gap(*self.search.all_numbers(hypothesis), np.asarray(np.sqrt((noise.sd**2).mean())))
            fits = bool(rms(rest) <= limit and np.abs(rest).max(initial=0) <= WORST * limit)
        effect, error = self.noise.effect(hypothesis.outputs, truth, gap(seen, truth, self.noise.sd))
        before, after = relative(seen, truth), relative(seen, hypothesis.outputs)
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
        return _Judged(hypothesis, evidence, float(n * (np.log(noise.sd).mean() + off**2 / 2)))


@dataclass
class _Judged:
    hypothesis: Hypothesis
    evidence: Evidence
    score: float  # the negative logarithm of the likelihood: smaller is likelier


def _choice(judged: list[_Judged]) -> _Judged | None:
    """The likeliest hypothesis that fits; a mistake only if its effect is seen, and all of it rather than a share."""
    fitting = sorted((one for one in judged if one.evidence.fits), key=lambda one: one.score)
    none = next((one for one in fitting if one.evidence.name == NONE), None)
    for one in fitting:
        found = one.evidence
        once = abs(found.effect - 1) < max(ONCE, SEEN * found.effect_error)
        if one is none or (once and (none is None or abs(found.effect) > SEEN * found.effect_error)):
            return one
    return None


def _unknown(nearest: Evidence) -> str:
    return (
        f"no mistake of the catalogue explains the outputs: the nearest, {nearest.name}, leaves {nearest.noise:.3g} times the "
        "noise of the precision"
    )
