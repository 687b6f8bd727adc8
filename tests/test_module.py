"""The names that code for PyTorch asks a model for: parts, device, dtype, mode, and arguments without their names."""

import copy
import pickle
import types
import weakref

import numpy as np
import pytest
from support.backends import NUMPY

from albert_np import AlbertConfig, AlbertForMaskedLM, AlbertModel
from albert_np.device import device_of
from albert_np.golden.cases import PARTS, TINY, trained_like

IDS = [[2, 5, 9, 3], [2, 7, 0, 3]]


def made(backend, kind="AlbertForMaskedLM", **changes):
    config = AlbertConfig(**(TINY | {"num_labels": 2} | changes))
    return backend.model(kind, config, trained_like(config, PARTS[kind], 3))


def walk(tree, name):
    """The array at a dotted name."""
    for step in name.split("."):
        tree = tree[int(step)] if step.isdecimal() else getattr(tree, step)
    return tree


# --- the tree -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes", [{}, {"num_hidden_groups": 2, "inner_group_num": 2}, {"tie_word_embeddings": False}]
)
@pytest.mark.parametrize("kind", list(PARTS))
def test_every_name_of_the_state_dict_is_a_path_to_the_same_array(kind, changes):
    model = made(NUMPY, kind, **changes)
    for name, x in model.state_dict().items():
        found = walk(model, name)
        assert np.shares_memory(found, x)
        assert found.shape == x.shape
        assert not found.flags.writeable
        assert x.flags.writeable  # the view is read-only, and not the array


def test_paths_that_a_learner_would_type():
    model, base = made(NUMPY), made(NUMPY, "AlbertModel")
    E, H = TINY["embedding_size"], TINY["hidden_size"]
    assert base.embeddings.word_embeddings.weight.shape == (TINY["vocab_size"], E)
    assert base.encoder.embedding_hidden_mapping_in.weight.shape == (H, E)
    assert base.pooler.weight.shape == (H, H)
    layer = model.albert.encoder.albert_layer_groups[0].albert_layers[-1]
    assert layer.attention.query.weight.shape == (H, H)
    assert layer.full_layer_layer_norm.bias.shape == (H,)
    assert model.predictions.decoder.weight.shape == (TINY["vocab_size"], E)
    assert np.array_equal(model.embeddings.LayerNorm.weight, model.albert.embeddings.LayerNorm.weight)
    groups = made(NUMPY, num_hidden_groups=2).albert.encoder.albert_layer_groups
    assert len(groups) == len(list(groups)) == 2
    assert not np.array_equal(groups[0].albert_layers[0].ffn.weight, groups[1].albert_layers[0].ffn.weight)


def test_a_part_shows_the_names_and_shapes_below_it():
    model = made(NUMPY)
    assert repr(model.embeddings).splitlines()[0] == "albert.embeddings: 1,008 parameters"
    assert "  word_embeddings.weight        (60, 12)" in repr(model.embeddings).splitlines()
    layer = model.albert.encoder.albert_layer_groups[0].albert_layers[0]
    assert "  attention.query.weight        (24, 24)" in repr(layer).splitlines()
    assert set(dir(model.embeddings)) >= {"word_embeddings", "position_embeddings", "LayerNorm"}
    assert set(dir(model)) >= {"albert", "predictions"}
    assert [name for name, _ in model.predictions.named_children()] == ["LayerNorm", "dense", "decoder"]
    assert [x.shape for x in model.predictions.dense.parameters()] == [(12, 24), (12,)]
    names = dict(model.named_modules())
    assert names[""] is model
    assert names["albert.encoder.albert_layer_groups.0.albert_layers.0.ffn"].weight.shape == (40, 24)


def test_a_part_is_read_and_never_written():
    model = made(NUMPY)
    with pytest.raises(ValueError, match="read-only"):
        model.embeddings.word_embeddings.weight[0] = 1
    with pytest.raises(AttributeError, match=r"word_embeddings.weight is not set here: model.parameters_to_change\(\)"):
        model.embeddings.word_embeddings.weight = np.zeros(3)
    model.parameters_to_change()["predictions.bias"][:] = 7
    assert np.all(model.predictions.bias == 7)


