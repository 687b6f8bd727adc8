"""The nodes of a whole model in ONNX: those of single ops (golden/packs/onnx_nodes.py), for any B and T."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from albert_np.activations import SQRT_2_OVER_PI
from albert_np.config import AlbertConfig
from albert_np.golden.graph import Step
from albert_np.golden.packs.onnx_nodes import FLOAT32, Nodes, Shape

INT64 = 7  # TensorProto's number


class ModelNodes(Nodes):
    """The nodes of a model that computes in float32, named as torch's exporter names them: /albert/encoder/…/query_3/MatMul.

    The number is that of the application, from 0, and the first has none. doc_string is Hugging Face's name of the module.
    """

    def __init__(self, make_node: Callable[..., Any], opset: int, config: AlbertConfig) -> None:
        super().__init__(make_node, "float32", opset)
        self._config = config
        self._place, self._module, self._distances = "", "", ""
        self._kernels: set[str] = set()  # the matrices that are stored (in,out), as MatMul reads them
        self._names: dict[str, int] = {}
        self._once: dict[tuple[str, ...], str] = {}  # what is computed once, and read by every application

    def op(self, step: Step, names: Sequence[str], shapes: Sequence[Shape] = ()) -> str:
        self.at(step.module, step.application)
        return super().op(step, names, [(0, 0, self._config.hidden_size)] * len(names))

    def at(self, module: str, application: int | None = None) -> None:
        """The nodes that follow belong to this module of Hugging Face's."""
        self._module, self._place = module, "".join(f"/{part}" for part in module.split(".") if part)
        if application:
            self._place += f"_{application}"

    def node(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        name = f"{self._place}/{kind}"
        number = self._names[name] = self._names.get(name, -1) + 1
        name += f"_{number}" if number else ""
        output = output or f"{name}_output_0"
        return super().node(kind, *inputs, output=output, name=name, doc_string=self._module, **attributes)

    def called(self, name: str) -> str:
        """Gives the output of the last node another name."""
        self.made[-1].output[0] = name
        return name

    def once(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """The output of a node that is there once, whoever asks for it again."""
        key = (kind, *inputs, str(attributes))
        if key not in self._once:
            self._once[key] = self.node(kind, *inputs, **attributes)
        return self._once[key]

    def weight(self, name: str, dtype: str, transposed: bool) -> str:
        """A stored tensor as float32. transposed: it is a matrix that is stored (in,out)."""
        x = name if dtype == "F32" else self.node("Cast", name, to=FLOAT32)
        if transposed:
            self._kernels.add(x)
        return x

    # --- the inputs -------------------------------------------------------------------------------------------------------

    def flattened(self, x: str) -> str:
        """(B,choices,T) -> (B·choices,T)"""
        shape = self.node("Concat", self.whole(-1), self.once("Shape", x, start=2), axis=0)
        return self.node("Reshape", x, shape)

    def positions(self, ids: str) -> str:  # (B,T) -> (T,)
        """0 … T−1. That they are as many as the tokens is not said to the runtime: onnx_model.py has why."""
        length = self.node("Squeeze", self.node("Shape", ids, start=1, end=2), self.whole(0))
        return self.node("Range", self.constant(0, np.int64), length, self.constant(1, np.int64))

    def added_mask(self, mask: str) -> str:  # (B,T) int64 -> (B,1,1,T)
        """0 where a token may be attended to, else the lowest float32, as transformers adds it."""
        mask = self.node("Unsqueeze", self.node("Unsqueeze", mask, self.whole(1)), self.whole(2))
        hidden = self.node("Sub", self.constant(1.0), self.node("Cast", mask, to=FLOAT32))
        return self.node("Mul", hidden, self.constant(float(np.finfo(np.float32).min)))

    def measure_distances(self, positions: str, P: int) -> None:  # (T,) -> (T,1,T)
        """Computes i − j + P − 1, the rows of all tables of distances, which attention reads from then on."""
        i, j = (self.node("Unsqueeze", positions, self.whole(*axes)) for axes in ((1, 2), (0, 1)))
        self._distances = self.node("Add", self.node("Sub", i, j), self.constant(P - 1, np.int64))

    # --- the table --------------------------------------------------------------------------------------------------------

    def _kernel(self, weight: str) -> str:
        return weight if weight in self._kernels else self.once("Transpose", weight, perm=[1, 0])

    def masked_scores(self, scores: str, allowed: str) -> str:
        return self.node("Add", scores, allowed)

    def _distance_vectors(self, table: str, query: str) -> str:  # (2P−1,D) -> (T,1,T,D)
        return self.once("Gather", table, self._distances)

    def _gelu_new(self, x: str) -> str:
        """½x·(1 + tanh u): the form that runtimes know, and fuse."""
        cubed = self.node("Pow", x, self.constant(3.0))
        inner = self.node("Add", x, self.node("Mul", cubed, self.constant(0.044715)))
        u = self.node("Mul", inner, self.constant(SQRT_2_OVER_PI))
        half = self.node("Mul", x, self.constant(0.5))
        return self.node("Mul", half, self.node("Add", self.node("Tanh", u), self.constant(1.0)))
