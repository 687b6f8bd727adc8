"""TensorFlow 1 checkpoints of google-research/albert: names, which file counts, and Google's other files.

They are written by support/tensor_bundles.py; tests/test_formats.py has those that google-research's own code wrote.
"""

import json
import math
import os
import shutil

import numpy as np
import pytest
from support import checkpoints, tensor_bundles
from support.refusals import refusal_of_file as refusal
from support.tensor_bundles import store, write

import albert_np
from albert_np import AlbertConfig, AlbertForPreTraining, AlbertForSequenceClassification, AlbertModel
from albert_np.checkpoints.formats import google_names, tf1
from albert_np.checkpoints.names import expected_shapes
from albert_np.golden.cases import PARTS, TINY, trained_like

KIND = "AlbertForPreTraining"


# --- Google's names ---------------------------------------------------------------------------------------------------------

ONE = np.ones(1, np.float32)
GROUPS = TINY | {"num_hidden_groups": 2, "inner_group_num": 2}


@pytest.fixture
def arrays():
    return checkpoints.tensors(KIND)


def folder_of(path, arrays, config=checkpoints.CONFIG, extra=None, prefix="", **layout):
    """A folder as Google's program leaves it: weights, moments of an optimizer, a count of steps and texts."""
    stored = tensor_bundles.google(arrays, prefix)
    moments = {f"{name}/{slot}": np.full_like(x, np.nan) for name, x in stored.items() for slot in ("adam_m", "lamb_v")}
    steps = {
        "global_step": np.array(9, np.int64),
        "beta1_power": np.array(0.9, np.float32),
        "note": np.array("x", object),
    }
    write(path, *store(stored | moments | steps | (extra or {})), **layout)
    if config is not None:
        config.save_pretrained(path)
    return path


@pytest.mark.parametrize("kind", PARTS)
def test_every_tensor_of_every_class_has_a_name_of_googles(kind):
    config = AlbertConfig(**GROUPS, num_labels=3)
    arrays = {checkpoints.hub_name(name, PARTS[kind]): x for name, x in trained_like(config, PARTS[kind], 1).items()}
    if "albert." not in " ".join(arrays):
        arrays = {f"albert.{name}": x for name, x in arrays.items()}
    known = {google_names.hub_name(name) for name in tensor_bundles.google(arrays, "module/")}
    assert known == set(expected_shapes(config, PARTS[kind]))


@pytest.mark.parametrize("kind", [kind for kind in PARTS if kind != "AlbertForTokenClassification"])
def test_a_class_reads_what_googles_program_stored(tmp_path, kind):
    arrays = checkpoints.tensors(kind)
    named = arrays if kind != "AlbertModel" else {f"albert.{name}": x for name, x in arrays.items()}
    folder = folder_of(tmp_path / "google", named, prefix="module/" if kind == KIND else "")
    model, info = getattr(albert_np, kind).from_pretrained(folder, from_tf=True, output_loading_info=True)
    checkpoints.assert_holds(model, arrays)
    assert not any(info.values())


def test_optimizers_steps_and_texts_are_not_among_the_tensors(tmp_path, arrays):
    path = next(folder_of(tmp_path, arrays, extra={"output/Adam": ONE, "x/Adam_1": ONE}).glob("*.index"))
    assert {tensor.known_as for tensor in tf1.read(path)} == {name.removeprefix("albert.") for name in arrays}


def test_what_is_not_alberts_is_named(tmp_path, arrays):
    extra = {
        "end_logits/dense/kernel": np.zeros((24, 24), np.float32),
        "start_logits/dense/bias": np.zeros(1, np.float32),
    }
    folder = folder_of(tmp_path, arrays, extra=extra)
    with pytest.warns(UserWarning, match="also holds end_logits/dense/kernel, start_logits/dense/bias"):
        AlbertForPreTraining.from_pretrained(folder)


