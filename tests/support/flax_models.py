"""Tiny models of the Flax classes with weights as trained ones have, their inputs, and other params for them."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np

import albert_np
from albert_np import AlbertConfig
from albert_np.golden.cases import PARTS, TINY, batch, trained_like
from support import ROOT

FOLDERS = ROOT / "tests" / "goldens" / "formats"
MANIFEST = json.loads((FOLDERS / "manifest.json").read_text())
GOLDENS = [name for name, about in MANIFEST.items() if about["writer"] == "flax"]


def flax_model(
    kind: str = "AlbertForSequenceClassification", flax: bool = True, dtype: str = "float32", **changed: Any
) -> Any:
    """Of the class with Flax in front of its name, or without."""
    config = AlbertConfig(**TINY | {"num_labels": 3} | changed)
    tensors = {name: x.astype(dtype) for name, x in trained_like(config, PARTS[kind], 1).items()}
    return getattr(albert_np, "Flax" * flax + kind)(config, dtype=dtype, backend="numpy", tensors=tensors)


def inputs_of(kind: str = "AlbertForSequenceClassification", **changed: Any) -> dict[str, np.ndarray]:
    call = batch(AlbertConfig(**TINY | {"num_labels": 3} | changed), kind, 2, padding=True)
    return {name: call[name] for name in ("input_ids", "attention_mask", "token_type_ids")}


CALL = inputs_of()  # of a classifier of sequences


def shifted(params: dict[str, Any], by: float = 0.5) -> dict[str, Any]:
    """Other params: one leaf differs."""
    other = copy.deepcopy(params)
    other["classifier"]["bias"] = other["classifier"]["bias"] + np.float32(by)
    return other
