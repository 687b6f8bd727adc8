"""`albert-np golden diagnose`: from a candidate's final outputs alone, the porting mistake that explains them."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

from albert_np.cli.golden.record import inputs_option, load, read_inputs
from albert_np.cli.shared import HelpFormatter, as_json, model_options

EXAMPLES = """examples:
  albert-np golden diagnose goldens outputs.npz
  albert-np golden diagnose goldens outputs.npz --precision bfloat16 --json
  albert-np golden diagnose ./my-albert outputs.npz --inputs inputs.npz

The answer is the name of a mistake (docs/golden_mistakes.md has them all), "none" or "unknown".
Exit codes: 0 an answer, 2 the input cannot be used.
"""


def add(commands: Any) -> None:
    diagnose = commands.add_parser(
        "diagnose",
        parents=[model_options()],
        help="name the porting mistake that explains a candidate's final outputs",
        description="Runs the reference with each mistake of the catalogue, and compares with what the candidate gives in the "
        "end: logits, last_hidden_state … One output is enough, and no intermediate tensors are needed.",
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
    )
    diagnose.add_argument("model", metavar="REFERENCE", help="what `golden record` wrote; or a model, with --inputs")
    diagnose.add_argument(
        "candidate", help=".npz, .safetensors, a folder of .npy, or a folder of raw .bin with a manifest.json"
    )
    inputs_option(diagnose)
    diagnose.add_argument("--map", metavar="FILE", help="JSON: our names to the candidate's, with * on both sides")
    diagnose.add_argument(
        "--precision",
        choices=("float64", "float32", "tf32", "float16", "bfloat16"),
        help="what the candidate computes in (default: found from its values)",
    )
    diagnose.add_argument("--ignore-padding", action="store_true", help="leave out the numbers of padded tokens")
    diagnose.add_argument("--architecture", metavar="CLASS", help="with a model: its class (default: config's)")
    diagnose.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    from albert_np.golden.candidates.candidate import read
    from albert_np.golden.measures.metrics import json_ready
    from albert_np.golden.mistakes.diagnosis import diagnose
    from albert_np.golden.recording import MANIFEST, Recording

    inputs = None
    if args.inputs is None:
        if not (Path(args.model) / MANIFEST).is_file():
            raise OSError(f"{args.model} is no recording (albert-np golden record); a model needs --inputs FILE")
        reference: Any = Recording.open(args.model)
    else:
        reference = load(args)
        inputs = read_inputs(args.inputs, reference.config, args.model)
    found = diagnose(
        reference,
        read(args.candidate, args.map),
        inputs,
        precision=args.precision,
        ignore_padding=args.ignore_padding,
        progress=_progress if sys.stderr is not None and sys.stderr.isatty() else None,
    )
    print(as_json(json_ready(found.to_dict()), indent=1) if args.json else _text(found))


def _progress(done: int, all_: int, seconds: float) -> None:
    left = seconds / done * (all_ - done)
    end = "\r" if done < all_ else "\r\033[K"
    print(f"\r\033[K{done} of {all_} mistakes tried, about {left:.0f} s left", end=end, file=sys.stderr, flush=True)


def _text(found: Any) -> str:
    how = "found from the values" if found.precision_detected else "as given"
    lines = [found.diagnosis, f"  {found.description}"]
    if found.ties:
        lines.append(f"  cannot be told from: {', '.join(found.ties)}")
    lines += [
        "",
        f"{found.precision} ({how}); judged by {', '.join(found.outputs)}",
        f"{found.tried} mistakes tried in {found.seconds:.1f} s; {len(found.invisible)} of them change nothing here that could "
        "be seen",
        "",
        "      distance   times noise   effect seen   hypothesis",
    ]
    for one in found.evidence:
        effect = f"{one.effect:.3f} ± {one.effect_error:.1g}" if math.isfinite(one.effect_error) else "–"
        mark = "*" if one.name.partition("@")[0] == found.diagnosis else " "
        lines.append(f"{mark} {one.after:12.3g} {one.noise:13.3g} {effect:>13}   {one.name}: {one.description}")
    before = found.evidence[0].before
    lines += ["", f"The candidate's distance from the truth is {before:.3g} of the outputs' size."]
    return "\n".join([*lines, *found.notes])
