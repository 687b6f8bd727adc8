"""What products of narrow numbers share: B in strips of sixteen columns, and the loops over them, whatever multiplies.

A strip is 1 KB for each step of k, a tile of AMX: sixteen rows of 64 bytes, a word of four bytes for each column. So a step
is 32 k of bfloat16, or 64 of int8. A block is a few rows of A by one strip or two, and C is 32 bits a number. Blocks are
emitted as LLVM's language, once; where Numba compiles a kernel that calls them they are only declared.
"""

from __future__ import annotations

from typing import NamedTuple

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from albert_np.kernels.cpu.vector import BYTES, I8, I32, I64, helper, vector_function

STRIP_STEP = 1024  # bytes of a strip for each step of k
CHUNK_STEPS = 12  # a chunk of k: two strips of it are 24 KB, and stay in the first cache while rows pass by
LINE = 64  # bytes of a cache line
POINTER, I1 = I8.as_pointer(), ir.IntType(1)
# of a block, all in bytes but steps and lines: a, a_row, b, strip, c, c_row, steps, add, ahead, lines
BLOCK = [POINTER, I64, POINTER, I64, POINTER, I64, I64, I1, POINTER, I64]


class Size(NamedTuple):
    """Of a block: rows of A and strips of B."""

    rows: int
    strips: int


# --- blocks as a module ---------------------------------------------------------------------------------------------------


def declared(module, name, arguments):
    """void name(arguments), in a module that calls it or defines it."""
    return module.globals.get(name) or ir.Function(module, ir.FunctionType(ir.VoidType(), arguments), name)


def blocks_of(name, most, define):
    """The module of all sizes up to `most`, and of `name`, which calls the one of a number. define(module, size) emits one."""
    module = ir.Module(name)
    number, *arguments = (chosen := declared(module, name, [I64, *BLOCK])).args
    builder = ir.IRBuilder(chosen.append_basic_block())
    switch = builder.switch(number, nothing := chosen.append_basic_block("nothing"))
    for rows in range(1, most.rows + 1):
        for strips in range(1, most.strips + 1):
            builder.position_at_end(case := chosen.append_basic_block())
            builder.call(define(module, Size(rows, strips)), arguments)
            builder.ret_void()
            switch.add_case(I64(rows * 4 + strips), case)
    builder.position_at_end(nothing)
    builder.ret_void()
    return module


def block_called(name):
    """The block of that name for kernels to call; BLOCK has its arguments, behind rows and strips."""

    @intrinsic
    def block(typing_context, rows, strips, a, a_row, b, strip, c, c_row, steps, add, ahead, lines):
        def codegen(context, builder, sig, args):
            rows, strips, *rest = args
            number = builder.add(builder.mul(rows, I64(4)), strips)
            rest = [builder.inttoptr(x, POINTER) if kind == POINTER else x for x, kind in zip(rest, BLOCK, strict=True)]
            builder.call(declared(builder.module, name, [I64, *BLOCK]), [number, *rest])
            return context.get_dummy_value()

        i = types.int64
        return types.void(i, i, i, i, i, i, i, i, i, types.boolean, i, i), codegen

    return block


# --- pieces of a block ----------------------------------------------------------------------------------------------------


def emit_loop(builder, stop, by, first, body):
    """values = first; for i in range(0, stop, by): values = body(values). At least one turn; gives what the values are then."""
    function, before = builder.function, builder.block
    loop, done = function.append_basic_block("loop"), function.append_basic_block("done")
    builder.branch(loop)
    builder.position_at_end(loop)
    i, values = builder.phi(I64), [builder.phi(value.type) for value in first]
    later = body(values)
    i_next = builder.add(i, I64(by))
    for phi, at_first, then in zip([i, *values], [I64(0), *first], [i_next, *later], strict=True):
        phi.add_incoming(at_first, before)
        phi.add_incoming(then, builder.block)
    builder.cbranch(builder.icmp_signed("<", i_next, stop), loop, done)
    builder.position_at_end(done)
    return later


def emit_wall(builder):
    """LLVM would load what later k need here, and spill sums to make room for it."""
    builder.call(ir.InlineAsm(ir.FunctionType(ir.VoidType(), []), "", "~{memory}", side_effect=True), [])


def emit_load(builder, pointer, kind):
    value = builder.load(builder.bitcast(pointer, kind.as_pointer()))
    value.align = min(4, BYTES.get(kind, 4))
    return value


def emit_prefetch(builder, pointer):
    """Asks for a cache line that will be read soon. Any address will do."""
    function = vector_function(builder.module, "llvm.prefetch.p0", ir.VoidType(), [POINTER, I32, I32, I32])
    builder.call(function, [pointer, I32(0), I32(2), I32(1)])  # to read; into the second cache; data


# --- the loops around blocks ----------------------------------------------------------------------------------------------


def multiplying(unit, block, a_step):
    """The loops around a block. unit: a module with ROWS, AHEAD_FROM and shape; a_step: bytes of A a step of k."""
    most, ahead_from, shape = unit.ROWS, unit.AHEAD_FROM, unit.shape

    @helper
    def multiply(a, a_row, b, strip, strips, steps, chunk, c, c_row, rows, following):  # (rows, k) -> (rows, 16·strips)
        """C = A·B for one strip or two, `chunk` steps at a time. All in bytes, but rows, strips and steps.

        It is called between begin(rows) and end: blocks have min(rows, ROWS) rows before it, and after.
        following: where the next strips begin, which are fetched meanwhile; 0 for none.
        """
        blocks = (rows + most - 1) // most
        lines = (16 * strips + blocks - 1) // blocks if following != 0 and rows >= ahead_from else 0
        k = 0
        # no range: with steps of 0 it would raise an exception, and leave tiles and registers as they are here
        while k < steps:
            some = min(chunk, steps - k)
            for m in range(0, rows, most):
                if m > 0 and rows - m < most:
                    shape(rows - m)
                block(
                    min(most, rows - m),
                    strips,
                    a + m * a_row + a_step * k,
                    a_row,
                    b + STRIP_STEP * k,
                    strip,
                    c + m * c_row,
                    c_row,
                    some,
                    k > 0,
                    following + STRIP_STEP * strips * k + LINE * lines * some * (m // most),
                    lines,
                )
            if rows > most and rows % most != 0:
                shape(most)
            k += chunk

    return multiply


# --- what a unit of registers has where tiles are set up (tile_blocks.around) ---------------------------------------------


@helper
def nothing_begins(rows):
    """Before the first product of a kernel, with so many rows of A. Gives what `end` takes."""
    return 0


@helper
def no_shape(rows):
    """Before a block of other rows than the last one's: min(rows, ROWS) after `begin`."""


@helper
def no_end(before):
    """After the last product."""
