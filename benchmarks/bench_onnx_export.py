"""ONNX Runtime on the file that this project writes, beside those that torch.onnx.export makes of the same model.

    python benchmarks/bench_onnx_export.py              some five minutes on two cores
    python benchmarks/bench_onnx_export.py --quick      few calls, nothing written

ALBERT-base with its vocabulary logits, float32. Each file has a session in a process of its own, and they take turns. torch
and transformers export with both exporters, once for their versions. A whole run writes benchmarks/results/onnx_export.json
and .md.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from engine_process import Child
from machine import RESULTS, machine, write
from tqdm import tqdm
from workloads import batch, made_once, masked_lm_checkpoint

from albert_np import AlbertForMaskedLM
from albert_np.conversion import onnx_model
from albert_np.machine import installed

SHAPES, THREADS = ("1x8", "1x32", "1x128", "8x128"), (1, 2)
COMPARED = "1x32"  # the shape whose logits are compared
OURS, OLDER, NEWER = "albert_np", "torch, dynamo=False", "torch, dynamo=True"
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def feeds(shape: str) -> dict[str, np.ndarray]:
    ids, mask = batch(shape)
    return dict(zip(INPUTS, (ids, mask, np.zeros_like(ids)), strict=True))


def files(checkpoint: Path) -> dict[str, Path]:
    """The three graphs. Raises EngineError with the reason if torch cannot export."""

    def export(folder: Path) -> None:
        folder.mkdir()
        child = Child(serve_export, checkpoint, folder, threads=1)
        try:
            child.receive()
        finally:
            child.close()

    versions = "-".join(f"{package}-{installed(package)}" for package in ("torch", "transformers"))
    theirs = made_once(f"{checkpoint.name}-exports-{versions}", export)
    ours = theirs / "ours" / "model.onnx"  # written anew by each run, as it is the one that changes
    onnx_model.write(ours, AlbertForMaskedLM.from_pretrained(checkpoint, backend="numpy"))
    return {OURS: ours, OLDER: theirs / "older" / "model.onnx", NEWER: theirs / "newer" / "model.onnx"}


def size(path: Path) -> int:
    """Bytes on disk, with what the file keeps beside it."""
    beside = path.with_name(f"{path.name}.data")
    return path.stat().st_size + (beside.stat().st_size if beside.exists() else 0)


# --- processes ------------------------------------------------------------------------------------------------------------


def serve_export(pipe: Any, checkpoint: Path, folder: Path) -> None:
    """Exports as their documentation says, with optimum's names and axes: the older exporter eager, the newer with SDPA."""
    import torch
    from transformers import AlbertForMaskedLM as Torchs

    class Logits(torch.nn.Module):
        def __init__(self, attention: str) -> None:
            super().__init__()
            self.model = Torchs.from_pretrained(checkpoint, attn_implementation=attention).eval()

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
            return self.model(input_ids, attention_mask, token_type_ids).logits

    given = tuple(torch.from_numpy(x) for x in feeds("2x16").values())
    given[1][1, 10:] = 0
    free = {0: "batch_size", 1: "sequence_length"}
    (folder / "older").mkdir()
    (folder / "newer").mkdir()
    names: dict[str, Any] = {"input_names": list(INPUTS), "output_names": ["logits"]}
    with torch.no_grad():
        axes = dict.fromkeys((*INPUTS, "logits"), free)
        path = folder / "older" / "model.onnx"
        torch.onnx.export(Logits("eager"), given, path, dynamo=False, opset_version=18, dynamic_axes=axes, **names)
        path = folder / "newer" / "model.onnx"
        torch.onnx.export(Logits("sdpa"), given, path, dynamo=True, dynamic_shapes=dict.fromkeys(INPUTS, free), **names)
    pipe.send((True, ""))


