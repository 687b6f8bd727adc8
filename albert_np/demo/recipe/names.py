"""A recipe for token classification: which words are names? The books' capitals say it, and the model never sees them.

    python -m albert_np.demo.recipe.names --corpus standard_ebooks.txt --books BOOKS.md --output runs/names

The tokenizer writes everything in small letters, so a capital is a label for nothing: a word with one inside a sentence is a
name, NAME, and a word without one is none, O. Where a sentence begins, the book's own use decides: a word that it writes with
a capital inside sentences, and never without, is a name there too. A word on which a book does not agree has no label at such a
place; nor has one in capitals throughout. "I" is no name. The full stop of a title or an initial belongs to it: "Mr. J. Smith"
is one name. Every piece of a word has the word's label.

The baseline is a lexicon: the words that the training books write with a capital inside a sentence more often than not, and,
in a second count, every word that they do not have.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from albert_np import AlbertForTokenClassification, AlbertTokenizer
from albert_np.demo.recipe import tuned
from albert_np.demo.recipe.card import wrapped
from albert_np.ops import IGNORE_INDEX, Array
from albert_np.training.sentences import split_sentences

NAMES = {0: "O", 1: "NAME"}
OTHER, NAME = 0, 1
WORD = re.compile(r"[^\W\d_]+")
TITLES = {"mr", "mrs", "ms", "messrs", "mme", "mlle", "dr", "prof", "rev", "capt", "col", "gen", "lieut", "st"}


class Word(NamedTuple):
    """A word of a paragraph. label: OTHER, NAME, or None where a sentence begins and capitals mean nothing."""

    start: int
    end: int
    label: int | None
    inside: bool  # a sentence, so that a capital would say something


# ----------------------------------------------------------------------------------------------------- labels from capitals


def words_of(sentence: str) -> list[Word]:
    """The words of a sentence, by their capitals alone. Words in capitals throughout are left out, but for initials."""
    found = []
    for match in WORD.finditer(sentence):
        word, (start, end) = match.group(), match.span()
        if word == "I" or word[0].islower():
            found.append(Word(start, end, OTHER, _inside(sentence, start)))
            continue
        initial = len(word) == 1 and sentence[end : end + 1] == "."
        if word.isupper() and not initial:
            continue
        inside = initial or _inside(sentence, start)
        if sentence[end : end + 1] == "." and (initial or word.lower() in TITLES):
            end += 1
        found.append(Word(start, end, NAME if inside else None, inside))
    return found


def _inside(sentence: str, at: int) -> bool:
    """Whether a word at this place is one that a sentence goes on with: what stands before it begins nothing."""
    before = sentence[:at]
    bare = before.rstrip()
    if not bare:
        return False
    last = bare[-1]
    if last == '"':  # closes a quotation that the sentence goes on after: "Yes," Holmes said.
        return bare.endswith(',"') and bare != before
    if last in "'’-":  # O'Brien, Saint-Simon; a dash between spaces begins something
        return bare == before and bare[-2:-1].isalpha()
    return last.isalnum() or last in ",;."  # a full stop inside a sentence is an abbreviation's


class Use:
    """How often words stand inside sentences with a capital, and without."""

    def __init__(self, paragraphs: Sequence[str]) -> None:
        self.names, self.others = Counter[str](), Counter[str]()
        for paragraph in paragraphs:
            for sentence in split_sentences(paragraph):
                for word in words_of(sentence):
                    key = sentence[word.start : word.end].lower().rstrip(".")
                    if word.label == NAME:
                        self.names[key] += 1
                    elif word.label == OTHER:
                        self.others[key] += 1

    def of_beginning(self, key: str) -> int | None:
        """The label of a word with a capital that any word would have there: None where the book does not decide."""
        name, other = key in self.names, key in self.others
        return None if name == other else NAME if name else OTHER


class Lexicon:
    """What the training books write with a capital inside a sentence more often than not."""

    def __init__(self, books: Mapping[str, list[str]]) -> None:
        self.names, self.others = Counter[str](), Counter[str]()
        for paragraphs in books.values():
            use = Use(paragraphs)
            self.names.update(use.names)
            self.others.update(use.others)

    def knows(self, word: str) -> bool:
        return word in self.names or word in self.others

    def says(self, word: str) -> int:
        return NAME if self.names[word] > self.others[word] else OTHER


def labelled(sentence: str, use: Use) -> list[Word]:
    """The words of a sentence, those at beginnings too where the book's use decides."""
    found = []
    for word in words_of(sentence):
        label = word.label
        if label is None:
            label = use.of_beginning(sentence[word.start : word.end].lower().rstrip("."))
        found.append(word._replace(label=label))
    return found


def characters(text: str, words: Sequence[Word]) -> Array:  # -> (len(text),) int64
    """The label of each character: a hyphen or an apostrophe inside a name belongs to it, other marks are O."""
    labels = np.zeros(len(text), np.int64)
    for match in WORD.finditer(text):
        labels[slice(*match.span())] = IGNORE_INDEX  # unless one of the words says otherwise
    for word in words:
        labels[word.start : word.end] = IGNORE_INDEX if word.label is None else word.label
    for mark in re.finditer(r"(?<=\w)['’-](?=\w)", text):
        at = mark.start()
        labels[at] = NAME if labels[at - 1] == labels[at + 1] == NAME else OTHER
    return labels


