"""A recipe for text classification: is a sentence spoken or told? The books' quotation marks say it.

    python -m albert_np.demo.recipe.speech --corpus standard_ebooks.txt --books BOOKS.md --output runs/speech

A sentence inside quotation marks is speech; one of a paragraph without any is narrative. Marks around and behind a sentence are
taken away, so that words alone must tell. Each book gives as many of one kind as of the other.

The baselines are naive Bayes on the words, and on words and pairs of neighbouring words. (genre.py is another text
classification; there the model has fewer right than naive Bayes.)
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from albert_np import AlbertForSequenceClassification, AlbertTokenizer
from albert_np.demo.recipe import tuned
from albert_np.demo.recipe.bayes import NaiveBayes
from albert_np.demo.recipe.card import wrapped
from albert_np.ops import Array
from albert_np.tasks.text_classification import TextExample, classification_batch
from albert_np.training.sentences import split_sentences

LABELS = {0: "narrative", 1: "speech"}
NUMBERS = {name: i for i, name in LABELS.items()}
SHORTEST, LONGEST = 6, 40  # words of a sentence
FEWEST = 50  # sentences of each kind, or a book is left out
QUOTED = re.compile(r'"([^"]*)"')
AROUND = " .,!?;:'-"


def sentences(paragraphs: Sequence[str]) -> Iterator[tuple[str, int]]:
    """The sentences of paragraphs that are spoken or told without doubt, and their labels."""
    for paragraph in paragraphs:
        if '"' not in paragraph:
            parts, label = [paragraph], NUMBERS["narrative"]
        elif paragraph.count('"') % 2 == 0:
            parts, label = QUOTED.findall(paragraph), NUMBERS["speech"]
        else:
            continue
        for part in parts:
            for sentence in split_sentences(part):
                bare = sentence.strip(AROUND)
                if SHORTEST <= len(bare.split()) <= LONGEST:
                    yield bare, label


def examples(books: Mapping[str, list[str]], each: int, seed: int) -> dict[str, list[TextExample]]:
    """At most `each` sentences of each kind from a book, as many of one as of the other, drawn from the seed."""
    rng, found = np.random.default_rng(seed), dict[str, list[TextExample]]()
    for name, paragraphs in books.items():
        kinds: tuple[list[str], list[str]] = [], []
        for sentence, label in sentences(paragraphs):
            kinds[label].append(sentence)
        n = min(each, *map(len, kinds))
        if n >= FEWEST:
            found[name] = [
                TextExample(kind[i], None, label)
                for label, kind in enumerate(kinds)
                for i in rng.permutation(len(kind))[:n]
            ]
    return found


def answers(model: Any, tokenizer: AlbertTokenizer, asked: Sequence[TextExample]) -> Array:
    """The model's labels. (n,) int64"""
    found = np.zeros(len(asked), np.int64)
    for numbers in tuned.by_length([len(x.text) for x in asked]):
        batch = classification_batch(
            [asked[i]._replace(label=None) for i in numbers], tokenizer, max_length=tuned.LENGTH
        )
        found[numbers] = model(**batch, skip_padding=True, return_dict=True).logits.argmax(axis=-1)
    return found


def judge(
    model: Any, tokenizer: AlbertTokenizer, learnt: Sequence[TextExample], asked: Mapping[str, list[TextExample]]
) -> dict[str, Any]:
    """Accuracy of the model and of the baselines, of all sentences and by book. asked: title -> sentences."""
    bayes = {
        kind: NaiveBayes(((x.text, LABELS[x.label]) for x in learnt if isinstance(x.label, int)), pairs=kind == "pairs")
        for kind in ("words", "pairs")
    }
    right: dict[str, dict[str, Array]] = {}
    for title, own in asked.items():
        labels = np.array([x.label for x in own])
        said = {kind: np.array([NUMBERS[method(x.text)] for x in own]) for kind, method in bayes.items()}
        said["model"] = answers(model, tokenizer, own)
        right[title] = {kind: said[kind] == labels for kind in MEASURED}
    every = {kind: np.concatenate([own[kind] for own in right.values()]) for kind in MEASURED}
    return {"all": _parts(every), "books": {title: _parts(own) for title, own in right.items()}}


