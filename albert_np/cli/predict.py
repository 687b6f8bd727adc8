"""`albert-np predict`: whatever a model was trained for."""

from __future__ import annotations

import argparse
from typing import Any

from albert_np.cli import choose, classify, embed, fill_mask, ner, qa
from albert_np.cli.jobs import Command, fill, formatting
from albert_np.cli.shared import HelpFormatter, model_options, where

BY_TASK: dict[str, Command] = {
    "text-classification": classify.COMMAND,
    "token-classification": ner.COMMAND,
    "question-answering": qa.COMMAND,
    "multiple-choice": choose.COMMAND,
    "fill-mask": fill_mask.COMMAND,
    "feature-extraction": embed.COMMAND,
    "sentence-similarity": embed.COMMAND,
}

EXAMPLES = """examples:
  albert-np predict ./my-reviews reviews.csv --columns text=review --out classes.csv
  albert-np predict ./my-names "Emily wrote to Charlotte."
  albert-np predict ./my-squad "Who wrote it?" "The book is by Emily."
  albert-np predict ./my-reviews --help
"""


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "predict",
        help="ask a model whatever it was trained for",
        description="Reads from a model what it was trained for, and does that: as albert-np classify, ner, qa, choose, embed "
        "or fill-mask, whose options come behind the model's name.",
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
    )
    parser.add_argument("model", metavar="FOLDER", help="a folder, or a hub id")
    parser.add_argument(
        "rest", nargs=argparse.REMAINDER, metavar="…", help="texts, files and options of the model's command"
    )
    parser.set_defaults(meant=meant)


def meant(args: argparse.Namespace) -> argparse.Namespace:
    """The arguments of the command that the model is for. Raises OSError or ValueError if there is no such model."""
    from albert_np.checkpoints import hub
    from albert_np.pipelines.make import task_of

    hub.local_folder(args.model)  # a file is refused
    source, _ = model_options().parse_known_args([word for word in args.rest if word not in ("-h", "--help")])
    command = BY_TASK[task_of(args.model, where(source))]
    parser = argparse.ArgumentParser(
        prog=f"albert-np predict {args.model}", description=command.description, **formatting(command)
    )
    fill(parser, command._replace(model=args.model))
    return parser.parse_args(args.rest, argparse.Namespace(command=args.command, model=args.model))
