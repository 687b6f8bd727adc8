"""spiece.model: a SentencePiece vocabulary, read and checked before SentencePiece itself sees a byte of it.

SentencePiece trusts its file: a piece of 100 KB overflows its stack, and a charsmap whose trie points outside itself is
read out of bounds (google/sentencepiece issues 1263 and 1269). So the protobuf is parsed here, and every bound is checked.
SentencePiece gets a copy that is written from what was read and accepted: nothing unchecked can reach it.

Field numbers: sentencepiece_model.proto of google/sentencepiece.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from albert_np.files import explain_impostor, shown
from albert_np.protobuf import (
    BYTES,
    FIXED32,
    VARINT,
    BadFileError,
    read_fields,
    read_message,
    write_field,
    write_number,
)
from albert_np.tokenization.charsmap import charsmap_problem

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
UNIGRAM = 1
MODEL_TYPES = {UNIGRAM: "unigram", 2: "BPE", 3: "word", 4: "char"}  # how a text is cut; ALBERT's own is unigram

# Limits no real vocabulary comes near: ALBERT's file has 760 kB and 30,000 pieces of at most 16 characters, the largest
# published ones 5 MB and 250,000 pieces.
MAX_FILE_BYTES = 32 << 20
MAX_PIECES = 1 << 20
MAX_PIECE_BYTES = 1000  # SentencePiece's trie builder recurses once a byte


@dataclass(frozen=True)
class NormalizerSpec:
    """How SentencePiece rewrites text before (or after) it looks for pieces."""

    name: str = ""
    charsmap: bytes = b""
    add_dummy_prefix: bool = True
    remove_extra_whitespaces: bool = True
    escape_whitespaces: bool = True


@dataclass(frozen=True)
class Spiece:
    """A checked vocabulary: V pieces with scores and types, the normaliser, and what decoding needs."""

    pieces: tuple[str, ...]
    scores: tuple[float, ...]
    types: tuple[int, ...]
    unk_id: int
    normalizer: NormalizerSpec
    denormalizer: NormalizerSpec
    unk_surface: str | None = None  # what decode() writes for an unknown piece; None: SentencePiece's own " ⁇ "
    treat_whitespace_as_suffix: bool = False
    model_type: int = UNIGRAM
    byte_fallback: bool = False  # a character that is in no piece becomes the bytes of its UTF-8, <0xE6> and so on
    data: bytes = field(default=b"", repr=False)  # the file as it was read, for save_vocabulary
    proto: bytes = field(
        default=b"", repr=False
    )  # what SentencePiece may see: the same, rewritten from the checked values


def load_spiece(path: str | os.PathLike) -> Spiece:
    """Reads and checks a vocabulary file. Raises OSError (cannot be read) or ValueError (content), each in one line."""
    if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str) or "\0" in os.fspath(path):
        raise ValueError(f"vocab_file must be the path of a spiece.model; got {shown(repr(path), 80)}")
    path = Path(path)
    try:
        size = path.stat().st_size
        if path.is_dir():
            raise OSError(f"a vocabulary is a file; {path} is a folder (AlbertTokenizer.from_pretrained takes folders)")
        if size > MAX_FILE_BYTES:
            raise ValueError(f"{path} has {size:,} bytes; a SentencePiece vocabulary has at most {MAX_FILE_BYTES:,}")
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise OSError(f"there is no vocabulary file {shown(path, 300)}") from error
    except PermissionError as error:
        raise OSError(f"the vocabulary file {path} cannot be read: permission denied") from error
    return parse_spiece(data, str(path))


def parse_spiece(data: bytes, where: str = "the vocabulary") -> Spiece:
    """From the bytes of a spiece.model to a Spiece. Raises ValueError: what is wrong, with the number of the piece."""
    _refuse_other_files(data, where)
    try:
        return _parse(data)
    except BadFileError as error:
        raise ValueError(f"{where} is not a usable SentencePiece vocabulary: {error}; get the file again") from error


def _refuse_other_files(data: bytes, where: str) -> None:
    """Refuses what people save as spiece.model by mistake. The first bytes show what it is."""
    if not data:
        raise ValueError(f"{where} is empty; get the file again")
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"{where} has {len(data):,} bytes; a SentencePiece vocabulary has at most {MAX_FILE_BYTES:,}")
    explain_impostor(where, data[:512])
    _refuse_wordpiece(where, data)
    if data.lstrip()[:1] in (b"{", b"["):
        raise ValueError(
            f"{where} is JSON, not a SentencePiece vocabulary (a tokenizer.json is given as tokenizer_file)"
        )
    if re.match(rb"[^\t\n]+\t-?[0-9.e+-]+\r?\n", data):
        raise ValueError(f"{where} lists pieces as text (a .vocab); the vocabulary is the .model that was made with it")


WORDPIECE = (
    "BERT's WordPiece vocabulary (as Chinese ALBERT uses it), not SentencePiece; AlbertTokenizer.from_pretrained reads it from "
    "a folder, under the name vocab.txt"
)


def refuse_wordpiece(name_or_path: Any) -> None:
    """Raises ValueError for the path of a vocab.txt. Folders, hub ids and all other files pass."""
    if isinstance(name_or_path, (str, os.PathLike)):
        path = Path(name_or_path)
        if path.is_file() and path.stat().st_size <= MAX_FILE_BYTES:
            _refuse_wordpiece(str(path), path.read_bytes())


def _refuse_wordpiece(where: str, data: bytes) -> None:
    """A vocab.txt is known by its name, or by its lines: a token each, [UNK] or [PAD] among them."""
    if re.search(rb"[\0-\x08\x0e-\x1f]", data[:4096]):
        return  # no text
    lines = {line.strip() for line in data.removeprefix(b"\xef\xbb\xbf").splitlines()}
    if not lines.isdisjoint((b"[UNK]", b"[PAD]")) or Path(where).name == "vocab.txt":
        raise ValueError(f"{where} is {WORDPIECE}")


def _text(value: bytes, what: str, number: int | None = None) -> str:
    if number is not None and value.isascii() and 0 not in value:
        return value.decode("ascii")
    what = what if number is None else f"{what} {number}"
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadFileError(f"{what} is not UTF-8 ({error.reason} at byte {error.start})") from error
    if "\0" in text:
        raise BadFileError(f"{what} holds a NUL character")
    return text


def _flag(value: int, what: str) -> bool:
    if value > 1:
        raise BadFileError(f"{what} is a flag with the value {value}")
    return bool(value)


_PIECE = {1: ("piece", BYTES), 2: ("score", FIXED32), 3: ("type", VARINT)}
_TRAINER = {
    3: ("model_type", VARINT),
    24: ("treat_whitespace_as_suffix", VARINT),
    35: ("byte_fallback", VARINT),
    44: ("unk_surface", BYTES),
    45: ("unk_piece", BYTES),
}
_NORMALIZER = {
    1: ("name", BYTES),
    2: ("charsmap", BYTES),
    3: ("add_dummy_prefix", VARINT),
    4: ("remove_extra_whitespaces", VARINT),
    5: ("escape_whitespaces", VARINT),
}


def _parse(data: bytes) -> Spiece:
    messages: list[bytes] = []
    specs: dict[int, dict] = {2: {}, 3: {}, 5: {}}  # trainer, normaliser, denormaliser
    tables = {2: (_TRAINER, "trainer_spec"), 3: (_NORMALIZER, "normalizer_spec"), 5: (_NORMALIZER, "denormalizer_spec")}
    for number, wire, value in read_fields(data):
        if number == 1 or number in tables:
            if wire != BYTES:
                raise BadFileError(f"field {number} of the file has wire type {wire}, not {BYTES}")
            if number == 1:
                messages.append(value)
            else:
                table, what = tables[number]
                read_message(value, table, what, specs[number])
    if not messages:
        raise BadFileError("it has no pieces")
    if len(messages) > MAX_PIECES:
        raise BadFileError(f"it has {len(messages):,} pieces, more than {MAX_PIECES:,}")

    trainer = specs[2]
    model_type = trainer.get("model_type", UNIGRAM)
    if model_type not in MODEL_TYPES:
        raise BadFileError(f"its model type is number {model_type}; SentencePiece has 1 to {max(MODEL_TYPES)}")
    byte_fallback = _flag(trainer.get("byte_fallback", 0), "byte_fallback")

    pieces, scores, types = _pieces(messages)
    _check_bytes(pieces, types, byte_fallback)
    unknown = [i for i, kind in enumerate(types) if kind == UNKNOWN]
    if len(unknown) != 1:
        raise BadFileError(f"it has {len(unknown)} pieces of type unknown; there must be exactly one")
    if NORMAL not in types:
        raise BadFileError("it has no piece of type normal, so no text could be tokenized")
    unk_piece = _text(trainer.get("unk_piece", b"<unk>"), "unk_piece")
    if pieces[unknown[0]] != unk_piece:
        raise BadFileError(f"its unknown piece is {pieces[unknown[0]]!r}, but trainer_spec calls it {unk_piece!r}")

    surface = trainer.get("unk_surface")
    spiece = Spiece(
        pieces=pieces,
        scores=scores,
        types=types,
        unk_id=unknown[0],
        normalizer=_normalizer(specs[3], "normalizer_spec"),
        denormalizer=_normalizer(specs[5], "denormalizer_spec"),
        unk_surface=None if surface is None else _text(surface, "unk_surface"),
        treat_whitespace_as_suffix=_flag(trainer.get("treat_whitespace_as_suffix", 0), "treat_whitespace_as_suffix"),
        model_type=model_type,
        byte_fallback=byte_fallback,
        data=bytes(data),
    )
    object.__setattr__(spiece, "proto", write_spiece(spiece))
    return spiece


def _pieces(messages: list[bytes]) -> tuple[tuple[str, ...], tuple[float, ...], tuple[int, ...]]:
    raws, packed, types = [], [], []
    for i, message in enumerate(messages):
        n = len(message) - 7
        if n > 0 and message[0] == 0x0A and message[1] == n and n < 0x80 and message[n + 2] == 0x15:
            # what every piece of type normal looks like: tag, length, piece, tag, score
            raws.append(message[2 : n + 2])
            packed.append(message[n + 3 :])
            types.append(NORMAL)
            continue
        values = read_message(message, _PIECE, f"piece {i}")
        raws.append(values.get("piece", b""))
        packed.append(values.get("score", bytes(4)))
        types.append(values.get("type", NORMAL))
    pieces = []
    for i, (raw, kind) in enumerate(zip(raws, types, strict=True)):
        if not raw:
            raise BadFileError(f"piece {i} is empty")
        if len(raw) > MAX_PIECE_BYTES:
            raise BadFileError(f"piece {i} has {len(raw)} bytes, more than {MAX_PIECE_BYTES}")
        if not NORMAL <= kind <= BYTE:
            raise BadFileError(f"piece {i} has type {kind}, unknown to SentencePiece")
        pieces.append(_text(raw, "piece", i))
    if len(set(pieces)) != len(pieces):
        first: dict[str, int] = {}
        for i, piece in enumerate(pieces):
            if first.setdefault(piece, i) != i:
                raise BadFileError(f"piece {i} repeats piece {first[piece]}, {piece[:40]!r}")
    scores = np.frombuffer(b"".join(packed), "<f4")
    # a sum of scores along a text of any length must stay finite too
    bad = np.flatnonzero(~(np.abs(scores) < 1e9))
    if bad.size:
        raise BadFileError(f"piece {bad[0]} has the score {scores[bad[0]]}; scores are finite log probabilities")
    return tuple(pieces), tuple(scores.tolist()), tuple(types)


def _check_bytes(pieces: tuple[str, ...], types: tuple[int, ...], byte_fallback: bool) -> None:
    """With byte_fallback, there is a piece of type byte for each of the 256 bytes; without it, there is none."""
    found = {piece for piece, kind in zip(pieces, types, strict=True) if kind == BYTE}
    if found and not byte_fallback:
        raise BadFileError(f"it has a piece of type byte, {min(found)[:40]!r}, and byte_fallback is off")
    if byte_fallback and found != {byte_piece(byte) for byte in range(256)}:
        raise BadFileError(
            "byte_fallback is on, which needs the 256 pieces <0x00> to <0xFF> of type byte, and no others"
        )


def byte_piece(byte: int) -> str:
    """The piece of a byte: <0x0A>."""
    return f"<0x{byte:02X}>"


def _normalizer(values: dict, what: str) -> NormalizerSpec:
    charsmap = values.get("charsmap", b"")
    if charsmap:
        problem = charsmap_problem(charsmap)
        if problem:
            raise BadFileError(f"the charsmap of {what} {problem}")
    flags = ("add_dummy_prefix", "remove_extra_whitespaces", "escape_whitespaces")
    return NormalizerSpec(
        name=_text(values.get("name", b""), f"name of {what}"),
        charsmap=charsmap,
        **{name: _flag(values.get(name, 1), f"{name} of {what}") for name in flags},
    )


# ------------------------------------------------------------------------------------------- the copy SentencePiece sees


def write_spiece(spiece: Spiece) -> bytes:
    """A ModelProto of exactly the checked values. Training settings and self tests are left out: encoding needs neither."""
    out = []
    scores = np.array(spiece.scores, "<f4").tobytes()
    for i, (piece, kind) in enumerate(zip(spiece.pieces, spiece.types, strict=True)):
        raw = piece.encode()
        body = (
            b"\x0a"
            + (bytes((len(raw),)) if len(raw) < 0x80 else write_number(len(raw)))
            + raw
            + b"\x15"
            + scores[4 * i : 4 * i + 4]
        )
        if kind != NORMAL:
            body += write_field(3, kind)
        out.append(write_field(1, body) if len(body) >= 0x80 else b"\x0a" + bytes((len(body),)) + body)
    trainer = write_field(3, spiece.model_type) + write_field(24, int(spiece.treat_whitespace_as_suffix))
    trainer += write_field(35, int(spiece.byte_fallback)) + write_field(40, spiece.unk_id)
    trainer += write_field(45, spiece.pieces[spiece.unk_id].encode())
    if spiece.unk_surface is not None:
        trainer += write_field(44, spiece.unk_surface.encode())
    out.append(write_field(2, trainer))
    for number, spec in ((3, spiece.normalizer), (5, spiece.denormalizer)):
        body = write_field(1, spec.name.encode()) + (write_field(2, spec.charsmap) if spec.charsmap else b"")
        flags = (spec.add_dummy_prefix, spec.remove_extra_whitespaces, spec.escape_whitespaces)
        body += b"".join(write_field(n, int(flag)) for n, flag in zip((3, 4, 5), flags, strict=True))
        out.append(write_field(number, body))
    return b"".join(out)
