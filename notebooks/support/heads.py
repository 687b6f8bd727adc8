"""The pictures of 03_attention.ipynb: scores beside probabilities, and all heads of one application."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np


def two_steps(scores: np.ndarray, probs: np.ndarray, pieces: Sequence[str], titles: tuple[str, str]) -> Any:
    """One head: its scores (T, T) as an image, and what softmax makes of each row, beside it."""
    figure, axes = plt.subplots(1, 2, figsize=(7.4, 3.9), sharey=True)
    reach = np.abs(scores).max()
    looks = ({"cmap": "PuOr_r", "vmin": -reach, "vmax": reach}, {"cmap": "Blues", "vmin": 0, "vmax": 1})
    for axis, array, look, title in zip(axes, (scores, probs), looks, titles, strict=True):
        drawn = axis.imshow(array, **look)
        axis.set_xticks(range(len(pieces)), _words(pieces), rotation=90)
        axis.set_xlabel("key: what is looked at")
        axis.set_title(title)
        axis.tick_params(length=0)
        figure.colorbar(drawn, ax=axis, shrink=0.7).ax.set_ylim(array.min(), array.max())
    axes[0].set_yticks(range(len(pieces)), _words(pieces))
    axes[0].set_ylabel("query: who looks")
    return figure


def all_heads(probs: np.ndarray, pieces: Sequence[str], title: str) -> Any:
    """Each head's probabilities (N, T, T) as a small image. Pieces are written at the left of the first image of a row."""
    rows = 2
    figure, axes = plt.subplots(rows, len(probs) // rows, figsize=(7.4, 4.4), sharex=True, sharey=True)
    for head, axis in enumerate(axes.ravel()):
        axis.imshow(probs[head], cmap="Blues", vmin=0, vmax=1)
        axis.set_title(f"head {head}", fontsize=10, loc="center")
        axis.set_xticks([])
        axis.tick_params(length=0)
    for axis in axes[:, 0]:
        axis.set_yticks(range(len(pieces)), _words(pieces), fontsize=8.5)
    figure.supxlabel("key: the same pieces, from left to right", fontsize=10)
    figure.suptitle(title, fontsize=12)
    return figure


def _words(pieces: Sequence[str]) -> list[str]:
    """Pieces without the sign of a word's beginning, which is hard to read when it is turned."""
    return [piece.removeprefix("▁") for piece in pieces]
