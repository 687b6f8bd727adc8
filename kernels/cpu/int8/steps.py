"""What programs of int8 are given, and one function a kernel, which writes a step down."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from albert_np.kernels.cpu import operands
from albert_np.kernels.cpu.arena import Buffers
from albert_np.kernels.cpu.int8.layout import CODE, STEP, STRIP_STEP
from albert_np.kernels.cpu.layout import FLOAT32, INT64, ROWS16, SCRATCH16
from albert_np.kernels.cpu.operands import LINE, Array, aligned, row_of
from albert_np.kernels.cpu.program import Program
from albert_np.kernels.cpu.steps import tiles_of

MOST_K = 65536  # 255·127 so many times is the last sum that 32 bits hold


@dataclass(frozen=True)
class Packed8:
    """B (K,N) of a product in strips of sixteen columns, a step of 64 k after the other; zeros behind N and K."""

    panels: Array  # (strips, steps, 16, 64) int8: four k of each column
    scale: Array  # (padded N,) float32: a column is its codes times that
    sums: Array  # (padded N,) int32: of a column's codes
    K: int
    N: int
    passes: int  # bytes a code of A

    @property
    def columns(self) -> int:
        return operands.padded(self.N)

    @property
    def strip(self) -> int:
        """Bytes from strip to strip."""
        return -(-self.K // STEP) * STRIP_STEP


def pack8(codes: Array, scale: Array, passes: int) -> Packed8:  # (N,K) int8, (N,) float32
    """Raises ValueError where the sums could overflow."""
    N, K = codes.shape
    if K > MOST_K:
        raise ValueError(f"int8 products sum up to {MOST_K} numbers exactly; this weight has rows of {K}: use float32")
    strips, steps = -(-N // 16), -(-K // STEP)
    whole = np.zeros((16 * strips, STEP * steps), np.int8)
    whole[:N, :K] = codes
    panels = aligned(strips * steps * STRIP_STEP // FLOAT32.bytes).view(np.int32)
    panels.reshape(strips, 16 * steps, 16)[:] = whole.view(np.int32).reshape(strips, 16, 16 * steps).transpose(0, 2, 1)
    sums = operands.padded_vector(np.zeros(N, np.float32)).view(np.int32)
    sums[:N] = codes.sum(axis=1, dtype=np.int32)
    return Packed8(panels, operands.padded_vector(scale), sums, K, N, passes)


@dataclass(frozen=True)
class Quantised:
    """Rows as codes: what they stand for is (codes − zeros)·scales."""

    codes: Array  # (R·passes, stride): of two passes the high bytes, and below them the low ones
    scales: Array  # (R,) float32
    zeros: Array  # (R,) int64
    passes: int


def quantised_rows(buffers: Buffers, name: str, rows: int, K: int, passes: int) -> Quantised:
    """Rows for a product to read. A row is an odd number of cache lines, so that rows spread over the first cache.

    What is behind K in a row may be anything: it is multiplied by zeros.
    """
    lines = -(-K // STEP) * STEP * CODE.bytes // LINE | 1
    codes = buffers.numbers(f"{name} codes", rows * passes * lines * LINE // FLOAT32.bytes).view(CODE.dtype)
    zeros = buffers.numbers(f"{name} zeros", rows * INT64.bytes // FLOAT32.bytes).view(INT64.dtype)
    return Quantised(codes.reshape(rows * passes, -1), buffers.numbers(f"{name} scales", rows), zeros, passes)


def add_quantise(program: Program, x: Array, rows: int, K: int, to: Quantised) -> None:  # (R,K) -> codes
    program.add(
        "quantise",
        tiles_of(rows),
        x=x,
        x_row=row_of(x),
        K=K,
        rows=rows,
        passes=to.passes,
        codes=to.codes,
        codes_row=row_of(to.codes),
        scales=to.scales,
        zeros=to.zeros,
    )


def add_gemm8(  # (M,K) codes, (padded N,), (M,N) -> (M,N) with room for padded columns
    program: Program,
    buffers: Buffers,
    a: Quantised,
    b: Packed8,
    rows: int,
    *,
    bias: Array,
    out: Array,
    residual: Array | None = None,
    activation: int = 0,
) -> None:
    """activation(A·B + bias) + residual."""
    assert a.passes == b.passes, f"rows of {a.passes} bytes a code, and weights for {b.passes}"
    program.work += rows * b.K * b.N
    row_tiles = -(-rows * b.passes // ROWS16)
    tile_columns = operands.columns_a_tile(row_tiles, b.columns, program.threads, b.columns, SCRATCH16)
    program.add(
        "gemm8",
        row_tiles * -(-b.N // tile_columns),
        a=a.codes,
        a_row=row_of(a.codes),
        scales=a.scales,
        zeros=a.zeros,
        passes=b.passes,
        b=b.panels,
        strip=b.strip,
        column_scales=b.scale,
        column_sums=b.sums,
        K=b.K,
        N=b.N,
        M=rows,
        bias=bias,
        residual=residual,
        residual_row=0 if residual is None else row_of(residual),
        activation=activation,
        out=out,
        out_row=row_of(out),
        tile_columns=tile_columns,
        scratch=buffers.numbers("sums", ROWS16 * SCRATCH16 * program.threads),
    )
