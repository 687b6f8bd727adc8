"""The keywords of from_pretrained and save_pretrained that transformers has too: what is honoured, ignored or refused."""

from __future__ import annotations

import os
from typing import Any

from albert_np.checkpoints import hub
from albert_np.checkpoints.formats import in_order
from albert_np.checkpoints.formats.protocol import Format
from albert_np.config import AlbertConfig, as_config
from albert_np.config_defaults import PASSIVE_DEFAULTS
from albert_np.files import listed, shown

# keywords that change nothing here, whatever they say
WITHOUT_EFFECT = (
    "_fast_init",
    "adapter_name",
    "low_cpu_mem_usage",
    "offload_buffers",
    "offload_folder",
    "offload_state_dict",
    "tqdm_class",
    "use_fast",
    "weights_only",
)
NOT_QUANTISED = "dtype='int8' quantises weights, and other programs' ways to do so are not known here"
ONE_PLACE = "a model is in one place, which backend= names"
# keywords of which only some values can be honoured: (these values, why no others)
LIMITED: dict[str, tuple[tuple[Any, ...], str]] = {
    "adapter_kwargs": ((None, {}), "there are no adapters"),
    "allow_all_kernels": ((None, False), "kernels come with albert_np and from nowhere else"),
    "attn_implementation": (
        (None, "eager", "sdpa"),
        "attention is computed in one way, which is both eager's and sdpa's",
    ),
    "device_mesh": ((None,), ONE_PLACE),
    "distributed_config": ((None,), ONE_PLACE),
    "generation_config": ((None,), "an encoder generates no text"),
    "gguf_file": ((None,), "no GGUF file of ALBERT exists"),
    "kernel_config": ((None,), "kernels come with albert_np and from nowhere else"),
    "key_mapping": ((None,), "tensors are found by ALBERT's names; rename them in a state_dict= instead"),
    "load_in_4bit": ((None, False), NOT_QUANTISED),
    "load_in_8bit": ((None, False), NOT_QUANTISED),
    "max_memory": ((None,), ONE_PLACE),
    "quantization_config": ((None,), NOT_QUANTISED),
    "tp_plan": ((None,), ONE_PLACE),
    "tp_size": ((None,), ONE_PLACE),
    "use_flash_attention_2": ((None, False), "attention is computed in one way, which is both eager's and sdpa's"),
    "use_kernels": ((None, False), "kernels come with albert_np and from nowhere else"),
    "variant": ((None,), "weights are read from files without a variant in their names"),
}


FILES = ("from_tf", "from_flax", "use_safetensors")  # which weight files to read


def take_formats(options: dict[str, Any], own: str = "") -> tuple[Format, ...]:
    """Takes the keywords that say which weight files count out of `options`, and gives the formats in their order.

    own: the format that the class looks for before all others; from_pt is a keyword of classes that have one. Raises
    ValueError for a value that cannot be honoured.
    """
    chosen = {name: options.pop(name, None) for name in (*FILES, *(("from_pt",) if own else ()))}
    for name, value in chosen.items():
        if value is not None and not isinstance(value, bool):
            raise ValueError(f"{name} must be True, False or None; got {shown(repr(value), 80)}")
    return in_order(
        own,
        from_tf=bool(chosen["from_tf"]),
        from_flax=bool(chosen["from_flax"]),
        from_pt=bool(chosen.get("from_pt")),
        use_safetensors=chosen["use_safetensors"],
    )


def resolve_options(
    name_or_path: str | os.PathLike | None, config: Any, state_dict: Any, options: dict[str, Any]
) -> tuple[dict[str, Any], AlbertConfig]:
    """The keywords of from_pretrained: (where files come from, the config with the values that replace its own)."""
    where = take_options(options)
    fields = {*AlbertConfig.__dataclass_fields__, *PASSIVE_DEFAULTS, "max_layers"}
    unknown = sorted(set(options) - fields)
    if unknown:
        raise ValueError(f"from_pretrained knows no {listed(unknown)}, and neither does AlbertConfig")
    if name_or_path is None and (state_dict is None or config is None):
        raise ValueError("without a name or path, from_pretrained needs both config= and state_dict=")
    named: dict[str, Any] = {}
    if name_or_path is not None:
        hub.local_folder(name_or_path)  # a config alone may be read from a file, and a model is a folder
        named = {"name_or_path": name_or_path}
    folder: Any = name_or_path if config is None else config
    if config is None or isinstance(config, (str, os.PathLike)):
        return where, AlbertConfig.from_pretrained(folder, **where, **named | options)
    return where, as_config(config).replace(**named | options)


def take_options(options: dict[str, Any]) -> dict[str, Any]:
    """Takes all keywords that transformers has beside a model's own out of `options`, and gives those of hub.OPTIONS.

    Raises ValueError for a value that cannot be honoured.
    """
    for name in WITHOUT_EFFECT:
        options.pop(name, None)
    for name, (values, why) in LIMITED.items():
        _check_limited(name, options.pop(name, None), values, why)
    return hub.take_options(options)


def _check_limited(name: str, value: Any, values: tuple[Any, ...], why: str) -> None:
    if not any(type(value) is type(allowed) and value == allowed for allowed in values):
        allowed = " or ".join(map(repr, values))
        raise ValueError(f"{name} can only be {allowed} here, because {why}; got {shown(repr(value), 80)}")
