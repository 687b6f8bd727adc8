"""How good are the embedded model's sentence embeddings? Nothing is trained: it finds the next sentence among a hundred.

    python -m albert_np.demo.recipe.neighbours --corpus standard_ebooks.txt --books BOOKS.md
    python -m albert_np.demo.recipe.neighbours --corpus standard_ebooks.txt --books BOOKS.md --write albert_np/demo

Pairs of neighbouring sentences of one paragraph are drawn from each held-out book, a hundred at a time. For each first sentence
the second sentences of all hundred are ranked by the cosine. Beside the mean of the hidden states stand two counts of words:
their bags, and the bags weighted by how rare a word is in the training books (TF-IDF). By chance one in a hundred is first.
--write puts the figures into a folder's evaluation.json and README.md, which pack.py makes without them.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from albert_np import SentenceEncoder
from albert_np.demo.recipe import tuned
from albert_np.demo.recipe.card import wrapped
from albert_np.demo.recipe.pack import CARD_NAME, EVALUATION_NAME
from albert_np.files import write_atomically
from albert_np.ops import Array
from albert_np.tasks.vectors import normalised
from albert_np.training.sentences import split_sentences

HUNDRED, BLOCKS = 100, 5  # pairs that compete, and how many times a book gives so many
SHORTEST = 5  # words of a sentence
MEASURED = {"model": "mean of the hidden states", "tfidf": "TF-IDF", "bag": "bags of words"}
TITLE, NEXT_TITLE = "## Sentence embeddings", "## Limits and bias"
Embed = Callable[[Sequence[str]], Array]


def pairs(paragraphs: Sequence[str], rng: Any) -> list[tuple[str, str]]:
    """BLOCKS × HUNDRED neighbours, or as many hundreds as the book has; no sentence is in two pairs."""
    found = []
    for paragraph in paragraphs:
        sentences = [sentence for sentence in split_sentences(paragraph) if len(sentence.split()) >= SHORTEST]
        found += list(zip(sentences[::2], sentences[1::2], strict=False))
    most = min(BLOCKS, len(found) // HUNDRED) * HUNDRED
    return [found[i] for i in rng.permutation(len(found))[:most]]


def words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", text.lower())


def bags(idf: Callable[[str], float]) -> Embed:
    """Sentences as vectors of word counts, each word with a weight."""

    def embed(sentences: Sequence[str]) -> Array:  # -> (n,V)
        counted = [Counter(words(sentence)) for sentence in sentences]
        places = {word: i for i, word in enumerate(sorted(set().union(*counted)))}
        vectors = np.zeros((len(sentences), len(places)))
        for row, counts in zip(vectors, counted, strict=True):
            for word, n in counts.items():
                row[places[word]] = n * idf(word)
        return vectors

    return embed


def inverse_frequency(books: dict[str, list[str]]) -> Callable[[str], float]:
    """log of how many paragraphs there are for one with the word."""
    seen, n = Counter[str](), 0
    for paragraphs in books.values():
        n += len(paragraphs)
        for paragraph in paragraphs:
            seen.update(set(words(paragraph)))
    return lambda word: math.log((1 + n) / (1 + seen[word])) + 1


def ranks(embed: Embed, some: Sequence[tuple[str, str]]) -> list[int]:
    """The rank of each second sentence among the hundred of its block, 0 for the first."""
    found = []
    for first in range(0, len(some), HUNDRED):
        block = some[first : first + HUNDRED]
        vectors = embed([text for pair in block for text in pair])
        alike = normalised(vectors[::2]) @ normalised(vectors[1::2]).T
        found += np.sum(alike > np.diag(alike)[:, None], axis=1).tolist()
    return found


def judge(encoder: SentenceEncoder, books: tuned.Books, seed: int) -> dict[str, Any]:
    """How often the next sentence is the nearest, and among the nearest five, of all books together."""
    rng = np.random.default_rng(seed)
    chosen = [pairs(paragraphs, rng) for paragraphs in books.held_out.values()]
    methods = {
        "model": lambda sentences: encoder.encode(list(sentences)),
        "tfidf": bags(inverse_frequency(books.training)),
        "bag": bags(lambda word: 1.0),
    }
    result: dict[str, Any] = {"sentences": sum(map(len, chosen)), "among": HUNDRED, "seed": seed}
    for name in MEASURED:
        found = np.array([rank for some in chosen for rank in ranks(methods[name], some)])
        result[name] = {"top1": float(np.mean(found < 1)), "top5": float(np.mean(found < 5))}
    return result


def section(found: dict[str, Any]) -> str:
    """The part of the model card."""
    rows = "\n".join(
        f"| {title} | {100 * found[name]['top1']:.1f} % | {100 * found[name]['top5']:.1f} % |"
        for name, title in MEASURED.items()
    )
    text = wrapped(
        f"""`SentenceEncoder.from_pretrained()` takes the mean of the hidden states as the embedding of a sentence. Nothing
        was trained for it. Which of {found["among"]} sentences of a held-out book follows a given one? The nearest by the
        cosine is right as often as the table says, for {found["sentences"]:,} sentences (`python -m
        albert_np.demo.recipe.neighbours`); by chance 1 % is first."""
    )
    best = max(MEASURED, key=lambda name: found[name]["top1"])
    verdict = (
        ""
        if best == "model"
        else f"{MEASURED[best]} is better at it than the model: take that, or a model trained for it.\n\n"
    )
    return f"{TITLE}\n\n{text}\n\n| | first | among the first five |\n|---|---:|---:|\n{rows}\n\n{verdict}"


def write(folder: Path, found: dict[str, Any]) -> None:
    """Puts the figures into evaluation.json, and the section into the card, in place of an older one."""
    figures = json.loads((folder / EVALUATION_NAME).read_text("utf-8")) | {"embeddings": found}
    card = (folder / CARD_NAME).read_text("utf-8")
    before, mark, after = card.partition(NEXT_TITLE)
    if not mark:
        raise ValueError(f"{folder / CARD_NAME} has no {NEXT_TITLE!r}, before which the section stands")
    text = before.partition(TITLE)[0] + section(found) + mark + after
    write_atomically(folder / EVALUATION_NAME, (json.dumps(figures, indent=1, ensure_ascii=False) + "\n").encode())
    write_atomically(folder / CARD_NAME, text.encode())


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", required=True, metavar="FILE", help="the books, a paragraph a line")
    parser.add_argument("--books", required=True, metavar="FILE", help="BOOKS.md, the list of them")
    parser.add_argument("--model", default="demo", metavar="NAME", help="whose embeddings (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--write", metavar="DIR", help="a packed folder whose card gets the figures")
    return tuned.finish("neighbours", parser.parse_args(arguments), run)


def run(args: argparse.Namespace) -> str:
    found = judge(SentenceEncoder.from_pretrained(args.model), tuned.read(args), args.seed)
    if args.write:
        write(Path(args.write), found)
    return section(found)


if __name__ == "__main__":
    sys.exit(main())
