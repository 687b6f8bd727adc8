"""The tensors of an ONNX graph -> our trace, by the modules of transformers' ALBERT that its nodes come from.

torch's exporters keep the module of a node: the older one in the node's name (/albert/encoder/…/attention/query_3/Add, where
the number counts the calls), the newer one in its metadata (pkg.torch.onnx.name_scopes). The weights of one layer are used
many times; which application a node belongs to, the order of the nodes says. Between the query and attention.dense, where no
modules are, Softmax is looked for, and what it is made of.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable
from typing import Any

from albert_np.encoder import step
from albert_np.golden.capturing import module_names
from albert_np.golden.capturing.module_names import PROBS, SCORES, Applications

SCOPES = "pkg.torch.onnx.name_scopes"
MASKED = ("Add", "Where", "Sub")
# of a quantized graph: their results are not the module's, and what goes into them is
QUANTIZING = ("DynamicQuantizeLinear", "QuantizeLinear")
_CALL = re.compile(r"_\d+$")


def module_path(node: Any) -> str | None:
    """The module that a node comes from, if it says so."""
    for entry in node.metadata_props:
        if entry.key == SCOPES:
            scopes = ast.literal_eval(entry.value) if len(entry.value) < 100_000 else []
            return str(scopes[-2]) if isinstance(scopes, list) and len(scopes) > 1 else None
    if node.name.startswith("/"):
        return ".".join(_CALL.sub("", part) for part in node.name.split("/")[1:-1])
    return None


def element_types(model: Any) -> dict[str, int]:
    """Each tensor's onnx.TensorProto.DataType, as far as it can be inferred."""
    import onnx

    try:
        graph = onnx.shape_inference.infer_shapes(model).graph
    except (
        Exception
    ):  # operators that onnx does not know, or a file that it finds inconsistent and ONNX Runtime may not
        graph = model.graph
    return {x.name: x.type.tensor_type.elem_type for x in [*graph.value_info, *graph.input, *graph.output]}


def tensor_names(model: Any) -> dict[str, str]:
    """Our name -> the tensor's name in the graph, for the tensors that are recognised. model: an onnx.ModelProto."""
    import onnx

    floats = {onnx.TensorProto.DataType.Value(name) for name in ("UNDEFINED", "FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE")}
    others = {name for name, kind in element_types(model).items() if kind not in floats}
    return _Reader(model.graph, others).read()


class _Reader:
    def __init__(self, graph: Any, integers: Collection[str]) -> None:
        self.integers = integers
        self.constant = {x.name for x in graph.initializer}
        self.nodes = []
        for node in graph.node:
            if all(name in self.constant for name in node.input if name):
                self.constant.update(node.output)  # also weights that are transposed, copied, or no longer quantized
            else:
                self.nodes.append(node)
        self.made_by = {name: node for node in self.nodes for name in node.output}
        self.places = [_place(node) for node in self.nodes]
        self.found: dict[str, str] = {}

    def read(self) -> dict[str, str]:
        places = {place[0] for place in self.places if place}
        applications = Applications()
        application = 0
        start, called = 0, None  # the node that the last module began with, and what it is
        for i, place in enumerate([*self.places, None]):
            here = None
            if place is not None:
                if place[1]:
                    application = applications.enter(place[0])
                here = (place[0], application if place[1] else None)
            if here != called:
                if called is not None:
                    self._module(*called, self.nodes[start:i], places)
                start, called = i, here
        self._attention()
        return self.found

    def _module(self, place: str, application: int | None, nodes: list[Any], places: Collection[str]) -> None:
        """One call of a module. Its nodes may come in several runs; the last one's result is what stays."""
        inside = {name for node in nodes for name in node.output}
        results = [node.output[0] for node in nodes if node.op_type not in QUANTIZING]
        if not results or results[-1] in self.integers:
            return
        self.found[module_names.output(place, application)] = results[-1]
        name = module_names.entering(place, application, places)
        if name is None or name in self.found:
            return
        for node in nodes:
            for source in node.input:
                source = self._before_quantizing(source)
                if source and source not in self.constant and source not in inside and self._says_where(source):
                    self.found[name] = source
                    return

    def _before_quantizing(self, name: str) -> str:
        node = self.made_by.get(name)
        return str(node.input[0]) if node is not None and node.op_type in QUANTIZING else name

    def _says_where(self, name: str) -> bool:
        """Nodes that a tool put in do not; what they give a module is not its input as the model has it."""
        node = self.made_by.get(name)
        return node is not None and module_path(node) is not None

    def _attention(self) -> None:
        """What softmax gives, and what it reads before the mask, for each application."""
        end, application = step(0, module_names.NORM), 0
        while end in self.found:
            at = f"{step(application, 'attention')}."
            query = {self.found[at + part] for part in ("query", "key") if at + part in self.found}
            own = self._made_from(query, until=self.found.get(at + "dense"))
            softmax = [node for node in own if node.op_type == "Softmax"]
            if len(softmax) == 1:
                derived = query | {name for node in own for name in node.output}
                self.found[step(application, PROBS)] = softmax[0].output[0]
                self.found[step(application, SCORES)] = self._unmasked(softmax[0].input[0], derived)
            application += 1
            end = step(application, module_names.NORM)

    def _made_from(self, names: Iterable[str], until: str | None) -> list[Any]:
        """The nodes that compute something from these tensors, in order, up to the one that makes `until`."""
        derived, nodes = set(names), []
        for node in self.nodes if until is not None else []:
            if until in node.output:
                break
            if derived & set(node.input):
                derived.update(node.output)
                nodes.append(node)
        return nodes

    def _unmasked(self, name: str, derived: Collection[str]) -> str:
        """The scores, if `name` is made of them and of a mask that comes from elsewhere."""
        node = self.made_by.get(name)
        if node is not None and node.op_type in MASKED:
            own = [x for x in node.input if x in derived]
            if len(own) == 1:
                return str(own[0])
        return name


def _place(node: Any) -> tuple[str, bool] | None:
    path = module_path(node)
    return None if path is None else module_names.known(path)
