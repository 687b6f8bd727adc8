"""The files that a candidate's tensors come in: .npz, .safetensors, folders of .npy, raw bytes with a manifest, recordings.

They come from strangers. So headers are read and checked against the sizes of files before a tensor is allocated, nothing is
unpickled, a manifest cannot lead out of its folder, and an archive cannot unpack to much more than it is.
"""

from __future__ import annotations

import math
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from albert_np.checkpoints.formats import safetensors
from albert_np.files import explain_impostor, listed, read_json, shown
from albert_np.ops import Array

RECORDING = "albert_np.golden"  # the format that our own manifests name
MAX_TENSORS = 100_000  # ALBERT-xxlarge has some 500
MAX_MANIFEST_BYTES = 64 * 1024 * 1024
# numpy.savez_compressed is common, and zeros shrink a thousandfold: small tensors may, large ones may not
MAX_INFLATED, MAX_RATIO = 64 * 1024 * 1024, 100
# a 2-byte integer is nobody's activation: those are bfloat16's bits, for which NumPy has no name
DTYPES = {"bfloat16": "u2", "uint16": "u2", "bool": "?"} | {
    name: np.dtype(name).str[1:]
    for name in ("float16", "float32", "float64", "int8", "uint8", "int16", "int32", "int64", "uint32", "uint64")
}
# how else people spell them in a manifest
_SPELLINGS = {
    word: name
    for name, words in {
        "float16": "f16 fp16 half <f2",
        "bfloat16": "bf16",
        "float32": "f32 fp32 float single <f4",
        "float64": "f64 fp64 double <f8",
    }.items()
    for word in words.split()
}
_OF_SAFETENSORS = {"F16": "float16", "F32": "float32", "F64": "float64", "BF16": "bfloat16", "BOOL": "bool"} | {
    f"{letter}{bits}": f"{word}{bits}" for letter, word in (("I", "int"), ("U", "uint")) for bits in (8, 16, 32, 64)
}


class Found(NamedTuple):
    """One tensor of a file."""

    name: str
    shape: tuple[int, ...]
    dtype: str  # as it is stored: "float32", "bfloat16" …
    load: Callable[[], Array]  # float32 for bfloat16, else the stored dtype


def find(path: Path) -> tuple[str, list[Found]]:
    """What kind of candidate this is, and its tensors. Raises ValueError or OSError with the file's and the tensor's name."""
    if not path.exists():
        raise OSError(f"{path} does not exist")
    suffix = path.suffix.lower()
    if path.is_dir() or path.name == "manifest.json":
        kind, tensors = _folder(path if path.is_dir() else path.parent)
    elif suffix == ".npz":
        kind, tensors = "npz", _npz(path)
    elif suffix == ".safetensors":
        kind, tensors = "safetensors", _safetensors(path)
    elif suffix == ".npy":
        raise ValueError(
            f"{path} holds one array and no name for it; put it into a folder as NAME.npy, or save an .npz"
        )
    else:
        raise ValueError(
            f"{path} must be .npz, .safetensors, a folder of .npy files, a folder with raw .bin files and a manifest.json, "
            "or a recording; other files, pickles among them, are not read"
        )
    found = []
    for tensor in tensors:
        found.append(tensor)
        if len(found) > MAX_TENSORS:
            raise ValueError(f"{path} has more than {MAX_TENSORS:,} tensors, more than any model's trace")
    if not found:
        raise ValueError(f"{path} holds no tensors")
    unique(str(path), [tensor.name for tensor in found])
    return kind, found


def unique(where: str, names: list[str]) -> None:
    """Raises ValueError if a name is there twice."""
    seen: set[str] = set()
    twice = sorted({name for name in names if name in seen or seen.add(name)})  # type: ignore[func-returns-value]
    if twice:
        raise ValueError(f"{where} has more than one tensor of the name {listed(twice)}")


