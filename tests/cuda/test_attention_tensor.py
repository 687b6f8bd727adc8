"""Attention on tensor cores against float64, of the bfloat16 numbers that it is given: masks, lengths, head sizes."""

import numpy as np
import pytest
from support.backends import CUDA_TESTS
from support.cuda import floats
from support.cuda.attention import allowed_of
from support.cuda.attention_tensor import check, fused, qkv
from support.cuda.mistakes import differs, mutant, unchanged

from albert_np import ops
from albert_np.kernels.cuda import attention_tensor as kernels


# less than a tile, one key more than a tile, several; a head as wide as its kernel and narrower
@pytest.mark.parametrize("size", [(1, 1, 8), (2, 7, 32), (1, 65, 64), (1, 40, 24), (1, 33, 128), (1, 70, 96)], ids=str)
def test_without_a_mask(size):
    B, T, D = size
    N = 2 if T < 20 else 1
    q, k, v = qkv(B, T, N, D)
    check(fused(q, k, v, N), q, k, v, N, np.ones((B, 1, 1, T), bool))


@pytest.mark.parametrize("D", [32, 64])
def test_no_order_of_threads_and_copies_changes_a_bit(D, schedule):
    q, k, v = qkv(1, 130, 1, D)
    check(fused(q, k, v, 1), q, k, v, 1, np.ones((1, 1, 1, 130), bool))


IN_CI = ("keys", "uniform"), ("pairs", "zeros"), ("keys", "nan")  # the others take as long and differ little
WAYS = [
    pytest.param(mask, mode, marks=[] if (mask, mode) in IN_CI else pytest.mark.slow)
    for mask in ("keys", "pairs")
    for mode in ops.MASK_MODES
]


@pytest.mark.parametrize(("mask", "mode"), WAYS)
def test_masks(mask, mode):
    B, T, N, D = 2, 67, 1, 32
    rng = np.random.default_rng(1)
    (q, k, v), allowed, factors = qkv(B, T, N, D), allowed_of(rng, B, T, mask), floats(rng, N)
    allowed[1, ..., :64] = False  # a whole tile
    broadcast = allowed[:, None, None] if mask == "keys" else allowed[:, None]
    check(fused(q, k, v, N, mask, allowed, mode, factors), q, k, v, N, broadcast, mode, factors)


def test_padding_changes_no_bit(schedule):
    q, k, v = qkv(1, 70, 1, 32)
    alone = fused(q[:, :33], k[:, :33], v[:, :33], 1)
    padded = fused(q, k, v, 1, "keys", np.arange(70)[None] < 33)
    assert np.array_equal(padded[:, :33], alone)


def test_sequences_end_to_end():
    """33 + 4 + 3 rows of three sequences; what lies behind one is another's, and here not a number."""
    q, k, v = qkv(1, 40, 2, 8)
    actual, first = fused(q, k, v, 2, lengths=[33, 4, 3])[0], 0
    for length in (33, 4, 3):
        part = [np.full_like(x, np.nan) for x in (q, k, v)]
        for x, whole in zip(part, (q, k, v), strict=True):
            x[:, :length] = whole[:, first : first + length]
        assert np.array_equal(actual[first : first + length], fused(*part, 2, lengths=[length])[0, :length])
        first += length


def test_scores_far_apart_do_not_overflow():
    q, k, v = qkv(1, 40, 1, 32)
    q *= 32
    check(fused(q, k, v, 1), q, k, v, 1, np.ones((1, 1, 1, 40), bool))


MISTAKES = [
    ("        arrived()\n        cuda.syncthreads()\n", "        cuda.syncthreads()\n"),
    ("        arrived()\n        cuda.syncthreads()\n", "        arrived()\n"),
    ("            arrived()  # this", "            pass  # this"),
    ("            cuda.syncthreads()  # everybody", "            pass  # everybody"),
    ("load_matrices_turned(tile, u32", "load_matrices(tile, u32"),
    ("u32(half ^ u32(1)), k, v", "half, k, v"),
    ("cuda.shfl_xor_sync(ALL, highest, 2)", "highest"),
    ("mixed[j, 2 * r + e] *= factor", "mixed[j, 2 * r + e] *= f32(1)"),
    ("if key >= sight.length:", "if key > sight.length:"),
    ("there = row0 + row < rows.length", "there = True"),
    ("u32(lane // u32(8) % u32(2))", "u32(lane // u32(16))"),
]


def of_mistakes(module):
    return fused(*qkv(1, 70, 1, 32), 1, module=module)


@pytest.mark.parametrize(("old", "new"), MISTAKES)
def test_every_mistake_shows(old, new):
    if CUDA_TESTS != "simulator":
        pytest.skip("the simulator is what must notice")
    assert differs(of_mistakes, mutant(kernels, old, new), unchanged(of_mistakes, kernels))
