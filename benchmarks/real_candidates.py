"""Real programs before the golden kit: what it says of ONNX Runtime, OpenVINO and PyTorch, each in the precisions it has.

One synthetic ALBERT-base with its pre-training heads, one sequence of 128 tokens. Every program hands out all its tensors
(golden/capturing/capture.py), and is run a second time without that, since handing them out keeps ops from being fused. Each is
compared with the recording, and with a twin of its precision (golden/twin). Writes real_candidates.json and .md into
benchmarks/results, which docs/golden_real_candidates.md explains.

python benchmarks/real_candidates.py [--only NAME …] [--work DIR] [--seed N]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from machine import RESULTS, write

from albert_np import AlbertForPreTraining, golden
from albert_np.golden.capturing.capture import capture_onnx, capture_openvino, capture_torch, onnx_names
from albert_np.golden.comparing.comparison import Comparison, compare
from albert_np.golden.graph import outputs
from albert_np.golden.measures.metrics import metrics
from albert_np.golden.measures.three_errors import three_way
from albert_np.golden.models.generator import save_synthetic, sized
from albert_np.golden.models.input_sets import inputs
from albert_np.golden.recording import Recording
from albert_np.golden.twin.emulation import emulate

ARCHITECTURE = "AlbertForPreTraining"
FINAL = ("prediction_logits", "sop_logits")
Tensors = dict[str, np.ndarray]


class Candidate(NamedTuple):
    label: str
    run: Callable[
        [Path, Mapping[str, np.ndarray]], tuple[Tensors, list[np.ndarray]]
    ]  # -> all tensors, and what it answers
    precision: str | None  # what --precision is told if the kit finds another; None: nothing
    twin: dict[str, Any]  # how golden.emulate is told of it


# --- the programs -------------------------------------------------------------------------------------------------------


def torch_model(work: Path, attention: str = "eager") -> Any:
    import transformers

    return getattr(transformers, ARCHITECTURE).from_pretrained(work / "model", attn_implementation=attention).eval()


def pytorch(kind: str, attention: str = "eager") -> Callable[..., tuple[Tensors, list[np.ndarray]]]:
    def run(work: Path, call: Mapping[str, np.ndarray]) -> tuple[Tensors, list[np.ndarray]]:
        import torch

        model = torch_model(work, attention)
        if kind == "bfloat16":
            model = model.bfloat16()
        narrow = torch.autocast("cpu", torch.bfloat16) if kind == "autocast" else contextlib.nullcontext()
        given = {name: torch.as_tensor(x) for name, x in call.items()}
        with torch.no_grad(), narrow:
            found = capture_torch(model, call)
            answer = model(**given)
        return found, [getattr(answer, name).float().numpy() for name in FINAL]

    return run


def exported(work: Path) -> Path:
    """What torch.onnx.export makes of the model today."""
    path = work / "model.onnx"
    if not path.exists():
        import torch

        ids = torch.ones(2, 16, dtype=torch.int64)
        names = ["input_ids", "attention_mask", "token_type_ids"]
        free = {0: "batch", 1: "tokens"}
        with torch.no_grad():
            torch.onnx.export(
                torch_model(work),
                (ids, ids.clone(), ids.clone()),
                path,
                dynamo=True,
                input_names=names,
                output_names=list(FINAL),
                dynamic_shapes=dict.fromkeys(names, free),
                external_data=False,  # quant_pre_process loses it
                verbose=False,
            )
    return path


def quantized(work: Path) -> Path:
    """As quantize_dynamic makes it of that file."""
    path = work / "int8.onnx"
    if not path.exists():
        from onnxruntime.quantization import QuantType, quantize_dynamic

        quantize_dynamic(exported(work), path, weight_type=QuantType.QInt8, per_channel=True)
    return path


def folded_and_quantized(work: Path) -> Path:
    """The same, behind the step that onnxruntime asks for first: it folds the transposes of weights."""
    path = work / "int8-folded.onnx"
    if not path.exists():
        from onnxruntime.quantization import QuantType, quantize_dynamic
        from onnxruntime.quantization.shape_inference import quant_pre_process

        folded = work / "folded.onnx"
        quant_pre_process(str(exported(work)), str(folded), skip_symbolic_shape=True)
        quantize_dynamic(folded, path, weight_type=QuantType.QInt8, per_channel=True)
    return path


def onnx_runtime(file: Callable[[Path], Path]) -> Callable[..., tuple[Tensors, list[np.ndarray]]]:
    def run(work: Path, call: Mapping[str, np.ndarray]) -> tuple[Tensors, list[np.ndarray]]:
        import onnxruntime

        path = file(work)
        found = capture_onnx(path, call, names=onnx_names(exported(work)))
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return found, session.run(list(FINAL), dict(call))

    return run


def openvino_runtime(precision: str) -> Callable[..., tuple[Tensors, list[np.ndarray]]]:
    def run(work: Path, call: Mapping[str, np.ndarray]) -> tuple[Tensors, list[np.ndarray]]:
        import openvino

        settings = {"INFERENCE_PRECISION_HINT": precision}
        found = capture_openvino(exported(work), call, config=settings)
        compiled = openvino.Core().compile_model(exported(work), "CPU", settings)
        answer = compiled(dict(call))
        return found, [np.array(answer[name]) for name in FINAL]

    return run


CANDIDATES = {
    "pytorch-float32": Candidate("PyTorch, float32", pytorch("float32"), "float32", {"precision": "float32"}),
    "onnxruntime-float32": Candidate(
        "ONNX Runtime, float32", onnx_runtime(exported), "float32", {"precision": "float32"}
    ),
    "openvino-float32": Candidate("OpenVINO, float32", openvino_runtime("f32"), "float32", {"precision": "float32"}),
    "pytorch-bfloat16": Candidate(
        "PyTorch, cast to bfloat16",
        pytorch("bfloat16"),
        "bfloat16",
        {"precision": "bfloat16", "stepwise": ("add", "scores", "activation")},
    ),
    "pytorch-autocast": Candidate(
        "PyTorch, autocast to bfloat16", pytorch("autocast"), "bfloat16", {"precision": "bfloat16"}
    ),
    "openvino-bfloat16": Candidate(
        "OpenVINO, bfloat16", openvino_runtime("bf16"), "bfloat16", {"precision": "bfloat16"}
    ),
    "onnxruntime-int8": Candidate(
        "ONNX Runtime, int8 (dynamic)", onnx_runtime(quantized), "float32", {"precision": "int8"}
    ),
    "onnxruntime-int8-folded": Candidate(
        "ONNX Runtime, int8 (dynamic, weights folded first)",
        onnx_runtime(folded_and_quantized),
        "float32",
        {"precision": "int8"},
    ),
}


# --- what the kit says of them ------------------------------------------------------------------------------------------


def judged(name: str, work: Path, recording: Recording, model: AlbertForPreTraining) -> dict[str, Any]:
    candidate, call = CANDIDATES[name], recording.call
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporters' own
        found, answer = candidate.run(work, call)
    np.savez(work / f"{name}.npz", **found)
    captured = time.perf_counter()
    comparison = compare(recording, found)
    compared = time.perf_counter()
    detected = {
        "precision": comparison.precision,
        "verdict": comparison.verdict,
        "first_bad_op": comparison.first_bad_op,
    }
    if candidate.precision not in (None, comparison.precision):
        comparison = compare(recording, found, precision=candidate.precision)
    twin = emulate(model, **candidate.twin).run(call)
    steps = outputs(recording.steps, ARCHITECTURE)
    final = {}
    for field, value in zip(FINAL, answer, strict=True):
        expected, step = recording[steps[field]], steps[field]
        one = metrics(value, expected)
        final[field] = {
            "max_abs": one.max_abs,
            "rms": one.rms,
            "pcc": one.pcc,
            "bits_as_captured": bool(np.array_equal(value, found[step])),
            "three_way": three_way(value - expected, twin[step] - expected)._asdict(),
        }
    return {
        "label": candidate.label,
        "precision": comparison.precision,
        "precision_detected": detected,
        "verdict": comparison.verdict,
        "first_bad_op": comparison.first_bad_op,
        "compared": len(comparison.ops),
        "bad_ops": [one.name for one in comparison.ops if one.bad],
        "problems": [f"{p.kind}: {p.name}" for p in comparison.problems],
        "ops": shares(comparison),
        "three_way": three_ways(found, twin, recording),
        "final": final,
        "seconds": {"capture": round(captured - started, 1), "compare": round(compared - captured, 1)},
    }


def shares(comparison: Comparison) -> dict[str, dict[str, float | None]]:
    """Kind of tensor -> the largest share of what is allowed, over all applications."""
    found: dict[str, dict[str, float | None]] = {}
    for one in comparison.ops:
        kind = one.name.split(".", 3)[3] if one.application is not None else one.name
        best = found.setdefault(kind, dict.fromkeys(("budget_share", "rms_share", "bias_share")))
        for measure in best:
            value = getattr(one, measure)
            if value is not None and not (best[measure] or 0) >= value:
                best[measure] = value
    return found


def three_ways(found: Tensors, twin: Tensors, recording: Recording) -> dict[str, Any]:
    """How many tensors have the error that their precision explains, and the one that has least."""
    ways = {
        name: three_way(found[name] - recording[name], twin[name] - recording[name]) for name in twin if name in found
    }
    counts = {
        verdict: sum(way.verdict == verdict for way in ways.values())
        for verdict in ("expected", "suspicious", "broken")
    }
    worst = max(ways, key=lambda name: ways[name].ratio)
    broken = [name for name, way in ways.items() if way.verdict == "broken"]
    return {"counts": counts, "broken": broken, "worst": worst, "ratio": ways[worst].ratio}


def table(results: Mapping[str, Any]) -> str:
    columns = (
        "program",
        "found to be, judged as",
        "verdict",
        "first bad op",
        "bad ops",
        "largest share: worst, rms, bias",
    )
    columns += ("tensors expected, suspicious, broken", "final error: largest, rms", "PCC", "error / twin's")
    lines = [f"| {' | '.join(columns)} |", "|" + " --- |" * len(columns)]
    for one in results.values():
        measures = ("budget_share", "rms_share", "bias_share")
        most = [max((op[m] or 0 for op in one["ops"].values()), default=0) for m in measures]
        final, counts = one["final"][FINAL[0]], one["three_way"]["counts"]
        way = final["three_way"]
        cells = (
            one["label"],
            f"{one['precision_detected']['precision']}, {one['precision']}",
            one["verdict"],
            f"`{one['first_bad_op']}`" if one["first_bad_op"] else "none",
            f"{len(one['bad_ops'])} of {one['compared']}",
            ", ".join(f"{x:.2f}" if x < 100 else f"{x:.0f}" for x in most),
            ", ".join(str(counts[x]) for x in ("expected", "suspicious", "broken")),
            f"{final['max_abs']:.3g}, {final['rms']:.3g}",
            f"{final['pcc']:.5f}" if final["pcc"] < 0.9999 else f"1 − {1 - final['pcc']:.1g}",
            f"{way['verdict']}, {way['ratio']:.2f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(CANDIDATES), default=list(CANDIDATES), metavar="NAME")
    parser.add_argument("--work", type=Path, help="keep the model, the recording and the candidates here")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = args.work or Path(temporary)
        config = sized("base")
        if not (work / "model" / "config.json").exists():
            save_synthetic(work / "model", config, args.seed, ARCHITECTURE)
        model = AlbertForPreTraining.from_pretrained(work / "model", backend="numpy", dtype="float64")
        if not (work / "goldens" / "manifest.json").exists():
            golden.record(model, inputs("text", config, batch=1, length=128), work / "goldens")
        recording = Recording(work / "goldens")
        for name in args.only:
            result = judged(name, work, recording, model)
            write(name, result, work / "results")
            print(table({name: result}), flush=True)
        found = {name: work / "results" / f"{name}.json" for name in CANDIDATES}
        if all(path.exists() for path in found.values()):  # of this call, or of earlier ones in the same folder
            results = {name: json.loads(path.read_text()) for name, path in found.items()}
            about = {"model": f"golden.synthetic, base, seed {args.seed}, {ARCHITECTURE}", "inputs": "text, 1x128"}
            write("real_candidates", {"about": about, "candidates": results})
            (RESULTS / "real_candidates.md").write_text(table(results))
            print(table(results))


if __name__ == "__main__":
    main()
