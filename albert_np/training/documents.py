"""From text files to documents, and from documents to sentences, one document at a time.

There are three forms of text, which differ in what one line is:
- "sentences": a sentence, and a blank line ends a document. This is the form that google-research/albert reads
  (create_pretraining_data.py, create_training_instances), and no rule has to guess where sentences end.
- "paragraphs": a paragraph, and a blank line ends a document, such as a chapter or a tale.
- "wrapped": part of a paragraph, as in plain-text books: a blank line ends a paragraph, two in a row end a document.

In the last two forms, split_sentences finds the sentences. Memory holds one document at a time. A document that is longer than
max_document_chars is cut there, and counted.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from albert_np.files import shown
from albert_np.text_files import LineCounts, read_lines, text_paths
from albert_np.training.sentences import split_sentences

FORMS = ("sentences", "paragraphs", "wrapped")
NEVER = 1 << 62  # more blank lines than any file has


@dataclass(frozen=True)
class TextForm:
    """What lines and blank lines of a text mean, and which of them are left out.

    lines: "sentences", "paragraphs" or "wrapped" (see the module). blank_lines: this many in a row end a document (None: 1, or
    2 for "wrapped", or never if there is a marker). marker: a line with exactly this text ends a document and is not part of
    it. min_sentences: shorter documents are left out, since a single sentence has no order. max_line_bytes: longer lines are
    left out. bad_lines: "error" or "skip", for lines that are not UTF-8 text or hold a NUL.
    """

    lines: str = "paragraphs"
    blank_lines: int | None = None
    marker: str | None = None
    min_sentences: int = 2
    max_line_bytes: int = 1 << 20
    max_document_chars: int = 1 << 24
    bad_lines: str = "error"

    def __post_init__(self) -> None:
        if self.lines not in FORMS:
            raise ValueError(f"lines must be one of {', '.join(FORMS)}; got {shown(repr(self.lines), 80)}")
        if self.bad_lines not in ("error", "skip"):
            raise ValueError(f"bad_lines must be 'error' or 'skip'; got {shown(repr(self.bad_lines), 80)}")
        for name in ("blank_lines", "min_sentences", "max_line_bytes", "max_document_chars"):
            value = getattr(self, name)
            if (type(value) is not int or value < 1) and not (name == "blank_lines" and value is None):
                raise ValueError(f"{name} must be a whole number of at least 1; got {shown(repr(value), 80)}")
        if self.marker is not None and (not isinstance(self.marker, str) or not self.marker.strip()):
            raise ValueError(f"marker must be the text of a line; got {shown(repr(self.marker), 80)}")

    @property
    def blank_lines_between(self) -> int:
        """Blank lines in a row that end a document."""
        if self.blank_lines is not None:
            return self.blank_lines
        return NEVER if self.marker is not None else 2 if self.lines == "wrapped" else 1


@dataclass
class TextCounts(LineCounts):
    """What was read and what was left out, counted while reading."""

    files: int = 0
    documents: int = 0  # given to the caller, as are the two that follow
    sentences: int = 0
    characters: int = 0
    short_documents: int = 0  # left out: fewer than min_sentences
    cut_documents: int = 0  # went on beyond max_document_chars: what follows counts as another document

    def left_out(self) -> str:
        """What was left out, in words; empty where nothing was."""
        words = {
            "short_documents": "documents too short",
            "long_lines": "lines too long",
            "bad_lines": "lines not text",
        }
        return ", ".join(f"{getattr(self, name):,} {what}" for name, what in words.items() if getattr(self, name))

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


def read_documents(
    paths: str | os.PathLike | Iterable[str | os.PathLike],
    form: TextForm | None = None,
    counts: TextCounts | None = None,
) -> Iterator[list[str]]:
    """Yields the documents of some files in order, each as a list of sentences. The end of a file ends a document.

    counts, if given, is kept up to date. Raises OSError (a file cannot be read); or ValueError, with the number of the line,
    if a file is empty or has only blank lines, if a line is not text, or, at the end, if there was no document.
    """
    form = TextForm() if form is None else form
    counts = TextCounts() if counts is None else counts
    named = text_paths(paths)
    for path in named:
        for document in _documents_of(path, form, counts):
            if len(document) < form.min_sentences:
                counts.short_documents += 1
                continue
            counts.documents += 1
            counts.sentences += len(document)
            counts.characters += sum(map(len, document))
            yield document
        counts.files += 1
    if not counts.documents:
        left_out = counts.left_out()
        raise ValueError(
            f"{named[0]}{' and the other files' if len(named) > 1 else ''}: no document of at least {form.min_sentences} "
            f"sentences ({left_out or 'nothing left out'}; lines were read as {form.lines})"
        )


def _documents_of(path: Path, form: TextForm, counts: TextCounts) -> Iterator[list[str]]:
    """Documents of one file that have any sentence at all, short ones among them."""
    sentences: list[str] = []
    wrapped: list[str] = []  # lines of the paragraph that is being read
    size = blanks = 0
    marker = None if form.marker is None else form.marker.strip()
    seen = False

    def finish_paragraph() -> None:
        if wrapped:
            sentences.extend(split_sentences(" ".join(wrapped)))
            wrapped.clear()

    for _, line in read_lines(path, max_bytes=form.max_line_bytes, bad_lines=form.bad_lines, counts=counts):
        text = "" if line is None else line.strip()
        if line is not None and not text:
            blanks += 1
            finish_paragraph()
            ends = blanks == form.blank_lines_between
        else:
            blanks = 0
            seen = True
            # sentences on both sides of a line left out do not follow each other
            ends = line is None or text == marker
            if not ends:
                if size + len(text) > form.max_document_chars and size:
                    finish_paragraph()
                    counts.cut_documents += 1
                    yield sentences
                    sentences, size = [], 0
                size += len(text)
                if form.lines == "wrapped":
                    wrapped.append(text)
                else:
                    sentences += [text] if form.lines == "sentences" else split_sentences(text)
        if ends:
            finish_paragraph()
            if sentences:
                yield sentences
            sentences, size = [], 0
    finish_paragraph()
    if sentences:
        yield sentences
    if not seen:
        raise ValueError(f"{path} has no text: {blanks:,} blank lines and nothing else")
