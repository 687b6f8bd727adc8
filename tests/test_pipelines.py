"""pipeline("fill-mask"): transformers' shapes and values, and its refusals."""

import json
import pickle
import types

import numpy as np
import pytest
from support import TINY_MODEL
from support.backends import NUMBA, NUMPY, runnable
from tolerances import PARITY_FLOAT64, REORDERED

import albert_np
from albert_np.backends import choose
from albert_np.config import AlbertConfig
from albert_np.golden.cases import trained_like
from albert_np.model import AlbertForMaskedLM, AlbertModel

ONE = "The capital of [MASK] is Paris."
TWO = "The [MASK] of France is [MASK]."


@pytest.fixture(scope="module")
def tokenizer():
    return albert_np.AlbertTokenizer.from_pretrained(TINY_MODEL)


def tiny_model(backend):
    """The tests' vocabulary with trained-like weights, whose scores differ enough to be ranked."""
    config = AlbertConfig.from_pretrained(TINY_MODEL)
    return backend.model("AlbertForMaskedLM", config, trained_like(config, ("predictions",), 7))


@pytest.fixture(scope="module")
def model(backend):
    return tiny_model(backend)


@pytest.fixture(scope="module")
def fill(model, tokenizer):
    return albert_np.pipeline("fill-mask", model, tokenizer)


@pytest.fixture(scope="module")
def steady_fill(tokenizer):
    """On the numba backend, where a text has the same bits alone and in any batch."""
    return albert_np.pipeline("fill-mask", tiny_model(runnable(NUMBA)), tokenizer)


def test_one_mask_gives_a_list_of_answers_best_first(fill, tokenizer, model, backend):
    answers = fill(ONE)
    assert len(answers) == 5
    assert [set(answer) for answer in answers] == [{"score", "token", "token_str", "sequence"}] * 5
    scores = [answer["score"] for answer in answers]
    assert scores == sorted(scores, reverse=True)
    assert json.loads(json.dumps(answers)) == answers  # plain Python values
    ids = tokenizer(ONE, return_tensors="np")
    column = list(ids["input_ids"][0]).index(tokenizer.mask_token_id)
    logits = model(**ids).logits[0, column]
    probs = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    assert answers[0]["token"] == int(np.argmax(probs))
    assert answers[0]["score"] == pytest.approx(float(probs.max()), rel=REORDERED[backend.dtype], abs=0)
    assert answers[0]["token_str"] in answers[0]["sequence"]
    assert "[CLS]" not in answers[0]["sequence"]


def test_several_masks_keep_special_tokens_in_the_sequence(fill):
    answers = fill(TWO, top_k=2)
    assert [len(rows) for rows in answers] == [2, 2]
    assert all("[CLS]" in row["sequence"] and "[MASK]" in row["sequence"] for rows in answers for row in rows)


def test_lists_and_iterables(steady_fill):
    one, two = steady_fill(ONE), steady_fill(TWO)
    assert steady_fill([ONE, TWO]) == [one, two]
    assert steady_fill([ONE]) == one  # as transformers
    lazy = steady_fill(text for text in (ONE, TWO))
    assert next(lazy) == one
    assert list(lazy) == [two]


def test_the_size_of_a_batch_changes_nothing(steady_fill):
    texts = [ONE, TWO, ONE + " " + ONE, TWO] * 3
    answers = [steady_fill(text) for text in texts]
    for size in (1, 2, 5, 100):
        assert steady_fill(texts, batch_size=size) == answers
        assert list(steady_fill(iter(texts), batch_size=size)) == answers


@pytest.mark.parametrize("size", [0, -1, 1.5, "2", True])
def test_a_batch_size_is_a_positive_whole_number(fill, size):
    with pytest.raises(ValueError, match="batch_size must be a whole number of at least 1"):
        fill([ONE], batch_size=size)


def test_a_tokenizer_that_pads_on_the_left_changes_no_answer(steady_fill):
    left = albert_np.AlbertTokenizer.from_pretrained(TINY_MODEL, padding_side="left")
    assert albert_np.pipeline("fill-mask", steady_fill.model, left)([ONE, TWO]) == steady_fill([ONE, TWO])


