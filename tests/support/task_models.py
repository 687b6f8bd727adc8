"""A tiny model for each task, with the tests' vocabulary and random weights: for what is not about what a model knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import albert_np
from support import TINY_MODEL

SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "embedding_size": 8,
}
# folder -> class, names of its classes
MODELS: dict[str, tuple[str, list[str]]] = {
    "my-reviews": ("AlbertForSequenceClassification", ["bad", "good"]),
    "my-pairs": ("AlbertForSequenceClassification", ["no", "yes", "perhaps"]),
    "my-nli": ("AlbertForSequenceClassification", ["contradiction", "neutral", "entailment"]),
    "my-names": ("AlbertForTokenClassification", ["O", "B-PER", "I-PER"]),
    "my-squad": ("AlbertForQuestionAnswering", []),
    "my-swag": ("AlbertForMultipleChoice", []),
    "my-albert": ("AlbertForPreTraining", []),
}


def save(folder: Path) -> Path:
    """Saves all of MODELS into a folder. They have the demo's 128 positions."""
    for name, (kind, labels) in MODELS.items():
        named: dict[str, Any] = {"id2label": dict(enumerate(labels))} if labels else {}
        config = albert_np.AlbertConfig.from_pretrained(TINY_MODEL, **SMALL, **named, max_position_embeddings=128)
        getattr(albert_np, kind)(config, seed=1).save_pretrained(folder / name)
        albert_np.AlbertTokenizer.from_pretrained(TINY_MODEL).save_pretrained(folder / name)
    return folder
