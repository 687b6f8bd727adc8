"""The pipelines of all tasks: shapes, values against the model's own logits, streams, neighbours, bad inputs, long texts."""

import json
from itertools import pairwise

import numpy as np
import pytest
from support import TINY_MODEL
from support.backends import NUMBA, runnable

import albert_np
from albert_np.config import AlbertConfig
from albert_np.golden.cases import trained_like

TEXTS = ["The capital of France is Paris.", "Who lives there?", "A cat sat on the mat, and Anna saw it.", "No."]
LONG = "The river was wide and cold in the morning. " * 12  # more tokens than positions
TAGS = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC", 4: "I-LOC"}
CONTEXT = "Anna lives in Paris. " + LONG + "The king of France was old."


@pytest.fixture(scope="module")
def tokenizer():
    return albert_np.AlbertTokenizer.from_pretrained(TINY_MODEL)


@pytest.fixture(scope="module")
def make(tokenizer):
    """A pipeline over a tiny model with trained-like weights, on the numba backend, whose bits do not depend on neighbours."""
    backend = runnable(NUMBA)

    def make(task, kind, parts, options=None, **config):
        values = AlbertConfig.from_pretrained(TINY_MODEL).replace(max_position_embeddings=64, **config)
        model = backend.model(kind, values, trained_like(values, parts, 7))
        return albert_np.pipeline(task, model, tokenizer, **(options or {}))

    return make


@pytest.fixture(scope="module")
def classify(make):
    return make("text-classification", "AlbertForSequenceClassification", ("pooler", "classifier"), num_labels=3)


@pytest.fixture(scope="module")
def tag(make):
    return make("ner", "AlbertForTokenClassification", ("classifier",), id2label=TAGS)


@pytest.fixture(scope="module")
def ask(make):
    return make("question-answering", "AlbertForQuestionAnswering", ("qa_outputs",))


@pytest.fixture(scope="module")
def zero_shot(make):
    names = {0: "contradiction", 1: "neutral", 2: "entailment"}
    return make("zero-shot-classification", "AlbertForSequenceClassification", ("pooler", "classifier"), id2label=names)


@pytest.fixture(scope="module")
def choose(make):
    return make("multiple-choice", "AlbertForMultipleChoice", ("pooler", "choice"))


@pytest.fixture(scope="module")
def order(make):
    return make("sentence-order", "AlbertForPreTraining", ("pooler", "predictions", "sop_classifier"))


@pytest.fixture(scope="module")
def features(make):
    return make("feature-extraction", "AlbertModel", ("pooler",))


