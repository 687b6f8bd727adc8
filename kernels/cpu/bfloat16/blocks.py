"""The innermost loops of a bfloat16 product: a few rows of A by strips of sixteen columns of B, in the order of operand.py.

The naive version, kept for teaching:

    for k in range(0, K, 32):
        even = odd = zeros((rows, 16), float32)
        for j in range(k, k + 32, 2):
            even += a[:, j, None] * b[j]
            odd += a[:, j + 1, None] * b[j + 1]
        C += even + odd

The ladder, on one core of a Zen 5, in Gflop/s; at most 270 with multiply-adds, 540 with pairs. 128 rows, and 8, for which the
weights come from the third cache (48 GB/s) and are half the bytes of float32:

                                                        128 rows   8 rows
    float32 (gemm.py)                                        250      193
    floats, 4 rows × 2 strips                                248      244   two sums for each number: 16 of 32 registers
    … 8 × 1                                                  231      221   each word of A is read for one register of B
    pairs, 4 × 2, all 32 k of a step without a loop          197      188   LLVM spills 180 registers
    … in a loop of four words a turn                         494      361
    … k in chunks, the next strips fetched meanwhile         510      379
    … and nothing fetched for few rows                       510      409   the core reads ahead by itself

Tried, and left: pairs of 8 × 1 (416); two words a turn, or eight (458, 475); no chunks of k (469).

B lies in strips of sixteen columns. A strip is 1 KB for each 32 k, a tile of AMX: sixteen rows of 64 bytes, a word of two
numbers for each column. Which two, layout.SLOTS says. One register of AVX-512, two of AVX2, four of NEON read a row.
"""

from __future__ import annotations

from llvmlite import ir

from albert_np.kernels.cpu.bfloat16.layout import OPERAND, STEP, UNIT
from albert_np.kernels.cpu.control import flush_subnormals, restore
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
from albert_np.kernels.cpu.vector import (
    F32,
    F64,
    I32,
    I64,
    LANES,
    multiply_add,
    splatted,
    vector_function,
)

LEVEL = chosen_level()
WIDTH = LEVEL.width
# A block has two sums for each of its numbers in registers, a word of A and a register of B or two. With 32 registers the
# totals have room too, with 16 they are added up in memory. AT_ONCE: registers of a strip's columns that are summed together
MANY = LEVEL.name in ("avx512", "neon")
ROWS, STRIPS, AT_ONCE = {"avx512": (4, 2, 1), "avx2": (3, 1, 2), "neon": (4, 1, 2)}.get(LEVEL.name, (4, 1, 1))
TURN = 4  # words of two k in one turn of the loop: without a loop LLVM holds sums back until it must spill
# rows from which k goes in chunks and the next strips are fetched: with fewer the core only waits for B, which it reads
# straight ahead
CHUNKS_FROM = AHEAD_FROM = 2 * ROWS + 1
VECTOR, WORDS = ir.VectorType(F32, WIDTH), ir.VectorType(I32, WIDTH)


def blocks():
    return blocks_of("albert_np_block16", Size(ROWS, STRIPS), _define)


