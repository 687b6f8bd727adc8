"""Masked language modelling: which pieces fill a [MASK], and for which labels the model is right."""

from __future__ import annotations

import numpy as np

from albert_np.ops import IGNORE_INDEX, Array


def likeliest(probs: Array, candidates: Array, top_k: int) -> tuple[Array, Array]:  # (V,), (n,) int -> (k,) int, (k,)
    """The candidates with the highest probabilities, best first, and these probabilities."""
    scores = probs[candidates]
    order = np.argsort(-scores, kind="stable")[:top_k]
    return candidates[order], scores[order]


def right_where_labelled(logits: Array, labels: Array) -> Array:  # (…,K), (…) int -> (n,) bool
    """For each label that is not ignored: is it the likeliest class? (Masked words, or the order of segments.)"""
    known = labels != IGNORE_INDEX
    return logits[known].argmax(axis=-1) == labels[known]
