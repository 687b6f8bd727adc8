"""Names in checkpoints: every tensor that ALBERT stores, under Hugging Face's name, and its shape.

Other programs have other names for the same tensors. Their tables are beside the readers of their files:
formats/tensorflow_names.py (TFAlbert classes), formats/flax_names.py (FlaxAlbert classes) and formats/google_names.py (Google's
original). An ONNX file may have any names, so formats/onnx_roles.py goes by what the graph computes. spellings.py knows the
prefixes and the older words that files of PyTorch have.
"""

from __future__ import annotations

from typing import TypeVar

from albert_np.config import AlbertConfig
from albert_np.encoder import layer_name

Stored = TypeVar("Stored")  # an array, or a tensor of a file

WEIGHTS_NAME = "model.safetensors"
INDEX_NAME = "model.safetensors.index.json"
PREFIX = "albert."  # what head models put before the encoder's names

# --- the table: every tensor ALBERT stores, and its shape in the letters of config.py ------------------------------------

BASE = {
    "embeddings.word_embeddings.weight": "V,E",
    "embeddings.position_embeddings.weight": "P,E",
    "embeddings.token_type_embeddings.weight": "S,E",
    "embeddings.LayerNorm.weight": "E",
    "embeddings.LayerNorm.bias": "E",
    "encoder.embedding_hidden_mapping_in.weight": "H,E",
    "encoder.embedding_hidden_mapping_in.bias": "H",
}
LAYER = {  # behind encoder.layer_name
    "full_layer_layer_norm.weight": "H",
    "full_layer_layer_norm.bias": "H",
    "attention.query.weight": "H,H",
    "attention.query.bias": "H",
    "attention.key.weight": "H,H",
    "attention.key.bias": "H",
    "attention.value.weight": "H,H",
    "attention.value.bias": "H",
    "attention.dense.weight": "H,H",
    "attention.dense.bias": "H",
    "attention.LayerNorm.weight": "H",
    "attention.LayerNorm.bias": "H",
    "attention.distance_embedding.weight": "2P-1,D",  # with relative positions only
    "ffn.weight": "I,H",
    "ffn.bias": "I",
    "ffn_output.weight": "H,I",
    "ffn_output.bias": "H",
}
PARTS = {
    "pooler": {"pooler.weight": "H,H", "pooler.bias": "H"},
    "predictions": {
        "predictions.bias": "V",
        "predictions.LayerNorm.weight": "E",
        "predictions.LayerNorm.bias": "E",
        "predictions.dense.weight": "E,H",
        "predictions.dense.bias": "E",
        "predictions.decoder.weight": "V,E",  # with tie_word_embeddings=false only
    },
    "sop_classifier": {"sop_classifier.classifier.weight": "2,H", "sop_classifier.classifier.bias": "2"},
    "classifier": {"classifier.weight": "K,H", "classifier.bias": "K"},
    "choice": {"classifier.weight": "1,H", "classifier.bias": "1"},
    "qa_outputs": {"qa_outputs.weight": "2,H", "qa_outputs.bias": "2"},
}
HEADS = tuple(part for part in PARTS if part != "pooler")  # whose names take no prefix
WORDS, DECODER = "embeddings.word_embeddings.weight", "predictions.decoder.weight"  # one tensor where config ties them
BIAS, DECODER_BIAS = "predictions.bias", "predictions.decoder.bias"  # always one tensor
ALIASES = {DECODER: WORDS, DECODER_BIAS: BIAS}  # the second name of a tied tensor -> the first
# what pre-training leaves in a checkpoint and most classes do not use
PRETRAINING = {*PARTS["pooler"], *PARTS["predictions"], *PARTS["sop_classifier"], *ALIASES}
# older files store these ranges; they hold no weight
BUFFERS = ("embeddings.position_ids", "embeddings.token_type_ids")


def expected_shapes(config: AlbertConfig, parts: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor that a model stores, without the "albert." prefix. ValueError for a head without labels."""
    if "classifier" in parts and config.num_labels == 0:
        raise ValueError("a classifier needs labels, and id2label of this config is empty: give num_labels=")
    P = config.max_position_embeddings
    letters = {
        "V": config.vocab_size,
        "E": config.embedding_size,
        "H": config.hidden_size,
        "I": config.intermediate_size,
        "P": P,
        "S": config.type_vocab_size,
        "K": config.num_labels,
        "D": config.head_size,
        "2P-1": 2 * P - 1,
        "1": 1,
        "2": 2,
    }
    table = dict(BASE)
    for group in range(config.num_hidden_groups):
        for inner in range(config.inner_group_num):
            at = layer_name(group, inner) + "."
            table |= {at + name: shape for name, shape in LAYER.items()}
    for part in parts:
        table |= PARTS[part]
    if config.tie_word_embeddings:
        table.pop(DECODER, None)
    relative = config.position_embedding_type != "absolute"
    return {
        name: tuple(letters[letter] for letter in shape.split(","))
        for name, shape in table.items()
        if relative or not name.endswith("distance_embedding.weight")
    }


def hub_name(name: str, parts: tuple[str, ...]) -> str:
    """The name in a file of this kind of model: head models put "albert." before the names of the base model."""
    has_head = any(part in HEADS for part in parts)
    return PREFIX + name if has_head and name.startswith(("embeddings.", "encoder.", "pooler.")) else name


def with_aliases(tensors: dict[str, Stored]) -> dict[str, Stored]:
    """Hub names -> arrays, or stored tensors. Adds the second names of tied tensors."""
    for alias, name in ALIASES.items():
        if BIAS in tensors and alias not in tensors:
            tensors[alias] = tensors[PREFIX + name if name.startswith("embeddings.") else name]
    return tensors


def to_store(tensors: dict[str, Stored]) -> dict[str, Stored]:
    """Hub names -> what a file holds of them. An untied decoder has its bias under both names.

    transformers 4.57.6 takes either; transformers 5 adds that of the decoder, and draws it where a file has the other alone.
    """
    if DECODER in tensors:
        return tensors | {DECODER_BIAS: tensors[BIAS]}
    return tensors
