"""Damaged model.safetensors files, from a fixed seed, written byte by byte: not with the code under test."""

from __future__ import annotations

import json
import os
import random
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from albert_np.checkpoints.names import hub_name
from albert_np.config import AlbertConfig
from albert_np.golden.cases import PARTS, TINY, trained_like

KIND = "AlbertForSequenceClassification"
CONFIG = TINY | {"num_labels": 3}
MANY_BYTES = 16 * 1024 * 1024 - 64  # as long as a header may be

Case = tuple[str, dict[str, bytes | Callable[[Path], None]]]  # name, {file: its bytes, or what makes it}


def tensors() -> dict[str, np.ndarray]:
    parts = PARTS[KIND]
    return {hub_name(name, parts): x for name, x in trained_like(AlbertConfig(**CONFIG), parts, seed=5).items()}


def entries(arrays: dict[str, np.ndarray], words: dict | None = None) -> tuple[dict, bytes]:
    """The header as a table, and the data, of a safetensors file."""
    words = words or {"float64": "F64", "float32": "F32", "float16": "F16", "int64": "I64", "uint16": "BF16"}
    table, data = {}, b""
    for name, x in arrays.items():
        begin = len(data)
        data += x.tobytes()
        table[name] = {"dtype": words[x.dtype.name], "shape": list(x.shape), "data_offsets": [begin, len(data)]}
    return table, data


