"""linear, embedding, LayerNorm, softmax and attention of each table of ops, against oracles that add one number at a time.

Inputs are float16 values in every dtype, so that products are exact in float64 and math.fsum rounds a sum once.
"""

from __future__ import annotations

import itertools
import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from mpmath import mpf
from support.backends import NUMBA, NUMPY, PLAIN
from tolerances import LAYER_NORM_EPS, LIBM

from albert_np import ops
from albert_np.golden.tolerances import FLOAT_DTYPES, assert_close, gamma

# ops.py in every dtype, the kernels in float32
TABLES = [*((NUMPY, dtype) for dtype in FLOAT_DTYPES), (NUMBA, np.float32)]
every_table = pytest.mark.parametrize(
    ("backend", "dtype"),
    TABLES,
    ids=[f"{backend.name}-{dtype.__name__}" for backend, dtype in TABLES],
    indirect=["backend"],
)
NARROW = (np.float32, np.float64)  # a score in float16 may leave its range once the mask is added


def draw(*shape: int, seed: int = 0, scale: float = 1, dtype: type = np.float64) -> np.ndarray:
    return (scale * np.random.default_rng(seed).standard_normal(shape)).astype(np.float16).astype(dtype)


def dot(x, y) -> float:
    return math.fsum(a * b for a, b in zip(x.tolist(), y.tolist(), strict=True))


def filled(shape, entry) -> np.ndarray:
    """An array from a function of its indices: what a definition with indices says."""
    return np.array([entry(*index) for index in np.ndindex(*shape)]).reshape(shape)


# --- linear, embedding -----------------------------------------------------------------------------------------------


@every_table
@pytest.mark.parametrize(("rows", "n_in", "n_out"), [(1, 1, 1), (2, 7, 5), (13, 31, 3), (3, 1, 11)])
def test_linear_is_a_sum_of_products_and_a_bias(backend, rows, n_in, n_out, dtype):
    x, weight, bias = (
        draw(rows, n_in, dtype=dtype),
        draw(n_out, n_in, seed=1, dtype=dtype),
        draw(n_out, seed=2, dtype=dtype),
    )
    truth = filled((rows, n_out), lambda r, o: math.fsum([dot(x[r], weight[o]), float(bias[o])]))
    sizes = np.max(np.abs(x.astype(float)) @ np.abs(weight.astype(float)).T + np.abs(bias)) / np.max(np.abs(truth))
    assert_close(
        "linear", backend.ops.linear(x, weight, bias), truth, limit=gamma(n_in + 1, dtype) * sizes, dtype=dtype
    )


def test_linear_of_any_leading_axes_is_linear_of_rows(backend):
    table, dtype = backend.ops, backend.dtype
    x, weight, bias = draw(2, 3, 5, 7, dtype=dtype), draw(4, 7, seed=1, dtype=dtype), draw(4, seed=2, dtype=dtype)
    rows = np.stack([table.linear(row, weight, bias) for row in x.reshape(-1, 7)]).reshape(2, 3, 5, 4)
    backend.assert_same("linear", table.linear(x, weight, bias), rows, limits={dtype: gamma(16, dtype)})
    assert np.array_equal(table.linear(0 * x, weight, bias), np.broadcast_to(bias, rows.shape))


def test_embedding_is_a_row_of_the_table():
    table = draw(7, 3)
    ids = np.array([[0, 6, 6], [3, 1, 0]])
    rows = ops.embedding(ids, table)
    assert rows.shape == (2, 3, 3)
    assert all(rows[at].tolist() == table[ids[at]].tolist() for at in np.ndindex(2, 3))


# --- layer_norm ------------------------------------------------------------------------------------------------------


