"""Blocks of products on CPUs that are not here: compiled for each, their inner loops keep every sum in a register."""

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
# what cuts a listing into its loops
LOOPS = """
import json, re, sys
def loops_of(listing, name):
    lines = listing[listing.index(f"{name}:"):]
    lines = lines[:next(i for i, line in enumerate(lines) if line.startswith(".Lfunc_end"))]
    labels, loops = {}, []
    for i, line in enumerate(lines):
        if label := re.match(r"(\\.\\w+):", line):
            labels[label[1]] = i
        jump = re.match(r"\\s+(?:j\\w+|b\\.\\w+|cbn?z\\s+\\w+,)\\s+(\\.\\w+)", line)
        if jump and labels.get(jump[1], i) < i:
            loops.append(lines[labels[jump[1]]:i + 1])
    return loops
"""
COMPILE = """
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
    blocks.append(loops_of(listing, f"albert_np_block_{block.rows}x{block.vectors}_{parts}"))
print(json.dumps({"blocks": blocks, "multiply_adds": gemm.UNROLL * block.rows * block.vectors}))
"""


# the same for int8: rung, registers, and the instruction that multiplies
CPUS8 = [
    ("avx512vnni", "avx512", "x86_64-unknown-linux-gnu", "icelake-server", "vpdpbusd", "%rsp"),
    ("avxvnni", "avx2", "x86_64-unknown-linux-gnu", "alderlake", "vpdpbusd", "%rsp"),
    ("avx512", "avx512", "x86_64-unknown-linux-gnu", "skylake-avx512", "pmaddwd", "%rsp"),
    ("avx2", "avx2", "x86_64-unknown-linux-gnu", "haswell", "pmaddwd", "%rsp"),
    ("neon", "neon", "aarch64-unknown-linux-gnu", "neoverse-n1", "smull", "[sp"),
    ("sse", "sse", "x86_64-unknown-linux-gnu", "x86-64-v2", "pmaddwd", "%rsp"),
]
COMPILE8 = """
rung, level, triple, cpu = sys.argv[1:]
from albert_np.kernels.cpu import simd, units
simd.chosen_level = lambda: simd.LEVELS[level]
units.int8 = lambda: ("fours" if "vnni" in rung else "words", rung)
from albert_np.kernels.cpu.int8 import blocks
from llvmlite import binding
binding.initialize_all_targets(); binding.initialize_all_asmprinters()
machine = binding.Target.from_triple(triple).create_target_machine(cpu=cpu, opt=3)
listing = machine.emit_assembly(binding.parse_assembly(str(blocks.blocks()))).splitlines()
loops = loops_of(listing, f"albert_np_block8_{blocks.ROWS}x{blocks.STRIPS}")
print(json.dumps({"loops": loops, "products": blocks.TURN * blocks.ROWS * blocks.STRIPS * blocks.VECTORS}))
"""


def compiled(code, *arguments):
    """What a child prints that compiles for another CPU."""
    child = subprocess.run(
        [sys.executable, "-c", LOOPS + code, *arguments],
        capture_output=True,
        text=True,
        env=unmeasured(),
        check=False,
        timeout=120,
    )
    assert child.returncode == 0, child.stderr
    return json.loads(child.stdout)


@pytest.mark.parametrize(("level", "triple", "cpu", "multiply_add", "stack"), CPUS, ids=[cpu[0] for cpu in CPUS])
def test_the_inner_loop_is_multiply_adds_and_touches_no_stack(level, triple, cpu, multiply_add, stack):
    found = compiled(COMPILE, level, triple, cpu)
    for loops in found["blocks"]:
        counts = [sum(multiply_add in line for line in loop) for loop in loops]
        assert found["multiply_adds"] in counts
        inner = loops[counts.index(found["multiply_adds"])]
        assert not [line for line in inner if stack in line]
        assert len(inner) < 2.5 * found["multiply_adds"] * (1 if multiply_add != "mulps" else 2)


@pytest.mark.parametrize(("rung", "level", "triple", "cpu", "product", "stack"), CPUS8, ids=[cpu[0] for cpu in CPUS8])
def test_the_inner_loop_of_int8_is_products_and_touches_no_stack(rung, level, triple, cpu, product, stack):
    found = compiled(COMPILE8, rung, level, triple, cpu)
    loops = [loop for loop in found["loops"] if sum(product in line for line in loop) >= found["products"]]
    assert loops
    inner = min(loops, key=len)
    assert not [line for line in inner if stack in line]
