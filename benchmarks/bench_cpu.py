"""The whole ALBERT-base forward on the CPU, float32: albert_np beside PyTorch, ONNX Runtime and OpenVINO.

    python benchmarks/bench_cpu.py              everything: about an hour on two cores
    python benchmarks/bench_cpu.py --quick      three short shapes, two rounds, nothing written

Every engine has a process of its own, the same checkpoint and the same number of threads. A round gives each engine one
turn, in another order each time, so that what else the machine does meets all of them; the best call of all rounds
counts, and the median is kept beside it. Every result is compared with the float64 reference before it is timed.
The peak of the cores and the bandwidth of the memory are measured between the turns. A whole run writes
benchmarks/results/cpu_forward.json, .md and .png.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from engine_process import Child, EngineError, serve_engine, serve_peak, serve_truth
from machine import RESULTS, machine, write
from peers import DEFAULT, ENGINES, why_not
from tqdm import tqdm
from workloads import SHAPES, batch, encoder_checkpoint, shape_name, useful_flops

WRONG_ABOVE = 1e-4  # relative RMS error: float32 stays below 1e-5, a dropped bias or mask is far above
SETTLE = 0.05  # seconds between turns, in which the last engine's threads stop waiting for work


class Session:
    """All engines at one number of threads: their processes, and what has been measured so far."""

    def __init__(self, names: list[str], threads: int, checkpoint: Path, verbose: bool, bar: tqdm) -> None:
        self.threads, self.bar = threads, bar
        self.peak = Child(serve_peak, threads, threads=threads, verbose=verbose)
        self.peak.receive()
        self.peaks: list[float] = []
        self.children: dict[str, Child] = {}
        self.notes: dict[str, str] = {}
        self.failed: dict[str, str] = {}
        for name in names:
            bar.set_description(f"{threads} threads: starting {ENGINES[name].label}")
            child = Child(serve_engine, name, checkpoint, threads, threads=threads, verbose=verbose)
            try:
                self.notes[name] = child.receive()
                self.children[name] = child
            except EngineError as error:
                self._drop(name, child, str(error))
            bar.update()

    def _drop(self, name: str, child: Child, reason: str) -> None:
        self.failed[name] = reason
        self.children.pop(name, None)
        child.close()
        tqdm.write(f"{ENGINES[name].label}, {self.threads} threads, left out: {reason}", file=sys.stderr)

    def measure(self, shape: str, truth: np.ndarray, rounds: int, budget: float, order: random.Random) -> dict:
        """One row of the result: every engine on one shape."""
        _, mask = batch(shape)
        flops = useful_flops(mask)
        samples: dict[str, list[float]] = {}
        row: dict[str, dict[str, Any]] = {}
        for name, child in list(self.children.items()):
            self.bar.set_description(f"{self.threads} threads, {shape}: preparing {ENGINES[name].label}")
            if ENGINES[name].only is None or shape in ENGINES[name].only:
                try:
                    seconds, output = child.ask("prepare", shape)
                    error = relative_error(output, truth, mask)
                    row[name] = {"prepare_s": round(seconds, 3), "error": float(f"{error:.2g}")}
                    samples[name] = []
                except (EngineError, ValueError) as error:
                    self._drop(name, child, f"{shape}: {error}")
            self.bar.update()
        peaks: list[float] = []
        for _ in range(rounds):
            peaks += self.peak.ask("turn")
            for name in order.sample(sorted(self.children), len(self.children)):
                if name in samples:
                    self.bar.set_description(f"{self.threads} threads, {shape}: {ENGINES[name].label}")
                    time.sleep(SETTLE)
                    try:
                        samples[name] += self.children[name].ask("turn", budget)
                    except EngineError as error:
                        self._drop(name, self.children[name], f"{shape}: {error}")
                self.bar.update()
        for name in self.children.keys() & samples.keys():
            best = min(samples[name])
            row[name] |= {
                "best_ms": round(best * 1e3, 3),
                "median_ms": round(statistics.median(samples[name]) * 1e3, 3),
                "calls": len(samples[name]),
                "gflops": round(flops / best / 1e9, 2),
            }
        self.peaks += peaks
        B, T = mask.shape
        return {
            "threads": self.threads,
            "shape": shape,
            "sequences": B,
            "width": T,
            "real_tokens": int(mask.sum()),
            "gflop": round(flops / 1e9, 3),
            "fma_gflops_median": round(statistics.median(peaks), 1),
            "engines": {name: row[name] for name in ENGINES if "best_ms" in row.get(name, {})},
        }

    def close(self) -> dict[str, Any]:
        """The peaks of the cores, and what engines cost while others worked."""
        copy = self.peak.ask("copy")
        idle = {}
        for name, child in self.children.items():
            cpu, wall = child.ask("idle")
            idle[name] = round(100 * cpu / wall, 2) if wall else 0.0
            child.close()
        self.peak.close()
        return {
            "fma_gflops": round(max(self.peaks), 1),
            "fma_gflops_median": round(statistics.median(self.peaks), 1),
            "copy_gb_per_s": round(copy, 1),
            "idle_cpu_percent": idle,
            "settings": self.notes,
            "left_out": self.failed,
        }


def relative_error(output: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    """RMS of the error over RMS of the truth, at real tokens. Raises ValueError for an engine that computes something else."""
    if output.shape != truth.shape or output.dtype != np.float32:
        raise ValueError(f"its result is {output.dtype} {output.shape}; float32 {truth.shape} was due")
    real = mask.astype(bool)
    difference = output[real].astype(np.float64) - truth[real]
    error = float(np.sqrt(np.mean(difference**2)) / np.sqrt(np.mean(truth[real] ** 2)))
    if not error <= WRONG_ABOVE:  # so that NaN is wrong too
        raise ValueError(f"its result is wrong: relative RMS error {error:.2g}")
    return error


def in_words(row: dict[str, Any]) -> str:
    times = sorted((engine["best_ms"], ENGINES[name].label) for name, engine in row["engines"].items())
    return ", ".join(f"{label} {best:.1f} ms" for best, label in times) or "nobody ran it"


def truths(checkpoint: Path, shapes: list[str], bar: tqdm) -> dict[str, np.ndarray]:
    child = Child(serve_truth, checkpoint, threads=os.cpu_count() or 1)
    child.receive()
    answers = {}
    for shape in shapes:
        bar.set_description(f"float64 truth of {shape}")
        answers[shape] = child.ask(shape)
        bar.update()
    child.close()
    return answers


def measure_all(args: argparse.Namespace, names: list[str]) -> dict[str, Any]:
    rounds, budget = (2, 0.1) if args.quick else (args.rounds, args.budget)
    steps = len(args.shapes) + len(args.threads) * len(names) * (1 + len(args.shapes) * (1 + rounds))
    rows, at_threads = [], {}
    order = random.Random(0)
    with tqdm(total=steps, file=sys.stderr, smoothing=0.05, disable=None) as bar:
        checkpoint = encoder_checkpoint()
        known = truths(checkpoint, args.shapes, bar)
        for threads in args.threads:
            session = Session(names, threads, checkpoint, args.verbose, bar)
            for shape in args.shapes:
                rows.append(session.measure(shape, known[shape], rounds, budget, order))
                tqdm.write(f"{threads} threads, {shape}: {in_words(rows[-1])}", file=sys.stderr)
            at_threads[str(threads)] = session.close()
        bar.set_description("done")
    labels = {name: {"label": engine.label, "ours": engine.ours} for name, engine in ENGINES.items() if name in names}
    return {"rounds": rounds, "budget_s": budget, "engines": labels, "threads": at_threads, "rows": rows}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser.add_argument(
        "--shapes", type=shape_name, nargs="+", metavar="BxT", help=f"or ragged (default: {' '.join(SHAPES)})"
    )
    parser.add_argument("--threads", type=int, nargs="+", metavar="N", help="default: 1 2, as far as there are cores")
    parser.add_argument(
        "--rounds", type=int, default=7, metavar="N", help="turns of each engine (default: %(default)s)"
    )
    parser.add_argument(
        "--budget",
        type=float,
        default=0.5,
        metavar="S",
        help="seconds of calls a turn, one at least (default: %(default)s)",
    )
    parser.add_argument(
        "--engines",
        nargs="+",
        choices=ENGINES,
        metavar="NAME",
        help=f"of {', '.join(ENGINES)} (default: the first seven)",
    )
    parser.add_argument("--quick", action="store_true", help="1x8, 1x32 and 1x128, two short rounds: does it work?")
    parser.add_argument("--json", action="store_true", help="print the result as JSON instead of the table")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="where files go (default: benchmarks/results; a partial run writes none)",
    )
    parser.add_argument("--verbose", action="store_true", help="show what the engines print")
    args = parser.parse_args()
    if args.rounds < 1 or any(threads < 1 for threads in args.threads or []):
        parser.error("--rounds and --threads are 1 or more")
    whole = not (args.quick or args.shapes or args.threads or args.engines)
    args.shapes = list(dict.fromkeys(args.shapes or (SHAPES[:3] if args.quick else SHAPES)))
    args.threads = list(dict.fromkeys(args.threads or [threads for threads in (1, 2) if threads <= cores]))
    args.engines = list(dict.fromkeys(args.engines or DEFAULT))
    args.output = args.output or (RESULTS if whole else None)
    return args


def main() -> None:
    args = arguments()
    reasons = {name: reason for name in args.engines if (reason := why_not(name))}
    for name, reason in reasons.items():
        print(f"{ENGINES[name].label} left out: {reason}", file=sys.stderr)
    facts = machine()  # before anything runs: a working copy may move on while it does
    result = {"machine": facts} | measure_all(args, [name for name in args.engines if name not in reasons])
    result["not_installed"] = reasons
    from cpu_report import markdown, plot

    text = markdown(result)
    print(json.dumps(result, indent=1, ensure_ascii=False) if args.json else text)
    if args.output:
        write("cpu_forward", result, args.output)
        (args.output / "cpu_forward.md").write_text(text)
        plot(result, args.output / "cpu_forward.png")
        print(f"written: {args.output}/cpu_forward.json, .md, .png", file=sys.stderr)


if __name__ == "__main__":
    main()
