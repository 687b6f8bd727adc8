"""What 14_numerics.ipynb compares: programs in float32, right ones and wrong ones, and a picture of their errors over depth."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from albert_np.golden import Comparison, Recording
from albert_np.golden.arithmetic import Exact
from albert_np.golden.graph import run
from albert_np.golden.mistakes.catalogue import Mistake, Mistaken, first_wrong_step, mistakes, with_mistake
from support.plots import BLUE, GREY, ORANGE

Array = np.ndarray[Any, np.dtype[Any]]
MYSTERY = ("softmax_over_queries", 4)  # of exercise 14.2: a mistake, and the application that makes it


def known_mistakes(recording: Recording) -> dict[str, Mistake]:
    """By name: those that a model of this kind can have."""
    return {one.name: one for one in mistakes(recording.config, recording.architecture)}


def in_float32(
    recording: Recording, mistake: Mistake | None = None, application: int | None = None
) -> dict[str, Array]:
    """What a program in float32 computes in each step: a right one, or one with a mistake, everywhere or in one application."""
    steps = recording.steps if mistake is None else with_mistake(recording.steps, mistake, application)
    weights = {name: x.astype(np.float32) for name, x in recording.weights.items()}
    return run(steps, recording.batch, weights, Mistaken(Exact()))


def first_wrong(recording: Recording, mistake: Mistake, application: int | None = None) -> str:
    """The name of the first step that a program with a mistake computes wrongly."""
    return first_wrong_step(recording.steps, with_mistake(recording.steps, mistake, application))


def mystery(recording: Recording) -> dict[str, Array]:
    """A program with a mistake that the reader does not know."""
    name, application = MYSTERY
    return in_float32(recording, known_mistakes(recording)[name], application)


def check_mystery(recording: Recording, answer: Any) -> None:
    """Is this the first step of the mystery that is wrong?"""
    assert isinstance(answer, str), "the answer is the name of a step: replace the dots"
    name, application = MYSTERY
    expected = first_wrong(recording, known_mistakes(recording)[name], application)
    assert answer == expected, f"{answer} is right, or it is not the first step that is wrong"


def over_depth(right: Comparison, wrong: Comparison) -> Any:
    """Above, the whole error of each tensor; below, the share of its budget that its op uses."""
    figure, (whole, own) = plt.subplots(2, 1, figsize=(7, 6), sharex=True, height_ratios=(3, 2))
    for comparison, marker, colour, label in (
        (right, "o", BLUE, "a right program"),
        (wrong, "x", ORANGE, "the program with the mistake"),
    ):
        at = range(len(comparison.ops))
        errors = [one.total_rms / one.golden_rms if one.total_rms else np.nan for one in comparison.ops]
        shares = [max(one.budget_share, 1e-3) for one in comparison.ops]  # an axis of logarithms has no 0
        whole.plot(at, errors, marker, color=colour, ms=4, label=label)
        own.plot(at, shares, marker, color=colour, ms=4)
    own.axhline(1, color=GREY, lw=1)
    own.text(len(right.ops), 1.3, "the budget", ha="right")
    layer = [n for n, one in enumerate(right.ops) if one.application is not None]
    starts = [n for n in layer if right.ops[n].application != right.ops[n - 1].application]
    edges = [0, *starts, layer[-1] + 1, len(right.ops)]
    names = ["input", *map(str, range(1, len(starts) + 1)), "head"]
    for axis in (whole, own):
        axis.set_yscale("log")
        for edge in edges[1:-1]:
            axis.axvline(edge - 0.5, color=GREY, lw=0.5, ls=":")
    own.set_yticks([1e-3, 1e-2, 0.1, 1, 10, 100], ["0", "0.01", "0.1", "1", "10", "100"])
    own.set_xticks([(a + b - 1) / 2 for a, b in zip(edges, edges[1:], strict=False)], names)
    own.tick_params(axis="x", length=0)
    whole.tick_params(axis="x", length=0)
    whole.set(title="The whole error of each op's output", ylabel="error ÷ size of values")
    own.set(
        title="The local error of each op",
        ylabel="share of its budget",
        xlabel="application of the layer, counted from 1",
    )
    whole.legend(loc="lower right")
    return figure