def test_a_table_of_embeddings_looks_up_and_no_other_part_computes(backend):
    model = made(backend, "AlbertForTokenClassification")
    found = model.get_input_embeddings()(IDS)
    assert np.array_equal(found, model.embeddings.word_embeddings.weight[np.array(IDS)])
    backend.assert_same("logits of inputs_embeds", model(inputs_embeds=found).logits, model(IDS).logits)
    found[:] = 0  # rows of its own
    assert model.albert.embeddings.position_embeddings(0).shape == (TINY["embedding_size"],)
    with pytest.raises(
        ValueError, match=r"id 60 at \[0\] of ids is outside 0 … 59; albert.embeddings.word_embeddings has 60"
    ):
        model.get_input_embeddings()([60])
    for part in (model.classifier, model.embeddings, model.embeddings.LayerNorm, model.albert.encoder):
        with pytest.raises(ValueError, match="computes nothing: call the model itself"):
            part(IDS)


def test_a_model_goes_with_its_last_reference_and_its_encoder_keeps_it():
    model = made(NUMPY)
    model.albert(IDS)
    watched = weakref.ref(model)
    base = model.albert
    del model
    base.resize_token_embeddings(70)
    assert base.embeddings.word_embeddings.weight.shape[0] == base._owner.config.vocab_size == 70
    del base
    assert watched() is None  # at once, without a search for circles: the memory of a GPU is dear


def test_what_is_not_there_is_an_attribute_error_that_lists_what_is():
    model = made(NUMPY)
    with pytest.raises(AttributeError, match="AlbertForMaskedLM has no 'classifier'"):
        _ = model.classifier
    with pytest.raises(AttributeError, match=r"albert.embeddings has no 'token'; it has word_embeddings, position_"):
        _ = model.embeddings.token
    with pytest.raises(IndexError, match=r"albert_layer_groups has 1 numbered parts; it has no \[1\]"):
        _ = model.albert.encoder.albert_layer_groups[1]
    assert not hasattr(model, "pooler")
    assert not hasattr(AlbertModel(model.config, add_pooling_layer=False), "pooler")
    assert hasattr(made(NUMPY, "AlbertForPreTraining"), "pooler")


def test_models_and_parts_are_copied_and_pickled():
    model = made(NUMPY)
    model.albert(IDS)
    for again in (copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert np.array_equal(again(IDS).logits, model(IDS).logits)
        assert np.array_equal(again.albert(IDS)[0], model.albert(IDS)[0])
    base = pickle.loads(pickle.dumps(model.albert))
    assert np.array_equal(base(IDS)[0], model.albert(IDS)[0])
    part = pickle.loads(pickle.dumps(model.predictions))
    assert np.array_equal(copy.deepcopy(part).dense.weight, model.predictions.dense.weight)


# --- the encoder of a model with a head -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [kind for kind in PARTS if kind != "AlbertModel"])
def test_the_encoder_of_a_head_model_is_an_albert_model_on_the_same_arrays(kind):
    model = made(NUMPY, kind)
    base = model.albert
    assert type(base) is AlbertModel
    assert base is model.albert
    assert base is model.base_model
    assert ("pooler" in base.parts) == ("pooler" in model.parts)
    own = AlbertModel(model.config, "pooler" in model.parts, backend="numpy", dtype="float64", tensors=base._tensors)
    assert all(np.array_equal(x, own(IDS)[name]) for name, x in base(IDS).items())
    for name, x in base.named_parameters():
        assert x is model.state_dict()[f"albert.{name}"]


def test_a_model_knows_how_many_labels_its_config_names():
    model = made(NUMPY, "AlbertForSequenceClassification", num_labels=5)
    assert model.num_labels == 5 == len(model.classifier.weight)


@pytest.mark.parametrize("changes", [{"num_hidden_layers": 2}, {"hidden_act": "relu"}, {"layer_norm_eps": 0.1}])
def test_a_config_that_is_set_is_what_the_model_computes_and_saves(backend, tmp_path, changes):
    model = made(backend, "AlbertForSequenceClassification")
    encoder, before = model.albert, model(IDS).logits
    model.config = model.config.replace(**changes)
    after = model(IDS).logits
    again = type(model)(model.config, tensors=dict(model._tensors), backend=model.backend, dtype=model.precision)
    np.testing.assert_array_equal(after, again(IDS).logits)
    assert not np.array_equal(after, before)
    np.testing.assert_array_equal(encoder(IDS)[0], again.albert(IDS)[0])
    model.save_pretrained(tmp_path)
    stored = type(model).from_pretrained(tmp_path, backend=model.backend, dtype=model.precision)
    np.testing.assert_array_equal(stored(IDS).logits, after)
    encoder.config = encoder.config.replace(output_hidden_states=True)
    assert model(IDS).hidden_states is not None
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model))(IDS).logits, after)


