"""The training loop: a stop of any kind costs nothing, not a bit; and what it writes says what happened."""

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest
from support import needs, with_helpers
from support.lamb import lamb_oracle
from support.refusals import refusal
from support.stand_in import LONG, PLAN, STEPS, Logistic, Shuffled, examples, run
from tolerances import REORDERED_FLOAT64, TWENTY_LOSSES

from albert_np import AlbertConfig, AlbertForPreTraining
from albert_np.golden.cases import PARTS, TINY, batch, trained_like
from albert_np.golden.tolerances import assert_close
from albert_np.training import log
from albert_np.training.checkpoints import checkpoints, latest_checkpoint
from albert_np.training.loop import LOCK_NAME, Plan, train
from albert_np.training.optimizers import LAMB, AdamW, Schedule, excluded
from albert_np.training.step import count_labels, count_tokens, dropout_seed, loss_and_gradients

TIMES = ("seconds", "tokens_per_second")


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """Pictures take a third of a second each; one test draws them."""
    monkeypatch.setattr(log, "draw", lambda *_: False)


def lines_of(folder):
    """The log without its times."""
    return [
        {name: value for name, value in line.items() if name not in TIMES} for line in log.read(folder / "log.jsonl")
    ]


def assert_same_training(first, second):
    """Weights, the optimizer's state and the log, bit by bit."""
    paths = [latest_checkpoint(folder).path for folder in (first, second)]
    assert paths[0].name == paths[1].name
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert (paths[0] / name).read_bytes() == (paths[1] / name).read_bytes()
    assert lines_of(first) == lines_of(second)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """The folder of a training that nothing stopped."""
    folder = tmp_path_factory.mktemp("unbroken")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log, "draw", lambda *_: False)
        run(folder)
    return folder


# --- going on after a stop --------------------------------------------------------------------------------------------


class Killed(BaseException):
    pass


def stopping(step, how):
    """A learning rate that is asked for at the beginning of every step, and something happens there."""
    schedule = Schedule(0.05, 5, STEPS)

    def rate(now):
        if now == step:
            how()
        return schedule(now)

    return rate


def killed():
    raise Killed


@pytest.mark.parametrize("step", [5, 6, 9, 13, 20, 22])
def test_resume_gives_the_same_bits_as_not_having_stopped(tmp_path, unbroken, step):
    with pytest.raises(Killed):
        run(tmp_path, schedule=stopping(step, killed))
    with pytest.warns(UserWarning, match="other settings: schedule function -> Schedule"):
        _, ended = run(tmp_path, resume=True)
    assert (ended.step, ended.stopped) == (STEPS, "steps")
    assert_same_training(tmp_path, unbroken)


def test_resume_from_a_resume_from_a_path_and_in_another_folder(tmp_path, unbroken):
    run(tmp_path / "a", dataclasses.replace(PLAN, steps=8))
    middle = latest_checkpoint(tmp_path / "a").path
    assert middle.name == "checkpoint-8"
    run(tmp_path / "b", dataclasses.replace(PLAN, steps=16), resume=middle)
    run(tmp_path / "b", resume=str(tmp_path / "b"))
    paths = [latest_checkpoint(folder).path for folder in (tmp_path / "b", unbroken)]
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert (paths[0] / name).read_bytes() == (paths[1] / name).read_bytes()
    assert lines_of(tmp_path / "b")[0]["step"] > 8, "what a folder logs is what happened in it"


def test_a_finished_training_resumes_to_nothing(tmp_path, unbroken):
    model, ended = run(unbroken, resume=True)
    assert model.calls == 0
    assert (ended.stopped, ended.checkpoint) == ("steps", unbroken / f"checkpoint-{STEPS}")
    assert ended.metrics == lines_of(unbroken)[-1]["evaluation"]


