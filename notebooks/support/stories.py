"""Made-up stories for notebook 09: a text whose every rule is known, so that one can ask which rules a model has learned.

A story has five sentences about one person and one thing. The name decides between "he" and "she". The thing and its colour
are named in the second sentence, and come back later. The day goes from morning to night. The rest is drawn freely.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

WOMEN = ("alice", "emily", "lucy", "susan", "mary", "jane", "rose", "sarah")
MEN = ("tom", "john", "peter", "henry", "george", "james", "paul", "frank")
HOMES = ("a little house", "an old mill", "a dark wood", "a big town", "a white tower", "a quiet village")
ANIMALS = ("dog", "cat", "horse", "goat", "bird", "sheep")
KIN = ("mother", "father", "sister", "brother", "uncle", "aunt")
COLOURS = ("red", "blue", "green", "yellow", "black", "golden")
THINGS = ("key", "ring", "letter", "coin", "book", "knife", "lamp", "box", "hat", "spoon", "stone", "flute")
FOUND = ("in the garden", "in the kitchen", "by the river", "on the road")
PUT = ("under the bed", "behind the door", "into a drawer", "on the shelf")

# what an exam asks: the sentence of a story (from 0), the word of it, and what one must know to answer
KINDS = {
    "time of day": (2, 1, "noon or night, by the verb two places on"),
    "he or she": (1, 3, "by the name, ten words before"),
    "the thing again": (3, 6, "the thing that was found"),
    "the name again": (2, 2, "the name of the first sentence"),
    "the colour again": (4, 6, "the colour of the thing"),
    "which relative": (2, 8, "nobody can know: six are equally likely"),
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
    sentence, word, _ = KINDS[kind]
    for _ in range(count):
        sentences = story(rng)
        words = sentences[sentence].split()
        answer, words[word] = words[word], "[MASK]"
        sentences[sentence] = " ".join(words)
        yield Question(" ".join(sentences[:2]), " ".join(sentences[2:]), answer)