def test_a_config_for_other_tensors_is_not_set():
    model = made(NUMPY, "AlbertForSequenceClassification")
    config, before = model.config, model(IDS).logits
    with pytest.raises(ValueError, match=r"other shapes for classifier.weight, classifier.bias: .*missing='init'"):
        model.config = config.replace(num_labels=5)
    with pytest.raises(ValueError, match=r"other shapes for albert.embeddings.word_embeddings.weight: resize_token"):
        model.albert.config = config.replace(vocab_size=config.vocab_size + 1)
    with pytest.raises(ValueError, match="config must be an AlbertConfig; got dict"):
        model.config = config.to_dict()
    assert model.config is config
    np.testing.assert_array_equal(model(IDS).logits, before)


@pytest.mark.parametrize("name", ["classifier", "albert", "pooler", "num_labels"])
def test_a_part_is_not_hidden_by_something_that_is_set(name):
    model = made(NUMPY, "AlbertForSequenceClassification")
    before = getattr(model, name)
    with pytest.raises(AttributeError, match=f"^{name} is not set here: .* draws a new head$"):
        setattr(model, name, 5)
    assert repr(getattr(model, name)) == repr(before)


def test_an_albert_model_is_its_own_base_model():
    model = made(NUMPY, "AlbertModel")
    assert model.base_model is model
    assert not hasattr(model, "albert")


def test_what_changes_in_one_of_the_two_changes_in_the_other(backend):
    model = made(backend, "AlbertForPreTraining")
    base = model.albert
    name = "encoder.embedding_hidden_mapping_in.weight"

    def assert_one_model():
        fresh = backend.model("AlbertForPreTraining", model.config, model._tensors)
        assert np.array_equal(base(IDS).pooler_output, fresh.albert(IDS).pooler_output)
        assert np.array_equal(model(IDS).prediction_logits, fresh(IDS).prediction_logits)

    before = base(IDS)[0]
    model.parameters_to_change()[f"albert.{name}"][:] *= 2
    assert_one_model()
    assert not np.array_equal(base(IDS)[0], before)
    base.parameters_to_change()[name][:] *= 2
    assert_one_model()
    mapped = {key: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape) for key, x in model._tensors.items()}
    model._use(mapped)  # somebody else's memory, which is copied when it changes
    model.parameters_to_change()["albert.pooler.weight"][:] *= 3
    assert_one_model()
    base.resize_token_embeddings(70)
    assert model.config.vocab_size == base.config.vocab_size == 70
    assert_one_model()
    model.resize_token_embeddings(65)
    assert base.embeddings.word_embeddings.weight.shape[0] == 65
    base.set_input_embeddings(np.ones((65, TINY["embedding_size"])))
    assert np.all(model.predictions.decoder.weight == 1)
    assert_one_model()


# --- device, dtype and mode -----------------------------------------------------------------------------------------------


def test_the_device_compares_and_prints_as_it_does_in_torch():
    device = made(NUMPY).device
    assert device == "cpu"
    assert str(device) == f"{device}" == "cpu"
    assert (device.type, device.index) == ("cpu", None)


TORCH_CPU, TORCH_CUDA = (types.SimpleNamespace(type=kind, index=None) for kind in ("cpu", "cuda"))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("cpu", "cpu"),
        (-1, "cpu"),
        (TORCH_CPU, "cpu"),
        (np.int64(0), "cuda:0"),
        (0, "cuda:0"),
        ("cuda", "cuda:0"),
        ("cuda:0", "cuda:0"),
        (TORCH_CUDA, "cuda:0"),
        (types.SimpleNamespace(type="cuda", index=0), "cuda:0"),
        (device_of("cpu"), "cpu"),
        (device_of("cuda"), "cuda:0"),
    ],
)
def test_devices_by_all_their_names(value, expected):
    device = device_of(value)
    assert device == expected
    assert (device.type, device.index) == (("cpu", None) if expected == "cpu" else ("cuda", 0))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("mps", "device must be 'cpu', 'cuda', 0 .* got 'mps'"),
        (-2, "device must be"),
        (True, "device must be"),
        (np.zeros(2), "device must be"),
        (1.0, "device must be"),
        (None, "device must be"),
        ("", "device must be"),
        ("cuda:x", "device must be"),
        (types.SimpleNamespace(type="xpu", index=0), "device must be"),
        (1, "device cuda:1 is another than the first GPU: set CUDA_VISIBLE_DEVICES=1 and use cuda:0"),
        ("cuda:3", "CUDA_VISIBLE_DEVICES=3"),
    ],
)
def test_other_devices_are_refused(value, message):
    with pytest.raises(ValueError, match=message):
        device_of(value)