def _parts(right: Mapping[str, Array]) -> dict[str, Any]:
    return {"sentences": len(right["model"]), **{kind: float(x.mean()) for kind, x in right.items()}}


MEASURED = {"model": "this model", "words": "naive Bayes on words", "pairs": "naive Bayes on words and pairs"}
# looked at by eye, of the weights that are packed
MISTAKES = (
    '"He returned to Dartmoor and awaited the arrival of the baronet" (*The Hound of the Baskervilles*) is spoken, and it '
    "says `narrative`: somebody tells a story inside quotation marks.",
    '"We are very fond of pineapple, all three of us" (*Three Men in a Boat*) is told, and it says `speech`: the teller '
    "talks to his reader. In such books it is hardly better than naive Bayes, or behind it.",
    '"The whole wilderness seems to be alive and familiar, full of humanity" (*My First Summer in the Sierra*) is told, '
    "and it says `speech`: a diary is in the present tense.",
)


def card(facts: Mapping[str, Any]) -> str:
    """The model card, from evaluation.json. No figure is typed by hand."""
    found, learnt = facts["figures"], facts["training"]
    every = found["all"]

    def row(title: str, x: Mapping[str, Any]) -> str:
        return f"| {title} | {x['sentences']:,} | " + " | ".join(f"{100 * x[kind]:.1f} %" for kind in MEASURED) + " |"

    rows = "\n".join([row("all", every), *(row(title, x) for title, x in found["books"].items())])
    error = 100 * math.sqrt(every["model"] * (1 - every["model"]) / every["sentences"])
    data = wrapped(
        f"""The labels are the books' quotation marks (recipe/speech.py). A sentence inside them is `speech`; one of a
        paragraph without any is `narrative`, also where a person of the book tells it. Marks around and behind a
        sentence are taken away. Sentences have {SHORTEST} to {LONGEST} words, and each book gives as many of one kind
        as of the other. The books and their licence are those of `demo`, whose card names them. sha256 of the corpus:
        `{facts["corpus"]}`."""
    )
    judged = wrapped(
        f"""The part of the sentences whose label is right, of whole books that neither this model nor `demo` has read;
        ± {error:.1f} is one standard deviation, if sentences were drawn one by one. By chance 50 % are right. Naive
        Bayes learnt from the same sentences."""
    )
    return f"""{tuned.front_matter("text-classification")}

# demo-speech: is a sentence spoken or told?

{tuned.about("demo-speech", "text-classification")}

```python
kind = albert_np.pipeline("text-classification")
kind(["I do not know what you mean by that", "She rose and went slowly to the window"])
```

## Data

{data}

## Training

{tuned.training(facts, "speech", f"{learnt['examples']:,} sentences of {learnt['books']} books")}

## Held-out figures

{judged}

|  | sentences | {" | ".join(MEASURED.values())} |
|---|---:|---:|---:|---:|
{rows}

Three typical mistakes:

{tuned.bullets(MISTAKES)}

{tuned.LIMITS}
"""


def main(arguments: list[str] | None = None) -> int:
    parser = tuned.parser(__doc__, each=700, epochs=1, rate=5e-4)
    return tuned.finish("speech", parser.parse_args(arguments), run)


def run(args: argparse.Namespace) -> str:
    books, tokenizer = tuned.read(args), AlbertTokenizer.from_pretrained("demo")
    by_book = examples(books.training, args.each, args.seed)
    learnt = [x for own in by_book.values() for x in own]
    asked = {books.titles[name]: own for name, own in examples(books.held_out, 1000, args.seed).items()}
    model = tuned.begin(AlbertForSequenceClassification, args, id2label=LABELS, label2id=NUMBERS)
    trained = tuned.tune(
        model,
        tokenizer,
        learnt,
        lambda some: classification_batch(some, tokenizer, max_length=tuned.LENGTH),
        args,
    )
    facts = tuned.facts(books, examples=len(learnt)) | {"held_out": list(asked)}
    facts["training"]["books"] = len(by_book)
    found = tuned.pack(trained, model, args, lambda packed: judge(packed, tokenizer, learnt, asked), card, facts)
    every = found["figures"]["all"]
    return "right: " + ", ".join(f"{title} {100 * every[kind]:.1f} %" for kind, title in MEASURED.items())


if __name__ == "__main__":
    sys.exit(main())
