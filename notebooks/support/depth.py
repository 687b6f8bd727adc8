"""One layer at any depth: the same weights, applied another number of times."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import BoundaryNorm

from support.plots import BLUE, COLOURS, GREY, ORANGE

Array = np.ndarray


def applied(model: Any, times: int) -> Any:
    """A model with the same weights, whose layer is applied so many times."""
    config = model.config.replace(num_hidden_layers=times)
    return type(model).from_pretrained(
        None, config=config, state_dict=model.state_dict(), backend=model.backend, dtype=model.dtype.name
    )


def distances(states: Array) -> Array:  # (L+1,T,H) -> (L,T)
    """How far each application moves the state of each token: ‖after − before‖."""
    return np.linalg.norm(states[1:] - states[:-1], axis=-1)


def angles(states: Array) -> Array:  # (L+1,T,H) -> (L,T)
    """The angle in degrees between the state of each token before and after an application."""
    before, after = states[:-1], states[1:]
    lengths = np.linalg.norm(before, axis=-1) * np.linalg.norm(after, axis=-1)
    return np.degrees(np.arccos(np.clip((before * after).sum(axis=-1) / lengths, -1, 1)))


def spread(states: Array) -> Array:  # (L+1,T,H) -> (L+1,)
    """How far the tokens of a text are from their common mean, on average."""
    return np.linalg.norm(states - states.mean(axis=1, keepdims=True), axis=-1).mean(axis=-1)


def draw_moves(states: list[Array], trained: int) -> Any:
    """The two panels of the paper's figure 1: a pale line for each text, and their mean."""
    figure, axes = plt.subplots(1, 2, figsize=(7, 3.2))
    what = (
        ("Distance of a step", distances, "‖after − before‖"),
        ("Angle of a step", angles, "degrees"),
    )
    for axis, (title, measure, unit) in zip(axes, what, strict=True):
        lines = np.stack([measure(one).mean(axis=-1) for one in states])  # (texts, L)
        number = np.arange(1, lines.shape[1] + 1)
        axis.axvspan(0.5, trained + 0.5, color=GREY, alpha=0.15, lw=0)
        axis.plot(number, lines.T, color=BLUE, alpha=0.4, lw=1, label=["each text", *[None] * (len(lines) - 1)])
        axis.plot(number, lines.mean(axis=0), color=BLUE, marker="o", ms=4, lw=2, label="their mean")
        axis.set_xticks(range(trained, len(number) + 1, trained))
        axis.legend()
        axis.set(title=title, xlabel="application", ylabel=unit, xlim=(0.5, number[-1] + 0.5), ylim=(0, None))
        axis.text(trained / 2 + 0.5, 0, "trained", ha="center", va="bottom", color=GREY)
    return figure


DOTS = 60  # of a path: one for each of its first applications; later ones lie too close


def draw_paths(paths: list[Array], names: list[str], first: int) -> Any:  # (L+1,H) each
    """Each path as a line in the plane in which their points differ most, from the application `first` on."""
    points = np.concatenate([path[first:] for path in paths])
    middle = points.mean(axis=0)
    plane = np.linalg.svd(points - middle, full_matrices=False)[2][:2]
    figure, axis = plt.subplots(figsize=(7, 3.7))
    for i, (path, name, colour) in enumerate(zip(paths, names, COLOURS, strict=False)):
        there = sum(
            np.linalg.norm(path[-1] - other[-1]) < 1 for other in paths[:i]
        )  # stars that are at this end already
        x, y = plane @ (path[first:] - middle).T
        axis.plot(x, y, color=colour, lw=1.2, marker=".", ms=3, markevery=slice(0, DOTS), label=name)
        axis.plot(x[0], y[0], "o", color=colour, ms=6, mfc="white")
        axis.plot(x[-1], y[-1], "*", color=colour, ms=19 if not there else 11, mec="white")
    axis.set_aspect("equal")
    axis.set(title=f"From application {first} (ring) to {len(paths[0]) - 1} (star); dots: the first {DOTS} of them")
    axis.set(xlabel="first direction", ylabel="second direction")
    axis.legend(loc="upper left", fontsize=9)
    return figure


LEVELS = (0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1)  # of probabilities: few colours make small pictures


def draw_head(probs: Array, pieces: list[str], title: str) -> Any:  # (T,T)
    """Who attends to whom in one head: a row for each token, a column for each token that it may look at."""
    figure, axis = plt.subplots(figsize=(4.0, 3.5))
    colours = plt.get_cmap("Blues", len(LEVELS) - 1)
    image = axis.imshow(probs, cmap=colours, norm=BoundaryNorm(LEVELS, colours.N))
    words = [piece.lstrip("▁") for piece in pieces]
    axis.set_xticks(range(len(words)), words, rotation=90, fontsize=9)
    axis.set_yticks(range(len(words)), words, fontsize=9)
    axis.set(title=title, xlabel="key: what is looked at", ylabel="query: who looks")
    bar = figure.colorbar(image, shrink=0.8, spacing="uniform")
    bar.ax.set_title("probability", fontsize=9, loc="right")
    even = 1 / len(pieces)
    bar.ax.axhline(even, color="black", lw=2)
    bar.ax.annotate("1/T", (0, even), (-3, 0), textcoords="offset points", ha="right", va="center")
    return figure


def draw_early_exit(stops: list[int], right: list[float], trained: int) -> Any:
    """How often the first answer is right, over the applications after which we stop."""
    figure, axis = plt.subplots(figsize=(7, 3))
    axis.plot(range(len(stops)), 100 * np.array(right), color=BLUE, marker="o")
    axis.plot(stops.index(trained), 100 * right[stops.index(trained)], "o", color=ORANGE, ms=9, label="as trained")
    axis.set_xticks(range(len(stops)), [str(stop) for stop in stops])
    axis.set(title="First answer right", xlabel="stopped after so many applications", ylabel="% of hidden tokens")
    axis.set_ylim(0, None)
    axis.legend()
    return figure
