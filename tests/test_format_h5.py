"""tf_model.h5: what TensorFlow's own files hold, and that no trick of HDF5 leads out of a file or takes much memory."""

import json
import re
import resource
import shutil
import struct
import sys
import tracemalloc
import zlib

import numpy as np
import pytest
from support import TESTS, refusals

import albert_np
from albert_np.checkpoints.formats import h5, hdf5, tensorflow_names
from albert_np.checkpoints.formats.protocol import as_tensors
from albert_np.checkpoints.names import BASE, LAYER, PARTS, to_store
from albert_np.checkpoints.save import save

h5py = pytest.importorskip("h5py")

GOLDENS = TESTS / "goldens" / "formats"
WORDS = "embeddings/word_embeddings/weight:0"
MODELS = [name for name in json.loads((GOLDENS / "manifest.json").read_text()) if name.startswith("h5_")]


def by_hub_name(path):
    return {tensor.known_as: tensor for tensor in h5.read(path)}


def made(tmp_path, fill):
    path = tmp_path / "tf_model.h5"
    with h5py.File(path, "w") as file:
        fill(file)
    return path


def refusal(path):
    message = refusals.refusal(lambda: [tensor.load() for tensor in h5.read(path)])
    assert path.name in message
    return message


@pytest.fixture
def masked_lm(tmp_path):
    """A golden with the masked-language-model head in one file, to be changed."""
    shutil.copytree(GOLDENS / "h5_pretraining", tmp_path / "model")
    return tmp_path / "model"


def datasets(path):
    found = {}
    with h5py.File(path, "r") as file:
        file.visititems(lambda name, x: found.update({name: x[...]}) if isinstance(x, h5py.Dataset) else None)
    return found


# --- names --------------------------------------------------------------------------------------------------------------


def test_the_table_has_every_weight_but_those_that_tensorflow_has_not():
    """Names there and back. A table of relative positions, and a decoder's own weight, are what TensorFlow never stores."""
    layer = "encoder.albert_layer_groups.{}.albert_layers.{}.{}"
    hub = [*BASE, *(name for part in PARTS.values() for name in part)]
    hub += [layer.format(group, inner, name) for group, inner in ((0, 0), (1, 3), (11, 0)) for name in LAYER]
    without = {name for name in hub if name.endswith(("distance_embedding.weight", "decoder.weight"))}
    for name in {*hub} - without:
        prefix = "albert." if name.startswith(("embeddings", "encoder", "pooler")) else ""
        for before in ("", "tf_albert_model_12/", "predictions/tf_albert_for_masked_lm/"):
            assert tensorflow_names.hub_name(f"{before}{tensorflow_names.tensorflow_name(name)}:0") == prefix + name
    for name in without:
        with pytest.raises(ValueError, match="no weight for"):
            tensorflow_names.tensorflow_name(name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "albert/encoder/albert_layer_groups_._0/albert_layers_._1/layer_normalization_7/gamma:0",
            "full_layer_layer_norm",
        ),
        (
            "albert/encoder/albert_layer_groups_._0/albert_layers_._1/attention/layer_normalization/gamma",
            "attention.LayerNorm",
        ),
        ("albert/embeddings/layer_normalization_3/gamma:0", "embeddings.LayerNorm"),
        ("predictions/layer_normalization_3/gamma:0", "predictions.LayerNorm"),
        ("x/albert/embeddings/position_embeddings/weight:0", "embeddings.position_embeddings"),
        ("x/albert/embeddings/word_embeddings/embeddings:0", "embeddings.word_embeddings"),
    ],
)
def test_other_words_for_a_layer_are_known_where_its_place_says_which_it_is(name, expected):
    assert tensorflow_names.hub_name(name).removesuffix(".weight").endswith(expected)


@pytest.mark.parametrize(
    "name", ["layer_normalization_3/gamma:0", "gamma", "", "a/b/c:0", "albert/encoder/weight", "//:0"]
)
def test_a_name_that_is_not_alberts_stays_as_it_is(name):
    assert tensorflow_names.hub_name(name) == ""


# --- TensorFlow's own files ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_every_dataset_is_read_with_h5pys_values_in_hugging_faces_orientation(name):
    for path in (GOLDENS / name).glob("*.h5"):
        stored, seen = datasets(path), 0
        for tensor in h5.read(path):
            x = stored[tensor.name]
            np.testing.assert_array_equal(tensor.load(), x.T if tensor.name.endswith("kernel:0") else x)
            assert tensor.shape == tensor.load().shape
            assert tensor.hub_name
            seen += 1
        assert seen == len({tensorflow_names.hub_name(key) for key in stored})


