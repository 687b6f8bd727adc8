"""`verify`: each oddity is planted and found by its name, and sound folders are said to be whole."""

import json
import shutil
import sys
import zipfile

import numpy as np
import pytest
from support import TESTS, TINY_MODEL, checkpoints
from support.refusals import refusal

import albert_np
from albert_np import AlbertConfig, cli, convert, verify
from albert_np.checkpoints.formats import FORMATS
from albert_np.checkpoints.formats.protocol import as_tensors
from albert_np.checkpoints.hub import EMBEDDED
from albert_np.checkpoints.initialise import initialise
from albert_np.checkpoints.names import expected_shapes, hub_name
from albert_np.checkpoints.stored import find_weights, read_headers
from albert_np.conversion.convert import written
from albert_np.conversion.findings import Findings
from albert_np.conversion.verify_config import check_config
from albert_np.conversion.verify_files import compare
from albert_np.golden.cases import PARTS, TINY, trained_like

SIZES = TINY | {"vocab_size": 1000, "max_position_embeddings": 128}
LAYER = "albert.encoder.albert_layer_groups.0.albert_layers.0."
WORDS = "albert.embeddings.word_embeddings.weight"


GOLDENS = TESTS / "goldens"  # with checkpoints that the frameworks wrote, in two folders


def plant(folder, change=None, kind="AlbertForPreTraining", tokenizer=True, **config):
    """A sound checkpoint with a tokenizer, its arrays and config changed."""
    values = SIZES | {"architectures": [kind], "num_labels": 3, "dtype": "float32"} | config
    config = AlbertConfig(**values)
    arrays = {hub_name(name, PARTS[kind]): x for name, x in trained_like(config, PARTS[kind], 3).items()}
    arrays = (change(arrays) if change else None) or arrays
    checkpoints.write(folder, arrays, config)
    if tokenizer:
        for name in ("spiece.model", "tokenizer_config.json"):
            shutil.copy(TINY_MODEL / name, folder)
    return folder


def told(found, level=None):
    return {(one.level, one.about) for one in found.findings if level in (None, one.level)}


def the_one(found, about):
    (finding,) = [one for one in found.findings if one.about == about]
    assert finding.what
    assert finding.means.endswith(".")
    assert not finding.do or finding.do.endswith(".")
    assert "\n" not in finding.what + finding.means + finding.do
    return finding


