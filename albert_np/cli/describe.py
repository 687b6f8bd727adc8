"""Describes a checkpoint by its config and headers alone: sizes, parameters and files; and what can run it here, and how."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from typing import Any

from albert_np import model
from albert_np.backends import choose as backend
from albert_np.backends import cuda
from albert_np.checkpoints import hub, names
from albert_np.checkpoints.formats.protocol import Tensor
from albert_np.checkpoints.quantized import certificate_of, is_quantised
from albert_np.checkpoints.stored import Stored, find_weights, read_headers
from albert_np.config import AlbertConfig, config_path
from albert_np.conversion.architecture import by_heads
from albert_np.conversion.report import dtype_name
from albert_np.conversion.verify_names import under_first_names
from albert_np.costs import multiply_adds, parameters
from albert_np.files import listed
from albert_np.quantization.certificate import as_text as as_text_of_certificate

COUNTED_TOKENS = 128  # of the sequence whose multiply-adds are counted, or all positions of a model with fewer


def describe(name_or_path: str | os.PathLike, **where: Any) -> dict[str, Any]:
    """Config, parameter table, files and backends for a folder, "demo" or a hub id, as plain values for JSON.

    It reads the headers of weight files, never their values. `where`: hub.OPTIONS. Raises OSError or ValueError.
    """
    config = AlbertConfig.from_pretrained(name_or_path, **where)
    stored = find_weights(name_or_path, where)
    held = {} if stored is None else under_first_names(read_headers(stored), config)
    shapes = _expected_shapes(config) if stored is None else _stored_shapes(held, config)
    applications = config.num_hidden_layers * config.inner_group_num
    stored_layers = config.num_hidden_groups * config.inner_group_num
    rows = [
        {"part": part, "stored": stored, "unshared": unshared}
        for part, (stored, unshared) in parameters(config, shapes).items()
    ]
    tokens = min(COUNTED_TOKENS, config.max_position_embeddings)
    return {
        "model": str(name_or_path),
        "config": config.to_dict(),
        "stored_layers": stored_layers,
        "applications": applications,
        "counted_from": "the config: there are no weights"
        if stored is None
        else ", ".join(path.name for path in stored.files),
        "weights": None if stored is None else _weights(stored, held),
        "parameters": rows,
        "stored": sum(row["stored"] for row in rows),
        "unshared": sum(row["unshared"] for row in rows),
        "multiply_adds": {"tokens": tokens, "encoder": multiply_adds(config, tokens)},
        "files": _files(name_or_path, where, stored),
        **backends(),
    }


def backends() -> dict[str, Any]:
    """What each backend found on this machine: "yes", or what is missing."""
    return {"backends": backend.available(), "numba": numba_settings(), "cuda": cuda.describe()}


def numba_settings() -> dict[str, Any]:
    """What the numba backend computes with, its threads, and where its compiled kernels are; or why it cannot use them.

    bfloat16 and int8: the unit that multiplies such numbers, and the rung it is from (kernels/cpu/units.py).
    """
    try:
        from albert_np.kernels.cpu import cache, native, simd, threads, units
    except ImportError as error:
        nothing = dict.fromkeys(("bfloat16", "int8", "tiles", "threads", "cache"))
        return {"registers": f"none ({error})", **nothing, "compiled": False}

    def answer(ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except (ValueError, OSError, ImportError) as error:
            return f"none ({error})"

    def tiles() -> str:
        why_not = units.why_no_tiles()
        return f"no ({why_not})" if why_not else "emulated, for tests" if simd.are_tiles_emulated() else "yes"

    return {
        "registers": answer(lambda: simd.chosen_level().name),
        "bfloat16": answer(lambda: "{} ({})".format(*units.bfloat16())),
        "int8": answer(lambda: "{} ({})".format(*units.int8())),
        "tiles": answer(tiles),
        "threads": answer(threads.get_num_threads),
        "cache": answer(lambda: str(cache.folder())),
        "compiled": answer(native.is_compiled) is True,
    }


def as_text(info: dict[str, Any]) -> str:
    """The description as text for people."""
    config = info["config"]
    lines = [f"{info['model']}: {listed(config['architectures'] or ['ALBERT'])}", ""]
    for letter, name in (
        ("V", "vocab_size"),
        ("E", "embedding_size"),
        ("H", "hidden_size"),
        ("N", "num_attention_heads"),
        ("I", "intermediate_size"),
        ("L", "num_hidden_layers"),
        ("G", "num_hidden_groups"),
        ("", "inner_group_num"),
        ("P", "max_position_embeddings"),
        ("S", "type_vocab_size"),
        ("", "hidden_act"),
        ("", "layer_norm_eps"),
        ("", "position_embedding_type"),
    ):
        lines.append(f"  {letter:1} {name:24} {config[name]}")
    lines += ["", f"  {'parameters':28} {'stored':>14} {'if not shared':>14}"]
    for row in [*info["parameters"], {"part": "all", "stored": info["stored"], "unshared": info["unshared"]}]:
        lines.append(f"  {row['part']:28} {row['stored']:14,} {row['unshared']:14,}")
    lines.append(f"  counted from {info['counted_from']}")
    lines.append(f"  stored layers: {info['stored_layers']}, applications: {info['applications']}")
    lines.append("  memory goes with the left column, time with the multiply-adds: sharing saves none of these")
    work = info["multiply_adds"]
    lines += ["", f"  multiply-adds of the encoder for {work['tokens']} tokens"]
    for part, count in (work["encoder"] | {"all": sum(work["encoder"].values())}).items():
        lines.append(f"  {part:40} {count:18,}")
    if info["weights"] is not None:
        lines += _weights_as_text(info["weights"])
    width = max((len(file["name"]) for file in info["files"]), default=0)
    lines += ["", "  files"] + [
        f"  {file['name']:{max(32, width)}} {file['bytes']:14,} bytes" for file in info["files"]
    ]
    return "\n".join([*lines, "", backends_as_text(info)])


def backends_as_text(info: dict[str, Any]) -> str:
    lines = ["  backends", *(f"  {name:8} {answer}" for name, answer in info["backends"].items())]
    if info["cuda"] is not None:
        lines += ["", f"  the cuda backend's GPU: {info['cuda']}"]
    lines += ["", "  the numba backend's", *(f"  {name:10} {value}" for name, value in _said(info["numba"]))]
    return "\n".join(lines)


def _said(numba: dict[str, Any]) -> list[tuple[str, Any]]:
    compiled = "yes" if numba["compiled"] else "no: the first call does it, or albert-np warmup"
    return [*((name, numba[name]) for name in numba if name != "compiled"), ("compiled", compiled)]


def _expected_shapes(config: AlbertConfig) -> dict[str, tuple[int, ...]]:
    architecture = (config.architectures or ["AlbertModel"])[0]
    kind = getattr(model, architecture, model.AlbertModel)
    return names.expected_shapes(config, getattr(kind, "parts", model.AlbertModel.parts))


def _stored_shapes(held: dict[str, Tensor], config: AlbertConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor that the files hold, without the second names of tied tensors."""
    left_out = {name for name in names.ALIASES if name.endswith("bias") or config.tie_word_embeddings}
    left_out.update(names.BUFFERS)
    return {name: tensor.shape for name, tensor in held.items() if name not in left_out}


