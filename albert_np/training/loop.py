"""The training loop of `pretrain` and `finetune`: batches -> gradients -> clipping -> update, and what surrounds that.

    folder/checkpoint-500/   see checkpoints.py; the newest few, and the best
    folder/log.jsonl         one line every few steps, one an evaluation; see log.py
    folder/loss.png          the same as a picture

A training that was stopped and resumed gives the same bits as one that never stopped: the weights and the optimizer's state
are stored exactly, the data says where it is, and a dropout mask depends only on the seed, the step and the micro-batch.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from albert_np.checkpoints.initialise import check_seed
from albert_np.training import log
from albert_np.training.checkpoints import (
    Checkpoint,
    latest_checkpoint,
    read_checkpoint,
    restore,
    save_checkpoint,
)
from albert_np.training.muon import Muon
from albert_np.training.optimizers import LAMB, AdamW, clip_gradients, global_norm
from albert_np.training.step import Batch, ListOfBatches, count_labels, count_tokens, epochs, loss_and_gradients

OPTIMIZERS = {"adamw": AdamW, "lamb": LAMB, "muon": Muon}
Optimizer = AdamW | LAMB | Muon

LOCK_NAME = ".lock"
DRAW_EVERY = 30.0  # seconds, at least, from one picture of the curve to the next
MAX_SKIPPED = 1000  # batches in a row without a label that counts, where the data does not say how long an epoch is


@dataclass(frozen=True)
class Plan:
    """How long to train, how large steps are, how often to do what. A step is an update; it takes `accumulate` batches."""

    steps: int
    hours: float | None = None  # of this process, not of those before a resume: what a machine is booked for
    accumulate: int = 1
    max_grad_norm: float | None = 1.0  # None: no clipping
    dropout: bool = True
    seed: int = 0  # of dropout
    recompute: bool = False  # less memory, more time: see value_and_grad
    log_every: int = 10
    evaluate_every: int | None = None  # None: at the end
    save_every: int = 500
    keep: int = 2  # newest checkpoints, beside the best
    best: str | None = None  # the metric of evaluate() whose best checkpoint is kept
    smallest_is_best: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "accumulate", "log_every", "evaluate_every", "save_every", "keep"):
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
            if not whole and not (value is None and name == "evaluate_every"):
                raise ValueError(f"{name} must be a whole number, 1 or more; got {value!r}")
        for name in ("hours", "max_grad_norm"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be more than 0, or None; got {value!r}")
        check_seed(self.seed)


@dataclass
class Progress:
    """How far a training is. All of this is in trainer_state.json."""

    step: int = 0
    tokens: int = 0  # real ones, without padding
    skipped: int = 0  # batches in which no label counted
    seconds: float = 0.0  # of all processes together
    losses: list[float] = field(default_factory=list)  # one a step, since the last line of the log
    norms: list[float] = field(default_factory=list)
    tokens_logged: int = 0  # tokens, and seconds, at that line
    seconds_logged: float = 0.0
    evaluated: int = 0  # the step of the last evaluation
    metrics: dict[str, float | None] = field(default_factory=dict)  # what that gave
    best: dict[str, Any] | None = None  # {"metric", "value", "step"}
    best_loss: float | None = None  # of the same evaluation


@dataclass(frozen=True)
class Trained:
    """The result of a training."""

    step: int
    stopped: str  # "steps" or "hours" for the limit that was reached, "data" where that ended before
    checkpoint: Path
    metrics: dict[str, float | None]  # of the last evaluation; None for what was not finite
    best: dict[str, Any] | None  # {"metric", "value", "step"}
    skipped: int = 0  # batches in which no label counted, and that no update saw


def train(
    model: Any,
    batches: Any,
    folder: str | os.PathLike,
    *,
    optimizer: Optimizer,
    schedule: Callable[[int], float],
    plan: Plan,
    evaluate: Callable[[Any], Mapping[str, float]] | None = None,
    tokenizer: Any = None,
    resume: bool | str | os.PathLike = False,
    about: Mapping[str, Any] | None = None,
) -> Trained:
    """Trains a model in place, until a limit of the plan is reached or the data ends. A bar shows the progress on a terminal.

    model: anything with value_and_grad, parameters_to_change, named_parameters and save_pretrained.
    batches: a list, or an object that iterates over batches; a batch is a dict with the arguments of model.value_and_grad.
    One iteration is an epoch; then the next one starts. state() gives the place after the last batch, as JSON;
    restore(state) goes there. If two iterations in a row give nothing, the data has ended. A batch in which no label counts
    (all are −100) has no loss: it is skipped and counted, and if a step has no other batch, it takes the next ones.
    schedule: the learning rate, from the number of updates already made.
    evaluate: metrics of the model, numbers by name. tokenizer: saved beside the model in each checkpoint.
    resume: True continues from the latest checkpoint in the folder, a path from that checkpoint.
    about: what else decides the bits, ready for JSON. The log begins with it, and a resume with other values is warned about.

    Ctrl-C and SIGTERM finish the step, save, and raise a KeyboardInterrupt that says how to continue; a second one stops at
    once. Raises ValueError if a loss, a gradient or a weight is NaN or infinite (with the step and the last good checkpoint),
    if there is no data, if no label of a whole epoch counts, or if a checkpoint does not fit. Raises OSError if the disk
    refuses, or if another process trains into the folder.
    """
    from tqdm import tqdm

    data = ListOfBatches(batches) if isinstance(batches, (list, tuple)) else batches
    if not (hasattr(data, "state") and hasattr(data, "restore")):
        raise ValueError(f"batches must be a list, or have state() and restore(state); got {type(batches).__name__}")
    training = _Training(model, data, Path(folder), optimizer, schedule, plan, tokenizer, dict(about or {}))
    with _alone(Path(folder)):
        training.begin(resume)
        progress = training.progress
        stopped = "steps" if progress.step >= plan.steps else None
        with (
            _stop_requests() as asked,
            tqdm(total=plan.steps, initial=progress.step, unit="step", disable=None, dynamic_ncols=True) as bar,
        ):
            while stopped is None:
                if not training.step():
                    stopped = "data"
                elif progress.step >= plan.steps:
                    stopped = "steps"
                elif plan.hours is not None and training.elapsed() >= plan.hours * 3600:
                    stopped = "hours"
                if stopped or progress.step % plan.log_every == 0:
                    training.log()
                due = stopped or (plan.evaluate_every and progress.step % plan.evaluate_every == 0)
                better = bool(evaluate and due and training.evaluate(evaluate))
                if stopped or better or asked or progress.step % plan.save_every == 0:
                    training.save(at_the_end=bool(stopped or asked))
                bar.set_postfix_str(training.postfix, refresh=False)
                bar.update(progress.step - bar.n)
                if asked and stopped is None:
                    raise KeyboardInterrupt(
                        f"training stopped after step {progress.step}, which {training.saved} holds: "
                        "resume=True (--resume) goes on from there"
                    )
    assert training.saved is not None
    return Trained(progress.step, stopped, training.saved, progress.metrics, progress.best, progress.skipped)


class _Training:
    """One call of train(): what it trains, with what, and how far it is."""

    def __init__(
        self,
        model: Any,
        data: Any,
        folder: Path,
        optimizer: Optimizer,
        schedule: Callable[[int], float],
        plan: Plan,
        tokenizer: Any,
        about: dict[str, Any],
    ) -> None:
        self.about = about
        self.model, self.data, self.folder, self.tokenizer = model, data, folder, tokenizer
        self.optimizer, self.schedule, self.plan = optimizer, schedule, plan
        self.state = optimizer.start(dict(model.named_parameters()))
        self.progress = Progress()
        self.saved: Path | None = None
        self.supply = epochs(data)
        self.log_path = folder / log.LOG_NAME
        self.rate, self.postfix = 0.0, ""
        self.began, self.seconds_before, self.tokens_before = time.monotonic(), 0.0, 0
        self.drawing, self.drawn_at = True, 0.0

    # --- beginning, also in the middle ---------------------------------------------------------------------------------

    def begin(self, resume: bool | str | os.PathLike) -> None:
        """Begins from the start, in a folder without checkpoints; or from a checkpoint, which must be the folder's latest."""
        latest = latest_checkpoint(self.folder)
        if not resume and latest is not None:
            raise ValueError(
                f"{latest.path} is there already: resume it (resume=True, --resume) or choose another folder"
            )
        if not resume:
            log.cut(self.log_path, -1)  # of a training that never reached a checkpoint
            if self.about:
                log.append(self.log_path, {"step": 0, **self.about})
            return
        found = latest if resume is True else read_checkpoint(resume) or latest_checkpoint(resume)
        if found is None:
            raise OSError(f"{self.folder if resume is True else resume} holds no complete checkpoint to resume from")
        if latest is not None and latest.step > found.step:  # after a stop, the latest must be this training's
            raise ValueError(
                f"{self.folder} holds a later checkpoint, of step {latest.step}: remove it, or resume that"
            )
        self._check_settings(found)
        restore(found, self.model.parameters_to_change(), self.state)
        try:
            self.progress = Progress(**found.state["progress"])
            place = found.state["data"]
        except (KeyError, TypeError) as error:
            raise ValueError(f"{found.path} was not written by this training loop: {error}") from error
        self.data.restore(place)
        log.cut(self.log_path, self.progress.step)
        self.saved = found.path
        self.seconds_before, self.tokens_before = self.progress.seconds, self.progress.tokens

    def _settings(self) -> dict[str, Any]:
        """What decides the bits of a training, beside its data and its weights."""
        rules = {"optimizer": self.optimizer, "schedule": self.schedule}
        described = {name: repr(x) if is_dataclass(x) else type(x).__name__ for name, x in rules.items()}
        dtype = getattr(
            self.model, "precision", getattr(self.model, "dtype", None)
        )  # of products, where that is another
        described |= {"backend": str(getattr(self.model, "backend", None)), "dtype": str(dtype)} | self.about
        return described | {
            name: getattr(self.plan, name) for name in ("accumulate", "max_grad_norm", "dropout", "seed")
        }

    def _check_settings(self, found: Checkpoint) -> None:
        """Refuses the state of another kind of optimizer. Other numbers are allowed, with a warning: they may be a mistake."""
        old, new = found.state.get("settings", {}), self._settings()
        kind, wanted = (str(x.get("optimizer")).partition("(")[0] for x in (old, new))
        if kind != wanted:
            raise ValueError(f"{found.path} is a checkpoint of {kind}; it cannot be resumed with {wanted}")
        changes = [f"{name} {old.get(name)} -> {value}" for name, value in new.items() if old.get(name) != value]
        if changes:
            warnings.warn(f"resumed from {found.path} with other settings: {'; '.join(changes)}", stacklevel=4)

    # --- one step ------------------------------------------------------------------------------------------------------

    def step(self) -> bool:
        """One update, or False where the data has ended."""
        progress, plan = self.progress, self.plan
        batches = self._batches_of_a_step()
        if not batches:
            if progress.step == 0:
                why = "no label of it counts" if progress.skipped else "the data gave no batch"
                raise ValueError(f"there is nothing to train on: {why}")
            return False
        self.rate = float(self.schedule(progress.step))
        loss, gradients = loss_and_gradients(
            self.model, batches, step=progress.step, dropout=plan.dropout, seed=plan.seed, recompute=plan.recompute
        )
        limit = plan.max_grad_norm
        norm = global_norm(gradients) if limit is None else clip_gradients(gradients, limit)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise self._diverged(
                f"the loss is {loss:.6g} and the gradients' norm {norm:.6g} at step {progress.step + 1}"
            )
        with np.errstate(over="ignore", invalid="ignore"):  # the next loss, or the next save, finds it and says so
            self.optimizer.update(self.model.parameters_to_change(), gradients, self.state, self.rate)
        progress.step += 1
        progress.tokens += sum(map(count_tokens, filter(count_labels, batches)))
        progress.seconds = self.seconds_before + self.elapsed()
        progress.losses.append(loss)
        progress.norms.append(norm)
        speed = (progress.tokens - self.tokens_before) / max(self.elapsed(), 1e-9)
        self.postfix = f"loss {loss:.4f}, {speed:,.0f} tokens/s, rate {self.rate:.2e}"
        return True

    def _batches_of_a_step(self) -> list[Batch]:
        """The next `accumulate` batches; those after them while no label of any counts; [] where the data has ended."""
        progress, most, in_a_row = self.progress, getattr(self.data, "batches_per_epoch", None), 0
        while True:
            batches = [batch for _, batch in zip(range(self.plan.accumulate), self.supply, strict=False)]
            without = sum(not count_labels(batch) for batch in batches)
            progress.skipped += without
            if not batches or without < len(batches):
                return batches
            in_a_row += without
            if in_a_row >= (MAX_SKIPPED if most is None else 2 * most):  # a whole epoch is among them
                raise ValueError(
                    f"no label counts in {in_a_row:,} batches in a row, at step {progress.step + 1}: all are −100, or outside "
                    "the input, so there is nothing to train on"
                )

    def elapsed(self) -> float:
        return time.monotonic() - self.began

    def _diverged(self, what: str) -> ValueError:
        good = f"the last good checkpoint is {self.saved}" if self.saved else "there is no checkpoint yet"
        return ValueError(
            f"{what} (learning rate {self.rate:.3g}): training stopped, and {good}. A lower learning rate, a longer "
            "warm-up or a smaller max_grad_norm is what usually helps"
        )

    # --- every few steps -----------------------------------------------------------------------------------------------

    def log(self) -> None:
        """One line: means and maxima over the steps since the last one, totals since step 0."""
        progress = self.progress
        if not progress.losses:
            return
        tokens, seconds = progress.tokens - progress.tokens_logged, progress.seconds - progress.seconds_logged
        line = {
            "step": progress.step,
            "loss": math.fsum(progress.losses) / len(progress.losses),
            "learning_rate": self.rate,
            "grad_norm": max(progress.norms),  # before clipping; a mean would hide the one that matters
            "tokens": progress.tokens,
            "seconds": round(progress.seconds, 3),
            "tokens_per_second": round(tokens / seconds, 1) if seconds > 0 else None,  # evaluations and saves included
        }
        if progress.skipped:
            line[log.SKIPPED] = progress.skipped
        log.append(self.log_path, line)
        progress.losses, progress.norms = [], []
        progress.tokens_logged, progress.seconds_logged = progress.tokens, progress.seconds

    def evaluate(self, evaluate: Callable[[Any], Mapping[str, float]]) -> bool:
        """Whether this is the best so far, by the metric of the plan; of two as good, the one with the lower loss."""
        progress, plan = self.progress, self.plan
        if progress.evaluated == progress.step:
            return False
        metrics = {str(name): log.finite(float(value)) for name, value in evaluate(self.model).items()}
        progress.metrics, progress.evaluated = metrics, progress.step
        log.append(self.log_path, {"step": progress.step, "evaluation": metrics})
        if plan.best is None:
            return False
        if plan.best not in metrics:
            raise ValueError(f"the best checkpoint is chosen by {plan.best!r}; evaluate() gave {', '.join(metrics)}")
        value, sign = metrics[plan.best], -1 if plan.smallest_is_best else 1
        loss = metrics.get("loss")
        if value is None:
            return False
        if progress.best is not None:
            ahead = sign * (value - progress.best["value"])
            surer = loss is not None and progress.best_loss is not None and loss < progress.best_loss
            if ahead < 0 or (ahead == 0 and not surer):
                return False
        progress.best_loss = loss
        progress.best = {"metric": plan.best, "value": value, "step": progress.step}
        return True

    def save(self, at_the_end: bool) -> None:
        """A checkpoint, unless this step has one, and the picture, which takes a second and can wait."""
        if self.saved != self.folder / f"checkpoint-{self.progress.step}":
            self.saved = self._save()
        if at_the_end or self.elapsed() - self.drawn_at > DRAW_EVERY:
            self.drawing = self.drawing and log.draw(self.log_path, self.folder / log.PICTURE_NAME)
            self.drawn_at = self.elapsed()

    def _save(self) -> Path:
        progress = self.progress
        for name, x in self.model.named_parameters():
            if not np.isfinite(x).all():
                raise self._diverged(f"the weights {name} are no longer finite after step {progress.step}")
        state = {
            "progress": asdict(progress),
            "data": self.data.state(),
            "seed": self.plan.seed,
            "settings": self._settings(),
        }
        return save_checkpoint(
            self.folder,
            progress.step,
            self.model,
            self.state,
            state,
            tokenizer=self.tokenizer,
            keep=self.plan.keep,
            protected=() if progress.best is None else (progress.best["step"],),
        )


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Locks the folder for this process until it ends. Even after a sudden end, the system removes the lock."""
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK_NAME, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise OSError(f"another process is training into {folder}: wait for it, or choose another folder") from error
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _stop_requests() -> Iterator[list[int]]:
    """The signals that asked to stop. They wait for the end of a step, since in its middle half of the weights are new."""
    asked: list[int] = []

    def ask(number: int, frame: Any) -> None:
        if asked:
            raise KeyboardInterrupt("training stopped in the middle of a step: the last checkpoint is good")
        asked.append(number)
        with contextlib.suppress(OSError):  # no print: it may have been interrupted in the middle of its own work
            os.write(2, b"\nstopping after this step, with a checkpoint; once more stops at once\n")

    replaced = {}
    if threading.current_thread() is threading.main_thread():  # Python handles signals there, and nowhere else
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, or a job in the background
                replaced[number] = signal.signal(number, ask)
    try:
        yield asked
    finally:
        for number, handler in replaced.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
