"""C = A·B, with what follows it done while C is in cache: + bias, + residual, or activation.

The naive version, kept for teaching:

    for m in range(M):
        for n in range(N):
            for k in range(K):
                C[m, n] += A[m, k] * B[k, n]

The ladder, on one core of a Zen 3 (AVX2: 103 Gflop/s of fused multiply-adds at most), 128 × 768 × 768, in Gflop/s. The machine
was shared, so these are the best of many runs; benchmarks/bench_kernels.py measures the last line again.

    naive, compiled                              1.2   one addition waits for the other, and B is read by columns
    k outside n, as LLVM makes vectors of it     18    C is read and written for every k
    NumPy (OpenBLAS)                             69
    a block of C in registers, B in panels       78    4 × 3 vectors of sums; B is packed once, at load, and read straight ahead
    buffers aligned to 64 bytes                  83    no load of B lies across two cache lines
    panels one chunk of k deep                   88    12 KB: this one and the next are in the first cache while rows of A pass
    unrolled by eight                            92    by four, the end of each chunk of k is mispredicted
    the next panel fetched inside the loop       92    each block of rows its share; see below
    tiles of up to 192 columns                   93    A is read from the second cache less often

The fetching is what few rows live by, for which B comes from memory each time: a whole forward of 1 × 8 tokens went from 27 to
18 ms, of 1 × 32 from 75 to 62. Asking a page ahead left the memory idle while the second block of rows was computed; asking
between the blocks crowds the queue of misses; and asking for what is there already costs a twentieth with many rows, since the
core takes in no more than six instructions a cycle, three if it is shared. Hence PARTS.

Tried, and left. Packing A: 12 FMAs wait for 4 numbers of A, which are there in time where they lie; fetching its next rows: no
gain. Blocks of 6 × 2: as fast on long runs, but 8 rows, a short sentence, are two blocks of 4. Blocks of 3 × 4 with one of four
vectors of B loaded by the FMA itself: 1 % faster out of the first cache, not inside a model. Unrolled by sixteen: slower. Huge
pages: no gain. One chunk of 256 k: 3 % faster, and the whole model's error above PyTorch's; of 64: the error a fifth smaller,
3 % slower.

Each number of C is a sum in one fixed order, whatever block, tile or thread it falls to and however many rows there are: k in
order within a chunk of CHUNK, by FMA, and the chunks in order. So the size of the registers changes no bit either.
"""

from __future__ import annotations

from typing import NamedTuple

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from albert_np.kernels.cpu.activations import apply
from albert_np.kernels.cpu.layout import CHUNK, MC, PACKED
from albert_np.kernels.cpu.simd import chosen_level
from albert_np.kernels.cpu.vector import (
    F32,
    I32,
    I64,
    at,
    get,
    helper,
    load,
    multiply_add,
    place_of,
    put,
    splatted,
    store,
    transpose,
)

LEVEL = chosen_level()
ROWS, WIDTH, COLUMNS = LEVEL.rows, LEVEL.width, LEVEL.columns
# attention's panels: keys come in sixteens, and 64 values a head are four of them; with so few columns a block takes more rows
PANEL, PANEL_ROWS = min(COLUMNS, 16), LEVEL.panel_rows
UNROLL = LEVEL.unroll
LINE = 16  # numbers a cache line
# a block fetches a half, say, of the panel that comes next, where two blocks or three will be computed
PARTS = (12, 4, 2, 1)

# --- the block: rows × vectors accumulators in registers ------------------------------------------------------------------


POINTER = F32.as_pointer()
# of a block: a, a_row, b, c, c_row, K, add, times, following
BLOCK = [POINTER, I64, POINTER, POINTER, I64, I64, ir.IntType(1), I64, POINTER]
VECTOR = ir.VectorType(F32, WIDTH)


class Size(NamedTuple):
    """Of a block: so many rows and registers of columns, and how many of its kind share the fetching of a panel."""

    rows: int
    vectors: int
    parts: int


def _declared(module, name, arguments):
    """void name(arguments), in a module that calls it or defines it."""
    return module.globals.get(name) or ir.Function(module, ir.FunctionType(ir.VoidType(), arguments), name)


def _block_of(module, size):
    return _declared(module, f"albert_np_block_{size.rows}x{size.vectors}_{size.parts}", BLOCK)


