"""HDF5: values in every way that h5py stores them, and that no trick of the format leads out of a file or takes much memory."""

import re
import resource
import struct
import tracemalloc
import zlib

import h5py
import numpy as np
import pytest
from support.hdf5_files import GOLDENS, datasets, made, refusal

from albert_np.checkpoints.formats import h5, hdf5

WORDS = "embeddings/word_embeddings/weight:0"

# --- how HDF5 may store values ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"chunks": (3, 2)},
        {"chunks": (5, 7), "compression": "gzip"},
        {"chunks": (4, 4), "compression": "gzip", "shuffle": True},
        {"chunks": (2, 3), "shuffle": True, "maxshape": (None, None)},
        {"chunks": (16, 16), "maxshape": (None, None)},
    ],
)
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f2", "<f8", ">i8"])
def test_values_in_one_piece_or_several_packed_or_not(tmp_path, how, dtype):
    x = np.random.default_rng(3).normal(0, 9, (11, 7)).astype(dtype)
    path = made(tmp_path, lambda file: file.create_dataset("albert/" + WORDS, data=x, **how))
    (tensor,) = h5.read(path)
    assert tensor.load().dtype == x.dtype.newbyteorder("=")
    np.testing.assert_array_equal(tensor.load(), x)


@pytest.mark.parametrize("shape", [(1, 1000), (1000, 1), (63, 5), (65, 130), (200, 64), (0, 3), (3, 0)])
@pytest.mark.parametrize("dtype", ["<f4", ">f8"])
def test_kernels_of_any_shape_are_turned(tmp_path, shape, dtype):
    x = np.random.default_rng(2).normal(size=shape).astype(dtype)
    path = made(tmp_path, lambda file: file.create_dataset("classifier/classifier/kernel:0", data=x))
    (tensor,) = h5.read(path)
    assert tensor.shape == shape[::-1]
    if x.size:
        np.testing.assert_array_equal(tensor.load(), x.T)
    assert tensor.load().shape == shape[::-1]


def test_a_kernel_of_one_long_row_takes_no_memory_beside_its_values(tmp_path):
    x = np.ones((1, 1 << 18), np.float32)
    (tensor,) = h5.read(made(tmp_path, lambda file: file.create_dataset("classifier/kernel:0", data=x)))
    tracemalloc.start()
    try:
        tensor.load()
        assert tracemalloc.get_traced_memory()[1] < 4 * x.nbytes
    finally:
        tracemalloc.stop()


def test_small_values_among_the_metadata(tmp_path):
    def fill(file):
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_layout(h5py.h5d.COMPACT)
        space, kind = h5py.h5s.create_simple((2, 3)), h5py.h5t.py_create(np.dtype(">f4"))
        dataset = h5py.h5d.create(file.id, b"weight", kind, space, plan)
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, np.arange(6, dtype=np.float32).reshape(2, 3))

    (tensor,) = h5.read(made(tmp_path, fill))
    np.testing.assert_array_equal(tensor.load(), np.arange(6).reshape(2, 3))


def with_data(**how):
    return lambda file: file.create_dataset("albert/w", **how)


def external(file):
    file.create_dataset("w", (4,), "f4", external=[("/proc/version", 0, 16)])


def virtual(file):
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/etc/hostname", "x", (4,))
    file.create_virtual_dataset("w", layout)


def soft_link(file):
    file["w"] = np.ones(3, np.float32)
    file["again"] = h5py.SoftLink("/w")


def external_link(file):
    file["w"] = h5py.ExternalLink("/etc/other.h5", "/w")


def circle(file):
    file.create_group("a")["b"] = file["/"]


def deep(file):
    file["/".join("a" * 50)] = np.ones(3, np.float32)


def late(file):
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_alloc_time(h5py.h5d.ALLOC_TIME_LATE)
    h5py.h5d.create(file.id, b"w", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((1 << 30,)), plan)


def odd_float(file):
    kind = h5py.h5t.IEEE_F32LE.copy()
    kind.set_fields(15, 7, 8, 0, 7)
    kind.set_size(2)
    h5py.h5d.create(file.id, b"w", kind, h5py.h5s.create_simple((2,)))


