"""From the gradient of the context back to q, k and v, for one head of one sequence at a time.

The naive version, kept for teaching (p = softmax(q·kᵀ/√D), dc the gradient of the context):

    dv = p.T @ dc
    dp = dc @ v.T
    ds = p * (dp - sum(p * dp, over keys)) / sqrt(D)
    dq, dk = ds @ k, ds.T @ q

The probabilities are not kept by the forward but computed again, from q and k, QUERIES queries at a time (as FlashAttention
does: one product of five, against B·N·T·T numbers a layer). The products are the GEMM's blocks; for the two that sum over
queries, the block of p and of ds is turned over.
"""

from __future__ import annotations

import math

from numba import float32

from albert_np.kernels.cpu.attention import apply_mask, exponentials, pack_keys, pack_values, padded
from albert_np.kernels.cpu.gemm import PANEL, multiply
from albert_np.kernels.cpu.layout import CHUNK, QUERIES
from albert_np.kernels.cpu.vector import (
    fma,
    get,
    get_int,
    helper,
    load,
    load_some,
    put,
    splat,
    store,
    store_some,
    sum_of,
    transpose,
)


@helper
def _turn_block(x, rows, columns, stride, out, out_row):
    """out[j, i] = x[i, j]: rows ≤ QUERIES, a multiple of 16 with zeros behind what is real; columns too."""
    for i in range(0, rows, 16):
        for j in range(0, columns, 16):
            transpose(x + 4 * (i * stride + j), stride, out + 4 * (j * out_row + i), out_row)


@helper
def _pack_rows(x, row, count, D, out):  # (count,D) -> panels of (count ≤ CHUNK, D)
    """B[i, d] = x[i, d]."""
    columns = padded(D)
    for d in range(0, columns, PANEL):
        for i in range(count):
            for lane in range(PANEL):
                put(out, d * count + i * PANEL + lane, get(x, i * row + d + lane) if d + lane < D else 0.0)


def attention_backward(  # 4 × (R,N·D) -> 3 × (R,N·D)
    q,
    k,
    v,
    row,
    d_context,
    context_row,
    dq,
    dk,
    dv,
    d_row,
    starts,
    lengths,
    keys,
    key_starts,
    blanks,
    pairs,
    N,
    T,
    D,
    scale: float,
    mode,
    scratch,
    scratch_size,
    tile,
    worker,
):
    """One tile is one head of one sequence. The arguments are those of `attention`; lengths (B,), the rows of each sequence.

    Rows of dk and dv whose key nobody may see are set to zero.
    """
    b, n = tile // N, tile % N
    start, count = get_int(starts, b), get_int(key_starts, b + 1) - get_int(key_starts, b)
    queries = get_int(lengths, b)
    keys += 8 * get_int(key_starts, b)
    head, d_head = 4 * (start * row + n * D), 4 * (start * d_row + n * D)
    c_head = 4 * (start * context_row + n * D)
    stride, deep = padded(count), padded(D)

    k_turned = scratch + 4 * scratch_size * worker  # this worker's part, cut up
    v_turned = k_turned + 4 * D * stride
    k_rows = v_turned + 4 * D * stride
    p = k_rows + 4 * count * deep
    ds = p + 4 * QUERIES * stride
    turned = ds + 4 * QUERIES * stride
    some_rows = turned + 4 * QUERIES * stride
    sums = some_rows + 4 * QUERIES * deep
    k_sums = sums + 4 * QUERIES * deep
    v_sums = k_sums + 4 * stride * deep

    pack_keys(k + head, row, keys, count, D, k_turned)
    pack_keys(v + head, row, keys, count, D, v_turned)
    pack_values(k + head, row, keys, count, D, k_rows)
    for i0 in range(0, queries, QUERIES):
        some = min(QUERIES, queries - i0)
        q_now, dc_now = q + head + 4 * i0 * row, d_context + c_head + 4 * i0 * context_row
        multiply(q_now, row, k_turned, stride, PANEL, p, stride, some, D, 0, stride, False, CHUNK)
        multiply(dc_now, context_row, v_turned, stride, PANEL, ds, stride, some, D, 0, stride, False, CHUNK)
        for i in range(some):
            line, d_line = p + 4 * i * stride, ds + 4 * i * stride
            for j in range(0, stride, 16):
                store(line, j, load(line, j) * scale)
            blank = get_int(blanks, b) != 0
            if pairs != 0:
                blank = apply_mask(line, count, keys, pairs + T * (b * T + i0 + i))
            if blank:
                for j in range(count):
                    put(line, j, 0.0)
            inverse = float32(1.0) / exponentials(line, count)
            if blank and mode == 1:
                inverse = float32(0.0)
            if blank and mode == 2:
                inverse = float32(math.nan)
            total = splat(0.0)
            for j in range(0, stride, 16):  # behind `count` p is 0
                x = load(line, j) * inverse
                store(line, j, x)
                total = fma(x, load_some(d_line, j, count - j, 0.0), total)
            mean = sum_of(total)
            for j in range(0, stride, 16):
                d = load_some(d_line, j, count - j, 0.0) - mean
                store(d_line, j, load(line, j) * d * scale)
        whole = (some + 15) // 16 * 16
        for i in range(some, whole):
            for j in range(0, stride, 16):
                store(p + 4 * i * stride, j, splat(0.0))
                store(ds + 4 * i * stride, j, splat(0.0))

        multiply(ds, stride, k_rows, deep, PANEL, sums, deep, some, count, 0, deep, False, CHUNK)
        for i in range(some):
            for d in range(0, D, 16):
                store_some(dq + d_head + 4 * (i0 + i) * d_row, d, D - d, load(sums, i * deep + d))
        _turn_block(p, whole, stride, stride, turned, QUERIES)
        _pack_rows(dc_now, context_row, some, D, some_rows)
        multiply(turned, QUERIES, some_rows, deep, PANEL, v_sums, deep, count, some, 0, deep, i0 > 0, CHUNK)
        _turn_block(ds, whole, stride, stride, turned, QUERIES)
        _pack_rows(q_now, row, some, D, some_rows)
        multiply(turned, QUERIES, some_rows, deep, PANEL, k_sums, deep, count, some, 0, deep, i0 > 0, CHUNK)

    if count < queries:
        for i in range(queries):
            for d in range(D):
                put(dk + d_head, i * d_row + d, 0.0)
                put(dv + d_head, i * d_row + d, 0.0)
    for j in range(count):
        to = d_head + 4 * d_row * get_int(keys, j)
        for d in range(0, D, 16):
            store_some(dk + to, d, D - d, load(k_sums, j * deep + d))
            store_some(dv + to, d, D - d, load(v_sums, j * deep + d))


KERNELS = (attention_backward,)
