"""Names of Flax's ALBERT (transformers 4.57.6, modeling_flax_albert.py) and Hugging Face's, both ways.

Flax calls a matrix `kernel` and stores its transpose, a table `embedding` and a LayerNorm's weight `scale`. A name is a path
through nested dicts; it is written with "/" in the index of a checkpoint in several files, and with "." in safetensors files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from albert_np.checkpoints.formats.protocol import Tensor
from albert_np.files import shown

NAMES = {
    "embeddings/word_embeddings/embedding": "embeddings.word_embeddings.weight",
    "embeddings/position_embeddings/embedding": "embeddings.position_embeddings.weight",
    "embeddings/token_type_embeddings/embedding": "embeddings.token_type_embeddings.weight",
    "embeddings/LayerNorm/scale": "embeddings.LayerNorm.weight",
    "embeddings/LayerNorm/bias": "embeddings.LayerNorm.bias",
    "encoder/embedding_hidden_mapping_in/kernel": "encoder.embedding_hidden_mapping_in.weight",
    "encoder/embedding_hidden_mapping_in/bias": "encoder.embedding_hidden_mapping_in.bias",
    "pooler/kernel": "pooler.weight",
    "pooler/bias": "pooler.bias",
    "predictions/bias": "predictions.bias",
    "predictions/LayerNorm/scale": "predictions.LayerNorm.weight",
    "predictions/LayerNorm/bias": "predictions.LayerNorm.bias",
    "predictions/dense/kernel": "predictions.dense.weight",
    "predictions/dense/bias": "predictions.dense.bias",
    "predictions/decoder/kernel": "predictions.decoder.weight",  # if it is not tied; predictions/bias is its bias
    "sop_classifier/classifier/kernel": "sop_classifier.classifier.weight",
    "sop_classifier/classifier/bias": "sop_classifier.classifier.bias",
    "classifier/kernel": "classifier.weight",
    "classifier/bias": "classifier.bias",
    "qa_outputs/kernel": "qa_outputs.weight",
    "qa_outputs/bias": "qa_outputs.bias",
}
LAYER = {  # behind encoder/albert_layer_groups/0/albert_layers/0/
    "full_layer_layer_norm/scale": "full_layer_layer_norm.weight",
    "full_layer_layer_norm/bias": "full_layer_layer_norm.bias",
    "attention/query/kernel": "attention.query.weight",
    "attention/query/bias": "attention.query.bias",
    "attention/key/kernel": "attention.key.weight",
    "attention/key/bias": "attention.key.bias",
    "attention/value/kernel": "attention.value.weight",
    "attention/value/bias": "attention.value.bias",
    "attention/dense/kernel": "attention.dense.weight",
    "attention/dense/bias": "attention.dense.bias",
    "attention/LayerNorm/scale": "attention.LayerNorm.weight",
    "attention/LayerNorm/bias": "attention.LayerNorm.bias",
    # relative positions, which Flax's classes do not have: they leave this leaf alone, and so compute something else
    "attention/distance_embedding/embedding": "attention.distance_embedding.weight",
    "ffn/kernel": "ffn.weight",
    "ffn/bias": "ffn.bias",
    "ffn_output/kernel": "ffn_output.weight",
    "ffn_output/bias": "ffn_output.bias",
}

_BACK = {name.replace(".", "/"): stored for stored, name in (NAMES | LAYER).items()}


def _pattern(elsewhere: Iterable[str], inside: Iterable[str]) -> re.Pattern[str]:
    """Matches a whole name with "/": (prefix, layer, name inside a layer, or else name elsewhere)."""
    layer = "encoder/albert_layer_groups/[0-9]+/albert_layers/[0-9]+/"
    first, second = ("|".join(re.escape(name.replace(".", "/")) for name in names) for names in (inside, elsewhere))
    return re.compile(f"(|.*?/)(?:({layer})({first})|({second}))", re.DOTALL)


_FLAX, _HUB = _pattern(NAMES, LAYER), _pattern(NAMES.values(), LAYER.values())


def hub_name(stored: str) -> str:
    """Hugging Face's name, behind the same prefix, of a name with "/".

    A name that is none of Flax's keeps its last "/", so that it is not taken for one of Hugging Face's.
    """
    match = _FLAX.fullmatch(stored)
    if match is None:
        module, slash, leaf = stored.rpartition("/")
        return module.replace("/", ".") + slash + leaf
    at = match[1] + (match[2] or "")
    return at.replace("/", ".") + (LAYER[match[3]] if match[3] else NAMES[match[4]])


def stored_name(name: str) -> str:
    """Flax's name, with "/", behind the same prefix, of a name of Hugging Face's. Raises ValueError if Flax has none for it."""
    match = _HUB.fullmatch(name.replace(".", "/"))
    if match is None:
        raise ValueError(f"Flax's ALBERT has no tensor {shown(name)}, so flax_model.msgpack cannot hold it")
    return match[1] + (match[2] or "") + _BACK[match[3] or match[4]]


def is_kernel(stored: str) -> bool:
    """Whether what has this name of Flax's, with "/", is the transpose of Hugging Face's matrix."""
    return stored.endswith("/kernel")


def understood(tensor: Tensor) -> Tensor:
    """A tensor that a file has under a name of Flax's, with "/" or with "."."""
    stored = tensor.name.replace(".", "/")
    name = hub_name(stored)
    return tensor.under(name, transpose=is_kernel(stored) and "/" not in name)
