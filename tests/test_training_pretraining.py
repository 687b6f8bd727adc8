"""Pre-training data against what the paper and google-research/albert say of it, counted on what comes out."""

import hashlib
import json
import math
import os
import random
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import TINY_MODEL, unmeasured
from support.refusals import refusal

from albert_np import AlbertConfig, AlbertForPreTraining, AlbertTokenizer
from albert_np.training import token_corpus
from albert_np.training.documents import TextForm
from albert_np.training.masking import choose_ngrams, mask_words, ngram_probabilities, pieces_of
from albert_np.training.packing import pack_document
from albert_np.training.pretraining import PretrainingData, PretrainingOptions
from albert_np.training.token_corpus import tokenize_corpus

FORM = TextForm(lines="sentences")
CLS, SEP, MASK, PAD = 2, 3, 4, 0


@pytest.fixture(scope="module")
def tokenizer():
    return AlbertTokenizer.from_pretrained(TINY_MODEL)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """The tests' text in documents of 2 to 21 sentences."""
    lines = (TINY_MODEL / "text.txt").read_text("utf-8").split("\n")
    path = tmp_path_factory.mktemp("text") / "text.txt"
    blocks, at = [], 0
    while at + 2 < len(lines):
        n = 2 + (7 * len(blocks)) % 20
        blocks.append("\n".join(lines[at : at + n]))
        at += n
    path.write_text("\n\n".join(blocks), "utf-8")
    return path


@pytest.fixture(scope="module")
def corpus(text, tokenizer):
    return tokenize_corpus(text, tokenizer, FORM)


def data(
    corpus,
    tokenizer,
    batch_size=4,
    *,
    max_length=32,
    seed=0,
    epochs=1,
    shuffle=20,
    group=0,
    padding="longest",
    **options,
):
    return PretrainingData(
        corpus,
        tokenizer,
        batch_size=batch_size,
        options=PretrainingOptions(max_length, **options),
        seed=seed,
        epochs=epochs,
        shuffle=shuffle,
        group_by_length=group,
        padding=padding,
    )


def same(a, b):
    return a.keys() == b.keys() and all(a[k].dtype == b[k].dtype and np.array_equal(a[k], b[k]) for k in a)


def rows(batches):
    """(ids, types, labels, order) of each example, without padding."""
    for batch in batches:
        for i, n in enumerate(batch["attention_mask"].sum(axis=1)):
            ids, types, labels = (batch[name][i, :n] for name in ("input_ids", "token_type_ids", "labels"))
            yield ids, types, labels, int(batch["sentence_order_label"][i])


def within(count, n, p, deviations=4.5):
    """Whether a binomial count lies where it does but once in 10⁵ seeds."""
    return abs(count - n * p) <= deviations * math.sqrt(n * p * (1 - p))


# ------------------------------------------------------------------------------------------------------------- corpus


def test_a_corpus_holds_the_ids_of_every_sentence_in_order(corpus, text, tokenizer):
    documents = [block.split("\n") for block in text.read_text("utf-8").strip().split("\n\n")]
    assert len(corpus) == len(documents) == corpus.counts["documents"]
    for number, document in enumerate(documents):
        bounds = corpus.bounds(number)
        found = [corpus.ids[a:b].tolist() for a, b in pairwise(bounds)]
        assert found == [tokenizer.encode(sentence, add_special_tokens=False) for sentence in document]


def test_special_tokens_in_a_text_are_text(tmp_path, tokenizer):
    path = tmp_path / "text.txt"
    path.write_text("A [MASK] and [SEP] here.\n<pad> [CLS] <unk>\n\u0416\u0416[SEP]\u0416 \U0001f600\n", "utf-8")
    found = tokenize_corpus(path, tokenizer, FORM)
    assert set(found.ids.tolist()) & set(tokenizer.all_special_ids) == {tokenizer.unk_token_id}
    assert found.counts["unknown_tokens"] == np.count_nonzero(found.ids == tokenizer.unk_token_id) > 0


def test_sentences_without_tokens_are_left_out_and_counted(tmp_path, tokenizer):
    path = tmp_path / "text.txt"
    path.write_text("a\n\u200b\nb\n\n\u200b\nc\n", "utf-8")
    found = tokenize_corpus(path, tokenizer, FORM, progress=True)  # a bar, but none where there is no terminal
    assert (found.counts["tokenless_sentences"], found.counts["short_documents"], len(found)) == (2, 1, 1)
    path.write_text("a\nb\n\nalone\n", "utf-8")
    lonely = tokenize_corpus(path, tokenizer, TextForm(lines="sentences", min_sentences=1))
    assert (len(lonely), lonely.counts["short_documents"]) == (1, 1)  # one sentence has no order
    path.write_text("\u200b\n\u200b\n", "utf-8")
    assert "no document has 2 sentences with any token" in refusal(tokenize_corpus, path, tokenizer, FORM)


