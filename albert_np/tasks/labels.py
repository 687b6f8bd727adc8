"""Labels of fine-tuning files: from names or numbers to class numbers. Every refusal gives the number of the line.

A label is the name of a class, or a class number. A whole number is the same label however it is written: 1, 1.0, "1", "1.0",
" 1 " and JSON's true are the class "1", and 0 and false are "0". A number in another spelling ("007", "1e0", "0.5") is refused
unless label_names holds it, and so is a list that is written as text, where one label belongs.
"""

from __future__ import annotations

import ast
import json
import math
import os
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from albert_np.files import listed, shown
from albert_np.tasks.rows import BadRows, as_text

MAX_CLASSES = 10_000  # if labels are numbers without names: more than this looks like measurements
_WHOLE = re.compile(r"(-?(?:0|[1-9][0-9]{0,400}))(?:\.0*)?")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_ITEM = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|-?[0-9.]+|True|False)"""
_ITEMS = rf"\s*(?:{_ITEM}\s*(?:,\s*{_ITEM}\s*)*,?\s*)?"
_LIST = re.compile(rf"\[{_ITEMS}\]|\({_ITEMS}\)|\{{{_ITEMS}\}}", re.DOTALL)  # as Python writes it
_LIKE_A_LIST = re.compile(
    r"""\[.*\]|(?:array|list|tuple|(?:frozen)?set|Index|Series)\(.*\)|[({]\s*['"].*[)}]|[({][-0-9.\s]*,[-0-9.,\s]*[)}]""",
    re.DOTALL,
)
SEPARATORS = "|;,\t\n"


class LabelTable(NamedTuple):
    """Label names and the numbers they stand for."""

    names: list[str]
    numbers: dict[str, int]

    def number(self, where: str, value: Any) -> int:
        """The class number of a label. Raises ValueError if it is none of the table's."""
        given = value.strip() if isinstance(value, str) else str(value)
        found = self.numbers.get(given)
        if found is None:
            name = _label_name(value, where)
            found = self.numbers.get(name)
            # a number is the place of a name, if the names are no numbers themselves
            if found is None and _WHOLE.fullmatch(name) and not any(map(_NUMBER.fullmatch, self.names)):
                found = int(name) if 0 <= int(name) < len(self.names) else None
            if found is None and _WHOLE.fullmatch(name):
                _class_number(name, where, value)
        if found is None:
            raise ValueError(
                f"{where}: label {shown(repr(value), 60)} is none of {len(self.names)}: {listed(self.names)}"
            )
        return found

    def indicators(self, where: str, values: list[Any]) -> tuple[float, ...]:
        """1.0 for each class that is among the labels, else 0.0."""
        here = {self.number(where, value) for value in values}
        return tuple(float(i in here) for i in range(len(self.names)))


def label_table(
    raw: list[tuple[str, Any]], names: Sequence[str] | None, path: str | os.PathLike, bad: BadRows | None = None
) -> LabelTable:
    """The table of the given names; without them, "0" to the largest if all labels are whole numbers, else sorted names.

    raw: the labels with their places. Those that are no labels are refused, or left for `number` to refuse where bad skips.
    """
    if names is None:
        bad = BadRows() if bad is None else bad
        first: dict[str, tuple[str, Any]] = {}
        said = ""
        for where, value in raw:
            try:
                first.setdefault(_label_name(value, where), (where, value))
            except ValueError as error:
                said = said or str(error)
                if not bad.skip:
                    raise
        if first and all(map(_WHOLE.fullmatch, first)):
            numbers = []
            for name, (where, value) in first.items():
                try:
                    numbers.append(_class_number(name, where, value))
                except ValueError as error:
                    said = said or str(error)
                    if not bad.skip:
                        raise
            names = [str(i) for i in range(max(numbers, default=-1) + 1)]
        else:
            names = sorted(first)
        if not names:
            raise ValueError(f"{path} has no labels at all" + (f"; {said}" if said else ""))
    names = list(names)
    if len(set(names)) != len(names) or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"label_names must be different names; got {shown(repr(names), 200)}")
    numbers_of = {name: i for i, name in enumerate(names)}
    for i, name in enumerate(names):
        whole = _WHOLE.fullmatch(name)
        if whole:  # a name "1.0" is also the label 1
            numbers_of.setdefault(whole[1], i)
    return LabelTable(names, numbers_of)


def _label_name(value: Any, where: str) -> str:
    """A label as text, and a whole number in its shortest spelling: JSON's true and false are 1 and 0."""
    if isinstance(value, (bool, int)):
        return str(int(value))
    if isinstance(value, float):
        if not value.is_integer():
            raise ValueError(f"{where}: a label must be text; got {value!r}, which is no whole number either")
        return str(int(value))
    name = as_text(value, where, "a label").strip()
    if not name:
        raise ValueError(f"{where} has an empty label")
    whole = _WHOLE.fullmatch(name)
    if whole:
        return str(int(whole[1]))
    if _NUMBER.fullmatch(name):
        raise ValueError(
            f"{where}: label {shown(repr(name), 60)} is a number, but no class number such as 0 or 12; if it is the name of "
            "a class, name it in label_names"
        )
    if _LIKE_A_LIST.fullmatch(name):
        raise ValueError(
            f"{where}: label {shown(repr(name), 60)} is a list written as text, where the name of one class belongs; several "
            "labels of a text are problem_type 'multi_label_classification', and a class of that name stands in label_names"
        )
    return name


def _class_number(name: str, where: str, value: Any) -> int:
    if not 0 <= int(name) < MAX_CLASSES:
        raise ValueError(f"{where}: label {shown(value, 40)} is no class number from 0 to {MAX_CLASSES - 1}")
    return int(name)


def several_labels(value: Any, separator: str | None, where: str, known: Sequence[str] = ()) -> list[Any]:
    """The labels of one text: a list; or a list that is written as text, as JSON or Python write it; or names with `separator`
    between them.

    separator None is "|"; then a name in which another usual separator stands is refused, since it may be two names, unless it
    is a known one.
    """
    if value is None:
        return []
    if isinstance(value, list):
        return value
    if not isinstance(value, str):
        raise ValueError(
            f"{where}: several labels are a list, or text with {separator or SEPARATORS[0]!r} between; got {shown(value, 60)}"
        )
    text = value.strip()
    written = None if text in known else list_in_text(text, where)
    if written is not None:
        return written
    names = [part.strip() for part in text.split(separator or SEPARATORS[0]) if part.strip()]
    for name in names if separator is None else ():
        if name not in known and (any(x in name for x in SEPARATORS) or re.fullmatch(r"[0-9]+(\s+[0-9]+)+", name)):
            raise ValueError(
                f"{where}: {shown(repr(name), 60)} may be one label or several; say what stands between labels, such as "
                "separator=';', or '|' if this is one"
            )
    return names


def list_in_text(text: str, where: str) -> list[Any] | None:
    """The list that a text spells in JSON or Python, or None if it looks like no list.

    Raises ValueError for a text between brackets that is neither, such as NumPy's ['x' 'y'].
    """
    if not _LIKE_A_LIST.fullmatch(text) and text != "()":
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        if text == "set()":
            return []
        if not _LIST.fullmatch(text):  # Python's own parser takes 'x' 'y' for one text
            raise ValueError(
                f"{where}: {shown(repr(text), 60)} looks like a list, but is neither JSON's nor Python's: it has commas "
                "between quoted names or numbers"
            ) from None
        try:
            found = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            raise ValueError(f"{where}: {shown(repr(text), 60)} is no list of names or numbers") from None
        found = sorted(found, key=str) if isinstance(found, set) else list(found) if isinstance(found, tuple) else found
    if not isinstance(found, list):
        raise ValueError(f"{where}: {shown(repr(text), 60)} is no list of names or numbers")
    return found


def are_indicators(lists: list[tuple[str, list[Any]]], n: int | None) -> bool:
    """Whether lists hold a 0 or 1 for each class, and not names or class numbers.

    They do if all have one length (n, if the number of classes is known), hold only zeros and ones, and one of them holds a
    number twice, which class numbers never do. Raises ValueError for lists that may be both.
    """
    lengths = {len(values) for _, values in lists}
    every = [value for _, values in lists for value in values]
    if lengths <= {0, 1} or not all(isinstance(x, (bool, int, float)) and x in (0, 1) for x in every):
        return False
    twice = next((where for where, values in lists if len(set(values)) < len(values)), None)
    if len(lengths) > 1 or n not in (None, *lengths):
        if twice is not None:
            raise ValueError(
                f"{twice} holds a class number twice; lists of a 0 or 1 for each class have one length in all rows"
            )
        return False
    if twice is None:
        raise ValueError(
            f"{lists[0][0]}: lists of 0 and 1 may be class numbers, or a 0 or 1 for each class; write the labels as names"
        )
    return True


def finite_number(value: Any, where: str) -> float:
    try:
        # float reads "1_0" as 10
        number = math.nan if isinstance(value, bool) or "_" in str(value) else float(value)
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
    number = int(name) if _WHOLE.fullmatch(name) else ord(name) - ord("A") if len(name) == 1 else -1
    if not 0 <= number < n:
        raise ValueError(f"{where}: label {shown(repr(value), 60)} is no choice from 0 to {n - 1}, or from A")
    return number
