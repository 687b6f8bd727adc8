"""Fine-tuning data: files to examples, examples to batches of arrays, for all heads but question answering (squad.py).

read_… gives a TaskData: examples, the names of the labels, and what was left out. …_batch makes of some examples what the
model's call takes: `model(**classification_batch(data.examples[:8], tokenizer, max_length=128))`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from albert_np.files import listed, shown
from albert_np.ops import IGNORE_INDEX, Array
from albert_np.tokenizer import AlbertTokenizer
from albert_np.training.documents import text_paths
from albert_np.training.labels import choice_number, finite_number, label_table, several_labels, zero_or_one
from albert_np.training.rows import Row, as_text, read_conll, read_rows, text_of, value_of

SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"


class TextExample(NamedTuple):
    """One text, or two, and its class, its number, or one 0 or 1 a label; None where it is to be found out."""

    text: str
    pair: str | None
    label: int | float | tuple[float, ...] | None


class TokenExample(NamedTuple):
    """The words of a sentence and a class for each, −100 where there is none."""

    words: tuple[str, ...]
    labels: tuple[int, ...] | None


class ChoiceExample(NamedTuple):
    """What is given, its continuations, and the number of the right one."""

    context: str
    choices: tuple[str, ...]
    label: int | None


@dataclass
class TaskData:
    """Examples of one file. counts: examples, and what was left out."""

    examples: list[Any]
    label_names: list[str] = field(default_factory=list)  # by class number; [] for regression and multiple choice
    problem_type: str | None = None  # what config.problem_type says for sequence classification
    counts: dict[str, int] = field(default_factory=dict)


def read_classification(
    path: str | os.PathLike,
    *,
    text: str = "text",
    pair: str | None = None,
    label: str | Sequence[str] | None = "label",
    label_names: Sequence[str] | None = None,
    problem_type: str = SINGLE,
    separator: str = "|",
    missing_labels: str = "error",
    file_format: str | None = None,
    columns: Sequence[str] | None = None,
) -> TaskData:
    """Texts and labels of a CSV, TSV or JSONL file (rows.read_rows says of what form).

    text, pair, label: columns; label None reads texts without labels. Labels are names or class numbers: label_names gives
    the names by number, and without it they are the sorted names, or "0" … where all are numbers. Several labels
    (problem_type "multi_label_classification") are a list in JSON, names with `separator` between in a table, or a sequence of
    columns that hold 0 or 1. Rows with an empty text are left out and counted, rows without a label where missing_labels is
    "skip". Raises OSError or ValueError with the number of the line: a missing column, a label that is none of label_names.
    """
    if problem_type not in (SINGLE, MULTI, REGRESSION):
        raise ValueError(f"problem_type must be {SINGLE}, {MULTI} or {REGRESSION}; got {shown(repr(problem_type), 60)}")
    if missing_labels not in ("error", "skip"):
        raise ValueError(f"missing_labels must be 'error' or 'skip'; got {shown(repr(missing_labels), 60)}")
    label_columns = [label] if isinstance(label, str) else list(label or ())
    if len(label_columns) > 1 and problem_type != MULTI:
        raise ValueError(f"several label columns are {MULTI}; problem_type says {problem_type}")
    counts: Counter[str] = Counter(examples=0, empty_texts=0, unlabelled=0)
    found: list[tuple[str, str, str | None, Any]] = []
    for row in read_rows(path, file_format=file_format, columns=columns):
        first = text_of(row, text)
        second = None if pair is None else text_of(row, pair)
        values = [value_of(row, column) for column in label_columns]
        if not first or second == "":
            counts["empty_texts"] += 1
        elif any(value is None or value == "" for value in values) and problem_type != MULTI:
            if missing_labels == "error":
                raise ValueError(
                    f"{row[0]} has no label in {listed(label_columns)} (missing_labels='skip' leaves it out)"
                )
            counts["unlabelled"] += 1
        else:
            found.append((row[0], first, second, values))
    _check_any(found, path, counts)
    labels: list[Any] = [None] * len(found)
    names: list[str] = list(label_names or ())
    raw = [(where, values) for where, *_, values in found]
    if not label_columns:
        pass
    elif problem_type == REGRESSION:
        labels, names = [finite_number(value, where) for where, (value,) in raw], []
    elif problem_type == MULTI and len(label_columns) > 1:
        names = names or label_columns
        if len(names) != len(label_columns):
            raise ValueError(f"{len(names)} label_names for {len(label_columns)} label columns")
        labels = [tuple(zero_or_one(value, where) for value in values) for where, values in raw]
    elif problem_type == MULTI:
        several = [(where, several_labels(value, separator, where)) for where, (value,) in raw]
        table = label_table([(where, value) for where, values in several for value in values], label_names, path)
        names = table.names
        labels = [table.indicators(where, values) for where, values in several]
    else:
        table = label_table([(where, value) for where, (value,) in raw], label_names, path)
        names, labels = table.names, [table.number(where, value) for where, (value,) in raw]
    examples = [TextExample(a, b, value) for (_, a, b, _), value in zip(found, labels, strict=True)]
    counts["examples"] = len(examples)
    return TaskData(examples, names, problem_type, dict(counts))


def classification_batch(
    examples: Sequence[TextExample], tokenizer: AlbertTokenizer, *, max_length: int, padding: str = "longest"
) -> dict[str, Array]:
    """input_ids, token_type_ids, attention_mask (B,T) int64; labels (B,) int64 classes, or float64 (B,) or (B,K)."""
    pairs = None if examples[0].pair is None else [example.pair for example in examples]
    batch = _encode(tokenizer, [example.text for example in examples], pairs, max_length, padding)
    label = examples[0].label
    if label is not None:
        batch["labels"] = np.array([x.label for x in examples], np.int64 if isinstance(label, int) else np.float64)
    return batch


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
    """Sentences whose words have a label each: JSONL with two lists a line, or CoNLL's columns.

    CoNLL: a word a line with its label, columns between spaces or tabs, a blank line between sentences; lines that begin with
    -DOCSTART- are left out. Any name but .jsonl, .ndjson and .json is taken for it. Labels are names or numbers, as in
    read_classification; the number −100 is no label. Raises OSError or ValueError with the number of the line.
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
    _check_any(found, path, counts)
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
    """As classification_batch; labels (B,T): a word's at its first piece, −100 at its others and at special tokens.

    A word that gives no piece, or lies beyond max_length, has its label nowhere.
    """
    words = [list(example.words) for example in examples]
    encoded = tokenizer(
        words,
        is_split_into_words=True,
        truncation=True,
        max_length=max_length,
        padding=_padding(padding),
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


def read_multiple_choice(
    path: str | os.PathLike,
    *,
    context: str | None = "context",
    question: str | None = None,
    choices: str | Sequence[str] = "choices",
    label: str | None = "label",
    file_format: str | None = None,
    columns: Sequence[str] | None = None,
) -> TaskData:
    """Rows with some choices each, the same number in all: a JSON list, or several columns of a table.

    The model reads `[CLS] context [SEP] question choice [SEP]`, or `[CLS] question [SEP] choice [SEP]` where there is no
    context. A label is the number of the right choice, from 0, or its letter, from A. Raises OSError or ValueError with the
    number of the line; rows without a text are left out and counted.
    """
    if context is None and question is None:
        raise ValueError("multiple choice needs a column of contexts or of questions")
    counts: Counter[str] = Counter(examples=0, empty_texts=0)
    examples: list[ChoiceExample] = []
    for row in read_rows(path, file_format=file_format, columns=columns):
        where = row[0]
        texts = [text_of(row, column) for column in (context, question) if column is not None]
        given = value_of(row, choices) if isinstance(choices, str) else [value_of(row, column) for column in choices]
        if not isinstance(given, list) or len(given) < 2:
            raise ValueError(f"{where}: choices must be a list of at least two; got {shown(repr(given), 80)}")
        options = [as_text(choice, where, "a choice").strip() for choice in given]
        if examples and len(options) != len(examples[0].choices):
            raise ValueError(f"{where} has {len(options)} choices where the first row has {len(examples[0].choices)}")
        answer = None if label is None else choice_number(value_of(row, label), len(options), where)
        if not all(texts):
            counts["empty_texts"] += 1
            continue
        first, *rest = texts
        examples.append(ChoiceExample(first, tuple(" ".join([*rest, option]).strip() for option in options), answer))
    _check_any(examples, path, counts)
    counts["examples"] = len(examples)
    return TaskData(examples, counts=dict(counts))


def multiple_choice_batch(
    examples: Sequence[ChoiceExample], tokenizer: AlbertTokenizer, *, max_length: int, padding: str = "longest"
) -> dict[str, Array]:
    """input_ids, token_type_ids, attention_mask (B,choices,T) int64; labels (B,)."""
    n = len(examples[0].choices)
    contexts = [example.context for example in examples for _ in example.choices]
    choices = [choice for example in examples for choice in example.choices]
    batch = _encode(tokenizer, contexts, choices, max_length, padding)
    batch = {name: value.reshape(len(examples), n, -1) for name, value in batch.items()}
    if examples[0].label is not None:
        batch["labels"] = np.array([example.label for example in examples], np.int64)
    return batch


# ------------------------------------------------------------------------------------------------------------- parts


def _encode(
    tokenizer: AlbertTokenizer, texts: list[str], pairs: list[Any] | None, max_length: int, padding: str
) -> dict[str, Array]:
    return dict(
        tokenizer(
            texts,
            pairs,
            truncation=True,
            max_length=max_length,
            padding=_padding(padding),
            return_tensors="np",
            verbose=False,
        )
    )


def _padding(padding: str) -> str:
    if padding not in ("longest", "max_length"):
        raise ValueError(f"padding must be 'longest' or 'max_length'; got {shown(repr(padding), 60)}")
    return padding


def _check_any(found: Sequence[Any], path: str | os.PathLike, counts: Mapping[str, int]) -> None:
    if not found:
        left_out = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in counts.items() if n)
        raise ValueError(f"{path} has no examples{f' ({left_out})' if left_out else ''}")


def _word_row(row: Row, tokens: str, labels: str | None) -> tuple[str, tuple[str, ...], list[Any]]:
    where = row[0]
    words = value_of(row, tokens)
    values = [] if labels is None else value_of(row, labels)
    if not isinstance(words, list) or not isinstance(values, list):
        raise ValueError(f"{where}: {tokens} and {labels} must be lists, an entry a word")
    if labels is not None and len(words) != len(values):
        raise ValueError(f"{where} has {len(words)} words and {len(values)} labels")
    return where, tuple(as_text(word, where, "a word") for word in words), values
