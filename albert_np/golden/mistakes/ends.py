"""Porting mistakes before and after the encoder: embeddings, pooler, heads."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from albert_np.config import AlbertConfig
from albert_np.encoder import applications, step
from albert_np.golden.arithmetic import Table
from albert_np.golden.graph import Step
from albert_np.golden.mistakes.rewriting import How, Mistake, changed, computed, passed_on, wrong
from albert_np.ops import Array

SUM = "embeddings.sum"
WORDS, TYPES, POSITIONS = (f"embeddings.{name}_embeddings" for name in ("word", "token_type", "position"))
HIDDEN = "encoder.embedding_hidden_mapping_in"


def ends(config: AlbertConfig, parts: tuple[str, ...]) -> Iterator[Mistake]:
    """All of them that a model with these heads can have."""
    yield from _embeddings(config)
    if "pooler" in parts:
        yield from _pooler(config)
    if "predictions" in parts:
        yield from _predictions(config)
    yield from _classifiers(config, parts)


# --- embeddings -----------------------------------------------------------------------------------------------------------


def _ids(f: Callable[[Array, Array], Array]) -> How:
    """Rows of the table, of other ids: a function of the ids and the table, kept inside the table."""
    return lambda table, ids, rows: table.gather(np.clip(f(ids, rows), 0, len(rows) - 1), rows)


def _times(factor: float) -> How:
    return lambda table, ids, rows: table.gather(ids, rows) * rows.dtype.type(factor)


def _without(one: Step, name: str) -> Step:
    return replace(one, inputs=tuple(x for x in one.inputs if x != name))


def _embeddings(config: AlbertConfig) -> Iterator[Mistake]:
    E, S, P = config.embedding_size, config.type_vocab_size, config.max_position_embeddings
    text = "token type embeddings missing: not added"
    yield changed("token_types_missing", text, SUM, lambda one: _without(one, TYPES))
    text = "token types ignored: all are 0"
    yield wrong("token_types_all_zero", text, TYPES, _ids(lambda ids, rows: ids * 0))
    if S > 1:
        text = "token types all 1"
        yield wrong("token_types_all_one", text, TYPES, _ids(lambda ids, rows: ids * 0 + 1))
        text = "token types 0 and 1 exchanged"
        yield wrong("token_types_exchanged", text, TYPES, _ids(lambda ids, rows: np.where(ids < 2, 1 - ids, ids)))
    yield changed(
        "token_types_twice",
        "token type embeddings added twice",
        SUM,
        lambda one: replace(one, inputs=(*one.inputs, TYPES)),
    )

    text = "word embeddings times √E"
    yield wrong("word_embeddings_scaled", text, WORDS, _times(math.sqrt(E)))
    text = "word embeddings times √H"
    yield wrong("word_embeddings_scaled_by_hidden_size", text, WORDS, _times(math.sqrt(config.hidden_size)))
    text = "word embeddings missing: only positions and token types are added"
    yield changed("word_embeddings_missing", text, SUM, lambda one: _without(one, WORDS))
    text = "ids of the words off by one (id + 1)"
    yield wrong("word_ids_plus_one", text, WORDS, _ids(lambda ids, rows: ids + 1))
    yield wrong("word_ids_minus_one", "ids of the words off by one (id − 1)", WORDS, _ids(lambda ids, rows: ids - 1))
    if config.pad_token_id is not None:
        pad = config.pad_token_id
        text = "word embedding of the padding token taken as zero"
        yield wrong(
            "padding_embedding_zero", text, WORDS, lambda t, ids, rows: t.gather(ids, rows) * (ids != pad)[..., None]
        )
    text = "words in reverse order"
    yield wrong("words_reversed", text, WORDS, _ids(lambda ids, rows: ids[..., ::-1]))
    text = "words moved by one place to the right"
    yield wrong("words_moved", text, WORDS, _ids(lambda ids, rows: np.roll(ids, 1, -1)))

    if config.position_embedding_type == "absolute":
        yield from _positions(E, P)
    else:
        text = "absolute position embeddings added although positions are relative"
        yield changed("absolute_positions_added", text, SUM, _with_positions)
    for label, factor in (("0.9", 0.9), ("1_over_0.9", 1 / 0.9)):
        text = f"embeddings times {label.replace('_over_', '/')}: dropout 0.1 left on"
        yield wrong(f"embeddings_times_{label}", text, "embeddings.LayerNorm", _norm_times(factor))
    text = "projection of the embeddings reads what comes before their LayerNorm"
    yield changed("projection_before_norm", text, HIDDEN, lambda one: replace(one, inputs=(SUM,)))
    text = "activation applied behind the projection of the embeddings"
    act = config.hidden_act
    yield wrong(
        "projection_with_activation", text, HIDDEN, lambda t, *a, **how: t.activation(t.linear(*a, **how), name=act)
    )


def _norm_times(factor: float) -> How:
    return lambda table, x, *a, **how: table.layer_norm(x, *a, **how) * x.dtype.type(factor)


def _with_positions(one: Step) -> list[Step]:
    gathered = Step(POSITIONS, "gather", ("position_ids",), (f"{POSITIONS}.weight",), optional=True)
    return [gathered, replace(one, inputs=(*one.inputs, POSITIONS))]


def _positions(E: int, P: int) -> Iterator[Mistake]:
    text = "position embeddings missing: not added"
    yield changed("positions_missing", text, SUM, lambda one: _without(one, POSITIONS))
    text = "positions ignored: all are 0"
    yield wrong("positions_all_zero", text, POSITIONS, _ids(lambda ids, rows: ids * 0))
    yield wrong("positions_from_1", "positions counted from 1 instead of 0", POSITIONS, _ids(lambda ids, rows: ids + 1))
    text = "positions off by one: counted from −1, the first two are 0"
    yield wrong("positions_from_minus_1", text, POSITIONS, _ids(lambda ids, rows: ids - 1))
    text = "positions counted from 2 instead of 0 (padding_idx + 1 and one, as in RoBERTa)"
    yield wrong("positions_from_2", text, POSITIONS, _ids(lambda ids, rows: ids + 2))
    text = "positions in reverse order"
    yield wrong("positions_reversed", text, POSITIONS, _ids(lambda ids, rows: ids[..., ::-1]))
    yield wrong("positions_times_2", "positions counted in steps of 2", POSITIONS, _ids(lambda ids, rows: ids * 2))
    text = "positions from the end of the table"
    yield wrong("positions_from_end", text, POSITIONS, _ids(lambda ids, rows: len(rows) - 1 - ids))
    text = "position embeddings added twice"
    yield changed("positions_twice", text, SUM, lambda one: replace(one, inputs=(*one.inputs, POSITIONS)))

    def real(table: Table, ids: Array, rows: Array, allowed: Array) -> Array:
        mask = _real(allowed)
        return table.gather(np.maximum(np.cumsum(mask, -1) - 1, 0) * mask, rows)

    text = "positions counted over real tokens only: padding has position 0"
    yield changed(
        "positions_of_real_tokens",
        text,
        POSITIONS,
        lambda one: computed(replace(one, inputs=(*one.inputs, "allowed"), weights=one.weights), _mask_last(real)),
    )

    def from_right(table: Table, ids: Array, rows: Array, allowed: Array) -> Array:
        mask = _real(allowed)
        return table.gather(np.clip(np.arange(mask.shape[-1]) - (~mask).sum(-1, keepdims=True), 0, None), rows)

    text = "positions counted as if the padding were on the left"
    yield changed(
        "positions_of_left_padding",
        text,
        POSITIONS,
        lambda one: computed(replace(one, inputs=(*one.inputs, "allowed")), _mask_last(from_right)),
    )

    def waves(table: Table, ids: Array, rows: Array) -> Array:
        i = np.arange(E)
        angle = ids[..., None] / 10000.0 ** (2 * (i // 2) / E)
        return np.where(i % 2, np.cos(angle), np.sin(angle)).astype(rows.dtype)

    yield wrong("positions_sinusoidal", "sine and cosine positions instead of the learned ones", POSITIONS, waves)


def _real(allowed: Array) -> Array:  # (B,1,1|T,T) bool -> (B,T) bool
    """The tokens that any query may look at."""
    return np.asarray(allowed[:, 0].any(-2))


def _mask_last(how: Callable[[Table, Array, Array, Array], Array]) -> How:
    """Inputs come before weights: (ids, allowed, rows)."""
    return lambda table, ids, allowed, rows: how(table, ids, rows, allowed)


# --- pooler ---------------------------------------------------------------------------------------------------------------


def _pooled(f: Callable[[Array], Array]) -> How:
    """The pooler, of another vector than the first token's: (B,T,H) -> (B,H)."""
    return lambda table, x, weight, bias, **how: table.linear(f(x), weight, bias)


