"""Models small enough to be simulated, and calls of them."""

import numpy as np

from albert_np import AlbertConfig
from albert_np.golden.cases import PARTS, TINY, batch, trained_like
from support.outputs import flat
from support.variations import VARIATIONS

# the simulator takes a second for each ten blocks of threads, so sizes are small enough for one block a product, mostly
CONFIG = AlbertConfig(**(TINY | {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 20}))
SMALL = {
    "vocab_size": 20,
    "embedding_size": 4,
    "hidden_size": 8,
    "num_attention_heads": 1,
    "intermediate_size": 12,
    "num_hidden_layers": 1,
}


def tiny(kind, seed, name):
    """As variations.varied, in a model of two layers."""
    changes, options, drawn = VARIATIONS[name]
    rng = np.random.default_rng(seed)
    acts = ("gelu_new", "gelu", "silu", "relu", "tanh")
    config = CONFIG.replace(
        **({"num_hidden_groups": 2, "hidden_act": acts[seed % 5]} | changes | {"num_hidden_layers": 2})
    )
    call = batch(config, kind, seed, padding=True, head_mask=seed % 2 == 0, positions=seed % 3 == 0) | options
    if drawn:
        call |= drawn(call, rng)
    if callable(call.get("head_mask")):
        call["head_mask"] = call["head_mask"](config.num_hidden_layers, config.num_attention_heads)
    return config, trained_like(config, PARTS[kind], seed), call


def plain_call(config, kind, seed):
    call = batch(config, kind, seed, padding=True)
    return {key: x for key, x in call.items() if key in ("input_ids", "attention_mask", "token_type_ids")}


def check_same_bits_with_a_trace(model):
    """What is traced is what runs: the outputs of a padded batch, and a state that both have."""
    ids = np.random.default_rng(0).integers(1, model.config.vocab_size, (2, 5))
    call = {"input_ids": ids, "attention_mask": [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], "output_hidden_states": True}
    plain, traced, again = model(**call), model(**call, trace=True), model(**call)
    assert traced.trace.fused
    last = f"encoder.layer.{model.config.num_hidden_layers - 1}.full_layer_layer_norm"
    assert np.array_equal(traced.trace[last], plain.hidden_states[-1])
    for key, x in flat(plain).items():
        assert np.array_equal(x, flat(traced)[key]), key
        assert np.array_equal(x, flat(again)[key]), key


def check_same_bits_alone_and_together(model):
    """A sequence alone, in a batch with longer ones, and with the padding skipped."""
    lengths, rng = (5, 3, 1), np.random.default_rng(0)
    ids = rng.integers(1, model.config.vocab_size, (3, 5))
    mask = (np.arange(5) < np.array(lengths)[:, None]).astype(int)
    together, skipped = model(ids, mask), model(ids, mask, skip_padding=True)
    for i, length in enumerate(lengths):
        alone = model(ids[i : i + 1, :length])
        assert np.array_equal(together.prediction_logits[i, :length], alone.prediction_logits[0])
        assert np.array_equal(skipped.prediction_logits[i, :length], alone.prediction_logits[0])
        assert np.array_equal(together.sop_logits[i], alone.sop_logits[0])
        assert not skipped.prediction_logits[i, length:].any()
    assert together.prediction_logits.dtype == np.float32
