"""Makes tests/goldens/*.npz: what transformers computes for the tiny models of albert_np/golden/cases.py.

Needs the `parity` extra (torch 2.13.0, transformers 4.57.6). Runs eager attention in float64, which is the truth, and in
float32, which is what an honest implementation of that precision gets. Run it by path, from anywhere:

    python tools/make_goldens.py            # rewrites tests/goldens
    python tools/make_goldens.py --out DIR  # writes elsewhere, to compare
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import zlib
from pathlib import Path
from unittest import mock

import numpy as np

from albert_np.checkpoints.names import hub_name, with_aliases
from albert_np.config import AlbertConfig
from albert_np.golden.cases import CASES, PARTS, TINY, batch, trained_like

ROOT = Path(__file__).resolve().parent.parent


def hugging_face_model(kind: str, config: AlbertConfig, tensors: dict[str, np.ndarray], dtype: str):
    """transformers' model of the same config and weights, eager, in eval mode."""
    import torch
    import transformers

    if kind in ("AlbertForPreTraining", "AlbertForQuestionAnswering"):
        config = config.replace(num_labels=2)  # their row count follows num_labels, where it must be two
    theirs = transformers.AlbertConfig(**config.to_dict())
    theirs._attn_implementation = "eager"
    model = getattr(transformers, kind)(theirs)
    named = {hub_name(name, PARTS[kind]): x for name, x in tensors.items()}
    if config.tie_word_embeddings:
        named = with_aliases(named)
    elif "predictions.bias" in named:
        named["predictions.decoder.bias"] = named["predictions.bias"]
    model.load_state_dict({name: torch.from_numpy(x.copy()) for name, x in named.items()}, strict=True)
    return model.to(getattr(torch, dtype)).eval()


def run(model, call: dict[str, np.ndarray], trace: dict[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
    """Every output as a named array: hidden_states.3, attentions.0, loss …"""
    import torch

    dtype = next(model.parameters()).dtype
    given = {
        name: torch.from_numpy(x).to(dtype) if x.dtype.kind == "f" else torch.from_numpy(x) for name, x in call.items()
    }
    handles = record_trace(model, trace) if trace is not None else []
    softmax, scores = torch.nn.functional.softmax, []

    def recording_softmax(x, **options):  # the scores have no module to hook; these are after the mask was added
        scores.append(x.numpy().copy())
        return softmax(x, **options)

    with torch.no_grad(), mock.patch("torch.nn.functional.softmax", recording_softmax):
        out = model(**given, output_hidden_states=True, output_attentions=True)
    for handle in handles:
        handle.remove()
    arrays = {}
    for name, value in out.items():
        if isinstance(value, tuple):
            arrays |= {f"{name}.{i}": x.numpy() for i, x in enumerate(value)}
        else:
            arrays[name] = value.numpy()
    if trace is not None:
        for i, probs in enumerate(out.attentions):
            trace[f"encoder.layer.{i}.attention.probs"] = probs.numpy()
            trace[f"encoder.layer.{i}.attention.scores"] = scores[i]
    return arrays


def record_trace(model, trace: dict[str, np.ndarray]) -> list:
    """Hooks that file each module's output under its path, with the application number of the shared layer."""
    application = 0
    handles = []

    def keep(name: str, layer: bool = False):
        def hook(module, args, output):
            nonlocal application
            at = f"encoder.layer.{application}." if layer else ""
            trace[at + name] = output[0].numpy() if isinstance(output, tuple) else output.numpy().copy()
            application += name == "full_layer_layer_norm"

        return hook

    def keep_input(name: str, layer: bool = False):
        def hook(module, args):
            at = f"encoder.layer.{application}." if layer else ""
            trace[at + name] = args[0].numpy().copy()

        return hook

    for path, module in model.named_modules():
        name = path.removeprefix("albert.")
        if name == "embeddings.LayerNorm":
            handles += [module.register_forward_pre_hook(keep_input("embeddings.sum"))]
        if ".albert_layers." in name:
            inside = name.split(".albert_layers.")[1].partition(".")[2]
            if inside == "attention.dense":
                handles += [module.register_forward_pre_hook(keep_input("attention.context", True))]
            if inside in LAYER_MODULES:
                handles += [module.register_forward_hook(keep(inside, True))]
        elif name in OTHER_MODULES:
            handles += [module.register_forward_hook(keep(name))]
    return handles


LAYER_MODULES = (
    "attention.query",
    "attention.key",
    "attention.value",
    "attention.dense",
    "attention.LayerNorm",
    "ffn",
    "activation",
    "ffn_output",
    "full_layer_layer_norm",
)
OTHER_MODULES = (
    "embeddings.LayerNorm",
    "encoder.embedding_hidden_mapping_in",
    "pooler",
    "pooler_activation",
    "predictions.dense",
    "predictions.activation",
    "predictions.LayerNorm",
    "predictions.decoder",
    "sop_classifier.classifier",
)


def make_case(name: str) -> dict[str, np.ndarray]:
    """The arrays of one golden file: weight/…, call/…, float64/…, float32/…, trace/…."""
    kind, changes, features = CASES[name]
    features = dict(features)
    wants_trace = features.pop("trace", False)
    config = AlbertConfig(**(TINY | changes))
    seed = zlib.crc32(name.encode())
    tensors = trained_like(config, PARTS[kind], seed)
    call = batch(config, kind, seed + 1, **features)
    trace: dict[str, np.ndarray] | None = {} if wants_trace else None
    arrays = {f"weight/{key}": x for key, x in tensors.items()} | {f"call/{key}": x for key, x in call.items()}
    truth = run(hugging_face_model(kind, config, tensors, "float64"), call, trace)
    arrays |= {f"float64/{key}": x for key, x in truth.items()} | {
        f"trace/{key}": x for key, x in (trace or {}).items()
    }
    single = run(hugging_face_model(kind, config, tensors, "float32"), call)
    return arrays | {f"float32/{key}": x for key, x in single.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "tests" / "goldens", help="folder to write (%(default)s)")
    out = parser.parse_args().out
    try:
        import torch
        import transformers
    except ImportError as error:
        raise SystemExit(f"{error}: install the parity extra first, pip install -e '.[parity]'") from error
    out.mkdir(parents=True, exist_ok=True)
    cases = {}
    for name, (kind, changes, _) in CASES.items():
        path = out / f"{name}.npz"
        np.savez_compressed(path, **make_case(name))
        cases[name] = {
            "class": kind,
            "config": TINY | changes,
            "seed": zlib.crc32(name.encode()),
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        print(f"{name}: {path.stat().st_size:,} bytes")
    manifest = {
        "hint": "stale? install the parity extra and run: python tools/make_goldens.py",
        "attn_implementation": "eager",
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "torch": torch.__version__.partition("+")[0],
            "transformers": transformers.__version__,
        },
        "cases": cases,
    }
    (out / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


if __name__ == "__main__":
    main()
