"""What a checkpoint's pickle program says, without Python's pickle: its opcodes are interpreted here, and do next to nothing.

`pickle.load` imports whatever a file names and calls it. Here a global is one of the exact pairs in GLOBALS, stands for itself,
and is never imported: a state dict comes out as names and as descriptions of tensors. Opcodes that a state dict does not need
(INST, OBJ, NEWOBJ, the registry of extensions, …) do not exist. CPython's Lib/pickletools.py describes the opcodes, and
torch/serialization.py and torch/_utils.py have what torch writes in them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from albert_np.files import shown

# The largest ALBERT has some thousand tensors, of 250 bytes and 32 steps each.
MAX_BYTES = 2 * 1024 * 1024
MAX_STEPS = 250_000
MAX_INT_BYTES = 16  # the number at the start of the older files takes 10
MAX_DIMENSIONS = 8
MAX_KEY = 64  # characters; torch's keys are numbers

STORAGES = {  # torch's class of a storage -> the dtype in safetensors' words
    "DoubleStorage": "F64",
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
}


class Known(NamedTuple):
    """What a global of the allow-list is, for the operations below."""

    name: str


GLOBALS = {
    ("collections", "OrderedDict"): Known("OrderedDict"),
    ("torch._utils", "_rebuild_tensor_v2"): Known("_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"): Known("_rebuild_parameter"),
    **{("torch", name): Known(name) for name in STORAGES},
}


class Storage(NamedTuple):
    """Numbers that lie together in the file. The program names them by a key; bin.py knows where those of a key lie."""

    key: str
    dtype: str
    length: int  # in entries


class View(NamedTuple):
    """A tensor: some entries of a storage. Nothing but the types has been checked yet."""

    storage: Storage
    offset: int  # in entries, as are the strides
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class UnsafeError(ValueError):
    """The program asks for more than tensors: whoever runs it, as pickle does, runs what its author chose."""


class OrderedTable(dict):
    """A collections.OrderedDict of the program: what BUILD may be used on."""


def run(code: bytes, at: int, what: str) -> tuple[Any, int]:
    """Interprets the program that begins at byte `at`: (its value, the byte after its end).

    The value is None, a bool, an int, a text, a tuple, a list, a dict with texts as keys, a Known, a Storage or a View.
    Raises a ValueError that names the byte and what is refused there; an UnsafeError if that does more than make tensors.
    """
    machine = _Machine(code, at, what)
    return machine.run(), machine.at


class _Machine:
    """A stack with marks on it, and a memo of values by number."""

    def __init__(self, code: bytes, at: int, what: str) -> None:
        self.code, self.at, self.what = code, at, what
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        if self.take(1) != b"\x80" or self.take(1)[0] not in (2, 3, 4, 5):
            self.refuse("does not begin with a protocol from 2 to 5")
        steps = 0
        while (opcode := self.take(1)) != STOP:
            operation = OPERATIONS.get(opcode)
            if operation is None:
                what = f"uses the opcode {REFUSED.get(opcode, repr(opcode)[1:])}, which no state dict needs"
                self.refuse(what, UnsafeError if opcode in RUNS else ValueError)
            operation(self)
            steps += 1
            if steps == MAX_STEPS:
                self.refuse(f"takes over {MAX_STEPS:,} steps, more than any real file's")
        value = self.pop()
        if self.stack or self.marks:
            self.refuse("ends with more than one value")
        return value

    def refuse(self, text: str, kind: type[ValueError] = ValueError) -> NoReturn:
        raise kind(
            f"{self.what}: its pickle program {text} (byte {self.at:,}); nothing of it was run: "
            "only files that torch.save wrote of a state_dict() are read"
        )

    def take(self, count: int) -> bytes:
        end = self.at + count
        if end > len(self.code):
            self.refuse("is cut off, or longer than any real file's")
        taken = self.code[self.at : end]
        self.at = end
        return taken

    def number(self, count: int, signed: bool = False) -> int:
        return int.from_bytes(self.take(count), "little", signed=signed)

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def top(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            self.refuse("needs a value that is not on its stack")
        return self.stack[-1]

    def pop(self) -> Any:
        self.top()
        return self.stack.pop()

    def to_mark(self) -> list[Any]:
        if not self.marks:
            self.refuse("needs a mark that is not on its stack")
        mark = self.marks.pop()
        values = self.stack[mark:]
        del self.stack[mark:]
        return values


# --- the operations ------------------------------------------------------------------------------------------------------


def _frame(machine: _Machine) -> None:
    """A frame says how many bytes follow, so that they can be read at once. Here only its length is checked."""
    if machine.number(8) > len(machine.code) - machine.at:
        machine.refuse("has a frame that reaches beyond its end")


def _mark(machine: _Machine) -> None:
    machine.marks.append(len(machine.stack))


def _long(machine: _Machine) -> None:
    count = machine.number(1)
    if count > MAX_INT_BYTES:
        machine.refuse(f"has a number of {count} bytes")
    machine.push(machine.number(count, signed=True))


def _text(machine: _Machine, width: int) -> None:
    raw = machine.take(machine.number(width))
    try:
        machine.push(raw.decode("utf-8"))
    except UnicodeDecodeError:
        machine.refuse("has a text that is not UTF-8")


def _tuple(machine: _Machine, count: int) -> None:
    values = [machine.pop() for _ in range(count)]
    machine.push(tuple(reversed(values)))


def _remember(machine: _Machine, index: int) -> None:
    machine.memo[index] = machine.top()


def _recall(machine: _Machine, index: int) -> None:
    if index not in machine.memo:
        machine.refuse(f"recalls value {index}, which it has not kept")
    machine.push(machine.memo[index])


def _append(machine: _Machine, values: list[Any]) -> None:
    target = machine.top()
    if type(target) is not list:
        machine.refuse("appends to something that is no list")
    target.extend(values)


def _set_items(machine: _Machine, values: list[Any]) -> None:
    table = machine.top()
    if type(table) not in (dict, OrderedTable) or len(values) % 2:
        machine.refuse("sets entries of something that is no dict, or not in pairs")
    for key, value in zip(values[::2], values[1::2], strict=True):
        if type(key) is not str:
            machine.refuse("sets an entry of a dict whose key is no text")
        if key in table:
            machine.refuse(f"sets the entry {shown(key)!r} twice: which one counts?")
        table[key] = value


def _set_item(machine: _Machine) -> None:
    value, key = machine.pop(), machine.pop()
    _set_items(machine, [key, value])


def _line(machine: _Machine) -> str:
    end = machine.code.find(b"\n", machine.at, machine.at + 256)
    if end < 0:
        machine.refuse("has a global's name without an end")
    line = machine.code[machine.at : end].decode("utf-8", "replace")
    machine.at = end + 1
    return line


def _global(machine: _Machine, module: Any, name: Any) -> None:
    # types first: a key of another type might be equal to a text, or be a million tuples deep
    known = GLOBALS.get((module, name)) if type(module) is type(name) is str else None
    if known is None:
        called = f"{shown(module, 60)}.{shown(name, 60)}" if type(module) is type(name) is str else "no text"
        machine.refuse(f"names the global {called}, which no weights need", UnsafeError)
    machine.push(known)


def _stack_global(machine: _Machine) -> None:
    name, module = machine.pop(), machine.pop()
    _global(machine, module, name)


def _reduce(machine: _Machine) -> None:
    """A call of an allowed global. It makes a description with a function of this module; nothing of the file is called."""
    values, function = machine.pop(), machine.pop()
    make = CALLS.get(function.name) if type(function) is Known else None
    if make is None or type(values) is not tuple:
        machine.refuse("calls something that cannot be called")
    machine.push(make(machine, values))


def _ordered_table(machine: _Machine, values: tuple[Any, ...]) -> OrderedTable:
    if values:
        machine.refuse("makes an OrderedDict from other values")
    return OrderedTable()


def _view(machine: _Machine, values: tuple[Any, ...]) -> View:
    """torch's function takes a storage, offset, size, stride, requires_grad, hooks and, in newer files, attributes."""
    if not 6 <= len(values) <= 7 or any(type(table) not in (dict, OrderedTable) or table for table in values[5:]):
        machine.refuse("makes a tensor that has hooks or attributes, or is made in another way")
    storage, offset, shape, strides = values[:4]
    if type(storage) is not Storage or type(offset) is not int or not _ints(shape) or not _ints(strides):
        machine.refuse(f"makes a tensor of something else than a storage and up to {MAX_DIMENSIONS} whole numbers")
    return View(storage, offset, shape, strides)


