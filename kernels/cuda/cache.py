"""Compiled kernels on disk, a file each: what the GPU runs, and the name it has in there.

A kernel takes a second or so to compile, a model has fifteen, and none of that changes from start to start. The files lie
beside those of the CPU's kernels (kernels/cpu/cache.py), and are read and written with the same care.

The name of a file stands for all that decides its content: the sources of this folder, the versions of the compiler's parts,
the GPU's compute capability, and what a function that makes kernels put into this one.
"""

from __future__ import annotations

import functools
import hashlib
import os
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from albert_np.kernels.cpu import cache as files
from albert_np.kernels.cuda.kernel import Kernel

KEPT = 300  # files: of some versions, GPUs and sizes of model; the oldest go
COMPILER = ("numba", "numba-cuda", "llvmlite", "nvidia-nvvm", "nvidia-nvjitlink")
PLAIN = (type(None), bool, int, float, str, bytes)

# the sources as this process has them: who edits one later must not find old code under the new key
_SOURCES = files.digest(Path(__file__).parent)


@functools.cache
def compiler() -> str:
    """Versions, as installed; and settings of Numba's, of which some change its code."""
    settings = sorted(f"{name}={value}" for name, value in os.environ.items() if name.startswith("NUMBA_"))
    return "\n".join([*(f"{name} {_version(name)}" for name in COMPILER), *settings])


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # the toolkit may be the system's
        return "not a package"


def path(kernel: Kernel, capability: tuple[int, int]) -> Path:
    """Raises TypeError where a kernel is made of something that has no name here, and OSError without a home folder."""
    parts = [compiler(), repr(capability), kernel.parameters, repr((kernel.threads, kernel.blocks))]
    key = hashlib.sha256("\n".join([*parts, _described(kernel.function)]).encode() + _SOURCES).hexdigest()[:32]
    return files.folder() / f"cuda-{kernel.name}-{capability[0]}{capability[1]}-{key}.bin"


def _described(x: Any) -> str:
    """A function by its code and what it has from around it, numbers and other functions: the same in every process."""
    if isinstance(x, PLAIN):
        return repr(x)
    if isinstance(x, tuple):
        return f"({','.join(map(_described, x))})"
    # a device function of numba.cuda, and an intrinsic, are known by the Python that they are made of
    function = getattr(x, "py_func", None) or getattr(x, "_defn", x)
    if not isinstance(function, FunctionType):
        raise TypeError(f"{x!r} is not described by its value")
    around = [_described(cell.cell_contents) for cell in function.__closure__ or ()]
    return f"{function.__module__}.{_code(function.__code__)}[{','.join(around)}]"


def _code(code: CodeType) -> str:
    constants = [_code(x) if isinstance(x, CodeType) else repr(x) for x in code.co_consts]
    return f"{code.co_qualname}({code.co_code.hex()} {code.co_names} {constants})"


def read(kernel: Kernel, capability: tuple[int, int]) -> tuple[str, bytes] | None:
    """Its name in the cubin, and the cubin; or None where there is no sound file."""
    try:
        content = files.read_file(path(kernel, capability))
    except (OSError, TypeError):
        return None
    if content is None:
        return None
    name, _, cubin = content.partition(b"\n")
    return name.decode(), cubin


def write(kernel: Kernel, capability: tuple[int, int], name: str, cubin: bytes) -> None:
    """Keeps it for the next start. Where it cannot, one warning says why."""
    if files.digest(Path(__file__).parent) != _SOURCES:
        return
    try:
        with files.said_in_words():
            file = path(kernel, capability)
            files.write_file(file, name.encode() + b"\n" + cubin)
    except TypeError:
        return
    except OSError as error:
        _warn(str(error))
        return
    files.prune(file, "cuda-*.bin", KEPT)


@functools.cache
def _warn(says: str) -> None:
    warnings.warn(f"{says}; until then each start compiles the GPU's kernels again", stacklevel=4)
