"""`albert-np info`: what a model consists of, and what can run it here."""

from __future__ import annotations

import argparse
from typing import Any

from albert_np.cli.shared import HelpFormatter, as_json, model_options, where

EXAMPLES = """examples:
  albert-np info
  albert-np info ./my-albert
  albert-np info albert/albert-base-v2 --json
  albert-np info ./albert_base          # a checkpoint of google-research, or of any other format
  albert-np info --backends
"""


def add(commands: Any) -> None:
    info = commands.add_parser(
        "info",
        parents=[model_options()],
        help="config, parameters and files of a model, and what runs it here",
        description="Shows a model's config, its parameters (stored, and if nothing were shared) and files; which "
        "backends run here, with which registers and threads, and whether the kernels are compiled.",
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
    )
    info.add_argument(
        "model",
        nargs="?",
        default="demo",
        help="folder, demo, or hub id, whose files are downloaded (default: %(default)s)",
    )
    info.add_argument("--backends", action="store_true", help="show only what each backend found here, without a model")
    info.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    from albert_np.cli.describe import as_text, backends, backends_as_text, describe

    info = backends() if args.backends else describe(args.model, **where(args))
    text = backends_as_text if args.backends else as_text
    print(as_json(info, indent=2) if args.json else text(info))
