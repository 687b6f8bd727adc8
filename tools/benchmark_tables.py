"""Tables and pictures of docs/benchmarks.md, docs/cpu_engine.md and others, from benchmarks/results/*.json and nothing else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from bars import Bars, svg

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"
SHAPES = {"ragged": "ragged 32"}


@cache
def result(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / f"{name}.json").read_text("utf-8"))


def table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers_from: int = 1) -> str:
    """Markdown; columns from numbers_from on stand to the right."""
    marks = ["---" if i < numbers_from else "---:" for i in range(len(head))]
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, *rows)]
    lines.insert(1, "|" + "|".join(marks) + "|")
    return "\n".join(lines) + "\n"


def measured_on(name: str) -> str:
    """One sentence: which machine, which versions, which commit."""
    facts = result(name)["machine"]
    registers = [flag for flag in ("avx512f", "avx2", "neon") if flag in facts.get("cpu_flags", "")][:1]
    cpu = facts["cpu"] + (f" ({registers[0].removesuffix('f').upper()})" if registers else "")
    versions = [
        f"{what} {facts[what]}"
        for what in ("python", "numpy", "numba", "torch", "transformers", "onnxruntime", "openvino")
        if what in facts
    ]
    where = f"[`{name}.json`](../benchmarks/results/{name}.json)"
    return f"Measured on {cpu}, with {', '.join(versions)}, at commit {facts['commit']}: {where}."


def number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def shape(name: str) -> str:
    return SHAPES.get(name, name.replace("x", " × "))


# --- the forward ----------------------------------------------------------------------------------------------------------


def forward_rows(threads: int) -> list[dict[str, Any]]:
    """For each batch: milliseconds of every engine."""
    found = []
    for row in result("cpu_forward")["rows"]:
        if row["threads"] == threads:
            best = {name: times["best_ms"] for name, times in row["engines"].items()}
            found.append({"shape": shape(row["shape"]), "ms": best, "gflop": row["gflop"]})
    return found


def peers() -> list[str]:
    return [name for name, engine in result("cpu_forward")["engines"].items() if not engine["ours"]]


def fastest_peer(times: dict[str, float]) -> str:
    return min((name for name in peers() if name in times), key=times.__getitem__)


def label(name: str) -> str:
    return result("cpu_forward")["engines"][name]["label"]


def forward_table() -> str:
    head = ["threads", "batch × tokens", "fastest peer", "its time", "albert_np", "ratio", "PyTorch"]
    rows = []
    for threads in (1, 2):
        for row in forward_rows(threads):
            best = fastest_peer(row["ms"])
            ours, theirs, pytorch = (row["ms"][name] for name in ("albert_np", best, "pytorch"))
            times = [number(theirs, 1), number(ours, 1), number(ours / theirs, 2), number(pytorch, 1)]
            rows.append([str(threads), row["shape"], label(best), *times])
    return table(head, rows, numbers_from=3) + "\n" + measured_on("cpu_forward") + "\n"


def readme_table() -> str:
    """The times of one thread alone, with three digits or more."""
    rows = []
    for row in forward_rows(1):
        ours, theirs, pytorch = (row["ms"][name] for name in ("albert_np", fastest_peer(row["ms"]), "pytorch"))
        times = [number(time, 0 if time >= 200 else 1) for time in (ours, theirs, pytorch)]
        rows.append([row["shape"], *times[:2], number(ours / theirs, 2), times[2]])
    return table(["batch × tokens", "albert_np", "fastest peer", "ratio", "PyTorch"], rows)


def forward_picture() -> str:
    shown = ["albert_np", "pytorch", "onnxruntime_fused", "openvino"]
    groups = {
        row["shape"]: [None if name not in row["ms"] else row["ms"][name] / row["ms"]["albert_np"] for name in shown]
        for row in forward_rows(2)
    }
    return svg(
        Bars(
            "One forward of ALBERT-base, two threads, float32",
            "time divided by albert_np's: shorter is faster",
            [label(name) for name in shown],
            groups,
        )
    )


# --- kernels --------------------------------------------------------------------------------------------------------------


def kernel_shares() -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    for row in result("cpu_kernels")["kernels"]:
        found.setdefault(row["kernel"], {})[row["threads"]] = row["floor_over_time"]
    return found


def kernel_table() -> str:
    floors = result("cpu_kernels")["floors"]
    rows = [
        [name, floor_of(name, floors), number(shares.get(1), 2), number(shares.get(2), 2)]
        for name, shares in kernel_shares().items()
    ]
    head = ["kernel", "compared with", "1 thread", "2 threads"]
    return table(head, rows, numbers_from=2) + "\n" + measured_on("cpu_kernels") + "\n"


def floor_of(kernel: str, floors: dict[str, str]) -> str:
    name = kernel.partition(" ")[0]
    for names, floor in floors.items():
        if name in names.split(", "):
            return floor
    return floors["functions"]


def kernel_picture() -> str:
    groups = {
        name: [shares.get(1)] for name, shares in kernel_shares().items() if name.startswith(("gemm", "attention"))
    }
    return svg(
        Bars(
            "How near each product comes to what the core can do",
            "share of the peak rate of fused multiply-adds, one thread",
            ["albert_np"],
            groups,
            most=1.0,
            line=(1.0, "peak"),
        )
    )


# --- the others -----------------------------------------------------------------------------------------------------------


def start_table() -> str:
    found = result("cpu_start")["stages"]
    rows = [
        [name, what, number(stage["best_s"], 2), number(stage["peak_MB"], 0)]
        for name, stages in found.items()
        for what, stage in stages.items()
    ]
    head = ["program", "from the start of Python to", "seconds", "peak memory, MB"]
    return table(head, rows, numbers_from=2) + "\n" + measured_on("cpu_start") + "\n"


def import_table() -> str:
    rows = [
        [f"`{name}`" if "import" in name else name, number(1000 * time["best_s"], 0)]
        for name, time in result("import")["seconds"].items()
    ]
    return table(["a new process", "milliseconds"], rows) + "\n" + measured_on("import") + "\n"


def accuracy_table() -> str:
    rows = []
    for weights, engines in result("cpu_accuracy")["medians"].items():
        for engine, outputs in engines.items():
            hidden, logits = outputs["last_hidden_state"], outputs["logits"]
            cells = [weights, engine, f"{hidden['relative_rms_error']:.2e}", f"{logits['relative_rms_error']:.2e}"]
            rows.append([*cells, number(hidden.get("over PyTorch sdpa"), 2)])
    head = ["weights", "engine", "error of hidden states", "error of logits", "hidden states ÷ PyTorch's"]
    return table(head, rows, numbers_from=2) + "\n" + measured_on("cpu_accuracy") + "\n"


def pipeline_table() -> str:
    found = result("pipelines")["latency"]
    rows = [
        [name, number(row["albert_np"]["best_ms"], 1), number(row["peer"]["best_ms"], 1), number(row["ratio"], 2)]
        for name, row in found.items()
    ]
    head = ["one text through a pipeline", "albert_np, ms", "transformers, ms", "ratio"]
    return table(head, rows) + "\n" + measured_on("pipelines") + "\n"


def pipeline_picture() -> str:
    found = result("pipelines")["latency"]
    groups: dict[str, list[float | None]] = {
        name: [row["albert_np"]["best_ms"], row["peer"]["best_ms"]] for name, row in found.items()
    }
    title = "One text through a pipeline, ALBERT-base, two threads"
    return svg(Bars(title, "milliseconds: shorter is faster", ["albert_np", "transformers"], groups, digits=1))


def embedding_table() -> str:
    found = result("embeddings")
    rows = [
        [name, number(row["lines_a_second"], 1), number(row["lines_a_cpu_second"], 1), number(row["peak_MB"], 0)]
        for name, row in found["engines"].items()
    ]
    head = ["program", "lines a second", "lines a CPU second", "peak memory, MB"]
    ratio = f"The median ratio of seconds, turn by turn, is {found['median_ratio_of_seconds']:.1f}."
    return table(head, rows) + f"\n{ratio} {measured_on('embeddings')}\n"


def training_rows(name: str) -> list[tuple[int, str, dict[str, Any], float]]:
    """Threads, engine, figures, and the time divided by that of PyTorch on the same batch."""
    rows = []
    for threads, engines in result(name)["threads"].items():
        for engine, row in engines.items():
            kind = engine.rpartition("_")[2]
            peer = f"pytorch_{kind}" if f"pytorch_{kind}" in engines else "pytorch"
            rows.append((int(threads), engine, row, row["seconds"] / engines[peer]["seconds"]))
    return rows


def training_table(name: str = "training_step") -> str:
    rows = [
        [
            f"{'PyTorch' if engine.startswith('pytorch') else 'albert_np'}: {row['what']}",
            str(threads),
            number(row["seconds"], 2),
            number(ratio, 2),
            number(row["peak_mb"], 0),
        ]
        for threads, engine, row, ratio in training_rows(name)
    ]
    head = ["one step, 8 × 128 tokens", "threads", "seconds", "÷ PyTorch", "peak memory, MB"]
    return table(head, rows) + "\n" + measured_on(name) + "\n"


def dropout_table() -> str:
    return training_table("training_dropout")


def training_picture() -> str:
    names = {
        "albert_np": "albert_np",
        "albert_np_all": "albert_np, all logits",
        "albert_np_recompute": "albert_np, recompute",
        "pytorch": "PyTorch",
    }
    rows = {engine: row for threads, engine, row, _ in training_rows("training_step") if threads == 2}
    groups: dict[str, list[float | None]] = {shown: [rows[name]["peak_mb"] / 1000] for name, shown in names.items()}
    return svg(Bars("Peak memory of a training step, 8 × 128 tokens", "GB", ["memory"], groups))


def loading_table() -> str:
    rows = [
        [name, number(row["best_ms"], 1), number(row["times_safetensors"], 2)]
        for name, row in result("loading")["loading"].items()
    ]
    head = ["ALBERT-base from", "milliseconds", "÷ safetensors"]
    return table(head, rows) + "\n" + measured_on("loading") + "\n"


def tokenizer_table() -> str:
    found = result("tokenizer")
    rows = [
        [
            row["text"],
            "yes" if row["offsets"] else "no",
            number(row["tenth"]["seconds"], 2),
            number(row["whole"]["seconds"], 2),
            number(row["whole"]["peak_MB"], 0),
        ]
        for row in found["rows"]
    ]
    head = ["text", "offsets", "a tenth of it, s", f"{found['characters']:,} characters, s", "peak memory, MB"]
    return table(head, rows, numbers_from=2) + "\n" + measured_on("tokenizer") + "\n"


def onnx_table() -> str:
    found = result("onnx_export")
    rows = [
        [
            file,
            threads,
            number(found["bytes"][file] / 1e6, 1),
            *(number(time["best"], 1) for time in row["ms"].values()),
        ]
        for threads, files in found["threads"].items()
        for file, row in files.items()
    ]
    shapes = [f"{shape(name)}, ms" for name in next(iter(found["threads"]["1"].values()))["ms"]]
    head = ["file, run by ONNX Runtime", "threads", "MB", *shapes]
    return table(head, rows) + "\n" + measured_on("onnx_export") + "\n"


# file of results -> the program that writes it, and what that measures
MADE_BY = {
    "cpu_accuracy": ("bench_accuracy.py", "errors of float32 beside float64"),
    "cpu_forward": ("bench_cpu.py", "the whole forward beside other engines"),
    "cpu_kernels": ("bench_kernels.py", "each kernel beside what the core can do"),
    "cpu_reduced": ("bench_cpu.py", "the forward in bfloat16 and int8, and its answers"),
    "cpu_start": ("bench_start.py", "from import to the first answer"),
    "cuda": ("bench_cuda.py", "GPU kernels beside cuBLAS, forwards beside transformers"),
    "cuda_first_run": ("bench_cuda.py", "forwards of the first run on a GPU"),
    "cuda_predicted": ("predict_cuda.py", "what was expected of a GPU"),
    "distributed": ("bench_distributed.py", "what Ray and Dask add to a batch"),
    "embeddings": ("bench_embeddings.py", "a corpus embedded"),
    "golden_amplification": ("golden_amplification.py", "how errors grow to the end"),
    "import": ("bench_import.py", "the time of importing"),
    "loading": ("bench_loading.py", "loading each format of weights"),
    "onnx_export": ("bench_onnx_export.py", "ONNX Runtime on our files"),
    "pipelines": ("bench_pipelines.py", "one text through each pipeline"),
    "reduced_quality": ("bench_quality.py", "answers in bfloat16 and int8 that are float32's"),
    "real_candidates": ("real_candidates.py", "what the golden kit says of other programs"),
    "tokenizer": ("bench_tokenizer.py", "long texts"),
    "training_bfloat16": ("bench_training.py", "a training step in bfloat16 and float32"),
    "training_dropout": ("bench_training.py", "a training step with dropout"),
    "training_step": ("bench_training.py", "a training step beside PyTorch's"),
}


def files_table() -> str:
    """Every file of results: what it is about, which program writes it, and from which commit it is."""
    rows = []
    for path in sorted(RESULTS.glob("*.json")):
        if path.stem not in MADE_BY:
            raise ValueError(f"MADE_BY in {Path(__file__).name} does not say which program writes {path.name}")
        program, what = MADE_BY[path.stem]
        found = result(path.stem)
        facts = found.get("machine", {})
        machine = found["gpu"].partition(",")[0] if "gpu" in found else str(facts.get("cpu", ""))
        page = f"[{path.stem}.md](../benchmarks/results/{path.stem}.md)" if path.with_suffix(".md").exists() else ""
        cells = [f"[{path.name}](../benchmarks/results/{path.name})", what, f"[{program}](../benchmarks/{program})"]
        rows.append([*cells, page, machine, str(facts.get("commit", ""))])
    head = ["file", "what was measured", "by", "as a table", "machine", "commit"]
    return table(head, rows, numbers_from=len(head))


TABLES = {
    "forward on one thread": readme_table,
    "forward": forward_table,
    "kernels": kernel_table,
    "start": start_table,
    "import": import_table,
    "accuracy": accuracy_table,
    "pipelines": pipeline_table,
    "embeddings": embedding_table,
    "training": training_table,
    "dropout": dropout_table,
    "loading": loading_table,
    "tokenizer": tokenizer_table,
    "onnx": onnx_table,
    "files": files_table,
}
PICTURES = {
    "benchmark_forward.svg": forward_picture,
    "benchmark_kernels.svg": kernel_picture,
    "benchmark_pipelines.svg": pipeline_picture,
    "benchmark_training.svg": training_picture,
}
