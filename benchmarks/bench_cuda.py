"""The GPU kernels against their floor and against PyTorch in the same run; whole forwards against transformers; their errors.

A matmul is held against torch.nn.functional.linear (cuBLAS) in the same precision, row kernels against the bandwidth of a copy
measured just before, a forward against transformers' AlbertModel uncompiled, with SDPA, and compiled with a CUDA graph for each
shape, in the same precision again: float32 (tf32 off), tf32, bfloat16. Times are medians: of kernels by CUDA events around a
CUDA graph of ten launches, so that no launch is timed, of anybody; of forwards by the clock, until the GPU is idle. Data is
random; everything ran before it is timed. Without torch or transformers the columns of the peer stay empty.

Writes cuda.json, cuda.md and cuda_forward.png into benchmarks/results; with --report only the last two, from the first:
python benchmarks/bench_cuda.py [--rounds N] [--errors N] [--report]
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from machine import RESULTS, write
from workloads import GPU_DTYPES, GPU_SHAPES

import albert_np
from albert_np import AlbertConfig
from albert_np.backends import choose, cuda
from albert_np.machine import installed

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
PEERS = ("eager", "sdpa", "compiled")
KINDS = ("bfloat16", "tf32", "tf32x3")
ROUNDS, TOGETHER = 30, 10
PACKAGES = (
    "numba-cuda",
    "cuda-core",
    "cuda-bindings",
    "nvidia-nvvm",
    "nvidia-nvjitlink",
    "nvidia-cublas",
    "torch",
    "triton",
    "transformers",
)


def events(run: Callable[[], Any], rounds: int, of: int = 1) -> float:
    """Milliseconds on the stream of the kernels, by events; the median, over so many that `run` launches."""
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
    return statistics.median(times) / of


def launched(program: Any, rounds: int) -> float:
    """Milliseconds of a program's launches."""
    from albert_np.kernels.cuda import device

    program.run()
    device.synchronize()
    return events(device.recorded(program.steps * TOGETHER), rounds, TOGETHER)