@pytest.mark.parametrize("where", ["cpu", -1, TORCH_CPU, "float64", np.float64, np.dtype("float64"), "torch.float64"])
def test_to_where_a_model_is_already_is_the_model(where):
    model = made(NUMPY)
    before = dict(model.named_parameters())
    assert model.to(where) is model
    assert model.cpu().eval().train(False).double().requires_grad_() is model
    assert model.to("cpu", np.float64) is model.to(device="cpu", dtype="float64", non_blocking=True) is model.to()
    assert all(x is before[name] for name, x in model.named_parameters())
    assert model.training is False


@pytest.mark.parametrize("where", ["cuda", "cuda:0", 0, TORCH_CUDA])
def test_a_model_does_not_move_to_a_gpu_and_says_how_it_gets_there(where):
    message = r"a model on cpu does not move to cuda:0: make it there with from_pretrained\(…, backend='cuda'\)"
    with pytest.raises(ValueError, match=message):
        made(NUMPY).to(where)
    with pytest.raises(ValueError, match=message):
        made(NUMPY).cuda()
    with pytest.raises(ValueError, match="CUDA_VISIBLE_DEVICES"):
        made(NUMPY).cuda(1)


def test_another_dtype_is_taken_on_where_the_backend_computes_in_it():
    model = made(NUMPY)
    base, before = model.albert, {name: x.copy() for name, x in model.named_parameters()}
    assert model.float() is model
    assert (model.precision, model.dtype, base.precision) == ("float32", np.dtype("float32"), "float32")
    for name, x in model.named_parameters():
        assert np.array_equal(x, before[name].astype("float32"))
    fresh = AlbertForMaskedLM(model.config, backend="numpy", dtype="float32", tensors=model._tensors)
    assert np.array_equal(model(IDS).logits, fresh(IDS).logits)
    assert base(IDS)[0].dtype == np.float32
    assert base.to("float64") is base
    assert model(IDS).logits.dtype == base(IDS)[0].dtype == np.float64


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model: model.half(), "float16"),
        (lambda model: model.to("torch.float16"), "float16"),
        (lambda model: model.bfloat16(), "bfloat16"),
        (lambda model: model.to(dtype="int8"), "int8"),
        (lambda model: model.to("tpu"), "device must be"),
        (lambda model: model.train(), r"no training mode: call it, or value_and_grad, with training=True and a seed"),
        (lambda model: model.train(mode=True), "albert_np.training has the loops"),
        (lambda model: model.requires_grad_(False), "value_and_grad gives the gradient of every parameter"),
    ],
)
def test_what_cannot_be_honoured_is_refused_in_words(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call(made(NUMPY))
    assert "\n" not in str(error.value)


def test_float64_is_refused_by_a_backend_that_does_not_compute_in_it():
    for_float32 = AlbertForMaskedLM(AlbertConfig(**TINY), backend="numba")
    with pytest.raises(ValueError, match="backend 'numba' computes in float32, bfloat16, int8; got float64"):
        for_float32.double()
    assert for_float32.precision == "float32"
    assert for_float32.float() is for_float32


def test_names_of_the_class_are_those_of_transformers():
    assert AlbertModel.base_model_prefix == "albert"
    assert AlbertModel.config_class is AlbertConfig
    assert AlbertModel.main_input_name == "input_ids"
    assert AlbertModel.from_pretrained("demo").name_or_path == "demo"


# --- calls ------------------------------------------------------------------------------------------------------------------

MASK, TYPES, POSITIONS = [[1, 1, 1, 1], [1, 1, 0, 0]], [[0, 0, 1, 1]] * 2, [[0, 1, 2, 3]]
LABELS = {
    "AlbertForPreTraining": {"labels": [[-100, 5, -100, 3]] * 2, "sentence_order_label": [0, 1]},
    "AlbertForMaskedLM": {"labels": [[-100, 5, -100, 3]] * 2},
    "AlbertForSequenceClassification": {"labels": [0, 1]},
    "AlbertForTokenClassification": {"labels": [[-100, 0, 1, 1]] * 2},
    "AlbertForQuestionAnswering": {"start_positions": [1, 2], "end_positions": [3, 2]},
    "AlbertForMultipleChoice": {"labels": [1]},
    "AlbertModel": {},
}


def same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        pairs = zip(a[name], b[name], strict=True) if isinstance(a[name], tuple) else [(a[name], b[name])]
        assert all(np.array_equal(x, y) for x, y in pairs), name


def arrays(kind):
    """ids, mask, types and positions; with an axis of choices where the class has one."""
    given = [np.array(x) for x in (IDS, MASK, TYPES, np.tile(POSITIONS, (2, 1)))]
    return [x[None] for x in given] if kind == "AlbertForMultipleChoice" else given


@pytest.mark.parametrize("kind", list(PARTS))
def test_arguments_by_place_are_those_by_name(kind):
    model, given, labels = made(NUMPY, kind), arrays(kind), LABELS[kind]
    names = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
    head_mask = np.ones(TINY["num_attention_heads"])
    by_name = model(**dict(zip(names, given, strict=True)), head_mask=head_mask, **labels, output_attentions=True)
    same(model(*given, head_mask, None, *labels.values(), True, False, True), by_name)
    same(model.forward(*given, head_mask, None, *labels.values(), output_attentions=True), by_name)
    assert "attentions" in by_name
    hidden = model(*given, None, None, *labels.values(), None, True)
    assert "hidden_states" in hidden
    assert "attentions" not in hidden
    assert isinstance(model(*given, None, None, *labels.values(), None, None, False), tuple)
    if labels:
        loss, gradients = model.value_and_grad(*given, None, None, *labels.values())
        expected, same_gradients = model.value_and_grad(*given, **labels)
        assert loss == expected == by_name.loss
        assert all(np.array_equal(x, same_gradients[name]) for name, x in gradients.items())


@pytest.mark.parity
@pytest.mark.parametrize("kind", list(PARTS))
def test_arguments_stand_where_they_do_in_transformers(transformers, torch, tmp_path, kind):
    import inspect

    theirs = list(inspect.signature(getattr(transformers, kind).forward).parameters)[1:]
    ours = [name for name, p in inspect.signature(AlbertModel.__call__).parameters.items() if p.default is None]
    model = made(NUMPY, kind)
    asked = [name for name in theirs if name.startswith("output_") or name == "return_dict"]
    assert theirs == [*ours[: ours.index("output_attentions")], *model.labels, *asked]
    assert asked == ["output_attentions", "output_hidden_states", "return_dict"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: made(NUMPY)(IDS, None, None, None, None, None, None, None, None, None, 1),
            "AlbertForMaskedLM takes labels, output_attentions, output_hidden_states, return_dict behind inputs_embeds; got 5",
        ),
        (
            lambda: made(NUMPY)(IDS, None, None, None, None, None, IDS, labels=IDS),
            "labels: given in its place and again",
        ),
        (
            lambda: made(NUMPY, "AlbertModel")(IDS, None, None, None, None, None, True, output_attentions=False),
            "output_attentions: given in its place and again by name",
        ),
        (lambda: made(NUMPY, "AlbertModel")(IDS, None, None, None, None, None, IDS), "output_attentions must be True"),
        (lambda: made(NUMPY)(IDS, return_dict="no"), "return_dict must be True, False or None; got 'no'"),
        (lambda: made(NUMPY)(IDS, past_key_values=None, use_cache=True), "got past_key_values, use_cache"),
        (
            lambda: made(NUMPY, "AlbertModel")(IDS, labels=IDS),
            "AlbertModel takes no labels beside its inputs; got labels",
        ),
        (lambda: made(NUMPY).value_and_grad(IDS, None, None, None, None, None, IDS, 1), "takes labels behind"),
    ],
)
def test_arguments_that_have_no_place_are_value_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", list(PARTS))
def test_parameters_are_counted_with_and_without_embeddings(kind, tied):
    model = made(NUMPY, kind, tie_word_embeddings=tied, position_embedding_type="relative_key")
    counted = model.num_parameters()
    assert counted == sum(x.size for x in model.parameters()) == model.num_parameters(only_trainable=True)
    tables = [
        x.size for name, x in model.named_parameters() if "embedding" in name and x.ndim == 2 and "mapping" not in name
    ]
    assert len(tables) == 4  # words, positions, types, distances
    assert model.num_parameters(exclude_embeddings=True) == model.num_parameters(False, True) == counted - sum(tables)


@pytest.mark.parity
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", list(PARTS))
def test_parameters_are_counted_as_in_transformers(transformers, kind, tied):
    model = made(NUMPY, kind, tie_word_embeddings=tied)
    theirs = getattr(transformers, kind)(transformers.AlbertConfig(**model.config.to_dict()))
    for options in ({}, {"only_trainable": True}, {"exclude_embeddings": True}):
        assert model.num_parameters(**options) == theirs.num_parameters(**options)
