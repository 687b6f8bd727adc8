"""The whole ALBERT-base forward on the CPU: albert_np beside PyTorch, ONNX Runtime and OpenVINO.

    python benchmarks/bench_cpu.py                              float32, everything: about an hour on two cores
    python benchmarks/bench_cpu.py --dtype bfloat16 int8        both in one run, float32 of ours beside them
    python benchmarks/bench_cpu.py --quick                      three short shapes, two rounds, nothing written

Every engine has a process of its own, the same checkpoint and the same number of threads. A round gives each engine one
turn, in another order each time, so that what else the machine does meets all of them; the best call of all rounds
counts, and the median is kept beside it. Every result is compared with the float64 reference before it is timed.
The peak of the cores and the bandwidth of the memory are measured between the turns. A whole run writes
benchmarks/results/cpu_forward.json, .md and .png; with --dtype bfloat16 int8, cpu_reduced.json, .md and .png.

Of reduced precision the peaks are those of the CPU's instructions for it, the engines are also asked whether they still
give float32's answers (answers.py), and on CPUs with tiles the state of the cores is taken down before and after each turn.
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
from answers import ask_all, put_together
from engine_process import Child, EngineError, serve_engine, serve_peak, serve_truth
from instruction_peak import precision_of
from machine import RESULTS, machine, write
from peers import DEFAULT, ENGINES, why_not
from reduced_peers import ALL, REDUCED, REDUCED_DEFAULT
from tqdm import tqdm
from workloads import SHAPES, batch, encoder_checkpoint, shape_name, useful_flops

# Relative RMS error of the hidden states. float32 stays below 1e-5, and what drops a bias or the mask is far above. bfloat16
# gives 0.0024 to 0.0065 (PyTorch, cast), and 0.009 in the worst case known; without the mask of the ragged batch it is 0.023,
# without a bias 0.014 or more, but 0.002 without the queries', which only float32 shows. int8 gives 0.016 (NNCF) to 0.058
# (PyTorch), and 0.23 or more without LayerNorm's biases or ffn's; a smaller slip of an int8 engine is to be seen in its
# float32 or bfloat16 kin, which load the checkpoint in the same way.
WRONG_ABOVE = {"float32": 1e-4, "bfloat16": 0.012, "int8": 0.12}
SETTLE = 0.05  # seconds between turns, in which the last engine's threads stop waiting for work


class Session:
    """All engines at one number of threads: their processes, and what has been measured so far."""

    def __init__(
        self, names: list[str], threads: int, checkpoint: Path, reduced: bool, verbose: bool, bar: tqdm
    ) -> None:
        self.names, self.threads, self.reduced, self.bar = names, threads, reduced, bar
        self.peak = Child(serve_peak, threads, reduced, threads=threads, verbose=verbose)
        self.peak.receive()
        self.peaks: dict[str, list[float]] = {}  # of each instruction
        self.children: dict[str, Child] = {}
        self.notes: dict[str, str] = {}
        self.failed: dict[str, str] = {}
        for name in names:
            bar.set_description(f"{threads} threads: starting {ALL[name].label}")
            child = Child(serve_engine, name, checkpoint, threads, reduced, threads=threads, verbose=verbose)
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
        tqdm.write(f"{ALL[name].label}, {self.threads} threads, left out: {reason}", file=sys.stderr)

    def measure(self, shape: str, truth: np.ndarray, rounds: int, budget: float, order: random.Random) -> dict:
        """One row of the result: every engine on one shape."""
        _, mask = batch(shape)
        flops = useful_flops(mask)
        samples: dict[str, list[float]] = {}
        states: dict[str, list[tuple[float | None, float | None, float]]] = {}
        row: dict[str, dict[str, Any]] = {}
        for name, child in list(self.children.items()):
            self.bar.set_description(f"{self.threads} threads, {shape}: preparing {ALL[name].label}")
            if ALL[name].only is None or shape in ALL[name].only:
                try:
                    seconds, output = child.ask("prepare", shape)
                    error = relative_error(output, truth, mask, WRONG_ABOVE[ALL[name].precision])
                    row[name] = {"prepare_s": round(seconds, 3), "error": float(f"{error:.2g}")}
                    samples[name], states[name] = [], []
                except (EngineError, ValueError) as error:
                    self._drop(name, child, f"{shape}: {error}")
            self.bar.update()
        fma: list[float] = []
        for _ in range(rounds):
            for instruction, rates in self.peak.ask("turn").items():
                self.peaks.setdefault(instruction, []).extend(rates)
                fma += rates if instruction == "fma" else []
            for name in order.sample(sorted(self.children), len(self.children)):
                if name in samples:
                    self.bar.set_description(f"{self.threads} threads, {shape}: {ALL[name].label}")
                    time.sleep(SETTLE)
                    try:
                        taken, (before, after) = self.children[name].ask("turn", budget)
                        samples[name] += taken
                        states[name].append((before, after, round(min(taken) * 1e3, 3)))
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
            if self.reduced:  # nanoseconds before and after a turn, and its best call; null without tiles
                known = [turn for turn in states[name] if turn[0] is not None]
                row[name]["tile_load_ns"] = known or None
        B, T = mask.shape
        return {
            "threads": self.threads,
            "shape": shape,
            "sequences": B,
            "width": T,
            "real_tokens": int(mask.sum()),
            "gflop": round(flops / 1e9, 3),
            "fma_gflops_median": round(statistics.median(fma), 1),
            "engines": {name: row[name] for name in self.names if "best_ms" in row.get(name, {})},
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
        fma = self.peaks.pop("fma")
        others = {
            name: {
                "precision": precision_of(name),
                "gops": round(max(rates), 1),
                "gops_median": round(statistics.median(rates), 1),
            }
            for name, rates in self.peaks.items()
        }
        return {
            "fma_gflops": round(max(fma), 1),
            "fma_gflops_median": round(statistics.median(fma), 1),
            **({"peaks": others} if self.reduced else {}),
            "copy_gb_per_s": round(copy, 1),
            "idle_cpu_percent": idle,
            "settings": self.notes,
            "left_out": self.failed,
        }


def relative_error(output: np.ndarray, truth: np.ndarray, mask: np.ndarray, limit: float) -> float:
    """RMS of the error over RMS of the truth, at real tokens. Raises ValueError for an engine that computes something else."""
    if output.shape != truth.shape or output.dtype != np.float32:
        raise ValueError(f"its result is {output.dtype} {output.shape}; float32 {truth.shape} was due")
    real = mask.astype(bool)
    difference = output[real].astype(np.float64) - truth[real]
    error = float(np.sqrt(np.mean(difference**2)) / np.sqrt(np.mean(truth[real] ** 2)))
    if not error <= limit:  # so that NaN is wrong too
        raise ValueError(f"its result is wrong: relative RMS error {error:.2g}")
    return error


def in_words(row: dict[str, Any]) -> str:
    times = sorted((engine["best_ms"], ALL[name].label) for name, engine in row["engines"].items())
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
    asked = [name for name in names if ALL[name].asked] if args.reduced else []
    steps = len(args.shapes) + len(asked) + len(args.threads) * len(names) * (1 + len(args.shapes) * (1 + rounds))
    questions = put_together(args.corpus) if asked else None  # before the hour in which a wrong folder would not show
    rows, at_threads = [], {}
    order = random.Random(0)
    with tqdm(total=steps, file=sys.stderr, smoothing=0.05, disable=None) as bar:
        checkpoint = encoder_checkpoint()
        known = truths(checkpoint, args.shapes, bar)
        for threads in args.threads:
            session = Session(names, threads, checkpoint, args.reduced, args.verbose, bar)
            for shape in args.shapes:
                rows.append(session.measure(shape, known[shape], rounds, budget, order))
                tqdm.write(f"{threads} threads, {shape}: {in_words(rows[-1])}", file=sys.stderr)
            at_threads[str(threads)] = session.close()
        answers = None
        if questions:

            def known_now(name: str) -> None:
                bar.set_description(f"answers of {ALL[name].label} are known")
                bar.update(name in asked)

            answers = ask_all(asked, questions, max(args.threads), args.verbose, known_now)
        bar.set_description("done")
    engines = {name: {"label": ALL[name].label, "ours": ALL[name].ours} for name in names}
    if args.reduced:
        engines = {name: facts | {"precision": ALL[name].precision} for name, facts in engines.items()}
    result = {"rounds": rounds, "budget_s": budget, "engines": engines, "threads": at_threads, "rows": rows}
    return result | ({"answers": answers} if args.reduced else {})


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser.add_argument(
        "--dtype",
        nargs="+",
        choices=("float32", "bfloat16", "int8"),
        default=["float32"],
        metavar="NAME",
        help="float32 alone, or bfloat16 and int8, which share a run (default: float32)",
    )
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
        choices=ENGINES | REDUCED,
        metavar="NAME",
        help=f"of {', '.join(ENGINES)} (default: the first seven); of reduced precision, {', '.join(REDUCED)}",
    )
    parser.add_argument(
        "--corpus",
        type=Path,
        metavar="FOLDER",
        help="BOOKS.md and the text of the demo's corpus, to ask for the 40,000 masked tokens of its held-out books",
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
    args.reduced = args.dtype != ["float32"]
    if args.reduced and "float32" in args.dtype:
        parser.error("--dtype float32 has a run of its own; ours stands beside the others in theirs")
    if args.corpus and not args.reduced:
        parser.error("--corpus is for --dtype bfloat16 or int8: float32's answers are what those are compared with")
    kinds = {"float32", *args.dtype}
    known = {name: x for name, x in (REDUCED if args.reduced else ENGINES).items() if x.precision in kinds}
    if unknown := set(args.engines or ()) - set(known):
        parser.error(
            f"--dtype {' '.join(args.dtype)} has no {', '.join(sorted(unknown))}; choose from {', '.join(known)}"
        )
    wanted = 2 if args.reduced else 1  # a file of one of them would take the place of both
    whole = not (args.quick or args.shapes or args.threads or args.engines or len(set(args.dtype)) != wanted)
    args.shapes = list(dict.fromkeys(args.shapes or (SHAPES[:3] if args.quick else SHAPES)))
    args.threads = list(dict.fromkeys(args.threads or [threads for threads in (1, 2) if threads <= cores]))
    chosen = args.engines or [name for name in (REDUCED_DEFAULT if args.reduced else DEFAULT) if name in known]
    args.engines = list(dict.fromkeys(chosen))
    args.output = args.output or (RESULTS if whole else None)
    return args


def main() -> None:
    args = arguments()
    reasons = {name: reason for name in args.engines if (reason := why_not(ALL[name]))}
    for name, reason in reasons.items():
        print(f"{ALL[name].label} left out: {reason}", file=sys.stderr)
    facts = machine()  # before anything runs: a working copy may move on while it does
    try:
        result = {"machine": facts} | measure_all(args, [name for name in args.engines if name not in reasons])
    except (OSError, ValueError) as error:  # no such corpus
        raise SystemExit(f"bench_cpu: {error}") from None
    result["not_installed"] = reasons
    if args.reduced:
        from reduced_report import markdown, plot
    else:
        from cpu_report import markdown, plot

    text = markdown(result)
    print(json.dumps(result, indent=1, ensure_ascii=False) if args.json else text)
    if args.output:
        stem = "cpu_reduced" if args.reduced else "cpu_forward"
        write(stem, result, args.output)
        (args.output / f"{stem}.md").write_text(text)
        plot(result, args.output / f"{stem}.png")
        print(f"written: {args.output}/{stem}.json, .md, .png", file=sys.stderr)


if __name__ == "__main__":
    main()
