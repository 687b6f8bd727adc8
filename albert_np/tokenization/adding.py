"""Tokens that are added to a tokenizer after it was made, and special tokens that are named anew.

Source: transformers 4.57.6 tokenization_utils.py (_add_tokens) and tokenization_utils_base.py (add_tokens, add_special_tokens);
for styles "hf_fast" and "wordpiece" the `tokenizers` library, AddedVocabulary::add_tokens. A tokenizer changes as a whole or
not at all: its tokens are worked out first, then an encoder is made of them, and only then does it take the place of the old
one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from albert_np.tokenization.added_tokens import AddedToken, parse_added_token
from albert_np.tokenization.lengths import logger
from albert_np.tokenization.settings import checked_flag
from albert_np.tokenization.token_lookup import TokenLookup
from albert_np.tokenization.vocabulary import ATTRIBUTES, SpecialTokens, Vocabulary, token_list

ADDITIONAL = "additional_special_tokens"


class TokenAdding(TokenLookup):
    """add_tokens and add_special_tokens, and special tokens as attributes that can be set."""

    _encoder: Any
    do_lower_case: Any
    style: Any
    is_fast: Any

    def _adopt(self, encoder: Any) -> None:
        """Takes over an encoder and its vocabulary."""
        raise NotImplementedError

    def add_tokens(self, new_tokens: Any, special_tokens: bool = False) -> int:
        """Adds tokens that a text keeps whole. Returns how many of them are new.

        new_tokens: a str, an AddedToken (ours or that of the `tokenizers` library), or a list of them. A token that the
        vocabulary has keeps its id; others get the ids from len(tokenizer) on. In style "hf_slow" with do_lower_case, a token
        that is neither special nor normalized=False is added in lower case. Style "google" gives tokens their ids, but does
        not look for them in a text. Afterwards, `model.resize_token_embeddings(len(tokenizer))` makes room for them.

        special_tokens: whether decode(skip_special_tokens=True) leaves them out. Raises ValueError.
        """
        checked_flag(special_tokens, "special_tokens")
        single = isinstance(new_tokens, str) or not isinstance(new_tokens, Iterable)
        return self._add([new_tokens] if single else new_tokens, special_tokens, self._vocab.special)

    def add_special_tokens(
        self, special_tokens_dict: Mapping[str, Any], replace_additional_special_tokens: bool = True
    ) -> int:
        """Names special tokens anew, and adds those that the vocabulary does not have. Returns how many are new.

        special_tokens_dict: from names (bos_token, eos_token, unk_token, sep_token, pad_token, cls_token, mask_token) to a str
        or AddedToken, and from "additional_special_tokens" to a list of them. That list takes the place of the old one, or
        is appended to it if replace_additional_special_tokens is False. Raises ValueError.
        """
        if not isinstance(special_tokens_dict, Mapping):
            raise ValueError(f"special tokens come as a dict of names and tokens; got {special_tokens_dict!r:.80}")
        checked_flag(replace_additional_special_tokens, "replace_additional_special_tokens")
        special = self._vocab.special
        named, extra, added = dict(special.named), dict(special.extra), []
        additional = special.additional
        for name, value in special_tokens_dict.items():
            if name == ADDITIONAL:
                tokens = [_as_special(token) for token in token_list(value, name)]
                if not replace_additional_special_tokens:
                    tokens = [token for token in tokens if str(token) not in map(str, additional or ())]
                    additional = [*(additional or ()), *tokens]
                elif tokens:
                    additional = list(tokens)
                added += tokens
            elif name in ATTRIBUTES or name in extra:
                (named if name in ATTRIBUTES else extra)[name] = token = _as_special(parse_added_token(value, name))
                added.append(token)
            else:
                raise ValueError(f"{name!r} is no special token; the names are {', '.join([*ATTRIBUTES, ADDITIONAL])}")
        return self._add(added, True, SpecialTokens(named, additional, extra, special.added))

    def _add(self, new_tokens: Iterable[Any], special_tokens: bool, base: SpecialTokens) -> int:
        given = [parse_added_token(t, f"token {i}") for i, t in enumerate(new_tokens) if not _is_empty(t)]
        if not given:
            return 0
        if self.is_fast:
            special, count = with_tokens_fast(self._vocab, base, given, special_tokens)
        else:
            special, count = with_tokens_slow(self._vocab, base, given, special_tokens, lower=self.do_lower_case)
        if self.style == "google":
            logger.warning("style 'google' gives added tokens their ids, but does not look for them in a text")
        self._adopt(self._encoder.with_special(special))
        return count

    def _set_named(self, name: str, value: Any) -> None:
        token = None if value is None else self._known(parse_added_token(value, name), name)
        special = self._vocab.special
        self._adopt(self._encoder.with_special(dataclasses.replace(special, named={**special.named, name: token})))

    def _set_additional(self, value: Any) -> None:
        tokens = None if value is None else [self._known(t, ADDITIONAL) for t in token_list(value, ADDITIONAL)]
        self._adopt(self._encoder.with_special(dataclasses.replace(self._vocab.special, additional=tokens)))

    def _known(self, token: AddedToken | str, name: str) -> AddedToken | str:
        if str(token) not in self._vocab:
            raise ValueError(
                f"{name}: {str(token)!r:.80} is not in the vocabulary; add_special_tokens({{{name!r}: …}}) adds a token"
            )
        return token


def with_tokens_slow(
    vocab: Vocabulary, base: SpecialTokens, tokens: Sequence[AddedToken | str], special: bool, *, lower: bool
) -> tuple[SpecialTokens, int]:
    """`base` with tokens added as transformers' slow tokenizer adds them, and how many have new ids."""
    added, ids = dict(base.added), vocab.as_dict()
    next_id, count = len(ids), 0
    whole = {token.content for token in added.values()}
    specials = set(map(str, base.all()))
    more: list[str] = []
    for token in tokens:
        if isinstance(token, str):
            if token in whole:
                continue
            is_special = special or token in specials
            token = AddedToken(token, normalized=not is_special, special=is_special)
        elif special:
            token = dataclasses.replace(token, special=True)
        if lower and token.normalized and not token.special:
            token = dataclasses.replace(token, content=token.content.lower())
        content = token.content
        if content not in ids:
            while next_id in added:
                next_id += 1
            ids[content] = next_id
            next_id += 1
            count += 1
        added[ids[content]] = token
        whole.add(content)
        if content in specials:
            base = _renamed(base, token)
        elif token.special:
            specials.add(content)
            more.append(content)
    additional = [*(base.additional or ()), *(added[ids[content]] for content in more)] if more else base.additional
    return dataclasses.replace(base, additional=additional, added=added), count