def test_targets_are_the_only_answers(fill, tokenizer, backend):
    vocab = tokenizer.get_vocab()
    answers = fill(ONE, targets=["▁paris", "▁the"])
    assert {answer["token"] for answer in answers} == {vocab["▁paris"], vocab["▁the"]}
    everything = {answer["token"]: answer["score"] for answer in fill(ONE, top_k=len(vocab))}
    assert len(everything) == len(vocab)
    assert sum(everything.values()) == pytest.approx(1, rel=REORDERED[backend.dtype])
    for answer in answers:  # scores stay probabilities over the whole vocabulary
        assert answer["score"] == everything[answer["token"]]
    with pytest.warns(UserWarning, match="only .* the first, counts"):
        assert fill(ONE, targets="incomprehensible", top_k=1)[0]["token_str"]
    assert fill(ONE, targets="paris", top_k=1)[0]["token"] == vocab["▁paris"]  # one piece, and no warning
    with pytest.warns(UserWarning, match="left out"), pytest.raises(ValueError, match="no target is left"):
        fill(ONE, targets=[" "])


def test_padding_and_repeated_targets_change_nothing(fill, backend):
    padded = fill(ONE, tokenizer_kwargs={"padding": "max_length", "max_length": 40})
    assert [(a["token"], a["sequence"]) for a in padded] == [(a["token"], a["sequence"]) for a in fill(ONE)]
    assert [a["score"] for a in padded] == pytest.approx([a["score"] for a in fill(ONE)], rel=REORDERED[backend.dtype])
    assert len(fill(ONE, targets=["▁paris", "▁paris", "▁the"])) == 2


def test_what_the_config_prefers_to_return_does_not_matter(fill, model, tokenizer, backend):
    config = model.config.replace(return_dict=False, output_attentions=True, output_hidden_states=True)
    other = backend.model("AlbertForMaskedLM", config, model._tensors)
    assert albert_np.pipeline("fill-mask", other, tokenizer)(ONE) == fill(ONE)


def test_long_texts_are_cut_to_the_models_positions_with_one_warning(fill, tokenizer):
    long = ONE + " word" * 200
    tokens = len(tokenizer(long, verbose=False)["input_ids"])
    assert tokens > 128
    with pytest.warns(
        UserWarning, match=f"is {tokens} tokens, and the model has 128 positions: 128 tokens are kept"
    ) as seen:
        answers = fill(long)
    assert len(seen) == 1
    assert answers == fill(long, tokenizer_kwargs={"truncation": True})  # which is no warning
    assert len(tokenizer(answers[0]["sequence"], verbose=False)["input_ids"]) <= 128


def test_tokenizer_kwargs_say_whether_long_texts_are_cut(fill, tokenizer):
    long = ONE + " word" * 200
    with pytest.raises(ValueError, match="at most 128 tokens"):
        fill(long, tokenizer_kwargs={"truncation": False})
    short = fill(long, tokenizer_kwargs={"truncation": True, "max_length": 20})
    assert len(tokenizer(short[0]["sequence"])["input_ids"]) <= 20
    with pytest.warns(UserWarning, match="128 tokens are kept"):  # 40 is what short texts are filled up to
        assert fill(long, tokenizer_kwargs={"padding": "max_length", "max_length": 40})


def test_a_tokenizer_without_a_limit_is_cut_all_the_same(fill):
    long = ONE + " word" * 200
    boundless = albert_np.AlbertTokenizer.from_pretrained(TINY_MODEL, model_max_length=10**30)
    other = albert_np.pipeline("fill-mask", fill.model, boundless)
    cut = {"tokenizer_kwargs": {"truncation": True}}
    assert other(long, **cut) == fill(long, **cut)
    with pytest.warns(UserWarning, match="128 tokens are kept"):
        assert other(long) == fill(long, **cut)


