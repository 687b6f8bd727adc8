"""The log of a training, with one JSON object on each line, and its picture. After a stop it continues without repetition."""

from __future__ import annotations

import json
import math
import os
import warnings
from pathlib import Path
from typing import Any

from albert_np.files import atomic_path, write_atomically

LOG_NAME = "log.jsonl"
PICTURE_NAME = "loss.png"
SKIPPED = "skipped_batches"  # in a line: those in which no label counted


def append(path: Path, line: dict[str, Any]) -> None:
    """Adds one line, and waits until it is on the disk. NaN and infinity, which JSON does not have, become null."""
    clean = {name: finite(value) for name, value in line.items()}
    with path.open("ab") as file:
        file.write(json.dumps(clean, allow_nan=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> list[dict[str, Any]]:
    """All complete lines; a last line without its end, as after a kill, is left out. [] if there is no file.

    Raises ValueError for any other line that does not describe a step.
    """
    if not path.exists():
        return []
    *whole, _ = path.read_bytes().split(b"\n")
    lines = []
    for number, text in enumerate(whole, start=1):
        try:
            line = json.loads(text)
        except ValueError as error:
            raise ValueError(f"{path}, line {number} is not JSON: {error}") from error
        if not isinstance(line, dict) or not isinstance(line.get("step"), int):
            raise ValueError(f"{path}, line {number} is not a line of a training's log: it has no step")
        lines.append(line)
    return lines


def cut(path: Path, step: int) -> None:
    """Removes the lines after a step: a training that continues from there writes them again."""
    kept = [line for line in read(path) if line["step"] <= step]
    if path.exists():
        write_atomically(path, b"".join(json.dumps(line).encode() + b"\n" for line in kept))


def draw(log_path: Path, picture_path: Path) -> bool:
    """Draws the loss over the steps, and the evaluations, as a PNG. Without matplotlib it warns and returns False."""
    try:
        from matplotlib.figure import Figure  # not pyplot: no window system, no state shared with the caller's plots
    except ImportError:
        warnings.warn(
            f'matplotlib is not installed, so there is no {picture_path.name} (pip install "albert-np[train]")',
            stacklevel=2,
        )
        return False
    lines = read(log_path)
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    losses = [(line["step"], line["loss"]) for line in lines if line.get("loss") is not None]
    axes.plot(*zip(*losses, strict=True), color="C0", label="training loss") if losses else None
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.grid(alpha=0.3)
    evaluated = [(line["step"], line["evaluation"]) for line in lines if "evaluation" in line]
    names = list(dict.fromkeys(name for _, metrics in evaluated for name in metrics if name != SKIPPED))
    other = axes.twinx() if any("loss" not in name for name in names) else axes  # from 0 to 1, or 100
    for number, name in enumerate(names, start=1):
        points = [(step, metrics[name]) for step, metrics in evaluated if metrics.get(name) is not None]
        if points:
            where = axes if "loss" in name else other
            where.plot(*zip(*points, strict=True), "o--", color=f"C{number}", label=f"evaluation: {name}")
    if losses or evaluated:
        figure.legend(loc="outside upper center", ncols=4)
    with atomic_path(picture_path) as temporary:
        figure.savefig(temporary, format="png")
    return True


def finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: finite(inner) for name, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
