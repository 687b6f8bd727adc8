"""What engines of reduced precision are asked, to see whether they still give float32's answers, and how they answer.

Three questions, of the embedded models: the hidden states of a text, the best word for each masked token, and the label of
each sentence. Without a corpus they are put on text that is in the repository: passages of books that the models have not
read, each token masked once, and plain sentences; other sentences are what engines calibrate on. With the folder of the
demo's corpus (its text and BOOKS.md), they are put on the four books that were held out, as their cards have it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from engine_process import Child, EngineError, in_numpy, serve_answers
from machine import ROOT
from peers import Engine, Given
from workloads import embedded_checkpoint

from albert_np import AlbertTokenizer
from albert_np.demo.recipe import corpus, evaluate, speech
from albert_np.training.sentences import split_sentences

PASSAGES = ROOT / "notebooks" / "support" / "held_out.txt"
SENTENCES = ROOT / "tests" / "tiny_model" / "text.txt"
CALIBRATION = 300  # of SENTENCES: NNCF's own default
PARTS = 7  # so that a seventh of a passage is masked at a time, as 15 % were in training's terms
LENGTH, BATCH = 128, 16  # tokens a sequence, as many as the embedded models have positions; sequences a batch
WIDTHS = 32  # widths are multiples of it: some engines compile for each shape
STATES = 96  # sequences whose hidden states are compared
SEED = 0
REFERENCE = "albert_np_float32"  # whose words and labels are the right ones


@dataclass(frozen=True)
class Row:
    """A sequence, and the columns that are asked about."""

    ids: np.ndarray  # (T,) int64
    at: np.ndarray  # (k,)


@dataclass(frozen=True)
class Question:
    kind: str  # the class of the model
    checkpoint: Path
    rows: list[Row]
    calibration: tuple[np.ndarray, ...]  # (1,T) each


@dataclass(frozen=True)
class Questions:
    text: str  # in words: what they are put on
    asked: dict[str, Question]  # "states", "words" and "labels"


def put_together(folder: Path | None) -> Questions:
    """folder: of the corpus. Raises OSError (no such files) or ValueError (another corpus)."""
    tokenizer = AlbertTokenizer.from_pretrained("demo")
    lines = SENTENCES.read_text("utf-8").splitlines()
    if folder is None:
        passages = [line for line in PASSAGES.read_text("utf-8").splitlines() if line and not line.startswith("#")]
        words = [row for i, text in enumerate(passages) for row in masked_in_turn(tokenizer, text, i)]
        texts = [sentence for text in passages for sentence in split_sentences(text)] + lines[CALIBRATION:]
        said = "text of the repository: passages of held-out books, every token masked once, and plain sentences"
    else:
        books = held_out(folder)
        examples = evaluate.masked_paragraphs(tokenizer, list(books.values()), LENGTH, SEED)
        words = [Row(with_masks(x.ids, x.at, tokenizer), x.at) for x in examples]
        texts = [x.text for own in speech.examples(books, 1000, SEED).values() for x in own]
        said = "the four held-out books of the demo's corpus, 15 % of their tokens masked"
    plain = [ids_of(tokenizer, line) for line in lines[:CALIBRATION]]
    masked = [masked_in_turn(tokenizer, line, i)[0].ids for i, line in enumerate(lines[:CALIBRATION])]
    demo, tuned = embedded_checkpoint("demo"), embedded_checkpoint("demo-speech")
    no_columns = np.zeros(0, np.int64)
    labels = [Row(ids_of(tokenizer, text), no_columns) for text in texts]
    every = max(1, len(words) // STATES)
    asked = {
        "states": Question("AlbertModel", demo, words[::every], batches_of_one(masked)),
        "words": Question("AlbertForMaskedLM", demo, words, batches_of_one(masked)),
        "labels": Question("AlbertForSequenceClassification", tuned, labels, batches_of_one(plain)),
    }
    return Questions(said, asked)


def held_out(folder: Path) -> dict[str, list[str]]:
    """Title -> paragraphs."""
    texts = sorted(folder.glob("*.txt"))
    if len(texts) != 1:
        raise OSError(f"--corpus takes a folder with BOOKS.md and one .txt; {folder} has {len(texts)} of the latter")
    cut = corpus.cut_books(texts[0], corpus.read_books(folder / "BOOKS.md"))
    return {
        book.title: [line for line in text.decode().split("\n") if line]
        for book, text in cut
        if book.name in corpus.HELD_OUT
    }


def ids_of(tokenizer: AlbertTokenizer, text: str) -> np.ndarray:  # -> (T,)
    return np.array(tokenizer(text, truncation=True, max_length=LENGTH)["input_ids"], np.int64)


def with_masks(ids: np.ndarray, at: np.ndarray, tokenizer: AlbertTokenizer) -> np.ndarray:  # (T,), (k,) -> (T,)
    masked = ids.copy()
    masked[at] = tokenizer.mask_token_id
    return masked


def masked_in_turn(tokenizer: AlbertTokenizer, text: str, number: int) -> list[Row]:
    """The text as often as it takes to mask every token once."""
    ids = ids_of(tokenizer, text)
    order = np.random.default_rng([SEED, number]).permutation(np.arange(1, len(ids) - 1))  # without [CLS] and [SEP]
    parts = [np.sort(part) for part in np.array_split(order, PARTS) if len(part)]
    return [Row(with_masks(ids, at, tokenizer), at) for at in parts]


def batches_of_one(rows: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    return tuple(ids[None] for ids in rows)


# --- in the engine's process ----------------------------------------------------------------------------------------------


def answer(engine: Engine, question: Question, threads: int) -> np.ndarray:
    """(n,) best words or labels, in the order of rows; of hidden states (R,H) of all real tokens."""
    prepare, _ = engine.make(Given(question.checkpoint, threads, question.kind, question.calibration))
    pick: Callable[[np.ndarray, Row], np.ndarray] = {
        "AlbertModel": lambda out, row: out[: len(row.ids)],
        "AlbertForMaskedLM": lambda out, row: out[row.at].argmax(axis=-1),
        "AlbertForSequenceClassification": lambda out, row: out.argmax(axis=-1, keepdims=True),
    }[question.kind]
    rows = question.rows
    order = sorted(range(len(rows)), key=lambda i: len(rows[i].ids))
    found: dict[int, np.ndarray] = {}
    for first in range(0, len(rows), BATCH):
        numbers = order[first : first + BATCH]
        output = in_numpy(prepare(*padded([rows[i].ids for i in numbers]))())
        found |= {i: pick(out, rows[i]) for i, out in zip(numbers, output, strict=True)}
    return np.concatenate([found[i] for i in range(len(rows))])


def padded(rows: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:  # -> (B,T), (B,T)
    width = -(-max(map(len, rows)) // WIDTHS) * WIDTHS
    mask = (np.arange(width) < np.array([len(ids) for ids in rows])[:, None]).astype(np.int64)
    ids = np.zeros_like(mask)
    ids[mask.astype(bool)] = np.concatenate(rows)
    return ids, mask


# --- all of them ----------------------------------------------------------------------------------------------------------


def ask_all(
    names: Sequence[str], questions: Questions, threads: int, verbose: bool, done: Callable[[str], None]
) -> dict[str, Any]:
    """What every engine answers, beside the float64 reference's hidden states and float32's words and labels."""
    asked = questions.asked
    given: dict[str, dict[str, np.ndarray]] = {}
    failed: dict[str, str] = {}
    for name in ("truth", *dict.fromkeys((REFERENCE, *names))):
        child = Child(serve_answers, name, threads, threads=threads, verbose=verbose)
        given[name] = {}
        try:
            child.receive()
            for what in asked if name != "truth" else ("states",):
                given[name][what] = child.ask(asked[what])
        except EngineError as error:
            failed[name] = str(error)
        child.close()
        done(name)
    truth, right = given.pop("truth").get("states"), given[REFERENCE]
    return {
        "text": questions.text,
        "state_tokens": sum(len(row.ids) for row in asked["states"].rows),
        "masked_tokens": sum(len(row.at) for row in asked["words"].rows),
        "sentences": len(asked["labels"].rows),
        "left_out": failed,
        "engines": {
            name: {
                "states_error": relative_rms(found.get("states"), truth),
                "same_word": share_of_equal(found.get("words"), right.get("words")),
                "same_label": share_of_equal(found.get("labels"), right.get("labels")),
            }
            for name, found in given.items()
            if name in names and found
        },
    }


def relative_rms(found: np.ndarray | None, truth: np.ndarray | None) -> float | None:
    if found is None or truth is None:
        return None
    return float(f"{np.sqrt(np.mean((found - truth) ** 2) / np.mean(truth**2)):.3g}")


def share_of_equal(found: np.ndarray | None, right: np.ndarray | None) -> float | None:
    return None if found is None or right is None else round(float(np.mean(found == right)), 5)
