"""AdamW against torch, LAMB against google-research/albert's formulas, clipping, schedules: in place, to the last digits."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.lamb import lamb_oracle
from support.refusals import refusal
from tolerances import NORM_FLOAT32, NORM_FLOAT64, UPDATES_FLOAT32, UPDATES_FLOAT64

import albert_np
from albert_np import AlbertConfig
from albert_np.golden.cases import PARTS, TINY
from albert_np.golden.tolerances import assert_close
from albert_np.training import optimizers
from albert_np.training.optimizers import (
    LAMB,
    AdamW,
    Schedule,
    clip_gradients,
    excluded,
    global_norm,
    norm,
    trust_ratio,
)

SHAPES = {"embeddings.weight": (7, 5), "dense.weight": (3, 4), "dense.bias": (3,), "LayerNorm.weight": (4,)}
RATES = [0.001 * (1 + step % 5) for step in range(20)]  # a schedule that moves
LIMIT = {"float32": UPDATES_FLOAT32, "float64": UPDATES_FLOAT64}


def drawn(dtype, seed, scale=1.0):
    rng = np.random.default_rng(seed)
    return {name: (scale * rng.standard_normal(shape)).astype(dtype) for name, shape in SHAPES.items()}


def gradients_of(step, dtype):
    """Of every size, and some exact zeros, as a padded row has."""
    found = drawn(dtype, 100 + step, scale=10.0 ** (step % 4 - 2))
    found["embeddings.weight"][2] = 0
    return found


def trained(optimizer, dtype, steps=20):
    parameters = drawn(dtype, 1)
    state = optimizer.start(parameters)
    for step in range(steps):
        optimizer.update(parameters, gradients_of(step, dtype), state, RATES[step])
    return parameters, state


# --- AdamW ------------------------------------------------------------------------------------------------------------


@pytest.mark.parity
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("betas", "weight_decay"), [((0.9, 0.999), 0.01), ((0.8, 0.95), 0.0), ((0.3, 0.6), 0.5)])
def test_adamw_is_torchs_for_twenty_steps(torch, dtype, betas, weight_decay):
    theirs = {name: torch.nn.Parameter(torch.from_numpy(x)) for name, x in drawn(dtype, 1).items()}
    decayed = [p for name, p in theirs.items() if name in ("embeddings.weight", "dense.weight")]
    kept = [p for name, p in theirs.items() if name in ("dense.bias", "LayerNorm.weight")]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]
    torch_adamw = torch.optim.AdamW(groups, lr=1.0, betas=betas, eps=1e-8, foreach=False)

    optimizer = AdamW(betas, epsilon=1e-8, weight_decay=weight_decay)
    ours = drawn(dtype, 1)
    state = optimizer.start(ours)
    for step, rate in enumerate(RATES):
        for group in torch_adamw.param_groups:
            group["lr"] = rate
        for name, gradient in gradients_of(step, dtype).items():
            theirs[name].grad = torch.from_numpy(gradient)
        torch_adamw.step()
        optimizer.update(ours, gradients_of(step, dtype), state, rate)
        for name, x in ours.items():
            assert_close(f"{name}, step {step}", x, theirs[name].detach().numpy(), limit=LIMIT[dtype])
    for name in SHAPES:
        for key in ("exp_avg", "exp_avg_sq"):
            expected = torch_adamw.state[theirs[name]][key].numpy()
            assert_close(f"{key} of {name}", state[f"{key}.{name}"], expected, limit=LIMIT[dtype])
    assert int(state["step"]) == 20


def test_adamw_without_bias_correction_is_google_researchs():
    """Their AdamWeightDecayOptimizer, element by element in Python floats: decay inside the update, ε 1e-6."""
    optimizer = AdamW(epsilon=1e-6, weight_decay=0.01, bias_correction=False)
    parameters, state = trained(optimizer, "float64")
    for name in SHAPES:
        values = drawn("float64", 1)[name].ravel().tolist()
        m, v = [0.0] * len(values), [0.0] * len(values)
        for step, rate in enumerate(RATES):
            for i, g in enumerate(gradients_of(step, "float64")[name].ravel().tolist()):
                m[i] = 0.9 * m[i] + 0.1 * g
                v[i] = 0.999 * v[i] + 0.001 * g * g
                decay = 0.01 * values[i] if name in ("embeddings.weight", "dense.weight") else 0
                values[i] -= rate * (m[i] / (math.sqrt(v[i]) + 1e-6) + decay)
        assert_close(name, parameters[name].ravel(), np.array(values), limit=UPDATES_FLOAT64)
        assert_close(f"v of {name}", state[f"exp_avg_sq.{name}"].ravel(), np.array(v), limit=UPDATES_FLOAT64)


# --- LAMB -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("corrected", [False, True])
@pytest.mark.parametrize("weight_decay", [0.01, 0.0])
def test_lamb_is_google_researchs_for_twenty_steps(weight_decay, corrected):
    optimizer = LAMB(weight_decay=weight_decay, bias_correction=corrected)
    ours, expected = drawn("float64", 1), drawn("float64", 1)
    state = optimizer.start(ours)
    moments = {name: (0 * x, 0 * x) for name, x in ours.items()}
    for step, rate in enumerate(RATES):
        optimizer.update(ours, gradients_of(step, "float64"), state, rate)
        for name, gradient in gradients_of(step, "float64").items():
            weighed = name in ("embeddings.weight", "dense.weight")
            expected[name], *moments[name] = lamb_oracle(
                expected[name],
                *moments[name],
                gradient,
                lr=rate,
                wd=weight_decay if weighed else 0.0,
                adapt=weighed,
                t=step + 1 if corrected else None,
            )
            assert_close(f"{name}, step {step}", ours[name], expected[name], limit=UPDATES_FLOAT64)


def test_lamb_in_float32_is_near_float64():
    rough, exact = trained(LAMB(), "float32")[0], trained(LAMB(), "float64")[0]
    for name, x in rough.items():
        assert_close(name, x, exact[name], limit=UPDATES_FLOAT32, dtype="float32")


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 1000), st.floats(0.1, 10), st.floats(1e-3, 1e3))
def test_a_lamb_step_is_as_long_as_the_rate_times_the_weights(seed, rate, factor):
    """Whatever the size of the gradient: what layer-wise adaptation means."""
    parameters = drawn("float64", seed)
    before = {name: x.copy() for name, x in parameters.items()}
    gradients = {name: factor * x for name, x in drawn("float64", seed + 1).items()}
    optimizer = LAMB(weight_decay=0.0, epsilon=0.0)
    optimizer.update(parameters, gradients, optimizer.start(parameters), rate)
    for name in ("embeddings.weight", "dense.weight"):
        moved = norm(parameters[name] - before[name])
        assert moved == pytest.approx(rate * norm(before[name]), rel=NORM_FLOAT64 * 100)
    for name in ("dense.bias", "LayerNorm.weight"):  # 3.16 times the sign, for want of a bias correction
        moved = before[name] - parameters[name]
        expected = rate * 0.1 / math.sqrt(1 - 0.999) * np.sign(gradients[name])
        np.testing.assert_allclose(moved, expected, rtol=1e-9, atol=0)


def test_a_ratio_of_nothing_is_one():
    zero, one = np.zeros(3), np.ones(3)
    assert trust_ratio(zero, one) == trust_ratio(one, zero) == trust_ratio(zero, zero) == 1
    assert trust_ratio(np.array([3.0, 4.0]), np.array([0.0, 2.0])) == 2.5


def test_lamb_adapts_what_it_is_told_to():
    kept = trained(LAMB(no_adaptation=()), "float64", 1)[0]["dense.bias"]
    plain = trained(LAMB(), "float64", 1)[0]["dense.bias"]
    assert not np.allclose(kept, plain)


# --- both -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(PARTS))
def test_every_bias_and_layer_norm_is_left_out_and_nothing_else(kind):
    """By name, and literally: full_layer_layer_norm is the one that lists made for BERT forget."""
    changes = {"position_embedding_type": "relative_key", "inner_group_num": 2, "tie_word_embeddings": False}
    names = dict(getattr(albert_np, kind)(AlbertConfig(**TINY | changes), backend="numpy").named_parameters())
    ends = (
        "word_embeddings.weight",
        "position_embeddings.weight",
        "token_type_embeddings.weight",
        "embedding_hidden_mapping_in.weight",
        "attention.query.weight",
        "attention.key.weight",
        "attention.value.weight",
        "attention.dense.weight",
        "attention.distance_embedding.weight",
        "ffn.weight",
        "ffn_output.weight",
        "pooler.weight",
        "predictions.dense.weight",
        "predictions.decoder.weight",
        "sop_classifier.classifier.weight",
        "classifier.weight",
        "qa_outputs.weight",
    )
    assert [name for name in names if not excluded(name)] == [name for name in names if name.endswith(ends)]
    assert excluded("albert.encoder.albert_layer_groups.0.albert_layers.0.full_layer_layer_norm.weight")


@pytest.mark.parametrize("optimizer", [AdamW(), LAMB()], ids=["adamw", "lamb"])
def test_the_size_of_the_pieces_changes_no_bit(optimizer, monkeypatch):
    whole = trained(optimizer, "float32")
    monkeypatch.setattr(optimizers, "PIECE", 4)
    small = trained(optimizer, "float32")
    if isinstance(optimizer, AdamW):  # LAMB's norms are added piece by piece
        assert [{name: x.tobytes() for name, x in d.items()} for d in small] == [
            {name: x.tobytes() for name, x in d.items()} for d in whole
        ]
    for name, x in small[0].items():
        assert_close(name, x, whole[0][name], limit=UPDATES_FLOAT32)


@pytest.mark.parametrize("optimizer", [AdamW(), LAMB()], ids=["adamw", "lamb"])
def test_updates_happen_in_place_and_only_where_there_is_a_gradient(optimizer):
    parameters = drawn("float32", 1)
    same, before = dict(parameters), {name: x.copy() for name, x in parameters.items()}
    state = optimizer.start(parameters)
    gradients = {"dense.weight": np.asfortranarray(np.ones((3, 4), np.float32))}
    optimizer.update(parameters, gradients, state, 0.1)
    assert all(parameters[name] is same[name] for name in SHAPES)
    assert all(x.dtype == np.float32 for name, x in state.items() if name != "step")
    changed = [name for name in SHAPES if not np.array_equal(before[name], parameters[name])]
    assert changed == ["dense.weight"]
    assert np.array_equal(gradients["dense.weight"], np.ones((3, 4)))


@pytest.mark.parametrize("optimizer", [AdamW(), LAMB()], ids=["adamw", "lamb"])
@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.floats(-30, 30))
def test_without_decay_and_epsilon_only_the_sign_and_proportions_of_gradients_count(optimizer, seed, exponent):
    """Both divide by √v: a gradient a power of two as large gives the same update to the bit."""
    scale = 2.0 ** round(exponent)
    optimizer = type(optimizer)(weight_decay=0.0, epsilon=0.0)
    results = []
    for factor in (1.0, scale):
        parameters = drawn("float64", seed)
        state = optimizer.start(parameters)
        for step in range(3):
            gradients = {name: factor * x for name, x in drawn("float64", seed + 7 + step).items()}
            optimizer.update(parameters, gradients, state, 0.01)
        results.append({name: x.tobytes() for name, x in parameters.items()})
    # v is scaled by an even power, so √v and the quotient are exact copies
    assert results[0] == results[1]


def test_what_does_not_fit_is_refused_before_anything_changes():
    optimizer, parameters = AdamW(), drawn("float64", 1)
    state = optimizer.start(parameters)
    good = gradients_of(0, "float64")
    bits = {name: x.tobytes() for name, x in {**parameters, **state}.items()}

    def says(gradients, message, parameters=parameters, state=state):
        assert message in refusal(optimizer.update, parameters, gradients, state, 0.1)

    says({**good, "new.weight": np.ones(2)}, "gradients of new.weight, and no such parameters")
    says({**good, "dense.bias": np.ones(4)}, "dense.bias is float64 (3,), its gradient float64 (4,)")
    says({**good, "dense.bias": np.ones(3, np.float32)}, "its gradient float32 (3,)")
    says(
        {"dense.bias": np.ones(3)}, "the state was not started with parameter dense.bias", state={"step": state["step"]}
    )
    assert {name: x.tobytes() for name, x in {**parameters, **state}.items()} == bits
    says({"x": np.ones(3, int)}, "x is int64; float32 and float64", {"x": np.ones(3, int)})
    x = {"x": np.ones((4, 4))[:, ::2]}
    says({"x": np.ones((4, 2))}, "contiguous arrays that may be written to", x, AdamW().start(x))
    x = {"x": np.ones(3)}
    x["x"].flags.writeable = False
    says({"x": np.ones(3)}, "may be written to", x, AdamW().start(x))


@pytest.mark.parametrize("kind", [AdamW, LAMB])
def test_numbers_without_meaning_are_refused(kind):
    assert "betas must be two numbers" in refusal(kind, betas=(0.9, 1.0))
    assert "epsilon must be 0 or more" in refusal(kind, epsilon=-1.0)
    assert "weight_decay must be 0 or more" in refusal(kind, weight_decay=math.nan)


# --- clipping ---------------------------------------------------------------------------------------------------------


@pytest.mark.parity
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("max_norm", [0.01, 1.0, 1e6])
def test_clipping_is_torchs(torch, dtype, max_norm):
    ours = drawn(dtype, 3)
    theirs = []
    for x in drawn(dtype, 3).values():
        theirs.append(torch.nn.Parameter(torch.zeros(x.shape, dtype=getattr(torch, dtype))))
        theirs[-1].grad = torch.from_numpy(x)
    limit = NORM_FLOAT64 if dtype == "float64" else NORM_FLOAT32
    assert clip_gradients(ours, max_norm) == pytest.approx(
        float(torch.nn.utils.clip_grad_norm_(theirs, max_norm)), rel=limit
    )
    for (name, x), parameter in zip(ours.items(), theirs, strict=True):
        assert_close(name, x, parameter.grad.numpy(), limit=limit)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 1000), st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_a_clipped_gradient_keeps_its_direction_and_is_short_enough(seed, max_norm, scale):
    gradients = drawn("float64", seed, scale)
    before = {name: x.copy() for name, x in gradients.items()}
    total = clip_gradients(gradients, max_norm)
    assert total == pytest.approx(math.sqrt(math.fsum((x * x).sum() for x in before.values())), rel=NORM_FLOAT64)
    assert global_norm(gradients) <= max_norm * (1 + NORM_FLOAT64)
    if total <= max_norm - 1e-6:
        assert all(np.array_equal(gradients[name], x) for name, x in before.items())
    else:
        factor = global_norm(gradients) / total
        assert all(np.allclose(gradients[name], factor * x, rtol=1e-9, atol=0) for name, x in before.items())


def test_a_norm_of_nan_makes_nan_as_torchs_does():
    gradients = {"a": np.array([1.0, np.nan]), "b": np.ones(2)}
    assert math.isnan(clip_gradients(gradients, 1.0))
    assert np.isnan(gradients["b"]).all()


def test_squares_that_float32_cannot_hold_are_added_all_the_same():
    assert norm(np.full(4, 3e30, np.float32)) == pytest.approx(6e30, rel=1e-6)


def test_a_norm_to_clip_at_is_positive():
    assert "max_norm must be more than 0; got 0" in refusal(clip_gradients, {}, 0)


# --- schedules --------------------------------------------------------------------------------------------------------


def test_a_line_up_and_a_line_down():
    schedule = Schedule(peak=1.0, warmup_steps=4, total_steps=8)
    assert [schedule(step) for step in range(10)] == [0, 0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25, 0, 0]
    assert [Schedule(2.0, 2)(step) for step in range(5)] == [0, 1, 2, 2, 2]
    assert [Schedule(2.0)(step) for step in (0, 1000)] == [2, 2]
    assert [Schedule(1.0, 0, 4, power=2.0)(step) for step in range(5)] == [1, 0.5625, 0.25, 0.0625, 0]
    assert [Schedule(1.0, 3, 3)(step) for step in (2, 3, 4)] == [2 / 3, 0, 0]


@pytest.mark.parity
@settings(deadline=None, max_examples=25)
@given(st.integers(0, 6), st.integers(1, 12), st.sampled_from([1.0, 2.0, 0.5]))
def test_a_schedule_is_that_of_transformers(torch, transformers, warmup, decay, power):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    theirs = transformers.get_polynomial_decay_schedule_with_warmup(
        optimizer, warmup, warmup + decay, lr_end=0.0, power=power
    )
    ours = Schedule(0.3, warmup, warmup + decay, power)
    for step in range(warmup + decay + 3):
        assert ours(step) == pytest.approx(theirs.get_last_lr()[0], rel=1e-12, abs=0)
        optimizer.step()
        theirs.step()


def test_schedules_that_cannot_be_are_refused():
    assert "a warm-up of 5 steps does not fit into 4" in refusal(Schedule, 1.0, 5, 4)
    assert "finite number, 0 or more; got -1.0" in refusal(Schedule, -1.0)
    assert "warmup_steps must be 0 or more" in refusal(Schedule, 1.0, -1)
    assert "power must be more than 0" in refusal(Schedule, 1.0, 0, 3, 0.0)
