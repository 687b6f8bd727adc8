"""`albert-np golden extract`: one op of a recording as a pack that can be sent to somebody."""

from __future__ import annotations

import argparse
from typing import Any

from albert_np.cli.shared import HelpFormatter, as_json

EXAMPLES = """examples:
  albert-np golden extract goldens attention.query:3 -o query
  albert-np golden extract goldens gelu:7 -o gelu --format c onnx --dtype bfloat16
  albert-np golden extract goldens attention:0 -o attention

OP is a name of the trace or its end, with the application of the shared layer behind a colon. These are often fused, and
are ops too: attention, ffn+activation, bias+gelu, attention.residual+LayerNorm, residual+LayerNorm.
"""
FORMATS = ("npz", "raw", "onnx", "c", "pytest")


def add(commands: Any) -> None:
    extract = commands.add_parser(
        "extract",
        help="one op with its inputs, weights, expected output and error budget, to send or to try alone",
        description="Writes one op of a recording as a pack: for NumPy, as raw bytes, as a folder of ONNX's backend tests, as "
        "a C header with a main that checks it, and as a test for pytest. Inputs and weights are rounded to --dtype; the "
        "expected output is what float64 makes of exactly these values.",
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
    )
    extract.add_argument("recording", metavar="DIR", help="what `albert-np golden record` wrote")
    extract.add_argument(
        "op", metavar="OP[:APPLICATION]", help="such as attention.query:3, gelu:7, pooler, attention:0"
    )
    extract.add_argument("-o", "--out", required=True, metavar="OUT", help="a new folder, or that of an older pack")
    extract.add_argument(
        "--format", nargs="+", choices=(*FORMATS, "all"), default=["all"], help="one or more (default: all)"
    )
    extract.add_argument(
        "--dtype",
        choices=("float32", "float16", "bfloat16", "float64"),
        default="float32",
        help="of inputs and weights (default: %(default)s)",
    )
    extract.add_argument("--json", action="store_true", help="print JSON instead of text")
    extract.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    from albert_np.golden.packs.extraction import extract
    from albert_np.golden.recording import Recording

    formats = FORMATS if "all" in args.format else args.format
    files = extract(Recording(args.recording), args.op, args.out, formats, dtype=args.dtype)
    if args.json:
        print(as_json({"folder": str(args.out), "dtype": args.dtype, "files": [str(path) for path in files]}))
        return
    size = sum(path.stat().st_size for path in files)
    print(
        f"{args.out}: {args.op} in {args.dtype}, {len(files)} files, {size / 1e6:.1f} MB; README.md says what they are"
    )
