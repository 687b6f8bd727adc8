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
    k in blocks of KC, unrolled by four          88    the panel stays in the first cache while all rows of A pass by it
    unrolled by eight                            92    by four, the end of each chunk of k is mispredicted
    the panel fetched a page ahead               92    but 5 % with 8 rows, for which B is read once, and from memory
    the next panel fetched meanwhile             90    with B out of memory, where it was 82

Tried, and left. Packing A: 12 FMAs wait for 4 numbers of A, which are there in time where they lie. Blocks of 6 × 2: as fast,
but 8 rows, a short sentence, are two blocks of 4. One chunk of 256 k: 3 % faster, and the whole model's error above PyTorch's.

Each number of C is a sum in one fixed order, whatever block, tile or thread it falls to and however many rows there are: k in
order within a chunk of CHUNK, by FMA, and the chunks in order. So the size of the registers changes no bit either.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from albert_np.kernels.cpu.activations import apply
from albert_np.kernels.cpu.layout import CHUNK, KC, MC, TILE_COLUMNS
from albert_np.kernels.cpu.simd import chosen_level
from albert_np.kernels.cpu.vector import (
    F32,
    I32,
    I64,
    get,
    helper,
    load,
    multiply_add,
    put,
    splatted,
    store,
)  # fmt: skip

LEVEL = chosen_level()
ROWS, WIDTH, VECTORS, COLUMNS = LEVEL.rows, LEVEL.width, LEVEL.vectors, LEVEL.columns
UNROLL = 8
AHEAD = 1024  # numbers of B: a page
MANY = 8  # blocks of rows, from which on the next panel is fetched into the second cache meanwhile
READ, WRITE = 0, 1
FIRST_CACHE, SECOND_CACHE = 3, 2  # as llvm.prefetch counts


# --- the block: rows × vectors accumulators in registers ------------------------------------------------------------------


def _declared(module, rows, vectors):
    """void block(a, a_row, a_column, b, c, c_row, K, add, times, chunk, next), in a module that calls it or defines it."""
    name, pointer = f"albert_np_block_{rows}x{vectors}", F32.as_pointer()
    kind = ir.FunctionType(
        ir.VoidType(), [pointer, I64, I64, pointer, pointer, I64, I64, ir.IntType(1), I64, I64, pointer]
    )
    return module.globals.get(name) or ir.Function(module, kind, name)


def blocks():
    """The module of all sizes of block: emitted here once, and only declared where Numba compiles a kernel that calls them."""
    module = ir.Module("blocks")
    for rows in range(1, ROWS + 1):
        for vectors in range(1, VECTORS + 1):
            _define(module, rows, vectors)
    return module


