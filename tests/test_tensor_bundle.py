"""Tables and bundles: what TensorFlow 1 checkpoints are made of, written independently, whole and damaged."""

import struct

import numpy as np
import pytest
from support import tensor_bundles
from support.refusals import refusal_of_file as refusal
from support.tensor_bundles import entry, header, store, table, write

from albert_np.checkpoints.formats import crc32c as crc32c_module
from albert_np.checkpoints.formats import tensor_bundle
from albert_np.checkpoints.formats.tensor_bundle import read_bundle, slice_key

KIND = "AlbertForPreTraining"
RNG = np.random.default_rng(11)
PLAIN = {  # two words of names share their beginnings, as Google's do
    "a/kernel": RNG.normal(size=(3, 5)).astype(np.float32),
    "a/kernel/adam_m": np.zeros((3, 5), np.float32),
    "b": RNG.normal(size=7).astype(np.float32),
    "empty": np.zeros((0, 3), np.float32),
    "global_step": np.array(5000, np.int64),
    "n": np.array(2.5, np.float32),
    "no columns": np.zeros((4, 0), np.float32),
}


def values(path):
    return {tensor.name: tensor.load() for tensor in read_bundle(path) if tensor.dtype[0] in "FB"}


# --- bundles ----------------------------------------------------------------------------------------------------------------

BOXES = {  # rows; rows and columns; a full axis
    "a/kernel": [[(0, 1), (0, 2)], [(0, 1), (2, 3)], [(1, 2), None]],
    "b": [[(0, 3)], [(3, 1)], [(4, 3)]],
}


@pytest.mark.parametrize("shards", [1, 2, 7])
@pytest.mark.parametrize("slices", [{}, BOXES], ids=["whole", "sliced"])
@pytest.mark.parametrize(
    "layout", [{}, {"block_bytes": 1}, {"block_bytes": 90, "interval": 1}, {"interval": 3}], ids=str
)
def test_every_layout_holds_the_same_values(tmp_path, shards, slices, layout):
    got = values(write(tmp_path, *store(PLAIN, shards, slices), **layout))
    assert list(got) == [name for name in PLAIN if name != "global_step"]
    for name, x in got.items():
        assert x.dtype == PLAIN[name].dtype
        assert x.shape == PLAIN[name].shape
        assert x.tobytes() == PLAIN[name].tobytes()


@pytest.mark.parametrize("slices", [{}, BOXES], ids=["whole", "sliced"])
def test_a_tensor_may_be_read_as_its_transpose(tmp_path, monkeypatch, slices):
    x = RNG.normal(size=(70, 33)).astype(np.float32)
    path = write(tmp_path, *store(PLAIN | {"wide": x, "high": x.T}, 2, slices))
    monkeypatch.setattr(tensor_bundle, "piece", lambda: 17 * 33 * 4)  # several, and the last one shorter
    for tensor in read_bundle(path, lambda name: name != "n"):
        if tensor.dtype == "F32":
            y = (PLAIN | {"wide": x, "high": x.T})[tensor.name].T
            assert tensor.shape == y.shape
            assert tensor.load().flags.c_contiguous
            assert np.array_equal(tensor.load(), y)


