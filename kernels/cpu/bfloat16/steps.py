"""What programs of bfloat16 are given, and one function a kernel, which writes a step down: operands.py and steps.py for it.

Operands are rows as operand.py has them: their element, their order and whole steps of k, zeros behind the last column.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from albert_np.kernels.cpu import operands
from albert_np.kernels.cpu.arena import Buffers
from albert_np.kernels.cpu.bfloat16.layout import FOURS, OPERAND, STEP, STRIP_STEP, UNIT
from albert_np.kernels.cpu.layout import COLUMNS_A_TILE, FLOAT32, ROWS16, SCRATCH16, attention16_scratch
from albert_np.kernels.cpu.operands import LINE, Array, Sequences, aligned, row_of
from albert_np.kernels.cpu.program import Program
from albert_np.kernels.cpu.steps import add_attention, tiles_of


def operand_rows(buffers: Buffers, name: str, count: int, columns: int) -> Array:  # -> (count, stride)
    """Rows for a product to read. A row is an odd number of cache lines, so that rows spread over the first cache."""
    wide = -(-columns // STEP) * STEP
    lines = -(-wide * OPERAND.bytes // LINE) | 1
    rows = buffers.numbers(name, count * lines * LINE // FLOAT32.bytes).view(OPERAND.dtype)
    rows = rows.reshape(count, lines * LINE // OPERAND.bytes)
    if columns < wide:
        rows[:, columns // 4 * 4 : wide] = 0  # kernels write the columns alone
    return rows


def values_of(rows: Array, columns: int) -> Array:  # (R, stride) -> (R, columns) float32
    """What an operand's rows hold."""
    if rows.dtype == np.float32:
        return rows[:, :columns].copy()
    wide = -(-columns // 4) * 4
    halves = rows[:, :wide].reshape(len(rows), -1, 4)
    natural = np.empty_like(halves)
    natural[:, :, FOURS] = halves
    return (natural.reshape(len(rows), wide)[:, :columns].astype(np.uint32) << 16).view(np.float32)


def rows_a_tile(K: int) -> int:
    """Rows of A that pass by one strip after another: of tiles more, where so many stay in the second cache."""
    return 2 * ROWS16 if UNIT == "tiles" and K <= 1024 else ROWS16


@dataclass(frozen=True)
class Packed16:
    """B (K,N) of a product in strips of sixteen columns, a step of 32 k after the other; zeros behind N and K."""

    panels: Array  # (strips, steps, 16, 16) words
    K: int
    N: int

    @property
    def columns(self) -> int:
        return operands.padded(self.N)

    @property
    def strip(self) -> int:
        """Words from strip to strip."""
        return -(-self.K // STEP) * STRIP_STEP


def strips_of(K: int, N: int) -> int:
    """Words that the strips of B (K,N) take."""
    return -(-N // 16) * -(-K // STEP) * STRIP_STEP


def pack16(weight: Array) -> Packed16:  # (N,K) float32, as weights are stored
    x = np.ascontiguousarray(weight, np.float32)
    N, K = x.shape
    packed = Packed16(aligned(strips_of(K, N)), K, N)
    program = Program("bfloat16")
    program.work += x.size
    program.add("pack16", -(-N // 16), x=x, x_column=row_of(x), K=K, N=N, out=packed.panels, strip=packed.strip)
    program.run()
    return packed


def add_gemm16(  # (M,K) operand, (padded N,), (M,N) -> (M,N) with room for padded columns, (M,N) operand
    program: Program,
    buffers: Buffers,
    a: Array,
    b: Packed16,
    rows: int,
    *,
    bias: Array | None = None,
    out: Array | None = None,
    narrow: Array | None = None,
    residual: Array | None = None,
    activation: int = 0,
) -> None:
    """activation(A·B + bias) + residual, as float32 in `out`, or rounded for the next product in `narrow`, or both.

    out may be the residual.
    """
    program.work += rows * b.K * b.N
    tile_rows = rows_a_tile(b.K)
    row_tiles = -(-rows // tile_rows)
    tile_columns = operands.columns_a_tile(row_tiles, b.columns, program.threads, b.columns, SCRATCH16)
    program.add(
        "gemm16",
        row_tiles * -(-b.N // tile_columns),
        a=a,
        a_row=row_of(a),
        b=b.panels,
        strip=b.strip,
        K=b.K,
        N=b.N,
        M=rows,
        bias=bias,
        residual=residual,
        residual_row=0 if residual is None else row_of(residual),
        activation=activation,
        out=out,
        out_row=0 if out is None else row_of(out),
        narrow=narrow,
        narrow_row=0 if narrow is None else row_of(narrow),
        tile_rows=tile_rows,
        tile_columns=tile_columns,
        scratch=buffers.numbers("sums", tile_rows * SCRATCH16 * program.threads),
    )


def add_round_rows(program: Program, x: Array, narrow: Array, rows: int, H: int) -> None:  # (R,H) -> (R,H) operand
    program.add(
        "round_rows",
        tiles_of(rows),
        x=x,
        x_row=row_of(x),
        narrow=narrow,
        narrow_stride=row_of(narrow),
        rows=rows,
        H=H,
    )


def add_attention16(  # 3 × (R,H) operands of one row stride -> (R,H) operand
    program: Program,
    buffers: Buffers,
    qkv: tuple[Array, Array, Array],
    context: Array,
    who: Sequences,
    N: int,
    T: int,
    *,
    distances: Distances16 | None = None,
    **more: Any,
) -> None:
    """As steps.add_attention."""
    add_attention(
        program,
        buffers,
        qkv,
        context,
        who,
        N,
        T,
        distances=distances,
        kernel="attention16",
        size_of=attention16_scratch,
        **more,
    )


@dataclass(frozen=True)
class Distances16:
    """operands.Distances for strips."""

    packed: Packed16  # of the table (2P−1, D)
    both: bool

    def operands(self, T: int) -> dict[str, Any]:
        return operands.reached(self.packed, self.both, T, 16)


# --- training.py, in programs of "bfloat16_training" --------------------------------------------------------------------------


def add_turn16(
    program: Program, buffers: Buffers, x: Array, columns: int
) -> Array:  # (R, stride) -> (columns, R) operand
    """xᵀ, to be read by the next product: the next x is turned into the same place."""
    turned = operand_rows(buffers, "turned16", columns, len(x))
    program.add(
        "turn16",
        -(-columns // COLUMNS_A_TILE),
        x=x,
        x_row=row_of(x),
        rows=len(x),
        columns=columns,
        narrow=turned,
        narrow_stride=row_of(turned),
        scratch=buffers.numbers("turning16", 256 * program.threads),
    )
    return turned


def add_pack_rows16(program: Program, x: Array, columns: int, memory: Array) -> Packed16:  # (K, stride), (words,)
    """B = the first columns of x, rounded, in this memory."""
    packed = Packed16(memory, len(x), columns)
    program.work += x.size
    program.add(
        "pack_rows16",
        -(-columns // COLUMNS_A_TILE),
        x=x,
        x_row=row_of(x),
        K=packed.K,
        N=packed.N,
        out=packed.panels,
        strip=packed.strip,
    )
    return packed


def pack_rows16(weight: Array) -> Packed16:  # (K,N) float32: dy·W has weights as B as they are stored
    x = np.ascontiguousarray(weight, np.float32)
    program = Program("bfloat16_training")
    packed = add_pack_rows16(program, x, x.shape[1], aligned(strips_of(*x.shape)))
    program.run()
    return packed


def add_multiply_slopes(program: Program, x: Array, before: Array, rows: int, columns: int, code: int) -> None:
    # (R,C), (R,C) -> (R,C)
    """x *= f′(before), f by its code in names.py."""
    program.add(
        "multiply_slopes",
        tiles_of(rows),
        x=x,
        x_row=row_of(x),
        before=before,
        before_row=row_of(before),
        rows=rows,
        columns=columns,
        which=code,
    )