def test_warnings_name_the_line_that_asked(fill, tokenizer):
    long = " ".join(["[MASK]", *["house"] * 200])
    ways = (lambda: fill(long), lambda: fill([long, "a [MASK]"]), lambda: next(fill(iter([long]))))
    for ask in ways:
        with pytest.warns(UserWarning, match="tokens are kept") as caught:
            ask()
        assert [warning.filename for warning in caught] == [__file__]


def test_padding_beyond_the_models_positions_is_left_out_without_a_warning(fill):
    wide = albert_np.AlbertTokenizer.from_pretrained(TINY_MODEL, model_max_length=200)
    options = {"tokenizer_kwargs": {"padding": "max_length"}}
    answers = albert_np.pipeline("fill-mask", fill.model, wide)(ONE, **options)
    assert [answer["token"] for answer in answers] == [answer["token"] for answer in fill(ONE)]


def test_a_mask_behind_the_cut_is_an_error_that_says_so(fill, tokenizer):
    text = "word " * 200 + ONE
    tokens = len(tokenizer(text, verbose=False)["input_ids"])
    message = rf"no \[MASK\] is left in 'word word .*, cut from {tokens} tokens to 128"
    with pytest.warns(UserWarning, match="128 tokens are kept"), pytest.raises(ValueError, match=message):
        fill(text)
    with pytest.raises(ValueError, match=message):
        fill(text, tokenizer_kwargs={"truncation": True})


