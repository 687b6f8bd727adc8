"""Makes a new SentencePiece vocabulary, in the way that ALBERT's were made.

The settings are what the trainer_spec inside the published spiece.model says: a unigram model (Kudo 2018) with <pad>, <unk>,
[CLS], [SEP], [MASK] at 0 to 4 and eight marks that always are pieces of their own at 5 to 12, nmt_nfkc normalisation with a ▁
before the text, no byte fallback. What differs: one thread and no shuffling, so that the same text gives the same bytes.
"""

from __future__ import annotations

import io
import os
import random
import re
from collections.abc import Iterable, Iterator
from typing import Any

from albert_np.checkpoints.initialise import check_seed
from albert_np.files import folder_to_write, shown, write_atomically
from albert_np.text_files import read_lines, text_paths
from albert_np.tokenization.alignment import Preprocessing, preprocess
from albert_np.tokenization.files import VOCAB
from albert_np.tokenization.tokenizer import AlbertTokenizer
from albert_np.training.documents import TextCounts, TextForm

MARKS = ["(", ")", '"', "-", ".", "–", "£", "€"]  # ids 5 to 12
SETTINGS: dict[str, Any] = {
    "model_type": "unigram",
    "pad_id": 0,
    "pad_piece": "<pad>",
    "unk_id": 1,
    "unk_piece": "<unk>",
    "bos_id": -1,
    "eos_id": -1,
    "control_symbols": ["[CLS]", "[SEP]", "[MASK]"],  # ids 2, 3, 4
    "user_defined_symbols": MARKS,
    "normalization_rule_name": "nmt_nfkc",
    "add_dummy_prefix": True,
    "remove_extra_whitespaces": True,
    "byte_fallback": False,
    "split_by_unicode_script": True,
    "split_by_number": True,
    "split_by_whitespace": True,
    "max_sentencepiece_length": 16,
    "shrinking_factor": 0.75,
    "num_sub_iterations": 2,
    "seed_sentencepiece_size": 1_000_000,
    "shuffle_input_sentence": False,
    "minloglevel": 2,
}
MAX_BYTES = 4192  # of a stretch of text: the trainer's own limit, beyond which it leaves text out without a word


