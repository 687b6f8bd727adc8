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

from numba import float32, types
from numba.extending import intrinsic

from albert_np.kernels.cpu.activations import exp
from albert_np.kernels.cpu.gemm import COLUMNS, PANEL, multiply
from albert_np.kernels.cpu.layout import CHUNK, QUERIES
from albert_np.kernels.cpu.vector import (
    F32,
    I64,
    V,
    element_pointer,
    get,
    get_byte,
    get_int,
    helper,
    interleaved,
    largest_of,
    load,
    put,
    select,
    splat,
    store,
    store_some,
    sum_of,
)


@helper
def padded(n):
    return (n + 15) // 16 * 16


NEAR = 16  # k summed at a time for relative positions: they are not divided by √D, and their rounding is all the larger


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
            panel = out + 4 * (d0 * columns + j0 * depth)
            done = 0
            if PANEL == 16 and j0 + 16 <= count:
                done = depth // 16 * 16
                for d in range(0, done, 16):
                    _transpose(k + 4 * (d0 + d), row, keys + 8 * j0, panel + 4 * d * PANEL, PANEL)
            for j in range(PANEL):
                key = k + 4 * (row * get_int(keys, j0 + j) + d0) if j0 + j < count else 0
                for d in range(done, depth):
                    put(panel, d * PANEL + j, get(key, d) if key != 0 else 0.0)


@helper
def pack_values(v, row, keys, count, D, out):  # (rows,D) -> panels of (count, D)
    """B[j, d] = v[keys[j], d]."""
    columns = padded(D)
    for j0 in range(0, count, CHUNK):
        depth = min(CHUNK, count - j0)
        for j in range(depth):
            value, to = v + 4 * row * get_int(keys, j0 + j), out + 4 * j0 * columns
            for d in range(0, columns, PANEL):
                if PANEL == 16 and d + 16 <= D:
                    store(to, d * depth + j * PANEL, load(value, d))
                else:
                    for lane in range(PANEL):
                        put(to, d * depth + j * PANEL + lane, get(value, d + lane) if d + lane < D else 0.0)


@helper
def _against_distances(  # (count,D), packed (D,…) -> (count,width)
    x, row, count, D, distances, columns, first, width, out
):
    """x·aᵀ, for the distances that can occur."""
    last = first + width
    multiply(x, row, distances, columns, COLUMNS, out - 4 * first, width, count, D, first, last, False, NEAR)


@helper
def _add_distances(scores, count, from_query, from_keys, width, i, keys, columns, shift):
    """Relative positions: + q_i·a[i−j], and + k_j·a[i−j] where from_keys is there. Both products were taken for all a."""
    for j in range(count):
        distance = get_int(columns, i) - get_int(columns, get_int(keys, j)) + shift
        x = get(scores, j) + get(from_query, distance)
        if from_keys != 0:
            x += get(from_keys, j * width + distance)
        put(scores, j, x)


@helper
def apply_mask(scores, count, keys, allowed):  # (count,), (T,) bool -> is nothing allowed?
    """−∞ where the query may not look."""
    nothing = True
    for j in range(count):
        if get_byte(allowed, get_int(keys, j)) != 0:
            nothing = False
        else:
            put(scores, j, -math.inf)
    return nothing


@helper
def exponentials(scores, count):  # (count,) -> their sum
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
def _scatter(x, count, keys, factor, out):
    """out[keys[j]] = x[j]·factor"""
    for j in range(count):
        put(out, get_int(keys, j), get(x, j) * factor)


