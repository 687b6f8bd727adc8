"""What the recipes of the embedded models for tasks share: books on two sides, training, half precision, the card.

Each of them is one command, which trains from the embedded model, judges on whole books that neither has seen, and packs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from albert_np import AlbertTokenizer, machine
from albert_np.checkpoints.names import WEIGHTS_NAME
from albert_np.demo.recipe import corpus
from albert_np.demo.recipe.card import wrapped
from albert_np.demo.recipe.pack import CARD_NAME, EVALUATION_NAME, write_weights
from albert_np.demo.recipe.train import threads
from albert_np.files import write_atomically
from albert_np.ops import IGNORE_INDEX, Array
from albert_np.training.batches import Batches
from albert_np.training.checkpoints import read_checkpoint
from albert_np.training.loop import Plan, Trained, train
from albert_np.training.optimizers import AdamW, Schedule

LENGTH = 128  # tokens of a sequence: the embedded model has so many positions
BATCH = 32
Collate = Callable[[Sequence[Any]], dict[str, Array]]


@dataclass(frozen=True)
class Books:
    """The corpus on two sides, name -> paragraphs, and what a card says about it."""

    training: dict[str, list[str]]
    held_out: dict[str, list[str]]
    titles: dict[str, str]
    sha256: str


def parser(about: str | None, *, each: int, epochs: int, rate: float) -> argparse.ArgumentParser:
    """The options of a recipe. each: the examples or tokens of a book."""
    made = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--corpus", required=True, metavar="FILE", help="the books, a paragraph a line")
    made.add_argument("--books", required=True, metavar="FILE", help="BOOKS.md, the list of them")
    made.add_argument("--output", required=True, metavar="DIR", help="where checkpoints and the log go")
    made.add_argument("--pack", metavar="DIR", help="where the packed model goes (default: packed, in --output)")
    made.add_argument("--each", type=int, default=each, metavar="N", help="of each book at most (default: %(default)s)")
    made.add_argument("--epochs", type=int, default=epochs, metavar="N", help="(default: %(default)s)")
    made.add_argument("--learning-rate", type=float, default=rate, metavar="X", help="(default: %(default)s)")
    made.add_argument("--seed", type=int, default=0, metavar="N", help="(default: %(default)s)")
    made.add_argument("--backend", default="auto", metavar="NAME", help="numba, numpy or auto (default: %(default)s)")
    made.add_argument("--threads", type=int, metavar="N", help="threads of the numba backend")
    made.add_argument("--resume", action="store_true", help="continue from the latest checkpoint in --output")
    return made


def read(args: argparse.Namespace) -> Books:
    """The books of both sides. Raises OSError or ValueError as corpus.cut_books does."""
    texts = corpus.cut_books(args.corpus, corpus.read_books(args.books))
    sides: tuple[dict[str, list[str]], dict[str, list[str]]] = {}, {}
    for book, text in texts:
        sides[book.name in corpus.HELD_OUT][book.name] = [line for line in text.decode("utf-8").split("\n") if line]
    digest = hashlib.sha256(b"".join(text for _, text in texts)).hexdigest()
    return Books(*sides, {book.name: book.title for book, _ in texts}, digest)


def tune(
    model: Any, tokenizer: AlbertTokenizer, examples: Sequence[Any], collate: Collate, args: argparse.Namespace
) -> Trained:
    """Trains the model on the examples, as the arguments say; a checkpoint every hundred steps."""
    batches = Batches(examples, collate, batch_size=BATCH, seed=args.seed)
    steps = args.epochs * batches.batches_per_epoch
    plan = Plan(steps, dropout=False, seed=args.seed, log_every=10, save_every=100, keep=1)
    with threads(args.threads):
        return train(
            model,
            batches,
            args.output,
            optimizer=AdamW((0.9, 0.98)),
            schedule=Schedule(args.learning_rate, steps // 20, steps),
            plan=plan,
            tokenizer=tokenizer,
            resume=args.resume,
        )


def padded(rows: Sequence[Array], **labels: Sequence[Array]) -> dict[str, Array]:
    """Rows of ids as a batch, and labels of their tokens, which are IGNORE_INDEX behind them."""
    shape = len(rows), max(map(len, rows))
    batch = {name: np.zeros(shape, np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")}
    batch |= {name: np.full(shape, IGNORE_INDEX, np.int64) for name in labels}
    for i, ids in enumerate(rows):
        batch["input_ids"][i, : len(ids)], batch["attention_mask"][i, : len(ids)] = ids, 1
        for name, of_rows in labels.items():
            batch[name][i, : len(ids)] = of_rows[i]
    return batch


def by_length(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Numbers of rows of like length, BATCH at a time."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    for first in range(0, len(order), BATCH):
        yield order[first : first + BATCH]


def pack(
    trained: Trained,
    model: Any,
    args: argparse.Namespace,
    judge: Callable[[Any], dict[str, Any]],
    card: Callable[[dict[str, Any]], str],
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """Writes the model in half precision, its figures and its card. The figures are of the weights as they are packed.

    judge: what the packed model reaches; card: Markdown from all of evaluation.json; facts: more for that file. The vocabulary
    is that of "demo", and is not written again.
    """
    found = read_checkpoint(trained.checkpoint)
    assert found is not None
    spent = found.state["progress"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if not write_weights(model, folder, "float16"):
            raise ValueError(f"{trained.checkpoint} holds weights beyond the range of float16")
        figures: dict[str, Any] = {
            "recipe": {name: getattr(args, name) for name in ("each", "epochs", "learning_rate", "seed")}
            | {"batch_size": BATCH, "steps": trained.step},
            "spent": {"tokens": spent["tokens"], "seconds": round(spent["seconds"])},
            "machine": machine.facts(),
            **facts,
            "figures": judge(type(model).from_pretrained(folder, backend=args.backend)),
        }
        (folder / EVALUATION_NAME).write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", "utf-8")
        (folder / CARD_NAME).write_text(card(figures), "utf-8")
        output = Path(args.pack or Path(args.output) / "packed")
        output.mkdir(parents=True, exist_ok=True)
        for path in sorted(folder.iterdir(), key=lambda path: path.name == WEIGHTS_NAME):  # the weights last
            write_atomically(output / path.name, path.read_bytes())
    return figures


def begin(kind: Any, args: argparse.Namespace, **config: Any) -> Any:
    """The embedded model with a new head, drawn from the seed."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(?s).*answers mean nothing until the model is trained")
        return kind.from_pretrained("demo", missing="init", seed=args.seed, backend=args.backend, **config)


