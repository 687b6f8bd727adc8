"""Correct programs that differ: other orders of adding, fused or separate roundings, other formulas of the same function.

Nobody is wrong here. Engineers see how far apart correct programs lie; the tests run them by the hundred, and none may be
called wrong. A program with accumulators of 16 bits, or one whose mask is not the model's, is not among them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from albert_np.golden.measures.formats import FLOAT32, named
from albert_np.golden.twin.emulation import PRECISIONS
from albert_np.golden.twin.functions import EXACT, Function
from albert_np.golden.twin.program import Program
from albert_np.golden.twin.summation import Order, Summation

PLAIN = ("float32", "tf32", "float16", "bfloat16")
ORDERS: dict[str, Order] = {
    "numpy": Order(),
    "sequential": Order(1),
    "sequential, fused": Order(1, fused=True),
    "reversed": Order(1, start="reversed"),
    "pairwise": Order(1, pairwise=True),
    "pairs of blocks of 8": Order(8, pairwise=True),
    "blocks of 8": Order(8),
    "blocks of 32": Order(32),
    "blocks of 256": Order(256),
    "8 lanes, fused": Order(1, lanes=8, fused=True),
    "split in 4": Order(8, lanes=4),
}
FUSED = {
    "": frozenset[str](),
    "fused attention": frozenset({"attention"}),
    "flash attention": frozenset({"flash"}),
    "fused activation": frozenset({"activation"}),
    "fused residual": frozenset({"residual"}),
    "all fused": frozenset({"flash", "activation", "residual"}),
}


def _numpys(name: str) -> Function:
    """NumPy's own float32 function."""
    plain: dict[str, Callable[[Any], Any]] = {"exp": np.exp, "tanh": np.tanh}
    return lambda x: plain[name](x.astype(np.float32)).astype(np.float64)


FUNCTIONS = {"": EXACT, "NumPy's exp and tanh": EXACT | {name: _numpys(name) for name in ("exp", "tanh")}}


def variants(precision: str = "float32", seed: int = 0) -> Iterator[tuple[str, Program]]:
    """Correct programs of that precision without end, each a random combination, with a name that says what it is.

    precision: "float32", "tf32", "float16" or "bfloat16". The first one is the plain program. program.forward(steps, batch,
    weights) runs one, fused as it is; as a table it computes single ops. Raises ValueError for another precision.
    """
    if precision not in PLAIN:
        raise ValueError(f"precision must be one of {', '.join(PLAIN)}; got {precision!r:.60}")
    stored, operands, _ = PRECISIONS[precision]
    rng = np.random.default_rng([seed, PLAIN.index(precision)])
    plain: dict[str, Any] = {
        "stored": named(stored),
        "multiply": None if operands is None else named(operands),
    }
    yield precision, Program(**plain)
    while True:
        name, choices = _drawn(rng, precision)
        yield f"{precision}: {name}", Program(**plain, **choices)


def _drawn(rng: np.random.Generator, precision: str) -> tuple[str, dict[str, Any]]:
    """A combination. Half of the choices are the plain ones, so that each of the others is seen by itself too."""

    def pick(*choices: Any) -> Any:
        return choices[0] if rng.random() < 0.5 else choices[int(rng.integers(len(choices)))]

    order = pick(*ORDERS, "random order")
    fused, functions, flush = pick(*FUSED), pick(*FUNCTIONS), bool(pick(False, True))
    form = {
        "gelu": pick("tanh", "sigmoid"),
        "norm": pick("rsqrt", "divide", "shifted"),
        "mask": pick("lowest", "-10000", "-inf"),
        "scale": pick("divide", "multiply", "query"),
    }
    flags = {name: bool(pick(False, True)) for name in ("reciprocal", "base_2", "bias_first", "contract")}
    online = pick(None, 4, 16)
    stepwise: frozenset[str] = frozenset()
    if precision == "bfloat16":  # float16 has no exponents for the small steps of a LayerNorm
        stepwise = pick(frozenset(), frozenset({"layer_norm"}), frozenset({"activation"}), frozenset({"add", "scores"}))
    of_sums = Order(1, start=int(rng.integers(2**31))) if order == "random order" else ORDERS[order]
    names = [order, fused, functions, "flushed" * flush, *form.values(), *(name for name, on in flags.items() if on)]
    names += [f"online in {online}" if online else "", *sorted(f"{op} step by step" for op in stepwise)]
    chosen = {
        "summation": Summation(FLOAT32, of_sums, flush=flush),
        "fused": FUSED[fused],
        "functions": FUNCTIONS[functions],
        "flush": flush,
        "online": online,
        "stepwise": stepwise,
        **form,
        **flags,
    }
    return ", ".join(name for name in names if name), chosen