def pack(header: dict | bytes, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def header_cases(rng: random.Random) -> Iterator[Case]:
    table, data = entries(tensors())
    names = list(table)
    good = pack(table, data)
    start = len(good) - len(data)

    def weights(label: str, content: bytes) -> Case:
        return label, {"model.safetensors": content}

    for _ in range(180):
        at, bit = rng.randrange(start), rng.randrange(8)
        yield weights(f"bit {bit} of byte {at} flipped", good[:at] + bytes([good[at] ^ 1 << bit]) + good[at + 1 :])
    ends = [start + table[name]["data_offsets"][1] for name in names]
    for size in sorted(
        {0, 1, 7, 8, 9, start - 1, start, start + 1, len(good) - 1, *ends[:-1], *(e - 1 for e in ends[:9])}
    ):
        yield weights(f"cut to {size} bytes", good[:size])
    for extra in 1, 4, 4096:
        yield weights(f"{extra} bytes more", good + bytes(extra))
    header = start - 8
    for n in (
        0,
        1,
        2,
        header - 1,
        header + 1,
        header + 4,
        len(good) - 8,
        len(good),
        2**24,
        2**31,
        2**32,
        2**63,
        2**64 - 1,
    ):
        yield weights(f"header length {n}", pack(json.dumps(table).encode(), data, length=n))

    def changed(label: str, **change: object) -> Case:
        name = rng.choice(names)
        return weights(f"{label} in {name}", pack(table | {name: table[name] | change}, data))

    for value in (
        None,
        [],
        [0],
        [0, 4, 8],
        [4, 0],
        [-4, 0],
        [0, -1],
        [False, True],
        ["0", "4"],
        [0.0, 4.0],
        [0, 10**12],
        [0, 2**63],
        [2**64, 2**64 + 4],
        [0, 10**30],
        "0:4",
        {"begin": 0},
        [[0], [4]],
        [0, len(data)],
        [len(data), len(data)],
        [1, 5],
    ):
        yield changed(f"data_offsets {value}", data_offsets=value)
    for value in (
        None,
        [],
        [0],
        [-1],
        [True],
        ["24"],
        [24.0],
        [2**40, 2**40, 2**40],
        [2**63, 2],
        [0, 2**62, 2**62],
        [10**18] * 8,
        [1] * 9,
        [1] * 10_000,
        [[24]],
        "24",
        {"0": 24},
        [3, -8],
        [10**300],
    ):
        yield changed(f"shape {str(value)[:40]}", shape=value)
    for value in (
        None,
        5,
        "",
        "f32",
        "F32 ",
        "F64",
        "F16",
        "BF16",
        "I32",
        "U8",
        "BOOL",
        "F4",
        "object",
        "x" * 10**5,
        ["F32"],
        {},
    ):
        yield changed(f"dtype {str(value)[:40]}", dtype=value)
    yield changed("extra key", strides=[1])
    for key in "dtype", "shape", "data_offsets":
        broken = {
            name: {k: v for k, v in entry.items() if (name, k) != (names[3], key)} for name, entry in table.items()
        }
        yield weights(f"no {key}", pack(broken, data))
    a, b = names[0], names[1]
    swapped = table | {a: table[a] | {"data_offsets": table[b]["data_offsets"]}}
    yield weights("two tensors share bytes", pack(swapped, data))
    yield weights("first tensor left out", pack({name: table[name] for name in names[1:]}, data))
    yield weights("last tensor left out", pack({name: table[name] for name in names[:-1]}, data))
    text = json.dumps(table)[1:-1].encode()
    yield weights("each key twice", pack(b"{" + text + b"," + text + b"}", data))
    yield weights("one field twice", pack(b"{" + text.replace(b'"dtype"', b'"shape": [1], "dtype"', 1) + b"}", data))
    for value in (
        "null",
        "[]",
        "5",
        '"pt"',
        "{}",
        '{"a": 1}',
        '{"a": null}',
        '{"format": "pt"}',
        '{"a": {"b": "c"}}',
        '{"a": "1", "a": "2"}',
        '{"a": "\\ud800"}',
        '{"": "\\u0000"}',
        "[" * 5000 + "]" * 5000,
    ):
        yield weights(
            f"__metadata__ {value[:30]}", pack(b'{"__metadata__": ' + value.encode() + b"," + text + b"}", data)
        )
    for name in (
        "",
        "x" * 10**5,
        "\n\r\x1b[31m",
        "albert.",
        "__class__",
        "../../etc/passwd",
        a.removeprefix("albert."),
        "é" * 300,
    ):
        yield weights(f"tensor named {name[:30]!r}", pack(table | {name: table[a]}, data))
        yield weights(f"tensor renamed {name[:30]!r}", pack({name if n == b else n: table[n] for n in names}, data))
    yield weights("invalid UTF-8", pack(b'{"\xff\xfe": {}}'))
    yield weights("overlong UTF-8", pack(b'{"\xc0\xaf": {}}'))
    yield weights("half a character", pack(b'{"\\udfff": {}}'))
    for label, unit in {"[[]]": b"[" * 400 + b"]" * 400, "[]": b"[]", "{}": b'{"":0}', "numbers": b"1.5"}.items():
        yield weights(
            f"16 MB of {label}", pack(b'{"a":[' + b",".join([unit] * ((MANY_BYTES - 9) // (len(unit) + 1))) + b"]}")
        )
    keys = b",".join(b'"%x":{}' % i for i in range(900_000))
    yield weights("16 MB of keys", pack(b"{" + keys + b"}"))
    yield weights("16 MB deep", pack(b'{"a":' + b"[" * (MANY_BYTES - 9)))
    yield weights("17 MB header", pack(b"{" + b" " * (17 * 1024**2) + b"}"))


def content_cases(rng: random.Random) -> Iterator[Case]:
    arrays = tensors()
    names = list(arrays)
    for kind in (np.float32, np.float16, np.float64):
        for value in (np.nan, np.inf, -np.inf, 1e300):
            if kind is np.float64 or not np.isfinite(value):
                name = rng.choice(names)
                x = arrays[name].astype(kind)
                x.flat[rng.randrange(x.size)] = value
                yield f"{value} in a {kind.__name__} tensor", {"model.safetensors": pack(*entries(arrays | {name: x}))}
    for bits in 0x7F80, 0xFF80, 0x7FC0, 0x7F81, 0x8000, 0x0001:
        x = np.full(arrays[names[0]].shape, bits, np.uint16)
        yield f"bfloat16 {bits:#x}", {"model.safetensors": pack(*entries(arrays | {names[0]: x}))}
    integers = {name: x.astype(np.int64) for name, x in arrays.items()}
    yield "integer weights", {"model.safetensors": pack(*entries(integers))}
    for name in names:
        x = arrays[name]
        wrong = [x.ravel()[:-1], x[None], np.concatenate([x, x])]
        yield f"misshapen {name}", {"model.safetensors": pack(*entries(arrays | {name: rng.choice(wrong)}))}
        yield f"without {name}", {"model.safetensors": pack(*entries({n: arrays[n] for n in names if n != name}))}

    def make_zip(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", b"\x80\x02}q\x00.")

    lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 46747112\n"
    for label, content in {
        "empty": b"",
        "lfs": lfs,
        "html": b"<html><body>404</body></html>",
        "xml": b'<?xml version="1.0"?><Error/>',
        "json": b'{"error": "Repository not found"}',
        "pickle": b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00}\x94.",
        "zip": make_zip,
        "numpy": b"\x93NUMPY\x01\x00v\x00{'descr': '<f4'}",
        "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(99),
        "gguf": b"GGUF\x03\x00\x00\x00" + bytes(99),
        "gzip": b"\x1f\x8b\x08" + bytes(99),
        "zeros": bytes(4096),
        "no tensor": pack({}),
        "folder": Path.mkdir,
        "pipe": os.mkfifo,
        "device": lambda path: path.symlink_to("/dev/zero"),
        "link to itself": lambda path: path.symlink_to(path),
        "dangling link": lambda path: path.symlink_to("nowhere"),
    }.items():
        yield f"model.safetensors: {label}", {"model.safetensors": content}
