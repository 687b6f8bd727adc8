"""The demo's recipe, evaluate.py and counts.py: the counts it compares with, and what it asks of a model."""

import collections
import json
import random
import shutil

import numpy as np
import pytest

from albert_np import AlbertTokenizer
from albert_np.demo.recipe import evaluate as evaluate_demo
from albert_np.demo.recipe.counts import SMOOTHING, NeighbourCounts, rank

# ---------------------------------------------------------------------------------------------------------- the baseline


def brute_force(paragraphs, V, before, after, left, right):
    """p(w|left) p(w|right) / p(w) for every w, from dictionaries; p(w|left) where right is None."""
    single, pairs = collections.Counter(), collections.Counter()
    for paragraph in paragraphs:
        single.update(paragraph)
        pairs.update(zip([before, *paragraph], [*paragraph, after], strict=True))
    total = sum(single.values())
    p = [(single[w] + SMOOTHING) / (total + SMOOTHING * V) for w in range(V)]
    by_left = [
        (pairs[left, w] + SMOOTHING * p[w]) / (sum(n for (a, _), n in pairs.items() if a == left) + SMOOTHING)
        for w in range(V)
    ]
    if right is None:
        return by_left
    by_right = [
        (pairs[w, right] + SMOOTHING * p[w]) / (sum(n for (_, b), n in pairs.items() if b == right) + SMOOTHING)
        for w in range(V)
    ]
    return [a * b / c for a, b, c in zip(by_left, by_right, p, strict=True)]


def test_counts_are_those_of_dictionaries():
    V, before, after = 12, 2, 3
    rng = random.Random(1)
    paragraphs = [[rng.choice([5, 6, 6, 7, 8, 9, 10]) for _ in range(rng.randint(1, 9))] for _ in range(30)]
    starts = np.cumsum([0, *map(len, paragraphs)])
    counts = NeighbourCounts(np.concatenate(paragraphs).astype(np.uint16), starts, V, before, after)
    assert counts.probabilities.sum() == pytest.approx(1)
    for left in (before, 5, 6, 9, 11):  # 11 stands nowhere
        for right in (after, 6, 8, 11):
            expected = np.array(brute_force(paragraphs, V, before, after, left, right))
            scores = counts.scores(left, right)
            assert scores / scores.sum() == pytest.approx(expected / expected.sum(), rel=1e-12)
    known = counts.scores(5, None) / counts.scores(5, None).sum()
    assert known == pytest.approx(brute_force(paragraphs, V, before, after, 5, None), rel=1e-12)


def test_rank_counts_what_comes_before_and_ties_by_number():
    scores = np.array([0.1, 0.5, 0.5, 0.9, 0.1])
    assert [rank(scores, answer) for answer in range(5)] == [3, 1, 2, 0, 4]


# -------------------------------------------------------------------------------------------------------------- the judge


def test_masks_are_single_tokens_of_each_paragraph(toy_checkpoint, toy_texts):
    tokenizer = AlbertTokenizer.from_pretrained(toy_checkpoint)
    _, books = toy_texts
    examples = evaluate_demo.masked_paragraphs(tokenizer, list(books.values()), 32, 0)
    texts = [(number, text) for number, paragraphs in enumerate(books.values()) for text in paragraphs]
    encoded = [(number, tokenizer(text)["input_ids"]) for number, text in texts]
    encoded = [(number, ids) for number, ids in encoded if len(ids) > 5]
    assert len(examples) == len(encoded)
    assert any(len(ids) > 32 for _, ids in encoded)
    for example, (book, ids) in zip(examples, encoded, strict=True):
        cut = ids if len(ids) <= 32 else [*ids[:31], ids[-1]]
        assert (example.book, example.ids.tolist()) == (book, cut)
        assert len(set(example.at.tolist())) == len(example.at) == int(0.15 * (len(cut) - 2) + 0.5)
        assert not set(example.ids[example.at]) & set(tokenizer.all_special_ids)
        for at, (left, right) in zip(example.at, example.neighbours, strict=True):
            assert (left, right) == (ids[at - 1], ids[at + 1])
        beside = [[at - 1 in example.at, at + 1 in example.at] for at in example.at]
        assert example.hidden.tolist() == beside
    assert any(example.hidden.any() for example in examples)
    again = evaluate_demo.masked_paragraphs(tokenizer, list(books.values()), 32, 1)
    assert any((a.at != b.at).any() for a, b in zip(examples, again, strict=True))


def test_counts_that_do_not_see_hidden_neighbours_know_less(toy_checkpoint, toy_texts):
    tokenizer = AlbertTokenizer.from_pretrained(toy_checkpoint)
    training, books = toy_texts
    examples = evaluate_demo.masked_paragraphs(tokenizer, list(books.values()), 32, 0)
    counts = NeighbourCounts(training.ids, training.sentence_starts, len(tokenizer), 2, 3)
    found = evaluate_demo.count_ranks(counts, examples, False)
    hidden = np.concatenate([example.hidden for example in examples])
    answers = np.concatenate([example.ids[example.at] for example in examples])
    neighbours = np.concatenate([example.neighbours for example in examples])
    by_frequency = np.argsort(-counts.probabilities, kind="stable").tolist()
    for i, answer in enumerate(answers):
        left, right = (None if no else token for token, no in zip(neighbours[i], hidden[i], strict=True))
        assert found["seen"][i] == rank(counts.scores(left, right), answer)
        assert found["neighbours"][i] == rank(counts.scores(*neighbours[i]), answer)
        assert found["unigram"][i] == by_frequency.index(answer)
    assert found["seen"][hidden.any(axis=1)].mean() > found["neighbours"][hidden.any(axis=1)].mean()