@pytest.fixture
def at_a_terminal():
    """Ctrl-C interrupts there. A job in the background ignores it, and tests may be one."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("at_a_terminal")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path, unbroken, capfd, number):
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt, match=r"after step 12, which .*checkpoint-12 holds: resume=True"):
        run(tmp_path, schedule=stopping(11, lambda: os.kill(os.getpid(), number)))
    assert signal.getsignal(number) == before
    assert "stopping after this step, with a checkpoint; once more stops at once" in capfd.readouterr().err
    with pytest.warns(UserWarning, match="schedule"):
        run(tmp_path, resume=True)
    assert_same_training(tmp_path, unbroken)


@pytest.mark.usefixtures("at_a_terminal")
def test_a_second_ctrl_c_stops_at_once(tmp_path, capfd):
    def twice():
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)

    with pytest.raises(KeyboardInterrupt, match="in the middle of a step: the last checkpoint is good"):
        run(tmp_path, schedule=stopping(7, twice))
    assert latest_checkpoint(tmp_path).step == 5


def test_a_signal_that_is_ignored_stays_so(tmp_path):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as nohup, or a shell for a job in the background
    try:
        _, ended = run(tmp_path, schedule=stopping(3, lambda: os.kill(os.getpid(), signal.SIGINT)))
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.step == STEPS


def test_training_in_a_thread_leaves_signals_alone(tmp_path):
    """Python lets no other thread than the main one set a handler."""
    results = []
    thread = threading.Thread(target=lambda: results.append(run(tmp_path)[1].step))
    thread.start()
    thread.join()
    assert results == [STEPS]


CHILD = """
import sys
from pathlib import Path
from albert_np.training import log
log.draw = lambda *_: False
from support.stand_in import LONG, Shuffled, evaluated, run

def evaluate(model):
    print("evaluated", flush=True)
    return evaluated(model)

