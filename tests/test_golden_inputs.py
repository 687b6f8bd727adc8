"""Presets of inputs, and inputs that somebody brings: what they hold, and what is refused."""

import json
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import albert_np
from albert_np import AlbertConfig, golden
from albert_np.cli import main
from albert_np.golden.cases import TINY
from albert_np.golden.models.generator import sized, synthetic
from albert_np.golden.models.input_sets import EMBEDS, PRESETS, checked, inputs, load_inputs

CONFIG = AlbertConfig(**TINY)


def same(a, b):
    return a.keys() == b.keys() and all(
        np.array_equal(a[name], b[name]) and a[name].dtype == b[name].dtype for name in a
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_runs_and_gives_numbers(preset):
    config = CONFIG.replace(vocab_size=90)
    model = albert_np.AlbertModel(config, dtype="float64", backend="numpy")
    model.load_state_dict(synthetic(config, 0, "AlbertModel"))
    call = inputs(preset, config)
    B, T = call["attention_mask"].shape
    assert B == 4
    assert all(x.shape[:2] == (B, T) for x in call.values())
    assert all(x.dtype == (np.float32 if name == "inputs_embeds" else np.int64) for name, x in call.items())
    assert ("inputs_embeds" in call) == (preset in EMBEDS) == ("input_ids" not in call)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of padding on the left
        assert np.all(np.isfinite(model(**call).last_hidden_state))


@settings(max_examples=40)
@given(st.sampled_from(list(PRESETS)), st.integers(1, 5), st.integers(1, 20), st.integers(1, 60), st.integers(0, 99))
def test_presets_fit_any_sizes_and_follow_from_the_seed(preset, batch, length, vocabulary, seed):
    config = CONFIG.replace(vocab_size=vocabulary, type_vocab_size=1 + seed % 2)
    call = inputs(preset, config, seed=seed, batch=batch, length=length)
    assert same(checked(call, config), call)
    assert same(inputs(preset, config, seed=seed, batch=batch, length=length), call)
    mask = call["attention_mask"]
    T = {"one-token": 1, "longest": 20}.get(preset, length)
    assert mask.shape == (batch, T)
    assert preset == "masked" or mask.any(axis=1).all()


def test_presets_hold_what_their_names_say():
    config = sized("albert-base-v2")
    call = {preset: inputs(preset, config, seed=1, length=48) for preset in PRESETS}
    masks = {preset: x["attention_mask"].astype(bool) for preset, x in call.items()}
    ids = {preset: x.get("input_ids") for preset, x in call.items()}
    assert not masks["masked"][-1].any()
    assert masks["masked"][-2].sum() == 1
    assert not masks["masked"][-2, 0]
    assert (masks["padding"].sum(axis=1) <= 2).all()
    assert not masks["left-padding"][:, 0].any()
    assert masks["left-padding"][:, -1].all()
    assert (np.diff(masks["holes"].astype(int), axis=1) == 1).any(axis=1).all()
    assert (ids["constant"] == ids["constant"][:, :1]).all()
    assert all(
        len(set(row)) <= 2 and (row[::2] == row[0]).all() for row in ids["repeated"].tolist() for row in [np.array(row)]
    )
    assert ids["special"].max() < 5
    assert masks["special"].all()
    assert masks["longest"].shape[1] == 512
    assert masks["one-token"].shape[1] == 1
    embeds = {preset: call[preset]["inputs_embeds"] for preset in EMBEDS}
    channels = np.abs(embeds["large-channels"]).mean(axis=(0, 1))
    assert (channels > 100 * np.median(channels)).sum() == 3
    tiny = np.finfo(np.float32).tiny
    assert (np.abs(embeds["denormals"]) < tiny).all()
    assert (embeds["denormals"] != 0).all()
    assert 2.0**-149 in np.abs(embeds["denormals"])
    assert not embeds["zeros"].any()
    assert 0.3 < np.signbit(embeds["zeros"]).mean() < 0.7


def test_words_without_a_tokenizer_are_as_frequent_as_in_a_language():
    ids = inputs("text", sized("albert-base-v2"), batch=50, length=400)["input_ids"]
    counts = np.sort(np.bincount(ids[ids >= 5]))[::-1]
    counts = counts / counts.sum()
    assert 0.02 < counts[0] < 0.06  # “the” is every twentieth word
    assert 0.15 < counts[:10].sum() < 0.25
    assert np.count_nonzero(counts == counts[counts > 0].min()) > 1000  # and many occur once


def test_text_goes_through_the_embedded_tokenizer_where_the_vocabulary_fits():
    tokenizer = albert_np.AlbertTokenizer.from_pretrained("demo")
    call = inputs("text", sized("tiny"), batch=3)
    words = tokenizer.decode(call["input_ids"][0], skip_special_tokens=True)
    assert words.startswith("the ferry left the harbour at seven in the morning")
    assert call["token_type_ids"].any(axis=1).all()
    assert (call["input_ids"][call["attention_mask"] == 0] == 0).all()


# --- what somebody brings ---------------------------------------------------------------------------------------------------


def test_files_of_arrays_come_back_as_they_are(tmp_path):
    call = inputs("holes", CONFIG) | {
        "position_ids": np.arange(20)[None].repeat(4, 0),
        "labels": np.ones((4, 20), np.int64),
    }
    call["head_mask"] = np.ones((4, 3), np.float32)
    np.savez(tmp_path / "a.npz", **call)
    (tmp_path / "a.json").write_text(json.dumps({name: x.tolist() for name, x in call.items()}))
    assert same(load_inputs(tmp_path / "a.npz", CONFIG), call)
    read = load_inputs(str(tmp_path / "a.json"), CONFIG)
    assert all(np.array_equal(read[name], x) for name, x in call.items())
    narrow = {name: x.astype(np.int32) for name, x in call.items() if name != "head_mask"}
    np.savez(tmp_path / "b.npz", **narrow)
    assert load_inputs(tmp_path / "b.npz", CONFIG)["input_ids"].dtype == np.int64


def test_one_sequence_may_come_without_a_batch_axis_and_choices_with_one_more():
    one = checked({"input_ids": [2, 5, 3], "attention_mask": [1, 1, 0]}, CONFIG)
    assert one["input_ids"].shape == one["attention_mask"].shape == (1, 3)
    ids = np.full((2, 3, 4), 7)
    assert checked({"input_ids": ids, "labels": [0, 2]}, CONFIG)["input_ids"].shape == (2, 3, 4)


def test_texts_go_through_a_tokenizer(tmp_path):
    (tmp_path / "a.txt").write_text("The ferry.\n\nThe captain left.\n")
    call = load_inputs(tmp_path / "a.txt", sized("tiny"))
    tokenizer = albert_np.AlbertTokenizer.from_pretrained("demo")
    theirs = tokenizer(["The ferry.", "The captain left."], padding=True, return_tensors="np")
    assert np.array_equal(call["input_ids"], theirs["input_ids"])
    assert np.array_equal(
        load_inputs("text:The ferry.", sized("tiny"))["input_ids"],
        tokenizer(["The ferry."], return_tensors="np")["input_ids"],
    )
    with pytest.raises(ValueError, match="texts need the tokenizer of the model, which has 60 tokens"):
        load_inputs(tmp_path / "a.txt", CONFIG)
    with pytest.raises(ValueError, match="token id"):  # a tokenizer of another model
        load_inputs(tmp_path / "a.txt", CONFIG, tokenizer)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ({"ids": [[1]]}, "inputs are input_ids, .* got ids"),
        ({}, "input_ids or inputs_embeds; got neither"),
        ({"input_ids": [[1, 60]]}, "token id 60 at"),
        ({"input_ids": [[1, -1]]}, "token id -1 at"),
        ({"input_ids": [[1.5, 1]]}, "input_ids"),
        ({"input_ids": [[1], [1, 2]]}, "input_ids"),
        ({"input_ids": [[]]}, "input_ids"),
        ({"input_ids": [[1] * 21]}, "at most 20 tokens"),
        ({"input_ids": [[1, 2]], "attention_mask": [[1, 2]]}, "attention_mask holds 1"),
        ({"input_ids": [[1, 2]], "attention_mask": [[1]]}, "attention_mask must have the shape"),
        ({"input_ids": [[1, 2]], "token_type_ids": [[0, 2]]}, "token type"),
        ({"input_ids": [[1, 2]], "position_ids": [[0, 20]]}, "position"),
        ({"input_ids": [[1, 2]], "head_mask": [[1, 2]]}, "head_mask must have the shape"),
        ({"input_ids": [[1, 2]], "labels": [1, 2]}, "labels must be numbers for each of 1 sequences"),
        ({"input_ids": [[1, 2]], "labels": ["a"]}, "labels"),
        ({"inputs_embeds": [[[0.5] * 11]]}, "embedding_size"),
        ({"inputs_embeds": [[[float("nan")] * 12]]}, "finite"),
    ],
)
def test_what_no_model_takes_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        checked(call, CONFIG)


