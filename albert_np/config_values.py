"""Values of configs as they are given: by place, in other libraries' types, and how messages show them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from albert_np.files import listed


def by_name(names: Sequence[str], sizes: Sequence[Any], values: dict[str, Any]) -> dict[str, Any]:
    """Values of which some were given by place, all by name. names: those of the places."""
    if len(sizes) > len(names):
        raise ValueError(f"a config takes {len(names)} values by place, {names[0]} to {names[-1]}; got {len(sizes)}")
    placed = dict(zip(names, sizes, strict=False))
    twice = sorted(set(placed) & set(values))
    if twice:
        raise ValueError(f"a config takes each value once; got {listed(twice)} by place and by name")
    return placed | values


def json_path(value: Any) -> Path:
    if not isinstance(value, (str, os.PathLike)) or "\0" in str(value):
        raise ValueError(f"a JSON file is named by a str or a path; got {shown_value(value)}")
    return Path(value)


def dtype_name(value: Any) -> Any:
    """The name of a dtype of NumPy or torch; anything else as it is."""
    if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
        return np.dtype(value).name
    text = str(value)
    return text.removeprefix("torch.") if text.startswith("torch.") else value


def is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)  # True would be taken for the size 1


def is_real(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def shown_value(value: Any) -> str:
    text = " ".join(repr(value).split())  # a message is one line, and an array's repr is not
    return text if len(text) <= 80 else text[:77] + "…"
