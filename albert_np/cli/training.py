"""The options of the commands that train, and what they print at the end."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any


def training_options() -> argparse.ArgumentParser:
    """The options of every command that trains."""
    shared = argparse.ArgumentParser(add_help=False)
    out = shared.add_argument_group("what comes out, and when")
    out.add_argument("--output", required=True, metavar="DIR", help="where checkpoints, log.jsonl and loss.png go")
    out.add_argument("--resume", action="store_true", help="continue from the latest checkpoint in --output")
    out.add_argument("--hours", type=float, metavar="H", help="stop after this many hours, with a checkpoint")
    add_numbers(out, {"--log-every": (10, "steps between two lines of log.jsonl")})
    out.add_argument("--json", action="store_true", help="print JSON instead of text")
    how = shared.add_argument_group("how it trains")
    how.add_argument(
        "--optimizer",
        default="adamw",
        choices=("adamw", "lamb", "muon"),
        help="the rule of the updates (default: %(default)s)",
    )
    how.add_argument(
        "--warmup-steps",
        type=int,
        metavar="N",
        help="steps until the highest learning rate (default: a tenth of all steps)",
    )
    numbers = {
        "--accumulate": (1, "batches in a step"),
        "--seed": (0, "seed of new weights, of the order of the data, of masks and of dropout"),
    }
    add_numbers(how, numbers)
    how.add_argument(
        "--recompute", action="store_true", help="compute layers again instead of keeping them: less memory, more time"
    )
    how.add_argument("--backend", default="auto", metavar="NAME", help="numba, numpy or auto (default: %(default)s)")
    how.add_argument(
        "--dtype",
        default="float32",
        choices=("float32", "bfloat16"),
        help="what products of layers are computed in: bfloat16 needs the numba backend, and is faster where the CPU "
        "multiplies it (default: %(default)s)",
    )
    how.add_argument("--threads", type=int, metavar="N", help="threads of the numba backend")
    return shared


def add_numbers(group: Any, numbers: dict[str, tuple[int, str]]) -> None:
    for option, (default, what) in numbers.items():
        group.add_argument(option, type=int, default=default, metavar="N", help=f"{what} (default: %(default)s)")


def show(
    args: argparse.Namespace,
    trained: Any,
    counts: dict[str, dict[str, int]],
    lengths: dict[str, int] | None = None,
    class_weights: dict[str, float] | None = None,
) -> None:
    """Prints a training's result. lengths: what was given or chosen, in tokens."""
    if args.json:
        answer = {
            "step": trained.step,
            "stopped": trained.stopped,
            "checkpoint": str(trained.checkpoint),
            "metrics": trained.metrics,
            "best": trained.best,
            "data": counts,
        }
        if lengths is not None:
            answer["lengths"] = lengths
        if class_weights:
            answer["class_weights"] = class_weights
        print(json.dumps(answer))
        return
    for what, numbers in counts.items():
        print(f"{what}: " + ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in numbers.items() if n))
    if lengths is not None:
        print("in tokens: " + ", ".join(f"{name} {n}" for name, n in lengths.items()))
    if class_weights:
        print("class weights: " + ", ".join(f"{name} {weight:.4g}" for name, weight in class_weights.items()))
    print(f"step {trained.step}: {trained.checkpoint}")
    for name, value in trained.metrics.items():
        print(f"  {name:24} {'not finite' if value is None else f'{value:.4g}'}")
    if best_checkpoint(trained) != trained.checkpoint:
        print(f"best: {trained.best['metric']} {trained.best['value']:.4g} in {best_checkpoint(trained)}")


def best_checkpoint(trained: Any) -> Path:
    """The folder of the best checkpoint; the last one if none was evaluated."""
    if trained.best is None or trained.best["step"] == trained.step:
        return trained.checkpoint
    return trained.checkpoint.with_name(f"checkpoint-{trained.best['step']}")
