"""BERT's WordPiece vocabularies, which Chinese ALBERT has: vocab.txt, or a tokenizer.json of that kind, read and checked.

The `tokenizers` library runs both, so a vocab.txt becomes the content of a tokenizer.json. Source: transformers 4.57.6
tokenization_bert.py (load_vocab) and convert_slow_tokenizer.py (BertConverter).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from albert_np.files import explain_impostor, shown
from albert_np.tokenization.files import CONFIG, FAST, VOCAB, VOCAB_TXT, read_json_object
from albert_np.tokenization.lengths import logger
from albert_np.tokenization.tokenizer_json import template

BERT = "BertTokenizer"  # a tokenizer_class, "Fast" left out
FLAGS = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}

# Limits above those of real vocabularies: Chinese BERT's has 110 kB and 21,128 tokens, the largest published one of this kind
# 5 MB and 501,153. Half a million take eight seconds and half a gigabyte.
MAX_FILE_BYTES = 16 << 20
MAX_TOKENS = 1 << 19
MAX_TOKEN_BYTES = 1000
MAX_WORD = 10_000  # characters; a word takes time with its square


def has_wordpiece(find: Callable[[str], Path | None]) -> bool:
    """Whether a folder's tokenizer is WordPiece: no spiece.model (or settings that name BERT's class), and a vocab.txt, or a
    tokenizer.json of that kind. `find` gives the path of a file by its name, or None."""
    config = find(CONFIG)
    bert = config is not None and str(read_json_object(config).get("tokenizer_class")).removesuffix("Fast") == BERT
    if find(VOCAB) and not bert:
        return False
    fast = find(FAST)
    if fast and _kind(read_json_object(fast).get("model")) == "WordPiece":
        return True
    return (bert or fast is None) and find(VOCAB_TXT) is not None


def read_vocab_txt(path: Path) -> tuple[list[str], bytes]:
    """The tokens of a vocab.txt, the number of a line being the id of its token, and the bytes of the file.

    Lines may end as on any system. A byte order mark, and empty lines at the end, are left out. Of equal lines the last one
    counts, as in transformers; the others get names that are in no text. Raises OSError, or ValueError (content).
    """
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise ValueError(f"{path} has {size:,} bytes; a WordPiece vocabulary has at most {MAX_FILE_BYTES:,}")
    data = path.read_bytes()
    explain_impostor(str(path), data[:512])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8 text ({error.reason} at byte {error.start}), as a vocab.txt is; get the file again"
        ) from error
    text = text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")
    if not text:
        raise ValueError(f"{path} is empty; get the file again")
    if "\0" in text:
        raise ValueError(f"{path} holds a NUL character, so it is no text; get the file again")
    if text.count("\n") >= MAX_TOKENS:
        raise ValueError(f"{path} has over {MAX_TOKENS:,} lines; a WordPiece vocabulary has a token on each, and fewer")
    tokens = text.split("\n")
    long = next((i for i, token in enumerate(tokens) if len(token.encode()) > MAX_TOKEN_BYTES), None)
    if long is not None:
        raise ValueError(f"line {long + 1} of {path} has more than {MAX_TOKEN_BYTES} bytes; a line is a token")
    return _each_once(tokens, path), data


def _each_once(tokens: list[str], path: Path) -> list[str]:
    """The tokens, and in place of each that comes again a name of its own."""
    last = {token: index for index, token in enumerate(tokens)}
    repeated = [index for index, token in enumerate(tokens) if last[token] != index]
    if not repeated:
        return tokens
    first = repeated[0]
    logger.warning(
        "%s has %d lines that come again further down, such as line %d, %r: the last of equal lines counts, as in transformers",
        path,
        len(repeated),
        first + 1,
        shown(tokens[first], 40),
    )
    return _named(tokens, repeated)


def _named(tokens: Sequence[str | None], unused: Sequence[int]) -> list[str]:
    # no word of a text has a bracket in it, or a space
    names = {index: f"[no token {index}]" for index in unused}
    return [names.get(index, token or "") for index, token in enumerate(tokens)]


def build_wordpiece_json(tokens: Sequence[str], unk: str, cls: str, sep: str) -> dict[str, Any]:
    """The tokenizer.json of a vocab.txt, before its normaliser is told what to do (with_flags)."""
    ids = {token: index for index, token in enumerate(tokens)}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {"type": "BertNormalizer", "clean_text": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": template((cls, ids[cls]), (sep, ids[sep])),
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": unk,
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": ids,
        },
    }


def read_wordpiece_json(path: Path) -> dict[str, Any]:
    """Reads a tokenizer.json of type WordPiece, and refuses a vocabulary that is none. Raises OSError or ValueError."""
    content = read_json_object(path)
    model = content.get("model")
    if not isinstance(model, dict) or _kind(model) != "WordPiece":
        raise ValueError(f"the model of {path} is {shown(repr(_kind(model)), 40)}, and not WordPiece, as BERT's is")
    vocab, unk = model.get("vocab"), model.get("unk_token")
    if not isinstance(vocab, dict) or not vocab:
        raise ValueError(f"the vocab of {path} must map tokens to ids")
    if len(vocab) > MAX_TOKENS:
        raise ValueError(f"the vocab of {path} has over {MAX_TOKENS:,} tokens")
    tokens: list[str | None] = [None] * (2 * len(vocab) + 10_000)  # a few ids may have no token
    for token, index in vocab.items():
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(tokens):
            raise ValueError(f"the vocab of {path} gives {shown(token, 40)!r} the id {shown(repr(index), 40)}")
        if tokens[index] is not None:
            raise ValueError(f"the vocab of {path} gives {shown(token, 40)!r} and another token the id {index}")
        tokens[index] = token
    if not isinstance(unk, str) or unk not in vocab:
        raise ValueError(f"the unk_token of {path}, {shown(repr(unk), 40)}, is not in its vocab")
    longest = model.get("max_input_chars_per_word", 100)
    if not isinstance(longest, int) or isinstance(longest, bool) or not 0 < longest <= MAX_WORD:
        raise ValueError(
            f"max_input_chars_per_word of {path} must be 1 to {MAX_WORD:,}; BERT's is 100; got {shown(repr(longest), 40)}"
        )
    size = max(vocab.values()) + 1
    unused = [index for index in range(size) if tokens[index] is None]
    ids = {token: index for index, token in enumerate(_named(tokens[:size], unused))}
    return {**content, "model": {**model, "type": "WordPiece", "vocab": ids}}


def _kind(model: Any) -> Any:
    """The type of a model of a tokenizer.json. The first such files say none."""
    if not isinstance(model, dict):
        return None
    return model.get("type", "WordPiece" if "continuing_subword_prefix" in model else None)


def bert_flags(content: dict[str, Any]) -> dict[str, Any]:
    """What the normaliser of a tokenizer.json says about the settings of BERT's; nothing if it is of another kind."""
    normalizer = content.get("normalizer")
    if not isinstance(normalizer, dict) or normalizer.get("type") != "BertNormalizer":
        return {}
    return {name: normalizer[theirs] for name, theirs in FLAGS.items() if theirs in normalizer}


def with_flags(content: dict[str, Any], flags: dict[str, Any]) -> dict[str, Any]:
    """A tokenizer.json whose normaliser does what settings say. One that is not BERT's stays as it is, as in transformers."""
    normalizer = content.get("normalizer")
    if not isinstance(normalizer, dict) or normalizer.get("type") != "BertNormalizer":
        return content
    return {**content, "normalizer": {**normalizer, **{FLAGS[name]: value for name, value in flags.items()}}}
