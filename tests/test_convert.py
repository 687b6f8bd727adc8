"""`convert`: the same bits in every format and dtype, the class, and a report that leaves out nothing."""

import hashlib
import json
import re
import shutil
import sys
from fractions import Fraction

import h5py
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import TESTS, TINY_MODEL, checkpoints
from support.conversions import FRAMEWORKS, NUMPY, assert_holds, folder_of, held, wanted
from support.refusals import refusal

import albert_np
from albert_np import AlbertConfig, cli, convert
from albert_np.checkpoints import hub
from albert_np.checkpoints.formats.protocol import as_tensors
from albert_np.conversion import convert as module
from albert_np.conversion import rounding, trial
from albert_np.conversion.architecture import by_heads
from albert_np.conversion.rounding import values_in
from albert_np.golden.cases import PARTS, TINY

KINDS = list(PARTS)
WRITTEN = list(module.written())
NO_DTYPE = {("h5", "bfloat16")}  # HDF5 has none


# --- the same bits --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", list(NUMPY))
@pytest.mark.parametrize("to", WRITTEN)
def test_there_and_back_again_has_the_same_bits(tmp_path, to, dtype):
    source, arrays = folder_of(tmp_path / "source", "AlbertForPreTraining", dtype)
    if (to, dtype) in NO_DTYPE:
        assert "dtype='float32'" in refusal(convert, source, tmp_path / "there", to)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]
        return
    there = convert(source, tmp_path / "there", to)
    back = convert(tmp_path / "there", tmp_path / "back")
    assert (there.source_format, there.format, back.source_format, back.format) == (
        "safetensors",
        to,
        to,
        "safetensors",
    )
    assert_holds(tmp_path / "there", arrays, dtype)
    assert held(tmp_path / "back") == wanted(arrays, dtype)
    assert not [one for one in back.left_out if "no tensor that ALBERT has" in one.why]
    assert back.outputs.difference == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("to", WRITTEN)
def test_every_class_in_every_format(tmp_path, to, kind):
    source, arrays = folder_of(tmp_path / "source", kind, num_hidden_groups=2, inner_group_num=2)
    report = convert(source, tmp_path / "there", to)
    assert report.architecture == kind
    assert_holds(tmp_path / "there", arrays, "float32")
    assert {row.name for row in report.tensors} == set(arrays)
    config = AlbertConfig.from_pretrained(tmp_path / "there")
    assert config.architectures == [kind]
    assert config == AlbertConfig.from_pretrained(source).replace(dtype="float32")
    getattr(albert_np, kind).from_pretrained(tmp_path / "there")


@pytest.mark.parametrize(("first", "second"), [(a, b) for a in WRITTEN for b in WRITTEN if a != b])
def test_between_any_two_formats(tmp_path, first, second):
    source, arrays = folder_of(tmp_path / "source", "AlbertForMaskedLM", tokenizer=True, vocab_size=1000)
    convert(source, tmp_path / "a", first)
    report = convert(tmp_path / "a", tmp_path / "b", second)
    assert_holds(tmp_path / "b", arrays, "float32")
    assert report.tokenizer_files == ["spiece.model", "tokenizer_config.json"]
    for name in report.tokenizer_files:
        assert (tmp_path / "b" / name).read_bytes() == (source / name).read_bytes()


@pytest.mark.parametrize("to", WRITTEN)
def test_an_untied_decoder_comes_along_or_is_refused(tmp_path, to):
    source, arrays = folder_of(tmp_path / "source", "AlbertForMaskedLM", tie_word_embeddings=False)
    if to == "h5":
        assert "TensorFlow's classes compute with the word embeddings instead" in refusal(
            convert, source, tmp_path / "x", to
        )
        return
    convert(source, tmp_path / "there", to)
    assert_holds(tmp_path / "there", arrays, "float32")
    assert not np.array_equal(arrays["predictions.decoder.weight"], arrays["albert.embeddings.word_embeddings.weight"])


def test_a_base_model_without_pooler(tmp_path):
    source, arrays = folder_of(tmp_path / "source", "AlbertModel")
    arrays = {name: x for name, x in arrays.items() if "pooler" not in name}
    checkpoints.write(source, arrays, AlbertConfig(**TINY, architectures=["AlbertModel"]))
    report = convert(source, tmp_path / "there")
    assert "add_pooling_layer=False" in report.notes[0]
    assert held(tmp_path / "there") == wanted(arrays, "float32")


