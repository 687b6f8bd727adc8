"""What reduced precision changes in answers: the embedded models in bfloat16 and int8 against float32, on held-out books.

    python benchmarks/bench_quality.py --corpus FOLDER     the books and their list: standard_ebooks.txt and BOOKS.md
    python benchmarks/bench_quality.py --corpus FOLDER --part 10     every tenth paragraph, in a minute

The embedded model answers for masked tokens, 15 % of each paragraph of four books that it has not read. Its two fine-tuned
twins answer for sentences (spoken or told) and words (a name or not) of the same books. Where an answer is that of float32,
it is the same: whether it is right does not count here. int8 is rounded without calibration, and with 12 paragraphs of each
book of the training text. Writes benchmarks/results/reduced_quality.json and .md.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from machine import RESULTS, write
from tqdm import tqdm

from albert_np import AlbertForMaskedLM, AlbertForSequenceClassification, AlbertForTokenClassification, AlbertTokenizer
from albert_np.demo.recipe import evaluate, names, speech, tuned

FILES = ("standard_ebooks.txt", "BOOKS.md")
DEMO = Path(evaluate.__file__).parents[1]
PRECISIONS = ("bfloat16", "bfloat16, compensated", "int8", "int8, calibrated")
CALIBRATION = 12  # paragraphs of each book of the training text
WORDS = 5  # of every so many sequences of words: 50,000
EACH = 700  # sentences of each kind of a held-out book, as in the fine-tuned model's own evaluation
BATCH = 32
Batch = tuple[dict[str, Any], np.ndarray]  # the arguments of a call, and which logits (B,M) are asked for


def versions(exact: Any, rows: list[list[int]]) -> Iterator[tuple[str, Any]]:
    """The same model in each precision. rows: of ids, to calibrate with."""
    name = exact.config.name_or_path
    for precision in PRECISIONS:
        if precision == "int8, calibrated":
            yield precision, exact.quantize(rows)
        elif precision == "int8":
            yield precision, exact.quantize()
        elif precision == "bfloat16, compensated":
            yield precision, exact.quantize(dtype="bfloat16")
        else:
            yield precision, type(exact).from_pretrained(name, backend="numba", dtype=precision)


def masked_batches(tokenizer: AlbertTokenizer, examples: Sequence[evaluate.Masked]) -> list[Batch]:
    batches = []
    for numbers in tuned.by_length([len(example.ids) for example in examples]):
        some = [examples[i] for i in numbers]
        rows = []
        for example in some:
            ids = example.ids.copy()
            ids[example.at] = tokenizer.mask_token_id
            rows.append((ids, np.zeros_like(ids)))
        most = max(len(example.at) for example in some)
        positions = np.stack([np.pad(example.at, (0, most - len(example.at)), mode="edge") for example in some])
        asked = np.arange(most) < np.array([len(example.at) for example in some])[:, None]
        batches.append((evaluate._padded(rows, tokenizer) | {"logits_positions": positions}, asked))
    return batches


def masked_tokens(exact: Any, others: dict[str, Any], batches: list[Batch]) -> dict[str, dict[str, float]]:
    """How often the best token is float32's, KL divergence, and how far hidden states of masked tokens are."""
    found = {name: np.zeros(6) for name in others}  # n, same, ΣKL, largest KL, Σ(h' − h)², Σh²
    for call, asked in tqdm(batches, desc="masked tokens", disable=None):
        one = exact(**call, skip_padding=True, output_hidden_states=True)
        p, rows = _log_softmax(one.logits[asked]), np.arange(len(asked))[:, None]
        h = one.hidden_states[-1][rows, call["logits_positions"]][asked].astype(np.float64)
        for name, model in others.items():
            other = model(**call, skip_padding=True, output_hidden_states=True)
            q = _log_softmax(other.logits[asked])
            off = other.hidden_states[-1][rows, call["logits_positions"]][asked] - h
            kl = (np.exp(p) * (p - q)).sum(axis=-1)
            sums = found[name]
            sums[:3] += len(p), (p.argmax(axis=-1) == q.argmax(axis=-1)).sum(), kl.sum()
            sums[3] = max(sums[3], kl.max(initial=0))
            sums[4:] += np.square(off).sum(), np.square(h).sum()
    return {
        name: share(int(n), int(same))
        | {"kl_mean": kl / n, "kl_largest": largest, "hidden_states_relative_rms": math.sqrt(off / size)}
        for name, (n, same, kl, largest, off, size) in found.items()
    }


