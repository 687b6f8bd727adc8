"""What differs between the tasks of finetune(): how each reads its files, makes its batches and evaluates a model.

Each function of TASKS gives a Task. What they share follows below.
"""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

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
    check_answer_length,
    read_squad,
    squad_answers,
    squad_batch,
    squad_lengths,
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
from albert_np.training.class_weights import class_weights as weights_of_classes
from albert_np.training.log import SKIPPED
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
    lengths: dict[str, int] = field(default_factory=dict)  # in tokens, beside max_length, where the task has more
    class_weights: dict[str, float] = field(
        default_factory=dict
    )  # by the names of the classes, where the loss has them


# --- the tasks -----------------------------------------------------------------------------------------------------------


def text_classification(
    path: Any,
    validation: Any,
    split: Split,
    tokenizer: AlbertTokenizer,
    max_length: int,
    *,
    class_weights: Any = None,
    **reading: Any,
) -> Task:
    if class_weights is not None and reading.get("problem_type") == REGRESSION:
        raise ValueError("class_weights weigh classes, and regression has none: leave them out")
    data, held = _read(read_classification, path, validation, split, reading)
    problem, names = str(data.problem_type), data.label_names
    batch = partial(classification_batch, tokenizer=tokenizer, max_length=max_length)
    weights = _weights(class_weights, names, [example.label for example in data.examples])
    collate = _weighted(batch, weights, names)

    def evaluate(model: Any, batch_size: int) -> dict[str, float]:
        loss, logits, labels = _outputs(model, held.examples, collate, batch_size)
        return loss.figures() | classification_figures(logits, labels, problem)

    config = _names(names, 1 if problem == REGRESSION else None) | {"problem_type": problem}
    return Task(
        AlbertForSequenceClassification,
        config,
        data.examples,
        collate,
        evaluate,
        BEST[problem],
        _counts(data, held),
        class_weights=weights,
    )


def token_classification(
    path: Any,
    validation: Any,
    split: Split,
    tokenizer: AlbertTokenizer,
    max_length: int,
    *,
    class_weights: Any = None,
    **reading: Any,
) -> Task:
    data, held = _read(read_token_classification, path, validation, split, reading)
    names = data.label_names
    batch = partial(token_classification_batch, tokenizer=tokenizer, max_length=max_length)
    weights = _weights(class_weights, names, [label for example in data.examples for label in example.labels])
    collate = _weighted(batch, weights, names)
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
        AlbertForTokenClassification,
        _names(names),
        data.examples,
        collate,
        evaluate,
        best,
        _counts(data, held),
        class_weights=weights,
    )


def multiple_choice(
    path: Any, validation: Any, split: Split, tokenizer: AlbertTokenizer, max_length: int, **reading: Any
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
    split: Split,
    tokenizer: AlbertTokenizer,
    max_length: int,
    *,
    max_answer_length: int = 30,
    on_bad_row: str = "error",
    **windows: Any,
) -> Task:
    _check_known(windows, squad_windows, beside=("max_answer_length", "on_bad_row"))
    check_answer_length(max_answer_length)
    lengths: dict[str, Any] = dict(squad_lengths(max_length, **windows))
    data = read_squad(path, on_bad_row=on_bad_row)
    data, held = (
        _by_context(data, split) if validation is None else (data, read_squad(validation, on_bad_row=on_bad_row))
    )
    chosen, counts = squad_windows(data.examples, tokenizer, **lengths)
    if not chosen:
        raise ValueError(
            f"{path} has no question to train on: none of {counts['unlocated_answers']} answers is in its context, where "
            "answer_start says"
        )
    asked, _ = squad_windows(held.examples, tokenizer, training=False, **lengths)
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
    return Task(AlbertForQuestionAnswering, {}, chosen, collate, evaluate, "f1", read, lengths)


TASKS: dict[str, Callable[..., Task]] = {
    "text-classification": text_classification,
    "token-classification": token_classification,
    "multiple-choice": multiple_choice,
    "question-answering": question_answering,
}


# --- parts ---------------------------------------------------------------------------------------------------------------


def check_part(part: Any) -> None:
    if not isinstance(part, (int, float)) or isinstance(part, bool) or not 0 < part < 1:
        raise ValueError(
            f"held_out must be a part between 0 and 1, unless a file for validation is named; got {shown(repr(part), 40)}"
        )


@dataclass(frozen=True)
class Split:
    """Keeps back a part of the examples, drawn from the seed. Those of one group stay together."""

    part: float
    seed: int

    def __call__(self, data: TaskData, groups: Sequence[Any] | None = None) -> tuple[TaskData, TaskData]:
        which = list(range(len(data.examples)) if groups is None else groups)
        different = list(dict.fromkeys(which))
        if len(different) < 2:
            raise ValueError(
                f"held_out {self.part} of {len(different)} cannot be kept back: a part of at least two, not all; or name a "
                "file for validation"
            )
        n = min(max(1, round(self.part * len(different))), len(different) - 1)
        back = {different[i] for i in np.random.default_rng([self.seed, 1]).permutation(len(different))[:n]}
        sides: tuple[list[Any], list[Any]] = [], []
        for group, example in zip(which, data.examples, strict=True):
            sides[group in back].append(example)
        train, held = (TaskData(x, data.label_names, data.problem_type, {"examples": len(x)}) for x in sides)
        return TaskData(train.examples, data.label_names, data.problem_type, data.counts | train.counts), held


def _by_context(data: TaskData, split: Split) -> tuple[TaskData, TaskData]:
    """No context on both sides; with a single one, questions are held back, and a warning says what that is worth."""
    contexts = [example.context for example in data.examples]
    if len(set(contexts)) > 1 or len(contexts) < 2:
        return split(data, contexts)
    warnings.warn(
        f"all {len(contexts)} questions are about one context, so some of them are held back: the model is evaluated on a "
        "context that it has learnt from, and does better there than on others",
        stacklevel=4,
    )
    return split(data)


def _read(
    reader: Callable[..., TaskData], path: Any, validation: Any, split: Split, reading: dict[str, Any]
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


def _weights(asked: Any, names: list[str], labels: list[Any]) -> dict[str, float]:
    """The weight of each class by its name; {} if none are asked for."""
    if asked is None:
        return {}
    return dict(zip(names, weights_of_classes(asked, names, np.array(labels)).tolist(), strict=True))


def _weighted(collate: Collate, weights: dict[str, float], names: list[str]) -> Collate:
    """The batches of training and of evaluation, so that both have the same loss."""
    if not weights:
        return collate
    array = np.array([weights[name] for name in names])
    return lambda examples: collate(examples) | {"class_weights": array}


def _names(names: list[str], one: int | None = None) -> dict[str, Any]:
    if one is not None:
        return {"num_labels": one}
    return {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}


def _counts(data: TaskData, held: TaskData) -> dict[str, dict[str, int]]:
    return {"train": dict(data.counts), "held out": dict(held.counts)}


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
