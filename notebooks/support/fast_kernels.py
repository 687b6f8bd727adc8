"""What 13_cuda_fast_kernels.ipynb imports: runs of one kernel each, the checks of its exercises, and its drawings.

support.cuda is to be imported before, and brings the simulator.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

from albert_np import ops
from albert_np.backends.cuda.ops import CudaOps
from albert_np.kernels.cuda.attention import attention, naive_attention
from albert_np.kernels.cuda.kernel import Kernel, ceil_div
from albert_np.kernels.cuda.matmul import LARGE, SMALL, matmul, naive_matmul, tiled_matmul
from albert_np.kernels.cuda.run import get, put, run, unwritten
from albert_np.kernels.cuda.target import cuda

from .cuda import Touch, count, floats, touched, watching
from .plots import BLUE, COLOURS, GREEN, GREY, ORANGE

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
LINE = 128 // 4  # float32 numbers of one line of memory, which is what a GPU fetches


# --- runs --------------------------------------------------------------------------------------------------------------


def first_load(touches: list[Touch]) -> list[np.ndarray]:
    """The numbers that each lane of the first warp takes with its first instruction that reads the first array."""
    found: dict[int, np.ndarray] = {}
    for touch in touches:
        if touch.block == (0, 0, 0) and touch.thread < 32 and touch.array == 0 and touch.does == "reads":
            found.setdefault(touch.thread, touch.numbers)
    return [found[lane] for lane in range(32)]


def lines(load: list[np.ndarray]) -> int:
    """How many lines of memory a load of a warp touches."""
    return len({int(number) // LINE for numbers in load for number in numbers})


def products() -> dict[str, tuple[float, float]]:
    """Of each matmul, the numbers that one multiply-add reads from global and from shared memory: counted in one block."""
    rng, found = np.random.default_rng(0), {}
    kernels = {
        "plain": (naive_matmul, 16, 1),
        "tiled\n16 × 16": (tiled_matmul, 16, 1),
        "4 × 4 sums\n32 × 32": (matmul(SMALL), 32, 4),
        "8 × 8 sums\n128 × 128": (matmul(LARGE), 128, 8),
    }
    for name, (kernel, R, sums) in kernels.items():
        (a, b), zeros, out = floats(rng, 2, R, R), put(np.zeros(R), np.float32), unwritten(R, R)
        given = (put(a), put(b), zeros, out) if sums == 1 else (put(a), R, put(b), R, zeros, None, 0, out, R)
        numbers = count(touched(kernel, (1, 1), *given, R, R, R))
        assert np.allclose(get(out), a.astype(float) @ b, rtol=0, atol=1e-4), name
        bias = R * R  # one read of the bias for each result
        found[name] = ((numbers["global reads"] - bias) / R**3, numbers.get("shared reads", 0) / R**3)
    return found


class Attended(NamedTuple):
    """One head's attention: what it makes, and the numbers that it reads and writes in global memory."""

    context: np.ndarray  # (T,D)
    moved: int


def attend(way: str, q: np.ndarray, k: np.ndarray, v: np.ndarray) -> Attended:
    """way: "plain", a thread a query; "over scores", which writes them to memory; "fused", which does not."""
    T, D = q.shape
    out, scale = unwritten(T, D), D**-0.5
    if way == "plain":
        seen = put(np.ones((1, T)), np.uint8)
        touches = touched(naive_attention, (1,), put(q), put(k), put(v), seen, out, 1, 1, T, D, scale)
    elif way == "fused":
        starts, kernel = put([0, T], np.int32), attention(D, "none", False)
        grid = (ceil_div(T, 32), 1, 1)
        touches = touched(kernel, grid, put(q), put(k), put(v), D, out, D, starts, None, None, T, scale, 0)
    else:
        how = ops.Attending(np.ones((1, 1, 1, T), bool), 1)
        with watching() as touches:
            context = CudaOps().attention(q[None], k[None], v[None], how)[0]
        return Attended(np.asarray(context)[0], _moved(touches))
    return Attended(get(out), _moved(touches))


