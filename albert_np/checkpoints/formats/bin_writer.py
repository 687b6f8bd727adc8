"""Writing pytorch_model.bin as torch.save does: a zip archive of stored members, whose pickle program is fixed.

The program says nothing but what each tensor is: the opcodes stand here, and only names and numbers are put between them. So
`torch.load(…, weights_only=True)` reads it, and so does everything that reads torch's files.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from albert_np.checkpoints.formats.pickle_program import STORAGES
from albert_np.checkpoints.formats.protocol import Tensor, stored_bytes, stored_values
from albert_np.checkpoints.formats.zip_archive import ABSENT32, END, ENTRY, HEADER
from albert_np.checkpoints.names import ALIASES, PREFIX
from albert_np.files import shown

FOLDER = "archive/"  # in the archive; torch takes the file's name, or this where there is none
ALIGNMENT = 64  # of a tensor's first byte, as torch's: a mapped file then gives aligned tensors
DATE = 1 << 5 | 1  # 1 January 1980, the earliest date that a zip archive can have
NEEDS = 20  # the version of the zip format


def write(path: Path, tensors: Mapping[str, Tensor], architecture: str = "") -> None:
    """Writes a state dict, a storage for each tensor and one for both names of a tied tensor. The names are those of any class.

    Raises a ValueError for a dtype that torch's storages do not have, and for 4 GiB or more.
    """
    for name, tensor in tensors.items():
        if tensor.dtype not in STORAGES.values():
            raise ValueError(
                f"tensor {shown(name)} is {tensor.dtype}, and pytorch_model.bin holds {', '.join(STORAGES.values())}"
            )
    owners = {name: _owner(name, tensors) for name in tensors}
    keys = {name: str(i) for i, name in enumerate(name for name in tensors if owners[name] == name)}
    if sum(stored_bytes(tensors[name]) for name in keys) > 0.99 * ABSENT32:
        raise ValueError("pytorch_model.bin would have 4 GiB or more: give a smaller max_shard_size, such as '2GB'")
    program = _program(tensors, {name: keys[owner] for name, owner in owners.items()})
    with path.open("wb") as file:
        archive = _Archive(file)
        archive.add("data.pkl", program)
        archive.add("byteorder", b"little")
        for name, key in keys.items():
            archive.add(f"data/{key}", stored_values(tensors[name]).reshape(-1).data)
        archive.add("version", b"3\n")
        archive.finish()


def _owner(name: str, tensors: Mapping[str, Tensor]) -> str:
    """The name that this tensor is stored under: the first of two that are tied, if both are here and have the same bits."""
    first = ALIASES.get(name, "")
    first = next((owner for owner in (PREFIX + first, first) if owner in tensors), "")
    if not first or tensors[first][1:3] != tensors[name][1:3]:  # shape, dtype
        return name
    return first if stored_values(tensors[first]).tobytes() == stored_values(tensors[name]).tobytes() else name


# --- the pickle program --------------------------------------------------------------------------------------------------


def _program(tensors: Mapping[str, Tensor], keys: Mapping[str, str]) -> bytes:
    """Protocol 2, as torch's. Unlike torch's it has no memo, which would save a few bytes only."""
    entries = [_text(name) + _tensor(tensor, keys[name]) for name, tensor in tensors.items()]
    return b"\x80\x02}(" + b"".join(entries) + b"u."


def _tensor(tensor: Tensor, key: str) -> bytes:
    """_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks); the storage is a persistent id."""
    length = math.prod(tensor.shape)
    kind = next(name for name, dtype in STORAGES.items() if dtype == tensor.dtype)
    storage = b"(" + _text("storage") + _global("torch", kind) + _text(key) + _text("cpu") + _number(length) + b"tQ"
    strides = [math.prod(tensor.shape[i + 1 :]) for i in range(len(tensor.shape))]
    hooks = _global("collections", "OrderedDict") + b")R"
    values = storage + _number(0) + _numbers(tensor.shape) + _numbers(strides) + b"\x89" + hooks
    return _global("torch._utils", "_rebuild_tensor_v2") + b"(" + values + b"tR"


def _text(text: str) -> bytes:
    raw = text.encode()
    return b"X" + len(raw).to_bytes(4, "little") + raw


def _global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _number(n: int) -> bytes:
    return b"J" + n.to_bytes(4, "little") if n < 2**31 else b"\x8a\x08" + n.to_bytes(8, "little")


def _numbers(numbers: tuple[int, ...] | list[int]) -> bytes:
    return b"(" + b"".join(map(_number, numbers)) + b"t"


# --- the archive ---------------------------------------------------------------------------------------------------------


class _Archive:
    """Members end to end, and a directory behind them."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.directory: list[bytes] = []

    def add(self, name: str, content: bytes | memoryview) -> None:
        at, raw, size = self.file.tell(), (FOLDER + name).encode(), memoryview(content).nbytes
        crc = zlib.crc32(content)
        padding = -(at + HEADER.size + len(raw) + 4) % ALIGNMENT
        extra = b"FB" + padding.to_bytes(2, "little") + b"Z" * padding  # a field that torch fills up with, too
        self.file.write(
            HEADER.pack(b"PK\3\4", NEEDS, 0, 0, 0, DATE, crc, size, size, len(raw), len(extra)) + raw + extra
        )
        self.file.write(content)
        entry = (b"PK\1\2", NEEDS, NEEDS, 0, 0, 0, DATE, crc, size, size, len(raw), 0, 0, 0, 0, 0, at)
        self.directory.append(ENTRY.pack(*entry) + raw)

    def finish(self) -> None:
        at, directory, count = self.file.tell(), b"".join(self.directory), len(self.directory)
        self.file.write(directory + END.pack(b"PK\5\6", 0, 0, count, count, len(directory), at, 0))
