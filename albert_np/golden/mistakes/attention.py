"""Porting mistakes inside attention: scores, mask, softmax, heads."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from albert_np.config import AlbertConfig
from albert_np.golden.arithmetic import Table
from albert_np.golden.graph import Step
from albert_np.golden.mistakes.rewriting import How, Mistake, changed, computed, matches, wrong
from albert_np.ops import Array, split_heads

SCORES, PROBS, CONTEXT = (f"*.attention.{name}" for name in ("scores", "probs", "context"))
QUERY, KEY, VALUE = (f"*.attention.{name}" for name in ("query", "key", "value"))


def attention(config: AlbertConfig) -> Iterator[Mistake]:
    """All of them that this model can have."""
    yield from _projections()
    yield from _scores(config)
    if config.position_embedding_type != "absolute":
        yield from _relative()
    yield from _masks()
    yield from _softmax()
    yield from _contexts(config)
    if config.num_attention_heads > 1:
        yield from _heads(config)


# --- query, key, value ----------------------------------------------------------------------------------------------------


def _projections() -> Iterator[Mistake]:
    pairs = (
        ("query", "key", "query_and_key_exchanged", "query and key exchanged: the scores are transposed"),
        ("key", "value", "key_and_value_exchanged", "key and value exchanged"),
        ("query", "value", "query_and_value_exchanged", "query and value exchanged"),
    )
    for a, b, name, description in pairs:
        swap = {f".{a}.": f".{b}.", f".{b}.": f".{a}."}
        where = (f"*.attention.{a}", f"*.attention.{b}")
        yield changed(name, description, where, lambda one, swap=swap: _other_weights(one, swap))  # type: ignore[misc]
    for part, other in (("key", "query"), ("value", "key"), ("value", "query"), ("query", "key")):
        yield changed(
            f"{part}_computed_with_the_weights_of_{other}",
            f"{part} computed with the weights of {other}",
            f"*.attention.{part}",
            lambda one, swap={f".{part}.": f".{other}."}: _other_weights(one, swap),  # type: ignore[misc]
        )


def _other_weights(one: Step, swap: dict[str, str]) -> Step:
    def other(weight: str) -> str:
        for old, new in swap.items():
            if old in weight:
                return weight.replace(old, new)
        return weight

    return replace(one, weights=tuple(map(other, one.weights)))


# --- scores ---------------------------------------------------------------------------------------------------------------


def _scaled(factor: Callable[[int, int], float]) -> How:
    """The part q·kᵀ of the scores, times a factor of N and D."""

    def how(table: Table, query: Array, key: Array, *distance: Array, num_heads: int, position_type: str) -> Array:
        times = factor(num_heads, query.shape[-1] // num_heads)
        content = table.scores(query, key, num_heads=num_heads) * times
        if not distance:
            return content
        nothing = table.scores(query, key, num_heads=num_heads)
        return content + (
            table.scores(query, key, *distance, num_heads=num_heads, position_type=position_type) - nothing
        )

    return how


def _scores(config: AlbertConfig) -> Iterator[Mistake]:
    N, D = config.num_attention_heads, config.hidden_size // config.num_attention_heads
    if D > 1:
        yield wrong(
            "scale_missing", "scale missing: scores not divided by √D", SCORES, _scaled(lambda n, d: math.sqrt(d))
        )
        name, text = "scale_by_D", "scores divided by D instead of √D (the scale is applied twice)"
        yield wrong(name, text, SCORES, _scaled(lambda n, d: 1 / math.sqrt(d)))
        text = "scores multiplied by √D instead of divided"
        yield wrong("scale_multiplied", text, SCORES, _scaled(lambda n, d: float(d)))
    if N > 1:
        text = "scores divided by √H instead of √D (hidden size instead of head size)"
        yield wrong("scale_by_root_of_hidden_size", text, SCORES, _scaled(lambda n, d: 1 / math.sqrt(n)))
    if N not in (1, D):
        text = "scores divided by √N instead of √D (number of heads instead of head size)"
        yield wrong("scale_by_root_of_heads", text, SCORES, _scaled(lambda n, d: math.sqrt(d / n)))
    if D != 64:
        text = "scores divided by 8 instead of √D (the head size 64 is written into the kernel)"
        yield wrong("scale_of_head_size_64", text, SCORES, _scaled(lambda n, d: math.sqrt(d) / 8))
    for bound in (5, 10):
        text = f"scores clipped (saturated) at ±{bound}"
        yield wrong(f"scores_clipped_at_{bound}", text, SCORES, _then(lambda s, b=bound: np.clip(s, -b, b)))  # type: ignore[misc]
    yield wrong("scores_absolute", "absolute values of the scores", SCORES, _then(np.abs))
    yield wrong("scores_negated", "sign of the scores wrong", SCORES, _then(np.negative))


def _then(f: Callable[[Array], Array]) -> How:
    """The right scores, and a function behind them."""
    return lambda table, *arrays, **attributes: f(table.scores(*arrays, **attributes))


def _relative() -> Iterator[Mistake]:
    def reversed_(table: Table, q: Array, k: Array, distance: Array, **how: Any) -> Array:
        return table.scores(q, k, distance[::-1], **how)

    def scaled(table: Table, q: Array, k: Array, distance: Array, *, num_heads: int, **how: Any) -> Array:
        D = q.shape[-1] // num_heads
        return table.scores(q, k, distance / math.sqrt(D), num_heads=num_heads, **how)

    def missing(table: Table, q: Array, k: Array, distance: Array, *, num_heads: int, **how: Any) -> Array:
        return table.scores(q, k, num_heads=num_heads)

    def other(table: Table, q: Array, k: Array, distance: Array, *, position_type: str, **how: Any) -> Array:
        wrong_type = "relative_key" if position_type == "relative_key_query" else "relative_key_query"
        return table.scores(q, k, distance, position_type=wrong_type, **how)

    def shifted(table: Table, q: Array, k: Array, distance: Array, **how: Any) -> Array:
        return table.scores(q, k, np.roll(distance, -1, 0), **how)

    yield wrong(
        "relative_positions_sign", "relative positions with the wrong sign (j−i instead of i−j)", SCORES, reversed_
    )
    yield wrong("relative_positions_scaled", "relative position term divided by √D too", SCORES, scaled)
    yield wrong("relative_positions_missing", "relative positions ignored", SCORES, missing)
    yield wrong("relative_positions_other_type", "relative_key and relative_key_query exchanged", SCORES, other)
    yield wrong("relative_positions_off_by_one", "row of the relative position table off by one", SCORES, shifted)


# --- mask -----------------------------------------------------------------------------------------------------------------


def _plain(scores: Array, axis: int = -1) -> Array:  # (B,N,T,T) -> (B,N,T,T)
    """Softmax without a mask, over any axis."""
    e = np.exp(scores - scores.max(axis, keepdims=True))
    return np.asarray(e / e.sum(axis, keepdims=True))


def _probs(f: Callable[[Array, Array], Array]) -> How:
    """probs as a function of scores and mask, times the factors of the heads."""

    def how(table: Table, scores: Array, allowed: Array, *head_mask: Array, mask_mode: Any) -> Array:
        out = f(scores, allowed)
        return out * head_mask[0][:, None, None] if head_mask else out

    return how


def _masked(f: Callable[[Array], Array], g: Callable[[Array], Array] | None = None) -> How:
    """The right probs of a wrong mask, of wrong scores, or of both."""

    def how(table: Table, scores: Array, allowed: Array, *head_mask: Array, mask_mode: Any) -> Array:
        return table.probs(g(scores) if g else scores, f(allowed), *head_mask, mask_mode=mask_mode)

    return how


def _whole(allowed: Array, T: int) -> Array:  # (B,1,1|T,T) bool -> (B,1,T,T) bool
    return np.broadcast_to(allowed, (*allowed.shape[:2], T, T))


def _added(value: float) -> How:
    return _probs(lambda scores, allowed: _plain(scores + np.where(allowed, 0, value).astype(scores.dtype)))


def _masks() -> Iterator[Mistake]:
    def after(scores: Array, allowed: Array) -> Array:
        return _plain(scores) * allowed

    def multiplied(scores: Array, allowed: Array) -> Array:
        return _plain(scores * allowed)

    def causal(allowed: Array) -> Array:
        T = allowed.shape[-1]
        return _whole(allowed, T) & np.tri(T, dtype=bool)

    def on_queries(allowed: Array) -> Array:
        return _whole(allowed, allowed.shape[-1]).swapaxes(-1, -2)

    def both(allowed: Array) -> Array:
        return _whole(allowed, allowed.shape[-1]) & on_queries(allowed)

    def shifted(allowed: Array) -> Array:
        return np.concatenate([allowed[..., 1:], allowed[..., :1] & False], -1)

    text = "mask after softmax: the probabilities are not normalised again"
    yield wrong("mask_after_softmax", text, PROBS, _probs(after))
    yield wrong("mask_missing", "mask missing: padded keys are attended to", PROBS, _masked(lambda m: m | True))
    yield wrong("mask_inverted", "mask with the opposite sense (1 and 0 exchanged)", PROBS, _masked(np.logical_not))
    text = "mask multiplied with the scores instead of added"
    yield wrong("mask_multiplied_with_scores", text, PROBS, _probs(multiplied))
    for value in (-1, -10):
        text = f"mask value {value} instead of a very negative number"
        yield wrong(f"mask_value_{value}", text, PROBS, _added(value))
    text = "mask of 1 and 0 added to the scores as it is"
    yield wrong("mask_added_as_it_is", text, PROBS, _probs(lambda s, m: _plain(s + m.astype(s.dtype))))
    yield wrong(
        "mask_on_queries", "mask on the queries instead of the keys (transposed mask)", PROBS, _masked(on_queries)
    )
    yield wrong("mask_on_queries_and_keys", "mask on the queries as well as the keys", PROBS, _masked(both))
    yield wrong("mask_causal", "causal mask: a token does not see what comes after it", PROBS, _masked(causal))
    yield wrong("mask_off_by_one", "mask shifted by one: the last real token is not seen", PROBS, _masked(shifted))
    yield wrong("mask_of_first_sequence", "mask of the first sequence used for the whole batch", PROBS, _masked(_first))


def _first(allowed: Array) -> Array:  # (B,1,1|T,T) -> (B,1,1|T,T)
    return np.broadcast_to(allowed[:1], allowed.shape)


# --- softmax --------------------------------------------------------------------------------------------------------------


def _softmax() -> Iterator[Mistake]:
    def scaled(factor: float) -> How:
        return _masked(lambda m: m, lambda s: s * s.dtype.type(factor))

    def low(scores: Array, allowed: Array) -> Array:
        return np.where(allowed, scores, np.finfo(scores.dtype).min)

    def again(table: Table, scores: Array, allowed: Array, *head_mask: Array, **how: Any) -> Array:
        return table.probs(table.probs(scores, allowed, **how), allowed, *head_mask, **how)

    def one_more(scores: Array, allowed: Array) -> Array:
        s = low(scores, allowed)
        top = np.maximum(s.max(-1, keepdims=True), 0)
        e = np.exp(s - top)
        return np.asarray(e / (e.sum(-1, keepdims=True) + np.exp(-top)))

    def sigmoid(scores: Array, allowed: Array) -> Array:
        return np.asarray(allowed / (1 + np.exp(-np.clip(scores, -80, 80))))

    def unnormalised(scores: Array, allowed: Array) -> Array:
        s = low(scores, allowed)
        return np.asarray(np.exp(s - s.max(-1, keepdims=True)))

    def bits(scores: Array, allowed: Array) -> Array:
        """exp of Schraudolph (1999): the exponent's bits, linear between powers of two."""
        s = low(scores, allowed)
        x = np.maximum(s - s.max(-1, keepdims=True), -87) / math.log(2)
        e = np.exp2(np.floor(x)) * (1 + (x - np.floor(x)))
        e = np.where(allowed, e, 0) + np.where(allowed.any(-1, keepdims=True), 0, 1).astype(e.dtype)
        return np.asarray(e / e.sum(-1, keepdims=True))

    text = "softmax over the queries instead of the keys (wrong axis)"
    yield wrong("softmax_over_queries", text, PROBS, _probs(lambda s, m: _plain(low(s, m), -2)))
    text = "softmax over the heads instead of the keys (wrong axis)"
    yield wrong("softmax_over_heads", text, PROBS, _probs(lambda s, m: _plain(low(s, m), 1)))
    text = "softmax over the whole matrix of queries and keys"
    yield wrong("softmax_over_everything", text, PROBS, _probs(lambda s, m: _all(low(s, m))))
    text = "softmax with powers of 2 instead of e (exp2 without log₂e)"
    yield wrong("softmax_base_2", text, PROBS, scaled(math.log(2)))
    text = "softmax with powers of e where its input is already times log₂e"
    yield wrong("softmax_log2e_twice", text, PROBS, scaled(1 / math.log(2)))
    yield wrong("softmax_temperature_2", "softmax with temperature 2 (scores halved)", PROBS, scaled(0.5))
    yield wrong("softmax_temperature_half", "softmax with temperature ½ (scores doubled)", PROBS, scaled(2))
    yield wrong("softmax_twice", "softmax applied twice", PROBS, again)
    yield wrong("softmax_missing", "softmax not applied: the masked scores are used", PROBS, _probs(lambda s, m: s * m))
    yield wrong("softmax_with_one_more", "softmax with 1 added to the denominator", PROBS, _probs(one_more))
    yield wrong("softmax_not_normalised", "softmax not normalised: no division by the sum", PROBS, _probs(unnormalised))
    yield wrong("sigmoid_instead_of_softmax", "sigmoid instead of softmax", PROBS, _probs(sigmoid))
    yield wrong("exp_fast_approximation", "exp by the bits of the exponent (fast approximation)", PROBS, _probs(bits))
    for name, factor in (("0.9", 0.9), ("1_over_0.9", 1 / 0.9)):
        text = f"attention probabilities times {name.replace('_over_', '/')}: dropout 0.1 left on"
        yield wrong(
            f"probs_times_{name}", text, PROBS, lambda t, *a, f=factor, **how: t.probs(*a, **how) * a[0].dtype.type(f)
        )
    text = "factors of the heads (head_mask) ignored"
    yield changed("head_mask_ignored", text, PROBS, lambda one: replace(one, inputs=one.inputs[:2]))


