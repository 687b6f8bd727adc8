"""The corpus of the demo model, and how it is parted: training text, and whole books that training never sees.

The corpus is one text file: a paragraph a line, an empty line after each chapter, books end to end. BOOKS.md lists the books in
that order, with their chapters, which is how the file is cut, and their sizes, by which the cuts are checked.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from albert_np.files import listed, write_atomically
from albert_np.training.sentences import split_sentences

# Chosen by name, a twentieth of the words: a detective novel, whose author has two more books in the training text, and a
# novel, a comic journey and a nature diary of authors who have none there.
HELD_OUT = (
    "standardebooks/arthur-conan-doyle_the-hound-of-the-baskervilles",
    "standardebooks/jerome-k-jerome_three-men-in-a-boat",
    "standardebooks/john-muir_my-first-summer-in-the-sierra",
    "standardebooks/willa-cather_my-antonia",
)
# The corpus leaves out a few paragraphs that BOOKS.md counts, at most 0.5 % of a book. A cut in a wrong place is off by more.
NEAR = 0.01
COLUMNS = ("repository", "bytes", "words", "chapters/tales", "paragraphs", "title", "author")
TRAINING_NAME, HELD_OUT_NAME, DOCUMENTS = "training.txt", "held_out.txt", "_documents.txt"
LOOSE = 20  # one training paragraph in so many has spaces before its marks
MARK = re.compile(r"(?<=\w)(?=[.,;:!?])")


@dataclass(frozen=True)
class Book:
    """One line of BOOKS.md."""

    name: str
    bytes: int
    words: int
    chapters: int
    paragraphs: int
    title: str
    author: str


@dataclass(frozen=True)
class Parts:
    """The corpus in two files, and what is in them, ready for JSON."""

    training: Path
    held_out: Path
    facts: dict[str, Any]


def read_books(path: str | os.PathLike) -> list[Book]:
    """The books of BOOKS.md, in its order. Raises OSError (no such file) or ValueError (not such a list)."""
    path = Path(path)
    try:
        lines = path.read_text("utf-8").splitlines()
    except FileNotFoundError as error:
        raise OSError(
            f"there is no file {path}; --books takes the list that comes with the corpus, BOOKS.md"
        ) from error
    books, inside = [], False
    for number, line in enumerate(lines, start=1):
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            inside = False
        elif tuple(cells[: len(COLUMNS)]) == COLUMNS:
            inside = True
        elif inside and set(line) - set("|-: "):
            if len(cells) < len(COLUMNS) or not all(cell.isdigit() for cell in cells[1:5]):
                raise ValueError(f"{path} line {number}: a book has {', '.join(COLUMNS)}; got {line[:80]!r}")
            sizes = [int(cell) for cell in cells[1:5]]
            books.append(Book(cells[0], sizes[0], sizes[1], sizes[2], sizes[3], cells[5], cells[6]))
    if not books:
        raise ValueError(f"{path} lists no books: a table with the columns {', '.join(COLUMNS)} was expected")
    return books


def cut_books(corpus: str | os.PathLike, books: list[Book]) -> list[tuple[Book, bytes]]:
    """Each book and its text, an empty line after each chapter. Raises OSError or ValueError where it is another corpus."""
    corpus = Path(corpus)
    try:
        data = corpus.read_bytes()
    except FileNotFoundError as error:
        raise OSError(f"there is no file {corpus}; --corpus takes the text of all books") from error
    *chapters, rest = data.split(b"\n\n")
    wanted = sum(book.chapters for book in books)
    if rest.strip() or len(chapters) != wanted:
        raise ValueError(
            f"{corpus} has {len(chapters):,} chapters that end with an empty line{' and a rest' if rest.strip() else ''}; the "
            f"{len(books)} books listed have {wanted:,}: it is not the corpus that belongs to this list"
        )
    texts, first = [], 0
    for book in books:
        own = chapters[first : first + book.chapters]
        first += book.chapters
        text = b"".join(chapter + b"\n\n" for chapter in own)
        for what, found, listed_as in (
            ("bytes", len(text), book.bytes),
            ("paragraphs", sum(chapter.count(b"\n") + 1 for chapter in own), book.paragraphs),
        ):
            if abs(found - listed_as) > NEAR * listed_as:
                raise ValueError(
                    f"{corpus}: {book.title} ({book.author}) has {found:,} {what} and the list says {listed_as:,}: it is not "
                    "the corpus that belongs to this list"
                )
        texts.append((book, text))
    return texts


def part(
    corpus: str | os.PathLike,
    books_list: str | os.PathLike,
    folder: str | os.PathLike,
    held_out: Collection[str] = HELD_OUT,
) -> Parts:
    """Writes training.txt and held_out.txt into a folder, books in the order of the corpus. The same input, the same bytes.

    held_out: the names of whole books, at least one and not all. Raises OSError or ValueError, before anything is written.
    """
    books = read_books(books_list)
    missing = sorted(set(held_out) - {book.name for book in books})
    if missing or not held_out or len(set(held_out)) == len(books):
        what = (
            f"has no {listed(missing)}"
            if missing
            else f"lists {len(books)} books, and {len(held_out)} are to be held out"
        )
        raise ValueError(f"{books_list} {what}: name some of its books, and not all")
    texts = cut_books(corpus, books)
    folder = Path(folder)
    digest = hashlib.sha256()
    for _, text in texts:
        digest.update(text)
    facts: dict[str, Any] = {"sha256": digest.hexdigest()}
    for name, kept in ((TRAINING_NAME, False), (HELD_OUT_NAME, True)):
        chosen = [(book, text) for book, text in texts if (book.name in held_out) == kept]
        data = b"".join(text for _, text in chosen)
        facts[name.removesuffix(".txt")] = _facts([book for book, _ in chosen], data, kept, texts)
        write_atomically(folder / name, data)
    return Parts(folder / TRAINING_NAME, folder / HELD_OUT_NAME, facts)


def documents(text: Path, loose: int = 0) -> Path:
    """X_documents.txt beside X.txt: the same paragraphs, an empty line after each that ends a document.

    A document is a paragraph, with those before it that have a single sentence: such have no order, and a pair of segments
    begins and ends where paragraphs do, as it does where the model is asked.

    loose: one paragraph in so many has spaces before its marks. A tokenizer takes what follows [MASK] for the beginning of a
    text: "the [MASK]." comes as the, [MASK], a space and the full stop. Masking a text that is in tokens already never gives
    that, so a model would not know it.
    """
    lines, sentences = [], 0
    for number, line in enumerate(text.read_text("utf-8").split("\n")):
        sentences = sentences + len(split_sentences(line)) if line else 0
        lines.append(MARK.sub(" ", line) if loose and number % loose == 0 else line)
        if sentences > 1:
            lines.append("")
            sentences = 0
    written = text.with_name(text.stem + DOCUMENTS)
    write_atomically(written, "\n".join(lines).encode("utf-8"))
    return written


def _facts(books: list[Book], data: bytes, named: bool, texts: Iterable[tuple[Book, bytes]]) -> dict[str, Any]:
    """Counts of one part; held-out books by name, each with the number of its author's other books in the corpus."""
    lines = data.split(b"\n")
    found: dict[str, Any] = {
        "books": len(books),
        "bytes": len(data),
        "words": sum(len(line.split()) for line in lines),
        "paragraphs": sum(bool(line) for line in lines),
    }
    if named:
        authors = [book.author for book, _ in texts]
        found["titles"] = [
            {"title": book.title, "author": book.author, "others_by_the_author": authors.count(book.author) - 1}
            for book in books
        ]
    return found