def _ints(values: Any) -> bool:
    return type(values) is tuple and len(values) <= MAX_DIMENSIONS and all(type(value) is int for value in values)


def _parameter(machine: _Machine, values: tuple[Any, ...]) -> View:
    if len(values) != 3 or type(values[0]) is not View or type(values[2]) is not OrderedTable or values[2]:
        machine.refuse("makes a parameter that has hooks, or of something else than a tensor")
    return values[0]


def _storage(machine: _Machine) -> None:
    """The storage that a persistent id means: ("storage", class, key, device, length), and in older files a view of it."""
    values = machine.pop()
    if type(values) is not tuple or not values or values[0] != "storage":
        whole = type(values) is tuple and values and values[0] == "module"
        machine.refuse(
            "holds a whole module, not its state_dict()" if whole else "refers to something that is no storage"
        )
    kind, key, location, length = values[1:5] if len(values) in (5, 6) else (None,) * 4
    dtype = STORAGES.get(kind.name) if type(kind) is Known else None
    if dtype is None or type(key) is not str or type(location) is not str or type(length) is not int:
        machine.refuse("refers to a storage without a known class, key, place and length")
    if length < 0 or len(key) > MAX_KEY:
        machine.refuse("refers to a storage of negative length, or by a key that is no number")
    if len(values) == 6 and values[5] is not None:
        machine.refuse("refers to a part of a storage, as torch did before version 0.4")
    machine.push(Storage(key, dtype, length))


