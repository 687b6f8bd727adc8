"""`albert-np pretrain`: trains a new ALBERT on text files."""

from __future__ import annotations

import argparse
from typing import Any

from albert_np.cli.training import add_numbers, show, training_options

EXAMPLES = """examples:
  albert-np pretrain book.txt --lines paragraphs --output my-albert --steps 20000
  albert-np pretrain book.txt --lines paragraphs --output my-albert --steps 20000 --resume
"""


def add(commands: Any) -> None:
    train = commands.add_parser(
        "pretrain",
        parents=[training_options()],
        help="train your own ALBERT on text files",
        description="Makes a vocabulary from text files and trains an ALBERT on them: masked words and sentence order. "
        "Every checkpoint is a Hugging Face folder.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    text = train.add_argument_group("the text")
    text.add_argument("text", nargs="+", help="text files; blank lines separate documents")
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
        "--group-by-length", action="store_true", help="make batches of examples of similar length, with little padding"
    )
    numbers = {
        "--vocab-size": (8000, "pieces in the vocabulary"),
        "--max-length": (128, "tokens in a sequence, and positions of the model"),
        "--embedding-size": (128, "E, the width of the embeddings"),
        "--hidden-size": (256, "H; the intermediate size is four times that"),
        "--layers": (6, "how often the shared layer is applied"),
        "--heads": (4, "attention heads"),
        "--steps": (1000, "updates"),
        "--batch-size": (16, "sequences in a batch"),
        "--evaluate-every": (500, "steps between two evaluations"),
        "--save-every": (500, "steps between two checkpoints"),
    }
    add_numbers(train.add_argument_group("sizes"), numbers)
    train.add_argument(
        "--learning-rate",
        type=float,
        default=5e-4,
        metavar="X",
        help="the highest learning rate (default: %(default)s)",
    )
    train.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
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
    show(args, trained, {"train": {"skipped_batches": trained.skipped}} if trained.skipped else {})
