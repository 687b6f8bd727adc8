"""What the compiler makes of every kernel, for compute capability 9.0, 8.0 and 7.5: no GPU is needed for that.

Registers and shared memory stay within caps, since they decide how many warps an SM holds; nothing lives on the stack; nothing
is computed in float64, which the simulator cannot see; and memory moves 16 bytes at a time.
"""

import sys

import cuda_compile
import pytest

if cuda_compile.nvdisasm() is None:
    pytest.skip("nvdisasm is not installed (pip install nvidia-cuda-nvdisasm)", allow_module_level=True)
cuda_compile.without_a_gpu()

from albert_np.kernels.cuda import activations, attention, embeddings, layer_norm, matmul, scores, softmax  # noqa: E402
from albert_np.kernels.cuda.matmul import LARGE, MEDIUM, SMALL  # noqa: E402

CAPABILITIES = (90, 80, 75)
LOAD, STORE = r"LDG\.E\.128", r"STG\.E\.128"

# name -> kernel; at most so many registers and bytes of shared memory; at least this share of FFMA in the inner loop, and these
KERNELS = {
    "layer_norm 768": (layer_norm.layer_norm(768), 88, 0, 0, {LOAD: 18, STORE: 6, "SHFL": 10}),
    "layer_norm 4096": (layer_norm.layer_norm(4096), 112, 64, 0, {LOAD: 24, STORE: 8, "BAR": 2}),
    "layer_norm 130": (layer_norm.layer_norm(130), 64, 0, 0, {"SHFL": 10}),
    "add_layer_norm 768": (layer_norm.add_layer_norm(768), 96, 0, 0, {LOAD: 24, STORE: 6, "SHFL": 10}),
    "embed 128": (embeddings.embed(128, True, True), 40, 0, 0, {LOAD: 5, STORE: 1, "SHFL": 10}),
    "take_rows": (embeddings.take_rows, 24, 0, 0, {}),
    "spread_rows": (embeddings.spread_rows, 24, 0, 0, {}),
    "softmax 128": (softmax.softmax(128, "keys", False), 40, 0, 0, {LOAD: 1, STORE: 1, "SHFL": 10, r"MUFU\.EX2": 4}),
    "softmax 512, pairs": (softmax.softmax(512, "pairs", True), 56, 0, 0, {LOAD: 4, STORE: 4, r"MUFU\.EX2": 16}),
    "softmax 333": (softmax.softmax(333, "keys", False), 64, 0, 0, {"SHFL": 10}),
    "softmax 4000": (softmax.softmax(4000, "keys", False), 40, 0, 0, {"SHFL": 10}),
    "gelu_new": (activations.activate("gelu_new"), 40, 0, 0, {LOAD: 1, STORE: 1}),
    "gelu": (activations.activate("gelu"), 48, 0, 0, {LOAD: 1, STORE: 1}),
    "matmul large": (matmul.matmul(LARGE), 255, 17664, 0.85, {LOAD: 4, STORE: 16, r"LDS\.(U\.)?128": 16, "FFMA": 256}),
    "matmul large, gelu_new": (matmul.matmul(LARGE, "gelu_new"), 255, 17664, 0.85, {LOAD: 4, STORE: 16, "FFMA": 256}),
    "matmul medium, residual": (
        matmul.matmul(MEDIUM, "none", True),
        128,
        17920,
        0.80,
        {LOAD: 6, STORE: 8, "FFMA": 128},
    ),
    "matmul medium, gelu_new": (matmul.matmul(MEDIUM, "gelu_new"), 128, 17920, 0.80, {LOAD: 6, STORE: 8, "FFMA": 128}),
    "matmul small": (matmul.matmul(SMALL), 128, 9728, 0.70, {LOAD: 4, STORE: 4, "FFMA": 64}),
    "matmul small, single numbers": (matmul.matmul(SMALL, vector=False), 128, 9728, 0.70, {STORE: 4, "FFMA": 64}),
    "matmul small, split": (matmul.matmul(SMALL, split=True), 128, 9728, 0.70, {LOAD: 4, STORE: 4, "FFMA": 64}),
    "add_chunks, gelu_new": (matmul.add_chunks("gelu_new"), 88, 0, 0, {LOAD: 2, STORE: 1}),
    "attention 64": (attention.attention(64, "keys", False), 168, 32256, 0.55, {LOAD: 4, STORE: 4, "FFMA": 48}),
    "attention 128": (attention.attention(128, "none", False), 255, 39936, 0.55, {LOAD: 4, STORE: 4, "FFMA": 64}),
    "attention 32, pairs": (attention.attention(32, "pairs", True), 168, 18432, 0.45, {LOAD: 4, STORE: 4, "FFMA": 32}),
    "attention 10": (attention.attention(10, "none", False), 168, 18432, 0.45, {"FFMA": 32}),
    "heads_matmul": (scores.heads_matmul, 48, 2304, 0, {"FFMA": 16}),
    "add_distances": (scores.add_distances, 56, 0, 0, {"FFMA": 1}),
    "naive matmul": (matmul.naive_matmul, 64, 0, 0, {"FFMA": 1}),
    "tiled matmul": (matmul.tiled_matmul, 64, 2048 + 1024, 0, {"FFMA": 16}),
    "naive attention": (attention.naive_attention, 96, 0, 0, {"FFMA": 1}),
    "naive layer_norm": (layer_norm.naive_layer_norm, 64, 0, 0, {}),
    "naive softmax": (softmax.naive_softmax, 64, 0, 0, {}),
    "naive embed": (embeddings.naive_embed, 64, 0, 0, {}),
    "naive gelu_new": (activations.naive_gelu_new, 40, 0, 0, {}),
}
RESERVED = {90: 1024, 80: 1024, 75: 0}  # bytes of shared memory that each block has beside its own, where counted in it
FLOAT64 = r"D(ADD|MUL|FMA|SETP|MNMX)|F2F\.(F64|F32\.F64)|I2F\S*F64|F2I\S*F64|MUFU\.\w+64H"
TABLE = []