run(Path(sys.argv[1]), LONG, data=Shuffled(40), evaluate=evaluate, resume=bool(int(sys.argv[2])))
"""


def test_a_training_killed_again_and_again_ends_with_the_same_bits(tmp_path):
    rng, folder = random.Random(2), tmp_path / "killed"
    environment = with_helpers()
    for evaluations in (3, 2, 4, 3, None):  # a few of 25; then to the end
        command = [sys.executable, "-c", CHILD, str(folder), str(int(latest_checkpoint(folder) is not None))]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
        if evaluations is not None:
            for _ in range(evaluations):
                assert child.stdout.readline() == b"evaluated\n"
            time.sleep(rng.uniform(0, 0.02))
            child.kill()
        child.communicate()
        assert child.returncode == (0 if evaluations is None else -signal.SIGKILL)
    run(tmp_path / "unbroken", LONG, data=Shuffled(40))
    assert_same_training(folder, tmp_path / "unbroken")


# --- what cannot go on ------------------------------------------------------------------------------------------------


def test_a_folder_with_a_training_in_it_is_not_overwritten(unbroken):
    assert f"checkpoint-{STEPS} is there already: resume it" in refusal(run, unbroken)


def test_there_must_be_something_to_resume(tmp_path):
    for resume in (True, tmp_path / "nothing"):
        with pytest.raises(OSError, match="holds no complete checkpoint to resume from"):
            run(tmp_path, resume=resume)


def test_a_later_checkpoint_would_win_after_the_next_stop(unbroken):
    earlier = checkpoints(unbroken)[0].path
    assert f"holds a later checkpoint, of step {STEPS}" in refusal(run, unbroken, resume=earlier)


def test_another_optimizers_state_is_refused_and_another_rate_is_said(tmp_path):
    run(tmp_path, dataclasses.replace(PLAN, steps=3))
    assert "is a checkpoint of AdamW; it cannot be resumed with LAMB" in refusal(
        run, tmp_path, resume=True, optimizer=LAMB()
    )
    with pytest.warns(UserWarning, match="other settings: accumulate 2 -> 1; seed 3 -> 4$"):
        run(tmp_path, dataclasses.replace(PLAN, steps=5, seed=4, accumulate=1), resume=True)


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    run(tmp_path, dataclasses.replace(PLAN, steps=3))
    path = tmp_path / "checkpoint-3" / "trainer_state.json"
    path.write_text(path.read_text().replace('"progress"', '"advance"'))
    assert "was not written by this training loop: 'progress'" in refusal(run, tmp_path, resume=True)


# --- what goes wrong --------------------------------------------------------------------------------------------------


class Exploding(Logistic):
    """Gives what is not a number from some call on, and could not be saved."""

    def __init__(self, call, loss=float("nan"), gradient=1.0):
        super().__init__()
        self.bad, self.loss, self.gradient = call, loss, gradient

    def value_and_grad(self, *args, **kwargs):
        loss, gradients = super().value_and_grad(*args, **kwargs)
        if self.calls >= self.bad:
            return self.loss, {name: self.gradient * x for name, x in gradients.items()}
        return loss, gradients


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({}, "the loss is nan and the gradients' norm "),
        ({"loss": float("inf")}, "the loss is inf"),
        ({"loss": 1.0, "gradient": float("nan")}, "the loss is 1 and the gradients' norm nan"),
        ({"loss": 1.0, "gradient": float("inf")}, "the loss is 1 and the gradients' norm inf"),
    ],
)
def test_a_loss_that_is_no_number_stops_and_names_the_step(tmp_path, bad, says):
    plan = dataclasses.replace(PLAN, accumulate=1, dropout=False)
    message = refusal(run, tmp_path, plan, model=Exploding(8, **bad))
    assert says in message
    assert f"at step 8 (learning rate {0.05 * 16 / 18:.3g})" in message
    assert f"the last good checkpoint is {tmp_path / 'checkpoint-5'}" in message
    assert latest_checkpoint(tmp_path).step == 5
    assert "there is no checkpoint yet" in refusal(run, tmp_path / "b", plan, model=Exploding(1, **bad))


def test_weights_that_are_no_numbers_are_not_saved(tmp_path):
    plan = dataclasses.replace(PLAN, accumulate=1, steps=5, evaluate_every=None)
    message = refusal(run, tmp_path, plan, schedule=lambda step: np.inf if step == 4 else 0.1)
    assert "the weights classifier.weight are no longer finite after step 5" in message
    assert checkpoints(tmp_path) == []


def test_data_that_gives_nothing_is_refused_and_data_that_ends_ends_the_training(tmp_path):
    assert "there is nothing to train on" in refusal(run, tmp_path, data=Shuffled(0))
    assert "batches must be a list, or have state() and restore(state); got generator" in refusal(
        run, tmp_path, data=(batch for batch in Shuffled())
    )

    class Once(Shuffled):
        def __iter__(self):
            yield from super().__iter__() if self.epoch == 0 else ()

    _, ended = run(tmp_path, data=Once(20, 4), plan=dataclasses.replace(PLAN, accumulate=2))
    assert (ended.step, ended.stopped) == (3, "data")  # five batches: two, two and one
    assert [line["step"] for line in lines_of(tmp_path)] == [3, 3]
    assert ended.checkpoint == tmp_path / "checkpoint-3"
    plan = dataclasses.replace(PLAN, log_every=1, evaluate_every=1, save_every=1)
    run(tmp_path / "b", data=Once(20, 4), plan=plan)  # the end shows after everything about step 3 has been written
    assert [line["step"] for line in lines_of(tmp_path / "b")] == [1, 1, 2, 2, 3, 3]


def test_labels_that_all_do_not_count_are_refused():
    batch = examples(4) | {"labels": np.full(4, -100)}
    assert "no label of step 1 counts: all are -100" in refusal(
        loss_and_gradients, Logistic(), [batch] * 4, step=0, dropout=False, seed=0
    )


def test_a_metric_to_choose_by_must_be_measured(tmp_path):
    plan = dataclasses.replace(PLAN, best="f1")
    assert "the best checkpoint is chosen by 'f1'; evaluate() gave accuracy" in refusal(run, tmp_path, plan)


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"steps": True},
        {"accumulate": 1.5},
        {"hours": 0},
        {"max_grad_norm": -1},
        {"seed": -1},
        {"keep": 0},
        {"save_every": None},
        {"evaluate_every": 0},
    ],
)
def test_plans_that_cannot_be_are_refused(wrong):
    assert next(iter(wrong)) in refusal(Plan, **({"steps": 1} | wrong))


# --- one step ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(12,), (6, 6), (4, 4, 4), (1, 3, 8), (2, 9, 1)])
def test_accumulated_gradients_are_those_of_the_big_batch(sizes):
    """Also where batches are of different sizes, and labels are missing: the mean of the means is something else."""
    big = examples(12)
    big["labels"][[1, 5]] = -100
    ends = np.cumsum(sizes)
    parts = [{name: x[end - size : end] for name, x in big.items()} for size, end in zip(sizes, ends, strict=True)]
    expected_loss, expected = Logistic().value_and_grad(**big)
    loss, gradients = loss_and_gradients(Logistic(), parts, step=0, dropout=False, seed=0)
    assert loss == pytest.approx(expected_loss, rel=REORDERED_FLOAT64)
    for name, x in gradients.items():
        assert_close(name, x, expected[name], limit=REORDERED_FLOAT64)


def test_a_batch_without_labels_has_no_part():
    full, none = examples(4), examples(4, seed=2)
    none["labels"][:] = -100
    model = Logistic(dtype="float32")
    loss, gradients = loss_and_gradients(model, [none, full], step=0, dropout=False, seed=0)
    expected_loss, expected = Logistic(dtype="float32").value_and_grad(**full)
    assert (model.calls, loss) == (1, float(expected_loss))
    assert all(np.array_equal(x, expected[name]) and x.dtype == np.float32 for name, x in gradients.items())


def test_training_with_accumulation_is_training_with_big_batches(tmp_path):
    plan = dataclasses.replace(PLAN, dropout=False, accumulate=4)
    many, _ = run(tmp_path / "many", plan, data=Shuffled(24, 3))
    few, _ = run(tmp_path / "few", dataclasses.replace(plan, accumulate=1), data=Shuffled(24, 12))
    for name, x in many.tensors.items():
        assert_close(name, x, few.tensors[name], limit=1000 * REORDERED_FLOAT64)  # 23 steps of Adam divide by small √v


def test_every_batch_has_a_dropout_seed_of_its_own():
    seeds = [dropout_seed(seed, step, micro) for seed in range(3) for step in range(20) for micro in range(4)]
    assert len(set(seeds)) == len(seeds)
    assert dropout_seed(1, 2, 3) == 10928566898365450891


def test_what_a_batch_counts():
    ids, mask = np.ones((2, 4), int), np.array([[1, 1, 1, 0], [1, 0, 0, 0]])
    assert count_tokens({"input_ids": ids}) == 8
    assert count_tokens({"input_ids": ids, "attention_mask": mask}) == 4
    assert count_tokens({"x": ids}) == 0
    assert count_labels({"input_ids": ids, "start_positions": np.array([1, 2])}) == 2
    assert count_labels({"input_ids": ids, "labels": np.array([[1, -100, 3, 4], [-100] * 4])}) == 3
    assert count_labels({"input_ids": ids, "labels": np.array([0.5, -100.0])}) == 2


def test_options_reach_the_model():
    class Recorder(Logistic):
        def value_and_grad(self, recompute=False, **inputs):
            self.seen = recompute, inputs.get("training", False), inputs.get("seed")
            return super().value_and_grad(**inputs)

    model = Recorder()
    loss_and_gradients(model, [examples(2)], step=4, dropout=True, seed=7, recompute=True)
    assert model.seen == (True, True, dropout_seed(7, 4, 0))
    loss_and_gradients(model, [examples(2)], step=4, dropout=False, seed=7)
    assert model.seen == (False, False, None)


# --- what is written --------------------------------------------------------------------------------------------------


def test_the_log_has_a_line_every_few_steps_and_one_an_evaluation(unbroken):
    lines = log.read(unbroken / "log.jsonl")
    assert [line["step"] for line in lines if "loss" in line] == [4, 8, 12, 16, 20, 23]
    assert [line["step"] for line in lines if "evaluation" in line] == [6, 12, 18, 23]
    assert set(lines[0]) == {"step", "loss", "learning_rate", "grad_norm", "tokens", *TIMES}
    assert lines[0]["learning_rate"] == 0.05 * 3 / 5
    assert lines[-2]["loss"] < lines[0]["loss"]
    assert [line["seconds"] for line in lines if "loss" in line] == sorted(
        line["seconds"] for line in lines if "loss" in line
    )


def test_a_torn_last_line_is_cut_and_so_is_what_comes_after_the_checkpoint(tmp_path):
    path = tmp_path / "log.jsonl"
    for step in (1, 2, 3, 4):
        log.append(path, {"step": step, "loss": float("nan"), "evaluation": {"f1": float("inf")}})
    with path.open("ab") as file:
        file.write(b'{"step": 5, "lo')
    assert [line["step"] for line in log.read(path)] == [1, 2, 3, 4]
    assert log.read(path)[0] == {"step": 1, "loss": None, "evaluation": {"f1": None}}
    log.cut(path, 2)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2]
    assert log.read(tmp_path / "none") == []


@pytest.mark.parametrize("text", ["hello\n", "[1]\n", '{"loss": 1}\n', '{"step": 1}\n{"step\n{"step": 2}\n'])
def test_a_file_that_is_no_log_is_not_overwritten(tmp_path, text):
    (tmp_path / "log.jsonl").write_text(text)
    assert "log.jsonl, line" in refusal(run, tmp_path)
    assert (tmp_path / "log.jsonl").read_text() == text


def test_the_best_checkpoint_is_saved_when_it_is_found_and_kept(tmp_path):
    values = iter([0.5, 0.9, float("nan"), 0.7, 0.9, 0.1])
    plan = dataclasses.replace(PLAN, steps=12, evaluate_every=2, save_every=3, keep=1, best="f1")
    _, ended = run(tmp_path, plan, evaluate=lambda model: {"f1": next(values)})
    assert ended.best == {"metric": "f1", "value": 0.9, "step": 4}
    assert [one.step for one in checkpoints(tmp_path)] == [4, 12]
    assert ended.metrics == {"f1": 0.1}
    assert [line["evaluation"]["f1"] for line in lines_of(tmp_path) if "evaluation" in line][2] is None

    values = iter([0.5, 0.9, 0.9, 0.9])
    losses = iter([0.3, 0.3, 0.2, 0.25])
    plan = dataclasses.replace(plan, steps=8)
    _, ended = run(tmp_path / "a", plan, evaluate=lambda model: {"f1": next(values), "loss": next(losses)})
    assert ended.best == {"metric": "f1", "value": 0.9, "step": 6}  # as good as step 4, and surer

    values = iter([0.5, 0.9, 0.3, 0.7])
    plan = dataclasses.replace(plan, steps=8, best="loss", smallest_is_best=True)
    _, ended = run(tmp_path / "b", plan, evaluate=lambda model: {"loss": next(values)})
    assert ended.best == {"metric": "loss", "value": 0.3, "step": 6}


def test_hours_end_a_training_that_another_can_continue(tmp_path, unbroken):
    plan = dataclasses.replace(PLAN, hours=1e-9)
    _, ended = run(tmp_path, plan)
    assert (ended.step, ended.stopped) == (1, "hours")
    run(tmp_path, resume=True)
    for name in ("model.safetensors", "optimizer.safetensors"):
        paths = [latest_checkpoint(folder).path / name for folder in (tmp_path, unbroken)]
        assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_bar_shows_on_a_terminal_and_nowhere_else(tmp_path, capsys, monkeypatch):
    run(tmp_path / "a")
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    run(tmp_path / "b")
    shown = capsys.readouterr().err
    assert f"{STEPS}/{STEPS}" in shown
    assert all(word in shown for word in ("loss 0.", "tokens/s", "rate "))


def test_a_folder_is_trained_into_by_one_process_at_a_time(tmp_path):
    from filelock import FileLock

    with FileLock(tmp_path / LOCK_NAME), pytest.raises(OSError, match="another process is training into"):
        run(tmp_path)
    assert latest_checkpoint(tmp_path) is None
    run(tmp_path)
    assert latest_checkpoint(tmp_path).step == STEPS


def test_a_picture_is_drawn_at_the_end(tmp_path, monkeypatch):
    needs.module("test", "matplotlib")
    monkeypatch.undo()
    run(tmp_path, dataclasses.replace(PLAN, steps=4, evaluate_every=2))
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert log.draw(tmp_path / "nothing", tmp_path / "empty.png")


def test_without_matplotlib_there_is_one_warning(tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(tmp_path, dataclasses.replace(PLAN, save_every=2))
    assert ["matplotlib is not installed" in str(one.message) for one in caught] == [True]
    assert not (tmp_path / "loss.png").exists()


# --- ALBERT itself ----------------------------------------------------------------------------------------------------

DROPOUT = ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout_prob")
CONFIG = AlbertConfig(**TINY | dict.fromkeys(DROPOUT, 0.1))


def albert(dtype="float64", config=CONFIG):
    tensors = {name: x.astype(dtype) for name, x in trained_like(config, PARTS["AlbertForPreTraining"], 3).items()}
    return AlbertForPreTraining(config, backend="numpy", dtype=dtype, tensors=tensors)


def pairs(count):
    return [batch(CONFIG, "AlbertForPreTraining", seed, padding=True) for seed in range(count)]


def test_albert_learns_a_few_pairs_by_heart_and_resumes_to_the_bit(tmp_path):
    plan = Plan(steps=12, accumulate=2, log_every=1, evaluate_every=4, save_every=5)

    def evaluate(model):
        return {"loss": float(model(**pairs(1)[0]).loss)}

    def learn(folder, **changes):
        return train(
            albert(),
            pairs(2),
            folder,
            optimizer=LAMB(),
            schedule=Schedule(0.02),
            evaluate=evaluate,
            plan=dataclasses.replace(plan, **changes),
            resume=folder.exists(),
        )

    learn(tmp_path / "whole")
    learn(tmp_path / "parts", steps=7)
    ended = learn(tmp_path / "parts")
    paths = [latest_checkpoint(tmp_path / name).path for name in ("whole", "parts")]
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert (paths[0] / name).read_bytes() == (paths[1] / name).read_bytes()
    losses = [[line["loss"] for line in lines_of(tmp_path / name) if "loss" in line] for name in ("whole", "parts")]
    assert losses[0] == losses[1]
    assert losses[0][-1] < 0.8 * losses[0][0]
    assert log.read(tmp_path / "whole" / "log.jsonl")[0]["tokens"] == sum(
        int(p["attention_mask"].sum()) for p in pairs(2)
    )
    again = AlbertForPreTraining.from_pretrained(ended.checkpoint, backend="numpy", dtype="float64")
    assert evaluate(again) == ended.metrics


@pytest.mark.parity
@pytest.mark.parametrize("kind", ["adamw", "lamb"])
def test_the_first_twenty_losses_are_those_of_torch(torch, transformers, tmp_path, kind):
    """Gradients by autograd, clipped and applied by torch; LAMB by the oracle of google-research/albert's formulas."""
    config = CONFIG.replace(**dict.fromkeys(DROPOUT, 0.0))
    ours, call, schedule = albert(config=config), pairs(1)[0], Schedule(0.003, 4, 24)
    ours.save_pretrained(tmp_path / "start")
    theirs = transformers.AlbertForPreTraining.from_pretrained(
        tmp_path / "start", dtype=torch.float64, attn_implementation="eager"
    ).train()
    named = dict(theirs.named_parameters())
    groups = [
        {"params": [p for name, p in named.items() if excluded(name) == out], "weight_decay": decay}
        for out, decay in ((False, 0.01), (True, 0.0))
    ]
    torch_adamw = torch.optim.AdamW(groups, eps=1e-8)
    moments = {name: (np.zeros(p.shape), np.zeros(p.shape)) for name, p in named.items()}
    inputs, expected = {name: torch.from_numpy(x) for name, x in call.items()}, []
    for step in range(20):
        loss = theirs(**inputs).loss
        expected.append(loss.item())
        theirs.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(named.values(), 1.0)
        if kind == "adamw":
            for group in torch_adamw.param_groups:
                group["lr"] = schedule(step)
            torch_adamw.step()
            continue
        for name, p in named.items():
            x, g, decay = p.detach().numpy(), p.grad.numpy(), 0.0 if excluded(name) else 0.01
            x[...], *moments[name] = lamb_oracle(
                x, *moments[name], g, lr=schedule(step), wd=decay, adapt=not excluded(name)
            )
    plan = Plan(steps=20, log_every=1)
    optimizer = AdamW() if kind == "adamw" else LAMB()
    train(ours, [call], tmp_path / "run", optimizer=optimizer, schedule=schedule, plan=plan)
    losses = [line["loss"] for line in lines_of(tmp_path / "run")]
    assert losses[-1] < losses[0]
    for step, (loss, truth) in enumerate(zip(losses, expected, strict=True)):
        assert loss == pytest.approx(truth, rel=TWENTY_LOSSES), f"step {step}"
