"""A candidate: the tensors that somebody else's program computed, under our names.

candidate = read("run.npz", {"encoder.layer.*.ffn": "bert/layer_*/ffn/Add"})
candidate["encoder.layer.0.ffn"], candidate.stored["encoder.layer.0.ffn"]
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from albert_np.files import shown
from albert_np.golden.candidates.files import DTYPES, Found, find, unique, widened
from albert_np.golden.candidates.name_maps import read_map, rename
from albert_np.ops import Array


class Candidate(Mapping[str, Array]):
    """Tensors by name, each read when it is asked for, and not kept.

    A bfloat16 tensor comes as float32, exactly; `stored` says what it was. NaN and infinities are left for the verdict.

    Attributes:
        path: where it came from, for messages.
        kind: "npz", "safetensors", "folder of .npy", "raw with a manifest", "recording" or "arrays".
        stored: name -> the dtype as it is stored: "float32", "bfloat16" …
        shapes: name -> shape, from the header.
        notes: what a person should hear about names and shapes.
    """

    def __init__(self, path: str, kind: str, tensors: Iterable[Found], notes: Iterable[str] = ()) -> None:
        self.path, self.kind = path, kind
        self._tensors = {tensor.name: tensor for tensor in tensors}
        self.stored = {name: tensor.dtype for name, tensor in self._tensors.items()}
        self.shapes = {name: tensor.shape for name, tensor in self._tensors.items()}
        self.notes = list(notes)

    def __getitem__(self, name: str) -> Array:
        return self._tensors[name].load()

    def __contains__(self, name: object) -> bool:  # Mapping's own would read the tensor
        return name in self._tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __repr__(self) -> str:
        return f"Candidate({self.path!r}, {self.kind}, {len(self)} tensors)"

    def renamed(self, ours: Mapping[str, str], notes: Iterable[str] = ()) -> Candidate:
        """The same tensors under other names, {theirs: ours}. Raises ValueError if two become one."""
        tensors = [tensor._replace(name=ours.get(name, name)) for name, tensor in self._tensors.items()]
        unique(self.path, [tensor.name for tensor in tensors])
        return Candidate(self.path, self.kind, tensors, [*self.notes, *notes])

    def tensor(self, name: str) -> Found:
        """What its header says, and how to load it."""
        return self._tensors[name]


def read(
    path: str | Path | Mapping[str, Any], name_map: Mapping[str, str] | str | os.PathLike | None = None
) -> Candidate:
    """A candidate from .npz, .safetensors, a folder of .npy (folders inside join their names with dots), a folder with a
    manifest.json and raw .bin files, a recording of the kit, or from arrays by name.

    The manifest of raw files is {"tensors": [{"name", "file", "shape", "dtype"}, …]}, or the same by name; their bytes are
    little-endian, unless "byte_order" is "big", and the whole file, unless "offset" says where in it they begin.
    uint16 holds the bits of bfloat16. name_map: {ours: theirs}; see name_maps.py.
    Raises ValueError or OSError, in one line that names the file and the tensor; nothing is ever unpickled.
    """
    if isinstance(path, Candidate):
        candidate = path
    elif isinstance(path, Mapping):
        candidate = Candidate("the candidate", "arrays", [_in_memory(name, x) for name, x in path.items()])
    else:
        if not isinstance(path, (str, Path)) or not str(path) or "\0" in str(path):
            raise ValueError(f"a candidate is a path or a mapping of arrays; got {path!r:.80}")
        kind, found = find(Path(path))
        candidate = Candidate(str(path), kind, found)
    if candidate is not path:
        candidate.notes += _odd_shapes(candidate)
    if name_map is None:
        return candidate
    entries = read_map(name_map)
    if candidate.kind == "folder of .npy":  # whose names have dots where the paths have slashes
        entries = {ours: theirs.strip("/").replace("/", ".") for ours, theirs in entries.items()}
    return candidate.renamed(*rename(list(candidate), entries))


def _in_memory(name: Any, x: Any) -> Found:
    if not isinstance(name, str):
        raise ValueError(f"the names of tensors are text; got {name!r:.80}")
    x = np.asarray(x)
    if x.dtype.name not in DTYPES:
        raise ValueError(f"tensor {shown(name)!r} is of {shown(x.dtype, 60)}, which is none of {', '.join(DTYPES)}")
    if x.dtype.name in ("bfloat16", "uint16"):
        return Found(name, x.shape, "bfloat16", partial(widened, x.view(np.uint16)))
    return Found(name, x.shape, x.dtype.name, lambda: x)


def _odd_shapes(candidate: Candidate) -> Iterator[str]:
    for name, shape in candidate.shapes.items():
        if shape == ():
            yield f"{shown(name)} is a single number, without a shape"
        elif 0 in shape:
            yield f"{shown(name)} is empty: its shape is {shape}"
