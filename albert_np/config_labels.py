"""The labels of a config: how many there are and what they are called, from whatever of it is given."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from albert_np.config_values import is_int, shown_value

MAX_LABELS = 1_000_000
MAX_DIGITS = 20  # of a label's number

Labels = tuple[int, dict[int, Any], dict[Any, Any] | None]  # K, number -> name, name -> number


def resolve_labels(num_labels: Any, id2label: Any, label2id: Any) -> Labels:
    """K and its two tables. As in transformers 4.57.6, the table of names decides, and without one the names are LABEL_i.

    The table is taken as it is: its numbers may begin at 1 or have holes, its names may be any JSON, and K is its length.
    label2id is taken as it is too. Without one it is the table turned round, or None if a name is no text.
    """
    if id2label is None:
        if num_labels is not None and not (is_int(num_labels) and 0 < num_labels <= MAX_LABELS):
            raise ValueError(f"num_labels must be a positive int, at most a million; got {shown_value(num_labels)}")
        names: dict[int, Any] = {i: f"LABEL_{i}" for i in range(num_labels or 2)}
        return len(names), names, {name: i for i, name in names.items()}
    if not isinstance(id2label, Mapping) or len(id2label) > MAX_LABELS:
        raise ValueError(f"id2label must be a table from label number to name; got {shown_value(id2label)}")
    names = {_number(key, id2label): name for key, name in id2label.items()}
    if len(names) < len(id2label):
        raise ValueError(f"id2label must name a label once; got {shown_value(id2label)}")
    if num_labels is not None and not (is_int(num_labels) and 0 <= num_labels <= MAX_LABELS):
        raise ValueError(f"num_labels must be a positive int, at most a million; got {shown_value(num_labels)}")
    if num_labels not in (None, len(names)):
        warnings.warn(  # there are files with both, and different
            f"num_labels={num_labels} is not the length of id2label, {len(names)}; the latter counts", stacklevel=5
        )
    if label2id is None:
        known = all(isinstance(name, str) for name in names.values())
        return len(names), names, {name: i for i, name in names.items()} if known else None
    if not isinstance(label2id, Mapping):
        raise ValueError(f"label2id must be a table from name to label number; got {shown_value(label2id)}")
    numbers = {  # "0" for 0, as older tools wrote it
        name: int(i) if isinstance(i, str) and i.isdecimal() and len(i) < MAX_DIGITS else i
        for name, i in label2id.items()
    }
    return len(names), names, numbers


def merge_labels(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A file's values, replaced by the caller's: `num_labels=5` for a file with two names drops these names.

    Raises ValueError for overrides that contradict each other, which transformers refuses too.
    """
    merged = dict(values)
    count, names = overrides.get("num_labels"), overrides.get("id2label")
    if count is not None and isinstance(names, Mapping) and len(names) != count:
        raise ValueError(f"num_labels={shown_value(count)} contradicts the {len(names)} names of id2label: give one")
    if count is not None and "id2label" not in overrides:
        labels = merged.get("id2label")
        if not isinstance(labels, Mapping) or len(labels) != count:
            merged.pop("id2label", None)
            merged.pop("label2id", None)
    if "id2label" in overrides:
        merged.pop("num_labels", None)
        merged.pop("label2id", None)
    merged |= overrides
    if overrides.get("label2id") is not None and merged.get("id2label") is None:
        _, merged["id2label"], _ = resolve_labels(merged.get("num_labels"), None, None)
    return merged


def _number(key: Any, id2label: Mapping[Any, Any]) -> int:
    """The number of a label: an int, or text that int() reads, as JSON has it."""
    if is_int(key):
        return int(key)
    try:
        if isinstance(key, str) and len(key) <= MAX_DIGITS:
            return int(key)
    except ValueError:
        pass
    raise ValueError(f"the keys of id2label must be label numbers; got {shown_value(list(id2label))}")
