"""The TFAlbert classes against what transformers' own returned (tools/make_tensorflow_goldens.py), and their calling habits."""

import collections
import json
import shutil

import numpy as np
import pytest
from support import TESTS
from support.refusals import refusal
from tolerances import OTHER_FRAMEWORK_FLOAT32

import albert_np
from albert_np import tensorflow
from albert_np.golden.tolerances import assert_close
from albert_np.outputs import MaskedLMOutput

GOLDENS = TESTS / "goldens"
FORMATS = GOLDENS / "formats"
ABOUT = {
    name: about["class"]
    for name, about in json.loads((FORMATS / "manifest.json").read_text()).items()
    if about["writer"] == "tensorflow"
}
CALLS = np.load(FORMATS / "tensorflow_calls.npz")
CASES = sorted({key.rpartition("/")[0] for key in CALLS})
CLASSES = [getattr(albert_np, f"TF{name}") for name in sorted(set(ABOUT.values()))]
SIZES = {"vocab_size": 30, "embedding_size": 6, "hidden_size": 12, "num_attention_heads": 3, "intermediate_size": 20}
SIZES |= {"num_hidden_layers": 2, "max_position_embeddings": 9}
IDS = np.array([[2, 5, 7, 3], [2, 8, 3, 0]])
MASK = np.array([[1, 1, 1, 1], [1, 1, 1, 0]])


def inputs_of(folder):
    saved = np.load(FORMATS / folder / "expected.npz")
    return {name[3:]: saved[name] for name in saved if name.startswith("in_")}


def expected_of(case):
    return {key.rpartition("/")[2]: CALLS[key] for key in CALLS if key.rpartition("/")[0] == case}


def loaded(folder, **options):
    return getattr(albert_np, f"TF{ABOUT[folder]}").from_pretrained(FORMATS / folder, backend="numpy", **options)


@pytest.fixture(scope="module")
def masked_lm():
    config = albert_np.AlbertConfig(**SIZES, hidden_dropout_prob=0.1)
    return albert_np.TFAlbertForMaskedLM(config, backend="numpy", seed=3)


# --- against TensorFlow -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_losses_fields_and_tuples_are_tensorflows(case):
    folder, _, name = case.partition("/")
    model, expected = loaded(folder), expected_of(case)
    if name.startswith("regression"):
        first = {key: x[:1] if key.startswith("classifier") else x for key, x in model.state_dict().items()}
        config = model.config.replace(num_labels=1)
        model = type(model).from_pretrained(None, config=config, state_dict=first, backend="numpy")
    labels = {key[3:]: x for key, x in expected.items() if key.startswith("in_")}
    out = model({**inputs_of(folder), **labels}, output_hidden_states=True)
    assert type(out).__name__ == str(expected["type"])
    assert list(out) == expected["fields"].tolist()
    if "loss" in expected:
        np.testing.assert_allclose(out.loss, expected["loss"], rtol=2e-5, strict=True)
    tuples = model({**inputs_of(folder), **labels}, return_dict=False)
    assert [list(np.shape(x)) for x in tuples] == json.loads(str(expected["shapes"]))


@pytest.mark.parametrize("folder", ABOUT)
def test_each_class_computes_what_its_twin_computes(folder):
    """test_formats.py compares both with TensorFlow's outputs."""
    out = loaded(folder)(inputs_of(folder))
    twin = getattr(albert_np, ABOUT[folder]).from_pretrained(FORMATS / folder, backend="numpy")(**inputs_of(folder))
    assert list(out) == list(twin)
    for name, x in twin.items():
        np.testing.assert_array_equal(out[name], x)


# --- ways to call -------------------------------------------------------------------------------------------------------


def ways(model):
    packed = {"input_ids": IDS, "attention_mask": MASK}
    return {
        "by name": model(input_ids=IDS, attention_mask=MASK),
        "by place": model(IDS, MASK),
        "a dict": model(packed),
        "a user's mapping": model(collections.UserDict(packed)),
        "an encoding": model(albert_np.BatchEncoding(packed)),
        "a dict and a name": model({"input_ids": IDS}, attention_mask=MASK),
        "a list": model([IDS, MASK]),
        "a tuple": model((IDS, MASK)),
        "a list of lists": model([IDS.tolist(), MASK.tolist()]),
        "an input left out": model([IDS, MASK, None, None]),
        "rows of numbers": model(IDS.tolist(), MASK.tolist()),
        "rows that are arrays": model(list(IDS), MASK),
        "call": model.call(IDS, MASK, training=False),
        "every place": model(IDS, MASK, None, None, None, None, None, None, None, None, False),
    }


