"""softmax(q·kᵀ/√D + mask)·v for one head of one sequence at a time, without ever holding all its scores.

The naive version, kept for teaching:

    for i in range(T):
        scores = [dot(q[i], k[j]) / sqrt(D) for j in keys]
        e = exp(scores - max(scores))
        context[i] = sum(e[j] * v[j] for j in keys) / sum(e)

The ladder, in Gflop/s on one core of a Zen 3, 12 heads of 64, for 128 and for 512 tokens:

    blocks of 4 × 2 vectors                43   55   64 numbers of a head are four panels of 16 columns
    blocks of 6 × 2                        47   60   eight sums do not hide the four cycles of an addition; twelve do
    context stored by whole vectors        57   67   a masked store is twenty instructions on AMD, and was an eighth of all

Both products are the GEMM's blocks (gemm.py): the keys of a head are packed transposed, its values as they are, and QUERIES
queries are scored, exponentiated and multiplied while their scores are in the second cache. Padded keys are left out when the
keys are packed, and so cost nothing and, adding nothing, change no bit. The division by the sum comes after the second
product, once for D numbers instead of once for each key. What is left is the exponential (a seventh) and the packing.

Tried, and left: the running maximum of FlashAttention (with T ≤ 512 the scores of a few queries fit into cache, and one exact
maximum needs no rescaling); 1/√D multiplied into the keys when they are packed (as fast, and twice as far off where √D is not
a power of two).
"""

from __future__ import annotations

import math
from typing import NamedTuple

from numba import float32, types
from numba.extending import intrinsic, register_jitable

from albert_np.kernels.cpu.activations import exp
from albert_np.kernels.cpu.gemm import COLUMNS, PANEL, in_panels, multiply
from albert_np.kernels.cpu.layout import CHUNK, FLOAT32, NAN, NEAR, QUERIES, TASK, ZEROS, attention_scratch, padded
from albert_np.kernels.cpu.vector import (
    F32,
    FLAGS,
    I64,
    V,
    at,
    at_int,
    element_pointer,
    get,
    get_byte,
    get_int,
    helper,
    interleaved,
    largest_of,
    load,
    load_some,
    put,
    select,
    splat,
    store,
    store_some,
    sum_of,
)

for function in (padded, attention_scratch):
    register_jitable(**FLAGS)(function)


# --- the operands, by what belongs together; attention_backward.py takes the same --------------------------------------------


class Heads(NamedTuple):
    """What is multiplied: head n has the columns from n·D on."""

    q: int  # (R,N·D), as k and v
    k: int
    v: int
    row: int  # elements from row to row of all three
    N: int
    T: int
    D: int
    scale: float  # 1/√D


class Sight(NamedTuple):
    """Which rows a sequence has, and which of them it sees (operands.Sequences)."""

    starts: int  # (B,): its first row
    keys: int  # of all sequences end to end: the rows that it sees, counted from its first
    key_starts: int  # (B+1,): where in `keys` its own begin
    blanks: int  # (B,): 1 where the mask leaves it nothing, and its keys are all rows
    pairs: int  # (B,T,T) bool, who sees whom; or 0
    mode: int  # what a query with nothing to see gets: its place in ops.MASK_MODES


class Factors(NamedTuple):
    """What probabilities are multiplied by; 0 for none."""

    head_mask: int  # (N,)
    dropout: int  # (B,N,T,T)


class Relative(NamedTuple):
    """Relative positions (operands.Distances); all 0 for none."""

    distances: int  # the packed table (D,…), of which the columns first … first + width are needed
    distance_columns: int
    first: int
    width: int
    shift: int  # the column of distance 0, counted from `first`
    both: int  # have keys a term of their own?
    columns: int  # (R,): where each row stands


class Scratch(NamedTuple):
    scratch: int
    scratch_size: int  # numbers a worker


@helper
def scratch_of(scratch, worker):
    """Where this worker's part begins."""
    return at(scratch.scratch, scratch.scratch_size * worker)


class Sequence(NamedTuple):
    """What a tile looks up about its sequence."""

    b: int
    start: int  # its first row
    seen: int  # keys
    keys: int  # (count,)
    dense: bool  # are these the first rows, with none left out?
    blank: bool


@helper
def sequence_of(sight, b):
    first = get_int(sight.key_starts, b)
    count, keys = get_int(sight.key_starts, b + 1) - first, at_int(sight.keys, first)
    dense = count > 0 and get_int(keys, count - 1) == count - 1  # they ascend
    return Sequence(b, get_int(sight.starts, b), count, keys, dense, get_int(sight.blanks, b) != 0)