def exact_layer_norm(x, weight, bias, eps):
    """Ba et al. 2016, eq. 4, a row at a time in 50 digits: the variance divided by H, ε inside the root."""
    with mpmath.workdps(50):
        truth = []
        for row in x.reshape(-1, x.shape[-1]).tolist():
            mean = mpmath.fsum(map(mpf, row)) / len(row)
            root = mpmath.sqrt(mpmath.fsum((mpf(v) - mean) ** 2 for v in row) / len(row) + mpf(eps))
            truth.append(
                [float((mpf(v) - mean) / root * mpf(w) + mpf(b)) for v, w, b in zip(row, weight, bias, strict=True)]
            )
    return np.array(truth).reshape(x.shape)


@pytest.mark.parametrize("eps", ["1e-12", "1e-5", "0.5"])
@every_table
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (2, 5, 61)])
def test_layer_norm(backend, shape, dtype, eps):
    H = shape[-1]
    x, weight, bias = draw(*shape, dtype=dtype), draw(H, seed=1, dtype=dtype), draw(H, seed=2, dtype=dtype)
    truth = exact_layer_norm(x, weight.tolist(), bias.tolist(), eps)
    # mean, variance and their use are 2(H + 4) roundings in float32 or wider, the result one in its own dtype
    limit = 2 * gamma(2 * (H + 4), np.promote_types(dtype, np.float32)) + gamma(1, dtype)
    assert_close("layer_norm", backend.ops.layer_norm(x, weight, bias, float(eps)), truth, limit=limit, dtype=dtype)


def test_layer_norm_literals(backend):
    dtype = np.dtype(backend.dtype)
    one, zero, limit = np.ones(2, dtype), np.zeros(2, dtype), gamma(8, dtype)

    def layer_norm(size, eps):
        return backend.ops.layer_norm(np.array([[-size, size]], dtype), one, zero, eps)

    x = np.array([[-1.0, 1.0]])  # biased variance 1, unbiased 2
    assert_close("biased", layer_norm(1, 1e-12), x, limit=LAYER_NORM_EPS, dtype=dtype)
    # variance 1e-12 = ε: 1/√2, where ε outside the root would give 1
    assert_close("ε inside", layer_norm(1e-6, 1e-12), x / math.sqrt(2), limit=limit, dtype=dtype)
    # variance 1e-6 beside 1e-5: 1/√11
    assert_close("1e-5", layer_norm(1e-3, 1e-5), x / math.sqrt(11), limit=limit, dtype=dtype)


def test_layer_norm_of_float16_adds_in_float32():
    row = np.array([[60000, 60000, -60000, 60000]], np.float16)  # sum and squares are beyond 65504
    result = ops.layer_norm(row, np.ones(4, np.float16), np.zeros(4, np.float16), 1e-12)
    truth = np.array([[1, 1, -3, 1]]) / math.sqrt(3)
    assert_close("float16", result, truth, limit=gamma(2, np.float16), dtype=np.float16)


@pytest.mark.parametrize("backend", [PLAIN, NUMBA], ids=str, indirect=True)
def test_layer_norm_subtracts_the_mean_before_it_squares(backend):
    # float32, noise of 1 on an offset of 10⁶: mean(x²) − mean(x)² is a difference of two 10¹², of which it knows 10⁵
    x = (1e6 + np.random.default_rng(0).integers(-16, 17, (2, 256)) / 16).astype(np.float32)
    truth = exact_layer_norm(x, [1] * 256, [0] * 256, "1e-12")
    result = backend.ops.layer_norm(x, np.ones(256, np.float32), np.zeros(256, np.float32), 1e-12)
    offset_error = 1e6 * gamma(10, np.float32)  # the mean itself, added pairwise, is off by a few ulp of 10⁶
    assert_close("offset", result, truth, limit=2 * offset_error / np.max(np.abs(x - 1e6)), dtype=np.float32)


