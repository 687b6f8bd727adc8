"""softmax(q·kᵀ/√D + mask)·v for QUERIES queries of one head of one sequence a block, without ever holding all scores.

The naive version, naive_attention below: one thread a query and head, which reads all keys three times.

The ladder:

    a block shares its queries     32 queries, turned over, in shared memory; keys and values pass by in tiles, each read once
    a block of scores in           4 queries × 4 keys a thread: 2 loads from shared memory feed 16 multiply-adds, and the 8
      registers                    threads that share 4 queries are neighbours in a warp, which find maximum and sum by shuffles
    a running maximum              (FlashAttention; Milakov & Gimelshein 2018): where a tile raises it, what was added so far
                                   is multiplied by e^(old − new); so neither scores nor probabilities ever reach memory
    division at the end            D times a query instead of once a key

On an H200, 8 sequences of 512 tokens with 12 heads of 64 take 355 µs, 18 TFLOP/s of the 67 there are. In dtype "tf32", whose
attention this is too, that is nearly half of a forward of that size: here is most to be gained next.

A key that may not be seen scores the lowest finite number, as in the reference. Beside a key that may, its weight is exactly 0,
and what such keys added before the first real one came is multiplied by exactly 0: padding changes no bit. A query that may
see nothing ends with equal weights. Keys behind the end of a sequence do not take part at all.

Head sizes up to 128 have a kernel, D between two sizes is filled up with zeros. Larger ones, and relative positions, take the
way over scores in memory (scores.py).
"""

from __future__ import annotations

from functools import lru_cache

from albert_np.kernels.cuda.intrinsics import add_outer, exp, load4_constant, store4, take4
from albert_np.kernels.cuda.kernel import Kernel
from albert_np.kernels.cuda.softmax import INFINITY, LOWEST, finish
from albert_np.kernels.cuda.target import cuda, device, f32, u32
from albert_np.kernels.cuda.warps import ALL

WIDTHS = (32, 64, 128)  # numbers of a head that a kernel is made for
QUERIES = 32
THREADS = 64  # 8 × 8: each has 4 queries, and 8 neighbours share them
Q_ROW = QUERIES + 4


def _naive(  # 3 × (B,T,N,D), (B,T) uint8 -> (B,T,N,D); a thread a query and head
    q, k, v, allowed, out, B, N, T, D, scale
):
    i = cuda.grid(1)
    if i < B * T * N:
        n, b = i % N, i // (N * T)
        top, total = f32(-INFINITY), f32(0)
        for step in range(3):  # the largest score, then the sum, then the mixture of values
            if step == 2:
                for d in range(D):
                    out[i * D + d] = f32(0)
            for j in range(T):
                key = ((b * T + j) * N + n) * D
                score = f32(0)
                for d in range(D):
                    score += q[i * D + d] * k[key + d]
                score = score * scale if allowed[b * T + j] else f32(LOWEST)
                if step == 0:
                    top = max(top, score)
                if step == 1:
                    total += exp(score - top)
                if step == 2:
                    for d in range(D):
                        out[i * D + d] += exp(score - top) / total * v[key + d]


naive_attention = Kernel(_naive, "FFFBFiiiif", 128)


def width_of(D: int) -> int | None:
    """The size that a head is filled up to; None where no kernel takes it."""
    return next((width for width in WIDTHS if width >= D), None)


