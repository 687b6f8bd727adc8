#!/usr/bin/env python3
"""Train tests/tiny_model/spiece.model, the vocabulary of the tests, from text.txt beside it.

The settings are those of the published ALBERT vocabularies, as their own trainer_spec gives them, with 1,000 pieces in
place of 30,000. The same text and the same sentencepiece release give the same bytes every time.
"""

from __future__ import annotations

import argparse
import io
import sys
import unicodedata
from pathlib import Path

import sentencepiece

from albert_np.files import write_atomically
from albert_np.training.vocabulary import SETTINGS

FOLDER = Path(__file__).resolve().parent
TEXT = FOLDER / "text.txt"
MODEL = FOLDER / "spiece.model"
MADE_WITH = "0.2.3"  # the sentencepiece release that wrote the committed file; another may write other bytes

# One thread, like no shuffling: sums in a fixed order, hence the same bytes. The text is small: every character gets a piece.
# byte_fallback is off in either way, but a file that was told so says so, and this one was not.
TINY = SETTINGS | {"vocab_size": 1000, "character_coverage": 1.0, "num_threads": 1}
del TINY["byte_fallback"]


def prepare(line: str) -> str:
    """A line as ALBERT's tokenizer hands it to sentencepiece: single spaces, plain quotes, no accents, lower case."""
    line = " ".join(line.split()).replace("``", '"').replace("''", '"')
    decomposed = unicodedata.normalize("NFKD", line)
    return "".join(character for character in decomposed if not unicodedata.combining(character)).lower()


def train(text: Path) -> bytes:
    """The model file's bytes. Training from an iterator keeps the path of the text out of them."""
    lines = [prepare(line) for line in text.read_text(encoding="utf-8").splitlines() if line.strip()]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=model, **TINY)
    return model.getvalue()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Train the SentencePiece vocabulary of the tests (1,000 pieces) from text.txt and write it to "
        "spiece.model, both in tests/tiny_model.",
        epilog=f"The same bytes come out every time with sentencepiece {MADE_WITH}; other releases may differ.",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing: train in memory, compare with the file that is there, and exit with 1 if they differ",
    )
    check = parser.parse_args(arguments).check

    name, tool = (f"tests/tiny_model/{path.name}" for path in (MODEL, Path(__file__)))
    try:
        data = train(TEXT)
        if not check:
            write_atomically(MODEL, data)
            print(f"{name}: written, {len(data):,} bytes")
            return 0
        if not MODEL.is_file():
            print(f"{name}: missing; run {tool} to make it", file=sys.stderr)
            return 1
        if MODEL.read_bytes() == data:
            print(f"{name}: up to date")
            return 0
    except OSError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    release = sentencepiece.__version__
    print(
        f"{name}: stale, it differs from what {TEXT.name} gives; "
        f"run {tool} (made with sentencepiece {MADE_WITH}, this is {release})",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
