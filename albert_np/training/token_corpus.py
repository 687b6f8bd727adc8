"""The token ids of a text, kept on disk and mapped into memory. A text is tokenized once and can be read in any order.

A corpus is three flat files and a note in a folder of its own:
- ids.bin: the ids of all sentences, end to end, uint16 or int32;
- sentences.bin: where each sentence starts in it, and where the last ends, int64;
- documents.bin: where each document starts among the sentences, and where the last ends, int64;
- corpus.json: sizes, counts, and the key.

The key is a hash of the bytes of the text, the form in which it was read, and the vocabulary. When a folder is complete, one
rename gives it its key as name. So a kill leaves no half-written folder, and two processes may build the same one.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import tempfile
import weakref
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from albert_np.checkpoints.initialise import check_seed
from albert_np.files import read_json, shown
from albert_np.ops import Array
from albert_np.text_files import open_binary, text_paths
from albert_np.tokenization.tokenizer import AlbertTokenizer
from albert_np.training.documents import TextCounts, TextForm, read_documents

VERSION = 2  # of the files, and of what tokenizing and splitting do: an older cache is made again
NOTE = "corpus.json"
FLUSH = 1 << 18  # ids that wait in memory before they are written


class TokenCorpus:
    """D documents of S sentences of tokens.

    ids (n,) integers; sentence_starts (S+1,) int64, sentence s is ids[starts[s] : starts[s + 1]]; document_starts (D+1,)
    int64, likewise among sentences. counts: TextCounts as a dict, and tokenless_sentences, unknown_tokens.
    """

    def __init__(self, folder: Path) -> None:
        note = _read_note(folder)
        self.folder, self.key, self.tokenizer_key = folder, note["key"], note["tokenizer"]
        self.counts: dict[str, int] = note["counts"]
        self.ids = _map(folder / "ids.bin", np.dtype(note["dtype"]), note["tokens"])
        self.sentence_starts = _map(folder / "sentences.bin", np.dtype(np.int64), note["sentences"] + 1)
        self.document_starts = _map(folder / "documents.bin", np.dtype(np.int64), note["documents"] + 1)

    def __len__(self) -> int:
        return len(self.document_starts) - 1

    def bounds(self, document: int) -> list[int]:
        """Where the sentences of a document start in ids, and where the last one ends."""
        first, last = self.document_starts[document : document + 2]
        return self.sentence_starts[first : last + 1].tolist()

    def split(self, fraction: float, seed: int = 0) -> tuple[Array, Array]:
        """The numbers of the documents to train with, and of those to evaluate with: `fraction` of all, but at least one."""
        if not 0 < fraction < 1 or len(self) < 2:
            raise ValueError(
                f"{fraction!r} of {len(self)} documents cannot be set aside: a part of at least two, not all"
            )
        check_seed(seed)
        order = np.random.default_rng([int(seed), 1]).permutation(len(self))
        n = min(max(1, round(fraction * len(self))), len(self) - 1)
        return np.sort(order[n:]), np.sort(order[:n])


def tokenize_corpus(
    paths: str | os.PathLike | Iterable[str | os.PathLike],
    tokenizer: AlbertTokenizer,
    form: TextForm | None = None,
    *,
    cache_dir: str | os.PathLike | None = None,
    progress: bool = False,
) -> TokenCorpus:
    """The tokens of some text files. They are read from cache_dir if they are there; else they are made and kept there.

    Without a cache_dir the corpus is in a temporary folder, which is removed with the object. [MASK] and the like are plain
    text if they occur in the text. progress shows a progress bar. Raises OSError or ValueError, like read_documents.
    """
    form, named = TextForm() if form is None else form, text_paths(paths)
    if cache_dir is None:
        folder = Path(tempfile.mkdtemp(prefix="albert_np-tokens-"))
        try:
            _build(folder, corpus_key(named, tokenizer, form), named, tokenizer, form, progress)
            corpus = TokenCorpus(folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        weakref.finalize(corpus, shutil.rmtree, folder, ignore_errors=True)
        return corpus
    if not isinstance(cache_dir, (str, os.PathLike)) or "\0" in str(cache_dir):
        raise ValueError(f"cache_dir must be the path of a folder; got {shown(repr(cache_dir), 80)}")
    cache_dir = Path(cache_dir)
    key = corpus_key(named, tokenizer, form)
    folder = cache_dir / f"tokens-{key[:32]}"
    if not folder.exists():
        cache_dir.mkdir(parents=True, exist_ok=True)
        temporary = cache_dir / f".{folder.name}.{secrets.token_hex(6)}.tmp"
        temporary.mkdir()
        try:
            _build(temporary, key, named, tokenizer, form, progress)
            try:
                temporary.rename(folder)
            except OSError:
                if not folder.exists():  # else another process was first, with the same content
                    raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    corpus = TokenCorpus(folder)
    if corpus.key != key:
        raise ValueError(f"{folder} holds the tokens of another text; if you remove the folder, it is made again")
    return corpus


def corpus_key(paths: Iterable[Path], tokenizer: AlbertTokenizer, form: TextForm) -> str:
    """A hash of all that decides the tokens: the bytes of the files in order, how they are read, vocabulary and style."""
    digest = hashlib.sha256()
    files = []
    for path in paths:
        with open_binary(path) as file:
            files.append(hashlib.file_digest(file, "sha256").hexdigest())
    about = {"version": VERSION, "files": files, "form": asdict(form), "tokenizer": tokenizer_key(tokenizer)}
    digest.update(json.dumps(about, sort_keys=True).encode())
    return digest.hexdigest()


def tokenizer_key(tokenizer: AlbertTokenizer) -> str:
    """A hash of all that decides which ids a text gets."""
    spiece = tokenizer._spiece
    vocabulary = json.dumps(tokenizer.to_json()).encode() if tokenizer.is_fast or spiece is None else spiece.data
    settings = [tokenizer.style, tokenizer.do_lower_case, tokenizer.remove_space, tokenizer.keep_accents]
    added = {index: str(token) for index, token in tokenizer.added_tokens_decoder.items()}
    return hashlib.sha256(vocabulary + json.dumps([settings, added], sort_keys=True).encode()).hexdigest()


def encode_text(tokenizer: AlbertTokenizer, text: str) -> list[int]:
    """The ids of a text. Special tokens that are spelled out in the text are plain text."""
    return tokenizer._encoder.encode(text, spans=False, split_special_tokens=True).ids


def _build(
    folder: Path, key: str, paths: list[Path], tokenizer: AlbertTokenizer, form: TextForm, progress: bool
) -> None:
    counts = TextCounts()
    least = max(2, form.min_sentences)  # one sentence makes no pair, whoever allows it
    dtype = np.dtype("<u2") if len(tokenizer) <= 1 << 16 else np.dtype("<i4")
    # A run of characters without a piece comes back as it is written. It may read "[SEP]", but it is not that token.
    special, unknown = frozenset(tokenizer.all_special_ids), tokenizer.unk_token_id
    tokens = sentences = documents = tokenless = unknown_tokens = too_short = 0
    with (folder / "ids.bin").open("wb") as id_file, (folder / "sentences.bin").open("wb") as sentence_file:
        ids, starts, ends = array("i"), array("q", [0]), array("q", [0])
        for document in _with_bar(read_documents(paths, form, counts), progress):
            encoded = [encode_text(tokenizer, sentence) for sentence in document]
            encoded = [sentence for sentence in encoded if sentence]
            tokenless += len(document) - len(encoded)
            if len(encoded) < least:
                too_short += 1
                continue
            for sentence in encoded:
                if not special.isdisjoint(sentence):
                    sentence = [unknown if index in special else index for index in sentence]
                    unknown_tokens += sentence.count(unknown)
                ids.extend(sentence)
                tokens += len(sentence)
                starts.append(tokens)
            sentences += len(encoded)
            documents += 1
            ends.append(sentences)
            if len(ids) > FLUSH:
                id_file.write(np.array(ids, dtype).tobytes())
                sentence_file.write(np.array(starts, "<i8").tobytes())
                del ids[:], starts[:]
        id_file.write(np.array(ids, dtype).tobytes())
        sentence_file.write(np.array(starts, "<i8").tobytes())
    if not documents:
        raise ValueError(f"{paths[0]}: no document has {least} sentences with any token of this vocabulary")
    (folder / "documents.bin").write_bytes(np.array(ends, "<i8").tobytes())
    counted = counts.as_dict()
    counted["short_documents"] += too_short
    counted |= {"documents": documents, "sentences": sentences, "tokens": tokens}
    counted |= {"tokenless_sentences": tokenless, "unknown_tokens": unknown_tokens}
    note = {"version": VERSION, "key": key, "tokenizer": tokenizer_key(tokenizer), "dtype": dtype.str}
    note |= {"documents": documents, "sentences": sentences, "tokens": tokens, "counts": counted}
    (folder / NOTE).write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())  # or a power cut could leave the folder's name on empty files


def _with_bar(documents: Iterator[list[str]], progress: bool) -> Iterable[list[str]]:
    if not progress:
        return documents
    from tqdm import tqdm

    return tqdm(documents, desc="tokenizing", unit=" documents", disable=None)


def _read_note(folder: Path) -> dict[str, Any]:
    damaged = f"{shown(folder, 300)} is damaged; if you remove the folder, it is made again"
    try:
        note = read_json(folder / NOTE, 1 << 20)
    except (OSError, ValueError) as error:
        raise ValueError(f"{damaged} ({error})") from error
    kinds: dict[str, type] = {"version": int, "tokens": int, "sentences": int, "documents": int}
    kinds |= {"key": str, "tokenizer": str, "dtype": str, "counts": dict}
    if not isinstance(note, dict) or any(type(note.get(name)) is not kind for name, kind in kinds.items()):
        raise ValueError(damaged)
    if note["version"] != VERSION or note["dtype"] not in ("<u2", "<i4"):
        raise ValueError(damaged)
    return note


def _map(path: Path, dtype: np.dtype, length: int) -> Array:  # -> (length,)
    size = path.stat().st_size if path.is_file() else -1
    if length < 1 or size != length * dtype.itemsize:
        raise ValueError(f"{path} is damaged; if you remove its folder, it is made again")
    # a plain array over the mapping: slices of np.memmap itself take three times as long
    return np.asarray(np.memmap(path, dtype, "r", shape=(length,)))
