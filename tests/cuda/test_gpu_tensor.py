"""Tensor cores on a GPU, at real sizes: sums within what is derived, the same bits for every tile, batch and repetition.

What the simulator's mma takes for granted, fragments, copies and what is cut off, shows here first.
"""

from functools import partial

import numpy as np
import pytest
from support.backends import NUMPY
from support.cuda import attention_tensor as attention
from support.cuda.attention_tensor import fused, qkv
from support.cuda.matmul_tensor import KINDS, check, multiply, operands
from support.cuda.models_tensor import RoundedOps, on_tensor_cores
from support.cuda.published import (
    PUBLISHED,
    REAL_DRAWS,
    REPEATS,
    check_same_bits_alone_in_a_batch_and_again,
    inputs,
    published,
)

from albert_np.golden.cases import trained_like
from albert_np.golden.tolerances import assert_float32_rule
from albert_np.kernels.cuda import tensor_tiles as tiles

TILES = [(kind, tile) for kind in KINDS for tile in tiles.TILES[kind]]


@pytest.mark.parametrize(("kind", "tile"), TILES, ids=lambda x: str(getattr(x, "rows", x)))
@pytest.mark.parametrize("size", [(1, 768, 768), (129, 770, 1030), (1000, 2304, 768), (300, 768, 3072)])
def test_every_tile_at_real_sizes(kind, tile, size):
    a, w, bias, residual = operands(*size)
    actual = multiply(kind, tile, a, w, bias, residual, "gelu_new")
    check(actual, kind, a, w, bias, residual, "gelu_new")
    assert np.array_equal(multiply(kind, tiles.SMALL, a, w, bias, residual, "gelu_new"), actual)
    for _ in range(REPEATS):
        assert np.array_equal(multiply(kind, tile, a, w, bias, residual, "gelu_new"), actual)


@pytest.mark.parametrize(("T", "D"), [(512, 64), (509, 128), (100, 80), (512, 32)])
def test_attention_at_real_sizes(T, D):
    B, N = 4, 12
    q, k, v = qkv(B, T, N, D)
    allowed = np.arange(T) < np.array([T, T // 2, 1, 77])[:, None]
    actual = fused(q, k, v, N, "keys", allowed)
    attention.check(actual, q, k, v, N, allowed[:, None, None])
    for _ in range(REPEATS):
        assert np.array_equal(fused(q, k, v, N, "keys", allowed), actual)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes(kind, name):
    """By float32's rule: its draws round the same operands."""
    config = published(name)
    tensors = trained_like(config, ("predictions",), 1)
    ids, mask = inputs(config, 2, 130)
    table = partial(RoundedOps, kind, kind == "bfloat16")
    drawn = NUMPY.draws(
        lambda model: model(ids, mask).logits, "AlbertForMaskedLM", config, tensors, count=REAL_DRAWS, table=table
    )
    truth = NUMPY.model("AlbertForMaskedLM", config, tensors)(ids, mask).logits
    actual = on_tensor_cores(kind, "AlbertForMaskedLM", config, tensors)(ids, mask).logits
    assert_float32_rule(f"{name} in {kind}", actual, drawn, truth)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(1, 16), (8, 128), (3, 512)])
def test_the_same_bits_alone_in_a_batch_and_again(kind, size):
    config = published("base", L=12)
    model = on_tensor_cores(kind, "AlbertModel", config, trained_like(config, ("pooler",), 2))
    check_same_bits_alone_in_a_batch_and_again(model, size)
