"""The simulator as a user of the package has it: its example runs, and what goes wrong is said in words."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest
from support import needs, unmeasured

from albert_np import ops
from albert_np.kernels.cuda import simulator

INSTALL = "from albert_np.kernels.cuda import simulator\nsimulator.install()\n"


@pytest.fixture
def greenlets():
    needs.module("simulator", "greenlet")


def child(code):
    """stdout of a process of its own, and the last line of stderr."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, env=unmeasured(), check=False
    )
    return done.stdout, (done.stderr.strip().splitlines() or [""])[-1]


@pytest.mark.cuda
@pytest.mark.usefixtures("greenlets")
def test_the_example_in_its_docstring_runs_without_numba_cuda():
    example = "\n".join(line for line in simulator.__doc__.splitlines() if line.startswith("    ") or not line)
    lines = textwrap.dedent(example).strip().splitlines()
    code = "import sys; sys.modules['numba_cuda'] = None\n" + "\n".join(lines[:-1]) + f"\nprint({lines[-1]}.tolist())"
    out, error = child(code)
    assert error == ""
    x = np.linspace(-3, 3, 600, dtype=np.float32)
    assert np.allclose(eval(out), ops.activation(x, "gelu_new"), rtol=0, atol=1e-6)


@pytest.mark.cuda
@pytest.mark.usefixtures("greenlets")
def test_a_second_install_changes_nothing():
    out, error = child(f"{INSTALL}from albert_np.kernels.cuda import device\n{INSTALL}print(simulator.installed())")
    assert (out, error) == ("True\n", "")


def test_without_greenlet_it_says_what_to_install_and_changes_nothing():
    _, error = child(f"import sys; sys.modules['greenlet'] = None\n{INSTALL}")
    assert error == "ImportError: the simulator runs each thread of a kernel as a greenlet: pip install greenlet"
    out, _ = child(
        "import sys; sys.modules['greenlet'] = None\nfrom albert_np.kernels.cuda import simulator\n"
        "try: simulator.install()\nexcept ImportError: print(simulator.installed(), *sys.modules)"
    )
    assert out.startswith("False ")
    assert "albert_np.kernels.cuda.device" not in out.split()


def test_once_a_kernel_is_imported_it_is_too_late():
    module = "albert_np.kernels.cuda.device"
    _, error = child(f"import sys, types; sys.modules['{module}'] = types.ModuleType('{module}')\n{INSTALL}")
    assert error == (
        f"RuntimeError: {module} is imported already: call simulator.install() before anything imports a kernel"
    )


def test_importing_it_loads_neither_greenlet_nor_numba():
    out, _ = child("import sys\nfrom albert_np.kernels.cuda import simulator\nprint(*sys.modules)")
    loaded = out.split()
    assert not {"greenlet", "numba", "albert_np.kernels.cuda.simulator.machine"} & set(loaded)
