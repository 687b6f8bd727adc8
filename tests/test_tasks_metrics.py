"""Metrics against numbers worked out by hand, against definitions written another way, and against the usual libraries."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import needs
from support.refusals import refusal
from tolerances import METRIC

from albert_np.tasks.metrics import (
    SCHEMES,
    accuracy,
    answer_f1,
    entities,
    entity_f1,
    exact_match,
    f1,
    macro_f1,
    matthews,
    normalize_answer,
    pearson,
    spearman,
    squad,
    tag_scheme,
)
from albert_np.tasks.token_classification import are_entities, token_figures

LABELS = st.integers(1, 60).flatmap(lambda n: st.tuples(*[st.lists(st.integers(0, 3), min_size=n, max_size=n)] * 2))
BITS = st.integers(1, 60).flatmap(lambda n: st.tuples(*[st.lists(st.integers(0, 1), min_size=n, max_size=n)] * 2))
# few different values make ties, which is where ranks go wrong
NUMBERS = st.integers(2, 60).flatmap(lambda n: st.tuples(*[st.lists(st.integers(-4, 4), min_size=n, max_size=n)] * 2))
TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-A-B", "I-A-B"]
ROWS = st.lists(st.lists(st.tuples(*[st.sampled_from(TAGS)] * 2), min_size=1, max_size=12), min_size=1, max_size=4)
quick = settings(deadline=None, max_examples=60)


def near(value):
    return pytest.approx(value, rel=METRIC, abs=METRIC, nan_ok=True)


# --- one label an example ---------------------------------------------------------------------------------------------


def test_labels_by_hand():
    predictions, labels = [1, 1, 0, 2, 2, 1], np.array([1, 0, 0, 2, 1, 1])
    assert accuracy(predictions, labels) == near(4 / 6)
    assert f1(predictions, labels) == near(2 * 2 / (3 + 3))
    assert f1(predictions, labels, positive=2) == near(2 * 1 / (2 + 1))
    assert macro_f1(predictions, labels) == near((2 / 3 + 2 / 3 + 2 / 3) / 3)
    # right 4 of 6; predicted 1, 3, 2 times, true 2, 3, 1 times
    assert matthews(predictions, labels) == near((4 * 6 - 13) / math.sqrt((36 - 14) * (36 - 14)))
    assert accuracy(["yes", "no"], ["yes", "yes"]) == 0.5
    assert f1(["yes", "no"], ["yes", "yes"], positive="yes") == near(2 / 3)


def test_nothing_to_count_is_zero():
    assert f1([0, 0], [0, 0]) == 0
    assert matthews([1, 1, 1], [0, 1, 2]) == matthews([0, 1], [1, 1]) == 0
    assert macro_f1([0, 0], [1, 1]) == 0
    assert matthews([0, 1] * 100_000, [0, 1] * 100_000) == 1  # (2e5)⁴ is more than 64 bits hold


@quick
@given(BITS)
def test_matthews_of_two_classes_is_the_correlation_of_bits(case):
    x, y = map(np.array, case)
    expected = np.corrcoef(x, y)[0, 1] if np.ptp(x) and np.ptp(y) else 0.0
    assert matthews(x, y) == pytest.approx(expected, abs=1e-12)


@pytest.mark.filterwarnings("ignore:A single label was found:UserWarning")
@quick
@given(LABELS)
def test_labels_against_scikit_learn(case):
    metrics = needs.module("test", "sklearn.metrics")
    predictions, labels = case
    assert accuracy(predictions, labels) == near(metrics.accuracy_score(labels, predictions))
    assert matthews(predictions, labels) == near(metrics.matthews_corrcoef(labels, predictions))
    assert macro_f1(predictions, labels) == near(
        metrics.f1_score(labels, predictions, average="macro", zero_division=0)
    )
    binary = metrics.f1_score([y == 1 for y in labels], [y == 1 for y in predictions], zero_division=0)
    assert f1(predictions, labels) == near(binary)


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_correlations_by_hand():
    assert pearson([1, 2, 3], [2, 4, 6]) == near(1)
    assert pearson([1, 2, 3], [3, 2, 1]) == near(-1)
    assert pearson([1, 2, 3, 4], [1, 3, 2, 4]) == near(0.8)
    assert spearman([1, 2, 3, 4], [1, 100, 10, 1000]) == near(0.8)
    assert spearman([1, 1, 2], [1, 2, 3]) == near(math.sqrt(3) / 2)  # ranks 1½, 1½, 3
    assert pearson([1e200, -1e200, 3e200], [1e-200, -1e-200, 3e-200]) == near(1)
    assert math.isnan(pearson([1, 1], [1, 2]))
    assert math.isnan(spearman([1, 2], [3, 3]))


@quick
@given(NUMBERS)
def test_spearman_counts_who_is_smaller(case):
    """The rank of a value, by definition: how many are smaller, and half of the others that are equal."""
    x, y = map(np.array, case)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        assert math.isnan(spearman(x, y))
        return
    ranks = [
        [sum(other < one for other in z) + (sum(other == one for other in z) + 1) / 2 for one in z] for z in (x, y)
    ]
    assert spearman(x, y) == near(np.corrcoef(ranks)[0, 1])


@quick
@given(NUMBERS, st.floats(0.1, 10))
def test_correlations_against_scipy(case, scale):
    stats = needs.module("test", "scipy.stats")
    x, y = np.array(case[0]) * scale, np.array(case[1]) / 7
    if np.ptp(x) == 0 or np.ptp(y) == 0:  # SciPy warns
        return
    assert pearson(x, y) == near(stats.pearsonr(x, y).statistic)
    assert spearman(x, y) == near(stats.spearmanr(x, y).statistic)


@pytest.mark.parametrize("metric", [accuracy, f1, macro_f1, matthews, pearson, spearman])
def test_lists_that_do_not_belong_together_are_refused(metric):
    for predictions, labels in (([1, 2], [1]), ([], []), ([[1]], [[1]])):
        assert "two lists of one length, not empty" in refusal(metric, predictions, labels)


# --- entities ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("O B-PER I-PER O B-LOC", [("PER", 1, 2), ("LOC", 4, 4)]),
        ("B-PER B-PER I-PER", [("PER", 0, 0), ("PER", 1, 2)]),
        ("O I-PER I-PER", [("PER", 1, 2)]),  # no beginning
        ("B-PER I-LOC I-LOC", [("PER", 0, 0), ("LOC", 1, 2)]),  # another type
        ("B I O I", [("", 0, 1), ("", 3, 3)]),
        ("O O", []),
        ("", []),
    ],
)
def test_entities_by_hand(tags, expected):
    assert list(entities(tags.split())) == expected


def test_entity_f1_by_hand():
    labels = [["B-PER", "I-PER", "O", "B-LOC"], ["O", "B-PER"]]
    predictions = [["B-PER", "I-PER", "O", "B-PER"], ["B-LOC", "B-PER"]]
    assert entity_f1(predictions, labels) == {"precision": 2 / 4, "recall": 2 / 3, "f1": 4 / 7}
    assert entity_f1([["B-PER"]], [["O"]]) == {"precision": 0, "recall": 0, "f1": 0}
    assert entity_f1([["O"]], [["O"]]) == {"precision": 0, "recall": 0, "f1": 0}
    # a border that is off by one word is a wrong entity, and a missed one
    assert entity_f1([["B-PER", "O"]], [["B-PER", "I-PER"]])["f1"] == 0


@quick
@given(ROWS)
def test_entities_start_and_end_where_conlleval_says(rows):
    for tags in (list(side) for row in rows for side in zip(*row, strict=True)):
        before = ["O", *tags[:-1]]
        starts = [
            i
            for i, (tag, last) in enumerate(zip(tags, before, strict=True))
            if tag != "O" and (tag[0] == "B" or last == "O" or last[2:] != tag[2:])
        ]
        ends = [
            next((j for j in range(i + 1, len(tags)) if tags[j] == "O" or j in starts), len(tags)) - 1 for i in starts
        ]
        expected = [(tags[i][2:], i, end) for i, end in zip(starts, ends, strict=True)]
        assert list(entities(tags)) == expected


@quick
@given(ROWS)
def test_entity_f1_against_seqeval(rows):
    seqeval = needs.module("test", "seqeval.metrics")
    predictions, labels = ([[pair[side] for pair in row] for row in rows] for side in (0, 1))
    scores = entity_f1(predictions, labels)
    for name in ("precision", "recall", "f1"):
        expected = getattr(seqeval, f"{name}_score")(labels, predictions, zero_division=0)
        assert scores[name] == near(expected)


# what each scheme's definition says of a row, found by hand; a dash where the tags are not the scheme's
STRICT = {
    # tags: (IOB1, IOB2, IOBES, conll)
    "B-X I-X O": ("X1-1", "X0-1", "", "X0-1"),
    "I-X I-X O": ("X0-1", "", "", "X0-1"),
    "I-X B-X I-X": ("X0-0 X1-2", "X1-2", "", "X0-0 X1-2"),
    "B-X B-X": ("X1-1", "X0-0 X1-1", "", "X0-0 X1-1"),
    "I-X I-Y": ("X0-0 Y1-1", "", "", "X0-0 Y1-1"),
    "B-X I-Y": ("Y1-1", "X0-0", "", "X0-0 Y1-1"),
    "I-X B-Y": ("X0-0", "Y1-1", "", "X0-0 Y1-1"),
    "B-X": ("", "X0-0", "", "X0-0"),
    "B-X I-X E-X": ("-", "-", "X0-2", "X0-2"),
    "B-X E-X S-X": ("-", "-", "X0-1 X2-2", "X0-1 X2-2"),
    "S-X S-X": ("-", "-", "X0-0 X1-1", "X0-0 X1-1"),
    "E-X": ("-", "-", "", "X0-0"),
    "O E-X B-X": ("-", "-", "", "X1-1 X2-2"),
    "B-X S-X E-X": ("-", "-", "X1-1", "X0-0 X1-1 X2-2"),
    "B-X E-Y": ("-", "-", "", "X0-0 Y1-1"),
    "B-X I-Y E-Y": ("-", "-", "", "X0-0 Y1-2"),
    "B-X I-X O E-X": ("-", "-", "", "X0-1 X3-3"),
    "I-X E-X": ("-", "-", "", "X0-1"),
    "B-X E-X E-X": ("-", "-", "X0-1", "X0-1 X2-2"),
    "B E S": ("-", "-", "0-1 2-2", "0-1 2-2"),
}


def spans(tags, scheme):
    return " ".join(f"{kind}{first}-{last}" for kind, first, last in entities(tags.split(), scheme))


@pytest.mark.parametrize("tags", STRICT)
def test_entities_of_each_scheme_by_hand(tags):
    iob1, iob2, iobes, conll = STRICT[tags]
    for scheme, expected in (("IOB1", iob1), ("IOB2", iob2), ("BIO", iob2), ("IOBES", iobes), ("BIOES", iobes)):
        if expected == "-":
            assert "a tag is O, or B or I, a hyphen and a type; got" in refusal(spans, tags, scheme)
        else:
            assert spans(tags, scheme) == expected
    assert spans(tags, "conll") == conll
    renamed = tags.replace("E", "L").replace("S", "U")
    assert spans(renamed, "BILOU") == iobes
    assert spans(renamed, "conll") == conll


@pytest.mark.parametrize("scheme", ["IOB1", "IOB2", "IOBES", "BILOU"])
@quick
@given(st.data())
def test_strict_entities_against_seqeval(scheme, data):
    theirs = needs.module("test", "seqeval.scheme")
    seqeval = needs.module("test", "seqeval.metrics")
    tags = ["O", *(f"{prefix}-{kind}" for prefix in set(SCHEMES[scheme]) - {"O"} for kind in ("X", "Y"))]
    rows = data.draw(
        st.lists(
            st.lists(st.tuples(*[st.sampled_from(sorted(tags))] * 2), min_size=1, max_size=10), min_size=1, max_size=4
        )
    )
    predictions, labels = ([[pair[side] for pair in row] for row in rows] for side in (0, 1))
    scores = entity_f1(predictions, labels, scheme=scheme)
    options = {"mode": "strict", "scheme": getattr(theirs, scheme), "zero_division": 0}
    for name in ("precision", "recall", "f1"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = getattr(seqeval, f"{name}_score")(labels, predictions, **options)
        assert scores[name] == near(expected)


@quick
@given(st.lists(st.sampled_from(["O", *(f"{p}-{kind}" for p in "BIES" for kind in "XY")]), min_size=1, max_size=12))
def test_the_rule_of_conlleval_is_seqevals_default_with_ends_and_singles_too(tags):
    labeling = needs.module("test", "seqeval.metrics.sequence_labeling")
    assert list(entities(tags)) == labeling.get_entities(tags)


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [
        ("O", "conll"),
        ("", "conll"),
        ("O B-X", "conll"),
        ("O I-X", "conll"),
        ("O B-X I-X", "conll"),
        ("B I O", "conll"),
        ("O I-X E-X", "conll"),  # IOE: the end is marked, and not the beginning
        ("O E-X", "conll"),
        ("O I-X L-X", "conll"),
        ("O B-X E-X", "IOBES"),
        ("O B-X I-X E-X", "IOBES"),
        ("O S-X", "IOBES"),
        ("O B-X I-X S-X", "IOBES"),
        ("O B-X I-X E-X S-X", "IOBES"),
        ("O B-X L-X", "BILOU"),
        ("O U-X", "BILOU"),
        ("O B-X I-X L-X U-X", "BILOU"),
    ],
)
def test_which_scheme_tags_have(tags, scheme):
    assert tag_scheme(tags.split()) == scheme


def test_entity_f1_finds_the_scheme_in_all_the_tags():
    """A B without its end is an entity of IOB2 and none of IOBES; so what else there is decides."""
    assert entity_f1([["B-X", "O"]], [["B-X", "O"]])["f1"] == 1
    assert entity_f1([["B-X", "O"], ["S-X"]], [["B-X", "O"], ["S-X"]]) == {"precision": 1, "recall": 1, "f1": 1}
    assert entity_f1([["B-X", "O"]], [["S-X", "O"]]) == {"precision": 0, "recall": 0, "f1": 0}
    assert entity_f1([["B-X", "O"]], [["S-X", "O"]], scheme="conll")["f1"] == 1
    assert entity_f1([["B-X", "I-X", "E-X", "S-Y"]], [["B-X", "I-X", "E-X", "S-X"]])["f1"] == 0.5


def test_labels_of_words_are_entities_or_not():
    for tags in (
        "O B-X",
        "O B-X I-X",
        "O I-X",
        "O S-X",
        "O B-X I-X E-X S-X",
        "O B-X I-X L-X U-X",
        "B-X I-X",
        "O B-A-B",
    ):
        assert are_entities(tags.split()), tags
    for tags in ("NOUN VERB", "O X", "O B", "O B-", "S-1 S-2", "O B-X E-X U-X", "O b-X", "O B-X VERB", "O N-X", "0 1"):
        assert not are_entities(tags.split()), tags


def test_figures_of_words_count_by_the_scheme_of_all_labels():
    """The model says B for a single word of a set that has S for it: no entity, although these words hold no other tag."""
    names = ["O", "B-X", "E-X", "S-X"]
    assert token_figures([(np.array([1, 0]), np.array([1, 0]))], names)["f1"] == 0
    assert token_figures([(np.array([1, 0]), np.array([1, 0]))], names[:2])["f1"] == 1
    figures = token_figures([(np.array([1, 2, 3]), np.array([1, 2, 0]))], names)
    assert (figures["precision"], figures["recall"]) == (0.5, 1)


def test_other_tags_and_rows_are_refused():
    for tag in ("A-PER", "PER", "", "O-PER", "b-PER", "BI-PER"):
        message = refusal(entity_f1, [[tag]], [["O"]])
        assert f"a tag is O, or B, I, E, S, L or U, a hyphen and a type; got {tag!r}" in message
    assert "got 'E-PER'" in refusal(entity_f1, [["E-PER"]], [["O"]], scheme="IOB2")
    assert "do not belong to one scheme" in refusal(entity_f1, [["E-PER"]], [["U-PER"]])
    assert "scheme must be one of conll, IOB1, IOB2, IOBES, BILOU, BIO, BIOES; got 'IOE2'" in refusal(
        entity_f1, [["O"]], [["O"]], scheme="IOE2"
    )
    assert "row 1 has 1 predicted tags and 2 labels" in refusal(entity_f1, [["O"], ["O"]], [["O"], ["O", "O"]])
    assert "1 rows of predicted tags" in refusal(entity_f1, [["O"]], [])


# --- SQuAD ------------------------------------------------------------------------------------------------------------


def test_answers_are_normalised_as_squad_does():
    assert normalize_answer("The  Cat's, a “Hat”!") == "cats “hat”"  # ASCII's punctuation only
    assert normalize_answer("an A-Team theory") == "ateam theory"  # punctuation goes first: no article is left over
    assert normalize_answer("the") == normalize_answer("") == ""
    assert exact_match("The Eiffel Tower.", "eiffel tower") == 1
    assert answer_f1("the tall Eiffel tower", "Eiffel Tower") == near(0.8)
    assert answer_f1("tower tower", "tower") == near(2 / 3)
    assert answer_f1("a", "the") == 1
    assert answer_f1("", "tower") == 0


def test_squad_by_hand():
    answers = {"a": ["Paris", "the city of Paris"], "b": ["in 1889"], "c": []}
    predictions = {"a": "paris", "b": "1889", "c": "", "unasked": "x"}
    assert squad(predictions, answers) == {
        "exact_match": near(200 / 3),
        "f1": near(100 * (1 + 2 / 3 + 1) / 3),
        "HasAns_exact": 50,
        "HasAns_f1": near(100 * (1 + 2 / 3) / 2),
        "NoAns_exact": 100,
        "NoAns_f1": 100,
    }
    assert squad(predictions, {"a": ["x"], "b": ["1889"]}) == {"exact_match": 50, "f1": 50}
    assert squad({"c": "word"}, {"c": []}) == {"exact_match": 0, "f1": 0, "NoAns_exact": 0, "NoAns_f1": 0}


def test_a_threshold_on_the_score_of_no_answer():
    answers = {"a": ["Paris"], "b": [], "c": ["Rome"]}
    predictions = {"a": "Paris", "b": "Oslo", "c": "Rome"}
    scores = squad(predictions, answers, {"a": 0.1, "b": 0.9, "c": 0.4})
    assert scores["exact_match"] == near(200 / 3)
    assert (scores["best_exact"], scores["best_exact_thresh"]) == (100, 0.4)
    assert (scores["best_f1"], scores["best_f1_thresh"]) == (100, 0.4)
    scores = squad(predictions, answers, {"a": 0.9, "b": 0.1, "c": 0.8})
    assert scores["best_exact"] == near(200 / 3)


def test_questions_without_predictions_are_refused():
    assert "there is no prediction for b" in refusal(squad, {"a": "x"}, {"a": ["x"], "b": []})
    assert "there are no questions" in refusal(squad, {"a": "x"}, {})
    assert "there is no score for a" in refusal(squad, {"a": "x"}, {"a": ["x"]}, {})


WORDS = st.lists(st.sampled_from(["the", "a", "Cat", "cat.", "dog", "in", "1889,"]), min_size=1, max_size=4).map(
    " ".join
)
QUESTIONS = st.lists(
    st.tuples(st.lists(WORDS, max_size=3), st.one_of(st.just(""), WORDS), st.integers(0, 1000)), min_size=1, max_size=8
)


@pytest.mark.parity
@quick
@given(QUESTIONS)
def test_squad_against_transformers(transformers, questions):
    """Their copy of the evaluation script of SQuAD 2.0."""
    from transformers.data.metrics.squad_metrics import squad_evaluate
    from transformers.data.processors.squad import SquadExample

    examples, predictions, answers, scores = [], {}, {}, {}
    for number, (texts, prediction, score) in enumerate(questions):
        name = str(number)
        gold = [{"text": text, "answer_start": 0} for text in texts]
        examples.append(SquadExample(name, "", "", None, None, "", answers=gold, is_impossible=not gold))
        predictions[name], answers[name] = prediction, texts
        scores[name] = score + number / 10  # different ones: equal scores have no order
    theirs = squad_evaluate(examples, predictions, scores, no_answer_probability_threshold=math.inf)
    ours = squad(predictions, answers, scores)
    names = {"exact_match": "exact"}
    for name, value in ours.items():
        assert value == near(theirs[names.get(name, name)]), name
    missing = set(theirs) - {names.get(name, name) for name in ours}
    assert all(
        name.endswith("total") or not any(map(any, answers.values())) or name[:2] in ("Ha", "No") for name in missing
    )