# looked at by eye, of the weights that are packed
MISTAKES = (
    '"the river between Reading and Henley" (*Three Men in a Boat*): it leaves out `reading`. A name that is also a '
    "common word has to be told from its surroundings, and often is not.",
    '"as soon as grandfather had fixed the date" (*My Ántonia*): it takes `grandfather` for a name. The book uses the '
    "word like one, without an article, and prints it small.",
    '"until the Yosemite Creek basin was reached" (*My First Summer in the Sierra*, shortened): it marks `os` and `ite`. '
    "Of a name that no training book has, some pieces may be marked and others not; "
    '`aggregation_strategy="average"` gives a word one class.',
)


class Row(NamedTuple):
    """Some sentences as the model sees them."""

    ids: Array  # (T,) int64, with [CLS] and [SEP]
    labels: Array  # (T,) int64
    words: list[tuple[int, int, str, bool]]  # of labelled words: first piece, label, text, inside


def encoded(tokenizer: AlbertTokenizer, text: str, words: Sequence[Word], length: int = tuned.LENGTH) -> Row:
    row = tokenizer(text, truncation=True, max_length=length, return_offsets_mapping=True, verbose=False)
    ids, offsets = np.array(row["input_ids"], np.int64), row["offset_mapping"]
    of_character = characters(text, words)
    labels = np.full(len(ids), IGNORE_INDEX, np.int64)
    first_piece: dict[int, int] = {}
    for at, (start, end) in enumerate(offsets[1:-1], start=1):
        while start < end and text[start].isspace():
            start += 1
        if start < end:
            labels[at] = of_character[start]
            first_piece[start] = at
    known = [
        (first_piece[word.start], word.label, text[word.start : word.end].lower().rstrip("."), word.inside)
        for word in words
        if word.label is not None and word.start in first_piece
    ]
    return Row(ids, labels, known)


def sequences(
    tokenizer: AlbertTokenizer, paragraphs: Sequence[str], use: Use, length: int = tuned.LENGTH
) -> Iterator[Row]:
    """Paragraphs, each cut between sentences into what fits; a longer sentence is cut off."""
    for paragraph in paragraphs:
        text, words, tokens = "", list[Word](), 0
        for sentence in split_sentences(paragraph):
            size = len(tokenizer.encode(sentence, add_special_tokens=False, verbose=False))
            if text and tokens + size > length - 2:
                yield encoded(tokenizer, text, words, length)
                text, words, tokens = "", [], 0
            shift = len(text) + bool(text)
            text = f"{text} {sentence}" if text else sentence
            words += [word._replace(start=word.start + shift, end=word.end + shift) for word in labelled(sentence, use)]
            tokens += size
        if text:
            yield encoded(tokenizer, text, words, length)


def collate(examples: Sequence[Row]) -> dict[str, Array]:
    return tuned.padded([x.ids for x in examples], labels=[x.labels for x in examples])


def training_rows(tokenizer: AlbertTokenizer, books: Mapping[str, list[str]], each: int, seed: int) -> list[Row]:
    """Paragraphs of each book in an order drawn from the seed, until they are `each` tokens."""
    rng, rows = np.random.default_rng(seed), list[Row]()
    for paragraphs in books.values():
        left, use = each, Use(paragraphs)
        for number in rng.permutation(len(paragraphs)):
            if left <= 0:
                break
            for row in sequences(tokenizer, [paragraphs[number]], use):
                rows.append(row)
                left -= len(row.ids)
    return rows


# ----------------------------------------------------------------------------------------------------------------- judging


def answers(model: Any, rows: Sequence[Row]) -> Array:
    """The class of every labelled word, at its first piece, in order. (n,) int64"""
    found: list[Any] = [None] * len(rows)
    for numbers in tuned.by_length([len(row.ids) for row in rows]):
        batch = collate([rows[i] for i in numbers])
        del batch["labels"]
        classes = model(**batch, skip_padding=True, return_dict=True).logits.argmax(axis=-1)
        for number, own in zip(numbers, classes, strict=True):
            found[number] = own[[at for at, *_ in rows[number].words]]
    return np.concatenate(found)


def figures(said: Array, right: Array) -> dict[str, float]:  # (n,), (n,)
    """Precision, recall and F1 of names among words."""
    both, found, there = (int(np.sum(x == NAME)) for x in (said[right == NAME], said, right))
    return {
        "precision": both / max(1, found),
        "recall": both / max(1, there),
        "f1": 2 * both / max(1, found + there),
    }


