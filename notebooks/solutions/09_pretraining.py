"""Solutions of the exercises in 09_pretraining.ipynb: each is its whole cell, filled in."""


# Exercise 9.1
def mean_words(max_ngram):
    return sum(n * p for n, p in enumerate(masking.ngram_probabilities(max_ngram), start=1))


assert isinstance(mean_words(1), float), "mean_words returns no number yet: replace the dots"
assert mean_words(1) == 1
assert math.isclose(mean_words(3), 18 / 11)
assert math.isclose(mean_words(5), 5 / sum(1 / n for n in range(1, 6)))
