"""flax_model.msgpack: our reader and writer against the `msgpack` library and files that Flax wrote, and what is refused."""

import json
import re
import tracemalloc
from pathlib import Path

import ml_dtypes
import msgpack
import numpy as np
import pytest
from support import ROOT

from albert_np import AlbertConfig, AlbertForMaskedLM
from albert_np.checkpoints import names
from albert_np.checkpoints.formats import flax_names, msgpack_writer
from albert_np.checkpoints.formats.msgpack import FORMAT, MAX_DEPTH, read
from albert_np.checkpoints.formats.msgpack_codes import CHUNKED
from albert_np.checkpoints.formats.msgpack_writer import write
from albert_np.checkpoints.formats.protocol import Tensor, as_tensors
from albert_np.checkpoints.save import save

GOLDENS = sorted((ROOT / "tests" / "goldens" / "formats").glob("*/*.msgpack"))
WORDS = {"float16": "F16", "bfloat16": "BF16", "float32": "F32"}
BITS = {"float16": np.uint16, "bfloat16": np.uint16, "float32": np.uint32, "float64": np.uint64}


def array(x, code=1, **changed):
    """flax's extension for an array; `changed` replaces shape, dtype or data."""
    parts = {"shape": x.shape, "dtype": x.dtype.name, "data": x.tobytes()} | changed
    return msgpack.ExtType(code, msgpack.packb(tuple(parts.values())))


def theirs(data):
    """Name -> array, as flax restores it, by the library."""

    def flat(tree, at=""):
        for name, value in tree.items():
            if isinstance(value, dict):
                yield from flat(value, f"{at}{name}/")
            else:
                shape, dtype, buffer = msgpack.unpackb(value.data, raw=True)
                kind = ml_dtypes.bfloat16 if dtype == b"bfloat16" else np.dtype(dtype.decode())
                yield at + name, np.frombuffer(buffer, kind).reshape(shape)

    return dict(flat(msgpack.unpackb(data)))


@pytest.fixture
def stored(tmp_path):
    """A file of these bytes, or of this tree."""

    def make(content):
        path = tmp_path / "flax_model.msgpack"
        path.write_bytes(content if isinstance(content, bytes) else msgpack.packb(content))
        return path

    return make


X = np.arange(6, dtype=np.float32).reshape(2, 3)
SOUND = {"albert": {"pooler": {"kernel": array(X), "bias": array(X[0])}}}


# --- what is read ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: f"{path.parent.name}-{path.stem[-14:]}")
def test_files_of_flax_are_read_as_the_library_reads_them_and_written_byte_for_byte(path, tmp_path):
    tensors = list(read(path))
    expected = theirs(path.read_bytes())
    assert [tensor.name for tensor in tensors] == list(expected)
    for tensor in tensors:
        x = expected[tensor.name]
        x = x.T if tensor.name.endswith("kernel") else x
        assert (tensor.shape, tensor.dtype) == (x.shape, WORDS[x.dtype.name])
        assert tensor.load().flags.c_contiguous
        x = x.astype(np.float32) if tensor.dtype == "BF16" else x
        np.testing.assert_array_equal(tensor.load(), x, strict=True)
    write(tmp_path / "again", {tensor.known_as: tensor for tensor in tensors})
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_there_are_goldens():
    assert len(GOLDENS) > 5
    assert any("sharded" in path.parent.name for path in GOLDENS)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_every_bit_of_every_float_survives(dtype, stored, tmp_path):
    """NaNs with a payload, subnormals and negative zeros too."""
    bits = BITS[dtype]
    rng = np.random.default_rng(0)
    x = rng.integers(0, np.iinfo(bits).max, (5, 7), bits, endpoint=True).view(getattr(ml_dtypes, dtype, dtype))
    (tensor,) = read(stored({"qa_outputs": {"kernel": array(x)}}))
    write(tmp_path / "again", {"qa_outputs.weight": tensor})
    assert (tmp_path / "again").read_bytes() == (tmp_path / "flax_model.msgpack").read_bytes()
    if dtype != "bfloat16":
        np.testing.assert_array_equal(tensor.load().view(bits), x.T.view(bits))


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("shape", [(1, 1), (63, 2), (64, 65), (65, 64), (200, 3), (3, 200), (0, 5), (5, 0), (129, 128)])
def test_a_kernel_is_transposed_while_it_is_read(shape, dtype, stored):
    x = np.arange(np.prod(shape)).reshape(shape).astype(getattr(ml_dtypes, dtype, dtype))
    (tensor,) = read(stored({"pooler": {"kernel": array(x)}}))
    assert tensor.shape == shape[::-1]
    assert tensor.load().flags.c_contiguous
    expected = x.astype(np.float32) if dtype == "bfloat16" else x
    np.testing.assert_array_equal(tensor.load(), expected.T, strict=True)


