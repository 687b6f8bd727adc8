"""Live comparison with transformers 4.57.6: float64, eager attention, random configurations and trained-like weights.

Only for the reference, which is the truth of the other backends: test_backends.py runs them on the same configurations.
"""

import runpy

import numpy as np
import pytest
from support import ROOT
from support.backends import NUMPY
from support.outputs import flat
from tolerances import PARITY_FLOAT64

from albert_np.golden.cases import PARTS, random_case
from albert_np.golden.tolerances import assert_close

pytestmark = pytest.mark.parity
KINDS = list(PARTS)


@pytest.fixture(scope="module")
def reference(transformers):
    return runpy.run_path(str(ROOT / "tools" / "make_goldens.py"))


def compare(reference, kind, seed):
    config, tensors, call = random_case(seed, kind)
    expected = reference["run"](reference["hugging_face_model"](kind, config, tensors, "float64"), call)
    out = flat(NUMPY.model(kind, config, tensors)(**call, output_hidden_states=True, output_attentions=True))
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
