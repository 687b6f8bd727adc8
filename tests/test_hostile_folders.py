"""Folders from somebody who knows the readers: names that reach the terminal, findings without end, links that lead out."""

import json
import os
import shutil

import numpy as np
import pytest
from support import TESTS
from support.onnx_exports import TINY, written
from support.refusals import refusal

import albert_np
from albert_np import AlbertForSequenceClassification, AlbertModel, convert, verify
from albert_np.checkpoints.formats import safetensors
from albert_np.checkpoints.formats.protocol import as_tensors
from albert_np.checkpoints.names import expected_shapes
from albert_np.cli import main

GOLDENS = TESTS / "goldens" / "formats"
NORM = "embeddings.LayerNorm.weight"
EVIL = "\x1b[31mevil\n"


def arrays():
    rng = np.random.default_rng(0)
    return {
        name: rng.normal(size=shape).astype(np.float32) for name, shape in expected_shapes(TINY, ("pooler",)).items()
    }


# --- what is printed -----------------------------------------------------------------------------------------------------


def printable(text):
    return all(line.isprintable() for line in text.split("\n"))


def test_names_with_escapes_are_shown_without_them(tmp_path):
    """A prefix that all tensors have is left out, and may be anything."""
    folder = tmp_path / "m"
    TINY.replace(architectures=["AlbertModel"]).save_pretrained(folder)
    named = {f"{EVIL}.{name}": x for name, x in (arrays() | {"more": np.ones(3, np.float32)}).items()}
    safetensors.write(folder / "model.safetensors", as_tensors(named))
    report = str(convert(folder, tmp_path / "out"))
    assert printable(report)
    assert "evil" in report
    named[f"{EVIL}.{NORM}"][0] = np.nan
    safetensors.write(folder / "model.safetensors", as_tensors(named))
    assert refusal(AlbertModel.from_pretrained, folder).isprintable()
    assert printable(str(verify(folder)))


@pytest.mark.parametrize("name", [EVIL, os.fsdecode(b"m\xff")], ids=["escapes", "no UTF-8"])
@pytest.mark.parametrize("golden", ["google_pretraining", "onnx"])
def test_a_file_whose_name_cannot_be_printed_is_no_checkpoint(tmp_path, golden, name):
    """Its path would be in every message."""
    folder = tmp_path / "m"
    if golden == "onnx":
        written(folder)
        (folder / "model.onnx").rename(folder / f"{name}.onnx")
    else:
        shutil.copytree(GOLDENS / golden, folder)
        for path in folder.glob("model.ckpt-best*"):
            path.rename(path.with_name(path.name.replace("model.ckpt-best", name)))
    with pytest.raises(OSError, match="has no weights") as caught:
        albert_np.AlbertForMaskedLM.from_pretrained(folder)
    assert str(caught.value).isprintable()
    assert printable(str(verify(folder)))


def test_what_lies_beside_a_checkpoint_is_shown_without_escapes(tmp_path):
    folder = tmp_path / "m"
    shutil.copytree(GOLDENS / "google_pretraining", folder)
    (folder / f"model.ckpt-best.{EVIL}").write_bytes(b"")
    text = str(verify(folder))
    assert printable(text)
    assert "evil" in text


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["text", "json"])
def test_info_shows_words_of_a_config_without_escapes(tmp_path, capsys, options):
    folder = tmp_path / "m"
    shutil.copytree(GOLDENS / "h5_model", folder)
    path = folder / "config.json"
    said = {"architectures": [f"Mine{EVIL}\x9b\u202e"], "_extra": "\x9b31m"}
    path.write_text(json.dumps(json.loads(path.read_text()) | said))
    assert main(["info", str(folder), *options]) == 0
    text = capsys.readouterr().out
    assert printable(text)
    assert "Mine" in text
    if options:
        assert json.loads(text)["config"]["_extra"] == "\x9b31m"


def test_half_a_million_ids_are_one_finding(tmp_path):
    folder = tmp_path / "m"
    shutil.copytree(GOLDENS / "h5_model", folder)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token_id": list(range(100, 100_000))}))
    found = verify(folder)
    assert len([one for one in found.findings if one.about == "special-ids"]) == 1
    assert len(str(found)) < 2000


# --- links ---------------------------------------------------------------------------------------------------------------


def test_a_link_to_a_file_of_another_name_is_not_copied(tmp_path):
    """It might be a key of whoever converts a stranger's folder, and passes the result on."""
    secret = tmp_path / "credentials.json"
    secret.write_text('{"key": "secret"}')
    folder = tmp_path / "m"
    shutil.copytree(GOLDENS / "h5_model", folder)
    (folder / "added_tokens.json").symlink_to(secret)
    assert "which is no tokenizer's file" in refusal(convert, folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", ["blobs/0a4d55a8d778e5022fab701977c5d840bbc486d0", "other/vocab.txt"])
def test_links_of_hugging_faces_cache_and_of_another_model_are_copied(tmp_path, place):
    real = tmp_path / place
    real.parent.mkdir()
    real.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n")
    folder = tmp_path / "snapshots"
    shutil.copytree(GOLDENS / "h5_model", folder)
    (folder / "vocab.txt").symlink_to(real)
    convert(folder, tmp_path / "out")
    assert (tmp_path / "out" / "vocab.txt").read_bytes() == real.read_bytes()
    assert not (tmp_path / "out" / "vocab.txt").is_symlink()


def test_labels_are_printed_without_escapes(tmp_path, capsys):
    folder = tmp_path / "m"
    model = AlbertForSequenceClassification(
        albert_np.AlbertConfig.from_pretrained("demo").replace(num_labels=2), seed=0
    )
    model.save_pretrained(folder)
    albert_np.AlbertTokenizer.from_pretrained("demo").save_pretrained(folder)
    path = folder / "config.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"id2label": {"0": f"a{EVIL}\x9b\r", "1": f"b{EVIL}\x9b\r"}})
    )
    assert main(["classify", "--model", str(folder), "a text"]) == 0
    text = capsys.readouterr().out
    assert "evil" in text
    assert printable(text)