def _pooler(config: AlbertConfig) -> Iterator[Mistake]:
    def last_real(table: Table, x: Array, allowed: Array, weight: Array, bias: Array, **how: Any) -> Array:
        mask = _real(allowed)
        at = mask.shape[-1] - 1 - mask[:, ::-1].argmax(-1)
        return table.linear(x[np.arange(len(x)), at], weight, bias)

    def real_mean(table: Table, x: Array, allowed: Array, weight: Array, bias: Array, **how: Any) -> Array:
        mask = _real(allowed)
        weights = (mask / np.maximum(mask.sum(-1, keepdims=True), 1)).astype(x.dtype)
        return table.linear((x * weights[..., None]).sum(1), weight, bias)

    for name, text, f in (
        ("last_token", "last token (padding too)", lambda x: x[:, -1]),
        ("second_token", "second token", lambda x: x[:, min(1, x.shape[1] - 1)]),
        ("mean", "mean of all tokens", lambda x: x.mean(1)),
        ("maximum", "maximum of all tokens", lambda x: x.max(1)),
    ):
        yield wrong(f"pooler_of_{name}", f"pooler takes the {text} instead of the first token", "pooler", _pooled(f))
    for name, text, how in (
        ("last_real_token", "last real token", last_real),
        ("real_mean", "mean of real tokens", real_mean),
    ):
        yield changed(
            f"pooler_of_{name}",
            f"pooler takes the {text} instead of the first token",
            "pooler",
            lambda one, how=how: computed(replace(one, inputs=(*one.inputs, "allowed")), how),  # type: ignore[misc]
        )
    before = f"{step(len(list(applications(config))) - 1, '')}sum"
    text = "pooler reads the last layer before its LayerNorm"
    yield changed("pooler_before_norm", text, "pooler", lambda one: replace(one, inputs=(before,)))
    text = "pooler reads the projected embeddings instead of the last layer"
    yield changed("pooler_of_embeddings", text, "pooler", lambda one: replace(one, inputs=(HIDDEN,)))
    activation = "pooler_activation"
    yield wrong("pooler_without_tanh", "pooler without tanh", activation, lambda t, x: x)
    yield wrong("pooler_tanh_twice", "tanh of the pooler applied twice", activation, lambda t, x: t.tanh(t.tanh(x)))
    for name, words in (("gelu_new", "GELU"), ("relu", "ReLU"), ("silu", "SiLU")):
        text = f"pooler with {words} instead of tanh"
        yield wrong(f"pooler_with_{words.lower()}", text, activation, lambda t, x, n=name: t.activation(x, name=n))
    sigmoid: How = lambda t, x: 0.5 * (1 + t.tanh(0.5 * x))  # noqa: E731
    yield wrong("pooler_with_sigmoid", "pooler with sigmoid instead of tanh", activation, sigmoid)
    pade: How = lambda t, x: (x := np.clip(x, -3, 3)) * (27 + x * x) / (27 + 9 * x * x)  # noqa: E731
    yield wrong("pooler_tanh_pade", "tanh of the pooler by a fast approximation (Padé)", activation, pade)
    yield wrong(
        "pooler_tanh_clipped", "tanh of the pooler clipped to its argument", activation, lambda t, x: np.clip(x, -1, 1)
    )


