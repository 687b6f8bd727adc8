"""The float32 rule itself: it passes what rounds as float32 does and fails what rounds four times as coarsely, everywhere.

Four times is 22 bits of fraction in place of 24. And draws are what they say: as wrong as sums of float32 are.
"""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from support.backends import NUMBA, NUMPY, PLAIN
from support.calls import CALLS, call

from albert_np import AlbertConfig, ops
from albert_np.golden.cases import PARTS, random_case, trained_like
from albert_np.golden.stochastic import ROUNDING, UNIT_FLOAT32, Drawn, DrawnOps, draws, model_draws, steps
from albert_np.golden.tolerances import (
    FLOAT32_ONE_CASE,
    assert_float32_rule,
    assert_float32_rule_in_the_mean,
)


def root_mean_square(x):
    return math.sqrt(np.mean(np.square(np.asarray(x, np.float64))))


def as_float32(x):
    """A draw, as a program of float32 would give it."""
    return np.asarray(x).astype(np.float32)


# --- what draws are -----------------------------------------------------------------------------------------------------


def float32_sums(a, b, block=256):  # (R,K), (R,K) -> (R,)
    """Rows' dot products in float32, one product after another, in blocks: no BLAS, and fused as far as float64 can be."""
    total = np.zeros(len(a), np.float32)
    for start in range(0, a.shape[1], block):
        part = np.zeros(len(a), np.float32)
        for k in range(start, min(start + block, a.shape[1])):
            part = (part + a[:, k].astype(np.float64) * b[:, k]).astype(np.float32)
        total = total + part
    return total


@pytest.mark.parametrize("K", [1, 2, 24, 64, 256, 768, 3072])
@pytest.mark.parametrize("offset", [0, 1])
def test_sums_of_products_are_as_wrong_as_draws(K, offset):
    """Of numbers around zero, whose sum is short, and of one sign, whose partial sums are long."""
    rng = np.random.default_rng(K)
    a, b = (np.abs(x) if offset else x for x in rng.standard_normal((2, 2000, K)).astype(np.float32))
    truth = np.sum(a.astype(np.float64) * b, axis=1)
    multiplied = draws(lambda a, b: (a[:, None] @ b[:, :, None])[:, 0, 0], a, b, count=4)
    usual = root_mean_square([x - truth for x in multiplied])
    assert 0.8 < root_mean_square(float32_sums(a, b) - truth) / usual < 1.25


def test_a_rounding_has_the_size_that_is_derived():
    x = np.exp(np.random.default_rng(0).uniform(0, 8 * math.log(2), 100_000))
    relative = root_mean_square(x.astype(np.float32) / x - 1) / UNIT_FLOAT32
    assert relative == pytest.approx(ROUNDING, rel=0.01)
    once = np.asarray(draws(lambda x: x * 1.25, x, count=1)[0])
    assert root_mean_square(once / (1.25 * x) - 1) / UNIT_FLOAT32 == pytest.approx(ROUNDING, rel=0.01)


@pytest.mark.parametrize("n", [1, 3, 4, 12])
def test_steps_count_the_squares_of_partial_sums(n):
    """Averaged over orders of the terms."""
    rng, K = np.random.default_rng(n), 12
    x = rng.standard_normal(K) + 0.5
    blocks = rng.permuted(np.tile(x, (20_000, 1)), axis=1).reshape(20_000, -1, n)
    inside = np.sum(np.cumsum(blocks, axis=2) ** 2, axis=(1, 2))
    across = np.sum(np.cumsum(np.sum(blocks, axis=2), axis=1)[:, 1:] ** 2, axis=1)
    squares = inside + across
    first, second = steps(K, n)
    assert first * np.sum(x * x) + second * np.sum(x) ** 2 == pytest.approx(np.mean(squares), rel=0.05)


