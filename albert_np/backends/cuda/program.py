"""The steps of a forward on the GPU: which kernel, in which size, on which memory; written down once, run often."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from albert_np.backends.cuda.precision import float32_of, row_of
from albert_np.kernels.cuda import device
from albert_np.kernels.cuda.attention import QUERIES, attention, width_of
from albert_np.kernels.cuda.attention_tensor import QUERIES as TENSOR_QUERIES
from albert_np.kernels.cuda.attention_tensor import tensor_attention
from albert_np.kernels.cuda.kernel import Buffer, Kernel, ceil_div
from albert_np.kernels.cuda.layer_norm import layer_norm, rounded_layer_norm
from albert_np.kernels.cuda.matmul import ADDED, CHUNK, add_chunks, choose, matmul
from albert_np.kernels.cuda.matmul_tensor import ROUNDED, round_rows, tensor_matmul
from albert_np.kernels.cuda.rows import row_of as lanes_of
from albert_np.kernels.cuda.scores import RELATED, TILE, add_distances, heads_matmul
from albert_np.kernels.cuda.softmax import ROWS, softmax
from albert_np.kernels.cuda.tensor_tiles import choose as choose_tensor
from albert_np.kernels.cuda.tensor_tiles import ends_of
from albert_np.ops import MASK_MODES, Array, MaskMode

MOST_BLOCKS = 65535  # along the second and third axis of a grid
RECORDED = 2  # the run before which steps become one CUDA graph: the first may be the only one, and loads the kernels
_refusals: list[str] = []  # of the driver, to record a graph: after one nothing is recorded any more


@dataclass(frozen=True)
class Tap:
    """A step of a trace: the numbers that lie in some columns of an array after so many launches."""

    behind: int
    name: str
    array: str
    columns: int
    first: int

    def read(self, x: Buffer, rows: int) -> Array:  # (R,…) -> (R,columns) float32
        whole = x.memory.read(x.offset, (rows, x.size // rows), x.dtype)[:, self.first : self.first + self.columns]
        return float32_of(whole) if x.dtype == np.uint16 else np.ascontiguousarray(whole)


class Program:
    """Launches on the one stream. Those of a plan that is run again become one: a hundred cost the host as much as the GPU."""

    def __init__(self) -> None:
        self.steps: list[Callable[..., None]] = []
        self.taps: list[Tap] = []
        self._runs = 0
        self._graph: Callable[[], None] | None = None

    def add(self, kernel: Kernel, grid: tuple[int, ...], *arguments: Any) -> None:
        self.steps.append(device.prepare(kernel, grid, *arguments))

    def tap(self, name: str, array: str, columns: int, first: int) -> None:
        """Marks what the last step left in some columns of an array, by the array's name: a plan keeps no memory alive."""
        self.taps.append(Tap(len(self.steps), name, array, columns, first))

    def run_and_look(self, look: Callable[[Tap], None]) -> None:
        """The same launches, one by one, with a look at each tap in between."""
        done = 0
        for tap in self.taps:
            for step in self.steps[done : tap.behind]:
                step()
            done = tap.behind
            device.synchronize()
            look(tap)
        for step in self.steps[done:]:
            step()

    def run(self) -> None:
        self._runs += 1
        if self._runs == RECORDED:
            self._graph = _recorded(self.steps)
        if self._graph is not None:
            self._graph()
            return
        for step in self.steps:
            step()


def _recorded(steps: list[Callable[..., None]]) -> Callable[[], None] | None:
    """The steps as one launch. None, and a warning the first time, where that cannot be: then they are launched one by one."""
    if _refusals or os.environ.get("ALBERT_NP_CUDA_GRAPHS") == "0":
        return None
    try:
        return device.recorded(steps)
    except Exception as error:
        says = str(error).strip().partition("\n")[0]
        _refusals.append(says)
        warnings.warn(
            f"launches cannot be recorded as a CUDA graph ({type(error).__name__}: {says}): they are sent one by one, with the "
            "same results in more time; with ALBERT_NP_CUDA_GRAPHS=0 nobody tries",
            stacklevel=2,
        )
        return None


@dataclass(frozen=True)
class Linear:
    """Weights as the matmul of their kind wants them: turned over, or for tensor cores not; rows of multiples of 16 bytes."""

    weight: Buffer  # (K,row), or (N,row)
    bias: Buffer  # (row,)
    N: int
    K: int
    kind: str = "float32"  # of precision.py

    @property
    def row(self) -> int:
        return self.weight.shape[1]