def test_all_ways_to_give_inputs_mean_the_same(masked_lm):
    expected = masked_lm(input_ids=IDS, attention_mask=MASK).logits
    assert not np.allclose(expected, masked_lm(input_ids=IDS).logits)
    for way, out in ways(masked_lm).items():
        np.testing.assert_array_equal(out.logits, expected, err_msg=way)


def test_a_list_for_multiple_choice_has_one_axis_more():
    model = albert_np.TFAlbertForMultipleChoice(albert_np.AlbertConfig(**SIZES), backend="numpy")
    ids, mask = np.stack([IDS, IDS[::-1], IDS]), np.stack([MASK, MASK[::-1], MASK])
    expected = model(input_ids=ids, attention_mask=mask).logits
    for out in (
        model([ids, mask]),
        model([ids.tolist(), mask.tolist()]),
        model(ids.tolist(), mask),
        model(list(ids), mask),
    ):
        np.testing.assert_array_equal(out.logits, expected)


def test_the_order_of_arguments_is_that_of_tensorflows_call():
    """Labels come behind return_dict, not before output_attentions as in PyTorch."""
    model = albert_np.TFAlbertForPreTraining(albert_np.AlbertConfig(**SIZES), backend="numpy")
    out = model(IDS, MASK, None, None, None, None, True, True, True, IDS, [0, 1], False)
    named = model(input_ids=IDS, attention_mask=MASK, labels=IDS, sentence_order_label=[0, 1])
    np.testing.assert_array_equal(out.loss, named.loss)
    assert list(out) == ["loss", "prediction_logits", "sop_logits", "hidden_states", "attentions"]


@pytest.mark.parametrize(
    ("arguments", "named", "says"),
    [
        (({"input_ids": IDS},), {"input_ids_": IDS}, "input_ids_"),
        (({"input_ids": IDS}, None), {"attention_mask": MASK, "labels": IDS, "training": "no"}, "training must be"),
        (([IDS, MASK], MASK), {}, "attention_mask: given"),
        (({"input_ids": IDS, "labels": IDS},), {"labels": IDS}, "labels: given"),
        ((IDS, *[None] * 11), {}, "in this order; got 11"),
        ((["a text"],), {}, "input_ids"),
        (({},), {}, "got neither"),
        (([],), {}, "empty"),
        (({1: IDS},), {}, "names as keys"),
        ((IDS,), {"training": True}, "needs a seed"),
        ((IDS,), {"return_dict": "yes"}, "return_dict must be"),
        ((IDS,), {"labels": IDS + 40}, "outside 0"),
    ],
)
def test_what_cannot_be_meant_is_refused(masked_lm, arguments, named, says):
    assert says in refusal(masked_lm, *arguments, **named)


def test_labels_that_tensorflow_has_no_loss_for_are_refused():
    config = albert_np.AlbertConfig(**SIZES, num_labels=3)
    sequence = albert_np.TFAlbertForSequenceClassification(config, backend="numpy")
    assert "outside 0 … 2" in refusal(sequence, IDS, labels=[-100, 1])
    assert "must be integers" in refusal(sequence, IDS, labels=[[1.0, 0, 0], [0, 1, 0]])
    assert "takes labels" in refusal(sequence, IDS, labels=[0, 1], class_weights=[1, 1, 1])
    choice = albert_np.TFAlbertForMultipleChoice(config, backend="numpy")
    assert "outside 0 … 1" in refusal(choice, IDS[None], labels=[-100])
    question = albert_np.TFAlbertForQuestionAnswering(config, backend="numpy")
    assert "outside 0 … 3" in refusal(question, IDS, start_positions=[0, 4], end_positions=[1, 1])
    assert "every column" in refusal(
        question, IDS, MASK, start_positions=[0, 1], end_positions=[1, 1], skip_padding=True
    )


