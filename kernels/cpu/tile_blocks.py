"""The innermost loops of a product on AMX's tiles: sixteen rows of A by two strips of sixteen columns of B.

The naive version, kept for teaching, with tiles as arrays:

    for k in range(steps):
        for j in range(strips):
            C[j] += A[k] @ B[j][k]              # one instruction; operand.py has its order for bfloat16

There are eight tiles, each up to 16 rows of 64 bytes. A multiplication takes one of A (16 × 32 bfloat16, or 16 × 64 uint8), one
of B (for each of 16 columns 32 numbers of bfloat16 or 64 of int8, two or four to a word, 16 words below each other) and one of
sums (16 × 16 float32 or int32). How many rows and bytes a tile has is a state of the core, the configuration.

    kind     A         B      C         instruction
    bf16     bfloat16  same   float32   tdpbf16ps
    u8s8     uint8     int8   int32     tdpbusd

For each kind a step of k is 64 bytes of a row of A, and a tile of 1 KB in a strip of B.

The ladder. It is that of a prototype on one Sapphire Rapids, a shared machine; this repository has not run on such a CPU yet.
Nanoseconds for one multiplication (16 × 16 × 32 bfloat16), where the core's other hyperthread rests, and where it works:

    2 × 2 tiles of sums, as every manual has it     7.6    28.9   eight live tiles: a load waits until another is free
    1 × 2: two of sums, one of A, one of B          7.6    14.5   four live ones; B is loaded twice into the same tile

    k in chunks of 384, from 33 rows on             + 25 to 35 %: two strips' chunk (24 KB) stays in the first cache
    256 rows of A a tile of the step, K ≤ 1024      the strips are read half as often, and A stays in the second cache
    the next strips fetched, from 48 rows on        with fewer rows the core only waits for memory anyway

No gain: packing A, fetching A ahead, huge pages. A configuration costs tens of nanoseconds, as much as several
multiplications, and zeroes all tiles: `begin` sets it, and only rows that are left over (M mod 16) set another. `end` gives
the tiles back: else the core would save 8 KB at every switch of threads, and hold them from its sibling.

All tile instructions are in the module that `blocks` gives, none in what Numba compiles: LLVM aborts the process where it is to
write one for a CPU without tiles, and Numba writes for the CPU it runs on. Numbers of tiles are parts of the instructions, so
LLVM allots nothing and keeps the order.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from albert_np.kernels.cpu import simd
from albert_np.kernels.cpu.strips import BLOCK, LINE, POINTER, STRIP_STEP, emit_prefetch
from albert_np.kernels.cpu.vector import I8, I64, vector_function

ROWS, STRIPS = 16, 2
CHUNKS_FROM, AHEAD_FROM = 33, 48  # rows from which k goes in chunks, and the strips that come next are fetched
ROW = 64  # bytes of a row of A a step
OF_A, OF_B = 6, 7  # tiles; sums are 0 and 1
INSTRUCTIONS = {"bf16": ("tdpbf16ps", "amx-bf16"), "u8s8": ("tdpbusd", "amx-int8")}
VOID = ir.VoidType()


def _emit(builder, instruction, *operands):
    """One tile instruction: LLVM's own, or the function that does the same (tile_emulation.py), which takes int64 alone."""
    if not simd.are_tiles_emulated():
        kinds = [x.type for x in operands]
        return builder.call(vector_function(builder.module, f"llvm.x86.{instruction}", VOID, kinds), operands)
    numbers = [
        builder.ptrtoint(x, I64) if x.type == POINTER else builder.zext(x, I64) if x.type == I8 else x for x in operands
    ]
    function = vector_function(builder.module, f"albert_np_{instruction}", VOID, [I64] * len(numbers))
    return builder.call(function, numbers)


def blocks(name: str, kind: str) -> ir.Module:
    """The module of `name`, which multiplies a block of one of INSTRUCTIONS, and of what stands around its calls.

    Raises ValueError where LLVM would have to write tile instructions for a CPU that has none.
    """
    instruction, feature = INSTRUCTIONS[kind]
    _, features = simd.target()
    missing = [need for need in ("amx-tile", feature) if f"+{need}" not in features.split(",")]
    if missing and not simd.are_tiles_emulated():
        raise ValueError(
            f"blocks of tiles need a CPU with {', '.join(missing)}; the kernels are compiled for one without: choose "
            "another unit (units.py)"
        )
    module = ir.Module(name)
    _define_shape(module, f"{name}_shape")
    _define_release(module, f"{name}_release")
    _define_block(module, name, instruction)
    return module


def _entry(module, name, kinds):
    """A new function, and a builder at its entry."""
    function = vector_function(module, name, VOID, kinds)
    function.attributes.add("nounwind")
    return function, ir.IRBuilder(function.append_basic_block("entry"))


def _configuration(rows):
    """64 bytes for ldtilecfg: palette 1, rows of 64 bytes; so many of them for sums and A, and for B as many as A has words."""
    wide = [n for _ in range(8) for n in (ROW, 0)]
    return [1, *[0] * 15, *wide, *[0] * 16, *[ROWS if i == OF_B else rows for i in range(8)], *[0] * 8]


def _define_shape(module, name):
    """void name(rows): from now on blocks have 1 … ROWS rows. All tiles become zero."""
    function, builder = _entry(module, name, [I64])
    table = [byte for rows in range(1, ROWS + 1) for byte in _configuration(rows)]
    kind = ir.ArrayType(I8, len(table))
    variable = ir.GlobalVariable(module, kind, f"{name}_table")
    variable.global_constant, variable.linkage, variable.align = True, "internal", 64
    variable.initializer = ir.Constant(kind, bytearray(table))
    place = builder.mul(builder.sub(function.args[0], I64(1)), I64(64))
    _emit(builder, "ldtilecfg", builder.gep(builder.bitcast(variable, POINTER), [place]))
    builder.ret_void()


