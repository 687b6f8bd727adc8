"""A small batch from a seed, and what a model makes of it: whether two folders hold the same model."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from albert_np import imports
from albert_np.calling import AlbertPreTrainedModel
from albert_np.config import AlbertConfig
from albert_np.conversion.architecture import CLASSES
from albert_np.conversion.report import Outputs
from albert_np.ops import Array

SEED = 18
ROWS, LENGTH, CHOICES = 2, 12, 2
MAX_EVALUATED_BYTES = 100_000_000  # a model of this size takes onnx's evaluator some seconds


def batch(config: AlbertConfig, architecture: str) -> dict[str, Array]:  # -> (B,T) int64, or (B,2,T) of choices
    """Ids, segments and a mask. The last row is padded on the right, where it is long enough."""
    draw = np.random.default_rng(SEED)
    length = min(LENGTH, config.max_position_embeddings)
    shape = (ROWS, CHOICES, length) if architecture == "AlbertForMultipleChoice" else (ROWS, length)
    mask = np.ones(shape, np.int64)
    mask[-1, ..., max(1, length - 3) :] = 0
    return {
        "input_ids": draw.integers(0, config.vocab_size, shape),
        "attention_mask": mask,
        "token_type_ids": draw.integers(0, config.type_vocab_size, shape),
    }


def run(
    folder: str | os.PathLike,
    config: AlbertConfig,
    architecture: str,
    parts: tuple[str, ...],
    own_format: str = "",
    **where: Any,
) -> dict[str, Array]:
    """Output name -> array, computed by the reference in float32 from the files of a folder.

    own_format: the format that is looked for first.
    """
    kind = cast(type[AlbertPreTrainedModel], type(architecture, (CLASSES[architecture],), {"own_format": own_format}))
    options: dict[str, Any] = {"add_pooling_layer": bool(parts)} if architecture == "AlbertModel" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the class does not use is in the report
        made = kind.from_pretrained(folder, backend="numpy", config=config, **options, **where)
    with np.errstate(all="ignore"):  # what overflows is seen in the outputs
        out = made(**batch(config, architecture), return_dict=True, output_hidden_states=False, output_attentions=False)
    return {name: x for name, x in out.items() if isinstance(x, np.ndarray)}


def run_onnx(path: Path, config: AlbertConfig, architecture: str) -> tuple[dict[str, Array], str]:
    """(output name -> array, what computed it: ONNX Runtime, or onnx's evaluator for a small model); or (nothing, why not)."""
    call = batch(config, architecture)
    try:
        with imports.lock:
            import onnxruntime
    except ImportError:
        if path.stat().st_size > MAX_EVALUATED_BYTES:
            return {}, "onnxruntime is not installed, and the model is too large for the evaluator of onnx"
        with imports.lock:
            import onnx
            from onnx.reference import ReferenceEvaluator
        evaluator = ReferenceEvaluator(onnx.load(str(path)))
        return dict(zip(evaluator.output_names, evaluator.run(None, call), strict=True)), "onnx's ReferenceEvaluator"
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, call), strict=True)), f"ONNX Runtime {onnxruntime.__version__}"


def compare(ours: Mapping[str, Array], theirs: Mapping[str, Array], by: str) -> Outputs:
    """The differences, output by output. ValueError where an output is missing, of another shape or not finite."""
    largest, scale = {}, {}
    for name, x in ours.items():
        y = theirs.get(name)
        if y is None or y.shape != x.shape:
            raise ValueError(f"the written model gives {name} of shape {None if y is None else y.shape}, not {x.shape}")
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise ValueError(f"the model's {name} is not finite, so that nothing can be compared")
        largest[name] = float(np.abs(x.astype(np.float64) - y).max(initial=0))
        scale[name] = float(np.abs(x).max(initial=0))
    return Outputs(True, by, largest, scale)
