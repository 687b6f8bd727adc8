"""A comparison as one HTML file, which opens from disk and needs nothing else: in ten seconds, where it breaks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from albert_np.files import write_atomically
from albert_np.golden.comparing.blame import BINS
from albert_np.golden.comparing.comparison import Comparison, Problem
from albert_np.golden.comparing.text import beside_a_twin, headline, share
from albert_np.golden.measures.house_formulas import Rule
from albert_np.page.shell import escaped, fill, page
from albert_np.version import __version__

HERE = Path(__file__).parent
LISTED = 40  # problems and notes that are shown; a page of a million names helps nobody
UNFOLDED = 8  # so many stand there without a click
DIGITS, LONG_DIGITS = 5, 9  # of numbers; of elements, which somebody looks for in a dump
LEFT_OUT = ("metrics", "worst", "span")  # of an op's own fields, those that are made shorter
METRICS = ("max_abs", "max_rel", "ulp_max", "ulp_mean", "snr", "nmse")


def report(comparison: Comparison, path: str | Path, *, rules: Iterable[Rule] = ()) -> Path:
    """Writes the comparison as a page, and returns its path.

    rules: the house rules for one tensor (`golden.card`), as a table at the end. The page asks nobody for anything: style,
    script and data are inside, and names and notes of a candidate can do nothing in it. Raises OSError where it cannot be
    written.
    """
    write_atomically(path, as_html(comparison, rules=rules).encode())
    return Path(path)


def as_html(comparison: Comparison, *, rules: Iterable[Rule] = ()) -> str:
    """The page itself."""
    word, rest, *_ = headline(comparison).split(": ")  # behind them: the steps of a long span
    body = fill(
        HERE / "report.html",
        {
            "verdict": escaped(comparison.verdict),
            "word": escaped(word),
            "headline": escaped(rest[:1].upper() + rest[1:]),
            "evidence": _evidence(comparison),
            "facts": _facts(comparison),
            "problems": _problems(comparison.problems),
            "notes": _list([escaped(note) for note in comparison.notes[:LISTED]], len(comparison.notes), "note"),
            "card": _card(list(rules)),
            "footer": f"Made by albert_np {escaped(__version__)}. This file loads nothing and sends nothing.",
        },
    )
    title = f"{word}: {comparison.first_bad_op or comparison.architecture}"
    return page(
        title, body, _data(comparison), styles=[HERE / "report.css"], scripts=[HERE / "charts.js", HERE / "report.js"]
    )


# --- what is there without a script -----------------------------------------------------------------------------------------


def _evidence(comparison: Comparison) -> str:
    """One sentence of numbers for the verdict."""
    bad = [one for one in comparison.ops if one.bad]
    counted = f"{len(bad)} of {len(comparison.ops)} tensors outside"
    first = next((one for one in bad if one.name == comparison.first_bad_op), None)
    if first is None:
        problem = next((one for one in comparison.problems if one.name == comparison.first_bad_op), None)
        most = max(comparison.ops, key=share, default=None)
        used = f" {most.name} uses most of what is allowed: {_share(share(most))}." if most else ""
        return escaped(f"{problem.message}." if problem else f"{counted}.{used}")
    at = "" if first.application is None else f", application {first.application}"
    module = f' (<span class="mono">{escaped(first.module)}</span>)' if first.module else ""
    shares = [("worst element", first.budget_share), ("root mean square", first.rms_share), ("bias", first.bias_share)]
    numbers = ", ".join(f"{name} <b>{_share(x)}</b>" for name, x in shares if x is not None)
    return (
        f"<b>{escaped(first.op)}{escaped(at)}</b>{module}: {escaped(first.reason)}. Of what a correct "
        f"{escaped(comparison.precision)} program may be off, it uses: {numbers}. {escaped(counted)}."
    )


def _share(x: float) -> str:
    """As charts.js writes it."""
    if x < 2:
        return f"{100 * x:.{1 if 1 < x < 1.01 else 0}f} %"
    return f"{x:.1f}×" if x < 10 else "∞" if math.isinf(x) else f"{x:,.0f}×" if x < 1e5 else f"{x:.2e}×"


def _facts(comparison: Comparison) -> str:
    judged = sum(one.verdict != "unjudged" for one in comparison.ops)
    facts = {
        "precision": f"{comparison.precision} ({comparison.precision_reason})",
        "model": f"{comparison.architecture}; {judged} of {len(comparison.ops)} tensors judged"
        + ("; partial: the candidate may lack tensors" if comparison.partial else ""),
        "fully masked rows": comparison.mask_mode,
        "beside an emulated twin": beside_a_twin(comparison),
        **{name: str(value) for name, value in comparison.about.items()},
    }
    return "".join(
        f"<div><dt>{escaped(name)}</dt><dd>{escaped(value)}</dd></div>" for name, value in facts.items() if value
    )


def _problems(problems: tuple[Problem, ...]) -> str:
    lines = [
        f'<b>{escaped(one.kind)}</b> <span class="mono">{escaped(one.name)}</span>: {escaped(one.message)}'
        for one in problems[:LISTED]
    ]
    return _list(lines, len(problems), "problem")


def _list(lines: list[str], number: int, what: str) -> str:
    """A list under a heading, folded up where it is long. lines: HTML, the first of so many. what: a word for one of them."""
    if not lines:
        return ""
    more = f"<li>… and {number - len(lines)} more</li>" if number > len(lines) else ""
    items = "".join(f"<li>{line}</li>" for line in lines)
    unfolded = " open" if number <= UNFOLDED else ""
    count = f"{number} {what}" + ("s" if number > 1 else "")
    return f'<details{unfolded}><summary>{count}</summary><ul class="problems">{items}{more}</ul></details>'


def _card(rules: list[Rule]) -> str:
    if not rules:
        return ""
    words = {True: ("pass", "pass"), False: ("fail", "fail"), None: ("", "–")}
    rows = []
    for rule in rules:
        kind, word = words[rule.passed]
        measured = ", ".join(f"{name} {value:.3g}" for name, value in rule.measured.items())
        says = "; ".join(text for text in (measured, rule.note) if text)
        rows.append(
            f'<tr><td><span class="chip {kind}">{word}</span></td><th scope="row">{escaped(rule.name)}</th>'
            f'<td class="wrap">{escaped(says)}</td><td class="wrap">{escaped(rule.threshold)}</td>'
            f'<td class="wrap muted">{escaped(rule.blind)}</td></tr>'
        )
    heads = "".join(f'<th scope="col">{name}</th>' for name in ("", "rule", "measured", "threshold", "cannot see"))
    return (
        '<section class="card stack" aria-labelledby="rules"><h2 id="rules">What other projects’ rules say</h2>'
        f'<div class="scroll"><table class="data"><thead><tr>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
        "</div></section>"
    )


# --- what the script draws --------------------------------------------------------------------------------------------------


def _data(comparison: Comparison) -> dict[str, Any]:
    """What the charts need, with numbers as long as somebody reads them."""
    plain = replace(comparison, problems=(), notes=()).as_dict()  # of which there may be very many
    return {
        "first_bad_op": comparison.first_bad_op,
        "bins": [float(BINS[0]), float(BINS[-1])],
        "ops": [_op(one) for one in plain["ops"]] + _without_values(comparison),
    }


def _op(one: dict[str, Any]) -> dict[str, Any]:
    measured = one["metrics"]
    short = {name: measured.get(name) for name in METRICS}
    # what is left to 1, as that is what people compare; as it is, 5 digits would all be nines
    short |= {name: measured.get(name) for name in ("cosine", "pcc")}
    short["nonfinite"] = measured.get("unequal_nonfinite")
    op = {name: _rounded(value) for name, value in one.items() if name not in LEFT_OUT}
    op["metrics"] = {name: _rounded(x, 17 if name in ("cosine", "pcc") else DIGITS) for name, x in short.items()}
    op["worst"] = [
        {name: _rounded(x, LONG_DIGITS if name in ("got", "expected") else DIGITS) for name, x in element.items()}
        for element in one["worst"]
    ]
    if len(one["span"]) > 1:
        op["span"] = one["span"]
    return op


def _without_values(comparison: Comparison) -> list[dict[str, Any]]:
    """Steps that are missing or misshapen: they have a place in the map too."""
    there = {one.name for one in comparison.ops}
    found = [one for one in comparison.problems if one.kind in ("missing", "shape") and one.name not in there]
    return [
        {
            "name": one.name,
            "op": "",
            "application": _application(one.name),
            "verdict": one.kind,
            "message": one.message,
        }
        for one in found
    ]


def _application(name: str) -> int | None:
    parts = name.split(".")
    return int(parts[2]) if parts[:2] == ["encoder", "layer"] and len(parts) > 3 and parts[2].isdecimal() else None


def _rounded(x: Any, digits: int = DIGITS) -> Any:
    return float(f"{x:.{digits}g}") if isinstance(x, float) else x
