"""Dropout of rows: each number times its factor, 0 or 1/(1 − p), and what the rows are added to.

The naive version, kept for teaching:

    for r in range(rows):
        for j in range(columns):
            out[r, j] = x[r, j] * factors[r, j] + residual[r, j]

The factors are drawn in Python, so that they are those of the reference. The way back multiplies by the same ones. Dropout of
attention's probabilities happens where these are (attention.py).
"""

from __future__ import annotations

from albert_np.kernels.cpu.layout import ROWS_A_TILE
from albert_np.kernels.cpu.vector import at, fma, helper, load_some, store_some


@helper
def _drop_row(x, factors, residual, out, columns):  # (C,), (C,), (C,) or 0 -> (C,)
    for j in range(0, columns, 16):
        some = columns - j
        kept = load_some(factors, j, some, 0.0)
        if residual != 0:
            value = fma(load_some(x, j, some, 0.0), kept, load_some(residual, j, some, 0.0))
        else:
            value = load_some(x, j, some, 0.0) * kept
        store_some(out, j, some, value)


def drop(x, x_row, factors, factors_row, residual, residual_row, out, out_row, rows, columns, tile, worker):
    # (R,C), (R,C), (R,C) -> (R,C)
    """out = x·factors + residual, or without residual (0). out may be x or the residual. One tile is ROWS_A_TILE rows."""
    for r in range(tile * ROWS_A_TILE, min(rows, (tile + 1) * ROWS_A_TILE)):
        beside = at(residual, r * residual_row) if residual != 0 else 0
        _drop_row(at(x, r * x_row), at(factors, r * factors_row), beside, at(out, r * out_row), columns)


KERNELS = (drop,)
