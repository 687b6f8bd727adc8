"""ALBERT as an ONNX graph, written node by node with onnx.helper, in the ways that exporters have of writing it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from albert_np import AlbertConfig
from albert_np.encoder import applications, layer_name

INPUTS = ("input_ids", "attention_mask", "token_type_ids")


@dataclass
class Style:
    """How a graph is written. The defaults are those of torch's newer exporter, with Hugging Face's names."""

    folded: bool = True  # kernels stored as MatMul wants them; else as Hugging Face's, with a Transpose
    anonymous: bool = False  # names that say nothing
    copies: bool = False  # each use has its own initializer
    plain_norm: bool = False  # LayerNorm in single operations
    gemm: bool = False  # the pooler's map as Gemm
    constants: bool = False  # Constant nodes instead of initializers
    layers: int | None = None  # how often a layer is applied, where the config says something else
    bias: dict[str, None] = field(default_factory=dict)  # modules without bias


class Graph:
    """Nodes and initializers of one graph. `weights`: Hugging Face's names without "albert.", PyTorch's orientation."""

    def __init__(self, weights: dict[str, np.ndarray], config: AlbertConfig, style: Style) -> None:
        self.weights, self.config, self.style = weights, config, style
        self.nodes: list[Any] = []
        self.stored: dict[str, np.ndarray] = {}
        self.of: dict[str, list[str]] = {}  # a weight -> the names it is stored under

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        output = f"value_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def number(self, value: Any, dtype: Any = np.float32) -> str:
        name = f"constant_{len(self.stored)}"
        self.stored[name] = np.asarray(value, dtype)
        return name

    def weight(self, name: str, *, transpose: bool = False) -> str:
        key = f"{name}{'^T' if transpose else ''}"
        if key in self.of and not self.style.copies:
            return self.of[key][0]
        stored = f"w{len(self.stored)}" if self.style.anonymous else name
        while stored in self.stored:
            stored += "_"
        x = self.weights[name]
        self.stored[stored] = np.ascontiguousarray(x.T) if transpose else x
        self.of.setdefault(key, []).append(stored)
        return stored

    def linear(self, x: str, module: str) -> str:
        if self.style.gemm and module in ("pooler", "classifier"):
            return self.op("Gemm", x, self.weight(f"{module}.weight"), self.weight(f"{module}.bias"), transB=1)
        if self.style.folded:
            kernel = self.weight(f"{module}.weight", transpose=True)
        else:
            kernel = self.op("Transpose", self.weight(f"{module}.weight"), perm=[1, 0])
        product = self.op("MatMul", x, kernel)
        return product if module in self.style.bias else self.op("Add", self.weight(f"{module}.bias"), product)

    def norm(self, x: str, module: str) -> str:
        weight, bias, eps = self.weight(f"{module}.weight"), self.weight(f"{module}.bias"), self.config.layer_norm_eps
        if not self.style.plain_norm:
            return self.op("LayerNormalization", x, weight, bias, axis=-1, epsilon=eps)
        centred = self.op("Sub", x, self.op("ReduceMean", x, self.number([-1], np.int64)))
        square = self.op("Pow", centred, self.number(2.0))
        spread = self.op(
            "Sqrt", self.op("Add", self.op("ReduceMean", square, self.number([-1], np.int64)), self.number(eps))
        )
        return self.op("Add", self.op("Mul", self.op("Div", centred, spread), weight), bias)

    def heads(self, x: str) -> str:
        shape = self.number([0, 0, self.config.num_attention_heads, self.config.head_size], np.int64)
        return self.op("Transpose", self.op("Reshape", x, shape), perm=[0, 2, 1, 3])

    def layer(self, x: str, at: str, mask: str) -> str:
        q, k, v = (self.heads(self.linear(x, f"{at}.attention.{name}")) for name in ("query", "key", "value"))
        scores = self.op("MatMul", q, self.op("Transpose", k, perm=[0, 1, 3, 2]))
        scores = self.op("Div", scores, self.number(np.sqrt(self.config.head_size)))
        probabilities = self.op("Softmax", self.op("Add", scores, mask), axis=-1)
        context = self.op("Transpose", self.op("MatMul", probabilities, v), perm=[0, 2, 1, 3])
        context = self.op("Reshape", context, self.number([0, 0, self.config.hidden_size], np.int64))
        dense = self.linear(context, f"{at}.attention.dense")
        middle = self.norm(self.op("Add", x, dense), f"{at}.attention.LayerNorm")
        inner = self.op("Relu", self.linear(middle, f"{at}.ffn"))
        return self.norm(self.op("Add", self.linear(inner, f"{at}.ffn_output"), middle), f"{at}.full_layer_layer_norm")

    def base(self) -> str:
        """The encoder's output."""
        tables = (self.weight(f"embeddings.{name}_embeddings.weight") for name in ("word", "token_type", "position"))
        words, types, positions = tables
        x = self.op("Add", self.op("Gather", words, "input_ids"), self.op("Gather", types, "token_type_ids"))
        ids = self.number(np.arange(self.config.max_position_embeddings)[None], np.int64)
        length = self.op("Gather", self.op("Shape", "input_ids"), self.number([1], np.int64))
        ids = self.op("Slice", ids, self.number([0], np.int64), length, self.number([1], np.int64))
        x = self.norm(self.op("Add", x, self.op("Gather", positions, ids)), "embeddings.LayerNorm")
        mask = self.op("Cast", self.op("Sub", self.number(1, np.int64), "attention_mask"), to=TensorProto.FLOAT)
        mask = self.op("Mul", mask, self.number(-1e30))
        mask = self.op("Unsqueeze", mask, self.number([1, 2], np.int64))
        x = self.linear(x, "encoder.embedding_hidden_mapping_in")
        layers = list(applications(self.config))
        for _, group, inner in layers if self.style.layers is None else layers[:1] * self.style.layers:
            x = self.layer(x, layer_name(group, inner), mask)
        return x

    def masked_lm(self) -> list[str]:
        x = self.norm(self.op("Relu", self.linear(self.base(), "predictions.dense")), "predictions.LayerNorm")
        if "predictions.decoder.weight" in self.weights:
            kernel = self.weight("predictions.decoder.weight", transpose=True)
        elif self.style.folded:
            kernel = self.weight("embeddings.word_embeddings.weight", transpose=True)
        else:
            kernel = self.op("Transpose", self.weight("embeddings.word_embeddings.weight"))
        return [self.op("Add", self.op("MatMul", x, kernel), self.weight("predictions.bias"))]

    def sequence(self) -> list[str]:
        first = self.op("Gather", self.base(), self.number(0, np.int64), axis=1)
        return [self.linear(self.op("Tanh", self.linear(first, "pooler")), "classifier")]

    def question(self) -> list[str]:
        logits = self.linear(self.base(), "qa_outputs")
        parts = ["start", "end"]
        self.nodes.append(helper.make_node("Split", [logits], parts, axis=-1, num_outputs=2))
        return [self.op("Squeeze", part, self.number([-1], np.int64)) for part in parts]

    def model(self, outputs: Iterable[str], **changed: Any) -> onnx.ModelProto:
        tensors = [numpy_helper.from_array(x, name) for name, x in self.stored.items()]
        nodes = self.nodes
        if self.style.constants:
            nodes = [helper.make_node("Constant", [], [x.name], value=x) for x in tensors] + nodes
            tensors = []
        inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["B", "T"]) for name in INPUTS]
        results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
        graph = helper.make_graph(nodes, "albert", inputs, results, tensors)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8, **changed)


