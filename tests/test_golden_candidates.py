"""Candidates: every form that tensors come in gives the same numbers, and every damaged or hostile file one clear line."""

import json
import pickle
import struct
import zipfile

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from albert_np import AlbertConfig, AlbertModel, golden
from albert_np.golden.candidates.candidate import read
from albert_np.golden.candidates.output_names import as_steps, outputs_as_steps
from albert_np.golden.graph import graph

A = np.array([[1.5, -2.0, 3.25], [0.0, -0.0, 65280.0]], np.float32)  # exact in bfloat16
BITS = np.array([[0x3FC0, 0xC000, 0x4050], [0, 0x8000, 0x477F]], np.uint16)
ODD = np.array([np.nan, np.inf, -np.inf])
CONFIG = AlbertConfig(
    vocab_size=11,
    embedding_size=4,
    hidden_size=8,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=8,
    inner_group_num=2,
)


def raw(folder, entries, **more):
    """A folder with a manifest: name -> (bytes, fields of its entry)."""
    folder.mkdir(exist_ok=True)
    tensors = []
    for name, (data, fields) in entries.items():
        (folder / f"{name}.bin").write_bytes(data)
        tensors.append({"name": name, "file": f"{name}.bin"} | fields)
    (folder / "manifest.json").write_text(json.dumps({"tensors": tensors} | more))
    return folder


def same(candidate, name="a", expected=A):
    x = candidate[name]
    assert x.dtype == expected.dtype
    assert x.tobytes() == expected.tobytes()
    return True


# --- forms --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_of_every_float(save, tmp_path):
    save(
        tmp_path / "x.npz",
        a=A,
        h=A.astype(np.float16),
        d=A.astype(np.float64),
        f=np.asfortranarray(A),
        odd=ODD,
        big=A.astype(">f4"),
    )
    found = read(tmp_path / "x.npz")
    assert same(found)
    assert same(found, "f")
    assert same(found, "big")
    assert same(found, "h", A.astype(np.float16))
    assert same(found, "odd", ODD)
    assert found.stored == {
        "a": "float32",
        "h": "float16",
        "d": "float64",
        "f": "float32",
        "odd": "float64",
        "big": "float32",
    }
    assert found.shapes["a"] == (2, 3)
    assert found.notes == []
    assert list(found) == ["a", "h", "d", "f", "odd", "big"]


def test_bfloat16_comes_out_as_the_float32_that_it_is_from_every_form(tmp_path):
    b = A.astype(ml_dtypes.bfloat16)
    np.savez(tmp_path / "x.npz", a=b, u=BITS)
    (tmp_path / "npy").mkdir()
    np.save(tmp_path / "npy" / "a.npy", b)
    header = json.dumps({"a": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}}).encode()
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + BITS.tobytes())
    raw(tmp_path / "raw", {"a": (BITS.tobytes(), {"dtype": "bfloat16", "shape": [2, 3]})})
    for source in (
        tmp_path / "x.npz",
        tmp_path / "npy",
        tmp_path / "x.safetensors",
        tmp_path / "raw",
        {"a": b},
        {"a": BITS},
    ):
        found = read(source)
        assert same(found)
        assert found.stored["a"] == "bfloat16"
    assert same(read(tmp_path / "x.npz"), "u")


def test_safetensors(tmp_path):
    save_file({"a": A, "h": A.astype(np.float16), "i": np.arange(3)}, tmp_path / "x.safetensors")
    found = read(tmp_path / "x.safetensors")
    assert same(found)
    assert same(found, "h", A.astype(np.float16))
    assert same(found, "i", np.arange(3))
    assert found.stored == {"a": "float32", "h": "float16", "i": "int64"}


def test_folder_of_npy_joins_folders_with_dots(tmp_path):
    (tmp_path / "encoder" / "layer").mkdir(parents=True)
    np.save(tmp_path / "a.npy", A)
    np.save(tmp_path / "encoder" / "layer" / "0.ffn.npy", A)
    assert list(read(tmp_path)) == ["a", "encoder.layer.0.ffn"]
    mapped = read(tmp_path, {"mine": "encoder/layer/*.ffn".replace("*", "0")})
    assert same(mapped, "mine")