def test_training_draws_dropout_from_its_seed(masked_lm):
    first, again, other = (masked_lm(IDS, training=True, seed=seed).logits for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_gradients_are_of_the_mean(masked_lm):
    labels = np.where(MASK, IDS, -100)
    twin = albert_np.AlbertForMaskedLM.from_pretrained(
        None, config=masked_lm.config, state_dict=masked_lm.state_dict(), backend="numpy"
    )
    (loss, found), (expected, gradients) = (m.value_and_grad(IDS, MASK, labels=labels) for m in (masked_lm, twin))
    assert loss == expected
    assert all(np.array_equal(found[name], gradients[name]) for name in gradients)


def test_the_encoder_of_a_head_has_the_same_habits(masked_lm):
    assert type(masked_lm.albert) is albert_np.TFAlbertModel
    out = masked_lm.albert([IDS, MASK])
    assert type(out) is albert_np.TFBaseModelOutputWithPooling
    assert albert_np.TFAlbertMainLayer is albert_np.TFAlbertModel


def test_outputs_are_those_of_the_other_classes_too(masked_lm):
    out = masked_lm(IDS)
    assert isinstance(out, MaskedLMOutput)
    assert out.logits is out["logits"] is out[0] is out.to_tuple()[0]
    assert isinstance(masked_lm, albert_np.AlbertForMaskedLM)
    assert isinstance(masked_lm, albert_np.TFAlbertPreTrainedModel)


def test_names_of_keras_that_are_not_here_say_what_to_do(masked_lm):
    for name, says in {"predict": "call the model", "fit": "finetune", "weights": "named_parameters()"}.items():
        assert not hasattr(masked_lm, name)
        with pytest.raises(AttributeError, match=f"^TFAlbertForMaskedLM has no '{name}': ") as caught:
            getattr(masked_lm, name)
        assert says in str(caught.value)
    with pytest.raises(AttributeError, match=r"^TFAlbertForMaskedLM has no 'logit'$"):
        masked_lm.logit  # noqa: B018
    assert masked_lm.framework == "np"
    for model in (masked_lm, masked_lm.albert):  # to freeze a part would otherwise look as if it had been done
        with pytest.raises(AttributeError, match=r"has no 'trainable': value_and_grad\(…\) gives all gradients"):
            model.trainable = False


@pytest.mark.parametrize("cls", CLASSES)
def test_dummy_inputs_are_a_batch(cls):
    model = cls(albert_np.AlbertConfig(**SIZES), backend="numpy")
    assert list(model.dummy_inputs) == ["input_ids", "attention_mask", "token_type_ids"]
    assert all(np.isfinite(x).all() for x in model(model.dummy_inputs).values())


# --- files --------------------------------------------------------------------------------------------------------------


def model_with(value):
    model = albert_np.TFAlbertForMaskedLM(albert_np.AlbertConfig(**SIZES), backend="numpy")
    model.parameters_to_change()["predictions.bias"][...] = value
    return model


def bias(cls, folder, **options):
    return cls.from_pretrained(folder, backend="numpy", **options).state_dict()["predictions.bias"][0]


def test_of_several_files_its_own_comes_first(tmp_path):
    for value, safe in ((1, True), (2, False)):
        model_with(value).save_pretrained(tmp_path / str(value), safe_serialization=safe)
    shutil.copy(tmp_path / "1" / "model.safetensors", tmp_path / "2")
    TF, PT = albert_np.TFAlbertForMaskedLM, albert_np.AlbertForMaskedLM
    assert bias(TF, tmp_path / "2") == 2
    assert bias(PT, tmp_path / "2") == 1
    assert bias(TF, tmp_path / "2", from_pt=True) == 1
    assert bias(TF, tmp_path / "2", use_safetensors=True) == 1
    assert bias(PT, tmp_path / "2", from_tf=True) == 2
    assert bias(TF, tmp_path / "1") == 1
    assert "knows no from_pt" in refusal(PT.from_pretrained, tmp_path / "1", from_pt=True)
    assert "exclude each other" in refusal(TF.from_pretrained, tmp_path / "1", from_pt=True, from_tf=True)
    (tmp_path / "2" / "model.safetensors").unlink()
    with pytest.raises(OSError, match=r"it has tf_model\.h5, which from_tf, .* leaves out"):
        bias(TF, tmp_path / "2", from_pt=True)


def test_an_index_of_safetensors_has_the_models_name_before_those_of_its_files(tmp_path):
    """As save_pretrained(safe_serialization=True, max_shard_size=…) of TensorFlow's classes writes them."""
    from safetensors.numpy import load_file, save_file

    whole = FORMATS / "h5_tokens"
    arrays = load_file(whole / "model.safetensors")
    shutil.copy(whole / "config.json", tmp_path)
    files = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(sorted(arrays))}
    for file in set(files.values()):
        inside = {name: x for name, x in arrays.items() if files[name] == file}
        save_file(inside, tmp_path / file, metadata={"format": "tf"})

    def index(shift):
        there = list(files.values())[shift:] + list(files.values())[:shift]
        names = [f"tf_albert_for_token_classification_3/{name}" for name in files]
        text = json.dumps({"metadata": {}, "weight_map": dict(zip(names, there, strict=True))})
        (tmp_path / "model.safetensors.index.json").write_text(text)

    cls = albert_np.TFAlbertForTokenClassification
    index(0)
    expected = cls.from_pretrained(whole, backend="numpy").state_dict()
    found = cls.from_pretrained(tmp_path, backend="numpy").state_dict()
    assert all(np.array_equal(x, found[name]) for name, x in expected.items())
    index(1)
    assert "but it does not" in refusal(cls.from_pretrained, tmp_path, backend="numpy")