def test_a_weight_of_whole_numbers_is_refused_by_its_type(tmp_path, arrays):
    folder = folder_of(tmp_path, arrays, extra={"bert/pooler/dense/bias": np.zeros(24, np.int32)})
    assert "pooler.bias is I32; weights are read from" in refusal(AlbertForPreTraining.from_pretrained, folder)


def test_where_embeddings_are_as_wide_as_layers_the_identity_stands_between(tmp_path, caplog):
    config = AlbertConfig(**TINY | {"embedding_size": TINY["hidden_size"]})
    arrays = {f"albert.{name}" if "." in name else name: x for name, x in trained_like(config, (), 1).items()}
    stored = {name: x for name, x in arrays.items() if "mapping_in" not in name}
    folder = folder_of(tmp_path, stored, config)
    model = AlbertModel.from_pretrained(folder, add_pooling_layer=False)
    H = config.hidden_size
    state = model.state_dict()
    assert np.array_equal(state["encoder.embedding_hidden_mapping_in.weight"], np.eye(H))
    assert np.array_equal(state["encoder.embedding_hidden_mapping_in.bias"], np.zeros(H))
    assert f"E = H = {H}: the identity takes its place" in caplog.text

    narrow = {name: x for name, x in checkpoints.tensors(KIND).items() if "mapping_in" not in name}
    message = refusal(AlbertForPreTraining.from_pretrained, folder_of(tmp_path / "narrow", narrow))
    assert "has no encoder.embedding_hidden_mapping_in.weight" in message


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("_CHECKPOINTABLE_OBJECT_GRAPH", "TensorFlow 2 objects"),
        ("model/layer/kernel/.ATTRIBUTES/VARIABLE_VALUE", "TensorFlow 2 objects"),
        ("bert/encoder/layer_shared/attention/self/key/kernel", "brightmart/albert_zh's own architecture"),
        ("bert/encoder/layer_11/output/dense/bias", "it is a BERT"),
        (
            "bert/encoder/transformer/group_0_9/layer_9/inner_group_0/layer_normalization_19/beta",
            "LayerNorms are not shared",
        ),
        ("module/bert/encoder/layer_shared/output/dense/bias", "brightmart"),
    ],
)
def test_other_architectures_are_refused_by_name(tmp_path, arrays, name, expected):
    message = refusal(
        AlbertForPreTraining.from_pretrained, folder_of(tmp_path, arrays, extra={name: np.array("x", object)})
    )
    assert expected in message
    assert repr(name)[1:-1] in message


# --- which file -------------------------------------------------------------------------------------------------------------


def two(folder, arrays):
    write(folder, *store(tensor_bundles.google(arrays)), prefix="model.ckpt-100")
    checkpoints.CONFIG.save_pretrained(folder)
    other = {name: x + np.float32(1) for name, x in arrays.items()}
    write(folder, *store(tensor_bundles.google(other)), prefix="model.ckpt-20")
    return other


def test_of_several_the_file_checkpoint_names_one(tmp_path, arrays):
    other = two(tmp_path, arrays)
    message = refusal(AlbertForPreTraining.from_pretrained, tmp_path)
    assert (
        "holds 2 TensorFlow checkpoints, model.ckpt-100.index, model.ckpt-20.index, and no file 'checkpoint'" in message
    )
    text = 'model_checkpoint_path: "model.ckpt-20"\nall_model_checkpoint_paths: "model.ckpt-100"\n'
    (tmp_path / "checkpoint").write_text(text)
    checkpoints.assert_holds(AlbertForPreTraining.from_pretrained(tmp_path), other)


@pytest.mark.parametrize(
    "name",
    [
        "../elsewhere/model.ckpt-20",
        "elsewhere/model.ckpt-20",
        "model.ckpt-7",
        "{folder}/model.ckpt-7",
        "./model.ckpt-20",
        "",
        "model.ckpt-20.index",
    ],
)
def test_the_file_checkpoint_leads_nowhere_else(tmp_path, arrays, name):
    folder = tmp_path / "here"
    two(folder, arrays)
    shutil.copytree(folder, tmp_path / "elsewhere")
    (folder / "checkpoint").write_text(f'model_checkpoint_path: "{name.format(folder=folder)}"\n')
    assert "its model_checkpoint_path must be one of them, without a relative folder" in refusal(tf1.find, folder)


