"""What 02_cuda_kernels.ipynb imports: where its kernels run, what they read and write, and pictures."""

from __future__ import annotations

import io
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from albert_np.kernels.cuda import simulator

ROOT = Path(__file__).resolve().parents[2]
ASKED = "from albert_np.backends import choose; print(choose.available()['cuda'])"


def simulated() -> bool:
    """Whether the kernels run in the simulator from now on: where no GPU is. To be called before any is imported.

    Another process looks for the GPU: this one, once it has imported numba.cuda, could not take the simulator any more.
    """
    child = subprocess.run([sys.executable, "-P", "-c", ASKED], capture_output=True, text=True, check=True)
    if child.stdout.strip() == "yes":
        return False
    simulator.install()
    return True


def floats(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Normal numbers in float32."""
    return rng.standard_normal(shape).astype(np.float32)


@contextmanager
def launches() -> Iterator[list[str]]:
    """The names of the kernels whose launches are prepared meanwhile, in order."""
    from albert_np.kernels.cuda import device

    names: list[str] = []
    plain = device.prepare

    def prepare(kernel: Any, *more: Any) -> Any:
        names.append(kernel.name)
        return plain(kernel, *more)

    with patch.object(device, "prepare", prepare):
        yield names


class Watched(np.ndarray):
    """Memory that counts the numbers that are read from it and written to it."""

    plain: np.ndarray  # the same memory, which does not count
    where: str
    count: Counter[str]

    def __getitem__(self, index: Any) -> Any:
        found = self.plain[index]
        self.count[f"{self.where} reads"] += found.size
        return found

    def __setitem__(self, index: Any, x: Any) -> None:
        self.count[f"{self.where} writes"] += self.plain[index].size
        self.plain[index] = x


@contextmanager
def counting() -> Iterator[Counter[str]]:
    """How many float32 numbers all threads of the kernels that run meanwhile read and write, in global and in shared memory.

    On a GPU it stays empty: nobody can watch a pointer there.
    """
    count: Counter[str] = Counter()
    if not simulator.installed():
        yield count
        return
    from albert_np.kernels.cuda.simulator import machine

    plain = machine.poisoned

    def in_a_kernel() -> bool:  # where shared memory is made; pointers to global memory are there before
        return isinstance(machine.getcurrent(), machine.Thread)

    def watched(array: np.ndarray) -> np.ndarray:
        if array.dtype != np.float32:
            return array
        found = array.view(Watched)
        found.plain, found.where, found.count = array.view(np.ndarray), "shared" if in_a_kernel() else "global", count
        return found

    class Pointer(machine.Pointer):
        def __init__(self, array: np.ndarray) -> None:
            super().__init__(watched(array))

    def poisoned(shape: Any, dtype: Any) -> np.ndarray:  # shared memory of two axes comes without a pointer
        array = plain(shape, dtype)
        return watched(array) if in_a_kernel() else array

    with patch.object(machine, "Pointer", Pointer), patch.object(machine, "poisoned", poisoned):
        yield count


def counted(kernel: Any, grid: tuple[int, ...], *arguments: Any) -> Counter[str]:
    """Runs a kernel; what it reads and writes."""
    from albert_np.kernels.cuda.run import run

    with counting() as count:
        run(kernel, grid, *arguments)
    return count


def picture(figure: Any) -> Any:
    """What a cell shows of a figure: a PNG of 64 colours, which is a quarter of the bytes of the usual one."""
    import matplotlib.pyplot as plt
    import PIL.Image
    from IPython.display import Image

    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=110, bbox_inches="tight")
    plt.close(figure)
    PIL.Image.open(drawn).convert("RGB").quantize(64).save(small, "png", optimize=True)
    return Image(small.getvalue())
