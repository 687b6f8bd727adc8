"""The committed goldens: tiny trained-like models as transformers computes them, checked without torch."""

import hashlib
import json
import runpy
import sys
from functools import partial

import numpy as np
import pytest
from support import ROOT
from support.backends import NUMBA, NUMPY, ON_GPU, PLAIN
from support.outputs import flat
from tolerances import PARITY_FLOAT64

from albert_np import AlbertConfig
from albert_np.golden.cases import CASES, PARTS, TINY
from albert_np.golden.tolerances import assert_close, assert_float32_rule_in_the_mean

GOLDENS = ROOT / "tests" / "goldens"
MANIFEST = json.loads((GOLDENS / "manifest.json").read_text())


def load(name):
    path = GOLDENS / f"{name}.npz"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest == MANIFEST["cases"][name]["sha256"], (
        f"{path.name} is not the file of the manifest; {MANIFEST['hint']}"
    )
    groups = {}
    with np.load(path) as arrays:
        for key in arrays.files:
            group, _, rest = key.partition("/")
            groups.setdefault(group, {})[rest] = arrays[key]
    return groups


def parts(name, groups):
    kind, changes, _ = CASES[name]
    assert (kind, TINY | changes) == (MANIFEST["cases"][name]["class"], MANIFEST["cases"][name]["config"])
    return kind, AlbertConfig(**(TINY | changes)), groups["weight"]


def model(name, groups, backend):
    return backend.model(*parts(name, groups))


@pytest.mark.parametrize("name", CASES)
def test_float64_equals_golden(name):
    groups = load(name)
    out = flat(model(name, groups, NUMPY)(**groups["call"], output_hidden_states=True, output_attentions=True))
    assert list(out) == list(groups["float64"])
    for key, expected in groups["float64"].items():
        assert_close(f"{name}/{key}", out[key], expected, limit=PARITY_FLOAT64)


@pytest.mark.parametrize("backend", [PLAIN, NUMBA, ON_GPU], ids=str, indirect=True)
@pytest.mark.parametrize("name", CASES)
def test_float32_rule(name, backend):
    groups = load(name)
    out = flat(model(name, groups, backend)(**groups["call"], output_hidden_states=True, output_attentions=True))
    assert list(out) == list(groups["float64"])
    judge(name, groups, out)


@pytest.mark.parametrize("name", CASES)
def test_torch_keeps_the_float32_rule(name):
    """Arithmetic that nobody here wrote."""
    groups = load(name)
    judge(name, groups, groups["float32"])


def judge(name, groups, out):
    drawn = NUMPY.draws(
        lambda model: flat(model(**groups["call"], output_hidden_states=True, output_attentions=True)),
        *parts(name, groups),
    )
    assert_float32_rule_in_the_mean(
        name, {key: (out[key], [x[key] for x in drawn], truth) for key, truth in groups["float64"].items()}
    )


def flat_trace(groups, model):
    """Every step; of the scores, which theirs have after the mask was added, those that it leaves alone."""
    trace = model(**groups["call"], trace="unfused").trace
    return {key: before_the_mask(groups, key, x) for key, x in trace.items()}


SUMS = {"attention.sum": ("attention.dense", ""), "sum": ("ffn_output", "attention.LayerNorm")}


def before(i):
    """What the layer was given."""
    return f"encoder.layer.{i - 1}.full_layer_layer_norm" if i else "encoder.embedding_hidden_mapping_in"


def before_the_mask(groups, key, x):
    allowed = groups["call"]["attention_mask"][:, None, None, :] == 1
    return x[np.broadcast_to(allowed, x.shape)] if key.endswith(".scores") else x


TRACED = [name for name, (_, _, features) in CASES.items() if features.get("trace")]


@pytest.mark.parametrize("name", TRACED)
def test_trace_equals_golden_at_every_step(name):
    groups = load(name)
    trace = flat_trace(groups, model(name, groups, NUMPY))
    for i in range(sum(key.endswith(".ffn") for key in trace)):  # which transformers adds up inside of calls
        for place, parts in SUMS.items():
            groups["trace"][f"encoder.layer.{i}.{place}"] = sum(
                groups["trace"][f"encoder.layer.{i}.{part}" if part else before(i)] for part in parts
            )
    assert sorted(trace) == sorted(groups["trace"])
    for key, actual in trace.items():  # in the order of computation: the first failure is the first wrong step
        expected = before_the_mask(groups, key, groups["trace"][key])
        assert_close(f"{name}/{key}", actual, expected, limit=PARITY_FLOAT64)


@pytest.mark.parametrize("backend", [NUMBA, ON_GPU], ids=str, indirect=True)
def test_trace_in_float32_keeps_the_rule(backend):
    steps = {}  # of all layers together
    for name in TRACED:
        groups = load(name)
        trace = flat_trace(groups, model(name, groups, backend))
        drawn = NUMPY.draws(partial(flat_trace, groups), *parts(name, groups))
        assert list(trace) == list(drawn[0])
        for key, actual in trace.items():
            if key not in groups["trace"]:
                continue
            truth = before_the_mask(groups, key, groups["trace"][key])
            step = key.rpartition(".layer.")[2].lstrip("0123456789.")
            steps.setdefault(step, {})[f"{name}/{key}"] = (actual, [x[key] for x in drawn], truth)
    for step, cases in steps.items():
        assert_float32_rule_in_the_mean(step, cases)


def test_goldens_are_complete_and_small():
    files = {path.stem for path in GOLDENS.glob("*.npz")}
    assert files == set(CASES) == set(MANIFEST["cases"])
    assert {kind for kind, _, _ in CASES.values()} == set(PARTS)
    assert sum(path.stat().st_size for path in GOLDENS.iterdir()) < 4_000_000


@pytest.mark.parity
def test_regenerated_goldens_are_the_committed_ones(transformers, tmp_path, monkeypatch):
    assert transformers.__version__ == MANIFEST["versions"]["transformers"]
    monkeypatch.setattr(sys, "argv", ["make_goldens.py", "--out", str(tmp_path)])
    monkeypatch.setattr(sys, "path", list(sys.path))
    runpy.run_path(str(ROOT / "tools" / "make_goldens.py"), run_name="__main__")
    fresh = json.loads((tmp_path / "manifest.json").read_text())
    assert fresh["cases"].keys() == MANIFEST["cases"].keys()
    for name in CASES:
        committed = load(name)
        with np.load(tmp_path / f"{name}.npz") as arrays:
            assert sorted(arrays.files) == sorted(f"{group}/{key}" for group, keys in committed.items() for key in keys)
            for full in arrays.files:
                group, _, key = full.partition("/")
                if group in ("weight", "call"):
                    assert np.array_equal(arrays[full], committed[group][key]), full
                elif group in ("float64", "trace"):  # another CPU's BLAS may add in another order
                    assert_close(f"{name}/{full}", arrays[full], committed[group][key], limit=PARITY_FLOAT64)
