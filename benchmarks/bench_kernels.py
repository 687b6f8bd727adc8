"""Each kernel of the CPU engine against its floor: the multiply-adds a core can do, or the bytes it can copy.

A GEMM is held against the FMA peak, measured just before it; LayerNorm, the embedding and the copy, which move numbers more
than they compute, against copying the same bytes with NumPy; the activations against the time of the GEMM that they follow,
768 multiply-adds an element. Writes benchmarks/results/cpu_kernels.json:
python benchmarks/bench_kernels.py [--threads 1 2] [--rounds N]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from machine import RESULTS, write
from peak import fma_gflops
from tqdm import tqdm

import albert_np
from albert_np.kernels.cpu import operands, steps
from albert_np.kernels.cpu.arena import Buffers
from albert_np.kernels.cpu.names import ACTIVATION_CODES
from albert_np.kernels.cpu.program import Program

H, N, I, E, V = 768, 12, 3072, 128, 30000  # ALBERT-base
GEMMS = [(H, H), (H, 3 * H), (H, I), (I, H), (E, H), (E, V)]
ROWS = (8, 32, 128, 512)


def filled(rows: int, columns: int, rng: np.random.Generator) -> np.ndarray:
    x = operands.rows_of(rows, columns)
    x[:] = rng.standard_normal(x.shape)
    return x


def gemm_case(M: int, K: int, columns: int, rng: np.random.Generator) -> tuple[Callable[[], Program], float]:
    """A program of several equal products, and its flops."""
    x, c = filled(M, K, rng), operands.rows_of(M, columns)
    b = operands.pack(rng.standard_normal((columns, K)).astype(np.float32).T)
    times = max(1, 256 // M) if columns <= I else 1

    def make() -> Program:
        program = Program()
        for _ in range(times):
            operands.add_gemm(program, x, b, c, M)
        return program

    return make, 2.0 * M * K * columns * times


def attention_case(B: int, T: int, rng: np.random.Generator) -> tuple[Callable[[], Program], float]:
    qkv, context, buffers = filled(B * T, 3 * H, rng), operands.rows_of(B * T, H), Buffers()
    who = operands.sequences(np.ones((B, T), bool))

    def make() -> Program:
        program = Program()
        program.work = float(B * T * T * H)
        steps.add_attention(program, buffers, (qkv, qkv[:, H:], qkv[:, 2 * H :]), context, who, N, T, D=H // N)
        return program

    return make, 4.0 * B * T * T * H


def attention_backward_case(
    B: int, T: int, rng: np.random.Generator, dropout: bool
) -> tuple[Callable[[], Program], float]:
    """Five products: scores again, and the gradients with respect to probabilities, q, k and v."""
    qkv, d_qkv, d_context, buffers = (
        filled(B * T, 3 * H, rng),
        operands.rows_of(B * T, 3 * H),
        filled(B * T, H, rng),
        Buffers(),
    )
    who = operands.sequences(np.ones((B, T), bool))
    factors = rng.choice(np.array([0, 1 / 0.9], np.float32), (B, N, T, T), p=[0.1, 0.9]) if dropout else None

    def make() -> Program:
        program = Program(training=True)
        program.work = float(B * T * T * H)
        heads, d_heads = ((x, x[:, H:], x[:, 2 * H :]) for x in (qkv, d_qkv))
        steps.add_attention_backward(program, buffers, d_context, heads, d_heads, who, N, T, D=H // N, dropout=factors)
        return program

    return make, 10.0 * B * T * T * H


def row_cases(R: int, rng: np.random.Generator) -> dict[str, tuple[Callable[[], Program], float]]:
    """What moves rows: the program and the bytes that it must read and write."""
    x, out = filled(R, H, rng), operands.rows_of(R, H)
    weight, bias = np.ones(H, np.float32), np.zeros(H, np.float32)
    ids, kinds = rng.integers(0, V, R), np.zeros(R, np.int64)
    words, types, positions = (rng.standard_normal((n, E)).astype(np.float32) for n in (V, 2, 512))

    def layer_norm() -> Program:
        program = Program()
        program.work = 1e9  # worth sharing
        steps.add_layer_norm(program, x, weight, bias, 1e-12, out, R)
        return program

    def embed() -> Program:
        program = Program()
        program.work = 1e9
        places = np.arange(R) % 512
        steps.add_embeddings(program, ids, words, kinds, types, places, positions, weight, bias, 1e-12, out)
        return program

    return {"layer_norm": (layer_norm, 8.0 * R * H), "embed": (embed, 8.0 * R * E)}


def activation_case(name: str, R: int, rng: np.random.Generator) -> Callable[[], Program]:
    x, out = filled(R, I, rng), operands.rows_of(R, I)

    def make() -> Program:
        program = Program()
        program.work = 1e9
        steps.add_activation(program, x, out, R, I, ACTIVATION_CODES[name])
        return program

    return make


def seconds(make: Callable[[], Program]) -> float:
    program = make()
    start = time.perf_counter()
    program.run()
    return time.perf_counter() - start


def copy_seconds(R: int, columns: int) -> float:
    x, out = np.ones((R, columns), np.float32), np.zeros((R, columns), np.float32)
    start = time.perf_counter()
    np.copyto(out, x)
    return time.perf_counter() - start


def measure(threads: int, rounds: int) -> list[dict[str, Any]]:
    """Rows of {kernel, shape, threads, best time, floor, share}; every round runs each case once, after its floor."""
    rng = np.random.default_rng(0)
    products = {f"gemm {M}×{K}×{n}": gemm_case(M, K, n, rng) for M in ROWS for K, n in GEMMS if M < 512 or n < V}
    products |= {f"attention {B}×{T}": attention_case(B, T, rng) for B, T in ((1, 32), (1, 128), (1, 512), (8, 128))}
    products |= {
        f"attention_backward 8×128{', dropout' if dropout else ''}": attention_backward_case(8, 128, rng, dropout)
        for dropout in (False, True)
    }
    moved = {f"{name} {R} rows": case for R in (128, 4096) for name, case in row_cases(R, rng).items()}
    functions = {f"{name} 128×{I}": activation_case(name, 128, rng) for name in ("gelu_new", "gelu", "relu", "tanh")}
    times: dict[str, list[float]] = {}
    floors: dict[str, list[float]] = {}
    with albert_np.num_threads(threads):
        for _ in tqdm(range(rounds), desc=f"{threads} threads", disable=None):
            for name, (make, flops) in products.items():
                floors.setdefault(name, []).append(flops / fma_gflops(threads, 0.005) / 1e9)
                times.setdefault(name, []).append(seconds(make))
            for name, (make, size) in moved.items():
                R = int(name.split()[1])
                floors.setdefault(name, []).append(copy_seconds(R, int(size) // 8 // R))
                times.setdefault(name, []).append(seconds(make))
            for name, make in functions.items():
                peak = fma_gflops(threads, 0.005)
                floors.setdefault(name, []).append(2.0 * 128 * H * I / peak / 1e9)
                times.setdefault(name, []).append(seconds(make))
    return [
        {
            "kernel": name,
            "threads": threads,
            "best_us": round(min(taken) * 1e6, 1),
            "floor_us": round(min(floors[name]) * 1e6, 1),
            "floor_over_time": round(min(floors[name]) / min(taken), 3),
        }
        for name, taken in times.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="how many (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=20, help="best of so many (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="FOLDER", help="where the JSON goes")
    args = parser.parse_args()
    rows = [row for threads in args.threads for row in measure(threads, args.rounds)]
    for row in rows:
        print(
            f"{row['kernel']:34} {row['threads']} threads {row['best_us']:10.1f} µs  floor/time {row['floor_over_time']:.3f}"
        )
    floors = {"gemm, attention": "FMA peak", "layer_norm, embed": "NumPy copy", "functions": "the GEMM before them"}
    write("cpu_kernels", {"rounds": args.rounds, "floors": floors, "kernels": rows}, args.output)


if __name__ == "__main__":
    main()
