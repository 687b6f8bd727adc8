"""How far off arithmetic may be, and the comparisons that say so: unit roundoffs, γₙ, relative errors, the float32 rule.

u is the unit roundoff of a dtype; a sum of n products is off by at most γₙ = n·u/(1 − n·u) times the sum of their sizes,
in whatever order it is added (Higham 2002, section 3.1). That is the worst case. What is usual, and what the float32 rule
goes by, is in stochastic.py. NaN in a comparison is always a failure. Every comparison fails by an AssertionError.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

FLOAT_DTYPES = (np.float16, np.float32, np.float64)
UNIT = {np.dtype(dtype): float(np.finfo(dtype).eps) / 2 for dtype in FLOAT_DTYPES}  # u = 2⁻¹¹, 2⁻²⁴, 2⁻⁵³

# The float32 rule. Inputs are rounded to float32 first, and the truth is what float64 makes of them. Beside it stand draws:
# what float64 makes of them when each result on the way is off by a random rounding of float32's size (stochastic.py). The
# distance of a draw from the truth is what float32 costs, whatever library computes in it. It is the same on every CPU.
#
# One array may be twice as wrong as the worst of its draws, both in the root mean square of its errors and in the largest.
# Twice, because a program may round more often than the reference does: without a fused multiply-add a product and a sum are
# two roundings, and a polynomial may cost two units where a draw has one. And if its order of adding begins with the largest
# term, all partial sums are as large as that; draws have them at random, so their errors are √½ of it. Four times the rounding
# is seen, because the root mean square over many numbers is nearly the same in each draw.
FLOAT32_FACTOR = 2

# Few numbers may be lucky or not, and so may a whole model, whose errors may all come from one early rounding. They are judged
# several at a time, by the root mean square over all of them of (error / usual error), where the usual error is the root mean
# square over the draws. It may be twice that of the worst draw, for which it is about 1 where the cases have little to do with
# one another. One of them alone may be this many times as wrong as the worst of its draws, which is luck: the worst of eight
# normal errors is below 0.6 deviations once in 500 times, and eight times that, 4.8 deviations, comes once in 600,000. Of 3,025
# gradients of 47 models, with the kernels of four BLAS and of four vector widths, the unluckiest is 3.6 times as wrong.
FLOAT32_ONE_CASE = 8

# How many draws. The result of a small operation may be a single number: the worst of 32 normal errors is below their deviation
# once in 10⁵ times. Whole models are judged in the mean, where 8 are enough: if errors are one normal number a case, the mean
# square of (error / usual error) is 8/6, as that of Student's t, and so its root is 1.15 at most, where it would be 1.
DRAWS, MODEL_DRAWS = 32, 8


def gamma(n: int, dtype: Any) -> float:
    """γₙ, the relative error bound of n roundings in a row."""
    nu = n * UNIT[np.dtype(dtype)]
    assert nu < 1, "γₙ says nothing where n·u reaches 1"
    return nu / (1 - nu)


def relative_error(actual: Any, expected: Any) -> float:
    """max|a − b| / max|b|; infinity where shapes differ, NaN stands anywhere, ±∞ in one array only, or nothing is compared.

    If the expected array is all zeros, only zeros match it.
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    if actual.shape != expected.shape or actual.size == 0:
        return math.inf
    worst = float(np.max(_differences(actual, expected)))
    finite = np.abs(expected[np.isfinite(expected)].astype(np.longdouble))
    scale = float(np.max(finite, initial=0))
    return worst if worst in (0, math.inf) else worst / scale if scale else math.inf


