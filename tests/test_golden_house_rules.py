"""The house rules against hand-computed literals of their published formulas, and what each does not see."""

import json
import math

import numpy as np
import pytest

from albert_np import golden
from albert_np.golden.measures.house_rules import Rule, as_text, card
from albert_np.golden.measures.ulps import FORMATS

INF, NAN = math.inf, math.nan
TORCH, NUMPY, PCC, ULP = (
    "torch.testing.assert_close",
    "numpy.testing.assert_allclose",
    "Tenstorrent PCC",
    "Tenstorrent ULP",
)
TOSA, ONNX, GGML = "Arm TOSA dot product", "onnx backend test", "ggml NMSE (most ops)"
DOUBLE = [f"Ascend double benchmark {level}" for level in ("L0", "L1", "L2")]


def rules(actual, expected, dtype="float32", **more):
    return {
        rule.name: rule for rule in card(np.asarray(actual, float), np.asarray(expected, float), dtype=dtype, **more)
    }


def value(rule):
    (number,) = rule.measured.values()
    return number


def approx(x):
    return pytest.approx(x, rel=1e-12, abs=0)


def test_the_card_has_all_rules_each_with_a_source_and_what_it_cannot_see():
    found = golden.card([1.0], [1.0], dtype="float32")
    assert len({rule.name for rule in found}) == len(found) == 18
    for rule in found:
        assert all((rule.name, rule.formula, rule.source, rule.threshold, rule.blind))
        assert rule.measured or rule.note


@pytest.mark.parametrize(
    ("dtype", "rtol", "atol"),
    [
        ("float16", 1e-3, 1e-5),
        ("bfloat16", 1.6e-2, 1e-5),
        ("float32", 1.3e-6, 1e-5),
        ("tf32", 1.3e-6, 1e-5),
        ("float64", 1e-7, 1e-7),
    ],
)
def test_torch_takes_the_tolerances_of_the_dtype(dtype, rtol, atol):
    limit = atol + rtol * 8
    inside, outside = (rules([8 + limit * factor, 0], [8, 0], dtype)[TORCH] for factor in (0.999, 1.001))
    assert inside.passed
    assert not outside.passed
    assert value(outside) == pytest.approx(1.001)
    assert rules([0.99 * atol], [0], dtype)[TORCH].passed


def test_torch_compares_with_the_expected_value_rounded_to_the_dtype():
    assert value(rules([1.0], [1 + 2.0**-9], "bfloat16")[TORCH]) == 0
    assert not rules([NAN], [NAN])[TORCH].passed
    assert rules([INF], [INF])[TORCH].passed
    assert not rules([INF], [-INF])[TORCH].passed
    assert rules([INF], [70000.0], "float16")[TORCH].passed  # which float16 rounds to infinity


def test_numpy_and_onnx_say_what_assert_allclose_says():
    rng = np.random.default_rng(0)
    pool = [0.0, 1.0, 1 + 5e-8, 1 + 2e-7, 1.0009, 1.002, 1e-8, -1.0, 1e-7, NAN, INF, -INF, 1e300]
    for _ in range(400):
        a, e = rng.choice(pool, 2), rng.choice(pool, 2)
        found = rules(a, e)
        for name, rtol, atol in ((NUMPY, 1e-7, 0), (ONNX, 1e-3, 1e-7)):
            try:
                np.testing.assert_allclose(a, e, rtol=rtol, atol=atol)
                passes = True
            except AssertionError:
                passes = False
            assert found[name].passed == passes, (name, a, e)
    assert value(rules([2.003], [2.0])[ONNX]) == approx(0.003 / (1e-7 + 2e-3) * (2.003 - 2) / 0.003)


