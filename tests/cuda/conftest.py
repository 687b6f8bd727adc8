"""ALBERT_NP_CUDA_TESTS=simulator, compiled or gpu, a process each (tests/backends.py), decides what is collected here.

Without it nothing is: tests/test_cuda.py starts the first two, `pytest -m gpu` the third.
"""

import os
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))  # some of these files import from one another

MODE = os.environ.get("ALBERT_NP_CUDA_TESTS")  # not from cuda_run, which imports what `install` is to replace
FILES = {
    "simulator": (
        "test_simulator.py",
        "test_rows.py",
        "test_matmul.py",
        "test_attention.py",
        "test_model.py",
        "test_arrays.py",
        "test_matmul_tensor.py",
        "test_attention_tensor.py",
        "test_model_tensor.py",
    ),
    "compiled": ("test_compiled.py", "test_device.py", "test_compiled_tensor.py"),
    "gpu": (
        "test_gpu.py",
        "test_rows.py",
        "test_matmul.py",
        "test_attention.py",
        "test_model.py",
        "test_arrays.py",
        "test_gpu_tensor.py",
        "test_matmul_tensor.py",
        "test_attention_tensor.py",
        "test_model_tensor.py",
    ),
}
collect_ignore = [
    name for name in (*FILES["gpu"], *FILES["simulator"], *FILES["compiled"]) if name not in FILES.get(MODE, ())
]


ORDERS = [None, 1, pytest.param(2, marks=pytest.mark.slow)]


@pytest.fixture(params=ORDERS if MODE == "simulator" else [None], ids=str)
def schedule(request):
    """An order in which threads run."""
    if MODE == "simulator":
        import cuda_simulator

        cuda_simulator.seed = request.param
    return request.param
