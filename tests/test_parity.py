"""Live comparison with transformers 4.57.6: float64, eager attention, random configurations and trained-like weights."""

import runpy

import numpy as np
import pytest
from conftest import ROOT
from golden_models import PARTS, batch, random_config, trained_like
from test_goldens import flat
from tolerances import PARITY_FLOAT64, assert_close

import albert_np.model

pytestmark = pytest.mark.parity
KINDS = list(PARTS)


@pytest.fixture(scope="module")
def reference(transformers):
    return runpy.run_path(str(ROOT / "tools" / "make_goldens.py"))


def compare(reference, kind, seed):
    config = random_config(seed, kind)
    tensors = trained_like(config, PARTS[kind], seed)
    rng = np.random.default_rng(seed)
    features = {name: bool(rng.random() < 0.5) for name in ("padding", "head_mask", "embeds", "positions")}
    features["embeds"] &= kind != "AlbertForMultipleChoice"
    call = batch(config, kind, seed, **features)
    shape = call["token_type_ids"].shape
    call["token_type_ids"] = rng.integers(0, config.type_vocab_size, shape)
    if rng.random() < 0.2:
        call["attention_mask"][0] = 0  # a sequence with nothing to attend to
    if kind == "AlbertForSequenceClassification" and config.num_labels > 1 and rng.random() < 0.2:
        config = config.replace(problem_type="regression")
        call["labels"] = rng.standard_normal((shape[0], config.num_labels)).astype(np.float32)
    expected = reference["run"](reference["hugging_face_model"](kind, config, tensors, "float64"), call)
    wide = {key: x.astype(np.float64) for key, x in tensors.items()}
    model = getattr(albert_np.model, kind)(config, dtype="float64", tensors=wide)
    out = flat(model(**call, output_hidden_states=True, output_attentions=True))
    assert list(out) == list(expected)
    for key, truth in expected.items():
        if key == "loss" and np.isnan(truth):  # every label happened to be ignored
            assert np.isnan(out[key])
        else:
            assert_close(f"seed {seed} {kind} {key}", out[key], truth, limit=PARITY_FLOAT64)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("kind", KINDS)
def test_float64_equals_transformers(reference, kind, seed):
    compare(reference, kind, 1000 * KINDS.index(kind) + seed)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_float64_equals_transformers_on_many_configurations(reference, kind):
    for seed in range(300):
        compare(reference, kind, 1_000_000 + 1000 * KINDS.index(kind) + seed)
