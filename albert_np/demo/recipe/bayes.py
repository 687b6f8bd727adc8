"""Naive Bayes on words: what a text classifier has to beat."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise


class NaiveBayes:
    """The likeliest label if a text's words were drawn one by one: multinomial, with one count added for each word.

    pairs: neighbouring words count too, as words of their own. Every label is as likely before anything is read.
    """

    def __init__(self, learnt: Iterable[tuple[str, str]], pairs: bool = False) -> None:
        """learnt: texts and their labels."""
        self.pairs, self.counts = pairs, dict[str, Counter[str]]()
        for text, label in learnt:
            self.counts.setdefault(label, Counter()).update(self._features(text))
        self.known = set().union(*self.counts.values())
        self.totals = {label: counts.total() + len(self.known) for label, counts in self.counts.items()}

    def __call__(self, text: str) -> str:
        read = [feature for feature in self._features(text) if feature in self.known]
        scores = {
            label: sum(math.log((counts[feature] + 1) / self.totals[label]) for feature in read)
            for label, counts in self.counts.items()
        }
        return max(scores, key=lambda label: scores[label])

    def _features(self, text: str) -> list[str]:
        words = re.findall(r"[^\W\d_]+", text.lower())
        return words + [" ".join(two) for two in pairwise(words)] if self.pairs else words