@pytest.mark.parametrize("folder", ["{folder}", "/home/somebody/run 1", "gs://bucket/run"])
def test_the_file_checkpoint_may_name_the_folder_where_it_was_written(tmp_path, arrays, folder):
    two(tmp_path, arrays)
    (tmp_path / "checkpoint").write_text(f'model_checkpoint_path: "{folder.format(folder=tmp_path)}/model.ckpt-20"\n')
    assert tf1.find(tmp_path) == tmp_path / "model.ckpt-20.index"


def test_a_saved_model_and_its_assets(tmp_path, arrays):
    inside = tmp_path / "hub" / "albert"
    stored = {f"module/{name}": x for name, x in tensor_bundles.google(arrays).items()}
    write(inside / "variables", *store(stored), prefix="variables")
    (inside / "assets").mkdir()
    (inside / "assets" / "albert_config.json").write_text(albert_config())
    for made in (
        AlbertForPreTraining.from_pretrained(inside),
        AlbertForPreTraining.from_pretrained(tmp_path / "hub", subfolder="albert"),
    ):
        checkpoints.assert_holds(made, arrays)
    assert "subfolder must stay inside" in refusal(AlbertForPreTraining.from_pretrained, inside, subfolder="../albert")


def test_files_of_other_programs_are_no_checkpoints(tmp_path, arrays):
    for name in ("faiss.index", "data.index"):
        (tmp_path / name).write_bytes(b"IxF2" + bytes(100))
    (tmp_path / "model.index").mkdir()
    (tmp_path / "lightning.ckpt").write_bytes(b"PK\3\4" + bytes(100))
    assert tf1.find(tmp_path) is None
    assert tf1.find(tmp_path / "nowhere") is None
    folder_of(tmp_path, arrays)
    assert tf1.find(tmp_path).name == "model.ckpt-best.index"


def test_half_a_checkpoint_and_one_of_version_1_are_refused_in_words(tmp_path, arrays):
    path = next(folder_of(tmp_path, arrays).glob("*.index"))
    table_bytes = path.read_bytes()
    path.unlink()
    assert "has no model.ckpt-best.index beside it" in refusal(tf1.find, tmp_path)
    next(tmp_path.glob("*.data-*")).unlink()
    (tmp_path / "model.ckpt-100").write_bytes(table_bytes)
    assert "TensorFlow checkpoint of version 1" in refusal(AlbertForPreTraining.from_pretrained, tmp_path)


# --- Google's other files ---------------------------------------------------------------------------------------------------

SIZES = (
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
)
GOOGLES = {"net_structure_type": 0, "gap_size": 0, "num_memory_blocks": 0, "down_scale_factor": 1, "hidden_act": "gelu"}


def albert_config(**changes):
    values = {name: getattr(checkpoints.CONFIG, name) for name in SIZES} | GOOGLES | changes
    return json.dumps(values)


@pytest.fixture
def google_folder(tmp_path, arrays):
    folder = folder_of(tmp_path / "albert_base", arrays, config=None)
    (folder / "albert_config.json").write_text(albert_config())
    return folder


def test_googles_gelu_is_gelu_new(google_folder):
    config = AlbertConfig.from_pretrained(google_folder)
    assert config.hidden_act == "gelu_new"
    assert config.extra == {}
    assert config == AlbertConfig.from_json_file(google_folder / "albert_config.json")
    assert config == albert_np.AutoConfig.from_pretrained(google_folder / "albert_config.json")
    values, _ = AlbertConfig.get_config_dict(google_folder)
    assert values["hidden_act"] == "gelu_new"


