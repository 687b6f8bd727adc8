"""`albert-np pretrain` from text to checkpoints, on a model that trains in seconds."""

import json
import shutil

import numpy as np
import pytest
from conftest import ROOT

from albert_np import AlbertForPreTraining, AlbertTokenizer
from albert_np.cli import main
from albert_np.training.loop import Plan
from albert_np.training.pretrain import pretrain
from albert_np.training.pretraining import PretrainingOptions

TINY = {
    "embedding_size": 8,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """Paragraphs of the demo text as documents of a sentence a line."""
    lines = [line for line in (ROOT / "tools" / "demo_text.txt").read_text().splitlines() if line.strip()]
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("\n\n".join("\n".join(lines[i : i + 8]) for i in range(0, len(lines), 8)))
    return path


def run(text, folder, **changes):
    options = {
        "plan": Plan(6, save_every=3, log_every=2, evaluate_every=3, keep=5), "config": TINY, "vocab_size": 300,
        "options": PretrainingOptions(max_length=32), "batch_size": 2, "backend": "numpy", "evaluation_batches": 2,
    }  # fmt: skip
    return pretrain(text, folder, **options | changes)


@pytest.fixture(scope="module")
def trained(text, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    run(text, folder)
    return folder


def weights(folder):
    return (folder / "checkpoint-6" / "model.safetensors").read_bytes()


def test_a_checkpoint_is_a_model_with_its_tokenizer(trained):
    model = AlbertForPreTraining.from_pretrained(trained / "checkpoint-6")
    tokenizer = AlbertTokenizer.from_pretrained(trained / "checkpoint-6")
    assert model.config.vocab_size == len(tokenizer) == 300
    assert model.config.hidden_dropout_prob == 0
    out = model(**tokenizer("the [MASK] of the house", return_tensors="np"))
    assert np.isfinite(out.prediction_logits).all()
    log = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert {"loss", "masked_word_accuracy", "sentence_order_accuracy"} == set(log[-1]["evaluation"])


def test_two_trainings_have_the_same_bits(text, trained, tmp_path):
    run(text, tmp_path)
    assert weights(tmp_path) == weights(trained)


def test_a_resumed_training_has_the_same_bits(text, trained, tmp_path):
    shutil.copytree(trained, tmp_path / "again")
    shutil.rmtree(tmp_path / "again" / "checkpoint-6")
    run(text, tmp_path / "again", resume=True)
    assert weights(tmp_path / "again") == weights(trained)


def test_command_line(text, tmp_path, capsys):
    command = ["pretrain", str(text), "--output", str(tmp_path / "model"), "--vocab-size", "300", "--steps", "2"]
    command += [
        "--batch-size",
        "2",
        "--max-length",
        "32",
        "--embedding-size",
        "8",
        "--hidden-size",
        "16",
        "--layers",
        "2",
    ]
    assert main([*command, "--heads", "2", "--backend", "numpy", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["step"] == 2
    assert AlbertForPreTraining.from_pretrained(answer["checkpoint"]).config.hidden_size == 16


def test_an_unknown_optimizer_is_refused_before_anything_is_written(text, tmp_path):
    with pytest.raises(ValueError, match="optimizer must be one of adamw, lamb; got 'sgd'"):
        run(text, tmp_path / "model", optimizer="sgd")
    assert not (tmp_path / "model").exists()
