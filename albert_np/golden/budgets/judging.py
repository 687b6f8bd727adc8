"""Is an error inside its budget? No element may leave the worst case, and all of them together must look like rounding.

A function that is 4 ULP off stays inside every worst case, since that adds up what hardly ever adds up. So three statistics
stand beside it, each as a share of what is allowed, as the dot products of Arm's TOSA conformance tests have them:

- spread: the root mean square of (error / deviation), of all elements, and of each row, column, head and bin of the argument;
- rows: the factor that a row's elements share (LayerNorm's 1/√variance), in the mean over rows and in the root mean square;
- bias: the mean error in each bin of an elementwise function's argument.

The number of tests that are made counts. A sum of squares of n normal numbers is beyond n + 2√(nL) + 2L with a probability of
e⁻ᴸ at most (Laurent and Massart 2000, lemma 1), and a normal number beyond √(2L) with 2e⁻ᴸ. L = ln(number of tests) + LUCK.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from albert_np.golden.budgets.parts import Budget
from albert_np.ops import Array

Verdict = Literal["pass", "suspicious", "fail"]

FACTOR = 1.5  # how much larger than its deviation the root mean square of an error may be: deviations are estimates
ROWS_FACTOR = 1.5  # the same of the factors of rows, whose deviation is that of sums from left to right
LUCK = 20.0  # a correct op looks suspicious by chance once in e²⁰ = 5·10⁸ times
BINS = 64
FEW = 32  # elements in a bin, at least
EXPLAINS = 4.0  # so many times smaller is what a wrong function leaves of the square of an error, if it is the one
EVIDENCE = (
    60.0  # and the right one leaves at least this much of it: in units of one rounding, none counting more than 4
)


@dataclass(frozen=True)
class Judgement:
    """An error as shares of what is allowed: above 1 is outside."""

    worst_share: float  # the largest |error| / worst
    rms_share: float  # of the root mean square, in the worst of all groups of elements
    bias_share: float  # of what errors have in common, in the worst of rows and bins
    verdict: Verdict
    where: tuple[int, ...]  # the element of worst_share
    group: str  # which group or statistic has the largest share: "all", "row 3", "column 7", "head 1", "x near -2.1", …

    @property
    def share(self) -> float:
        """The largest of the three."""
        return max(self.worst_share, self.rms_share, self.bias_share)


def judge(error: Array, budget: Budget, *, where: Array | None = None) -> Judgement:
    """Compares an error (candidate − truth, float64) with its budget.

    where: which elements count, bool, broadcast to the error's shape; all if it is None. NaN in an error fails, infinity too,
    unless the budget is infinite there. Raises ValueError if shapes differ or nothing counts.
    """
    error = np.asarray(error, np.float64)
    if error.shape != budget.worst.shape:
        raise ValueError(f"an error has the shape of its budget, {budget.worst.shape}; got {error.shape}")
    counts = ~np.isinf(budget.own) | np.isnan(error)
    if where is not None:
        counts = counts & np.broadcast_to(where, error.shape)
    elif error.size == 0:
        raise ValueError("nothing to judge: the error has no elements")
    if not np.any(counts):  # where everything is correct, or nothing is looked at
        return Judgement(0.0, 0.0, 0.0, "pass", (0,) * error.ndim, "all")
    error = np.where(counts, error, 0)
    with np.errstate(all="ignore"):
        shares = _ratio(np.abs(error), budget.worst)
        place = tuple(int(i) for i in np.unravel_index(np.argmax(shares), shares.shape))
        worst = float(shares[place])
        spreads = _spreads(error, budget, counts)
        biases = _row_factors(error, budget, counts) | _bins(error, budget, counts) | _rivals(error, budget, counts)
    rms_at = max(spreads, key=spreads.__getitem__)
    bias_at = max(biases, key=biases.__getitem__, default="")
    rms, bias = spreads[rms_at], biases.get(bias_at, 0.0)
    verdict: Verdict = "fail" if not worst <= 1 else "pass" if rms <= 1 and bias <= 1 else "suspicious"
    return Judgement(worst, rms, bias, verdict, place, bias_at if bias > rms else rms_at)


def _ratio(a: Array, b: Array) -> Array:
    """a/b: 0 where a is 0, and infinity where a is not a number or b is 0."""
    return np.where(a == 0, 0.0, np.where(np.isnan(a) | np.isnan(b) | (b == 0), np.inf, a / b))


def _most(tests: int, n: Array | float) -> Any:
    """The largest root mean square of n normal numbers that is not surprising in so many tests."""
    L = math.log(tests) + LUCK
    return np.sqrt(1 + 2 * np.sqrt(L / n) + 2 * L / n)


def _groups(shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Name of a kind of group -> the axes that are summed over."""
    axes = tuple(range(len(shape)))
    kinds = {"all": axes, "row": axes[-1:], "column": axes[:-1]}
    if len(shape) == 4:
        kinds["head"] = (0, 2, 3)
    return kinds


