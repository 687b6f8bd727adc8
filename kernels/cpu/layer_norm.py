"""LayerNorm over rows: (x − mean) / √(variance + ε) · weight + bias.

The naive version, kept for teaching:

    for r in range(rows):
        mean = sum(x[r]) / H
        variance = sum((x[r] - mean) ** 2) / H
        out[r] = (x[r] - mean) / sqrt(variance + eps) * weight + bias

The ladder. LLVM may not reorder a float sum, so the naive loops add one number every four cycles. Sixteen partial sums
(vector.py) add sixteen at a time, and each is a sixteenth as long, so the rounding is smaller too. The two passes stay:
mean(x²) − mean² in one pass cancels. The row is read three times, from the first cache. The addition of the residual is the
GEMM's epilogue (gemm.py), where the numbers are in cache already.
"""

from __future__ import annotations

import math

from numba import float32

from albert_np.kernels.cpu.layout import ROWS_A_TILE
from albert_np.kernels.cpu.vector import (
    at,
    fma,
    get_int,
    helper,
    load_some,
    splat,
    store_some,
    sum_of,
)


@helper
def statistics(x, H, eps):  # (H,) -> mean, 1/√(variance + ε)
    total = splat(0.0)
    for j in range(0, H, 16):
        total = total + load_some(x, j, H - j, 0.0)
    mean = sum_of(total) / float32(H)

    squares = splat(0.0)
    for j in range(0, H, 16):
        centred = load_some(x, j, H - j, mean) - mean
        squares = fma(centred, centred, squares)
    return mean, float32(1.0 / math.sqrt(float(sum_of(squares) / float32(H)) + float(eps)))


@helper
def normalise_row(x, weight, bias, out, H, eps):  # (H,), (H,), (H,) -> (H,)
    """x and out may be the same row."""
    mean, inverse = statistics(x, H, eps)
    for j in range(0, H, 16):
        normalised = (load_some(x, j, H - j, mean) - mean) * inverse
        store_some(out, j, H - j, fma(normalised, load_some(weight, j, H - j, 0.0), load_some(bias, j, H - j, 0.0)))


def layer_norm(x, x_row, weight, bias, out, out_row, places, rows, H, eps: float, tile, worker):
    # (R,H), (H,), (H,) -> (R,H)
    """places: where each row goes (int64), or 0 for its own place. One tile is ROWS_A_TILE rows."""
    for r in range(tile * ROWS_A_TILE, min(rows, (tile + 1) * ROWS_A_TILE)):
        place = get_int(places, r) if places != 0 else r
        normalise_row(at(x, r * x_row), weight, bias, at(out, place * out_row), H, eps)


KERNELS = (layer_norm,)
