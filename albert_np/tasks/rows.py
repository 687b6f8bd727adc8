"""Rows of CSV, TSV and JSON files, each with its place in the file, for messages."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from albert_np.files import listed, shown
from albert_np.text_files import Line, numbered_lines, open_binary, text_paths

FORMATS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json"}
MAX_LINE_BYTES = 1 << 24
MAX_JSON_BYTES = 1 << 30

Row = tuple[str, dict[str, Any]]  # "train.csv line 7", values by column


class BadRows:
    """What happens to a row that cannot be read: on_bad_row "error" refuses the file, "skip" leaves the row out.

    count: how many were left out. first: what was wrong with the first of them. Raises ValueError for another on_bad_row.
    """

    def __init__(self, on_bad_row: str = "error") -> None:
        if on_bad_row not in ("error", "skip"):
            raise ValueError(f"on_bad_row must be 'error' or 'skip'; got {shown(repr(on_bad_row), 60)}")
        self.skip = on_bad_row == "skip"
        self.count = 0
        self.first = ""

    def meet(self, error: ValueError, rows: int = 1) -> None:
        """Counts rows that are left out because of an error; or raises the error."""
        if not self.skip:
            raise error
        self.count += rows
        self.first = self.first or str(error)

    def counted(self, counts: Mapping[str, int]) -> dict[str, int]:
        """The counts, with bad_rows among them if there are any."""
        return dict(counts) | ({"bad_rows": self.count} if self.count else {})


def read_rows(
    path: str | os.PathLike,
    *,
    file_format: str | None = None,
    columns: Sequence[str] | None = None,
    delimiter: str | None = None,
    bad: BadRows | None = None,
) -> Iterator[Row]:
    """Yields the rows of a table. Values are str in CSV and TSV, exactly as they stand there, and what JSON says in JSON.

    file_format: "csv" (quotes may hold delimiters and line ends), "tsv" (a tab is a tab and a quote is a quote, as in GLUE's
    files), "jsonl" (one object on each line) or "json" (one list of objects); by default the end of the name decides.
    columns: names for a CSV or TSV file without a header line. delimiter: one character that stands between the fields of a
    CSV file; the comma by default. Lines that are empty or hold only spaces are no rows. bad: what happens to rows that cannot
    be read. Raises OSError or ValueError, with the number of the line.
    """
    (path,) = text_paths(path)
    bad = BadRows() if bad is None else bad
    kind = FORMATS.get(path.suffix.lower()) if file_format is None else file_format
    if kind is None or kind not in FORMATS.values():
        raise ValueError(
            f"{path}: the format is one of csv, tsv, jsonl, json; say which with file_format (got {shown(repr(kind), 40)})"
        )
    if delimiter is not None and (kind != "csv" or len(delimiter) != 1 or delimiter in '"\r\n'):
        raise ValueError(f"delimiter is one character, for a CSV file; got {shown(repr(delimiter), 40)} for {kind}")
    if kind in ("jsonl", "json"):
        if columns is not None:
            raise ValueError("columns name the fields of a CSV or TSV file without a header; JSON names its own")
        return _json_lines(path, bad) if kind == "jsonl" else _json_list(path, bad)
    records = _csv_records(path, delimiter or ",") if kind == "csv" else _tsv_records(path)
    return _table(records, columns, bad)


def value_of(row: Row, column: str) -> Any:
    """The value of a column. Raises ValueError if the row has no such column."""
    where, values = row
    if column not in values:
        raise ValueError(f"{where} has no column {shown(repr(column), 60)}; it has {listed(list(map(str, values)))}")
    return values[column]


def text_of(row: Row, column: str) -> str:
    """The text of a column as it stands there; "" for null. Raises ValueError for a value that is not text."""
    value = value_of(row, column)
    return "" if value is None else as_text(value, row[0], column)


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
    """Parses JSON without NaN and Infinity, and without a name that an object gives twice, where the last would win.

    Raises ValueError that says what is wrong, and where.
    """

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON number")

    def each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) != len(pairs):
            names = [name for name, _ in pairs]
            raise ValueError(f"an object names {next(repr(name) for name in names if names.count(name) > 1)} twice")
        return table

    try:
        return json.loads(text, parse_constant=refuse, object_pairs_hook=each_once)
    except json.JSONDecodeError as error:
        line = f" line {error.lineno}" if " line " not in where else ""
        raise ValueError(f"{where}{line} is not JSON: {error.msg} at column {error.colno}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{where} is not UTF-8 ({error.reason} at byte {error.start}); convert it first") from error
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


def text_lines(path: Path) -> Iterator[Line]:
    """The lines of a file. Raises ValueError for one that is longer than any real row."""
    for line in numbered_lines(path, max_bytes=MAX_LINE_BYTES):
        if line.text is None and not line.raw:
            raise ValueError(f"{path} line {line.number} {line.problem}")
        yield line


class LineEnds:
    """Sees to it that CR alone ends all lines of a file or none: else a CR may be text, and CR LF may be two ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.first: dict[bool, int] = {}  # whether it is CR alone -> the first line with it

    def meet(self, line: Line) -> None:
        """Takes the next line. Raises ValueError if both kinds stand before it."""
        if len(self.first) == 2:
            raise ValueError(
                f"{self.path}: CR alone ends line {self.first[True]} and LF ends line {self.first[False]}; write the file "
                "with one kind of line end, so that it is clear what is a line"
            )
        self.first.setdefault(line.end == "\r", line.number)


