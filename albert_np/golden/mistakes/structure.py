"""Porting mistakes between the ops: residuals, the order of things, which layer is applied and how often."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from albert_np.config import AlbertConfig
from albert_np.encoder import applications, layer_name, step
from albert_np.golden.arithmetic import Table
from albert_np.golden.graph import Step
from albert_np.golden.mistakes.rewriting import How, Mistake, Rewrite, changed, computed, matches, passed_on, wrong
from albert_np.ops import Array

HIDDEN = "encoder.embedding_hidden_mapping_in"
ATTENTION_SUM, FFN_SUM = "*.attention.sum", "encoder.layer.*.sum"
FULL = "full_layer_layer_norm"


def structure(config: AlbertConfig) -> Iterator[Mistake]:
    """All of them that this model can have."""
    yield from _residuals(config)
    yield from _orders(config)
    yield from _repetitions(config)
    if config.num_hidden_groups > 1 or config.inner_group_num > 1:
        yield from _groups(config)


def _at(one: Step, name: str) -> str:
    """Another step of the same application."""
    assert one.application is not None
    return step(one.application, name)


def _before(a: int) -> str:
    """What application a reads."""
    return step(a - 1, FULL) if a else HIDDEN


def _add(one: Step, *terms: str) -> Step:
    return replace(one, inputs=terms)


def _scaled(one: Step, factors: tuple[float, ...]) -> Step:
    """A sum whose terms have factors."""

    def how(table: Table, *terms: Array) -> Array:
        return table.add(*(x if f == 1 else x * x.dtype.type(f) for x, f in zip(terms, factors, strict=True)))

    return replace(one, op="mistaken", attributes={"how": how})


def _residuals(config: AlbertConfig) -> Iterator[Mistake]:
    def attention(name: str, text: str, change: Callable[[Step], Step]) -> Mistake:
        return _of_sums(f"{name}.attention", f"{text} around attention", change, True)

    def ffn(name: str, text: str, change: Callable[[Step], Step]) -> Mistake:
        return _of_sums(f"{name}.ffn", f"{text} around the feed-forward network", change, False)

    for of, branch, skip in ((attention, 1, 0), (ffn, 0, 1)):
        yield of("residual_missing", "residual missing", lambda one, b=branch: passed_on(one, one.inputs[b]))  # type: ignore[misc]
        text = "residual added twice"
        yield of("residual_twice", text, lambda one, s=skip: _add(one, *one.inputs, one.inputs[s]))  # type: ignore[misc]
        text = "only the residual is used: nothing is added to it"
        yield of("residual_only", text, lambda one, s=skip: passed_on(one, one.inputs[s]))  # type: ignore[misc]
        for factor, words in ((0.5, "halved"), (-1, "subtracted")):
            factors = (1.0, factor) if skip else (factor, 1.0)
            yield of(f"residual_{words}", f"residual {words}", lambda one, f=factors: _scaled(one, f))  # type: ignore[misc]
        for label, factor in (("0.9", 0.9), ("1_over_0.9", 1 / 0.9)):
            factors = (factor, 1.0) if skip else (1.0, factor)
            text = f"what is added to the residual is times {label.replace('_over_', '/')} (dropout 0.1 left on),"
            yield of(f"branch_times_{label}", text, lambda one, f=factors: _scaled(one, f))  # type: ignore[misc]
    for name, words, factors in (
        ("missing", "missing", (0.0, 1.0)),
        ("twice", "added twice", (2.0, 1.0)),
        ("halved", "halved", (0.5, 1.0)),
    ):
        text = f"residual {words} around attention and around the feed-forward network"
        yield changed(f"residual_{name}.everywhere", text, (ATTENTION_SUM, FFN_SUM), _both(*factors))
    text = "residual from the layer's input instead of the attention output,"
    yield ffn("residual_from_layer_input", text, lambda one: _add(one, one.inputs[0], _before(one.application or 0)))
    text = "residual from before the attention's LayerNorm instead of after it,"
    yield ffn("residual_before_norm", text, lambda one: _add(one, one.inputs[0], _at(one, "attention.sum")))
    text = "residual from the projected embeddings instead of the layer's input,"
    if len(list(applications(config))) > 1:
        yield attention("residual_from_embeddings", text, lambda one: _add(one, HIDDEN, one.inputs[1]))
    text = "residual from the context instead of the layer's input,"
    yield attention("residual_from_context", text, lambda one: _add(one, _at(one, "attention.context"), one.inputs[1]))


def _both(skip: float, branch: float) -> Callable[[Step], Step]:
    """Factors of the residual and of what is added to it, in either half of a layer: their inputs are the other way round."""
    return lambda one: _scaled(one, (skip, branch) if one.name.endswith(".attention.sum") else (branch, skip))


def _of_sums(name: str, text: str, change: Callable[[Step], Step], in_attention: bool) -> Mistake:
    where = (ATTENTION_SUM,) if in_attention else (FFN_SUM,)

    def rewrite(steps: list[Step], application: int | None) -> list[Step]:
        return [
            change(one)
            if matches(one, where, application) and in_attention == one.name.endswith(".attention.sum")
            else one
            for one in steps
        ]

    return Mistake(name, text.replace(",,", ","), where, rewrite)


def _after_norm(branch: int, skip: int) -> Callable[[list[Step], int | None, str, str], list[Step]]:
    """LayerNorm(branch) + residual, in the place of LayerNorm(branch + residual)."""

    def rewrite(steps: list[Step], application: int | None, total: str, norm: str) -> list[Step]:
        out, sums = [], {one.name: one for one in steps}
        for one in steps:
            a = one.application
            if a is not None and application in (None, a) and one.name == step(a, norm):
                added = sums[step(a, total)]
                inner = replace(one, name=f"{one.name}.inside", inputs=(added.inputs[branch],), optional=True)
                out += [
                    inner,
                    replace(one, op="add", inputs=(inner.name, added.inputs[skip]), weights=(), attributes={}),
                ]
            else:
                out.append(one)
        return out

    return rewrite


def _orders(config: AlbertConfig) -> Iterator[Mistake]:
    for place, total, norm, branch in (
        ("attention", "attention.sum", "attention.LayerNorm", 1),
        ("ffn", "sum", FULL, 0),
    ):
        f = _after_norm(branch, 1 - branch)
        text = "residual added after the LayerNorm instead of before it"
        around = "attention" if place == "attention" else "the feed-forward network"
        rewrite: Rewrite = lambda steps, a, f=f, t=total, n=norm: f(steps, a, t, n)  # type: ignore[misc]  # noqa: E731
        yield Mistake(f"residual_after_norm.{place}", f"{text}, around {around}", (f"*.{norm}",), rewrite)
    text = "pre-LayerNorm instead of post-LayerNorm: each half of a layer normalises its input"
    yield Mistake("pre_norm_instead_of_post_norm", text, ("*.attention.query",), _pre_norm)
    text = "the feed-forward network reads the layer's input: attention and feed-forward side by side"
    where = ("encoder.layer.*.ffn",)
    yield changed(
        "ffn_beside_attention", text, where, lambda one: replace(one, inputs=(_before(one.application or 0),))
    )
    text = "the feed-forward network reads the attention output before its LayerNorm"
    yield changed("ffn_before_norm", text, where, lambda one: replace(one, inputs=(_at(one, "attention.sum"),)))
    text = "bias of ffn added after the activation instead of before it"
    yield Mistake("bias_after_activation", text, ("encoder.layer.*.ffn", "encoder.layer.*.activation"), _late_bias)
    for place, name, pattern in (
        ("ffn_output", "the second linear layer (ffn_output)", "encoder.layer.*.ffn_output"),
        ("attention", "the dense layer of attention", "*.attention.dense"),
    ):
        text, act = f"activation applied after {name} too", config.hidden_act
        yield wrong(f"activation_after_{place}", text, pattern, _activated(act))
    text = "probabilities divided by √D instead of the scores"
    yield changed("scale_on_probs", text, ("*.attention.scores", "*.attention.probs"), _scale_later(config))
    text = "query scaled by √D before its bias is added"
    yield changed("scale_before_query_bias", text, ("*.attention.query", "*.attention.scores"), _early_scale(config))
    text = "LayerNorms of a layer exchanged: each has the other's weight and bias"
    both = ("*.attention.LayerNorm", f"encoder.layer.*.{FULL}")
    yield changed("layer_norms_exchanged", text, both, _other_norm)
    text = "attention missing: a layer is its feed-forward network alone"
    rename: Any = lambda one: passed_on(one, _before(one.application or 0))  # noqa: E731
    yield changed("attention_missing", text, ("*.attention.LayerNorm",), rename)
    text = "feed-forward network missing: a layer is its attention alone"
    norm = f"encoder.layer.*.{FULL}"
    yield changed("ffn_missing", text, norm, lambda one: passed_on(one, _at(one, "attention.LayerNorm")))


def _late_bias(steps: list[Step], application: int | None) -> list[Step]:
    biases = {one.application: one.weights[1] for one in steps if matches(one, ("encoder.layer.*.ffn",))}

    def without(table: Table, x: Array, weight: Array, bias: Array) -> Array:
        return table.linear(x, weight, bias * 0)

    def behind(table: Table, x: Array, bias: Array, **how: Any) -> Array:
        return table.activation(x, **how) + bias

    def change(one: Step) -> Step:
        if one.name.endswith(".ffn"):
            return computed(one, without)
        return computed(replace(one, weights=(biases[one.application],)), behind)

    where = ("encoder.layer.*.ffn", "encoder.layer.*.activation")
    return [change(one) if matches(one, where, application) else one for one in steps]


def _activated(act: str) -> How:
    return lambda table, *arrays, **how: table.activation(table.linear(*arrays, **how), name=act)


def _scale_later(config: AlbertConfig) -> Callable[[Step], Step]:
    root = math.sqrt(config.hidden_size // config.num_attention_heads)

    def change(one: Step) -> Step:
        if one.name.endswith(".scores"):
            return computed(one, lambda t, *a, **how: t.scores(*a, **how) * root)
        return computed(one, lambda t, *a, **how: t.probs(*a, **how) / root)

    return change


def _early_scale(config: AlbertConfig) -> Callable[[Step], Step]:
    root = math.sqrt(config.hidden_size // config.num_attention_heads)

    def change(one: Step) -> Step:
        if one.name.endswith(".query"):
            return computed(one, lambda t, x, w, b: t.linear(x, w / root, b))
        return computed(one, lambda t, *a, **how: t.scores(*a, **how) * root)

    return change


def _other_norm(one: Step) -> Step:
    a, b = ".attention.LayerNorm.", f".{FULL}."
    return replace(one, weights=tuple(w.replace(a, b) if a in w else w.replace(b, a) for w in one.weights))


def _pre_norm(steps: list[Step], application: int | None) -> list[Step]:
    norms = {one.name: one for one in steps if one.op == "layer_norm"}
    out: list[Step] = []
    for one in steps:
        a = one.application
        if a is None or application not in (None, a):
            out.append(one)
            continue
        inside, beside = step(a, "attention.input_norm"), step(a, "ffn.input_norm")
        if one.name == step(a, "attention.query"):
            out.append(replace(norms[step(a, "attention.LayerNorm")], name=inside, inputs=one.inputs, optional=True))
        if one.name in (step(a, f"attention.{part}") for part in ("query", "key", "value")):
            out.append(replace(one, inputs=(inside,)))
        elif one.name in (step(a, "attention.LayerNorm"), step(a, FULL)):
            out.append(passed_on(one, one.inputs[0]))
        elif one.name == step(a, "ffn"):
            out.append(replace(norms[step(a, FULL)], name=beside, inputs=one.inputs, optional=True))
            out.append(replace(one, inputs=(beside,)))
        else:
            out.append(one)
    return out


# --- which layer, how often -----------------------------------------------------------------------------------------------


def _repetitions(config: AlbertConfig) -> Iterator[Mistake]:
    count = len(list(applications(config)))
    last = (f"encoder.layer.{count - 1}.*",)

    def fewer(n: int) -> Rewrite:
        """Only the first n applications: what reads the last one reads the n-th."""

        def rewrite(steps: list[Step], application: int | None) -> list[Step]:
            kept = [one for one in steps if one.application is None or one.application < n]
            swap = {_before(count): _before(n)}
            return [replace(one, inputs=tuple(swap.get(x, x) for x in one.inputs)) for one in kept]

        return rewrite

    def more(steps: list[Step], application: int | None) -> list[Step]:
        """The last application once more."""
        again = [
            _renamed(one, {count - 1: count, count - 2: count - 1}, count)
            for one in steps
            if one.application == count - 1
        ]
        at = max(i for i, one in enumerate(steps) if one.application == count - 1) + 1
        swap = {_before(count): _before(count + 1)}
        rest = [replace(one, inputs=tuple(swap.get(x, x) for x in one.inputs)) for one in steps[at:]]
        return [*steps[:at], *again, *rest]

    if count > 1:
        text = "one application of the layer too few"
        yield Mistake("one_application_too_few", text, last, fewer(count - 1))
        if count > 2:
            text = "only one application: the layer is applied once, or each application starts from the embeddings"
            yield Mistake("only_one_application", text, last, fewer(1))
        if count > 3:
            yield Mistake("half_of_the_applications", "only half of the applications", last, fewer(count // 2))
    yield Mistake("one_application_too_many", "one application of the layer too many", last, more)
    if count > 2:
        where = [f"encoder.layer.1.attention.{name}" for name in ("query", "key", "value", "sum")]
        swap = {step(0, FULL): HIDDEN}
        yield changed(
            "first_application_skipped",
            "first application skipped: the second one reads the projected embeddings",
            where,
            lambda one: replace(one, inputs=tuple(swap.get(x, x) for x in one.inputs)),
        )


def _renamed(one: Step, numbers: dict[int, int], application: int) -> Step:
    def other(name: str) -> str:
        for old, new in numbers.items():
            if name.startswith(f"encoder.layer.{old}."):
                return name.replace(f"encoder.layer.{old}.", f"encoder.layer.{new}.", 1)
        return step(0, FULL) if name == HIDDEN else name

    return replace(one, name=other(one.name), inputs=tuple(map(other, one.inputs)), application=application)


def _groups(config: AlbertConfig) -> Iterator[Mistake]:
    """Another stored layer is applied than the one whose turn it is."""
    L, G, J = config.num_hidden_layers, config.num_hidden_groups, config.inner_group_num
    right = [(group, inner) for _, group, inner in applications(config)]
    turns = {
        "group_by_remainder": (
            "group index wrong: i % G instead of int(i / (L / G))",
            [(i % G, j) for i in range(L) for j in range(J)],
        ),
        "groups_reversed": ("groups in reverse order", [(G - 1 - group, inner) for group, inner in right]),
        "first_group_everywhere": ("first group of weights used everywhere", [(0, inner) for _, inner in right]),
        "last_group_everywhere": ("last group of weights used everywhere", [(G - 1, inner) for _, inner in right]),
        "group_by_whole_numbers": (
            "group index by division of whole numbers: i // (L // G)",
            [(min(i // max(L // G, 1), G - 1), j) for i in range(L) for j in range(J)],
        ),
        "group_by_product": (
            "group index by i·G // L in whole numbers",
            [(i * G // L, j) for i in range(L) for j in range(J)],
        ),
        "group_off_by_one": ("group index off by one", [((group + 1) % G, inner) for group, inner in right]),
        "inner_layers_reversed": (
            "inner layers of a group in reverse order",
            [(g, J - 1 - inner) for g, inner in right],
        ),
        "first_inner_layer_everywhere": ("first inner layer of a group used for all", [(g, 0) for g, _ in right]),
        "last_inner_layer_everywhere": ("last inner layer of a group used for all", [(g, J - 1) for g, _ in right]),
        "inner_layer_major": (
            "inner layers outside: all layers with the first inner layer, then with the second",
            [(right[i * J][0], j) for j in range(J) for i in range(L)],
        ),
    }
    seen = [right]
    for name, (text, order) in turns.items():
        if order not in seen:
            seen.append(order)
            yield changed(name, text, "encoder.layer.*", lambda one, order=order: _of_layer(one, right, order))  # type: ignore[misc]


def _of_layer(one: Step, right: list[tuple[int, int]], order: list[tuple[int, int]]) -> Step:
    a = one.application or 0
    old, new = layer_name(*right[a]), layer_name(*order[a])
    return replace(one, weights=tuple(w.replace(f"{old}.", f"{new}.", 1) for w in one.weights))
