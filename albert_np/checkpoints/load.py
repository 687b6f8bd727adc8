"""Loading checkpoints: names and shapes are compared with the table, and every refusal comes before any arithmetic."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from albert_np.checkpoints import hub
from albert_np.checkpoints.formats.protocol import Tensor
from albert_np.checkpoints.initialise import initialise, within_memory
from albert_np.checkpoints.names import (
    ALIASES,
    BUFFERS,
    PRETRAINING,
    expected_shapes,
    hub_name,
)
from albert_np.checkpoints.stored import find_weights, no_weights, read_headers
from albert_np.config import PASSIVE_DEFAULTS, AlbertConfig
from albert_np.files import listed
from albert_np.ops import Array

DTYPES = ("F32", "F16", "BF16", "F64")

# transformers' arguments that only mean something with torch, and what to do instead
TORCH_ONLY = (
    "attn_implementation",
    "device_map",
    "from_flax",
    "from_tf",
    "gguf_file",
    "load_in_4bit",
    "load_in_8bit",
    "low_cpu_mem_usage",
    "max_memory",
    "offload_folder",
    "offload_state_dict",
    "quantization_config",
    "state_dict",
    "torchscript",
    "tp_plan",
    "trust_remote_code",
    "use_safetensors",
    "variant",
    "weights_only",
)


def resolve_options(
    name_or_path: str | os.PathLike, config: AlbertConfig | None, options: dict[str, Any]
) -> tuple[dict[str, Any], AlbertConfig]:
    """Splits the keywords of from_pretrained: where files come from, and the config with the values that replace its own."""
    for name in TORCH_ONLY:
        if name in options:
            raise ValueError(f"{name} is an argument of PyTorch models; albert_np has no such choice, so leave it out")
    where = {name: options.pop(name) for name in hub.OPTIONS if name in options}
    fields = set(AlbertConfig.__dataclass_fields__) | set(PASSIVE_DEFAULTS) | {"max_layers"}
    unknown = sorted(set(options) - fields)
    if unknown:
        raise ValueError(f"from_pretrained knows no {', '.join(unknown)}, and neither does AlbertConfig")
    if config is None:
        return where, AlbertConfig.from_pretrained(name_or_path, **where, **options)
    if not isinstance(config, AlbertConfig):
        raise ValueError(f"config must be an AlbertConfig; got {type(config).__name__}")
    return where, config.replace(**options) if options else config


def load(
    name_or_path: str | os.PathLike,
    where: dict[str, Any],
    config: AlbertConfig,
    parts: tuple[str, ...],
    dtype: np.dtype,
    *,
    missing: str,
    seed: int,
    ignore_mismatched_sizes: bool,
    check_finite: str,
) -> tuple[dict[str, Array], dict[str, list]]:
    """(tensors by name, loading info). Headers are read and compared with the table before any values are read."""
    if missing not in ("error", "init"):
        raise ValueError(f"missing must be 'error' or 'init'; got {missing!r}")
    if check_finite not in ("error", "warn", "off"):
        raise ValueError(f"check_finite must be 'error', 'warn' or 'off'; got {check_finite!r}")
    expected = expected_shapes(config, parts)
    stored = find_weights(name_or_path, where)
    if stored is None:
        raise OSError(no_weights(name_or_path, where))
    found, source = read_headers(stored), str(stored.source)
    for alias, name in ALIASES.items():  # some files keep the second name of a tied tensor only
        tied = config.tie_word_embeddings or alias != "predictions.decoder.weight"
        if tied and name in expected and name not in found and alias in found:
            found[name] = found[alias]

    absent = [name for name in expected if name not in found]
    mismatched = [(name, found[name].shape, shape) for name, shape in expected.items() if _differs(found, name, shape)]
    aliases = set(ALIASES) if "predictions" in parts else set()
    known = {*expected, *aliases, *BUFFERS}
    unexpected = {name: tensor.name for name, tensor in found.items() if name not in known}
    if mismatched and not ignore_mismatched_sizes:
        raise ValueError(_mismatch_message(mismatched, source))
    if absent and missing == "error":
        raise ValueError(_missing_message(absent, expected, parts, source))
    for name in expected:
        if name in found and found[name].dtype not in DTYPES:
            raise ValueError(
                f"{source}: tensor {name} is {found[name].dtype}; weights are read from {', '.join(DTYPES)}"
            )
    _check_biases(found, parts, source)
    drawn = {name: expected[name] for name in [*absent, *(name for name, _, _ in mismatched)]}
    with within_memory(expected, dtype):
        tensors = initialise(drawn, config, dtype, seed)
        for name in expected:
            if name not in drawn:
                tensors[name] = _values(found[name], dtype, check_finite, source)
    if drawn:
        warnings.warn(
            f"{source}: {listed(list(drawn))} drawn from seed {seed}; answers mean nothing until the model is trained",
            stacklevel=3,
        )
    foreign = [stored for name, stored in unexpected.items() if name not in PRETRAINING]
    if foreign:
        warnings.warn(f"{source} also holds {listed(foreign)}, which this class does not use", stacklevel=3)
    info: dict[str, list] = {
        "missing_keys": [hub_name(name, parts) for name in absent],
        "unexpected_keys": list(unexpected.values()),
        "mismatched_keys": [(hub_name(name, parts), stored, wanted) for name, stored, wanted in mismatched],
        "error_msgs": [],
    }
    return {name: tensors[name] for name in expected}, info


def _values(tensor: Tensor, dtype: np.dtype, check_finite: str, source: str) -> Array:
    stored = tensor.load()
    with np.errstate(over="ignore"):  # an overflow is found below and reported by name
        x = np.ascontiguousarray(stored, dtype=dtype)
    if check_finite != "off" and not np.all(np.isfinite(x)):
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(x))[0])
        message = (
            f"{source}: tensor {tensor.name} holds {stored[where]} at {list(where)}, {x[where]} in {dtype}; "
            "check_finite='warn' or 'off' loads it anyway"
        )
        if check_finite == "error":
            raise ValueError(message)
        warnings.warn(message, stacklevel=4)
    return x


def _check_biases(found: Mapping[str, Tensor], parts: tuple[str, ...], source: str) -> None:
    """The decoder's bias is predictions.bias. A file that stores both, with different values, is ambiguous."""
    both = found.get("predictions.bias"), found.get("predictions.decoder.bias")
    if "predictions" not in parts or None in both or both[0] is both[1]:
        return
    first, second = (tensor.load() for tensor in both if tensor is not None)
    if first.shape != second.shape or not np.array_equal(first, second, equal_nan=True):
        raise ValueError(f"{source}: predictions.bias and predictions.decoder.bias are tied, but differ in this file")


def _differs(found: Mapping[str, Tensor], name: str, shape: tuple[int, ...]) -> bool:
    return name in found and found[name].shape != shape


def _mismatch_message(mismatched: list[tuple[str, tuple, tuple]], source: str) -> str:
    name, shape, wanted = mismatched[0]
    text = f"{source}: tensor {name} has the shape {shape}, but the config says {wanted}"
    if len(mismatched) > 1:
        text += f"; {len(mismatched) - 1} more differ: {listed([name for name, _, _ in mismatched[1:]])}"
    if name.startswith(("sop_classifier", "qa_outputs")):
        return text + "; this head always has two logits, whatever num_labels says"
    return text + "; is it this model's config.json? ignore_mismatched_sizes=True draws a new tensor, for a new head"


def _missing_message(absent: list[str], expected: Mapping[str, tuple], parts: tuple[str, ...], source: str) -> str:
    text = f"{source} has no {listed(absent)} ({len(absent)} of {len(expected)} tensors)"
    if set(absent) == {"pooler.weight", "pooler.bias"} and parts == ("pooler",):
        return text + ": it was saved without a pooler, so load it with add_pooling_layer=False"
    return text + ": nothing is made up for inference; missing='init' draws it from a seed, to start a fine-tune"
