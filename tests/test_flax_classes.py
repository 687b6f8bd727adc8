"""The Flax classes: the same models, called as transformers' Flax classes are."""

import inspect
import json

import numpy as np
import pytest
from safetensors.numpy import load_file
from support.flax_models import CALL, flax_model, inputs_of, shifted

import albert_np
from albert_np import AlbertConfig, FlaxAlbertForMaskedLM, FlaxAlbertForSequenceClassification, FlaxAlbertModel
from albert_np.flax_params import flattened, seed_of
from albert_np.golden.cases import PARTS, TINY

CLASSES = list(PARTS)
# the fields of transformers' outputs, in order (modeling_flax_outputs.py, modeling_flax_albert.py)
FIELDS = {
    "AlbertModel": ("FlaxBaseModelOutputWithPooling", ["last_hidden_state", "pooler_output"]),
    "AlbertForPreTraining": ("FlaxAlbertForPreTrainingOutput", ["prediction_logits", "sop_logits"]),
    "AlbertForMaskedLM": ("FlaxMaskedLMOutput", ["logits"]),
    "AlbertForSequenceClassification": ("FlaxSequenceClassifierOutput", ["logits"]),
    "AlbertForMultipleChoice": ("FlaxMultipleChoiceModelOutput", ["logits"]),
    "AlbertForTokenClassification": ("FlaxTokenClassifierOutput", ["logits"]),
    "AlbertForQuestionAnswering": ("FlaxQuestionAnsweringModelOutput", ["start_logits", "end_logits"]),
}


# --- calls ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CLASSES)
def test_the_answer_is_that_of_the_class_without_flax_in_an_output_of_flax_s(kind):
    name, fields = FIELDS[kind]
    call = inputs_of(kind)
    flax, plain = flax_model(kind), flax_model(kind, flax=False)
    out = flax(**call, output_attentions=True, output_hidden_states=True)
    expected = plain(**call, output_attentions=True, output_hidden_states=True)
    assert type(out) is getattr(albert_np, name)
    assert list(out) == [*fields, "hidden_states", "attentions"]
    assert "loss" not in vars(out)
    for field in fields:
        np.testing.assert_array_equal(out[field], expected[field], strict=True)
    for one, other in zip(
        out.hidden_states + out.attentions, expected.hidden_states + expected.attentions, strict=True
    ):
        np.testing.assert_array_equal(one, other, strict=True)
    as_tuple = flax(**call, return_dict=False)
    assert isinstance(as_tuple, tuple)
    assert len(as_tuple) == len(fields)
    assert isinstance(flax, getattr(albert_np, kind))
    changed = out.replace(hidden_states=None)
    assert type(changed) is type(out)
    assert list(changed) == [*fields, "attentions"]


def test_arguments_stand_in_flax_s_order():
    """FlaxAlbertPreTrainedModel.__call__ of transformers 4.57.6."""
    names = [
        "input_ids",
        "attention_mask",
        "token_type_ids",
        "position_ids",
        "params",
        "dropout_rng",
        "train",
        "output_attentions",
        "output_hidden_states",
        "return_dict",
    ]
    assert list(inspect.signature(FlaxAlbertModel.__call__).parameters)[1 : len(names) + 1] == names
    names = ["config", "input_shape", "seed", "dtype", "_do_init"]
    assert list(inspect.signature(FlaxAlbertModel.__init__).parameters)[1 : len(names) + 1] == names
    model = flax_model()
    positions = np.arange(CALL["input_ids"].shape[1])[None, ::-1]
    out = model(*CALL.values(), positions, None, None, False, True, True, False)
    named = model(**CALL, position_ids=positions, output_attentions=True, output_hidden_states=True)
    np.testing.assert_array_equal(out[0], named.logits)
    assert [len(x) for x in out[1:]] == [5, 4]


def test_a_model_without_a_pooler_leaves_no_place_for_it():
    model = FlaxAlbertModel(AlbertConfig(**TINY), add_pooling_layer=False, backend="numpy")
    assert "pooler" not in model.params
    out = model(CALL["input_ids"])
    assert out.pooler_output is None
    hidden, states = model(CALL["input_ids"], output_hidden_states=True, return_dict=False)
    np.testing.assert_array_equal(hidden, states[-1])


