"""What a format of weight files is: the names of its files, and a reader that gives tensors in Hugging Face's words."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from albert_np.checkpoints.formats.values import DTYPES, Contiguous, transposed
from albert_np.ops import Array


class Tensor(NamedTuple):
    """One stored tensor: what the file says about it, and how to get its values.

    shape and values are oriented as Hugging Face's are, also where the file has the transpose.
    """

    name: str  # as it is stored: messages name it
    shape: tuple[int, ...]
    dtype: str  # in safetensors' words: "F32", "BF16", "I64" …
    load: Callable[[], Array]  # float32 for bfloat16, else the stored dtype
    # Hugging Face's name, with or without prefixes, which spellings.py understands; "": `name` is that
    hub_name: str = ""

    @property
    def known_as(self) -> str:
        """Hugging Face's name; one that the format does not know stays as it is, and is reported as unexpected."""
        return self.hub_name or self.name

    def under(self, hub_name: str, *, transpose: bool = False) -> Tensor:
        """The same tensor under Hugging Face's name and, if the file has the transpose of a matrix, in its orientation."""
        if not transpose or len(self.shape) < 2:  # what is no matrix has a wrong shape in any orientation
            return self._replace(hub_name=hub_name)
        load = self.load
        if isinstance(load, Contiguous) and len(self.shape) == 2:
            return self._replace(hub_name=hub_name, shape=self.shape[::-1], load=load.transposed)
        return self._replace(hub_name=hub_name, shape=self.shape[::-1], load=lambda: transposed(load()))


def as_tensors(arrays: Mapping[str, Array], dtype: str = "") -> dict[str, Tensor]:
    """Arrays by Hugging Face's names, as a writer takes them. dtype: safetensors' word for it, where NumPy has none."""

    def tensor(name: str, x: Array) -> Tensor:
        kind = {"f": "F", "i": "I", "u": "U", "b": "BOOL"}[x.dtype.kind]
        return Tensor(name, x.shape, dtype or f"{kind}{8 * x.itemsize if kind != 'BOOL' else ''}", lambda: x)

    return {name: tensor(name, x) for name, x in arrays.items()}


def stored_values(tensor: Tensor) -> Array:
    """The values as a file stores them, in C order and little-endian: a bfloat16 is the upper half of a float32, as uint16."""
    x = np.asarray(tensor.load(), order="C")
    if tensor.dtype == "BF16" and x.dtype != np.uint16:
        return (x.astype(np.float32, copy=False).view(np.uint32) >> 16).astype("<u2")
    return x.astype(x.dtype.newbyteorder("<"), copy=False)


def stored_bytes(tensor: Tensor) -> int:
    """How many bytes the values of a tensor take in a file."""
    return math.prod(tensor.shape) * np.dtype(DTYPES[tensor.dtype]).itemsize


@dataclass(frozen=True)
class Format:
    """One format.

    read gives the tensors of a file. It reads only what says where they are until `load` is called, and raises a ValueError
    that names the rule that a file breaks, or an OSError.
    write, if there is one, makes a file of tensors under Hugging Face's names, oriented as Hugging Face's, for the class of
    this name (AlbertForMaskedLM, say). It writes bit for bit the values that it is given, in their dtype, and raises a
    ValueError for a dtype that the format does not have, or an OSError. The caller sees to it that no file is half written.
    """

    name: str  # what users call it
    file: str  # the name of the file in a model's folder; "" if only `find` knows it
    # the name of the JSON file that says in which of several files a tensor is; "" if there is no such thing
    index: str
    read: Callable[[Path], Iterator[Tensor]]
    # a name that an index uses -> Hugging Face's, as Tensor.known_as has it
    hub_name: Callable[[str], str] = str
    write: Callable[[Path, Mapping[str, Tensor], str], None] | None = None
    shard: str = ""  # the name of one file of several, with two places for numbers; "" if `write` makes only one
    # for files without a fixed name: looks into a folder of this machine, where `file` is not. ValueError if it cannot choose
    find: Callable[[Path], Path | None] | None = None
    # Hugging Face's name -> the name that an index uses, where `write` makes several files. ValueError if there is none
    index_name: Callable[[str], str] = str