@pytest.mark.parametrize("dtype", ["int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool"])
def test_what_is_no_weight_is_read_too(dtype, stored):
    x = np.array([0, 1, 1, 0]).astype(dtype)
    (tensor,) = read(stored({"ids": array(x)}))
    assert (tensor.name, tensor.known_as) == ("ids", "ids")
    np.testing.assert_array_equal(tensor.load(), x, strict=True)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1, 1, 1), (2, 300), (70_000,)])
def test_shapes_of_all_lengths(shape, stored, tmp_path):
    x = np.zeros(shape, np.float16)
    (tensor,) = read(stored({"classifier": {"bias": array(x, code=3)}}))
    np.testing.assert_array_equal(tensor.load(), x, strict=True)
    write(tmp_path / "ours", {"classifier.bias": tensor})
    assert (tmp_path / "ours").read_bytes() == msgpack.packb({"classifier": {"bias": array(x)}})


def test_an_array_in_chunks_is_read_and_written_as_flax_does(stored, tmp_path, monkeypatch):
    """flax._chunk: pieces of the flat array, under the names of their numbers."""
    x = np.arange(10, dtype=np.float32).reshape(5, 2)
    monkeypatch.setattr(msgpack_writer, "MAX_PIECE_BYTES", 16)
    pieces = {str(i): array(x.reshape(-1)[4 * i : 4 * i + 4]) for i in range(3)}
    tree = {CHUNKED: True, "shape": {"0": 5, "1": 2}, "chunks": pieces}
    path = stored({"pooler": {"kernel": tree, "bias": array(X[0])}})
    kernel, bias = read(path)
    assert kernel.name == "pooler/kernel"
    np.testing.assert_array_equal(kernel.load(), x.T, strict=True)
    write(tmp_path / "ours", {"pooler.weight": kernel, "pooler.bias": bias})
    assert (tmp_path / "ours").read_bytes() == path.read_bytes()


# --- names ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", [*names.PARTS, ""])
@pytest.mark.parametrize("prefix", ["", "albert."])
def test_every_tensor_has_one_name_of_flax(part, prefix):
    config = AlbertConfig(
        num_hidden_layers=12,
        num_hidden_groups=12,
        inner_group_num=2,
        position_embedding_type="relative_key",
        tie_word_embeddings=False,
    )
    expected = names.expected_shapes(config, (part,) if part else ())
    found = {prefix + name: flax_names.stored_name(prefix + name) for name in expected}
    assert len(set(found.values())) == len(expected)
    assert {flax_names.hub_name(stored): name for name, stored in found.items()} == {name: name for name in found}
    for name, shape in expected.items():
        table = name.endswith("_embeddings.weight") or "distance_embedding" in name
        leaf = "bias" if name.endswith("bias") else "embedding" if table else ["scale", "kernel"][len(shape) - 1]
        assert found[prefix + name].rpartition("/")[2] == leaf


@pytest.mark.parametrize(
    "name", ["pooler/weight", "albert/pooler/scale", "encoder/pooler_/kernel", "ffn/kernel", "embeddings/x", "step"]
)
def test_a_name_that_is_not_flax_s_is_none_of_hugging_face_s_and_is_not_transposed(name, stored):
    tree = array(X)
    for word in reversed(name.split("/")):
        tree = {word: tree}
    (tensor,) = read(stored(tree))
    assert tensor.name == name
    assert tensor.known_as.count("/") == min(name.count("/"), 1)
    np.testing.assert_array_equal(tensor.load(), X, strict=True)


def test_a_tensor_that_flax_does_not_have_is_not_written(tmp_path):
    for name, dtype in (("predictions.decoder.bias", ""), ("embeddings.position_ids", ""), ("pooler.bias", "C64")):
        with pytest.raises(ValueError, match=r"Flax's ALBERT has no|holds no C64"):
            write(tmp_path / "x", {name: Tensor(name, (3,), dtype or "F32", lambda: X[0])})


# --- folders --------------------------------------------------------------------------------------------------------------


