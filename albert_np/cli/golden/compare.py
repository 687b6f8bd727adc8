"""`albert-np golden compare`: a candidate against a recording, and the first op that is wrong."""

from __future__ import annotations

import argparse
from typing import Any

from albert_np.cli.shared import HelpFormatter, as_json

EXAMPLES = """examples:
  albert-np golden compare goldens candidate
  albert-np golden compare goldens run.npz --precision bfloat16 --json
  albert-np golden compare goldens run.npz --partial --map names.json --ignore-padding

exit codes: 0 pass, 1 fail or suspicious, 2 the input cannot be used
"""


def add(commands: Any) -> None:
    compare = commands.add_parser(
        "compare",
        help="judge a candidate, and name the first op that is wrong",
        description="Runs each op of the reference on the candidate's own inputs of it. What is left is the op's local error, "
        "and that is held against its budget: how far a correct program of that precision may be off.",
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
    )
    comparison_options(compare)
    compare.add_argument("--json", action="store_true", help="print JSON instead of text")
    compare.add_argument("--junit", metavar="FILE", help="write JUnit XML for a build server")
    compare.add_argument("--report", metavar="FILE", help="write a page with charts (see albert-np golden report)")
    compare.set_defaults(run=run)


def comparison_options(parser: Any) -> None:
    """What `compared` reads."""
    parser.add_argument("recording", metavar="DIR", help="what `golden record` wrote")
    candidate_options(parser)
    parser.add_argument("--partial", action="store_true", help="the candidate may hold only some of the tensors")
    parser.add_argument("--ignore-padding", action="store_true", help="leave out padded queries and padded keys")
    parser.add_argument(
        "--twin",
        action="store_true",
        help="also emulate a correct program of that precision, and say whether each error is expected, suspicious or broken",
    )


def candidate_options(parser: Any) -> None:
    """What every subcommand that reads a candidate takes."""
    parser.add_argument(
        "candidate",
        metavar="CANDIDATE",
        help=".npz, .safetensors, a folder of .npy, or a folder of raw .bin with a manifest.json",
    )
    parser.add_argument("--map", metavar="FILE", help="JSON: our names to the candidate's, with * on both sides")
    parser.add_argument(
        "--precision",
        choices=("float32", "tf32", "float16", "bfloat16"),
        help="what the candidate computes in (default: found from its values)",
    )
    parser.add_argument(
        "--accumulate",
        choices=("float32", "float16", "bfloat16"),
        help="what it adds products in (default: float32)",
    )


def run(args: argparse.Namespace) -> int:
    from albert_np.files import write_atomically
    from albert_np.golden.comparing.html import report
    from albert_np.golden.comparing.text import as_junit, as_text

    comparison = compared(args)
    if args.junit:
        write_atomically(args.junit, as_junit(comparison).encode())
    if args.report:
        report(comparison, args.report)
    print(as_json(comparison.as_dict(), indent=1) if args.json else as_text(comparison))
    return 0 if comparison.passed else 1


def compared(args: argparse.Namespace) -> Any:
    """The comparison that a command asks for."""
    from albert_np.golden.comparing.comparison import compare

    return compare(
        args.recording,
        args.candidate,
        name_map=args.map,
        partial=args.partial,
        precision=args.precision,
        accumulate=args.accumulate,
        ignore_padding=args.ignore_padding,
        twin=args.twin,
    )
