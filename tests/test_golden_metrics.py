"""Metrics against literals and exact arithmetic, and each edge: zeros, constants, NaN, infinities, binades, huge and tiny."""

import json
import math

import ml_dtypes
import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from albert_np.golden.measures import metrics as module
from albert_np.golden.measures.metrics import metrics
from albert_np.golden.measures.ulps import FORMATS, rounded, ulp

INF, NAN = math.inf, math.nan


def approx(x):
    return pytest.approx(x, rel=1e-14, abs=0)


def test_a_small_case_by_hand():
    m = metrics([[1.0, 2.0], [3.0, 4.5]], [[1.0, 2.0], [4.0, 4.0]])
    assert (m.count, m.worst, m.got, m.expected) == (4, (1, 0), 3.0, 4.0)
    assert (m.max_abs, m.max_rel, m.rel_to_largest) == (1.0, 0.25, 0.25)
    assert m.rms == approx(math.sqrt(1.25 / 4))
    assert m.nmse == approx(1.25 / 37)
    assert m.snr == approx(10 * math.log10(37 / 1.25))
    assert m.cosine == approx(35 / math.sqrt(34.25 * 37))
    # less their means, 2.625 and 2.75: (−1.625, −.625, .375, 1.875) and (−1.75, −.75, 1.25, 1.25)
    assert m.pcc == approx(6.125 / math.sqrt(6.6875 * 6.75))
    assert (m.ulp_max, m.ulp_mean) == (2.0**21, (2.0**21 + 2.0**20) / 4)
    assert m.undefined == {}


def test_equal_arrays_have_no_error():
    m = metrics([1.0, -2.0], [1.0, -2.0])
    assert (m.max_abs, m.max_rel, m.rms, m.ulp_max, m.ulp_mean, m.nmse, m.snr) == (0, 0, 0, 0, 0, 0, INF)
    assert m.cosine == m.pcc == 1.0


def test_correlation_does_not_see_a_factor():
    x = np.arange(1.0, 100)
    m = metrics(2 * x, x)
    assert m.pcc == m.cosine == approx(1.0)
    assert (m.nmse, m.max_rel) == (approx(1.0), 1.0)


# --- units in the last place --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("precision", "x", "unit"),
    [
        ("float32", 1.0, 2.0**-23),
        ("float32", np.nextafter(1.0, 0), 2.0**-24),  # not rounded to 1 first
        ("float32", -3.9, 2.0**-22),
        ("float32", 0.0, 2.0**-149),
        ("float32", 2.0**-126, 2.0**-149),
        ("float32", 2.0**-140, 2.0**-149),
        ("float32", 5e-324, 2.0**-149),
        ("float64", 5e-324, 5e-324),
        ("float64", 1.0, 2.0**-52),
        ("tf32", 1.5, 2.0**-10),
        ("tf32", 0.0, 2.0**-136),
        ("float16", 65504.0, 32.0),
        ("float16", 0.0, 2.0**-24),
        ("bfloat16", 255.0, 1.0),
        ("bfloat16", 256.0, 2.0),
        ("float32", INF, INF),
    ],
)
def test_unit_in_the_last_place(precision, x, unit):
    assert ulp(x, precision) == unit


@pytest.mark.parametrize(
    ("precision", "dtype"), [("float16", np.float16), ("bfloat16", ml_dtypes.bfloat16), ("float32", np.float32)]
)
def test_units_and_rounding_are_those_of_the_dtype(precision, dtype):
    if precision == "float32":
        bits = np.random.default_rng(0).integers(0, 2**31, 5000).astype(np.uint32)
    else:
        bits = np.arange(2**15, dtype=np.uint16)
    with np.errstate(invalid="ignore"):  # signalling NaN
        wide, after = (x.view(dtype).astype(np.float64) for x in (bits, bits + 1))
    finite = np.isfinite(wide) & np.isfinite(after)
    wide, after = wide[finite], after[finite]
    assert np.array_equal(ulp(wide, precision), after - wide)
    assert np.array_equal(rounded(wide, precision), wide)
    for between in (wide + (after - wide) * 0.3, (wide + after) / 2, wide + (after - wide) * 0.7):
        assert np.array_equal(rounded(-between, precision), (-between).astype(dtype).astype(np.float64))


def test_rounding_overflows_where_the_format_does():
    assert list(rounded([65519.9, 65520.0, -1e9, INF, NAN], "float16")[:4]) == [65504.0, INF, -INF, INF]
    assert np.isnan(rounded([NAN], "float16")[0])
    assert np.signbit(rounded(-1e-30, "float16"))