def _independent(budget: Budget, counts: Array, *, rows: bool = False) -> Array:
    """For each element, what it adds to the number of independent roundings in its column, or in its row: 1, or less next to
    one that agrees.

    The rows of a deep layer may nearly agree, and so may the keys that a query meets. Their roundings then do as well.
    """
    if budget.value is None:
        return counts.astype(float)
    groups = np.where(counts, budget.value, np.inf).reshape(-1, counts.shape[-1])
    width = np.where(counts, 2 * budget.own, 0).reshape(groups.shape)
    axis = 1 if rows else 0
    order = np.argsort(groups, axis=axis)
    gaps = np.diff(np.take_along_axis(groups, order, axis=axis), axis=axis, prepend=-np.inf)
    new = np.minimum(_ratio(gaps, np.take_along_axis(width, order, axis=axis)), 1)
    found = np.zeros_like(groups)
    np.put_along_axis(found, order, new, axis=axis)
    return np.where(counts, found.reshape(counts.shape), 0)


def _spreads(error: Array, budget: Budget, counts: Array) -> dict[str, float]:
    """The root mean square of (error / deviation), of all kinds of groups."""
    deviation = budget.deviation
    if budget.bins is not None:  # a column may hold one argument only
        deviation = np.hypot(deviation, budget.bins.systematic)
    squares = np.where(counts, _ratio(np.abs(error), deviation) ** 2, 0)
    in_columns, in_rows = _independent(budget, counts), _independent(budget, counts, rows=True)
    found: dict[str, float] = {}
    for kind, axes in _groups(error.shape).items():
        size = np.sum(counts, axis=axes)
        n = np.sum(in_rows if kind == "row" else in_columns, axis=axes)
        if kind in ("all", "head"):
            n = np.minimum(n, np.sum(in_rows, axis=axes))
        if budget.rows is not None:  # what rows share makes as few independent numbers as there are rows
            n = np.minimum(n, 1 if kind == "row" else np.sum(np.any(counts, axis=-1)))
        limits = FACTOR * _most(max(int(np.size(n)), 1), np.maximum(n, 1))
        shares = np.where(size > 0, np.sqrt(np.sum(squares, axis=axes) / np.maximum(size, 1)) / limits, 0)
        at = int(np.argmax(shares))
        name = kind if kind == "all" else f"{kind} {', '.join(map(str, np.unravel_index(at, np.shape(shares))))}"
        found[name] = float(np.ravel(shares)[at])
    if budget.rows is not None:  # and without what rows share
        left = np.where(counts, error - _factors(error, budget, counts)[0] * budget.rows.basis, 0)
        squares = np.where(counts, _ratio(np.abs(left), budget.own) ** 2, 0)
        size, n = np.sum(counts), np.maximum(np.sum(in_columns), 1)
        found["elements apart from their rows"] = math.sqrt(np.sum(squares) / size) / (FACTOR * float(_most(1, n)))
    return found


def _factors(error: Array, budget: Budget, counts: Array) -> tuple[Array, Array]:  # 2 × (..., 1)
    """δ of each row, by weighted least squares, error = δ·basis, and the standard deviation that own errors give it."""
    assert budget.rows is not None
    usable = counts & (budget.own > 0) & np.isfinite(error)
    own = np.where(usable, budget.own, 0)
    if budget.bins is not None:  # many small elements may be off alike: the large ones say what the row shares
        own = np.hypot(own, np.max(own, axis=-1, keepdims=True))
    weights = np.where(usable, 1 / np.where(usable, own, 1) ** 2, 0)
    basis = np.where(usable, budget.rows.basis, 0)
    precision = np.sum(weights * basis * basis, axis=-1, keepdims=True)
    known = precision > 0
    delta = np.sum(weights * basis * np.where(usable, error, 0), axis=-1, keepdims=True)
    safe = np.where(known, precision, 1)
    return np.where(known, delta / safe, 0), np.where(known, 1 / np.sqrt(safe), np.inf)


