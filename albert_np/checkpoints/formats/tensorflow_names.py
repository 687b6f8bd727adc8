"""TensorFlow's names of ALBERT's weights beside Hugging Face's, as transformers' TFAlbert classes store them.

A weight is named by the layers around it, tf_albert_for_masked_lm_3/albert/encoder/…/kernel:0. What stands first is the
model's name in its process, which has a counter, and may be missing. So a name is known by its end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from albert_np.checkpoints.formats.protocol import Tensor
from albert_np.checkpoints.names import BIAS, DECODER_BIAS, PREFIX
from albert_np.encoder import layer_name

KERNEL = "/kernel"  # these matrices are stored as (inputs, outputs), the transpose of Hugging Face's

# --- the table --------------------------------------------------------------------------------------------------------

MODEL = {  # the layer "albert"
    "embeddings/word_embeddings/weight": "embeddings.word_embeddings.weight",
    "embeddings/position_embeddings/embeddings": "embeddings.position_embeddings.weight",
    "embeddings/token_type_embeddings/embeddings": "embeddings.token_type_embeddings.weight",
    "embeddings/LayerNorm/gamma": "embeddings.LayerNorm.weight",
    "embeddings/LayerNorm/beta": "embeddings.LayerNorm.bias",
    "encoder/embedding_hidden_mapping_in/kernel": "encoder.embedding_hidden_mapping_in.weight",
    "encoder/embedding_hidden_mapping_in/bias": "encoder.embedding_hidden_mapping_in.bias",
    "pooler/kernel": "pooler.weight",
    "pooler/bias": "pooler.bias",
}
LAYER = {  # behind encoder/albert_layer_groups_._0/albert_layers_._0/
    "full_layer_layer_norm/gamma": "full_layer_layer_norm.weight",
    "full_layer_layer_norm/beta": "full_layer_layer_norm.bias",
    "attention/query/kernel": "attention.query.weight",
    "attention/query/bias": "attention.query.bias",
    "attention/key/kernel": "attention.key.weight",
    "attention/key/bias": "attention.key.bias",
    "attention/value/kernel": "attention.value.weight",
    "attention/value/bias": "attention.value.bias",
    "attention/dense/kernel": "attention.dense.weight",
    "attention/dense/bias": "attention.dense.bias",
    "attention/LayerNorm/gamma": "attention.LayerNorm.weight",
    "attention/LayerNorm/beta": "attention.LayerNorm.bias",
    "ffn/kernel": "ffn.weight",
    "ffn/bias": "ffn.bias",
    "ffn_output/kernel": "ffn_output.weight",
    "ffn_output/bias": "ffn_output.bias",
}
HEADS = {  # layers beside "albert"
    "predictions/bias": "predictions.bias",
    "predictions/decoder/bias": "predictions.decoder.bias",
    "predictions/LayerNorm/gamma": "predictions.LayerNorm.weight",
    "predictions/LayerNorm/beta": "predictions.LayerNorm.bias",
    "predictions/dense/kernel": "predictions.dense.weight",
    "predictions/dense/bias": "predictions.dense.bias",
    "sop_classifier/classifier/kernel": "sop_classifier.classifier.weight",
    "sop_classifier/classifier/bias": "sop_classifier.classifier.bias",
    "classifier/kernel": "classifier.weight",
    "classifier/bias": "classifier.bias",
    "qa_outputs/kernel": "qa_outputs.weight",
    "qa_outputs/bias": "qa_outputs.bias",
}

TABLES = MODEL | HEADS
_HUB_TO_TF = {hub: name for name, hub in TABLES.items()}
_HUB_TO_TF_IN_LAYER = {hub: name for name, hub in LAYER.items()}
_NUMBER = "(0|[1-9][0-9]{0,3})"  # another spelling of a number would be another name of the same layer
_LAYER = re.compile(rf"(?:.*/)?encoder/albert_layer_groups_\._{_NUMBER}/albert_layers_\._{_NUMBER}/(.*)", re.DOTALL)
_HUB_LAYER = re.compile(re.escape(layer_name(0, 0)).replace("0", r"(\d+)") + r"\.(.*)")
# what Keras calls a layer that was given no name: where it stands says which one it is
_UNNAMED_NORM = re.compile(r"/layer_normalization(_\d+)?/(gamma|beta)$")
# other layers' words for the tables of the embeddings
_TABLE = re.compile(r"(embeddings/(?:word|position|token_type)_embeddings/)(?:weight|embeddings)$")


def hub_name(name: str) -> str:
    """Hugging Face's name for a weight of TensorFlow, with "albert." before the encoder's; "" if the name is not ALBERT's."""
    name = re.sub(r":\d{1,9}$", "", name)
    if match := _LAYER.fullmatch(name):
        norm = _UNNAMED_NORM.sub(r"/LayerNorm/\2", "/" + match[3])[1:]
        norm = f"full_layer_layer_norm{norm.removeprefix('LayerNorm')}" if norm.startswith("LayerNorm/") else norm
        return f"{PREFIX}{layer_name(int(match[1]), int(match[2]))}.{LAYER[norm]}" if norm in LAYER else ""
    name = _UNNAMED_NORM.sub(r"/LayerNorm/\2", name)
    name = _TABLE.sub(lambda found: found[1] + ("weight" if "/word_" in found[1] else "embeddings"), name)
    parts = name.rsplit("/", 3)
    for i in range(max(0, len(parts) - 3), len(parts)):  # no name of the tables has more than three parts
        end = "/".join(parts[i:])
        if end in TABLES:
            return (PREFIX if end in MODEL else "") + TABLES[end]
    return ""


def tensorflow_name(name: str) -> str:
    """TensorFlow's name for Hugging Face's, without the model's name and ":0". ValueError if TensorFlow has none."""
    plain = name.removeprefix(PREFIX)
    layer = _HUB_LAYER.fullmatch(plain)
    if layer and layer[3] in _HUB_TO_TF_IN_LAYER:
        group, inner, rest = layer.groups()
        return f"albert/encoder/albert_layer_groups_._{group}/albert_layers_._{inner}/{_HUB_TO_TF_IN_LAYER[rest]}"
    if plain not in _HUB_TO_TF:
        raise ValueError(f"transformers' TensorFlow classes have no weight for {name}")
    found = _HUB_TO_TF[plain]
    return f"albert/{found}" if found in MODEL else found


def understood(tensor: Tensor) -> Tensor:
    """A tensor under TensorFlow's name and in its orientation, as Hugging Face's. A name that is not ALBERT's stays."""
    found = hub_name(tensor.name)
    return tensor.under(found, transpose=is_kernel(tensor.name)) if found else tensor


def is_kernel(name: str) -> bool:
    return re.sub(r":\d{1,9}$", "", name).endswith(KERNEL)


def is_tensorflow(tensor: Tensor) -> bool:
    """Whether a tensor came with TensorFlow's name."""
    return tensor.hub_name != "" and hub_name(tensor.name) == tensor.hub_name


def as_computed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that TensorFlow computes with, by their names in names.py.

    Its masked-language-model head stores two biases and adds that of the decoder. The other takes no part: it keeps its
    zeros while the model is trained.
    """
    both = BIAS in tensors and DECODER_BIAS in tensors and is_tensorflow(tensors[DECODER_BIAS])
    return {name: tensor for name, tensor in tensors.items() if not both or name != BIAS}