def test_half_precision_and_double_are_read_as_they_are(tmp_path):
    x = RNG.normal(size=(4, 3))
    upper = (x.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    path = write(tmp_path, *store({"f64": x, "f16": x.astype(np.float16), "bf16": upper, "one": upper[0, 0]}))
    dtypes = {tensor.name: tensor.dtype for tensor in read_bundle(path)}
    assert dtypes == {"bf16": "BF16", "f16": "F16", "f64": "F64", "one": "BF16"}
    got = values(path)
    assert np.array_equal(got["f64"], x)
    assert np.array_equal(got["f16"], x.astype(np.float16))
    assert np.array_equal(got["bf16"].view(np.uint32), upper.astype(np.uint32) << 16)
    assert got["bf16"].dtype == got["one"].dtype == np.float32
    assert got["one"].shape == ()
    assert got["one"] == got["bf16"][0, 0]


@pytest.mark.parametrize(
    "number", [0, 1, -1, 63, 64, -64, -65, 8191, 8192, -8193, 30_000, 2**31, 2**62, -(2**63), 2**63 - 1]
)
def test_the_numbers_in_keys_of_slices_are_those_of_another_encoder(number):
    box = ((number, 5), (0, -1))
    assert slice_key(b"name", box) == tensor_bundles.slice_key("name", box)


def test_a_key_of_a_slice_is_the_one_that_tensorflow_wrote():
    """From the index of a partitioned variable that tf.train.Saver of 2.15 saved: rows 58 to 116 of 173, all columns."""
    key = slice_key(b"bert/embeddings/word_embeddings", ((58, 58), (0, -1)))
    assert key == b"\0bert/embeddings/word_embeddings\0\1\1\2\xba\xba\x80\x7f"


def flip(path, at, mask=1):
    content = bytearray(path.read_bytes())
    content[at] ^= mask
    path.write_bytes(content)


def test_whole_numbers_are_named_and_cannot_be_loaded(tmp_path):
    (step,) = [x for x in read_bundle(write(tmp_path, *store(PLAIN))) if x.name == "global_step"]
    assert (step.dtype, step.shape) == ("I64", ())
    assert "'global_step' is I64; weights are read from F32, F16, BF16, F64" in refusal(step.load)


def test_every_byte_of_an_index_counts(tmp_path):
    path = write(tmp_path, *store(PLAIN, 2, BOXES), block_bytes=200)
    good, expected = path.read_bytes(), values(path)
    read = []
    for at in range(len(good)):
        flip(path, at, 1 << at % 8)
        try:
            got = values(path)
        except (ValueError, OSError):
            assert refusal(values, path)
        else:
            read.append(at)
            assert {name: x.tobytes() for name, x in got.items()} == {name: x.tobytes() for name, x in expected.items()}
        path.write_bytes(good)
    assert read == [
        at for at in range(len(good) - 48, len(good) - 8) if at in read
    ]  # zeros behind the footer's handles


def test_a_file_that_is_cut_anywhere_is_refused(tmp_path):
    path = write(tmp_path, *store(PLAIN), block_bytes=100)
    good = path.read_bytes()
    for size in range(len(good)):
        path.write_bytes(good[:size])
        refusal(values, path)
    path.write_bytes(good)
    data = path.with_name("model.ckpt-best.data-00000-of-00001")
    content = data.read_bytes()
    for size in range(len(content)):
        data.write_bytes(content[:size])
        assert "cut off" in refusal(values, path)


def test_every_byte_of_a_tensor_counts(tmp_path):
    path = write(tmp_path, *store(PLAIN, 2, BOXES))
    for data in sorted(tmp_path.glob("*.data-*")):
        good = data.read_bytes()
        for at in range(len(good)):
            flip(data, at, 1 << at % 8)
            try:
                got = values(path)
            except ValueError as error:
                assert "checksum" in str(error)  # noqa: PT017
            else:  # the step, which nobody reads
                assert all(x.tobytes() == PLAIN[name].tobytes() for name, x in got.items())
            data.write_bytes(good)


def changed(key, **fields):
    """Items and data of PLAIN, with one entry written anew."""
    items, data = store({"a": PLAIN["a/kernel"], "b": PLAIN["b"]})
    right = {"a": {"shape": (3, 5), "size": 60}, "b": {"shape": (7,), "offset": 60, "size": 28}}[key]
    return [(k, entry(**right | fields) if k == key.encode() else v) for k, v in items], data


HOSTILE = {  # what is wrong -> (entries and data, what the message says)
    "a petabyte": (lambda: changed("b", shape=(2**48,), size=2**50), "'b' ends at byte 1,125,899,906,842,684"),
    "sizes whose product overflows": (lambda: changed("b", shape=(2**62, 4), size=0), "8 whole numbers"),
    "sizes hidden by a 0": (lambda: changed("b", shape=(0, 2**62, 4), size=0), "8 whole numbers"),
    "a negative size of an axis": (lambda: changed("b", shape=(-7, -1)), "8 whole numbers"),
    "nine axes": (lambda: changed("b", shape=(1,) * 9), "8 whole numbers"),
    "no rank": (lambda: changed("b", more=tensor_bundles.field(2, tensor_bundles.field(3, 1))), "no shape"),
    "a shape larger than its bytes": (lambda: changed("b", shape=(8,)), "is 32 bytes, and 28 are stored"),
    "a shape smaller than its bytes": (lambda: changed("b", shape=(6,)), "is 24 bytes, and 28 are stored"),
    "a negative offset": (lambda: changed("b", offset=-4), "at byte -4"),
    "a negative size": (lambda: changed("b", size=-28), "-28 bytes"),
    "an offset beyond the file": (lambda: changed("b", offset=2**62), "which has 88"),
    "an offset that overflows with its size": (lambda: changed("b", offset=2**63 - 1, size=2**63 - 1), "which has 88"),
    "two tensors in one place": (lambda: changed("b", offset=56), "inside the tensor before it"),
    "one tensor inside another": (lambda: changed("b", offset=0, shape=(5,), size=20), "inside the tensor before it"),
    "a shard that is not there": (lambda: changed("b", shard=1), "data file number 1, and there are 1"),
    "a negative shard": (lambda: changed("b", shard=-1), "data file number -1"),
    "a checksum of other bytes": (lambda: changed("b", check=12345), "checksum"),
    "a text where a number belongs": (lambda: changed("b", more=tensor_bundles.field(4, b"0")), "wire type 2"),
    "a number where a slice belongs": (lambda: changed("b", more=tensor_bundles.field(7, 1)), "wire type 0"),
    "half an entry": (lambda: ([(b"", header()), (b"b", b"\x08")], [b""]), "ends in the middle"),
    "a field without an end": (lambda: ([(b"", header()), (b"b", b"\x12\xff\xff\xff\x7f")], [b""]), "claims"),
    "no header": (lambda: ([(b"b", entry())], [b""]), "no header"),
    "no entries": (lambda: ([], [b""]), "no header"),
    "no data files": (lambda: ([(b"", header(0))], [b""]), "0 data files"),
    "a billion data files": (lambda: ([(b"", header(10**9))], [b""]), "1,000,000,000 data files"),
    "-1 data files": (lambda: ([(b"", header(-1))], [b""]), "data files"),
    "big-endian": (lambda: ([(b"", header(1, 1))], [b""]), "big-endian"),
    "a later version": (lambda: ([(b"", header(version=b"\x08\x02\x10\x02"))], [b""]), "version 2"),
    "a name that is not UTF-8": (lambda: ([(b"", header()), (b"\xff\xfe", entry(shape=(0,)))], [b""]), "not UTF-8"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_entries_that_lie_are_refused(tmp_path, case):
    made, expected = HOSTILE[case]
    assert expected in refusal(values, write(tmp_path, *made()))


def sliced(boxes, **parts):
    """A vector of 7 zeros in these slices. parts: other fields of the slices' entries."""
    key = tensor_bundles.slice_key
    items = {b"": header(), b"x": entry(shape=(7,), slices=boxes)}
    end = 0
    for box in boxes:
        n = min(box[0][1], 8)
        items[key("x", box)] = entry(shape=(n,), size=4 * n, offset=end, **parts)
        end += 4 * n
    return sorted(items.items()), [bytes(end)]


SLICES = {
    "one is not there": (
        lambda: ([(b"", header()), (b"x", entry(shape=(7,), slices=[[(0, 7)]]))], [b""]),
        "not stored",
    ),
    "a hole": (lambda: sliced([[(0, 3)]]), "leave something out"),
    "beyond the end": (lambda: sliced([[(0, 8)]]), "has the slice"),
    "before the beginning": (lambda: sliced([[(-1, 7)]]), "has the slice"),
    "an empty one": (lambda: sliced([[(0, 7)], [(7, 0)]]), "has the slice"),
    "of too many axes": (lambda: sliced([[(0, 7), (0, 1)]]), "slice of 2 axes, and itself 1"),
    "twice the same": (lambda: sliced([[(0, 7)], [(0, 7)]]), "same slice twice"),
    "two thousand": (lambda: sliced([[(i, 1)] for i in range(2000)]), "over 1,024 slices"),
    "another dtype": (lambda: sliced([[(0, 7)]], dtype=2), "stored as F64"),
    "slices of slices": (
        lambda: ([(k, v + tensor_bundles.field(7, b"")) if k[:1] == b"\0" else (k, v) for k, v in nested()], [b""]),
        "stored as",
    ),
    "bytes of its own as well": (
        lambda: ([(b"", header()), (b"x", entry(shape=(7,), size=28, slices=[[(0, 7)]]))], [bytes(28)]),
        "of its own too",
    ),
}


def nested():
    return [
        (b"", header()),
        (tensor_bundles.slice_key("x", [(0, 7)]), entry(shape=(7,))),
        (b"x", entry(shape=(7,), slices=[[(0, 7)]])),
    ]


@pytest.mark.parametrize("case", SLICES)
def test_slices_must_fill_their_tensor(tmp_path, case):
    made, expected = SLICES[case]
    assert expected in refusal(values, write(tmp_path, *made()))


def test_slices_that_overlap_are_refused(tmp_path):
    x = np.zeros((4, 4), np.float32)
    boxes = [[(0, 2), None], [(2, 2), (0, 2)], [(1, 2), (2, 2)]]  # 16 entries in all, but two of them twice
    assert "overlap, or leave something out" in refusal(values, write(tmp_path, *store({"x": x}, slices={"x": boxes})))


def raw_table(*blocks):
    """A table of these (last key, block)."""
    data, places = b"", []
    for last, content in blocks:
        places.append((last, tensor_bundles.number(len(data)) + tensor_bundles.number(len(content))))
        data += tensor_bundles.sealed(content)
    return tensor_bundles.finished(data, places)


def lying_block(items, restarts=(0,)):
    """A block of (shared, own length, value length, bytes)."""
    body = b"".join(b"".join(map(tensor_bundles.number, item[:3])) + item[3] for item in items)
    return body + struct.pack(f"<{len(restarts)}I", *restarts) + struct.pack("<I", len(restarts))


GOOD = store(PLAIN)[0]
ONE = tensor_bundles.block([(b"k", b"v")], 16)
TABLES = {
    "snappy": (lambda: table(GOOD, kind=1), "compressed with snappy, which TensorFlow never does"),
    "zlib": (lambda: table(GOOD, kind=2), "compressed with zlib"),
    "an unknown compression": (lambda: table(GOOD, kind=77), "compressed with method 77"),
    "keys out of order": (lambda: table(GOOD[:2] + GOOD[:1:-1]), "out of order"),
    "a key twice": (lambda: table([*GOOD, GOOD[-1]]), "a key twice"),
    "the header twice": (lambda: table([GOOD[0], *GOOD]), "a key twice"),
    "a key twice, in two blocks": (lambda: table([*GOOD, GOOD[-1]], block_bytes=1), "a key twice"),
    "blocks in one place": (
        lambda: tensor_bundles.finished(tensor_bundles.sealed(ONE), [(b"k", b"\0" + bytes([len(ONE)]))] * 2),
        "overlaps",
    ),
    "an index whose key is too small": (lambda: raw_table((b"a", ONE)), "behind the one that the index names"),
    "a block beyond the end": (
        lambda: tensor_bundles.finished(b"", [(b"k", b"\0" + tensor_bundles.number(2**40))]),
        "beyond the end",
    ),
    "a block at 2⁶³": (
        lambda: tensor_bundles.finished(b"", [(b"k", tensor_bundles.number(2**63) * 2)]),
        "beyond the end",
    ),
    "a handle of one number": (lambda: tensor_bundles.finished(b"", [(b"k", b"\0")]), "ends in the middle"),
    "a shared part that is not there": (lambda: raw_table((b"k", lying_block([(4, 1, 0, b"k")]))), "beyond its bounds"),
    "a key beyond the block": (lambda: raw_table((b"k", lying_block([(0, 9, 0, b"k")]))), "beyond its bounds"),
    "a value beyond the block": (lambda: raw_table((b"k", lying_block([(0, 1, 2**35, b"k")]))), "beyond its bounds"),
    "a key of a megabyte": (
        lambda: raw_table((b"k", lying_block([(0, 1 << 20, 0, b"k" * (1 << 20))]))),
        "at most 1,024",
    ),
    "no restarts": (lambda: raw_table((b"k", lying_block([(0, 1, 0, b"k")], ()))), "no list of restarts"),
    "more restarts than bytes": (lambda: raw_table((b"k", struct.pack("<I", 2**32 - 1))), "no list of restarts"),
    "an empty block": (lambda: raw_table((b"k", b"")), "no list of restarts"),
    "a restart inside an entry": (
        lambda: raw_table((b"k", lying_block([(0, 1, 0, b"k")], (0, 2)))),
        "restarts at other places",
    ),
    "restarts out of order": (
        lambda: raw_table((b"k", lying_block([(0, 1, 0, b"k"), (0, 1, 0, b"l")], (4, 0)))),
        "restarts at other places",
    ),
    "a number of eleven bytes": (lambda: raw_table((b"k", b"\xff" * 11 + ONE)), "more than 10 bytes"),
    "nothing": (lambda: b"", "does not end as a table"),
    "another file": (lambda: bytes(100), "does not end as a table"),
    "a pointer of Git LFS": (
        lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 20000\n",
        "Git-LFS pointer",
    ),
    "a web page": (lambda: b"<!DOCTYPE html><html></html>" + bytes(60), "web page"),
    "five megabytes": (lambda: bytes(5 << 20), "at most 4,194,304 are read"),
}


@pytest.mark.parametrize("case", TABLES)
def test_tables_that_lie_are_refused(tmp_path, case):
    made, expected = TABLES[case]
    path = write(tmp_path, *store(PLAIN))
    path.write_bytes(made())
    assert expected in refusal(values, path)


def test_few_bytes_do_not_become_many_keys(tmp_path):
    """Each key has all of the one before it and a byte more: 4 MB would be gigabytes of them."""
    first = lying_block([(0, 1000, 0, b"k" * 1000)])[:-8]
    items = b"".join(tensor_bundles.number(1000) + b"\x03\0" + i.to_bytes(3, "big") for i in range(50_000))
    path = tmp_path / "a.index"
    path.write_bytes(raw_table((b"l", first + items + struct.pack("<II", 0, 1))))
    assert "over 40,000 entries" in refusal(values, path)


def test_without_google_crc32c_numpy_is_asked(monkeypatch, tmp_path):
    path = write(tmp_path, *store(PLAIN))
    monkeypatch.setattr(crc32c_module, "_library", lambda: None)
    assert values(path)["b"].tolist() == PLAIN["b"].tolist()
    flip(path.with_name("model.ckpt-best.data-00000-of-00001"), 2)
    assert "checksum" in refusal(values, path)


def test_a_missing_data_file_is_named(tmp_path):
    path = write(tmp_path, *store(PLAIN, 2))
    (tmp_path / "model.ckpt-best.data-00001-of-00002").unlink()
    assert "needs model.ckpt-best.data-00001-of-00002 beside it" in refusal(values, path)


def test_a_data_file_that_git_lfs_did_not_fetch_is_explained(tmp_path):
    path = write(tmp_path, *store(PLAIN))
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 88\n"
    (tmp_path / "model.ckpt-best.data-00000-of-00001").write_bytes(pointer)
    assert "Git-LFS pointer" in refusal(values, path)
