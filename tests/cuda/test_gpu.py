"""On a GPU, at real sizes: the float32 rule, the same bits whatever the batch and however often, every size of tile.

Nothing here has a simulator's version; what has is in the other files, which `pytest -m gpu` runs on the GPU too.
"""

import subprocess
import sys

import numpy as np
import pytest
from support import unmeasured
from support.backends import CUDA, NUMPY
from support.cuda import floats
from support.cuda.attention import fused
from support.cuda.matmul import TILES, check, multiply, operands
from support.cuda.published import (
    PUBLISHED,
    REAL_DRAWS,
    REPEATS,
    check_same_bits_alone_in_a_batch_and_again,
    inputs,
    published,
)
from tolerances import SAME_MODEL_FLOAT32

from albert_np import ops
from albert_np.backends.cuda import program as cuda_program
from albert_np.backends.cuda.ops import CudaOps
from albert_np.golden.cases import trained_like
from albert_np.golden.stochastic import draws
from albert_np.golden.tolerances import assert_close, assert_float32_rule
from albert_np.kernels.cuda import matmul as kernels
from albert_np.kernels.cuda.kernel import Kernel
from albert_np.kernels.cuda.run import get, put, run, unwritten
from albert_np.kernels.cuda.target import cuda, f32, u32


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("size", [(1, 16), (2, 130)])
def test_published_sizes(name, size):
    config = published(name)
    tensors = trained_like(config, ("predictions",), 1)
    ids, mask = inputs(config, *size)
    truth, actual = (one.model("AlbertForMaskedLM", config, tensors)(ids, mask).logits for one in (NUMPY, CUDA))
    drawn = NUMPY.draws(lambda model: model(ids, mask).logits, "AlbertForMaskedLM", config, tensors, count=REAL_DRAWS)
    assert_float32_rule(f"{name} {size}", actual, drawn, truth)


@pytest.mark.parametrize("size", [(1, 16), (8, 128), (3, 512)])
def test_the_same_bits_alone_in_a_batch_and_again(size):
    config = published("base", L=12)
    model = CUDA.model("AlbertModel", config, trained_like(config, ("pooler",), 2))
    check_same_bits_alone_in_a_batch_and_again(model, size)


@pytest.mark.parametrize("size", [(1, 16), (8, 128)])
def test_a_graph_gives_the_bits_of_its_launches(size, monkeypatch):
    config = published("base", L=12)
    model = CUDA.model("AlbertModel", config, trained_like(config, ("pooler",), 2))
    several = [inputs(config, *size)[0] for _ in range(2)]
    several[1] = several[1][:, ::-1].copy()
    monkeypatch.setenv("ALBERT_NP_CUDA_GRAPHS", "0")
    expected = [model(ids) for ids in several]
    monkeypatch.delenv("ALBERT_NP_CUDA_GRAPHS")
    model.parameters_to_change()  # the plan goes
    for i in range(2 * REPEATS):
        found = model(several[i % 2], output="device" if i % 3 == 0 else "numpy")
        for key in found:
            assert np.array_equal(np.asarray(found[key]), expected[i % 2][key])
    assert cuda_program._refusals == []
    assert any(plan._graph is not None for plan in model._engine.plans.values())


