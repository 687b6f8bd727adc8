"""`albert-np verify`: whether a checkpoint is whole, and what is odd about it."""

from __future__ import annotations

import argparse
from typing import Any

from albert_np.cli.shared import HelpFormatter, as_json, progress_bar

EXAMPLES = """examples:
  albert-np verify ./my-albert
  albert-np verify demo
  albert-np verify ./my-albert --json

exit codes: 0 whole, 1 something is wrong, 2 not readable, 130 interrupted
"""


def add(commands: Any) -> None:
    verify = commands.add_parser(
        "verify",
        help="whether a checkpoint is whole, and what is odd about it",
        description="Reads every file of a checkpoint's folder, in any format: config, names, shapes, tied weights, numbers "
        "and tokenizer. Each oddity is explained: an error makes answers wrong, a warning may, a note is good to know.",
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
    )
    verify.add_argument("folder", metavar="FOLDER", help="the folder of a checkpoint, or demo")
    verify.add_argument("--json", action="store_true", help="print JSON instead of text")
    verify.set_defaults(run=run, refused=2)


def run(args: argparse.Namespace) -> int:
    from albert_np.conversion.verify import verify

    with progress_bar("numbers") as advance:
        found = verify(args.folder, progress=advance)
    print(as_json(found.to_dict(), indent=2) if args.json else found)
    return found.exit_code
