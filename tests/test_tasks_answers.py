"""Answers from the logits of windows: probabilities, merged spans and ranks that were worked out by hand."""

import numpy as np
import pytest

from albert_np.tasks.answers import likely_spans, ranked_answers

CONTEXT = "The cat saw the Cat."
WORDS = [(0, 3), (4, 7), (8, 11), (12, 15), (16, 19)]


def logits(*probabilities):
    with np.errstate(divide="ignore"):
        return np.log(np.array(probabilities))


def spans(start, end, nothing=(0.1, 0.1), most=12, max_length=15):
    """Of probabilities that add up to 1 with those of [CLS]."""
    return likely_spans(logits(*start), logits(*end), logits(*nothing), most=most, max_length=max_length)


def place(number, first, last):
    return WORDS[first][0], WORDS[last][1]


def test_the_score_is_the_product_of_the_two_ends():
    found = spans((0.1, 0.6, 0.1, 0.05, 0.05), (0.05, 0.5, 0.2, 0.05, 0.1))
    assert (found.first[0], found.last[0]) == (1, 1)
    assert found.scores[0] == pytest.approx(0.6 * 0.5)
    assert found.nothing == pytest.approx(0.1 * 0.1)
    assert list(found.scores) == sorted(found.scores, reverse=True)


def test_no_span_ends_before_it_begins_or_is_too_long():
    found = spans((0.0, 0.0, 0.0, 0.45, 0.45), (0.45, 0.0, 0.0, 0.05, 0.4), most=100, max_length=1)
    assert sorted(zip(found.first.tolist(), found.last.tolist(), strict=True)) == [(3, 3), (4, 4)]


def test_spans_of_one_window_that_read_alike_add_up_and_the_likeliest_says_where():
    found = spans((0.0, 0.5, 0.0, 0.0, 0.4), (0.0, 0.3, 0.0, 0.0, 0.6), max_length=1)
    (answer,) = ranked_answers([found], place, CONTEXT, top_k=5, impossible=False)
    assert answer["answer"] == "Cat"
    assert (answer["start"], answer["end"]) == (16, 19)
    assert answer["score"] == pytest.approx(0.5 * 0.3 + 0.4 * 0.6)


def test_the_same_text_in_two_windows_counts_once_with_the_better_score():
    first = spans((0.0, 0.9, 0.0, 0.0, 0.0), (0.0, 0.9, 0.0, 0.0, 0.0))
    second = spans((0.0, 0.0, 0.0, 0.0, 0.5), (0.0, 0.0, 0.0, 0.0, 0.5), (0.5, 0.5))
    (answer,) = ranked_answers([second, first], place, CONTEXT, top_k=1, impossible=False)
    assert (answer["start"], answer["score"]) == (4, pytest.approx(0.81))


def test_no_answer_has_the_least_score_over_the_windows():
    first = spans((0.0, 0.9, 0.0, 0.0, 0.0), (0.0, 0.9, 0.0, 0.0, 0.0), (0.1, 0.1))
    second = spans((0.0, 0.1, 0.0, 0.0, 0.0), (0.0, 0.1, 0.0, 0.0, 0.0), (0.9, 0.9))
    answers = ranked_answers([first, second], place, CONTEXT, top_k=9, impossible=True)
    assert answers[-1] == {"score": pytest.approx(0.01), "start": 0, "end": 0, "answer": ""}


def test_a_window_without_a_token_has_no_span():
    empty = np.zeros(0)
    found = likely_spans(empty, empty, np.zeros(2), most=5, max_length=5)
    assert len(found.scores) == 0
    assert found.nothing == 1
