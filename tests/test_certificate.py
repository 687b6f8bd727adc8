"""The certificate of a model in int8: that it sees what changed, and `albert-np quantize`, which makes it and goes by it."""

import hashlib
import json

import numpy as np
import pytest
import safetensors.numpy
from support.refusals import refusal

from albert_np import (
    AlbertConfig,
    AlbertForMaskedLM,
    AlbertForMultipleChoice,
    AlbertForPreTraining,
    AlbertForQuestionAnswering,
    AlbertForSequenceClassification,
    AlbertForTokenClassification,
    AlbertModel,
    AlbertTokenizer,
    FlaxAlbertForMaskedLM,
    TFAlbertForMaskedLM,
    cli,
    pipeline,
)
from albert_np.conversion.quantize import quantize
from albert_np.golden.cases import PARTS, TINY, trained_like
from albert_np.kernels.cpu.bfloat16.emulation import round_to_bfloat16
from albert_np.quantization import certificate

TEXTS = ["There was a knock at the door, and a boy came in.", "It rained all day.", "", "Nobody wrote to Charlotte."]
CONFIG = AlbertConfig(**TINY | {"vocab_size": 8000}, num_labels=3)


@pytest.fixture(scope="module")
def tokenizer():
    return AlbertTokenizer.from_pretrained("demo")


def made(kind, config=CONFIG, seed=1):
    arrays = trained_like(config, PARTS[kind.__name__], seed)
    return kind(config, tensors={name: x.astype(np.float32) for name, x in arrays.items()})


