"""The files of a checkpoint's folder: which weights count, what else lies beside, and whether an index and its files agree."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from albert_np.checkpoints.formats import FORMATS, bin
from albert_np.checkpoints.formats.pickle_program import UnsafeError
from albert_np.checkpoints.formats.protocol import Format, Tensor, stored_bytes
from albert_np.checkpoints.formats.values import FLOATS
from albert_np.checkpoints.names import ALIASES, BUFFERS
from albert_np.checkpoints.spellings import MAX_COMPARED
from albert_np.checkpoints.stored import MAX_INDEX_BYTES, Stored, find_weights, read_headers, shards_of
from albert_np.config import AlbertConfig
from albert_np.conversion.findings import Findings, one_line
from albert_np.conversion.folders import weight_files
from albert_np.conversion.report import dtype_name
from albert_np.conversion.rounding import values_in
from albert_np.conversion.verify_names import under_first_names
from albert_np.files import listed, read_json, shown

# weights that nothing here reads, by how their files end
FOREIGN = (".ot", ".pt", ".pth", ".ckpt", ".gguf", ".tflite", ".mlmodel", ".bin", ".h5", ".msgpack", ".onnx")
NO_WEIGHTS = ("training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth")  # of a training


def check_files(folder: Path, stored: Stored, findings: Findings) -> None:
    """Shards that an index does not name, an index beside a single file, and files that are not read."""
    kind = stored.format
    used = set(stored.files)
    if kind.index and (folder / kind.index).is_file() and stored.source.name != kind.index:
        findings.warning(
            "two-answers",
            f"{kind.index} lies beside {stored.source.name}",
            "The single file counts. The index and its files may be what an earlier save left.",
            "Remove those that are not wanted.",
        )
    strays = [path.name for path in shards_of(folder, kind) if path not in used]
    if strays:
        findings.warning(
            "stray-shards",
            f"{listed(strays)} {'is' if len(strays) == 1 else 'are'} not in the index",
            "Nobody reads these files. They may be of an earlier save with another number of files.",
            "Remove them, or put them into the index if tensors are missing.",
        )
    if stored.source.name == kind.index:
        _check_index(stored, findings)
    if kind.name == "bin":
        _check_sums(stored, findings)
    known = {path for each in FORMATS for path in _named(folder, each)} | used
    others = [
        path.name
        for path in sorted(folder.iterdir())
        if path.suffix in FOREIGN and path.is_file() and path not in known and path.name not in NO_WEIGHTS
    ]
    if others and kind.name != "tf1":
        findings.note(
            "other-files",
            f"{listed(others)} {'is' if len(others) == 1 else 'are'} not read",
            "Such a file may hold weights for another program.",
        )


def _check_sums(stored: Stored, findings: Findings) -> None:
    """Compares the checksums of an archive, which neither torch nor our reader does while it loads weights."""
    for path in stored.files:
        names = bin.damaged(path)
        if names:
            findings.error(
                "checksum",
                f"{path.name}: the numbers of {listed(names)} have another checksum than the archive says",
                "They changed after they were written: weights are wrong, though they look like weights.",
                "Download the file again.",
            )


def _check_index(stored: Stored, findings: Findings) -> None:
    """Tensors in a file that the index does not list, and the sum of their bytes."""
    unlisted = []
    size, twice = 0, 0
    for path, names in stored.files.items():
        for tensor in stored.format.read(path):
            size += stored_bytes(tensor)
            twice += (
                stored_bytes(tensor) if tensor.known_as in ALIASES else 0
            )  # some programs count these, others do not
            if not {tensor.name, tensor.known_as} & (names | {stored.format.hub_name(name) for name in names}):
                unlisted.append(tensor.name)
    if unlisted:
        findings.warning(
            "index",
            f"{stored.source.name} does not list {listed(unlisted)}, which its files hold",
            "albert_np reads all tensors of the files; other programs read only what the index lists.",
            "Convert the folder to itself or to another, which writes a complete index.",
        )
    index = read_json(stored.source, MAX_INDEX_BYTES)
    told = (index.get("metadata") or {}).get("total_size") if isinstance(index.get("metadata"), dict) else None
    if isinstance(told, int) and told not in (size, size - twice):
        findings.note(
            "index",
            f"{stored.source.name} says {told:,} bytes in all, and its tensors have {size:,}",
            "Programs that plan memory use this number. No answer depends on it.",
        )


def check_other_formats(
    folder: Path, stored: Stored, held: dict[str, Tensor], config: AlbertConfig, findings: Findings
) -> list[str]:
    """Compares the weights of other formats in the folder with those that count. Returns the names of these formats."""
    others = []
    for kind in FORMATS:
        if kind.name == stored.format.name:
            continue
        file = f"a checkpoint of the format {kind.name}"
        try:
            files = weight_files(folder, kind)
            if not files:
                continue
            file, beside = files[0].name, find_weights(folder, {}, (kind,))
            if beside is None:
                raise ValueError(f"{file} alone is no checkpoint")
            compare(kind, file, under_first_names(read_headers(beside), config), stored, held, findings)
        except UnsafeError as error:
            findings.unsafe(error)
        except (ValueError, OSError) as error:
            findings.warning(
                "other-format",
                f"{file} lies beside {stored.source.name}, and it was not compared: {one_line(str(error))}",
                f"albert_np reads {stored.source.name}. Whoever reads the other file may get another model, or none.",
                "Convert the folder to the other format, or remove the file.",
            )
        others.append(kind.name)
    return others


def _named(folder: Path, kind: Format) -> list[Path]:
    """The weight files of one format. Where they cannot be told, there are none here: check_other_formats says why."""
    try:
        return weight_files(folder, kind)
    except (ValueError, OSError):
        return []


def compare(
    kind: Format, file: str, other: dict[str, Tensor], stored: Stored, held: dict[str, Tensor], findings: Findings
) -> None:
    """Compares the tensors that two formats of one folder have in common. kind and file: the one that does not count."""
    common = [name for name in held if name in other and name not in BUFFERS]
    differing, rounded = [], []
    for name in common:
        one, two = held[name], other[name]
        if one.shape != two.shape:
            differing.append(name)
            continue
        if math.prod(one.shape) > MAX_COMPARED:
            raise ValueError(f"{shown(name)} has the shape {shown(one.shape, 80)}, which no tensor of ALBERT has")
        x, y = one.load(), two.load()
        if one.dtype == two.dtype:
            differing += [name] * (not np.array_equal(x, y, equal_nan=True))
        elif not _equal_when_rounded(x, one.dtype, y, two.dtype):
            differing.append(name)
        else:
            rounded.append(f"{dtype_name(one.dtype)} and {dtype_name(two.dtype)}")
    if differing or not common:
        what = (
            f"{listed(differing)} {'has' if len(differing) == 1 else 'have'} other values there"
            if common
            else "no name"
        )
        findings.warning(
            "other-format",
            f"{file} lies beside {stored.source.name}, and {what if common else 'the two have no tensor in common'}",
            f"albert_np reads {stored.source.name}. A program that reads {file} has another model.",
            f"Find out which one is right, and convert it to {kind.name} or to {stored.format.name} again.",
        )
        return
    missing = sorted(set(held) - set(other) - {*BUFFERS, *ALIASES})
    told = f", in {rounded[0]}" if rounded else ""
    findings.note(
        "other-format",
        f"{file} lies beside {stored.source.name} with the same values{told}"
        + (f"; it has no {listed(missing)}" if missing else ""),
        f"albert_np reads {stored.source.name}; other programs may read {file}, with the same answers.",
    )


def _equal_when_rounded(x: np.ndarray, first: str, y: np.ndarray, second: str) -> bool:
    """Whether the one with the shorter numbers is the other one, rounded."""
    if first not in FLOATS or second not in FLOATS:
        return bool(np.array_equal(x, y))
    order = ("F64", "F32", "F16", "BF16")
    if order.index(first) > order.index(second):
        x, y, second = y, x, first
    return bool(np.array_equal(values_in(x, second), y, equal_nan=True))
