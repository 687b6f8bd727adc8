"""From a checkpoint in any format to one in another: the same tensors, bit for bit, unless another dtype is asked for."""

from __future__ import annotations

import hashlib
import math
import os
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from albert_np.checkpoints import hub
from albert_np.checkpoints.formats import FORMATS
from albert_np.checkpoints.formats.google_names import is_of_training
from albert_np.checkpoints.formats.protocol import Format, Tensor, stored_values
from albert_np.checkpoints.formats.tensor_bundle import read_bundle
from albert_np.checkpoints.load import Match, match
from albert_np.checkpoints.names import ALIASES, BIAS, BUFFERS, PARTS, PREFIX, hub_name
from albert_np.checkpoints.quantized import PASSES, SCALE, is_quantised, plain
from albert_np.checkpoints.save import in_shards, save, shard_bytes
from albert_np.checkpoints.stored import Stored, by_name, find_weights, no_weights, read_files, read_headers
from albert_np.config import AlbertConfig
from albert_np.conversion import trial
from albert_np.conversion.architecture import by_heads, choose, parts_of
from albert_np.conversion.findings import one_line
from albert_np.conversion.folders import (
    SETTINGS,
    copy_tokenizer,
    move_into_place,
    target_folder,
    temporary_folder,
    weight_files,
    write_settings,
)
from albert_np.conversion.onnx_model import write_tensors
from albert_np.conversion.report import LeftOut, Outputs, Report, TensorRow, dtype_name
from albert_np.conversion.rounding import loss, rounded, word_of
from albert_np.files import listed, shown
from albert_np.ops import Array

ALIASES_OF_FORMATS = {
    "pytorch": "bin",
    "pytorch_model.bin": "bin",
    "pt": "bin",
    "model.safetensors": "safetensors",
    "st": "safetensors",
    "google": "tf1",
    "tf": "h5",
    "tensorflow": "h5",
    "keras": "h5",
    "tf_model.h5": "h5",
    "flax": "msgpack",
    "jax": "msgpack",
    "flax_model.msgpack": "msgpack",
    "model.onnx": "onnx",
}
ONNX = "onnx"
ONNX_TOLERANCE = 1e-4  # of the largest entry: its products and sums are taken in another order
Progress = Callable[[int, int], object]  # how many numbers more are done, and how many there are


class _Model(NamedTuple):
    """A checkpoint that is being converted."""

    kind: Format
    config: AlbertConfig
    architecture: str
    parts: tuple[str, ...]
    stored: dict[str, Tensor]  # by the names that are written, as the source has them
    left_out: list[LeftOut]
    notes: list[str]


