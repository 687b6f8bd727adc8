"""A row of H numbers in the registers of one warp, or of several: what LayerNorm and the embedding are made of.

Lane l holds the groups l, l + lanes, l + 2·lanes … of VECTOR numbers, so that a warp reads 512 bytes that lie together. H is
known when the kernel is compiled: then every register has a number, and a row that fills its lanes needs no test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from albert_np.kernels.cuda.intrinsics import load4_constant, sqrt, store4
from albert_np.kernels.cuda.kernel import ceil_div
from albert_np.kernels.cuda.target import cuda, device, f32, u32
from albert_np.kernels.cuda.tensor_intrinsics import store4_rounded, store_rounded
from albert_np.kernels.cuda.warps import warp_sum

MOST = 32  # numbers a lane shall hold: more registers than this leave too few warps on an SM to hide memory behind


@dataclass(frozen=True)
class Row:
    lanes: int  # that share a row
    rows_a_block: int
    values: int  # numbers a lane holds
    load: Callable[..., Any]
    add: Callable[..., Any]
    normalise: Callable[..., Any]
    store_rounded: Callable[..., Any]

    @property
    def threads(self) -> int:
        return self.lanes * self.rows_a_block


@lru_cache
def row_of(H: int) -> Row:
    VECTOR = 4 if H % 4 == 0 else 1
    WARPS = 1
    while H > 32 * WARPS * MOST and WARPS < 32:
        WARPS *= 2
    LANES = 32 * WARPS
    GROUPS = ceil_div(H, LANES * VECTOR)
    WHOLE = H % (LANES * VECTOR) == 0  # every lane has all its groups

    @device
    def total(x):
        """Over all lanes of the row. A row of several warps has its block to itself."""
        x = warp_sum(x)
        if WARPS > 1:
            sums = cuda.shared.array(WARPS, f32)
            warp = u32(cuda.threadIdx.x) // u32(32)
            if u32(cuda.threadIdx.x) % u32(32) == u32(0):
                sums[warp] = x
            cuda.syncthreads()
            x = f32(0)
            for i in range(WARPS):
                x += sums[i]
            cuda.syncthreads()  # the next sum takes the same place
        return x

    @device
    def load(values, x, base, lane):  # x[base … base + H) -> registers, 0 behind the end
        for i in range(GROUPS):
            column = (lane + u32(i * LANES)) * u32(VECTOR)
            for e in range(VECTOR):
                values[i * VECTOR + e] = f32(0)
            if WHOLE or column < u32(H):
                if VECTOR == 4:
                    a, b, c, d = load4_constant(x, base + column)
                    values[i * 4] = a
                    values[i * 4 + 1] = b
                    values[i * 4 + 2] = c
                    values[i * 4 + 3] = d
                else:
                    values[i] = x[base + column]

    @device
    def add(values, x, base, lane):  # registers += x[base … base + H)
        for i in range(GROUPS):
            column = (lane + u32(i * LANES)) * u32(VECTOR)
            if WHOLE or column < u32(H):
                if VECTOR == 4:
                    a, b, c, d = load4_constant(x, base + column)
                    values[i * 4] += a
                    values[i * 4 + 1] += b
                    values[i * 4 + 2] += c
                    values[i * 4 + 3] += d
                else:
                    values[i] += x[base + column]

    @device
    def normalise(  # registers, (H,), (H,) -> them, and out[base … base + H)
        values, weight, bias, out, base, lane, eps
    ):
        x = f32(0)
        for i in range(GROUPS * VECTOR):
            x += values[i]
        mean = total(x) / f32(H)
        x = f32(0)
        for i in range(GROUPS):
            if WHOLE or (lane + u32(i * LANES)) * u32(VECTOR) < u32(H):
                for e in range(VECTOR):
                    centred = values[i * VECTOR + e] - mean
                    values[i * VECTOR + e] = centred
                    x += centred * centred
        inverse = f32(1) / sqrt(total(x) / f32(H) + eps)
        for i in range(GROUPS):
            column = (lane + u32(i * LANES)) * u32(VECTOR)
            if WHOLE or column < u32(H):
                if VECTOR == 4:
                    w, x, y, z = load4_constant(weight, column)
                    a, b, c, d = load4_constant(bias, column)
                    values[i * 4] = values[i * 4] * inverse * w + a
                    values[i * 4 + 1] = values[i * 4 + 1] * inverse * x + b
                    values[i * 4 + 2] = values[i * 4 + 2] * inverse * y + c
                    values[i * 4 + 3] = values[i * 4 + 3] * inverse * z + d
                    store4(out, base + column, values[i * 4], values[i * 4 + 1], values[i * 4 + 2], values[i * 4 + 3])
                else:
                    values[i] = values[i] * inverse * weight[column] + bias[column]
                    out[base + column] = values[i]

    @device
    def store_in_bfloat16(values, out, base, lane):  # registers -> out[base … base + H); base is a multiple of 4
        for i in range(GROUPS):
            column = (lane + u32(i * LANES)) * u32(VECTOR)
            if WHOLE or column < u32(H):
                if VECTOR == 4:
                    store4_rounded(
                        out, base + column, values[i * 4], values[i * 4 + 1], values[i * 4 + 2], values[i * 4 + 3]
                    )
                else:
                    store_rounded(out, base + column, values[i])

    rows_a_block = 4 if WARPS == 1 else 1
    return Row(LANES, rows_a_block, GROUPS * VECTOR, load, add, normalise, store_in_bfloat16)
