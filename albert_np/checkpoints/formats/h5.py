"""TensorFlow's tf_model.h5: HDF5 files that Keras wrote, one dataset a weight, read through h5py.

HDF5 can do far more than hold arrays: values in other files, links to them, datasets made of datasets, filters that are
loaded as plug-ins. So h5py is asked only where each dataset's bytes lie, and the bytes are read here.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from albert_np.checkpoints.formats.h5_writer import import_h5py, write
from albert_np.checkpoints.formats.protocol import Format, Tensor
from albert_np.checkpoints.formats.tensorflow_names import hub_name, is_kernel, understood
from albert_np.files import explain_impostor, shown
from albert_np.ops import Array

SIGNATURE = b"\x89HDF\r\n\x1a\n"
MAX_OBJECTS = 20_000  # ALBERT-xxlarge has a hundred groups and datasets
MAX_DEPTH = 32
MAX_CHUNKS = 100_000
EXPANSION = 16  # how many times a file its unpacked values may be: trained weights can hardly be packed at all
STRIP = 64  # rows that are transposed together: some cache lines of float32
DTYPES = {"f2": "F16", "f4": "F32", "f8": "F64", "i1": "I8", "i2": "I16", "i4": "I32", "i8": "I64"}
DTYPES |= {"u1": "U8", "u2": "U16", "u4": "U32", "u8": "U64"}
DEFLATE, SHUFFLE = 1, 2  # the numbers of HDF5's filters
OPTIMIZER = "optimizer_weights"  # the group that Keras keeps the optimizer's own weights in


class _RefusalError(ValueError):
    """What is wrong with a file, in words: h5py has no part in it."""


class _Chunks(NamedTuple):
    """A dataset that is stored in pieces of one shape. Those at its edges reach beyond it."""

    shape: tuple[int, ...]
    filters: tuple[int, ...]
    places: list[tuple[tuple[int, ...], int, int, int]]  # first index, filters left out, first byte, bytes


def read(path: Path) -> Iterator[Tensor]:
    """The weights of one file. Raises a ValueError that says what no file of Keras has, or an OSError.

    The layer of a vocabulary head repeats the embeddings. TensorFlow sets a weight once for each layer that has it, and so
    the last one counts here.
    """
    found: dict[str, Tensor] = {}
    for tensor in _tensors(path):
        name = hub_name(tensor.name) or tensor.name
        other = found.get(name, tensor)
        if (other.shape, other.dtype) != (tensor.shape, tensor.dtype):
            raise ValueError(
                f"{path} holds {shown(other.name)} again as {shown(tensor.name)}, with another shape or dtype"
            )
        found[name] = tensor
    for stored in found.values():
        tensor = understood(stored)
        if (
            tensor.hub_name
            and is_kernel(stored.name)
            and isinstance(stored.load, _InOnePiece)
            and len(stored.shape) == 2
        ):
            tensor = tensor._replace(load=stored.load.transposed)
        yield tensor


def _tensors(path: Path) -> list[Tensor]:
    """Every dataset of a file, under its own name. All of its metadata is checked, and no weight is read."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(512)
    explain_impostor(str(path), head)
    if not head.startswith(SIGNATURE):
        raise ValueError(f"{path} is not an HDF5 file: it does not begin with HDF5's signature")
    h5py = import_h5py(f"reading {path.name}")
    try:
        with h5py.File(path, "r", locking=False) as file:
            found = [_tensor(h5py, path, size, name, dataset) for name, dataset in _datasets(h5py, path, file.id)]
    except _RefusalError:
        raise
    except Exception as error:  # h5py's errors are of many classes, and their texts of several lines
        reason = shown(" ".join(str(error).split()) or type(error).__name__, 200)
        raise ValueError(f"{path} is cut off or damaged: {reason}") from error
    unpacked = sum(bytes_of for _, bytes_of in found)
    if unpacked > EXPANSION * size:
        raise ValueError(f"{path} is {size:,} bytes and says that it holds {unpacked:,} bytes of weights")
    return [tensor for tensor, _ in found]