def test_a_second_process_compiles_nothing(tmp_path):
    code = (
        "import sys, albert_np\n"
        "from albert_np.kernels.cuda import device\n"
        "compiling = device._compile\n"
        "device._compile = lambda kernel: print(kernel.name) or compiling(kernel)\n"
        "model = albert_np.AlbertForPreTraining(albert_np.AlbertConfig(num_hidden_layers=2), seed=0, backend='cuda')\n"
        "print(float(model([[2, 5, 3]]).sop_logits.sum()))"
    )
    first, second = (
        subprocess.run(
            [sys.executable, "-P", "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env=unmeasured() | {"ALBERT_NP_CACHE_DIR": str(tmp_path)},
        ).stdout.split()
        for _ in range(2)
    )
    assert len(first) > 5
    assert second == first[-1:]


def test_a_kernel_may_take_more_shared_memory_than_every_kernel_has():
    def turn(x, out):
        tile = cuda.shared.array(0, f32)
        i = u32(cuda.threadIdx.x)
        for j in range(60):
            tile[u32(j * 256) + i] = x[u32(j * 256) + i]
        cuda.syncthreads()
        for j in range(60):
            out[u32(j * 256) + i] = tile[u32(59 - j) * u32(256) + u32(255) - i]

    x, out = np.arange(60 * 256, dtype=np.float32), unwritten(60 * 256)
    run(Kernel(turn, "FF", 256, shared=x.nbytes), (1,), put(x), out)
    assert np.array_equal(get(out), x[::-1])


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("size", [(1, 768, 768), (129, 770, 1030), (1000, 2304, 768)])
def test_every_tile_at_real_sizes(tile, size):
    a, b, bias, residual = operands(*size)
    actual = multiply(TILES[tile], a, b, bias, residual, "gelu_new")
    check(actual, a, b, bias, residual, "gelu_new")
    assert np.array_equal(multiply(TILES[tile], a, b, bias, residual, "gelu_new", split=True), actual)
    assert np.array_equal(multiply(kernels.SMALL, a, b, bias, residual, "gelu_new"), actual)


@pytest.mark.parametrize(("T", "D"), [(512, 64), (509, 128), (100, 80), (512, 32)])
def test_attention_at_real_sizes(T, D):
    rng, B, N = np.random.default_rng(0), 4, 12
    q, k, v = (floats(rng, B, T, N * D) for _ in range(3))
    allowed = np.arange(T) < np.array([T, T // 2, 1, 77])[:, None]
    actual = fused(q, k, v, N, "keys", allowed)
    given = (q, k, v)

    def function(q, k, v):
        return ops.attention(q, k, v, ops.Attending(allowed[:, None, None], N))[0]

    truth = function(*(x.astype(np.float64) for x in given))
    assert_float32_rule("attention", actual, draws(function, *given, count=REAL_DRAWS), truth)
    for _ in range(REPEATS):
        assert np.array_equal(fused(q, k, v, N, "keys", allowed), actual)
    over_scores = CudaOps().attention(*given, ops.Attending(allowed[:, None, None], N))[0]
    assert_close("two ways", over_scores, truth, limit=SAME_MODEL_FLOAT32, dtype=np.float32)


def test_outputs_on_the_gpu_are_read_in_place_by_others():
    config = published("base")
    model = CUDA.model("AlbertModel", config, trained_like(config, ("pooler",), 3))
    ids, mask = inputs(config, 4, 33)
    expected, kept = model(ids, mask), model(ids, mask, output="device")
    assert np.array_equal(cuda.as_cuda_array(kept.last_hidden_state).copy_to_host(), expected.last_hidden_state)
    torch = pytest.importorskip("torch", reason="a second reader: torch")
    seen = torch.as_tensor(kept.pooler_output, device="cuda")
    assert seen.data_ptr() == kept.pooler_output.__cuda_array_interface__["data"][0]
    assert np.array_equal(seen.cpu().numpy(), expected.pooler_output)


@pytest.mark.parametrize("library", ["torch", "cupy"])
def test_others_take_capsules_and_give_the_memory_back(library):
    """In place, a view of it too; and what they let go of is used again, after their kernels."""
    other = pytest.importorskip(library, reason=f"a library that reads DLPack: {library}")
    config = published("base")
    model = CUDA.model("AlbertModel", config, trained_like(config, ("pooler",), 3))
    ids, mask = inputs(config, 4, 33)
    expected = model(ids, mask).last_hidden_state
    for _ in range(REPEATS):
        kept = model(ids, mask, output="device").last_hidden_state
        memory, address = kept.block.memory, kept.__cuda_array_interface__["data"][0]
        seen, part = other.from_dlpack(kept), other.from_dlpack(kept[1:, ::2])
        assert address == (seen.data_ptr() if library == "torch" else seen.data.ptr)
        del kept
        doubled, halved = 2 * seen, part / 2
        assert memory not in model._engine.ops.pool._free
        del seen, part
        assert memory in model._engine.ops.pool._free
        model(ids, mask, output="device")  # writes there again
        host = (lambda x: x.cpu().numpy()) if library == "torch" else other.asnumpy
        assert np.array_equal(host(doubled), 2 * expected)
        assert np.array_equal(host(halved), expected[1:, ::2] / 2)
    if library == "torch":
        assert np.array_equal(other.from_dlpack(model(ids, mask, output="device").last_hidden_state).cpu(), expected)
