"""The simulator itself: it computes what CUDA says, and sees what a GPU would leave to luck. A green kernel means no more."""

import types

import numpy as np
import pytest
from support.cuda import floats

from albert_np.kernels.cuda import attention, matmul, rows, scores, simulator
from albert_np.kernels.cuda.intrinsics import load4, store4
from albert_np.kernels.cuda.kernel import Kernel
from albert_np.kernels.cuda.run import get, put, run, unwritten
from albert_np.kernels.cuda.target import cuda, f32, u32
from albert_np.kernels.cuda.warps import ALL, warp_max, warp_sum

SEEDS = (None, 1, 2, 3, 4)


def outcome(function, x, threads=64, size=64):
    out = unwritten(size)
    run(Kernel(function, "FFu", threads), (1,), put(x), out, len(x))
    return get(out)


# --- what CUDA says -----------------------------------------------------------------------------------------------------


def test_shuffles_and_sums(schedule):
    def exchanges(x, out, n):
        i = u32(cuda.threadIdx.x)
        lane = i % u32(32)
        out[i] = cuda.shfl_xor_sync(ALL, x[i], 5)
        out[u32(64) + i] = cuda.shfl_up_sync(ALL, x[i], 3)
        out[u32(128) + i] = cuda.shfl_down_sync(ALL, x[i], 3)
        out[u32(192) + i] = cuda.shfl_sync(ALL, x[i], 7)
        out[u32(256) + i] = warp_sum(x[i])
        out[u32(320) + i] = warp_max(x[i])
        cuda.syncwarp()
        assert lane < 32

    x, lane = np.arange(64, dtype=np.float32), np.arange(32)
    found = outcome(exchanges, x, size=384).reshape(6, 2, 32)
    for warp, first in ((0, 0), (1, 32)):
        expected = [
            first + (lane ^ 5),
            first + np.where(lane < 3, lane, lane - 3),
            first + np.where(lane > 28, lane, lane + 3),
            np.full(32, first + 7),
            np.full(32, 32 * first + 496),
            np.full(32, first + 31),
        ]
        assert np.array_equal(found[:, warp], expected)


def test_blocks_and_grids(schedule):
    def places(x, out, n):
        i, j = cuda.grid(2)
        out[j * cuda.gridDim.x * cuda.blockDim.x + i] = 100 * cuda.blockIdx.z + 10 * cuda.blockIdx.y + cuda.threadIdx.y

    out = unwritten(6 * 4)
    run(Kernel(places, "FFu", (3, 2)), (2, 2, 1), put([0], np.float32), out, 0)
    assert np.array_equal(get(out).reshape(4, 6), np.repeat([[0], [1], [10], [11]], 6, axis=1))


# --- what it sees -------------------------------------------------------------------------------------------------------


def reverse(barrier, fill=True):
    def kernel(x, out, n):
        shared = cuda.shared.array(64, f32)
        i = u32(cuda.threadIdx.x)
        if fill or i < u32(63):
            shared[i] = x[i]
        if barrier == "all":
            cuda.syncthreads()
        if barrier == "some" and i < u32(40):
            cuda.syncthreads()
        if barrier == "two":
            if i < u32(32):
                cuda.syncthreads()
            else:
                cuda.syncthreads()
        if barrier == "ended" and i == u32(63):
            return
        if barrier == "ended":
            cuda.syncthreads()
        out[i] = shared[u32(63) - i]

    return kernel


def test_a_barrier_that_is_missing_reads_poison(schedule):
    x = np.arange(64, dtype=np.float32)
    assert np.array_equal(outcome(reverse("all"), x), x[::-1])
    assert np.isnan(outcome(reverse("none"), x)).any()
    assert np.isnan(outcome(reverse("all", fill=False), x))[0]


@pytest.mark.parametrize(
    ("barrier", "message"),
    [("some", "ended before"), ("two", "met at different lines"), ("ended", "1 threads ended before")],
)
def test_a_barrier_that_not_all_threads_meet(barrier, message, schedule):
    with pytest.raises(simulator.Divergence, match=message):
        outcome(reverse(barrier), np.arange(64, dtype=np.float32))


@pytest.mark.parametrize("case", ["some", "mask", "absent"])
def test_an_exchange_that_not_all_lanes_meet(case, schedule):
    def kernel(x, out, n):
        i = u32(cuda.threadIdx.x)
        if case == "some" and i != u32(3):
            out[i] = warp_sum(x[i])
        if case == "mask":
            out[i] = cuda.shfl_xor_sync(0xFFFF, x[i], 1)
        if case == "absent" and i < u32(16):
            out[i] = cuda.shfl_xor_sync(0xFFFF, x[i], 16)

    says = {"some": "wait for exchange", "mask": "not in the mask", "absent": "takes no part"}[case]
    with pytest.raises(simulator.Divergence, match=says):
        outcome(kernel, np.arange(64, dtype=np.float32), threads=32)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (lambda x, out, i: out[u32(64) + i], IndexError),
        (lambda x, out, i: x[i - u32(1)], IndexError),
        (lambda x, out, i: x[u32(i - u32(1))], OverflowError),
        (lambda x, out, i: load4(x, i + u32(1))[0], (ValueError, IndexError)),
        (lambda x, out, i: load4(x, u32(64))[0], IndexError),
        (lambda x, out, i: store4(out, u32(2), x[i], x[i], x[i], x[i]) or f32(0), ValueError),
        (lambda x, out, i: x[i] * f32(3e38) * f32(10), FloatingPointError),
    ],
    ids=["behind", "before", "before in 32 bits", "not aligned", "four behind", "stored across", "overflow"],
)
def test_memory_that_is_not_there(body, error):
    def kernel(x, out, n):
        i = u32(cuda.threadIdx.x)
        out[i] = body(x, out, i)

    with pytest.raises(error, match=r"thread .* of block"):
        outcome(kernel, np.ones(64, np.float32))


