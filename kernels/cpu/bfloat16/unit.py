"""The innermost loops of the unit that was chosen, under the same names: registers (blocks.py) or tiles (tile_blocks.py)."""

from __future__ import annotations

from albert_np.kernels.cpu.bfloat16.layout import UNIT
from albert_np.kernels.cpu.vector import helper

if UNIT == "tiles":
    from albert_np.kernels.cpu import tile_blocks
    from albert_np.kernels.cpu.tile_blocks import AHEAD_FROM, CHUNKS_FROM, ROWS, STRIPS

    NAME = "albert_np_block16"
    block16 = tile_blocks.block(NAME)
    begin, shape, end = tile_blocks.around(NAME)

    def blocks():
        return tile_blocks.blocks(NAME, "bf16")

    @helper
    def flush():
        """Before blocks; gives what `unflush` takes. Tiles always make zeros of subnormal numbers."""
        return 0

    @helper
    def unflush(before):
        """After them."""

else:
    from albert_np.kernels.cpu.bfloat16.blocks import (
        AHEAD_FROM,
        CHUNKS_FROM,
        ROWS,
        STRIPS,
        begin,
        block16,
        blocks,
        end,
        flush,
        shape,
        unflush,
    )

__all__ = [
    "AHEAD_FROM",
    "CHUNKS_FROM",
    "ROWS",
    "STRIPS",
    "begin",
    "block16",
    "blocks",
    "end",
    "flush",
    "shape",
    "unflush",
]