def train_vocabulary(
    paths: str | os.PathLike | Iterable[str | os.PathLike],
    save_directory: str | os.PathLike,
    *,
    vocab_size: int = 30_000,
    do_lower_case: bool = True,
    keep_accents: bool = False,
    character_coverage: float = 0.99995,
    max_lines: int = 10_000_000,
    seed: int = 0,
    num_threads: int = 1,
    bad_lines: str = "error",
    counts: TextCounts | None = None,
) -> AlbertTokenizer:
    """Trains on text files, writes spiece.model and its settings into save_directory, and returns the tokenizer.

    The lines of the text first go through the tokenizer's own steps (spaces, quotes, accents, small letters). It hardly matters
    where lines end, because pieces are inside words. character_coverage: the part of all characters that get a piece; the rest,
    rare letters, become <unk>. max_lines: if a text has more lines, this many are drawn with the seed, since the trainer holds
    them in memory. num_threads: another number may change scores in the last digit. The same number gives the same bytes with
    the same release of sentencepiece.

    Raises ValueError (arguments; a text that is empty or too small for vocab_size, with the largest that it allows;
    sentencepiece missing) or OSError (files).
    """
    for name, value, least in (
        ("vocab_size", vocab_size, len(MARKS) + 6),
        ("max_lines", max_lines, 1),
        ("num_threads", num_threads, 1),
    ):
        if type(value) is not int or value < least:
            raise ValueError(f"{name} must be a whole number of at least {least}; got {shown(repr(value), 80)}")
    if not isinstance(character_coverage, (int, float)) or not 0.9 <= character_coverage <= 1:
        raise ValueError(f"character_coverage must be from 0.9 to 1; got {shown(repr(character_coverage), 80)}")
    for name, flag in (("do_lower_case", do_lower_case), ("keep_accents", keep_accents)):
        if not isinstance(flag, bool):
            raise ValueError(f"{name} must be True or False; got {shown(repr(flag), 80)}")
    check_seed(seed)
    sentencepiece = _sentencepiece()
    folder = folder_to_write(save_directory)
    steps = Preprocessing(keep_accents=keep_accents, lower=do_lower_case)
    lines = _sample(_lines(paths, steps, TextForm(bad_lines=bad_lines), counts or TextCounts()), max_lines, seed)
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=lines,
            model_writer=model,
            vocab_size=vocab_size,
            num_threads=num_threads,
            character_coverage=float(character_coverage),
            max_sentence_length=MAX_BYTES,
            **SETTINGS,
        )
    except (RuntimeError, OSError) as error:
        raise ValueError(_explain(str(error), vocab_size)) from error
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / VOCAB, model.getvalue())
    tokenizer = AlbertTokenizer(
        folder / VOCAB, do_lower_case=do_lower_case, keep_accents=keep_accents, name_or_path=str(folder)
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def _lines(paths, steps: Preprocessing, form: TextForm, counts: TextCounts) -> Iterator[str]:
    """Stretches of text of at most MAX_BYTES, as the tokenizer gives them to SentencePiece. ValueError if there are none."""
    named = text_paths(paths)
    any_text = False
    for path in named:
        for _, line in read_lines(path, max_bytes=form.max_line_bytes, bad_lines=form.bad_lines, counts=counts):
            text = preprocess(line or "", steps)
            # a mark of the trainer's own, which it would refuse with the whole text
            text = text.replace("▁", " ").replace("\t", " ")
            for stretch in _cut(text):
                any_text = True
                yield stretch
    if not any_text:
        left_out = counts.left_out()
        raise ValueError(f"{named[0]} has no text to make a vocabulary from{f' ({left_out})' if left_out else ''}")


def _cut(text: str) -> Iterator[str]:
    """Stretches of whole words that the trainer accepts. A single word beyond its limit is dropped: no language has such."""
    if len(text.encode()) <= MAX_BYTES:
        if text.strip():
            yield text
        return
    words: list[str] = []
    size = 0
    for word in text.split(" "):
        n = len(word.encode()) + 1
        if n > MAX_BYTES:
            continue
        if size + n > MAX_BYTES:
            yield " ".join(words)
            words, size = [], 0
        words.append(word)
        size += n
    if size > len(words):
        yield " ".join(words)


def _sample(lines: Iterator[str], limit: int, seed: int) -> Iterator[str]:
    """All lines; or `limit` of them in their order, where every choice is equally likely (Vitter 1985, algorithm R)."""
    kept: list[tuple[int, str]] = []
    rng = random.Random(f"vocabulary {seed}")
    for number, line in enumerate(lines):
        if number < limit:
            kept.append((number, line))
        else:
            place = int(rng.random() * (number + 1))
            if place < limit:
                kept[place] = number, line
    return iter([line for _, line in sorted(kept)])


def _explain(message: str, vocab_size: int) -> str:
    """Explains why the trainer refused."""
    message = " ".join(message.split())
    found = re.search(r"value <= (\d+)", message)
    if found:
        return f"this text gives no {vocab_size:,} pieces: vocab_size can be {int(found[1]):,} at most"
    found = re.search(r"(\d+) vs (\d+)", message)
    if found and "required_chars" in message:
        return (
            f"vocab_size {vocab_size:,} is too small: the text has {int(found[2]):,} different characters and special "
            "pieces; a smaller character_coverage leaves rare ones out"
        )
    return f"SentencePiece cannot make a vocabulary of this text: {message[:300]}"


def _sentencepiece() -> Any:
    try:
        import sentencepiece
    except ImportError as error:
        raise ValueError(
            "training a vocabulary runs the sentencepiece library, which is not installed: pip install sentencepiece"
        ) from error
    return sentencepiece
