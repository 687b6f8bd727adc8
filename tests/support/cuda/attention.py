"""Attention on its fused kernel, and masks for it."""

import math

import numpy as np

from albert_np.kernels.cuda import attention as kernels
from albert_np.kernels.cuda.kernel import ceil_div
from albert_np.kernels.cuda.run import get, put, run, unwritten
from albert_np.ops import MASK_MODES
from support.cuda import floats


def qkv(B, T, N, D, seed=0):
    rng = np.random.default_rng(seed)
    return [floats(rng, B, T, N * D) for _ in range(3)]


def fused(q, k, v, N, mask="none", allowed=None, mode="uniform", factors=None, lengths=None):
    """On the kernel; q, k and v side by side in rows, as the engine has them. lengths: of sequences end to end."""
    B, T, H = q.shape
    D = H // N
    rows = np.concatenate([q, k, v], axis=2).reshape(-1, 3 * H)
    lengths = [T] * B if lengths is None else lengths
    starts = np.concatenate([[0], np.cumsum(lengths)])
    x, out = put(rows), unwritten(len(rows), H)
    run(
        kernels.attention(D, mask, factors is not None),
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
        MASK_MODES.index(mode),
    )
    return get(out).reshape(B, T, H)


def allowed_of(rng, B, T, mask):
    """A sequence, or a query, that sees nothing; and one whose first tile of keys is hidden."""
    shape = (B, T) if mask == "keys" else (B, T, T)
    allowed = rng.random(shape) < 0.6
    allowed[0] = False
    allowed[1, ..., :33] = False
    allowed[1, ..., -1] = True
    return allowed
