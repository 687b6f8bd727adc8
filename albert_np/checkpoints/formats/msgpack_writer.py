"""Writes flax_model.msgpack: byte for byte the file that flax.serialization.to_bytes makes of the same arrays in this order.

One array is in memory at a time; `msgpack`'s own packer would copy each of them, and then the whole file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from albert_np.checkpoints.formats.flax_names import stored_name
from albert_np.checkpoints.formats.msgpack_codes import CHUNKED, DTYPE_NAMES, FIXED, LENGTHS, NDARRAY, SMALL
from albert_np.checkpoints.formats.protocol import Tensor, stored_values
from albert_np.checkpoints.formats.values import transposed
from albert_np.files import shown
from albert_np.ops import Array

MAX_PIECE_BYTES = 2**30  # flax's: a larger array is written in pieces
NAMES_OF_DTYPES = {word: name for name, word in DTYPE_NAMES.items()}

Tree = dict[str, "Tree | Tensor"]


def write(path: Path, tensors: Mapping[str, Tensor], architecture: str = "") -> None:
    """Writes one file; the names are the same for every class. ValueError for a name or a dtype that Flax does not have."""
    tree: Tree = {}
    for name, tensor in tensors.items():
        *at, leaf = stored_name(name).split("/")
        node = tree
        for word in at:
            below = node.setdefault(word, {})
            assert isinstance(below, dict)  # no name of the table goes on where another ends
            node = below
        node[leaf] = tensor
    with path.open("wb") as file:
        _write_tree(file, tree)


def _write_tree(file: BinaryIO, tree: Tree) -> None:
    file.write(_head("dict", len(tree)))
    for name, value in tree.items():
        file.write(_text(name))
        if isinstance(value, dict):
            _write_tree(file, value)
        else:
            _write_tensor(file, name, value)


def _write_tensor(file: BinaryIO, name: str, tensor: Tensor) -> None:
    if tensor.dtype not in NAMES_OF_DTYPES:
        raise ValueError(f"flax_model.msgpack holds no {tensor.dtype}, the dtype of {shown(tensor.name)}")
    x = stored_values(tensor)
    x = transposed(x) if name == "kernel" else x
    size = MAX_PIECE_BYTES // x.itemsize
    if x.nbytes <= MAX_PIECE_BYTES:
        _write_array(file, x, NAMES_OF_DTYPES[tensor.dtype])
        return
    pieces = [x.reshape(-1)[i : i + size] for i in range(0, x.size, size)]
    file.write(_head("dict", 3) + _text(CHUNKED) + b"\xc3" + _text("shape"))  # 0xC3 is true
    file.write(_head("dict", x.ndim) + b"".join(_text(str(i)) + _head("number", n) for i, n in enumerate(x.shape)))
    file.write(_text("chunks") + _head("dict", len(pieces)))
    for i, piece in enumerate(pieces):
        file.write(_text(str(i)))
        _write_array(file, piece, NAMES_OF_DTYPES[tensor.dtype])


def _write_array(file: BinaryIO, x: Array, dtype: str) -> None:
    sizes = b"".join(_head("number", n) for n in x.shape)
    about = _head("list", 3) + _head("list", x.ndim) + sizes + _text(dtype) + _head("bytes", x.nbytes)
    file.write(_head("extension", len(about) + x.nbytes) + bytes([NDARRAY]) + about)
    file.write(x.data)


def _text(text: str) -> bytes:
    data = text.encode()
    return _head("text", len(data)) + data


def _head(kind: str, n: int) -> bytes:
    """The shortest bytes that say so: what follows, and how much of it, or for a number its value."""
    first, limit = SMALL.get(kind, (0, 0))
    if n < limit:
        return bytes([first | n])
    if kind == "extension" and n in FIXED.values():
        return bytes([code for code, size in FIXED.items() if size == n])
    code, width = next((code, w) for code, (k, w) in LENGTHS.items() if k == kind and n < 256**w)
    return bytes([code]) + n.to_bytes(width, "big")
