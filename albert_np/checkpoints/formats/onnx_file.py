"""An ONNX file as it is stored: its nodes, and where the values of its constants are (onnx.proto of ONNX 1.23).

No values are read here, and the `onnx` library is not needed. It would read the whole file before anything is known of it.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from albert_np.checkpoints.formats.protobuf_file import Messages, Span
from albert_np.checkpoints.formats.values import DTYPES, FLOATS, Contiguous, float32_of
from albert_np.files import explain_impostor, shown
from albert_np.ops import Array
from albert_np.protobuf import BYTES, FIXED32, VARINT, BadFileError, signed

MAX_NODES = 50_000  # a layer has about 100
MAX_DEPTH = 8  # of graphs inside nodes
MAX_DIMENSIONS = 8

# TensorProto.DataType -> safetensors' word
DATA_TYPES = {
    1: "F32",
    2: "U8",
    3: "I8",
    4: "U16",
    5: "I16",
    6: "I32",
    7: "I64",
    9: "BOOL",
    10: "F16",
    11: "F64",
    12: "U32",
    13: "U64",
    16: "BF16",
}
# TensorProto's other fields for values -> the dtypes that may be there as their own bytes, or in base 128
PLAIN = {4: ("F32",), 10: ("F64",)}
CODED = {5: ("I32", "I16", "I8", "U16", "U8", "BOOL", "F16", "BF16"), 7: ("I64",), 11: ("U32", "U64")}
EXTERNAL = 1  # TensorProto.DataLocation


class Stored(NamedTuple):
    """A constant of the graph, and where its values are."""

    name: str
    dtype: str  # in safetensors' words, or "type 17" for what has none
    shape: tuple[int, ...]
    path: Path
    at: int
    length: int
    coded: bool = False  # whether they are base-128 numbers instead of their own bytes

    @property
    def is_float(self) -> bool:
        return self.dtype in FLOATS

    def load(self) -> Array:
        """The values; float32 for bfloat16. Raises ValueError or OSError."""
        if self.dtype not in DTYPES:
            raise ValueError(
                f"{self.path}: tensor {shown(self.name)!r} is of ONNX's {self.dtype}, which is not read here"
            )
        dtype, bfloat16 = np.dtype(DTYPES[self.dtype]), self.dtype == "BF16"
        if not self.coded:
            return Contiguous(self.path, self.at, dtype, self.shape, bfloat16)()
        numbers = self._decoded(math.prod(self.shape))
        if dtype.kind == "f":  # float16, of which a number has the bits
            return numbers.astype("<u2").view(dtype).reshape(self.shape)
        numbers = numbers.astype(dtype)
        return (float32_of(numbers) if bfloat16 else numbers).reshape(self.shape)

    def _decoded(self, count: int) -> Array:
        """The 64 bits of each base-128 number, whose last byte alone is below 128."""
        data = np.fromfile(self.path, np.uint8, self.length, offset=self.at)
        ends = np.flatnonzero(data < 0x80) + 1
        widths = np.diff(ends, prepend=0)
        if len(ends) != count or data.size != self.length or (count and (ends[-1] != data.size or widths.max() > 10)):
            raise ValueError(
                f"{self.path}: tensor {shown(self.name)!r} of shape {self.shape} has {len(ends):,} numbers instead of {count:,}"
            )
        values = np.zeros(count, np.uint64)
        for k in range(int(widths.max(initial=0))):
            has = widths > k
            values[has] |= (data[(ends - widths)[has] + k] & 0x7F).astype(np.uint64) << np.uint64(7 * k)
        return values


class Node(NamedTuple):
    """One operation. op: its name, with the domain in front where that is not ONNX's own ("com.microsoft.Attention")."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]  # numbers, lists of numbers, texts, and Stored for tensors
    captured: tuple[str, ...]  # names that graphs inside it use


class Graph(NamedTuple):
    """A model's graph, without the values of its constants."""

    nodes: list[Node]
    constants: dict[str, Stored]  # initializers, by name
    inputs: list[str]
    outputs: list[str]


def read_graph(path: Path) -> Graph:
    """The graph of a file. Raises a ValueError that names the rule that the file breaks, or an OSError."""
    size = path.stat().st_size
    with path.open("rb") as file:
        explain_impostor(str(path), file.read(512))
        try:
            return _Reader(path, Messages(file)).model((0, size))
        except BadFileError as error:
            raise ValueError(f"{path} is damaged or no ONNX file: {error}") from error


