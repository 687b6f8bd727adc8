"""From the gradient with respect to the context back to q, k and v, for one head of one sequence at a time.

The naive version, kept for teaching (p = softmax(s), s = q·kᵀ/√D, dc the gradient with respect to the context):

    dv = p.T @ dc
    dp = dc @ v.T
    ds = p * (dp - sum(p * dp, over keys))
    dq, dk = ds @ k / sqrt(D), ds.T @ q / sqrt(D)

With dropout or a head mask, p and dp are multiplied by their factors f: dv = (p·f)ᵀ·dc and dp = f·(dc·vᵀ). With relative
positions, s has q_i·a[i−j] in it (and k_j·a[i−j]), a the table, so that

    dq[i] += sum(ds[i, j] * a[i - j], over j)
    da[i - j] += ds[i, j] * q[i]

The probabilities are not kept by the forward but computed again, from q and k, QUERIES queries at a time (as FlashAttention
does: one product of five, against B·N·T·T numbers a layer). The products are the GEMM's blocks; for the two that sum over
queries, the block of p and of ds is turned over. For relative positions, the numbers of ds are gathered by distance first, a
row for each query, and these rows are what is multiplied: with the table for dq, and with q for the gradient of the table.
The rows hold the distances −reach/2 … reach/2, in chunks of NEAR that are counted from distance 0, so no bit depends on T.
Each head of each sequence sums the table's gradient in a place of its own, and sums.py adds these up.

    pack k and v; for each block of queries:
        scores, probabilities                          as attention.py, with the same bits
        d_scores, by distance too                      _to_d_scores
        dq = d_scores·k (+ by_query·a)
        dv += (p·f)ᵀ·dc,  dk += d_scoresᵀ·q,  (d_table += by_queryᵀ·q)
    (dk += by_key·a,  d_table += by_keyᵀ·k)
"""

from __future__ import annotations

from typing import NamedTuple

from numba import float32
from numba.extending import register_jitable