def test_a_cache_is_made_once_and_again_where_anything_changes(text, tokenizer, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    first = tokenize_corpus(text, tokenizer, FORM, cache_dir=cache)
    monkeypatch.setattr(token_corpus, "_build", None)  # nothing may be built now
    again = tokenize_corpus(text, tokenizer, FORM, cache_dir=cache)
    assert again.key == first.key
    assert np.array_equal(again.ids, first.ids)
    copy = tmp_path / "copy.txt"
    copy.write_bytes(text.read_bytes())
    assert tokenize_corpus(copy, tokenizer, FORM, cache_dir=cache).key == first.key  # the name does not count
    monkeypatch.undo()
    copy.write_bytes(text.read_bytes() + b"\nOne more.\n")
    cased = AlbertTokenizer.from_pretrained(TINY_MODEL, do_lower_case=False)
    others = [
        tokenize_corpus(copy, tokenizer, FORM, cache_dir=cache),
        tokenize_corpus(text, cased, FORM, cache_dir=cache),
        tokenize_corpus(text, tokenizer, TextForm(lines="sentences", min_sentences=3), cache_dir=cache),
    ]
    assert len({first.key, *(other.key for other in others)}) == 4
    assert len(list(cache.iterdir())) == 4


def test_a_cache_appears_whole_or_not_at_all(text, tokenizer, tmp_path, monkeypatch):
    assert "cache_dir must be the path" in refusal(tokenize_corpus, text, tokenizer, FORM, cache_dir=5)
    calls = []

    def stop(*arguments):
        calls.append(arguments)
        if len(calls) == 100:
            raise KeyboardInterrupt
        return [5]

    monkeypatch.setattr(token_corpus, "encode_text", stop)
    with pytest.raises(KeyboardInterrupt):
        tokenize_corpus(text, tokenizer, FORM, cache_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_two_may_build_the_same_cache(text, tokenizer, tmp_path, monkeypatch):
    build = token_corpus._build

    def second_is_first(*arguments):
        monkeypatch.setattr(token_corpus, "_build", build)
        tokenize_corpus(text, tokenizer, FORM, cache_dir=tmp_path)
        build(*arguments)

    monkeypatch.setattr(token_corpus, "_build", second_is_first)
    assert len(tokenize_corpus(text, tokenizer, FORM, cache_dir=tmp_path)) > 5
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["ids.bin", "sentences.bin", "documents.bin", "corpus.json"])
def test_a_damaged_cache_is_refused_with_what_to_do(name, text, tokenizer, tmp_path):
    folder = tokenize_corpus(text, tokenizer, FORM, cache_dir=tmp_path).folder
    for change in (lambda path: path.write_bytes(path.read_bytes()[:-2]), lambda path: path.unlink()):
        change(folder / name)
        message = refusal(tokenize_corpus, text, tokenizer, FORM, cache_dir=tmp_path)
        assert "is damaged; if you remove" in message
        assert str(folder) in message


def test_a_corpus_without_a_cache_leaves_nothing_behind(text, tokenizer):
    found = tokenize_corpus(text, tokenizer, FORM)
    folder = found.folder
    assert folder.is_dir()
    del found
    assert not folder.exists()


def test_documents_are_set_aside(corpus):
    train, evaluate = corpus.split(0.2, seed=3)
    assert sorted([*train, *evaluate]) == list(range(len(corpus)))
    assert len(evaluate) == round(0.2 * len(corpus))
    assert [x.tolist() for x in corpus.split(0.2, seed=3)] == [train.tolist(), evaluate.tolist()]
    assert corpus.split(0.2, seed=4)[1].tolist() != evaluate.tolist()
    assert "cannot be set aside" in refusal(corpus.split, 1.0)


# ------------------------------------------------------------------------------------------------------------ packing

LENGTHS = st.lists(st.integers(1, 30), min_size=2, max_size=25)


def in_text_order(pair):
    """The two stretches (start, end) of a pair as they stand in the text."""
    a, b = (pair.a_start, pair.a_end), (pair.b_start, pair.b_end)
    return (b, a) if pair.swapped else (a, b)


@settings(deadline=None, max_examples=200)
@given(st.integers(2, 60), st.integers(2, 30), st.sampled_from([0.0, 0.3, 1.0]), st.integers(0, 99))
def test_pairs_joined_are_the_text(n, room, short, seed):
    """Sentences of one token fill every pair to the point, so nothing is cut, and nothing may be missing."""
    end = 0
    for pair in pack_document(range(n + 1), room, short, random.Random(seed)):
        first, second = in_text_order(pair)
        assert first[0] < first[1] == second[0] < second[1] <= n
        assert first[0] == end or (first[0] == end - 1 and second[1] == n)  # the last one may borrow a sentence
        assert second[1] - first[0] <= room
        end = second[1]
    assert end == n


@settings(deadline=None, max_examples=200)
@given(LENGTHS, st.integers(2, 60), st.sampled_from([0.0, 0.3]), st.integers(0, 99))
def test_pairs_are_two_stretches_in_order_and_swapped_is_swapped(lengths, room, short, seed):
    bounds = [100, *(100 + int(x) for x in np.cumsum(lengths))]
    pairs = pack_document(bounds, room, short, random.Random(seed))
    after = 100
    for pair in pairs:
        first, second = in_text_order(pair)
        assert first[0] < first[1] <= second[0] < second[1]
        total = first[1] - first[0] + second[1] - second[0]
        if total < room:  # nothing was cut
            assert {first[0], first[1], second[0], second[1]} <= set(bounds)
            assert first[1] == second[0]
        else:
            assert total == room
        assert any(first[0] < bound < second[1] for bound in bounds)  # sentences, not halves of one
        assert second[1] > after  # every pair has text that no pair before it had
        after = second[1]


@settings(deadline=None, max_examples=200)
@given(LENGTHS, st.integers(0, 99))
def test_with_room_for_all_every_sentence_is_in_the_one_pair(lengths, seed):
    bounds = [0, *(int(x) for x in np.cumsum(lengths))]
    (pair,) = pack_document(bounds, bounds[-1] + 1, 0.0, random.Random(seed))
    first, second = in_text_order(pair)
    assert (first[0], second[1]) == (0, bounds[-1])
    assert first[1] == second[0]
    assert first[1] in bounds


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(2, 30), st.integers(0, 99))
def test_truncation_takes_from_the_longer_as_truncate_seq_pair(a, b, room, seed):
    (pair,) = pack_document([0, a, a + b], room, 0.0, random.Random(seed))
    lengths = [b, a] if pair.swapped else [a, b]
    while sum(lengths) > room:  # create_pretraining_data.py, truncate_seq_pair
        lengths[0 if lengths[0] > lengths[1] else 1] -= 1
    assert [pair.a_end - pair.a_start, pair.b_end - pair.b_start] == lengths


