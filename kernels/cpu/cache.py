"""Compiled kernels on disk: one file for each combination of kernel sources, CPU, registers and library versions.

The file lies in ALBERT_NP_CACHE_DIR, or in the user's cache folder. It appears whole or not at all, and carries a checksum: a
damaged one is as good as none, and so is one that another user could have written, since what it holds is run.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import json
import os
import platform
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from albert_np.kernels.cpu import simd, units

MAGIC = b"albert_np kernels 2\n"
KEPT = 12  # files of other versions and CPUs; the oldest go
# what compiling takes, about, for the line that says so
SECONDS = {"inference": 10, "training": 20, "bfloat16": 10, "bfloat16_training": 4, "int8": 3}
# what makes Numba write other code, beside the CPU and NUMBA_BOUNDSCHECK, which simd.py asks for
SETTINGS = ("OPT", "CPU_NAME", "CPU_FEATURES", "ENABLE_AVX", "LOOP_VECTORIZE", "SLP_VECTORIZE", "DEBUGINFO")


def folder() -> Path:
    """Where the files lie. Raises OSError where there is no home folder."""
    asked = os.environ.get("ALBERT_NP_CACHE_DIR")
    if asked:
        try:
            return Path(asked).expanduser()
        except RuntimeError as error:
            raise OSError(f"ALBERT_NP_CACHE_DIR is {asked!r}, and there is no such home folder") from error
    if sys.platform == "win32" and os.environ.get("LOCALAPPDATA"):
        return Path(os.environ["LOCALAPPDATA"]) / "albert_np"
    if os.environ.get("XDG_CACHE_HOME"):
        return Path(os.environ["XDG_CACHE_HOME"]) / "albert_np"
    try:
        return Path.home() / ".cache" / "albert_np"
    except RuntimeError as error:
        raise OSError("there is no home folder") from error


def place() -> str:
    """The folder in words that follow "kept"."""
    try:
        return f"in {folder()}"
    except OSError as error:
        return f"anywhere, since {error}"


def digest(sources: Path) -> bytes:
    """Of every source file in a folder, and in those inside it."""
    found = hashlib.sha256()
    for file in sorted(sources.rglob("*.py")):
        found.update(f"{file.relative_to(sources).as_posix()} {file.stat().st_size}\n".encode() + file.read_bytes())
    return found.digest()


def _sources() -> bytes:
    return digest(Path(__file__).parent)


# the sources as this process has them: who edits one later must not find old code under the new key
_SOURCES = _sources()


@functools.cache
def key() -> str:
    """A hash of all that decides the machine code, but Numba's version. Numba's own key misses a helper in another file."""
    import llvmlite

    parts = [sys.platform, platform.machine(), *simd.target(), simd.chosen_level().name]
    parts += [str(simd.is_checked()), str(simd.are_tiles_emulated())]
    parts += [f"{name}={os.environ.get(f'NUMBA_{name}', '')}" for name in SETTINGS]
    parts.append(llvmlite.__version__)
    return hashlib.sha256("\n".join(parts).encode() + _SOURCES).hexdigest()[:32]


@functools.cache
def numba_version() -> str:
    """Eight digits that stand for the installed Numba, or nothing without one. It is looked up, not imported."""
    spec = importlib.util.find_spec("numba")
    if spec is None or spec.origin is None:
        return ""
    try:
        content = Path(spec.origin).with_name("_version.py").read_bytes()
    except OSError:
        from importlib.metadata import version  # 30 ms

        content = version("numba").encode()
    return hashlib.sha256(content).hexdigest()[:8]


def path(kind: str = "inference") -> Path:
    """The file of this process. Without Numba it is what any version has compiled."""
    narrow = {"bfloat16": units.bfloat16, "bfloat16_training": units.bfloat16, "int8": units.int8}
    rung = narrow[kind]()[1] if kind in narrow else simd.chosen_level().name
    name = f"kernels-{'' if kind == 'inference' else f'{kind}-'}{rung}-{key()}-"
    if not numba_version():
        return max(folder().glob(f"{name}*.bin"), key=lambda file: file.name, default=folder() / f"{name}.bin")
    return folder() / f"{name}{numba_version()}.bin"


def read(kind: str = "inference") -> tuple[bytes, dict[str, list[str]]] | None:
    """Machine code and arguments' names, or None where there is no sound file."""
    try:
        content = read_file(path(kind))
    except OSError:
        return None
    if content is None:
        return None
    header, _, machine_code = content.partition(b"\n")
    try:
        return machine_code, json.loads(header)
    except ValueError:
        return None


def read_file(file: Path) -> bytes | None:
    """What was kept there, or None where it is damaged or could be another user's. Raises OSError."""
    with open(file, "rb") as stream:
        if not _is_ours(stream.fileno()):
            return None
        content = stream.read()
    start = len(MAGIC) + hashlib.sha256().digest_size
    return content[start:] if content[:start] == _opening(file, content[start:]) else None


def _opening(file: Path, rest: bytes) -> bytes:
    """What a file begins with. The checksum covers the name, key and all, so that a renamed file is none."""
    return MAGIC + hashlib.sha256(file.name.encode() + rest).digest()


def _is_ours(file: int) -> bool:
    """Could nobody but this user and the administrator have written it?"""
    if not hasattr(os, "geteuid"):
        return True
    status = os.fstat(file)
    return status.st_uid in (0, os.geteuid()) and not status.st_mode & stat.S_IWOTH


@contextlib.contextmanager
def said_in_words() -> Iterator[None]:
    """What keeps a file from being kept, and what to do."""
    try:
        yield
    except OSError as error:
        where = place()
        why = "" if str(error) in where else f" ({error.strerror or error})"
        raise OSError(
            f"compiled kernels cannot be kept {where}{why}: point ALBERT_NP_CACHE_DIR at a folder that can be written"
        ) from error


@said_in_words()
def check_writable() -> None:
    """Raises OSError where no file can be kept."""
    folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder()):
        pass


@said_in_words()
def write(machine_code: bytes, arguments: dict[str, list[str]], kind: str = "inference") -> None:
    """Keeps the kernels for the next start. Two processes that write at once write the same. Raises OSError."""
    if _sources() != _SOURCES:
        return
    target = path(kind)
    write_file(target, json.dumps(arguments).encode() + b"\n" + machine_code)
    prune(target, "kernels-*.bin", KEPT)


def write_file(target: Path, rest: bytes) -> None:
    """So that it is there whole or not at all. Raises OSError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".kernels-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(_opening(target, rest) + rest)
        # an administrator may fill the cache of everybody; no secret is in it
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def prune(newest: Path, pattern: str, kept: int) -> None:
    """Leaves the newest of such files, and no piece of a process that was killed while it wrote."""

    def age(file: Path) -> float:
        return time.time() - file.stat().st_mtime

    with contextlib.suppress(OSError):
        pieces = [file for file in newest.parent.glob(".kernels-*") if age(file) > 3600]
        for file in [*sorted(newest.parent.glob(pattern), key=age)[kept:], *pieces]:
            file.unlink()
