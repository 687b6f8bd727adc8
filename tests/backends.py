"""The backends that tests run on, and how near two ways to the same numbers must come on each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from tolerances import SAME_MODEL, assert_close

import albert_np.model
from albert_np import backend as backends


@dataclass(frozen=True)
class Backend:
    name: str
    dtype: str

    def __str__(self) -> str:
        return f"{self.name}-{self.dtype}"

    @property
    def ops(self) -> Any:
        """A table of ops of its own."""
        return backends.ops_table(self.name)

    @property
    def encoder(self) -> str:
        """The function in which a plain call runs the encoder, for tests that put another in its place."""
        return "albert_np.cpu_engine.encode" if self.name == "numba" else "albert_np.pretrained.encoder"

    def model(self, kind: str, config: Any, tensors: dict[str, np.ndarray] | None = None, **made: Any) -> Any:
        """A model of it; the tensors may be of another dtype."""
        if tensors is not None:
            made["tensors"] = {name: x.astype(self.dtype) for name, x in tensors.items()}
        return getattr(albert_np.model, kind)(config, backend=self.name, dtype=self.dtype, **made)

    def assert_same(self, name: str, actual: Any, expected: Any, *, limits: dict[str, float] = SAME_MODEL) -> None:
        """One thing computed in two ways. The kernels give the same bits; BLAS may add in another order."""
        if self.name == "numba":
            limits = {"float32": 0}
        assert_close(name, actual, expected, limit=limits[self.dtype], dtype=self.dtype)


NUMPY, PLAIN, NUMBA = Backend("numpy", "float64"), Backend("numpy", "float32"), Backend("numba", "float32")
BACKENDS = (NUMPY, PLAIN, NUMBA)  # NUMPY is the truth, PLAIN what float32 is measured by


def runnable(backend: Backend) -> Backend:
    """The backend, ready to run, or a skip that says why it cannot run here."""
    answer = backends.available()[backend.name]
    if answer != "yes":
        pytest.skip(f"backend {backend.name}: {answer}")
    if backend.name == "numba":
        backend.ops.tanh(np.zeros(1, np.float32))  # compiles here, where no test has a deadline
    return backend
