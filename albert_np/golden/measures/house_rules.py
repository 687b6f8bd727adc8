"""The rules by which other projects accept a result, side by side, each with what it cannot see.

None of them is this kit's verdict. Each says pass or fail as its own code would, also where that is wrong: a correlation that
is undefined passes at Tenstorrent, two NaN in one place pass in NumPy. house_formulas.py has the formulas.
"""

from __future__ import annotations

from collections.abc import Callable
from textwrap import wrap
from typing import Any

import numpy as np

from albert_np.golden.measures import house_formulas as formulas
from albert_np.golden.measures.house_formulas import Rule
from albert_np.golden.measures.metrics import selected
from albert_np.golden.measures.ulps import format_of


def card(
    actual: Any,
    expected: Any,
    *,
    dtype: str,
    reduced: Any = None,
    bound: Any | Callable[[], Any] = None,
    terms: int | None = None,
    where: Any = None,
) -> list[Rule]:
    """Every rule of the house rules, applied to one tensor.

    dtype: what the candidate computes in: float16, bfloat16, tf32, float32 or float64. expected: the truth, best in float64.
    reduced: the same op at the candidate's precision by a program that is trusted (a CPU), for the rules that compare errors.
    bound, terms: the same op on absolute values (or a function that gives it), and how many products an element is the sum of,
    one more with a bias: for Arm's rule. where: booleans; what is False is left out.
    Raises ValueError as `metrics` does, and for a dtype or a number of terms that makes no sense.
    """
    format_of(dtype)
    a, e, _ = selected(actual, expected, where)
    r = None if reduced is None else selected(reduced, expected, where)[0].astype(np.float64)
    b = None
    if bound is not None:
        b = selected(bound() if callable(bound) else bound, expected, where)[0].astype(np.float64)
        if isinstance(terms, bool) or not isinstance(terms, (int, np.integer)) or terms < 1:
            raise ValueError(
                f"terms must be the number of products in a sum, 1 or more, beside a bound; got {terms!r:.40}"
            )
    a, e = a.astype(np.float64), e.astype(np.float64)
    with np.errstate(all="ignore"):
        return [
            formulas.torch_rule(a, e, dtype),
            formulas.numpy_rule(a, e),
            *formulas.polygraphy(a, e),
            formulas.tenstorrent_pcc(a, e),
            formulas.tenstorrent_ulp(a, e, dtype),
            formulas.ascend_single(a, e, dtype),
            *formulas.ascend_double(a, e, r),
            formulas.tosa(a, e, b, terms, dtype),
            *formulas.ggml(a, e),
            formulas.onnx_rule(a, e),
            formulas.neuron_static(a, e),
            formulas.neuron_three_way(a, e, r),
        ]


def as_text(rules: list[Rule], *, width: int = 120) -> str:
    """The card for a terminal: what each rule says, and what it cannot see."""
    words = {True: "pass", False: "FAIL", None: "-"}
    names = max(len(rule.name) for rule in rules)
    lines = []
    for rule in rules:
        measured = ", ".join(f"{name} {value:.3g}" for name, value in rule.measured.items())
        says = "; ".join(text for text in (measured, rule.note) if text)
        lines.append(f"{words[rule.passed]:<5} {rule.name:<{names}}  {says} ({rule.threshold})")
        lines.append(f"{'':<5} {'':<{names}}  cannot see: {rule.blind}")
    indent = " " * (names + 8)
    return "\n".join(
        part for line in lines for part in wrap(line, width, subsequent_indent=indent, drop_whitespace=True)
    )
