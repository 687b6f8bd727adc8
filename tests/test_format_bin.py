"""pytorch_model.bin: what torch's and hand-written files hold is read; tests/test_evil_pickles.py has hostile ones."""

import io
import json
import pickle
import pickletools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import TESTS, checkpoints, torch_files
from support.refusals import refusal
from support.torch_files import described, program, saved, storage, table, view, zipped

import albert_np
from albert_np.checkpoints.formats import bin
from albert_np.golden.cases import PARTS

GOLDENS = TESTS / "goldens" / "formats"
NUMBERS = np.arange(1, 61, dtype=np.float32)


def read(path):
    return {tensor.name: tensor for tensor in bin.read(path)}


def values(path):
    return {name: tensor.load() for name, tensor in read(path).items()}


def put(folder, content, name="pytorch_model.bin"):
    path = folder / name
    path.write_bytes(content)
    return path


def model_folder(folder, content, config=checkpoints.CONFIG):
    config.save_pretrained(folder)
    put(folder, content)
    return folder


# --- reading --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("older", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("kind", PARTS)
def test_every_class_is_read(tmp_path, kind, older):
    arrays = checkpoints.tensors(kind)
    model = getattr(albert_np, kind).from_pretrained(model_folder(tmp_path, saved(arrays, older, ordered=True)))
    checkpoints.assert_holds(model, arrays)


@pytest.mark.parametrize("older", [False, True], ids=["zip", "legacy"])
def test_every_dtype_comes_with_its_bits(tmp_path, older):
    rng = np.random.default_rng(3)
    floats = rng.standard_normal((3, 5))
    arrays = {
        "double": floats,
        "float": floats.astype(np.float32),
        "half": floats.astype(np.float16),
        "bfloat16": torch_files.bfloat16(floats),
        "long": rng.integers(-(2**62), 2**62, (4,)),
        "byte": rng.integers(0, 256, (2, 2)).astype(np.uint8),
        "bool": np.array([True, False, True]),
        "scalar": np.array(2.5, np.float32),
        "empty": np.zeros((0, 3), np.float32),
    }
    path = put(tmp_path, saved(arrays, older))
    words = {name: (tensor.shape, tensor.dtype) for name, tensor in read(path).items()}
    assert words == {
        "double": ((3, 5), "F64"),
        "float": ((3, 5), "F32"),
        "half": ((3, 5), "F16"),
        "bfloat16": ((3, 5), "BF16"),
        "long": ((4,), "I64"),
        "byte": ((2, 2), "U8"),
        "bool": ((3,), "BOOL"),
        "scalar": ((), "F32"),
        "empty": ((0, 3), "F32"),
    }
    found = values(path)
    upper = arrays.pop("bfloat16")
    assert found["bfloat16"].dtype == np.float32
    assert np.array_equal(found.pop("bfloat16").view(np.uint32), upper.astype(np.uint32) << 16)
    for name, x in arrays.items():
        assert found[name].dtype == x.dtype
        assert np.array_equal(found[name], x)


@given(st.data())
def test_any_view_of_a_storage_is_the_one_that_numpy_makes(tmp_path_factory, data):
    shape = data.draw(st.lists(st.integers(0, 4), max_size=4))
    strides = data.draw(st.lists(st.integers(0, 12), min_size=len(shape), max_size=len(shape)))
    offset = data.draw(st.integers(0, 20))
    stored = storage("0", NUMBERS.size)
    content = zipped(program(table({"x": view(stored, shape, strides, offset)})), {"0": NUMBERS.tobytes()})
    path = put(tmp_path_factory.mktemp("view"), content)
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    inside = last < NUMBERS.size if np.prod(shape) else offset <= NUMBERS.size
    if inside and np.prod(shape) <= NUMBERS.size:
        bytes_ = [4 * stride for stride in strides]
        expected = (
            np.lib.stride_tricks.as_strided(NUMBERS[offset:], shape, bytes_) if np.prod(shape) else np.empty(shape)
        )
        found = values(path)["x"]
        assert found.shape == tuple(shape)
        assert np.array_equal(found, expected)
    else:
        assert "tensor 'x'" in refusal(values, path)


def test_a_size_of_one_may_have_any_stride(tmp_path):
    entries = {"x": view(storage("0", 60), (1, 5, 1), (10**30, 2, 10**12), 3)}
    found = values(put(tmp_path, zipped(program(table(entries)), {"0": NUMBERS.tobytes()})))
    assert np.array_equal(found["x"], NUMBERS[3:13:2].reshape(1, 5, 1))


def test_a_transposed_matrix_is_the_same_in_any_size(tmp_path):
    x = np.random.default_rng(5).standard_normal((67, 130)).astype(np.float32)
    entries = {"x": view(storage("0", x.size), (130, 67), (1, 130))}
    assert np.array_equal(values(put(tmp_path, zipped(program(table(entries)), {"0": x.tobytes()})))["x"], x.T)


