"""tf_model.h5: what TensorFlow's own files hold, and what is written for its classes. test_hdf5.py has the format below it."""

import json
import shutil
import sys

import h5py
import numpy as np
import pytest
from support import refusals
from support.hdf5_files import GOLDENS, datasets, made, refusal

import albert_np
from albert_np.checkpoints.formats import h5, tensorflow_names
from albert_np.checkpoints.formats.protocol import as_tensors
from albert_np.checkpoints.names import BASE, LAYER, PARTS, to_store
from albert_np.checkpoints.save import save

WORDS = "embeddings/word_embeddings/weight:0"
MODELS = [name for name in json.loads((GOLDENS / "manifest.json").read_text()) if name.startswith("h5_")]


def by_hub_name(path):
    return {tensor.known_as: tensor for tensor in h5.read(path)}


@pytest.fixture
def masked_lm(tmp_path):
    """A golden with the masked-language-model head in one file, to be changed."""
    shutil.copytree(GOLDENS / "h5_pretraining", tmp_path / "model")
    return tmp_path / "model"


# --- names --------------------------------------------------------------------------------------------------------------


def test_the_table_has_every_weight_but_those_that_tensorflow_has_not():
    """Names there and back. A table of relative positions, and a decoder's own weight, are what TensorFlow never stores."""
    layer = "encoder.albert_layer_groups.{}.albert_layers.{}.{}"
    hub = [*BASE, *(name for part in PARTS.values() for name in part)]
    hub += [layer.format(group, inner, name) for group, inner in ((0, 0), (1, 3), (11, 0)) for name in LAYER]
    without = {name for name in hub if name.endswith(("distance_embedding.weight", "decoder.weight"))}
    for name in {*hub} - without:
        prefix = "albert." if name.startswith(("embeddings", "encoder", "pooler")) else ""
        for before in ("", "tf_albert_model_12/", "predictions/tf_albert_for_masked_lm/"):
            assert tensorflow_names.hub_name(f"{before}{tensorflow_names.tensorflow_name(name)}:0") == prefix + name
    for name in without:
        with pytest.raises(ValueError, match="no weight for"):
            tensorflow_names.tensorflow_name(name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "albert/encoder/albert_layer_groups_._0/albert_layers_._1/layer_normalization_7/gamma:0",
            "full_layer_layer_norm",
        ),
        (
            "albert/encoder/albert_layer_groups_._0/albert_layers_._1/attention/layer_normalization/gamma",
            "attention.LayerNorm",
        ),
        ("albert/embeddings/layer_normalization_3/gamma:0", "embeddings.LayerNorm"),
        ("predictions/layer_normalization_3/gamma:0", "predictions.LayerNorm"),
        ("x/albert/embeddings/position_embeddings/weight:0", "embeddings.position_embeddings"),
        ("x/albert/embeddings/word_embeddings/embeddings:0", "embeddings.word_embeddings"),
    ],
)
def test_other_words_for_a_layer_are_known_where_its_place_says_which_it_is(name, expected):
    assert tensorflow_names.hub_name(name).removesuffix(".weight").endswith(expected)


@pytest.mark.parametrize(
    "name", ["layer_normalization_3/gamma:0", "gamma", "", "a/b/c:0", "albert/encoder/weight", "//:0"]
)
def test_a_name_that_is_not_alberts_stays_as_it_is(name):
    assert tensorflow_names.hub_name(name) == ""


# --- TensorFlow's own files ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_every_dataset_is_read_with_h5pys_values_in_hugging_faces_orientation(name):
    for path in (GOLDENS / name).glob("*.h5"):
        stored, seen = datasets(path), 0
        for tensor in h5.read(path):
            x = stored[tensor.name]
            np.testing.assert_array_equal(tensor.load(), x.T if tensor.name.endswith("kernel:0") else x)
            assert tensor.shape == tensor.load().shape
            assert tensor.hub_name
            seen += 1
        assert seen == len({tensorflow_names.hub_name(key) for key in stored})


def test_the_decoders_bias_counts_and_the_other_may_be_anything(masked_lm):
    """TensorFlow adds predictions/decoder/bias; transformers' converter to PyTorch takes the other one."""
    path = masked_lm / "tf_model.h5"
    before = albert_np.AlbertForPreTraining.from_pretrained(masked_lm).state_dict()["predictions.bias"]
    with h5py.File(path, "r+") as file:
        name = next(name for name in datasets(path) if name.endswith("predictions/bias:0"))
        file[name][...] = np.nan
    after = albert_np.AlbertForPreTraining.from_pretrained(masked_lm).state_dict()["predictions.bias"]
    np.testing.assert_array_equal(before, after)


