"""tokenizer.json: what spiece.model says, in the form of the `tokenizers` library, and the way back.

From spiece.model, transformers' own conversion is not used: it turns the pieces ( ) " - . – £ € into added tokens, which then
take the space before them away from the next word (5 of 29 published strings come out wrong).

Back: a folder that transformers 5 saved has no spiece.model, but its tokenizer.json holds the pieces with their scores, and
the charsmap. What it does not hold are the types of pieces. These follow from the scores: a normal piece has a log
probability, which is below 0, and a trainer gives 0 to all others.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from albert_np.files import shown
from albert_np.tokenization.added_tokens import AddedToken
from albert_np.tokenization.charsmap import charsmap_problem
from albert_np.tokenization.files import read_json_object
from albert_np.tokenization.piece_encoder import SPACE, digit_comma
from albert_np.tokenization.spiece import (
    BYTE,
    CONTROL,
    MODEL_TYPES,
    NORMAL,
    UNIGRAM,
    UNKNOWN,
    USER_DEFINED,
    NormalizerSpec,
    Spiece,
    byte_piece,
    parse_spiece,
    refuse_wordpiece,
    write_spiece,
)
from albert_np.tokenization.vocabulary import Vocabulary


class NotAlbertsError(ValueError):
    """A tokenizer.json whose rules SentencePiece cannot follow, so that only the `tokenizers` library can run it."""


def build_tokenizer_json(
    spiece: Spiece, named: Mapping[str, AddedToken | str | None], *, do_lower_case: bool, keep_accents: bool
) -> dict[str, Any]:
    """A tokenizer.json that does what spiece.model does, as far as its format allows."""
    if spiece.treat_whitespace_as_suffix or not spiece.normalizer.escape_whitespaces:
        raise ValueError("style='hf_fast' cannot express a vocabulary whose spaces are suffixes or unescaped")
    if spiece.model_type != UNIGRAM:
        kind = MODEL_TYPES[spiece.model_type]
        raise ValueError(
            f"style='hf_fast' runs unigram vocabularies, and this one is of type {kind}; use style='hf_slow'"
        )
    ids = {piece: i for i, piece in enumerate(spiece.pieces)}
    special: dict[int, AddedToken] = {}
    for token in named.values():
        if token is not None and str(token) in ids:
            flags = token if isinstance(token, AddedToken) else AddedToken(token, special=True)
            special[ids[str(token)]] = AddedToken(
                flags.content, flags.single_word, flags.lstrip, flags.rstrip, bool(flags.normalized), special=True
            )
    prefix = "always" if spiece.normalizer.add_dummy_prefix else "never"
    metaspace = {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": prefix, "split": True}
    fallback = spiece.byte_fallback
    cls, sep = str(named["cls_token"]), str(named["sep_token"])
    for token in (cls, sep):
        if token not in ids:
            raise ValueError(f"style='hf_fast' needs {token!r} to be a piece of the vocabulary")

    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, **token.to_json()} for i, token in sorted(special.items())],
        "normalizer": _normalizer(spiece, do_lower_case=do_lower_case, keep_accents=keep_accents),
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace]},
        "post_processor": template((cls, ids[cls]), (sep, ids[sep])),
        "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, metaspace]} if fallback else metaspace,
        "model": {
            "type": "Unigram",
            "unk_id": spiece.unk_id,
            "vocab": [[piece, score] for piece, score in zip(spiece.pieces, spiece.scores, strict=True)],
            "byte_fallback": fallback,
        },
    }


def _normalizer(spiece: Spiece, *, do_lower_case: bool, keep_accents: bool) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": quotes}, "content": '"'} for quotes in ("``", "''")
    ]
    if not keep_accents:
        steps += [{"type": "NFKD"}, {"type": "StripAccents"}]
    if do_lower_case:
        steps += [{"type": "Lowercase"}]
    if spiece.normalizer.charsmap:
        charsmap = base64.b64encode(spiece.normalizer.charsmap).decode()
        steps += [{"type": "Precompiled", "precompiled_charsmap": charsmap}]
    return {"type": "Sequence", "normalizers": steps}


def template(cls: tuple[str, int], sep: tuple[str, int]) -> dict[str, Any]:
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
    refuse_wordpiece(path)
    value = read_json_object(Path(path))
    model = value.get("model")
    if not isinstance(model, dict) or model.get("type", "Unigram") != "Unigram":
        kind = model.get("type") if isinstance(model, dict) else None
        hint = "; AlbertTokenizer.from_pretrained reads its folder" if kind == "WordPiece" else ""
        raise ValueError(f"the model of {path} is {shown(repr(kind), 40)}; ALBERT's is Unigram{hint}")
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


@dataclass(frozen=True)
class Rebuilt:
    """A tokenizer.json of ALBERT, and what it was made from."""

    content: dict[str, Any]
    spiece: Spiece
    do_lower_case: bool
    keep_accents: bool

    def saved_again(self, vocab: Vocabulary, *, do_lower_case: bool, keep_accents: bool) -> dict[str, Any]:
        """The tokenizer.json with the tokens that were added since, and with the settings if they were changed."""
        tokens = {token["id"]: token for token in self.content["added_tokens"]}
        tokens |= {index: {"id": index, **token.to_json()} for index, token in vocab.added.items()}
        saved = {**self.content, "added_tokens": [token for _, token in sorted(tokens.items())]}
        if (do_lower_case, keep_accents) != (self.do_lower_case, self.keep_accents):
            saved["normalizer"] = _normalizer(self.spiece, do_lower_case=do_lower_case, keep_accents=keep_accents)
        around = [vocab.named["cls_token"], vocab.named["sep_token"]]
        cls, sep = ((str(token), vocab.id_of(str(token))) for token in around)
        if None not in around and not makes_alberts_rows(saved["post_processor"], cls[1], sep[1]):
            saved["post_processor"] = template(cls, sep)
        return saved


def rebuild(content: dict[str, Any], where: str) -> Rebuilt:
    """The vocabulary and the settings from which a tokenizer.json was made.

    Raises NotAlbertsError if its rules are not ALBERT's, and ValueError if its vocabulary is damaged.
    """
    steps, charsmap = _steps(content.get("normalizer"))
    if not _ALBERTS.fullmatch(steps):
        raise NotAlbertsError(
            f"the normalizer of {where} is not ALBERT's, which replaces `` and '', then strips accents, lowers and maps "
            "characters: only style='hf_fast' can run it"
        )
    if not _pre_tokenizer_is_alberts(content.get("pre_tokenizer")):
        raise NotAlbertsError(
            f"the pre_tokenizer of {where} is not ALBERT's, which puts {SPACE} before each word: only style='hf_fast' can run "
            "it"
        )
    model = content["model"]
    pieces, scores = _vocabulary(model, where)
    fallback = _has_bytes(model, pieces, scores)
    types = _types(content, pieces, scores, fallback)
    spiece = Spiece(
        pieces=pieces,
        scores=scores,
        types=types,
        unk_id=types.index(UNKNOWN),
        normalizer=NormalizerSpec(charsmap=charsmap),
        denormalizer=NormalizerSpec(),
        byte_fallback=fallback,
    )
    return Rebuilt(content, parse_spiece(write_spiece(spiece), where), "l" in steps, "a" not in steps)


# each step of a normaliser in a letter, and ALBERT's: both quotes, accents, case, charsmap, spaces
_STEPS = {"NFKD": "k", "StripAccents": "a", "Lowercase": "l", "Precompiled": "p"}
_REPLACED = {("String", "``", '"'): "`", ("String", "''", '"'): "'", ("Regex", " {2,}", " "): "_"}
_ALBERTS = re.compile("`'(?:ka)?l?p?_?")


def _steps(normalizer: Any) -> tuple[str, bytes]:
    """The steps of a normaliser, a letter each ("?" for one that ALBERT's has not), and its charsmap."""
    charsmaps: list[bytes] = []

    def letters(step: Any) -> str:
        kind = step.get("type") if isinstance(step, dict) else None
        if kind == "Sequence" and isinstance(step.get("normalizers"), list):
            return "".join(map(letters, step["normalizers"]))
        if kind == "Precompiled":
            charsmaps.append(base64.b64decode(step["precompiled_charsmap"]))
        if kind == "Replace" and isinstance(step.get("pattern"), dict) and len(step["pattern"]) == 1:
            ((form, pattern),) = step["pattern"].items()
            return _REPLACED.get((form, str(pattern), str(step.get("content"))), "?")
        return _STEPS.get(str(kind), "?")

    return letters(normalizer), b"".join(charsmaps)


def normalizer_flags(content: dict[str, Any]) -> tuple[bool, bool]:
    """do_lower_case and keep_accents, as far as the normaliser of a tokenizer.json is like ALBERT's; else the defaults."""
    steps, _ = _steps(content.get("normalizer"))
    return ("l" in steps, "a" not in steps) if _ALBERTS.fullmatch(steps) else (True, False)


def _pre_tokenizer_is_alberts(value: Any) -> bool:
    """Whether ▁ is put before every word: by Metaspace, alone or after the text was cut at its spaces."""
    *before, last = _parts(value)
    metaspace = last.get("type") == "Metaspace" and last.get("replacement") == SPACE and last.get("split", True) is True
    return metaspace and _has_prefix(last) and before in ([], [{"type": "WhitespaceSplit"}])


def _parts(pre_tokenizer: Any) -> list[dict[str, Any]]:
    sequence = isinstance(pre_tokenizer, dict) and pre_tokenizer.get("type") == "Sequence"
    parts = pre_tokenizer.get("pretokenizers") if sequence else [pre_tokenizer]
    whole = isinstance(parts, list) and parts and all(isinstance(part, dict) for part in parts)
    return parts if whole else [{}]


def _has_prefix(metaspace: dict[str, Any]) -> bool:
    # older files have add_prefix_space instead of prepend_scheme
    return metaspace.get("prepend_scheme", "always") == "always" and metaspace.get("add_prefix_space", True) is True


def puts_spaces_first(content: dict[str, Any]) -> bool:
    """What the settings call add_prefix_space: whether the words of a tokenizer.json begin with ▁."""
    return _has_prefix(_parts(content.get("pre_tokenizer"))[-1])


def _vocabulary(model: dict[str, Any], where: str) -> tuple[tuple[str, ...], tuple[float, ...]]:
    listed = model.get("vocab")
    if not isinstance(listed, list) or not listed:
        raise ValueError(f"the vocab of {where} must be a list of pieces with their scores")
    for i, entry in enumerate(listed):
        whole = isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str)
        if not whole or isinstance(entry[1], bool) or not isinstance(entry[1], (int, float)):
            raise ValueError(f"entry {i} of the vocab of {where} must be [piece, score]; got {shown(repr(entry), 60)}")
        if not abs(entry[1]) < 1e9:
            raise ValueError(
                f"entry {i} of the vocab of {where} has the score {entry[1]}; it must be a log probability"
            )
    unk_id = model.get("unk_id")
    if isinstance(unk_id, bool) or not isinstance(unk_id, int) or not 0 <= unk_id < len(listed):
        raise ValueError(
            f"unk_id of {where} must be the id of a piece, 0 to {len(listed) - 1}; got {shown(unk_id, 40)}"
        )
    pieces = tuple(piece for piece, _ in listed)
    return pieces, _without_penalty(pieces, tuple(float(score) for _, score in listed))


