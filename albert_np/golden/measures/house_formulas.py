"""The formulas by which other projects accept a result: each says pass or fail as its own code does, also where that is wrong.

In all of them a is the actual value and e the expected one, both (R,) in float64; r is what a trusted program computes at the
candidate's precision. house_rules.py puts them side by side.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from albert_np.golden.measures.metrics import json_ready, metrics
from albert_np.golden.measures.ulps import FORMATS, rounded, ulp
from albert_np.ops import Array

# torch.testing.assert_close (rtol, atol); a tf32 product is stored as float32
TORCH = {
    "float16": (1e-3, 1e-5),
    "bfloat16": (1.6e-2, 1e-5),
    "float32": (1.3e-6, 1e-5),
    "tf32": (1.3e-6, 1e-5),
    "float64": (1e-7, 1e-7),
}
ASCEND = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-13, "tf32": 2.0**-11}  # HiFloat32 for tf32
ASCEND_LEVELS = {"L0": (10, 2, 2), "L1": (5, 1.5, 1.5), "L2": (2, 1.2, 1.2)}  # MARE, MERE, RMSE
ULPS = 10  # tt-metal's assert_with_ulp, where a test names no other number
SCALE = {"float16": "float16", "bfloat16": "bfloat16", "tf32": "float32", "float32": "float32"}  # TOSA's accumulators


@dataclass(frozen=True)
class Rule:
    """One rule, and what it says of two arrays."""

    name: str
    formula: str
    source: str
    threshold: str
    measured: dict[str, float]
    passed: bool | None  # None: it cannot be judged; `note` says why
    blind: str  # what it cannot see
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for strict JSON."""
        plain: dict[str, Any] = json_ready(asdict(self))
        return plain


# --- tolerances ---------------------------------------------------------------------------------------------------------


def _closeness(a: Array, e: Array, rtol: float, atol: float, equal_nan: bool) -> tuple[float, bool]:
    """The largest share of atol + rtol·|e|, and whether every element is within it. The same infinities are equal."""
    equal = (a == e) | (np.isnan(a) & np.isnan(e) if equal_nan else False)
    d, limit = np.abs(a - e), atol + rtol * np.abs(e)
    inside = equal | ((d <= limit) & np.isfinite(e))
    share = np.where(equal, 0, np.where(np.isfinite(e), d / limit, np.inf))
    return _largest(share), bool(inside.all())


def _largest(x: Array) -> float:
    return float(np.max(np.where(np.isnan(x), np.inf, x)))


def torch_rule(a: Array, e: Array, dtype: str) -> Rule:
    rtol, atol = TORCH[dtype]
    share, passed = _closeness(a, rounded(e, SCALE.get(dtype, dtype)), rtol, atol, False)
    return Rule(
        "torch.testing.assert_close",
        "|a − e| ≤ atol + rtol·|e| for every element, e rounded to the dtype",
        "PyTorch, torch.testing.assert_close: the defaults of the dtype",
        f"rtol {rtol:g}, atol {atol:g}",
        {"share of the tolerance": share},
        passed,
        "how large the terms of a sum were, how deep the op lies, and any relative error of values far below atol",
    )


def numpy_rule(a: Array, e: Array) -> Rule:
    share, passed = _closeness(a, e, 1e-7, 0, True)
    return Rule(
        "numpy.testing.assert_allclose",
        "|a − e| ≤ rtol·|e| for every element; NaN equals NaN",
        "NumPy, numpy.testing.assert_allclose: its defaults",
        "rtol 1e-07, atol 0",
        {"share of the tolerance": share},
        passed,
        "the dtype: it asks half precision for seven digits; and a NaN where a NaN is expected",
    )


def onnx_rule(a: Array, e: Array) -> Rule:
    share, passed = _closeness(a, e, 1e-3, 1e-7, True)
    return Rule(
        "onnx backend test",
        "|a − e| ≤ atol + rtol·|e| for every element; NaN equals NaN",
        "onnx, onnx/backend/test: node tests' defaults",
        "rtol 0.001, atol 1e-07",
        {"share of the tolerance": share},
        passed,
        "float32 errors that are a thousand times what they should be; it fails correct sums that cancel",
    )


