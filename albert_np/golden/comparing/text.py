"""A comparison as text for a terminal, and as JUnit XML for a build server."""

from __future__ import annotations

import math
import shlex
from xml.etree import ElementTree

from albert_np.golden.comparing.blame import OpResult
from albert_np.golden.comparing.comparison import Comparison

SHOWN = 12  # ops of a long table


def as_text(comparison: Comparison) -> str:
    """The verdict first, then what speaks for it, then the ops that use most of what they may be off."""
    lines = [headline(comparison), f"precision: {comparison.precision} ({comparison.precision_reason})"]
    lines += [f"note: {note}" for note in comparison.notes]
    for problem in comparison.problems[:SHOWN]:
        lines.append(f"{problem.kind}: {problem.name}: {problem.message}")
    if len(comparison.problems) > SHOWN:
        lines.append(f"… and {len(comparison.problems) - SHOWN} more tensors with problems")
    bad = [one for one in comparison.ops if one.bad]
    if bad:
        lines += ["", "outside the budget, in the order of the graph:", *_table(bad[:SHOWN])]
        if len(bad) > SHOWN:
            lines.append(f"… and {len(bad) - SHOWN} more")
        lines += ["", *_elements(next(one for one in bad if one.name == comparison.first_bad_op or one is bad[0]))]
    if comparison.first_bad_op is not None:
        lines += ["", _next(comparison)]
    if twin := beside_a_twin(comparison):
        lines += ["", f"beside an emulated {comparison.precision} program: {twin}"]
    good = sorted((one for one in comparison.ops if one.verdict == "pass"), key=lambda one: -share(one))
    if good:
        lines += ["", "inside, those that use most of it:", *_table(good[:SHOWN])]
    return "\n".join(lines)


def _next(comparison: Comparison) -> str:
    """What to do about it."""
    name, folder = comparison.first_bad_op, comparison.about.get("reference", "DIR")
    if len(comparison.span) > 1:
        return f"next: record the tensors between {comparison.span[0]} and {name}, too, to tell these ops apart"
    return (
        f"next: look at {name} alone, since what it read was right or is allowed for; what follows may be its consequence. "
        f"`albert-np golden extract {shlex.quote(folder)} {name} -o repro` writes it with its inputs and budget"
    )


def headline(comparison: Comparison) -> str:
    """The verdict in one sentence."""
    judged = sum(one.verdict != "unjudged" for one in comparison.ops)
    if comparison.passed:
        return f"PASS: no op is wrong; {_tensors(judged)} inside the budget"
    if comparison.first_bad_op is None:
        return f"FAIL: no op is wrong in {_tensors(judged)}, but {_tensors(len(comparison.problems))} cannot be used as given"
    word = comparison.verdict.upper()
    if len(comparison.span) > 1:
        return f"{word}: the first bad op is {comparison.first_bad_op}, or one before it: {' → '.join(comparison.span)}"
    return f"{word}: the first bad op is {comparison.first_bad_op}"


def beside_a_twin(comparison: Comparison) -> str:
    """What the emulated program says of all tensors; nothing if none was asked for."""
    judged = [one for one in comparison.ops if one.three_way is not None]
    if not judged:
        return ""
    counts = {word: sum(one.three_way == word for one in judged) for word in ("expected", "suspicious", "broken")}
    last = judged[-1]
    return (
        ", ".join(f"{count} {word}" for word, count in counts.items())
        + f"; at the end ({last.name}) {last.three_way}, {last.twin_ratio:.2g} times the error of the twin"
    )


def _tensors(count: int) -> str:
    return f"{count} tensor{'s' * (count != 1)}"


def share(one: OpResult) -> float:
    """The largest of its three shares of what is allowed; 0 where it was not judged."""
    return max(x if x is not None else 0.0 for x in (one.budget_share, one.rms_share, one.bias_share))


def _table(ops: list[OpResult]) -> list[str]:
    width = max(len(one.name) for one in ops)
    head = f"  {'op':{width}}  {'local':>9}  {'inherited':>9}  {'budget':>8}  {'rms':>7}  {'bias':>7}"
    rows = [head]
    for one in ops:
        numbers = f"{_number(one.local):>9}  {_number(one.inherited):>9}  {_percent(one.budget_share):>8}"
        more = f"{_percent(one.rms_share):>7}  {_percent(one.bias_share):>7}"
        rows.append(f"  {one.name:{width}}  {numbers}  {more}  {one.reason}".rstrip())
    return rows


def _elements(one: OpResult) -> list[str]:
    if not one.worst:
        return []
    lines = [f"worst elements of {one.name}:"]
    for element in one.worst:
        place = ", ".join(map(str, element["index"]))
        lines.append(
            f"  [{place}]: got {element['got']:.9g}, a correct program {element['expected']:.9g} "
            f"± {element['budget']:.3g} ({_percent(element['share'])} of it)"
        )
    return lines


def _number(x: float | None) -> str:
    return "-" if x is None else f"{x:.3g}"


def _percent(share: float | None) -> str:
    if share is None:
        return "-"
    if not math.isfinite(share):
        return "∞"
    return f"{100 * share:.0f}%" if share < 100 else f"{share:.3g}×"


def as_junit(comparison: Comparison) -> str:
    """A test case for each tensor, and for each problem; those outside are failures."""
    failures = [one for one in comparison.ops if one.bad]
    suite = ElementTree.Element(
        "testsuite",
        name="albert_np.golden",
        tests=str(len(comparison.ops) + len(comparison.problems)),
        failures=str(len(failures) + len(comparison.problems)),
        skipped=str(sum(one.verdict == "unjudged" for one in comparison.ops)),
    )
    for one in comparison.ops:
        case = ElementTree.SubElement(suite, "testcase", classname=f"golden.{one.op}", name=one.name)
        if one.bad:
            text = f"local error {_number(one.local)}, {_percent(one.budget_share)} of the budget; {one.reason}"
            failure = ElementTree.SubElement(case, "failure", type=one.verdict, message=text)
            failure.text = "\n".join(_elements(one))
        elif one.verdict == "unjudged":
            ElementTree.SubElement(case, "skipped", message=one.reason)
    for problem in comparison.problems:
        case = ElementTree.SubElement(suite, "testcase", classname=f"golden.{problem.kind}", name=problem.name)
        ElementTree.SubElement(case, "failure", type=problem.kind, message=problem.message)
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"