def test_registers_and_whole_numbers_begin_as_nonsense():
    def kernel(x, out, n):
        local, whole = cuda.local.array(2, f32), cuda.shared.array(2, np.int32)
        out[u32(cuda.threadIdx.x)] = local[0] + f32(0)
        out[u32(64)] = whole[0]

    found = outcome(kernel, np.ones(64, np.float32), size=65)
    assert np.isnan(found[:64]).all()
    assert found[64] == np.float32(0x7F7F7F7F)


def test_memory_is_given_back_poisoned_and_counted():
    memory = put(np.arange(3.0), np.float32).memory
    assert get(unwritten(2)).tolist() != [0, 0]
    assert memory.nbytes == 12


# --- mutants of the kernels that are shipped --------------------------------------------------------------------------


def mutant(module, old, new, number):
    """The module with one place of its source changed, and how many there are."""
    with open(module.__file__) as file:
        pieces = file.read().split(old)
    source = old.join(pieces[: number + 1]) + new + old.join(pieces[number + 1 :])
    changed = types.ModuleType(module.__name__)
    changed.__file__ = module.__file__
    exec(compile(source, module.__file__, "exec"), changed.__dict__)
    return changed


def places(module, old):
    with open(module.__file__) as file:
        return file.read().count(old)


def run_tiled(module):
    rng = np.random.default_rng(0)
    a, b, bias, out = floats(rng, 16, 40), floats(rng, 40, 16), floats(rng, 16), unwritten(16, 16)
    run(module.tiled_matmul, (1, 1), put(a), put(b), put(bias), out, 16, 16, 40)
    return get(out)


def run_matmul(module):
    rng = np.random.default_rng(0)
    a, b, bias, out = floats(rng, 32, 44), floats(rng, 44, 32), floats(rng, 32), unwritten(32, 32)
    run(module.matmul(module.SMALL), (1, 1), put(a), 44, put(b), 32, put(bias), None, 0, out, 32, 32, 32, 44)
    return get(out)


def run_attention(module):
    rng = np.random.default_rng(0)
    x, out = floats(rng, 40, 3 * 8), unwritten(40, 8)
    q = put(x)
    arguments = (q, q.behind(8), q.behind(16), 24, out, 8, put([0, 40], np.int32), None, None, 40, 0.3, 0)
    run(module.attention(8, "none", False), (2, 1, 1), *arguments)
    return get(out)


def run_scores(module):
    rng = np.random.default_rng(0)
    a, b, out = floats(rng, 16, 40), floats(rng, 40, 16), unwritten(16, 16)
    run(module.heads_matmul, (1, 1, 1), put(a), 40, 1, 0, 0, put(b), 16, 1, 0, 0, out, 16, 0, 0, 1, 16, 16, 40, 1.0)
    return get(out)


def run_layer_norm(module):
    """A row of two warps, normalised by the mutant's device functions."""
    H = 1040
    row = module.row_of(H)

    def kernel(x, out, n):
        values = cuda.local.array(row.values, f32)
        lane = u32(cuda.threadIdx.x)
        row.load(values, x, u32(0), lane)
        row.normalise(values, x, x, out, u32(0), lane, f32(1e-12))

    rng = np.random.default_rng(0)
    return outcome(kernel, floats(rng, H) + np.float32(3), threads=row.threads, size=H)


BARRIER = "cuda.syncthreads()"
RUNS = {
    "matmul": (matmul, {0: run_tiled, 1: run_tiled, 2: run_matmul, 3: run_matmul}),
    "attention": (attention, dict.fromkeys(range(3), run_attention)),
    "scores": (scores, dict.fromkeys(range(2), run_scores)),
    "rows": (rows, dict.fromkeys(range(2), run_layer_norm)),
}


def differs(runs, module, expected):
    """Whether some order of the threads shows it."""
    for seed in SEEDS:
        simulator.order(seed)
        try:
            if not np.array_equal(runs(module), expected):
                return True
        except (simulator.Divergence, IndexError, ArithmeticError):
            return True
    return False


@pytest.mark.parametrize(("name", "number"), [(name, i) for name, (_, runs) in RUNS.items() for i in runs])
def test_every_barrier_that_is_taken_away_is_missed(name, number):
    module, runs = RUNS[name]
    assert places(module, BARRIER) == len(runs)
    expected = runs[number](module)
    assert np.isfinite(expected).all()
    assert not differs(runs[number], module, expected)  # no order of threads changes a bit of the true one
    assert differs(runs[number], mutant(module, BARRIER, "pass", number), expected)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("matmul", "u32(half ^ u32(1))", "u32(half)"),  # one half of shared memory for both tiles
        ("matmul", "return self.rows + 4", "return self.rows - 4"),
        ("matmul", "if row < M and k < K:", "if row < M:"),
        ("matmul", "if k % u32(CHUNK) == u32(0) or k >= end:", "if k % u32(CHUNK) == u32(0):"),
        ("attention", "reduce_max(highest)", "highest"),
        ("attention", "mixed[i, j] *= factor", "mixed[i, j] *= f32(1)"),
        ("attention", "if key >= length:", "if key > length:"),
        ("attention", "first + query < length", "True"),
        ("rows", "if WHOLE or column < u32(H):", "if True:"),
    ],
)
def test_other_mistakes_show_too(name, old, new):
    module, runs = RUNS[name]
    last = runs[max(runs)]
    assert places(module, old) >= 1
    expected = last(module)
    assert differs(last, mutant(module, old, new, 0), expected)
