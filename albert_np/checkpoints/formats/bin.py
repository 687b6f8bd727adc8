"""pytorch_model.bin: a pickle program that describes tensors, and their numbers in a zip archive, or behind it until torch 1.5.

pickle_program.py interprets the program; Python's pickle has no part in it. Where a tensor lies is checked before anything is
allocated, and its numbers are read when they are asked for.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from albert_np.checkpoints.formats import bin_writer, pickle_program, zip_archive
from albert_np.checkpoints.formats.pickle_program import OrderedTable, Storage, View
from albert_np.checkpoints.formats.protocol import Format, Tensor
from albert_np.checkpoints.formats.values import DTYPES, Contiguous, transposed
from albert_np.files import explain_impostor, shown
from albert_np.ops import Array

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # at the start of the older files
EXPANSION = (
    16  # how many times a file its tensors may be: tied ones have one storage, and parts of one are read with the rest
)
SPREAD = 16  # how many entries of a storage may be read for one that a tensor has,
ALWAYS = 1 << 25  # unless they are fewer than this
OTHER_FORMATS = {b"\x89HDF": "HDF5", b"\x1f\x8b": "gzip", b"GGUF": "GGUF", b"\x93NUM": "NumPy", b"%PDF": "PDF"}


class Place(NamedTuple):
    """Where the numbers of a storage lie."""

    path: Path
    at: int
    storage: Storage

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(DTYPES[self.storage.dtype])

    @property
    def size(self) -> int:  # in bytes
        return self.storage.length * self.dtype.itemsize


def read(path: Path) -> Iterator[Tensor]:
    """The tensors of one file, in the order of its state dict. Raises a ValueError that names the rule the file breaks."""
    with path.open("rb") as file:
        head = file.read(512)
    explain_impostor(str(path), head)
    if head.startswith(b"PK"):
        state, places = _read_zip(path)
    elif head.startswith(b"\x80"):
        state, places = _read_legacy(path)
    else:
        raise ValueError(f"{path} is not what torch.save writes: {_what_else(head)}")
    for name, view in state.items():
        _check_view(f"{path}: tensor {shown(name)!r}", view)
    _check_sum(path, state.values())
    for name, view in state.items():
        yield Tensor(name, view.shape, view.storage.dtype, partial(_load, places[view.storage.key], view))


def damaged(path: Path) -> list[str]:
    """The members of a file's archive whose numbers have another checksum than it says. The older files have no checksums."""
    with path.open("rb") as file:
        zipped = file.read(2) == b"PK"
    return zip_archive.damaged(path) if zipped else []


def _what_else(head: bytes) -> str:
    if head[257:262] == b"ustar":
        return "a tar archive, as torch before 0.1.10 wrote; a newer torch can read it and save it again"
    if head[8:9] == b"{":
        return "it looks like safetensors, whose file is called model.safetensors"
    other = next((name for start, name in OTHER_FORMATS.items() if head.startswith(start)), "")
    return f"it begins like {other}" if other else f"it begins with the bytes {head[:8].hex(' ') or 'of nothing'}"


