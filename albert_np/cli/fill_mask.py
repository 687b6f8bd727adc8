"""`albert-np fill-mask`: the likeliest words for each [MASK] of a sentence."""

from __future__ import annotations

import argparse
from typing import Any

from albert_np.cli.inputs import Shape
from albert_np.cli.jobs import Command, Work, add_truncate, load, truncation

EXAMPLES = """
  albert-np fill-mask "The capital of [MASK] is Paris."
  albert-np fill-mask "The capital of [MASK] is Paris." --model albert/albert-base-v2 --top-k 3 --json
  albert-np fill-mask "The capital of [MASK] is Paris." --targets france italy
  cat sentences.txt | albert-np fill-mask - --model ./my-albert --json
"""


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--top-k", type=int, default=5, metavar="K", help="how many answers for each mask (default: %(default)s)"
    )
    parser.add_argument("--targets", nargs="+", metavar="WORD", help="choose only among these words")
    add_truncate(parser)


def _work(args: argparse.Namespace) -> Work:
    from albert_np.pipelines.jobs import of_pipeline

    pipe = load(args, "fill-mask", top_k=args.top_k, targets=args.targets)
    return Work(of_pipeline(pipe, tokenizer_kwargs=truncation(args)), _table, ("answers",))


def _table(values: dict[str, Any], answers: list) -> str:
    several = bool(answers) and isinstance(answers[0], list)
    lines = [values["text"]]
    for i, rows in enumerate(answers if several else [answers]):
        if several:
            lines.append(f"mask {i + 1} of {len(answers)}")
        width = max(5, *(len(row["token_str"]) for row in rows))
        lines.append(f"  {'score':>7}  {'token':{width}}  sentence")
        for row in rows:
            sentence = row["sequence"].removeprefix("[CLS] ").removesuffix("[SEP]")
            lines.append(f"  {row['score']:7.4f}  {row['token_str']:{width}}  {sentence}")
    return "\n".join(lines) + "\n"


COMMAND = Command(
    name="fill-mask",
    help="the likeliest words for each [MASK] of a sentence",
    description="Prints the likeliest words for each [MASK] of a sentence, best first.",
    examples=EXAMPLES,
    inputs="TEXT",
    shape=lambda args: Shape(texts=("text",), needed=("text",), blank_lines=False),
    options=_options,
    work=_work,
    model="demo",
    task="fill-mask",
)