def test_the_models_ranks_are_those_of_its_logits(toy_checkpoint, toy_texts):
    tokenizer, model = AlbertTokenizer.from_pretrained(toy_checkpoint), evaluate_demo.load(toy_checkpoint, "numpy")
    examples = evaluate_demo.masked_paragraphs(tokenizer, list(toy_texts[1].values()), 32, 0)
    ranks, losses = evaluate_demo.model_ranks(model, tokenizer, examples, False)
    expected = []
    for example in examples:
        ids = example.ids.copy()
        ids[example.at] = tokenizer.mask_token_id
        for at in example.at:
            row = model([ids]).prediction_logits[0, at].astype(np.float64)
            expected.append(-np.log(np.exp(row)[example.ids[at]] / np.exp(row).sum()))
    assert losses == pytest.approx(np.array(expected), rel=1e-5)
    assert ranks.shape == losses.shape
    assert np.corrcoef(ranks, losses)[0, 1] > 0.5


class Answers:
    """A model that always answers the same order."""

    def __init__(self, order):
        self.order = order

    def __call__(self, input_ids, **options):
        logits = np.zeros((len(input_ids), 2))
        logits[:, self.order] = 1
        return type("Out", (), {"sop_logits": logits})


def test_order_is_asked_both_ways(toy_checkpoint, toy_texts):
    tokenizer = AlbertTokenizer.from_pretrained(toy_checkpoint)
    pairs = evaluate_demo.halves(tokenizer, list(toy_texts[1].values()), 32)
    assert pairs
    for pair in pairs:
        assert pair.first
        assert pair.second
        assert len(pair.first) + len(pair.second) <= 29
    for order in (0, 1):
        right = evaluate_demo.model_orders(Answers(order), tokenizer, pairs, False)
        assert right.tolist() == [[order == 0, order == 1]] * len(pairs)


def test_halves_are_cut_between_the_sentences_nearest_to_the_middle(toy_checkpoint):
    tokenizer = AlbertTokenizer.from_pretrained(toy_checkpoint)
    sentences = ["Ba do ki.", "Lu me.", "No ri sa tu ba do ki lu."]
    a, b, c = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in sentences)
    (pair,) = evaluate_demo.halves(tokenizer, [[" ".join(sentences), "Alone."]], 128)
    assert (pair.first, pair.second) == (a + b, c)
    room = len(a) + len(b) + 3
    (pair,) = evaluate_demo.halves(tokenizer, [[" ".join(sentences)]], room)
    assert (pair.first, pair.second) == (a, b)
    assert evaluate_demo.halves(tokenizer, [[" ".join(sentences)]], room - 1) == []


def test_a_verdict_is_the_same_twice_and_complete(toy_checkpoint, toy_texts):
    training, books = toy_texts
    first, second = (evaluate_demo.judge(toy_checkpoint, training, books, backend="numpy") for _ in range(2))
    assert first == second == json.loads(json.dumps(first))
    masked, order = first["masked"], first["order"]
    assert first["step"] == 6
    assert set(first["books"]) == set(books)
    assert sum(book["tokens"] for book in first["books"].values()) == masked["tokens"]
    # six steps are no training: near a loss of ln V, and counts know more
    assert masked["loss"] == pytest.approx(np.log(60), rel=0.2)
    assert masked["neighbours"]["top1"] > masked["unigram"]["top1"] > 0
    for name in ("model", "neighbours", "unigram"):
        x = masked[name]
        assert 0 <= x["top1"] <= x["top5"] <= 1
        assert x["top1_error"] == pytest.approx((x["top1"] * (1 - x["top1"]) / masked["tokens"]) ** 0.5)
    assert order["accuracy"] == pytest.approx((order["in_order"] + order["swapped"]) / 2)
    text = evaluate_demo.table(first)
    assert f"{masked['neighbours']['top1']:.4f}" in text
    assert "sentence order: 0." in text


def test_a_model_without_a_sentence_order_head_is_judged_too(toy_checkpoint, toy_texts, tmp_path):
    shutil.copytree(toy_checkpoint, tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps(config | {"architectures": ["AlbertForMaskedLM"]}))
    verdict = evaluate_demo.judge(tmp_path / "model", *toy_texts, backend="numpy")
    assert verdict["order"] is None
    assert "no such head" in evaluate_demo.table(verdict)


def test_the_judge_as_a_command(toy_books, toy_checkpoint, toy_texts, tmp_path, capsys):
    given = ["--corpus", str(toy_books / "corpus.txt"), "--books", str(toy_books / "BOOKS.md"), "--backend", "numpy"]
    assert evaluate_demo.main([str(toy_checkpoint), *given, "--json", str(tmp_path / "out.json")]) == 0
    assert "masked tokens of" in capsys.readouterr().out
    verdict = json.loads((tmp_path / "out.json").read_text())
    assert verdict == evaluate_demo.judge(toy_checkpoint, *toy_texts, backend="numpy")
    assert evaluate_demo.main([str(tmp_path / "nothing"), *given]) == 1
    assert "there is no folder" in capsys.readouterr().err