def test_truncation_takes_from_front_and_back_alike():
    fronts = []
    for seed in range(300):
        (pair,) = pack_document([0, 1, 101], 51, 0.0, random.Random(seed))
        _, second = in_text_order(pair)
        assert second[1] - second[0] == 50
        fronts.append(second[0] - 1)  # of 50 tokens cut from the second sentence, those at its front
    assert within(sum(fronts), 300 * 50, 0.5)
    assert 5 < min(fronts) < max(fronts) < 45


def test_a_sentence_left_over_is_paired_with_the_one_before():
    pairs = pack_document([0, 5, 10, 15], 10, 0.0, random.Random(0))
    stretches = [sorted([(pair.a_start, pair.a_end), (pair.b_start, pair.b_end)]) for pair in pairs]
    assert stretches == [[(0, 5), (5, 10)], [(5, 10), (10, 15)]]


def test_a_sentence_longer_than_the_room_takes_the_next_one_too():
    pairs = pack_document([0, 50, 53, 56, 60], 10, 0.0, random.Random(0))
    first = pairs[0]
    spans = sorted([(first.a_start, first.a_end), (first.b_start, first.b_end)])
    assert spans[1] == (50, 53)
    assert spans[0][1] - spans[0][0] == 7
    assert "two sentences; this document has 1" in refusal(pack_document, [0, 5], 10, 0.1, random.Random(0))


