"""What 02_embeddings.ipynb draws and asks of the tables: which rows are near, and what a table costs."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from support.plots import BLUE, GREY, RED

NO_LINES = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}  # behind a text


def cosines(rows: np.ndarray, others: np.ndarray) -> np.ndarray:  # (n, E), (m, E) -> (n, m)
    """The cosine of the angle between each row and each of the others: 1 for one direction, 0 at right angles."""
    lengths = np.linalg.norm(rows, axis=1)[:, None] * np.linalg.norm(others, axis=1)[None, :]
    return rows @ others.T / lengths


def nearest(table: np.ndarray, number: int, count: int) -> list[tuple[int, float]]:
    """(row number, cosine) of the rows that point most nearly the way of one row, which is left out; the nearest first."""
    near = cosines(table[number][None], table)[0]
    order = [int(row) for row in np.argsort(-near) if row != number]
    return [(row, float(near[row])) for row in order[:count]]


def likeness(alike: np.ndarray, title: str, of: str) -> Any:
    """A table of cosines (n, n) as an image. of: what its rows and columns are."""
    figure, axis = plt.subplots(figsize=(5.2, 4.2))
    drawn = axis.imshow(alike, cmap="Blues", vmin=0, vmax=1)
    axis.set_xlabel(of)
    axis.set_ylabel(of)
    axis.set_title(title)
    figure.colorbar(drawn, label="cosine", shrink=0.9)
    return figure


def cost(V: int, E: int, sizes: dict[str, int]) -> Any:
    """Two panels: parameters against E for the smallest and the largest of sizes (name -> H), and against H for this E."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.4, 3.8), sharey=True)
    ends = sorted(sizes.items(), key=lambda item: item[1])
    for (name, H), colour in zip((ends[0], ends[-1]), (BLUE, RED), strict=True):
        widths = np.geomspace(16, H, 200)
        left.loglog(widths, widths * (V + H) / 1e6, color=colour)
        left.axhline(V * H / 1e6, color=colour, linestyle="--")
        left.text(14, V * H / 1e6 * 1.15, f"{name}, wide: V·H", color=colour, bbox=NO_LINES)
        left.plot(E, E * (V + H) / 1e6, "o", color=colour)
    left.axvline(E, color=GREY, linewidth=1, zorder=0)
    left.text(160, 1.6, "narrow: V·E + E·H")
    left.set_xticks([16, E, *(H for _, H in (ends[0], ends[-1]))], ["16", str(E), str(ends[0][1]), str(ends[-1][1])])
    left.set_xlabel("E: numbers of a row in the table")
    left.set_ylabel("parameters in millions")
    left.set_title("Size of the table, against E")

    hidden = np.geomspace(ends[0][1] / 1.3, ends[-1][1] * 1.3, 100)
    right.plot(hidden, V * hidden / 1e6, "--", color=GREY)
    right.plot(hidden, E * (V + hidden) / 1e6, color=GREY)
    for name, H in sizes.items():
        right.plot(
            [H, H], [V * H / 1e6, E * (V + H) / 1e6], "o", color={ends[0][0]: BLUE, ends[-1][0]: RED}.get(name, GREY)
        )
        right.text(H * 0.93, V * H / 1e6 * 1.12, name, ha="right")
    right.text(ends[0][1], E * (V + ends[0][1]) / 1e6 * 1.25, "narrow: V·E + E·H")
    right.text(ends[1][1] * 1.25, V * ends[1][1] / 1e6 * 0.88, "wide: V·H")
    right.set_xscale("log")
    right.set_xticks(list(sizes.values()), [str(H) for H in sizes.values()])
    right.set_ylim(0.4, 300)
    right.set_yticks([1, 10, 100], ["1", "10", "100"])
    right.set_xlabel("H: numbers inside the layers")
    right.set_title(f"… and against H, with E = {E}")
    for axis in (left, right):
        axis.minorticks_off()
    return figure
