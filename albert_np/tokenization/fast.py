"""Styles "hf_fast" and "wordpiece": from text to pieces through the `tokenizers` library, which runs a tokenizer.json."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Iterable
from typing import Any

from albert_np import imports
from albert_np.files import shown
from albert_np.tokenization.added_tokens import AddedToken
from albert_np.tokenization.piece_encoder import check_text
from albert_np.tokenization.row import Encoded
from albert_np.tokenization.tokenizer_json import template
from albert_np.tokenization.vocabulary import SpecialTokens, Vocabulary

WITHOUT_LIBRARY = 'style="hf_fast" runs the tokenizers library, which is not installed: pip install "albert-np[fast]"'


def library(without: str = WITHOUT_LIBRARY) -> Any:
    """The `tokenizers` package. Raises ValueError if there is none: `without` says who needs it and how to get it."""
    try:
        with imports.lock:
            import tokenizers
    except ImportError as error:
        raise ValueError(without) from error
    return tokenizers


class FastEncoder:
    """Encodes texts one at a time through a tokenizers.Tokenizer, which itself neither truncates nor pads nor adds tokens."""

    def __init__(
        self,
        content: dict[str, Any],
        special: SpecialTokens,
        *,
        check_template: bool = True,
    ):
        tokenizers = library()
        text = json.dumps({**content, "truncation": None, "padding": None})
        self._tokenizer = _guarded("read", lambda: tokenizers.Tokenizer.from_str(text))
        own = self._tokenizer.get_added_tokens_decoder()
        ours = {
            i: AddedToken(t.content, t.single_word, t.lstrip, t.rstrip, t.normalized, t.special) for i, t in own.items()
        }
        ids = self._tokenizer.get_vocab(with_added_tokens=False)
        pieces = sorted(ids, key=ids.__getitem__)
        unk_id = _unknown(content["model"], ids)
        if list(map(ids.get, pieces)) != list(range(len(pieces))) or not isinstance(unk_id, int):
            raise ValueError("the vocabulary of tokenizer.json has repeated pieces, or no unk_id")
        self.vocab = Vocabulary(pieces, unk_id, dataclasses.replace(special, added=ours | dict(special.added)))
        self._refuse_empty([*ours.values(), *self.vocab.added.values()])
        for index, token in sorted(self.vocab.added.items()):
            if ours.get(index) != token:
                fields = token.to_json()
                self._tokenizer.add_tokens([tokenizers.AddedToken(fields.pop("content"), **fields)])
            if self._tokenizer.token_to_id(token.content) != index:
                raise ValueError(
                    f"added token {token.content!r} has the id {index} in the settings, another in tokenizer.json"
                )
        if check_template:
            self._check_template()

    def with_special(self, special: SpecialTokens) -> FastEncoder:
        """An encoder of the same pieces that has other special and added tokens. Its template follows [CLS] and [SEP].

        It is made from a tokenizer.json that says so: a library's tokenizer to which a token is added twice, with other
        flags the second time, finds both until it is saved.
        """
        vocab = Vocabulary(self.vocab.pieces, self.vocab.unk_id, special)
        added = [{"id": i, **token.to_json()} for i, token in sorted(vocab.added.items())]
        content = {**self.to_json(), "added_tokens": added}
        cls, sep = vocab.named["cls_token"], vocab.named["sep_token"]
        if cls is None or sep is None:
            return FastEncoder(content, special, check_template=False)
        around = ((str(token), vocab.id_of(str(token))) for token in (cls, sep))
        return FastEncoder({**content, "post_processor": template(*around)}, special)

    def _refuse_empty(self, added: Iterable[AddedToken]) -> None:
        """Refuses an added token of which normalising leaves nothing: the library would find it everywhere, without end."""
        normalizer = self._tokenizer.normalizer
        for token in added:
            content = token.content
            if normalizer is not None and token.normalized:
                content = _guarded("normalize with", functools.partial(normalizer.normalize_str, content))
            if not content:
                raise ValueError(
                    f"the added token {shown(repr(token.content), 60)} is an empty text once it is normalized; add it with "
                    "normalized=False"
                )

    def _check_template(self) -> None:
        """Refuses a file with another template, because AlbertTokenizer, not the library, puts rows together."""
        cls, sep = (self.vocab.id_of(str(self.vocab.named[name])) for name in ("cls_token", "sep_token"))
        pair = _guarded("encode with", lambda: self._tokenizer.encode("", ""))
        if pair.ids != [cls, sep, sep] or pair.type_ids != [0, 0, 1]:
            raise ValueError(
                f"the post_processor of tokenizer.json makes {pair.tokens} of two empty texts; ALBERT's makes "
                "[CLS] A [SEP] B [SEP] with types 0 and 1; AlbertTokenizer of transformers 5 saves these"
            )

    def encode(self, text: str, *, spans: bool, split_special_tokens: bool = False) -> Encoded:
        check_text(text)
        return self._encode(text, spans, split_special_tokens, words=False)

    def encode_words(self, words: list[str], *, spans: bool, split_special_tokens: bool = False) -> Encoded:
        for word in words:
            check_text(word)
        return self._encode(list(words), spans, split_special_tokens, words=True)

    def _encode(self, text: Any, spans: bool, split: bool, words: bool) -> Encoded:
        self._tokenizer.encode_special_tokens = split
        found = _guarded(
            "encode with", lambda: self._tokenizer.encode(text, is_pretokenized=words, add_special_tokens=False)
        )
        return Encoded(found.ids, found.tokens, found.offsets if spans else None, found.word_ids)

    def decode_ids(self, ids: list[int], skip_special_tokens: bool) -> str:
        # the library's own decode writes some added tokens as they look in normalised text (0.23; 0.22 does not)
        special = {token.content for token in self.vocab.added.values() if skip_special_tokens and token.special}
        return self.decode([token for token in map(self.vocab.token_of, ids) if token not in special])

    def decode(self, pieces: list[str]) -> str:
        decoder = self._tokenizer.decoder
        return decoder.decode(pieces) if decoder is not None else " ".join(pieces)

    def to_json(self) -> dict[str, Any]:
        return json.loads(self._tokenizer.to_str())


def _unknown(model: dict[str, Any], ids: dict[str, int]) -> Any:
    """The id of the unknown piece: a Unigram model says it, a WordPiece model says the token."""
    return ids.get(model["unk_token"]) if model.get("type") == "WordPiece" else model.get("unk_id")


def _guarded(what: str, call: Callable[[], Any]) -> Any:
    """Runs call(). The library's errors and panics (a BaseException of its own) become ValueError."""
    try:
        return call()
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise ValueError(f"the tokenizers library cannot {what} this tokenizer.json: {str(error)[:200]}") from error
        raise
