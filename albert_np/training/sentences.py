"""From running text to sentences, by a rule that is short enough to remember."""

from __future__ import annotations

import re

# titles and the like, which a capital follows and no sentence end does; the first letter as they are written, or small
_BEFORE_A_NAME = {
    "mr",
    "mrs",
    "ms",
    "messrs",
    "mme",
    "mlle",
    "mm",
    "dr",
    "prof",
    "rev",
    "hon",
    "gen",
    "col",
    "capt",
    "cpt",
    "lieut",
    "lt",
    "sergt",
    "sgt",
    "maj",
    "cmdr",
    "adm",
    "gov",
    "pres",
    "sen",
    "rep",
    "supt",
    "st",
    "ste",
    "mt",
    "ft",
    "vs",
    "cf",
    "viz",
    "eg",
    "ie",
    "e.g",
    "i.e",
}
# no end before a number; before anything else they are words, as in "No. He cannot."
_BEFORE_A_NUMBER = {
    "no",
    "nos",
    "vol",
    "vols",
    "p",
    "pp",
    "ch",
    "chap",
    "fig",
    "figs",
    "art",
    "sec",
    "cap",
    "bk",
    "pt",
    "ver",
    "nr",
}

# sentence-ending marks, what closes a quotation or a bracket, a space, what opens one, and the first letter or digit. Marks
# are taken as a whole run or not at all (the look-behind, and ++): a line of a million dots costs a million steps, not 10¹².
_BOUNDARY = re.compile(r"""(?<![.!?…])([.!?…]++)(["'”’»)\]]*+)( )["'“‘«(\[]*+([^\W_])""")
_LAST_WORD = re.compile(r"""[^\s"'“‘«(\[—–-]*\Z""")
_NUMBER = re.compile(r"\d|[IVXLC]+\b")


def split_sentences(paragraph: str) -> list[str]:
    """The sentences of running text, without the spaces between them. " ".join gives the paragraph with single spaces.

    A sentence ends after . ! ? or … and the closing quotes and brackets after them. A space must follow and then, after any
    opening quotes and brackets, something other than a small letter: so "No!" said he. stays whole. A single full stop does
    not end a sentence after a title (Mr., St.), after e.g. and the like, after No. or vol. before a number, or after an initial
    (one capital except I, or several with stops between them: J. R. R., U.S.). In text without capitals, this finds no
    sentences: write one sentence per line instead.
    """
    paragraph = " ".join(paragraph.split())
    sentences, start = [], 0
    for match in _BOUNDARY.finditer(paragraph):
        marks, closing, _, first = match.groups()
        if first.islower():
            continue
        if marks == "." and not closing and _is_abbreviation(paragraph, start, match):
            continue
        sentences.append(paragraph[start : match.end(2)])
        start = match.end(3)
    if start < len(paragraph):
        sentences.append(paragraph[start:])
    return sentences


def _is_abbreviation(paragraph: str, start: int, match: re.Match[str]) -> bool:
    """True where the full stop of a match belongs to the word before it. A word has 40 characters at most here."""
    stop = match.start(1)
    found = _LAST_WORD.search(paragraph, max(start, stop - 40), stop)
    word = found.group() if found else ""
    parts = word.split(".")
    if all(len(part) == 1 and part.isupper() for part in parts):
        return word != "I"
    if word.lower() in _BEFORE_A_NAME:
        return True
    return word.lower() in _BEFORE_A_NUMBER and _NUMBER.match(paragraph, match.start(4)) is not None
