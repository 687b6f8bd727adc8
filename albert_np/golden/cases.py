"""Tiny seeded models and batches that use ALBERT's features. Goldens and live comparisons run them.

The weights have the scales of trained checkpoints, which differ much from fresh weights with a deviation of 0.02: biases are
not zero, LayerNorm weights are not one, and there are a few outliers. All values are exact in float32, so that float32 and
float64 models share them.
"""

from __future__ import annotations

import numpy as np

from albert_np.checkpoints.names import expected_shapes
from albert_np.config import AlbertConfig

# class -> its heads, as checkpoints/names.py calls them
PARTS = {
    "AlbertModel": ("pooler",),
    "AlbertForPreTraining": ("pooler", "predictions", "sop_classifier"),
    "AlbertForMaskedLM": ("predictions",),
    "AlbertForSequenceClassification": ("pooler", "classifier"),
    "AlbertForTokenClassification": ("classifier",),
    "AlbertForQuestionAnswering": ("qa_outputs",),
    "AlbertForMultipleChoice": ("pooler", "choice"),
}
TINY = {
    "vocab_size": 60,
    "embedding_size": 12,
    "hidden_size": 24,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "num_hidden_layers": 4,
    "max_position_embeddings": 20,
    "classifier_dropout_prob": 0.1,
}

# name -> (class, changes to TINY, what the batch has on)
CASES: dict[str, tuple[str, dict, dict]] = {
    "model": ("AlbertModel", {}, {"padding": True, "trace": True}),
    "model_groups_inner": (
        "AlbertModel",
        {"num_hidden_groups": 2, "inner_group_num": 2},
        {"padding": True, "trace": True},
    ),
    "model_nothing_to_attend": ("AlbertModel", {}, {"all_masked_row": True}),
    "model_embeds_positions": ("AlbertModel", {"hidden_act": "silu"}, {"embeds": True, "positions": True}),
    "pretraining": ("AlbertForPreTraining", {"num_hidden_groups": 2}, {"padding": True, "trace": True}),
    "masked_lm": ("AlbertForMaskedLM", {"inner_group_num": 2, "num_hidden_layers": 3}, {"padding": True}),
    "masked_lm_untied": ("AlbertForMaskedLM", {"tie_word_embeddings": False, "hidden_act": "gelu"}, {"padding": True}),
    "sequence_single": ("AlbertForSequenceClassification", {"num_labels": 3}, {"padding": True}),
    "sequence_multi": (
        "AlbertForSequenceClassification",
        {"num_labels": 4, "problem_type": "multi_label_classification"},
        {},
    ),
    "sequence_regression": ("AlbertForSequenceClassification", {"num_labels": 1, "hidden_act": "tanh"}, {}),
    "tokens": ("AlbertForTokenClassification", {"num_labels": 5, "hidden_act": "relu"}, {"padding": True}),
    "question_head_mask": (
        "AlbertForQuestionAnswering",
        {"num_hidden_groups": 2},
        {"padding": True, "head_mask": True},
    ),
    "choice": ("AlbertForMultipleChoice", {"layer_norm_eps": 1e-5}, {"padding": True}),
    "relative_key": ("AlbertModel", {"position_embedding_type": "relative_key"}, {"padding": True}),
    "relative_key_query": (
        "AlbertForMaskedLM",
        {"position_embedding_type": "relative_key_query", "layer_norm_eps": 1e-5},
        {"padding": True, "head_mask": True},
    ),
}


