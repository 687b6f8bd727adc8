"""The compiled kernels of this process: from the cache where they are there, else compiled now, once.

A warm start loads one object file of machine code through LLVM and imports no Numba.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from albert_np.kernels.cpu import cache

ENTRIES = {"walk": 4, "help_out": 6, "open_gate": 2, "close_gate": 2, "set_spans": 1}  # what Python calls, and how many int64 each takes


@dataclass(frozen=True)
class Library:
    """Machine code, loaded. The engine that owns it is kept, or the code would go."""

    engine: Any
    kernels: dict[str, tuple[int, dict[str, int]]]  # name -> where it begins, and the place of each argument
    walk: Callable[..., None]
    help_out: Callable[..., None]
    open_gate: Callable[..., None]
    close_gate: Callable[..., None]
    set_spans: Callable[..., None] | None = None  # in a checked build (checks.py)


_lock = threading.Lock()
_library: Library | None = None


def library(progress: Callable[[str], None] | None = None) -> Library:
    """The kernels, loaded; compiled first where the cache has none. Raises ImportError where Numba must compile and is absent."""
    global _library
    if _library is None:
        with _lock:
            if _library is None:
                _library = _load(*(cache.read() or _compiled(progress)))
    return _library


def _compiled(progress: Callable[[str], None] | None) -> tuple[bytes, dict[str, list[str]]]:
    if progress is None:
        print(f"albert_np: compiling the CPU kernels, once, some {cache.SECONDS} seconds", file=sys.stderr, flush=True)
        progress = _silent
    from albert_np.kernels.cpu import build

    machine_code, arguments = build.compile_kernels(progress)
    cache.write(machine_code, arguments)
    return machine_code, arguments


def _silent(name: str) -> None:
    pass


def _load(machine_code: bytes, arguments: dict[str, list[str]]) -> Library:
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    machine = binding.Target.from_default_triple().create_target_machine(jit=True)
    engine = binding.create_mcjit_compiler(binding.parse_assembly(""), machine)
    engine.add_object_file(binding.ObjectFileRef.from_data(machine_code))
    engine.finalize_object()
    kernels = {
        name: (engine.get_function_address(name), {argument: i for i, argument in enumerate(names)})
        for name, names in arguments.items()
    }
    entries = {
        name: ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * count)(engine.get_function_address(name))
        for name, count in ENTRIES.items()
        if name in arguments
    }
    return Library(engine, kernels, **entries)


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
