"""Where the datasets of an HDF5 file lie: the part of the format that h5py writes unless it is told otherwise.

The HDF5 library is not asked, because damaged files end it: a node of a group's tree that is its own child, or its own
neighbour, makes version 2.0 crash or run for ever. Here every address is checked against the file, every node is visited once,
and no link is followed. The format: https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html (version 3.0).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from albert_np.files import explain_impostor, shown

SIGNATURE = b"\x89HDF\r\n\x1a\n"
UNDEFINED = 2**64 - 1  # the address of what was never stored
MAX_OBJECTS = 20_000  # ALBERT-xxlarge has a hundred groups and datasets
MAX_DEPTH = 32
MAX_NAME = 1024  # characters of a dataset's name with those of its groups
MAX_METADATA = 16 << 20  # bytes that are read to find the datasets
MAX_CHUNKS = 100_000
MAX_BLOCKS = 500  # parts of one header
# the numbers of messages in an object's header
DATASPACE, LINK_INFO, DATATYPE, LINK, EXTERNAL, LAYOUT, FILTERS, CONTINUATION, SYMBOLS = 1, 2, 3, 6, 7, 8, 11, 16, 17
COMPACT, CONTIGUOUS, CHUNKED = 0, 1, 2
DEFLATE, SHUFFLE = 1, 2  # the numbers of filters
# (precision, bits of the exponent and of the mantissa, the exponent's bias)
FLOATS = {2: (16, 5, 10, 15), 4: (32, 8, 23, 127), 8: (64, 11, 52, 1023)}


class Chunks(NamedTuple):
    """Values that are stored in pieces of one shape. Those at the edges reach beyond the dataset."""

    shape: tuple[int, ...]
    filters: tuple[int, ...]  # DEFLATE and SHUFFLE, in the order in which they were applied
    places: list[tuple[tuple[int, ...], int, int, int]]  # first index, filters left out as bits, first byte, bytes

    @property
    def numbers(self) -> int:
        """How many numbers all pieces have, those beyond the edges too."""
        return math.prod(self.shape) * len(self.places)


class Dataset(NamedTuple):
    """A dataset, its numbers as NumPy has them, and where they are: the first byte, pieces, or the bytes themselves."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    values: int | Chunks | bytes


def datasets(path: Path) -> list[Dataset]:
    """All datasets of a file, in the order of their names. Raises a ValueError that says what is wrong, or an OSError."""
    size = path.stat().st_size
    with path.open("rb", buffering=0) as file:
        head = file.read(96)
        explain_impostor(str(path), head)
        if not head.startswith(SIGNATURE):
            raise ValueError(f"{path} is not an HDF5 file: it does not begin with HDF5's signature")
        source = _Source(path, file, size)
        return [_dataset(source, name, messages) for name, messages in _objects(source, _root(source, head))]


class _Source:
    """A file whose bytes are asked for by their places."""

    def __init__(self, path: Path, file: BinaryIO, size: int) -> None:
        self.path, self.file, self.size, self.left = path, file, size, MAX_METADATA

    def refusal(self, what: str) -> ValueError:
        return ValueError(f"{self.path} is cut off or damaged: {what}")

    def read(self, at: int, count: int, what: str, begins: bytes = b"") -> bytes:
        self.left -= count
        if self.left < 0:
            raise ValueError(
                f"{self.path} has over {MAX_METADATA:,} bytes of metadata, more than any real file of its kind"
            )
        if at > self.size - count:
            raise self.refusal(f"{what} at byte {at:,} is not in the file's {self.size:,} bytes")
        self.file.seek(at)
        data = self.file.read(count)
        if len(data) != count:
            raise OSError(f"{self.path} was cut off while it was being read")
        if not data.startswith(begins):
            raise self.refusal(f"{what} should be at byte {at:,}, and is not")
        return data


def _root(source: _Source, head: bytes) -> int:
    """The address of the header of the root group."""
    if len(head) < 96:
        raise source.refusal(f"it is {source.size} bytes, and what an HDF5 file begins with is 96")
    version = head[8]
    if version in (0, 1):
        widths, start = head[13:15], 24 + 4 * version
        base, _, end, driver, _, root = struct.unpack_from("<6Q", head, start)
    elif version in (2, 3):
        widths, driver = head[9:11], UNDEFINED
        base, _, end, root = struct.unpack_from("<4Q", head, 12)
    else:
        raise source.refusal(f"its superblock is of version {version}; 0 to 3 are known")
    if widths != b"\x08\x08" or base != 0 or driver != UNDEFINED:
        raise ValueError(f"{source.path} is an HDF5 file of a kind that h5py writes only on request, which is not read")
    if end > source.size:
        raise source.refusal(f"it should be {end:,} bytes, and is {source.size:,}")
    return root