def test_shards_are_read_and_written(tmp_path):
    _, arrays = folder_of(tmp_path / "plain", "AlbertForMaskedLM")
    config = AlbertConfig(**TINY, architectures=["AlbertForMaskedLM"])
    checkpoints.shards(tmp_path / "source", arrays)
    config.save_pretrained(tmp_path / "source")
    report = convert(tmp_path / "source", tmp_path / "there", max_shard_size="8KB")
    assert len([name for name in report.files if name.endswith(".safetensors")]) > 1
    assert "model.safetensors.index.json" in report.files
    assert held(tmp_path / "there") == wanted(arrays, "float32")


def test_a_hub_model_is_fetched_file_by_file(tmp_path, monkeypatch):
    source, arrays = folder_of(tmp_path / "source", "AlbertForMaskedLM", tokenizer=True, vocab_size=1000)
    asked = []

    def download(repo, filename, required, *, revision, **_options):
        asked.append((repo, filename, revision))
        return source / filename if (source / filename).exists() else None

    monkeypatch.setattr(hub, "_download", download)
    report = convert("me/albert", tmp_path / "there", "bin", revision="v1")
    assert_holds(tmp_path / "there", arrays, "float32")
    assert report.tokenizer_files == ["spiece.model", "tokenizer_config.json"]
    assert {(repo, revision) for repo, _, revision in asked} == {("me/albert", "v1")}


def test_an_embedded_model_brings_the_vocabulary_that_it_shares(tmp_path):
    report = convert("demo-names", tmp_path / "there")
    assert report.tokenizer_files == ["spiece.model", "tokenizer_config.json"]


def test_the_embedded_model_in_every_format(tmp_path):
    for to in WRITTEN:
        report = convert("demo", tmp_path / to, to)
        assert report.architecture == "AlbertForPreTraining"
        assert sum(report.files.values()) == sum(path.stat().st_size for path in (tmp_path / to).iterdir())
    assert albert_np.AlbertTokenizer.from_pretrained(tmp_path / WRITTEN[0]).vocab_size == 8000


WRITTEN_BY_THEM = [
    (path.parent / folder, about["class"])
    for path in sorted((TESTS / "goldens").glob("formats*/manifest.json"))
    for folder, about in json.loads(path.read_text()).items()
]


@pytest.mark.parametrize(("folder", "kind"), WRITTEN_BY_THEM, ids=lambda x: getattr(x, "name", ""))
def test_what_a_framework_wrote_becomes_safetensors_with_the_same_bits(tmp_path, folder, kind):
    report = convert(folder, tmp_path / "there")
    assert report.architecture == kind
    first, second = held(folder), held(tmp_path / "there")
    assert {name: first[name] for name in second if name != "predictions.decoder.bias"} == {
        name: x for name, x in second.items() if name != "predictions.decoder.bias"
    }
    assert set(first) - set(second) <= {
        "predictions.decoder.weight",
        "predictions.decoder.bias",
        "embeddings.position_ids",
    }
    assert not [one for one in report.left_out if "no tensor that ALBERT has" in one.why]


@pytest.mark.parametrize("to", WRITTEN)
def test_damage_of_the_source_is_not_laid_on_the_target(tmp_path, to):
    source = tmp_path / "source"
    shutil.copytree(FRAMEWORKS / "google_pretraining", source)
    (data,) = source.glob("*.data-*")
    data.write_bytes(bytes(byte ^ 1 for byte in data.read_bytes()))
    text = refusal(convert, source, tmp_path / "there", to)
    assert text.startswith(str(data))
    assert "checksum" in text


@pytest.mark.parametrize(
    ("file", "kind"), [("30k-clean.model", "AlbertTokenizer"), ("vocab_chinese.txt", "BertTokenizer")]
)
def test_a_vocabulary_of_google_s_gets_settings_that_name_its_tokenizer(tmp_path, file, kind):
    """Without them, transformers takes no vocab.txt for ALBERT, and its truncation=True cuts nothing."""
    source = tmp_path / "source"
    shutil.copytree(FRAMEWORKS / "google_pretraining", source)
    for path in (*source.glob("*.model"), *source.glob("*.txt")):
        path.unlink()
    if file.endswith(".txt"):
        (source / file).write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n北\n", "utf-8")
    else:
        shutil.copy(TINY_MODEL / "spiece.model", source / file)
    report = convert(source, tmp_path / "there")
    wanted = {"model_max_length": AlbertConfig.from_pretrained(source).max_position_embeddings, "tokenizer_class": kind}
    assert json.loads((tmp_path / "there" / "tokenizer_config.json").read_text()) == wanted
    assert any("tokenizer_config.json" in note for note in report.notes)
    again = convert(tmp_path / "there", tmp_path / "again")  # now there are settings, which are copied
    assert "tokenizer_config.json" in again.tokenizer_files
    assert not again.notes


