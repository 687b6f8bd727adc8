"""What each mistake of the catalogue predicts for the outputs of one call, and how large the noise around that is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from albert_np.encoder import applications
from albert_np.golden.arithmetic import Exact
from albert_np.golden.candidates.candidate import Candidate
from albert_np.golden.graph import Step, run
from albert_np.golden.mistakes.catalogue import Mistake, Mistaken, mistakes, with_mistake
from albert_np.golden.mistakes.distances import Noise, gap, rms
from albert_np.golden.mistakes.noise import NARROW, UNIT, precision_of, rounded_weights, tables
from albert_np.golden.mistakes.outcomes import chosen_values, found_outputs, real_tokens
from albert_np.golden.mistakes.replay import Replay
from albert_np.golden.mistakes.screening import Screen, complete, shortened
from albert_np.ops import Array

NONE = "none"
DRAWS = 12  # of a noisy run; of a large model SLOW_DRAWS, since its outputs have many numbers
SLOW_DRAWS, SLOW = 3, 0.3  # seconds of one run
PATIENCE = 60.0  # seconds, at most, for mistakes in one application only
FITS = 3.0  # a hypothesis fits if the candidate is at most this many times its noise away (few numbers: more)
FAR = 10.0  # what is this many times the noise away is found in float32 first
MOST = (
    30_000  # numbers that hypotheses are compared by, of all the outputs; the one that is chosen must fit all of them
)
VISIBLE = 6.0  # standard errors of the effect of a mistake that could be seen: less would be missed too often
SAME = 0.05  # two predictions are equal if they differ by this share of the noise


@dataclass(frozen=True)
class Hypothesis:
    """A mistake or none, and what it predicts."""

    name: str
    description: str
    steps: list[Step]
    outputs: Array  # (n,) all outputs in one row
    ties: tuple[str, ...] = ()
    exact: bool = True  # False: computed in float32


@dataclass
class Suspected:
    """What is the same for all candidates of a precision."""

    everywhere: list[Hypothesis]
    invisible: list[str]
    noise: Noise
    untried: int = 0  # mistakes of which a short run says that they do not explain the candidate
    alone: list[Hypothesis] | None = None  # in one application only; computed when it is asked for


class Search:
    """One candidate, and all that is computed for it."""

    def __init__(self, recording: Any, candidate: Candidate, precision: str | None, ignore_padding: bool) -> None:
        self.config, self.architecture, self.untried = recording.config, recording.architecture, 0
        self.batch, weights = recording.batch, recording.weights
        self.steps: list[Step] = recording.steps
        start = time.perf_counter()
        exact = Replay(self.steps, self.batch, weights, Exact())
        self.seconds = time.perf_counter() - start
        self.slow = self.seconds > SLOW
        self.count = SLOW_DRAWS if self.slow else DRAWS
        self.found = found_outputs(candidate, self.architecture, self.config, self.steps, exact.values)
        stored = [candidate.stored[name] for name in candidate if name in {o.name for o in self.found}]
        self.detected = precision is None
        self.precision = precision or precision_of(self.found.values(), stored)
        self.keep, self.sampled = self._kept(ignore_padding)
        self.seen = self._row(list(self.found.values()))
        truth = self._row(chosen_values(self.found, exact.values, self.steps, self.steps) or [])
        self.replay, self.shift = exact, np.zeros_like(truth)
        if self.precision in NARROW:
            self.replay = Replay(self.steps, self.batch, rounded_weights(weights, self.precision), Exact())
            here = self._row(chosen_values(self.found, self.replay.values, self.steps, self.steps) or [])
            self.shift, truth = truth - here, here  # what weights that were not rounded change
        self.shifts = [np.zeros_like(truth), self.shift] if self.shift.any() else [self.shift]
        self.truth = Hypothesis(NONE, "no mistake: within the noise of the precision", self.steps, truth)

    def _kept(self, ignore_padding: bool) -> tuple[Array, bool]:  # -> (n,) int
        """Which numbers are compared, and whether they are a sample."""
        self.real = np.arange(sum(x.size for x in self.found.values()))
        if ignore_padding:
            masks = [mask.ravel() for mask in real_tokens(self.found, self.batch["allowed"])]
            self.real = np.flatnonzero(np.concatenate(masks))
        if len(self.real) <= MOST:
            return self.real, False
        return np.sort(np.random.default_rng(0).choice(self.real, MOST, replace=False)), True

    def all_numbers(self, hypothesis: Hypothesis) -> tuple[Array, Array]:
        """What the candidate has and what the hypothesis predicts, without sampling."""
        chosen = chosen_values(self.found, self.replay.run(hypothesis.steps), hypothesis.steps, self.steps)
        assert chosen is not None
        seen, predicted = (
            np.concatenate([np.ravel(x) for x in arrays])[self.real] for arrays in (self.found.values(), chosen)
        )
        return seen, predicted

    def exactly(self, hypothesis: Hypothesis) -> Hypothesis:
        """The same, computed in float64."""
        if hypothesis.exact:
            return hypothesis
        row = self._predicted(hypothesis.steps, self.replay.run(hypothesis.steps))
        assert row is not None
        return replace(hypothesis, outputs=row, exact=True)

    def alone(self, known: Suspected) -> list[Hypothesis]:
        """Mistakes in one application only. They are run when they are first asked for."""
        if known.alone is None:
            known.alone = _merged(self.in_one_application(known.noise), self.truth, known.noise)[0]
        return known.alone

    def _row(self, arrays: list[Array]) -> Array:
        return np.concatenate([np.ravel(x) for x in arrays])[self.keep]

    def _predicted(self, steps: list[Step], values: Mapping[str, Array]) -> Array | None:
        chosen = chosen_values(self.found, values, steps, self.steps)
        return None if chosen is None else self._row(chosen)

    def draws(self, hypothesis: Hypothesis, count: int) -> Array:  # -> (count,n)
        """Noise: how far noisy runs of the hypothesis are from its prediction."""
        rows = []
        with np.errstate(all="ignore"):
            for table in tables(Mistaken(Exact()), self.precision, count):
                values = run(hypothesis.steps, self.batch, self.replay.weights, table)
                row = self._predicted(hypothesis.steps, values)
                assert row is not None
                rows.append(row - hypothesis.outputs)
        return np.array(rows)

    def hypotheses(self, noise: Noise, progress: Callable[[int, int, float], None] | None) -> Iterator[Hypothesis]:
        """Each mistake that changes the steps, in all applications."""
        known = mistakes(self.config, self.architecture)
        start = time.perf_counter()
        for i, mistake in enumerate(known):
            steps = _changed(self.steps, mistake, None)
            found = None if steps is None else self._hypothesis(mistake.name, mistake.description, steps, None, noise)
            if found is not None:
                yield found
            if progress is not None:
                progress(i + 1, len(known), time.perf_counter() - start)

    def likely(self, noise: Noise, progress: Callable[[int, int, float], None] | None) -> list[Hypothesis]:
        """Of a large model: mistakes in the order of a screen, until one explains the candidate; and those that are like it.

        To progress, the short runs of the screen count like whole ones.
        """
        start, found = time.perf_counter(), list[Hypothesis]()
        known = {one.name: one for one in mistakes(self.config, self.architecture)}
        changed = {name: steps for name, one in known.items() if (steps := _changed(self.steps, one, None)) is not None}
        quick = self._quick()

        def say(done: int, all_: int) -> None:
            if progress is not None:
                progress(done, all_, time.perf_counter() - start)

        screen = self._screen({name: known[name] for name in changed}, quick, noise, say)
        limit = FITS * (1 + 2 / np.sqrt(self.seen.size))
        waiting = screen.order(limit)
        done, explained = 0, False
        while waiting:
            name = waiting.pop(0)
            one = self._hypothesis(name, known[name].description, changed[name], quick, noise)
            done += 1
            if one is not None:
                found.append(one)
                if not explained and screen.distance > limit and self.distance(one, noise.sd) <= limit:
                    explained, near = True, set(screen.alike(name))
                    waiting = [other for other in waiting if other in near]
            say(len(changed) + done, len(changed) + done + len(waiting))
        self.untried = len(changed) - done
        return found

    def _screen(
        self, known: Mapping[str, Mistake], quick: Replay, noise: Noise, say: Callable[[int, int], None]
    ) -> Screen:
        """What each mistake changes if the model has its first application alone."""
        short = Replay(shortened(self.steps), quick.batch, quick.weights, Exact())
        right, effects = self._predicted(short.steps, short.values), dict[str, Array | None]()
        for name, mistake in known.items():
            steps, effects[name] = _changed(short.steps, mistake, None), None
            if right is not None and steps is not None and complete(steps, self.batch):
                row = self._predicted(steps, short.run(steps))
                effects[name] = None if row is None else gap(row, right, noise.sd).astype(np.float32)
            say(len(effects), 2 * len(known))
        return Screen(effects, gap(self.seen, self.truth.outputs, noise.sd))

    def distance(self, hypothesis: Hypothesis, sd: Array) -> float:
        """How far the candidate is from the prediction, in units of noise."""
        return rms(self.difference(hypothesis, sd))

    def difference(self, hypothesis: Hypothesis, sd: Array) -> Array:
        """The candidate less the prediction, in units of noise; infinite where only one of them is finite."""
        return min((gap(self.seen, hypothesis.outputs + s, sd) for s in self.shifts), key=rms)

    def _quick(self) -> Replay:
        """The same in float32, which is enough to find out what is far away."""
        batch, weights = (
            {name: _float32(x) for name, x in known.items()} for known in (self.batch, self.replay.weights)
        )
        return Replay(self.steps, batch, weights, Exact())

    def _hypothesis(
        self, name: str, description: str, steps: list[Step], quick: Replay | None, noise: Noise
    ) -> Hypothesis | None:
        if quick is not None:
            row = self._predicted(steps, quick.run(steps))
            if row is None or rms(gap(row, self.truth.outputs, noise.sd)) > FAR:
                return None if row is None else Hypothesis(name, description, steps, row, exact=False)
        row = self._predicted(steps, self.replay.run(steps))
        return None if row is None else Hypothesis(name, description, steps, row)

    def in_one_application(self, noise: Noise) -> Iterator[Hypothesis]:
        """Each mistake that falls on a layer, in each application alone; as far as that is done in some time."""
        count = len(list(applications(self.config)))
        known = mistakes(self.config, self.architecture) if count > 1 else []
        if self.seconds * count * len(known) > PATIENCE:
            return
        for mistake in known:
            whole = _changed(self.steps, mistake, None)
            for a in range(count):
                steps = _changed(self.steps, mistake, a)
                if steps is not None and steps != whole:
                    text = f"{mistake.description}, in application {a} only"
                    found = self._hypothesis(f"{mistake.name}@{a}", text, steps, None, noise)
                    if found is not None:
                        yield found

    def suspects(self, progress: Callable[[int, int, float], None] | None) -> Suspected:
        """Mistakes that could be seen, the names of the others, and the noise around the truth."""
        noise = Noise(self.draws(self.truth, self.count), self.truth.outputs, UNIT[self.precision])
        found = iter(self.likely(noise, progress)) if self.slow else self.hypotheses(noise, progress)
        return Suspected(*_merged(found, self.truth, noise), noise, self.untried)


def _changed(steps: list[Step], mistake: Mistake, application: int | None) -> list[Step] | None:
    """The steps with the mistake. None if this model, this call or this application does not have what it falls on."""
    try:
        return with_mistake(steps, mistake, application)
    except ValueError:
        return None


def _float32(x: Array) -> Array:
    return x.astype(np.float32) if x.dtype == np.float64 else x


def _merged(found: Iterator[Hypothesis], truth: Hypothesis, noise: Noise) -> tuple[list[Hypothesis], list[str]]:
    """Mistakes that predict the same become one, with ties. Those whose whole effect would not be seen come apart, by name."""
    kept: list[Hypothesis] = []
    sizes: list[float] = []
    invisible = []
    for one in found:
        size = rms(gap(one.outputs, truth.outputs, noise.sd))
        if size < SAME or noise.effect(one.outputs, truth.outputs)[1] > 1 / VISIBLE:
            invisible.append(one.name)
            continue
        near = [i for i, other in enumerate(sizes) if abs(other - size) < SAME or not other < np.inf]
        for i in near:
            if rms(gap(one.outputs, kept[i].outputs, noise.sd)) < SAME:
                kept[i] = replace(kept[i], ties=(*kept[i].ties, one.name))
                break
        else:
            kept.append(one)
            sizes.append(size)
    return kept, invisible
