"""From texts to rows for the model, [CLS] A [SEP] or [CLS] A [SEP] B [SEP], cut as a call asks; and from rows to its result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Integral
from typing import Any, Protocol

from albert_np.files import listed
from albert_np.tokenization.batch import check_return_tensors, to_arrays
from albert_np.tokenization.lengths import Strategies, cut
from albert_np.tokenization.row import Encoded, Row
from albert_np.tokenization.vocabulary import Vocabulary, check_ids


@dataclass(frozen=True)
class RowOptions:
    """The options of a call: transformers' keywords and defaults, in the order in which its calls take them by place."""

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
    verbose: bool = True
    split_special_tokens: bool | None = None

    @classmethod
    def checked(cls, by_place: Sequence[Any], by_name: Mapping[str, Any], without: Sequence[str] = ()) -> RowOptions:
        """The options of a call, checked. without: those that this call does not have by place.

        Raises ValueError for one that does not exist, or that comes twice.
        """
        options = {}
        if by_place:
            places = [name for name in OPTION_NAMES if name not in (*without, "split_special_tokens")]
            if len(by_place) > len(places):
                raise ValueError(f"{len(by_place)} options without a name; there are {', '.join(places)}")
            options = dict(zip(places, by_place, strict=False))
            twice = sorted(set(options) & set(by_name))
            if twice:
                raise ValueError(f"{', '.join(twice)} is given twice, by place and by name")
        unknown = sorted(set(by_name).difference(OPTION_NAMES))
        if unknown:
            raise ValueError(f"the tokenizer knows no {listed(unknown)}; it takes {', '.join(sorted(OPTION_NAMES))}")
        options |= by_name
        stride = options.get("stride", 0)
        if not isinstance(stride, Integral) or isinstance(stride, bool) or stride < 0:
            raise ValueError(f"stride must be a whole number, 0 or more; got {stride!r:.80}")
        return cls(**options)


OPTION_NAMES = tuple(option.name for option in fields(RowOptions))


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
        self,
        pairs: Sequence[tuple[Any, Any]],
        options: RowOptions,
        strategies: Strategies,
        *,
        split: bool,
        side: str,
        batched: bool,
    ) -> tuple[list[Row], list[int]]:
        """Rows without padding, and for each the number of its pair: with overflow, a pair may have several rows (windows).

        split: special tokens in a text are text too. side: that of truncation. Raises ValueError for what is not text; in a
        batch, it says which of them.
        """
        rows: list[Row] = []
        samples: list[int] = []
        for sample, (first, second) in enumerate(pairs):
            number = f"[{sample}]" if batched else ""
            a = self._text(first, options, split, f"text{number}")
            b = None if second is None else self._text(second, options, split, f"text_pair{number}")
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

    def _text(self, text: Any, options: RowOptions, split: bool, name: str) -> Encoded:
        """From one text, list of words, list of tokens or list of ids to tokens, without special tokens around them."""
        spans = options.return_offsets_mapping
        try:
            if isinstance(text, str):
                return self.encoder.encode(text, spans=spans, split_special_tokens=split)
            if isinstance(text, Encoded) and not spans:
                return text
            if isinstance(text, Encoded):
                raise ValueError("ids have no characters to point at; leave return_offsets_mapping out")
            if not isinstance(text, (list, tuple)) or not text:
                raise ValueError(
                    f"a text is a str, or a list of words, tokens or ids that is not empty; got {text!r:.80}"
                )
            if not isinstance(text[0], str):
                ids = check_ids(text, "a text that is a list")
            elif other := [f"item {i} is {item!r:.60}" for i, item in enumerate(text) if not isinstance(item, str)]:
                raise ValueError(f"a list of words or tokens must hold str only; {other[0]}")
            elif options.is_split_into_words:
                return self.encoder.encode_words(list(text), spans=spans, split_special_tokens=split)
            else:
                ids = [self.vocab.id_of(token) for token in text]
            if spans:
                raise ValueError("return_offsets_mapping needs text; tokens and ids have no characters to point at")
            return Encoded(ids, [self.vocab.token_of(index) for index in ids])
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error

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


def as_asked(
    rows: list[Row],
    samples: list[int],
    lengths: list[int],
    options: RowOptions,
    *,
    batched: bool,
    fast: bool,
    input_names: Sequence[str],
) -> dict[str, Any]:
    """The result of a call: what the options ask for, as lists of lists, flat lists (not batched) or arrays.

    lengths: those of the rows before padding. input_names: what is returned unless the options say so.
    """
    data: dict[str, Any] = {"input_ids": [row.ids for row in rows]}
    wanted = {"token_type_ids": options.return_token_type_ids, "attention_mask": options.return_attention_mask}
    wanted = {name: name in input_names if asked is None else asked for name, asked in wanted.items()}
    if wanted["token_type_ids"]:
        data["token_type_ids"] = [row.type_ids for row in rows]
    if wanted["attention_mask"]:
        data["attention_mask"] = [row.attention_mask for row in rows]
    if options.return_special_tokens_mask:
        data["special_tokens_mask"] = [row.special_tokens_mask for row in rows]
    if options.return_offsets_mapping:
        data["offset_mapping"] = [row.offsets for row in rows]
    if options.return_length:
        # transformers counts before padding in a batch of its slow tokenizer, after it everywhere else
        after = not batched or fast or options.return_overflowing_tokens
        data["length"] = [len(row.ids) for row in rows] if after else lengths
    if options.return_overflowing_tokens:
        data["overflow_to_sample_mapping"] = samples
    if check_return_tensors(options.return_tensors):
        return dict(to_arrays(data))
    if batched or options.return_overflowing_tokens:
        return data
    # the fast tokenizer of transformers leaves the length in its list
    return {name: value if name == "length" and fast else value[0] for name, value in data.items()}
