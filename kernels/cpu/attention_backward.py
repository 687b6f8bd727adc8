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
        d_scores                                       _through_softmax
        by_query, by_key += d_scores by distance       _by_distance, relative positions only
        d_scores *= 1/√D
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
    pack_keys,
    pack_values,
    sequence_of,
)
from albert_np.kernels.cpu.gemm import COLUMNS, PANEL, multiply
from albert_np.kernels.cpu.layout import CHUNK, NEAR, QUERIES, backward_scratch, padded
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


@helper
def _turn_block(x, rows, columns, stride, out):
    """out[j·QUERIES + i] = x[i, j]: rows ≤ QUERIES, a multiple of 16 with zeros behind what is real; columns too."""
    for i in range(0, rows, 16):
        for j in range(0, columns, 16):
            transpose(at(x, i * stride + j), stride, at(out, j * QUERIES + i), QUERIES)


@helper
def _pack_rows(x, row, count, D, out):  # (count,D) -> panels of (count ≤ CHUNK, D)
    """B[i, d] = x[i, d]."""
    columns = padded(D)
    for d in range(0, columns, PANEL):
        for i in range(count):
            for lane in range(PANEL):
                put(out, d * count + i * PANEL + lane, get(x, i * row + d + lane) if d + lane < D else 0.0)


@helper
def _clear(x, count):
    """count zeros, a multiple of 16."""
    for j in range(0, count, 16):
        store(x, j, splat(0.0))


@helper
def _factors_of(dropout, factor, sequence, out):  # (T,) or 0 -> (count,)
    """What the probabilities of one query were multiplied by."""
    for j in range(sequence.count):
        put(out, j, get(dropout, get_int(sequence.keys, j)) * factor if dropout != 0 else factor)
    for j in range(sequence.count, padded(sequence.count)):
        put(out, j, 0.0)


@helper
def _multiply_line(x, count, by):  # (count,), (count,)
    for j in range(0, count, 16):
        store(x, j, load(x, j) * load(by, j))


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
    for j in range(sequence.count):
        distance = get_int(columns, i) - get_int(columns, get_int(sequence.keys, j)) + reach // 2
        put(by_query, distance, get(by_query, distance) + get(d_line, j))
        if relative.both != 0:
            put(by_key, j * reach + distance, get(by_key, j * reach + distance) + get(d_line, j))