def softmax(logits):
    e = np.exp(np.asarray(logits, np.float64) - np.max(logits, axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def logits_of(pipe, *texts, **options):
    return pipe.model(**pipe.tokenizer(*texts, return_tensors="np", **options)).logits


def plain(answer):
    """The answer, if it consists of plain Python values."""
    assert json.loads(json.dumps(answer)) == answer
    return answer


# --- text classification ---------------------------------------------------------------------------------------------------


def test_text_classification_gives_the_likeliest_class(classify):
    probs = softmax(logits_of(classify, TEXTS[0])[0])
    (answer,) = plain(classify(TEXTS[0]))
    assert answer == {"label": f"LABEL_{probs.argmax()}", "score": pytest.approx(probs.max(), rel=1e-5)}


def test_top_k_changes_the_shape_as_in_transformers(classify, make):
    kind, parts = "AlbertForSequenceClassification", ("pooler", "classifier")
    best = classify(TEXTS[0], top_k=None)
    assert [set(one) for one in best] == [{"label", "score"}] * 3
    assert [one["score"] for one in best] == sorted((one["score"] for one in best), reverse=True)
    assert classify(TEXTS[0], top_k=1) == best[:1]
    assert classify(TEXTS[:2], top_k=2)[0] == best[:2]
    assert classify(TEXTS[:2])[0] == best[0]
    assert classify({"text": TEXTS[0]}) == best[0]
    made = make("text-classification", kind, parts, {"top_k": 2}, num_labels=3)
    assert made(TEXTS[0]) == [best[:2]]


def test_functions_follow_the_problem_or_the_caller(make, classify):
    kind, parts = "AlbertForSequenceClassification", ("pooler", "classifier")
    logits = logits_of(classify, TEXTS[0])[0]
    many = make("text-classification", kind, parts, num_labels=3, problem_type="multi_label_classification")
    scores = {one["label"]: one["score"] for one in many(TEXTS[0], top_k=None)}
    assert [scores[f"LABEL_{i}"] for i in range(3)] == pytest.approx(
        1 / (1 + np.exp(-logits.astype(np.float64))), rel=1e-5
    )
    rated = make("text-classification", kind, parts, num_labels=1, problem_type="regression")
    assert rated(TEXTS[0])[0]["score"] == pytest.approx(float(logits_of(rated, TEXTS[0])[0, 0]))
    assert classify(TEXTS[0], function_to_apply="none")[0]["score"] == pytest.approx(float(logits.max()))


def test_scores_of_large_logits_are_exact_and_without_a_warning(classify):
    logits = np.array([-200, 0, 200], np.float32)
    assert classify._scores(logits, "sigmoid").tolist() == [0, 0.5, 1]
    assert classify._scores(logits, "softmax").tolist() == [0, 0, 1]


def test_pairs_are_dicts(classify):
    pair = classify({"text": TEXTS[0], "text_pair": TEXTS[1]})
    assert pair["score"] == pytest.approx(softmax(logits_of(classify, TEXTS[0], TEXTS[1])[0]).max(), rel=1e-5)
    assert classify([[[TEXTS[0], TEXTS[1]]]]) == [pair]  # an older form
    with pytest.raises(
        ValueError, match=r'input 0: a pair of texts is given as {"text": …, "text_pair": …}; got a list'
    ):
        classify([[TEXTS[0], TEXTS[1]]])
    with pytest.raises(ValueError, match='"text" and perhaps "text_pair"; got pair, text'):
        classify({"text": TEXTS[0], "pair": TEXTS[1]})
    assert classify({"text": TEXTS[0], "text_pair": TEXTS[1], "label": 1}) == pair  # as rows of a data set have it


def test_the_older_name_of_top_k(classify):
    with pytest.warns(FutureWarning, match="return_all_scores"):
        every = classify(TEXTS[0], return_all_scores=True)
    assert [one["label"] for one in every[0]] == ["LABEL_0", "LABEL_1", "LABEL_2"]


def test_the_older_name_of_top_k_changes_that_of_the_construction(make):
    kind = "AlbertForSequenceClassification", ("pooler", "classifier")
    two = make("text-classification", *kind, {"top_k": 2}, num_labels=3)
    for older, top_k in ((True, None), (False, 1)):
        with pytest.warns(FutureWarning, match="return_all_scores"):
            found = two(TEXTS[0], return_all_scores=older)
        assert found == [two(TEXTS[0], top_k=top_k)]
    assert two(TEXTS[0], return_all_scores=True, top_k=1) == two(TEXTS[0], top_k=1)


# --- token classification --------------------------------------------------------------------------------------------------


def test_every_token_has_the_class_and_the_characters_that_it_should(tag):
    probs = softmax(logits_of(tag, TEXTS[2])[0])
    encoding = tag.tokenizer(TEXTS[2], return_offsets_mapping=True)
    answers = plain(tag(TEXTS[2], ignore_labels=[]))
    assert [one["index"] for one in answers] == list(range(1, len(encoding["input_ids"]) - 1))
    for one in answers:
        row = probs[one["index"]]
        assert (one["entity"], one["score"]) == (TAGS[int(row.argmax())], pytest.approx(row.max(), rel=1e-4))
        assert (one["start"], one["end"]) == encoding["offset_mapping"][one["index"]]
        assert one["word"] == encoding.tokens(0)[one["index"]]


@pytest.mark.parametrize("strategy", ["simple", "first", "average", "max"])
def test_entities_cover_whole_spans_in_order(tag, strategy):
    answers = plain(tag(TEXTS[2], aggregation_strategy=strategy, ignore_labels=[]))
    assert [set(one) for one in answers] == [{"entity_group", "score", "word", "start", "end"}] * len(answers)
    assert all(a["start"] <= b["start"] for a, b in pairwise(answers))
    assert answers[0]["start"] == 0
    assert answers[-1]["end"] == len(TEXTS[2])


@pytest.mark.parametrize("strategy", ["none", "simple", "first", "average", "max"])
@pytest.mark.parametrize("text", ["", "  \n"])
def test_a_text_without_tokens_has_no_entities(tag, text, strategy):
    assert tag(text, aggregation_strategy=strategy) == []
    assert tag([text, TEXTS[0]], aggregation_strategy=strategy)[0] == []


def test_words_that_came_split_count_characters_of_the_joined_text(tag):
    words = ["Anna", "lives", "in", "Paris"]
    (answers,) = tag(words, is_split_into_words=True, ignore_labels=[])  # one answer in a list, as transformers
    assert {(one["start"], one["end"]) for one in answers} <= {(a, b) for a in range(20) for b in range(a, 20)}
    assert answers[-1]["end"] == len(" ".join(words))
    together = tag([words, words[:2]], is_split_into_words=True, delimiter="--", ignore_labels=[])
    assert together[0][-1]["end"] == len("--".join(words))
    with pytest.raises(ValueError, match="an input is a list of words; got 'Anna'"):
        tag("Anna", is_split_into_words=True)


def test_a_long_text_is_cut_with_a_warning_or_read_in_windows(tag):
    with pytest.warns(UserWarning, match="64 tokens are kept"):
        cut = tag(LONG, aggregation_strategy="simple", ignore_labels=[])
    windows = tag(LONG, aggregation_strategy="simple", ignore_labels=[], stride=8)
    assert cut[-1]["end"] < len(LONG) / 2
    assert windows[-1]["end"] == len(LONG.rstrip())
    assert all(a["end"] <= b["start"] for a, b in pairwise(windows))


def test_the_text_of_an_entity_has_the_spaces_of_its_pieces(make):
    """Also beside special tokens, and where the last piece is a lone ▁: so does transformers with a fast tokenizer."""
    only = make("ner", "AlbertForTokenClassification", ("classifier",), id2label={0: "PER"})
    for text, word in (("[MASK] cat", "[MASK] cat"), ("the cat[MASK]", "the cat[MASK]"), ("cat \ue000", "cat \ue000")):
        assert [one["word"] for one in only(text, aggregation_strategy="simple")] == [word]


@pytest.mark.filterwarnings("ignore:grouped_entities is deprecated")
def test_older_names_of_strategies(tag):
    assert tag(TEXTS[2], grouped_entities=True) == tag(TEXTS[2], aggregation_strategy="simple")
    assert tag(TEXTS[2], grouped_entities=True, ignore_subwords=True) == tag(TEXTS[2], aggregation_strategy="first")


# --- question answering ----------------------------------------------------------------------------------------------------


def test_an_answer_is_a_part_of_the_context(ask):
    answer = plain(ask(question="Who lives in Paris?", context="Anna lives in Paris."))
    assert set(answer) == {"score", "start", "end", "answer"}
    assert answer["answer"] == "Anna lives in Paris."[answer["start"] : answer["end"]]
    assert 0 < answer["score"] <= 1


def test_the_best_span_is_that_of_the_logits(ask):
    question, context = "Who lives in Paris?", "Anna lives in Paris."
    encoding = ask.tokenizer(question, context, return_tensors="np", return_offsets_mapping=True)
    places = encoding.pop("offset_mapping")[0]
    out = ask.model(**encoding)
    inside = np.flatnonzero(encoding["token_type_ids"][0])[:-1]
    counted = [0, *inside]
    start, end = softmax(out.start_logits[0, counted])[1:], softmax(out.end_logits[0, counted])[1:]
    products = np.triu(np.outer(start, end))
    a, b = np.unravel_index(products.argmax(), products.shape)
    answer = ask(question, context, align_to_words=False)
    assert (answer["start"], answer["end"]) == (places[inside[a], 0], places[inside[b], 1])
    assert answer["score"] == pytest.approx(products.max(), rel=1e-4)


def test_all_ways_to_ask(ask):
    question, context = "Who lives in Paris?", "Anna lives in Paris."
    one = ask(question, context)
    asked = {"question": question, "context": context}
    assert ask(asked) == ask([asked]) == ask(**asked) == one
    assert (
        ask(question=[question] * 2, context=context)
        == ask(question=[question] * 2, context=[context] * 2)
        == [one] * 2
    )
    assert ask({"question": [question] * 2, "context": context}) == [one] * 2
    assert ask([asked, asked]) == ask(asked, asked) == list(ask(x for x in [asked, asked])) == [one, one]
    with pytest.warns(FutureWarning, match="data is deprecated"):
        assert ask(data=asked) == one
    with pytest.warns(FutureWarning, match="topk is deprecated"):
        assert ask(**asked, topk=2) == ask(**asked, top_k=2)


def test_a_long_context_is_read_in_windows_and_words_stay_whole(ask):
    answers = plain(ask(question="Who was old?", context=CONTEXT, top_k=20, max_answer_len=3))
    assert len(answers) == 20
    assert any(answer["start"] > len(CONTEXT) * 0.6 for answer in answers)
    for answer in answers:
        assert answer["answer"] == CONTEXT[answer["start"] : answer["end"]]
        assert answer["start"] == 0 or CONTEXT[answer["start"] - 1] == " "
        assert CONTEXT[answer["end"] : answer["end"] + 1] in ("", " ")
    texts = [answer["answer"].lower() for answer in answers]
    assert len(set(texts)) == len(texts)


def test_what_follows_an_unknown_piece_is_of_its_word(ask):
    assert ask.tokenizer.tokenize("\ue000. Who") == ["▁", "\ue000", ".", "▁who"]
    whole = {one["answer"] for one in ask(question="Who?", context="\ue000. Who", top_k=20)}
    assert whole == {"\ue000.", "Who", "\ue000. Who"}
    marked = {one["answer"] for one in ask(question="Who?", context="Who[MASK]", top_k=20)}
    assert marked == {"Who", "[MASK]", "Who[MASK]"}


def test_no_answer_is_one_of_the_answers(ask):
    answers = ask(question="Who?", context="Anna lives in Paris.", top_k=50, handle_impossible_answer=True)
    assert [answer for answer in answers if not answer["answer"]] == [
        {"score": pytest.approx(answers[-1]["score"], abs=1), "start": 0, "end": 0, "answer": ""}
    ]


def test_a_question_that_is_too_long_is_cut_or_refused(ask):
    assert ask(question=LONG, context="Anna lives in Paris.", max_question_len=20)["answer"]
    with pytest.raises(ValueError, match="leaves no room for the context in 64: set max_question_len below 60"):
        ask(question=LONG, context="Anna lives in Paris.")


# --- zero-shot, multiple choice, sentence order, features ------------------------------------------------------------------


def test_zero_shot_weighs_entailment(zero_shot):
    labels = ["sports", "music"]
    logits = np.concatenate([logits_of(zero_shot, TEXTS[0], f"It is about {label}.") for label in labels])
    asked = {"candidate_labels": labels, "hypothesis_template": "It is about {}."}
    answer = plain(zero_shot(TEXTS[0], **asked))
    scores = dict(zip(answer["labels"], answer["scores"], strict=True))
    assert answer["sequence"] == TEXTS[0]
    assert [scores[label] for label in labels] == pytest.approx(softmax(logits[:, 2]), rel=1e-4)
    answer = zero_shot(TEXTS[0], **asked, multi_label=True)
    scores = dict(zip(answer["labels"], answer["scores"], strict=True))
    assert [scores[label] for label in labels] == pytest.approx(softmax(logits[:, [0, 2]])[:, 1], rel=1e-4)
    assert zero_shot(TEXTS[:2], "sports, music")[0] == zero_shot(TEXTS[0], labels)


def test_zero_shot_without_an_entailment_says_that_it_guesses(make):
    with pytest.warns(UserWarning, match="the last is taken for it, which is a guess"):
        make("zero-shot-classification", "AlbertForSequenceClassification", ("pooler", "classifier"), num_labels=3)


def test_choices_are_ranked(choose):
    choices = ["He went home.", "a red book", "Paris"]
    pairs = choose.tokenizer([TEXTS[0]] * 3, choices, padding=True, return_tensors="np")
    logits = choose.model(**{name: value[None] for name, value in pairs.items()}).logits[0]
    answers = plain(choose(TEXTS[0], choices))
    assert [one["index"] for one in answers] == np.argsort(-logits).tolist()
    assert [one["choice"] for one in answers] == [choices[one["index"]] for one in answers]
    assert [one["score"] for one in answers] == pytest.approx(np.sort(softmax(logits))[::-1], rel=1e-4)
    assert choose([{"prompt": TEXTS[0], "choices": choices}]) == [answers]


def test_the_order_of_sentences(order):
    out = order.model(**order.tokenizer(TEXTS[0], TEXTS[1], return_tensors="np"))
    probs = softmax(out.sop_logits[0])
    answer = plain(order(TEXTS[0], TEXTS[1]))
    assert answer == {"label": ("in order", "swapped")[probs.argmax()], "score": pytest.approx(probs.max(), rel=1e-5)}
    assert order([{"text": TEXTS[0], "text_pair": TEXTS[1]}]) == [answer]


def test_features_are_the_last_hidden_state(features):
    states = features.model(**features.tokenizer(TEXTS[0], return_tensors="np")).last_hidden_state
    answer = plain(features(TEXTS[0]))
    assert np.array_equal(np.array(answer, np.float32), states)
    arrays = features(TEXTS, return_tensors=True)
    assert np.array_equal(arrays[0], states)
    with pytest.warns(UserWarning, match="64 tokens are kept"):
        assert features(LONG, return_tensors=True).shape[1] == 64
    assert features(LONG, tokenize_kwargs={"truncation": True, "max_length": 9}, return_tensors=True).shape[1] == 9


# --- what all have in common -----------------------------------------------------------------------------------------------

CALLS = [
    ("classify", TEXTS, {}),
    ("tag", TEXTS, {"aggregation_strategy": "average", "ignore_labels": []}),
    ("ask", [{"question": text, "context": CONTEXT[: 40 * i + 20]} for i, text in enumerate(TEXTS)], {"top_k": 3}),
    ("zero_shot", TEXTS, {"candidate_labels": ["sports", "a longer label"]}),
    ("choose", [{"prompt": text, "choices": ["yes", text]} for text in TEXTS], {}),
    ("order", [{"text": text, "text_pair": "Then it ended."} for text in TEXTS], {}),
    ("features", TEXTS, {}),
]


@pytest.mark.parametrize(("name", "inputs", "options"), CALLS, ids=[name for name, _, _ in CALLS])
def test_an_answer_has_the_same_bits_whatever_its_neighbours(request, name, inputs, options):
    pipe = request.getfixturevalue(name)
    alone = [pipe([one, one], **options)[0] for one in inputs]
    assert pipe(inputs, **options) == alone
    assert pipe(inputs * 20, **options) == alone * 20
    assert list(pipe((one for one in inputs), **options)) == alone
    assert pipe(inputs, batch_size=3, **options) == alone


@pytest.mark.parametrize(
    ("name", "options"), [("tag", {}), ("zero_shot", {"candidate_labels": ["a"]}), ("features", {})]
)
def test_rows_of_a_data_set_have_their_text_in_a_column(request, name, options):
    pipe = request.getfixturevalue(name)
    rows = [{"text": text, "label": i} for i, text in enumerate(TEXTS)]
    assert pipe(rows, **options) == list(pipe(iter(rows), **options)) == pipe(TEXTS, **options)
    assert pipe(rows[0], **options) == pipe(TEXTS[0], **options)
    with pytest.raises(ValueError, match=r"input 0: .*got dict"):
        pipe([{"body": TEXTS[0]}], **options)


@pytest.mark.parametrize(("name", "inputs", "options"), CALLS, ids=[name for name, _, _ in CALLS])
def test_a_bad_input_is_named_or_skipped(request, name, inputs, options):
    pipe = request.getfixturevalue(name)
    given = [inputs[0], 5, inputs[1]]
    with pytest.raises(ValueError, match=r"^input 1: "):
        pipe(given, **options)
    answers = pipe(given, on_error="skip", **options)
    assert list(answers[1]) == ["error"]
    assert answers[1]["error"].startswith("input 1: ")
    assert [answers[0], answers[2]] == pipe(inputs[:2], **options)
    lazy = pipe((one for one in given), **options)
    assert next(lazy) == answers[0]
    with pytest.raises(ValueError, match=r"^input 1: "):
        next(lazy)


@pytest.mark.parametrize(
    ("name", "call", "message"),
    [
        ("classify", lambda pipe: pipe(5), "text-classification takes a text or several; got int"),
        ("classify", lambda pipe: pipe("a", foo=1), "text-classification knows no foo; it takes batch_size"),
        ("classify", lambda pipe: pipe("a", top_k=0), "top_k must be a whole number of at least 1; got 0"),
        ("classify", lambda pipe: pipe("a", function_to_apply="max"), "function_to_apply must be one of softmax"),
        ("classify", lambda pipe: pipe("a", on_error="stop"), "on_error must be one of raise, skip; got 'stop'"),
        ("classify", lambda pipe: pipe("a", truncation=True, tokenizer_kwargs={"truncation": True}), "given twice"),
        ("tag", lambda pipe: pipe([]), "needs at least one text"),
        (
            "tag",
            lambda pipe: pipe("a", aggregation_strategy="best"),
            "must be one of none, simple, first, average, max",
        ),
        ("tag", lambda pipe: pipe("a", stride=62), "stride must be below 62"),
        ("tag", lambda pipe: pipe("a", stride=-1), "stride must be a whole number, 0 or more"),
        ("tag", lambda pipe: pipe("a", stride=1, aggregation_strategy="none"), "needs an aggregation_strategy other"),
        ("tag", lambda pipe: pipe("a", ignore_labels="O"), "ignore_labels must be a list of names; got 'O'"),
        ("tag", lambda pipe: pipe("a", delimiter=5), "delimiter must be a text"),
        ("ask", lambda pipe: pipe(question="Who?"), "needs a question and its context"),
        ("ask", lambda pipe: pipe(question="Who?", context=""), "the context is empty"),
        ("ask", lambda pipe: pipe(question=" ", context="a"), "the question is empty"),
        ("ask", lambda pipe: pipe({"question": "Who?"}), "context: got question"),
        ("ask", lambda pipe: pipe({"question": 5, "context": "a"}), "question: got int"),
        ("ask", lambda pipe: pipe("Who?", question="Who?", context="a"), "not in both ways"),
        (
            "ask",
            lambda pipe: pipe(question=["a", "b"], context=["a"]),
            "a context for each of the 2 questions, or one for all",
        ),
        ("ask", lambda pipe: pipe(question=5, context="a"), "question must be a text or a list of texts; got int"),
        ("ask", lambda pipe: pipe("Who?", "a", doc_stride=-1), "doc_stride must be a whole number, 0 or more"),
        ("ask", lambda pipe: pipe("Who?", "a", max_seq_len=65), "max_seq_len 65 is more than the model's 64 positions"),
        ("ask", lambda pipe: pipe("Who?", "a", doc_stride=60), "more than doc_stride"),
        ("zero_shot", lambda pipe: pipe("a"), "candidate_labels must name at least one label; got None"),
        ("zero_shot", lambda pipe: pipe("", ["a"]), "needs at least one text"),
        ("zero_shot", lambda pipe: pipe(["a", ""], ["a"]), "input 1: an empty text has no label"),
        ("zero_shot", lambda pipe: pipe("a", ["a"], hypothesis_template="no"), "must hold {}"),
        ("zero_shot", lambda pipe: pipe("a", ["a"], hypothesis_template="{a}"), "must hold {}"),
        ("choose", lambda pipe: pipe("a"), "needs the choices of this prompt"),
        ("choose", lambda pipe: pipe("a", ["b"]), "choices must be a list of at least two"),
        ("choose", lambda pipe: pipe(["a"], ["b", "c"]), "choices belong to one prompt, a text; got list"),
        ("order", lambda pipe: pipe("a"), "compares two texts: pass the second one too"),
        ("order", lambda pipe: pipe({"text": "a"}), "got text"),
        (
            "classify",
            lambda pipe: albert_np.pipeline("ner", pipe.model, pipe.tokenizer),
            "needs a model for token class",
        ),
        ("classify", lambda pipe: albert_np.pipeline(["ner"]), "task must be one of"),
        (
            "classify",
            lambda pipe: albert_np.pipeline(None, pipe.model, pipe.tokenizer, foo=1),
            "text-classification knows no foo",
        ),
    ],
)
def test_refusals_are_value_errors_in_words(request, name, call, message):
    with pytest.raises(ValueError, match=message.replace("{", r"\{")) as caught:
        call(request.getfixturevalue(name))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "parts", "task"),
    [
        ("AlbertForSequenceClassification", ("pooler", "classifier"), "text-classification"),
        ("AlbertForTokenClassification", ("classifier",), "token-classification"),
        ("AlbertForQuestionAnswering", ("qa_outputs",), "question-answering"),
        ("AlbertForMultipleChoice", ("pooler", "choice"), "multiple-choice"),
        ("AlbertModel", ("pooler",), "feature-extraction"),
    ],
)
def test_without_a_task_the_class_says_it(make, tmp_path, kind, parts, task):
    made = make(None, kind, parts)
    assert made.task == task
    made.save_pretrained(tmp_path)
    assert albert_np.pipeline(model=tmp_path).task == task


def test_a_class_that_is_not_known_says_no_task(tmp_path):
    config = AlbertConfig.from_pretrained(TINY_MODEL).replace(architectures=["AlbertSomething"])
    config.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"which task is meant\? The model was saved by AlbertSomething: pass task="):
        albert_np.pipeline(model=tmp_path)