def of_transformers(name):
    """Something of transformers' that has the name of a class of ours."""
    return type(name, (), {"__module__": "transformers.models.albert"})()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda fill: fill("no mask here"), r"no \[MASK\] in 'no mask here'"),
        (lambda fill: fill(5), "a text or several"),
        (lambda fill: fill([ONE, None]), "takes texts"),
        (lambda fill: fill(ONE, top_k=0), "top_k"),
        (lambda fill: fill(ONE, top_k=1001), "from 1 to 1,000"),
        (lambda fill: fill(ONE, top_k=True), "top_k"),
        (lambda fill: fill(ONE, targets=[3]), "targets must be words"),
        (lambda fill: fill(ONE, tokenizer_kwargs=5), "tokenizer_kwargs may set truncation"),
        (lambda fill: fill(ONE, tokenizer_kwargs={"text": "a"}), "tokenizer_kwargs may set truncation"),
        (lambda fill: albert_np.pipeline("fill-mask", fill.model, 5), "name or an AlbertTokenizer; got int"),
        (
            lambda fill: albert_np.pipeline("fill-mask", fill.model, of_transformers("AlbertTokenizer")),
            "name or an AlbertTokenizer; got AlbertTokenizer of transformers$",
        ),
        (
            lambda fill: albert_np.pipeline("fill-mask", of_transformers("AlbertForMaskedLM"), fill.tokenizer),
            "got AlbertForMaskedLM of transformers$",
        ),
        (
            lambda fill: albert_np.pipeline("fill-mask", fill.model, fill.tokenizer, dtype="float32"),
            "dtype: the model is",
        ),
        (
            lambda fill: albert_np.pipeline("fill-mask", fill.model, fill.tokenizer, revision="a"),
            "revision: the model is",
        ),
        (lambda fill: albert_np.pipeline("summarization"), "task must be one of feature-extraction, fill-mask"),
        (lambda fill: albert_np.pipeline("fill-mask", framework="pt"), "framework can only be 'np' here.* got 'pt'"),
        (lambda fill: albert_np.pipeline("fill-mask", framework="tf"), "framework can only be 'np'"),
        (lambda fill: albert_np.pipeline("fill-mask", nothing=1), "fill-mask knows no nothing; it takes batch_size"),
        (lambda fill: fill(ONE, nothing=1), "fill-mask knows no nothing; it takes batch_size"),
        (
            lambda fill: albert_np.pipeline("fill-mask", feature_extractor="a"),
            "feature_extractor: fill-mask reads texts",
        ),
        (
            lambda fill: albert_np.pipeline("fill-mask", pipeline_class=dict),
            "the class for fill-mask is FillMaskPipeline",
        ),
        (lambda fill: albert_np.pipeline("fill-mask", trust_remote_code=True), "trust_remote_code=True runs code"),
        (lambda fill: albert_np.pipeline("fill-mask", model_kwargs=5), "model_kwargs must be a dict"),
        (
            lambda fill: albert_np.pipeline("fill-mask", dtype="float64", model_kwargs={"dtype": "float32"}),
            "dtype: given as an argument and again in model_kwargs",
        ),
        (lambda fill: albert_np.pipeline("fill-mask", model_kwargs={"nothing": 1}), "from_pretrained knows no nothing"),
        (lambda fill: albert_np.pipeline("fill-mask", device="mps"), "device must be 'cpu', 'cuda'"),
        (lambda fill: albert_np.pipeline("fill-mask", device="cuda:7"), "CUDA_VISIBLE_DEVICES=7"),
        (
            lambda fill: albert_np.pipeline("fill-mask", device=0, backend="numpy"),
            "backend='numpy' does not compute on cuda:0",
        ),
        (
            lambda fill: albert_np.pipeline("fill-mask", device="cpu", backend="cuda"),
            "backend='cuda' does not compute on cpu",
        ),
        (
            lambda fill: albert_np.pipeline("fill-mask", device=-1, device_map="cuda"),
            "device and device_map name cpu, cuda:0",
        ),
        (
            lambda fill: albert_np.pipeline("fill-mask", fill.model, fill.tokenizer, device="cuda"),
            "a model on cpu does not move to cuda:0",
        ),
        (
            lambda fill: albert_np.pipeline("fill-mask", fill.model, fill.tokenizer, model_kwargs={"seed": 1}),
            "seed: the model is loaded already",
        ),
        (
            lambda fill: albert_np.pipeline("fill-mask", fill.model, str(TINY_MODEL), dtype="float64"),
            "dtype: the model is loaded already",
        ),
        (lambda fill: albert_np.pipeline("fill-mask", fill.model, fill.tokenizer, batch_size=0), "batch_size must be"),
        (lambda fill: albert_np.pipeline("fill-mask", fill.model, fill.tokenizer, top_k=0), "top_k must be"),
        (
            lambda fill: albert_np.pipeline("fill-mask", fill.model, fill.tokenizer, targets=[3]),
            "targets must be words",
        ),
        (
            lambda fill: albert_np.pipeline("fill-mask", fill.model, fill.tokenizer, tokenizer_kwargs={"text": 1}),
            "tokenizer_kwargs may set",
        ),
        (lambda fill: albert_np.pipeline("fill-mask", fill.model), "pass tokenizer="),
        (lambda fill: albert_np.pipeline("fill-mask", AlbertModel(fill.model.config), fill.tokenizer), "AlbertModel"),
        (lambda fill: albert_np.pipeline("fill-mask", small_model(), fill.tokenizer), "belong together"),
    ],
)
def test_refusals_are_value_errors_in_words(fill, call, message):
    with pytest.raises(ValueError, match=message):
        call(fill)


