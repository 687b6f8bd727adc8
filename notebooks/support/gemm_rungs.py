"""One product, C = A·B in float32, written again and again: the rungs that 11_gemm_ladder.ipynb climbs.

Every rung takes A (M,K), what `Rung.prepare` makes of B (K,N), and C (M,N), which it fills. The rows of all three lie one
behind the other in memory. M is a multiple of ROWS and N of COLUMNS, so that no rung needs code for what is left over at an
edge; the engine's own product (albert_np/kernels/cpu/gemm.py), the last rung, has that code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numba import njit

import albert_np
from albert_np.kernels.cpu.operands import Packed, add_gemm, aligned, pack
from albert_np.kernels.cpu.program import Program
from albert_np.kernels.cpu.simd import chosen_level
from albert_np.kernels.cpu.vector import at, fma, get, helper, load, splat, store

ROWS, COLUMNS = 12, 48  # M and N are multiples of these
Array = np.ndarray[Any, np.dtype[Any]]
compiled = njit(error_model="numpy", nogil=True)  # IEEE division, and no fast-math: no bit of a sum may change


def at_a_line(x: Array) -> Array:
    """A copy that begins at a cache line, or stores of vectors would lie across two: with four rows at once, half the speed."""
    found: Array = aligned(x.size).reshape(x.shape)
    found[:] = x
    return found


# --- plain loops ----------------------------------------------------------------------------------------------------------


def number_by_number(a, b, c):  # (M,K), (K,N), (M,N)
    for m in range(a.shape[0]):
        for n in range(b.shape[1]):
            total = np.float32(0)
            for k in range(a.shape[1]):
                total += a[m, k] * b[k, n]
            c[m, n] = total


def row_by_row(a, b, c):  # (M,K), (K,N), (M,N)
    c[:] = 0
    for m in range(a.shape[0]):
        for k in range(a.shape[1]):
            for n in range(b.shape[1]):
                c[m, n] += a[m, k] * b[k, n]


def four_rows(a, b, c):  # (M,K), (K,N), (M,N)
    c[:] = 0
    for m in range(0, a.shape[0], 4):
        for k in range(a.shape[1]):
            for n in range(b.shape[1]):
                c[m, n] += a[m, k] * b[k, n]
                c[m + 1, n] += a[m + 1, k] * b[k, n]
                c[m + 2, n] += a[m + 2, k] * b[k, n]
                c[m + 3, n] += a[m + 3, k] * b[k, n]


# --- vectors in registers -------------------------------------------------------------------------------------------------


@helper
def block(a, a_row, b, b_step, c, c_row, K):
    """Six rows and sixteen columns of C. b_step: from a row of B to the next."""
    s0 = s1 = s2 = s3 = s4 = s5 = splat(0.0)
    for k in range(K):
        numbers = load(b, k * b_step)
        s0 = fma(get(a, k), numbers, s0)
        s1 = fma(get(a, a_row + k), numbers, s1)
        s2 = fma(get(a, 2 * a_row + k), numbers, s2)
        s3 = fma(get(a, 3 * a_row + k), numbers, s3)
        s4 = fma(get(a, 4 * a_row + k), numbers, s4)
        s5 = fma(get(a, 5 * a_row + k), numbers, s5)
    store(c, 0, s0)
    store(c, c_row, s1)
    store(c, 2 * c_row, s2)
    store(c, 3 * c_row, s3)
    store(c, 4 * c_row, s4)
    store(c, 5 * c_row, s5)


def in_registers(a, b, c):  # (M,K), (K,N), (M,N)
    K, N = b.shape
    for n in range(0, N, 16):
        for m in range(0, a.shape[0], 6):
            block(at(a.ctypes.data, m * K), K, at(b.ctypes.data, n), N, at(c.ctypes.data, m * N + n), N, K)


def panels(b: Array) -> Array:  # (K,N) -> (N/16,K,16)
    """Sixteen columns of B behind one another: k by k, as a block reads them."""
    K, N = b.shape
    packed = aligned(b.size).reshape(N // 16, K, 16)
    packed[:] = b.reshape(K, N // 16, 16).transpose(1, 0, 2)
    return packed


def in_panels(a, b, c):  # (M,K), (N/16,K,16), (M,N)
    K, N = b.shape[1], c.shape[1]
    for n in range(0, N, 16):
        for m in range(0, a.shape[0], 6):
            block(at(a.ctypes.data, m * K), K, at(b.ctypes.data, n * K), 16, at(c.ctypes.data, m * N + n), N, K)


# --- the engine's ---------------------------------------------------------------------------------------------------------


def engine(a: Array, b: Packed, c: Array) -> None:  # (M,K), packed (K,N), (M,N)
    """The product that albert_np's CPU engine computes with, on one thread."""
    with albert_np.num_threads(1):
        program = Program()
        add_gemm(program, a, b, c, len(a))
        program.run()


def bytes_of_plain_loops(loads: int, stores: int, multiply_adds: int) -> float:
    return 4 * (loads + stores) / multiply_adds


def bytes_of_a_block(rows: int, columns: int) -> float:
    """Of its inner loop: for each k it loads `columns` numbers of B and `rows` of A, for rows·columns multiply-adds."""
    return 4 * (rows + columns) / (rows * columns)


@dataclass(frozen=True)
class Rung:
    """A way to compute the product. bytes: what its innermost loop loads and stores for one multiply-add."""

    name: str
    function: Callable[..., None]
    bytes: float
    prepare: Callable[[Array], Any] = at_a_line

    @property
    def flops_a_byte(self) -> float:
        """A multiply-add counts as two operations."""
        return 2 / self.bytes


@cache
def rungs() -> list[Rung]:
    """From the lowest to the highest. What Numba compiles, it compiles at the first call."""
    level = chosen_level()
    return [
        Rung("in Python", number_by_number, bytes_of_plain_loops(2, 0, 1)),
        Rung("compiled", compiled(number_by_number), bytes_of_plain_loops(2, 0, 1)),
        Rung("row by row", compiled(row_by_row), bytes_of_plain_loops(2, 1, 1)),
        Rung("four rows at once", compiled(four_rows), bytes_of_plain_loops(5, 4, 4)),
        Rung("sums in registers", compiled(in_registers), bytes_of_a_block(6, 16)),
        Rung("B in panels", compiled(in_panels), bytes_of_a_block(6, 16), panels),
        Rung("the engine's", engine, bytes_of_a_block(level.rows, level.columns), pack),
    ]


def operands(M: int, K: int, N: int, seed: int = 0) -> tuple[Array, Array]:  # -> (M,K), (K,N)
    """Normal numbers in float32."""
    random = np.random.default_rng(seed)
    return at_a_line(random.standard_normal((M, K))), at_a_line(random.standard_normal((K, N)))


def product(rung: Rung, a: Array, b: Array) -> Array:  # (M,K), (K,N) -> (M,N)
    """C, by a rung."""
    assert len(a) % ROWS == 0 and b.shape[1] % COLUMNS == 0, f"M must be a multiple of {ROWS} and N of {COLUMNS}"
    c = at_a_line(np.full((len(a), b.shape[1]), np.nan))
    rung.function(a, rung.prepare(b), c)
    return c
