"""Labels of configs as other people's files have them: any names, any numbers, with and without label2id."""

import json

import numpy as np
import pytest
from support.checkpoints import tensors, write
from support.refusals import saved_config

from albert_np import (
    AlbertConfig,
    AlbertForSequenceClassification,
    AlbertForTokenClassification,
    AlbertTokenizer,
    pipeline,
)
from albert_np.golden.cases import TINY
from albert_np.training.finetune import finetune

# what config.json says about labels -> K, id2label, label2id
FILES = [
    ({"id2label": {"0": 1, "1": 2}}, 2, {0: 1, 1: 2}, None),
    ({"id2label": {"0": None, "1": None}}, 2, {0: None, 1: None}, None),
    ({"id2label": {"0": True, "1": False}}, 2, {0: True, 1: False}, None),
    ({"id2label": {"0": 1.5, "1": "b"}}, 2, {0: 1.5, 1: "b"}, None),
    ({"id2label": {"0": ["x"], "1": {"a": 1}}}, 2, {0: ["x"], 1: {"a": 1}}, None),
    ({"id2label": {"1": "a", "2": "b"}}, 2, {1: "a", 2: "b"}, {"a": 1, "b": 2}),
    ({"id2label": {"0": "a", "2": "b", "7": "c"}}, 3, {0: "a", 2: "b", 7: "c"}, {"a": 0, "b": 2, "c": 7}),
    ({"id2label": {"-1": "x", "0": "a"}}, 2, {-1: "x", 0: "a"}, {"x": -1, "a": 0}),
    ({"id2label": {"00": "a", "01": "b"}}, 2, {0: "a", 1: "b"}, {"a": 0, "b": 1}),
    ({"id2label": {" 1 ": "a", "+0": "b"}}, 2, {1: "a", 0: "b"}, {"a": 1, "b": 0}),
    ({"id2label": {"2": "c", "0": "a", "1": "b"}}, 3, {2: "c", 0: "a", 1: "b"}, {"a": 0, "b": 1, "c": 2}),
    ({"id2label": {"99999999999": "a"}}, 1, {99999999999: "a"}, {"a": 99999999999}),
    ({"id2label": {"0": "a", "1": "a"}}, 2, {0: "a", 1: "a"}, {"a": 1}),
    ({"id2label": {"0": "", "1": " "}}, 2, {0: "", 1: " "}, {"": 0, " ": 1}),
    ({"id2label": {}}, 0, {}, {}),
    ({"id2label": {"0": "a", "1": "b"}, "label2id": {"a": 5, "z": 1}}, 2, {0: "a", 1: "b"}, {"a": 5, "z": 1}),
    ({"id2label": {"0": "a", "1": "b"}, "label2id": {}}, 2, {0: "a", 1: "b"}, {}),
    ({"id2label": {"0": "a", "1": "b"}, "label2id": None}, 2, {0: "a", 1: "b"}, {"a": 0, "b": 1}),
    ({"id2label": {"0": "a"}, "label2id": {"a": None, "b": "x"}}, 1, {0: "a"}, {"a": None, "b": "x"}),
    ({"id2label": {"0": 1, "1": 2}, "label2id": {"1": 0, "2": 1}}, 2, {0: 1, 1: 2}, {"1": 0, "2": 1}),
    ({"label2id": {"a": 0, "b": 1, "c": 2}}, 2, {0: "LABEL_0", 1: "LABEL_1"}, {"LABEL_0": 0, "LABEL_1": 1}),
    ({"num_labels": 1, "label2id": {"a": 0}}, 1, {0: "LABEL_0"}, {"LABEL_0": 0}),
    ({"id2label": None, "num_labels": 1}, 1, {0: "LABEL_0"}, {"LABEL_0": 0}),
    ({"num_labels": 2, "id2label": {"3": "a", "5": 1}}, 2, {3: "a", 5: 1}, None),
]


@pytest.mark.parametrize(("file", "K", "id2label", "label2id"), FILES)
def test_labels_of_any_file_are_read_kept_and_written(tmp_path, file, K, id2label, label2id):
    config = AlbertConfig.from_pretrained(saved_config(tmp_path, {"model_type": "albert", **file}))
    assert (config.num_labels, config.id2label, config.label2id) == (K, id2label, label2id)
    config.save_pretrained(tmp_path)
    assert AlbertConfig.from_pretrained(tmp_path) == config
    assert config.replace(hidden_act="relu").id2label == id2label
    assert AlbertConfig(**config.to_dict()) == config


@pytest.mark.parity
@pytest.mark.parametrize(("file", "K", "id2label", "label2id"), FILES)
def test_transformers_reads_the_same_labels_from_their_file_and_from_ours(
    transformers, tmp_path, file, K, id2label, label2id
):
    where = saved_config(tmp_path, {"model_type": "albert", **file})
    theirs = transformers.AlbertConfig.from_pretrained(where)
    assert (theirs.num_labels, theirs.id2label) == (K, id2label)
    assert theirs.label2id in (label2id, None)  # which they leave out where the file does
    AlbertConfig.from_pretrained(where).save_pretrained(tmp_path)
    again = transformers.AlbertConfig.from_pretrained(where)
    assert (again.num_labels, again.id2label, again.label2id) == (K, id2label, label2id)


