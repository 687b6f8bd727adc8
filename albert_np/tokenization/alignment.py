"""What ALBERT does to text before SentencePiece sees it, with and without remembering where each character came from.

An alignment is an int64 array `source` that belongs to a text: character i of the text comes from character source[i] of the
caller's string. It never decreases. One index is enough: where several characters became one (two quotes, a letter and its
accent, an Å and its NFKD parts), it is attributed to one of them, as in the `tokenizers` library. That is the last of two
quotes, and otherwise the letter itself.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

# what str.split() splits at; a test compares with str.isspace over all of Unicode
_SPACES = np.array(
    [*map(ord, "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000"), *range(0x2000, 0x200B)],
    dtype=np.uint32,
)
_QUOTES = re.compile("``|''")


@dataclass(frozen=True)
class Preprocessing:
    """Which steps to take. Each is a flag of tokenizer_config.json, except `quotes`: Google's code does not have that step."""

    remove_space: bool = True
    quotes: bool = True
    keep_accents: bool = False
    lower: bool = True


def preprocess(text: str, steps: Preprocessing) -> str:
    """Takes the steps. Source: AlbertTokenizer.preprocess_text of transformers 4.57.6; without `quotes`, Google's code."""
    if steps.remove_space:
        text = " ".join(text.split())
    if steps.quotes:
        text = text.replace("``", '"').replace("''", '"')
    if not steps.keep_accents and not text.isascii():
        text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return text.lower() if steps.lower else text


def lower_each(text: str) -> str:
    """Lowers every character by itself, so that a final Σ becomes σ: this is the only letter for which str.lower looks at
    its neighbours."""
    return text.replace("Σ", "σ").lower()


def preprocess_aligned(text: str, source: np.ndarray, steps: Preprocessing) -> tuple[str, np.ndarray]:
    """preprocess(text, steps) and the alignment of its characters, given that of text."""
    if steps.remove_space:
        text, source = _collapse_spaces(text, source)
    if steps.quotes:
        firsts = [match.start() for match in re.finditer("``", text)]
        text, source = text.replace("``", '"'), np.delete(source, firsts)
        firsts = [match.start() for match in re.finditer("''", text)]
        text, source = text.replace("''", '"'), np.delete(source, firsts)
    if not steps.keep_accents and not text.isascii():
        source = source_of_expanded(text, source, _decomposed)
        text = preprocess(text, Preprocessing(remove_space=False, quotes=False, lower=False))
    if steps.lower:
        source = source_of_expanded(text, source, str.lower)
        text = text.lower()
    return text, source


def source_of_expanded(text: str, source: np.ndarray, each: Callable[[str], str]) -> np.ndarray:
    """Alignment after every character c has become the characters each(c), possibly none or several."""
    counts = {ord(c): n for c in set(text) if (n := len(each(c))) != 1}
    if not counts:
        return source
    codes = code_points(text)
    table = np.ones(max(int(codes.max()) + 1, 1), dtype=np.int64)
    for code, n in counts.items():
        table[code] = n
    return np.repeat(source, table[codes])


@lru_cache(maxsize=4096)
def _decomposed(char: str) -> str:
    # the marks that NFKD may reorder are the very ones dropped, so character by character gives the same text
    return "".join(c for c in unicodedata.normalize("NFKD", char) if not unicodedata.combining(c))


def code_points(text: str) -> np.ndarray:  # (len(text),) uint32
    return np.frombuffer(text.encode("utf-32-le"), dtype="<u4")


def _collapse_spaces(text: str, source: np.ndarray) -> tuple[str, np.ndarray]:
    space = np.isin(code_points(text), _SPACES)
    # of a run of spaces the first one stands for all, and the runs at the two ends go
    keep = ~space
    keep[1:] |= ~space[:-1]
    words = np.flatnonzero(~space)
    keep[(words[-1] + 1 if words.size else 0) :] = False
    return " ".join(text.split()), source[keep]