class _Reader:
    """Reads one file. Each method reads a message of onnx.proto, or a field of one."""

    def __init__(self, path: Path, messages: Messages) -> None:
        self.path, self.messages = path, messages
        self.count = 0

    def model(self, span: Span) -> Graph:
        graph, functions = None, set()
        for number, wire, value in self.messages.fields(span):
            if number == 7:
                if graph is not None:
                    raise BadFileError("it has two graphs")
                graph = self.graph(_span(value, wire, "graph"))
            elif number == 25:
                functions.add(self.function(_span(value, wire, "functions")))
        if graph is None:
            raise BadFileError("it has no graph")
        _check_apart(self.path, graph)
        used = next((node.op for node in graph.nodes if node.op in functions), None)
        if used is not None:
            raise ValueError(
                f"{self.path} calls {shown(used)}, a function of its own: onnx.inliner.inline_local_functions writes it without"
            )
        return graph

    def graph(self, span: Span) -> Graph:
        graph = Graph([], {}, [], [])
        for number, wire, value in self.messages.fields(span):
            if number == 1:
                graph.nodes.append(self.node(_span(value, wire, "node"), 0))
            elif number == 5:
                stored = self.tensor(_span(value, wire, "initializer"))
                if stored.name in graph.constants:
                    raise BadFileError(f"two initializers have the name {shown(stored.name)!r}")
                graph.constants[stored.name] = stored
            elif number in (11, 12):
                (graph.inputs if number == 11 else graph.outputs).append(self.name(_span(value, wire, "input"), 1))
        return graph

    def function(self, span: Span) -> str:
        return _op(self.name(span, 10), self.name(span, 1))

    def name(self, span: Span, wanted: int) -> str:
        """The text of one field of a message."""
        found = [
            self.messages.text(value, wire) for number, wire, value in self.messages.fields(span) if number == wanted
        ]
        return found[-1] if found else ""

    def node(self, span: Span, depth: int) -> Node:
        self.count += 1
        if self.count > MAX_NODES or depth > MAX_DEPTH:
            raise BadFileError(f"it has over {MAX_NODES:,} nodes, or graphs nested over {MAX_DEPTH} deep")
        names: dict[int, list[str]] = {1: [], 2: [], 4: [], 7: []}
        attributes: dict[str, Any] = {}
        captured: list[str] = []
        for number, wire, value in self.messages.fields(span):
            if number in names:
                names[number].append(self.messages.text(value, wire))
            elif number == 5:
                name, attribute = self.attribute(_span(value, wire, "attribute"), depth, captured)
                attributes[name] = attribute
        op = _op("".join(names[7][-1:]), "".join(names[4][-1:]))
        return Node(op, tuple(names[1]), tuple(names[2]), attributes, tuple(captured))

    def attribute(self, span: Span, depth: int, captured: list[str]) -> tuple[str, Any]:
        """An attribute's name and value; what graphs inside it use is added to `captured`."""
        name, found = "", None
        several: list[int] = []
        for number, wire, value in self.messages.fields(span):
            if number == 1:
                name = self.messages.text(value, wire)
            elif number == 2 and wire == FIXED32:
                found = struct.unpack("<f", self.messages.bytes(value))[0]
            elif number == 3 and wire == VARINT:
                found = signed(value)
            elif number == 4:
                found = self.messages.text(value, wire)
            elif number == 5:
                found = self.tensor(_span(value, wire, "t"))
            elif number in (6, 11):
                self.nested(_span(value, wire, "g"), depth + 1, captured)
            elif number == 8:
                several += self.messages.numbers(value, wire)
        return name, several if found is None else found

    def nested(self, span: Span, depth: int, captured: list[str]) -> None:
        for number, wire, value in self.messages.fields(span):
            if number == 1:
                node = self.node(_span(value, wire, "node"), depth)
                captured += [*node.inputs, *node.captured]
            elif number == 12:
                captured.append(self.name(_span(value, wire, "output"), 1))

    def tensor(self, span: Span) -> Stored:
        name, kind, location = "", 0, 0
        shape: list[int] = []
        values: list[tuple[int, Span]] = []
        external: dict[str, str] = {}
        for number, wire, value in self.messages.fields(span):
            if number == 1:
                shape += self.messages.numbers(value, wire)
            elif number in (2, 14) and wire == VARINT:
                kind, location = (value, location) if number == 2 else (kind, value)
            elif number == 3:
                raise BadFileError("a tensor is stored in segments, which no exporter writes")
            elif number == 8:
                name = self.messages.text(value, wire)
            elif number == 13:
                entry = _span(value, wire, "external_data")
                external[self.name(entry, 1)] = self.name(entry, 2)
            elif number in (9, *PLAIN, *CODED):
                values.append((number, _span(value, wire, "a tensor's values")))
        what = f"tensor {shown(name)!r}"
        # a size of 0 makes any product 0: without it too, the sizes must fit into some file
        if len(shape) > MAX_DIMENSIONS or min(shape, default=0) < 0 or math.prod(n or 1 for n in shape) >= 2**60:
            raise BadFileError(
                f"{what} must have a shape of at most {MAX_DIMENSIONS} sizes, 0 or more; got {shown(shape, 80)}"
            )
        dtype = DATA_TYPES.get(kind, f"type {kind}")
        stored = Stored(name, dtype, tuple(shape), self.path, 0, 0)
        if kind not in DATA_TYPES:
            return stored
        if location == EXTERNAL:
            return _external(stored, external)
        return _internal(stored, values)


