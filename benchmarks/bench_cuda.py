"""The GPU kernels against their floor and against PyTorch in the same run; whole forwards against transformers; their errors.

A matmul is held against torch.nn.functional.linear (cuBLAS) in the same precision, row kernels against the bandwidth of a copy
measured just before, a forward against transformers' AlbertModel uncompiled, with SDPA and compiled, in the same precision
again: float32 (tf32 off), tf32, bfloat16. Times are medians, by CUDA events for
kernels and by the clock, until the GPU is idle, for forwards; data is random; everything ran before it is timed. Without torch
or transformers the columns of the peer stay empty. Writes benchmarks/results/cuda.json and cuda.md:
python benchmarks/bench_cuda.py [--rounds N] [--errors N]
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from machine import RESULTS, write
from workloads import GPU_DTYPES, GPU_SHAPES

import albert_np
from albert_np import AlbertConfig
from albert_np.backends import choose as backends

H, N, I, E, V = 768, 12, 3072, 128, 30000  # ALBERT-base
MATMULS = [
    (4096, 4096, 4096),
    (4096, 3072, 768),
    (4096, 768, 3072),
    (1024, 2304, 768),
    (128, 3072, 768),
    (16, 768, 3072),
]
TENSOR_MATMULS = [(8192, 8192, 8192), (4096, 4096, 4096), (4096, 3072, 768), (4096, 768, 3072), (128, 3072, 768)]
KINDS = ("bfloat16", "tf32", "tf32x3")
ROUNDS = 30


def events(run: Callable[[], Any], rounds: int) -> float:
    """Milliseconds on the stream of the kernels, by events; the median."""
    from albert_np.kernels.cuda import device
    from albert_np.kernels.cuda.target import cuda

    for _ in range(3):
        run()
    times = []
    for _ in range(rounds):
        begin, end = cuda.event(), cuda.event()
        begin.record(device._stream())
        run()
        end.record(device._stream())
        end.synchronize()
        times.append(cuda.event_elapsed_time(begin, end))
    return statistics.median(times)


def torch_events(run: Callable[[], Any], rounds: int) -> float:
    import torch

    for _ in range(3):
        run()
    times = []
    for _ in range(rounds):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        run()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times)


def clocked(run: Callable[[], Any], rounds: int) -> float:
    """Milliseconds by the clock; run waits until the GPU is idle."""
    for _ in range(5):
        run()
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - begin))
    return statistics.median(times)


def kernels(rounds: int, torch: Any) -> dict[str, Any]:
    from albert_np.backends.cuda.ops import CudaOps
    from albert_np.backends.cuda.program import Program, add_layer_norm, add_linear, split_sums
    from albert_np.kernels.cuda import device, softmax
    from albert_np.kernels.cuda.kernel import ceil_div
    from albert_np.kernels.cuda.matmul import choose

    ops, rng, found = CudaOps(), np.random.default_rng(0), {}

    def timed(write: Callable[[Program], None]) -> float:
        program = Program()
        write(program)
        return events(program.run, rounds)

    for M, columns, K in MATMULS:
        a, w = rng.standard_normal((M, K), np.float32), rng.standard_normal((columns, K), np.float32)
        bias = np.zeros(columns, np.float32)
        x, out, sums = ops.to_device(a), ops.empty((M, columns)), ops.empty((split_sums(M, columns, K),))
        linear = ops.linear_of((w,), (bias,))

        def multiply(program: Program, x=x, linear=linear, out=out, M=M, K=K, sums=sums) -> None:
            add_linear(program, x.buffer, K, linear, out.buffer, M, sums=sums.buffer)

        ms = timed(multiply)
        tile, split = choose(M, columns, K, device.multiprocessors())
        row = {
            "ms": ms,
            "tflops": 2e-9 * M * columns * K / ms,
            "tile": f"{tile.rows}×{tile.columns}{', split' * split}",
        }
        if torch:
            at, wt, bt = (torch.from_numpy(z).cuda() for z in (a, w, bias))
            row["cublas_ms"] = torch_events(lambda at=at, wt=wt, bt=bt: torch.nn.functional.linear(at, wt, bt), rounds)
            row["of_cublas"] = row["cublas_ms"] / ms
        found[f"matmul {M}×{columns}×{K}"] = row

    found |= tensor_matmuls(rounds, torch)
    rows = 2**18  # × 768 numbers: 805 MB, well past the second cache
    x, out = (ops.to_device(rng.standard_normal((rows, H), np.float32)) for _ in range(2))
    weight, bias = (ops.resident(rng.standard_normal(H, np.float32)) for _ in range(2))
    source, target = x.block.memory._bytes, out.block.memory._bytes
    copy = events(lambda: target.copy_to_device(source, stream=device._stream()), rounds)
    bandwidth = 2 * source.nbytes / copy / 1e6
    found["copy"] = {"ms": copy, "GB/s": bandwidth}

    def share(name: str, ms: float, nbytes: float) -> None:
        found[name] = {"ms": ms, "GB/s": nbytes / ms / 1e6, "of_copy": nbytes / ms / 1e6 / bandwidth}

    nbytes = 4 * rows * H
    share("layer_norm", timed(lambda p: add_layer_norm(p, x.buffer, weight, bias, out.buffer, rows, 1e-12)), 2 * nbytes)
    T, heads = 512, 12
    B = rows * H // (heads * T * T)
    allowed = ops.resident(np.ones((B, T), np.uint8))
    kernel, some = softmax.softmax(T, "keys", False), B * heads * T
    arguments = (x.buffer, allowed, None, out.buffer, some, heads, T, 0)
    share("softmax", timed(lambda p: p.add(kernel, (ceil_div(some, softmax.ROWS),), *arguments)), 2 * 4 * some * T)
    return found


def tensor_matmuls(rounds: int, torch: Any) -> dict[str, Any]:
    """On tensor cores, every tile that a kind has; the one that `choose` takes is marked."""
    from albert_np.backends.cuda.ops import CudaOps, _upload
    from albert_np.backends.cuda.precision import operands_of
    from albert_np.backends.cuda.program import Program
    from albert_np.kernels.cuda import device
    from albert_np.kernels.cuda.matmul_tensor import tensor_matmul
    from albert_np.kernels.cuda.tensor_tiles import TILES, choose

    found, rng = {}, np.random.default_rng(0)
    for M, columns, K in TENSOR_MATMULS:
        a, w = rng.standard_normal((M, K), np.float32), rng.standard_normal((columns, K), np.float32)
        for kind in KINDS:
            ops = CudaOps(kind)
            linear = ops.linear_of((w,), (np.zeros(columns, np.float32),))
            rounded = kind == "bfloat16"
            x = _upload(operands_of(kind, a) if rounded else a)
            out = _upload(np.empty((M, columns), np.uint16 if rounded else np.float32))
            row: dict[str, Any] = {}
            for tile in TILES[kind]:
                program, name = Program(), f"{tile.rows}×{tile.columns}"
                program.add(
                    tensor_matmul(kind, tile, rounded=rounded),
                    tile.blocks_of(M, columns),
                    x,
                    K,
                    linear.weight,
                    linear.row,
                    linear.bias,
                    None,
                    0,
                    out,
                    columns,
                    M,
                    columns,
                    K,
                )
                row[f"{name} ms"] = events(program.run, rounds)
                if tile == choose(kind, M, columns, K, device.multiprocessors()):
                    row["tile"], row["ms"] = name, row[f"{name} ms"]
            row["tflops"] = 2e-9 * M * columns * K / row["ms"]
            if torch:
                at, wt = (torch.from_numpy(z).cuda() for z in (a, w))
                if rounded:
                    at, wt = at.bfloat16(), wt.bfloat16()
                with precision(torch, kind):
                    run = torch.nn.functional.linear
                    row["cublas_ms"] = torch_events(lambda at=at, wt=wt, run=run: run(at, wt), rounds)
                row["of_cublas"] = row["cublas_ms"] / row["ms"]
            found[f"matmul {kind} {M}×{columns}×{K}"] = row
    return found


@contextlib.contextmanager
def precision(torch: Any, dtype: str) -> Iterator[None]:
    """torch's float32 products in tf32, if that is the dtype."""
    torch.backends.cuda.matmul.allow_tf32 = dtype == "tf32"
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False


