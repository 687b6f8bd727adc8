"""How far two arrays are apart, in the measures that people use, with every edge settled.

NaN, and an infinity that is not the same on both sides, make every error infinite and every similarity undefined: they are
never left out. The same infinity on both sides is equal, and adds nothing. A measure that is undefined is None, and
`undefined` says why. ulps.py says what a unit in the last place is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np

from albert_np.golden.measures.ulps import format_of, ulp
from albert_np.ops import Array

CHUNK = 1 << 20  # elements that are in float64 at a time


@dataclass(frozen=True)
class Metrics:
    """What `metrics` measured; a is the actual value, e the expected one."""

    count: int  # of elements
    precision: str  # the format of the ULPs
    max_abs: float  # max |a − e|
    max_rel: float  # max |a − e| / |e|, element by element: 0 where both are 0, infinite where e alone is
    rel_to_largest: float  # max |a − e| / max |e|
    rms: float  # √mean (a − e)²
    ulp_max: float
    ulp_mean: float
    cosine: float | None  # Σ a·e / √(Σ a² · Σ e²)
    pcc: float | None  # the same of a and e less their means: Pearson's correlation coefficient
    snr: float  # 10 · log₁₀(Σ e² / Σ (a − e)²), in dB
    nmse: float  # Σ (a − e)² / Σ e²
    worst: tuple[int, ...]  # where max_abs is, or the first that is not finite and not equal
    got: float  # there
    expected: float
    nans: int  # in actual
    nans_expected: int
    infinities: int  # in actual
    infinities_expected: int
    unequal_nonfinite: int  # elements with a NaN, or with an infinity on one side alone
    undefined: dict[str, str] = field(default_factory=dict)  # measure -> why it is None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for strict JSON, in which a number that is not finite is "inf", "-inf" or "nan"."""
        plain: dict[str, Any] = json_ready(asdict(self))
        return plain


def json_ready(x: Any) -> Any:
    """The same with lists for tuples, and text for the numbers that JSON does not have."""
    if isinstance(x, dict):
        return {name: json_ready(value) for name, value in x.items()}
    if isinstance(x, (list, tuple)):
        return [json_ready(value) for value in x]
    return str(x) if isinstance(x, float) and not math.isfinite(x) else x


def metrics(actual: Any, expected: Any, *, where: Any = None, precision: str = "float32") -> Metrics:
    """Measures two arrays of one shape, in float64, a piece at a time.

    where: booleans that broadcast to the shape; an element where it is False is left out. precision: the format of the ULPs,
    one of ulps.FORMATS. Raises ValueError if the shapes differ, nothing is left to compare, or it is no array of real numbers.
    """
    format_of(precision)
    a, e, positions = selected(actual, expected, where)
    seen = _survey(a, e)
    if seen.unequal:
        why = "NaN, or an infinity on one side alone"
        errors = ("max_abs", "max_rel", "rel_to_largest", "rms", "ulp_max", "ulp_mean", "nmse")
        measured: dict[str, Any] = dict.fromkeys(errors, math.inf) | {"snr": -math.inf, "cosine": None, "pcc": None}
        undefined, i = {"cosine": why, "pcc": why}, seen.first
    else:
        measured, i = _errors(a, e, seen, precision)
        similar, undefined = _similarities(a, e, seen)
        measured |= similar
    at = i if positions is None else int(positions[i])
    return Metrics(
        count=a.size,
        precision=precision,
        worst=tuple(int(n) for n in np.unravel_index(at, np.shape(expected))),
        got=float(a[i]),
        expected=float(e[i]),
        nans=seen.nans[0],
        nans_expected=seen.nans[1],
        infinities=seen.infinities[0],
        infinities_expected=seen.infinities[1],
        unequal_nonfinite=seen.unequal,
        undefined=undefined,
        **measured,
    )


def selected(actual: Any, expected: Any, where: Any = None) -> tuple[Array, Array, Array | None]:
    """Both arrays flat, and where in the whole array each element was, if some are left out."""
    a, e = np.asarray(actual), np.asarray(expected)
    for name, x in (("actual", a), ("expected", e)):
        if x.dtype.kind not in "biuf" and x.dtype.name != "bfloat16":
            raise ValueError(f"{name} must be an array of real numbers; got {x.dtype}")
    if a.shape != e.shape:
        raise ValueError(f"both arrays must have one shape; actual has {a.shape}, expected has {e.shape}")
    a, e, shape = a.ravel(), e.ravel(), e.shape
    positions = None
    if where is not None:
        mask = np.asarray(where)
        fits = mask.ndim <= len(shape) and all(
            n in (1, of) for n, of in zip(mask.shape[::-1], shape[::-1], strict=False)
        )
        if mask.dtype != bool or not fits:
            raise ValueError(
                f"where must be booleans that broadcast to {shape}; got {mask.dtype} of shape {mask.shape}"
            )
        positions = np.flatnonzero(np.broadcast_to(mask, shape))
        a, e = a[positions], e[positions]
    if not a.size:
        raise ValueError(f"there must be something to compare; the shape is {shape}, and {a.size} elements are left")
    return a, e, positions


def _pieces(a: Array, e: Array) -> Iterator[tuple[int, Array, Array]]:
    for start in range(0, a.size, CHUNK):
        yield start, a[start : start + CHUNK].astype(np.float64), e[start : start + CHUNK].astype(np.float64)


