"""What a model returns reads as attributes, keys and tuple places, as transformers' ModelOutput."""

from __future__ import annotations

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
