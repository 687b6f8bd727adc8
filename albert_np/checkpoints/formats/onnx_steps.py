"""The steps of a graph: the operations that have weights, and from which other steps each of them reads.

A step is a lookup in a table, a linear map or a LayerNorm. Exporters spell each of them in several ways, and put dozens of
other operations between them. A Walk follows the values through these, from the first node to the last. In the end the
attention's output map, say, reads from the steps of query, key and value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from albert_np.checkpoints.formats.onnx_file import Graph, Node, Stored
from albert_np.checkpoints.formats.values import transposed
from albert_np.files import shown
from albert_np.ops import Array

Steps = frozenset[int]  # by their numbers
NONE: Steps = frozenset()
# What a value may be made of at most. A stack of all hidden states is made of more, and no step reads it
MAX_ORIGINS = 64
MANY: Steps = frozenset({-1})

# operations whose result has the numbers of their first input; the other inputs say how they are laid out
LAYOUT = {
    *("Cast", "CastLike", "Dropout", "Expand", "Flatten", "Identity", "Reshape", "Squeeze", "Tile", "Unsqueeze"),
    *("Slice", "Transpose", "Split", "Pad", "Gather", "GatherND", "GatherElements"),
}
SAME = {"Cast", "CastLike", "Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"}  # nor a number less
SHAPES = {"Shape", "Size", "ConstantOfShape"}  # what they give is made of no values
PRODUCTS = {"MatMul", "com.microsoft.FusedMatMul", "com.microsoft.TransposeMatMul"}
LINEAR = {*PRODUCTS, "Gemm", "com.microsoft.FusedGemm", "com.microsoft.GemmFastGelu"}
BIASED = {"com.microsoft.BiasGelu", "com.microsoft.FastGelu"}
NORMS = {"LayerNormalization", "com.microsoft.LayerNormalization", "com.microsoft.SkipLayerNormalization"}
ATTENTIONS = {"Attention", "com.microsoft.MultiHeadAttention"}
# parts of the names of operations on quantized numbers
QUANTIZED = re.compile("quant|qlinear|integer|nbits|bnb4|fpq4|qattention|qgemm|qembed|qordered|qmoe", re.IGNORECASE)


@dataclass(frozen=True)
class View:
    """A constant as a step uses it: all of it or a part, perhaps transposed."""

    stored: Stored
    transposed: bool = False
    part: tuple[int, int] | None = None  # of the last axis, as it is stored
    shape: tuple[int, ...] = ()

    @staticmethod
    def of(stored: Stored) -> View:
        return View(stored, shape=stored.shape)

    def turned(self) -> View:
        return View(self.stored, not self.transposed, self.part, self.shape[::-1])

    def third(self, i: int) -> View:
        """One of three equal parts, side by side, of what stands together."""
        size = self.shape[-1] // 3
        return View(self.stored, False, (i * size, (i + 1) * size), (*self.shape[:-1], size))

    def vector(self) -> View:
        """The same without leading axes of length 1."""
        return View(self.stored, self.transposed, self.part, self.shape[-1:])

    def load(self) -> Array:
        return self.oriented(self.as_stored())

    def as_stored(self) -> Array:
        """The values, not transposed."""
        x = self.stored.load()
        return x if self.part is None else np.ascontiguousarray(x[..., slice(*self.part)])

    def oriented(self, x: Array) -> Array:
        return (transposed(x) if self.transposed else x).reshape(self.shape)


@dataclass
class Step:
    """A lookup (weight: the table), a linear map (weight: out × in, as Hugging Face's) or a norm."""

    kind: str  # "lookup", "linear" or "norm"
    sources: Steps
    weight: View
    bias: View | None = None
    role: str = ""  # of a lookup, where the operation says it: "word", "position" or "token_type"
    index: Value | None = None  # of a lookup
    fixed: bool = False  # whether it was looked up when the graph was made
    read_by: set[str] = field(default_factory=set)  # the operations that read its result itself
    # whether something that is no constant vector, and not made of steps, is added to its result: a bias in disguise?
    unclear: bool = False


class Value(NamedTuple):
    """What is known of a value between two nodes."""

    origins: Steps = NONE  # the steps whose results it was computed from, by operations that are no steps
    direct: int | None = None  # the step whose result it is, all of it and unchanged
    inputs: frozenset[str] = frozenset()  # of the graph, from whose values (not shapes alone) it was computed
    constants: frozenset[str] = frozenset()  # of more than one number, from which it was computed
    counts: bool = False  # whether a Range or CumSum is among what it was computed from


class Walk:
    """The steps of one graph, and `products`: from which steps the two factors of each product were computed."""

    def __init__(self, graph: Graph, what: str) -> None:
        self.what = what
        self.steps: list[Step] = []
        self.products: list[tuple[Steps, Steps]] = []
        self.views = {name: View.of(stored) for name, stored in graph.constants.items() if name}
        self.values = {name: Value(inputs=frozenset({name})) for name in graph.inputs if name not in self.views}
        self.read = {name for node in graph.nodes for name in (*node.inputs, *node.captured)}
        for node in graph.nodes:
            self._refuse_quantized(node)
            if node.outputs and not self._constant(node):
                self._node(node)
        self.results = {self._value(name).direct for name in graph.outputs}  # steps whose results are the graph's

    def weights(self) -> list[View]:
        """All weights and biases of the steps."""
        return [view for step in self.steps for view in (step.weight, step.bias) if view is not None]

    def _refuse_quantized(self, node: Node) -> None:
        if QUANTIZED.search(node.op):
            raise ValueError(
                f"{self.what} is quantized ({shown(node.op, 60)}): its weights are gone; read the model that it was made of"
            )

    # --- constants ------------------------------------------------------------------------------------------------

    def _constant(self, node: Node) -> bool:
        """Whether the node's result is a constant in another form; then it is noted."""
        if node.op == "Constant":
            value = node.attributes.get("value")
            if isinstance(value, Stored):
                self.views[node.outputs[0]] = View.of(value._replace(name=value.name or node.outputs[0]))
            return True
        view = self.views.get(node.inputs[0]) if node.inputs else None
        if view is None:
            return False
        if node.op in ("Identity", "Cast", "CastLike"):
            self.views[node.outputs[0]] = view
        elif node.op == "Transpose" and len(view.shape) == 2 and node.attributes.get("perm", [1, 0]) == [1, 0]:
            self.views[node.outputs[0]] = view.turned()
        else:
            return False
        return True

    def _weight(self, name: str, dimensions: int) -> View | None:
        view = self.views.get(name)
        return view if view is not None and view.stored.is_float and len(view.shape) == dimensions else None

    def _vector(self, name: str) -> View | None:
        """A constant that is added to each row, or multiplied with it."""
        view = self.views.get(name)
        if view is None or not view.stored.is_float or not view.shape or set(view.shape[:-1]) - {1}:
            return None
        return view.vector()

    # --- values ---------------------------------------------------------------------------------------------------

    def _value(self, name: str) -> Value:
        if name in self.values:
            return self.values[name]
        view = self.views.get(name)
        several = view is not None and math.prod(view.shape) > 1
        return Value(constants=frozenset({name} if several else ()))

    def _step(self, step: Step, node: Node) -> Step:
        self.steps.append(step)
        self._result(len(self.steps) - 1, node)
        return step

    def _result(self, number: int, node: Node) -> None:
        self.values[node.outputs[0]] = Value(frozenset({number}), number)

    def _node(self, node: Node) -> None:
        values = [self._value(name) for name in (*node.inputs, *node.captured)]
        for value in values:
            if value.direct is not None:
                self.steps[value.direct].read_by.add(node.op)
        rules = (self._lookup, self._linear, self._norm, self._bias, self._scale, self._packed, self._embeddings)
        if not any(rule(node, values) for rule in rules):
            self._multiply(node, values)
            self._pass(node, values)

    def _pass(self, node: Node, values: list[Value]) -> None:
        """An operation without weights: its results are made of what its inputs are made of."""
        if node.op in SHAPES:
            values = []
        elif node.op in LAYOUT and not node.captured:
            values = values[:1]
        made = Value(
            union(value.origins for value in values),
            values[0].direct if node.op in SAME and values else None,
            union(value.inputs for value in values),
            union(value.constants for value in values),
            node.op in ("Range", "CumSum") or any(value.counts for value in values),
        )
        for name in node.outputs:
            self.values[name] = made

    # --- steps; each rule says whether the node was one -----------------------------------------------------------

    def _lookup(self, node: Node, values: list[Value]) -> bool:
        table = self._weight(node.inputs[0], 2) if node.op == "Gather" and len(node.inputs) == 2 else None
        if table is None or node.attributes.get("axis", 0) != 0:
            return False
        self._step(Step("lookup", NONE, table, index=values[1]), node)
        return True

    def _linear(self, node: Node, values: list[Value]) -> bool:
        weight = self._weight(node.inputs[1], 2) if node.op in LINEAR and len(node.inputs) > 1 else None
        if weight is None or not values[0].origins:
            return False
        flags = node.attributes
        if flags.get("transA", 0) or any(flags.get(name, 1) != 1 for name in ("alpha", "beta")):
            raise ValueError(
                f"{self.what} has a {node.op} with alpha, beta or transA, which a linear layer does not have"
            )
        if not flags.get("transB", 0):
            weight = weight.turned()
        bias = self._vector(node.inputs[2]) if len(node.inputs) > 2 else None
        step = self._step(Step("linear", values[0].origins, weight, bias), node)
        step.read_by.add(str(flags.get("activation", "")))
        return True

    def _norm(self, node: Node, values: list[Value]) -> bool:
        if node.op not in NORMS:
            return False
        first = 2 if node.op.endswith("SkipLayerNormalization") else 1
        weight = self._vector(node.inputs[first]) if len(node.inputs) > first else None
        if weight is None:
            return False
        bias = self._vector(node.inputs[first + 1]) if len(node.inputs) > first + 1 else None
        if first == 2 and len(node.inputs) > 4:
            self._add_bias(values[:2], self._vector(node.inputs[4]))
        self._step(Step("norm", union(value.origins for value in values[:first]), weight, bias), node)
        return True

    def _add_bias(self, values: list[Value], bias: View | None) -> int | None:
        """Gives a step, whose result one of the values is, the bias that it lacks. Returns the step's number."""
        for value in values:
            step = self.steps[value.direct] if value.direct is not None else None
            if bias is None or step is None or step.bias is not None or step.kind == "lookup":
                continue
            if bias.shape == step.weight.shape[:1]:
                step.bias = bias
                return value.direct
        return None

    def _bias(self, node: Node, values: list[Value]) -> bool:
        if node.op == "Add" and len(node.inputs) == 2:
            pairs = [(0, 1), (1, 0)]
        elif node.op in BIASED and len(node.inputs) == 2:
            pairs = [(0, 1)]
        else:
            return False
        for x, bias in pairs:
            number = self._add_bias([values[x]], self._vector(node.inputs[bias]))
            if number is not None:
                self._result(number, node)
                if node.op in BIASED:
                    self.values[node.outputs[0]] = Value(frozenset({number}))
                return True
            if node.op == "Add" and self._folded(node, values[x], node.inputs[bias]):
                return True
            direct = values[x].direct
            if direct is not None and not values[bias].origins:
                self.steps[direct].unclear = True
        return False

    def _folded(self, node: Node, x: Value, name: str) -> bool:
        """Rows of a table that were looked up when the graph was made, for a fixed length of the text."""
        view = self.views.get(name)
        looked_up = bool(x.origins) and all(n >= 0 and self.steps[n].kind == "lookup" for n in x.origins)
        if view is None or not view.stored.is_float or len(view.shape) < 2 or not looked_up or view.transposed:
            return False
        if set(view.shape[:-2]) - {1} or any(self.steps[n].fixed for n in x.origins):
            raise ValueError(
                f"{self.what} has no token type embeddings, only what they add to texts of one kind and size: export it with "
                "token_type_ids as an input, or with dynamic axes"
            )
        rows = View(view.stored, shape=view.shape[-2:])
        self.steps.append(Step("lookup", NONE, rows, index=Value(counts=True), fixed=True))
        self.values[node.outputs[0]] = Value(x.origins | {len(self.steps) - 1})
        return True

    def _scale(self, node: Node, values: list[Value]) -> bool:
        """The end of a LayerNorm in single operations: (x - mean) / deviation · weight, to which the bias is added."""
        if node.op != "Mul" or len(node.inputs) != 2:
            return False
        for x, weight in ((0, 1), (1, 0)):
            view = self._vector(node.inputs[weight])
            if view is not None and view.shape[0] > 1 and values[x].origins and values[x].direct is None:
                self._step(Step("norm", values[x].origins, view), node)
                return True
        return False

    def _packed(self, node: Node, values: list[Value]) -> bool:
        """ONNX Runtime's attention, in which the three maps are one: x, weight (in, 3·out), bias (3·out)."""
        if node.op != "com.microsoft.Attention" or len(node.inputs) < 3:
            return False
        weight, bias = self._weight(node.inputs[1], 2), self._vector(node.inputs[2])
        sizes = node.attributes.get("qkv_hidden_sizes") or []
        equal = isinstance(sizes, list) and len(set(sizes)) < 2 and weight is not None and weight.shape[1] % 3 == 0
        if weight is None or bias is None or weight.transposed or not equal or bias.shape != weight.shape[1:]:
            raise ValueError(
                f"{self.what} has an Attention whose query, key and value are not three equal parts of a constant"
            )
        first = len(self.steps)
        for i in range(3):
            self.steps.append(Step("linear", values[0].origins, weight.third(i).turned(), bias.third(i)))
        query, key, value = (frozenset({first + i}) for i in range(3))
        self.products += [(query, key), (query | key, value)]
        self._pass(node, [Value(query | key | value)])
        return True

    def _multiply(self, node: Node, values: list[Value]) -> None:
        """Notes the products of two values: those of attention are query · key and probabilities · value.

        An operation may be the whole of attention. ONNX Runtime's adds the three biases, end to end, too.
        """
        if node.op in PRODUCTS and len(node.inputs) == 2:
            self.products.append((values[0].origins, values[1].origins))
        elif node.op in ATTENTIONS and len(node.inputs) > 2:
            biased = len(node.inputs) > 3 and node.op != "Attention"
            bias = self._vector(node.inputs[3]) if biased else None
            for i, value in enumerate(values[:3]):
                if bias is not None and bias.shape[0] % 3 == 0:
                    self._add_bias([value], bias.third(i))
            q, k, v = (value.origins for value in values[:3])
            self.products += [(q, k), (q | k, v)]

    def _embeddings(self, node: Node, values: list[Value]) -> bool:
        """ONNX Runtime's EmbedLayerNormalization: ids, segments, word, position and segment tables, weight, bias."""
        if node.op != "com.microsoft.EmbedLayerNormalization" or len(node.inputs) < 7:
            return False
        first = len(self.steps)
        for role, name in zip(("word", "position", "token_type"), node.inputs[2:5], strict=True):
            table = self._weight(name, 2)
            if table is not None:
                self.steps.append(Step("lookup", NONE, table, role=role))
        weight, bias = self._vector(node.inputs[5]), self._vector(node.inputs[6])
        if weight is None:
            raise ValueError(f"{self.what} has an EmbedLayerNormalization without constant weights")
        self._step(Step("norm", frozenset(range(first, len(self.steps))), weight, bias), node)
        return True


def union(sets: Iterable[frozenset[Any]]) -> frozenset[Any]:
    """The union; MANY where it is larger than any that matters."""
    found: frozenset[Any] = frozenset()
    for other in sets:
        if not other <= found:
            found = other if found <= other else found | other
        if len(found) > MAX_ORIGINS:
            break
    return found if len(found) <= MAX_ORIGINS else MANY
