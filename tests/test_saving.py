"""Saving and fresh weights: the same bits back, nothing half written, transformers reads it, seeds decide everything."""

import contextlib
import os

import numpy as np
import pytest
import safetensors
from support.outputs import flat
from tolerances import PARITY_FLOAT64, SAMPLE_DEVIATION

import albert_np
from albert_np import AlbertConfig, AlbertForMaskedLM, AlbertForSequenceClassification, AlbertModel
from albert_np.golden.synthetic import PARTS, TINY, batch, trained_like
from albert_np.golden.tolerances import assert_close

KINDS = list(PARTS)
CONFIG = AlbertConfig(**TINY, num_labels=3)


def model(kind, dtype="float32", **changes):
    config = AlbertConfig(**(TINY | {"num_labels": 2} | changes))
    tensors = {name: x.astype(dtype) for name, x in trained_like(config, PARTS[kind], 3).items()}
    return getattr(albert_np, kind)(config, dtype=dtype, tensors=tensors)


def bits(made):
    return {name: (x.dtype, x.shape, x.tobytes()) for name, x in made.state_dict().items()}


# --- saving -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded_bits_are_equal(tmp_path, kind, dtype):
    first = model(kind, dtype)
    first.save_pretrained(tmp_path / "new" / "folder")
    again, info = getattr(albert_np, kind).from_pretrained(
        tmp_path / "new" / "folder", dtype=dtype, output_loading_info=True
    )
    assert bits(again) == bits(first)
    assert not any(info.values())
    assert again.config.architectures == [kind]


def test_a_saved_file_holds_tied_tensors_once_and_says_its_format(tmp_path):
    first = model("AlbertForMaskedLM")
    first.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    with safetensors.safe_open(tmp_path / "model.safetensors", "np") as file:
        assert file.metadata() == {"format": "pt"}
        assert set(file.keys()) == set(dict(first.named_parameters()))
        assert not {"predictions.decoder.weight", "predictions.decoder.bias"} & set(file.keys())
    assert {"predictions.decoder.weight", "predictions.decoder.bias"} <= set(first.state_dict())


def test_unknown_words_of_the_config_survive(tmp_path):
    model("AlbertModel", my_note={"a": [1, None]}, down_scale_factor=1).save_pretrained(tmp_path)
    config = AlbertModel.from_pretrained(tmp_path).config
    assert (config.my_note, config.down_scale_factor) == ({"a": [1, None]}, 1)


def test_new_files_have_ordinary_permissions(tmp_path):
    (tmp_path / "plain").write_text("")
    model("AlbertModel").save_pretrained(tmp_path)
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert modes == {(tmp_path / "plain").stat().st_mode}


def disk_full(*_, **__):
    raise OSError(28, "No space left on device")


def library_failure(*_, **__):
    raise safetensors.SafetensorError("I/O error: No space left on device (os error 28)")