def widened(bits: Array) -> Array:  # uint16 -> float32
    """bfloat16 is the upper half of a float32: nothing is rounded."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


# --- folders ------------------------------------------------------------------------------------------------------------


def _folder(folder: Path) -> tuple[str, Iterator[Found]]:
    path = folder / "manifest.json"
    if not path.exists():
        return "folder of .npy", _npy_files(folder)
    manifest = read_json(path, MAX_MANIFEST_BYTES)
    entries = manifest.get("tensors", manifest) if isinstance(manifest, dict) else manifest
    if isinstance(entries, dict):
        if not all(isinstance(entry, dict) for entry in entries.values()):
            raise ValueError(f"{path} must have tensors: a list of objects, or an object of them by name")
        entries = [{"name": name} | entry for name, entry in entries.items()]
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"{path} must have tensors: a list of objects with name, file, shape and dtype")
    for entry in entries:
        if not isinstance(entry.get("name"), str) or not entry["name"]:
            raise ValueError(f"{path}: every tensor must have a name; got {shown(entry)}")
    if isinstance(manifest, dict) and manifest.get("format") == RECORDING:
        return "recording", _recorded(folder, entries)
    return "raw with a manifest", (_raw(folder, entry) for entry in entries)


def _npy_files(folder: Path) -> Iterator[Found]:
    paths = sorted(folder.rglob("*.npy"))
    if not paths:
        raise ValueError(f"{folder} has no .npy files and no manifest.json")
    for path in paths:
        name = ".".join(path.relative_to(folder).with_suffix("").parts)
        yield _npy(name, str(path), path.stat().st_size, partial(_bytes, path))


def _inside(folder: Path, name: str, file: Any) -> Path:
    """The file of a manifest's tensor. ValueError if it lies outside the folder, also by way of a link."""
    what = f"{folder / 'manifest.json'}: tensor {shown(name)!r}"
    plain = isinstance(file, str) and file.isprintable() and "\\" not in file and 0 < len(file) < 1024
    path = folder / file if plain else folder
    if path == folder or os.path.isabs(file) or not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{what} must lie in a file of the manifest's folder; got {shown(file)!r}")
    if not path.is_file():
        raise OSError(f"{what} should lie in {shown(file)}, which is no file here")
    return path


def _raw(folder: Path, entry: dict[str, Any]) -> Found:
    name, word, shape, order, offset = (entry.get(key) for key in ("name", "dtype", "shape", "byte_order", "offset"))
    path = _inside(folder, str(name), entry.get("file"))
    what = f"{path}: tensor {shown(name)!r}"
    word = _SPELLINGS.get(word.lower(), word.lower()) if isinstance(word, str) else word
    if not isinstance(word, str) or word not in DTYPES:
        raise ValueError(f"{what} has the dtype {shown(word, 40)!r}, which is none of {', '.join(DTYPES)}")
    if order not in (None, "little", "big"):
        raise ValueError(f"{what} has the byte_order {shown(order, 40)!r}; it is little or big")
    if offset is not None and (type(offset) is not int or offset < 0):
        raise ValueError(f"{what} has the offset {shown(offset, 40)!r}; it is a number of bytes, 0 or more")
    dtype = np.dtype(DTYPES[word]).newbyteorder(">" if order == "big" else "<")
    sizes, count = _sizes(shape, what)
    needed, there, start = count * dtype.itemsize, path.stat().st_size, offset or 0
    if there < start + needed or (offset is None and there != needed):
        with path.open("rb") as file:
            explain_impostor(str(path), file.read(512))
        raise ValueError(
            f"{what}: {word} of shape {sizes} is {needed:,} bytes, the file has {there - start:,} from byte {start:,} on"
        )
    return Found(
        str(name), sizes, _stored(word), partial(_load, partial(_bytes, path, start), 0, dtype, sizes, "C", what)
    )


def _recorded(folder: Path, entries: list[dict[str, Any]]) -> Iterator[Found]:
    """The tensors that a recording's manifest lists. What else lies in its files is none of them."""
    unique(str(folder / "manifest.json"), [entry["name"] for entry in entries])
    files: dict[Path, dict[str, Found]] = {}
    for entry in entries:
        name = entry["name"]
        path = _inside(folder, name, entry.get("file"))
        if path not in files:
            files[path] = {tensor.name: tensor for tensor in (_npz if path.suffix == ".npz" else _safetensors)(path)}
        if name not in files[path]:
            raise ValueError(f"{path} has no tensor {shown(name)!r}, which the manifest says is there")
        yield files[path][name]


# --- one file -----------------------------------------------------------------------------------------------------------


def _safetensors(path: Path) -> Iterator[Found]:
    for tensor in safetensors.read(path):
        if tensor.dtype not in _OF_SAFETENSORS:
            raise ValueError(f"{path}: tensor {shown(tensor.name)!r} is {tensor.dtype}, which the kit does not compare")
        word = _OF_SAFETENSORS[tensor.dtype]
        yield Found(
            tensor.name, tensor.shape, _stored(word), partial(_bits, tensor.load) if word == "uint16" else tensor.load
        )


