"""From the loss back to every parameter, through heads, encoder and embeddings: the forward files, read from the end.

All derivatives are written by hand. `f_backward` belongs to the forward function `f`: it takes the gradient with respect to
the output of f and returns the gradient with respect to its input. Gradients with respect to weights go to `back.add`. What
the forward computed on its way is read from its trace.

Look at the shared layer first: it is applied L times, so each of its weights gathers L gradients, and the last application
gives the first of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np

from albert_np.embeddings import embeddings
from albert_np.encoder import LAYERS, albert_layer, applications, encoder, in_layer, layer_name, step
from albert_np.inputs import Inputs
from albert_np.ops import Array, Attending, attention_context_backward
from albert_np.run import Encoded, Head, LayerOps, Run, Trace, TrainingOps, Weights


@dataclass(frozen=True)
class Back:
    """What the way back carries: the forward's run with its trace, the ops, and the gradients found so far."""

    run: Run
    ops: TrainingOps
    found: dict[str, list[Array]] = field(default_factory=dict)  # one array for each use, in the order they are found
    taps: Trace | None = None  # where the gradient with respect to each step is kept, if somebody wants them

    def __getitem__(self, name: str) -> Array:
        assert self.run.trace is not None
        return self.run.trace[name]

    def add(self, name: str, gradient: Array) -> None:
        self.found.setdefault(name, []).append(gradient)

    def record(self, name: str, gradient: Array) -> Array:
        """Returns the gradient with respect to that step, and keeps it if somebody wants it."""
        if self.taps is not None:
            self.taps[name] = gradient
        return gradient

    def linear(self, name: str, dy: Array, x: Array, weight: Array) -> Array:  # (..., out), (..., in) -> (..., in)
        dx, d_weight, d_bias = self.ops.linear_backward(dy, x, weight)
        self.add(f"{name}.weight", d_weight)
        self.add(f"{name}.bias", d_bias)
        return dx

    def layer_norm(self, name: str, dy: Array, x: Array, w: Weights) -> Array:  # (..., H), (..., H) -> (..., H)
        dx, d_weight, d_bias = self.ops.layer_norm_backward(dy, x, w.weight, self.run.config.layer_norm_eps)
        self.add(f"{name}.weight", d_weight)
        self.add(f"{name}.bias", d_bias)
        return dx


# the encoder as a function of the embeddings (B,T,E): its output (B,T,H), and the function from the gradient with respect to
# that to the gradient with respect to the embeddings
Encode = Callable[[Array], tuple[Array, Callable[[Array], Array]]]


def loss_and_gradients(
    back: Back, w: Weights, batch: Inputs, head: Head, encode: Encode
) -> tuple[Any, dict[str, list[Array]]]:
    """The loss, and a gradient for every use of every parameter: one forward and the way back."""
    x = embeddings(
        back.run, w.embeddings, batch.input_ids, batch.inputs_embeds, batch.token_type_ids, batch.position_ids
    )
    hidden, encode_backward = encode(x)
    encoded = Encoded(hidden)
    loss = head.forward(back.run, encoded).loss
    embeddings_backward(back, w.embeddings, encode_backward(head.backward(back, encoded)), batch)
    return loss, back.found


def encode_by_layers(back: Back, w: Weights, attending: Attending, head_masks: Array | None) -> Encode:
    """The forward of encoder.py with its trace, and the way back."""

    def encode(x: Array) -> tuple[Array, Callable[[Array], Array]]:
        hidden, _, _ = encoder(back.run, w, x, attending, head_masks)
        return hidden, lambda d_hidden: encoder_backward(back, w, d_hidden, x, attending, head_masks)

    return encode


def totals(found: dict[str, list[Array]], parameters: dict[str, Array]) -> dict[str, Array]:
    """Σ over the uses of each parameter, in the order they were found; 0 for a parameter that the loss does not reach."""
    total = {}
    for name, parameter in parameters.items():
        first, *others = found.get(name) or [np.zeros_like(parameter)]
        total[name] = first.copy() if others else first
        for gradient in others:
            total[name] += gradient
    return total


