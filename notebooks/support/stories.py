"""Made-up stories for notebook 09: a text whose every rule is known, so that one can ask which rules a model has learned.

A story has five sentences about one person and one thing. The name decides between "he" and "she". The thing and its colour
are named in the second sentence, and come back later. The day goes from morning to night. The rest is drawn freely.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np

from albert_np import AlbertForPreTraining, AlbertTokenizer
from albert_np.demo.recipe.counts import NeighbourCounts
from albert_np.ops import IGNORE_INDEX
from albert_np.training.token_corpus import TokenCorpus
from support.plots import BLUE, GREY, SKY

WOMEN = ("alice", "emily", "lucy", "susan")
MEN = ("tom", "peter", "henry", "george")
HOMES = ("a little house", "an old mill", "a dark wood", "a big town", "a white tower", "a quiet village")
ANIMALS = ("dog", "cat", "horse", "goat", "bird", "sheep")
KIN = ("mother", "father", "sister", "brother", "uncle", "aunt")
COLOURS = ("red", "blue", "green", "yellow", "black", "golden")
THINGS = ("key", "ring", "letter", "book", "knife", "lamp", "box", "hat")
FOUND = ("in the garden", "in the kitchen", "by the river", "on the road")
PUT = ("under the bed", "behind the door", "into a drawer", "on the shelf")

# what an exam asks for: the places in turn, each the sentence of a story and the word in it, from 0; and what one must know
KINDS = {
    "time of day": (((2, 1), (4, 1)), "noon or night? the verb says it, two words on"),
    "he or she": (((1, 3),), "the name says it, ten words before"),
    "the name again": (((2, 2),), "the name of the first sentence"),
    "the thing again": (((3, 6),), "the thing of the second sentence"),
    "the colour again": (((4, 6),), "the colour of the second sentence"),
    "which relative": (((2, 8),), "nobody can know"),
}
CHANCE = {
    "time of day": 1 / 2,
    "he or she": 1 / 2,
    "the name again": 1 / 8,
    "the thing again": 1 / len(THINGS),
    "the colour again": 1 / len(COLOURS),
    "which relative": 1 / len(KIN),
}


class Question(NamedTuple):
    """A story in two segments, of which one word is [MASK], and that word."""

    first: str
    second: str
    answer: str


def story(rng: random.Random) -> list[str]:
    """Five sentences, in their order."""
    woman = rng.random() < 0.5
    name, he, his = (rng.choice(WOMEN), "she", "her") if woman else (rng.choice(MEN), "he", "his")
    thing, colour = rng.choice(THINGS), rng.choice(COLOURS)
    return [
        f"{name} lived in {rng.choice(HOMES)} with {his} {rng.choice(ANIMALS)}.",
        f"in the morning {he} found a {colour} {thing} {rng.choice(FOUND)}.",
        f"at noon {name} showed the {thing} to {his} {rng.choice(KIN)} there.",
        f"in the evening {he} put the {thing} {rng.choice(PUT)}.",
        f"at night {name} dreamed of the {colour} {thing}.",
    ]


def write_stories(path: str | os.PathLike, count: int, seed: int) -> Path:
    """A text file with a sentence in a line and an empty line after each story: the form "sentences" of TextForm."""
    rng = random.Random(seed)
    Path(path).write_text("\n\n".join("\n".join(story(rng)) for _ in range(count)) + "\n", encoding="utf-8")
    return Path(path)


def exam(kind: str, count: int, seed: int) -> Iterator[Question]:
    """Questions of one kind, each about a new story."""
    rng = random.Random(seed)
    places, _ = KINDS[kind]
    for number in range(count):
        sentence, word = places[number % len(places)]
        sentences = story(rng)
        words = sentences[sentence].split()
        answer, words[word] = words[word], "[MASK]"
        sentences[sentence] = " ".join(words)
        yield Question(" ".join(sentences[:2]), " ".join(sentences[2:]), answer)


def pieces(tokenizer: AlbertTokenizer, batch: dict[str, Any], row: int, hidden: bool = True) -> list[str]:
    """The pieces of one row of a batch of pre-training, without padding; or the pieces as they were before some were hidden."""
    ids, labels = batch["input_ids"][row], batch["labels"][row]
    shown = ids if hidden else np.where(labels == IGNORE_INDEX, ids, labels)
    return tokenizer.convert_ids_to_tokens(shown[batch["attention_mask"][row] == 1].tolist())


def answers(model: AlbertForPreTraining, tokenizer: AlbertTokenizer, questions: Sequence[Question]) -> list[str]:
    """The model's first answer to each question, as a word."""
    batch = _encoded(tokenizer, questions)
    hidden = batch["input_ids"] == tokenizer.mask_token_id
    columns = hidden.argmax(axis=1)[:, None]
    logits = model(**batch, logits_positions=columns).prediction_logits[:, 0]
    return [piece.lstrip("▁") for piece in tokenizer.convert_ids_to_tokens(logits.argmax(axis=-1).tolist())]


