"""The pictures of 01_text_to_logits.ipynb: how far a change of one word spreads, and the model's guesses as bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import PowerNorm

from support.plots import BLUE


def changes(before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]) -> np.ndarray:
    """(T, stations): by how much of its length each row (T, width) changes, between 0 and 2, at each station."""
    moved = [
        np.linalg.norm(after[name] - rows, axis=-1) / np.linalg.norm(rows, axis=-1) for name, rows in before.items()
    ]
    return np.stack(moved, axis=1)


def spread(changed: np.ndarray, pieces: Sequence[str], stations: Sequence[str], title: str) -> Any:
    """A row for each piece, a column for each station, and the change (T, stations) in per cent, or a dot for none."""
    figure, axis = plt.subplots(figsize=(7, 4.6))
    axis.imshow(changed, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=1.2), aspect="auto")
    for (row, column), value in np.ndenumerate(changed):
        text = f"{100 * value:.0f}" if value else "·"
        axis.text(column, row, text, ha="center", va="center", color="white" if value > 0.5 else "black")
    axis.set_xticks(range(len(stations)), stations)
    axis.set_yticks(range(len(pieces)), [piece.removeprefix("▁") for piece in pieces])
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    axis.set_xlabel("station: before the layer (rows of E and of H numbers), and after each use of the layer")
    axis.set_ylabel("row of the piece")
    axis.set_title(title)
    return figure


def bars(names: Sequence[str], probabilities: Sequence[float], title: str) -> Any:
    """Horizontal bars, the first one at the top. probabilities: between 0 and 1."""
    figure, axis = plt.subplots(figsize=(6, 2.4))
    drawn = axis.barh(names, [100 * p for p in probabilities], color=BLUE)
    axis.bar_label(drawn, fmt="%.1f %%", padding=3)
    axis.invert_yaxis()
    axis.margins(x=0.12)
    axis.tick_params(axis="y", length=0)
    axis.set_xlabel("probability in per cent")
    axis.set_title(title)
    return figure
