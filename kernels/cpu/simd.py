"""What the CPU has: registers, the shape of the GEMM's block that follows from them, and instructions for narrower numbers.

The ladder, the best first. Float32 kernels know the registers alone; those of bfloat16 and int8 take what multiplies fastest
(units.py). ALBERT_NP_SIMD names the best rung that may be used; a CPU that lacks it is told so. Importing this imports no
Numba.
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


# instructions that some CPUs with these registers have beside them: rung -> registers, LLVM's names of what it needs
EXTENSIONS = {
    "amx": ("avx512", ("amx-tile", "amx-bf16", "amx-int8", "avx512bf16", "avx512vnni")),
    "avx512bf16": ("avx512", ("avx512bf16", "avx512vnni")),
    "avx512vnni": ("avx512", ("avx512vnni",)),
    "avxvnni": ("avx2", ("avxvnni",)),
}
RUNGS = ("amx", "avx512bf16", "avx512vnni", "avx512", "avxvnni", "avx2", "neon", "sse", "plain")


@functools.cache
def host() -> tuple[str, frozenset[str]]:
    """The CPU's name, as LLVM has it, and its features."""
    from llvmlite import binding

    try:
        features = frozenset(name for name, has in binding.get_host_cpu_features().items() if has)
    except RuntimeError:  # LLVM does not know how to ask this CPU
        features = frozenset()
    return binding.get_host_cpu_name(), features


def are_tiles_emulated() -> bool:
    """Are tile instructions calls of functions that do the same? ALBERT_NP_TILES=emulated: for tests, in one thread."""
    return os.environ.get("ALBERT_NP_TILES") == "emulated"


@functools.cache
def available() -> tuple[str, ...]:
    """The rungs that run here, the best first."""
    _, features = host()
    registers = {"plain"}
    if {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd"} <= features:
        registers.add("avx512")
    if {"avx2", "fma", "bmi2"} <= features:
        registers.add("avx2")
    if platform.machine().lower() in ("aarch64", "arm64"):
        registers.add("neon")
    if {"sse4.2", "ssse3", "popcnt"} <= features:
        registers.add("sse")
    more = {name for name, (base, needs) in EXTENSIONS.items() if base in registers and features.issuperset(needs)}
    if are_tiles_emulated():
        more.add("amx")
    return tuple(name for name in RUNGS if name in registers | more)


def allowed() -> tuple[str, ...]:
    """The rungs that this process may use: from ALBERT_NP_SIMD on. Raises ValueError where that cannot run here."""
    names = available()
    wanted = os.environ.get("ALBERT_NP_SIMD") or names[0]
    if wanted not in RUNGS:
        raise ValueError(f"ALBERT_NP_SIMD must be one of {', '.join(RUNGS)}; got {wanted!r}")
    if wanted not in names:
        raise ValueError(
            f"ALBERT_NP_SIMD={wanted} is not on this CPU: choose one of {', '.join(names)}, or unset it for the best"
        )
    return names[names.index(wanted) :]


@functools.cache
def chosen_level() -> Level:
    """The registers of this process. Raises ValueError where ALBERT_NP_SIMD names what cannot run here."""
    return LEVELS[next(name for name in allowed() if name in LEVELS)]


def target() -> tuple[str, str]:
    """CPU name and feature string for LLVM's code generator: the host itself, or the least CPU of a forced rung."""
    name, features = host()
    rung = allowed()[0]
    if rung == available()[0]:
        return name, ",".join(f"+{feature}" for feature in sorted(features))
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return "generic", ""
    _, needs = EXTENSIONS.get(rung, ("", ()))
    return chosen_level().cpu, ",".join(f"+{feature}" for feature in needs)


def is_checked() -> bool:
    """Are the kernels built with a check of every address? NUMBA_BOUNDSCHECK=1, as for Numba's own arrays."""
    return os.environ.get("NUMBA_BOUNDSCHECK", "") not in ("", "0")
