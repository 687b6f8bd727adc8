"""Products of int8 on the CPU's kernels: the bits of the emulation, on each unit that this machine has, at every edge."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import int8, needs, same_bits
from support.int8 import codes, emulated, machine, same
from support.same_bits import ROWS, answers, call, printed, sequence
from tolerances import INT8_CODE, INT8_PRODUCT

from albert_np import AlbertModel, num_threads
from albert_np.backends.cpu.ops import CpuOps
from albert_np.kernels.cpu import simd
from albert_np.kernels.cpu.int8 import emulation, steps
from albert_np.quantized import QuantizedWeight

needs.module("numba", "numba")


def one_product(rng, R, K, N):
    """x, codes, scale, passes and bias."""
    scale = rng.uniform(0.001, 0.01, N).astype(np.float32)
    return (
        int8.rows(rng, R, K),
        codes(rng, N, K),
        scale,
        int(rng.integers(1, 3)),
        rng.standard_normal(N).astype(np.float32),
    )


# --- the emulation: what is true by definition ------------------------------------------------------------------------------


@pytest.mark.parametrize("passes", [1, 2])
def test_codes_are_near_what_they_stand_for_and_zero_is_one_exactly(passes):
    x = int8.rows(np.random.default_rng(passes), 500, 60)
    x[:, 7] = 0
    found = emulation.quantised(x, passes)
    top = emulation.TOPS[passes]
    assert found.codes.min() == 0
    assert found.codes.max() == top
    values = (found.codes - found.zeros[:, None]) * found.scales.astype(np.float64)[:, None]
    assert np.all(values[:, 7] == 0)
    assert np.all(np.abs(values - x) <= INT8_CODE * found.scales[:, None])


def test_ties_go_to_even_and_a_whole_range_has_all_codes():
    x = np.array([[0.5, 1.5, 2.5, 254.5, 255, 0]], np.float32)
    found = emulation.quantised(x, 1)
    assert (found.scales.tolist(), found.zeros.tolist()) == ([1.0], [0])
    assert found.codes.tolist() == [[0, 2, 2, 254, 255, 0]]
    found = emulation.quantised(np.arange(-32768, 32768, dtype=np.float32)[None], 2)
    assert found.zeros.tolist() == [32768]
    assert found.codes.tolist() == [list(range(65536))]


@pytest.mark.parametrize("passes", [1, 2])
def test_a_product_is_near_that_of_the_numbers_that_were_rounded(passes):
    rng = np.random.default_rng(passes)
    x, weight, scale, _, bias = one_product(rng, 40, 300, 50)
    values = weight * scale.astype(np.float64)[:, None]
    far = np.abs(emulation.linear(x, weight, scale, passes, bias) - (x.astype(np.float64) @ values.T + bias))
    rows = emulation.quantised(x, passes)
    size = np.abs(rows.codes - rows.zeros[:, None]) @ np.abs(values.T)  # in units of the row's scale
    bound = INT8_CODE * np.abs(values).sum(axis=1) + INT8_PRODUCT * size
    assert np.all(far <= bound * rows.scales[:, None] + INT8_PRODUCT * (np.abs(bias) + far))


# --- the kernels ------------------------------------------------------------------------------------------------------------


def test_products_have_the_bits_of_the_emulation():
    int8.many(seed=1, least=300_000)
    int8.extremes()


@pytest.mark.parametrize("rung", ["amx", "avx512", "avxvnni", "avx2", "sse", "plain"])
def test_every_unit_has_the_same_bits(rung):
    """Tiles are emulated: tile_emulation.py does what each of their instructions does."""
    emulated_tiles = {"ALBERT_NP_TILES": "emulated"} if rung == "amx" and "avx512" in simd.available() else {}
    if rung not in simd.available() and not emulated_tiles:
        pytest.skip(f"this CPU has {', '.join(simd.available())}")
    code = """
