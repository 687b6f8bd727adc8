"""What programs are given: weights in the GEMM's panels, aligned buffers, and attention's lists of sequences and keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from albert_np.kernels.cpu.layout import (
    CHUNK,
    FLOAT32,
    MC,
    PACKED,
    QUERIES,
    TILE_COLUMNS,
    TURNED_ROW,
    WIDE_TILE,
    WIDE_TILE_TURNED,
    Element,
    padded,
    row_stride,
)
from albert_np.kernels.cpu.program import Program
from albert_np.kernels.cpu.simd import chosen_level

Array = np.ndarray[Any, np.dtype[Any]]
TILES_A_THREAD = 8  # of a product, so that none waits long for the last
LINE = 64  # bytes of a cache line


def aligned(count: int, element: Element = FLOAT32) -> Array:  # -> (count,)
    """Uninitialised numbers that begin at a cache line, so that no vector of a panel lies across two."""
    memory = np.empty(count + LINE // element.bytes, element.dtype)
    first = -memory.__array_interface__["data"][0] % LINE // element.bytes
    return memory[first : first + count]


def rows_of(count: int, columns: int) -> Array:  # -> (count, columns), with a good stride between rows
    """A buffer of rows, with room behind each for whole vectors. The room belongs to the buffer, and holds anything."""
    stride = row_stride(columns)
    return aligned(count * stride).reshape(count, stride)


def row_of(x: Array) -> int:  # (R,C)
    """Elements from row to row."""
    return x.strides[0] // x.itemsize


def column_of(x: Array) -> int:  # (R,C)
    """Elements from column to column."""
    return x.strides[1] // x.itemsize


@dataclass(frozen=True)
class Packed:
    """B (K,N) of a product A·B, in panels; N padded with zeros to whole vectors. What a number of B is, `element` says."""

    panels: Array
    K: int
    N: int
    element: Element = PACKED

    @property
    def columns(self) -> int:
        return padded(self.N)


def pack(b: Array) -> Packed:  # (K,N), any strides
    """A weight that is stored (out, in) is packed as weight.T."""
    program, packed = Program(), reserve(*b.shape)
    add_pack(program, b, packed)
    program.run()
    return packed


def reserve(K: int, N: int) -> Packed:
    return Packed(aligned(K * padded(N), PACKED), K, N)


def add_pack(program: Program, b: Array, packed: Packed) -> None:  # (K,N), any strides
    program.work += b.size
    program.add(
        "pack",
        -(-packed.K // CHUNK),
        x=b,
        x_row=row_of(b),
        x_column=column_of(b),
        K=packed.K,
        N=packed.N,
        out=packed.panels,
        columns=packed.columns,
    )


def padded_vector(x: Array) -> Array:  # (N,) -> (padded N,)
    out = aligned(padded(len(x)))
    out[: len(x)], out[len(x) :] = x, 0
    return out


def _turned_scratch(program: Program) -> Array:
    """Room for each worker to turn a block of A."""
    if "turned" not in program.scratch:
        program.scratch["turned"] = aligned(MC * TURNED_ROW * program.threads)
    return program.scratch["turned"]


def columns_a_tile(
    row_tiles: int, columns: int, threads: int, widest: int = WIDE_TILE, panel: int = TILE_COLUMNS
) -> int:
    """Wide tiles read A less often; but there must be enough of them for threads to share evenly. Changes no bit.

    widest: columns a tile at most, but for one panel. panel: columns that a tile has, or a multiple of them.
    """
    fair = row_tiles * columns // (TILES_A_THREAD * threads)
    return min(max(fair // panel, 1), max(widest // panel, 1)) * panel


def add_gemm(  # (M,K), (M,N) with room for padded columns, (padded N,), (M,N)
    program: Program,
    a: Array,
    b: Packed,
    c: Array,
    rows: int,
    *,
    bias: Array | None = None,
    residual: Array | None = None,
    activation: int = 0,
    add: bool = False,
    before: Array | None = None,
    slopes: bool = False,
) -> None:
    """C = activation(A·B + bias) + residual, or C += A·B.

    In a program of training A may be a transposed view, and `before` keeps what the activation was applied to; with slopes,
    C = A·B · activation′(before) + residual.
    """
    assert b.element == PACKED, f"the kernels multiply panels of {PACKED.name}, not of {b.element.name}"
    program.work += rows * b.K * b.N
    turned = column_of(a) != 1
    widest = WIDE_TILE_TURNED if turned else WIDE_TILE
    tile_columns = columns_a_tile(-(-rows // MC), b.columns, program.threads, widest)
    extra: dict[str, Any] = {}
    if turned or before is not None:
        extra = {
            "a_column": column_of(a),
            "scratch": _turned_scratch(program) if turned else None,
            "before": before,
            "before_row": 0 if before is None else row_of(before),
            "slopes": int(slopes),
        }
    program.add(
        "gemm_training" if extra else "gemm",
        -(-rows // MC) * -(-b.columns // tile_columns),
        a=a,
        a_row=row_of(a),
        b=b.panels,
        columns=b.columns,
        c=c,
        c_row=row_of(c),
        M=rows,
        K=b.K,
        bias=bias,
        residual=residual,
        residual_row=0 if residual is None else row_of(residual),
        activation=activation,
        add=int(add),
        tile_columns=tile_columns,
        **extra,
    )


@dataclass(frozen=True)
class Sequences:
    """Which rows are a sequence, and what each attends to: the lists that the attention kernel reads (attention.py)."""

    lengths: Array  # (B,) int64
    starts: Array  # (B,) int64: the first row of each
    columns: Array  # (R,) int64: where each row stands in its sequence
    keys: Array  # (all keys,) int64: rows, counted from the first of the sequence
    key_starts: Array  # (B+1,) int64
    blanks: Array  # (B,) int64: 1 where the mask leaves nothing, and the keys are all
    pairs: Array | None  # (B,T,T) bool, where queries differ

    @property
    def most_keys(self) -> int:
        return int(np.diff(self.key_starts).max())


def sequences(mask: Array) -> Sequences:  # (B,T) or (B,T,T) bool
    """Every column is a row, padded ones too, as Hugging Face computes them."""
    B, T = mask.shape[:2]
    lengths = np.full(B, T)
    return _sequences(mask, lengths, np.tile(np.arange(T), B))


def real_sequences(mask: Array) -> Sequences:  # (B,T) bool
    """Only what the mask allows is a row."""
    lengths, columns = mask.sum(axis=1), np.nonzero(mask)[1]
    T = int(lengths.max())
    return _sequences(np.arange(T) < lengths[:, None], lengths, columns)


def _sequences(mask: Array, lengths: Array, columns: Array) -> Sequences:
    T = mask.shape[1]
    seen: Array = mask
    blank: Array = np.logical_not(np.any(mask, axis=1))
    pairs: Array | None = None
    if mask.ndim == 3:
        # a query with nothing to see attends to all keys, so then none may be left out
        some_see_nothing = np.any(np.logical_not(np.any(mask, axis=2)), axis=1)
        seen, pairs, blank = np.any(mask, axis=1), np.ascontiguousarray(mask), np.zeros(len(mask), bool)
        seen = seen | some_see_nothing[:, None]
    blank &= lengths > 0  # who has no row attends to nothing
    seen = seen | blank[:, None]
    key_starts = np.concatenate([[0], np.cumsum(seen.sum(axis=1))])
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    keys = np.broadcast_to(np.arange(T), seen.shape)[seen]
    whole = [np.ascontiguousarray(x, np.int64) for x in (lengths, starts, columns, keys, key_starts, blank)]
    return Sequences(*whole, pairs)  # type: ignore[call-arg]  # six in `whole`, which mypy does not count


def attention_tasks(lengths: Array, N: int, threads: int) -> Array:  # (B,) -> (tasks, 4) int64
    """(sequence, head, first query, last query), the long ones first. A sequence is cut where its heads are too few to share.

    Each cut packs the head's keys again; which task a query falls in changes no bit of it.
    """
    B = len(lengths)
    cuts = 1 if B * N >= 4 * threads else -(-4 * threads // (B * N))
    size = -(-int(lengths.max()) // cuts)
    size = max(QUERIES, -(-size // QUERIES) * QUERIES)
    tasks = [
        (b, n, first, min(first + size, int(lengths[b])))
        for b in np.argsort(-lengths, kind="stable").tolist()
        for first in range(0, int(lengths[b]), size)
        for n in range(N)
    ]
    return np.array(tasks, np.int64)


@dataclass(frozen=True)
class Distances:
    """The packed table of relative positions, and which of its columns T tokens can need."""

    packed: Packed  # of the table (2P−1, D), transposed
    both: bool  # relative_key_query: keys have a term of their own

    def operands(self, T: int) -> dict[str, Any]:
        return reached(self.packed, self.both, T, chosen_level().columns)


def reached(packed: Any, both: bool, T: int, panel: int) -> dict[str, Any]:
    """The operands of attention that say so, in whole panels of so many columns."""
    P = (packed.N + 1) // 2
    first = (P - T) // panel * panel
    last = min(packed.columns, -(-(P + T - 1) // panel) * panel)
    return {
        "distances": packed.panels,
        "distance_columns": packed.columns,
        "first": first,
        "width": last - first,
        "shift": P - 1 - first,
        "both": int(both),
    }


def reach_of(span: int) -> int:
    """So many distances gather gradients: those that span positions can have, on both sides of 0, and whole vectors."""
    return 2 * padded(span)


def rows_around(table: Array, reach: int) -> Array:  # (2P−1,D) -> (reach,D)
    """The table's rows of the distances −reach/2 … reach/2 − 1, and zeros for what it does not have."""
    rows, first = np.zeros((reach, table.shape[1]), np.float32), len(table) // 2 - reach // 2
    low, high = max(first, 0), min(first + reach, len(table))
    rows[low - first : high - first] = table[low:high]
    return rows


def distance_sums(span: int, D: int) -> Array:  # -> (reach·deep,)
    """Where steps.add_attention_backward sums the gradient with respect to the table, for positions so far apart, plus one."""
    return aligned(reach_of(span) * padded(D))


def table_gradient(sums: Array, rows: int, D: int) -> Array:  # (reach·deep,) -> (2P−1,D)
    """The same as a gradient of the whole table, which has so many rows."""
    around = sums.reshape(-1, padded(D))[:, :D]
    gradient, first = np.zeros((rows, D), np.float32), rows // 2 - len(around) // 2
    low, high = max(first, 0), min(first + len(around), rows)
    gradient[low:high] = around[low - first : high - first]
    return gradient
