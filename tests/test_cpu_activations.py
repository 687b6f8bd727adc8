"""The kernels' exp and activations: against the float64 reference and mpmath, in ulp, up to every float32 there is (slow).

ALBERT_NP_SIMD=sse runs the same with the bounds of a CPU that rounds a multiply-add twice.
"""

from __future__ import annotations

import math

import mpmath
import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mpf
from tolerances import KERNEL_POLYNOMIALS, assert_kernel_ulps

from albert_np import ops
from albert_np.backends.cpu.ops import activation_code
from albert_np.kernels.cpu import activations
from albert_np.kernels.cpu.layout import ROWS_A_TILE
from albert_np.kernels.cpu.names import ACTIVATION_CODES, FUNCTION_CODES
from albert_np.kernels.cpu.program import Program
from albert_np.kernels.cpu.simd import LANES, chosen_level

FMA = chosen_level().fma
INF, NAN = math.inf, math.nan


def activate(name, x, out=None, columns=None):  # (R,C) or (C,) float32 -> the same
    """f(x) by the compiled kernel. The only place here that knows how a kernel is called."""
    rows = np.atleast_2d(x)
    assert rows.strides[1] == 4
    out = np.empty(np.shape(x), np.float32) if out is None else out
    into = np.atleast_2d(out)
    program = Program()
    program.add(
        "activate",
        -(-len(rows) // ROWS_A_TILE),
        x=rows,
        x_row=rows.strides[0] // 4,
        out=into,
        out_row=into.strides[0] // 4,
        rows=len(rows),
        columns=rows.shape[1] if columns is None else columns,
        which=FUNCTION_CODES[name],
    )
    program.run()
    return out


# --- the truth ------------------------------------------------------------------------------------------------------------


@numba.vectorize(["float64(float64)"])
def erf(x):
    return math.erf(x)


@numba.vectorize(["float64(float64)"])
def erfc(x):
    return math.erfc(x)


# in float64, off by at most 1e-5 ulp of float32: test_the_oracle_is_that_good
ORACLE = {
    "exp": np.exp,
    "tanh": ops.tanh,
    "erf": erf,
    "sigmoid": ops.sigmoid,
    "gelu_new": ops.gelu_new,
    "gelu": lambda x: x * (0.5 * erfc(x * -math.sqrt(0.5))),  # ops.gelu, a hundred times as fast
    "silu": ops.silu,
    "relu": ops.relu,
}
EXACT = {
    "exp": mpmath.exp,
    "tanh": mpmath.tanh,
    "erf": mpmath.erf,
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "gelu_new": lambda x: x / (1 + mpmath.exp(-2 * mpmath.sqrt(2 / mpmath.pi) * (x + mpf("0.044715") * x**3))),
    "gelu": lambda x: x / 2 * mpmath.erfc(-x / mpmath.sqrt(2)),
    "silu": lambda x: x / (1 + mpmath.exp(-x)),
    "relu": lambda x: max(x, mpf(0)),
}


def truth(name, x):
    with np.errstate(all="ignore"):  # −∞·0, and e^1000
        return ORACLE[name](x.astype(np.float64))


def as_float32(bits):
    return np.asarray(bits, np.int64).astype(np.uint32).view(np.float32)


def some_of_every_size():  # -> (n,) float32
    """Every exponent and sign with some 800 mantissas, subnormals and NaN among them, and all the neighbours of edges."""
    edges = [
        0,
        1e-38,
        2.0**-126,
        0.5 * math.log(2),
        0.55,
        math.log(2),
        0.8,
        1,
        3,
        5,
        6.2,
        9.01,
        10,
        10.046,
        10.07,
        12.9,
        13.243,
        13.27,
        14.5,
        16.6,
        88.03,
        88.376,
        88.7,
        88.7228,
        89,
        103.28,
        103.972,
        132,
        176,
        176.5,
        3e38,
    ]
    near = np.array(edges, np.float32).view(np.int32)[:, None] + np.arange(-200, 200)
    near = near[(near >= 0) & (near <= 0x7F800000)]
    return np.concatenate([as_float32(np.arange(0, 2**32, 10007)), as_float32(near), as_float32(near + 2**31)])


SAMPLE = some_of_every_size()


@pytest.mark.parametrize("name", EXACT)
def test_the_oracle_is_that_good(name):
    x = np.random.default_rng(0).uniform(-13, 13, 250).astype(np.float32)
    with mpmath.workdps(40):
        exact = [EXACT[name](mpf(float(v))) for v in x]
        for value, right in zip(truth(name, x).tolist(), exact, strict=True):
            assert abs(value - right) <= 1e-5 * 2.0**-24 * abs(right)


# --- how far from it ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ORACLE)
def test_values_of_every_size(name):
    assert_kernel_ulps(name, activate(name, SAMPLE), truth(name, SAMPLE), x=SAMPLE, fma=FMA)


@pytest.mark.parametrize("name", EXACT)
def test_values_against_mpmath(name):
    random = np.random.default_rng(1)
    x = np.concatenate([random.normal(0, 2, 300), random.uniform(-80, 80, 100), random.normal(0, 1e-20, 20)])
    x = x.astype(np.float32)
    with mpmath.workdps(40):
        exact = np.array([float(EXACT[name](mpf(float(v)))) for v in x])
    assert_kernel_ulps(name, activate(name, x), exact, x=x, fma=FMA)


@given(st.lists(st.floats(width=32), min_size=1, max_size=40))
def test_any_values(values):
    x = np.array(values, np.float32)
    for name in ORACLE:
        assert_kernel_ulps(name, activate(name, x), truth(name, x), x=x, fma=FMA)


@pytest.mark.slow
@pytest.mark.parametrize("name", ORACLE)
def test_every_float32(name):
    step = 1 << 21
    for first in range(0, 2**32, step):
        x = as_float32(np.arange(first, first + step))
        actual = activate(name, x)
        assert_kernel_ulps(name, actual, truth(name, x), x=x, fma=FMA)
        if name == "tanh":
            steps = np.diff(actual[~np.isnan(actual)])
            assert (steps >= 0 if first < 2**31 else steps <= 0).all()


@pytest.mark.parametrize(
    ("name", "x", "expected"),
    [
        ("exp", [0.0, -0.0, INF, -INF, 89, -104, -1e38], [1, 1, INF, 0.0, INF, 0.0, 0.0]),
        ("sigmoid", [0.0, -0.0, INF, -INF, 1e38, -1e38], [0.5, 0.5, 1, 0.0, 1, 0.0]),
        ("tanh", [0.0, -0.0, INF, -INF, 1e38, -1e38, 1e-45, -1e-40], [0.0, -0.0, 1, -1, 1, -1, 1e-45, -1e-40]),
        ("erf", [0.0, -0.0, INF, -INF, 1e38, -1e38], [0.0, -0.0, 1, -1, 1, -1]),
        ("relu", [0.0, -0.0, INF, -INF, 1e38, -1e38, 1e-45], [0.0, -0.0, INF, 0.0, 1e38, 0.0, 1e-45]),
        *(
            (name, [0.0, -0.0, INF, -INF, 1e38, -1e38, 1e4, -1e4], [0.0, -0.0, INF, NAN, 1e38, -0.0, 1e4, -0.0])
            for name in ("gelu_new", "gelu", "silu")
        ),
        ("none", [0.0, -0.0, INF, -INF, 1e-45], [0.0, -0.0, INF, -INF, 1e-45]),
    ],
)
def test_special_values(name, x, expected):
    """As the reference, −∞ of the three gates included; there the sign of a zero is that of x."""
    x, expected = np.array([*x, NAN, -NAN], np.float32), np.array([*expected, NAN, NAN], np.float32)
    actual = activate(name, x)
    np.testing.assert_array_equal(actual, expected)
    numbers = ~np.isnan(expected)
    assert np.signbit(actual[numbers]).tolist() == np.signbit(expected[numbers]).tolist()
    if name != "none":
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(ORACLE[name](x.astype(np.float64)).astype(np.float32), expected)


# --- shape and order ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ORACLE)
def test_the_same_bits_in_every_lane_and_beside_any_neighbour(name):
    x = SAMPLE[:: len(SAMPLE) // 2000].copy()
    expected = activate(name, x).view(np.int32)
    order = np.random.default_rng(0).permutation(len(x))
    assert np.array_equal(activate(name, x[order]).view(np.int32), expected[order])
    for lane in range(LANES):
        alone = np.full((len(x), LANES), NAN, np.float32)
        alone[:, lane] = x
        assert np.array_equal(activate(name, alone)[:, lane].view(np.int32), expected)


@pytest.mark.parametrize("columns", [1, 15, 16, 17, 40])
def test_rows_apart_and_nothing_touched_between_them(columns):
    x = np.random.default_rng(columns).normal(size=(3, 50)).astype(np.float32)
    out = np.full((3, 70), 7, np.float32)
    activate("gelu_new", x, out, columns)
    assert np.array_equal(out[:, :columns], activate("gelu_new", np.ascontiguousarray(x[:, :columns])))
    assert (out[:, columns:] == 7).all()


def test_in_place():
    x = np.linspace(-3, 3, 45, dtype=np.float32)[None]
    expected = activate("gelu", x)
    assert np.array_equal(activate("gelu", x, x), expected)


def test_tanh_is_monotone():
    """Among all 2³², says the slow test; exp, erf and sigmoid are not, by single units in the last place."""
    edges = np.array([1e-40, 1e-20, 0.01, 0.3, 0.55, 0.7, 1, 2, 5, 9.01, 10, 1e9], np.float32)
    x = np.sort(as_float32(edges.view(np.int32)[:, None] + np.arange(-2000, 2000)), axis=None)
    assert (np.diff(activate("tanh", x)) >= 0).all()


# --- names and coefficients -----------------------------------------------------------------------------------------------


def test_the_config_names_have_codes_and_mean_what_the_reference_means():
    assert set(ACTIVATION_CODES) == {"none", *(function.__name__ for function in ops.ACTIVATIONS.values())}
    for name, function in ops.ACTIVATIONS.items():
        assert activation_code(name) == ACTIVATION_CODES[function.__name__]


FITS = {  # name -> (what it stands for, from, to)
    "EXP": (mpmath.exp, -math.log(2) / 2, math.log(2) / 2),
    "EXP2": (lambda r: mpf(2) ** r, -0.5, 0.5),
    "TANH": (lambda s: mpmath.tanh(mpmath.sqrt(s)) / mpmath.sqrt(s), 1e-9, 0.55**2),
    "ERF": (lambda s: mpmath.erf(mpmath.sqrt(s)) / mpmath.sqrt(s), 1e-9, 0.8**2),
    "TAIL": (lambda y: mpmath.exp(y * y / 2) * mpmath.erfc(y / mpmath.sqrt(2)) / 2, 0, 13),
}


@pytest.mark.parametrize("name", FITS)
def test_the_stated_error_of_a_polynomial(name):
    function, low, high = FITS[name]

    def evaluated(coefficients, x):
        value = mpf(0)
        for c in coefficients:
            value = value * x + mpf(float(np.float32(c)))
        return value

    worst = 0
    for i in range(400):
        x = mpf(low) + (mpf(high) - mpf(low)) * (1 - mpmath.cos(mpmath.pi * i / 399)) / 2
        if name == "TAIL":
            value = evaluated(activations.TAIL_OVER, x) / evaluated(activations.TAIL_UNDER, x)
        else:
            value = evaluated(getattr(activations, name), x) + (name in ("TANH", "ERF"))
        worst = max(worst, abs(value / function(x) - 1))
    assert worst <= KERNEL_POLYNOMIALS[name]
