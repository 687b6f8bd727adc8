"""A checkpoint from a stranger is refused in one line or loads: it never crashes, hangs or eats the machine's memory."""

import json
import os
import pickle
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from support import damaged_checkpoints as damaged
from support import with_helpers
from support.damaged_weights import CONFIG, entries, pack, tensors

from albert_np import AlbertConfig, AlbertForSequenceClassification
from albert_np.checkpoints.formats.values import Contiguous

NAME = "albert.encoder.embedding_hidden_mapping_in.weight"  # F32 of shape (24, 12): 1,152 bytes


def load(folder, **files):
    damaged.build(folder, {name.replace("__", "."): content for name, content in files.items()})
    return AlbertForSequenceClassification.from_pretrained(folder)


def changed(**change):
    """The bytes of the good file with other words in one tensor's entry."""
    table, data = entries(tensors())
    return pack(table | {NAME: table[NAME] | change}, data)


def refusal(folder, content, error=ValueError):
    with pytest.raises(error) as caught:
        load(folder, model__safetensors=content)
    assert str(folder / "model.safetensors") in str(caught.value)
    return str(caught.value)


# --- all of them, in another process ---------------------------------------------------------------------------------------


def test_every_damaged_checkpoint_is_refused_plainly_or_loads(tmp_path):
    program = [sys.executable, "-m", "support.damaged_checkpoints", tmp_path / "model"]
    environment = with_helpers() | {"OPENBLAS_NUM_THREADS": "1"}
    run = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=300, check=False)
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    assert run.returncode == 0, f"the process ended in {lines[-1]!r}: {run.stderr[-2000:]}"
    results = [line for line in lines if isinstance(line, list)]
    bad = [(name, outcome, detail) for name, outcome, detail, _ in results if outcome not in ("loads", "refused")]
    assert bad == []
    assert results[0][:2] == ["undamaged", "loads"]
    assert len({name for name, *_ in results}) >= 1000
    assert sum(outcome == "refused" for _, outcome, *_ in results) >= 900
    assert max(seconds for *_, seconds in results) < damaged.SECONDS


# --- what each refusal says ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data_offsets": [0, 10**13]}, ["data_offsets", "[0, 10000000000000]"]),
        ({"data_offsets": [-4, 0]}, ["data_offsets", "[-4, 0]"]),
        ({"data_offsets": [False, True]}, ["data_offsets", "[False, True]"]),
        ({"data_offsets": [0.0, 1152.0]}, ["data_offsets", "[0.0, 1152.0]"]),
        ({"data_offsets": [1152, 0]}, ["data_offsets", "in order", "[1152, 0]"]),
        ({"data_offsets": [0, 1152]}, ["begins at byte 0", "overlaps"]),
        ({"shape": [24, 13]}, ["F32 of shape [24, 13]", "1,248 bytes", "1,152"]),
        ({"shape": [2**40, 2**40, 2**40]}, ["shape", str(2**40)]),
        ({"shape": [24, -12]}, ["shape", "[24, -12]"]),
        ({"dtype": "F64"}, ["F64 of shape [24, 12]", "2,304 bytes", "1,152"]),
        ({"dtype": "I32"}, ["I32", "F32, F16, BF16, F64"]),
        ({"dtype": "Q4"}, ["'Q4'", "F32, F16, BF16"]),
        ({"strides": [1]}, ["dtype, shape and data_offsets"]),
    ],
)
def test_a_broken_entry_is_refused_with_tensor_and_values(tmp_path, change, words):
    message = refusal(tmp_path, changed(**change))
    # an overlap is noticed at the second of the two tensors
    for word in [*words, "tensor"] if "overlaps" in words else [*words, NAME.removeprefix("albert.")]:
        assert word in message


def test_misshapen_tensor_is_refused_with_name_found_and_expected(tmp_path):
    arrays = tensors()
    content = pack(*entries(arrays | {NAME: arrays[NAME].T.copy()}))
    message = refusal(tmp_path, content)
    assert "encoder.embedding_hidden_mapping_in.weight has the shape (12, 24), but the config says (24, 12)" in message


def test_nan_is_refused_with_name_and_place_or_loads_when_asked(tmp_path):
    arrays = tensors()
    arrays[NAME][3, 7] = np.nan
    damaged.build(tmp_path, {"model.safetensors": pack(*entries(arrays))})
    with pytest.raises(ValueError, match=rf"model.safetensors: tensor {NAME} holds nan at \[3, 7\]"):
        AlbertForSequenceClassification.from_pretrained(tmp_path)
    with pytest.warns(UserWarning, match=r"holds nan at \[3, 7\]"):
        AlbertForSequenceClassification.from_pretrained(tmp_path, check_finite="warn")
    model = AlbertForSequenceClassification.from_pretrained(tmp_path, check_finite="off")
    assert np.isnan(model.state_dict()[NAME]).sum() == 1
    with pytest.raises(ValueError, match="check_finite must be 'error', 'warn' or 'off'; got 'no'"):
        AlbertForSequenceClassification.from_pretrained(tmp_path, check_finite="no")


