"""The weights that the demo's training begins with: heads that look at the neighbours, before anything is learned.

From random weights, a model of this size spends its first millions of tokens finding out that position matters: its loss stays
where counts of single words have it. Two things let it begin behind that point.

- Sinusoids as the table of positions (Vaswani et al. 2017, section 3.5). A shift by d is a rotation of them, R(d), the same at
  every position.
- Head h asks for the position d places away: its key is the sinusoids of its own place, its query those of its own place
  turned by R(d), d = -1, 1, -2, 2 and so on.

Nothing is fixed: all of it is trained from there on. As in Trockman & Kolter 2023, "Mimetic initialization of self-attention
layers", a pattern that training finds anyway is where it starts.
"""

from __future__ import annotations

import numpy as np

from albert_np import AlbertForPreTraining
from albert_np.ops import Array

POSITION = (
    0.1  # the sinusoids' amplitude, twice the deviation of the words' vectors: a head must see places through words
)
SHARPNESS = 1.0  # of queries and keys; with 3, and with twice the learning rate, the heads lost their places again


def look_at_neighbours(model: AlbertForPreTraining) -> None:
    """Puts sinusoids into the table of positions, and heads that ask for neighbours into the (one, shared) layer, in place.

    Raises ValueError where the sizes leave no room: an even E, an even head size, at most E.
    """
    c = model.config
    E, N, D = c.embedding_size, c.num_attention_heads, c.hidden_size // c.num_attention_heads
    if E % 2 or D % 2 or D > E or c.hidden_size < E:
        raise ValueError(
            f"sinusoids need an even embedding size, and heads an even size that it can hold; got E {E}, H {c.hidden_size}, "
            f"{N} heads of {D}"
        )
    weights = dict(model.named_parameters())
    (positions,) = (x for name, x in weights.items() if name.endswith("position_embeddings.weight"))
    (into,) = (x for name, x in weights.items() if name.endswith("embedding_hidden_mapping_in.weight"))
    (query,) = (x for name, x in weights.items() if name.endswith("attention.query.weight"))
    (key,) = (x for name, x in weights.items() if name.endswith("attention.key.weight"))
    waves = 10000.0 ** (-np.arange(E // 2) / (E // 2))  # radians a place
    angles = np.arange(len(positions))[:, None] * waves
    positions[...] = POSITION * np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    back = np.linalg.pinv(into.astype(np.float64))  # [E, H]: from a hidden state to the embedding that it is made of
    for head in range(N):
        rows = slice(head * D, (head + 1) * D)
        key[rows] = SHARPNESS * shifted(waves, D, 0) @ back
        query[rows] = SHARPNESS * shifted(waves, D, (head // 2 + 1) * (-1 if head % 2 == 0 else 1)) @ back


def shifted(waves: Array, size: int, places: int) -> Array:  # [E/2] -> [size, E]
    """The matrix from the sinusoids of a place to the fastest size/2 waves of the place so many further on."""
    half = size // 2
    matrix = np.zeros((size, 2 * len(waves)))
    wave, sine, cosine = np.arange(half), np.sin(places * waves[:half]), np.cos(places * waves[:half])
    # sin(p + d) = cos d · sin p + sin d · cos p, and cos(p + d) = cos d · cos p − sin d · sin p
    matrix[2 * wave, wave], matrix[2 * wave, len(waves) + wave] = cosine, sine
    matrix[2 * wave + 1, wave], matrix[2 * wave + 1, len(waves) + wave] = -sine, cosine
    return matrix
