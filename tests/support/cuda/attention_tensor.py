"""Attention on tensor cores, and what it is held against."""

import math

import numpy as np
from tolerances import tensor_attention_limit

from albert_np import ops
from albert_np.backends.cuda.precision import bfloat16_of, float32_of
from albert_np.golden.tolerances import assert_close
from albert_np.kernels.cuda import attention_tensor as kernels
from albert_np.kernels.cuda.kernel import ceil_div
from albert_np.kernels.cuda.run import get, put, run
from support.cuda import floats


def qkv(B, T, N, D, seed=0):
    rng = np.random.default_rng(seed)
    return [float32_of(bfloat16_of(floats(rng, B, T, N * D))) for _ in range(3)]


def fused(q, k, v, N, mask="none", allowed=None, mode="uniform", factors=None, lengths=None, module=kernels):
    """On the kernel; q, k and v side by side in rows, as the engine has them. lengths: of sequences end to end."""
    B, T, H = q.shape
    D = H // N
    rows = bfloat16_of(np.concatenate([q, k, v], axis=2).reshape(-1, 3 * H))
    lengths = [T] * B if lengths is None else lengths
    starts = np.concatenate([[0], np.cumsum(lengths)])
    x, out = put(rows), put(np.full((len(rows), H), 0x7FC0, np.uint16))
    run(
        module.tensor_attention(D, mask, factors is not None),
        (ceil_div(max(lengths), kernels.QUERIES), N, len(lengths)),
        x,
        x.behind(H),
        x.behind(2 * H),
        3 * H,
        out,
        H,
        put(starts, np.int32),
        None if allowed is None else put(allowed, np.uint8),
        None if factors is None else put(factors),
        T,
        1 / math.sqrt(D),
        ops.MASK_MODES.index(mode),
    )
    return float32_of(get(out)).reshape(B, T, H)


def check(actual, q, k, v, N, allowed, mode="uniform", factors=None):
    given = [x.astype(np.float64) for x in (q, k, v)]
    factors = None if factors is None else factors.astype(np.float64)
    options = {"mask_mode": mode, "head_mask": factors}
    truth = ops.attention(*given, ops.Attending(allowed, N, **options))[0]
    numbers = ~np.isnan(truth)
    assert np.array_equal(np.isnan(actual), ~numbers)
    q, k, v = map(np.abs, given)
    _, scores, _ = ops.attention(q, k, v, ops.Attending(np.ones_like(allowed), N))
    mixed = ops.attention(given[0], given[1], v, ops.Attending(allowed, N, **options))[0]
    limit = tensor_attention_limit(scores, np.abs(mixed[numbers]), truth[numbers])
    assert_close("attention", actual[numbers], truth[numbers], limit=limit, dtype=np.float32)