def test_slots_of_an_optimizer_are_counted_in_a_note(tmp_path):
    report = convert(FRAMEWORKS / "google_groups_sliced", tmp_path / "there")
    assert re.fullmatch(r"\d+ variables of a training, such as \S+, are no weights and were left out", report.notes[-1])
    assert int(report.notes[-1].split()[0]) > len(report.tensors)
    assert report.notes[-1] in str(report)


def test_of_two_biases_the_one_that_tensorflow_computes_with_is_written(tmp_path):
    report = convert(FRAMEWORKS / "h5_pretraining", tmp_path / "there")
    (one,) = report.left_out
    assert one.name.endswith("/predictions/bias:0")
    assert one.why == "the decoder has another bias, and that one counts"
    with h5py.File(FRAMEWORKS / "h5_pretraining" / "tf_model.h5") as file:
        found = {}
        file.visititems(lambda name, x: found.update({name: x}) if isinstance(x, h5py.Dataset) else None)
        (used,) = [x[:] for name, x in found.items() if name.endswith("predictions/decoder/bias:0")]
    model = albert_np.AlbertForPreTraining.from_pretrained(tmp_path / "there")
    assert np.array_equal(model.state_dict()["predictions.bias"], used)


def test_one_of_several_formats_is_chosen(tmp_path):
    """Only Google's checkpoint has the head for the order of sentences."""
    google = FRAMEWORKS / "google_pretraining"
    folder = tmp_path / "both"
    shutil.copytree(google, folder)
    convert(google, tmp_path / "other", "h5", architecture="AlbertForMaskedLM")
    shutil.copy(tmp_path / "other" / "tf_model.h5", folder)
    first = convert(folder, tmp_path / "first")
    assert (first.source_format, first.architecture) == ("h5", "AlbertForMaskedLM")
    assert first.notes == ["the source also has model.ckpt-best.index, which was not read; --from chooses"]
    assert cli.main(["convert", str(folder), str(tmp_path / "second"), "--from", "google"]) == 0
    assert held(tmp_path / "second") == held(google)
    assert "sop_classifier.classifier.weight" in held(tmp_path / "second")
    with pytest.raises(
        OSError, match=r"has no weights: no flax_model\.msgpack; it has .*, which .* or --from leaves out"
    ):
        convert(folder, tmp_path / "third", from_format="flax")
    assert "the formats that are read are safetensors, bin, h5, msgpack, tf1, onnx; got 'gguf'" in refusal(
        convert, folder, tmp_path / "third", from_format="gguf"
    )


# --- another dtype --------------------------------------------------------------------------------------------------------

FLOATS = st.floats(width=64, allow_nan=False, allow_infinity=False)


@settings(max_examples=200, deadline=None)
@given(values=st.lists(FLOATS, min_size=1, max_size=8))
def test_rounding_is_to_the_nearest_even(values):
    """ml_dtypes and NumPy are the oracles. bfloat16 of a float64 is rounded once: an exact integer comparison says so."""
    x = np.array(values)
    with np.errstate(over="ignore", under="ignore"):
        assert values_in(x, "F16").tobytes() == x.astype(np.float16).tobytes()
        assert values_in(x, "F32").tobytes() == x.astype(np.float32).tobytes()
        single = x.astype(np.float32)
        assert values_in(single, "BF16").tobytes() == single.astype(ml_dtypes.bfloat16).astype(np.float32).tobytes()
    y = values_in(x, "BF16")
    for number, rounded in zip(x, y, strict=True):
        if 1e-30 < abs(number) < 1e38:
            bits = int(np.float32(rounded).view(np.uint32))
            assert bits % 65536 == 0
            neighbours = [float(np.uint32(bits + step).view(np.float32)) for step in (-65536, 65536)]
            distance = abs(Fraction(float(rounded)) - Fraction(number))
            for other in neighbours:
                assert (distance, bits >> 16 & 1) < (abs(Fraction(other) - Fraction(number)), 1)


