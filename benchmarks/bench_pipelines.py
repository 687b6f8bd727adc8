"""One text at a time through each pipeline on the CPU, float32: albert_np beside transformers.

    python benchmarks/bench_pipelines.py              some ten minutes on two cores
    python benchmarks/bench_pipelines.py --quick      few calls, nothing written

Both libraries have a checkpoint of ALBERT-base's shape, the demo's vocabulary and a process of their own, and take turns. A
whole run writes benchmarks/results/pipelines.json and .md.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from pathlib import Path
from typing import Any

from engine_process import Child
from machine import RESULTS, machine, write
from tqdm import tqdm
from workloads import CONFIG, made_once

import albert_np
from albert_np.golden.cases import trained_like

TAGS = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC", 4: "I-LOC"}
NLI = {0: "contradiction", 1: "neutral", 2: "entailment"}
TEXT = "The old house stood at the end of the street, and nobody had lived in it for twenty years."
CONTEXT = " ".join([TEXT] * 4)
# task: class, parts, values of its config, arguments of a call
CALLS: dict[str, tuple[str, tuple[str, ...], dict[str, Any], dict[str, Any]]] = {
    "fill-mask": ("AlbertForMaskedLM", ("predictions",), {}, {"inputs": TEXT.replace("house", "[MASK]")}),
    "text-classification": ("AlbertForSequenceClassification", ("pooler", "classifier"), {}, {"inputs": TEXT}),
    "token-classification": (
        "AlbertForTokenClassification",
        ("classifier",),
        {"id2label": TAGS},
        {"inputs": TEXT, "aggregation_strategy": "simple"},
    ),
    "question-answering": ("AlbertForQuestionAnswering", ("qa_outputs",), {}, {"question": "Who?", "context": CONTEXT}),
    "zero-shot-classification": (
        "AlbertForSequenceClassification",
        ("pooler", "classifier"),
        {"id2label": NLI},
        {"sequences": TEXT, "candidate_labels": ["houses", "sports", "music"]},
    ),
    "feature-extraction": ("AlbertModel", ("pooler",), {}, {"inputs": TEXT}),
}


def checkpoint(task: str) -> Path:
    """A folder with a model of that task, ALBERT-base's shape, the demo's vocabulary and the files of both tokenizers."""
    kind, parts, values, _ = CALLS[task]

    def make(folder: Path) -> None:
        config = CONFIG.replace(**values)
        getattr(albert_np, kind)(config, tensors=trained_like(config, parts, 5)).save_pretrained(folder)
        tokenizer = albert_np.AlbertTokenizerFast.from_pretrained("demo")
        tokenizer.model_max_length = CONFIG.max_position_embeddings
        tokenizer.save_pretrained(folder)

    return made_once(f"pipeline-{task}", make)


# --- the two sides, each in a process of its own ---------------------------------------------------------------------------


def serve(pipe: Any, ours: bool, folders: dict[str, Path], threads: int) -> None:
    """Answers the name of a task with the seconds of a call."""
    made: dict[str, Any] = {}
    if ours:
        albert_np.set_num_threads(threads)
        for task, folder in folders.items():
            made[task] = albert_np.pipeline(task, folder)
        version = albert_np.__version__
    else:
        import torch
        import transformers

        torch.set_num_threads(threads)
        for task, folder in folders.items():
            tokenizer = transformers.AlbertTokenizerFast.from_pretrained(folder)
            made[task] = transformers.pipeline(task, model=str(folder), tokenizer=tokenizer, device="cpu")
        version = f"transformers {transformers.__version__}, torch {torch.__version__}"
    pipe.send((True, version))
    while True:
        task = pipe.recv()[0]
        start = time.perf_counter()
        made[task](**CALLS[task][3])
        pipe.send((True, time.perf_counter() - start))


def latencies(sides: dict[str, Child], tasks: list[str], rounds: int, bar: tqdm) -> dict[str, Any]:
    """Milliseconds of a call: the least and the median of all rounds, the two sides in turn."""
    samples: dict[str, dict[str, list[float]]] = {task: {side: [] for side in sides} for task in tasks}
    order = random.Random(0)
    for _ in range(rounds):
        for task in tasks:
            for side in order.sample(list(sides), len(sides)):
                samples[task][side] += [sides[side].ask(task) * 1000 for _ in range(3)]
            bar.update()
    found = {}
    for task, by_side in samples.items():
        row: dict[str, Any] = {
            side: {"best_ms": round(min(x), 2), "median_ms": round(statistics.median(x), 2)}
            for side, x in by_side.items()
        }
        row["ratio"] = round(row["albert_np"]["best_ms"] / row["peer"]["best_ms"], 3)
        found[task] = row
    return found


def report(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    lines = ["| pipeline, one text | albert_np, ms | transformers, ms | ratio |", "|---|---:|---:|---:|"]
    for task, row in result["latency"].items():
        lines.append(f"| {task} | {row['albert_np']['best_ms']} | {row['peer']['best_ms']} | {row['ratio']} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few calls, nothing written")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="of both libraries (default: %(default)s)")
    args = parser.parse_args()
    rounds = 2 if args.quick else 10
    tasks = list(CALLS)
    folders = {task: checkpoint(task) for task in tasks}
    with tqdm(total=rounds * len(tasks), desc="loading") as bar:
        sides = {
            side: Child(serve, side == "albert_np", folders, args.threads, threads=args.threads)
            for side in ("albert_np", "peer")
        }
        versions = {side: child.receive() for side, child in sides.items()}
        for task in tasks:  # once, so that nothing is compiled or cached in a round
            for child in sides.values():
                child.ask(task)
        bar.set_description("latency")
        result = {"threads": args.threads, "versions": versions, "latency": latencies(sides, tasks, rounds, bar)}
        for child in sides.values():
            child.close()
    text = report(result)
    print(text if args.quick else json.dumps({"machine": machine()} | result, indent=1))
    if not args.quick:
        write("pipelines", result)
        (RESULTS / "pipelines.md").write_text(text)


if __name__ == "__main__":
    main()
