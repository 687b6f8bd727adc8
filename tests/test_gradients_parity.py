"""Live comparison of every gradient with torch's autograd through transformers 4.57.6: float64, eager attention."""

import copy
import runpy

import numpy as np
import pytest
from backends import NUMPY
from conftest import ROOT
from golden_models import PARTS, random_case
from tolerances import GRADIENT_FLOAT64, GRADIENT_FLOOR, ONE_GRADIENT, PARITY_FLOAT64, assert_close

from albert_np.run import weight_tree

pytestmark = pytest.mark.parity
KINDS = [kind for kind in PARTS if kind != "AlbertModel"]


@pytest.fixture(scope="module")
def reference(transformers):
    return runpy.run_path(str(ROOT / "tools" / "make_goldens.py"))


def compare(reference, torch, kind, seed):
    """The names whose gradient is further from autograd's than the contract allows, if any."""
    config, tensors, call = random_case(seed, kind)
    theirs = reference["hugging_face_model"](kind, config, tensors, "float64")
    given = {name: torch.from_numpy(x) for name, x in call.items()}
    out = theirs(**{name: x.double() if x.is_floating_point() else x for name, x in given.items()})
    out.loss.backward()
    autograds = {name: np.zeros(x.shape) if x.grad is None else x.grad.numpy() for name, x in theirs.named_parameters()}
    model = NUMPY.model(kind, config, tensors)
    loss, ours = model.value_and_grad(**call)
    assert set(ours) == set(autograds)
    if np.isnan(out.loss.item()):  # every label happened to be ignored
        assert np.isnan(loss)
        return []
    assert_close("loss", loss, np.float64(out.loss.item()), limit=PARITY_FLOAT64)
    floor = GRADIENT_FLOOR * max(np.abs(x).max() for x in autograds.values())
    names = [name for name in ours if not noise(name, kind, config)]
    limits = {name: GRADIENT_FLOAT64 * max(np.abs(autograds[name]).max(), floor) for name in names}
    off = [name for name in names if not np.abs(ours[name] - autograds[name]).max() <= limits[name]]
    if off:
        exact = in_extended_precision(model, call)
        assert_rounding(f"seed {seed} {kind}", {x: (ours[x], autograds[x], exact[x], limits[x]) for x in names})
    return off


def assert_rounding(case, gradients):
    """What is off is rounding, if autograd itself is further from the exact gradients than the contract allows, and ours
    are no worse than its, in the geometric mean of all parameters. See ONE_GRADIENT."""
    errors = {
        name: (np.abs(ours - exact).max(), np.abs(autograds - exact).max(), limit)
        for name, (ours, autograds, exact, limit) in gradients.items()
    }
    assert max(theirs / limit for _, theirs, limit in errors.values()) > 1, (
        f"{case}: autograd is exact enough, ours is not"
    )
    ratios = {name: float(mine / theirs) for name, (mine, theirs, _) in errors.items() if theirs > 0 and mine > 0}
    worst = max(ratios, key=ratios.__getitem__)
    assert ratios[worst] <= ONE_GRADIENT, f"{case}: {worst} is {ratios[worst]:.3g} times as wrong as autograd's"
    mean = np.exp(np.mean(np.log(list(ratios.values()))))
    assert mean <= 1, f"{case}: {mean:.3g} times as wrong as autograd in the mean of {len(ratios)}"


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
    assert compare(reference, torch, kind, 2000 * KINDS.index(kind) + seed) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_gradient_equals_autograd_on_many_configurations(reference, torch, kind):
    seeds = range(2_000_000 + 1000 * KINDS.index(kind), 2_000_000 + 1000 * KINDS.index(kind) + 200)
    rounded = [seed for seed in seeds if compare(reference, torch, kind, seed)]
    assert len(rounded) <= 1, f"{kind}: the contract is not met with seeds {rounded}"