def judge(model: Any, tokenizer: AlbertTokenizer, books: tuned.Books) -> dict[str, Any]:
    """The figures of the model and of the lexicon, ready for JSON."""
    lexicon = Lexicon(books.training)
    said: dict[str, list[Array]] = {"model": [], "lexicon": [], "lexicon_unknown": []}
    right, inside, unknown = list[Array](), list[Array](), list[Array]()
    result: dict[str, Any] = {"books": {}}
    for name, paragraphs in books.held_out.items():
        rows = list(sequences(tokenizer, paragraphs, Use(paragraphs)))
        words = [word for row in rows for word in row.words]
        right.append(np.array([label for _, label, _, _ in words]))
        inside.append(np.array([within for *_, within in words]))
        unknown.append(np.array([not lexicon.knows(text) for _, _, text, _ in words]))
        by_lexicon = np.array([lexicon.says(text) for _, _, text, _ in words])
        said["model"].append(answers(model, rows))
        said["lexicon"].append(by_lexicon)
        said["lexicon_unknown"].append(np.where(unknown[-1], NAME, by_lexicon))
        own = {kind: figures(each[-1], right[-1]) for kind, each in said.items()}
        result["books"][books.titles[name]] = {"words": len(words), "names": int(np.sum(right[-1]))} | own
    labels, within, new = (np.concatenate(x) for x in (right, inside, unknown))
    for part, chosen in (("all", labels >= 0), ("inside", within), ("beginnings", ~within), ("unknown", new)):
        result[part] = {"words": int(np.sum(chosen)), "names": int(np.sum(labels[chosen]))}
        for kind, each in said.items():
            result[part][kind] = figures(np.concatenate(each)[chosen], labels[chosen])
    return result


MEASURED = {"model": "this model", "lexicon": "lexicon", "lexicon_unknown": "lexicon, and every word it does not have"}
PARTS = {
    "all": "all words",
    "inside": "inside a sentence",
    "beginnings": "at a beginning, where the book decides",
    "unknown": "words that no training book has",
}


def card(facts: Mapping[str, Any]) -> str:
    """The model card, from evaluation.json. No figure is typed by hand."""
    found = facts["figures"]

    def row(title: str, part: Mapping[str, Any]) -> str:
        cells = [title, f"{part['words']:,}", f"{part['names']:,}"]
        for kind in MEASURED:
            p, r, f1 = (100 * part[kind][name] for name in ("precision", "recall", "f1"))
            cells.append(f"{p:.1f} / {r:.1f} / **{f1:.1f}**")
        return "| " + " | ".join(cells) + " |"

    head = f"|  | words | names | {' | '.join(MEASURED.values())} |\n|---|---:|---:|---:|---:|---:|"
    parts = "\n".join(row(title, found[part]) for part, title in PARTS.items())
    books = "\n".join(row(title, part) for title, part in found["books"].items())
    learnt = facts["training"]
    data = wrapped(
        f"""The labels are the books' capitals (recipe/names.py): a word with one inside a sentence is a name. Where a
        sentence begins, the book's own use decides, or the word has no label. So a name is what a printer gave a
        capital: persons and places, but also months, titles, nations, God, and now and then an Idea. The books and
        their licence are those of `demo`, whose card names them. sha256 of the corpus: `{facts["corpus"]}`."""
    )
    judged = wrapped(
        f"""Precision / recall / **F1** of names, in per cent, among the labelled words of {len(facts["held_out"])} whole
        books that neither this model nor `demo` has read. The lexicon is the words that the training books write with a
        capital inside a sentence more often than not; the second column of it takes for a name, too, what no training
        book has."""
    )
    return f"""{tuned.front_matter("token-classification")}

# demo-names: which words are names?

{tuned.about("demo-names", "token-classification")}

```python
names = albert_np.pipeline("ner", aggregation_strategy="simple")
names("he told dr. watson of a farm near exeter")
```

It marks each piece as `NAME` or `O`. The tokenizer writes small letters, so it finds names in text without capitals as
well, and capitals do not help it.

## Data

{data}

## Training

{tuned.training(facts, "names", f"{learnt['examples']:,} pieces of paragraphs from {learnt['books']} books")}

## Held-out figures

{judged}

{head}
{parts}

{head}
{books}

Three typical mistakes:

{tuned.bullets(MISTAKES)}

{tuned.LIMITS}
"""


def main(arguments: list[str] | None = None) -> int:
    parser = tuned.parser(__doc__, each=40_000, epochs=1, rate=5e-4)
    return tuned.finish("names", parser.parse_args(arguments), run)


def run(args: argparse.Namespace) -> str:
    books, tokenizer = tuned.read(args), AlbertTokenizer.from_pretrained("demo")
    rows = training_rows(tokenizer, books.training, args.each, args.seed)
    model = tuned.begin(
        AlbertForTokenClassification, args, id2label=NAMES, label2id={name: i for i, name in NAMES.items()}
    )
    trained = tuned.tune(model, tokenizer, rows, collate, args)
    facts = tuned.facts(books, examples=len(rows))
    found = tuned.pack(trained, model, args, lambda packed: judge(packed, tokenizer, books), card, facts)
    every = found["figures"]["all"]
    return "F1 " + ", ".join(f"{title} {100 * every[kind]['f1']:.1f}" for kind, title in MEASURED.items())


if __name__ == "__main__":
    sys.exit(main())
