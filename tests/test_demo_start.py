"""The demo's recipe, start.py: heads that look at their neighbours from the first step on."""

import numpy as np
import pytest
from support.refusals import refusal

from albert_np import AlbertConfig, AlbertForPreTraining
from albert_np.demo.recipe import start as demo_start

SIZES = {
    "vocab_size": 50,
    "embedding_size": 64,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "max_position_embeddings": 40,
    "initializer_range": 0.05,
}


@pytest.fixture
def model():
    model = AlbertForPreTraining(AlbertConfig(**SIZES), seed=0, backend="numpy", dtype="float64")
    demo_start.look_at_neighbours(model)
    return model


@pytest.mark.parametrize("places", [-3, -1, 0, 1, 2, 7])
def test_a_shift_is_a_rotation_of_sinusoids(places):
    waves = np.array([1.0, 0.3, 0.02, 0.001])
    at = np.arange(12)[:, None] * waves
    sinusoids = np.concatenate([np.sin(at), np.cos(at)], axis=1)
    shifted = sinusoids @ demo_start.shifted(waves, 6, places).T
    expected = np.stack([np.sin((at + places * waves)[:, :3]), np.cos((at + places * waves)[:, :3])], axis=2)
    np.testing.assert_allclose(shifted, expected.reshape(12, 6), atol=1e-15)


def test_each_head_looks_at_its_neighbour_whatever_the_words_are(model):
    """Most at itself, since a word is like itself; of all others, most at the place that it asks for."""
    ids = np.random.default_rng(0).integers(0, 50, (6, 40))
    attention = model(ids, output_attentions=True).attentions[0]
    at = np.arange(5, 35)
    for head, places in enumerate((-1, 1, -2, 2)):
        seen = {d: attention[:, head, at, at + d].mean() for d in range(-5, 6)}
        assert max((d for d in seen if d != 0), key=seen.__getitem__) == places
        assert seen[places] > 2 * seen[-places]
        assert seen[places] > 3 / 40


def test_without_it_they_look_nowhere(model):
    plain = AlbertForPreTraining(AlbertConfig(**SIZES), seed=0, backend="numpy", dtype="float64")
    ids = np.random.default_rng(0).integers(0, 50, (6, 40))
    attention = plain(ids, output_attentions=True).attentions[0]
    assert attention.mean(axis=0).max() < 2 / 40  # the same everywhere, nearly
    pairs = zip(plain.named_parameters(), model.named_parameters(), strict=True)
    changed = [name for (name, x), (_, y) in pairs if not np.array_equal(x, y)]
    assert [name.split(".")[-2] for name in changed] == ["position_embeddings", "query", "key"]


@pytest.mark.parametrize("sizes", [{"embedding_size": 63}, {"embedding_size": 16}, {"num_attention_heads": 128}])
def test_sizes_without_room_are_refused(sizes):
    model = AlbertForPreTraining(AlbertConfig(**SIZES | sizes), backend="numpy")
    assert "sinusoids need an even embedding size" in refusal(lambda: demo_start.look_at_neighbours(model))
