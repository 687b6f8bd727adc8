"""Fine-tuning: a pre-trained model, a file of examples, one of four tasks, and the metrics of that task.

    text-classification    one text or two: a class, several labels or a number      accuracy, F1, Matthews; Pearson, Spearman
    token-classification   a class for every word                                    accuracy; precision, recall, F1 of entities
    multiple-choice        the right one of some continuations                       accuracy
    question-answering     the part of a context that answers (SQuAD 1.1, 2.0)       exact match, F1

A Task holds what differs between the tasks; finetune() does what they have in common.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from albert_np.backends import choose
from albert_np.checkpoints.initialise import check_seed
from albert_np.config import AlbertConfig
from albert_np.files import listed, shown
from albert_np.tokenization.tokenizer import AlbertTokenizer
from albert_np.training.batches import Batches
from albert_np.training.finetune_tasks import TASKS, Split, check_part
from albert_np.training.log import SKIPPED
from albert_np.training.loop import OPTIMIZERS, Plan, Trained, train
from albert_np.training.optimizers import Schedule

WEIGHTED = ("text-classification", "token-classification")  # tasks whose loss can have class weights


@dataclass(frozen=True)
class FineTuned:
    """The result of a fine-tuning, and what its data was."""

    trained: Trained
    counts: dict[str, dict[str, int]]
    lengths: dict[str, int]  # in tokens, as they were given or chosen
    class_weights: dict[str, float]  # by the names of the classes; {} if the loss has none


def finetune(
    task: str,
    path: str | os.PathLike,
    folder: str | os.PathLike,
    *,
    model: str | os.PathLike = "demo",
    validation: str | os.PathLike | None = None,
    held_out: float = 0.1,
    reading: Mapping[str, Any] | None = None,
    class_weights: str | Sequence[float] | Mapping[str, float] | None = None,
    max_length: int | None = None,
    batch_size: int = 32,
    epochs: int = 3,
    steps: int | None = None,
    optimizer: str = "adamw",
    learning_rate: float = 3e-5,
    warmup_steps: int | None = None,
    seed: int = 0,
    backend: str = "auto",
    dtype: str = "float32",
    resume: bool = False,
    hub_options: Mapping[str, Any] | None = None,
    **plan: Any,
) -> FineTuned:
    """Trains a pre-trained model on a task. The same arguments and files give the same bits.

    task: one of TASKS. path: CSV, TSV, JSONL or CoNLL, or SQuAD's JSON. folder: where checkpoints, log and picture go.
    validation: a file of the same form. Without one, the part held_out of the examples is kept back for evaluation (for
    question answering, this part of the contexts). reading: more arguments of the reader in albert_np.tasks, such as columns,
    label_names and problem_type, or of squad_windows, such as doc_stride.
    class_weights: for labels of which some are rare, in text and token classification: "balanced", a number for each class, or
    numbers by name (class_weights.py). The loss is then Σ w·l / Σ w, in the evaluation too; for several labels a text, the
    weights are factors of the labels that a text has. The metrics have no weights.
    max_length: in tokens; by default 128, or 384 for question answering, but at most the model's positions. What else is
    counted in tokens and not given fits it (squad_lengths). The result says all of it in `lengths`, and the log begins
    with it.
    steps: the number of updates, instead of epochs. warmup_steps: by default a tenth of all steps. seed: for the new head, the
    order of the examples and dropout. dtype: what the model computes in, on backend numba "float32" or "bfloat16"; weights and
    their updates are float32 for both. plan: more fields of Plan. Without them, each epoch ends with an evaluation and a
    checkpoint, and the best checkpoint is kept.
    Raises ValueError (arguments, data) or OSError (files), like the functions that it calls.
    """
    if task not in TASKS:
        raise ValueError(f"task must be one of {', '.join(TASKS)}; got {shown(repr(task), 60)}")
    if optimizer not in OPTIMIZERS:
        raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}; got {shown(repr(optimizer), 60)}")
    if class_weights is not None and task not in WEIGHTED:
        raise ValueError(f"class_weights are for {' and '.join(WEIGHTED)}; {task} has no classes to weigh")
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        if type(value) is not int or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1; got {shown(repr(value), 60)}")
    check_seed(seed)
    if validation is None:
        check_part(held_out)
    # what these refuse, they refuse before anything is read
    Plan(1 if steps is None else steps, seed=seed, **plan)
    Schedule(learning_rate, warmup_steps or 0, steps)
    choose.resolve_backend(backend, dtype)
    hub_options = dict(hub_options or {})
    config = AlbertConfig.from_pretrained(model, **hub_options)
    usual = 384 if task == "question-answering" else 128
    max_length = _max_length(max_length, usual, config.max_position_embeddings)
    tokenizer = AlbertTokenizer.from_pretrained(model, **hub_options)
    reading = dict(reading or {}) | ({} if class_weights is None else {"class_weights": class_weights})
    given = TASKS[task](path, validation, Split(held_out, seed), tokenizer, max_length, **reading)
    made, info = given.model.from_pretrained(
        model,
        backend=backend,
        dtype=dtype,
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
            f"the tokenizer has {len(tokenizer)} tokens and the model {made.config.vocab_size}: do they belong together? "
            "model.resize_token_embeddings(len(tokenizer)) makes room for tokens that were added"
        )
    batches = Batches(given.train, given.collate, batch_size=batch_size, seed=seed)
    accumulate = plan.get("accumulate", 1)  # which Plan checks
    if steps is None:
        steps = -(-epochs * batches.batches_per_epoch // max(1, accumulate))
    an_epoch = max(1, batches.batches_per_epoch // max(1, accumulate))
    every = {"evaluate_every": an_epoch, "save_every": an_epoch, "best": given.best, "keep": 1}
    settled = Plan(steps, seed=seed, **every | plan)
    lengths = {"max_length": max_length} | given.lengths
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
        about=lengths | ({"class_weights": given.class_weights} if given.class_weights else {}),
    )
    skipped = {"train": trained.skipped, "held out": int(trained.metrics.get(SKIPPED) or 0)}
    return FineTuned(
        trained,
        {side: counts | ({SKIPPED: skipped[side]} if skipped[side] else {}) for side, counts in given.counts.items()},
        lengths,
        given.class_weights,
    )


def _max_length(asked: int | None, usual: int, positions: int) -> int:
    if asked is None:
        return min(usual, positions)
    if type(asked) is not int or not 4 <= asked <= positions:
        raise ValueError(
            f"max_length must be a whole number from 4 to the model's {positions} positions; got {shown(repr(asked), 60)}"
        )
    return asked
