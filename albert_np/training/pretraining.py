"""Pre-training data: documents become packed pairs `[CLS] A [SEP] B [SEP]`; some words are hidden, and half the pairs swapped.

Source: ALBERT, sections 3.1 (sentence order prediction) and 4.1; google-research/albert create_pretraining_data.py. packing.py
and masking.py say what is different here.

Every random number depends only on the seed, the epoch, and the document or example that it is for. So an example is the same
for every batch size, and to continue from a place, the number of that place is enough.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from albert_np.checkpoints.initialise import check_seed
from albert_np.files import shown
from albert_np.ops import IGNORE_INDEX, Array
from albert_np.tokenization.tokenizer import AlbertTokenizer
from albert_np.training.masking import WORD_RULES, mask_words, pieces_of
from albert_np.training.packing import Pair, pack_document
from albert_np.training.token_corpus import TokenCorpus, tokenizer_key


@dataclass(frozen=True)
class PretrainingOptions:
    """What examples are like. max_predictions None: no limit but the probability's.

    single_probability: the part of the examples with one segment, `[CLS] A [SEP]`, as when a model is used on a single text.
    ALBERT's examples are all pairs.
    """

    max_length: int = 512
    short_probability: float = 0.1
    single_probability: float = 0.0
    mask_probability: float = 0.15
    max_ngram: int = 3
    max_predictions: int | None = None
    word_rule: str = "space"

    def __post_init__(self) -> None:
        for name, least in (("max_length", 5), ("max_ngram", 1), ("max_predictions", 1)):
            value = getattr(self, name)
            if (type(value) is not int or value < least) and not (name == "max_predictions" and value is None):
                raise ValueError(f"{name} must be a whole number of at least {least}; got {shown(repr(value), 80)}")
        for name in ("short_probability", "single_probability", "mask_probability"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not 0 <= value <= 1:
                raise ValueError(f"{name} must be a number from 0 to 1; got {shown(repr(value), 80)}")
        if self.word_rule not in WORD_RULES:
            raise ValueError(f"word_rule must be one of {', '.join(WORD_RULES)}; got {shown(repr(self.word_rule), 80)}")


class PretrainingData:
    """An iterator over batches of packed, masked pairs. It can say where it is, and continue from there.

    A batch has input_ids, attention_mask, token_type_ids and labels (B,T), sentence_order_label (B,): 0 as in the text, 1
    swapped, -100 (ignored) for a single segment; all int64, as AlbertForPreTraining takes them. T is the longest of the batch,
    or max_length with padding="max_length".

    Each epoch goes through the documents in a new order, with new pairs and new masks. About `shuffle` pairs at a time (of
    whole documents) are gathered, mixed and given out; 0 keeps the order of the text. group_by_length: the pairs of this
    many batches in a row have similar lengths, so that there is little padding, and such groups come in random order; the
    last batch of a gathering may then be smaller. With epochs=None the data never ends; otherwise the last batch of the last
    epoch may be smaller. documents: the numbers of the documents to use (None: all), as from TokenCorpus.split.

    After its end it gives nothing more, even after restore(), until rewind() starts it again.
    """

    def __init__(
        self,
        corpus: TokenCorpus,
        tokenizer: AlbertTokenizer,
        *,
        batch_size: int,
        options: PretrainingOptions | None = None,
        seed: int = 0,
        epochs: int | None = None,
        shuffle: int = 1 << 14,
        group_by_length: int = 0,
        padding: str = "longest",
        documents: Sequence[int] | Array | None = None,
    ) -> None:
        self.corpus, self.options = corpus, PretrainingOptions() if options is None else options
        check_seed(seed)
        least = {
            "batch_size": (batch_size, 1),
            "shuffle": (shuffle, 0),
            "epochs": (epochs, 1),
            "group_by_length": (group_by_length, 0),
        }
        for name, (value, bound) in least.items():
            if (type(value) is not int or value < bound) and not (name == "epochs" and value is None):
                raise ValueError(f"{name} must be a whole number of at least {bound}; got {shown(repr(value), 80)}")
        if group_by_length and not shuffle:
            raise ValueError(
                "group_by_length changes the order of the text, which shuffle=0 keeps: give shuffle a number"
            )
        if padding not in ("longest", "max_length"):
            raise ValueError(f"padding must be 'longest' or 'max_length'; got {shown(repr(padding), 80)}")
        self.batch_size, self.seed, self.epochs, self.shuffle, self.padding = (
            batch_size,
            int(seed),
            epochs,
            shuffle,
            padding,
        )
        self._documents = np.arange(len(corpus)) if documents is None else _chosen(documents, len(corpus))
        self._pieces = pieces_of(tokenizer, self.options.word_rule)
        if tokenizer.pad_token_id is None:
            raise ValueError("this tokenizer has no pad_token, so it cannot pad; load it with pad_token='<pad>'")
        self._cls, self._sep, self._pad = tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id
        if tokenizer_key(tokenizer) != corpus.tokenizer_key:
            raise ValueError("this corpus was made with another tokenizer: its ids mean other pieces here")
        self._group = batch_size * group_by_length
        decides = json.dumps([corpus.key, asdict(self.options), self.seed, shuffle, self._group]).encode()
        self._fingerprint = hashlib.sha256(decides + self._documents.tobytes()).hexdigest()[:32]
        self.rewind()

    def rewind(self) -> None:
        """Goes back to the first example of the first epoch."""
        self._go_to(0, 0, 0)

    def _go_to(self, epoch: int, document: int, example: int) -> None:
        self._epoch, self._document, self._example = epoch, document, example  # the last within its block
        self._order: Array | None = None  # documents of the epoch, in its order
        self._block: list[tuple[Pair, int, int]] | None = None  # pairs, their documents and numbers there
        self._block_end = document

    # --------------------------------------------------------------------------------------------------- where it is

    def state(self) -> dict[str, Any]:
        """The place of the next example, ready for JSON. restore() of it continues with exactly that example."""
        return {
            "fingerprint": self._fingerprint,
            "epoch": self._epoch,
            "document": self._document,
            "example": self._example,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continues like the object that gave this state(). Padding and the number of epochs may differ; so may the batch
        size, unless examples are grouped by length.

        Raises ValueError if the text, the vocabulary, the options or the seed differ, or if this is not a state.
        """
        names = ("epoch", "document", "example")
        if not isinstance(state, Mapping) or set(state) != {"fingerprint", *names}:
            raise ValueError(f"this is no state of pre-training data: {shown(repr(state), 200)}")
        if any(type(state[name]) is not int or state[name] < 0 for name in names):
            raise ValueError(f"a state's numbers are whole and not negative; got {shown(repr(state), 200)}")
        if state["fingerprint"] != self._fingerprint:
            raise ValueError(
                "this state belongs to other data: text, vocabulary, options, seed, shuffle, grouping and documents must be "
                "those it was saved with"
            )
        if state["document"] >= len(self._documents):
            raise ValueError(f"a state at document {state['document']} of {len(self._documents)}")
        self._go_to(*(state[name] for name in names))

    # ------------------------------------------------------------------------------------------------------ examples

    def __iter__(self) -> Iterator[dict[str, Array]]:
        return self

    def __next__(self) -> dict[str, Array]:
        examples: list[tuple[Pair, int, int, int]] = []
        while len(examples) < self.batch_size and (self.epochs is None or self._epoch < self.epochs):
            examples.append(self._next_example())
            if self._group and self._block is None:
                break  # the pairs that follow are of another length
        if not examples:
            raise StopIteration
        singles = self.options.single_probability
        rows = [self._row(*example, singles) for example in examples]
        if all(order == IGNORE_INDEX for *_, order in rows):
            rows[-1] = self._row(*examples[-1], 0.0)  # a batch without a pair would have no loss of the order: NaN
        return self._batch(rows)

    def _next_example(self) -> tuple[Pair, int, int, int]:
        """A pair, its epoch, its document, and its number there."""
        if self._block is None:
            self._fill_block()
        assert self._block is not None
        pair, document, number = self._block[self._example]
        example = pair, self._epoch, document, number
        self._example += 1
        if self._example == len(self._block):
            self._block = None
            self._document, self._example = self._block_end, 0
            if self._document == len(self._documents):
                self._epoch, self._document, self._order = self._epoch + 1, 0, None
        return example

    def _random(self, *where: int) -> random.Random:
        """A generator of its own for each place. Python hashes the text, so neighbours have nothing in common."""
        return random.Random(" ".join(map(str, (self.seed, *where))))

    def pairs_in(self, epoch: int = 0) -> int:
        """How many examples an epoch has: a few more or less than another, where some are shorter. Packs every document."""
        return sum(len(self._pairs(epoch, int(document))) for document in self._documents)

    def _pairs(self, epoch: int, document: int) -> list[Pair]:
        room = self.options.max_length - 3  # [CLS], [SEP], [SEP]
        rng = self._random(epoch, document)
        return pack_document(self.corpus.bounds(document), room, self.options.short_probability, rng)

    def _fill_block(self) -> None:
        """Gather the pairs of whole documents, from self._document on, until there are `shuffle` of them, and mix them."""
        if self._order is None:
            self._order = self._documents
            if self.shuffle:
                self._order = np.random.default_rng([self.seed, self._epoch]).permutation(self._documents)
        block: list[tuple[Pair, int, int]] = []
        end = self._document
        while end < len(self._order) and len(block) < max(self.shuffle, 1):
            document = int(self._order[end])
            block += [(pair, document, number) for number, pair in enumerate(self._pairs(self._epoch, document))]
            end += 1
        if self.shuffle:
            rng = np.random.default_rng([self.seed, self._epoch, self._document])
            order = rng.permutation(len(block))
            if self._group:
                order = _grouped(order, np.array([_length(pair) for pair, *_ in block]), self._group, rng)
            block = [block[i] for i in order]
        if self._example >= len(block):
            raise ValueError(f"a state at example {self._example} of {len(block)}")
        self._block, self._block_end = block, end

    def _row(self, pair: Pair, epoch: int, document: int, number: int, singles: float) -> tuple[Array, Array, int, int]:
        """One example: masked ids (T,), labels (T,), where B begins, the label of the order."""
        options, rng, order = self.options, self._random(epoch, document, number), int(pair.swapped)
        segments = [self.corpus.ids[pair.a_start : pair.a_end], self.corpus.ids[pair.b_start : pair.b_end]]
        if singles and rng.random() < singles:
            order = IGNORE_INDEX
            start, end = min(pair.a_start, pair.b_start), max(pair.a_end, pair.b_end)
            segments = [self.corpus.ids[start : min(end, start + options.max_length - 2)]]  # [CLS], [SEP]
        separators = np.cumsum([0] + [len(segment) + 1 for segment in segments]).tolist()
        row = np.full(separators[-1] + 1, self._sep, np.int64)
        row[0] = self._cls
        for first, segment in zip(separators, segments, strict=False):
            row[first + 1 : first + 1 + len(segment)] = segment
        masked, labels = mask_words(
            row,
            separators,
            self._pieces,
            rng,
            probability=options.mask_probability,
            max_ngram=options.max_ngram,
            max_predictions=options.max_predictions,
        )
        return masked, labels, separators[1] + 1, order

    def _batch(self, rows: list[tuple[Array, Array, int, int]]) -> dict[str, Array]:
        B = len(rows)
        T = self.options.max_length if self.padding == "max_length" else max(len(ids) for ids, *_ in rows)
        batch = {
            "input_ids": np.full((B, T), self._pad, np.int64),
            "attention_mask": np.zeros((B, T), np.int64),
            "token_type_ids": np.zeros((B, T), np.int64),
            "labels": np.full((B, T), IGNORE_INDEX, np.int64),
            "sentence_order_label": np.array([order for *_, order in rows], np.int64),
        }
        for i, (ids, labels, second, _) in enumerate(rows):
            n = len(ids)
            batch["input_ids"][i, :n], batch["labels"][i, :n] = ids, labels
            batch["attention_mask"][i, :n] = 1
            batch["token_type_ids"][i, second:n] = 1
        return batch


