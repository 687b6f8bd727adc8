"""Files of any format from somebody who knows the readers: small files that ask for much, names and places that hide others."""

import json
import shutil
import struct
import time
import tracemalloc
import zlib

import h5py
import msgpack
import numpy as np
import pytest
from onnx import helper
from support import TESTS, onnx_exports
from support import torch_files as torch
from support.onnx_exports import TINY, external, written
from support.refusals import refusal

from albert_np import AlbertConfig, AlbertForMaskedLM, AlbertModel, verify
from albert_np.checkpoints import stored
from albert_np.checkpoints.formats import bin, h5, onnx, safetensors, tensorflow_names
from albert_np.checkpoints.formats import msgpack as flax
from albert_np.checkpoints.formats.onnx_steps import MANY, MAX_ORIGINS, View, union
from albert_np.checkpoints.formats.protocol import as_tensors
from albert_np.checkpoints.names import expected_shapes

GOLDENS = TESTS / "goldens" / "formats"
NORM = "embeddings.LayerNorm.weight"
HUGE = 1 << 28  # a float32 tensor of so many numbers takes 1 GiB, and nothing on a disk that stores no zeros


def shapes(kind="AlbertModel"):
    return expected_shapes(TINY, ("pooler",) if kind == "AlbertModel" else ("predictions",))


def sparse(folder, table, kind):
    """A folder whose tensors have these shapes, and take no room on the disk."""
    TINY.replace(architectures=[kind]).save_pretrained(folder)
    entries, end = {}, 0
    for name, shape in table.items():
        begin, end = end, end + 4 * int(np.prod(shape))
        entries[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [begin, end]}
    head = json.dumps(entries).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(head)) + head)
        file.truncate(8 + len(head) + end)
    return folder


class Memory:
    """Fails if over 100 MB were allocated at a time."""

    def __enter__(self):
        tracemalloc.start()

    def __exit__(self, *_):
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 100 << 20


# --- shapes come before numbers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"predictions.bias": (HUGE,), "predictions.decoder.bias": (HUGE,)}, "but the config says"),
        ({NORM: (HUGE,), "embeddings.LayerNorm.gamma": (HUGE,)}, "two names of one tensor"),
    ],
    ids=["two biases", "weight and gamma"],
)
def test_a_tensor_stored_twice_is_not_read_before_its_shape_is_looked_at(tmp_path, table, said):
    folder = sparse(tmp_path / "m", shapes("AlbertForMaskedLM") | table, "AlbertForMaskedLM")
    with Memory():
        assert said in refusal(AlbertForMaskedLM.from_pretrained, folder)


@pytest.mark.parametrize(
    "table",
    [
        {"encoder.embedding_hidden_mapping_in.weight": (HUGE, 1)},
        {"predictions.bias": (HUGE,), "predictions.decoder.bias": (HUGE,)},
        {"embeddings.word_embeddings.weight": (HUGE, 1), "predictions.decoder.weight": (HUGE, 1)},
    ],
    ids=["a matrix", "two biases", "two tables"],
)
def test_verify_reads_no_numbers_of_tensors_that_have_another_shape(tmp_path, table):
    folder = sparse(tmp_path / "m", shapes("AlbertForMaskedLM") | table, "AlbertForMaskedLM")
    with Memory():
        found = verify(folder)
    assert [one.about for one in found.of("error")] == ["shapes"]


def test_verify_compares_two_formats_by_their_shapes_first(tmp_path):
    folder = sparse(tmp_path / "m", shapes(), "AlbertModel")
    extra = torch.view(torch.storage("0", HUGE), (HUGE,))
    head = torch.legacy(torch.program(torch.table({"extra": extra})), {"0": b""}, {"0": 4})
    with (folder / "pytorch_model.bin").open("wb") as file:
        file.write(head[:-8] + struct.pack("<q", HUGE))
        file.truncate(len(head) + 4 * HUGE)
    sparse(folder, shapes() | {"extra": (HUGE,)}, "AlbertModel")
    with Memory():
        found = verify(folder)
    assert any("no tensor of ALBERT has" in one.what for one in found.findings)


# --- small files, large claims -------------------------------------------------------------------------------------------


def test_tensors_of_one_storage_are_no_more_than_some_files(tmp_path):
    """torch's tensors may share a storage: a thousand of them would make gigabytes of one."""
    shared = torch.storage("0", 1 << 16)
    entries = {str(i): torch.view(shared, (1 << 16,)) for i in range(20)}
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(torch.zipped(torch.program(torch.table(entries)), {"0": bytes(4 << 16)}))
    assert "5,242,880 bytes of tensors" in refusal(lambda: list(bin.read(path)))


