"""What a folder of sentence-transformers says: where the model lies, how its states are pooled, and what follows.

Read are modules.json and the settings of each module, in the older and the newer form (2.0 to 5.7). A module or a setting
that would change the vectors and is not known here is refused by name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from albert_np.activations import gelu, relu, sigmoid, silu, tanh
from albert_np.checkpoints import hub
from albert_np.checkpoints.formats import safetensors
from albert_np.files import listed, read_json, shown
from albert_np.ops import Array
from albert_np.tasks.vectors import POOLINGS, SIMILARITIES, normalised

MODULES = "modules.json"
SETTINGS = "config_sentence_transformers.json"
TRANSFORMER_SETTINGS = ("sentence_bert_config.json", "sentence_albert_config.json")
MAX_BYTES = 1 << 20

Step = Callable[[Array], Array]  # (d,) -> (e,)

# the last part of torch's names of activations
ACTIVATIONS = {"Identity": lambda x: x, "Tanh": tanh, "ReLU": relu, "GELU": gelu, "SiLU": silu, "Sigmoid": sigmoid}


@dataclass(frozen=True)
class SentenceFolder:
    """How to get from a text to a vector."""

    subfolder: str = ""  # where the model and its tokenizer lie
    pooling: tuple[str, ...] = ("mean",)
    include_prompt: bool = True  # whether the tokens of a prompt are pooled too
    steps: tuple[Step, ...] = ()  # what is done to the pooled vector
    max_seq_length: int | None = None
    lower: bool = False
    prompts: dict[str, str] = field(default_factory=dict)
    default_prompt_name: str | None = None
    similarity: str = "cosine"


def read_sentence_folder(name_or_path: str | os.PathLike, where: dict[str, Any]) -> SentenceFolder | None:
    """What the folder says, or None if it is a plain model without modules.json. Raises OSError or ValueError."""
    found = hub.resolve(name_or_path, MODULES, required=False, **where)
    if found is None:
        return None
    modules = read_json(found, MAX_BYTES)
    if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
        raise ValueError(f"{found} must be a list of modules")
    kinds = [str(module.get("type")).rsplit(".", 1)[-1] for module in modules]
    if kinds[:2] != ["Transformer", "Pooling"]:
        raise ValueError(f"{found} begins with {listed(kinds[:2])}; read are a Transformer, then a Pooling")
    paths = [_checked_path(module.get("path"), found) for module in modules]

    def settings(path: str, names: tuple[str, ...]) -> tuple[Path | None, dict[str, Any]]:
        inside = {**where, "subfolder": os.path.join(where.get("subfolder") or "", path)}
        for name in names:
            file = hub.resolve(name_or_path, name, required=False, **inside)
            if file is not None:
                value = read_json(file, MAX_BYTES)
                if not isinstance(value, dict):
                    raise ValueError(f"{file} must hold a JSON object")
                return file, value
        return None, {}

    file, transformer = settings(paths[0], TRANSFORMER_SETTINGS)
    length = transformer.get("max_seq_length")
    if length is not None and (type(length) is not int or length < 1):
        raise ValueError(f"{file}: max_seq_length must be a whole number of at least 1; got {shown(repr(length), 60)}")
    file, pooling = settings(paths[1], ("config.json",))
    steps: list[Step] = []
    for kind, path in zip(kinds[2:], paths[2:], strict=True):
        if kind == "Normalize":
            steps.append(normalised)
        elif kind == "Dense":
            inside = {**where, "subfolder": os.path.join(where.get("subfolder") or "", path)}
            weights = hub.resolve(name_or_path, "model.safetensors", **inside)
            assert weights is not None
            steps.append(_dense(weights, settings(path, ("config.json",))[1]))
        elif kind != "Dropout":
            raise ValueError(f"{found} names the module {shown(kind)}; after pooling, Dense and Normalize are known")
    settings_file, general = settings("", (SETTINGS,))
    prompts = general.get("prompts") or {}
    default = general.get("default_prompt_name")
    if not isinstance(prompts, dict) or not all(isinstance(text, str) for text in prompts.values()):
        raise ValueError(f"{settings_file}: prompts must map names to texts")
    if default is not None and default not in prompts:
        raise ValueError(
            f"{settings_file}: default_prompt_name {shown(repr(default), 60)} is none of {listed(list(prompts))}"
        )
    similarity = general.get("similarity_fn_name") or "cosine"
    if similarity not in SIMILARITIES:
        raise ValueError(
            f"{settings_file}: similarity_fn_name is one of {', '.join(SIMILARITIES)}; got {shown(similarity)}"
        )
    return SentenceFolder(
        subfolder=paths[0],
        pooling=_poolings(pooling, str(file)),
        include_prompt=pooling.get("include_prompt", True) is not False,
        steps=tuple(steps),
        max_seq_length=length,
        lower=transformer.get("do_lower_case") is True,
        prompts=prompts,
        default_prompt_name=default,
        similarity=similarity,
    )


def _checked_path(path: Any, where: Path) -> str:
    if not isinstance(path, str) or path.startswith("/") or "\\" in path or ".." in path.split("/"):
        raise ValueError(f"{where}: the path of a module must stay inside the folder; got {shown(repr(path), 80)}")
    return path


def _poolings(config: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """The modes, in the order in which their vectors stand: as listed, or in the older form, in that of POOLINGS."""
    if "pooling_mode" in config:
        given = config["pooling_mode"]
        modes = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, list) else ()
    else:
        older = {"cls": "cls_token", "max": "max_tokens", "mean": "mean_tokens"}
        modes = tuple(mode for mode in POOLINGS if config.get(f"pooling_mode_{older.get(mode, mode)}"))
        modes = modes or (() if any(name.startswith("pooling_mode") for name in config) else ("mean",))
    unknown = [mode for mode in modes if mode not in POOLINGS]
    if unknown or not modes:
        raise ValueError(
            f"{where}: the modes of pooling are {', '.join(POOLINGS)}; got {listed(list(map(str, unknown))) or 'none'}"
        )
    return modes


def _dense(path: Path, config: Mapping[str, Any]) -> Step:
    """x -> activation(W x + b)."""
    tensors = {tensor.name: tensor for tensor in safetensors.read(path)}
    shape = (config.get("out_features"), config.get("in_features"))
    bias = config.get("bias", True) is not False
    if set(tensors) != {"linear.weight", *(["linear.bias"] if bias else [])} or tensors["linear.weight"].shape != shape:
        raise ValueError(f"{path} must hold linear.weight of the shape {shape}{' and linear.bias' if bias else ''}")
    if {config.get(f"module_{side}_name") or "sentence_embedding" for side in ("input", "output")} != {
        "sentence_embedding"
    }:
        raise ValueError(
            f"{path}: this Dense does not change the vector of the sentence, which no other is known to do"
        )
    name = str(config.get("activation_function") or "Tanh").rsplit(".", 1)[-1]
    if name not in ACTIVATIONS:
        raise ValueError(f"{path}: the activation {shown(name)} is not known; {', '.join(ACTIVATIONS)} are")
    activate = ACTIVATIONS[name]
    weight = tensors["linear.weight"].load()
    shift = tensors["linear.bias"].load() if bias else np.zeros(len(weight), weight.dtype)

    def step(x: Array) -> Array:  # (d,) -> (e,)
        W, b = weight.astype(x.dtype, copy=False), shift.astype(x.dtype, copy=False)
        return activate((W * x).sum(axis=1) + b)  # not `@`: BLAS sums in an order of its own choice

    return step
