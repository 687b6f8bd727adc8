"""(B,T,E) -> (B,T,H): the projection, and one layer applied again and again (Lan et al. 2019, section 3.1).

Cross-layer sharing is the loop in `encoder`: L applications run through G stored groups, and G is 1 in every published
ALBERT. The layer itself is BERT's (Vaswani et al. 2017, section 3.1; post-LayerNorm).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from albert_np.config import AlbertConfig
from albert_np.ops import Array, Attending, MaskMode
from albert_np.run import Run, Weights


def encoder(  # (B,T,E) -> (B,T,H), L+1 × (B,T,H), applications × (B,N,T,T)
    run: Run,
    w: Weights,
    x: Array,
    attending: Attending,
    head_masks: Array | None = None,
    *,
    keep_hidden_states: bool = False,
    keep_attentions: bool = False,
) -> tuple[Array, tuple[Array, ...], tuple[Array, ...]]:
    """The projection, and L applications of a group. transformers 4.57.6 modeling_albert.py, AlbertTransformer.forward.

    Returns the output, L + 1 hidden states (the projected embeddings, then one for each layer), and one attention array for
    each application of a stored layer; a group has inner_group_num stored layers.
    """
    # the projection stands here even where E = H (google-research leaves it out there)
    x = run.ops.linear(x, w.embedding_hidden_mapping_in.weight, w.embedding_hidden_mapping_in.bias)
    run.record("encoder.embedding_hidden_mapping_in", x)

    hidden_states, attentions = [x], []
    for application, group, inner in applications(run.config):
        layer = w.albert_layer_groups[group].albert_layers[inner]
        x, probs = albert_layer(run, layer, x, in_layer(attending, layer, head_masks, application), application)
        if keep_attentions:
            attentions.append(probs)
        if keep_hidden_states and inner == run.config.inner_group_num - 1:
            hidden_states.append(x)
    return x, tuple(hidden_states), tuple(attentions)


def applications(config: AlbertConfig) -> Iterator[tuple[int, int, int]]:
    """(application, stored group, layer inside it), in the order of the forward."""
    L, G, inner = config.num_hidden_layers, config.num_hidden_groups, config.inner_group_num
    for i in range(L):
        for j in range(inner):
            yield i * inner + j, group_of_layer(i, L, G), j


def group_of_layer(i: int, L: int, G: int) -> int:
    """The stored group that layer i applies. The float division is that of transformers: L = 18, G = 14, i = 9 gives 6."""
    return int(i / (L / G))


LAYERS = "encoder.albert_layer_groups."  # what the names of all stored layers begin with, as checkpoints have them


def layer_name(group: int, inner: int) -> str:
    """What the names of one stored layer's weights begin with."""
    return f"{LAYERS}{group}.albert_layers.{inner}"


def step(application: int, name: str) -> str:
    """The name of a step in a trace: the application of the layer as a number, and the module's name in transformers."""
    return f"encoder.layer.{application}.{name}"


def attending_of(config: AlbertConfig, allowed: Array, mask_mode: MaskMode, positions: Array | None) -> Attending:
    """The part of Attending that is the same in every layer. allowed (B,1,1|T,T) bool, positions (T,) int."""
    return Attending(
        allowed,
        config.num_attention_heads,
        mask_mode=mask_mode,
        position_type=config.position_embedding_type,
        positions=positions,
        dropout_probability=config.attention_probs_dropout_prob,
    )


def in_layer(attending: Attending, w: Weights, head_masks: Array | None, application: int) -> Attending:
    """Attending with what one layer adds: its table of distances, and the head mask of this application."""
    table = None if attending.position_type == "absolute" else w.attention.distance_embedding.weight
    head_mask = None if head_masks is None else head_masks[application]
    return replace(attending, distance_table=table, head_mask=head_mask)


def albert_layer(  # (B,T,H) -> (B,T,H), (B,N,T,T)
    run: Run, w: Weights, x: Array, attending: Attending, application: int
) -> tuple[Array, Array]:
    """Attention, then the feed-forward network, each added to its input and normalised.

    LayerNorm(x + FFN(x)) with FFN(x) = act(x·W₁ + b₁)·W₂ + b₂ (Vaswani et al. 2017, eq. 2).
    """
    ops, config = run.ops, run.config
    attended, probs = attention(run, w.attention, x, attending, application)
    y = run.record(step(application, "ffn"), ops.linear(attended, w.ffn.weight, w.ffn.bias))
    y = run.record(step(application, "activation"), ops.activation(y, config.hidden_act))
    y = run.record(step(application, "ffn_output"), ops.linear(y, w.ffn_output.weight, w.ffn_output.bias))
    # no dropout here: transformers 4.57.6 has the module and never calls it
    y = run.record(step(application, "sum"), y + attended)
    norm = w.full_layer_layer_norm
    y = ops.layer_norm(y, norm.weight, norm.bias, config.layer_norm_eps)
    return run.record(step(application, "full_layer_layer_norm"), y), probs


def attention(  # (B,T,H) -> (B,T,H), (B,N,T,T)
    run: Run, w: Weights, x: Array, attending: Attending, application: int
) -> tuple[Array, Array]:
    """LayerNorm(x + concat(headₙ)·Wᴼ + bᴼ), headₙ = softmax(qₙ·kₙᵀ/√D + mask)·vₙ (Vaswani et al. 2017, section 3.2)."""
    ops, config, at = run.ops, run.config, step(application, "attention")
    query = run.record(f"{at}.query", ops.linear(x, w.query.weight, w.query.bias))
    key = run.record(f"{at}.key", ops.linear(x, w.key.weight, w.key.bias))
    value = run.record(f"{at}.value", ops.linear(x, w.value.weight, w.value.bias))

    context, scores, probs = ops.attention(query, key, value, attending, run.draw(f"{at}.dropout"))
    run.record(f"{at}.scores", scores)
    run.record(f"{at}.probs", probs)
    run.record(f"{at}.context", context)

    y = run.record(f"{at}.dense", ops.linear(context, w.dense.weight, w.dense.bias))
    y = ops.dropout(y, config.hidden_dropout_prob, run.draw(f"{at}.output_dropout"))
    y = run.record(f"{at}.sum", x + y)
    y = ops.layer_norm(y, w.LayerNorm.weight, w.LayerNorm.bias, config.layer_norm_eps)
    return run.record(f"{at}.LayerNorm", y), probs
