"""Multiple choice: the right one of some continuations."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from albert_np.files import shown
from albert_np.ops import Array
from albert_np.tasks import metrics
from albert_np.tasks.data import TaskData, check_any, encode_texts
from albert_np.tasks.labels import choice_number, list_in_text
from albert_np.tasks.rows import BadRows, Row, as_text, read_rows, text_of, value_of
from albert_np.tokenization.tokenizer import AlbertTokenizer


class ChoiceExample(NamedTuple):
    """The given text, its continuations, and the number of the right one."""

    context: str
    choices: tuple[str, ...]
    label: int | None


def read_multiple_choice(
    path: str | os.PathLike,
    *,
    context: str | None = "context",
    question: str | None = None,
    choices: str | Sequence[str] = "choices",
    label: str | None = "label",
    file_format: str | None = None,
    columns: Sequence[str] | None = None,
    delimiter: str | None = None,
    on_bad_row: str = "error",
) -> TaskData:
    """Reads rows with the same number of choices in all: a list (in a table, JSON's or Python's), or several columns.

    The model reads `[CLS] context [SEP] question choice [SEP]`, or `[CLS] question [SEP] choice [SEP]` if there is no
    context. A label is the number of the right choice, from 0, or its letter, from A. Rows without a text are left out and
    counted, and with on_bad_row "skip" rows that cannot be read (bad_rows). Raises OSError; or ValueError with the number of
    the line, or if no row is left.
    """
    if context is None and question is None:
        raise ValueError("multiple choice needs a column of contexts or of questions")
    counts: Counter[str] = Counter(examples=0, empty_texts=0)
    bad = BadRows(on_bad_row)
    examples: list[ChoiceExample] = []
    for row in read_rows(path, file_format=file_format, columns=columns, delimiter=delimiter, bad=bad):
        try:
            texts = [text_of(row, column) for column in (context, question) if column is not None]
            options = _choices(row, choices)
            if examples and len(options) != len(examples[0].choices):
                n = len(examples[0].choices)
                raise ValueError(f"{row[0]} has {len(options)} choices where the first row has {n}")
            answer = None if label is None else choice_number(value_of(row, label), len(options), row[0])
        except ValueError as error:
            bad.meet(error)
            continue
        if not all(map(str.strip, texts)):
            counts["empty_texts"] += 1
            continue
        first, *rest = texts
        examples.append(ChoiceExample(first, tuple(" ".join([*rest, option]) for option in options), answer))
    check_any(examples, path, counts, bad)
    counts["examples"] = len(examples)
    return TaskData(examples, counts=bad.counted(counts))


def _choices(row: Row, names: str | Sequence[str]) -> list[str]:
    """The choices of a row. Raises ValueError if they are not two texts or more."""
    where = row[0]
    given = value_of(row, names) if isinstance(names, str) else [value_of(row, column) for column in names]
    if isinstance(given, str):
        given = list_in_text(given.strip(), where) or given
    if not isinstance(given, list) or len(given) < 2:
        raise ValueError(f"{where}: choices must be a list of at least two; got {shown(repr(given), 80)}")
    return [as_text(choice, where, "a choice") for choice in given]


def multiple_choice_batch(
    examples: Sequence[ChoiceExample], tokenizer: AlbertTokenizer, *, max_length: int, padding: str = "longest"
) -> dict[str, Array]:
    """input_ids, token_type_ids, attention_mask (B,choices,T) int64; labels (B,)."""
    n = len(examples[0].choices)
    contexts = [example.context for example in examples for _ in example.choices]
    choices = [choice for example in examples for choice in example.choices]
    batch = encode_texts(tokenizer, contexts, choices, max_length, padding)
    batch = {name: value.reshape(len(examples), n, -1) for name, value in batch.items()}
    if examples[0].label is not None:
        batch["labels"] = np.array([example.label for example in examples], np.int64)
    return batch


def choice_figures(logits: Array, labels: Array) -> dict[str, float]:  # (n,choices), (n,)
    return {"accuracy": metrics.accuracy(logits.argmax(axis=1), labels)}