def edit_json(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


# --- sound folders --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(EMBEDDED))
def test_the_embedded_models_are_whole(name):
    found = verify(name)
    assert not found.findings
    assert found.exit_code == 0
    assert str(found).startswith(f"{name}: whole, and nothing about it is odd\n")


@pytest.mark.parametrize("kind", list(PARTS))
def test_nothing_is_odd_about_a_sound_folder(tmp_path, kind):
    found = verify(plant(tmp_path / "it", kind=kind, num_hidden_groups=2))
    assert not found.findings
    assert found.whole
    assert (found.architecture, found.format, found.dtypes) == (kind, "safetensors", {"float32": found.tensors})
    assert found.tokenizer == "AlbertTokenizer, 1,000 tokens"
    expected = expected_shapes(AlbertConfig.from_pretrained(tmp_path / "it"), PARTS[kind])
    assert found.parameters == sum(int(np.prod(shape)) for shape in expected.values())


# what is odd about them, beside having no tokenizer: two of TensorFlow's have two biases, and one of torch's was never trained
ODD = {
    "h5_pretraining": {("warning", "two-biases")},
    "h5_masked_lm_sharded": {("warning", "two-biases")},
    "dynamo_sequence_fresh": {("warning", "untrained"), ("note", "pad-row")},
}


@pytest.mark.parametrize(
    "folder", sorted(path.parent for path in GOLDENS.glob("formats*/*/expected.npz")), ids=lambda x: x.name
)
def test_what_a_framework_wrote_is_whole(folder):
    """Google's name no class, and "gelu" may be meant."""
    found = verify(folder)
    assert told(found) - {("note", "architectures"), ("note", "hidden-act")} == {("note", "tokenizer")} | ODD.get(
        folder.name, set()
    )
    assert found.exit_code == 0


@pytest.mark.parametrize("to", list(written()))
@pytest.mark.parametrize("kind", ["AlbertForMaskedLM", "AlbertForSequenceClassification"])
def test_what_convert_writes_is_sound(tmp_path, kind, to):
    convert(plant(tmp_path / "it", kind=kind), tmp_path / "there", to)
    found = verify(tmp_path / "there")
    assert not found.findings
    assert found.format == to


def test_shards_with_their_index_are_sound(tmp_path):
    convert(plant(tmp_path / "it"), tmp_path / "there", max_shard_size="30KB")
    found = verify(tmp_path / "there")
    assert not found.findings
    assert len(found.files) > 1


def test_progress_covers_every_number(tmp_path):
    calls = []
    found = verify(plant(tmp_path / "it"), progress=lambda more, total: calls.append((more, total)))
    assert sum(more for more, _ in calls) == found.parameters
    assert {total for _, total in calls} == {found.parameters}


# --- tensors --------------------------------------------------------------------------------------------------------------


def without(*endings):
    return lambda arrays: {name: x for name, x in arrays.items() if not name.endswith(endings)}


def changed(name, function):
    def change(arrays):
        arrays[name] = function(arrays[name].copy())

    return change


def put(x, where, value):
    x[where] = value
    return x


def copied(source, target):
    def change(arrays):
        arrays[target] = arrays[source].copy()

    return change


def swapped(module):
    def change(arrays):
        weight, bias = arrays[f"{module}.weight"], arrays[f"{module}.bias"]
        arrays[f"{module}.weight"], arrays[f"{module}.bias"] = bias, weight

    return change


TENSORS = {
    "missing": (without("ffn.bias"), {("error", "missing")}, "albert_layers.0.ffn.bias"),
    "no sentence order": (
        without("sop_classifier.classifier.weight", "sop_classifier.classifier.bias"),
        {("error", "missing")},
        "sop_classifier",
    ),
    "shape": (
        changed("albert.pooler.bias", lambda x: x[:-1]),
        {("error", "shapes")},
        "pooler.bias has the shape (23,)",
    ),
    "foreign": (
        lambda a: a | {"my_head.weight": a["albert.pooler.bias"] + 1},
        {("warning", "unexpected")},
        "my_head.weight",
    ),
    "classifier too": (
        lambda a: a | {"classifier.bias": a["albert.pooler.bias"][:3] + 1},
        {("note", "other-heads")},
        "classifier",
    ),
    "buffer": (
        lambda a: a | {"albert.embeddings.position_ids": np.arange(128)[None]},
        {("note", "buffers")},
        "position_ids",
    ),
    "quantised": (
        changed("albert.pooler.weight", lambda x: x.astype(np.int64)),
        {("error", "dtype")},
        "pooler.weight is I64",
    ),
    "mixed": (
        changed("albert.pooler.weight", lambda x: x.astype(np.float16)),
        {("note", "dtype-mix")},
        "1 × float16",
    ),
    "nan": (changed("albert.pooler.weight", lambda x: put(x, (1, 2), np.nan)), {("error", "finite")}, "nan at [1, 2]"),
    "infinity": (changed("predictions.bias", lambda x: put(x, 7, -np.inf)), {("error", "finite")}, "-inf at [7]"),
    "a sum that overflows": (
        changed("sop_classifier.classifier.weight", lambda x: put(x, ..., np.float32(3e38))),
        {("error", "outputs")},
        "not finite for a small batch",
    ),
    "too large": (
        changed("albert.pooler.weight", lambda x: put(x.astype(np.float64), 0, 1e300)),
        {("error", "too-large"), ("note", "dtype-mix")},
        "1e+300",
    ),
    "zeros": (changed(LAYER + "ffn.weight", np.zeros_like), {("warning", "zeros")}, "ffn.weight is all zero"),
    "layer norm of zeros": (
        changed(LAYER + "attention.LayerNorm.weight", np.zeros_like),
        {("warning", "zeros")},
        "attention.LayerNorm.weight",
    ),
    "gamma and beta exchanged": (
        swapped(LAYER + "full_layer_layer_norm"),
        {("warning", "layer-norm")},
        "full_layer_layer_norm",
    ),
    "far layer norm": (
        changed("albert.embeddings.LayerNorm.weight", lambda x: x * 200),
        {("note", "layer-norm")},
        "far from 1",
    ),
    "copied weights": (
        copied(LAYER + "attention.query.weight", LAYER + "attention.key.weight"),
        {("warning", "duplicates")},
        "attention.query.weight",
    ),
    "pad row": (changed(WORDS, lambda x: put(x, 0, 0)), {("note", "pad-row")}, "row 0"),
    "enlarged table": (changed(WORDS, lambda x: put(x, slice(990, None), 0)), {("warning", "zero-rows")}, "10 rows"),
    "decoder": (
        lambda a: a | {"predictions.decoder.weight": a[WORDS] + np.float32(1)},
        {("error", "tied-weights")},
        "predictions.decoder.weight differs",
    ),
    "decoder's bias": (
        lambda a: a | {"predictions.decoder.bias": a["predictions.bias"] + np.float32(1)},
        {("error", "tied-weights")},
        "predictions.bias differs from predictions.decoder.bias",
    ),
    "fresh head": (
        lambda a: (
            a
            | {
                "sop_classifier.classifier.bias": np.zeros(2, np.float32),
                "predictions.bias": np.zeros(1000, np.float32),
                "predictions.dense.bias": np.zeros(12, np.float32),
                "predictions.LayerNorm.bias": np.zeros(12, np.float32),
                "predictions.dense.weight": np.float32(0.02)
                * np.random.default_rng(1).standard_normal((12, 24), np.float32),
            }
        ),
        {("warning", "untrained")},
        "the head predictions looks freshly drawn",
    ),
}


@pytest.mark.parametrize("name", list(TENSORS))
def test_odd_tensors_are_found(tmp_path, name):
    change, expected, words = TENSORS[name]
    found = verify(plant(tmp_path / "it", change))
    assert told(found) == expected
    level, about = next(iter(sorted(expected)))
    finding = the_one(found, about)
    assert words in finding.what
    assert found.exit_code == (level == "error")
    assert found.readable


def test_a_number_that_changed_in_an_archive_is_found_by_its_checksum(tmp_path):
    """It is finite and a little off: loading cannot know."""
    convert(plant(tmp_path / "old"), tmp_path / "new", "bin")
    path = tmp_path / "new" / "pytorch_model.bin"
    content = bytearray(path.read_bytes())
    content[
        content.index(np.float32(trained_like(AlbertConfig(**SIZES, num_labels=3), (), 3)[WORDS[7:]][5, 5]).tobytes())
    ] ^= 1
    assert verify(tmp_path / "new").whole
    path.write_bytes(content)
    finding = the_one(verify(tmp_path / "new"), "checksum")
    assert finding.level == "error"
    assert "data/0" in finding.what


def test_second_names_with_equal_values_are_not_odd(tmp_path):
    change = lambda a: a | {"predictions.decoder.weight": a[WORDS], "predictions.decoder.bias": a["predictions.bias"]}  # noqa: E731
    assert not verify(plant(tmp_path / "it", change)).findings


def test_a_table_under_the_decoders_name_alone_is_not_missing(tmp_path):
    def change(a):
        return {"predictions.decoder.weight" if name == WORDS else name: x for name, x in a.items()}

    assert not verify(plant(tmp_path / "it", change)).findings


def test_an_untied_decoder_is_its_own(tmp_path):
    def change(a):
        a["predictions.decoder.bias"] = a["predictions.bias"]

    assert not verify(plant(tmp_path / "it", change, tie_word_embeddings=False)).findings

    def differ(a):
        a["predictions.decoder.bias"] = a["predictions.bias"] + 1

    found = verify(plant(tmp_path / "it", differ, tie_word_embeddings=False))
    assert told(found) == {("warning", "two-biases")}


def test_tensorflow_ties_the_decoder_whatever_the_config_says(tmp_path):
    """The folder loads, so it is whole; in PyTorch and Flax it would not be the same model."""
    for name, expected in (("h5_pretraining", "AlbertForPreTraining"), ("h5_model", "AlbertModel")):
        folder = shutil.copytree(GOLDENS / "formats" / name, tmp_path / name)
        values = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(values | {"tie_word_embeddings": False}))
        getattr(albert_np, expected).from_pretrained(folder, backend="numpy")
        found = verify(folder)
        assert found.whole
        assert (("warning", "tied-weights") in told(found)) == (name == "h5_pretraining")