def _weights(stored: Stored, held: dict[str, Tensor]) -> dict[str, Any]:
    """The format, the classes whose heads are stored, and what each file holds."""
    files = [
        {"name": path.name, "tensors": len(tensors), "dtypes": dict(Counter(dtype_name(x.dtype) for x in tensors))}
        for path, tensors in ((path, list(stored.format.read(path))) for path in stored.files)
    ]
    found = {"format": stored.format.name, "heads_of": by_heads(held), "files": files}
    return found | {"certificate": certificate_of(held)} if is_quantised(held) else found


def _weights_as_text(weights: dict[str, Any]) -> list[str]:
    heads = [name for name in weights["heads_of"] if name != "AlbertModel"]
    has = f"with the heads of {' or '.join(heads)}" if heads else "without a head"
    lines = [f"  weights in the format {weights['format']}, {has}"]
    for file in weights["files"]:
        dtypes = ", ".join(f"{count} {name}" for name, count in file["dtypes"].items())
        lines.append(f"  {file['name']:32} {file['tensors']:14,} tensors: {dtypes}")
    if "certificate" in weights:
        said = weights["certificate"]
        lines += [
            "",
            "  the layers are int8; what that changed when it was measured:" if said else "  the layers are int8",
        ]
        lines += [] if said is None else [as_text_of_certificate(said)]
    return ["", *lines]


def _files(name_or_path: str | os.PathLike, where: dict[str, Any], stored: Stored | None) -> list[dict[str, Any]]:
    """The files of the folder, and those beside the config and the weights, which may be in folders of their own."""
    config = config_path(name_or_path, where)
    folder = hub.local_folder(name_or_path)
    top = config.parent if folder is None else folder / (where.get("subfolder") or "")
    places = {top, config.parent, *(path.parent for path in (stored.files if stored else ()))}
    paths = {
        path for place in places for path in place.iterdir() if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    named = {str(path.relative_to(top)) if path.is_relative_to(top) else path.name: path for path in paths}
    return [{"name": name, "bytes": path.stat().st_size} for name, path in sorted(named.items())]
