"""The innermost loops of a bfloat16 product: a few rows of A by strips of sixteen columns of B, in the order of operand.py.

The naive version, kept for teaching:

    for k in range(0, K, 32):
        even = odd = zeros((rows, 16), float32)
        for j in range(k, k + 32, 2):
            even += a[:, j, None] * b[j]
            odd += a[:, j + 1, None] * b[j + 1]
        C += even + odd

The ladder, on one core of a Zen 5, in Gflop/s; at most 270 with multiply-adds, 540 with pairs. 128 rows, and 8, for which the
weights come from the third cache (47 GB/s) and are half the bytes of float32:

                                                        128 rows   8 rows
    float32 (gemm.py)                                        242      181
    floats, 4 rows × 2 strips                                248      244   two sums for each number: 16 of 32 registers
    … 8 × 1                                                  231      221   each word of A is read for one register of B
    pairs, 4 × 2, all 32 k of a step in one piece            200      200   LLVM spills 180 registers
    … in a loop of four words a turn                         494      361
    … k in chunks, the next strips fetched meanwhile         510      379
    … and nothing fetched for few rows                       510      409   the core reads ahead by itself

Tried, and left: pairs of 8 × 1 (416); two words a turn, or eight (458, 475); no chunks of k (469).

B lies in strips of sixteen columns. A strip is 1 KB for each 32 k, a tile of AMX: sixteen rows of 64 bytes, a word of two
numbers for each column. Which two, layout.SLOTS says. One register of AVX-512, two of AVX2, four of NEON read a row.
"""

from __future__ import annotations