def test_polygraphy_asks_for_the_absolute_or_the_relative_error():
    names = [f"Polygraphy ({name})" for name in ("elemwise", "max", "mean", "median")]
    small = rules([1e-6, 1000.001], [2e-6, 1000.0])  # relative 0.5 and 1e-6, absolute 1e-6 and 1e-3
    assert small[names[0]].passed
    assert value(small[names[0]]) == pytest.approx(1e-6)
    assert small[names[1]].measured == {"absolute": pytest.approx(1e-3), "relative": pytest.approx(0.5)}
    assert [small[name].passed for name in names[1:]] == [False, False, False]
    one = rules([1.0, 1.0, 1.0, 9.0], [1.0, 1.0, 1.0, 1.0])
    assert [one[name].passed for name in names] == [False, False, False, True]
    assert one[names[2]].measured == {"absolute": 2.0, "relative": 2.0}
    assert rules([1e-20], [0.0])[names[1]].measured["relative"] == approx(1e-20 / 2.220446049250313e-16)
    for actual, expected in ((NAN, NAN), (INF, INF), (NAN, 1.0)):
        assert not any(rules([actual], [expected])[name].passed for name in names)


def test_correlation_passes_what_it_cannot_see():
    x = np.arange(1.0, 50)
    for wrong in (2 * x, x + 1000, -3 + 0.001 * x):
        assert rules(wrong, x)[PCC].passed
        assert value(rules(wrong, x)[PCC]) == approx(1.0)
    assert not rules(-x, x)[PCC].passed
    assert value(rules([1.0, 2.0, 3.0], [1.0, 3.0, 2.0])[PCC]) == approx(0.5)
    constant = rules(np.full(49, 7.0), x)[PCC]
    assert (constant.passed, value(constant)) == (True, 1.0)
    assert constant.note == "undefined (actual constant), which the rule counts as 1"
    masked = np.ma.corrcoef(np.ma.masked_invalid(np.full(49, 7.0)), np.ma.masked_invalid(x))
    assert np.min(masked) is np.ma.masked or np.min(masked) > 0.999  # so that comp_pcc passes it, too
    lone = x.copy()
    lone[0] = NAN
    assert rules(lone, x)[PCC].passed
    assert "1 values that are not finite were taken as 0" in rules(lone, x)[PCC].note
    assert rules([5.0], [9.0])[PCC].passed


def test_correlation_of_nan_and_zeros():
    assert rules([NAN, NAN], [NAN, NAN])[PCC].passed
    assert not rules([NAN, NAN], [1.0, 2.0])[PCC].passed
    assert not rules([0.0, 0.0], [1.0, 2.0])[PCC].passed
    assert rules([0.0, 0.0], [0.0, 0.0])[PCC].passed


@pytest.mark.parametrize(
    ("dtype", "unit"), [("bfloat16", 2.0**-7), ("float16", 2.0**-10), ("float32", 2.0**-23), ("tf32", 2.0**-10)]
)
def test_tenstorrent_allows_ten_units_of_the_dtype(dtype, unit):
    ten, more = rules([1 + 10 * unit], [1.0], dtype)[ULP], rules([1 + 10.5 * unit], [1.0], dtype)[ULP]
    assert (ten.passed, value(ten)) == (True, 10.0)
    assert (more.passed, value(more)) == (False, 10.5)
    for actual, expected in ((NAN, 1.0), (INF, INF), (NAN, NAN)):
        assert not rules([actual], [expected], dtype)[ULP].passed


def test_tenstorrent_takes_the_unit_of_the_rounded_value():
    assert value(rules([2.0], [2 - 2.0**-9], "bfloat16")[ULP]) == 2.0**-9 / 2.0**-6


@pytest.mark.parametrize(
    ("dtype", "limit"), [("float16", 2.0**-10), ("bfloat16", 2.0**-7), ("float32", 2.0**-13), ("tf32", 2.0**-11)]
)
def test_ascend_single_benchmark(dtype, limit):
    name = "Ascend single benchmark"
    x = np.ones(100)
    for worst, passes in ((9.9, True), (10.1, False)):
        rule = rules(np.append(x, 1 + worst * limit * (1 + 1e-7)), np.ones(101), dtype)[name]
        assert rule.passed == passes
        assert rule.measured == {"MARE": approx(worst * limit), "MERE": approx(worst * limit / 101)}
    assert rules(x * (1 + 0.99 * limit), x, dtype)[name].passed
    assert not rules(x * (1 + 1.01 * limit), x, dtype)[name].passed
    assert rules([1e-8], [0.0])[name].measured["MARE"] == approx(0.1)
    assert not rules([NAN], [NAN], dtype)[name].passed
    assert rules([1.0], [1.0], "float64")[name].passed is None


