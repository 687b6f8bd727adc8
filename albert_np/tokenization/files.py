"""The small JSON files beside a vocabulary. Every value is checked on reading, and each file is written whole or not at all."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from albert_np.files import read_json, write_atomically
from albert_np.tokenization.added_tokens import AddedToken, parse_added_token
from albert_np.tokenization.vocabulary import ATTRIBUTES, Vocabulary

logger = logging.getLogger("albert_np")

VOCAB = "spiece.model"
VOCAB_TXT = "vocab.txt"
# the same files in google-research/albert's archives
GOOGLE_VOCAB, GOOGLE_VOCAB_TXT = "30k-clean.model", "vocab_chinese.txt"
GOOGLES = {VOCAB: GOOGLE_VOCAB, VOCAB_TXT: GOOGLE_VOCAB_TXT}
CONFIG = "tokenizer_config.json"
SPECIAL_TOKENS_MAP = "special_tokens_map.json"
ADDED_TOKENS = "added_tokens.json"
FAST = "tokenizer.json"

FLAGS = ("do_lower_case", "remove_space", "keep_accents", "clean_up_tokenization_spaces", "split_special_tokens")
SIDES = ("padding_side", "truncation_side")
SETTINGS = (*FLAGS, *SIDES, "model_max_length")
NORMALIZER_FLAGS = ("do_lower_case", "keep_accents")
ANY_CLASSES = ("PreTrainedTokenizer", "TokenizersBackend")  # "Fast" left out; they say nothing of an architecture
TOKEN_LISTS = ("additional_special_tokens", "extra_special_tokens", "model_specific_special_tokens")
MAX_JSON_BYTES = 64 << 20


@dataclass(frozen=True)
class FilesOfKind:
    """The files and settings of one kind of tokenizer."""

    vocab: str  # name of the vocabulary
    classes: tuple[str, ...]  # that the settings may name, "Fast" left out
    flags: tuple[str, ...]  # settings that are read
    normalizer_flags: tuple[str, ...]  # those of them that tokenizer.json holds too
    json_first: bool = False  # whether a tokenizer.json counts if there is a vocabulary as well


ALBERT = FilesOfKind(VOCAB, ("AlbertTokenizer",), FLAGS, NORMALIZER_FLAGS)


@dataclass
class TokenizerFiles:
    """What a folder says about its tokenizer: keyword arguments of AlbertTokenizer, and the paths that were found."""

    vocab_file: Path | None
    fast_file: Path | None
    settings: dict[str, Any] = field(default_factory=dict)
    tokenizer_class: str | None = None  # that the folder names, "Fast" left out


def read_json_object(path: Path) -> dict[str, Any]:
    """Reads a JSON object. Raises OSError (cannot be read) or ValueError (not a JSON object), each in one line."""
    value = read_json(path, MAX_JSON_BYTES)
    if not isinstance(value, dict):
        raise ValueError(f"{path} must hold a JSON object; it holds {type(value).__name__}")
    return value


def read_files(
    find: Callable[[str], Path | None], overrides: dict[str, Any], kind: FilesOfKind = ALBERT
) -> TokenizerFiles:
    """Reads the tokenizer files of a model. `find` gives the path of a file by its name, or None.

    The precedence is that of transformers 4.57.6 PreTrainedTokenizerBase._from_pretrained: first overrides, then
    special_tokens_map.json (if tokenizer_config.json has no added_tokens_decoder), then tokenizer_config.json. Added tokens
    come from the config, else from added_tokens.json and tokenizer.json. Two things differ. A path inside the config
    (vocab_file, tokenizer_file) is never followed: the vocabulary is always the folder's own. And a piece that a conversion
    listed among the added tokens of tokenizer.json stays a piece (read_added_tokens).
    """
    fast_file = find(FAST)
    files = TokenizerFiles(None if kind.json_first and fast_file else find(kind.vocab), fast_file)
    config_path = find(CONFIG)
    config = read_json_object(config_path) if config_path else {}
    where = str(config_path or "the arguments")
    decoder = overrides.get("added_tokens_decoder", config.get("added_tokens_decoder"))

    settings = {name: config[name] for name in (*ATTRIBUTES, *kind.flags, *SIDES) if config.get(name) is not None}
    # a null takes a special token away; for a flag it means the default
    settings |= {name: None for name in ATTRIBUTES if name in config and config[name] is None}
    for name in (*TOKEN_LISTS, "sp_model_kwargs", "model_input_names"):
        if config.get(name):
            settings[name] = config[name]
    limit = config.get("model_max_length", config.get("max_len"))
    if limit is not None:
        settings["model_max_length"] = limit
    files.tokenizer_class = _class_named(config.get("tokenizer_class"), kind, where)
    if files.vocab_file is None and files.tokenizer_class in ANY_CLASSES:
        for name in kind.normalizer_flags:  # such a class goes by tokenizer.json alone
            settings.pop(name, None)

    tokens: dict[int, AddedToken] = {}
    fast: tuple[dict[int, AddedToken], set[str]] = {}, set()
    if files.fast_file and (decoder is None or files.vocab_file is None):
        fast = read_added_tokens(read_json_object(files.fast_file), str(files.fast_file))
    if decoder is not None:
        tokens = parse_decoder(decoder, where)
    else:
        special_path, added_path = find(SPECIAL_TOKENS_MAP), find(ADDED_TOKENS)
        if special_path:
            settings |= _special_tokens_map(read_json_object(special_path), settings, str(special_path))
        if added_path:
            named = {str(settings[name]) for name in ATTRIBUTES if isinstance(settings.get(name), (str, AddedToken))}
            named |= {str(token) for token in settings.get("additional_special_tokens", [])}
            tokens = _added_tokens(read_json_object(added_path), named, str(added_path))
        tokens |= fast[0]
    tokens = {index: token for index, token in tokens.items() if token.content not in fast[1]}
    settings |= {name: value for name, value in overrides.items() if name != "added_tokens_decoder"}

    by_content = {token.content: token for token in tokens.values()}
    for name in ATTRIBUTES:
        if settings.get(name) is not None:
            value = parse_added_token(settings[name], f"{name} of {where}")
            settings[name] = by_content.get(str(value), value) if decoder is not None or files.fast_file else value
    settings["added_tokens_decoder"] = tokens
    files.settings = settings
    return files


def parse_decoder(value: Any, where: str) -> dict[int, AddedToken]:
    """From added_tokens_decoder, {"4": {"content": "[MASK]", …}}, to tokens by id."""
    if not isinstance(value, dict):
        raise ValueError(f"added_tokens_decoder of {where} must map ids to tokens; got {type(value).__name__}")
    tokens = {}
    for key, item in value.items():
        index = _index(key, f"added_tokens_decoder of {where}")
        token = parse_added_token(item, f"added token {index} of {where}")
        if isinstance(token, str):
            raise ValueError(f"added token {index} of {where} must be an object with content, lstrip, …; got {token!r}")
        tokens[index] = token
    return tokens


def _index(value: Any, what: str) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 31:
        raise ValueError(f"{what}: a token id is a whole number, 0 or more; got {value!r:.40}")
    return value


def _special_tokens_map(values: dict[str, Any], settings: dict[str, Any], where: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if name == "additional_special_tokens":
            if not isinstance(value, list):
                raise ValueError(f"additional_special_tokens of {where} must be a list; got {type(value).__name__}")
            tokens = list(settings.get(name) or [])
            for item in value:
                token = _as_special(item, f"additional_special_tokens of {where}")
                if token not in tokens:
                    tokens.append(token)
            found[name] = tokens
        elif name in ATTRIBUTES:
            found[name] = None if value is None else _as_special(value, f"{name} of {where}")
    return found


def _as_special(value: Any, what: str) -> AddedToken | str:
    return parse_added_token({**value, "special": True} if isinstance(value, dict) else value, what)


def _added_tokens(values: dict[str, Any], special: set[str], where: str) -> dict[int, AddedToken]:
    tokens = {}
    for content, index in values.items():
        token = parse_added_token({"content": content, "special": content in special}, f"a token of {where}")
        assert isinstance(token, AddedToken)
        tokens[_index(index, where)] = token
    return tokens


def read_added_tokens(content: dict[str, Any], where: str) -> tuple[dict[int, AddedToken], set[str]]:
    """The added tokens of a tokenizer.json by id, and the pieces that stand among them and are left out, such as `(`.

    transformers' conversion puts all user-defined pieces there, which no user asked for. Each has the id of a piece with
    score 0, and no flag at all. A token that a user adds has a new id or, where there is such a piece, the flag `special` or
    `normalized`. Raises ValueError.
    """
    listed = content.get("added_tokens")
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        raise ValueError(f"added_tokens of {where} must be a list of objects")
    fields = [(_index(item.get("id"), f"added_tokens of {where}"), item) for item in listed]
    tokens = parse_decoder({index: {k: v for k, v in item.items() if k != "id"} for index, item in fields}, where)
    model = content.get("model")
    vocab = model.get("vocab") if isinstance(model, dict) else None
    entries: list[Any] = vocab if isinstance(vocab, list) else []

    def is_piece(index: int, token: AddedToken) -> bool:
        flags = token.single_word or token.lstrip or token.rstrip or token.normalized or token.special
        return not flags and index < len(entries) and entries[index] == [token.content, 0]

    pieces = {token.content for index, token in tokens.items() if is_piece(index, token)}
    return {index: token for index, token in tokens.items() if token.content not in pieces}, pieces


def _class_named(name: Any, kind: FilesOfKind, where: str) -> str | None:
    if name is None:
        return None
    named = str(name).removesuffix("Fast")
    if named not in ("AlbertTokenizer", *kind.classes, *ANY_CLASSES):
        whose = "ALBERT" if kind is ALBERT else "BERT"
        logger.warning("%s names the tokenizer class %s; reading its vocabulary as %s's", where, name, whose)
    return named


def config_json(vocab: Vocabulary, settings: dict[str, Any]) -> dict[str, Any]:
    """The tokenizer_config.json of a tokenizer, in the form that transformers' AlbertTokenizer writes and reads."""
    return {
        **settings,
        "added_tokens_decoder": {str(i): token.to_json() for i, token in sorted(vocab.added.items())},
        "additional_special_tokens": [str(token) for token in vocab.additional],
        "extra_special_tokens": {name: str(token) for name, token in vocab.extra.items()},
        "sp_model_kwargs": {},
        "tokenizer_class": "AlbertTokenizer",
        **{name: None if token is None else str(token) for name, token in vocab.named.items()},
    }


def special_tokens_json(vocab: Vocabulary) -> dict[str, Any]:
    """The special_tokens_map.json of a tokenizer, without the `special` flag, which the name of the file implies."""

    def plain(token: AddedToken | str) -> Any:
        if isinstance(token, str):
            return token
        return {name: value for name, value in token.to_json().items() if name != "special"}

    saved = {name: plain(token) for name, token in vocab.named.items() if token is not None}
    if vocab.additional:
        saved["additional_special_tokens"] = [plain(token) for token in vocab.additional]
    return saved


def write_json(path: Path, value: dict[str, Any]) -> None:
    write_atomically(path, (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode())
