"""`albert-np zero-shot`: which of some labels fits a text, from a model that knows entailment."""

from __future__ import annotations

import argparse
from typing import Any

from albert_np.cli.inputs import Shape
from albert_np.cli.jobs import Command, Work, add_truncate, load, scores, truncation

EXAMPLES = """
  albert-np zero-shot "The match ended in a draw." --labels sport politics science --model ./my-nli
  albert-np zero-shot news.csv --labels sport politics --multi-label --model ./my-nli --out topics.jsonl
  cat sentences.txt | albert-np zero-shot - --labels sad glad --template "The mood is {}." --model ./my-nli --json
"""


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--labels", nargs="+", required=True, metavar="LABEL", help="what a text may be about")
    parser.add_argument(
        "--template",
        default="This example is {}.",
        metavar="TEXT",
        help="the sentence that a text entails or not; a label goes to {} (default: %(default)s)",
    )
    parser.add_argument("--multi-label", action="store_true", help="several labels may fit: each is judged alone")
    add_truncate(parser)


def _work(args: argparse.Namespace) -> Work:
    from albert_np.pipelines.jobs import of_pipeline

    asked = {"candidate_labels": args.labels, "hypothesis_template": args.template, "multi_label": args.multi_label}
    pipe = load(args, "zero-shot-classification", **asked, **truncation(args))

    def text(values: dict[str, Any], answer: Any) -> str:
        return scores(values["text"], list(zip(answer["scores"], answer["labels"], strict=True)))

    return Work(of_pipeline(pipe), text, ("sequence", "labels", "scores"))


COMMAND = Command(
    name="zero-shot",
    help="which of some labels fits a text, without training for them",
    description="Ranks labels for each text, as a model that was trained on entailment (NLI) sees them.",
    examples=EXAMPLES,
    inputs="TEXT",
    shape=lambda args: Shape(texts=("text",), needed=("text",)),
    options=_options,
    work=_work,
    task="zero-shot-classification",
)
