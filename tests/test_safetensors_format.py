"""Our reader against the `safetensors` library: what it accepts the library accepts, with the same bytes.

The other way round it is stricter, for the reasons listed in STRICTER and no others.
"""

import contextlib
import json
import math
import random
import re
import struct

import numpy as np
import pytest
import safetensors
import safetensors.numpy

from albert_np.checkpoints.formats.protocol import as_tensors, stored_values
from albert_np.checkpoints.formats.safetensors import read, write

NUMPY = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "u1",
    "BOOL": "?",
    "C64": "<c8",
}
BYTES = {**{word: np.dtype(dtype).itemsize for word, dtype in NUMPY.items()}, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1}


def pack(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype="F32", shape=(1,), begin=0, end=4):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def ours(path):
    return {tensor.name: tensor for tensor in read(path)}


def theirs(content):
    return dict(safetensors.deserialize(content))


def text(**fields):
    return json.dumps({"a": entry()} | fields)[:-1].encode()


# what the library takes and we refuse: why -> (a file, what we say)
STRICTER = {
    "a header that begins with a space: the format says {": (pack(b" {}"), "not a safetensors file"),
    "a name twice: the last would win in silence": (
        pack(text() + b', "a": ' + json.dumps(entry()).encode() + b"}", bytes(4)),
        "twice",
    ),
    "metadata twice": (pack(b'{"__metadata__": {"a": "1", "a": "2"}}'), "twice"),
    "metadata of null": (pack({"__metadata__": None}), "__metadata__ must"),
    "an extra key: a writer that we do not know": (pack({"a": entry() | {"strides": [1]}}, bytes(4)), "nothing else"),
    "a list in place of the three keys": (pack({"a": ["F32", [1], [0, 4]]}, bytes(4)), "must have dtype, shape"),
    "dtypes of no ALBERT": (pack({"a": entry("F8_E8M0", [4])}, bytes(4)), "has the dtype 'F8_E8M0'"),
    "packed dtypes": (pack({"a": entry("F4", [8])}, bytes(4)), "has the dtype 'F4'"),
    "more than 8 axes": (pack({"a": entry(shape=[1] * 9)}, bytes(4)), "at most 8"),
    "sizes beyond any file, hidden by a 0": (
        pack({"a": entry(shape=[0, 2**40, 2**40], end=0)}),
        "at most 8 whole numbers",
    ),
    "a header over 16 MB": (pack(text() + b" " * 17 * 2**20 + b"}", bytes(4)), "at most 16,777,216 are read"),
    "a million lists": (pack(text(**{"[" * 1_000_001: entry(begin=4, end=8)}) + b"}", bytes(8)), "1,000,000 lists"),
}


@pytest.mark.parametrize("reason", STRICTER)
def test_stricter_rule(tmp_path, reason):
    content, words = STRICTER[reason]
    theirs(content)  # accepted
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=words):
        ours(tmp_path / "a.safetensors")


REFUSED_BY_BOTH = {
    "a gap": (pack({"a": entry(), "b": entry(begin=8, end=12)}, bytes(12)), "'b' begins at byte 8 where 4 was due"),
    "a gap at the start": (pack({"a": entry(begin=4, end=8)}, bytes(8)), "'a' begins at byte 4 where 0 was due"),
    "an overlap": (pack({"a": entry(), "b": entry(begin=2, end=6)}, bytes(6)), "overlaps the one before it"),
    "one place for two": (pack({"a": entry(), "b": entry()}, bytes(4)), "overlaps the one before it"),
    "a byte too many": (pack({"a": entry()}, bytes(5)), "end at byte 4 and the file's data at 5"),
    "an empty tensor inside another": (
        pack({"a": entry(), "z": entry(shape=[0], begin=2, end=2)}, bytes(4)),
        "overlaps",
    ),
    "minus zero": (pack(b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [-0, 4]}}', bytes(4)), "got [-0.0, 4]"),
    "1.0 for 1": (pack({"a": entry(shape=[1.0])}, bytes(4)), "got [1.0]"),
    "true for 1": (pack({"a": entry(shape=[True])}, bytes(4)), "got [True]"),
    "sizes that overflow": (pack({"a": entry(shape=[2**40, 2**40, 0], end=0)}), "whole numbers"),
    "half a character": (pack(b'{"__metadata__": {"a": "\\ud800"}}'), "not UTF-8"),
    "a tab in a name": (pack(b'{"a\t": {}}'), "not JSON"),
    "zeros after the header": (pack(b"{}\0\0"), "not JSON"),
}


