"""The derivative of every op of the graph, forwards and backwards, for several probes at once.

A probe is a small change of a value. `Push` takes changes of an op's inputs to the change of its output, J·v; `Pull` takes a
cotangent of its output to those of its inputs, Jᵀ·c. Both are linear, both have the methods of arithmetic.Table, and both
carry their probes on a leading axis P. Everything is in float64.

Where a query has no key to attend to, the mask swallows its scores: a change of them changes nothing, and so the derivative
is 0 there, not that of the softmax.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from albert_np import ops
from albert_np.activations import ACTIVATIONS, DERIVATIVES, tanh_derivative
from albert_np.golden.graph import Step
from albert_np.ops import Array, MaskMode


class Changed(NamedTuple):
    """An input of an op, and how it changes."""

    value: Array  # (...)
    change: Array  # (P,...)


def push(step: Step, values: Mapping[str, Array], changes: Mapping[str, Array], weights: Mapping[str, Array]) -> Any:
    """How the step's output changes, (P,...), or None if no input of it does."""
    known = [changes[name] for name in step.inputs if name in changes]
    if not known:
        return None
    arrays = []
    for name in step.inputs:
        x = values[name]
        still = x.dtype.kind != "f" or name.startswith("head_mask")
        change = changes[name] if name in changes else np.zeros((len(known[0]), *x.shape))
        arrays.append(x if still else Changed(x, change))
    return getattr(Push, step.op)(*arrays, *(weights[name] for name in step.weights), **step.attributes)


def pull(step: Step, values: Mapping[str, Array], cotangent: Array, weights: Mapping[str, Array]) -> dict[str, Array]:
    """The cotangents of the step's inputs, (P,...) each, from that of its output."""
    arrays = [values[name] for name in step.inputs] + [weights[name] for name in step.weights]
    found: dict[str, Array] = {}
    for name, c in zip(step.inputs, getattr(Pull, step.op)(cotangent, *arrays, **step.attributes), strict=False):
        found[name] = found[name] + c if name in found else c
    return found


class Push:
    """J·v of every op. The arguments are a table's, with (value, change) for what changes."""

    @staticmethod
    def add(*terms: Changed) -> Array:
        """The changes add."""
        P, shape = len(terms[0].change), np.broadcast_shapes(*(term.value.shape for term in terms))
        return np.asarray(sum(_broadcast(term.change, (P, *shape)) for term in terms))

    @staticmethod
    def linear(x: Changed, weight: Array, bias: Array, *, first_token: bool = False) -> Array:
        """dy = dx·Wᵀ."""
        return _product(x.change[:, :, 0] if first_token else x.change, weight.T)

    @staticmethod
    def layer_norm(x: Changed, weight: Array, bias: Array, *, eps: float) -> Array:
        """dy = w·P·dx/√(variance + ε), where P takes away the mean and the part along n: see Pull.layer_norm."""
        return weight * _layer_norm(x.change, x.value, eps)

    @staticmethod
    def scores(
        query: Changed,
        key: Changed,
        distance_table: Array | None = None,
        *,
        num_heads: int,
        position_type: str = "absolute",
    ) -> Array:
        """ds = (dq·kᵀ + q·dkᵀ)/√D, and what relative positions add."""
        q, k, dq, dk = (split(x, num_heads) for x in (query.value, key.value, query.change, key.change))
        changed = (dq @ k.swapaxes(-1, -2) + q @ dk.swapaxes(-1, -2)) / math.sqrt(q.shape[-1])
        if distance_table is not None:
            a = distance_table[ops.distances(q.shape[-2], len(distance_table), None)]
            changed = changed + np.einsum("pbnid,ijd->pbnij", dq, a)
            if position_type == "relative_key_query":
                changed = changed + np.einsum("pbnjd,ijd->pbnij", dk, a)
        return np.asarray(changed)

    @staticmethod
    def probs(
        scores: Changed, allowed: Array, head_mask: Array | None = None, *, mask_mode: MaskMode = "uniform"
    ) -> Array:
        """dp = p·(ds − Σ p·ds)."""
        p = _attended(scores.value, allowed, mask_mode)
        return _masked_heads(p * (scores.change - np.sum(p * scores.change, axis=-1, keepdims=True)), head_mask)

    @staticmethod
    def context(probs: Changed, value: Changed, *, num_heads: int) -> Array:
        """dc = dp·v + p·dv."""
        v, dv = split(value.value, num_heads), split(value.change, num_heads)
        return merge(probs.change @ v + probs.value @ dv)

    @staticmethod
    def activation(x: Changed, *, name: str) -> Array:
        """dy = f′(x)·dx."""
        return np.asarray(DERIVATIVES[ACTIVATIONS[name]](x.value) * x.change)

    @staticmethod
    def tanh(x: Changed) -> Array:
        """dy = (1 − tanh²x)·dx."""
        return np.asarray(tanh_derivative(x.value) * x.change)


