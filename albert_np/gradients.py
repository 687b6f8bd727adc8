"""From the loss back to every parameter, through heads, encoder and embeddings: the forward files, read from the end.

Nothing is derived by a machine. A function here has the name of a forward function, with `_backward`: it takes the gradient
by what that returned and gives the gradient by what it was given; gradients by weights go to `back.add`. What the forward
computed on its way is read from its trace.

The shared layer is the place to look at: it is applied L times, so each of its weights gathers L gradients, the last
application's first.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from albert_np import imports
from albert_np.embeddings import embeddings
from albert_np.encoder import Attending, albert_layer, applications
from albert_np.inputs import Inputs
from albert_np.ops import Array
from albert_np.run import Run, Weights

LAYERS = "encoder.albert_layer_groups."


@dataclass(frozen=True)
class Back:
    """What the way back carries: the forward's run with its trace, and the gradients found so far."""

    run: Run
    found: dict[str, list[Array]] = field(default_factory=dict)  # one array a use, in the order they are found

    def __getitem__(self, name: str) -> Array:
        assert self.run.trace is not None
        return self.run.trace[name]

    def add(self, name: str, gradient: Array) -> None:
        self.found.setdefault(name, []).append(gradient)

    def linear(self, name: str, dy: Array, x: Array, weight: Array) -> Array:  # (..., out), (..., in) -> (..., in)
        dx, d_weight, d_bias = self.run.ops.linear_backward(dy, x, weight)
        self.add(f"{name}.weight", d_weight)
        self.add(f"{name}.bias", d_bias)
        return dx

    def layer_norm(self, name: str, dy: Array, x: Array, w: Weights) -> Array:  # (..., H), (..., H) -> (..., H)
        dx, d_weight, d_bias = self.run.ops.layer_norm_backward(dy, x, w.weight, self.run.config.layer_norm_eps)
        self.add(f"{name}.weight", d_weight)
        self.add(f"{name}.bias", d_bias)
        return dx


def value_and_found(
    model: Any,
    batch: Inputs,
    checked: dict[str, Any],
    rng: np.random.Generator | None,
    mask_mode: Any,
    per_application: bool,
    recompute: bool,
    all_logits: bool,
) -> tuple[Any, dict[str, list[Array]]]:
    """The loss, and every use of every parameter: one forward, and the way back.

    Backend "numba" runs the encoder as two programs (backends/cpu/training.py) where it can; all else goes step by step.
    """
    w, config, ops = model._weights, model.config, model._ops
    run = Run(ops, config, rng, {}, labelled_only=not all_logits, wanted=between_layers if recompute else None)
    back, attending = Back(run), Attending(batch.allowed, None, batch.head_mask, mask_mode)
    with contextlib.ExitStack() as stack:
        kept = None
        if model.backend == "numba" and _cpu_training().can(config, batch, rng is not None):
            x = embeddings(
                run, w.embeddings, batch.input_ids, batch.inputs_embeds, batch.token_type_ids, batch.position_ids
            )
            buffers = stack.enter_context(ops.arena.buffers())
            hidden, kept = _cpu_training().encode(
                ops,
                w.encoder,
                config,
                x,
                batch.mask,
                mask_mode,
                buffers,
                recompute,
                model._reads(run, batch, **checked),
            )
            encoded = model._pooled(run, hidden)
        else:
            encoded = model._encode(run, batch, mask_mode, False, False)
        loss = getattr(model._head(run, encoded, **checked), "loss", None)
        if loss is None:
            needed = " and ".join(name for name in model.head_inputs if name != "logits_positions")
            raise ValueError(f"{type(model).__name__} has no loss to differentiate without {needed or 'a head'}")

        d_hidden, d_pooled = model._head_backward(back, encoded, **checked)
        if d_pooled is not None:
            through_pooler = pooler_backward(back, w.pooler, d_pooled, encoded.hidden)
            d_hidden = through_pooler if d_hidden is None else d_hidden + through_pooler
        if kept is None:
            embedded = ops.dropout(
                back["embeddings.LayerNorm"], config.hidden_dropout_prob, run.draw_again("embeddings.dropout")
            )
            d_embedded = encoder_backward(back, w.encoder, d_hidden, embedded, attending)
        else:
            d_embedded, found = _cpu_training().encode_backward(ops, kept, d_hidden, per_application)
            back.found.update(found)
        embeddings_backward(back, w.embeddings, d_embedded, batch)
    return loss, back.found


