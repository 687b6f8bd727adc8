"""Saving checkpoints: a folder that transformers reads, with the weights in one file, or in several and an index."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from albert_np.checkpoints.names import INDEX_NAME, WEIGHTS_NAME
from albert_np.config import AlbertConfig
from albert_np.files import atomic_path, folder_to_write, shown, write_atomically
from albert_np.ops import Array

UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
SHARD_NAME = "model-{:05}-of-{:05}.safetensors"
SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
# the keywords that transformers' save_pretrained has beside those of ours, with the values that change nothing here
WITHOUT_EFFECT: dict[str, tuple[Any, ...]] = {
    "push_to_hub": (False, None),
    "safe_serialization": (True, None),
    "variant": (None,),
    "distributed_checkpoint": (False, None),
}
IGNORED = ("save_function", "token", "use_auth_token", "save_peft_format", "save_original_format")


def check_options(options: Mapping[str, Any]) -> None:
    """Refuses a keyword of save_pretrained that cannot be honoured. ValueError by name."""
    for name, value in options.items():
        if name in IGNORED:
            continue
        if name not in WITHOUT_EFFECT:
            raise ValueError(f"save_pretrained knows no {shown(name)}: it writes a folder and sends nothing to a hub")
        if not any(value is allowed for allowed in WITHOUT_EFFECT[name]):
            allowed = " or ".join(map(repr, WITHOUT_EFFECT[name]))
            raise ValueError(
                f"{name} can only be {allowed}: save_pretrained writes model.safetensors or its shards into a folder; "
                f"got {shown(repr(value), 80)}"
            )


def shard_bytes(size: Any) -> int:
    """How many bytes of tensors a file may hold: an int, or text such as "5GB" or "200KB" (of 1000 bytes, as transformers)."""
    if isinstance(size, str):
        number, unit = size.strip()[:-2].strip(), size.strip()[-2:].upper()
        try:
            size = int(float(number) * UNITS[unit])
        except (KeyError, ValueError, OverflowError):
            raise ValueError(
                f"max_shard_size must be bytes, or a number and KB, MB, GB or TB; got {shown(repr(size), 60)}"
            ) from None
    if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 1:
        raise ValueError(
            f"max_shard_size must be at least one byte, such as 10**9 or '5GB'; got {shown(repr(size), 60)}"
        )
    return int(size)


def save(
    folder: str | os.PathLike,
    config: AlbertConfig | None,
    tensors: Mapping[str, Array],
    max_shard_size: int | str = "5GB",
) -> None:
    """Writes config.json and the weights, as transformers reads them, in files of at most max_shard_size bytes of tensors.

    A tensor that is larger has a file of its own. Each file appears whole or not at all, and the weights of an earlier save
    are not left beside the new ones. config: None writes no config.json and removes nothing.
    """
    limit = shard_bytes(max_shard_size)
    folder = folder_to_write(folder)
    shards = _shards({name: np.ascontiguousarray(x) for name, x in tensors.items()}, limit)
    with contextlib.ExitStack() as files:  # all take their places together, after the last is written
        for name, arrays in shards.items():
            _write(files.enter_context(atomic_path(folder / name)), arrays, folder / name)
    if len(shards) > 1:
        index = {
            "metadata": {
                "total_parameters": sum(x.size for x in tensors.values()),
                "total_size": sum(x.nbytes for x in tensors.values()),
            },
            "weight_map": {tensor: name for name, arrays in shards.items() for tensor in arrays},
        }
        write_atomically(folder / INDEX_NAME, (json.dumps(index, indent=2, sort_keys=True) + "\n").encode())
    if config is not None:
        _remove_others(folder, set(shards))
        config.save_pretrained(folder)


def _shards(arrays: dict[str, Array], limit: int) -> dict[str, dict[str, Array]]:  # file name -> its tensors
    """Tensors in their order, as many in a file as fit."""
    groups: list[dict[str, Array]] = []
    room = 0
    for name, x in arrays.items():
        if not groups or x.nbytes > room:
            groups.append({})
            room = limit
        groups[-1][name] = x
        room -= x.nbytes
    if len(groups) < 2:
        return {WEIGHTS_NAME: arrays}
    return {SHARD_NAME.format(i + 1, len(groups)): group for i, group in enumerate(groups)}


def _write(temporary: Path, arrays: dict[str, Array], path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    try:
        save_file(arrays, temporary, metadata={"format": "pt"})
    except SafetensorError as error:  # what the library makes of a full disk
        raise OSError(f"cannot write {path}: {shown(error, 300)}") from error


def _remove_others(folder: Path, written: set[str]) -> None:
    """Removes the weights of an earlier save: a reader would take model.safetensors first, whatever the index says."""
    others = [WEIGHTS_NAME, *(path.name for path in folder.iterdir() if SHARD.fullmatch(path.name))]
    if len(written) == 1:
        others.append(INDEX_NAME)
    for name in others:
        if name not in written:
            (folder / name).unlink(missing_ok=True)
