"""Our op on the candidate's own inputs: what a correct program would have made of them, and how far it may be off.

The error of a tensor is its distance from the golden one. Part of it was there before the op began: that part is
*inherited*, and it is what exact arithmetic makes of the candidate's inputs, against the golden output. The rest is the
op's own, its *local* error, and only that is judged.

If the candidate lacks an input, it is computed, exactly, from what leads to it: the op and those before it are then one
span. A correct program rounds inside the span too. What that may cost at its end is found by experiment: the steps inside
are computed again with errors of their own size, as their budgets say, drawn at random (DRAWS times).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from albert_np.golden.arithmetic import Exact
from albert_np.golden.budgets.parts import Budget
from albert_np.golden.budgets.precisions import Precision
from albert_np.golden.budgets.table import Budgets
from albert_np.golden.graph import Step
from albert_np.golden.measures.ulps import rounded
from albert_np.ops import Array

DRAWS = 4
# No error of a span is this many times its deviation: one normal number in 10²² is, and the deviation has been estimated
# from few draws
SPAN_WORST = 10.0
EXACT = Exact()
# half precision: which operands a correct program may have rounded before it began, as (inputs, matrices, vectors). A bias
# is often added in float32, behind a product of rounded operands
ROUNDED = ((False, True, True), (False, False, False), (True, True, True), (True, True, False), (False, True, False))
PRODUCTS = ("linear", "scores", "context")  # of matrices


@dataclass
class Known:
    """A value that a step reads, the draws of it if it was computed inside a span, and the steps of that span."""

    value: Array
    draws: list[Array] | None = None
    span: tuple[str, ...] = ()


@dataclass
class Replay:
    """What a correct program makes of the candidate's inputs of one step."""

    value: Array  # float64
    budget: Budget
    span: tuple[str, ...]  # the steps computed here, the judged one last


