"""What kernels/cuda/tensor_intrinsics.py does, said in NumPy, for the simulator: each lane has what the PTX ISA gives it.

A copy arrives when it is waited for, or at once: a GPU may do either, so the seed decides. The first shows who does not wait,
the second who writes over what others still read.

A tensor core's sum is not that of IEEE 754. As measured on GPUs (Fasi, Higham, Mikaitis and Pranesh 2021), products are exact,
all addends are cut off at one place, that of the largest, and so is the sum. Here that place is one bit below the largest
addend's float32, as on compute capability 8.0; 9.0 has a bit more.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from greenlet import getcurrent

from albert_np.kernels.cuda.simulator import machine

ALL = 0xFFFFFFFF
LANES = np.arange(32)
G, T = LANES // 4, LANES % 4


def _bytes(tile: Any, index: Any, count: int) -> np.ndarray:
    """`count` bytes from tile[index] on, which must be there and begin at a multiple of them."""
    index, memory = int(index), tile.array
    at = index * memory.itemsize
    if index < 0 or at + count > memory.nbytes:
        raise IndexError(f"{count} bytes from number {index} on of {len(memory)}")
    if (tile.address + at) % count:
        raise ValueError(f"{count} bytes from number {index} on, which is not at a multiple of them")
    return memory.view(np.uint8)[at : at + count]


# --- copies -------------------------------------------------------------------------------------------------------------


def _copy(whole: int) -> Callable[..., None]:
    def copy(tile: Any, to: Any, p: Any, index: Any, nbytes: Any = whole) -> None:
        nbytes, target = int(nbytes), _bytes(tile, to, whole)
        assert 0 <= nbytes <= whole, nbytes
        found = np.zeros(whole, np.uint8)
        if nbytes:  # what is not read need not be there
            item = p.array.itemsize
            assert nbytes % item == 0
            if not 0 <= int(index) <= len(p.array) - nbytes // item:
                raise IndexError(f"{nbytes} bytes from number {index} on of {len(p.array)}")
            if (p.address + item * int(index)) % whole:
                raise ValueError(f"{whole} bytes from number {index} on, which is not at a multiple of them")
            found[:nbytes] = p.array[int(index) : int(index) + nbytes // item].view(np.uint8)
        if (machine.seed or 0) % 2:
            target[:] = found
        else:
            _of_this_thread("copies").append((target, found))

    return copy


def _of_this_thread(name: str) -> list[Any]:
    return getcurrent().__dict__.setdefault(name, [])


copy_async = copy_async_part = _copy(16)
copy_async_word = _copy(4)


def commit_copies() -> None:
    _of_this_thread("groups").append(getcurrent().__dict__.pop("copies", []))


@lru_cache
def wait_for_copies(groups: int) -> Callable[[], None]:
    def wait() -> None:
        waiting = _of_this_thread("groups")
        while len(waiting) > groups:
            for target, found in waiting.pop(0):
                target[:] = found

    return wait


# --- matrices: all 32 lanes together ------------------------------------------------------------------------------------


def _load_matrices(turned: bool) -> Callable[..., Any]:
    def combine(lanes: list[int], rows: list[np.ndarray]) -> list[Any]:
        numbers = np.stack([row.view(np.uint16) for row in rows]).reshape(4, 8, 8)  # matrix, row, column
        if turned:
            numbers = numbers.transpose(0, 2, 1)
        words = np.ascontiguousarray(numbers).view(np.uint32)  # matrix, row, word
        return [tuple(words[:, lane // 4, lane % 4]) for lane in lanes]

    def load_matrices(tile: Any, index: Any) -> Any:
        return machine.exchange(ALL, _bytes(tile, index, 16).copy(), combine)

    return load_matrices


load_matrices, load_matrices_turned = _load_matrices(False), _load_matrices(True)


def _two(words: np.ndarray) -> np.ndarray:  # (rows,words) -> (rows,2·words)
    """The bfloat16 numbers in words, the low half first."""
    halves = np.ascontiguousarray(words).view(np.uint16).astype(np.uint32) << 16
    return halves.view(np.float32).astype(np.float64)


def _one(words: np.ndarray) -> np.ndarray:  # (rows,words) -> (rows,words)
    """The tf32 numbers in words, whose last 13 bits are not read."""
    return (words & np.uint32(0xFFFFE000)).view(np.float32).astype(np.float64)


def add_as_tensor_cores_do(products: np.ndarray, c: np.ndarray) -> np.ndarray:  # (…,K) float64, (…) float32 -> (…)
    addends = np.concatenate([products, c[..., None].astype(np.float64)], axis=-1)
    with np.errstate(over="ignore", invalid="ignore"):
        largest = np.max(np.abs(addends), axis=-1, keepdims=True)
        usual = np.isfinite(largest) & (largest > 0)
        _, exponent = np.frexp(np.where(usual, largest, 1))  # largest < 2^exponent
        unit = np.ldexp(1.0, np.maximum(exponent - 25, -149))
        total = np.where(usual, np.trunc(addends / unit) * unit, addends).sum(axis=-1)
        nearest = total.astype(np.float32)
        beyond = np.isfinite(total) & (np.abs(nearest.astype(np.float64)) > np.abs(total))
        return np.where(beyond, np.nextafter(nearest, np.float32(0)), nearest).astype(np.float32)


def _mma(numbers: Callable[[np.ndarray], np.ndarray]) -> Callable[..., Any]:
    def combine(lanes: list[int], given: list[Any]) -> list[Any]:
        words = np.array([x[:6] for x in given], np.uint32)  # (32,6)
        sums = np.array([x[6:] for x in given], np.float32)
        a, b, c = np.empty((16, 8), np.uint32), np.empty((8, 8), np.uint32), np.empty((16, 8), np.float32)
        a[G, T], a[G + 8, T], a[G, T + 4], a[G + 8, T + 4] = words[:, :4].T
        b[G, T], b[G, T + 4] = words[:, 4:].T  # by columns
        c[G, 2 * T], c[G, 2 * T + 1], c[G + 8, 2 * T], c[G + 8, 2 * T + 1] = sums.T
        with np.errstate(over="ignore", invalid="ignore"):
            products = numbers(a)[:, None] * numbers(b)[None]  # (16,8,K)
        found = add_as_tensor_cores_do(products, c)
        return list(
            zip(found[G, 2 * T], found[G, 2 * T + 1], found[G + 8, 2 * T], found[G + 8, 2 * T + 1], strict=True)
        )

    def mma(*operands: Any) -> Any:
        assert len(operands) == 10
        return machine.exchange(ALL, operands, combine)

    return mma


mma_bfloat16, mma_tf32 = _mma(_two), _mma(_one)


# --- roundings ----------------------------------------------------------------------------------------------------------


def _bfloat16(x: Any) -> int:
    if np.isnan(x):
        return 0x7FFF
    bits = int(np.float32(x).view(np.uint32))
    return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16


def bfloat16_pair(low: Any, high: Any) -> np.uint32:
    return np.uint32(_bfloat16(high) << 16 | _bfloat16(low))


def _store_rounded(count: int) -> Callable[..., None]:
    def store(p: Any, index: Any, *numbers: Any) -> None:
        assert len(numbers) == count
        assert p.array.dtype == np.uint16
        _bytes(p, index, 2 * count)[:] = np.array([_bfloat16(x) for x in numbers], np.uint16).view(np.uint8)

    return store


store_rounded, store2_rounded, store4_rounded = (_store_rounded(n) for n in (1, 2, 4))


def to_tf32(x: Any) -> np.uint32:
    if not np.isfinite(x):
        return np.float32(x).view(np.uint32)
    return np.uint32(int(np.float32(x).view(np.uint32)) + 0x1000)  # as GPUs do: the last bits are not cleared


def as_float(word: Any) -> np.float32:
    return np.uint32(word).view(np.float32)


def exp2(x: Any) -> np.float32:
    with np.errstate(over="ignore"):
        found = np.exp2(np.float32(x))
    return np.float32(0) if found < np.finfo(np.float32).tiny else found


def reciprocal(x: Any) -> np.float32:
    with np.errstate(divide="ignore"):
        found = np.float32(1) / np.float32(x)
    return np.float32(0) if abs(found) < np.finfo(np.float32).tiny else found
