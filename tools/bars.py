"""A picture of bars as SVG, written by hand: the same numbers give the same text, so a test can say whether it is current."""

from __future__ import annotations

import html
from typing import NamedTuple

WIDTH, LEFT, RIGHT, BAR, GAP, GROUP_GAP = 700, 170, 70, 15, 3, 14
COLOURS = ("#0072B2", "#D55E00", "#999999", "#009E73", "#CC79A7", "#56B4E9")  # Okabe and Ito: colour-blind-safe
FONT = "font-family='system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif'"


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
    most = bars.most or max(value for values in bars.groups.values() for value in values if value is not None)
    scale = (WIDTH - LEFT - RIGHT) / most
    head = 58 + (18 if len(bars.series) > 1 else 0)
    parts, y = [], head
    for name, values in bars.groups.items():
        there = [(i, value) for i, value in enumerate(values) if value is not None]
        middle = y + (len(there) * (BAR + GAP) - GAP) / 2 + 4
        parts.append(text(LEFT - 10, middle, name, anchor="end"))
        for i, value in there:
            length = max(1.0, min(value, most) * scale)
            parts.append(
                f"<rect x='{LEFT}' y='{y}' width='{length:.1f}' height='{BAR}' fill='{COLOURS[i]}' rx='2'>"
                f"<title>{html.escape(f'{name}, {bars.series[i]}: {value:.{bars.digits}f} {bars.unit}')}</title></rect>"
            )
            parts.append(text(LEFT + length + 6, y + BAR - 3, f"{value:.{bars.digits}f}", size=12))
            y += BAR + GAP
        y += GROUP_GAP
    if bars.line is not None:
        at, name = LEFT + bars.line[0] * scale, bars.line[1]
        parts.append(
            f"<line x1='{at:.1f}' x2='{at:.1f}' y1='{head - 6}' y2='{y - 8}' stroke='#333' stroke-dasharray='4 3'/>"
        )
        parts.append(text(at, y + 8, name, size=12, anchor="middle"))
        y += 18
    legend, x = [], LEFT
    if len(bars.series) > 1:
        for i, name in enumerate(bars.series):
            legend.append(f"<rect x='{x}' y='50' width='12' height='12' fill='{COLOURS[i]}' rx='2'/>")
            legend.append(text(x + 17, 61, name, size=13))
            x += 32 + round(7.3 * len(name))
    top = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {y + 6}' width='{WIDTH}' height='{y + 6}' "
        f"role='img' {FONT}>",
        f"<title>{html.escape(bars.title)}</title>",
        f"<rect width='{WIDTH}' height='{y + 6}' fill='#fff' rx='8'/>",
        text(16, 24, bars.title, size=16, weight="600"),
        text(16, 42, bars.unit, size=13, fill="#555"),
    ]
    return "\n".join([*top, *legend, *parts, "</svg>\n"])


def text(
    x: float, y: float, words: str, *, size: int = 13, anchor: str = "start", fill: str = "#222", weight: str = "400"
) -> str:
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' font-size='{size}' text-anchor='{anchor}' fill='{fill}' font-weight='{weight}'>"
        f"{html.escape(words)}</text>"
    )
