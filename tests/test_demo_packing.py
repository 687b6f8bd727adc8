"""The demo's recipe, pack.py: the checkpoint in half precision, its model card, and nothing where it does not fit."""

import json

import numpy as np
import pytest
from support import ROOT

from albert_np import AlbertForPreTraining, AlbertTokenizer
from albert_np.checkpoints.formats import safetensors as safetensors_format
from albert_np.demo.recipe import pack as pack_demo


@pytest.fixture(scope="module")
def packed(toy_checkpoint, toy_texts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed")
    return folder, pack_demo.pack(toy_checkpoint, *toy_texts, folder, backend="numpy")


def test_a_packed_model_is_the_checkpoint_in_half_precision(packed, toy_checkpoint):
    folder, figures = packed
    names = {"config.json", "model.safetensors", "spiece.model", "tokenizer_config.json"}
    assert {path.name for path in folder.iterdir()} == names | {"README.md", "loss.png", "evaluation.json"}
    dtype = figures["weights"]["dtype"]
    stored = {tensor.dtype for tensor in safetensors_format.read(folder / "model.safetensors")}
    assert stored == {{"float16": "F16", "bfloat16": "BF16"}[dtype]}
    half, whole = (AlbertForPreTraining.from_pretrained(path) for path in (folder, toy_checkpoint))
    assert half.config.dtype == dtype
    for name, x in whole.named_parameters():
        y = dict(half.named_parameters())[name]
        # half a unit in the last place of 11 or 8 bits; below 2⁻¹⁴ float16 has fewer
        assert np.abs(x - y).max() <= np.abs(x).max() * (2**-11 if dtype == "float16" else 2**-8) + 2**-25
    theirs, ours = AlbertTokenizer.from_pretrained(toy_checkpoint), AlbertTokenizer.from_pretrained(folder)
    assert ours("Ba do ki (lu).") == theirs("Ba do ki (lu).")
    assert ours.model_max_length == half.config.max_position_embeddings == 32


def test_the_dtype_is_the_one_with_the_nearer_loss(packed):
    weights = packed[1]["weights"]
    far = {dtype: abs(weights[f"loss_{dtype}"] - weights["loss_float32"]) for dtype in ("float16", "bfloat16")}
    assert far[weights["dtype"]] == min(far.values())


def test_the_model_card_says_what_was_measured(packed):
    folder, figures = packed
    card = (folder / "README.md").read_text()
    masked = figures["masked"]
    assert f"| model | {100 * masked['model']['top1']:.1f} % ±" in card
    assert f"both neighbours | {100 * masked['neighbours']['top1']:.1f} % ±" in card
    assert "*Book 7* (Author 3)" in " ".join(card.split())
    assert "step 6" in card
    assert json.loads((folder / "evaluation.json").read_text()) == figures


def test_too_many_bytes_or_no_checkpoint_are_refused_and_nothing_is_written(toy_checkpoint, toy_texts, tmp_path):
    with pytest.raises(ValueError, match=r"the folder would be [\d,]+ bytes, and at most 1,000 are packed: README.md "):
        pack_demo.pack(toy_checkpoint, *toy_texts, tmp_path / "out", backend="numpy", limit=1000)
    with pytest.raises(ValueError, match=r"no checkpoint of the demo's recipe: recipe.json lies beside those"):
        pack_demo.pack(ROOT / "albert_np" / "demo", *toy_texts, tmp_path / "out", backend="numpy")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("value", "dtype", "stored"),
    [
        (1.0, "bfloat16", 0x3F80),
        (1 + 2**-8, "bfloat16", 0x3F80),  # half-way: the even one
        (1 + 3 * 2**-8, "bfloat16", 0x3F82),
        (1 + 2**-8 + 2**-20, "bfloat16", 0x3F81),
        (-(2.0**-130), "bfloat16", 0x8008),
        (3.4e38, "bfloat16", None),
        (1 + 2**-11, "float16", 0x3C00),
        (65519.0, "float16", 0x7BFF),
        (65520.0, "float16", None),
    ],
)
def test_halves_are_the_nearest_values(value, dtype, stored):
    half = pack_demo.to_half(np.array([0.5, value], np.float32), dtype)
    assert (None if half is None else int(half.view(np.uint16)[1])) == stored
