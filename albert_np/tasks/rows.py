"""Rows of CSV, TSV, JSONL and CoNLL files, each with its place in the file, for messages."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from albert_np.files import listed, shown
from albert_np.text_files import open_binary, read_lines, text_paths

FORMATS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json"}
MAX_LINE_BYTES = 1 << 24
MAX_JSON_BYTES = 1 << 30

Row = tuple[str, dict[str, Any]]  # "train.csv line 7", values by column


def read_rows(
    path: str | os.PathLike, *, file_format: str | None = None, columns: Sequence[str] | None = None
) -> Iterator[Row]:
    """Yields the rows of a table. Values are str in CSV and TSV, and what JSON says in JSONL.

    file_format: "csv" (quotes may hold commas and line ends), "tsv" (a tab is a tab and a quote is a quote, as in GLUE's
    files), "jsonl" (one object on each line) or "json" (one list of objects); by default the end of the name decides.
    columns: names for a CSV or TSV file without a header line. Raises OSError or ValueError, with the number of the line.
    """
    (path,) = text_paths(path)
    kind = FORMATS.get(path.suffix.lower()) if file_format is None else file_format
    if kind is None or kind not in FORMATS.values():
        raise ValueError(
            f"{path}: the format is one of csv, tsv, jsonl, json; say which with file_format (got {shown(repr(kind), 40)})"
        )
    if kind in ("jsonl", "json"):
        if columns is not None:
            raise ValueError("columns name the fields of a CSV or TSV file without a header; JSON names its own")
        return _json_lines(path) if kind == "jsonl" else _json_list(path)
    return _table(path, kind, columns)


def value_of(row: Row, column: str) -> Any:
    """The value of a column. Raises ValueError if the row has no such column."""
    where, values = row
    if column not in values:
        raise ValueError(f"{where} has no column {shown(repr(column), 60)}; it has {listed(list(map(str, values)))}")
    return values[column]


def text_of(row: Row, column: str) -> str:
    """The text of a column without spaces around it; "" for null. Raises ValueError for a value that is not text."""
    value = value_of(row, column)
    return "" if value is None else as_text(value, row[0], column).strip()


def as_text(value: Any, where: str, what: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{where}: {what} must be text; got {shown(repr(value), 80)}")
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(f"{where}: {what} holds half a character (a lone surrogate) at {error.start}") from error
    return value


def parse_json_text(text: str | bytes, where: str) -> Any:
    """Parses JSON without NaN and Infinity. Raises ValueError that says what is wrong, and where."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON number")

    try:
        return json.loads(text, parse_constant=refuse)
    except json.JSONDecodeError as error:
        line = f" line {error.lineno}" if " line " not in where else ""
        raise ValueError(f"{where}{line} is not JSON: {error.msg} at column {error.colno}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{where} is not UTF-8 ({error.reason} at byte {error.start})") from error
    except RecursionError as error:
        raise ValueError(f"{where} is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"{where} is not JSON: {shown(error)}") from error


def read_json_file(path: Path) -> Any:
    """The value of a whole JSON file. Raises OSError or ValueError."""
    with open_binary(path) as file:
        data = file.read(MAX_JSON_BYTES + 1)
    if len(data) > MAX_JSON_BYTES:
        raise ValueError(f"{path} has more than {MAX_JSON_BYTES:,} bytes; write it as JSON lines (.jsonl)")
    return parse_json_text(data.removeprefix(b"\xef\xbb\xbf"), str(path))


def read_conll(
    path: str | os.PathLike, word_column: int, label_column: int | None
) -> Iterator[tuple[str, tuple, list]]:
    """Yields (place, words, labels) for each sentence of a CoNLL file. Without a label_column, labels are empty."""
    words: list[str] = []
    values: list[str] = []
    start = ""
    for number, line in read_lines(path, max_bytes=MAX_LINE_BYTES, long_lines="error"):
        fields = (line or "").split()
        where = f"{path} line {number}"
        if fields and fields[0] != "-DOCSTART-":
            needed = [column for column in (word_column, label_column) if column is not None]
            if len(fields) < len(set(needed)) or any(not -len(fields) <= column < len(fields) for column in needed):
                raise ValueError(
                    f"{where} has {len(fields)} columns: no word in {word_column} and label in {label_column}"
                )
            start = start or where
            words.append(fields[word_column])
            if label_column is not None:
                values.append(fields[label_column])
        elif words:
            yield start, tuple(words), values
            words, values, start = [], [], ""
    if words:
        yield start, tuple(words), values


def _json_lines(path: Path) -> Iterator[Row]:
    for where, line in _lines(path):
        if line.strip():
            yield where, _as_object(parse_json_text(line, where), where)


def _json_list(path: Path) -> Iterator[Row]:
    value = read_json_file(path)
    if not isinstance(value, list):
        raise ValueError(f"{path} must be a list of objects; got {shown(repr(value), 60)} (an object a line is .jsonl)")
    for number, item in enumerate(value):
        where = f"{path} item {number}"
        yield where, _as_object(item, where)


def _as_object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where} must be an object with named values; got {shown(repr(value), 60)}")
    return value


def _table(path: Path, kind: str, columns: Sequence[str] | None) -> Iterator[Row]:
    records = _csv_records(path) if kind == "csv" else ((where, line.split("\t")) for where, line in _lines(path))
    names = None if columns is None else list(columns)
    for where, fields in records:
        if not fields or fields == [""]:
            continue
        if names is None:
            names = [field.strip() for field in fields]
            twice = [name for i, name in enumerate(names) if name in names[:i]]
            if twice:
                raise ValueError(f"{where}: the header names {shown(repr(twice[0]), 60)} twice")
            continue
        if len(fields) != len(names):
            raise ValueError(f"{where} has {len(fields)} fields where there are {len(names)} columns ({listed(names)})")
        yield where, dict(zip(names, fields, strict=True))


def _csv_records(path: Path) -> Iterator[tuple[str, list[str]]]:
    # The module's own limit is 131,072 characters a field, less than a long document; it is one for the whole process and
    # only ever raised here. Lines are limited already.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))
    reader = csv.reader((line + "\n" for _, line in _lines(path)), strict=True)
    while True:
        where = f"{path} line {reader.line_num + 1}"  # where the record starts: quotes may hold line ends
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise ValueError(f"{where} is not CSV: {error}") from error
        yield where, fields


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    for number, line in read_lines(path, max_bytes=MAX_LINE_BYTES, long_lines="error"):
        assert line is not None
        yield f"{path} line {number}", line
