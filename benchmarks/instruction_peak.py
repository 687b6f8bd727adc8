"""What one core, and several together, can do at most in bfloat16 and int8: the instructions that multiply pairs and fours.

The loops work in registers only, as those of peak.py do. They are made of LLVM's own code, not of Numba's, because Numba has
no tiles; each returns at once where the CPU lacks the instruction or the system keeps the tiles to itself.
Prints what there is:  python benchmarks/instruction_peak.py [--threads 1 2]

It also tells the state that a core with tiles is in. Where something else works on its second hyperthread, a tile load costs
about three times as much: 13 ns for 4, measured on Sapphire Rapids. Timings from different states cannot be compared.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from peak import fma_gflops, together

SUMS = 12  # accumulators: 2 start in a cycle at most, and each takes 5 or 6
TILE_SUMS = 6  # of 8 tiles; the other two hold what is multiplied
TILES = 8
TURN = 8  # rounds of all accumulators a turn of the loop, so that counting turns costs nothing
CONFIG_BYTES, TILE_BYTES = 64, 1024

SYS_ARCH_PRCTL, ARCH_GET_XCOMP_PERM, ARCH_REQ_XCOMP_PERM, XTILEDATA = 158, 0x1022, 0x1023, 18  # Linux, x86-64


@dataclass(frozen=True)
class Instruction:
    """operations: multiplications and additions of one, both counted."""

    name: str
    precision: str
    intrinsic: str
    needs: tuple[str, ...]  # features, as LLVM calls them
    operations: int
    lanes: int  # of the accumulator; 0 for tiles


INSTRUCTIONS = (
    Instruction("vdpbf16ps", "bfloat16", "llvm.x86.avx512bf16.dpbf16ps.512", ("avx512f", "avx512bf16"), 64, 16),
    Instruction("tdpbf16ps", "bfloat16", "llvm.x86.tdpbf16ps", ("amx-tile", "amx-bf16"), 16 * 16 * 32 * 2, 0),
    Instruction("vpdpbusd", "int8", "llvm.x86.avx512.vpdpbusd.512", ("avx512f", "avx512vnni"), 128, 16),
    Instruction("vpdpbusd, 256 bits", "int8", "llvm.x86.avx512.vpdpbusd.256", ("avxvnni",), 64, 8),
    Instruction("tdpbusd", "int8", "llvm.x86.tdpbusd", ("amx-tile", "amx-int8"), 16 * 16 * 64 * 2, 0),
)


@cache
def features() -> frozenset[str]:
    from llvmlite import binding

    try:
        return frozenset(name for name, has in binding.get_host_cpu_features().items() if has)
    except RuntimeError:  # LLVM does not know how to ask this CPU
        return frozenset()


@cache
def why_no_tiles() -> str | None:
    """None where this process may use tiles from now on, else the reason. Asks the system for them; it is a process's right."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "tiles are used on x86-64 Linux only"
    if "amx-tile" not in features():
        return "this CPU has no tiles"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(SYS_ARCH_PRCTL, ARCH_REQ_XCOMP_PERM, XTILEDATA):
        return f"the system refuses the tiles: {os.strerror(ctypes.get_errno())}"
    granted = ctypes.c_uint64()
    libc.syscall(SYS_ARCH_PRCTL, ARCH_GET_XCOMP_PERM, ctypes.byref(granted))
    return None if granted.value >> XTILEDATA & 1 else "the system granted no tiles"


def available() -> list[Instruction]:
    """Those that run here. LLVM would end the process if it met one that the CPU lacks."""
    found = [x for x in INSTRUCTIONS if features().issuperset(x.needs)]
    if {"avx512vnni", "avx512f"} <= features():  # the narrow one is for CPUs that have nothing wider
        found = [x for x in found if x.lanes != 8]
    return [x for x in found if x.lanes or why_no_tiles() is None]


# --- the loops ------------------------------------------------------------------------------------------------------------