def test_the_decoders_bias_counts_and_the_other_may_be_anything(masked_lm):
    """TensorFlow adds predictions/decoder/bias; transformers' converter to PyTorch takes the other one."""
    path = masked_lm / "tf_model.h5"
    before = albert_np.AlbertForPreTraining.from_pretrained(masked_lm).state_dict()["predictions.bias"]
    with h5py.File(path, "r+") as file:
        name = next(name for name in datasets(path) if name.endswith("predictions/bias:0"))
        file[name][...] = np.nan
    after = albert_np.AlbertForPreTraining.from_pretrained(masked_lm).state_dict()["predictions.bias"]
    np.testing.assert_array_equal(before, after)


def test_untied_means_tied_in_tensorflow(masked_lm):
    """tie_word_embeddings=false changes nothing there: the decoder is the word table."""
    tied = albert_np.AlbertForPreTraining.from_pretrained(masked_lm)
    untied = albert_np.AlbertForPreTraining.from_pretrained(masked_lm, tie_word_embeddings=False)
    ids = [[2, 5, 7, 3]]
    np.testing.assert_array_equal(tied(ids).prediction_logits, untied(ids).prediction_logits)


def test_of_two_copies_of_the_embeddings_the_last_layers_counts(masked_lm):
    """As in TensorFlow, which sets the weights of "albert", and then those of "predictions"."""
    path = masked_lm / "tf_model.h5"
    first, last = (name for name in datasets(path) if name.endswith(WORDS))
    with h5py.File(path, "r+") as file:
        file[first][...] = 0
        file[last][0, 0] = 7
    words = albert_np.AlbertForPreTraining.from_pretrained(masked_lm).state_dict()[
        "albert.embeddings.word_embeddings.weight"
    ]
    assert words[0, 0] == 7
    assert np.count_nonzero(words) > 1
    with h5py.File(path, "r+") as file:
        x = file[first][...]
        del file[first]
        file[first] = x[:-1]
    assert "with another shape" in refusal(path)


def test_a_table_of_another_shape_is_not_reshaped(masked_lm):
    path = masked_lm / "tf_model.h5"
    with h5py.File(path, "r+") as file:
        for name in [name for name in datasets(path) if name.endswith(WORDS)]:
            x = file[name][...].reshape(file[name].shape[::-1])
            del file[name]
            file[name] = x
    with pytest.raises(ValueError, match=r"word_embeddings.* has the shape"):
        albert_np.AlbertForPreTraining.from_pretrained(masked_lm)


def test_attributes_may_be_of_any_kind_or_missing(masked_lm):
    path = masked_lm / "tf_model.h5"
    before = {name: tensor.load() for name, tensor in by_hub_name(path).items()}
    with h5py.File(path, "r+") as file:
        for group in (file, *(file[name] for name in file)):
            for key in list(group.attrs):
                del group.attrs[key]
    after = {name: tensor.load() for name, tensor in by_hub_name(path).items()}
    assert list(before) == list(after)
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_the_optimizers_own_weights_are_left_out(tmp_path):
    def fill(file):
        file["model_weights/albert/albert/" + WORDS] = np.ones((3, 2), np.float32)
        file["optimizer_weights/Adam/m/albert/" + WORDS] = np.zeros((3, 2), np.float32)

    (tensor,) = h5.read(made(tmp_path, fill))
    np.testing.assert_array_equal(tensor.load(), np.ones((3, 2)))


# --- writing ------------------------------------------------------------------------------------------------------------

CLASSES = ["Model", "ForPreTraining", "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification"]
CLASSES += ["ForQuestionAnswering", "ForMultipleChoice"]
SIZES = {"vocab_size": 30, "embedding_size": 6, "hidden_size": 12, "num_attention_heads": 3, "intermediate_size": 20}
SIZES |= {"num_hidden_layers": 4, "num_hidden_groups": 2, "inner_group_num": 2, "max_position_embeddings": 9}


def written(folder, model, dtype=np.float32, **more):
    tensors = as_tensors({name: x.astype(dtype) for name, x in to_store(dict(model.named_parameters())).items()} | more)
    save(folder, model.config, tensors, kind=h5.FORMAT, architecture=type(model).__name__)
    return folder / "tf_model.h5"


