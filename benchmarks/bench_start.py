"""From a fresh process to a first answer: seconds and memory of albert_np, beside transformers with torch.

An ALBERT-base checkpoint with the demo's tokenizer fills one mask. Times count from the start of the process, Python's
own included; the files are in the operating system's cache. "cold" is the very first run of a new installation, with an
empty folder for compiled kernels. Writes benchmarks/results/cpu_start.json:
python benchmarks/bench_start.py [--repeats N] [--backend NAME]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import RESULTS, write
from tqdm import tqdm

from albert_np.machine import installed

TEXT = "The capital of [MASK] is Paris."
TOKENS = 16  # of the cold run


def stage(start: float) -> dict[str, float]:
    """Where a child stands: seconds since its parent started it, and the most memory it has held."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        peak_mb = int(line.split()[1]) / 1024
    else:
        import resource

        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on macOS
    return {"seconds": time.perf_counter() - start, "peak_MB": peak_mb}


def answer_albert_np(checkpoint: str, backend: str, start: float) -> dict[str, Any]:
    import albert_np

    stages = {"import": stage(start)}
    fill = albert_np.pipeline("fill-mask", model=checkpoint, backend=backend)
    stages["load"] = stage(start)
    assert len(fill(TEXT)) == 5
    stages["answer"] = stage(start)
    return stages


def cold_albert_np(checkpoint: str, backend: str, start: float) -> dict[str, Any]:
    import numpy as np

    import albert_np

    model = albert_np.AlbertForMaskedLM.from_pretrained(checkpoint, backend=backend)
    model(np.arange(5, 5 + TOKENS)[None])
    return {"answer": stage(start)}


def answer_transformers(checkpoint: str, backend: str, start: float) -> dict[str, Any]:
    """Model and tokenizer by hand: transformers' own pipeline would import more."""
    import torch
    from transformers import AlbertForMaskedLM, AlbertTokenizer

    stages = {"import": stage(start)}
    tokenizer = AlbertTokenizer.from_pretrained(checkpoint)
    model = AlbertForMaskedLM.from_pretrained(checkpoint).eval()
    stages["load"] = stage(start)
    with torch.inference_mode():
        given = tokenizer(TEXT, return_tensors="pt")
        logits = model(**given).logits[given["input_ids"] == tokenizer.mask_token_id]
        best = logits.softmax(-1)[:, : len(tokenizer)].topk(5)
        assert len(tokenizer.convert_ids_to_tokens(best.indices[0].tolist())) == 5
    stages["answer"] = stage(start)
    return stages


CHILDREN = {
    "albert_np": answer_albert_np,
    "albert_np, cold": cold_albert_np,
    "transformers": answer_transformers,
}


def child(name: str, checkpoint: Path, backend: str, compiled: str) -> dict[str, Any]:
    environment = os.environ | {"ALBERT_NP_CACHE_DIR": compiled, "HF_HUB_OFFLINE": "1"}
    start = time.perf_counter()  # the clock of all processes on Linux and macOS
    command = [sys.executable, __file__, "--child", name, str(checkpoint), backend, repr(start)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed: {(done.stderr.strip() or 'no message').splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def cost_of_nothing() -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.perf_counter() - start


def summary(runs: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    table = {}
    for name in runs[0]:
        seconds = [run[name]["seconds"] for run in runs]
        table[name] = {
            "best_s": round(min(seconds), 3),
            "median_s": round(statistics.median(seconds), 3),
            "peak_MB": round(statistics.median(run[name]["peak_MB"] for run in runs), 1),
        }
    return table


def measure(checkpoint: Path, names: list[str], backend: str, repeats: int, cold_repeats: int) -> dict[str, Any]:
    """Every child in turn, repeatedly; the cold one less often, as it compiles everything."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    empty_python = []
    with tempfile.TemporaryDirectory() as compiled, tqdm(total=repeats, file=sys.stderr, disable=None) as bar:
        child("albert_np", checkpoint, backend, compiled)  # fills the cache that the warm runs use
        for repeat in range(repeats):
            empty_python.append(cost_of_nothing())
            for name in names:
                if "cold" not in name:
                    runs[name].append(child(name, checkpoint, backend, compiled))
                elif repeat < cold_repeats:
                    with tempfile.TemporaryDirectory() as empty:
                        runs[name].append(child(name, checkpoint, backend, empty))
            bar.update()
    table = {name: summary(rows) for name, rows in runs.items() if rows}
    return {"python_s": round(min(empty_python), 3), "stages": table}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--repeats", type=int, default=10, metavar="N", help="processes a figure (default: %(default)s)"
    )
    parser.add_argument(
        "--cold", type=int, default=3, metavar="N", help="processes that compile (default: %(default)s)"
    )
    parser.add_argument("--backend", default="numba", help="of albert_np (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="FOLDER", help="where the JSON goes")
    parser.add_argument("--child", nargs=4, metavar=("NAME", "CHECKPOINT", "BACKEND", "START"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        name, checkpoint, backend, start = args.child
        print(json.dumps(CHILDREN[name](checkpoint, backend, float(start))))
        return
    from workloads import masked_lm_checkpoint

    names = list(CHILDREN)
    if missing := [package for package in ("torch", "transformers") if installed(package) is None]:
        names.remove("transformers")
        print(f"transformers left out: {', '.join(missing)} not installed", file=sys.stderr)
    result = measure(masked_lm_checkpoint(), names, args.backend, args.repeats, args.cold)
    settings = {"backend": args.backend, "repeats": args.repeats, "cold_repeats": args.cold}
    write("cpu_start", settings | result, args.output)
    print(f"{'python alone':18} {'':8} best {result['python_s']:7.3f} s")
    for name, stages in result["stages"].items():
        for what, row in stages.items():
            print(
                f"{name:18} {what:8} best {row['best_s']:7.3f} s   median {row['median_s']:7.3f} s   {row['peak_MB']:7.1f} MB"
            )


if __name__ == "__main__":
    main()
