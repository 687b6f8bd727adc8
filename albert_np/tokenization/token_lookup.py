"""The half of a tokenizer that only looks things up: tokens and ids, which of them are special, their names and places."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from albert_np.tokenization.added_tokens import AddedToken
from albert_np.tokenization.rows import special_tokens_around
from albert_np.tokenization.vocabulary import Vocabulary, check_ids, is_array, plain


def _token(name: str) -> Any:
    return property(
        lambda self: self._named(name),
        lambda self, token: self._set_named(name, token),
        doc=f"{name} as text, or None. It can be set to a token of the vocabulary, or to None.",
    )


def _token_id(name: str) -> Any:
    return property(
        lambda self: self._named_id(name),
        lambda self, index: self._set_named(name, None if index is None else self.convert_ids_to_tokens(index)),
        doc=f"id of {name}, or None. It can be set too.",
    )


class TokenLookup:
    """Names as in transformers' SpecialTokensMixin and PreTrainedTokenizer. All values come from one Vocabulary."""

    _vocab: Vocabulary

    bos_token, bos_token_id = _token("bos_token"), _token_id("bos_token")
    eos_token, eos_token_id = _token("eos_token"), _token_id("eos_token")
    unk_token, unk_token_id = _token("unk_token"), _token_id("unk_token")
    sep_token, sep_token_id = _token("sep_token"), _token_id("sep_token")
    pad_token, pad_token_id = _token("pad_token"), _token_id("pad_token")
    cls_token, cls_token_id = _token("cls_token"), _token_id("cls_token")
    mask_token, mask_token_id = _token("mask_token"), _token_id("mask_token")

    def _named(self, name: str) -> str | None:
        token = self._vocab.named[name]
        return None if token is None else str(token)

    def _named_id(self, name: str) -> int | None:
        token = self._vocab.named[name]
        return None if token is None else self._vocab.id_of(str(token))

    def _set_named(self, name: str, value: Any) -> None:
        raise NotImplementedError

    def _set_additional(self, value: Any) -> None:
        raise NotImplementedError

    @property
    def additional_special_tokens(self) -> Any:
        """Special tokens other than the named ones, as a list of str. It can be set; None after it was set to None."""
        return None if self._vocab.additional_is_none else [str(token) for token in self._vocab.additional]

    @additional_special_tokens.setter
    def additional_special_tokens(self, tokens: Any) -> None:
        self._set_additional(tokens)

    @property
    def additional_special_tokens_ids(self) -> list[int]:
        """The ids of additional_special_tokens. They can be set."""
        return [self._vocab.id_of(str(token)) for token in self._vocab.additional]

    @additional_special_tokens_ids.setter
    def additional_special_tokens_ids(self, ids: Any) -> None:
        self._set_additional([self._vocab.token_of(index) for index in check_ids(ids)])

    @property
    def special_tokens_map(self) -> dict[str, Any]:
        """Special tokens by name, as text."""
        named = {name: str(token) for name, token in self._vocab.named.items() if token is not None}
        if self._vocab.additional:
            named["additional_special_tokens"] = self.additional_special_tokens
        return named | {name: str(token) for name, token in self._vocab.extra.items()}

    @property
    def all_special_tokens(self) -> list[str]:
        """All special tokens once, in the order of their names: [CLS], [SEP], <unk>, <pad>, [MASK], then the others."""
        return list(self._vocab.special_tokens)

    @property
    def all_special_ids(self) -> list[int]:
        """The ids of all_special_tokens."""
        return list(self._vocab.special_ids)

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        """Added tokens by id, special ones included."""
        return dict(sorted(self._vocab.added.items()))

    @property
    def added_tokens_encoder(self) -> dict[str, int]:
        """Ids by the text of added tokens."""
        return {token.content: index for index, token in self.added_tokens_decoder.items()}

    def get_added_vocab(self) -> dict[str, int]:
        """The same as added_tokens_encoder, under transformers' other name."""
        return self.added_tokens_encoder

    @property
    def vocab_size(self) -> int:
        """V, the number of pieces in the file, without the tokens added after them; len(tokenizer) counts those too."""
        return len(self._vocab.pieces)

    def __len__(self) -> int:
        return self._vocab.size

    def get_vocab(self) -> dict[str, int]:
        """Every token and its id."""
        return self._vocab.as_dict()

    def convert_tokens_to_ids(self, tokens: str | Iterable[str] | None) -> int | list[int] | None:
        """The id of a token, or the ids of a list. A string that is no token gets the unknown token's id. None gives None."""
        if tokens is None:
            return None
        if isinstance(tokens, str):
            return self._vocab.id_of(tokens)
        tokens = list(tokens) if isinstance(tokens, Iterable) else [tokens]
        if not all(isinstance(token, str) for token in tokens):
            raise ValueError(f"convert_tokens_to_ids takes a str or a list of them; got {tokens!r:.80}")
        return [self._vocab.id_of(token) for token in tokens]

    def _convert_token_to_id(self, token: str) -> int:
        """The id of one token, under the name that scripts for transformers reach for."""
        return self._vocab.id_of(token)

    def _convert_id_to_token(self, index: int) -> str:
        """The token of one id, likewise."""
        return self._vocab.token_of(index)

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        """The token of an id (str), or the tokens of a list (list of str). ValueError for an id outside the vocabulary."""
        flat = check_ids(ids)
        if isinstance(plain(ids) if is_array(ids) else ids, int):
            return self._vocab.token_of(flat[0])
        skipped = frozenset(self._vocab.special_ids) if skip_special_tokens else frozenset()
        return [self._vocab.token_of(index) for index in flat if index not in skipped]

    # --- where special tokens stand -------------------------------------------------------------------------------------

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """How many special tokens a text has around it (2), or a pair of texts (3)."""
        return special_tokens_around(pair)

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """[CLS] A [SEP], or [CLS] A [SEP] B [SEP], as ids."""
        ids = [self.cls_token_id, *check_ids(token_ids_0), self.sep_token_id]
        return ids if token_ids_1 is None else [*ids, *check_ids(token_ids_1), self.sep_token_id]

    def create_token_type_ids_from_sequences(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """0 for [CLS] A [SEP], 1 for B [SEP]."""
        types = [0] * (len(check_ids(token_ids_0)) + 2)
        return types if token_ids_1 is None else types + [1] * (len(check_ids(token_ids_1)) + 1)

    def get_special_tokens_mask(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None, already_has_special_tokens: bool = False
    ) -> list[int]:
        """1 where build_inputs_with_special_tokens puts a special token, or where a given id already is one; 0 elsewhere."""
        if already_has_special_tokens:
            if token_ids_1 is not None:
                raise ValueError("ids that already have their special tokens are one sequence; leave token_ids_1 out")
            special = frozenset(self._vocab.special_ids)
            return [int(index in special) for index in check_ids(token_ids_0)]
        mask = [1, *[0] * len(check_ids(token_ids_0)), 1]
        return mask if token_ids_1 is None else [*mask, *[0] * len(check_ids(token_ids_1)), 1]