# --- packing --------------------------------------------------------------------------------------------------------------


@intrinsic
def _transpose(typing_context, x, row, keys, out, out_row):
    """out[d·out_row + j] = x[keys[j]·row + d] for 16 keys and 16 numbers of each: vector.transpose, of rows that are chosen."""

    def codegen(context, builder, sig, args):
        x, row, keys, out, out_row = args
        rows = []
        for j in range(16):
            key = builder.load(element_pointer(builder, keys, I64(j), I64, I64(1)))
            pointer = element_pointer(builder, x, builder.mul(key, row), F32, I64(16))
            rows.append(builder.load(builder.bitcast(pointer, V.as_pointer())))
            rows[-1].align = 4
        for d, row in enumerate(interleaved(builder, rows)):
            pointer = element_pointer(builder, out, builder.mul(out_row, I64(d)), F32, I64(16), writes=True)
            builder.store(row, builder.bitcast(pointer, V.as_pointer())).align = 4
        return context.get_dummy_value()

    i = types.int64
    return types.void(i, i, i, i, i), codegen


@helper
def pack_keys(k, row, keys, count, D, out):  # (rows,D) -> panels of (D, count)
    """B[d, j] = k[keys[j], d]: kᵀ in the GEMM's panels, zeros up to whole vectors. D is cut into blocks of CHUNK too."""
    columns = padded(count)
    for d0 in range(0, D, CHUNK):
        depth = min(CHUNK, D - d0)
        for j0 in range(0, columns, PANEL):
            panel = in_panels(out, d0 * columns + j0 * depth)
            done = 0
            if PANEL == 16 and j0 + 16 <= count:
                done = depth // 16 * 16
                for d in range(0, done, 16):
                    _transpose(at(k, d0 + d), row, at_int(keys, j0), in_panels(panel, d * PANEL), PANEL)
            for j in range(PANEL):
                key = at(k, row * get_int(keys, j0 + j) + d0) if j0 + j < count else 0
                for d in range(done, depth):
                    put(panel, d * PANEL + j, get(key, d) if key != 0 else 0.0)


@helper
def pack_values(v, row, keys, count, D, out):  # (rows,D) -> panels of (count, D)
    """B[j, d] = v[keys[j], d]."""
    columns = padded(D)
    for j0 in range(0, count, CHUNK):
        depth = min(CHUNK, count - j0)
        for j in range(depth):
            value, to = at(v, row * get_int(keys, j0 + j)), in_panels(out, j0 * columns)
            for d in range(0, columns, PANEL):
                if PANEL == 16 and d + 16 <= D:
                    store(to, d * depth + j * PANEL, load(value, d))
                else:
                    for lane in range(PANEL):
                        put(to, d * depth + j * PANEL + lane, get(value, d + lane) if d + lane < D else 0.0)


# --- from packed keys to probabilities ------------------------------------------------------------------------------------


@helper
def against_distances(x, row, count, D, relative, out):  # (count,D) -> (count,width)
    """x·aᵀ, for the distances that can occur. These sums are not divided by √D, hence chunks of NEAR: their rounding shows."""
    first, last = relative.first, relative.first + relative.width
    table, columns, to = relative.distances, relative.distance_columns, at(out, -first)
    multiply(x, row, table, columns, COLUMNS, to, relative.width, count, D, first, last, False, NEAR)


@helper
def keys_against_distances(k, heads, relative, sequence, gathered, out):  # -> (count,width)
    """The same for the keys, whose rows are put together first."""
    D = heads.D
    for j in range(sequence.seen):
        for d in range(D):
            put(gathered, j * D + d, get(k, heads.row * get_int(sequence.keys, j) + d))
    against_distances(gathered, D, sequence.seen, D, relative, out)


@helper
def _add_distances(scores, i, relative, sequence, from_query, from_keys):
    """Relative positions: + q_i·a[i−j], and + k_j·a[i−j] where keys have a term. Both products were taken for all a."""
    columns = at_int(relative.columns, sequence.start)
    for j in range(sequence.seen):
        distance = get_int(columns, i) - get_int(columns, get_int(sequence.keys, j)) + relative.shift
        x = get(scores, j) + get(from_query, distance)
        if relative.both != 0:
            x += get(from_keys, j * relative.width + distance)
        put(scores, j, x)


