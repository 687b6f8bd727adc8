"""Checkpoints of TensorFlow 1, written byte by byte from the descriptions of the formats: not with the code under test.

`store` gives the entries of an index and the bytes of the data files, which a test may change before `write` makes files.
"""

import struct

import numpy as np

TYPES = {
    "float32": 1,
    "float64": 2,
    "int32": 3,
    "object": 7,
    "int64": 9,
    "uint16": 14,
    "float16": 19,
}  # uint16: bfloat16
MAGIC = bytes.fromhex("57fb808b247547db")


def crc(data):
    """CRC-32C, a bit at a time in a table of 256: as the textbooks have it."""
    value = 0xFFFFFFFF
    for byte in bytes(data):
        value = TABLE[(value ^ byte) & 255] ^ value >> 8
    return value ^ 0xFFFFFFFF


def _column(byte):
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    return byte


TABLE = [_column(byte) for byte in range(256)]


def masked(value):
    return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF


# --- protobuf ---------------------------------------------------------------------------------------------------------------


def number(value):
    value &= 2**64 - 1  # a negative one has ten bytes
    out = []
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(index, value):
    if isinstance(value, bytes):
        return number(index << 3 | 2) + number(len(value)) + value
    return number(index << 3) + number(value)


def header(shards=1, endianness=0, version=b"\x08\x01"):
    return field(1, shards) + field(2, endianness) + field(3, version)


def entry(dtype=1, shape=(), shard=0, offset=0, size=0, check=0, slices=(), more=b""):
    dims = b"".join(field(2, field(1, n)) for n in shape)
    boxes = b"".join(field(7, extents(box)) for box in slices)
    crc32c = number(6 << 3 | 5) + struct.pack("<I", check)
    return (
        field(1, dtype) + field(2, dims) + field(3, shard) + field(4, offset) + field(5, size) + crc32c + boxes + more
    )


def extents(box):
    """TensorSliceProto: (start, length) for each axis, None for all of it."""
    return b"".join(field(1, b"" if part is None else field(1, part[0]) + field(2, part[1])) for part in box)


# --- the keys of slices (OrderedCode) ----------------------------------------------------------------------------------------


def slice_key(name, box):
    key = b"\0" + name.encode() + b"\0\1" + bytes([1, len(box)])
    for start, length in [(0, -1) if part is None else part for part in box]:
        key += ordered(start) + ordered(length)
    return key


def ordered(value):
    """-64 … 63 in one byte, -8192 … 8191 in two, and so on: the more leading ones (or zeros), the longer."""
    for length in range(1, 11):
        if -(1 << 7 * length - 1) <= value < 1 << 7 * length - 1:
            bits = f"{value & (1 << 8 * length) - 1:0{8 * length}b}"
            flipped = "".join("10"[int(bit)] for bit in bits[:length])
            return int(flipped + bits[length:], 2).to_bytes(length, "big")
    raise AssertionError(value)


# --- tables -----------------------------------------------------------------------------------------------------------------


def table(items, block_bytes=4096, interval=16, kind=0):
    """The bytes of an index with these (key, value) in this order. kind: what the trailers say of compression."""
    data, places, group = b"", [], []

    def close():
        nonlocal data
        places.append((group[-1][0], number(len(data)) + number(len(block(group, interval)))))
        data += sealed(block(group, interval), kind)
        group.clear()

    for item in items:
        group.append(item)
        if len(block(group, interval)) > block_bytes:
            close()
    if group:
        close()
    return finished(data, places)


def finished(data, places):
    """Adds the meta block, the index of (last key, handle) and the footer."""
    meta, index = block([], 16), block(places, 1)
    handles = number(len(data)) + number(len(meta)) + number(len(data) + len(meta) + 5) + number(len(index))
    return data + sealed(meta) + sealed(index) + handles.ljust(40, b"\0") + MAGIC


