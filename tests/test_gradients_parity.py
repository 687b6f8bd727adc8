"""Live comparison of every gradient with torch's autograd through transformers 4.57.6: float64, eager attention."""

import runpy

import numpy as np
import pytest
from backends import NUMPY
from conftest import ROOT
from golden_models import PARTS, random_case
from tolerances import GRADIENT_FLOAT64, GRADIENT_FLOOR, PARITY_FLOAT64, assert_close

pytestmark = pytest.mark.parity
KINDS = [kind for kind in PARTS if kind != "AlbertModel"]


@pytest.fixture(scope="module")
def reference(transformers):
    return runpy.run_path(str(ROOT / "tools" / "make_goldens.py"))


def compare(reference, torch, kind, seed):
    config, tensors, call = random_case(seed, kind)
    theirs = reference["hugging_face_model"](kind, config, tensors, "float64")
    given = {name: torch.from_numpy(x) for name, x in call.items()}
    out = theirs(**{name: x.double() if x.is_floating_point() else x for name, x in given.items()})
    out.loss.backward()
    truth = {name: np.zeros(x.shape) if x.grad is None else x.grad.numpy() for name, x in theirs.named_parameters()}
    loss, gradients = NUMPY.model(kind, config, tensors).value_and_grad(**call)
    assert set(gradients) == set(truth)
    if np.isnan(out.loss.item()):  # every label happened to be ignored
        assert np.isnan(loss)
        return
    assert_close("loss", loss, np.float64(out.loss.item()), limit=PARITY_FLOAT64)
    floor = GRADIENT_FLOOR * max(np.abs(x).max() for x in truth.values())
    for name, x in gradients.items():
        if not noise(name, kind, config):
            limit = GRADIENT_FLOAT64 * max(np.abs(truth[name]).max(), floor)
            error = np.abs(x - truth[name]).max()
            assert error <= limit, f"seed {seed} {kind} {name}: off by {error:.3g}, more than {limit:.3g}"


def noise(name, kind, config):
    """Zero in mathematics: a shift of all scores of a query, or of all logits, changes no softmax."""
    shifts_scores = name.endswith("key.bias") and config.position_embedding_type != "relative_key_query"
    return shifts_scores or name == {
        "AlbertForQuestionAnswering": "qa_outputs.bias",
        "AlbertForMultipleChoice": "classifier.bias",
    }.get(kind)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("kind", KINDS)
def test_every_gradient_equals_autograd(reference, torch, kind, seed):
    compare(reference, torch, kind, 2000 * KINDS.index(kind) + seed)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_gradient_equals_autograd_on_many_configurations(reference, torch, kind):
    for seed in range(200):
        compare(reference, torch, kind, 2_000_000 + 1000 * KINDS.index(kind) + seed)
