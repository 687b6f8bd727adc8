"""A model as model.onnx, with each shared weight stored once.

**What is in the file.** One initializer for each stored tensor, under the name that model.safetensors has for it, in its dtype
and with its bits. Matrices that MatMul reads lie as (in, out), the transpose of Hugging Face's, so that no Transpose runs;
tables, biases and LayerNorms lie as Hugging Face has them. A tied decoder reads the word table itself, through one Transpose.
So a reader asks the graph: an initializer, or the Cast of one, that is the second input of a MatMul has to be transposed back.
predictions.decoder.bias is not there, since it is predictions.bias. A position table that relative positions leave unused is.
Every other initializer is a small constant, whose name begins with "constant_". metadata_props has the class ("architecture")
and the text of config.json.

**What it computes.** float32, whatever is stored: tensors of float16, bfloat16 or float64 go through one Cast each, which
runtimes do when they load the file. A row whose tokens are all masked attends to all of them alike, as in transformers. Opset,
names and dynamic axes are those of optimum-onnx 0.1.0; it does not write pooler_output, nor AlbertForPreTraining.

**What was tried**, in ONNX Runtime 1.32 on AVX-512, with ALBERT-base and its vocabulary logits, one thread. Matrix products
take the same time in each, 15 ms for 1 × 8 and 105 ms for 1 × 128; all other kernels together take, in milliseconds,

    1 × 8   1 × 128
     1.2      9.7    this file
     1.2      9.7    matrices as Hugging Face has them, each behind a Transpose, which is folded at loading. But other runtimes
                     may not fold it, and quantizers look for weights right at the product
     1.3      9.9    query, key and value as one product, whose weights are put together by Concat (folded too), and Split
     1.2      9.6    LayerNorm of single ops, or Gelu of opset 20: the optimizer makes the same kernels of all
     1.5     11.8    gelu_new as x·sigmoid(2u), which it does not know
     1.7     18.6    T known as an axis of the hidden states: it makes SkipLayerNormalization of a sum and its LayerNorm, whose
                     kernel is ten times slower. Here T comes from Range, and so nobody knows that the axes are equal
     1.6      9.7    torch.onnx.export(dynamo=False)
     1.9     18.2    torch.onnx.export(dynamo=True)

One Loop over the layers is no faster, and takes as much memory: the runtime packs a shared matrix once, however many nodes read
it. Attention as one kernel is out of reach: the optimizer only knows the mask's Unsqueeze as it was before opset 13.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from albert_np import imports
from albert_np.calling import AlbertPreTrainedModel
from albert_np.checkpoints.formats.protocol import Tensor, as_tensors, stored_bytes, stored_values
from albert_np.checkpoints.formats.values import transposed
from albert_np.checkpoints.names import ALIASES, expected_shapes, hub_name
from albert_np.config import AlbertConfig
from albert_np.conversion.onnx_nodes import FLOAT32, INT64, ModelNodes
from albert_np.files import atomic_path, listed
from albert_np.golden.graph import ARCHITECTURES, Step, graph, outputs
from albert_np.golden.packs.onnx_model import MAX_BYTES, tensor
from albert_np.ops import Array
from albert_np.protobuf import BYTES, write_number
from albert_np.version import __version__

OPSET, IR_VERSION = 18, 8  # of optimum, and the format of files that came with it
DTYPES = {"F32": FLOAT32, "F16": 10, "F64": 11, "BF16": 16}  # safetensors' words -> TensorProto's numbers
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
        return stored_bytes(self.tensor)

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
    pooler = "pooler.weight" in tensors or architecture != "AlbertModel"
    steps = graph(config, architecture, pooler=pooler)
    parts = ARCHITECTURES[architecture] if pooler else ()
    weights = _weights(tensors, config, architecture, parts, steps)
    nodes = ModelNodes(onnx.helper.make_node, OPSET, config)
    values = {name: nodes.weight(hub_name(name, parts), x.tensor.dtype, x.transpose) for name, x in weights.items()}
    ends = _nodes(nodes, steps, config, architecture, values)
    axes = (BATCH, CHOICES, TOKENS) if architecture == "AlbertForMultipleChoice" else (BATCH, TOKENS)
    sizes = {name: [getattr(config, str(x), x) for x in OUTPUT_AXES[architecture, name]] for name in ends}
    described = onnx.helper.make_tensor_value_info
    made = onnx.helper.make_graph(
        nodes.made,
        architecture,
        [described(name, INT64, axes) for name in INPUTS],
        [described(name, FLOAT32, size) for name, size in sizes.items()],
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
    stored = {hub_name(name, parts): weight for name, weight in weights.items()}
    size = proto.ByteSize() + sum(weight.nbytes + len(name) + 64 for name, weight in stored.items())
    if size > MAX_BYTES:
        raise ValueError(
            f"as ONNX the model is {size:,} bytes, and one file holds {MAX_BYTES:,}: store the weights in float16"
        )
    return proto, stored


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
    tensors: Mapping[str, Tensor], config: AlbertConfig, architecture: str, parts: tuple[str, ...], steps: list[Step]
) -> dict[str, Weight]:
    """The stored tensors by their names in names.py. Raises ValueError if they are not those of this config and class."""
    shapes = expected_shapes(config, parts)
    kernels = {step.weights[0] for step in steps if step.op == "linear"}
    tables = {step.weights[0] for step in steps if step.op == "gather"}
    wanted = {hub_name(name, parts): name for name in shapes}
    missing = [name for name in wanted if name not in tensors]
    unknown = [name for name in tensors if name not in wanted and name not in ALIASES]
    wrong = [
        x for x in wanted if x in tensors and (tensors[x].shape != shapes[wanted[x]] or tensors[x].dtype not in DTYPES)
    ]
    for names, what in (
        (missing, "needs {}, which the tensors to be written lack"),
        (unknown, "has no place for {}: leave out what it does not compute with"),
        (wrong, "has another shape for {}, or it is none of F32, F16, BF16 and F64"),
    ):
        if names:
            raise ValueError(f"{architecture} with this config {what.format(listed(names))}")
    return {name: Weight(tensors[stored], name in kernels - tables) for stored, name in wanted.items()}


def _nodes(
    nodes: ModelNodes, steps: list[Step], config: AlbertConfig, architecture: str, values: dict[str, str]
) -> list[str]:
    """Makes all nodes, and gives the names of the outputs. values: the weights' names in the graph, by those in names.py."""
    batch = dict(zip(INPUTS, INPUTS, strict=True))
    choices = architecture == "AlbertForMultipleChoice"
    if choices:
        batch = {name: nodes.flattened(name) for name in INPUTS}
    known = batch | values | {"allowed": nodes.added_mask(batch["attention_mask"])}
    positions = nodes.positions(batch["input_ids"])
    if config.position_embedding_type == "absolute":
        known["position_ids"] = nodes.node("Unsqueeze", positions, nodes.whole(0))  # (1,T)
    else:
        nodes.measure_distances(positions, config.max_position_embeddings)
    ends = outputs(steps, architecture)
    for step in steps:
        if step.beside:
            continue
        x = known[step.name] = nodes.op(step, [known[name] for name in (*step.inputs, *step.weights)])
        for name in [field for field, last in ends.items() if last == step.name]:
            if architecture == "AlbertForQuestionAnswering":
                column = nodes.constant(["start_logits", "end_logits"].index(name), np.int64)
                nodes.node("Gather", x, column, axis=2, output=name)
            elif choices:
                nodes.node("Reshape", x, nodes.node("Shape", INPUTS[0], start=0, end=2), output=name)
            else:
                known[step.name] = nodes.called(name)
    return list(ends)


def _head(name: str, weight: Weight) -> Any:
    """The TensorProto without its values."""
    onnx = _onnx()
    return onnx.TensorProto(name=name, dims=weight.shape, data_type=DTYPES[weight.tensor.dtype])


def _field(number: int, length: int) -> bytes:
    """What stands before a field of so many bytes in a protobuf message: its number and wire type, then the length."""
    return write_number(number << 3 | BYTES) + write_number(length)
