"""A pack for NumPy (npz), and as raw little-endian bytes for everything else."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from albert_np.golden.packs.pack import Pack, manifest, stored
from albert_np.ops import Array


def arrays(pack: Pack) -> dict[str, Array]:
    """By the names of arguments, as they are stored, with expected and budget in float64."""
    given = {one.name: stored(one.value, pack.dtype) for one in pack.arguments}
    return given | {"expected": stored(pack.expected, "float64"), "budget": stored(pack.budget, "float64")}


def npz(pack: Pack) -> Iterator[tuple[str, bytes]]:
    """The files of the format: name and contents."""
    yield "op.npz", as_npz(arrays(pack))
    yield "README.json", as_json(manifest(pack))


def raw(pack: Pack) -> Iterator[tuple[str, bytes]]:
    """The files of the format: name and contents."""
    said = manifest(pack)
    for entry in said["tensors"]:
        entry["file"] = f"{entry['argument']}.bin"
    for name, x in arrays(pack).items():
        yield f"{name}.bin", x.tobytes()
    yield "manifest.json", as_json(said)


def as_npz(named: dict[str, Array]) -> bytes:
    """An .npz with these arrays."""
    data = io.BytesIO()
    np.savez(data, **named)  # type: ignore[arg-type]
    return data.getvalue()


def as_npy(x: Array) -> bytes:
    """A .npy."""
    data = io.BytesIO()
    np.save(data, x)
    return data.getvalue()


def as_json(value: Any) -> bytes:
    """A file of JSON."""
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
