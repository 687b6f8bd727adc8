"""The innermost loops of an int8 product: a few rows of A, without a sign, by strips of sixteen columns of B, with one.

The naive version, kept for teaching:

    for k in range(K):
        C += a[:, k, None] * b[k]        # int32, and exact

B lies in strips of sixteen columns. A strip is 1 KB for each 64 k, a tile of AMX: sixteen rows of 64 bytes, four consecutive
k for each column. How four products become a number of C depends on the unit (units.py):

    fours    VNNI: one instruction multiplies four bytes a lane, and adds the products to the lane's sum
    words    both sides are widened to 16 bits; pmaddwd multiplies them and adds neighbours, so that a column's sum is in two
             lanes until the end. A is widened when it is stored. (pmaddubsw, which needs no widening, saturates.)

SSE, AVX2 and AVX-512 have pmaddwd; elsewhere LLVM makes of `_multiply_pairs` what there is. NEON's own dot product is not
used yet.

The ladder, on one core of a Zen 5, in Gop/s of at most 1,078 with VNNI and 512 bits; rows are those of A, twice as many with
two bytes a code. With eight of them the weights come from the third cache.

                                                     128 rows   8 rows
    fours, 4 rows × 2 strips, sixteen fours a turn        860      693
    … 8 × 2: each load of B serves twice the rows         970      806
    … without an inner loop                               390            LLVM holds products back, and spills 128 registers
    … two fours a turn                                    955      848
    fours of 256 bits, 4 × 1                              440      424
    words, 512 bits, 4 × 2                                410      389
    words, 256 bits, 4 × 1                                200      197
    words, 128 bits, 4 × 1                                 90       90   pmaddwd overwrites an operand

Tried, and left: 6 × 2 (890, 693), one four a turn (905, 837), four (880, 840); for words 3 rows or 6.
"""

from __future__ import annotations

from llvmlite import ir

from albert_np.kernels.cpu.int8.layout import CODE, STEP, UNIT
from albert_np.kernels.cpu.simd import chosen_level
from albert_np.kernels.cpu.strips import (
    BLOCK,
    LINE,
    Size,
    block_called,
    blocks_of,
    declared,
    emit_load,
    emit_loop,
    emit_prefetch,
    emit_wall,
    no_end,
    no_shape,
    nothing_begins,
)
from albert_np.kernels.cpu.vector import I8, I16, I32, I64, LANES, splatted, vector_function

WIDTH = chosen_level().width
# of 32 registers or of 16, rows × strips × VECTORS are for sums, and some for a four of A and one of B
if chosen_level().name == "avx512":
    ROWS, STRIPS = (8 if UNIT == "fours" else 4), 2
else:
    ROWS, STRIPS = 4, 1
