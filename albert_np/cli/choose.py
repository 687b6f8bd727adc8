"""`albert-np choose`: the likeliest of some continuations."""

from __future__ import annotations

import argparse
from typing import Any

from albert_np.cli.inputs import Shape
from albert_np.cli.jobs import Command, Work, add_truncate, load, scores, truncation

EXAMPLES = """
  albert-np choose "She opened the door" --choices "and went in." "and ate the moon." --model ./my-swag
  albert-np choose swag.csv --columns context=sent1 choices=end1,end2,end3,end4 --model ./my-swag --out best.csv
  albert-np choose swag.jsonl --model ./my-swag --out best.jsonl
"""


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--choices",
        nargs="+",
        metavar="TEXT",
        help="two or more; in files, --columns choices=COLUMN,COLUMN,… or a list",
    )
    add_truncate(parser)


def _shape(args: argparse.Namespace) -> Shape:
    given = {} if args.choices is None else {"choices": args.choices}
    return Shape(texts=("context",), needed=("context", "choices"), optional=("question",), given=given)


def _work(args: argparse.Namespace) -> Work:
    from albert_np.pipelines.jobs import of_pipeline

    def text(values: dict[str, Any], answer: Any) -> str:
        return scores(values["context"], [(one["score"], one["choice"]) for one in answer])

    return Work(of_pipeline(load(args, "multiple-choice", **truncation(args))), text, ("answers",), _item)


def _item(values: dict[str, Any]) -> Any:
    choices, question = values["choices"], values.get("question")
    if question is not None and isinstance(choices, list):  # read as finetune reads them
        choices = [f"{question} {choice}".strip() for choice in choices]
    return {"prompt": values["context"], "choices": choices}


COMMAND = Command(
    name="choose",
    help="the likeliest of some continuations of a text",
    description="Ranks the choices of each text, as a model for multiple choice sees them, the best first.",
    examples=EXAMPLES,
    inputs="TEXT",
    shape=_shape,
    options=_options,
    work=_work,
    task="multiple-choice",
)
