"""`albert-np quantize`: a checkpoint in int8 or bfloat16, with a certificate of what that changes."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from albert_np.cli.convert import ended_by_signal
from albert_np.cli.shared import HelpFormatter, as_json, model_options, where

EXAMPLES = """examples:
  albert-np quantize ./my-albert ./my-albert-int8
  albert-np quantize ./my-reviews ./my-reviews-int8 --calibration reviews.txt --text held-out.txt
  albert-np quantize albert/albert-base-v2 ./base-int8 --class AlbertForMaskedLM --json

exit codes: 0 written, 1 refused or below --at-least, and then nothing is written; 2 wrong usage, 130 interrupted
"""


def add(commands: Any) -> None:
    quantize = commands.add_parser(
        "quantize",
        parents=[model_options()],
        help="a checkpoint in int8 or bfloat16, with a certificate of what that changes",
        description="Writes a checkpoint whose layers' weights are int8, for the numba backend, or rounded to bfloat16, with "
        "config.json and the tokenizer's files. Its answers are compared with those of float32 on a text. What was found is "
        "printed, and a file in int8 keeps it, where albert-np info shows it.",
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
    )
    quantize.add_argument("source", metavar="IN", help="folder, demo, or hub id, whose files are downloaded")
    quantize.add_argument("target", metavar="OUT", help="the folder to write")
    quantize.add_argument(
        "--calibration",
        metavar="FILE",
        help="texts to round the weights by, one a line, up to 512 of them (default: random tokens)",
    )
    quantize.add_argument(
        "--text",
        metavar="FILE",
        help="texts to compare answers on, one a line (default: 80 paragraphs of English novels)",
    )
    quantize.add_argument(
        "--at-least",
        type=float,
        default=0.97,
        metavar="X",
        help="the share of answers that must be those of float32 (default: %(default)s)",
    )
    quantize.add_argument(
        "--dtype",
        choices=("int8", "bfloat16"),
        default="int8",
        help="what weights are rounded to; bfloat16 is written as float32 tensors (default: %(default)s)",
    )
    quantize.add_argument(
        "--passes",
        type=int,
        choices=(1, 2),
        help="of int8: 1 rounds inputs to 8 bits, the fastest, 2 to 16 bits (default: what each product needs)",
    )
    quantize.add_argument(
        "--class",
        dest="architecture",
        metavar="CLASS",
        help="the class to write, without other heads (default: that of config.json or the heads)",
    )
    quantize.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="of the random tokens and of what is masked (default: %(default)s)",
    )
    quantize.add_argument("--force", action="store_true", help="replace the weights that OUT has")
    quantize.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from albert_np.conversion.quantize import quantize

    with ended_by_signal(), _bars() as advance:
        made = quantize(
            args.source,
            args.target,
            dtype=args.dtype,
            passes=args.passes,
            calibration=args.calibration,
            text=args.text,
            architecture=args.architecture,
            at_least=args.at_least,
            seed=args.seed,
            force=args.force,
            progress=advance,
            **where(args),
        )
    print(as_json(made.to_dict(), indent=2) if args.json else made)
    if made.files:
        return 0
    less = ", or --dtype bfloat16, which rounds less" if args.dtype == "int8" else ""
    print(
        f"albert-np: fewer than {args.at_least:.2%} of some answers are those of float32, or its hidden states are too far "
        f"away, so nothing was written: try --calibration with texts like those to be read{less}, or another --at-least for "
        "the answers",
        file=sys.stderr,
    )
    return 1


@contextlib.contextmanager
def _bars() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on a terminal for each part of the work, if that takes more than a second."""
    from tqdm import tqdm

    with contextlib.ExitStack() as stack:
        bars: dict[str, Any] = {}

        def advance(what: str, more: int, total: int) -> None:
            if what not in bars:
                bars[what] = stack.enter_context(tqdm(desc=what, total=total, disable=None, leave=False, delay=1))
            bars[what].update(more)

        yield advance