def facts(books: Books, **more: Any) -> dict[str, Any]:
    """What was learnt from and judged by, for evaluation.json."""
    return {
        "corpus": books.sha256,
        "training": {"books": len(books.training), **more},
        "held_out": [books.titles[name] for name in books.held_out],
    }


def finish(name: str, args: argparse.Namespace, run: Callable[[argparse.Namespace], str]) -> int:
    """Runs a recipe and prints what it says, or why it could not."""
    try:
        print(run(args))
    except (ValueError, OSError, KeyboardInterrupt) as error:
        print(f"{name}: {error or 'interrupted'}", file=sys.stderr)
        return 1
    return 0


# ------------------------------------------------------------------------------------------------------- parts of the cards


def front_matter(task: str) -> str:
    return f"""---
language: en
license: apache-2.0
library_name: albert_np
pipeline_tag: {task}
tags: [albert, numpy]
---"""


def about(name: str, task: str) -> str:
    return wrapped(
        f"""A small ALBERT, fine-tuned from the embedded model of albert_np (`demo`) by albert_np's own training, so that
        `pipeline("{task}")` answers without a network. `from_pretrained("{name}")` loads it. It is for trying things out and
        for teaching; for real work, take a published checkpoint that is fine-tuned for your task. The weights are float16. The
        vocabulary is that of `demo`."""
    )


def training(found: Mapping[str, Any], module: str, what: str) -> str:
    recipe, spent = found["recipe"], found["spent"]
    epochs = f"{recipe['epochs']} epoch" + "s" * (recipe["epochs"] > 1)
    return wrapped(
        f"""`python -m albert_np.demo.recipe.{module}` is the whole recipe, from the books to this card: {what}, {epochs} in
        batches of {recipe["batch_size"]}, AdamW with a highest learning rate of {recipe["learning_rate"]:g}, seed
        {recipe["seed"]}. It took {spent["seconds"] / 60:.0f} minutes for {spent["tokens"]:,} tokens on one core of
        {found["machine"]["cpu"]}, shared with other work."""
    )


def bullets(texts: Sequence[str]) -> str:
    return "\n".join(textwrap.fill(text, 120, initial_indent="- ", subsequent_indent="  ") for text in texts)


LIMITS = """## Limits and bias

- It knows the prose of some sixty British and American books of 1839 to 1930. On other text, such as news or letters of today,
  it is worse; how much worse was not measured.
- It reads 128 tokens at a time.
- The books hold the prejudices of their time, and so may its answers. They are no judgement of people."""