def guesses(counts: NeighbourCounts, tokenizer: AlbertTokenizer, questions: Sequence[Question]) -> list[str]:
    """The same by counts of the two neighbours of the hidden word."""
    found = []
    for row in _encoded(tokenizer, questions)["input_ids"].tolist():
        at = row.index(tokenizer.mask_token_id)
        best = int(counts.scores(row[at - 1], row[at + 1]).argmax())
        found.append(tokenizer.convert_ids_to_tokens(best).lstrip("▁"))
    return found


def right(said: Sequence[str], questions: Sequence[Question]) -> float:
    """The share of right answers."""
    return sum(word == question.answer for word, question in zip(said, questions, strict=True)) / len(questions)


def counted(corpus: TokenCorpus, tokenizer: AlbertTokenizer) -> NeighbourCounts:
    """How often words, and pairs of neighbours, stand in the stories."""
    starts = corpus.sentence_starts[corpus.document_starts]
    return NeighbourCounts(corpus.ids, starts, len(tokenizer), tokenizer.cls_token_id, tokenizer.sep_token_id)


def _encoded(tokenizer: AlbertTokenizer, questions: Sequence[Question]) -> Any:
    first, second = [q.first for q in questions], [q.second for q in questions]
    return tokenizer(first, second, padding=True, return_tensors="np")


def loss_curve(log: Sequence[dict[str, Any]], levels: dict[str, float]) -> Any:
    """The loss of a training by its log, and the loss of knowing less, by name, as lines across."""
    figure, axis = plt.subplots(figsize=(7, 3.8))
    trained = [(line["step"], line["loss"]) for line in log if line.get("loss") is not None]
    judged = [(line["step"], line["evaluation"]["loss"]) for line in log if "evaluation" in line]
    axis.plot(*zip(*trained, strict=True), color=SKY, label="stories it learns from")
    axis.plot(*zip(*judged, strict=True), "o-", color=BLUE, label="held-out stories")
    for name, level in levels.items():
        axis.axhline(level, color=GREY, linestyle="--", linewidth=1)
        axis.text(max(step for step, _ in trained), level + 0.1, name, ha="right", color="#555555")
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set_ylim(bottom=0)
    axis.set_xlabel("step")
    axis.set_ylabel("loss: the mean of −ln p")
    axis.set_title("From knowing nothing to knowing the context")
    axis.legend(loc="upper right", bbox_to_anchor=(1, 0.86))
    return figure


def learned(shares: dict[str, list[float]], steps: Sequence[int]) -> Any:
    """The share of right answers over the steps of a training, a panel for each kind of question."""
    figure, axes = plt.subplots(2, 3, figsize=(7, 4.2), sharex=True, sharey=True)
    for (kind, values), axis in zip(shares.items(), axes.flat, strict=True):
        axis.plot(steps, [100 * value for value in values], "o-", color=BLUE, markersize=4)
        axis.axhline(100 * CHANCE[kind], color=GREY, linestyle="--", linewidth=1)
        axis.set_title(kind, fontsize=10)
        axis.set_ylim(-4, 104)
    for axis in axes[1]:
        axis.set_xlabel("step")
    for axis in axes[:, 0]:
        axis.set_ylabel("right, in per cent")
    figure.suptitle("What is learned, and when (dashed: a guess among the possible words)", fontsize=11)
    return figure
