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


def cross_entropy(  # (R,K), (R,) int, (K,) -> ()
    logits: Array, labels: Array, ignore_index: int = IGNORE_INDEX, weights: Array | None = None
) -> Any:
    """Mean of −log p[label] over the rows whose label counts; NaN if none does, as in torch.nn.CrossEntropyLoss.

    weights: of the classes. The mean is then Σ w·l / Σ w, with w the weight of a row's label.
    """
    logits, labels, _ = _counting(logits, labels, ignore_index)
    if len(labels) == 0:
        return logits.dtype.type(np.nan)
    shifted = logits - np.max(logits, axis=-1, keepdims=True)
    of_labels = shifted[np.arange(len(labels)), labels]
    losses = np.log(np.sum(np.exp(shifted, out=shifted), axis=-1)) - of_labels
    return np.mean(losses) if weights is None else np.sum(_shares(labels, weights, losses.dtype) * losses)


def cross_entropy_backward(  # (R,K), (R,) int, (K,) -> (R,K)
    logits: Array, labels: Array, ignore_index: int = IGNORE_INDEX, weights: Array | None = None
) -> Array:
    """loss = −mean log softmax(z)[label]: dz = (softmax(z) − onehot(label)) / rows that count, and 0 in the other rows.

    With weights: dz = (softmax(z) − onehot(label)) · w / Σ w.
    """
    logits, labels, rows = _counting(logits, labels, ignore_index)
    p = logits - np.max(logits, axis=-1, keepdims=True)  # and on in place: K may be 30,000
    np.exp(p, out=p)
    p /= np.sum(p, axis=-1, keepdims=True)
    p[np.arange(len(labels)), labels] -= 1
    if weights is None:
        p /= logits.dtype.type(max(len(labels), 1))
    else:
        p *= _shares(labels, weights, p.dtype)[:, None]
    if rows is None:
        return p
    dz = np.zeros((len(rows), p.shape[1]), p.dtype)
    dz[rows] = p
    return dz


def _shares(labels: Array, weights: Array, dtype: np.dtype) -> Array:  # (r,) int, (K,) -> (r,)
    """w / Σ w of the rows; NaN where all weights are 0, as in torch."""
    w = weights.astype(dtype)[labels]
    with np.errstate(invalid="ignore"):
        return w / np.sum(w)


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


def bce_with_logits(  # (...,K), (...,K), (K,) -> ()
    logits: Array, target: Array, weights: Array | None = None
) -> Any:
    """Mean of −y·log σ(z) − (1−y)·log(1 − σ(z)) = max(z,0) − z·y + log(1 + e^−|z|): no overflow for any z.

    weights: factors p of the first term, one for each class; torch's pos_weight. −p·y·log σ(z) − (1−y)·log(1 − σ(z)) =
    (1−y)·z + (1 + (p−1)·y)·(max(−z,0) + log(1 + e^−|z|)).
    """
    z, y = logits, target.astype(logits.dtype)
    softplus = np.log1p(np.exp(-np.abs(z)))
    if weights is None:
        return np.mean(np.maximum(z, 0) - z * y + softplus)
    return np.mean((1 - y) * z + _positive(y, weights) * (np.maximum(-z, 0) + softplus))


def bce_with_logits_backward(  # (...,K), (...,K), (K,) -> (...,K)
    logits: Array, target: Array, weights: Array | None = None
) -> Array:
    """loss = mean of −y·log σ(z) − (1 − y)·log(1 − σ(z)): dz = (σ(z) − y) / count.

    With weights p: dz = (σ(z)·(1 + (p−1)·y) − p·y) / count.
    """
    y = target.astype(logits.dtype)
    dz = sigmoid(logits)
    if weights is not None:
        dz, y = dz * _positive(y, weights), y * weights.astype(y.dtype)
    return (dz - y) / logits.dtype.type(logits.size)


def _positive(y: Array, weights: Array) -> Array:  # (...,K), (K,) -> (...,K)
    """1 + (p−1)·y: what a class's weight does to the terms of which it has one."""
    return 1 + (weights.astype(y.dtype) - 1) * y
