"""Parameters and multiply-adds, counted from a config alone, against published sizes and against a forward that runs."""

import math

import numpy as np
import pytest

from albert_np import AlbertConfig, AlbertModel
from albert_np.config import preset
from albert_np.costs import multiply_adds, parameters

# of the published checkpoints, as transformers counts AlbertModel's
PUBLISHED = {"base": 11_683_584, "large": 17_683_968, "xlarge": 58_724_864, "xxlarge": 222_595_584}
TINY = {
    "vocab_size": 40,
    "embedding_size": 8,
    "hidden_size": 12,
    "num_attention_heads": 3,
    "intermediate_size": 20,
    "max_position_embeddings": 16,
}


@pytest.mark.parametrize(("size", "count"), PUBLISHED.items(), ids=list(PUBLISHED))
def test_parameters_are_those_of_the_published_models(size, count):
    assert sum(stored for stored, _ in parameters(preset(size)).values()) == count


def test_parameters_of_a_model_with_groups_are_those_that_it_holds():
    config = AlbertConfig(**TINY, num_hidden_layers=6, num_hidden_groups=3, inner_group_num=2)
    counts = parameters(config)
    assert sum(stored for stored, _ in counts.values()) == AlbertModel(config, seed=0).num_parameters()
    for part, (stored, unshared) in counts.items():
        assert unshared == stored * (2 if part.startswith("shared layer") else 1)  # 12 applications of 6 stored layers


def test_without_sharing_there_is_a_layer_for_each_application_also_where_groups_are_not_equally_large():
    config = AlbertConfig(**TINY | {"hidden_size": 9}, num_hidden_layers=7, num_hidden_groups=3)
    unshared = sum(unshared for _, unshared in parameters(config).values())
    assert unshared == AlbertModel(config.replace(num_hidden_groups=7), seed=0).num_parameters()


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("kind", ["absolute", "relative_key", "relative_key_query"])
def test_multiply_adds_are_those_of_the_arrays_that_a_forward_makes(groups, kind):
    T = 7
    config = AlbertConfig(**TINY, num_hidden_layers=4, num_hidden_groups=groups, position_embedding_type=kind)
    model = AlbertModel(config, seed=0, backend="numpy")
    trace = model(np.arange(5, 5 + T)[None], trace="unfused").trace
    widths = {"embedding_hidden_mapping_in": 8, "query": 12, "key": 12, "value": 12, "dense": 12, "ffn": 12}
    products = math.prod(trace["encoder.embedding_hidden_mapping_in"].shape) * 8
    for name, array in trace.items():
        if name.startswith("encoder.layer."):
            last = name.rpartition(".")[2]
            width = {**widths, "ffn_output": 20, "context": T, "probs": 0}.get(last, 0)  # how many terms an entry sums
            if last == "scores":
                width = 4 * {"absolute": 1, "relative_key": 2, "relative_key_query": 3}[kind]  # D, for each table too
            products += array.size * width
    assert sum(multiply_adds(config, T).values()) == products


def test_sharing_leaves_the_multiply_adds_as_they_are():
    base = preset("base")
    apart = base.replace(num_hidden_groups=base.num_hidden_layers)
    assert multiply_adds(base, 128) == multiply_adds(apart, 128)
    one, twelve = (sum(stored for stored, _ in parameters(config).values()) for config in (base, apart))
    assert twelve > 7 * one


@pytest.mark.parametrize("tokens", [0, -1, 1.5, "8", True, None])
def test_multiply_adds_refuse_what_is_no_length(tokens):
    with pytest.raises(ValueError, match="tokens must be a whole number of at least 1"):
        multiply_adds(preset("base"), tokens)
