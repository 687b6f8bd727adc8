"""The files that jobs write: how a row looks in each form, and how a file grows so that a kill loses and repeats no row.

A file grows by whole rows. Beside it lies NAME.unfinished until all are there: how many rows and bytes are on the disk for
sure, what they were made from, and with which settings. Whoever resumes cuts the file to these bytes and goes on behind them,
so that the end is, byte for byte, that of a job which nobody stopped.
"""

from __future__ import annotations

import contextlib
import csv
import glob
import hashlib
import io
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from albert_np.files import atomic_path, parse_json, shown, write_atomically

ENDINGS = (".jsonl", ".csv", ".npy", ".parquet")
SETTLE_AFTER = 1.0  # seconds between two moments at which everything so far is made durable
PARQUET_ROWS = 1024  # rows of a group of a parquet file
MAX_STATE_BYTES = 1 << 20


class Form(NamedTuple):
    """How answers become a file. An answer may be a ValueError: that of an input which has none."""

    head: bytes
    row: Callable[[Any], bytes]
    settle: Callable[[BinaryIO, int], None] | None = None  # what changes at the beginning of a file of so many rows
    convert: Callable[[Path, Path], None] | None = None  # from the file that grows to the one that was asked for


def form_of(path: Path, columns: Sequence[str], *, width: int | None = None, dtype: Any = "float32") -> Form:
    """The form that the ending of a name asks for. columns: those of CSV. width: of vectors, which alone can be .npy.

    Raises ValueError for an ending that is not in ENDINGS, and for .npy without a width.
    """
    ending = path.suffix.lower()
    if ending == ".jsonl":
        return Form(b"", json_line)
    if ending == ".csv":
        return Form(_csv_line(columns), partial(_csv_row, columns))
    if ending == ".npy" and width is not None:
        kind = np.dtype(dtype)
        return Form(_npy_head(0, width, kind), partial(_npy_row, width, kind), partial(_npy_settle, width, kind))
    if ending == ".parquet":
        pyarrow()  # says at once if it is missing
        return Form(b"", partial(_column_line, columns), convert=_to_parquet)
    if ending == ".npy":
        raise ValueError(f"{path}: .npy is for embeddings; these answers are written as .jsonl, .csv or .parquet")
    raise ValueError(f"{path}: the ending says the form, and is one of {', '.join(ENDINGS)}")


def pyarrow() -> Any:
    """The library that reads and writes parquet files. Raises ValueError if it is not installed."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ValueError(
            'parquet files need pyarrow: pip install "albert-np[parquet]", or use .jsonl or .csv'
        ) from error
    return pyarrow


# --- rows ---------------------------------------------------------------------------------------------------------------


def plain(answer: Any) -> Any:
    """An answer as JSON has it."""
    if isinstance(answer, ValueError):
        return {"error": str(answer)}
    return answer.tolist() if isinstance(answer, np.ndarray) else answer


def json_line(answer: Any) -> bytes:
    return json.dumps(plain(answer), ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def _by_column(columns: Sequence[str], answer: Any) -> dict[str, Any]:
    """The values of a row. What is not several named values is the value of the first column."""
    value = plain(answer)
    return dict(value) if isinstance(value, Mapping) else {columns[0]: value}


def _column_line(columns: Sequence[str], answer: Any) -> bytes:
    return json_line(_by_column(columns, answer))


def _csv_line(fields: Iterable[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(fields)
    return text.getvalue().encode("utf-8", "backslashreplace")


def _csv_row(columns: Sequence[str], answer: Any) -> bytes:
    values = _by_column(columns, answer)
    lists = {name: json.dumps(x, ensure_ascii=False) for name, x in values.items() if isinstance(x, (list, dict))}
    return _csv_line((values | lists).get(name) for name in columns)


def _npy_row(width: int, dtype: np.dtype, answer: Any) -> bytes:  # (width,) ->
    """A vector; NaN for an input that has none, so that row n belongs to input n."""
    vector = np.full(width, np.nan) if isinstance(answer, ValueError) else answer
    return np.asarray(vector, dtype).tobytes()


def _npy_head(rows: int, width: int, dtype: np.dtype) -> bytes:
    """NumPy's own, which has room for any number of rows."""
    head = io.BytesIO()
    described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (rows, width)}
    np.lib.format.write_array_header_1_0(head, described)
    return head.getvalue()