def test_half_are_swapped_and_a_tenth_is_short():
    bounds = list(range(100_001))  # sentences of one token: every target is met exactly
    pairs = pack_document(bounds, 100, 0.1, random.Random(5))
    n = len(pairs)
    lengths = np.array([pair.a_end - pair.a_start + pair.b_end - pair.b_start for pair in pairs[:-1]])
    assert within(sum(pair.swapped for pair in pairs), n, 0.5)
    assert within(np.count_nonzero(lengths < 100), n, 0.1 * 98 / 99)
    short = lengths[lengths < 100]
    assert short.min() < 15
    assert abs(short.mean() - 50.5) < 4.5 * 28.6 / math.sqrt(len(short))
    # where A ends is any place
    share = np.array([(p.b_end - p.b_start if p.swapped else p.a_end - p.a_start) for p in pairs[:-1]])[lengths == 100]
    assert (share.min(), share.max()) == (1, 99)
    assert abs(share.mean() - 50) < 4.5 * 28.6 / math.sqrt(len(share))


# ------------------------------------------------------------------------------------------------------------ masking


def test_ngram_lengths_follow_one_over_n():
    assert ngram_probabilities(3) == pytest.approx([6 / 11, 3 / 11, 2 / 11])
    rng = random.Random(1)
    counts = np.zeros(4)
    for _ in range(300):
        chosen = choose_ngrams([True] * 400, [1] * 400, 60, ngram_probabilities(3), rng.random)
        for _, n in chosen[:-2]:  # the last ones are made to fit the budget
            counts[n] += 1
        words = [word for first, n in chosen for word in range(first, first + n)]
        assert len(words) == len(set(words)) == 60
    for n in (1, 2, 3):
        assert within(counts[n], counts.sum(), ngram_probabilities(3)[n - 1])


def test_every_place_is_as_likely_as_the_next():
    rng = random.Random(2)
    counts = np.zeros(40)
    trials = 4000
    for _ in range(trials):
        ((first, n),) = choose_ngrams([True] * 40, [1] * 40, 3, [0, 0, 1.0], rng.random)
        assert n == 3
        counts[first] += 1
    assert np.all(counts[38:] == 0)
    assert np.sum((counts[:38] - trials / 38) ** 2 / (trials / 38)) < 37 + 4.5 * math.sqrt(2 * 37)  # χ², 37 degrees


def test_a_budget_that_nothing_fits_ends_it_and_unusable_words_stay():
    draw = random.Random(3).random
    assert choose_ngrams([True] * 5, [4] * 5, 3, [1.0], draw) == []
    assert choose_ngrams([False] * 5, [1] * 5, 3, [0, 0, 1.0], draw) == []
    assert sorted(choose_ngrams([True, False, True, False, True], [1] * 5, 9, [0, 0, 1.0], draw)) == [
        (0, 1),
        (2, 1),
        (4, 1),
    ]
    assert choose_ngrams([True, False, True, True, False], [1] * 5, 2, [0, 0, 1.0], draw) == [(2, 2)]


def masked_rows(corpus, tokenizer, epochs=30, **options):
    return list(rows(data(corpus, tokenizer, 16, max_length=64, epochs=epochs, **options)))


@pytest.fixture(scope="module")
def examples(corpus, tokenizer):
    return masked_rows(corpus, tokenizer)


@pytest.fixture(scope="module")
def begins(tokenizer):
    """Whether a piece begins a word, by its text alone."""
    return np.array(
        [token.startswith("\u2581") for token in tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))]
    )


def originals(ids, labels):
    return np.where(labels == -100, ids, labels)


def test_15_percent_are_masked_80_10_10(examples, tokenizer):
    tokens = predictions = 0
    kinds = {"mask": 0, "same": 0, "other": 0}
    replaced = []
    for ids, _, labels, _ in examples:
        at = labels != -100
        budget = max(1, round(len(ids) * 0.15))
        assert at.sum() <= budget
        tokens, predictions = tokens + budget, predictions + int(at.sum())
        kinds["mask"] += np.count_nonzero(ids[at] == MASK)
        kinds["same"] += np.count_nonzero(ids[at] == labels[at])
        other = at & (ids != labels) & (ids != MASK)
        kinds["other"] += np.count_nonzero(other)
        replaced += ids[other].tolist()
    assert predictions > 0.9 * tokens  # of words with several pieces the last does not always fit
    V = len(tokenizer)
    assert within(kinds["mask"], predictions, 0.8)
    assert within(kinds["same"], predictions, 0.1 + 0.1 / V)
    assert within(kinds["other"], predictions, 0.1 - 0.1 / V)
    # random pieces: any ordinary one, none of the special ones, all equally likely
    assert min(replaced) > max(tokenizer.all_special_ids)
    expected = len(replaced) / (V - 5)
    chi = np.sum((np.bincount(replaced, minlength=V)[5:] - expected) ** 2) / expected
    assert abs(chi - (V - 6)) < 4.5 * math.sqrt(2 * (V - 6))


