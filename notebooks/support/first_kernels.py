"""What 12_cuda_first_kernels.ipynb imports: a small kernel with a barrier, the checks of its exercises, and its drawings.

support.cuda is to be imported before, and brings the simulator.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.patches import Rectangle

from albert_np.kernels.cuda import simulator
from albert_np.kernels.cuda.kernel import Kernel
from albert_np.kernels.cuda.run import get, put, unwritten
from albert_np.kernels.cuda.target import cuda, f32

from .cuda import Touch, count, floats, touched
from .plots import BLUE, GREY, ORANGE, SKY, YELLOW

ORDERS = (None, 1, 2, 3)  # in which the simulator runs threads: that of their numbers, and three that are shuffled
BARRIER = "cuda.syncthreads()"
NAN = "#222222"


def _rotate(x, out):  # (64,) -> (64,): each number one place on, the last one to the front
    tile = cuda.shared.array(64, f32)
    t = cuda.threadIdx.x
    tile[t] = x[t]
    cuda.syncthreads()
    out[t] = tile[(t + 63) % 64]


rotate = Kernel(_rotate, "FF", 64)


def without_barrier(kernel: Kernel, which: int) -> Kernel:
    """The kernel with `pass` in the place of one barrier. which: 0 is the first in its code."""
    parts = inspect.getsource(kernel.function).split(BARRIER)
    barriers = [BARRIER] * (len(parts) - 1)
    barriers[which] = "pass"
    code = "".join(part + barrier for part, barrier in zip(parts, [*barriers, ""], strict=True))
    space = dict(kernel.function.__globals__)
    exec(code, space)
    return Kernel(space[kernel.name], kernel.parameters, kernel.threads)


@contextmanager
def order(seed: int | None) -> Iterator[None]:
    """Threads run in this order meanwhile."""
    simulator.order(seed)
    try:
        yield
    finally:
        simulator.order(0)


# --- checks of the exercises -------------------------------------------------------------------------------------------


def _check(name: str, kernel: Kernel, grid: tuple[int, ...], given: Sequence[Any], expected: np.ndarray) -> list[Touch]:
    """Runs the kernel in several orders; what it writes has to be right in each. given: None is the place of `out`."""
    touches: list[Touch] = []
    for seed in ORDERS:
        out = unwritten(*expected.shape)
        with order(seed):
            try:
                touches = touched(kernel, grid, *(out if x is None else x for x in given))
            except IndexError as error:
                raise AssertionError(f"{name}: {error}. This thread has left the array: is there a guard?") from None
            except TypeError as error:
                raise AssertionError(f"{name}: {error}. Is each index one whole number? Memory is flat.") from None
            except simulator.Divergence as error:
                raise AssertionError(f"{name}: a barrier is for all threads of a block. {error}") from None
        _judge(name, get(out), expected)
    writes = count(touches)["global writes"]
    assert writes == expected.size, f"{name}: {writes} writes of {expected.size} results; one thread is enough for each"
    return touches


def _judge(name: str, found: np.ndarray, expected: np.ndarray) -> None:
    nan = np.isnan(found)
    assert not nan.any(), (
        f"{name}: {nan.sum()} of {nan.size} results are NaN. They were not written, or made of memory that was not."
    )
    wrong = ~np.isclose(found, expected, rtol=1e-4, atol=1e-4)
    if wrong.any():
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise AssertionError(
            f"{name}: {wrong.sum()} of {wrong.size} results are wrong. "
            f"Number {at} is {found[at]:.4g}, and should be {expected[at]:.4g}."
        )


def check_add(function: Callable[..., None]) -> None:
    """Exercise 12.1: (n,), (n,) -> (n,), the sum of both."""
    x, y = floats(np.random.default_rng(1), 2, 600)
    _check("add", Kernel(function, "FFFi", 256), (3,), (put(x), put(y), None, 600), x + y)
    print("right: 600 numbers, and no thread left the arrays")


def check_add_bias(function: Callable[..., None]) -> None:
    """Exercise 12.2: (R,N), (N,) -> (R,N)."""
    rng = np.random.default_rng(2)
    x, bias = floats(rng, 12, 40), floats(rng, 40)
    given = (put(x), put(bias), None, 12, 40)
    _check("add_bias", Kernel(function, "FFFii", (16, 16)), (3, 1), given, x + bias)
    print("right: 12 rows of 40 numbers")


def check_reverse(function: Callable[..., None]) -> None:
    """Exercise 12.3: each block's 64 numbers, the last one first."""
    x = floats(np.random.default_rng(3), 2, 64)
    touches = _check("reverse", Kernel(function, "FF", 64), (2,), (put(x), None), x[:, ::-1])
    own = {(t.block[0] * 64 + t.thread, int(t.numbers[0])) for t in touches if t.memory == "global"}
    assert all(thread == number for thread, number in own), (
        "reverse: thread i shall read x[i] and write out[i], no others"
    )
    print("right, in each order of the threads")


