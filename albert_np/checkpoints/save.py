"""Saving checkpoints: a folder that transformers reads, with the weights in one file, or in several and an index."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from albert_np.checkpoints.formats import FORMATS, PYTORCH, bin, in_order, safetensors
from albert_np.checkpoints.formats.protocol import Format, Tensor, stored_bytes
from albert_np.checkpoints.names import to_store, with_aliases
from albert_np.checkpoints.stored import shards_of
from albert_np.config import AlbertConfig
from albert_np.files import atomic_path, folder_to_write, shown, write_atomically

UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
# the keywords that transformers' save_pretrained has beside those of ours, with the values that can be honoured
ALLOWED: dict[str, tuple[Any, ...]] = {
    "push_to_hub": (False, None),
    "safe_serialization": (True, False, None),
    "variant": (None,),
    "distributed_checkpoint": (False, None),
}
IGNORED = ("save_function", "token", "use_auth_token", "save_peft_format", "save_original_format")


def check_options(options: Mapping[str, Any]) -> None:
    """Refuses a keyword of save_pretrained that cannot be honoured. ValueError by name."""
    for name, value in options.items():
        if name in IGNORED:
            continue
        if name not in ALLOWED:
            raise ValueError(f"save_pretrained knows no {shown(name)}: it writes a folder and sends nothing to a hub")
        if not any(value is allowed for allowed in ALLOWED[name]):
            allowed = " or ".join(map(repr, ALLOWED[name]))
            raise ValueError(
                f"{name} can only be {allowed}: save_pretrained writes weights and config.json into a folder; "
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
    tensors: Mapping[str, Tensor],
    max_shard_size: int | str = "5GB",
    kind: Format = safetensors.FORMAT,
    architecture: str = "",
    own: str = "",
    said: Mapping[str, str] | None = None,
) -> None:
    """Writes config.json and the weights, as transformers reads them, in files of at most max_shard_size bytes of tensors.

    A tensor that is larger has a file of its own. Each file appears whole or not at all. The weights of an earlier save are not
    left beside the new ones, in this format and in those that readers look for before it.
    config: None writes no config.json and removes nothing. said: what the metadata of a safetensors file says instead of
    that its names are PyTorch's.
    tensors: by Hugging Face's names for the class, each once: second names are added where files of the format have them.
    own: the format that the class of this model looks for before all others.
    kind: a format that has `write`. Raises ValueError if it makes one file only, and the tensors are more than that may hold.
    """
    assert kind.write is not None
    limit = shard_bytes(max_shard_size)
    folder = folder_to_write(folder)
    if kind.name in PYTORCH:
        tensors = to_store(dict(tensors))
    if kind is bin.FORMAT:  # torch's state dicts have both names of a tied tensor
        tensors = with_aliases(dict(tensors))
    shards = in_shards(tensors, limit, kind)
    with contextlib.ExitStack() as files:  # all take their places together, after the last is written
        for name, some in shards.items():
            path = files.enter_context(atomic_path(folder / name))
            if said is None:
                kind.write(path, some, architecture)
            else:
                safetensors.write(path, some, architecture, said)
    if len(shards) > 1:
        index = {
            "metadata": {
                "total_parameters": sum(math.prod(x.shape) for x in tensors.values()),
                "total_size": sum(map(stored_bytes, tensors.values())),
            },
            "weight_map": {kind.index_name(tensor): name for name, some in shards.items() for tensor in some},
        }
        write_atomically(folder / kind.index, (json.dumps(index, indent=2, sort_keys=True) + "\n").encode())
    if config is not None:
        _remove_others(folder, {*shards, kind.index} if len(shards) > 1 else set(shards), kind, own)
        config.save_pretrained(folder)


def in_shards(tensors: Mapping[str, Tensor], limit: int, kind: Format) -> dict[str, dict[str, Tensor]]:
    """File name -> its tensors, in their order, as many in a file as fit. ValueError if the format has one file only."""
    groups: list[dict[str, Tensor]] = []
    room = 0
    for name, x in tensors.items():
        if not groups or stored_bytes(x) > room:
            groups.append({})
            room = limit
        groups[-1][name] = x
        room -= stored_bytes(x)
    if len(groups) < 2:
        return {kind.file: dict(tensors)}
    if not kind.shard:
        raise ValueError(
            f"{kind.file} is written as one file, and max_shard_size is {limit:,} bytes: give a larger one"
        )
    return {kind.shard.format(i + 1, len(groups)): group for i, group in enumerate(groups)}


def _remove_others(folder: Path, written: set[str], kind: Format, own: str) -> None:
    """Removes the weights of an earlier save: a reader would take the one file first, whatever the index says."""
    before = {other.name for order in (FORMATS, in_order(own)) for other in order[: order.index(kind)]}
    for earlier in (*(other for other in FORMATS if other.name in before), kind):
        shards = [path.name for path in shards_of(folder, earlier)]
        for name in (earlier.file, earlier.index, *shards):
            if name and name not in written:
                (folder / name).unlink(missing_ok=True)