FOUR = 4 * CODE.bytes
# a strip's columns that are summed at once, and the registers of sums that these take
PART, VECTORS = (WIDTH, 2) if UNIT == "words" else (LANES, LANES // WIDTH)
# rows from which k goes in chunks and the next strips are fetched: with fewer the core only waits for B, which it reads
# straight ahead
CHUNKS_FROM = AHEAD_FROM = 2 * ROWS + 1
TURN = 2  # fours in one turn of the loop: with all sixteen LLVM holds products back until it must spill
SUMS = ir.VectorType(I32, WIDTH)


def blocks():
    return blocks_of("albert_np_block8", Size(ROWS, STRIPS), _define)


def _define(module, size):
    """One size: C = A·B, or C += A·B, over `steps` times 64 k. It asks for `lines` cache lines a step from `ahead` on."""
    function = declared(module, f"albert_np_block8_{size.rows}x{size.strips}", BLOCK)
    function.attributes.add("nounwind")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    a, a_row, b, strip, _, _, steps, _, ahead, lines = function.args
    zeros = [ir.Constant(SUMS, [0] * WIDTH)] * (size.rows * size.strips * VECTORS)
    for part in range(LANES // PART):
        offset = I64(4 * PART * part)

        def turn(values, offset=offset):  # TURN fours
            from_a, from_b, *sums = values
            rows = [builder.gep(from_a, [builder.mul(a_row, I64(i))]) for i in range(size.rows)]
            strips = [
                builder.gep(from_b, [builder.add(builder.mul(strip, I64(j)), offset)]) for j in range(size.strips)
            ]
            for four in range(TURN):
                emit_wall(builder)
                _emit_four(builder, four, rows, strips, sums)
            return [builder.gep(from_a, [I64(FOUR * TURN)]), builder.gep(from_b, [I64(4 * LANES * TURN)]), *sums]

        def step(values, turn=turn):
            from_a, from_b, from_ahead, *sums = values
            after = emit_loop(builder, I64(STEP // 4), TURN, [from_a, from_b, *sums], turn)
            with builder.if_then(builder.icmp_signed(">", lines, I64(0))):
                emit_loop(builder, lines, 1, [from_ahead], fetch)
            return [*after[:2], builder.gep(from_ahead, [builder.mul(lines, I64(LINE))]), *after[2:]]

        def fetch(values):
            emit_prefetch(builder, values[0])
            return [builder.gep(values[0], [I64(LINE)])]

        _, _, _, *sums = emit_loop(builder, steps, 1, [a, b, ahead, *zeros], step)
        _emit_stores(builder, function, size, offset, sums)
    builder.ret_void()
    return function


def _emit_stores(builder, function, size, offset, sums):
    """C = the sums, or C += them."""
    c, c_row, add = function.args[4], function.args[5], function.args[7]
    for i in range(size.rows):
        for j in range(size.strips):
            first = (i * size.strips + j) * VECTORS
            found = sums[first : first + VECTORS]
            if UNIT == "words":
                even, odd = (
                    builder.shuffle_vector(*found, ir.Constant(SUMS, list(range(half, 2 * WIDTH, 2))))
                    for half in (0, 1)
                )
                found = [builder.add(even, odd)]
            for v, value in enumerate(found):
                place = builder.add(builder.mul(c_row, I64(i)), I64(4 * (LANES * j + WIDTH * v)))
                place = builder.gep(c, [builder.add(place, offset)])
                old = builder.select(add, emit_load(builder, place, SUMS), ir.Constant(SUMS, [0] * WIDTH))
                builder.store(builder.add(value, old), builder.bitcast(place, SUMS.as_pointer())).align = 4


def _emit_four(builder, four, rows, strips, sums):
    """Four k of a block, added to its sums."""
    columns = [_columns(builder, b, 4 * LANES * four, v) for b in strips for v in range(VECTORS)]
    for i, row in enumerate(rows):
        place = builder.gep(row, [I64(FOUR * four)])
        if UNIT == "words":
            one = splatted(builder, emit_load(builder, place, I64), WIDTH // 2, I64)
            one = builder.bitcast(one, ir.VectorType(I16, 2 * WIDTH))
        else:
            one = splatted(builder, emit_load(builder, place, I32), WIDTH, I32)
        for j, column in enumerate(columns):
            number = i * len(columns) + j
            multiply = _multiply_pairs if UNIT == "words" else _multiply_fours
            sums[number] = multiply(builder, sums[number], one, column)


def _columns(builder, strip, place, vector):
    if UNIT == "words":
        bytes_ = ir.VectorType(I8, 2 * WIDTH)
        found = emit_load(builder, builder.gep(strip, [I64(place + 2 * WIDTH * vector)]), bytes_)
        return builder.sext(found, ir.VectorType(I16, 2 * WIDTH))
    return emit_load(builder, builder.gep(strip, [I64(place + 4 * WIDTH * vector)]), SUMS)


def _multiply_fours(builder, total, x, y):
    """total + the products of four bytes a lane, x's without a sign and y's with one."""
    name = f"llvm.x86.avx512.vpdpbusd.{32 * WIDTH}"
    function = vector_function(builder.module, name, SUMS, [SUMS] * 3)
    return builder.call(function, [total, x, y])


def _multiply_pairs(builder, total, x, y):
    """total + the products of two words a lane. LLVM knows pmaddwd by this shape."""
    wide = ir.VectorType(I32, 2 * WIDTH)
    products = builder.mul(builder.sext(x, wide), builder.sext(y, wide))
    even, odd = (
        builder.shuffle_vector(products, products, ir.Constant(SUMS, list(range(half, 2 * WIDTH, 2))))
        for half in (0, 1)
    )
    return builder.add(total, builder.add(even, odd))


block8 = block_called("albert_np_block8")
begin, shape, end = nothing_begins, no_shape, no_end