def polygraphy(a: Array, e: Array) -> list[Rule]:
    """A statistic fails if neither the absolute nor the relative error is within its tolerance."""
    tolerance = 1e-5
    d = np.abs(a - e)  # ∞ − ∞ is NaN, which fails: infinities_compare_equal is off
    relative = d / np.where(e == 0, np.finfo(np.float64).eps, np.abs(e))
    either = np.fmin(np.where(np.isnan(d), np.inf, d), np.where(np.isnan(relative), np.inf, relative))
    measured = {"elemwise": {"max min(absolute, relative)": float(either.max())}}
    for name, statistic in (("max", np.max), ("mean", np.mean), ("median", np.median)):
        measured[name] = {"absolute": float(statistic(d)), "relative": float(statistic(relative))}
    blind = {
        "elemwise": "any error in values below 1e-5; and the dtype: it asks half precision for five digits",
        "max": "what elemwise does not see; it fails more, as one kind of error must do for all elements",
        "mean": "one wrong element among many, and one wrong row",
        "median": "anything that is wrong in less than half of the elements",
    }
    return [
        Rule(
            f"Polygraphy ({name})",
            "|a − e| ≤ atol or |a − e| / |e| ≤ rtol"
            + (" for every element" if name == "elemwise" else f", of the {name} of each")
            + "; e = 0 is 2.2e-16",
            "NVIDIA Polygraphy, comparator/compare.py: CompareFunc.simple, check_error_stat"
            + " (default)" * (name == "elemwise"),
            "rtol 1e-05, atol 1e-05",
            values,
            any(value <= tolerance for value in values.values()),
            blind[name],
        )
        for name, values in measured.items()
    ]


# --- Tenstorrent --------------------------------------------------------------------------------------------------------


def tenstorrent_pcc(a: Array, e: Array) -> Rule:
    pcc, note = _comp_pcc(a, e)
    return Rule(
        "Tenstorrent PCC",
        "Pearson's correlation of a and e ≥ 0.99; NaN and infinities count as 0, an undefined correlation as 1",
        "tt-metal, models/common/utility_functions.py: comp_pcc",
        "PCC ≥ 0.99",
        {"PCC": pcc},
        pcc >= 0.99,
        "a factor, an offset (PCC(X, 2X) = 1), a constant result, NaN, and errors a hundred times what rounding costs",
        note,
    )


def _comp_pcc(a: Array, e: Array) -> tuple[float, str]:
    none, none_expected = np.isnan(a).all(), np.isnan(e).all()
    if none or none_expected:
        return float(none and none_expected), "all of " + ("both" if none and none_expected else "one") + " is NaN"
    if a.any() != e.any():
        return 0.0, "one side alone is all zeros"
    x, y = (np.where(np.isfinite(x), x, 0) for x in (a, e))
    lost = int(np.sum(~np.isfinite(a)) + np.sum(~np.isfinite(e)))
    note = f"{lost} values that are not finite were taken as 0" if lost else ""
    if np.array_equal(x, y):
        return 1.0, note
    measured = metrics(x, y)
    if measured.pcc is None:
        return 1.0, f"undefined ({measured.undefined['pcc']}), which the rule counts as 1"
    return measured.pcc, note


def tenstorrent_ulp(a: Array, e: Array, dtype: str) -> Rule:
    unit = ulp(rounded(e, dtype), dtype)
    worst = (
        _largest(np.where(a == e, 0, np.abs(a - e) / unit))
        if np.isfinite(a).all() and np.isfinite(e).all()
        else math.inf
    )
    return Rule(
        "Tenstorrent ULP",
        "max |a − e| / ULP(e) ≤ 10, e rounded to the dtype for its ULP",
        "tt-metal, tests/ttnn/utils_for_testing.py: assert_with_ulp and its default; ops name their own limits",
        f"{ULPS} ULP",
        {"ULP": worst},
        worst <= ULPS,
        "which errors are usual: a correct sum that cancels is off by thousands of ULP, a correct tanh by one",
    )