@pytest.mark.parametrize("kind", ["TFAlbertModel", "FlaxAlbertModel"])
def test_relative_positions_that_tensorflow_and_flax_leave_out(tmp_path, kind):
    """Their classes compute with absolute positions whatever config.json says, and store no table of distances."""
    golden = FORMATS / {"TFAlbertModel": "h5_model", "FlaxAlbertModel": "flax_model"}[kind]
    folder = shutil.copytree(golden, tmp_path / "it")
    config = json.loads((folder / "config.json").read_text()) | {"position_embedding_type": "relative_key"}
    (folder / "config.json").write_text(json.dumps(config))
    cls = getattr(albert_np, kind)
    message = refusal(cls.from_pretrained, folder, backend="numpy")
    assert "position_embedding_type='absolute' computes what those classes do" in message
    model = cls.from_pretrained(folder, backend="numpy", position_embedding_type="absolute")
    out = model(**inputs_of(golden.name)).last_hidden_state
    assert_close(
        "states", out, np.load(golden / "expected.npz")["out_last_hidden_state"], limit=OTHER_FRAMEWORK_FLOAT32
    )


def test_a_save_leaves_nothing_behind_that_would_be_read_first(tmp_path):
    """TensorFlow's classes look for tf_model.h5 first, PyTorch's for model.safetensors: both must find what was saved last."""
    for value, safe in ((1, True), (2, False), (3, True), (4, False)):
        model_with(value).save_pretrained(tmp_path, safe_serialization=safe)
        for cls in (albert_np.TFAlbertForMaskedLM, albert_np.AlbertForMaskedLM):
            assert bias(cls, tmp_path) == value


@pytest.mark.parametrize("cls", CLASSES)
def test_what_it_saves_is_a_model_of_any_class(tmp_path, cls):
    model = cls(albert_np.AlbertConfig(**SIZES), backend="numpy", seed=4)
    model.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    name = cls.__name__.removeprefix("TF")
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == [name]
    again = getattr(albert_np, name).from_pretrained(tmp_path, backend="numpy").state_dict()
    assert all(np.array_equal(again[name], x) for name, x in model.state_dict().items())


def test_a_graph_of_tensorflow_is_not_written(tmp_path, masked_lm):
    assert "saved_model" in refusal(masked_lm.save_pretrained, tmp_path, saved_model=True)
    assert list(tmp_path.iterdir()) == []


def test_every_class_and_output_is_public():
    public = {name for name in vars(tensorflow) if name.startswith("TF")}
    assert public == {name for name in albert_np.__all__ if name.startswith("TF")}