def _log_softmax(x: np.ndarray) -> np.ndarray:  # (M,V) -> (M,V)
    x = x.astype(np.float64)
    x -= x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def labels(exact: Any, others: dict[str, Any], ask: Callable[[Any], np.ndarray]) -> dict[str, dict[str, float]]:
    own = ask(exact)
    return {name: share(len(own), int((ask(model) == own).sum())) for name, model in others.items()}


def share(n: int, same: int) -> dict[str, float]:
    """error: the standard deviation of the share, as if answers were drawn one by one."""
    return {"n": n, "same": same, "share": same / n, "error": math.sqrt(max(same, 1) / n * (1 - same / n) / n)}


def measure(books: tuned.Books, part: int) -> dict[str, Any]:
    tokenizer = AlbertTokenizer.from_pretrained("demo")
    draw = np.random.default_rng(5)
    chosen = [[p[i] for i in draw.permutation(len(p))[:CALIBRATION]] for p in books.training.values()]
    held = [paragraphs[::part] for paragraphs in books.held_out.values()]
    texts = [text for book in chosen for text in book]
    plain = [tokenizer(text, truncation=True, max_length=tuned.LENGTH)["input_ids"] for text in texts]
    masked = []
    for example in evaluate.masked_paragraphs(tokenizer, chosen, tuned.LENGTH, 7):
        ids = example.ids.copy()
        ids[example.at] = tokenizer.mask_token_id
        masked.append(ids.tolist())
    kinds: dict[str, Any] = {}
    for task, kind, folder, rows in (
        ("masked tokens", AlbertForMaskedLM, "demo", masked),
        ("spoken or told", AlbertForSequenceClassification, DEMO / "speech", plain),
        ("names", AlbertForTokenClassification, DEMO / "names", plain),
    ):
        exact = kind.from_pretrained(folder, backend="numba")
        others = dict(versions(exact, rows))
        if task == "masked tokens":
            examples = evaluate.masked_paragraphs(tokenizer, held, tuned.LENGTH, 0)
            kinds[task] = masked_tokens(exact, others, masked_batches(tokenizer, examples))
        elif task == "spoken or told":
            sentences = [x for own in speech.examples(books.held_out, EACH, 0).values() for x in own][::part]
            kinds[task] = labels(exact, others, lambda model, asked=sentences: speech.answers(model, tokenizer, asked))
        else:
            words = [
                row
                for paragraphs in books.held_out.values()
                for row in names.sequences(tokenizer, paragraphs, names.Use(paragraphs))
                if row.words
            ][:: WORDS * part]
            kinds[task] = labels(exact, others, lambda model, asked=words: names.answers(model, asked))
    return {"corpus_sha256": books.sha256, "every": part, "calibration_paragraphs": len(texts), "tasks": kinds}


def as_markdown(result: dict[str, Any]) -> str:
    lines = [
        "| answers | n | " + " | ".join(PRECISIONS) + " |",
        "|---|---|" + "---|" * len(PRECISIONS),
    ]
    for task, found in result["tasks"].items():
        shares = [f"{100 * found[name]['share']:.2f} ± {100 * found[name]['error']:.2f} %" for name in PRECISIONS]
        lines.append(f"| {task} | {found[PRECISIONS[0]]['n']:,} | {' | '.join(shares)} |")
    masked = result["tasks"]["masked tokens"]
    for title, key in (
        ("KL divergence, mean", "kl_mean"),
        ("hidden states, relative RMS", "hidden_states_relative_rms"),
    ):
        lines.append(f"| {title} | | {' | '.join(f'{masked[name][key]:.2e}' for name in PRECISIONS)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", required=True, type=Path, metavar="FOLDER", help=f"with {' and '.join(FILES)}")
    parser.add_argument("--part", type=int, default=1, metavar="N", help="every N-th paragraph, and nothing is written")
    args = parser.parse_args()
    text, listed = (args.corpus / name for name in FILES)
    result = measure(tuned.read(argparse.Namespace(corpus=text, books=listed)), args.part)
    print(as_markdown(result))
    if args.part == 1:
        write("reduced_quality", result)
        (RESULTS / "reduced_quality.md").write_text(as_markdown(result), encoding="utf-8")


if __name__ == "__main__":
    main()
