"""`albert-np golden amplify`: how an error of one op grows to the end, and how many ULPs each op may be off."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING, Any

from albert_np.cli.golden.record import load, read_inputs
from albert_np.cli.shared import HelpFormatter, as_json, model_options

if TYPE_CHECKING:
    from albert_np.golden.amplifier.dynamics import Growth
    from albert_np.golden.amplifier.gains import Amplification, Gain

EXAMPLES = """examples:
  albert-np golden amplify ./my-albert --inputs text
  albert-np golden amplify ./my-albert --inputs inputs.npz --precision float32 --pcc 0.999 --json
  albert-np golden amplify ./my-albert --inputs "text:The river runs." --measure tanh attention.query
"""
TOGETHER = ("linear", "layer_norm", "activation", "tanh", "exp", "rsqrt", "all")


def add(commands: Any) -> None:
    amplify = commands.add_parser(
        "amplify",
        parents=[model_options()],
        help="how an error of one op grows to the end, and how many ULPs each op may be off",
        description="Says what a small random error of each op makes of the model's output, before anything is built; and "
        "how far each op may be off if the output is to keep a wanted PCC (its correlation with the right one). The answers "
        "come from derivatives in float64. Where an error is too large for them, the number is marked with ~; with "
        "--measure, the model is run with errors of that size instead. For all ops together that is done anyway.",
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
        "--measure",
        nargs="+",
        default=[],
        metavar="NAME",
        help="run the model with errors in these rows of the table, such as layer_norm or attention.query, where "
        "derivatives are not to be trusted; each takes up to a few dozen forwards",
    )
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
    from tqdm import tqdm

    from albert_np.golden.amplifier.dynamics import growth
    from albert_np.golden.amplifier.gains import amplification

    model = load(args)
    inputs = read_inputs(args.inputs, model.config, args.model)
    with tqdm(desc="derivatives", unit="probe", disable=None, leave=False) as bar:

        def progress(done: int, count: int) -> None:
            bar.total = count
            bar.update(done - bar.n)

        options = {"precision": args.precision, "probes": args.probes, "seed": args.seed}
        amp = amplification(model, inputs, **options, progress=progress)
    output = args.output or amp.outputs[0]
    names = list(dict.fromkeys(gain.part for gain in amp.gains))
    measured = {"all", *(_known(amp, name) for name in args.measure)}
    known = {name for gain in amp.gains for name in (gain.op, gain.function, "all")}
    several = [name for name in dict.fromkeys([*(m for m in measured if m not in names), *TOGETHER]) if name in known]
    several.sort(key=lambda name: name == "all")  # at the end
    with tqdm([*names, *several], desc="rows", unit="row", disable=None, leave=False) as bar:
        rows = [_row(amp, name, output, args.pcc, measure=name in measured) for name in bar]
    parts, together = rows[: len(names)], rows[len(names) :]
    grown = growth(amp)
    says = _sentences(amp, output, args.pcc, parts, together, grown)
    if args.json:
        print(as_json(_json(amp, output, args.pcc, parts, together, grown, says), indent=2))
    else:
        _print(amp, output, args.pcc, parts, together, says)


def _known(amp: Amplification, name: str) -> str:
    """The row that --measure names: a part of the layer may be named without what all parts begin with."""
    from albert_np.golden.amplifier.injection import LAYER

    full = LAYER + name
    if any(gain.part == full for gain in amp.gains):
        return full
    if all(name not in (gain.part, gain.op, gain.function, "all") for gain in amp.gains):
        raise ValueError(f"--measure names a row of the table, such as layer_norm or attention.query; got {name!r:.80}")
    return name


def _row(amp: Amplification, name: str, output: str, pcc: float, *, measure: bool) -> dict[str, Any]:
    """One line of the table: errors of the output, as shares of its standard deviation, for one unit of error.

    allowed_why: why the number of units is not to be trusted; "" if the derivatives hold, or noise was run (measured).
    """
    gains = amp.matching(name)
    one = amp.predict({name: 1.0}, output=output, measure=False)
    unit = one.relative / one.rms if one.rms else 0.0
    row: dict[str, Any] = {"name": name}
    if len({gain.part for gain in gains}) == 1 and len(gains) > 1:
        at = (gains[0], gains[len(gains) // 2], gains[-1])
        row |= {word: gain.rms[output] * unit for word, gain in zip(("first", "middle", "last"), at, strict=True)}
    row |= {"places": len(gains), "together": one.relative, "measured": measure}
    row["allowed"], row["allowed_why"] = _units(amp, name, output, pcc, measure, repeated=False)
    if {gain.application for gain in gains} != {None}:
        row["repeated"] = amp.predict({name: 1.0}, output=output, repeated=True, measure=False).relative
        row["allowed_repeated"], row["allowed_repeated_why"] = _units(amp, name, output, pcc, measure, repeated=True)
    return row


def _units(
    amp: Amplification, name: str, output: str, pcc: float, measure: bool, *, repeated: bool
) -> tuple[float, str]:
    """How many units the op may be off, and why that is not to be trusted ("" if it is)."""
    if measure:
        return amp.allowed(name, pcc, output=output, repeated=repeated), ""
    return amp.inverse(name, pcc, output=output, repeated=repeated)


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

    from albert_np.golden.measures.metrics import json_ready

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
    how = f"measured with random errors, because {one.why}" if one.measured else "predicted from derivatives"
    weakest = min(parts, key=lambda row: row["allowed"])
    rate = math.exp(grown[-1].exponent)
    if rate < 1:
        fate = f"shrinks: each application of the layer leaves {rate:.3f} of it. What early applications do wrong fades"
    else:
        fate = f"grows: each application of the layer multiplies it by {rate:.3f}. What early applications do wrong counts most"
    again = rate ** len(grown)
    return [
        f"If every op is off by {unit} at random, the error of {output} is {one.relative:.2%} of its standard deviation, "
        f"and its PCC with the right values is {one.pcc:.6f} ({how}).",
        f"To keep a PCC of {pcc:g}, all ops together may be off by {every['allowed']:.3g} units (measured). If only one part "
        f"is off, in all of its applications, {_short(weakest['name'])} may be off the least: by "
        f"{'about ' if weakest['allowed_why'] else ''}{weakest['allowed']:.3g} units.",
        f"On its way through the model, a small error {fate}. Over all {len(grown)} applications that is a factor of "
        f"{again:.3g}. It belongs to the model: no program can change it, and no test of a single op can show it.",
    ]


def _print(
    amp: Amplification,
    output: str,
    pcc: float,
    parts: list[dict[str, Any]],
    together: list[dict[str, Any]],
    says: list[str],
) -> None:
    print(f"If a part of the model is off by 1 unit ({amp.unit}) at random: the error of {output}, in % of its")
    print("standard deviation. First, middle, last: in one application only. All: in each, with errors of its own.")
    print(f"Same: in each, with the same errors. At the right, how many units it may be off for a PCC of {pcc:g}.\n")
    names = {row["name"]: _short(row["name"]) for row in parts + together}
    width = max(map(len, names.values()))
    heads = ("first", "middle", "last", "all", "same", "units, all", "same")
    print(" " * width + "".join(f"{head:>12}" for head in heads))
    for rows in (parts, together):
        for row in rows:
            shares = [row.get(word) for word in ("first", "middle", "last", "together", "repeated")]
            cells = ["" if x is None else f"{100 * x:.3g}" for x in shares]
            for word in ("allowed", "allowed_repeated"):
                mark = "~" if row.get(f"{word}_why") else ""
                cells.append(f"{mark}{row[word]:.3g}" if word in row else "")
            print(f"{names[row['name']]:<{width}}" + "".join(f"{cell:>12}" for cell in cells))
        print()
    if any(row.get(f"{word}_why") for row in parts + together for word in ("allowed", "allowed_repeated")):
        print("~ is from derivatives, for an error that is too large for them: --measure NAME runs it.\n")
    print("\n".join(says))


def _short(name: str) -> str:
    """A part of the layer, without what all of them begin with."""
    from albert_np.golden.amplifier.injection import LAYER

    return name.removeprefix(LAYER)