def _has_bytes(model: dict[str, Any], pieces: tuple[str, ...], scores: tuple[float, ...]) -> bool:
    """Whether spiece.model had byte_fallback. The conversion of transformers turns it off, but its 256 pieces are there."""
    found = dict(zip(pieces, scores, strict=True))
    return model.get("byte_fallback") is True or all(found.get(byte_piece(byte)) == 0 for byte in range(256))


def _types(
    content: dict[str, Any], pieces: tuple[str, ...], scores: tuple[float, ...], fallback: bool
) -> tuple[int, ...]:
    """The types of pieces. Of those with score 0, special tokens are control symbols, and the others are user defined."""
    listed = content.get("added_tokens")
    special = {token.get("content") for token in listed or [] if token.get("special")} if listed else set()
    bytes_ = set(map(byte_piece, range(256))) if fallback else set()
    trained = min(scores) < 0  # else the scores say nothing
    types = []
    for piece, score in zip(pieces, scores, strict=True):
        if piece in bytes_:
            types.append(BYTE)
        elif score != 0 or math.copysign(1, score) < 0:  # -0.0 is the first score that BPE's trainer gives
            types.append(NORMAL)
        elif piece in special:
            types.append(CONTROL)
        else:
            types.append(USER_DEFINED if trained else NORMAL)
    types[content["model"]["unk_id"]] = UNKNOWN
    return tuple(types)


