"""TensorFlow's checkpoints of version 2, called bundles: an index with an entry for each tensor, and files of their bytes.

    model.ckpt-5000.index                 a table (sstable.py): "" -> BundleHeaderProto, name -> BundleEntryProto
    model.ckpt-5000.data-00000-of-00002   tensors, end to end, little-endian

A variable that was partitioned has an entry with a list of slices, and each slice an entry of its own, under a key that begins
with a zero byte. Source: tensorflow/core/util/tensor_bundle and tensorflow/core/protobuf/tensor_bundle.proto, of 2.15.
Every entry is checked against the sizes of the files before anything is read or allocated, and the bytes of a tensor against
their CRC when they are read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from albert_np.checkpoints.formats.crc32c import crc32c, piece, unmasked
from albert_np.checkpoints.formats.protocol import Tensor
from albert_np.checkpoints.formats.sstable import read_table
from albert_np.checkpoints.formats.values import DTYPES, FLOATS, float32_of
from albert_np.files import explain_impostor, shown
from albert_np.ops import Array
from albert_np.protobuf import BYTES, FIXED32, VARINT, BadFileError, read_fields, read_message, signed

# DataType of tensorflow/core/framework/types.proto -> safetensors' word
DATA_TYPES = {
    1: "F32",
    2: "F64",
    3: "I32",
    4: "U8",
    5: "I16",
    6: "I8",
    8: "C64",
    9: "I64",
    10: "BOOL",
    14: "BF16",
    17: "U16",
    19: "F16",
    22: "U32",
    23: "U64",
}
MAX_AXES = 8
ROWS = 16  # of float32, of which a transpose writes whole cache lines
MAX_SLICES = 1_024
MAX_SHARDS = 100_000  # five digits in the name of a file

_HEADER = {1: ("num_shards", VARINT), 2: ("endianness", VARINT), 3: ("version", BYTES)}
_VERSION = {2: ("min_consumer", VARINT)}
_ENTRY = {
    1: ("dtype", VARINT),
    2: ("shape", BYTES),
    3: ("shard_id", VARINT),
    4: ("offset", VARINT),
    5: ("size", VARINT),
    6: ("crc32c", FIXED32),
}
_SHAPE = {3: ("unknown_rank", VARINT)}
_DIM = {1: ("size", VARINT)}
_EXTENT = {1: ("start", VARINT), 2: ("length", VARINT)}

Box = tuple[tuple[int, int], ...]  # start and length along each axis; length -1 from the start: all of it


class _Entry(NamedTuple):
    """A BundleEntryProto: a tensor or a slice, and where its bytes are."""

    dtype: str  # in safetensors' words, or "TensorFlow's type 7" for what has none
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int  # bytes
    crc: int
    slices: list[Box]


def read_bundle(index: Path, transposed: Callable[[str], bool] = lambda _: False) -> Iterator[Tensor]:
    """The tensors of a checkpoint, in the order of their names. Those that are no floats cannot be loaded.

    transposed: whether the tensor of this name is wanted as the transpose of what is stored.
    Raises a ValueError that names the rule that the file breaks, or an OSError.
    """
    try:
        table = read_table(index)
        shards = _shards(table.pop(b"", None))
        entries = {key: _entry(key, value) for key, value in table.items()}
        _check_places(index, entries, shards)
        for key, entry in entries.items():
            if key[:1] != b"\0":
                name = key.decode()
                parts = _parts(key, entry, entries)
                transpose = transposed(name)
                load = partial(_load, index, shards, name, entry.dtype, entry.shape, parts, transpose)
                yield Tensor(name, entry.shape[::-1] if transpose else entry.shape, entry.dtype, load)
    except BadFileError as error:
        raise ValueError(f"{index}: {error}") from error


def _shards(header: bytes | None) -> int:
    """The number of data files. Refuses what this reader does not know."""
    if header is None:
        raise BadFileError("it has no header (the entry without a name): it is a table, but no TensorFlow checkpoint")
    values = read_message(header, _HEADER, "the header")
    version = read_message(values.get("version", b""), _VERSION, "the header's version")
    if version.get("min_consumer", 0) > 1:
        raise BadFileError(f"it is of version {version['min_consumer']}; TensorFlow 1 and 2 write version 1")
    if values.get("endianness", 0):
        raise BadFileError("its numbers are big-endian: save it again on another machine")
    count = values.get("num_shards", 0)
    if not 1 <= count < MAX_SHARDS:
        raise BadFileError(f"it says that it has {count:,} data files")
    return count


def _entry(key: bytes, value: bytes) -> _Entry:
    try:
        if key[:1] != b"\0":
            key.decode()
        fields = read_message(value, _ENTRY, "it")
        dtype = fields.get("dtype", 0)
        return _Entry(
            DATA_TYPES.get(dtype, f"TensorFlow's type {dtype}"),
            _shape(fields.get("shape", b"")),
            signed(fields.get("shard_id", 0)),
            signed(fields.get("offset", 0)),
            signed(fields.get("size", 0)),
            unmasked(int.from_bytes(fields.get("crc32c", b""), "little")),
            [_box(item) for item in _messages(value, 7)],
        )
    except UnicodeDecodeError:
        raise BadFileError(f"the name {_shown(key)} is not UTF-8") from None
    except BadFileError as error:
        raise BadFileError(f"the entry of {_shown(key)}: {error}") from error


def _messages(value: bytes, wanted: int) -> Iterator[bytes]:
    """The messages of a field that may be there several times."""
    for number, wire, item in read_fields(value):
        if number == wanted:
            if wire != BYTES:
                raise BadFileError(f"its field {number} has wire type {wire}, not {BYTES}")
            yield item


def _shape(value: bytes) -> tuple[int, ...]:
    if read_message(value, _SHAPE, "its shape").get("unknown_rank", 0):
        raise BadFileError("it has no shape")
    sizes = [signed(read_message(item, _DIM, "its shape").get("size", 0)) for item in _messages(value, 2)]
    # a size of 0 makes any product 0: without it too, the sizes must fit into some file
    if len(sizes) > MAX_AXES or min(sizes, default=0) < 0 or math.prod(n or 1 for n in sizes) >= 2**63:
        raise BadFileError(f"a shape is at most {MAX_AXES} whole numbers, 0 or more; got {shown(sizes, 80)}")
    return tuple(sizes)


def _box(value: bytes) -> Box:
    extents = [read_message(item, _EXTENT, "its slice") for item in _messages(value, 1)]
    return tuple((signed(extent.get("start", 0)), signed(extent.get("length", -1))) for extent in extents)


def _shown(key: bytes) -> str:
    """A key for messages."""
    name = key[1:].partition(b"\0\1")[0] if key[:1] == b"\0" else key
    text = repr(shown(name.decode(errors="replace")))
    return f"a slice of {text}" if key[:1] == b"\0" else text


# --- where the bytes are ---------------------------------------------------------------------------------------------------


def _data_file(index: Path, shard: int, shards: int) -> Path:
    return index.with_name(f"{index.name.removesuffix('.index')}.data-{shard:05}-of-{shards:05}")


def _check_places(index: Path, entries: Mapping[bytes, _Entry], shards: int) -> None:
    """Checks that every entry lies in its file, and in no other's place. Looks at no bytes of tensors."""
    places: dict[int, list[tuple[int, int, bytes]]] = {}
    for key, entry in entries.items():
        if not 0 <= entry.shard < shards:
            raise BadFileError(f"{_shown(key)} is in data file number {entry.shard}, and there are {shards:,}")
        if entry.offset < 0 or entry.size < 0:
            raise BadFileError(f"{_shown(key)} has {entry.size:,} bytes at byte {entry.offset:,} of its file")
        if not entry.slices:
            places.setdefault(entry.shard, []).append((entry.offset, entry.offset + entry.size, key))
        elif entry.size or entry.offset:
            raise BadFileError(f"{_shown(key)} has slices, and bytes of its own too")
    for shard, stored in places.items():
        path = _data_file(index, shard, shards)
        if not path.is_file():
            raise OSError(
                f"{index} needs {path.name} beside it, which is not there: a checkpoint is all of these files"
            )
        length = path.stat().st_size
        free = 0
        for begin, end, key in sorted(stored):
            if end > length:
                with path.open("rb") as file:
                    explain_impostor(str(path), file.read(512))
                raise BadFileError(
                    f"{_shown(key)} ends at byte {end:,} of {path.name}, which has {length:,}: that file is cut off, or it is "
                    "another checkpoint's"
                )
            if begin < free and end > begin:
                raise BadFileError(
                    f"{_shown(key)} begins at byte {begin:,} of {path.name}, inside the tensor before it"
                )
            free = max(free, end)


