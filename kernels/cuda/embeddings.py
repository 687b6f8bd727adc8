"""ids -> rows of E numbers: word + token type + position, then LayerNorm, in one pass; and rows moved from place to place.

The naive version, naive_embed below: one thread a row, which gathers, adds and normalises it number by number.

The ladder is that of layer_norm.py: a warp takes a row, in loads of 16 bytes, and keeps it in registers from the tables to the
output. The adds keep the reference's order, (word + type) + position.
"""

from __future__ import annotations

from functools import lru_cache

from albert_np.kernels.cuda.intrinsics import sqrt
from albert_np.kernels.cuda.kernel import Kernel
from albert_np.kernels.cuda.rows import row_of
from albert_np.kernels.cuda.target import cuda, f32, u32


def _naive(ids, words, token_types, types, position_ids, positions, weight, bias, out, rows, E, eps):
    # (R,) int32, (V,E), (R,) int32, (S,E), (R,) int32, (P,E), (E,), (E,) -> (R,E); a thread a row
    r = cuda.grid(1)
    if r < rows:
        mean = f32(0)
        for j in range(E):
            x = words[ids[r] * E + j] + types[token_types[r] * E + j] + positions[position_ids[r] * E + j]
            out[r * E + j] = x
            mean += x
        mean /= f32(E)
        variance = f32(0)
        for j in range(E):
            variance += (out[r * E + j] - mean) * (out[r * E + j] - mean)
        variance /= f32(E)
        for j in range(E):
            out[r * E + j] = (out[r * E + j] - mean) / sqrt(variance + eps) * weight[j] + bias[j]


naive_embed = Kernel(_naive, "IFIFIFFFFiif", 128)


@lru_cache
def embed(E: int, gathered: bool, absolute: bool) -> Kernel:
    """gathered: words are rows of a table by id, and not already one a token. absolute: positions are added."""
    row = row_of(E)
    LANES, ROWS, VALUES = row.lanes, row.rows_a_block, row.values
    load, add, normalise = row.load, row.add, row.normalise

    def embed(ids, words, token_types, types, position_ids, positions, weight, bias, out, rows, eps):
        # (R,) int32, (V,E) or (R,E), (R,) int32, (S,E), (R,) int32, (P,E), (E,), (E,) -> (R,E)
        values = cuda.local.array(VALUES, f32)
        lane = u32(cuda.threadIdx.x) % u32(LANES)
        r = u32(cuda.blockIdx.x) * u32(ROWS) + u32(cuda.threadIdx.x) // u32(LANES)
        if r >= rows:
            return
        word = u32(ids[r]) if gathered else r
        load(values, words, word * u32(E), lane)
        add(values, types, u32(token_types[r]) * u32(E), lane)
        if absolute:
            add(values, positions, u32(position_ids[r]) * u32(E), lane)
        normalise(values, weight, bias, out, r * u32(E), lane, eps)

    return Kernel(embed, "IFIFIFFFFuf", row.threads)


COPIED = 256  # threads a block, one a number


def _take_rows(x, x_row, which, out, rows, columns):  # (…,columns), (R,) int32 -> (R,columns): out[r] = x[which[r]]
    i = u32(cuda.blockIdx.x) * u32(COPIED) + u32(cuda.threadIdx.x)
    if i < rows * columns:
        r = i // columns
        out[i] = x[u32(which[r]) * x_row + i % columns]


def _spread_rows(  # (…,columns), (R,) int32 -> (R,columns): x[source[r]], or 0 where that is −1
    x, source, out, rows, columns
):
    i = u32(cuda.blockIdx.x) * u32(COPIED) + u32(cuda.threadIdx.x)
    if i < rows * columns:
        r = i // columns
        out[i] = x[u32(source[r]) * columns + i % columns] if source[r] >= 0 else f32(0)


take_rows = Kernel(_take_rows, "FuIFuu", COPIED)
spread_rows = Kernel(_spread_rows, "FIFuu", COPIED)
