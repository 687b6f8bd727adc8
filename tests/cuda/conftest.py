"""ALBERT_NP_CUDA_TESTS=simulator, compiled or gpu, a process each (tests/support/backends.py), decides what is collected here.

Without it nothing is: tests/test_cuda.py starts the first two, `pytest -m gpu` the third.
"""

import pytest
from support.backends import CUDA_TESTS

from albert_np.kernels.cuda import simulator

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
    name for name in (*FILES["gpu"], *FILES["simulator"], *FILES["compiled"]) if name not in FILES.get(CUDA_TESTS, ())
]


ORDERS = [None, 1, pytest.param(2, marks=pytest.mark.slow)]


@pytest.fixture(params=ORDERS if CUDA_TESTS == "simulator" else [None], ids=str)
def schedule(request):
    """An order in which threads run."""
    if CUDA_TESTS == "simulator":
        simulator.order(request.param)
    return request.param
