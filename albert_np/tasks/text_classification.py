"""Text classification: one text or two, and a class, several labels or a number."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from albert_np.files import listed, shown
from albert_np.ops import Array
from albert_np.tasks import metrics
from albert_np.tasks.data import TaskData, check_any, encode_texts
from albert_np.tasks.labels import finite_number, label_table, several_labels, zero_or_one
from albert_np.tasks.rows import read_rows, text_of, value_of
from albert_np.tokenization.tokenizer import AlbertTokenizer

SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"
BEST = {SINGLE: "accuracy", MULTI: "micro_f1", REGRESSION: "pearson"}  # the figure by which models are compared


class TextExample(NamedTuple):
    """One text or two, and what they are labelled with: a class, a number, or a 0 or 1 for each label; None if unknown."""

    text: str
    pair: str | None
    label: int | float | tuple[float, ...] | None


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
    """Reads the texts and labels of a CSV, TSV or JSONL file (rows.read_rows describes their form).

    text, pair, label: names of columns; label None reads texts without labels. Labels are names or class numbers.
    label_names gives the names by number; without it they are the sorted names, or "0" … if all labels are numbers. Several
    labels (problem_type "multi_label_classification") are a list in JSON, names with `separator` between them in a table, or a
    sequence of columns that hold 0 or 1. Rows with an empty text are left out and counted; so are rows without a label if
    missing_labels is "skip". Raises OSError; or ValueError with the number of the line, for example for a missing column or for
    a label that is not in label_names.
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
    check_any(found, path, counts)
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
    batch = encode_texts(tokenizer, [example.text for example in examples], pairs, max_length, padding)
    label = examples[0].label
    if label is not None:
        batch["labels"] = np.array([x.label for x in examples], np.int64 if isinstance(label, int) else np.float64)
    return batch


def classification_figures(  # (n,K), (n,) or (n,K) -> the figures by name
    logits: Array, labels: Array, problem_type: str
) -> dict[str, float]:
    """The metrics of a model's answers. BEST names the metric by which models are compared."""
    if problem_type == REGRESSION:
        x = logits[:, 0]
        close = {"pearson": metrics.pearson(x, labels), "spearman": metrics.spearman(x, labels)}
        return close | {"mean_squared_error": float(np.mean((x - labels) ** 2))}
    if problem_type == MULTI:
        found = logits > 0
        every = {"accuracy": float(np.mean((found == labels).all(axis=1)))}  # of all its labels at once
        return every | {"micro_f1": metrics.f1(found.ravel(), labels.ravel().astype(bool))}
    found = logits.argmax(axis=1)
    two = logits.shape[1] == 2
    f1 = {"f1": metrics.f1(found, labels)} if two else {"macro_f1": metrics.macro_f1(found, labels)}
    return {"accuracy": metrics.accuracy(found, labels), **f1, "matthews": metrics.matthews(found, labels)}
