"""softmax(q·kᵀ/√D + mask)·v for one head at a time, with both products in bfloat16: attention.py has all but these.

A head's keys and values are packed as strips of B, its scores and their exponentials are float32, and the exponentials are
rounded for the second product. Their sum is that of the unrounded ones. Where D is no multiple of STEP the queries are
copied, so that a product reads zeros behind them and not the next head.
"""

from __future__ import annotations

from numba import float32
from numba.extending import register_jitable

from albert_np.kernels.cpu.attention import (
    Factors,
    Heads,
    Relative,
    Scratch,
    Sight,
    finish_scores,
    masked_exponentials,
    multiply_by_factors,
    scatter,
    scratch_of,
    sequence_of,
)
from albert_np.kernels.cpu.bfloat16.layout import SLOTS, STEP, STRIP_STEP
from albert_np.kernels.cpu.bfloat16.operand import (
    at_operand,
    get_operand,
    load_operand,
    operand_words,
    put_operand,
    store_operand,
    word_of,
    words_of,
)
from albert_np.kernels.cpu.bfloat16.product import multiply16
from albert_np.kernels.cpu.bfloat16.unit import STRIPS, begin, end, flush, unflush
from albert_np.kernels.cpu.layout import FLOAT32, QUERIES, TASK, attention16_scratch, padded
from albert_np.kernels.cpu.vector import FLAGS, at, at_int, get, get_int, helper, load, put, splat, store, transpose

register_jitable(**FLAGS)(attention16_scratch)


@helper
def _steps(n):  # of k, that n numbers are
    return (n + STEP - 1) // STEP


# --- packing --------------------------------------------------------------------------------------------------------------


@helper
def _copy_columns(x, first, D, to):  # operand -> (steps of D,) float32, zeros behind
    for d in range(D):
        put(to, d, get_operand(x, first + d))
    for d in range(D, STEP * _steps(D)):
        put(to, d, 0.0)


