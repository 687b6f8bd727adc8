"""(B,T,H) -> logits: what is on top of the encoder, one function for each head (transformers 4.57.6 modeling_albert.py)."""

from __future__ import annotations

from albert_np.ops import Array
from albert_np.run import Run, Weights


def pooler(run: Run, w: Weights, hidden: Array) -> Array:  # (B,T,H) -> (B,H)
    """tanh(W·h₀ + b): the state of the first token, [CLS]. AlbertModel.forward."""
    x = run.record("pooler", run.ops.linear(hidden[:, 0], w.weight, w.bias))
    return run.record("pooler_activation", run.ops.tanh(x))


def predictions(run: Run, w: Weights, decoder_weight: Array, hidden: Array) -> Array:  # (B,T,H), (V,E) -> (B,T,V)
    """Masked-language-model logits: LayerNorm(act(h·W + b))·Eᵀ + b_V. H -> E, then a product with every row of the word table.

    decoder_weight is that table itself if the weights are tied. predictions.bias is added once. AlbertMLMHead.forward.
    """
    ops, config = run.ops, run.config
    x = run.record("predictions.dense", ops.linear(hidden, w.dense.weight, w.dense.bias))
    x = run.record("predictions.activation", ops.activation(x, config.hidden_act))
    x = ops.layer_norm(x, w.LayerNorm.weight, w.LayerNorm.bias, config.layer_norm_eps)
    run.record("predictions.LayerNorm", x)
    return run.record("predictions.decoder", ops.linear(x, decoder_weight, w.bias))


def sop_classifier(run: Run, w: Weights, pooled: Array) -> Array:  # (B,H) -> (B,2)
    """Sentence order: were the two segments swapped? (Lan et al. 2019, section 3.1.) AlbertSOPHead.forward.

    Logit 0 means in order, logit 1 swapped. There are always two; transformers has config.num_labels of them.
    """
    x = run.ops.dropout(pooled, run.config.classifier_dropout_prob, run.draw("sop_classifier.dropout"))
    return run.record("sop_classifier.classifier", run.ops.linear(x, w.classifier.weight, w.classifier.bias))


def classifier(run: Run, w: Weights, x: Array, dropout: float | None) -> Array:  # (..., H) -> (..., K)
    """A linear classifier on the pooled state (sequences, choices) or on every token."""
    x = run.ops.dropout(x, dropout, run.draw("dropout"))
    return run.record("classifier", run.ops.linear(x, w.weight, w.bias))


def qa_outputs(run: Run, w: Weights, hidden: Array) -> tuple[Array, Array]:  # (B,T,H) -> (B,T), (B,T)
    """Start and end logits of an answer span, always these two. AlbertForQuestionAnswering.forward."""
    x = run.record("qa_outputs", run.ops.linear(hidden, w.weight, w.bias))
    return x[..., 0], x[..., 1]
