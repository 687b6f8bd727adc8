"""What a checkpoint is, from its config and headers alone: sizes, parameters, files, and which backends run here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from albert_np import backend, hub, weights
from albert_np.config import AlbertConfig
from albert_np.formats import safetensors as safetensors_format

HEADS_OF = {  # architecture -> the parts of weights.py
    "AlbertModel": ("pooler",),
    "AlbertForPreTraining": ("pooler", "predictions", "sop_classifier"),
    "AlbertForMaskedLM": ("predictions",),
    "AlbertForSequenceClassification": ("pooler", "classifier"),
    "AlbertForTokenClassification": ("classifier",),
    "AlbertForQuestionAnswering": ("qa_outputs",),
    "AlbertForMultipleChoice": ("pooler", "choice"),
}
# row of the table -> what its tensors' names contain, first match counts
ROWS = {
    "word embeddings": "embeddings.word_embeddings",
    "position embeddings": "embeddings.position_embeddings",
    "token type embeddings": "embeddings.token_type_embeddings",
    "embedding LayerNorm": "embeddings.LayerNorm",
    "projection E → H": "encoder.embedding_hidden_mapping_in",
    "shared layer: attention": ".attention.",
    "shared layer: feed-forward": ".ffn",
    "shared layer: LayerNorm": ".full_layer_layer_norm",
    "pooler": "pooler.",
    "head": "",
}


def describe(name_or_path: str | os.PathLike, **where: Any) -> dict[str, Any]:
    """Config, parameter table, files and backends of a folder, "demo" or hub id, as plain values for JSON.

    Reads the headers of weight files, never their values. `where`: hub.OPTIONS. Raises OSError or ValueError.
    """
    config = AlbertConfig.from_pretrained(name_or_path, **where)
    shapes = _shapes(name_or_path, where, config)
    applications = config.num_hidden_layers * config.inner_group_num
    stored_layers = config.num_hidden_groups * config.inner_group_num
    rows = []
    for row, part in ROWS.items():
        names = [name for name in shapes if part in name and not any(p in name for p in _before(row))]
        stored = sum(_product(shapes[name]) for name in names)
        if stored:
            unshared = stored * applications // stored_layers if row.startswith("shared layer") else stored
            rows.append({"part": row, "stored": stored, "unshared": unshared})
    return {
        "model": str(name_or_path),
        "config": config.to_dict(),
        "applications": applications,
        "parameters": rows,
        "stored": sum(row["stored"] for row in rows),
        "unshared": sum(row["unshared"] for row in rows),
        "files": _files(name_or_path, where),
        "backends": backend.available(),
    }


def as_text(info: dict[str, Any]) -> str:
    """The description as a person reads it."""
    config = info["config"]
    lines = [f"{info['model']}: {', '.join(config['architectures'] or ['ALBERT'])}", ""]
    for letter, name in (
        ("V", "vocab_size"), ("E", "embedding_size"), ("H", "hidden_size"), ("N", "num_attention_heads"),
        ("I", "intermediate_size"), ("L", "num_hidden_layers"), ("G", "num_hidden_groups"), ("", "inner_group_num"),
        ("P", "max_position_embeddings"), ("S", "type_vocab_size"), ("", "hidden_act"), ("", "layer_norm_eps"),
        ("", "position_embedding_type"),
    ):  # fmt: skip
        lines.append(f"  {letter:1} {name:24} {config[name]}")
    lines += ["", f"  {'parameters':28} {'stored':>14} {'if not shared':>14}"]
    for row in [*info["parameters"], {"part": "all", "stored": info["stored"], "unshared": info["unshared"]}]:
        lines.append(f"  {row['part']:28} {row['stored']:14,} {row['unshared']:14,}")
    lines += [
        f"  one stored layer is applied {info['applications']} times: time goes with the right column, memory with the left"
    ]
    lines += ["", "  files"] + [f"  {file['name']:32} {file['bytes']:14,} bytes" for file in info["files"]]
    lines += ["", "  backends"] + [f"  {name:8} {answer}" for name, answer in info["backends"].items()]
    return "\n".join(lines)


def _before(row: str) -> list[str]:
    rows = list(ROWS)
    return [ROWS[earlier] for earlier in rows[: rows.index(row)]]


def _shapes(name_or_path: str | os.PathLike, where: dict[str, Any], config: AlbertConfig) -> dict[str, tuple[int, ...]]:
    """Shapes by name from the weight files, or from the config where there are none yet (the seeded demo)."""
    paths = _weight_paths(name_or_path, where)
    if not paths:
        architecture = (config.architectures or ["AlbertModel"])[0]
        return weights.expected_shapes(config, HEADS_OF.get(architecture, ("pooler",)))
    found = {}
    for path in paths:
        for tensor in safetensors_format.read(path):
            name = tensor.name.removeprefix(weights.PREFIX)
            tied = name in weights.ALIASES and (name.endswith("bias") or config.tie_word_embeddings)
            if name not in weights.BUFFERS and not tied:
                found[name] = tensor.shape
    return found


def _weight_paths(name_or_path: str | os.PathLike, where: dict[str, Any]) -> list[Path]:
    path = hub.resolve(name_or_path, weights.WEIGHTS_NAME, required=False, **where)
    if path is not None:
        return [path]
    index = hub.resolve(name_or_path, weights.INDEX_NAME, required=False, **where)
    shards = weights.shard_files(index) if index is not None else {}
    found = [hub.resolve(name_or_path, shard, **where) for shard in shards]
    return [path for path in found if path is not None]


def _files(name_or_path: str | os.PathLike, where: dict[str, Any]) -> list[dict[str, Any]]:
    config_path = hub.resolve(name_or_path, "config.json", **where)
    assert config_path is not None
    paths = [path for path in config_path.parent.iterdir() if path.is_file() and path.suffix not in (".py", ".pyc")]
    return [{"name": path.name, "bytes": path.stat().st_size} for path in sorted(paths)]


def _product(shape: tuple[int, ...]) -> int:
    n = 1
    for size in shape:
        n *= size
    return n
