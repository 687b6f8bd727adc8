"""`albert-np golden report`: a comparison as one HTML file, with charts."""

from __future__ import annotations

import argparse
from typing import Any

from albert_np.cli.golden.compare import compared, comparison_options
from albert_np.cli.shared import HelpFormatter, as_json

EXAMPLES = """examples:
  albert-np golden report goldens candidate.npz -o page.html
  albert-np golden report goldens run.npz --partial --map names.json -o page.html --rules predictions.decoder

exit codes: 0 pass, 1 fail or suspicious, 2 the input cannot be used
"""


def add(commands: Any) -> None:
    report = commands.add_parser(
        "report",
        help="compare, and write one page that shows where it breaks",
        description="Compares as `golden compare` does, and writes one HTML file that needs no network: the verdict, errors "
        "over depth, budgets, histograms, the worst elements and every tensor.",
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
    )
    comparison_options(report)
    report.add_argument("-o", "--out", required=True, metavar="FILE", help="the page to write")
    report.add_argument("--rules", metavar="NAME", help="add what other projects' rules say of this tensor")
    report.add_argument("--json", action="store_true", help="print JSON instead of text")
    report.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from albert_np.golden.comparing.html import report
    from albert_np.golden.comparing.text import headline

    comparison = compared(args)
    rules = _rules(args, comparison.precision) if args.rules else []
    path = report(comparison, args.out, rules=rules)
    said = {"file": str(path), "verdict": comparison.verdict, "first_bad_op": comparison.first_bad_op}
    print(as_json(said) if args.json else f"{headline(comparison)}\n{path}")
    return 0 if comparison.passed else 1


def _rules(args: argparse.Namespace, precision: str) -> Any:
    """The house rules for one tensor of the candidate."""
    from albert_np.golden.candidates.candidate import read
    from albert_np.golden.measures.house_rules import card
    from albert_np.golden.recording import Recording

    reference, candidate = Recording(args.recording), read(args.candidate, args.map)
    for what, names in (("the recording", reference), ("the candidate", candidate)):
        if args.rules not in names:
            raise ValueError(f"--rules names a tensor; {what} has none called {args.rules!r:.80}")
    return card(candidate[args.rules], reference[args.rules], dtype=precision)
