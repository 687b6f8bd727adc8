"""CoNLL files: one word with its columns on each line, and a blank line between sentences.

Columns are separated by tabs if there is a tab between the columns of the file's first word, else by runs of spaces. In a file
with tabs, words may hold any other character, such as spaces or U+00A0; a column may be empty, but not that of the word. A file
that mixes the two is refused, and so is a line with more or fewer columns than the others. (Where both columns are counted from
the left, only the lines of one sentence must agree: CoNLL-2012 has a column for each predicate.)

A line that begins with # is a word or a comment. It is a comment if it stands before or after all words of a sentence and does
not fit their columns, such as `# text = John runs`. It is a word if it fits them and its label is that of other words or looks
like one of entities, such as `#<tab>O`, or if it fits them and stands between other words. What may be both is refused, unless
the caller says what it is. A line that begins with -DOCSTART- is a comment that ends a sentence.

In CoNLL-U, multiword tokens (1-2) and empty nodes (1.1) repeat or add to the words of a sentence. They are left out. `_` is a
label like any other. Comments and what is left out are counted.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from albert_np.files import shown
from albert_np.tasks.rows import BadRows, LineEnds, text_lines
from albert_np.text_files import Line, text_paths

_DOCSTART = re.compile(r"[ \t]*-DOCSTART-(?:[ \t]|$)")
_TAG = re.compile(r"O|[BIESLUM]-\S+")
_SETTING = re.compile(r"#\s*[\w:.-]+\s*=\s")  # "# sent_id = 5"
_MARKUP = re.compile(r"</?[A-Za-z][^<>]* [^<>]*>")  # <doc id="5">: in two columns it would be a word and a label
_ID = re.compile(r"[0-9]+(?:([-.])[0-9]+)?")  # of CoNLL-U
_HEADERS = ({"word", "words", "token", "tokens", "form"}, {"label", "tag", "ner", "ner_tag", "pos", "pos_tag", "upos"})


class Sentence(NamedTuple):
    """The words of a sentence, and what the file says of each; labels are [] if they are not read."""

    where: str  # "train.conll line 7"
    words: tuple[str, ...]
    labels: list[object]
    lines: tuple[int, ...] = ()  # where each word stands, if that is a line of its own

    def place(self, word: int) -> str:
        """Where a word stands, for messages."""
        return f"{self.where.rpartition(' line ')[0]} line {self.lines[word]}" if self.lines else self.where


@dataclass
class _Block:
    """The lines between two blank ones: words, and lines at the two edges that begin with #."""

    before: list[Line]
    words: list[tuple[int, list[str]]]  # line number, columns
    after: list[Line]


def read_conll(
    path: str | os.PathLike,
    word_column: int,
    label_column: int | None,
    *,
    comments: str = "error",
    known: Collection[str] = (),
    bad: BadRows | None = None,
    counts: Counter[str] | None = None,
) -> Iterator[Sentence]:
    """Yields the sentences of a CoNLL file. Without a label_column, labels are empty.

    comments: what a line is that begins with # and may be a word or a comment: "skip" (a comment), "word" or "error". known:
    labels that words have. bad: what happens to sentences with a line that cannot be read. counts, if given, is kept up to
    date: comments, multiword_tokens, empty_nodes. Raises OSError; or ValueError with the number of the line.
    """
    if comments not in ("error", "skip", "word"):
        raise ValueError(f"comments must be 'error', 'skip' or 'word'; got {shown(repr(comments), 60)}")
    (checked,) = text_paths(path)
    reader = _Reader(
        checked,
        word_column,
        label_column,
        comments,
        BadRows() if bad is None else bad,
        Counter() if counts is None else counts,
    )
    return reader.sentences(known)


