"""Style "hf_fast": from text to pieces through the `tokenizers` library, with a tokenizer.json or one built from spiece.model.

transformers' own conversion of spiece.model is not used: it turns the pieces ( ) " - . – £ € into added tokens, which then
take the space before them away from the next word (5 of 29 published strings come out wrong).
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from albert_np import imports
from albert_np.tokenization.added_tokens import AddedToken
from albert_np.tokenization.batch import Encoded
from albert_np.tokenization.charsmap import charsmap_problem
from albert_np.tokenization.files import read_json_object
from albert_np.tokenization.piece_encoder import SPACE, check_text
from albert_np.tokenization.spiece import Spiece
from albert_np.tokenization.vocabulary import SpecialTokens, Vocabulary


def library() -> Any:
    """The `tokenizers` package, or a ValueError saying how to get it."""
    try:
        with imports.lock:
            import tokenizers
    except ImportError as error:
        raise ValueError(
            'style="hf_fast" runs the tokenizers library, which is not installed: pip install "albert-np[fast]"'
        ) from error
    return tokenizers


def build_tokenizer_json(
    spiece: Spiece, named: Mapping[str, AddedToken | str | None], *, do_lower_case: bool, keep_accents: bool
) -> dict[str, Any]:
    """A tokenizer.json that does what spiece.model does, as far as its format allows."""
    if spiece.treat_whitespace_as_suffix or not spiece.normalizer.escape_whitespaces:
        raise ValueError("style='hf_fast' cannot express a vocabulary whose spaces are suffixes or unescaped")
    ids = {piece: i for i, piece in enumerate(spiece.pieces)}
    special: dict[int, AddedToken] = {}
    for token in named.values():
        if token is not None and str(token) in ids:
            flags = token if isinstance(token, AddedToken) else AddedToken(token, special=True)
            special[ids[str(token)]] = AddedToken(
                flags.content, flags.single_word, flags.lstrip, flags.rstrip, bool(flags.normalized), special=True
            )
    normalizers: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": quotes}, "content": '"'} for quotes in ("``", "''")
    ]
    if not keep_accents:
        normalizers += [{"type": "NFKD"}, {"type": "StripAccents"}]
    if do_lower_case:
        normalizers += [{"type": "Lowercase"}]
    if spiece.normalizer.charsmap:
        charsmap = base64.b64encode(spiece.normalizer.charsmap).decode()
        normalizers += [{"type": "Precompiled", "precompiled_charsmap": charsmap}]
    prefix = "always" if spiece.normalizer.add_dummy_prefix else "never"
    metaspace = {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": prefix, "split": True}
    cls, sep = str(named["cls_token"]), str(named["sep_token"])
    for token in (cls, sep):
        if token not in ids:
            raise ValueError(f"style='hf_fast' needs {token!r} to be a piece of the vocabulary")

    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, **token.to_json()} for i, token in sorted(special.items())],
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace]},
        "post_processor": _template((cls, ids[cls]), (sep, ids[sep])),
        "decoder": metaspace,
        "model": {
            "type": "Unigram",
            "unk_id": spiece.unk_id,
            "vocab": [[piece, score] for piece, score in zip(spiece.pieces, spiece.scores, strict=True)],
            "byte_fallback": False,
        },
    }


def _template(cls: tuple[str, int], sep: tuple[str, int]) -> dict[str, Any]:
    """The post_processor that makes [CLS] A [SEP] and [CLS] A [SEP] B [SEP]. cls, sep: a token and its id."""

    def one(token: str, kind: int) -> dict[str, Any]:
        return {"SpecialToken": {"id": token, "type_id": kind}}

    def text(name: str, kind: int) -> dict[str, Any]:
        return {"Sequence": {"id": name, "type_id": kind}}

    single = [one(cls[0], 0), text("A", 0), one(sep[0], 0)]
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [*single, text("B", 1), one(sep[0], 1)],
        "special_tokens": {token: {"id": token, "ids": [i], "tokens": [token]} for token, i in sorted({cls, sep})},
    }


def read_tokenizer_json(path: Path) -> dict[str, Any]:
    """Reads a tokenizer.json, and refuses content on which the `tokenizers` library would crash."""
    value = read_json_object(Path(path))
    model = value.get("model")
    if not isinstance(model, dict) or model.get("type", "Unigram") != "Unigram":
        kind = model.get("type") if isinstance(model, dict) else None
        raise ValueError(f"the model of {path} is {kind!r}; ALBERT's is Unigram")
    for charsmap in _charsmaps(value.get("normalizer")):
        try:
            problem = charsmap_problem(base64.b64decode(charsmap, validate=True))
        except (binascii.Error, TypeError, ValueError) as error:
            problem = f"is not base64 ({error})"
        if problem:
            raise ValueError(f"the precompiled_charsmap of {path} {problem}; get the file again")
    return value


def _charsmaps(normalizer: Any) -> list[Any]:
    if not isinstance(normalizer, dict):
        return []
    if normalizer.get("type") == "Sequence" and isinstance(normalizer.get("normalizers"), list):
        return [charsmap for item in normalizer["normalizers"] for charsmap in _charsmaps(item)]
    return [normalizer.get("precompiled_charsmap")] if normalizer.get("type") == "Precompiled" else []


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
        unk_id = content["model"].get("unk_id")
        if list(map(ids.get, pieces)) != list(range(len(pieces))) or not isinstance(unk_id, int):
            raise ValueError("the vocabulary of tokenizer.json has repeated pieces, or no unk_id")
        self.vocab = Vocabulary(pieces, unk_id, dataclasses.replace(special, added=ours | dict(special.added)))
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
        return FastEncoder({**content, "post_processor": _template(*around)}, special)

    def _check_template(self) -> None:
        """Refuses a file with another template, because AlbertTokenizer, not the library, puts rows together."""
        cls, sep = (self.vocab.id_of(str(self.vocab.named[name])) for name in ("cls_token", "sep_token"))
        pair = _guarded("encode with", lambda: self._tokenizer.encode("", ""))
        if pair.ids != [cls, sep, sep] or pair.type_ids != [0, 0, 1]:
            raise ValueError(
                f"the post_processor of tokenizer.json makes {pair.tokens} of two empty texts; ALBERT's makes "
                "[CLS] A [SEP] B [SEP] with types 0 and 1"
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
        for index in ids:
            self.vocab.token_of(index)
        return self._tokenizer.decode(ids, skip_special_tokens=skip_special_tokens)

    def decode(self, pieces: list[str]) -> str:
        decoder = self._tokenizer.decoder
        return decoder.decode(pieces) if decoder is not None else " ".join(pieces)

    def to_json(self) -> dict[str, Any]:
        return json.loads(self._tokenizer.to_str())


def _guarded(what: str, call: Callable[[], Any]) -> Any:
    """Runs call(). The library's errors and panics (a BaseException of its own) become ValueError."""
    try:
        return call()
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise ValueError(f"the tokenizers library cannot {what} this tokenizer.json: {str(error)[:200]}") from error
        raise
