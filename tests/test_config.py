"""AlbertConfig: the same fields, defaults and files as transformers; labels, overrides, copies, the published shapes."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import pickle

import numpy as np
import pytest
from support.refusals import refusal, saved_config

from albert_np import AlbertModel, AutoConfig
from albert_np.checkpoints.names import expected_shapes
from albert_np.config import AlbertConfig, preset
from albert_np.golden.cases import TINY

# --- the same as transformers ----------------------------------------------------------------------------------------


@pytest.mark.parity
def test_every_field_of_transformers_has_the_same_value_here(transformers):
    theirs = transformers.AlbertConfig().to_dict()
    ours = AlbertConfig()
    differ = {"transformers_version", "id2label"}  # a version of theirs; numbers as text in JSON only
    assert {name: getattr(ours, name) for name in theirs if name not in differ} == {
        name: value for name, value in theirs.items() if name not in differ
    }
    assert ours.id2label == {int(key): name for key, name in theirs["id2label"].items()}


TOLD = {
    "vocab_size": 99,
    "hidden_size": 24,
    "num_attention_heads": 3,
    "num_hidden_groups": 2,
    "inner_group_num": 2,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.25,
    "layer_norm_eps": 1e-5,
    "classifier_dropout_prob": None,
    "position_embedding_type": "relative_key",
    "tie_word_embeddings": False,
    "pad_token_id": None,
    "eos_token_id": 7,
    "id2label": {0: "no", 1: "yes", 2: "maybe"},
    "label2id": {"no": 0, "yes": 1, "maybe": 2},
    "return_dict": False,
    "problem_type": "multi_label_classification",
    "output_attentions": True,
    "architectures": ["AlbertModel"],
    "our_own_key": {"nested": [1, None]},
}


@pytest.mark.parity
@pytest.mark.parametrize("told", [{}, TOLD])
def test_their_config_json_loads_here_and_ours_there(transformers, tmp_path, told):
    theirs = transformers.AlbertConfig(**told)
    theirs.save_pretrained(tmp_path)
    ours = AlbertConfig.from_pretrained(tmp_path)
    for name, value in theirs.to_dict().items():
        if name not in ("id2label", "transformers_version"):
            assert getattr(ours, name) == value, name
    assert ours.id2label == theirs.id2label
    (tmp_path / "ours").mkdir()
    ours.save_pretrained(tmp_path / "ours")
    again = transformers.AlbertConfig.from_pretrained(tmp_path / "ours")
    left_out = ("_name_or_path", "transformers_version")  # where it was read, and by whom
    assert {k: v for k, v in again.to_dict().items() if k not in left_out} == {
        k: v for k, v in theirs.to_dict().items() if k not in left_out
    }


@pytest.mark.parity
@pytest.mark.parametrize(
    "told", [{}, TOLD, {"num_labels": 1}, {"pad_token_id": 5}, {"torchscript": True, "dtype": "float16"}]
)
def test_a_config_says_the_same_as_a_dictionary_and_in_files(transformers, tmp_path, told):
    theirs, ours = transformers.AlbertConfig(**told), AlbertConfig(**told)
    expected = theirs.to_diff_dict()
    expected.pop("transformers_version")
    assert ours.to_diff_dict() == expected
    for use_diff in (True, False):
        ours.to_json_file(tmp_path / "a.json", use_diff)
        theirs.to_json_file(tmp_path / "b.json", use_diff)
        assert (tmp_path / "a.json").read_text() == ours.to_json_string(use_diff)
        assert AlbertConfig.from_json_file(tmp_path / "b.json").replace(transformers_version=None).to_diff_dict() == (
            ours.replace(transformers_version=None).to_diff_dict()
        )
        assert transformers.AlbertConfig.from_json_file(tmp_path / "a.json").to_diff_dict() == theirs.to_diff_dict()
    assert ours.use_return_dict == theirs.use_return_dict
    assert ours.attribute_map == theirs.attribute_map
    theirs.name_or_path = tmp_path
    assert ours.replace(name_or_path=tmp_path).name_or_path == theirs.name_or_path == str(tmp_path)


def test_a_config_gives_its_dtype_under_the_older_name_too():
    config = AlbertConfig(torch_dtype="float16")
    assert config.torch_dtype == config.dtype == "float16"
    assert AlbertConfig().torch_dtype is None
    assert "torch_dtype" not in config.to_dict()


@pytest.mark.parity
def test_values_by_place_are_those_of_transformers(transformers):
    places = (40, 5, 24, 3, 2, 3, 7, 2, "gelu", 0.25, 0.5, 9, 3, 0.1, 1e-5, 0.25, "relative_key", 4, 5, 6)
    for n in range(len(places) + 1):
        try:
            theirs = transformers.AlbertConfig(*places[:n]).to_diff_dict()
            ours = AlbertConfig(*places[:n]).to_diff_dict()
        except ValueError as error:  # 24 is no multiple of 64 heads, nor 64 of them
            assert "num_attention_heads" in str(error)  # noqa: PT017
            assert 3 <= n < 6
            continue
        theirs.pop("transformers_version")
        assert ours == theirs


def test_values_by_place_are_taken_once():
    config = AlbertConfig(40, 5, 24, num_attention_heads=3)
    assert (config.vocab_size, config.embedding_size, config.hidden_size) == (40, 5, 24)
    assert config == AlbertConfig(vocab_size=40, embedding_size=5, hidden_size=24, num_attention_heads=3)
    assert (
        refusal(AlbertConfig, 40, vocab_size=40)
        == "a config takes each value once; got vocab_size by place and by name"
    )
    assert refusal(AlbertConfig, *range(21)) == (
        "a config takes 20 values by place, vocab_size to eos_token_id; got 21"
    )


def test_a_config_remembers_where_it_is_from_and_says_so_to_nobody_else(tmp_path):
    where = saved_config(tmp_path, {"model_type": "albert", "_name_or_path": "somebody/else"})
    config = AlbertConfig.from_pretrained(pretrained_model_name_or_path=tmp_path)
    assert (config.name_or_path, config._name_or_path) == ("somebody/else", "somebody/else")
    config = AutoConfig.from_pretrained(tmp_path)
    assert (config.name_or_path, config._name_or_path) == (where, where)
    assert (AlbertConfig(name_or_path="x").name_or_path, AlbertConfig().name_or_path) == ("x", "")
    assert AlbertConfig(name_or_path="x") == AlbertConfig()
    assert config.replace(vocab_size=7).name_or_path == copy.deepcopy(config).name_or_path == where
    for values in (config.to_dict(), config.to_diff_dict()):
        assert not {"name_or_path", "_name_or_path"} & set(values)
    model = AlbertModel(AlbertConfig(**TINY))
    model.save_pretrained(tmp_path / "model")
    assert AlbertModel.from_pretrained(tmp_path / "model").config.name_or_path == str(tmp_path / "model")
    assert AlbertModel.from_pretrained(tmp_path / "model", config=AlbertConfig(**TINY)).config.name_or_path == str(
        tmp_path / "model"
    )


def test_unused_keywords_come_back_when_asked(tmp_path):
    where = saved_config(tmp_path, {"model_type": "albert", "own": 1})
    config, unused = AlbertConfig.from_pretrained(
        where, return_unused_kwargs=True, own=2, bar=3, num_labels=4, dtype="float16", revision="main", proxies=None
    )
    assert unused == {"bar": 3, "dtype": "float16"}  # as transformers: a model takes a dtype too
    assert (config.own, config.num_labels, config.dtype) == (2, 4, "float16")
    assert not hasattr(config, "bar")
    assert AlbertConfig.from_dict({}, return_unused_kwargs=True, bar=3)[1] == {"bar": 3}
    assert AlbertConfig.from_pretrained(where, return_unused_kwargs=False, resume_download=True) == (
        AlbertConfig.from_pretrained(where)
    )


def test_where_a_config_is_may_be_said_by_place_and_is_no_value_of_it(tmp_path):
    where = saved_config(tmp_path, {"model_type": "albert", "own": 1, "attn_implementation": "flash_attention_2"})
    config = AlbertConfig.from_pretrained(where)
    assert config.extra == {"own": 1}
    assert AlbertConfig.from_pretrained(where, None, False, True, None, "main") == config
    assert AlbertConfig.from_pretrained(where, attn_implementation="eager", use_auth_token=None) == config
    assert AlbertConfig(own=1, attn_implementation="sdpa") == config
    for function in (AlbertConfig, lambda **named: AlbertConfig.from_pretrained(where, **named)):
        message = refusal(function, attn_implementation="flash_attention_2")
        assert message.endswith("attn_implementation must be 'eager' or 'sdpa'; got 'flash_attention_2'")
    assert AlbertConfig.get_config_dict(where, revision="main", hidden_act="relu") == (
        {"model_type": "albert", "own": 1, "attn_implementation": "flash_attention_2"},
        {"hidden_act": "relu"},
    )


def test_a_config_is_read_from_a_file_of_any_name_too(tmp_path):
    config = AlbertConfig(**TINY, own=1)
    config.to_json_file(tmp_path / "my_configuration.json")
    assert AlbertConfig.from_json_file(str(tmp_path / "my_configuration.json")) == config
    assert AlbertConfig.from_pretrained(tmp_path / "my_configuration.json") == config
    for bad in (3, None, b"x"):
        for function in (AlbertConfig.from_json_file, config.to_json_file):
            assert refusal(function, bad).startswith("a JSON file is named by a str or a path; got")
    with pytest.raises(OSError, match="nowhere"):
        AlbertConfig.from_json_file(tmp_path / "nowhere.json")
    (tmp_path / "list.json").write_text("[]")
    assert "must hold one JSON object; got list" in refusal(AlbertConfig.from_json_file, tmp_path / "list.json")


def test_a_dtype_of_numpy_or_torch_is_kept_by_its_name():
    class Dtype:
        def __repr__(self):
            return "torch.float16"

    for dtype in (np.float16, np.dtype("f2"), Dtype(), "torch.float16", "float16"):
        assert AlbertConfig(dtype=dtype).dtype == "float16"
        assert json.loads(AlbertConfig(torch_dtype=dtype).to_json_string())["dtype"] == "float16"


def test_what_transformers_does_to_a_config_in_place_or_on_a_hub_is_refused(tmp_path):
    config = AlbertConfig()
    assert refusal(config.update, {"hidden_size": 8}) == (
        "a config does not change: config.replace(**values) is a new one; got {'hidden_size': 8}"
    )
    config.save_pretrained(save_directory=tmp_path / "new", push_to_hub=False, token=None)
    assert AlbertConfig.from_pretrained(tmp_path / "new") == config
    for refused in ({"push_to_hub": True}, {"repo_id": "me/mine"}):
        assert "sends nothing to a hub; got " in refusal(config.save_pretrained, tmp_path / "other", **refused)


def test_a_file_of_transformers_5_without_position_embedding_type_means_absolute(tmp_path):
    values = {
        "vocab_size": 31,
        "embedding_size": 5,
        "hidden_size": 8,
        "num_hidden_layers": 3,
        "num_hidden_groups": 1,
        "num_attention_heads": 2,
        "intermediate_size": 7,
        "inner_group_num": 1,
        "hidden_act": "gelu_new",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "max_position_embeddings": 9,
        "type_vocab_size": 2,
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-12,
        "classifier_dropout_prob": 0.1,
        "pad_token_id": 0,
        "bos_token_id": 2,
        "eos_token_id": [3, 4],
        "tie_word_embeddings": True,
        "model_type": "albert",
        "dtype": "float32",
        "transformers_version": "5.0.0",
    }
    config = AlbertConfig.from_pretrained(saved_config(tmp_path, values))
    assert {name: getattr(config, name) for name in values} == values
    assert config.position_embedding_type == "absolute"
    assert config.head_size == 4


def test_unknown_keys_are_kept_and_written_back(tmp_path):
    config = AlbertConfig.from_pretrained(
        saved_config(tmp_path, {"model_type": "albert", "gap_size": 3, "note": {"a": [1]}})
    )
    assert config.gap_size == 3
    config.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert (written["gap_size"], written["note"], written["model_type"]) == (3, {"a": [1]}, "albert")
    assert AlbertConfig.from_pretrained(tmp_path) == config
    with pytest.raises(AttributeError, match="AlbertConfig has no field 'gap_sise'"):
        _ = config.gap_sise


def test_a_pad_token_is_an_id_or_counts_from_the_end_or_is_none():
    assert [AlbertConfig(pad_token_id=pad).pad_token_id for pad in (29999, -1, -30000, None)] == [
        29999,
        -1,
        -30000,
        None,
    ]


def test_torch_dtype_is_the_older_name_of_dtype():
    assert AlbertConfig(torch_dtype="float16").dtype == "float16"
    assert AlbertConfig(torch_dtype="float16", dtype="float32").dtype == "float32"


# --- labels, copies, presets -----------------------------------------------------------------------------------------


def test_labels_follow_names_then_their_number():
    assert AlbertConfig().id2label == {0: "LABEL_0", 1: "LABEL_1"}
    three = AlbertConfig(num_labels=3)
    assert (three.num_labels, three.id2label[2], three.label2id["LABEL_2"]) == (3, "LABEL_2", 2)
    named = AlbertConfig(id2label={"0": "no", "1": "yes", "2": "maybe"})
    assert (named.num_labels, named.id2label[2], named.label2id) == (3, "maybe", {"no": 0, "yes": 1, "maybe": 2})
    with pytest.warns(UserWarning, match="num_labels=2 is not the length of id2label, 3; the latter counts"):
        both = AlbertConfig(num_labels=2, id2label=named.id2label)  # as transformers takes such a file
    assert both == named
    older = AlbertConfig(id2label={0: "no", 1: "yes"}, label2id={"no": "0", "yes": "1"})
    assert older.label2id == {"no": 0, "yes": 1}


def test_a_copy_keeps_unknown_fields():
    config = AlbertConfig(gap_size=0, net_structure_type=0)
    again = dataclasses.replace(config, hidden_size=128, num_attention_heads=2)
    assert (again.gap_size, again.extra, again.hidden_size) == (0, config.extra, 128)
    assert copy.deepcopy(config) == pickle.loads(pickle.dumps(config)) == config


def test_an_override_wins_over_the_file(tmp_path):
    where = saved_config(
        tmp_path, {"id2label": {"0": "no", "1": "yes"}, "label2id": {"no": 0, "yes": 1}, "hidden_act": "relu"}
    )
    assert AlbertConfig.from_pretrained(where, num_labels=2).id2label == {0: "no", 1: "yes"}
    five = AlbertConfig.from_pretrained(where, num_labels=5, hidden_act="silu")
    assert (five.num_labels, five.id2label[4], five.label2id["LABEL_4"], five.hidden_act) == (5, "LABEL_4", 4, "silu")
    other = AlbertConfig.from_pretrained(where, id2label={0: "a", 1: "b", 2: "c"})
    assert (other.num_labels, other.label2id) == (3, {"a": 0, "b": 1, "c": 2})


def test_replace_makes_a_checked_copy():
    config = AlbertConfig(id2label={0: "no", 1: "yes"}, own=1)
    copy = config.replace(vocab_size=7, num_labels=3)
    assert (copy.vocab_size, copy.num_labels, copy.id2label[2], copy.own) == (7, 3, "LABEL_2", 1)
    assert (config.vocab_size, config.replace(vocab_size=7).id2label) == (30000, {0: "no", 1: "yes"})
    assert config.replace(id2label={0: "x"}).label2id == {"x": 0}
    assert "vocab_size" in refusal(config.replace, vocab_size=0)


def test_a_config_is_frozen_and_its_dictionary_is_a_copy():
    config = AlbertConfig()
    for name in ("vocab_size", "not_a_field"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(config, name, 5)
    config.to_dict()["id2label"][0] = "changed"
    assert config.id2label[0] == "LABEL_0"


@pytest.mark.parametrize(
    ("size", "L", "H", "N", "intermediate", "parameters"),
    [  # paper, table 1; the counts are transformers' AlbertModel
        ("base", 12, 768, 12, 3072, 11_683_584),
        ("large", 24, 1024, 16, 4096, 17_683_968),
        ("xlarge", 24, 2048, 16, 8192, 58_724_864),
        ("xxlarge", 12, 4096, 64, 16384, 222_595_584),
    ],
)
def test_presets(size, L, H, N, intermediate, parameters):
    config = preset(size)
    shape = (config.num_hidden_layers, config.hidden_size, config.num_attention_heads, config.intermediate_size)
    assert shape == (L, H, N, intermediate)
    assert (config.vocab_size, config.embedding_size) == (30000, 128)
    assert sum(map(math.prod, expected_shapes(config, ("pooler",)).values())) == parameters
    assert preset(size, vocab_size=5).vocab_size == 5