def test_a_float64_is_rounded_to_bfloat16_once():
    """1 + 2⁻⁸ + 2⁻⁴⁰ lies just above the middle of two bfloat16 numbers; by way of float32 it would be the middle."""
    assert values_in(np.array([1 + 2.0**-8 + 2.0**-40]), "BF16")[0] == 1 + 2.0**-7


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_another_dtype_is_rounded_and_the_loss_is_told(tmp_path, dtype):
    source, arrays = folder_of(tmp_path / "source", "AlbertForSequenceClassification")
    report = convert(source, tmp_path / "there", dtype=dtype)
    rounded = {name: x.astype(NUMPY[dtype]) for name, x in arrays.items()}
    assert held(tmp_path / "there") == wanted(rounded, dtype)
    assert AlbertConfig.from_pretrained(tmp_path / "there").dtype == dtype
    for row in report.tensors:
        x, y = arrays[row.name].astype(np.float64), rounded[row.name].astype(np.float64)
        assert (row.dtype, row.stored_as) == (dtype, "float32")
        assert row.sha256 == hashlib.sha256(rounded[row.name].tobytes()).hexdigest()
        if dtype == "float64":
            assert row.loss is None
        else:
            assert row.loss.changed == (x != y).sum()
            assert row.loss.largest == np.abs(x - y).max()
    assert (report.outputs.difference == 0) == (dtype == "float64")
    assert ("rounding changed" in str(report)) == (dtype != "float64")


def test_what_is_too_large_for_a_dtype_is_refused(tmp_path):
    source, arrays = folder_of(tmp_path / "source", "AlbertModel")
    arrays["pooler.bias"][5] = 70_000
    checkpoints.write(source, arrays, AlbertConfig(**TINY, architectures=["AlbertModel"]))
    message = refusal(convert, source, tmp_path / "there", dtype="float16")
    assert message.startswith("tensor pooler.bias holds 70000 at [5], which is too large for float16")
    assert not (tmp_path / "there").exists()
    convert(source, tmp_path / "there", dtype="bfloat16")


def test_an_onnx_file_is_run_and_its_small_difference_told(tmp_path):
    source, _ = folder_of(tmp_path / "source", "AlbertForMaskedLM")
    report = convert(source, tmp_path / "there", "onnx")
    assert report.outputs.by.startswith(("onnx's ReferenceEvaluator", "ONNX Runtime"))
    assert 0 < report.outputs.difference < 1e-5
    assert sorted(report.files) == ["config.json", "model.onnx"]


