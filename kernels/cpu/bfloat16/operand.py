"""What a product of bfloat16 numbers reads, and in which order it adds. This is the one place where that is settled.

What is rounded to bfloat16 (to nearest, ties to even; subnormal numbers become zeros of their sign; NaN stays NaN):

    weights of the layers' products             once, when they are packed
    the projected embeddings                    by a pass of their own
    what LayerNorm gives, beside its float32    by LayerNorm
    query, key, value                           by the epilogue of their product
    the exponentials of softmax, for the product with value; their sum is that of the unrounded ones
    the context, and the activation of ffn      by attention, and by the epilogue

Everything else is float32: sums, biases, GELU, residuals, LayerNorm, softmax, embeddings, their projection, and heads. In
bfloat16 the projection would save a thousandth of the work and be a fifth of the error. Training rounds the operands of the
layers' linear products, forward and back, and nothing else: query, key, value, exponentials and context stay float32.

Products are exact (8 bits times 8 bits). They are added in float32 in the order of AMX's instruction:

    for each 32 k:
        even = odd = 0
        for j in range(0, 32, 2):
            even = even + a[k + j] · b[k + j]
            odd = odd + a[k + j + 1] · b[k + j + 1]
        C = C + (even + odd)

Each addition rounds to nearest even, and subnormal sums are zeros of their sign. emulation.py computes the same in NumPy.

How an operand lies in memory depends on the unit (units.py), and so does B's packing:

    tiles    bfloat16 as they come                                a[k], a[k+1], …
    pairs    bfloat16, of each four the even ones, then the odd   a[k+2], a[k], a[k+3], a[k+1]
    floats   float32 that hold bfloat16 values                    a[k], a[k+1], …

AVX-512 BF16 adds two products a lane, the upper half's first, and rounds after each. With two even k in a pair these are two
steps of the even sum: the bits of the tiles at twice the speed of a multiply-add. With k and k + 1 in a pair, as usual, the
order would be another one.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from albert_np.kernels.cpu.bfloat16.layout import FOURS, OPERAND, SLOTS
from albert_np.kernels.cpu.layout import FLOAT32
from albert_np.kernels.cpu.vector import (
    F32,
    I16,
    I32,
    I64,
    LANES,
    VI,
    V,
    element_pointer,
    f32x16,
    place_of,
    splatted,
)

V16 = ir.VectorType(I16, LANES)

at_operand = place_of(OPERAND)


def _splat(value):
    return ir.Constant(VI, [value] * LANES)


def _chosen(builder, first, second, lanes):
    """Lanes of two vectors, counted through both."""
    return builder.shuffle_vector(first, second, ir.Constant(ir.VectorType(I32, len(lanes)), lanes))


# --- rounding -------------------------------------------------------------------------------------------------------------


def _rounded_bits(builder, x):
    """float32 -> the bits of the nearest bfloat16, in the upper half of 32."""
    bits = builder.bitcast(x, VI)
    tiny = builder.icmp_unsigned("==", builder.and_(bits, _splat(0x7F800000)), _splat(0))
    bits = builder.select(tiny, builder.and_(bits, _splat(0x80000000)), bits)
    last = builder.and_(builder.lshr(bits, _splat(16)), _splat(1))
    nearest = builder.add(bits, builder.add(last, _splat(0x7FFF)))
    quiet = builder.or_(bits, _splat(0x00400000))  # a NaN whose lower half is cut off must not become infinity
    is_nan = builder.fcmp_unordered("uno", x, x)
    return builder.and_(builder.select(is_nan, quiet, nearest), _splat(0xFFFF0000))


@intrinsic
def rounded(typing_context, x):
    """The nearest bfloat16, as float32."""

    def codegen(context, builder, sig, args):
        return builder.bitcast(_rounded_bits(builder, args[0]), V)

    return f32x16(f32x16), codegen


# --- operands in memory ---------------------------------------------------------------------------------------------------


@intrinsic
def store_operand(typing_context, x, i, value):
    """Columns i … i + 15 of an operand's row, i a multiple of four: the value, rounded."""

    def codegen(context, builder, sig, args):
        bits = _rounded_bits(builder, args[2])
        if OPERAND == FLOAT32:
            pointer = element_pointer(builder, args[0], args[1], F32, I64(LANES), writes=True)
            builder.store(builder.bitcast(bits, V), builder.bitcast(pointer, V.as_pointer())).align = 4
        else:
            halves = builder.trunc(builder.lshr(bits, _splat(16)), V16)
            pointer = element_pointer(builder, args[0], args[1], I16, I64(LANES), writes=True)
            builder.store(
                _chosen(builder, halves, halves, SLOTS[:LANES]), builder.bitcast(pointer, V16.as_pointer())
            ).align = 2
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, f32x16), codegen


