"""AlbertConfig: every refusal names the field, what is allowed and the value, in one line; any JSON at all is judged."""

from __future__ import annotations

import json
import math
import string

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.refusals import refusal, saved_config

from albert_np import AlbertForSequenceClassification, AlbertModel
from albert_np.config import ACTIVATIONS, AlbertConfig, preset
from albert_np.golden.cases import TINY

SIZES = [
    "vocab_size",
    "embedding_size",
    "hidden_size",
    "num_hidden_layers",
    "num_hidden_groups",
    "num_attention_heads",
    "intermediate_size",
    "inner_group_num",
    "max_position_embeddings",
    "type_vocab_size",
]


@pytest.mark.parametrize("value", [True, "8", 8.0, 0, -1, 2**31, None, [8]])
@pytest.mark.parametrize("name", SIZES)
def test_a_size_is_a_positive_int(name, value):
    assert refusal(AlbertConfig, **{name: value}) == f"{name} must be a positive int below 2³¹; got {value!r}"


REFUSED = [
    *[
        (name, value, "a number in [0, 1)")
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout_prob")
        for value in (1, 1.5, -0.1, math.nan, "0.1", True)
    ],
    ("hidden_dropout_prob", None, "a number in [0, 1)"),
    *[
        (name, value, "a finite number above 0")
        for name in ("layer_norm_eps", "initializer_range")
        for value in (0, -1e-12, math.nan, math.inf, "1e-12", None, True, 10**400)
    ],
    *[
        (name, value, "true or false")
        for name in ("tie_word_embeddings", "output_hidden_states", "output_attentions", "return_dict")
        for value in (1, 0, "true", None)
    ],
    *[("hidden_act", value, f"one of {', '.join(ACTIVATIONS)}") for value in ("gelu_10", "", None, 3, ["gelu"])],
    ("position_embedding_type", "rotary", "one of absolute, relative_key, relative_key_query"),
    ("problem_type", "ranking", "null or one of regression, single_label_classification, multi_label_classification"),
    ("chunk_size_feed_forward", -1, "an int of 0 or more"),
    ("pruned_heads", {0: [1]}, "empty: pruned heads change the shapes of the shared layer"),
    ("architectures", "AlbertModel", "null or a list of class names"),
    ("bos_token_id", "2", "null or an int"),
    ("eos_token_id", [1, "2"], "null, an int or a list of ints"),
    ("pad_token_id", 0.0, "null or an int"),
    ("pad_token_id", 30000, "null or inside the vocabulary (V = 30000)"),
    ("pad_token_id", -30001, "null or inside the vocabulary (V = 30000)"),
    ("num_attention_heads", 5, "a divisor of hidden_size (4096)"),
    ("num_hidden_groups", 13, "at most num_hidden_layers (12), or a group would never be used"),
    ("inner_group_num", 4097, "at most 4096 with 1 groups (4096 stored layers in all)"),
    ("num_labels", 0, "a positive int, at most a million"),
    ("num_labels", True, "a positive int, at most a million"),
    ("id2label", ["a", "b"], "a table from label number to name"),
    *[
        ("id2label", value, "name a label once")
        for value in ({"0": "a", "00": "b"}, {1: "a", "1": "b"}, {"0": 0, "-0": 1})
    ],
]


@pytest.mark.parametrize(("name", "value", "allowed"), REFUSED)
def test_a_refusal_names_the_field_what_is_allowed_and_the_value(name, value, allowed):
    message = refusal(AlbertConfig, **{name: value})
    shown = repr(value) if len(repr(value)) <= 80 else repr(value)[:77] + "…"
    assert message.startswith(f"{name} must ")
    assert allowed in message
    assert message.endswith(f"; got {shown}")


@pytest.mark.parametrize("keys", ["one", "", "1.0", "1e3", "9" * 21, math.inf, None, True, 1.0, (1,)])
def test_keys_of_id2label_are_numbers(keys):
    assert "the keys of id2label must be label numbers; got [" in refusal(AlbertConfig, id2label={keys: "a"})


def test_label2id_is_a_table():
    for value in (["a"], "a", 3):
        message = refusal(AlbertConfig, id2label={0: "a"}, label2id=value)
        assert message == f"label2id must be a table from name to label number; got {value!r}"


