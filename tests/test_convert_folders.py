"""`convert`: whole folders or nothing, refusals, and the command."""

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from support import checkpoints, unmeasured
from support.conversions import FRAMEWORKS, folder_of, held, wanted
from support.refusals import refusal

from albert_np import AlbertConfig, cli, convert
from albert_np.checkpoints.formats.protocol import as_tensors
from albert_np.conversion import convert as module
from albert_np.golden.cases import TINY

CONFIG = AlbertConfig(**TINY, num_labels=3)


# --- all or nothing -------------------------------------------------------------------------------------------------------


def test_checkpoints_that_cannot_be_told_apart_are_never_replaced_and_are_noted_in_a_source(tmp_path):
    source, _ = folder_of(tmp_path / "source", "AlbertForMaskedLM")
    target = tmp_path / "target"
    target.mkdir()
    for stored in (FRAMEWORKS / "google_pretraining").glob("model.ckpt-best.*"):
        for step in ("1", "2"):
            for folder in (source, target):
                shutil.copy(stored, folder / stored.name.replace("best", step))
    before = sorted(path.name for path in target.iterdir())
    for force in (False, True):
        with pytest.raises(OSError, match=r"not such as could be replaced: .* holds 2 TensorFlow checkpoints"):
            convert(source, target, force=force)
    assert sorted(path.name for path in target.iterdir()) == before
    (note,) = convert(source, tmp_path / "there").notes
    assert note.startswith("there may be other weights, which were not read: ")


def test_a_folder_with_weights_is_refused_and_replaced_with_force(tmp_path):
    source, arrays = folder_of(tmp_path / "source", "AlbertForMaskedLM")
    target, _ = folder_of(tmp_path / "target", "AlbertModel", tokenizer=True)
    (target / "README.md").write_text("mine")
    before = {path.name: path.read_bytes() for path in target.iterdir()}
    with pytest.raises(OSError, match=r"already holds model.safetensors.*--force"):
        convert(source, target)
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before
    convert(source, target, force=True)
    assert held(target) == wanted(arrays, "float32")
    tokenizer = ["spiece.model", "tokenizer_config.json"]  # the source has none
    assert sorted(path.name for path in target.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        *tokenizer,
    ]
    assert (target / "README.md").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "target"]


def test_the_files_of_two_tokenizers_are_not_mixed(tmp_path):
    source, _ = folder_of(tmp_path / "source", "AlbertForMaskedLM", tokenizer=True, vocab_size=1000)
    target, _ = folder_of(tmp_path / "target", "AlbertModel")
    for name in ("tokenizer.json", "vocab.txt", "added_tokens.json", "albert_config.json"):
        (target / name).write_text("{}")
    convert(source, target, force=True)
    names = ["config.json", "model.safetensors", "spiece.model", "tokenizer_config.json"]
    assert sorted(path.name for path in target.iterdir()) == names


def test_a_folder_without_weights_keeps_its_files(tmp_path):
    source, arrays = folder_of(tmp_path / "source", "AlbertForMaskedLM")
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "README.md").write_text("mine")
    convert(source, tmp_path / "target")
    assert held(tmp_path / "target") == wanted(arrays, "float32")
    assert (tmp_path / "target" / "README.md").read_text() == "mine"


def test_a_folder_is_filled_from_within(tmp_path, monkeypatch):
    source, arrays = folder_of(tmp_path / "source", "AlbertModel")
    (tmp_path / "there").mkdir()
    rename, moves = os.rename, []
    monkeypatch.setattr(os, "rename", lambda one, other: (moves.append((one, other)), rename(one, other)))
    convert(source, tmp_path / "there")
    assert moves
    assert all((tmp_path / "there") in path.parents for move in moves for path in move)
    assert held(tmp_path / "there") == wanted(arrays, "float32")
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == ["config.json", "model.safetensors"]