def _length(pair: Pair) -> int:
    return pair.a_end - pair.a_start + pair.b_end - pair.b_start


def _grouped(order: Array, lengths: Array, size: int, rng: np.random.Generator) -> Array:  # (n,), (n,) -> (n,)
    """The same numbers, `size` of like length side by side, such groups in any order, what is left over last."""
    by_length = order[np.argsort(lengths[order], kind="stable")]  # of equal ones, in the order that is mixed already
    over = len(order) % size
    first = int(rng.integers(len(order) - over + 1))  # of those left over, which would always be the longest
    left_over = slice(first, first + over)
    groups = np.delete(by_length, left_over).reshape(-1, size)
    return np.concatenate([rng.permutation(groups).reshape(-1), by_length[left_over]])


def _chosen(documents: Sequence[int] | Array, count: int) -> Array:  # -> (n,) int64
    numbers = np.asarray(documents)
    if numbers.ndim != 1 or not numbers.size or numbers.dtype.kind not in "iu":
        raise ValueError(f"documents must be the numbers of at least one; got {shown(repr(documents), 80)}")
    numbers = numbers.astype(np.int64)
    if numbers.min() < 0 or numbers.max() >= count or len(np.unique(numbers)) != len(numbers):
        raise ValueError(f"documents must be different numbers from 0 to {count - 1}, as many as the corpus has")
    return numbers