# --- groups ---------------------------------------------------------------------------------------------------------------


def _objects(source: _Source, root: int) -> Iterator[tuple[str, dict[int, list[bytes]]]]:
    """Names of all datasets, each with the messages of its header by their numbers."""
    groups, seen, count = [("", 0, root)], {root}, 0
    while groups:
        name, depth, at = groups.pop()
        messages = _messages(source, at)
        if LAYOUT in messages:
            yield name, messages
            continue
        inner = []
        links = sorted(_links(source, name, messages))
        for (link, address), (before, _) in zip(links, [("", 0), *links], strict=False):
            path = f"{name}/{link}" if name else link
            if link == before or "/" in link:
                raise ValueError(f"{source.path}: the name {shown(path)!r} stands there twice, or has a '/' in it")
            count += 1
            if count > MAX_OBJECTS or depth >= MAX_DEPTH:
                raise ValueError(
                    f"{source.path} has over {MAX_OBJECTS:,} groups and datasets, or groups over {MAX_DEPTH} deep"
                )
            if len(path) > MAX_NAME:
                raise ValueError(
                    f"{source.path}: a name of {len(path):,} characters, {shown(path)!r}; at most {MAX_NAME:,} are read"
                )
            if address in seen:
                raise ValueError(f"{source.path}: {shown(path)} is there a second time, under another name")
            seen.add(address)
            inner.append((path, depth + 1, address))
        groups += reversed(inner)


def _links(source: _Source, group: str, messages: dict[int, list[bytes]]) -> Iterator[tuple[str, int]]:
    """The names in a group, with the addresses of what they are names of."""
    for data in messages.get(SYMBOLS, []):
        tree, heap = _unpack(source, "<2Q", data)
        *_, size, _, names = struct.unpack("<4sB3xQQQ", source.read(heap, 32, "the names of a group", b"HEAP"))
        text = source.read(names, size, "the names of a group")
        for leaf in _leaves(source, tree, 0, 16):
            node = leaf[-1]
            _, count = struct.unpack("<4s2xH", source.read(node, 8, "a list of a group's members", b"SNOD"))
            for name, address, kind in struct.iter_unpack(
                "<QQI20x", source.read(node + 8, 40 * count, "members of a group")
            ):
                if kind == 2:
                    raise _soft(source, group)
                end = text.find(b"\0", name, name + MAX_NAME)
                if end <= name:
                    raise source.refusal("a name of a group's member is missing, or very long")
                yield text[name:end].decode("utf-8", "replace"), address
    for data in messages.get(LINK_INFO, []):
        places = data[2 + 8 * (data[1] & 1) :] if len(data) > 1 else b""
        if _unpack(source, "<Q", places)[0] != UNDEFINED:
            raise ValueError(
                f"{source.path} has its groups in a form that h5py writes only on request (track_order, libver='latest'), "
                "which is not read: save it again without"
            )
    for data in messages.get(LINK, []):
        yield _link(source, group, data)


def _link(source: _Source, group: str, data: bytes) -> tuple[str, int]:
    """A member of a group whose header holds its members."""
    flags = data[1] if len(data) > 1 else 0
    at = 2 + bool(flags & 8) + 8 * bool(flags & 4) + bool(flags & 16)
    if flags & 8 and data[2:3] != b"\0":
        raise _soft(source, group)
    width = 1 << (flags & 3)
    length = int.from_bytes(data[at : at + width], "little")
    name = data[at + width : at + width + length]
    if not length or len(name) != length:
        raise source.refusal("a name of a group's member is missing")
    return name.decode("utf-8", "replace"), _unpack(source, "<Q", data[at + width + length :])[0]


def _soft(source: _Source, group: str) -> ValueError:
    where = f"its group {shown(group)}" if group else "its root"
    return ValueError(
        f"{source.path}: {where} has a link to somewhere else, which Keras does not write: store the values"
    )


def _leaves(source: _Source, root: int, kind: int, entry: int) -> Iterator[tuple[int, ...]]:
    """The entries of a tree's leaves: key and address, as 8-byte numbers. kind: 0 for groups, 1 for pieces of a dataset."""
    nodes, seen = [(root, -1)], {root}
    while nodes:
        at, expected = nodes.pop()
        _, found, level, count = struct.unpack("<4sBBH16x", source.read(at, 24, "a node of a tree", b"TREE"))
        if found != kind or expected not in (-1, level):
            raise source.refusal(f"the node of a tree at byte {at:,} belongs elsewhere")
        data = source.read(at + 24, count * entry, "a node of a tree")
        entries = [struct.unpack_from(f"<{entry // 8}Q", data, i * entry) for i in range(count)]
        if level == 0:
            yield from entries
            continue
        for *_, child in entries:
            if child in seen:
                raise source.refusal(f"the node of a tree at byte {child:,} is there twice")
            seen.add(child)
        nodes += [(child, level - 1) for *_, child in reversed(entries)]


