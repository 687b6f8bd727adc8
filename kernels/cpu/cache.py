"""Compiled kernels on disk: one file for each combination of kernel sources, CPU, registers and library versions.

The file lies in ALBERT_NP_CACHE_DIR, or in the user's cache folder. It appears whole or not at all, and carries a checksum: a
damaged one is as good as none. Where nothing can be written, kernels live in memory, and a warning says so once.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import platform
import sys
import tempfile
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from albert_np.kernels.cpu import simd

MAGIC = b"albert_np kernels 1\n"
KEPT = 8  # files of other versions and CPUs; the oldest go
SECONDS = 10  # what compiling takes, about, for the line that says so


def folder() -> Path:
    """Where the files lie. Raises RuntimeError where there is no home folder."""
    if os.environ.get("ALBERT_NP_CACHE_DIR"):
        return Path(os.environ["ALBERT_NP_CACHE_DIR"])
    if sys.platform == "win32" and os.environ.get("LOCALAPPDATA"):
        return Path(os.environ["LOCALAPPDATA"]) / "albert_np"
    if os.environ.get("XDG_CACHE_HOME"):
        return Path(os.environ["XDG_CACHE_HOME"]) / "albert_np"
    return Path.home() / ".cache" / "albert_np"


@functools.cache
def key() -> str:
    """A hash of all that decides the machine code. Numba's own cache misses a helper that changed in another file."""
    parts = [sys.platform, platform.machine(), *simd.target(), simd.chosen_level().name, str(simd.is_checked())]
    for library in ("numba", "llvmlite"):
        try:
            parts.append(f"{library} {version(library)}")
        except PackageNotFoundError:
            parts.append(f"{library} unknown")
    digest = hashlib.sha256("\n".join(parts).encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def path() -> Path:
    return folder() / f"kernels-{simd.chosen_level().name}-{key()[:32]}.bin"


def read() -> tuple[bytes, dict[str, list[str]]] | None:
    """Machine code and arguments' names, or None where there is no sound file."""
    try:
        content = path().read_bytes()
    except (OSError, RuntimeError):
        return None
    magic, checksum, rest = content[: len(MAGIC)], content[len(MAGIC) : len(MAGIC) + 32], content[len(MAGIC) + 32 :]
    if magic != MAGIC or hashlib.sha256(rest).digest() != checksum:
        return None
    header, _, machine_code = rest.partition(b"\n")
    return machine_code, json.loads(header)


def write(machine_code: bytes, arguments: dict[str, list[str]]) -> None:
    """Keeps the kernels for the next start. Two processes that write at once write the same."""
    rest = json.dumps(arguments).encode() + b"\n" + machine_code
    try:
        target = path()
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".kernels-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(MAGIC + hashlib.sha256(rest).digest() + rest)
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    except (OSError, RuntimeError) as error:
        warnings.warn(
            f"compiled kernels cannot be kept ({error}); the next start compiles again: point ALBERT_NP_CACHE_DIR at a "
            "folder that can be written",
            stacklevel=2,
        )
        return
    _prune(target)


def _prune(newest: Path) -> None:
    with contextlib.suppress(OSError):
        files = sorted(newest.parent.glob("kernels-*.bin"), key=lambda file: file.stat().st_mtime, reverse=True)
        for file in files[KEPT:]:
            file.unlink()