@pytest.mark.parametrize("kind", CLASSES)
def test_what_is_written_is_read_again_bit_for_bit(tmp_path, kind):
    model = getattr(albert_np, f"Albert{kind}")(albert_np.AlbertConfig(**SIZES), backend="numpy", seed=5)
    written(tmp_path, model)
    again = type(model).from_pretrained(tmp_path, backend="numpy")
    for (name, x), (other, y) in zip(model.named_parameters(), again.named_parameters(), strict=True):
        assert name == other
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("name", [name for name in MODELS if (GOLDENS / name / "tf_model.h5").exists()])
def test_a_file_has_tensorflows_layout(tmp_path, name):
    """Beside a file of TensorFlow: the same layers, each weight under the same name, but for the word embeddings once more."""
    cls = getattr(albert_np, json.loads((GOLDENS / "manifest.json").read_text())[name]["class"])
    theirs = GOLDENS / name / "tf_model.h5"
    mine = written(tmp_path, cls.from_pretrained(GOLDENS / name, backend="numpy"))

    def names(path, layer):
        with h5py.File(path, "r") as file:
            found = [text if isinstance(text, str) else text.decode() for text in file[layer].attrs["weight_names"]]
            assert all(weight in file[layer] for weight in found)
            shapes = {weight: file[layer][weight].shape for weight in found}
        # the model's name and its counter differ from process to process; transformers drops it
        return {weight.partition("/")[2]: shape for weight, shape in shapes.items()}

    with h5py.File(theirs, "r") as file:
        layers = [layer for layer in file if len(file[layer].attrs["weight_names"])]
    with h5py.File(mine, "r") as file:
        assert sorted(file.attrs["layer_names"]) == sorted(layers)
    for layer in layers:
        expected = names(theirs, layer)
        if layer == "predictions":
            large = ("albert/embeddings/word_embeddings", "albert/embeddings/LayerNorm")
            expected = {weight: shape for weight, shape in expected.items() if not weight.startswith(large)}
        assert names(mine, layer) == expected


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_values_keep_their_dtype(tmp_path, dtype):
    model = albert_np.AlbertForMaskedLM(albert_np.AlbertConfig(**SIZES), backend="numpy", seed=5)
    path = written(tmp_path, model, dtype)
    assert {x.dtype for x in datasets(path).values()} == {np.dtype(dtype)}


def test_what_tensorflow_would_compute_otherwise_is_not_written(tmp_path):
    model = albert_np.AlbertForMaskedLM(albert_np.AlbertConfig(**SIZES, tie_word_embeddings=False), backend="numpy")
    assert "which differs from them" in refusals.refusal(written, tmp_path, model)
    relative = albert_np.AlbertConfig(**SIZES, position_embedding_type="relative_key")
    assert "no weight for" in refusals.refusal(written, tmp_path, albert_np.AlbertModel(relative, backend="numpy"))
    half = as_tensors({"embeddings.word_embeddings.weight": np.ones((3, 2), np.float32)}, "BF16")
    assert "BF16" in refusals.refusal(h5.FORMAT.write, tmp_path / "tf_model.h5", half, "AlbertModel")
    assert list(tmp_path.iterdir()) == []


def test_a_long_list_of_names_is_split_as_keras_splits_it(tmp_path):
    """An attribute of HDF5 holds 64 KiB."""
    path, layer = tmp_path / "tf_model.h5", "encoder.albert_layer_groups.{}.albert_layers.0.ffn_output.bias"
    tensors = as_tensors({layer.format(i): np.full(3, i, np.float32) for i in range(2001)})
    h5.FORMAT.write(path, tensors, "AlbertModel")
    with h5py.File(path, "r") as file:
        attributes = file["albert"].attrs
        assert "weight_names" not in attributes
        assert sum(len(attributes[name]) for name in attributes) == len(tensors)
    found = by_hub_name(path)
    assert all(np.array_equal(found[f"albert.{name}"].load(), x.load()) for name, x in tensors.items())


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


def test_without_h5py_files_are_read_and_a_save_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    model = albert_np.TFAlbertModel.from_pretrained(GOLDENS / "h5_model", backend="numpy")
    says = refusals.refusal(model.save_pretrained, tmp_path, safe_serialization=False)
    assert says == 'writing tf_model.h5 needs h5py, which is not installed: pip install "albert-np[formats]"'
    assert list(tmp_path.iterdir()) == []


def test_a_save_names_the_file_that_it_cannot_write_and_not_the_temporary_one(tmp_path):
    """And it takes away the several files of an earlier save, of which no index would speak any more."""
    model = albert_np.TFAlbertForMaskedLM.from_pretrained(GOLDENS / "h5_masked_lm_sharded", backend="numpy")
    untied = albert_np.TFAlbertForMaskedLM(model.config.replace(tie_word_embeddings=False), backend="numpy")
    says = refusals.refusal(untied.save_pretrained, tmp_path, safe_serialization=False)
    assert says.startswith("tf_model.h5 cannot hold this model")
    shutil.copytree(GOLDENS / "h5_masked_lm_sharded", tmp_path, dirs_exist_ok=True)
    model.save_pretrained(tmp_path, safe_serialization=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "expected.npz", "tf_model.h5"]
