"""Training checkpoints: everything comes back, to the bit; and whatever stops a save, what is found always loads."""

import errno
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import with_helpers
from support.refusals import refusal
from support.stand_in import Logistic, filled, save

import albert_np
from albert_np import AlbertConfig, AlbertForSequenceClassification, AlbertTokenizer
from albert_np.training import checkpoints
from albert_np.training.checkpoints import checkpoints as found_in
from albert_np.training.checkpoints import latest_checkpoint, read_checkpoint, restore, save_checkpoint
from albert_np.training.optimizers import LAMB, AdamW

TINY = {
    "vocab_size": 60,
    "embedding_size": 12,
    "hidden_size": 24,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "max_position_embeddings": 20,
}


def bits(arrays):
    return {name: (x.shape, x.dtype, x.tobytes()) for name, x in arrays.items()}


def steps_in(folder):
    return [one.step for one in found_in(folder)]


def names_in(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def loads(checkpoint):
    """Everything in it, or an error: what a resume does."""
    model = Logistic(seed=99)
    state = AdamW().start(dict(model.named_parameters()))
    restore(checkpoint, model.parameters_to_change(), state)
    assert bits(model.tensors) == bits(Logistic(seed=checkpoint.step).tensors)
    assert bits(state) == bits(filled(model, checkpoint.step))
    assert checkpoint.state["data"] == {"place": checkpoint.step}
    json.loads((checkpoint.path / "config.json").read_text("utf-8"))


# --- what is saved ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_model_and_optimizer_come_back_to_the_bit(tmp_path, dtype, tiny_dir):
    config = AlbertConfig(**TINY, num_labels=3)
    model = AlbertForSequenceClassification(config, seed=1, backend="numpy", dtype=dtype)
    state, facts = filled(model, 2), {"data": {"place": [1, 2]}, "seed": 3, "number": 2**100}
    path = save_checkpoint(tmp_path, 7, model, state, facts, tokenizer=AlbertTokenizer.from_pretrained(tiny_dir))
    assert path == tmp_path / "checkpoint-7"

    found = latest_checkpoint(tmp_path)
    assert (found.path, found.step) == (path, 7)
    assert {name: found.state[name] for name in facts} == facts
    assert found.state["versions"]["albert_np"] == albert_np.__version__
    other = AlbertForSequenceClassification(config, seed=5, backend="numpy", dtype=dtype)
    fresh = LAMB().start(dict(other.named_parameters()))
    restore(found, other.parameters_to_change(), fresh)
    assert bits(dict(other.named_parameters())) == bits(dict(model.named_parameters()))
    assert bits(fresh) == bits(state)

    (tmp_path / "plain").touch()
    assert {file.stat().st_mode for file in path.iterdir()} == {(tmp_path / "plain").stat().st_mode}
    plain = AlbertForSequenceClassification.from_pretrained(path, backend="numpy", dtype=dtype)
    assert bits(plain.state_dict()) == bits(model.state_dict())
    tokens = AlbertTokenizer.from_pretrained(path)("a fox")
    assert dict(tokens) == dict(AlbertTokenizer.from_pretrained(tiny_dir)("a fox"))


def test_the_newest_stay_and_the_protected(tmp_path):
    for step in (5, 10, 15, 20):
        save(tmp_path, step, keep=2, protected={5})
    assert steps_in(tmp_path) == [5, 15, 20]
    assert names_in(tmp_path) == ["checkpoint-15", "checkpoint-20", "checkpoint-5"]
    save(tmp_path, 100, keep=1)
    assert steps_in(tmp_path) == [100]


def test_steps_are_numbers_and_not_words(tmp_path):
    for step in (900, 1000):
        save(tmp_path, step)
    assert latest_checkpoint(tmp_path).step == 1000


def test_there_may_be_none(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    assert latest_checkpoint(tmp_path / "nowhere") is None
    assert read_checkpoint(tmp_path) is None


def test_what_cannot_be_saved_is_refused_and_leaves_nothing(tmp_path):
    model = Logistic()
    for facts in ({"x": float("nan")}, {"x": {1, 2}}, {"x": 10**50}, {"x": "y" * (17 << 20)}):
        assert refusal(save_checkpoint, tmp_path, 1, model, filled(model, 1), facts)
    assert "keep must be 1 or more" in refusal(save, tmp_path, 1, keep=0)
    assert names_in(tmp_path) == []
    save(tmp_path, 1)
    with pytest.raises(OSError, match="checkpoint-1 is there already"):
        save(tmp_path, 1)
    loads(latest_checkpoint(tmp_path))


# --- what is found ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", ["model.safetensors", "optimizer.safetensors", "trainer_state.json"])
@pytest.mark.parametrize("how", ["gone", "cut"])
def test_half_a_checkpoint_is_none(tmp_path, lost, how):
    save(tmp_path, 1)
    path = save(tmp_path, 2) / lost
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-10])
    assert steps_in(tmp_path) == [1]
    save(tmp_path, 2)  # a training that comes to this step again: the half is put aside, nobody's data is deleted
    assert steps_in(tmp_path) == [1, 2]
    assert [name.partition("-")[2][:12] for name in names_in(tmp_path)] == ["1", "2", "2.incomplete"]


