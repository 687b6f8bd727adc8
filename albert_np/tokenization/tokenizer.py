"""AlbertTokenizer: from text to ALBERT's ids, masks and token types, and back, with transformers' names and results."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self, cast

from albert_np.checkpoints import hub
from albert_np.files import folder_to_write, shown, write_atomically
from albert_np.tokenization.added_tokens import AddedToken
from albert_np.tokenization.calls import TokenizerCalls
from albert_np.tokenization.decoding import clean_up_tokenization, ids_to_text, pieces_to_text
from albert_np.tokenization.files import (
    ADDED_TOKENS,
    CONFIG,
    FAST,
    GOOGLES,
    SETTINGS,
    SPECIAL_TOKENS_MAP,
    VOCAB,
    config_json,
    parse_decoder,
    read_files,
    special_tokens_json,
    write_json,
)
from albert_np.tokenization.lengths import logger
from albert_np.tokenization.options import check_decoding, check_making, check_saving, loading_options
from albert_np.tokenization.piece_encoder import SPACE, check_text
from albert_np.tokenization.rows import RowMaker
from albert_np.tokenization.settings import INPUT_NAMES, check_sp_model_kwargs, checked_flag
from albert_np.tokenization.spiece import refuse_wordpiece
from albert_np.tokenization.styles import STYLES, Source, make_encoder, read_source
from albert_np.tokenization.tokenizer_json import NotAlbertsError, puts_spaces_first
from albert_np.tokenization.vocab_txt import has_wordpiece
from albert_np.tokenization.vocabulary import SpecialTokens, check_ids, named_tokens, token_list, token_names


class AlbertTokenizer(TokenizerCalls):
    """ALBERT's tokenizer over a SentencePiece vocabulary.

    vocab_file is a spiece.model; for a folder or a hub id, use from_pretrained. Special tokens are str or AddedToken.
    A tokenizer_file counts where there is no vocab_file: a tokenizer.json of ALBERT's holds the same vocabulary, and all three
    styles can be made from it. do_lower_case and keep_accents: None is what that file says, else True and False.

    style says whose rules to follow:
    - "hf_slow" (default): transformers 4.57.6's SentencePiece AlbertTokenizer. Use it for every checkpoint unless you
      have a reason not to: it separates numbers and commas as in pre-training, and finds [MASK] in a text.
    - "hf_fast": the `tokenizers` library, which AlbertTokenizerFast and transformers 5 run. Use it to reproduce numbers
      made with those: a year and its comma stay one piece, and spaces and accents differ in places.
    - "google": google-research/albert's own code, which wrote the pre-training data. Use it to reproduce that data:
      quotes such as `` stay, and [MASK] in a text is text.

    Raises ValueError (arguments, content of files) or OSError (files).
    """

    init_inputs: tuple[Any, ...] = ()
    styles: ClassVar[tuple[str, ...]] = STYLES
    vocabulary_name: ClassVar[str] = VOCAB

    def __init__(
        self,
        vocab_file: str | os.PathLike | None = None,
        do_lower_case: bool | None = None,
        remove_space: bool = True,
        keep_accents: bool | None = None,
        bos_token: str | AddedToken | None = "[CLS]",
        eos_token: str | AddedToken | None = "[SEP]",
        unk_token: str | AddedToken = "<unk>",
        sep_token: str | AddedToken = "[SEP]",
        pad_token: str | AddedToken | None = "<pad>",
        cls_token: str | AddedToken = "[CLS]",
        mask_token: str | AddedToken | None = "[MASK]",
        sp_model_kwargs: Mapping[str, Any] | None = None,
        *,
        additional_special_tokens: Iterable[str | AddedToken] | None = (),
        extra_special_tokens: Mapping[str, str | AddedToken] | Iterable[str | AddedToken] | None = None,
        model_specific_special_tokens: Mapping[str, str | AddedToken] | None = None,
        added_tokens_decoder: Mapping[int, AddedToken] | None = None,
        model_max_length: int | None = None,
        padding_side: str = "right",
        truncation_side: str = "right",
        clean_up_tokenization_spaces: bool = False,
        split_special_tokens: bool = False,
        model_input_names: Iterable[str] = INPUT_NAMES,
        verbose: bool = True,
        style: str = "hf_slow",
        tokenizer_file: str | os.PathLike | None = None,
        name_or_path: str = "",
        **options: Any,
    ):
        # what the tokenizer was made with, as transformers keeps it
        self.init_kwargs: dict[str, Any] = {n: value for n, value in locals().items() if n not in ("self", "options")}
        check_making(options, type(self).__name__)
        if tokenizer_file is not None and not isinstance(tokenizer_file, (str, os.PathLike)):
            raise ValueError(f"tokenizer_file is the path of a tokenizer.json; got {tokenizer_file!r:.80}")
        if style not in self.styles:
            raise ValueError(f"style must be one of {', '.join(self.styles)}; got {style!r:.80}")
        check_sp_model_kwargs(sp_model_kwargs)
        source = self._read(style, vocab_file, tokenizer_file)
        if do_lower_case is None:
            do_lower_case = source.do_lower_case
        if keep_accents is None:
            keep_accents = source.keep_accents
        flags = {
            "do_lower_case": do_lower_case,
            "remove_space": remove_space,
            "keep_accents": keep_accents,
            "clean_up_tokenization_spaces": clean_up_tokenization_spaces,
            "split_special_tokens": split_special_tokens,
        }
        for name, value in flags.items():
            checked_flag(value, name)
        self._style = style
        self.name_or_path = str(name_or_path)
        self._do_lower_case, self._remove_space, self._keep_accents = do_lower_case, remove_space, keep_accents
        self.clean_up_tokenization_spaces = clean_up_tokenization_spaces
        self.split_special_tokens = split_special_tokens
        self.padding_side, self.truncation_side, self.model_max_length = padding_side, truncation_side, model_max_length
        self.model_input_names, self.verbose = model_input_names, verbose
        self._spiece, self._rebuilt = source.spiece, source.rebuilt
        self.vocab_file = None if vocab_file is None else os.fspath(vocab_file)

        named = named_tokens(
            {
                "bos_token": bos_token,
                "eos_token": eos_token,
                "unk_token": unk_token,
                "sep_token": sep_token,
                "pad_token": pad_token,
                "cls_token": cls_token,
                "mask_token": mask_token,
            }
        )
        additional = token_list(additional_special_tokens or (), "additional_special_tokens")
        extra = {}
        if extra_special_tokens is None or isinstance(extra_special_tokens, Mapping):
            extra = token_names(extra_special_tokens, "extra_special_tokens")
        else:  # transformers 5 lists here, besides what a user gave, the named tokens and the user-defined pieces
            listed = token_list(extra_special_tokens, "extra_special_tokens")
            known = {*source.user_defined, *map(str, named.values())}
            additional += [token for token in listed if str(token) not in known]
        special = SpecialTokens(
            named,
            additional,
            extra | token_names(model_specific_special_tokens, "model_specific_special_tokens"),
            parse_decoder(added_tokens_decoder or {}, "the arguments"),
        )
        self._adopt(
            make_encoder(
                style,
                source,
                special,
                do_lower_case=do_lower_case,
                remove_space=remove_space,
                keep_accents=keep_accents,
            )
        )

    def _read(self, style: str, vocab_file: Any, tokenizer_file: Any) -> Source:
        return read_source(style, vocab_file, tokenizer_file)

    def _adopt(self, encoder: Any) -> None:
        self._encoder, self._vocab = encoder, encoder.vocab
        self._rows = RowMaker(self._encoder, self._vocab, fast=self.is_fast)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike,
        *init_inputs: Any,
        style: str | None = None,
        **options: Any,
    ) -> Self:
        """Loads the tokenizer of a folder, a hub id, or "demo".

        It reads tokenizer_config.json, special_tokens_map.json and added_tokens.json as transformers does, but never
        follows a path inside them. Where there is no spiece.model, the vocabulary is the 30k-clean.model of Google's folders.
        A folder with BERT's vocab.txt (Google's vocab_chinese.txt) instead gives style "wordpiece".
        A folder with a tokenizer.json and no vocabulary beside it, as transformers 5 saves it, has the default style too, with
        SentencePiece's ids; if its rules are not ALBERT's, style is "hf_fast", which a warning says.

        options: revision, cache_dir, local_files_only, token, subfolder and force_download say where files come from; the
        arguments of the class replace what the files say; transformers' other keywords are ignored where they change nothing
        here, and else refused. Raises OSError (no such file or model) or ValueError (content, arguments), each in one line.
        """
        name_or_path = pretrained_model_name_or_path
        if init_inputs:
            raise ValueError(f"from_pretrained takes one value without a name; got {len(init_inputs)} more: name them")
        where = hub.take_options(options)

        @functools.cache
        def find(filename: str, required: bool = False) -> Path | None:
            path = hub.resolve(name_or_path, filename, required=False, **where)
            if path is None and filename in GOOGLES:
                path = hub.google_file(name_or_path, GOOGLES[filename], **where)
            if path is None and required:
                path = hub.resolve(name_or_path, filename, **where)  # which says what is there instead
            return path

        refuse_wordpiece(name_or_path)
        if style == "wordpiece" or has_wordpiece(find):
            from albert_np.tokenization.wordpiece import load_wordpiece  # a subclass of this one

            return cast("Self", load_wordpiece(cls, name_or_path, find, style, options))
        files = read_files(find, loading_options(options, AlbertTokenizer))
        if files.vocab_file is None and files.fast_file is None:
            find(VOCAB, required=True)
        make = functools.partial(
            cls, files.vocab_file, tokenizer_file=files.fast_file, name_or_path=str(name_or_path), **files.settings
        )
        try:
            return make() if style is None else make(style=style)
        except NotAlbertsError as error:
            if style is not None:
                raise
            logger.warning("%s, so that is the style it has now", error)
            return make(style="hf_fast")

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(name_or_path={self.name_or_path!r}, style={self.style!r}, V={len(self)}, "
            f"model_max_length={self.model_max_length}, do_lower_case={self.do_lower_case})"
        )

    def to_json(self) -> dict[str, Any]:
        """The tokenizer.json of style "hf_fast", as a dict: what the `tokenizers` library reads."""
        if not self.is_fast:
            raise ValueError(f"style {self.style!r} has no tokenizer.json; load the vocabulary with style='hf_fast'")
        return self._encoder.to_json()

    # ------------------------------------------------------------------------------------------------- ids to text

    def decode(
        self,
        token_ids: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        spaces_between_special_tokens: bool = True,
        **options: Any,
    ) -> str:
        """The text of ids (int, list or 1-D array). Source: PreTrainedTokenizer._decode of transformers 4.57.6."""
        check_decoding(options)
        ids = check_ids(token_ids)
        if self.is_fast:
            text = self._encoder.decode_ids(ids, skip_special_tokens)
        else:
            spaces = spaces_between_special_tokens
            text = ids_to_text(ids, self._vocab, self._encoder.decode, skip_special=skip_special_tokens, spaces=spaces)
        clean = (
            self.clean_up_tokenization_spaces if clean_up_tokenization_spaces is None else clean_up_tokenization_spaces
        )
        return clean_up_tokenization(text) if clean else text

    def batch_decode(
        self,
        sequences: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        spaces_between_special_tokens: bool = True,
        **options: Any,
    ) -> list[str]:
        """The texts of a list of lists of ids, or of a 2-D array."""
        if not isinstance(sequences, Iterable) or isinstance(sequences, (str, Mapping)):
            raise ValueError(f"batch_decode takes a list of id lists; got {type(sequences).__name__}")
        chosen = skip_special_tokens, clean_up_tokenization_spaces, spaces_between_special_tokens
        check_decoding(options)
        return [self.decode(ids, *chosen) for ids in sequences]

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """The text of pieces. Special tokens are written as they are; the first of a run of them comes after a space."""
        if not isinstance(tokens, (list, tuple)) or not all(isinstance(token, str) for token in tokens):
            raise ValueError(f"convert_tokens_to_string takes a list of str; got {shown(repr(tokens), 80)}")
        for token in tokens:
            check_text(token)
        return (
            self._encoder.decode(tokens) if self.is_fast else pieces_to_text(tokens, self._vocab, self._encoder.decode)
        )

    # ---------------------------------------------------------------------------------------------------- to files

    def starts_word(self, piece: str) -> bool:
        """Whether a piece is the first of a word, by its spelling: such a piece begins with ▁."""
        return piece.startswith(SPACE)

    def save_vocabulary(self, save_directory: str | os.PathLike, filename_prefix: str | None = None) -> tuple[str, ...]:
        """Writes spiece.model (style "wordpiece": vocab.txt) into an existing folder, byte for byte as it was read. Returns its
        path in a tuple. If the tokenizer was made from a tokenizer.json, it is the vocabulary that was found there.
        """
        folder = folder_to_write(save_directory)
        prefix = _prefix(filename_prefix)
        if not folder.is_dir():
            raise OSError(f"{folder} is not a folder; save_pretrained makes one")
        data, name = self._vocabulary(), self.vocabulary_name
        if data is None:
            raise ValueError(f"this tokenizer was made from tokenizer.json alone, so it has no {name} to save")
        path = folder / (prefix + name)
        write_atomically(path, data)
        return (str(path),)

    def save_pretrained(
        self,
        save_directory: str | os.PathLike,
        legacy_format: bool | None = None,
        filename_prefix: str | None = None,
        push_to_hub: bool = False,
        **options: Any,
    ) -> tuple[str, ...]:
        """Writes files that from_pretrained and transformers can read. Each appears whole or not at all.

        These are tokenizer_config.json, special_tokens_map.json, added_tokens.json if tokens were added after the pieces,
        the vocabulary, and tokenizer.json for style "hf_fast" or if the tokenizer was made from one. legacy_format leaves out
        the last (True) or the one before (False). Returns their paths.
        transformers' other keywords change nothing, and are refused where they would. Raises OSError or ValueError.
        """
        check_saving({"push_to_hub": push_to_hub, **options})
        vocabularies = self._vocabularies(legacy_format)
        folder = folder_to_write(save_directory)
        prefix = _prefix(filename_prefix)
        folder.mkdir(parents=True, exist_ok=True)
        contents: dict[str, dict[str, Any]] = {
            CONFIG: self._config(),
            SPECIAL_TOKENS_MAP: special_tokens_json(self._vocab),
        }
        beyond = {token: index for token, index in self.added_tokens_encoder.items() if index >= self.vocab_size}
        if beyond:
            contents[ADDED_TOKENS] = beyond
        if self.is_fast:
            contents |= {FAST: self.to_json()} if FAST in vocabularies else {}
        elif FAST in vocabularies and self._rebuilt is not None:
            contents[FAST] = self._rebuilt.saved_again(
                self._vocab, do_lower_case=self.do_lower_case, keep_accents=self.keep_accents
            )
        for name, value in contents.items():
            write_json(folder / (prefix + name), value)
        paths = tuple(str(folder / (prefix + name)) for name in contents)
        whole = self.vocabulary_name in vocabularies
        return paths + self.save_vocabulary(folder, filename_prefix) if whole else paths

    def _config(self) -> dict[str, Any]:
        settings = {name: getattr(self, name) for name in SETTINGS}
        if tuple(self.model_input_names) != INPUT_NAMES:
            settings["model_input_names"] = self.model_input_names
        if self.is_fast:
            settings["add_prefix_space"] = puts_spaces_first(self.to_json())  # transformers 5 goes by it
        return config_json(self._vocab, settings)

    def _vocabulary(self) -> bytes | None:
        return None if self._spiece is None else self._spiece.data

    def _vocabularies(self, legacy_format: bool | None) -> list[str]:
        """Which of the two files of a vocabulary are saved."""
        if legacy_format is not None:
            checked_flag(legacy_format, "legacy_format")
        there = {
            self.vocabulary_name: self._vocabulary() is not None,
            FAST: self.is_fast or self._rebuilt is not None,
        }
        left_out = {None: None, True: FAST, False: self.vocabulary_name}[legacy_format]
        names = [name for name, is_there in there.items() if is_there and name != left_out]
        if not names:
            raise ValueError(f"legacy_format={legacy_format} leaves out {left_out}, the only file of this vocabulary")
        return names


class AlbertTokenizerFast(AlbertTokenizer):
    """AlbertTokenizer with style="hf_fast": `tokenizers` runs a tokenizer.json, or one that is built from spiece.model.

    The arguments are those of AlbertTokenizer, and by place in transformers' order: tokenizer_file is the second.
    """

    def __init__(
        self,
        vocab_file: str | os.PathLike | None = None,
        tokenizer_file: str | os.PathLike | None = None,
        *by_place: Any,
        style: str = "hf_fast",
        **settings: Any,
    ) -> None:
        if style != "hf_fast":
            raise ValueError(f"AlbertTokenizerFast is style 'hf_fast'; use AlbertTokenizer for style {style!r}")
        super().__init__(vocab_file, *by_place, tokenizer_file=tokenizer_file, style=style, **settings)


def _prefix(given: str | None) -> str:
    """The prefix of file names, checked."""
    if given is not None and (not isinstance(given, str) or any(c in given for c in "/\\\0")):
        raise ValueError(f"filename_prefix is the start of a file name, not a path; got {given!r:.80}")
    return f"{given}-" if given else ""
