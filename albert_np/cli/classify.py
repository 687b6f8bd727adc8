"""`albert-np classify`: the class of a text, or of a pair of texts."""

from __future__ import annotations

import argparse
from typing import Any

from albert_np.cli.inputs import Shape
from albert_np.cli.jobs import Command, Work, add_truncate, line_of, load, scores, truncation

EXAMPLES = """
  albert-np classify "A wonderful film." --model ./my-reviews
  albert-np classify "It rained." --pair "The street is wet." --model ./my-pairs --top-k all --json
  albert-np classify reviews.csv --columns text=review --model ./my-reviews --out classes.csv
  albert-np classify reviews.jsonl --model ./my-reviews --out classes.jsonl --on-error skip
  cat sentences.txt | albert-np classify - --model ./my-reviews
"""


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--pair", metavar="TEXT", help="a second text, for models of pairs; in files, --columns pair=COLUMN"
    )
    parser.add_argument("--top-k", type=_top_k, metavar="K", help="the K likeliest classes instead of one; or all")
    parser.add_argument(
        "--function",
        choices=("softmax", "sigmoid", "none"),
        help="from logits to scores (default: as the model was trained)",
    )
    add_truncate(parser)


def _top_k(text: str) -> Any:
    if text != "all" and not text.isdecimal():
        raise argparse.ArgumentTypeError(f"a whole number, or all; not {text!r:.80}")
    return text if text == "all" else int(text)


def _shape(args: argparse.Namespace) -> Shape:
    given = {} if args.pair is None else {"pair": args.pair}
    return Shape(texts=("text",), needed=("text",), optional=("pair",), given=given)


def _work(args: argparse.Namespace) -> Work:
    from albert_np.pipelines.jobs import of_pipeline

    pipe = load(args, "text-classification", function_to_apply=args.function, **truncation(args))
    width = max(map(len, map(str, pipe.names.values())), default=0)

    def text(values: dict[str, Any], answer: Any) -> str:
        title = " | ".join(line_of(values[name]) for name in ("text", "pair") if values.get(name) is not None)
        if isinstance(answer, list):
            return scores(title, [(one["score"], one["label"]) for one in answer])
        return f"{answer['score']:7.4f}  {answer['label']:{width}}  {title}"

    if args.top_k is None:
        return Work(of_pipeline(pipe), text, ("label", "score"), _item)
    top_k = None if args.top_k == "all" else args.top_k
    return Work(of_pipeline(pipe, top_k=top_k), text, ("answers",), _item)


def _item(values: dict[str, Any]) -> Any:
    return {"text": values["text"], "text_pair": values.get("pair")}


COMMAND = Command(
    name="classify",
    help="the class of a text, or of a pair of texts",
    description="Says which class each text has, as a model for text classification sees it, and how likely that is.",
    examples=EXAMPLES,
    inputs="TEXT",
    shape=_shape,
    options=_options,
    work=_work,
    model="demo-speech",
    task="text-classification",
)
