"""What a model costs, counted from its config alone: parameters, which are memory, and multiply-adds, which are time.

The two are counted apart because ALBERT parts them. Sharing divides the parameters of the layers by the number of their
applications, and leaves the multiply-adds as they are: every application multiplies by the shared weights again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from albert_np.checkpoints import names
from albert_np.config import AlbertConfig

# what a tensor's name contains -> its part of the model; the first that fits counts, and the rest is a head
PARTS = {
    "embeddings.word_embeddings": "word embeddings",
    "embeddings.position_embeddings": "position embeddings",
    "embeddings.token_type_embeddings": "token type embeddings",
    "embeddings.LayerNorm": "embedding LayerNorm",
    "encoder.embedding_hidden_mapping_in": "projection E → H",
    ".attention.": "shared layer: attention",
    ".ffn": "shared layer: feed-forward",
    ".full_layer_layer_norm": "shared layer: LayerNorm",
    "pooler.": "pooler",
    "": "head",
}
# position_embedding_type -> products with the table of distances, each as large as q·kᵀ
DISTANCES = {"absolute": 0, "relative_key": 1, "relative_key_query": 2}


def parameters(config: AlbertConfig, shapes: Mapping[str, tuple[int, ...]] | None = None) -> dict[str, tuple[int, int]]:
    """Part -> how many parameters are stored, and how many there would be if every application had a layer of its own.

    shapes: name -> shape of the tensors that count; without it, those of AlbertModel, with its pooler. Parts without
    parameters are left out.
    """
    applications = config.num_hidden_layers * config.inner_group_num
    stored_layers = config.num_hidden_groups * config.inner_group_num
    stored = dict.fromkeys(PARTS.values(), 0)
    for name, shape in (names.expected_shapes(config, ("pooler",)) if shapes is None else shapes).items():
        stored[next(part for piece, part in PARTS.items() if piece in name)] += math.prod(shape)
    return {
        part: (count, count * applications // stored_layers if part.startswith("shared layer") else count)
        for part, count in stored.items()
        if count
    }


def multiply_adds(config: AlbertConfig, tokens: int) -> dict[str, int]:
    """Part -> multiply-adds of the encoder's matrix products for one sequence of T tokens. A multiply-add is two FLOPs.

    Left out are heads, and what is small beside the products: softmax, GELU, LayerNorm, sums and biases. ValueError if there
    is no token.
    """
    if type(tokens) is not int or tokens < 1:
        raise ValueError(f"tokens must be a whole number of at least 1; got {tokens!r:.80}")
    T, E, H, inner = tokens, config.embedding_size, config.hidden_size, config.intermediate_size
    applications = config.num_hidden_layers * config.inner_group_num
    return {
        "projection E → H": T * E * H,
        "attention: query, key, value, dense": applications * 4 * T * H * H,
        "attention: scores and context": applications * (2 + DISTANCES[config.position_embedding_type]) * T * T * H,
        "feed-forward": applications * 2 * T * H * inner,
    }
