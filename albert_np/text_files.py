"""Text files that people bring: lines of UTF-8, from files of any length. Every refusal gives the number of the line."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from albert_np.files import shown

_BOMS = {
    b"\xff\xfe": "UTF-16 or UTF-32",
    b"\xfe\xff": "UTF-16",
    b"\x1f\x8b": "compressed (gzip)",
    b"PK\x03\x04": "a zip",
}


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


def read_lines(
    path: str | os.PathLike,
    *,
    max_bytes: int = 1 << 20,
    bad_lines: str = "error",
    long_lines: str = "skip",
    counts: LineCounts | None = None,
) -> Iterator[tuple[int, str | None]]:
    """Yields (number, line) of a UTF-8 file, without line ends. A line that is left out comes as None.

    Lines end with LF or CRLF; a byte order mark is dropped. Whatever the file holds, no more than max_bytes of it are in
    memory. Raises OSError (cannot be read) or ValueError (empty, not UTF-8, NUL characters, or a line longer than max_bytes
    if long_lines is "error"), with the number of the line.
    """
    (path,) = text_paths(path)
    counts = LineCounts() if counts is None else counts
    with open_binary(path) as file:
        number = 0
        while raw := file.readline(max_bytes + 1):
            number += 1
            counts.lines += 1
            if len(raw) > max_bytes and not raw.endswith(b"\n"):
                while raw and not raw.endswith(b"\n"):
                    raw = file.readline(max_bytes)
                if long_lines == "error":
                    raise ValueError(f"{path} line {number} is longer than {max_bytes:,} bytes")
                counts.long_lines += 1
                yield number, None
                continue
            problem = _not_text(raw)
            if problem is None:
                line = raw.decode("utf-8").removesuffix("\n").removesuffix("\r")
                yield number, line.removeprefix("\ufeff") if number == 1 else line
            elif bad_lines == "error":
                raise ValueError(f"{path} line {number} {problem}")
            else:
                counts.bad_lines += 1
                yield number, None


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
        return f"is not UTF-8 ({error.reason} at byte {error.start} of the line)"
    return None
