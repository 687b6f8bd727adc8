"""Weights in int8 in a checkpoint: three tensors for each, and where a config and a file say so.

    X.weight          (N,K) int8      the codes
    X.weight_scale    (N,)  float32   the scales of its rows
    X.weight_passes   (1,)  uint8     1 or 2: QuantizedWeight says what that is

All else is float32, as in any checkpoint. Other programs would take codes for weights, so nothing lets them: config.json has a
quantization_config without the quant_method that transformers asks for, and the file names a framework of its own.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from albert_np.checkpoints.formats import safetensors
from albert_np.checkpoints.formats.protocol import Tensor
from albert_np.checkpoints.formats.values import Contiguous
from albert_np.config import AlbertConfig
from albert_np.encoder import LAYERS
from albert_np.files import parse_json, shown
from albert_np.ops import Array
from albert_np.quantized import PRODUCTS, QuantizedWeight

FRAMEWORK = "albert_np.int8"  # what "format" says in a file's metadata, in the place of PyTorch's "pt"
CERTIFICATE = "certificate"  # in a file's metadata: quantization/certificate.py's table as JSON
IN_CONFIG: dict[str, Any] = {"program": "albert_np", "weights": "int8"}  # without quant_method: see above
SCALE, PASSES = "_scale", "_passes"  # behind a weight's name
_modules = "|".join(re.escape(module) for modules in PRODUCTS.values() for module in modules)
_WEIGHT = re.compile(rf"{re.escape(LAYERS)}\d+\.albert_layers\.\d+\.(?:{_modules})\.weight")


@dataclass(frozen=True)
class StoredCodes:
    """The values of a weight that is stored in int8. A call loads the float32 that the codes stand for."""

    codes: Tensor
    scale: Tensor
    passes: Tensor
    source: str

    def __call__(self) -> Array:  # -> (N,K) float32
        return np.asarray(self.weight())

    def weight(self) -> QuantizedWeight:
        """The codes themselves. Raises ValueError if they break a rule, with their name."""
        try:
            return QuantizedWeight(self.codes.load(), self.scale.load(), int(self.passes.load()[0]))
        except ValueError as error:
            raise ValueError(f"{self.source}: tensor {shown(self.codes.name)}: {error}") from error


def joined(found: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Tensors by their names in names.py, where the three of a weight in int8 become one of float32, with StoredCodes.

    Raises ValueError if one of the three is missing, or has another shape or dtype.
    """
    whole = dict(found)
    for name, codes in found.items():
        if codes.dtype == "I8" and _WEIGHT.fullmatch(name):
            scale, passes = (_beside(whole, codes, name + end, source) for end in (SCALE, PASSES))
            rows = codes.shape[:1]
            if len(codes.shape) != 2:
                raise ValueError(
                    f"{source}: tensor {shown(codes.name)} holds int8 codes of shape {codes.shape}, not (N,K)"
                )
            if (scale.dtype, scale.shape) != ("F32", rows) or (passes.dtype, passes.shape) != ("U8", (1,)):
                raise ValueError(
                    f"{source}: the int8 codes {shown(codes.name)} of shape {codes.shape} need scales {rows} of F32 and "
                    f"passes (1,) of U8; got {scale.shape} of {scale.dtype} and {passes.shape} of {passes.dtype}"
                )
            load = StoredCodes(codes, scale, passes, source)
            whole[name] = codes._replace(dtype="F32", load=load)
    return whole


def _beside(whole: dict[str, Tensor], codes: Tensor, name: str, source: str) -> Tensor:
    if name not in whole:
        raise ValueError(
            f"{source}: tensor {shown(codes.name)} holds int8 codes, and there is no {shown(name)} beside it"
        )
    return whole.pop(name)


def is_quantised(found: Mapping[str, Tensor]) -> bool:
    """Whether weights are stored in int8, of tensors that are joined."""
    return any(isinstance(tensor.load, StoredCodes) for tensor in found.values())


def certificate_of(found: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """What the file of int8 weights says of their quality, or None. Raises ValueError if that is no JSON object."""
    for tensor in found.values():
        if isinstance(tensor.load, StoredCodes) and isinstance(tensor.load.codes.load, Contiguous):
            path = tensor.load.codes.load.path
            text = safetensors.metadata(path).get(CERTIFICATE)
            if text is None:
                return None
            value = parse_json(text.encode(), f"the certificate in the metadata of {path}")
            if not isinstance(value, dict):
                raise ValueError(f"the certificate in the metadata of {path} must be a JSON object")
            return value
    return None


def to_metadata(certificate: Mapping[str, Any] | None) -> dict[str, str]:
    """What the metadata of a file of int8 weights says."""
    text = {} if certificate is None else {CERTIFICATE: json.dumps(certificate, ensure_ascii=False, sort_keys=True)}
    return {"format": FRAMEWORK, **text}


def to_arrays(tensors: Mapping[str, Any]) -> dict[str, Array]:
    """Names -> arrays as they are stored: three for each QuantizedWeight."""
    arrays: dict[str, Array] = {}
    for name, x in tensors.items():
        if isinstance(x, QuantizedWeight):
            arrays |= {name: x.codes, name + SCALE: x.scale, name + PASSES: np.array([x.passes], np.uint8)}
        else:
            arrays[name] = x
    return arrays


def marked(config: AlbertConfig) -> AlbertConfig:
    """The config of a checkpoint in int8."""
    return config.replace(quantization_config=IN_CONFIG)


def plain(config: AlbertConfig) -> AlbertConfig:
    """The config without what only a checkpoint in int8 says. A quantization_config of another program stays."""
    if config.extra.get("quantization_config") != IN_CONFIG:
        return config
    other = copy.copy(config)
    vars(other)["extra"] = {name: x for name, x in config.extra.items() if name != "quantization_config"}
    return other