def _all(scores: Array) -> Array:  # (B,N,T,T) -> (B,N,T,T)
    return _plain(scores.reshape(*scores.shape[:2], -1)).reshape(scores.shape)


# --- context and heads ----------------------------------------------------------------------------------------------------


def _contexts(config: AlbertConfig) -> Iterator[Mistake]:
    def transposed(table: Table, probs: Array, value: Array, **how: Any) -> Array:
        return table.context(probs.swapaxes(-1, -2), value, **how)

    def stale(table: Table, probs: Array, value: Array, **how: Any) -> Array:
        out = np.array(table.context(probs, value, **how))
        out[:, -1] = 0
        return out

    def short(table: Table, probs: Array, value: Array, **how: Any) -> Array:
        p = np.array(probs)
        p[..., -1] = 0
        return table.context(p, value, **how)

    yield wrong(
        "probs_transposed", "attention probabilities transposed before they meet the values", CONTEXT, transposed
    )
    yield wrong("context_last_token_missing", "last token (row) of the context is zero", CONTEXT, stale)
    yield wrong("context_last_key_missing", "last key missing in the sum of the context", CONTEXT, short)
    for other in ("key", "query"):
        yield changed(
            f"context_from_{other}",
            f"context made from the {other} instead of the value",
            CONTEXT,
            lambda one, o=other: replace(one, inputs=(one.inputs[0], one.inputs[1].replace("value", o))),  # type: ignore[misc]
        )


