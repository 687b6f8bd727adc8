"""`albert-np explore`: what ALBERT does with a text, as one HTML file to click through."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from albert_np.cli.shared import HelpFormatter, as_json, model_options, where

EXAMPLES = """examples:
  albert-np explore "There was a knock at the [MASK] and a boy came in." -o page.html
  albert-np explore "It rained all [MASK]." --pair "The street was wet." -o page.html
  albert-np explore "The capital of [MASK] is Paris." --model albert/albert-base-v2 -o page.html
"""


def add(commands: Any) -> None:
    explore = commands.add_parser(
        "explore",
        parents=[model_options()],
        help="write a page that shows what the model does with a text",
        description="Runs a text through the model once, and writes one HTML file that needs no network: its pieces, what the "
        "model would answer after each application of its layer, the attention of each head, how the states move, and the "
        "network, each step of which opens to its formula, numbers and code.",
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
    )
    explore.add_argument("text", metavar="TEXT", help="one text, with any number of [MASK]")
    explore.add_argument("-o", "--out", required=True, metavar="FILE", help="the page to write; -: standard output")
    explore.add_argument("--pair", metavar="TEXT", help="a second text")
    explore.add_argument("--model", default="demo", help="folder, demo, or hub id (default: %(default)s)")
    explore.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    from albert_np.explorer.explore import explore

    printed = args.out == "-"
    if printed and args.json:
        raise ValueError("--json and -o - would both print; name a file for the page")
    found = explore(args.text, args.model, pair=args.pair, **where(args))
    if printed:
        sys.stdout.buffer.write(found.html().encode())  # UTF-8 whatever the terminal has, as the page says of itself
        return
    path = found.save(args.out)
    tokens, size = len(found.data["tokens"]), path.stat().st_size
    said = {"file": str(path), "bytes": size, "tokens": tokens}
    print(as_json(said) if args.json else f"{path}: {tokens} tokens, {size:,} bytes; open it in a browser")
