"""The network as boxes: each step with its words, code and weights, and its values in every application."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from albert_np import costs
from albert_np.calling import AlbertPreTrainedModel
from albert_np.explorer.words import words_of
from albert_np.golden.arithmetic import Exact
from albert_np.golden.graph import Step, evaluate
from albert_np.ops import Array

FIRST = 5  # values that are shown as numbers
STRIP = 32  # values that are shown as colours
DIGITS = 4
LEVELS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXY"  # from −30 to 30: 'u' is 0


def network_of(
    model: AlbertPreTrainedModel[Any], steps: list[Step], trace: Mapping[str, Array], batch: Mapping[str, Array]
) -> dict[str, Any]:
    """Boxes in the order of the graph, one for each step of a layer however often it is applied; sources; and counts."""
    shapes = {name: x.shape for name, x in model._tensors.items()}
    boxes: dict[str, dict[str, Any]] = {}
    sources: dict[str, dict[str, Any]] = {}
    work = 0
    for one in steps:
        if one.beside:
            continue
        x = trace[one.name] if one.name in trace else evaluate(one, batch, model._tensors, Exact())
        part = one.name if one.application is None else one.name.removeprefix(f"encoder.layer.{one.application}.")
        multiplications = _multiplications(one, x, shapes, model.config.hidden_size)
        work += multiplications
        if part not in boxes:
            words = words_of(part, dict(one.attributes))
            boxes[part] = {
                "part": part,
                "op": one.op,
                "layer": one.application is not None,
                "title": words.title,
                "says": words.says,
                "formula": words.formula,
                "letters": words.shape if x.ndim == 2 or "T" in words.shape else f"T × {words.shape}",
                "shape": list(x.shape[1:]),
                "work": multiplications,
                "code": [_source(sources, function) for function in words.code],
                "names": [],
                "values": [],
            }
        box = boxes[part]
        box["names"].append([one.module, [[name, list(shapes[name])] for name in one.weights]])
        box["values"].append(_values(x[0]))
    for box in boxes.values():  # of a layer that is shared they are the same in all applications
        if all(names == box["names"][0] for names in box["names"]):
            box["names"] = box["names"][:1]
    counts = _counts(model, shapes) | {"work": work}
    return {"boxes": list(boxes.values()), "sources": sources, "counts": counts, "levels": LEVELS}


# --- values -----------------------------------------------------------------------------------------------------------


def _values(x: Array) -> dict[str, Any]:  # (T,…), (N,T,T) or (H,)
    """For each token (or for the text) a strip of colours, the length of the whole list of numbers, and the first of them.

    Of scores and probabilities [head, query, key], a token's values are those of head 0, then of head 1 …
    """
    rows = x.transpose(1, 0, 2).reshape(x.shape[1], -1) if x.ndim == 3 else x.reshape(-1, x.shape[-1])
    largest = float(np.abs(rows[:, :STRIP]).max()) or 1.0
    found = []
    for row in rows:
        strip = "".join(LEVELS[30 + round(30 * v / largest)] for v in row[:STRIP].tolist())
        facts = [float(np.linalg.norm(row)), *row[:FIRST].tolist()]
        found.append([strip, *(float(f"{v:.{DIGITS}g}") for v in facts)])
    return {"of": rows.shape[-1], "largest": float(f"{largest:.{DIGITS}g}"), "rows": found}


# --- counts -----------------------------------------------------------------------------------------------------------


def _multiplications(one: Step, x: Array, shapes: Mapping[str, tuple[int, ...]], H: int) -> int:
    """The multiplications of matrices that a step takes: a product with a weight, and the two products of attention."""
    if one.op == "linear":
        return x.size * shapes[one.weights[0]][1]
    if one.op == "scores":  # N·T·T·D, and as many for each table of distances
        return x.shape[-1] ** 2 * H * (1 + costs.DISTANCES[dict(one.attributes).get("position_type", "absolute")])
    if one.op == "context":  # (B,T,H): each of its numbers is a sum over T tokens
        return x.size * x.shape[1]
    return 0


def _counts(model: AlbertPreTrainedModel[Any], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """Parameters: all that are stored, those of the stored layers, and how many there were if nothing were shared."""
    parts = costs.parameters(model.config, shapes)
    return {
        "stored": sum(stored for stored, _ in parts.values()),
        "layers": sum(stored for part, (stored, _) in parts.items() if part.startswith("shared layer")),
        "unshared": sum(unshared for _, unshared in parts.values()),
    }


# --- code -------------------------------------------------------------------------------------------------------------


def _source(sources: dict[str, dict[str, Any]], function: Callable[..., Any]) -> str:
    """The name under which a function's code is kept: its lines as they stand in the package."""
    module = function.__module__.removeprefix("albert_np.")
    name = f"{module}.{function.__name__}"
    if name not in sources:
        try:
            lines, first = inspect.getsourcelines(function)
        except OSError:  # a package without its sources
            lines, first = [], 0
        file = f"albert_np/{module.replace('.', '/')}.py"
        sources[name] = {"file": file, "first": first, "lines": [line.rstrip("\n") for line in lines]}
    return name