class Loop:
    """void name(turns, memory), with `body` once in each turn. memory: a configuration of tiles, and eight tiles."""

    def __init__(self, module: Any, name: str) -> None:
        from llvmlite import ir

        self.ir, self.i8, self.i64 = ir, ir.IntType(8), ir.IntType(64)
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), [self.i64, self.i8.as_pointer()]), name)
        self.turns, self.memory = function.args
        self.blocks = [function.append_basic_block(part) for part in ("before", "turn", "after")]
        self.builder = ir.IRBuilder(self.blocks[0])

    def begin(self) -> None:
        self.builder.branch(self.blocks[1])
        self.builder.position_at_end(self.blocks[1])
        self.turn = self.builder.phi(self.i64)

    def end(self) -> None:
        following = self.builder.add(self.turn, self.i64(1))
        self.turn.add_incoming(self.i64(0), self.blocks[0])
        self.turn.add_incoming(following, self.blocks[1])
        self.builder.cbranch(self.builder.icmp_signed("<", following, self.turns), self.blocks[1], self.blocks[2])
        self.builder.position_at_end(self.blocks[2])

    def call(self, name: str, result: Any, *args: Any) -> Any:
        kind = self.ir.FunctionType(result, [argument.type for argument in args])
        module = self.builder.module  # by name: llvmlite's declare_intrinsic does not know vector types
        return self.builder.call(module.globals.get(name) or self.ir.Function(module, kind, name), args)

    def place(self, offset: int) -> Any:
        return self.builder.gep(self.memory, [self.i64(offset)])

    def tile(self, name: str, *args: Any) -> None:
        """Numbers of tiles are immediates: LLVM keeps the order of such calls, and leaves tiles alone."""
        self.call(f"llvm.x86.{name}", self.ir.VoidType(), *args)

    def load_tiles(self) -> None:
        for t in range(TILES):
            self.tile("tileloadd64", self.i8(t), self.place(CONFIG_BYTES + TILE_BYTES * t), self.i64(64))


def emit_vectors(module: Any, name: str, x: Instruction) -> None:
    loop = Loop(module, name)
    ir, builder = loop.ir, loop.builder
    scalar = ir.FloatType() if x.precision == "bfloat16" else ir.IntType(32)
    sums_type = ir.VectorType(scalar, x.lanes)
    pairs = bfloat(ir, 2 * x.lanes) if x.precision == "bfloat16" else sums_type
    given = builder.load(builder.bitcast(loop.place(CONFIG_BYTES), pairs.as_pointer()))
    # different beginnings: equal accumulators would be merged into one
    places = [builder.bitcast(loop.place(CONFIG_BYTES + 64 * k), sums_type.as_pointer()) for k in range(SUMS)]
    starts = [builder.load(place) for place in places]
    loop.begin()
    sums = [builder.phi(sums_type) for _ in range(SUMS)]
    values: list[Any] = list(sums)
    for _ in range(TURN):
        values = [loop.call(x.intrinsic, sums_type, value, given, given) for value in values]
    for phi, start, value in zip(sums, starts, values, strict=True):
        phi.add_incoming(start, loop.blocks[0])
        phi.add_incoming(value, loop.blocks[1])
    loop.end()
    for place, value in zip(places, values, strict=True):
        builder.store(value, place)
    builder.ret_void()


def bfloat(ir: Any, lanes: int) -> Any:
    class BFloat(ir.Type):
        """LLVM's bfloat, which llvmlite does not have."""

        def _to_string(self) -> str:
            return "bfloat"

        def __eq__(self, other: object) -> bool:
            return type(other).__name__ == "BFloat"

        def __hash__(self) -> int:
            return hash("bfloat")

    return ir.VectorType(BFloat(), lanes)


def emit_tiles(module: Any, name: str, x: Instruction) -> None:
    loop = Loop(module, name)
    loop.tile("ldtilecfg", loop.memory)
    loop.load_tiles()
    loop.begin()
    for _ in range(TURN):
        for t in range(TILE_SUMS):
            loop.tile(x.intrinsic.removeprefix("llvm.x86."), loop.i8(t), loop.i8(6), loop.i8(7))
    loop.end()
    loop.tile("tilerelease")
    loop.builder.ret_void()


def emit_probe(module: Any, name: str) -> None:
    """Loads of all tiles, one after the other: the busier the core, the longer they take."""
    loop = Loop(module, name)
    loop.tile("ldtilecfg", loop.memory)
    loop.begin()
    loop.load_tiles()
    loop.end()
    loop.tile("tilerelease")
    loop.builder.ret_void()


def name_of(x: Instruction) -> str:
    return f"loop{INSTRUCTIONS.index(x)}"