def weights(config: AlbertConfig, dtype: str = "float32") -> Any:
    """A model of seeded weights, and its tensors under transformers' names."""
    model = albert_np.AlbertModel(config, seed=0, backend="cuda", dtype=dtype)
    return model, model.state_dict()


def peers(config: AlbertConfig, tensors: dict[str, np.ndarray], torch: Any, dtype: str = "float32") -> dict[str, Any]:
    import transformers

    given = config.to_dict()
    keys = (
        "vocab_size",
        "embedding_size",
        "hidden_size",
        "num_attention_heads",
        "intermediate_size",
        "num_hidden_layers",
        "max_position_embeddings",
        "hidden_act",
        "layer_norm_eps",
    )
    found = {}
    for attention in ("eager", "sdpa"):
        theirs = transformers.AlbertConfig(**{key: given[key] for key in keys})
        model = transformers.AlbertModel._from_config(theirs, attn_implementation=attention).eval()
        state = {name.removeprefix("albert."): torch.from_numpy(np.array(x)) for name, x in tensors.items()}
        missing = [
            name for name in model.load_state_dict(state, strict=False).missing_keys if "position_ids" not in name
        ]
        assert not missing, missing
        found[attention] = model.cuda().bfloat16() if dtype == "bfloat16" else model.cuda()
    found["compiled"] = torch.compile(found["sdpa"])
    return found


