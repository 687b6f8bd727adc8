"""Is a checkpoint whole? Config, files, names, shapes, numbers and tokenizer, and each oddity with what it means."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from albert_np.checkpoints import hub
from albert_np.checkpoints.formats import FORMATS
from albert_np.checkpoints.formats.pickle_program import UnsafeError
from albert_np.checkpoints.formats.protocol import Tensor
from albert_np.checkpoints.formats.values import FLOATS
from albert_np.checkpoints.names import expected_shapes
from albert_np.checkpoints.stored import Stored, by_name, find_weights, no_weights, read_files
from albert_np.config import AlbertConfig
from albert_np.conversion import trial
from albert_np.conversion.architecture import by_heads, named_by, parts_of
from albert_np.conversion.findings import Findings, Verification, one_line
from albert_np.conversion.folders import weight_files
from albert_np.conversion.report import dtype_name
from albert_np.conversion.verify_config import check_config
from albert_np.conversion.verify_files import check_files, check_other_formats
from albert_np.conversion.verify_names import check_names, check_ties, under_first_names
from albert_np.conversion.verify_tokenizer import check_tokenizer
from albert_np.conversion.verify_values import check_values


def verify(folder: str | os.PathLike, *, progress: Callable[[int, int], object] | None = None) -> Verification:
    """Looks into every file of a checkpoint's folder, or "demo", and says whether it is whole.

    All tensors are read, one at a time. progress: called as progress(more, all) when more of all numbers are read.
    Nothing is raised for what is wrong with the files: it is a finding. Raises ValueError if the name is no path.
    """
    found = Verification(str(folder))
    try:
        path = hub.local_folder(folder)
        if path is None:
            raise OSError(
                f"there is no folder {folder} here; verify looks into folders: `hf download {folder} --local-dir …` makes one "
                "of a hub model"
            )
        stored, held, raw, config = _read(folder)
    except (ValueError, OSError) as error:
        if not isinstance(folder, (str, os.PathLike)):
            raise
        if isinstance(error, UnsafeError):
            found.findings.unsafe(error)
        else:
            means = "The folder cannot be read as a checkpoint of ALBERT."
            found.findings.error("unreadable", one_line(str(error)), means)
        found.readable = False
        return found
    fitting = sorted(by_heads(held), key=lambda kind: _misshapen(kind, held, config))
    found.format, found.architecture = stored.format.name, named_by(config) or fitting[0]
    if named_by(config) is None and len(fitting) > 1:
        found.findings.note(
            "architectures",
            f"the heads could be those of {' or '.join(fitting)}",
            f"The rest of the checks take {fitting[0]}.",
            "Name the class in config.json.",
        )
    try:
        _check(found, path, folder, stored, held, raw, config, progress)
    except (ValueError, OSError) as error:
        found.findings.error("unreadable", one_line(str(error)), "A part of the folder cannot be read.")
    return found


def _misshapen(kind: str, held: dict[str, Tensor], config: AlbertConfig) -> int:
    """How many tensors have other shapes than this class has with the config."""
    expected = expected_shapes(config, parts_of(kind, held))
    return sum(held[name].shape != shape for name, shape in expected.items() if name in held)


def _check(
    found: Verification,
    path: Path,
    name_or_path: str | os.PathLike,
    stored: Stored,
    held: dict[str, Tensor],
    raw: list[Tensor],
    config: AlbertConfig,
    progress: Callable[[int, int], object] | None,
) -> None:
    """All checks of a folder that can be read. Raises ValueError or OSError where one of its files turns out not to be."""
    architecture, findings = found.architecture, found.findings
    parts = parts_of(architecture, held)
    files = {*stored.files, *weight_files(path, stored.format)} if stored.format.name == "tf1" else stored.files
    found.files = {file.name: file.stat().st_size for file in sorted(files)}
    found.tokenizer = check_tokenizer(name_or_path, path, config, architecture, findings)
    check_config(path, config, findings)
    check_files(path, stored, findings)
    _check_tensors(found, held, raw, config, architecture, parts, progress)
    if found.whole:
        _check_outputs(name_or_path, config, architecture, parts, findings)
    found.other_formats = check_other_formats(path, stored, held, config, findings)


def _read(folder: str | os.PathLike) -> tuple[Stored, dict[str, Tensor], list[Tensor], AlbertConfig]:
    """(where the weights are, tensors by their names in names.py, all that the files hold, the config)."""
    config = AlbertConfig.from_pretrained(folder)
    stored = find_weights(folder, {})
    if stored is None:
        raise OSError(no_weights(folder, {}, FORMATS))
    raw = read_files(stored)
    held = under_first_names(by_name(stored, raw), config)
    return stored, held, raw, config


def _check_tensors(
    found: Verification,
    held: dict[str, Tensor],
    raw: list[Tensor],
    config: AlbertConfig,
    architecture: str,
    parts: tuple[str, ...],
    progress: Callable[[int, int], object] | None,
) -> None:
    findings = found.findings
    found.dtypes = dict(Counter(dtype_name(tensor.dtype) for tensor in raw))
    found.tensors = len(raw)
    names = check_names(held, config, architecture, parts, findings)
    found.parameters = sum(math.prod(held[name].shape) for name in names)
    check_ties(held, config, raw, findings)

    def done(more: int) -> None:
        if progress is not None:
            progress(more, found.parameters)

    readable = [name for name in names if held[name].dtype in FLOATS]
    check_values(held, readable, config, findings, done)


def _check_outputs(
    folder: str | os.PathLike, config: AlbertConfig, architecture: str, parts: tuple[str, ...], findings: Findings
) -> None:
    """Does the model load, and are its outputs for a small batch numbers?"""
    for name, x in trial.run(folder, config, architecture, parts).items():
        if not np.isfinite(x).all():
            findings.error(
                "outputs",
                f"{name} is not finite for a small batch, though all weights are",
                "Some weights are so large that the sums overflow.",
                "Take an earlier checkpoint, or download the file again: a single wrong bit can do this.",
            )
