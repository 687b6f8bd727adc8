"""The calls of a tokenizer, from text to ids: each makes rows of texts, pads them, and returns what was asked for."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from albert_np.tokenization.adding import TokenAdding
from albert_np.tokenization.batch import BatchEncoding, check_return_tensors, to_arrays
from albert_np.tokenization.lengths import Strategies, check_side, logger, resolve_strategies, truncated_ids
from albert_np.tokenization.padding import one_encoding, pad_encoding, padded_length
from albert_np.tokenization.piece_encoder import check_text
from albert_np.tokenization.row import Encoded, Row
from albert_np.tokenization.rows import RowMaker, RowOptions, as_asked
from albert_np.tokenization.settings import Settings, checked_flag
from albert_np.tokenization.text_inputs import text_pairs
from albert_np.tokenization.vocabulary import check_ids

# what these calls do not have by place, of the options of a call
NOT_IN_ENCODE = (
    "is_split_into_words",
    "pad_to_multiple_of",
    "return_token_type_ids",
    "return_attention_mask",
    "return_overflowing_tokens",
    "return_special_tokens_mask",
    "return_offsets_mapping",
    "return_length",
    "verbose",
)
NOT_FOR_IDS = ("is_split_into_words",)


class TokenizerCalls(TokenAdding, Settings):
    """tokenizer(text), encode, pad, and their kin. Options may be given by name, or by place in transformers' order."""

    pad_token_type_id = 0
    _rows: RowMaker
    _warned_too_long = False

    @property
    def is_fast(self) -> bool:
        """Whether the `tokenizers` library does the work: style "hf_fast" or "wordpiece"."""
        return self.style in ("hf_fast", "wordpiece")

    def tokenize(
        self, text: str, pair: str | None = None, add_special_tokens: bool = False, **options: Any
    ) -> list[str]:
        """The pieces of one text, or of a text and a second one, by default without special tokens around them.

        The options are those of a call, such as split_special_tokens.
        """
        checked = RowOptions.checked((add_special_tokens,), {"verbose": False, **options})
        for given in (text,) if pair is None else (text, pair):
            check_text(given)
        return self._encode_one(text, pair, checked).tokens()

    def encode(
        self, text: Any, text_pair: Any = None, add_special_tokens: bool = True, *by_place: Any, **options: Any
    ) -> Any:
        """The input_ids of one text (str, list of tokens or list of ids) or pair.

        The options are those of a call. By place come padding, truncation, max_length, stride, padding_side, return_tensors.
        """
        checked = RowOptions.checked((add_special_tokens, *by_place), options, NOT_IN_ENCODE)
        return self._encode_one(text, text_pair, checked)["input_ids"]

    def encode_plus(self, text: Any, text_pair: Any = None, *by_place: Any, **options: Any) -> BatchEncoding:
        """One text (str, list of tokens or list of ids) or pair, with all that a call returns and its options."""
        return self._encode_one(text, text_pair, RowOptions.checked(by_place, options))

    def batch_encode_plus(self, batch_text_or_text_pairs: Any, *by_place: Any, **options: Any) -> BatchEncoding:
        """A call for a batch: a list of texts, or a list of pairs of texts."""
        checked = RowOptions.checked(by_place, options)
        if not isinstance(batch_text_or_text_pairs, (list, tuple)):
            raise ValueError(f"a batch is a list of texts or pairs; got {batch_text_or_text_pairs!r:.80}")
        pairs, _ = text_pairs(batch_text_or_text_pairs, None, checked.is_split_into_words)
        return self._encode_rows(pairs, True, checked)

    def prepare_for_model(self, ids: Any, pair_ids: Any = None, *by_place: Any, **options: Any) -> BatchEncoding:
        """Ids of one text or two, as encode(…, add_special_tokens=False) gives them, made ready: [CLS] and [SEP], truncation,
        padding. The options are those of a call, and prepend_batch_axis gives arrays a batch axis.
        """
        axis = checked_flag(options.pop("prepend_batch_axis", False), "prepend_batch_axis")
        checked = RowOptions.checked(by_place, options, NOT_FOR_IDS)
        first = self._encoded(_ids(ids, "ids"))
        second = None if pair_ids is None else self._encoded(_ids(pair_ids, "pair_ids"))
        # in every style by the rules of transformers' slow tokenizers: so its prepare_for_model works, whatever the tokenizer
        made = self._encode_rows([(first, second)], False, checked, RowMaker(self._encoder, self._vocab, fast=False))
        if check_return_tensors(checked.return_tensors) and not axis and not checked.return_overflowing_tokens:
            made.data = {name: array[0] for name, array in made.data.items()}
        return made

    def truncate_sequences(
        self,
        ids: Any,
        pair_ids: Any = None,
        num_tokens_to_remove: int = 0,
        truncation_strategy: Any = "longest_first",
        stride: int = 0,
    ) -> tuple[list[int], list[int] | None, list[int]]:
        """(ids, pair_ids, what was cut off with `stride` tokens beside it) after num_tokens_to_remove tokens are gone.

        truncation_strategy "longest_first" of two sequences gives no cut-off tokens. truncation_side says where tokens go.
        Source: PreTrainedTokenizerBase.truncate_sequences of transformers 4.57.6.
        """
        pair = None if pair_ids is None else _ids(pair_ids, "pair_ids")
        strategies = resolve_strategies(False, truncation_strategy, None, None, 0)
        side = self.truncation_side
        return truncated_ids(_ids(ids, "ids"), pair, num_tokens_to_remove, strategies.truncation, stride, side)

    @property
    def max_len_single_sentence(self) -> int:
        """How many tokens of one text fit the model beside [CLS] and [SEP]."""
        return self.model_max_length - self.num_special_tokens_to_add(pair=False)

    @property
    def max_len_sentences_pair(self) -> int:
        """How many tokens of two texts fit the model beside their special tokens."""
        return self.model_max_length - self.num_special_tokens_to_add(pair=True)

    def __call__(
        self,
        text: Any = None,
        text_pair: Any = None,
        text_target: Any = None,
        text_pair_target: Any = None,
        *by_place: Any,
        **options: Any,
    ) -> BatchEncoding:
        """Encodes one text or a batch of texts, each alone or with a second text.

        text, text_pair: str, or a list of str; with is_split_into_words, a list of words or a list of such lists.
        text_target, text_pair_target: texts whose ids become `labels` beside the others, or the result if there are none.
        Options, with transformers' meanings, defaults and order: add_special_tokens, padding, truncation, max_length, stride,
        is_split_into_words, pad_to_multiple_of, padding_side, return_tensors (None or "np"), return_token_type_ids,
        return_attention_mask, return_overflowing_tokens, return_special_tokens_mask, return_offsets_mapping, return_length,
        verbose; and split_special_tokens, by name.

        Returns a BatchEncoding: of flat lists for one text, of lists of lists for a batch, and of int64 arrays (B,T) with
        return_tensors="np". What it holds unless the options say so, model_input_names says.
        return_overflowing_tokens gives one row for each window (neighbours share `stride` tokens), and
        overflow_to_sample_mapping. In every style, this follows the form and the rules of transformers' fast tokenizers.
        return_offsets_mapping gives the (start, end) of each token in its text, or in its word if the text came in words;
        special tokens have (0, 0). If the `tokenizers` library makes the same pieces, the offsets are the same too. The
        exception is a text whose first visible character follows a control character: there, the library miscounts.
        One thing differs from 4.57.6 on purpose: split_special_tokens also works in a batch. Raises ValueError.
        """
        checked = RowOptions.checked(by_place, options)
        if text is None and text_target is None:
            raise ValueError("text must be a str or a list of them; got None, and no text_target")
        words = checked.is_split_into_words
        if text_target is not None:
            try:
                target = self._encode_rows(*text_pairs(text_target, text_pair_target, words), checked)
            except ValueError as error:
                raise ValueError(f"text_target: {error}") from error
            if text is None:
                return target
        made = self._encode_rows(*text_pairs(text, text_pair, words), checked)
        if text_target is not None:
            made["labels"] = target["input_ids"]
        return made

    def prepare_seq2seq_batch(
        self,
        src_texts: list[str],
        tgt_texts: list[str] | None = None,
        max_length: int | None = None,
        max_target_length: int | None = None,
        padding: bool | str = "longest",
        return_tensors: str | None = None,
        truncation: bool | str = True,
        **options: Any,
    ) -> BatchEncoding:
        """The older way to say tokenizer(src_texts, text_target=tgt_texts), in which targets may have a length of their own."""
        for name in ("src_lang", "tgt_lang"):
            options.pop(name, None)
        options |= {"padding": padding, "return_tensors": return_tensors, "truncation": truncation}
        made = self(src_texts, max_length=max_length, **options)
        if tgt_texts is not None:
            longest = max_length if max_target_length is None else max_target_length
            made["labels"] = self(tgt_texts, max_length=longest, **options)["input_ids"]
        return made

    def apply_chat_template(self, *conversation: Any, **options: Any) -> Any:
        """Not there: ALBERT is no model to talk with. Raises ValueError."""
        raise ValueError(
            "there are no chat templates: ALBERT is an encoder that answers in no words; give texts instead"
        )

    # ---------------------------------------------------------------------------------------------- what they all do

    def _split(self, value: bool | None) -> bool:
        return self.split_special_tokens if value is None else checked_flag(value, "split_special_tokens")

    def _encoded(self, ids: list[int]) -> Encoded:
        return Encoded(ids, [self._vocab.token_of(index) for index in ids])

    def _encode_one(self, text: Any, text_pair: Any, options: RowOptions) -> BatchEncoding:
        return self._encode_rows([(text, text_pair)], False, options)

    def _encode_rows(
        self, pairs: list[tuple[Any, Any]], batched: bool, options: RowOptions, maker: RowMaker | None = None
    ) -> BatchEncoding:
        maker = maker or self._rows
        check_return_tensors(options.return_tensors)
        if options.return_token_type_ids and not options.add_special_tokens:
            raise ValueError("return_token_type_ids=True needs add_special_tokens=True: types follow [CLS] and [SEP]")
        multiple = options.pad_to_multiple_of
        strategies = self._strategies(options.padding, options.truncation, options.max_length, multiple)
        side = self.padding_side if options.padding_side is None else check_side(options.padding_side, "padding_side")
        make = partial(
            maker.rows,
            pairs,
            strategies=strategies,
            split=self._split(options.split_special_tokens),
            side=self.truncation_side,
            batched=batched,
        )
        rows, samples = make(options)
        lengths = [len(row) for row in rows]
        longest = max(lengths)
        too_long = strategies.max_length is None and longest > self.model_max_length
        if options.verbose and self.verbose and too_long and not self._warned_too_long:
            logger.warning("%d tokens are more than the model's %d positions", longest, self.model_max_length)
            self._warned_too_long = True
        length = padded_length(longest, strategies, multiple)
        if longest == 0 and not batched and not maker.fast:
            length = 0  # transformers' slow tokenizer leaves a text that has no tokens at all unpadded
        pad = partial(self._pad_rows, length=length, side=side)
        data = as_asked(
            pad(rows),
            samples,
            lengths,
            options,
            batched=batched,
            fast=maker.fast,
            input_names=self.model_input_names,
        )

        def with_offsets() -> list[Row]:
            return pad(make(replace(options, return_offsets_mapping=True))[0])

        return BatchEncoding(data, rows, is_fast=self.is_fast, with_offsets=with_offsets)

    def _pad_rows(self, rows: list[Row], length: int, side: str) -> list[Row]:
        if length:
            assert self.pad_token is not None
            for row in rows:
                row.pad(length, side, self.pad_token, self.pad_token_id, self.pad_token_type_id)
        return rows

    def _strategies(self, padding: Any, truncation: Any, max_length: Any, multiple: Any) -> Strategies:
        strategies = resolve_strategies(padding, truncation, max_length, multiple, self.model_max_length)
        if strategies.padding != "do_not_pad" and self.pad_token is None:
            raise ValueError("this tokenizer has no pad_token, so it cannot pad; load it with pad_token='<pad>'")
        return strategies

    def pad(
        self,
        encoded_inputs: Any,
        padding: bool | str = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
        verbose: bool = True,
    ) -> BatchEncoding:
        """Pads what the tokenizer returned: one encoding, a dict of lists, or a list of encodings. Lists may be arrays.

        Returns arrays if the first of model_input_names came as an array, or with return_tensors="np". verbose changes
        nothing. Raises ValueError if lists are not parallel to input_ids. Source: PreTrainedTokenizerBase.pad of 4.57.6.
        """
        as_arrays = check_return_tensors(return_tensors)
        main = self.model_input_names[0]
        data, were_arrays = one_encoding(encoded_inputs, main)
        if isinstance(data[main], list) and not data[main]:
            return BatchEncoding(data)  # as transformers, whatever length was asked for
        strategies = self._strategies(padding, False, max_length, pad_to_multiple_of)
        side = self.padding_side if padding_side is None else check_side(padding_side, "padding_side")
        fill = {main: self.pad_token_id, "token_type_ids": self.pad_token_type_id}
        fill |= {"attention_mask": 0, "special_tokens_mask": 1}
        mask = "attention_mask" in self.model_input_names if return_attention_mask is None else return_attention_mask
        data = pad_encoding(data, strategies, multiple=pad_to_multiple_of, side=side, fill=fill, mask=mask)
        return BatchEncoding(to_arrays(data) if as_arrays or were_arrays else data)


def _ids(value: Any, name: str) -> list[int]:
    if isinstance(value, int):
        raise ValueError(f"{name} must be a list of ids; got {value!r:.80}")
    return check_ids(value, name)
