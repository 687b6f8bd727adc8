"""Muon: its rounds against singular values, its updates against torch's, and AdamW for what it leaves alone."""

import math

import numpy as np
import pytest
from support import needs
from support.refusals import refusal
from tolerances import MUON_BFLOAT16, NEWTON_SCHULZ

from albert_np.golden.tolerances import assert_close
from albert_np.training.muon import COEFFICIENTS, ROUNDS, Muon, orthogonalised
from albert_np.training.optimizers import AdamW

LAYER = "encoder.albert_layer_groups.0.albert_layers.0."
SHAPES = {
    "embeddings.word_embeddings.weight": (11, 4),
    "encoder.embedding_hidden_mapping_in.weight": (8, 4),
    f"{LAYER}ffn.weight": (32, 8),
    f"{LAYER}ffn_output.weight": (8, 32),
    f"{LAYER}attention.query.weight": (8, 8),
    f"{LAYER}ffn.bias": (32,),
    "predictions.dense.weight": (4, 8),
}
MATRICES = [name for name, shape in SHAPES.items() if "encoder." in name and len(shape) == 2]


def drawn(seed, dtype="float64"):
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape).astype(dtype) for name, shape in SHAPES.items()}


@pytest.mark.parametrize("shape", [(8, 8), (3, 20), (20, 3), (1, 5), (64, 256)])
def test_the_rounds_move_singular_values_and_no_direction(shape):
    """Each round is an odd polynomial in the matrix, so it acts on the singular values alone."""
    x = np.random.default_rng(1).standard_normal(shape)
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    s = s / (np.sqrt((s**2).sum()) + 1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(ROUNDS):
        s = a * s + b * s**3 + c * s**5
    assert_close("x", orthogonalised(x), (u * s) @ vt, limit=NEWTON_SCHULZ)


def test_five_rounds_take_all_but_the_smallest_to_about_one():
    rng = np.random.default_rng(2)
    u, v = (np.linalg.qr(rng.standard_normal((40, 40)))[0] for _ in range(2))
    s = np.geomspace(1, 0.02, 40)  # of the largest; divided by the norm, from 0.35 to 0.007
    found = np.linalg.svd(orthogonalised((u * s) @ v), compute_uv=False)
    assert 0.65 < found.min() < found.max() < 1.25


def test_a_gradient_of_any_size_moves_a_matrix_as_far():
    moved = []
    for scale in (1e-2, 1.0, 1e6):  # the 1e-7 beside the norm is to be small
        optimizer, parameters = Muon(rest=AdamW(weight_decay=0.0)), drawn(0)
        before = {name: x.copy() for name, x in parameters.items()}
        gradients = {name: scale * x for name, x in drawn(1).items()}
        optimizer.update(parameters, gradients, optimizer.start(parameters), 1e-2)
        moved.append({name: parameters[name] - before[name] for name in MATRICES})
    for name in MATRICES:
        np.testing.assert_allclose(moved[0][name], moved[1][name], rtol=1e-3)
        np.testing.assert_allclose(moved[2][name], moved[1][name], rtol=1e-3)
        rows, columns = SHAPES[name]
        # orthogonal times 0.2·√max·rate: min(R, C) squares of ones among R·C entries
        expected = 0.2 * 1e-2 * math.sqrt(max(rows, columns) * min(rows, columns) / (rows * columns))
        assert np.sqrt(np.mean(moved[1][name] ** 2)) == pytest.approx(expected, rel=0.25)


@pytest.mark.parity
def test_matrices_move_as_torchs_do_but_for_its_rounding(torch):
    if not hasattr(torch.optim, "Muon"):
        needs.missing("parity", "this torch has no Muon")
    ours = drawn(0, "float32")
    theirs = {name: torch.nn.Parameter(torch.from_numpy(ours[name].copy())) for name in MATRICES}
    judge = torch.optim.Muon(theirs.values(), lr=1.0, weight_decay=0.3, momentum=0.9, adjust_lr_fn="match_rms_adamw")
    optimizer = Muon(0.9, AdamW(weight_decay=0.3))
    state = optimizer.start(ours)
    for step in range(10):
        rate, gradients = 0.01 * (1 + step % 3), drawn(10 + step, "float32")
        for group in judge.param_groups:
            group["lr"] = rate
        for name, parameter in theirs.items():
            parameter.grad = torch.from_numpy(gradients[name].copy())
        before = {name: x.copy() for name, x in ours.items()}
        judge.step()
        optimizer.update(ours, gradients, state, rate)
        for name in MATRICES:  # against the way of this step, and then on from the same place
            expected = theirs[name].detach().numpy()
            away = np.linalg.norm(ours[name] - expected) / np.linalg.norm(expected - before[name])
            assert away < MUON_BFLOAT16, (name, step)
            ours[name][...] = expected


def test_everything_else_is_adamws():
    rule = AdamW((0.8, 0.95), weight_decay=0.3)
    both = [drawn(0), drawn(0)]
    states = [Muon(rest=rule).start(both[0]), rule.start(both[1])]
    for step in range(3):
        Muon(rest=rule).update(both[0], drawn(1 + step), states[0], 0.01)
        rule.update(both[1], drawn(1 + step), states[1], 0.01)
    for name in SHAPES:
        assert np.array_equal(both[0][name], both[1][name]) == (name not in MATRICES)


def test_a_parameter_without_a_gradient_stays_and_arrays_keep_their_place():
    optimizer, parameters = Muon(), drawn(0)
    whole, before = dict(parameters), {name: x.copy() for name, x in parameters.items()}
    gradients = drawn(1)
    missing = [gradients.pop(name) is not None and name for name in (MATRICES[0], "predictions.dense.weight")]
    optimizer.update(parameters, gradients, optimizer.start(parameters), 0.01)
    for name in SHAPES:
        assert parameters[name] is whole[name]
        assert np.array_equal(parameters[name], before[name]) == (name in missing)


def test_what_does_not_fit_is_refused_before_anything_changes():
    optimizer, parameters = Muon(), drawn(0)
    before = {name: x.copy() for name, x in parameters.items()}
    good = optimizer.start(parameters)
    matrix = MATRICES[1]
    for state, gradients, message in (
        (good, {matrix: np.zeros((3, 3))}, "its gradient float64"),
        (good, drawn(1) | {"encoder.other.weight": np.zeros((2, 2))}, "and no such parameters"),
        ({k: v for k, v in good.items() if matrix not in k}, drawn(1), "the state was not started with parameter"),
        (good, {matrix: np.zeros(SHAPES[matrix], np.float32)}, "its gradient float32"),
    ):
        assert message in refusal(lambda s=state, g=gradients: optimizer.update(parameters, g, s, 0.01))
        assert all(np.array_equal(parameters[name], before[name]) for name in SHAPES)
    for momentum in (-0.1, 1.0, float("nan")):
        assert "momentum must be a number" in refusal(lambda m=momentum: Muon(m))


def test_a_gradient_of_zeros_moves_nothing():
    optimizer, parameters = Muon(rest=AdamW(weight_decay=0.0)), drawn(0)
    before = {name: x.copy() for name, x in parameters.items()}
    optimizer.update(parameters, {n: np.zeros_like(x) for n, x in parameters.items()}, optimizer.start(parameters), 1.0)
    assert all(np.array_equal(parameters[name], before[name]) for name in SHAPES)


@pytest.mark.parametrize("threads", ["1", "2", None])
def test_matrices_side_by_side_have_the_same_bits(threads, monkeypatch):
    """OPENBLAS_NUM_THREADS decides how many are moved at once, and here, after NumPy was imported, nothing else."""

    def moved():
        optimizer, parameters = Muon(), drawn(0)
        state = optimizer.start(parameters)
        for seed in (1, 2):
            optimizer.update(parameters, drawn(seed), state, 1e-2)
        return parameters, state

    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    expected = moved()
    if threads is not None:
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", threads)
    for found, wanted in zip(moved(), expected, strict=True):
        assert all(np.array_equal(found[name], wanted[name]) for name in wanted)
