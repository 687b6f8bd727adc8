"""The products of training: gemm.py's, with A turned over where that is wanted, and what the way back needs kept or applied.

The naive versions, kept for teaching:

    dW = dy.T @ x                            A's columns lie far apart
    y = activation(before := x @ W.T + b)    and `before` is kept
    d_before = (dy @ W) * activation′(before)

The ladder, dW of the inner layer, 3072 × 768 numbers summed over 1024 rows, inside a training step on one core of a Zen 3:

    A turned a block at a time, as its tile needs it    0.87   of a forward product's speed in that step; 16 × 16 numbers by
                                                               shuffles of registers, into the worker's scratch
    tiles of up to 768 columns, not 192                 0.97   each block is turned once instead of four times; C, read again
                                                               for each chunk of k, is in the second cache at either width

The slopes are multiplied in while C is in cache, instead of in a pass of their own over three arrays of that size.
"""

from __future__ import annotations

from albert_np.kernels.cpu.activations import apply
from albert_np.kernels.cpu.derivatives import slope
from albert_np.kernels.cpu.gemm import COLUMNS, in_panels, multiply
from albert_np.kernels.cpu.layout import CHUNK, MC, TURNED_ROW
from albert_np.kernels.cpu.vector import at, get, helper, load, put, store, transpose


@helper
def _turn(a, a_row, a_column, rows, depth, out):  # -> (rows, depth), TURNED_ROW from row to row
    """A block of A whose columns lie far apart, turned so that they lie side by side."""
    whole_rows, whole_depth = rows // 16 * 16, depth // 16 * 16
    if a_row != 1:
        whole_rows = 0
    for i in range(0, whole_rows, 16):
        for k in range(0, whole_depth, 16):
            transpose(at(a, i + k * a_column), a_column, at(out, i * TURNED_ROW + k), TURNED_ROW)
    for i in range(rows):
        for k in range(whole_depth if i < whole_rows else 0, depth):
            put(out, i * TURNED_ROW + k, get(a, i * a_row + k * a_column))


@helper
def _finish(
    c, c_row, M, first_column, last_column, bias, residual, residual_row, activation, before, before_row, slopes
):
    """As gemm's. before: where C + bias is kept too; with slopes it is read instead, and C multiplied by f′ of it."""
    for m in range(M):
        row, kept = at(c, m * c_row), at(before, m * before_row)
        for n in range(first_column, last_column, 16):
            x = load(row, n)
            if bias != 0:
                x = x + load(bias, n)
            if slopes != 0:
                x = x * slope(activation, load(kept, n))
            elif activation != 0:
                store(kept, n, x)
                x = apply(activation, x)
            if residual != 0:
                x = x + load(at(residual, m * residual_row), n)
            store(row, n, x)


def gemm_training(  # (M,K), packed (K,N), (M,N), (N,), (M,N) -> (M,N)
    a,
    a_row,
    a_column,
    b,
    columns,
    c,
    c_row,
    M,
    K,
    bias,
    residual,
    residual_row,
    activation,
    add,
    tile_columns,
    scratch,
    before,
    before_row,
    slopes,
    tile,
    worker,
):
    """As gemm. A[m, k] lies at m·a_row + k·a_column; scratch: where a_column is not 1, MC × TURNED_ROW numbers a worker.

    activation with before (M,N): see _finish.
    """
    across = (columns + tile_columns - 1) // tile_columns
    m, n = tile // across * MC, tile % across * tile_columns
    rows, last = min(MC, M - m), min(columns, n + tile_columns)
    at_a, at_c = at(a, m * a_row), at(c, m * c_row)
    if scratch == 0:
        multiply(at_a, a_row, b, columns, COLUMNS, at_c, c_row, rows, K, n, last, add != 0, CHUNK)
    else:
        turned = at(scratch, worker * MC * TURNED_ROW)
        for k0 in range(0, K, CHUNK):
            depth, from_b, adds = min(CHUNK, K - k0), in_panels(b, k0 * columns), add != 0 or k0 > 0
            _turn(at(at_a, k0 * a_column), a_row, a_column, rows, depth, turned)
            multiply(turned, TURNED_ROW, from_b, columns, COLUMNS, at_c, c_row, rows, depth, n, last, adds, CHUNK)
    if bias != 0 or residual != 0 or activation != 0:
        from_row = at(residual, m * residual_row) if residual != 0 else 0
        kept = at(before, m * before_row) if before != 0 else 0
        _finish(at_c, c_row, rows, n, last, bias, from_row, residual_row, activation, kept, before_row, slopes)


KERNELS = (gemm_training,)