@helper
def _pack_keys(k, row, first, keys, count, D, one, out):  # (rows,D) operand -> strips of (D, count)
    """B[d, j] = k[keys[j], first + d]. A tile's words of sixteen keys are put in rows, and turned over."""
    steps = _steps(D)
    for j0 in range(0, count, 16):
        strip = at(out, j0 // 16 * steps * STRIP_STEP)
        for j in range(16):
            if j0 + j >= count:
                for step in range(steps):
                    store(strip, step * STRIP_STEP + 16 * j, splat(0.0))
            elif D % STEP == 0:
                key = at_operand(k, row * get_int(keys, j0 + j))
                for step in range(steps):
                    store(strip, step * STRIP_STEP + 16 * j, operand_words(key, first + STEP * step))
            else:
                _copy_columns(at_operand(k, row * get_int(keys, j0 + j)), first, D, one)
                for step in range(steps):
                    words = words_of(load(one, STEP * step), load(one, STEP * step + 16))
                    store(strip, step * STRIP_STEP + 16 * j, words)
        for step in range(steps):
            tile = at(strip, step * STRIP_STEP)
            transpose(tile, 16, tile, 16)


@helper
def _value(
    v, row, first, keys, count, j, d, D, one
):  # -> sixteen columns of the value of key j, zeros where there are none
    if j >= count:
        return splat(0.0)
    value = at_operand(v, row * get_int(keys, j))
    if D % 4 == 0 and d + 16 <= D:
        return load_operand(value, first + d)
    for lane in range(16):
        put(one, lane, get_operand(value, first + d + lane) if d + lane < D else 0.0)
    return load(one, 0)


@helper
def _pack_values(v, row, first, keys, count, D, one, out):  # (rows,D) operand -> strips of (count, D)
    """B[j, d] = v[keys[j], first + d]."""
    steps = _steps(count)
    for d in range(0, D, 16):
        for step in range(steps):
            tile = at(out, (d // 16 * steps + step) * STRIP_STEP)
            for word in range(16):
                low, high = STEP * step + SLOTS[2 * word], STEP * step + SLOTS[2 * word + 1]
                x = _value(v, row, first, keys, count, low, d, D, one)
                y = _value(v, row, first, keys, count, high, d, D, one)
                store(tile, 16 * word, word_of(x, y))


@helper
def _copy_queries(q, row, first, rows, D, one, out):  # (rows,D) operand -> (rows, steps of D) operand
    wide = STEP * _steps(D)
    for i in range(rows):
        _copy_columns(at_operand(q, i * row), first, D, one)
        for d in range(0, wide, 16):
            store_operand(at_operand(out, i * wide), d, load(one, d))


# --- the two products -----------------------------------------------------------------------------------------------------


@helper
def _product(a, a_row, b, columns, steps, c, c_row, rows):  # -> (rows, padded columns)
    strip = steps * STRIP_STEP
    for n in range(0, (columns + 15) // 16, STRIPS):
        strips = min(STRIPS, (columns + 15) // 16 - n)
        multiply16(a, a_row, at(b, n * strip), strip, strips, steps, steps, at(c, 16 * n), c_row, rows, 0)


def attention16(  # (R,N·D) × 3 operands -> (R,N·D) operand
    heads: Heads,
    context,
    context_row,
    tasks,
    sight: Sight,
    factors: Factors,
    relative: Relative,
    scores_out,
    probs_out,
    scratch: Scratch,
    tile,
    worker,
):
    """As attention, with the same operands; distances are strips of the table (D, 2P−1)."""
    task = at_int(tasks, TASK * tile)
    b, n, q0, q1 = get_int(task, 0), get_int(task, 1), get_int(task, 2), get_int(task, 3)
    sequence = sequence_of(sight, b)
    start, count, keys = sequence.start, sequence.seen, sequence.keys
    T, D, row = heads.T, heads.D, heads.row
    first, stride, deep = n * D, padded(count), padded(D)
    deep_steps, key_steps = _steps(D), _steps(count)
    factor = get(factors.head_mask, n) if factors.head_mask != 0 else float32(1.0)
    my = attention16_scratch(count, D, relative.width, scratch_of(scratch, worker), FLOAT32.bytes)

    q, k, v = at_operand(heads.q, start * row), at_operand(heads.k, start * row), at_operand(heads.v, start * row)
    _pack_keys(k, row, first, keys, count, D, my.row, my.keys)
    _pack_values(v, row, first, keys, count, D, my.row, my.values)
    table = at(relative.distances, relative.first // 16 * deep_steps * STRIP_STEP)
    if relative.both != 0:
        for j in range(count):
            key = at_operand(k, row * get_int(keys, j))
            _copy_queries(key, row, first, 1, D, my.row, at_operand(my.gathered, j * STEP * deep_steps))
        opened, before = begin(count), flush()
        _product(my.gathered, STEP * deep_steps, table, relative.width, deep_steps, my.from_keys, relative.width, count)
        unflush(before)
        end(opened)

    for i0 in range(q0, q1, QUERIES):
        some = min(QUERIES, q1 - i0)
        queries, queries_row = at_operand(q, i0 * row + first), row
        if D % STEP != 0:
            _copy_queries(at_operand(q, i0 * row), row, first, some, D, my.row, my.queries)
            queries, queries_row = my.queries, STEP * deep_steps
        opened, before = begin(some), flush()
        _product(queries, queries_row, my.keys, count, deep_steps, my.scores, stride, some)
        if relative.distances != 0:
            _product(queries, queries_row, table, relative.width, deep_steps, my.from_query, relative.width, some)
        unflush(before)
        for i in range(some):
            line, place = at(my.scores, i * stride), at(0, T * ((b * heads.N + n) * T + i0 + i))
            finish_scores(line, i0 + i, heads, relative, sequence, at(my.from_query, i * relative.width), my.from_keys)
            if scores_out != 0:
                scatter(line, count, keys, float32(1.0), scores_out + place)
            inverse = masked_exponentials(line, i0 + i, T, sight, sequence)
            if factors.dropout != 0:
                multiply_by_factors(line, factors.dropout + place, float32(1.0), sequence)
            inverse *= factor
            put(my.inverses, i, inverse)
            if probs_out != 0:
                scatter(line, count, keys, inverse, probs_out + place)
            to = at_operand(my.exponentials, i * STEP * key_steps)
            for j in range(0, STEP * key_steps, 16):
                store_operand(to, j, load(line, j) if j < stride else splat(0.0))
        before = flush()
        _product(my.exponentials, STEP * key_steps, my.values, D, key_steps, my.sums, deep, some)
        unflush(before)
        end(opened)
        for i in range(some):
            to, inverse = at_operand(context, (start + i0 + i) * context_row), get(my.inverses, i)
            for d in range(0, D, 16):
                x = load(my.sums, i * deep + d) * inverse
                if D % 16 == 0:
                    store_operand(to, first + d, x)
                else:
                    store(my.row, 0, x)
                    for lane in range(min(16, D - d)):
                        put_operand(to, first + d + lane, get(my.row, lane))


KERNELS = (attention16,)
