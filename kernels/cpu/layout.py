"""What the compiled side and the Python side agree on. Importing this imports no Numba: the kernels compile these functions."""

from __future__ import annotations

from typing import NamedTuple

# --- a step of a program (program.py, walk.py) ----------------------------------------------------------------------------
#     ┌────────┬───────┬────────────┬────────────┬─────┐
#     │ kernel │ tiles │ argument 0 │ argument 1 │  …  │   a row of STEP int64 numbers: an address, a count, and addresses,
#     └────────┴───────┴────────────┴────────────┴─────┘   numbers or the bits of a float32
#
# A kernel is called once for each tile, with its arguments, the tile's number and the worker's. Its parameters stand for one
# argument each, or, where one is a NamedTuple, for as many as that has fields; programs give all of them by name (build.py).
KERNEL, TILES, ARGUMENTS = 0, 1, 2
STEP = 40
COUNTERS = 16  # int64 numbers a step has for counting: claimed and done, each in a cache line of its own

# --- what an operand's numbers are --------------------------------------------------------------------------------------------


class Element(NamedTuple):
    """A kind of number in memory."""

    name: str
    dtype: str  # what NumPy stores it as
    bytes: int


FLOAT32, INT64 = Element("float32", "float32", 4), Element("int64", "int64", 8)
INT16, UINT8 = Element("int16", "int16", 2), Element("uint8", "uint8", 1)
BFLOAT16 = Element("bfloat16", "uint16", 2)  # NumPy has no bfloat16: its bits
PACKED = FLOAT32  # what gemm.py reads B's panels as

# --- the GEMM (gemm.py) ---------------------------------------------------------------------------------------------------
# k is summed in chunks, each in a register, and the chunks are added in order: a chain of 128 roundings and one of K/128 lose
# half as much as one of K. This alone decides the bits.
CHUNK = 128
MC = 128  # rows of A a tile: MC × CHUNK numbers are 64 KB, a part of the second cache
TURNED_ROW = CHUNK + 16  # from row to row of a block of A that was turned over: not a power of two, so that rows spread
TILE_COLUMNS = 48  # columns of C a tile, or a multiple of it: whole panels at every level, and whole vectors of 16
WIDE_TILE = 192  # columns of C a tile at most: MC × 192 numbers are 96 KB, and A is read again for each tile
WIDE_TILE_TURNED = 768  # the same where A is turned for each tile: 384 KB of the second cache

# --- products of narrower numbers (bfloat16/, int8/) ----------------------------------------------------------------------
ROWS16 = 128  # rows of A a tile
SCRATCH16 = 32  # columns whose sums are held at once: two strips, and a tile is a multiple of them

# --- other tiles ----------------------------------------------------------------------------------------------------------
ROWS_A_TILE = 8  # rows that LayerNorm, the embedding, an activation and a copy take at a time
NEAR = 16  # of what is summed along relative positions: the table's rows around distance 0 are cut into so many
SUMMED = 32  # rows that are summed down a column before their sum is added to that of others
COLUMNS_A_TILE = 64  # columns that such a sum takes at a time
TASK = 4  # int64 numbers a task of attention: sequence, head, first and last query
QUERIES = 48  # queries whose scores are held at once: with 512 keys 96 KB

ZEROS, NAN = 1, 2  # codes of mask modes: their places in ops.MASK_MODES


