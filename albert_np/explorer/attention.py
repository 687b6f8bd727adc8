"""Who looks at whom: the probabilities of each head in each application, and in a few words what a head does."""

from __future__ import annotations

from typing import Any

import numpy as np

from albert_np.config import AlbertConfig
from albert_np.encoder import applications, step
from albert_np.ops import Array
from albert_np.run import Trace

DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def attention_of(config: AlbertConfig, trace: Trace, special: list[int]) -> dict[str, Any]:
    """probs[application][head][query]: a text of two letters for each key (`packed`); behind the heads their mean.

    habits[application][head]: see `habit`.
    """
    probs, habits = [], []
    for application, _, _ in applications(config):
        p = trace[step(application, "attention.probs")][0]
        probs.append([[packed(row) for row in head] for head in (*p, p.mean(axis=0))])
        habits.append([habit(head, np.array(special, bool)) for head in (*p, p.mean(axis=0))])
    return {"probs": probs, "habits": habits}


def packed(row: Array) -> str:  # (T,) -> 2·T letters
    """Each probability as thousandths, a number of two digits in base 36: so long is a row, whatever stands in it."""
    tenths = [round(1000 * float(x)) for x in row]
    return "".join(DIGITS[x // 36] + DIGITS[x % 36] for x in tenths)


def habit(p: Array, special: Array) -> dict[str, float]:  # (T,T) [query, key], (T,) bool
    """What a head does on average over the queries, in percent: how much it looks at certain keys.

    self: at the query itself. before, after: at the token before and behind it, over the queries that have one. special: at
    [CLS], [SEP] and their like, other than the query itself. spread: over how many tokens a query's attention is spread,
    e to the power of its entropy.
    """
    own, positive = np.diagonal(p), np.where(p > 0, p, 1)
    between = p * special[None, :]
    np.fill_diagonal(between, 0)
    several = len(p) > 1
    return {
        "self": percent(own.mean()),
        "before": percent(np.diagonal(p, -1).mean()) if several else 0.0,
        "after": percent(np.diagonal(p, 1).mean()) if several else 0.0,
        "special": percent(between.sum(axis=-1).mean()),
        "spread": round(float(np.exp(-(p * np.log(positive)).sum(axis=-1)).mean()), 1),
    }


def percent(x: Any) -> float:
    return round(100 * float(x), 1)