@helper
def finish_scores(line, i, heads, relative, sequence, from_query, from_keys):  # (count,), from q·kᵀ, for query i
    for j in range(0, padded(sequence.seen), 16):
        store(line, j, load(line, j) * heads.scale)
    if relative.distances != 0:
        _add_distances(line, i, relative, sequence, from_query, from_keys)


@helper
def _apply_mask(scores, count, keys, allowed):  # (count,), (T,) bool -> is nothing allowed?
    """−∞ where the query may not look."""
    nothing = True
    for j in range(count):
        if get_byte(allowed, get_int(keys, j)) != 0:
            nothing = False
        else:
            put(scores, j, -math.inf)
    return nothing


@helper
def _exponentials(scores, count):  # (count,) -> their sum
    """e^(score − largest) in place, with zeros up to whole vectors."""
    for j in range(count, padded(count)):
        put(scores, j, -math.inf)
    largest = load(scores, 0)
    for j in range(16, count, 16):
        x = load(scores, j)
        largest = select(x > largest, x, largest)
    top = largest_of(largest)
    total = splat(0.0)
    for j in range(0, count, 16):
        e = exp(load(scores, j) - top)
        store(scores, j, e)
        total = total + e
    return sum_of(total)


@helper
def masked_exponentials(line, i, T, sight, sequence):  # (count,) -> 1/their sum
    """softmax(line + mask) for query i, but for a factor, which is given back: the mask, and what mask_mode says, are in it."""
    count, blank = sequence.seen, sequence.blank
    if sight.pairs != 0:
        blank = _apply_mask(line, count, sequence.keys, sight.pairs + T * (sequence.b * T + i))
    if blank:
        for j in range(count):
            put(line, j, 0.0)  # equal scores: the mask has swallowed them
    inverse = float32(1.0) / _exponentials(line, count)
    if blank and sight.mode == ZEROS:
        inverse = float32(0.0)
    if blank and sight.mode == NAN:
        inverse = float32(math.nan)
    return inverse


@helper
def multiply_by_factors(line, dropout, factor, sequence):  # (count,), (T,) or 0, a number
    count = sequence.seen
    if dropout == 0:
        for j in range(0, count, 16):
            store(line, j, load(line, j) * factor)
    elif sequence.dense:
        for j in range(0, count, 16):
            store(line, j, load(line, j) * load_some(dropout, j, count - j, 0.0) * factor)
    else:
        for j in range(count):
            put(line, j, get(line, j) * get(dropout, get_int(sequence.keys, j)) * factor)


@helper
def scatter(x, count, keys, factor, out):
    """out[keys[j]] = x[j]·factor"""
    for j in range(count):
        put(out, get_int(keys, j), get(x, j) * factor)


def attention(  # (R,N·D) × 3 -> (R,N·D)
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
    """One tile is one task: sequence b, head n, first and last query; four int64 numbers.

    scores_out, probs_out (B,N,T,T): where they are kept too, or 0. The scores are without the mask, the probabilities with
    every factor.
    """
    task = at_int(tasks, TASK * tile)
    b, n, q0, q1 = get_int(task, 0), get_int(task, 1), get_int(task, 2), get_int(task, 3)
    sequence = sequence_of(sight, b)
    start, count, keys = sequence.start, sequence.seen, sequence.keys
    T, D, row = heads.T, heads.D, heads.row
    head = at(0, start * row + n * D)
    stride, deep = padded(count), padded(D)
    factor = get(factors.head_mask, n) if factors.head_mask != 0 else float32(1.0)

    my = attention_scratch(count, D, relative.width, scratch_of(scratch, worker), FLOAT32.bytes)

    pack_keys(heads.k + head, row, keys, count, D, my.keys)
    pack_values(heads.v + head, row, keys, count, D, my.values)
    if relative.both != 0:
        keys_against_distances(heads.k + head, heads, relative, sequence, my.gathered, my.from_keys)

    for i0 in range(q0, q1, QUERIES):
        some = min(QUERIES, q1 - i0)
        queries = at(heads.q + head, i0 * row)
        multiply(queries, row, my.keys, stride, PANEL, my.scores, stride, some, D, 0, stride, False, CHUNK)
        if relative.distances != 0:
            against_distances(queries, row, some, D, relative, my.from_query)
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
        multiply(my.scores, stride, my.values, deep, PANEL, my.sums, deep, some, count, 0, deep, False, CHUNK)
        for i in range(some):
            to = at(context, (start + i0 + i) * context_row + n * D)
            for d in range(0, D, 16):
                store_some(to, d, D - d, load(my.sums, i * deep + d) * get(my.inverses, i))


KERNELS = (attention,)