from typing import NamedTuple

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from albert_np.kernels.cpu.bfloat16.layout import OPERAND, STEP, STRIP_STEP, UNIT
from albert_np.kernels.cpu.control import flush_subnormals, restore
from albert_np.kernels.cpu.simd import chosen_level
from albert_np.kernels.cpu.vector import (
    BYTES,
    F32,
    F64,
    I8,
    I32,
    I64,
    LANES,
    helper,
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
TURN = 4  # words of two k in one turn of the loop: with all sixteen LLVM holds sums back until it must spill
# rows from which k goes in chunks and the next strips are fetched: with fewer the core only waits for B, which it reads
# straight ahead
CHUNKS_FROM = AHEAD_FROM = 2 * ROWS + 1
POINTER, I1 = I8.as_pointer(), ir.IntType(1)
VECTOR, WORDS = ir.VectorType(F32, WIDTH), ir.VectorType(I32, WIDTH)
# of a block, all in bytes but steps and lines: a, a_row, b, strip, c, c_row, steps, add, ahead, lines
BLOCK = [POINTER, I64, POINTER, I64, POINTER, I64, I64, I1, POINTER, I64]


class Size(NamedTuple):
    rows: int
    strips: int


SIZES = [Size(rows, strips) for rows in range(1, ROWS + 1) for strips in range(1, STRIPS + 1)]


def _declared(module, name, arguments):
    return module.globals.get(name) or ir.Function(module, ir.FunctionType(ir.VoidType(), arguments), name)


def blocks():
    """The module of all sizes, and of `albert_np_block16`, which calls the one of a number."""
    module = ir.Module("blocks16")
    number, *arguments = (chosen := _declared(module, "albert_np_block16", [I64, *BLOCK])).args
    builder = ir.IRBuilder(chosen.append_basic_block())
    switch = builder.switch(number, nothing := chosen.append_basic_block("nothing"))
    for size in SIZES:
        builder.position_at_end(case := chosen.append_basic_block())
        builder.call(_define(module, size), arguments)
        builder.ret_void()
        switch.add_case(I64(size.rows * 4 + size.strips), case)
    builder.position_at_end(nothing)
    builder.ret_void()
    return module


def _define(module, size):
    """One size: C = A·B, or C += A·B, over `steps` times 32 k. It asks for `lines` cache lines a step from `ahead` on.

    A strip whose columns are more than one register is computed a register of columns after the other.
    """
    function = _declared(module, f"albert_np_block16_{size.rows}x{size.strips}", BLOCK)
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
        builder.bitcast(
            builder.gep(c, [builder.add(builder.mul(c_row, I64(i)), I64(4 * LANES * j + offset))]), VECTOR.as_pointer()
        )
        for i in range(size.rows)
        for j, offset in columns
    ]
    zero = ir.Constant(VECTOR, [0.0] * WIDTH)
    names = "fresh more loop fetch fetched end"
    fresh, more, loop, fetch, fetched, end = (function.append_basic_block(name) for name in names.split())
    builder.cbranch(add, more, fresh)
    builder.position_at_end(fresh)
    if not MANY:
        _emit_stores(builder, places, [zero] * len(places))
    builder.branch(loop)
    builder.position_at_end(more)
    old = [_load(builder, place, VECTOR) for place in places] if MANY else []
    builder.branch(loop)

    builder.position_at_end(loop)
    k, from_a, from_b, from_ahead = (builder.phi(kind) for kind in (I64, POINTER, POINTER, POINTER))
    totals = [builder.phi(VECTOR) for _ in old]
    sums = _emit_step(builder, function, size, columns, from_a, a_row, from_b, strip)
    before = totals or [_load(builder, place, VECTOR) for place in places]
    after = [builder.fadd(total, both) for total, both in zip(before, sums, strict=True)]
    if not MANY:
        _emit_stores(builder, places, after)
    looped = builder.block
    builder.cbranch(builder.icmp_signed(">", lines, I64(0)), fetch, fetched)

    builder.position_at_end(fetch)
    line = builder.phi(I64)
    _prefetch(builder, builder.gep(from_ahead, [builder.mul(line, I64(64))]))
    next_line = builder.add(line, I64(1))
    line.add_incoming(I64(0), looped)
    line.add_incoming(next_line, fetch)
    builder.cbranch(builder.icmp_signed("<", next_line, lines), fetch, fetched)

    builder.position_at_end(fetched)
    next_k = builder.add(k, I64(1))
    later = [
        next_k,
        builder.gep(from_a, [I64(STEP * OPERAND.bytes)]),
        builder.gep(from_b, [I64(4 * STRIP_STEP)]),
        builder.gep(from_ahead, [builder.mul(lines, I64(64))]),
    ]
    for phi, first, then in zip((k, from_a, from_b, from_ahead), (I64(0), a, b, ahead), later, strict=True):
        for block in (fresh, more):
            phi.add_incoming(first, block)
        phi.add_incoming(then, fetched)
    for phi, was, then in zip(totals, old, after, strict=False):
        phi.add_incoming(zero, fresh)
        phi.add_incoming(was, more)
        phi.add_incoming(then, fetched)
    builder.cbranch(builder.icmp_signed("<", next_k, steps), loop, end)

    builder.position_at_end(end)
    if MANY:
        _emit_stores(builder, places, after)


def _emit_stores(builder, places, values):
    for place, value in zip(places, values, strict=True):
        builder.store(value, place).align = 4