def block(items, interval):
    out, restarts, last = b"", [], b""
    for i, (key, value) in enumerate(items):
        shared = 0
        if i % interval:
            while shared < min(len(last), len(key)) and last[shared] == key[shared]:
                shared += 1
        else:
            restarts.append(len(out))
        out += number(shared) + number(len(key) - shared) + number(len(value)) + key[shared:] + value
        last = key
    restarts = restarts or [0]
    return out + struct.pack(f"<{len(restarts)}I", *restarts) + struct.pack("<I", len(restarts))


def sealed(content, kind=0):
    return content + bytes([kind]) + struct.pack("<I", masked(crc(content + bytes([kind]))))


# --- checkpoints -------------------------------------------------------------------------------------------------------------


def store(arrays, shards=1, slices=None):
    """(items of the index, bytes of each data file). slices: name -> its boxes, each a (start, length) or None per axis.

    Tensors go to the data files in turn. An array of objects is stored as a string tensor.
    """
    items, data = {b"": header(shards)}, [b""] * shards

    def put(key, x):
        shard = len(items) % shards
        raw = b"\x03abc" if x.dtype == object else np.ascontiguousarray(x).tobytes()
        items[key] = entry(TYPES[x.dtype.name], x.shape, shard, len(data[shard]), len(raw), masked(crc(raw)))
        data[shard] += raw

    for name, x in arrays.items():
        boxes = (slices or {}).get(name)
        if boxes is None:
            put(name.encode(), x)
            continue
        items[name.encode()] = entry(TYPES[x.dtype.name], x.shape, slices=boxes)
        for box in boxes:
            part = tuple(slice(None) if extent is None else slice(extent[0], sum(extent)) for extent in box)
            put(slice_key(name, box), x[part])
    return sorted(items.items()), data


def write(folder, items, data, prefix="model.ckpt-best", **settings):
    """The files of a checkpoint. Returns the path of its index. settings: of `table`."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard, content in enumerate(data):
        (folder / f"{prefix}.data-{shard:05}-of-{len(data):05}").write_bytes(content)
    path = folder / f"{prefix}.index"
    path.write_bytes(table(items, **settings))
    return path


# --- ALBERT ------------------------------------------------------------------------------------------------------------------

WORDS = {  # Hugging Face's words -> Google's
    "albert.": "bert/",
    "predictions.bias": "cls/predictions/output_bias",
    "predictions.": "cls/predictions/transform/",
    "sop_classifier.classifier.weight": "cls/seq_relationship/output_weights",
    "sop_classifier.classifier.bias": "cls/seq_relationship/output_bias",
    "qa_outputs.weight": "cls/squad/output_weights",
    "qa_outputs.bias": "cls/squad/output_bias",
    "classifier.weight": "output_weights",
    "classifier.bias": "output_bias",
    "albert_layer_groups.": "transformer/group_",
    ".albert_layers.": "/inner_group_",
    ".full_layer_layer_norm": "/LayerNorm_1",
    ".attention.LayerNorm": "/LayerNorm",
    ".attention.dense": "/attention_1/output/dense",
    ".attention.": "/attention_1/self/",
    ".ffn_output": "/ffn_1/intermediate/output/dense",
    ".ffn": "/ffn_1/intermediate/dense",
    "pooler": "pooler/dense",
    "_embeddings.weight": "_embeddings",
}


def google(arrays, prefix=""):
    """Arrays under Google's names, and oriented as Google's, from those of a file of Hugging Face's."""
    found = {}
    for name, x in arrays.items():
        for word, theirs in WORDS.items():
            name = name.replace(word, theirs) if "." in name else name
        name, _, last = name.replace(".weight", "/weight").replace(".bias", "/bias").replace(".", "/").rpartition("/")
        norm = name.rpartition("/")[2].startswith("LayerNorm")
        last = {"weight": "gamma" if norm else "kernel", "bias": "beta" if norm else "bias"}.get(last, last)
        found[f"{prefix}{name}/{last}" if name else prefix + last] = x.T if last == "kernel" else x
    return found
