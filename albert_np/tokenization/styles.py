"""The three styles of a tokenizer: whose rules cut a text into pieces."""

from __future__ import annotations

import os
from pathlib import Path

from albert_np.tokenization.alignment import Preprocessing
from albert_np.tokenization.fast import FastEncoder, build_tokenizer_json, read_tokenizer_json
from albert_np.tokenization.piece_encoder import PieceEncoder
from albert_np.tokenization.spiece import Spiece
from albert_np.tokenization.vocabulary import SpecialTokens, Vocabulary

STYLES = ("hf_slow", "hf_fast", "google")


def make_encoder(
    style: str,
    spiece: Spiece | None,
    tokenizer_file: str | os.PathLike | None,
    special: SpecialTokens,
    *,
    do_lower_case: bool,
    remove_space: bool,
    keep_accents: bool,
) -> PieceEncoder | FastEncoder:
    """The encoder of a style, and its vocabulary. Raises ValueError if a file is missing."""
    if style == "hf_fast":
        if tokenizer_file is not None:
            content = read_tokenizer_json(Path(tokenizer_file))
        elif spiece is not None:
            content = build_tokenizer_json(
                spiece, special.named, do_lower_case=do_lower_case, keep_accents=keep_accents
            )
        else:
            raise ValueError("style='hf_fast' needs vocab_file (a spiece.model) or tokenizer_file (a tokenizer.json)")
        return FastEncoder(content, special)
    if spiece is None:
        raise ValueError(f"style={style!r} needs vocab_file, the path of a spiece.model")
    vocab = Vocabulary(spiece.pieces, spiece.unk_id, special)
    google = style == "google"
    if google and (keep_accents or not remove_space):
        raise ValueError("style='google' always removes accents and extra spaces; leave keep_accents, remove_space")
    steps = Preprocessing(remove_space, quotes=not google, keep_accents=keep_accents, lower=do_lower_case)
    return PieceEncoder(spiece, vocab, steps, google=google)