# --- headers --------------------------------------------------------------------------------------------------------------


def _messages(source: _Source, at: int) -> dict[int, list[bytes]]:
    """The messages of an object's header, by their numbers. A message that another object's header has (shared) is refused."""
    head = source.read(at, 16, "the header of an object")
    newer = head.startswith(b"OHDR")
    if newer:
        flags = head[5]
        start = at + 6 + 16 * bool(flags & 32) + 4 * bool(flags & 16)
        width = 1 << (flags & 3)
        size = int.from_bytes(source.read(start, width, "the header of an object"), "little")
        blocks, form = [(start + width, size)], "<BHB2x" if flags & 4 else "<BHB"
    elif head[0] == 1:
        blocks, form = [(at + 16, int.from_bytes(head[8:12], "little"))], "<HHB3x"
    else:
        raise source.refusal(f"the header of an object should be at byte {at:,}, and is not")
    found: dict[int, list[bytes]] = {}
    head_size = struct.calcsize(form)
    for start, size in blocks:  # a block may name another, which is appended
        if len(blocks) > MAX_BLOCKS:
            raise source.refusal(f"the header at byte {at:,} has over {MAX_BLOCKS} parts")
        data, place = source.read(start, size, "the header of an object"), 0
        while place + head_size <= len(data):
            number, length, shared = struct.unpack_from(form, data, place)
            message = data[place + head_size : place + head_size + length]
            place += head_size + length
            if len(message) != length:
                raise source.refusal(f"the header at byte {at:,} has a message that reaches beyond it")
            if number == CONTINUATION:
                first, count = _unpack(source, "<2Q", message)
                # a newer block has a signature in front and a checksum behind
                blocks.append((first + 4, count - 8) if newer and count >= 8 else (first, count))
            elif number in (DATASPACE, LINK_INFO, DATATYPE, LINK, EXTERNAL, LAYOUT, FILTERS, SYMBOLS):
                if shared & 2:
                    raise ValueError(
                        f"{source.path} has a header that refers to another object's, which Keras does not write"
                    )
                found.setdefault(number, []).append(message)
    return found


def _unpack(source: _Source, form: str, data: bytes) -> tuple[int, ...]:
    if len(data) < struct.calcsize(form):
        raise source.refusal("a message of a header is too short")
    return struct.unpack_from(form, data)


# --- datasets -------------------------------------------------------------------------------------------------------------


def _dataset(source: _Source, name: str, messages: dict[int, list[bytes]]) -> Dataset:
    what = f"{source.path}: {shown(name)}"
    if any(len(messages.get(number, [])) != 1 for number in (DATASPACE, DATATYPE, LAYOUT)):
        raise source.refusal(f"{shown(name)} lacks its shape, dtype or place, or has two of them")
    layout = messages[LAYOUT][0]
    version, kind = _unpack(source, "<BB", layout)
    if EXTERNAL in messages or kind > CHUNKED:
        raise ValueError(f"{what} has its values in other files, which are not read: store them in this one")
    dtype = _dtype(messages[DATATYPE][0])
    if dtype is None:
        raise ValueError(
            f"{what} holds something else than whole numbers or floats of 2, 4 or 8 bytes; these are weights"
        )
    shape = _shape(source, what, messages[DATASPACE][0])
    needed = math.prod(shape) * dtype.itemsize
    if version not in (3, 4) or (version == 4 and kind == CHUNKED):
        raise ValueError(
            f"{what} is stored in a form that h5py writes only on request (libver='latest'), which is not read"
        )
    if kind == CHUNKED:
        return Dataset(name, dtype, shape, _chunks(source, what, layout, messages.get(FILTERS, []), shape, dtype))
    if kind == COMPACT:
        values = layout[4 : 4 + _unpack(source, "<xxH", layout)[0]]
        if len(values) != needed:
            raise ValueError(f"{what} is {needed:,} bytes of values, and the file has {len(values):,}")
        return Dataset(name, dtype, shape, values)
    at = _unpack(source, "<xxQ", layout)[0] if needed else 0
    if at > source.size - needed:
        raise ValueError(f"{what} is {needed:,} bytes of values, which are not in the file's {source.size:,} bytes")
    return Dataset(name, dtype, shape, at)