def test_special_pieces_are_never_masked_and_text_is_whole_words(examples, tokenizer, begins):
    special = np.array(tokenizer.all_special_ids)
    for ids, types, labels, _ in examples:
        before = originals(ids, labels)
        n = len(ids)
        second = int(np.argmax(types)) if types.any() else n
        at = labels != -100
        assert not np.isin(labels[at], special).any()
        assert before[0] == CLS
        assert np.flatnonzero(before == SEP).tolist() == [second - 1, n - 1]
        assert np.array_equal(types, np.arange(n) >= second)
        # a piece that begins no word is masked with the piece before it, but where a segment begins
        inside = ~begins[before]
        inside[[0, 1, second - 1, second, n - 1]] = False
        assert np.array_equal(at[1:][inside[1:]], at[:-1][inside[1:]])


def test_without_masking_the_pairs_are_consecutive_text(corpus, tokenizer):
    documents = [corpus.ids[bounds[0] : bounds[-1]].tolist() for bounds in map(corpus.bounds, range(len(corpus)))]
    seen = 0
    for ids, types, labels, order in rows(
        data(corpus, tokenizer, 8, max_length=2000, mask_probability=0.0, short_probability=0.0, seed=7)
    ):
        assert np.all(labels == -100)
        second = int(np.argmax(types))
        a, b = ids[1 : second - 1].tolist(), ids[second:-1].tolist()
        if a + b != b + a:
            assert ((b + a) in documents) == bool(order)
            assert ((a + b) in documents) == (not order)
        seen += 1
    assert seen == len(documents)


@pytest.mark.parity
def test_the_ids_are_those_of_transformers(corpus, tokenizer, text, transformers):
    theirs = transformers.AlbertTokenizer.from_pretrained(str(TINY_MODEL))
    documents = [block.replace("\n", " ") for block in text.read_text("utf-8").strip().split("\n\n")]
    whole = {tuple(theirs.encode(document, add_special_tokens=False)) for document in documents}
    for ids, types, _, order in rows(
        data(corpus, tokenizer, 8, max_length=2000, mask_probability=0.0, short_probability=0.0)
    ):
        second = int(np.argmax(types))
        a, b = ids[1 : second - 1].tolist(), ids[second:-1].tolist()
        assert tuple(b + a if order else a + b) in whole
        assert theirs.build_inputs_with_special_tokens(a, b) == ids.tolist()
        assert theirs.create_token_type_ids_from_sequences(a, b) == types.tolist()


def test_max_predictions_is_kept(corpus, tokenizer):
    counts = [int((labels != -100).sum()) for *_, labels, _ in masked_rows(corpus, tokenizer, 3, max_predictions=3)]
    assert max(counts) == 3


def test_longer_ngrams_only_where_they_are_allowed(corpus, tokenizer, begins):
    for *_, labels, _ in masked_rows(corpus, tokenizer, 1, max_ngram=1, max_predictions=2):
        found = labels[labels != -100]
        assert np.count_nonzero(begins[found]) <= 2


def test_an_unknown_piece_keeps_its_word_from_being_masked(tokenizer):
    pieces = pieces_of(tokenizer)
    word = tokenizer.convert_tokens_to_ids("\u2581the")
    ids = np.array([CLS, word, tokenizer.unk_token_id, SEP, word, SEP])
    for seed in range(20):
        _, labels = mask_words(ids, [0, 3, 5], pieces, random.Random(seed), probability=1.0)
        assert np.flatnonzero(labels != -100).tolist() == [4]
    nothing = np.array([CLS, tokenizer.unk_token_id, SEP, tokenizer.unk_token_id, SEP])
    masked, labels = mask_words(nothing, [0, 2, 4], pieces, random.Random(0))
    assert np.array_equal(masked, nothing)
    assert np.all(labels == -100)


def test_what_a_word_is_follows_the_rule_that_is_asked_for(tokenizer):
    def begin(rule):
        table = pieces_of(tokenizer, rule).begins_word
        return {token for token, index in tokenizer.get_vocab().items() if table[index]}

    space, google = begin("space"), begin("google")
    assert begin("piece") == set(tokenizer.get_vocab())
    assert space == {token for token in tokenizer.get_vocab() if token.startswith("\u2581")}
    assert space < google
    assert {".", ",", '"', "(", "\u20ac", "\u2013", "1"} & set(tokenizer.get_vocab()) <= google - space
    assert {"s", "ing", "ed"} & set(tokenizer.get_vocab()) <= set(tokenizer.get_vocab()) - google
    assert "word_rule must be one of space, google, piece" in refusal(pieces_of, tokenizer, "bert")