def test_a_model_in_one_storage_with_offsets_is_read(tmp_path):
    arrays = checkpoints.tensors("AlbertForTokenClassification")
    stored, at, entries = storage("0", sum(x.size for x in arrays.values())), 0, {}
    for name, x in arrays.items():
        entries[name] = view(stored, x.shape, offset=at)
        at += x.size
    raw = b"".join(x.tobytes() for x in arrays.values())
    folder = model_folder(tmp_path, zipped(program(table(entries)), {"0": raw}))
    checkpoints.assert_holds(albert_np.AlbertForTokenClassification.from_pretrained(folder), arrays)


def test_tied_tensors_may_share_a_storage(tmp_path):
    arrays = checkpoints.tensors("AlbertForMaskedLM")
    entries, storages = described(arrays)
    words, bias = (entries[name] for name in ("albert.embeddings.word_embeddings.weight", "predictions.bias"))
    entries |= {"predictions.decoder.weight": words, "predictions.decoder.bias": bias}
    model = albert_np.AlbertForMaskedLM.from_pretrained(
        model_folder(tmp_path, zipped(program(table(entries)), storages))
    )
    checkpoints.assert_holds(model, arrays)


@pytest.mark.parametrize("older", [False, True], ids=["zip", "legacy"])
def test_where_a_storage_was_does_not_matter(tmp_path, older):
    arrays = checkpoints.tensors("AlbertModel")
    folder = model_folder(tmp_path, saved(arrays, older, place="cuda:0"))
    checkpoints.assert_holds(albert_np.AlbertModel.from_pretrained(folder), arrays)


def test_parameters_and_metadata_are_read_over(tmp_path):
    arrays = checkpoints.tensors("AlbertModel")
    entries, storages = described(arrays)
    entries = {name: torch_files.parameter(tensor) for name, tensor in entries.items()}
    versions = table({"": table({"version": torch_files.number(1)})}, ordered=True)
    code = table(entries, ordered=True) + table({"_metadata": versions}) + torch_files.BUILD
    folder = model_folder(tmp_path, zipped(program(code), storages))
    checkpoints.assert_holds(albert_np.AlbertModel.from_pretrained(folder), arrays)


def test_the_first_files_gamma_beta_and_position_ids_are_read(tmp_path):
    arrays = checkpoints.tensors("AlbertModel")
    older = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): x
        for name, x in arrays.items()
    }
    older["embeddings.position_ids"] = np.arange(checkpoints.CONFIG.max_position_embeddings)[None]
    model = albert_np.AlbertModel.from_pretrained(model_folder(tmp_path, saved(older, older=True)))
    checkpoints.assert_holds(model, arrays)


def test_a_program_of_protocol_4_is_read(tmp_path):
    """Python's own pickler writes frames, short texts and a memo there; names and tensors are put in by hand."""

    class Pickler(pickle._Pickler):
        """Python's pickler in Python, which looks no global up."""

        def save_global(self, obj, name=None):
            module, _, name = obj.name.rpartition(".")
            self.save(module)
            self.save(name)
            self.write(pickle.STACK_GLOBAL)
            self.memoize(obj)

        def persistent_id(self, obj):
            return ("storage", Global("torch.FloatStorage"), "0", "cpu", 60) if obj is stored else None

    class Global:
        def __init__(self, name):
            self.name = name

        def __call__(self):
            raise AssertionError

    class Call:
        def __init__(self, name, *values):
            self.values = Global(name), values

        def __reduce__(self):
            return self.values

    Pickler.dispatch = pickle._Pickler.dispatch | {Global: Pickler.save_global}
    stored = object()
    tensor = Call("torch._utils._rebuild_tensor_v2", stored, 4, (5, 2), (2, 1), False, Call("collections.OrderedDict"))
    out = io.BytesIO()
    Pickler(out, 4).dump({"x": tensor})
    assert {"FRAME", "MEMOIZE", "STACK_GLOBAL"} <= {code.name for code, *_ in pickletools.genops(out.getvalue())}
    found = values(put(tmp_path, zipped(out.getvalue(), {"0": NUMBERS.tobytes()})))
    assert np.array_equal(found["x"], NUMBERS[4:14].reshape(5, 2))


@pytest.mark.parametrize("older", [False, True], ids=["zip", "legacy"])
def test_tensors_keep_the_order_of_the_state_dict(tmp_path, older):
    arrays = dict.fromkeys("zaxby", NUMBERS[:3])
    assert list(read(put(tmp_path, saved(arrays, older)))) == list("zaxby")


