"""Token classification: a class for every word of a sentence."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from albert_np.ops import IGNORE_INDEX, Array
from albert_np.tasks import metrics
from albert_np.tasks.data import TaskData, check_any, checked_padding
from albert_np.tasks.labels import label_table
from albert_np.tasks.rows import Row, as_text, read_conll, read_rows, value_of
from albert_np.text_files import text_paths
from albert_np.tokenization.tokenizer import AlbertTokenizer


class TokenExample(NamedTuple):
    """The words of a sentence, and a class for each; −100 for a word without a label."""

    words: tuple[str, ...]
    labels: tuple[int, ...] | None


def read_token_classification(
    path: str | os.PathLike,
    *,
    tokens: str = "tokens",
    labels: str | None = "labels",
    label_names: Sequence[str] | None = None,
    word_column: int = 0,
    label_column: int = -1,
    file_format: str | None = None,
) -> TaskData:
    """Reads sentences with a label for each word: JSONL with two lists on each line, or CoNLL's columns.

    CoNLL has one word with its label on each line, in columns separated by spaces or tabs, and a blank line between sentences;
    lines that begin with -DOCSTART- are left out. All files but .jsonl, .ndjson and .json are read as CoNLL. Labels are names
    or numbers, as in read_classification; the number −100 means no label. Raises OSError or ValueError with the number of the
    line.
    """
    (checked,) = text_paths(path)
    if file_format == "conll" or (file_format is None and checked.suffix.lower() not in (".jsonl", ".ndjson", ".json")):
        sentences = read_conll(path, word_column, None if labels is None else label_column)
    else:
        sentences = (_word_row(row, tokens, labels) for row in read_rows(path, file_format=file_format))
    counts: Counter[str] = Counter(examples=0, empty_texts=0)
    found = []
    for where, words, values in sentences:
        if words:
            found.append((where, words, values))
        else:
            counts["empty_texts"] += 1
    check_any(found, path, counts)
    counts["examples"] = len(found)
    if labels is None:
        return TaskData(
            [TokenExample(words, None) for _, words, _ in found], list(label_names or ()), None, dict(counts)
        )
    raw = [(where, value) for where, _, values in found for value in values if str(value) != str(IGNORE_INDEX)]
    table = label_table(raw, label_names, path)
    examples = []
    for where, words, values in found:
        numbers = [IGNORE_INDEX if str(v) == str(IGNORE_INDEX) else table.number(where, v) for v in values]
        examples.append(TokenExample(words, tuple(numbers)))
    return TaskData(examples, table.names, None, dict(counts))


def token_classification_batch(
    examples: Sequence[TokenExample], tokenizer: AlbertTokenizer, *, max_length: int, padding: str = "longest"
) -> dict[str, Array]:
    """Like classification_batch. labels (B,T): a word's label is at its first piece; other pieces and special tokens have −100.

    The label of a word without a piece, or beyond max_length, is not in the batch.
    """
    words = [list(example.words) for example in examples]
    encoded = tokenizer(
        words,
        is_split_into_words=True,
        truncation=True,
        max_length=max_length,
        padding=checked_padding(padding),
        return_tensors="np",
        verbose=False,
    )
    batch = dict(encoded)
    if examples[0].labels is None:
        return batch
    labels = np.full(batch["input_ids"].shape, IGNORE_INDEX, np.int64)
    for i, example in enumerate(examples):
        assert example.labels is not None
        before = None
        for at, word in enumerate(encoded.word_ids(i)):
            if word is not None and word != before:
                labels[i, at] = example.labels[word]
            before = word
    return batch | {"labels": labels}


def labelled_words(logits: Array, labels: Array) -> list[tuple[Array, Array]]:  # (B,T,K), (B,T) -> B × (n,), (n,)
    """The predicted and the right class of each word that has a label: a pair of arrays for each sentence."""
    return [
        (row.argmax(axis=-1)[known != IGNORE_INDEX], known[known != IGNORE_INDEX])
        for row, known in zip(logits, labels, strict=True)
    ]


def are_entities(names: Sequence[str]) -> bool:
    """Whether the labels are tags of entities: O, B-… and I-…"""
    return "O" in names and all(name == "O" or name.startswith(("B-", "I-")) for name in names)


def token_figures(words: Sequence[tuple[Array, Array]], names: Sequence[str]) -> dict[str, float]:
    """Accuracy over the words of `labelled_words`; if labels are tags of entities, also their precision, recall and F1."""
    found, labels = zip(*words, strict=True)
    right = {"accuracy": metrics.accuracy(np.concatenate(found), np.concatenate(labels))}
    if not are_entities(names):
        return right
    tags = ([[names[i] for i in row] for row in rows] for rows in (found, labels))
    return right | metrics.entity_f1(*tags)


def _word_row(row: Row, tokens: str, labels: str | None) -> tuple[str, tuple[str, ...], list[Any]]:
    where = row[0]
    words = value_of(row, tokens)
    values = [] if labels is None else value_of(row, labels)
    if not isinstance(words, list) or not isinstance(values, list):
        raise ValueError(f"{where}: {tokens} and {labels} must be lists, an entry a word")
    if labels is not None and len(words) != len(values):
        raise ValueError(f"{where} has {len(words)} words and {len(values)} labels")
    return where, tuple(as_text(word, where, "a word") for word in words), values
