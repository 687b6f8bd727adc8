"""Fine-tuning: a pre-trained model, a file of examples, one of four tasks, and the metrics of that task.

    text-classification    one text or two: a class, several labels or a number      accuracy, F1, Matthews; Pearson, Spearman
    token-classification   a class for every word                                    accuracy; precision, recall, F1 of entities
    multiple-choice        the right one of some continuations                       accuracy
    question-answering     the part of a context that answers (SQuAD 1.1, 2.0)       exact match, F1

A Task holds what differs between the tasks; finetune() does what they have in common.
"""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from albert_np.checkpoints.initialise import check_seed
from albert_np.config import AlbertConfig
from albert_np.files import listed, shown
from albert_np.model import (
    AlbertForMultipleChoice,
    AlbertForQuestionAnswering,
    AlbertForSequenceClassification,
    AlbertForTokenClassification,
)
from albert_np.ops import Array
from albert_np.tasks.data import TaskData
from albert_np.tasks.multiple_choice import choice_figures, multiple_choice_batch, read_multiple_choice
from albert_np.tasks.question_answering import (
    answer_figures,
    read_squad,
    squad_answers,
    squad_batch,
    squad_windows,
)
from albert_np.tasks.text_classification import (
    BEST,
    REGRESSION,
    classification_batch,
    classification_figures,
    read_classification,
)
from albert_np.tasks.token_classification import (
    are_entities,
    labelled_words,
    read_token_classification,
    token_classification_batch,
    token_figures,
)
from albert_np.tokenization.tokenizer import AlbertTokenizer
from albert_np.training.batches import Batches
from albert_np.training.log import SKIPPED
from albert_np.training.loop import OPTIMIZERS, Plan, Trained, train
from albert_np.training.optimizers import Schedule
from albert_np.training.step import count_labels

Collate = Callable[[Sequence[Any]], dict[str, Array]]
LOOKED_AT = 64  # examples at a time, until a label is found that counts


@dataclass(frozen=True)
class Task:
    """One task on one set of data."""

    model: Any  # the class of the model
    config: dict[str, Any]  # what its config says about the labels
    train: Sequence[Any]
    collate: Collate
    evaluate: Callable[[Any, int], dict[str, float]]  # (model, batch size) -> the figures
    best: str  # the figure by which the best checkpoint is kept
    counts: dict[str, dict[str, int]]  # of what was read, by "train" and "held out"


@dataclass(frozen=True)
class FineTuned:
    """The result of a fine-tuning, and what its data was."""

    trained: Trained
    counts: dict[str, dict[str, int]]