@pytest.mark.parametrize(
    ("actual", "expected", "precision", "most"),
    [
        (1 + 2.0**-23, 1.0, "float32", 1.0),
        (1 - 2.0**-24, 1.0, "float32", 0.5),  # the next smaller number is half a unit of 1 away
        (1.0, 1 - 2.0**-24, "float32", 1.0),
        (2.0**-149, 0.0, "float32", 1.0),
        (-(2.0**-149), 2.0**-149, "float32", 2.0),  # across zero
        (-0.0, 0.0, "float32", 0.0),
        (2.0**-126, 2.0**-126 - 2.0**-149, "float32", 1.0),  # across the smallest normal number
        (-1.0, 1.0, "bfloat16", 256.0),
        (1 + 2.0**-10, 1.0, "tf32", 1.0),
        (1 + 2.0**-10, 1.0, "float16", 1.0),
        (1.25, 1 + 2.0**-9, "bfloat16", 0.25 * 128 - 0.25),  # from the exact expected value
    ],
)
def test_errors_in_units(actual, expected, precision, most):
    m = metrics([actual], [expected], precision=precision)
    assert m.ulp_max == m.ulp_mean == most
    assert m.precision == precision


# --- edges --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("actual", "expected", "counts"),
    [
        ([1.0, NAN], [1.0, 2.0], (1, 0, 0, 0)),
        ([1.0, 2.0], [1.0, NAN], (0, 1, 0, 0)),
        ([1.0, NAN], [1.0, NAN], (1, 1, 0, 0)),
        ([1.0, INF], [1.0, 2.0], (0, 0, 1, 0)),
        ([1.0, 2.0], [1.0, -INF], (0, 0, 0, 1)),
        ([1.0, INF], [1.0, -INF], (0, 0, 1, 1)),
    ],
)
def test_nan_and_unequal_infinities_make_every_error_infinite(actual, expected, counts):
    m = metrics(actual, expected)
    assert {m.max_abs, m.max_rel, m.rel_to_largest, m.rms, m.ulp_max, m.ulp_mean, m.nmse, -m.snr} == {INF}
    assert m.cosine is m.pcc is None
    assert set(m.undefined) == {"cosine", "pcc"}
    assert (m.nans, m.nans_expected, m.infinities, m.infinities_expected) == counts
    assert (m.unequal_nonfinite, m.worst) == (1, (1,))


def test_equal_infinities_are_equal_and_add_nothing():
    m = metrics([INF, 1.0, 2.0, -INF, 3.0], [INF, 1.0, 2.0, -INF, 4.0])
    n = metrics([1.0, 2.0, 3.0], [1.0, 2.0, 4.0])
    assert (m.max_abs, m.nmse, m.pcc, m.cosine, m.snr, m.worst) == (n.max_abs, n.nmse, n.pcc, n.cosine, n.snr, (4,))
    assert (m.infinities, m.infinities_expected, m.unequal_nonfinite) == (2, 2, 0)
    only = metrics([INF], [INF])
    assert (only.max_abs, only.nmse, only.pcc) == (0, 0, None)


def test_zeros():
    both = metrics([0.0, -0.0], [0.0, 0.0])
    assert (both.max_abs, both.max_rel, both.ulp_max, both.nmse, both.snr) == (0, 0, 0, 0, INF)
    assert both.undefined == {"cosine": "both all zeros", "pcc": "both constant"}
    wrong = metrics([0.0, 1.0], [0.0, 0.0])
    assert (wrong.max_rel, wrong.rel_to_largest, wrong.nmse, wrong.snr) == (INF, INF, INF, -INF)
    assert wrong.undefined == {"cosine": "expected all zeros", "pcc": "expected constant"}
    lost = metrics([0.0, 0.0], [1.0, 3.0])
    assert (lost.max_rel, lost.nmse, lost.snr) == (1.0, 1.0, 0.0)
    assert lost.undefined == {"cosine": "actual all zeros", "pcc": "actual constant"}


def test_a_constant_tensor_has_no_correlation():
    m = metrics([1.0, 1.0, 1.0], [1.0, 2.0, 3.0])
    assert m.pcc is None
    assert m.undefined == {"pcc": "actual constant"}
    assert metrics([0.1] * 7, [0.1] * 7).undefined == {"pcc": "both constant"}


def test_a_single_element():
    m = metrics(3.0, 2.0)
    assert (m.count, m.worst, m.max_abs, m.cosine, m.pcc) == (1, (), 1.0, 1.0, None)
    assert m.undefined == {"pcc": "it takes two elements"}


def test_huge_and_tiny_values_neither_overflow_nor_vanish():
    big = metrics([1.6e308, -1e308], [-1.6e308, 1e308])
    assert (big.max_abs, big.rel_to_largest, big.nmse, big.cosine) == (INF, 2.0, approx(4.0), approx(-1.0))
    near = metrics([1.5e308, -1e308], [1.6e308, -1e308])
    assert near.max_abs == approx(1.6e308 - 1.5e308)
    assert near.nmse == approx(0.01 / 3.56 * ((1.6e308 - 1.5e308) / 1e307) ** 2)
    assert near.ulp_max == approx((1.6e308 - 1.5e308) / 2.0 ** (1023 - 23))
    tiny = metrics([3e-300, 4e-300], [3e-300, 5e-300])
    assert (tiny.nmse, tiny.rms) == (approx(1 / 34), approx(1e-300 / math.sqrt(2)))
    assert metrics([1.0, 2.0 + 4.5e-16], [1.0, 2.0], precision="float64").nmse == approx(
        (4.440892098500626e-16) ** 2 / 5
    )
    mask = metrics([-3.4e38, 1.0, 2.0], [-3.4e38, 1.0, 3.0])
    assert (mask.max_abs, mask.worst) == (1.0, (2,))


