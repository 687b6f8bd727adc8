"""Which registers the CPU has, and the shape of the GEMM's block that follows from them.

ALBERT_NP_SIMD=avx512|avx2|sse|neon|plain forces one; a CPU that lacks it is told so. Importing this imports no Numba.
"""

from __future__ import annotations

import functools
import os
import platform
from dataclasses import dataclass

LANES = 16  # the width of a vector value in the kernels, whatever the registers; see vector.py


@dataclass(frozen=True)
class Level:
    """A kind of registers. The block is rows × vectors accumulators, kept in registers while the GEMM runs over k.

    Beside the block there must be room for `vectors` of B and one broadcast of A: 16 registers with AVX2, 32 with AVX-512.
    """

    name: str
    width: int  # float32 numbers a register
    rows: int  # rows of A a block
    vectors: int  # registers of columns of B a block
    panel_rows: int  # rows of A a block of only 16 columns of B, or of `columns` where these are fewer
    unroll: int  # steps over k in one turn of the loop
    fma: bool  # is there an instruction that multiplies, adds and rounds once?
    cpu: str  # what LLVM compiles for where this level is forced on a CPU that could do more

    @property
    def columns(self) -> int:
        """Columns of B a block: the width of a packed panel."""
        return self.width * self.vectors


# measured on Zen 3 (AVX2, 128 × 768 × 768, one thread): 4×3 95 % of the FMA peak, 6×2 the same on long runs, and with 4×3 a
# batch of 8 rows leaves no row of a block idle
LEVELS = {
    level.name: level
    for level in (
        Level("avx512", 16, 8, 3, 12, 8, True, "x86-64-v4"),
        Level("avx2", 8, 4, 3, 6, 8, True, "x86-64-v3"),
        Level("neon", 4, 8, 2, 8, 4, True, "generic"),
        Level("sse", 4, 4, 2, 4, 4, False, "x86-64-v2"),
        Level("plain", 4, 4, 2, 4, 4, False, "x86-64"),
    )
}


@functools.cache
def host() -> tuple[str, frozenset[str]]:
    """The CPU's name, as LLVM has it, and its features."""
    from llvmlite import binding

    try:
        features = frozenset(name for name, has in binding.get_host_cpu_features().items() if has)
    except RuntimeError:  # LLVM does not know how to ask this CPU
        features = frozenset()
    return binding.get_host_cpu_name(), features


def _available() -> list[str]:
    """The levels that run here, the widest first."""
    _, features = host()
    names = []
    if {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd"} <= features:
        names.append("avx512")
    if {"avx2", "fma", "bmi2"} <= features:
        names.append("avx2")
    if platform.machine().lower() in ("aarch64", "arm64"):
        names.append("neon")
    if {"sse4.2", "ssse3", "popcnt"} <= features:
        names.append("sse")
    return [*names, "plain"]


@functools.cache
def chosen_level() -> Level:
    """The level of this process: ALBERT_NP_SIMD, or the best there is. Raises ValueError where that cannot run here."""
    names = _available()
    wanted = os.environ.get("ALBERT_NP_SIMD") or names[0]
    if wanted not in LEVELS:
        raise ValueError(f"ALBERT_NP_SIMD must be one of {', '.join(LEVELS)}; got {wanted!r}")
    if wanted not in names:
        raise ValueError(f"ALBERT_NP_SIMD={wanted}: this CPU has {', '.join(names)}")
    return LEVELS[wanted]


def target() -> tuple[str, str]:
    """CPU name and feature string for LLVM's code generator: the host itself, or the least CPU of a forced level."""
    level, (name, features) = chosen_level(), host()
    if level.name == _available()[0]:
        return name, ",".join(f"+{feature}" for feature in sorted(features))
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return "generic", ""
    return level.cpu, ""


def is_checked() -> bool:
    """Are the kernels built with a check of every address? NUMBA_BOUNDSCHECK=1, as for Numba's own arrays."""
    return os.environ.get("NUMBA_BOUNDSCHECK", "") not in ("", "0")
