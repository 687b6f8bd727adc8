"""Tensors of counter-based random numbers: the same bits on every machine and in every language.

A number depends on nothing but a seed, a name and an index, and comes from integer arithmetic alone. All of it is modulo
2⁶⁴, with G = 0x9E3779B97F4A7C15:

    mix(x):          x ^= x >> 30;  x *= 0xBF58476D1CE4E5B9;  x ^= x >> 27;  x *= 0x94D049BB133111EB;  x ^= x >> 31
    key(seed, name): k = mix(seed + G);  then k = mix(k + c + G) for each byte c of the name
    z(k, i):         the eight 16-bit pieces of mix(k + (2i + 1)·G) and mix(k + (2i + 2)·G), added up, minus 262140

mix(k + n·G), n = 1, 2 …, is the sequence of SplitMix64 (Steele, Lea & Flood 2014, with the constants of Vigna's splitmix64.c)
from the start k, read at any place. A sum of eight uniform numbers (Irwin–Hall) is nearly normal: its kurtosis is
3 − 6/(5·8) = 2.85, and it stays within 4.9 deviations. The deviation of z is SIGMA. No function of a mathematical library is
called, since machines differ in their last bits.

A tensor of R rows and C columns (a vector is one column) has at i = r·C + c the element

    (float32)(256·mean + own·(256 + (gain·z(rows, r / group) >> 16))·z(name, i) + 256·(shared·z(columns, c) + kin·z(other, i)))

times 2⁻⁴⁸, where `name`, `rows`, `columns` and `other` stand for the keys of the tensor's name, of name + "/rows", of
name + "/columns", and of another tensor's name. / and >> round down. The sum is an int64 and is rounded once, to the nearest
float32; the power of two changes no digit. So some rows (or heads: `group` rows) have larger weights than others (`gain`), all
rows may have a vector in common (`shared`), and two tensors may be correlated (`kin`). At last, element i of `outliers`
becomes value · 2⁻⁴⁰. The integers for an ALBERT that looks trained are in generator.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from albert_np.ops import Array

GAMMA = 0x9E3779B97F4A7C15
SIGMA = math.sqrt(8 * (65536**2 - 1) / 12)  # the deviation of z
UNIT = 2.0**-40  # of the integers mean, own, shared, kin and of outliers
CHUNK = 1 << 16  # elements made at a time, so that temporaries stay in the cache
_MASK = 2**64 - 1


@dataclass(frozen=True)
class Recipe:
    """All that the elements of a tensor depend on, apart from the seed: integers, in units of UNIT (and of UNIT · z)."""

    name: str
    shape: tuple[int, ...]
    mean: int = 0
    own: int = 0
    gain: int = 0  # 65536/256 of it is the deviation of a row's factor, in units of SIGMA
    group: int = 1
    shared: int = 0
    kin: int = 0
    other: str = ""
    outliers: Mapping[int, int] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """How many elements there are."""
        return math.prod(self.shape)


def key(seed: int, name: str) -> int:
    """The start of a name's sequence."""
    k = _mix_int((seed + GAMMA) & _MASK)
    for c in name.encode():
        k = _mix_int((k + c + GAMMA) & _MASK)
    return k


def numbers(start: int, index: Array) -> Array:  # (...) int -> (...) int64
    """z(start, index): nearly normal integers with mean 0 and deviation SIGMA."""
    gamma = np.uint64(GAMMA)
    counter = np.uint64(start) + (2 * index.astype(np.uint64) + np.uint64(1)) * gamma
    return _pieces(_mix(counter)) + _pieces(_mix(counter + gamma)) - 262140


def tensor(recipe: Recipe, seed: int) -> Array:  # -> recipe.shape, float32
    """All elements."""
    made, at = np.empty(recipe.size, np.float32), 0
    for chunk in chunks(recipe, seed):
        made[at : at + len(chunk)] = chunk
        at += len(chunk)
    return made.reshape(recipe.shape)


def chunks(recipe: Recipe, seed: int) -> Iterator[Array]:
    """The elements in their order, float32, CHUNK of them at a time."""
    columns = recipe.shape[1] if len(recipe.shape) == 2 else 1
    own, of_rows, of_columns = (key(seed, recipe.name + end) for end in ("", "/rows", "/columns"))
    other = key(seed, recipe.other)
    rows = np.arange(recipe.size // columns)
    factors = recipe.own * (256 + (recipe.gain * numbers(of_rows, rows // recipe.group) >> 16))
    common = 256 * (recipe.mean + recipe.shared * numbers(of_columns, np.arange(columns)))
    outliers = {i: np.float32(value * UNIT) for i, value in recipe.outliers.items()}
    for start in range(0, recipe.size, CHUNK):
        index = np.arange(start, min(start + CHUNK, recipe.size))
        row, column = np.divmod(index, columns)
        total = factors[row] * numbers(own, index) + common[column]
        if recipe.kin:
            total += 256 * recipe.kin * numbers(other, index)
        chunk = total.astype(np.float32) * np.float32(UNIT / 256)
        for i, value in outliers.items():
            if start <= i < start + len(chunk):
                chunk[i - start] = value
        yield chunk


def _mix(x: Array) -> Array:  # (...) uint64 -> (...) uint64
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _mix_int(x: int) -> int:
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & _MASK
    return x ^ (x >> 31)


def _pieces(x: Array) -> Array:  # (...) uint64 -> (...) int64
    """The four 16-bit pieces of each, added up: first two sums side by side, which cannot reach one another."""
    low = np.uint64(0x0000FFFF0000FFFF)
    pairs = (x & low) + ((x >> np.uint64(16)) & low)
    return ((pairs & np.uint64(0xFFFFFFFF)) + (pairs >> np.uint64(32))).astype(np.int64)
