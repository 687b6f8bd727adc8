"""Muon: momentum whose matrices are made orthogonal before they are subtracted (Jordan et al. 2024, "Muon: an optimizer for
hidden layers in neural networks").

The gradient of a weight matrix is dominated by a few directions. Adam rescales single numbers, which does not change that. Muon
replaces the momentum U·S·Vᵀ by U·Vᵀ, so that every direction moves by the same amount. Vectors, tables and heads have no
such directions: AdamW updates them.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from albert_np.ops import Array
from albert_np.training.optimizers import FIRST, AdamW, check_fit

# p(s) = a·s + b·s³ + c·s⁵, five times, takes every singular value from 0.005 … 1 to 0.7 … 1.2 (Jordan et al. 2024).
# A polynomial that ends at 1 exactly would need twice as many rounds, and trains no better.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ROUNDS = 5


@dataclass(frozen=True)
class Muon:
    """Updates the encoder's matrices by orthogonal momentum and everything else by AdamW, with one learning rate for both.

    A matrix of R rows and C columns moves by 0.2·√max(R, C)·lr times an orthogonal one, whose entries then have a
    root mean square of 0.2·lr, what AdamW's updates have in practice (Liu et al. 2025, "Muon is scalable for LLM training",
    section 2.2).
    Weight decay is AdamW's, decoupled.
    """

    momentum: float = 0.95
    rest: AdamW = field(default_factory=AdamW)  # for everything but the matrices; its weight decay is that of both

    def __post_init__(self) -> None:
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be a number from 0 up to, and without, 1; got {self.momentum}")

    def start(self, parameters: Mapping[str, Array]) -> dict[str, Array]:
        """The state before the first update: AdamW's for the rest, one array of zeros for each matrix."""
        matrices = {name: x for name, x in parameters.items() if orthogonal(name, x)}
        rest = {name: x for name, x in parameters.items() if name not in matrices}
        return self.rest.start(rest) | {FIRST + name: np.zeros_like(x) for name, x in matrices.items()}

    def update(
        self,
        parameters: Mapping[str, Array],
        gradients: Mapping[str, Array],
        state: dict[str, Array],
        learning_rate: float,
    ) -> None:
        """Changes parameters and state in place. A parameter without a gradient stays as it is.

        Raises ValueError, before anything is changed, where names, shapes or dtypes do not fit one another.
        """
        matrices = {name: x for name, x in gradients.items() if orthogonal(name, x)}
        check_fit(parameters, matrices, state, (FIRST,))
        self.rest.update(parameters, {n: x for n, x in gradients.items() if n not in matrices}, state, learning_rate)
        rate = float(learning_rate)

        def move(name: str) -> None:
            parameter, moment, gradient = parameters[name], state[FIRST + name], matrices[name]
            moment *= self.momentum
            moment += gradient
            direction = orthogonalised(gradient + self.momentum * moment)  # Nesterov: one step ahead
            parameter *= 1 - rate * self.rest.weight_decay
            parameter -= 0.2 * math.sqrt(max(parameter.shape)) * rate * direction

        # No matrix waits for another. The largest come first, so that none of them is left to one thread at the end; where
        # BLAS uses all the cores for each, two at once would only stand in each other's way.
        threads = os.cpu_count() if os.environ.get("OPENBLAS_NUM_THREADS") == "1" else 1
        with ThreadPoolExecutor(threads, thread_name_prefix="albert_np_muon") as workers:
            list(workers.map(move, sorted(matrices, key=lambda name: -matrices[name].size)))


def orthogonal(name: str, parameter: Array) -> bool:
    """Whether Muon moves it: the layers' matrices, and the one that leads into them."""
    return parameter.ndim == 2 and "encoder." in name


def orthogonalised(x: Array) -> Array:
    """[R, C] -> [R, C], about U·Vᵀ where x = U·S·Vᵀ: singular values between 0.7 and 1.2 (Newton-Schulz rounds)."""
    a, b, c = COEFFICIENTS
    tall = x.shape[0] > x.shape[1]
    y = x.T if tall else x
    y = y / (np.linalg.norm(y) + 1e-7)  # the Frobenius norm: no singular value is above 1
    for _ in range(ROUNDS):
        square = y @ y.T
        y = a * y + (b * square + c * (square @ square)) @ y
    return np.ascontiguousarray(y.T if tall else y)