def _define(module, rows, vectors):
    """One size of block, `times` of them below each other: k in chunks, each a sum in registers that is added to C."""
    function, pointer = _declared(module, rows, vectors), F32.as_pointer()
    function.attributes.add("nounwind")
    a, a_row, a_column, b, c, c_row, K, add, times, chunk_of_k, following = function.args
    names = "entry next_rows fetch fetched chunk wide between narrow done plain added next_chunk after_rows end"
    entry, next_rows, fetch, fetched, chunk, wide, between, narrow, done, plain, added, next_chunk, after_rows, end = (
        function.append_basic_block(name) for name in names.split()
    )
    vector = ir.VectorType(F32, WIDTH)
    zeros = [ir.Constant(vector, [0.0] * WIDTH)] * (rows * vectors)

    builder = ir.IRBuilder(entry)
    contiguous = builder.icmp_signed("==", a_column, I64(1))
    share = builder.add(builder.sdiv(builder.mul(K, I64(vectors * WIDTH)), times), I64(16))
    # few rows have no time for it, and only crowd out what `steps` asks for
    share = builder.select(builder.icmp_signed("<", times, I64(MANY)), I64(1), share)
    builder.branch(next_rows)

    builder.position_at_end(next_rows)
    a_now, c_now, share_now, to_do = builder.phi(pointer), builder.phi(pointer), builder.phi(pointer), builder.phi(I64)
    starts = [builder.gep(a_now, [builder.mul(a_row, I64(i))]) for i in range(rows)]
    lines = [builder.gep(c_now, [builder.mul(c_row, I64(i))]) for i in range(rows)]
    for line in lines:  # not needed until the first chunk has been summed
        for j in {*range(0, vectors * WIDTH, 16), vectors * WIDTH - 1}:
            _prefetch(builder, builder.gep(line, [I64(j)]), WRITE)
    builder.branch(fetch)

    builder.position_at_end(fetch)  # these rows' share of the panel that comes next
    fetching = builder.phi(I64)
    _prefetch(builder, builder.gep(share_now, [fetching]), READ, SECOND_CACHE)
    fetching_next = builder.add(fetching, I64(16))
    fetching.add_incoming(I64(0), next_rows)
    fetching.add_incoming(fetching_next, fetch)
    builder.cbranch(builder.icmp_signed("<", fetching_next, share), fetch, fetched)

    builder.position_at_end(fetched)
    share_next = builder.gep(share_now, [share])
    builder.branch(chunk)

    builder.position_at_end(chunk)
    k_first, b_first, adds = builder.phi(I64), builder.phi(pointer), builder.phi(ir.IntType(1))
    left = builder.sub(K, k_first)
    count = builder.select(builder.icmp_signed("<", left, chunk_of_k), left, chunk_of_k)
    stop = builder.add(k_first, count)
    whole = builder.add(k_first, builder.select(contiguous, builder.and_(count, I64(-UNROLL)), I64(0)))
    builder.cbranch(builder.icmp_signed("<", k_first, whole), wide, between)

    def steps(block, first, stop, count, stride, before):
        """A loop over k in `block`, `count` at a time; is there more, and the values after it."""
        builder.position_at_end(block)
        k, from_b, *sums = phis = [builder.phi(value.type) for value in first]
        if count == UNROLL:  # B is read straight ahead, but the CPU's own prefetcher stops at every page
            for line in range(0, count * vectors * WIDTH, 16):
                _prefetch(builder, builder.gep(from_b, [I64(AHEAD + line)]), READ)
        for u in range(count):
            panel = []
            for j in range(vectors):
                at = builder.gep(from_b, [I64((u * vectors + j) * WIDTH)])
                panel.append(builder.load(builder.bitcast(at, vector.as_pointer())))
                panel[-1].align = 4
            for i in range(rows):
                at = builder.gep(starts[i], [builder.mul(builder.add(k, I64(u)), stride)])
                one = splatted(builder, builder.load(at), WIDTH)
                for j in range(vectors):
                    sums[i * vectors + j] = multiply_add(builder, one, panel[j], sums[i * vectors + j])
        after = [builder.add(k, I64(count)), builder.gep(from_b, [I64(count * vectors * WIDTH)]), *sums]
        for phi, at_first, later in zip(phis, first, after, strict=True):
            phi.add_incoming(at_first, before)
            phi.add_incoming(later, block)
        return builder.icmp_signed("<", after[0], stop), after

    def joined(first, before, second, block):
        """What the values are, whether or not the loop in `block` was run."""
        phis = [builder.phi(value.type) for value in first]
        for phi, x, y in zip(phis, first, second, strict=True):
            phi.add_incoming(x, before)
            phi.add_incoming(y, block)
        return phis

    start = [k_first, b_first, *zeros]
    more, after = steps(wide, start, whole, UNROLL, I64(1), chunk)
    builder.cbranch(more, wide, between)

    builder.position_at_end(between)
    middle = joined(start, chunk, after, wide)
    builder.cbranch(builder.icmp_signed("<", middle[0], stop), narrow, done)

    more, after = steps(narrow, middle, stop, 1, a_column, between)
    builder.cbranch(more, narrow, done)

    builder.position_at_end(done)
    _, b_next, *sums = joined(middle, between, after, narrow)
    builder.cbranch(adds, added, plain)
    for block in (plain, added):
        builder.position_at_end(block)
        for i in range(rows):
            for j in range(vectors):
                place = builder.bitcast(builder.gep(lines[i], [I64(j * WIDTH)]), vector.as_pointer())
                value = sums[i * vectors + j]
                if block is added:
                    old = builder.load(place)
                    old.align = 4
                    value = builder.fadd(old, value)
                builder.store(value, place).align = 4
        builder.branch(next_chunk)

    builder.position_at_end(next_chunk)
    for phi, at_first, later in ((k_first, I64(0), stop), (b_first, b, b_next), (adds, add, ir.IntType(1)(1))):
        phi.add_incoming(at_first, fetched)
        phi.add_incoming(later, next_chunk)
    builder.cbranch(builder.icmp_signed("<", stop, K), chunk, after_rows)

    builder.position_at_end(after_rows)
    a_next, c_next = (builder.gep(x, [builder.mul(y, I64(rows))]) for x, y in ((a_now, a_row), (c_now, c_row)))
    for phi, at_first, later in (
        (a_now, a, a_next),
        (c_now, c, c_next),
        (share_now, following, share_next),
        (to_do, times, builder.sub(to_do, I64(1))),
    ):
        phi.add_incoming(at_first, entry)
        phi.add_incoming(later, after_rows)
    builder.cbranch(builder.icmp_signed(">", to_do, I64(1)), next_rows, end)

    builder.position_at_end(end)
    builder.ret_void()


def _prefetch(builder, pointer, access, cache=FIRST_CACHE):
    """Asks for a cache line that will be read or written soon. Any address will do."""
    kind = ir.FunctionType(ir.VoidType(), [F32.as_pointer(), I32, I32, I32])
    function = builder.module.globals.get("llvm.prefetch.p0") or ir.Function(builder.module, kind, "llvm.prefetch.p0")
    builder.call(function, [pointer, I32(access), I32(cache), I32(1)])


