"""out = A·B, with what follows it done while the sums are in registers: + bias, activation, + residual.

The naive version, naive_matmul below: one thread an element, two numbers read for each multiply-add.

The ladder, by the share of multiply-adds among the instructions of the inner loop (compiled for sm_90):

    naive                                   a load of A and one of B for each
    tiled_matmul: 16 × 16 through shared    each number is read from memory once for 16 rows, but still from shared
      memory                                memory for each multiply-add
    a block of sums in registers            8 × 8: 16 numbers from shared memory feed 64 multiply-adds
    16 bytes a load and a store             a quarter of the instructions that move numbers
    the next tile fetched meanwhile         loads for the next k are in flight while this one is multiplied; two buffers in
                                            shared memory make one barrier a tile enough
    three sizes of tile                     a GPU has 132 SMs or so: 128 tokens × 768 are 6 tiles of 128 × 128 and leave
                                            126 SMs idle, but 96 of 32 × 32; `choose` counts
    k split among blocks                    where even those are too few, and K is long: a sentence or two

On an H200 (66.9 TFLOP/s at most) 4096³ runs at 39 TFLOP/s, and cuBLAS at 50; 16 × 768 × 3072, split, takes 12 µs instead of 84.
What holds it back may be the second set of sums: of 128 × 128 an SM has one block, and nobody multiplies while that one waits
at a barrier. 64 × 64, of which it has four, is as fast up to 4096 × 768 × 3072. Tried there and slower: 128 × 64 and 64 × 128,
of 8 × 8 sums a thread, two blocks an SM (5 to 40 %); a depth of 8 for 128 × 128 (6 %).

Each number of `out` is a sum in one fixed order, whatever the tile, the split and the number of rows: k in order within a chunk
of CHUNK, by fused multiply-add, and the chunks in order, as on the CPU (kernels/cpu/gemm.py). So a sequence has the same bits
alone and in a batch, and a chain of 128 roundings and one of K/128 lose less than one of K; it costs a second set of sums.

B is stored (K,N), its rows padded with zeros to a multiple of 4 numbers; A may have any row stride. The epilogues are written
out, four numbers at a time: in a loop that the compiler does not unroll, the sums would be indexed by a variable, and live in
memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from albert_np.kernels.cuda.activations import FUNCTIONS
from albert_np.kernels.cuda.costs import Cost, cycles
from albert_np.kernels.cuda.intrinsics import add_outer, load4, load4_constant, store4, take4
from albert_np.kernels.cuda.kernel import Kernel, ceil_div
from albert_np.kernels.cuda.target import cuda, device, f32, u32

CHUNK = 128  # k summed before the sum is added to that of others; this alone decides the bits
TILED = 16


def _naive(a, b, bias, out, M, N, K):  # (M,K), (K,N), (N,) -> (M,N); a thread an element
    column, row = cuda.grid(2)
    if row < M and column < N:
        total = f32(0)
        for k in range(K):
            total += a[row * K + k] * b[k * N + column]
        out[row * N + column] = total + bias[column]


naive_matmul = Kernel(_naive, "FFFFiii", (TILED, TILED))


def _tiled(a, b, bias, out, M, N, K):  # (M,K), (K,N), (N,) -> (M,N); blocks of 16 × 16 threads
    a_tile = cuda.shared.array((TILED, TILED), f32)
    b_tile = cuda.shared.array((TILED, TILED), f32)
    x, y = cuda.threadIdx.x, cuda.threadIdx.y
    row, column = cuda.blockIdx.y * TILED + y, cuda.blockIdx.x * TILED + x
    total = f32(0)
    for k in range(0, K, TILED):
        a_tile[y, x] = a[row * K + k + x] if row < M and k + x < K else f32(0)
        b_tile[y, x] = b[(k + y) * N + column] if column < N and k + y < K else f32(0)
        cuda.syncthreads()
        for i in range(TILED):
            total += a_tile[y, i] * b_tile[i, x]
        cuda.syncthreads()  # nobody overwrites what somebody still reads
    if row < M and column < N:
        out[row * N + column] = total + bias[column]


tiled_matmul = Kernel(_tiled, "FFFFiii", (TILED, TILED))


@dataclass(frozen=True)
class Tile:
    rows: int  # of out, a block
    columns: int
    depth: int  # k between two barriers
    thread_rows: int  # sums of one thread
    thread_columns: int
    blocks: int  # an SM, so that registers suffice
    cost: Cost  # what `choose` goes by

    @property
    def threads(self) -> int:
        return self.rows // self.thread_rows * (self.columns // self.thread_columns)

    @property
    def a_loads(self) -> int:  # of four numbers, a thread and tile
        return self.rows * self.depth // (4 * self.threads)

    @property
    def b_loads(self) -> int:
        return self.columns * self.depth // (4 * self.threads)

    @property
    def a_row(self) -> int:
        """A's tile lies turned over in shared memory; four numbers more spread a column over the banks."""
        return self.rows + 4

    @property
    def step(self) -> int:
        """A thread's columns are so many apart, four by four, so that neighbours read neighbours."""
        return 4 * self.columns // self.thread_columns

    @property
    def row_step(self) -> int:
        return 4 * self.rows // self.thread_rows

    def blocks_of(self, M: int, N: int) -> tuple[int, int]:
        return ceil_div(N, self.columns), ceil_div(M, self.rows)


