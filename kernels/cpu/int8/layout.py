"""What the compiled side and the Python side agree on, for the unit of this process. Importing this imports no Numba."""

from __future__ import annotations

from albert_np.kernels.cpu import units
from albert_np.kernels.cpu.layout import INT16, UINT8

UNIT, RUNG = units.int8()
CODE = INT16 if UNIT == "words" else UINT8  # what a number of A is in memory
STEP = 64  # k of a step: the depth of a tile
STRIP_STEP = 16 * STEP  # what a strip of sixteen columns holds of a step, in bytes: 1 KB