def test_raw_files_with_a_manifest_list_or_mapping_either_byte_order(tmp_path):
    fields = {"dtype": "float32", "shape": [2, 3]}
    folder = raw(
        tmp_path / "raw",
        {
            "a": (A.tobytes(), fields | {"byte_order": "little"}),
            "big": (A.astype(">f4").tobytes(), fields | {"byte_order": "big"}),
            "bb": (BITS.astype(">u2").tobytes(), {"dtype": "bfloat16", "shape": [2, 3], "byte_order": "big"}),
        },
    )
    found = read(folder)
    assert same(found)
    assert same(found, "big")
    assert same(found, "bb")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({"tensors": {t.pop("name"): t for t in manifest["tensors"]}}))
    assert same(read(folder), "big")


def test_a_recording_is_a_candidate_too(tmp_path):
    np.savez(tmp_path / "tensors.npz", a=A)
    save_file({"b": A, "unlisted": A}, tmp_path / "tensors-00001.safetensors")
    entries = [{"name": "a", "file": "tensors.npz"}, {"name": "b", "file": "tensors-00001.safetensors"}]
    (tmp_path / "manifest.json").write_text(json.dumps({"format": "albert_np.golden", "tensors": entries}))
    found = read(tmp_path)
    assert found.kind == "recording"
    assert list(found) == ["a", "b"]
    assert same(found, "b")


def test_raw_tensors_in_one_file_and_other_spellings_of_dtypes(tmp_path):
    (tmp_path / "all.bin").write_bytes(A.tobytes() + BITS.tobytes() + A.astype(np.float64).tobytes())
    entries = [
        {"name": "a", "file": "all.bin", "shape": [2, 3], "dtype": "F32", "offset": 0},
        {"name": "b", "file": "all.bin", "shape": [2, 3], "dtype": "bf16", "offset": 24},
        {"name": "d", "file": "all.bin", "shape": [2, 3], "dtype": "<f8", "offset": 36},
    ]
    (tmp_path / "manifest.json").write_text(json.dumps({"tensors": entries}))
    found = read(tmp_path / "manifest.json")
    assert same(found)
    assert same(found, "b")
    assert same(found, "d", A.astype(np.float64))
    assert found.stored == {"a": "float32", "b": "bfloat16", "d": "float64"}


@pytest.mark.parametrize("file_format", ["safetensors", "npz"])
def test_what_record_writes_is_read_back_as_a_candidate(file_format, tmp_path):
    model = AlbertModel(CONFIG, seed=0, backend="numpy", dtype="float64")
    recording = golden.record(model, {"input_ids": np.array([[1, 2, 3]])}, tmp_path, file_format=file_format)
    found = read(tmp_path)
    assert list(found) == list(recording)
    assert all(same(found, name, recording[name]) for name in recording)


def test_single_numbers_and_empty_arrays_are_read_and_said():
    found = read({"one": np.float32(2), "none": np.zeros((0, 3)), "a": A})
    assert found.shapes == {"one": (), "none": (0, 3), "a": (2, 3)}
    assert found.notes == ["one is a single number, without a shape", "none is empty: its shape is (0, 3)"]
    assert found["one"] == 2
    assert found["none"].shape == (0, 3)


def test_tensors_are_read_when_they_are_asked_for(tmp_path):
    folder = raw(tmp_path / "raw", {"a": (A.tobytes(), {"dtype": "float32", "shape": [2, 3]})})
    found = read(folder)
    (folder / "a.bin").write_bytes(A.tobytes()[:-1])
    assert "a" in found
    assert found.shapes["a"] == (2, 3)
    with pytest.raises(OSError, match=r"a\.bin: tensor 'a' was cut off"):
        found["a"]


# --- refusals -----------------------------------------------------------------------------------------------------------


def refused(path, match, error=ValueError, names=None):
    with pytest.raises(error, match=match) as caught:
        dict(read(path, names))
    assert "\n" not in str(caught.value)
    assert type(caught.value) is error
    return str(caught.value)