def _json_lines(path: Path, bad: BadRows) -> Iterator[Row]:
    for line in text_lines(path):
        where = f"{path} line {line.number}"
        if line.text is None:
            bad.meet(ValueError(f"{where} {line.problem}"))
        elif line.text.strip():
            try:
                row = where, _as_object(parse_json_text(line.text, where), where)
            except ValueError as error:
                bad.meet(error)
            else:
                yield row


def _json_list(path: Path, bad: BadRows) -> Iterator[Row]:
    try:
        value = read_json_file(path)
    except ValueError as error:
        if "Extra data" not in str(error):
            raise
        raise ValueError(
            f"{error}; if there is an object on each line, say file_format='jsonl' or name it .jsonl"
        ) from error
    if not isinstance(value, list):
        raise ValueError(f"{path} must be a list of objects; got {shown(repr(value), 60)} (an object a line is .jsonl)")
    for number, item in enumerate(value):
        where = f"{path} item {number}"
        try:
            row = where, _as_object(item, where)
        except ValueError as error:
            bad.meet(error)
        else:
            yield row


def _as_object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where} must be an object with named values; got {shown(repr(value), 60)}")
    return value


_Record = tuple[str, list[str] | ValueError, int]  # place, fields or what is wrong, how many lines


def _table(records: Iterator[_Record], columns: Sequence[str] | None, bad: BadRows) -> Iterator[Row]:
    names = None if columns is None else list(columns)
    for where, fields, lines in records:
        if isinstance(fields, ValueError):
            if names is None:
                raise fields  # no row can be read without the header
            bad.meet(fields, lines)
        elif names is None:
            names = [field.strip() for field in fields]
            twice = [name for i, name in enumerate(names) if name in names[:i]]
            if twice:
                raise ValueError(f"{where}: the header names {shown(repr(twice[0]), 60)} twice")
        elif len(fields) != len(names):
            said = f"{where} has {len(fields)} fields where there are {len(names)} columns ({listed(names)})"
            bad.meet(ValueError(said), lines)
        else:
            yield where, dict(zip(names, fields, strict=True))


def _tsv_records(path: Path) -> Iterator[_Record]:
    ends = LineEnds(path)
    for line in text_lines(path):
        ends.meet(line)
        where = f"{path} line {line.number}"
        if line.text is None:
            yield where, ValueError(f"{where} {line.problem}"), 1
        elif line.text.strip(" "):
            yield where, line.text.split("\t"), 1


def _csv_records(path: Path, delimiter: str) -> Iterator[_Record]:
    # The module's own limit is 131,072 characters a field, less than a long document; it is one for the whole process and
    # only ever raised here. Lines are limited already.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))
    ends = LineEnds(path)
    taken: list[Line] = []  # of this record: quotes may hold line ends

    def lines() -> Iterator[str]:
        for line in text_lines(path):
            taken.append(line)
            # a line that is not text may still open or close quotes
            yield (line.raw.decode("utf-8", "replace") if line.text is None else line.text) + line.end

    reader = csv.reader(lines(), delimiter=delimiter, strict=True)
    while True:
        taken.clear()
        fields: list[str] | ValueError
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            fields = ValueError(f"{path} line {taken[0].number} is not CSV: {error}")
            if "end of data" in str(error):  # whatever is skipped: this record holds all others
                raise ValueError(f"{fields}; a quote that begins in this line does not end") from error
        ends.meet(taken[-1])
        where = f"{path} line {taken[0].number}"
        problem = next((f"{path} line {line.number} {line.problem}" for line in taken if line.problem), None)
        if problem is None and isinstance(fields, list) and not _quotes_are_clear(fields, taken, delimiter):
            problem = f"{where}: a quote after a space may be text or begin a quoted field; leave the space out"
        if problem:
            yield where, ValueError(problem), len(taken)
        elif len(taken) > 1 or (taken[0].text or "").strip(" "):
            yield where, fields, len(taken)


def _quotes_are_clear(fields: list[str], lines: Sequence[Line], delimiter: str) -> bool:
    """Whether a record says the same to readers that skip spaces after a delimiter as to those that keep them."""
    texts = [f"{line.text}{line.end}" for line in lines]
    if not any('"' in text and re.search(f'(^|{re.escape(delimiter)}) +"', text) for text in texts):
        return True
    try:
        others = next(csv.reader(texts, delimiter=delimiter, strict=True, skipinitialspace=True))
    except csv.Error:
        return True
    return [field.lstrip(" ") for field in fields] == [field.lstrip(" ") for field in others]
