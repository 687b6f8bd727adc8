"""Checkpoints of TensorFlow 1, as google-research/albert trained and published them, and SavedModels of TF-Hub.

They hold what no other format has: the sentence-order head. The files have no fixed name: `find` chooses the index of one.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from albert_np.checkpoints.formats import google_names as names
from albert_np.checkpoints.formats.protocol import Format, Tensor
from albert_np.checkpoints.formats.sstable import FOOTER, MAGIC
from albert_np.checkpoints.formats.tensor_bundle import read_bundle
from albert_np.checkpoints.formats.values import FLOATS, loaded_dtype
from albert_np.files import listed, shown
from albert_np.ops import Array

logger = logging.getLogger("albert_np")

STATE = "checkpoint"  # the text file that says which of several checkpoints is the newest
MAX_STATE_BYTES = 1024 * 1024
NEWEST = re.compile(rb'^model_checkpoint_path:[ \t]*"([^"\n]*)"', re.MULTILINE)
ABSOLUTE = re.compile(r"(?:/|\w+://).*/", re.ASCII)  # the folder before a name, from the root or as gs://bucket/folder/
DATA = re.compile(r"(.+)\.data-\d{5}-of-\d{5}", re.ASCII)
SAVED_MODEL = "variables"  # the folder of a SavedModel, and the name of the checkpoint in it


def read(path: Path) -> Iterator[Tensor]:
    """The weights of one checkpoint, by its index, oriented as Hugging Face's.

    The moments of an optimizer and the count of steps are left out, and so is what is neither a float nor one of ALBERT's
    names. Raises ValueError (damaged, or another architecture) or OSError.
    """
    tensors = list(read_bundle(path, names.is_transposed))
    for tensor in tensors:
        what = names.other_architecture(tensor.name)
        if what:
            raise ValueError(f"{path} holds {shown(tensor.name)!r}: {what}")
    for tensor in tensors:
        hub_name = names.hub_name(tensor.name)
        if hub_name:
            yield tensor.under(hub_name)
        elif tensor.dtype in FLOATS and not names.is_of_training(tensor.name):
            yield tensor
    yield from _identity(path, {tensor.name.removeprefix(names.MODULE): tensor for tensor in tensors})


def _identity(path: Path, stored: dict[str, Tensor]) -> Iterator[Tensor]:
    """embedding_hidden_mapping_in as the identity where E = H: Google's code has no such layer then, and stores none."""
    words, query = stored.get(names.EMBEDDINGS), stored.get(names.QUERY)
    if words is None or query is None or not set(names.MAPPING).isdisjoint(stored):
        return
    if len(words.shape) != 2 or words.shape[1:] * 2 != query.shape or words.dtype not in FLOATS:
        return
    H = query.shape[0]
    dtype = loaded_dtype(words.dtype)

    def weight() -> Array:
        logger.warning(
            "%s has no embedding_hidden_mapping_in, as E = H = %d: the identity takes its place, which gives the same numbers",
            path,
            H,
        )
        return np.eye(H, dtype=dtype)

    loaders = {(H, H): weight, (H,): lambda: np.zeros(H, dtype)}
    for (name, hub_name), (shape, load) in zip(names.MAPPING.items(), loaders.items(), strict=True):
        yield Tensor(name, shape, words.dtype, load, hub_name)


# --- which file ------------------------------------------------------------------------------------------------------------


def find(folder: Path) -> Path | None:
    """The index of the checkpoint in a folder, or in its `variables`, if it is a SavedModel's; None if there is none.

    Of several, the file `checkpoint` names one. Raises ValueError if it does not, or if there is a checkpoint without an index.
    """
    found = _indices(folder) or [p for p in _indices(folder / SAVED_MODEL) if p.name == f"{SAVED_MODEL}.index"]
    if not found:
        _refuse_parts(folder)
    return _newest(folder, found) if len(found) > 1 else next(iter(found), None)


def _indices(folder: Path) -> list[Path]:
    """Every index: it has data files beside it, or ends as an index does. Other programs have files of that name too."""
    if not folder.is_dir():
        return []
    files = sorted(path.name for path in folder.iterdir())
    data = {name.partition(".data-")[0] for name in files if ".data-" in name}
    # a name with control characters, which would reach messages, is no checkpoint's
    indices = [folder / name for name in files if name.endswith(".index") and name.isprintable()]
    indices = [path for path in indices if path.is_file()]
    return [path for path in indices if path.name.removesuffix(".index") in data or _is_table(path)]


def _newest(folder: Path, found: list[Path]) -> Path:
    """The one that the file `checkpoint` names.

    It may name no other folder's. An absolute path is one of the machine that wrote it (tf.train.Saver writes such paths if
    it gets one), and says which folder this was there: its last part counts.
    """
    there = f"{folder} holds {len(found)} TensorFlow checkpoints, {listed([path.name for path in found])}"
    state = folder / STATE
    if not state.is_file():
        raise ValueError(f"{there}, and no file {STATE!r} that names one: keep one of them, or write that file")
    with state.open("rb") as file:
        said = NEWEST.findall(file.read(MAX_STATE_BYTES))
    name = said[0].decode(errors="replace") if len(said) == 1 else ""
    chosen = [path for path in found if path.name == f"{ABSOLUTE.sub('', name)}.index"]
    if not chosen:
        raise ValueError(
            f"{there}, and its file {STATE!r} names {shown(name)!r}: its model_checkpoint_path must be one of them, without a "
            "relative folder and without .index"
        )
    return chosen[0]


def _refuse_parts(folder: Path) -> None:
    """Says what is wrong with a folder that has a checkpoint, but no index."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if not path.name.isprintable():
            continue
        data = DATA.fullmatch(path.name)
        if data:
            raise ValueError(f"{path} has no {data[1]}.index beside it: a checkpoint is both")
        if ".ckpt" in path.name and path.suffix != ".meta" and path.is_file() and _is_table(path):
            raise ValueError(
                f"{path} is a TensorFlow checkpoint of version 1, of one file: save it again with tf.train.Saver of "
                "TensorFlow 0.12 or later, which writes an .index and .data files"
            )


def _is_table(path: Path) -> bool:
    with path.open("rb") as file:
        size = path.stat().st_size
        file.seek(max(0, size - 8))
        return size >= FOOTER and int.from_bytes(file.read(8), "little") == MAGIC


FORMAT = Format("tf1", "", "", read, find=find)
