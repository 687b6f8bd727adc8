"""How a product on tensor cores is cut into tiles, and which tiles it takes. Imports no Numba."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from albert_np.kernels.cuda.costs import Cost, cycles
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

    @property
    def threads(self) -> int:
        return 32 * (self.rows // self.warp_rows) * (self.columns // self.warp_columns)

    @property
    def stage(self) -> int:
        """Words of both operands' tiles."""
        return (self.rows + self.columns) * ROW

    def blocks_of(self, M: int, N: int) -> tuple[int, int]:
        return ceil_div(N, self.columns), ceil_div(M, self.rows)


LARGE = Tile(128, 128, 64, 64, 3, 2)
WIDE = Tile(64, 128, 32, 64, 4, 3)
MEDIUM = Tile(64, 64, 32, 32, 4, 4)
SMALL = Tile(32, 32, 16, 16, 6, 8)
THREE = Tile(128, 128, 64, 32, 3, 1)  # twice as many operands leave registers for half the sums
COSTS = {
    "bfloat16": {
        LARGE: Cost(6700, 635, 267),
        WIDE: Cost(3800, 413, 206),
        MEDIUM: Cost(3200, 236, 124),
        SMALL: Cost(1200, 180, 98),
    },
    "tf32": {
        LARGE: Cost(6100, 342, 623),
        WIDE: Cost(3700, 349, 267),
        MEDIUM: Cost(2900, 248, 170),
        SMALL: Cost(1800, 208, 95),
    },
    "tf32x3": {THREE: Cost(4700, 0, 2641), MEDIUM: Cost(3000, 420, 620), SMALL: Cost(1800, 234, 266)},
}
TILES = {kind: tuple(costs) for kind, costs in COSTS.items()}


def ends_of(kind: str, K: int, aligned: bool) -> str:
    """Which copies a product takes: of "whole" tiles, "part" of the last ones, or single "words" of A. aligned: to 16 bytes."""
    if not aligned:
        return "words"
    return "part" if K * ITEM[kind] % (4 * ROW) else "whole"


# what `choose` counts with beside costs.py
HELD = 50e6  # bytes of operands that the second cache holds
FETCHED = 3500  # bytes a cycle to all SMs together, of operands that it does not hold


@lru_cache(4096)
def choose(kind: str, M: int, N: int, K: int, multiprocessors: int) -> Tile:
    """The tile that should take least time."""
    item = ITEM[kind]

    def time(tile: Tile) -> float:
        x, y = tile.blocks_of(M, N)
        steps = ceil_div(K * item, 4 * ROW)
        fetching = x * y * 4 * tile.stage * steps / FETCHED if (M + N) * K * item > HELD else 0
        return max(cycles(COSTS[kind][tile], x * y, tile.blocks, steps, multiprocessors), fetching)

    return min(TILES[kind], key=time)