# ------------------------------------------------------------------------------------------------------------ batches


def test_batches_are_what_the_model_takes(corpus, tokenizer):
    model = AlbertForPreTraining(AlbertConfig.from_pretrained(TINY_MODEL), seed=0)
    (*_, last) = batches = list(data(corpus, tokenizer, 5))
    for batch in batches:
        assert {array.dtype for array in batch.values()} == {np.dtype(np.int64)}
        B, T = batch["input_ids"].shape
        assert batch["sentence_order_label"].shape == (B,)
        assert all(batch[k].shape == (B, T) for k in ("attention_mask", "token_type_ids", "labels"))
        assert T == batch["attention_mask"].sum(axis=1).max() <= 32
        padding = batch["attention_mask"] == 0
        assert np.all(batch["input_ids"][padding] == PAD)
        assert np.all(batch["labels"][padding] == -100)
        assert B == 5 or batch is last
    assert np.isfinite(model(**batches[0]).loss)
    fixed = next(data(corpus, tokenizer, 5, padding="max_length"))
    assert fixed["input_ids"].shape == (5, 32)
    assert np.array_equal(fixed["input_ids"][:, : batches[0]["input_ids"].shape[1]], batches[0]["input_ids"])


def test_an_example_depends_on_neither_the_batch_size_nor_the_padding(corpus, tokenizer):
    def examples(**options):
        return [
            tuple(map(np.ndarray.tolist, row[:3])) + row[3:]
            for row in rows(data(corpus, tokenizer, epochs=2, **options))
        ]

    assert examples(batch_size=3) == examples(batch_size=7, padding="max_length")
    assert sorted(map(str, examples(shuffle=0))) == sorted(map(str, examples(shuffle=1000)))  # an order, nothing else
    assert examples(shuffle=0) != examples(shuffle=1000)
    assert examples(seed=1) != examples(seed=2)


def test_single_pieces_are_hidden_by_themselves(corpus, tokenizer):
    """Of a word of two pieces, one may be hidden and the other not."""
    pieces = pieces_of(tokenizer)

    def parted(rule):
        count = 0
        for ids, _, labels, _ in rows(data(corpus, tokenizer, max_length=200, max_ngram=1, word_rule=rule)):
            text, hidden = originals(ids, labels), labels != -100
            inside = ~pieces.begins_word[text[1:]] & ~pieces.special[text[1:]] & ~pieces.special[text[:-1]]
            count += int(np.sum(inside & (hidden[1:] != hidden[:-1])))
        return count

    assert parted("space") == 0
    assert parted("piece") > 100


@pytest.mark.parametrize("together", [1, 3])
def test_batches_of_like_length_hold_the_same_examples_with_less_padding(corpus, tokenizer, together):
    def examples(batches):
        return sorted((ids.tolist(), labels.tolist(), order) for ids, _, labels, order in rows(batches))

    options = {"max_length": 64, "short_probability": 0.8, "shuffle": 1000}
    mixed, grouped = (list(data(corpus, tokenizer, 4, group=group, **options)) for group in (0, together))
    assert examples(grouped) == examples(mixed)
    padding = [np.mean(np.concatenate([1 - b["attention_mask"].ravel() for b in x])) for x in (mixed, grouped)]
    assert padding[1] < 0.3 * padding[0]
    lengths = [batch["attention_mask"].sum(axis=1) for batch in grouped]
    whole = len(mixed) // together * together if len(lengths[-1]) == 4 else (len(mixed) - 1) // together * together
    spans = [np.concatenate(lengths[i : i + together]) for i in range(0, whole, together)]
    spans = sorted((int(x.min()), int(x.max())) for x in spans)
    assert all(a[1] <= b[0] for a, b in pairwise(spans))  # no two groups overlap
    assert [int(x.max()) for x in lengths] != sorted(int(x.max()) for x in lengths)  # and they come mixed


def test_a_gathering_ends_with_a_smaller_batch_where_lengths_are_grouped(corpus, tokenizer):
    """So that the batches of the next one are groups again."""
    batches = list(data(corpus, tokenizer, 4, group=1, shuffle=30))
    sizes = [len(batch["input_ids"]) for batch in batches]
    pairs = len(list(rows(data(corpus, tokenizer, 4, shuffle=30))))
    assert sum(sizes) == pairs
    assert set(sizes) <= {1, 2, 3, 4}
    assert sum(size < 4 for size in sizes) > 1


