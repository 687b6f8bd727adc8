"""softmax(q·kᵀ/√D + mask)·v in bfloat16 on tensor cores, for QUERIES queries of one head of one sequence a block.

The naive version is that of attention.py: a thread a query. What its ladder came to stays: a block keeps its queries, keys and
values pass by in tiles, a running maximum in float32 makes scores and probabilities that never reach memory, and the division
comes at the end (FlashAttention). The steps from there:

    tensor cores                16 queries a warp: their scores against 8 keys are one mma for each 16 numbers of a head
    scores become operands      where mma leaves sums in registers is where the next one wants its A: probabilities are
                                rounded in pairs, and multiply values without leaving their lane
    turned matrices             values lie key by key; ldmatrix.trans hands them over by columns
    cp.async                    the next tile of keys and values is under way while this one is multiplied
    2ˣ instead of eˣ            log₂e is multiplied into the scale, and 2ˣ is one instruction

On an H200, 8 sequences of 512 tokens with 12 heads of 64 take 28 µs, 227 TFLOP/s; attention.py takes 355.

q, k, v and probabilities are rounded to bfloat16, and so is what is written; products and their sums, maximum, exponential and
total are float32. The total is that of the probabilities before they are rounded.

Shared memory of a block, in words. Keys and values have two halves each: while the tile in one is multiplied, the next one is
on its way into the other. After that each thread waits for its own copies, and at the barrier for everybody's.

    0            K_AT             K_AT + TILE      V_AT             V_AT + TILE      SIZE
    │ 64 queries │ keys, half 0   │ keys, half 1   │ values, half 0 │ values, half 1 │

Four warps have 16 queries each, and all keys. Of a warp's queries, lane 4g + t has rows r = 0 and 1, which are g and g + 8:

             keys 8j + 2t, 8j + 2t + 1       numbers 8j + 2t, 8j + 2t + 1     the maximum, and the total of
             of the tile                     of the head                      what this lane has of the row
    g        scores[j, 0]  scores[j, 1]      mixed[j, 0]  mixed[j, 1]         top[0]  total[0]
    g + 8    scores[j, 2]  scores[j, 3]      mixed[j, 2]  mixed[j, 3]         top[1]  total[1]

Scores of blocks 2p and 2p + 1 are thus the A of an mma whose k are the tile's keys 16p … 16p + 15 (add_values).
The queries stay in registers: queries[s, …] is the A of an mma whose k are numbers 16s … 16s + 15 of the head (add_scores).
16 numbers further on are two chunks of 16 bytes, at `at ^ 8·s` words, since places are turned by xor (place).

Masks, sequences of their own length, and queries that may see nothing are treated as in attention.py: padding changes no bit.
Heads are filled up with zeros to 32, 64 or 128 numbers; D must be a multiple of 8, so that each begins at 16 bytes.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from albert_np.kernels.cuda.activations import LOG2_E
from albert_np.kernels.cuda.attention import width_of
from albert_np.kernels.cuda.kernel import Kernel
from albert_np.kernels.cuda.softmax import INFINITY, LOWEST, finish
from albert_np.kernels.cuda.target import cuda, device, f32, u32
from albert_np.kernels.cuda.tensor_intrinsics import (
    bfloat16_pair,
    commit_copies,
    copy_async_part,
    exp2,
    load_matrices,
    load_matrices_turned,
    mma_bfloat16,
    store2_rounded,
    wait_for_copies,
)
from albert_np.kernels.cuda.warps import ALL

QUERIES = 64
THREADS = 128  # four warps of 16 queries


class Rows(NamedTuple):
    """Who is fetched: rows of one sequence, and their numbers of one head."""

    start: Any  # the sequence's first row
    length: Any  # its rows
    row: Any  # numbers from row to row
    head: Any  # the head's first number in a row


class Sight(NamedTuple):
    """Which keys queries of the sequence may see."""

    allowed: Any  # (B,T) or (B,T,T) uint8
    b: Any
    T: Any
    length: Any  # of the sequence


class Running(NamedTuple):
    """What a lane keeps of its two queries from tile to tile."""

    mixed: Any  # (OUTS,4): values, weighed so far
    top: Any  # (2,): the largest score so far
    total: Any  # (2,): the lane's part of the sum of the weights


@lru_cache
def tensor_attention(D: int, mask: str, factors: bool) -> Kernel:
    """mask: "none", "keys" (B,T) or "pairs" (B,T,T). factors: one a head, by which its context is multiplied."""
    WIDTH = width_of(D)
    assert WIDTH is not None, D
    assert D % 8 == 0, D
    KEYS = 64 if WIDTH <= 64 else 32  # a tile; what fits into 48 KB
    ROW, CHUNKS = WIDTH // 2, WIDTH // 8  # of a tile: words and 16 bytes a row
    TURNS, SHIFT = min(CHUNKS, 8), 2 if CHUNKS == 4 else 1  # eight rows of one column of 16 bytes touch all banks once
    STEPS, BLOCKS, PIECES, OUTS = WIDTH // 16, KEYS // 8, KEYS // 16, WIDTH // 8
    K_AT, V_AT, TILE = QUERIES * ROW, (QUERIES + 2 * KEYS) * ROW, KEYS * ROW
    SIZE = V_AT + 2 * TILE
    Q_LOADS, K_LOADS = QUERIES * CHUNKS // THREADS, KEYS * CHUNKS // THREADS
    FULL, MASKED, PAIRS, FACTORS = D == WIDTH, mask != "none", mask == "pairs", factors
    arrived = wait_for_copies(0)

    @device
    def place(row, chunk):
        """Where 16 bytes of a row lie, in words."""
        return u32(row * u32(ROW) + u32(chunk ^ (row // u32(SHIFT) % u32(TURNS))) * u32(4))

    @device
    def fetch_rows(tile, to, x, rows, row0, thread, i):
        """16 bytes on their way; zeros outside the head and behind the last row."""
        at = u32(thread + u32(i * THREADS))
        row, chunk = u32(at // u32(CHUNKS)), u32(at % u32(CHUNKS))
        there = row0 + row < rows.length
        if not FULL:
            there = there and chunk < u32(D // 8)
        index = u32((rows.start + row0 + row) * rows.row + rows.head + chunk * u32(8))
        copy_async_part(tile, u32(to + place(row, chunk)), x, index, u32(16) if there else u32(0))

    @device
    def fetch(tile, half, k, v, rows, key0, thread):
        """Keys and values of a tile into one half of their places."""
        for i in range(K_LOADS):
            fetch_rows(tile, u32(u32(K_AT) + half * u32(TILE)), k, rows, key0, thread, i)
        for i in range(K_LOADS):
            fetch_rows(tile, u32(u32(V_AT) + half * u32(TILE)), v, rows, key0, thread, i)

    @device
    def add_scores(tile, at, step, q, scores):
        """16 numbers of the head: 16 queries against all keys of the tile."""
        for p in range(PIECES):
            b = load_matrices(tile, u32(u32(at ^ u32(8 * step)) + u32(16 * p * ROW)))
            for e in range(2):
                j = 2 * p + e
                s0, s1, s2, s3 = scores[j, 0], scores[j, 1], scores[j, 2], scores[j, 3]
                s0, s1, s2, s3 = mma_bfloat16(
                    q[step, 0], q[step, 1], q[step, 2], q[step, 3], b[2 * e], b[2 * e + 1], s0, s1, s2, s3
                )
                scores[j, 0] = s0
                scores[j, 1] = s1
                scores[j, 2] = s2
                scores[j, 3] = s3

    @device
    def add_values(tile, at, p, scores, mixed):
        """16 keys: their probabilities times their values."""
        a0 = bfloat16_pair(scores[2 * p, 0], scores[2 * p, 1])
        a1 = bfloat16_pair(scores[2 * p, 2], scores[2 * p, 3])
        a2 = bfloat16_pair(scores[2 * p + 1, 0], scores[2 * p + 1, 1])
        a3 = bfloat16_pair(scores[2 * p + 1, 2], scores[2 * p + 1, 3])
        for i in range(STEPS):
            b = load_matrices_turned(tile, u32(u32(at ^ u32(8 * i)) + u32(16 * p * ROW)))
            for e in range(2):
                j = 2 * i + e
                m0, m1, m2, m3 = mixed[j, 0], mixed[j, 1], mixed[j, 2], mixed[j, 3]
                m0, m1, m2, m3 = mma_bfloat16(a0, a1, a2, a3, b[2 * e], b[2 * e + 1], m0, m1, m2, m3)
                mixed[j, 0] = m0
                mixed[j, 1] = m1
                mixed[j, 2] = m2
                mixed[j, 3] = m3

    @device
    def hide(scores, r, query, key0, sight):
        """What may not be seen scores the lowest number, what is not there −∞. key0: the first key of this lane."""
        for j in range(BLOCKS):
            for e in range(2):
                key = u32(key0 + u32(8 * j + e))
                if key >= sight.length:
                    scores[j, 2 * r + e] = f32(-INFINITY)
                elif MASKED and query < sight.length:
                    see = u32((u32(sight.b * sight.T + query) if PAIRS else sight.b) * sight.T + key)
                    if not sight.allowed[see]:
                        scores[j, 2 * r + e] = f32(LOWEST)

    @device
    def weigh(scores, r, running):
        """Row r of a lane's scores to probabilities, up to the division; what was added so far follows the maximum."""
        mixed, top, total = running.mixed, running.top, running.total
        highest = top[r]
        for j in range(BLOCKS):
            highest = max(highest, max(scores[j, 2 * r], scores[j, 2 * r + 1]))
        highest = max(highest, cuda.shfl_xor_sync(ALL, highest, 2))  # the four lanes that share the row
        highest = max(highest, cuda.shfl_xor_sync(ALL, highest, 1))
        factor = exp2(top[r] - highest)
        top[r] = highest
        here = f32(0)
        for j in range(BLOCKS):
            for e in range(2):
                scores[j, 2 * r + e] = exp2(scores[j, 2 * r + e] - highest)
                here += scores[j, 2 * r + e]
        total[r] = total[r] * factor + here
        for j in range(OUTS):
            for e in range(2):
                mixed[j, 2 * r + e] *= factor

    @device
    def put(running, r, query, length, share, mode, context, at):
        """Row r of a lane's context, if the sequence has such a query."""
        mixed, x = running.mixed, running.total[r]
        x += cuda.shfl_xor_sync(ALL, x, 2)
        x += cuda.shfl_xor_sync(ALL, x, 1)
        factor = finish(running.top[r], x, share, mode)
        if query < length:
            for j in range(D // 8):
                store2_rounded(context, u32(at + u32(8 * j)), mixed[j, 2 * r] * factor, mixed[j, 2 * r + 1] * factor)

    @device
    def keep_queries(tile, at, queries):
        """From shared memory to registers, for all tiles of keys."""
        for s in range(STEPS):
            words = load_matrices(tile, u32(at ^ u32(8 * s)))
            for e in range(4):
                queries[s, e] = words[e]

    @device
    def score(tile, at, queries, scores, factor):
        """The warp's queries against all keys of the tile, times 1/√D and log₂e."""
        for j in range(BLOCKS):
            for e in range(4):
                scores[j, e] = f32(0)
        for s in range(STEPS):
            add_scores(tile, at, s, queries, scores)
        for j in range(BLOCKS):
            for e in range(4):
                scores[j, e] *= factor

    def tensor_attention(q, k, v, row, context, context_row, starts, allowed, head_mask, T, scale, mode):
        # 3 × (R,…) of one row stride, (B+1,) int32, (B,T) or (B,T,T) uint8, (N,) -> (R,H); grid (tiles of queries, N, B)
        tile = cuda.shared.array(SIZE, f32, alignment=128)  # words: queries, two tiles of keys, two of values
        scores, mixed = cuda.local.array((BLOCKS, 4), f32), cuda.local.array((OUTS, 4), f32)
        queries, top, total = cuda.local.array((STEPS, 4), u32), cuda.local.array(2, f32), cuda.local.array(2, f32)
        b, head = u32(cuda.blockIdx.z), u32(cuda.blockIdx.y * u32(D))
        start = u32(starts[b])
        length = u32(u32(starts[b + u32(1)]) - start)
        first = u32(cuda.blockIdx.x * u32(QUERIES))
        if first >= length:
            return  # the whole block: a shorter sequence than the longest
        thread = u32(cuda.threadIdx.x)
        lane, warp = u32(thread % u32(32)), u32(thread // u32(32))
        rows, sight, running = Rows(start, length, row, head), Sight(allowed, b, T, length), Running(mixed, top, total)
        for i in range(Q_LOADS):
            fetch_rows(tile, u32(0), q, rows, first, thread, i)
        fetch(tile, u32(0), k, v, rows, u32(0), thread)
        commit_copies()
        q_at = place(u32(warp * u32(16) + lane % u32(16)), u32(lane // u32(16)))
        k_at = u32(u32(K_AT) + place(u32(lane // u32(16) * u32(8) + lane % u32(8)), u32(lane // u32(8) % u32(2))))
        v_at = u32(u32(V_AT) + place(u32(lane % u32(16)), u32(lane // u32(16))))
        for j in range(OUTS):
            for e in range(4):
                mixed[j, e] = f32(0)
        for r in range(2):
            top[r] = f32(-INFINITY)
            total[r] = f32(0)
        factor, query = scale * f32(LOG2_E), u32(first + warp * u32(16) + lane // u32(4))
        arrived()
        cuda.syncthreads()
        keep_queries(tile, q_at, queries)

        key0, half = u32(0), u32(0)
        while key0 < length:
            after = u32(key0 + u32(KEYS))
            if after < length:
                fetch(tile, u32(half ^ u32(1)), k, v, rows, after, thread)
            commit_copies()
            score(tile, u32(k_at + half * u32(TILE)), queries, scores, factor)
            if MASKED or after > length:
                own = u32(key0 + lane % u32(4) * u32(2))
                hide(scores, 0, query, own, sight)
                hide(scores, 1, u32(query + u32(8)), own, sight)
            weigh(scores, 0, running)
            weigh(scores, 1, running)
            for p in range(PIECES):
                add_values(tile, u32(v_at + half * u32(TILE)), p, scores, mixed)
            half, key0 = u32(half ^ u32(1)), after
            arrived()  # this thread's part of the next tile
            cuda.syncthreads()  # everybody's; and this one is read

        share = head_mask[u32(cuda.blockIdx.y)] if FACTORS else f32(1)
        at = u32((start + query) * context_row + head + lane % u32(4) * u32(2))
        put(running, 0, query, length, share, mode, context, at)
        put(running, 1, u32(query + u32(8)), length, share, mode, context, u32(at + u32(8) * context_row))

    return Kernel(tensor_attention, "HHHuHuIBFufu", THREADS, 3 if WIDTH <= 64 else 2)
