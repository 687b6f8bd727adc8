"""Text files that people bring: lines of UTF-8, from files of any length. Every refusal gives the number of the line."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from albert_np.files import shown

_BOMS = {
    b"\xff\xfe": "UTF-16 or UTF-32",
    b"\xfe\xff": "UTF-16",
    b"\x1f\x8b": "compressed (gzip)",
    b"PK\x03\x04": "a zip",
}
_LINE_END = re.compile(rb"\r\r\n|\r?\n|\r")
_CHUNK = 1 << 16


@dataclass
class LineCounts:
    """How many lines were read, and how many of them were left out."""

    lines: int = 0
    long_lines: int = 0  # left out: longer than allowed
    bad_lines: int = 0  # left out: not UTF-8, or with a NUL


def text_paths(paths: str | os.PathLike | Iterable[str | os.PathLike]) -> list[Path]:
    """One path or several, as a list. Raises ValueError if there is none."""
    given = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    for path in given:
        if not isinstance(path, (str, os.PathLike)) or not os.fspath(path) or "\0" in str(path):
            raise ValueError(f"a text file is named by its path; got {shown(repr(path), 80)}")
    if not given:
        raise ValueError("no text file was named")
    return [Path(path) for path in given]


class Line(NamedTuple):
    """One line of a file. text is None where it cannot be read; then problem says why."""

    number: int
    text: str | None
    end: str  # "\n", "\r\n", "\r\r\n" or "\r"; "" at the end of a file
    problem: str = ""
    raw: bytes = b""  # of a line with a problem; b"" if it is too long


def read_lines(
    path: str | os.PathLike,
    *,
    max_bytes: int = 1 << 20,
    bad_lines: str = "error",
    long_lines: str = "skip",
    counts: LineCounts | None = None,
) -> Iterator[tuple[int, str | None]]:
    """Yields (number, line) of a UTF-8 file, without line ends. A line that is left out comes as None.

    numbered_lines says what ends a line. Raises OSError (cannot be read) or ValueError (empty, not UTF-8, NUL characters, or a
    line longer than max_bytes if long_lines is "error"), with the number of the line.
    """
    counts = LineCounts() if counts is None else counts
    for line in numbered_lines(path, max_bytes=max_bytes):
        counts.lines += 1
        if line.text is None:
            too_long = not line.raw
            if (long_lines if too_long else bad_lines) == "error":
                raise ValueError(f"{path} line {line.number} {line.problem}")
            counts.long_lines += too_long
            counts.bad_lines += not too_long
        yield line.number, line.text


def numbered_lines(path: str | os.PathLike, *, max_bytes: int) -> Iterator[Line]:
    """Yields the lines of a UTF-8 file, also those that cannot be read.

    A line ends with LF, CRLF or CR, or with CR CR LF, which Windows makes of CRLF that is written as text. No other character
    ends a line: U+2028, U+0085, VT and FF are part of it. A byte order mark at the beginning is dropped. Whatever the file
    holds, little more than max_bytes of it are in memory. Raises OSError (cannot be read) or ValueError (empty).
    """
    (path,) = text_paths(path)
    with open_binary(path) as file:
        yield from lines_of(file, max_bytes=max_bytes)


def lines_of(file: io.BufferedIOBase, *, max_bytes: int) -> Iterator[Line]:
    """The same for an open file, or a stream such as stdin, whose lines come as soon as they are there."""
    for number, (raw, end) in enumerate(_ended_lines(file, max_bytes), 1):
        if raw is None:
            yield Line(number, None, end, f"is longer than {max_bytes:,} bytes: break it into shorter lines")
            continue
        problem = _not_text(raw)
        if problem:
            yield Line(number, None, end, problem, raw)
        else:
            text = raw.decode("utf-8")
            yield Line(number, text.removeprefix("\ufeff") if number == 1 else text, end)


def _ended_lines(file: io.BufferedIOBase, max_bytes: int) -> Iterator[tuple[bytes | None, str]]:
    """(line, its end); the line is None if it is longer than max_bytes."""
    data = bytearray()
    too_long = False
    while True:
        searched = max(0, len(data) - 2)  # a CR that was last may be the beginning of CRLF
        chunk = file.read1(_CHUNK)
        data += chunk
        start = 0
        for end in _LINE_END.finditer(data, searched):
            if chunk and end[0] == b"\r" and end.start() >= len(data) - 2:
                break
            n = end.start() - start
            yield (None if too_long or n > max_bytes else bytes(data[start : end.start()])), end[0].decode()
            start, too_long = end.end(), False
        del data[:start]
        if not chunk:
            if data or too_long:
                yield (None if too_long or len(data) > max_bytes else bytes(data)), ""
            return
        if len(data) > max_bytes + 2:
            del data[:-2]
            too_long = True


def open_binary(path: Path) -> io.BufferedReader:
    """Opens a file that is not empty and may be UTF-8. Raises OSError or ValueError, each in one line."""
    try:
        if path.is_dir():
            raise OSError(f"{path} is a folder; name the files in it")
        file = path.open("rb")
    except FileNotFoundError as error:
        raise OSError(f"there is no file {shown(path, 300)}") from error
    except PermissionError as error:
        raise OSError(f"{path} cannot be read: permission denied") from error
    head = file.peek(4)[:4]
    problem = "is empty" if not head else ""
    for mark, name in _BOMS.items():
        if head.startswith(mark):
            problem = f"is {name}, not UTF-8 text; convert it first"
    if problem:
        file.close()
        raise ValueError(f"{path} {problem}")
    return file


def _not_text(raw: bytes) -> str | None:
    """Why a line is not text, or None."""
    if b"\0" in raw:
        return f"holds a NUL at byte {raw.index(0)}: not text (a binary file, or UTF-16)"
    if raw.isascii():
        return None
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"is not UTF-8 ({error.reason} at byte {error.start} of the line); convert the file first"
    return None
