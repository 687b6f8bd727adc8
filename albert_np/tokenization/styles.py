"""The three styles of a tokenizer: whose rules cut a text into pieces."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from albert_np.tokenization.added_tokens import AddedToken
from albert_np.tokenization.alignment import Preprocessing
from albert_np.tokenization.fast import FastEncoder
from albert_np.tokenization.files import read_added_tokens
from albert_np.tokenization.lengths import logger
from albert_np.tokenization.piece_encoder import PieceEncoder
from albert_np.tokenization.spiece import USER_DEFINED, Spiece, load_spiece
from albert_np.tokenization.tokenizer_json import (
    Rebuilt,
    build_tokenizer_json,
    makes_alberts_rows,
    normalizer_flags,
    read_tokenizer_json,
    rebuild,
)
from albert_np.tokenization.vocabulary import SpecialTokens, Vocabulary

STYLES = ("hf_slow", "hf_fast", "google")


@dataclass(frozen=True)
class Source:
    """What a tokenizer is made from: a spiece.model, or a tokenizer.json, which may hold all that a spiece.model does."""

    spiece: Spiece | None
    content: dict[str, Any] | None = None  # of tokenizer.json, for the tokenizers library
    rebuilt: Rebuilt | None = None
    added: Mapping[int, AddedToken] = field(default_factory=dict)  # tokens of tokenizer.json
    user_defined: frozenset[str] = frozenset()  # pieces that are always found whole, such as `(`
    do_lower_case: bool = True  # what tokenizer.json says
    keep_accents: bool = False


def read_source(style: str, vocab_file: str | os.PathLike | None, tokenizer_file: str | os.PathLike | None) -> Source:
    """Reads the file that counts: for "hf_fast" a tokenizer.json, else a spiece.model, if there is one.

    Raises OSError or ValueError, or NotAlbertsError if only style "hf_fast" can use the tokenizer.json.
    """
    spiece = None if vocab_file is None else load_spiece(vocab_file)
    if tokenizer_file is None or (style != "hf_fast" and spiece is not None):
        return Source(spiece, user_defined=_user_defined(spiece))
    where = str(tokenizer_file)
    content = read_tokenizer_json(Path(tokenizer_file))
    added, pieces = read_added_tokens(content, where)
    if style == "hf_fast":
        flags = normalizer_flags(content)
        return Source(spiece, content, None, added, frozenset(pieces), *flags)
    rebuilt = rebuild(content, where)
    flags = rebuilt.do_lower_case, rebuilt.keep_accents
    return Source(rebuilt.spiece, None, rebuilt, added, _user_defined(rebuilt.spiece), *flags)


def _user_defined(spiece: Spiece | None) -> frozenset[str]:
    if spiece is None:
        return frozenset()
    return frozenset(piece for piece, kind in zip(spiece.pieces, spiece.types, strict=True) if kind == USER_DEFINED)


@functools.cache  # said once
def _say_how_it_is_made() -> None:
    logger.warning(
        "style 'hf_fast' finds no tokenizer.json and makes one from spiece.model. Its ids differ from AlbertTokenizerFast of "
        'transformers 4.57.6 beside ( ) " - . (4.57.6 is wrong there) and in numbers with a comma (one piece here, as in '
        "transformers 5); style 'hf_slow' has the ids of pre-training"
    )


def make_encoder(
    style: str,
    source: Source,
    special: SpecialTokens,
    *,
    do_lower_case: bool,
    remove_space: bool,
    keep_accents: bool,
) -> PieceEncoder | FastEncoder:
    """The encoder of a style, and its vocabulary. Raises ValueError if a file is missing."""
    spiece, content = source.spiece, source.content
    if style in ("hf_fast", "wordpiece"):
        if content is None and spiece is not None:
            _say_how_it_is_made()
            content = build_tokenizer_json(
                spiece, special.named, do_lower_case=do_lower_case, keep_accents=keep_accents
            )
        if content is None:
            raise ValueError("style='hf_fast' needs vocab_file (a spiece.model) or tokenizer_file (a tokenizer.json)")
        return FastEncoder(content, special)
    if spiece is None:
        raise ValueError(f"style={style!r} needs vocab_file (a spiece.model) or tokenizer_file (a tokenizer.json)")
    special = replace(special, added={**source.added, **special.added})
    vocab = Vocabulary(spiece.pieces, spiece.unk_id, special)
    if source.rebuilt is not None:
        ids = (vocab.id_of(str(vocab.named[name])) for name in ("cls_token", "sep_token"))
        if not makes_alberts_rows(source.rebuilt.content.get("post_processor"), *ids):
            cls, sep = vocab.named["cls_token"], vocab.named["sep_token"]
            raise ValueError(
                f"the post_processor of tokenizer.json makes other rows than {cls} A {sep} B {sep} with types 0 and 1; load "
                "it with the cls_token and sep_token of its post_processor, or load and save it with AlbertTokenizer of "
                "transformers 5, which writes these rows"
            )
    google = style == "google"
    if google and (keep_accents or not remove_space):
        raise ValueError("style='google' always removes accents and extra spaces; leave keep_accents, remove_space")
    steps = Preprocessing(remove_space, quotes=not google, keep_accents=keep_accents, lower=do_lower_case)
    return PieceEncoder(spiece, vocab, steps, google=google)