def test_a_model_that_was_never_trained(tmp_path):
    config = AlbertConfig(**SIZES, architectures=["AlbertForMaskedLM"], dtype="float32")
    fresh = initialise(expected_shapes(config, ("predictions",)), config, np.dtype("float32"), 0)
    found = verify(
        plant(
            tmp_path / "it", lambda _: {hub_name(n, ("predictions",)): x for n, x in fresh.items()}, "AlbertForMaskedLM"
        )
    )
    assert told(found) == {("warning", "untrained"), ("note", "pad-row")}
    assert "never trained" in the_one(found, "untrained").means


def test_layers_that_are_copies_of_one(tmp_path):
    def change(a):
        for name in list(a):
            a[name.replace("groups.0", "groups.1")] = a[name]

    found = verify(plant(tmp_path / "it", change, num_hidden_groups=2))
    assert told(found) == {("note", "duplicates")}


def test_a_base_model_without_its_pooler(tmp_path):
    found = verify(plant(tmp_path / "it", without("pooler.weight", "pooler.bias"), "AlbertModel"))
    assert told(found) == {("warning", "pooler")}


def test_heads_that_could_be_those_of_two_classes(tmp_path):
    found = verify(plant(tmp_path / "it", kind="AlbertForSequenceClassification", num_labels=1, architectures=None))
    told_of = [one.what for one in found.findings if one.about == "architectures"]
    assert "the heads could be those of AlbertForSequenceClassification or AlbertForMultipleChoice" in told_of
    assert found.architecture == "AlbertForSequenceClassification"
    edit_json(
        tmp_path / "it" / "config.json", id2label={"0": "no", "1": "yes"}, label2id=None
    )  # one for each choice, then
    found = verify(tmp_path / "it")
    assert found.architecture == "AlbertForMultipleChoice"
    assert found.whole