def convert(
    source: str | os.PathLike,
    target: str | os.PathLike,
    to: str = "safetensors",
    *,
    dtype: Any = None,
    max_shard_size: int | str = "5GB",
    architecture: str | None = None,
    from_format: str | None = None,
    force: bool = False,
    progress: Progress | None = None,
    **where: Any,
) -> Report:
    """Writes a checkpoint of any format as another: "safetensors", "bin", "h5", "msgpack" or "onnx". Returns what it did.

    source: a folder, "demo" or a hub id. target: a folder, which gets weights, config.json and the tokenizer's files, all of
    them or none. It is refused if it has weights, unless force=True, which replaces them.
    dtype: None keeps the dtype of each tensor, bit for bit; "float32", "float16", "bfloat16" or "float64" rounds to the
    nearest, ties to even, and the report says what that changed.
    from_format: which weights of the source to read, where it has several; without it, the first as from_pretrained finds them.
    architecture: the class to write; without it, the one that config.json names, or else the one whose heads are stored.
    max_shard_size: as in save_pretrained. progress: called as progress(more, all) when more of all numbers are done.
    where: hub.OPTIONS, such as revision.
    What was written is read again: every tensor must be equal to the bit, and the outputs of a small batch are compared.
    Raises ValueError (content, arguments) or OSError (files, network), and then nothing has been written.
    """
    kind, word = _named(to, written(), "written"), word_of(dtype)
    readable = {each.name: each for each in FORMATS}
    formats = FORMATS if from_format is None else (_named(from_format, readable, "read"),)
    shard_bytes(max_shard_size)
    where = _where(where)
    folder = target_folder(target, force)
    model = _read(source, architecture, formats, where)
    tensors = {name: rounded(x, word) if word else x for name, x in model.stored.items()}
    config = model.config.replace(architectures=[model.architecture], dtype=_common_dtype(tensors))
    with temporary_folder(folder) as made:
        write(made, config, _counted(tensors, progress), model.architecture, kind, max_shard_size)
        tokenizer_files = copy_tokenizer(source, made, where)
        if write_settings(made, tokenizer_files, config.max_position_embeddings):
            model.notes.append(f"the source has no {SETTINGS}: a short one was written, for other programs")
        rows = _compared(model, tensors, made, kind, progress)
        outputs = _outputs(source, made, model, config, kind, exact=word is None, where=where)
        files = {path.name: path.stat().st_size for path in made.iterdir()}
        move_into_place(made, folder)
    return Report(
        source=str(source),
        source_format=model.kind.name,
        target=str(target),
        format=kind.name,
        architecture=model.architecture,
        tensors=rows,
        left_out=model.left_out,
        files=files,
        tokenizer_files=tokenizer_files,
        outputs=outputs,
        notes=model.notes,
    )


def written() -> dict[str, Format]:
    """The formats that can be written, by their names."""
    return {kind.name: kind for kind in FORMATS if kind.write is not None or kind.name == ONNX}


def _named(name: str, known: dict[str, Format], what: str) -> Format:
    """The format that is meant. ValueError if it is unknown, or cannot be read or written."""
    plain = ALIASES_OF_FORMATS.get(name, name) if isinstance(name, str) else name
    if plain not in known:
        raise ValueError(f"the formats that are {what} are {', '.join(known)}; got {shown(repr(name), 60)}")
    return known[plain]


def write(
    folder: Path,
    config: AlbertConfig,
    tensors: dict[str, Tensor],
    architecture: str,
    kind: Format,
    max_shard_size: int | str = "5GB",
) -> None:
    """Writes weights and config.json into a new folder. tensors: by Hugging Face's names for this class."""
    if kind.name == ONNX:  # one file, whose graph is made from the config too
        in_shards(tensors, shard_bytes(max_shard_size), kind)  # refuses what is to be in several
        write_tensors(folder / kind.file, tensors, config, architecture)
        config.save_pretrained(folder)
        return
    save(folder, config, tensors, max_shard_size, kind, architecture)


def _where(options: dict[str, Any]) -> dict[str, Any]:
    where = hub.take_options(options)
    if options:
        raise ValueError(f"convert knows no {listed(sorted(options))}: see help(albert_np.convert)")
    return where


# --- reading --------------------------------------------------------------------------------------------------------------


def _read(source: str | os.PathLike, given: str | None, formats: tuple[Format, ...], where: dict[str, Any]) -> _Model:
    """What is to be written of a checkpoint, under the names that it is written under. Only headers are read, and biases."""
    config = plain(AlbertConfig.from_pretrained(source, **where))
    weights = find_weights(source, where, formats)
    if weights is None:
        raise OSError(no_weights(source, where, formats))
    text = str(weights.source)
    raw = read_files(weights)
    found = by_name(weights, raw)
    architecture = choose(found, config, text, given)
    parts = parts_of(architecture, found)
    config, notes = _with_labels(config, found, parts)
    matched = match(found, text, config, parts)
    _check_whole(matched, found, text, architecture)
    stored = {hub_name(name, parts): found[name] for name in matched.expected}
    written = {tensor.name for tensor in stored.values()}
    left_out = [
        LeftOut(tensor.name, tensor.shape, dtype_name(tensor.dtype), _why(tensor, found, architecture, parts))
        for tensor in raw
        if tensor.name not in written
    ]
    if architecture == "AlbertModel" and not parts:
        notes.append(
            "the source has no pooler, and so the written model has none: load it with add_pooling_layer=False"
        )
    if is_quantised(found):
        notes.append("the weights of the layers are int8: the float32 values that their codes stand for were written")
    if weights.format.name == "tf1":
        notes += _of_training(weights)
    notes += _not_read(source, weights, where)
    return _Model(weights.format, config, architecture, parts, stored, left_out, notes)