def test_float64_beyond_float32_is_refused_as_infinity_and_loads_as_float64(tmp_path):
    arrays = {name: x.astype(np.float64) for name, x in tensors().items()}
    arrays[NAME][0, 1] = 1e300
    damaged.build(tmp_path, {"model.safetensors": pack(*entries(arrays))})
    with pytest.raises(ValueError, match=rf"{NAME} holds 1e\+300 at \[0, 1\], inf in float32"):
        AlbertForSequenceClassification.from_pretrained(tmp_path)
    wide = AlbertForSequenceClassification.from_pretrained(tmp_path, dtype="float64")
    assert wide.state_dict()[NAME][0, 1] == 1e300


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is 0 bytes"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "Git-LFS pointer"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "web page"),
        (b"\n  <html>", "web page"),
        (pickle.dumps({"weight": [0.0] * 9}), "not a safetensors file"),
        (b"PK\x03\x04" + bytes(99), "not a safetensors file"),
        (pack(b'{"a": 1', length=7), "not JSON"),
        (pack(b'{"\xff": 1}'), "not UTF-8"),
        (pack({"a": [[[[]]]]}, length=10**15), "cut off or damaged"),
        (pack(b"{" + b" " * 17 * 2**20 + b"}"), "a header of 17,825,794 bytes"),
        (pack({}, b"\0"), "the tensors end at byte 0 and the file's data at 1"),
        (pack({"__metadata__": {"a": 1}}), "__metadata__"),
        (pack(b'{"a": 1, "a": 1}'), "holds the key 'a' twice"),
        (pack(b'{"a": ' + b"[" * 10**5), "nested too deeply"),
        (pack(b'{"a": ' + b"[" * 70 + b"]" * 70 + b"}"), "nested too deeply"),
        (pack(b'{"a": [' + b"[]," * 10**6 + b"[]]}"), "1,000,000 lists"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_of_another_kind_is_refused_as_what_it_is(tmp_path, content, words):
    assert words in refusal(tmp_path, content)


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), os.mkfifo, lambda path: path.symlink_to("nowhere")])
@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_what_is_no_file_is_refused_without_waiting_for_it(tmp_path, make, file):
    damaged.build(tmp_path, {file: make})
    with pytest.raises(OSError, match=f"{file} is not a file that can be read"):
        AlbertForSequenceClassification.from_pretrained(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_an_unreadable_file_is_refused(tmp_path):
    damaged.build(tmp_path, {})
    (tmp_path / "model.safetensors").chmod(0)
    with pytest.raises(OSError, match=r"model\.safetensors"):
        AlbertForSequenceClassification.from_pretrained(tmp_path)


@pytest.mark.parametrize("name", [NAME, NAME.removeprefix("albert.")])
def test_a_name_given_twice_is_refused(tmp_path, name):
    table, data = entries(tensors())
    text = (
        json.dumps(table)[:-1]
        + f', "{name}": {json.dumps(table[NAME] | {"data_offsets": [len(data), len(data) + 1152]})}}}'
    )
    message = refusal(tmp_path, pack(text.encode(), data + bytes(1152)))
    assert "twice" in message
    assert "encoder.embedding_hidden_mapping_in.weight" in message


@pytest.mark.parametrize(
    "file",
    [
        "/etc/passwd",
        "../a.safetensors",
        "..",
        "b\\a.safetensors",
        "a.bin",
        "a\n.safetensors",
        5,
        "x" * 300 + ".safetensors",
    ],
)
def test_an_index_may_not_lead_out_of_its_folder(tmp_path, file):
    index = json.dumps({"weight_map": {NAME: file}}).encode()
    damaged.build(tmp_path / "model", {"model.safetensors.index.json": index})
    (tmp_path / "a.safetensors").write_bytes(pack(*entries(tensors())))
    with pytest.raises(
        ValueError, match=f"index.json: '{NAME}' must lie in a .safetensors file of the same folder"
    ) as caught:
        AlbertForSequenceClassification.from_pretrained(tmp_path / "model")
    assert len(str(caught.value)) < 500


def test_an_index_that_disagrees_with_its_shards_is_refused(tmp_path):
    index = json.dumps({"weight_map": {"not.there": "a.safetensors"}}).encode()
    damaged.build(tmp_path, {"model.safetensors.index.json": index, "a.safetensors": pack({})})
    with pytest.raises(ValueError, match=r"index.json says that a.safetensors holds not.there, but it does not"):
        AlbertForSequenceClassification.from_pretrained(tmp_path)
    (tmp_path / "a.safetensors").unlink()
    with pytest.raises(
        OSError, match=r"no file a.safetensors in .*; it holds config.json, model.safetensors.index.json"
    ):
        AlbertForSequenceClassification.from_pretrained(tmp_path)


# --- nothing large is allocated first --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        pack({"a": {"dtype": "F64", "shape": [2**41], "data_offsets": [0, 2**44]}}),  # 16 TB
        pack(b"{}", length=2**44),
        changed(shape=[2**20, 2**20]),
    ],
)
def test_terabytes_in_a_header_are_refused_before_they_are_allocated(tmp_path, content):
    tracemalloc.start()
    try:
        refusal(tmp_path, content)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_a_config_too_large_for_its_file_is_refused_before_weights_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(Contiguous, "__call__", lambda *_: pytest.fail("read the values of a tensor"))
    config = json.dumps(damaged.PLAIN_CONFIG | {"vocab_size": 2**31 - 1}).encode()
    with pytest.raises(ValueError, match=r"word_embeddings.weight has the shape \(60, 12\).*\(2147483647, 12\)"):
        load(tmp_path, config__json=config)


def test_a_config_too_large_for_this_machine_is_refused():
    config = AlbertConfig(vocab_size=2**31 - 1, embedding_size=2**20)
    with pytest.raises(ValueError, match=r"make [\d,]+ bytes of weights; this machine has [\d,]+ bytes of memory"):
        AlbertForSequenceClassification(config)


def test_memory_that_runs_out_is_a_plain_refusal(monkeypatch):
    def exhausted(*_):
        raise MemoryError

    monkeypatch.setattr("albert_np.checkpoints.initialise.truncated_normal", exhausted)
    with pytest.raises(ValueError, match="more memory than this process may use"):
        AlbertForSequenceClassification(AlbertConfig(**CONFIG))
