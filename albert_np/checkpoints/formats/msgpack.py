"""flax_model.msgpack: nested dicts whose leaves are arrays, as flax.serialization writes them in the MessagePack format.

An array is an extension of type 1 (a NumPy scalar: type 3) that holds a message of its own: [shape, dtype name, bytes]. This
module goes over the file from one length to the next, and notes where the bytes of each array lie. Each length is compared
with what is left of the file before anything is made of it, so that no claim costs memory; the `msgpack` library would make
the whole tree in memory first. The tests compare both.
Sources: github.com/msgpack/msgpack/blob/master/spec.md, and flax/serialization.py of flax 0.7.0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn

import numpy as np

from albert_np.checkpoints.formats.flax_names import hub_name, stored_name, understood
from albert_np.checkpoints.formats.msgpack_codes import CHUNKED, DTYPE_NAMES, FIXED, LENGTHS, NDARRAY, OTHERS, SCALAR
from albert_np.checkpoints.formats.msgpack_writer import write
from albert_np.checkpoints.formats.protocol import Format, Tensor
from albert_np.checkpoints.formats.values import DTYPES, Contiguous
from albert_np.files import explain_impostor, shown
from albert_np.ops import Array

MAX_DEPTH = 32  # a model's tree is nine dicts deep
MAX_NAMES = 100_000  # and has a few thousand names
MAX_NAME_BYTES = 255
MAX_PATH = 1024  # characters of a name with those of its dicts
MAX_AXES = 8


class _Piece(NamedTuple):
    """Where an array lies in the file."""

    dtype: str  # in safetensors' words
    shape: tuple[int, ...]
    at: int


def read(path: Path) -> Iterator[Tensor]:
    """The tensors of one file, in the order they are stored. Raises a ValueError that names the rule the file breaks."""
    size = path.stat().st_size
    with path.open("rb") as file:
        explain_impostor(str(path), file.read(512))
        file.seek(0)
        scan = _Scan(path, file, size)
        kind, n = scan.token(size)
        if kind != "dict":
            raise ValueError(f"{path} is no flax_model.msgpack: it begins with {_a(kind)}, not with a dict of arrays")
        tree = scan.tree("", n, 0)
        if file.tell() != size:
            raise ValueError(f"{path}: {size - file.tell():,} bytes follow the tree of arrays, where nothing should be")
    return map(understood, list(_tensors(path, "", tree)))


class _Scan:
    """Goes over a file once."""

    def __init__(self, path: Path, file: BinaryIO, size: int) -> None:
        self.path, self.file, self.size, self.names = path, file, size, 0

    def refuse(self, what: str) -> NoReturn:
        raise ValueError(f"{self.path}: {what}")

    def take(self, n: int, end: int) -> bytes:
        if n > end - self.file.tell():
            self.refuse(f"cut off or damaged: byte {self.file.tell():,} begins something longer than what is left")
        data = self.file.read(n)
        if len(data) != n:
            raise OSError(f"{self.path} was cut off while it was being read")
        return data

    def token(self, end: int) -> tuple[str, int]:
        """(kind, length or value). Nothing but lengths and small numbers is read."""
        first = self.take(1, end)[0]
        if first < 0x80:
            return "number", first
        if first < 0xC0:
            kind, bits = ("dict", 4) if first < 0x90 else ("list", 4) if first < 0xA0 else ("text", 5)
            return kind, first & ((1 << bits) - 1)
        if first in FIXED:
            return "extension", FIXED[first]
        if first in LENGTHS:
            kind, width = LENGTHS[first]
            return kind, int.from_bytes(self.take(width, end), "big")
        return OTHERS.get(first, "an unused code"), 0

    def value(self, at: str, depth: int) -> Any:  # -> a dict or a _Piece; in a dict that is CHUNKED also True or an int
        kind, n = self.token(self.size)
        if kind == "dict":
            return self.tree(at, n, depth)
        if kind == "extension":
            return self.array(at, n)
        if kind not in ("number", "true"):
            self.refuse(f"{shown(at[:-1])!r} must be an array; the file has {_a(kind)} there")
        return n if kind == "number" else True

    def tree(self, at: str, n: int, depth: int) -> dict[str, Any]:
        if depth == MAX_DEPTH:
            self.refuse(f"dicts lie more than {MAX_DEPTH} deep, deeper than in any model")
        self.names += n
        if self.names > MAX_NAMES:
            self.refuse(f"over {MAX_NAMES:,} names, more than any model has")
        found: dict[str, Any] = {}
        for _ in range(n):
            name = self.name(at)
            if len(at) + len(name) > MAX_PATH:
                self.refuse(f"the name {shown(at + name)!r} has over {MAX_PATH:,} characters, more than any of a model")
            if name in found:
                self.refuse(f"the name {shown(at + name)!r} stands there twice: which one counts?")
            found[name] = self.value(f"{at}{name}/", depth + 1)
        return found

    def name(self, at: str) -> str:
        kind, n = self.token(self.size)
        if kind != "text" or not 0 < n <= MAX_NAME_BYTES:
            where = f"in {shown(at[:-1])!r} " if at else ""
            self.refuse(f"{where}a name must be text of 1 to {MAX_NAME_BYTES} bytes; got {_a(kind)} of {n:,}")
        try:
            name = self.take(n, self.size).decode()
        except UnicodeDecodeError:
            self.refuse(f"a name in {shown(at)!r} is not UTF-8 text")
        if "/" in name or "." in name:
            self.refuse(f"the name {shown(name)!r} holds a '/' or a '.', which separate names")
        return name

    def array(self, at: str, n: int) -> _Piece:
        what = f"array {shown(at[:-1])!r}"
        code = int.from_bytes(self.take(1, self.size), "big", signed=True)
        end = self.file.tell() + n
        if end > self.size:
            self.refuse(f"{what} should be {n:,} bytes, of which the file has {self.size - self.file.tell():,}")
        if code not in (NDARRAY, SCALAR):
            self.refuse(f"{shown(at[:-1])!r} is an extension of type {code}; arrays have type {NDARRAY} or {SCALAR}")
        if self.token(end) != ("list", 3):
            self.refuse(f"{what} must be a list of shape, dtype and bytes")
        kind, axes = self.token(end)
        if kind != "list" or axes > MAX_AXES:
            self.refuse(f"{what} must have a list of at most {MAX_AXES} sizes; got {_a(kind)} of {axes:,}")
        sizes = [self.token(end) for _ in range(axes)]
        # a size of 0 makes any product 0: without it too, the sizes must fit into some file
        shape = tuple(size for _, size in sizes)
        if any(kind != "number" for kind, _ in sizes) or math.prod(size or 1 for size in shape) >= 2**63:
            self.refuse(f"{what} must have a shape of whole numbers, 0 or more; got {shown(shape, 80)}")
        kind, n = self.token(end)
        name = self.take(n, end).decode(errors="replace") if kind in ("text", "bytes") and n < 20 else kind
        if name not in DTYPE_NAMES:
            self.refuse(f"{what} has the dtype {shown(name, 40)!r}, which is none of {', '.join(DTYPE_NAMES)}")
        dtype = DTYPE_NAMES[name]
        needed = math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize
        kind, n = self.token(end)
        if (kind, n) != ("bytes", needed) or self.file.tell() + n != end:
            there = f"{n:,} bytes" if kind == "bytes" else f"{_a(kind)} of {n:,}"
            self.refuse(f"{what}: {name} of shape {shape} is {needed:,} bytes; the file has {there} there")
        self.file.seek(end)
        return _Piece(dtype, shape, end - n)


def _a(kind: str) -> str:
    """The kind of a token, with its article."""
    if kind in ("dict", "list", "number"):
        return f"a {kind}"
    return "an extension" if kind == "extension" else kind


def _tensors(path: Path, at: str, tree: dict[str, Any]) -> Iterator[Tensor]:
    for name, value in tree.items():
        if isinstance(value, dict) and CHUNKED in value:
            yield _chunked(path, at + name, value)
        elif isinstance(value, dict):
            yield from _tensors(path, f"{at}{name}/", value)
        elif isinstance(value, _Piece):
            yield _tensor(path, at + name, value.shape, [value])
        else:
            raise ValueError(f"{path}: {shown(at + name)!r} must be an array; the file has {value!r} there")


def _chunked(path: Path, name: str, value: dict[str, Any]) -> Tensor:
    """One array in several pieces, each of one axis: {CHUNKED: True, "shape": {"0": …}, "chunks": {"0": …}}."""
    sizes, pieces = (_in_order(value.get(key)) for key in ("shape", "chunks"))
    if set(value) != {CHUNKED, "shape", "chunks"} or value[CHUNKED] is not True or len(sizes) > MAX_AXES:
        raise ValueError(f"{path}: {shown(name)!r} must have a shape and chunks, and nothing else")
    arrays = [piece for piece in pieces if isinstance(piece, _Piece) and len(piece.shape) == 1]
    if len(arrays) < len(pieces) or len({piece.dtype for piece in arrays}) != 1:
        raise ValueError(f"{path}: the chunks of {shown(name)!r} must be arrays of one axis and one dtype")
    whole = all(type(size) is int for size in sizes) and math.prod(size or 1 for size in sizes) < 2**63
    if not whole or math.prod(sizes) != sum(piece.shape[0] for piece in arrays):
        raise ValueError(f"{path}: the chunks of {shown(name)!r} do not fill its shape, {shown(sizes, 80)}")
    return _tensor(path, name, tuple(sizes), arrays)


def _in_order(value: Any) -> list[Any]:
    """The values of {"0": …, "1": …}; none if it is something else."""
    keys = [str(i) for i in range(len(value))] if isinstance(value, dict) else []
    return [value[key] for key in keys] if keys and set(keys) == set(value) else []


def _tensor(path: Path, name: str, shape: tuple[int, ...], pieces: list[_Piece]) -> Tensor:
    dtype = pieces[0].dtype
    parts = [Contiguous(path, x.at, np.dtype(DTYPES[dtype]), x.shape, bfloat16=dtype == "BF16") for x in pieces]
    return Tensor(name, shape, dtype, parts[0] if parts[0].shape == shape else partial(_joined, parts, shape))


def _joined(parts: list[Contiguous], shape: tuple[int, ...]) -> Array:
    return np.concatenate([part() for part in parts]).reshape(shape)


FORMAT = Format(
    "msgpack",
    "flax_model.msgpack",
    "flax_model.msgpack.index.json",
    read,
    hub_name,
    write,
    "flax_model-{:05}-of-{:05}.msgpack",
    index_name=stored_name,
)