def test_a_folder_becomes_another_format_in_its_place(tmp_path):
    source, arrays = folder_of(tmp_path / "source", "AlbertForMaskedLM", tokenizer=True, vocab_size=1000)
    rounded = {name: x.astype(np.float16) for name, x in arrays.items()}
    convert(source, source, dtype="float16", max_shard_size="20KB", force=True)
    assert held(source) == wanted(rounded, "float16")
    assert not (source / "model.safetensors").exists()
    assert (source / "spiece.model").exists()


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt(), ValueError("no")])
@pytest.mark.parametrize("stage", ["save", "copy_tokenizer", "_compared", "_outputs", "move_into_place"])
@pytest.mark.parametrize("existing", [False, True])
def test_an_interrupted_conversion_leaves_everything_as_it_was(tmp_path, monkeypatch, error, stage, existing):
    source, _ = folder_of(tmp_path / "source", "AlbertModel")
    target = tmp_path / "target" if existing else tmp_path / "new" / "folders" / "target"
    if existing:
        folder_of(target, "AlbertForMaskedLM")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def fail(*_arguments, **_named):
        raise error

    monkeypatch.setattr(module, stage, fail)
    with pytest.raises(type(error)):
        convert(source, target, force=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert target.exists() == existing
    assert {path.name for path in tmp_path.iterdir()} <= {"source", "target"}
    assert not [path for path in tmp_path.rglob("*") if path.suffix == ".tmp"]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing(tmp_path, number):
    """The command stops itself while it writes, as Ctrl-C or a scheduler would."""
    source, _ = folder_of(tmp_path / "source", "AlbertModel")
    code = (
        "import os, sys; from albert_np import cli; from albert_np.conversion import convert as module; "
        "save = module.save; "
        f"module.save = lambda *rest: (save(*rest), print('written', flush=True), os.kill(os.getpid(), {int(number)})); "
        f"sys.exit(cli.main(['convert', {str(source)!r}, {str(tmp_path / 'target')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=unmeasured())
    assert done.stdout == "written\n"
    assert done.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[number], done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    """And not the temporary one in its place."""
    source, _ = folder_of(tmp_path / "source", "AlbertModel")
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"/file is a file, so there can be no folder .*/file/new$"):
        convert(source, tmp_path / "file" / "new")

    def full(*_, **_named):
        raise OSError(errno.ENOSPC, "No space left on device", "/some/temporary.tmp")

    with monkeypatch.context() as patch:
        patch.setattr(module, "save", full)
        with pytest.raises(OSError, match=r"/target cannot be written: No space left on device$"):
            convert(source, tmp_path / "target")
    monkeypatch.setattr("pathlib.Path.mkdir", full)
    with pytest.raises(OSError, match=r"/target cannot be written: No space left on device$"):
        convert(source, tmp_path / "target")


def test_the_home_folder_is_meant_on_both_sides(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    folder_of(tmp_path / "source", "AlbertModel")
    convert("~/source", "~/target")
    assert sorted(path.name for path in (tmp_path / "target").iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no limits of file sizes here")
def test_hdf5_says_in_one_word_that_a_disk_is_full(tmp_path):
    source, _ = folder_of(tmp_path / "source", "AlbertModel", vocab_size=20_000)
    code = (
        "import resource, signal, sys; from albert_np import cli; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); "
        f"sys.exit(cli.main(['convert', {str(source)!r}, {str(tmp_path / 'target')!r}, '--to', 'h5']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=unmeasured())
    assert done.stderr == f"albert-np: {tmp_path / 'target'} cannot be written: {os.strerror(errno.EFBIG)}\n"
    assert (done.returncode, [path.name for path in tmp_path.iterdir()]) == (1, ["source"])


@pytest.mark.parametrize("fails_at", range(1, 6))
def test_a_move_that_fails_is_taken_back(tmp_path, monkeypatch, fails_at):
    source, _ = folder_of(tmp_path / "source", "AlbertModel", tokenizer=True)
    target, _ = folder_of(tmp_path / "target", "AlbertForMaskedLM")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    rename, calls = os.rename, []

    def fail(one, other):
        calls.append(one)
        if len(calls) == fails_at:
            raise OSError("no space left")
        rename(one, other)

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(OSError, match="no space left"):
        convert(source, target, force=True)
    assert len(calls) > fails_at or fails_at == 1
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_writer_that_changes_a_bit_is_found_out(tmp_path, monkeypatch):
    source, _ = folder_of(tmp_path / "source", "AlbertModel")
    save = module.save

    def wrong(folder, config, tensors, *rest):
        x = tensors["pooler.bias"].load().copy()
        x.view(np.uint32)[3] ^= 1
        save(folder, config, tensors | {"pooler.bias": as_tensors({"pooler.bias": x})["pooler.bias"]}, *rest)

    monkeypatch.setattr(module, "save", wrong)
    assert "pooler.bias is not what it was" in refusal(convert, source, tmp_path / "there")
    assert not (tmp_path / "there").exists()


# --- refusals -------------------------------------------------------------------------------------------------------------


def test_arguments_that_make_no_sense_are_refused_before_anything_is_read(tmp_path):
    for arguments, named, words in (
        (("nowhere", tmp_path / "x", "gguf"), {}, "the formats that are written are safetensors"),
        (("nowhere", tmp_path / "x", "tf1"), {}, "got 'tf1'"),
        (("nowhere", tmp_path / "x", None), {}, "got None"),
        (("nowhere", tmp_path / "x"), {"dtype": "int8"}, "dtype must be one of float32, float16, bfloat16, float64"),
        (("nowhere", tmp_path / "x"), {"max_shard_size": 0}, "max_shard_size must be at least one byte"),
        (("nowhere", tmp_path / "x"), {"from_tf": True}, "convert knows no from_tf: see help"),
        (("nowhere", ""), {}, "takes the path of a folder"),
    ):
        assert words in refusal(convert, *arguments, **named)
    with pytest.raises(OSError, match="there is no folder"):
        convert("./nowhere", tmp_path / "x")
    source, _ = folder_of(tmp_path / "whole", "AlbertModel")
    for name in ("model.safetensors", "config.json"):
        with pytest.raises(OSError, match=r"is a file; give the folder that holds it"):
            convert(source / name, tmp_path / "x")
    assert "model.onnx is written as one file" in refusal(convert, source, tmp_path / "x", "onnx", max_shard_size=1000)
    shutil.rmtree(source)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="is a file"):
        convert("demo", tmp_path / "file")
    (tmp_path / "empty").mkdir()
    CONFIG.save_pretrained(tmp_path / "empty")
    with pytest.raises(
        OSError, match=r"has no weights: none of .*flax_model\.msgpack, \*\.index, model\.onnx; it holds"
    ):
        convert(tmp_path / "empty", tmp_path / "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file"]


def test_weights_that_are_not_finite_are_refused(tmp_path):
    source, arrays = folder_of(tmp_path / "source", "AlbertModel")
    arrays["pooler.bias"][1] = np.nan
    checkpoints.write(source, arrays, AlbertConfig(**TINY, architectures=["AlbertModel"]))
    assert "pooler.bias holds nan at [1]" in refusal(convert, source, tmp_path / "there")
    assert not (tmp_path / "there").exists()


def test_a_tokenizer_file_that_is_a_pointer_is_refused(tmp_path):
    source, _ = folder_of(tmp_path / "source", "AlbertModel")
    (source / "spiece.model").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    assert "Git-LFS pointer" in refusal(convert, source, tmp_path / "there")
    assert not (tmp_path / "there").exists()


def test_a_tokenizer_file_that_is_far_too_large_is_refused(tmp_path):
    source, _ = folder_of(tmp_path / "source", "AlbertModel")
    with (source / "tokenizer.json").open("wb") as file:
        file.truncate(65 << 20)
    assert "a tokenizer's file has at most 67,108,864" in refusal(convert, source, tmp_path / "there")
    assert not (tmp_path / "there").exists()


# --- the command line -----------------------------------------------------------------------------------------------------


def test_the_command_prints_a_report(tmp_path, capsys):
    source, arrays = folder_of(tmp_path / "source", "AlbertForMaskedLM")
    assert cli.main(["convert", str(source), str(tmp_path / "a")]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith(f"{source} (safetensors) -> {tmp_path / 'a'} (safetensors): AlbertForMaskedLM\n")
    assert "largest difference of the outputs: 0" in out
    for name, x in arrays.items():
        line = next(line for line in out.splitlines() if line.split()[:1] == [name])
        assert hashlib.sha256(x.tobytes()).hexdigest()[:16] in line
        assert "float32" in line
    command = ["convert", str(source), str(tmp_path / "b"), "--to", "st", "--dtype", "bf16", "--json"]
    assert cli.main([*command, "--class", "TFAlbertForMaskedLM", "--max-shard-size", "20000"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["totals"]["tensors"] == len(arrays)
    assert report["totals"]["parameters"] == sum(x.size for x in arrays.values())
    assert report["largest_difference"] == max(report["outputs"]["largest"].values()) > 0
    assert {row["dtype"] for row in report["tensors"]} == {"bfloat16"}
    assert all(len(row["sha256"]) == 64 for row in report["tensors"])
    assert cli.main(["convert", str(source), str(tmp_path / "b")]) == 1
    assert "replace its weights with --force" in capsys.readouterr().err
    assert cli.main(["convert", str(source), str(tmp_path / "b"), "--force"]) == 0
