"""From text to pieces through SentencePiece, in one of two ways: that of transformers' slow tokenizer, or Google's.

hf_slow  transformers 4.57.6: AlbertTokenizer (tokenization_albert.py) over PreTrainedTokenizer.tokenize
google   google-research/albert tokenization.py: preprocess_text and encode_pieces, what the checkpoints were trained on
"""

from __future__ import annotations

import itertools
import re
from array import array
from typing import Any

import numpy as np

from albert_np import imports
from albert_np.tokenization.added_tokens import Cutter, Part, split_on_added_tokens
from albert_np.tokenization.alignment import (
    Preprocessing,
    code_points,
    lower_each,
    preprocess,
    preprocess_aligned,
    source_of_expanded,
)
from albert_np.tokenization.row import Encoded, Span
from albert_np.tokenization.spiece import Spiece, byte_piece
from albert_np.tokenization.vocabulary import SpecialTokens, Vocabulary

SPACE = "▁"  # how SentencePiece writes a space inside a piece


class PieceEncoder:
    """Encodes texts one at a time. It holds the SentencePiece processor, which is not pickled but made again."""

    def __init__(self, spiece: Spiece, vocab: Vocabulary, steps: Preprocessing, *, google: bool):
        self.spiece, self.vocab, self.steps, self.google = spiece, vocab, steps, google
        self._processor = _processor(spiece)
        self._bytes = {byte_piece(byte): byte for byte in range(256)} if spiece.byte_fallback else {}
        # lowered text is searched for these; special tokens stay as they are written
        kept = vocab.special_tokens + [t.content for t in vocab.added.values() if not t.special and t.normalized]
        self._keep_case = re.compile("|".join(map(re.escape, kept)))
        self._cutter = Cutter(token.content for token in vocab.added.values())
        self._by_content = {content: vocab.added[index] for content, index in vocab.added_ids.items()}

    def with_special(self, special: SpecialTokens) -> PieceEncoder:
        """An encoder of the same pieces that has other special and added tokens."""
        vocab = Vocabulary(self.vocab.pieces, self.vocab.unk_id, special)
        return PieceEncoder(self.spiece, vocab, self.steps, google=self.google)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_processor": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._processor = _processor(self.spiece)

    def encode(self, text: str, *, spans: bool, split_special_tokens: bool = False) -> Encoded:
        """The pieces of one text and, if asked, the characters that each covers. Raises ValueError for a lone surrogate."""
        check_text(text)
        if self.google:
            tokens, found = self._pieces(text, np.arange(len(text)) if spans else None)
        else:
            tokens, found = self._with_added_tokens(text, spans, split_special_tokens)
        id_of = self.vocab.id_of
        return Encoded([id_of(token) for token in tokens], tokens, found)

    def encode_words(self, words: list[str], *, spans: bool, split_special_tokens: bool = False) -> Encoded:
        """The pieces of words, each encoded by itself. Spans count from the start of each word."""
        numbers: list[int | None] = []
        out = Encoded([], [], [] if spans else None, numbers)
        for number, word in enumerate(words):
            part = self.encode(word, spans=spans, split_special_tokens=split_special_tokens)
            out.ids += part.ids
            out.tokens += part.tokens
            numbers += [number] * len(part)
            if out.spans is not None and part.spans is not None:
                out.spans += part.spans
        return out

    def decode(self, pieces: list[str]) -> str:
        return self._processor.decode(pieces)

    def _with_added_tokens(self, text: str, spans: bool, split: bool) -> tuple[list[str], list[Span] | None]:
        source = np.arange(len(text)) if spans else None
        if self.steps.lower:
            text, source = self._lower(text, source)
        if split:
            parts = [Part(text, [(0, len(text))], None)] if text else []
        else:
            parts = split_on_added_tokens(text, self._cutter, self._by_content)
        tokens: list[str] = []
        found: list[Span] | None = None if source is None else []
        for part in parts:
            if part.token is not None:
                tokens.append(part.text)
                if found is not None and source is not None:
                    start, end = part.claimed
                    found.append((int(source[start]), int(source[end - 1]) + 1))
                continue
            part_source = None
            if source is not None:
                part_source = np.concatenate([source[a:b] for a, b in part.spans])
            more, more_spans = self._pieces(part.text, part_source)
            tokens += more
            if found is not None and more_spans is not None:
                found += more_spans
        return tokens, found

    def _lower(self, text: str, source: np.ndarray | None) -> tuple[str, np.ndarray | None]:
        """Lowers everything but special tokens. These are looked for afterwards, so <PAD> in a text becomes the token <pad>."""
        out, sources, at = [], [], 0
        for match in [*self._keep_case.finditer(text), None]:
            start, end = match.span() if match else (len(text), len(text))
            out += [lower_each(text[at:start]), text[start:end]]
            if source is not None:
                sources += [source_of_expanded(text[at:start], source[at:start], str.lower), source[start:end]]
            at = end
        return "".join(out), None if source is None else np.concatenate(sources)

    def _pieces(self, text: str, source: np.ndarray | None) -> tuple[list[str], list[Span] | None]:
        """The pieces of a text without added tokens. `source` says where its characters came from."""
        if source is None:
            pieces, sources = self._encode(preprocess(text, self.steps)), None
        else:
            text, source = preprocess_aligned(text, source, self.steps)
            pieces, sources = self._aligned(text, source)
        if any(digit_comma(piece) for piece in pieces):
            pieces, spans = self._split_digit_commas(pieces, sources)
        else:
            spans = None if sources is None else _spans(pieces, sources)
        return _bytes_written_out(pieces, spans) if self._bytes else (pieces, spans)

    def _encode(self, text: str) -> list[str]:
        """SentencePiece's pieces. Joined they are the normalised text, so the bytes of byte_fallback stand as characters."""
        pieces = self._processor.encode(text, out_type=str)
        if not self._bytes:
            return pieces
        out: list[str] = []
        for in_bytes, run in itertools.groupby(pieces, self._bytes.__contains__):
            several = list(run)
            out += map(InBytes, bytes(self._bytes[piece] for piece in several).decode()) if in_bytes else several
        return out

    def _aligned(self, text: str, source: np.ndarray) -> tuple[list[str], np.ndarray]:
        """The pieces, and for each of their characters, in order, the character from which it came."""
        pieces = self._encode(text)
        _, offsets = self._processor.normalize(text, with_offsets=True)
        # The pieces are the normalised text, cut; the last offset is the end of the text. A space that a vocabulary adds
        # after the text belongs to the last character.
        places = np.asarray(offsets[:-1], dtype=np.int64)
        return pieces, source[np.minimum(places, len(source) - 1)]

    def _split_digit_commas(self, pieces: list[str], sources: np.ndarray | None) -> tuple[list[str], list[Span] | None]:
        """Splits pieces that end in a digit and a comma: `▁1999,` becomes the pieces of "1999", and a comma.

        Without this rule a year with its comma would be one piece (the vocabulary has 141 of them), which the models
        never saw in training. Source: AlbertTokenizer._tokenize of transformers 4.57.6, and encode_pieces of Google's code.
        """
        out: list[str] = []
        index = array("q")  # for each character of the pieces made, its place in the pieces given
        known: dict[str, tuple[list[str], list[int]]] = {}
        at = 0
        for piece in pieces:
            if digit_comma(piece):
                if piece not in known:
                    known[piece] = self._digit_comma_parts(piece)
                parts, places = known[piece]
                out += parts
                index.extend([at + place for place in places])
            else:
                out.append(piece)
                index.extend(range(at, at + len(piece)))
            at += len(piece)
        return out, None if sources is None else _spans(out, sources[np.asarray(index)])

    def _digit_comma_parts(self, piece: str) -> tuple[list[str], list[int]]:
        """The pieces that replace a piece like `▁1999,`, and for each of their characters its place in that piece."""
        places = [i for i, char in enumerate(piece[:-1]) if char != SPACE]
        parts, origin = self._aligned("".join(piece[i] for i in places), np.array(places, dtype=np.int64))
        # A number inside a word begins without ▁. Google's code compares text with bytes here, so that in Python 3 its
        # own branch for this never runs and the ▁ stays.
        begins = bool(parts) and parts[0][0] == SPACE and not isinstance(parts[0], InBytes)
        if begins and piece[0] != SPACE and not self.google:
            parts = parts[1:] if parts[0] == SPACE else [parts[0][1:], *parts[1:]]
            origin = origin[1:]
        return [*parts, ","], [*origin.tolist(), len(piece) - 1]