def serve_session(pipe: Any, path: Path, threads: int) -> None:
    """Says how long loading took, then answers "logits" with them and "turn" with what each call took."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    start = time.perf_counter()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    pipe.send((True, time.perf_counter() - start))
    while True:
        question, shape, *budget = pipe.recv()
        given = feeds(shape)
        if question == "logits":
            pipe.send((True, session.run(None, given)[0]))
        else:
            pipe.send((True, timed(session, given, budget[0])))


def timed(session: Any, given: dict[str, np.ndarray], budget: float) -> list[tuple[float, float]]:
    """Milliseconds of each call and of CPU time in it, at least one call, until they make up the budget in seconds."""
    session.run(None, given)  # others have used the caches
    samples: list[tuple[float, float]] = []
    while sum(wall for wall, _ in samples) < 1000 * budget:
        cpu, wall = time.process_time(), time.perf_counter()
        session.run(None, given)
        samples.append((1000 * (time.perf_counter() - wall), 1000 * (time.process_time() - cpu)))
    return samples


# --- the run --------------------------------------------------------------------------------------------------------------


def measured(paths: dict[str, Path], truth: np.ndarray, threads: int, rounds: int, bar: tqdm) -> dict[str, Any]:
    """What each file takes with so many threads: seconds to load, milliseconds a call, and how far its logits are off."""
    children = {name: Child(serve_session, path, threads, threads=threads) for name, path in paths.items()}
    found: dict[str, Any] = {name: {"load_s": round(child.receive(), 3)} for name, child in children.items()}
    for name, child in children.items():
        found[name]["largest_difference"] = float(np.abs(child.ask("logits", COMPARED) - truth).max())
    order = random.Random(0)
    samples: dict[str, dict[str, list[Any]]] = {name: {shape: [] for shape in SHAPES} for name in paths}
    for _ in range(rounds):
        for shape in SHAPES:
            for name in order.sample(list(paths), len(paths)):
                samples[name][shape] += children[name].ask("turn", shape, 0.3)
                bar.update()
    for name, by_shape in samples.items():
        found[name]["ms"] = {}
        for shape, both in by_shape.items():
            wall, cpu = zip(*both, strict=True)
            summed = {"best": min(wall), "median": statistics.median(wall), "least_cpu": min(cpu)}
            found[name]["ms"][shape] = {key: round(x, 2) for key, x in summed.items()}
    for child in children.values():
        child.close()
    return found


def report(result: dict[str, Any]) -> str:
    """The result as Markdown: the least time of a call, and with one thread the least CPU time of one in brackets."""
    lines = [
        f"safetensors: {result['safetensors_bytes'] / 1e6:.2f} MB. The least time of a call; with one thread, in brackets,",
        f"the least CPU time of one. Load average: {result['load_average'][0]} before, {result['load_average'][1]} after.",
        "",
        f"| file | MB | threads | loading, s | {', ms | '.join(SHAPES)}, ms | logits off by |",
        f"|---|---:|---:|---:|{'---:|' * len(SHAPES)}---:|",
    ]
    for threads, by_name in result["threads"].items():
        for name, row in by_name.items():
            times = []
            for shape in SHAPES:
                cpu = f" ({row['ms'][shape]['least_cpu']})" if threads == "1" else ""
                times.append(f"{row['ms'][shape]['best']}{cpu}")
            megabytes, off = f"{result['bytes'][name] / 1e6:.2f}", f"{row['largest_difference']:.1e}"
            lines.append(f"| {' | '.join([name, megabytes, threads, str(row['load_s']), *times, off])} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few calls, nothing written")
    parser.add_argument("--rounds", type=int, default=10, metavar="N", help="of each shape (default: %(default)s)")
    args = parser.parse_args()
    rounds = 1 if args.quick else args.rounds
    load = [round(os.getloadavg()[0], 1)]
    checkpoint = masked_lm_checkpoint()
    paths = files(checkpoint)
    model = AlbertForMaskedLM.from_pretrained(checkpoint, backend="numpy")
    truth = model(**feeds(COMPARED)).logits
    result: dict[str, Any] = {
        "model": "ALBERT-base, vocabulary logits, float32",
        "safetensors_bytes": size(checkpoint / "model.safetensors"),
        "bytes": {name: size(path) for name, path in paths.items()},
        "threads": {},
    }
    with tqdm(total=len(THREADS) * rounds * len(SHAPES) * len(paths), desc="turns") as bar:
        for threads in THREADS:
            result["threads"][str(threads)] = measured(paths, truth, threads, rounds, bar)
    result["load_average"] = [
        *load,
        round(os.getloadavg()[0], 1),
    ]  # before and after: on a busy machine only CPU time counts
    text = report(result)
    print(text if args.quick else json.dumps({"machine": machine()} | result, indent=1))
    if not args.quick:
        write("onnx_export", result)
        (RESULTS / "onnx_export.md").write_text(text)


if __name__ == "__main__":
    main()
