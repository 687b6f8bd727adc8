"""The commands that train: `albert-np pretrain` and `albert-np finetune`. NumPy is imported when one of them runs."""

from __future__ import annotations

import argparse
import json
from typing import Any

TASKS = ("text-classification", "token-classification", "multiple-choice", "question-answering")
PROBLEMS = {"single": "single_label_classification", "multi": "multi_label_classification", "regression": "regression"}

PRETRAIN_EXAMPLES = """examples:
  albert-np pretrain book.txt --lines paragraphs --output my-albert --steps 20000
  albert-np pretrain book.txt --lines paragraphs --output my-albert --steps 20000 --resume
"""
FINETUNE_EXAMPLES = """examples:
  albert-np finetune reviews.csv --task text-classification --model albert/albert-base-v2 --output reviews
  albert-np finetune pairs.tsv --task text-classification --columns text=sentence1 pair=sentence2 label=gold --output pairs
  albert-np finetune scores.csv --task text-classification --problem regression --columns label=score --output scores
  albert-np finetune train.conll --validation dev.conll --task token-classification --output names
  albert-np finetune train-v2.0.json --validation dev-v2.0.json --task question-answering --output squad

columns that are looked for, unless --columns names others:
  text-classification    text, label, and pair where it is named
  token-classification   tokens, labels (JSONL); CoNLL has a word a line and its label last
  multiple-choice        context, choices, label; choices=a,b,c,d for a column each
"""


def add_commands(commands: Any) -> None:
    """Adds both to the subparsers of `albert-np`."""
    shared = argparse.ArgumentParser(add_help=False)
    out = shared.add_argument_group("what comes out, and when")
    out.add_argument("--output", required=True, metavar="DIR", help="where checkpoints, log.jsonl and loss.png go")
    out.add_argument("--resume", action="store_true", help="go on from the latest checkpoint in --output")
    out.add_argument("--hours", type=float, metavar="H", help="stop after so many, with a checkpoint")
    _add_numbers(out, {"--log-every": (10, "steps between two lines of log.jsonl")})
    out.add_argument("--json", action="store_true", help="print JSON instead of text")
    how = shared.add_argument_group("how it trains")
    how.add_argument("--optimizer", default="adamw", choices=("adamw", "lamb", "muon"), help="(default: %(default)s)")
    how.add_argument("--warmup-steps", type=int, metavar="N", help="a tenth of the steps, unless given")
    numbers = {
        "--accumulate": (1, "batches a step"),
        "--seed": (0, "of new weights, the order of the data, masks and dropout"),
    }
    _add_numbers(how, numbers)
    how.add_argument("--recompute", action="store_true", help="less memory, more time")
    how.add_argument("--backend", default="auto", metavar="NAME", help="numba, numpy or auto (default: %(default)s)")
    how.add_argument("--threads", type=int, metavar="N", help="threads of the numba backend")
    _add_pretrain(commands, shared)
    _add_finetune(commands, shared)


def _add_numbers(group: Any, numbers: dict[str, tuple[int, str]]) -> None:
    for option, (default, what) in numbers.items():
        group.add_argument(option, type=int, default=default, metavar="N", help=f"{what} (default: %(default)s)")


