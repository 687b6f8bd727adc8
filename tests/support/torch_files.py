"""Files as torch.save writes them, put together from opcodes and with Python's zipfile: not with the code under test."""

import io
import math
import struct
import zipfile

import numpy as np

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
KINDS = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "uint16": "BFloat16Storage",  # NumPy has no bfloat16: its bits
    "int64": "LongStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}

# --- a pickle program, protocol 2 -----------------------------------------------------------------------------------------

MARK, NONE, TRUE, FALSE, STOP = b"(", b"N", b"\x88", b"\x89", b"."
EMPTY_TUPLE, EMPTY_LIST, EMPTY_DICT = b")", b"]", b"}"
REDUCE, BUILD, BINPERSID = b"R", b"b", b"Q"


def text(value):
    raw = value if isinstance(value, bytes) else value.encode()
    return b"X" + struct.pack("<L", len(raw)) + raw


def number(value):
    size = (value.bit_length() + 8) // 8
    return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)


def sequence(*values):
    return MARK + b"".join(values) + b"t"


def numbers(values):
    return sequence(*map(number, values))


def named(module, name):
    return f"c{module}\n{name}\n".encode()


def call(function, *values):
    return function + sequence(*values) + REDUCE


def table(entries, ordered=False):
    start = call(named("collections", "OrderedDict")) if ordered else EMPTY_DICT
    return start + MARK + b"".join(text(name) + value for name, value in entries.items()) + b"u"


def program(value, protocol=2):
    return b"\x80" + bytes([protocol]) + value + STOP


# --- tensors --------------------------------------------------------------------------------------------------------------


def storage(key, length, kind="FloatStorage", place="cpu", older=False):
    values = text("storage"), named("torch", kind), text(key), text(place), number(length)
    return sequence(*values, *([NONE] if older else [])) + BINPERSID


def c_strides(shape):
    return [math.prod(shape[i + 1 :]) for i in range(len(shape))]


def view(stored, shape, strides=None, offset=0, more=()):
    strides = c_strides(shape) if strides is None else strides
    hooks = call(named("collections", "OrderedDict"))
    values = stored, number(offset), numbers(shape), numbers(strides), FALSE, hooks, *more
    return call(named("torch._utils", "_rebuild_tensor_v2"), *values)


def parameter(tensor):
    return call(named("torch._utils", "_rebuild_parameter"), tensor, TRUE, call(named("collections", "OrderedDict")))


def described(arrays, older=False, place="cpu"):
    """Entries of a state dict, one storage for each array, and the storages' bytes by their keys."""
    keys = {name: str(94493538434384 + 64 * i if older else i) for i, name in enumerate(arrays)}
    entries = {
        name: view(storage(keys[name], x.size, KINDS[x.dtype.name], place, older), x.shape)
        for name, x in arrays.items()
    }
    return entries, {keys[name]: x.tobytes() for name, x in arrays.items()}


# --- files ----------------------------------------------------------------------------------------------------------------


def zipped(code, storages, members=None, root="pytorch_model", method=zipfile.ZIP_STORED):
    """`members`: more of them, or others: (name behind the root -> content); None leaves one out."""
    content = {"data.pkl": code, "byteorder": b"little", **{f"data/{key}": raw for key, raw in storages.items()}}
    content |= {"version": b"3\n"} | (members or {})
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, raw in content.items():
            if raw is not None:
                archive.writestr(zipfile.ZipInfo(f"{root}/{name}"), raw, method)
    return out.getvalue()


def legacy(code, storages, widths, about=None, keys=None):
    """`widths`: bytes of a number, by the storages' keys."""
    keys = sorted(storages) if keys is None else keys
    about = table({"protocol_version": number(PROTOCOL), "little_endian": TRUE}) if about is None else about
    listed = EMPTY_LIST + MARK + b"".join(map(text, keys)) + b"e"
    head = program(number(MAGIC)) + program(number(PROTOCOL)) + program(about) + code + program(listed)
    return head + b"".join(struct.pack("<q", len(storages[key]) // widths[key]) + storages[key] for key in keys)


def saved(arrays, older=False, place="cpu", ordered=False):
    """The bytes of a pytorch_model.bin with these arrays."""
    entries, storages = described(arrays, older, place)
    code = program(table(entries, ordered))
    if not older:
        return zipped(code, storages)
    return legacy(code, storages, dict(zip(storages, (x.itemsize for x in arrays.values()), strict=True)))


def bfloat16(x):
    """The upper halves of float32 numbers, cut off."""
    return (np.asarray(x, np.float32).view(np.uint32) >> 16).astype(np.uint16)
