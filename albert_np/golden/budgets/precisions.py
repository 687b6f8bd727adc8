"""The number formats that a candidate may compute in: the size of one rounding, and where numbers become too small.

u is the unit roundoff: a rounded number is off by at most u times its size, as long as that is at least the smallest normal
number. Below, hardware may give 0 in its place, so that up to a whole smallest normal number is lost.
"""

from __future__ import annotations

from dataclasses import dataclass

NAMES = ("float32", "tf32", "float16", "bfloat16")
ACCUMULATORS = ("float32", "float16", "bfloat16")
_UNIT = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
_SMALLEST = {"float32": 2.0**-126, "float16": 2.0**-14, "bfloat16": 2.0**-126}
_LARGEST = {"float32": (2 - 2.0**-23) * 2.0**127, "float16": 65504.0, "bfloat16": (2 - 2.0**-7) * 2.0**127}


@dataclass(frozen=True)
class Precision:
    """What a candidate rounds, and how much."""

    name: str
    unit: float  # u of the values that it stores
    smallest: float  # the smallest normal number of that format
    largest: float  # its largest finite number
    multiply: float  # a factor of a product is off by this much: 2⁻¹⁰ in tf32, whose factors may be cut off; else 0
    accumulate: float  # u of the sums inside an op
    smallest_sum: float  # the smallest normal number of the sums' format
    truncates: bool  # sums are cut off instead of rounded, as in tensor cores

    @property
    def half(self) -> bool:
        """Are values stored in 16 bits? Then a fused kernel may hold them wider than they are recorded."""
        return self.unit > _UNIT["float32"]


def precision(name: str, accumulate: str = "float32", *, truncates: bool = False) -> Precision:
    """The precision of that name: "float32", "tf32", "float16" or "bfloat16", with sums in another format.

    truncates: products are added by hardware that cuts digits off (tensor cores). Raises ValueError for other names.
    """
    if name not in NAMES:
        raise ValueError(f"precision must be one of {', '.join(NAMES)}; got {name!r:.80}")
    if accumulate not in ACCUMULATORS:
        raise ValueError(f"accumulate must be one of {', '.join(ACCUMULATORS)}; got {accumulate!r:.80}")
    stored = "float32" if name == "tf32" else name
    return Precision(
        name,
        _UNIT[stored],
        _SMALLEST[stored],
        _LARGEST[stored],
        2.0**-10 if name == "tf32" else 0.0,
        max(_UNIT[accumulate], min(_UNIT[stored], _UNIT["float32"])),
        _SMALLEST[accumulate],
        truncates,
    )