def torch_events(run: Callable[[], Any], rounds: int) -> float:
    """Milliseconds of what torch launches."""
    import torch

    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(TOGETHER):
            run()
    graph.replay()
    times = []
    for _ in range(rounds):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times) / TOGETHER


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
        return launched(program, rounds)

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
            at, wt, bt = (torch.tensor(z).cuda() for z in (a, w, bias))
            row["cublas_ms"] = torch_events(lambda at=at, wt=wt, bt=bt: torch.nn.functional.linear(at, wt, bt), rounds)
            row["of_cublas"] = row["cublas_ms"] / ms
        found[f"matmul {M}×{columns}×{K}"] = row

    found |= tensor_matmuls(rounds, torch)
    rows = 2**18  # × 768 numbers: 805 MB, well past the second cache
    x, out = (ops.to_device(rng.standard_normal((rows, H), np.float32)) for _ in range(2))
    weight, bias = (ops.resident(rng.standard_normal(H, np.float32)) for _ in range(2))
    source, target = x.block.memory._bytes, out.block.memory._bytes
    copies = {"the driver": events(lambda: target.copy_to_device(source, stream=device._stream()), rounds)}
    if torch:
        here, there = (torch.empty(rows * H, device="cuda") for _ in range(2))
        copies["torch"] = torch_events(lambda: there.copy_(here), rounds)
        del here, there
    by = min(copies, key=lambda name: copies[name])
    bandwidth = 2 * source.nbytes / copies[by] / 1e6
    found["copy"] = {"ms": copies[by], "GB/s": bandwidth, "by": by}

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
                row[f"{name} ms"] = launched(program, rounds)
                if tile == choose(kind, M, columns, K, device.multiprocessors()):
                    row["tile"], row["ms"] = name, row[f"{name} ms"]
            row["tflops"] = 2e-9 * M * columns * K / row["ms"]
            if torch:
                at, wt = (torch.tensor(z).cuda() for z in (a, w))
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
    # the best that torch.compile has for a shape that comes again: kernels made for it, and one CUDA graph
    found["compiled"] = torch.compile(found["sdpa"], mode="reduce-overhead", dynamic=False)
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
        row["its encoder on the GPU"] = events(list(model._engine.plans.values())[-1].run, rounds)
        if others:
            torch._dynamo.reset()  # only so many shapes are kept
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
        for name in PEERS:
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
    known = {**result["versions"], "numba": result["machine"]["numba"], "numpy": result["machine"]["numpy"]}
    driver = known.pop("driver")
    lines = [
        f"Measured by `python benchmarks/bench_cuda.py` on an {result['gpu']}, driver {driver}, on commit "
        f"{result['machine']['commit']}, with "
        + ", ".join(f"{name} {version}" for name, version in known.items())
        + f"; medians of {result['rounds']} rounds.",
        "",
        "## Matrix products",
        "",
        "*M* × *N* × *K*. The peer is cuBLAS, by torch, in the same precision, and for tf32x3 in float32.",
        "",
        "| product | tile | µs | TFLOP/s | cuBLAS µs | speed ÷ cuBLAS | other tiles, µs |",
        "|---" * 7 + "|",
    ]
    for name, row in result["kernels"].items():
        if name.startswith("matmul"):
            others = [f"{key[:-3]}: {1e3 * x:.1f}" for key, x in row.items() if key.endswith(" ms") and "×" in key]
            cells = [name.removeprefix("matmul "), row["tile"], f"{1e3 * row['ms']:.1f}", f"{row['tflops']:.1f}"]
            peer = [f"{1e3 * row['cublas_ms']:.1f}", f"{row['of_cublas']:.2f}"] if "cublas_ms" in row else ["–", "–"]
            lines.append(f"| {' | '.join([*cells, *peer, ', '.join(others) or '–'])} |")
    lines += ["", "## Rows, 805 MB each way", "", "| kernel | ms | GB/s | of the copy |", "|---" * 4 + "|"]
    for name, row in result["kernels"].items():
        if "GB/s" in row:
            label = f"{name}, by {row['by']}" if "by" in row else name
            lines.append(f"| {label} | {row['ms']:.3f} | {row['GB/s']:.0f} | {row.get('of_copy', 1):.2f} |")
    lines += [
        "",
        "## Whole forwards",
        "",
        "ALBERT-base, from ids to hidden states and pooled output, milliseconds. *eager*, *sdpa*: transformers; *compiled*: "
        'the second by `torch.compile(mode="reduce-overhead", dynamic=False)`.',
        "",
        "![times of forwards](cuda_forward.png)",
    ]
    for dtype, forward in result["forward"].items():
        columns = list(next(iter(forward.values())))
        lines += ["", f"| {dtype}, B×T | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
        for name, row in forward.items():
            cells = ["–" if row.get(key) is None else f"{row[key]:.{2 if 'times' in key else 3}f}" for key in columns]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += [
        "",
        "## Errors",
        "",
        "Root mean square of last_hidden_state's error against float64, the median of some inputs.",
        "",
        "| precision | inputs | albert_np | torch | ratio |",
        "|---" * 5 + "|",
    ]
    for dtype, row in result["errors"].items():
        theirs = [f"{row['torch']:.2e}", f"{row['ratio']:.2f}"] if "torch" in row else ["–", "–"]
        cells = [dtype, str(row["inputs"]), f"{row['albert_np']:.2e}", *theirs]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


COLORS = {"albert_np": "#1f6fb4", "compiled": "#e08214", "sdpa": "#9a9a9a", "eager": "#cfcfcf"}
LABELS = {"compiled": "torch.compile, CUDA graphs", "sdpa": "transformers, SDPA", "eager": "transformers, eager"}


def plot(result: dict[str, Any], path: Path) -> None:
    """A panel for each precision: milliseconds of a forward, of everybody."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(result["forward"]), figsize=(16, 5), sharey=True, layout="constrained")
    for axes, (dtype, forward) in zip(panels, result["forward"].items(), strict=True):
        for i, name in enumerate(COLORS):
            drawn = [(x, row[name]) for x, row in enumerate(forward.values()) if row.get(name)]
            where = [x + 0.21 * (i - 1.5) for x, _ in drawn]
            axes.bar(where, [ms for _, ms in drawn], 0.21, color=COLORS[name], label=LABELS.get(name, name))
            for x, (_, ms) in zip(where, drawn, strict=True):
                axes.annotate(
                    f"{ms:.2g}" if ms < 10 else f"{ms:.0f}",
                    (x, ms),
                    xytext=(0, 2),
                    textcoords="offset points",
                    ha="center",
                    va="bottom",
                    rotation=90,
                    fontsize=9,
                )
        axes.set_yscale("log")
        axes.set_xticks(range(len(forward)), [name.replace("×", " × ") for name in forward])
        axes.set_title(dtype)
        axes.set_xlabel("sequences × tokens")
        axes.grid(axis="y", color="0.9")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("milliseconds, lower is faster")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=12)
    figure.suptitle(f"ALBERT-base forward on an {result['gpu'].partition(',')[0]}", fontsize=14)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def report() -> None:
    """cuda.md and the picture, from cuda.json."""
    result = json.loads((RESULTS / "cuda.json").read_text())
    text = as_text(result)
    (RESULTS / "cuda.md").write_text(text)
    print(text)
    plot(result, RESULTS / "cuda_forward.png")


def versions() -> dict[str, str]:
    """Of the driver, of what compiles and launches the kernels, and of the peers."""
    asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "--id=0"]
    driver = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    return {"driver": driver or "unknown"} | {name: found for name in PACKAGES if (found := installed(name))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--errors", type=int, default=20, help="inputs that errors are measured on")
    parser.add_argument("--report", action="store_true", help="measure nothing, and write the report of cuda.json")
    options = parser.parse_args()
    if options.report:
        report()
        return
    answer = choose.available()["cuda"]
    if answer != "yes":
        raise SystemExit(f"nothing to measure here: {answer}")
    torch: Any = None
    if importlib.util.find_spec("torch") is not None:
        import torch  # type: ignore[no-redef]

        torch.backends.cuda.matmul.allow_tf32 = False
    with_peers = torch is not None and importlib.util.find_spec("transformers") is not None
    result = {
        "gpu": cuda.describe(),
        "versions": versions(),
        "rounds": options.rounds,
        "kernels": kernels(options.rounds, torch),
        "forward": {dtype: forwards(options.rounds, torch, with_peers, dtype) for dtype in GPU_DTYPES},
        "errors": {dtype: errors(options.errors, torch, with_peers, dtype) for dtype in GPU_DTYPES},
    }
    write("cuda", result)
    report()


if __name__ == "__main__":
    main()