def _without_penalty(pieces: tuple[str, ...], scores: tuple[float, ...]) -> tuple[float, ...]:
    """The scores of spiece.model.

    The converter of transformers 4 takes 100 from pieces such as `1999,`, so that the library never chooses them. SentencePiece
    may choose them, since they are split afterwards.
    """
    at = [i for i, piece in enumerate(pieces) if digit_comma(piece)]
    others = [score for piece, score in zip(pieces, scores, strict=True) if not digit_comma(piece)]
    if not at or max(scores[i] for i in at) > min(others) - 50:
        return scores
    return tuple(score + 100 if digit_comma(piece) else score for piece, score in zip(pieces, scores, strict=True))


def makes_alberts_rows(post_processor: Any, cls_id: int, sep_id: int) -> bool:
    """Whether the post_processor of a tokenizer.json makes [CLS] A [SEP] B [SEP], with types 0 and 1."""
    value = post_processor if isinstance(post_processor, dict) else {}
    if value.get("type") == "BertProcessing":
        ends = value.get("cls"), value.get("sep")
        return all(
            isinstance(end, list) and end[1:] == [index] for end, index in zip(ends, (cls_id, sep_id), strict=True)
        )
    single = [([cls_id], 0), ("A", 0), ([sep_id], 0)]
    try:
        ids = {name: token["ids"] for name, token in value["special_tokens"].items()}
        made = [_terms(value[side], ids) for side in ("single", "pair")]
    except (KeyError, TypeError, AttributeError, ValueError):
        return False  # another kind of post_processor, or a damaged one
    return made == [single, [*single, ("B", 1), ([sep_id], 1)]]


def _terms(template: Any, ids: dict[str, Any]) -> list[tuple[Any, Any]]:
    """The terms of a template with their types: the ids of a special token, or the letter of a text."""
    found = []
    for term in template:
        ((form, part),) = term.items()
        found.append((ids[part["id"]] if form == "SpecialToken" else part["id"], part["type_id"]))
    return found