def _define_release(module, name):
    """void name()"""
    _, builder = _entry(module, name, [])
    _emit(builder, "tilerelease")
    builder.ret_void()


def _define_block(module, name, instruction):
    """void name(strips, BLOCK…): C = A·B, or C += A·B, over `steps` steps of k, at least one, for one strip or for two.

    It asks for `lines` cache lines a step from `ahead` on.
    """
    function, builder = _entry(module, name, [I64, *BLOCK])
    with builder.if_else(builder.icmp_signed("==", function.args[0], I64(STRIPS))) as (two, one):
        with two:
            _emit_size(builder, STRIPS, instruction)
        with one:
            _emit_size(builder, 1, instruction)
    builder.ret_void()


def _emit_size(builder, strips, instruction):
    """The same for so many strips."""
    function = builder.function
    _, a, a_row, b, strip, c, c_row, steps, add, ahead, lines = function.args
    loop, fetch, fetched, end = (function.append_basic_block(n) for n in ("loop", "fetch", "fetched", "end"))
    with builder.if_else(add) as (more, first):
        with more:
            for j in range(strips):
                _emit(builder, "tileloadd64", I8(j), builder.gep(c, [I64(ROW * j)]), c_row)
        with first:
            for j in range(strips):
                _emit(builder, "tilezero", I8(j))
    before = builder.block
    builder.branch(loop)

    builder.position_at_end(loop)
    k, from_a, from_b, from_ahead = (builder.phi(kind) for kind in (I64, POINTER, POINTER, POINTER))
    _emit(builder, "tileloadd64", I8(OF_A), from_a, a_row)
    for j in range(strips):
        _emit(builder, "tileloadd64", I8(OF_B), builder.gep(from_b, [builder.mul(strip, I64(j))]), I64(ROW))
        _emit(builder, instruction, I8(j), I8(OF_A), I8(OF_B))
    builder.cbranch(builder.icmp_signed(">", lines, I64(0)), fetch, fetched)

    builder.position_at_end(fetch)
    line = builder.phi(I64)
    emit_prefetch(builder, builder.gep(from_ahead, [builder.mul(line, I64(LINE))]))
    next_line = builder.add(line, I64(1))
    line.add_incoming(I64(0), loop)
    line.add_incoming(next_line, fetch)
    builder.cbranch(builder.icmp_signed("<", next_line, lines), fetch, fetched)

    builder.position_at_end(fetched)
    next_k = builder.add(k, I64(1))
    later = [
        next_k,
        builder.gep(from_a, [I64(ROW)]),
        builder.gep(from_b, [I64(STRIP_STEP)]),
        builder.gep(from_ahead, [builder.mul(lines, I64(LINE))]),
    ]
    for phi, start, then in zip((k, from_a, from_b, from_ahead), (I64(0), a, b, ahead), later, strict=True):
        phi.add_incoming(start, before)
        phi.add_incoming(then, fetched)
    builder.cbranch(builder.icmp_signed("<", next_k, steps), loop, end)

    builder.position_at_end(end)
    for j in range(strips):
        _emit(builder, "tilestored64", I8(j), builder.gep(c, [I64(ROW * j)]), c_row)


# --- what kernels call ----------------------------------------------------------------------------------------------------


def block(name):
    """What calls `name`: rows, strips, and then what BLOCK has."""

    @intrinsic
    def call(typing_context, rows, strips, a, a_row, b, strip, c, c_row, steps, add, ahead, lines):
        def codegen(context, builder, sig, args):
            _, strips, *rest = args  # rows are what `shape` has said
            rest = [builder.inttoptr(x, POINTER) if kind == POINTER else x for x, kind in zip(rest, BLOCK, strict=True)]
            builder.call(vector_function(builder.module, name, VOID, [I64, *BLOCK]), [strips, *rest])
            return context.get_dummy_value()

        i = types.int64
        return types.void(i, i, i, i, i, i, i, i, i, types.boolean, i, i), codegen

    return call


def around(name):
    """begin, shape and end of `name`, as bfloat16/blocks.py has them for registers."""

    @intrinsic
    def begin(typing_context, rows):
        """Before the blocks of a product with so many rows of A. Gives what `end` takes."""

        def codegen(context, builder, sig, args):
            rows = builder.select(builder.icmp_signed("<", args[0], I64(ROWS)), args[0], I64(ROWS))
            rows = builder.select(builder.icmp_signed("<", rows, I64(1)), I64(1), rows)  # no rows is no configuration
            builder.call(vector_function(builder.module, f"{name}_shape", VOID, [I64]), [rows])
            return I64(0)

        return types.int64(types.int64), codegen

    @intrinsic
    def shape(typing_context, rows):
        """Before a block of other rows than the last one's: min(rows, ROWS) after `begin`."""

        def codegen(context, builder, sig, args):
            builder.call(vector_function(builder.module, f"{name}_shape", VOID, [I64]), args)
            return context.get_dummy_value()

        return types.void(types.int64), codegen

    @intrinsic
    def end(typing_context, before):
        """After them: no tile is in use any more."""

        def codegen(context, builder, sig, args):
            builder.call(vector_function(builder.module, f"{name}_release", VOID, []), [])
            return context.get_dummy_value()

        return types.void(types.int64), codegen

    return begin, shape, end