from albert_np.kernels.cpu import native, units
native.BESIDE.clear()  # only these products: the other kernels need not be compiled
from support import int8
print(*units.int8(), int8.many(), int8.extremes())
"""
    unit, name, *digests = printed(code, ALBERT_NP_SIMD=rung, **emulated_tiles)
    assert (unit, name) == ({"amx": "tiles", "avxvnni": "fours"}.get(rung, "words"), rung)
    assert digests == [int8.many(), int8.extremes()]


@settings(deadline=None, max_examples=150)
@given(st.integers(1, 70), st.integers(1, 200), st.integers(1, 70), st.integers(1, 8), st.integers(0, 1000))
def test_products_of_any_size_on_any_threads(R, K, N, threads, seed):
    given_ = one_product(np.random.default_rng(seed), R, K, N)
    with num_threads(threads):
        assert same(machine(*given_), emulated(*given_))


@pytest.mark.parametrize("K", [1, 63, 64, 65, 767, 768, 769, 1600])
def test_products_longer_than_what_is_computed_at_once(K):
    rng = np.random.default_rng(K)
    for R, N in ((1, 300), (7, 33), (16, 100), (63, 16), (64, 17), (65, 31), (129, 48), (300, 20)):
        given_ = one_product(rng, R, K, N)
        with num_threads(3):
            assert same(machine(*given_), emulated(*given_)), (R, N)


@pytest.mark.parametrize("activation", ["gelu_new", "gelu", "relu", "silu", "tanh"])
def test_what_follows_the_sums(activation):
    rng = np.random.default_rng(0)
    given_ = one_product(rng, 21, 100, 50)
    residual = rng.standard_normal((21, 50)).astype(np.float32)
    for more in ({"activation": activation}, {"residual": residual}, {"activation": activation, "residual": residual}):
        assert same(machine(*given_, **more), emulated(*given_, **more))


@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_gives_nan_and_its_neighbours_what_they_give_without_it(bad, passes):
    rng = np.random.default_rng(0)
    x, weight, scale, _, bias = one_product(rng, 19, 70, 40)
    clean = machine(x, weight, scale, passes, bias)
    for place in (0, 15, 16, 69):
        spoilt = x.copy()
        spoilt[[3, 18], place] = bad
        found = machine(spoilt, weight, scale, passes, bias)
        assert np.isnan(found[[3, 18]]).all()
        others = np.delete(np.arange(19), [3, 18])
        assert np.array_equal(found[others], clean[others])


@pytest.mark.parametrize("passes", [1, 2])
def test_rows_of_zeros_give_the_bias(passes):
    _, weight, scale, _, bias = one_product(np.random.default_rng(0), 1, 100, 40)
    zeros = np.zeros((5, 100), np.float32)
    zeros[2:] = -0.0
    assert np.array_equal(machine(zeros, weight, scale, passes, bias), np.tile(bias, (5, 1)))


@pytest.mark.parametrize("passes", [1, 2])
def test_a_row_has_the_same_bits_in_any_batch_on_any_threads(passes):
    rng = np.random.default_rng(0)
    x, weight, scale, _, bias = one_product(rng, 300, 400, 200)
    alone = np.concatenate([machine(row[None], weight, scale, passes, bias) for row in x])
    for threads in (1, 2, 3, 8):
        with num_threads(threads):
            for size in (2, 9, 65, 300):
                parts = [machine(x[i : i + size], weight, scale, passes, bias) for i in range(0, 300, size)]
                assert same(np.concatenate(parts), alone)


def test_sums_that_could_overflow_are_refused():
    with pytest.raises(ValueError, match="sum up to 65536 numbers exactly; this weight has rows of 65537"):
        steps.pack8(np.zeros((1, 65537), np.int8), np.ones(1, np.float32), 1)


# --- whole models -----------------------------------------------------------------------------------------------------------


def calls():
    """Calls of a model with heads of 16: padding, masks of all kinds, and heads that are left out."""
    rng = np.random.default_rng(0)
    plain = call(ROWS, padding=2)
    B, T = plain["input_ids"].shape
    pairs = rng.random((B, T, T)) < 0.7
    return {
        "padded": plain,
        "a mask of zeros": plain | {"mask_mode": "zeros"},
        "pairs": plain | {"attention_mask": pairs.astype(np.int64)},
        "a head mask": plain | {"head_mask": rng.random((2, 3)).astype(np.float32)},
        "embeddings": {"inputs_embeds": rng.standard_normal((2, 9, 12)).astype(np.float32)},
    }


@pytest.mark.parametrize(
    ("name", "more_passes"), [*((name, False) for name in same_bits.CONFIGS), ("heads of 20", True)]
)
def test_models_have_the_bits_of_an_emulated_encoder(name, more_passes):
    of = int8.model(name, more_passes)
    for options in (call(ROWS, padding=3), call(ROWS) | {"skip_padding": True}):
        found, expected = (m(**options, output_hidden_states=True) for m in (of, int8.emulated_model(of)))
        for x, y in zip(found.hidden_states, expected.hidden_states, strict=True):
            assert np.array_equal(x, y)
        assert np.array_equal(found.pooler_output, expected.pooler_output)


@pytest.mark.parametrize("name", list(calls()))
def test_calls_have_the_bits_of_an_emulated_encoder(name):
    of, options = int8.model(), calls()[name]
    found, expected = (m(**options, output_attentions=True) for m in (of, int8.emulated_model(of)))
    assert np.array_equal(found.last_hidden_state, expected.last_hidden_state)
    for x, y in zip(found.attentions, expected.attentions, strict=True):
        assert np.array_equal(x, y)


def test_a_trace_is_that_of_an_emulated_encoder():
    of, options = int8.model(), call(ROWS, padding=2)
    found, expected = (m(**options, trace=True).trace for m in (of, int8.emulated_model(of)))
    assert set(found) < set(expected)
    assert any("full_layer_layer_norm" in name for name in found)
    for name, x in found.items():
        assert np.array_equal(x, expected[name]), name


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from([1, 2, 15, 16, 17, 33, 64])), min_size=1, max_size=5),
    st.data(),
)
def test_a_sequence_has_the_same_bits_in_any_batch(drawn, data):
    of = int8.model(data.draw(st.sampled_from(["heads of 16", "heads of 20", "relative positions"])))
    rows = [sequence(seed, length) for seed, length in drawn]
    with num_threads(1):
        alone = [answers(of, [row])[0] for row in rows]
    with num_threads(data.draw(st.integers(1, 8))):
        options = {"padding": data.draw(st.integers(0, 9)), "skip_padding": data.draw(st.booleans())}
        assert answers(of, rows, **options) == alone


@pytest.mark.parametrize("bad", [np.nan, np.inf, 3e38])
def test_a_token_that_is_not_finite_stays_in_its_sequence(bad):
    of = int8.model()
    tensors = dict(of._tensors)
    (table,) = (name for name in tensors if name.endswith("word_embeddings.weight"))
    tensors[table] = tensors[table].copy()
    tensors[table][7] = bad
    spoilt = AlbertModel(of.config, backend="numba", dtype="int8", tensors=tensors)
    rows = np.where((ids := call(ROWS[:1] * 3)["input_ids"]) == 7, 8, ids)
    clean = of(rows).last_hidden_state
    rows[1, 4] = 7
    found = spoilt(rows).last_hidden_state
    assert np.isnan(found[1]).all()
    assert np.array_equal(found[[0, 2]], clean[[0, 2]])


def test_threads_python_threads_and_forks_give_the_same_bits():
    code = """