@pytest.fixture(scope="module")
def folder(fill, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved")
    fill.save_pretrained(path)
    return path


def test_what_every_call_would_be_told_can_be_told_once(fill):
    chosen = albert_np.pipeline(
        "fill-mask",
        fill.model,
        fill.tokenizer,
        targets=["▁paris", "▁the"],
        top_k=1,
        batch_size=2,
        tokenizer_kwargs={"truncation": False},
    )
    assert chosen(ONE) == fill(ONE, targets=["▁paris", "▁the"], top_k=1)
    assert chosen([ONE, ONE]) == fill([ONE, ONE], targets=["▁paris", "▁the"], top_k=1)
    assert chosen(ONE, targets="▁the", top_k=3) == fill(ONE, targets="▁the", top_k=3)  # a call has the last word
    with pytest.raises(ValueError, match="at most 128 tokens"):
        chosen(ONE + " word" * 200)
    with pytest.warns(UserWarning, match="128 tokens are kept"):
        chosen(ONE + " word" * 200, tokenizer_kwargs={})
    assert (chosen.device, chosen.framework) == ("cpu", "np")


def test_a_batch_size_given_once_is_that_of_every_call(fill, monkeypatch):
    sizes = []
    together = type(fill)._together
    monkeypatch.setattr(type(fill), "_together", lambda *args: (sizes.append(len(args[1])), together(*args))[1])
    twos = albert_np.pipeline("fill-mask", fill.model, fill.tokenizer, batch_size=2)
    twos([ONE] * 5)
    list(twos(iter([ONE] * 3)))
    twos([ONE] * 5, batch_size=4)
    assert sizes == [2, 2, 1, 2, 1, 4, 1]


PLACES = [
    {"device": "cpu"},
    {"device": -1},
    {"device": types.SimpleNamespace(type="cpu", index=None)},  # a torch.device
    {"device_map": "cpu"},
    {"device_map": "auto"},
    {"device_map": {"": "cpu"}},
    {"device": "cpu", "device_map": {"": -1}},
]


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_the_cpu_by_all_its_names(folder, place):
    made = albert_np.pipeline("fill-mask", folder, dtype="float64", **place)
    assert (made.model.backend, made.device) == ("numpy", "cpu")
    again = albert_np.pipeline("fill-mask", made.model, made.tokenizer, **place)
    assert again(ONE) == made(ONE)


@pytest.mark.parametrize(
    "place",
    [
        {"device": 0},
        {"device": "cuda"},
        {"device": "cuda:0"},
        {"device": types.SimpleNamespace(type="cuda", index=0)},
        {"device_map": "cuda"},
        {"device_map": {"": 0}},
        {"model_kwargs": {"device_map": "cuda:0"}},
    ],
    ids=str,
)
def test_the_gpu_by_all_its_names_is_the_backend_for_it(folder, monkeypatch, place):
    asked = []

    def from_pretrained(name, *, backend, **options):
        asked.append(backend)
        raise ValueError("as far as this test goes")

    monkeypatch.setattr(AlbertForMaskedLM, "from_pretrained", from_pretrained)
    for backend in ({}, {"backend": "cuda"}, {"backend": "auto"}):
        with pytest.raises(ValueError, match="as far as this"):
            albert_np.pipeline("fill-mask", folder, **place, **backend)
    assert asked == ["cuda"] * 3


@pytest.mark.parametrize("task", ["feature-extraction", "sentence-order", "sentence-similarity"])
def test_other_tasks_have_a_place_too(task, monkeypatch):
    made = albert_np.pipeline(task, "demo", device=-1, device_map="auto", framework="np", feature_extractor=None)
    model = made.encoder.model if task == "sentence-similarity" else made.model
    assert model.device == "cpu"
    parts = (made.encoder,) if task == "sentence-similarity" else (model, made.tokenizer)
    assert albert_np.pipeline(task, *parts, device="cpu")
    with pytest.raises(ValueError, match="a model on cpu does not move to cuda:0"):
        albert_np.pipeline(task, *parts, device=0)
    with pytest.raises(ValueError, match="dtype: the model is loaded already"):
        albert_np.pipeline(task, *parts, dtype="float64")
    monkeypatch.setattr("albert_np.backends.cuda.missing", lambda dtype: "no GPU for this test")
    with pytest.raises(ValueError, match="no GPU for this test"):
        albert_np.pipeline(task, "demo", device="cuda")


def test_a_gpu_that_is_not_there_is_an_error_and_no_other_place(folder):
    if choose.available()["cuda"] == "yes":
        pytest.skip("there is a GPU")
    with pytest.raises(ValueError, match="backend 'cuda' needs an NVIDIA GPU"):
        albert_np.pipeline("fill-mask", folder, device=0)


def test_what_the_model_is_told(folder, fill, backend):
    given = {"backend": backend.name, "dtype": backend.dtype}
    expected = fill(ONE)
    assert albert_np.pipeline("fill-mask", folder, model_kwargs=given)(ONE) == expected
    assert albert_np.pipeline("fill-mask", folder, torch_dtype=backend.dtype, backend=backend.name)(ONE) == expected
    config = fill.model.config.replace(output_hidden_states=True)
    other = albert_np.pipeline("fill-mask", folder, config=config, **given)
    assert other.model.config.output_hidden_states
    assert other(ONE) == expected
    assert albert_np.pipeline("fill-mask", folder, config=str(folder), **given)(ONE) == expected
    shallow = albert_np.pipeline("fill-mask", folder, model_kwargs={"num_hidden_layers": 1}, **given)
    assert shallow.model.config.num_hidden_layers == 1


def test_what_changes_nothing_is_accepted(folder, fill, backend):
    made = albert_np.pipeline(
        task="fill-mask",
        model=str(folder),
        tokenizer=(str(folder), {"use_fast": True}),
        feature_extractor=None,
        image_processor=None,
        processor=None,
        framework="np",
        revision=None,
        use_fast=False,
        token=None,
        trust_remote_code=False,
        pipeline_class=None,
        num_workers=0,
        model_kwargs={"attn_implementation": "eager", "low_cpu_mem_usage": True},
        backend=backend.name,
        dtype=backend.dtype,
    )
    assert made(ONE, num_workers=2) == fill(ONE)


def test_a_tokenizer_comes_by_name_beside_a_loaded_model(fill):
    made = albert_np.pipeline("fill-mask", fill.model, tokenizer=TINY_MODEL, revision="main")
    assert made(ONE) == fill(ONE)
    lower = albert_np.pipeline("fill-mask", fill.model, tokenizer=(TINY_MODEL, {"do_lower_case": False}))
    assert not lower.tokenizer.do_lower_case


def test_a_pipeline_exception_is_a_value_error_with_task_and_model(fill):
    from albert_np import PipelineException

    with pytest.raises(PipelineException, match=r"no \[MASK\] in 'no mask here'") as caught:
        fill(["no mask here"])
    error = caught.value
    assert isinstance(error, ValueError)
    assert (error.task, error.model, str(error)[:9]) == ("fill-mask", "albert", "input 0: ")
    with pytest.raises(PipelineException, match=r"^there is no"):
        fill("no mask here")
    assert "there is no" in fill(["no mask here", ONE], on_error="skip")[0]["error"]
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.task) == (PipelineException, str(error), "fill-mask")
    maskless = albert_np.AlbertTokenizer.from_pretrained(TINY_MODEL, mask_token=None)
    with pytest.raises(PipelineException, match="the tokenizer has no mask token"):
        albert_np.pipeline("fill-mask", fill.model, maskless)


def small_model():
    return AlbertForMaskedLM(
        AlbertConfig(vocab_size=30, embedding_size=4, hidden_size=8, num_attention_heads=2, intermediate_size=8)
    )


def test_save_pretrained_puts_model_and_tokenizer_side_by_side(fill, backend, tmp_path):
    fill.save_pretrained(tmp_path)
    assert {"config.json", "model.safetensors", "spiece.model", "tokenizer_config.json"} <= {
        p.name for p in tmp_path.iterdir()
    }
    again = albert_np.pipeline("fill-mask", tmp_path, backend=backend.name, dtype=backend.dtype)
    assert again(ONE) == fill(ONE)


@pytest.mark.parity
@pytest.mark.parametrize("backend", [NUMPY], ids=str, indirect=True)
@pytest.mark.parametrize(("text", "options"), [(ONE, {}), (TWO, {"top_k": 3}), (ONE, {"targets": ["▁paris", "▁the"]})])
def test_fill_mask_equals_transformers(fill, tmp_path, transformers, text, options):
    fill.save_pretrained(tmp_path)
    theirs = transformers.pipeline(
        "fill-mask",
        model=transformers.AlbertForMaskedLM.from_pretrained(tmp_path, dtype="float64"),
        tokenizer=transformers.AlbertTokenizer.from_pretrained(tmp_path),
    )
    expected, actual = theirs(text, **options), fill(text, **options)
    flatten = lambda answers: [row for rows in answers for row in (rows if isinstance(rows, list) else [rows])]  # noqa: E731
    for a, b in zip(flatten(actual), flatten(expected), strict=True):
        assert a.pop("score") == pytest.approx(b.pop("score"), rel=PARITY_FLOAT64, abs=0)
        assert a == b
