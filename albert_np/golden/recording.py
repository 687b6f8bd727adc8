"""A recording on disk: every op's output in order, the inputs, the weights, and a manifest that says what is what.

    DIR/manifest.json              versions, config, policy, and for each tensor its op, inputs, weights, shape and SHA-256
    DIR/tensors-00001.safetensors  … in the order of the graph; or tensors.npz
    DIR/inputs.npz                 what the model was called with
    DIR/model/                     config.json and model.safetensors

The manifest is written last, so a folder without one is no recording. Tensors are written while the model runs: a writer
holds no more than SHARD_BYTES of them. They are checked against their SHA-256 as they are read.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from albert_np import inputs as checks
from albert_np.checkpoints.formats import safetensors
from albert_np.checkpoints.formats.protocol import as_tensors
from albert_np.checkpoints.names import PREFIX, WEIGHTS_NAME
from albert_np.config import AlbertConfig
from albert_np.files import atomic_path, read_json, shown, write_atomically
from albert_np.golden.graph import Step, batch_values, graph
from albert_np.ops import Array

FORMAT, VERSION = "albert_np.golden", 1
MANIFEST, INPUTS, MODEL = "manifest.json", "inputs.npz", "model"
MAX_MANIFEST_BYTES = 256 * 1024 * 1024  # a deep model with a gradient for every step has a few thousand entries
SHARD_BYTES = 256 * 1024 * 1024
GRADIENT = "gradient/"  # what the names of gradients with respect to steps and weights begin with
CALL = ("input_ids", "attention_mask", "token_type_ids", "position_ids", "head_mask", "inputs_embeds")


def sha256(x: Array) -> str:
    """Of the array's little-endian bytes in C order: dtype and shape are not part of it."""
    x = np.ascontiguousarray(x)
    return hashlib.sha256(x.astype(x.dtype.newbyteorder("<"), copy=False).tobytes()).hexdigest()


