"""Pictures of the notebooks: one look, small files, and a text for those who cannot see them.

Colours are those of Okabe and Ito, which people with any colour vision tell apart.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import PIL.Image
from IPython.display import Image

BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW, GREY = COLOURS = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#F0E442",
    "#7F7F7F",
)
LOOK = {
    "axes.prop_cycle": plt.cycler(color=COLOURS),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "figure.figsize": (7, 3.6),
    "font.size": 10,
    "legend.frameon": False,
}
plt.rcParams.update(LOOK)
SHADES = 64  # of a picture's palette: a quarter of the bytes of the usual PNG
SCALE = 2 * SHADES  # for figures with a scale of colours, whose palest ones would turn white


def picture(figure: Any, alt: str, shades: int = SHADES) -> Image:
    """What a cell shows of a figure: a small PNG. alt: what there is to see, in a sentence. shades: colours it may have."""
    data = io.BytesIO()
    # colours are chosen to lie near every colour there is, also near those of few pixels, such as a colour bar's
    frame = _drawn(figure).quantize(shades, PIL.Image.Quantize.MAXCOVERAGE, kmeans=1)
    frame.save(data, "png", optimize=True)
    return Image(data.getvalue(), alt=alt)


def animation(figures: Sequence[Any], alt: str, seconds: float = 1.5, shades: int = SHADES) -> Image:
    """Figures of one size, one after the other, as a GIF that repeats. seconds: how long each stays. shades: as above."""
    drawn = [_drawn(figure) for figure in figures]
    strip = np.concatenate([np.asarray(frame) for frame in drawn])
    # with one palette, only what changes is stored
    palette = PIL.Image.fromarray(strip).quantize(shades, PIL.Image.Quantize.MAXCOVERAGE, kmeans=1)
    first, *others = [frame.quantize(palette=palette, dither=PIL.Image.Dither.NONE) for frame in drawn]
    data = io.BytesIO()
    times = [int(1000 * seconds)] * len(others) + [int(2000 * seconds)]  # the last one stays longer
    first.save(data, "gif", save_all=True, append_images=others, duration=times, loop=0, optimize=True)
    return Image(data.getvalue(), format="gif", alt=alt)


def _drawn(figure: Any) -> PIL.Image.Image:
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    plt.close(figure)
    return PIL.Image.open(drawn).convert("RGB")
