"""The embedded model: what everyone gets who names no other."""

import json

import numpy as np
import pytest
from support import ROOT
from tolerances import PARITY_FLOAT64

import albert_np
from albert_np import AlbertConfig, AlbertForMaskedLM, AlbertForPreTraining, AlbertModel, AlbertTokenizer
from albert_np.checkpoints.formats import safetensors as safetensors_format

DEMO = ROOT / "albert_np" / "demo"


@pytest.fixture(scope="module")
def fill():
    return albert_np.pipeline("fill-mask")


def test_it_is_what_a_pipeline_without_a_name_gets(fill):
    assert fill.model.config == AlbertConfig.from_pretrained(DEMO)
    assert fill.tokenizer.get_vocab() == AlbertTokenizer.from_pretrained(DEMO).get_vocab()


@pytest.mark.parametrize(
    ("text", "sensible"),
    [
        ("There was a knock at the [MASK] and a boy came in.", {"door", "window", "gate"}),
        ("I do not [MASK] what you mean.", {"know", "understand", "see"}),
        ("It was a cold [MASK] in the middle of winter.", {"morning", "day", "night", "evening"}),
        ("She had not slept, and her [MASK] were red with weeping.", {"eyes", "cheeks"}),
    ],
)
def test_a_sensible_word_is_its_first_answer(fill, text, sensible):
    assert fill(text)[0]["token_str"] in sensible


def test_scores_are_the_probabilities_of_all_pieces_best_first(fill):
    answers = fill("He took off his [MASK] and sat down.", top_k=len(fill.tokenizer))
    scores = [answer["score"] for answer in answers]
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(1, abs=1e-5)
    assert scores[0] > 2 / len(scores)  # twice as much as by chance
    assert {answer["token"] for answer in answers} == set(range(len(fill.tokenizer)))


@pytest.mark.parametrize("kind", [AlbertModel, AlbertForMaskedLM, AlbertForPreTraining])
def test_classes_of_pre_training_load_it_without_a_warning(kind):
    _, info = kind.from_pretrained("demo", output_loading_info=True)
    assert info["missing_keys"] == info["mismatched_keys"] == []


def test_the_folder_is_of_one_piece():
    """Weights in the half precision that the config names, and figures of this vocabulary."""
    config = json.loads((DEMO / "config.json").read_text())
    figures = json.loads((DEMO / "evaluation.json").read_text())
    stored = {tensor.dtype for tensor in safetensors_format.read(DEMO / "model.safetensors")}
    assert stored == {{"float16": "F16", "bfloat16": "BF16"}[config["dtype"]]}
    assert config["dtype"] == figures["weights"]["dtype"]
    assert config["vocab_size"] == figures["vocab_size"] == len(AlbertTokenizer.from_pretrained("demo"))
    assert f"the checkpoint of step {figures['step']:,} " in (DEMO / "README.md").read_text()


@pytest.mark.parity
def test_transformers_loads_it_with_the_same_ids_and_logits(transformers, torch):
    text = "“There was a [MASK] at the door (the old one) – at 9 o'clock,” said Mr. Fogg."
    theirs = transformers.AlbertForPreTraining.from_pretrained(DEMO, dtype="float64").eval()
    their_tokenizer = transformers.AlbertTokenizer.from_pretrained(DEMO)
    ours = AlbertForPreTraining.from_pretrained("demo", dtype="float64", backend="numpy")
    encoded = AlbertTokenizer.from_pretrained("demo")(text)
    assert their_tokenizer(text)["input_ids"] == encoded["input_ids"]
    with torch.no_grad():
        expected = theirs(**their_tokenizer(text, return_tensors="pt"))
    out = ours(**encoded)
    for name in ("prediction_logits", "sop_logits"):
        want = expected[name].numpy()
        assert np.abs(out[name] - want).max() <= PARITY_FLOAT64 * np.abs(want).max()
