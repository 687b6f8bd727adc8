"""The innermost loops of the unit that was chosen, under the same names: registers (blocks.py) or tiles (tile_blocks.py)."""

from __future__ import annotations

from albert_np.kernels.cpu.int8.layout import UNIT

if UNIT == "tiles":
    from albert_np.kernels.cpu import tile_blocks
    from albert_np.kernels.cpu.tile_blocks import AHEAD_FROM, CHUNKS_FROM, ROWS, STRIPS

    NAME = "albert_np_block8"
    block8 = tile_blocks.block(NAME)
    begin, shape, end = tile_blocks.around(NAME)

    def blocks():
        return tile_blocks.blocks(NAME, "u8s8")

else:
    from albert_np.kernels.cpu.int8.blocks import (
        AHEAD_FROM,
        CHUNKS_FROM,
        ROWS,
        STRIPS,
        begin,
        block8,
        blocks,
        end,
        shape,
    )

__all__ = ["AHEAD_FROM", "CHUNKS_FROM", "ROWS", "STRIPS", "begin", "block8", "blocks", "end", "shape"]
