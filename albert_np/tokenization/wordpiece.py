"""Style "wordpiece": BERT's tokenizer, for folders of Chinese ALBERT, whose vocabulary is a vocab.txt.

AlbertTokenizer.from_pretrained makes it. Source: transformers 4.57.6 tokenization_bert_fast.py, tokenization_utils_fast.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from albert_np.files import shown
from albert_np.tokenization.added_tokens import AddedToken
from albert_np.tokenization.fast import library
from albert_np.tokenization.files import VOCAB_TXT, FilesOfKind, read_added_tokens, read_files
from albert_np.tokenization.lengths import logger
from albert_np.tokenization.options import loading_options
from albert_np.tokenization.settings import checked_flag, fixed
from albert_np.tokenization.styles import Source
from albert_np.tokenization.tokenizer import AlbertTokenizer, AlbertTokenizerFast
from albert_np.tokenization.vocab_txt import (
    BERT,
    FLAGS,
    bert_flags,
    build_wordpiece_json,
    read_vocab_txt,
    read_wordpiece_json,
    with_flags,
)

STYLE = "wordpiece"
FILES = FilesOfKind(
    vocab=VOCAB_TXT,
    classes=(BERT,),
    flags=(*FLAGS, "clean_up_tokenization_spaces", "split_special_tokens", "do_basic_tokenize", "never_split"),
    normalizer_flags=tuple(FLAGS),
    json_first=True,
)
WITHOUT_LIBRARY = (
    "vocab.txt and BERT's tokenizer.json run through the tokenizers library, which is not installed: "
    'pip install "albert-np[formats]"'
)
SPIECE_ONLY = ("remove_space", "keep_accents", "sp_model_kwargs")


class WordPieceTokenizer(AlbertTokenizerFast):
    """BERT's tokenizer over a vocab.txt, or over a tokenizer.json of type WordPiece, which counts if both are given.

    It is an AlbertTokenizer of style "wordpiece" with the results of transformers' BertTokenizerFast: the `tokenizers` library
    runs it. Text is cut at spaces, punctuation and each Chinese character, and a piece that continues a word begins with ##.

    do_lower_case: texts are lowered. strip_accents: None means as do_lower_case says. tokenize_chinese_chars: a Chinese
    character is a word of its own. clean_up_tokenization_spaces: None means True for a vocab.txt, False for a tokenizer.json.
    do_basic_tokenize and never_split belong to transformers' slow tokenizer and change nothing, which a warning says.
    The other arguments are AlbertTokenizer's. Raises ValueError (arguments, content of files) or OSError (files).
    """

    styles = (STYLE,)
    vocabulary_name = VOCAB_TXT
    strip_accents, tokenize_chinese_chars = fixed("strip_accents"), fixed("tokenize_chinese_chars")

    def __init__(
        self,
        vocab_file: str | os.PathLike | None = None,
        tokenizer_file: str | os.PathLike | None = None,
        do_lower_case: bool = True,
        unk_token: str | AddedToken = "[UNK]",
        sep_token: str | AddedToken = "[SEP]",
        pad_token: str | AddedToken | None = "[PAD]",
        cls_token: str | AddedToken = "[CLS]",
        mask_token: str | AddedToken | None = "[MASK]",
        tokenize_chinese_chars: bool = True,
        strip_accents: bool | None = None,
        *,
        do_basic_tokenize: bool = True,
        never_split: Any = None,
        clean_up_tokenization_spaces: bool | None = None,
        style: str = STYLE,
        **settings: Any,
    ) -> None:
        if without := [name for name in SPIECE_ONLY if name in settings]:
            raise ValueError(
                f"{without[0]} is a setting of SentencePiece's tokenizers, and this one is BERT's: leave it out"
            )
        if do_basic_tokenize is not True or never_split:
            logger.warning(
                "do_basic_tokenize and never_split change nothing here, as in transformers' BertTokenizerFast"
            )
        if strip_accents is not None:
            checked_flag(strip_accents, "strip_accents")
        self._do_lower_case = checked_flag(do_lower_case, "do_lower_case")
        self._strip_accents = strip_accents
        self._tokenize_chinese_chars = checked_flag(tokenize_chinese_chars, "tokenize_chinese_chars")
        clean = tokenizer_file is None if clean_up_tokenization_spaces is None else clean_up_tokenization_spaces
        self._needed = {"unk_token": str(unk_token), "cls_token": str(cls_token), "sep_token": str(sep_token)}
        # a mask token of BERT's leaves the space on its left alone
        mask = AddedToken(mask_token, special=True) if isinstance(mask_token, str) and mask_token else mask_token
        AlbertTokenizer.__init__(
            self,
            vocab_file,
            do_lower_case,
            bos_token=settings.pop("bos_token", None),
            eos_token=settings.pop("eos_token", None),
            unk_token=unk_token,
            sep_token=sep_token,
            pad_token=pad_token,
            cls_token=cls_token,
            mask_token=mask,
            clean_up_tokenization_spaces=clean,
            style=style,
            tokenizer_file=tokenizer_file,
            **settings,
        )
        self.init_kwargs |= {"tokenize_chinese_chars": tokenize_chinese_chars, "strip_accents": strip_accents}
        stored = {str(token) for token in (settings.get("added_tokens_decoder") or {}).values()}
        for token, index in ((self.pad_token, self.pad_token_id), (self.mask_token, self.mask_token_id)):
            if self._vocab_txt is not None and token not in {None, *stored} and index >= self.vocab_size:
                logger.warning(
                    "%s has no %s, which has the new id %d now: has the model a row for it?", vocab_file, token, index
                )

    def _read(self, style: str, vocab_file: Any, tokenizer_file: Any) -> Source:
        library(WITHOUT_LIBRARY)
        self._vocab_txt: bytes | None = None
        if tokenizer_file is not None:
            content = read_wordpiece_json(Path(tokenizer_file))
            added, _ = read_added_tokens(content, str(tokenizer_file))
        elif vocab_file is not None:
            tokens, self._vocab_txt = read_vocab_txt(Path(vocab_file))
            for name, token in self._needed.items():
                if token not in tokens:
                    raise ValueError(
                        f"{vocab_file} has no {shown(token, 40)}, the {name} of BERT's WordPiece vocabulary or of the settings "
                        f"beside it: is it another model's file? ({name}= gives another name)"
                    )
            content, added = build_wordpiece_json(tokens, *self._needed.values()), {}
        else:
            raise ValueError(f"style={style!r} needs vocab_file (a {VOCAB_TXT}) or tokenizer_file (a tokenizer.json)")
        flags = {name: getattr(self, name) for name in FLAGS}
        strips = self.do_lower_case if self.strip_accents is None else self.strip_accents
        return Source(None, with_flags(content, flags), None, added, frozenset(), self.do_lower_case, not strips)

    def starts_word(self, piece: str) -> bool:
        """Whether a piece is the first of a word: a piece that continues one begins with ##."""
        return not piece.startswith("##")

    def _vocabulary(self) -> bytes | None:
        if self._vocab_txt is not None or any("\n" in piece or "\r" in piece for piece in self._vocab.pieces):
            return self._vocab_txt
        return "".join(f"{piece}\n" for piece in self._vocab.pieces).encode()

    def _config(self) -> dict[str, Any]:
        saved = super()._config() | {name: getattr(self, name) for name in FLAGS} | {"tokenizer_class": BERT}
        return {name: value for name, value in saved.items() if name not in (*SPIECE_ONLY, "add_prefix_space")}


