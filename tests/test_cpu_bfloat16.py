"""Products of bfloat16 on the CPU's kernels: the bits of the emulation, on each unit that this machine has, at every edge."""

from __future__ import annotations

from fractions import Fraction

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.backends import BFLOAT16, runnable
from support.bfloat16 import KINDS, assert_same_bits, check_products, digests, models, product, rounded
from support.same_bits import CONFIGS, PARTS, SMALL, model, printed, trained_like
from tolerances import OPERANDS, bfloat16_product, bfloat16_sum

from albert_np import AlbertConfig, AlbertModel, num_threads
from albert_np.golden.tolerances import UNIT
from albert_np.kernels.cpu import control, simd, units
from albert_np.kernels.cpu.bfloat16 import emulation

TINY, SMALLEST = 2.0**-126, float(np.finfo(np.float32).smallest_subnormal)


@pytest.fixture(autouse=True, scope="module")
def _kernels():
    runnable(BFLOAT16)


# --- the emulation: what is true by definition ------------------------------------------------------------------------------


def narrow(*values):
    return emulation.round_to_bfloat16(np.array(values, np.float32)).tolist()


def test_rounding_is_to_nearest_even_and_makes_subnormal_numbers_zeros():
    step = 2.0**-7
    assert narrow(1 + step / 2, 1 + 1.5 * step, 1 + step / 2 + 2.0**-23, 1 + step / 2 - 2.0**-23) == [
        1,
        1 + 2 * step,
        1 + step,
        1,
    ]
    assert narrow(TINY, -TINY, (2 - step) * 2.0**127) == [TINY, -TINY, (2 - step) * 2.0**127]
    assert narrow(np.finfo(np.float32).max, -np.inf) == [np.inf, -np.inf]
    zeros = emulation.round_to_bfloat16(np.array([TINY - SMALLEST, SMALLEST - TINY, 0.0, -0.0], np.float32))
    assert zeros.view(np.uint32).tolist() == [0, 1 << 31, 0, 1 << 31]
    patterns = np.array([0x7F800001, 0xFF800001, 0x7FC00000, 0xFFFFFFFF], np.uint32)
    assert np.isnan(emulation.round_to_bfloat16(patterns.view(np.float32))).all()


def test_what_is_tiny_is_asked_after_rounding():
    """As if exponents had no end, numbers of 24 bits are 2⁻¹⁵⁰ apart just below 2⁻¹²⁶."""
    least, below = TINY - 2.0**-151, TINY - 2.0**-151 - 2.0**-160
    for sign in (1, -1):
        exact = np.array([TINY, least, below, TINY - 2.0**-150, SMALLEST], np.float64) * sign
        found = emulation.add(np.zeros(5, np.float32), exact)
        expected = np.array([TINY, TINY, 0, 0, 0]) * sign
        assert_same_bits(found, expected.astype(np.float32))


def once(x, y):
    """|x + y| in whole numbers, rounded once to 24 bits."""
    exact = Fraction(x) + Fraction(y)
    if exact == 0:
        return 0.0
    size, exponent = abs(exact), 0
    while size >= 2**24:
        size, exponent = size / 2, exponent + 1
    while size < 2**23:
        size, exponent = size * 2, exponent - 1
    whole = round(size)  # to nearest, ties to even
    value = float(whole) * 2.0**exponent
    return 0.0 if value < TINY else np.inf if value >= 2.0**128 else value


bfloat16s = st.builds(
    lambda sign, whole, exponent: sign * whole * 2.0**exponent,
    st.sampled_from([1, -1]),
    st.integers(128, 255),
    st.integers(-133, 120),
)
float32s = st.builds(
    lambda sign, whole, exponent: sign * whole * 2.0**exponent,
    st.sampled_from([1, -1]),
    st.integers(2**23, 2**24 - 1),
    st.integers(-149, 104),
)


@settings(deadline=None, max_examples=1000)
@given(float32s, bfloat16s, bfloat16s)
def test_two_roundings_of_a_sum_and_a_product_are_one(total, x, y):
    found = abs(float(emulation.add(np.array(total, np.float32), np.float64(x) * np.float64(y))))
    assert found == once(total, x * y)


def test_the_order_is_that_of_the_tiles():
    """Written out: even k, odd k, then C. Each number here is lost or kept by the order alone."""
    a, b = np.zeros((1, 64), np.float32), np.ones((64, 1), np.float32)
    a[0, :5] = [2.0**24, 1, 1, 1, 1]  # even: 2²⁴ + 1 + 1 stays 2²⁴; odd: 1 + 1; in one chain it would stay 2²⁴ too
    assert emulation.product(a, b) == 2.0**24 + 2
    a[0, 32] = -(2.0**24)
    assert emulation.product(a, b) == 2
    a[0, 34] = 1  # joins −2²⁴ first, and both join C then
    assert emulation.product(a, b) == 3
    a[0, 32:36] = [1, 2.0**25, 0, 0]
    a[0, :5] = 0
    assert emulation.product(a, b) == 2.0**25


# --- the kernels ------------------------------------------------------------------------------------------------------------


def test_the_kernels_round_as_the_emulation_does():
    random = np.random.default_rng(0)
    edges = np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)
    upper = np.arange(1 << 16, dtype=np.uint32) << 16
    patterns = upper | random.choice(edges, len(upper))
    x = patterns.view(np.float32)
    with np.errstate(invalid="ignore"):
        assert_same_bits(rounded(x), emulation.round_to_bfloat16(np.float32(0) + x))


