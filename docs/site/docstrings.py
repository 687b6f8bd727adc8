"""Docstrings of this project, which are plain text with Markdown's `code`, as reStructuredText for Sphinx.

What becomes of one: code stays code, and a block that is set in stays as it stands. A line `name: what it is` of a parameter
becomes an item of a list, and a sentence that begins with "Raises", "Returns" or "Warns" a paragraph of its own. The comment
on a def line says which shapes go in and out: it comes first.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import functools
import inspect
import io
import re
import textwrap
import tokenize
from collections.abc import Collection, Iterator
from typing import Any

CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
OWN_PARAGRAPH = re.compile(r"(Raises|Returns|Warns|Memory)\b")
ALIGNED = re.compile(r"\S {2,}\S")  # columns that stand below one another
ITEM = re.compile(r"^([-*]) (.*)")


def to_rst(text: str, names: Collection[str] = ()) -> list[str]:
    """The lines of a docstring for Sphinx; names are its parameters or fields."""
    lines: list[str] = []
    for block in re.split(r"\n[ \t]*\n", inspect.cleandoc(text).expandtabs()):
        rows = block.split("\n")
        if all(row.startswith("    ") for row in rows) or sum(bool(ALIGNED.search(row)) for row in rows) > 1:
            lines += ["::", "", *(f"    {row}" for row in rows), ""]
        else:
            for part in _parts(rows, names):
                lines += [*part, ""]
    return lines


def _parts(rows: list[str], names: Collection[str]) -> Iterator[list[str]]:
    """A paragraph as paragraphs and items of lists."""
    known = "|".join(sorted(map(re.escape, names), key=len, reverse=True)) or "(?!)"
    label = rf"(?:{known})(?:, (?:{known}))*(?: \([^()]*\))?"
    begins = re.compile(rf"({label}): (.*)", re.S)
    text = "\n".join(rows)
    # a parameter in the middle of a line begins an item too
    text = re.sub(rf"(?<=[.;:]) (?={label}: )", "\n", text)
    found: list[list[str]] = []  # each: kind, label, words
    for row in text.split("\n"):
        if (match := ITEM.match(row)) is not None:
            found.append(["item", "", match[2]])
        elif (match := begins.match(row)) is not None:
            found.append(["item", match[1], match[2]])
        elif not found or (OWN_PARAGRAPH.match(row) and found[-1][2].rstrip().endswith((".", ":"))):
            found.append(["paragraph", "", row])
        else:
            found[-1][2] += " " + row.strip()
    for kind, label, words in found:
        name = ", ".join(f"``{one.strip()}``" for one in label.split(", ")) + ": " if label else ""
        yield [("- " if kind == "item" else "") + name + escaped(words)]


def escaped(text: str) -> str:
    """One line of text for reStructuredText, in which nothing means anything but code."""
    parts, end = [], 0
    for match in CODE.finditer(text):
        parts += [_plain(text[end : match.start()]), _literal(match[1])]
        end = match.end()
        if text[end : end + 1].isalnum():
            parts.append("\\ ")
    return "".join([*parts, _plain(text[end:])])


def _plain(text: str) -> str:
    return re.sub(r"([\\*`|_])", r"\\\1", text)


def _literal(code: str) -> str:
    return f"``{code.strip()}``"


def shapes(value: Any) -> str:
    """The comment on a function's def line: "(..., in), (out, in) -> (..., out)"; "" where it has none."""
    function = inspect.unwrap(value.fget if isinstance(value, property) else getattr(value, "__func__", value))
    if not inspect.isfunction(function):
        return ""
    try:
        source = inspect.cleandoc(inspect.getsource(function))
        comments, depth, begun = [], 0, False
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            begun = begun or token.string == "def"
            if token.type == tokenize.COMMENT and begun:
                comments.append(token.string.lstrip("# "))
            depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(token.string, 0)
            if begun and token.type == tokenize.NEWLINE and depth == 0:
                break
    except (OSError, TypeError, SyntaxError, tokenize.TokenError):
        return ""
    text = " ".join(comments)
    return text if "(" in text and not text.startswith(("type:", "noqa")) else ""


def parameters(value: Any) -> list[str]:
    """What a docstring may explain line by line: parameters, fields, attributes."""
    names = set()
    if inspect.isclass(value):
        properties = {
            name for name, one in vars(value).items() if isinstance(one, property | functools.cached_property)
        }
        made = ""
        with contextlib.suppress(OSError, TypeError):  # a dataclass's is in no file
            made = inspect.getsource(value.__init__)
        names = set(getattr(value, "__annotations__", {})) | properties | set(re.findall(r"self\.(\w+)", made))
    with contextlib.suppress(TypeError, ValueError):
        names |= set(inspect.signature(value).parameters)
    return sorted(name for name in names if not name.startswith("_"))


def has_only_fields(value: Any) -> bool:
    """Whether a class is made of its fields alone: a NamedTuple, or a dataclass without a constructor of its own."""
    if dataclasses.is_dataclass(value):
        return bool(value.__dataclass_params__.init)
    return inspect.isclass(value) and issubclass(value, tuple) and hasattr(value, "_fields")


def fields(value: Any, but: str = "") -> list[str]:
    """A dataclass's or NamedTuple's fields as a list: name, type, default, and the comment on its line.

    but: a text that explains some of them already.
    """
    if not inspect.isclass(value) or not (dataclasses.is_dataclass(value) or hasattr(value, "_fields")):
        return []
    try:
        source = textwrap.dedent(inspect.getsource(value))
        (tree,) = ast.parse(source).body
    except (OSError, TypeError, SyntaxError, ValueError):
        return []
    rows, lines = source.split("\n"), []
    assert isinstance(tree, ast.ClassDef)
    for node in tree.body:
        if (
            not isinstance(node, ast.AnnAssign)
            or not isinstance(node.target, ast.Name)
            or node.target.id.startswith("_")
        ):
            continue
        if re.search(rf"^- [^:]*``{node.target.id}``", but, re.M):
            continue
        kind = ast.unparse(node.annotation)
        if "ClassVar" in kind:
            continue
        default = f" = {ast.unparse(node.value)}" if node.value is not None else ""
        comment = re.search(r"  # (?!type:|noqa)(.+)", rows[(node.end_lineno or node.lineno) - 1])
        says = f": {escaped(comment[1])}" if comment else ""
        lines.append(f"- ``{node.target.id}: {kind}{default}``{says}")
    return [*lines, ""] if lines else []


def process(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """For Sphinx's event autodoc-process-docstring."""
    text = "\n".join(lines)
    found = to_rst(text, parameters(value)) if text.strip() else []
    if shape := shapes(value):
        found = [f"Shapes: ``{shape}``", "", *found]
    if what == "class" and (rows := fields(value, but="\n".join(found))):
        found = [*found, "", "Fields:" if rows == fields(value) else "Other fields:", "", *rows]
    lines[:] = found
