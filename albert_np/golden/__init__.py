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
    "Comparison": "comparing",
    "Recording": "recording",
    "amplification": "amplifier",
    "budget": "budgets",
    "capture_onnx": "capturing",
    "capture_openvino": "capturing",
    "capture_torch": "capturing",
    "card": "house_rules",
    "compare": "comparing",
    "diagnose": "diagnosis",
    "emulate": "emulation",
    "exact_set": "exact_model",
    "extract": "packs.extraction",
    "inputs": "input_sets",
    "load_inputs": "input_sets",
    "onnx_names": "capturing",
    "record": "recorder",
    "report": "reporting",
    "save_synthetic": "generator",
    "synthetic": "generator",
}

__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'albert_np.golden' has no attribute {name!r}")
    return getattr(importlib.import_module(f"albert_np.golden.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
