"""The steps of a forward on the GPU: which kernel, in which size, on which memory; written down once, run often."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from albert_np.kernels.cuda import device
from albert_np.kernels.cuda.attention import QUERIES, attention, width_of
from albert_np.kernels.cuda.kernel import Buffer, Kernel, ceil_div
from albert_np.kernels.cuda.layer_norm import layer_norm
from albert_np.kernels.cuda.matmul import ADDED, CHUNK, add_chunks, choose, matmul
from albert_np.kernels.cuda.rows import row_of
from albert_np.kernels.cuda.scores import RELATED, TILE, add_distances, heads_matmul
from albert_np.kernels.cuda.softmax import ROWS, softmax

MODES = {"uniform": 0, "zeros": 1, "nan": 2}
MOST_BLOCKS = 65535  # along the second and third axis of a grid


class Program:
    def __init__(self) -> None:
        self.steps: list[Callable[[], None]] = []

    def add(self, kernel: Kernel, grid: tuple[int, ...], *arguments: Any) -> None:
        self.steps.append(device.prepare(kernel, grid, *arguments))

    def run(self) -> None:
        for step in self.steps:
            step()


@dataclass(frozen=True)
class Linear:
    """Weights as the matmul wants them: turned over, and rows padded with zeros to 16 bytes."""

    weight: Buffer  # (K,row)
    bias: Buffer  # (row,)
    N: int
    K: int

    @property
    def row(self) -> int:
        return self.weight.shape[1]


def split_sums(M: int, N: int, K: int) -> int:
    """Numbers of workspace that add_linear needs for a product of that size."""
    return ceil_div(K, CHUNK) * M * ceil_div(N, 4) * 4 if choose(M, N, K, device.multiprocessors())[1] else 0


def add_linear(
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
) -> None:  # (M,K), (K,N), (M,N) -> (M,N)
    """x·Wᵀ + b, then activation, then + residual, whose rows lie together. sums: split_sums(M, N, K) numbers."""  # fmt: skip
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
        matmul(tile, vector=vector, split=True), (x_blocks, y_blocks, chunks),
        x, x_row, w.weight, w.row, w.bias, None, 0, sums, sums_row, M, w.N, w.K,
    )  # fmt: skip
    program.add(
        add_chunks(activation, residual is not None), (ceil_div(M * ceil_div(w.N, 4), ADDED),),
        sums, sums_row, chunks, w.bias, residual, w.N, out, out_row, M, w.N,
    )  # fmt: skip


def add_layer_norm(
    program: Program, x: Buffer, weight: Buffer, bias: Buffer, out: Buffer, rows: int, eps: float
) -> None:  # (R,H), (H,), (H,) -> (R,H)
    H = weight.size
    program.add(layer_norm(H), (ceil_div(rows, row_of(H).rows_a_block),), x, weight, bias, out, rows, eps)


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
    mode: str
    factors: Buffer | None = None  # (N,): the head mask


def is_fused(D: int, relative: bool, keeps_probs: bool) -> bool:
    return width_of(D) is not None and not relative and not keeps_probs


def add_attention(program: Program, heads: Heads, context: Buffer, context_row: int, T: int) -> None:  # -> (R,H)
    """Without scores in memory. T: columns of the mask."""
    kernel = attention(heads.D, heads.mask, heads.factors is not None)
    _check_grid(heads.B)
    program.add(
        kernel, (ceil_div(heads.longest, QUERIES), heads.N, heads.B), heads.q, heads.k, heads.v, heads.row, context,
        context_row, heads.starts, heads.allowed, heads.factors, T, 1 / math.sqrt(heads.D), MODES[heads.mode],
    )  # fmt: skip


@dataclass(frozen=True)
class Related:
    """Relative positions: a row of the table for each distance, the columns of the tokens, and whether keys count too."""

    table: Buffer  # (2P−1,D)
    columns: Buffer  # (R,) int32
    both: bool


def add_scores(
    program: Program,
    heads: Heads,
    T: int,
    scores: Buffer,
    probs: Buffer,
    context: Buffer,
    context_row: int,
    related: Related | None = None,
    *,
    softmax_only: bool = False,
) -> None:  # -> (B,N,T,T), (B,N,T,T), (R,H)
    """By way of scores in memory, for B sequences of T tokens. `probs` may be `scores`."""  # fmt: skip
    B, N, D, row = heads.B, heads.N, heads.D, heads.row
    _check_grid(B * N)
    blocks = ceil_div(T, TILE)
    program.add(
        heads_matmul, (blocks, blocks, B * N), heads.q, row, 1, D, T * row, heads.k, 1, row, D, T * row,
        scores, T, T * T, N * T * T, N, T, T, D, 1 / math.sqrt(D),
    )  # fmt: skip
    if related is not None:
        program.add(
            add_distances, (ceil_div(B * N * T * T, RELATED),), scores, heads.q, heads.k, row, related.table, related.columns,
            related.table.shape[0] // 2, int(related.both), B * N * T, N, T, D,
        )  # fmt: skip
    add_softmax(program, heads, T, scores, probs)
    if not softmax_only:
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
        MODES[heads.mode],
    )


def add_context(program: Program, heads: Heads, probs: Buffer, T: int, context: Buffer, context_row: int) -> None:
    B, N, D, row = heads.B, heads.N, heads.D, heads.row
    program.add(
        heads_matmul, (ceil_div(D, TILE), ceil_div(T, TILE), B * N), probs, T, 1, T * T, N * T * T,
        heads.v, row, 1, D, T * row, context, context_row, D, T * context_row, N, T, D, T, 1.0,
    )  # fmt: skip


def _check_grid(blocks: int) -> None:
    if blocks > MOST_BLOCKS:
        raise ValueError(
            f"attention of {blocks:,} sequences, or heads of them, is more than a launch takes: run fewer at a time"
        )
