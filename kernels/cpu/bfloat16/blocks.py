"""The innermost loops of a bfloat16 product: a few rows of A by strips of sixteen columns of B, in the order of operand.py.

The naive version, kept for teaching:

    for k in range(0, K, 32):
        even = odd = zeros((rows, 16), float32)
        for j in range(k, k + 32, 2):
            even += a[:, j, None] * b[j]
            odd += a[:, j + 1, None] * b[j + 1]
        C += even + odd

B lies in strips of sixteen columns. A strip is 1 KB for each 32 k, a tile of AMX: sixteen rows of 64 bytes, a word of two
numbers for each column. Which two, operand.SLOTS says. One register of AVX-512, two of AVX2, four of NEON read a row.
"""

from __future__ import annotations

from typing import NamedTuple

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from albert_np.kernels.cpu.bfloat16.operand import OPERAND, STEP, UNIT
from albert_np.kernels.cpu.simd import chosen_level
from albert_np.kernels.cpu.vector import BYTES, F32, F64, I8, I32, I64, LANES, multiply_add, splatted, vector_function

LEVEL = chosen_level()
WIDTH = LEVEL.width
# a block keeps two sums and a total for each of its numbers, one word of A and two registers of B: of 32 registers, or of 16
MANY = LEVEL.name in ("avx512", "neon")
ROWS, STRIPS = (4, 2) if LEVEL.name == "avx512" else (8 if MANY else 4, 1)
STRIP_STEP = 2 * STEP * LANES  # bytes of a strip for each step of 32 k
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
    for part in range(LANES // WIDTH):
        _emit_part(builder, function, size, part)
    builder.ret_void()
    return function


def _emit_part(builder, function, size, part):
    """The columns of one register of each strip."""
    a, a_row, b, strip, c, c_row, steps, add, ahead, lines = function.args
    offset = I64(4 * WIDTH * part)
    places = [
        builder.gep(c, [builder.add(builder.add(builder.mul(c_row, I64(i)), I64(4 * LANES * j)), offset)])
        for i in range(size.rows)
        for j in range(size.strips)
    ]
    before = builder.block
    more, loop, fetch, fetched, end = (
        function.append_basic_block(n) for n in ["more", "loop", "fetch", "fetched", "end"]
    )
    builder.cbranch(add, more, loop)
    builder.position_at_end(more)
    old = [_load(builder, place, VECTOR) for place in places]
    builder.branch(loop)

    builder.position_at_end(loop)
    k, from_a, from_b, from_ahead = (builder.phi(kind) for kind in (I64, POINTER, POINTER, POINTER))
    totals = [builder.phi(VECTOR) for _ in places]
    sums = _emit_step(
        builder,
        size,
        from_a,
        a_row,
        [builder.gep(from_b, [builder.add(builder.mul(strip, I64(j)), offset)]) for j in range(size.strips)],
    )
    after = [builder.fadd(total, both) for total, both in zip(totals, sums, strict=True)]
    builder.cbranch(builder.icmp_signed(">", lines, I64(0)), fetch, fetched)

    builder.position_at_end(fetch)
    line = builder.phi(I64)
    _prefetch(builder, builder.gep(from_ahead, [builder.mul(line, I64(64))]))
    next_line = builder.add(line, I64(1))
    line.add_incoming(I64(0), loop)
    line.add_incoming(next_line, fetch)
    builder.cbranch(builder.icmp_signed("<", next_line, lines), fetch, fetched)

    builder.position_at_end(fetched)
    next_k = builder.add(k, I64(1))
    later = [
        next_k,
        builder.gep(from_a, [I64(STEP * OPERAND.bytes)]),
        builder.gep(from_b, [I64(STRIP_STEP)]),
        builder.gep(from_ahead, [builder.mul(lines, I64(64))]),
    ]
    for phi, first, then in zip((k, from_a, from_b, from_ahead), (I64(0), a, b, ahead), later, strict=True):
        for block in (before, more):
            phi.add_incoming(first, block)
        phi.add_incoming(then, fetched)
    zero = ir.Constant(VECTOR, [0.0] * WIDTH)
    for phi, was, then in zip(totals, old, after, strict=True):
        phi.add_incoming(zero, before)
        phi.add_incoming(was, more)
        phi.add_incoming(then, fetched)
    builder.cbranch(builder.icmp_signed("<", next_k, steps), loop, end)

    builder.position_at_end(end)
    for place, value in zip(places, after, strict=True):
        builder.store(value, builder.bitcast(place, VECTOR.as_pointer())).align = 4


def _emit_step(builder, size, a, a_row, strips):
    """Thirty-two k: even + odd for each number of the block, row by row."""
    zero = ir.Constant(VECTOR, [0.0] * WIDTH)
    even, odd = [zero] * (size.rows * size.strips), [zero] * (size.rows * size.strips)
    rows = [builder.gep(a, [builder.mul(a_row, I64(i))]) for i in range(size.rows)]
    emit = _emit_pairs if UNIT == "pairs" else _emit_floats
    for word in range(0, STEP // 2, 2):
        # a wall: LLVM would load words of later k here, and spill sums to make room for them
        builder.call(ir.InlineAsm(ir.FunctionType(ir.VoidType(), []), "", "~{memory}", side_effect=True), [])
        emit(builder, word, rows, strips, even, odd)
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
    for place in (word, word + 1):
        columns = []
        for b in strips:
            both = _load(builder, builder.gep(b, [I64(4 * LANES * place)]), WORDS)
            low = builder.shl(both, ir.Constant(WORDS, [16] * WIDTH))
            high = builder.and_(both, ir.Constant(WORDS, [0xFFFF0000] * WIDTH))
            columns.append((builder.bitcast(low, VECTOR), builder.bitcast(high, VECTOR)))
        for i, row in enumerate(rows):
            for half, sums in enumerate((even, odd)):
                one = _load(builder, builder.gep(row, [I64(4 * (2 * place + half))]), F32)
                one = splatted(builder, one, WIDTH)
                for j, column in enumerate(columns):
                    number = i * len(strips) + j
                    sums[number] = _multiply_add(builder, one, column[half], sums[number])


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
