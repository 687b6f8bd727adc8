"""A model as model.onnx, with each shared weight stored once.

**What is in the file.** One initializer for each stored tensor, under Hugging Face's name (with "albert." before it in models
with a head), in the dtype and with the bits that the checkpoint has. A matrix that MatMul reads is stored (in, out), which is
the transpose of Hugging Face's, so that no Transpose runs; tables, biases and LayerNorms are as Hugging Face has them. A tied
decoder reads the word table itself, through one Transpose, and predictions.decoder.bias is predictions.bias. So a reader asks
the graph: an initializer, or the Cast of one, that is the second input of a MatMul is to be transposed. All other
initializers are constants, whose names begin with "constant_". metadata_props has the architecture and config.json.

**What it computes.** float32, whatever is stored: each initializer of another dtype goes through one Cast, which runtimes do
once, when they load the file. Every application of a layer has nodes of its own, that read the same initializers. Opset, the
names of inputs and outputs, and the dynamic axes are those of optimum (AlbertOnnxConfig of optimum-onnx 0.1.0), with
pooler_output beside last_hidden_state, and prediction_logits and sop_logits for AlbertForPreTraining, which optimum does not
export. A row whose tokens are all masked attends to all of them uniformly, as in transformers.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from albert_np import imports
from albert_np.calling import AlbertPreTrainedModel
from albert_np.checkpoints.formats.protocol import Tensor, as_tensors, stored_values, transposed
from albert_np.checkpoints.names import ALIASES, expected_shapes, hub_name
from albert_np.config import AlbertConfig
from albert_np.conversion.onnx_nodes import FLOAT32, INT64, ModelNodes
from albert_np.files import atomic_path, listed
from albert_np.golden.graph import ARCHITECTURES, Step, graph, outputs
from albert_np.golden.packs.onnx_model import MAX_BYTES, tensor
from albert_np.ops import Array
from albert_np.version import __version__

OPSET, IR_VERSION = 18, 8  # of optimum, and the format of files that came with it
DTYPES = {"F32": FLOAT32, "F16": 10, "F64": 11, "BF16": 16}  # safetensors' words -> TensorProto's numbers
BYTES = {"F32": 4, "F16": 2, "F64": 8, "BF16": 2}
BATCH, TOKENS, CHOICES = "batch_size", "sequence_length", "num_choices"
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
OUTPUT_AXES = {  # the axes of each output, a name of config.py for a size of the model
    ("AlbertModel", "last_hidden_state"): (BATCH, TOKENS, "hidden_size"),
    ("AlbertModel", "pooler_output"): (BATCH, "hidden_size"),
    ("AlbertForPreTraining", "prediction_logits"): (BATCH, TOKENS, "vocab_size"),
    ("AlbertForPreTraining", "sop_logits"): (BATCH, 2),
    ("AlbertForMaskedLM", "logits"): (BATCH, TOKENS, "vocab_size"),
    ("AlbertForSequenceClassification", "logits"): (BATCH, "num_labels"),
    ("AlbertForMultipleChoice", "logits"): (BATCH, CHOICES),
    ("AlbertForTokenClassification", "logits"): (BATCH, TOKENS, "num_labels"),
    ("AlbertForQuestionAnswering", "start_logits"): (BATCH, TOKENS),
    ("AlbertForQuestionAnswering", "end_logits"): (BATCH, TOKENS),
}


class Weight(NamedTuple):
    """An initializer before its values are read."""

    tensor: Tensor
    transpose: bool  # stored (in,out)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.tensor.shape[::-1] if self.transpose else self.tensor.shape

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * BYTES[self.tensor.dtype]

    def values(self) -> Array:
        """Little-endian, in C order."""
        x = stored_values(self.tensor)
        return transposed(x) if self.transpose else x


def onnx_model(model: AlbertPreTrainedModel) -> Any:
    """The onnx.ModelProto of a model, weights included. Raises ValueError where onnx is missing, or over 2 GB."""
    proto, weights = _parts(_stored(model), model.config, _architecture(model))
    for name, weight in weights.items():
        proto.graph.initializer.append(_head(name, weight))
        proto.graph.initializer[-1].raw_data = weight.values().tobytes()
    return proto


def write(path: str | os.PathLike, model: AlbertPreTrainedModel) -> None:
    """Writes a model as an ONNX file, which appears whole or not at all. One tensor at a time is copied.

    Raises ValueError where onnx is missing, or the weights are more than the 2 GB of an ONNX file, or OSError.
    """
    with atomic_path(path) as temporary:
        write_tensors(temporary, _stored(model), model.config, _architecture(model))


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], config: AlbertConfig, architecture: str = "AlbertModel"
) -> None:
    """Writes stored tensors, by Hugging Face's names, as an ONNX file: bit for bit the values, in the dtype of each.

    The tensors are those of the class `architecture`, and no others. An AlbertModel may have no pooler. Raises as `write`
    does, and ValueError if a name is missing or too many.
    """
    proto, weights = _parts(tensors, config, architecture)
    heads = {name: _head(name, weight).SerializeToString() for name, weight in weights.items()}
    lengths = {name: len(_field(9, weight.nbytes)) + weight.nbytes for name, weight in weights.items()}
    inner = proto.graph.SerializeToString()
    total = len(inner)
    for name, head in heads.items():
        length = len(head) + lengths[name]
        total += len(_field(5, length)) + length
    proto.ClearField("graph")
    with path.open("wb") as file:
        file.write(proto.SerializeToString() + _field(7, total) + inner)
        for name, weight in weights.items():
            file.write(_field(5, len(heads[name]) + lengths[name]) + heads[name] + _field(9, weight.nbytes))
            file.write(weight.values().data)


def _stored(model: AlbertPreTrainedModel) -> dict[str, Tensor]:
    return as_tensors(dict(model.named_parameters()))


def _architecture(model: AlbertPreTrainedModel) -> str:
    return next(kind.__name__ for kind in type(model).__mro__ if kind.__name__ in ARCHITECTURES)


def _parts(tensors: Mapping[str, Tensor], config: AlbertConfig, architecture: str) -> tuple[Any, dict[str, Weight]]:
    """The model without its weights, and these by the names they are stored under."""
    onnx = _onnx()
    parts = tuple(x for x in ARCHITECTURES[architecture] if architecture != "AlbertModel" or "pooler.weight" in tensors)
    steps = graph(config, architecture, pooler="pooler" in parts)
    weights = _weights(tensors, expected_shapes(config, parts), steps, parts)
    nodes = ModelNodes(onnx.helper.make_node, OPSET, config)
    values = {name: nodes.weight(hub_name(name, parts), x.tensor.dtype, x.transpose) for name, x in weights.items()}
    results = _nodes(nodes, steps, config, architecture, values)
    axes = (BATCH, CHOICES, TOKENS) if architecture == "AlbertForMultipleChoice" else (BATCH, TOKENS)
    described = onnx.helper.make_tensor_value_info
    made = onnx.helper.make_graph(
        nodes.made,
        architecture,
        [described(name, INT64, axes) for name in INPUTS],
        [
            described(name, FLOAT32, [getattr(config, str(x), x) for x in OUTPUT_AXES[architecture, name]])
            for name in results
        ],
        [tensor(onnx, name, x, "float32") for name, x in nodes.constants.items()],
    )
    proto = onnx.helper.make_model(
        made,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="albert_np",
        producer_version=__version__,
    )
    onnx.helper.set_model_props(proto, {"architecture": architecture, "config.json": config.to_json_string(False)})
    size = proto.ByteSize() + sum(weight.nbytes + 256 for weight in weights.values())
    if size > MAX_BYTES:
        raise ValueError(f"the model is {size:,} bytes as ONNX, and one file holds {MAX_BYTES:,}: store it in float16")
    return proto, {hub_name(name, parts): weight for name, weight in weights.items()}


def _onnx() -> Any:
    """The package onnx. Raises ValueError if it is not installed."""
    with imports.lock:
        try:
            import onnx
            import onnx.helper
        except ImportError as error:
            raise ValueError(
                'writing model.onnx needs onnx, which is not installed: pip install "albert-np[formats]"'
            ) from error
    return onnx


def _weights(
    tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], steps: list[Step], parts: tuple[str, ...]
) -> dict[str, Weight]:
    """The stored tensors by their names in names.py. Raises ValueError if they are not those of this config and class."""
    kernels = {step.weights[0] for step in steps if step.op == "linear"}
    tables = {step.weights[0] for step in steps if step.op == "gather"}
    wanted = {hub_name(name, parts): name for name in shapes}
    missing = [name for name in wanted if name not in tensors]
    unknown = [name for name in tensors if name not in wanted and name not in ALIASES]
    wrong = [
        x for x in wanted if x in tensors and (tensors[x].shape != shapes[wanted[x]] or tensors[x].dtype not in DTYPES)
    ]
    for what, names in (("lack", missing), ("do not know", unknown), ("have another shape or dtype for", wrong)):
        if names:
            raise ValueError(f"the weights of this class and config {what} {listed(names)}")
    return {name: Weight(tensors[stored], name in kernels - tables) for stored, name in wanted.items()}


def _nodes(
    nodes: ModelNodes, steps: list[Step], config: AlbertConfig, architecture: str, values: dict[str, str]
) -> list[str]:
    """Makes all nodes, and gives the names of the outputs. values: the weights' names in the graph, by those in names.py."""
    batch = dict(zip(INPUTS, INPUTS, strict=True))
    choices = architecture == "AlbertForMultipleChoice"
    if choices:
        batch = {name: nodes.flattened(name) for name in INPUTS}
    known = batch | values | {"position_ids": nodes.positions(batch["input_ids"])}
    known["allowed"] = nodes.added_mask(batch["attention_mask"])
    if config.position_embedding_type != "absolute":
        nodes.measure_distances(known["position_ids"], config.max_position_embeddings)
    for step in steps:
        if not step.beside:
            known[step.name] = nodes.op(step, [known[name] for name in (*step.inputs, *step.weights)])
    nodes.at("")
    made = []
    for name, step_name in outputs(steps, architecture).items():
        x = known[step_name]
        if architecture == "AlbertForQuestionAnswering":
            x = nodes.node("Gather", x, nodes.constant(["start_logits", "end_logits"].index(name), np.int64), axis=2)
        if architecture == "AlbertForMultipleChoice":
            x = nodes.node("Reshape", x, nodes.node("Shape", INPUTS[0], start=0, end=2))
        made.append(nodes.node("Identity", x, output=name))
    return made


def _head(name: str, weight: Weight) -> Any:
    """The TensorProto without its values."""
    onnx = _onnx()
    return onnx.TensorProto(name=name, dims=weight.shape, data_type=DTYPES[weight.tensor.dtype])


def _field(number: int, length: int) -> bytes:
    """What stands before a field of so many bytes in a protobuf message: number and wire type 2, then the length."""
    return _varint(number << 3 | 2) + _varint(length)


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the eighth says that more follow."""
    digits = bytearray()
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits, value])
