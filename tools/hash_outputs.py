"""Hashes what seeded models compute, so that two commits can be compared bit by bit: `python tools/hash_outputs.py > before`.

Every model is tiny and drawn from a seed: one of the seven classes, with groups, inner layers, relative positions, head masks,
padding and labels now and then. A line holds the model, the backend, what was computed, and the first 16 digits of its SHA-256.
`diff before after` shows what changed. The script uses public names only, so it runs at older commits too.
"""

from __future__ import annotations

import argparse
import hashlib
from typing import Any

import numpy as np
from tqdm import tqdm

import albert_np

CLASSES = (
    "AlbertModel",
    "AlbertForPreTraining",
    "AlbertForMaskedLM",
    "AlbertForSequenceClassification",
    "AlbertForTokenClassification",
    "AlbertForQuestionAnswering",
    "AlbertForMultipleChoice",
)
BACKENDS = (("numpy", "float64"), ("numpy", "float32"), ("numba", "float32"))


def drawn(seed: int) -> tuple[str, albert_np.AlbertConfig, dict[str, Any], dict[str, Any]]:
    """The class, the config, the inputs and the labels of one model."""
    rng = np.random.default_rng(seed)
    name = CLASSES[seed % len(CLASSES)]
    N, D = int(rng.choice([1, 2, 4])), int(rng.choice([4, 8, 16]))
    groups, inner = (1, 1) if rng.random() < 0.7 else (int(rng.integers(1, 3)), int(rng.integers(1, 3)))
    config = albert_np.AlbertConfig(
        vocab_size=int(rng.integers(30, 300)),
        embedding_size=int(rng.integers(4, 40)),
        hidden_size=N * D,
        num_attention_heads=N,
        num_hidden_layers=groups * int(rng.integers(inner, 4)),
        num_hidden_groups=groups,
        inner_group_num=inner,
        intermediate_size=int(rng.integers(4, 150)),
        max_position_embeddings=64,
        num_labels=int(rng.integers(2, 6)),
        hidden_act=str(rng.choice(["gelu_new", "gelu", "relu", "silu"])),
        hidden_dropout_prob=float(rng.choice([0, 0, 0.1])),
        attention_probs_dropout_prob=float(rng.choice([0, 0, 0.1])),
        position_embedding_type=str(rng.choice(["absolute"] * 4 + ["relative_key", "relative_key_query"])),
    )
    B, T = int(rng.integers(1, 7)), int(rng.integers(1, 50))
    shape = (B, int(rng.integers(2, 4)), T) if name == "AlbertForMultipleChoice" else (B, T)
    lengths = rng.integers(1, T + 1, shape[:-1])
    given: dict[str, Any] = {
        "input_ids": rng.integers(0, config.vocab_size, shape),
        "token_type_ids": rng.integers(0, 2, shape),
    }
    if rng.random() < 0.8:
        given["attention_mask"] = (np.arange(T) < lengths[..., None]).astype(np.int64)
    if rng.random() < 0.2:
        given["head_mask"] = rng.random(N)
    K = config.num_labels
    labels: dict[str, Any] = {
        "AlbertModel": {},
        "AlbertForPreTraining": {
            "labels": np.where(rng.random((B, T)) < 0.3, rng.integers(0, config.vocab_size, (B, T)), -100),
            "sentence_order_label": rng.integers(0, 2, B),
        },
        "AlbertForMaskedLM": {
            "labels": np.where(rng.random((B, T)) < 0.3, rng.integers(0, config.vocab_size, (B, T)), -100)
        },
        "AlbertForSequenceClassification": {"labels": rng.integers(0, K, B)},
        "AlbertForTokenClassification": {"labels": rng.integers(0, K, (B, T))},
        "AlbertForQuestionAnswering": {
            "start_positions": rng.integers(0, T, B),
            "end_positions": rng.integers(0, T, B),
        },
        "AlbertForMultipleChoice": {"labels": rng.integers(0, shape[1], B)},
    }[name]
    return name, config, given, labels


def digest(*arrays: Any) -> str:
    found = hashlib.sha256()
    for x in arrays:
        x = np.asarray(x)
        found.update(f"{x.dtype}{x.shape}".encode() + np.ascontiguousarray(x).tobytes())
    return found.hexdigest()[:16]


def flat(out: Any) -> list[Any]:
    values = []
    for x in out.to_tuple():
        values += x if isinstance(x, tuple) else [x]
    return values


def lines(seed: int) -> list[str]:
    name, config, given, labels = drawn(seed)
    found = []
    for backend, dtype in BACKENDS:
        model = getattr(albert_np, name)(config, seed=seed, backend=backend, dtype=dtype)
        rng = np.random.default_rng(seed)
        for x in model.parameters_to_change().values():
            x += rng.normal(0, 0.1, x.shape).astype(x.dtype)

        def add(what: str, *arrays: Any, at: str = f"{seed:3} {name} {backend} {dtype}") -> None:
            found.append(f"{at} {what} {digest(*arrays)}")

        add("call", *flat(model(**given, **labels, output_hidden_states=True)))
        add("attentions", *flat(model(**given, output_attentions=True)))
        if "attention_mask" in given:
            add("skip_padding", *flat(model(**given, skip_padding=True)))
        trace = model(**given, trace=True).trace
        add("trace", *(trace[key] for key in sorted(trace)))
        add("call in training", *flat(model(**given, training=True, seed=seed)))
        if not labels:
            continue
        for what, options in {
            "gradients": {},
            "gradients again": {"recompute": True},
            "gradients by application": {"per_application": True},
            "gradients in training": {"training": True, "seed": seed},
        }.items():
            loss, gradients = model.value_and_grad(**given, **labels, **options)
            add(what, loss, *(gradients[key] for key in sorted(gradients)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", type=int, default=200, help="how many models (default: 200)")
    arguments = parser.parse_args()
    for seed in tqdm(range(arguments.models), unit="model", disable=None):
        print("\n".join(lines(seed)))


if __name__ == "__main__":
    main()
