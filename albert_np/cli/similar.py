"""`albert-np similar`: the texts that are most like one text."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from albert_np.cli.embed import add_encoder, encoder
from albert_np.cli.inputs import Shape
from albert_np.cli.jobs import Command, Work, line_of

EXAMPLES = """
  albert-np similar "Someone has lunch." "A man is eating." "It rains." "The sky is dark."
  albert-np similar "Someone has lunch." corpus.txt --top-k 3 --json
  albert-np similar "Someone has lunch." corpus.txt --out scores.csv
"""


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("query", metavar="TEXT", help="the text that others are compared with")
    add_encoder(parser)
    parser.add_argument("--top-k", type=int, default=10, metavar="K", help="how many are shown (default: %(default)s)")


def _work(args: argparse.Namespace) -> Work:
    from albert_np.pipelines.base import checked_count

    best = checked_count(args.top_k, "--top-k")
    model = encoder(args)
    query = model.encode_query([args.query])

    def ask(texts: list[str]) -> Iterator[Any]:
        vectors = model.encode_document(texts, batch_size=max(1, len(texts)), show_progress_bar=False)
        for vector in vectors:  # one at a time: the same bits in any batch
            yield {"score": float(model.similarity(query, vector)[0, 0])}

    def text(values: dict[str, Any], answer: Any) -> str:
        return f"{answer['score']:7.4f}  {line_of(values['text'])}"

    return Work(ask, text, ("score",), best=best)


COMMAND = Command(
    name="similar",
    help="the texts that are most like one text",
    description="Compares texts with the first one, by their vectors, and shows those that are most like it. --out writes "
    "the score of each text, in their order.",
    examples=EXAMPLES,
    inputs="TEXT",
    shape=lambda args: Shape(texts=("text",), needed=("text",)),
    options=_options,
    work=_work,
    model="demo",
    task="sentence-similarity",
    own="TEXT",
)
