"""numba.cuda is decided when it is imported, so each way of testing kernels is a process of its own, and says so here.

ALBERT_NP_CUDA_TESTS=simulator, compiled or gpu. Without it nothing here is collected: tests/test_cuda.py starts the first two,
`pytest -m gpu` the third.
"""

import os

import pytest

MODE = os.environ.get("ALBERT_NP_CUDA_TESTS")  # not from cuda_run, which imports what `install` is to replace
FILES = {
    "simulator": ("test_simulator.py", "test_rows.py", "test_matmul.py", "test_attention.py", "test_model.py"),
    "compiled": ("test_compiled.py",),
    "gpu": ("test_gpu.py", "test_rows.py", "test_matmul.py", "test_attention.py", "test_model.py"),
}
collect_ignore = [
    name for name in ("test_gpu.py", *FILES["simulator"], *FILES["compiled"]) if name not in FILES.get(MODE, ())
]

if MODE == "simulator":
    import cuda_simulator

    cuda_simulator.install()


@pytest.fixture(scope="session", autouse=True)
def compiled_kernels():
    """Takes the place of the fixture that compiles the CPU's kernels: none of them runs here."""


@pytest.fixture(params=[None, 1, 2] if MODE == "simulator" else [None], ids=str)
def schedule(request):
    """An order in which threads run."""
    if MODE == "simulator":
        cuda_simulator.seed = request.param
    return request.param
