"""`albert-np fill-mask`: the likeliest words for each [MASK] of a sentence."""

from __future__ import annotations

import argparse
from typing import Any

from albert_np.cli.shared import EXAMPLES, as_json, model_options, texts, where


def add(commands: Any) -> None:
    fill = commands.add_parser(
        "fill-mask",
        parents=[model_options()],
        help="the likeliest words for each [MASK] of a sentence",
        description="Prints the likeliest words for each [MASK] of a sentence, best first.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    fill.add_argument(
        "text",
        nargs="+",
        help="a sentence in quotes, with [MASK] in it; several are filled in turn; - reads lines from stdin",
    )
    fill.add_argument("--model", default="demo", metavar="NAME", help="folder, hub id or demo (default: %(default)s)")
    fill.add_argument(
        "--top-k", type=int, default=5, metavar="K", help="how many answers for each mask (default: %(default)s)"
    )
    fill.add_argument("--targets", nargs="+", metavar="WORD", help="choose only among these words")
    fill.add_argument("--truncate", action="store_true", help="cut texts that are too long without a warning")
    fill.add_argument(
        "--backend",
        default="auto",
        metavar="NAME",
        help="numba, the compiled engine; numpy, the reference; or auto: numba where it runs, with float32 "
        "(default: %(default)s)",
    )
    fill.add_argument("--dtype", default="float32", metavar="TYPE", help="float32 or float64 (default: %(default)s)")
    fill.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="threads of the numba backend; answers do not depend on it (default: NUMBA_NUM_THREADS, or every core)",
    )
    fill.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    from albert_np import pipeline

    fill = pipeline("fill-mask", args.model, backend=args.backend, dtype=args.dtype, **where(args))
    options = {"truncation": True} if args.truncate else {}
    for number, text in enumerate(texts(args.text), start=1):
        try:
            answers = fill(text, top_k=args.top_k, targets=args.targets, tokenizer_kwargs=options)
        except ValueError as error:
            raise ValueError(
                f"sentence {number}: {error}" if number > 1 or args.text == ["-"] else str(error)
            ) from error
        print(as_json(answers) if args.json else _table(text, answers))


def _table(text: str, answers: list) -> str:
    several = bool(answers) and isinstance(answers[0], list)
    lines = [text]
    for i, rows in enumerate(answers if several else [answers]):
        if several:
            lines.append(f"mask {i + 1} of {len(answers)}")
        width = max(5, *(len(row["token_str"]) for row in rows))
        lines.append(f"  {'score':>7}  {'token':{width}}  sentence")
        for row in rows:
            sentence = row["sequence"].removeprefix("[CLS] ").removesuffix("[SEP]")
            lines.append(f"  {row['score']:7.4f}  {row['token_str']:{width}}  {sentence}")
    return "\n".join(lines) + "\n"
