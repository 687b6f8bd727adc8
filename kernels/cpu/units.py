"""What multiplies numbers narrower than float32 on this CPU. Importing this imports no Numba.

    bfloat16   tiles    AMX: 16 × 16 sums over 32 k in one instruction
               pairs    AVX-512 BF16: two products a lane
               floats   any registers: weights are widened, and multiplied and added as float32
    int8       tiles    AMX: 16 × 16 sums over 64 k in one instruction
               fours    VNNI: four products a lane
               words    any registers: numbers are widened to 16 bits, or to 32

All units of a type give the same bits: those of bfloat16 because each adds in the order of the tiles (bfloat16/operand.py),
those of int8 because their sums are exact.
"""

from __future__ import annotations

import os

from albert_np.kernels.cpu import simd, tiles

# CPUs, by LLVM's names, on which pairs are taken for faster than float32's multiply-adds. Measured: twice as fast on Zen 5,
# half as fast on Sapphire Rapids. Zen 4 has Zen 5's instructions at half the width. A wrong guess costs time, and no bit
FAST_PAIRS = ("znver4", "znver5")


def why_no_tiles() -> str:
    """Why neither type gets tiles, or "". A process that may not use them does not ask for them. Raises as simd.allowed."""
    if "amx" in simd.available() and "amx" not in simd.allowed():
        return f"ALBERT_NP_SIMD={simd.allowed()[0]} does not allow them"
    return tiles.why_not()


def bfloat16() -> tuple[str, str]:
    """The unit, and the rung that it is from. Raises ValueError as simd.allowed."""
    rungs = simd.allowed()
    if "amx" in rungs and not why_no_tiles():
        return "tiles", "amx"
    asked_for = os.environ.get("ALBERT_NP_SIMD") == "avx512bf16"
    if "avx512bf16" in rungs and (asked_for or simd.host()[0].startswith(FAST_PAIRS)):
        return "pairs", "avx512bf16"
    return "floats", simd.chosen_level().name


def int8() -> tuple[str, str]:
    """The unit, and the rung that it is from. Raises ValueError as simd.allowed."""
    rungs = simd.allowed()
    if "amx" in rungs and not why_no_tiles():
        return "tiles", "amx"
    for rung in ("avx512vnni", "avxvnni"):
        if rung in rungs and simd.EXTENSIONS[rung][0] == simd.chosen_level().name:
            return "fours", rung
    return "words", simd.chosen_level().name
