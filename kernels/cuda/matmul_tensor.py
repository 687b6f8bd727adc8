"""out = A·Bᵀ on tensor cores, with + bias, activation, + residual done before it is written. Compute capability 8.0 and newer.

The naive version is one mma a warp, its operands fetched number by number from memory: naive_tensor_matmul below. It computes
what it should, and waits for memory all the time.

The ladder:

    naive                          12 loads of two numbers feed 16 × 8 × 16 multiply-adds
    tiles in shared memory         a number that was fetched once serves 128 rows, or columns
    cp.async                       16 bytes go from memory to shared memory, past the registers, while tensor cores work:
                                   two tiles or more are under way, one is multiplied
    ldmatrix                       one instruction brings a warp four 8 × 16 bytes, each lane what its mma wants
    turned places                  16 bytes c of row r lie at c xor r/2: eight rows of a column then touch all banks once
    64 × 64 sums a warp            8 ldmatrix feed 32 mma; with 32 × 32 the same feed 16
    sums leave by way of shared    in registers they lie two by two, in rows far apart; 16 bytes a lane of one row after the
      memory                       other is what memory wants, and what bias, residual and activation are cheap in
    four sizes of tile             as in matmul.py; `choose` counts (tensor_tiles.py)

On an H200 4096³ in bfloat16 runs at 420 TFLOP/s, in tf32 at 160. cuBLAS reaches 780 and 380 with wgmma, which these kernels do
not take: mma.sync reaches some 60 % of it. 64 × 128 is best where M or N is 1024 to 4096 and 768, 128 × 128 above. Tried and
slower: 256 × 128, for which 48 KB are only two stages (up to 40 %). Six stages for 64 × 64 instead of four gained nothing. More
stages in more than 48 KB have not been tried.

Kinds, by what tensor cores are given:

    "bfloat16"   8 bits of fraction. Operands lie in memory as bfloat16 (16 bits, as uint16): whoever computes one rounds it
                 while it is in registers, so it moves half the bytes, and nothing is left to convert in the inner loop.
                 Sums, bias, residual and what is added to them stay float32.
    "tf32"       11 bits. Operands are float32 in memory; B was rounded when it was uploaded, A is, after ldmatrix.
    "tf32x3"     each float32 as the sum of two tf32, a = a₀ + a₁, and a·b = a₁·b₀ + a₀·b₁ + a₀·b₀: what is left out is
                 2⁻²² of it. Tensor cores cut off what they add; so their sums of 8 are added up in float32, to the nearest
                 (Ootomo and Yokota 2022). 1.3 times as fast as matmul.py where all SMs are busy, and half as fast for a
                 sentence, whose sums cannot be split: so dtype "float32" does not take it.

Each number of `out` is a sum in one order, whatever the tile and the number of rows: 16 products at a time (8 in tf32), k in
order; in tf32x3 in chunks, as in matmul.py, without which K = 3072 was 2.4 times as wrong as float32. Nothing is split among
blocks: a second set of sums, which split and whole would have to share, has no registers left.

A block computes tile.rows × tile.columns of out. Shared memory is a ring of stages. In each lie 64 bytes of k, two mma deep, of
the rows of A that the block needs, and then of those of B. With three stages:

    words    0                        STAGE                    2·STAGE                  SIZE
             │ A's rows │ B's rows    │ A's rows │ B's rows    │ A's rows │ B's rows    │
    turn 0   tile 0, multiplied       tile 1, under way        tile 2, fetched
    turn 1   tile 3, fetched          tile 1, multiplied       tile 2, under way
    turn 2   tile 3, under way        tile 4, fetched          tile 2, multiplied

Each thread waits for its own copies of the tile that is next. The barrier behind it says that everybody's have arrived, and
that everybody has read the tile before: its stage is free for the copies of this turn.

Warps share the block's part of out. Each has warp_rows × warp_columns of it, as HIGH × WIDE pieces of 16 × 8. Of a piece lane
4g + t has four sums:

                     columns 8j + 2t, 8j + 2t + 1
    row 16i + g      sums[i, j, 0]  sums[i, j, 1]
    row 16i + 8 + g  sums[i, j, 2]  sums[i, j, 3]

At last the ring is free. 16 rows at a time go through a stretch of it that the warp has for itself, OUT_ROW words a row, and
come back four columns a lane.

B is (N,K), as checkpoints have it, which is "column by column" to mma. Its rows are filled up with zeros to a multiple of 16
bytes, and so are A's places, in bfloat16; their contents are not read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from albert_np.kernels.cuda.activations import FUNCTIONS, QUICK
from albert_np.kernels.cuda.intrinsics import load4, load4_constant, store4
from albert_np.kernels.cuda.kernel import Kernel
from albert_np.kernels.cuda.matmul import CHUNK, add_ragged, store_ragged
from albert_np.kernels.cuda.target import cuda, device, f32, u32
from albert_np.kernels.cuda.tensor_intrinsics import (
    as_float,
    commit_copies,
    copy_async,
    copy_async_part,
    copy_async_word,
    load_matrices,
    mma_bfloat16,
    mma_tf32,
    store4_rounded,
    to_tf32,
    wait_for_copies,
)
from albert_np.kernels.cuda.tensor_tiles import ITEM, ROW, Tile


@lru_cache
def naive_tensor_matmul(kind: str) -> Kernel:
    """Of "bfloat16" and "tf32": a warp 16 × 8 numbers of out, each operand from memory."""
    PAIRS, DEPTH = kind == "bfloat16", 32 // ITEM[kind]
    mma = mma_bfloat16 if PAIRS else mma_tf32

    @device
    def word(x, row, k, rows, K):
        """Numbers k and k + 1 of a row in bfloat16, number k in tf32; zeros outside."""
        found = u32(0)
        if row < rows and k < K:
            if PAIRS:
                found = u32(x[row * K + k])
                if k + u32(1) < K:
                    found = u32(found | (u32(x[row * K + k + u32(1)]) << u32(16)))
            else:
                found = to_tf32(x[row * K + k])
        return found

    def naive_tensor_matmul(a, b, bias, out, M, N, K):  # (M,K), (N,K), (N,) -> (M,N)
        g, t = u32(cuda.threadIdx.x) // u32(4), u32(cuda.threadIdx.x) % u32(4)
        row, column = u32(cuda.blockIdx.y) * u32(16) + g, u32(cuda.blockIdx.x) * u32(8) + g
        p, q, r, s = f32(0), f32(0), f32(0), f32(0)
        k = t * u32(DEPTH // 8)
        for _ in range((K + u32(DEPTH - 1)) // u32(DEPTH)):
            behind = u32(k + u32(DEPTH // 2))
            a0, a1 = word(a, row, k, M, K), word(a, row + u32(8), k, M, K)
            a2, a3 = word(a, row, behind, M, K), word(a, row + u32(8), behind, M, K)
            b0, b1 = word(b, column, k, N, K), word(b, column, behind, N, K)
            p, q, r, s = mma(a0, a1, a2, a3, b0, b1, p, q, r, s)
            k = u32(k + u32(DEPTH))
        column = u32(u32(cuda.blockIdx.x) * u32(8) + t * u32(2))
        for e in range(2):
            if column + u32(e) < N:
                if row < M:
                    out[row * N + column + u32(e)] = (q if e else p) + bias[column + u32(e)]
                if row + u32(8) < M:
                    out[(row + u32(8)) * N + column + u32(e)] = (s if e else r) + bias[column + u32(e)]

    operand = "H" if PAIRS else "F"
    return Kernel(naive_tensor_matmul, f"{operand}{operand}FFuuu", 32)


class Operands(NamedTuple):
    """What a kernel multiplies: of its arguments, and the block's place in them."""

    a: Any  # (M,K), rows a_row apart
    a_row: Any
    b: Any  # (N,K), rows b_row apart
    b_row: Any
    M: Any
    N: Any
    K: Any
    row0: Any  # the block's first row of A, and of B
    column0: Any


