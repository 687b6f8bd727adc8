"""N-gram masking: which words of a sequence are hidden, and what replaces them.

Source: ALBERT, section 4.1 ("n-gram masking", p(n) = (1/n) / Σ 1/k, n at most 3); google-research/albert
create_pretraining_data.py, create_masked_lm_predictions. As there, the budget is 15 % of the sequence with its special
tokens, at least one piece, n-grams are whole words, a budget that is nearly spent takes a shorter n-gram, and each piece is
decided by itself: 80 % become [MASK], 10 % a random piece, 10 % stay. Unlike there, an n-gram does not run across [SEP],
words are not joined across it, places of one size are equally likely (there, long n-grams are turned away more often, for
they meet more that is masked), and a random piece is never a special one.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from albert_np.ops import IGNORE_INDEX, Array
from albert_np.tokenization.spiece import NORMAL, USER_DEFINED
from albert_np.tokenization.tokenizer import AlbertTokenizer

WORD_RULES = ("space", "google", "piece")
# create_pretraining_data.py, _is_start_piece_sp: each of these pieces is a word, and so is what holds another character
_MARKS = frozenset('!"#$%&"()*+,-./:;?@[\\]^_`{|}~€£')
_LATIN = frozenset("abcdefghijklmnopqrstuvwxyz")
_MASK, _RANDOM = 0.8, 0.9  # below the first: [MASK]; then up to the second: a random piece; else the piece itself
_TRIES = 12  # random places tried before all places are listed


@dataclass(frozen=True)
class Pieces:
    """What masking needs to know about a vocabulary of V tokens."""

    begins_word: Array  # (V,) bool
    special: Array  # (V,) bool: never masked, never put anywhere
    ordinary: Array  # (n,) int64: what a random piece is drawn from
    mask_id: int


def pieces_of(tokenizer: AlbertTokenizer, word_rule: str = "space") -> Pieces:
    """The tables of a tokenizer's tokens.

    With word_rule "space", a word is a piece that begins with ▁ (in a WordPiece vocabulary: one without ##), and the pieces
    that follow it. With "google", marks such as a full stop are words too, and so are pieces with other characters than a to z
    and marks; so "house." is two words. With "piece", every piece is a word. Raises ValueError if there is no [MASK], or no
    ordinary piece.
    """
    if word_rule not in WORD_RULES:
        raise ValueError(f"word_rule must be one of {', '.join(WORD_RULES)}; got {word_rule!r:.80}")
    if tokenizer.mask_token_id is None:
        raise ValueError("this tokenizer has no mask_token: load it with mask_token='[MASK]'")
    vocab = tokenizer.get_vocab()
    size = max(vocab.values()) + 1
    begins, special = np.zeros(size, bool), np.ones(size, bool)
    for token, index in vocab.items():
        begins[index] = (
            tokenizer.starts_word(token) or word_rule == "piece" or (word_rule == "google" and _google_word(token))
        )
        special[index] = False
    special[tokenizer.all_special_ids] = True
    if tokenizer._spiece is not None:
        for index, kind in enumerate(tokenizer._spiece.types):
            if kind not in (NORMAL, USER_DEFINED):
                special[index] = True
    ordinary = np.flatnonzero(~special)
    if not ordinary.size:
        raise ValueError("this vocabulary has special tokens only")
    return Pieces(begins, special, ordinary, tokenizer.mask_token_id)


def _google_word(piece: str) -> bool:
    if piece.startswith("<") or piece in _MARKS:
        return True
    return not all(character.lower() in _LATIN or character in _MARKS for character in piece)


def ngram_probabilities(max_ngram: int) -> list[float]:
    """p(1) … p(max_ngram), p(n) = (1/n) / Σ 1/k: 6/11, 3/11, 2/11 for three."""
    weights = [1 / n for n in range(1, max_ngram + 1)]
    return [weight / sum(weights) for weight in weights]


def mask_words(  # (T,) int64 -> (T,) int64 masked ids, (T,) int64 labels
    ids: Array,
    separators: list[int],
    pieces: Pieces,
    rng: random.Random,
    *,
    probability: float = 0.15,
    max_ngram: int = 3,
    max_predictions: int | None = None,
) -> tuple[Array, Array]:
    """Hides some words of one sequence. Labels are the original ids of hidden pieces, and −100 (ignored) everywhere else.

    separators: where [CLS] and [SEP] are. A word begins after each of them, whatever its first piece looks like.
    """
    T = len(ids)
    special = pieces.special[ids]
    begins = pieces.begins_word[ids]
    begins[separators] = True
    begins[[at + 1 for at in separators if at + 1 < T]] = True
    starts = np.flatnonzero(begins)
    usable = ~np.logical_or.reduceat(special, starts)  # a word with an unknown piece in it is left alone
    sizes = np.append(starts[1:], T) - starts

    budget = max(1, round(T * probability)) if probability > 0 else 0
    budget = budget if max_predictions is None else min(budget, max_predictions)
    chosen = choose_ngrams(usable.tolist(), sizes.tolist(), budget, ngram_probabilities(max_ngram), rng.random)

    masked, labels = ids.copy(), np.full(T, IGNORE_INDEX, np.int64)
    first, end = starts.tolist(), (starts + sizes).tolist()
    for word, n in chosen:
        for at in range(first[word], end[word + n - 1]):
            labels[at] = ids[at]
            u = rng.random()
            if u < _MASK:
                masked[at] = pieces.mask_id
            elif u < _RANDOM:
                masked[at] = pieces.ordinary[int(rng.random() * len(pieces.ordinary))]
    return masked, labels


def choose_ngrams(
    usable: list[bool], sizes: list[int], budget: int, probabilities: list[float], draw: Callable[[], float]
) -> list[tuple[int, int]]:
    """Draws (first word, n) until about `budget` pieces are covered, but never more, and no word twice.

    usable, sizes: one entry for each word; usable is changed. n is drawn first. Then one place is drawn from all places where n
    usable words follow one another and fit; all are equally likely. If there is none, n is reduced by one.
    """
    cumulative = list(accumulate(probabilities))
    words = len(usable)
    chosen: list[tuple[int, int]] = []
    left = min(budget, sum(size for size, free in zip(sizes, usable, strict=True) if free))

    def fits(at: int, n: int) -> bool:
        return at + n <= words and all(usable[at : at + n]) and sum(sizes[at : at + n]) <= left

    while left > 0:
        u = draw()
        n = 1 + sum(u >= bound for bound in cumulative[:-1])
        place = -1
        while n and place < 0:
            for _ in range(_TRIES):
                at = int(draw() * words)
                if fits(at, n):
                    place = at
                    break
            else:
                # mostly taken: list what is left, from which a draw is as fair as the tries were
                places = [at for at in range(words) if fits(at, n)]
                if places:
                    place = places[int(draw() * len(places))]
                else:
                    n -= 1
        if place < 0:
            break
        chosen.append((place, n))
        usable[place : place + n] = [False] * n
        left -= sum(sizes[place : place + n])
    return chosen
