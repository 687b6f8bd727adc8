"""Writing pytorch_model.bin: Python's own zipfile and pickle read the same bits, and so do torch and transformers."""

import io
import pickle
import pickletools
import zipfile

import numpy as np
import pytest
from support import checkpoints, torch_files
from support.refusals import refusal

import albert_np
from albert_np.checkpoints.formats import bin, bin_writer
from albert_np.checkpoints.formats.protocol import Tensor, as_tensors
from albert_np.golden.cases import PARTS


def values(path):
    return {tensor.name: tensor.load() for tensor in bin.read(path)}


class Reader(pickle.Unpickler):
    """Python's pickle on what was written, with these globals and no others."""

    def find_class(self, module, name):
        known = {
            ("collections", "OrderedDict"): dict,
            ("torch._utils", "_rebuild_tensor_v2"): self.tensor,
            **{("torch", kind): kind for kind in torch_files.KINDS.values()},
        }
        return known[module, name]

    def persistent_load(self, pid):
        word, kind, key, place, length = pid
        assert (word, place) == ("storage", "cpu")
        dtype = {kind: dtype for dtype, kind in torch_files.KINDS.items()}[kind]
        x = np.frombuffer(self.archive.read(f"archive/data/{key}"), dtype)
        assert x.size == length
        return x

    def tensor(self, x, offset, shape, strides, grad, hooks):
        assert (offset, grad, hooks) == (0, False, {})
        assert list(strides) == torch_files.c_strides(shape)
        return x.reshape(shape)


def written(path):
    """The archive and the state dict of a file, by Python's own zipfile and pickle."""
    archive = zipfile.ZipFile(path)
    reader = Reader(io.BytesIO(archive.read("archive/data.pkl")))
    reader.archive = archive
    return archive, reader.load()


def test_what_is_written_is_read_by_python_itself_to_the_bit(tmp_path):
    rng = np.random.default_rng(7)
    arrays = {f"{name}.{i}": rng.standard_normal((4, i)).astype(name) for i in range(4) for name in ("f2", "f4", "f8")}
    arrays |= {"ids": np.arange(9)[None], "scalar": np.float32(2).reshape(()), "é": np.zeros((2, 0, 3), np.float32)}
    path = tmp_path / "pytorch_model.bin"
    bin_writer.write(path, as_tensors(arrays))
    archive, state = written(path)
    assert archive.testzip() is None
    ours = values(path)
    assert list(state) == list(arrays) == list(ours)
    for found in (state, ours):
        for name, x in arrays.items():
            assert (found[name].dtype, found[name].shape) == (x.dtype, x.shape)
            assert found[name].tobytes() == x.tobytes()


def test_bfloat16_is_written_to_the_bit(tmp_path):
    bits = np.arange(2**16, dtype=np.uint16).reshape(256, 256)  # all there are, NaN too
    floats = (bits.astype(np.uint32) << 16).view(np.float32)
    path = tmp_path / "pytorch_model.bin"
    bin_writer.write(path, as_tensors({"x": floats}, "BF16"))
    assert np.array_equal(written(path)[1]["x"], bits)
    (tensor,) = bin.read(path)
    assert tensor.dtype == "BF16"
    assert np.array_equal(tensor.load().view(np.uint32), floats.view(np.uint32))


def test_the_archive_is_as_torch_makes_it(tmp_path):
    model = albert_np.AlbertForMaskedLM(checkpoints.CONFIG)
    model.save_pretrained(tmp_path, safe_serialization=False)
    content = (tmp_path / "pytorch_model.bin").read_bytes()
    archive, state = written(tmp_path / "pytorch_model.bin")
    for member in archive.infolist():
        names = (int.from_bytes(content[member.header_offset + at :][:2], "little") for at in (26, 28))
        assert (member.header_offset + 30 + sum(names)) % 64 == 0
        assert member.compress_type == zipfile.ZIP_STORED
    assert set(state) == set(model.state_dict())
    storages = [name for name in archive.namelist() if name.startswith("archive/data/")]
    assert len(storages) == len(dict(model.named_parameters())) == len(state) - 2  # both tied tensors are stored once
    opcodes = {code.name for code, *_ in pickletools.genops(archive.read("archive/data.pkl"))}
    assert " ".join(sorted(opcodes)) == (
        "BININT BINPERSID BINUNICODE EMPTY_DICT EMPTY_TUPLE GLOBAL MARK NEWFALSE PROTO REDUCE SETITEMS STOP TUPLE"
    )


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("size", ["5GB", "6KB"])
@pytest.mark.parametrize("kind", PARTS)
def test_a_model_comes_back_to_the_bit(tmp_path, kind, size, tied):
    config = checkpoints.CONFIG.replace(tie_word_embeddings=tied)
    model = getattr(albert_np, kind)(config, seed=4)
    model.save_pretrained(tmp_path, safe_serialization=False, max_shard_size=size)
    files = {path.name for path in tmp_path.iterdir()}
    assert ("pytorch_model.bin" in files) == (size == "5GB") == ("pytorch_model.bin.index.json" not in files)
    assert not [name for name in files if name.endswith((".tmp", ".safetensors"))]
    checkpoints.assert_holds(getattr(albert_np, kind).from_pretrained(tmp_path), model.state_dict())