@intrinsic
def block(typing_context, rows, vectors, a, a_row, a_column, b, c, c_row, K, add, times, chunk, following):
    def codegen(context, builder, sig, args):
        rows, vectors, a, a_row, a_column, b, c, c_row, K, add, times, chunk, following = args
        a, b, c, following = (builder.inttoptr(x, F32.as_pointer()) for x in (a, b, c, following))
        end = builder.append_basic_block("end")
        which = builder.add(builder.mul(rows, I64(VECTORS + 1)), vectors)
        switch = builder.switch(which, end)
        for i in range(ROWS, 0, -1):
            for j in range(VECTORS, 0, -1):
                case = builder.append_basic_block(f"block{i}x{j}")
                switch.add_case(I64(i * (VECTORS + 1) + j), case)
                builder.position_at_end(case)
                builder.call(
                    _declared(builder.module, i, j), [a, a_row, a_column, b, c, c_row, K, add, times, chunk, following]
                )
                builder.branch(end)
        builder.position_at_end(end)
        return context.get_dummy_value()

    i = types.int64
    return types.void(i, i, i, i, i, i, i, i, i, types.boolean, i, i, i), codegen


# --- the loops around it --------------------------------------------------------------------------------------------------


@helper
def multiply(a, a_row, a_column, b, columns, panel_columns, c, c_row, M, K, first_column, last_column, add, chunk):
    """C[:, first:last] = A·B, or += with add. A[m, k] lies at m·a_row + k·a_column; B is packed; columns is B's, padded.

    chunk: how many k are summed before they are added to C.
    """
    for k0 in range(0, K, KC):
        kc = min(KC, K - k0)
        for n in range(first_column, last_column, panel_columns):
            vectors = min(panel_columns, columns - n) // WIDTH
            panel = b + 4 * (k0 * columns + n * kc)
            if n + panel_columns < last_column or k0 + KC >= K:
                following = panel + 4 * panel_columns * kc
            else:
                following = b + 4 * ((k0 + KC) * columns + first_column * min(KC, K - k0 - KC))
            whole, rest = M // ROWS, M % ROWS
            at_a, at_c, adds = a + 4 * k0 * a_column, c + 4 * n, add or k0 > 0
            if whole > 0:
                block(ROWS, vectors, at_a, a_row, a_column, panel, at_c, c_row, kc, adds, whole, chunk, following)
            if rest > 0:
                at_a, at_c = at_a + 4 * ROWS * whole * a_row, at_c + 4 * ROWS * whole * c_row
                block(rest, vectors, at_a, a_row, a_column, panel, at_c, c_row, kc, adds, 1, chunk, following)


@helper
def _finish(c, c_row, M, first_column, last_column, bias, residual, residual_row, activation):
    """The epilogue: activation(C + bias) + residual, over a part of C that was just written."""
    for m in range(M):
        row = c + 4 * m * c_row
        for n in range(first_column, last_column, 16):
            x = load(row, n)
            if bias != 0:
                x = x + load(bias, n)
            if activation != 0:
                x = apply(activation, x)
            if residual != 0:
                x = x + load(residual + 4 * m * residual_row, n)
            store(row, n, x)


def gemm(
    a, a_row, a_column, b, columns, c, c_row, M, K, bias, residual, residual_row, activation, add, tile, worker
):  # (M,K), packed (K,N), (M,N), (N,), (M,N) -> (M,N)
    """One tile: MC rows by TILE_COLUMNS columns. c_row must leave room for the padded columns.

    bias and residual: 0 for none, else with room for the padded columns too; activation: a code of names.py; add: C += A·B.
    """
    across = (columns + TILE_COLUMNS - 1) // TILE_COLUMNS
    m, n = tile // across * MC, tile % across * TILE_COLUMNS
    rows, last = min(MC, M - m), min(columns, n + TILE_COLUMNS)
    at_c = c + 4 * m * c_row
    multiply(a + 4 * m * a_row, a_row, a_column, b, columns, COLUMNS, at_c, c_row, rows, K, n, last, add != 0, CHUNK)
    if bias != 0 or residual != 0 or activation != 0:
        from_row = residual + 4 * m * residual_row if residual != 0 else 0
        _finish(at_c, c_row, rows, n, last, bias, from_row, residual_row, activation)


def pack(x, x_row, x_column, K, N, out, columns, tile, worker):  # (K,N) -> panels
    """B[k, n] = x[k·x_row + n·x_column], zeros up to the padded columns. One tile is one block of KC.

    A panel is COLUMNS columns of one block, k by k; the panels of a block follow each other, then comes the next block.
    """
    k0 = tile * KC
    kc = min(KC, K - k0)
    for n0 in range(0, columns, COLUMNS):
        wide = min(COLUMNS, columns - n0)
        panel = out + 4 * (k0 * columns + n0 * kc)
        for j in range(wide):
            for k in range(kc):
                put(panel, k * wide + j, get(x, (k0 + k) * x_row + (n0 + j) * x_column) if n0 + j < N else 0.0)


KERNELS = (gemm, pack)