def test_ascend_double_benchmark():
    e, off = np.array([1.0, 2.0]) - 1e-7, np.array([0.04, 0.02])
    found = rules(e + off, e, reduced=e + 0.01)
    ratios = {"MARE": approx(4.0), "MERE": approx((0.04 + 0.01) / 0.015), "RMSE": approx(math.sqrt(0.002 / 0.0002))}
    assert found[DOUBLE[0]].measured == {name: pytest.approx(x.expected, rel=1e-6) for name, x in ratios.items()}
    # MARE 4, MERE and RMSE 3⅓ and 3.16 times
    assert [found[name].passed for name in DOUBLE] == [False, False, False]
    for factor, passes in (
        (1.1, [True] * 3),
        (1.4, [True, True, False]),
        (1.9, [True, False, False]),
        (2.1, [False] * 3),
    ):
        found = rules(e + factor * 0.01, e, reduced=e + 0.01)
        assert [found[name].passed for name in DOUBLE] == passes
    without = rules(e, e)
    assert all(without[name].passed is None and "needs" in without[name].note for name in DOUBLE)
    assert all(rules(e, e, reduced=e)[name].passed for name in DOUBLE)
    assert not any(rules(e + 0.01, e, reduced=e)[name].passed for name in DOUBLE)
    nan = np.array([NAN, 2.0])
    assert not any(rules(nan, e, reduced=nan)[name].passed for name in DOUBLE)