class FusedGraph(Graph):
    """The same in ONNX Runtime's own operators, as its optimizers put them together. Read only: nothing here runs it."""

    def fused(self, kind: str, *inputs: str, **attributes: Any) -> str:
        return self.op(kind, *inputs, domain="com.microsoft", **attributes)

    def product(self, x: str, module: str) -> str:
        return self.fused("FusedMatMul", x, self.weight(f"{module}.weight", transpose=True))

    def joined(self, *names: str) -> str:
        """Vectors end to end, in one initializer."""
        return self.number(np.concatenate([self.weights[name] for name in names]))

    def skip(self, x: str, before: str, module: str, norm: str) -> str:
        """A map, its bias, the residual and the LayerNorm behind it."""
        ends = (self.weight(f"{norm}.weight"), self.weight(f"{norm}.bias"), self.weight(f"{module}.bias"))
        return self.fused("SkipLayerNormalization", self.product(x, module), before, *ends)

    def layer(self, x: str, at: str, mask: str) -> str:
        parts = [f"{at}.attention.{name}" for name in ("query", "key", "value")]
        bias = self.joined(*(f"{part}.bias" for part in parts))
        N = self.config.num_attention_heads
        if at.endswith("0"):
            qkv = [self.product(x, part) for part in parts]
            context = self.fused("MultiHeadAttention", *qkv, bias, mask, num_heads=N)
        else:
            kernel = self.number(np.concatenate([self.weights[f"{part}.weight"].T for part in parts], axis=1))
            context = self.fused("Attention", x, kernel, bias, mask, num_heads=N)
        middle = self.skip(context, x, f"{at}.attention.dense", f"{at}.attention.LayerNorm")
        inner = self.fused("BiasGelu", self.product(middle, f"{at}.ffn"), self.weight(f"{at}.ffn.bias"))
        return self.skip(inner, middle, f"{at}.ffn_output", f"{at}.full_layer_layer_norm")

    def base(self) -> str:
        tables = [self.weight(f"embeddings.{name}_embeddings.weight") for name in ("word", "position", "token_type")]
        norm = [self.weight(f"embeddings.LayerNorm.{name}") for name in ("weight", "bias")]
        x = self.fused("EmbedLayerNormalization", "input_ids", "token_type_ids", *tables, *norm, "attention_mask")
        x = self.linear(x, "encoder.embedding_hidden_mapping_in")
        for _, group, inner in applications(self.config):
            x = self.layer(x, layer_name(group, inner), "attention_mask")
        return x

    def sequence(self) -> list[str]:
        first = self.op("Gather", self.base(), self.number(0, np.int64), axis=1)
        ends = (self.weight("pooler.weight"), self.weight("pooler.bias"))
        return [self.linear(self.fused("FusedGemm", first, *ends, activation="Tanh", transB=1), "classifier")]
