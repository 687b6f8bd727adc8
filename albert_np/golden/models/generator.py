"""Complete checkpoints without a download: weights from a seed, with which activations look like a trained model's.

counter.py says how an element follows from the seed, to the bit, in any language; RECIPES are the integers for it.

How the numbers were chosen, and how they were judged. Weights drawn with a deviation of 0.02 have biases of zero, attention
that is uniform, and states without outliers, so they hide mistakes and rounding errors that trained models show. The scales
here are those of the embedded model, which is trained, with three additions from what is known of the published ones:

- Three channels of the hidden states are outliers, in every group's LayerNorm weights (OUTLIERS). The LayerNorm behind
  attention holds them down, as in trained models, for otherwise they grow with each application until nothing else is left.
- Key weights resemble query weights (KINSHIP), so that the scores of a token with tokens like itself are positive, as the
  embedded model's are, and heads differ in their scale (gain), so that some look at few tokens and some at many.
- The outputs of attention are smaller, the biases of the feed-forward network more negative and its outputs larger than
  independent numbers would have them at the same scale. Attention averages, which makes tokens alike: with the scales of the
  embedded model and without its learned structure, the states of all tokens are the same after 24 applications (their mean
  cosine is above 0.97). A sparse activation (seven in ten inputs of GELU are negative) tells tokens apart again.

The judgement is on activations, step by step: tests/test_golden_synthetic.py measures the embedded model on text and
synthetic ones of three sizes with the same functions, and has a band with a reason for each: root mean square, largest
element and kurtosis of the states, entropy of attention, share of negative inputs of GELU, size of both updates beside the
residual, the cosine of what enters and leaves an application, the mean cosine between tokens, and how much a small change
grows in one application, all over up to 24 applications.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from albert_np.checkpoints.names import WEIGHTS_NAME, expected_shapes, hub_name
from albert_np.config import AlbertConfig
from albert_np.files import atomic_path, folder_to_write, shown, write_atomically
from albert_np.golden.graph import ARCHITECTURES
from albert_np.golden.models import counter
from albert_np.golden.models.counter import SIGMA, UNIT, Recipe
from albert_np.ops import Array

RECIPE_NAME = "generator.json"
MAX_SEED = 2**64 - 1

# The end of a name -> its mean and its deviation.
VECTORS: dict[str, tuple[float, float]] = {
    "embeddings.LayerNorm.weight": (0.91, 0.08),
    "embeddings.LayerNorm.bias": (0, 0.033),
    "embedding_hidden_mapping_in.bias": (0, 0.023),
    "query.bias": (0, 0.045),
    "key.bias": (0, 0.03),
    "value.bias": (0, 0.02),
    "attention.dense.bias": (0, 0.04),
    "attention.LayerNorm.weight": (1, 0.03),
    "attention.LayerNorm.bias": (0, 0.034),
    "ffn.bias": (-0.82, 0.1),
    "ffn_output.bias": (0, 0.047),
    "full_layer_layer_norm.weight": (0.93, 0.035),
    "full_layer_layer_norm.bias": (0, 0.04),
    "pooler.bias": (0, 0.03),
    "predictions.bias": (-0.8, 1.7),
    "predictions.dense.bias": (0.4, 0.05),
    "predictions.LayerNorm.weight": (2.07, 0.4),
    "predictions.LayerNorm.bias": (0.08, 0.4),
    "classifier.bias": (0, 0.02),
    "qa_outputs.bias": (0, 0.02),
}
# The end of a name -> the deviation of a row's product with a vector of independent numbers of size 1: √C times an element's.
MATRICES: dict[str, float] = {
    "embedding_hidden_mapping_in.weight": 0.86,
    "query.weight": 1.45,
    "key.weight": 1.45,
    "value.weight": 0.8,
    "attention.dense.weight": 0.55,
    "ffn.weight": 1.4,
    "ffn_output.weight": 3.2,
    "pooler.weight": 2.5,
    "predictions.dense.weight": 2.0,
    "predictions.decoder.weight": 1.0,
    "classifier.weight": 0.6,
    "qa_outputs.weight": 0.6,
}
# The end of a name -> the deviation of an element, and of what all rows have in common.
TABLES: dict[str, tuple[float, float]] = {
    "word_embeddings.weight": (0.082, 0.03),
    "position_embeddings.weight": (0.07, 0.05),
    "token_type_embeddings.weight": (0.07, 0),
    "distance_embedding.weight": (0.07, 0),
}
ROW_GAIN, WORD_GAIN, HEAD_GAIN = 8, 16, 80  # rows differ by 3 %, words by 5 %, heads by 26 %
KINSHIP = 0.5  # the correlation of the elements of a key weight with those of the query weight
# The weights of the hidden channels that are outliers, behind the feed-forward network and behind attention.
OUTLIERS, HELD_DOWN = (2.7, -2.2, 1.9), 0.4

# Sizes by name: the published ones (google-research/albert, version 2), and a tiny one with the embedded model's vocabulary.
_PUBLISHED = {"vocab_size": 30000, "embedding_size": 128, "max_position_embeddings": 512}
SIZES: dict[str, dict[str, int]] = {
    "tiny": {
        "vocab_size": 8000,
        "embedding_size": 64,
        "hidden_size": 128,
        "num_attention_heads": 4,
        "intermediate_size": 512,
        "num_hidden_layers": 6,
        "max_position_embeddings": 128,
    },
    "albert-base-v2": {
        **_PUBLISHED,
        "hidden_size": 768,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
    },
    "albert-large-v2": {
        **_PUBLISHED,
        "hidden_size": 1024,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
    },
    "albert-xlarge-v2": {
        **_PUBLISHED,
        "hidden_size": 2048,
        "num_attention_heads": 16,
        "intermediate_size": 8192,
        "num_hidden_layers": 24,
    },
    "albert-xxlarge-v2": {
        **_PUBLISHED,
        "hidden_size": 4096,
        "num_attention_heads": 64,
        "intermediate_size": 16384,
        "num_hidden_layers": 12,
    },
}


def sized(name: str) -> AlbertConfig:
    """The config of a size by name: tiny, albert-base-v2 (or base) … albert-xxlarge-v2. ValueError for another name."""
    short = {full.removeprefix("albert-").removesuffix("-v2"): full for full in SIZES}
    full = short.get(name, name.removeprefix("albert/"))
    if full not in SIZES:
        raise ValueError(f"a size is one of {', '.join(SIZES)}; got {shown(repr(name), 80)}")
    return AlbertConfig(**SIZES[full])


def synthetic(config: AlbertConfig, seed: int = 0, architecture: str = "AlbertForPreTraining") -> dict[str, Array]:
    """A complete checkpoint: float32 arrays, named as save_pretrained names them for that class.

    The same seed and sizes give the same bits everywhere, and all classes the same encoder. seed: 0 … 2⁶⁴ − 1.
    Raises ValueError for another seed, or for a class that is not ALBERT's.
    """
    return {name: counter.tensor(one, seed) for name, one in recipes(config, seed, architecture).items()}


def save_synthetic(
    folder: str | os.PathLike,
    config: AlbertConfig,
    seed: int = 0,
    architecture: str = "AlbertForPreTraining",
    *,
    progress: Callable[[int], Any] = lambda size: None,
) -> None:
    """Writes that checkpoint: config.json, model.safetensors, and generator.json with each tensor's recipe and SHA-256.

    from_pretrained of this package and of transformers reads it. Tensors are written as they are made, so that memory does not
    grow with the model. progress: called with the number of bytes, after each piece. Raises ValueError as synthetic does, and
    OSError if the folder cannot be written to.
    """
    made = recipes(config, seed, architecture)
    folder = folder_to_write(folder)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, one in made.items():
        start, end = end, end + 4 * one.size
        header[name] = {"dtype": "F32", "shape": list(one.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    hashes = {}
    with atomic_path(folder / WEIGHTS_NAME) as temporary, temporary.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, one in made.items():
            digest = hashlib.sha256()
            for chunk in counter.chunks(one, seed):
                data = chunk.astype("<f4").tobytes()
                digest.update(data)
                file.write(data)
                progress(len(data))
            hashes[name] = digest.hexdigest()
    config.replace(architectures=[architecture], dtype="float32").save_pretrained(folder)
    tensors = [{"stored": name, **vars(one), "sha256": hashes[name]} for name, one in made.items()]
    about = {"generator": counter.__name__, "version": 1, "seed": seed, "architecture": architecture}
    write_atomically(folder / RECIPE_NAME, (json.dumps(about | {"tensors": tensors}, indent=1) + "\n").encode())


def recipes(config: AlbertConfig, seed: int, architecture: str) -> dict[str, Recipe]:
    """The recipe of each tensor of a file, under the tensor's name there."""
    if architecture not in ARCHITECTURES:
        raise ValueError(f"architecture must be one of {', '.join(ARCHITECTURES)}; got {shown(repr(architecture), 80)}")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MAX_SEED:
        raise ValueError(f"a seed is a whole number from 0 to 2⁶⁴ − 1; got {shown(repr(seed), 80)}")
    parts = ARCHITECTURES[architecture]
    made = {}
    for name, shape in expected_shapes(config, parts).items():
        made[hub_name(name, parts)] = recipe(config, name, shape, seed)
    if "predictions.decoder.weight" in made:  # an untied decoder has its bias under both names: names.py, to_store
        made["predictions.decoder.bias"] = made["predictions.bias"]
    return made


