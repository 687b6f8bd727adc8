"""Token classification: a class for every word of a sentence."""

from __future__ import annotations

import contextlib
import operator
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from albert_np.files import shown
from albert_np.ops import IGNORE_INDEX, Array
from albert_np.tasks import metrics
from albert_np.tasks.conll import Sentence, read_conll
from albert_np.tasks.data import TaskData, check_any, checked_padding
from albert_np.tasks.labels import label_table
from albert_np.tasks.rows import BadRows, Row, as_text, read_rows, value_of
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
    comments: str = "error",
    file_format: str | None = None,
    on_bad_row: str = "error",
) -> TaskData:
    """Reads sentences with a label for each word: JSONL with two lists on each line, or CoNLL's columns.

    CoNLL has one word with its label on each line, in columns separated by tabs or spaces, and a blank line between sentences.
    conll.py says how columns are found and what is a comment; comments says what a line is that may be a comment or a word:
    "skip" (a comment), "word" or "error". All files but .jsonl, .ndjson, .json and .csv are read as CoNLL. Labels are names or
    numbers, as in read_classification; the number −100 means no label.

    With on_bad_row "skip", sentences that cannot be read are left out (bad_rows), and a word whose label is none of label_names
    has no label (unknown_labels). counts has also comments, multiword_tokens and empty_nodes, if there are any. Raises OSError;
    or ValueError with the number of the line, or if no sentence or no label is left.
    """
    (checked,) = text_paths(path)
    bad = BadRows(on_bad_row)
    counts: Counter[str] = Counter(examples=0, empty_texts=0)
    left_out: Counter[str] = Counter()
    suffix = checked.suffix.lower()
    sentences: Iterable[Sentence]
    if file_format == "conll" or (file_format is None and suffix not in (".jsonl", ".ndjson", ".json", ".csv")):
        columns = [_column(word_column, "word_column"), _column(label_column, "label_column")]
        sentences = read_conll(
            path,
            columns[0],
            None if labels is None else columns[1],
            comments=comments,
            known=label_names or (),
            bad=bad,
            counts=left_out,
        )
    elif file_format in ("csv", "tsv") or (file_format is None and suffix == ".csv"):
        raise ValueError(
            f"{checked}: words and their labels are read from CoNLL (file_format='conll') or JSONL, not CSV or TSV"
        )
    else:
        sentences = _json_sentences(read_rows(path, file_format=file_format, bad=bad), tokens, labels, bad)
    found: list[Sentence] = []
    for sentence in sentences:
        if sentence.words:
            found.append(sentence)
        else:
            counts["empty_texts"] += 1
    counts.update(+left_out)  # without zeros
    check_any(found, path, counts, bad)
    counts["examples"] = len(found)
    if labels is None:
        unlabelled = [TokenExample(sentence.words, None) for sentence in found]
        return TaskData(unlabelled, list(label_names or ()), None, bad.counted(counts))
    raw = [(x.place(i), value) for x in found for i, value in enumerate(x.labels) if not _is_ignored(value)]
    table = label_table(raw, label_names, path, bad)
    unknown = BadRows(on_bad_row)
    examples = []
    for sentence in found:
        numbers = [IGNORE_INDEX] * len(sentence.words)
        for i, value in enumerate(sentence.labels):
            if not _is_ignored(value):
                try:
                    numbers[i] = table.number(sentence.place(i), value)
                except ValueError as error:
                    unknown.meet(error)
        examples.append(TokenExample(sentence.words, tuple(numbers)))
    if raw and unknown.count == len(raw):
        raise ValueError(f"{path}: none of its labels is known; {unknown.first}")
    if unknown.count:
        counts["unknown_labels"] = unknown.count
    return TaskData(examples, table.names, None, bad.counted(counts))


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
    """Whether the labels are tags of entities: O, or a prefix of one scheme, a hyphen and a type; and O or B-… among them."""
    if not any(name == "O" or name.startswith("B-") for name in names):
        return False
    if not all(name == "O" or (name[1:2] == "-" and len(name) > 2) for name in names):
        return False
    try:
        metrics.tag_scheme(names)
    except ValueError:
        return False
    return True


def token_figures(words: Sequence[tuple[Array, Array]], names: Sequence[str]) -> dict[str, float]:
    """Accuracy over the words of `labelled_words`; if labels are tags of entities, also their precision, recall and F1.

    The tags' scheme is that of all names (metrics.tag_scheme), whichever occur in these words.
    """
    found, labels = zip(*words, strict=True)
    right = {"accuracy": metrics.accuracy(np.concatenate(found), np.concatenate(labels))}
    if not are_entities(names):
        return right
    tags = ([[names[i] for i in row] for row in rows] for rows in (found, labels))
    return right | metrics.entity_f1(*tags, scheme=metrics.tag_scheme(names))


def _json_sentences(rows: Iterable[Row], tokens: str, labels: str | None, bad: BadRows) -> Iterator[Sentence]:
    for row in rows:
        try:
            sentence = _json_sentence(row, tokens, labels)
        except ValueError as error:
            bad.meet(error)
        else:
            yield sentence


def _json_sentence(row: Row, tokens: str, labels: str | None) -> Sentence:
    where = row[0]
    words = value_of(row, tokens)
    values = [] if labels is None else value_of(row, labels)
    if not isinstance(words, list) or not isinstance(values, list):
        raise ValueError(f"{where}: {tokens} and {labels} must be lists, an entry a word")
    if labels is not None and len(words) != len(values):
        raise ValueError(f"{where} has {len(words)} words and {len(values)} labels")
    return Sentence(where, tuple(as_text(word, where, "a word") for word in words), values)


def _is_ignored(label: Any) -> bool:
    """Whether a label is the number −100, which means that there is none."""
    return str(label).strip() in (str(IGNORE_INDEX), str(float(IGNORE_INDEX)))


def _column(number: Any, name: str) -> int:
    """The number of a column, from 0, or from −1 for the last. The command line gives it as text."""
    if not isinstance(number, bool):
        with contextlib.suppress(TypeError, ValueError):
            return int(number) if isinstance(number, str) else operator.index(number)
    raise ValueError(f"{name} is the number of a column, from 0; got {shown(repr(number), 60)}")
