"""How long a launch takes on an NVIDIA H200, worked out from its compiled code (compiled.py): nothing is measured.

A launch takes the longest of three times:

    arithmetic   of the busiest SM, with the blocks that tiles and SMs leave it: multiply-adds by their share of the inner
                 loop's machine code; on tensor cores by the rate of these, or bytes of shared memory, if that is longer
    bytes        of memory, each once, or of the second cache, all that blocks fetch
    waiting      for memory, one step of a block after the other, and one block after the other

Left out: operands that the second cache does not hold, and clocks that sink. Each constant says where it is from; who predicts
for another GPU replaces them.
"""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

SMS = 132  # data sheet
CLOCK = 1.98e9  # Hz, data sheet: the highest
SCHEDULERS = 4  # an SM, architecture: each starts one instruction of one warp a cycle
BANKS = 128  # bytes a cycle in or out of an SM's shared memory, architecture
FLOAT32 = 66.9e12  # FLOP/s, data sheet: 128 multiply-adds a cycle and SM
BFLOAT16 = 989e12  # FLOP/s, data sheet, dense
TF32 = 494e12  # FLOP/s, data sheet, dense
MMA = 0.62  # of these two at most by mma.sync, which the kernels take, and not wgmma: others' measurements on an H100
COPY = 4.3e12  # bytes/s, read and written, of a copy on the GPU: others' measurements; the data sheet says 4.8e12
CACHE = 7e12  # bytes/s from the second cache to all SMs: guess; others measured 5.5e12 to 9e12 on an H100
REACHED = 0.80  # of what the arithmetic allows: guess, for barriers, waits for shared memory, clocks below the highest
BYTES_REACHED = 0.90  # of a copy's bytes/s, by a kernel that also computes: guess
ROW_WAIT = 2000  # cycles of a block without an inner loop: guess
GAP = 2e-6  # s from one kernel of a CUDA graph to the next: guess
HOST = 3e-4  # s of a call in which the GPU idles, Python, one upload, four waits, the pooler's launches: guess
CUBLAS_FLOAT32 = 54e12  # FLOP/s: guess, 0.80 of the peak
CUBLAS_BFLOAT16 = 760e12  # FLOP/s: torch at 8192³ in float16 on an H200, as github.com/NVIDIA/tilus/pull/86 has it

# cycles, guesses too
WAIT = 700  # of the float32 matmul, from one barrier to the next where a block is alone and waits for memory
LATENCY = 900  # on tensor cores, from a fetch to its arrival, shared by the tiles that are under way
BARRIER = 150  # there, from one to the next, at least

PARTS = ("arithmetic", "bytes", "waiting")
Launch = tuple[Any, tuple[int, ...], tuple[Any, ...]]  # kernel, grid, arguments


class Work(NamedTuple):
    """What a launch asks for."""

    memory: float  # bytes of a launch, each once
    fetched: float = 0  # bytes, by way of the second cache
    fmas: float = 0  # of a block, those of missing rows and columns too; 0 where no inner loop does most of the work
    shared: float = 0  # bytes of shared memory, of a block
    steps: int = 1  # of a block, each with a wait for memory
    wait: float = ROW_WAIT  # cycles


def times(launch: Launch, asked: Work, code: Any) -> dict[str, float]:
    """Seconds; "least" is that of arithmetic or bytes, without a guess. code: compiled.Compiled."""
    (kernel, grid, _), warps = launch, code.threads // 32
    blocks = -(-prod(grid) // SMS)  # of the busiest SM
    together = min(blocks, code.warps // warps)
    started = min(SCHEDULERS, together * warps)  # instructions a cycle
    cycles = len(code.instructions) * warps / started
    if asked.fmas and asked.shared:
        peak, each = (BFLOAT16, 16 * 8 * 16) if kernel.parameters[0] == "H" else (TF32, 16 * 8 * 8)
        apart = 2 * each * SMS * SCHEDULERS * CLOCK / (MMA * peak)  # cycles from one mma to the next
        cycles = asked.fmas / each / started * max(apart, 1 / code.share("HMMA"))
    elif asked.fmas:
        cycles = asked.fmas / 32 / started / code.share("FFMA")
    arithmetic, memory = blocks * max(cycles, asked.shared / BANKS) / CLOCK, asked.memory / COPY
    return {
        "arithmetic": arithmetic / REACHED,
        "bytes": max(memory / BYTES_REACHED, asked.fetched / CACHE),
        "waiting": -(-blocks // together) * asked.steps * asked.wait / CLOCK,
        "least": max(arithmetic, memory),
    }
