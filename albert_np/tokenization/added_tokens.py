"""Added tokens: strings that tokenization keeps whole, such as [MASK], and how text is cut at them.

The rules are those of transformers 4.57.6, tokenization_utils.py (Trie, PreTrainedTokenizer.tokenize).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from albert_np.files import listed

MAX_ADDED_TOKENS = 10_000  # a few are usual; each one is compared with every text

Node = dict[str, Any]  # of a trie: the next character -> the next node
END = ""  # a key of the nodes behind a whole token

# str.strip() takes these four controls for whitespace, the `tokenizers` library does not; only spans can tell
_PYTHON_ONLY_SPACE = "\x1c\x1d\x1e\x1f"


@dataclass(frozen=True)
class AddedToken:
    """A token, and what it does to the text around it. Fields and defaults are those of the `tokenizers` library."""

    content: str
    single_word: bool = False  # only where no letter touches it
    lstrip: bool = False  # takes the whitespace on its left with it
    rstrip: bool = False
    normalized: bool | None = None  # None: the opposite of special
    special: bool = False  # left out by decode(skip_special_tokens=True)

    def __post_init__(self) -> None:
        if self.normalized is None:
            object.__setattr__(self, "normalized", not self.special)

    def __str__(self) -> str:
        return self.content

    def to_json(self) -> dict[str, Any]:
        """The token as a dict, as in added_tokens_decoder of tokenizer_config.json."""
        return {name: getattr(self, name) for name in sorted(FIELDS)}


FIELDS = tuple(field.name for field in fields(AddedToken))


def parse_added_token(value: Any, what: str) -> AddedToken | str:
    """A str, a dict of an AddedToken's fields, or an object that has them, checked; `what` names it in the ValueError.

    Such an object is an AddedToken of ours, or that of the `tokenizers` library, which transformers hands out too.
    """
    if not isinstance(value, (str, dict)) and all(hasattr(value, name) for name in FIELDS):
        value = {name: getattr(value, name) for name in FIELDS}
        if value["normalized"] is None:
            del value["normalized"]
    if isinstance(value, dict):
        given = {key: item for key, item in value.items() if key != "__type"}
        unknown = set(given) - set(FIELDS)
        if unknown or "content" not in given:
            raise ValueError(
                f"{what} must be a str or an object with content, lstrip, rstrip, single_word, normalized and special; "
                f"got the keys {listed(sorted(map(str, value)))}"
            )
        for key, item in given.items():
            expected = str if key == "content" else bool
            if not isinstance(item, expected):
                raise ValueError(f"{what}: {key} must be a {expected.__name__}; got {item!r:.80}")
        value = AddedToken(**given)
    if not isinstance(value, (str, AddedToken)):
        raise ValueError(f"{what} must be a str or an object with content, lstrip, …; got {value!r:.80}")
    if not str(value):
        raise ValueError(f"{what} is an empty string, which would match everywhere")
    try:
        str(value).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{what} holds a lone surrogate at position {error.start}") from error
    return value


class Cutter:
    """Cuts text at a fixed set of tokens, like transformers' Trie.split. The parts, joined in order, are the text."""

    def __init__(self, tokens: Iterable[str]):
        self.tokens = sorted(set(tokens))
        if len(self.tokens) > MAX_ADDED_TOKENS:
            raise ValueError(f"{len(self.tokens):,} added tokens; at most {MAX_ADDED_TOKENS:,} are taken")
        self._trie: Node = {}
        for token in self.tokens:
            node = self._trie
            for char in token:
                node = node.setdefault(char, {})
            node[END] = {}
        # Where no token is part of another, the first token to match is the only one that can, and a regular expression
        # gives the same cuts as the walk below, in C; but it tries one token after the other, which pays for a few only.
        few = 0 < len(self.tokens) <= 100
        contained = any(self._holds_another(token) for token in self.tokens)
        self._pattern = re.compile("|".join(map(re.escape, self.tokens))) if few and not contained else None

    def _holds_another(self, token: str) -> bool:
        for start in range(len(token)):
            node = self._trie
            for at in range(start, len(token)):
                if token[at] not in node:
                    break
                node = node[token[at]]
                if END in node and at + 1 - start < len(token):
                    return True
        return False

    def cut(self, text: str) -> list[tuple[int, int]]:
        """The spans (start, end) of the parts of text. None is empty, and each token that was found is a part of its own."""
        if self._pattern is not None:
            found = [match.span() for match in self._pattern.finditer(text)]
        else:
            found = self._walk(text) if self.tokens else []
        parts, at = [], 0
        for start, end in found:
            # the walk can ask for an end before the start; transformers skips such a cut too
            for stop in (start, end):
                if stop > at:
                    parts.append((at, stop))
                    at = stop
        if at < len(text):
            parts.append((at, len(text)))
        return parts

    def _walk(self, text: str) -> list[tuple[int, int]]:
        """Matches as transformers finds them where tokens contain one another: leftmost, then longest, with one oddity.

            tokens: b, xbyz    "xbyz"  -> (0, 4): at 2, "b" has been read to its end, and the earlier "xbyz" is taken instead
                               "xbq"   -> (1, 2): "xbyz" is not there
                               "xbqyz" -> (0, 5): the oddity. "q" breaks "xbyz", but is passed over

        `begun` maps the start of each token that may be under way to the trie's node behind what was read of it, the earliest
        start first.
        """
        found: list[tuple[int, int]] = []
        begun: dict[int, Node] = {}
        taken = 0  # the matches so far reach up to here
        for at, char in enumerate(text):
            if at < taken:
                continue
            complete = _first_complete(begun)
            if complete is not None:
                start, taken = _longest(text, at, begun, complete)
                found.append((start, taken))
                begun = {}
            elif begun:
                begun = {start: node[char] for start, node in begun.items() if char in node}
            if at >= taken and char in self._trie:
                begun[at] = self._trie[char]
        complete = _first_complete(begun)
        return found if complete is None else [*found, (complete, len(text))]


