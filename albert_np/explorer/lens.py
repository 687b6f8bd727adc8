"""The lens: the model's own head, applied to the state after each application of the layer, as if it were the last."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from albert_np import heads, ops
from albert_np.calling import AlbertPreTrainedModel
from albert_np.model import AlbertForTokenClassification
from albert_np.ops import Array
from albert_np.run import Encoded, Run

TOP = 5  # guesses at each place and depth
LINES = 7  # guesses of one token that are followed over all depths
HEAD_OF = {"AlbertForPreTraining": "words", "AlbertForMaskedLM": "words", "AlbertForTokenClassification": "labels"}


def logits_of(model: AlbertPreTrainedModel[Any], states: Array) -> Array | None:  # (B,T,H) -> (B,T,V|K)
    """What the model's own head makes of states of any depth; None for a model without a head for each token."""
    run, kind = Run(ops, model.config), HEAD_OF.get(type(model).__name__)
    if kind is None:
        return None
    if isinstance(model, AlbertForTokenClassification):
        return heads.classifier(run, model._weights.classifier, states, None)
    return model._predictions(run, Encoded(states), None)  # type: ignore[attr-defined]


def lens_of(
    model: AlbertPreTrainedModel[Any], states: list[Array], ids: list[int], piece_of: Callable[[int], str]
) -> dict[str, Any] | None:
    """The likeliest pieces or labels at each place and depth, as the page shows them. states: (T,H) each.

    Chances are in thousandths, which is what the page shows; names are numbers of `names`, which holds those that occur.
    """
    kind = HEAD_OF.get(type(model).__name__)
    if kind is None:
        return None
    labels = model.config.label_names
    found = [ops.softmax(p[0]) for state in states if (p := logits_of(model, state[None])) is not None]
    best = [_best(p) for p in found]
    known: dict[int, int] = {}
    name = piece_of if kind == "words" else lambda k: str(labels[k])

    def place(k: int) -> int:
        return known.setdefault(int(k), len(known))

    top, own = [], []
    for p, guesses in zip(found, best, strict=True):
        top.append([[x for k in row for x in (place(k), thousandths(p[t, k]))] for t, row in enumerate(guesses)])
        if kind == "words":
            own.append([[1 + int(np.sum(p[t] > p[t, i])), thousandths(p[t, i])] for t, i in enumerate(ids)])
    lines = []
    for t in range(len(ids)):
        followed = _followed([guesses[t] for guesses in best])
        lines.append([[place(k), *(thousandths(p[t, k]) for p in found)] for k in followed])
    return {"kind": kind, "names": [name(k) for k in known], "top": top, "own": own, "lines": lines}


def thousandths(x: Any) -> int:
    """A chance as the page shows it: rounded to a tenth of a percent."""
    return round(1000 * float(x))


def _best(p: Array) -> Array:  # (T,V) -> (T,TOP)
    """The places of the largest, the largest first; of equal ones the first."""
    return np.argsort(-p, axis=-1, kind="stable")[:, :TOP]


def _followed(best: list[Array]) -> list[int]:
    """The last guesses first, then what was the first guess at some depth, the deepest first."""
    candidates = [*(int(k) for k in best[-1]), *(int(row[0]) for row in reversed(best))]
    return list(dict.fromkeys(candidates))[:LINES]
