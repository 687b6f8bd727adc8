"""From texts to rows for the model, [CLS] A [SEP] or [CLS] A [SEP] B [SEP], cut as a call asks; and from rows to its result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Integral
from typing import Any, Protocol

from albert_np.tokenization.batch import BatchEncoding, Encoded, Row, to_arrays
from albert_np.tokenization.lengths import Strategies, cut
from albert_np.tokenization.vocabulary import Vocabulary, check_ids


@dataclass(frozen=True)
class RowOptions:
    """The options of a call: transformers' keywords and defaults."""

    add_special_tokens: bool = True
    padding: bool | str = False
    truncation: bool | str | None = None
    max_length: int | None = None
    stride: int = 0
    is_split_into_words: bool = False
    pad_to_multiple_of: int | None = None
    padding_side: str | None = None
    return_tensors: str | None = None
    return_token_type_ids: bool | None = None
    return_attention_mask: bool | None = None
    return_overflowing_tokens: bool = False
    return_special_tokens_mask: bool = False
    return_offsets_mapping: bool = False
    return_length: bool = False
    split_special_tokens: bool | None = None
    verbose: bool = True

    @classmethod
    def checked(cls, options: Mapping[str, Any], add_special_tokens: bool) -> RowOptions:
        """Checks the keywords of a call. Raises ValueError for one that does not exist."""
        known = {option.name for option in fields(cls)} - {"add_special_tokens"}
        unknown = sorted(set(options) - known)
        if unknown:
            raise ValueError(f"the tokenizer knows no {', '.join(unknown)}; it takes {', '.join(sorted(known))}")
        stride = options.get("stride", 0)
        if not isinstance(stride, Integral) or isinstance(stride, bool) or stride < 0:
            raise ValueError(f"stride must be a whole number, 0 or more; got {stride!r:.80}")
        return cls(add_special_tokens, **options)


class Encoder(Protocol):
    """Turns text into pieces, in one of the styles."""

    def encode(self, text: str, *, spans: bool, split_special_tokens: bool = False) -> Encoded: ...

    def encode_words(self, words: list[str], *, spans: bool, split_special_tokens: bool = False) -> Encoded: ...


def special_tokens_around(pair: bool) -> int:
    """How many special tokens a text has around it (2), or a pair of texts (3)."""
    return 3 if pair else 2


class RowMaker:
    """Makes rows from texts.

    fast: follow the rules of the `tokenizers` library where those of transformers' slow tokenizer differ.
    """

    def __init__(self, encoder: Encoder, vocab: Vocabulary, *, fast: bool) -> None:
        self.encoder, self.vocab, self.fast = encoder, vocab, fast

    def rows(
        self, pairs: Sequence[tuple[Any, Any]], options: RowOptions, strategies: Strategies, *, split: bool, side: str
    ) -> tuple[list[Row], list[int]]:
        """Rows without padding, and for each the number of its pair: with overflow, a pair may have several rows (windows).

        split: special tokens in a text are text too. side: that of truncation. Raises ValueError for what is not text.
        """
        rows: list[Row] = []
        samples: list[int] = []
        for sample, (first, second) in enumerate(pairs):
            a = self._text(first, options, split)
            b = None if second is None else self._text(second, options, split)
            rows += [
                self._row(x, y, options.add_special_tokens)
                for x, y in cut(
                    a,
                    b,
                    strategies,
                    special=special_tokens_around(b is not None) if options.add_special_tokens else 0,
                    stride=options.stride,
                    side=side,
                    overflow=options.return_overflowing_tokens,
                    fast=self.fast,
                )
            ]
            samples += [sample] * (len(rows) - len(samples))
        return rows, samples

    def _text(self, text: Any, options: RowOptions, split: bool) -> Encoded:
        """From one text, list of words, list of tokens or list of ids to tokens, without special tokens around them."""
        spans = options.return_offsets_mapping
        if isinstance(text, str):
            return self.encoder.encode(text, spans=spans, split_special_tokens=split)
        if not isinstance(text, (list, tuple)) or not text:
            raise ValueError(f"a text is a str, or a list of words, tokens or ids that is not empty; got {text!r:.80}")
        if not isinstance(text[0], str):
            ids = check_ids(text, "a text that is a list")
        elif not all(isinstance(item, str) for item in text):
            raise ValueError("a list of words or tokens must hold str only")
        elif options.is_split_into_words:
            return self.encoder.encode_words(list(text), spans=spans, split_special_tokens=split)
        else:
            ids = [self.vocab.id_of(token) for token in text]
        if spans:
            raise ValueError("return_offsets_mapping needs text; tokens and ids have no characters to point at")
        return Encoded(ids, [self.vocab.token_of(index) for index in ids])

    def _around(self, name: str) -> tuple[str, int]:
        token = self.vocab.named[name]
        if token is None:
            raise ValueError(f"this tokenizer has no {name}; set it, or encode with add_special_tokens=False")
        return str(token), self.vocab.id_of(str(token))

    def _row(self, a: Encoded, b: Encoded | None, add_special: bool) -> Row:
        row = Row()
        if add_special:
            row.add_special(*self._around("cls_token"), 0)
        row.add_text(a, 0, 0)
        if add_special:
            row.add_special(*self._around("sep_token"), 0)
        if b is not None:
            # without [SEP] between them transformers' slow tokenizer gives both texts the type 0, the fast one does not
            kind = 1 if add_special or self.fast else 0
            row.add_text(b, 1, kind)
            if add_special:
                row.add_special(*self._around("sep_token"), 1)
        return row


def to_encoding(
    rows: list[Row],
    samples: list[int],
    lengths: list[int],
    options: RowOptions,
    *,
    batched: bool,
    as_arrays: bool,
    fast: bool,
) -> BatchEncoding:
    """The result of a call: what the options ask for, as lists of lists, flat lists (not batched) or arrays.

    lengths: those of the rows before padding.
    """
    data: dict[str, Any] = {"input_ids": [row.ids for row in rows]}
    if options.return_token_type_ids is not False:
        data["token_type_ids"] = [row.types for row in rows]
    if options.return_attention_mask is not False:
        data["attention_mask"] = [row.mask for row in rows]
    if options.return_special_tokens_mask:
        data["special_tokens_mask"] = [row.special for row in rows]
    if options.return_offsets_mapping:
        data["offset_mapping"] = [row.spans for row in rows]
    if options.return_length:
        # transformers counts before padding in a batch of its slow tokenizer, after it everywhere else
        after = not batched or fast or options.return_overflowing_tokens
        data["length"] = [len(row.ids) for row in rows] if after else lengths
    if options.return_overflowing_tokens:
        data["overflow_to_sample_mapping"] = samples
    if as_arrays:
        data = dict(to_arrays(data))
    elif not batched and not options.return_overflowing_tokens:
        # the fast tokenizer of transformers leaves the length in its list
        data = {name: value if name == "length" and fast else value[0] for name, value in data.items()}
    return BatchEncoding(data, rows)