@pytest.mark.parametrize(("theirs", "ours"), [("relu", "relu"), ("GELU", "gelu_new"), ("tanh", "tanh")])
def test_googles_other_activations_are_as_they_say(google_folder, theirs, ours):
    (google_folder / "albert_config.json").write_text(albert_config(hidden_act=theirs))
    assert AlbertConfig.from_pretrained(google_folder).hidden_act == ours


def test_config_json_counts_where_both_are_there(google_folder):
    AlbertConfig(**TINY | {"hidden_act": "gelu"}).save_pretrained(google_folder)
    assert AlbertConfig.from_pretrained(google_folder).hidden_act == "gelu"


def test_groups_that_google_and_transformers_count_otherwise_are_refused(google_folder):
    text = albert_config(num_hidden_layers=18, num_hidden_groups=14)
    (google_folder / "albert_config.json").write_text(text)
    message = refusal(AlbertConfig.from_pretrained, google_folder)
    assert "Google's program applies group 7 in layer 9, and transformers' ALBERT group 6" in message
    for bad in ("[]", '{"num_hidden_layers": "12", "hidden_act": 3}', '{"num_hidden_groups": 0}', "{"):
        (google_folder / "albert_config.json").write_text(bad)
        refusal(AlbertConfig.from_pretrained, google_folder)


def test_a_folder_without_any_config_is_refused_as_before(google_folder):
    (google_folder / "albert_config.json").unlink()
    assert "there is no file config.json" in refusal(AlbertForPreTraining.from_pretrained, google_folder)


def test_a_classifier_says_how_many_labels_it_has(tmp_path):
    arrays = checkpoints.tensors("AlbertForSequenceClassification")
    folder = folder_of(tmp_path, arrays, config=None)
    (folder / "albert_config.json").write_text(albert_config())
    assert "; num_labels=3 reads it as it is" in refusal(AlbertForSequenceClassification.from_pretrained, folder)
    checkpoints.assert_holds(AlbertForSequenceClassification.from_pretrained(folder, num_labels=3), arrays)


def test_the_numbers_are_those_of_the_same_weights_in_safetensors(google_folder, tmp_path, arrays):
    usual = checkpoints.write(tmp_path / "usual", arrays, AlbertConfig.from_pretrained(google_folder))
    ids = np.array([[2, 7, 9, 3, 0], [2, 11, 5, 8, 3]])
    one, other = (AlbertForPreTraining.from_pretrained(x, backend="numpy")(ids) for x in (google_folder, usual))
    assert np.array_equal(one.prediction_logits, other.prediction_logits)
    assert np.array_equal(one.sop_logits, other.sop_logits)


@pytest.mark.parametrize("place", [".", "assets"])
def test_googles_vocabulary_is_the_tokenizers(google_folder, place):
    demo = albert_np.AlbertTokenizer.from_pretrained("demo")
    (google_folder / place).mkdir(exist_ok=True)
    demo.save_vocabulary(google_folder)
    (google_folder / "spiece.model").rename(google_folder / place / "30k-clean.model")
    text = "The Café, in 1999, was 9,000 m away"
    for kind in (albert_np.AlbertTokenizer, albert_np.AutoTokenizer):
        made = kind.from_pretrained(google_folder)
        assert made.do_lower_case
        assert (
            made(text)["input_ids"]
            == albert_np.AlbertTokenizer(google_folder / place / "30k-clean.model")(text)["input_ids"]
        )


def test_info_describes_googles_folder(google_folder):
    from albert_np.cli.describe import describe

    info = describe(google_folder)
    assert info["counted_from"] == "model.ckpt-best.index"
    assert info["stored"] == sum(
        math.prod(shape) for shape in expected_shapes(checkpoints.CONFIG, PARTS[KIND]).values()
    )
    assert {"model.ckpt-best.index", "albert_config.json"} <= {file["name"] for file in info["files"]}


@pytest.mark.skipif(os.name == "nt", reason="a link may need rights there")
def test_a_pipe_is_no_checkpoint(tmp_path):
    os.mkfifo(tmp_path / "model.ckpt.index")
    assert tf1.find(tmp_path) is None