def _first_complete(begun: dict[int, Node]) -> int | None:
    """The earliest start of a token that has been read to its end."""
    for start, node in begun.items():
        if END in node:
            return start
    return None


def _longest(text: str, at: int, begun: dict[int, Node], complete: int) -> tuple[int, int]:
    """The match to take when the token from `complete` has been read to its end, before text[at].

    A token that began earlier, and is a token further on, is taken instead; else the longest that begins at `complete`.
    The earlier ones read text[at] first. Where that ends one of them, 4.57.6 passes over the character and goes on with the
    next (the oddity), and so an "earlier match" need not be a token at all.
    """
    for start, node in begun.items():
        if start == complete:
            break
        end = _last_end(text, at + 1, node.get(text[at], node))
        if end is not None:
            return start, end
    end = _last_end(text, at, begun[complete])
    assert end is not None
    return complete, end


def _last_end(text: str, at: int, node: Node) -> int | None:
    """Where the longest token ends that goes on from text[at]; None where no token does."""
    end = at if END in node else None
    while at < len(text) and text[at] in node:
        node = node[text[at]]
        at += 1
        if END in node:
            end = at
    return end


@dataclass(slots=True)
class Part:
    """An added token, or a stretch of text between added tokens: its characters, and where each one was."""

    text: str
    spans: list[tuple[int, int]]  # the runs of the text it was cut from whose characters it is made of, in order
    token: AddedToken | None  # set where the part is that token
    claimed: tuple[int, int] = (0, 0)  # span of the token with the whitespace it took from its neighbours


def split_on_added_tokens(text: str, cutter: Cutter, tokens: dict[str, AddedToken]) -> list[Part]:
    """Cuts text at its added tokens, which then strip their neighbours.

    Source: transformers 4.57.6 tokenization_utils.py, the middle of PreTrainedTokenizer.tokenize. The order of its steps
    decides odd cases (a token may strip away the space that a single_word token needs), so the order is the same here.
    """
    cuts = cutter.cut(text)
    parts = [Part(text[a:b], [(a, b)], tokens.get(text[a:b]), (a, b)) for a, b in cuts]
    for i in range(len(parts)):
        # looked up anew: a neighbour that was joined to this part may have changed what it says
        token = tokens.get(parts[i].text)
        if token is None:
            continue
        left = parts[i - 1] if i > 0 else None
        right = parts[i + 1] if i + 1 < len(parts) else None
        # single_word looks at the neighbours as they were before this token stripped them
        left_touches = bool(left and left.text and left.text[-1] != " ")
        right_touches = bool(right and right.text and right.text[0] != " ")
        if token.rstrip and right and right.text:
            _strip_start(right, parts[i])
        if token.lstrip and left and left.text:
            _strip_end(left, parts[i])
        if token.single_word and left_touches and left:
            left.text += parts[i].text
            left.spans += parts[i].spans
            parts[i].text, parts[i].spans = "", []
        elif token.single_word and right_touches and right:
            right.text = parts[i].text + right.text
            right.spans = parts[i].spans + right.spans
            parts[i].text, parts[i].spans = "", []
    for part in parts:
        part.token = tokens.get(part.text)
    return [part for part in parts if part.text]


def _strip_end(part: Part, token: Part) -> None:
    kept = part.text.rstrip()
    removed = part.text[len(kept) :]
    part.text = kept
    _drop(part.spans, len(removed), last=True)
    taken = len(removed) - 1 - max(map(removed.rfind, _PYTHON_ONLY_SPACE))
    token.claimed = (token.claimed[0] - taken, token.claimed[1])


def _strip_start(part: Part, token: Part) -> None:
    kept = part.text.lstrip()
    removed = part.text[: len(part.text) - len(kept)]
    part.text = kept
    _drop(part.spans, len(removed), last=False)
    controls = [at for at in map(removed.find, _PYTHON_ONLY_SPACE) if at >= 0]
    token.claimed = (token.claimed[0], token.claimed[1] + min(controls, default=len(removed)))


def _drop(spans: list[tuple[int, int]], count: int, *, last: bool) -> None:
    """Takes `count` characters off the end, or off the start, of a list of runs."""
    while count:
        start, end = spans.pop(-1 if last else 0)
        taken = min(count, end - start)
        count -= taken
        if taken < end - start:
            spans.insert(len(spans) if last else 0, (start, end - taken) if last else (start + taken, end))
