"""A picture of bars as SVG, in which words stay words: `texts` tells whether two pictures show the same."""

from __future__ import annotations

import html
import io
import re
from typing import NamedTuple

import matplotlib as mpl
from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#999999", "#009E73", "#CC79A7", "#56B4E9")  # Okabe and Ito: colour-blind-safe
LOOK = {"svg.fonttype": "none", "svg.hashsalt": "albert_np", "font.size": 10, "axes.titlelocation": "left"}
BAR, GAP, HEAD = 0.21, 0.11, 1.0  # inches: a bar, the room between groups, title and legend


class Bars(NamedTuple):
    """Groups of horizontal bars: in each group a value for every series, None where it has none."""

    title: str
    unit: str
    series: list[str]
    groups: dict[str, list[float | None]]
    digits: int = 2
    most: float | None = None  # the end of the axis
    line: tuple[float, str] | None = None  # a value that is marked, and its name


def svg(bars: Bars) -> str:
    """The picture, on a light ground of its own, so that it can be read in dark mode too."""
    found: list[tuple[int, float, float]] = []  # series, place, value
    ticks, place = [], 0.0
    for values in bars.groups.values():
        there = [(series, value) for series, value in enumerate(values) if value is not None]
        found += [(series, place + i * BAR, value) for i, (series, value) in enumerate(there)]
        ticks.append(place + (len(there) - 1) * BAR / 2)
        place += len(there) * BAR + GAP
    with mpl.rc_context(LOOK):
        figure = Figure((7.3, place + HEAD), layout="constrained")
        axis = figure.subplots()
        for series, name in enumerate(bars.series):
            places, values = zip(*((y, value) for one, y, value in found if one == series), strict=True)
            drawn = axis.barh(places, values, 0.85 * BAR, color=COLOURS[series], label=name)
            axis.bar_label(drawn, fmt=f"%.{bars.digits}f", padding=4, fontsize=9)
        if bars.line is not None:
            axis.axvline(bars.line[0], color="#333333", linestyle="--", linewidth=1)
            ground = {"facecolor": "white", "edgecolor": "none", "pad": 1}
            axis.text(bars.line[0], place - GAP, bars.line[1], ha="center", va="center", fontsize=9, bbox=ground)
        if len(bars.series) > 1:
            figure.legend(loc="outside lower center", ncols=len(bars.series), frameon=False)
        axis.set_title(bars.unit, fontsize=10, color="#555555")
        figure.suptitle(bars.title, x=0.01, ha="left", fontsize=12, fontweight="bold")
        axis.set_yticks(ticks, list(bars.groups))
        axis.set_ylim(place - GAP / 2, -BAR)
        axis.set_xlim(0, bars.most and 1.06 * bars.most)
        axis.set_xticks([])
        axis.tick_params(length=0)
        axis.spines[["top", "right", "bottom"]].set_visible(False)
        axis.margins(x=0.08)
        data = io.StringIO()
        figure.savefig(data, format="svg", metadata={"Date": None, "Creator": None, "Title": bars.title})
    return data.getvalue()


def texts(picture: str) -> list[str]:
    """The words and numbers of such a picture, in their order. Where they stand differs between versions of matplotlib."""
    return [html.unescape(text) for text in re.findall(r"<text [^>]*>([^<]*)</text>", picture)]
