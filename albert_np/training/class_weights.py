"""Weights of classes, for labels of which some are rare: given by number or by name, or balanced by the training examples."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from albert_np.files import listed, shown
from albert_np.ops import Array

BALANCED = "balanced"


def class_weights(asked: Any, names: Sequence[str], labels: Array) -> Array:  # (n,) int or (n,K) of 0 and 1 -> (K,)
    """The weight of each class. asked: "balanced", a number for each class, or numbers by the names of classes, others 1.

    labels: those of the training examples; numbers below 0 do not count. Raises ValueError for anything else.
    """
    if isinstance(asked, str):
        if asked != BALANCED:
            raise ValueError(
                f"class_weights must be {BALANCED!r}, numbers, or numbers by the names of classes; got {shown(repr(asked), 60)}"
            )
        return balanced(names, labels)
    if isinstance(asked, Mapping):
        unknown = [str(name) for name in asked if str(name) not in names]
        if unknown:
            raise ValueError(f"class_weights name {listed(unknown)}; the classes are {listed(list(names))}")
        by_name = {str(name): value for name, value in asked.items()}
        asked = [by_name.get(name, 1.0) for name in names]
    if not isinstance(asked, (Sequence, np.ndarray)) or len(asked) != len(names):
        raise ValueError(
            f"class_weights must be {len(names)} numbers, one for each of {listed(list(names))}; got {shown(repr(asked), 80)}"
        )
    weights = [_weight(value, name) for name, value in zip(names, asked, strict=True)]
    if not any(weights):
        raise ValueError("class_weights are all 0: then nothing is learned")
    return np.array(weights)


def balanced(names: Sequence[str], labels: Array) -> Array:  # (n,) int or (n,K) of 0 and 1 -> (K,)
    """One class an example: n / (classes · examples of this class), as scikit-learn's class_weight="balanced".

    Several labels an example: examples without a label / examples with it, as torch advises for pos_weight.
    A class that never occurs has 1 (and does not count as one of `classes`), and so has a label that all examples have. A
    warning names them.
    """
    if labels.ndim == 2:
        has, has_not = np.sum(labels == 1, axis=0), np.sum(labels != 1, axis=0)
    else:
        has = np.bincount(labels[labels >= 0], minlength=len(names))
        has_not = np.full(len(names), np.sum(has) / max(int(np.count_nonzero(has)), 1))
    usable = (has > 0) & (has_not > 0)
    if not usable.all():
        left = [name for name, good in zip(names, usable, strict=True) if not good]
        warnings.warn(
            f"balanced class weights: no training example, or every one, has the label {listed(left)}; its weight is 1",
            stacklevel=2,
        )
    return np.where(usable, has_not / np.maximum(has, 1), 1.0)


def _weight(value: Any, name: str) -> float:
    number = (
        value if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool) else math.nan
    )
    if not (math.isfinite(number) and number >= 0):
        raise ValueError(f"the class weight of {shown(name)} must be a number, 0 or more; got {shown(repr(value), 60)}")
    return float(number)