class Fragments(NamedTuple):
    """What a lane holds of both operands, one mma deep: words for mma's A (i: 16 rows each) and B (j: 8 columns each)."""

    a: Any  # (HIGH,4)
    b: Any  # (WIDE,2)
    a_rest: Any  # of the same shapes, in tf32x3: what rounding to tf32 left
    b_rest: Any


class Result(NamedTuple):
    """Where sums go, and what follows them on the way."""

    bias: Any  # (N,)
    residual: Any  # (M,N), rows residual_row apart
    residual_row: Any
    out: Any  # (M,N), rows out_row apart
    out_row: Any
    M: Any
    N: Any
    whole: Any  # whether four numbers of a row are 16 bytes that lie within it, everywhere


@dataclass(frozen=True)
class Parts:
    """What the matmuls of one kind and tile have in common."""

    fetch: Callable[..., None]  # (tile, stage, Operands, k0, thread): sets the copies of one stage going
    multiply: Callable[..., None]  # (tile, a_at, b_at, sums, Fragments): one mma deep, half a stage


@device
def place(row, chunk):
    """Where the 16 bytes `chunk` of a row lie in a tile, in words. 8 rows further on is 8 · ROW words further on."""
    return u32(row * u32(ROW) + u32(chunk ^ (row // u32(2) % u32(4))) * u32(4))


@lru_cache
def _parts(kind: str, tile: Tile, ends: str) -> Parts:
    BYTES, EACH, THREADS = ITEM[kind], 16 // ITEM[kind], tile.threads
    STEP, ROWS = tile.threads // 4, tile.rows
    A_LOADS, B_LOADS = 4 * tile.rows // THREADS, 4 * tile.columns // THREADS
    HIGH, WIDE = tile.warp_rows // 16, tile.warp_columns // 8  # mma of a warp, down and across
    THREE_TIMES, ROUND = kind == "tf32x3", kind == "tf32"
    mma = mma_bfloat16 if kind == "bfloat16" else mma_tf32
    WHOLE, WORDS = ends == "whole", ends == "words"
    assert STEP % 8 == 0

    @device
    def copy(tile, to, x, row, rows, x_row, k, nbytes):
        """16 bytes of a row. What a row outside holds goes into sums that nobody writes; so does the last one's."""
        if WHOLE:
            copy_async(tile, to, x, u32(min(row, u32(rows - u32(1))) * x_row + k))
        else:
            copy_async_part(tile, to, x, u32(row * x_row + k), nbytes if row < rows else u32(0))

    @device
    def fetch(tile, stage, given, k0, thread):
        """The tile at k0 on its way into a stage. Four threads a row; behind K come zeros."""
        chunk, first = u32(thread % u32(4)), u32(thread // u32(4))
        k = u32(k0 + chunk * u32(EACH))
        nbytes = u32(0)
        if k < given.K:
            nbytes = u32(min(u32(given.K - k), u32(EACH)) * u32(BYTES))
        to = u32(stage + place(first, chunk))
        for i in range(A_LOADS):
            row = u32(given.row0 + first + u32(i * STEP))
            if WORDS:
                for e in range(4):
                    there = u32(4) if row < given.M and u32(e * 4) < nbytes else u32(0)
                    word = u32(row * given.a_row + k + u32(e))
                    copy_async_word(tile, u32(to + u32(i * STEP * ROW + e)), given.a, word, there)
            else:
                copy(tile, u32(to + u32(i * STEP * ROW)), given.a, row, given.M, given.a_row, k, nbytes)
        for i in range(B_LOADS):
            row = u32(given.column0 + first + u32(i * STEP))
            copy(tile, u32(to + u32((ROWS + i * STEP) * ROW)), given.b, row, given.N, given.b_row, k, nbytes)

    @device
    def multiply_one(sums, i, j, held):
        """One mma, or three: 16 rows × 8 columns."""
        a, b, a_rest, b_rest = held.a, held.b, held.a_rest, held.b_rest
        if THREE_TIMES:
            zero = f32(0)
            c, d, e, f = mma(
                a_rest[i, 0], a_rest[i, 1], a_rest[i, 2], a_rest[i, 3], b[j, 0], b[j, 1], zero, zero, zero, zero
            )
            c, d, e, f = mma(a[i, 0], a[i, 1], a[i, 2], a[i, 3], b_rest[j, 0], b_rest[j, 1], c, d, e, f)
            c, d, e, f = mma(a[i, 0], a[i, 1], a[i, 2], a[i, 3], b[j, 0], b[j, 1], c, d, e, f)
            sums[i, j, 0] += c
            sums[i, j, 1] += d
            sums[i, j, 2] += e
            sums[i, j, 3] += f
        else:
            c, d, e, f = sums[i, j, 0], sums[i, j, 1], sums[i, j, 2], sums[i, j, 3]
            c, d, e, f = mma(a[i, 0], a[i, 1], a[i, 2], a[i, 3], b[j, 0], b[j, 1], c, d, e, f)
            sums[i, j, 0] = c
            sums[i, j, 1] = d
            sums[i, j, 2] = e
            sums[i, j, 3] = f

    @device
    def take(word, x, rest, i, e):
        """A word of an operand, and in tf32x3 what is left of it."""
        if THREE_TIMES:
            x[i, e] = u32(to_tf32(as_float(word)) & u32(0xFFFFE000))
            rest[i, e] = to_tf32(as_float(word) - as_float(x[i, e]))
        else:
            x[i, e] = word

    @device
    def multiply_row(tile, at, i, sums, held):
        """16 rows of A with all columns that the warp has."""
        words = load_matrices(tile, u32(at + u32(i * 16 * ROW)))
        for e in range(4):
            take(to_tf32(as_float(words[e])) if ROUND else words[e], held.a, held.a_rest, i, e)
        for j in range(WIDE):
            multiply_one(sums, i, j, held)

    @device
    def multiply(tile, a_at, b_at, sums, held):
        """One mma deep: all columns of B that the warp has first, then A, 16 rows at a time."""
        for j in range(WIDE // 2):
            words = load_matrices(tile, u32(b_at + u32(j * 16 * ROW)))
            for e in range(4):
                take(words[e], held.b, held.b_rest, 2 * j + e // 2, e % 2)
        multiply_row(tile, a_at, 0, sums, held)
        if HIGH > 1:
            multiply_row(tile, a_at, 1, sums, held)
        if HIGH > 2:
            multiply_row(tile, a_at, 2, sums, held)
            multiply_row(tile, a_at, 3, sums, held)

    return Parts(fetch, multiply)


@lru_cache
def tensor_matmul(
    kind: str,
    tile: Tile,
    activation: str = "none",
    residual: bool = False,
    *,
    rounded: bool = False,
    ends: str = "whole",
) -> Kernel:
    """rounded: out is bfloat16, its rows multiples of 8 numbers apart.

    ends: "whole" where K is a multiple of the tiles' depth (64 bytes), "part" where it is not, and rows begin at multiples of
    16 bytes; "words" where those of A begin anywhere, which those of bfloat16 must not.
    """
    assert ends in ("whole", "part") or kind != "bfloat16"
    ROWS, COLUMNS, STAGES, STAGE, SIZE = tile.rows, tile.columns, tile.stages, tile.stage, tile.stages * tile.stage
    DEPTH, WARP_ROWS, WARP_COLUMNS = 4 * ROW // ITEM[kind], tile.warp_rows, tile.warp_columns
    ACROSS, HIGH, WIDE, QUADS = COLUMNS // WARP_COLUMNS, WARP_ROWS // 16, WARP_COLUMNS // 8, WARP_COLUMNS // 4
    OUT_ROW = WARP_COLUMNS + 8  # words, so that rows g = 0 … 3 begin 8 banks apart
    RESIDUAL, ROUNDED, THREE_TIMES = residual, rounded, kind == "tf32x3"
    assert tile.threads // 32 * 16 * OUT_ROW <= SIZE
    parts = _parts(kind, tile, ends)
    fetch, multiply, arrived = parts.fetch, parts.multiply, wait_for_copies(STAGES - 2)
    f = (FUNCTIONS if THREE_TIMES else QUICK)[activation]

    @device
    def add_up(total, sums):
        """A chunk is complete."""
        for i in range(HIGH):
            for j in range(WIDE):
                for e in range(4):
                    total[i, j, e] += sums[i, j, e]
                    sums[i, j, e] = f32(0)

    @device
    def stage_behind(at):
        """The stage after the one that begins there; after the last comes the first."""
        return u32(at + u32(STAGE)) if at < u32(SIZE - STAGE) else u32(0)

    @device
    def put(a, b, c, d, row, column, to):
        """Columns column … column + 3 of a row, and what follows the sums."""
        p, q, r, s = load4_constant(to.bias, column)
        a, b, c, d = f(a + p), f(b + q), f(c + r), f(d + s)
        if RESIDUAL:
            at = row * to.residual_row + column
            if to.whole:
                p, q, r, s = load4_constant(to.residual, at)
                a, b, c, d = a + p, b + q, c + r, d + s
            else:
                a, b, c, d = add_ragged(to.residual, at, a, b, c, d, column, to.N)
        at = row * to.out_row + column
        if ROUNDED:
            store4_rounded(to.out, at, a, b, c, d)
        elif to.whole:
            store4(to.out, at, a, b, c, d)
        else:
            store_ragged(to.out, at, a, b, c, d, column, to.N)

    @device
    def put_rows(tile, i, sums, lane, region, row0, column0, to):
        """16 rows of the warp's sums, by way of its own stretch of shared memory."""
        at = region + lane // u32(4) * u32(OUT_ROW) + lane % u32(4) * u32(2)
        for j in range(WIDE):
            tile[at + u32(8 * j)] = sums[i, j, 0]
            tile[at + u32(8 * j + 1)] = sums[i, j, 1]
            tile[at + u32(8 * OUT_ROW + 8 * j)] = sums[i, j, 2]
            tile[at + u32(8 * OUT_ROW + 8 * j + 1)] = sums[i, j, 3]
        cuda.syncwarp()
        column = lane % u32(QUADS) * u32(4)
        row = lane // u32(QUADS)
        while row < u32(16):
            if row0 + u32(16 * i) + row < to.M and column0 + column < to.N:
                a, b, c, d = load4(tile, region + row * u32(OUT_ROW) + column)
                put(a, b, c, d, row0 + u32(16 * i) + row, column0 + column, to)
            row = u32(row + u32(32 // QUADS))
        cuda.syncwarp()  # the next rows take the same place

    def tensor_matmul(a, a_row, b, b_row, bias, residual, residual_row, out, out_row, M, N, K):
        # (M,K), (N,K), (N,) filled up to a multiple of 4, (M,N) -> (M,N)
        tile = cuda.shared.array(SIZE, f32, alignment=128)  # words: the ring
        sums, total = cuda.local.array((HIGH, WIDE, 4), f32), cuda.local.array((HIGH, WIDE, 4), f32)
        a_words, b_words = cuda.local.array((HIGH, 4), u32), cuda.local.array((WIDE, 2), u32)
        a_rest, b_rest = cuda.local.array((HIGH, 4), u32), cuda.local.array((WIDE, 2), u32)
        held = Fragments(a_words, b_words, a_rest, b_rest)
        thread = u32(cuda.threadIdx.x)
        lane, warp = u32(thread % u32(32)), u32(thread // u32(32))
        row0, column0 = u32(cuda.blockIdx.y * u32(ROWS)), u32(cuda.blockIdx.x * u32(COLUMNS))
        given = Operands(a, a_row, b, b_row, M, N, K, row0, column0)
        warp_row, warp_column = u32(warp // u32(ACROSS) * u32(WARP_ROWS)), u32(warp % u32(ACROSS) * u32(WARP_COLUMNS))
        a_at = place(warp_row + lane % u32(16), lane // u32(16))
        b_at = place(warp_column + lane // u32(16) * u32(8) + lane % u32(8), lane // u32(8) % u32(2))
        b_at = u32(u32(ROWS * ROW) + b_at)
        a_next, b_next = u32(a_at ^ u32(8)), u32(b_at ^ u32(8))  # the third and fourth 16 bytes of each row
        for i in range(HIGH):
            for j in range(WIDE):
                for e in range(4):
                    sums[i, j, e] = f32(0)
                    if THREE_TIMES:
                        total[i, j, e] = f32(0)
        for s in range(STAGES - 1):
            if u32(s * DEPTH) < K:
                fetch(tile, u32(s * STAGE), given, u32(s * DEPTH), thread)
            commit_copies()
        k, reading, writing = u32(0), u32(0), u32((STAGES - 1) * STAGE)
        while k < K:
            arrived()  # this thread's part of the tile that is next
            cuda.syncthreads()  # everybody's; and the tile before is read
            ahead = u32(k + u32((STAGES - 1) * DEPTH))
            if ahead < K:
                fetch(tile, writing, given, ahead, thread)
            commit_copies()
            multiply(tile, u32(reading + a_at), u32(reading + b_at), sums, held)
            multiply(tile, u32(reading + a_next), u32(reading + b_next), sums, held)
            reading, writing = stage_behind(reading), stage_behind(writing)
            k = u32(k + u32(DEPTH))
            if THREE_TIMES and (k % u32(CHUNK) == u32(0) or k >= K):
                add_up(total, sums)
        if THREE_TIMES:
            add_up(sums, total)
        cuda.syncthreads()  # the last tile is read, and its place is free
        region = warp * u32(16 * OUT_ROW)
        row, column = row0 + warp_row, column0 + warp_column
        whole = N % u32(4) == u32(0) and out_row % u32(4) == u32(0)
        if RESIDUAL:
            whole = whole and residual_row % u32(4) == u32(0)
        to = Result(bias, residual, residual_row, out, out_row, M, N, whole)
        put_rows(tile, 0, sums, lane, region, row, column, to)
        if HIGH > 1:
            put_rows(tile, 1, sums, lane, region, row, column, to)
        if HIGH > 2:
            put_rows(tile, 2, sums, lane, region, row, column, to)
            put_rows(tile, 3, sums, lane, region, row, column, to)

    operand, result = ("H" if kind == "bfloat16" else "F"), ("H" if rounded else "F")
    return Kernel(tensor_matmul, f"{operand}u{operand}uFFu{result}uuuu", tile.threads, tile.blocks)


ROUNDED = 256  # threads a block, one for four numbers


def _round_rows(  # (rows,columns) -> bfloat16, zeros behind; out_row: multiples of 8
    x, x_row, out, out_row, rows, columns
):
    at = u32(cuda.blockIdx.x) * u32(ROUNDED) + u32(cuda.threadIdx.x)
    row, column = at // (out_row // u32(4)), at % (out_row // u32(4)) * u32(4)
    if row < rows:
        first = row * x_row + column
        a = x[first] if column < columns else f32(0)
        b = x[first + u32(1)] if column + u32(1) < columns else f32(0)
        c = x[first + u32(2)] if column + u32(2) < columns else f32(0)
        d = x[first + u32(3)] if column + u32(3) < columns else f32(0)
        store4_rounded(out, row * out_row + column, a, b, c, d)


round_rows = Kernel(_round_rows, "FuHuuu", ROUNDED)
