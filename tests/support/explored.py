"""A text, and small models, for the tests of the explorer."""

from functools import cache
from typing import Any

from albert_np import AlbertConfig, AlbertForPreTraining, AlbertTokenizer, explore

TEXT = "There was a knock at the [MASK] and a boy came in."


@cache
def demo_tokenizer() -> AlbertTokenizer:
    return AlbertTokenizer.from_pretrained("demo")


@cache
def of_the_demo() -> Any:
    """What the embedded model does with the text."""
    return explore(TEXT)


def small(kind: type = AlbertForPreTraining, **changes: Any) -> Any:
    """A small model with the demo's vocabulary."""
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "num_hidden_layers": 2}
    base = {"vocab_size": demo_tokenizer().vocab_size, "embedding_size": 8, "max_position_embeddings": 64}
    return kind(AlbertConfig(**(base | sizes | changes)), seed=1)