def assert_close(name: str, actual: Any, expected: Any, *, limit: float, dtype: Any = None) -> None:
    """Fails unless shapes and dtypes agree, something is compared and relative_error ≤ limit.

    dtype: the dtype that `actual` must have, if it is not that of the truth.
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    _check_kind(name, actual, expected, dtype or expected.dtype)
    error = relative_error(actual, expected)
    if not error <= limit:
        worst = np.unravel_index(np.argmax(_differences(actual, expected)), actual.shape)
        place = [int(i) for i in worst]
        raise AssertionError(
            f"{name}: max|a−b|/max|b| = {error:.3g}, more than {limit:.3g}; "
            f"worst at {place}: got {actual[worst]!r}, expected {expected[worst]!r}"
        )


def assert_float32_rule(name: str, actual: Any, draws: Sequence[Any], truth: Any) -> None:
    """The float32 rule for one array: `actual` is at most FLOAT32_FACTOR times as wrong as the worst of its draws."""
    errors, of_draws = _errors(name, actual, draws, truth)
    worst = _times(errors, of_draws)
    assert worst <= FLOAT32_FACTOR, f"{name}: {worst:.3g} times as wrong as the worst of {len(draws)} draws"


def assert_float32_rule_in_the_mean(name: str, cases: Mapping[Any, tuple[Any, Sequence[Any], Any]]) -> None:
    """The float32 rule for several cases, each (actual, draws, truth), of as many draws each: see FLOAT32_ONE_CASE."""
    assert cases, f"{name}: nothing to compare"
    judged = {case: _errors(f"{name} of {case}", *triple) for case, triple in cases.items()}
    times = {case: _times(*errors) for case, errors in judged.items()}
    where = max(times, key=times.__getitem__)
    says = f"{name}: {times[where]:.3g} times as wrong as the worst of its draws in {where}"
    assert times[where] <= FLOAT32_ONE_CASE, says
    in_usual = [_ratio(np.append(errors[0], draws[:, 0]), _mean(draws[:, 0])) for errors, draws in judged.values()]
    actual, *of_draws = (_mean(x) for x in np.stack(in_usual, axis=1))
    mean = float(_ratio(actual, max(of_draws)))
    assert mean <= FLOAT32_FACTOR, f"{says}, and {mean:.3g} times in the mean of {len(cases)}"


def _mean(x: Any) -> float:
    """The root mean square."""
    return math.sqrt(np.mean(np.square(x)))


def _times(errors: Any, of_draws: Any) -> float:
    """How many times as wrong as the worst draw, in the root mean square or in the largest error."""
    return float(np.max(_ratio(errors, of_draws.max(axis=0))))


def _errors(name: str, actual: Any, draws: Sequence[Any], truth: Any) -> tuple[Any, Any]:
    """(2,) and (draws, 2): the root mean square and the largest of the errors."""
    actual, truth = np.asarray(actual), np.asarray(truth)
    assert truth.dtype == np.float64, f"{name}: the truth must be float64"
    _check_kind(name, actual, truth, np.float32)
    assert len(draws), f"{name}: no draws to measure against"
    errors = np.array([_sizes(np.asarray(x), truth) for x in (actual, *draws)])
    assert np.all(np.isfinite(errors[1:])), f"{name}: a draw gives no number to measure against"
    return errors[0], errors[1:]


def _sizes(x: Any, truth: Any) -> tuple[float, float]:
    difference = _differences(x, truth).astype(np.float64)
    largest = float(np.max(difference))
    if largest in (0, math.inf):
        return largest, largest
    return largest * _mean(difference / largest), largest


def _ratio(error: Any, usual: Any) -> Any:
    """error / usual; 0 where both are 0, infinity where `usual` alone is."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.equal(error, 0), 0.0, np.divide(error, usual))


def _check_kind(name: str, actual: Any, expected: Any, dtype: Any) -> None:
    assert actual.shape == expected.shape, f"{name}: shape {actual.shape}, expected {expected.shape}"
    assert actual.dtype == np.dtype(dtype), f"{name}: dtype {actual.dtype}, expected {np.dtype(dtype)}"
    assert actual.size > 0, f"{name}: nothing to compare, the shape is {actual.shape}"


def _differences(actual: Any, expected: Any) -> Any:
    """|a − b|: 0 where both are the same infinity, infinity where one alone is not finite, or either is NaN."""
    with np.errstate(invalid="ignore"):  # ∞ − ∞
        difference = np.abs(actual.astype(np.longdouble) - expected.astype(np.longdouble))
    difference = np.where(np.isnan(difference), np.inf, difference)
    return np.where(actual == expected, 0, difference)