def padded(n: int) -> int:
    """n columns rounded up to whole vectors."""
    return -(-n // 16) * 16


def row_stride(n: int) -> int:
    """Elements from row to row of a buffer: whole vectors, and never a multiple of 4 KB, at which rows evict each other."""
    return padded(n) + 16 if padded(n) % 1024 == 0 else padded(n)


# --- a worker's scratch in attention: where each part of it begins, and at last where it ends ------------------------------
#
# Kernels pass where the scratch lies and the bytes of a number, and get addresses; without, `end` is how many numbers it takes.


class AttentionScratch(NamedTuple):
    keys: int  # packed (D, keys), transposed
    values: int  # packed (keys, D)
    scores: int  # (QUERIES, stride), stride = padded keys
    sums: int  # (QUERIES, deep), deep = padded D
    inverses: int  # (QUERIES,)
    from_query: int  # (QUERIES, width): relative positions only, as what follows
    from_keys: int  # (keys, width)
    gathered: int  # (keys, D)
    end: int


def attention_scratch(keys: int, D: int, width: int, start: int = 0, number: int = 1) -> AttentionScratch:
    """For so many keys at most; width: of the distances that can occur, 0 for none (operands.Distances)."""
    stride, deep = padded(keys), padded(D)
    values = start + number * D * stride
    scores = values + number * keys * deep
    sums = scores + number * QUERIES * stride
    inverses = sums + number * QUERIES * deep
    from_query = inverses + number * QUERIES
    from_keys = from_query + number * QUERIES * width
    gathered = from_keys + number * keys * width
    end = gathered + number * (keys * D if width > 0 else 0)
    return AttentionScratch(start, values, scores, sums, inverses, from_query, from_keys, gathered, end)


class Attention16Scratch(NamedTuple):
    """The same for bfloat16. Strips of B and rows of A are whole steps of 32 k; an operand has room for a float32."""

    keys: int  # strips of (D, keys), transposed
    values: int  # strips of (keys, D)
    scores: int  # (QUERIES, stride)
    exponentials: int  # (QUERIES, steps of keys) operand
    sums: int  # (QUERIES, deep)
    inverses: int  # (QUERIES,)
    row: int  # (steps of D,): one query or key as float32
    queries: int  # (QUERIES, steps of D) operand
    from_query: int  # (QUERIES, width): relative positions only, as what follows
    from_keys: int  # (keys, width)
    gathered: int  # (keys, steps of D) operand
    end: int


def attention16_scratch(keys: int, D: int, width: int, start: int = 0, number: int = 1) -> Attention16Scratch:
    stride, deep = padded(keys), padded(D)
    keys32, D32 = -(-keys // 32) * 32, -(-D // 32) * 32
    values = start + number * stride * D32 // 2
    scores = values + number * keys32 * deep // 2
    exponentials = scores + number * QUERIES * stride
    sums = exponentials + number * QUERIES * keys32
    inverses = sums + number * QUERIES * deep
    row = inverses + number * QUERIES
    queries = row + number * D32
    from_query = queries + number * QUERIES * D32
    from_keys = from_query + number * QUERIES * width
    gathered = from_keys + number * keys * width
    end = gathered + number * (keys * D32 if width > 0 else 0)
    parts = (start, values, scores, exponentials, sums, inverses, row, queries)
    return Attention16Scratch(*parts, from_query, from_keys, gathered, end)


class BackwardScratch(NamedTuple):
    keys: int  # packed (D, keys), transposed, as are the values
    values: int
    key_rows: int  # packed (keys, D)
    probs: int  # (QUERIES, stride)
    d_scores: int  # (QUERIES, stride)
    turned: int  # (stride or reach, QUERIES): a block turned over
    rows: int  # packed (QUERIES, D)
    dq: int  # (QUERIES, deep)
    dk: int  # (stride, deep)
    dv: int  # (stride, deep)
    from_query: int  # (QUERIES, width), as in the forward
    from_keys: int  # (keys, width)
    gathered: int  # (keys, D)
    by_query: int  # (QUERIES, reach): d_scores by distance
    by_key: int  # (stride, reach)
    end: int


def backward_scratch(keys: int, D: int, width: int, reach: int, start: int = 0, number: int = 1) -> BackwardScratch:
    """width as in attention_scratch; reach: of the distances that gather gradients, 0 for none."""
    stride, deep = padded(keys), padded(D)
    values = start + number * D * stride
    key_rows = values + number * D * stride
    probs = key_rows + number * keys * deep
    d_scores = probs + number * QUERIES * stride
    turned = d_scores + number * QUERIES * stride
    rows = turned + number * QUERIES * max(stride, reach)
    dq = rows + number * QUERIES * deep
    dk = dq + number * QUERIES * deep
    dv = dk + number * stride * deep
    from_query = dv + number * stride * deep
    from_keys = from_query + number * QUERIES * width
    gathered = from_keys + number * keys * width
    by_query = gathered + number * (keys * D if width > 0 else 0)
    by_key = by_query + number * QUERIES * reach
    end = by_key + number * stride * reach
    packed = (start, values, key_rows)
    blocks = (probs, d_scores, turned, rows)
    sums = (dq, dk, dv)
    relative = (from_query, from_keys, gathered, by_query, by_key)
    return BackwardScratch(*packed, *blocks, *sums, *relative, end)