def by_application(found: dict[str, list[Array]], parameters: dict[str, Array]) -> dict[str, Array]:
    """Like totals, but a layer's parameters keep an axis for its applications, the first application first."""
    total = totals(found, parameters)
    return {name: np.stack(found[name][::-1]) if LAYERS in name and name in found else x for name, x in total.items()}


# --- heads ----------------------------------------------------------------------------------------------------------------


def pooler_backward(back: Back, w: Weights, d_pooled: Array, hidden: Array) -> Array:  # (B,H), (B,T,H) -> (B,T,H)
    """pooled = tanh(W·h₀ + b): only the first token of each sequence gets a gradient."""
    dy = back.ops.activation_backward(back.record("pooler_activation", d_pooled), back["pooler"], "tanh")
    back.record("pooler", dy)
    d_hidden = np.zeros_like(hidden)
    d_hidden[:, 0] = back.linear("pooler", dy, hidden[:, 0], w.weight)
    return d_hidden


def predictions_backward(  # (V,E), (B,T,V), (B,T,H) -> (B,T,H)
    back: Back, w: Weights, decoder_weight: Array, tied: bool, d_logits: Array, hidden: Array
) -> Array:
    """logits = LayerNorm(act(h·W + b))·Eᵀ + b_V. If weights are tied, E is the word table: it gets gradients at both ends."""
    ops = back.ops
    back.record("predictions.decoder", d_logits)
    dx, d_table, d_bias = ops.linear_backward(d_logits, back["predictions.LayerNorm"], decoder_weight)
    back.record("predictions.LayerNorm", dx)
    back.add("embeddings.word_embeddings.weight" if tied else "predictions.decoder.weight", d_table)
    back.add("predictions.bias", d_bias)
    dx = back.layer_norm("predictions.LayerNorm", dx, back["predictions.activation"], w.LayerNorm)
    back.record("predictions.activation", dx)
    dx = ops.activation_backward(dx, back["predictions.dense"], back.run.config.hidden_act)
    back.record("predictions.dense", dx)
    return back.linear("predictions.dense", dx, hidden, w.dense.weight)


def classifier_backward(  # (..., K), (..., H) -> (..., H)
    back: Back, name: str, w: Weights, d_logits: Array, x: Array, dropout: float | None, draw: str
) -> Array:
    """logits = drop(x)·Wᵀ + b."""
    ops, run = back.ops, back.run
    d_dropped = back.linear(name, back.record(name, d_logits), ops.dropout(x, dropout, run.draw_again(draw)), w.weight)
    return ops.dropout_backward(d_dropped, dropout, run.draw_again(draw))


# --- the encoder ----------------------------------------------------------------------------------------------------------


def encoder_backward(  # (B,T,H), (B,T,E) -> (B,T,E)
    back: Back, w: Weights, dx: Array, embedded: Array, attending: Attending, head_masks: Array | None
) -> Array:
    """Every application of a layer, the last first; then the projection E -> H."""
    for application, group, inner in reversed(list(applications(back.run.config))):
        before = step(application - 1, "full_layer_layer_norm")
        x = back[before if application else "encoder.embedding_hidden_mapping_in"]
        layer = w.albert_layer_groups[group].albert_layers[inner]
        how = in_layer(attending, layer, head_masks, application)
        here = replace(back, run=_with_trace_of(application, back.run, layer, x, how))
        dx = albert_layer_backward(here, layer, layer_name(group, inner), dx, x, how, application)
    mapping = w.embedding_hidden_mapping_in
    back.record("encoder.embedding_hidden_mapping_in", dx)
    return back.linear("encoder.embedding_hidden_mapping_in", dx, embedded, mapping.weight)


def reads_back(name: str) -> bool:
    """Does the way back read this step of a trace?"""
    return not (name.startswith("encoder.layer.") and name.endswith((".probs", ".attention.dense", ".ffn_output")))


def between_layers(name: str) -> bool:
    """Is this step of a trace enough to compute an application again?"""
    return not name.startswith("encoder.layer.") or name.endswith(".full_layer_layer_norm")


