"""The catalogue of porting mistakes: what people get wrong when they write ALBERT for another chip or framework.

Each is a small rewriting of the list of steps, so that it can be run, in any application and any arithmetic:

    wrong = with_mistake(steps, mistake, application=3)
    values = run(wrong, batch, weights, Mistaken(Exact()))
    first_wrong_step(steps, wrong)      # the name that blame must report

docs/golden_mistakes.md lists them all.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from albert_np.config import ACTIVATIONS, POSITION_TYPES, AlbertConfig
from albert_np.golden.graph import ARCHITECTURES
from albert_np.golden.mistakes.attention import attention
from albert_np.golden.mistakes.ends import ends
from albert_np.golden.mistakes.layer import layer
from albert_np.golden.mistakes.rewriting import Mistake, Mistaken, first_wrong_step, with_mistake
from albert_np.golden.mistakes.structure import structure

__all__ = ["Mistake", "Mistaken", "first_wrong_step", "mistakes", "with_mistake"]


def mistakes(config: AlbertConfig, architecture: str = "AlbertModel") -> list[Mistake]:
    """All mistakes of the catalogue that this model can have, from the embeddings to the heads.

    Some need something in the steps or the inputs that is not always there (factors for the heads, padding): such a mistake
    changes no step, or no number. Raises ValueError for an architecture that is not ALBERT's.
    """
    if architecture not in ARCHITECTURES:
        raise ValueError(f"architecture must be one of {', '.join(ARCHITECTURES)}; got {architecture!r:.80}")
    parts = ARCHITECTURES[architecture]
    return [*layer(config, parts), *attention(config), *structure(config), *ends(config, parts)]


def catalogue() -> dict[str, Mistake]:
    """All mistakes of all models, by name."""
    return {one.name: one for config in _configs() for kind in ARCHITECTURES for one in mistakes(config, kind)}


def _configs() -> Iterator[AlbertConfig]:
    """Models that have, between them, whatever a mistake needs."""
    shape = {
        "vocab_size": 40,
        "embedding_size": 8,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_attention_heads": 4,
    }
    layers: dict[str, Any] = {"num_hidden_layers": 7, "num_hidden_groups": 3, "inner_group_num": 2, "num_labels": 3}
    for act in ACTIVATIONS:
        for position_type in POSITION_TYPES:
            yield AlbertConfig(**{**shape, **layers, "hidden_act": act, "position_embedding_type": position_type})
    yield AlbertConfig(**{**shape, **layers, "layer_norm_eps": 1e-5, "tie_word_embeddings": False})
    yield AlbertConfig(**{**shape, **layers, "embedding_size": 32})
    yield AlbertConfig(**{**shape, "num_attention_heads": 2, "num_hidden_layers": 7, "num_hidden_groups": 5})