def _emit_step(builder, function, size, columns, a, a_row, b, strip):
    """Thirty-two k, TURN words a turn of a loop: even + odd for each number of the block, row by row."""
    before, turn, done = builder.block, function.append_basic_block("turn"), function.append_basic_block("done")
    builder.branch(turn)
    builder.position_at_end(turn)
    word, from_a, from_b = (builder.phi(kind) for kind in (I64, POINTER, POINTER))
    count = size.rows * len(columns)
    phis = [builder.phi(VECTOR) for _ in range(2 * count)]
    even, odd = phis[:count], phis[count:]
    rows = [builder.gep(from_a, [builder.mul(a_row, I64(i))]) for i in range(size.rows)]
    starts = [builder.gep(from_b, [builder.add(builder.mul(strip, I64(j)), I64(offset))]) for j, offset in columns]
    emit = _emit_pairs if UNIT == "pairs" else _emit_floats
    for first in range(0, TURN, 2):
        _emit_wall(builder)
        emit(builder, first, rows, starts, even, odd)
    next_word = builder.add(word, I64(TURN))
    later = [
        next_word,
        builder.gep(from_a, [I64(2 * TURN * OPERAND.bytes)]),
        builder.gep(from_b, [I64(4 * LANES * TURN)]),
    ]
    zero = ir.Constant(VECTOR, [0.0] * WIDTH)
    firsts = [I64(0), a, b, *[zero] * len(phis)]
    for phi, start, then in zip([word, from_a, from_b, *phis], firsts, [*later, *even, *odd], strict=True):
        phi.add_incoming(start, before)
        phi.add_incoming(then, turn)
    builder.cbranch(builder.icmp_signed("<", next_word, I64(STEP // 2)), turn, done)
    builder.position_at_end(done)
    return [builder.fadd(x, y) for x, y in zip(even, odd, strict=True)]


def _emit_pairs(builder, word, rows, strips, even, odd):
    """Four k: the word of the even ones, and that of the odd ones."""
    for sums, place in ((even, word), (odd, word + 1)):
        columns = [_load(builder, builder.gep(b, [I64(4 * LANES * place)]), WORDS) for b in strips]
        for i, row in enumerate(rows):
            both = splatted(builder, _load(builder, builder.gep(row, [I64(4 * place)]), I32), WIDTH, I32)
            for j, column in enumerate(columns):
                sums[i * len(strips) + j] = _dot(builder, sums[i * len(strips) + j], both, column)


def _emit_floats(builder, word, rows, strips, even, odd):
    """Four k, two words: each has an even k in its lower half and an odd one in its upper."""
    low = ir.Constant(WORDS, [16] * WIDTH), lambda both, by: builder.shl(both, by)
    high = ir.Constant(WORDS, [0xFFFF0000] * WIDTH), lambda both, by: builder.and_(both, by)
    for place in (word, word + 1):
        for half, (sums, (by, widened)) in enumerate(((even, low), (odd, high))):
            # the words are read for each half again: with 16 registers there is no room to keep them
            words = [_load(builder, builder.gep(b, [I64(4 * LANES * place)]), WORDS) for b in strips]
            columns = [builder.bitcast(widened(both, by), VECTOR) for both in words]
            if not MANY:
                _emit_wall(builder)
            for i, row in enumerate(rows):
                one = splatted(builder, _load(builder, builder.gep(row, [I64(4 * (2 * place + half))]), F32), WIDTH)
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


def _emit_wall(builder):
    """LLVM would load what later k need here, and spill sums to make room for it."""
    builder.call(ir.InlineAsm(ir.FunctionType(ir.VoidType(), []), "", "~{memory}", side_effect=True), [])


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


def _load(builder, pointer, kind):
    value = builder.load(builder.bitcast(pointer, kind.as_pointer()))
    value.align = min(4, BYTES.get(kind, 4))
    return value


def _prefetch(builder, pointer):
    function = vector_function(builder.module, "llvm.prefetch.p0", ir.VoidType(), [POINTER, I32, I32, I32])
    builder.call(function, [pointer, I32(0), I32(2), I32(1)])  # to read; into the second cache; data


@intrinsic
def block16(typing_context, rows, strips, a, a_row, b, strip, c, c_row, steps, add, ahead, lines):
    """See BLOCK and _define: rows ≤ ROWS, strips ≤ STRIPS."""

    def codegen(context, builder, sig, args):
        rows, strips, *rest = args
        number = builder.add(builder.mul(rows, I64(4)), strips)
        rest = [builder.inttoptr(x, POINTER) if kind == POINTER else x for x, kind in zip(rest, BLOCK, strict=True)]
        builder.call(_declared(builder.module, "albert_np_block16", [I64, *BLOCK]), [number, *rest])
        return context.get_dummy_value()

    i = types.int64
    return types.void(i, i, i, i, i, i, i, i, i, types.boolean, i, i), codegen


# --- what stands around block calls; unit.py has the same for tiles ---------------------------------------------------------


@helper
def begin(rows):
    """Before the first product of a kernel, with so many rows of A. Gives what `end` takes. Registers need no such word."""
    return 0


@helper
def shape(rows):
    """Before a block of other rows than the last one's: min(rows, ROWS) after `begin`. Nor this one."""


@helper
def end(before):
    """After the last product. Nor this one."""


flush, unflush = (
    flush_subnormals,
    restore,
)  # before and after blocks: what is computed between them keeps subnormal numbers