# --- Ascend -------------------------------------------------------------------------------------------------------------


def _relative_measures(x: Array, e: Array) -> dict[str, float]:
    d = np.where(x == e, 0, np.abs(x - e))
    relative = np.where(d == 0, 0, d / (np.abs(e) + 1e-7))
    found = {
        "MARE": _largest(relative),
        "MERE": float(np.mean(relative)),
        "RMSE": float(np.sqrt(np.mean(np.square(d)))),
    }
    return {name: math.inf if math.isnan(value) else value for name, value in found.items()}


def ascend_single(a: Array, e: Array, dtype: str) -> Rule:
    measured = {name: value for name, value in _relative_measures(a, e).items() if name != "RMSE"}
    limit = ASCEND.get(dtype)
    return Rule(
        "Ascend single benchmark",
        "MERE = mean |a − e| / (|e| + 1e-7) < T and MARE = max of the same < 10·T",
        "CANN, ops-precision-standard: the ecosystem's standard",
        f"T = 2^{int(math.log2(limit))} for {dtype}" if limit else "none for float64",
        measured,
        None if limit is None else measured["MERE"] < limit and measured["MARE"] < 10 * limit,
        "sums that cancel fail whatever computes them; values below 1e-7 may be anything",
        "" if limit else "the standard has no threshold for float64",
    )


def ascend_double(a: Array, e: Array, r: Array | None) -> list[Rule]:
    mine = _relative_measures(a, e)
    other = None if r is None else _relative_measures(r, e)
    ratios = {} if other is None else {name: _ratio(value, other[name]) for name, value in mine.items()}
    return [
        Rule(
            f"Ascend double benchmark {level}",
            "MARE, MERE and RMSE of a, each divided by that of a trusted program at the same precision",
            "CANN, ops-precision-standard: the commercial standard",
            "MARE ≤ {:g}, MERE ≤ {:g}, RMSE ≤ {:g} times".format(*limits),
            ratios,
            None if other is None else all(x <= limit for x, limit in zip(ratios.values(), limits, strict=True)),
            "errors that the trusted program makes too; one tensor is luck, and the standard asks for 5,000 cases and more",
            "it needs the same result at the same precision from a trusted program" if other is None else "",
        )
        for level, limits in ASCEND_LEVELS.items()
    ]


def _ratio(x: float, y: float) -> float:
    """x / y; 1 where neither has an error, infinity where x is not finite or y alone has none."""
    if x == y == 0:
        return 1.0
    return x / y if y and math.isfinite(x) else math.inf


# --- Arm ----------------------------------------------------------------------------------------------------------------


def tosa(a: Array, e: Array, b: Array | None, terms: int | None, dtype: str) -> Rule:
    known = b is not None and terms is not None and dtype in SCALE
    measured: dict[str, float] = {}
    passed, threshold = None, "|err| ≤ KS, |Σ err| ≤ 2·√(KS·T), Σ err² ≤ 0.4·KS·T"
    if b is not None and terms is not None and known:
        measured, passed, threshold = _verify_dot_product(a, e, b, int(terms), SCALE[dtype])
    return Rule(
        "Arm TOSA dot product",
        "err = (a − e) / max(bound·2^(−1 − fraction bits), smallest normal), bound the same sum of absolute values",
        "TOSA reference model, verify/verify_dot_product.cc",
        threshold,
        measured,
        passed,
        "ops that are no sums of products: softmax, LayerNorm, GELU and tanh have other rules there",
        "" if known else "it needs the bound of a sum of products, how many they are, and float16, bfloat16 or float32",
    )