def test_the_wrong_class_is_told_with_the_right_one(tmp_path):
    folder = plant(tmp_path / "it", kind="AlbertForMaskedLM")
    edit_json(folder / "config.json", architectures=["AlbertForQuestionAnswering"])
    found = verify(folder)
    assert "AlbertForMaskedLM" in the_one(found, "missing").means


# --- config ---------------------------------------------------------------------------------------------------------------

CONFIGS = {
    "no class": ({"architectures": None}, ("note", "architectures")),
    "another class": ({"architectures": ["AlbertForNextWord"]}, ("warning", "architectures")),
    "two classes": ({"architectures": ["AlbertForPreTraining", "AlbertModel"]}, ("note", "architectures")),
    "gelu": ({"hidden_act": "gelu"}, ("note", "hidden-act")),
    "dropout": ({"hidden_dropout_prob": 0.1}, ("note", "dropout")),
    "dtype": ({"dtype": "float16"}, ("note", "dtype")),
    "pad id": ({"pad_token_id": 3}, ("warning", "special-ids")),
    "end outside": ({"eos_token_id": 1003}, ("warning", "special-ids")),
}


@pytest.mark.parametrize("name", list(CONFIGS))
def test_odd_configs_are_found(tmp_path, name):
    change, expected = CONFIGS[name]
    folder = plant(tmp_path / "it")
    edit_json(folder / "config.json", **change)
    found = verify(folder)
    assert expected in told(found)
    assert told(found) <= {expected, ("note", "special-ids")}
    assert found.exit_code == 0


