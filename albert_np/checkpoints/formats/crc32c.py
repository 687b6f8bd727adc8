"""CRC-32C (Castagnoli), with which TensorFlow checks each block of an index and each tensor of a checkpoint.

google-crc32c computes it with the CPU's own instruction. Where it is not installed, NumPy computes the same numbers, as below.

A message is a polynomial over GF(2): its bits are the coefficients. The first byte has the highest powers of x, and in each
byte the lowest bit has the highest one. The CRC is the remainder after a division by a fixed polynomial P of degree 32. Before
that, 32 zero bits are put behind the message; its first 32 bits, and those of the result, are inverted (RFC 3720, 12.1).

A table for each byte would take an instruction of Python for each byte. So the message is made short first, by operations on
whole arrays. With y = x⁶⁴, every word of 8 bytes is the coefficient of a power of y. These multiples of P have few terms:

    y⁵⁶⁸⁵ + y¹³⁶² + y⁴²⁶ + 1  and  y²⁹⁰ + y¹³⁶ + y¹¹³ + y¹⁰⁷ + y³² + 1.

By the first, y⁵⁶⁸⁵ has the same remainder as y¹³⁶² + y⁴²⁶ + 1. So a word may be added (by XOR) at three places, 4323, 5259
and 5685 words further on, and taken away from its own. Three XORs of arrays move thousands of words. Over GF(2), the square of
a sum is the sum of the squares, so that all distances may be doubled, again and again. In what is left at the end, each bit
that is set adds the remainder of its own power of x.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from albert_np import imports
from albert_np.ops import Array

POLYNOMIAL = 0x82F63B78  # P without x³²; bit 31 is x⁰, as in all of this file
FOUR_TERMS = (5685 - 1362, 5685 - 426, 5685)  # how many places words are moved
SIX_TERMS = (290 - 136, 290 - 113, 290 - 107, 290 - 32, 290)
# each of these shortens what the one before has left: (distances, how often they are doubled)
FOLDS = ((FOUR_TERMS, 2), (FOUR_TERMS, 0), (SIX_TERMS, 3), (SIX_TERMS, 0))
LONGEST = SIX_TERMS[0] + SIX_TERMS[-1]  # the most words that are left at the end
BLOCKS = 4  # arrays that are moved between two returns of the buffer to its start
ONES = 0xFFFFFFFF


def crc32c(data: Array, before: int = 0) -> int:  # (n,) uint8 -> int
    """The CRC-32C of bytes behind others whose CRC is `before`. b"123456789" alone has 0xE3069283."""
    library = _library()
    return by_numpy(data, before) if library is None else library(before, data)


def piece() -> int:
    """How many bytes are best given at a time: what stays in a core's cache, or, to NumPy, what repays making it short."""
    return 1 << 24 if _library() is None else 1 << 17


def unmasked(crc: int) -> int:
    """The CRC that TensorFlow stores rotated and shifted, since a CRC of data that holds its own CRC tells nothing."""
    crc = (crc - 0xA282EAD8) & ONES
    return (crc << 15 | crc >> 17) & ONES


@functools.cache
def _library() -> Callable[[int, Array], int] | None:
    """google_crc32c.extend, if that is compiled: its own way out, in Python, would take minutes for a checkpoint."""
    try:
        with imports.lock:
            import google_crc32c
    except ImportError:
        return None
    return google_crc32c.extend if google_crc32c.implementation == "c" else None


def by_numpy(data: Array, before: int = 0) -> int:  # (n,) uint8 -> int
    """crc32c by NumPy alone: some gigabytes a second."""
    whole = data.size // 8 * 8
    first = before ^ ONES
    if whole <= 8 * LONGEST:
        left = np.concatenate([data, np.zeros(4, np.uint8)])
        left[:4] ^= np.frombuffer(first.to_bytes(4, "little"), np.uint8)
    else:
        words = data[:whole].view(np.uint64)
        for distances, doublings in FOLDS:
            words, first = _fold(words, [n << doublings for n in distances], first), 0
        left = np.concatenate([words.view(np.uint8), data[whole:], np.zeros(4, np.uint8)])
    bits = np.unpackbits(left, bitorder="little")
    powers = _powers()[-bits.size :]
    return int(np.bitwise_xor.reduce(np.where(bits, powers, np.uint32(0)))) ^ ONES


def _fold(words: Array, distances: list[int], first: int) -> Array:  # (n,) uint64 -> (m,) uint64, a new array
    """Words with the same remainder, after `first` was added to word 0: fewer than the nearest and the furthest distance."""
    near, far = distances[0], distances[-1]
    steps = max(0, words.size - far) // near
    moved = np.zeros(far + min(steps, BLOCKS) * near, np.uint64)  # the last of them, before `at`
    at = far
    for begin in range(0, steps * near, near):
        if at == moved.size:
            moved[:far] = moved[-far:]
            at = far
        here = moved[at : at + near]
        np.bitwise_xor(words[begin : begin + near], moved[at - near : at], out=here)
        for distance in distances[1:]:
            here ^= moved[at - distance : at - distance + near]
        here[0] ^= np.uint64(0 if begin else first)
        at += near
    left = words[steps * near :].copy()
    left[0] ^= np.uint64(0 if steps else first)
    for distance in distances:
        n = min(distance, left.size)
        left[:n] ^= moved[at - distance : at - distance + n]
    return left


@functools.cache
def _powers() -> Array:  # -> (K,) uint32, the highest power first
    """The remainders of x^(K-1) … x⁰, for all bits that by_numpy has left at the end."""
    count = 64 * LONGEST + 8 * (7 + 4)
    powers = np.array([1 << 31], np.uint32)
    while powers.size < count:
        shift = _times_x(int(powers[0]))  # x^(number of powers so far)
        raised = np.zeros_like(powers)
        for bit in range(31, -1, -1):  # the bit of x⁰ first
            raised ^= np.where(powers >> bit & 1, np.uint32(shift), np.uint32(0))
            shift = _times_x(shift)
        powers = np.concatenate([raised, powers])
    return powers[-count:]


def _times_x(remainder: int) -> int:
    return remainder >> 1 ^ (POLYNOMIAL if remainder & 1 else 0)
