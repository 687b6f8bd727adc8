"""`albert-np golden …`: recording goldens, comparing with them, and finding out what is wrong. A file a subcommand.

Exit codes: 0 done, or the candidate passes; 1 it fails, or is suspicious; 2 the input cannot be used.
"""

from __future__ import annotations

from typing import Any

from albert_np.cli.golden import amplify, capture, card, compare, diagnose, extract, record, report, synthetic
from albert_np.cli.shared import HelpFormatter

EXAMPLES = """the five that matter most:
  albert-np golden synthetic albert-base-v2 -o base
  albert-np golden record ./my-albert --inputs inputs.npz -o goldens
  albert-np golden compare goldens candidate.npz
  albert-np golden report goldens candidate.npz -o page.html
  albert-np golden diagnose goldens outputs.npz

synthetic makes a model without a download, and record writes the right values of each op. Run your own program on
goldens/inputs.npz and save its tensors; compare and report say which op is wrong. If you have its final outputs only,
diagnose names the mistake. Each SUBCOMMAND has its own --help, with examples; docs/golden.md is a tour.

exit codes: 0 done, or the candidate passes; 1 it fails or is suspicious; 2 the input cannot be used
"""
COMMANDS: tuple[Any, ...] = (synthetic, record, compare, report, diagnose, card, extract, amplify, capture)


def add(commands: Any) -> None:
    golden = commands.add_parser(
        "golden",
        help="for people who port the model: record right values, compare, find the op that is wrong",
        description="For people who port ALBERT to a new chip, compiler or framework: right values of every op, how far a "
        "correct program may be off, and the name of the first op that is wrong.",
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
    )
    subcommands = golden.add_subparsers(dest="subcommand", required=True, metavar="SUBCOMMAND")
    for command in COMMANDS:
        command.add(subcommands)
    for parser in subcommands.choices.values():
        parser.set_defaults(refused=2)
