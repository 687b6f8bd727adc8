"""What a format of weight files is: the names of its files, a reader, and a map from its tensors' names to ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from albert_np.ops import Array


class Tensor(NamedTuple):
    """One stored tensor: what the file says about it, and how to get its values."""

    name: str
    shape: tuple[int, ...]
    dtype: str  # in safetensors' words: "F32", "BF16", "I64" …
    load: Callable[[], Array]  # float32 for bfloat16, else the stored dtype


@dataclass(frozen=True)
class Format:
    """One format.

    read gives the tensors of a file. It reads only the header until `load` is called, and raises a ValueError that names
    the rule that a file breaks. hub_name maps a stored name to Hugging Face's, with or without prefixes, which spellings.py
    understands; a name that it does not know stays as it is, and is reported as unexpected.
    """

    file: str  # the name of the file in a model's folder
    index: str  # the name of the JSON file that says in which of several files a tensor is
    read: Callable[[Path], Iterator[Tensor]]
    hub_name: Callable[[str], str]