def _datasets(h5py: Any, path: Path, root: Any) -> Iterator[tuple[str, Any]]:
    """Names and h5py's handles of all datasets of a file, the groups in order of their names. No link is followed."""
    groups, seen, objects = [("", 0, root)], {h5py.h5o.get_info(root).addr}, 0
    while groups:
        prefix, depth, group = groups.pop()
        inner = []
        objects += group.get_num_objs()
        if objects > MAX_OBJECTS or depth > MAX_DEPTH:
            raise _RefusalError(f"{path} has over {MAX_OBJECTS:,} groups and datasets, or groups over {MAX_DEPTH} deep")
        for link in sorted(group):
            name = prefix + link.decode("utf-8", "replace")
            if group.links.get_info(link).type != h5py.h5l.TYPE_HARD:
                raise _RefusalError(
                    f"{path}: {shown(name)} is a link to somewhere else, which Keras does not write: store the values"
                )
            if name == OPTIMIZER:
                continue
            found = h5py.h5o.open(group, link)
            if isinstance(found, h5py.h5d.DatasetID):
                yield name, found
            elif isinstance(found, h5py.h5g.GroupID):
                address = h5py.h5o.get_info(found).addr
                if address in seen:
                    raise _RefusalError(f"{path}: the group {shown(name)} is there a second time, under another name")
                seen.add(address)
                inner.append((f"{name}/", depth + 1, found))
        groups += reversed(inner)


def _tensor(h5py: Any, path: Path, size: int, name: str, dataset: Any) -> tuple[Tensor, int]:  # -> and its bytes
    what = f"{path}: {name}" if name.isprintable() and len(name) < 120 else f"{path}: {shown(name)}"
    plan = dataset.get_create_plist()
    layout = plan.get_layout()
    if layout == h5py.h5d.VIRTUAL or plan.get_external_count():
        raise _RefusalError(f"{what} has its values in other files, which are not read: store them in this one")
    if name.rpartition("/")[0].endswith("vars"):
        raise _RefusalError(
            f"{what} is a place in Keras's tree of objects and no name of a weight: save the model with save_pretrained of "
            "transformers' TFAlbert classes"
        )
    dtype = _dtype(h5py, what, dataset.get_type())
    shape = _shape(h5py, what, dataset.get_space())
    needed = math.prod(shape) * dtype.itemsize
    load: Any
    if layout == h5py.h5d.CHUNKED:
        chunks = _chunks(h5py, what, size, dataset, plan, shape)
        load = partial(_load_chunks, path, name, chunks, dtype, shape)
    elif layout == h5py.h5d.CONTIGUOUS:
        at = dataset.get_offset() if needed else 0
        if at is None or not 0 <= at <= size - needed:
            raise _RefusalError(f"{what} is {needed:,} bytes of values, which are not in the file's {size:,} bytes")
        load = _InOnePiece(path, at, dtype, shape)
    else:  # compact: at most 64 KiB, among the metadata
        if dataset.get_storage_size() != needed:
            raise _RefusalError(
                f"{what} is {needed:,} bytes of values, and the file has {dataset.get_storage_size():,}"
            )
        x = np.empty(shape, dtype)
        dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, x)
        load = x.astype(dtype.newbyteorder("=")).copy
    return Tensor(name, shape, DTYPES[dtype.str[1:]], load), needed


def _dtype(h5py: Any, what: str, stored: Any) -> np.dtype:
    """The dtype of numbers that NumPy has too, bit for bit; HDF5 can make up others."""
    kind = stored.get_class()
    if kind in (h5py.h5t.FLOAT, h5py.h5t.INTEGER):
        dtype = np.dtype(stored.dtype)
        if dtype.str[1:] in DTYPES and stored.equal(h5py.h5t.py_create(dtype)):
            return dtype
    raise _RefusalError(
        f"{what} holds something else than whole numbers or floats of 2, 4 or 8 bytes; these are weights"
    )


def _shape(h5py: Any, what: str, space: Any) -> tuple[int, ...]:
    if space.get_simple_extent_type() == h5py.h5s.NULL:
        raise _RefusalError(f"{what} is a dataset without any values, not even a shape")
    shape = tuple(map(int, space.get_simple_extent_dims()))
    if len(shape) > 8 or math.prod(n or 1 for n in shape) >= 2**60:
        raise _RefusalError(f"{what} has the shape {shown(shape, 80)}, more than any memory holds")
    return shape