def _verify_dot_product(a: Array, e: Array, b: Array, terms: int, dtype: str) -> tuple[dict[str, float], bool, str]:
    kind, count = FORMATS[dtype], a.size
    overflows = np.isinf(rounded(b * (1 + 2.0 ** (-1 - kind.fraction)), dtype))  # then any result is right
    scale = np.maximum(b * 2.0 ** (-1 - kind.fraction), kind.smallest_normal)
    error = np.where(overflows, 0, (a - e) / scale)
    error = np.where(~overflows & (b == 0), np.where((e == 0) & (a == 0), 0, np.inf), error)
    error = np.where(np.isnan(error), np.inf, error)
    measured = {
        "max |err|": float(np.max(np.abs(error))),
        "|Σ err|": float(abs(np.sum(error))),
        "Σ err²": float(np.sum(np.square(error))),
    }
    limits = (terms, 2 * math.sqrt(terms * count), 0.4 * terms * count)
    passed = all(value <= limit for value, limit in zip(measured.values(), limits, strict=True))
    return measured, passed, "|err| ≤ {:g}, |Σ err| ≤ {:.4g}, Σ err² ≤ {:.4g}".format(*limits)


# --- ggml, AWS Neuron ---------------------------------------------------------------------------------------------------


def ggml(a: Array, e: Array) -> list[Rule]:
    ends = [np.abs(x) >= FORMATS["float32"].largest for x in (a, e)]  # FLT_MAX is taken as infinity
    wrong = np.isnan(a) | np.isnan(e) | (ends[0] != ends[1]) | (ends[0] & (np.signbit(a) != np.signbit(e)))
    nmse = float(np.sum(np.square(a - e)) / np.sum(np.square(a)))
    note = "NaN, or an infinity on one side alone" if wrong.any() else ""
    if math.isnan(nmse) and not note:
        note = "0/0 or ∞ − ∞: not a number, which is not above the limit"
    return [
        Rule(
            f"ggml NMSE ({what})",
            "Σ (a − e)² / Σ a² not above the limit; NaN fails, infinities must stand on both sides",
            "ggml, tests/test-backend-ops.cpp: nmse, max_nmse_err",
            f"{limit:g}",
            {"NMSE": nmse},
            not (wrong.any() or nmse > limit),
            "one element in a million that is a quarter off, and whatever is small beside the largest",
            note,
        )
        for what, limit in (("most ops", 1e-7), ("matrix products", 5e-4))
    ]


def neuron_static(a: Array, e: Array) -> Rule:
    error = metrics(a, e).rel_to_largest
    return Rule(
        "AWS Neuron, two-way",
        "max |a − e| / max |e| below a constant",
        "AWS Neuron, module-level accuracy test guidelines: single op ~1e-5, 4 layers ~0.005, full model ~0.01",
        "1e-05, for a single op",
        {"relative": error},
        error < 1e-5,
        "all elements that are small beside the largest; its own page says that no good constant exists",
    )


def neuron_three_way(a: Array, e: Array, r: Array | None) -> Rule:
    measured = {}
    if r is not None:
        errors = [np.where(x == e, 0, x - e) for x in (a, r)]
        (m, n), (s, t) = (np.mean(errors, axis=1), np.std(errors, axis=1))
        both = float(s * s + t * t)
        overlap = (
            math.sqrt(2 * float(s * t) / both) * math.exp(-float(np.square(m - n)) / (4 * both))
            if both
            else float(m == n)
        )
        measured = {"sigma ratio": _ratio(float(s), float(t)), "Bhattacharyya coefficient": overlap}
    return Rule(
        "AWS Neuron, three-way",
        "σ(a − e) / σ(r − e), and √(2στ/(σ² + τ²))·exp(−(μ − ν)²/(4(σ² + τ²))), r the same at reduced precision on a CPU",
        "AWS Neuron, logit validation: FP32 truth, BF16 on a CPU, the device",
        "none that we could check",
        measured,
        None,
        "where an error is: both are statistics of all elements together",
        "measured only: the limits are not in what could be read"
        if r is not None
        else "it needs the same result at the same precision from a trusted program",
    )
