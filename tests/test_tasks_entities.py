"""Entities from the classes of tokens: each strategy on scores that were worked out by hand."""

import numpy as np
import pytest

from albert_np.tasks.entities import Token, begins_word, entities, spaced, without_overlap

NAMES = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC"}
PIECES = ["▁anna", "▁mar", "ia", "▁lives", "▁in", "▁li", "ma"]
PLACES = [(0, 4), (5, 8), (8, 10), (11, 16), (17, 19), (20, 22), (22, 24)]
TOKENS = [
    Token(i + 1, piece, *place, begins_word(piece, PIECES[i - 1] if i else None, (), piece.startswith("▁")))
    for i, (piece, place) in enumerate(zip(PIECES, PLACES, strict=True))
]


def scores(*likeliest, sure=0.7):
    """(n,4): each token's likeliest class has the probability `sure`, the others share the rest."""
    table = np.full((len(likeliest), 4), (1 - sure) / 3)
    table[range(len(likeliest)), likeliest] = sure
    return table


def join(pieces):
    return "".join(pieces).replace("▁", " ").strip()


def found(table, strategy, ignored=("O",)):
    return entities(TOKENS, table, NAMES, strategy=strategy, join=join, ignored=ignored)


def test_none_names_each_token():
    answers = found(scores(1, 2, 2, 0, 0, 3, 0), "none")
    assert [(one["entity"], one["index"], one["word"], one["start"], one["end"]) for one in answers] == [
        ("B-PER", 1, "▁anna", 0, 4),
        ("I-PER", 2, "▁mar", 5, 8),
        ("I-PER", 3, "ia", 8, 10),
        ("B-LOC", 6, "▁li", 20, 22),
    ]
    assert [one["score"] for one in answers] == pytest.approx([0.7] * 4)


def test_simple_merges_tokens_and_splits_words():
    answers = found(scores(1, 2, 2, 0, 0, 3, 0), "simple")
    assert [(one["entity_group"], one["word"], one["start"], one["end"]) for one in answers] == [
        ("PER", "anna maria", 0, 10),
        ("LOC", "li", 20, 22),
    ]


@pytest.mark.parametrize(
    ("strategy", "lima", "score"),
    [
        ("first", "LOC", 0.7),  # the class of its first token
        ("max", None, 0.9),  # that of its surest token, O
        ("average", None, (0.9 + 0.1) / 2),  # the mean is 0.5 for O, 0.367 for LOC
    ],
)
def test_words_agree_with_themselves(strategy, lima, score):
    table = scores(1, 2, 2, 0, 0, 3, 0)
    table[6] = [0.9, 0.1 / 3, 0.1 / 3, 0.1 / 3]
    words = found(table, strategy)
    assert [one["word"] for one in words] == ["anna maria", "lima"][: 1 + (lima is not None)]
    every = found(table, strategy, ignored=())
    assert every[-1]["entity_group"] == (lima or "O")
    # without a label that is ignored, "lives in" is an entity too, and lima joins it where it is O
    assert every[-1]["score"] == pytest.approx(score if lima else np.mean([0.7, 0.7, score]))


def test_a_tag_that_begins_an_entity_does_not_join_the_one_before():
    answers = found(scores(1, 1, 2, 0, 0, 0, 0), "simple")
    assert [one["word"] for one in answers] == ["anna", "maria"]


def test_names_without_tags_join_their_like():
    answers = entities(
        TOKENS,
        scores(1, 1, 1, 0, 0, 0, 0),
        {0: "O", 1: "PER", 2: "x", 3: 7},
        strategy="simple",
        join=join,
        ignored=("O",),
    )
    assert [one["word"] for one in answers] == ["anna maria"]


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (["▁new", "▁yo", "rk"], "new york"),
        (["▁peter", "▁"], "peter "),  # characters of another entity follow the lone ▁
        (["▁", "😀", "▁x"], "😀 x"),
        (["[MASK]", "▁lives"], "[MASK] lives"),
        (["▁a", "[MASK]"], "a[MASK]"),
        (["▁"], ""),
    ],
)
def test_pieces_as_text_keep_their_spaces(pieces, text):
    assert spaced(pieces) == text


def test_a_word_begins_at_a_space_and_around_added_tokens():
    added = {"[MASK]": 4}
    assert begins_word("▁a", "▁b", added, True)
    assert not begins_word("a", "▁b", added, False)
    assert begins_word("a", "[MASK]", added, False)
    assert begins_word("[MASK]", "▁b", added, False)
    assert begins_word("a", None, added, False)


def test_of_two_windows_the_longer_or_the_surer_entity_stays():
    def entity(start, end, score):
        return {"start": start, "end": end, "score": score}

    short, long = entity(5, 9, 0.9), entity(5, 12, 0.3)
    assert without_overlap([short, long]) == [long]
    sure, unsure = entity(20, 24, 0.9), entity(20, 24, 0.8)
    assert without_overlap([unsure, long, sure]) == [long, sure]
    assert without_overlap([]) == []