def _of_training(weights: Stored) -> list[str]:
    """What Google's checkpoints hold of a training, which the reader leaves out."""
    names = [tensor.name for path in weights.files for tensor in read_bundle(path) if is_of_training(tensor.name)]
    if not names:
        return []
    what = f"1 variable of a training, {shown(names[0])}, is no weight and was left out"
    if len(names) > 1:
        what = f"{len(names)} variables of a training, such as {shown(names[0])}, are no weights and were left out"
    return [what]


def _not_read(source: str | os.PathLike, weights: Stored, where: dict[str, Any]) -> list[str]:
    """The weights of other formats in the source's folder, which may be other weights."""
    folder = hub.local_folder(source)
    if folder is None:
        return []
    inside = folder / (where.get("subfolder") or "")
    others, notes = [], []
    for kind in FORMATS:
        if kind.name == weights.format.name:
            continue
        try:
            others += [path.name for path in weight_files(inside, kind)[:1]]
        except (ValueError, OSError) as error:
            notes.append(f"there may be other weights, which were not read: {one_line(str(error))}")
    if others:
        notes.append(f"the source also has {listed(others)}, which was not read; --from chooses")
    return notes


def _with_labels(
    config: AlbertConfig, found: dict[str, Tensor], parts: tuple[str, ...]
) -> tuple[AlbertConfig, list[str]]:
    """The config with as many labels as the classifier has rows, where it names no labels: Google's configs know none."""
    if "classifier" not in parts or "classifier.weight" not in found or len(found["classifier.weight"].shape) != 2:
        return config, []
    rows = found["classifier.weight"].shape[0]
    unnamed = all(name == f"LABEL_{i}" for i, name in config.label_names.items())
    if rows in (config.num_labels, 0) or not unnamed:
        return config, []
    note = f"the classifier has {rows} rows and the config named no labels: num_labels is {rows} in the new config.json"
    return config.replace(num_labels=rows), [note]


def _check_whole(matched: Match, found: dict[str, Tensor], source: str, architecture: str) -> None:
    if matched.absent:
        heads = by_heads(found)
        hint = (
            "" if architecture in heads else f"; its heads are those of {' or '.join(heads)}, to be named with --class"
        )
        raise ValueError(
            f"{source} has no {listed(matched.absent)} ({len(matched.absent)} of {len(matched.expected)} tensors), which "
            f"{architecture} needs{hint}"
        )
    for name, shape, wanted in matched.mismatched:
        raise ValueError(f"{source}: tensor {name} has the shape {shape}, but the config says {wanted}")


def _why(tensor: Tensor, found: dict[str, Tensor], architecture: str, parts: tuple[str, ...]) -> str:
    """Why a stored tensor is not written."""
    plain = {other.name: name for name, other in found.items()}
    name = plain.get(tensor.name, tensor.known_as.removeprefix(PREFIX))
    if name.removesuffix(SCALE).removesuffix(PASSES) in found and name not in found:
        return "tells what the int8 codes of a weight stand for, which is written in float32"
    if name in BUFFERS:
        return "a range of numbers that older versions stored; it holds no weight"
    if name in ALIASES and "predictions" in parts:
        first = found[ALIASES[name]]
        if _equal(tensor, first):
            return f"the second name of {ALIASES[name]}, which is written once"
        return f"differs from {ALIASES[name]}, to which config.json ties it: ALBERT's classes compute with the latter"
    if name == BIAS and "predictions" in parts:
        equal = _equal(tensor, found[name])
        return (
            "the decoder's bias has the same numbers" if equal else "the decoder has another bias, and that one counts"
        )
    heads = {tensor: part for part, names in PARTS.items() for tensor in names} | dict.fromkeys(ALIASES, "predictions")
    if name in heads:
        return f"{architecture} has no {heads[name]}: --class chooses what is written"
    return "no tensor that ALBERT has"