def test_layers_that_google_and_transformers_group_otherwise(tmp_path):
    """int(i / L * G) and int(i / (L / G)) first differ at (L, G, i) = (18, 14, 9)."""
    assert not verify(plant(tmp_path / "it", num_hidden_groups=3)).findings
    found = verify(plant(tmp_path / "other", num_hidden_layers=18, num_hidden_groups=14))
    assert told(found) == {("warning", "groups")}
    assert "in layer 9" in found.findings[0].what


def test_gelu_in_the_config_of_a_published_size_is_a_warning(tmp_path):
    sizes = {"vocab_size": 30_000, "embedding_size": 128, "hidden_size": 768, "num_attention_heads": 12}
    for act, levels in (("gelu", ["warning"]), ("gelu_new", [])):
        findings = Findings()
        config = AlbertConfig(**sizes, hidden_act=act, architectures=["AlbertModel"])
        check_config(tmp_path, config, findings)
        assert [one.level for one in findings] == levels


def test_googles_config_beside_may_say_gelu_and_nothing_else_that_differs(tmp_path):
    folder = plant(tmp_path / "it")
    values = {"hidden_act": "gelu", "hidden_size": 24, "net_structure_type": 0, "num_hidden_layers": 4}
    (folder / "albert_config.json").write_text(json.dumps(values))
    assert not verify(folder).findings
    edit_json(folder / "albert_config.json", num_hidden_layers=12)
    finding = the_one(verify(folder), "two-configs")
    assert finding.what == "albert_config.json has other values: num_hidden_layers (12, and config.json says 4)"
    for damaged in ("{", "[]"):
        (folder / "albert_config.json").write_text(damaged)
        assert told(verify(folder)) == {("warning", "two-configs")}


# --- files ----------------------------------------------------------------------------------------------------------------


def test_shards_that_are_not_in_the_index(tmp_path):
    folder = tmp_path / "there"
    convert(plant(tmp_path / "it"), folder, max_shard_size="30KB")
    first = next(folder.glob("model-00001*"))
    shutil.copy(first, folder / "model-00001-of-00077.safetensors")
    assert told(verify(folder)) == {("warning", "stray-shards")}


def test_an_index_that_lists_too_little_or_a_wrong_size(tmp_path):
    folder = tmp_path / "there"
    convert(plant(tmp_path / "it"), folder, max_shard_size="30KB")
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"].pop("predictions.bias")
    path.write_text(json.dumps(index))
    assert "predictions.bias" in the_one(verify(folder), "index").what
    index["metadata"]["total_size"] += 4
    path.write_text(json.dumps(index))
    assert {one.level for one in verify(folder).findings} == {"warning", "note"}


def test_a_shard_that_is_missing_or_lacks_a_tensor_cannot_be_read(tmp_path):
    folder = tmp_path / "there"
    convert(plant(tmp_path / "it"), folder, max_shard_size="30KB")
    next(folder.glob("model-00002*")).unlink()
    found = verify(folder)
    assert (found.readable, found.exit_code, told(found)) == (False, 2, {("error", "unreadable")})
    assert "model-00002" in found.findings[0].what


def test_an_index_beside_a_single_file(tmp_path):
    folder = plant(tmp_path / "it")
    (folder / "model.safetensors.index.json").write_text("{}")
    assert told(verify(folder)) == {("warning", "two-answers")}


def test_files_for_other_programs_are_named(tmp_path):
    folder = plant(tmp_path / "it")
    (folder / "rust_model.ot").write_bytes(b"x")
    (folder / "training_args.bin").write_bytes(b"x")
    assert the_one(verify(folder), "other-files").what == "rust_model.ot is not read"


OTHERS = [name for name in written() if name != "safetensors"]


