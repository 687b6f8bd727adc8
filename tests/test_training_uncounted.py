"""Batches in which no label counts: their loss would be 0/0. They are skipped and counted; any other NaN is still found."""

import dataclasses
import json
import re
import warnings

import numpy as np
import pytest
from support.refusals import refusal
from support.stand_in import PLAN, Logistic, Shuffled, examples, run

from albert_np import (
    AlbertConfig,
    AlbertForMaskedLM,
    AlbertForPreTraining,
    AlbertForQuestionAnswering,
    AlbertForTokenClassification,
    AlbertTokenizer,
)
from albert_np.cli import main
from albert_np.golden.cases import PARTS, TINY, batch, trained_like
from albert_np.training import log
from albert_np.training import pretrain as pretraining
from albert_np.training.finetune import finetune
from albert_np.training.loop import Plan, train
from albert_np.training.optimizers import AdamW, Schedule
from albert_np.training.step import count_labels, loss_and_gradients

CONFIG = AlbertConfig(**TINY)
NO_DROPOUT = dataclasses.replace(PLAN, dropout=False)


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr(log, "draw", lambda *_: False)


def without_labels(count, seed=2):
    return examples(count, seed=seed) | {"labels": np.full(count, -100)}


# --- steps ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accumulate", [1, 2, 3])
def test_a_batch_without_a_label_that_counts_is_skipped_and_counted(tmp_path, accumulate):
    """Wherever it stands: the weights are those of a training that never saw it."""
    full = [examples(4, seed=seed) for seed in range(6)]
    plan = dataclasses.replace(NO_DROPOUT, accumulate=accumulate, steps=6 // accumulate, log_every=1)
    alone = [without_labels(4) for _ in range(accumulate)]  # a whole step of them
    expected, ended = run(tmp_path / "a", plan, data=full)
    found, skipped = run(tmp_path / "b", plan, data=[*full[:accumulate], *alone, *full[accumulate:]])
    assert (ended.skipped, skipped.skipped, skipped.step) == (0, accumulate, plan.steps)
    assert all(np.array_equal(x, expected.tensors[name]) for name, x in found.tensors.items())
    lines = [line.get("skipped_batches", 0) for line in log.read(tmp_path / "b" / "log.jsonl") if "loss" in line]
    assert lines == [0, *[accumulate] * (plan.steps - 1)]
    assert not any("skipped_batches" in line for line in log.read(tmp_path / "a" / "log.jsonl"))
    tokens = [log.read(tmp_path / name / "log.jsonl")[-2]["tokens"] for name in "ab"]
    assert tokens[0] == tokens[1]


def test_one_of_the_accumulated_batches_may_have_no_label(tmp_path):
    data = [examples(4, seed=1), without_labels(4), examples(4, seed=2), examples(4, seed=3)]
    _, ended = run(tmp_path, dataclasses.replace(NO_DROPOUT, accumulate=2, steps=4), data=data)
    assert (ended.step, ended.skipped) == (4, 2)


def test_a_resumed_training_counts_on_and_has_the_same_bits(tmp_path):
    data = [*(examples(4, seed=seed) for seed in range(3)), without_labels(4), without_labels(4)]
    plan = dataclasses.replace(PLAN, accumulate=1, steps=12)
    whole, ended = run(tmp_path / "whole", plan, data=list(data))
    run(tmp_path / "parts", dataclasses.replace(plan, steps=7), data=list(data))
    parts, resumed = run(tmp_path / "parts", plan, data=list(data), resume=True)
    assert ended.skipped == resumed.skipped == 6
    assert all(np.array_equal(x, whole.tensors[name]) for name, x in parts.tensors.items())


@pytest.mark.parametrize("data", [[without_labels(4)] * 4, [without_labels(1)]])
def test_data_without_any_label_that_counts_is_refused(tmp_path, data):
    message = refusal(run, tmp_path, data=data)
    assert "no label counts in" in message
    assert "at step 1" in message


def test_data_that_ends_without_a_label_is_refused(tmp_path):
    class Once(Shuffled):
        def __iter__(self):
            yield from (x | {"labels": np.full(4, -100)} for x in super().__iter__()) if self.epoch == 0 else ()

    assert "nothing to train on: no label of it counts" in refusal(run, tmp_path, data=Once(20, 4))


def test_a_loss_that_is_nan_where_labels_count_still_ends_the_run(tmp_path):
    class Exploding(Logistic):
        def value_and_grad(self, *args, **kwargs):
            loss, gradients = super().value_and_grad(*args, **kwargs)
            return (float("nan") if self.calls == 3 else loss), gradients

    data = [examples(4, seed=1), without_labels(4)]
    plan = dataclasses.replace(NO_DROPOUT, accumulate=1)
    assert "the loss is nan and the gradients' norm" in refusal(run, tmp_path, plan, model=Exploding(), data=data)


# --- what counts, by head -------------------------------------------------------------------------------------------------


def albert(kind):
    tensors = {name: x.astype("float64") for name, x in trained_like(CONFIG, PARTS[kind.__name__], 3).items()}
    return kind(CONFIG, backend="numpy", dtype="float64", tensors=tensors)


def uncounted(kind):
    """A batch of which no label counts, in each way that this head has."""
    whole = batch(CONFIG, kind.__name__, 5, padding=True)
    T = whole["input_ids"].shape[1]
    if kind is AlbertForQuestionAnswering:
        beyond = {name: np.full_like(whole[name], T + i) for i, name in enumerate(("start_positions", "end_positions"))}
        return whole, [whole | beyond, *(whole | {name: x} for name, x in beyond.items())]
    names = [name for name in ("labels", "sentence_order_label") if name in whole]
    return whole, [whole | {name: np.full_like(whole[name], -100)} for name in names]


KINDS = [AlbertForQuestionAnswering, AlbertForPreTraining, AlbertForTokenClassification, AlbertForMaskedLM]


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_counts_exactly_where_its_loss_is_a_number(kind):
    whole, empty = uncounted(kind)
    model = albert(kind)
    assert count_labels(whole) > 0
    assert np.isfinite(model(**whole).loss)
    for one in empty:
        assert count_labels(one) == 0
        assert np.isnan(model(**one).loss)


@pytest.mark.parametrize("kind", KINDS)
def test_each_head_trains_past_such_a_batch(kind, tmp_path):
    whole, empty = uncounted(kind)
    schedule = Schedule(0.001)
    ended = train(
        albert(kind), [whole, *empty], tmp_path, optimizer=AdamW(), schedule=schedule, plan=Plan(steps=3, dropout=False)
    )
    assert (ended.step, ended.skipped) == (3, 2 * len(empty))
    model = albert(kind)
    loss, gradients = loss_and_gradients(model, [*empty, whole], step=0, dropout=False, seed=0)
    expected, others = model.value_and_grad(**whole)
    assert loss == expected
    assert all(np.array_equal(x, others[name]) for name, x in gradients.items())


def test_positions_beyond_the_input_do_not_weigh():
    T, start = 8, np.array([1, 8, 3, 99])
    inputs = {"input_ids": np.ones((4, T), int), "start_positions": start}
    assert count_labels(inputs | {"end_positions": np.array([2, 7, 4, 5])}) == 3
    assert count_labels(inputs | {"end_positions": np.array([8, 8, 9, 8])}) == 0
    embedded = {"inputs_embeds": np.ones((4, T, 3)), "start_positions": start, "end_positions": start}
    assert count_labels(embedded) == 2


def test_several_labels_a_row_always_count():
    """A row without a label says that it has none of them."""
    ids = np.ones((2, 4), int)
    assert count_labels({"input_ids": ids, "labels": np.zeros((2, 3))}) == 6


# --- evaluations ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def base(tmp_path_factory, tiny_dir):
    folder = tmp_path_factory.mktemp("base")
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = AlbertConfig.from_pretrained(tiny_dir, **small, embedding_size=8, max_position_embeddings=64)
    AlbertForMaskedLM(config, seed=1).save_pretrained(folder)
    AlbertTokenizer.from_pretrained(tiny_dir).save_pretrained(folder)
    return folder


def sentences(path, *labels):
    words = ["the", "house", "river"]
    path.write_text("\n".join(json.dumps({"tokens": words, "labels": list(row)}) for row in labels) + "\n")
    return path


def tune(path, folder, base, **options):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*drawn from seed")
        options = {"batch_size": 1, "steps": 2, "backend": "numpy", "max_length": 16} | options
        return finetune("token-classification", path, folder, model=base, **options)


KNOWN, UNKNOWN = ("O", "B-X", "I-X"), (-100, -100, -100)


def test_an_evaluations_loss_is_the_mean_over_what_counts(base, tmp_path):
    path = sentences(tmp_path / "train.jsonl", KNOWN, KNOWN, UNKNOWN, KNOWN)
    some = sentences(tmp_path / "some.jsonl", KNOWN, UNKNOWN, KNOWN, UNKNOWN)
    known = sentences(tmp_path / "known.jsonl", KNOWN, KNOWN)
    done = tune(path, tmp_path / "a", base, validation=some, steps=8)
    other = tune(path, tmp_path / "b", base, validation=known, steps=8)
    assert done.trained.metrics["loss"] == pytest.approx(other.trained.metrics["loss"], rel=1e-12)
    assert done.trained.metrics | {"skipped_batches": 2.0} == done.trained.metrics
    assert "skipped_batches" not in other.trained.metrics
    assert done.counts["held out"]["skipped_batches"] == 2
    assert done.counts["train"]["skipped_batches"] == done.trained.skipped >= 2
    lines = [line for line in log.read(tmp_path / "a" / "log.jsonl") if "evaluation" in line]
    assert all(line["evaluation"]["skipped_batches"] == 2 for line in lines)


@pytest.mark.parametrize("side", ["train on", "evaluate on"])
@pytest.mark.parametrize("labels", [UNKNOWN, (-100, -100, "B-X")])  # the last: cut off at four tokens
def test_examples_of_which_nothing_counts_are_refused_before_the_model_is_loaded(
    base, tmp_path, side, labels, monkeypatch
):
    known, none = sentences(tmp_path / "a.jsonl", KNOWN, KNOWN), sentences(tmp_path / "b.jsonl", labels, labels)
    path, validation = (none, known) if side == "train on" else (known, none)
    monkeypatch.setattr(AlbertForTokenClassification, "from_pretrained", None)
    reading = {"label_names": ["O", "B-X", "I-X"]}
    message = refusal(tune, path, tmp_path / "out", base, validation=validation, reading=reading, max_length=4)
    assert f"no label of the 2 examples to {side} counts" in message
    assert "cut off at max_length 4" in message


def test_the_command_says_how_many_were_skipped(base, tmp_path, capsys):
    path = sentences(tmp_path / "train.jsonl", KNOWN, UNKNOWN, KNOWN, KNOWN)
    options = ["--task", "token-classification", "--model", str(base), "--validation", str(path), "--batch-size", "1"]
    assert main(["finetune", str(path), *options, "--epochs", "2", "--output", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^train: 4 examples, [23] skipped batches$", out, re.MULTILINE)  # the last step may pass another
    assert re.search(r"^held out: 4 examples, 1 skipped batches$", out, re.MULTILINE)


class Held:
    """What pretrain.evaluate reads: batches again and again."""

    def __init__(self, batches):
        self.batches = batches

    def rewind(self):
        self.left = iter(self.batches)

    def __iter__(self):
        return self.left


def test_pretrainings_evaluation_skips_and_counts_too():
    whole, (no_words, no_order) = uncounted(AlbertForPreTraining)
    model = albert(AlbertForPreTraining)
    plain = pretraining.evaluate(model, Held([whole, whole]), 9)
    assert "skipped_batches" not in plain
    found = pretraining.evaluate(model, Held([whole, no_words, no_order]), 9)
    assert found["loss"] == plain["loss"]
    assert found["skipped_batches"] == 2
    assert found["masked_word_accuracy"] == plain["masked_word_accuracy"]
    with pytest.warns(UserWarning, match="no label of the text held out counts for loss, masked_word_accuracy$"):
        found = pretraining.evaluate(model, Held([no_words]), 9)
    assert set(found) == {"sentence_order_accuracy", "skipped_batches"}