def model_of(config, **options):
    return AlbertForMaskedLM(config, backend="numpy", **options)


TINY = AlbertConfig(
    vocab_size=50,
    embedding_size=6,
    hidden_size=8,
    intermediate_size=12,
    num_attention_heads=2,
    num_hidden_layers=2,
    num_hidden_groups=2,
    max_position_embeddings=12,
    tie_word_embeddings=False,
)


@pytest.mark.parametrize("limit", ["5GB", 1000])
def test_a_folder_is_written_and_read_again_in_one_file_or_in_several(limit, tmp_path):
    model = model_of(TINY, seed=3)
    save(tmp_path, TINY, as_tensors(dict(model.named_parameters())), limit, FORMAT, "AlbertForMaskedLM")
    files = [path.name for path in tmp_path.glob("flax_model*")]
    assert files == ["flax_model.msgpack"] if limit == "5GB" else "flax_model.msgpack.index.json" in files
    again = AlbertForMaskedLM.from_pretrained(tmp_path, backend="numpy", from_flax=True)
    for name, x in model.named_parameters():
        np.testing.assert_array_equal(again.state_dict()[name], x, strict=True)


def test_an_index_has_flax_s_names_and_a_leaf_of_a_layer_may_lie_in_any_file(tmp_path):
    save(tmp_path, TINY, as_tensors(dict(model_of(TINY).named_parameters())), 500, FORMAT)
    index = index_of(tmp_path)
    layer = "albert/encoder/albert_layer_groups/1/albert_layers/0/"
    assert len({file for name, file in index.items() if name.startswith(layer)}) > 1
    assert "predictions/decoder/kernel" in index
    first = sorted({*index.values()})[0]
    (tmp_path / "flax_model-00002-of-00099.msgpack").write_bytes((tmp_path / first).read_bytes())
    text = (tmp_path / "flax_model.msgpack.index.json").read_text()
    second = next(file for file in sorted({*index.values()}) if file != first)
    (tmp_path / "flax_model.msgpack.index.json").write_text(text.replace(first, second, 1))
    with pytest.raises(ValueError, match="but it does not"):
        AlbertForMaskedLM.from_pretrained(tmp_path, backend="numpy")


def index_of(folder):
    return json.loads((folder / FORMAT.index).read_text())["weight_map"]


def test_a_tensor_in_two_files_is_refused(tmp_path):
    save(tmp_path, TINY, as_tensors(dict(model_of(TINY).named_parameters())), 1000, FORMAT)
    one, other, *_ = sorted({*index_of(tmp_path).values()})
    trees = [msgpack.unpackb((tmp_path / name).read_bytes()) for name in (one, other)]
    trees[1]["albert"]["embeddings"] |= trees[0]["albert"]["embeddings"]
    (tmp_path / other).write_bytes(msgpack.packb(trees[1]))
    with pytest.raises(ValueError, match="twice"):
        AlbertForMaskedLM.from_pretrained(tmp_path, backend="numpy")


# --- what is refused ------------------------------------------------------------------------------------------------------

DEEP = array(X)
for _ in range(MAX_DEPTH + 1):
    DEEP = {"a": DEEP}


def chunked(**changed):
    pieces = {"0": array(X[0]), "1": array(X[1])}
    return {"a": {CHUNKED: True, "shape": {"0": 2, "1": 3}, "chunks": pieces} | changed}


def twice(name):
    """A dict of two equal names, which no packer writes."""
    return b"\x82" + 2 * (msgpack.packb(name) + msgpack.packb(array(X)))