def test_few_entries_do_not_lie_all_over_a_storage(tmp_path):
    """What lies between the first and the last entry of a tensor is read with them."""
    far = torch.view(torch.storage("0", HUGE), (6,), (HUGE // 6,))
    head = torch.legacy(torch.program(torch.table({NORM: far})), {"0": b""}, {"0": 4})
    path = tmp_path / "pytorch_model.bin"
    with path.open("wb") as file:
        file.write(head[:-8] + struct.pack("<q", HUGE))
        file.truncate(len(head) + 4 * HUGE)
    assert "has 6 entries, which lie among" in refusal(lambda: list(bin.read(path)))


def damaged_h5(tmp_path, fill):
    path = tmp_path / "tf_model.h5"
    shutil.copy(GOLDENS / "h5_model" / "tf_model.h5", path)
    with h5py.File(path, "r+") as file:
        fill(file)
    return path


def test_a_piece_may_not_be_much_larger_than_its_dataset(tmp_path):
    """Nothing but the edges of pieces reaches beyond a dataset; a piece that is almost all edge can be a gzip bomb."""

    def fill(file):
        count = 1 << 24
        x = file.create_dataset("w", (8,), "f4", chunks=(count,), maxshape=(None,), compression="gzip")
        x.id.write_direct_chunk((0,), zlib.compress(bytes(4 * count), 9))

    assert "says that it holds 67," in refusal(lambda: list(h5.read(damaged_h5(tmp_path, fill))))


def test_pieces_of_an_axis_without_end_are_not_listed(tmp_path):
    """Of a dataset without any numbers no piece is due, however long its other axis is."""
    path = damaged_h5(
        tmp_path, lambda file: file.create_dataset("w", (0, 1 << 40), "f4", chunks=(1, 1 << 13), maxshape=(None, None))
    )
    with Memory():
        assert {tensor.name for tensor in h5.read(path)} >= {"w"}


def test_a_filter_is_applied_once(tmp_path):
    def fill(file):
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_chunk((8,))
        for _ in range(2):
            plan.set_shuffle()
        x = h5py.h5d.create(file.id, b"w", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((8,)), plan)
        x.write(h5py.h5s.ALL, h5py.h5s.ALL, np.ones(8, np.float32))

    assert "packed twice by the same filter" in refusal(lambda: list(h5.read(damaged_h5(tmp_path, fill))))


def test_names_of_msgpack_do_not_grow_with_their_depth(tmp_path):
    """A hundred thousand leaves under a long name would make a name of kilobytes each."""
    tree = {"leaf": msgpack.ExtType(1, msgpack.packb(((0,), "float32", b"")))}
    for _ in range(5):
        tree = {"x" * 250: tree}
    path = tmp_path / "flax_model.msgpack"
    path.write_bytes(msgpack.packb(tree))
    assert "over 1,024 characters" in refusal(lambda: list(flax.read(path)))


def test_a_size_of_an_array_in_chunks_fits_into_some_file(tmp_path):
    empty = msgpack.ExtType(1, msgpack.packb(((0,), "float32", b"")))
    sizes = {"0": 2**64 - 1, "1": 0}
    path = tmp_path / "flax_model.msgpack"
    path.write_bytes(msgpack.packb({"w": {"__msgpack_chunked_array__": True, "shape": sizes, "chunks": {"0": empty}}}))
    assert "do not fill its shape" in refusal(lambda: list(flax.read(path)))


def test_hundreds_of_thousands_of_tensors_are_not_compared_with_the_table(tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "MAX_TENSORS", 100)
    folder = sparse(tmp_path / "m", dict.fromkeys(map(str, range(101)), (0,)), "AlbertModel")
    assert "over 100 tensors" in refusal(AlbertModel.from_pretrained, folder)


def test_second_names_are_not_compared_without_end(tmp_path):
    TINY.save_pretrained(tmp_path)
    names = {f"{i}/classifier/kernel": np.zeros((0, 0), np.float32) for i in range(2_100)}
    safetensors.write(tmp_path / "model.safetensors", as_tensors(names))
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes().replace(b'"pt"', b'"tf"'))
    assert "over 2,000 tensors under second names" in refusal(AlbertModel.from_pretrained, tmp_path)


def test_a_kernel_that_is_one_number_is_not_turned(tmp_path):
    """Two of them are compared before the config is looked at."""
    TINY.save_pretrained(tmp_path)
    safetensors.write(
        tmp_path / "model.safetensors",
        as_tensors({f"{name}/classifier/kernel": np.ones((), np.float32) for name in "ab"}),
    )
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes().replace(b'"pt"', b'"tf"'))
    assert "only a head and a pooler can be drawn" in refusal(AlbertModel.from_pretrained, tmp_path)