@helper
def _add_keys_distances(k, heads, sequence, table, here, by_key, turned, rows, gathered, dk):
    """dk += by_key·a, and the table's gradient += by_keyᵀ·k, QUERIES keys at a time."""
    D, reach, deep = heads.D, table.reach, padded(heads.D)
    multiply(by_key, reach, table.table, deep, COLUMNS, dk, deep, sequence.count, reach, 0, deep, True, NEAR)
    for j0 in range(0, sequence.count, QUERIES):
        some = min(QUERIES, sequence.count - j0)
        _turn_block(at(by_key, j0 * reach), padded(some), reach, reach, turned)
        _pack_rows(at(gathered, j0 * D), D, some, D, rows)
        multiply(turned, QUERIES, rows, deep, PANEL, here, deep, reach, some, 0, deep, True, CHUNK)


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
    """One tile is one head of one sequence. The operands are those of `attention`.

    Rows of dk and dv whose key nobody may see are set to zero.
    """
    b, n = tile // heads.N, tile % heads.N
    sequence = sequence_of(sight, b)
    start, count, keys = sequence.start, sequence.count, sequence.keys
    queries = get_int(gradients.lengths, b)
    T, D, row, d_row, context_row = heads.T, heads.D, heads.row, gradients.d_row, gradients.context_row
    q, k, v = at(heads.q, start * row + n * D), at(heads.k, start * row + n * D), at(heads.v, start * row + n * D)
    d_head, c_head = start * d_row + n * D, start * context_row + n * D
    stride, deep, reach = padded(count), padded(D), table.reach
    here = at(table.d_tables, tile * reach * deep)
    factor = get(factors.head_mask, n) if factors.head_mask != 0 else float32(1.0)

    part, mine = backward_scratch(count, D, relative.width, reach), at(scratch.scratch, scratch.scratch_size * worker)
    k_turned, v_turned, k_rows = at(mine, part.keys), at(mine, part.values), at(mine, part.key_rows)
    p, ds, turned, some_rows = at(mine, part.probs), at(mine, part.d_scores), at(mine, part.turned), at(mine, part.rows)
    sums, k_sums, v_sums, line_factors = at(mine, part.dq), at(mine, part.dk), at(mine, part.dv), at(mine, part.factors)
    from_query, from_keys, gathered = at(mine, part.from_query), at(mine, part.from_keys), at(mine, part.gathered)
    by_query, by_key = at(mine, part.by_query), at(mine, part.by_key)

    pack_keys(k, row, keys, count, D, k_turned)
    pack_keys(v, row, keys, count, D, v_turned)
    pack_values(k, row, keys, count, D, k_rows)
    if relative.both != 0:
        keys_against_distances(k, heads, relative, sequence, gathered, from_keys)
        _clear(by_key, stride * reach)
    for i0 in range(0, queries, QUERIES):
        some = min(QUERIES, queries - i0)
        whole = padded(some)
        q_now, dc_now = at(q, i0 * row), at(gradients.d_context, c_head + i0 * context_row)
        multiply(q_now, row, k_turned, stride, PANEL, p, stride, some, D, 0, stride, False, CHUNK)
        multiply(dc_now, context_row, v_turned, stride, PANEL, ds, stride, some, D, 0, stride, False, CHUNK)
        if relative.distances != 0:
            against_distances(q_now, row, some, D, relative, from_query)
            _clear(by_query, whole * reach)
        for i in range(some):
            line, d_line = at(p, i * stride), at(ds, i * stride)
            finish_scores(line, i0 + i, heads, relative, sequence, at(from_query, i * relative.width), from_keys)
            inverse = masked_exponentials(line, i0 + i, T, sight, sequence)
            changed = factors.dropout != 0 or factors.head_mask != 0
            if changed:
                place = at(0, T * ((b * heads.N + n) * T + i0 + i))
                dropout = factors.dropout + place if factors.dropout != 0 else 0
                _factors_of(dropout, factor, sequence, line_factors)
                _multiply_line(d_line, count, line_factors)
            if relative.distances == 0:
                _through_softmax(line, d_line, count, inverse, heads.scale)
            else:  # whose terms are not divided by √D
                _through_softmax(line, d_line, count, inverse, float32(1.0))
                _by_distance(d_line, i0 + i, relative, reach, sequence, at(by_query, i * reach), by_key)
                for j in range(0, stride, 16):
                    store(d_line, j, load(d_line, j) * heads.scale)
            if changed:
                _multiply_line(line, count, line_factors)
        _clear(at(p, some * stride), (whole - some) * stride)
        _clear(at(ds, some * stride), (whole - some) * stride)

        multiply(ds, stride, k_rows, deep, PANEL, sums, deep, some, count, 0, deep, False, CHUNK)
        if relative.distances != 0:
            multiply(by_query, reach, table.table, deep, COLUMNS, sums, deep, some, reach, 0, deep, True, NEAR)
        for i in range(some):
            for d in range(0, D, 16):
                store_some(at(gradients.dq, d_head + (i0 + i) * d_row), d, D - d, load(sums, i * deep + d))
        _turn_block(p, whole, stride, stride, turned)
        _pack_rows(dc_now, context_row, some, D, some_rows)
        multiply(turned, QUERIES, some_rows, deep, PANEL, v_sums, deep, count, some, 0, deep, i0 > 0, CHUNK)
        _turn_block(ds, whole, stride, stride, turned)
        _pack_rows(q_now, row, some, D, some_rows)
        multiply(turned, QUERIES, some_rows, deep, PANEL, k_sums, deep, count, some, 0, deep, i0 > 0, CHUNK)
        if relative.distances != 0:
            _turn_block(by_query, whole, reach, reach, turned)
            multiply(turned, QUERIES, some_rows, deep, PANEL, here, deep, reach, some, 0, deep, i0 > 0, CHUNK)
    if relative.both != 0:
        _add_keys_distances(k, heads, sequence, table, here, by_key, turned, some_rows, gathered, k_sums)

    dk, dv = at(gradients.dk, d_head), at(gradients.dv, d_head)
    if count < queries:
        for i in range(queries):
            for d in range(D):
                put(dk, i * d_row + d, 0.0)
                put(dv, i * d_row + d, 0.0)
    for j in range(count):
        to = at(0, d_row * get_int(keys, j))
        for d in range(0, D, 16):
            store_some(dk + to, d, D - d, load(k_sums, j * deep + d))
            store_some(dv + to, d, D - d, load(v_sums, j * deep + d))


KERNELS = (attention_backward,)
