"""The GEMM's block on CPUs that are not here: compiled for each, its inner loop keeps every sum in a register."""

import json
import subprocess
import sys

import pytest
from support import needs, unmeasured

needs.module("numba", "numba")

# level, LLVM's target and CPU, its multiply-add and what a line that touches the stack looks like
CPUS = [
    ("avx512", "x86_64-unknown-linux-gnu", "skylake-avx512", "vfmadd", "%rsp"),
    ("avx2", "x86_64-unknown-linux-gnu", "haswell", "vfmadd", "%rsp"),
    ("neon", "aarch64-unknown-linux-gnu", "neoverse-n1", "fmla", "[sp"),
    ("sse", "x86_64-unknown-linux-gnu", "x86-64-v2", "mulps", "%rsp"),
]
COMPILE = """
import json, re, sys
from albert_np.kernels.cpu import simd
level, triple, cpu = sys.argv[1:]
simd.chosen_level = lambda: simd.LEVELS[level]
from albert_np.kernels.cpu import gemm
from llvmlite import binding
binding.initialize_all_targets(); binding.initialize_all_asmprinters()
machine = binding.Target.from_triple(triple).create_target_machine(cpu=cpu, opt=3)
listing = machine.emit_assembly(binding.parse_assembly(str(gemm.blocks()))).splitlines()
block, blocks = gemm.LEVEL, []
for parts in gemm.PARTS:
    lines = listing[listing.index(f"albert_np_block_{block.rows}x{block.vectors}_{parts}:"):]
    lines = lines[:next(i for i, line in enumerate(lines) if line.startswith(".Lfunc_end"))]
    labels, loops = {}, []
    for i, line in enumerate(lines):
        if label := re.match(r"(\\.\\w+):", line):
            labels[label[1]] = i
        jump = re.match(r"\\s+(?:j\\w+|b\\.\\w+|cbn?z\\s+\\w+,)\\s+(\\.\\w+)", line)
        if jump and labels.get(jump[1], i) < i:
            loops.append(lines[labels[jump[1]]:i + 1])
    blocks.append(loops)
print(json.dumps({"blocks": blocks, "multiply_adds": gemm.UNROLL * block.rows * block.vectors}))
"""


@pytest.mark.parametrize(("level", "triple", "cpu", "multiply_add", "stack"), CPUS, ids=[cpu[0] for cpu in CPUS])
def test_the_inner_loop_is_multiply_adds_and_touches_no_stack(level, triple, cpu, multiply_add, stack):
    child = subprocess.run(
        [sys.executable, "-c", COMPILE, level, triple, cpu],
        capture_output=True,
        text=True,
        env=unmeasured(),
        check=False,
        timeout=120,
    )
    assert child.returncode == 0, child.stderr
    found = json.loads(child.stdout)
    for loops in found["blocks"]:
        counts = [sum(multiply_add in line for line in loop) for loop in loops]
        assert found["multiply_adds"] in counts
        inner = loops[counts.index(found["multiply_adds"])]
        assert not [line for line in inner if stack in line]
        assert len(inner) < 2.5 * found["multiply_adds"] * (1 if multiply_add != "mulps" else 2)