def checked_by_fletcher(file):
    file.create_dataset("w", data=np.ones((4, 4), "f4"), chunks=(2, 2), fletcher32=True)


REFUSED = {
    "external storage": (external, "values in other files"),
    "virtual dataset": (virtual, "values in other files"),
    "soft link": (soft_link, "link to somewhere else"),
    "external link": (external_link, "link to somewhere else"),
    "a group in itself": (circle, "a second time"),
    "deep groups": (deep, "deep"),
    "a long name": (lambda file: file.create_dataset("a" * 2000, data=np.ones(3, "f4")), "very long"),
    "long names": (
        lambda file: file.create_dataset("/".join(["a" * 300] * 4), data=np.ones(3, "f4")),
        "1,203 characters",
    ),
    "never written": (late, "not in the file"),
    "chunks never written": (with_data(shape=(64, 64), dtype="f4", chunks=(8, 8)), "not all of them"),
    "a terabyte of zeros": (with_data(shape=(1 << 20, 1 << 18), dtype="f4", chunks=(1, 1)), "pieces"),
    "gzip bomb": (
        with_data(data=np.zeros((1 << 12, 1 << 12), "f4"), chunks=(1 << 12, 1 << 12), compression="gzip"),
        "says",
    ),
    "another filter": (checked_by_fletcher, "filter that is not read"),
    "a float of HDF5's own": (odd_float, "something else than"),
    "text": (with_data(data="abc"), "something else than"),
    "a record": (with_data(data=np.zeros(3, [("a", "f4")])), "something else than"),
    "complex": (with_data(data=np.zeros(3, "c8")), "something else than"),
    "no values": (with_data(data=h5py.Empty("f4")), "without any values"),
    "Keras's object paths": (
        lambda file: file.create_dataset("layers/dense/vars/0", data=np.ones(3, "f4")),
        "tree of objects",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_tricks_of_hdf5_are_refused_in_words(tmp_path, what):
    fill, says = REFUSED[what]
    path = made(tmp_path, fill)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert says in refusal(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


def test_a_piece_that_unpacks_to_more_than_its_numbers_is_not_unpacked_to_the_end(tmp_path):
    """HDF5's own gzip follows a piece to its end, however long that is."""
    x = np.random.default_rng(1).normal(size=(64, 64)).astype(np.float32)

    def fill(file):
        dataset = file.create_dataset("w", x.shape, "f4", chunks=x.shape, compression="gzip")
        dataset.id.write_direct_chunk((0, 0), zlib.compress(x.tobytes() + bytes(40 << 20), 9))

    path = made(tmp_path, fill)
    tracemalloc.start()
    try:
        assert "does not unpack" in refusal(path)
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def in_pieces(tmp_path, piece, mask=0):
    """A file with one dataset of (4,4), in two pieces that gzip packed, of which the second is written as it is."""

    def fill(file):
        dataset = file.create_dataset("w", (4, 4), "f4", chunks=(2, 4), compression="gzip")
        dataset[:2] = 1
        dataset.id.write_direct_chunk((2, 0), piece, mask)

    return made(tmp_path, fill)


def test_a_piece_may_leave_a_filter_out_and_must_unpack(tmp_path):
    rows = np.arange(8, dtype=np.float32).reshape(2, 4)
    (tensor,) = h5.read(in_pieces(tmp_path, rows.tobytes(), mask=1))
    np.testing.assert_array_equal(tensor.load()[2:], rows)
    for piece in (b"no gzip", zlib.compress(rows.tobytes())[:-2], zlib.compress(bytes(31)), rows.tobytes()[1:]):
        path = in_pieces(tmp_path, piece, mask=int(piece == rows.tobytes()[1:]))
        assert "a piece of w is damaged" in refusal(path)


def test_pieces_of_another_kind_or_outside_of_the_file_are_refused(tmp_path):
    rows = zlib.compress(bytes(32))
    path = in_pieces(tmp_path, rows)
    good = path.read_bytes()
    for axis, size in ((0, 0), (2, 3)):  # a piece without rows; numbers of three bytes
        data = bytearray(good)
        struct.pack_into("<I", data, message(data, hdf5.LAYOUT) + 8 + 11 + 4 * axis, size)
        path.write_bytes(data)
        assert "not of its kind" in refusal(path)
    data = bytearray(good)
    tree = next(at for at in places(data, b"TREE") if data[at + 4] == 1)
    struct.pack_into("<Q", data, tree + 24 + 32, len(data))
    path.write_bytes(data)
    assert "has a piece at byte" in refusal(path)


# --- damaged metadata ---------------------------------------------------------------------------------------------------


def places(data, signature):
    return [match.start() for match in re.finditer(re.escape(signature), data)]


def own_child(data):
    """HDF5 2.0 follows this until its stack is full, and takes the process with it."""
    at = places(data, b"TREE")[0]
    data[at + 5], data[at + 6 : at + 8] = 1, b"\1\0"
    struct.pack_into("<Q", data, at + 32, at)


def own_neighbours(data):
    """HDF5 2.0 never comes back from this. The members are all there: they are not found through neighbours here."""
    for at in places(data, b"TREE"):
        struct.pack_into("<2Q", data, at + 8, at, at)


def wrong_level(data):
    first, second = places(data, b"TREE")[:2]
    data[first + 5] = 2
    struct.pack_into("<Q", data, first + 32, second)


def many_entries(data):
    struct.pack_into("<H", data, places(data, b"TREE")[0] + 6, 65535)


def many_members(data):
    struct.pack_into("<H", data, places(data, b"SNOD")[0] + 6, 65535)


def names_of_a_terabyte(data):
    struct.pack_into("<Q", data, places(data, b"HEAP")[0] + 8, 1 << 40)


def names_elsewhere(data):
    struct.pack_into("<Q", data, places(data, b"HEAP")[0] + 24, len(data) + 1)


def no_name(data):
    struct.pack_into("<Q", data, places(data, b"SNOD")[0] + 8, 1 << 30)


def own_member(data):
    """A group whose member is the root."""
    root = struct.unpack_from("<Q", data, 64)[0]
    struct.pack_into("<Q", data, places(data, b"SNOD")[-1] + 16, root)


def root_elsewhere(data):
    struct.pack_into("<Q", data, 64, 2**63)


def header_in_itself(data):
    """A header that goes on where it begins."""
    root = struct.unpack_from("<Q", data, 64)[0]
    struct.pack_into("<HHB3xQQ", data, root + 16, 16, 16, 0, root + 16, 24)


def longer_than_it_is(data):
    struct.pack_into("<Q", data, 40, len(data) + 1)


def message(data, number):
    """Where a dataset's header has its message of this number: 8 bytes of number, size and flags, then the content."""
    for node in places(data, b"SNOD"):
        for i in range(struct.unpack_from("<H", data, node + 6)[0]):
            (header,) = struct.unpack_from("<Q", data, node + 16 + 40 * i)
            at, found = header + 16, {}
            while at < header + 16 + struct.unpack_from("<I", data, header + 8)[0]:
                kind, size = struct.unpack_from("<HH", data, at)
                found[kind] = at
                at += 8 + size
            if hdf5.LAYOUT in found:
                return found[number]
    raise AssertionError("no dataset")


def in_message(number, at, form, *values):
    """Damage: these values at that byte of a message; the first 8 bytes are its own."""
    return lambda data: struct.pack_into(f"<{form}", data, message(data, number) + at, *values)


def no_header(data):
    root = struct.unpack_from("<Q", data, 64)[0]
    data[root] = 7


BROKEN = {
    no_header: "should be at byte",
    in_message(hdf5.DATATYPE, 2, "H", 60_000): "reaches beyond it",
    in_message(hdf5.DATATYPE, 4, "B", 2): "refers to another object's",
    in_message(hdf5.DATASPACE, 0, "H", 0): "lacks its shape, dtype or place",
    in_message(hdf5.DATASPACE, 9, "B", 8): "too short",
    in_message(hdf5.DATASPACE, 9, "B", 9): "9 axes",
    in_message(hdf5.DATASPACE, 16, "Q", 2**61): "more than any memory holds",
    in_message(hdf5.DATATYPE, 8, "B", 0x71): "something else than whole numbers or floats",
    in_message(hdf5.LAYOUT, 8, "B", 9): "libver='latest'",
    in_message(hdf5.LAYOUT, 9, "B", 0): "bytes of values, and the file has",
    own_child: "there twice",
    wrong_level: "belongs elsewhere",
    many_entries: "not in the file",
    many_members: "not in the file",
    names_of_a_terabyte: "bytes of metadata",
    names_elsewhere: "not in the file",
    no_name: "name of a group's member is missing",
    own_member: "a second time",
    root_elsewhere: "not in the file",
    header_in_itself: "over 500 parts",
    longer_than_it_is: "it should be",
}


@pytest.mark.parametrize("damage", BROKEN, ids=list(BROKEN.values()))
def test_metadata_that_leads_nowhere_or_in_circles(tmp_path, damage):
    data = bytearray((GOLDENS / "h5_choice" / "tf_model.h5").read_bytes())
    damage(data)
    path = tmp_path / "tf_model.h5"
    path.write_bytes(data)
    assert BROKEN[damage] in refusal(path)


def test_neighbours_of_a_node_are_not_asked(tmp_path):
    data = bytearray((GOLDENS / "h5_choice" / "tf_model.h5").read_bytes())
    expected = len(list(h5.read(GOLDENS / "h5_choice" / "tf_model.h5")))
    own_neighbours(data)
    path = tmp_path / "tf_model.h5"
    path.write_bytes(data)
    assert len(list(h5.read(path))) == expected


@pytest.mark.parametrize("libver", ["earliest", "v108", "v110", "latest"])
@pytest.mark.parametrize("track_order", [False, True])
@pytest.mark.parametrize("count", [3, 30, 200])
def test_whatever_h5py_writes_is_read_as_h5py_reads_it_or_refused_in_words(tmp_path, libver, track_order, count):
    """200 members make trees of several levels. What h5py writes without being asked for more is always read."""
    path = tmp_path / "tf_model.h5"
    rng = np.random.default_rng(count)
    with h5py.File(path, "w", libver=libver, track_order=track_order) as file:
        file.attrs["backend"] = "tensorflow"
        for i in range(count):
            group = file.require_group(f"layer_{i % 3}")
            group.attrs["weight_names"] = ["a", "b"] * 20
            group[f"weight_{i}:0"] = rng.normal(size=(i % 4, 3)).astype(("<f4", ">f2", "<f8")[i % 3])
    stored = datasets(path)
    assert len(stored) == count
    if libver != "earliest" and count > 3:  # groups of more than eight members have a form of their own then
        assert "only on request" in refusal(path)
        return
    found = {tensor.name: tensor.load() for tensor in h5.read(path)}
    assert found.keys() == stored.keys()
    assert all(np.array_equal(found[name], x) for name, x in stored.items())


@pytest.mark.parametrize("kind", ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"])
@pytest.mark.parametrize("order", "<>")
def test_every_dtype(tmp_path, kind, order):
    x = np.array([[0, 1, 2], [3, 100, 127]], order + kind)
    path = made(tmp_path, lambda file: file.create_dataset("w", data=x))
    (tensor,) = h5.read(path)
    assert tensor.load().dtype == np.dtype(kind)
    np.testing.assert_array_equal(tensor.load(), x)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not an HDF5 file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git-LFS"),
        (b"<!DOCTYPE html>", "web page"),
        (hdf5.SIGNATURE, "cut off or damaged"),
        (hdf5.SIGNATURE + bytes(1000), "only on request"),
        (hdf5.SIGNATURE + b"\7" * 1000, "version 7"),
        (b"PK\3\4" + bytes(100), "not an HDF5 file"),
    ],
)
def test_other_files_under_this_name(tmp_path, content, says):
    path = tmp_path / "tf_model.h5"
    path.write_bytes(content)
    assert says in refusal(path)
