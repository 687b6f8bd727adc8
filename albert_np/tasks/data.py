"""What the tasks share: the examples of a file, and the way from texts to the rows of a batch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from albert_np.files import shown
from albert_np.ops import Array
from albert_np.tasks.rows import BadRows
from albert_np.tokenization.tokenizer import AlbertTokenizer


@dataclass
class TaskData:
    """The examples of one file. counts: how many examples there are, and what was left out."""

    examples: list[Any]
    label_names: list[str] = field(default_factory=list)  # by class number; [] for regression and multiple choice
    problem_type: str | None = None  # what config.problem_type says for sequence classification
    counts: dict[str, int] = field(default_factory=dict)


def check_any(found: Sequence[Any], path: str | os.PathLike, counts: Mapping[str, int], bad: BadRows) -> None:
    """Raises ValueError if a file has no example; the message says what was left out, and what the first bad row was."""
    if not found:
        left_out = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in bad.counted(counts).items() if n)
        first = f"; the first bad row: {bad.first}" if bad.first else ""
        raise ValueError(f"{path} has no examples{f' ({left_out})' if left_out else ''}{first}")


def encode_texts(
    tokenizer: AlbertTokenizer, texts: list[str], pairs: list[Any] | None, max_length: int, padding: str
) -> dict[str, Array]:
    """input_ids, token_type_ids, attention_mask (B,T) int64 of texts or pairs of texts, which are cut to max_length."""
    return dict(
        tokenizer(
            texts,
            pairs,
            truncation=True,
            max_length=max_length,
            padding=checked_padding(padding),
            return_tensors="np",
            verbose=False,
        )
    )


def checked_padding(padding: str) -> str:
    if padding not in ("longest", "max_length"):
        raise ValueError(f"padding must be 'longest' or 'max_length'; got {shown(repr(padding), 60)}")
    return padding
