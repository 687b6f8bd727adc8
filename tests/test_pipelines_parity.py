"""Live comparison of all pipelines with those of transformers 4.57.6, on random texts and trained-like weights.

Where transformers is wrong, the comparison says what is left out, or applies the right rule to transformers' own logits.
"""

import functools

import numpy as np
import pytest
from support import TINY_MODEL

import albert_np
from albert_np.config import AlbertConfig
from albert_np.golden.cases import trained_like

pytestmark = pytest.mark.parity
TAGS = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC", 4: "I-LOC"}
NLI = {0: "contradiction", 1: "neutral", 2: "entailment"}
CLASSES = {
    "cls": ("AlbertForSequenceClassification", ("pooler", "classifier"), {"num_labels": 3}),
    "many": (
        "AlbertForSequenceClassification",
        ("pooler", "classifier"),
        {"num_labels": 4, "problem_type": "multi_label_classification"},
    ),
    "nli": ("AlbertForSequenceClassification", ("pooler", "classifier"), {"id2label": NLI}),
    "ner": ("AlbertForTokenClassification", ("classifier",), {"id2label": TAGS}),
    "qa": ("AlbertForQuestionAnswering", ("qa_outputs",), {}),
    "base": ("AlbertModel", ("pooler",), {}),
}
WORDS = [
    "the",
    "a",
    "of",
    "in",
    "cat",
    "dog",
    "river",
    "Anna",
    "Paris",
    "France",
    "king",
    "old",
    "house",
    "walked",
    "lived",
    "saw",
    "said",
    "morning",
    "evening",
    "water",
    "bread",
    "tree",
    "Naïve",
    "café",
    "1999",
    "12,000",
    "ﬁne",
    "don't",
    "well-known",
    "U.S.",
    "日本",
    "😀",
    "ﬀ",
    "été",
    "O'Neil",
    "x+y",
    "½",
    "Łódź",
    "STRAßE",
]


def sentence(rng, n):
    """Words with single spaces between them, and a full stop."""
    return " ".join(rng.choice(WORDS, n)) + "."


def plain_sentence(rng, n):
    """Words that the vocabulary has pieces for: at a lone ▁, transformers' rule for words is wrong."""
    return " ".join(rng.choice(known_words(), n)) + "."


@functools.cache
def known_words():
    tokenizer = albert_np.AlbertTokenizer.from_pretrained(TINY_MODEL)
    return [word for word in WORDS[:24] if tokenizer.tokenize(word)[0] != "▁"]


@pytest.fixture(scope="module")
def pair(tmp_path_factory, transformers):
    """name, task -> our pipeline and transformers', on one folder with trained-like weights and both tokenizers' files."""
    made = {}

    def make(name, task, **options):
        if (name, task) not in made:
            folder = tmp_path_factory.mktemp(name)
            kind, parts, values = CLASSES[name]
            config = AlbertConfig.from_pretrained(TINY_MODEL).replace(max_position_embeddings=48, **values)
            getattr(albert_np, kind)(config, tensors=trained_like(config, parts, 11)).save_pretrained(folder)
            fast = albert_np.AlbertTokenizerFast.from_pretrained(TINY_MODEL)
            fast.model_max_length = 48
            fast.save_pretrained(folder)
            theirs = transformers.pipeline(
                task,
                model=str(folder),
                tokenizer=transformers.AlbertTokenizerFast.from_pretrained(folder),
                device="cpu",
            )
            made[name, task] = albert_np.pipeline(task, folder, **options), theirs
        return made[name, task]

    return make


def same(ours, theirs):
    """Equal but for scores, which are within 1e-5."""
    if isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for key in theirs:
            same(ours[key], theirs[key])
    elif isinstance(theirs, list):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            same(a, b)
    elif isinstance(theirs, (float, np.floating)):
        assert ours == pytest.approx(float(theirs), abs=1e-5)
    else:
        assert ours == theirs


@pytest.mark.parametrize("name", ["cls", "many"])
@pytest.mark.parametrize("options", [{}, {"top_k": None}, {"top_k": 2}, {"function_to_apply": "sigmoid"}], ids=str)
def test_text_classification(pair, name, options):
    ours, theirs = pair(name, "text-classification")
    rng = np.random.default_rng(1)
    texts = [sentence(rng, n) for n in (1, 3, 9, 12, 5)]
    same(ours(texts, **options), theirs(texts, **options))
    same(ours(texts[0], **options), theirs(texts[0], **options))
    paired = [{"text": a, "text_pair": b} for a, b in zip(texts[:2], texts[2:4], strict=True)]
    same(ours(paired, **options), theirs(paired, **options))
    same(ours(paired[0], **options), theirs(paired[0], **options))


@pytest.mark.parametrize("options", [{}, {"multi_label": True}, {"hypothesis_template": "About {}!"}], ids=str)
def test_zero_shot(pair, options):
    ours, theirs = pair("nli", "zero-shot-classification")
    rng = np.random.default_rng(2)
    texts = [sentence(rng, n) for n in (2, 9, 60)]  # the last is cut
    with pytest.warns(UserWarning, match="48 tokens are kept"):
        found = ours(texts, ["cats", "old houses", "x"], **options)
    same(found, theirs(texts, candidate_labels=["cats", "old houses", "x"], **options))
    same(ours(texts[0], "a, b", **options), theirs(texts[0], candidate_labels="a, b", **options))