LARGE = Tile(128, 128, 16, 8, 8, 1, Cost(4000, 0, 3465))
MEDIUM = Tile(64, 64, 16, 8, 4, 4, Cost(2500, 640, 745))
SMALL = Tile(32, 32, 16, 4, 4, 8, Cost(2000, 680, 237))


@dataclass(frozen=True)
class Parts:
    """What the matmuls of one tile have in common."""

    fetch: Callable[..., None]
    keep: Callable[..., None]
    multiply: Callable[..., None]


@lru_cache
def _parts(tile: Tile, vector: bool) -> Parts:
    COLUMNS, DEPTH, TR, TC = tile.columns, tile.depth, tile.thread_rows, tile.thread_columns
    THREADS, QUADS, VECTOR = tile.threads, tile.depth // 4, vector
    A_LOADS, B_LOADS = tile.a_loads, tile.b_loads
    A_ROW, A_SIZE, B_SIZE = tile.a_row, tile.depth * tile.a_row, DEPTH * COLUMNS
    STEP, ROW_STEP, add = tile.step, tile.row_step, add_outer(TR, TC)

    @device
    def fetch(a, a_row, b, b_row, M, K, row0, column0, k0, thread, next_a, next_b):
        """The tile at k0 into registers, with zeros outside."""
        for i in range(A_LOADS):
            at = thread + u32(i * THREADS)
            row, k = row0 + at // u32(QUADS), k0 + at % u32(QUADS) * u32(4)
            for e in range(4):
                next_a[i, e] = f32(0)
            if row < M and k < K:
                if VECTOR:
                    v = load4_constant(a, row * a_row + k)
                    for e in range(4):
                        next_a[i, e] = v[e]
                else:
                    for e in range(4):
                        if k + u32(e) < K:
                            next_a[i, e] = a[row * a_row + k + u32(e)]
        for i in range(B_LOADS):
            at = thread + u32(i * THREADS)
            k, column = k0 + at // u32(COLUMNS // 4), column0 + at % u32(COLUMNS // 4) * u32(4)
            for e in range(4):
                next_b[i, e] = f32(0)
            if k < K and column < b_row:
                v = load4_constant(b, k * b_row + column)
                for e in range(4):
                    next_b[i, e] = v[e]

    @device
    def keep(a_tile, b_tile, half, thread, next_a, next_b):
        """From registers into one half of shared memory."""
        for i in range(A_LOADS):
            at = thread + u32(i * THREADS)
            to = half * u32(A_SIZE) + at % u32(QUADS) * u32(4 * A_ROW) + at // u32(QUADS)
            for e in range(4):
                a_tile[to + u32(e * A_ROW)] = next_a[i, e]
        for i in range(B_LOADS):
            at = (thread + u32(i * THREADS)) * u32(4)
            store4(b_tile, half * u32(B_SIZE) + at, next_b[i, 0], next_b[i, 1], next_b[i, 2], next_b[i, 3])

    @device
    def multiply(a_tile, b_tile, a_at, b_at, x, y, sums):
        """sums += one column of A's tile times one row of B's."""
        for i in range(TR // 4):
            take4(a_tile, a_at + u32(i * ROW_STEP), x, 4 * i)
        for i in range(TC // 4):
            take4(b_tile, b_at + u32(i * STEP), y, 4 * i)
        add(sums, x, y)

    return Parts(fetch, keep, multiply)


@lru_cache
def matmul(
    tile: Tile, activation: str = "none", residual: bool = False, *, vector: bool = True, split: bool = False
) -> Kernel:
    """vector: rows of A begin at multiples of 16 bytes, and K is a multiple of 4; else A is read number by number.

    split: block z of the grid sums chunk z alone, into out[z·M·out_row …]; add_chunks does the rest.
    """
    ROWS, COLUMNS, DEPTH, TR, TC = tile.rows, tile.columns, tile.depth, tile.thread_rows, tile.thread_columns
    A_LOADS, B_LOADS, A_ROW, STEP, ROW_STEP = tile.a_loads, tile.b_loads, tile.a_row, tile.step, tile.row_step
    A_SIZE, B_SIZE, A_BOTH, B_BOTH = DEPTH * A_ROW, DEPTH * COLUMNS, 2 * DEPTH * A_ROW, 2 * DEPTH * COLUMNS
    ACROSS, SPLIT, RESIDUAL = COLUMNS // TC, split, residual
    parts = _parts(tile, vector)
    fetch, keep, multiply = parts.fetch, parts.keep, parts.multiply
    f = FUNCTIONS[activation]

    @device
    def put(total, i, j, bias, residual, residual_row, out, out_row, first, M, N, row0, column0, whole):
        """Row i and columns j … j + 3 of a thread's sums, and what follows them."""
        row, column = row0 + u32(i // 4 * ROW_STEP + i % 4), column0 + u32(j // 4 * STEP)
        if row < M and column < N:
            a, b, c, d = total[i, j], total[i, j + 1], total[i, j + 2], total[i, j + 3]
            if not SPLIT:
                p, q, r, s = load4_constant(bias, column)
                a, b, c, d = f(a + p), f(b + q), f(c + r), f(d + s)
            to = first + row * out_row + column
            if whole:
                if RESIDUAL:
                    p, q, r, s = load4_constant(residual, row * residual_row + column)
                    a, b, c, d = a + p, b + q, c + r, d + s
                store4(out, to, a, b, c, d)
            else:
                put_one(a, row, column, N, residual, residual_row, out, to)
                put_one(b, row, column + u32(1), N, residual, residual_row, out, to + u32(1))
                put_one(c, row, column + u32(2), N, residual, residual_row, out, to + u32(2))
                put_one(d, row, column + u32(3), N, residual, residual_row, out, to + u32(3))

    @device
    def put_one(x, row, column, N, residual, residual_row, out, to):
        if column < N:
            if RESIDUAL:
                x += residual[row * residual_row + column]
            out[to] = x

    @device
    def put_row(total, i, bias, residual, residual_row, out, out_row, first, M, N, row0, column0, whole):
        put(total, i, 0, bias, residual, residual_row, out, out_row, first, M, N, row0, column0, whole)
        if TC == 8:
            put(total, i, 4, bias, residual, residual_row, out, out_row, first, M, N, row0, column0, whole)

    def matmul(a, a_row, b, b_row, bias, residual, residual_row, out, out_row, M, N, K):
        # (M,K), (K,b_row), (b_row,), (M,N) -> (M,N)
        a_tile = cuda.shared.array(A_BOTH, f32, alignment=16)
        b_tile = cuda.shared.array(B_BOTH, f32, alignment=16)
        sums, total = cuda.local.array((TR, TC), f32), cuda.local.array((TR, TC), f32)
        x, y = cuda.local.array(TR, f32), cuda.local.array(TC, f32)
        next_a, next_b = cuda.local.array((A_LOADS, 4), f32), cuda.local.array((B_LOADS, 4), f32)
        thread = u32(cuda.threadIdx.x)
        row0, column0 = u32(cuda.blockIdx.y) * u32(ROWS), u32(cuda.blockIdx.x) * u32(COLUMNS)
        thread_row, thread_column = thread // u32(ACROSS) * u32(4), thread % u32(ACROSS) * u32(4)
        k, end, first = u32(0), K, u32(0)
        if SPLIT:
            k = u32(cuda.blockIdx.z) * u32(CHUNK)
            end = min(K, k + u32(CHUNK))
            first = u32(cuda.blockIdx.z) * M * out_row
        for i in range(TR):
            for j in range(TC):
                sums[i, j] = f32(0)
                total[i, j] = f32(0)
        fetch(a, a_row, b, b_row, M, end, row0, column0, k, thread, next_a, next_b)
        keep(a_tile, b_tile, u32(0), thread, next_a, next_b)
        cuda.syncthreads()
        half = u32(0)
        while k < end:
            k = u32(k + u32(DEPTH))
            if k < end:
                fetch(a, a_row, b, b_row, M, end, row0, column0, k, thread, next_a, next_b)
            a_at, b_at = half * u32(A_SIZE) + thread_row, half * u32(B_SIZE) + thread_column
            for _ in range(DEPTH // 4):
                multiply(a_tile, b_tile, a_at, b_at, x, y, sums)
                multiply(a_tile, b_tile, a_at + u32(A_ROW), b_at + u32(COLUMNS), x, y, sums)
                multiply(a_tile, b_tile, a_at + u32(2 * A_ROW), b_at + u32(2 * COLUMNS), x, y, sums)
                multiply(a_tile, b_tile, a_at + u32(3 * A_ROW), b_at + u32(3 * COLUMNS), x, y, sums)
                a_at += u32(4 * A_ROW)
                b_at += u32(4 * COLUMNS)
            if k % u32(CHUNK) == u32(0) or k >= end:
                for i in range(TR):
                    for j in range(TC):
                        total[i, j] += sums[i, j]
                        sums[i, j] = f32(0)
            if k < end:
                half = u32(half ^ u32(1))
                keep(a_tile, b_tile, half, thread, next_a, next_b)
                cuda.syncthreads()
        row, column = row0 + thread_row, column0 + thread_column
        whole = N % u32(4) == u32(0) and out_row % u32(4) == u32(0)
        if RESIDUAL:
            whole = whole and residual_row % u32(4) == u32(0)
        put_row(total, 0, bias, residual, residual_row, out, out_row, first, M, N, row, column, whole)
        put_row(total, 1, bias, residual, residual_row, out, out_row, first, M, N, row, column, whole)
        put_row(total, 2, bias, residual, residual_row, out, out_row, first, M, N, row, column, whole)
        put_row(total, 3, bias, residual, residual_row, out, out_row, first, M, N, row, column, whole)
        if TR == 8:
            put_row(total, 4, bias, residual, residual_row, out, out_row, first, M, N, row, column, whole)
            put_row(total, 5, bias, residual, residual_row, out, out_row, first, M, N, row, column, whole)
            put_row(total, 6, bias, residual, residual_row, out, out_row, first, M, N, row, column, whole)
            put_row(total, 7, bias, residual, residual_row, out, out_row, first, M, N, row, column, whole)

    return Kernel(matmul, "FuFuFFuFuuuu", tile.threads, tile.blocks)


@device
def add_ragged(residual, at, a, b, c, d, column, N):
    """a, b, c, d + residual[at … at + 3], of columns column … column + 3, as far as they are among the N; the first is."""
    a += residual[at]
    if column + u32(1) < N:
        b += residual[at + u32(1)]
    if column + u32(2) < N:
        c += residual[at + u32(2)]
    if column + u32(3) < N:
        d += residual[at + u32(3)]
    return a, b, c, d


@device
def store_ragged(out, to, a, b, c, d, column, N):
    """out[to … to + 3] = a, b, c, d, as far as their columns are there."""
    out[to] = a
    if column + u32(1) < N:
        out[to + u32(1)] = b
    if column + u32(2) < N:
        out[to + u32(2)] = c
    if column + u32(3) < N:
        out[to + u32(3)] = d


ADDED = 256  # threads a block, one for four numbers


@lru_cache
def add_chunks(activation: str = "none", residual: bool = False) -> Kernel:
    """What `matmul` does after its sums, where blocks took a chunk each: the same additions in the same order."""
    RESIDUAL = residual
    f = FUNCTIONS[activation]

    def add_chunks(sums, sums_row, chunks, bias, residual, residual_row, out, out_row, M, N):
        # (chunks,M,sums_row), (N,), (M,N) -> (M,N)
        at = u32(cuda.blockIdx.x) * u32(ADDED) + u32(cuda.threadIdx.x)
        quads = (N + u32(3)) // u32(4)
        row, column = at // quads, at % quads * u32(4)
        if row >= M:
            return
        a, b, c, d = f32(0), f32(0), f32(0), f32(0)
        i = u32(0)
        while i < chunks:
            p, q, r, s = load4(sums, (i * M + row) * sums_row + column)
            a, b, c, d = a + p, b + q, c + r, d + s
            i = u32(i + u32(1))
        p, q, r, s = load4_constant(bias, column)
        a, b, c, d = f(a + p), f(b + q), f(c + r), f(d + s)
        if RESIDUAL:
            a, b, c, d = add_ragged(residual, row * residual_row + column, a, b, c, d, column, N)
        to = row * out_row + column
        if N % u32(4) == u32(0) and out_row % u32(4) == u32(0):
            store4(out, to, a, b, c, d)
        else:
            store_ragged(out, to, a, b, c, d, column, N)

    return Kernel(add_chunks, "FuuFFuFuuu", ADDED)


# more of what `choose` counts with, see costs.py
LAUNCH = 5000  # cycles: one kernel more
MOVED = 2000  # bytes a cycle, all SMs together, from the second cache


@lru_cache(4096)
def choose(M: int, N: int, K: int, multiprocessors: int) -> tuple[Tile, bool]:
    """The tile, and whether to split K into its chunks: what should take least time."""
    plans = [(tile, split) for tile in (LARGE, MEDIUM, SMALL) for split in (False, True) if not split or K > CHUNK]

    def time(plan: tuple[Tile, bool]) -> float:
        tile, split = plan
        x, y = tile.blocks_of(M, N)
        chunks, depth = (ceil_div(K, CHUNK), CHUNK) if split else (1, K)
        adding = LAUNCH + 8 * M * N * chunks / MOVED if split else 0
        return cycles(tile.cost, x * y * chunks, tile.blocks, ceil_div(depth, tile.depth), multiprocessors) + adding

    return min(plans, key=time)
