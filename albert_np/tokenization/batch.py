"""BatchEncoding: what a tokenizer returns, a mapping of lists or arrays that a model takes."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np

from albert_np.device import device_of
from albert_np.files import shown
from albert_np.tokenization.row import CharSpan, Row, TokenSpan


class BatchEncoding(UserDict):
    """What a tokenizer returns: a dict of lists (or arrays) whose keys are attributes too. `model(**enc)` takes it.

    Beside transformers' keys it knows, for each row, where the tokens came from: tokens(i), sequence_ids(i), word_ids(i), and
    from characters to tokens and words and back: char_to_token, token_to_chars, token_to_word, … These take the number of the
    row first, or leave it out for row 0. `enc[i]` is row i with its lists, named as in tokenizers.Encoding; `enc[a:b]` is a
    BatchEncoding of parts of all lists.

    tensor_type, prepend_batch_axis: as in convert_to_tensors, which is called with them.
    """

    def __init__(
        self,
        data: Mapping[str, Any] | None = None,
        encoding: Row | list[Row] | None = None,
        tensor_type: Any = None,
        prepend_batch_axis: bool = False,
        n_sequences: int | None = None,
        *,
        is_fast: bool = False,
        with_offsets: Callable[[], list[Row]] | None = None,
    ):
        try:
            super().__init__(data)
        except (TypeError, ValueError):
            raise ValueError(f"a BatchEncoding is made of lists by name; got {data!r:.80}") from None
        self._rows = [encoding] if isinstance(encoding, Row) else encoding
        self._is_fast, self._n_sequences = is_fast, n_sequences
        self._with_offsets = with_offsets  # makes the rows again, with the offsets that nobody asked for at first
        self.convert_to_tensors(tensor_type, prepend_batch_axis)

    def __getattr__(self, name: str) -> Any:
        if name == "data":  # only before __init__, as in copying and unpickling
            raise AttributeError(name)
        try:
            return self.data[name]
        except KeyError:
            raise AttributeError(f"this encoding has no {name!r}; it has {', '.join(self.data)}") from None

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, (int, np.integer)):
            return self._row(int(key))
        if not isinstance(key, slice):
            return super().__getitem__(key)
        rows = self._rows if self._rows is not None and len(self._rows) == self._length() else None
        return BatchEncoding(
            {name: value[key] for name, value in self.data.items()},
            None if rows is None else rows[key],
            is_fast=self._is_fast,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_with_offsets": None}  # it holds the tokenizer

    def _length(self) -> int:
        """How many entries the lists have: rows, or the tokens of one text."""
        return max((len(value) for value in self.data.values()), default=0)

    @property
    def is_fast(self) -> bool:
        """Whether the `tokenizers` library made these tokens (style "hf_fast" or "wordpiece")."""
        return self._is_fast

    @property
    def encodings(self) -> list[Row] | None:
        """The rows, each with its lists; None if no tokenizer made them from text."""
        return None if self._rows is None else list(self._rows)

    @property
    def n_sequences(self) -> int | None:
        """How many texts a row holds, 1 or 2; None if that is unknown."""
        return self._n_sequences if self._n_sequences or not self._rows else self._rows[0].n_sequences

    def convert_to_tensors(self, tensor_type: Any = None, prepend_batch_axis: bool = False) -> Self:
        """Turns the lists into arrays, in place: int64, or float64 where there are fractions. Returns the encoding itself.

        tensor_type: "np", or None to change nothing. prepend_batch_axis: give the lists of one text a batch axis.
        Raises ValueError for every other type, and for rows of different lengths.
        """
        if check_return_tensors(tensor_type):
            data = {name: [value] for name, value in self.data.items()} if prepend_batch_axis else self.data
            self.data = dict(to_arrays(data))
        return self

    def to(self, device: Any, *, non_blocking: bool = False) -> Self:
        """The encoding itself. Models take arrays from the CPU, on any backend. Raises ValueError for what is no device."""
        device_of(device)
        return self

    # ------------------------------------------------------------------------------------------ where tokens came from

    def _row(self, index: int) -> Row:
        if self._rows is None:
            raise ValueError("this encoding was not made from text by a tokenizer, so it knows no tokens")
        return self._rows[_checked(index, len(self._rows), "row")]

    def _placed(self, index: int) -> Row:
        """A row whose offsets are known."""
        row = self._row(index)
        if not row.offsets_known and self._with_offsets is not None:
            self._rows, self._with_offsets = self._with_offsets(), None
            row = self._row(index)
        if not row.offsets_known:
            raise ValueError(
                "the places of these tokens in a text are not known; encode with return_offsets_mapping=True"
            )
        return row

    def _worded(self, index: int) -> Row:
        """A row whose words are known. The numbers of unknown words would look like padding."""
        row = self._row(index)
        if not row.words_known:
            raise ValueError(
                "words are known where they came split (is_split_into_words=True), or to AlbertTokenizerFast"
            )
        return row

    def tokens(self, batch_index: int = 0) -> list[str]:
        """The pieces of a row as text, with special tokens and padding."""
        return list(self._row(batch_index).tokens)

    def sequence_ids(self, batch_index: int = 0) -> list[int | None]:
        """For each token of a row: 0 for the first text, 1 for the second, None for special tokens and padding."""
        return list(self._row(batch_index).sequence_ids)

    def word_ids(self, batch_index: int = 0) -> list[int | None]:
        """For each token of a row: the number of its word, or None for special tokens and padding.

        Raises ValueError if words are not known: the row would look like padding alone.
        """
        return list(self._worded(batch_index).word_ids)

    def token_to_sequence(self, batch_or_token_index: int, token_index: int | None = None) -> int | None:
        """0 or 1, the text that a token is from; None for special tokens and padding."""
        row, token = _row_and(batch_or_token_index, token_index, "token")
        return self._row(row).token_to_sequence(token)

    def token_to_chars(self, batch_or_token_index: int, token_index: int | None = None) -> CharSpan | None:
        """The characters (start, end) of a token in its text, or in its word if the text came in words; None if it has none."""
        row, token = _row_and(batch_or_token_index, token_index, "token")
        return self._placed(row).token_to_chars(token)

    def token_to_word(self, batch_or_token_index: int, token_index: int | None = None) -> int | None:
        """The number of the word that a token is part of, or None. Raises ValueError if words are not known."""
        row, token = _row_and(batch_or_token_index, token_index, "token")
        return self._worded(row).token_to_word(token)

    def char_to_token(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """The first token that covers a character of a text (sequence_index 0 or 1), or None, as for most spaces."""
        row, char = _row_and(batch_or_char_index, char_index, "character", sequence_index)
        return self._placed(row).char_to_token(char, sequence_index)

    def char_to_word(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """The number of the word that a character is part of, or None. Raises ValueError if words are not known."""
        row, char = _row_and(batch_or_char_index, char_index, "character", sequence_index)
        self._worded(row)
        return self._placed(row).char_to_word(char, sequence_index)

    def word_to_tokens(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> TokenSpan | None:
        """The tokens (start, end) of a word, or None. Raises ValueError if words are not known."""
        row, word = _row_and(batch_or_word_index, word_index, "word", sequence_index)
        return self._worded(row).word_to_tokens(word, sequence_index)

    def word_to_chars(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> CharSpan | None:
        """The characters (start, end) of a word, or None. Raises ValueError if words are not known."""
        row, word = _row_and(batch_or_word_index, word_index, "word", sequence_index)
        self._worded(row)
        return self._placed(row).word_to_chars(word, sequence_index)


def _row_and(first: Any, second: Any, what: str, sequence_index: Any = 0) -> tuple[int, int]:
    """The arguments of a look-up as (row, place): one alone is a place in row 0."""
    if sequence_index not in (0, 1):
        raise ValueError(f"sequence_index is 0 for the first text or 1 for the second; got {sequence_index!r:.80}")
    row, place = (0, first) if second is None else (first, second)
    if not isinstance(place, (int, np.integer)) or isinstance(place, bool):
        raise ValueError(f"the index of a {what} is a whole number; got {place!r:.80}")
    return row, int(place)


def _checked(index: Any, n: int, what: str) -> int:
    if not isinstance(index, (int, np.integer)) or isinstance(index, bool):
        raise ValueError(f"{what}s are counted from 0; got {index!r:.80}")
    if not -n <= index < n:
        raise ValueError(f"{what} {index} of an encoding that has {n}")
    return int(index)


def to_arrays(data: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Turns lists into arrays, int64 unless there are fractions. Raises ValueError if rows have different lengths."""
    arrays = {}
    for name, value in data.items():
        rows = value if isinstance(value, list) else [value]
        lengths = {len(row) if isinstance(row, list) else -1 for row in rows}
        if len(lengths) > 1:
            raise ValueError(
                f"the rows of {name} have different lengths ({min(lengths)} to {max(lengths)}), so they make no array; "
                "use padding=True (and truncation=True)"
            )
        try:
            array = np.array(value)
        except ValueError as error:  # lists of different depths
            raise ValueError(f"{name} makes no array: {error}") from error
        if array.dtype.kind not in "iufb":
            raise ValueError(f"{name} makes no array of numbers; it holds {shown(repr(value), 80)}")
        arrays[name] = array if array.dtype.kind == "f" and array.size else array.astype(np.int64)
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
