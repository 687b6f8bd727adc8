"""From the sentences of a document to pairs for sentence order prediction.

Source: ALBERT, section 3.1; google-research/albert create_pretraining_data.py, create_instances_from_document and
truncate_seq_pair. As there, sentences are gathered until they fill the sequence, A is some of them from the front and B the
rest, and half of the pairs are swapped. Unlike there:
- a chunk of a single sentence takes the next sentence too, or at a document's end the one before. There it gets a B from
  another document, labelled as swapped: the next-sentence task that ALBERT gave up;
- shorter sequences are 10 % of the examples; there, all the examples of 10 % of the documents.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

SWAPPED = 0.5  # of the pairs; create_pretraining_data.py has it as a literal too


class Pair(NamedTuple):
    """Two stretches of a corpus's ids in the order of the sequence, and whether they are swapped relative to the text."""

    a_start: int
    a_end: int
    b_start: int
    b_end: int
    swapped: bool


def pack_document(bounds: Sequence[int], room: int, short_probability: float, rng: random.Random) -> list[Pair]:
    """The pairs of one document, in the order of the text.

    bounds: where its n ≥ 2 sentences start, and where the last one ends (n+1 numbers). room: the tokens of A and B together.
    With probability short_probability, a pair aims at a random length from 2 to room instead of room.
    """
    n = len(bounds) - 1
    if n < 2:
        raise ValueError(f"a pair takes two sentences; this document has {n}")
    pairs = []
    first = 0
    while first < n:
        target = 2 + int(rng.random() * (room - 1)) if rng.random() < short_probability else room
        end = first + 1
        while end < n and bounds[end] - bounds[first] < target:
            end += 1
        if end - first == 1:
            if end < n:
                end += 1
            else:
                first -= 1
        middle = first + 1 + int(rng.random() * (end - first - 1))
        swapped = rng.random() < SWAPPED
        a, b = (bounds[first], bounds[middle]), (bounds[middle], bounds[end])
        pairs.append(Pair(*_truncate(*((b, a) if swapped else (a, b)), room, rng), swapped))
        first = end
    return pairs


def _truncate(a: tuple[int, int], b: tuple[int, int], room: int, rng: random.Random) -> tuple[int, int, int, int]:
    """Stretches (start, end) cut to `room` tokens together.

    As truncate_seq_pair: always one token of the longer (of two equal ones B), from its front or its back by the toss of a
    coin, until they fit. Counted rather than done: a sentence may have a million tokens too many.
    """
    lengths = [a[1] - a[0], b[1] - b[0]]
    excess = sum(lengths) - room
    cuts = [0, 0]
    if excess > 0:
        longer = 0 if lengths[0] > lengths[1] else 1
        alone = min(excess, abs(lengths[0] - lengths[1]))
        cuts[longer] = alone
        cuts[0] += (excess - alone) // 2
        cuts[1] += (excess - alone + 1) // 2
    (a_start, a_end), (b_start, b_end) = a, b
    # n coins at once
    front = [rng.getrandbits(n).bit_count() if n else 0 for n in cuts]
    return a_start + front[0], a_end - cuts[0] + front[0], b_start + front[1], b_end - cuts[1] + front[1]
