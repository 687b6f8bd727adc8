"""ids -> rows of E numbers: word + token type + position, then LayerNorm, in one pass over a row.

The naive version, kept for teaching:

    for r in range(rows):
        out[r] = layer_norm(words[ids[r]] + types[token_types[r]] + positions[position_ids[r]])

There is little to gain: a row is E = 128 numbers from three tables. What counts is that the sum never leaves the first cache
before it is normalised, and that the three adds keep the reference's order, (word + type) + position.
"""

from __future__ import annotations

from albert_np.kernels.cpu.layer_norm import normalise_row
from albert_np.kernels.cpu.layout import ROWS_A_TILE
from albert_np.kernels.cpu.vector import at, get_int, helper, load_some, store_some


@helper
def _row_of(table, ids, r, E):
    return at(table, E * get_int(ids, r))


def embed(  # (R,) int64, (V,E), (R,) int64, (2,E), (R,) int64, (P,E), (E,), (E,) -> (R,E)
    ids,
    words,
    token_types,
    types,
    position_ids,
    positions,
    weight,
    bias,
    out,
    out_row,
    rows,
    E,
    eps: float,
    tile,
    worker,
):
    """ids = 0: words is (R,E), the embeddings themselves. positions = 0: nothing is added for the position."""
    for r in range(tile * ROWS_A_TILE, min(rows, (tile + 1) * ROWS_A_TILE)):
        word = _row_of(words, ids, r, E) if ids != 0 else at(words, E * r)
        kind, to = _row_of(types, token_types, r, E), at(out, r * out_row)
        for j in range(0, E, 16):
            total = load_some(word, j, E - j, 0.0) + load_some(kind, j, E - j, 0.0)
            if positions != 0:
                total = total + load_some(_row_of(positions, position_ids, r, E), j, E - j, 0.0)
            store_some(to, j, E - j, total)
        normalise_row(to, weight, bias, to, E, eps)


def copy_rows(x, x_row, places, out, out_row, rows, H, tile, worker):  # (R,H) -> (R,H)
    """places: where each row goes (int64), or 0 for its own place."""
    for r in range(tile * ROWS_A_TILE, min(rows, (tile + 1) * ROWS_A_TILE)):
        to = at(out, out_row * (get_int(places, r) if places != 0 else r))
        for j in range(0, H, 16):
            store_some(to, j, H - j, load_some(at(x, r * x_row), j, H - j, 0.0))


KERNELS = (embed, copy_rows)
