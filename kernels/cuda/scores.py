"""Attention over scores in memory: where probabilities are asked for, positions are relative, or heads are larger than 128.

scores = q·kᵀ/√D (+ relative positions), softmax.py, context = probs·v. Each of the two products is many small ones, one for
each head of each sequence, whose operands lie among those of other heads.

The naive version is matmul.py's, its ladder ends here at the tile in shared memory: this is the way for looking into a model,
and of all the work of a layer with 128 tokens these products are a thirtieth.
"""

from __future__ import annotations

from albert_np.kernels.cuda.kernel import Kernel
from albert_np.kernels.cuda.target import cuda, f32, u32

TILE = 16
TILE_ROW = TILE + 1  # a column of a tile falls on 16 different banks
SHARED = TILE * TILE_ROW


def _heads_matmul(
    a,
    a_row,
    a_column,
    a_head,
    a_batch,
    b,
    b_row,
    b_column,
    b_head,
    b_batch,
    out,
    out_row,
    out_head,
    out_batch,
    heads,
    M,
    N,
    K,
    scale,
):
    # (batch, heads, M, K), (batch, heads, K, N) -> (batch, heads, M, N), each with strides of its own; grid (N, M, both)
    a_tile = cuda.shared.array(SHARED, f32)
    b_tile = cuda.shared.array(SHARED, f32)
    thread = u32(cuda.threadIdx.x)
    x, y = thread % u32(TILE), thread // u32(TILE)
    batch, head = u32(cuda.blockIdx.z) // heads, u32(cuda.blockIdx.z) % heads
    row0, column0 = u32(cuda.blockIdx.y) * u32(TILE), u32(cuda.blockIdx.x) * u32(TILE)
    a0, b0 = batch * a_batch + head * a_head, batch * b_batch + head * b_head
    total = f32(0)
    k = u32(0)
    while k < K:
        # neighbours in a warp read neighbours in memory, whichever way an operand lies
        i, j = (y, x) if a_column == u32(1) else (x, y)
        inside = row0 + i < M and k + j < K
        a_tile[i * u32(TILE_ROW) + j] = a[a0 + (row0 + i) * a_row + (k + j) * a_column] if inside else f32(0)
        i, j = (y, x) if b_column == u32(1) else (x, y)
        inside = k + i < K and column0 + j < N
        b_tile[i * u32(TILE_ROW) + j] = b[b0 + (k + i) * b_row + (column0 + j) * b_column] if inside else f32(0)
        cuda.syncthreads()
        part = f32(0)
        for step in range(TILE):
            part += a_tile[y * u32(TILE_ROW) + u32(step)] * b_tile[u32(step * TILE_ROW) + x]
        total += part
        cuda.syncthreads()
        k = u32(k + u32(TILE))
    row, column = row0 + y, column0 + x
    if row < M and column < N:
        out[batch * out_batch + head * out_head + row * out_row + column] = total * scale


heads_matmul = Kernel(_heads_matmul, "FuuuuFuuuuFuuuuuuuf", TILE * TILE)

RELATED = 128  # threads a block, a score each


def _add_distances(scores, q, k, row, distances, positions, middle, both, rows, N, T, D):
    # (B,N,T,T), 2 × (B·T,…) of one row stride, (2P−1,D), (B·T,) int32 -> scores += q_i·a[i−j] (+ k_j·a[i−j] if both)
    at = u32(cuda.blockIdx.x) * u32(RELATED) + u32(cuda.threadIdx.x)
    if at < rows * T:  # rows = B·N·T, and a thread a score
        j, i, n, b = at % T, at // T % T, at // (T * T) % N, at // (T * T * N)
        query, key = b * T + i, b * T + j
        # a[i − j], and a[0] stands in the middle of the table
        a = (u32(positions[query]) + middle - u32(positions[key])) * D
        query, key = query * row + n * D, key * row + n * D
        from_query, from_key, query_part, key_part = f32(0), f32(0), f32(0), f32(0)
        d = u32(0)
        while d < D:
            query_part += q[query + d] * distances[a + d]
            key_part += k[key + d] * distances[a + d]
            d = u32(d + u32(1))
            if d % u32(16) == u32(0) or d == D:  # not divided by √D, their rounding is all the larger: short sums
                from_query += query_part
                from_key += key_part
                query_part = f32(0)
                key_part = f32(0)
        x = scores[at] + from_query
        if both:
            x += from_key
        scores[at] = x


add_distances = Kernel(_add_distances, "FFFuFIuuuuuu", RELATED)
