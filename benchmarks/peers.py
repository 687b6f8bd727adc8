"""The engines that bench_cpu.py times, each at its best honest setting: how it loads the checkpoint and runs a batch.

An engine is made once, in a process of its own, from a checkpoint and a number of threads. Its `prepare(ids, mask)` does
everything a user does once for a shape, compiling included, and returns the function that is timed. Inputs are in the
engine's own containers before the clock runs; the result stays in them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnx_graphs import fused_operators, graph

from albert_np.machine import installed

Prepare = Callable[[np.ndarray, np.ndarray], Callable[[], Any]]  # (B,T), (B,T) -> a call that gives (B,T,H)


@dataclass(frozen=True)
class Engine:
    label: str
    make: Callable[[Path, int], tuple[Prepare, str]]  # -> how to prepare, and a note on the settings
    needs: tuple[str, ...] = ()
    ours: bool = False
    only: tuple[str, ...] | None = None  # shapes, where it says nothing new about the others


def albert_np_engine(backend: str, skip_padding: bool) -> Callable[[Path, int], tuple[Prepare, str]]:
    def make(checkpoint: Path, threads: int) -> tuple[Prepare, str]:
        import albert_np

        albert_np.set_num_threads(threads)  # of NumPy's BLAS, the process was told before it began
        model = albert_np.AlbertModel.from_pretrained(checkpoint, add_pooling_layer=False, backend=backend)

        def prepare(ids: np.ndarray, mask: np.ndarray) -> Callable[[], Any]:
            return lambda: model(ids, mask, skip_padding=skip_padding).last_hidden_state

        return prepare, f"backend {backend}, skip_padding={skip_padding}"

    return make


def torch_model(checkpoint: Path, threads: int, attention: str) -> Any:
    import torch
    from transformers import AlbertModel

    torch.set_num_threads(threads)
    return AlbertModel.from_pretrained(checkpoint, add_pooling_layer=False, attn_implementation=attention).eval()


def pytorch_engine(attention: str) -> Callable[[Path, int], tuple[Prepare, str]]:
    def make(checkpoint: Path, threads: int) -> tuple[Prepare, str]:
        import torch

        model = torch_model(checkpoint, threads, attention)

        @torch.inference_mode()
        def forward(ids: Any, mask: Any) -> Any:
            return model(ids, mask).last_hidden_state

        def prepare(ids: np.ndarray, mask: np.ndarray) -> Callable[[], Any]:
            given = torch.from_numpy(ids), torch.from_numpy(mask)
            return lambda: forward(*given)

        return prepare, f"uncompiled, {attention} attention, inference_mode"

    return make


def torch_compile(checkpoint: Path, threads: int) -> tuple[Prepare, str]:
    if not (shutil.which("g++") or shutil.which("clang++")):
        raise RuntimeError("torch.compile needs a C++ compiler, and there is none here")
    import torch
    from torch._inductor import config

    config.freezing = True  # weights become constants, packed once for the matrix products
    model = torch_model(checkpoint, threads, "sdpa")

    def prepare(ids: np.ndarray, mask: np.ndarray) -> Callable[[], Any]:
        torch._dynamo.reset()  # the last shape's graph and weights go; only so many are kept
        compiled = torch.compile(model, dynamic=False, mode="max-autotune")
        given = torch.from_numpy(ids), torch.from_numpy(mask)

        @torch.no_grad()  # freezing knows this one only
        def forward() -> Any:
            return compiled(*given).last_hidden_state

        return forward

    return prepare, "max-autotune, a graph for each shape, frozen weights, sdpa attention, no_grad"


def onnxruntime_engine(name: str) -> Callable[[Path, int], tuple[Prepare, str]]:
    def make(checkpoint: Path, threads: int) -> tuple[Prepare, str]:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        path = graph(checkpoint, name)
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        note = f"{name}, all graph optimizations"
        if name == "fused.onnx":
            counts = fused_operators(checkpoint)
            note += f", onnxruntime.transformers put in {', '.join(f'{n} {op}' for op, n in sorted(counts.items()))}"

        def prepare(ids: np.ndarray, mask: np.ndarray) -> Callable[[], Any]:
            feeds = {"input_ids": ids, "attention_mask": mask}
            return lambda: session.run(None, feeds)[0]

        return prepare, note

    return make


def openvino_engine(name: str, static: bool) -> Callable[[Path, int], tuple[Prepare, str]]:
    def make(checkpoint: Path, threads: int) -> tuple[Prepare, str]:
        import openvino

        core = openvino.Core()
        model = core.read_model(graph(checkpoint, name))
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": threads,
        }

        def prepare(ids: np.ndarray, mask: np.ndarray) -> Callable[[], Any]:
            shaped = model.clone()
            if static:
                shaped.reshape({port: list(ids.shape) for port in shaped.inputs})
            request = core.compile_model(shaped, "CPU", settings).create_infer_request()
            given = {"input_ids": ids, "attention_mask": mask}
            return lambda: request.infer(given, share_inputs=True, share_outputs=True)[0]

        shapes = "compiled for each shape" if static else "dynamic shapes"
        return prepare, f"{name}, {shapes}, " + ", ".join(f"{key}={value}" for key, value in settings.items())

    return make


EXPORT = ("onnx", "onnxscript", "transformers", "torch")
ENGINES = {
    "albert_np": Engine("albert_np", albert_np_engine("numba", True), ("numba",), ours=True),
    "albert_np_padded": Engine(
        "albert_np, padded", albert_np_engine("numba", False), ("numba",), ours=True, only=("ragged",)
    ),
    "pytorch": Engine("PyTorch", pytorch_engine("sdpa"), ("torch", "transformers")),
    "torch_compile": Engine("torch.compile", torch_compile, ("torch", "transformers")),
    "onnxruntime": Engine("ONNX Runtime", onnxruntime_engine("plain.onnx"), ("onnxruntime", *EXPORT)),
    "onnxruntime_fused": Engine("ONNX Runtime, fused", onnxruntime_engine("fused.onnx"), ("onnxruntime", *EXPORT)),
    "openvino": Engine("OpenVINO", openvino_engine("plain.onnx", True), ("openvino", *EXPORT)),
    # other settings of the same engines, to see that the ones above are their best; timed when named
    "pytorch_eager": Engine("PyTorch, eager attention", pytorch_engine("eager"), ("torch", "transformers")),
    "onnxruntime_legacy": Engine(
        "ONNX Runtime, legacy export", onnxruntime_engine("legacy.onnx"), ("onnxruntime", *EXPORT)
    ),
    "openvino_legacy": Engine("OpenVINO, legacy export", openvino_engine("legacy.onnx", True), ("openvino", *EXPORT)),
    "openvino_dynamic": Engine("OpenVINO, dynamic shapes", openvino_engine("plain.onnx", False), ("openvino", *EXPORT)),
    "albert_np_numpy": Engine("albert_np, numpy backend", albert_np_engine("numpy", True), ours=True),
}
DEFAULT = ("albert_np", "albert_np_padded", "pytorch", "torch_compile", "onnxruntime", "onnxruntime_fused", "openvino")


def why_not(name: str) -> str | None:
    """The reason an engine cannot run here, as far as it shows without starting it."""
    missing = [package for package in ENGINES[name].needs if installed(package) is None]
    return f"{', '.join(missing)} not installed" if missing else None