def _moved(touches: list[Touch]) -> int:
    numbers = count(touches)
    return numbers["global reads"] + numbers["global writes"]


def moved_by_formula(way: str, T: Any, D: int) -> Any:
    """What `attend` counts, for any T tokens and heads of size D up to 64."""
    if way == "plain":  # three times all keys, one time all values, and its own result again and again
        return T * D * (9 * T + 1)
    if way == "over scores":  # two products in tiles of 16 × 16, and the softmax between them
        return T * D * (1 + 3 * -(-T // 16)) + T * T * (3 + -(-D // 16))
    return T * D * (2 + 2 * -(-T // 32))  # fused: queries and results once, keys and values once for 32 queries


def in_float64(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: x.astype(np.float64) for name, x in tensors.items()}


class Figure(NamedTuple):
    """The speed of one kernel on a GPU, as a share of its peer's: of cuBLAS for a product, of a copy for rows."""

    predicted: float
    measured: float | None


# names in benchmarks/results/cuda_predicted.json -> in cuda.json, and the share there
KERNELS = {
    "matmul float32 4096³": ("matmul 4096×4096×4096", "of_cublas"),
    "matmul bfloat16 8192³": ("matmul bfloat16 8192×8192×8192", "of_cublas"),
    "layer_norm": ("layer_norm", "of_copy"),
    "softmax": ("softmax", "of_copy"),
}


def gpu_figures() -> tuple[str, dict[str, Figure]]:
    """Where benchmarks/results/cuda.json was measured ("" without such a file), and the figures of some kernels."""
    predicted = json.loads((RESULTS / "cuda_predicted.json").read_text())["predicted"]["kernel"]
    path = RESULTS / "cuda.json"
    measured = json.loads(path.read_text()) if path.exists() else {"gpu": "", "kernels": {}}
    found = {}
    for name, (there, share) in KERNELS.items():
        found[name] = Figure(predicted[name]["predicted ÷ peer"], measured["kernels"].get(there, {}).get(share))
    return measured["gpu"], found


def on_a_warp(function: Callable[..., Any], x: np.ndarray) -> np.ndarray:  # (32,) -> (32,)
    """What each of 32 lanes gets from function(x), of which it holds one number."""

    def warp(x, out):  # type: ignore[no-untyped-def]
        lane = cuda.threadIdx.x
        out[lane] = function(x[lane])

    out = unwritten(32)
    run(Kernel(warp, "FF", 32), (1,), put(x, np.float32), out)
    return get(out)


# --- checks of the exercises -------------------------------------------------------------------------------------------


def check_warp_max(function: Callable[..., Any]) -> None:
    """Exercise 13.1: each lane's number -> the largest of all 32, on every lane."""
    rng = np.random.default_rng(1)
    for x in (np.arange(32), np.arange(32)[::-1], floats(rng, 32), -5 - np.abs(floats(rng, 32))):
        found = on_a_warp(function, x.astype(np.float32))
        assert not np.isnan(found).any(), "largest: returns no number yet"
        right = int(np.sum(found == x.astype(np.float32).max()))
        assert right == 32, f"largest: {right} of 32 lanes have the largest number"
    print("right: all 32 lanes have the largest number")


def check_add_tile(function: Callable[..., Any]) -> None:
    """Exercise 13.2: the softmax's mixture of values, a tile of keys at a time, for scores that grow past what exp can hold."""
    rng = np.random.default_rng(2)
    for slope in (0, 8, -8):
        scores = rng.standard_normal(96) + slope * np.arange(96)
        values = rng.standard_normal((96, 4))
        state = (-np.inf, 0.0, np.zeros(4))
        for first in range(0, 96, 32):
            try:
                with np.errstate(over="raise"):
                    state = function(*state, scores[first : first + 32], values[first : first + 32])
            except FloatingPointError:
                raise AssertionError("add_tile: exp of a large score is too large: take the top off before") from None
            assert isinstance(state, tuple) and len(state) == 3, "add_tile: returns no top, total, mixed yet"
        top, total, mixed = state
        expected = ops.softmax(scores) @ values
        assert top == scores.max(), f"add_tile: top is {top:.4g}; the largest score is {scores.max():.4g}"
        wrong = np.abs(mixed / total - expected).max()
        assert wrong < 1e-12, (
            f"add_tile: mixed / total is off by {wrong:.2g} where scores change by {slope} from key to key"
        )
    print("right: the same as the softmax of all scores at once")


# --- drawings ----------------------------------------------------------------------------------------------------------


def draw_loads(loads: dict[str, list[np.ndarray]], rows: int, H: int) -> Any:
    """What one load of a warp needs of an array (rows, H), and which lines of memory it touches for that."""
    figure, axes = plt.subplots(1, len(loads), figsize=(7, 3.1), sharey=True)
    for axis, (title, load) in zip(axes, loads.items(), strict=True):
        shown = np.zeros(rows * H)
        needed = np.concatenate(load)
        for line in set((needed // LINE).tolist()):
            shown[line * LINE : (line + 1) * LINE] = 1
        shown[needed] = 2
        colours = np.array([[240, 240, 240], [0xF6, 0xD5, 0x8C], [0, 0x72, 0xB2]], np.uint8)
        axis.imshow(colours[shown.astype(int).reshape(rows, H)], aspect="auto", interpolation="nearest")
        axis.set(title=f"{title}: {lines(load)} lines", xlabel="place in the row", xlim=(-3, H), ylim=(rows, -1.5))
        axis.set_xticks(range(0, H + 1, LINE))
        axis.spines[["left", "bottom"]].set_visible(False)
    axes[0].set(ylabel="row of x", yticks=range(0, rows + 1, 8))
    names = {"needed": BLUE, "fetched with it": "#F6D58C", "not touched": "#F0F0F0"}
    handles = [Rectangle((0, 0), 1, 1, facecolor=c, edgecolor=GREY, linewidth=0.4, label=n) for n, c in names.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def draw_shuffles(steps: list[int]) -> Any:
    """What lane 0 and lane 31 take in, step by step; the other lanes do the same at the same time."""
    figure, axis = plt.subplots(figsize=(7, 3.2))
    for last, colour in ((0, ORANGE), (31, BLUE)):
        needed = [{last}]  # from the last level up: the lanes whose sums the level below needs
        for step in reversed(steps):
            needed.insert(0, needed[0] | {lane ^ step for lane in needed[0]})
        for level, step in enumerate(steps):
            for lane in needed[level + 1]:
                for source in (lane, lane ^ step):
                    # hairlines without smooth edges: fewer bytes
                    axis.plot([source, lane], [level, level + 1], color=colour, linewidth=0.72, antialiased=False)
    for level in range(len(steps) + 1):
        axis.scatter(range(32), [level] * 32, 14, GREY, zorder=3)
        says = "each lane has its number" if level == 0 else f"from {steps[level - 1]} away: sums of {2**level}"
        axis.text(32.2, level, says, va="center", fontsize=9)
    axis.set(title="Five shuffles add 32 numbers: what lanes 0 and 31 take in", xlabel="lane")
    axis.set(xticks=[0, 8, 16, 24, 31], yticks=[], xlim=(-0.6, 43), ylim=(5.3, -0.3))
    axis.xaxis.set_label_coords(0.36, -0.1)
    axis.spines[["left", "bottom"]].set_visible(False)
    return figure


def draw_reads(reads: dict[str, tuple[float, float]]) -> Any:
    """Numbers that one multiply-add reads, from both memories."""
    figure, axis = plt.subplots(figsize=(7, 3.3))
    for i, (where, colour) in enumerate((("global memory, slow", ORANGE), ("shared memory, fast", BLUE))):
        heights = [pair[i] for pair in reads.values()]
        bars = axis.bar(np.arange(len(reads)) + 0.4 * i - 0.2, heights, 0.38, label=where, color=colour)
        axis.bar_label(bars, fmt="{:.3g}", padding=2)
    axis.set(title="Numbers that one multiply-add reads, counted", ylabel="numbers", ylim=(0, 2.3))
    axis.set_xticks(range(len(reads)), reads)
    axis.legend()
    return figure


def draw_attention(lengths: np.ndarray, D: int, heads: int) -> Any:
    """What each way of attention reads and writes in global memory, by formula."""
    figure, axis = plt.subplots(figsize=(7, 3.5))
    for way, colour, marker in (("plain", ORANGE, "o"), ("over scores", GREEN, "s"), ("fused", BLUE, "D")):
        megabytes = 4 * heads * moved_by_formula(way, lengths, D) / 1e6
        axis.loglog(lengths, megabytes, marker + "-", color=colour, markersize=5)
        axis.text(lengths[-1] * 1.12, megabytes[-1], f"{way}\n{megabytes[-1]:,.0f} MB", color=colour, va="center")
    axis.set(
        title=f"What attention moves in one layer: {heads} heads of size {D}", xlim=(lengths[0] * 0.85, lengths[-1] * 2)
    )
    axis.set(xlabel="tokens T", ylabel="megabytes, read and written")
    axis.minorticks_off()
    axis.set_xticks(lengths, lengths)
    axis.set_yticks([1, 10, 100, 1000, 10000], ["1", "10", "100", "1,000", "10,000"])
    return figure


def draw_owners(touches: list[Touch], rows: int, columns: int) -> Any:
    """Which lane of a warp wrote each number of a result."""
    owner = np.zeros(rows * columns, int)
    for touch in touches:
        if touch.does == "writes":
            owner[touch.numbers] = touch.thread
    figure, axis = plt.subplots(figsize=(7, 3.9))
    owner = owner.reshape(rows, columns)
    shades = [COLOURS[i] for i in (5, 1, 2, 4)]  # by lane % 4
    for row in range(rows):
        edges = [0, *(np.flatnonzero(np.diff(owner[row])) + 1), columns]
        for start, end in zip(edges, edges[1:], strict=False):  # neighbours of one lane are one field
            lane, width = owner[row, start], end - start
            look = {"facecolor": shades[lane % 4], "alpha": 0.35 + 0.5 * (lane // 4 % 2), "edgecolor": "white"}
            axis.add_patch(Rectangle((start, row), width, 1, **look))
            axis.text(start + width / 2, row + 0.53, str(lane), ha="center", va="center", fontsize=8)
    axis.set(title="The lane that holds each sum of one tensor-core product", xlabel="column", ylabel="row")
    axis.set(xlim=(0, columns), ylim=(rows, 0))
    axis.set_xticks(np.arange(columns) + 0.5, range(columns))
    axis.set_yticks(np.arange(0, rows, 4) + 0.5, range(0, rows, 4))
    axis.tick_params(length=0)
    return figure


def draw_figures(gpu: str, figures: dict[str, Figure]) -> Any:
    """Bars of gpu_figures(): what was predicted, and what was measured."""
    kinds = [("#c8c8c8", "PREDICTED for an NVIDIA H200", [each.predicted for each in figures.values()])]
    if gpu:
        kinds.append((BLUE, f"MEASURED on {gpu.partition(',')[0]}", [each.measured for each in figures.values()]))
    figure, axis = plt.subplots(figsize=(7, 2.4 + 0.4 * len(kinds)))
    places, width = np.arange(len(figures)), 0.8 / len(kinds)
    for i, (colour, label, shares) in enumerate(kinds):
        there = [(place, share) for place, share in zip(places, shares, strict=True) if share is not None]
        at = [place + (i - (len(kinds) - 1) / 2) * width for place, _ in there]
        bars = axis.barh(at, [share for _, share in there], 0.9 * width, color=colour, label=label, zorder=2)
        axis.bar_label(bars, fmt="{:.2f}", padding=4, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})
    says = "Predicted and measured" if gpu else "PREDICTED, not measured"
    axis.set(title=f"{says}: speed, as a share of the peer's", xlabel="share of the peer's speed")
    axis.set_yticks(places, [f"{name}\n÷ {'cuBLAS' if 'matmul' in name else 'a copy'}" for name in figures])
    axis.axvline(1, color="black", linewidth=0.8, zorder=1)
    axis.margins(x=0.12)
    axis.invert_yaxis()
    figure.legend(loc="outside lower center", ncols=2)
    return figure