def _sizes():
    """All blocks that there are. Only whole ones are computed several times."""
    for most, columns in {(ROWS, COLUMNS), (PANEL_ROWS, PANEL)}:
        for vectors in range(1, columns // WIDTH + 1):
            yield from (Size(rows, vectors, 1) for rows in range(1, most))
            yield from (Size(most, vectors, parts) for parts in PARTS)


SIZES = sorted(set(_sizes()))


def blocks():
    """The module of all sizes of block, and of `albert_np_block`, which calls the one of a number: emitted here once, and only
    declared where Numba compiles a kernel that calls it."""
    module = ir.Module("blocks")
    for size in SIZES:
        _define(module, size)
    number, *arguments = (chosen := _declared(module, "albert_np_block", [I64, *BLOCK])).args
    builder = ir.IRBuilder(chosen.append_basic_block())
    switch = builder.switch(number, nothing := chosen.append_basic_block("nothing"))
    for size in SIZES:
        builder.position_at_end(case := chosen.append_basic_block())
        builder.call(_block_of(module, size), arguments)
        builder.ret_void()
        switch.add_case(I64(_number.py_func(*size)), case)
    builder.position_at_end(nothing)
    builder.ret_void()
    return module


def _define(module, size):
    """One size of block, `times` of them below each other: C = or += A·B, the sums over K in registers.

    Each block fetches its share of the next panel of B while it computes: one part of it, and a little more.

        entry
          │
        next_rows ◄──────────────────┐   a_now, c_now, share_now: of the block that is next
          ├──────────► wide ⟲        │   UNROLL steps over k a turn, and fetching
          │              │           │
        between ◄────────┘           │   what the sums are, whether or not there was a turn
          ├──────────► narrow ⟲      │   the steps over k that are left, one a turn
          │              │           │
        done ◄───────────┘           │
          ├──► plain: C = sums ──┐   │
          └──► added: C += sums ─┤   │
                                 ▼   │
                            after_rows ──► end

    The values that change from turn to turn are LLVM's phis: each says what it is, by where the flow came from.
    """
    function = _block_of(module, size)
    function.attributes.add("nounwind")
    a, a_row, b, c, c_row, K, add, times, following = function.args
    names = "entry next_rows wide between narrow done plain added after_rows end"
    entry, next_rows, wide, between, narrow, done, plain, added, after_rows, end = (
        function.append_basic_block(name) for name in names.split()
    )

    builder = ir.IRBuilder(entry)
    whole = builder.and_(K, I64(-UNROLL))
    share = builder.sdiv(builder.mul(K, I64(size.vectors * WIDTH)), times)
    builder.branch(next_rows)

    builder.position_at_end(next_rows)
    a_now, c_now, share_now, to_do = (builder.phi(kind) for kind in (POINTER, POINTER, POINTER, I64))
    starts = [builder.gep(a_now, [builder.mul(a_row, I64(i))]) for i in range(size.rows)]
    lines = [builder.gep(c_now, [builder.mul(c_row, I64(i))]) for i in range(size.rows)]
    builder.cbranch(builder.icmp_signed("<", I64(0), whole), wide, between)

    zeros = [ir.Constant(VECTOR, [0.0] * WIDTH)] * (size.rows * size.vectors)
    first = [I64(0), b, share_now, *zeros]
    fetched = -(-UNROLL * size.vectors * WIDTH // size.parts)
    more, after_wide = _emit_steps(builder, wide, size, starts, first, whole, next_rows, count=UNROLL, fetched=fetched)
    builder.cbranch(more, wide, between)

    builder.position_at_end(between)
    middle = _emit_joined(builder, first, next_rows, after_wide, wide)
    builder.cbranch(builder.icmp_signed("<", middle[0], K), narrow, done)

    more, after_narrow = _emit_steps(builder, narrow, size, starts, middle, K, between, count=1, fetched=0)
    builder.cbranch(more, narrow, done)

    builder.position_at_end(done)
    _, _, _, *sums = _emit_joined(builder, middle, between, after_narrow, narrow)
    builder.cbranch(add, added, plain)
    for block in (plain, added):
        builder.position_at_end(block)
        _emit_stores(builder, size, lines, sums, adds=block is added)
        builder.branch(after_rows)

    builder.position_at_end(after_rows)
    share_next = builder.gep(share_now, [share])
    a_next, c_next = (builder.gep(x, [builder.mul(row, I64(size.rows))]) for x, row in ((a_now, a_row), (c_now, c_row)))
    left = builder.sub(to_do, I64(1))
    for phi, at_first, later in zip(
        (a_now, c_now, share_now, to_do), (a, c, following, times), (a_next, c_next, share_next, left), strict=True
    ):
        phi.add_incoming(at_first, entry)
        phi.add_incoming(later, after_rows)
    builder.cbranch(builder.icmp_signed(">", to_do, I64(1)), next_rows, end)

    builder.position_at_end(end)
    builder.ret_void()


def _emit_steps(builder, block, size, starts, first, stop, before, *, count, fetched):
    """A loop over k in `block`, `count` steps a turn, each turn fetching so many numbers; is there more, and what is after it.

    starts: where each row of A begins. The loop's values are k, where B is read, where is fetched, and the sums, row by row;
    `first` are those that come from the block `before`.
    """
    builder.position_at_end(block)
    k, from_b, ahead, *sums = phis = [builder.phi(value.type) for value in first]
    for number in range(0, fetched, LINE):
        _prefetch(builder, builder.gep(ahead, [I64(number)]))
    for u in range(count):
        # a wall: LLVM would load vectors of later steps here, and with AVX-512 spill sums to make room for them
        builder.call(ir.InlineAsm(ir.FunctionType(ir.VoidType(), []), "", "~{memory}", side_effect=True), [])
        panel = [_emit_load_of_b(builder, from_b, (u * size.vectors + j) * WIDTH) for j in range(size.vectors)]
        for i in range(size.rows):
            one = splatted(builder, builder.load(builder.gep(starts[i], [builder.add(k, I64(u))])), WIDTH)
            for j in range(size.vectors):
                number = i * size.vectors + j
                sums[number] = multiply_add(builder, one, panel[j], sums[number])
    whole_lines = -(-fetched // LINE) * LINE
    after = [builder.add(k, I64(count)), builder.gep(from_b, [I64(count * size.vectors * WIDTH)])]
    after += [builder.gep(ahead, [I64(whole_lines)]), *sums]
    for phi, at_first, later in zip(phis, first, after, strict=True):
        phi.add_incoming(at_first, before)
        phi.add_incoming(later, block)
    return builder.icmp_signed("<", after[0], stop), after


def _emit_load_of_b(builder, b, place):
    """A register of float32 from a panel: here is what an element of a packed operand is (layout.PACKED)."""
    vector = builder.load(builder.bitcast(builder.gep(b, [I64(place)]), VECTOR.as_pointer()))
    vector.align = 4
    return vector


def _emit_joined(builder, first, before, second, block):
    """What the values are, whether or not the loop in `block` was run."""
    phis = [builder.phi(value.type) for value in first]
    for phi, x, y in zip(phis, first, second, strict=True):
        phi.add_incoming(x, before)
        phi.add_incoming(y, block)
    return phis


def _emit_stores(builder, size, lines, sums, *, adds):
    """C = or += the sums."""
    for i in range(size.rows):
        for j in range(size.vectors):
            place = builder.bitcast(builder.gep(lines[i], [I64(j * WIDTH)]), VECTOR.as_pointer())
            value = sums[i * size.vectors + j]
            if adds:
                old = builder.load(place)
                old.align = 4
                value = builder.fadd(old, value)
            builder.store(value, place).align = 4


def _prefetch(builder, pointer):
    """Asks for a cache line that will be read soon. Any address will do."""
    kind = ir.FunctionType(ir.VoidType(), [F32.as_pointer(), I32, I32, I32])
    function = builder.module.globals.get("llvm.prefetch.p0") or ir.Function(builder.module, kind, "llvm.prefetch.p0")
    builder.call(function, [pointer, I32(0), I32(3), I32(1)])  # to read; into the first cache; data


@helper
def _number(rows, vectors, parts):
    """One number for a size of block."""
    return (rows * 16 + vectors) * 16 + parts


@intrinsic
def block(typing_context, number, a, a_row, b, c, c_row, K, add, times, following):
    def codegen(context, builder, sig, args):
        wanted = [I64, *BLOCK]
        args = [builder.inttoptr(x, POINTER) if kind == POINTER else x for x, kind in zip(args, wanted, strict=True)]
        builder.call(_declared(builder.module, "albert_np_block", wanted), args)
        return context.get_dummy_value()

    i = types.int64
    return types.void(i, i, i, i, i, i, i, types.boolean, i, i), codegen


in_panels = place_of(PACKED)  # where element i of a packed operand lies

# --- the loops around it --------------------------------------------------------------------------------------------------


@helper
def multiply(a, a_row, b, columns, panel_columns, c, c_row, M, K, first_column, last_column, add, chunk):
    """C[:, first:last] = A·B, or += with add. A[m, k] lies at m·a_row + k; B is packed; columns is B's, padded.

    panel_columns: COLUMNS or PANEL, as B was packed. chunk: how many k are summed before they are added to C, CHUNK at most.
    """
    most = PANEL_ROWS if panel_columns == PANEL else ROWS
    whole, rest = M // most, M % most
    parts = 12 if whole >= 12 else 4 if whole >= 4 else 2 if whole >= 2 else 1
    for k0 in range(0, K, CHUNK):
        depth = min(CHUNK, K - k0)
        for n in range(first_column, last_column, panel_columns):
            wide = min(panel_columns, columns - n)
            panel = in_panels(b, k0 * columns + n * depth)
            if n + panel_columns < last_column:
                following = in_panels(panel, wide * depth)
            elif k0 + CHUNK < K:
                following = in_panels(b, (k0 + CHUNK) * columns + first_column * min(CHUNK, K - k0 - CHUNK))
            else:  # where the next tile begins, which is most likely this thread's too
                following = in_panels(b, last_column * min(CHUNK, K))
            for k in range(0, depth, chunk):
                at_a, at_b, at_c = at(a, k0 + k), in_panels(panel, k * wide), at(c, n)
                some, adds = min(chunk, depth - k), add or k0 + k > 0
                if whole > 0:
                    size = _number(most, wide // WIDTH, parts)
                    block(size, at_a, a_row, at_b, at_c, c_row, some, adds, whole, following)
                if rest > 0:
                    size = _number(rest, wide // WIDTH, 1)
                    at_a, at_c = at(at_a, most * whole * a_row), at(at_c, most * whole * c_row)
                    block(size, at_a, a_row, at_b, at_c, c_row, some, adds, 1, following)


@helper
def _finish(c, c_row, M, first_column, last_column, bias, residual, residual_row, activation):
    """The epilogue: activation(C + bias) + residual, over a part of C that was just written."""
    for m in range(M):
        row = at(c, m * c_row)
        for n in range(first_column, last_column, 16):
            x = load(row, n)
            if bias != 0:
                x = x + load(bias, n)
            if activation != 0:
                x = apply(activation, x)
            if residual != 0:
                x = x + load(at(residual, m * residual_row), n)
            store(row, n, x)


def gemm(  # (M,K), packed (K,N), (M,N), (N,), (M,N) -> (M,N)
    a, a_row, b, columns, c, c_row, M, K, bias, residual, residual_row, activation, add, tile_columns, tile, worker
):
    """One tile: MC rows by tile_columns columns, a multiple of TILE_COLUMNS. c_row must leave room for the padded columns.

    bias and residual: 0 for none, else with room for the padded columns too; activation: a code of names.py; add: C += A·B.
    """
    across = (columns + tile_columns - 1) // tile_columns
    m, n = tile // across * MC, tile % across * tile_columns
    rows, last = min(MC, M - m), min(columns, n + tile_columns)
    at_a, at_c = at(a, m * a_row), at(c, m * c_row)
    multiply(at_a, a_row, b, columns, COLUMNS, at_c, c_row, rows, K, n, last, add != 0, CHUNK)
    if bias != 0 or residual != 0 or activation != 0:
        from_row = at(residual, m * residual_row) if residual != 0 else 0
        _finish(at_c, c_row, rows, n, last, bias, from_row, residual_row, activation)


def pack(x, x_row, x_column, K, N, out, columns, tile, worker):  # (K,N) -> panels
    """B[k, n] = x[k·x_row + n·x_column], zeros up to the padded columns. One tile is one block of CHUNK.

    A panel is COLUMNS columns of one block, k by k; the panels of a block follow each other, then comes the next block.
    Sixteen numbers at a time where they lie side by side, or stand below each other; of 24 columns 8 are then written twice.
    """
    k0 = tile * CHUNK
    depth = min(CHUNK, K - k0)
    for n0 in range(0, columns, COLUMNS):
        wide = min(COLUMNS, columns - n0)
        panel, from_x = in_panels(out, k0 * columns + n0 * depth), at(x, k0 * x_row + n0 * x_column)
        done = 0
        if wide >= 16 and n0 + wide <= N:
            if x_column == 1:
                done = depth
                for k in range(depth):
                    for j in range(0, wide, 16):
                        store(panel, k * wide + min(j, wide - 16), load(from_x, k * x_row + min(j, wide - 16)))
            elif x_row == 1:
                done = depth // 16 * 16
                for k in range(0, done, 16):
                    for j in range(0, wide, 16):
                        first = min(j, wide - 16)
                        transpose(at(from_x, k + first * x_column), x_column, in_panels(panel, k * wide + first), wide)
        for k in range(done, depth):
            for j in range(wide):
                put(panel, k * wide + j, get(from_x, k * x_row + j * x_column) if n0 + j < N else 0.0)


KERNELS = (gemm, pack)