def test_weights_of_an_earlier_save_do_not_hide_the_new_ones(tmp_path):
    first, second = (albert_np.AlbertModel(checkpoints.CONFIG, seed=seed) for seed in (1, 2))
    (tmp_path / "notes.txt").write_text("mine")
    for old in ({}, {"max_shard_size": "6KB"}):
        for new in ({}, {"max_shard_size": "6KB"}):
            first.save_pretrained(tmp_path, **old)
            second.save_pretrained(tmp_path, safe_serialization=False, **new)
            checkpoints.assert_holds(albert_np.AlbertModel.from_pretrained(tmp_path), second.state_dict())
            first.save_pretrained(tmp_path, **old)
            checkpoints.assert_holds(albert_np.AlbertModel.from_pretrained(tmp_path), first.state_dict())
    assert (tmp_path / "notes.txt").exists()


def test_a_dtype_that_torch_has_no_storage_for_and_4_gib_are_refused_before_anything_is_written(tmp_path):
    def load():
        raise AssertionError

    path = tmp_path / "pytorch_model.bin"
    assert "F8_E4M3" in refusal(bin_writer.write, path, {"x": Tensor("x", (2,), "F8_E4M3", load)})
    assert "max_shard_size" in refusal(bin_writer.write, path, {"x": Tensor("x", (2**15, 2**15), "F32", load)})
    assert not path.exists()


def test_an_untied_decoder_has_a_storage_of_its_own_unless_it_is_the_same_to_the_bit(tmp_path):
    words = np.arange(60, dtype=np.float32).reshape(12, 5)
    other = words.copy()
    other[3, 2] = np.nextafter(other[3, 2], 9)
    for decoder, count in ((words.copy(), 1), (other, 2), (words.astype(np.float64), 2), (words[:6], 2)):
        arrays = {"albert.embeddings.word_embeddings.weight": words, "predictions.decoder.weight": decoder}
        bin_writer.write(tmp_path / "pytorch_model.bin", as_tensors(arrays))
        archive, state = written(tmp_path / "pytorch_model.bin")
        assert sum(name.startswith("archive/data/") for name in archive.namelist()) == count
        assert state["predictions.decoder.weight"].tobytes() == decoder.tobytes()


@pytest.mark.parity
@pytest.mark.parametrize("size", ["5GB", "6KB"])
@pytest.mark.parametrize("kind", PARTS)
def test_torch_and_transformers_read_what_is_written(torch, transformers, tmp_path, kind, size):
    model = getattr(albert_np, kind)(checkpoints.CONFIG.replace(num_labels=2), seed=4)
    model.save_pretrained(tmp_path, safe_serialization=False, max_shard_size=size)
    theirs, info = getattr(transformers, kind).from_pretrained(
        tmp_path, output_loading_info=True, use_safetensors=False
    )
    assert not any(info.values())
    expected = model.state_dict()
    for name, x in theirs.state_dict().items():
        assert np.array_equal(x.numpy(), expected[name])
    if size == "5GB":
        for how in ({}, {"mmap": True}):
            state = torch.load(tmp_path / "pytorch_model.bin", weights_only=True, **how)
            theirs.load_state_dict(state, strict=True)
            assert all(np.array_equal(x.numpy(), expected[name]) for name, x in state.items())
        assert torch.load(tmp_path / "pytorch_model.bin", map_location="meta").keys() == expected.keys()
