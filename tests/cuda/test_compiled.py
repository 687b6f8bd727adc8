"""What the compiler makes of every kernel, for compute capability 9.0, 8.0 and 7.5: no GPU is needed for that.

Registers and shared memory stay within caps, since they decide how many warps an SM holds; nothing lives on the stack; nothing
is computed in float64, which the simulator cannot see; and memory moves 16 bytes at a time.
"""

import sys

import pytest
from support.cuda.caps import FLOAT64, check, resource_table
from support.cuda.shipped import KERNELS, LOAD

from albert_np.kernels.cuda import compiled
from albert_np.kernels.cuda.kernel import Kernel
from albert_np.kernels.cuda.target import cuda, f32, u32

if compiled.nvdisasm() is None:
    pytest.skip("nvdisasm is not installed (pip install nvidia-cuda-nvdisasm)", allow_module_level=True)
compiled.without_a_gpu()

CAPABILITIES = (90, 80, 75)

TABLE: list[str] = []


@pytest.mark.parametrize("name", KERNELS)
def test_every_kernel(name):
    TABLE.extend(check(name, KERNELS[name], CAPABILITIES, "FFMA"))


def test_the_checks_see_what_they_look_for():
    """A constant that is a float64, sums indexed by a variable, and loads of four bytes: each shows."""

    def tenth(x, out, n):
        out[cuda.threadIdx.x] = x[cuda.threadIdx.x] * 0.1

    def sums(x, out, n):
        total = cuda.local.array(16, f32)
        for i in range(16):
            total[i] = x[u32(i)]
        i = u32(0)
        while i < n:
            total[u32(x[i]) % u32(16)] += f32(1)
            i = u32(i + u32(1))
        for i in range(16):
            out[u32(i)] = total[i]

    found = {f.__name__: compiled.compile_kernel(Kernel(f, "FFu", 32))[90] for f in (tenth, sums)}
    assert found["tenth"].count(FLOAT64)
    assert found["sums"].stack >= 64
    assert found["sums"].count("LDL|STL")
    assert not found["sums"].count(LOAD)


def test_resource_table():
    """Printed to stderr (-s shows it)."""
    if not TABLE:
        pytest.skip("run together with test_every_kernel")
    print(resource_table(TABLE, "FFMA"), file=sys.stderr)
    assert len(TABLE) % len(CAPABILITIES) == 0