@given(a=st.floats(0.01, 100), b=st.floats(-100, 100))
def test_layer_norm_forgets_scale_and_offset(backend, a, b):
    dtype, table = backend.dtype, backend.ops
    x, weight, bias = draw(3, 17, dtype=dtype), draw(17, seed=1, dtype=dtype), draw(17, seed=2, dtype=dtype)
    moved = table.layer_norm((a * x + b).astype(dtype), weight, bias, 1e-12)
    limit = gamma(60, dtype) * (1 + abs(b) / a) + 1e-12 / min(a, 1) ** 2  # what b swallows, and what ε is beside a²
    assert_close("a·x + b", moved, table.layer_norm(x, weight, bias, 1e-12), limit=limit)


def test_layer_norm_of_a_constant_row_is_the_bias(backend):
    x, weight, bias = (draw(7, seed=seed, dtype=backend.dtype) for seed in range(3))
    x[:] = 0.75
    assert np.array_equal(backend.ops.layer_norm(np.stack([x, x]), weight, bias, 1e-12), [bias, bias])


# --- softmax ---------------------------------------------------------------------------------------------------------


def exact_softmax(row) -> list[float]:
    with mpmath.workdps(50):
        e = [mpmath.exp(mpf(v)) for v in row]
        return [float(v / mpmath.fsum(e)) for v in e]


@pytest.mark.parametrize("dtype", FLOAT_DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (2, 2, 31)])
def test_softmax(shape, dtype):
    x = draw(*shape, scale=3, dtype=dtype)
    truth = np.array([exact_softmax(row) for row in x.reshape(-1, shape[-1]).tolist()]).reshape(shape)
    # x − max is off by u·|x − max|, which exp makes relative; then exp twice, the sum and the division
    limit = gamma(math.ceil(np.ptp(x)) + 4 * LIBM + shape[-1] + 1, dtype)
    assert_close("softmax", ops.softmax(x), truth, limit=limit, dtype=dtype)


def test_softmax_of_extreme_scores():
    assert ops.softmax(np.array([[1e300, 0, -1e300], [-1e300, -1e300, -1e308]])).tolist() == [[1, 0, 0], [0.5, 0.5, 0]]
    assert ops.softmax(np.array([[np.log(3.0), -np.inf, 0]])).tolist() == [
        [pytest.approx(0.75), 0, pytest.approx(0.25)]
    ]


@given(hnp.arrays(np.float64, hnp.array_shapes(min_dims=1, max_dims=3, max_side=9), elements=st.floats(-1e6, 1e6)))
def test_softmax_rows_sum_to_one_and_a_shift_changes_nothing(x):
    probs = ops.softmax(x)
    assert np.all(probs >= 0)
    assert_close("sum", probs.sum(axis=-1), np.ones(x.shape[:-1]), limit=gamma(2 * 9, np.float64))
    whole = np.round(x)  # whole numbers, so that the shift is exact
    assert np.array_equal(ops.softmax(whole + 4096), ops.softmax(whole))


@pytest.mark.parametrize("dtype", FLOAT_DTYPES)
def test_masked_keys_get_exactly_zero_and_the_others_what_they_get_alone(dtype):
    scores = draw(2, 3, 5, 5, scale=3, dtype=dtype)
    allowed = np.array([[1, 0, 1, 1, 0], [0, 1, 0, 0, 0]], bool)[:, None, None]
    probs = ops.masked_softmax(scores, allowed)
    assert np.all(probs[~np.broadcast_to(allowed, probs.shape)] == 0)
    assert_close("rest", probs[0][..., [0, 2, 3]], ops.softmax(scores[0][..., [0, 2, 3]]), limit=gamma(4, dtype))
    assert np.all(probs[1][..., 1] == 1)