def forwards(rounds: int, torch: Any, with_peers: bool, dtype: str = "float32") -> dict[str, Any]:
    config = AlbertConfig(
        vocab_size=V, embedding_size=E, hidden_size=H, num_attention_heads=N, intermediate_size=I, num_hidden_layers=12
    )
    model, tensors = weights(config, dtype)
    others = peers(config, tensors, torch, dtype) if with_peers else {}
    found: dict[str, Any] = {}
    for B, T in GPU_SHAPES:
        ids = np.random.default_rng(B * T).integers(1, V, (B, T))
        row = {"albert_np": clocked(lambda ids=ids: model(ids, output="device"), rounds)}
        for name, other in others.items():

            def run(other=other, ids=ids) -> None:
                with torch.inference_mode():
                    other(torch.from_numpy(ids).cuda())
                torch.cuda.synchronize()

            try:
                with precision(torch, dtype):
                    row[name] = clocked(run, rounds)
            except Exception as error:  # a compiler that is not set up here costs its column, and no other
                row[name] = None
                print(f"{name} at {B} × {T}: {type(error).__name__}")
        for name in ("eager", "sdpa"):
            if row.get(name):
                row[f"times as fast as {name}"] = row[name] / row["albert_np"]
        found[f"{B}×{T}"] = row
    return found


def errors(count: int, torch: Any, with_peers: bool, dtype: str) -> dict[str, Any]:
    """RMS errors of last_hidden_state against float64, over those of PyTorch in the same precision."""
    config = AlbertConfig(
        vocab_size=V, embedding_size=E, hidden_size=H, num_attention_heads=N, intermediate_size=I, num_hidden_layers=12
    )
    model, tensors = weights(config, dtype)
    named = {name: x.astype(np.float64) for name, x in model._tensors.items()}
    truth = albert_np.AlbertModel(config, backend="numpy", dtype="float64", tensors=named)
    other = peers(config, tensors, torch, dtype)["eager"] if with_peers else None
    ours, theirs = [], []
    for seed in range(count):
        ids = np.random.default_rng(seed).integers(1, V, (1, 16 + 4 * seed))
        expected = truth(ids).last_hidden_state
        ours.append(float(np.sqrt(np.mean((model(ids).last_hidden_state - expected) ** 2))))
        if other is not None:
            with torch.inference_mode(), precision(torch, dtype):
                actual = other(torch.from_numpy(ids).cuda()).last_hidden_state.float().cpu().numpy()
            theirs.append(float(np.sqrt(np.mean((actual - expected) ** 2))))
    found: dict[str, Any] = {"inputs": count, "albert_np": statistics.median(ours)}
    if theirs:
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        found |= {"torch": statistics.median(theirs), "ratio": statistics.median(ratios)}
    return found


def as_text(result: dict[str, Any]) -> str:
    lines = [f"{result['gpu']}. Milliseconds, unless said otherwise.", "", "| kernel | | |", "|---|---|---|"]
    for name, row in result["kernels"].items():
        numbers = "; ".join(
            f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()
        )
        lines.append(f"| {name} | {row['ms']:.3f} | {numbers} |")
    for dtype, forward in result["forward"].items():
        columns = list(next(iter(forward.values())))
        lines += ["", f"| forward, {dtype} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
        for name, row in forward.items():
            cells = [f"{row[key]:.3f}" if row.get(key) is not None else "–" for key in columns]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", *(f"RMS error of last_hidden_state in {dtype}: {found}" for dtype, found in result["errors"].items())]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--errors", type=int, default=20, help="inputs that errors are measured on")
    options = parser.parse_args()
    answer = backends.available()["cuda"]
    if answer != "yes":
        raise SystemExit(f"nothing to measure here: {answer}")
    torch: Any = None
    if importlib.util.find_spec("torch") is not None:
        import torch  # type: ignore[no-redef]

        torch.backends.cuda.matmul.allow_tf32 = False
    with_peers = torch is not None and importlib.util.find_spec("transformers") is not None
    result = {
        "gpu": backends.cuda_device(),
        "rounds": options.rounds,
        "kernels": kernels(options.rounds, torch),
        "forward": {dtype: forwards(options.rounds, torch, with_peers, dtype) for dtype in GPU_DTYPES},
        "errors": {dtype: errors(options.errors, torch, with_peers, dtype) for dtype in GPU_DTYPES},
    }
    write("cuda", result)
    text = as_text(result)
    (RESULTS / "cuda.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