def _finite_pieces(a: Array, e: Array) -> Iterator[tuple[Array, Array]]:
    """Without the infinities, which are equal where this is used."""
    for _, x, y in _pieces(a, e):
        finite = np.isfinite(y)
        yield (x, y) if finite.all() else (x[finite], y[finite])


class _Seen(NamedTuple):
    """What one look at both arrays says: each pair is (actual, expected)."""

    nans: tuple[int, int]
    infinities: tuple[int, int]
    unequal: int
    first: int  # of the unequal
    finite: int  # elements that are finite on both sides
    largest: tuple[float, float]  # of the finite |x|
    constant: tuple[bool, bool]


def _survey(a: Array, e: Array) -> _Seen:
    nans, infinities, largest = [0, 0], [0, 0], [0.0, 0.0]
    low, high = [math.inf, math.inf], [-math.inf, -math.inf]
    unequal = first = count = 0
    for start, *both in _pieces(a, e):
        finite = np.isfinite(both[0]) & np.isfinite(both[1])
        bad = ~finite & (both[0] != both[1])
        if bad.any() and not unequal:
            first = start + int(np.argmax(bad))
        unequal += int(bad.sum())
        count += int(finite.sum())
        for side, x in enumerate(both):
            nans[side] += int(np.isnan(x).sum())
            infinities[side] += int(np.isinf(x).sum())
            low[side] = min(low[side], float(np.min(x, where=finite, initial=math.inf)))
            high[side] = max(high[side], float(np.max(x, where=finite, initial=-math.inf)))
            largest[side] = max(largest[side], float(np.max(np.abs(x), where=finite, initial=0)))
    constant = (low[0] >= high[0], low[1] >= high[1])
    return _Seen(
        (nans[0], nans[1]), (infinities[0], infinities[1]), unequal, first, count, (largest[0], largest[1]), constant
    )


def _errors(a: Array, e: Array, seen: _Seen, precision: str) -> tuple[dict[str, Any], int]:
    """The measures of a − e, and where it is largest."""
    half = 0.5 if max(seen.largest) > 2.0**1022 else 1.0  # so that no difference overflows
    largest, worst, relative, most, units = -1.0, 0, 0.0, 0.0, []
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for start, x, y in _pieces(a, e):
            d = np.where(x == y, 0, np.abs(half * x - half * y))
            if (top := float(d.max())) > largest:
                largest, worst = top, start + int(np.argmax(d))
            relative = max(relative, float(np.max(np.where(d == 0, 0, d / np.abs(half * y)))))
            in_ulps = np.where(d == 0, 0, d / (half * ulp(y, precision)))
            most = max(most, float(in_ulps.max()))
            units.append(float(np.sum(in_ulps / a.size)))
    squares = math.fsum(
        float(np.sum(np.square((half * x - half * y) / largest))) for x, y in _finite_pieces(a, e) if largest > 0
    )
    norm = math.sqrt(squares)  # of a − e, in units of its largest
    size = math.sqrt(
        math.fsum(float(np.sum(np.square(y / seen.largest[1]))) for _, y in _finite_pieces(a, e) if seen.largest[1])
    )
    ratio = _ratio(_ratio(largest, half * seen.largest[1]) * norm, size)
    return {
        "max_abs": largest / half,
        "max_rel": relative,
        "rel_to_largest": _ratio(largest, half * seen.largest[1]),
        "rms": largest * (norm / math.sqrt(a.size)) / half,
        "ulp_max": most,
        "ulp_mean": math.fsum(units),
        "nmse": float(np.square(ratio)) if ratio < 1e150 else math.inf,
        "snr": -20 * math.log10(ratio) if 0 < ratio < math.inf else math.inf if ratio == 0 else -math.inf,
    }, worst


def _ratio(x: float, y: float) -> float:
    """x / y; 0 where both are, infinity where y alone is."""
    return x / y if y else math.inf if x else 0.0


def _similarities(a: Array, e: Array, seen: _Seen) -> tuple[dict[str, float | None], dict[str, str]]:
    undefined = {}
    if not all(seen.largest):
        which = "both" if not any(seen.largest) else "actual" if not seen.largest[0] else "expected"
        undefined["cosine"] = f"{which} all zeros"
    if seen.finite < 2:
        undefined["pcc"] = "it takes two elements"
    elif any(seen.constant):
        which = "both" if all(seen.constant) else "actual" if seen.constant[0] else "expected"
        undefined["pcc"] = f"{which} constant"
    p, q = seen.largest[0] or 1.0, seen.largest[1] or 1.0  # in units of the largest, nothing overflows
    means = [
        math.fsum(float(np.sum(x)) for x in side) / max(seen.finite, 1)
        for side in zip(*_scaled(a, e, p, q), strict=True)
    ]
    return {
        "cosine": None if "cosine" in undefined else _cosine(_scaled(a, e, p, q)),
        "pcc": None if "pcc" in undefined else _cosine((x - means[0], y - means[1]) for x, y in _scaled(a, e, p, q)),
    }, undefined


def _scaled(a: Array, e: Array, p: float, q: float) -> Iterator[tuple[Array, Array]]:
    for x, y in _finite_pieces(a, e):
        yield x / p, y / q


def _cosine(pieces: Iterator[tuple[Array, Array]]) -> float:
    products = [(float(x @ y), float(x @ x), float(y @ y)) for x, y in pieces]
    xy, xx, yy = (math.fsum(column) for column in zip(*products, strict=True))
    return min(1.0, max(-1.0, xy / math.sqrt(xx * yy)))