ANSWERS = {
    AlbertModel: set(),
    AlbertForMaskedLM: {"best tokens of masked ones"},
    AlbertForPreTraining: {"best tokens of masked ones", "orders of sentences"},
    AlbertForSequenceClassification: {"labels"},
    AlbertForTokenClassification: {"labels"},
    AlbertForQuestionAnswering: {"best starts", "best ends"},
    AlbertForMultipleChoice: {"labels"},
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_a_model_is_the_same_as_itself_and_another_one_is_not(kind, tokenizer):
    model = made(kind)
    same = certificate.measure(model, model, tokenizer, TEXTS, name="four lines")
    assert set(same["answers"]) == ANSWERS[kind]
    assert all(row["share"] == 1 and row["n"] > 0 for row in same["answers"].values())
    assert (same["passes"], same["hidden_states_relative_rms"]) == (True, 0)
    assert same.get("logits", {"worst": 0})["worst"] == 0
    assert same["text"]["sha256"] == hashlib.sha256("\n".join(x for x in TEXTS if x).encode()).hexdigest()
    assert (same["text"]["texts"], same["text"]["name"]) == (3, "four lines")
    other = certificate.measure(model, made(kind, seed=2), tokenizer, TEXTS)
    assert not other["passes"]
    assert other["hidden_states_relative_rms"] > certificate.FARTHEST
    json.dumps(other, allow_nan=False)


def test_distances_are_those_of_the_outputs(tokenizer):
    one, other = made(AlbertForTokenClassification), made(AlbertForTokenClassification, seed=2)
    found = certificate.measure(one, other, tokenizer, TEXTS)
    given = tokenizer([x for x in TEXTS if x], padding=True)
    x, y = (model(**given, output_hidden_states=True) for model in (one, other))
    real = np.array(given["attention_mask"]) == 1
    off = (y.logits - x.logits)[real].astype(float)
    assert found["logits"]["worst"] == pytest.approx(np.abs(off).max())
    assert found["logits"]["rms"] == pytest.approx(np.sqrt(np.mean(off**2)))
    states = x.hidden_states[-1][real], y.hidden_states[-1][real]
    assert found["hidden_states_relative_rms"] == pytest.approx(
        np.linalg.norm(states[1] - states[0]) / np.linalg.norm(states[0])
    )
    same = x.logits[real].argmax(-1) == y.logits[real].argmax(-1)
    assert found["answers"]["labels"] == {"n": same.size, "same": same.sum(), "share": same.mean()}
    assert found["text"]["tokens"] == real.sum()


def test_divergence_is_that_of_the_definition():
    draw = np.random.default_rng(0)
    x, y = draw.standard_normal((2, 5, 9)) * 3
    p, q = (np.exp(z) / np.exp(z).sum(axis=-1, keepdims=True) for z in (x, y))
    assert certificate._divergence(x, y) == pytest.approx((p * np.log(p / q)).sum(axis=-1))


def test_states_that_are_not_finite_do_not_pass(tokenizer):
    model = made(AlbertModel)
    broken = made(AlbertModel)
    broken.parameters_to_change()["embeddings.LayerNorm.weight"][0] = np.nan
    assert not certificate.measure(model, broken, tokenizer, TEXTS)["passes"]


def test_no_text_is_refused_and_the_package_has_its_own(tokenizer):
    assert "no text to measure with" in refusal(
        certificate.measure, made(AlbertModel), made(AlbertModel), tokenizer, [" "]
    )
    own = certificate.own_text()
    assert len(own) == 80
    assert all(text.strip() == text != "" for text in own)


def test_what_a_file_says_is_shown_whatever_it_is():
    assert "same labels" in certificate.as_text({"answers": {"labels": {"n": 3, "same": 3, "share": 1.0}}})
    for odd in (
        {},
        {"answers": [1], "text": "x", "logits": {"worst": "far"}},
        {"answers": {"labels": 5}, "text": {"n": []}},
    ):
        assert "against float32" in certificate.as_text(odd)


def test_a_certificate_is_shown_in_one_order_and_in_columns():
    logits, divergence = {"worst": 0.27, "rms": 0.03}, {"mean": 2e-4, "largest": 2e-3}
    labels = {"n": 3, "same": 3, "share": 1.0}
    found = {"answers": {"starts": labels, "ends": labels}, "logits": logits, "kl_divergence": divergence}
    text = certificate.as_text(found)
    assert certificate.as_text(json.loads(json.dumps(found, sort_keys=True))) == text
    assert len({len(line) for line in text.splitlines()[3:-1]}) == 1


# --- what was computed in ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [AlbertForMaskedLM, TFAlbertForMaskedLM, FlaxAlbertForMaskedLM])
def test_outputs_say_what_they_were_computed_in(kind):
    for options in (
        {"backend": "numpy", "dtype": "float64"},
        {"backend": "numba"},
        {"backend": "numba", "dtype": "bfloat16"},
    ):
        model = kind.from_pretrained("demo", from_pt=True, **options) if kind is not AlbertForMaskedLM else None
        model = model or kind.from_pretrained("demo", **options)
        out = model([[2, 9, 3]])
        assert out.precision == model.precision == options.get("dtype", "float32")
        assert "precision" not in dict(out)
        assert len(out) == len(out.to_tuple())


# --- the command ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tokenizer):
    path = tmp_path_factory.mktemp("floats")
    AlbertForSequenceClassification.from_pretrained(SPEECH).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory, tokenizer):
    path = tmp_path_factory.mktemp("tiny")
    made(AlbertForSequenceClassification).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


SPEECH = certificate.OWN_TEXT.parents[1] / "demo" / "speech"


def run(capsys, *argv):
    code = cli.main([str(word) for word in argv])
    out, err = capsys.readouterr()
    return code, out, err


