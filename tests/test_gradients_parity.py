"""Live comparison of every gradient with torch's autograd through transformers 4.57.6: float64, eager attention."""

import copy
import runpy

import numpy as np
import pytest
from backends import NUMPY
from conftest import ROOT
from golden_models import PARTS, random_case
from tolerances import GRADIENT_FLOAT64, GRADIENT_FLOOR, PARITY_FLOAT64, ROUNDING, assert_close

from albert_np.run import weight_tree

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
    model = NUMPY.model(kind, config, tensors)
    loss, gradients = model.value_and_grad(**call)
    assert set(gradients) == set(truth)
    if np.isnan(out.loss.item()):  # every label happened to be ignored
        assert np.isnan(loss)
        return
    assert_close("loss", loss, np.float64(out.loss.item()), limit=PARITY_FLOAT64)
    floor = GRADIENT_FLOOR * max(np.abs(x).max() for x in truth.values())
    off = {}
    for name, x in gradients.items():
        limit = GRADIENT_FLOAT64 * max(np.abs(truth[name]).max(), floor)
        if not noise(name, kind, config) and not np.abs(x - truth[name]).max() <= limit:
            off[name] = limit
    exact = in_extended_precision(model, call) if off else {}
    for name, limit in off.items():
        ours, autograds = (np.abs(x[name] - exact[name]).max() for x in (gradients, truth))
        assert ours <= ROUNDING * autograds, (
            f"seed {seed} {kind} {name}: off by {np.abs(gradients[name] - truth[name]).max():.3g}, more than {limit:.3g}, "
            f"which is not autograd's rounding: ours {ours:.3g}, autograd's {autograds:.3g}"
        )


def in_extended_precision(model, call):
    """The gradients as the same code gives them with 64 bits of fraction instead of 53.

    For the few random models whose states are all the same: their loss is the logarithm of the number of answers, and what
    is left of a gradient, a millionth of its terms or less, holds no nine true digits in float64, whoever sums it.
    """
    assert np.finfo(np.longdouble).nmant > np.finfo(np.float64).nmant
    wide = copy.copy(model)
    wide._tensors = {name: x.astype(np.longdouble) for name, x in model._tensors.items()}
    wide._weights = weight_tree(wide._tensors)
    return wide.value_and_grad(**call)[1]


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