@pytest.mark.parametrize("names", [{"1": "a", "2": "b", "3": "c"}, {"0": None, "5": 2.5, "9": True}])
def test_a_checkpoint_with_such_labels_classifies_and_is_saved(tmp_path, names):
    kind = "AlbertForSequenceClassification"
    arrays = tensors(kind)
    plain = AlbertForSequenceClassification.from_pretrained(write(tmp_path / "plain", arrays))
    folder = write(tmp_path / "named", arrays, AlbertConfig(**TINY, id2label=names))
    model = AlbertForSequenceClassification.from_pretrained(folder)
    out = model([[2, 7, 3]], labels=[2])
    assert np.array_equal(out.logits, plain([[2, 7, 3]]).logits)
    assert np.isfinite(out.loss)
    model.save_pretrained(tmp_path / "again")
    stored = json.loads((tmp_path / "again" / "config.json").read_text())
    assert stored["id2label"] == names
    assert AlbertForSequenceClassification.from_pretrained(tmp_path / "again").config.id2label == model.config.id2label


def test_finetune_from_such_a_checkpoint_names_its_own_labels(tmp_path):
    folder = tmp_path / "model"
    AlbertTokenizer.from_pretrained("demo").save_pretrained(folder)
    config = AlbertConfig.from_pretrained("demo", id2label={1: None, 4: 2})
    AlbertForSequenceClassification(config).save_pretrained(folder)
    (tmp_path / "rows.csv").write_text("text,label\nGood.,a\nBad.,b\nFine.,a\nPoor.,b\n")
    out = finetune("text-classification", tmp_path / "rows.csv", tmp_path / "out", model=folder, steps=1, batch_size=2)
    assert AlbertConfig.from_pretrained(out.trained.checkpoint).id2label == {0: "a", 1: "b"}


def test_a_class_without_a_name_is_called_by_its_number():
    assert AlbertConfig(id2label={1: "a", 2: None, 7: 5}).label_names == {0: "LABEL_0", 1: "a", 2: None}
    assert AlbertConfig(id2label={}).label_names == {}
    assert AlbertConfig(num_labels=2).label_names == {0: "LABEL_0", 1: "LABEL_1"}


NAMES = [{1: "a", 2: "b", 3: "c"}, {0: "a", 5: "b", 9: "c"}, {0: None, 1: 2, 2: True}, {-1: 0.5, 1: "B-X", 2: "I-X"}]


@pytest.mark.parametrize("names", NAMES)
def test_pipelines_name_every_class_whatever_the_table_names(names):
    config = AlbertConfig.from_pretrained("demo", id2label=names)
    tokenizer = AlbertTokenizer.from_pretrained("demo")
    expected = list(config.label_names.values())
    classify = pipeline("text-classification", AlbertForSequenceClassification(config), tokenizer=tokenizer, top_k=None)
    assert sorted(repr(one["label"]) for one in classify("A good day.")[0]) == sorted(map(repr, expected))
    tag = pipeline("token-classification", AlbertForTokenClassification(config), tokenizer=tokenizer)
    found = tag("Some words here.", ignore_labels=[])
    assert len(found) >= 3
    assert all(one["entity"] in expected for one in found)
    groups = tag("Some words here.", ignore_labels=[], aggregation_strategy="simple")
    assert all(isinstance(one["entity_group"], str) for one in groups)


@pytest.mark.parametrize(
    "labels",
    [
        {"id2label": {0: "no", 2: "x"}, "label2id": {"entailment": 1, "contradiction": 7, "z": None}},
        {"id2label": {1: "entailment", 3: None}},
        {"id2label": {0: None, 1: "ENTAILMENT"}},
    ],
)
def test_zero_shot_finds_entailment_in_any_table_of_labels(labels):
    model = AlbertForSequenceClassification(AlbertConfig.from_pretrained("demo", **labels))
    classify = pipeline("zero-shot-classification", model, tokenizer=AlbertTokenizer.from_pretrained("demo"))
    for several in (True, False):
        answer = classify("A good day.", ["weather", "sport"], multi_label=several)
        assert sorted(answer["labels"]) == ["sport", "weather"]
        assert np.isfinite(answer["scores"]).all()


def test_overrides_of_labels_are_those_of_transformers(tmp_path):
    where = saved_config(tmp_path, {"id2label": {"1": "a", "2": "b"}})
    assert AlbertConfig.from_pretrained(where, num_labels=2).id2label == {1: "a", 2: "b"}
    three = AlbertConfig.from_pretrained(where, num_labels=3)
    assert (three.id2label, three.label2id["LABEL_2"]) == ({0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}, 2)
    assert AlbertConfig.from_pretrained(where, id2label={"0": 7}, num_labels=1).id2label == {0: 7}
    assert AlbertConfig.from_pretrained(where, label2id={"x": 1}).label2id == {"x": 1}
    nameless = AlbertConfig.from_dict({}, label2id={"x": 1})
    assert (nameless.id2label, nameless.label2id) == ({0: "LABEL_0", 1: "LABEL_1"}, {"x": 1})