def _chunks(h5py: Any, what: str, size: int, dataset: Any, plan: Any, shape: tuple[int, ...]) -> _Chunks:
    """Where the pieces of a dataset lie. Each of them must be there, once, inside the file."""
    filters = tuple(plan.get_filter(i)[0] for i in range(plan.get_nfilters()))
    if any(number not in (DEFLATE, SHUFFLE) for number in filters):
        raise _RefusalError(
            f"{what} is packed by a filter that is not read (number {max(filters)}); gzip and shuffle are"
        )
    chunk = tuple(map(int, plan.get_chunk()))
    due = math.prod(-(-n // c) for n, c in zip(shape, chunk, strict=True))
    if due > MAX_CHUNKS:
        raise _RefusalError(f"{what} is stored in {due:,} pieces; at most {MAX_CHUNKS:,} are read")
    places: list[tuple[tuple[int, ...], int, int, int]] = []

    def note(info: Any) -> None:
        if len(places) > due:
            raise _RefusalError(f"{what} is stored in more than its {due:,} pieces")
        places.append((tuple(map(int, info.chunk_offset)), info.filter_mask, info.byte_offset, info.size))

    dataset.chunk_iter(note)
    counts = [-(-n // c) for n, c in zip(shape, chunk, strict=True)]
    found = {tuple(i // c for i, c in zip(first, chunk, strict=True)) for first, *_ in places}
    if found != set(np.ndindex(*counts)) or len(places) != due:
        raise _RefusalError(f"{what} is stored in {due:,} pieces, and not all of them are in the file")
    outside = any(at is None or at < 0 or n < 1 or at + n > size for _, _, at, n in places)
    if outside or math.prod(chunk) > EXPANSION * max(size, math.prod(shape)):
        raise _RefusalError(f"{what} has a piece that reaches beyond the file, or is far larger than it")
    return _Chunks(chunk, filters, places)


# --- values -----------------------------------------------------------------------------------------------------------


class _InOnePiece(NamedTuple):
    """A dataset whose values lie end to end. A call loads them."""

    path: Path
    at: int
    dtype: np.dtype
    shape: tuple[int, ...]

    def __call__(self) -> Array:
        # read, not mapped: a mapped file that another process cuts short kills this one
        x = np.fromfile(self.path, self.dtype, math.prod(self.shape), offset=self.at)
        if x.size != math.prod(self.shape):
            raise OSError(f"{self.path} was cut off while it was being read")
        return x.astype(self.dtype.newbyteorder("="), copy=False).reshape(self.shape)

    def transposed(self) -> Array:
        """The transpose of a matrix. Its rows are read a few at a time, and so half of a model's memory is not needed."""
        rows, columns = self.shape
        x = np.empty((columns, rows), self.dtype.newbyteorder("="))
        # rows a little apart: a power of two from each other, they would push one another out of the cache
        strip = np.empty((STRIP, columns + 16), x.dtype)[:, :columns]
        for i, block in zip(range(0, rows, STRIP), self._blocks(STRIP * columns), strict=False):
            part = strip[: block.size // columns]
            part[...] = block.reshape(-1, columns)
            x[:, i : i + STRIP] = part.T
        return x

    def _blocks(self, count: int) -> Iterator[Array]:
        """The values, `count` at a time, always in the same array: memory that is new takes longer than a read."""
        block, left = np.empty(count, self.dtype), math.prod(self.shape)
        with self.path.open("rb", buffering=0) as file:
            file.seek(self.at)
            while left:
                part = block[: min(count, left)]
                if file.readinto(part.view(np.uint8).data) != part.nbytes:
                    raise OSError(f"{self.path} was cut off while it was being read")
                left -= part.size
                yield part


def _load_chunks(path: Path, name: str, chunks: _Chunks, dtype: np.dtype, shape: tuple[int, ...]) -> Array:
    x = np.empty(shape, dtype.newbyteorder("="))
    count = math.prod(chunks.shape)
    with path.open("rb") as file:
        for first, left_out, at, size in chunks.places:
            file.seek(at)
            data = _unpacked(file.read(size), chunks.filters, left_out, count, dtype.itemsize)
            if data is None:
                raise ValueError(
                    f"{path}: a piece of {shown(name)} is damaged: it does not unpack to {count:,} numbers"
                )
            inside = tuple(slice(0, n - i) for n, i in zip(shape, first, strict=True))
            target = tuple(slice(i, i + c) for i, c in zip(first, chunks.shape, strict=True))
            x[target] = data.view(dtype).reshape(chunks.shape)[inside]
    return x


def _unpacked(data: bytes, filters: tuple[int, ...], left_out: int, count: int, width: int) -> Array | None:
    """The bytes of one piece, of `count` numbers of `width` bytes; None if they are not that many."""
    size = count * width
    for place in reversed(range(len(filters))):  # the filter that was last is undone first
        if left_out >> place & 1:
            continue
        if filters[place] == DEFLATE:
            unpacker = zlib.decompressobj()
            try:
                data = unpacker.decompress(data, size + 1)
            except zlib.error:
                return None
            if len(data) != size or not unpacker.eof:
                return None
        elif len(data) == size:  # shuffled: the first bytes of all numbers, then the second ones
            data = np.frombuffer(data, np.uint8).reshape(width, count).T.tobytes()
    return np.frombuffer(data, np.uint8) if len(data) == size else None


FORMAT = Format("h5", "tf_model.h5", "tf_model.h5.index.json", read, hub_name, write)
