"""Units in the last place, and rounding to a format, for the formats that accelerators have; all in float64.

The unit (ULP) of a number x is 2^(e − f), where 2^e ≤ |x| < 2^(e+1) and f is the number of fraction bits of the format. x is
taken exactly as it is, not rounded to the format first. At a power of two it is the distance to the next larger number of the
format (Goldberg 1991; as tt-metal has it). At 0 and among the subnormals it is the smallest subnormal, and so a small number
where 0 is expected is off by many ULP.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from albert_np.files import shown
from albert_np.ops import Array


class Format(NamedTuple):
    """A binary floating-point format."""

    fraction: int  # bits behind the point
    smallest: int  # exponent of the smallest normal number
    largest: float


FORMATS = {
    "float64": Format(52, -1022, float(np.finfo(np.float64).max)),
    "float32": Format(23, -126, float(np.finfo(np.float32).max)),
    "tf32": Format(10, -126, (2 - 2**-10) * 2.0**127),
    "float16": Format(10, -14, 65504.0),
    "bfloat16": Format(7, -126, (2 - 2**-7) * 2.0**127),
}


def format_of(precision: str) -> Format:
    """ValueError for a name that is none of FORMATS."""
    if precision not in FORMATS:
        raise ValueError(f"precision must be one of {', '.join(FORMATS)}; got {shown(precision, 40)!r}")
    return FORMATS[precision]


def ulp(x: Any, precision: str) -> Array:
    """The unit in the last place of each number; infinity of infinities, NaN of NaN."""
    kind = format_of(precision)
    x = np.abs(np.asarray(x, np.float64))
    exponent = np.where(x > 0, np.frexp(x)[1] - 1, kind.smallest)  # frexp's fractions are below 1, and 0 is 0·2⁰
    unit = np.ldexp(1.0, np.maximum(exponent, kind.smallest) - kind.fraction)
    return np.where(np.isfinite(x), unit, x)


def rounded(x: Any, precision: str) -> Array:
    """Each number as the format has it: to nearest, ties to even, subnormals kept, infinity beyond the largest."""
    kind = format_of(precision)
    x = np.asarray(x, np.float64)
    if precision == "float64":
        return x
    with np.errstate(invalid="ignore", over="ignore"):  # ∞ / ∞, NaN; the largest numbers of float64
        near = np.where(np.isfinite(x), np.rint(x / ulp(x, precision)) * ulp(x, precision), x)
        return np.where(np.abs(near) > kind.largest, np.copysign(np.inf, x), near)