def _dtype(data: bytes) -> np.dtype | None:
    """NumPy's dtype of the same bits, or None: HDF5 can describe numbers of any width and layout."""
    if len(data) < 12 or data[0] >> 4 not in (1, 2, 3):
        return None
    size, order = int.from_bytes(data[4:8], "little"), ">" if data[1] & 1 else "<"
    if data[0] & 15 == 0 and size in (1, 2, 4, 8):
        usual = data[1] & ~9 == 0 and data[2:4] == b"\0\0" and data[8:12] == struct.pack("<HH", 0, 8 * size)
        return np.dtype(f"{order}{'i' if data[1] & 8 else 'u'}{size}") if usual else None
    if data[0] & 15 == 1 and size in FLOATS:
        bits, exponent, mantissa, bias = FLOATS[size]
        usual = data[1] & ~1 == 32 and data[2:4] == bytes((bits - 1, 0))
        usual &= data[8:20] == struct.pack("<HHBBBBI", 0, bits, mantissa, exponent, 0, mantissa, bias)
        return np.dtype(f"{order}f{size}") if usual else None
    return None


def _shape(source: _Source, what: str, data: bytes) -> tuple[int, ...]:
    version, rank = _unpack(source, "<BB", data)
    if version not in (1, 2) or rank > 8:
        raise ValueError(f"{what} has {rank} axes; at most 8 are read")
    if version == 2 and _unpack(source, "<xxxB", data)[0] == 2:
        raise ValueError(f"{what} is a dataset without any values, not even a shape")
    shape = _unpack(source, f"<{8 if version == 1 else 4}x{rank}Q", data)
    if math.prod(n or 1 for n in shape) >= 2**60:
        raise ValueError(f"{what} has the shape {shown(shape, 80)}, more than any memory holds")
    return shape


def _chunks(
    source: _Source, what: str, layout: bytes, pipelines: list[bytes], shape: tuple[int, ...], dtype: np.dtype
) -> Chunks:
    """Where the pieces of a dataset lie. Each of them must be there, once, inside the file."""
    axes, tree = _unpack(source, "<xxBQ", layout)
    *chunk, width = _unpack(source, f"<11x{axes}I", layout) or (0,)
    if len(chunk) != len(shape) or 0 in chunk or width != dtype.itemsize:
        raise source.refusal(f"{what} is in pieces that are not of its kind")
    counts = [-(-n // c) for n, c in zip(shape, chunk, strict=True)]
    due = math.prod(counts)
    if due > MAX_CHUNKS:
        raise ValueError(f"{what} is stored in {due:,} pieces; at most {MAX_CHUNKS:,} are read")
    filters = [number for data in pipelines for number in _filters(source, data)]
    if len(set(filters)) != len(filters):
        raise ValueError(f"{what} is packed twice by the same filter, which Keras does not do")
    if any(number not in (DEFLATE, SHUFFLE) for number in filters):
        raise ValueError(f"{what} is packed by a filter that is not read (number {max(filters)}); gzip and shuffle are")
    places = []
    for sizes, *first, _, at in _leaves(source, tree, 1, 8 * (axes + 2)) if tree != UNDEFINED else ():
        size, left_out = sizes & 0xFFFFFFFF, sizes >> 32
        places.append((tuple(first), left_out, at, size))
        if at > source.size - size:
            raise source.refusal(f"{what} has a piece at byte {at:,}, outside of the file's {source.size:,} bytes")
    found = [tuple(i // c for i, c in zip(first, chunk, strict=True)) for first, *_ in places]
    exact = all(i % c == 0 for first, *_ in places for i, c in zip(first, chunk, strict=True))
    inside = all(i < n for piece in found for i, n in zip(piece, counts, strict=True))
    if len(set(found)) != due or len(found) != due or not exact or not inside:
        raise ValueError(f"{what} is stored in {due:,} pieces, and not all of them are in the file")
    return Chunks(tuple(chunk), tuple(filters), places)


def _filters(source: _Source, data: bytes) -> Iterator[int]:
    """The numbers of the filters, in the order in which they were applied."""
    version, count = _unpack(source, "<BB", data)
    at = 8 if version == 1 else 2
    for _ in range(count):
        (number,) = _unpack(source, "<H", data[at:])
        named = version == 1 or number >= 256
        *_, length, _, values = (
            _unpack(source, "<4H", data[at:]) if named else (0, *_unpack(source, "<2x2H", data[at:]))
        )
        at += (8 if named else 6) + (-(-length // 8) * 8 if version == 1 else length) + 4 * values
        at += 4 * (values % 2) if version == 1 else 0
        yield number