def test_what_is_exact_stays_exact():
    x = np.random.default_rng(0).standard_normal((5, 7))
    for function in (
        lambda x: x + 0,
        lambda x: x * 1.0,
        lambda x: 0 * x,
        lambda x: ops.relu(x),
        lambda x: ops.merge_heads(ops.split_heads(x[None], 7))[0],
        lambda x: x[:, :1].sum(axis=1),
        lambda x: ops.embedding(np.array([3, 0]), x),
    ):
        assert all(np.array_equal(np.asarray(y), function(x)) for y in draws(function, x, count=3))


def test_a_draw_is_the_same_again_and_another_one_is_not():
    x, w, b = (np.random.default_rng(i).standard_normal(shape) for i, shape in enumerate([(5, 7), (3, 7), (3,)]))
    first, again, other = (draws(ops.linear, x, w, b, count=2, seed=seed) for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first[0], other[0])


def test_draws_go_through_what_is_written_in_place():
    def function(x):
        y = x.copy()
        y /= 3.0
        table = np.zeros((2, 4))
        np.add.at(table, np.array([0, 1, 0]), y)
        return table

    x = np.random.default_rng(0).standard_normal((3, 4))
    truth = function(x)
    assert all(0 < np.max(np.abs(y - truth)) < 1e-6 for y in draws(function, x, count=3))


def test_draws_stay_draws_when_their_numbers_are_moved():
    (x,) = draws(lambda x: x, np.random.default_rng(0).standard_normal((3, 4)), count=1)
    for moved in (x.T, x[1], x[np.array([0, 2])], np.where(x > 0, x, 0.0), np.concatenate([x, x]), x.copy()):
        assert isinstance(moved, Drawn)


# --- one array ----------------------------------------------------------------------------------------------------------

MANY = [name for name in CALLS if name not in ("embedding", "split_heads", "merge_heads", "relu")]


def planted(name, unit, seed=99):
    """The truth, an array whose roundings have that unit, and draws."""
    function, given = call(NUMPY, name)
    (actual,) = draws(function, *given, count=1, unit=unit, seed=seed)
    return np.asarray(function(*given)), as_float32(actual), draws(function, *given, seed=1000 + seed)


@pytest.mark.parametrize("name", MANY)
def test_rounding_passes_in_every_op(name):
    truth, actual, others = planted(name, UNIT_FLOAT32)
    assert_float32_rule(name, actual, others, truth)


@pytest.mark.parametrize("name", MANY)
def test_four_times_the_rounding_is_seen_in_every_op(name):
    """These arrays are small, so twenty are judged together; the next test has thousands of numbers in one."""
    for unit in (UNIT_FLOAT32, 4 * UNIT_FLOAT32):
        cases = {}
        for seed in range(20):
            truth, actual, others = planted(name, unit, 100 + seed)
            cases[seed] = actual, others, truth
        if unit == UNIT_FLOAT32:
            assert_float32_rule_in_the_mean(name, cases)
    with pytest.raises(AssertionError, match="times as wrong"):
        assert_float32_rule_in_the_mean(name, cases)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_fail(bad):
    truth, actual, others = planted("linear", UNIT_FLOAT32)
    actual[0, 0, 0] = bad
    with pytest.raises(AssertionError, match="inf times as wrong"):
        assert_float32_rule("linear", actual, others, truth)
    with pytest.raises(AssertionError, match="inf times as wrong"):
        assert_float32_rule_in_the_mean("linear", {0: (actual, others, truth)})


def test_one_wrong_number_among_many_fails():
    x = np.random.default_rng(0).standard_normal((300, 300))
    actual, others, truth = (x / 3).astype(np.float32), draws(lambda x: x / 3.0, x), x / 3
    assert_float32_rule("third", actual, others, truth)
    actual[7, 9] += 8 * UNIT_FLOAT32
    with pytest.raises(AssertionError, match="times as wrong"):
        assert_float32_rule("third", actual, others, truth)


