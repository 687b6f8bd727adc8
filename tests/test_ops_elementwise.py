"""Activations, dropout and losses of albert_np/ops.py: values against mpmath, edges, and which name means what."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from mpmath import mpf
from tolerances import LIBM, assert_ulps, gelu_new_ulps, gelu_ulps, sigmoid_ulps, silu_ulps

from albert_np import ops
from albert_np.config import ACTIVATIONS, AlbertConfig
from albert_np.golden.tolerances import FLOAT_DTYPES, assert_close, gamma


def tanh_form(x):
    return x / 2 * (1 + mpmath.tanh(mpmath.sqrt(2 / mpmath.pi) * (x + mpf("0.044715") * x**3)))


def erf_form(x):
    return x / 2 * mpmath.erfc(-x / mpmath.sqrt(2))


TRUTH = {  # name -> (op, formula, bound in ulp)
    "gelu_new": (ops.gelu_new, tanh_form, gelu_new_ulps),
    "gelu": (ops.gelu, erf_form, gelu_ulps),
    "sigmoid": (ops.sigmoid, lambda x: 1 / (1 + mpmath.exp(-x)), sigmoid_ulps),
    "silu": (ops.silu, lambda x: x / (1 + mpmath.exp(-x)), silu_ulps),
    "tanh": (ops.tanh, mpmath.tanh, lambda x: LIBM),
    "relu": (ops.relu, lambda x: max(x, mpf(0)), lambda x: 1e-9),  # exact
}


@pytest.mark.parametrize("dtype", FLOAT_DTYPES)
@pytest.mark.parametrize("name", TRUTH)
def test_every_value_from_minus_40_to_40(name, dtype):
    op, formula, bound = TRUTH[name]
    random = np.random.default_rng(0).uniform(-12, 12, 100)
    x = np.concatenate([np.linspace(-40, 40, 161), random, [1e-7, -1e-7, 1e-3]]).astype(dtype)
    # 1 + tanh u cancels hundreds of digits in the left tail; the other formulas cancel nothing
    with mpmath.workdps(600 if name == "gelu_new" else 50):
        truth = np.array([formula(mpf(float(v))) for v in x], dtype=object)
    assert_ulps(name, op(x), truth, limit=bound(x), dtype=dtype)


@pytest.mark.parametrize(
    ("x", "tanh_value", "erf_value"),
    [
        (1.0, "0.84119199060827670478", "0.84134474606854294859"),
        (-1.0, "-0.15880800939172329522", "-0.15865525393145705141"),
        (-3.0, "-0.0036373920817730188378", "-0.0040496940948902835800"),
        (-7.0, "-2.3154422620725489632e-15", "-8.9586878072008450307e-12"),
        (-8.0, "-3.1077829375011112180e-21", "-4.9767684594174272988e-15"),
        (-20.0, "-3.3754509563109673197e-261", "-5.5072482372124673902e-88"),
    ],
)
def test_the_two_gelus_differ_and_neither_loses_the_left_tail(x, tanh_value, erf_value):
    one = np.array([x])
    for op, value, bound in ((ops.gelu_new, tanh_value, gelu_new_ulps), (ops.gelu, erf_value, gelu_ulps)):
        assert_ulps(op.__name__, op(one), np.array([mpf(value)]), limit=bound(one), dtype=np.float64)
    assert abs(ops.gelu_new(one) - ops.gelu(one)) > 0.05 * min(abs(mpf(tanh_value)), mpf("0.001"))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_config_name_means(name):
    form = {"gelu_pytorch_tanh": "gelu_new", "gelu_fast": "gelu_new", "gelu_python": "gelu", "swish": "silu"}
    _, formula, bound = TRUTH[form.get(name, name)]
    x = np.array([-1.5, 0.75])
    truth = np.array([formula(mpf(v)) for v in x], dtype=object)
    assert_ulps(name, ops.activation(x, name), truth, limit=bound(x), dtype=np.float64)


def test_config_and_ops_know_the_same_names():
    assert set(ACTIVATIONS) == set(ops.ACTIVATIONS)
    with pytest.raises(ValueError, match=r"hidden_act must be one of gelu_new, .*; got 'gelu_newer'"):
        AlbertConfig(hidden_act="gelu_newer")


@pytest.mark.parametrize("dtype", FLOAT_DTYPES)
@pytest.mark.parametrize("name", TRUTH)
def test_far_out_values_are_exact_and_warn_of_nothing(name, dtype):
    op = TRUTH[name][0]
    far = dtype(1e4)
    big = np.finfo(dtype).max
    x = np.array([far, big, np.inf, -far, -big, 0], dtype)
    right = {"sigmoid": [1, 1, 1], "tanh": [1, 1, 1]}.get(name, [far, big, np.inf])
    left = {"tanh": [-1, -1]}.get(name, [0, 0])
    assert op(x).tolist() == [*right, *left, 0.5 if name == "sigmoid" else 0]
    assert np.isnan(op(np.array([np.nan], dtype))).all()


@pytest.mark.parametrize("op", [ops.gelu_new, ops.gelu, ops.silu])
def test_minus_infinity_is_nan_as_in_torch_and_numpy_says_so(op):
    with pytest.warns(RuntimeWarning, match="invalid value encountered in multiply"):
        assert np.isnan(op(np.array([-np.inf]))).all()


# --- dropout ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("p", "seed"), [(0.5, None), (0, 1), (0.0, 1), (None, 1)])
def test_dropout_is_the_identity_in_inference_and_without_a_probability(p, seed):
    x = np.ones((2, 3))
    assert ops.dropout(x, p, None if seed is None else np.random.default_rng(seed)) is x


@pytest.mark.parametrize("dtype", FLOAT_DTYPES)
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_zeroes_a_share_p_and_keeps_the_mean(p, dtype):
    x = np.full((100, 100), 3, dtype)
    y = ops.dropout(x, p, np.random.default_rng(0))
    kept = y != 0
    assert np.all(y[kept] == dtype(3) / dtype(1 - p))
    deviation = 5 * math.sqrt(p * (1 - p) / x.size)  # five standard deviations of a share of 10⁴ draws
    assert abs(np.mean(~kept) - p) < deviation
    assert abs(np.mean(y, dtype=np.float64) / 3 - 1) < deviation / (1 - p) + gamma(2, dtype)
    assert len(np.unique(kept, axis=0)) > 90  # each row draws its own


def test_dropout_draws_the_same_from_the_same_seed_and_another_from_another():
    x = np.ones((20, 20))
    first, same, other = (ops.dropout(x, 0.5, np.random.default_rng(seed)) for seed in (7, 7, 8))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


# --- losses ----------------------------------------------------------------------------------------------------------

LOGITS = np.array([[0.5, -1.25, 3.0], [2.0, 2.0, 2.0], [-7.0, 0.125, 1.0], [9.0, -9.0, 0.0]])
LOSS_LIMIT = gamma(4 * (2 * LIBM + 3), np.float64)  # four rows: exp, sum, log, difference each, and their mean


def exact_cross_entropy(logits, labels):
    rows = [(row, label) for row, label in zip(logits.tolist(), labels, strict=True) if label != -100]
    with mpmath.workdps(50):
        losses = [mpmath.log(sum(mpmath.exp(mpf(v)) for v in row)) - mpf(row[label]) for row, label in rows]
        return np.float64(mpmath.fsum(losses) / len(rows))


@pytest.mark.parametrize("labels", [[2, 0, 1, 1], [0, 1, 2, 0], [-100, 1, -100, 2], [-100, -100, -100, 0]])
def test_cross_entropy(labels):
    loss = ops.cross_entropy(LOGITS, np.array(labels))
    # a loss near 0 is a difference of numbers as large as the logits: measured against 1 as well
    assert_close("loss + 1", loss + 1, exact_cross_entropy(LOGITS, labels) + 1, limit=9 * LOSS_LIMIT)


def test_cross_entropy_ignores_what_it_is_told_to_ignore():
    labels = np.array([2, 0, 1, 1])
    changed = LOGITS.copy()
    changed[1] = np.nan
    kept = ops.cross_entropy(LOGITS[[0, 2, 3]], labels[[0, 2, 3]])
    assert ops.cross_entropy(changed, np.array([2, -100, 1, 1])) == kept
    assert ops.cross_entropy(changed, np.array([2, 7, 1, 1]), ignore_index=7) == kept


@pytest.mark.parametrize("dtype", FLOAT_DTYPES)
def test_cross_entropy_of_no_label_is_nan_without_a_warning(dtype):
    loss = ops.cross_entropy(LOGITS.astype(dtype), np.full(4, -100))
    assert np.isnan(loss)
    assert loss.dtype == dtype


@pytest.mark.parametrize(("label", "loss"), [(0, 0), (1, 2e4), (2, 1e4)])
def test_cross_entropy_of_extreme_logits(label, loss):
    assert ops.cross_entropy(np.array([[1e4, -1e4, 0]]), np.array([label])) == loss


def test_mse_loss():
    x, target = np.array([[1.5, -2.0], [0.25, 3.0]]), np.array([[1, 2], [0, -3]])
    assert ops.mse_loss(x, target) == (0.25 + 16 + 0.0625 + 36) / 4  # every step is exact
    assert ops.mse_loss(x.astype(np.float32), target).dtype == np.float32


@pytest.mark.parametrize("y", [0.0, 1.0, 0.25])
@pytest.mark.parametrize("z", [-800.0, -40.0, -1.5, 0.0, 1e-9, 2.75, 40.0, 800.0])
def test_bce_with_logits(z, y):
    with mpmath.workdps(800):  # 1 − σ(800) has its first digit after 347 zeros
        p = 1 / (1 + mpmath.exp(-mpf(z)))
        truth = -mpf(y) * mpmath.log(p) - (1 - mpf(y)) * mpmath.log(1 - p)
    got = np.array([ops.bce_with_logits(np.array([z]), np.array([y]))])
    # max(z,0) − z·y is exact or one rounding; log1p and exp are two functions, then one sum
    assert_ulps(f"bce({z}, {y})", got, np.array([truth], dtype=object), limit=4 * LIBM + 2, dtype=np.float64)


def test_bce_with_logits_is_a_mean_over_rows_and_classes():
    z, y = np.array([[0.5, -1.0], [2.0, 3.0]]), np.array([[1, 0], [0, 1]])
    each = [ops.bce_with_logits(z[i : i + 1, j], y[i : i + 1, j]) for i in (0, 1) for j in (0, 1)]
    assert_close("mean", ops.bce_with_logits(z, y), np.float64(math.fsum(each) / 4), limit=gamma(4, np.float64))
