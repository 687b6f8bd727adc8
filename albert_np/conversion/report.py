"""What a conversion did: every tensor with its hash, what was left out, the files, and how far the outputs are apart."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from albert_np.checkpoints.formats.values import FLOATS
from albert_np.conversion.rounding import Loss
from albert_np.files import shown


@dataclass(frozen=True)
class TensorRow:
    """One tensor that was written."""

    name: str
    shape: tuple[int, ...]
    dtype: str  # such as "float32"
    sha256: str  # of its numbers in C order, little-endian, oriented as in Hugging Face's files
    stored_as: str  # the dtype in the source
    loss: Loss | None = None  # what rounding changed


@dataclass(frozen=True)
class LeftOut:
    """One tensor of the source that was not written, and why."""

    name: str  # as the source has it
    shape: tuple[int, ...]
    dtype: str
    why: str


@dataclass(frozen=True)
class Outputs:
    """The outputs of the source's model and of the written one, for a small batch drawn from a seed."""

    computed: bool
    by: str  # what computed the written model's, or why nothing did
    largest: dict[str, float] = field(default_factory=dict)  # output -> the largest difference of two entries
    scale: dict[str, float] = field(default_factory=dict)  # output -> the largest entry

    @property
    def difference(self) -> float:
        """The largest difference of all outputs; NaN if nothing was computed."""
        return max(self.largest.values(), default=0.0) if self.computed else math.nan


@dataclass(frozen=True)
class Report:
    """What `convert` did. `str(report)` is text for people, and `report.to_dict()` plain values for JSON."""

    source: str
    source_format: str
    target: str
    format: str
    architecture: str
    tensors: list[TensorRow]
    left_out: list[LeftOut]
    files: dict[str, int]  # name -> bytes
    tokenizer_files: list[str]
    outputs: Outputs
    notes: list[str]

    @property
    def totals(self) -> dict[str, int]:
        """How many tensors and numbers were written, each tied tensor once, and how many bytes all files have."""
        numbers = sum(math.prod(row.shape) for row in self.tensors)
        return {"tensors": len(self.tensors), "parameters": numbers, "bytes": sum(self.files.values())}

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values, with the totals."""
        difference = self.outputs.difference if self.outputs.computed else None  # JSON has no NaN
        values = asdict(self) | {"totals": self.totals, "largest_difference": difference}
        for row, tensor in zip(values["tensors"], self.tensors, strict=True):
            row["loss"] = None if tensor.loss is None else tensor.loss._asdict()
        return values

    def __str__(self) -> str:
        return as_text(self)


def as_text(report: Report) -> str:
    """The report as text for people."""
    lines = [
        f"{report.source} ({report.source_format}) -> {report.target} ({report.format}): {report.architecture}",
        "",
        *_table(report.tensors),
        f"  {len(report.tensors)} tensors, {report.totals['parameters']:,} numbers",
    ]
    changed = [row for row in report.tensors if row.loss is not None]
    if changed:
        lines += ["", "  rounding changed"]
        lines += [f"  {row.name}: {_loss(row)}" for row in changed]
    elif any(row.stored_as != row.dtype for row in report.tensors):
        lines += ["", "  no number changed when its dtype did"]
    if report.left_out:
        lines += ["", "  left out"]
        lines += [f"  {shown(one.name)} {list(one.shape)} {one.dtype}: {one.why}" for one in report.left_out]
    lines += ["", "  files"] + [f"  {name:40} {size:14,} bytes" for name, size in sorted(report.files.items())]
    if not report.tokenizer_files:
        lines.append("  no tokenizer: the source has no file of one")
    lines += ["", *(f"  note: {note}" for note in report.notes), *_outputs(report.outputs)]
    return "\n".join(lines)


def _table(rows: list[TensorRow]) -> list[str]:
    width = max((len(row.name) for row in rows), default=4)
    lines = [f"  {'tensor':{width}} {'shape':>12} {'dtype':>8}  sha256 begins with"]
    for row in rows:
        shape = " × ".join(map(str, row.shape))
        lines.append(f"  {row.name:{width}} {shape:>12} {row.dtype:>8}  {row.sha256[:16]}")
    return lines


def _loss(row: TensorRow) -> str:
    assert row.loss is not None
    text = f"{row.loss.changed:,} of {math.prod(row.shape):,} numbers, by at most {row.loss.largest:.2g}"
    text += f" ({row.loss.relative:.2g} of the number)"
    return text + (f"; {row.loss.to_zero:,} became zero" if row.loss.to_zero else "")


def _outputs(outputs: Outputs) -> list[str]:
    if not outputs.computed:
        return [f"  the written model was not run: {outputs.by}"]
    lines = [f"  outputs of a small batch, source against what was written, by {outputs.by}"]
    for name, difference in outputs.largest.items():
        equal = "equal to the bit" if difference == 0 else f"largest difference {difference:.3g}"
        lines.append(f"  {name}: {equal} (largest entry {outputs.scale[name]:.3g})")
    return [
        *lines,
        f"  every tensor was read back and compared; largest difference of the outputs: {outputs.difference:.3g}",
    ]


def dtype_name(word: str) -> str:
    """The name of a dtype for people, such as "float32" for "F32"."""
    return FLOATS.get(word, word)