def _define(module, size):
    """One size: C = A·B, or C += A·B, over `steps` times 32 k. It asks for `lines` cache lines a step from `ahead` on.

    A strip whose columns are more than AT_ONCE registers is computed so many after the others.
    """
    function = declared(module, f"albert_np_block16_{size.rows}x{size.strips}", BLOCK)
    function.attributes.add("nounwind")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    for part in range(0, LANES // WIDTH, AT_ONCE):
        offsets = [4 * WIDTH * (part + i) for i in range(AT_ONCE)]
        _emit_part(builder, function, size, [(j, offset) for j in range(size.strips) for offset in offsets])
    builder.ret_void()
    return function


def _emit_part(builder, function, size, columns):
    """Some registers of columns, each a strip and an offset in bytes, for all k."""
    a, a_row, b, strip, c, c_row, steps, add, ahead, lines = function.args
    places = [
        builder.gep(c, [builder.add(builder.mul(c_row, I64(i)), I64(4 * LANES * j + offset))])
        for i in range(size.rows)
        for j, offset in columns
    ]
    zeros = [ir.Constant(VECTOR, [0.0] * WIDTH)] * len(places)
    totals = [builder.select(add, emit_load(builder, place, VECTOR), zeros[0]) for place in places]
    if not MANY:
        _emit_stores(builder, places, totals)
        totals = []

    def turn(values):  # TURN words of two k
        from_a, from_b, *sums = values
        rows = [builder.gep(from_a, [builder.mul(a_row, I64(i))]) for i in range(size.rows)]
        starts = [builder.gep(from_b, [builder.add(builder.mul(strip, I64(j)), I64(offset))]) for j, offset in columns]
        even, odd = sums[: len(places)], sums[len(places) :]
        for word in range(0, TURN, 2):
            emit_wall(builder)
            (_emit_pairs if UNIT == "pairs" else _emit_floats)(builder, word, rows, starts, even, odd)
        from_a = builder.gep(from_a, [I64(2 * TURN * OPERAND.bytes)])
        return [from_a, builder.gep(from_b, [I64(4 * LANES * TURN)]), *even, *odd]

    def step(values):  # thirty-two k: even + odd, added to the totals
        from_a, from_b, from_ahead, *before = values
        from_a, from_b, *sums = emit_loop(builder, I64(STEP // 2), TURN, [from_a, from_b, *zeros, *zeros], turn)
        both = [builder.fadd(x, y) for x, y in zip(sums[: len(places)], sums[len(places) :], strict=True)]
        before = before or [emit_load(builder, place, VECTOR) for place in places]
        after = [builder.fadd(total, x) for total, x in zip(before, both, strict=True)]
        if not MANY:
            _emit_stores(builder, places, after)
        with builder.if_then(builder.icmp_signed(">", lines, I64(0))):
            emit_loop(builder, lines, 1, [from_ahead], fetch)
        return [from_a, from_b, builder.gep(from_ahead, [builder.mul(lines, I64(LINE))]), *(after if MANY else [])]

    def fetch(values):
        emit_prefetch(builder, values[0])
        return [builder.gep(values[0], [I64(LINE)])]

    _, _, _, *totals = emit_loop(builder, steps, 1, [a, b, ahead, *totals], step)
    if MANY:
        _emit_stores(builder, places, totals)


def _emit_stores(builder, places, values):
    for place, value in zip(places, values, strict=True):
        builder.store(value, builder.bitcast(place, VECTOR.as_pointer())).align = 4


def _emit_pairs(builder, word, rows, strips, even, odd):
    """Four k: the word of the even ones, and that of the odd ones."""
    for sums, place in ((even, word), (odd, word + 1)):
        columns = [emit_load(builder, builder.gep(b, [I64(4 * LANES * place)]), WORDS) for b in strips]
        for i, row in enumerate(rows):
            both = splatted(builder, emit_load(builder, builder.gep(row, [I64(4 * place)]), I32), WIDTH, I32)
            for j, column in enumerate(columns):
                sums[i * len(strips) + j] = _dot(builder, sums[i * len(strips) + j], both, column)


def _emit_floats(builder, word, rows, strips, even, odd):
    """Four k, two words: each has an even k in its lower half and an odd one in its upper."""
    low = ir.Constant(WORDS, [16] * WIDTH), lambda both, by: builder.shl(both, by)
    high = ir.Constant(WORDS, [0xFFFF0000] * WIDTH), lambda both, by: builder.and_(both, by)
    for place in (word, word + 1):
        for half, (sums, (by, widened)) in enumerate(((even, low), (odd, high))):
            # the words are read for each half again: with 16 registers there is no room to keep them
            words = [emit_load(builder, builder.gep(b, [I64(4 * LANES * place)]), WORDS) for b in strips]
            columns = [builder.bitcast(widened(both, by), VECTOR) for both in words]
            if not MANY:
                emit_wall(builder)
            for i, row in enumerate(rows):
                one = splatted(builder, emit_load(builder, builder.gep(row, [I64(4 * (2 * place + half))]), F32), WIDTH)
                for j, column in enumerate(columns):
                    number = i * len(strips) + j
                    sums[number] = _multiply_add(builder, one, column, sums[number])


def _multiply_add(builder, x, y, total):
    """total + x·y, rounded once. Without FMA by way of float64, which never differs (emulation.py) and is slow."""
    if LEVEL.fma:
        return multiply_add(builder, x, y, total)
    wide = ir.VectorType(F64, WIDTH)
    x, y, total = (builder.fpext(one, wide) for one in (x, y, total))
    return builder.fptrunc(builder.fadd(builder.fmul(x, y), total), VECTOR)


class _BFloat(ir.Type):
    """LLVM's bfloat, which llvmlite does not have."""

    def _to_string(self):
        return "bfloat"

    def __eq__(self, other):
        return isinstance(other, _BFloat)

    def __hash__(self):
        return hash(_BFloat)


def _dot(builder, total, x, y):
    """(total + high·high) + low·low, of two bfloat16 a lane."""
    pairs = ir.VectorType(_BFloat(), 2 * WIDTH)
    name = f"llvm.x86.avx512bf16.dpbf16ps.{32 * WIDTH}"
    function = vector_function(builder.module, name, VECTOR, [VECTOR, pairs, pairs])
    return builder.call(function, [total, builder.bitcast(x, pairs), builder.bitcast(y, pairs)])


block16 = block_called("albert_np_block16")


# --- what stands around block calls; unit.py has the same for tiles ---------------------------------------------------------

begin, shape, end = nothing_begins, no_shape, no_end
# before and after blocks: what is computed between them keeps subnormal numbers
flush, unflush = flush_subnormals, restore
