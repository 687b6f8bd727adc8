"""Reading and writing the small files around a model: no file is ever left half written, no input read without a limit."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# a real file has a few hundred lists and objects, three deep; millions would take a gigabyte, depth would end in a crash
MAX_BRACKETS = 1_000_000
MAX_DEPTH = 64
MAX_DIGITS = 40  # transformers writes 10³⁰ for "no maximum length"


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary file beside `path`. It takes that place when the block ends well, and vanishes when it does not.

    Makes missing folders. Raises OSError if the folder cannot be written to, or if a folder, a pipe or a device is there.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is {'a folder' if path.is_dir() else 'a pipe or a device'}; name a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    temporary.touch(exist_ok=False)
    permissions = temporary.stat().st_mode  # those of any other new file of this user
    try:
        yield temporary
        temporary.chmod(permissions)  # the block may have put another file there: `safetensors` does, readable by one
        with temporary.open("rb") as file:
            os.fsync(file.fileno())  # or a power cut could leave the new name on an empty file
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def folder_to_write(folder: str | os.PathLike) -> Path:
    """The folder for a save; it need not exist yet. Raises ValueError (not a path) or OSError (a file is in the way)."""
    if not isinstance(folder, (str, os.PathLike)) or not isinstance(os.fspath(folder), str) or not os.fspath(folder):
        raise ValueError(f"writing takes the path of a folder; got {folder!r:.80}")
    if "\0" in os.fspath(folder):
        raise ValueError("a path holds no NUL character")
    path = Path(os.path.expanduser(folder))  # as where a model is read from
    if os.path.lexists(path) and not path.is_dir():
        what = "a file" if path.exists() else "a link that leads nowhere"
        raise OSError(f"{path} is {what}; name a folder, which need not exist yet")
    above = next((parent for parent in path.parents if parent.exists()), None)
    if above is not None and not above.is_dir():
        raise OSError(f"{above} is a file, so there can be no folder {path}")
    return path


def write_atomically(path: str | os.PathLike, data: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def read_json(path: Path, max_bytes: int) -> Any:
    """The value of a JSON file. Raises ValueError (too large, not JSON, a key given twice, not UTF-8) or OSError."""
    size = path.stat().st_size
    if size > max_bytes:
        raise ValueError(f"{path} is {size:,} bytes; at most {max_bytes:,} are read")
    data = path.read_bytes()
    explain_impostor(str(path), data[:512])
    return parse_json(data, str(path))


def parse_json(data: bytes, what: str) -> Any:
    """Strict JSON: UTF-8, no key twice in one object (the last would win silently), no absurdly long number or deep nesting."""
    if data.count(b"[") + data.count(b"{") > MAX_BRACKETS:
        raise ValueError(f"{what} has over {MAX_BRACKETS:,} lists and objects, more than any real file of its kind")

    def no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) != len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise ValueError(f"{what} holds the key '{shown(twice)}' twice")
        return table

    def whole_number(text: str) -> float:
        if len(text) > MAX_DIGITS:
            raise ValueError(f"{what} has the number {text[:20]}…, of {len(text)} digits, more than any real file")
        return -0.0 if text == "-0" else int(text)  # as other readers of JSON take it: no whole number

    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=no_duplicates, parse_int=whole_number)
        if b"\\u" in data:
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # an escape may spell half a character
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        raise ValueError(f"{what} is not UTF-8 text ({error.reason} at {error.start})") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{what} is not JSON: {error.msg} at line {error.lineno} column {error.colno}") from error
    except RecursionError as error:
        raise ValueError(f"{what} is nested too deeply to be a real file of its kind") from error
    if _deeper_than(MAX_DEPTH, value):
        raise ValueError(f"{what} is nested too deeply to be a real file of its kind")
    return value


def _deeper_than(limit: int, value: Any) -> bool:
    level = [value]
    for _ in range(limit):
        containers = (x for x in level if isinstance(x, (dict, list)))
        level = [child for x in containers for child in (x.values() if isinstance(x, dict) else x)]
    return bool(level)


def shown(value: Any, limit: int = 120) -> str:
    """A text from a file, ready for a message: one line, not longer than `limit`."""
    text = str(value)
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(c if c.isprintable() else "?" for c in text)


def listed(names: list[str], most: int = 6) -> str:
    """The first few names, ready for a message."""
    return ", ".join(shown(name) for name in names[:most]) + (f" … ({len(names)} in all)" if len(names) > most else "")


def class_of(value: Any) -> str:
    """The name of a value's class, and whose it is where another library may have a class of the same name as ours."""
    kind = type(value)
    library = kind.__module__.partition(".")[0]
    return kind.__name__ if library in ("builtins", "albert_np") else f"{kind.__name__} of {library}"


def explain_impostor(name: str, head: bytes) -> None:
    """Raises ValueError if a file starts like a Git-LFS pointer or a web page: then the download went wrong."""
    start = head.lstrip()[:256].lower()
    if start.startswith(b"version https://git-lfs"):
        raise ValueError(f"{name} is a Git-LFS pointer, not the file itself; run `git lfs pull` or download it again")
    if start.startswith((b"<!doctype html", b"<html", b"<?xml", b"<head")):
        raise ValueError(f"{name} is a web page, not a model file; download the raw file, not the page that shows it")