from albert_np.kernels.cpu.attention import (
    Factors,
    Heads,
    Relative,
    Scratch,
    Sight,
    against_distances,
    finish_scores,
    keys_against_distances,
    masked_exponentials,
    multiply_by_factors,
    pack_keys,
    pack_values,
    scratch_of,
    sequence_of,
)
from albert_np.kernels.cpu.gemm import COLUMNS, PANEL, multiply
from albert_np.kernels.cpu.layout import CHUNK, FLOAT32, NEAR, QUERIES, backward_scratch, padded
from albert_np.kernels.cpu.vector import (
    FLAGS,
    at,
    at_int,
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

register_jitable(**FLAGS)(backward_scratch)


class Gradients(NamedTuple):
    """From d_context (R,N·D) to dq, dk and dv (R,N·D)."""

    d_context: int
    context_row: int
    dq: int
    dk: int
    dv: int
    d_row: int  # elements from row to row of all three
    lengths: int  # (B,): the rows of each sequence


class TableGradient(NamedTuple):
    """Relative positions; all 0 for none. The rows are those of the distances −reach/2 … reach/2 − 1."""

    table: int  # packed (reach,D)
    reach: int
    d_tables: int  # (B,N,reach,deep): the gradient with respect to the table, of each head of each sequence


# --- products that sum over queries, or over keys -------------------------------------------------------------------------


@helper
def _pack_rows(x, row, count, D, out):  # (count,D) -> panels of (count ≤ CHUNK, D)
    """B[i, d] = x[i, d]."""
    columns = padded(D)
    for d in range(0, columns, PANEL):
        for i in range(count):
            for lane in range(PANEL):
                put(out, d * count + i * PANEL + lane, get(x, i * row + d + lane) if d + lane < D else 0.0)


@helper
def _multiply_turned(x, x_row, count, M, columns, deep, my, out, add):  # (count,M), (count,deep) in my.rows -> (M,deep)
    """out = or += xᵀ·rows, for count ≤ QUERIES. columns: padded M; x has zeros behind and below, up to whole vectors."""
    for i in range(0, count, 16):
        for j in range(0, columns, 16):
            transpose(at(x, i * x_row + j), x_row, at(my.turned, j * QUERIES + i), QUERIES)
    multiply(my.turned, QUERIES, my.rows, deep, PANEL, out, deep, M, count, 0, deep, add, CHUNK)


# --- from probabilities to the gradient with respect to the scores ----------------------------------------------------------


@helper
def _clear(x, count):
    """count zeros, a multiple of 16."""
    for j in range(0, count, 16):
        store(x, j, splat(0.0))


@helper
def _through_softmax(line, d_line, count, inverse, scale):
    """From the exponentials and dp to p and ds, scaled; ops.softmax_backward."""
    total = splat(0.0)
    for j in range(0, count, 16):  # behind `count` p is 0
        x = load(line, j) * inverse
        store(line, j, x)
        total = fma(x, load_some(d_line, j, count - j, 0.0), total)
    mean = sum_of(total)
    for j in range(0, count, 16):
        d = load_some(d_line, j, count - j, 0.0) - mean
        store(d_line, j, load(line, j) * d * scale)


@helper
def _by_distance(d_line, i, relative, reach, sequence, by_query, by_key):
    """What row i of ds adds to each distance, of this query and of each key."""
    columns = at_int(relative.columns, sequence.start)
    for j in range(sequence.seen):
        distance = get_int(columns, i) - get_int(columns, get_int(sequence.keys, j)) + reach // 2
        put(by_query, distance, get(by_query, distance) + get(d_line, j))
        if relative.both != 0:
            put(by_key, j * reach + distance, get(by_key, j * reach + distance) + get(d_line, j))


@helper
def _to_d_scores(i0, some, n, heads, sight, factors, relative, table, sequence, my):
    """For a block of queries: from q·kᵀ in my.probs and dc·vᵀ in my.d_scores to what multiplies v, and to ds/√D.

    Relative positions: ds by distance too.
    """
    stride, T, reach = padded(sequence.seen), heads.T, table.reach
    factor = get(factors.head_mask, n) if factors.head_mask != 0 else float32(1.0)
    changed = factors.dropout != 0 or factors.head_mask != 0
    for i in range(some):
        line, d_line = at(my.probs, i * stride), at(my.d_scores, i * stride)
        finish_scores(line, i0 + i, heads, relative, sequence, at(my.from_query, i * relative.width), my.from_keys)
        inverse = masked_exponentials(line, i0 + i, T, sight, sequence)
        place = at(0, T * ((sequence.b * heads.N + n) * T + i0 + i))
        dropout = factors.dropout + place if factors.dropout != 0 else 0
        if changed:
            multiply_by_factors(d_line, dropout, factor, sequence)
        if relative.distances == 0:
            _through_softmax(line, d_line, sequence.seen, inverse, heads.scale)
        else:  # whose terms are not divided by √D
            _through_softmax(line, d_line, sequence.seen, inverse, float32(1.0))
            _by_distance(d_line, i0 + i, relative, reach, sequence, at(my.by_query, i * reach), my.by_key)
            for j in range(0, stride, 16):
                store(d_line, j, load(d_line, j) * heads.scale)
        if changed:
            multiply_by_factors(line, dropout, factor, sequence)
    behind = padded(some) - some
    _clear(at(my.probs, some * stride), behind * stride)
    _clear(at(my.d_scores, some * stride), behind * stride)


# --- the kernel -----------------------------------------------------------------------------------------------------------


@helper
def _add_keys_distances(sequence, D, table, here, my):
    """dk += by_key·a, and the table's gradient += by_keyᵀ·k, QUERIES keys at a time."""
    reach, deep = table.reach, padded(D)
    multiply(my.by_key, reach, table.table, deep, COLUMNS, my.dk, deep, sequence.seen, reach, 0, deep, True, NEAR)
    for j0 in range(0, sequence.seen, QUERIES):
        some = min(QUERIES, sequence.seen - j0)
        _pack_rows(at(my.gathered, j0 * D), D, some, D, my.rows)
        _multiply_turned(at(my.by_key, j0 * reach), reach, some, reach, reach, deep, my, here, True)


@helper
def _store_keys(sequence, queries, D, my, dk, dv, d_row):
    """dk and dv to the rows of the keys. Rows of others are zero."""
    deep = padded(D)
    if sequence.seen < queries:
        for i in range(queries):
            for d in range(D):
                put(dk, i * d_row + d, 0.0)
                put(dv, i * d_row + d, 0.0)
    for j in range(sequence.seen):
        to = at(0, d_row * get_int(sequence.keys, j))
        for d in range(0, D, 16):
            store_some(dk + to, d, D - d, load(my.dk, j * deep + d))
            store_some(dv + to, d, D - d, load(my.dv, j * deep + d))


def attention_backward(  # 4 × (R,N·D) -> 3 × (R,N·D)
    heads: Heads,
    gradients: Gradients,
    sight: Sight,
    factors: Factors,
    relative: Relative,
    table: TableGradient,
    scratch: Scratch,
    tile,
    worker,
):
    """One tile is one head of one sequence. The operands are those of `attention`."""
    b, n = tile // heads.N, tile % heads.N
    sequence = sequence_of(sight, b)
    start, count, keys = sequence.start, sequence.seen, sequence.keys
    D, row, d_row, context_row = heads.D, heads.row, gradients.d_row, gradients.context_row
    q, k, v = at(heads.q, start * row + n * D), at(heads.k, start * row + n * D), at(heads.v, start * row + n * D)
    dc = at(gradients.d_context, start * context_row + n * D)
    d_head = at(0, start * d_row + n * D)
    stride, deep, reach = padded(count), padded(D), table.reach
    here = at(table.d_tables, tile * reach * deep)
    queries = get_int(gradients.lengths, b)
    my = backward_scratch(count, D, relative.width, reach, scratch_of(scratch, worker), FLOAT32.bytes)

    if queries == 0:  # a sequence without a row
        _clear(here, reach * deep)
        return
    pack_keys(k, row, keys, count, D, my.keys)
    pack_keys(v, row, keys, count, D, my.values)
    pack_values(k, row, keys, count, D, my.key_rows)
    if relative.both != 0:
        keys_against_distances(k, heads, relative, sequence, my.gathered, my.from_keys)
        _clear(my.by_key, stride * reach)
    for i0 in range(0, queries, QUERIES):
        some = min(QUERIES, queries - i0)
        q_now, dc_now = at(q, i0 * row), at(dc, i0 * context_row)
        multiply(q_now, row, my.keys, stride, PANEL, my.probs, stride, some, D, 0, stride, False, CHUNK)
        multiply(dc_now, context_row, my.values, stride, PANEL, my.d_scores, stride, some, D, 0, stride, False, CHUNK)
        if relative.distances != 0:
            against_distances(q_now, row, some, D, relative, my.from_query)
            _clear(my.by_query, padded(some) * reach)
        _to_d_scores(i0, some, n, heads, sight, factors, relative, table, sequence, my)

        multiply(my.d_scores, stride, my.key_rows, deep, PANEL, my.dq, deep, some, count, 0, deep, False, CHUNK)
        if relative.distances != 0:
            multiply(my.by_query, reach, table.table, deep, COLUMNS, my.dq, deep, some, reach, 0, deep, True, NEAR)
        for i in range(some):
            for d in range(0, D, 16):
                store_some(at(gradients.dq + d_head, (i0 + i) * d_row), d, D - d, load(my.dq, i * deep + d))
        _pack_rows(dc_now, context_row, some, D, my.rows)
        _multiply_turned(my.probs, stride, some, count, stride, deep, my, my.dv, i0 > 0)
        _pack_rows(q_now, row, some, D, my.rows)
        _multiply_turned(my.d_scores, stride, some, count, stride, deep, my, my.dk, i0 > 0)
        if relative.distances != 0:
            _multiply_turned(my.by_query, reach, some, reach, reach, deep, my, here, i0 > 0)
    if relative.both != 0:
        _add_keys_distances(sequence, D, table, here, my)
    _store_keys(sequence, queries, D, my, gradients.dk + d_head, gradients.dv + d_head, d_row)


KERNELS = (attention_backward,)