def trained_like(config: AlbertConfig, parts: tuple[str, ...], seed: int) -> dict[str, np.ndarray]:
    """Tensors under the names of checkpoints/names.py, float32, with the statistics that trained checkpoints show."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, shape in expected_shapes(config, parts).items():
        z = rng.standard_normal(shape)
        if "orm.weight" in name:
            x = 0.88 + 0.035 * z
            x[rng.integers(len(x))] *= 3  # the outlier channel of trained encoders
        elif "orm.bias" in name:
            x = 0.4 * z
        elif name == "predictions.bias":
            x = -1.95 + 1.5 * z
        elif name.endswith(("query.bias", "key.bias")):
            x = 0.6 * z
        elif name.endswith("ffn.bias"):
            x = -0.28 + 0.2 * z
        elif name.endswith("bias"):
            x = 0.1 * z
        elif "embeddings" in name:
            x = 0.04 * z
        else:
            x = z * 0.9 / np.sqrt(shape[-1])
            x.reshape(-1)[rng.integers(x.size, size=max(1, x.size // 300))] *= 6
        tensors[name] = x.astype(np.float32)
    return tensors


def batch(config: AlbertConfig, kind: str, seed: int, **features: bool) -> dict[str, np.ndarray]:
    """The keyword arguments of one call, with two segments, and with labels for the head."""
    rng = np.random.default_rng(seed)
    B, T = int(rng.integers(2, 4)), int(rng.integers(3, min(12, config.max_position_embeddings)))
    lead = (B, 3) if kind == "AlbertForMultipleChoice" else (B,)
    shape = (*lead, T)
    lengths = rng.integers(2, T + 1, lead)
    columns = np.arange(T)
    mask = (columns < lengths[..., None]).astype(np.int64) if features.get("padding") else np.ones(shape, np.int64)
    if features.get("all_masked_row"):
        mask[0] = 0
    call = {
        "input_ids": rng.integers(1, config.vocab_size, shape) * mask,
        "attention_mask": mask,
        "token_type_ids": (columns >= T // 2).astype(np.int64) * mask,
    }
    if features.get("embeds"):
        del call["input_ids"]
        call["inputs_embeds"] = (0.05 * rng.standard_normal((*shape, config.embedding_size))).astype(np.float32)
    if features.get("positions"):
        call["position_ids"] = rng.integers(0, config.max_position_embeddings, shape)
    if features.get("head_mask"):
        keep = rng.random((config.num_hidden_layers, config.num_attention_heads)) < 0.7
        call["head_mask"] = keep * np.float32(1.25)
    return call | labels(config, kind, rng, shape, call.get("attention_mask", mask))


def labels(config: AlbertConfig, kind: str, rng: np.random.Generator, shape: tuple, mask: np.ndarray) -> dict:
    """The labels of a class for inputs of that shape, (B,T) or (B,choices,T); some tokens are ignored."""
    B, T, K = shape[0], shape[-1], config.num_labels

    def some_ignored(size: int) -> np.ndarray:
        return np.where((rng.random(shape) < 0.6) & (mask == 1), rng.integers(0, size, shape), -100)

    if kind == "AlbertForPreTraining":
        return {"labels": some_ignored(config.vocab_size), "sentence_order_label": rng.integers(0, 2, B)}
    if kind == "AlbertForMaskedLM":
        return {"labels": some_ignored(config.vocab_size)}
    if kind == "AlbertForTokenClassification":
        return {"labels": some_ignored(K)}
    if kind == "AlbertForQuestionAnswering":  # beyond T: clamped, then ignored
        return {"start_positions": rng.integers(0, T + 3, B), "end_positions": rng.integers(0, T, B)}
    if kind == "AlbertForMultipleChoice":
        return {"labels": rng.integers(0, shape[1], B)}
    if kind == "AlbertForSequenceClassification":
        if K == 1:
            return {"labels": rng.standard_normal(B).astype(np.float32)}
        if config.problem_type == "multi_label_classification":
            return {"labels": rng.integers(0, 2, (B, K)).astype(np.float32)}
        return {"labels": rng.integers(0, K, B)}
    return {}


def random_config(seed: int, kind: str) -> AlbertConfig:
    """Head sizes 4 to 64, E ≠ H, several groups and inner layers, every activation and position type."""
    rng = np.random.default_rng(seed)
    D, N = int(rng.choice([4, 5, 8, 16, 33, 64])), int(rng.integers(1, 5))
    G, J = int(rng.integers(1, 4)), int(rng.integers(1, 3))
    L = int(rng.integers(G * J, G * J + 4))  # so that int(L/G) ≥ J, or transformers fails with an IndexError
    if int(L / G) < J:
        L = G * J
    multi = kind == "AlbertForSequenceClassification" and rng.random() < 0.3
    return AlbertConfig(
        vocab_size=int(rng.integers(20, 90)),
        embedding_size=int(rng.integers(3, 40)),
        hidden_size=D * N,
        num_attention_heads=N,
        num_hidden_layers=L,
        num_hidden_groups=G,
        inner_group_num=J,
        intermediate_size=int(rng.integers(5, 90)),
        hidden_act=str(
            rng.choice(
                ["gelu_new", "gelu_pytorch_tanh", "gelu", "gelu_python", "gelu_fast", "relu", "silu", "swish", "tanh"]
            )
        ),
        max_position_embeddings=int(rng.integers(12, 30)),
        type_vocab_size=int(rng.integers(2, 4)),
        tie_word_embeddings=bool(rng.random() < 0.8),
        layer_norm_eps=float(rng.choice([1e-12, 1e-5])),
        position_embedding_type=str(rng.choice(["absolute", "absolute", "relative_key", "relative_key_query"])),
        num_labels=int(rng.integers(2, 6)) if multi or rng.random() < 0.7 else 1,
        problem_type="multi_label_classification" if multi else None,
        pad_token_id=0,
    )


def random_case(seed: int, kind: str) -> tuple[AlbertConfig, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """A random configuration, trained-like tensors, and a call with some features on."""
    config = random_config(seed, kind)
    rng = np.random.default_rng([seed, 1])  # not the configuration's own draws again
    features = {name: bool(rng.random() < 0.5) for name in ("padding", "head_mask", "embeds", "positions")}
    features["embeds"] &= kind != "AlbertForMultipleChoice"
    call = batch(config, kind, seed, **features)
    shape = call["token_type_ids"].shape
    call["token_type_ids"] = rng.integers(0, config.type_vocab_size, shape)
    if rng.random() < 0.2:
        call["attention_mask"][0] = 0  # a sequence with nothing to attend to
    if kind == "AlbertForSequenceClassification" and config.num_labels > 1 and rng.random() < 0.2:
        config = config.replace(problem_type="regression")
        call["labels"] = rng.standard_normal((shape[0], config.num_labels)).astype(np.float32)
    return config, trained_like(config, PARTS[kind], seed), call