def _parts(key: bytes, entry: _Entry, entries: Mapping[bytes, _Entry]) -> list[tuple[Box, _Entry]]:
    """What a tensor is read from, and where that belongs: itself, or its slices, which must fill it and not overlap."""
    if not entry.slices:
        _check_size(key, entry)
        return [(tuple((0, n) for n in entry.shape), entry)]
    if len(entry.slices) > MAX_SLICES or len(set(entry.slices)) < len(entry.slices):
        raise BadFileError(f"{_shown(key)} has the same slice twice, or over {MAX_SLICES:,} slices")
    parts = [_part(key, entry, box, entries) for box in entry.slices]
    corners = np.array([box for box, _ in parts], np.int64)  # (slices, axes, 2)
    starts, ends = corners[..., 0], corners.sum(2)
    meeting = sum(
        int(np.all((starts < ends[i]) & (ends > starts[i]), 1).sum()) for i in range(len(parts))
    )  # each itself
    if meeting > len(parts) or sum(math.prod(part.shape) for _, part in parts) != math.prod(entry.shape):
        raise BadFileError(f"the slices of {_shown(key)} overlap, or leave something out")
    return parts


def _part(key: bytes, entry: _Entry, box: Box, entries: Mapping[bytes, _Entry]) -> tuple[Box, _Entry]:
    """(the box of a slice, its own entry), where both agree with the whole tensor."""
    part = entries.get(slice_key(key, box))
    if part is None:
        raise BadFileError(f"{_shown(key)} has the slice {shown(box, 80)}, which is not stored")
    if len(box) != len(entry.shape) or not box:
        raise BadFileError(f"{_shown(key)} has a slice of {len(box)} axes, and itself {len(entry.shape)}")
    full = tuple((0, n) if extent == (0, -1) else extent for extent, n in zip(box, entry.shape, strict=True))
    if any(start < 0 or n < 1 or start + n > size for (start, n), size in zip(full, entry.shape, strict=True)):
        raise BadFileError(f"{_shown(key)} of shape {entry.shape} has the slice {shown(box, 80)}")
    if part.slices or part.dtype != entry.dtype or part.shape != tuple(n for _, n in full):
        raise BadFileError(
            f"the slice {shown(box, 80)} of {_shown(key)} is stored as {part.dtype} of shape {part.shape}"
        )
    _check_size(key, part)
    return full, part