def split_sums(M: int, N: int, K: int, kind: str = "float32") -> int:
    """Numbers of workspace that add_linear needs for a product of that size."""
    if kind != "float32":
        return 0
    return ceil_div(K, CHUNK) * M * ceil_div(N, 4) * 4 if choose(M, N, K, device.multiprocessors())[1] else 0


def add_linear(  # (M,K), (K,N), (M,N) -> (M,N)
    program: Program,
    x: Buffer,
    x_row: int,
    w: Linear,
    out: Buffer,
    M: int,
    *,
    out_row: int | None = None,
    activation: str = "none",
    residual: Buffer | None = None,
    sums: Buffer | None = None,
) -> None:
    """x·Wᵀ + b, then activation, then + residual, whose rows lie together. sums: split_sums(M, N, K) numbers.

    Of kind "bfloat16" x is that, its rows filled up to multiples of 8; out is, if it is a buffer of uint16.
    """
    if w.kind != "float32":
        _add_tensor_linear(program, x, x_row, w, out, M, out_row, activation, residual)
        return
    tile, split = choose(M, w.N, w.K, device.multiprocessors())
    vector = w.K % 4 == 0 and x_row % 4 == 0 and x.offset % 16 == 0
    out_row = w.N if out_row is None else out_row
    x_blocks, y_blocks = tile.blocks_of(M, w.N)
    if not split:
        kernel = matmul(tile, activation, residual is not None, vector=vector)
        program.add(
            kernel, (x_blocks, y_blocks), x, x_row, w.weight, w.row, w.bias, residual, w.N, out, out_row, M, w.N, w.K
        )
        return
    chunks, sums_row = ceil_div(w.K, CHUNK), ceil_div(w.N, 4) * 4
    program.add(
        matmul(tile, vector=vector, split=True),
        (x_blocks, y_blocks, chunks),
        x,
        x_row,
        w.weight,
        w.row,
        w.bias,
        None,
        0,
        sums,
        sums_row,
        M,
        w.N,
        w.K,
    )
    program.add(
        add_chunks(activation, residual is not None),
        (ceil_div(M * ceil_div(w.N, 4), ADDED),),
        sums,
        sums_row,
        chunks,
        w.bias,
        residual,
        w.N,
        out,
        out_row,
        M,
        w.N,
    )


def _add_tensor_linear(
    program: Program,
    x: Buffer,
    x_row: int,
    w: Linear,
    out: Buffer,
    M: int,
    out_row: int | None,
    activation: str,
    residual: Buffer | None,
) -> None:
    tile = choose_tensor(w.kind, M, w.N, w.K, device.multiprocessors())
    rounded = out.dtype == np.uint16
    aligned = x_row * x.dtype.itemsize % 16 == 0 and x.offset % 16 == 0
    kernel = tensor_matmul(
        w.kind, tile, activation, residual is not None, rounded=rounded, ends=ends_of(w.kind, w.K, aligned)
    )
    if out_row is None:
        out_row = row_of("bfloat16", w.N) if rounded else w.N
    program.add(
        kernel, tile.blocks_of(M, w.N), x, x_row, w.weight, w.row, w.bias, residual, w.N, out, out_row, M, w.N, w.K
    )


def add_rounding(  # (R,H) -> (R,H) in bfloat16, filled up with zeros to multiples of 8
    program: Program, x: Buffer, x_row: int, out: Buffer, rows: int, columns: int
) -> None:
    row = row_of("bfloat16", columns)
    grid = (ceil_div(rows * row, 4 * ROUNDED),)
    program.add(round_rows, grid, x, x_row, out, row, rows, columns)


def add_layer_norm(  # (R,H), (H,), (H,) -> (R,H), and the same in bfloat16 where it is wanted
    program: Program,
    x: Buffer,
    weight: Buffer,
    bias: Buffer,
    out: Buffer,
    rows: int,
    eps: float,
    rounded: Buffer | None = None,
) -> None:
    H = weight.size
    if rounded is not None:
        row, grid = row_of("bfloat16", H), (ceil_div(rows, lanes_of(H).rows_a_block),)
        program.add(rounded_layer_norm(H), grid, x, weight, bias, out, rounded, row, rows, eps)
        return
    program.add(layer_norm(H), (ceil_div(rows, lanes_of(H).rows_a_block),), x, weight, bias, out, rows, eps)


