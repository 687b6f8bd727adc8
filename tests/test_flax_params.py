"""params of the Flax classes: read, edited, assigned, given to one call, and made of any model and back."""

import copy
import gc
import pickle
import weakref

import ml_dtypes
import msgpack
import numpy as np
import pytest
from safetensors.numpy import load_file
from support.flax_models import CALL, FOLDERS, GOLDENS, MANIFEST, flax_model, inputs_of, shifted

import albert_np
from albert_np import AlbertConfig, FlaxAlbertForSequenceClassification
from albert_np.flax_params import flattened, from_flax_params, put, to_flax_params
from albert_np.golden.cases import PARTS, TINY

# --- params ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in GOLDENS if (FOLDERS / name / "flax_model.msgpack").exists()])
def test_params_have_the_names_and_the_values_of_flax_s_own(name):
    folder = FOLDERS / name
    model = getattr(albert_np, "Flax" + MANIFEST[name]["class"]).from_pretrained(folder, backend="numpy")
    found = flattened(model.params)
    expected = flattened(msgpack.unpackb((folder / "flax_model.msgpack").read_bytes()))
    assert set(found) == set(expected) == {"/".join(path) for path in model.required_params}
    for path, extension in expected.items():
        shape, dtype, data = msgpack.unpackb(extension.data, raw=True)
        x = np.frombuffer(data, getattr(ml_dtypes, dtype.decode(), None) or dtype.decode()).reshape(shape)
        np.testing.assert_array_equal(found[path], x.astype(np.float32), strict=True)
        assert not found[path].flags.writeable


def test_params_are_views_in_one_dict():
    model = flax_model()
    assert model.params is model.params
    for name, x in flattened(model.params).items():
        assert any(np.shares_memory(x, stored) for stored in model.parameters()), name
    with pytest.raises(ValueError, match="read-only"):
        model.params["classifier"]["kernel"][...] = 0


def test_params_that_are_assigned_count_and_so_does_a_leaf_that_is_put_in_the_dict():
    model = flax_model()
    before = model(**CALL).logits
    model.params = shifted(model.params)
    np.testing.assert_allclose(model(**CALL).logits, before + np.float32(0.5), rtol=1e-6)
    params = model.params
    params["classifier"]["bias"] = params["classifier"]["bias"] + np.float32(1)
    np.testing.assert_allclose(model(**CALL).logits, before + np.float32(1.5), rtol=1e-6)
    assert model.params is params
    params["classifier"] = {"kernel": np.zeros((24, 3)), "bias": np.float64([1, 2, 3])}  # whole parts, and other dtypes
    np.testing.assert_array_equal(model(**CALL).logits, np.float32([[1, 2, 3]] * len(before)))
    np.testing.assert_array_equal(model.state_dict()["classifier.bias"], np.float32([1, 2, 3]), strict=True)
    params["classifier"]["bias"] = np.float32([4, 5, 6])  # the dict is still the model's
    np.testing.assert_array_equal(dict(model.named_parameters())["classifier.bias"], [4, 5, 6])
    assert not params["classifier"]["bias"].flags.writeable


def test_a_leaf_that_is_put_in_the_dict_counts_wherever_weights_are_read(tmp_path):
    new = np.float32([4, 5, 6])
    labels = np.zeros(len(CALL["input_ids"]), int)

    def after(look):
        model = flax_model()
        model.params["classifier"]["bias"] = new
        return look(model)

    def saved(model):
        model.save_pretrained(tmp_path)
        return load_file(tmp_path / "model.safetensors")["classifier.bias"]

    other = flax_model()
    other.params = other.params | {"classifier": other.params["classifier"] | {"bias": new}}
    loss = other.value_and_grad(**CALL, labels=labels)[0]
    assert (
        after(lambda model: model.value_and_grad(**CALL, labels=labels)[0])
        == loss
        != flax_model().value_and_grad(**CALL, labels=labels)[0]
    )
    for look in (
        saved,
        lambda model: model.parameters_to_change()["classifier.bias"],
        lambda model: pickle.loads(pickle.dumps(model)).state_dict()["classifier.bias"],
        lambda model: copy.deepcopy(model).params["classifier"]["bias"],
        lambda model: to_flax_params(model)["classifier"]["bias"],
        lambda model: model.classifier.bias,
        lambda model: model.albert and model._weights.classifier.bias,
        lambda model: model.to("float64").state_dict()["classifier.bias"],
    ):
        np.testing.assert_array_equal(after(look), new)


def test_the_dict_follows_the_model():
    model = flax_model("AlbertForMaskedLM")
    params = model.params
    model.load_state_dict({"predictions.bias": np.arange(60.0)}, strict=False)
    np.testing.assert_array_equal(params["predictions"]["bias"], np.arange(60))
    model.resize_token_embeddings(64)
    assert params["albert"]["embeddings"]["word_embeddings"]["embedding"].shape == (64, 12)
    model.double()
    assert params["predictions"]["bias"].dtype == np.float64
    call = inputs_of("AlbertForMaskedLM")
    np.testing.assert_array_equal(model(**call, params=params).logits, model(**call).logits)
    assert model._other is None


def test_params_that_were_handed_out_keep_their_values_when_others_are_assigned():
    """As in Flax: code keeps the params before a change, to compare with them or to go back."""
    model = flax_model()
    before, old = model(**CALL).logits, model.params
    model.params = shifted(old)
    assert not np.allclose(model(**CALL).logits, before)
    np.testing.assert_array_equal(model(**CALL, params=old).logits, before)
    old["classifier"]["bias"] = old["classifier"]["bias"] + np.float32(2)  # this dict is no longer the model's
    np.testing.assert_allclose(model(**CALL).logits, before + np.float32(0.5), rtol=1e-6)
    model.params = old
    np.testing.assert_allclose(model(**CALL).logits, before + np.float32(2), rtol=1e-6)


def test_params_of_one_call_change_nothing_else():
    model = flax_model()
    before = model(**CALL).logits
    other = shifted(model.params)
    np.testing.assert_allclose(model(**CALL, params=other).logits, before + np.float32(0.5), rtol=1e-6)
    np.testing.assert_array_equal(model(**CALL).logits, before)
    assert isinstance(other["classifier"]["bias"], np.ndarray)
    assert other["classifier"]["bias"].flags.writeable
    # an array may change in place between two calls
    other["classifier"]["bias"] += np.float32(1)
    np.testing.assert_allclose(model(**CALL, params=other).logits, before + np.float32(1.5), rtol=1e-6)


def test_gradients_at_other_params_are_those_of_a_model_that_has_them():
    model, labels = flax_model(), np.arange(len(CALL["input_ids"])) % 3
    own = model.value_and_grad(**CALL, labels=labels)
    other = shifted(model.params)
    other["classifier"]["bias"] += np.float32([0, 1, 2])  # a loss is the same where all logits move alike
    loss, found = model.value_and_grad(**CALL, labels=labels, params=other)
    assert loss != own[0]
    assert model.value_and_grad(**CALL, labels=labels, params=model.params)[0] == own[0]
    model.params = other
    expected, gradients = model.value_and_grad(**CALL, labels=labels)
    assert loss == expected
    assert all(np.array_equal(found[name], x) for name, x in gradients.items())
    model = FlaxAlbertForSequenceClassification(AlbertConfig(**TINY, num_labels=3), _do_init=False, backend="numpy")
    with pytest.raises(ValueError, match="_do_init=False"):
        model.value_and_grad(**CALL, labels=labels)
    assert model.value_and_grad(**CALL, labels=labels, params=other)[0] == expected


def test_the_model_s_own_params_cost_nothing_and_others_are_taken_on_once(monkeypatch):
    model = flax_model()
    seen = []
    monkeypatch.setattr(albert_np.flax, "is_same", lambda *given: seen.append(given[0]) or False)
    model(**CALL, params=model.params)
    model(**CALL, params=json_like(model.params))  # other dicts, the same leaves
    assert model._other is None
    assert seen == []
    monkeypatch.undo()
    model(**CALL, params=copy.deepcopy(model.params))  # equal values
    assert model._other is None
    params = shifted(model.params)
    model(**CALL, params=params)
    other = model._other
    model(**CALL, params=params)
    model(**CALL, params=copy.deepcopy(params))
    assert model._other is other
    shared = [np.shares_memory(x, y) for x, y in zip(model.parameters(), other.parameters(), strict=True)]
    assert shared.count(False) == 1
    monkeypatch.setattr(albert_np.flax, "is_same", lambda name, *given: seen.append(name) or True)
    model(**CALL, params=model.params | {"classifier": params["classifier"]})  # what is the model's own is not compared
    assert model._other is other
    assert sorted(seen) == ["classifier/bias", "classifier/kernel"]
    monkeypatch.undo()
    gone = weakref.ref(other)
    del other
    model(**CALL, params=shifted(model.params, 1))
    gc.collect()
    assert gone() is None


def test_asking_whether_params_changed_walks_through_no_names(monkeypatch):
    """Each call asks. A walk with names takes longer than all checks of a call together."""
    model = flax_model()
    before = model(**CALL, params=model.params).logits
    monkeypatch.setattr(albert_np.flax, "flattened", None)
    np.testing.assert_array_equal(model(**CALL, params=model.params).logits, before)
    np.testing.assert_array_equal(model(**CALL).logits, before)
    monkeypatch.undo()
    layer = model.params["albert"]["encoder"]["albert_layer_groups"]["0"]["albert_layers"]["0"]
    ffn = layer.pop("ffn")
    layer["ffn"] = ffn  # in another order
    np.testing.assert_array_equal(model(**CALL).logits, before)
    layer["ffn"] = {"kernel": ffn["kernel"] * 0, "bias": ffn["bias"]}  # deep below
    assert not np.allclose(model(**CALL).logits, before)
    layer["ffn"]["kernel"] = ffn["kernel"]
    np.testing.assert_array_equal(model(**CALL).logits, before)
    layer["ffn"]["other"] = ffn["bias"]
    with pytest.raises(ValueError, match="ffn/other, which this class does not have"):
        model(**CALL, params=model.params)


def json_like(tree):
    return {name: json_like(x) if isinstance(x, dict) else x for name, x in tree.items()}


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ml_dtypes.bfloat16, np.float32])
def test_params_of_any_float_are_rounded_to_the_model_s(dtype):
    model = flax_model()
    rounded = {name: x.astype(dtype) for name, x in flattened(model.params).items()}
    tree = {}
    for name, x in rounded.items():
        put(tree, name, x)
    out = model(**CALL, params=tree).logits
    again = from_flax_params(tree, model.config, albert_np.AlbertForSequenceClassification, backend="numpy")
    np.testing.assert_array_equal(out, again(**CALL).logits, strict=True)
    assert (model._other is None) == (dtype in (np.float32, np.float64))


def wrong_params():
    """What is wrong -> (a change of the params, what we say)."""
    return {
        "a leaf is missing": (lambda p: p["classifier"].pop("bias"), "params lack classifier/bias"),
        "a part is missing": (lambda p: p.pop("albert"), "params lack albert/embeddings/word_embeddings/embedding"),
        "a leaf is unknown": (lambda p: p["classifier"].update(scale=np.zeros(3)), "hold classifier/scale, which this"),
        "a matrix is not transposed": (
            lambda p: p["classifier"].update(kernel=p["classifier"]["kernel"].T),
            r"classifier/kernel has the shape \(3, 24\), but this model's has the shape \(24, 3\)",
        ),
        "whole numbers": (lambda p: p["classifier"].update(bias=np.zeros(3, int)), "classifier/bias is int64"),
        "a list": (
            lambda p: p["classifier"].update(bias=[0.0, 0.0, 0.0]),
            "classifier/bias must be an array; got list",
        ),
        "NaN": (lambda p: p["classifier"].update(bias=np.float32([0, np.nan, 0])), "classifier/bias holds nan"),
        "too large for the dtype": (lambda p: p["classifier"].update(bias=np.array([0, 1e300, 0])), "inf in float32"),
        "a name that is no text": (lambda p: p.update({0: np.zeros(3)}), "names in params are str; got 0"),
        "a dict in itself": (lambda p: p.update(albert=p), "more than 32 deep"),
    }


@pytest.mark.parametrize("what", wrong_params())
def test_wrong_params_are_refused_in_one_line_and_change_nothing(what):
    change, message = wrong_params()[what]
    model = flax_model()
    before = model(**CALL).logits
    params = copy.deepcopy(model.params)
    change(params)

    def assign():
        model.params = params

    for use in (assign, lambda: model(**CALL, params=params)):
        with pytest.raises(ValueError, match=message) as refusal:
            use()
        assert "\n" not in str(refusal.value)
        np.testing.assert_array_equal(model(**CALL).logits, before)
    change(model.params)  # in the model's own dict: refused as soon as it counts, until it is put right
    with pytest.raises(ValueError, match=message):
        model(**CALL)
    model.params = copy.deepcopy(flax_model().params)
    np.testing.assert_array_equal(model(**CALL).logits, before)


def test_params_must_be_dicts():
    model = flax_model()
    for wrong in (5, np.zeros(3), [1], None):
        with pytest.raises(ValueError, match="must be a dict of dicts"):
            model.params = wrong
    with pytest.raises(ValueError, match="lack"):
        model(**CALL, params={})


def test_a_model_without_params_of_its_own():
    model = FlaxAlbertForSequenceClassification(
        AlbertConfig(**TINY, num_labels=3), _do_init=False, backend="numpy", seed=5
    )
    for use in (lambda: model.params, lambda: model(**CALL), lambda: setattr(model, "params", {})):
        with pytest.raises(ValueError, match="_do_init=False"):
            use()
    params = model.init_weights(np.array([0, 5], np.uint32), (1, 1))
    fresh = FlaxAlbertForSequenceClassification(AlbertConfig(**TINY, num_labels=3), backend="numpy", seed=5)
    np.testing.assert_array_equal(model(**CALL, params=params).logits, fresh(**CALL).logits)
    given = {"classifier": {"bias": np.float32([7, 8, 9])}}
    filled = model.init_weights(5, params=given)
    np.testing.assert_array_equal(filled["classifier"]["bias"], [7, 8, 9])
    np.testing.assert_array_equal(filled["classifier"]["kernel"], params["classifier"]["kernel"])


# --- to and from params ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PARTS)
@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"num_hidden_groups": 2, "inner_group_num": 2},
        {"tie_word_embeddings": False, "position_embedding_type": "relative_key"},
    ],
    ids=str,
)
def test_there_and_back_again_bit_for_bit(kind, changed):
    model = flax_model(kind, flax=False, dtype="float64", **changed)
    params = to_flax_params(model)
    for name, x in flattened(params).items():
        assert x.flags.writeable, name
        assert x.flags.c_contiguous, name
    again = from_flax_params(params, model.config, type(model), dtype="float64", backend="numpy")
    flax = from_flax_params(params, model.config, getattr(albert_np, f"Flax{kind}"), dtype="float64", backend="numpy")
    for other in (again, flax):
        for name, x in model.named_parameters():
            np.testing.assert_array_equal(other.state_dict()[name], x, strict=True)
    assert set(flattened(flax.params)) == set(flattened(params))
    assert ("decoder" in params.get("predictions", {})) == (
        "predictions" in model.parts and not model.config.tie_word_embeddings
    )


def test_a_base_model_takes_a_head_s_params_and_a_head_needs_its_own():
    params = to_flax_params(flax_model(flax=False))
    with pytest.warns(UserWarning, match="classifier"):
        base = from_flax_params(params, AlbertConfig(**TINY), albert_np.AlbertModel, backend="numpy")
    np.testing.assert_array_equal(base.state_dict()["pooler.bias"], params["albert"]["pooler"]["bias"])
    with pytest.raises(ValueError, match="qa_outputs"):
        from_flax_params(params, AlbertConfig(**TINY), albert_np.AlbertForQuestionAnswering, backend="numpy")
