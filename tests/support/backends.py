"""The backends that tests run on, and how near two ways to the same numbers must come on each."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from tolerances import SAME_MODEL

import albert_np.model
from albert_np import AlbertConfig
from albert_np.backends import choose
from albert_np.golden.stochastic import model_draws
from albert_np.golden.tolerances import assert_close
from albert_np.kernels.cuda import simulator
from albert_np.run import Weights
from support import needs

# numba.cuda is decided when it is imported, so each way of testing the kernels for the GPU is a process of its own, and says
# here which it is: simulator, compiled or gpu. tests/test_cuda.py starts them
CUDA_TESTS = os.environ.get("ALBERT_NP_CUDA_TESTS")
if CUDA_TESTS == "simulator":
    simulator.install()


@dataclass(frozen=True)
class Backend:
    name: str
    dtype: str

    def __str__(self) -> str:
        return f"{self.name}-{self.dtype}"

    @property
    def arrays(self) -> str:
        """The dtype of its arrays: NumPy has no bfloat16, which is what products are computed in."""
        return "float32" if self.dtype == "bfloat16" else self.dtype

    @property
    def ops(self) -> Any:
        """A table of ops of its own."""
        return choose.make(self.name, Weights(), AlbertConfig(), self.dtype).ops

    @property
    def encoder(self) -> str:
        """The function in which a plain call runs the encoder, for tests that put another in its place."""
        engines = {
            "numba": "cpu.engine.CpuEngine._encode",
            "cuda": "cuda.engine.CudaEngine._encode",
            "numpy": "numpy.encoder",
        }
        return f"albert_np.backends.{engines[self.name]}"

    @property
    def absent(self) -> set[str]:
        """What a trace of it does not have as steps of their own: albert_np/backends/*/engine.py say why."""
        fused = {"embeddings.sum", "attention.scores", "attention.dense", "ffn", "ffn_output"}
        return {"numba": fused, "cuda": fused | {"attention.probs"}}.get(self.name, set())

    def has(self, out: Any, names: Any) -> list[str]:
        """Those of the names of an output's arrays that one of this backend has."""
        absent = self.absent if out.trace is not None and out.trace.fused else set()
        return [name for name in names if not name.startswith("trace.") or step_of(name) not in absent]

    def model(self, kind: str, config: Any, tensors: dict[str, np.ndarray] | None = None, **made: Any) -> Any:
        """A model of it; the tensors may be of another dtype."""
        if tensors is not None:
            made["tensors"] = {name: x.astype(self.arrays) for name, x in tensors.items()}
        return getattr(albert_np.model, kind)(config, backend=self.name, dtype=self.dtype, **made)

    def draws(
        self, run: Callable[[Any], Any], kind: str, config: Any, tensors: dict[str, np.ndarray], **options: Any
    ) -> list[Any]:
        """What `run` gives of a model of it, in draws."""
        return model_draws(self.model(kind, config, tensors), run, **options)

    def assert_same(self, name: str, actual: Any, expected: Any, *, limits: dict[str, float] = SAME_MODEL) -> None:
        """One thing computed in two ways. The kernels give the same bits; BLAS may add in another order."""
        if self.name in ("numba", "cuda"):
            limits = {"float32": 0}
        assert_close(name, actual, expected, limit=limits[self.arrays], dtype=self.arrays)


NUMPY, PLAIN, NUMBA = Backend("numpy", "float64"), Backend("numpy", "float32"), Backend("numba", "float32")
BACKENDS = (NUMPY, PLAIN, NUMBA)  # NUMPY is the truth
BFLOAT16 = Backend("numba", "bfloat16")
CUDA = Backend("cuda", "float32")
# for the suites that run on a GPU too: `pytest -m gpu`, or as far as tests/test_cuda.py has them simulated
ON_GPU = CUDA if CUDA_TESTS == "simulator" else pytest.param(CUDA, marks=pytest.mark.gpu)


def step_of(name: str) -> str:
    """`attention.dense` of `trace.encoder.layer.3.attention.dense`; other steps of a trace as they are."""
    name = name.removeprefix("trace.")
    return name.split(".", 3)[3] if name.startswith("encoder.layer.") else name


def runnable(backend: Backend) -> Backend:
    """The backend, ready to run, or a skip that says why it cannot run here."""
    answer = choose.available()[backend.name]
    if answer != "yes":
        needs.missing("gpu" if backend.name == "cuda" else "numba", f"backend {backend.name}: {answer}")
    if backend.name == "numba":
        backend.ops.tanh(np.zeros(1, np.float32))  # compiles here, where no test has a deadline
    return backend
