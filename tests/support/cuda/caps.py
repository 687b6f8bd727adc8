"""What a kernel of the GPU may take at most once it is compiled, and which instructions it must have."""

from __future__ import annotations

import re
from dataclasses import dataclass

from albert_np.kernels.cuda.compiled import compile_kernel
from albert_np.kernels.cuda.kernel import Kernel

RESERVED = {90: 1024, 80: 1024, 75: 0}  # bytes of shared memory that each block has beside its own, where counted in it
FLOAT64 = r"D(ADD|MUL|FMA|SETP|MNMX)|F2F\.(F64|F32\.F64)|I2F\S*F64|F2I\S*F64|MUFU\.\w+64H"


@dataclass(frozen=True)
class Caps:
    """What a kernel may take at most, and the instructions that it must have at least."""

    kernel: Kernel
    registers: int
    shared: int  # bytes
    share: float  # of the instruction that does the work, in the inner loop
    wanted: dict[str, int]


def check(name: str, caps: Caps, capabilities: tuple[int, ...], work: str) -> list[str]:
    """Asserts them, and what no kernel may have: a stack, spills, float64. The lines of resource_table for it."""
    lines = []
    for capability, found in compile_kernel(caps.kernel, capabilities).items():
        where, share = f"{name} for {capability}", found.share(work)
        assert found.stack == 0, where
        assert not found.count("LDL|STL"), where
        assert not found.count(FLOAT64), (where, {x: n for x, n in found.opcodes.items() if re.match(FLOAT64, x)})
        assert found.registers <= caps.registers, (where, found.registers)
        assert found.shared <= caps.shared + (RESERVED[capability] if found.shared else 0), (where, found.shared)
        for pattern, count in caps.wanted.items():
            assert found.count(pattern) >= count, (where, pattern, found.opcodes)
        assert share >= caps.share, (where, share)
        # two warps for each of an SM's four schedulers; 7.5, with half the threads, may have fewer
        assert found.warps >= 8 or capability == 75, (where, found.warps)
        lines.append(
            f"{name:32} {capability:3} {found.threads:7} {found.registers:5} {found.shared:7} {found.warps:8} "
            f"{len(found.instructions):7} {share:5.2f}"
        )
    return lines


def resource_table(lines: list[str], work: str) -> str:
    head = f"{'kernel':32} {'cc':>3} {'threads':>7} {'regs':>5} {'shared':>7} {'warps/SM':>8} {'length':>7} {work:>5}"
    return "\n".join([head, *lines])
