"""Sentence embeddings of a corpus on the CPU: albert_np beside sentence-transformers with PyTorch, ALBERT-base.

    python benchmarks/bench_embeddings.py                 a sample of 2,000 lines of a corpus of 100,000
    python benchmarks/bench_embeddings.py --lines 100000  all of them: hours

Lengths are log-normal, with a median of 30 tokens. Each engine has a process of its own and the same threads, gets the same
lines, sorts them by length as it does by itself, and is given the next part of them in turn. Seconds are those of the clock;
CPU seconds are beside them, for machines on which others work too. Vectors are compared. Writes
benchmarks/results/embeddings.json and .md.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from engine_process import Child, EngineError
from machine import RESULTS, machine, write
from tqdm import tqdm
from workloads import CONFIG, MEDIAN, SPREAD, made_once, trained_tensors

CORPUS = 100_000  # lines
SPECIAL = 2  # tokens of a line that are not its words
PART = 500  # lines in a turn; whoever pads wants many to sort
SAME = 1e-4  # of the largest entry of a vector
ENGINES = ("albert_np", "sentence-transformers")


def checkpoint() -> Path:
    """A folder of sentence-transformers: ALBERT-base with the statistics of trained weights and the demo's vocabulary."""
    from albert_np import AlbertModel, AlbertTokenizer

    def make(folder: Path) -> None:
        tokenizer = AlbertTokenizer.from_pretrained("demo", model_max_length=512)
        AlbertModel(CONFIG, add_pooling_layer=False, tensors=trained_tensors((), 0)).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        kinds = {"Transformer": "", "Pooling": "1_Pooling"}
        modules = [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for i, (kind, path) in enumerate(kinds.items())
        ]
        (folder / "1_Pooling").mkdir()
        pooling = {"word_embedding_dimension": CONFIG.hidden_size, "pooling_mode_mean_tokens": True}
        for name, value in (
            ("modules.json", modules),
            ("sentence_bert_config.json", {"max_seq_length": 512, "do_lower_case": False}),
            ("1_Pooling/config.json", pooling),
        ):
            (folder / name).write_text(json.dumps(value))

    return made_once("embeddings-base", make)


def lines(count: int) -> Iterator[str]:
    """The corpus, one line at a time: words of the vocabulary, a token each."""
    from albert_np import AlbertTokenizer

    words = [
        piece[1:]
        for piece in AlbertTokenizer.from_pretrained("demo").get_vocab()
        if piece[:1] == "▁" and piece[1:].isalpha()
    ]
    rng = random.Random(0)
    for _ in range(count):
        tokens = rng.lognormvariate(float(np.log(MEDIAN)), SPREAD)
        yield " ".join(rng.choices(words, k=max(1, min(510, round(tokens) - SPECIAL))))


# --- in the processes -----------------------------------------------------------------------------------------------------


def ours(folder: Path, threads: int) -> tuple[Callable[[list[str]], Any], Callable[[list[str]], Any]]:
    import albert_np
    from albert_np.pipelines.jobs import answered

    albert_np.set_num_threads(threads)
    encoder = albert_np.SentenceEncoder.from_pretrained(folder)

    def ask(texts: list[str]) -> Any:
        return encoder.encode(texts, batch_size=len(texts), show_progress_bar=False)

    def encode(texts: list[str]) -> Any:  # as albert-np embed does
        return np.stack(
            [x for _, answers in answered(((str(i), t) for i, t in enumerate(texts)), ask) for x in answers]
        )

    return encode, lambda texts: [encoder.tokenizer(text, truncation=True, max_length=512) for text in texts]


def theirs(folder: Path, threads: int) -> tuple[Callable[[list[str]], Any], Callable[[list[str]], Any]]:
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads)
    model = SentenceTransformer(str(folder), device="cpu")
    return lambda texts: model.encode(texts, batch_size=32), lambda texts: model.tokenizer(texts)


