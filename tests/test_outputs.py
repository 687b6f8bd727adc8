"""What a model returns reads as attributes, keys and tuple places, as transformers' ModelOutput."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping

import numpy as np
import pytest

from albert_np import outputs
from albert_np.config import AlbertConfig

TINY = {
    "vocab_size": 20,
    "embedding_size": 3,
    "hidden_size": 4,
    "num_attention_heads": 2,
    "intermediate_size": 5,
    "num_hidden_layers": 3,
    "inner_group_num": 2,
    "max_position_embeddings": 6,
}
IDS = [[5, 0, 19], [1, 2, 3]]


@pytest.fixture
def out():
    """Three of five fields, in an order that is not alphabetical."""
    return outputs.SequenceClassifierOutput(loss=np.float64(0.5), logits=np.array([[1.0, 2.0]]), attentions=("a", "b"))


def test_an_output_is_read_by_attribute_key_and_place(out):
    assert out.loss == out["loss"] == out[0] == 0.5
    assert out.logits is out["logits"]
    assert out.logits is out[1]
    assert out.attentions is out[2]
    assert out[-1] is out.attentions
    assert out[:2] == (out.loss, out.logits)
    assert out[1:] == (out.logits, out.attentions)


def test_none_is_an_attribute_and_nothing_else(out):
    assert out.hidden_states is None
    assert "hidden_states" not in out
    assert list(out) == out.keys() == ["loss", "logits", "attentions"]
    assert len(out) == len(out.to_tuple()) == len(out.values()) == 3
    with pytest.raises(KeyError, match="'hidden_states': this output holds loss, logits, attentions"):
        out["hidden_states"]
    with pytest.raises(IndexError):
        out[3]


def test_an_output_is_a_mapping(out):
    assert dict(out) == dict(out.items()) == dict(zip(out, out.values(), strict=True))
    assert dict(**out)["loss"] == 0.5
    assert "logits" in out
    assert "nothing" not in out
    assert 0 not in out
    assert out.get("loss") == 0.5
    assert out.get("hidden_states") is None
    assert out.get("hidden_states", "default") == out.get("nothing", "default") == "default"


def test_what_is_set_later_is_there(out):
    out.hidden_states = ()
    assert out.keys() == ["loss", "logits", "hidden_states", "attentions"]
    assert out[2] == ()


def test_what_is_set_as_an_item_is_there_as_attribute_item_and_place(out):
    new = np.zeros((1, 2))
    out["logits"] = new
    assert out.logits is out["logits"] is out[1] is new
    out.logits = other = np.ones((1, 2))
    assert out["logits"] is out.to_tuple()[1] is dict(out)["logits"] is other
    out["hidden_states"] = ("c",)  # which was None
    assert out.keys() == ["loss", "logits", "hidden_states", "attentions"]
    assert out.hidden_states == ("c",)
    out["loss"] = None
    assert "loss" not in out
    assert out.loss is None
    assert out[0] is other


def test_items_that_are_no_fields_come_last(out):
    out["input_ids"] = ids = [[1, 2]]
    out["note"] = "a"
    assert out.keys() == ["loss", "logits", "attentions", "input_ids", "note"]
    assert out.input_ids is out["input_ids"] is out[3] is ids
    assert out[-2:] == (ids, "a")
    assert (len(out), "note" in out, out.get("note"), dict(out)["note"]) == (5, True, "a", "a")
    out.note = "b"
    assert out["note"] == "b"
    out["input_ids"] = ids = [[3]]
    assert out[3:] == (ids, "b")
    out.remark = "an attribute as of any object"  # and no item, as in transformers
    assert "remark" not in out


@pytest.mark.parametrize(
    "change",
    [
        lambda out: out.pop("logits"),
        lambda out: out.pop("nothing", None),
        lambda out: out.popitem(),
        lambda out: out.update(logits=1),
        lambda out: out.update({"logits": 1}),
        lambda out: out.setdefault("hidden_states", ()),
        lambda out: out.clear(),
        lambda out: out.__delitem__("logits"),
        lambda out: exec("del out['logits']"),
    ],
)
def test_fields_are_neither_taken_out_nor_set_in_numbers(out, change):
    before = dict(out)
    with pytest.raises(ValueError, match=r"SequenceClassifierOutput has no .*: out\[name\] = value sets a field"):
        change(out)
    assert dict(out) == before


@pytest.mark.parametrize("key", [0, None, slice(1), ("logits",)])
def test_items_are_set_by_name(out, key):
    with pytest.raises(ValueError, match="a field is set by its name; got "):
        out[key] = 1


@pytest.mark.parametrize("key", ["keys", "to_tuple", "__class__", "_added"])
def test_an_item_never_takes_the_place_of_a_method(out, key):
    with pytest.raises(ValueError, match=f"{key} is no name for a field"):
        out[key] = 1
    assert out.to_tuple()


def test_an_output_is_pickled_and_copied_with_all_its_items(out):
    out["input_ids"] = [[1, 2]]
    for again in (pickle.loads(pickle.dumps(out)), copy.copy(out), copy.deepcopy(out)):
        assert type(again) is type(out)
        assert again.keys() == out.keys()
        assert np.array_equal(again.logits, out.logits)
        assert again["input_ids"] == again[3] == [[1, 2]]
        assert again.hidden_states is None


def test_an_output_is_made_of_a_dict_as_of_names(out):
    again = outputs.SequenceClassifierOutput(dict(out))
    assert again.keys() == out.keys()
    assert all(again[name] is out[name] for name in out)
    assert isinstance(out, Mapping)
    more = outputs.MaskedLMOutput({"logits": 1, "mine": 2})
    assert (more.logits, more["mine"], more.loss) == (1, 2, None)


def test_an_output_without_a_field_is_empty():
    empty = outputs.MaskedLMOutput()
    assert (len(empty), list(empty), empty.to_tuple(), dict(empty)) == (0, [], (), {})


def test_a_model_returns_what_was_asked_for(backend):
    model = backend.model("AlbertModel", AlbertConfig(**TINY))
    assert model(IDS).keys() == ["last_hidden_state", "pooler_output"]
    every = model(IDS, output_hidden_states=True, output_attentions=True, trace=True)
    assert every.keys() == ["last_hidden_state", "pooler_output", "hidden_states", "attentions", "trace"]
    assert [x.shape for x in every.hidden_states] == [(2, 3, 4)] * (3 + 1)
    assert [x.shape for x in every.attentions] == [(2, 2, 3, 3)] * (3 * 2)
    assert every.hidden_states[-1] is every.last_hidden_state
    plain = model(IDS, output_hidden_states=True)
    assert plain.hidden_states[-1] is plain.last_hidden_state
    asked = backend.model("AlbertModel", AlbertConfig(**TINY, output_hidden_states=True))
    assert "hidden_states" in asked(IDS)
    assert "hidden_states" not in asked(IDS, output_hidden_states=False)
    bare = backend.model("AlbertModel", AlbertConfig(**TINY), add_pooling_layer=False)
    assert bare(IDS).keys() == ["last_hidden_state"]


@pytest.mark.parametrize("by_config", [True, False])
def test_return_dict_false_is_the_tuple(backend, by_config):
    config = AlbertConfig(**TINY, return_dict=not by_config)
    model = backend.model("AlbertForSequenceClassification", config)
    asked = {} if by_config else {"return_dict": False}
    got = model(IDS, labels=[0, 1], output_attentions=True, **asked)
    expected = model(IDS, labels=[0, 1], output_attentions=True, return_dict=True)
    assert type(got) is tuple
    assert (len(got), got[0]) == (3, expected.loss)
    assert np.array_equal(got[1], expected.logits)
    assert len(model(IDS, **asked)) == 1


@pytest.mark.parity
def test_items_are_set_as_in_transformers(transformers, torch):
    from transformers.modeling_outputs import MaskedLMOutput

    for kind in (MaskedLMOutput, outputs.MaskedLMOutput):
        out = kind(logits=torch.zeros(1))
        out["logits"] = 1
        out["input_ids"] = 2
        out["loss"] = 3
        out.logits = 4
        out.note = 5
        assert dict(out) == {"logits": 4, "input_ids": 2, "loss": 3}
        assert set(out.to_tuple()) == {2, 3, 4}
        for refused in (lambda out: out.pop("logits"), lambda out: out.update(a=1), lambda out: out.setdefault("a", 1)):
            with pytest.raises(Exception, match=r"pop|update|setdefault"):
                refused(out)
        again = pickle.loads(pickle.dumps(out))
        assert dict(again) == dict(out)


@pytest.mark.parity
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("BaseModelOutputWithPooling", "modeling_outputs.BaseModelOutputWithPooling"),
        ("AlbertForPreTrainingOutput", "models.albert.modeling_albert.AlbertForPreTrainingOutput"),
        ("MaskedLMOutput", "modeling_outputs.MaskedLMOutput"),
        ("SequenceClassifierOutput", "modeling_outputs.SequenceClassifierOutput"),
        ("MultipleChoiceModelOutput", "modeling_outputs.MultipleChoiceModelOutput"),
        ("TokenClassifierOutput", "modeling_outputs.TokenClassifierOutput"),
        ("QuestionAnsweringModelOutput", "modeling_outputs.QuestionAnsweringModelOutput"),
    ],
)
def test_names_and_places_are_those_of_transformers(transformers, torch, ours, theirs):
    module, _, name = theirs.rpartition(".")
    kind = getattr(__import__(f"transformers.{module}", fromlist=[name]), name)
    fields = list(kind.__dataclass_fields__)
    assert list(getattr(outputs, ours).__dataclass_fields__) == [*fields, "trace"]
    value = torch.zeros(1)
    their_out = kind(**dict.fromkeys(fields[1:], (value,)))
    our_out = getattr(outputs, ours)(**dict.fromkeys(fields[1:], (np.zeros(1),)))
    assert list(their_out.keys()) == our_out.keys()
    assert len(their_out.to_tuple()) == len(our_out)