def _internal(stored: Stored, values: list[tuple[int, Span]]) -> Stored:
    """The tensor with the place of its values in the file itself."""
    what = f"tensor {shown(stored.name)!r}"
    count = math.prod(stored.shape)
    values = [(number, span) for number, span in values if span[0] < span[1]]
    if not values and count == 0:
        return stored
    if len(values) != 1:
        raise BadFileError(f"{what} must have its values in one field; they are in {len(values)}")
    ((number, (start, end)),) = values
    coded = stored.dtype in CODED.get(number, ())
    if not coded and number != 9 and stored.dtype not in PLAIN.get(number, ()):
        raise BadFileError(f"{what} is {stored.dtype}, whose values are not due in field {number}")
    needed = count if coded else _bytes(stored)
    if not needed <= end - start <= needed * (10 if coded else 1):
        raise BadFileError(f"{what}: {stored.dtype} of shape {stored.shape} does not fit into {end - start:,} bytes")
    return stored._replace(at=start, length=end - start, coded=coded)


def _external(stored: Stored, entries: dict[str, str]) -> Stored:
    """The tensor with the place of its values in another file of the same folder."""
    what = f"tensor {shown(stored.name)!r}"
    name = entries.get("location", "")
    plain = name and name == Path(name).name and name not in (".", "..") and "\\" not in name and name.isprintable()
    if not plain or len(name) > 255:
        raise BadFileError(f"{what} must have its values in a file of the same folder; its location is {shown(name)!r}")
    path = stored.path.parent / name
    if not path.is_file():
        raise OSError(f"{stored.path}: {what} has its values in {name}, which is not in the same folder")
    size, needed = path.stat().st_size, _bytes(stored)
    start = _whole(entries.get("offset", "0"), what)
    length = _whole(entries.get("length", str(needed)), what)
    if length != needed:
        raise BadFileError(
            f"{what}: {stored.dtype} of shape {stored.shape} is {needed:,} bytes, its entry says {length:,}"
        )
    if start + length > size:
        raise BadFileError(f"{what} ends at byte {start + length:,} of {name}, which has {size:,}")
    if start < 512:
        with path.open("rb") as file:
            explain_impostor(str(path), file.read(512))
    return stored._replace(path=path, at=start, length=length)


def _check_apart(path: Path, graph: Graph) -> None:
    """Refuses values in other files of which a part belongs to two tensors. Tensors may share all of their values."""
    stored = [*graph.constants.values(), *(x for node in graph.nodes for x in node.attributes.values())]
    outside = [x for x in stored if isinstance(x, Stored) and x.path != path and x.length]
    places = {(x.path, x.at, x.at + x.length): x.name for x in outside}
    last, behind, before = path, 0, ""
    for (other, at, end), name in sorted(places.items()):
        if other == last and at < behind:
            raise BadFileError(f"the values of {shown(name)!r} overlap those of {shown(before)!r} in {other.name}")
        last, behind, before = other, end, name


def _whole(text: str, what: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise BadFileError(f"{what} has a place that is no whole number: {shown(text, 40)!r}")
    return int(text)


def _bytes(stored: Stored) -> int:
    return math.prod(stored.shape) * np.dtype(DTYPES[stored.dtype]).itemsize


def _span(value: Any, wire: int, what: str) -> Span:
    if wire != BYTES:
        raise BadFileError(f"{what} has the wire type {wire}, not {BYTES}")
    return value


def _op(domain: str, name: str) -> str:
    return name if domain in ("", "ai.onnx") else f"{domain}.{name}"
