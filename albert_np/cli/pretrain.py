"""`albert-np pretrain`: trains a new ALBERT on text files, or goes on training one."""

from __future__ import annotations

import argparse
from typing import Any

from albert_np.cli.shared import HelpFormatter
from albert_np.cli.training import add_numbers, show, training_options

EXAMPLES = """examples:
  albert-np pretrain book.txt --lines paragraphs --output my-albert --steps 20000
  albert-np pretrain book.txt --lines paragraphs --output my-albert --steps 20000 --resume
  albert-np pretrain reports.txt --model albert/albert-base-v2 --output reports --steps 5000 --learning-rate 5e-5
"""

# of a new model: its vocabulary and its shape
SIZES = {
    "--vocab-size": (8000, "pieces in the vocabulary"),
    "--embedding-size": (128, "E, the width of the embeddings"),
    "--hidden-size": (256, "H; the intermediate size is four times that"),
    "--layers": (6, "how often the shared layer is applied"),
    "--heads": (4, "attention heads"),
}


def add(commands: Any) -> None:
    train = commands.add_parser(
        "pretrain",
        parents=[training_options()],
        help="train your own ALBERT on text files, or go on training one",
        description="Makes a vocabulary from text files and trains an ALBERT on them: masked words and sentence order. "
        "With --model, it goes on training a model that is there. Every checkpoint is a Hugging Face folder.",
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
    )
    train.add_argument(
        "--model",
        metavar="NAME",
        help="folder, hub id or demo to go on with, instead of a new model; it brings its vocabulary and its sizes",
    )
    text = train.add_argument_group("the text")
    text.add_argument("text", nargs="+", help="text files; blank lines separate documents")
    text.add_argument(
        "--lines",
        default="sentences",
        choices=("sentences", "paragraphs", "wrapped"),
        help="what a line is (default: %(default)s)",
    )
    text.add_argument("--vocabulary", metavar="DIR", help="the folder of a tokenizer, instead of making one")
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
    sizes = train.add_argument_group("sizes")
    for option, (size, what) in SIZES.items():
        sizes.add_argument(option, type=int, metavar="N", help=f"{what} (default: {size}; not with --model)")
    sizes.add_argument(
        "--max-length",
        type=int,
        metavar="N",
        help="tokens in a sequence, and positions of a new model (default: 128, or the positions of --model if they are fewer)",
    )
    numbers = {
        "--steps": (1000, "updates"),
        "--batch-size": (16, "sequences in a batch"),
        "--evaluate-every": (500, "steps between two evaluations"),
        "--save-every": (500, "steps between two checkpoints"),
    }
    add_numbers(sizes, numbers)
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
    from albert_np.training.pretrain import pretrain, usual_length
    from albert_np.training.pretraining import PretrainingOptions

    try:
        held_out: Any = float(args.held_out)
    except ValueError:
        held_out = args.held_out
    sizes = _sizes(args)
    trained = pretrain(
        args.text,
        args.output,
        start=args.model,
        vocabulary=args.vocabulary,
        vocab_size=sizes.pop("vocab_size"),
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
        config=sizes,
        options=PretrainingOptions(
            max_length=usual_length(args.model) if args.max_length is None else args.max_length,
            word_rule=args.word_rule,
        ),
        batch_size=args.batch_size,
        group_by_length=args.group_by_length,
        optimizer=args.optimizer,
        learning_rate=args.learning_rate,
        warmup_steps=args.warmup_steps,
        held_out=held_out,
        seed=args.seed,
        backend=args.backend,
        dtype=args.dtype,
        resume=args.resume,
        progress=True,
    )
    show(args, trained, {"train": {"skipped_batches": trained.skipped}} if trained.skipped else {})


def _sizes(args: argparse.Namespace) -> dict[str, Any]:
    """The sizes of a new model by their names in its config, and vocab_size; of a model that is there, vocab_size alone."""
    given = {option: getattr(args, option[2:].replace("-", "_")) for option in SIZES}
    if args.model is not None:
        beside = {"--vocabulary": args.vocabulary, **given}
        named = [option for option, value in beside.items() if value is not None]
        if named:
            raise ValueError(
                f"{', '.join(named)} {'is' if len(named) == 1 else 'are'} for a new model, and --model goes on with one that "
                "has its own: leave out one of the two"
            )
        return {"vocab_size": SIZES["--vocab-size"][0]}
    vocab, embedding, hidden, layers, heads = (
        usual if given[option] is None else given[option] for option, (usual, _) in SIZES.items()
    )
    return {
        "vocab_size": vocab,
        "embedding_size": embedding,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * hidden,
    }
