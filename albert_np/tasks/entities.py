"""From the class of each token to entities: words that agree with themselves, neighbours that belong together.

The strategies and their arithmetic are those of transformers 4.57.6 (pipelines/token_classification.py). Two things differ,
where its answers are wrong: a word is what the tokenizer says, not what stands between two spaces; and the text of an entity
of several words keeps the spaces between them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from albert_np.ops import Array

STRATEGIES = ("none", "simple", "first", "average", "max")
Join = Callable[[list[str]], str]  # pieces -> their text
Entity = dict[str, Any]


class Token(NamedTuple):
    """A token of the text, without special tokens around it."""

    place: int  # in the row
    piece: str  # the text itself, if the vocabulary has no piece for it
    start: int  # its characters in the text
    end: int
    begins_word: bool


def entities(  # (n,K) probabilities
    tokens: Sequence[Token],
    scores: Array,
    names: Mapping[int, Any],
    *,
    strategy: str,
    join: Join,
    ignored: Collection[Any],
) -> list[Entity]:
    """What a strategy makes of the tokens of one row, without entities whose name is ignored.

    "none": each token, as {"entity", "score", "index", "word", "start", "end"}. The others merge neighbours of one kind
    into {"entity_group", "score", "word", "start", "end"}: "simple" merges tokens, whatever words they are part of; "first",
    "average" and "max" first give each word one class: that of its first token, of the mean of its scores, or of its
    surest token.
    """
    if strategy in ("none", "simple"):
        found = [_named([token], row, names) for token, row in zip(tokens, scores, strict=True)]
    else:
        found = [_named(tokens[word], _agreed(scores[word], strategy), names) for word in _words(tokens)]
    if strategy == "none":
        each = [
            {"entity": one["entity"], "score": one["score"], "index": token.place, "word": token.piece}
            | {"start": token.start, "end": token.end}
            for one, token in zip(found, tokens, strict=True)
        ]
        return [one for one in each if one["entity"] not in ignored]
    merged = [_merged(group, join) for group in _groups(found)]
    return [one for one in merged if one["entity_group"] not in ignored]


def without_overlap(found: Sequence[Entity]) -> list[Entity]:
    """The entities of several windows, each place once: the longer of two that overlap, or the surer of two as long."""
    kept: list[Entity] = []
    for one in sorted(found, key=lambda entity: entity["start"]):
        if not kept or not kept[-1]["start"] <= one["start"] < kept[-1]["end"]:
            kept.append(one)
        elif _size(one) > _size(kept[-1]) or (_size(one) == _size(kept[-1]) and one["score"] > kept[-1]["score"]):
            kept[-1] = one
    return kept


def begins_word(piece: str, before: str | None, added: Collection[str], starts: bool) -> bool:
    """Whether a word begins at a piece: where the piece is spelled so (starts), at an added token such as [MASK], after one."""
    return before is None or starts or piece in added or before in added


def spaced(pieces: Sequence[str]) -> str:
    """Pieces as one text: a space for each ▁, but for those of the first piece. So do transformers' fast tokenizers."""
    return pieces[0].replace("▁", "") + "".join(pieces[1:]).replace("▁", " ")


def _size(entity: Entity) -> int:
    return entity["end"] - entity["start"]


def _words(tokens: Sequence[Token]) -> list[slice]:
    firsts = [i for i, token in enumerate(tokens) if token.begins_word or i == 0]
    return [slice(first, last) for first, last in pairwise([*firsts, len(tokens)])]


def _agreed(scores: Array, strategy: str) -> Array:  # (n,K) of the tokens of a word -> (K,)
    if strategy == "average":
        return np.mean(scores, axis=0)
    return scores[0] if strategy == "first" else scores[scores.max(axis=1).argmax()]


def _named(tokens: Sequence[Token], scores: Array, names: Mapping[int, Any]) -> Entity:  # (K,)
    """Tokens with the likeliest class of their scores. "word" holds their pieces, which are joined last."""
    best = int(scores.argmax())
    return {
        "entity": names[best],
        "score": float(scores[best]),
        "word": [token.piece for token in tokens],
        "start": tokens[0].start,
        "end": tokens[-1].end,
    }


def _groups(found: Sequence[Entity]) -> list[list[Entity]]:
    """Neighbours of one kind. A B- tag begins a new entity; a name without B- or I- continues one of its kind."""
    groups: list[list[Entity]] = []
    for one in found:
        begins, kind = _tag(one["entity"])
        if groups and not begins and kind == _tag(groups[-1][-1]["entity"])[1]:
            groups[-1].append(one)
        else:
            groups.append([one])
    return groups


def _tag(name: Any) -> tuple[bool, str]:
    name = str(name)
    return name.startswith("B-"), name[2:] if name.startswith(("B-", "I-")) else name


def _merged(group: list[Entity], join: Join) -> Entity:
    return {
        "entity_group": str(group[0]["entity"]).split("-", 1)[-1],
        "score": float(np.mean([one["score"] for one in group])),
        "word": join([piece for one in group for piece in one["word"]]),
        "start": group[0]["start"],
        "end": group[-1]["end"],
    }
