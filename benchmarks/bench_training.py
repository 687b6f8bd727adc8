"""One training step of ALBERT-base on the CPU: forward, backward and AdamW, in float32 and bfloat16, beside PyTorch.

Masked words (15 % of the tokens) and sentence order, 8 × 128 tokens, no dropout, as ALBERT v2 was trained; the same with
dropout, as ALBERT v1 was; and with sequences of 16 to 128 tokens, padded to 128, as examples come when a model is fine-tuned
(tokens/s counts real ones; "÷ PyTorch" compares with PyTorch on the same batch and in the same dtype, with or without dropout).
Every engine has a process of its own, the same initial weights, the same batch and the same number of threads; a round gives
each of them one step, in turn. The best step counts, and the median stands beside it. Writes
benchmarks/results/training_step.json and .md: python benchmarks/bench_training.py [--threads 1 2] [--rounds N].
training_dropout.* there are four of the engines on another machine.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from engine_process import Child
from machine import RESULTS, machine, write
from tqdm import tqdm

B, T, RATE = 8, 128, 1e-4
ENGINES = {
    "albert_np": "logits of masked tokens only",
    "albert_np_all": "all logits",
    "albert_np_bfloat16": "products of layers in bfloat16, logits of masked tokens only",
    "albert_np_recompute": "logits of masked tokens only, activations computed again",
    "pytorch": "all logits, sdpa attention, torch.optim.AdamW",
    "pytorch_bfloat16": "autocast to bfloat16, all logits, sdpa attention, torch.optim.AdamW",
    "albert_np_dropout": "dropout 0.1, logits of masked tokens only",
    "pytorch_dropout": "dropout 0.1, all logits, sdpa attention, torch.optim.AdamW",
    "albert_np_ragged": "16 to 128 tokens, logits of masked tokens only",
    "pytorch_ragged": "16 to 128 tokens, all logits, sdpa attention, torch.optim.AdamW",
}
KINDS = ("dropout", "ragged", "bfloat16")


def kind_of(name: str) -> str:
    """What an engine shares with the PyTorch that it is compared with: the batch, dropout, and the dtype of products."""
    return next((kind for kind in KINDS if name.endswith(kind)), "")


def config(dropout: float) -> Any:
    from albert_np import AlbertConfig

    return AlbertConfig(
        hidden_size=768,
        num_attention_heads=12,
        intermediate_size=3072,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        classifier_dropout_prob=0.0,
    )


def batch(name: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    lengths = np.linspace(16, T, B).round() if name.endswith("ragged") else np.full(B, T)
    mask = np.arange(T) < lengths[:, None]
    ids = np.where(mask, rng.integers(5, 30000, (B, T)), 0)
    labels = np.where((rng.random((B, T)) < 0.15) & mask, ids, -100)
    return {
        "input_ids": np.where(labels != -100, 4, ids),
        "attention_mask": mask.astype(np.int64),
        "token_type_ids": np.tile(np.arange(T) >= T // 2, (B, 1)).astype(np.int64),
        "labels": labels,
        "sentence_order_label": rng.integers(0, 2, B),
    }


def ours(name: str, folder: Path, threads: int) -> Callable[[], float]:
    from albert_np import AlbertForPreTraining, set_num_threads
    from albert_np.training.optimizers import AdamW

    set_num_threads(threads)
    dtype = "bfloat16" if kind_of(name) == "bfloat16" else "float32"
    model = AlbertForPreTraining.from_pretrained(folder, backend="numba", dtype=dtype)
    optimizer = AdamW()
    state, given = optimizer.start(model.parameters_to_change()), batch(name)
    options = {"all_logits": name.endswith("all"), "recompute": name.endswith("recompute")}
    seeds = itertools.count()

    def step() -> float:
        drops = {"training": True, "seed": next(seeds)} if kind_of(name) == "dropout" else {}
        loss, gradients = model.value_and_grad(**given, **options, **drops)
        optimizer.update(model.parameters_to_change(), gradients, state, RATE)
        return float(loss)

    return step


def pytorch(name: str, folder: Path, threads: int) -> Callable[[], float]:
    import torch
    import transformers

    torch.set_num_threads(threads)
    model = transformers.AlbertForPreTraining.from_pretrained(folder, attn_implementation="sdpa").train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    given = {key: torch.from_numpy(value) for key, value in batch(name).items()}

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=kind_of(name) == "bfloat16"):
            loss = model(**given).loss
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def serve(pipe: Any, name: str, folder: Path, threads: int) -> None:
    """Answers each question with the seconds and the loss of one step, and the most memory so far, in MB."""
    step = (pytorch if name.startswith("pytorch") else ours)(name, folder / (kind_of(name) or "plain"), threads)
    step()
    pipe.send((True, ""))
    while True:
        pipe.recv()
        start = time.perf_counter()
        loss = step()
        seconds = time.perf_counter() - start
        pipe.send((True, (seconds, loss, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)))


def measured(names: list[str], threads: int, rounds: int, folder: Path, bar: tqdm) -> dict[str, Any]:
    children = {name: Child(serve, name, folder, threads, threads=threads) for name in names}
    for child in children.values():
        child.receive()
    samples: dict[str, list[tuple[float, float, float]]] = {name: [] for name in names}
    for _ in range(rounds):
        for name, child in children.items():
            samples[name].append(child.ask("step"))
            bar.update()
    for child in children.values():
        child.close()
    return {
        name: {
            "what": ENGINES[name],
            "seconds": min(x[0] for x in found),
            "median": statistics.median(x[0] for x in found),
            "tokens_per_second": int(batch(name)["attention_mask"].sum()) / min(x[0] for x in found),
            "peak_mb": max(x[2] for x in found),
            "losses": [x[1] for x in found],
        }
        for name, found in samples.items()
    }


def table(results: dict[str, dict[str, Any]]) -> str:
    lines = [
        "| threads | engine | s a step | median | tokens/s | peak MB | time ÷ PyTorch |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for threads, engines in results.items():
        base = {kind_of(name): x["seconds"] for name, x in engines.items() if name.startswith("pytorch")}
        lines += [
            f"| {threads} | {name}: {x['what']} | {x['seconds']:.2f} | {x['median']:.2f} | {x['tokens_per_second']:.0f} | "
            f"{x['peak_mb']:.0f} | {x['seconds'] / base.get(kind_of(name), float('nan')):.2f} |"
            for name, x in engines.items()
        ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=7, help="steps of each engine (default: %(default)s)")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="FOLDER")
    options = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        from albert_np import AlbertForPreTraining

        for kind in ("plain", *KINDS):
            model = AlbertForPreTraining(config(0.1 if kind == "dropout" else 0.0), backend="numpy")
            model.save_pretrained(Path(folder) / kind)
        steps = len(options.threads) * len(options.engines) * options.rounds
        with tqdm(total=steps, disable=not sys.stderr.isatty()) as bar:
            for threads in options.threads:
                results[str(threads)] = measured(options.engines, threads, options.rounds, Path(folder), bar)
    print(table(results))
    write("training_step", {"machine": machine(), "batch": f"{B}x{T}", "threads": results}, options.output)
    (options.output / "training_step.md").write_text(table(results) + "\n")


if __name__ == "__main__":
    main()
