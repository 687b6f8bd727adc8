"""C = A·B with operands in bfloat16 and sums in float32, and what follows it: + bias, activation, + residual, rounding.

blocks.py has the naive version. The loops here are around its blocks: two strips of B at a time, all rows of a tile below
each other; k in chunks, so that the strips' chunk stays in the first cache while the rows pass by; the sums in a scratch of
two strips' columns, which never leaves that cache, until the epilogue has written what others read.
"""

from __future__ import annotations

from albert_np.kernels.cpu.activations import apply
from albert_np.kernels.cpu.bfloat16 import unit
from albert_np.kernels.cpu.bfloat16.layout import OPERAND, STEP, STRIP_STEP
from albert_np.kernels.cpu.bfloat16.operand import at_operand, rounded, store_operand, words_of
from albert_np.kernels.cpu.bfloat16.unit import CHUNKS_FROM, STRIPS, begin, end, flush, unflush
from albert_np.kernels.cpu.layout import SCRATCH16
from albert_np.kernels.cpu.strips import CHUNK_STEPS, multiplying
from albert_np.kernels.cpu.vector import at, first_lanes, helper, load, load_some, splat, store, transpose

_multiply = multiplying(unit, unit.block16, STEP * OPERAND.bytes)


@helper
def multiply16(
    a, a_row, b, strip, strips, steps, chunk, c, c_row, rows, following
):  # (rows, 32·steps) -> (rows, 16·strips)
    """C = A·B for neighbouring strips of B, STRIPS at most. a_row in operands; strip, from strip to strip, and c_row in floats.

    It is called between begin(rows) and end, and flush and unflush: blocks have min(rows, ROWS) rows before it, and after.
    following: where the next strips begin, which are fetched meanwhile; 0 for none.
    """
    _multiply(a, at_operand(0, a_row), b, at(0, strip), strips, steps, chunk, c, at(0, c_row), rows, following)


@helper
def _finish(sums, rows, n, columns, N, bias, activation, residual, residual_row, out, out_row, narrow, narrow_row):
    """activation(sums + bias) + residual, for `columns` columns from n on: as float32, or rounded, or both."""
    for m in range(rows):
        for j in range(0, columns, 16):
            x = load(sums, m * SCRATCH16 + j)
            if bias != 0:
                x = x + load(bias, n + j)
            if activation != 0:
                x = apply(activation, x)
            if residual != 0:
                x = x + load(residual, m * residual_row + n + j)
            if out != 0:
                store(out, m * out_row + n + j, x)
            if narrow != 0:
                store_operand(at_operand(narrow, m * narrow_row), n + j, first_lanes(x, N - n - j))


def gemm16(  # (M,K) operand, strips of (K,N), (padded N,), (M,N) -> (M,N), (M,N) operand
    a, a_row, b, strip, K, N, M, bias, residual, residual_row, activation, out, out_row, narrow, narrow_row,
    tile_rows, tile_columns, scratch, tile, worker,
):  # fmt: skip
    """One tile: tile_rows rows by tile_columns columns. bias, residual, out and narrow: 0 for none; out may be the residual.

    scratch: tile_rows × SCRATCH16 numbers a worker. Rows of float32 have room for whole vectors.
    """
    across = (N + tile_columns - 1) // tile_columns
    m, n0 = tile // across * tile_rows, tile % across * tile_columns
    rows, last, steps = min(tile_rows, M - m), min(N, n0 + tile_columns), (K + STEP - 1) // STEP
    sums = at(scratch, worker * tile_rows * SCRATCH16)
    chunk = CHUNK_STEPS if rows >= CHUNKS_FROM else steps
    opened = begin(rows)
    n = n0
    while n < last:  # no range, as in strips.py
        strips = min(STRIPS, (last - n + 15) // 16)
        from_b = at(b, n // 16 * strip)
        following = at(from_b, strips * strip) if n + 16 * strips < N else 0
        before = flush()
        multiply16(
            at_operand(a, m * a_row), a_row, from_b, strip, strips, steps, chunk, sums, SCRATCH16, rows, following
        )
        unflush(before)
        _finish(
            sums,
            rows,
            n,
            16 * strips,
            N,
            bias,
            activation,
            at(residual, m * residual_row) if residual != 0 else 0,
            residual_row,
            at(out, m * out_row) if out != 0 else 0,
            out_row,
            at_operand(narrow, m * narrow_row) if narrow != 0 else 0,
            narrow_row,
        )
        n += 16 * STRIPS
    end(opened)


@helper
def pack_step(x, x_column, k, K, columns, tile):  # (columns, K) -> 1 KB of a strip
    """One step of k of a strip: x[n·x_column + k …] for its first `columns` columns, zeros for the others and from K on."""
    for n in range(16):
        if n < columns:
            row = at(x, n * x_column + k)
            first, second = load_some(row, 0, K - k, 0.0), load_some(row, 16, K - k - 16, 0.0)
            store(tile, 16 * n, words_of(rounded(first), rounded(second)))
        else:
            store(tile, 16 * n, splat(0.0))
    transpose(tile, 16, tile, 16)


def pack16(x, x_column, K, N, out, strip, tile, worker):  # (N,K) -> strips of (K,N)
    """B[k, n] = x[n·x_column + k], zeros up to whole strips and steps. One tile is one strip."""
    for k in range(0, K, STEP):
        pack_step(
            at(x, 16 * tile * x_column),
            x_column,
            k,
            K,
            min(16, N - 16 * tile),
            at(out, tile * strip + k // STEP * STRIP_STEP),
        )


KERNELS = (pack16, gemm16)
