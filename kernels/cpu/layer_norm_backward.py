"""From the gradient of a LayerNorm's output back to its input, and to its weight and bias.

The naive version, kept for teaching, for one row (n = (x − mean) / √(variance + ε)):

    d_weight += dy * n
    d_bias += dy
    dn = dy * weight
    dx = (dn - mean(dn) - n * mean(dn * n)) / sqrt(variance + eps)

What the rows add to weight and bias is summed over SUMMED rows here, in one row of `sums` a tile, and these by sums.py: in one
order whatever the threads. Mean and variance are computed again; two passes over a row that is in the first cache cost less
than reading them.
"""

from __future__ import annotations

from numba import float32

from albert_np.kernels.cpu.layer_norm import statistics
from albert_np.kernels.cpu.layout import SUMMED
from albert_np.kernels.cpu.vector import at, fma, helper, load_some, put, splat, store_some, sum_of


@helper
def _row_backward(dy, x, weight, dx, d_weight, d_bias, H, eps):  # (H,) × 3 -> (H,), and two sums that go on
    """ops.layer_norm_backward, for one row: n = (x − mean)/√(variance + ε), dn = dy·w."""
    mean, inverse = statistics(x, H, eps)
    total, along = splat(0.0), splat(0.0)
    for j in range(0, H, 16):
        n = (load_some(x, j, H - j, mean) - mean) * inverse
        d = load_some(dy, j, H - j, 0.0)
        dn = d * load_some(weight, j, H - j, 0.0)
        total, along = total + dn, fma(dn, n, along)
        store_some(d_weight, j, H - j, fma(d, n, load_some(d_weight, j, H - j, 0.0)))
        store_some(d_bias, j, H - j, load_some(d_bias, j, H - j, 0.0) + d)
    middle, tilt = sum_of(total) / float32(H), sum_of(along) / float32(H)
    for j in range(0, H, 16):
        n = (load_some(x, j, H - j, mean) - mean) * inverse
        dn = load_some(dy, j, H - j, 0.0) * load_some(weight, j, H - j, 0.0)
        store_some(dx, j, H - j, (dn - middle - n * tilt) * inverse)


def layer_norm_backward(dy, dy_row, x, x_row, weight, dx, dx_row, sums, sums_row, rows, H, eps: float, tile, worker):
    # (R,H), (R,H), (H,) -> (R,H), (tiles, 2H)
    """One tile is SUMMED rows; what they add to the gradients of weight and bias stands side by side in its row of sums, the
    second from sums_row / 2 on. dy and dx may be the same rows."""
    d_weight = at(sums, tile * sums_row)
    d_bias = at(d_weight, sums_row // 2)
    for j in range(H):
        put(d_weight, j, 0.0)
        put(d_bias, j, 0.0)
    for r in range(tile * SUMMED, min(rows, (tile + 1) * SUMMED)):
        _row_backward(at(dy, r * dy_row), at(x, r * x_row), weight, at(dx, r * dx_row), d_weight, d_bias, H, eps)


KERNELS = (layer_norm_backward,)
