"""Porting mistakes in the ops that a layer is made of: linear layers, activations, LayerNorm."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from albert_np.config import AlbertConfig
from albert_np.golden.arithmetic import Table
from albert_np.golden.mistakes.rewriting import How, Mistake, changed, wrong
from albert_np.ops import Array

LINEAR = {  # what people call a linear layer -> its step, its weight's shape
    "embedding_hidden_mapping_in": ("encoder.embedding_hidden_mapping_in", "HE"),
    "query": ("*.attention.query", "HH"),
    "key": ("*.attention.key", "HH"),
    "value": ("*.attention.value", "HH"),
    "attention.dense": ("*.attention.dense", "HH"),
    "ffn": ("*.ffn", "IH"),
    "ffn_output": ("*.ffn_output", "HI"),
    "pooler": ("pooler", "HH"),
    "predictions.dense": ("predictions.dense", "EH"),
    "predictions.decoder": ("predictions.decoder", "VE"),
    "sop_classifier": ("sop_classifier.classifier", "KH"),
    "classifier": ("classifier", "KH"),
    "qa_outputs": ("qa_outputs", "KH"),
}
LAYER_NORMS = {
    "everywhere": ("*LayerNorm", "*.full_layer_layer_norm"),
    "embeddings": ("embeddings.LayerNorm",),
    "attention": ("*.attention.LayerNorm",),
    "full_layer": ("*.full_layer_layer_norm",),
    "predictions": ("predictions.LayerNorm",),
}
ACTIVATIONS = {
    "everywhere": ("encoder.*.activation", "predictions.activation"),
    "encoder": ("encoder.*.activation",),
    "predictions": ("predictions.activation",),
}


def layer(config: AlbertConfig, parts: tuple[str, ...]) -> Iterator[Mistake]:
    """All of them that a model with these heads can have."""
    yield from _linears(config, parts)
    for place, where in ACTIVATIONS.items():
        if place == "everywhere" or "predictions" in parts:
            yield from _activations(config.hidden_act, place, where)
    for place, where in LAYER_NORMS.items():
        if place != "predictions" or "predictions" in parts:
            yield from _layer_norms(config.layer_norm_eps, place, where)


def _here(name: str, text: str, place: str) -> tuple[str, str]:
    """The name and the description of a mistake that may be in one place only."""
    where = place.replace("full_layer", "full-layer")
    return (name, text) if place == "everywhere" else (f"{name}.{place}", f"{text}, in {where} only")


# --- linear layers --------------------------------------------------------------------------------------------------------


def _weight(f: Callable[[Array], Array]) -> How:
    """A linear layer with another weight."""
    return lambda table, x, weight, bias, **how: table.linear(x, f(weight), bias, **how)


def _bias(f: Callable[[Array], Array]) -> How:
    """A linear layer with another bias."""
    return lambda table, x, weight, bias, **how: table.linear(x, weight, f(bias), **how)


def _tail(weight: Array) -> Array:  # (out,in) -> (out,in)
    out = np.array(weight)
    out[:, -max(1, weight.shape[1] // 16) :] = 0
    return out


def _other_order(weight: Array) -> Array:  # (out,in) -> (out,in)
    return np.ascontiguousarray(weight).reshape(weight.shape[::-1]).T


def _int8(axis: int | None) -> Callable[[Array], Array]:
    def f(weight: Array) -> Array:
        top = np.abs(weight).max(axis, keepdims=True)
        scale = np.where(top == 0, 1, top).astype(weight.dtype) / weight.dtype.type(127)
        return np.asarray(np.rint(weight / scale) * scale)

    return f


def _bfloat16(weight: Array) -> Array:
    bits = weight.astype(np.float32).view(np.uint32)
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    return bits.view(np.float32).astype(weight.dtype)


def _half(weight: Array) -> Array:
    return weight.astype(np.float16).astype(weight.dtype)


def _truncated(weight: Array) -> Array:
    bits = weight.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)
    return bits.view(np.float32).astype(weight.dtype)


STORED = (  # what a weight becomes when it is stored in fewer bits
    ("int8_per_tensor", "quantised to int8, one scale for a tensor", _int8(None)),
    ("int8_per_channel", "quantised to int8, one scale for an output channel", _int8(1)),
    ("bfloat16", "rounded to bfloat16", _bfloat16),
    ("bfloat16_truncated", "cut to bfloat16 without rounding", _truncated),
    ("float16", "rounded to float16", _half),
)


def _last_row(table: Table, x: Array, weight: Array, bias: Array, **how: Any) -> Array:
    out = np.array(table.linear(x, weight, bias, **how))
    out[:, -1] = 0
    return out


def _last_column(table: Table, x: Array, weight: Array, bias: Array, **how: Any) -> Array:
    out = np.array(table.linear(x, weight, bias, **how))
    out[..., -1] = 0
    return out


def _missing(table: Table, x: Array, weight: Array, bias: Array, *, first_token: bool = False) -> Array:
    return x[:, 0] if first_token else x


def _linears(config: AlbertConfig, parts: tuple[str, ...]) -> Iterator[Mistake]:
    sizes = {
        "E": config.embedding_size,
        "H": config.hidden_size,
        "I": config.intermediate_size,
        "V": config.vocab_size,
        "K": -1,
    }
    heads = {"pooler", "predictions.dense", "predictions.decoder", "sop_classifier", "classifier", "qa_outputs"}
    present = {name for part in parts for name in ("classifier" if part == "choice" else part,)}
    for name, (where, shape) in LINEAR.items():
        if name in heads and name.partition(".")[0] not in present:
            continue
        rows, columns = (sizes[letter] for letter in shape)
        yield wrong(f"bias_missing.{name}", f"bias missing in {name}", where, _bias(np.zeros_like))
        yield wrong(f"bias_twice.{name}", f"bias added twice in {name}", where, _bias(lambda b: b + b))
        if rows == columns:
            yield wrong(f"weight_transposed.{name}", f"weight transposed in {name}", where, _weight(np.transpose))
            if rows > 1:
                yield wrong(f"linear_missing.{name}", f"linear layer {name} missing", where, _missing)
        elif rows > 1:
            text = f"weight of {name} read in the wrong order (in, out) instead of (out, in)"
            yield wrong(f"weight_wrong_order.{name}", text, where, _weight(_other_order))
        text = f"end of the reduction missing in {name} (last 1/16 of K dropped)"
        yield wrong(f"reduction_cut.{name}", text, where, _weight(_tail))
        if rows > 1 and name not in heads:
            yield wrong(f"last_column_zero.{name}", f"last channel (column) of {name} is zero", where, _last_column)
            yield wrong(f"last_row_zero.{name}", f"last token (row) of {name} is zero", where, _last_row)
    three = tuple(LINEAR[name][0] for name in ("query", "key", "value"))
    text = "biases of query, key and value missing"
    yield wrong("bias_missing.query_key_value", text, three, _bias(np.zeros_like))
    text = "biases of query, key and value added twice"
    yield wrong("bias_twice.query_key_value", text, three, _bias(lambda b: b + b))
    text = "weights of query, key and value transposed"
    yield wrong("weight_transposed.query_key_value", text, three, _weight(np.transpose))
    every = tuple(where for where, _ in LINEAR.values())
    yield wrong("bias_missing.everywhere", "all biases of linear layers missing", every, _bias(np.zeros_like))
    yield wrong("bias_twice.everywhere", "all biases of linear layers added twice", every, _bias(lambda b: b + b))
    text = "end of the reduction missing in every linear layer (last 1/16 of K dropped)"
    yield wrong("reduction_cut.everywhere", text, every, _weight(_tail))
    for name, text, f in STORED:
        yield wrong(f"weights_{name}", f"weights of all linear layers {text}", every, _weight(f))
        for layer_, (where, _) in LINEAR.items():
            if layer_ in heads and layer_.partition(".")[0] not in present:
                continue
            yield wrong(f"weights_{name}.{layer_}", f"weight of {layer_} {text}", where, _weight(f))


# --- activations ----------------------------------------------------------------------------------------------------------

SAME = (
    ("gelu_new", "gelu_pytorch_tanh", "gelu_fast"),
    ("gelu", "gelu_python"),
    ("silu", "swish"),
    ("relu",),
    ("tanh",),
)
WORDS = {"gelu_new": "tanh GELU", "gelu": "erf GELU", "silu": "SiLU", "relu": "ReLU", "tanh": "tanh"}
SLUGS = {"gelu_new": "tanh_gelu", "gelu": "erf_gelu", "silu": "silu", "relu": "relu", "tanh": "tanh"}
SHORT = {"gelu_new": "tanh", "gelu": "erf"}  # as people say it between two GELUs


def _tanh_gelu(
    root: float = math.sqrt(2 / math.pi), cubic: float = 0.044715, tanh: Callable[[Array], Array] = np.tanh
) -> How:
    def how(table: Table, x: Array, **attributes: Any) -> Array:
        return np.asarray(0.5 * x * (1 + tanh(root * (x + cubic * x**3))))

    return how


def _sigmoid(x: Array) -> Array:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x)))


def _pade(x: Array) -> Array:
    """tanh as x(27 + x²)/(27 + 9x²), clipped: a fraction that many kernels use."""
    x = np.clip(x, -3, 3)
    return np.asarray(x * (27 + x * x) / (27 + 9 * x * x))


def _activations(act: str, place: str, where: tuple[str, ...]) -> Iterator[Mistake]:
    own = next(group[0] for group in SAME if act in group)
    for other, words in WORDS.items():
        if other != own:
            gelus = own in SHORT and other in SHORT
            name = f"{SLUGS[other]}_instead_of_{SHORT[own] if gelus else SLUGS[own]}"
            text = f"{words} instead of {SHORT[own] if gelus else WORDS[own]}"
            yield changed(*_here(name, text, place), where, lambda one, other=other: _named(one, other))  # type: ignore[misc]
    plain: list[tuple[str, str, How]] = [
        ("quick_gelu", "quick GELU x·sigmoid(1.702x)", lambda t, x, **how: x * _sigmoid(1.702 * x)),
        ("activation_missing", "activation missing: not applied at all", lambda t, x, **how: x),
        (
            "activation_twice",
            "activation applied twice",
            lambda t, x, **how: t.activation(t.activation(x, **how), **how),
        ),
        ("leaky_relu", "leaky ReLU (slope 0.01)", lambda t, x, **how: np.where(x > 0, x, x.dtype.type(0.01) * x)),
        ("elu", "ELU", lambda t, x, **how: np.where(x > 0, x, np.expm1(np.minimum(x, 0)))),
        ("sigmoid_activation", "sigmoid as the activation", lambda t, x, **how: _sigmoid(x)),
        ("relu6", "ReLU6 (clipped at 6)", lambda t, x, **how: np.clip(x, 0, 6)),
    ]
    if own in ("gelu_new", "gelu"):
        plain += [
            ("gelu_without_half", "GELU without its factor ½", lambda t, x, **how: 2 * t.activation(x, **how)),
            ("gelu_without_x", "GELU without its factor x", lambda t, x, **how: 0.5 * (1 + np.tanh(0.8 * x))),
            ("gelu_wrong_sign", "GELU with the wrong sign inside", lambda t, x, **how: x - t.activation(x, **how)),
            (
                "gelu_clipped",
                "GELU's argument clipped at ±3",
                lambda t, x, **how: t.activation(np.clip(x, -3, 3), **how),
            ),
        ]
    if own == "gelu_new":
        root = math.sqrt(2 / math.pi)
        plain += [
            ("gelu_constant_0.0447", "tanh GELU with 0.0447 instead of 0.044715", _tanh_gelu(cubic=0.0447)),
            ("gelu_constant_0.04", "tanh GELU with 0.04 instead of 0.044715", _tanh_gelu(cubic=0.04)),
            ("gelu_constant_0.44715", "tanh GELU with 0.44715 instead of 0.044715", _tanh_gelu(cubic=0.44715)),
            ("gelu_constant_0.8", "tanh GELU with 0.8 instead of √(2/π)", _tanh_gelu(root=0.8)),
            ("gelu_root_missing", "tanh GELU with 2/π instead of √(2/π)", _tanh_gelu(root=2 / math.pi)),
            ("gelu_without_cubic_term", "tanh GELU without the cubic term", _tanh_gelu(cubic=0)),
            ("gelu_without_root_factor", "tanh GELU without the factor √(2/π)", _tanh_gelu(root=1)),
            ("gelu_square", "tanh GELU with x² instead of x³", lambda t, x, **how: _squared(x, root)),
            ("tanh_pade", "tanh inside GELU by a fast approximation (Padé)", _tanh_gelu(tanh=_pade)),
        ]
    elif own == "gelu":
        text = "erf GELU without √2: erf(x) instead of erf(x/√2)"
        how: How = lambda t, x, **how: t.activation(x * math.sqrt(2), **how) / math.sqrt(2)  # noqa: E731
        plain.append(("gelu_root_missing", text, how))
    for name, text, how in plain:
        yield wrong(*_here(name, text, place), where, how)


def _named(one: Any, name: str) -> Any:
    return replace(one, attributes={**one.attributes, "name": name})


def _squared(x: Array, root: float) -> Array:
    return np.asarray(0.5 * x * (1 + np.tanh(root * (x + 0.044715 * x**2))))


# --- LayerNorm ------------------------------------------------------------------------------------------------------------


def _norm(f: Callable[[Array, Array, float], Array]) -> How:
    """weight·f(x − mean, variance, ε) + bias."""

    def how(table: Table, x: Array, weight: Array, bias: Array, *, eps: float) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        return np.asarray(f(centred, (centred**2).mean(-1, keepdims=True), eps) * weight + bias)

    return how


def _over(axes: tuple[int, ...]) -> How:
    """LayerNorm over other axes."""

    def how(table: Table, x: Array, weight: Array, bias: Array, *, eps: float) -> Array:
        centred = x - x.mean(axes, keepdims=True)
        return np.asarray(centred / np.sqrt((centred**2).mean(axes, keepdims=True) + eps) * weight + bias)

    return how


def _unbiased(centred: Array, variance: Array, eps: float) -> Array:
    n = centred.shape[-1]
    return np.asarray(centred / np.sqrt(variance * (n / (n - 1)) + eps))


def _fast_rsqrt(centred: Array, variance: Array, eps: float) -> Array:
    """1/√v from the exponent's bits and one step of Newton's method (Lomont 2003)."""
    v = (variance + eps).astype(np.float32)
    y = (np.int32(0x5F3759DF) - (v.view(np.int32) >> 1)).view(np.float32)
    return np.asarray(centred * (y * (1.5 - 0.5 * v * y * y)).astype(centred.dtype))


def _half_variance(centred: Array, variance: Array, eps: float) -> Array:
    n = centred.shape[-1]
    return np.asarray(centred / np.sqrt((centred[..., : -max(1, n // 16)] ** 2).sum(-1, keepdims=True) / n + eps))


def _rms(table: Table, x: Array, weight: Array, bias: Array, *, eps: float) -> Array:
    return np.asarray(x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * weight + bias)


def _rms_of_centred(table: Table, x: Array, weight: Array, bias: Array, *, eps: float) -> Array:
    return np.asarray((x - x.mean(-1, keepdims=True)) / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * weight + bias)


def _layer_norms(eps: float, place: str, where: tuple[str, ...]) -> Iterator[Mistake]:
    for value in (1e-12, 1e-5, 1e-6, 1e-3, 1e-7, 1e-8):  # of those that predict the same, the first is named
        if value != eps:
            name, text = _here(
                f"epsilon_{value:g}_instead_of_{eps:g}", f"epsilon (ε) {value:g} instead of {eps:g}", place
            )
            name, text = (
                name.replace("1e-0", "1e-").replace("0.001", "1e-3"),
                text.replace("1e-0", "1e-").replace("0.001", "1e-3"),
            )
            yield changed(name, text, where, lambda one, v=value: replace(one, attributes={"eps": v}))  # type: ignore[misc]
    plain: tuple[tuple[str, str, How], ...] = (
        ("epsilon_missing", "epsilon (ε) missing", _norm(lambda x, v, e: x / np.sqrt(v))),
        (
            "epsilon_outside_root",
            "epsilon (ε) outside the root, added to the deviation",
            _norm(lambda x, v, e: x / (np.sqrt(v) + e)),
        ),
        ("variance_unbiased", "unbiased variance (divided by H−1 instead of H)", _norm(_unbiased)),
        (
            "variance_without_root",
            "divided by the variance instead of its root",
            _norm(lambda x, v, e: x / (v + e)),
        ),
        ("variance_cut", "end of the sum missing in the variance (last 1/16)", _norm(_half_variance)),
        ("rsqrt_approximation", "rsqrt by a fast approximation (one step of Newton)", _norm(_fast_rsqrt)),
        ("variance_ignored", "LayerNorm without dividing by the deviation", _norm(lambda x, v, e: x)),
        ("layer_norm_without_mean", "LayerNorm without subtracting the mean (RMSNorm)", _rms),
        (
            "variance_around_zero",
            "variance taken around zero: the mean is subtracted too late (E[x²])",
            _rms_of_centred,
        ),
        (
            "layer_norm_without_weight",
            "LayerNorm without its weight",
            lambda t, x, w, b, **how: t.layer_norm(x, np.ones_like(w), b, **how),
        ),
        (
            "layer_norm_without_bias",
            "LayerNorm without its bias",
            lambda t, x, w, b, **how: t.layer_norm(x, w, np.zeros_like(b), **how),
        ),
        (
            "layer_norm_plain",
            "LayerNorm without weight and bias",
            lambda t, x, w, b, **how: t.layer_norm(x, np.ones_like(w), np.zeros_like(b), **how),
        ),
        (
            "layer_norm_weight_and_bias_exchanged",
            "weight and bias of LayerNorm exchanged",
            lambda t, x, w, b, **how: t.layer_norm(x, b, w, **how),
        ),
        (
            "layer_norm_weight_plus_one",
            "LayerNorm multiplies with 1 + weight",
            lambda t, x, w, b, **how: t.layer_norm(x, w + 1, b, **how),
        ),
        (
            "layer_norm_bias_twice",
            "bias of LayerNorm added twice",
            lambda t, x, w, b, **how: t.layer_norm(x, w, b + b, **how),
        ),
        (
            "layer_norm_bias_before_weight",
            "LayerNorm adds its bias before it multiplies with the weight",
            lambda t, x, w, b, **how: t.layer_norm(x, w, b * w, **how),
        ),
        ("layer_norm_over_tokens", "LayerNorm over the tokens instead of the channels (wrong axis)", _over((-2,))),
        ("layer_norm_over_tokens_and_channels", "LayerNorm over tokens and channels together", _over((-2, -1))),
        ("layer_norm_missing", "LayerNorm missing (skipped)", lambda t, x, w, b, **how: x),
        (
            "layer_norm_twice",
            "LayerNorm applied twice",
            lambda t, x, w, b, **how: t.layer_norm(t.layer_norm(x, w, b, **how), w, b, **how),
        ),
    )
    for name, text, how in plain:
        yield wrong(*_here(name, text, place), where, how)