def test_what_nobody_rounds_must_be_exact():
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32).astype(np.float64)
    others = draws(ops.relu, x)
    assert_float32_rule("relu", as_float32(ops.relu(x)), others, ops.relu(x))
    with pytest.raises(AssertionError, match="inf times as wrong"):
        assert_float32_rule("relu", as_float32(ops.relu(x) * (1 + 2 * UNIT_FLOAT32)), others, ops.relu(x))


@pytest.mark.parametrize("wrong", [np.float64, np.float16])
def test_another_dtype_or_shape_fails(wrong):
    truth, actual, others = planted("linear", UNIT_FLOAT32)
    with pytest.raises(AssertionError, match="dtype"):
        assert_float32_rule("linear", actual.astype(wrong), others, truth)
    with pytest.raises(AssertionError, match="shape"):
        assert_float32_rule("linear", actual[:1], others, truth)
    with pytest.raises(AssertionError, match="the truth must be float64"):
        assert_float32_rule("linear", actual, others, truth.astype(np.float32))
    with pytest.raises(AssertionError, match="nothing to compare"):
        assert_float32_rule_in_the_mean("linear", {})


def of_22_bits(x):
    """Float32 numbers whose last two bits are rounded away (Veltkamp's splitting)."""
    x = np.asarray(x, np.float32)
    wide = 5 * x  # 2² + 1
    rounded = wide - (wide - x)
    assert np.array_equal(np.frexp(rounded)[0] * 2**22 % 1, np.zeros(x.shape))
    return rounded


def attention(table, x, w):
    return table.attention(x, w, x, ops.Attending(np.ones((50, 1, 1, 6), bool), 1))[0]


KERNELS = {
    "linear": lambda table, x, w: table.linear(x, w[:40], np.zeros(40, x.dtype)),
    "layer_norm": lambda table, x, w: table.layer_norm(x, w[0], w[1], 1e-12),
    "attention": lambda table, *a: attention(table, *(x.reshape(50, 6, 6) for x in a)),
    "gelu_new": lambda table, x, w: table.activation(x, "gelu_new"),
    "gelu": lambda table, x, w: table.activation(x, "gelu"),
    "tanh": lambda table, x, w: table.tanh(x),
}


@pytest.mark.parametrize("backend", [NUMBA], ids=str, indirect=True)
@pytest.mark.parametrize("name", KERNELS)
def test_kernels_pass_and_coarser_ones_are_seen(backend, name):
    """Attention of inputs of 22 bits is not: beside what it adds of its own, it is then 1.9 times as wrong, and not 2."""
    function = KERNELS[name]
    x, w = np.random.default_rng(0).standard_normal((2, 300, 6)).astype(np.float32)
    truth, others = function(ops, x.astype(np.float64), w.astype(np.float64)), draws(lambda *a: function(ops, *a), x, w)
    assert_float32_rule(name, function(backend.ops, x, w), others, truth)
    (coarse,) = draws(lambda *a: function(ops, *a), x, w, count=1, unit=4 * UNIT_FLOAT32)
    with pytest.raises(AssertionError, match="times as wrong"):
        assert_float32_rule(name, as_float32(coarse), others, truth)
    if name == "attention":
        return
    with pytest.raises(AssertionError, match="times as wrong"):
        assert_float32_rule(name, function(backend.ops, of_22_bits(x), of_22_bits(w)), others, truth)


# --- several cases, models and gradients --------------------------------------------------------------------------------


def scalars(unit):
    """The losses of many inputs: one number a case, of which any may be lucky."""
    cases = {}
    for seed in range(60):
        x = np.random.default_rng(seed).standard_normal((2, 6, 7))
        actual, *others = draws(ops.mse_loss, *x, count=1, unit=unit, seed=1) + draws(ops.mse_loss, *x, count=8)
        cases[seed] = as_float32(actual), others, np.asarray(ops.mse_loss(*x))
    return cases


