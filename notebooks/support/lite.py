"""Notebook 07: a clock, and pictures of what a model stores beside what it computes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from support.plots import BLUE, GREEN, GREY, ORANGE

Point = tuple[float, float]
# seconds that cores have worked for this process, where the system counts them finely
WORKED = time.process_time if time.get_clock_info("process_time").resolution < 1e-5 else time.perf_counter
RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "cpu_forward.json"


def fastest(call: Callable[..., Any], *arguments: Any, seconds: float = 0.4) -> float:
    """Milliseconds of work of the fastest of the calls in so many seconds: what else the machine does should not count."""
    call(*arguments)  # the first one prepares
    found, start = list[float](), time.perf_counter()
    while len(found) < 3 or time.perf_counter() - start < seconds:
        begin = WORKED()
        call(*arguments)
        found.append(WORKED() - begin)
    return 1000 * min(found)


def in_turns(calls: Mapping[Any, Sequence[Any]], turns: int = 3) -> dict[Any, float]:
    """`fastest` of several calls, (function, arguments …) by name, in turns: what else the machine does then meets them all."""
    found = [{name: fastest(*call, seconds=0.1) for name, call in calls.items()} for _ in range(turns)]
    return {name: min(times[name] for times in found) for name in calls}


def recorded() -> tuple[float, list[dict[str, Any]]]:
    """(GFLOP/s that one core can do at most, the rows of one thread) of the project's benchmark of ALBERT-base."""
    found = json.loads(RESULTS.read_text(encoding="utf-8"))
    rows = [row for row in found["rows"] if row["threads"] == 1 and row["shape"] != "ragged"]
    return found["threads"]["1"]["fma_gflops"], rows


def plane(albert: Mapping[str, Point], bert: Mapping[str, Point]) -> Any:
    """Models by name as points (millions of parameters, GFLOP). An arrow goes from each BERT to the ALBERT of its sizes."""
    figure, axis = plt.subplots(figsize=(7, 4))
    axis.set_xscale("log")
    axis.set_yscale("log")
    for name, (x, y) in bert.items():
        axis.annotate(
            "", albert[name], (x, y), arrowprops={"arrowstyle": "->", "color": GREY, "shrinkA": 8, "shrinkB": 8}
        )
    for points, colour, marker, kind in ((bert, ORANGE, "s", "BERT"), (albert, BLUE, "o", "ALBERT")):
        axis.scatter(*zip(*points.values(), strict=True), s=70, color=colour, marker=marker, label=kind, zorder=3)
        for name, point in points.items():
            axis.annotate(f"{kind} {name}", point, (0, 9), textcoords="offset points", ha="center", color=colour)
    axis.margins(0.16, 0.14)
    axis.set_xlabel("millions of parameters: memory")
    axis.set_ylabel("GFLOP for 128 tokens: work")
    axis.set_title("ALBERT moves a model to the left, not down")
    axis.set_xticks([10, 20, 50, 100, 200, 500], ["10", "20", "50", "100", "200", "500"])
    axis.set_yticks([20, 50, 100, 200, 500], ["20", "50", "100", "200", "500"])
    axis.minorticks_off()
    axis.legend(loc="upper left")
    return figure


def against_work(measured: Mapping[str, Sequence[Point]], rate: float, line: str, title: str) -> Any:
    """Times over work, points (GFLOP, milliseconds) by series, and the line of a machine that always does `rate` GFLOP/s."""
    figure, axis = plt.subplots(figsize=(7, 3.8))
    work = [x for points in measured.values() for x, _ in points]
    ends = [min(work) / 1.5, max(work) * 1.5]
    axis.plot(ends, [1000 * x / rate for x in ends], color=GREY, linestyle="--", label=line)
    for (name, points), colour, marker in zip(measured.items(), (BLUE, ORANGE, GREEN), "os^", strict=False):
        axis.plot(*zip(*sorted(points), strict=True), color=colour, marker=marker, linewidth=1, label=name)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("work of a call, in GFLOP")
    axis.set_ylabel("milliseconds")
    axis.xaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_major_formatter("{x:g}")
    axis.set_title(title)
    axis.legend(loc="upper left")
    return figure