@pytest.mark.parametrize("to", OTHERS)
def test_another_format_beside_is_compared(tmp_path, to):
    folder = plant(tmp_path / "it", kind="AlbertForMaskedLM")
    convert(folder, tmp_path / "other", to)
    (file,) = [kind.file for kind in FORMATS if kind.name == to]
    shutil.copy(tmp_path / "other" / file, folder)
    found = verify(folder)
    assert told(found) == {("note", "other-format")}
    assert "with the same values" in found.findings[0].what
    assert found.other_formats == [to]
    plant(folder, changed("predictions.bias", lambda x: x + 1), kind="AlbertForMaskedLM")
    assert "predictions.bias has other values there" in the_one(verify(folder), "other-format").what
    (folder / file).write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    finding = the_one(verify(folder), "other-format")
    assert finding.level == "warning"
    assert "Git-LFS pointer" in finding.what


@pytest.mark.parametrize("first", ["float32", "float16"])
def test_another_format_in_another_dtype_is_compared_after_rounding(tmp_path, first):
    """Two formats with the same reader stand in for those whose packages may be missing."""
    second = {"float32": "float16", "float16": "float32"}[first]
    convert(plant(tmp_path / "it"), tmp_path / "half", dtype="float16")
    convert(tmp_path / "half", tmp_path / first, dtype=first)
    convert(tmp_path / "half", tmp_path / second, dtype=second)
    stored, other = (find_weights(tmp_path / name, {}) for name in (first, second))
    findings = Findings()
    compare(FORMATS[0], "other", read_headers(other), stored, read_headers(stored), findings)
    assert [one.level for one in findings] == ["note"]
    assert f"in {first} and {second}" in findings[0].what


def test_tensors_of_other_shapes_and_values_in_another_dtype_differ(tmp_path):
    stored = find_weights(plant(tmp_path / "it"), {})
    ones, halves, rows = np.ones(3, np.float32), np.full(3, 0.5, np.float16), np.ones((3, 1), np.float32)
    for other in ({"pooler.bias": halves}, {"pooler.bias": rows}, {"pooler.bias": np.ones(3, np.int64) * 2}):
        findings = Findings()
        compare(FORMATS[1], "other", as_tensors(other), stored, as_tensors({"pooler.bias": ones}), findings)
        assert [(one.level, one.what) for one in findings] == [
            ("warning", "other lies beside model.safetensors, and pooler.bias has other values there")
        ]
    findings = Findings()
    compare(FORMATS[1], "other", as_tensors({"x": ones}), stored, as_tensors({"pooler.bias": ones}), findings)
    assert findings[0].what == "other lies beside model.safetensors, and the two have no tensor in common"


def test_a_part_of_another_format_is_no_checkpoint(tmp_path):
    folder = plant(tmp_path / "it")
    (folder / "tf_model-00001-of-00002.h5").write_bytes(b"x")
    assert "tf_model-00001-of-00002.h5 alone is no checkpoint" in the_one(verify(folder), "other-format").what


def test_several_checkpoints_of_another_format_are_told(tmp_path):
    folder = plant(tmp_path / "it")
    for stored in (GOLDENS / "formats" / "google_pretraining").glob("model.ckpt-best.*"):
        for step in ("1", "2"):
            shutil.copy(stored, folder / stored.name.replace("best", step))
    found = verify(folder)
    assert "holds 2 TensorFlow checkpoints" in the_one(found, "other-format").what
    assert found.other_formats == ["tf1"]


@pytest.mark.parametrize(
    "content", [b"", b"version https://git-lfs.github.com/spec/v1\n", b"<!doctype html>", b"\x08" * 99]
)
def test_weights_that_cannot_be_read(tmp_path, content, capsys):
    folder = plant(tmp_path / "it")
    (folder / "model.safetensors").write_bytes(content)
    found = verify(folder)
    assert (found.readable, found.exit_code) == (False, 2)
    assert len(found.findings) == 1
    assert cli.main(["verify", str(folder)]) == 2
    assert capsys.readouterr().out.startswith(f"{folder}: cannot be read\n")


def test_links_that_lead_nowhere_are_findings_where_something_reads_them(tmp_path):
    for name, told_of in {
        "albert_config.json": True,
        "tokenizer.json": True,
        "tf_model.h5": False,
        "model.safetensors.index.json": False,
    }.items():
        folder = plant(tmp_path / name)
        (folder / name).symlink_to(tmp_path / "nowhere")
        found = verify(folder)
        assert any(name in one.what for one in found.findings) == told_of, name
        assert found.exit_code in (0, 1)
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to(tmp_path / "nowhere")
    assert verify(folder).exit_code == 2