def _build(machine: _Machine) -> None:
    """The only state that a state dict has is _metadata, the versions of its modules. It is left out."""
    state, target = machine.pop(), machine.top()
    if type(target) is not OrderedTable or type(state) is not dict or not set(state) <= {"_metadata"}:
        machine.refuse("gives a state to something else than an OrderedDict, or more than _metadata")


Call = Callable[[_Machine, tuple[Any, ...]], Any]
CALLS: dict[str, Call] = {
    "OrderedDict": _ordered_table,
    "_rebuild_tensor_v2": _view,
    "_rebuild_parameter": _parameter,
}
STOP = b"."
OPERATIONS: dict[bytes, Callable[[_Machine], None]] = {
    b"\x95": _frame,
    b"(": _mark,
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"K": lambda m: m.push(m.number(1)),
    b"M": lambda m: m.push(m.number(2)),
    b"J": lambda m: m.push(m.number(4, signed=True)),
    b"\x8a": _long,
    b"X": lambda m: _text(m, 4),
    b"\x8c": lambda m: _text(m, 1),
    b")": lambda m: m.push(()),
    b"\x85": lambda m: _tuple(m, 1),
    b"\x86": lambda m: _tuple(m, 2),
    b"\x87": lambda m: _tuple(m, 3),
    b"t": lambda m: m.push(tuple(m.to_mark())),
    b"]": lambda m: m.push([]),
    b"a": lambda m: _append(m, [m.pop()]),
    b"e": lambda m: _append(m, m.to_mark()),
    b"}": lambda m: m.push({}),
    b"s": _set_item,
    b"u": lambda m: _set_items(m, m.to_mark()),
    b"q": lambda m: _remember(m, m.number(1)),
    b"r": lambda m: _remember(m, m.number(4)),
    b"\x94": lambda m: _remember(m, len(m.memo)),
    b"h": lambda m: _recall(m, m.number(1)),
    b"j": lambda m: _recall(m, m.number(4)),
    b"c": lambda m: _global(m, _line(m), _line(m)),
    b"\x93": _stack_global,
    b"R": _reduce,
    b"Q": _storage,
    b"b": _build,
}
RUNS = (b"i", b"o", b"\x81", b"\x92", b"\x82", b"\x83", b"\x84")  # opcodes that import or call what the file names
REFUSED = {  # names for messages
    b"i": "INST",
    b"o": "OBJ",
    b"\x81": "NEWOBJ",
    b"\x92": "NEWOBJ_EX",
    b"\x82": "EXT1",
    b"\x83": "EXT2",
    b"\x84": "EXT4",
    b"P": "PERSID",
    b"U": "SHORT_BINSTRING",
    b"T": "BINSTRING",
    b"G": "BINFLOAT",
    b"2": "DUP",
    b"0": "POP",
    b"1": "POP_MARK",
    b"\x8b": "LONG4",
    b"\x8d": "BINUNICODE8",
    b"\x96": "BYTEARRAY8",
    b"\x97": "NEXT_BUFFER",
    b"\x80": "PROTO a second time",
}
