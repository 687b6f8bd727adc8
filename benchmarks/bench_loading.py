"""How long ALBERT-base takes to load from each format, beside its safetensors file, and how much memory that takes.

Every round loads each format once, in turn, from the operating system's cache of files; transformers too, where it and torch
are installed. Memory is the most that a fresh process held while it loaded, less what it held before, over the bytes of the
weights: the model itself is 1. albert_np writes all formats but TensorFlow 1's, which TensorFlow itself writes, in the Python
that --tensorflow names. Writes benchmarks/results/loading.json:
python benchmarks/bench_loading.py [--rounds N] [--backend NAME] [--tensorflow PYTHON]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from machine import RESULTS, write
from tqdm import tqdm
from workloads import made_once, masked_lm_checkpoint

import albert_np
from albert_np.checkpoints.formats import google_names, safetensors
from albert_np.golden.cases import TINY
from albert_np.machine import installed

FORMATS = ("safetensors", "bin", "h5", "msgpack", "tf1")
SAVER = """
import sys
import numpy as np, tensorflow as tf
v1 = tf.compat.v1
arrays = np.load(sys.argv[1])
with tf.Graph().as_default(), v1.Session() as session:
    values = {name: v1.placeholder(arrays[name].dtype, arrays[name].shape) for name in arrays}
    for name, value in values.items():
        v1.get_variable(name, initializer=value)
    session.run(v1.global_variables_initializer(), {values[name]: arrays[name] for name in arrays})
    v1.train.Saver().save(session, sys.argv[2], write_meta_graph=False, write_state=False)
"""


def small_checkpoint() -> Path:
    """A tiny model of the same class: what it imports, the large one need not."""
    return made_once("masked-lm-tiny", albert_np.AlbertForMaskedLM(albert_np.AlbertConfig(**TINY)).save_pretrained)


def converted(source: Path, kind: str, tensorflow: str) -> Path | None:
    """The same weights in another format; None where nothing here writes it."""
    if kind == "safetensors":
        return source
    if kind != "tf1":
        return made_once(f"{source.name}-{kind}", lambda folder: albert_np.convert(source, folder, to=kind) and None)
    if not tensorflow:
        return None
    return made_once(f"{source.name}-tf1", lambda folder: saved_by_tensorflow(source, folder, tensorflow))


def saved_by_tensorflow(source: Path, folder: Path, python: str) -> None:
    """A TensorFlow 1 checkpoint under google-research's names."""
    arrays = {
        tensor.name.removeprefix("albert."): tensor.load() for tensor in safetensors.read(source / "model.safetensors")
    }
    layer = "bert/encoder/transformer/group_0/inner_group_0/"
    names = [*google_names.NAMES, *(layer + name for name in google_names.LAYER)]
    named = {name: arrays[hub] for name in names if (hub := google_names.hub_name(name)) in arrays}
    assert len(named) == len(arrays)
    folder.mkdir()
    (folder / "config.json").write_bytes((source / "config.json").read_bytes())
    with tempfile.TemporaryDirectory() as work:
        stored = {name: x.T if google_names.is_transposed(name) else x for name, x in named.items()}
        np.savez(Path(work) / "arrays.npz", **stored)
        command = [python, "-c", SAVER, f"{work}/arrays.npz", str(folder / "model.ckpt-best")]
        subprocess.run(command, check=True, capture_output=True)


def held_bytes(field: str) -> int:
    """VmRSS: what this process holds; VmHWM: the most it has held."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def memory(small: str, base: str, backend: str) -> float:
    """The most that is held while the large one loads, over the bytes of its weights."""
    albert_np.AlbertForMaskedLM.from_pretrained(small, backend=backend)
    Path("/proc/self/clear_refs").write_text("5")  # the most held, from here on
    before = held_bytes("VmRSS")
    model = albert_np.AlbertForMaskedLM.from_pretrained(base, backend=backend)
    return (held_bytes("VmHWM") - before) / sum(x.nbytes for _, x in model.named_parameters())


def peak(small: Path, base: Path, backend: str) -> float:
    command = [sys.executable, __file__, "--child", str(small), str(base), backend]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def seconds(load: Callable[[], Any]) -> float:
    start = time.perf_counter()
    load()
    return time.perf_counter() - start


def peers(folders: dict[str, Path]) -> dict[str, Callable[[], Any]]:
    """transformers, which reads two of the formats."""
    if missing := [package for package in ("torch", "transformers") if installed(package) is None]:
        print(f"transformers left out: {', '.join(missing)} not installed", file=sys.stderr)
        return {}
    import transformers

    load = transformers.AlbertForMaskedLM.from_pretrained
    return {f"transformers, {kind}": lambda kind=kind: load(folders[kind]) for kind in ("safetensors", "bin")}


def measure(rounds: int, backend: str, tensorflow: str) -> dict[str, Any]:
    found = {kind: converted(masked_lm_checkpoint(), kind, tensorflow) for kind in FORMATS}
    folders = {kind: folder for kind, folder in found.items() if folder is not None}
    smalls = {kind: converted(small_checkpoint(), kind, tensorflow) for kind in folders}
    load = albert_np.AlbertForMaskedLM.from_pretrained
    ways = {kind: lambda folder=folder: load(folder, backend=backend) for kind, folder in folders.items()}
    ways |= peers(folders)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in tqdm(range(rounds + 1), file=sys.stderr, disable=None):
        for name, way in ways.items():
            times[name].append(seconds(way))
    table = {}
    for name, runs in times.items():
        ratios = [run / first for run, first in zip(runs[1:], times["safetensors"][1:], strict=True)]
        table[name] = {
            "best_ms": round(min(runs[1:]) * 1e3, 2),
            "median_ms": round(statistics.median(runs[1:]) * 1e3, 2),
            "times_safetensors": round(statistics.median(ratios), 2),
        }
        if name in folders:
            table[name]["memory_of_weights"] = round(peak(smalls[name], folders[name], backend), 2)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40, metavar="N", help="loads a figure (default: %(default)s)")
    parser.add_argument("--backend", default="auto", help="of the models (default: %(default)s)")
    parser.add_argument("--tensorflow", default="", metavar="PYTHON", help="a Python that has TensorFlow, for tf1")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="FOLDER", help="where the JSON goes")
    parser.add_argument("--child", nargs=3, metavar=("SMALL", "BASE", "BACKEND"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(memory(*args.child))
        return
    table = measure(args.rounds, args.backend, args.tensorflow)
    packages = {name: installed(name) for name in ("h5py", "google-crc32c", "torch", "transformers")}
    write(
        "loading", {"rounds": args.rounds, "backend": args.backend, "packages": packages, "loading": table}, args.output
    )
    for name, row in table.items():
        held = f"   memory {row['memory_of_weights']:5.2f} of the weights" if "memory_of_weights" in row else ""
        print(f"{name:26} median {row['median_ms']:8.2f} ms   {row['times_safetensors']:5.2f} of safetensors{held}")


if __name__ == "__main__":
    main()
