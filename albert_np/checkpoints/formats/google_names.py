"""The names of google-research/albert, whose TensorFlow 1 programs wrote the first checkpoints, and Hugging Face's for them.

Sources: modeling.py, run_pretraining.py, classifier_utils.py, race_utils.py, squad_utils.py, optimization.py and
lamb_optimizer.py of google-research/albert; the names of saved files, for what its programs no longer write.
"""

from __future__ import annotations

import re

from albert_np.encoder import layer_name

MODULE = "module/"  # what stands before every name in a TF-Hub module or SavedModel
EMBEDDINGS = "bert/embeddings/word_embeddings"
QUERY = "bert/encoder/transformer/group_0/inner_group_0/attention_1/self/query/kernel"
MAPPING = {  # left out where E = H
    "bert/encoder/embedding_hidden_mapping_in/kernel": "encoder.embedding_hidden_mapping_in.weight",
    "bert/encoder/embedding_hidden_mapping_in/bias": "encoder.embedding_hidden_mapping_in.bias",
}
NAMES = MAPPING | {
    "bert/embeddings/word_embeddings": "embeddings.word_embeddings.weight",
    "bert/embeddings/position_embeddings": "embeddings.position_embeddings.weight",
    "bert/embeddings/token_type_embeddings": "embeddings.token_type_embeddings.weight",
    "bert/embeddings/LayerNorm/gamma": "embeddings.LayerNorm.weight",
    "bert/embeddings/LayerNorm/beta": "embeddings.LayerNorm.bias",
    "bert/pooler/dense/kernel": "pooler.weight",
    "bert/pooler/dense/bias": "pooler.bias",
    "cls/predictions/transform/dense/kernel": "predictions.dense.weight",
    "cls/predictions/transform/dense/bias": "predictions.dense.bias",
    "cls/predictions/transform/LayerNorm/gamma": "predictions.LayerNorm.weight",
    "cls/predictions/transform/LayerNorm/beta": "predictions.LayerNorm.bias",
    "cls/predictions/output_bias": "predictions.bias",
    # Sentence order. Logit 0: the two segments are in their order, logit 1: they were swapped (sentence_order_label in
    # create_pretraining_data.py). transformers' AlbertForPreTraining says the same of sop_logits.
    "cls/seq_relationship/output_weights": "sop_classifier.classifier.weight",
    "cls/seq_relationship/output_bias": "sop_classifier.classifier.bias",
    # run_classifier.py has (K,H), run_race.py (1,H)
    "output_weights": "classifier.weight",
    "output_bias": "classifier.bias",
    # run_squad_v1.py; row 0 begins an answer, row 1 ends it. The heads of run_squad_v2.py are of another form.
    "cls/squad/output_weights": "qa_outputs.weight",
    "cls/squad/output_bias": "qa_outputs.bias",
}
LAYER = {  # behind bert/encoder/transformer/group_G/inner_group_I/
    "attention_1/self/query/kernel": "attention.query.weight",
    "attention_1/self/query/bias": "attention.query.bias",
    "attention_1/self/key/kernel": "attention.key.weight",
    "attention_1/self/key/bias": "attention.key.bias",
    "attention_1/self/value/kernel": "attention.value.weight",
    "attention_1/self/value/bias": "attention.value.bias",
    "attention_1/output/dense/kernel": "attention.dense.weight",
    "attention_1/output/dense/bias": "attention.dense.bias",
    "LayerNorm/gamma": "attention.LayerNorm.weight",
    "LayerNorm/beta": "attention.LayerNorm.bias",
    "ffn_1/intermediate/dense/kernel": "ffn.weight",
    "ffn_1/intermediate/dense/bias": "ffn.bias",
    "ffn_1/intermediate/output/dense/kernel": "ffn_output.weight",
    "ffn_1/intermediate/output/dense/bias": "ffn_output.bias",
    "LayerNorm_1/gamma": "full_layer_layer_norm.weight",
    "LayerNorm_1/beta": "full_layer_layer_norm.bias",
}
IN_LAYER = re.compile(r"bert/encoder/transformer/group_(0|[1-9]\d{0,5})/inner_group_(0|[1-9]\d{0,5})/(.+)", re.ASCII)
# the last word of the names of moments, which an optimizer keeps for each variable, and of counts. They are not read
TRAINING = (
    "adam_m",
    "adam_v",
    "lamb_m",
    "lamb_v",
    "Adam",
    "Adam_1",
    "Momentum",
    "beta1_power",
    "beta2_power",
    "global_step",
)
# a pattern of names that another architecture has -> what to say about it
OTHERS = {
    r"_CHECKPOINTABLE_OBJECT_GRAPH|.*/\.ATTRIBUTES/.*": "it is a checkpoint of TensorFlow 2 objects, not of TensorFlow 1's "
    "variables by google-research/albert's names: save it from its own program as tf_model.h5 or safetensors",
    r"bert/encoder/layer_shared.*": "it is of brightmart/albert_zh's own architecture (layer_shared: another embedding "
    "projection, and positions of size H), which is not ALBERT's; the Chinese models of google-research/albert can be read",
    r"bert/encoder/layer_\d+/.*": "it is a BERT: each of its layers has weights of its own",
    r"bert/encoder/transformer/.*\blayer_normalization.*": "its LayerNorms are not shared: it was trained by a program with "
    "Keras's LayerNormalization, which makes new ones for every application of the layer, and no class of ALBERT has those",
}


def hub_name(name: str) -> str:
    """Hugging Face's name for the weight; "" for one that is not in the tables. Kernels are stored as its transpose."""
    name = name.removeprefix(MODULE)
    match = IN_LAYER.fullmatch(name)
    if match:
        last = LAYER.get(match[3])
        return f"{layer_name(int(match[1]), int(match[2]))}.{last}" if last else ""
    return NAMES.get(name, "")


def is_transposed(name: str) -> bool:
    """Whether Hugging Face stores the transpose: of Dense kernels. Tables and output_weights are as they are."""
    return name.endswith("/kernel") and bool(hub_name(name))


def is_of_training(name: str) -> bool:
    """Whether it is a moment of an optimizer, or a count of steps."""
    return name.rpartition("/")[2] in TRAINING


def other_architecture(name: str) -> str:
    """What a checkpoint with this name is, if it is none of google-research/albert; else ""."""
    name = name.removeprefix(MODULE)
    return next((what for pattern, what in OTHERS.items() if re.fullmatch(pattern, name, re.DOTALL)), "")