def test_products_have_the_bits_of_the_emulation():
    assert check_products() > 10**5


@pytest.mark.parametrize("K", [1, 31, 32, 33, 383, 384, 385, 800])
def test_products_longer_than_what_is_computed_at_once(K):
    random = np.random.default_rng(K)
    for M, N in ((1, 300), (2, 33), (9, 100), (127, 16), (128, 17), (129, 31), (300, 48)):
        a, b = KINDS["wide"](random, (M, K)), KINDS["wide"](random, (K, N))
        with num_threads(3):
            assert_same_bits(product(a, b), emulation.product(a, b), f"{M}×{K}×{N} ")


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 70), st.integers(1, 100), st.integers(1, 70), st.sampled_from(list(KINDS)), st.integers(0, 99))
def test_any_product_has_the_bits_of_the_emulation(M, K, N, kind, seed):
    random = np.random.default_rng(seed)
    with np.errstate(all="ignore"):
        a, b = KINDS[kind](random, (M, K)), KINDS[kind](random, (K, N))
        assert_same_bits(product(a, b), emulation.product(a, b))


def is_here(rung):
    return rung in simd.available() and rung != units.bfloat16()[1]


@pytest.mark.parametrize("rung", [name for name in simd.LEVELS if name != "plain"])
def test_other_units_of_this_machine_give_the_same_bits(rung):
    """In a process of its own: products against the emulation, and whole models.

    Without FMA (sse) float32 is another one, so whole models equal the emulation on that float32, and not each other.
    """
    if not is_here(rung):
        pytest.skip(f"this CPU has no {rung}, or tests run on it anyway")
    of_models = "*digests()" if simd.LEVELS[rung].fma else "*map(check_model, models())"
    code = f"from support.bfloat16 import *\nprint(check_products(8), {of_models})"
    count, *found = printed(code, ALBERT_NP_SIMD=rung)
    assert int(count) > 40_000
    assert found == (digests() if simd.LEVELS[rung].fma else ["None"] * len(models()))


@pytest.mark.parametrize("K", [1, 7, 70, 600, 3072])
def test_each_number_is_within_the_bound_of_its_sum(K):
    random, worst = np.random.default_rng(K), 0.0
    a, b = (random.standard_normal(shape).astype(np.float32) for shape in ((13, K), (K, 49)))
    found = product(a, b)
    rounded_a, rounded_b = (emulation.round_to_bfloat16(x).astype(np.float64) for x in (a, b))
    sizes = np.abs(rounded_a) @ np.abs(rounded_b)
    assert np.all(np.abs(found - rounded_a @ rounded_b) <= bfloat16_sum(K) * sizes)
    a, b = a.astype(np.float64), b.astype(np.float64)
    worst = np.max(np.abs(found - a @ b) / (np.abs(a) @ np.abs(b)))
    assert worst <= bfloat16_product(K)
    assert worst > OPERANDS["bfloat16"] / 8 / np.sqrt(K)  # they were rounded
    assert bfloat16_product(K) < 2.01 * OPERANDS["bfloat16"] + K * UNIT[np.dtype(np.float32)]


# --- what a thread has set for subnormal numbers ---------------------------------------------------------------------------


@numba.njit
def set_flush():
    return control.flush_subnormals()


@numba.njit
def set_back(before):
    control.restore(before)


@numba.njit
def half_of(x):
    return x * np.float32(0.5)


def keeps_subnormals():
    return half_of(np.float32(TINY)) == np.float32(TINY) / 2 and half_of(np.float32(2 * SMALLEST)) > 0


def subnormal_model(dtype):
    """One whose float32 parts have subnormal numbers: biases of that size, and attention to keys far below the best."""
    config = AlbertConfig(**SMALL | CONFIGS["heads of 16"])
    tensors = {name: x.astype(np.float32) for name, x in trained_like(config, PARTS["AlbertModel"], 1).items()}
    sharp = {name: 6 * x for name, x in tensors.items() if name.endswith(("query.weight", "key.weight"))}
    return AlbertModel(config, backend="numba", dtype=dtype, tensors=tensors | sharp)


@pytest.mark.parametrize("threads", [1, 3])  # of several the helpers, which have their own setting, may do it all
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_flush_to_zero_of_the_caller_changes_no_bit_and_stays_with_the_caller(dtype, threads):
    of, tokens = subnormal_model(dtype), np.arange(1, 71)[None]
    expected = of(tokens, output_attentions=True)
    probs = np.concatenate([x.ravel() for x in expected.attentions])
    assert np.any((probs > 0) & (probs < TINY))  # or nothing would be seen
    assert keeps_subnormals()
    before = set_flush()
    try:
        assert not keeps_subnormals()
        with num_threads(threads):
            found = of(tokens, output_attentions=True)
        still = not keeps_subnormals()
    finally:
        set_back(before)
    assert still
    assert keeps_subnormals()
    for x, y in zip(found.attentions, expected.attentions, strict=True):
        assert np.array_equal(x, y)
    assert np.array_equal(found.last_hidden_state, expected.last_hidden_state)


def test_flush_to_zero_does_not_leak():
    of = model(dtype="bfloat16")
    with num_threads(3):
        of([[1, 2, 3]])
        assert keeps_subnormals()
        with pytest.raises(ValueError, match="unfused"):
            of([[1, 2, 3]], trace="unfused")
        with pytest.raises(ValueError, match="at most 90 tokens"):
            of([[1] * 91])
    assert keeps_subnormals()