def _with_trace_of(application: int, run: Run, layer: Weights, x: Array, attending: Attending) -> Run:
    """The run itself if its trace holds this application. Otherwise a run that applies the layer once more, to the same
    input and with the same dropout: it costs the time of one more forward, but the memory of one application, not of all."""
    assert run.trace is not None
    if step(application, "ffn") in run.trace:
        return run
    again = Run(run.ops, run.config, run.draw_again(step(application, "attention.dropout")), Trace(), wanted=reads_back)
    albert_layer(again, layer, x, attending, application)
    return again


def albert_layer_backward(  # (B,T,H), (B,T,H) -> (B,T,H)
    back: Back, w: Weights, name: str, dy: Array, x: Array, attending: Attending, application: int
) -> Array:
    """y = LayerNorm(a + W₂·act(W₁·a + b₁) + b₂), a = attention(x): y depends on a in two ways, and the gradients add."""
    ops = back.ops
    back.record(step(application, "full_layer_layer_norm"), dy)
    d_sum = back.layer_norm(
        f"{name}.full_layer_layer_norm", dy, back[step(application, "sum")], w.full_layer_layer_norm
    )
    back.record(step(application, "sum"), d_sum)
    back.record(step(application, "ffn_output"), d_sum)
    d = back.linear(f"{name}.ffn_output", d_sum, back[step(application, "activation")], w.ffn_output.weight)
    back.record(step(application, "activation"), d)
    d = ops.activation_backward(d, back[step(application, "ffn")], back.run.config.hidden_act)
    back.record(step(application, "ffn"), d)
    d = back.linear(f"{name}.ffn", d, back[step(application, "attention.LayerNorm")], w.ffn.weight)
    return attention_backward(back, w.attention, f"{name}.attention", d_sum + d, x, attending, application)


def attention_backward(  # (B,T,H), (B,T,H) -> (B,T,H)
    back: Back, w: Weights, name: str, dy: Array, x: Array, attending: Attending, application: int
) -> Array:
    """y = LayerNorm(x + drop(context·Wᴼ + bᴼ)): y depends on x in four ways: directly, and through q, k and v."""
    run, at = back.run, step(application, "attention")
    ops = cast(LayerOps, back.ops)  # engines without it have an encoder of their own
    back.record(f"{at}.LayerNorm", dy)
    d_sum = back.record(f"{at}.sum", back.layer_norm(f"{name}.LayerNorm", dy, back[f"{at}.sum"], w.LayerNorm))
    d = ops.dropout_backward(d_sum, run.config.hidden_dropout_prob, run.draw_again(f"{at}.output_dropout"))
    back.record(f"{at}.dense", d)
    d_context = back.record(f"{at}.context", back.linear(f"{name}.dense", d, back[f"{at}.context"], w.dense.weight))

    query, key, value, scores = (back[f"{at}.{part}"] for part in ("query", "key", "value", "scores"))
    if back.taps is not None:
        again = run.draw_again(f"{at}.dropout")
        _, d_probs, d_scores = attention_context_backward(d_context, value, scores, attending, again)
        back.record(f"{at}.probs", d_probs)
        back.record(f"{at}.scores", d_scores)
    again = run.draw_again(f"{at}.dropout")
    dq, dk, dv, d_table = ops.attention_backward(d_context, query, key, value, scores, attending, again)
    if d_table is not None:
        back.add(f"{name}.distance_embedding.weight", d_table)
    dx = d_sum
    for part, d in (("query", dq), ("key", dk), ("value", dv)):
        dx = dx + back.linear(f"{name}.{part}", back.record(f"{at}.{part}", d), x, getattr(w, part).weight)
    return dx


# --- embeddings -----------------------------------------------------------------------------------------------------------


def embeddings_backward(back: Back, w: Weights, dx: Array, batch: Inputs) -> None:  # (B,T,E)
    """x = drop(LayerNorm(word + token type + position)): the three rows that were added get the same gradient."""
    ops, config = back.ops, back.run.config
    dx = ops.dropout_backward(dx, config.hidden_dropout_prob, back.run.draw_again("embeddings.dropout"))
    back.record("embeddings.LayerNorm", dx)
    dx = back.record("embeddings.sum", back.layer_norm("embeddings.LayerNorm", dx, back["embeddings.sum"], w.LayerNorm))
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