def _npy_settle(width: int, dtype: np.dtype, file: BinaryIO, rows: int) -> None:
    file.seek(0)
    file.write(_npy_head(rows, width, dtype))


def _to_parquet(lines: Path, path: Path) -> None:
    """Writes rows of JSON as parquet: once through them for the types of all columns, once for the values."""
    pa = pyarrow()
    schema = None
    for rows in _blocks(lines):
        found = pa.Table.from_pylist(rows).schema
        schema = found if schema is None else pa.unify_schemas([schema, found], promote_options="permissive")
    with atomic_path(path) as temporary, pa.parquet.ParquetWriter(temporary, schema or pa.schema([])) as writer:
        for rows in _blocks(lines):
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))


def _blocks(lines: Path) -> Iterator[list[dict[str, Any]]]:
    with lines.open("rb") as file:
        while block := [json.loads(line) for line in islice(file, PARQUET_ROWS)]:
            # a column that only some rows have is in all of a block
            names = dict.fromkeys(name for row in block for name in row)
            yield [{name: row.get(name) for name in names} for row in block]


# --- a file that grows ---------------------------------------------------------------------------------------------------


class Done(NamedTuple):
    """What of a job is in the file. Replaced as one, so that an interrupt finds numbers that belong together."""

    rows: int
    size: int  # in bytes
    failed: int  # rows that have an error
    made_from: Any  # a digest of the inputs