def test_what_other_calls_take_is_taken_too_and_labels_are_not():
    model = flax_model()
    trace = model(**CALL, trace=True, mask_mode="zeros").trace
    assert "classifier" in trace
    for name, value in {"labels": [0, 1], "training": True, "seed": 3}.items():
        with pytest.raises(ValueError, match=f"no labels; got {name}"):
            model(**CALL, **{name: value})
    question = flax_model("AlbertForQuestionAnswering")
    with pytest.raises(ValueError, match="got start_positions, end_positions"):
        question(**CALL, start_positions=[0], end_positions=[1])
    with pytest.raises(ValueError, match="train must be True or False"):
        model(**CALL, train="no")
    for takes, other in (("Flax's arguments, class_weights", model), ("Flax's arguments", question)):
        with pytest.raises(ValueError, match=f"takes {takes}; got special_tokens_mask$"):
            other(**CALL, special_tokens_mask=CALL["attention_mask"])


def test_names_of_flax_s_that_are_not_here_say_what_to_do():
    model = flax_model()
    assert model.framework == "np"
    for name, says in {"to_bf16": "params of any", "module": "params=", "params_shape_tree": "required_params"}.items():
        assert not hasattr(model, name)
        with pytest.raises(AttributeError, match=f"FlaxAlbertForSequenceClassification has no '{name}': .*{says}"):
            getattr(model, name)


class _Traced:
    """As an array that jax.jit or tf.function traces: NumPy gets a reason of several lines."""

    shape = (2, 3)

    def __init__(self, error):
        self.error = error

    def __array__(self, *args, **options):
        raise self.error("this array has no values\nSee https://…")


def test_an_array_that_is_traced_is_refused_in_one_line():
    for error in (TypeError, NotImplementedError):
        with pytest.raises(ValueError, match=r"^input_ids must be .* cannot read it: this array has no values See .*$"):
            flax_model()(_Traced(error))


def test_ids_may_be_floats_that_are_whole_numbers():
    """As in Flax's documentation: model(np.ones((1, 1)))."""
    model = flax_model()
    expected = model(**CALL).logits
    floats = {name: x.astype(np.float32) for name, x in CALL.items()}
    positions = np.arange(CALL["input_ids"].shape[1], dtype=np.float64)[None]
    np.testing.assert_array_equal(model(**floats, position_ids=positions).logits, expected)
    for wrong in (1.5, np.nan, np.inf, 1e30):
        with pytest.raises(ValueError, match="input_ids must be integers; got float64"):
            model(np.array([[2, wrong]]))


def test_the_head_for_the_order_of_sentences_has_two_logits_whatever_num_labels_says():
    """As in Flax; PyTorch and TensorFlow make as many as there are labels."""
    model = flax_model("AlbertForPreTraining", num_labels=3)
    assert model.params["sop_classifier"]["classifier"]["kernel"].shape == (24, 2)
    assert model(**CALL).sop_logits.shape == (len(CALL["input_ids"]), 2)


# --- dropout --------------------------------------------------------------------------------------------------------------


def test_dropout_is_drawn_from_a_seed_or_from_a_key():
    model = flax_model(hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.2)
    quiet = model(**CALL).logits
    noisy = model(**CALL, train=True, dropout_rng=7).logits
    assert not np.array_equal(noisy, quiet)
    np.testing.assert_array_equal(model(**CALL, train=True, dropout_rng=np.array([0, 7], np.uint32)).logits, noisy)
    other = model(**CALL, train=True, dropout_rng=np.array([7, 0], np.uint32)).logits
    assert not np.array_equal(other, noisy)
    np.testing.assert_array_equal(model(**CALL, dropout_rng=7).logits, quiet)
    with pytest.raises(ValueError, match="needs dropout_rng"):
        model(**CALL, train=True)
    still = flax_model(hidden_dropout_prob=0, attention_probs_dropout_prob=0, classifier_dropout_prob=0)
    np.testing.assert_array_equal(still(**CALL, train=True).logits, still(**CALL).logits)


def test_what_a_key_is():
    assert seed_of(np.array([1, 2], np.uint32)) == 2**32 + 2
    assert seed_of(np.int64(5)) == 5
    for wrong in (-1, True, np.zeros(3, np.uint32), np.array([0, -1]), np.array([0.0, 1.0]), np.array([0, 2**32])):
        with pytest.raises(ValueError, match=r"two uint32|seed must be"):
            seed_of(wrong)
    for wrong in ("7", None, [0, 7], object()):  # the last as a key of jax.random.key, which NumPy cannot read
        with pytest.raises(ValueError, match=r"two uint32.*jax\.random\.key_data\(key\) gives them; got"):
            seed_of(wrong)


@pytest.mark.parametrize("kind", CLASSES)
def test_no_key_is_needed_where_nothing_is_drawn(kind):
    """Published models have a dropout of 0.1 before classifiers alone, and three classes have none of these."""
    model = flax_model(kind, hidden_dropout_prob=0, attention_probs_dropout_prob=0, classifier_dropout_prob=0.1)
    call = inputs_of(kind)
    if kind in ("AlbertModel", "AlbertForMaskedLM", "AlbertForQuestionAnswering"):
        np.testing.assert_array_equal(model(**call, train=True)[0], model(**call)[0])
    else:
        with pytest.raises(ValueError, match="needs dropout_rng"):
            model(**call, train=True)


# --- folders --------------------------------------------------------------------------------------------------------------


def test_flax_s_own_file_comes_first_and_from_pt_reads_pytorch_s(tmp_path):
    model = flax_model()
    model.save_pretrained(tmp_path, safe_serialization=False)
    assert (tmp_path / "flax_model.msgpack").exists()
    albert_np.AlbertForSequenceClassification(model.config, seed=9).save_pretrained(tmp_path)
    np.testing.assert_array_equal(
        FlaxAlbertForSequenceClassification.from_pretrained(tmp_path, backend="numpy")(**CALL).logits,
        model(**CALL).logits,
    )
    for options in ({"from_pt": True}, {"use_safetensors": True}):
        other = FlaxAlbertForSequenceClassification.from_pretrained(tmp_path, "float64", backend="numpy", **options)
        assert other.dtype == np.float64
        assert not np.allclose(other(**CALL).logits, model(**CALL).logits)


def test_what_is_saved_is_safetensors_that_the_other_classes_read(tmp_path):
    model = flax_model()
    model.save_pretrained(tmp_path, safe_serialization=False)
    model.save_pretrained(tmp_path, shifted(model.params))
    # a Flax class would take flax_model.msgpack, and so what an earlier save left is gone
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architectures"] == ["AlbertForSequenceClassification"]
    stored = load_file(tmp_path / "model.safetensors")
    assert stored["albert.encoder.embedding_hidden_mapping_in.weight"].shape == (24, 12)
    plain = albert_np.AlbertForSequenceClassification.from_pretrained(tmp_path, backend="numpy")
    np.testing.assert_allclose(plain(**CALL).logits, model(**CALL).logits + np.float32(0.5), rtol=1e-6)


@pytest.mark.parametrize("size", ["10GB", "3KB"])
@pytest.mark.parametrize("tied", [True, False])
def test_flax_model_msgpack_there_and_back(size, tied, tmp_path):
    model = flax_model("AlbertForMaskedLM", tie_word_embeddings=tied)
    model.save_pretrained(tmp_path, safe_serialization=False, max_shard_size=size)
    assert (tmp_path / "flax_model.msgpack").exists() == (size == "10GB")
    again = FlaxAlbertForMaskedLM.from_pretrained(tmp_path, backend="numpy")
    for name, x in flattened(model.params).items():
        np.testing.assert_array_equal(flattened(again.params)[name], x, strict=True)


def test_a_model_and_its_params_apart(tmp_path):
    flax_model().save_pretrained(tmp_path)
    model, params = FlaxAlbertForSequenceClassification.from_pretrained(tmp_path, _do_init=False, backend="numpy")
    np.testing.assert_array_equal(model(**CALL, params=params).logits, flax_model()(**CALL).logits)
    assert model._other is None
    with pytest.raises(ValueError, match="_do_init=False"):
        model(**CALL)
    with pytest.raises(ValueError, match="leave out output_loading_info"):
        FlaxAlbertForSequenceClassification.from_pretrained(tmp_path, _do_init=False, output_loading_info=True)
    loaded, info = FlaxAlbertForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert isinstance(loaded, FlaxAlbertForSequenceClassification)
    assert info["missing_keys"] == []


class _JaxType:
    """As jax.numpy.float32 is: no dtype and no type of NumPy's, but it has one."""

    def __init__(self, name):
        self.dtype = np.dtype(name)


def test_types_of_numbers_have_numpy_s_or_jax_s_names():
    for dtype in ("float64", np.float64, np.dtype("f8"), _JaxType("float64")):
        assert FlaxAlbertModel(AlbertConfig(**TINY), dtype=dtype, backend="numpy").dtype == np.float64
    with pytest.raises(ValueError, match="dtype must be one of float32"):
        FlaxAlbertModel(AlbertConfig(**TINY), dtype=_JaxType("float16"), backend="numpy")


def test_every_engine_takes_params():
    for backend in ("numpy", "auto"):
        model = FlaxAlbertForSequenceClassification(AlbertConfig(**TINY, num_labels=3), backend=backend)
        before = model(**CALL).logits
        other = shifted(model.params)
        after = model(**CALL, params=other).logits
        np.testing.assert_allclose(after, before + np.float32(0.5), rtol=1e-5)
        model.params = other
        np.testing.assert_array_equal(model(**CALL).logits, after)
        model.params["classifier"]["bias"] = other["classifier"]["bias"] - np.float32(0.5)
        np.testing.assert_allclose(model(**CALL).logits, before, rtol=1e-5)
