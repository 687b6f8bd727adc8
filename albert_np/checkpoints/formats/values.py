"""Dtypes in safetensors' words; values that are contiguous in a file, read whole or transposed while they are read; and
matrices in memory, transposed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from albert_np.ops import Array

ROWS_READ = 64  # rows of a file that are transposed together: some cache lines of float32
# Rows of a matrix in memory that are transposed together: 16 numbers of float32 are one cache line of the result. A (768,3072)
# takes 6.5 ms at once, 4.0 in squares of 64, 1.5 in strips of 8 rows, 1.3 in strips of 16, and 2.0 in strips of 32.
ROWS_COPIED = 16
# safetensors' words -> NumPy's dtypes of the same bits: unsigned integers where NumPy has no such dtype
DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "u1",
    "BOOL": "?",
    "F8_E4M3": "u1",
    "F8_E5M2": "u1",
    "C64": "<c8",
}
# the dtypes that weights are read from -> their names
FLOATS = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64"}


@dataclass(frozen=True)
class Contiguous:
    """A tensor's values by their place in a file. A call loads them, in this machine's byte order.

    Raises OSError if the file is shorter by then. bfloat16: they are the upper halves of float32, and are loaded as such.
    """

    path: Path
    at: int
    dtype: np.dtype
    shape: tuple[int, ...]
    bfloat16: bool = False

    def __call__(self) -> Array:
        # read, not mapped: a mapped file that another process cuts short kills this one
        x = np.fromfile(self.path, self.dtype, math.prod(self.shape), offset=self.at)
        if x.size != math.prod(self.shape):
            raise self._cut_off()
        return self._numbers(x.astype(self.dtype.newbyteorder("="), copy=False).reshape(self.shape))

    def transposed(self) -> Array:
        """The transpose of a matrix. Its rows are read a few at a time, and so half of a model's memory is not needed."""
        rows, columns = self.shape
        height = min(ROWS_READ, rows)  # a row may be as long as the file
        x = np.empty((columns, rows), self.dtype.newbyteorder("="))
        # rows a little apart: a power of two from each other, they would push one another out of the cache
        strip = np.empty((height, columns + 16), x.dtype)[:, :columns]
        for i, block in zip(range(0, rows, ROWS_READ), self._blocks(height * columns), strict=False):
            part = strip[: block.size // columns]
            part[...] = block.reshape(-1, columns)
            x[:, i : i + ROWS_READ] = part.T
        return self._numbers(x)

    def _blocks(self, count: int) -> Iterator[Array]:
        """The values, `count` at a time, always in the same array: memory that is new takes longer than a read."""
        block, left = np.empty(count, self.dtype), math.prod(self.shape)
        with self.path.open("rb", buffering=0) as file:
            file.seek(self.at)
            while left:
                part = block[: min(count, left)]
                if file.readinto(part.view(np.uint8).data) != part.nbytes:
                    raise self._cut_off()
                left -= part.size
                yield part

    def _numbers(self, x: Array) -> Array:
        return float32_of(x) if self.bfloat16 else x

    def _cut_off(self) -> OSError:
        return OSError(f"{self.path} was cut off while it was being read")


def transposed(x: Array) -> Array:
    """A copy of x.T in C order, made strip by strip: a plain copy touches a new cache line for each number."""
    y = np.empty(x.shape[::-1], x.dtype)
    for i in range(0, len(x), ROWS_COPIED):
        y[..., i : i + ROWS_COPIED] = x[i : i + ROWS_COPIED].T
    return y


def loaded_dtype(word: str) -> np.dtype:
    """The dtype of values that have been loaded: float32 for bfloat16, else the stored one."""
    return np.dtype("<f4" if word == "BF16" else DTYPES[word])


def float32_of(x: Array) -> Array:
    """The float32 whose upper halves these uint16 are: what a bfloat16 means."""
    wide = x.astype(np.uint32)
    wide <<= 16
    return wide.view(np.float32)