def test_untied_means_tied_in_tensorflow(masked_lm):
    """tie_word_embeddings=false changes nothing there: the decoder is the word table."""
    tied = albert_np.AlbertForPreTraining.from_pretrained(masked_lm)
    untied = albert_np.AlbertForPreTraining.from_pretrained(masked_lm, tie_word_embeddings=False)
    ids = [[2, 5, 7, 3]]
    np.testing.assert_array_equal(tied(ids).prediction_logits, untied(ids).prediction_logits)


def test_of_two_copies_of_the_embeddings_the_last_layers_counts(masked_lm):
    """As in TensorFlow, which sets the weights of "albert", and then those of "predictions"."""
    path = masked_lm / "tf_model.h5"
    first, last = (name for name in datasets(path) if name.endswith(WORDS))
    with h5py.File(path, "r+") as file:
        file[first][...] = 0
        file[last][0, 0] = 7
    words = albert_np.AlbertForPreTraining.from_pretrained(masked_lm).state_dict()[
        "albert.embeddings.word_embeddings.weight"
    ]
    assert words[0, 0] == 7
    assert np.count_nonzero(words) > 1
    with h5py.File(path, "r+") as file:
        x = file[first][...]
        del file[first]
        file[first] = x[:-1]
    assert "with another shape" in refusal(path)


def test_a_table_of_another_shape_is_not_reshaped(masked_lm):
    path = masked_lm / "tf_model.h5"
    with h5py.File(path, "r+") as file:
        for name in [name for name in datasets(path) if name.endswith(WORDS)]:
            x = file[name][...].reshape(file[name].shape[::-1])
            del file[name]
            file[name] = x
    with pytest.raises(ValueError, match=r"word_embeddings.* has the shape"):
        albert_np.AlbertForPreTraining.from_pretrained(masked_lm)


def test_attributes_may_be_of_any_kind_or_missing(masked_lm):
    path = masked_lm / "tf_model.h5"
    before = {name: tensor.load() for name, tensor in by_hub_name(path).items()}
    with h5py.File(path, "r+") as file:
        for group in (file, *(file[name] for name in file)):
            for key in list(group.attrs):
                del group.attrs[key]
    after = {name: tensor.load() for name, tensor in by_hub_name(path).items()}
    assert list(before) == list(after)
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_the_optimizers_own_weights_are_left_out(tmp_path):
    def fill(file):
        file["model_weights/albert/albert/" + WORDS] = np.ones((3, 2), np.float32)
        file["optimizer_weights/Adam/m/albert/" + WORDS] = np.zeros((3, 2), np.float32)

    (tensor,) = h5.read(made(tmp_path, fill))
    np.testing.assert_array_equal(tensor.load(), np.ones((3, 2)))


# --- writing ------------------------------------------------------------------------------------------------------------

CLASSES = ["Model", "ForPreTraining", "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification"]
CLASSES += ["ForQuestionAnswering", "ForMultipleChoice"]
SIZES = {"vocab_size": 30, "embedding_size": 6, "hidden_size": 12, "num_attention_heads": 3, "intermediate_size": 20}
SIZES |= {"num_hidden_layers": 4, "num_hidden_groups": 2, "inner_group_num": 2, "max_position_embeddings": 9}


def written(folder, model, dtype=np.float32, **more):
    tensors = as_tensors({name: x.astype(dtype) for name, x in to_store(dict(model.named_parameters())).items()} | more)
    save(folder, model.config, tensors, kind=h5.FORMAT, architecture=type(model).__name__)
    return folder / "tf_model.h5"