@pytest.mark.parametrize("name", KERNELS)
def test_every_kernel(name):
    kernel, registers, shared, share, wanted = KERNELS[name]
    for capability, found in cuda_compile.compile_kernel(kernel, CAPABILITIES).items():
        where = f"{name} for {capability}"
        TABLE.append((name, capability, found, found.share("FFMA")))
        assert found.stack == 0, where
        assert not found.count("LDL|STL"), where
        assert not found.count(FLOAT64), (
            where,
            {x: n for x, n in found.opcodes.items() if cuda_compile.re.match(FLOAT64, x)},
        )
        assert found.registers <= registers, (where, found.registers)
        assert found.shared <= shared + (RESERVED[capability] if found.shared else 0), (where, found.shared)
        for pattern, count in wanted.items():
            assert found.count(pattern) >= count, (where, pattern, found.opcodes)
        assert found.share("FFMA") >= share, (where, found.share("FFMA"))


def test_the_checks_see_what_they_look_for():
    """A constant that is a float64, sums indexed by a variable, and loads of four bytes: each shows."""
    from albert_np.kernels.cuda.kernel import Kernel
    from albert_np.kernels.cuda.target import cuda, f32, u32

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

    found = {f.__name__: cuda_compile.compile_kernel(Kernel(f, "FFu", 32))[90] for f in (tenth, sums)}
    assert found["tenth"].count(FLOAT64)
    assert found["sums"].stack >= 64
    assert found["sums"].count("LDL|STL")
    assert not found["sums"].count(LOAD)


def test_resource_table():
    """Printed to stderr (-s shows it); at least eight warps, two for each of its schedulers, fit on an SM."""
    head = f"{'kernel':32} {'cc':>3} {'threads':>7} {'regs':>5} {'shared':>7} {'warps/SM':>8} {'length':>7} {'FFMA':>5}"
    lines = [
        f"{name:32} {capability:3} {x.threads:7} {x.registers:5} {x.shared:7} {x.warps:8} {len(x.instructions):7} {share:5.2f}"
        for name, capability, x, share in TABLE
    ]
    print("\n".join([head, *lines]), file=sys.stderr)
    if not TABLE:
        pytest.skip("run together with test_every_kernel")
    assert len(TABLE) % len(CAPABILITIES) == 0
    assert all(x.warps >= 8 for _, capability, x, _ in TABLE if capability != 75)
