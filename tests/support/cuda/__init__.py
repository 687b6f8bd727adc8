"""What the tests of the kernels for the GPU share, whether these are simulated or run on one."""

from __future__ import annotations

import numpy as np


def floats(rng: np.random.Generator, *shape: int, scale: float = 1) -> np.ndarray:
    return (scale * rng.standard_normal(shape)).astype(np.float32)