@dataclass(frozen=True)
class Heads:
    """Queries, keys and values of all heads, and who may see whom; the sequences lie end to end."""

    q: Buffer  # (R,…)
    k: Buffer
    v: Buffer
    row: int  # numbers from row to row of each
    N: int
    D: int
    B: int
    starts: Buffer  # (B+1,) int32
    longest: int  # tokens of a sequence
    mask: str  # "none", "keys", "pairs"
    allowed: Buffer | None  # uint8
    mode: MaskMode
    factors: Buffer | None = None  # (N,): the head mask


def is_fused(D: int, relative: bool, keeps_probs: bool) -> bool:
    return width_of(D) is not None and not relative and not keeps_probs


def is_tensor_fused(D: int, relative: bool, keeps_probs: bool) -> bool:
    """In bfloat16 on tensor cores; what is fused and not that runs in float32, between products in bfloat16."""
    return is_fused(D, relative, keeps_probs) and D % 8 == 0


def add_attention(program: Program, heads: Heads, context: Buffer, context_row: int, T: int) -> None:  # -> (R,H)
    """Without scores in memory. T: columns of the mask."""
    kernel, queries = attention(heads.D, heads.mask, heads.factors is not None), QUERIES
    if heads.q.dtype == np.uint16:
        kernel, queries = tensor_attention(heads.D, heads.mask, heads.factors is not None), TENSOR_QUERIES
    _check_grid(heads.B)
    program.add(
        kernel,
        (ceil_div(heads.longest, queries), heads.N, heads.B),
        heads.q,
        heads.k,
        heads.v,
        heads.row,
        context,
        context_row,
        heads.starts,
        heads.allowed,
        heads.factors,
        T,
        1 / math.sqrt(heads.D),
        MASK_MODES.index(heads.mode),
    )


@dataclass(frozen=True)
class Related:
    """Relative positions: a row of the table for each distance, the columns of the tokens, and whether keys count too."""

    table: Buffer  # (2P−1,D)
    columns: Buffer  # (R,) int32
    both: bool


def add_scores(  # -> (B,N,T,T), (B,N,T,T), (R,H)
    program: Program,
    heads: Heads,
    T: int,
    scores: Buffer,
    probs: Buffer,
    context: Buffer,
    context_row: int,
    related: Related | None = None,
) -> None:
    """By way of scores in memory, for B sequences of T tokens. `probs` may be `scores`."""
    B, N, D, row = heads.B, heads.N, heads.D, heads.row
    _check_grid(B * N)
    blocks = ceil_div(T, TILE)
    program.add(
        heads_matmul,
        (blocks, blocks, B * N),
        heads.q,
        row,
        1,
        D,
        T * row,
        heads.k,
        1,
        row,
        D,
        T * row,
        scores,
        T,
        T * T,
        N * T * T,
        N,
        T,
        T,
        D,
        1 / math.sqrt(D),
    )
    if related is not None:
        program.add(
            add_distances,
            (ceil_div(B * N * T * T, RELATED),),
            scores,
            heads.q,
            heads.k,
            row,
            related.table,
            related.columns,
            related.table.shape[0] // 2,
            int(related.both),
            B * N * T,
            N,
            T,
            D,
        )
    add_softmax(program, heads, T, scores, probs)
    add_context(program, heads, probs, T, context, context_row)


def add_softmax(program: Program, heads: Heads, T: int, scores: Buffer, probs: Buffer) -> None:
    rows = heads.B * heads.N * T
    kernel = softmax(T, heads.mask, heads.factors is not None)
    program.add(
        kernel,
        (ceil_div(rows, ROWS),),
        scores,
        heads.allowed,
        heads.factors,
        probs,
        rows,
        heads.N,
        T,
        MASK_MODES.index(heads.mode),
    )


def add_context(program: Program, heads: Heads, probs: Buffer, T: int, context: Buffer, context_row: int) -> None:
    B, N, D, row = heads.B, heads.N, heads.D, heads.row
    program.add(
        heads_matmul,
        (ceil_div(D, TILE), ceil_div(T, TILE), B * N),
        probs,
        T,
        1,
        T * T,
        N * T * T,
        heads.v,
        row,
        1,
        D,
        T * row,
        context,
        context_row,
        D,
        T * context_row,
        N,
        T,
        D,
        T,
        1.0,
    )


def _check_grid(blocks: int) -> None:
    if blocks > MOST_BLOCKS:
        raise ValueError(
            f"attention of {blocks:,} sequences, or heads of them, is more than a launch takes: run fewer at a time"
        )