class GrowingFile:
    """The output of a job. As a context manager it is complete when the block ends well; else it has whole rows only."""

    def __init__(
        self, path: Path, form: Form, settings: Mapping[str, Any], *, resume: bool = False, overwrite: bool = False
    ) -> None:
        """settings: what the rows depend on, for JSON; a job is resumed with the same ones only.

        Raises OSError if the file is there and neither resume nor overwrite says what to do with it; ValueError if a job
        that is to be resumed was another one.
        """
        self.path, self.form = path, form
        self.settings = {name: json.dumps(value) for name, value in settings.items()}
        self.state = path.with_name(f"{path.name}.unfinished")
        self.growing = path.with_name(f"{path.name}.rows.jsonl") if form.convert else path
        self.done = Done(0, len(form.head), 0, hashlib.blake2b(digest_size=16))
        self._on_disk = self.done
        self._was_made_from = ""
        self._settled = time.monotonic()
        if path.is_dir():
            raise OSError(f"{path} is a folder; name a file in it")
        begun = self.state.exists()
        self.complete = resume and not begun and path.exists()  # there is nothing left to do
        if self.complete and self.growing != path:
            self.growing.unlink(missing_ok=True)
        if resume and begun:
            self._read_state()
        elif not (resume or overwrite) and (begun or path.exists()):
            said = (
                f"{path} is unfinished: --resume continues it"
                if begun
                else f"{path} is there already: name another file"
            )
            raise OSError(f"{said}, or --overwrite begins anew")

    def _read_state(self) -> None:
        try:
            value = parse_json(self.state.read_bytes()[:MAX_STATE_BYTES], str(self.state))
            rows, size, failed = (int(value[name]) for name in ("rows", "bytes", "failed"))
            self._was_made_from, settings = str(value["made_from"]), dict(value["settings"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{self.state} does not say how far a job is: --overwrite begins anew") from error
        names = [name for name in {**settings, **self.settings} if settings.get(name) != self.settings.get(name)]
        if names:
            told = ", ".join(
                f"{name} was {shown(settings.get(name), 40)} and is {shown(self.settings.get(name), 40)}"
                for name in names
            )
            raise ValueError(
                f"{self.path} was begun with other settings: {told}. Use the same, or --overwrite begins anew"
            )
        there = self.growing.stat().st_size if self.growing.exists() else 0
        if rows and there < size:
            raise ValueError(f"{self.growing} has {there:,} bytes where {size:,} were written: --overwrite begins anew")
        if rows:
            self.done = Done(rows, size, failed, self.done.made_from)

    def __enter__(self) -> GrowingFile:
        try:
            self._begin()
        except OSError as error:
            if error.errno is None:  # in our words already
                raise
            raise OSError(f"cannot write {self.path}: {shown(error.strerror)}: name another place") from error
        return self

    def _begin(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            stack.enter_context(_locked(self.path))
            for left in self.path.parent.glob(f".{glob.escape(self.path.name)}.*.tmp"):
                left.unlink()  # by a kill while a state was written
            if not self.done.rows:
                self._write_state()  # before the file: one without a state counts as complete
                self.growing.write_bytes(self.form.head)
            self._file: BinaryIO = stack.enter_context(self.growing.open("r+b", buffering=0))
            self._cut()
            self._open = stack.pop_all()
        self._on_disk = self.done

    def behind(self, inputs: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
        """What is left of the inputs. Raises ValueError if those before are not the ones that the rows were made from."""
        rows = self.done.rows
        digest = _digest_of((item for _, item in islice(inputs, rows)), self.done.made_from)
        if rows and digest.hexdigest() != self._was_made_from:
            raise ValueError(
                f"the first {rows:,} rows of the input are not those that {self.path} was made from: --overwrite begins anew"
            )
        self.done = self._on_disk = self.done._replace(made_from=digest)
        return inputs

    def add(self, items: Sequence[Any], answers: Sequence[Any]) -> None:
        """Adds the rows of some inputs."""
        data = b"".join(map(self.form.row, answers))
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        done, failed = self.done, sum(isinstance(answer, ValueError) for answer in answers)
        digest = _digest_of(items, done.made_from)
        self.done = Done(done.rows + len(answers), done.size + len(data), done.failed + failed, digest)
        if time.monotonic() - self._settled > SETTLE_AFTER:
            self._settle()

    def _cut(self) -> None:
        """Removes what an interrupt may have left of a row."""
        self._file.truncate(self.done.size)
        self._file.seek(self.done.size)

    def _settle(self) -> None:
        """Makes durable what is there: first the rows, then the number of them."""
        if self.form.settle is not None:
            self.form.settle(self._file, self.done.rows)
            self._file.seek(self.done.size)
        os.fsync(self._file.fileno())
        self._write_state()
        self._settled, self._on_disk = time.monotonic(), self.done

    def _write_state(self) -> None:
        rows, size, failed, digest = self.done
        state = {
            "rows": rows,
            "bytes": size,
            "failed": failed,
            "made_from": digest.hexdigest(),
            "settings": self.settings,
        }
        write_atomically(self.state, json.dumps(state, indent=1).encode())

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        with self._open:
            self._cut()
            if self.done != self._on_disk:
                self._settle()
            if error is not None and not self.done.rows:  # nothing to resume
                self.growing.unlink()
                self.state.unlink()
            if error is not None:
                return
            if self.form.convert is not None:
                self.form.convert(self.growing, self.path)
            self.state.unlink()
            if self.growing != self.path:
                self.growing.unlink()


def _digest_of(items: Iterable[Any], before: Any) -> Any:
    """The digest of inputs that follow others."""
    digest = before.copy()
    for item in items:
        text = f"error {item}" if isinstance(item, ValueError) else repr(item)
        digest.update(text.encode("utf-8", "backslashreplace") + b"\0")
    return digest


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keeps other processes from writing the same file. Even after a kill, the system removes the lock."""
    from filelock import FileLock, Timeout

    lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise OSError(f"another process is writing {path}: wait for it, or choose another file") from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.unlink(lock.lock_file)
        lock.release()