def test_no_config_no_weights_no_folder(tmp_path):
    folder = plant(tmp_path / "it")
    (folder / "model.safetensors").unlink()
    assert "has no weights" in verify(folder).findings[0].what
    (folder / "config.json").unlink()
    assert "config.json" in verify(folder).findings[0].what
    assert verify(tmp_path / "nowhere").exit_code == 2
    assert "no folder albert/albert-base-v2 here" in verify("albert/albert-base-v2").findings[0].what
    assert "a model name is a str or a path" in refusal(verify, 3)


def test_a_file_that_would_run_something_elsewhere_is_an_error_wherever_it_lies(tmp_path):
    """Scripts ask the exit code, and another program may take the other file."""
    folder = plant(tmp_path / "it")
    run = b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R."
    with zipfile.ZipFile(folder / "pytorch_model.bin", "w") as archive:
        archive.writestr("archive/data.pkl", run)
        archive.writestr("archive/version", "3\n")
    found = verify(folder)
    assert (found.format, found.exit_code) == ("safetensors", 1)
    assert "names the global posix.system" in the_one(found, "unsafe").what
    (folder / "model.safetensors").unlink()
    found = verify(folder)
    assert (found.readable, found.exit_code) == (False, 2)
    assert "may run what is in it" in the_one(found, "unsafe").means
    with zipfile.ZipFile(folder / "pytorch_model.bin", "w") as archive:  # damaged, and no more than that
        archive.writestr("archive/data.pkl", run[:2] + b"h\x07.")
        archive.writestr("archive/version", "3\n")
    assert told(verify(folder)) == {("error", "unreadable")}


# --- tokenizer ------------------------------------------------------------------------------------------------------------


def test_no_tokenizer_is_a_note_and_half_of_one_a_warning(tmp_path):
    folder = plant(tmp_path / "it", tokenizer=False)
    assert told(verify(folder)) == {("note", "tokenizer")}
    shutil.copy(TINY_MODEL / "tokenizer_config.json", folder)
    assert told(verify(folder)) == {("warning", "tokenizer")}
    (folder / "spiece.model").write_bytes(b"damaged")
    assert told(verify(folder)) == {("error", "tokenizer")}
    (folder / "spiece.model").write_text("version https://git-lfs.github.com/spec/v1\n")
    assert "Git-LFS" in the_one(verify(folder), "tokenizer").what
    assert verify(folder).tokenizer == "cannot be read"


def test_a_tokenizer_is_not_said_to_be_absent_where_its_library_is(tmp_path, monkeypatch):
    folder = plant(tmp_path / "it", tokenizer=False)
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n", "utf-8")
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    found = verify(folder)
    assert (found.tokenizer, found.exit_code) == ("not checked", 0)
    assert the_one(found, "tokenizer").what.startswith("the tokenizer was not checked: vocab.txt and ")


def test_a_vocabulary_of_another_size(tmp_path):
    small = the_one(verify(plant(tmp_path / "small", vocab_size=990)), "vocabulary")
    assert (small.level, small.what) == ("error", "the tokenizer has 1,000 tokens, and the model's table 990 rows")
    assert the_one(verify(plant(tmp_path / "large", vocab_size=1024)), "vocabulary").level == "note"


def test_lengths_that_do_not_fit(tmp_path):
    folder = plant(tmp_path / "it")
    edit_json(folder / "tokenizer_config.json", model_max_length=512)
    assert "512, and the model has 128 positions" in the_one(verify(folder), "length").what
    edit_json(folder / "tokenizer_config.json", model_max_length=64)
    assert not verify(folder).findings
    edit_json(folder / "tokenizer_config.json", model_max_length=10**30)
    assert told(verify(folder)) == {("note", "length")}