# --- heads ----------------------------------------------------------------------------------------------------------------


def _predictions(config: AlbertConfig) -> Iterator[Mistake]:
    dense, norm, decoder = (f"predictions.{name}" for name in ("dense", "LayerNorm", "decoder"))

    def norm_first(one: Step) -> list[Step]:
        """LayerNorm, and then the activation, which keeps the name of the LayerNorm."""
        inner = replace(one, name=f"{norm}.inside", inputs=(dense,), optional=True)
        return [
            inner,
            replace(one, op="activation", inputs=(inner.name,), weights=(), attributes={"name": config.hidden_act}),
        ]

    yield changed(
        "predictions_norm_before_activation", "LayerNorm of the predictions before their activation", norm, norm_first
    )
    rows: How = lambda t, x, w, b, **how: t.linear(x, np.roll(w, -1, 0), b, **how)  # noqa: E731
    yield wrong("decoder_rows_moved", "rows of the decoder off by one", decoder, rows)
    scaled: How = lambda t, x, w, b, **how: t.linear(x / math.sqrt(x.shape[-1]), w, b, **how)  # noqa: E731
    yield wrong("decoder_scaled", "logits divided by √E", decoder, scaled)
    bias: How = lambda t, x, w, b, **how: t.linear(x, w, np.roll(b, -1, 0), **how)  # noqa: E731
    yield wrong("decoder_bias_moved", "bias of the decoder off by one", decoder, bias)
    if not config.tie_word_embeddings:
        text = "decoder tied to the word embeddings although it has a weight of its own"
        table = "embeddings.word_embeddings.weight"
        yield changed("decoder_tied", text, decoder, lambda one: replace(one, weights=(table, one.weights[1])))
    last = "words of the predictions moved by one place"
    moved: How = lambda t, x, w, b, **how: t.linear(np.roll(x, -1, 1), w, b, **how)  # noqa: E731
    yield wrong("predictions_moved", last, decoder, moved)
    yield from _of_logits("predictions", decoder)
    if config.hidden_size == config.embedding_size:
        text = "dense layer of the predictions missing"
        yield changed("predictions_dense_missing", text, dense, lambda one: passed_on(one, one.inputs[0]))


