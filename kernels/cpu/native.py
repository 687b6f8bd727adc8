"""The compiled kernels of this process: from the cache where they are there, else compiled now, once.

A warm start loads one object file of machine code through LLVM and imports no Numba.
"""

from __future__ import annotations

import ctypes
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

from albert_np.kernels import forks
from albert_np.kernels.cpu import cache, simd

# what programs call (build.py compiles them): a library is compiled and loaded when it is first wanted
INFERENCE = ("gemm", "pack", "attention", "layer_norm", "embed", "copy_rows", "activate")
KERNELS = {
    "inference": INFERENCE,
    "training": (*INFERENCE, "gemm_training", "layer_norm_backward", "attention_backward", "column_sums", "drop"),
    "bfloat16": (
        *("gemm", "pack", "embed", "copy_rows"),
        *("pack16", "gemm16", "attention16", "layer_norm16", "round_rows"),
    ),
    "bfloat16_training": (
        *("pack16", "gemm16", "layer_norm16", "round_rows"),
        *("turn16", "pack_rows16", "multiply_slopes"),
    ),
    "int8": ("quantise", "gemm8"),
}
# programs of a kind that call the kernels of another too
BESIDE = {"bfloat16_training": "training", "int8": "inference"}
# what Python calls, with how many int64 each takes
ENTRIES = {"walk": 4, "help_out": 6, "open_gate": 2, "close_gate": 2}
CHECKED = ("set_spans", "albert_np_check")  # what a checked build has beside them (checks.py)
TILE_INSTRUCTIONS = ("ldtilecfg", "tilerelease", "tilezero", "tileloadd64", "tilestored64", "tdpbf16ps", "tdpbusd")
EMULATED = tuple(f"albert_np_{name}" for name in TILE_INSTRUCTIONS)  # what takes their place (tile_emulation.py)

Arguments = dict[str, list[str]]  # name of a function -> names of its arguments
Progress = Callable[[str], None]  # called with the name of each function when its turn comes


@dataclass(frozen=True)
class Library:
    """Machine code, loaded for as long as the process lives: at its end a thread may still be on its way out of it."""

    kernels: dict[str, tuple[int, dict[str, int]]]  # name -> where it begins, and the place of each argument
    walk: Callable[..., None]
    help_out: Callable[..., None]
    open_gate: Callable[..., None]
    close_gate: Callable[..., None]
    set_spans: Callable[..., None] | None = None


_libraries: dict[str, Library] = {}  # of this process, by kind


def library(kind: str = "inference") -> Library:
    """The kernels of a kind, loaded; compiled first where the cache has none.

    Raises ValueError or OSError where they can be neither loaded nor compiled.
    """
    if kind not in _libraries:
        with forks.lock:
            if kind not in _libraries:
                found, fresh = _from_cache(kind), None
                if found is None:
                    fresh = _made(kind)
                    found = _load(*fresh, kind)
                _libraries[kind] = _joined(library(BESIDE[kind]), found) if kind in BESIDE else found
                if fresh is not None:
                    _keep(*fresh, kind)  # at last: it may warn, and a warning may be an error
    return _libraries[kind]


def _made(kind: str) -> tuple[bytes, Arguments]:
    """Compiled now, and said so."""
    if sys.stderr is not None:
        what = "the CPU kernels" + ("" if kind == "inference" else f" of {kind.replace('_', ' ')}")
        print(f"albert_np: compiling {what} once, about {cache.SECONDS[kind]} seconds", file=sys.stderr, flush=True)
    return _compiled(lambda name: None, kind)


def _joined(first: Library, second: Library) -> Library:
    """The second, whose programs call the first's kernels too."""

    def set_spans(spans: int) -> None:
        for one in (first, second):
            if one.set_spans is not None:
                one.set_spans(spans)

    return replace(second, kernels=first.kernels | second.kernels, set_spans=second.set_spans and set_spans)


def is_compiled(kind: str = "inference") -> bool:
    """Will the next process find the kernels in the cache?"""
    with forks.lock:
        return _from_cache(kind) is not None


def warm_up(progress: Progress = lambda name: None, force: bool = False, kind: str = "inference") -> bool:
    """Fills the cache; False where it was full and nothing had to be done. Raises OSError where nothing can be kept."""
    with forks.lock:
        if not force and is_compiled(kind):
            return False
        cache.check_writable()  # or it would be said when all the work is done
        machine_code, arguments = _compiled(progress, kind)
        _load(machine_code, arguments, kind)
        cache.write(machine_code, arguments, kind)
        if not is_compiled(kind):
            raise OSError("the sources of the kernels were edited while they were compiled: try again")
    return True


def names(kind: str = "inference") -> list[str]:
    """All that is compiled, in that order."""
    more = [*(CHECKED if simd.is_checked() else ()), *(EMULATED if has_emulated_tiles(kind) else ())]
    return [*KERNELS[kind], *ENTRIES, *more]


def has_emulated_tiles(kind: str) -> bool:
    """Do kernels of this kind use tiles, and are these emulated?"""
    return simd.are_tiles_emulated() and kind in ("bfloat16", "bfloat16_training", "int8")


def _from_cache(kind: str) -> Library | None:
    try:
        import llvmlite.binding  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f"backend 'numba' runs through llvmlite, which cannot be imported ({error}): install numba, or choose "
            "backend='numpy'"
        ) from error
    kept = cache.read(kind)
    try:
        return _load(*kept, kind) if kept else None
    except ValueError:  # whole, and yet not what this version needs
        return None


def _compiled(progress: Progress, kind: str) -> tuple[bytes, Arguments]:
    try:
        from numba.core import config

        from albert_np.kernels.cpu import build
    except ImportError as error:
        raise ValueError(
            f"backend 'numba' has no compiled kernels kept {cache.place()}; and Numba, which compiles them, cannot be "
            f"imported ({error}): install numba, or choose backend='numpy'"
        ) from error
    if config.DISABLE_JIT:
        raise ValueError("backend 'numba' cannot compile its kernels with NUMBA_DISABLE_JIT=1: choose backend='numpy'")
    return build.compile_kernels(progress, kind)


def _keep(machine_code: bytes, arguments: Arguments, kind: str) -> None:
    try:
        cache.write(machine_code, arguments, kind)
    except OSError as error:
        warnings.warn(f"{error}; until then each start compiles again", stacklevel=3)


def _load(machine_code: bytes, arguments: Arguments, kind: str) -> Library:
    """Raises ValueError where the machine code is none, or lacks a function."""
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    binding.check_jit_execution()  # OSError where the system forbids it
    machine = binding.Target.from_default_triple().create_target_machine(jit=True)
    engine = binding.create_mcjit_compiler(binding.parse_assembly(""), machine)
    object_file = binding.ObjectFileRef.from_data(machine_code)
    if not object_file:
        raise ValueError("not an object file")
    engine.add_object_file(object_file)
    engine.finalize_object()
    addresses = {name: engine.get_function_address(name) for name in names(kind)}
    if set(arguments) != set(addresses) or not all(addresses.values()):
        raise ValueError(f"compiled are {', '.join(arguments)}; wanted were {', '.join(addresses)}")
    engine.detach()  # never unloaded

    def entry(name: str, count: int) -> Callable[..., None]:
        return ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * count)(addresses[name])

    return Library(
        {
            name: (addresses[name], {argument: i for i, argument in enumerate(arguments[name])})
            for name in KERNELS[kind]
        },
        **{name: entry(name, count) for name, count in ENTRIES.items()},
        set_spans=entry("set_spans", 1) if simd.is_checked() else None,
    )
