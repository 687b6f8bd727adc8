"""From the logits of windows to ranked answers, each a span of the context with a probability.

The arithmetic is that of transformers 4.57.6 (pipelines/question_answering.py). Where its answers are wrong, these are not: a
score is a probability inside one window, and no answer begins at [CLS] or has no probability.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from albert_np.ops import Array, softmax

Ranked = dict[str, Any]  # score, start, end, answer


class Spans(NamedTuple):
    """The likeliest spans of one window, best first, and the probability that it holds none."""

    scores: Array  # (n,)
    first: Array  # (n,) tokens of the window's context
    last: Array
    nothing: float


def likely_spans(start: Array, end: Array, nothing: Array, *, most: int, max_length: int) -> Spans:  # (n,), (n,), (2,)
    """The `most` likeliest spans of a window whose n context tokens have these logits.

    nothing: the two logits at [CLS]. A span has max_length tokens at most. Its score is the product of the probabilities of
    its two ends, each a softmax over [CLS] and the context.
    """
    starts, ends = (softmax(np.append(none, logits)) for none, logits in zip(nothing, (start, end), strict=True))
    products = np.tril(np.triu(np.outer(starts[1:], ends[1:])), max_length - 1)
    order = np.argsort(-products, axis=None, kind="stable")[:most]
    first, last = np.unravel_index(order, products.shape)
    scores = products[first, last]
    real = scores > 0
    return Spans(scores[real], first[real], last[real], float(starts[0]) * float(ends[0]))


def ranked_answers(
    windows: Iterable[Spans],
    place: Callable[[int, int, int], tuple[int, int]],
    context: str,
    *,
    top_k: int,
    impossible: bool,
) -> list[Ranked]:
    """The best top_k answers over all windows: {"score", "start", "end", "answer"}, start and end in characters.

    place: (number of the window, first token, last token) -> characters. Spans of a window that read alike, whatever their
    case, are one answer: their scores add up, and the likeliest says where it is. Of the same text in several windows, the
    likelier one counts. With `impossible` there is also an empty answer, whose score is the least over the windows.
    """
    best: dict[str, Ranked] = {}
    nothing = []
    for number, spans in enumerate(windows):
        here: dict[str, Ranked] = {}
        for score, first, last in zip(spans.scores.tolist(), spans.first.tolist(), spans.last.tolist(), strict=True):
            start, end = place(number, first, last)
            text = context[start:end]
            one = here.setdefault(text.lower(), {"score": 0.0, "start": start, "end": end, "answer": text})
            one["score"] += score
        for key, one in here.items():
            if key not in best or one["score"] > best[key]["score"]:
                best[key] = one
        nothing.append(spans.nothing)
    found = list(best.values())
    if impossible:
        found.append({"score": min(nothing), "start": 0, "end": 0, "answer": ""})
    return sorted(found, key=lambda one: one["score"], reverse=True)[:top_k]
