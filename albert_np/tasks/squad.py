"""Questions of SQuAD files, in the forms in which people have them.

SQuAD's own form is articles with paragraphs, each a context with questions. The form of the library `datasets` has a context in
each question and its answers as two lists; such questions may stand in "data", in a list, or one on each line of a .jsonl file.
Numbers may be written in other ways: an id 7 is the id "7", is_impossible 1 is true, and answer_start 3.0 or "3" is 3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from albert_np.files import listed, shown
from albert_np.tasks.rows import BadRows, as_text, read_json_file, read_rows

_TRUTH = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


def questions(path: Path, bad: BadRows) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(place, context, question) of all questions of a file. Raises OSError or ValueError."""
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        for where, row in read_rows(path, bad=bad):
            yield from _flat(row, where, bad)
        return
    value = read_json_file(path)
    flat = isinstance(value, list) and bool(value)
    if not flat and (not isinstance(value, dict) or "data" not in value):
        raise ValueError(f'{path} is no SQuAD file: that is an object with "data", a list of articles')
    name = str(path) if flat else f"{path} data"
    for i, article in enumerate(_list(value if flat else value["data"], name)):
        where = f"{name}[{i}]"
        if isinstance(article, dict) and "paragraphs" not in article and "context" in article:
            yield from _flat(article, where, bad)
            continue
        for here, paragraph in _items(article, "paragraphs", where, bad):
            try:
                context = as_text(value_at(paragraph, "context", here), here, "context")
            except ValueError as error:
                bad.meet(error)
                continue
            for place, question in _items(paragraph, "qas", here, bad):
                if isinstance(question, dict):
                    yield place, context, question
                else:
                    bad.meet(ValueError(f"{place} must be an object; got {shown(repr(question), 60)}"))


def question_id(question: Mapping[str, Any], where: str) -> str:
    """The id, a text or a whole number, as text."""
    value = value_at(question, "id", where)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if type(value) is int else as_text(value, where, "id")


def is_impossible(question: Mapping[str, Any], where: str) -> bool:
    """Whether a question is said to have no answer; False where nothing is said."""
    value = question.get("is_impossible")
    truth = False if value is None else _TRUTH.get(str(value).strip().lower())
    if truth is None:
        raise ValueError(f"{where}: is_impossible must be true or false; got {shown(repr(value), 60)}")
    return truth


def answers_of(value: Any, where: str) -> list[tuple[str, int]]:
    """(text, its first character) of some answers: a list of objects, one object, or one object of two lists."""
    if isinstance(value, dict) and "text" in value:
        texts, starts = (value_at(value, name, f"{where}.answers") for name in ("text", "answer_start"))
        if isinstance(texts, list) != isinstance(starts, list) or (
            isinstance(texts, list) and len(texts) != len(starts)
        ):
            raise ValueError(f"{where}.answers must have an answer_start for each text; got {shown(repr(value), 80)}")
        pairs = list(zip(texts, starts, strict=True)) if isinstance(texts, list) else [(texts, starts)]
    else:
        answers = _list(value, f"{where}.answers")
        pairs = [(value_at(x, "text", where), value_at(x, "answer_start", where)) for x in answers]
    return [(as_text(text, where, "an answer"), _start(start, where)) for text, start in pairs]


def value_at(value: Any, name: str, where: str) -> Any:
    """A named value of an object. Raises ValueError if it is none or has no such name."""
    if not isinstance(value, dict):
        raise ValueError(f"{where} must be an object; got {shown(repr(value), 60)}")
    if name not in value:
        raise ValueError(f"{where} has no {name!r}; it has {listed(list(map(str, value)))}")
    return value[name]


def _start(value: Any, where: str) -> int:
    if isinstance(value, str) and value.strip().removeprefix("-").isdecimal() and len(value) < 20:
        return int(value)
    if type(value) is int or (isinstance(value, float) and value.is_integer()):
        return int(value)
    raise ValueError(f"{where}: answer_start must be a whole number; got {shown(repr(value), 60)}")


def _flat(row: Mapping[str, Any], where: str, bad: BadRows) -> Iterator[tuple[str, str, dict[str, Any]]]:
    try:
        context = as_text(value_at(row, "context", where), where, "context")
    except ValueError as error:
        bad.meet(error)
    else:
        yield where, context, dict(row)


def _items(value: Any, name: str, where: str, bad: BadRows) -> Iterator[tuple[str, Any]]:
    try:
        items = _list(value_at(value, name, where), f"{where}.{name}")
    except ValueError as error:
        bad.meet(error)
        return
    yield from ((f"{where}.{name}[{i}]", item) for i, item in enumerate(items))


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{where} must be a list; got {shown(repr(value), 60)}")
    return value
