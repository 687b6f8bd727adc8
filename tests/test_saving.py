"""Saving and fresh weights: the same bits back, nothing half written, transformers reads it, seeds decide everything."""

import contextlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from support.outputs import flat
from support.refusals import refusal
from tolerances import PARITY_FLOAT64, SAMPLE_DEVIATION

import albert_np
from albert_np import (
    AlbertConfig,
    AlbertForMaskedLM,
    AlbertForPreTraining,
    AlbertForSequenceClassification,
    AlbertModel,
)
from albert_np.checkpoints.formats.protocol import stored_values
from albert_np.golden.cases import PARTS, TINY, batch, trained_like
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


def interrupted(*_, **__):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("where", "failure", "error"),
    [
        ("os.replace", disk_full, OSError),
        ("albert_np.checkpoints.formats.safetensors.stored_values", disk_full, OSError),
        ("albert_np.checkpoints.formats.safetensors.stored_values", interrupted, KeyboardInterrupt),
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
    monkeypatch.setattr("albert_np.checkpoints.save.atomic_path", lambda _: contextlib.nullcontext(Path("/dev/full")))
    with pytest.raises(OSError, match="No space left"):
        model("AlbertModel").save_pretrained(tmp_path)


def test_saving_over_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match="file is a file; name a folder"):
        model("AlbertModel").save_pretrained(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    with pytest.raises(OSError, match="link is a link that leads nowhere; name a folder"):
        model("AlbertModel").save_pretrained(tmp_path / "link")


# --- shards, and transformers' other arguments -------------------------------------------------------------------------


def weight_files(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("model"))


@pytest.mark.parametrize(
    ("size", "limit"),
    [("4KB", 4000), ("0.004 MB", 4000), (" 4kb ", 4000), (4000, 4000), (np.int64(4000), 4000), (1, 1)],
)
def test_weights_beyond_max_shard_size_are_several_files_and_an_index(tmp_path, size, limit):
    first = model("AlbertForPreTraining")
    first.save_pretrained(tmp_path, max_shard_size=size)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    parameters = dict(first.named_parameters())
    assert set(index["weight_map"]) == set(parameters)
    assert index["metadata"] == {
        "total_parameters": first.num_parameters(),
        "total_size": sum(x.nbytes for x in parameters.values()),
    }
    shards = sorted(set(index["weight_map"].values()))
    assert shards == [f"model-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))]
    assert weight_files(tmp_path) == [*shards, "model.safetensors.index.json"]
    for shard in shards:
        with safetensors.safe_open(tmp_path / shard, "np") as file:
            assert file.metadata() == {"format": "pt"}
            names = set(file.keys())
            assert names == {name for name, where in index["weight_map"].items() if where == shard}
        assert len(names) == 1 or sum(parameters[name].nbytes for name in names) <= limit
    assert bits(AlbertForPreTraining.from_pretrained(tmp_path)) == bits(first)


def test_a_limit_that_is_not_reached_leaves_one_file(tmp_path):
    first = model("AlbertModel")
    for i, size in enumerate(("5GB", "1TB", 10**9, sum(x.nbytes for _, x in first.named_parameters()))):
        first.save_pretrained(tmp_path / str(i), max_shard_size=size)
        assert weight_files(tmp_path / str(i)) == ["model.safetensors"]


def test_a_save_does_not_leave_the_weights_of_an_earlier_one(tmp_path):
    """A reader takes model.safetensors first, and shards only through the index."""
    first, second = model("AlbertModel"), model("AlbertModel", hidden_act="relu")
    second.load_state_dict({name: x + 1 for name, x in first.state_dict().items()})
    first.save_pretrained(tmp_path)
    (tmp_path / "notes.safetensors").write_text("mine")
    second.save_pretrained(tmp_path, max_shard_size=3000)
    assert bits(AlbertModel.from_pretrained(tmp_path)) == bits(second)
    many = len(weight_files(tmp_path))
    first.save_pretrained(tmp_path, max_shard_size=9000)
    assert 3 < len(weight_files(tmp_path)) < many
    assert bits(AlbertModel.from_pretrained(tmp_path)) == bits(first)
    second.save_pretrained(tmp_path)
    assert weight_files(tmp_path) == ["model.safetensors"]
    assert bits(AlbertModel.from_pretrained(tmp_path)) == bits(second)
    assert (tmp_path / "notes.safetensors").read_text() == "mine"


def test_a_failing_shard_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    model("AlbertModel").save_pretrained(tmp_path, max_shard_size=9000)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    calls = []

    def fails_in_the_second_file(tensor):
        calls.append(tensor.name)
        return disk_full() if len(calls) > 20 else stored_values(tensor)

    monkeypatch.setattr("albert_np.checkpoints.formats.safetensors.stored_values", fails_in_the_second_file)
    with pytest.raises(OSError, match="No space left"):
        model("AlbertModel", hidden_act="relu").save_pretrained(tmp_path, max_shard_size=9000)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    "size", [0, -1, True, None, 5e9, "", "5", "5GiB", "5 G", "GB", "xGB", "infGB", "nanKB", "-1KB", "0KB", []]
)
def test_another_shard_size_is_refused(tmp_path, size):
    assert refusal(model("AlbertModel").save_pretrained, tmp_path / "new", max_shard_size=size).startswith(
        "max_shard_size must be"
    )
    assert not (tmp_path / "new").exists()


def test_the_arguments_of_transformers_are_taken_by_name_and_position(tmp_path):
    first = model("AlbertModel")
    first.save_pretrained(
        save_directory=tmp_path / "named",
        is_main_process=True,
        state_dict=None,
        save_function=print,
        push_to_hub=False,
        max_shard_size="5GB",
        safe_serialization=True,
        variant=None,
        token=None,
        save_peft_format=True,
    )
    first.save_pretrained(tmp_path / "placed", True, None, print, False, "9KB", True)
    assert bits(AlbertModel.from_pretrained(tmp_path / "named")) == bits(first)
    assert bits(AlbertModel.from_pretrained(tmp_path / "placed")) == bits(first)
    first.save_pretrained(tmp_path / "other", is_main_process=False)
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("safe_serialization", "no"),
        ("push_to_hub", True),
        ("variant", "fp16"),
        ("repo_id", "me/mine"),
        ("fodler", "x"),
    ],
)
def test_what_save_pretrained_cannot_do_is_refused_by_name(tmp_path, name, value):
    message = refusal(model("AlbertModel").save_pretrained, tmp_path / "new", **{name: value})
    assert name in message
    assert not (tmp_path / "new").exists()


@pytest.mark.parity
@pytest.mark.parametrize("kind", KINDS)
def test_transformers_loads_our_shards(torch, transformers, tmp_path, kind):
    ours = model(kind)
    ours.save_pretrained(tmp_path, max_shard_size="4KB")
    theirs, info = getattr(transformers, kind).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    assert all(np.array_equal(x.numpy(), ours.state_dict()[name]) for name, x in theirs.state_dict().items())


@pytest.mark.parity
@pytest.mark.parametrize("size", ["5GB", "200KB", "1.5 mb", "7Tb", "0.001KB", "5GiB", "5", "", "xKB", "1e3KB"])
def test_sizes_mean_what_they_mean_in_transformers(transformers, size):
    from huggingface_hub.serialization._base import parse_size_to_int

    from albert_np.checkpoints.save import shard_bytes

    try:
        expected = parse_size_to_int(size)
    except ValueError:
        assert refusal(shard_bytes, size)
        return
    assert shard_bytes(size) == expected


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
