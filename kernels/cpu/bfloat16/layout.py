"""What the compiled side and the Python side agree on, for the unit of this process. Importing this imports no Numba."""

from __future__ import annotations

from albert_np.kernels.cpu import units
from albert_np.kernels.cpu.layout import BFLOAT16, FLOAT32

UNIT, RUNG = units.bfloat16()
OPERAND = FLOAT32 if UNIT == "floats" else BFLOAT16
STEP = 32  # k that are summed apart before their sum is added: the depth of a tile
STRIP_STEP = 16 * STEP // 2  # what a strip of sixteen columns holds of a step, in words of two numbers: 1 KB
FOURS = (2, 0, 3, 1) if UNIT == "pairs" else (0, 1, 2, 3)  # of each four numbers in memory, which comes where
SLOTS = tuple(4 * (i // 4) + FOURS[i % 4] for i in range(STEP))  # of each 32