@pytest.mark.parametrize("mode", ["uniform", "zeros", "nan"])
def test_a_key_mask_is_a_pair_mask_with_equal_rows(mode):
    scores = draw(3, 2, 5, 5)
    keys = np.array([[1, 1, 0, 0, 0], [0, 1, 1, 0, 1], [0, 0, 0, 0, 0]], bool)[:, None, None]
    pairs = np.array(np.broadcast_to(keys, (3, 1, 5, 5)))
    one, other = ops.masked_softmax(scores, keys, mode), ops.masked_softmax(scores, pairs, mode)
    assert np.array_equal(one, other, equal_nan=True)


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize(("mode", "value"), [("uniform", 0.25), ("zeros", 0), ("nan", np.nan)])
def test_a_query_with_nothing_to_attend_to(mode, value, dtype):
    scores = draw(1, 2, 4, 4, scale=50, dtype=dtype)
    allowed = np.array([[0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0], [1, 0, 0, 0]], bool)[None, None]
    probs = ops.masked_softmax(scores, allowed, mode)
    assert np.array_equal(probs[:, :, [0, 2]], np.full((1, 2, 2, 4), value), equal_nan=True)
    assert np.array_equal(probs[:, :, 1], ops.softmax(scores[:, :, 1]))  # the other queries know nothing of it
    assert probs.dtype == dtype


# --- attention -------------------------------------------------------------------------------------------------------


def test_split_heads_takes_consecutive_columns_and_merge_heads_puts_them_back():
    x = draw(2, 5, 6)
    heads = ops.split_heads(x, 3)
    assert heads.shape == (2, 3, 5, 2)
    assert all(heads[b, n, t, d] == x[b, t, 2 * n + d] for b, n, t, d in np.ndindex(2, 3, 5, 2))
    assert np.array_equal(ops.merge_heads(heads), x)


P = 6
POSITIONS = {"in order": None, "with holes": np.array([0, 1, 3, 5]), "any": np.array([5, 0, 2, 2])}


@pytest.mark.parametrize("dtype", FLOAT_DTYPES)
@pytest.mark.parametrize(
    ("kind", "where"), [("absolute", "any"), *itertools.product(["relative_key", "relative_key_query"], POSITIONS)]
)
def test_attention_scores_by_definition(kind, where, dtype):
    B, N, T, D = 2, 3, 4, 7
    query, key = draw(B, N, T, D, dtype=dtype), draw(B, N, T, D, seed=1, dtype=dtype)
    table = draw(2 * P - 1, D, seed=2, dtype=dtype)
    positions = POSITIONS[where]
    column = list(range(T)) if positions is None else positions.tolist()

    def score(b, n, i, j):
        a = table[column[i] - column[j] + P - 1]
        total = dot(query[b, n, i], key[b, n, j]) / math.sqrt(D)
        if kind != "absolute":
            total += dot(query[b, n, i], a)  # not divided by √D
        return total + dot(key[b, n, j], a) if kind == "relative_key_query" else total

    truth = filled((B, N, T, T), score)
    largest = 3 * D * 3.0**2 / np.max(np.abs(truth))  # three sums of D products of numbers below 3
    assert max(np.max(np.abs(x)) for x in (query, key, table)) < 3
    scores = ops.attention_scores(query, key, table, positions, kind)
    assert_close(kind, scores, truth, limit=gamma(D + 4, dtype) * largest, dtype=dtype)


def test_attention_context_mixes_values():
    probs, value = np.abs(draw(2, 3, 5, 5)), draw(2, 3, 5, 7, seed=1)
    truth = filled((2, 3, 5, 7), lambda b, n, i, d: dot(probs[b, n, i], value[b, n, :, d]))
    assert_close("context", ops.attention_context(probs, value), truth, limit=gamma(5 * 5, np.float64))


