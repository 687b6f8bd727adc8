"""`albert-np pretrain --model`: pre-training goes on from a model that is there, with its vocabulary and its sizes."""

import json
import shutil
import warnings

import numpy as np
import pytest
from support import TINY_MODEL
from support.refusals import refusal

from albert_np import (
    AlbertConfig,
    AlbertForMaskedLM,
    AlbertForPreTraining,
    AlbertForSequenceClassification,
    AlbertModel,
    AlbertTokenizer,
)
from albert_np.checkpoints import hub
from albert_np.cli import main
from albert_np.training import log
from albert_np.training.loop import Plan
from albert_np.training.pretrain import pretrain
from albert_np.training.pretraining import PretrainingOptions

SMALL = {
    "hidden_size": 16,
    "embedding_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}
HEADS = {AlbertForPreTraining: 0, AlbertForMaskedLM: 4, AlbertModel: 9, AlbertForSequenceClassification: 9}


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr(log, "draw", lambda *_: False)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    lines = [line for line in (TINY_MODEL / "text.txt").read_text().splitlines() if line.strip()][:120]
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("\n\n".join("\n".join(lines[i : i + 8]) for i in range(0, len(lines), 8)))
    return path


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with a model of such a class, its config changed so."""

    def made(kind=AlbertForPreTraining, **changes):
        folder = tmp_path_factory.mktemp(kind.__name__)
        kind(AlbertConfig.from_pretrained(TINY_MODEL, **SMALL, **changes), seed=5).save_pretrained(folder)
        AlbertTokenizer.from_pretrained(TINY_MODEL).save_pretrained(folder)
        return folder

    return made


@pytest.fixture(scope="module")
def start(saved):
    return saved()


def command(text, folder, *options):
    return main(
        [
            "pretrain",
            str(text),
            "--output",
            str(folder),
            "--steps",
            "2",
            "--batch-size",
            "2",
            "--backend",
            "numpy",
            *options,
        ]
    )


def go_on(text, folder, **options):
    plan = {"plan": Plan(2, log_every=1), "batch_size": 2, "backend": "numpy", "evaluation_batches": 1}
    return pretrain(text, folder, **plan | options)


def weights(folder):
    return dict(AlbertForPreTraining.from_pretrained(folder).named_parameters())


def test_the_command_goes_on_with_a_models_weights_vocabulary_and_sizes(start, text, tmp_path, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        code = command(text, tmp_path / "out", "--model", str(start), "--learning-rate", "1e-12", "--json")
    answer = json.loads(capsys.readouterr().out)
    assert code == 0
    before, after = AlbertConfig.from_pretrained(start), AlbertConfig.from_pretrained(answer["checkpoint"])
    for name in ("vocab_size", "max_position_embeddings", "intermediate_size", *SMALL):
        assert getattr(after, name) == getattr(before, name), name
    tokenizers = [AlbertTokenizer.from_pretrained(folder) for folder in (start, answer["checkpoint"])]
    assert tokenizers[0].get_vocab() == tokenizers[1].get_vocab()
    old, new = weights(start), weights(answer["checkpoint"])
    assert all(np.allclose(x, new[name], rtol=0, atol=1e-9) for name, x in old.items())


def test_the_command_and_python_train_the_same_bits(start, text, tmp_path):
    assert command(text, tmp_path / "a", "--model", str(start)) == 0
    options = PretrainingOptions(max_length=128)
    plan = Plan(2, evaluate_every=500, save_every=500)
    pretrain(text, tmp_path / "b", start=start, plan=plan, options=options, batch_size=2, backend="numpy")
    first, second = (tmp_path / name / "checkpoint-2" / "model.safetensors" for name in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_demo_and_hub_names_are_models_too(start, text, tmp_path, monkeypatch):
    here = hub.local_folder
    monkeypatch.setattr(hub, "local_folder", lambda name: here(name) or start)
    assert command(text, tmp_path / "a", "--model", "owner/name") == 0
    monkeypatch.setattr(hub, "DEMO_FOLDER", start)
    monkeypatch.setitem(hub.EMBEDDED, hub.DEMO, start)
    assert command(text, tmp_path / "b", "--model", "demo") == 0
    first, second = (tmp_path / name / "checkpoint-2" / "model.safetensors" for name in "ab")
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("kind", HEADS)
def test_a_head_that_is_not_there_is_drawn_and_said_once(kind, saved, text, tmp_path):
    folder = saved(kind)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        go_on(text, tmp_path / "out", start=folder, learning_rate=1e-12)
    said = [str(warning.message) for warning in caught if "drawn from seed" in str(warning.message)]
    assert len(said) == (1 if HEADS[kind] else 0)
    own = dict(kind.from_pretrained(folder).named_parameters())
    new = weights(tmp_path / "out" / "checkpoint-2")
    kept = {name: x for name, x in own.items() if not name.startswith("classifier.")}
    assert len(kept) > 20
    for name, x in kept.items():
        full = name if name in new else f"albert.{name}"
        assert np.allclose(x, new[full], rtol=0, atol=1e-9), name


def test_an_encoder_is_never_drawn(start, text, tmp_path):
    from safetensors.numpy import load_file, save_file

    shutil.copytree(start, tmp_path / "start")
    tensors = load_file(start / "model.safetensors")
    name = next(name for name in tensors if "ffn.weight" in name)
    save_file({other: x for other, x in tensors.items() if other != name}, tmp_path / "start" / "model.safetensors")
    assert "ffn.weight" in refusal(go_on, text, tmp_path / "out", start=tmp_path / "start")
    assert not list((tmp_path / "out").glob("checkpoint-*"))


@pytest.mark.parametrize(
    "options",
    [
        ("--vocab-size", "300"),
        ("--vocabulary", str(TINY_MODEL)),
        ("--embedding-size", "8"),
        ("--hidden-size", "16"),
        ("--layers", "2"),
        ("--heads", "2"),
    ],
    ids=lambda options: options[0],
)
def test_sizes_beside_a_model_are_refused_by_name(start, text, tmp_path, capsys, options):
    assert command(text, tmp_path / "out", "--model", str(start), *options) == 1
    err = capsys.readouterr().err
    assert err == (
        f"albert-np: {options[0]} is for a new model, and --model goes on with one that has its own: leave out one of the two\n"
    )
    assert not (tmp_path / "out").exists()


def test_several_sizes_are_named_together(start, text, tmp_path, capsys):
    assert command(text, tmp_path / "out", "--model", str(start), "--heads", "2", "--layers", "1") == 1
    assert "--layers, --heads are for a new model" in capsys.readouterr().err


def test_the_length_of_sequences_fits_the_models_positions(saved, text, tmp_path, capsys):
    short = saved(max_position_embeddings=40)
    assert command(text, tmp_path / "a", "--model", str(short)) == 0
    assert AlbertConfig.from_pretrained(tmp_path / "a" / "checkpoint-2").max_position_embeddings == 40
    assert command(text, tmp_path / "b", "--model", str(short), "--max-length", "32") == 0
    assert AlbertConfig.from_pretrained(tmp_path / "b" / "checkpoint-2").max_position_embeddings == 40
    capsys.readouterr()
    assert command(text, tmp_path / "c", "--model", str(short), "--max-length", "41") == 1
    assert "max_length 41 is more than the 40 positions of" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()
    go_on(text, tmp_path / "d", start=short)  # in Python too


def test_a_vocabulary_that_the_model_has_no_rows_for_is_refused(saved, text, tmp_path):
    small = saved(vocab_size=900)
    says = refusal(go_on, text, tmp_path / "out", start=small)
    assert "has 1,000 pieces" in says
    assert "900 rows" in says
    large = saved(vocab_size=1008)  # rows that no piece has: some models are padded to a round number
    assert "has 1,000 pieces, and the model's word table 1,008 rows" in refusal(
        go_on, text, tmp_path / "out", start=large, vocabulary=TINY_MODEL
    )
    go_on(text, tmp_path / "large", start=large)
    assert AlbertConfig.from_pretrained(tmp_path / "large" / "checkpoint-2").vocab_size == 1008


def test_the_vocabulary_of_another_training_in_the_folder_is_refused(start, text, tmp_path):
    go_on(text, tmp_path / "out", vocab_size=300, config=SMALL, options=PretrainingOptions(max_length=32))
    shutil.rmtree(tmp_path / "out" / "checkpoint-2")
    says = refusal(go_on, text, tmp_path / "out", start=start)
    assert f"{tmp_path / 'out' / 'tokenizer'} is another vocabulary than that of {start}" in says
    assert "choose another folder" in says


def test_it_resumes_with_the_same_bits(start, text, tmp_path):
    options = {"start": start, "plan": Plan(4, save_every=2, keep=3, log_every=1)}
    go_on(text, tmp_path / "whole", **options)
    shutil.copytree(tmp_path / "whole", tmp_path / "parts")
    shutil.rmtree(tmp_path / "parts" / "checkpoint-4")
    go_on(text, tmp_path / "parts", **options, resume=True)
    first, second = (tmp_path / name / "checkpoint-4" / "model.safetensors" for name in ("whole", "parts"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("model", ["./no-such-folder", ""])
def test_a_model_that_is_not_there_is_refused_before_anything_is_written(text, tmp_path, capsys, model):
    assert command(text, tmp_path / "out", "--model", model) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_model_without_a_vocabulary_is_refused(start, text, tmp_path, capsys):
    shutil.copytree(start, tmp_path / "start")
    for name in ("spiece.model", "tokenizer.json"):
        (tmp_path / "start" / name).unlink(missing_ok=True)
    assert command(text, tmp_path / "out", "--model", str(tmp_path / "start")) == 1
    assert "spiece.model" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
