"""A pack as a folder of ONNX's backend tests: model.onnx, test_data_set_0/input_0.pb … and output_0.pb.

The weights are initialisers of the model. output_0.pb has the pack's dtype, as a runner of such tests expects it; beside it
lie the float64 truth and the budget, since the runner has only one tolerance for all elements.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from albert_np.golden.packs.arrays import as_npy
from albert_np.golden.packs.onnx_nodes import Nodes
from albert_np.golden.packs.pack import Pack, output_in, stored
from albert_np.ops import Array

OPSET, IR_VERSION = 20, 9  # the first opset with Gelu, and the format of files that came with it
MAX_BYTES = 2**31 - 1  # what protobuf can hold


def onnx_folder(pack: Pack) -> Iterator[tuple[str, bytes]]:
    """The files of the format: name and contents. Raises ValueError where onnx is missing, or the weights are too large."""
    onnx = needed()
    size = sum(stored(one.value, pack.dtype).nbytes for one in pack.arguments if one.role == "weight")
    if size > MAX_BYTES:
        raise ValueError(f"{pack.name} has weights of {size:,} bytes, and an ONNX file holds {MAX_BYTES:,}: choose raw")
    yield "model.onnx", _model(pack, onnx).SerializeToString()
    for i, one in enumerate(pack.inputs):
        yield f"test_data_set_0/input_{i}.pb", tensor(onnx, one.name, one.value, pack.dtype).SerializeToString()
    output = tensor(onnx, "output", output_in(pack), pack.dtype)
    yield "test_data_set_0/output_0.pb", output.SerializeToString()
    yield "expected_float64.npy", as_npy(pack.expected)
    yield "budget.npy", as_npy(pack.budget)


def needed() -> Any:
    """The package onnx. Raises ValueError if it is not installed."""
    try:
        import onnx
        import onnx.helper
    except ImportError as error:
        raise ValueError('the format onnx needs the package onnx: pip install "albert-np[golden]"') from error
    return onnx


def element_type(onnx: Any, x: Array, dtype: str) -> int:
    """ONNX's number for the dtype of a stored array."""
    names = {"float32": "FLOAT", "float16": "FLOAT16", "bfloat16": "BFLOAT16", "float64": "DOUBLE"}
    name = names[dtype] if x.dtype == np.float64 else {"bool": "BOOL", "int64": "INT64", "int32": "INT32"}[x.dtype.name]
    return int(getattr(onnx.TensorProto, name))


def tensor(onnx: Any, name: str, x: Array, dtype: str) -> Any:
    """A TensorProto. Floats are float64 of values that the dtype has."""
    data = stored(x, dtype).tobytes()
    return onnx.helper.make_tensor(name, element_type(onnx, x, dtype), list(x.shape), data, raw=True)


def _model(pack: Pack, onnx: Any) -> Any:
    def described(name: str, x: Array) -> Any:
        return onnx.helper.make_tensor_value_info(name, element_type(onnx, x, pack.dtype), list(x.shape))

    nodes = Nodes(onnx.helper.make_node, pack.dtype, OPSET)
    names = {one.source: one.name for one in pack.arguments}
    shapes = {one.source: one.value.shape for one in pack.arguments} | {key: x.shape for key, x in pack.values.items()}
    for one in pack.steps:
        sources = (*one.inputs, *one.weights)
        made = nodes.op(one, [names[x] for x in sources], [shapes[x] for x in sources])
        names[one.name] = made
    nodes.node("Identity", names[pack.steps[-1].name], output="output")
    weights = [tensor(onnx, one.name, one.value, pack.dtype) for one in pack.arguments if one.role == "weight"]
    constants = [tensor(onnx, name, x, pack.dtype) for name, x in nodes.constants.items()]
    graph = onnx.helper.make_graph(
        nodes.made,
        "op",
        [described(one.name, one.value) for one in pack.inputs],
        [described("output", pack.expected)],
        weights + constants,
        doc_string=pack.name,
    )
    opset = onnx.helper.make_opsetid("", OPSET)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="albert_np")
    onnx.checker.check_model(model, full_check=True)
    return model
