"""Where the weights of a checkpoint are stored: in which format, in which files, and what their headers say.

A model's folder holds one weight file, or several with an index. No values are read here.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, NamedTuple

from albert_np.checkpoints import hub
from albert_np.checkpoints.formats import FORMATS
from albert_np.checkpoints.formats.protocol import Format, Tensor
from albert_np.checkpoints.formats.tensorflow_names import as_computed
from albert_np.checkpoints.quantized import joined
from albert_np.checkpoints.spellings import by_plain_name
from albert_np.files import listed, read_json, shown

MAX_INDEX_BYTES = 10 * 1024 * 1024
MAX_TENSORS = 100_000  # in all files; a config may have 65,536 in its layers


class Stored(NamedTuple):
    """The weight files of a checkpoint, all in one format."""

    format: Format
    source: Path  # the one file, or the index of several: what messages name
    files: dict[Path, set[str]]  # -> the tensors that the index says are in the file; none where there is no index


def find_weights(
    name_or_path: str | os.PathLike, where: dict[str, Any], formats: tuple[Format, ...] = FORMATS
) -> Stored | None:
    """The weight files of a folder, "demo" or a hub id, in the first of these formats that it has; None if there are none.

    `where`: hub.OPTIONS. Raises OSError (a file cannot be found or fetched) or ValueError (an index that makes no sense).
    """
    folder = hub.local_folder(name_or_path)
    for kind in formats:
        path = hub.resolve(name_or_path, kind.file, required=False, **where) if kind.file else None
        if path is None and kind.find is not None and folder is not None:
            path = kind.find(folder / (where.get("subfolder") or ""))
        if path is not None:
            return Stored(kind, path, {path: set()})
        index = hub.resolve(name_or_path, kind.index, required=False, **where) if kind.index else None
        if index is not None:
            shards = _shards(index, Path(kind.file).suffix)
            paths = {hub.resolve(name_or_path, shard, **where): names for shard, names in shards.items()}
            return Stored(kind, index, {path: names for path, names in paths.items() if path is not None})
    return None


def read_headers(stored: Stored) -> dict[str, Tensor]:
    """Every stored tensor by its name in names.py. ValueError if one is stored twice, or not where the index says."""
    return by_name(stored, read_files(stored))


def read_files(stored: Stored) -> list[Tensor]:
    """Every stored tensor, also those that no class computes with. ValueError if one is not where the index says."""
    found: list[Tensor] = []
    for path, names in stored.files.items():
        tensors = list(stored.format.read(path))
        held = {name for tensor in tensors for name in (tensor.name, tensor.known_as)}
        lost = {name for name in names if name not in held and stored.format.hub_name(name) not in held}
        if lost:
            raise ValueError(f"{stored.source} says that {path.name} holds {listed(sorted(lost))}, but it does not")
        found += tensors
        if len(found) > MAX_TENSORS:
            raise ValueError(f"{stored.source} has over {MAX_TENSORS:,} tensors, more than any real model")
    return found


def by_name(stored: Stored, tensors: list[Tensor]) -> dict[str, Tensor]:
    """The tensors that classes compute with, by their names in names.py. ValueError if one is stored twice."""
    return joined(as_computed(by_plain_name(tensors, str(stored.source))), str(stored.source))


def _shards(index_path: Path, suffix: str) -> dict[str, set[str]]:  # -> file name: tensor names
    """The weight_map of an index, inverted. File names must be plain, so that an index cannot lead out of its folder."""
    index = read_json(index_path, MAX_INDEX_BYTES)
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise ValueError(f"{index_path} must hold a weight_map from tensor names to file names")
    shards: dict[str, set[str]] = {}
    for name, file in weight_map.items():
        plain = isinstance(file, str) and file == Path(file).name and "\\" not in file and file.isprintable()
        if not plain or not file.endswith(suffix) or len(file) > 255:
            raise ValueError(
                f"{index_path}: {shown(name)!r} must lie in a {suffix} file of the same folder; got {shown(file)!r}"
            )
        shards.setdefault(file, set()).add(name)
    return shards


def shards_of(folder: Path, kind: Format) -> list[Path]:
    """The files of a folder that are named as one of several weight files of this format."""
    stem, _, suffix = kind.file.partition(".")
    shard = re.compile(rf"{re.escape(stem)}-\d{{5}}-of-\d{{5}}\.{re.escape(suffix)}")
    return sorted(path for path in folder.iterdir() if kind.file and shard.fullmatch(path.name))


def no_weights(name_or_path: str | os.PathLike, where: dict[str, Any], formats: tuple[Format, ...]) -> str:
    """The text for a message that says why there is nothing to load."""
    files = [kind.file for kind in formats if kind.file]
    folder = hub.local_folder(name_or_path)
    if folder is None:
        text = f"{name_or_path} has none of {listed(files)} that could be fetched"
        try:  # once more as a required file, to get the reason: being offline, say, does not mean that it is absent
            hub.resolve(name_or_path, files[0], **where)
        except OSError as error:
            text += f" ({error})"
        return text
    folder = folder / (where.get("subfolder") or "")
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    files = [kind.file or "*.index" for kind in formats]  # TensorFlow 1's have names of their own
    wanted = f"none of {listed(files)}" if len(files) > 1 else f"no {listed(files)}"
    text = f"{folder} has no weights: {wanted}"
    others = [kind for kind in FORMATS if kind not in formats and find_weights(folder, {}, (kind,))]
    if others:
        names = [kind.file or kind.name for kind in others]
        return (
            f"{text}; it has {listed(names)}, which from_tf, from_flax, from_pt, use_safetensors or --from leaves out"
        )
    return f"{text}; it holds {listed(names) or 'nothing'}"