def recipe(config: AlbertConfig, name: str, shape: tuple[int, ...], seed: int) -> Recipe:
    """The recipe of one tensor, named as in expected_shapes."""
    if len(shape) == 1:
        mean, deviation = _of(VECTORS, name)
        outliers = {}
        if name.startswith("encoder.") and "orm.weight" in name:
            held = "attention.LayerNorm" in name
            outliers = {i: _units(HELD_DOWN if held else weight) for i, weight in _outliers(config, seed).items()}
        return Recipe(name, shape, mean=_units(mean), own=_spread(deviation), outliers=outliers)
    if name.endswith(tuple(TABLES)):
        deviation, shared = _of(TABLES, name)
        gain = WORD_GAIN if "word" in name else 0
        return Recipe(name, shape, own=_spread(deviation), shared=_spread(shared), gain=gain)
    deviation = _of(MATRICES, name) / math.sqrt(shape[1])
    if not name.endswith(("query.weight", "key.weight")):
        return Recipe(name, shape, own=_spread(deviation), gain=ROW_GAIN)
    kinship = KINSHIP if name.endswith("key.weight") else 0
    return Recipe(
        name,
        shape,
        own=_spread(deviation * math.sqrt(1 - kinship**2)),
        kin=_spread(deviation * kinship),
        other=name.replace("key.", "query.") if kinship else "",
        gain=HEAD_GAIN,
        group=config.head_size,
    )


def _outliers(config: AlbertConfig, seed: int) -> dict[int, float]:  # channel -> weight
    """Channels of the hidden states, the same in all layers; fewer in very small models."""
    H = config.hidden_size
    weights = OUTLIERS[: max(1, min(len(OUTLIERS), H // 32))]
    drawn = counter.numbers(counter.key(seed, "outliers"), np.arange(len(weights)))
    return {int(z) % H: weight for z, weight in zip(drawn, weights, strict=True)}


def _of(table: dict[str, Any], name: str) -> Any:
    return next(value for end, value in table.items() if name.endswith(end))


def _units(value: float) -> int:
    return round(value / UNIT)


def _spread(deviation: float) -> int:
    return round(deviation / UNIT / SIGMA)