REFUSED = {
    "an empty file": (b"", "cut off or damaged: byte 0 begins"),
    "a list of arrays": ([array(X)], "begins with a list, not with a dict"),
    "one array": (array(X), "begins with an extension"),
    "a number": (7, "begins with a number"),
    "nil": (None, "begins with nothing"),
    "an unused code": (b"\xc1", "begins with an unused code"),
    "a pickle": (b"\x80\x04\x95", "2 bytes follow the tree"),
    "a pointer of Git LFS": (b"version https://git-lfs.github.com/spec/v1\n", "Git-LFS pointer"),
    "a web page": (b"<!DOCTYPE html><html>", "web page"),
    "bytes behind the tree": (msgpack.packb(SOUND) + b"\0", "1 bytes follow"),
    "two trees": (msgpack.packb(SOUND) * 2, "bytes follow the tree"),
    "a name twice": (twice("a"), "'a' stands there twice"),
    "a name twice, further down": (b"\x81\xa1b" + twice("a"), "'b/a' stands there twice"),
    "a number as name": ({1: array(X)}, "a name must be text"),
    "an empty name": ({"": array(X)}, "a name must be text of 1 to 255 bytes; got text of 0"),
    "a name of bytes": ({b"a": array(X)}, "a name must be text"),
    "a long name": ({"a" * 256: array(X)}, "got text of 256"),
    "a name of 4 GB": (b"\x81\xdb\xff\xff\xff\xff", "got text of 4,294,967,295"),
    "a name that is not UTF-8": (b"\x81\xa1\xff" + msgpack.packb(array(X)), "not UTF-8"),
    "half a character": (b"\x81\xa3\xed\xa0\x80" + msgpack.packb(array(X)), "not UTF-8"),
    "a name with a slash": ({"a/b": array(X)}, "'a/b' holds a '/'"),
    "a name with a dot": ({"a.b": array(X)}, "'a.b' holds a '/' or a '.'"),
    "a line break in a name": ({"a\nb": 1}, r"'a\?b' must be an array"),
    "a dict deeper than any": (DEEP, "more than 32 deep"),
    "100,000 dicts in each other": (b"\x81\xa1a" * 100_000, "more than 32 deep"),
    "four billion names": (b"\xdf\xff\xff\xff\xff", "over 100,000 names"),
    "a number as leaf": ({"step": 3}, "'step' must be an array; the file has 3"),
    "a float as leaf": ({"step": 0.5}, "'step' must be an array; the file has a float"),
    "a negative number as leaf": ({"step": -3}, "the file has a negative number"),
    "nil as leaf": ({"a": None}, "the file has nothing there"),
    "text as leaf": ({"a": "x"}, "the file has text there"),
    "a list as leaf": ({"a": [array(X)]}, "the file has a list there"),
    "bytes as leaf": ({"a": b"x"}, "the file has bytes there"),
    "true as leaf": ({"a": True}, "the file has True there"),
    "a complex number": ({"a": msgpack.ExtType(2, msgpack.packb((1.0, 2.0)))}, "extension of type 2"),
    "a timestamp": (b"\x81\xa1a\xd7\xff" + bytes(8), "extension of type -1"),
    "another extension": ({"a": array(X, code=127)}, "extension of type 127"),
    "an extension beyond the end": (b"\x81\xa1a\xc9\xff\xff\xff\xff\x01", "'a' should be 4,294,967,295 bytes"),
    "an empty extension": ({"a": msgpack.ExtType(1, b"")}, "cut off or damaged"),
    "no list in it": ({"a": msgpack.ExtType(1, msgpack.packb({"shape": 1}))}, "a list of shape, dtype and bytes"),
    "a list of two": ({"a": msgpack.ExtType(1, msgpack.packb([[], "float32"]))}, "a list of shape, dtype and bytes"),
    "a shape of text": ({"a": array(X, shape="23")}, "a list of at most 8 sizes; got text"),
    "nine axes": ({"a": array(X, shape=[1] * 9)}, "got a list of 9"),
    "a negative size": ({"a": array(X, shape=[-2, -3])}, "a shape of whole numbers"),
    "half a row": ({"a": array(X, shape=[2.0, 3.0])}, "a shape of whole numbers"),
    "a size of True": ({"a": array(X, shape=[True, 6])}, "a shape of whole numbers"),
    "a shape beyond any memory": ({"a": array(X, shape=[2**40, 2**20])}, "is 4,611,686,018,427,387,904 bytes"),
    "sizes beyond any file, hidden by a 0": ({"a": array(X, shape=[0, 2**62, 4], data=b"")}, "a shape of whole"),
    "a product that overflows": ({"a": array(X, shape=[2**63, 2], data=b"")}, "a shape of whole numbers"),
    "one number too few": ({"a": array(X, data=bytes(20))}, "is 24 bytes; the file has 20 bytes there"),
    "one byte too many": ({"a": array(X, data=bytes(25))}, "is 24 bytes; the file has 25 bytes there"),
    "bytes of text": ({"a": array(X, data="x" * 24)}, "is 24 bytes; the file has text of 24 there"),
    "a fourth part": ({"a": msgpack.ExtType(1, b"\x93\x92\x02\x03\xa7float32\xc4\x18" + bytes(25))}, "is 24 bytes"),
    "objects": ({"a": array(X, dtype="object")}, "the dtype 'object', which is none of"),
    "big endian": ({"a": array(X, dtype=">f4")}, "the dtype '>f4'"),
    "complex numbers": ({"a": array(X, dtype="complex64")}, "the dtype 'complex64'"),
    "dates": ({"a": array(X, dtype="datetime64[s]")}, "the dtype 'datetime64"),
    "a long dtype": ({"a": array(X, dtype="f" * 1000)}, "the dtype 'text'"),
    "a dtype of None": ({"a": array(X, dtype=None)}, "the dtype 'nothing'"),
    "chunks and something else": (chunked(more=1), "a shape and chunks, and nothing else"),
    "chunks without a shape": ({"a": {CHUNKED: True, "chunks": {}}}, "a shape and chunks"),
    "no chunks": (chunked(chunks={}), "must be arrays of one axis and one dtype"),
    "a chunk too few": (chunked(chunks={"0": array(X[0])}), "do not fill its shape"),
    "chunks of two dtypes": (chunked(chunks={"0": array(X[0]), "1": array(X[1].astype("f8"))}), "one dtype"),
    "chunks of two axes": (chunked(chunks={"0": array(X)}), "one axis"),
    "chunks that are none": (chunked(chunks={"0": 1, "1": 2}), "arrays of one axis"),
    "chunks that skip a number": (chunked(chunks={"0": array(X[0]), "2": array(X[1])}), "arrays of one axis"),
    "a shape of arrays": (chunked(shape={"0": array(X)}), "do not fill its shape"),
    "a shape of True": (chunked(shape={"0": True, "1": 6}), "do not fill its shape"),
    "chunks of a number": (chunked(chunks=5), "arrays of one axis"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused_in_one_line(what, stored):
    content, message = REFUSED[what]
    with pytest.raises(ValueError, match=message) as refusal:
        list(read(stored(content)))
    assert "\n" not in str(refusal.value)
    assert "flax_model.msgpack" in str(refusal.value)


def test_every_cut_is_refused_before_any_tensor_is_given(stored):
    data = msgpack.packb(SOUND)
    for n in range(len(data)):
        with pytest.raises(ValueError, match=re.escape("flax_model.msgpack")):
            read(stored(data[:n]))


def test_every_changed_byte_is_refused_or_read(stored):
    """And whatever it claims, no more memory is taken than the file has."""
    data = msgpack.packb(SOUND)
    path = stored(data)
    loaded, messages = 0, []
    tracemalloc.start()
    for i in range(len(data)):
        for bits in (0x01, 0x10, 0x80, 0xFF):
            path.write_bytes(data[:i] + bytes([data[i] ^ bits]) + data[i + 1 :])
            try:
                for tensor in read(path):
                    tensor.load()
                loaded += 1
            except ValueError as error:
                messages.append(str(error))
    assert tracemalloc.get_traced_memory()[1] < 300_000
    tracemalloc.stop()
    assert not [text for text in messages if "\n" in text]
    assert 0 < loaded < 4 * len(data)


def test_a_file_that_is_cut_while_it_is_read(stored):
    path = stored(SOUND)
    tensors = list(read(path))
    path.write_bytes(path.read_bytes()[:20])
    for tensor in tensors:
        with pytest.raises(OSError, match="cut off while it was being read"):
            tensor.load()


def test_a_safetensors_file_may_have_flax_s_names(tmp_path):
    """Metadata says so; without it, they are no names of ALBERT's."""
    from safetensors.numpy import save_file

    from albert_np.checkpoints.formats import safetensors

    arrays = {"albert.pooler.kernel": X, "albert.embeddings.LayerNorm.scale": X[0]}
    for form, expected in (("flax", ["albert.pooler.weight", "albert.embeddings.LayerNorm.weight"]), ("pt", arrays)):
        save_file(arrays, tmp_path / "x", {"format": form})
        found = {tensor.known_as: tensor.load() for tensor in safetensors.read(Path(tmp_path / "x"))}
        assert set(found) == set(expected)
    assert {x.shape for x in found.values()} == {(2, 3), (3,)}
    save_file(arrays, tmp_path / "x", {"format": "flax"})
    by_name = {tensor.known_as: tensor for tensor in safetensors.read(tmp_path / "x")}
    np.testing.assert_array_equal(by_name["albert.pooler.weight"].load(), X.T)
    assert by_name["albert.pooler.weight"].shape == (3, 2)