def test_case_that_does_not_fit_the_vocabulary(tmp_path):
    folder = plant(tmp_path / "it")
    edit_json(folder / "tokenizer_config.json", do_lower_case=False)
    assert told(verify(folder)) == {("warning", "case")}


def test_two_vocabularies_that_differ(tmp_path):
    folder = plant(tmp_path / "it")
    tokens = albert_np.AlbertTokenizer.from_pretrained(folder).convert_ids_to_tokens(list(range(1000)))
    model = {"type": "Unigram", "unk_id": 1, "vocab": [[token, 0.0] for token in tokens]}
    (folder / "tokenizer.json").write_text(json.dumps({"version": "1.0", "added_tokens": [], "model": model}))
    assert not verify(folder).findings
    model["vocab"][500][0] = "another"
    (folder / "tokenizer.json").write_text(json.dumps({"version": "1.0", "added_tokens": [], "model": model}))
    assert the_one(verify(folder), "two-vocabularies").what.startswith("1 tokens of tokenizer.json")


def test_a_tokenizer_json_that_cannot_be_read_beside_spiece_model(tmp_path):
    folder = plant(tmp_path / "it")
    (folder / "tokenizer.json").write_text("{")
    assert the_one(verify(folder), "two-vocabularies").level == "warning"
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"a": 0}}}))  # of another kind
    assert not verify(folder).findings


def test_a_tokenizer_without_mask_token_or_with_another_pad_token(tmp_path):
    folder = plant(tmp_path / "it", kind="AlbertForMaskedLM")
    edit_json(folder / "tokenizer_config.json", mask_token=None)
    assert the_one(verify(folder), "special-ids").what == "the tokenizer has no mask token"
    padded = plant(tmp_path / "padded", kind="AlbertForMaskedLM", pad_token_id=5)
    assert the_one(verify(padded), "special-ids").what.endswith("and pad_token_id of the config is 5")


def wordpiece(folder, words, **settings):
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in tokens))
    values = {"tokenizer_class": "BertTokenizer", "model_max_length": 128} | settings
    (folder / "tokenizer_config.json").write_text(json.dumps(values))
    return folder


def test_capitals_that_lower_case_hides(tmp_path):
    folder = plant(tmp_path / "it", tokenizer=False, vocab_size=205, pad_token_id=0)
    wordpiece(folder, [f"Word{i}" for i in range(200)], do_lower_case=True)
    assert (
        the_one(verify(folder), "case").what
        == "do_lower_case is true, and 200 of the vocabulary's pieces have capitals"
    )
    wordpiece(folder, [f"Word{i}" for i in range(200)], do_lower_case=False)
    assert "case" not in {about for _, about in told(verify(folder))}


def test_a_tokenizer_whose_library_is_missing_says_nothing_of_the_folder(tmp_path, monkeypatch):
    folder = wordpiece(plant(tmp_path / "it", tokenizer=False), ["a"])
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    finding = the_one(verify(folder), "tokenizer")
    assert finding.level == "note"
    assert 'pip install "albert-np[formats]"' in finding.what


# --- the command line -----------------------------------------------------------------------------------------------------


def test_the_command_has_three_exit_codes_and_json(tmp_path, capsys):
    folder = plant(tmp_path / "it")
    assert cli.main(["verify", str(folder)]) == 0
    assert capsys.readouterr().out.startswith(f"{folder}: whole, and nothing about it is odd\n")
    plant(folder, changed("albert.pooler.bias", lambda x: put(x, 2, np.nan)), hidden_act="gelu")
    assert cli.main(["verify", str(folder)]) == 1
    out = capsys.readouterr().out
    assert out.startswith(f"{folder}: something is wrong (1 error, 1 note)\n")
    assert out.index("error: albert.pooler.bias holds nan at [2]") < out.index('note: hidden_act is "gelu"')
    assert cli.main(["verify", str(folder), "--json"]) == 1
    values = json.loads(capsys.readouterr().out)
    assert values["exit_code"] == 1
    assert [one["about"] for one in values["findings"]] == ["hidden-act", "finite"]
    assert cli.main(["verify", str(tmp_path / "nowhere"), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["readable"] is False