def test_files_that_are_no_candidate(tmp_path):
    refused(tmp_path / "nowhere.npz", "does not exist", OSError)
    np.save(tmp_path / "x.npy", A)
    refused(tmp_path / "x.npy", "one array and no name for it; put it into a folder as NAME.npy")
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"a": A}))
    refused(tmp_path / "x.pkl", r"must be \.npz, .*pickles among them, are not read")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", r"no \.npy files and no manifest")
    np.savez(tmp_path / "x.npz")
    refused(tmp_path / "x.npz", "holds no tensors")
    (tmp_path / "lfs.npz").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    refused(tmp_path / "lfs.npz", "Git-LFS pointer")
    refused({"a": np.array(["text"])}, "'a' is of <U4, which is none of")
    refused({1: A}, "names of tensors are text")


class Evil:
    """Unpickling it would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_nothing_is_unpickled(tmp_path):
    planted = tmp_path / "planted"
    np.savez(tmp_path / "x.npz", a=np.array([Evil(planted)], object))
    refused(tmp_path / "x.npz", r"x\.npz: tensor 'a' is of object, which is none of")
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "a.npy").write_bytes(pickle.dumps(Evil(planted)))
    refused(tmp_path / "f", r"a\.npy is damaged, or no \.npy array: the magic string")
    assert not planted.exists()


@pytest.mark.parametrize("dtype", ["<c8", "<f8,<f4", "S3", "<V3", "<M8[s]"])
def test_dtypes_that_are_no_activations(dtype, tmp_path):
    np.savez(tmp_path / "x.npz", a=np.zeros(2, dtype))
    refused(tmp_path / "x.npz", "'a' is of .*, which is none of bfloat16")


def test_archives_that_unpack_to_much_more_than_they_are(tmp_path):
    zeros = np.zeros(2_000_000, np.float32)
    np.savez_compressed(tmp_path / "small.npz", a=zeros)
    assert read(tmp_path / "small.npz")["a"].size == zeros.size
    with (
        zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a.npy", "w") as file,
    ):
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (20_000_000,)})
        for _ in range(10):
            file.write(zeros.tobytes())
    refused(tmp_path / "bomb.npz", r"'a' would unpack from [\d,]+ to 80,000,128 bytes, over 100 times")


def member(path, content, name="a.npy", method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr(name, content)
    return path


def npy(header, data=b"", version=(1, 0)):
    text = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H" if version == (1, 0) else "<I", len(text)) + text + data


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (
            npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,)}"),
            "is 4,000,000,000,000 bytes, behind",
        ),
        (
            npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", bytes(12)),
            "is 8 bytes, behind the header stand 12",
        ),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-2,)}"), "whole numbers, 0 or more"),
        (
            npy("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 9223372036854775807, 9)}"),
            "whole numbers, 0 or more",
        ),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (True,)}"), "whole numbers, 0 or more"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': 3}"), "damaged"),
        (npy("{'descr': '<f4', 'fortran_order': False}"), "damaged"),
        (npy("__import__('os').getcwd()"), "damaged"),
        (npy("(" * 117), "damaged"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': ()}", bytes(4), (3, 0)), "version"),
        (b"\x93NUMPY\x01", "damaged"),
        (b"", "damaged"),
    ],
)
def test_damaged_arrays(content, match, tmp_path):
    text = refused(member(tmp_path / "x.npz", content), match)
    assert "x.npz: tensor 'a'" in text


def test_damaged_archives(tmp_path):
    np.savez(tmp_path / "x.npz", a=A)
    whole = (tmp_path / "x.npz").read_bytes()
    for cut in (0, 10, 60, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.npz").write_bytes(whole[:cut])
        refused(tmp_path / "cut.npz", "no .npz file, or it is cut off")
    at = whole.index(A.tobytes())
    (tmp_path / "flip.npz").write_bytes(whole[:at] + b"\xff" + whole[at + 1 :])
    refused(tmp_path / "flip.npz", r"flip\.npz: tensor 'a' is damaged.*CRC")
    refused(member(tmp_path / "text.npz", b"hello", "readme.txt"), "'readme.txt', which is no .npy array")
    refused(
        member(tmp_path / "lzma.npz", npy("{}"), method=zipfile.ZIP_LZMA), "packed in a way that NumPy does not write"
    )


def test_a_name_that_is_there_twice(tmp_path):
    one = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", bytes(4))
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("a.npy", one)
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.npy", one)
    refused(tmp_path / "x.npz", "more than one tensor of the name a")
    (tmp_path / "f" / "a").mkdir(parents=True)
    np.save(tmp_path / "f" / "a.b.npy", A)
    np.save(tmp_path / "f" / "a" / "b.npy", A)
    refused(tmp_path / "f", "more than one tensor of the name a.b")
    entry = {"name": "a", "file": "a.bin", "dtype": "float32", "shape": [1]}
    raw(tmp_path / "raw", {"a": (bytes(4), entry)})
    (tmp_path / "raw" / "manifest.json").write_text(json.dumps({"tensors": [entry, entry]}))
    refused(tmp_path / "raw", "more than one tensor of the name a")


@pytest.mark.parametrize(
    "file", ["../secret.bin", "/etc/passwd", "sub/../../secret.bin", "link.bin", "a\\b", "", ".", None, 3, "a\x00b"]
)
def test_a_manifest_does_not_lead_out_of_its_folder(file, tmp_path):
    (tmp_path / "secret.bin").write_bytes(bytes(4))
    folder = raw(tmp_path / "raw", {"a": (bytes(4), {"dtype": "float32", "shape": [1], "file": file})})
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    refused(folder, "'a' must lie in a file of the manifest's folder")


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"dtype": "float8", "shape": [1]}, "dtype 'float8', which is none of"),
        ({"shape": [1]}, "dtype 'None'"),
        ({"dtype": ["float32"], "shape": [1]}, "dtype"),
        ({"dtype": "float32"}, "must have a shape"),
        ({"dtype": "float32", "shape": [1.0]}, "must have a shape"),
        ({"dtype": "float32", "shape": [-1]}, "must have a shape"),
        ({"dtype": "float32", "shape": [10**12]}, "4,000,000,000,000 bytes, the file has 4"),
        ({"dtype": "float32", "shape": [1], "byte_order": "middle"}, "little or big"),
        ({"dtype": "float32", "shape": [1], "name": 3}, "must have a name"),
        ({"dtype": "float32", "shape": [1], "offset": -4}, "the offset '-4'; it is a number of bytes"),
        ({"dtype": "float32", "shape": [1], "offset": 1}, "is 4 bytes, the file has 3 from byte 1 on"),
        ({"dtype": "float32", "shape": [1], "offset": 10**30}, "is 4 bytes, the file has"),
    ],
)
def test_entries_of_a_manifest(fields, match, tmp_path):
    refused(raw(tmp_path / "raw", {"a": (bytes(4), fields)}), match)


@pytest.mark.parametrize(
    "text", ["", "[1]", "3", '{"tensors": 3}', '{"tensors": {"a": 3}}', '{"a": 1, "a": 2}', "[" * 500]
)
def test_manifests_that_are_none(text, tmp_path):
    (tmp_path / "manifest.json").write_text(text)
    refused(tmp_path, "manifest.json")


def test_a_manifest_names_a_file_or_a_tensor_that_is_not_there(tmp_path):
    entry = {"name": "a", "file": "no.bin", "dtype": "float32", "shape": [1]}
    (tmp_path / "manifest.json").write_text(json.dumps({"tensors": [entry]}))
    refused(tmp_path, "'a' should lie in no.bin, which is no file here", OSError)
    np.savez(tmp_path / "no.npz", b=A)
    entries = [{"name": "a", "file": "no.npz"}]
    (tmp_path / "manifest.json").write_text(json.dumps({"format": "albert_np.golden", "tensors": entries}))
    refused(tmp_path, "no.npz has no tensor 'a', which the manifest says is there")


def test_safetensors_of_other_dtypes(tmp_path):
    header = json.dumps({"a": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]}}).encode()
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0")
    refused(tmp_path / "x.safetensors", "'a' is F8_E4M3, which the kit does not compare")


# --- names --------------------------------------------------------------------------------------------------------------


def names(theirs, entries):
    return list(read(dict.fromkeys(theirs, A), entries))


def test_stars_carry_over_in_order_and_names_in_any():
    theirs = ["bert/layer_0/head_3/q", "bert/layer_11/head_7/q", "other"]
    expected = ["layer.0.head.3", "layer.11.head.7", "other"]
    assert names(theirs, {"layer.*.head.*": "bert/layer_*/head_*/q"}) == expected
    assert names(theirs, {"layer.{n}.head.{h}": "bert/layer_{n}/head_{h}/q"}) == expected
    assert names(["h3/l1"], {"layer.{n}.head.{h}": "h{h}/l{n}"}) == ["layer.1.head.3"]
    assert names(["a0", "a10"], {"b?": "a?"}) == ["b0", "a10"]
    assert names(["blocks[3].up(x)"], {"layer.*.ffn": "blocks[*].up(x)"}) == ["layer.3.ffn"]
    assert names(["l1/1", "l1/2"], {"layer.{n}": "l{n}/{n}"}) == ["layer.1", "l1/2"]


def test_a_star_does_not_cross_a_dot_or_a_slash():
    assert names(["a.0.b", "a.0.c.b"], {"x.*": "a.*.b"}) == ["x.0", "a.0.c.b"]


def test_one_star_at_an_end_crosses_them_where_nothing_else_fits():
    assert names(["model/a/0.b", "model/c"], {"*": "model/*"}) == ["a/0.b", "c"]
    assert names(["m.enc.3.up", "m.x.y"], {"*": "m.*", "layer.*.ffn": "m.enc.*.up"}) == ["layer.3.ffn", "x.y"]
    assert names(["m.a.b"], {"{rest}": "m.{rest}"}) == ["a.b"]
    assert names(["a.b.c/d", "x/y"], {"*-*": "*/*"}) == ["a.b.c/d", "x-y"]


def test_an_entry_without_wildcards_goes_first():
    assert names(["a.0", "a.1"], {"x.*": "a.*", "last": "a.1"}) == ["x.0", "last"]


def test_maps_from_files(tmp_path):
    (tmp_path / "m.json").write_text('{"x.*": "a.*"}')
    (tmp_path / "m.txt").write_text("# ours theirs\nx.* a.*  # all\n\ny = b\nz -> c\n")
    found = read({"a.0": A, "b": A, "c": A}, tmp_path / "m.txt")
    assert list(found) == ["x.0", "y", "z"]
    assert same(found, "x.0")
    assert list(read({"a.0": A}, tmp_path / "m.json")) == ["x.0"]


def test_a_map_the_other_way_round_is_read_so_and_said():
    found = read({"a.0": A}, {"a.*": "x.*"})
    assert list(found) == ["x.0"]
    assert found.notes == ["the name map leads from their names to ours, and was read so"]


def test_idle_entries_are_said():
    assert read({"a": A}, {"x": "a", "y": "b"}).notes == ["these entries of the name map fit no tensor: b"]


@pytest.mark.parametrize(
    ("theirs", "entries", "match"),
    [
        (["a.0"], {"x.*": "a.*", "y.*": "a.*"}, "the name map gives 'a.*' two names|fits more than one entry"),
        (["a.0"], {"x.*": "a.*", "y.*": "*.0"}, "'a.0' fits more than one entry of the name map"),
        (["a"], {"x": "a", "y": "a"}, "gives 'a' two names: 'x' and 'y'"),
        (["a", "x"], {"x": "a"}, "gives 'a' and 'x' the same name 'x'"),
        (["a.0", "b.0"], {"x.0": "a.*".replace("*", "0"), "x.*": "b.*"}, "the same name 'x.0'"),
        (["layer0.q"], {"x": "layer0.Q"}, "no entry of the name map fits a tensor: 'layer0.Q', .* such as layer0.q"),
        (["a"], {"x.*": "a"}, r"same number of \*"),
        (["a"], {"x.{n}": "a.{m}"}, r"same \{names\}"),
        (["a"], {}, "must map our names to theirs"),
        (["a"], {"x": 3}, "must map names to names"),
    ],
)
def test_maps_that_are_refused(theirs, entries, match):
    refused(dict.fromkeys(theirs, A), match, names=entries)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("a b c\n", "line 1: two names were due"),
        ("x a\nx b\n", "line 2: 'x' is there twice"),
        ("[1]", "one object"),
        ("{", "JSON"),
    ],
)
def test_files_of_maps_that_are_refused(text, match, tmp_path):
    (tmp_path / "m.txt").write_text(text)
    refused({"a": A}, match, names=tmp_path / "m.txt")
    refused({"a": A}, "is no file", OSError, names=tmp_path / "none.txt")


# --- outputs ------------------------------------------------------------------------------------------------------------

HIDDEN = [
    "encoder.embedding_hidden_mapping_in",
    "encoder.layer.1.full_layer_layer_norm",
    "encoder.layer.3.full_layer_layer_norm",
]
PROBS = [f"encoder.layer.{a}.attention.probs" for a in range(4)]


@pytest.mark.parametrize(
    ("architecture", "fields"),
    [
        ("AlbertModel", {"last_hidden_state": HIDDEN[-1], "pooler_output": "pooler_activation"}),
        (
            "AlbertForPreTraining",
            {"prediction_logits": "predictions.decoder", "sop_logits": "sop_classifier.classifier"},
        ),
        ("AlbertForMaskedLM", {"logits": "predictions.decoder"}),
        ("AlbertForSequenceClassification", {"logits": "classifier"}),
        ("AlbertForTokenClassification", {"logits": "classifier"}),
    ],
)
def test_outputs_are_the_steps_that_they_are(architecture, fields):
    found = as_steps(read(dict.fromkeys(fields, A) | {"other": A}), architecture, CONFIG)
    assert set(found) == {*fields.values(), "other"}
    assert set(fields.values()) <= {one.name for one in graph(CONFIG, architecture)}
    assert found.notes == [f"{name} was read as {to}" for name, to in fields.items()]


@pytest.mark.parametrize("spelling", ["{}.{}", "{}[{}]", "{}_{}", "{}/{}"])
def test_hidden_states_and_attentions_one_by_one(spelling):
    names = [spelling.format("hidden_states", i) for i in range(3)] + [
        spelling.format("attentions", i) for i in range(4)
    ]
    found = as_steps(read({name: np.full(2, i) for i, name in enumerate(names)}), "AlbertModel", CONFIG)
    assert {name: int(x[0]) for name, x in found.items()} == {to: i for i, to in enumerate(HIDDEN + PROBS)}
    assert outputs_as_steps([spelling.format("hidden_states", 3)], "AlbertModel", CONFIG) == {}


def test_hidden_states_and_attentions_in_one_array():
    stacks = {"hidden_states": np.arange(3.0).repeat(2).reshape(3, 2), "attentions": np.arange(4.0).reshape(4, 1)}
    found = as_steps(read(stacks), "AlbertModel", CONFIG)
    assert {name: x[0] for name, x in found.items()} == {to: i for i, to in enumerate(HIDDEN)} | {
        p: i for i, p in enumerate(PROBS)
    }
    assert found.shapes[HIDDEN[0]] == (2,)
    with pytest.raises(ValueError, match=r"hidden_states must have 3 items, one for each step; its shape is \(2, 3\)"):
        as_steps(read({"hidden_states": A}), "AlbertModel", CONFIG)


def test_start_and_end_logits_are_columns_of_one_step():
    found = as_steps(read({"end_logits": A + 1, "start_logits": A}), "AlbertForQuestionAnswering", CONFIG)
    assert found.shapes == {"qa_outputs": (2, 3, 2)}
    assert same(found, "qa_outputs", np.stack([A, A + 1], -1))
    assert list(as_steps(read({"start_logits": A}), "AlbertForQuestionAnswering", CONFIG)) == ["start_logits"]
    with pytest.raises(ValueError, match="start_logits and end_logits must be of one shape"):
        as_steps(read({"end_logits": A[0], "start_logits": A}), "AlbertForQuestionAnswering", CONFIG)


def test_logits_of_choices_are_rows_of_the_step():
    found = as_steps(read({"logits": A}), "AlbertForMultipleChoice", CONFIG)
    assert found.shapes == {"classifier": (6, 1)}
    assert same(found, "classifier", A.reshape(6, 1))


def test_two_tensors_of_one_step_must_be_equal():
    nan = np.array([1.0, np.nan])
    stack = np.stack([nan, nan, nan])
    assert (
        len(as_steps(read({"hidden_states": stack, "last_hidden_state": nan, HIDDEN[-1]: nan}), "AlbertModel", CONFIG))
        == 3
    )
    with pytest.raises(ValueError, match="hidden_states must equal the other tensor that is encoder"):
        as_steps(read({"hidden_states": stack, "last_hidden_state": nan + 1}), "AlbertModel", CONFIG)