class InBytes(str):
    """A character that is in no piece, and that byte_fallback writes as the bytes of its UTF-8."""


def _bytes_written_out(pieces: list[str], spans: list[Span] | None) -> tuple[list[str], list[Span] | None]:
    """Each InBytes as the pieces of its bytes, which all have its span."""
    written = [list(map(byte_piece, piece.encode())) if isinstance(piece, InBytes) else [piece] for piece in pieces]
    if spans is not None:
        spans = [span for span, parts in zip(spans, written, strict=True) for _ in parts]
    return list(itertools.chain.from_iterable(written)), spans


def digit_comma(piece: str) -> bool:
    """Whether a piece ends in a digit and a comma, so that it is split."""
    return piece[-1:] == "," and piece[-2:-1].isdigit()


def _spans(pieces: list[str], sources: np.ndarray) -> list[Span]:
    """The spans of consecutive pieces: from their first character that is not a space to their last.

    A piece that is only ▁ gets the character that follows, as in the `tokenizers` library: there, the ▁ is put before a
    word and shares its first letter.
    """
    if not pieces:
        return []
    text = "".join(pieces)
    n = len(text)
    codes = code_points(text)
    letters = (codes != ord(" ")) & (codes != ord(SPACE))
    where = np.arange(n)
    # index of the first letter at or after each character (n: none), and of the last one at or before it (-1: none)
    following = np.minimum.accumulate(np.where(letters, where, n)[::-1])[::-1]
    preceding = np.maximum.accumulate(np.where(letters, where, -1))
    ends = np.cumsum([len(piece) for piece in pieces])
    starts = np.concatenate([[0], ends[:-1]])
    first, last = following[starts], preceding[ends - 1]
    only_space = first >= ends
    first = np.where(only_space & (first == n), starts, first)
    last = np.where(only_space, first, last)
    return list(zip(sources[first].tolist(), (sources[last] + 1).tolist(), strict=True))


def check_text(text: Any) -> None:
    """Raises ValueError unless text is a str that can be written as UTF-8."""
    if not isinstance(text, str):
        raise ValueError(f"text must be a str; got {type(text).__name__}")
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(
                f"text holds a lone surrogate, U+{ord(text[error.start]):04X}, at position {error.start}; it is half of a "
                "character and cannot be encoded (was it cut, or decoded with errors='surrogateescape'?)"
            ) from error


def _processor(spiece: Spiece) -> Any:
    """SentencePiece over the checked copy of the vocabulary."""
    with imports.lock:
        import sentencepiece

    try:
        return sentencepiece.SentencePieceProcessor(model_proto=spiece.proto)
    except (RuntimeError, OSError) as error:
        raise ValueError(f"SentencePiece refuses the vocabulary: {' '.join(str(error).split())[:300]}") from error
