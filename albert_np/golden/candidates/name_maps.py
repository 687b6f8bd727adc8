"""Somebody else's names of tensors -> ours: {"encoder.layer.*.attention.query": "bert/layer_*/q/Add"}.

On both sides `*` stands for some characters and `?` for one, neither for a dot or a slash; what they match in the foreign name
goes, in order, into ours. `{n}` does the same by name, so that the order may differ: {"layer.{n}.ffn": "blocks[{n}].up"}.
A name that no entry fits so is tried once more with the entries that begin or end with their only wildcard, which then may
match dots and slashes, too: {"*": "model/*"} takes a prefix off all names. All other characters mean themselves.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from albert_np.files import listed, parse_json, shown

MAX_BYTES, MAX_ENTRIES = 4 * 1024 * 1024, 20_000
_WILD = re.compile(r"\*|\?|\{[A-Za-z_]\w*\}")


class Renamed(NamedTuple):
    """What a map makes of names."""

    ours: dict[str, str]  # for every foreign name, in their order; itself where no entry is for it
    notes: list[str]  # what a person should hear


def read_map(given: Mapping[str, str] | str | os.PathLike) -> dict[str, str]:
    """{ours: theirs} from a dict, a JSON file or a text file with lines `ours theirs` (= or -> between them, # for comments).

    Raises ValueError for a map that makes no sense, OSError for a file that cannot be read.
    """
    if isinstance(given, Mapping):
        what, entries = "the name map", dict(given)
    else:
        path = Path(given)
        what = f"the name map {path}"
        if not path.is_file():
            raise OSError(f"{what} is no file")
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"{what} is {path.stat().st_size:,} bytes; at most {MAX_BYTES:,} are read")
        data = path.read_bytes()
        entries = parse_json(data, what) if data.lstrip()[:1] in (b"{", b"[") else _lines(data, what)
    if not isinstance(entries, dict) or not entries or len(entries) > MAX_ENTRIES:
        raise ValueError(f"{what} must map our names to theirs: one object, 1 to {MAX_ENTRIES:,} entries")
    for ours, theirs in entries.items():
        if not (isinstance(ours, str) and isinstance(theirs, str) and ours and theirs):
            raise ValueError(f"{what} must map names to names; got {shown(ours)!r}: {shown(theirs)!r}")
        _checked(ours, theirs, what)
    return entries


def _lines(data: bytes, what: str) -> dict[str, str]:
    entries: dict[str, str] = {}
    try:
        lines = data.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{what} is not UTF-8 text ({error.reason} at {error.start})") from error
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if len(words) == 3 and words[1] in ("=", "->"):
            del words[1]
        if not words:
            continue
        if len(words) != 2:
            raise ValueError(f"{what}, line {number}: two names were due, ours and theirs; got {shown(line)!r}")
        if words[0] in entries:
            raise ValueError(f"{what}, line {number}: {shown(words[0])!r} is there twice")
        entries[words[0]] = words[1]
    return entries


def _checked(ours: str, theirs: str, what: str) -> None:
    (stars, names), (other_stars, other_names) = _wild(ours), _wild(theirs)
    if stars != other_stars or set(names) != set(other_names):
        raise ValueError(
            f"{what}: {shown(ours)!r} and {shown(theirs)!r} must have the same number of * and the same {{names}}"
        )


def _wild(pattern: str) -> tuple[int, list[str]]:  # -> how many * and ?, the names in braces
    found = _WILD.findall(pattern)
    return sum(x in "*?" for x in found), [x for x in found if x not in "*?"]


def _at_one_end(pattern: str) -> bool:
    """It has one wildcard, which it begins or ends with."""
    found = list(_WILD.finditer(pattern))
    return len(found) == 1 and (found[0].start() == 0 or found[0].end() == len(pattern))


def _regex(pattern: str, any_character: str = "[^./]") -> re.Pattern[str]:
    parts, at, seen = [], 0, set()
    for match in _WILD.finditer(pattern):
        parts.append(re.escape(pattern[at : match.start()]))
        at, wild = match.end(), match[0]
        if wild in "*?":
            parts.append(f"({any_character}+)" if wild == "*" else "([^./])")
        else:
            parts.append(f"(?P={wild[1:-1]})" if wild in seen else f"(?P<{wild[1:-1]}>{any_character}+)")
            seen.add(wild)
    return re.compile("".join(parts) + re.escape(pattern[at:]))


def _filled(pattern: str, match: re.Match[str]) -> str:
    names = match.groupdict()
    named = {match.re.groupindex[name] for name in names}
    in_order = iter([text for i, text in enumerate(match.groups(), 1) if i not in named])
    return _WILD.sub(lambda wild: next(in_order) if wild[0] in "*?" else names[wild[0][1:-1]], pattern)


def rename(names: list[str], entries: Mapping[str, str]) -> Renamed:
    """Our name for each of theirs. An entry without wildcards goes before one with them.

    Raises ValueError if a name fits two entries, two names become one, or no entry fits anything.
    """
    ours, used = _matched(names, entries)
    notes = []
    if not used:
        ours, used = _matched(names, {theirs: own for own, theirs in entries.items()})
        if not used:
            first = next(iter(entries.values()))
            near = difflib.get_close_matches(first, names, n=3, cutoff=0.3) or names[:3]
            raise ValueError(
                f"no entry of the name map fits a tensor: {shown(first)!r}, for one, is none of {len(names)} names "
                f"such as {listed(near)}"
            )
        notes.append("the name map leads from their names to ours, and was read so")
        entries = {theirs: own for own, theirs in entries.items()}
    idle = [theirs for own, theirs in entries.items() if own not in used]
    if idle:
        notes.append(f"these entries of the name map fit no tensor: {listed(idle)}")
    by_ours: dict[str, str] = {}
    for theirs, own in ours.items():
        if own in by_ours:
            raise ValueError(
                f"the name map gives {shown(by_ours[own])!r} and {shown(theirs)!r} the same name {shown(own)!r}"
            )
        by_ours[own] = theirs
    return Renamed(ours, notes)


def _matched(names: list[str], entries: Mapping[str, str]) -> tuple[dict[str, str], set[Any]]:
    """Theirs -> ours, and the entries that fitted something."""
    exact: dict[str, str] = {}
    for own, theirs in entries.items():
        if theirs in exact:
            raise ValueError(
                f"the name map gives {shown(theirs)!r} two names: {shown(exact[theirs])!r} and {shown(own)!r}"
            )
        if not _WILD.search(theirs):
            exact[theirs] = own
    patterns = [(own, theirs, _regex(theirs)) for own, theirs in entries.items() if _WILD.search(theirs)]
    wide = [(own, theirs, _regex(theirs, ".")) for own, theirs, _ in patterns if _at_one_end(theirs)]
    ours, used = {}, set()
    for name in names:
        if name in exact:
            ours[name] = exact[name]
            used.add(exact[name])
            continue
        fitting = _fitting(name, patterns) or _fitting(name, wide)
        results = {_filled(own, found) for own, _, found in fitting}
        if len(results) > 1:
            raise ValueError(
                f"{shown(name)!r} fits more than one entry of the name map: {listed([theirs for _, theirs, _ in fitting])}"
            )
        ours[name] = results.pop() if results else name
        used |= {own for own, _, _ in fitting}
    return ours, used


def _fitting(name: str, patterns: list[tuple[str, str, re.Pattern[str]]]) -> list[tuple[str, str, re.Match[str]]]:
    return [(own, theirs, found) for own, theirs, regex in patterns if (found := regex.fullmatch(name))]