def interrupted(*_, **__):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("where", "failure", "error"),
    [
        ("os.replace", disk_full, OSError),
        ("safetensors.numpy.save_file", disk_full, OSError),
        ("safetensors.numpy.save_file", library_failure, OSError),
        ("safetensors.numpy.save_file", interrupted, KeyboardInterrupt),
    ],
)
def test_a_failing_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, where, failure, error):
    model("AlbertModel").save_pretrained(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(where, failure)
    with pytest.raises(error):
        model("AlbertModel", hidden_act="relu").save_pretrained(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_is_an_oserror(tmp_path, monkeypatch):
    monkeypatch.setattr("albert_np.checkpoints.save.atomic_path", lambda _: contextlib.nullcontext("/dev/full/x"))
    with pytest.raises(OSError, match=r"cannot write .*model.safetensors: "):
        model("AlbertModel").save_pretrained(tmp_path)


def test_saving_over_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match="file is a file; save_pretrained takes a folder"):
        model("AlbertModel").save_pretrained(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


# --- transformers -----------------------------------------------------------------------------------------------------


def theirs_on(reference_model, call):
    import torch

    with torch.no_grad():
        out = reference_model(**{name: torch.from_numpy(x) for name, x in call.items()})
    return {name: value.numpy() for name, value in out.items()}


@pytest.mark.parity
@pytest.mark.parametrize("kind", KINDS)
def test_transformers_loads_what_we_save(torch, transformers, tmp_path, kind):
    ours = model(kind, "float64")
    ours.save_pretrained(tmp_path)
    theirs, info = getattr(transformers, kind).from_pretrained(
        tmp_path, dtype=torch.float64, attn_implementation="eager", output_loading_info=True
    )
    assert not any(info.values())
    assert set(theirs.state_dict()) == set(ours.state_dict())
    assert {name for name, _ in theirs.named_parameters()} == {name for name, _ in ours.named_parameters()}
    call = batch(ours.config, kind, seed=2, padding=True)
    out, expected = flat(ours(**call)), theirs_on(theirs.eval(), call)
    assert set(out) == set(expected)
    for name, truth in expected.items():
        assert_close(f"{kind} {name}", out[name], truth, limit=PARITY_FLOAT64)


@pytest.mark.parity
@pytest.mark.parametrize("shard", [None, "4KB"])
@pytest.mark.parametrize("kind", KINDS)
def test_we_load_what_transformers_saves(torch, transformers, tmp_path, kind, shard):
    torch.manual_seed(4)
    config = transformers.AlbertConfig(**(TINY | {"num_labels": 2}))
    theirs = getattr(transformers, kind)._from_config(config, attn_implementation="eager").double().eval()
    theirs.save_pretrained(tmp_path, **({"max_shard_size": shard} if shard else {}))
    assert (tmp_path / "model.safetensors").exists() == (shard is None)
    ours, info = getattr(albert_np, kind).from_pretrained(tmp_path, dtype="float64", output_loading_info=True)
    assert not any(info.values())
    for name, x in theirs.state_dict().items():
        assert np.array_equal(ours.state_dict()[name], x.numpy()), name
    call = batch(ours.config, kind, seed=2, padding=True)
    out = flat(ours(**call))
    for name, truth in theirs_on(theirs, call).items():
        assert_close(f"{kind} {name}", out[name], truth, limit=PARITY_FLOAT64)


@pytest.mark.parity
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_hidden_groups": 2, "inner_group_num": 2},
        {"position_embedding_type": "relative_key"},
        {"tie_word_embeddings": False},
    ],
)
def test_names_and_shapes_are_those_of_transformers(transformers, kind, changes):
    theirs = getattr(transformers, kind)(transformers.AlbertConfig(**TINY, **changes))
    ours = getattr(albert_np, kind)(AlbertConfig(**TINY, **changes))
    shapes = {name: tuple(x.shape) for name, x in theirs.state_dict().items()}
    assert {name: x.shape for name, x in ours.state_dict().items()} == shapes
    parameters = {name: tuple(x.shape) for name, x in theirs.named_parameters()}
    assert {name: x.shape for name, x in ours.named_parameters()} == parameters
    assert ours.num_parameters() == sum(x.numel() for x in theirs.parameters())


# --- fresh weights ----------------------------------------------------------------------------------------------------


def test_the_seed_decides_every_bit():
    first, same, other = (bits(AlbertForMaskedLM(CONFIG, seed=seed)) for seed in (5, 5, 6))
    assert first == same
    drawn = [name for name in first if name.endswith("weight") and "orm" not in name]
    assert len(drawn) == 12
    assert all(first[name] != other[name] for name in drawn)
    assert len({first[name] for name in first if name.endswith(("query.weight", "key.weight", "value.weight"))}) == 3


def test_a_head_does_not_move_the_encoder():
    base = bits(AlbertModel(CONFIG, seed=5))
    head = bits(AlbertForSequenceClassification(CONFIG, seed=5))
    assert {name.removeprefix("albert."): x for name, x in head.items() if name.startswith("albert.")} == base


@pytest.mark.parametrize("kind", KINDS)
def test_what_fresh_weights_look_like(kind):
    config = AlbertConfig(**(TINY | {"vocab_size": 2000, "pad_token_id": 7, "initializer_range": 0.05}))
    for name, x in getattr(albert_np, kind)(config, seed=1).named_parameters():
        if name.endswith("bias"):
            assert not x.any(), name
        elif "orm" in name:
            assert (x == 1).all(), name
        else:
            assert 0.02 < np.abs(x).max() <= np.float32(2 * 0.05), name
        if name.endswith("word_embeddings.weight"):
            assert np.flatnonzero(~x.any(axis=1)).tolist() == [7]
            # a normal cut at two deviations: variance 1 − 4φ(2)/(2Φ(2) − 1) = 0.7737, so a deviation of 0.8796
            assert x.std() == pytest.approx(0.8796 * 0.05, rel=SAMPLE_DEVIATION)
            assert abs(x.mean()) < 0.001


def test_no_pad_row_without_a_pad_token():
    words = AlbertModel(CONFIG.replace(pad_token_id=None)).state_dict()["embeddings.word_embeddings.weight"]
    assert words.any(axis=1).all()


@pytest.mark.parametrize("seed", [-1, 1.5, True, "1", None])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(ValueError, match="seed must be a whole number, 0 or more"):
        AlbertModel(CONFIG, seed=seed)