def test_where_leaves_elements_out_and_the_place_stays_that_of_the_whole():
    actual, expected = np.array([[1.0, NAN, 3.0], [4.0, NAN, 7.0]]), np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    m = metrics(actual, expected, where=[True, False, True])
    assert (m.count, m.nans, m.worst, m.max_abs, m.got) == (4, 0, (1, 2), 1.0, 7.0)
    with pytest.raises(
        ValueError, match=r"must be something to compare; the shape is \(2, 3\), and 0 elements are left"
    ):
        metrics(actual, expected, where=False)
    for where in ([True, False], np.ones((1, 2, 3), bool), [1, 0, 1]):
        with pytest.raises(ValueError, match="where must be booleans that broadcast"):
            metrics(actual, expected, where=where)


@pytest.mark.parametrize(
    ("actual", "expected", "match"),
    [
        ([], [], r"something to compare; the shape is \(0,\)"),
        ([1.0], [[1.0]], r"one shape; actual has \(1,\), expected has \(1, 1\)"),
        ([1j], [1.0], "actual must be an array of real numbers; got complex128"),
        ([1.0], ["a"], "expected must be an array of real numbers"),
        ([1.0], [None], "expected must be an array of real numbers; got object"),
    ],
)
def test_what_is_refused(actual, expected, match):
    with pytest.raises(ValueError, match=match):
        metrics(actual, expected)
    with pytest.raises(
        ValueError, match="precision must be one of float64, float32, tf32, float16, bfloat16; got 'fp8'"
    ):
        metrics([1.0], [1.0], precision="fp8")


def test_every_dtype_is_measured_in_float64():
    for dtype in (np.float16, np.float32, ml_dtypes.bfloat16, np.int8, np.int64, bool):
        m = metrics(np.array([0, 1], dtype), np.array([1.0, 1.0]))
        assert (m.max_abs, m.worst) == (1.0, (0,))
    assert metrics(np.float16([60000]), np.float16([-60000])).max_abs == 120_000


def test_strict_json():
    m = metrics([NAN, 1.0], [1.0, 1.0])
    text = json.dumps(m.as_dict(), allow_nan=False)
    assert json.loads(text)["max_abs"] == "inf"
    assert json.loads(text)["got"] == "nan"
    assert json.loads(text)["worst"] == [0]


@pytest.mark.parametrize("scale", [1.0, 1e-200, 1e200])
def test_pieces_give_what_the_whole_gives(scale, monkeypatch):
    rng = np.random.default_rng(0)
    e = rng.standard_normal((7, 11)) * scale
    a = e + rng.standard_normal((7, 11)) * scale * 1e-3
    a[3, 3] = e[3, 3] = INF
    whole = metrics(a, e)
    monkeypatch.setattr(module, "CHUNK", 5)
    pieces = metrics(a, e)
    assert (pieces.worst, pieces.max_abs, pieces.max_rel, pieces.ulp_max) == (
        whole.worst,
        whole.max_abs,
        whole.max_rel,
        whole.ulp_max,
    )
    for name in ("rms", "ulp_mean", "cosine", "pcc", "snr", "nmse"):
        assert getattr(pieces, name) == pytest.approx(getattr(whole, name), rel=1e-12), name


NUMBERS = st.lists(
    st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False)),
    min_size=1,
    max_size=6,
)


@settings(max_examples=60, deadline=None)
@given(NUMBERS, st.sampled_from(list(FORMATS)))
def test_against_exact_arithmetic_over_the_whole_range(pairs, precision):
    a, e = (list(x) for x in zip(*pairs, strict=True))
    m = metrics(a, e, precision=precision)
    with mpmath.workdps(1500):
        d = [mpmath.mpf(x) - mpmath.mpf(y) for x, y in pairs]
        squares = mpmath.fsum(x * x for x in d)
        size = mpmath.fsum(mpmath.mpf(y) ** 2 for y in e)
        exact = {
            "max_abs": max(map(abs, d)),
            "rms": mpmath.sqrt(squares / len(d)),
            "ulp_max": max(abs(x) / mpmath.mpf(float(ulp(y, precision))) for x, y in zip(d, e, strict=True)),
        }
        if size:
            exact["rel_to_largest"] = exact["max_abs"] / max(abs(mpmath.mpf(y)) for y in e)
        for name, value in exact.items():
            got, floor = getattr(m, name), 1e-322
            if value > mpmath.mpf(np.finfo(np.float64).max) * (1 - mpmath.mpf(2) ** -40):
                assert got >= 1.797e308, name
            else:
                assert abs(mpmath.mpf(got) - value) <= value * mpmath.mpf(2) ** -49 + floor, name