def serve(pipe: Any, name: str, folder: Path, threads: int) -> None:
    """Answers lines with seconds, CPU seconds, CPU seconds of the tokenizer alone, the peak of memory and vectors."""
    encode, tokenize = (ours if name == "albert_np" else theirs)(folder, threads)
    encode(["the first line is slower than others"] * 8)
    pipe.send((True, peak()))
    while True:
        (texts,) = pipe.recv()
        start, cpu = time.perf_counter(), time.process_time()
        vectors = encode(texts)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        alone = time.process_time()
        tokenize(texts)
        pipe.send((True, (seconds, cpu, time.process_time() - alone, peak(), vectors)))


def peak() -> int:
    """The most memory that this process has had, in MB."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024


# --- the parent -----------------------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=2000, help="lines of the corpus (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    args = parser.parse_args()
    folder = checkpoint()
    children = {name: Child(serve, name, folder, args.threads, threads=args.threads) for name in ENGINES}
    at_first = {name: child.receive() for name, child in children.items()}
    turns: dict[str, list[tuple[int, float, float, float, int]]] = {name: [] for name in ENGINES}
    corpus, largest = lines(args.lines), 0.0
    with tqdm(total=args.lines, unit=" lines") as bar:
        for number in range(0, args.lines, PART):
            part = list(islice(corpus, PART))
            vectors = {}
            for name in random.Random(number).sample(ENGINES, len(ENGINES)):
                *figures, vectors[name] = children[name].ask(part)
                turns[name].append((len(part), *figures))
            a, b = vectors.values()
            largest = max(largest, float(np.abs(a - b).max() / np.abs(b).max()))
            bar.update(len(part))
    if largest > SAME:
        raise SystemExit(f"the vectors differ by {largest:.2g} of the largest entry: nothing is written")
    for child in children.values():
        child.close()
    result = summary(args, turns, at_first, largest)
    write("embeddings", result)
    (RESULTS / "embeddings.md").write_text(as_markdown(result))
    print(as_markdown(result))


def summary(args: Any, turns: dict[str, list], at_first: dict[str, int], largest: float) -> dict[str, Any]:
    engines = {}
    for name, rows in turns.items():
        count, seconds, cpu, tokenizer = (sum(row[i] for row in rows) for i in range(4))
        engines[name] = {
            "lines_a_second": count / seconds,
            "lines_a_cpu_second": count / cpu,
            "tokenizer_share_of_cpu": tokenizer / cpu,
            "peak_MB": rows[-1][4],
            "peak_MB_before_the_corpus": at_first[name],
        }
    ours, theirs = ([row[1] for row in turns[name]] for name in ENGINES)
    return {
        "lines": args.lines,
        "corpus": CORPUS,
        "threads": args.threads,
        "median_ratio_of_seconds": statistics.median(b / a for a, b in zip(ours, theirs, strict=True)),
        "largest_difference": largest,
        "engines": engines,
    }


def as_markdown(result: dict[str, Any]) -> str:
    what = (
        f"all {result['lines']:,} lines"
        if result["lines"] >= CORPUS
        else f"a sample of {result['lines']:,} lines of {CORPUS:,}"
    )
    rows = [
        f"| {name} | {x['lines_a_second']:.1f} | {x['lines_a_cpu_second']:.1f} | {x['tokenizer_share_of_cpu']:.1%} "
        f"| {x['peak_MB']:,} MB | {x['peak_MB'] - x['peak_MB_before_the_corpus']:,} MB |"
        for name, x in result["engines"].items()
    ]
    return "\n".join(
        [
            "# Sentence embeddings of a corpus, ALBERT-base, float32",
            "",
            f"{what.capitalize()}, log-normal lengths with a median of {MEDIAN} tokens, {result['threads']} threads. The "
            f"median ratio of seconds, turn by turn, is {result['median_ratio_of_seconds']:.2f}. Vectors agree to "
            f"{result['largest_difference']:.1g} of the largest entry.",
            "",
            "| | lines a second | lines a CPU second | tokenizer, of CPU time | peak of memory | of this, the corpus |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
            ", ".join(f"{name}: {value}" for name, value in machine().items()),
            "",
        ]
    )


if __name__ == "__main__":
    try:
        main()
    except EngineError as error:
        raise SystemExit(f"an engine failed: {error}") from error
