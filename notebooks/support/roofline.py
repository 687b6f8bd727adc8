"""What a core can do at most, measured; and the picture of programs below that roof."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from albert_np.kernels.cpu.simd import LANES, chosen_level
from albert_np.kernels.cpu.vector import fma, load, splat, store, sum_of
from support.gemm_rungs import Array, Rung, at_a_line, compiled
from support.plots import BLUE, GREY, ORANGE

# A multiply-add takes four cycles, and two begin in each: at least eight must be under way. Sixteen numbers are one register
# with AVX-512, and two or four on other CPUs. So there six sums keep as many units busy, and twelve would not find room.


def twelve_sums(turns, x):
    """Multiply-adds in registers and nothing else: no sum waits for another one."""
    a, b, c, d, e, f = splat(x), splat(2 * x), splat(3 * x), splat(4 * x), splat(5 * x), splat(6 * x)
    g, h, i, j, k, l = splat(7 * x), splat(8 * x), splat(9 * x), splat(10 * x), splat(11 * x), splat(12 * x)
    for _ in range(turns):
        a, b, c, d, e, f = fma(a, x, x), fma(b, x, x), fma(c, x, x), fma(d, x, x), fma(e, x, x), fma(f, x, x)
        g, h, i, j, k, l = fma(g, x, x), fma(h, x, x), fma(i, x, x), fma(j, x, x), fma(k, x, x), fma(l, x, x)
    return sum_of(a + b + c + d + e + f + g + h + i + j + k + l)


def six_sums(turns, x):
    """Multiply-adds in registers and nothing else: no sum waits for another one."""
    a, b, c, d, e, f = splat(x), splat(2 * x), splat(3 * x), splat(4 * x), splat(5 * x), splat(6 * x)
    for _ in range(turns):
        a, b, c, d, e, f = fma(a, x, x), fma(b, x, x), fma(c, x, x), fma(d, x, x), fma(e, x, x), fma(f, x, x)
    return sum_of(a + b + c + d + e + f)


def add_rows(x, y, out, count, turns):
    """out = x + y, again and again: two loads and a store, and little arithmetic, as in a loop that adds to C."""
    for _ in range(turns):
        for i in range(0, count, 48):
            store(out, i, load(x, i) + load(y, i))
            store(out, i + 16, load(x, i + 16) + load(y, i + 16))
            store(out, i + 32, load(x, i + 32) + load(y, i + 32))


@cache
def sums() -> tuple[Callable[..., float], int]:
    """The loop for this CPU, and how many vectors it adds up at once."""
    return (twelve_sums, 12) if chosen_level().width == LANES else (six_sums, 6)


def best_seconds(work: Callable[[], object], seconds: float, at_least: int = 3) -> float:
    """The shortest time of `work`, which is repeated for so long: other programs make a run longer, and never shorter."""
    times, end = [], time.perf_counter() + seconds
    while len(times) < at_least or time.perf_counter() < end:
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times)


@cache
def _compiled(function: Callable[..., float]) -> Callable[..., float]:
    return compiled(function)


def peak_gflops(seconds: float = 0.05) -> float:
    """GFLOP/s of one core at most; a multiply-add counts as two operations. Measured as benchmarks/peak.py does."""
    function, vectors = sums()
    loop, turns = _compiled(function), 100_000
    half = np.float32(0.5)  # s/2 + 1/2 goes to 1: neither large nor subnormal
    loop(1, half)  # compiles it
    return 2 * vectors * LANES * turns / best_seconds(lambda: loop(turns, half), seconds) / 1e9


def moved_gb_per_s(kilobytes: int, seconds: float = 0.1) -> float:
    """GB/s that one core loads and stores, where it works on so much memory again and again."""
    count = kilobytes * 256 // 3 // 48 * 48
    x, y, out = (at_a_line(np.zeros(count)) for _ in range(3))
    loop, turns = _compiled(add_rows), max(1, 1_000_000 // count)
    addresses = [array.ctypes.data for array in (x, y, out)]
    loop(*addresses, count, 1)
    return 3 * 4 * count * turns / best_seconds(lambda: loop(*addresses, count, turns), seconds) / 1e9


def gflops(rung: Rung, a: Array, b: Array, seconds: float = 0.3) -> float:  # (M,K), (K,N)
    """GFLOP/s of the best of many runs on one core; what it makes of B before is not counted."""
    prepared, c = rung.prepare(b), at_a_line(np.zeros((len(a), b.shape[1])))
    rung.function(a, prepared, c)  # compiles it
    return 2 * a.size * b.shape[1] / best_seconds(lambda: rung.function(a, prepared, c), seconds) / 1e9


def roofline(peak: float, moved: Mapping[str, float], points: Sequence[tuple[Rung, float]], title: str) -> Any:
    """The roofs, peak in GFLOP/s and what is moved in GB/s, and below them each rung with its GFLOP/s."""
    figure, axis = plt.subplots(figsize=(7, 4.8))
    x = np.geomspace(0.1, 10, 200)
    for (name, speed), style, left in zip(moved.items(), ("-", "--"), (0.105, 0.5), strict=True):
        axis.plot(x, np.minimum(peak, speed * x), style, color=GREY, lw=2, zorder=1)
        slope = {
            "rotation": np.degrees(np.arctan(1.1 * speed)),
            "transform_rotates_text": True,
            "rotation_mode": "anchor",
        }
        axis.text(left, 1.1 * speed * left, f"{name}: {speed:.0f} GB/s", **slope)
    axis.text(0.45, 1.1 * peak, f"peak: {peak:.0f} GFLOP/s", ha="right")
    axis.plot([rung.flops_a_byte for rung, _ in points], [rate for _, rate in points], ":", color=ORANGE, zorder=2)
    for number, (rung, rate) in enumerate(points, start=2):
        axis.plot(rung.flops_a_byte, rate, "o", color=BLUE, ms=9, zorder=3)
        side = {"xytext": (9, -4)} if number % 2 == 0 or rung is points[-1][0] else {"xytext": (-9, -4), "ha": "right"}
        axis.annotate(str(number), (rung.flops_a_byte, rate), textcoords="offset points", weight="bold", **side)
    lines = [f"{number}  {rung.name}: {100 * rate / peak:.2g} %" for number, (rung, rate) in enumerate(points, start=2)]
    axis.text(0.62, 0.05, "\n".join(["share of the peak", *lines]), transform=axis.transAxes, linespacing=1.4)
    axis.set(xscale="log", yscale="log", xlim=(0.1, 10), ylim=(min(rate for _, rate in points) / 2, 2 * peak))
    axis.set_xticks([0.1, 0.2, 0.5, 1, 2, 5, 10], ["0.1", "0.2", "0.5", "1", "2", "5", "10"])
    ticks = [tick for tick in (0.1, 1, 10, 100, 1000) if axis.get_ylim()[0] <= tick <= axis.get_ylim()[1]]
    axis.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_xlabel("FLOPs for each byte that the inner loop moves")
    axis.set_ylabel("GFLOP/s")
    axis.set_title(title)
    return figure
