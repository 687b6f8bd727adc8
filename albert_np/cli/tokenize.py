"""`albert-np tokenize`: the pieces of a text, as a model reads them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from albert_np.cli.inputs import Shape
from albert_np.cli.jobs import Command, Work
from albert_np.cli.shared import where

EXAMPLES = """
  albert-np tokenize "The capital of France is Paris."
  albert-np tokenize "It rained." --pair "The street is wet." --json
  albert-np tokenize corpus.txt --model albert/albert-base-v2 --out pieces.jsonl
"""


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pair", metavar="TEXT", help="a second text; in files, --columns pair=COLUMN")
    parser.add_argument("--no-special-tokens", action="store_true", help="leave out [CLS] and [SEP]")
    parser.add_argument("--max-length", type=int, metavar="N", help="cut after so many tokens")


def _shape(args: argparse.Namespace) -> Shape:
    given = {} if args.pair is None else {"pair": args.pair}
    return Shape(texts=("text",), needed=("text",), optional=("pair",), given=given)


def _work(args: argparse.Namespace) -> Work:
    from albert_np import AlbertTokenizer

    tokenizer = AlbertTokenizer.from_pretrained(args.model, **where(args))
    options: dict[str, Any] = {"add_special_tokens": not args.no_special_tokens, "verbose": False}
    if args.max_length is not None:
        options |= {"truncation": True, "max_length": args.max_length}

    def ask(items: list[Any]) -> Iterator[Any]:
        for values in items:
            try:
                row = tokenizer(values["text"], values.get("pair"), return_offsets_mapping=True, **options)
            except ValueError as error:
                yield error
                continue
            ids = row["input_ids"]
            offsets = [list(pair) for pair in row["offset_mapping"]]
            yield {"tokens": tokenizer.convert_ids_to_tokens(ids), "input_ids": ids, "offsets": offsets}

    def text(values: dict[str, Any], answer: Any) -> str:
        widths = [
            max(len(str(id_)), len(token)) for id_, token in zip(answer["input_ids"], answer["tokens"], strict=True)
        ]
        rows = (
            " ".join(f"{x!s:{n}}" for x, n in zip(answer[name], widths, strict=True)).rstrip()
            for name in ("tokens", "input_ids")
        )
        return "\n".join(rows) + f"\n{len(answer['tokens'])} tokens"

    return Work(ask, text, ("tokens", "input_ids", "offsets"), lambda values: values)


COMMAND = Command(
    name="tokenize",
    help="the pieces of a text, as a model reads them",
    description="Shows the pieces of each text and their numbers, special tokens included.",
    examples=EXAMPLES,
    inputs="TEXT",
    shape=_shape,
    options=_options,
    work=_work,
    model="demo",
)
