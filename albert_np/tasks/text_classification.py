"""Text classification: one text or two, and a class, several labels or a number."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from albert_np.files import listed, shown
from albert_np.ops import Array
from albert_np.tasks import metrics
from albert_np.tasks.data import TaskData, check_any, encode_texts
from albert_np.tasks.labels import are_indicators, finite_number, label_table, several_labels, zero_or_one
from albert_np.tasks.rows import BadRows, read_rows, text_of, value_of
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
    separator: str | None = None,
    missing_labels: str = "error",
    file_format: str | None = None,
    columns: Sequence[str] | None = None,
    delimiter: str | None = None,
    on_bad_row: str = "error",
) -> TaskData:
    """Reads the texts and labels of a CSV, TSV or JSONL file (rows.read_rows describes their form).

    text, pair, label: names of columns; label None reads texts without labels. Labels are names or class numbers (labels.py
    says how they may be written). label_names gives the names by number; without it they are the sorted names, or "0" … if all
    labels are numbers. Several labels (problem_type "multi_label_classification") are a list, also one that is written as text;
    or names with `separator` between them, by default "|"; or lists of a 0 or 1 for each class; or a sequence of columns that
    hold 0 or 1. Rows with an empty text are left out and counted; so are rows without a label if missing_labels is "skip", and
    rows that cannot be read or whose label is none of label_names if on_bad_row is "skip" (bad_rows). Texts are as they stand
    in the file. Raises OSError; or ValueError with the number of the line, for example for a missing column or for a label that
    is not in label_names, or if no row is left.
    """
    if problem_type not in (SINGLE, MULTI, REGRESSION):
        raise ValueError(f"problem_type must be {SINGLE}, {MULTI} or {REGRESSION}; got {shown(repr(problem_type), 60)}")
    if missing_labels not in ("error", "skip"):
        raise ValueError(f"missing_labels must be 'error' or 'skip'; got {shown(repr(missing_labels), 60)}")
    label_columns = [label] if isinstance(label, str) else list(label or ())
    if len(label_columns) > 1 and problem_type != MULTI:
        raise ValueError(f"several label columns are {MULTI}; problem_type says {problem_type}")
    counts: Counter[str] = Counter(examples=0, empty_texts=0, unlabelled=0)
    bad = BadRows(on_bad_row)
    found: list[tuple[str, str, str | None, Any]] = []
    for row in read_rows(path, file_format=file_format, columns=columns, delimiter=delimiter, bad=bad):
        where = row[0]
        try:
            first = text_of(row, text)
            second = None if pair is None else text_of(row, pair)
            values = [value_of(row, column) for column in label_columns]
            missing = problem_type != MULTI and any(value is None or str(value).strip() == "" for value in values)
            if not first.strip() or (second is not None and not second.strip()):
                counts["empty_texts"] += 1
            elif missing and missing_labels == "error":
                raise ValueError(
                    f"{where} has no label in {listed(label_columns)} (missing_labels='skip' leaves it out)"
                )
            elif missing:
                counts["unlabelled"] += 1
            else:
                label_read = _read_label(values, problem_type, separator, label_names, where)
                found.append((where, first, second, label_read))
        except ValueError as error:
            bad.meet(error)
    check_any(found, path, counts, bad)
    raw = [(where, label_read) for where, *_, label_read in found]
    names, numbered = _numbering(raw, label_columns, label_names, problem_type, path, bad)
    examples = []
    for where, first, second, label_read in found:
        try:
            examples.append(TextExample(first, second, numbered(where, label_read)))
        except ValueError as error:
            bad.meet(error)
    check_any(examples, path, counts, bad)
    counts["examples"] = len(examples)
    return TaskData(examples, names, problem_type, bad.counted(counts))


def _read_label(
    values: list[Any], problem_type: str, separator: str | None, known: Sequence[str] | None, where: str
) -> Any:
    """The label of one row, as far as it can be read before all rows are: a number, a tuple, a list or one value."""
    if len(values) > 1:
        return tuple(zero_or_one(value, where) for value in values)
    if problem_type == REGRESSION:
        return finite_number(values[0], where) if values else None
    if problem_type == MULTI:
        return several_labels(values[0], separator, where, known or ()) if values else None
    return values[0] if values else None


def _numbering(
    raw: list[tuple[str, Any]],
    label_columns: list[str],
    label_names: Sequence[str] | None,
    problem_type: str,
    path: str | os.PathLike,
    bad: BadRows,
) -> tuple[list[str], Callable[[str, Any], Any]]:
    """The names of the classes, and what makes the label of an example from (place, what _read_label gave)."""
    names = list(label_names or ())
    if not label_columns:
        return names, lambda _, label: label
    if problem_type == REGRESSION:
        return [], lambda _, label: label
    if len(label_columns) > 1:
        if names and len(names) != len(label_columns):
            raise ValueError(f"{len(names)} label_names for {len(label_columns)} label columns")
        return names or label_columns, lambda _, label: label
    if problem_type == SINGLE:
        table = label_table(raw, label_names, path, bad)
        return table.names, table.number
    if are_indicators(raw, len(names) or None):
        return names or [str(i) for i in range(len(raw[0][1]))], lambda _, label: tuple(map(float, label))
    table = label_table([(where, value) for where, values in raw for value in values], label_names, path, bad)
    return table.names, table.indicators


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
