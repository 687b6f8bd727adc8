"""Each op of the graph in standard ops of ONNX. The methods are those of a table (golden/arithmetic.py), over names.

conversion/onnx_nodes.py makes whole models of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from albert_np.activations import ACTIVATIONS, SQRT_2_OVER_PI, gelu, gelu_new, silu
from albert_np.golden.graph import Step
from albert_np.golden.packs.pack import LARGEST, rounded
from albert_np.ops import Array, distances

Shape = tuple[int, ...]
# TensorProto's numbers
FLOAT32, INT32, BOOL = 1, 6, 9
HALF = {"float16": 10, "bfloat16": 16}


class Nodes:
    """The nodes of a graph while it is built. constants: arrays by name, floats in float64."""

    def __init__(self, make_node: Callable[..., Any], dtype: str, opset: int) -> None:
        self.made: list[Any] = []
        self.constants: dict[str, Array] = {}
        self._make, self._dtype = make_node, dtype
        self._has_gelu = opset >= 20 and dtype != "float64"  # runtimes have the constants of ONNX's own in float32
        self._shapes: dict[str, Shape] = {}

    def op(self, step: Step, names: Sequence[str], shapes: Sequence[Shape]) -> str:
        """Adds one step that reads these names, and returns the name of its output."""
        self._shapes |= dict(zip(names, shapes, strict=True))
        return str(getattr(self, step.op)(*names, **step.attributes))

    def node(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """One node; its output's name."""
        output = output or f"{kind.lower()}_{len(self.made)}"
        self.made.append(self._make(kind, list(inputs), [output], **attributes))
        return output

    def constant(self, value: Any, dtype: Any = np.float64) -> str:
        """A constant of the pack's dtype, or of int64. Equal ones are stored once."""
        x = rounded(np.asarray(value, dtype), self._dtype, "a constant")
        for name, other in self.constants.items():
            if other.dtype == x.dtype and np.array_equal(other, x, equal_nan=True):
                return name
        name = f"constant_{len(self.constants)}"
        self.constants[name] = x
        return name

    def whole(self, *values: int) -> str:
        """A constant list of whole numbers: axes, or a shape."""
        return self.constant(values, np.int64)

    # --- the table --------------------------------------------------------------------------------------------------

    def gather(self, ids: str, table: str) -> str:
        return self.node("Gather", table, ids)

    def add(self, *terms: str) -> str:
        total = terms[0]
        for term in terms[1:]:
            total = self.node("Add", total, term)
        return total

    def linear(self, x: str, weight: str, bias: str, *, first_token: bool = False) -> str:
        if first_token:
            x = self.node("Gather", x, self.constant(0, np.int64), axis=1)
        return self.node("Add", self.node("MatMul", x, self._kernel(weight)), bias)

    def _kernel(self, weight: str) -> str:  # (out,in) -> (in,out)
        return self.node("Transpose", weight, perm=[1, 0])

    def layer_norm(self, x: str, weight: str, bias: str, *, eps: float) -> str:
        if self._dtype != "float64":
            return self.node("LayerNormalization", x, weight, bias, axis=-1, epsilon=eps)
        centred = self.node("Sub", x, self._mean(x))  # ONNX's own takes its statistics in float32
        deviation = self.node("Sqrt", self.node("Add", self._mean_square(centred), self.constant(eps)))
        scaled = self.node("Mul", self.node("Div", centred, deviation), weight)
        return self.node("Add", scaled, bias)

    def mean(self, x: str) -> str:
        return self._narrow(self._mean(self._wide(x)))

    def variance(self, x: str) -> str:
        x = self._wide(x)
        return self._narrow(self._mean_square(self.node("Sub", x, self._mean(x))))

    def _mean(self, x: str) -> str:
        return self.node("ReduceMean", x, self.whole(-1), keepdims=1)

    def _mean_square(self, x: str) -> str:
        return self._mean(self.node("Mul", x, x))

    def _wide(self, x: str) -> str:
        """In float32, where LayerNormalization takes its statistics too."""
        return self.node("Cast", x, to=FLOAT32) if self._dtype in HALF else x

    def _narrow(self, x: str) -> str:
        return self.node("Cast", x, to=HALF[self._dtype]) if self._dtype in HALF else x

    def heads(self, x: str, *, num_heads: int) -> str:
        return self.node("Transpose", self._split(x, num_heads), perm=[0, 2, 1, 3])

    def _split(self, x: str, num_heads: int) -> str:  # (B,T,H) -> (B,T,N,D)
        return self.node("Reshape", x, self.whole(0, 0, num_heads, self._width(x) // num_heads))

    def _width(self, x: str) -> int:
        """H."""
        return self._shapes[x][-1]

    def scores(self, query: str, key: str, table: str = "", *, num_heads: int, position_type: str = "absolute") -> str:
        q = self.heads(query, num_heads=num_heads)
        k = self.node("Transpose", self._split(key, num_heads), perm=[0, 2, 3, 1])  # (B,N,D,T)
        scores = self.node("MatMul", q, k)
        scores = self.node("Div", scores, self.constant(math.sqrt(self._width(query) // num_heads)))
        if position_type == "absolute":
            return scores
        a = self._distance_vectors(table, query)
        scores = self.node("Add", scores, self._relative(query, a, num_heads, [1, 2, 0, 3]))
        if position_type == "relative_key_query":  # the rows are keys here: (T_j, B, N, T_i), and a[i−j] as [j, i]
            a = self.node("Transpose", a, perm=[2, 1, 0, 3])
            scores = self.node("Add", scores, self._relative(key, a, num_heads, [1, 2, 3, 0]))
        return scores

    def _distance_vectors(self, table: str, query: str) -> str:  # (2P−1,D) -> (T,1,T,D)
        """a[i−j] for query i and key j."""
        where = distances(self._shapes[query][1], self._shapes[table][0], None)
        return self.node("Gather", table, self.constant(where[:, None], np.int64))

    def _relative(self, x: str, a: str, num_heads: int, order: list[int]) -> str:
        """x·a for each row of the sequence with its own distances, as one batch of products."""
        rows = self.node("Transpose", self._split(x, num_heads), perm=[1, 0, 2, 3])  # (T,B,N,D)
        product = self.node("MatMul", rows, self.node("Transpose", a, perm=[0, 1, 3, 2]))  # (T,B,N,T)
        return self.node("Transpose", product, perm=order)

    def masked_scores(self, scores: str, allowed: str) -> str:
        return self.node("Where", allowed, scores, self.constant(-LARGEST[self._dtype]))

    def probs(self, scores: str, allowed: str, head_mask: str = "", *, mask_mode: str) -> str:
        probs = self.node("Softmax", self.masked_scores(scores, allowed), axis=-1)
        if mask_mode != "uniform":
            counted = self.node("Cast", allowed, to=INT32)  # ReduceMax takes no bool before opset 20
            most = self.node("ReduceMax", counted, self.whole(-1), keepdims=1)
            any_key = self.node("Cast", most, to=BOOL)
            probs = self.node("Where", any_key, probs, self.constant(0.0 if mask_mode == "zeros" else math.nan))
        if head_mask:
            probs = self.node("Mul", probs, self.node("Reshape", head_mask, self.whole(-1, 1, 1)))
        return probs

    def context(self, probs: str, value: str, *, num_heads: int) -> str:
        mixed = self.node("MatMul", probs, self.heads(value, num_heads=num_heads))
        mixed = self.node("Transpose", mixed, perm=[0, 2, 1, 3])
        return self.node("Reshape", mixed, self.whole(0, 0, self._width(value)))

    def activation(self, x: str, *, name: str) -> str:
        function = ACTIVATIONS[name]
        if function is silu:
            return self.node("Mul", x, self.node("Sigmoid", x))
        if function in (gelu, gelu_new) and self._has_gelu:
            return self.node("Gelu", x, approximate="tanh" if function is gelu_new else "none")
        if function is gelu_new:
            return self._gelu_new(x)
        if function is gelu:
            erf = self.node("Erf", self.node("Div", x, self.constant(math.sqrt(2.0))))
            twice = self.node("Mul", x, self.node("Add", erf, self.constant(1.0)))
            return self.node("Mul", twice, self.constant(0.5))
        return self.node(name.capitalize(), x)  # Relu, Tanh

    def _gelu_new(self, x: str) -> str:
        """x·sigmoid(2u), which keeps its digits where x is far below 0."""
        cubed = self.node("Mul", self.node("Mul", x, x), x)
        inner = self.node("Add", x, self.node("Mul", cubed, self.constant(0.044715)))
        return self.node("Mul", x, self.node("Sigmoid", self.node("Mul", inner, self.constant(2 * SQRT_2_OVER_PI))))

    def tanh(self, x: str) -> str:
        return self.node("Tanh", x)
