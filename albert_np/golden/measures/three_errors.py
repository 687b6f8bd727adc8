"""Is an error just what this precision costs, or is the kernel wrong? The truth, a twin and the candidate decide."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from albert_np.ops import Array

EXPECTED, SUSPICIOUS = 2.0, 4.0  # ratios of the root mean square of the candidate's error to the twin's
LUCK = 3.7  # deviations of a normal number, beyond which it lies once in 10⁴


class ThreeWay(NamedTuple):
    """The verdict, and what it goes by."""

    verdict: Literal["expected", "suspicious", "broken"]
    ratio: float  # root mean square of the candidate's error / of the twin's
    overlap: (
        float  # Bhattacharyya coefficient of the two as normal distributions: 1 is the same, 0 has nothing in common
    )


def three_way(candidate_error: Array, twin_error: Array) -> ThreeWay:  # (...), (...) -> verdict
    """Compares the error of a candidate with that of a correct program of its precision (a twin), both from the truth.

    The root mean square says how much precision a program lost; single elements depend on the order of sums, which no twin
    knows. Of the correct programs of golden/twin (144 in each of the four precisions, on six trained-like models),
    whose order, formulas, fusions and small steps differ, 99 % have at most 1.6 times the plain program's error in a tensor of
    100 elements or more, one tensor in 580 at most has more than twice as much, and none 3.3 times. A ratio of 2 is therefore
    expected.
    Up to 4, two bits, a program may round more often than the twin does: look at it. Beyond, it loses more than any rounding
    explains. The mean square of n numbers is itself off by chance, the logarithm of the ratio of two roots by √(1/n) if their
    elements are independent; so both limits are widened by exp(3.7·√(1/n)), which is 1.04 for 10,000 elements and 14 for 2.

    Where the twin has no error at all (a gather, exact inputs), a candidate with none is expected, and any other is broken. A
    NaN or infinity in the candidate's error is broken. `overlap`, with the deviations s and t and the means of both errors, is
    √(2st/(s² + t²))·exp(−¼(difference of means)²/(s² + t²)), as AWS Neuron's framework has it; NaN for a single element.
    Raises ValueError for errors of different shapes, or of no elements.
    """
    candidate, twin = np.asarray(candidate_error, np.float64), np.asarray(twin_error, np.float64)
    if candidate.shape != twin.shape or candidate.size == 0:
        raise ValueError(f"two errors of one shape are compared; got {candidate.shape} and {twin.shape}")
    if not np.all(np.isfinite(candidate)):
        return ThreeWay("broken", np.inf, 0.0)
    own, other = _root_mean_square(candidate), _root_mean_square(twin)
    if other == 0 or not np.isfinite(other):
        ratio = 0.0 if own == 0 else np.inf
    else:
        ratio = own / other
    wider = np.exp(LUCK / np.sqrt(candidate.size))
    verdict: Literal["expected", "suspicious", "broken"] = "broken"
    if ratio <= SUSPICIOUS * wider:
        verdict = "expected" if ratio <= EXPECTED * wider else "suspicious"
    return ThreeWay(verdict, float(ratio), _overlap(candidate, twin))


def _root_mean_square(x: Array) -> float:
    """Scaled, so that neither small nor large errors leave float64."""
    largest = float(np.max(np.abs(x)))
    return largest * float(np.sqrt(np.mean((x / largest) ** 2))) if largest else 0.0


def _overlap(a: Array, b: Array) -> float:
    if a.size < 2 or not np.all(np.isfinite(b)):
        return float("nan")
    largest = max(float(np.max(np.abs(a))), float(np.max(np.abs(b))))
    if largest == 0:
        return 1.0
    a, b = a / largest, b / largest
    s, t = float(np.std(a)), float(np.std(b))
    apart = float(np.mean(a) - np.mean(b))
    both = s * s + t * t
    if both == 0:
        return 1.0 if apart == 0 else 0.0
    return float(np.sqrt(2 * s * t / both) * np.exp(-apart * apart / (4 * both)))