def by_definition(query, key, value, seen, N, mode, head_mask, kind, table, column):
    """Scores, probs and context, one query after the other in float64: seen (B,T,T) says whom it may see."""
    B, T, H = query.shape
    D, P = H // N, (len(table) + 1) // 2
    q, k, v, table = (x.astype(np.float64) for x in (query, key, value, table))
    scores, probs, context = np.empty((B, N, T, T)), np.zeros((B, N, T, T)), np.empty((B, T, H))
    for b, n, i in np.ndindex(B, N, T):
        here = slice(n * D, (n + 1) * D)
        a = table[column[i] - np.array(column) + P - 1]
        score = k[b, :, here] @ q[b, i, here] / math.sqrt(D)
        score = score + (a @ q[b, i, here] if kind != "absolute" else 0)
        scores[b, n, i] = score + ((k[b, :, here] * a).sum(axis=1) if kind == "relative_key_query" else 0)
        keys = np.flatnonzero(seen[b, i])
        if len(keys):
            e = np.exp(scores[b, n, i, keys] - scores[b, n, i, keys].max())
            probs[b, n, i, keys] = e / e.sum()
        else:
            probs[b, n, i] = {"uniform": 1 / T, "zeros": 0, "nan": math.nan}[mode]
        probs[b, n, i] *= 1 if head_mask is None else head_mask[n]
        context[b, i, here] = probs[b, n, i] @ v[b, :, here]
    return context, scores, probs


@pytest.mark.parametrize("mode", ["uniform", "zeros", "nan"])
@pytest.mark.parametrize("mask", ["nothing", "keys", "pairs"])
@pytest.mark.parametrize(
    ("kind", "where"), [("absolute", "any"), *itertools.product(["relative_key", "relative_key_query"], POSITIONS)]
)
def test_attention_by_definition(backend, kind, where, mask, mode):
    """One sequence with everything to see, one with less, one with nothing."""
    B, N, T, D = 3, 2, 4, 5
    rng = np.random.default_rng(0)
    query, key, value = (draw(B, T, N * D, seed=seed, dtype=backend.dtype) for seed in range(3))
    table, head_mask = draw(2 * P - 1, D, seed=3, dtype=backend.dtype), np.array([1.5, 0.5], backend.dtype)
    allowed = np.ones((B, 1, T if mask == "pairs" else 1, T), bool)
    if mask != "nothing":
        allowed[1] = rng.random(allowed[1].shape) < 0.6
        allowed[2] = False
    positions = POSITIONS[where]
    actual = backend.ops.attention(
        query,
        key,
        value,
        ops.Attending(
            allowed,
            N,
            mask_mode=mode,
            head_mask=head_mask,
            position_type=kind,
            distance_table=table,
            positions=positions,
        ),
    )
    seen = np.broadcast_to(allowed[:, 0], (B, T, T))
    column = list(range(T)) if positions is None else positions.tolist()
    expected = by_definition(query, key, value, seen, N, mode, head_mask, kind, table, column)
    # sums of 5 to 15 products below 9, of which an exponential is taken
    limit = gamma(3 * D * 9 + 4 * LIBM, backend.dtype)
    for name, x, truth in zip(("context", "scores", "probs"), actual, expected, strict=True):
        numbers = ~np.isnan(truth)
        assert np.array_equal(np.isnan(x), ~numbers)
        assert_close(f"{name}, {mask}, {mode}", x[numbers], truth[numbers], limit=limit, dtype=backend.dtype)
    unseen = ~np.broadcast_to(allowed, actual[2].shape) & np.broadcast_to(
        allowed.any(-1, keepdims=True), actual[2].shape
    )
    assert np.all(actual[2][unseen] == 0)


def test_attention_drops_what_the_generator_says(backend):
    query, key, value = (draw(2, 4, 6, seed=seed, dtype=backend.dtype) for seed in range(3))
    allowed = np.ones((2, 1, 1, 4), bool)
    _, _, whole = backend.ops.attention(query, key, value, ops.Attending(allowed, 2))
    context, _, probs = backend.ops.attention(
        query, key, value, ops.Attending(allowed, 2, dropout_probability=0.25), np.random.default_rng(3)
    )
    kept = np.random.default_rng(3).random((2, 2, 4, 4)) >= 0.25
    assert_close("probs", probs, whole * kept / 0.75, limit=gamma(4, backend.dtype), dtype=backend.dtype)
    mixed = ops.merge_heads(probs @ ops.split_heads(value, 2))
    assert_close("context", context, mixed, limit=gamma(16, backend.dtype), dtype=backend.dtype)
