"""The engines that bench_cpu.py times, each at its best honest setting: how it loads the checkpoint and runs a batch.

An engine is made once, in a process of its own, from a checkpoint and a number of threads. Its `prepare(ids, mask)` does
everything a user does once for a shape, compiling included, and returns the function that is timed. Inputs are in the
engine's own containers before the clock runs; the result stays in them. Those of float32 stand here, those of reduced
precision in reduced_peers.py.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from onnx_graphs import ENCODER, graph, told

from albert_np.machine import installed

Prepare = Callable[[np.ndarray, np.ndarray], Callable[[], Any]]  # (B,T), (B,T) -> a call that gives (B,T,H) or logits


@dataclass(frozen=True)
class Given:
    """What an engine is made from. kind: the class of the model, which albert_np and transformers call by one name."""

    checkpoint: Path
    threads: int
    kind: str = ENCODER
    calibration: tuple[np.ndarray, ...] = ()  # (1,T) each, for engines that look at data first; () = random tokens


Make = Callable[[Given], tuple[Prepare, str]]  # -> how to prepare, and a note on the settings


@dataclass(frozen=True)
class Engine:
    label: str
    make: Make
    needs: tuple[str, ...] = ()
    ours: bool = False
    only: tuple[str, ...] | None = None  # shapes, where it says nothing new about the others
    precision: str = "float32"  # of its products: which error is too large, and which peak is its own
    asked: bool = True  # for its answers, too; not where another engine's are the same


def options_of(kind: str) -> dict[str, Any]:
    return {"add_pooling_layer": False} if kind == ENCODER else {}


def albert_np_engine(backend: str, skip_padding: bool, dtype: str = "float32", **rounding: Any) -> Make:
    """rounding: options of model.quantize, which then makes the model from its float32 weights."""

    def make(given: Given) -> tuple[Prepare, str]:
        import albert_np

        albert_np.set_num_threads(given.threads)  # of NumPy's BLAS, the process was told before it began
        model = getattr(albert_np, given.kind).from_pretrained(
            given.checkpoint, backend=backend, dtype="float32" if rounding else dtype, **options_of(given.kind)
        )
        if rounding:
            model = model.quantize(dtype=dtype, **rounding)

        def prepare(ids: np.ndarray, mask: np.ndarray) -> Callable[[], Any]:
            return lambda: model(ids, mask, skip_padding=skip_padding)[0]

        note = "" if dtype == "float32" else f"dtype {dtype}, "
        note += "".join(f"quantize({name}={value}), " for name, value in rounding.items())
        return prepare, f"{note}backend {backend}, skip_padding={skip_padding}"

    return make


def torch_model(given: Given, attention: str) -> Any:
    import torch
    import transformers

    torch.set_num_threads(given.threads)
    kind = getattr(transformers, given.kind)
    return kind.from_pretrained(given.checkpoint, attn_implementation=attention, **options_of(given.kind)).eval()


def pytorch_engine(attention: str) -> Make:
    def make(given: Given) -> tuple[Prepare, str]:
        return pytorch_calls(torch_model(given, attention)), f"uncompiled, {attention} attention, inference_mode"

    return make


def pytorch_calls(model: Any) -> Prepare:
    import torch

    @torch.inference_mode()
    def forward(ids: Any, mask: Any) -> Any:
        return model(ids, mask)[0]

    def prepare(ids: np.ndarray, mask: np.ndarray) -> Callable[[], Any]:
        given = torch.from_numpy(ids), torch.from_numpy(mask)
        return lambda: forward(*given)

    return prepare


def torch_compile(given: Given) -> tuple[Prepare, str]:
    return compiled(lambda: torch_model(given, "sdpa"))


def compiled(load: Callable[[], Any]) -> tuple[Prepare, str]:
    if not (shutil.which("g++") or shutil.which("clang++")):
        raise RuntimeError("torch.compile needs a C++ compiler, and there is none here")
    import torch
    from torch._inductor import config

    config.freezing = True  # weights become constants, packed once for the matrix products
    model = load()

    def prepare(ids: np.ndarray, mask: np.ndarray) -> Callable[[], Any]:
        torch._dynamo.reset()  # the last shape's graph and weights go; only so many are kept
        compiled = torch.compile(model, dynamic=False, mode="max-autotune")
        arrays = torch.from_numpy(ids), torch.from_numpy(mask)

        @torch.no_grad()  # freezing knows this one only
        def forward() -> Any:
            return compiled(*arrays)[0]

        return forward

    return prepare, "max-autotune, a graph for each shape, frozen weights, sdpa attention, no_grad"


def onnxruntime_engine(name: str) -> Make:
    def make(given: Given) -> tuple[Prepare, str]:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = given.threads, 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        path = graph(given.checkpoint, name, given.kind)
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

        def prepare(ids: np.ndarray, mask: np.ndarray) -> Callable[[], Any]:
            feeds = {"input_ids": ids, "attention_mask": mask}
            return lambda: session.run(None, feeds)[0]

        return prepare, f"{name}, all graph optimizations{told(path)}"

    return make


def openvino_engine(name: str, static: bool) -> Make:
    def make(given: Given) -> tuple[Prepare, str]:
        import openvino

        core = openvino.Core()
        model = core.read_model(graph(given.checkpoint, name, given.kind))
        settings = openvino_settings(given.threads, "f32")
        shapes = "compiled for each shape" if static else "dynamic shapes"
        note = f"{name}, {shapes}, " + ", ".join(f"{key}={value}" for key, value in settings.items())
        return openvino_calls(core, model, settings, static), note

    return make


def openvino_settings(threads: int, precision: str) -> dict[str, Any]:
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": precision,
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
    }


def openvino_calls(core: Any, model: Any, settings: dict[str, Any], static: bool) -> Prepare:
    @cache
    def request(shape: tuple[int, int] | None) -> Any:
        shaped = model.clone()
        if shape is not None:
            shaped.reshape({port: list(shape) for port in shaped.inputs})
        return core.compile_model(shaped, "CPU", settings).create_infer_request()

    def prepare(ids: np.ndarray, mask: np.ndarray) -> Callable[[], Any]:
        mine = request(ids.shape if static else None)
        given = {"input_ids": ids, "attention_mask": mask}
        return lambda: mine.infer(given, share_inputs=True, share_outputs=True)[0]

    return prepare


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


def why_not(engine: Engine) -> str | None:
    """The reason an engine cannot run here, as far as it shows without starting it."""
    missing = [package for package in engine.needs if installed(package) is None]
    return f"{', '.join(missing)} not installed" if missing else None