@dataclass
class _Reader:
    """One file, read twice: first the lines that are words for sure, then, with what they tell, lines that begin with #."""

    path: Path
    word: int
    label: int | None
    comments: str
    bad: BadRows
    counts: Counter[str]
    tabs: bool | None = None  # whether tabs separate columns
    columns: int = 0
    first: int = 0  # the line that says so

    def __post_init__(self) -> None:
        self.asked = [self.word] if self.label is None else [self.word, self.label]
        # whether all lines of the file have the same number of columns, and not only those of a sentence
        self.alike = min(self.asked) < 0 or (self.label is None and self.word == 0)

    def sentences(self, known: Collection[str]) -> Iterator[Sentence]:
        blocks = []
        for lines in self._blocks():
            try:
                blocks.append(self._block(lines))
            except ValueError as error:
                self.bad.meet(error)
        if self.tabs is None and blocks:  # every line begins with #: the last one is the likeliest word
            last = (*blocks[-1].before, *blocks[-1].after)[-1]
            self._decide(last.text or "", last.number)
        evidence = -1 if self.label is None else self.label
        labels = set(known) | {
            fields[evidence].strip()
            for block in blocks
            for _, fields in block.words
            if self.label is not None or len(fields) > 1
        }
        found = []
        for block in blocks:
            try:
                sentence = self._sentence(block, labels)
            except ValueError as error:
                self.bad.meet(error)
            else:
                found += [sentence] if sentence.words else []
        self._check_words(found)
        yield from found

    def _blocks(self) -> Iterator[list[Line]]:
        ends = LineEnds(self.path)
        lines: list[Line] = []
        for line in text_lines(self.path):
            ends.meet(line)
            mark = line.text is not None and bool(_DOCSTART.match(line.text))
            self.counts["comments"] += mark
            if line.text is None or (line.text.strip(" \t") and not mark):
                lines.append(line)
            elif lines:
                yield lines
                lines = []
        if lines:
            yield lines

    def _block(self, lines: list[Line]) -> _Block:
        bad = next((line for line in lines if line.text is None), None)
        if bad is not None:
            raise ValueError(f"{self._place(bad.number)} {bad.problem}")
        sure = [i for i, line in enumerate(lines) if not (line.text or "").startswith("#")]
        if not sure:
            return _Block(lines, [], [])
        words: list[tuple[int, list[str]]] = []
        inside = lines[sure[0] : sure[-1] + 1]
        for line in inside:
            text = line.text or ""
            if self.tabs is None:
                self._decide(text, line.number)
            n = len(words[0][1]) if words else 0
            if text.startswith("#") and not self._fits(text, n):
                if self.comments != "skip":
                    raise ValueError(
                        f"{self._place(line.number)} begins with #, stands between words and does not have their {n} columns; "
                        "comments='skip' leaves such lines out"
                    )
                self.counts["comments"] += 1
                continue
            words.append((line.number, self._fields(text, line.number, words)))
        return _Block(lines[: sure[0]], words, lines[sure[-1] + 1 :])

    def _decide(self, text: str, number: int) -> None:
        """Takes separator and number of columns from a line."""
        self.tabs = "\t" in text.strip(" \t")
        self.columns, self.first = len(self._split(text)), number

    def _split(self, text: str) -> list[str]:
        return text.split("\t") if self.tabs else re.split(" +", text.strip(" \t"))

    def _fits(self, text: str, n: int) -> bool:
        of_the_kind = "\t" in text if self.tabs else "\t" not in text.strip(" \t")
        return of_the_kind and len(self._split(text)) == n

    def _fields(self, text: str, number: int, before: Sequence[tuple[int, list[str]]]) -> list[str]:
        """The columns of a line after those lines of its sentence. Raises ValueError if it is not like other lines."""
        fields = self._split(text)
        problem = self._problem(text, fields, before)
        if problem:
            raise ValueError(f"{self._place(number)} {problem}")
        return fields

    def _problem(self, text: str, fields: list[str], before: Sequence[tuple[int, list[str]]]) -> str:
        """What is wrong with a line, or ""."""
        if self.tabs and "\t" not in text:
            return f"has no tab, but line {self.first} separates columns by tabs"
        if not self.tabs and "\t" in text.strip(" \t"):
            return f"has a tab, but line {self.first} separates columns by spaces"
        if not self.tabs and text[:1] == "<" and _MARKUP.fullmatch(text.strip()):
            return f"is a mark, {shown(text.strip(), 40)}, and no word; take such lines out"
        n = len(fields)
        like, columns = (self.first, self.columns) if self.alike or not before else (before[0][0], len(before[0][1]))
        if n != columns and (self.alike or before):
            return f"has {n} columns, and line {like} has {columns}"
        if len({column % n for column in self.asked if -n <= column < n}) < len(self.asked):
            return f"has {n} columns: no word in {self.word} and label in {self.label}"
        return "" if fields[self.word].strip(" ") else f"has an empty column {self.word}, where the word stands"

    def _sentence(self, block: _Block, labels: Collection[str]) -> Sentence:
        """The sentence of a block, with those lines at its edges that are words."""
        n = len(block.words[0][1]) if block.words else self.columns
        words = list(block.words)
        for edge in (block.before, block.after):
            here: list[tuple[int, list[str]]] = []
            for line in edge:
                if self._is_word(line, n, labels):
                    here.append((line.number, self._fields(line.text or "", line.number, words or here)))
                else:
                    self.counts["comments"] += 1
            words = here + words if edge is block.before else words + here
        words = self._without_extra_nodes(words)
        where = self._place(words[0][0]) if words else ""
        return Sentence(
            where,
            tuple(fields[self.word] for _, fields in words),
            [] if self.label is None else [fields[self.label] for _, fields in words],
            tuple(number for number, _ in words),
        )

    def _is_word(self, line: Line, n: int, labels: Collection[str]) -> bool:
        """Whether a line that begins with # is a word. Raises ValueError if it may be a comment as well."""
        text = line.text or ""
        like = next((x for x in (text, text.rstrip(" \t")) if self._fits(x, n)), None)
        if like is None:
            return False
        fields = self._split(like)
        column = -1 if self.label is None else self.label
        label = fields[column].strip() if n > 1 and -n <= column < n else ""
        if label and (label in labels or _TAG.fullmatch(label)) and not _SETTING.match(text):
            return True  # if a tab too many stands at its end, _fields says so
        if self.comments == "error":
            raise ValueError(
                f"{self._place(line.number)} begins with # and has the {n} columns of a word: it may be a word or a comment; "
                "say which with comments='word' or comments='skip'"
            )
        return self.comments == "word"

    def _without_extra_nodes(self, words: list[tuple[int, list[str]]]) -> list[tuple[int, list[str]]]:
        """The words of a sentence of CoNLL-U, each once; of a file without ids, all of them."""
        ids = [_ID.fullmatch(fields[0]) for _, fields in words]
        marks = ["" if x is None else x[1] or "" for x in ids]
        if self.word == 0 or not all(ids) or not any(marks):
            return words
        plain = [fields[0] for (_, fields), mark in zip(words, marks, strict=True) if not mark]
        if not _count_up(plain):
            if "-" not in marks:
                return words  # numbers of another kind, such as times
            raise ValueError(
                f"{self._place(words[marks.index('-')][0])} has the id of a multiword token, but the ids of this sentence do "
                "not count its words"
            )
        self.counts["multiword_tokens"] += marks.count("-")
        self.counts["empty_nodes"] += marks.count(".")
        return [word for word, mark in zip(words, marks, strict=True) if not mark]

    def _check_words(self, found: list[Sentence]) -> None:
        """Raises ValueError if words are, to all appearance, something else: ids, a name of the text, or names of columns."""
        if not found:
            return
        every = [word for sentence in found for word in sentence.words]
        several, said = len(every) > 4, ""
        if self.word:  # the caller has said where words are
            pass
        elif several and found[0].labels and all(map(_TAG.fullmatch, every)):
            said = "holds labels; say where words and labels stand, such as word_column=1 and label_column=0"
        elif self.columns > 6 and several and len(set(every)) == 1:
            said = "says the same of every word; say where words and labels stand, such as word_column=3 and label_column=10"
        elif self.columns > 2 + 4 * (len(every) == 1) and all(_count_up(_plain_ids(x.words)) for x in found):
            said = "counts the words of each sentence; say where words and labels stand, such as word_column=1"
        if said:
            raise ValueError(f"{found[0].where}: column 0 {said}")
        if found[0].labels and every[0].strip().lower() in _HEADERS[0]:
            label = str(found[0].labels[0]).strip()
            uses = sum(str(x).strip() == label for sentence in found for x in sentence.labels)
            if uses == 1 and label.lower().removesuffix("s") in _HEADERS[1]:
                raise ValueError(f"{found[0].where} names the columns; CoNLL has no header, so take this line out")

    def _place(self, number: int) -> str:
        return f"{self.path} line {number}"


def _plain_ids(words: Sequence[str]) -> list[str]:
    """Words without ids of multiword tokens and empty nodes, if all words are ids of CoNLL-U; else []."""
    return [word for word in words if word.isdecimal()] if all(map(_ID.fullmatch, words)) else []


def _count_up(words: Sequence[str]) -> bool:
    """Whether words are the numbers from 1, or from 0."""
    return bool(words) and words[0] in ("0", "1") and list(words) == [str(int(words[0]) + i) for i in range(len(words))]