def _row_factors(error: Array, budget: Budget, counts: Array) -> dict[str, float]:
    if budget.rows is None or not math.isfinite(budget.rows.systematic):
        return {}
    delta, noise = _factors(error, budget, counts)
    known = np.isfinite(noise) & np.isfinite(budget.rows.deviation)
    n = int(np.sum(known))
    if not n:
        return {}
    places = delta[known] / budget.rows.unit[known]  # in units of the last place of the factor
    usual = np.hypot(noise, budget.rows.deviation)[known] / budget.rows.unit[known]
    # rows whose factor is known best count most
    weights = 1 / (usual**2 + 1)
    mean = abs(float(np.sum(weights * places) / np.sum(weights)))
    spread = math.sqrt(float(np.sum((weights * usual) ** 2))) / float(np.sum(weights))
    L = LUCK + math.log(2)
    most = budget.rows.systematic + math.sqrt(2 * L) * spread
    apart = math.sqrt(float(np.mean((places / usual) ** 2)))
    return {"rows in the mean": mean / most, "rows": apart / (ROWS_FACTOR * float(_most(1, n)))}


def _bins(error: Array, budget: Budget, counts: Array) -> dict[str, float]:
    """The mean error and the root mean square in bins of the argument, of as many elements each."""
    if budget.bins is None:
        return {}
    shared = _factors(error, budget, counts)[0] * budget.rows.basis if budget.rows is not None else 0.0
    x, e = np.broadcast_to(budget.bins.argument, error.shape)[counts], (error - shared)[counts]
    order = np.argsort(x, kind="stable")
    parts = np.array_split(order, max(1, min(BINS, len(order) // FEW)))
    sizes = np.array([len(part) for part in parts])
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])

    def sums(values: Array) -> Array:
        return np.add.reduceat(values[order], starts)

    # the same argument gives the same error: only different ones are independent
    new = np.append(True, np.diff(x[order]) > 0)
    distinct = np.maximum(np.add.reduceat(new.astype(float), starts), 1)
    own = budget.own[counts]
    systematic = np.broadcast_to(budget.bins.systematic, error.shape)[counts]
    honest = [np.abs(sums(one[counts])) for one in budget.rivals.correct] if budget.rivals is not None else []
    L = LUCK + math.log(2 * len(parts))
    allowed = sums(systematic) + math.sqrt(2 * L) * np.sqrt(sums(own**2) * sizes / distinct)
    if honest:
        allowed = allowed + FACTOR * np.max(honest, axis=0)
    means = _ratio(np.abs(sums(e)), allowed)
    squares = _ratio(np.abs(e), np.hypot(own, systematic)) ** 2
    roots = np.sqrt(sums(squares) / sizes) / (FACTOR * _most(len(parts), distinct))
    found = {}
    for shares, what in ((means, "mean error"), (roots, "errors")):
        at = int(np.argmax(shares))
        middle = x[parts[at][len(parts[at]) // 2]]
        found[f"{what} where x is near {middle:.3g}"] = float(shares[at])
    return found


def _rivals(error: Array, budget: Budget, counts: Array) -> dict[str, float]:
    """Does another function explain the error, and the right one not?

    By whole programs: if what the best wrong program leaves of the error is a small part of what the best right one leaves.
    By the size of the error along the difference of the two functions, where x may have been wider and no program fits: by
    least squares over the different arguments it is λ times as large, and λ is 0 for the one and 1 for the other.
    """
    rivals = budget.rivals
    if rivals is None or rivals.rounding is None:
        return {}
    if rivals.argument is None:
        says, place = _independent(budget, counts)[counts], np.arange(np.sum(counts))
    else:  # each argument says one thing, however often it comes
        distinct, place, often = np.unique(rivals.argument[counts], return_inverse=True, return_counts=True)
        says = np.ones(len(distinct))
    size_of = np.bincount(place)

    def each(z: Array) -> Array:
        found: Array = np.bincount(place, z[counts]) / size_of
        return found

    e, rounding = each(error), each(rivals.rounding)

    def left(program: Array) -> float:
        return float(np.sum(says * np.minimum(np.abs((e - each(program)) / rounding), 2) ** 2))

    right, wrong = (min(map(left, programs)) for programs in (rivals.correct, rivals.wrong))
    found = {"a wrong function explains it": min(right / EVIDENCE, right / (EXPLAINS * wrong) if wrong else math.inf)}
    if rivals.argument is None or rivals.difference is None or len(distinct) < FEW:
        return found
    d = each(rivals.difference)
    weights = np.minimum(often, 20) / each(budget.own) ** 2
    evidence = float(np.sum(weights * d * d))
    if evidence < 80:  # λ is not known well enough
        return found
    size = float(np.sum(weights * d * e)) / evidence
    noise = math.sqrt(np.sum((weights * d * (e - size * d)) ** 2) / evidence**2 + 1 / evidence)
    if size > 0.5:
        found["the difference to a wrong function"] = (size - 0.5) / (4.5 * noise)
    return found