def with_tokens_fast(
    vocab: Vocabulary, base: SpecialTokens, tokens: Sequence[AddedToken | str], special: bool
) -> tuple[SpecialTokens, int]:
    """`base` with tokens added as the `tokenizers` library adds them, and how many of them it counts.

    It counts a piece of the vocabulary too, and passes over a token that it had before or that came before in this call.
    """
    added, ids, count = dict(base.added), vocab.as_dict(), 0
    had, contents = set(added.values()), set()
    for token in tokens:
        if isinstance(token, str):
            token = AddedToken(token, normalized=not special, special=special)
        elif special and not token.special:
            token = dataclasses.replace(token, normalized=False, special=True)
        contents.add(token.content)
        if token in had:
            continue
        had.add(token)
        if token.content not in ids:
            ids[token.content] = max([len(vocab.pieces) - 1, *added]) + 1
        added[ids[token.content]] = token
        count += 1
    for content in contents & set(map(str, base.all())):
        base = _renamed(base, added[ids[content]])
    return dataclasses.replace(base, added=added), count


def _as_special(token: AddedToken | str) -> AddedToken:
    return AddedToken(token, normalized=False, special=True) if isinstance(token, str) else token


def _renamed(special: SpecialTokens, token: AddedToken) -> SpecialTokens:
    """A special token that is given again behaves as it was given last."""

    def last(old: AddedToken | str) -> AddedToken | str:
        return token if str(old) == token.content else old

    named = {name: old and last(old) for name, old in special.named.items()}
    additional = special.additional and [last(old) for old in special.additional]
    return dataclasses.replace(special, named=named, additional=additional)


def _is_empty(token: Any) -> bool:
    return getattr(token, "content", token) == ""