def gradients(kind, unit):
    """Of four models: those that are zero in mathematics too."""
    cases = {}
    for seed in (0, 2, 3, 5):
        config, tensors, call = random_case(seed, kind)
        truth = NUMPY.model(kind, config, tensors).value_and_grad(**call)[1]

        def run(model, call=call):
            return model.value_and_grad(**call)[1]

        others = NUMPY.draws(run, kind, config, tensors)
        (found,) = NUMPY.draws(run, kind, config, tensors, count=1, table=lambda _: DrawnOps(99, unit))
        cases |= {
            (seed, name): (as_float32(found[name]), [draw[name] for draw in others], x) for name, x in truth.items()
        }
    return cases


def hidden_states(kind, unit):
    config = AlbertConfig(hidden_size=48, num_attention_heads=3, intermediate_size=70, num_hidden_layers=6)
    config, cases = config.replace(vocab_size=50, embedding_size=12, max_position_embeddings=20), {}
    ids = np.random.default_rng(0).integers(1, 50, (3, 12))

    def run(model):
        return model(ids, output_hidden_states=True).hidden_states

    for seed in range(4):
        tensors = trained_like(config, PARTS[kind], seed)
        truth, others = run(NUMPY.model(kind, config, tensors)), NUMPY.draws(run, kind, config, tensors)
        (found,) = NUMPY.draws(run, kind, config, tensors, count=1, table=lambda _: DrawnOps(99, unit))
        cases |= {(seed, i): (as_float32(found[i]), [x[i] for x in others], truth[i]) for i in range(len(truth))}
    return cases


JUDGED = {
    "losses": scalars,
    "hidden states": lambda unit: hidden_states("AlbertModel", unit),
    "gradients of token labels": lambda unit: gradients("AlbertForTokenClassification", unit),
    "gradients of one label": lambda unit: gradients("AlbertForSequenceClassification", unit),
}


@pytest.mark.parametrize("what", JUDGED)
def test_rounding_passes_and_four_times_as_much_is_seen_in_the_mean(what):
    assert_float32_rule_in_the_mean(what, JUDGED[what](UNIT_FLOAT32))
    with pytest.raises(AssertionError, match=r"in the mean of|times as wrong as the worst of its draws"):
        assert_float32_rule_in_the_mean(what, JUDGED[what](4 * UNIT_FLOAT32))


def test_one_case_far_off_is_seen_among_many():
    cases = scalars(UNIT_FLOAT32)
    _, others, truth = cases[7]
    worst = max(abs(x - truth) for x in others)
    cases[7] = np.float32(truth + 1.1 * FLOAT32_ONE_CASE * worst), others, truth
    with pytest.raises(AssertionError, match=r"in 7$"):
        assert_float32_rule_in_the_mean("losses", cases)


def test_draws_are_of_the_reference_which_stays_what_it_was():
    config = AlbertConfig(
        vocab_size=9, embedding_size=4, hidden_size=8, num_attention_heads=2, num_hidden_layers=1, intermediate_size=8
    )
    model = NUMPY.model("AlbertModel", config, seed=0)
    before = model([[1, 2]]).last_hidden_state
    first, second = model_draws(model, lambda model: model([[1, 2]]).last_hidden_state, count=2)
    assert not np.array_equal(first, second)
    assert np.array_equal(model([[1, 2]]).last_hidden_state, before)
    with pytest.raises(ValueError, match="got 'numpy' in float32"):
        model_draws(PLAIN.model("AlbertModel", config, seed=0), lambda model: None)


# --- the package --------------------------------------------------------------------------------------------------------


def test_importing_the_package_imports_none_of_it():
    code = "import sys, albert_np; sys.exit(any(name.startswith('albert_np.golden') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-P", "-c", code], check=False).returncode == 0


def test_golden_needs_numpy_alone():
    code = (
        "import sys; sys.modules['mpmath'] = sys.modules['numba'] = None\n"
        "import albert_np.golden.stochastic, albert_np.golden.cases"
    )
    assert subprocess.run([sys.executable, "-P", "-c", code], check=False).returncode == 0