@pytest.mark.parametrize("kind", CLASSES)
def test_what_is_written_is_read_again_bit_for_bit(tmp_path, kind):
    model = getattr(albert_np, f"Albert{kind}")(albert_np.AlbertConfig(**SIZES), backend="numpy", seed=5)
    written(tmp_path, model)
    again = type(model).from_pretrained(tmp_path, backend="numpy")
    for (name, x), (other, y) in zip(model.named_parameters(), again.named_parameters(), strict=True):
        assert name == other
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("name", [name for name in MODELS if (GOLDENS / name / "tf_model.h5").exists()])
def test_a_file_has_tensorflows_layout(tmp_path, name):
    """Beside a file of TensorFlow: the same layers, each weight under the same name, but for the word embeddings once more."""
    cls = getattr(albert_np, json.loads((GOLDENS / "manifest.json").read_text())[name]["class"])
    theirs = GOLDENS / name / "tf_model.h5"
    mine = written(tmp_path, cls.from_pretrained(GOLDENS / name, backend="numpy"))

    def names(path, layer):
        with h5py.File(path, "r") as file:
            found = [text if isinstance(text, str) else text.decode() for text in file[layer].attrs["weight_names"]]
            assert all(weight in file[layer] for weight in found)
            shapes = {weight: file[layer][weight].shape for weight in found}
        # the model's name and its counter differ from process to process; transformers drops it
        return {weight.partition("/")[2]: shape for weight, shape in shapes.items()}

    with h5py.File(theirs, "r") as file:
        layers = [layer for layer in file if len(file[layer].attrs["weight_names"])]
    with h5py.File(mine, "r") as file:
        assert sorted(file.attrs["layer_names"]) == sorted(layers)
    for layer in layers:
        expected = names(theirs, layer)
        if layer == "predictions":
            large = ("albert/embeddings/word_embeddings", "albert/embeddings/LayerNorm")
            expected = {weight: shape for weight, shape in expected.items() if not weight.startswith(large)}
        assert names(mine, layer) == expected


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_values_keep_their_dtype(tmp_path, dtype):
    model = albert_np.AlbertForMaskedLM(albert_np.AlbertConfig(**SIZES), backend="numpy", seed=5)
    path = written(tmp_path, model, dtype)
    assert {x.dtype for x in datasets(path).values()} == {np.dtype(dtype)}


def test_what_tensorflow_would_compute_otherwise_is_not_written(tmp_path):
    model = albert_np.AlbertForMaskedLM(albert_np.AlbertConfig(**SIZES, tie_word_embeddings=False), backend="numpy")
    assert "which differs from them" in refusals.refusal(written, tmp_path, model)
    relative = albert_np.AlbertConfig(**SIZES, position_embedding_type="relative_key")
    assert "no weight for" in refusals.refusal(written, tmp_path, albert_np.AlbertModel(relative, backend="numpy"))
    half = as_tensors({"embeddings.word_embeddings.weight": np.ones((3, 2), np.float32)}, "BF16")
    assert "BF16" in refusals.refusal(h5.FORMAT.write, tmp_path / "tf_model.h5", half, "AlbertModel")
    assert list(tmp_path.iterdir()) == []


def test_a_long_list_of_names_is_split_as_keras_splits_it(tmp_path):
    """An attribute of HDF5 holds 64 KiB."""
    path, layer = tmp_path / "tf_model.h5", "encoder.albert_layer_groups.{}.albert_layers.0.ffn_output.bias"
    tensors = as_tensors({layer.format(i): np.full(3, i, np.float32) for i in range(2001)})
    h5.FORMAT.write(path, tensors, "AlbertModel")
    with h5py.File(path, "r") as file:
        attributes = file["albert"].attrs
        assert "weight_names" not in attributes
        assert sum(len(attributes[name]) for name in attributes) == len(tensors)
    found = by_hub_name(path)
    assert all(np.array_equal(found[f"albert.{name}"].load(), x.load()) for name, x in tensors.items())


# --- what a save says -------------------------------------------------------------------------------------------------


def test_without_h5py_files_are_read_and_a_save_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    model = albert_np.TFAlbertModel.from_pretrained(GOLDENS / "h5_model", backend="numpy")
    says = refusals.refusal(model.save_pretrained, tmp_path, safe_serialization=False)
    assert says == 'writing tf_model.h5 needs h5py, which is not installed: pip install "albert-np[formats]"'
    assert list(tmp_path.iterdir()) == []


def test_a_save_names_the_file_that_it_cannot_write_and_not_the_temporary_one(tmp_path):
    """And it takes away the several files of an earlier save, of which no index would speak any more."""
    model = albert_np.TFAlbertForMaskedLM.from_pretrained(GOLDENS / "h5_masked_lm_sharded", backend="numpy")
    untied = albert_np.TFAlbertForMaskedLM(model.config.replace(tie_word_embeddings=False), backend="numpy")
    says = refusals.refusal(untied.save_pretrained, tmp_path, safe_serialization=False)
    assert says.startswith("tf_model.h5 cannot hold this model")
    shutil.copytree(GOLDENS / "h5_masked_lm_sharded", tmp_path, dirs_exist_ok=True)
    model.save_pretrained(tmp_path, safe_serialization=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "expected.npz", "tf_model.h5"]
