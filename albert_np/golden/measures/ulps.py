"""Units in the last place, and rounding to a format, for the formats that accelerators have; all in float64.

The unit (ULP) of a number x is 2^(e − f), where 2^e ≤ |x| < 2^(e+1) and f is the number of fraction bits of the format. x is
taken exactly as it is, not rounded to the format first. At a power of two it is the distance to the next larger number of the
format (Goldberg 1991; as tt-metal has it). At 0 and among the subnormals it is the smallest subnormal, and so a small number
where 0 is expected is off by many ULP.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from albert_np.files import shown
from albert_np.golden.measures import formats
from albert_np.golden.measures.formats import Format
from albert_np.ops import Array

FORMATS = {name: formats.FORMATS[name] for name in ("float64", "float32", "tf32", "float16", "bfloat16")}


def format_of(precision: str) -> Format:
    """ValueError for a name that is none of FORMATS."""
    if precision not in FORMATS:
        raise ValueError(f"precision must be one of {', '.join(FORMATS)}; got {shown(precision, 40)!r}")
    return FORMATS[precision]


def ulp(x: Any, precision: str) -> Array:
    """The unit in the last place of each number; infinity of infinities, NaN of NaN."""
    kind = format_of(precision)
    x = np.abs(np.asarray(x, np.float64))
    return np.where(np.isfinite(x), kind.place(x), x)


def rounded(x: Any, precision: str) -> Array:
    """Each number as the format has it: to nearest, ties to even, subnormals kept, infinity beyond the largest."""
    return format_of(precision).round(np.asarray(x, np.float64)).astype(np.float64)