def _add_pretrain(commands: Any, shared: argparse.ArgumentParser) -> None:
    train = commands.add_parser(
        "pretrain",
        parents=[shared],
        help="train an ALBERT of your own on text files",
        description="Makes a vocabulary from text files and trains an ALBERT on them: masked words and sentence order. "
        "Every checkpoint is a Hugging Face folder.",
        epilog=PRETRAIN_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    text = train.add_argument_group("the text")
    text.add_argument("text", nargs="+", help="text files; blank lines part documents")
    text.add_argument(
        "--lines",
        default="sentences",
        choices=("sentences", "paragraphs", "wrapped"),
        help="what a line is (default: %(default)s)",
    )
    text.add_argument("--vocabulary", metavar="DIR", help="a folder with spiece.model, instead of making one")
    text.add_argument(
        "--held-out",
        default="0.05",
        metavar="X",
        help="part of the documents to evaluate on, or a text file (default: %(default)s)",
    )
    text.add_argument(
        "--word-rule",
        default="space",
        choices=("space", "google", "piece"),
        help="what is masked as one word: up to the next space, or, as google-research/albert, marks on their own, or every "
        "piece (default: %(default)s)",
    )
    text.add_argument(
        "--group-by-length", action="store_true", help="batches of examples of like length, with little padding"
    )
    numbers = {
        "--vocab-size": (8000, "pieces of the vocabulary"),
        "--max-length": (128, "tokens a sequence, and positions"),
        "--embedding-size": (128, "E"),
        "--hidden-size": (256, "H; the inner size is four times that"),
        "--layers": (6, "how often the shared layer is applied"),
        "--heads": (4, "attention heads"),
        "--steps": (1000, "updates"),
        "--batch-size": (16, "sequences a batch"),
        "--evaluate-every": (500, "steps between two evaluations"),
        "--save-every": (500, "steps between two checkpoints"),
    }
    _add_numbers(train.add_argument_group("sizes"), numbers)
    train.add_argument(
        "--learning-rate", type=float, default=5e-4, metavar="X", help="the highest (default: %(default)s)"
    )
    train.set_defaults(run=_pretrain)


def _add_finetune(commands: Any, shared: argparse.ArgumentParser) -> None:
    tune = commands.add_parser(
        "finetune",
        parents=[shared],
        help="train a pre-trained ALBERT on a task of yours",
        description="Trains a pre-trained ALBERT on labelled examples, and evaluates it after each epoch. The best "
        "checkpoint is kept beside the last; each is a Hugging Face folder.",
        epilog=FINETUNE_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    tune.add_argument("train", help="CSV, TSV, JSONL or CoNLL; SQuAD's JSON for question answering")
    tune.add_argument("--task", required=True, choices=TASKS, help="what is to be learnt")
    tune.add_argument(
        "--model", default="demo", metavar="NAME", help="folder, hub id or demo to begin with (default: %(default)s)"
    )
    data = tune.add_argument_group("the examples")
    data.add_argument("--validation", metavar="FILE", help="examples to evaluate on, of the same form")
    data.add_argument(
        "--held-out", type=float, default=0.1, metavar="X", help="without: this part of them (default: %(default)s)"
    )
    data.add_argument("--columns", nargs="+", default=[], metavar="NAME=COLUMN", help="where things stand; see below")
    data.add_argument("--label-names", nargs="+", metavar="NAME", help="the labels, by class number")
    data.add_argument(
        "--problem", choices=PROBLEMS, help="of text classification: one label, several, or a number (default: single)"
    )
    data.add_argument("--doc-stride", type=int, metavar="N", help="tokens that two windows of a long context share")
    tune.add_argument("--epochs", type=int, default=3, metavar="N", help="(default: %(default)s)")
    tune.add_argument("--steps", type=int, metavar="N", help="updates, instead of epochs")
    tune.add_argument("--max-length", type=int, metavar="N", help="in tokens (default: 128; question answering 384)")
    _add_numbers(tune, {"--batch-size": (32, "examples a batch")})
    tune.add_argument(
        "--learning-rate", type=float, default=3e-5, metavar="X", help="the highest (default: %(default)s)"
    )
    tune.set_defaults(run=_finetune)


def _pretrain(args: argparse.Namespace) -> None:
    from albert_np.training.documents import TextForm
    from albert_np.training.loop import Plan
    from albert_np.training.pretrain import pretrain
    from albert_np.training.pretraining import PretrainingOptions

    try:
        held_out: Any = float(args.held_out)
    except ValueError:
        held_out = args.held_out
    trained = pretrain(
        args.text,
        args.output,
        vocabulary=args.vocabulary,
        vocab_size=args.vocab_size,
        form=TextForm(lines=args.lines),
        plan=Plan(
            args.steps,
            hours=args.hours,
            accumulate=args.accumulate,
            seed=args.seed,
            log_every=args.log_every,
            evaluate_every=args.evaluate_every,
            save_every=args.save_every,
            recompute=args.recompute,
        ),
        config={
            "embedding_size": args.embedding_size,
            "hidden_size": args.hidden_size,
            "num_hidden_layers": args.layers,
            "num_attention_heads": args.heads,
            "intermediate_size": 4 * args.hidden_size,
        },
        options=PretrainingOptions(max_length=args.max_length, word_rule=args.word_rule),
        batch_size=args.batch_size,
        group_by_length=args.group_by_length,
        optimizer=args.optimizer,
        learning_rate=args.learning_rate,
        warmup_steps=args.warmup_steps,
        held_out=held_out,
        seed=args.seed,
        backend=args.backend,
        resume=args.resume,
        progress=True,
    )
    _show(args, trained, {})


def _finetune(args: argparse.Namespace) -> None:
    from albert_np.training.finetune import finetune

    reading = _columns(args.columns)
    for name, value in (
        ("label_names", args.label_names),
        ("problem_type", PROBLEMS.get(args.problem)),
        ("doc_stride", args.doc_stride),
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
        max_length=args.max_length,
        batch_size=args.batch_size,
        epochs=args.epochs,
        steps=args.steps,
        optimizer=args.optimizer,
        learning_rate=args.learning_rate,
        warmup_steps=args.warmup_steps,
        seed=args.seed,
        backend=args.backend,
        resume=args.resume,
        hours=args.hours,
        accumulate=args.accumulate,
        recompute=args.recompute,
        log_every=args.log_every,
    )
    _show(args, done.trained, done.counts)


def _columns(given: list[str]) -> dict[str, Any]:
    """NAME=COLUMN, or NAME=COLUMN,COLUMN,…"""
    columns: dict[str, Any] = {}
    for text in given:
        name, _, column = text.partition("=")
        if not name.isidentifier() or not column:
            raise ValueError(f"--columns takes NAME=COLUMN, such as text=sentence; got {text!r:.80}")
        columns[name] = column.split(",") if "," in column else column
    return columns


def _show(args: argparse.Namespace, trained: Any, counts: dict[str, dict[str, int]]) -> None:
    if args.json:
        answer = {
            "step": trained.step,
            "stopped": trained.stopped,
            "checkpoint": str(trained.checkpoint),
            "metrics": trained.metrics,
            "best": trained.best,
            "data": counts,
        }
        print(json.dumps(answer))
        return
    for what, numbers in counts.items():
        print(f"{what}: " + ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in numbers.items() if n))
    print(f"step {trained.step}: {trained.checkpoint}")
    for name, value in trained.metrics.items():
        print(f"  {name:24} {'not finite' if value is None else f'{value:.4g}'}")
    if trained.best is not None and trained.best["step"] != trained.step:
        best = trained.checkpoint.with_name(f"checkpoint-{trained.best['step']}")
        print(f"best: {trained.best['metric']} {trained.best['value']:.4g} in {best}")
