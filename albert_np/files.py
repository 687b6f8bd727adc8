"""Reading and writing the small files around a model: no file is ever left half written, no input read without a limit."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place when the block ends well, and vanishes when it does not.

    Makes missing folders. Raises OSError where the folder cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp gives 0600; a model is as readable as any other new file of this user
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: str | os.PathLike, data: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def read_json(path: Path, max_bytes: int) -> Any:
    """A JSON file's value. Raises ValueError (too large, not JSON, a key given twice, not UTF-8) or OSError."""
    size = path.stat().st_size
    if size > max_bytes:
        raise ValueError(f"{path.name} is {size:,} bytes; at most {max_bytes:,} are read")
    data = path.read_bytes()
    explain_impostor(path.name, data[:512])
    return parse_json(data, path.name)


def parse_json(data: bytes, what: str) -> Any:
    """Strict JSON: UTF-8, no key twice in one object (the last would win in silence), nesting within Python's limit."""

    def no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) != len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise ValueError(f"the key {twice[:80]!r} stands twice in {what}")
        return table

    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=no_duplicates)
    except UnicodeDecodeError as error:
        raise ValueError(f"{what} is not UTF-8 text (byte {error.start})") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{what} is not JSON: {error.msg} at line {error.lineno} column {error.colno}") from error
    except RecursionError as error:
        raise ValueError(f"{what} is nested too deeply to be a real file of its kind") from error


def explain_impostor(name: str, head: bytes) -> None:
    """Raises ValueError where a file starts like a Git-LFS pointer or a web page: the download went wrong, say so."""
    start = head.lstrip()[:256].lower()
    if start.startswith(b"version https://git-lfs"):
        raise ValueError(f"{name} is a Git-LFS pointer, not the file itself; run `git lfs pull` or download it again")
    if start.startswith((b"<!doctype html", b"<html", b"<?xml", b"<head")):
        raise ValueError(f"{name} is a web page, not a model file; download the raw file, not the page that shows it")
