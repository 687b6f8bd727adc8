"""Notebook 10: 240 sentences with their labels, and pictures of what a classifier makes of them.

scenes.csv was written for that notebook: 60 sentences each about the weather, a journey, a meal or an illness, in the manner
of the books that the embedded model has read.
"""

from __future__ import annotations

import csv
import math
import os
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from support.plots import BLUE, GREY, ORANGE

LABELS = ("illness", "journey", "meal", "weather")
FILE = Path(__file__).with_name("scenes.csv")
Row = tuple[str, str]  # a sentence and its label


def parts(each: int, seed: int) -> tuple[list[Row], list[Row]]:
    """Sentences to learn from, and `each` of every label that are held out. Both are mixed, the same way for a seed."""
    rng, learn, held = random.Random(seed), list[Row](), list[Row]()
    with FILE.open(encoding="utf-8", newline="") as file:
        rows = [(row["text"], row["label"]) for row in csv.DictReader(file)]
    for label in LABELS:
        own = [row for row in rows if row[1] == label]
        rng.shuffle(own)
        held += own[:each]
        learn += own[each:]
    rng.shuffle(learn)
    rng.shuffle(held)
    return learn, held


def write(rows: Sequence[Row], path: str | os.PathLike) -> Path:
    """The rows as a CSV file with the columns text and label, as `albert-np finetune` reads them."""
    with Path(path).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows(rows)
    return Path(path)


def accuracy(said: Sequence[str], rows: Sequence[Row]) -> float:
    """The share of answers that are the labels of the rows."""
    return sum(answer == label for answer, (_, label) in zip(said, rows, strict=True)) / len(rows)


def deviation(share: float, count: int) -> float:
    """One standard deviation of a share of `count` answers, if they were drawn one by one."""
    return math.sqrt(share * (1 - share) / count)


def bars(shares: Mapping[str, float], count: int, chance: float) -> Any:
    """Shares of right answers by method, each with one standard deviation to both sides."""
    figure, axis = plt.subplots(figsize=(7, 2.2 + 0.2 * len(shares)))
    names, values = list(shares), np.array(list(shares.values()))
    errors = [100 * deviation(share, count) for share in values]
    colours = [ORANGE] * (len(names) - 1) + [BLUE]
    axis.barh(names, 100 * values, xerr=errors, color=colours, height=0.6, error_kw={"ecolor": GREY, "capsize": 3})
    for row, (value, error) in enumerate(zip(values, errors, strict=True)):
        axis.text(100 * value + error + 1.5, row, f"{100 * value:.0f} %", va="center")
    axis.axvline(100 * chance, color=GREY, linestyle="--", label="by chance")
    axis.legend(loc="lower right")
    axis.set_xlim(0, 100)
    axis.set_xlabel(f"right answers of {count}, in per cent")
    axis.set_title("Who knows what a sentence is about?")
    return figure


def confusion(truth: Sequence[str], said: Sequence[str]) -> Any:
    """A table of counts as an image: a row for each true label, a column for each answer."""
    pairs = Counter(zip(truth, said, strict=True))
    counts = np.array([[pairs[row, column] for column in LABELS] for row in LABELS])
    figure, axis = plt.subplots(figsize=(4.8, 3.9))
    axis.imshow(counts, cmap="Blues", vmin=0)
    for (row, column), count in np.ndenumerate(counts):
        dark = count > counts.max() / 2
        axis.text(column, row, str(count), ha="center", va="center", color="white" if dark else "black", fontsize=12)
    axis.set_xticks(range(len(LABELS)), LABELS)
    axis.set_yticks(range(len(LABELS)), LABELS)
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    axis.set_xlabel("the model's answer")
    axis.set_ylabel("what it is")
    axis.set_title("Right answers are on the diagonal")
    return figure


def check_deciding_word(
    deciding_word: Callable[[str, str], str], classify: Callable[..., Any], rows: Sequence[Row]
) -> None:
    """Whether no other word, left out, makes the score of the label fall further than the one that is returned."""
    for text, label in rows:
        word, words = deciding_word(text, label), text.split()
        assert word in words, f"deciding_word returned {word!r}, which is no word of {text!r}: replace the dots"
        without = [" ".join(words[:i] + words[i + 1 :]) for i in range(len(words))]
        scores = [{one["label"]: one["score"] for one in answer}[label] for answer in classify(without, top_k=None)]
        lowest = min(scores)
        assert word in [w for w, score in zip(words, scores, strict=True) if score <= lowest + 1e-6], (word, text)
        print(f"{label:8} {word:12} {text}")