def _cpu_training() -> Any:
    """Imported where it is used: the reference works where llvmlite is not installed."""
    with imports.lock:
        from albert_np.backends.cpu import training as cpu_training

    return cpu_training


def totals(found: dict[str, list[Array]], parameters: dict[str, Array]) -> dict[str, Array]:
    """Σ over the uses of each parameter, in the order they were found; 0 for one that the loss does not reach."""
    total = {}
    for name, parameter in parameters.items():
        first, *others = found.get(name) or [np.zeros_like(parameter)]
        total[name] = first.copy() if others else first
        for gradient in others:
            total[name] += gradient
    return total


def by_application(found: dict[str, list[Array]], parameters: dict[str, Array]) -> dict[str, Array]:
    """As totals, but a layer's parameters keep an axis for its applications, the first of them first."""
    total = totals(found, parameters)
    return {name: np.stack(found[name][::-1]) if LAYERS in name and name in found else x for name, x in total.items()}


# --- heads ----------------------------------------------------------------------------------------------------------------


def pooler_backward(back: Back, w: Weights, d_pooled: Array, hidden: Array) -> Array:  # (B,H), (B,T,H) -> (B,T,H)
    """pooled = tanh(W·h₀ + b): only the first token of each sequence has a part in it."""
    dy = back.run.ops.activation_backward(d_pooled, back["pooler"], "tanh")
    d_hidden = np.zeros_like(hidden)
    d_hidden[:, 0] = back.linear("pooler", dy, hidden[:, 0], w.weight)
    return d_hidden


def predictions_backward(  # (V,E), (B,T,V), (B,T,H) -> (B,T,H)
    back: Back, w: Weights, decoder_weight: Array, tied: bool, d_logits: Array, hidden: Array
) -> Array:
    """logits = LayerNorm(act(h·W + b))·Eᵀ + b_V. Where weights are tied, E is the word table, which learns from both ends."""
    ops = back.run.ops
    dx, d_table, d_bias = ops.linear_backward(d_logits, back["predictions.LayerNorm"], decoder_weight)
    back.add("embeddings.word_embeddings.weight" if tied else "predictions.decoder.weight", d_table)
    back.add("predictions.bias", d_bias)
    dx = back.layer_norm("predictions.LayerNorm", dx, back["predictions.activation"], w.LayerNorm)
    dx = ops.activation_backward(dx, back["predictions.dense"], back.run.config.hidden_act)
    return back.linear("predictions.dense", dx, hidden, w.dense.weight)


def classifier_backward(  # (..., K), (..., H) -> (..., H)
    back: Back, name: str, w: Weights, d_logits: Array, x: Array, dropout: float | None, draw: str
) -> Array:
    """logits = drop(x)·Wᵀ + b."""
    ops, run = back.run.ops, back.run
    d_dropped = back.linear(name, d_logits, ops.dropout(x, dropout, run.draw_again(draw)), w.weight)
    return ops.dropout_backward(d_dropped, dropout, run.draw_again(draw))


# --- the encoder ----------------------------------------------------------------------------------------------------------


def encoder_backward(back: Back, w: Weights, dx: Array, embedded: Array, attending: Attending) -> Array:
    # (B,T,H), (B,T,E) -> (B,T,E)
    """Every application of a layer, the last first; then the projection E -> H."""
    for application, group, inner in reversed(list(applications(back.run.config))):
        before = f"encoder.layer.{application - 1}.full_layer_layer_norm"
        x = back[before if application else "encoder.embedding_hidden_mapping_in"]
        layer, name = w.albert_layer_groups[group].albert_layers[inner], f"{LAYERS}{group}.albert_layers.{inner}"
        here = replace(back, run=_with_trace_of(application, back.run, layer, x, attending))
        dx = albert_layer_backward(here, layer, name, dx, x, attending, application)
    mapping = w.embedding_hidden_mapping_in
    return back.linear("encoder.embedding_hidden_mapping_in", dx, embedded, mapping.weight)


def between_layers(name: str) -> bool:
    """Is this step of a trace enough to compute an application again?"""
    return not name.startswith("encoder.layer.") or name.endswith(".full_layer_layer_norm")