def test_a_spec_that_is_none_is_refused(tmp_path):
    (tmp_path / "a.json").write_text("[1]")
    (tmp_path / "b.txt").write_text("\n\n")
    (tmp_path / "c.npz").write_text("no zip")
    for spec, says in (
        ("adversarial", "one of the presets text, masked"),
        (7, "named by a preset or a file"),
        (tmp_path / "a.json", "must hold an object"),
        (tmp_path / "b.txt", "has no line with a text"),
        (tmp_path / "c.npz", "is no .npz file"),
    ):
        with pytest.raises(ValueError, match=says):
            load_inputs(spec, CONFIG)
    with pytest.raises(OSError, match="there is no file"):
        load_inputs(tmp_path / "none.npz", CONFIG)
    for wrong in ({"batch": 0}, {"length": 21}, {"length": 1.5}, {"batch": True}):
        with pytest.raises(ValueError, match="must be a whole number from 1 to"):
            golden.inputs("text", CONFIG, **wrong)
    with pytest.raises(ValueError, match="a preset is one of"):
        golden.inputs("none", CONFIG)


@pytest.mark.parametrize("spec", ["text", "holes", "zeros", "text:The ferry left.", "a.json"])
def test_record_takes_presets_texts_and_files(tmp_path, spec, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.json").write_text('{"input_ids": [[2, 9, 3]]}')
    assert main(["golden", "record", "demo", "--inputs", spec, "-o", "recorded"]) == 0
    config = albert_np.AlbertConfig.from_pretrained("demo")
    assert same(golden.Recording.open("recorded").call, load_inputs(spec, config))
