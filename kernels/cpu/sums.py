"""Sums down the columns: the gradient of a bias, which every row has added to, and of LayerNorm's weights.

The naive version, kept for teaching:

    for j in range(columns):
        out[j] = sum(x[r, j] for r in range(rows))

Sixteen columns are summed at a time, SUMMED rows in a register and these sums in order: in one order whatever the threads.
"""

from __future__ import annotations

from albert_np.kernels.cpu.layout import COLUMNS_A_TILE, SUMMED
from albert_np.kernels.cpu.vector import at, helper, load_some, splat, store_some


@helper
def _down(x, x_row, rows, j, some):
    total = splat(0.0)
    for r0 in range(0, rows, SUMMED):
        part = splat(0.0)
        for r in range(r0, min(rows, r0 + SUMMED)):
            part = part + load_some(at(x, r * x_row), j, some, 0.0)
        total = total + part
    return total


def column_sums(x, x_row, rows, columns, out, add, tile, worker):  # (R,C) -> (C,)
    """out[j] = or, with add, += Σ x[r, j] over the rows. One tile is COLUMNS_A_TILE columns."""
    for j in range(tile * COLUMNS_A_TILE, min(columns, (tile + 1) * COLUMNS_A_TILE), 16):
        total = _down(x, x_row, rows, j, columns - j)
        if add != 0:
            total = load_some(out, j, columns - j, 0.0) + total
        store_some(out, j, columns - j, total)


KERNELS = (column_sums,)
