"""C = A·B in exact 32-bit sums of 8-bit codes, and what makes numbers of them: scales, bias, activation, residual.

The naive version, kept for teaching:

    sums = codes.astype(int32) @ B                       # codes (R, K) of the rows, as rows.py rounds them; B (K, N)
    t = float32(sums - zero_point * B.sum(axis=0))       # of a row whose codes take two bytes: t = t(high)·256 + t(low)
    C = activation((t * row_scale) * column_scale + bias) + residual

A row of two bytes is two rows of A, its high bytes and its low ones, below each other. So the weights are read once for both.
No instruction rounds before `t` is made, and there each multiplication and addition rounds by itself: all units, all sizes of
tiles and all numbers of threads give the same bits.
"""

from __future__ import annotations

from numba import types
from numba.extending import intrinsic

from albert_np.kernels.cpu.activations import apply
from albert_np.kernels.cpu.int8 import unit
from albert_np.kernels.cpu.int8.layout import CODE, STEP
from albert_np.kernels.cpu.int8.unit import CHUNKS_FROM, STRIPS, begin, block8, end
from albert_np.kernels.cpu.layout import ROWS16, SCRATCH16
from albert_np.kernels.cpu.strips import CHUNK_STEPS, multiplying
from albert_np.kernels.cpu.vector import (
    I32,
    I64,
    LANES,
    VI,
    V,
    at,
    at_int,
    element_pointer,
    f32x16,
    get,
    get_int,
    helper,
    load,
    place_of,
    splatted,
    store,
)

at_code = place_of(CODE)
_multiply = multiplying(unit, block8, STEP * CODE.bytes)


@intrinsic
def _centred(typing_context, sums, i, zero, column_sums, n):
    """float32(sums[i …] − zero · column_sums[n …]): sums of codes less their zero point."""

    def codegen(context, builder, sig, args):
        sums, i, zero, column_sums, n = args
        found = []
        for address, index in ((sums, i), (column_sums, n)):
            pointer = element_pointer(builder, address, index, I32, I64(LANES))
            found.append(builder.load(builder.bitcast(pointer, VI.as_pointer())))
            found[-1].align = 4
        zeros = splatted(builder, builder.trunc(zero, I32), element=I32)
        return builder.sitofp(builder.sub(found[0], builder.mul(zeros, found[1])), V)

    i64 = types.int64
    return f32x16(i64, i64, i64, i64, i64), codegen


@helper
def _finish(
    sums,
    rows,
    n,
    columns,
    scales,
    zeros,
    passes,
    column_scales,
    column_sums,
    bias,
    activation,
    residual,
    residual_row,
    out,
    out_row,
):
    """`columns` columns of C from n on."""
    for m in range(rows):
        scale, zero = get(scales, m), get_int(zeros, m)
        for j in range(0, columns, 16):
            if passes == 1:
                t = _centred(sums, m * SCRATCH16 + j, zero, column_sums, n + j)
            else:
                high = _centred(sums, 2 * m * SCRATCH16 + j, zero >> 8, column_sums, n + j)
                low = _centred(sums, (2 * m + 1) * SCRATCH16 + j, zero & 255, column_sums, n + j)
                t = high * 256.0 + low
            x = t * scale * load(column_scales, n + j) + load(bias, n + j)
            if activation != 0:
                x = apply(activation, x)
            if residual != 0:
                x = x + load(residual, m * residual_row + n + j)
            store(out, m * out_row + n + j, x)


def gemm8(  # (M·passes,K) codes, (M,), (M,) int64, strips of (K,N), (padded N,) × 3, (M,N) -> (M,N)
    a, a_row, scales, zeros, passes, b, strip, column_scales, column_sums, K, N, M, bias, residual, residual_row,
    activation, out, out_row, tile_columns, scratch, tile, worker,
):  # fmt: skip
    """One tile: ROWS16 rows of A, of one pass or two, by tile_columns columns. residual: 0 for none.

    scratch: ROWS16 × SCRATCH16 sums a worker. Rows of float32 have room for whole vectors.
    """
    across = (N + tile_columns - 1) // tile_columns
    tall = ROWS16 // passes
    m, n0 = tile // across * tall, tile % across * tile_columns
    some, last, steps = min(tall, M - m), min(N, n0 + tile_columns), (K + STEP - 1) // STEP
    rows = some * passes
    chunk = CHUNK_STEPS if rows >= CHUNKS_FROM else steps
    sums = at(scratch, worker * ROWS16 * SCRATCH16)
    opened = begin(rows)
    n = n0
    while n < last:  # no range, as in strips.py
        strips = min(STRIPS, (last - n + 15) // 16)
        from_b = b + n // 16 * strip
        following = from_b + strips * strip if n + 16 * strips < N else 0
        from_a = at_code(a, m * passes * a_row)
        _multiply(
            from_a, at_code(0, a_row), from_b, strip, strips, steps, chunk, sums, at(0, SCRATCH16), rows, following
        )
        _finish(
            sums,
            some,
            n,
            16 * strips,
            at(scales, m),
            at_int(zeros, m),
            passes,
            column_scales,
            column_sums,
            bias,
            activation,
            at(residual, m * residual_row) if residual != 0 else 0,
            residual_row,
            at(out, m * out_row),
            out_row,
        )
        n += 16 * STRIPS
    end(opened)


KERNELS = (gemm8,)
