"""The lens: the head for masked words, pointed at the states of every depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from albert_np import ops
from albert_np.explorer.lens import logits_of
from support.held_out import NO_LABEL
from support.plots import BLUE, GREEN, ORANGE

Array = np.ndarray


@dataclass(frozen=True)
class Answers:
    """What the lens says about n hidden tokens at L+1 depths; depth 0 is before the first application."""

    first: Array  # (L+1,n) int: the piece with the highest score
    sure: Array  # (L+1,n): its probability
    rank: Array  # (L+1,n) int: how many pieces have a higher score than the right one
    right: Array  # (n,) int: the hidden piece itself


def ask(model: Any, batch: dict[str, Any]) -> Answers:
    """The answers for all hidden tokens of a batch (held_out.masked), from one run of the model."""
    labels = batch["labels"]
    hidden = labels != NO_LABEL
    right = labels[hidden]
    inputs = {name: array for name, array in batch.items() if name != "labels"}
    found = []
    for states in model.albert(**inputs, output_hidden_states=True).hidden_states:
        logits = logits_of(model, states[hidden][None])[0]  # (n,V)
        score = np.take_along_axis(logits, right[:, None], axis=1)
        found.append((logits.argmax(axis=1), ops.softmax(logits).max(axis=1), (logits > score).sum(axis=1)))
    first, sure, rank = (np.stack(part) for part in zip(*found, strict=True))
    return Answers(first, sure, rank, right)


def settled(first: Array) -> Array:  # (L+1,n) -> (n,)
    """The depth from which the first answer is the last one, and stays it."""
    other = first != first[-1]
    return np.where(other.any(axis=0), len(first) - other[::-1].argmax(axis=0), 0)


def left_and_returned(first: Array) -> Array:  # (L+1,n) -> (n,) bool
    """Was the last answer there before, and then gone for a while?"""
    there = first == first[-1]
    return (there[:-1] & ~there[1:]).any(axis=0)


def draw_words(words: list[list[str]], sure: Array, titles: Sequence[str]) -> Any:  # (texts,L+1)
    """A row for each text, a column for each depth: the first answer, and how sure it is. Of a title, the part at the mask."""
    figure, axis = plt.subplots(figsize=(7, 0.36 * len(words) + 0.9))
    image = axis.imshow(sure, cmap="Blues", vmin=0, vmax=0.7, aspect="auto")
    for row, line in enumerate(words):
        for column, word in enumerate(line):
            ink = "white" if sure[row, column] > 0.4 else "black"
            axis.text(column, row, word.lstrip("▁"), ha="center", va="center", fontsize=9, color=ink)
    axis.set_yticks(range(len(titles)), [_at_mask(title) for title in titles], fontsize=9)
    axis.set_xticks(range(len(words[0])))
    axis.set(title="First answer at every depth", xlabel="applications")
    axis.tick_params(length=0)
    figure.colorbar(image, label="probability")
    return figure


def _at_mask(text: str) -> str:
    """A few words before and after [MASK]."""
    words = text.split()
    place = words.index("[MASK]")
    first, last = max(place - 2, 0), place + 2
    return "… " * (first > 0) + " ".join(words[first:last]).replace("[MASK]", "___") + " …" * (last < len(words))


def draw_by_depth(answers: Answers) -> Any:
    """Two panels over depth: how often the first answer is right, and when the last answer came to stay."""
    depths = np.arange(len(answers.first))
    figure, (left, stay) = plt.subplots(1, 2, figsize=(7, 3.2))
    left.plot(
        depths, 100 * (answers.rank < 5).mean(axis=1), color=ORANGE, marker="s", ms=5, label="among the first five"
    )
    left.plot(depths, 100 * (answers.rank == 0).mean(axis=1), color=BLUE, marker="o", label="first answer right")
    left.set(title="Right answers", xlabel="applications", ylabel="% of hidden tokens", ylim=(0, None))
    left.legend(fontsize=9)
    share = np.bincount(settled(answers.first), minlength=len(depths)) / answers.first.shape[1]
    stay.bar(depths, 100 * share, color=GREEN)
    stay.set_xticks(depths)
    stay.set(title="When the last answer settled", xlabel="applications", ylabel="% of hidden tokens")
    return figure
