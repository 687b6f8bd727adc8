"""Rows of float32 as 8-bit or 16-bit codes, each row with a scale and a zero point: float = (code − zero point)·scale.

The naive version, kept for teaching; top is 255, or 65535 in two bytes, and rint is to the nearest, ties to even:

    low, high = min(0, min(x)), max(0, max(x))
    scale = max(high / top - low / top, 2**-100)
    zero = min(rint(-low * (1 / scale)), top)
    codes = clip(rint(x * (1 / scale)) + zero, 0, top)

Zero is a code exactly, since padding and what an activation has cut off must stay zero. The least scale keeps a row of zeros
from dividing by zero. A row with NaN or infinity has codes 0, zero point 0 and scale NaN: its own results are NaN, and no
other row's. Two bytes, high and low, are two rows of codes below each other (product.py).
"""

from __future__ import annotations

import math

from llvmlite import ir
from numba import float32, types
from numba.extending import intrinsic

from albert_np.kernels.cpu.int8.layout import CODE
from albert_np.kernels.cpu.layout import ROWS_A_TILE
from albert_np.kernels.cpu.vector import (
    I32,
    I64,
    LANES,
    VI,
    at,
    element_pointer,
    f32x16,
    helper,
    largest_of,
    load_some,
    place_of,
    put,
    put_int,
    select,
    splat,
    splatted,
    sum_of,
)

LEAST_SCALE = 2.0**-100
TO_INTEGER = 1.5 * 2.0**23  # float32 around it are the integers: adding it, and taking it off, is rint for |x| ≤ 2²²
at_code = place_of(CODE)


@intrinsic
def _store_codes(typing_context, x, i, values, shift):
    """x[i] … x[i + 15] = a byte of each value, an integer ≥ 0 as float32: that from bit `shift` on."""

    def codegen(context, builder, sig, args):
        x, i, values, shift = args
        element = ir.IntType(8 * CODE.bytes)
        whole = builder.lshr(builder.fptosi(values, VI), splatted(builder, builder.trunc(shift, I32), element=I32))
        codes = builder.trunc(builder.and_(whole, ir.Constant(VI, [255] * LANES)), ir.VectorType(element, LANES))
        pointer = element_pointer(builder, x, i, element, I64(LANES), writes=True)
        builder.store(codes, builder.bitcast(pointer, codes.type.as_pointer())).align = CODE.bytes
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, f32x16, types.int64), codegen


@helper
def _rint(x):
    return (x + TO_INTEGER) - TO_INTEGER


@helper
def _extent(x, K):  # (K,) -> low ≤ 0, high ≥ 0; NaN where a number is not finite
    lows, highs, nothing = splat(0.0), splat(0.0), splat(0.0)
    for k in range(0, K, 16):
        some = load_some(x, k, K - k, 0.0)
        lows = select(some < lows, some, lows)
        highs = select(some > highs, some, highs)
        nothing = nothing + some * 0.0  # NaN of infinity and NaN
    nought = sum_of(nothing)
    return nought - largest_of(-lows), largest_of(highs) + nought


def quantise(x, x_row, K, rows, passes, codes, codes_row, scales, zeros, tile, worker):
    # (R,K) -> (R·passes,K) codes, (R,), (R,) int64
    """One tile is ROWS_A_TILE rows. Codes have room for whole vectors."""
    top = float32(255.0) if passes == 1 else float32(65535.0)
    for r in range(tile * ROWS_A_TILE, min(rows, (tile + 1) * ROWS_A_TILE)):
        row, to = at(x, r * x_row), at_code(codes, r * passes * codes_row)
        low, high = _extent(row, K)
        scale = max(high / top - low / top, float32(LEAST_SCALE))
        finite = not math.isnan(low)
        inverse = float32(1.0) / scale
        zero = (
            min(float32(float32(-low * inverse + float32(TO_INTEGER)) - float32(TO_INTEGER)), top)
            if finite
            else float32(0.0)
        )
        put(scales, r, scale if finite else float32(math.nan))
        put_int(zeros, r, int(zero))
        for k in range(0, K, 16):
            code = splat(0.0)
            if finite:
                code = _rint(load_some(row, k, K - k, 0.0) * inverse) + zero
                code = select(code < 0.0, 0.0, select(code > top, top, code))
            if passes == 2:
                _store_codes(to, k, code, 8)
                _store_codes(to, codes_row + k, code, 0)
            else:
                _store_codes(to, k, code, 0)


KERNELS = (quantise,)