def load_wordpiece(
    cls: type[AlbertTokenizer],
    name_or_path: str | os.PathLike,
    find: Callable[..., Path | None],
    style: str | None,
    options: dict[str, Any],
) -> WordPieceTokenizer:
    """The tokenizer of a folder with a vocab.txt, or with a tokenizer.json of type WordPiece, which counts if both are there.

    If its settings name BertTokenizer, these and BERT's defaults say what is lowered and stripped, as in transformers. If they
    name another class or none, what they leave open tokenizer.json says.

    cls: the class that was asked to load it. Raises ValueError if this tokenizer is none of that class, or of that style.
    """
    whose = f"the vocabulary of {name_or_path} is BERT's WordPiece"
    if style not in (None, STYLE):
        raise ValueError(f"{whose}, whose only style is {STYLE!r}: leave style out; got {style!r:.80}")
    if not issubclass(WordPieceTokenizer, cls):
        raise ValueError(f"{whose}, which {cls.__name__} is no class for; AlbertTokenizer.from_pretrained reads it")
    overrides = loading_options(options, AlbertTokenizer, WordPieceTokenizer)
    files = read_files(find, overrides, FILES)
    if files.fast_file is None:
        find(VOCAB_TXT, required=True)
    else:
        said = bert_flags(read_wordpiece_json(files.fast_file))
        if files.tokenizer_class != BERT:
            files.settings = said | files.settings
        if not said and (given := [name for name in FLAGS if name in overrides]):
            raise ValueError(f"the normalizer of {files.fast_file} is not BERT's, so {given[0]} cannot change it")
    return WordPieceTokenizer(
        files.vocab_file, tokenizer_file=files.fast_file, name_or_path=str(name_or_path), **files.settings
    )