def test_single_segments_are_the_text_of_their_pair_in_its_order(corpus, tokenizer):
    """[CLS] A [SEP], all of type 0, without a label of the order, and never longer than a pair."""
    options = {"max_length": 48, "mask_probability": 0.0, "batch_size": 8}
    pairs, some = (list(rows(data(corpus, tokenizer, single_probability=x, **options))) for x in (0.0, 0.5))
    assert len(pairs) == len(some)
    singles = 0
    for (ids, _, _, swapped), (found, types, _, order) in zip(pairs, some, strict=True):
        if order != -100:
            assert (order, found.tolist()) == (swapped, ids.tolist())
            continue
        singles += 1
        assert found[0] == CLS
        assert found[-1] == SEP
        assert not np.isin(found[1:-1], [CLS, SEP]).any()
        assert not types.any()
        a, b = np.split(ids[1:-1], [ids[1:-1].tolist().index(SEP)])
        text = np.concatenate([b[1:], a] if swapped else [a, b[1:]])
        assert len(found) <= 48
        if len(ids) < 48:  # nothing was cut off
            assert found[1:-1].tolist() == text.tolist()
    assert within(singles, len(pairs), 0.5)


def test_a_batch_has_at_least_one_pair(corpus, tokenizer):
    """Without one, the loss of the order would be a mean over nothing."""
    for size in (1, 3):
        labels = [b["sentence_order_label"] for b in data(corpus, tokenizer, size, single_probability=1.0)]
        assert all(np.count_nonzero(x != -100) == 1 for x in labels)
        assert all(x[-1] in (0, 1) for x in labels)


def test_epochs_differ_in_masks_and_pairs_and_hold_the_same_text(corpus, tokenizer):
    whole = data(corpus, tokenizer, 1, max_length=2000, epochs=2, short_probability=0.0)
    both = list(rows(whole))
    half = len(both) // 2
    texts = [
        sorted(str(sorted(originals(ids, labels).tolist())) for ids, _, labels, _ in part)
        for part in (both[:half], both[half:])
    ]
    assert texts[0] == texts[1]
    assert sorted(str(ids.tolist()) for ids, *_ in both[:half]) != sorted(str(ids.tolist()) for ids, *_ in both[half:])
    assert whole.pairs_in(0) == half == len(corpus)
    orders = [[len(ids) for ids, *_ in part] for part in (both[:half], both[half:])]
    assert orders[0] != orders[1]


def test_chosen_documents_only(corpus, tokenizer):
    train, evaluate = corpus.split(0.3)
    parts = [
        PretrainingData(corpus, tokenizer, batch_size=1, documents=x, epochs=1, options=PretrainingOptions(500, 0.0))
        for x in (train, evaluate)
    ]
    assert [len(list(part)) for part in parts] == [len(train), len(evaluate)]
    for wrong in ([], [0, 0], [len(corpus)], [-1], [0.5], [[0]]):
        assert "documents must be" in refusal(PretrainingData, corpus, tokenizer, batch_size=1, documents=wrong)


PROGRAM = """
import hashlib, sys
from albert_np import AlbertTokenizer
from albert_np.training.documents import TextForm
from albert_np.training.pretraining import PretrainingData, PretrainingOptions
from albert_np.training.token_corpus import tokenize_corpus
tokenizer = AlbertTokenizer.from_pretrained(sys.argv[2])
corpus = tokenize_corpus(sys.argv[1], tokenizer, TextForm(lines="sentences"))
digest = hashlib.sha256()
for batch in PretrainingData(corpus, tokenizer, batch_size=4, options=PretrainingOptions(32), epochs=2, shuffle=20):
    for name in sorted(batch):
        digest.update(batch[name].tobytes())
print(digest.hexdigest())
"""


