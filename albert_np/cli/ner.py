"""`albert-np ner`: names in a text, or other classes of its words."""

from __future__ import annotations

import argparse
from typing import Any

from albert_np.cli.inputs import Shape
from albert_np.cli.jobs import Command, Work, load, marked

EXAMPLES = """
  albert-np ner "Emily wrote to Charlotte." --model ./my-names
  albert-np ner "Emily wrote to Charlotte." --model ./my-names --aggregation none --json
  albert-np ner letters.txt --model ./my-names --stride 32 --out names.jsonl
  albert-np ner words.jsonl --columns tokens=words --model ./my-names --out names.csv
  albert-np ner dev.conll --columns tokens=tokens --model ./my-names
"""


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--aggregation",
        default="simple",
        metavar="STRATEGY",
        help="how tokens become entities: simple, first, average or max; none gives each token (default: %(default)s)",
    )
    parser.add_argument("--ignore", nargs="+", default=["O"], metavar="LABEL", help="classes to leave out (default: O)")
    parser.add_argument("--stride", type=int, metavar="N", help="read long texts in windows that share N tokens")


def _shape(args: argparse.Namespace) -> Shape:
    words = any(column.startswith("tokens=") for column in args.columns)
    name = "tokens" if words else "text"
    return Shape(texts=(name,), needed=(name,))


def _work(args: argparse.Namespace) -> Work:
    from albert_np.pipelines.jobs import of_pipeline

    pipe = load(
        args,
        "token-classification",
        aggregation_strategy=args.aggregation,
        ignore_labels=args.ignore,
        stride=args.stride,
    )

    def text(values: dict[str, Any], answer: Any) -> str:
        whole = values["text"] if "text" in values else " ".join(values["tokens"])
        return marked(whole, [(one["start"], one["end"], one.get("entity_group", one.get("entity"))) for one in answer])

    is_words = _shape(args).needed == ("tokens",)
    ask = of_pipeline(pipe, is_split_into_words=is_words)
    return Work(ask, text, ("entities",), lambda values: values["tokens" if is_words else "text"])


COMMAND = Command(
    name="ner",
    help="names in a text, or other classes of its words",
    description="Marks the entities of each text, as a model for token classification finds them.",
    examples=EXAMPLES,
    inputs="TEXT",
    shape=_shape,
    options=_options,
    work=_work,
    model="demo-names",
    task="token-classification",
)
