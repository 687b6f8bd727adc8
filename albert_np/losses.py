"""The losses and their gradients: plain NumPy, any float dtype in, the same dtype out."""

from __future__ import annotations

from typing import Any

import numpy as np

from albert_np.activations import Array, sigmoid

IGNORE_INDEX = -100  # a label that takes no part in the loss (torch.nn.CrossEntropyLoss)


def log_softmax(x: Array) -> Array:  # (..., K) -> (..., K)
    """log of softmax(x), without the zeros that softmax would round to."""
    shifted = x - np.max(x, axis=-1, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True))


def cross_entropy(logits: Array, labels: Array, ignore_index: int = IGNORE_INDEX) -> Any:  # (R,K), (R,) int -> ()
    """Mean of −log p[label] over the rows whose label counts; NaN if none does, as in torch.nn.CrossEntropyLoss."""
    logits, labels, _ = _counting(logits, labels, ignore_index)
    if len(labels) == 0:
        return logits.dtype.type(np.nan)
    shifted = logits - np.max(logits, axis=-1, keepdims=True)
    of_labels = shifted[np.arange(len(labels)), labels]
    return np.mean(np.log(np.sum(np.exp(shifted, out=shifted), axis=-1)) - of_labels)


def cross_entropy_backward(  # (R,K), (R,) int -> (R,K)
    logits: Array, labels: Array, ignore_index: int = IGNORE_INDEX
) -> Array:
    """loss = −mean log softmax(z)[label]: dz = (softmax(z) − onehot(label)) / rows that count, and 0 in the other rows."""
    logits, labels, rows = _counting(logits, labels, ignore_index)
    p = logits - np.max(logits, axis=-1, keepdims=True)  # and on in place: K may be 30,000
    np.exp(p, out=p)
    p /= np.sum(p, axis=-1, keepdims=True)
    p[np.arange(len(labels)), labels] -= 1
    p /= logits.dtype.type(max(len(labels), 1))
    if rows is None:
        return p
    dz = np.zeros((len(rows), p.shape[1]), p.dtype)
    dz[rows] = p
    return dz


def _counting(  # (R,K), (R,) -> (r,K), (r,), (R,) bool
    logits: Array, labels: Array, ignore_index: int
) -> tuple[Array, Array, Array | None]:
    """The rows that count. If all do, nothing is copied and the third value is None."""
    rows = labels != ignore_index
    return (logits, labels, None) if rows.all() else (logits[rows], labels[rows], rows)


def mse_loss(x: Array, target: Array) -> Any:  # (...,), (...,) -> ()
    """Mean of (x − target)²."""
    return np.mean(np.square(x - target.astype(x.dtype)))


def mse_loss_backward(x: Array, target: Array) -> Array:  # (...,), (...,) -> (...,)
    """loss = mean (x − t)²: dx = 2(x − t) / count."""
    return 2 * (x - target.astype(x.dtype)) / x.dtype.type(x.size)


def bce_with_logits(logits: Array, target: Array) -> Any:  # (...,), (...,) -> ()
    """Mean of −y·log σ(z) − (1−y)·log(1 − σ(z)) = max(z,0) − z·y + log(1 + e^−|z|): no overflow for any z."""
    z, y = logits, target.astype(logits.dtype)
    return np.mean(np.maximum(z, 0) - z * y + np.log1p(np.exp(-np.abs(z))))


def bce_with_logits_backward(logits: Array, target: Array) -> Array:  # (...,), (...,) -> (...,)
    """loss = mean of −y·log σ(z) − (1 − y)·log(1 − σ(z)): dz = (σ(z) − y) / count."""
    return (sigmoid(logits) - target.astype(logits.dtype)) / logits.dtype.type(logits.size)