@lru_cache
def attention(D: int, mask: str, factors: bool) -> Kernel:
    """mask: "none", "keys" (B,T) or "pairs" (B,T,T). factors: one a head, by which its context is multiplied."""
    WIDTH = width_of(D)
    assert WIDTH is not None, D
    KEYS = 32 if WIDTH <= 64 else 16  # a tile; what fits into 48 KB
    MINE, EACH = 4, KEYS // 8  # queries and keys of a thread
    K_ROW = KEYS + 4
    QUADS, GROUPS, MIXED = WIDTH // 4, WIDTH // 32, WIDTH // 8
    Q_SIZE, K_SIZE, V_SIZE, P_SIZE = WIDTH * Q_ROW, WIDTH * K_ROW, KEYS * WIDTH, KEYS * Q_ROW
    Q_LOADS, K_LOADS = QUERIES * QUADS // THREADS, KEYS * QUADS // THREADS
    VECTOR, FULL = D % 4 == 0, D == WIDTH
    add_scores, add_values = add_outer(MINE, EACH), add_outer(MINE, MIXED)
    MASKED, PAIRS, FACTORS = mask != "none", mask == "pairs", factors

    @device
    def fetch(x, at, d, there, four):
        """x[at + d … at + d + 3], zeros outside the head or where nothing is there."""
        for e in range(4):
            four[e] = f32(0)
        if there and (FULL or d < u32(D)):
            if VECTOR:
                v = load4_constant(x, at + d)
                for e in range(4):
                    four[e] = v[e]
            else:
                for e in range(4):
                    if d + u32(e) < u32(D):
                        four[e] = x[at + d + u32(e)]

    @device
    def reduce_max(x):  # over the 8 threads that share a query
        x = max(x, cuda.shfl_xor_sync(ALL, x, 4))
        x = max(x, cuda.shfl_xor_sync(ALL, x, 2))
        return max(x, cuda.shfl_xor_sync(ALL, x, 1))

    @device
    def reduce_sum(x):
        x += cuda.shfl_xor_sync(ALL, x, 4)
        x += cuda.shfl_xor_sync(ALL, x, 2)
        x += cuda.shfl_xor_sync(ALL, x, 1)
        return x

    def attention(q, k, v, row, context, context_row, starts, allowed, head_mask, T, scale, mode):
        # 3 × (R,…) of one row stride, (B+1,) int32, (B,T) or (B,T,T) uint8, (N,) -> (R,H); grid (tiles of queries, N, B)
        q_tile = cuda.shared.array(Q_SIZE, f32, alignment=16)  # (WIDTH, QUERIES)
        k_tile = cuda.shared.array(K_SIZE, f32, alignment=16)  # (WIDTH, KEYS)
        v_tile = cuda.shared.array(V_SIZE, f32, alignment=16)  # (KEYS, WIDTH)
        p_tile = cuda.shared.array(P_SIZE, f32, alignment=16)  # (KEYS, QUERIES)
        scores, mixed = cuda.local.array((MINE, EACH), f32), cuda.local.array((MINE, MIXED), f32)
        here, keys, values = cuda.local.array(MINE, f32), cuda.local.array(EACH, f32), cuda.local.array(MIXED, f32)
        top, total, four = cuda.local.array(4, f32), cuda.local.array(4, f32), cuda.local.array(4, f32)
        b, head = u32(cuda.blockIdx.z), u32(cuda.blockIdx.y) * u32(D)
        start = u32(starts[b])
        length = u32(starts[b + u32(1)]) - start
        first = u32(cuda.blockIdx.x) * u32(QUERIES)
        if first >= length:
            return  # the whole block: a shorter sequence than the longest
        thread = u32(cuda.threadIdx.x)
        x, y = thread % u32(8), thread // u32(8)
        for i in range(Q_LOADS):
            at = thread + u32(i * THREADS)
            query, d = at % u32(QUERIES), at // u32(QUERIES) * u32(4)
            fetch(q, (start + first + query) * row + head, d, first + query < length, four)
            for e in range(4):
                q_tile[(d + u32(e)) * u32(Q_ROW) + query] = four[e]
        for i in range(4):
            top[i] = f32(-INFINITY)
            total[i] = f32(0)
            for j in range(GROUPS * 4):
                mixed[i, j] = f32(0)

        key0 = u32(0)
        while key0 < length:
            cuda.syncthreads()  # the tiles before are read
            for i in range(K_LOADS):
                at = thread + u32(i * THREADS)
                key, d = at % u32(KEYS), at // u32(KEYS) * u32(4)
                fetch(k, (start + key0 + key) * row + head, d, key0 + key < length, four)
                for e in range(4):
                    k_tile[(d + u32(e)) * u32(K_ROW) + key] = four[e]
                key, d = at // u32(QUADS), at % u32(QUADS) * u32(4)
                fetch(v, (start + key0 + key) * row + head, d, key0 + key < length, four)
                store4(v_tile, key * u32(WIDTH) + d, four[0], four[1], four[2], four[3])
            cuda.syncthreads()

            for i in range(4):
                for j in range(EACH):
                    scores[i, j] = f32(0)
            for d in range(WIDTH):
                take4(q_tile, u32(d * Q_ROW) + y * u32(4), here, 0)
                for j in range(EACH):
                    keys[j] = k_tile[u32(d * K_ROW) + x * u32(EACH) + u32(j)]
                add_scores(scores, here, keys)
            for i in range(4):
                query = first + y * u32(4) + u32(i)
                highest = top[i]
                for j in range(EACH):
                    key = key0 + x * u32(EACH) + u32(j)
                    score = scores[i, j] * scale
                    if MASKED and key < length and query < length:
                        see = ((b * T + query) if PAIRS else b) * T + key
                        if not allowed[see]:
                            score = f32(LOWEST)
                    if key >= length:
                        score = f32(-INFINITY)
                    scores[i, j] = score
                    highest = max(highest, score)
                highest = reduce_max(highest)
                factor = exp(top[i] - highest)
                top[i] = highest
                total[i] *= factor
                for j in range(GROUPS * 4):
                    mixed[i, j] *= factor
                for j in range(EACH):
                    scores[i, j] = exp(scores[i, j] - highest)
                    total[i] += scores[i, j]
            for j in range(EACH):
                to = (x * u32(EACH) + u32(j)) * u32(Q_ROW) + y * u32(4)
                store4(p_tile, to, scores[0, j], scores[1, j], scores[2, j], scores[3, j])
            cuda.syncthreads()

            for key in range(KEYS):
                take4(p_tile, u32(key * Q_ROW) + y * u32(4), here, 0)
                for g in range(GROUPS):
                    take4(v_tile, u32(key * WIDTH + g * 32) + x * u32(4), values, 4 * g)
                add_values(mixed, here, values)
            key0 = u32(key0 + u32(KEYS))

        for i in range(4):
            query = first + y * u32(4) + u32(i)
            share = head_mask[u32(cuda.blockIdx.y)] if FACTORS else f32(1)
            factor = finish(top[i], reduce_sum(total[i]), share, mode)
            if query < length:
                for g in range(GROUPS):
                    d = u32(g * 32) + x * u32(4)
                    to = (start + query) * context_row + head + d
                    if VECTOR:
                        if FULL or d < u32(D):
                            store4(
                                context,
                                to,
                                mixed[i, g * 4] * factor,
                                mixed[i, g * 4 + 1] * factor,
                                mixed[i, g * 4 + 2] * factor,
                                mixed[i, g * 4 + 3] * factor,
                            )
                    else:
                        for e in range(4):
                            if d + u32(e) < u32(D):
                                context[to + u32(e)] = mixed[i, g * 4 + e] * factor

    return Kernel(attention, "FFFuFuIBFufu", THREADS, 6 if WIDTH <= 64 else 4)