@intrinsic
def load_operand(typing_context, x, i):
    """Columns i … i + 15 of an operand's row, i a multiple of four."""

    def codegen(context, builder, sig, args):
        if OPERAND == FLOAT32:
            value = builder.load(builder.bitcast(element_pointer(builder, *args, F32, I64(LANES)), V.as_pointer()))
            value.align = 4
            return value
        halves = builder.load(builder.bitcast(element_pointer(builder, *args, I16, I64(LANES)), V16.as_pointer()))
        halves.align = 2
        halves = _chosen(builder, halves, halves, [SLOTS.index(lane) for lane in range(LANES)])
        return builder.bitcast(builder.shl(builder.zext(halves, VI), _splat(16)), V)

    return f32x16(types.int64, types.int64), codegen


def _half(builder, x, i, writes):
    """Where column i of a row lies."""
    slots = I64(sum(FOURS.index(lane) << 2 * lane for lane in range(4)))  # two bits for each of the four
    slot = builder.and_(builder.lshr(slots, builder.shl(builder.and_(i, I64(3)), I64(1))), I64(3))
    return element_pointer(builder, x, builder.or_(builder.and_(i, I64(-4)), slot), I16, I64(1), writes)


@intrinsic
def get_operand(typing_context, x, i):
    """Column i of an operand's row."""

    def codegen(context, builder, sig, args):
        if OPERAND == FLOAT32:
            return builder.load(element_pointer(builder, *args, F32, I64(1)))
        half = builder.load(_half(builder, *args, writes=False))
        return builder.bitcast(builder.shl(builder.zext(half, I32), I32(16)), F32)

    return types.float32(types.int64, types.int64), codegen


@intrinsic
def put_operand(typing_context, x, i, value):
    """Column i of an operand's row = value, rounded."""

    def codegen(context, builder, sig, args):
        x, i, value = args
        bits = builder.extract_element(_rounded_bits(builder, splatted(builder, value)), I32(0))
        if OPERAND == FLOAT32:
            builder.store(builder.bitcast(bits, F32), element_pointer(builder, x, i, F32, I64(1), writes=True))
        else:
            half = builder.trunc(builder.lshr(bits, I32(16)), I16)
            builder.store(half, _half(builder, x, i, writes=True))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.float32), codegen


# --- B: words of two numbers each, as blocks.py reads them ----------------------------------------------------------------


def _word(builder, low, high):
    """The upper halves of two vectors, beside each other."""
    low, high = builder.bitcast(low, VI), builder.bitcast(high, VI)
    return builder.bitcast(builder.or_(builder.lshr(low, _splat(16)), builder.and_(high, _splat(0xFFFF0000))), V)


@intrinsic
def word_of(typing_context, low, high):
    """Two bfloat16 a lane."""

    def codegen(context, builder, sig, args):
        return _word(builder, *args)

    return f32x16(f32x16, f32x16), codegen


@intrinsic
def words_of(typing_context, first, second):
    """Thirty-two bfloat16 values of consecutive k, as the sixteen words that stand below each other in a strip of B."""

    def codegen(context, builder, sig, args):
        return _word(builder, _chosen(builder, *args, SLOTS[0::2]), _chosen(builder, *args, SLOTS[1::2]))

    return f32x16(f32x16, f32x16), codegen


@intrinsic
def operand_words(typing_context, x, i):
    """The same of columns i … i + 31 of an operand's row."""

    def codegen(context, builder, sig, args):
        x, i = args
        if OPERAND == FLOAT32:
            halves = []
            for first in (0, LANES):
                pointer = element_pointer(builder, x, builder.add(i, I64(first)), F32, I64(LANES))
                halves.append(builder.load(builder.bitcast(pointer, V.as_pointer())))
                halves[-1].align = 4
            return _word(builder, _chosen(builder, *halves, SLOTS[0::2]), _chosen(builder, *halves, SLOTS[1::2]))
        words = builder.load(builder.bitcast(element_pointer(builder, x, i, I16, I64(2 * LANES)), V.as_pointer()))
        words.align = 2
        return words

    return f32x16(types.int64, types.int64), codegen
