"""How far float32 answers are from the truth: albert_np beside PyTorch, ALBERT-base, masked-language model.

The truth is the float64 reference with the same weights, which are float32 values. Each input is one sequence of 8 to 128
random tokens; an error is the root mean square over all entries. Weights are drawn twice: with the statistics of trained
checkpoints, and as transformers initialises them. Writes benchmarks/results/cpu_accuracy.json:
python benchmarks/bench_accuracy.py [--inputs N] [--backend NAME]
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from machine import RESULTS, write
from tqdm import tqdm
from workloads import CONFIG, fresh_masked_lm_checkpoint, masked_lm_checkpoint

from albert_np import AlbertForMaskedLM

SHORTEST, LONGEST = 8, 128
OUTPUTS = ("last_hidden_state", "logits")
Answer = Callable[[np.ndarray], dict[str, np.ndarray]]  # (1,T) -> (1,T,H) and (1,T,V)


def ours(checkpoint: Path, backend: str, dtype: str) -> Answer:
    model = AlbertForMaskedLM.from_pretrained(checkpoint, backend=backend, dtype=dtype)

    def answer(ids: np.ndarray) -> dict[str, np.ndarray]:
        out = model(ids, output_hidden_states=True)
        return {"last_hidden_state": out.hidden_states[-1], "logits": out.logits}

    return answer


def pytorch(checkpoint: Path, attention: str) -> Answer:
    import torch
    import transformers

    model = transformers.AlbertForMaskedLM.from_pretrained(checkpoint, attn_implementation=attention).eval()

    def answer(ids: np.ndarray) -> dict[str, np.ndarray]:
        given = torch.from_numpy(ids)
        with torch.inference_mode():
            # not output_hidden_states: who asks for the answer alone gets the attention that was asked for
            hidden = model.albert(given).last_hidden_state
            return {"last_hidden_state": hidden.numpy(), "logits": model(given).logits.numpy()}

    return answer


def inputs(count: int) -> list[np.ndarray]:  # -> count × (1,T)
    rng = np.random.default_rng(0)
    lengths = rng.integers(SHORTEST, LONGEST + 1, count)
    return [rng.integers(5, CONFIG.vocab_size, (1, T)) for T in lengths]


def rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))


def errors(truth: Answer, answers: dict[str, Answer], batches: list[np.ndarray], what: str) -> list[dict[str, Any]]:
    """A row for each input: the error of every engine, and the size of what it is an error of."""
    rows = []
    for ids in tqdm(batches, desc=what, file=sys.stderr, disable=None):
        right = truth(ids)
        row: dict[str, Any] = {"tokens": ids.shape[1], "truth_rms": {name: rms(right[name]) for name in OUTPUTS}}
        for engine, answer in answers.items():
            given = answer(ids)
            if any(given[name].dtype != np.float32 for name in OUTPUTS):
                raise SystemExit(f"{engine} did not answer in float32")
            row[engine] = {name: rms(given[name] - right[name]) for name in OUTPUTS}
        rows.append(row)
    return rows


def summary(rows: list[dict[str, Any]], engine: str) -> dict[str, dict[str, float]]:
    """Medians over inputs: an engine's relative error, and its error over each PyTorch's on the same input."""
    others = [name for name in rows[0] if name.startswith("PyTorch") and name != engine]
    table = {}
    for name in OUTPUTS:
        relative = statistics.median(row[engine][name] / row["truth_rms"][name] for row in rows)
        table[name] = {"relative_rms_error": float(f"{relative:.3g}")}
        for other in others:
            ratio = statistics.median(row[engine][name] / row[other][name] for row in rows)
            table[name][f"over {other}"] = round(ratio, 3)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=24, metavar="N", help="sequences (default: %(default)s)")
    parser.add_argument("--backend", default="numba", help="of albert_np (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="FOLDER", help="where the JSON goes")
    args = parser.parse_args()
    result: dict[str, Any] = {"inputs": args.inputs, "lengths": [SHORTEST, LONGEST], "medians": {}, "rows": {}}
    checkpoints = {"trained-like": masked_lm_checkpoint(), "transformers' initialisation": fresh_masked_lm_checkpoint()}
    for weights, checkpoint in checkpoints.items():
        answers = {
            f"albert_np {args.backend}": ours(checkpoint, args.backend, "float32"),
            "PyTorch sdpa": pytorch(checkpoint, "sdpa"),
            "PyTorch eager": pytorch(checkpoint, "eager"),
        }
        if args.backend != "numpy":
            answers["albert_np numpy"] = ours(checkpoint, "numpy", "float32")
        rows = errors(ours(checkpoint, "numpy", "float64"), answers, inputs(args.inputs), weights)
        result["rows"][weights] = rows
        result["medians"][weights] = {engine: summary(rows, engine) for engine in answers}
        for engine, table in result["medians"][weights].items():
            for name, values in table.items():
                ratios = "   ".join(f"{key} {value:.2f}" for key, value in values.items() if key.startswith("over"))
                print(f"{weights:29} {engine:16} {name:18} {values['relative_rms_error']:.2e}   {ratios}")
    write("cpu_accuracy", result, args.output)


if __name__ == "__main__":
    main()
