"""The golden kit: a truth, an error budget for every op, and the name of the first op that is wrong.

    from albert_np import golden

    recording = golden.record(model, inputs, "goldens/")      # every op's inputs and outputs, in float64
    golden.compare(recording, "candidate.npz").verdict        # "pass", "fail" or "suspicious", and where

Each name below loads its module when it is first used. No module is called like one of them.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "Comparison": "comparing.comparison",
    "Recording": "recording",
    "amplification": "amplifier.gains",
    "budget": "budgets.table",
    "capture_onnx": "capturing.capture",
    "capture_openvino": "capturing.capture",
    "capture_torch": "capturing.capture",
    "card": "measures.house_rules",
    "compare": "comparing.comparison",
    "diagnose": "mistakes.diagnosis",
    "emulate": "twin.emulation",
    "exact_set": "models.exact_model",
    "extract": "packs.extraction",
    "inputs": "models.input_sets",
    "load_inputs": "models.input_sets",
    "onnx_names": "capturing.capture",
    "record": "recorder",
    "report": "comparing.html",
    "save_synthetic": "models.generator",
    "synthetic": "models.generator",
}

__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'albert_np.golden' has no attribute {name!r}")
    return getattr(importlib.import_module(f"albert_np.golden.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