def _equal(one: Tensor, other: Tensor) -> bool:
    return (one.dtype, one.shape) == (other.dtype, other.shape) and _same(stored_values(one), stored_values(other))


# --- writing and comparing ------------------------------------------------------------------------------------------------


def _common_dtype(tensors: dict[str, Tensor]) -> str:
    """The dtype of most numbers, for config.json."""
    counts = Counter[str]()
    for tensor in tensors.values():
        counts[dtype_name(tensor.dtype)] += math.prod(tensor.shape)
    return counts.most_common(1)[0][0]


def _counted(tensors: dict[str, Tensor], progress: Progress | None) -> dict[str, Tensor]:
    """The same tensors, which report when they have been read."""
    total = 2 * sum(math.prod(x.shape) for x in tensors.values())
    seen = set()

    def load(tensor: Tensor) -> Array:
        x = tensor.load()
        if progress is not None and tensor.name not in seen:  # some writers look twice
            seen.add(tensor.name)
            progress(x.size, total)
        return x

    return {name: x._replace(load=partial(load, x)) for name, x in tensors.items()}


def _compared(
    model: _Model, tensors: dict[str, Tensor], made: Path, kind: Format, progress: Progress | None
) -> list[TensorRow]:
    """Reads what was written, and compares each tensor with what it was to be. ValueError where a bit differs."""
    weights = find_weights(made, {}, (kind,))
    assert weights is not None
    again = read_headers(weights)
    matched = match(again, "what was written", model.config, model.parts)
    rows = []
    for short, (name, tensor) in zip(matched.expected, _counted(tensors, progress).items(), strict=True):
        wanted = stored_values(tensor)
        got = again.get(short)
        if got is None or got.dtype != tensor.dtype or not _same(stored_values(got), wanted):
            raise ValueError(f"{name} is not what it was, as read back from the {kind.name} file that was just written")
        before = model.stored[name]
        lost = loss(before.load(), tensor.load()) if before.dtype != tensor.dtype else None
        rows.append(
            TensorRow(name, tensor.shape, dtype_name(tensor.dtype), _sha256(wanted), dtype_name(before.dtype), lost)
        )
    return rows


def _same(one: Array, other: Array) -> bool:
    """Whether two arrays are equal to the bit, NaNs included."""
    return one.shape == other.shape and one.dtype == other.dtype and bool(np.array_equal(_bytes(one), _bytes(other)))


def _bytes(x: Array) -> Array:
    return x.reshape(-1).view(np.uint8)


def _sha256(x: Array) -> str:
    return hashlib.sha256(_bytes(x).data).hexdigest()


def _outputs(
    source: str | os.PathLike,
    made: Path,
    model: _Model,
    config: AlbertConfig,
    kind: Format,
    *,
    exact: bool,
    where: dict[str, Any],
) -> Outputs:
    """The outputs of the model of the source, and of what was written. ValueError if they differ where no number changed."""
    first = trial.run(source, model.config, model.architecture, model.parts, model.kind.name, **where)
    if kind.name == ONNX:
        second, by = trial.run_onnx(made / kind.file, config, model.architecture)
        if not second:
            return Outputs(False, by)
        outputs = trial.compare(first, second, by)
        limit = ONNX_TOLERANCE * max(outputs.scale.values())
    else:
        second = trial.run(made, config, model.architecture, model.parts)
        outputs = trial.compare(first, second, "the numpy backend in float32")
        limit = 0.0
    if exact and not outputs.difference <= limit:
        raise ValueError(f"the written model's outputs differ by {outputs.difference}, though every tensor is the same")
    return outputs
