"""Gradients of a layer that is used several times: one model with shared weights, and its twin without sharing."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from support.plots import COLOURS, GREY

Array = np.ndarray
LAYER = "albert.encoder.albert_layer_groups.0.albert_layers.0."
MATRICES = ("query", "key", "value", "dense", "ffn", "ffn_output")
SHORT = {name: f"attention.{name}.weight" for name in MATRICES[:4]} | {name: f"{name}.weight" for name in MATRICES[4:]}


def untied(model: Any) -> Any:
    """A twin that stores L copies of the layer, one for each application, and so computes the same."""
    L = model.config.num_hidden_layers
    state = {}
    for name, array in model.state_dict().items():
        names = [in_group(name, i) for i in range(L)] if LAYER in name else [name]
        state |= dict.fromkeys(names, array)
    config = model.config.replace(num_hidden_groups=L)
    return type(model).from_pretrained(
        None, config=config, state_dict=state, backend=model.backend, dtype=model.dtype.name
    )


def in_group(name: str, group: int) -> str:
    """The name that a weight of the shared layer has in copy number `group`."""
    return name.replace("albert_layer_groups.0.", f"albert_layer_groups.{group}.")


def difference(model: Any, batch: dict[str, Any], name: str, place: tuple[int, ...], h: float) -> float:
    """(loss with +h − loss with −h) / 2h, where h is added to one number of one weight, which is then put back."""
    before = float(model.parameters_to_change()[name][place])
    losses = []
    for value in (before + h, before - h):
        model.parameters_to_change()[name][place] = value
        losses.append(float(model(**batch).loss))
    model.parameters_to_change()[name][place] = before
    return (losses[0] - losses[1]) / (2 * h)


def terms_of(gradients: dict[str, Array], names: list[str]) -> Array:  # -> (L,n)
    """The gradients of these weights as one long row for each application."""
    return np.concatenate([gradients[name].reshape(len(gradients[name]), -1) for name in names], axis=1)


def cosines(terms: Array) -> Array:  # (L,n) -> (L,L)
    """How well the directions agree: 1 the same, 0 at right angles, −1 opposite."""
    units = terms / np.linalg.norm(terms, axis=1, keepdims=True)
    return units @ units.T


def lengths_of_sum(terms: Array) -> tuple[float, float, float]:  # (L,n)
    """How long the sum would be if all terms pointed the same way, and at right angles to each other; and how long it is."""
    each = np.linalg.norm(terms, axis=1)
    return float(each.sum()), float(np.sqrt((each**2).sum())), float(np.linalg.norm(terms.sum(axis=0)))


def draw_terms(lengths: dict[str, Array]) -> Any:  # name -> (L,)
    """A group of bars for each application, a bar for each matrix."""
    figure, axis = plt.subplots(figsize=(7, 3.2))
    width = 0.8 / len(lengths)
    for i, (name, bars) in enumerate(lengths.items()):
        axis.bar(np.arange(1, len(bars) + 1) + (i - 2.5) * width, bars, width, color=COLOURS[i], label=name)
    axis.set(title="What each application adds to the gradient", xlabel="application", ylabel="length of its term")
    axis.set_ylim(0, 1.25 * max(bars.max() for bars in lengths.values()))
    axis.legend(ncols=6, fontsize=8, columnspacing=1, handlelength=1, loc="upper center")
    return figure


def draw_agreement(cosine: Array, sums: dict[str, tuple[float, float, float]]) -> Any:  # (L,L)
    """Left the cosines of each two terms; right the length of the sum between its two marks, for each matrix."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 3.2), width_ratios=(1.1, 1))
    left.imshow(cosine, cmap="PuOr", vmin=-1, vmax=1)
    L = len(cosine)
    for i in range(L):
        for j in range(L):
            ink = "white" if abs(cosine[i, j]) > 0.7 else "black"
            left.text(
                j, i, f"{cosine[i, j]:.1f}".replace("-0.0", "0.0"), ha="center", va="center", fontsize=8, color=ink
            )
    left.set_xticks(range(L), range(1, L + 1))
    left.set_yticks(range(L), range(1, L + 1))
    left.set(title="Cosine of two terms", xlabel="application", ylabel="application")
    for row, (aligned, perpendicular, found) in enumerate(sums.values()):
        right.barh(row, found / aligned, color=COLOURS[row], height=0.6)
        right.plot(perpendicular / aligned, row, "|", color="black", ms=14, mew=2)
    right.set_yticks(range(len(sums)), list(sums))
    right.invert_yaxis()
    right.axvline(1, color=GREY, lw=1)
    right.set(title="Length of the sum", xlabel="1: same way; black: right angles", xlim=(0, 1.05))
    return figure
