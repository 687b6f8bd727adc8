"""Writes a pack: everything is made first, and then each file appears whole, the manifest last."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from albert_np.files import read_json, shown, write_atomically
from albert_np.golden.packs.allowed import allowed
from albert_np.golden.packs.arrays import as_json, npz, raw
from albert_np.golden.packs.boundaries import resolve
from albert_np.golden.packs.c_header import c_header
from albert_np.golden.packs.onnx_model import onnx_folder
from albert_np.golden.packs.pack import DTYPES, FORMAT, Pack, arguments, evaluated, manifest
from albert_np.golden.packs.pytest_file import pytest_file
from albert_np.golden.packs.readme import readme
from albert_np.golden.recording import Recording

FORMATS: dict[str, Callable[[Pack], Iterator[tuple[str, bytes]]]] = {
    "npz": npz,
    "raw": raw,
    "onnx": onnx_folder,
    "c": c_header,
    "pytest": pytest_file,
}
MANIFEST = "pack.json"
MAX_MANIFEST_BYTES = 1024 * 1024


def extract(
    recording: Recording | str | os.PathLike,
    op: str,
    out: str | os.PathLike,
    formats: Iterable[str] = tuple(FORMATS),
    *,
    dtype: str = "float32",
) -> list[Path]:
    """Writes one op of a recording as a pack, and returns its files.

    recording: a Recording, or its folder. op: a name of the trace or its end, and the application behind a colon:
    "encoder.layer.3.attention.query", "attention.query:3", "gelu:7", "pooler"; or ops that are often fused: "attention:3",
    "ffn+activation:3", "bias+gelu:3", "attention.residual+LayerNorm:3", "residual+LayerNorm:3".
    out: a folder, new or of an older pack, which is replaced. It gets README.md, pack.json, and a folder for each of formats:
    "npz", "raw", "onnx", "c", "pytest".
    dtype: of the inputs and weights, which are rounded to it: "float32", "float16", "bfloat16" or "float64". The expected
    output is what float64 makes of the rounded values; each element has its budget (golden/budgets/table.py).
    Raises ValueError for a name that means nothing or several ops, for values that the dtype cannot hold, and where a
    format's package is missing; OSError for a folder that is no recording, or cannot be written to.
    """
    formats = list(dict.fromkeys([formats] if isinstance(formats, str) else formats))
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise ValueError(f"formats are {', '.join(FORMATS)}; got {shown(repr(unknown[0] if unknown else formats), 60)}")
    pack = make(recording if isinstance(recording, Recording) else Recording(recording), op, dtype)
    files = {f"{name}/{path}": data for name in formats for path, data in FORMATS[name](pack)}
    files["README.md"] = readme(pack, formats)
    return _write(Path(out), files, pack, formats)


def make(recording: Recording, op: str, dtype: str = "float32") -> Pack:
    """The arrays of a pack, in memory. Raises ValueError as extract does."""
    if dtype not in DTYPES:
        raise ValueError(f"dtype is one of {', '.join(DTYPES)}; got {shown(repr(dtype), 60)}")
    boundary = resolve(op, recording.steps, recording.config.hidden_act)
    given = arguments(recording, boundary, dtype)
    values = evaluated(boundary, given, dtype)
    about = {key: recording.manifest[key] for key in ("versions", "architecture", "backend", "dtype", "mask_mode")}
    return Pack(boundary, dtype, given, values, allowed(boundary.steps, given, values, dtype), about)


def _write(out: Path, files: dict[str, bytes], pack: Pack, formats: Sequence[str]) -> list[Path]:
    _clear(out)
    for name, data in files.items():
        write_atomically(out / name, data)
    said = manifest(pack) | {"formats": list(formats), "files": sorted(files)}
    write_atomically(out / MANIFEST, as_json(said))
    return [out / name for name in (*files, MANIFEST)]


def _clear(out: Path) -> None:
    """Takes an older pack's files away, its manifest first, and nothing else. Refuses a folder that is no pack."""
    if out.exists() and not out.is_dir():
        raise OSError(f"{out} is a file; a pack is a folder")
    found = sorted(out.iterdir()) if out.is_dir() else []
    if not found:
        return
    said = read_json(out / MANIFEST, MAX_MANIFEST_BYTES) if (out / MANIFEST).is_file() else None
    if not isinstance(said, dict) or said.get("format") != FORMAT:
        raise OSError(f"{out} holds {shown(found[0].name, 60)} and is no pack: choose a new folder")
    (out / MANIFEST).unlink()
    files = said.get("files")
    for name in files if isinstance(files, list) else []:
        path = out / str(name)
        if path.resolve().is_relative_to(out.resolve()) and path.is_file():
            path.unlink()