def check_sum(function: Callable[..., None]) -> None:
    """Exercise 12.4: (blocks · 64,) -> (blocks,)."""
    x = floats(np.random.default_rng(4), 3, 64)
    touches = _check("block_sum", Kernel(function, "FF", 64), (3,), (put(x), None), x.astype(float).sum(axis=1))
    reads = [t for t in touches if t.memory == "global" and t.does == "reads"]
    assert len(reads) == x.size, "block_sum: each thread shall read one number of x"
    print("right, in each order of the threads")


def check_product(function: Callable[..., None]) -> None:
    """Exercise 12.5: (M,K), (N,K) -> (M,N), through tiles of 16 × 16."""
    rng, (M, N, K) = np.random.default_rng(5), (32, 16, 48)
    a, w = floats(rng, M, K), floats(rng, N, K)
    kernel = Kernel(function, "FFFiii", (16, 16))
    touches = _check("product", kernel, (N // 16, M // 16), (put(a), put(w), None, M, N, K), a.astype(float) @ w.T)
    reads = count(touches)["global reads"]
    assert reads == 2 * M * N * K // 16, (
        f"product: {reads} reads of global memory; {2 * M * N * K // 16} are enough where 16 threads share each number"
    )
    print("right, in each order of the threads, with a 16th of the reads")


# --- drawings ----------------------------------------------------------------------------------------------------------


def draw_grid(blocks: int, threads: int, n: int) -> Any:
    """Every thread of a grid of one axis as a square, a warp a row. Those that have no number are grey."""
    figure, axis = plt.subplots(figsize=(7, 2.9))
    shades = plt.get_cmap("cividis")
    warps = threads // 32
    for i in range(blocks * threads):
        block, thread = divmod(i, threads)
        x, y = block * 36 + thread % 32, thread // 32
        colour = shades(0.15 + 0.85 * i / n) if i < n else "#d9d9d9"
        axis.add_patch(Rectangle((x, y), 0.86, 0.86, color=colour, linewidth=0))
    for block in range(blocks):
        axis.text(block * 36 + 16, -0.5, f"block {block}", ha="center", va="bottom")
        axis.add_patch(Rectangle((block * 36 - 0.7, -0.3), 33.4, warps + 0.5, fill=False, color=GREY))
    x, y = (36 + 40 % 32, 40 // 32)  # thread 40 of block 1
    axis.add_patch(Rectangle((x - 0.2, y - 0.2), 1.26, 1.26, fill=False, color="black", linewidth=1.6))
    says = f"block 1, thread 40: warp 1, lane 8\ni = 1 · {threads} + 40 = {threads + 40}"
    axis.annotate(
        says, (x + 0.4, y + 1), (36 + 14, warps + 2.6), ha="center", va="center", arrowprops={"arrowstyle": "-"}
    )
    axis.text(16, warps + 2.6, "each row: a warp,\n32 threads", ha="center", va="center", color="#444444")
    axis.text(88, warps + 2.6, f"grey: i ≥ {n},\nnothing to do", ha="center", va="center", color="#444444")
    axis.set(title=f"A grid of {blocks} blocks of {threads} threads, for {n} numbers", xlim=(-1, 36 * blocks - 2.5))
    axis.set_ylim(warps + 3.8, -1.6)
    axis.axis("off")
    return figure


def draw_order(panels: dict[str, list[Touch]]) -> Any:
    """Who touches shared memory when, a panel a run: time goes to the right, a thread is a line."""
    figure, axes = plt.subplots(1, len(panels), figsize=(7, 3.3), sharey=True)
    for axis, (title, touches) in zip(axes, panels.items(), strict=True):
        shared = [touch for touch in touches if touch.memory == "shared"]
        kinds = {
            "writes its number": (BLUE, "s", [t.does == "writes" for t in shared]),
            "reads a number": (ORANGE, "o", [t.does == "reads" and not t.nan for t in shared]),
            "reads too early: NaN": ("black", "x", [t.does == "reads" and t.nan for t in shared]),
        }
        for label, (colour, marker, chosen) in kinds.items():
            times = np.flatnonzero(chosen)
            axis.scatter(times, [shared[i].thread for i in times], 9, colour, marker, linewidths=1, label=label)
        axis.set(title=title, xlabel="time, in steps of the simulator")
        axis.axhline(31.5, color=GREY, linewidth=0.8, linestyle=":")
    axes[0].text(2, 56, "warp 1", color=GREY)
    axes[0].text(38, 6, "warp 0", color=GREY)
    axes[0].set(ylabel="thread", yticks=[0, 16, 32, 48, 63])
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, markerscale=1.6)
    return figure


def draw_tiles(M: int, N: int, K: int, tile: int) -> Any:
    """Which tiles of A and of B one block of a product takes, one pair after the other, and what it makes of them."""
    figure, axis = plt.subplots(figsize=(7, 3.3))
    far = K + tile // 2  # where B and the product begin on the right, and A and the product below
    names = {f"A ({M}, {K})": (0, far, M, K), f"B ({K}, {N})": (far, 0, K, N), f"A·B ({M}, {N})": (far, far, M, N)}
    for name, (x, y, high, wide) in names.items():
        for row in range(0, high, tile):
            for column in range(0, wide, tile):
                axis.add_patch(Rectangle((x + column, y + row), tile, tile, facecolor="white", edgecolor=GREY))
        at = (-2, "right") if x == 0 else (x + wide + 2, "left")
        axis.text(at[0], y + high / 2, name, ha=at[1], va="center")
    for i, k in enumerate(range(0, K, tile)):
        for x, y in ((k, far), (far + tile, k)):
            axis.add_patch(Rectangle((x, y), tile, tile, facecolor=(ORANGE, SKY, YELLOW)[i % 3], edgecolor="black"))
            axis.text(x + tile / 2, y + tile / 2, f"step {i}", ha="center", va="center", fontsize=9)
    axis.add_patch(Rectangle((far + tile, far), tile, tile, facecolor=BLUE, edgecolor="black"))
    axis.text(far + 1.5 * tile, far + tile / 2, "block", color="white", ha="center", va="center", fontsize=9)
    says = (
        "In each step the block\n  1. loads a tile of A and one of B,\n  2. waits,\n  3. multiplies them,\n  4. waits."
    )
    axis.text(-22, far / 2 - 4, says, va="center", linespacing=1.4)
    axis.set(xlim=(-24, far + N + 24), ylim=(far + M + 1, -1), aspect="equal")
    axis.set_title(f"One block of {tile} × {tile} threads takes {K // tile} pairs of tiles")
    axis.axis("off")
    return figure


def draw_results(found: dict[str, np.ndarray], expected: np.ndarray) -> Any:
    """Which numbers of each result are right, wrong or NaN."""
    figure, axes = plt.subplots(1, len(found), figsize=(7, 3))
    colours = ListedColormap(["#dbe9f4", ORANGE, NAN])
    for axis, (title, result) in zip(axes, found.items(), strict=True):
        wrong = ~np.isclose(result, expected, rtol=0, atol=1e-3)
        axis.imshow(wrong.astype(int) + np.isnan(result), cmap=colours, vmin=0, vmax=2)
        axis.set_title(title, fontsize=11)
        axis.set(xticks=[0, 15], yticks=[0, 15], xlabel=f"column; {wrong.sum()} of {wrong.size} wrong")
        axis.spines[["top", "right"]].set_visible(True)
    axes[0].set_ylabel("row")
    names = zip(("right", "wrong", "NaN"), ("#dbe9f4", ORANGE, NAN), strict=True)
    handles = [Rectangle((0, 0), 1, 1, color=colour, label=name) for name, colour in names]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure
