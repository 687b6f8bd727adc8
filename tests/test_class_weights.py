"""Weights of classes: by hand, by scikit-learn and by torch; their gradients; and `albert-np finetune --class-weights`."""

import csv
import json
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import TINY_MODEL, needs
from support.refusals import refusal
from tolerances import PARITY_FLOAT64, REORDERED_FLOAT64

import albert_np
from albert_np import AlbertConfig, AlbertForMaskedLM, AlbertTokenizer, ops
from albert_np.cli import main
from albert_np.golden.cases import PARTS, TINY, batch, trained_like
from albert_np.golden.tolerances import assert_close
from albert_np.training import log
from albert_np.training.class_weights import class_weights
from albert_np.training.finetune import finetune
from albert_np.training.step import count_labels, loss_and_gradients

SINGLE, MULTI = "AlbertForSequenceClassification", "multi"
TOKENS = "AlbertForTokenClassification"
WEIGHTS = np.array([0.5, 4.0, 1.5])


# --- the weights ----------------------------------------------------------------------------------------------------------


def test_balanced_by_hand():
    """Six examples, three classes: 6 / (3 · 3), 6 / (3 · 2), 6 / (3 · 1)."""
    found = class_weights("balanced", ["a", "b", "c"], np.array([0, 0, 1, 2, 1, 0, -100]))
    assert found.tolist() == [6 / 9, 1.0, 2.0]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=5, max_size=60))
def test_balanced_is_scikit_learns(labels):
    utils = needs.module("test", "sklearn.utils.class_weight")
    y = np.array([*labels, *range(5)])
    expected = utils.compute_class_weight("balanced", classes=np.arange(5), y=y)
    assert class_weights("balanced", list("abcde"), y) == pytest.approx(expected, rel=1e-15)


def test_a_class_that_never_occurs_has_the_weight_1_and_is_named():
    """The others' weights are scikit-learn's for the classes that are there: 4 / (2 · 3), 4 / (2 · 1)."""
    with pytest.warns(UserWarning, match="no training example, or every one, has the label b; its weight is 1"):
        found = class_weights("balanced", ["a", "b", "c"], np.array([0, 0, 2, 0]))
    assert found.tolist() == [4 / 6, 1.0, 2.0]


def test_balanced_for_several_labels_is_torchs_advice_for_pos_weight():
    labels = np.array([[1, 0, 1, 0], [0, 0, 1, 0], [0, 1, 1, 0], [0, 0, 1, 0]], float)
    with pytest.warns(UserWarning, match="has the label c, d; its weight is 1"):
        found = class_weights("balanced", list("abcd"), labels)
    assert found.tolist() == [3.0, 3.0, 1.0, 1.0]


def test_weights_that_are_given():
    names, none = ["bad", "good", "1"], np.array([], int)
    assert class_weights([1, 2.5, 0], names, none).tolist() == [1, 2.5, 0]
    assert class_weights(np.array([3.0, 1, 1], np.float32), names, none).tolist() == [3, 1, 1]
    assert class_weights({"good": 5}, names, none).tolist() == [1, 5, 1]
    assert class_weights({1: 5, "bad": 0}, names, none).tolist() == [0, 1, 5]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("heavy", "class_weights must be 'balanced', numbers, or numbers by the names of classes; got 'heavy'"),
        ({"ugly": 2.0}, "class_weights name ugly; the classes are bad, good"),
        ([1.0], "class_weights must be 2 numbers, one for each of bad, good; got [1.0]"),
        ([1.0, 2.0, 3.0], "must be 2 numbers"),
        (2.0, "must be 2 numbers"),
        ([1.0, -0.5], "the class weight of good must be a number, 0 or more; got -0.5"),
        ([True, 1.0], "the class weight of bad must be a number"),
        ([1.0, "2"], "the class weight of good must be a number"),
        ({"bad": math.inf}, "the class weight of bad must be a number"),
        ({"bad": math.nan}, "the class weight of bad must be a number"),
        ([0, 0], "class_weights are all 0"),
    ],
)
def test_weights_that_are_none_are_refused(asked, says):
    assert says in refusal(class_weights, asked, ["bad", "good"], np.array([0, 1]))


# --- the losses -----------------------------------------------------------------------------------------------------------


def test_weighted_losses_by_hand():
    """Two rows with p = 1/2 and 1/4 of their labels, of weights 1 and 3: (1·ln 2 + 3·ln 4) / 4 = 7/4 · ln 2."""
    logits, labels = np.array([[0.0, 0.0], [np.log(3), 0.0], [9.0, 0.0]]), np.array([0, 1, -100])
    assert ops.cross_entropy(logits, labels, weights=np.array([1.0, 3.0])) == pytest.approx(
        7 / 4 * np.log(2), rel=1e-15
    )
    d = ops.cross_entropy_backward(logits, labels, weights=np.array([1.0, 3.0]))
    assert d == pytest.approx(np.array([[-0.5, 0.5], [0.75 * 3, -0.75 * 3], [0, 0]]) / 4, rel=1e-14)
    # σ(0) = 1/2: (5·ln 2 + ln 2) / 2, and dz = (1/2·5 − 5) / 2, (1/2) / 2
    z, y, p = np.zeros((1, 2)), np.array([[1.0, 0.0]]), np.array([5.0, 7.0])
    assert ops.bce_with_logits(z, y, p) == pytest.approx(3 * np.log(2), rel=1e-15)
    assert ops.bce_with_logits_backward(z, y, p) == pytest.approx(np.array([[-1.25, 0.25]]), rel=1e-15)


def test_weights_of_one_are_the_plain_losses():
    rng = np.random.default_rng(0)
    z, labels, y = 3 * rng.standard_normal((6, 3)), np.array([0, 2, 1, -100, 2, 2]), rng.integers(0, 2, (6, 3))
    for loss, target in (("cross_entropy", labels), ("bce_with_logits", y)):
        for name in (loss, f"{loss}_backward"):
            plain, weighted = getattr(ops, name)(z, target), getattr(ops, name)(z, target, weights=np.ones(3))
            assert_close(name, np.asarray(weighted), np.asarray(plain), limit=REORDERED_FLOAT64)


def test_weighted_losses_do_not_overflow_and_are_nan_where_nothing_weighs():
    z = np.array([[1e4, -1e4], [-1e4, 1e4]])
    assert ops.bce_with_logits(z, np.array([[1, 0], [1, 1]]), np.array([2.0, 2.0])) == 2 * 1e4 / 4
    assert np.isfinite(ops.bce_with_logits_backward(z, np.ones((2, 2)), np.array([3.0, 0.0]))).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(ops.cross_entropy(z, np.array([0, 0]), weights=np.array([0.0, 1.0])))
        assert np.isnan(ops.cross_entropy(z, np.array([-100, -100]), weights=np.array([1.0, 1.0])))
    assert ops.cross_entropy(z.astype("float32"), np.array([0, 1]), weights=np.ones(2)).dtype == np.float32


# --- models ---------------------------------------------------------------------------------------------------------------


def made(kind):
    """A model, and a call with labels of which none is ignored but one word's."""
    problem = {"problem_type": "multi_label_classification"} if kind == MULTI else {}
    kind = SINGLE if kind == MULTI else kind
    config = AlbertConfig(**TINY | {"num_labels": 3, "num_hidden_layers": 1, "num_hidden_groups": 1} | problem)
    call = batch(config, kind, 4, padding=True)
    rng = np.random.default_rng(1)
    if problem:
        call["labels"] = rng.integers(0, 2, (len(call["input_ids"]), 3)).astype(float)
    else:
        call["labels"] = rng.integers(0, 3, call["labels"].shape)
    tensors = {name: x.astype("float64") for name, x in trained_like(config, PARTS[kind], 3).items()}
    return getattr(albert_np, kind)(config, backend="numpy", dtype="float64", tensors=tensors), call


@pytest.mark.parametrize("kind", [SINGLE, TOKENS])
def test_a_weighted_loss_is_the_weighted_mean_of_each_rows_own(kind):
    """Σ w·l / Σ w, and the gradients with it: from calls that know nothing of weights."""
    model, call = made(kind)
    loss, gradients = model.value_and_grad(**call, class_weights=WEIGHTS)
    assert loss == model(**call, class_weights=WEIGHTS).loss
    labels, total, expected, sums = call["labels"], 0.0, 0.0, {}
    for place in np.ndindex(labels.shape):
        alone = np.full_like(labels, -100)
        alone[place] = labels[place]
        one, found = model.value_and_grad(**call | {"labels": alone})
        weight = WEIGHTS[labels[place]]
        total, expected = total + weight, expected + weight * one
        sums = {name: sums.get(name, 0) + weight * x for name, x in found.items()}
    assert loss == pytest.approx(expected / total, rel=1e-12)
    for name, x in gradients.items():
        assert_close(name, x + 1, sums[name] / total + 1, limit=1e-12)


@pytest.mark.parametrize("kind", [SINGLE, MULTI, TOKENS])
def test_gradients_of_a_weighted_loss_are_its_central_differences(kind):
    model, call = made(kind)
    _, gradients = model.value_and_grad(**call, class_weights=WEIGHTS)
    name = next(name for name, _ in model.named_parameters() if name.endswith("classifier.bias"))
    for at in range(3):
        ends = []
        for step in (2.0**-17, -(2.0**-17)):
            bias = model.parameters_to_change()[name]
            bias[at] += step
            ends.append(float(model(**call, class_weights=WEIGHTS).loss))
            model.parameters_to_change()[name][at] -= step
        assert gradients[name][at] == pytest.approx((ends[0] - ends[1]) * 2.0**16, rel=1e-7, abs=1e-9)


@pytest.mark.parity
@pytest.mark.parametrize("kind", [SINGLE, MULTI, TOKENS])
def test_weighted_losses_and_gradients_are_torchs(torch, kind):
    model, call = made(kind)
    logits = torch.tensor(np.asarray(model(**call).logits), requires_grad=True)
    labels, weights = torch.from_numpy(call["labels"]), torch.from_numpy(WEIGHTS)
    if kind == TOKENS:
        labels[0, 1] = -100
    if kind == MULTI:
        expected = torch.nn.BCEWithLogitsLoss(pos_weight=weights)(logits, labels)
    else:
        expected = torch.nn.CrossEntropyLoss(weight=weights)(logits.reshape(-1, 3), labels.reshape(-1))
    expected.backward()
    loss, gradients = model.value_and_grad(**call | {"labels": labels.numpy()}, class_weights=WEIGHTS)
    assert_close("loss", np.asarray(loss), np.float64(expected.item()), limit=PARITY_FLOAT64)
    over = tuple(range(logits.ndim - 1))  # ∂loss/∂bias is the sum over the rows
    assert_close("bias", gradients["classifier.bias"] + 1, logits.grad.sum(over).numpy() + 1, limit=PARITY_FLOAT64)


@pytest.mark.parametrize("kind", [SINGLE, TOKENS])
def test_accumulated_batches_weigh_as_one(kind):
    model, call = made(kind)
    whole = call | {"class_weights": WEIGHTS}
    halves = [
        {name: x if name == "class_weights" else x[part] for name, x in whole.items()}
        for part in (slice(0, 1), slice(1, None))
    ]
    expected, others = model.value_and_grad(**whole)
    loss, gradients = loss_and_gradients(model, halves, step=0, dropout=False, seed=0)
    assert loss == pytest.approx(float(expected), rel=1e-12)
    for name, x in gradients.items():
        assert_close(name, x + 1, others[name] + 1, limit=1e-12)


def test_a_batch_of_labels_without_weight_does_not_count():
    ids = np.ones((2, 4), int)
    weights = np.array([0.0, 2.5])
    assert count_labels({"input_ids": ids, "labels": np.array([0, 0]), "class_weights": weights}) == 0
    assert count_labels({"input_ids": ids, "labels": np.array([0, 1]), "class_weights": weights}) == 2.5
    assert count_labels({"input_ids": ids, "labels": np.full((2, 2), 0.0), "class_weights": weights}) == 4


def test_what_cannot_be_weighed_is_refused():
    model, call = made(SINGLE)
    for weights, says in (
        ([1.0, 2.0], "class_weights must have the shape (3,)"),
        ([1.0, 2.0, -1.0], "class_weights must be 0 or more, and one of them above 0; got [1.0, 2.0, -1.0]"),
        ([0.0, 0.0, 0.0], "one of them above 0"),
        ([1.0, 2.0, np.nan], "class_weights"),
    ):
        assert says in refusal(model, **call, class_weights=weights)
    model = type(model)(model.config.replace(problem_type="regression"), backend="numpy")
    numbers = call | {"labels": np.zeros((len(call["labels"]), 3))}
    assert "regression has none" in refusal(model, **numbers, class_weights=WEIGHTS)
    assert "takes labels, logits_positions beside its inputs; got class_weights" in refusal(
        AlbertForMaskedLM(AlbertConfig(**TINY), backend="numpy"), call["input_ids"], class_weights=WEIGHTS
    )


# --- finetune -------------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr(log, "draw", lambda *_: False)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = AlbertConfig.from_pretrained(TINY_MODEL, **small, embedding_size=8, max_position_embeddings=64)
    AlbertForMaskedLM(config, seed=1).save_pretrained(folder)
    AlbertTokenizer.from_pretrained(TINY_MODEL).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def rare(tmp_path):
    """Thirty-six texts of one class and four of the other, which the text does not tell apart; the same to evaluate on."""
    for name in ("train.csv", "dev.csv"):
        with (tmp_path / name).open("w", newline="") as file:
            rows = [
                ["text", "label"],
                *(["the house by the river", "rare" if i % 10 == 0 else "usual"] for i in range(40)),
            ]
            csv.writer(file).writerows(rows)
    return tmp_path


def tune(rare, name, base, task="text-classification", **options):
    settled = {"batch_size": 8, "epochs": 12, "learning_rate": 3e-2, "backend": "numpy", "dropout": False} | options
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*drawn from seed")
        return finetune(task, rare / "train.csv", rare / name, model=base, validation=rare / "dev.csv", **settled)


def test_balanced_weights_make_rare_and_usual_equally_likely(rare, base):
    """The text tells nothing, so that the loss is least at the share of each class: 1/10 and 9/10, or half and half."""
    plain, balanced = tune(rare, "a", base), tune(rare, "b", base, class_weights="balanced")
    assert (plain.class_weights, balanced.class_weights) == ({}, {"rare": 5.0, "usual": 40 / 72})
    entropy = -(0.1 * math.log(0.1) + 0.9 * math.log(0.9))
    assert plain.trained.metrics["loss"] == pytest.approx(entropy, abs=0.05)
    assert balanced.trained.metrics["loss"] == pytest.approx(math.log(2), abs=0.05)


def test_the_same_weights_by_name_or_by_number_have_the_same_bits(rare, base):
    runs = [
        tune(rare, name, base, class_weights=weights, steps=3)
        for name, weights in (("a", [5.0, 1.0]), ("b", {"rare": 5}), ("c", None))
    ]
    first, second, third = (run.trained.checkpoint.joinpath("model.safetensors").read_bytes() for run in runs)
    assert first == second != third


def test_a_resume_with_other_weights_is_warned_about(rare, base):
    tune(rare, "a", base, class_weights={"rare": 2}, steps=1)
    assert log.read(rare / "a" / "log.jsonl")[0] == {
        "step": 0,
        "max_length": 64,
        "class_weights": {"rare": 2.0, "usual": 1.0},
    }
    with pytest.warns(UserWarning, match=r"other settings: class_weights .*2.0.* -> .*5.0"):
        tune(rare, "a", base, class_weights={"rare": 5}, steps=1, resume=True)


def test_words_and_several_labels_have_weights_too(rare, base):
    words = {"tokens": ["the", "house", "river"], "labels": ["O", "B-X", -100]}
    texts = {"text": "the house", "label": ["a"]}
    for task, rows, names, expected in (
        ("token-classification", [words, words | {"labels": ["O", "O", "O"]}], {}, {"B-X": 5 / 2, "O": 5 / 8}),
        (
            "text-classification",
            [texts, texts | {"label": ["a", "b"]}, texts | {"label": []}],
            {"problem_type": "multi_label_classification"},
            {"a": 1 / 2, "b": 2.0},
        ),
    ):
        path = rare / "train.jsonl"
        path.write_text("\n".join(map(json.dumps, rows)) + "\n")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*drawn from seed")
            options = {
                "validation": path,
                "reading": names,
                "class_weights": "balanced",
                "steps": 1,
                "backend": "numpy",
            }
            done = finetune(task, path, rare / task, model=base, **options)
        assert done.class_weights == pytest.approx(expected)


@pytest.mark.parametrize(
    ("task", "options", "says"),
    [
        ("question-answering", {}, "class_weights are for text-classification and token-classification"),
        ("multiple-choice", {}, "multiple-choice has no classes to weigh"),
        ("text-classification", {"reading": {"problem_type": "regression"}}, "regression has none"),
    ],
)
def test_tasks_without_classes_are_refused_before_anything_is_read(rare, base, task, options, says):
    (rare / "train.csv").unlink()
    assert says in refusal(tune, rare, "out", base, task=task, class_weights="balanced", **options)


def test_the_option_of_the_command(rare, base, capsys):
    command = ["finetune", str(rare / "train.csv"), "--task", "text-classification", "--model", base, "--steps", "1"]
    command += ["--validation", str(rare / "dev.csv")]

    def tuned(name, *weights):
        code = main([*command, "--output", str(rare / name), "--backend", "numpy", "--class-weights", *weights])
        return code, *capsys.readouterr()

    assert "class weights: rare 5, usual 0.5556\n" in tuned("a", "balanced")[1]
    assert "class weights: rare 3, usual 1\n" in tuned("b", "rare=3")[1]
    assert json.loads(tuned("c", "2", "0.5", "--json")[1])["class_weights"] == {"rare": 2.0, "usual": 0.5}
    for weights, says in (
        (["heavy"], "--class-weights takes balanced, or a number for each class, or NAME=NUMBER; got 'heavy'"),
        (["rare=3", "1"], "--class-weights takes numbers alone or NAME=NUMBER alone, not both"),
        (["rare=3", "rare=4"], "--class-weights names 'rare' twice"),
        (["rare=heavy"], "got 'rare=heavy'"),
        (["1", "2", "3"], "class_weights must be 2 numbers, one for each of rare, usual"),
        (["-1", "1"], "the class weight of rare must be a number, 0 or more; got -1.0"),
        (["nan", "1"], "the class weight of rare must be a number, 0 or more; got nan"),
        (["odd=1"], "class_weights name odd; the classes are rare, usual"),
    ):
        code, out, err = tuned("d", *weights)
        assert (code, out) == (1, "")
        assert says in err
        assert len(err.splitlines()) == 1
