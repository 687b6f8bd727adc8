"""`albert-np golden card`: what the rules of other projects say of a candidate's tensors, side by side."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from albert_np.cli.golden.compare import candidate_options
from albert_np.cli.shared import HelpFormatter, as_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from albert_np.golden.graph import Step
    from albert_np.golden.recording import Recording
    from albert_np.ops import Array

EXAMPLES = """examples:
  albert-np golden card goldens candidate.npz
  albert-np golden card goldens run.npz pooler encoder.layer.3.ffn --precision bfloat16 --json

Exit codes: 0 the card was printed, whatever the rules say; 2 the input cannot be used.
"""


def add(commands: Any) -> None:
    card = commands.add_parser(
        "card",
        help="what the rules of other projects say: torch, Polygraphy, PCC, TOSA …",
        description="Applies the acceptance rules of PyTorch, NumPy, Polygraphy, Tenstorrent, Ascend, Arm, ggml, onnx and AWS "
        "Neuron to tensors of a candidate, each by its published formula, and says what each cannot see. They see the whole "
        "error of a tensor, with what it inherited from earlier ops. None of them is the verdict of this kit: that is "
        "`golden compare`'s. Rules that need the error of a correct program of that precision get it from an emulated one.",
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
    )
    card.add_argument("recording", metavar="DIR", help="what `golden record` wrote")
    candidate_options(card)
    card.add_argument(
        "tensors",
        nargs="*",
        metavar="TENSOR",
        help="names of the trace (default: the final outputs, and the first op that `golden compare` finds wrong)",
    )
    card.add_argument("--json", action="store_true", help="print JSON instead of text")
    card.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    from albert_np.golden.candidates.candidate import read
    from albert_np.golden.candidates.output_names import as_steps
    from albert_np.golden.measures.house_rules import as_text, card
    from albert_np.golden.recording import Recording
    from albert_np.golden.twin.emulation import emulate

    reference = Recording(args.recording)
    given = as_steps(read(args.candidate, args.map), reference.architecture, reference.config)
    names, precision = _chosen(args, reference, given)
    twin = emulate(reference.model(), precision, accumulate=args.accumulate or "float32")
    reduced = twin.run({**reference.call, "mask_mode": reference.mask_mode}, beside=True)
    steps = {one.name: one for one in reference.steps}
    cards = {}
    for name in names:
        bound, terms = _bound(steps[name], reference)
        cards[name] = card(
            given[name], reference[name], dtype=precision, reduced=reduced[name], bound=bound, terms=terms
        )
    if args.json:
        said = [{"name": name, "rules": [rule.as_dict() for rule in rules]} for name, rules in cards.items()]
        print(as_json({"precision": precision, "tensors": said}, indent=1))
        return
    for name, rules in cards.items():
        print(f"{name}, in {precision}: passes {sum(rule.passed is True for rule in rules)} of {len(rules)} rules\n")
        print(as_text(rules) + "\n")


def _chosen(args: argparse.Namespace, reference: Recording, given: Mapping[str, Array]) -> tuple[list[str], str]:
    """The tensors of the card, and the precision; a comparison says what the command line does not."""
    from albert_np.files import listed
    from albert_np.golden.comparing.comparison import compare
    from albert_np.golden.graph import outputs

    known = {one.name for one in reference.steps}
    for name in args.tensors:
        for what, there in (("the recording", known), ("the candidate", set(given))):
            if name not in there:
                raise ValueError(f"TENSOR is a name of the trace; {what} has none called {name!r:.80}")
    names, precision = list(args.tensors), args.precision
    if not names or precision is None:
        options = {"partial": True, "precision": precision, "accumulate": args.accumulate}
        found = compare(reference, args.candidate, name_map=args.map, **options)
        precision = found.precision
        if not names:
            ends = dict.fromkeys(outputs(reference.steps, reference.architecture).values())
            names = [name for name in ends if name in given]
            names += [name for name in (found.first_bad_op,) if name in given and name not in names]
    if not names:
        raise ValueError(f"the candidate has none of the final outputs: name a TENSOR; it has {listed(sorted(given))}")
    return names, precision


def _bound(step: Step, reference: Recording) -> tuple[Array | None, int | None]:
    """A product on absolute values, and how many terms its sums have; nothing for other ops. The formula is Arm's."""
    import numpy as np

    from albert_np.golden.arithmetic import Exact
    from albert_np.golden.graph import evaluate

    if step.op not in ("linear", "scores", "context") or step.attributes.get("position_type", "absolute") != "absolute":
        return None, None
    values = {name: np.abs(reference[name] if name in reference else reference.batch[name]) for name in step.inputs}
    weights = {name: np.abs(reference.weights[name]) for name in step.weights}
    last = values[step.inputs[0]].shape[-1]
    if step.op == "linear":
        terms = last + len(step.weights) - 1  # a bias is one more
    elif step.op == "scores":
        terms = last // step.attributes["num_heads"]
    else:
        terms = last
    return evaluate(step, values, weights, Exact()), terms
