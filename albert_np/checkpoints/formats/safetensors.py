"""The safetensors format: 8 bytes of header length, a JSON header, then the bytes of every tensor, end to end.

The `safetensors` library has no bfloat16 for NumPy, and of two equal keys it takes the last. So the header is read and
written here, and every rule is checked before one byte of a tensor is read or allocated. The tests compare reader and writer
with the library.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from albert_np.checkpoints.formats import flax_names, tensorflow_names
from albert_np.checkpoints.formats.protocol import Format, Tensor, stored_bytes, stored_values
from albert_np.checkpoints.formats.values import DTYPES, Contiguous
from albert_np.checkpoints.names import INDEX_NAME, WEIGHTS_NAME
from albert_np.files import explain_impostor, parse_json, shown

# The library allows 100 MB; the largest ALBERT has a few thousand tensors, some 150 bytes each.
MAX_HEADER_BYTES = 16 * 1024 * 1024

# what __metadata__'s "format" says -> how tensors named and oriented by that framework are to be understood
FRAMEWORKS: dict[str, Callable[[Tensor], Tensor]] = {
    "tf": tensorflow_names.understood,
    "flax": flax_names.understood,
}


def read(path: Path) -> Iterator[Tensor]:
    """The tensors of one file, in the order they are stored. Raises a ValueError that names the rule the file breaks.

    transformers wrote TensorFlow's and Flax's names, too, into files of this format: its metadata says so.
    """
    header, start, length = _header(path)
    said = _metadata(header, path)
    entries = sorted(
        (_entry(path, name, value, length) for name, value in header.items()), key=lambda entry: entry[1:3]
    )
    expected = 0
    for name, begin, end, _, _ in entries:
        if begin != expected:
            what = "overlaps the one before it" if begin < expected else "leaves a gap before it"
            raise ValueError(
                f"{path}: tensor {shown(name)!r} begins at byte {begin:,} where {expected:,} was due: it {what}"
            )
        expected = end
    if expected != length:
        raise ValueError(f"{path}: the tensors end at byte {expected:,} and the file's data at {length:,}")
    understood = FRAMEWORKS.get(said.get("format", "pt"), _as_it_is)
    for name, begin, _, dtype, shape in entries:
        values = Contiguous(path, start + begin, np.dtype(DTYPES[dtype]), shape, bfloat16=dtype == "BF16")
        yield understood(Tensor(name, shape, dtype, values))


def metadata(path: Path) -> dict[str, str]:
    """What a file says beside its tensors. Raises ValueError as `read`."""
    return _metadata(_header(path)[0], path)


def _metadata(header: dict[str, Any], path: Path) -> dict[str, str]:
    """Takes it out of the header."""
    said = header.pop("__metadata__", {})
    if not isinstance(said, dict) or not all(isinstance(value, str) for value in said.values()):
        raise ValueError(f"{path}: __metadata__ must map names to text")
    return said


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor


def hub_name(name: str) -> str:
    """Hugging Face's name for one that an index uses. TensorFlow's index has the model's name before those of its files."""
    return tensorflow_names.hub_name(name) or name


def write(
    path: Path, tensors: Mapping[str, Tensor], architecture: str = "", said: Mapping[str, str] | None = None
) -> None:
    """Writes the bytes that the `safetensors` library writes, and bfloat16 too. The names are the same for every class.

    said: the metadata; without it, that the names are PyTorch's.

    The widest dtypes come first, so that every tensor is aligned; the header ends in spaces, at a multiple of 8 bytes.
    """
    width = {name: np.dtype(DTYPES[tensor.dtype]).itemsize for name, tensor in tensors.items()}
    header: dict[str, Any] = {"__metadata__": dict(said or {"format": "pt"})}
    order = sorted(tensors, key=lambda name: (-width[name], name))
    end = 0
    for name in order:
        begin, end = end, end + stored_bytes(tensors[name])
        header[name] = {
            "dtype": tensors[name].dtype,
            "shape": list(tensors[name].shape),
            "data_offsets": [begin, end],
        }
    head = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    head += b" " * (-len(head) % 8)
    with path.open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        for name in order:
            file.write(stored_values(tensors[name]).data)


def _header(path: Path) -> tuple[dict[str, Any], int, int]:  # -> header, first byte of data, bytes of data
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(512)
        explain_impostor(str(path), head)
        if size < 8:
            raise ValueError(f"{path} is {size} bytes; a safetensors file begins with 8 bytes of header length")
        n = int.from_bytes(head[:8], "little")
        if head[8:9] != b"{":
            raise ValueError(f"{path} is not a safetensors file: no JSON header after its first 8 bytes")
        if n > size - 8:
            raise ValueError(
                f"{path} is cut off or damaged: its header should be {n:,} bytes, the file has {size - 8:,}"
            )
        if n > MAX_HEADER_BYTES:
            raise ValueError(f"{path}: a header of {n:,} bytes; at most {MAX_HEADER_BYTES:,} are read")
        file.seek(8)
        header = parse_json(file.read(n), f"the header of {path}")
    if not isinstance(header, dict):
        raise ValueError(f"the header of {path} must be one JSON object")
    return header, 8 + n, size - 8 - n


def _entry(path: Path, name: str, value: Any, length: int) -> tuple[str, int, int, str, tuple[int, ...]]:
    what = f"{path}: tensor {shown(name)!r}"
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{what} must have dtype, shape and data_offsets, and nothing else")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"{what} has the dtype {shown(dtype, 40)!r}, which is none of {', '.join(DTYPES)}")
    # a size of 0 makes any product 0: without it too, the sizes must fit into some file
    if not _sizes(shape) or len(shape) > 8 or math.prod(n or 1 for n in shape) >= 2**63:
        raise ValueError(f"{what} must have a shape of at most 8 whole numbers, 0 or more; got {shown(shape, 80)}")
    if not _sizes(offsets) or len(offsets) != 2 or not offsets[0] <= offsets[1] <= length:
        raise ValueError(
            f"{what} must have two data_offsets, in order and inside the {length:,} bytes of data; got {shown(offsets, 80)}"
        )
    needed = math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize
    if needed != offsets[1] - offsets[0]:
        raise ValueError(
            f"{what}: {dtype} of shape {shape} is {needed:,} bytes, its offsets span {offsets[1] - offsets[0]:,}"
        )
    return name, offsets[0], offsets[1], dtype, tuple(shape)


def _sizes(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, int) and not isinstance(v, bool) and v >= 0 for v in value)


FORMAT = Format(
    "safetensors", WEIGHTS_NAME, INDEX_NAME, read, hub_name, write, shard="model-{:05}-of-{:05}.safetensors"
)