def attention(  # (R,N·D) × 3 -> (R,N·D)
    q,
    k,
    v,
    row,
    context,
    context_row,
    tasks,
    starts,
    keys,
    key_starts,
    blanks,
    pairs,
    N,
    T,
    D,
    scale: float,
    mode,
    head_mask,
    dropout,
    scores_out,
    probs_out,
    distances,
    distance_columns,
    first,
    width,
    shift,
    both,
    columns,
    scratch,
    scratch_size,
    tile,
    worker,
):
    """One tile is one task: sequence b, head n, first and last query; four int64 numbers.

    Sequence b has the rows of q, k and v from starts[b] on, and attends to those in keys[key_starts[b]:key_starts[b + 1]],
    counted from its first row. blanks[b]: the mask leaves it nothing, and `mode` says what then. What may be 0, for none:
    pairs (B,T,T) bool, who may see whom; head_mask (N,); dropout (B,N,T,T), factors; scores_out, probs_out (B,N,T,T);
    distances, the packed table of relative positions, of which the columns first … first + width are needed; `both` adds
    the keys' term; `shift` is the column of distance 0; columns (R,) is where each row stands.
    """
    b, n = get_int(tasks, 4 * tile), get_int(tasks, 4 * tile + 1)
    q0, q1 = get_int(tasks, 4 * tile + 2), get_int(tasks, 4 * tile + 3)
    start, count = get_int(starts, b), get_int(key_starts, b + 1) - get_int(key_starts, b)
    keys += 8 * get_int(key_starts, b)
    head, here = 4 * (start * row + n * D), columns + 8 * start
    stride, deep = padded(count), padded(D)
    factor = get(head_mask, n) if head_mask != 0 else float32(1.0)

    transposed = scratch + 4 * scratch_size * worker  # this worker's part, cut up
    values = transposed + 4 * D * stride
    scores = values + 4 * count * deep
    sums = scores + 4 * QUERIES * stride
    inverses = sums + 4 * QUERIES * deep
    from_query = inverses + 4 * QUERIES
    from_keys = from_query + 4 * QUERIES * width
    gathered = from_keys + 4 * count * width

    pack_keys(k + head, row, keys, count, D, transposed)
    pack_values(v + head, row, keys, count, D, values)
    if both != 0:
        for j in range(count):
            for d in range(D):
                put(gathered, j * D + d, get(k + head, row * get_int(keys, j) + d))
        _against_distances(gathered, D, count, D, distances, distance_columns, first, width, from_keys)

    for i0 in range(q0, q1, QUERIES):
        some = min(QUERIES, q1 - i0)
        queries = q + head + 4 * i0 * row
        multiply(queries, row, transposed, stride, PANEL, scores, stride, some, D, 0, stride, False, CHUNK)
        if distances != 0:
            _against_distances(queries, row, some, D, distances, distance_columns, first, width, from_query)
        for i in range(some):
            line, place = scores + 4 * i * stride, 4 * T * ((b * N + n) * T + i0 + i)
            for j in range(0, stride, 16):
                store(line, j, load(line, j) * scale)
            if distances != 0:
                term = from_keys if both != 0 else 0
                _add_distances(line, count, from_query + 4 * i * width, term, width, i0 + i, keys, here, shift)
            if scores_out != 0:
                _scatter(line, count, keys, float32(1.0), scores_out + place)
            blank = get_int(blanks, b) != 0
            if pairs != 0:
                blank = apply_mask(line, count, keys, pairs + T * (b * T + i0 + i))
            if blank:
                for j in range(count):
                    put(line, j, 0.0)  # equal scores: the mask has swallowed them
            inverse = float32(1.0) / exponentials(line, count)
            if blank and mode == 1:
                inverse = float32(0.0)
            if blank and mode == 2:
                inverse = float32(math.nan)
            if dropout != 0:
                for j in range(count):
                    put(line, j, get(line, j) * get(dropout + place, get_int(keys, j)))
            inverse *= factor
            put(inverses, i, inverse)
            if probs_out != 0:
                _scatter(line, count, keys, inverse, probs_out + place)
        multiply(scores, stride, values, deep, PANEL, sums, deep, some, count, 0, deep, False, CHUNK)
        for i in range(some):
            to = context + 4 * ((start + i0 + i) * context_row + n * D)
            for d in range(0, D, 16):
                store_some(to, d, D - d, load(sums, i * deep + d) * get(inverses, i))


KERNELS = (attention,)
