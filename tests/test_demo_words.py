"""The demo's recipe, words.py: word vectors by counting, against sums over a text that a reader can check."""

import numpy as np
import pytest

from albert_np import AlbertConfig, AlbertForPreTraining
from albert_np.demo.recipe import words as demo_words


def by_hand(ids, V):
    """Association by association, as the formula has it; all tokens are contexts, in the order of their frequency."""
    seen = np.bincount(ids, minlength=V)
    contexts = sorted(range(V), key=lambda c: (-seen[c], c))
    found = np.zeros((V, 4 * V))
    for part, distance in enumerate((-2, -1, 1, 2)):
        for w in range(V):
            for column, c in enumerate(contexts):
                count = sum(
                    ids[i] == w and ids[i + distance] == c for i in range(len(ids)) if 0 <= i + distance < len(ids)
                )
                if count:
                    p = seen[c] ** 0.75 / sum(x**0.75 for x in seen)
                    value = max(0.0, np.log(count / (seen[w] * p))) * seen[w] / (seen[w] + 10)
                    found[w, part * V + column] = value * (0.5 if abs(distance) == 2 else 1.0)
    return found


def test_associations_are_those_of_the_formula():
    ids = np.random.default_rng(0).integers(0, 6, 60)
    np.testing.assert_allclose(demo_words.associations(ids, 7), by_hand(ids, 7), atol=1e-6)


def test_vectors_are_the_singular_vectors_of_the_associations():
    """The randomised search against LAPACK, up to signs: by the products of vectors, in which signs cancel."""
    rng = np.random.default_rng(1)
    ids = rng.permuted(np.minimum(rng.geometric(0.08, 4000) - 1, 39))
    vectors = demo_words.word_vectors(ids, 40, 5)
    u, s, _ = np.linalg.svd(demo_words.associations(ids, 40).astype(np.float64), full_matrices=False)
    expected = u[:, :5] * np.sqrt(s[:5])
    assert vectors.shape == (40, 5)
    np.testing.assert_allclose(vectors @ vectors.T, expected @ expected.T, atol=1e-4 * s[0])


def text_with_synonyms():
    """0 and 1 stand in the same places, and so do 2 and 3; the rest is noise. 9 is never there."""
    rng = np.random.default_rng(2)
    parts = [
        [rng.integers(4, 6), rng.integers(0, 2), 6] if rng.random() < 0.5 else [7, rng.integers(2, 4), 8]
        for _ in range(2000)
    ]
    return np.concatenate(parts)


def test_what_stands_in_the_same_places_lies_side_by_side():
    x = demo_words.word_vectors(text_with_synonyms(), 10, 4)
    x = x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-9)
    like = x @ x.T
    assert like[0, 1] > 0.95
    assert like[2, 3] > 0.95
    assert max(like[0, 2], like[0, 3], like[1, 2], like[1, 3]) < 0.5


@pytest.fixture
def model():
    sizes = {
        "vocab_size": 10,
        "embedding_size": 4,
        "hidden_size": 8,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 12,
        "initializer_range": 0.05,
    }
    return AlbertForPreTraining(AlbertConfig(**sizes), seed=0, backend="numpy", dtype="float64")


def test_the_model_gets_vectors_and_frequencies_and_nothing_else_changes(model):
    before = {name: x.copy() for name, x in model.named_parameters()}
    ids = text_with_synonyms()
    demo_words.count_words(model, ids)
    after = dict(model.named_parameters())
    changed = [name for name in before if not np.array_equal(before[name], after[name])]
    words, bias = changed
    assert words.endswith("word_embeddings.weight")
    assert bias == "predictions.bias"
    vectors = demo_words.word_vectors(ids, 10, 4)[:9]
    assert np.sqrt(np.mean(after[words][:9] ** 2)) == pytest.approx(0.05)
    np.testing.assert_allclose(after[words][:9], vectors * (0.05 / np.sqrt(np.mean(vectors**2))))
    assert np.array_equal(after[words][9], before[words][9])  # not in the text
    p = np.exp(after[bias])
    np.testing.assert_allclose(p / p.sum(), (np.bincount(ids, minlength=10) + 0.1) / (len(ids) + 1))
    assert after[bias].mean() == pytest.approx(0, abs=1e-12)