def _npz(path: Path) -> Iterator[Found]:
    with path.open("rb") as file:
        explain_impostor(str(path), file.read(512))
    try:
        archive = zipfile.ZipFile(path)  # stays open for as long as a tensor of it can be loaded
    except (zipfile.BadZipFile, NotImplementedError, struct.error, EOFError, OverflowError) as error:
        raise ValueError(f"{path} is no .npz file, or it is cut off: {error}") from error
    members = archive.infolist()
    if sum(member.compress_size for member in members) > path.stat().st_size:
        raise ValueError(f"{path} says that its tensors are more bytes than the file: they overlap")
    for member in members:
        name = member.filename.removesuffix(".npy")
        what = f"{path}: tensor {shown(name)!r}"
        if name == member.filename:
            raise ValueError(f"{path} holds {shown(name)!r}, which is no .npy array")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or member.flag_bits & 1:
            raise ValueError(f"{what} is packed in a way that NumPy does not write")
        if member.file_size > max(MAX_INFLATED, MAX_RATIO * member.compress_size):
            raise ValueError(
                f"{what} would unpack from {member.compress_size:,} to {member.file_size:,} bytes, over {MAX_RATIO} times; "
                "save it with numpy.savez, uncompressed"
            )
        yield _npy(name, what, member.file_size, partial(archive.open, member))


def _npy(name: str, what: str, size: int, opened: Callable[[], IO[bytes]]) -> Found:
    """One array in NumPy's own format, from its header."""
    with _errors(what), opened() as file:
        explain_impostor(what, file.read(512))
    with _errors(what), opened() as file:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"version {version} of the format")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
        start = file.tell()
    word = "bfloat16" if dtype.str[1:] == "V2" else dtype.name  # how numpy.save writes the bfloat16 of ml_dtypes
    if word not in DTYPES or dtype.hasobject or dtype.shape:
        raise ValueError(f"{what} is of {shown(dtype, 60)}, which is none of {', '.join(DTYPES)}")
    sizes, count = _sizes(list(shape), what)
    dtype = np.dtype(DTYPES[word]).newbyteorder(">" if dtype.str[0] == ">" else "<")
    if size - start != count * dtype.itemsize:
        raise ValueError(
            f"{what}: {word} of shape {sizes} is {count * dtype.itemsize:,} bytes, behind the header stand {size - start:,}"
        )
    return Found(name, sizes, _stored(word), partial(_load, opened, start, dtype, sizes, "F" if fortran else "C", what))


def _load(
    opened: Callable[[], IO[bytes]], start: int, dtype: np.dtype, shape: tuple[int, ...], order: Any, what: str
) -> Array:
    needed = math.prod(shape) * dtype.itemsize
    with _errors(what), opened() as file:
        file.read(start)  # a seek in an archive would leave its checksum unchecked
        data = file.read(needed)
    if len(data) != needed:
        raise OSError(f"{what} was cut off while it was being read")
    x = np.frombuffer(data, dtype).astype(dtype.newbyteorder("="), copy=False).reshape(shape, order=order)
    return widened(x) if dtype.str[1:] == "u2" else x


class _errors:  # noqa: N801 — reads as a function
    """Whatever goes wrong inside a damaged array becomes one line that names the file and the tensor."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        damage = (ValueError, SyntaxError, TypeError, EOFError, RecursionError, MemoryError, NotImplementedError)
        archive = (zipfile.BadZipFile, zlib.error, struct.error, RuntimeError, tokenize.TokenError)
        if isinstance(error, (*damage, *archive)):
            raise ValueError(f"{self.what} is damaged, or no .npy array: {shown(error)}") from error


def _bytes(path: Path, start: int = 0) -> IO[bytes]:
    file = path.open("rb")
    file.seek(start)
    return file


def _bits(load: Callable[[], Array]) -> Array:
    return widened(load())


def _stored(word: str) -> str:
    return "bfloat16" if word == "uint16" else word


def _sizes(shape: Any, what: str) -> tuple[tuple[int, ...], int]:  # -> shape, number of elements
    whole = isinstance(shape, list) and all(type(n) is int and n >= 0 for n in shape)
    # a size of 0 makes any product 0: without it too, the sizes must fit into some file
    if not whole or len(shape) > 8 or math.prod(n or 1 for n in shape) >= 2**60:
        raise ValueError(f"{what} must have a shape of at most 8 whole numbers, 0 or more; got {shown(shape, 80)}")
    return tuple(shape), math.prod(shape)