def test_feature_extraction(pair):
    ours, theirs = pair("base", "feature-extraction")
    rng = np.random.default_rng(3)
    texts = [sentence(rng, n) for n in (2, 9, 14)]
    for text, a, b in zip(texts, ours(texts), theirs(texts), strict=True):
        scale = np.abs(b).max()
        assert np.abs(np.array(a) - np.array(b)).max() <= 1e-5 * scale, text
    assert np.array(ours(texts[0])).shape == np.array(theirs(texts[0])).shape


@pytest.mark.parametrize("strategy", ["none", "simple"])
def test_tokens_over_unicode(pair, strategy):
    ours, theirs = pair("ner", "token-classification")
    rng = np.random.default_rng(4)
    texts = [sentence(rng, n) for n in [1, 2, 5, 7, 8, 3] * 5]
    texts += ["line\nbreak  and\ttab", "a\u00a0b", "👩‍👩‍👧 Anna", "nai\u0308ve", "", " "]
    for text in texts:
        a = ours(text, aggregation_strategy=strategy, ignore_labels=[])
        b = theirs(text, aggregation_strategy=strategy, ignore_labels=[])
        same(a, [{**one, "score": float(one["score"])} for one in b])


@pytest.mark.filterwarnings("ignore:Tokenizer does not support real words")
@pytest.mark.parametrize("strategy", ["first", "average", "max"])
@pytest.mark.parametrize("stride", [None, 8])
def test_words_between_single_spaces(pair, strategy, stride):
    """There transformers' rule for words is right; the spaces inside an entity of several words, it loses."""
    ours, theirs = pair("ner", "token-classification")
    rng = np.random.default_rng(5)
    texts = [plain_sentence(rng, n) for n in [1, 2, 5, 12, 60 if stride else 12] * 4]
    given = {"aggregation_strategy": strategy, "ignore_labels": [], **({"stride": stride} if stride else {})}
    for text in texts:
        a, b = ours(text, **given), theirs(text, **given)
        assert [one.pop("word").replace(" ", "") for one in a] == [one.pop("word").replace(" ", "") for one in b]
        same(a, [{**one, "score": float(one["score"])} for one in b])


def expected_answers(pipe, question, context, *, top_k, impossible, align):
    """transformers' windows, logits and probabilities, with the rule that a score is a probability inside one window.

    Words are whole words of the context: in these contexts, what stands between two spaces.
    """
    from transformers.pipelines.question_answering import select_starts_ends

    best, nothing = {}, 1e6
    sample = pipe.create_sample(question, context)
    for features in pipe.preprocess(sample):
        out = pipe.forward(dict(features))
        starts, ends, scores, nothing = select_starts_ends(
            *(out[name].numpy() for name in ("start", "end", "p_mask", "attention_mask")),
            nothing,
            2 * top_k + 10 if align else top_k,
            impossible,
            15,
        )
        here = {}
        for s, e, score in zip(starts, ends, scores, strict=True):
            a, b = out["encoding"].offsets[s][0], out["encoding"].offsets[e][1]
            if align:
                a, b = context.rfind(" ", 0, a) + 1, context.find(" ", b - 1)
                b = len(context) if b < 0 else b
            if score > 0:
                one = here.setdefault(
                    context[a:b].lower(), {"score": 0.0, "start": a, "end": b, "answer": context[a:b]}
                )
                one["score"] += float(score)
        for key, one in here.items():
            if key not in best or one["score"] > best[key]["score"]:
                best[key] = one
    found = list(best.values())
    if impossible:
        found.append({"score": nothing, "start": 0, "end": 0, "answer": ""})
    found = sorted(found, key=lambda one: one["score"], reverse=True)[:top_k]
    return found[0] if len(found) == 1 else found


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # torch 2.13 with NumPy 2
@pytest.mark.parametrize("impossible", [False, True])
@pytest.mark.parametrize("align", [False, True])
def test_questions_about_contexts_longer_than_the_window(pair, impossible, align):
    """280 contexts in all, of which 224 are longer than the window of 48 tokens."""
    ours, theirs = pair("qa", "question-answering")
    rng = np.random.default_rng([6, impossible, align])
    longer = 0
    for number in range(70):
        short = number % 5 == 0
        n = int(rng.integers(3, 12) if short else rng.integers(45, 120))
        question, context = plain_sentence(rng, 3), plain_sentence(rng, n)
        top_k = int(rng.integers(1, 4))
        given = {"top_k": top_k, "handle_impossible_answer": impossible, "align_to_words": align}
        found = ours(question=question, context=context, **given)
        wanted = expected_answers(theirs, question, context, top_k=top_k, impossible=impossible, align=align)
        same(found, wanted)
        longer += len(ours.tokenizer(question, context, verbose=False)["input_ids"]) > 48
        if short and top_k == 1 and not impossible:  # one window: transformers itself is right
            same(found, theirs(question=question, context=context, **given))
    assert longer >= 50
