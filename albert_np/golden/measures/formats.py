"""Number formats, and how an array is rounded to one: each is a precision, a smallest exponent and a largest number.

An array of a format is a float32 or float64 array all of whose numbers the format has. NumPy alone does it; the tests compare
every 16-bit conversion with ml_dtypes, which is written by other people.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from albert_np.ops import Array

Rounding = Literal["nearest", "truncate"]


@dataclass(frozen=True)
class Format:
    """A binary format: numbers ±m·2^(e − digits + 1) with m < 2^digits, e ≥ smallest_exponent, and none above `largest`."""

    name: str
    digits: int  # of the significand, the hidden one included
    smallest_exponent: int  # the smallest normal number is 2 to this power; below it lie subnormals
    largest: float
    overflow: float = np.inf  # what is too large becomes this

    @property
    def fraction(self) -> int:
        """Bits behind the point."""
        return self.digits - 1

    @property
    def unit(self) -> float:
        """The unit roundoff: half the distance of 1 from the next number."""
        return 2.0**-self.digits

    @property
    def smallest_normal(self) -> float:
        """Below it numbers lose digits, or are flushed to zero."""
        return 2.0**self.smallest_exponent

    def place(self, x: Array) -> Array:  # (...) -> (...)
        """One unit in the last place of each number, in float64."""
        x = np.asarray(x, np.float64)
        exponent = np.where(x == 0, self.smallest_exponent, np.frexp(x)[1])  # |x| is below two to this power
        return np.ldexp(1.0, np.maximum(exponent, self.smallest_exponent + 1) - self.digits)

    @np.errstate(all="ignore")  # overflow is an answer here, and a signalling NaN stays one
    def round(self, x: Array, rounding: Rounding = "nearest", *, flush: bool = False) -> Array:  # (...) -> (...)
        """Each number as the format has it: float32 if float32 holds the format, else float64.

        rounding: "nearest", ties to even; or "truncate", towards zero. flush: subnormals become zeros, which keep their sign.
        """
        x = np.asarray(x)
        if rounding == "nearest" and x.dtype == np.float32 and self.smallest_exponent == FLOAT32.smallest_exponent:
            y = self._masked(x)
        elif rounding == "nearest" and x.dtype == np.float32 and self.name == "float16":
            y = x.astype(np.float16).astype(np.float32)
        elif self.digits > FLOAT32.digits:
            y = x.astype(np.float64)
        else:
            y = self._counted(x.astype(np.float64), rounding)
        if flush:
            y = np.where(np.abs(y) < self.smallest_normal, np.copysign(y.dtype.type(0), y), y)
        return y

    def _masked(self, x: Array) -> Array:
        """float32 to fewer digits with the same exponents: half a unit is added to the bits, and the last ones are cut."""
        cut = FLOAT32.digits - self.digits
        if cut == 0:
            return x
        bits = np.ascontiguousarray(x).reshape(-1).view(np.uint32)
        rounded = bits >> np.uint32(cut)
        rounded &= np.uint32(1)  # of a tie, the even neighbour
        rounded += np.uint32((1 << (cut - 1)) - 1)
        rounded += bits
        rounded &= np.uint32(2**32 - (1 << cut))
        y = rounded.view(np.float32).reshape(x.shape)
        lost = np.isnan(x)  # the sum may have carried a NaN's bits into an infinity
        return np.where(lost, x, y) if np.any(lost) else y

    def _counted(self, x: Array, rounding: Rounding) -> Array:
        """float64 to any format: how many units of the last place is each number?"""
        place = self.place(x)
        count = np.rint(x / place) if rounding == "nearest" else np.trunc(x / place)
        y = count * place
        too_large = self.overflow if rounding == "nearest" else self.largest
        y = np.where((np.abs(y) > self.largest) & np.isfinite(x), np.copysign(too_large, x), y)
        y = np.where(np.isinf(x), np.copysign(self.overflow, x), y)
        return y.astype(np.float32)


FLOAT64 = Format("float64", 53, -1022, float(np.finfo(np.float64).max))
FLOAT32 = Format("float32", 24, -126, float(np.finfo(np.float32).max))
FORMATS = {
    format.name: format
    for format in (
        FLOAT64,
        FLOAT32,
        Format("tf32", 11, -126, (2 - 2.0**-10) * 2.0**127),
        Format("bfloat16", 8, -126, (2 - 2.0**-7) * 2.0**127),
        Format("float16", 11, -14, 65504.0),
        Format("float8_e5m2", 3, -14, 57344.0),
        Format("float8_e4m3fn", 4, -6, 448.0, np.nan),  # without infinities
    )
}


def named(name: str) -> Format:
    """The format of that name. Raises ValueError for another."""
    if not isinstance(name, str) or name not in FORMATS:
        raise ValueError(f"a format is one of {', '.join(FORMATS)}; got {name!r:.60}")
    return FORMATS[name]