def test_layers_in_layers_count_as_often_as_they_are_applied():
    """Weights are shared, so that a small file could keep a model at work for hours."""
    said = "at most 10 with 100 layers (1000 applications in all; max_layers= allows more)"
    assert said in refusal(AlbertConfig, num_hidden_layers=100, inner_group_num=11)
    config = AlbertConfig(num_hidden_layers=100, inner_group_num=11, max_layers=1100)
    assert config.replace(hidden_act="relu").inner_group_num == 11


# --- ONNX: time with the square of a count -------------------------------------------------------------------------------


def test_many_maps_in_one_role_are_not_compared_with_each_other(tmp_path, monkeypatch):
    count, size = 300, (8, 12)

    def change(proto):
        nodes, tensors = proto.graph.node, proto.graph.initializer
        kernels = {tensor.name for tensor in tensors if tuple(tensor.dims) == size}
        ffn = next(node for node in nodes if node.op_type == "MatMul" and node.input[1] in kernels)
        for i in range(count):
            tensors.add(name=f"w{i}", data_type=1, dims=size).raw_data = bytes(4 * 8 * 12)
            nodes.append(helper.make_node("MatMul", [ffn.input[0], f"w{i}"], [f"map {i}"]))

    written(tmp_path, change=change)
    compared = []
    equal = View.__eq__
    monkeypatch.setattr(View, "__eq__", lambda one, other: compared.append(1) or equal(one, other))
    assert "adds encoder" in refusal(lambda: list(onnx.read(tmp_path / "model.onnx")))  # most of the maps have no bias
    assert len(compared) < 10 * count


def test_copies_of_one_role_are_listed_once(tmp_path):
    """The names that a role has are not collected again for each further one."""

    def change(proto):
        for i in range(15_000):
            tensor = proto.graph.initializer.add(name=f"x{i}.embeddings.LayerNorm.bias", data_type=1, dims=[6])
            tensor.raw_data = bytes(24)

    written(tmp_path, change=change)
    start = time.process_time()
    list(onnx.read(tmp_path / "model.onnx"))
    assert time.process_time() - start < 3


def test_a_value_of_more_steps_than_matter_is_not_made_of_all_of_them():
    steps = iter([frozenset({i}) for i in range(10_000)])
    assert union(steps) == MANY
    assert next(steps) == frozenset({MAX_ORIGINS + 1})


def test_values_in_another_file_do_not_overlap(tmp_path):
    """Thousands of copies, each a byte further on, would be thousands of tensors to compare."""

    def change(proto):
        data = external(proto)
        first, second = proto.graph.initializer[:2]
        about = {entry.key: entry for entry in second.external_data}
        about["offset"].value = str(int(first.external_data[1].value) + 4)
        (tmp_path / "model.onnx_data").write_bytes(data)

    written(tmp_path, change=change)
    assert "overlap those of" in onnx_exports.refused(tmp_path)


# --- names that hide others ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", ["00", "٠", "0" * 4], ids=["two zeros", "Arabic zero", "four zeros"])
def test_another_spelling_of_a_number_is_no_name_of_a_layer(number):
    """Of two datasets with one name of ALBERT the last one counts: such a name would take the place of the real one."""
    name = "albert/encoder/albert_layer_groups_._{}/albert_layers_._0/ffn/bias:0"
    assert tensorflow_names.hub_name(name.format(0)).endswith("ffn.bias")
    assert tensorflow_names.hub_name(name.format(number)) == ""


def test_two_datasets_of_one_name_are_refused(tmp_path):
    """HDF5 finds one of them, which one depends on the order of its tree."""

    def fill(file):
        file["aa/x"], file["aa/y"] = np.ones(3, np.float32), np.zeros(3, np.float32)

    path = damaged_h5(tmp_path, fill)
    data = path.read_bytes()
    at = data.rindex(b"x\0\0\0\0\0\0\0y\0\0\0\0\0\0\0")
    path.write_bytes(data[:at] + b"y" + data[at + 1 :])
    assert "'aa/y' stands there twice" in refusal(lambda: list(h5.read(path)))


def test_datasets_do_not_overlap(tmp_path):
    def fill(file):
        file["a"], file["b"] = np.full(3, 7, np.float32), np.full(3, 9, np.float32)

    path = damaged_h5(tmp_path, fill)
    data = path.read_bytes()
    one, other = (data.rindex(np.full(3, x, np.float32).tobytes()) for x in (7, 9))
    data = data.replace(struct.pack("<Q", other), struct.pack("<Q", one + 4))
    path.write_bytes(data)
    assert "overlap those of" in refusal(lambda: list(h5.read(path)))
