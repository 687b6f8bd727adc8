"""`albert-np finetune`: a pre-trained ALBERT learns a task from labelled examples."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from albert_np.cli.shared import HelpFormatter, parse_columns
from albert_np.cli.training import add_numbers, best_checkpoint, show, training_options

TASKS = ("text-classification", "token-classification", "multiple-choice", "question-answering")
# those of --columns that say where texts are, and not labels
READ = ("text", "pair", "tokens", "word_column", "context", "question", "choices", "delimiter")
PROBLEMS = {"single": "single_label_classification", "multi": "multi_label_classification", "regression": "regression"}

EXAMPLES = """examples:
  albert-np finetune reviews.csv --task text-classification --model albert/albert-base-v2 --output reviews
  albert-np finetune rare.csv --task text-classification --class-weights balanced --output rare
  albert-np finetune pairs.tsv --task text-classification --columns text=sentence1 pair=sentence2 label=gold --output pairs
  albert-np finetune scores.csv --task text-classification --problem regression --columns label=score --output scores
  albert-np finetune train.conll --validation dev.conll --task token-classification --output names
  albert-np finetune swag.csv --task multiple-choice --columns context=sent1 choices=end1,end2,end3,end4 --output swag
  albert-np finetune train-v2.0.json --validation dev-v2.0.json --task question-answering --output squad
  albert-np finetune q.json --task question-answering --output answers --max-length 96 --doc-stride 24

columns that are read, unless --columns names others:
  text-classification    text and label; also pair, but only if --columns names it
  token-classification   tokens, labels (JSONL); CoNLL has one word per line, with its label last
  multiple-choice        context, choices, label; with choices=a,b,c,d each choice has its own column
--columns also takes word_column=1 label_column=3 comments=skip (CoNLL), separator=; (labels) and delimiter=; (CSV)
"""


def add(commands: Any) -> None:
    tune = commands.add_parser(
        "finetune",
        parents=[training_options()],
        help="train a pre-trained ALBERT on your own task",
        description="Trains a pre-trained ALBERT on labelled examples, and evaluates it after each epoch. The best "
        "checkpoint is kept beside the last; each is a Hugging Face folder.",
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
    )
    tune.add_argument("train", help="CSV, TSV, JSONL or CoNLL; SQuAD's JSON for question answering")
    tune.add_argument("--task", required=True, choices=TASKS, help="the task to learn")
    tune.add_argument(
        "--model", default="demo", metavar="NAME", help="folder, hub id or demo to begin with (default: %(default)s)"
    )
    data = tune.add_argument_group("the examples")
    data.add_argument("--validation", metavar="FILE", help="examples to evaluate on, of the same form")
    data.add_argument(
        "--held-out",
        type=float,
        default=0.1,
        metavar="X",
        help="without --validation: the part of the examples to evaluate on (default: %(default)s)",
    )
    data.add_argument(
        "--columns", nargs="+", default=[], metavar="NAME=COLUMN", help="which columns to read; see below"
    )
    data.add_argument(
        "--label-names", nargs="+", metavar="NAME", help="the names of the labels, in the order of their class numbers"
    )
    data.add_argument(
        "--problem",
        choices=PROBLEMS,
        help="for text classification: one label, several labels, or a number (default: single)",
    )
    data.add_argument(
        "--doc-stride",
        type=int,
        metavar="N",
        help="for question answering: how many tokens two windows of a long context share (default: 128, or what fits "
        "--max-length)",
    )
    data.add_argument(
        "--max-query-length",
        type=int,
        metavar="N",
        help="for question answering: tokens of a question, which is cut after them (default: 64, or what fits --max-length)",
    )
    data.add_argument(
        "--on-bad-row",
        choices=("error", "skip"),
        help="what happens to a row that cannot be read, or whose label is unknown: skip leaves it out and counts it "
        "(default: error, which ends the command)",
    )
    tune.add_argument(
        "--class-weights",
        nargs="+",
        metavar="W",
        help="for classes of which some are rare: balanced, or a number for each class in their order, or NAME=NUMBER "
        "(others 1)",
    )
    tune.add_argument(
        "--epochs", type=int, default=3, metavar="N", help="passes over the examples (default: %(default)s)"
    )
    tune.add_argument("--steps", type=int, metavar="N", help="the number of updates, instead of epochs")
    tune.add_argument(
        "--max-length",
        type=int,
        metavar="N",
        help="tokens in a sequence (default: 128, question answering 384, or the model's positions if they are fewer)",
    )
    add_numbers(tune, {"--batch-size": (32, "examples in a batch")})
    tune.add_argument(
        "--learning-rate",
        type=float,
        default=3e-5,
        metavar="X",
        help="the highest learning rate (default: %(default)s)",
    )
    tune.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    from albert_np.training.finetune import finetune

    reading = parse_columns(args.columns)
    for name, value in (
        ("label_names", args.label_names),
        ("problem_type", PROBLEMS.get(args.problem)),
        ("doc_stride", args.doc_stride),
        ("max_query_length", args.max_query_length),
        ("on_bad_row", args.on_bad_row),
    ):
        if value is not None:
            reading[name] = value
    done = finetune(
        args.task,
        args.train,
        args.output,
        model=args.model,
        validation=args.validation,
        held_out=args.held_out,
        reading=reading,
        class_weights=None if args.class_weights is None else _class_weights(args.class_weights),
        max_length=args.max_length,
        batch_size=args.batch_size,
        epochs=args.epochs,
        steps=args.steps,
        optimizer=args.optimizer,
        learning_rate=args.learning_rate,
        warmup_steps=args.warmup_steps,
        seed=args.seed,
        backend=args.backend,
        dtype=args.dtype,
        resume=args.resume,
        hours=args.hours,
        accumulate=args.accumulate,
        recompute=args.recompute,
        log_every=args.log_every,
    )
    show(args, done.trained, done.counts, done.lengths, done.class_weights)
    if not args.json:
        print(shlex.join(_predict(args, str(best_checkpoint(done.trained)))))


def _predict(args: argparse.Namespace, checkpoint: str) -> list[str]:
    """The command that asks the new model about the file that it was evaluated on, or else trained on."""
    file, columns = args.validation or args.train, parse_columns(args.columns)
    words = ["albert-np", "predict", checkpoint, file]
    if args.task == "token-classification":
        columns.setdefault("tokens", "tokens")
        if Path(file).suffix.lower() not in (".conll", ".jsonl", ".ndjson", ".json"):
            words += ["--format", "conll"]
    if args.problem == "multi":
        words += ["--top-k", "all"]
    read = {name: columns[name] for name in READ if name in columns}
    given = [f"{name}={','.join(column) if isinstance(column, list) else column}" for name, column in read.items()]
    return [*words, "--columns", *given] if given else words


def _class_weights(given: list[str]) -> str | list[float] | dict[str, float]:
    """Parses balanced, or NUMBER …, or NAME=NUMBER …"""
    if given == ["balanced"]:
        return given[0]
    named: dict[str, float] = {}
    numbers: list[float] = []
    for text in given:
        name, equals, value = text.rpartition("=")
        try:
            number = float(value)
        except ValueError as error:
            raise ValueError(
                f"--class-weights takes balanced, or a number for each class, or NAME=NUMBER; got {text!r:.80}"
            ) from error
        if equals and name in named:
            raise ValueError(f"--class-weights names {name!r:.80} twice")
        if equals:
            named[name] = number
        else:
            numbers.append(number)
    if named and numbers:
        raise ValueError("--class-weights takes numbers alone or NAME=NUMBER alone, not both")
    return named or numbers