def _of_logits(name: str, where: str) -> Iterator[Mistake]:
    """What is done to logits that should be left alone."""

    def softmax(x: Array) -> Array:
        e = np.exp(x - x.max(-1, keepdims=True))
        return np.asarray(e / e.sum(-1, keepdims=True))

    def logs(x: Array) -> Array:
        x = x - x.max(-1, keepdims=True)
        return np.asarray(x - np.log(np.exp(x).sum(-1, keepdims=True)))

    def sigmoid(x: Array) -> Array:
        return np.asarray(0.5 * (1 + np.tanh(0.5 * x)))

    for key, text, f in (
        ("softmax", "probabilities (softmax) instead of logits", softmax),
        ("log_softmax", "log-probabilities instead of logits", logs),
        ("sigmoid", "probabilities (sigmoid) instead of logits", sigmoid),
        ("tanh", "tanh applied to the logits", np.tanh),
        ("negated", "sign of the logits wrong", np.negative),
    ):
        how: How = lambda t, *a, f=f, **how: f(t.linear(*a, **how))  # noqa: E731
        yield wrong(f"{key}_of_{name}", f"{text}, in {name}", where, how)


def _classifiers(config: AlbertConfig, parts: tuple[str, ...]) -> Iterator[Mistake]:
    last = step(len(list(applications(config))) - 1, "full_layer_layer_norm")

    def exchanged(table: Table, x: Array, weight: Array, bias: Array, **how: Any) -> Array:
        return table.linear(x, weight[::-1], bias[::-1], **how)

    if "sop_classifier" in parts:
        where = "sop_classifier.classifier"
        yield wrong("sop_columns_exchanged", "columns of the sentence order (SOP) logits exchanged", where, exchanged)
        yield from _of_logits("sop_classifier", where)
        yield from _of_pooled("sop_classifier", where, last)
    if "qa_outputs" in parts:
        yield wrong("start_and_end_exchanged", "start and end logits exchanged", "qa_outputs", exchanged)
        text = "start logits used for the end too"
        repeated: How = lambda t, *a, **how: np.repeat(t.linear(*a, **how)[..., :1], 2, -1)  # noqa: E731
        yield wrong("start_logits_for_both", text, "qa_outputs", repeated)

        def over_tokens(table: Table, *arrays: Array, **how: Any) -> Array:
            x = table.linear(*arrays, **how)
            e = np.exp(x - x.max(1, keepdims=True))
            return np.asarray(e / e.sum(1, keepdims=True))

        yield wrong(
            "softmax_of_qa_outputs",
            "probabilities (softmax over the tokens) instead of logits",
            "qa_outputs",
            over_tokens,
        )
    if "classifier" in parts or "choice" in parts:
        if "classifier" in parts and config.num_labels > 1:
            yield wrong("labels_reversed", "labels of the classifier in reverse order", "classifier", exchanged)
            moved: How = lambda t, x, w, b, **how: t.linear(x, np.roll(w, 1, 0), np.roll(b, 1), **how)  # noqa: E731
            if config.num_labels > 2:
                yield wrong("labels_moved", "labels of the classifier off by one", "classifier", moved)
        yield from _of_logits("classifier", "classifier")
        if "pooler" in parts:
            yield from _of_pooled("classifier", "classifier", last)


def _of_pooled(name: str, where: str, last: str) -> Iterator[Mistake]:
    """What a classifier of a pooled vector reads instead of it."""

    def of(f: Callable[[Array], Array]) -> How:
        return lambda table, x, weight, bias, **how: table.linear(f(x), weight, bias, **how)

    first = "the first token's hidden state: pooler skipped"
    for key, text, f in (
        ("first_hidden_state", first, lambda x: x[:, 0]),
        ("mean_hidden_state", "the mean of the hidden states: pooler skipped", lambda x: x.mean(1)),
    ):
        yield changed(
            f"{name}_of_{key}",
            f"{name} reads {text}",
            where,
            lambda one, f=f: computed(replace(one, inputs=(last,)), of(f)),  # type: ignore[misc]
        )