class Pull:
    """Jᵀ·c of every op: c is of its output, the other arguments are a table's, the result has one array for each input."""

    @staticmethod
    def gather(c: Array, ids: Array, table: Array) -> tuple[Array, ...]:
        """Ids do not change."""
        return ()

    @staticmethod
    def add(c: Array, *terms: Array) -> tuple[Array, ...]:
        """Each term has the same, summed where it was repeated."""
        return tuple(_unbroadcast(c, term.shape) for term in terms)

    @staticmethod
    def linear(c: Array, x: Array, weight: Array, bias: Array, *, first_token: bool = False) -> tuple[Array, ...]:
        """c·W."""
        back = _product(c, weight)
        if not first_token:
            return (back,)
        whole = np.zeros((len(c), *x.shape))
        whole[:, :, 0] = back
        return (whole,)

    @staticmethod
    def layer_norm(c: Array, x: Array, weight: Array, bias: Array, *, eps: float) -> tuple[Array, ...]:
        """P·(w·c)/√(variance + ε): P·v = v − mean(v) − n·mean(v·n) is its own transpose (ops.layer_norm_backward)."""
        return (_layer_norm(c * weight, x, eps),)

    @staticmethod
    def scores(
        c: Array,
        query: Array,
        key: Array,
        distance_table: Array | None = None,
        *,
        num_heads: int,
        position_type: str = "absolute",
    ) -> tuple[Array, ...]:
        """c·k/√D and cᵀ·q/√D, and what relative positions add."""
        q, k = split(query, num_heads), split(key, num_heads)
        scaled = c / math.sqrt(q.shape[-1])
        dq, dk = scaled @ k, scaled.swapaxes(-1, -2) @ q
        if distance_table is not None:
            a = distance_table[ops.distances(q.shape[-2], len(distance_table), None)]
            dq = dq + np.einsum("pbnij,ijd->pbnid", c, a)
            if position_type == "relative_key_query":
                dk = dk + np.einsum("pbnij,ijd->pbnjd", c, a)
        return merge(dq), merge(dk)

    @staticmethod
    def probs(
        c: Array, scores: Array, allowed: Array, head_mask: Array | None = None, *, mask_mode: MaskMode = "uniform"
    ) -> tuple[Array, ...]:
        """p·(c − Σ p·c): the softmax's derivative is its own transpose."""
        p, c = _attended(scores, allowed, mask_mode), _masked_heads(c, head_mask)
        return (p * (c - np.sum(p * c, axis=-1, keepdims=True)),)

    @staticmethod
    def context(c: Array, probs: Array, value: Array, *, num_heads: int) -> tuple[Array, ...]:
        """c·vᵀ and pᵀ·c."""
        apart = split(c, num_heads)
        return apart @ split(value, num_heads).swapaxes(-1, -2), merge(probs.swapaxes(-1, -2) @ apart)

    @staticmethod
    def activation(c: Array, x: Array, *, name: str) -> tuple[Array, ...]:
        """f′(x)·c."""
        return (DERIVATIVES[ACTIVATIONS[name]](x) * c,)

    @staticmethod
    def tanh(c: Array, x: Array) -> tuple[Array, ...]:
        """(1 − tanh²x)·c."""
        return (tanh_derivative(x) * c,)


def split(x: Array, num_heads: int) -> Array:  # (...,T,H) -> (...,N,T,D)
    """ops.split_heads, with any leading axes."""
    return x.reshape(*x.shape[:-1], num_heads, x.shape[-1] // num_heads).swapaxes(-2, -3)


def merge(x: Array) -> Array:  # (...,N,T,D) -> (...,T,H)
    """The inverse of split."""
    x = x.swapaxes(-2, -3)
    return x.reshape(*x.shape[:-2], -1)


def _product(x: Array, weight: Array) -> Array:  # (...,in), (in,out) -> (...,out)
    """In one matrix product: NumPy would make one for each leading index."""
    return np.asarray((x.reshape(-1, x.shape[-1]) @ weight).reshape(*x.shape[:-1], weight.shape[-1]))


def _layer_norm(v: Array, x: Array, eps: float) -> Array:  # (P,...,H), (...,H) -> (P,...,H)
    centred = x - np.mean(x, axis=-1, keepdims=True)
    deviation = np.sqrt(np.mean(centred * centred, axis=-1, keepdims=True) + eps)
    n = centred / deviation
    kept = v - np.mean(v, axis=-1, keepdims=True) - n * np.mean(v * n, axis=-1, keepdims=True)
    return np.asarray(kept / deviation)


def _attended(scores: Array, allowed: Array, mask_mode: MaskMode) -> Array:
    """The probabilities, and 0 for a query whose scores the mask swallows."""
    something = np.any(allowed, axis=-1, keepdims=True)
    return np.where(something, ops.masked_softmax(scores, allowed, mask_mode), 0.0)


def _masked_heads(x: Array, head_mask: Array | None) -> Array:  # (P,B,N,T,T), (N,)
    return x if head_mask is None else x * head_mask[:, None, None]


def _broadcast(x: Array, shape: tuple[int, ...]) -> Array:  # (P,...) -> (P,...) with more axes
    return np.broadcast_to(x.reshape(len(x), *(1,) * (len(shape) - x.ndim), *x.shape[1:]), shape)


def _unbroadcast(c: Array, shape: tuple[int, ...]) -> Array:  # (P,...) -> (P,*shape)
    lead = c.ndim - 1 - len(shape)
    c = c.sum(axis=tuple(range(1, 1 + lead)))
    repeated = tuple(1 + i for i, n in enumerate(shape) if n == 1 and c.shape[1 + i] != 1)
    return np.asarray(c.sum(axis=repeated, keepdims=True))