def test_labels_that_contradict_each_other_are_refused_as_overrides(tmp_path):
    where = saved_config(tmp_path, {"id2label": {"0": "no", "1": "yes"}})
    message = "num_labels=3 contradicts the 1 names of id2label: give one"
    assert refusal(AlbertConfig.from_pretrained, where, num_labels=3, id2label={0: "x"}).endswith(message)


def test_a_classifier_needs_labels(tmp_path):
    config = AlbertConfig(**TINY, id2label={})
    assert config.num_labels == 0
    assert AlbertModel(config).config.replace(hidden_act="relu").id2label == {}
    message = refusal(AlbertForSequenceClassification, config)
    assert message == "a classifier needs labels, and id2label of this config is empty: give num_labels="
    assert config.replace(num_labels=2).id2label == {0: "LABEL_0", 1: "LABEL_1"}


def test_an_array_is_refused_in_one_line():
    assert "hidden_act must be one of" in refusal(AlbertConfig, hidden_act=np.zeros(()))
    assert "vocab_size must be a positive int" in refusal(AlbertConfig, vocab_size=np.zeros((2, 2)))


def test_layers_are_limited_by_the_caller_and_never_by_the_file(tmp_path):
    assert AlbertConfig(num_hidden_layers=1000).num_hidden_layers == 1000
    where = saved_config(tmp_path, {"num_hidden_layers": 1001, "max_layers": 2000})
    for refused in (refusal(AlbertConfig, num_hidden_layers=1001), refusal(AlbertConfig.from_pretrained, where)):
        assert "num_hidden_layers must be at most 1000 (shared weights" in refused
        assert refused.endswith("max_layers= allows more); got 1001")
    allowed = AlbertConfig.from_pretrained(where, max_layers=2000)
    assert allowed.num_hidden_layers == 1001
    assert allowed.replace(vocab_size=7).num_hidden_layers == 1001
    assert "at most 1001 (" in refusal(allowed.replace, num_hidden_layers=1002)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"model_type": "bert"}', ": model_type must be 'albert'; got 'bert', another architecture"),
        ('{"model_type": null}', ": model_type must be 'albert'; got None, another architecture"),
        ("[1, 2]", ": config.json must hold one JSON object; got list"),
        ("null", ": config.json must hold one JSON object; got NoneType"),
        ('{"hidden_size": 768, "hidden_size": 1024}', " holds the key 'hidden_size' twice"),
        ('{"hidden_size": 768', " is not JSON: Expecting ',' delimiter at line 1 column 20"),
        ("", " is not JSON: Expecting value at line 1 column 1"),
        ("[" * 100_000, " is nested too deeply to be a real file of its kind"),
        ('{"layer_norm_eps": NaN}', ": layer_norm_eps must be a finite number above 0; got nan"),
    ],
)
def test_a_file_is_refused_by_its_path(tmp_path, text, message):
    path = saved_config(tmp_path, text)
    assert refusal(AlbertConfig.from_pretrained, path) == f"{path}/config.json{message}"


leaves = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from([10**400, 1, 64])
)
keys = st.text(string.digits, max_size=2) | st.text(max_size=3)
json_values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=5
)
field_names = st.sampled_from([*AlbertConfig().to_dict(), "num_labels", "extra", "self", "max_layers"]) | st.text(
    max_size=8
)


@pytest.mark.filterwarnings("ignore:num_labels=:UserWarning")
@settings(deadline=None, max_examples=400)
@given(st.dictionaries(field_names, json_values, max_size=3))
def test_any_json_is_a_config_or_a_value_error_in_one_line(values):
    try:
        config = AlbertConfig.from_dict(values)
    except ValueError:
        assert refusal(AlbertConfig.from_dict, values)
        return
    again = AlbertConfig.from_dict(json.loads(config.to_json_string()))
    assert again.to_json_string() == config.to_json_string()  # as text, in which NaN equals NaN
    assert AlbertConfig(**config.to_dict()).to_json_string() == config.to_json_string()


def test_an_unknown_preset_is_refused():
    assert refusal(preset, "medium") == "size must be one of base, large, xlarge, xxlarge; got 'medium'"


def test_another_architecture_is_refused_as_a_keyword_too():
    assert refusal(AlbertConfig, model_type="bert") == "model_type must be 'albert'; got 'bert', another architecture"