@pytest.mark.parametrize("reason", REFUSED_BY_BOTH)
def test_refused_by_both(tmp_path, reason):
    content, words = REFUSED_BY_BOTH[reason]
    with pytest.raises(safetensors.SafetensorError):
        theirs(content)
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(words)):
        ours(tmp_path / "a.safetensors")


def random_file(rng):
    """A file with up to five tensors, most often with one thing wrong with it."""
    table, data = {}, b""
    for i in rng.sample(range(9), rng.randrange(6)):
        dtype, shape = rng.choice(list(BYTES)), [rng.choice([0, 1, 2, 3, 5]) for _ in range(rng.randrange(4))]
        begin = len(data)
        data += rng.randbytes(math.prod(shape) * BYTES[dtype])
        table[rng.choice('aéz\n"') + str(i)] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, len(data)]}
    keys = list(table)
    rng.shuffle(keys)
    table = {key: table[key] for key in keys}
    if rng.random() < 0.2:
        table["__metadata__"] = rng.choice([{}, {"format": "pt"}, {"a": 1}, None, [], {"a": None}, "pt"])
    if rng.random() < 0.1:
        data += b"\0"
    if keys and rng.random() < 0.6:
        damage(rng, table[rng.choice(keys)], len(data))
    header = json.dumps(table, ensure_ascii=rng.random() < 0.5).encode()
    header += b" " * rng.choice([0, 0, 1, 7])
    if rng.random() < 0.4:  # a byte or two
        at = rng.randrange(len(header) + 1)
        header = (
            header[:at]
            + rng.choice([b"", b"0", b"-", b".0", b"e0", b" ", b'"', b",", b"\xff", b"\\u", b"1"])
            + header[at + rng.randrange(2) :]
        )
    return pack(header, data)


def damage(rng, entry, length):
    field = rng.choice(list(entry))
    if field == "dtype":
        entry[field] = rng.choice([*BYTES, "f32", "F4", "", None, 5, "F8_E8M0"])
    elif field == "shape":
        entry[field] = rng.choice(
            [[], [-1], [1.0], [True], None, [2**64], [2**32, 2**32], [0, 2**62, 4], [1] * 9, ["1"], 1]
        )
    else:
        entry[field] = [
            rng.choice([0, 1, 4, length, length + 1, -1, 2**63, 2**64, 0.0, False])
            for _ in range(rng.choice([2, 2, 2, 1, 3]))
        ]
    if rng.random() < 0.1:
        entry[rng.choice(["dtype ", "Dtype", "x"])] = 1


