"""AlbertTokenizer: text to the ids, masks and types ALBERT takes, and back, with transformers' names and results."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral
from pathlib import Path
from typing import Any

from albert_np import imports
from albert_np.files import folder_to_write, shown, write_atomically
from albert_np.tokenization.added_tokens import AddedToken, parse_added_token
from albert_np.tokenization.alignment import Preprocessing
from albert_np.tokenization.batch import BatchEncoding, Encoded, Row, check_return_tensors, to_arrays
from albert_np.tokenization.decoding import clean_up_tokenization, ids_to_text, pieces_to_text
from albert_np.tokenization.files import (
    ADDED_TOKENS,
    CONFIG,
    FAST,
    SETTINGS,
    SPECIAL_TOKENS_MAP,
    VOCAB,
    config_json,
    parse_decoder,
    read_files,
    special_tokens_json,
    write_json,
)
from albert_np.tokenization.lengths import (
    NO_LIMIT,
    Strategies,
    check_side,
    cut,
    logger,
    pad_encoding,
    padded_length,
    resolve_strategies,
)
from albert_np.tokenization.piece_encoder import PieceEncoder, check_text
from albert_np.tokenization.spiece import load_spiece
from albert_np.tokenization.text_inputs import text_pairs
from albert_np.tokenization.token_lookup import TokenLookup
from albert_np.tokenization.vocabulary import Vocabulary, check_ids, named_tokens

STYLES = ("hf_slow", "hf_fast", "google")


def _checked(name: str, check: Callable[[Any, str], Any]) -> Any:
    """An attribute whose new values go through `check`."""

    def change(self, value):
        setattr(self, f"_{name}", check(value, name))

    return property(lambda self: getattr(self, f"_{name}"), change, doc=f"{name}; checked when it is set")


def _fixed(name: str) -> Any:
    """An attribute that can be read and not set."""

    def refuse(self, value):
        raise AttributeError(f"{name} is built into the tokenizer: load it again with {name}={value!r:.80}")

    return property(lambda self: getattr(self, f"_{name}"), refuse, doc=f"{name}, as the tokenizer was made")


class AlbertTokenizer(TokenLookup):
    """ALBERT's tokenizer over a SentencePiece vocabulary.

    vocab_file is a spiece.model; a folder or hub id goes to from_pretrained. Special tokens are str or AddedToken.

    style says whose rules to follow:
    - "hf_slow" (default): transformers 4.57.6's SentencePiece AlbertTokenizer. Use it for every checkpoint unless you
      know better: it takes numbers and commas apart as in pre-training, and finds [MASK] in a text.
    - "hf_fast": the `tokenizers` library, what AlbertTokenizerFast and transformers 5 run. Use it to reproduce numbers
      made with those: a year before a comma stays one piece, spaces and accents differ in places.
    - "google": google-research/albert's own code, which wrote the pre-training data. Use it to reproduce that: quotes
      such as `` stay, and [MASK] in a text is text.

    Raises ValueError (arguments, content of files) or OSError (files).
    """

    model_input_names = ("input_ids", "token_type_ids", "attention_mask")
    pad_token_type_id = 0

    # settings that may change between calls are checked when they do; the others are built into the encoder
    padding_side = _checked("padding_side", lambda value, name: check_side(value, name))
    truncation_side = _checked("truncation_side", lambda value, name: check_side(value, name))
    model_max_length = _checked("model_max_length", lambda value, name: _max_length(value))
    clean_up_tokenization_spaces = _checked("clean_up_tokenization_spaces", lambda value, name: _flag(value, name))
    split_special_tokens = _checked("split_special_tokens", lambda value, name: _flag(value, name))
    do_lower_case, remove_space = _fixed("do_lower_case"), _fixed("remove_space")
    keep_accents, style = _fixed("keep_accents"), _fixed("style")

    def __init__(
        self,
        vocab_file: str | os.PathLike | None = None,
        do_lower_case: bool = True,
        remove_space: bool = True,
        keep_accents: bool = False,
        bos_token: str | AddedToken | None = "[CLS]",
        eos_token: str | AddedToken | None = "[SEP]",
        unk_token: str | AddedToken = "<unk>",
        sep_token: str | AddedToken = "[SEP]",
        pad_token: str | AddedToken | None = "<pad>",
        cls_token: str | AddedToken = "[CLS]",
        mask_token: str | AddedToken | None = "[MASK]",
        sp_model_kwargs: Mapping[str, Any] | None = None,
        *,
        additional_special_tokens: Iterable[str | AddedToken] = (),
        extra_special_tokens: Mapping[str, str | AddedToken] | None = None,
        added_tokens_decoder: Mapping[int, AddedToken] | None = None,
        model_max_length: int | None = None,
        padding_side: str = "right",
        truncation_side: str = "right",
        clean_up_tokenization_spaces: bool = False,
        split_special_tokens: bool = False,
        style: str = "hf_slow",
        tokenizer_file: str | os.PathLike | None = None,
        name_or_path: str = "",
    ):
        if style not in STYLES:
            raise ValueError(f"style must be one of {', '.join(STYLES)}; got {style!r:.80}")
        flags = {
            "do_lower_case": do_lower_case,
            "remove_space": remove_space,
            "keep_accents": keep_accents,
            "clean_up_tokenization_spaces": clean_up_tokenization_spaces,
            "split_special_tokens": split_special_tokens,
        }
        for name, value in flags.items():
            _flag(value, name)
        if sp_model_kwargs:
            raise ValueError(f"sp_model_kwargs {sp_model_kwargs!r:.80}: sampling is not supported; ids must repeat")
        self._style = style
        self.name_or_path = str(name_or_path)
        self._do_lower_case, self._remove_space, self._keep_accents = do_lower_case, remove_space, keep_accents
        self.clean_up_tokenization_spaces = clean_up_tokenization_spaces
        self.split_special_tokens = split_special_tokens
        self.padding_side, self.truncation_side, self.model_max_length = padding_side, truncation_side, model_max_length
        self._warned_too_long = False
        self._spiece = None if vocab_file is None else load_spiece(vocab_file)
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
        additional = _token_list(additional_special_tokens, "additional_special_tokens")
        if extra_special_tokens is not None and not isinstance(extra_special_tokens, Mapping):
            raise ValueError(f"extra_special_tokens must map names to tokens; got {extra_special_tokens!r:.80}")
        extra = {str(key): parse_added_token(value, str(key)) for key, value in (extra_special_tokens or {}).items()}
        added = parse_decoder(added_tokens_decoder or {}, "the arguments")

        self._encoder: Any
        if style == "hf_fast":
            with imports.lock:
                from albert_np.tokenization.fast import FastEncoder, build_tokenizer_json, read_tokenizer_json

            if tokenizer_file is not None:
                content = read_tokenizer_json(Path(tokenizer_file))
            elif self._spiece is not None:
                content = build_tokenizer_json(
                    self._spiece, named, do_lower_case=do_lower_case, keep_accents=keep_accents
                )
            else:
                raise ValueError(
                    "style='hf_fast' needs vocab_file (a spiece.model) or tokenizer_file (a tokenizer.json)"
                )
            self._encoder = FastEncoder(content, named, additional, extra, added)
            self._vocab = self._encoder.vocab
            return
        if self._spiece is None:
            raise ValueError(f"style={style!r} needs vocab_file, the path of a spiece.model")
        self._vocab = Vocabulary(
            self._spiece.pieces, self._spiece.unk_id, named=named, additional=additional, extra=extra, added=added
        )
        google = style == "google"
        if google and (keep_accents or not remove_space):
            raise ValueError("style='google' always removes accents and extra spaces; leave keep_accents, remove_space")
        steps = Preprocessing(remove_space, quotes=not google, keep_accents=keep_accents, lower=do_lower_case)
        self._encoder = PieceEncoder(self._spiece, self._vocab, steps, google=google)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike,
        *,
        revision: str | None = None,
        cache_dir: str | os.PathLike | None = None,
        local_files_only: bool = False,
        token: str | bool | None = None,
        subfolder: str = "",
        force_download: bool = False,
        style: str | None = None,
        **overrides: Any,
    ):
        """Load the tokenizer of a folder, a hub id, or "demo"; overrides are arguments of the class.

        Honours tokenizer_config.json, special_tokens_map.json and added_tokens.json as transformers does, but never
        follows a path inside them. Raises OSError (no such file or model) or ValueError (content), each in one line.
        """
        from albert_np.checkpoints.hub import resolve

        fixed = {"vocab_file", "tokenizer_file", "name_or_path"}
        for name in overrides:
            if name in fixed or name not in inspect.signature(AlbertTokenizer).parameters:
                raise ValueError(f"from_pretrained of a tokenizer knows no argument {name!r}")

        def find(filename: str, required: bool = False) -> Path | None:
            return resolve(
                name_or_path,
                filename,
                revision=revision,
                cache_dir=cache_dir,
                local_files_only=local_files_only,
                token=token,
                subfolder=subfolder,
                force_download=force_download,
                required=required,
            )

        style = style or ("hf_fast" if issubclass(cls, AlbertTokenizerFast) else "hf_slow")
        files = read_files(find, overrides)
        if files.vocab_file is None and (style != "hf_fast" or files.fast_file is None):
            if find("vocab.txt"):
                raise ValueError(
                    f"{name_or_path} has a vocab.txt and no {VOCAB}: that is BERT's WordPiece vocabulary (as Chinese "
                    "ALBERT uses it), not SentencePiece; tokenize with BertTokenizer and pass the ids to the model"
                )
            find(VOCAB, required=True)
        fast_file = files.fast_file if style == "hf_fast" else None
        return cls(
            files.vocab_file, style=style, tokenizer_file=fast_file, name_or_path=str(name_or_path), **files.settings
        )

    @property
    def is_fast(self) -> bool:
        return self.style == "hf_fast"

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

    # ------------------------------------------------------------------------------------------------- text to ids

    def tokenize(self, text: str, *, split_special_tokens: bool | None = None) -> list[str]:
        """Pieces of one text, without special tokens around it."""
        return self._encoder.encode(text, spans=False, split_special_tokens=self._split(split_special_tokens)).tokens

    def _split(self, value: bool | None) -> bool:
        return self.split_special_tokens if value is None else _flag(value, "split_special_tokens")

    def encode(self, text, text_pair=None, add_special_tokens: bool = True, **options):
        """input_ids of one text (str, list of tokens or list of ids) or pair; options as in calling the tokenizer."""
        pair = (text, text_pair)
        _check_options(options)
        return self._encode_rows([pair], False, add_special_tokens=add_special_tokens, **options)["input_ids"]

    def __call__(self, text, text_pair=None, add_special_tokens: bool = True, **options) -> BatchEncoding:
        """Encode one text or a batch of them, each alone or with a second text.

        text, text_pair: str, or a list of str; with is_split_into_words a list of words, or a list of such lists.
        Options, with transformers' meanings and defaults: padding, truncation, max_length, stride,
        is_split_into_words, pad_to_multiple_of, padding_side, return_tensors (None or "np"), return_token_type_ids,
        return_attention_mask, return_overflowing_tokens, return_special_tokens_mask, return_offsets_mapping,
        return_length, split_special_tokens, verbose.

        Returns a BatchEncoding of flat lists for one text, of lists of lists for a batch, of int64 arrays (B,T) with
        return_tensors="np".
        return_overflowing_tokens gives one row a window (neighbours share `stride` tokens) and overflow_to_sample_mapping,
        in the form and by the rules of transformers' fast tokenizers, in every style.
        return_offsets_mapping gives the (start, end) of each token in its text, in its word if it came in words, (0, 0)
        for special tokens: the numbers of the `tokenizers` library wherever that makes the same pieces, but for texts whose
        first visible character follows a control character, where it miscounts.
        One thing differs from 4.57.6 on purpose: split_special_tokens counts in a batch too. Raises ValueError.
        """
        _check_options(options)
        pairs, batched = text_pairs(text, text_pair, options.get("is_split_into_words", False))
        return self._encode_rows(pairs, batched, add_special_tokens=add_special_tokens, **options)

    def _encode_rows(
        self,
        pairs: list[tuple[Any, Any]],
        batched: bool,
        *,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        stride: int = 0,
        is_split_into_words: bool = False,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        return_overflowing_tokens: bool = False,
        return_special_tokens_mask: bool = False,
        return_offsets_mapping: bool = False,
        return_length: bool = False,
        split_special_tokens: bool | None = None,
        verbose: bool = True,
    ) -> BatchEncoding:
        as_arrays = check_return_tensors(return_tensors)
        if return_token_type_ids and not add_special_tokens:
            raise ValueError("return_token_type_ids=True needs add_special_tokens=True: types follow [CLS] and [SEP]")
        strategies = self._strategies(padding, truncation, max_length, pad_to_multiple_of)
        side = self.padding_side if padding_side is None else check_side(padding_side, "padding_side")
        split = self._split(split_special_tokens)

        rows: list[Row] = []
        samples: list[int] = []
        for sample, (first, second) in enumerate(pairs):
            a = self._encode_one(first, is_split_into_words, return_offsets_mapping, split)
            b = None if second is None else self._encode_one(second, is_split_into_words, return_offsets_mapping, split)
            special = self.num_special_tokens_to_add(b is not None) if add_special_tokens else 0
            rows += [
                self._row(x, y, add_special_tokens)
                for x, y in cut(
                    a,
                    b,
                    strategies,
                    special=special,
                    stride=stride,
                    side=self.truncation_side,
                    overflow=return_overflowing_tokens,
                    fast=self.is_fast,
                )
            ]
            samples += [sample] * (len(rows) - len(samples))
        longest = max(len(row.ids) for row in rows)
        if verbose and strategies.max_length is None and longest > self.model_max_length and not self._warned_too_long:
            logger.warning("%d tokens are more than the model's %d positions", longest, self.model_max_length)
            self._warned_too_long = True
        lengths = [len(row.ids) for row in rows]
        length = padded_length(longest, strategies, pad_to_multiple_of)
        if longest == 0 and not batched and not self.is_fast:
            length = 0  # transformers' slow tokenizer leaves a text that has no tokens at all unpadded
        if length:
            assert self.pad_token is not None
            for row in rows:
                row.pad(length, side, self.pad_token, self.pad_token_id, self.pad_token_type_id)

        data: dict[str, Any] = {"input_ids": [row.ids for row in rows]}
        if return_token_type_ids is not False:
            data["token_type_ids"] = [row.types for row in rows]
        if return_attention_mask is not False:
            data["attention_mask"] = [row.mask for row in rows]
        if return_special_tokens_mask:
            data["special_tokens_mask"] = [row.special for row in rows]
        if return_offsets_mapping:
            data["offset_mapping"] = [row.spans for row in rows]
        if return_length:
            # transformers counts before padding in a batch of its slow tokenizer, after it everywhere else
            after = not batched or self.is_fast or return_overflowing_tokens
            data["length"] = [len(row.ids) for row in rows] if after else lengths
        if return_overflowing_tokens:
            data["overflow_to_sample_mapping"] = samples
        if as_arrays:
            data = dict(to_arrays(data))
        elif not batched and not return_overflowing_tokens:
            # the fast tokenizer of transformers leaves the length in its list
            data = {name: value if name == "length" and self.is_fast else value[0] for name, value in data.items()}
        return BatchEncoding(data, rows)

    def _strategies(self, padding, truncation, max_length, multiple) -> Strategies:
        strategies = resolve_strategies(padding, truncation, max_length, multiple, self.model_max_length)
        if strategies.padding != "do_not_pad" and self.pad_token is None:
            raise ValueError("this tokenizer has no pad_token, so it cannot pad; load it with pad_token='<pad>'")
        return strategies

    def _encode_one(self, text, words: bool, spans: bool, split: bool) -> Encoded:
        """One text, list of words, list of tokens or list of ids to tokens without special ones around them."""
        if isinstance(text, str):
            return self._encoder.encode(text, spans=spans, split_special_tokens=split)
        if not isinstance(text, (list, tuple)) or not text:
            raise ValueError(f"a text is a str, or a list of words, tokens or ids that is not empty; got {text!r:.80}")
        if not isinstance(text[0], str):
            ids = check_ids(text, "a text that is a list")
        elif not all(isinstance(item, str) for item in text):
            raise ValueError("a list of words or tokens must hold str only")
        elif words:
            return self._encoder.encode_words(text, spans=spans, split_special_tokens=split)
        else:
            ids = [self._vocab.id_of(token) for token in text]
        if spans:
            raise ValueError("return_offsets_mapping needs text; tokens and ids have no characters to point at")
        return Encoded(ids, [self._vocab.token_of(index) for index in ids])

    def _row(self, a: Encoded, b: Encoded | None, add_special: bool) -> Row:
        row = Row()
        if add_special:
            row.add_special(self.cls_token, self.cls_token_id, 0)
        row.add_text(a, 0, 0)
        if add_special:
            row.add_special(self.sep_token, self.sep_token_id, 0)
        if b is not None:
            # without [SEP] between them transformers' slow tokenizer gives both texts the type 0, the fast one does not
            kind = 1 if add_special or self.is_fast else 0
            row.add_text(b, 1, kind)
            if add_special:
                row.add_special(self.sep_token, self.sep_token_id, 1)
        return row

    # ------------------------------------------------------------------------------------------- parts of the above

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """Special tokens around a text (2) or a pair of them (3)."""
        return 3 if pair else 2

    def build_inputs_with_special_tokens(self, token_ids_0: list[int], token_ids_1: list[int] | None = None):
        """[CLS] A [SEP], or [CLS] A [SEP] B [SEP], as ids."""
        ids = [self.cls_token_id, *check_ids(token_ids_0), self.sep_token_id]
        return ids if token_ids_1 is None else [*ids, *check_ids(token_ids_1), self.sep_token_id]

    def create_token_type_ids_from_sequences(self, token_ids_0: list[int], token_ids_1: list[int] | None = None):
        """0 for [CLS] A [SEP], 1 for B [SEP]."""
        types = [0] * (len(check_ids(token_ids_0)) + 2)
        return types if token_ids_1 is None else types + [1] * (len(check_ids(token_ids_1)) + 1)

    def get_special_tokens_mask(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None, already_has_special_tokens: bool = False
    ) -> list[int]:
        """1 where build_inputs_with_special_tokens puts a special token, or where the given ids already are one."""
        if already_has_special_tokens:
            if token_ids_1 is not None:
                raise ValueError("ids that already have their special tokens are one sequence; leave token_ids_1 out")
            special = frozenset(self._vocab.special_ids)
            return [int(index in special) for index in check_ids(token_ids_0)]
        mask = [1, *[0] * len(check_ids(token_ids_0)), 1]
        return mask if token_ids_1 is None else [*mask, *[0] * len(check_ids(token_ids_1)), 1]

    def pad(
        self,
        encoded_inputs,
        padding: bool | str = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
    ) -> BatchEncoding:
        """Pad what the tokenizer returned: one encoding, a dict of lists, or a list of encodings; arrays will do for lists.

        ValueError if ragged in anything but input_ids. Source: PreTrainedTokenizerBase.pad of transformers 4.57.6.
        """
        as_arrays = check_return_tensors(return_tensors)
        if isinstance(encoded_inputs, (list, tuple)) and encoded_inputs:
            if not all(isinstance(item, Mapping) for item in encoded_inputs):
                raise ValueError("pad takes an encoding with input_ids, or a list of them")
            names = encoded_inputs[0].keys()
            if any(item.keys() != names for item in encoded_inputs):
                raise ValueError("the encodings to pad have different keys; encode them with the same options")
            encoded_inputs = {name: [item[name] for item in encoded_inputs] for name in names}
        if not isinstance(encoded_inputs, Mapping) or "input_ids" not in encoded_inputs:
            raise ValueError("pad takes an encoding with input_ids, or a list of them")
        data = {name: _plain(value) for name, value in encoded_inputs.items()}
        if isinstance(data["input_ids"], list) and not data["input_ids"]:
            return BatchEncoding(data)  # as transformers, whatever length was asked for
        strategies = self._strategies(padding, False, max_length, pad_to_multiple_of)
        side = self.padding_side if padding_side is None else check_side(padding_side, "padding_side")
        fill = {"input_ids": self.pad_token_id, "token_type_ids": self.pad_token_type_id}
        fill |= {"attention_mask": 0, "special_tokens_mask": 1}
        mask = return_attention_mask is not False
        data = pad_encoding(data, strategies, multiple=pad_to_multiple_of, side=side, fill=fill, mask=mask)
        if as_arrays:
            batched = bool(data["input_ids"]) and isinstance(data["input_ids"][0], list)
            data = dict(to_arrays(data if batched else {name: [value] for name, value in data.items()}))
        return BatchEncoding(data)

    # ------------------------------------------------------------------------------------------------- ids to text

    def decode(
        self,
        token_ids,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        spaces_between_special_tokens: bool = True,
    ) -> str:
        """Text of ids (int, list or 1-D array). Source: PreTrainedTokenizer._decode of transformers 4.57.6."""
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
        sequences,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        spaces_between_special_tokens: bool = True,
    ) -> list[str]:
        """Texts of a list of id lists, or of a 2-D array."""
        if not isinstance(sequences, Iterable) or isinstance(sequences, (str, Mapping)):
            raise ValueError(f"batch_decode takes a list of id lists; got {type(sequences).__name__}")
        options = skip_special_tokens, clean_up_tokenization_spaces, spaces_between_special_tokens
        return [self.decode(ids, *options) for ids in sequences]

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """Text of pieces; special tokens are written as they are, the first of a run of them after a space."""
        if not isinstance(tokens, (list, tuple)) or not all(isinstance(token, str) for token in tokens):
            raise ValueError(f"convert_tokens_to_string takes a list of str; got {shown(repr(tokens), 80)}")
        for token in tokens:
            check_text(token)
        return (
            self._encoder.decode(tokens) if self.is_fast else pieces_to_text(tokens, self._vocab, self._encoder.decode)
        )

    # ---------------------------------------------------------------------------------------------------- to files

    def save_vocabulary(self, save_directory: str | os.PathLike, filename_prefix: str | None = None) -> tuple[str, ...]:
        """Write spiece.model, byte for byte as it was read, into an existing folder. Returns its path in a tuple."""
        folder = folder_to_write(save_directory)
        _check_prefix(filename_prefix)
        if not folder.is_dir():
            raise OSError(f"{folder} is not a folder; save_pretrained makes one")
        if self._spiece is None:
            raise ValueError("this tokenizer was made from tokenizer.json alone, so it has no spiece.model to save")
        path = folder / ((f"{filename_prefix}-" if filename_prefix else "") + VOCAB)
        write_atomically(path, self._spiece.data)
        return (str(path),)

    def save_pretrained(self, save_directory: str | os.PathLike, filename_prefix: str | None = None) -> tuple[str, ...]:
        """Write the files from_pretrained, and transformers, read back; each appears whole or not at all.

        tokenizer_config.json, special_tokens_map.json, added_tokens.json where tokens were added after the pieces,
        spiece.model, and tokenizer.json for style "hf_fast". Returns their paths. Raises OSError.
        """
        folder = folder_to_write(save_directory)
        _check_prefix(filename_prefix)
        folder.mkdir(parents=True, exist_ok=True)
        prefix = f"{filename_prefix}-" if filename_prefix else ""
        contents: dict[str, dict[str, Any]] = {
            CONFIG: config_json(self._vocab, {name: getattr(self, name) for name in SETTINGS}),
            SPECIAL_TOKENS_MAP: special_tokens_json(self._vocab),
        }
        beyond = {token: index for token, index in self.added_tokens_encoder.items() if index >= self.vocab_size}
        if beyond:
            contents[ADDED_TOKENS] = beyond
        if self.is_fast:
            contents[FAST] = self.to_json()
        for name, value in contents.items():
            write_json(folder / (prefix + name), value)
        paths = tuple(str(folder / (prefix + name)) for name in contents)
        return paths if self._spiece is None else paths + self.save_vocabulary(folder, filename_prefix)


class AlbertTokenizerFast(AlbertTokenizer):
    """AlbertTokenizer with style="hf_fast": a tokenizer.json, or one built from spiece.model, run by `tokenizers`."""

    def __init__(self, vocab_file: str | os.PathLike | None = None, *args, style: str = "hf_fast", **settings):
        if style != "hf_fast":
            raise ValueError(f"AlbertTokenizerFast is style 'hf_fast'; use AlbertTokenizer for style {style!r}")
        super().__init__(vocab_file, *args, style=style, **settings)


def _token_list(tokens, name: str) -> list[AddedToken | str]:
    if isinstance(tokens, str) or not isinstance(tokens, Iterable):
        raise ValueError(f"{name} must be a list of tokens; got {tokens!r:.80}")
    return [parse_added_token(token, f"{name}[{i}]") for i, token in enumerate(tokens)]


# the keywords of a call, beside the texts
_OPTIONS = set(inspect.signature(AlbertTokenizer._encode_rows).parameters) - {
    "self",
    "pairs",
    "batched",
    "add_special_tokens",
}


def _check_options(options: Mapping[str, Any]) -> None:
    unknown = sorted(set(options) - _OPTIONS)
    if unknown:
        raise ValueError(f"the tokenizer knows no {', '.join(unknown)}; it takes {', '.join(sorted(_OPTIONS))}")
    stride = options.get("stride", 0)
    if not isinstance(stride, Integral) or isinstance(stride, bool) or stride < 0:
        raise ValueError(f"stride must be a whole number, 0 or more; got {stride!r:.80}")


def _check_prefix(prefix: str | None) -> None:
    if prefix is not None and (not isinstance(prefix, str) or any(c in prefix for c in "/\\\0")):
        raise ValueError(f"filename_prefix is the start of a file name, not a path; got {prefix!r:.80}")


def _flag(value, name: str) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False; got {value!r:.80}")
    return value


def _plain(value):
    """Arrays, and arrays in a list, as lists."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _max_length(value) -> int:
    if value is None:
        return NO_LIMIT
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not whole or value < 0:
        raise ValueError(f"model_max_length must be a whole number, 0 or more; got {value!r:.80}")
    return int(value)
