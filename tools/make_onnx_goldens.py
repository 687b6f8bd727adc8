"""Makes tests/goldens/formats_onnx: tiny ALBERTs as torch's two exporters write them, and as ONNX Runtime optimizes them.

Every folder holds config.json, model.onnx and expected.npz: the arguments of one call (`in_…`) and what PyTorch computes with
the weights that are stored (`out_…`), in float32. manifest.json has each folder's class and the sha256 of its weights, by
`digest`, so that a reader can be compared to the bit.

Made with torch 2.13.0, transformers 4.57.6, onnx 1.23.2, onnxscript 0.7.2 and onnxruntime 1.32.0. Run it by path, with the
package on PYTHONPATH:

    python tools/make_onnx_goldens.py            # rewrites tests/goldens/formats_onnx
    python tools/make_onnx_goldens.py --out DIR  # writes elsewhere, to compare
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import shutil
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from make_format_goldens import GROUPS, ROOT, SIZES, TWO_LABELS, call, drawn

OUTPUTS = {
    "AlbertModel": ["last_hidden_state", "pooler_output"],
    "AlbertForPreTraining": ["prediction_logits", "sop_logits"],
    "AlbertForQuestionAnswering": ["start_logits", "end_logits"],
}
SMALL = {"num_hidden_layers": 2}
# folder -> (class, changes to SIZES, how it is exported). fresh: as transformers draws weights, with biases of 0 and LayerNorm
# weights of 1, which exporters merge. optimized: by ONNX Runtime, into its own operators
FOLDERS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "torchscript_masked_lm": ("AlbertForMaskedLM", SMALL, {"opset_version": 18}),
    "torchscript_question_unfolded": (
        "AlbertForQuestionAnswering",
        SMALL | TWO_LABELS | {"hidden_act": "gelu"},
        {"opset_version": 11, "do_constant_folding": False, "attention": "eager", "dtype": "float16"},
    ),
    "dynamo_choice": ("AlbertForMultipleChoice", SMALL | {"hidden_act": "relu"}, {"dynamo": True, "opset_version": 18}),
    "torchscript_model_optimized": (
        "AlbertModel",
        SMALL | {"hidden_size": 16},
        {"opset_version": 14, "attention": "eager", "optimized": True},
    ),
    "dynamo_pretraining": ("AlbertForPreTraining", SMALL | TWO_LABELS, {"dynamo": True}),
    "dynamo_sequence_fresh": ("AlbertForSequenceClassification", GROUPS | TWO_LABELS, {"dynamo": True, "fresh": True}),
    "dynamo_masked_lm_untied": (
        "AlbertForMaskedLM",
        SMALL | {"tie_word_embeddings": False, "hidden_act": "silu"},
        {"dynamo": True, "optimize": False, "opset_version": 20},
    ),
    "dynamo_tokens": (
        "AlbertForTokenClassification",
        SMALL,
        {"dynamo": True, "dtype": "bfloat16", "opset_version": 23},
    ),
}


def digest(tensors: dict[str, np.ndarray]) -> str:
    """The sha256 of all weights in float32, which holds every float16 and bfloat16, each behind its name, in their order."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        total.update(name.encode() + b"\0" + np.ascontiguousarray(tensors[name], "<f4").tobytes())
    return total.hexdigest()


def make(folder: Path, kind: str, changes: dict[str, Any], how: dict[str, Any]) -> dict[str, str]:
    """Writes one folder, and returns its entry of the manifest."""
    import torch
    import transformers

    folder.mkdir(parents=True)
    rng = np.random.default_rng(zlib.crc32(folder.name.encode()))
    torch.manual_seed(zlib.crc32(folder.name.encode()))
    config = transformers.AlbertConfig(**SIZES | changes, architectures=[kind])
    config._attn_implementation = how.get("attention", "sdpa")
    model = getattr(transformers, kind)(config).eval()
    for name, parameter in model.named_parameters():
        if not how.get("fresh"):
            parameter.data = torch.from_numpy(drawn(name, tuple(parameter.shape), rng))
    model.tie_weights()
    model = model.to(getattr(torch, how.get("dtype", "float32")))
    config.save_pretrained(folder)
    batch = call(config, kind, rng)
    given = {name: torch.from_numpy(np.ascontiguousarray(x)) for name, x in batch.items()}
    names = OUTPUTS.get(kind, ["logits"])
    export(model, given, names, folder / "model.onnx", how)
    model = model.float()
    with torch.no_grad():
        out = model(**given)
    arrays = {f"in_{name}": x for name, x in batch.items()} | {f"out_{name}": out[name].numpy() for name in names}
    np.savez_compressed(folder / "expected.npz", **arrays)
    weights = {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}
    return {"class": kind, "sha256": digest(weights)}


def export(model: Any, given: dict[str, Any], names: list[str], path: Path, how: dict[str, Any]) -> None:
    import torch

    axes = {name: dict(enumerate(("batch", "choices", "tokens")[: x.ndim])) for name, x in given.items()}
    options = {name: value for name, value in how.items() if name not in ("attention", "dtype", "fresh", "optimized")}
    if how.get("dynamo"):
        dynamic = {name: dict.fromkeys(axis, torch.export.Dim.DYNAMIC) for name, axis in axes.items()}
        options |= {"dynamic_shapes": dynamic, "external_data": False}
    else:
        options |= {"dynamic_axes": axes, "dynamo": False}
    torch.onnx.export(
        model, (), path, kwargs=given, input_names=list(given), output_names=names, verbose=False, **options
    )
    if how.get("optimized"):
        from onnxruntime.transformers import optimizer

        sizes = {"num_heads": model.config.num_attention_heads, "hidden_size": model.config.hidden_size}
        optimizer.optimize_model(str(path), model_type="bert", **sizes).save_model_to_file(str(path))
    strip(path)


def strip(path: Path) -> None:
    """Takes out what no reader needs: each node's place in the source, the shapes between nodes, the names of nodes."""
    import onnx

    model = onnx.load(path)
    del model.graph.value_info[:]
    for part in (
        model,
        model.graph,
        *model.graph.node,
        *model.graph.initializer,
        *model.graph.input,
        *model.graph.output,
    ):
        del part.metadata_props[:]
    for node in model.graph.node:
        node.name = node.doc_string = ""
    onnx.save(model, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "tests" / "goldens" / "formats_onnx")
    out = parser.parse_args().out
    logging.disable(logging.WARNING)
    shutil.rmtree(out, ignore_errors=True)
    manifest = {name: make(out / name, *about) for name, about in FOLDERS.items()}
    (out / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


if __name__ == "__main__":
    main()