def test_a_copy_under_any_name_can_be_read(tmp_path):
    shutil.copytree(save(tmp_path, 3), tmp_path / "mine")
    assert steps_in(tmp_path) == [3]
    loads(read_checkpoint(tmp_path / "mine"))


def test_a_later_format_is_refused_in_words(tmp_path):
    path = save(tmp_path, 3) / "trainer_state.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    assert "a checkpoint of format 2; this version reads 1" in refusal(latest_checkpoint, tmp_path)


def test_another_models_checkpoint_is_refused_before_anything_is_copied(tmp_path):
    save(tmp_path, 1)
    found = latest_checkpoint(tmp_path)
    for model, message in (
        (Logistic(features=6), r"classifier.weight is float64 (3, 5), and this training's is float64 (3, 6)"),
        (Logistic(dtype="float32"), "classifier.bias is float64 (3,), and this training's is float32 (3,)"),
    ):
        before = bits(model.tensors)
        state = AdamW().start(model.tensors)
        assert message.split(" is ")[1] in refusal(restore, found, model.tensors, state)
        assert bits(model.tensors) == before
    model = Logistic()
    state = AdamW().start(model.tensors)
    del state["exp_avg.classifier.bias"]
    before = bits(model.tensors)
    assert "another model or optimizer: exp_avg.classifier.bias" in refusal(restore, found, model.tensors, state)
    assert bits(model.tensors) == before


# --- what stops a save ------------------------------------------------------------------------------------------------


class Stop(BaseException):
    pass


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), Stop()], ids=["disk", "stop"])
def test_a_save_that_fails_anywhere_leaves_the_old_checkpoint_and_nothing_else(tmp_path, monkeypatch, error):
    """Every call that touches the disk fails in its turn, until a save comes through."""
    save(tmp_path, 1)
    calls, limit = 0, 0

    def counted(function):
        def call(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls == limit:
                raise error
            return function(*args, **kwargs)

        return call

    for owner, name in (
        (os, "fsync"),
        (os, "open"),
        (os, "replace"),
        (Path, "mkdir"),
        (Path, "rename"),
        (Path, "write_bytes"),
    ):
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))

    def failure():
        try:
            save(tmp_path, 2, keep=5)
        except (OSError, Stop) as raised:
            return raised.__cause__ or raised

    raised = error
    while raised is error:
        calls, limit = 0, limit + 1
        raised = failure()
        done = steps_in(tmp_path)
        assert done in ([1], [1, 2])
        assert names_in(tmp_path) == [f"checkpoint-{step}" for step in done]
        loads(latest_checkpoint(tmp_path))
        if raised and done == [1, 2]:  # it failed behind the rename
            shutil.rmtree(tmp_path / "checkpoint-2")
    assert raised is None
    assert 15 < limit < 60
    assert steps_in(tmp_path) == [1, 2]


CHILD = """
import sys
from support.stand_in import save
step = int(sys.argv[2])
while True:
    step += 1
    save(sys.argv[1], step, keep=2)
    print(step, flush=True)
"""


def test_a_killed_save_never_leaves_a_checkpoint_that_does_not_load(tmp_path):
    """SIGKILL at random moments of a process that does nothing but save, again and again in the same folder."""
    rng, last, left_behind = random.Random(4), 0, 0
    environment = with_helpers()
    for _ in range(10):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path), str(last)], stdout=subprocess.PIPE, env=environment
        )
        assert int(child.stdout.readline()) == last + 1
        begun = time.monotonic()
        assert int(child.stdout.readline()) == last + 2
        time.sleep(rng.uniform(0, 2) * (time.monotonic() - begun))
        child.kill()
        child.communicate()
        left_behind += any(name.startswith(".") for name in names_in(tmp_path))
        found = found_in(tmp_path)
        assert [one.path.name for one in found] == names_in_order(tmp_path), "a name is a whole one"
        for checkpoint in found:
            loads(checkpoint)
        assert found[-1].step >= last + 2
        last = found[-1].step
    assert left_behind > 0, "no kill hit a save"
    save(tmp_path, last + 1, keep=2)
    assert names_in(tmp_path) == sorted(f"checkpoint-{step}" for step in (last, last + 1))


def names_in_order(folder):
    names = [name for name in names_in(folder) if not name.startswith(".")]
    return sorted(names, key=lambda name: int(name.removeprefix("checkpoint-")))


def test_a_full_disk_is_an_oserror(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("albert_np.training.checkpoints.safetensors_format.write", full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(tmp_path, 1, AlbertConfig(), {}, {})
    assert names_in(tmp_path) == []


def test_a_checkpoint_that_cannot_be_deleted_stops_nothing(tmp_path, monkeypatch):
    save(tmp_path, 1)
    monkeypatch.setattr(checkpoints.shutil, "rmtree", lambda *_, **__: None)
    save(tmp_path, 2, keep=1)
    assert steps_in(tmp_path) == [2]
    monkeypatch.undo()
    save(tmp_path, 3, keep=1)
    assert names_in(tmp_path) == ["checkpoint-3"]