from support import int8
from support.same_bits import in_fork, in_threads
for n in (1, 2, 3, 8): print(int8.one(n))
print(*in_threads(4, int8.one), in_fork(int8.one), int8.one())
"""
    assert set(printed(code, NUMBA_NUM_THREADS="8")) == {int8.one(threads=1)}


def test_buffers_of_a_larger_call_leave_nothing_behind():
    of, small = int8.model(), call(ROWS[1:2])
    expected = of(**small).last_hidden_state
    of(**call(ROWS, padding=3))
    for buffers in of._engine.ops.arena._free:
        for memory in buffers._memory.values():
            memory[:] = np.nan
    assert np.array_equal(of(**small).last_hidden_state, expected)


def test_what_int8_does_not_compute_is_refused_in_words():
    of = int8.model()
    for options in ({"training": True, "seed": 0}, {"trace": "unfused"}):
        with pytest.raises(ValueError, match=r"int8.*load it with dtype='float32'"):
            of([[1, 2, 3]], **options)


def test_weights_that_read_the_same_rows_must_round_them_alike():
    one, other = (QuantizedWeight(np.ones((16, 8), np.int8), np.ones(16, np.float32), passes) for passes in (1, 2))
    bias = np.zeros(16, np.float32)
    with pytest.raises(ValueError, match=r"the same passes; got \[1, 2\]"):
        CpuOps().packed8((one, other), (bias, bias))
