"""What 04_numerical_traps.ipynb measures with: formulas as books have them, exact values, and the pictures.

Here are the wrong ways. The right ones are the package's own: albert_np/ops.py and albert_np/activations.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from albert_np import ops
from support.plots import BLUE, GREY, RED

DIGITS = 100
ROOT = Decimal(
    "0.79788456080286535587989211986876373695171726232986931533185165934131585179860367700250466781461387286"
)  # √(2/π)


def inner(x: np.ndarray) -> np.ndarray:
    """u = √(2/π)(x + 0.044715 x³), in the dtype of x."""
    kind = x.dtype.type
    return kind(float(ROOT)) * (x + kind(0.044715) * x * x * x)


def textbook_gelu(x: np.ndarray) -> np.ndarray:
    """½x(1 + tanh u), term by term, in the dtype of x: the trap."""
    kind = x.dtype.type
    return kind(0.5) * x * (kind(1) + np.tanh(inner(x)))


def exact_gelu(x: Iterable[float]) -> np.ndarray:
    """½x(1 + tanh u) again, with numbers of a hundred digits, rounded to float64 at the end. x: from −10 on."""
    found = []
    with localcontext() as context:
        context.prec = DIGITS
        for value in map(float, x):
            wide = Decimal(value)
            e = (2 * ROOT * (wide + Decimal("0.044715") * wide**3)).exp()
            tanh = (e - 1) / (e + 1)
            found.append(float(wide / 2 * (1 + tanh)))
    return np.array(found)


def one_pass_variance(x: np.ndarray) -> Any:
    """mean(x²) − mean(x)², in the dtype of x: the other trap."""
    return np.mean(x * x) - np.mean(x) ** 2


def two_pass_variance(x: np.ndarray) -> Any:
    """mean((x − mean)²), in the dtype of x."""
    centred = x - np.mean(x)
    return np.mean(centred * centred)


def exact_variance(x: np.ndarray) -> float:
    """The variance of these very numbers, in fractions."""
    values = [Fraction(float(value)) for value in x]
    mean = sum(values, Fraction(0)) / len(values)
    return float(sum(((value - mean) ** 2 for value in values), Fraction(0)) / len(values))


def relative_error(found: Any, exact: Any) -> Any:
    """|found − exact| / |exact|."""
    return np.abs(np.asarray(found, np.float64) - exact) / np.abs(exact)


def variance_errors(variance: Callable[[np.ndarray], Any], rows: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """For each offset, the largest relative error of the variance of one of the rows + offset, in the dtype of rows."""
    found = []
    for offset in offsets:
        moved = [row + row.dtype.type(offset) for row in rows]
        found.append(max(relative_error(variance(x), exact_variance(x)) for x in moved))
    return np.array(found)


def draw_gelu(x: np.ndarray) -> Any:
    """Relative errors of both ways in two dtypes. x: numbers below 0 that float32 has too; of eight, the worst is drawn."""
    figure, axis = plt.subplots(figsize=(7, 3.8))
    exact, eight = exact_gelu(x), x.reshape(-1, 8)
    for dtype, colour in (("float32", RED), ("float64", BLUE)):
        for function, style in ((textbook_gelu, "-"), (ops.gelu_new, ":")):
            worst = relative_error(function(x.astype(dtype)), exact).reshape(-1, 8).max(axis=1)
            axis.semilogy(eight.mean(axis=1), worst, style, color=colour, linewidth=2)
    for where, text, colour in (
        ((-3.6, 1e-2), "textbook, float32", RED),
        ((-8.9, 2e-5), "package, float32", RED),
        ((-4.3, 1e-9), "textbook, float64", BLUE),
        ((-8.9, 1e-13), "package, float64", BLUE),
    ):
        axis.text(*where, text, color=colour)
    _nothing_is_right(axis, -2)
    axis.set_ylim(1e-17, 100)
    axis.set_xlabel("x")
    axis.set_ylabel("relative error")
    axis.set_title("GELU: digits lost on the left")
    return figure


def draw_variance(rows: np.ndarray, offsets: np.ndarray) -> Any:
    """Relative errors of the variance of rows + offset: of one pass and of two, in two dtypes. rows: deviation near 1."""
    figure, axis = plt.subplots(figsize=(7, 3.8))
    for dtype, colour in (("float32", RED), ("float64", BLUE)):
        for function, style in ((one_pass_variance, "-"), (two_pass_variance, ":")):
            errors = variance_errors(function, rows.astype(dtype), offsets)
            axis.loglog(offsets, errors, style, color=colour, linewidth=2)
    for where, text, colour in (
        ((60, 8e-3), "one pass, float32", RED),
        ((150, 5e-7), "two passes, float32", RED),
        ((60, 2e-10), "one pass, float64", BLUE),
        ((4e3, 3e-15), "two passes, float64", BLUE),
    ):
        axis.text(*where, text, color=colour, ha="right" if "one" in text else "left")
    _nothing_is_right(axis, 1)
    axis.set_ylim(1e-17, 1e4)
    axis.set_xlabel("mean of the row / deviation of the row")
    axis.set_ylabel("relative error of the variance")
    axis.set_title("Variance: digits lost where the mean is large")
    return figure


def _nothing_is_right(axis: Any, x: float) -> None:
    axis.axhline(1, color=GREY, linewidth=0.8)
    axis.text(x, 2, "1: nothing is right", color=GREY)
