"""LayerNorm over rows: (x − mean) / √(variance + ε) · weight + bias.

The naive version, naive_layer_norm below: one thread a row, which reads it three times, and whose neighbours read H numbers
further on, so that each load of a warp touches 32 cache lines.

The ladder:

    a warp a row                the 32 lanes read neighbours, and add their sums by shuffles
    four numbers a load         a quarter of the instructions; a row of 768 is six loads a lane
    the row stays in registers  it is read once. The two passes of the reference stay: mean(x²) − mean² cancels
    two or more warps a row     from H = 1025 on, where a lane would hold more than 32 numbers

What is left is one read and one write of x, so the memory's speed is the floor: 4.2 TB/s on an H200, as much as
a copy.
"""

from __future__ import annotations

from functools import lru_cache

from albert_np.kernels.cuda.intrinsics import sqrt
from albert_np.kernels.cuda.kernel import Kernel
from albert_np.kernels.cuda.rows import row_of
from albert_np.kernels.cuda.target import cuda, f32, u32


def _naive(x, weight, bias, out, rows, H, eps):  # (R,H), (H,), (H,) -> (R,H); a thread a row
    r = cuda.grid(1)
    if r < rows:
        mean = f32(0)
        for j in range(H):
            mean += x[r * H + j]
        mean /= f32(H)
        variance = f32(0)
        for j in range(H):
            variance += (x[r * H + j] - mean) * (x[r * H + j] - mean)
        variance /= f32(H)
        for j in range(H):
            out[r * H + j] = (x[r * H + j] - mean) / sqrt(variance + eps) * weight[j] + bias[j]


naive_layer_norm = Kernel(_naive, "FFFFiif", 128)


@lru_cache
def layer_norm(H: int) -> Kernel:
    row = row_of(H)
    LANES, ROWS, VALUES, load, normalise = row.lanes, row.rows_a_block, row.values, row.load, row.normalise

    def layer_norm(x, weight, bias, out, rows, eps):  # (R,H), (H,), (H,) -> (R,H)
        values = cuda.local.array(VALUES, f32)
        lane = u32(cuda.threadIdx.x) % u32(LANES)
        r = u32(cuda.blockIdx.x) * u32(ROWS) + u32(cuda.threadIdx.x) // u32(LANES)
        if r >= rows:
            return
        load(values, x, r * u32(H), lane)
        normalise(values, weight, bias, out, r * u32(H), lane, eps)

    return Kernel(layer_norm, "FFFFuf", row.threads)


@lru_cache
def rounded_layer_norm(H: int) -> Kernel:
    row = row_of(H)
    LANES, ROWS, VALUES = row.lanes, row.rows_a_block, row.values
    load, normalise, store_rounded = row.load, row.normalise, row.store_rounded

    def rounded_layer_norm(x, weight, bias, out, rounded, rounded_row, rows, eps):
        # (R,H), (H,), (H,) -> (R,H), and the same in bfloat16 for the next product, its rows multiples of 8 apart
        values = cuda.local.array(VALUES, f32)
        lane = u32(cuda.threadIdx.x) % u32(LANES)
        r = u32(cuda.blockIdx.x) * u32(ROWS) + u32(cuda.threadIdx.x) // u32(LANES)
        if r >= rows:
            return
        load(values, x, r * u32(H), lane)
        normalise(values, weight, bias, out, r * u32(H), lane, eps)
        store_rounded(values, rounded, r * rounded_row, lane)

    return Kernel(rounded_layer_norm, "FFFFHuuf", row.threads)
