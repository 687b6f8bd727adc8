"""`albert-np pretrain` from text to checkpoints, on a model that trains in seconds."""

import json
import shutil

import numpy as np
import pytest
from support import TINY_MODEL

from albert_np import AlbertForPreTraining, AlbertTokenizer
from albert_np.cli import main
from albert_np.training.checkpoints import read_checkpoint
from albert_np.training.loop import Plan
from albert_np.training.optimizers import AdamW, Schedule
from albert_np.training.pretrain import pretrain
from albert_np.training.pretraining import PretrainingData, PretrainingOptions
from albert_np.training.token_corpus import tokenize_corpus

TINY = {
    "embedding_size": 8,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """Paragraphs of the tests' text as documents of a sentence a line."""
    lines = [line for line in (TINY_MODEL / "text.txt").read_text().splitlines() if line.strip()]
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("\n\n".join("\n".join(lines[i : i + 8]) for i in range(0, len(lines), 8)))
    return path


def run(text, folder, **changes):
    options = {
        "plan": Plan(6, save_every=3, log_every=2, evaluate_every=3, keep=5),
        "config": TINY,
        "vocab_size": 300,
        "options": PretrainingOptions(max_length=32),
        "batch_size": 2,
        "backend": "numpy",
        "evaluation_batches": 2,
    }
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
    with pytest.raises(ValueError, match="optimizer must be one of adamw, lamb, muon; got 'sgd'"):
        run(text, tmp_path / "model", optimizer="sgd")
    assert not (tmp_path / "model").exists()


def test_a_schedule_that_cannot_be_is_refused_before_anything_is_written(text, tmp_path):
    for wrong in ({"learning_rate": -1.0}, {"warmup_steps": -1}, {"warmup_steps": 7}):
        with pytest.raises(ValueError, match=r"learning rate must be|warmup_steps must be|a warm-up of 7 steps"):
            run(text, tmp_path / "model", **wrong)
    assert not (tmp_path / "model").exists()


@pytest.fixture(scope="module")
def books(tmp_path_factory):
    """Two texts of their own, one to train on and one to hold out, with letters that the other has not."""
    folder = tmp_path_factory.mktemp("books")
    lines = [line for line in (TINY_MODEL / "text.txt").read_text().splitlines() if line.strip()]
    for name, chosen in (("training", lines[:200]), ("held", [line.replace("th", "ж") for line in lines[200:300]])):
        chapters = ["\n".join(chosen[i : i + 8]) for i in range(0, len(chosen), 8)]
        (folder / f"{name}.txt").write_text("\n\n".join(chapters))
    return folder


def test_a_held_out_file_is_evaluated_and_nothing_learns_from_it(books, tmp_path):
    (tmp_path / "other.txt").write_text((books / "held.txt").read_text().replace("e", "o"))
    first = run(books / "training.txt", tmp_path / "first", held_out=books / "held.txt")
    second = run(books / "training.txt", tmp_path / "second", held_out=[tmp_path / "other.txt"])
    assert weights(tmp_path / "first") == weights(tmp_path / "second")
    assert first.metrics["loss"] != second.metrics["loss"]
    vocabulary = AlbertTokenizer.from_pretrained(tmp_path / "first" / "tokenizer").get_vocab()
    assert not any("ж" in piece for piece in vocabulary)


def test_with_a_held_out_file_all_documents_are_trained_on(books, tmp_path):
    """Also where it is a copy of the training text, which is the caller's affair."""
    shutil.copy(books / "training.txt", tmp_path / "copy.txt")
    run(books / "training.txt", tmp_path / "run", held_out=tmp_path / "copy.txt")
    tokenizer = AlbertTokenizer.from_pretrained(tmp_path / "run" / "tokenizer")
    whole = PretrainingData(
        tokenize_corpus(books / "training.txt", tokenizer),
        tokenizer,
        batch_size=2,
        options=PretrainingOptions(max_length=32),
    )
    state = read_checkpoint(tmp_path / "run" / "checkpoint-6").state["data"]
    assert state["fingerprint"] == whole.state()["fingerprint"]


def test_a_training_with_a_held_out_file_resumes_with_the_same_bits(books, tmp_path):
    run(books / "training.txt", tmp_path, held_out=books / "held.txt")
    expected = weights(tmp_path)
    shutil.rmtree(tmp_path / "checkpoint-6")
    run(books / "training.txt", tmp_path, held_out=books / "held.txt", resume=True)
    assert weights(tmp_path) == expected


def test_what_cannot_be_held_out_is_refused_before_anything_is_written(books, tmp_path):
    with pytest.raises(ValueError, match=r"training.txt is to be trained on, so it cannot be held out"):
        run(books / "training.txt", tmp_path / "run", held_out=[books / "held.txt", books / "." / "training.txt"])
    with pytest.raises(ValueError, match="no text file was named"):
        run(books / "training.txt", tmp_path / "run", held_out=[])
    with pytest.raises(OSError, match=r"there is no file .*nothing\.txt"):
        run(books / "training.txt", tmp_path / "run", held_out=tmp_path / "nothing.txt")
    assert not (tmp_path / "run").exists()


def test_an_optimizer_and_a_schedule_of_ones_own(text, trained, tmp_path):
    """The default's, spelt out, are the same bits; others are not."""
    run(text, tmp_path / "same", optimizer=AdamW(), schedule=Schedule(5e-4, 0, 6))
    assert weights(tmp_path / "same") == weights(trained)
    run(text, tmp_path / "betas", optimizer=AdamW((0.9, 0.98)))
    assert weights(tmp_path / "betas") != weights(trained)
    run(text, tmp_path / "flat", schedule=lambda step: 1e-3)
    assert weights(tmp_path / "flat") != weights(trained)


def test_a_training_may_start_from_weights_that_are_there(text, trained, tmp_path):
    options = {"start": trained / "checkpoint-6", "schedule": lambda step: 0.0}
    run(text, tmp_path / "again", **options)
    before, after = (AlbertForPreTraining.from_pretrained(x / "checkpoint-6") for x in (trained, tmp_path / "again"))
    for name, x in before.named_parameters():
        assert np.array_equal(x, dict(after.named_parameters())[name]), name
    with pytest.raises(ValueError, match="checkpoint-6 has hidden_size 16, and this training 32"):
        run(text, tmp_path / "wide", **options, config=TINY | {"hidden_size": 32})
    run(text, tmp_path / "deep", **options, config=TINY | {"num_hidden_layers": 5})  # one layer, applied more often
    deep = AlbertForPreTraining.from_pretrained(tmp_path / "deep" / "checkpoint-6")
    assert deep.config.num_hidden_layers == 5
    assert all(np.array_equal(x, dict(deep.named_parameters())[name]) for name, x in before.named_parameters())


def test_fresh_weights_may_be_changed_before_the_first_step(text, trained, tmp_path):
    def initial(model):
        for _, x in model.named_parameters():
            x[...] = 0.25

    run(text, tmp_path / "set", initial=initial, schedule=lambda step: 0.0)
    model = AlbertForPreTraining.from_pretrained(tmp_path / "set" / "checkpoint-6")
    assert {float(x.flat[0]) for _, x in model.named_parameters()} == {0.25}


def test_muon_resumes_with_the_same_bits(text, tmp_path):
    run(text, tmp_path / "whole", optimizer="muon")
    run(text, tmp_path / "parts", optimizer="muon", plan=Plan(6, save_every=3, log_every=2, hours=1e-9))
    run(text, tmp_path / "parts", optimizer="muon", resume=True)
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")
