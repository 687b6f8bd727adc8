"""ids -> (B,T,E): the factorised embedding of ALBERT (Lan et al. 2019, section 3.1), before its projection to H."""

from __future__ import annotations

from albert_np.ops import Array
from albert_np.run import Run, Weights


def embeddings(  # (B,T) int or (B,T,E), (B,T) int, (B|1,T) int -> (B,T,E)
    run: Run,
    w: Weights,
    input_ids: Array | None,
    inputs_embeds: Array | None,
    token_type_ids: Array,
    position_ids: Array,
) -> Array:
    """LayerNorm(word + token type + position). transformers 4.57.6 modeling_albert.py, AlbertEmbeddings.forward.

    With relative positions the position table is still in the file, but it is not added.
    """
    ops, config = run.ops, run.config
    if input_ids is not None:
        words = ops.embedding(input_ids, w.word_embeddings.weight)
    else:
        assert inputs_embeds is not None  # inputs.py: one of the two
        words = inputs_embeds
    x = words + ops.embedding(token_type_ids, w.token_type_embeddings.weight)
    if config.position_embedding_type == "absolute":
        x = x + ops.embedding(position_ids, w.position_embeddings.weight)
    run.record("embeddings.sum", x)
    x = ops.layer_norm(x, w.LayerNorm.weight, w.LayerNorm.bias, config.layer_norm_eps)
    run.record("embeddings.LayerNorm", x)
    return ops.dropout(x, config.hidden_dropout_prob, run.draw("embeddings.dropout"))
