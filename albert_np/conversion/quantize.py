"""From a checkpoint of floats to one in int8 or bfloat16, with the certificate that says what this changes in its answers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from albert_np.checkpoints import hub
from albert_np.checkpoints.formats import safetensors
from albert_np.checkpoints.quantized import is_quantised
from albert_np.checkpoints.stored import find_weights, no_weights, read_headers
from albert_np.config import AlbertConfig
from albert_np.conversion.architecture import CLASSES, choose, parts_of
from albert_np.conversion.folders import (
    copy_tokenizer,
    move_into_place,
    target_folder,
    temporary_folder,
    write_settings,
)
from albert_np.files import listed
from albert_np.quantization import certificate
from albert_np.quantized import QuantizedWeight
from albert_np.text_files import read_lines
from albert_np.tokenization.tokenizer import AlbertTokenizer

CALIBRATED = 512  # texts of a file, spread over it: more change no code that anybody would notice

Progress = Callable[[str, int, int], object]  # what is done, how much more of it, of how much


@dataclass(frozen=True)
class Quantized:
    """What was made: names and numbers for people and for JSON."""

    source: str
    target: str
    architecture: str
    dtype: str
    calibration: str  # the file, or "" for random ids
    passes: dict[str, int]  # of each weight's product, in int8
    certificate: dict[str, Any]
    files: dict[str, int]  # name -> bytes; none if nothing was written

    def to_dict(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "architecture"} | {
            "class": self.architecture
        }

    def __str__(self) -> str:
        by = f"calibrated on {self.calibration}" if self.calibration else "without calibration"
        two = [name for name, passes in self.passes.items() if passes == 2]
        lines = [f"{self.source} -> {self.target}: {self.architecture} in {self.dtype}, {by}"]
        if self.passes:
            lines.append(f"  inputs in 16 bits for {listed(two) or 'no product'}, and in 8 for the others")
        lines += ["", certificate.as_text(self.certificate)]
        if self.files:
            width = max(36, *map(len, self.files))
            lines += ["", *(f"  {name:{width}} {size:14,} bytes" for name, size in self.files.items())]
        return "\n".join(lines)


def quantize(
    source: str | os.PathLike,
    target: str | os.PathLike,
    *,
    dtype: str = "int8",
    passes: int | None = None,
    calibration: str | os.PathLike | None = None,
    text: str | os.PathLike | None = None,
    architecture: str | None = None,
    at_least: float = certificate.AGREEMENT,
    seed: int = 0,
    force: bool = False,
    progress: Progress | None = None,
    **where: Any,
) -> Quantized:
    """Writes a checkpoint in int8 or bfloat16: weights, config.json, the tokenizer's files and a certificate, all or none.

    source: a folder, "demo" or a hub id. target: a folder; it is refused if it has weights, unless force=True.
    dtype, passes: as in model.quantize. What bfloat16 writes are float32 tensors of such values, for every program that reads
    checkpoints, without the certificate.
    calibration, text: files with a text on each line, to round by and to measure with; without them, random ids and the
    package's own text. architecture: the class to write, as in convert. at_least: the share of answers that must be those of
    float32. Below it, or with hidden states that are too far away, nothing is written, and the certificate says passes: false.
    progress: called as progress(what, more, all). where: hub.OPTIONS.
    Raises ValueError (content, arguments) or OSError (files, network), and then nothing has been written.
    """
    if isinstance(at_least, bool) or not isinstance(at_least, (int, float)) or not 0 <= at_least <= 1:
        raise ValueError(f"at_least is a share of answers, 0 to 1, so that 0.97 is 97 %; got {at_least!r:.80}")

    def advance(what: str) -> Callable[[int, int], object]:
        return lambda more, total: None if progress is None else progress(what, more, total)

    where = hub.take_options(where)
    folder = target_folder(target, force)
    exact, tokenizer, name = _read(source, architecture, where)
    rows = None if calibration is None else _spread(list(_texts(calibration)), CALIBRATED)
    texts = None if text is None else list(_texts(text))
    rounded = exact.quantize(rows, tokenizer, dtype=dtype, passes=passes, seed=seed, progress=advance("rounding"))
    found = certificate.measure(
        exact,
        rounded,
        tokenizer,
        texts,
        name="" if text is None else os.path.basename(text),
        at_least=at_least,
        seed=seed,
        progress=advance("measuring"),
    )
    found["calibration"] = "random ids" if calibration is None else f"{len(rows or [])} texts"
    files: dict[str, int] = {}
    if found["passes"]:
        rounded.certificate = found if dtype == "int8" else None
        with temporary_folder(folder) as made:
            rounded.save_pretrained(made)
            write_settings(made, copy_tokenizer(source, made, where), exact.config.max_position_embeddings)
            files = {path.name: path.stat().st_size for path in sorted(made.iterdir())}
            move_into_place(made, folder)
    return Quantized(
        source=str(source),
        target=str(target),
        architecture=name,
        dtype=dtype,
        calibration="" if calibration is None else str(calibration),
        passes={
            weight.removesuffix(".weight"): x.passes
            for weight, x in rounded._tensors.items()
            if isinstance(x, QuantizedWeight)
        },
        certificate=found,
        files=files,
    )


def _read(source: str | os.PathLike, given: str | None, where: dict[str, Any]) -> tuple[Any, AlbertTokenizer, str]:
    """(the model in float32, its tokenizer, the name of its class)."""
    config = AlbertConfig.from_pretrained(source, **where)
    weights = find_weights(source, where)
    if weights is None:
        raise OSError(no_weights(source, where, (safetensors.FORMAT,)))
    held = read_headers(weights)
    if is_quantised(held):
        raise ValueError(
            f"{weights.source} is int8 already: quantize takes the checkpoint of floats that it was made from"
        )
    name = choose(held, config, str(weights.source), given)
    options: dict[str, Any] = {}
    if name == "AlbertModel":
        options["add_pooling_layer"] = bool(parts_of(name, held))
    exact = CLASSES[name].from_pretrained(source, backend="numba", dtype="float32", **options, **where)
    return exact, AlbertTokenizer.from_pretrained(source, **where), name


def _texts(path: str | os.PathLike) -> Iterator[str]:
    """The lines of a file that are not blank."""
    return (line for _, line in read_lines(path) if line and line.strip())


def _spread(texts: Sequence[str], most: int) -> list[str]:
    if not texts:
        raise ValueError("the calibration file has no text: give one with a text on each line")
    places = np.unique(np.linspace(0, len(texts) - 1, min(most, len(texts))).astype(int))
    return [texts[i] for i in places]
