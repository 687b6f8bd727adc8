"""`albert-np golden capture`: the intermediates of an ONNX file, under the names of a trace."""

from __future__ import annotations

import argparse
from typing import Any

from albert_np.cli.shared import HelpFormatter, as_json

EXAMPLES = """examples:
  albert-np golden capture model.onnx --inputs goldens/inputs.npz -o candidate.npz
  albert-np golden capture quantized.onnx --names-of model.onnx --inputs goldens/inputs.npz -o candidate.npz
"""


def add(commands: Any) -> None:
    capture = commands.add_parser(
        "capture",
        help="the intermediates of an ONNX file, run in ONNX Runtime",
        description="Runs an ONNX file of ALBERT, as torch and optimum export it, in ONNX Runtime or OpenVINO, and writes its "
        "tensors under the names of a trace, ready to be compared. For torch models, see docs/golden_capture.md.",
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
    )
    capture.add_argument("model", metavar="MODEL.onnx", help="an ONNX file")
    capture.add_argument("--inputs", required=True, metavar="FILE", help="an .npz; the recording has one, inputs.npz")
    capture.add_argument("-o", "--out", required=True, metavar="FILE", help="the .npz to write")
    capture.add_argument(
        "--runtime",
        choices=("onnxruntime", "openvino"),
        default="onnxruntime",
        help="what runs it (default: %(default)s)",
    )
    capture.add_argument(
        "--names-of",
        metavar="FILE",
        help="the ONNX file that this one was made from: optimizing and quantizing keep names of tensors and not of modules",
    )
    capture.add_argument(
        "--only", nargs="+", metavar="NAME", help="these tensors of the trace; all else may still be fused"
    )
    capture.add_argument("--no-fusion", action="store_true", help="switch ONNX Runtime's optimizations off")
    capture.add_argument(
        "--unmatched", action="store_true", help="also tensors that are none of the trace's (onnxruntime)"
    )
    capture.add_argument("--json", action="store_true", help="print JSON instead of text")
    capture.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    import numpy as np

    from albert_np.cli.golden.record import read_inputs
    from albert_np.files import atomic_path
    from albert_np.golden.capturing import capture as capturing

    if args.runtime == "openvino" and (args.no_fusion or args.unmatched):
        raise ValueError("--no-fusion and --unmatched are ONNX Runtime's: leave them out with --runtime openvino")
    known = capturing.onnx_names(args.names_of or args.model)
    lacking = [name for name in args.only or () if name not in known]
    if lacking:
        raise ValueError(f"--only: no tensor of the file was recognised as {lacking[0]!r:.80}")
    names = {name: known[name] for name in args.only or known}
    inputs = read_inputs(args.inputs)
    if args.runtime == "openvino":
        found = capturing.capture_openvino(args.model, inputs, names=names)
    else:
        found = capturing.capture_onnx(
            args.model, inputs, names=names, unmatched=args.unmatched, optimize=not args.no_fusion
        )
    with atomic_path(args.out) as temporary, temporary.open("wb") as file:
        named: dict[str, Any] = {**found}
        np.savez(file, **named)
    size = sum(x.nbytes for x in found.values())
    said = {"file": args.out, "tensors": len(found), "unmatched": len(found.keys() - names.keys()), "bytes": size}
    text = f"{args.out}: {len(found)} tensors, {said['unmatched']} of them not the trace's, {size / 1e6:.1f} MB"
    print(as_json(said) if args.json else text)
