"""Models of the published sizes."""

import numpy as np

from albert_np import AlbertConfig

PUBLISHED = {  # H, N, I of the four published sizes
    "base": (768, 12, 3072),
    "large": (1024, 16, 4096),
    "xlarge": (2048, 16, 8192),
    "xxlarge": (4096, 64, 16384),
}
REAL_DRAWS = 3  # of thousands of numbers: they take seconds each
REPEATS = 20  # a race that shows once in a hundred blocks shows in as many runs of hundreds of blocks


def published(name, L=2, P=512):
    H, N, I = PUBLISHED[name]
    return AlbertConfig(
        vocab_size=1000,
        embedding_size=128,
        hidden_size=H,
        num_attention_heads=N,
        intermediate_size=I,
        num_hidden_layers=L,
        max_position_embeddings=P,
    )


def inputs(config, B, T):
    rng = np.random.default_rng(B * T)
    lengths = rng.integers(max(1, T // 2), T + 1, (B, 1))
    return rng.integers(1, config.vocab_size, (B, T)), np.arange(T) < lengths


def check_same_bits_alone_in_a_batch_and_again(model, size):
    ids, mask = inputs(model.config, *size)
    first = model(ids, mask)
    for _ in range(REPEATS):
        again = model(ids, mask)
        assert np.array_equal(again.last_hidden_state, first.last_hidden_state)
        assert np.array_equal(again.pooler_output, first.pooler_output)
    for i in range(len(ids)):
        alone = model(ids[i : i + 1, : mask[i].sum()]).last_hidden_state[0]
        assert np.array_equal(first.last_hidden_state[i, : mask[i].sum()], alone)
    skipped = model(ids, mask, skip_padding=True).last_hidden_state
    assert np.array_equal(skipped[mask], first.last_hidden_state[mask])
