"""`albert-np golden …`: recording goldens, comparing with them, and finding out what is wrong. A file a subcommand.

Exit codes: 0 done, or the candidate passes; 1 it fails, or is suspicious; 2 the input cannot be used.
"""

from __future__ import annotations

from typing import Any

from albert_np.cli.golden import amplify, capture, compare, diagnose, extract, record, report, synthetic
from albert_np.cli.shared import HelpFormatter

EXAMPLES = """examples:
  albert-np golden synthetic albert-base-v2 -o base
  albert-np golden record ./my-albert --inputs inputs.npz -o goldens
  albert-np golden compare goldens candidate.npz
  albert-np golden report goldens candidate.npz -o page.html
  albert-np golden extract goldens attention.query:3 -o query
  albert-np golden diagnose goldens outputs.npz
  albert-np golden amplify ./my-albert --inputs inputs.npz

Each SUBCOMMAND has its own --help, with examples.
"""
COMMANDS: tuple[Any, ...] = (synthetic, record, compare, report, diagnose, capture, extract, amplify)


def add(commands: Any) -> None:
    golden = commands.add_parser(
        "golden",
        help="the truth for other implementations: record, compare, find the op that is wrong",
        description="Tools for people who port ALBERT to a new chip, compiler or framework.",
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
    )
    subcommands = golden.add_subparsers(dest="subcommand", required=True, metavar="SUBCOMMAND")
    for command in COMMANDS:
        command.add(subcommands)
    for parser in subcommands.choices.values():
        parser.set_defaults(refused=2)