def test_another_process_makes_the_same_bits(corpus, tokenizer, text):
    digest = hashlib.sha256()
    for batch in data(corpus, tokenizer, epochs=2):
        for name in sorted(batch):
            digest.update(batch[name].tobytes())
    environment = unmeasured() | {"PYTHONHASHSEED": "123"}
    command = [sys.executable, "-c", PROGRAM, os.fspath(text), os.fspath(TINY_MODEL)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == digest.hexdigest()


# -------------------------------------------------------------------------------------------------------------- resume


@settings(deadline=None, max_examples=25)
@given(
    stop=st.integers(0, 40),
    shuffle=st.sampled_from([0, 1, 7, 1000]),
    size=st.sampled_from([1, 3, 8]),
    seed=st.integers(0, 3),
    group=st.sampled_from([0, 1, 2]),
)
def test_restore_continues_as_if_it_had_never_stopped(corpus, tokenizer, stop, shuffle, size, seed, group):
    def make():
        grouped = group if shuffle else 0
        return data(corpus, tokenizer, size, max_length=64, seed=seed, shuffle=shuffle, group=grouped, epochs=3)

    unbroken = make()
    for _ in range(stop):
        next(unbroken, None)
    state = json.loads(json.dumps(unbroken.state()))
    assert len(json.dumps(state)) < 200
    resumed = make()
    resumed.restore(state)
    for _ in range(12):
        a, b = next(unbroken, None), next(resumed, None)
        assert (a is None) == (b is None)
        assert a is None or same(a, b)
        assert unbroken.state() == resumed.state()


def test_restore_goes_back_too_and_an_end_stays_an_end(corpus, tokenizer):
    batches = data(corpus, tokenizer)
    start = batches.state()
    first = next(batches)
    assert batches.state() != start
    everything = list(batches)
    end = batches.state()
    assert list(batches) == []
    batches.restore(start)
    assert same(next(batches), first)
    assert len(list(batches)) == len(everything)
    other = data(corpus, tokenizer)
    other.restore(end)
    assert list(other) == []  # a training that was through does not begin again
    other.rewind()
    assert same(next(other), first)


def test_a_state_of_other_data_is_refused(corpus, tokenizer):
    state = data(corpus, tokenizer).state()
    changes = {"seed": 1, "shuffle": 21, "max_length": 31, "max_ngram": 2, "word_rule": "google", "group": 1}
    for other in ({name: value} for name, value in changes.items()):
        assert "belongs to other data" in refusal(data(corpus, tokenizer, **other).restore, state)
    data(corpus, tokenizer, 9, epochs=None, padding="max_length").restore(state)
    for wrong in (
        {},
        None,
        state | {"epoch": -1},
        state | {"example": 1.0},
        {**state, "more": 1},
        state | {"document": 10**6},
    ):
        assert "state" in refusal(data(corpus, tokenizer).restore, wrong)
    broken = data(corpus, tokenizer)
    broken.restore(state | {"example": 10**6})
    assert "a state at example 1000000 of" in refusal(next, broken)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"epochs": 0}, "epochs must be"),
        ({"shuffle": -1}, "shuffle must be"),
        ({"group": -1}, "group_by_length must be a whole number of at least 0"),
        ({"group": 1, "shuffle": 0}, "group_by_length changes the order of the text, which shuffle=0 keeps"),
        ({"padding": "left"}, "padding must be 'longest' or 'max_length'"),
        ({"max_length": 4}, "max_length must be a whole number of at least 5"),
        ({"max_ngram": 0}, "max_ngram must be"),
        ({"max_predictions": 0}, "max_predictions must be"),
        ({"single_probability": -0.1}, "single_probability must be a number from 0 to 1"),
        ({"mask_probability": 1.5}, "mask_probability must be a number from 0 to 1"),
        ({"short_probability": math.nan}, "short_probability must be"),
        ({"word_rule": "x"}, "word_rule must be one of"),
    ],
)
def test_arguments_are_checked(corpus, tokenizer, options, message):
    assert message in refusal(lambda: data(corpus, tokenizer, **options))


def test_another_tokenizer_is_refused(corpus):
    cased = AlbertTokenizer.from_pretrained(TINY_MODEL, do_lower_case=False)
    assert "made with another tokenizer" in refusal(data, corpus, cased)


def test_the_shortest_sequences_work(corpus, tokenizer):
    for ids, types, labels, _ in rows(data(corpus, tokenizer, max_length=5)):
        assert len(ids) == 5
        assert types.tolist() == [0, 0, 0, 1, 1]
        assert np.count_nonzero(labels != -100) <= 1


def test_a_sentence_of_a_megabyte_makes_ordinary_examples(tmp_path, tokenizer):
    path = tmp_path / "text.txt"
    path.write_text("The cat sat.\n" + "the light of day " * 58_000 + "\nIt is late.\nSo it is.\n", "utf-8")
    found = tokenize_corpus(path, tokenizer, FORM)
    assert found.counts["long_lines"] == 0
    for ids, types, labels, _ in rows(data(found, tokenizer, epochs=3, short_probability=0.0)):
        assert 0 < np.count_nonzero(types) < len(ids) <= 32
        assert np.count_nonzero(labels != -100) > 0