def test_an_onnx_file_that_is_not_run_is_said_to_be_so(tmp_path, monkeypatch, capsys):
    source, _ = folder_of(tmp_path / "source", "AlbertForMaskedLM")
    monkeypatch.setattr(trial, "MAX_EVALUATED_BYTES", 1000)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert cli.main(["convert", str(source), str(tmp_path / "there"), "--to", "onnx", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["largest_difference"] is None
    assert report["outputs"]["computed"] is False
    assert cli.main(["convert", str(source), str(tmp_path / "there"), "--to", "onnx", "--force"]) == 0
    assert (
        "the written model was not run: onnxruntime is not installed, and the model is too large"
        in capsys.readouterr().out
    )


def test_an_onnx_graph_that_computes_something_else_is_found_out(tmp_path, monkeypatch):
    source, _ = folder_of(tmp_path / "source", "AlbertForMaskedLM")
    write = module.write_tensors

    def wrong(path, tensors, config, architecture):
        write(path, tensors, config.replace(hidden_act="relu"), architecture)

    monkeypatch.setattr(module, "write_tensors", wrong)
    assert "the written model's outputs differ by" in refusal(convert, source, tmp_path / "there", "onnx")
    assert not (tmp_path / "there").exists()


def test_a_loss_is_that_of_all_blocks(monkeypatch):
    x = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    x[997] = 1e-9
    whole = rounding.loss(x, x.astype(np.float16))
    monkeypatch.setattr(rounding, "BLOCK", 7)
    assert rounding.loss(x, x.astype(np.float16)) == whole
    assert whole.changed == (x != x.astype(np.float16)).sum()
    assert whole.to_zero == 1
    assert whole.relative == 1
    assert rounding.loss(x, x.astype(np.float64)) is None


def test_small_numbers_that_become_zero_are_counted(tmp_path):
    source, arrays = folder_of(tmp_path / "source", "AlbertModel")
    arrays["pooler.bias"][:3] = 1e-9
    checkpoints.write(source, arrays, AlbertConfig(**TINY, architectures=["AlbertModel"]))
    report = convert(source, tmp_path / "there", dtype="float16")
    assert next(row for row in report.tensors if row.name == "pooler.bias").loss.to_zero == 3
    assert "3 became zero" in str(report)


# --- which class, and what is left out ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "AlbertForMultipleChoice"])
def test_the_heads_say_the_class_where_the_config_does_not(tmp_path, kind):
    source, _ = folder_of(tmp_path / "source", kind, architectures=None)
    assert convert(source, tmp_path / "there").architecture == kind


def test_the_head_of_sentence_order_alone_is_that_of_pre_training():
    assert by_heads(as_tensors({"sop_classifier.classifier.weight": np.ones((2, 4))})) == ["AlbertForPreTraining"]


@pytest.mark.parametrize("prefix", ["TF", "Flax"])
def test_the_frameworks_names_of_a_class_mean_the_class(tmp_path, prefix):
    source, _ = folder_of(tmp_path / "source", "AlbertForQuestionAnswering")
    config = AlbertConfig.from_pretrained(source).replace(architectures=[f"{prefix}AlbertForQuestionAnswering"])
    config.save_pretrained(source)
    convert(source, tmp_path / "there")
    assert AlbertConfig.from_pretrained(tmp_path / "there").architectures == ["AlbertForQuestionAnswering"]


def test_a_classifier_of_one_number_has_to_be_named(tmp_path):
    source, _ = folder_of(tmp_path / "source", "AlbertForMultipleChoice", architectures=None)
    message = refusal(convert, source, tmp_path / "there")
    assert "AlbertForSequenceClassification, AlbertForMultipleChoice" in message
    assert "--class" in message
    report = convert(source, tmp_path / "there", architecture="AlbertForMultipleChoice")
    assert report.architecture == "AlbertForMultipleChoice"
    assert "ALBERT has the classes AlbertModel" in refusal(convert, source, tmp_path / "x", architecture="Bert")


def test_a_class_that_the_file_does_not_have_is_refused_with_the_one_it_has(tmp_path):
    source, _ = folder_of(tmp_path / "source", "AlbertForMaskedLM")
    message = refusal(convert, source, tmp_path / "there", architecture="AlbertForTokenClassification")
    assert "has no classifier.weight, classifier.bias" in message
    assert "its heads are those of AlbertForMaskedLM" in message


def test_what_is_left_out_is_listed_with_the_reason(tmp_path):
    source, arrays = folder_of(tmp_path / "source", "AlbertForPreTraining")
    arrays["predictions.decoder.weight"] = arrays["albert.embeddings.word_embeddings.weight"]
    arrays["albert.embeddings.position_ids"] = np.arange(20)[None]
    arrays["my_head.weight"] = np.ones((2, 2), np.float32)
    config = AlbertConfig.from_pretrained(source)
    checkpoints.write(source, arrays, config)
    report = convert(source, tmp_path / "there", architecture="AlbertForMaskedLM")
    why = {one.name: one.why for one in report.left_out}
    assert why == {
        "albert.pooler.weight": "AlbertForMaskedLM has no pooler: --class chooses what is written",
        "albert.pooler.bias": "AlbertForMaskedLM has no pooler: --class chooses what is written",
        "sop_classifier.classifier.weight": "AlbertForMaskedLM has no sop_classifier: --class chooses what is written",
        "sop_classifier.classifier.bias": "AlbertForMaskedLM has no sop_classifier: --class chooses what is written",
        "predictions.decoder.weight": "the second name of embeddings.word_embeddings.weight, which is written once",
        "albert.embeddings.position_ids": "a range of numbers that older versions stored; it holds no weight",
        "my_head.weight": "no tensor that ALBERT has",
    }
    assert all(name in str(report) for name in why)
    arrays["predictions.decoder.weight"] = arrays["predictions.decoder.weight"] + 1
    checkpoints.write(source, arrays, config)
    report = convert(source, tmp_path / "again")
    assert "differs from embeddings.word_embeddings.weight" in report.left_out[0].why


def test_labels_that_no_config_names_are_counted(tmp_path):
    """Google's configs know no labels: the rows of the classifier do."""
    source, arrays = folder_of(tmp_path / "source", "AlbertForSequenceClassification", num_labels=4)
    config = AlbertConfig(**TINY)  # two labels, as a config has that names none
    config.save_pretrained(source)
    report = convert(source, tmp_path / "there")
    assert "num_labels is 4" in report.notes[0]
    assert AlbertConfig.from_pretrained(tmp_path / "there").num_labels == 4
    AlbertConfig(**TINY, id2label={0: "no", 1: "yes"}).save_pretrained(source)
    assert "has the shape (4, 24), but the config says (2, 24)" in refusal(convert, source, tmp_path / "x")
    assert arrays["classifier.weight"].shape == (4, 24)
