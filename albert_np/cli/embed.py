"""`albert-np embed`: texts to vectors."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from albert_np.cli.inputs import Shape
from albert_np.cli.jobs import Command, Work, line_of
from albert_np.cli.shared import where

EXAMPLES = """
  albert-np embed "A man is eating." "Someone has lunch."
  albert-np embed corpus.txt --out corpus.npy
  albert-np embed corpus.txt --out corpus.npy --resume
  albert-np embed articles.csv --columns text=body --model albert/albert-base-v2 --normalize --out articles.jsonl
"""


def add_encoder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--pooling",
        nargs="+",
        metavar="MODE",
        help="cls, max, mean … for a model that does not say how its states become a vector (default: mean)",
    )
    parser.add_argument("--max-length", type=int, metavar="N", help="tokens of a text, which is cut after them")


def encoder(args: argparse.Namespace) -> Any:
    """The SentenceEncoder that the options name."""
    from albert_np import SentenceEncoder

    made = {"backend": args.backend, "dtype": args.dtype, **where(args)}
    return SentenceEncoder.from_pretrained(args.model, pooling=args.pooling, max_seq_length=args.max_length, **made)


def _options(parser: argparse.ArgumentParser) -> None:
    add_encoder(parser)
    parser.add_argument("--normalize", action="store_true", help="vectors of length 1")
    prompts = parser.add_mutually_exclusive_group()
    prompts.add_argument("--prompt", metavar="TEXT", help="what is put before each text")
    prompts.add_argument("--prompt-name", metavar="NAME", help="the prompt of that name, of models that have some")


def _work(args: argparse.Namespace) -> Work:
    model = encoder(args)
    options = {"prompt": args.prompt, "prompt_name": args.prompt_name, "normalize_embeddings": args.normalize}
    width = len(model.encode("", **options))  # also says at once if there is no such prompt

    def ask(texts: list[str]) -> Iterable[Any]:
        return model.encode(texts, batch_size=max(1, len(texts)), show_progress_bar=False, **options)

    def text(values: dict[str, Any], answer: Any) -> str:
        first = " ".join(f"{x:8.4f}" for x in answer[:4])
        return f"{first} … ({len(answer)} numbers)  {line_of(values['text'], 60)}"

    return Work(ask, text, ("embedding",), vector=(width, model.model.dtype))


COMMAND = Command(
    name="embed",
    help="texts to vectors",
    description="Makes a vector of each text: with the model of a folder of sentence-transformers, or with any ALBERT, whose "
    "states are pooled. The same text gives the same bits in any batch. In .npy an input without a vector has NaN.",
    examples=EXAMPLES,
    inputs="TEXT",
    shape=lambda args: Shape(texts=("text",), needed=("text",)),
    options=_options,
    work=_work,
    model="demo",
    task="feature-extraction",
)