class Writer:
    """Writes tensors as they come. Use it in a `with`: if the block fails, what was written is taken away again."""

    def __init__(self, folder: str | os.PathLike, file_format: str = "safetensors") -> None:
        if file_format not in ("safetensors", "npz"):
            raise ValueError(f"a recording is written as 'safetensors' or 'npz'; got {file_format!r:.60}")
        self.folder, self.format = Path(folder), file_format
        _clear(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.entries: list[dict[str, Any]] = []
        self._shard: dict[str, Array] = {}
        self._files: list[str] = []
        self._zip = zipfile.ZipFile(self.folder / "tensors.npz", "w") if file_format == "npz" else None

    def add(self, name: str, x: Array, **about: Any) -> None:
        """One tensor, and what the manifest says about it."""
        x = np.array(x, order="C")  # a copy: the model may go on in the same buffer
        if self._zip is not None:
            file, data = "tensors.npz", io.BytesIO()
            np.lib.format.write_array(data, x, allow_pickle=False)
            self._zip.writestr(f"{name}.npy", data.getbuffer())
        else:
            if sum(y.nbytes for y in self._shard.values()) + x.nbytes > SHARD_BYTES:
                self._flush()
            self._shard[name] = x
            file = f"tensors-{len(self._files) + 1:05}.safetensors"
        entry = {
            "name": name,
            **about,
            "shape": list(x.shape),
            "dtype": x.dtype.name,
            "file": file,
            "sha256": sha256(x),
        }
        self.entries.append(entry)

    def write_inputs(self, call: Mapping[str, Array]) -> None:
        """What the model is called with."""
        data = io.BytesIO()
        np.savez(data, **{name: np.asarray(x) for name, x in call.items()})  # type: ignore[arg-type]
        write_atomically(self.folder / INPUTS, data.getvalue())

    def finish(self, about: Mapping[str, Any]) -> None:
        """Writes what is left, and the manifest."""
        self._flush()
        if self._zip is not None:
            self._zip.close()
        manifest = {"format": FORMAT, "format_version": VERSION, **about, "tensors": self.entries}
        write_atomically(self.folder / MANIFEST, (json.dumps(manifest, indent=1, ensure_ascii=False) + "\n").encode())

    def _flush(self) -> None:
        if self._shard:
            self._files.append(f"tensors-{len(self._files) + 1:05}.safetensors")
            with atomic_path(self.folder / self._files[-1]) as temporary:
                safetensors.write(temporary, as_tensors(self._shard))
            self._shard = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is not None:
            if self._zip is not None:
                self._zip.close()
            _clear(self.folder, unfinished=True)


def _clear(folder: Path, *, unfinished: bool = False) -> None:
    """Takes an older recording away. Refuses a folder that holds anything else."""
    if folder.exists() and not folder.is_dir():
        raise OSError(f"{folder} is a file; a recording is a folder")
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    if not found:
        return
    if not unfinished and not (folder / MANIFEST).is_file():
        raise OSError(f"{folder} holds {shown(found[0].name, 60)} and is no recording: choose a new folder")
    if not unfinished and _manifest(folder).get("format") != FORMAT:
        raise OSError(f"{folder} has a manifest of another kind: choose a new folder")
    (folder / MANIFEST).unlink(missing_ok=True)  # first, so that what is left is no recording
    ours = ("tensors-", "tensors.npz", INPUTS)
    for path in [*found, *((folder / MODEL).iterdir() if (folder / MODEL).is_dir() else [])]:
        if path.is_file() and (path.name.startswith(ours) or path.parent.name == MODEL):
            path.unlink()


class Recording(Mapping[str, Array]):
    """A recording that is read when asked: `recording["encoder.layer.3.ffn"]`.

    config, architecture, mask_mode: what was run. steps: the graph (golden/graph.py). batch: what its first steps read.
    weights: float64, named as in a checkpoint without "albert.". call: the arrays that the model was called with.
    manifest: all that the file says.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        """Raises OSError for a folder that is no recording, and ValueError for one that breaks its own rules."""
        self.folder = Path(folder)
        if not (self.folder / MANIFEST).is_file():
            raise OSError(f"{self.folder} is no recording: it has no {MANIFEST} (albert-np golden record writes one)")
        self.manifest = _manifest(self.folder)
        if self.manifest.get("format") != FORMAT:
            raise ValueError(f"{self.folder / MANIFEST} is not of a recording: its format is not {FORMAT!r}")
        if self.manifest.get("format_version") != VERSION:
            raise ValueError(
                f"{self.folder} has format version {self.manifest.get('format_version')!r:.40}; this reads {VERSION}"
            )
        try:
            self.entries: dict[str, dict[str, Any]] = {entry["name"]: entry for entry in self.manifest["tensors"]}
            self.config = AlbertConfig.from_dict(self.manifest["config"])
            self.architecture: str = self.manifest["architecture"]
            self.mask_mode: Any = self.manifest["mask_mode"]
            self.backend, self.dtype = self.manifest["backend"], self.manifest["dtype"]
            self.pooler: bool = self.manifest["pooler"]
        except (KeyError, TypeError) as error:
            raise ValueError(f"{self.folder / MANIFEST} lacks {error}, which every recording has") from error
        if self.mask_mode not in ("uniform", "zeros", "nan"):
            raise ValueError(
                f"{self.folder / MANIFEST} has no known mask_mode; got {self.mask_mode!r:.40}: record again"
            )
        if not all(isinstance(entry.get("shape"), list) and "file" in entry for entry in self.entries.values()):
            raise ValueError(f"{self.folder / MANIFEST} must have a shape and a file for every tensor: record again")

    @classmethod
    def open(cls, folder: str | os.PathLike) -> Recording:
        """The recording in a folder; the same as Recording(folder)."""
        return cls(folder)

    @functools.cached_property
    def call(self) -> dict[str, Array]:
        """The arrays that the model was called with, labels included."""
        try:
            with np.load(self.folder / INPUTS, allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
        except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
            raise OSError(
                f"{self.folder / INPUTS} cannot be read as the inputs of a recording: record again"
            ) from error

    @functools.cached_property
    def batch(self) -> dict[str, Array]:
        """What the first steps of the graph read."""
        return batch_of(self.config, self.architecture, self.call)

    @functools.cached_property
    def steps(self) -> list[Step]:
        """The graph of what was run."""
        call = self.call
        steps = graph(
            self.config,
            self.architecture,
            mask_mode=self.mask_mode,
            embeds="inputs_embeds" in call,
            head_mask="head_mask" in call,
            pooler=self.pooler,
        )
        lacking = next((one.name for one in steps if one.name not in self.entries), None)
        if lacking is not None:
            raise ValueError(f"{self.folder / MANIFEST} lacks {lacking}, which its model computes: record again")
        return steps

    @functools.cached_property
    def weights(self) -> dict[str, Array]:
        """The weights in float64, without "albert." before their names."""
        tensors = safetensors.read(self.folder / MODEL / WEIGHTS_NAME)
        return {one.name.removeprefix(PREFIX): one.load().astype(np.float64) for one in tensors}

    def model(self) -> Any:
        """The model that was recorded, on the reference in float64."""
        from albert_np import model

        made = getattr(model, self.architecture)
        options = {} if self.pooler or self.architecture != "AlbertModel" else {"add_pooling_layer": False}
        return made.from_pretrained(self.folder / MODEL, backend="numpy", dtype="float64", **options)

    @functools.cached_property
    def _loaders(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for file in {str(entry["file"]) for entry in self.entries.values()}:
            if Path(file).name != file:
                raise ValueError(f"{self.folder / MANIFEST} names the file {shown(file)}, outside its folder")
            if file.endswith(".npz"):
                opened = np.load(self.folder / file, allow_pickle=False)
                found |= {name: functools.partial(opened.__getitem__, name) for name in opened.files}
            else:
                found |= {one.name: one.load for one in safetensors.read(self.folder / file)}
        return found

    def __getitem__(self, name: str) -> Array:
        entry = self.entries[name]
        if name not in self._loaders:
            raise ValueError(f"{self.folder} lists {shown(name)} and does not hold it: record it again")
        x: Array = self._loaders[name]()
        if sha256(x) != entry["sha256"]:
            raise ValueError(
                f"{self.folder}: {shown(name)} is not what was recorded (its SHA-256 differs): record again"
            )
        return x

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


def _manifest(folder: Path) -> dict[str, Any]:
    manifest = read_json(folder / MANIFEST, MAX_MANIFEST_BYTES)
    if not isinstance(manifest, dict):
        raise ValueError(f"{folder / MANIFEST} must hold an object; it holds a {type(manifest).__name__}")
    return manifest


def batch_of(config: AlbertConfig, architecture: str, call: Mapping[str, Array]) -> dict[str, Array]:
    """What the first steps of the graph read, from the arrays of a call. Raises ValueError for what the model refuses."""
    given: dict[str, Any] = {name: call.get(name) for name in CALL}
    head_mask = given.pop("head_mask")
    if architecture == "AlbertForMultipleChoice":  # each choice is a sequence of its own
        given = {name: None if x is None else np.reshape(x, (-1, *np.shape(x)[2:])) for name, x in given.items()}
    float64 = np.dtype(np.float64)
    batch = checks.prepare(config, float64, **given, head_mask=head_mask, head_mask_mode="shared")
    return batch_values(batch)
