"""Batches of a step side by side: faster, and nothing else."""

import numpy as np
import pytest
from support import needs

from albert_np import AlbertConfig, AlbertForPreTraining
from albert_np.kernels.cpu.threads import num_threads
from albert_np.training.step import loss_and_gradients

needs.module("numba", "numba")


SIZES = {
    "vocab_size": 40,
    "embedding_size": 8,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 16,
    "hidden_dropout_prob": 0.1,
}


@pytest.mark.parametrize("threads", [2, 3])
def test_batches_side_by_side_have_the_bits_of_one_after_the_other(threads):
    rng = np.random.default_rng(0)
    model = AlbertForPreTraining(AlbertConfig(**SIZES), backend="numba")
    batches = [
        {
            "input_ids": rng.integers(5, 40, (B, T)),
            "labels": rng.integers(0, 40, (B, T)),
            "sentence_order_label": np.arange(B) % 2,
        }
        for B, T in ((2, 9), (1, 12), (3, 4))
    ]
    batches[1]["labels"][:] = -100  # it does not count at all
    found = []
    for number in (1, threads):
        with num_threads(number):
            found.append(loss_and_gradients(model, batches, step=3, dropout=True, seed=1))
    (loss, gradients), (other, others) = found
    assert loss == other
    assert list(gradients) == list(others)
    assert all(np.array_equal(gradients[name], others[name]) for name in gradients)


def test_what_a_batch_raises_side_by_side_is_raised():
    model = AlbertForPreTraining(AlbertConfig(**SIZES), backend="numba")
    batch = {"input_ids": np.array([[5, 6]]), "labels": np.array([[5, 6]]), "sentence_order_label": np.array([0])}
    bad = batch | {"input_ids": np.array([[5, 4000]])}
    with num_threads(2), pytest.raises(ValueError, match="4000"):
        loss_and_gradients(model, [batch, bad], step=0, dropout=False, seed=0)