def tosa(errors, terms, dtype="float32", bound=1.0, expected=0.5):
    """A tensor that is off by so many times bound·2^(−1 − fraction bits)."""
    errors = np.asarray(errors, float)
    unit = bound * 2.0 ** (-1 - FORMATS[dtype].fraction)
    e = np.full(errors.shape, expected)
    return rules(e + errors * unit, e, dtype, bound=np.full(errors.shape, bound), terms=terms)[TOSA]


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_tosa_bounds_each_error_their_sum_and_their_squares(dtype):
    one = tosa([4, 0, 0, 0, -4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 4, dtype)
    assert one.measured == {"max |err|": 4.0, "|Σ err|": 0.0, "Σ err²": 32.0}
    assert one.passed  # 4 ≤ 4, 0 ≤ 17.9, 32 ≤ 0.4·4·20
    assert one.threshold == "|err| ≤ 4, |Σ err| ≤ 17.89, Σ err² ≤ 32"
    assert not tosa([4.5] + [0] * 30, 4, dtype).passed
    assert not tosa([4, -4, 1] + [0] * 17, 4, dtype).passed
    assert tosa([0.9] * 19, 4, dtype).passed  # a sum of 17.1, 17.4 allowed
    assert not tosa([0.95] * 19, 4, dtype).passed
    assert not tosa([NAN, 0], 4, dtype).passed


def test_tosa_of_zero_tiny_and_overflowing_bounds():
    assert tosa([0.0], 3, bound=0.0, expected=0.0).passed
    assert not rules([1e-30], [0.0], bound=[0.0], terms=3)[TOSA].passed
    # a bound of 2⁻¹²⁰ would give a unit of 2⁻¹⁴⁴; it is at least the smallest normal number
    assert rules([2.0**-126], [0.0], bound=[2.0**-120], terms=3)[TOSA].measured["max |err|"] == 1.0
    assert rules([INF, 0.5], [1e39, 0.5], bound=[1e39, 1.0], terms=3)[TOSA].passed
    assert rules([INF, 0.5], [6e4, 0.5], "float16", bound=[65520.0, 1.0], terms=3)[TOSA].passed


def test_tosa_takes_the_bound_of_a_function_and_is_not_judged_without():
    x, w = np.array([1.0, -2.0]), np.array([3.0, 1.5])
    rule = rules([0.0], [x @ w], bound=lambda: [np.abs(x) @ np.abs(w)], terms=2)[TOSA]
    assert rule.passed
    assert rules([0.0], [0.0])[TOSA].passed is None
    assert rules([0.0], [0.0], "float64", bound=[1.0], terms=2)[TOSA].passed is None
    for terms in (None, 0, 2.5, True):
        with pytest.raises(ValueError, match="terms must be the number of products"):
            card([0.0], [0.0], dtype="float32", bound=[1.0], terms=terms)


def test_ggml_divides_by_the_squares_of_the_actual_values():
    names = [GGML, "ggml NMSE (matrix products)"]
    found = rules([3.0, 4.0], [3.0, 4.01])
    assert value(found[GGML]) == pytest.approx(1e-4 / 25, rel=1e-9)
    assert [found[name].passed for name in names] == [False, True]
    assert rules([3.0, 4.0], [3.0, 4.001])[GGML].passed is True  # 4e-8
    assert value(rules([1.0], [2.0])[GGML]) == 1.0
    million = np.ones(10**6)
    million[0] = 1.3
    assert rules(million, np.ones(10**6))[GGML].passed  # one wrong element
    for actual, expected in ((NAN, NAN), (INF, 1.0), (INF, -INF), (0.0, 1.0)):
        assert not rules([actual], [expected])[GGML].passed
    for actual, expected in ((0.0, 0.0), (INF, INF)):
        assert rules([actual], [expected])[GGML].passed
    assert "not a number, which is not above the limit" in rules([0.0], [0.0])[GGML].note


def test_neuron():
    e, last = np.array([1.0, -4.0, 2.0, 0.0]), np.array([0, 0, 0, 1])
    assert value(rules(e + 0.02 * last, e)["AWS Neuron, two-way"]) == approx(0.005)
    assert rules(e + 3.9e-5 * last, e)["AWS Neuron, two-way"].passed
    assert not rules([NAN, 1.0], [1.0, 1.0])["AWS Neuron, two-way"].passed
    name = "AWS Neuron, three-way"
    d, r = np.array([2.0, -2.0, 2.0, -2.0]), np.array([1.0, -1.0, 1.0, -1.0])
    measured = rules(e + d, e, reduced=e + r)[name].measured
    assert measured == {"sigma ratio": approx(2.0), "Bhattacharyya coefficient": approx(math.sqrt(0.8))}
    shifted = rules(e + d + 2, e, reduced=e + r)[name].measured
    assert shifted["Bhattacharyya coefficient"] == approx(math.sqrt(0.8) * math.exp(-4 / 20))
    same = rules(e, e, reduced=e)[name]
    assert same.measured == {"sigma ratio": 1.0, "Bhattacharyya coefficient": 1.0}
    assert same.passed is None
    assert "needs the same result" in rules(e, e)[name].note


def test_where_leaves_elements_out_of_every_rule():
    found = rules([1.0, NAN], [1.0, 2.0], where=np.array([True, False]), reduced=[1.0, 5.0], bound=[1.0, 1.0], terms=2)
    assert all(rule.passed is not False for rule in found.values())


def test_refusals():
    with pytest.raises(ValueError, match="something to compare"):
        card([], [], dtype="float32")
    with pytest.raises(ValueError, match="one shape"):
        card([1.0], [1.0], dtype="float32", reduced=[1.0, 2.0])
    with pytest.raises(ValueError, match="precision must be one of"):
        card([1.0], [1.0], dtype="int8")


def test_text_for_terminals_and_strict_json():
    found = card([1.0, NAN, 0.5], [1.0, 2.0, 0.25], dtype="bfloat16")
    text = as_text(found, width=100)
    assert all(len(line) <= 100 for line in text.splitlines())
    assert all(rule.name in text for rule in found)
    assert text.count("cannot see:") == len(found)
    assert text.splitlines()[0].startswith("FAIL  torch.testing.assert_close")
    assert json.loads(json.dumps([rule.as_dict() for rule in found], allow_nan=False))[0]["passed"] is False
    assert isinstance(found[0], Rule)
