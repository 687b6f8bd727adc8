"""How a product on tensor cores is cut into tiles, and which tiles it takes. Imports no Numba."""

from __future__ import annotations

from dataclasses import dataclass

from albert_np.kernels.cuda.kernel import ceil_div

ROW = 16  # words of 4 bytes of one row in a tile: 32 numbers of k in bfloat16, 16 in tf32, two mma either way
ITEM = {"bfloat16": 2, "tf32": 4, "tf32x3": 4}  # bytes of a number


@dataclass(frozen=True)
class Tile:
    rows: int  # of out, a block
    columns: int
    warp_rows: int
    warp_columns: int
    stages: int  # tiles in shared memory: one that is multiplied, the others under way
    blocks: int  # an SM, so that registers suffice
    speed: int  # multiply-adds in bfloat16 a cycle that an SM should reach: what `choose` goes by

    @property
    def threads(self) -> int:
        return 32 * (self.rows // self.warp_rows) * (self.columns // self.warp_columns)

    @property
    def stage(self) -> int:
        """Words of both operands' tiles."""
        return (self.rows + self.columns) * ROW

    def blocks_of(self, M: int, N: int) -> tuple[int, int]:
        return ceil_div(N, self.columns), ceil_div(M, self.rows)


HUGE = Tile(256, 128, 64, 64, 2, 1, 1300)
LARGE = Tile(128, 128, 64, 64, 3, 2, 1150)
MEDIUM = Tile(64, 64, 32, 32, 4, 4, 700)
SMALL = Tile(32, 32, 16, 16, 6, 8, 250)
THREE = Tile(128, 128, 64, 32, 3, 1, 1000)  # twice as many operands leave registers for half the sums
TILES = {
    "bfloat16": (HUGE, LARGE, MEDIUM, SMALL),
    "tf32": (HUGE, LARGE, MEDIUM, SMALL),
    "tf32x3": (THREE, MEDIUM, SMALL),
}


def ends_of(kind: str, K: int, aligned: bool) -> str:
    """Which copies a product takes: of "whole" tiles, "part" of the last ones, or single "words" of A. aligned: to 16 bytes."""
    if not aligned:
        return "words"
    return "part" if K * ITEM[kind] % (4 * ROW) else "whole"


# What `choose` counts with, in cycles of one SM. None of it was measured: it ranks tiles, and changes no bit of a result.
TIMES = {"bfloat16": 1, "tf32": 2, "tf32x3": 6}  # as long as bfloat16, a multiply-add
LATENCY = 900  # from a fetch to its arrival, shared by the tiles that are under way
BARRIER = 150  # from one to the next, at least


def choose(kind: str, M: int, N: int, K: int, multiprocessors: int) -> Tile:
    """The tile that should take least time."""

    def cycles(tile: Tile) -> float:
        x, y = tile.blocks_of(M, N)
        steps = ceil_div(K * ITEM[kind], 4 * ROW)
        multiplying = ceil_div(x * y, multiprocessors) * tile.rows * tile.columns * K * TIMES[kind] / tile.speed
        waiting = ceil_div(x * y, multiprocessors * tile.blocks) * steps * max(BARRIER, LATENCY / (tile.stages - 1))
        return max(multiplying, waiting)

    return min(TILES[kind], key=cycles)
