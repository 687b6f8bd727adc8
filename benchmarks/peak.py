"""What one core, and several together, can do at most: fused multiply-adds a second, and bytes copied a second.

The loop multiplies and adds in registers only: one vector instruction after the other on accumulators that do not wait
for each other, so nothing but the arithmetic units limits it. Prints both:  python benchmarks/peak.py [--threads 1 2]
"""

from __future__ import annotations

import argparse
import platform
import threading
import time
from collections.abc import Callable
from functools import cache

import numpy as np
from machine import l3_bytes

from albert_np.machine import cpuinfo

UNROLL = 8  # rounds of all accumulators a turn of the loop, so that counting turns costs nothing


def lanes() -> int:
    """Floats in the widest vector of this CPU."""
    flags = set((cpuinfo("flags", "Features") or [""])[0].split())
    return 16 if "avx512f" in flags else 8 if {"avx2", "fma"} <= flags else 4


def accumulators() -> int:
    """A fused multiply-add takes 4 cycles, and 2 (x86) or 4 (Arm) start in each: 8 or 16 must be under way, or more."""
    return 24 if platform.machine() in ("aarch64", "arm64") else 12  # 32 registers there, 16 with AVX2


@cache
def fma_loop() -> Callable[[int, np.float32], np.float32]:
    """Compiled: runs `turns` turns without the interpreter's lock and returns a sum, so that none of it is dead code."""
    from llvmlite import ir
    from numba import float32, int64, njit
    from numba.core import cgutils
    from numba.extending import intrinsic

    width, count = lanes(), accumulators()

    @intrinsic
    def loop(typing_context, turns, x):
        def generate(context, builder, signature, args):
            turns, x = args
            scalar = ir.FloatType()
            vector = ir.VectorType(scalar, width)
            # by name: llvmlite's declare_intrinsic does not know vector types
            fma = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{width}f32"
            )

            def splat(value):
                one = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
                zeros = ir.Constant(ir.VectorType(ir.IntType(32), width), [0] * width)
                return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), zeros)

            factor = splat(x)
            # different beginnings: equal accumulators would be merged into one
            starts = [splat(builder.fmul(x, ir.Constant(scalar, float(k + 1)))) for k in range(count)]
            before, body, after = builder.block, builder.append_basic_block("fma"), builder.append_basic_block("sum")
            builder.branch(body)
            builder.position_at_end(body)
            turn = builder.phi(turns.type)
            turn.add_incoming(ir.Constant(turns.type, 0), before)
            sums = [builder.phi(vector) for _ in range(count)]
            values = list(sums)
            for _ in range(UNROLL):
                values = [builder.call(fma, [value, factor, factor]) for value in values]
            for phi, start, value in zip(sums, starts, values, strict=True):
                phi.add_incoming(start, before)
                phi.add_incoming(value, body)
            following = builder.add(turn, ir.Constant(turns.type, 1))
            turn.add_incoming(following, body)
            builder.cbranch(builder.icmp_signed("<", following, turns), body, after)
            builder.position_at_end(after)
            total = values[0]
            for value in values[1:]:
                total = builder.fadd(total, value)
            return builder.extract_element(total, ir.Constant(ir.IntType(32), 0))

        return float32(int64, float32), generate

    @njit(float32(int64, float32), nogil=True)
    def run(turns, x):
        return loop(turns, x)

    return run


def together(threads: int, work: Callable[[int], object]) -> float:
    """Seconds from the start that all threads wait for to the end of the last one."""
    if threads == 1:
        start = time.perf_counter()
        work(0)
        return time.perf_counter() - start
    barrier, starts, ends = threading.Barrier(threads), [0.0] * threads, [0.0] * threads

    def one(index: int) -> None:
        barrier.wait()
        starts[index] = time.perf_counter()
        work(index)
        ends[index] = time.perf_counter()

    runners = [threading.Thread(target=one, args=(index,)) for index in range(threads)]
    for runner in runners:
        runner.start()
    for runner in runners:
        runner.join()
    return max(ends) - min(starts)


def fma_gflops(threads: int, seconds: float = 0.05) -> float:
    """Gflop/s of one run of about `seconds`; a fused multiply-add counts as two."""
    loop, x = fma_loop(), np.float32(0.5)  # a·½ + ½ goes to 1: never large, never subnormal
    flops_a_turn = 2 * lanes() * accumulators() * UNROLL
    turns = 1 + int(seconds * 100e9 / flops_a_turn)
    return threads * turns * flops_a_turn / together(threads, lambda _: loop(turns, x)) / 1e9


def copy_gb_per_s(threads: int, repeats: int = 5) -> float:
    """GB/s read and written, both counted, of copying more than the caches hold; best of `repeats`."""
    count = 4 * l3_bytes() // 4 // threads  # four times the last cache, in float32
    pairs = [(np.ones(count, np.float32), np.zeros(count, np.float32)) for _ in range(threads)]
    best = min(together(threads, lambda index: np.copyto(pairs[index][1], pairs[index][0])) for _ in range(repeats))
    return threads * count * 4 * 2 / best / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="how many (default: %(default)s)")
    args = parser.parse_args()
    print(f"{lanes()} floats a vector, {accumulators()} accumulators")
    for threads in args.threads:
        best = max(fma_gflops(threads) for _ in range(10))
        print(f"{threads} threads: {best:7.1f} Gflop/s, copy {copy_gb_per_s(threads):5.1f} GB/s (reads and writes)")


if __name__ == "__main__":
    main()