def test_headers_are_read_without_the_numbers(tmp_path):
    """A file of 3 GB, of holes: whoever read it would take seconds and gigabytes."""
    entries = {"big": view(storage("0", 3 * 2**28), (3 * 2**14, 2**14))}
    content = zipped(program(table(entries)), {"0": b""}, {"data/0": b"", "version": None})
    start = content.index(b"pytorch_model/data/0") + len("pytorch_model/data/0")
    directory = bytearray(content[start:])
    path = tmp_path / "pytorch_model.bin"
    size = 3 * 2**30
    head = bytearray(content[:start])
    for part, at in ((head, head.rindex(b"PK\3\4") + 18), (directory, directory.rindex(b"PK\1\2") + 20)):
        part[at : at + 8] = size.to_bytes(4, "little") * 2
    end = directory.index(b"PK\5\6") + 16
    directory[end : end + 4] = (start + size).to_bytes(4, "little")
    with path.open("wb") as file:
        file.write(head)
        file.seek(start + size)
        file.write(directory)
    tracemalloc.start()
    try:
        tensor = read(path)["big"]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert tensor.shape == (3 * 2**14, 2**14)
    assert peak < 2**20


def test_a_tensor_is_read_alone(tmp_path):
    """The memory that one of many tensors takes is its own."""
    arrays = {name: np.ones(2**18, np.float32) for name in "abcdefgh"}
    tensors = read(put(tmp_path, saved(arrays)))
    tracemalloc.start()
    try:
        tensors["c"].load()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.1 * 2**20


@pytest.mark.parametrize("older", [False, True], ids=["zip", "legacy"])
def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path, older):
    path = put(tmp_path, saved({"x": NUMBERS}, older))
    tensor = read(path)["x"]
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(OSError, match=r"pytorch_model\.bin was cut off"):
        tensor.load()


def test_shards_are_read_and_lead_nowhere_else(tmp_path):
    arrays = checkpoints.tensors("AlbertForMaskedLM")
    checkpoints.CONFIG.save_pretrained(tmp_path)
    names = {name: f"pytorch_model-{i % 2 + 1:05}-of-00002.bin" for i, name in enumerate(arrays)}
    for file in set(names.values()):
        put(tmp_path, saved({name: x for name, x in arrays.items() if names[name] == file}), file)
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": names}))
    checkpoints.assert_holds(albert_np.AlbertForMaskedLM.from_pretrained(tmp_path), arrays)
    for outside in ("../pytorch_model.bin", "/etc/passwd", "sub/pytorch_model.bin", "model.safetensors"):
        index.write_text(json.dumps({"weight_map": names | {"predictions.bias": outside}}))
        assert outside in refusal(albert_np.AlbertForMaskedLM.from_pretrained, tmp_path)


def test_safetensors_come_first_and_use_safetensors_chooses(tmp_path):
    first, second = (checkpoints.tensors("AlbertModel", seed=seed) for seed in (1, 2))
    model_folder(checkpoints.write(tmp_path, first), saved(second))
    load = albert_np.AlbertModel.from_pretrained
    for choice, expected in ((None, first), (True, first), (False, second)):
        checkpoints.assert_holds(load(tmp_path, use_safetensors=choice), expected)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(OSError, match="use_safetensors"):
        load(tmp_path, use_safetensors=True)


def test_every_golden_of_torch_is_read():
    folders = [folder for folder in GOLDENS.iterdir() if folder.name.startswith("bin_")]
    assert len(folders) > 5
    for folder in folders:
        kind = json.loads((folder / "config.json").read_text())["architectures"][0]
        assert getattr(albert_np, kind).from_pretrained(folder).num_parameters() > 0


# --- torch ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parity
@pytest.mark.parametrize("how", [{}, {"pickle_protocol": 4}, {"_use_new_zipfile_serialization": False}], ids=str)
def test_what_torch_saves_is_read_to_the_bit(torch, tmp_path, how):
    torch.manual_seed(1)
    base = torch.randn(8, 9)
    state = {
        "plain": torch.randn(3, 4),
        "transposed": base.T,
        "part": base[2:5, 1:7:2],
        "whole": base,
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(1.5),
        "parameter": torch.nn.Parameter(torch.randn(5)),
        "ids": torch.arange(12).expand((1, -1)),
        "permuted": torch.randn(2, 3, 4).permute(2, 0, 1),
        **{str(kind): torch.randn(4, 3).to(kind) for kind in (torch.float16, torch.float64, torch.bfloat16)},
    }
    path = tmp_path / "pytorch_model.bin"
    torch.save(state, path, **how)
    found = values(path)
    assert list(found) == list(state)
    for name, x in state.items():
        expected = x.detach().float() if x.dtype == torch.bfloat16 else x.detach()
        assert np.array_equal(found[name], expected.numpy())


@pytest.mark.parity
def test_files_without_checksums_are_read(torch, tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"x": torch.ones(3)}, tmp_path / "pytorch_model.bin")
    finally:
        torch.serialization.set_crc32_options(True)
    assert np.array_equal(values(tmp_path / "pytorch_model.bin")["x"], np.ones(3))
