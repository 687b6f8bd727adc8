"""Labels of fine-tuning files: from names or numbers to class numbers. Every refusal gives the number of the line."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from albert_np.files import listed, shown
from albert_np.tasks.rows import as_text

MAX_CLASSES = 10_000  # if labels are numbers without names: more than this looks like measurements


class LabelTable(NamedTuple):
    """Label names and the numbers they stand for."""

    names: list[str]
    numbers: dict[str, int]

    def number(self, where: str, value: Any) -> int:
        name = _label_name(value, where)
        found = self.numbers.get(name)
        if found is None and _is_whole(name) and 0 <= int(name) < len(self.names):
            found = int(name)
        if found is None:
            raise ValueError(
                f"{where}: label {shown(repr(value), 60)} is none of {len(self.names)}: {listed(self.names)}"
            )
        return found

    def indicators(self, where: str, values: list[Any]) -> tuple[float, ...]:
        here = {self.number(where, value) for value in values}
        return tuple(float(i in here) for i in range(len(self.names)))


def label_table(raw: list[tuple[str, Any]], names: Sequence[str] | None, path: str | os.PathLike) -> LabelTable:
    """The table of the given names; without them, "0" to the largest if all labels are whole numbers, else sorted names."""
    if names is None:
        found = {_label_name(value, where) for where, value in raw}
        if not found:
            raise ValueError(f"{path} has no labels at all")
        if all(map(_is_whole, found)):
            numbers = [int(name) for name in found]
            if min(numbers) < 0 or max(numbers) >= MAX_CLASSES:
                where, value = next((w, v) for w, v in raw if not 0 <= int(_label_name(v, w)) < MAX_CLASSES)
                raise ValueError(f"{where}: label {shown(value, 40)} is no class number from 0 to {MAX_CLASSES - 1}")
            names = [str(i) for i in range(max(numbers) + 1)]
        else:
            names = sorted(found)
    names = list(names)
    if len(set(names)) != len(names) or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"label_names must be different names; got {shown(repr(names), 200)}")
    return LabelTable(names, {name: i for i, name in enumerate(names)})


def _label_name(value: Any, where: str) -> str:
    """A label as text: JSON's true and false are 1 and 0."""
    if isinstance(value, (bool, int)):
        return str(int(value))
    name = as_text(value, where, "a label").strip()
    if not name:
        raise ValueError(f"{where} has an empty label")
    return name


def _is_whole(name: str) -> bool:
    return name.removeprefix("-").isdecimal() and name.isascii() and len(name) < 12


def several_labels(value: Any, separator: str, where: str) -> list[Any]:
    if value is None or value == "":
        return []
    if isinstance(value, list):
        return value
    if isinstance(value, str):
        return [part for part in value.split(separator) if part.strip()]
    raise ValueError(f"{where}: several labels are a list, or text with {separator!r} between; got {shown(value, 60)}")


def finite_number(value: Any, where: str) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{where}: label {shown(repr(value), 60)} is no finite number, as regression needs")
    return number


def zero_or_one(value: Any, where: str) -> float:
    if str(value).strip() in ("0", "1", "0.0", "1.0", "True", "False", "true", "false"):
        return float(str(value).strip() in ("1", "1.0", "True", "true"))
    raise ValueError(f"{where}: label {shown(repr(value), 60)} must be 0 or 1, as label columns hold")


def choice_number(value: Any, n: int, where: str) -> int:
    name = _label_name(value, where)
    number = int(name) if _is_whole(name) else ord(name) - ord("A") if len(name) == 1 else -1
    if not 0 <= number < n:
        raise ValueError(f"{where}: label {shown(repr(value), 60)} is no choice from 0 to {n - 1}, or from A")
    return number