def test_quantize_writes_a_folder_with_its_certificate(capsys, folder, tmp_path):
    (tmp_path / "some.txt").write_text("\n".join(TEXTS * 3))
    given = (
        "quantize",
        folder,
        tmp_path / "out",
        "--text",
        tmp_path / "some.txt",
        "--calibration",
        tmp_path / "some.txt",
    )
    code, out, err = run(capsys, *given, "--json")
    assert code == 0, err
    said = json.loads(out)
    assert said["class"] == "AlbertForSequenceClassification"
    assert set(said["files"]) >= {"model.safetensors", "config.json", "spiece.model", "tokenizer_config.json"}
    assert set(said["passes"].values()) <= {1, 2}
    model = AlbertForSequenceClassification.from_pretrained(tmp_path / "out")
    assert model.precision == "int8"
    assert model.certificate == said["certificate"]
    assert pipeline("text-classification", tmp_path / "out").model.precision == "int8"
    assert said["certificate"]["text"]["name"] == "some.txt"
    assert said["certificate"]["calibration"] == "9 texts"
    code, out, _ = run(capsys, "info", tmp_path / "out")
    assert code == 0
    assert "the layers are int8" in out
    assert "same labels" in out
    code, out, _ = run(capsys, "info", tmp_path / "out", "--json")
    assert json.loads(out)["weights"]["certificate"] == said["certificate"]
    assert run(capsys, *given)[0] == 1  # there are weights
    code, out, _ = run(capsys, *given, "--force")
    assert code == 0
    assert "same labels" in out
    assert "nothing about it is odd" in run(capsys, "verify", tmp_path / "out")[1]
    assert "is int8 already" in run(capsys, "quantize", tmp_path / "out", tmp_path / "again")[2]


def test_quantize_to_bfloat16_writes_a_checkpoint_like_any_other(capsys, folder, tmp_path):
    (tmp_path / "some.txt").write_text("\n".join(TEXTS))
    code, out, err = run(
        capsys, "quantize", folder, tmp_path / "out", "--text", tmp_path / "some.txt", "--dtype", "bfloat16"
    )
    assert code == 0, err
    assert "in bfloat16, without calibration" in out
    assert "bfloat16 against float32" in out
    tensors = safetensors.numpy.load_file(tmp_path / "out" / "model.safetensors")
    name = next(name for name in tensors if name.endswith("ffn.weight"))
    assert np.array_equal(tensors[name], round_to_bfloat16(tensors[name]))
    assert AlbertForSequenceClassification.from_pretrained(tmp_path / "out").precision == "float32"
    assert (
        "passes are for dtype='int8' alone"
        in run(capsys, "quantize", folder, tmp_path / "x", "--dtype", "bfloat16", "--passes", 1)[2]
    )


def test_quantize_writes_nothing_where_answers_are_too_different(capsys, tiny, tmp_path, monkeypatch):
    (tmp_path / "some.txt").write_text("\n".join(TEXTS))
    broken = certificate._Counts.add
    monkeypatch.setattr(certificate._Counts, "add", lambda self, exact, rounded: broken(self, exact, rounded + 1))
    code, out, err = run(capsys, "quantize", tiny, tmp_path / "out", "--text", tmp_path / "some.txt")
    assert code == 1
    assert "0.00%" in out
    assert "nothing was written" in err
    assert "or --dtype bfloat16" in err
    assert not (tmp_path / "out").exists()
    assert run(capsys, "quantize", tiny, tmp_path / "out", "--text", tmp_path / "some.txt", "--at-least", 0)[0] == 0


def test_quantize_refuses_in_one_line_and_leaves_nothing_behind(capsys, tiny, tmp_path):
    (tmp_path / "blank.txt").write_text("\n \n")
    for given, says in (
        (("--text", tmp_path / "blank.txt"), "no text to measure with"),
        (("--calibration", tmp_path / "blank.txt"), "the calibration file has no text"),
        (("--text", tmp_path / "none.txt"), "none.txt"),
        (("--at-least", "2"), "a share of answers"),
        (("--class", "AlbertForRhymes"), "ALBERT has the classes"),
    ):
        code, _, err = run(capsys, "quantize", tiny, tmp_path / "out", *given)
        assert code == 1
        assert says in err
        assert err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blank.txt"]
    assert "a share of answers" in refusal(quantize, tiny, tmp_path / "x", at_least=True)
