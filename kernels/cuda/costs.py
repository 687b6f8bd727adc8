"""How long a product takes by the tiles it is cut into: what `choose` of both matmuls goes by. Imports no Numba.

The numbers are measurements, each tile alone on an SM and with as many as fit, on an H200 at 1.98 GHz. They rank tiles, and
change no bit of a result.
"""

from __future__ import annotations

from typing import NamedTuple

from albert_np.kernels.cuda.kernel import ceil_div


class Cost(NamedTuple):
    """Cycles of one SM."""

    start: int  # for blocks that begin and end together, before their first step and behind their last
    wait: int  # from one step along k to the next, and
    each: int  # so many more for each block that the SM has at once


def cycles(cost: Cost, blocks: int, at_once: int, steps: int, multiprocessors: int) -> float:
    """Of so many blocks of so many steps, of which an SM has some at once."""
    rounds, rest = divmod(ceil_div(blocks, multiprocessors), at_once)
    of_a_round = cost.start + steps * (cost.wait + cost.each * at_once)
    of_the_rest = cost.start + steps * (cost.wait + cost.each * rest)
    return rounds * of_a_round + (of_the_rest if rest else 0)