class Replayer:
    """Replays steps in the order of the graph.

    candidate: the tensors that there are. batch, weights: of the recording.
    """

    def __init__(
        self,
        steps: list[Step],
        candidate: Mapping[str, Array],
        batch: Mapping[str, Array],
        weights: Mapping[str, Array],
        precision: Precision,
        *,
        rng: np.random.Generator,
    ) -> None:
        self._steps = {one.name: one for one in steps}
        self._candidate, self._batch, self._weights = candidate, batch, weights
        self._precision, self._budgets = precision, Budgets(precision)
        self._rng = rng
        # what the candidate lacks, computed; and once more from rounded operands, if these are wider
        self._inside: dict[tuple[str, bool], Known] = {}
        self._last_reader = {name: one.name for one in steps if not one.beside for name in one.inputs}

    def replay(self, step: Step, actual: Array, where: Array | None = None) -> Replay:
        """The step from its nearest inputs. actual: what the candidate has, to find out which operands it rounded; where:
        the elements of it that count, all if it is None."""
        weights = [self._weights[name] for name in step.weights]
        ways: list[tuple[list[Known], list[Array]]] = []  # what it read, and the operands that it made of that
        for narrow in (False, True) if any(self._reads_wider(name) for name in step.inputs) else (False,):
            read = [self._known(name, narrow) for name in step.inputs]
            ways += [(read, operands) for operands in self._choices(step, [known.value for known in read], weights)]
        made = [_exact(step, operands) for _, operands in ways]
        terms = self._terms(step)
        budget = self._budget(step, ways[0][1], **terms)
        best = 0
        if len(made) > 1:  # the one that explains the worst element
            best = int(np.argmin([_share(actual - value, budget.worst, where) for value in made]))
            budget = self._budget(step, ways[best][1], **terms)
        read, operands = ways[best]
        span = tuple(dict.fromkeys(itertools.chain(*(known.span for known in read), (step.name,))))
        if any(known.draws is not None for known in read):
            budget = self._of_span(step, made[best], budget, read, operands[: len(read)], operands[len(read) :])
        return Replay(made[best], budget, span)

    def _budget(self, step: Step, operands: list[Array], **more: Any) -> Budget:
        found: Budget = getattr(self._budgets, step.op)(*operands, **step.attributes, **more)
        return found

    def _terms(self, step: Step) -> dict[str, list[Array]]:
        """What the residual sum that a LayerNorm reads is made of, if the candidate lacks the sum: it may be fused."""
        read = self._steps.get(step.inputs[0])
        if step.op != "layer_norm" or read is None or read.op != "add" or read.name in self._candidate:
            return {}
        return {"terms": [self._known(name).value for name in read.inputs]}

    def _choices(self, step: Step, values: list[Array], weights: list[Array]) -> Iterator[list[Array]]:
        half = self._precision.half
        if not half or step.op in ("heads", "mean", "variance", "masked_scores"):
            yield [*values, *weights]
            return
        seen: list[list[Array]] = []
        for inputs_too, matrices_too, vectors_too in ROUNDED:
            operands = [self._rounded(x, inputs_too) for x in values]
            operands += [self._rounded(x, vectors_too if x.ndim == 1 else matrices_too) for x in weights]
            if not any(all(a is b or np.array_equal(a, b) for a, b in zip(operands, old, strict=True)) for old in seen):
                seen.append(operands)
                yield operands

    def _rounded(self, x: Array, wanted: bool) -> Array:
        return rounded(x, self._precision.name) if wanted and x.dtype.kind == "f" else x

    def _of_span(
        self, step: Step, value: Array, budget: Budget, read: list[Known], values: list[Array], weights: list[Array]
    ) -> Budget:
        """The op's own budget, and what the errors inside the span do to it."""
        squares = np.zeros(value.shape)
        for moved in self._moved(step, read, values, weights):
            squares += (moved - value) ** 2
        squares /= DRAWS
        # so few draws say little about one element: half of the estimate is its row's
        inherited = 0.5 * squares + 0.5 * np.mean(squares, axis=-1, keepdims=True)
        own = np.sqrt(np.square(budget.deviation) + inherited)
        return Budget(budget.worst + SPAN_WORST * np.sqrt(inherited), own)

    def _reads_wider(self, name: str) -> bool:
        """Half precision: is it a product computed here, or made of one, whose operands have more digits than that?

        A program that keeps values in float32 may round them for products alone (autocast). Where the product's result was
        not recorded, nothing else says so.
        """
        if not self._precision.half or name in self._batch or name in self._candidate:
            return False
        step = self._steps[name]
        if step.op in PRODUCTS and any(self._is_wider(one) for one in step.inputs):
            return True
        return any(self._reads_wider(one) for one in step.inputs)

    def _is_wider(self, name: str) -> bool:
        x = self._candidate.get(name)
        return x is not None and not np.array_equal(self._rounded(x, True), x, equal_nan=True)

    def _known(self, name: str, narrow: bool = False) -> Known:
        """narrow: with the operands of products rounded first."""
        if name in self._batch:
            return Known(self._batch[name])
        if name in self._candidate:
            return Known(self._candidate[name])
        if (name, narrow) not in self._inside:
            self._inside[name, narrow] = self._compute(self._steps[name], narrow)
        return self._inside[name, narrow]

    def _compute(self, step: Step, narrow: bool) -> Known:
        """A step that the candidate lacks. What few programs have is part of the step that reads it, and costs nothing."""
        read = [self._known(name, narrow) for name in step.inputs]
        weights = [self._weights[name] for name in step.weights]
        values = [self._rounded(known.value, narrow and step.op in PRODUCTS) for known in read]
        operands = next(self._choices(step, values, weights))
        value = _exact(step, operands)
        inside = tuple(dict.fromkeys(itertools.chain(*(known.span for known in read))))
        if step.optional and not any(known.draws for known in read):
            return Known(value, None, inside)
        own = self._budget(step, operands).deviation
        draws = [
            moved + own * self._rng.standard_normal(value.shape)
            for moved in self._moved(step, read, operands[: len(read)], operands[len(read) :])
        ]
        if step.op == "probs":
            draws = [np.maximum(draw, 0) for draw in draws]
        return Known(value, draws, (*inside, step.name))

    def _moved(self, step: Step, read: list[Known], values: list[Array], weights: list[Array]) -> Iterator[Array]:
        """The step's values when what it reads has the errors of each draw. values: of what it reads, without them."""
        for draw in range(DRAWS):
            inputs = [x if known.draws is None else known.draws[draw] for known, x in zip(read, values, strict=True)]
            yield _exact(step, [*inputs, *weights])

    def forget(self, done: Step) -> None:
        """Lets go of what no later step reads."""
        for key in [key for key in self._inside if self._last_reader.get(key[0]) == done.name]:
            del self._inside[key]


def _exact(step: Step, operands: list[Array]) -> Array:
    return np.asarray(getattr(EXACT, step.op)(*operands, **step.attributes))


def _share(error: Array, worst: Array, where: Array | None) -> float:
    """The largest error as a share of its worst case; ∞ where there must be none, as in a gather. NaN does not count."""
    with np.errstate(all="ignore"):
        shares = np.where(error == 0, 0, np.abs(error) / worst)
    counts = ~np.isnan(shares) if where is None else ~np.isnan(shares) & where
    return float(np.max(shares, where=counts, initial=0))