def _heads(config: AlbertConfig) -> Iterator[Mistake]:
    N, D = config.num_attention_heads, config.hidden_size // config.num_attention_heads

    def permuted(order: Array) -> Callable[[Array], Array]:
        """Another order of the channels."""
        return lambda x: np.ascontiguousarray(x[..., order])

    channels = np.arange(N * D)
    interleaved = permuted(channels.reshape(D, N).T.ravel())  # head n has channels n, n + N, …

    def of_scores(f: Callable[[Array], Array]) -> How:
        return lambda table, query, key, *rest, **how: table.scores(f(query), f(key), *rest, **how)

    def of_value(f: Callable[[Array], Array]) -> How:
        return lambda table, probs, value, **how: table.context(probs, f(value), **how)

    def of_context(f: Callable[[Array], Array]) -> How:
        return lambda table, probs, value, **how: f(table.context(probs, value, **how))

    def around(table: Table, probs: Array, value: Array, **how: Any) -> Array:
        return permuted(channels.reshape(N, D).T.ravel())(table.context(probs, interleaved(value), **how))

    def split(x: Array) -> Array:  # (B,T,H) read as (B,N,T,D) without a transpose, put back as table.scores wants it
        return np.ascontiguousarray(x.reshape(len(x), N, -1, D).swapaxes(1, 2)).reshape(x.shape)

    def merged(x: Array) -> Array:  # the memory of (B,N,T,D), read as (B,T,H)
        return np.ascontiguousarray(split_heads(x, N)).reshape(x.shape)

    def zero(x: Array) -> Array:
        return np.concatenate([x[..., :-D], np.zeros_like(x[..., -D:])], -1)

    def several(name: str, text: str, *pairs: tuple[str, How]) -> Mistake:
        def change(one: Step) -> Step:
            return computed(one, next(how for where, how in pairs if one.name.endswith(where[1:])))

        return changed(name, text, [where for where, _ in pairs], change)

    if D > 1:
        text = "heads interleaved: channels reshaped to (D, N) instead of (N, D), and back"
        yield several("heads_interleaved", text, (SCORES, of_scores(interleaved)), (CONTEXT, around))
        text = "heads interleaved: channels reshaped to (D, N) instead of (N, D), and merged the usual way"
        yield several(
            "heads_interleaved_when_split", text, (SCORES, of_scores(interleaved)), (CONTEXT, of_value(interleaved))
        )
    text = "heads not transposed back: the context (N, T, D) is read as (T, H)"
    yield wrong("heads_not_transposed_back", text, CONTEXT, of_context(merged))
    text = "heads not transposed when split: (T, H) is read as (N, T, D)"
    yield several("heads_not_transposed", text, (SCORES, of_scores(split)), (CONTEXT, of_value(split)))
    order = permuted(channels.reshape(N, D)[::-1].ravel())
    yield wrong("heads_reversed", "order of the heads reversed in the context", CONTEXT, of_context(order))
    if N > 2:
        first = channels.reshape(N, D)[[1, 0, *range(2, N)]].ravel()
        text = "first two heads exchanged in the context"
        yield wrong("heads_exchanged", text, CONTEXT, of_context(permuted(first)))
    text = "values of the heads in reverse order: each head's probabilities meet another head's values"
    yield wrong("value_heads_reversed", text, CONTEXT, of_value(order))
    if N > 2:
        text = "values of the first two heads exchanged: their probabilities meet each other's values"
        yield wrong("value_heads_exchanged", text, CONTEXT, of_value(permuted(first)))
    yield wrong("last_head_missing", "last head missing: its context is zero", CONTEXT, of_context(zero))
    text = "probabilities of the first head used for all heads"
    yield wrong(
        "first_head_for_all", text, CONTEXT, lambda t, p, v, **how: t.context(np.repeat(p[:, :1], N, 1), v, **how)
    )
    counts = {"one": 1, "half": N // 2, "double": N * 2} if config.position_embedding_type == "absolute" else {}
    for name, heads in counts.items():
        if (N * D) % heads == 0 and (name != "half" or (N % 2 == 0 and heads > 1)):
            yield _head_count(f"heads_{name}", heads)


def _head_count(name: str, heads: int) -> Mistake:
    """The config's number of heads is read wrongly: all attention is that of another model."""
    where = (SCORES, CONTEXT)

    def rewrite(steps: list[Step], application: int | None) -> list[Step]:
        if any(matches(one, (PROBS,)) and len(one.inputs) > 2 for one in steps):
            return steps  # factors for another number of heads do not fit
        more = {"num_heads": heads}
        return [
            replace(one, attributes={**one.attributes, **more}) if matches(one, where, application) else one
            for one in steps
        ]

    return Mistake(name, f"number of heads wrong: {heads}", where, rewrite)
