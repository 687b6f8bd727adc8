"""`albert-np golden amplify`: how an error of one op grows to the end, and how many ULPs each op may be off."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING, Any

from albert_np.cli.golden.record import load
from albert_np.cli.shared import HelpFormatter, as_json, model_options

if TYPE_CHECKING:
    from albert_np.golden.amplifier import Amplification, Gain
    from albert_np.golden.dynamics import Growth

EXAMPLES = """examples:
  albert-np golden amplify ./my-albert --inputs text
  albert-np golden amplify ./my-albert --inputs inputs.npz --precision float32 --pcc 0.999 --json
"""
TOGETHER = ("linear", "layer_norm", "activation", "tanh", "exp", "rsqrt", "all")


def add(commands: Any) -> None:
    amplify = commands.add_parser(
        "amplify",
        parents=[model_options()],
        help="how an error of one op grows to the end, and how many ULPs each op may be off",
        description="Differentiates a model in float64 and says what one unit of error of each op, in each application, "
        "makes of the output; and how far each op may be off for a wanted PCC. Errors are random, with the given deviation.",
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
    )
    amplify.add_argument("model", help="folder, demo, or hub id; its config.json says which class it is")
    amplify.add_argument(
        "--inputs",
        default="text",
        metavar="INPUTS",
        help="a preset such as text; an .npz, .json or .txt; or text:…, one text (default: %(default)s)",
    )
    amplify.add_argument(
        "--architecture", metavar="CLASS", help="a class such as AlbertForMaskedLM (default: config's)"
    )
    amplify.add_argument("--pcc", type=float, default=0.99, help="wanted of the output (default: %(default)s)")
    amplify.add_argument(
        "--precision",
        default="bfloat16",
        metavar="UNIT",
        help="whose ULP is the unit of error: float32, tf32, float16, bfloat16; or relative, absolute (default: %(default)s)",
    )
    amplify.add_argument(
        "--output", metavar="NAME", help="of the model, such as last_hidden_state (default: its first)"
    )
    amplify.add_argument(
        "--probes", type=int, default=16, metavar="N", help="more: less noise in the gains (default: 16)"
    )
    amplify.add_argument("--seed", type=int, default=0, metavar="N", help="of the probes (default: 0)")
    amplify.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    from albert_np.golden.amplifier import amplification
    from albert_np.golden.dynamics import growth
    from albert_np.golden.input_sets import load_inputs

    model = load(args)
    inputs = load_inputs(args.inputs, model.config)
    amp = amplification(model, inputs, precision=args.precision, probes=args.probes, seed=args.seed)
    output = args.output or amp.outputs[0]
    parts = [_row(amp, name, output, args.pcc) for name in dict.fromkeys(gain.part for gain in amp.gains)]
    known = {name for gain in amp.gains for name in (gain.op, gain.function, "all")}
    together = [_row(amp, name, output, args.pcc) for name in TOGETHER if name in known]
    grown = growth(amp)
    says = _sentences(amp, output, args.pcc, parts, together, grown)
    if args.json:
        print(as_json(_json(amp, output, args.pcc, parts, together, grown, says), indent=2))
    else:
        _print(amp, output, args.pcc, parts, together, says)


def _row(amp: Amplification, name: str, output: str, pcc: float) -> dict[str, Any]:
    """One line of the table: errors of the output, as shares of its standard deviation, for one unit of error."""
    gains = amp.matching(name)
    one = amp.predict({name: 1.0}, output=output, measure=False)
    unit = one.relative / one.rms if one.rms else 0.0
    places = {gain.application for gain in gains}
    row: dict[str, Any] = {"name": name}
    if len({gain.part for gain in gains}) == 1 and len(gains) > 1:
        at = (gains[0], gains[len(gains) // 2], gains[-1])
        row |= {word: gain.rms[output] * unit for word, gain in zip(("first", "middle", "last"), at, strict=True)}
    independent = amp.allowed(name, pcc, output=output)
    row |= {"places": len(gains), "together": one.relative, "allowed": independent}
    if places != {None}:
        same = amp.predict({name: 1.0}, output=output, repeated=True, measure=False)
        row |= {"repeated": same.relative, "allowed_repeated": amp.allowed(name, pcc, output=output, repeated=True)}
    return row


def _json(
    amp: Amplification,
    output: str,
    pcc: float,
    parts: list[dict[str, Any]],
    together: list[dict[str, Any]],
    grown: list[Growth],
    says: list[str],
) -> dict[str, Any]:
    from dataclasses import asdict

    from albert_np.golden.metrics import json_ready

    def gain(one: Gain) -> dict[str, Any]:
        return {"name": one.key, "op": one.op, "application": one.application, "share": one.share, "rms": one.rms}

    whole = {
        "unit": amp.unit,
        "output": output,
        "pcc": pcc,
        "predicted": asdict(amp.predict({"all": 1.0}, output=output)),
        "parts": parts,
        "together": together,
        "growth": [asdict(one) for one in grown],
        "gains": [gain(one) for one in amp.gains],
        "says": says,
    }
    ready: dict[str, Any] = json_ready(whole)
    return ready


def _sentences(
    amp: Amplification,
    output: str,
    pcc: float,
    parts: list[dict[str, Any]],
    together: list[dict[str, Any]],
    grown: list[Growth],
) -> list[str]:
    unit = {"relative": "a relative error of 1", "absolute": "an absolute error of 1"}.get(
        amp.unit, f"1 ULP of {amp.unit}"
    )
    one, every = amp.predict({"all": 1.0}, output=output), together[-1]
    how = f"measured with noise, because {one.why}" if one.measured else "predicted"
    weakest = min(parts, key=lambda row: row["allowed"])
    last = grown[-1]
    fate = "grows" if last.exponent > 0 else "dies out"
    return [
        f"If every op is off by {unit} at random, {output} has an error of {one.relative:.2%} of its standard deviation, "
        f"and a PCC of {one.pcc:.6f} ({how}).",
        f"For a PCC of {pcc:g}, all ops together may be off by {every['allowed']:.3g} such units; of single parts, "
        f"{_short(weakest['name'])} may be off the least: {weakest['allowed']:.3g} in all of its places.",
        f"A small error {fate} from application to application: the layer multiplies it by {math.exp(last.exponent):.3f} "
        f"in the mean of {len(grown)} (Lyapunov exponent {last.exponent:+.3f}), and each application adds its own.",
    ]


def _print(
    amp: Amplification,
    output: str,
    pcc: float,
    parts: list[dict[str, Any]],
    together: list[dict[str, Any]],
    says: list[str],
) -> None:
    print(f"Error of {output}, in % of its standard deviation, for 1 unit of error ({amp.unit}) of each part")
    print("in one application; in all of them, independent or the same in each; and units allowed for that PCC\n")
    names = {row["name"]: _short(row["name"]) for row in parts + together}
    width = max(map(len, names.values()))
    heads = ("first", "middle", "last", "all", "repeated", f"PCC {pcc:g}", "repeated")
    print(" " * width + "".join(f"{head:>11}" for head in heads))
    for rows in (parts, together):
        for row in rows:
            shares = [row.get(word) for word in ("first", "middle", "last", "together", "repeated")]
            cells = ["" if x is None else f"{100 * x:.3g}" for x in shares]
            cells += [f"{row[word]:.3g}" if word in row else "" for word in ("allowed", "allowed_repeated")]
            print(f"{names[row['name']]:<{width}}" + "".join(f"{cell:>11}" for cell in cells))
        print()
    print("\n".join(says))


def _short(name: str) -> str:
    """A part of the layer, without what all of them begin with."""
    from albert_np.golden.injection import LAYER

    return name.removeprefix(LAYER)
