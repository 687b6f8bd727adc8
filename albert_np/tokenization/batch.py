"""What a tokenizer returns: rows of parallel lists, and a mapping of them that a model takes."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Span = tuple[int, int]


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
    """One row for the model: parallel lists, special tokens and padding included."""

    ids: list[int] = field(default_factory=list)
    types: list[int] = field(default_factory=list)
    mask: list[int] = field(default_factory=list)
    special: list[int] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    sequence: list[int | None] = field(default_factory=list)  # 0 first text, 1 second, None special or padding
    spans: list[Span] = field(default_factory=list)
    words: list[int | None] = field(default_factory=list)
    words_known: bool = True

    def add_special(self, token: str, token_id: int, kind: int) -> None:
        self._add(1, [token_id], [kind], [1], [token], [None], [(0, 0)], [None])

    def add_text(self, text: Encoded, number: int, kind: int) -> None:
        n = len(text)
        spans = text.spans if text.spans is not None else [(0, 0)] * n
        words = text.words if text.words is not None else [None] * n
        self.words_known &= text.words is not None or n == 0
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
        self.types += types
        self.mask += [1] * n
        self.special += special
        self.tokens += tokens
        self.sequence += sequence
        self.spans += spans
        self.words += words

    def pad(self, length: int, side: str, token: str, token_id: int, kind: int) -> None:
        """Fills the row up to `length`. Padding is masked out, has type `kind`, and counts as special."""
        n = length - len(self.ids)
        if n <= 0:
            return
        filler = Row()
        filler._add(n, [token_id] * n, [kind] * n, [1] * n, [token] * n, [None] * n, [(0, 0)] * n, [None] * n)
        filler.mask = [0] * n
        for name, value in vars(filler).items():
            if name == "words_known":
                continue
            setattr(self, name, getattr(self, name) + value if side == "right" else value + getattr(self, name))


class BatchEncoding(UserDict):
    """What a tokenizer returns: a dict of lists (or arrays) whose keys are attributes too. `model(**enc)` takes it.

    Beside transformers' keys it knows, for each row, where the tokens came from: tokens(i), sequence_ids(i), word_ids(i).
    """

    def __init__(self, data: Mapping[str, Any] | None = None, rows: list[Row] | None = None):
        super().__init__(data)
        self._rows = rows

    def __getattr__(self, name: str) -> Any:
        if name == "data":  # only before __init__, as in copying and unpickling
            raise AttributeError(name)
        try:
            return self.data[name]
        except KeyError:
            raise AttributeError(f"this encoding has no {name!r}; it has {', '.join(self.data)}") from None

    def _row(self, index: int) -> Row:
        if self._rows is None:
            raise ValueError("this encoding was not made from text by a tokenizer, so it knows no tokens")
        if not isinstance(index, int):
            raise ValueError(f"rows are counted from 0; got {index!r:.80}")
        if not -len(self._rows) <= index < len(self._rows):
            raise ValueError(f"row {index} of an encoding that has {len(self._rows)}")
        return self._rows[index]

    def tokens(self, index: int = 0) -> list[str]:
        """The pieces of row `index` as text, with special tokens and padding."""
        return list(self._row(index).tokens)

    def sequence_ids(self, index: int = 0) -> list[int | None]:
        """For each token of row `index`: 0 for the first text, 1 for the second, None for special tokens and padding."""
        return list(self._row(index).sequence)

    def word_ids(self, index: int = 0) -> list[int | None]:
        """For each token of row `index`: the number of its word, or None for special tokens and padding.

        Raises ValueError if words are not known; the row would otherwise look like padding alone.
        """
        row = self._row(index)
        if not row.words_known:
            raise ValueError(
                "words are known where they came split (is_split_into_words=True), or to AlbertTokenizerFast"
            )
        return list(row.words)


def to_arrays(data: dict[str, Any]) -> dict[str, np.ndarray]:
    """Turns lists into int64 arrays with a batch axis. Raises ValueError if rows have different lengths."""
    arrays = {}
    for name, value in data.items():
        rows = value if isinstance(value, list) else [value]
        lengths = {len(row) if isinstance(row, list) else -1 for row in rows}
        if len(lengths) > 1:
            raise ValueError(
                f"the rows of {name} have different lengths ({min(lengths)} to {max(lengths)}), so they make no array; "
                "use padding=True (and truncation=True)"
            )
        arrays[name] = np.array(value, dtype=np.int64)
    return arrays


def check_return_tensors(kind: Any) -> bool:
    """True for "np", False for None; ValueError for everything else."""
    kind = getattr(kind, "value", kind)
    if kind is None:
        return False
    if kind == "np":
        return True
    if kind in ("pt", "tf", "jax", "mlx"):
        raise ValueError(
            f"return_tensors={kind!r}: albert_np makes NumPy arrays only; use return_tensors='np' and convert the arrays"
        )
    raise ValueError(f"return_tensors must be None or 'np'; got {kind!r:.80}")
