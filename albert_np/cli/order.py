"""`albert-np order`: whether two texts stand in their order."""

from __future__ import annotations

import argparse
from typing import Any

from albert_np.cli.inputs import Shape
from albert_np.cli.jobs import Command, Work, add_truncate, line_of, load, truncation

EXAMPLES = """
  albert-np order "She opened the door." "Then she went in."
  albert-np order pairs.tsv --columns text=sentence1 pair=sentence2 --out order.csv
"""


def _work(args: argparse.Namespace) -> Work:
    from albert_np.pipelines.jobs import of_pipeline

    def text(values: dict[str, Any], answer: Any) -> str:
        both = f"{line_of(values['text'], 60)} | {line_of(values['pair'], 60)}"
        return f"{answer['score']:7.4f}  {answer['label']:8}  {both}"

    def item(values: dict[str, Any]) -> Any:
        return {"text": values["text"], "text_pair": values["pair"]}

    return Work(of_pipeline(load(args, "sentence-order", **truncation(args))), text, ("label", "score"), item)


COMMAND = Command(
    name="order",
    help="whether two texts stand in their order",
    description="Says for each pair of texts whether they are in order or swapped. Any ALBERT that was saved with its heads "
    "of pre-training can tell.",
    examples=EXAMPLES,
    inputs="TEXT",
    shape=lambda args: Shape(texts=("text", "pair"), needed=("text", "pair")),
    options=add_truncate,
    work=_work,
    model="demo",
    task="sentence-order",
)
