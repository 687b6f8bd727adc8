"""Softmax over the keys that a query may attend to, where probabilities are asked for; attention.py needs none of it.

The naive version, naive_softmax below: one thread a row, which reads it three times, its neighbours T numbers further on.

The ladder is that of layer_norm.py: a warp a row, 16 bytes a load where T is a multiple of 4, and the row in registers. Rows
of more than LONGEST numbers are read three times, by a warp, from the second cache. Rows of 512 move 4.2 TB/s on an H200,
as much as a copy.

The mask is what the reference adds: a key that may not be seen scores the lowest finite number, whose exponential is 0 beside
any other, and the same as all others where none may be seen.
"""

from __future__ import annotations

import math
from functools import lru_cache

from albert_np.kernels.cuda.intrinsics import exp, load4, store4
from albert_np.kernels.cuda.kernel import Kernel, ceil_div
from albert_np.kernels.cuda.target import cuda, device, f32, u32
from albert_np.kernels.cuda.warps import warp_max, warp_sum

LOWEST = -3.4028234663852886e38
INFINITY = math.inf
LONGEST = 2048
ROWS = 4  # a block, a warp each
ZEROS, NAN = 1, 2  # codes of mask modes: their places in ops.MASK_MODES


def _naive(scores, allowed, out, rows, N, T):  # (B,N,T,T), (B,T) uint8 -> (B,N,T,T); a thread a row
    r = cuda.grid(1)
    if r < rows:
        b = r // (N * T)
        top = f32(-INFINITY)
        for j in range(T):
            top = max(top, scores[r * T + j] if allowed[b * T + j] else f32(LOWEST))
        total = f32(0)
        for j in range(T):
            total += exp((scores[r * T + j] if allowed[b * T + j] else f32(LOWEST)) - top)
        for j in range(T):
            out[r * T + j] = exp((scores[r * T + j] if allowed[b * T + j] else f32(LOWEST)) - top) / total


naive_softmax = Kernel(_naive, "FBFiii", 128)


@device
def finish(top, total, factor, mode):
    """What each exponential is multiplied by."""
    if top == f32(LOWEST):
        if mode == u32(ZEROS):
            factor = f32(0)
        if mode == u32(NAN):
            factor = f32(math.nan)
    return factor / total


def softmax(T: int, mask: str, factors: bool) -> Kernel:
    """mask: "keys" (B,T) or "pairs" (B,T,T). factors: one a head, by which the probabilities are multiplied."""
    if T > LONGEST:
        return _long_softmax(mask, factors)
    vector = 4 if T % 4 == 0 else 1
    groups = ceil_div(T, 32 * vector)
    return _softmax(1 << (groups - 1).bit_length(), vector, mask, factors)  # few lengths make few kernels


@lru_cache
def _softmax(GROUPS: int, VECTOR: int, mask: str, factors: bool) -> Kernel:
    PAIRS, FACTORS, VALUES = mask == "pairs", factors, GROUPS * VECTOR

    def softmax(scores, allowed, head_mask, out, rows, N, T, mode):
        # (B,N,T,T), (B,T) or (B,T,T) uint8, (N,) -> (B,N,T,T); out may be scores
        values = cuda.local.array(VALUES, f32)
        lane = u32(cuda.threadIdx.x) % u32(32)
        r = u32(cuda.blockIdx.x) * u32(ROWS) + u32(cuda.threadIdx.x) // u32(32)
        if r >= rows:
            return
        b = r // (N * T)
        see = ((b * T + r % T) if PAIRS else b) * T
        top = f32(-INFINITY)
        for i in range(GROUPS):
            column = (lane + u32(i * 32)) * u32(VECTOR)
            for e in range(VECTOR):
                values[i * VECTOR + e] = f32(-INFINITY)
            if column < T:
                if VECTOR == 4:
                    v = load4(scores, r * T + column)
                    for e in range(4):
                        values[i * 4 + e] = v[e] if allowed[see + column + u32(e)] else f32(LOWEST)
                else:
                    values[i] = scores[r * T + column] if allowed[see + column] else f32(LOWEST)
            for e in range(VECTOR):
                top = max(top, values[i * VECTOR + e])
        top = warp_max(top)
        total = f32(0)
        for i in range(VALUES):
            values[i] = exp(values[i] - top)
            total += values[i]
        factor = finish(top, warp_sum(total), head_mask[r // T % N] if FACTORS else f32(1), mode)
        for i in range(GROUPS):
            column = (lane + u32(i * 32)) * u32(VECTOR)
            if column < T:
                if VECTOR == 4:
                    a, c, d, e = values[i * 4], values[i * 4 + 1], values[i * 4 + 2], values[i * 4 + 3]
                    store4(out, r * T + column, a * factor, c * factor, d * factor, e * factor)
                else:
                    out[r * T + column] = values[i] * factor

    return Kernel(softmax, "FBFFuuuu", 32 * ROWS)


@lru_cache
def _long_softmax(mask: str, factors: bool) -> Kernel:
    PAIRS, FACTORS = mask == "pairs", factors

    @device
    def score(scores, allowed, at, see):
        return scores[at] if allowed[see] else f32(LOWEST)

    def long_softmax(scores, allowed, head_mask, out, rows, N, T, mode):
        # (B,N,T,T), (B,T) or (B,T,T) uint8, (N,) -> (B,N,T,T); out may be scores
        lane = u32(cuda.threadIdx.x) % u32(32)
        r = u32(cuda.blockIdx.x) * u32(ROWS) + u32(cuda.threadIdx.x) // u32(32)
        if r >= rows:
            return
        b = r // (N * T)
        see = ((b * T + r % T) if PAIRS else b) * T
        top = f32(-INFINITY)
        column = lane
        while column < T:
            top = max(top, score(scores, allowed, r * T + column, see + column))
            column = u32(column + u32(32))
        top = warp_max(top)
        total = f32(0)
        column = lane
        while column < T:
            total += exp(score(scores, allowed, r * T + column, see + column) - top)
            column = u32(column + u32(32))
        factor = finish(top, warp_sum(total), head_mask[r // T % N] if FACTORS else f32(1), mode)
        column = lane
        while column < T:
            out[r * T + column] = exp(score(scores, allowed, r * T + column, see + column) - top) * factor
            column = u32(column + u32(32))

    return Kernel(long_softmax, "FBFFuuuu", 32 * ROWS)
