"""Tokens and ids: the V pieces of the file, the added tokens, and which of them are special, with their names.

Source: transformers 4.57.6 tokenization_utils_base.py SpecialTokensMixin, tokenization_utils.py PreTrainedTokenizer
(_add_tokens, get_vocab, convert_*). As there, so here: which token replaces which, and the order in which ids are given out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from albert_np.tokenization.added_tokens import AddedToken, parse_added_token

ATTRIBUTES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


@dataclass(frozen=True)
class SpecialTokens:
    """The tokens that a tokenizer is told about, besides the pieces of its file."""

    named: Mapping[str, AddedToken | str | None]  # by ATTRIBUTES
    additional: Sequence[AddedToken | str] | None
    extra: Mapping[str, AddedToken | str]  # special tokens under names of the model's own
    added: Mapping[int, AddedToken]  # by id; not all of them are special

    def all(self) -> Iterable[AddedToken | str]:
        """The special ones: the named tokens, the additional ones, and those of the model's own names."""
        yield from (token for token in self.named.values() if token is not None)
        yield from self.additional or ()
        yield from self.extra.values()


class Vocabulary:
    """A two-way table of tokens and ids that never changes."""

    def __init__(
        self,
        pieces: Sequence[str],
        unk_id: int,
        special: SpecialTokens,
    ):
        self.pieces = pieces
        self.piece_ids = {piece: i for i, piece in enumerate(pieces)}
        self.unk_id = unk_id
        self.named: dict[str, AddedToken | str | None] = dict(special.named)
        self.additional: list[AddedToken | str] = list(special.additional or ())
        self.additional_is_none = special.additional is None
        self.extra: dict[str, AddedToken | str] = dict(special.extra)
        self.added: dict[int, AddedToken] = dict(special.added)
        self.added_ids: dict[str, int] = {token.content: i for i, token in self.added.items()}
        if self.added and max(self.added) > len(pieces) + len(self.added) + 10_000:
            raise ValueError(f"an added token has the id {max(self.added)}, far beyond the {len(pieces)} pieces")
        self._add_named_tokens()
        self.special_tokens = list(dict.fromkeys(map(str, self.special.all())))
        self.special_set = frozenset(self.special_tokens)
        self.special_ids = [self.id_of(token) for token in self.special_tokens]
        # a vocabulary with a hole in its ids has fewer tokens than its largest id says, as in transformers
        self.size = len(self.as_dict())

    @property
    def special(self) -> SpecialTokens:
        """What this vocabulary was told, with all tokens that were added since."""
        additional = None if self.additional_is_none else self.additional
        return SpecialTokens(self.named, additional, self.extra, self.added)

    def __contains__(self, token: str) -> bool:
        return token in self.added_ids or token in self.piece_ids

    def _add_named_tokens(self) -> None:
        """Every special token becomes an added token: with the id of its piece, or with a new id after the last."""
        current = self.as_dict()
        first_new, n_new = len(current), 0
        seen: set[str] = set()
        for token in self.special.all():
            content = str(token)
            if content in seen or (isinstance(token, str) and content in self.added_ids):
                continue
            seen.add(content)
            if isinstance(token, str):
                token = AddedToken(content, special=True)
            else:
                token = AddedToken(
                    content, token.single_word, token.lstrip, token.rstrip, token.normalized, special=True
                )
            if content not in current:
                current[content] = first_new + n_new
                n_new += 1
            self.added[current[content]] = token
            self.added_ids[content] = current[content]

    def as_dict(self) -> dict[str, int]:
        """From token to id, with added tokens last (one added with the id of a piece replaces that piece)."""
        vocab = {(self.added[i].content if i in self.added else piece): i for i, piece in enumerate(self.pieces)}
        return vocab | {token.content: i for i, token in sorted(self.added.items())}

    def id_of(self, token: str) -> int:
        """The id of a token; that of the unknown piece if the token does not exist."""
        index = self.added_ids.get(token)
        return self.piece_ids.get(token, self.unk_id) if index is None else index

    def token_of(self, index: int) -> str:
        """The token of an id. Raises ValueError if there is none."""
        if index in self.added:
            return self.added[index].content
        if not 0 <= index < len(self.pieces):
            raise ValueError(f"token id {index} is outside the vocabulary (V = {self.size}); another tokenizer's ids?")
        return self.pieces[index]


def is_array(value: Any) -> bool:
    """Whether value is an array or a tensor of any library."""
    return hasattr(value, "tolist") or hasattr(value, "__array__")


def plain(array: Any) -> Any:
    """The lists, or the number, of an array or a tensor of any library."""
    return array.tolist() if hasattr(array, "tolist") else np.asarray(array).tolist()


def check_ids(value: Any, what: str = "token ids") -> list[int]:
    """A flat list of ints from a list, a tuple or an array (of any library) of integers. ValueError for everything else."""
    if is_array(value) and not isinstance(value, np.integer):
        ids = plain(value)
        row = ids if isinstance(ids, list) else [ids]
        if any(not isinstance(index, int) or isinstance(index, bool) for index in row):
            of = f"{getattr(value, 'dtype', type(value).__name__)} {tuple(getattr(value, 'shape', ()))}"
            raise ValueError(f"{what} must be one row of integers; got an array of {of}")
        value = row
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return [int(value)]
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{what} must be an int or a list of ints; got {type(value).__name__}")
    items = [plain(item) if is_array(item) else item for item in value]
    for item in items:
        if not isinstance(item, int) or isinstance(item, bool):
            raise ValueError(f"{what} must be ints; got {item!r:.60} among them")
    return items


def named_tokens(settings: Mapping[str, object]) -> dict[str, AddedToken | str | None]:
    """The seven special tokens of a tokenizer, checked. A mask token given as a str takes the space on its left."""
    named: dict[str, AddedToken | str | None] = {}
    for name in ATTRIBUTES:
        value = settings[name]
        token = None if value is None else parse_added_token(value, name)
        if name == "mask_token" and isinstance(token, str):
            token = AddedToken(token, lstrip=True, normalized=False)
        if token is None and name in ("cls_token", "sep_token", "unk_token"):
            raise ValueError(f"{name} must be set: every sequence ALBERT reads is [CLS] … [SEP]")
        named[name] = token
    return named


def token_list(tokens: Any, name: str) -> list[AddedToken | str]:
    if isinstance(tokens, str) or not isinstance(tokens, Iterable):
        raise ValueError(f"{name} must be a list of tokens; got {tokens!r:.80}")
    return [parse_added_token(token, f"{name}[{i}]") for i, token in enumerate(tokens)]


def token_names(tokens: Any, name: str) -> dict[str, AddedToken | str]:
    """Tokens by name. None means that there are none."""
    if tokens is not None and not isinstance(tokens, Mapping):
        raise ValueError(f"{name} must map names to tokens; got {tokens!r:.80}")
    return {str(key): parse_added_token(value, str(key)) for key, value in (tokens or {}).items()}