def _read_zip(path: Path) -> tuple[dict[str, View], dict[str, Place]]:
    """(the state dict, the storages by their keys) of an archive with one folder, in it data.pkl and data/0, data/1, …"""
    members = zip_archive.members(path)
    programs = [name for name in members if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(programs) != 1:
        raise ValueError(
            f"{path}: a zip archive with {len(programs)} members called data.pkl, where torch.save writes one"
        )
    root = programs[0].removesuffix("data.pkl")
    outside = [name for name in members if not name.startswith(root)]
    if outside:
        raise ValueError(f"{path}: member {shown(outside[0])!r} lies outside of {shown(root)}, where all others are")
    if root + "constants.pkl" in members:
        raise ValueError(f"{path} is a TorchScript program, not weights: save the model's state_dict() with torch.save")
    order = _small(path, members[root + "byteorder"], 16) if root + "byteorder" in members else b"little"
    if order != b"little":
        said = shown(order.decode("utf-8", "replace"), 40)
        raise ValueError(f"{path} has numbers in the byte order {said!r}; only little-endian ones are read")
    code = _small(path, members[programs[0]], pickle_program.MAX_BYTES)
    value, end = pickle_program.run(code, 0, str(path))
    if end != len(code):
        raise ValueError(f"{path}: {len(code) - end:,} bytes follow its pickle program; torch.save writes none")
    state = _state_dict(value, path)
    places = {}
    for key, storage in _storages(state, path).items():
        member = members.get(f"{root}data/{key}")
        if member is None:
            raise ValueError(f"{path} has no member {shown(f'{root}data/{key}')!r}, where a tensor's numbers should be")
        places[key] = Place(path, member.at, storage)
        if member.size != places[key].size:
            raise ValueError(f"{path}: {_size_text(places[key])}, its member {shown(key)!r} has {member.size:,}")
    return state, places


def _small(path: Path, member: zip_archive.Member, limit: int) -> bytes:
    """The content of a member that is no tensor."""
    if member.size > limit:
        raise ValueError(f"{path}: a member of {member.size:,} bytes, where at most {limit:,} are read")
    with path.open("rb") as file:
        file.seek(member.at)
        content = file.read(member.size)
    if member.crc and zlib.crc32(content) != member.crc:
        raise ValueError(f"{path} is damaged: the {member.size:,} bytes from {member.at:,} have another checksum")
    return content


def _read_legacy(path: Path) -> tuple[dict[str, View], dict[str, Place]]:
    """The same for files of torch before 1.6. They hold five pickle programs, then for each storage its length and numbers."""
    size = path.stat().st_size
    with path.open("rb") as file:
        code = file.read(pickle_program.MAX_BYTES)
    magic, at = pickle_program.run(code, 0, str(path))
    if magic != MAGIC:
        raise ValueError(f"{path} is a pickle, but not one of torch.save's: it does not begin with torch's number")
    protocol, at = pickle_program.run(code, at, str(path))
    if protocol != PROTOCOL:
        raise ValueError(f"{path} has another version of torch's format than {PROTOCOL}")
    about, at = pickle_program.run(code, at, str(path))
    if type(about) is not dict or about.get("little_endian") is not True:
        raise ValueError(f"{path} does not say that its numbers are little-endian, as only such are read")
    value, at = pickle_program.run(code, at, str(path))
    keys, at = pickle_program.run(code, at, str(path))
    state = _state_dict(value, path)
    storages = _storages(state, path)
    listed = type(keys) is list and all(type(key) is str for key in keys)
    if not listed or len(keys) != len(storages) or set(keys) != set(storages):
        raise ValueError(f"{path}: the storages that it lists are not those of its tensors")
    places = {}
    with path.open("rb") as file:
        for key in keys:
            file.seek(at)
            count = int.from_bytes(file.read(8), "little")
            place = places[key] = Place(path, at + 8, storages[key])
            at += 8 + place.size
            if at > size:
                raise ValueError(f"{path} is cut off: {_size_text(place)}, and they end at byte {at:,} of {size:,}")
            if count != place.storage.length:
                raise ValueError(f"{path}: {_size_text(place)}, and {count:,} numbers are said to be there")
    if at != size:
        raise ValueError(f"{path}: {size - at:,} bytes follow its last tensor; torch.save writes none")
    return state, places


def _state_dict(value: Any, path: Path) -> dict[str, View]:
    if type(value) not in (dict, OrderedTable):
        raise ValueError(f"{path} holds no state dict: a table from names to tensors, as model.state_dict() gives it")
    for name, entry in value.items():
        if type(entry) is not View:
            what = "a table" if isinstance(entry, dict) else "no tensor"
            raise ValueError(f"{path}: the entry {shown(name)!r} is {what}; save the model's state_dict() alone")
    return value


def _storages(state: dict[str, View], path: Path) -> dict[str, Storage]:
    found: dict[str, Storage] = {}
    for name, view in state.items():
        storage = found.setdefault(view.storage.key, view.storage)
        if storage != view.storage:
            raise ValueError(
                f"{path}: tensor {shown(name)!r} takes storage {shown(storage.key)!r} for {view.storage.length:,} "
                f"{view.storage.dtype}, another for {storage.length:,} {storage.dtype}"
            )
    return found


def _size_text(place: Place) -> str:
    return f"a storage of {place.storage.length:,} {place.storage.dtype} takes {place.size:,} bytes"


def _check_view(what: str, view: View) -> None:
    """Refuses a tensor that is not inside its storage, or has more entries: strides of 0 would make a giant of one number."""
    shape, strides, count = view.shape, view.strides, view.storage.length
    if len(shape) != len(strides) or min(*shape, *strides, view.offset, 0) < 0:
        raise ValueError(
            f"{what} must have an offset, sizes and as many strides, all 0 or more; got {shown(view.offset, 40)}, "
            f"{shown(shape, 60)} and {shown(strides, 60)}"
        )
    entries = math.prod(shape)
    # a size of 0 makes any product 0: without it too, the sizes must fit into some file
    if entries > count or math.prod(n or 1 for n in shape) >= 2**60:
        raise ValueError(f"{what} has {shown(entries, 40)} entries, its storage {count:,}")
    extent = _extent(view)
    if view.offset + extent > count:
        raise ValueError(
            f"{what} ends behind entry {shown(view.offset + extent, 40)} of its storage, which has {count:,}"
        )
    if extent > max(SPREAD * entries, ALWAYS):
        raise ValueError(f"{what} has {entries:,} entries, which lie among {extent:,} others: save a copy of it")


def _check_sum(path: Path, views: Iterable[View]) -> None:
    """Refuses a small file of large tensors, which all see the same numbers."""
    taken = sum(_extent(view) * np.dtype(DTYPES[view.storage.dtype]).itemsize for view in views)
    size = path.stat().st_size
    if taken > EXPANSION * size:
        raise ValueError(
            f"{path} is {size:,} bytes and says that it holds {taken:,} bytes of tensors, one in the other"
        )


def _extent(view: View) -> int:
    """How many entries of the storage lie from the first to the last of a tensor."""
    if 0 in view.shape:
        return 0
    return 1 + sum((n - 1) * stride for n, stride in zip(view.shape, view.strides, strict=True))


def _load(place: Place, view: View) -> Array:
    """The numbers of a tensor. They are read with what lies between the first and the last.

    No checksum is compared, as torch compares none: it would take as long as all the rest. `damaged` does.
    """
    count = _extent(view)
    at = place.at + view.offset * place.dtype.itemsize
    values = Contiguous(place.path, at, place.dtype, (count,), bfloat16=place.storage.dtype == "BF16")()
    # where there is one entry, the stride is any number
    strides = [values.itemsize * stride if n > 1 else 0 for n, stride in zip(view.shape, view.strides, strict=True)]
    x: Array = np.ndarray(view.shape, values.dtype, values, strides=strides)
    return transposed(x.T) if x.ndim == 2 and x.T.flags.c_contiguous and not x.flags.c_contiguous else x


FORMAT = Format(
    "bin",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    read,
    write=bin_writer.write,
    shard="pytorch_model-{:05}-of-{:05}.bin",
)