def machine_code(chosen: list[Instruction], cpu: str, feature_string: str) -> bytes:
    """An object file with a loop for each instruction, and with the probe where there are tiles among them."""
    from llvmlite import binding, ir

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    module = ir.Module("instruction_peak")
    for x in chosen:
        (emit_vectors if x.lanes else emit_tiles)(module, name_of(x), x)
    if not all(x.lanes for x in chosen):
        emit_probe(module, "probe")
    target = binding.Target.from_default_triple()
    parsed = binding.parse_assembly(str(module))
    return target.create_target_machine(cpu=cpu, features=feature_string, opt=2, jit=True).emit_object(parsed)


@cache
def loops() -> Callable[[str], Callable[[int, int], None]]:
    """From a name to the function of this process. ctypes lets other threads run meanwhile."""
    from llvmlite import binding

    chosen = available()
    code = machine_code(chosen, binding.get_host_cpu_name(), ",".join(f"+{name}" for name in sorted(features())))
    machine = binding.Target.from_default_triple().create_target_machine(jit=True)
    engine = binding.create_mcjit_compiler(binding.parse_assembly(""), machine)
    engine.add_object_file(binding.ObjectFileRef.from_data(code))
    engine.finalize_object()

    def function(name: str, engine: Any = engine) -> Callable[[int, int], None]:  # the engine owns the code
        return ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p)(engine.get_function_address(name))

    return function


def memory() -> tuple[np.ndarray, int]:
    """What a loop works on, and where it begins: a multiple of 64, with eight full tiles configured."""
    kept = np.zeros(CONFIG_BYTES + TILES * TILE_BYTES + 64, np.uint8)
    first = -kept.ctypes.data % 64
    config = kept[first : first + CONFIG_BYTES]
    config[0], config[48:56] = 1, 16  # palette 1, 16 rows
    config[16:32].view(np.uint16)[:] = 64  # bytes a row
    kept[first + CONFIG_BYTES :] = 63  # as pairs of bytes ¾ in bfloat16: zeros might cost less power, and so less time
    return kept, kept.ctypes.data + first


# --- what they say --------------------------------------------------------------------------------------------------------


def giga_operations(x: Instruction, threads: int, seconds: float = 0.05) -> float:
    """Gop/s of one run of about `seconds`."""
    loop, places = loops()(name_of(x)), [memory() for _ in range(threads)]
    turns = 1 + int(seconds * turns_a_second(x))
    spent = together(threads, lambda index: loop(turns, places[index][1]))
    return threads * turns * x.operations * TURN * (SUMS if x.lanes else TILE_SUMS) / spent / 1e9


@cache
def turns_a_second(x: Instruction) -> float:
    """About, from one short run: CPUs differ by a factor of eight, and not in the way their flags would have it."""
    loop, (kept, place), turns = loops()(name_of(x)), memory(), 20_000
    seconds = together(1, lambda _: loop(turns, place))
    del kept
    return turns / seconds


def peaks(threads: int) -> dict[str, list[float]]:
    """Three runs of each instruction, and of float32's fused multiply-add."""
    found = {"fma": [fma_gflops(threads) for _ in range(3)]}
    return found | {x.name: [giga_operations(x, threads) for _ in range(3)] for x in available()}


def precision_of(name: str) -> str:
    return next((x.precision for x in INSTRUCTIONS if x.name == name), "float32")


def tile_load_ns() -> float | None:
    """The dearest tile load among the CPUs that this process may use, best of two looks each; None where there are no tiles."""
    if why_no_tiles():
        return None
    load, (kept, place) = loops()("probe"), memory()
    everywhere, turns, dearest = os.sched_getaffinity(0), 200, 0.0
    try:
        for cpu in everywhere:
            os.sched_setaffinity(0, {cpu})  # of this thread alone
            looks = [together(1, lambda _: load(turns, place)) for _ in range(2)]
            dearest = max(dearest, min(looks) / turns / TILES * 1e9)
    finally:
        os.sched_setaffinity(0, everywhere)
    del kept
    return dearest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="how many (default: %(default)s)")
    args = parser.parse_args()
    print(f"tiles: {why_no_tiles() or f'a load takes {tile_load_ns():.1f} ns'}")
    for threads in args.threads:
        rates = {name: max(runs) for name, runs in peaks(threads).items()}
        print(f"{threads} threads, Gop/s: " + ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items()))


if __name__ == "__main__":
    main()