def _with_trace_of(application: int, run: Run, layer: Weights, x: Array, attending: Attending) -> Run:
    """The run itself where its trace holds this application. Else one that applies the layer once more, to the same input
    and with the same dropout: one forward more in time, but the memory of one application instead of all."""
    assert run.trace is not None
    at = f"encoder.layer.{application}"
    if f"{at}.ffn" in run.trace:
        return run
    again = Run(run.ops, run.config, run.draw_again(f"{at}.attention.dropout"), {})
    albert_layer(again, layer, x, attending, application)
    return again


def albert_layer_backward(  # (B,T,H), (B,T,H) -> (B,T,H)
    back: Back, w: Weights, name: str, dy: Array, x: Array, attending: Attending, application: int
) -> Array:
    """y = LayerNorm(a + W₂·act(W₁·a + b₁) + b₂), a = attention(x): a is reached by two ways, and their gradients add."""
    ops, at = back.run.ops, f"encoder.layer.{application}"
    attended = back[f"{at}.attention.LayerNorm"]
    summed = back[f"{at}.ffn_output"] + attended
    d_sum = back.layer_norm(f"{name}.full_layer_layer_norm", dy, summed, w.full_layer_layer_norm)
    d = back.linear(f"{name}.ffn_output", d_sum, back[f"{at}.activation"], w.ffn_output.weight)
    d = ops.activation_backward(d, back[f"{at}.ffn"], back.run.config.hidden_act)
    d = back.linear(f"{name}.ffn", d, attended, w.ffn.weight)
    return attention_backward(back, w.attention, f"{name}.attention", d_sum + d, x, attending, application)


def attention_backward(  # (B,T,H), (B,T,H) -> (B,T,H)
    back: Back, w: Weights, name: str, dy: Array, x: Array, attending: Attending, application: int
) -> Array:
    """y = LayerNorm(x + drop(context·Wᴼ + bᴼ)): x is reached by four ways, itself, q, k and v."""
    run, config, at = back.run, back.run.config, f"encoder.layer.{application}.attention"
    ops, p, position_type = run.ops, config.hidden_dropout_prob, config.position_embedding_type
    dropped = ops.dropout(back[f"{at}.dense"], p, run.draw_again(f"{at}.output_dropout"))
    d_sum = back.layer_norm(f"{name}.LayerNorm", dy, x + dropped, w.LayerNorm)
    d = ops.dropout_backward(d_sum, p, run.draw_again(f"{at}.output_dropout"))
    d_context = back.linear(f"{name}.dense", d, back[f"{at}.context"], w.dense.weight)

    dq, dk, dv, d_table = ops.attention_backward(
        d_context,
        back[f"{at}.query"],
        back[f"{at}.key"],
        back[f"{at}.value"],
        back[f"{at}.scores"],
        attending.allowed,
        config.num_attention_heads,
        mask_mode=attending.mask_mode,
        head_mask=None if attending.head_mask is None else attending.head_mask[application],
        position_type=position_type,
        positions=attending.positions,
        distance_table=w.distance_embedding.weight if position_type != "absolute" else None,
        dropout_probability=config.attention_probs_dropout_prob,
        rng=run.draw_again(f"{at}.dropout"),
    )
    if d_table is not None:
        back.add(f"{name}.distance_embedding.weight", d_table)
    dx = d_sum
    for part, d in (("query", dq), ("key", dk), ("value", dv)):
        dx = dx + back.linear(f"{name}.{part}", d, x, getattr(w, part).weight)
    return dx


# --- embeddings -----------------------------------------------------------------------------------------------------------


def embeddings_backward(back: Back, w: Weights, dx: Array, batch: Inputs) -> None:  # (B,T,E)
    """x = drop(LayerNorm(word + token type + position)): the same gradient goes to the three rows that were added."""
    ops, config = back.run.ops, back.run.config
    dx = ops.dropout_backward(dx, config.hidden_dropout_prob, back.run.draw_again("embeddings.dropout"))
    dx = back.layer_norm("embeddings.LayerNorm", dx, back["embeddings.sum"], w.LayerNorm)
    ids_of = {"token_type_embeddings": batch.token_type_ids}
    if batch.input_ids is not None:
        ids_of["word_embeddings"] = batch.input_ids
    if config.position_embedding_type == "absolute":
        ids_of["position_embeddings"] = batch.position_ids
    for table, ids in ids_of.items():
        pad = config.pad_token_id if table == "word_embeddings" else None
        rows = len(getattr(w, table).weight)
        gradient = ops.embedding_backward(dx, np.broadcast_to(ids, dx.shape[:2]), rows, pad)
        back.add(f"embeddings.{table}.weight", gradient)
