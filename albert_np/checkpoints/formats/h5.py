"""TensorFlow's tf_model.h5: HDF5 files that Keras wrote, one dataset a weight."""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from albert_np.checkpoints.formats.h5_writer import FILE, write
from albert_np.checkpoints.formats.hdf5 import DEFLATE, Chunks, Dataset, datasets
from albert_np.checkpoints.formats.protocol import Format, Tensor
from albert_np.checkpoints.formats.tensorflow_names import hub_name, understood
from albert_np.checkpoints.formats.values import Contiguous
from albert_np.files import shown
from albert_np.ops import Array

EXPANSION = 16  # how many times a file its unpacked values may be: trained weights can hardly be packed at all
DTYPES = {"f2": "F16", "f4": "F32", "f8": "F64", "i1": "I8", "i2": "I16", "i4": "I32", "i8": "I64"}
DTYPES |= {"u1": "U8", "u2": "U16", "u4": "U32", "u8": "U64"}
OPTIMIZER = "optimizer_weights/"  # the group that Keras keeps the optimizer's own weights in


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
        yield understood(stored)


def _tensors(path: Path) -> list[Tensor]:
    """Every dataset of a file, under its own name. All that the file says of them is checked, and no values are read."""
    found = [dataset for dataset in datasets(path) if not dataset.name.startswith(OPTIMIZER)]
    size, unpacked = path.stat().st_size, sum(_count(x) * x.dtype.itemsize for x in found)
    if unpacked > EXPANSION * size:
        raise ValueError(f"{path} is {size:,} bytes and says that it holds {unpacked:,} bytes of weights")
    _check_apart(path, found)
    for name in (dataset.name for dataset in found):
        if name.rpartition("/")[0].endswith("vars"):
            raise ValueError(
                f"{path}: {shown(name)} is a place in Keras's tree of objects and no name of a weight: save the model with "
                "save_pretrained of transformers' TFAlbert classes"
            )
    return [Tensor(x.name, x.shape, DTYPES[x.dtype.str[1:]], _loader(path, x)) for x in found]


def _check_apart(path: Path, found: list[Dataset]) -> None:
    """Refuses datasets whose values are, in part, those of another one: HDF5 gives each dataset bytes of its own."""
    spans = [span for dataset in found for span in _spans(dataset)]
    spans.sort()
    for (_, end, first), (begin, _, second) in itertools.pairwise(spans):
        if begin < end:
            raise ValueError(f"{path}: the values of {shown(second)} overlap those of {shown(first)}")


def _spans(dataset: Dataset) -> Iterator[tuple[int, int, str]]:
    """First byte, last byte + 1, name: where values lie in the file."""
    if isinstance(dataset.values, Chunks):
        yield from ((at, at + size, dataset.name) for _, _, at, size in dataset.values.places if size)
    elif isinstance(dataset.values, int) and 0 not in dataset.shape:
        at = dataset.values
        yield at, at + math.prod(dataset.shape) * dataset.dtype.itemsize, dataset.name


def _count(dataset: Dataset) -> int:
    """How many numbers are unpacked when a dataset is read."""
    return dataset.values.numbers if isinstance(dataset.values, Chunks) else math.prod(dataset.shape)


def _loader(path: Path, dataset: Dataset) -> Callable[[], Array]:
    _, dtype, shape, values = dataset
    if isinstance(values, int):
        return Contiguous(path, values, dtype, shape)
    if isinstance(values, Chunks):
        return partial(_load_chunks, path, dataset.name, values, dtype, shape)
    return np.frombuffer(values, dtype).astype(dtype.newbyteorder("=")).reshape(shape).copy


# --- values -----------------------------------------------------------------------------------------------------------


def _load_chunks(path: Path, name: str, chunks: Chunks, dtype: np.dtype, shape: tuple[int, ...]) -> Array:
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


FORMAT = Format("h5", FILE, f"{FILE}.index.json", read, hub_name, write)
