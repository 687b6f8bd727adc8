"""What benchmarks/bench_cuda.py should measure on an NVIDIA H200, worked out where no GPU is at hand. Nothing is measured.

The launches are those that albert_np plans, written down by stand-ins for kernels/cuda/device.py. kernels/cuda/roofline.py says
what each takes; a forward takes their sum, with a gap for each launch, and some time of the host. Tiles, launches and machine
code are facts.

Writes cuda_predicted.json and cuda_predicted.md: python benchmarks/predict_cuda.py. With --text it predicts
nothing, and prints the second as the first has it.
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
from math import prod
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from machine import RESULTS, write
from workloads import CONFIG, GPU_DTYPES, GPU_SHAPES

from albert_np import AlbertModel
from albert_np.kernels.cuda import roofline
from albert_np.kernels.cuda.roofline import (
    BARRIER,
    COPY,
    CUBLAS_BFLOAT16,
    CUBLAS_FLOAT32,
    GAP,
    HOST,
    LATENCY,
    PARTS,
    SMS,
    WAIT,
    Launch,
    Work,
    times,
)
from albert_np.machine import installed

Found = dict[str, dict[str, Any]]  # rows of a table
COMPILED: dict[Any, Any] = {}  # Kernel -> compiled.Compiled, for sm_90


def stand_in() -> list[Launch]:
    """The list that launches come to from now on; no driver is asked for anything."""
    from albert_np.kernels.cuda import compiled, device

    compiled.without_a_gpu()
    launches: list[Launch] = []

    def prepare(kernel: Any, grid: tuple[int, ...], *arguments: Any) -> Any:
        launches.append((kernel, grid, arguments))
        return lambda: None

    def memory(nbytes: int) -> Any:
        return SimpleNamespace(nbytes=nbytes, address=0, lent=False, write=lambda offset, x, wait=True: None)

    device.Memory = memory
    device.prepare, device.synchronize = prepare, lambda: None
    device.missing, device.capability, device.multiprocessors = lambda: "", lambda: (9, 0), lambda: SMS
    return launches


def work(launch: Launch) -> Work:
    from albert_np.kernels.cuda import attention, attention_tensor, matmul

    (kernel, grid, a), tensor = launch, launch[0].name.startswith("tensor_")
    made = inspect.getclosurevars(kernel.function).nonlocals  # what it was made for: ROWS, COLUMNS, KEYS …
    if kernel.name.endswith("matmul"):
        x, residual, out, M, N, K = a[0], a[5], a[7], *a[-3:]
        item, sums, depth = x.dtype.itemsize, *((grid[2], matmul.CHUNK) if made.get("SPLIT") else (1, K))
        memory = item * (M * K + K * N) + M * N * (out.dtype.itemsize * sums + 4 * (residual is not None))
        fetched, fmas = (made["ROWS"] + made["COLUMNS"]) * item * depth, made["ROWS"] * made["COLUMNS"] * depth
        shared, wait = 0, WAIT
        if tensor:  # each warp reads what it multiplies
            warps, wait = kernel.threads // 32, max(BARRIER, LATENCY / (made["STAGES"] - 1))
            shared = fetched + warps * (made["WARP_ROWS"] + made["WARP_COLUMNS"]) * item * depth
        return Work(memory, prod(grid) * fetched, fmas, shared, -(-depth // made["DEPTH"]), wait)
    if kernel.name.endswith("attention"):
        item, row, context_row, T = a[0].dtype.itemsize, a[3], a[5], a[9]
        width, steps = attention.width_of(context_row // grid[1]), -(-T // made["KEYS"])
        queries, keys = (attention_tensor if tensor else attention).QUERIES, steps * made["KEYS"]
        values = 2 * keys * width * item  # bytes, those of keys too
        shared, wait = (values * (1 + kernel.threads // 32), LATENCY) if tensor else (0, WAIT)
        fetched = prod(grid) * (values + queries * width * item)
        return Work(grid[2] * T * (row + context_row) * item, fetched, 2 * queries * keys * width, shared, steps, wait)
    if kernel.name == "embed":
        return Work(4 * a[8].nbytes)  # a word, a type, a position: of each as much as there is in out
    if kernel.name == "add_chunks":
        return Work(4 * a[-2] * (a[1] * a[2] + a[-1] * (1 if a[4] is None else 2)))  # M, sums_row, chunks, N, residual
    return Work(sum({(id(x.memory), x.offset): x.nbytes for x in a if hasattr(x, "memory")}.values()))


def predicted(launch: Launch) -> tuple[float, str, dict[str, float]]:
    """Seconds, what they go to, and all of `times`."""
    if launch[0] not in COMPILED:
        from albert_np.kernels.cuda.compiled import compile_kernel

        COMPILED[launch[0]] = compile_kernel(launch[0])[90]
    found = times(launch, work(launch), COMPILED[launch[0]])
    return *max((found[part], part) for part in PARTS), found


def buffer(*shape: int, dtype: Any = np.float32) -> Any:
    dtype = np.dtype(dtype)
    return SimpleNamespace(memory=object(), offset=0, shape=shape, dtype=dtype, nbytes=prod(shape) * dtype.itemsize)


def kernels(launches: list[Launch]) -> Found:
    """Those of bench_cuda.py that something is wanted of: of cuBLAS, or of the bandwidth of a copy."""
    from albert_np.backends.cuda.precision import operand_dtype
    from albert_np.backends.cuda.program import Linear, Program, add_linear
    from albert_np.kernels.cuda import layer_norm, softmax
    from albert_np.kernels.cuda.rows import row_of

    asked: dict[
        str, tuple[Launch, float, float, float]
    ] = {}  # FLOP or bytes; so many a second by the peer; wanted of it
    for kind, n, peer, wanted in (("float32", 4096, CUBLAS_FLOAT32, 0.60), ("bfloat16", 8192, CUBLAS_BFLOAT16, 0.40)):
        x, out, weight = (buffer(n, n, dtype=operand_dtype(kind)) for _ in range(3))
        add_linear(Program(), x, n, Linear(weight, buffer(n), n, n, kind), out, n)
        asked[f"matmul {kind} {n}³"] = launches.pop(), 2 * n**3, peer, wanted
    rows, H = 2**18, CONFIG.hidden_size
    (x, out), grid, size = (buffer(rows, H) for _ in range(2)), (rows // row_of(H).rows_a_block,), 4 * rows * H
    asked["layer_norm"] = (layer_norm.layer_norm(H), grid, (x, out)), 2 * size, COPY, 0.75
    some = (rows * H // 512 // softmax.ROWS,)
    asked["softmax"] = (softmax.softmax(512, "keys", False), some, (x, out)), 2 * size, COPY, 0.75
    found = {}
    for name, (launch, amount, peer, wanted) in asked.items():
        seconds, bound, its = predicted(launch)
        found[name] = {
            "code": label(launch[0]),
            "predicted ms": 1e3 * seconds,
            "goes to": bound,
            "predicted TFLOP/s or TB/s": amount / seconds / 1e12,
            "without guesses at most": amount / its["least"] / 1e12,
            "assumed of the peer": peer / 1e12,
            "predicted ÷ peer": amount / seconds / peer,
            "wanted": wanted,
            "wanted, of that most": wanted * peer * its["least"] / amount,
        }
    return found


def forwards(launches: list[Launch], dtype: str) -> Found:
    model, found = AlbertModel(CONFIG, backend="cuda", dtype=dtype), {}
    for B, T in GPU_SHAPES:
        launches.clear()
        model(np.ones((B, T), np.int64), output="device")
        each = [predicted(launch) for launch in launches]
        parts = {part: sum(seconds for seconds, bound, _ in each if bound == part) for part in PARTS}
        parts |= {"gaps": GAP * len(each), "host": HOST}
        row = {"predicted ms": 1e3 * sum(parts.values()), "launches": len(each)}
        row["without guesses at least ms"] = 1e3 * sum(its["least"] for _, _, its in each)
        found[f"{B}×{T}"] = row | {f"{name} ms": 1e3 * seconds for name, seconds in parts.items()}
    return found


def label(kernel: Any) -> str:
    made, kind = inspect.getclosurevars(kernel.function).nonlocals, {"H": " bfloat16", "F": " tf32"}
    name = kernel.name.strip("_") + (kind[kernel.parameters[0]] if kernel.name.startswith("tensor_") else "")
    return name + (f" {made['ROWS']}×{made['COLUMNS']}" if "COLUMNS" in made else "") + " split" * made.get("SPLIT", 0)


def resources() -> Found:
    """Of the kernels that were asked about; of those that differ by activation and residual, the one with most registers."""
    found = {}
    for kernel, code in sorted(COMPILED.items(), key=lambda one: one[1].registers):
        does = "HMMA" if "tensor" in kernel.name else "FFMA" if kernel.name in ("matmul", "attention") else None
        found[label(kernel)] = {
            "threads": code.threads,
            "registers": code.registers,
            "shared bytes": code.shared,
            "warps an SM": code.warps,
            "of the inner loop": f"{code.share(does):.2f} {does}" if does else "–",
        }
    return dict(sorted(found.items()))


def table(head: str, rows: Found) -> list[str]:
    lines = [[head, *next(iter(rows.values()))]]
    lines.append(["---"] * len(lines[0]))
    for name, row in rows.items():
        lines.append([name, *(f"{x:.3g}" if isinstance(x, float) else str(x) for x in row.values())])
    return ["", *(f"| {' | '.join(line)} |" for line in lines)]


def as_text(result: dict[str, Any]) -> str:
    lines = [
        "**Nothing here was measured: these are predictions for an NVIDIA H200, made before any GPU was at hand; only the last "
        "table has facts. What `python benchmarks/bench_cuda.py` measured later is in [cuda.md](cuda.md).**",
        "",
        "Made by `python benchmarks/predict_cuda.py`, which says how. The peer of a matmul is cuBLAS, of rows a copy. *Without "
        "guesses*: arithmetic and memory alone. The parts of a forward add up to it.",
        "",
        "## Predictions",
        *(line for head, rows in result["predicted"].items() for line in table(head, rows)),
        "",
        "## What they rest on",
        *table("constant", result["assumed"]),
        "",
        "## Facts: the kernels, compiled for sm_90",
        "",
        "By " + ", ".join(result["compilers"]) + ".",
        *table("kernel", result["compiled"]),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Predict what bench_cuda.py should measure on an NVIDIA H200.")
    parser.add_argument(
        "--text", action="store_true", help="print the committed predictions as text, and predict nothing"
    )
    if parser.parse_args().text:
        print(as_text(json.loads((RESULTS / "cuda_predicted.json").read_text())), end="")
        return
    launches = stand_in()
    predicted = {"kernel": kernels(launches)} | {f"forward, {dtype}": forwards(launches, dtype) for dtype in GPU_DTYPES}
    constants = re.findall(r"^([A-Z_0-9]+) = (\S+)  # (.+)$", Path(roofline.__file__).read_text(), re.MULTILINE)
    assumed = {name: {"value": value, "which is": source} for name, value, source in constants}
    compilers = [f"{name} {installed(name)}" for name in ("numba-cuda", "nvidia-nvvm", "nvidia-nvjitlink")]
    result = {"measured": False, "predicted": predicted, "assumed": assumed, "compilers": compilers}
    result["compiled"] = resources()
    write("cuda_predicted", result)
    (RESULTS / "cuda_predicted.md").write_text(as_text(result))


if __name__ == "__main__":
    main()