@pytest.mark.parametrize("seed", range(8))
def test_accepted_files_are_those_of_the_library(tmp_path, seed):
    rng = random.Random(seed)
    path = tmp_path / "a.safetensors"
    both = refused = 0
    for _ in range(400):
        content = random_file(rng)
        path.write_bytes(content)
        expected, found, refusal = None, None, ""
        with contextlib.suppress(safetensors.SafetensorError):
            expected = theirs(content)
        try:
            found = ours(path)
        except ValueError as error:
            refusal = str(error)
        if found is None:
            stricter = any(words in refusal for _, words in STRICTER.values())
            assert expected is None or stricter, f"the library reads {content!r}: {refusal}"
            refused += 1
            continue
        assert expected is not None, f"the library refuses {content!r}"
        assert found.keys() == expected.keys()
        for name, tensor in found.items():
            assert (tensor.dtype, list(tensor.shape)) == (expected[name]["dtype"], expected[name]["shape"])
            if tensor.dtype in NUMPY:
                x = tensor.load()
                assert (x.dtype, x.shape) == (np.dtype(NUMPY[tensor.dtype]), tensor.shape)
                assert x.tobytes() == bytes(expected[name]["data"])
        both += 1
    assert both > 80  # of 400, so that the comparison means something
    assert refused > 80


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "int8", "uint8", "bool", "complex64"])
def test_what_the_library_writes_is_read_bit_for_bit(tmp_path, dtype):
    rng = np.random.default_rng(3)
    arrays = {
        "m": rng.standard_normal((3, 5)),
        "scalar": np.full((), 1.5),
        "none": np.zeros((0, 4)),
        "v": rng.random(7) - 0.5,
    }
    arrays = {name: np.asarray(100 * x).astype(dtype) for name, x in arrays.items()}
    safetensors.numpy.save_file(arrays, tmp_path / "a.safetensors", metadata={"format": "pt"})
    found = ours(tmp_path / "a.safetensors")
    assert found.keys() == arrays.keys()
    for name, x in arrays.items():
        y = found[name].load()
        assert (y.dtype, y.shape, y.tobytes()) == (x.dtype, x.shape, x.tobytes())


def bfloat16(tmp_path, bits):
    data = np.array(bits, "<u2").tobytes()
    (tmp_path / "a.safetensors").write_bytes(pack({"a": entry("BF16", [len(bits)], end=len(data))}, data))
    return ours(tmp_path / "a.safetensors")["a"].load()


def test_bfloat16_literals(tmp_path):
    # sign, 8 bits of exponent with the bias 127, 7 bits of fraction
    bits = [0x0000, 0x8000, 0x3F80, 0xBF80, 0x4049, 0x0001, 0x0080, 0x7F7F, 0x7F80, 0xFF80, 0x7FC0]
    values = [0.0, -0.0, 1.0, -1.0, 3.140625, 2.0**-133, 2.0**-126, (2 - 2**-7) * 2.0**127, np.inf, -np.inf, np.nan]
    x = bfloat16(tmp_path, bits)
    assert x.dtype == np.float32
    assert np.array_equal(x, np.array(values, np.float32), equal_nan=True)
    assert np.signbit(x[:2]).tolist() == [False, True]


@pytest.mark.parity
def test_every_bfloat16_is_torchs(torch, tmp_path):
    bits = np.arange(2**16, dtype=np.uint16)
    expected = torch.from_numpy(bits.view(np.int16)).view(torch.bfloat16).float().numpy()
    x = bfloat16(tmp_path, bits)
    assert np.array_equal(x, expected, equal_nan=True)
    assert np.array_equal(np.signbit(x), np.signbit(expected))


def test_a_file_cut_short_after_its_header_was_read_is_an_oserror(tmp_path):
    path = tmp_path / "a.safetensors"
    safetensors.numpy.save_file({"a": np.ones(9)}, path)
    tensor = ours(path)["a"]
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(OSError, match=r"a.safetensors was cut off while it was being read"):
        tensor.load()


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_the_bytes_written_are_the_librarys(tmp_path, dtype):
    rng = np.random.default_rng(3)
    shapes = {"b": (3, 5), "a": (), "c.weight": (0, 4), "ä": (7,)}
    arrays = {name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}
    arrays["wide"] = rng.standard_normal((2, 2))
    write(tmp_path / "ours.safetensors", as_tensors(arrays))
    safetensors.numpy.save_file(arrays, tmp_path / "theirs.safetensors", metadata={"format": "pt"})
    assert (tmp_path / "ours.safetensors").read_bytes() == (tmp_path / "theirs.safetensors").read_bytes()


def test_bfloat16_is_written_and_read_bit_for_bit(tmp_path):
    halves = np.arange(1 << 16, dtype=np.uint16).reshape(256, 256)
    write(tmp_path / "x.safetensors", as_tensors({"w": halves}, "BF16"))
    (tensor,) = read(tmp_path / "x.safetensors")
    assert np.array_equal(tensor.load().view(np.uint32) >> 16, halves)
    assert np.array_equal(stored_values(tensor), halves)