def finetune(
    task: str,
    path: str | os.PathLike,
    folder: str | os.PathLike,
    *,
    model: str | os.PathLike = "demo",
    validation: str | os.PathLike | None = None,
    held_out: float = 0.1,
    reading: Mapping[str, Any] | None = None,
    max_length: int | None = None,
    batch_size: int = 32,
    epochs: int = 3,
    steps: int | None = None,
    optimizer: str = "adamw",
    learning_rate: float = 3e-5,
    warmup_steps: int | None = None,
    seed: int = 0,
    backend: str = "auto",
    resume: bool = False,
    hub_options: Mapping[str, Any] | None = None,
    **plan: Any,
) -> FineTuned:
    """Trains a pre-trained model on a task. The same arguments and files give the same bits.

    task: one of TASKS. path: CSV, TSV, JSONL or CoNLL, or SQuAD's JSON. folder: where checkpoints, log and picture go.
    validation: a file of the same form. Without one, the part held_out of the examples is kept back for evaluation (for
    question answering, this part of the contexts). reading: more arguments of the reader in albert_np.tasks, such as columns,
    label_names and problem_type, or of squad_windows, such as doc_stride.
    max_length: in tokens; by default 128, or 384 for question answering, but at most the model's positions.
    steps: the number of updates, instead of epochs. warmup_steps: by default a tenth of all steps. seed: for the new head, the
    order of the examples and dropout. plan: more fields of Plan. Without them, each epoch ends with an evaluation and a
    checkpoint, and the best checkpoint is kept.
    Raises ValueError (arguments, data) or OSError (files), like the functions that it calls.
    """
    if task not in TASKS:
        raise ValueError(f"task must be one of {', '.join(TASKS)}; got {shown(repr(task), 60)}")
    if optimizer not in OPTIMIZERS:
        raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}; got {shown(repr(optimizer), 60)}")
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        if type(value) is not int or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1; got {shown(repr(value), 60)}")
    check_seed(seed)
    hub_options = dict(hub_options or {})
    tokenizer = AlbertTokenizer.from_pretrained(model, **hub_options)
    config = AlbertConfig.from_pretrained(model, **hub_options)
    given = TASKS[task](
        path,
        validation,
        _Split(held_out, seed),
        tokenizer,
        _max_length(max_length, 384 if task == "question-answering" else 128, config.max_position_embeddings),
        **dict(reading or {}),
    )
    made, info = given.model.from_pretrained(
        model,
        backend=backend,
        missing="init",
        ignore_mismatched_sizes=True,
        seed=seed,
        output_loading_info=True,
        **given.config,
        **hub_options,
    )
    other = [name for name, _, _ in info["mismatched_keys"] if not name.startswith(("classifier.", "qa_outputs."))]
    if other:
        raise ValueError(f"{model}: the shapes of {listed(other)} are not those that its config.json says")
    if len(tokenizer) > made.config.vocab_size:
        raise ValueError(
            f"the tokenizer has {len(tokenizer)} tokens and the model {made.config.vocab_size}: do they belong together?"
        )
    batches = Batches(given.train, given.collate, batch_size=batch_size, seed=seed)
    accumulate = plan.get("accumulate", 1)  # which Plan checks
    if steps is None:
        steps = -(-epochs * batches.batches_per_epoch // max(1, accumulate))
    an_epoch = max(1, batches.batches_per_epoch // max(1, accumulate))
    every = {"evaluate_every": an_epoch, "save_every": an_epoch, "best": given.best, "keep": 1}
    settled = Plan(steps, seed=seed, **every | plan)
    trained = train(
        made,
        batches,
        folder,
        optimizer=OPTIMIZERS[optimizer](),
        plan=settled,
        tokenizer=tokenizer,
        resume=resume,
        schedule=Schedule(learning_rate, steps // 10 if warmup_steps is None else warmup_steps, steps),
        evaluate=lambda model: given.evaluate(model, batch_size),
    )
    skipped = {"train": trained.skipped, "held out": int(trained.metrics.get(SKIPPED) or 0)}
    return FineTuned(
        trained,
        {side: counts | ({SKIPPED: skipped[side]} if skipped[side] else {}) for side, counts in given.counts.items()},
    )


# --- the tasks -----------------------------------------------------------------------------------------------------------


def text_classification(
    path: Any, validation: Any, split: _Split, tokenizer: AlbertTokenizer, max_length: int, **reading: Any
) -> Task:
    data, held = _read(read_classification, path, validation, split, reading)
    problem, names = str(data.problem_type), data.label_names
    collate = partial(classification_batch, tokenizer=tokenizer, max_length=max_length)

    def evaluate(model: Any, batch_size: int) -> dict[str, float]:
        loss, logits, labels = _outputs(model, held.examples, collate, batch_size)
        return loss.figures() | classification_figures(logits, labels, problem)

    config = _names(names, 1 if problem == REGRESSION else None) | {"problem_type": problem}
    return Task(
        AlbertForSequenceClassification, config, data.examples, collate, evaluate, BEST[problem], _counts(data, held)
    )


def token_classification(
    path: Any, validation: Any, split: _Split, tokenizer: AlbertTokenizer, max_length: int, **reading: Any
) -> Task:
    data, held = _read(read_token_classification, path, validation, split, reading)
    names = data.label_names
    collate = partial(token_classification_batch, tokenizer=tokenizer, max_length=max_length)
    _check_counting(data, "train on", collate, max_length)
    _check_counting(held, "evaluate on", collate, max_length)

    def evaluate(model: Any, batch_size: int) -> dict[str, float]:
        loss, words = _MeanLoss(), list[tuple[Array, Array]]()
        for batch, out in _calls(model, held.examples, collate, batch_size):
            loss.add(batch, out.loss)
            words += labelled_words(out.logits, batch["labels"])
        return loss.figures() | token_figures(words, names)

    best = "f1" if are_entities(names) else "accuracy"
    return Task(
        AlbertForTokenClassification, _names(names), data.examples, collate, evaluate, best, _counts(data, held)
    )


def multiple_choice(
    path: Any, validation: Any, split: _Split, tokenizer: AlbertTokenizer, max_length: int, **reading: Any
) -> Task:
    data, held = _read(read_multiple_choice, path, validation, split, reading)
    collate = partial(multiple_choice_batch, tokenizer=tokenizer, max_length=max_length)

    def evaluate(model: Any, batch_size: int) -> dict[str, float]:
        loss, logits, labels = _outputs(model, held.examples, collate, batch_size)
        return loss.figures() | choice_figures(logits, labels)

    return Task(AlbertForMultipleChoice, {}, data.examples, collate, evaluate, "accuracy", _counts(data, held))


def question_answering(
    path: Any,
    validation: Any,
    split: _Split,
    tokenizer: AlbertTokenizer,
    max_length: int,
    *,
    max_answer_length: int = 30,
    **windows: Any,
) -> Task:
    _check_known(windows, squad_windows, beside=("max_answer_length",))
    data = read_squad(path)
    data, held = (
        split(data, [x.context for x in data.examples]) if validation is None else (data, read_squad(validation))
    )
    chosen, counts = squad_windows(data.examples, tokenizer, max_length=max_length, **windows)
    asked, _ = squad_windows(held.examples, tokenizer, max_length=max_length, training=False, **windows)
    collate = partial(squad_batch, tokenizer=tokenizer)

    def evaluate(model: Any, batch_size: int) -> dict[str, float]:
        loss, rows = _MeanLoss(), list[tuple[Array, Array]]()
        for batch, out in _calls(model, asked, collate, batch_size):
            loss.add(batch, out.loss)
            rows += zip(out.start_logits, out.end_logits, strict=True)
        answers = squad_answers(asked, rows, max_answer_length)
        return loss.figures() | answer_figures(held.examples, answers)

    read = _counts(data, held)
    read["train"] |= counts
    return Task(AlbertForQuestionAnswering, {}, chosen, collate, evaluate, "f1", read)


TASKS: dict[str, Callable[..., Task]] = {
    "text-classification": text_classification,
    "token-classification": token_classification,
    "multiple-choice": multiple_choice,
    "question-answering": question_answering,
}


# --- parts ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Split:
    """Keeps back a part of the examples, drawn from the seed. Those of one group stay together."""

    part: float
    seed: int

    def __call__(self, data: TaskData, groups: Sequence[Any] | None = None) -> tuple[TaskData, TaskData]:
        which = list(range(len(data.examples)) if groups is None else groups)
        different = list(dict.fromkeys(which))
        number = isinstance(self.part, (int, float)) and not isinstance(self.part, bool)
        if not number or not 0 < self.part < 1 or len(different) < 2:
            raise ValueError(
                f"held_out {shown(repr(self.part), 40)} of {len(different)} cannot be kept back: a part of at least two, "
                "not all; or name a file for validation"
            )
        n = min(max(1, round(self.part * len(different))), len(different) - 1)
        back = {different[i] for i in np.random.default_rng([self.seed, 1]).permutation(len(different))[:n]}
        sides: tuple[list[Any], list[Any]] = [], []
        for group, example in zip(which, data.examples, strict=True):
            sides[group in back].append(example)
        train, held = (TaskData(x, data.label_names, data.problem_type, {"examples": len(x)}) for x in sides)
        return TaskData(train.examples, data.label_names, data.problem_type, data.counts | train.counts), held


def _read(
    reader: Callable[..., TaskData], path: Any, validation: Any, split: _Split, reading: dict[str, Any]
) -> tuple[TaskData, TaskData]:
    """The data to train on, and the data to evaluate on, which has the same labels."""
    _check_known(reading, reader)
    data = reader(path, **reading)
    if validation is None:
        return split(data)
    same = {"label_names": data.label_names} if data.label_names else {}
    return data, reader(validation, **reading | same)


def _check_known(reading: Mapping[str, Any], reader: Callable[..., Any], beside: tuple[str, ...] = ()) -> None:
    """Refuses an option of another task, or a misspelt one, before anything is read."""
    own = ("path", "examples", "tokenizer", "max_length", "training")
    known = [name for name in (*inspect.signature(reader).parameters, *beside) if name not in own]
    unknown = sorted(set(reading) - set(known))
    if unknown:
        raise ValueError(f"this task reads no {listed(unknown)}; it knows {', '.join(known)}")


def _names(names: list[str], one: int | None = None) -> dict[str, Any]:
    if one is not None:
        return {"num_labels": one}
    return {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}


def _counts(data: TaskData, held: TaskData) -> dict[str, dict[str, int]]:
    return {"train": dict(data.counts), "held out": dict(held.counts)}


def _max_length(asked: int | None, usual: int, positions: int) -> int:
    if asked is None:
        return min(usual, positions)
    if type(asked) is not int or not 4 <= asked <= positions:
        raise ValueError(
            f"max_length must be a whole number from 4 to the model's {positions} positions; got {shown(repr(asked), 60)}"
        )
    return asked


def _calls(
    model: Any, examples: Sequence[Any], collate: Collate, batch_size: int
) -> Iterator[tuple[dict[str, Array], Any]]:
    for first in range(0, len(examples), batch_size):
        batch = collate(examples[first : first + batch_size])
        yield batch, model(**batch, skip_padding=True, return_dict=True)


def _outputs(  # -> the mean loss, (n,K), (n,) or (n,K)
    model: Any, examples: Sequence[Any], collate: Collate, batch_size: int
) -> tuple[_MeanLoss, Array, Array]:
    loss, logits, labels = _MeanLoss(), list[Array](), list[Array]()
    for batch, out in _calls(model, examples, collate, batch_size):
        loss.add(batch, out.loss)
        logits.append(out.logits)
        labels.append(batch["labels"])
    return loss, np.concatenate(logits), np.concatenate(labels)


class _MeanLoss:
    """The mean loss over all labels that count. A batch in which none counts has no loss (0/0): it is left out, and counted."""

    def __init__(self) -> None:
        self.sums, self.labels, self.skipped = list[float](), 0.0, 0

    def add(self, batch: Mapping[str, Array], loss: Any) -> None:
        count = count_labels(batch)
        if count:
            self.sums.append(count * float(loss))
            self.labels += count
        else:
            self.skipped += 1

    def figures(self) -> dict[str, float]:
        if not self.labels:
            raise ValueError("no label of the examples to evaluate on counts")
        skipped = {SKIPPED: self.skipped} if self.skipped else {}
        return {"loss": math.fsum(self.sums) / self.labels} | skipped


def _check_counting(data: TaskData, what: str, collate: Collate, max_length: int) -> None:
    """Refuses examples whose words all have no label, or lose it where they are cut, before the model is loaded."""
    examples = data.examples
    if not any(count_labels(collate(examples[i : i + LOOKED_AT])) for i in range(0, len(examples), LOOKED_AT)):
        raise ValueError(
            f"no label of the {len(examples)} examples to {what} counts: the words are labelled −100, have no piece, or are "
            f"cut off at max_length {max_length}"
        )
