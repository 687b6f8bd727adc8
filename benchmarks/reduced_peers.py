"""The engines of reduced precision that bench_cpu.py --dtype bfloat16 int8 times, each at its best honest setting.

Weights are converted when an engine is made, before any clock runs. A result stays as the engine gives it: PyTorch's are
bfloat16, which who goes on in PyTorch can use as they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx_graphs import graph
from peers import (
    ENGINES,
    EXPORT,
    Engine,
    Given,
    Prepare,
    albert_np_engine,
    compiled,
    onnxruntime_engine,
    openvino_calls,
    openvino_settings,
    pytorch_calls,
    torch_model,
)
from workloads import CONFIG

from albert_np.machine import installed

CALIBRATION = (32, 128)  # sequences and tokens of random calibration data


def pytorch_autocast(given: Given) -> tuple[Prepare, str]:
    import torch

    prepare = pytorch_calls(torch_model(given, "sdpa"))

    def prepare_autocast(ids: np.ndarray, mask: np.ndarray) -> Any:
        run = prepare(ids, mask)

        def forward() -> Any:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return run()

        return forward

    return prepare_autocast, "float32 weights, torch.autocast to bfloat16, uncompiled, sdpa attention, inference_mode"


def pytorch_bfloat16(given: Given) -> tuple[Prepare, str]:
    return pytorch_calls(torch_model(given, "sdpa").bfloat16()), (
        "model.bfloat16(), uncompiled, sdpa attention, inference_mode"
    )


def torch_compile_bfloat16(given: Given) -> tuple[Prepare, str]:
    prepare, note = compiled(lambda: torch_model(given, "sdpa").bfloat16())
    return prepare, f"model.bfloat16(), {note}"


def torch_int8(given: Given) -> tuple[Prepare, str]:
    import torch

    model = torch.ao.quantization.quantize_dynamic(torch_model(given, "sdpa"), {torch.nn.Linear}, dtype=torch.qint8)
    return pytorch_calls(model), (
        f"torch.ao.quantization.quantize_dynamic of every Linear, engine {torch.backends.quantized.engine}, "
        "sdpa attention, inference_mode"
    )


def openvino_bfloat16(given: Given) -> tuple[Prepare, str]:
    import openvino

    core = openvino.Core()
    settings = openvino_settings(given.threads, "bf16")
    model = core.read_model(graph(given.checkpoint, "plain.onnx", given.kind))
    note = "plain.onnx, compiled for each shape, " + ", ".join(f"{key}={value}" for key, value in settings.items())
    return openvino_calls(core, model, settings, True), note


def openvino_int8(given: Given) -> tuple[Prepare, str]:
    """Post-training quantization of weights and activations by NNCF; what that leaves is in OpenVINO's own precision."""
    import nncf
    import openvino

    core = openvino.Core()
    # from plain.onnx, whose weights stand behind a Transpose, no product would run in int8
    model = core.read_model(graph(given.checkpoint, "folded.onnx", given.kind))
    rows = given.calibration or random_rows()
    data = nncf.Dataset([{"input_ids": ids, "attention_mask": np.ones_like(ids)} for ids in rows])
    model = nncf.quantize(model, data, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(rows))
    native = core.get_property("CPU", "INFERENCE_PRECISION_HINT").to_string()  # bf16 where the CPU has that
    settings = openvino_settings(given.threads, native)
    what = "text" if given.calibration else "random tokens"
    note = (
        f"folded.onnx, nncf {installed('nncf')}, calibrated on {len(rows)} sequences of {what}, compiled for each shape"
    )
    return openvino_calls(core, model, settings, True), ", ".join([note, *(f"{k}={v}" for k, v in settings.items())])


def random_rows() -> tuple[np.ndarray, ...]:
    """(1,T) each; of other seeds than the batches that are timed."""
    rng = np.random.default_rng(1000)
    return tuple(rng.integers(5, CONFIG.vocab_size, (CALIBRATION[0], 1, CALIBRATION[1])))


TORCH = ("torch", "transformers")
REDUCED = {
    "albert_np_bfloat16": Engine(
        "albert_np bfloat16",
        albert_np_engine("numba", True, "bfloat16"),
        ("numba",),
        ours=True,
        precision="bfloat16",
    ),
    "albert_np_bfloat16_padded": Engine(
        "albert_np bfloat16, padded",
        albert_np_engine("numba", False, "bfloat16"),
        ("numba",),
        ours=True,
        only=("ragged",),
        asked=False,
        precision="bfloat16",
    ),
    "albert_np_int8": Engine(
        "albert_np int8", albert_np_engine("numba", True, "int8"), ("numba",), ours=True, precision="int8"
    ),
    "albert_np_int8_fast": Engine(
        "albert_np int8, one pass",
        albert_np_engine("numba", True, "int8", passes=1),
        ("numba",),
        ours=True,
        precision="int8",
    ),
    "albert_np_int8_padded": Engine(
        "albert_np int8, padded",
        albert_np_engine("numba", False, "int8"),
        ("numba",),
        ours=True,
        only=("ragged",),
        asked=False,
        precision="int8",
    ),
    "albert_np_float32": Engine("albert_np float32", albert_np_engine("numba", True), ("numba",), ours=True),
    "openvino_bfloat16": Engine("OpenVINO bfloat16", openvino_bfloat16, ("openvino", *EXPORT), precision="bfloat16"),
    "pytorch_bfloat16": Engine("PyTorch bfloat16, cast", pytorch_bfloat16, TORCH, precision="bfloat16"),
    "pytorch_autocast": Engine("PyTorch bfloat16, autocast", pytorch_autocast, TORCH, precision="bfloat16"),
    "openvino_int8": Engine("OpenVINO int8, NNCF", openvino_int8, ("openvino", "nncf", *EXPORT), precision="int8"),
    "onnxruntime_int8": Engine(
        "ONNX Runtime int8, dynamic",
        onnxruntime_engine("int8.onnx"),
        ("onnxruntime", *EXPORT),
        precision="int8",
    ),
    "torch_int8": Engine("PyTorch int8, dynamic", torch_int8, TORCH, precision="int8"),
    # timed when named
    "torch_compile_bfloat16": Engine(
        "torch.compile bfloat16", torch_compile_bfloat16, TORCH, precision="bfloat16", asked=False
    ),
}
REDUCED_DEFAULT = tuple(name for name in REDUCED if name != "torch_compile_bfloat16")
TRUTH = {
    "truth": Engine("float64 reference", albert_np_engine("numpy", True, "float64"), ours=True, precision="float64")
}
ALL = ENGINES | REDUCED | TRUTH