def _check_size(key: bytes, entry: _Entry) -> None:
    if entry.dtype in FLOATS:
        needed = math.prod(entry.shape) * np.dtype(DTYPES[entry.dtype]).itemsize
        if needed != entry.size:
            what = f"{entry.dtype} of shape {entry.shape}"
            raise BadFileError(f"{_shown(key)}, {what}, is {needed:,} bytes, and {entry.size:,} are stored")


def slice_key(name: bytes, box: Box) -> bytes:
    """The key of a slice: 0, the name, and the numbers of its box, in an encoding that sorts as they do (OrderedCode)."""
    key = b"\0" + name.replace(b"\0", b"\0\xff") + b"\0\1"  # in UTF-8 no byte is 255, which would be changed too
    axes = bytes([1, len(box)]) if box else b"\0"  # how many bytes a number has, and these
    return key + axes + b"".join(_ordered(number) for extent in box for number in extent)


def _ordered(value: int) -> bytes:
    """A signed number: as many ones as it has bytes and then a zero, then the number; all bits inverted if it is negative."""
    length = (value ^ value >> 63).bit_length() // 7 + 1
    ones = (1 << length) - 1 << 7 * length  # in front of 7·length bits: sign and number
    return (ones ^ value & (1 << 8 * length) - 1).to_bytes(length, "big")


# --- reading ---------------------------------------------------------------------------------------------------------------


def _load(
    index: Path,
    shards: int,
    name: str,
    dtype: str,
    shape: tuple[int, ...],
    parts: list[tuple[Box, _Entry]],
    transpose: bool,
) -> Array:
    if dtype not in FLOATS:
        raise ValueError(f"{index}: {shown(name)!r} is {dtype}; weights are read from {', '.join(FLOATS)}")
    x = np.empty(shape[::-1] if transpose else shape, DTYPES[dtype])
    stored = x.T if transpose else x
    for box, part in parts:
        # with the dots it is a view of a single number, too
        inside: tuple[Any, ...] = (..., *(slice(start, start + n) for start, n in box))
        _read(_data_file(index, part.shard, shards), name, part, stored[inside])
    return float32_of(x) if dtype == "BF16" else x


def _read(path: Path, name: str, entry: _Entry, out: Array) -> None:
    """Reads an entry into an array of its shape, which may lie in another order, and checks the bytes as they come."""
    rows = out if out.ndim > 1 else out.reshape(1, -1)
    step = max(ROWS, piece() // max(1, rows[:1].nbytes) // ROWS * ROWS)
    in_place = rows.flags.c_contiguous
    buffer = None if in_place else np.empty((min(step, len(rows)), *rows.shape[1:]), out.dtype)
    crc = 0
    with path.open("rb") as file:  # read, not mapped: a mapped file that another process cuts short kills this one
        file.seek(entry.offset)
        for i in range(0, len(rows), step):
            some = rows[i : i + step]
            read = some if buffer is None else buffer[: len(some)]
            content = read.reshape(-1).view(np.uint8)
            if file.readinto(content.data) != read.nbytes:
                raise OSError(f"{path} was cut off while it was being read")
            crc = crc32c(content, crc)
            for j in range(0, len(some) if buffer is not None else 0, ROWS):
                some[j : j + ROWS] = read[j : j + ROWS]
    if crc != entry.crc:
        raise ValueError(f"{path}: the bytes of {shown(name)!r} do not have their checksum: the file is damaged")
