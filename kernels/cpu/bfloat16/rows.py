"""LayerNorm, which writes what the next product reads beside its float32; and a pass that rounds, for the first layer."""

from __future__ import annotations

from albert_np.kernels.cpu.bfloat16.operand import at_operand, store_operand
from albert_np.kernels.cpu.layer_norm import normalise_row
from albert_np.kernels.cpu.layout import ROWS_A_TILE
from albert_np.kernels.cpu.vector import at, helper, load_some


@helper
def narrow_row(x, out, columns):  # (columns,) -> operand
    for j in range(0, columns, 16):
        store_operand(out, j, load_some(x, j, columns - j, 0.0))


def layer_norm16(x, x_row, weight, bias, out, out_row, narrow, narrow_stride, rows, H, eps: float, tile, worker):
    # (R,H), (H,), (H,) -> (R,H), (R,H) operand
    """As layer_norm, and rounded in `narrow`. One tile is ROWS_A_TILE rows."""
    for r in range(tile * ROWS_A_TILE, min(rows, (tile + 1) * ROWS_A_TILE)):
        to = at(out, r * out_row)
        normalise_row(at(x, r * x_row), weight, bias, to, H, eps)
        narrow_row(to, at_operand(narrow, r * narrow_stride), H)


def round_rows(x, x_row, narrow, narrow_stride, rows, H, tile, worker):  # (R,H) -> (R,H) operand
    """The embeddings' projection, which is float32, for the first layer to read. One tile is ROWS_A_TILE rows."""
    for r in range(tile * ROWS_A_TILE, min(rows, (tile + 1) * ROWS_A_TILE)):
        narrow_row(at(x, r * x_row), at_operand(narrow, r * narrow_stride), H)


KERNELS = (layer_norm16, round_rows)
