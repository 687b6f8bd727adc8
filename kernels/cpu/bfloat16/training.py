"""What training in bfloat16 has beside gemm16: float32 rows, turned over or as they are, become operands of a product.

Of y = x·Wᵀ, the gradient with respect to W is dyᵀ·x. So dy is A turned over, and x is B as it lies, summed down its rows;
and for dy·W the weights are B as they lie. The naive versions, kept for teaching:

    A = rounded(dy.T)
    B = strips(rounded(x))
    d_before = d_active * activation′(before)

All are passes of their own. In a step of 4 × 128 tokens of ALBERT-base they take a twelfth of the time of the products.
"""

from __future__ import annotations

from albert_np.kernels.cpu.bfloat16.layout import SLOTS, STEP, STRIP_STEP
from albert_np.kernels.cpu.bfloat16.operand import at_operand, rounded, store_operand, word_of
from albert_np.kernels.cpu.derivatives import slope
from albert_np.kernels.cpu.layout import COLUMNS_A_TILE, ROWS_A_TILE
from albert_np.kernels.cpu.vector import at, helper, load, load_some, splat, store, store_some, transpose


@helper
def _row(x, x_row, k, K, n, columns):  # (K,columns) -> (16,)
    """Columns n … n + 15 of row k, zeros where there are none."""
    return load_some(at(x, k * x_row), n, columns - n, 0.0) if k < K else splat(0.0)


def turn16(x, x_row, rows, columns, narrow, narrow_stride, scratch, tile, worker):  # (R,C) -> (C,R) operand
    """A = xᵀ, zeros up to whole steps of k. One tile is COLUMNS_A_TILE columns of x; scratch: 256 numbers a worker."""
    block = at(scratch, 256 * worker)
    for k in range(0, (rows + STEP - 1) // STEP * STEP, 16):
        for first in range(COLUMNS_A_TILE * tile, min(columns, COLUMNS_A_TILE * (tile + 1)), 16):
            for i in range(16):
                store(block, 16 * i, _row(x, x_row, k + i, rows, first, columns))
            transpose(block, 16, block, 16)
            for i in range(min(16, columns - first)):
                store_operand(at_operand(narrow, (first + i) * narrow_stride), k, load(block, 16 * i))


def pack_rows16(x, x_row, K, N, out, strip, tile, worker):  # (K,N) -> strips of (K,N)
    """B[k, n] = x[k, n], zeros up to whole strips and steps: pack16 of xᵀ. One tile is COLUMNS_A_TILE columns."""
    for k in range(0, K, STEP):
        for n in range(COLUMNS_A_TILE * tile, min(N, COLUMNS_A_TILE * (tile + 1)), 16):
            to = at(out, n // 16 * strip + k // STEP * STRIP_STEP)
            for word in range(16):
                low = _row(x, x_row, k + SLOTS[2 * word], K, n, N)
                high = _row(x, x_row, k + SLOTS[2 * word + 1], K, n, N)
                store(to, 16 * word, word_of(rounded(low), rounded(high)))


@helper
def _slope_row(x, before, columns, which):  # (C,), (C,) -> (C,)
    for j in range(0, columns, 16):
        some = columns - j
        value = load_some(x, j, some, 0.0) * slope(which, load_some(before, j, some, 0.0))
        store_some(x, j, some, value)


def multiply_slopes(x, x_row, before, before_row, rows, columns, which, tile, worker):  # (R,C), (R,C) -> (R,C)
    """x *= f′(before), with slope's f. One tile is ROWS_A_TILE rows."""
    for r in range(tile * ROWS_A_TILE, min(rows, (tile + 1) * ROWS_A_TILE)):
        _slope_row(at(x, r * x_row), at(before, r * before_row), columns, which)


KERNELS = (turn16, pack_rows16, multiply_slopes)
