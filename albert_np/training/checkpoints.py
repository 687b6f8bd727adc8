"""Training checkpoints: ordinary Hugging Face folders, which also hold what is needed to continue training.

    runs/mine/checkpoint-500/   config.json, model.safetensors, the tokenizer's files: load it, or hand it to transformers
                                optimizer.safetensors   the optimizer's arrays, under the names it gave them
                                trainer_state.json      step, place in the data, seed, versions, sizes of both files above

A checkpoint is written into a hidden folder beside its place, flushed to the disk, and then renamed, which a file system does
completely or not at all. So if the process is killed at any moment, or the power fails, the earlier checkpoints stay, and
perhaps a hidden folder, which the next save removes. Deleting works in the same way: a folder is first renamed, then removed.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import secrets
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from albert_np.checkpoints.formats import safetensors as safetensors_format
from albert_np.checkpoints.formats.protocol import as_tensors
from albert_np.checkpoints.names import WEIGHTS_NAME
from albert_np.files import atomic_path, listed, parse_json, read_json, shown
from albert_np.ops import Array
from albert_np.version import __version__

OPTIMIZER_NAME = "optimizer.safetensors"
TRAINER_NAME = "trainer_state.json"
FORMAT = 1
MAX_TRAINER_BYTES = 16 * 1024 * 1024
PLACE = re.compile(r"checkpoint-\d+")


@dataclass(frozen=True)
class Checkpoint:
    """One complete checkpoint: where it is, and its trainer_state.json."""

    path: Path
    state: dict[str, Any]

    @property
    def step(self) -> int:
        return self.state["step"]


def save_checkpoint(
    folder: str | os.PathLike,
    step: int,
    model: Any,
    optimizer_state: Mapping[str, Array],
    trainer_state: Mapping[str, Any],
    *,
    tokenizer: Any = None,
    keep: int | None = None,
    protected: Collection[int] = (),
) -> Path:
    """Writes folder/checkpoint-<step>, whole or not at all, and returns its path.

    model, tokenizer: anything with save_pretrained(folder). trainer_state: whatever JSON can hold.
    keep: delete older checkpoints afterwards, so that this many remain. Those of the steps in `protected` stay too, and do not
    count. Raises OSError (the disk, or this step is already there) or ValueError (JSON cannot hold trainer_state).
    """
    folder = Path(folder)
    place = folder / f"checkpoint-{step}"
    if keep is not None and keep < 1:
        raise ValueError(f"keep must be 1 or more; got {keep}")
    if read_checkpoint(place) is not None:
        raise OSError(f"{place} is there already")
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(".checkpoint-*.tmp"):  # by a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    temporary = folder / f".{place.name}.{secrets.token_hex(6)}.tmp"
    try:
        temporary.mkdir()
        model.save_pretrained(temporary)
        if tokenizer is not None:
            tokenizer.save_pretrained(temporary)
        _save_arrays(temporary / OPTIMIZER_NAME, optimizer_state)
        state = {
            **trainer_state,
            "format": FORMAT,
            "step": int(step),
            "versions": {"albert_np": __version__, "numpy": np.__version__, "python": platform.python_version()},
            "files": {name: (temporary / name).stat().st_size for name in (WEIGHTS_NAME, OPTIMIZER_NAME)},
        }
        (temporary / TRAINER_NAME).write_bytes(_json(state))
        for path in [*temporary.iterdir(), temporary]:
            _to_disk(path)  # or a power cut could leave the new name on empty files
        if (
            place.exists()
        ):  # an incomplete folder, perhaps half a copy, which this code did not write: keep it, its owner may want it
            place.rename(f"{place}.incomplete-{secrets.token_hex(3)}")
        temporary.rename(place)
        _to_disk(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    if keep is not None:
        _delete_old(folder, keep, protected)
    return place


def checkpoints(folder: str | os.PathLike) -> list[Checkpoint]:
    """The complete checkpoints in a folder, in the order of their steps."""
    found = []
    if Path(folder).is_dir():
        found = [read_checkpoint(path) for path in Path(folder).iterdir() if PLACE.fullmatch(path.name)]
    return sorted((one for one in found if one is not None), key=lambda one: one.step)


def latest_checkpoint(folder: str | os.PathLike) -> Checkpoint | None:
    """The complete checkpoint with the highest step, or None."""
    return next(reversed(checkpoints(folder)), None)


def read_checkpoint(path: str | os.PathLike) -> Checkpoint | None:
    """The checkpoint at a path; None if there is none, or an incomplete one, such as a copy that was interrupted.

    Raises ValueError for a checkpoint of a later format.
    """
    path = Path(path)
    try:
        state = read_json(path / TRAINER_NAME, MAX_TRAINER_BYTES)
        sizes = {name: (path / name).stat().st_size for name in (WEIGHTS_NAME, OPTIMIZER_NAME)}
    except (OSError, ValueError):
        return None
    if not isinstance(state, dict) or not isinstance(state.get("step"), int) or state.get("files") != sizes:
        return None
    if state.get("format") != FORMAT:
        raise ValueError(f"{path} is a checkpoint of format {shown(state.get('format'))}; this version reads {FORMAT}")
    return Checkpoint(path, state)


def restore(checkpoint: Checkpoint, parameters: Mapping[str, Array], optimizer_state: Mapping[str, Array]) -> None:
    """Copies the stored values into a model's parameters (parameters_to_change()) and an optimizer's state.

    Raises ValueError, before anything is copied, if names, shapes or dtypes differ; and OSError.
    """
    model = _read_arrays(checkpoint.path / WEIGHTS_NAME, parameters)
    optimizer = _read_arrays(checkpoint.path / OPTIMIZER_NAME, optimizer_state)
    for into, found in ((parameters, model), (optimizer_state, optimizer)):
        for name, array in into.items():
            array[...] = found[name]


def _json(state: dict[str, Any]) -> bytes:
    """The JSON that read_checkpoint will read. What it could not read raises ValueError now, not when it is needed."""
    try:
        data = json.dumps(state, indent=2, allow_nan=False).encode() + b"\n"
    except (TypeError, ValueError) as error:
        raise ValueError(f"the state of a training must be JSON, and its numbers finite: {error}") from error
    if len(data) > MAX_TRAINER_BYTES:
        raise ValueError(
            f"the state of a training is {len(data):,} bytes; at most {MAX_TRAINER_BYTES:,} are read again"
        )
    parse_json(data, TRAINER_NAME)
    return data


def _read_arrays(path: Path, expected: Mapping[str, Array]) -> dict[str, Array]:
    tensors = {tensor.name: tensor for tensor in safetensors_format.read(path)}
    if set(tensors) != set(expected):
        raise ValueError(
            f"{path} was saved by another model or optimizer: {listed(sorted(set(tensors) ^ set(expected)))} "
            "are in one and not in the other"
        )
    arrays = {name: tensor.load() for name, tensor in tensors.items()}
    for name, x in arrays.items():
        wanted = expected[name]
        if (x.shape, x.dtype) != (wanted.shape, wanted.dtype):
            raise ValueError(
                f"{path}: {name} is {x.dtype} {x.shape}, and this training's is {wanted.dtype} {wanted.shape}"
            )
    return arrays


def _save_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    with atomic_path(path) as temporary:
        safetensors_format.write(temporary, as_tensors({name: np.asarray(x) for name, x in arrays.items()}))


def _to_disk(path: Path) -> None:
    """Waits until the content of a file, or the list of names in a folder, is on the disk."""
    if os.name == "nt" and path.is_dir():  # which Windows cannot do, nor needs
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _delete_old(folder: Path, keep: int, protected: Collection[int]) -> None:
    old = [one for one in checkpoints(folder) if one.step not in protected][:-keep]
    for one in old:
        aside = folder / f".{one.path.name}.{secrets.token_hex(6)}.tmp"
        with contextlib.suppress(OSError):  # somebody looks into it, or has removed it: the next save tries again
            one.path.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)
