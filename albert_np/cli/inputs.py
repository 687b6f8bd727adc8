"""What a command is asked about: texts of the command line, lines of stdin, rows of files. Each comes with its place."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from albert_np.files import listed, shown
from albert_np.tasks import rows
from albert_np.text_files import lines_of, open_binary

TABLES = ("csv", "tsv", "parquet")  # all rows have the columns of the first
FORMATS = ("txt", "csv", "tsv", "jsonl", "json", "parquet", "conll")
ENDINGS = rows.FORMATS | {".txt": "txt", ".parquet": "parquet", ".conll": "conll"}
PARQUET_ROWS = 1024  # that are in memory at a time

SETTINGS = ("delimiter", "word_column")  # what --columns may say beside names, for CSV and CoNLL
LISTS = ("tokens", "choices")  # values that are not one text

Row = tuple[str, Any]  # place, and values by name or the ValueError of a row that cannot be read


@dataclass(frozen=True)
class Shape:
    """What an input of a command consists of.

    texts: the names of those that the command line gives, in turn; a line of text is the first. needed, optional: names that
    a row of a table has, under these or the names that --columns tells. given: values that are the same for all inputs.
    blank_lines: whether a blank line of text is an input too.
    """

    texts: tuple[str, ...]
    needed: tuple[str, ...]
    optional: tuple[str, ...] = ()
    given: Mapping[str, Any] = field(default_factory=dict)
    blank_lines: bool = True


class _Met(rows.BadRows):
    """Bad rows in the order in which they are met, for whoever takes them between two good ones."""

    def __init__(self) -> None:
        super().__init__("skip")
        self.errors: list[ValueError] = []

    def meet(self, error: ValueError, rows: int = 1) -> None:
        self.errors.append(error)

    def take(self) -> Iterator[Row]:
        yield from (("", error) for error in self.errors)
        self.errors.clear()


class Inputs:
    """All inputs of a command. Files are looked for at once, and read when they are needed."""

    def __init__(
        self,
        given: list[str],
        shape: Shape,
        columns: Mapping[str, Any],
        file_format: str | None,
        refuse: Callable[[str], Any],
    ) -> None:
        """columns, file_format: those of --columns and --format ("text": no argument is a file). refuse: for wrong usage."""
        self.shape, self.format = shape, file_format
        self.columns = {name: column for name, column in columns.items() if name not in SETTINGS}
        self.delimiter = columns.get("delimiter")
        try:
            self.word_column = int(columns.get("word_column", 0))
        except ValueError:
            refuse(f"word_column is the number of a column, from 0; got {shown(columns['word_column'], 40)}")
        known = (*shape.needed, *shape.optional)
        unknown = [name for name in self.columns if name not in known]
        if unknown:
            refuse(f"--columns names {listed(unknown)}; an input here has {listed(list(known))}")
        self.parts: list[str | Path] = [self._part(text) for text in given]
        texts = [part for part in self.parts if isinstance(part, str)]
        if len(texts) % len(shape.texts):
            refuse(f"texts come in turn as {' and '.join(shape.texts)}; got {len(texts)}")
        missing = [name for name in shape.needed if name not in (*shape.texts, *shape.given)]
        if texts and missing:
            refuse(f"a text needs {listed(missing)} too: --{missing[0]}")
        self.texts = len(texts) // len(shape.texts)

    def _part(self, text: str) -> str | Path:
        """A text, or the path of a file."""
        if self.format == "text":
            return text
        if text == "-":
            if sys.stdin is None:
                raise OSError("there is no standard input to read from")
            return Path(text)
        if os.path.isdir(text):
            raise ValueError(f"{text} is a folder; name the files in it (--format text takes it as a text)")
        if os.path.isfile(text) or os.path.exists(text):
            return Path(text)
        if os.path.splitext(text)[1].lower() in ENDINGS:
            raise ValueError(f"there is no file {shown(text, 200)} (--format text takes it as a text)")
        return text

    def total(self) -> int | None:
        """How many inputs there are, about; None if nobody can know."""
        files = [part for part in self.parts if isinstance(part, Path)]
        if any(not path.is_file() for path in files):
            return None
        return self.texts + sum(_count(path, self._kind(path)) for path in files)

    def _kind(self, path: Path) -> str:
        return self.format or ENDINGS.get(path.suffix.lower(), "txt")

    def __iter__(self) -> Iterator[Row]:
        waiting: list[str] = []
        number = 0
        for part in self.parts:
            if isinstance(part, Path):
                yield from self._of_file(part)
                continue
            waiting.append(part)
            if len(waiting) == len(self.shape.texts):
                number += 1
                place = f"text {number}" if self.texts > 1 or len(self.parts) > len(waiting) else ""
                yield self._values(place, dict(zip(self.shape.texts, waiting, strict=True)), named=False)
                waiting.clear()

    # --- files -------------------------------------------------------------------------------------------------------

    def _of_file(self, path: Path) -> Iterator[Row]:
        kind = self._kind(path)
        if kind == "txt":
            yield from self._lines(path)
            return
        path = Path("/dev/stdin") if str(path) == "-" else path
        readers = {"parquet": self._parquet, "conll": self._conll, "json": self._json}
        first = nothing = True
        for place, values in readers.get(kind, self._table)(path, kind):
            nothing = False
            if isinstance(values, ValueError):
                yield place, values
                continue
            row = self._values(place, values, named=True)
            if first and kind in TABLES and isinstance(row[1], ValueError) and not self._has_columns(values):
                raise row[1]  # it would be the error of every row
            first = False
            yield row
        if nothing:
            raise ValueError(f"{path} has no rows")

    def _lines(self, path: Path) -> Iterator[Row]:
        if len(set(self.shape.needed) - set(self.shape.given)) > 1:
            names = " and ".join(self.shape.needed)
            raise ValueError(
                f"{_name(path)}: a line of text is one text, and an input has {names}: use csv, tsv or jsonl (--format)"
            )
        with contextlib.nullcontext(_stdin()) if str(path) == "-" else open_binary(path) as file:
            nothing = True
            for line in lines_of(file, max_bytes=rows.MAX_LINE_BYTES):
                nothing = False
                place = f"{_name(path)} line {line.number}"
                if line.text is None:
                    yield "", ValueError(f"{place} {line.problem}")
                elif line.text.strip() or self.shape.blank_lines:
                    yield self._values(place, {self.shape.texts[0]: line.text}, named=False)
            if nothing:
                raise ValueError(f"{_name(path)} is empty")

    def _table(self, path: Path, kind: str) -> Iterator[Row]:
        met = _Met()
        for row in rows.read_rows(path, file_format=kind, delimiter=self.delimiter, bad=met):
            yield from met.take()
            yield row
        yield from met.take()

    def _json(self, path: Path, kind: str) -> Iterator[Row]:
        """A list of rows, or questions as in SQuAD's files."""
        from albert_np.tasks.squad import questions

        if "question" not in self.shape.needed:
            yield from self._table(path, kind)
            return
        met = _Met()
        for place, context, question in questions(path, met):
            yield from met.take()
            yield place, {**question, "context": context}
        yield from met.take()

    def _conll(self, path: Path, kind: str) -> Iterator[Row]:
        from albert_np.tasks.conll import read_conll

        met = _Met()
        for sentence in read_conll(path, self.word_column, None, comments="skip", bad=met):
            yield from met.take()
            yield sentence.where, {"tokens": list(sentence.words)}
        yield from met.take()

    def _parquet(self, path: Path, kind: str) -> Iterator[Row]:
        from albert_np.pipelines.job_files import pyarrow

        library = pyarrow()
        open_binary(path).close()  # says what is wrong with a file that is none
        try:
            file = library.parquet.ParquetFile(path)
            read = self.columns.values()
            wanted = {name for one in read for name in (one if isinstance(one, list) else [one])}
            wanted |= {*self.shape.needed, *self.shape.optional}
            names = [name for name in file.schema_arrow.names if name in wanted] or None
            number = 0
            for batch in file.iter_batches(batch_size=PARQUET_ROWS, columns=names):
                for values in batch.to_pylist():
                    number += 1
                    yield f"{path} row {number}", values
        except (library.ArrowException, OSError) as error:
            raise ValueError(f"{path} cannot be read as parquet: {shown(error)}") from error

    # --- from rows to values -----------------------------------------------------------------------------------------

    def _has_columns(self, values: Mapping[str, Any]) -> bool:
        wanted = [self.columns.get(name, name) for name in self._wanted()]
        return {name for one in wanted for name in (one if isinstance(one, list) else [one])} <= set(values)

    def _wanted(self) -> list[str]:
        """The names of the values that a row of a table has."""
        shape = self.shape
        needed = [name for name in shape.needed if name in self.columns or name not in shape.given]
        return needed + [name for name in shape.optional if name in self.columns]

    def _values(self, place: str, found: Mapping[str, Any], *, named: bool) -> Row:
        """The values of a row under the names of the shape. named: whether the row has names of its own."""
        values = dict(self.shape.given)
        try:
            if not named:
                values.update(found)
            for name in self._wanted() if named else ():
                column = self.columns.get(name, name)
                parts = column if isinstance(column, list) else [column]
                missing = [part for part in parts if part not in found]
                if missing:
                    has = listed(list(map(str, found)))
                    other = next((mark for mark in ";|" if len(found) == 1 and mark in has), None)
                    lacks = shown(repr(missing[0]), 60)
                    if other:
                        raise ValueError(
                            f"{place} has no column {lacks}; it has {has}. --columns 'delimiter={other}' parts its fields"
                        )
                    raise ValueError(f"{place} has no column {lacks}; it has {has}. --columns {name}=… says which")
                values[name] = [found[part] for part in parts] if isinstance(column, list) else found[column]
            for name, value in values.items():
                if name not in LISTS and (value is not None or name not in self.shape.optional):
                    rows.as_text(value, place or "the argument", f"the {name}")
        except ValueError as error:
            return "", error
        return place, values


def _name(path: Path) -> str:
    return "stdin" if str(path) == "-" else str(path)


def _stdin() -> io.BufferedIOBase:
    """The bytes of stdin, which are UTF-8 whatever the terminal prefers."""
    stream = getattr(sys.stdin, "buffer", None)
    return io.BytesIO(sys.stdin.read().encode()) if stream is None else stream


def _count(path: Path, kind: str) -> int:
    """How many rows a file has, about: for a progress bar."""
    if kind == "parquet":
        from albert_np.pipelines.job_files import pyarrow

        return pyarrow().parquet.read_metadata(path).num_rows
    if kind in ("json", "conll"):
        return 0
    with path.open("rb") as file:
        lines = sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
    return lines - (kind in TABLES)
