"""What the compiler makes of the kernels on tensor cores, for compute capability 9.0 and 8.0, as test_compiled.py looks at it.

7.5 has no mma of bfloat16 or tf32: nothing is compiled for it, and backend.py says so before anybody tries.
"""

import sys

import pytest
from support.cuda.caps import Caps, check, resource_table

from albert_np.kernels.cuda import compiled, layer_norm
from albert_np.kernels.cuda.attention_tensor import tensor_attention
from albert_np.kernels.cuda.matmul_tensor import naive_tensor_matmul, round_rows, tensor_matmul
from albert_np.kernels.cuda.tensor_tiles import LARGE, MEDIUM, SMALL, THREE, WIDE

if compiled.nvdisasm() is None:
    pytest.skip("nvdisasm is not installed (pip install nvidia-cuda-nvdisasm)", allow_module_level=True)
compiled.without_a_gpu()

CAPABILITIES = (90, 80)
BFLOAT16, TF32 = r"HMMA\.16816\.F32\.BF16", r"HMMA\.1688\.F32\.TF32"
LOAD, TURNED, COPY = r"LDSM\.16\.M88\.4", r"LDSM\.16\.MT88\.4", r"LDGSTS\.E\.BYPASS\.128"
STORE, HALF = r"STG\.E\.128", r"STG\.E\.64"
MOST = 48 * 1024  # bytes of shared memory that a block has without being asked

# name -> kernel; at most so many registers and bytes of shared memory; at least this share of HMMA in the inner loop, and these
KERNELS = {
    "bfloat16 wide, gelu_new": Caps(
        tensor_matmul("bfloat16", WIDE, "gelu_new", rounded=True),
        168,
        MOST,
        0.25,
        {BFLOAT16: 32, LOAD: 12, COPY: 24, HALF: 2},
    ),
    "bfloat16 large, residual": Caps(
        tensor_matmul("bfloat16", LARGE, residual=True),
        255,
        MOST,
        0.35,
        {BFLOAT16: 64, LOAD: 16, COPY: 24, STORE: 4},
    ),
    "bfloat16 medium": Caps(
        tensor_matmul("bfloat16", MEDIUM, rounded=True),
        128,
        32768,
        0.18,
        {BFLOAT16: 16, LOAD: 8, COPY: 16, HALF: 2},
    ),
    "bfloat16 small, part": Caps(
        tensor_matmul("bfloat16", SMALL, ends="part"),
        64,
        24576,
        0.04,
        {BFLOAT16: 4, LOAD: 4, COPY: 12, STORE: 1},
    ),
    "tf32 large": Caps(tensor_matmul("tf32", LARGE), 255, MOST, 0.25, {TF32: 64, LOAD: 16, COPY: 24, STORE: 4}),
    "tf32 small, words": Caps(
        tensor_matmul("tf32", SMALL, ends="words"),
        64,
        24576,
        0.02,
        {TF32: 4, LOAD: 4, r"LDGSTS\.E": 30},
    ),
    # a chunk's sums are added up within the loop
    "tf32x3": Caps(tensor_matmul("tf32x3", THREE), 255, MOST, 0.12, {TF32: 96, LOAD: 12, COPY: 12, STORE: 4}),
    "naive bfloat16": Caps(naive_tensor_matmul("bfloat16"), 64, 0, 0, {BFLOAT16: 1}),
    "naive tf32": Caps(naive_tensor_matmul("tf32"), 64, 0, 0, {TF32: 1}),
    "attention 64": Caps(
        tensor_attention(64, "none", False), 168, 40960, 0.12, {BFLOAT16: 64, LOAD: 20, TURNED: 16, COPY: 20}
    ),
    "attention 128, keys": Caps(
        tensor_attention(128, "keys", False), 255, MOST, 0.10, {BFLOAT16: 64, LOAD: 24, TURNED: 16}
    ),
    "attention 32, pairs": Caps(
        tensor_attention(32, "pairs", True), 168, 20480, 0.03, {BFLOAT16: 32, LOAD: 10, TURNED: 8}
    ),
    "rounded_layer_norm 768": Caps(
        layer_norm.rounded_layer_norm(768), 96, 0, 0, {r"LDG\.E\.128": 18, STORE: 6, HALF: 6}
    ),
    "round_rows": Caps(round_rows, 40, 0, 0, {HALF: 1}),
}
TABLE: list[str] = []


@pytest.mark.parametrize("name", KERNELS)
def test_every_kernel(name):
    TABLE.extend(check(name, KERNELS[name], CAPABILITIES, "HMMA"))


def test_nothing_is_compiled_for_7_5():
    with pytest.raises(Exception, match=r"(?i)jitlink|ptx|sm_75"):
        compiled.compile_kernel(naive_tensor_matmul("bfloat16"), (75,))


def test_resource_table():
    """Printed to stderr (-s shows it)."""
    if not TABLE:
        pytest.skip("run together with test_every_kernel")
    print(resource_table(TABLE, "HMMA"), file=sys.stderr)
    assert len(TABLE) == len(CAPABILITIES) * len(KERNELS)
