"""One text as tokens, and one row for the model: parallel lists, and where in the text each token came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

Span = tuple[int, int]


class CharSpan(NamedTuple):
    """Characters of a text, from `start` to before `end`."""

    start: int
    end: int


class TokenSpan(NamedTuple):
    """Tokens of a row, from `start` to before `end`."""

    start: int
    end: int


@dataclass
class Encoded:
    """One text as T tokens: parallel lists, without special tokens around them."""

    ids: list[int]
    tokens: list[str]
    spans: list[Span] | None = None  # characters of the text, or of its word where it came split into words
    words: list[int | None] | None = None  # number of the word each token came from

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, part: slice) -> Encoded:
        return Encoded(
            self.ids[part],
            self.tokens[part],
            None if self.spans is None else self.spans[part],
            None if self.words is None else self.words[part],
        )


@dataclass
class Row:
    """One row for the model: parallel lists, special tokens and padding included. The names are those of tokenizers.Encoding.

    Where a token has no place in a text, it has the offsets (0, 0), and None as its word and sequence.
    """

    ids: list[int] = field(default_factory=list)
    type_ids: list[int] = field(default_factory=list)
    attention_mask: list[int] = field(default_factory=list)
    special_tokens_mask: list[int] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    sequence_ids: list[int | None] = field(default_factory=list)  # 0 first text, 1 second, None special or padding
    offsets: list[Span] = field(default_factory=list)
    word_ids: list[int | None] = field(default_factory=list)
    n_sequences: int = 0
    words_known: bool = True
    offsets_known: bool = True

    def __len__(self) -> int:
        return len(self.ids)

    def add_special(self, token: str, token_id: int, kind: int) -> None:
        self._add(1, [token_id], [kind], [1], [token], [None], [(0, 0)], [None])

    def add_text(self, text: Encoded, number: int, kind: int) -> None:
        n = len(text)
        spans = text.spans if text.spans is not None else [(0, 0)] * n
        words = text.words if text.words is not None else [None] * n
        self.words_known &= text.words is not None or n == 0
        self.offsets_known &= text.spans is not None or n == 0
        self.n_sequences = number + 1
        self._add(n, text.ids, [kind] * n, [0] * n, text.tokens, [number] * n, spans, words)

    def _add(
        self,
        n: int,
        ids: list[int],
        types: list[int],
        special: list[int],
        tokens: list[str],
        sequence: Sequence[int | None],
        spans: Sequence[Span],
        words: Sequence[int | None],
    ) -> None:
        self.ids += ids
        self.type_ids += types
        self.attention_mask += [1] * n
        self.special_tokens_mask += special
        self.tokens += tokens
        self.sequence_ids += sequence
        self.offsets += spans
        self.word_ids += words

    def pad(self, length: int, side: str, token: str, token_id: int, kind: int) -> None:
        """Fills the row up to `length`. Padding is masked out, has type `kind`, and counts as special."""
        n = length - len(self.ids)
        if n <= 0:
            return
        filler = Row()
        filler._add(n, [token_id] * n, [kind] * n, [1] * n, [token] * n, [None] * n, [(0, 0)] * n, [None] * n)
        filler.attention_mask = [0] * n
        for name, value in vars(filler).items():
            if isinstance(value, list):
                setattr(self, name, getattr(self, name) + value if side == "right" else value + getattr(self, name))

    # --- from characters, tokens and words to one another; a place outside the row or its texts has no counterpart: None ---

    def token_to_sequence(self, token_index: int) -> int | None:
        """0 or 1, the text of a token."""
        return self.sequence_ids[token_index] if self._has(token_index) else None

    def token_to_chars(self, token_index: int) -> CharSpan | None:
        """The characters of a token in its text, or in its word if the text came in words."""
        return None if self.token_to_sequence(token_index) is None else CharSpan(*self.offsets[token_index])

    def token_to_word(self, token_index: int) -> int | None:
        """The number of the word that a token is part of."""
        return self.word_ids[token_index] if self._has(token_index) else None

    def char_to_token(self, char_index: int, sequence_index: int = 0) -> int | None:
        """The first token that covers a character of a text. None for most spaces."""
        for i, (start, end) in enumerate(self.offsets):
            if self.sequence_ids[i] == sequence_index and start <= char_index < end:
                return i
        return None

    def char_to_word(self, char_index: int, sequence_index: int = 0) -> int | None:
        """The number of the word that a character of a text is part of."""
        token = self.char_to_token(char_index, sequence_index)
        return None if token is None else self.word_ids[token]

    def word_to_tokens(self, word_index: int, sequence_index: int = 0) -> TokenSpan | None:
        """The tokens of a word."""
        found = [
            i for i, word in enumerate(self.word_ids) if word == word_index and self.sequence_ids[i] == sequence_index
        ]
        return TokenSpan(found[0], found[-1] + 1) if found else None

    def word_to_chars(self, word_index: int, sequence_index: int = 0) -> CharSpan | None:
        """The characters of a word, from its first token to its last."""
        tokens = self.word_to_tokens(word_index, sequence_index)
        return None if tokens is None else CharSpan(self.offsets[tokens.start][0], self.offsets[tokens.end - 1][1])

    def _has(self, token_index: int) -> bool:
        return -len(self) <= token_index < len(self)
