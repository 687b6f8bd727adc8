"""Judges a masked-language model on whole books that training never saw, beside what counting gets.

    python -m albert_np.demo.recipe.evaluate runs/demo/checkpoint-500 --corpus books.txt --books BOOKS.md --json out.json

Masked tokens: of each paragraph of the held-out books, cut to the model's length, 15 % of the tokens, single ones drawn at
random, become [MASK], and the model names them. The baseline does the same with counts of the training text (counts.py),
and sees both neighbours of a token, also those that are hidden from the model; beside it stand counts that do not see these,
and counts of single tokens. Paragraphs that would have no mask, of three tokens or less, are left out.
Sentence order: paragraphs of two sentences or more are cut between the two sentences nearest to the middle, and shown in order
(0) and swapped (1); a model that always says the same is right half of the time.

The draws depend on the seed and the paragraph alone, so the same checkpoint gives the same figures.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from albert_np import AlbertConfig, AlbertForMaskedLM, AlbertForPreTraining, AlbertTokenizer
from albert_np.checkpoints.initialise import check_seed
from albert_np.demo.recipe import corpus
from albert_np.demo.recipe.card import MEASURED
from albert_np.demo.recipe.counts import NeighbourCounts, rank
from albert_np.files import write_atomically
from albert_np.ops import Array
from albert_np.training.checkpoints import read_checkpoint
from albert_np.training.documents import NEVER, TextForm
from albert_np.training.sentences import split_sentences
from albert_np.training.token_corpus import TokenCorpus, encode_text, tokenize_corpus

PART = 0.15  # of a paragraph's tokens
LENGTH = 128  # tokens of a sequence, with [CLS] and [SEP], where the model takes so many
BATCH = 32
# the whole text as one document of paragraphs: a paragraph counts, wherever it stands
PARAGRAPHS = TextForm(lines="sentences", blank_lines=NEVER, max_document_chars=NEVER)


@dataclass(frozen=True)
class Masked:
    """One paragraph with some tokens to guess."""

    book: int
    ids: Array  # (T,) int64, with [CLS] and [SEP], before masking
    at: Array  # (k,) columns of the masks
    neighbours: Array  # (k,2) the tokens on both sides in the text, also beyond a cut
    hidden: Array  # (k,2) bool: whether those are masked too


@dataclass(frozen=True)
class Order:
    """Two halves of a paragraph, in order."""

    book: int
    first: list[int]
    second: list[int]


# ------------------------------------------------------------------------------------------------------ what is asked


def masked_paragraphs(
    tokenizer: AlbertTokenizer, books: Sequence[Sequence[str]], length: int, seed: int
) -> list[Masked]:
    """Each paragraph of each book, tokens hidden in it. length: of a sequence with its special tokens."""
    special = [*tokenizer.all_special_ids]
    examples = []
    number = 0
    for book, paragraphs in enumerate(books):
        for text in paragraphs:
            number += 1
            whole = np.array([tokenizer.cls_token_id, *encode_text(tokenizer, text), tokenizer.sep_token_id])
            ids = np.append(whole[: length - 1], whole[-1]) if len(whole) > length else whole
            count = int(PART * (len(ids) - 2) + 0.5)
            usable = np.flatnonzero(~np.isin(ids, special))
            if count == 0 or len(usable) < count:
                continue
            at = np.sort(np.random.default_rng([seed, number]).choice(usable, count, replace=False))
            sides = at[:, None] + [-1, 1]
            examples.append(Masked(book, ids, at, whole[sides], np.isin(sides, at)))
    return examples


def halves(tokenizer: AlbertTokenizer, books: Sequence[Sequence[str]], length: int) -> list[Order]:
    """The paragraphs of two sentences or more, as many whole ones as fit, cut between those nearest to the middle."""
    examples = []
    for book, paragraphs in enumerate(books):
        for text in paragraphs:
            sentences = [ids for ids in (encode_text(tokenizer, s) for s in split_sentences(text)) if ids]
            ends = np.cumsum([len(ids) for ids in sentences])
            kept = int(np.searchsorted(ends, length - 3, side="right"))  # [CLS], [SEP], [SEP]
            if kept < 2:
                continue
            cut = 1 + int(np.argmin(np.abs(2 * ends[: kept - 1] - ends[kept - 1])))
            first, second = (list(chain.from_iterable(part)) for part in (sentences[:cut], sentences[cut:kept]))
            examples.append(Order(book, first, second))
    return examples


# ----------------------------------------------------------------------------------------------------- what is answered


def model_ranks(model: Any, tokenizer: AlbertTokenizer, examples: list[Masked], progress: bool) -> tuple[Array, Array]:
    """For each masked token, in order: its rank among all pieces, and −log of its probability. (n,) int64, (n,) float64"""
    ranks: list[Any] = [None] * len(examples)
    losses: list[Any] = [None] * len(examples)
    for numbers in _batches([len(example.ids) for example in examples], "masked tokens", progress):
        chosen = [examples[number] for number in numbers]
        rows = []
        for example in chosen:
            row = example.ids.copy()
            row[example.at] = tokenizer.mask_token_id
            rows.append((row, np.zeros_like(row)))
        most = max(len(example.at) for example in chosen)
        # a row with fewer masks than another asks for its last one again
        positions = np.stack([np.pad(example.at, (0, most - len(example.at)), mode="edge") for example in chosen])
        out = model(**_padded(rows, tokenizer), logits_positions=positions, skip_padding=True, return_dict=True)
        logits = out.logits if "logits" in out else out.prediction_logits  # (B,M,V)
        for number, example, scores in zip(numbers, chosen, logits, strict=True):
            answers = example.ids[example.at].tolist()
            given = list(zip(scores[: len(answers)].astype(np.float64), answers, strict=True))
            ranks[number] = [rank(row, answer) for row, answer in given]
            losses[number] = [float(_log_sum_exp(row) - row[answer]) for row, answer in given]
    return np.concatenate(ranks), np.concatenate(losses)


def model_orders(model: Any, tokenizer: AlbertTokenizer, examples: list[Order], progress: bool) -> Array:
    """Whether the order was told: (n,2) bool, each pair of halves in order and swapped."""
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    right = np.zeros((len(examples), 2), bool)
    for numbers in _batches([len(x.first) + len(x.second) for x in examples], "sentence order", progress):
        for swapped in (0, 1):
            rows = []
            for number in numbers:
                a, b = examples[number].first, examples[number].second
                a, b = (b, a) if swapped else (a, b)
                types = np.repeat([0, 1], [len(a) + 2, len(b) + 1])
                rows.append((np.array([cls, *a, sep, *b, sep]), types))
            logits = model(
                **_padded(rows, tokenizer), skip_padding=True, return_dict=True, **_one_column(rows)
            ).sop_logits
            right[numbers, swapped] = logits.argmax(axis=-1) == swapped
    return right


def _one_column(rows: list[tuple[Array, Array]]) -> dict[str, Array]:
    """Vocabulary logits of [CLS] only: nobody reads them here, and those of every token would take most of the time."""
    return {"logits_positions": np.zeros((len(rows), 1), np.int64)}


def _batches(lengths: list[int], what: str, progress: bool) -> Iterator[list[int]]:
    """Numbers of examples of like length, the longest first, BATCH at a time."""
    order = sorted(range(len(lengths)), key=lambda number: (-lengths[number], number))
    starts = range(0, len(order), BATCH)
    for start in tqdm(starts, desc=what, unit=" batches", disable=None if progress else True):
        yield order[start : start + BATCH]


def _padded(rows: list[tuple[Array, Array]], tokenizer: AlbertTokenizer) -> dict[str, Array]:
    shape = len(rows), max(len(ids) for ids, _ in rows)
    batch = {
        "input_ids": np.full(shape, tokenizer.pad_token_id, np.int64),
        "attention_mask": np.zeros(shape, np.int64),
        "token_type_ids": np.zeros(shape, np.int64),
    }
    for i, (ids, types) in enumerate(rows):
        n = len(ids)
        batch["input_ids"][i, :n], batch["attention_mask"][i, :n], batch["token_type_ids"][i, :n] = ids, 1, types
    return batch


def _log_sum_exp(x: Array) -> float:
    top = x.max()
    return float(top + np.log(np.exp(x - top).sum()))


def count_ranks(  # -> three of (n,)
    counts: NeighbourCounts, examples: list[Masked], progress: bool
) -> dict[str, Array]:
    """Ranks of the masked tokens by counts: of both neighbours, of those that the model sees, of none."""
    ranks: dict[str, list[int]] = {"neighbours": [], "seen": [], "unigram": []}
    for x in tqdm(examples, desc="counts", unit=" paragraphs", disable=None if progress else True):
        for (left, right), (no_left, no_right), answer in zip(
            x.neighbours.tolist(), x.hidden.tolist(), x.ids[x.at].tolist(), strict=True
        ):
            both = rank(counts.scores(left, right), answer)
            seen = (None if no_left else left), (None if no_right else right)
            ranks["neighbours"].append(both)
            ranks["seen"].append(rank(counts.scores(*seen), answer) if no_left or no_right else both)
            ranks["unigram"].append(rank(counts.probabilities, answer))
    return {name: np.array(found) for name, found in ranks.items()}


# ------------------------------------------------------------------------------------------------------------- the verdict


def judge(
    checkpoint: str | Path,
    training: TokenCorpus,
    books: dict[str, list[str]],
    *,
    seed: int = 0,
    backend: str = "auto",
    progress: bool = False,
) -> dict[str, Any]:
    """All figures, ready for JSON. training: the training text as PARAGRAPHS; books: title -> paragraphs.

    A model without a sentence-order head has "order": None. Raises ValueError or OSError.
    """
    check_seed(seed)
    tokenizer = AlbertTokenizer.from_pretrained(checkpoint)
    model = load(checkpoint, backend)
    length = min(LENGTH, model.config.max_position_embeddings)
    examples = masked_paragraphs(tokenizer, list(books.values()), length, seed)
    if not examples:
        raise ValueError("the held-out books have no paragraph of four tokens or more, so nothing to mask")
    counts = NeighbourCounts(
        training.ids, training.sentence_starts, len(tokenizer), tokenizer.cls_token_id, tokenizer.sep_token_id
    )
    ranks, losses = model_ranks(model, tokenizer, examples, progress)
    by_counts = count_ranks(counts, examples, progress)
    book = np.repeat([example.book for example in examples], [len(example.at) for example in examples])
    result: dict[str, Any] = {
        "checkpoint": str(checkpoint),
        "seed": seed,
        "max_length": length,
        "training_tokens": len(training.ids),
        "vocab_size": len(tokenizer),
        "masked": {
            "paragraphs": len(examples),
            "tokens": len(ranks),
            "loss": float(losses.mean()),
            "model": _accuracy(ranks),
            **{name: _accuracy(found) for name, found in by_counts.items()},
            "top1_over_neighbours": _ratio(np.mean(ranks == 0), np.mean(by_counts["neighbours"] == 0)),
        },
        "order": None,
        "books": {
            title: {
                "tokens": int(np.sum(own)),
                "loss": float(losses[own].mean()),
                "model": _accuracy(ranks[own]),
                "neighbours": _accuracy(by_counts["neighbours"][own]),
            }
            for number, title in enumerate(books)
            if (own := book == number).any()
        },
    }
    found = read_checkpoint(checkpoint)
    if found is not None:
        result["step"] = found.step
    pairs = halves(tokenizer, list(books.values()), length)
    if isinstance(model, AlbertForPreTraining) and pairs:
        right = model_orders(model, tokenizer, pairs, progress)
        # the two orders of a paragraph are not two witnesses: the error is that of as many as there are paragraphs
        result["order"] = {
            "paragraphs": len(pairs),
            "accuracy": float(right.mean()),
            "error": _error(right.mean(), len(pairs)),
            "in_order": float(right[:, 0].mean()),
            "swapped": float(right[:, 1].mean()),
        }
    return result


def load(checkpoint: str | Path, backend: str) -> AlbertForPreTraining | AlbertForMaskedLM:
    """With both heads, unless the config says that it is a masked-language model alone."""
    alone = AlbertConfig.from_pretrained(checkpoint).architectures == ["AlbertForMaskedLM"]
    return (AlbertForMaskedLM if alone else AlbertForPreTraining).from_pretrained(checkpoint, backend=backend)


def _accuracy(ranks: Array) -> dict[str, float]:
    n = len(ranks)
    top1, top5 = float(np.mean(ranks < 1)), float(np.mean(ranks < 5))
    return {"top1": top1, "top1_error": _error(top1, n), "top5": top5, "top5_error": _error(top5, n)}


def _error(part: float, n: int) -> float:
    """The standard deviation of a part of n, as if the n were drawn one by one."""
    return math.sqrt(float(part) * (1 - float(part)) / n)


def _ratio(a: Any, b: Any) -> float | None:
    return float(a / b) if b else None


def table(result: dict[str, Any]) -> str:
    """The figures for people."""
    masked, order = result["masked"], result["order"]
    lines = [
        f"{masked['tokens']:,} masked tokens of {masked['paragraphs']:,} paragraphs, held-out loss {masked['loss']:.4f}",
        f"  {'':34}{'top-1':>16}{'top-5':>16}",
    ]
    for name, title in MEASURED.items():
        x = masked[name]
        cells = (f"{x[top]:.4f} ± {x[f'{top}_error']:.4f}" for top in ("top1", "top5"))
        lines.append(f"  {title:34}" + "".join(f"{cell:>16}" for cell in cells))
    ratio = masked["top1_over_neighbours"]
    lines.append("  " + ("counts were never right" if ratio is None else f"model / neighbours, top-1: {ratio:.3f}"))
    for title, x in result["books"].items():
        values = f"{x['model']['top1']:.4f} beside {x['neighbours']['top1']:.4f}, loss {x['loss']:.4f}"
        lines.append(f"  {title:34.34}  {values} ({x['tokens']:,} tokens)")
    if order is None:
        lines.append("sentence order: no such head")
    else:
        lines.append(
            f"sentence order: {order['accuracy']:.4f} ± {order['error']:.4f} of {order['paragraphs']:,} paragraphs, each in "
            f"order ({order['in_order']:.4f}) and swapped ({order['swapped']:.4f})"
        )
    return "\n".join(lines)


def read_corpus(
    args: argparse.Namespace, folder: str | Path, tokenizer: AlbertTokenizer, progress: bool
) -> tuple[TokenCorpus, dict[str, list[str]], dict[str, Any]]:
    """The training text in tokens, the held-out books in paragraphs, and the facts of both. folder: for the parts."""
    parts = corpus.part(args.corpus, args.books, folder)
    training = tokenize_corpus(parts.training, tokenizer, PARAGRAPHS, cache_dir=args.cache)
    chosen = (x for x in corpus.cut_books(args.corpus, corpus.read_books(args.books)))
    books = {
        book.title: [line for line in text.decode().split("\n") if line]
        for book, text in chosen
        if book.name in corpus.HELD_OUT
    }
    return training, books, parts.facts


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--corpus", required=True, metavar="FILE", help="the text of all books")
    parser.add_argument("--books", required=True, metavar="FILE", help="the list of the books, BOOKS.md")
    parser.add_argument("--cache", metavar="DIR", help="keep the training text's tokens here, for the next time")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the masks (default: %(default)s)")
    parser.add_argument("--backend", default="auto", metavar="NAME", help="numba, numpy or auto (default: %(default)s)")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Judge a masked-language model on the held-out books, beside counts.")
    parser.add_argument("checkpoint", help="a folder, or demo")
    add_options(parser)
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    args = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory() as folder:
            tokenizer = AlbertTokenizer.from_pretrained(args.checkpoint)
            training, books, _ = read_corpus(args, folder, tokenizer, True)
            result = judge(args.checkpoint, training, books, seed=args.seed, backend=args.backend, progress=True)
        if args.json:
            write_atomically(Path(args.json), json.dumps(result, indent=1, ensure_ascii=False).encode() + b"\n")
    except (ValueError, OSError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 1
    print(table(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
