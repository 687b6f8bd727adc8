"""value_and_grad in dtype="bfloat16" of backend "numba": which operands are rounded, and what that costs."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from support import ROOT, needs
from support.backends import BFLOAT16, NUMBA, NUMPY, runnable
from support.bfloat16 import KINDS, assert_same_bits
from support.same_bits import printed
from tolerances import GRADIENT_BFLOAT16, GRADIENT_FLOAT32, SHARES_FLOAT32, TRAINED_BFLOAT16

from albert_np import AlbertConfig, AlbertForMaskedLM, AlbertTokenizer, num_threads, ops
from albert_np.backends.cpu.bfloat16_products import Products16
from albert_np.backends.cpu.ops import CpuOps
from albert_np.golden.cases import PARTS, TINY, batch, trained_like
from albert_np.golden.tolerances import assert_close
from albert_np.kernels.cpu import operands, simd, units
from albert_np.kernels.cpu.arena import Buffers
from albert_np.kernels.cpu.bfloat16 import emulation
from albert_np.run import Weights
from albert_np.training.optimizers import AdamW


@pytest.fixture(autouse=True, scope="module")
def _kernels():
    runnable(BFLOAT16)


# --- the products of a layer ------------------------------------------------------------------------------------------------


def rows(x):  # (R,C) -> (R,stride)
    """The numbers with room behind them, in which there is anything."""
    held = operands.rows_of(len(x), x.shape[1])
    held[:] = np.nan
    held[:, : x.shape[1]] = x
    return held


def room(R, columns):  # -> (R,stride), and a row behind it that must stay
    whole = operands.rows_of(R + 1, columns)
    whole[:] = 7
    return whole


@pytest.mark.parametrize("kind", ["normal", "wide", "infinity, NaN, zeros and subnormals", "all patterns of bits"])
@pytest.mark.parametrize(("R", "out", "into"), [(1, 1, 1), (5, 33, 17), (32, 16, 64), (45, 50, 100), (130, 70, 31)])
def test_every_product_has_the_bits_of_the_emulation(kind, R, out, into):
    """Forward, to the input and to the weight, in buffers that a longer call has used before."""
    random, products = np.random.default_rng(R), Products16(CpuOps(), Buffers())
    for more in (40, 0):
        shapes = ((R + more, into), (R + more, out), (out + more, into + more))
        x, dy, w = (KINDS[kind](random, shape) for shape in shapes)
        w, bias = w[:out, :into].copy(), random.standard_normal(out).astype(np.float32)
        y, dx, d_weight = room(len(x), out), room(len(x), into), room(out, into)
        layer = (Weights(weight=w, bias=bias),)
        with np.errstate(all="ignore"), num_threads(3):
            program = products.start()
            products.add_forward(program, rows(x), layer, y)
            products.add_back(program, rows(dy), layer, dx)
            products.add_to_weight(program, rows(dy), rows(x), d_weight[:out], into, add=False)
            program.run()
            to_weight = emulation.product(dy.T, x)
            assert_same_bits(y[: len(x), :out], emulation.product(x, w.T) + bias)
            assert_same_bits(dx[: len(x), :into], emulation.product(dy, w))
            assert_same_bits(d_weight[:out, :into], to_weight)
            program = products.start()
            products.add_back(program, rows(dy), layer, dx, residual=rows(x))
            products.add_to_weight(program, rows(dy), rows(x), d_weight[:out], into, add=True)
            program.run()
            assert_same_bits(dx[: len(x), :into], emulation.product(dy, w) + x)
            assert_same_bits(d_weight[:out, :into], to_weight + to_weight)
        assert all(np.all(whole[-1] == 7) for whole in (y, dx, d_weight))


# --- gradients --------------------------------------------------------------------------------------------------------------


class RoundedOps:
    """The reference's ops in float64, with the operands of the layers' products rounded to bfloat16."""

    def __init__(self, w):
        layers = [layer for group in w.encoder.albert_layer_groups for layer in group.albert_layers]
        attentions = [layer.attention for layer in layers]
        of_layers = [getattr(layer, name).weight for layer in layers for name in ("ffn", "ffn_output")]
        of_attentions = [getattr(a, name).weight for a in attentions for name in ("query", "key", "value", "dense")]
        self.rounded = [*of_layers, *of_attentions]

    def __getattr__(self, name):
        return getattr(ops, name)

    def operands(self, weight, *others):
        if all(weight is not one for one in self.rounded):
            return weight, *others
        return tuple(emulation.round_to_bfloat16(x.astype(np.float32)).astype(np.float64) for x in (weight, *others))

    def linear(self, x, weight, bias):
        weight, x = self.operands(weight, x)
        return ops.linear(x, weight, bias)

    def linear_backward(self, dy, x, weight):
        narrow, narrow_dy, narrow_x = self.operands(weight, dy, x)
        dx, d_weight, _ = ops.linear_backward(narrow_dy, narrow_x, narrow)
        return dx, d_weight, ops.linear_backward(dy, x, weight)[2]


def case(kind="AlbertForMaskedLM", seed=1, **changes):
    config = AlbertConfig(**TINY | changes)
    return kind, config, trained_like(config, PARTS[kind], seed), batch(config, kind, seed, padding=True)


def worst(found, truth):
    """max|Δg| of a parameter over its largest gradient, or over a thousandth of the largest of all."""
    largest = max(np.abs(x).max() for x in truth.values())
    return max(np.abs(found[name] - x).max() / max(np.abs(x).max(), largest / 1000) for name, x in truth.items())


CASES = {
    "masked words": {},
    "groups": {"num_hidden_groups": 2, "inner_group_num": 2},
    "relative positions": {"position_embedding_type": "relative_key_query", "hidden_act": "silu"},
    "sizes that fit nothing": {"hidden_size": 33, "intermediate_size": 37, "hidden_act": "gelu"},
    "two losses": {"kind": "AlbertForPreTraining"},
    "answers": {"kind": "AlbertForQuestionAnswering"},
}
DROPOUT = {"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.2}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dropout", [{}, {"training": True, "seed": 3}], ids=["no dropout", "dropout"])
def test_gradients_are_those_of_the_same_roundings(name, dropout):
    """And of no others: one more or less would be in every draw.

    Where what float32 rounds decides how a number is rounded to bfloat16, gradients are a thousandth off. One draw is enough.
    """
    draws = []
    for seed in range(12):
        kind, config, tensors, call = case(seed=seed, **CASES[name] | DROPOUT)
        reference = NUMPY.model(kind, config, tensors)
        reference._engine.ops = RoundedOps(reference._weights)
        loss, truth = reference.value_and_grad(**call, **dropout)
        found_loss, found = BFLOAT16.model(kind, config, tensors).value_and_grad(**call, **dropout)
        draws.append(worst(found, truth))
        if draws[-1] <= GRADIENT_FLOAT32:
            assert abs(found_loss - loss) <= GRADIENT_FLOAT32 * abs(loss)
            return
    pytest.fail(f"the errors of {len(draws)} draws: {draws}")


def distance(found, truth):
    """|Δg|/|g| of all gradients as one vector."""
    return np.sqrt(
        sum(np.sum((found[name] - x) ** 2) for name, x in truth.items()) / sum(map(np.vdot, *[truth.values()] * 2))
    )


@pytest.mark.parametrize(
    "changes", [{}, {"hidden_act": "relu"}, {"num_hidden_groups": 2, "inner_group_num": 2}], ids=str
)
def test_gradients_are_near_those_of_float64(changes):
    kind, config, tensors, call = case(**changes)
    true_loss, truth = NUMPY.model(kind, config, tensors).value_and_grad(**call)
    loss, found = BFLOAT16.model(kind, config, tensors).value_and_grad(**call)
    assert all(x.dtype == np.float32 for x in found.values())
    assert abs(loss - true_loss) < GRADIENT_BFLOAT16 * true_loss
    assert GRADIENT_BFLOAT16 / 100 < distance(found, truth) < GRADIENT_BFLOAT16


def same(one, other):
    return list(one) == list(other) and all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    "changes", [{}, DROPOUT | {"num_hidden_groups": 2, "inner_group_num": 2}], ids=["plain", "dropout"]
)
def test_gradients_have_the_same_bits_however_they_are_computed(changes):
    kind, config, tensors, call = case(num_hidden_layers=6, **changes)
    call |= {"training": True, "seed": 3} if "hidden_dropout_prob" in changes else {}
    model = BFLOAT16.model(kind, config, tensors)
    with num_threads(1):
        loss, gradients = model.value_and_grad(**call)
    for threads, options in ((2, {}), (3, {"recompute": True}), (8, {})):
        with num_threads(threads):
            again, others = model.value_and_grad(**call, **options)
        assert loss == again
        assert same(gradients, others)
    shares = model.value_and_grad(per_application=True, **call)[1]
    for name, x in gradients.items():
        if "albert_layers" in name and "key.bias" not in name:  # which is zero in mathematics
            assert_close(name, shares[name].sum(axis=0), x, limit=SHARES_FLOAT32)


def test_a_longer_batch_before_changes_no_bit():
    """Its numbers lie in the buffers still."""
    kind, config, tensors, call = case(hidden_size=33, intermediate_size=37)
    short = {name: x[:1, :3] for name, x in call.items()}
    short["labels"][0, 1] = 7
    fresh, used = (BFLOAT16.model(kind, config, tensors) for _ in range(2))
    used.value_and_grad(**call)
    (loss, gradients), (again, others) = (model.value_and_grad(**short) for model in (fresh, used))
    assert loss == again
    assert same(gradients, others)


@pytest.mark.parity
def test_gradients_are_nearer_to_float64_than_torchs_under_autocast():
    """Of the demo: docs/training.md has both numbers."""
    torch, transformers = needs.module("parity", "torch"), needs.module("parity", "transformers")
    tokenizer, folder = AlbertTokenizer.from_pretrained("demo"), ROOT / "albert_np/demo"
    page = (
        "She opened the door and went into the garden. There was nobody there, and the rain had begun to fall again. "
    )
    ids = np.repeat(np.asarray(tokenizer([4 * page], return_tensors="np")["input_ids"])[:, :100], 4, axis=0)
    chosen = np.random.default_rng(0).random(ids.shape) < 0.15
    call = {"labels": np.where(chosen, ids, -100), "input_ids": np.where(chosen, tokenizer.mask_token_id, ids)}
    truth = AlbertForMaskedLM.from_pretrained("demo", backend="numpy", dtype="float64").value_and_grad(**call)[1]
    found = AlbertForMaskedLM.from_pretrained("demo", backend="numba", dtype="bfloat16").value_and_grad(**call)[1]
    judge = transformers.AlbertForMaskedLM.from_pretrained(folder, attn_implementation="sdpa")
    with torch.autocast("cpu", torch.bfloat16):
        loss = judge(**{name: torch.from_numpy(x) for name, x in call.items()}).loss
    loss.backward()
    theirs = {name: x.grad.numpy() for name, x in judge.named_parameters()}
    assert distance(found, truth) < 0.01 < distance(theirs, truth) < 0.02


# --- training ---------------------------------------------------------------------------------------------------------------


def losses(backend, steps, **changes):
    """What masked words cost while a model learns them by heart, from the same weights."""
    kind, config, tensors, call = case(**changes)
    model, optimizer, found = backend.model(kind, config, tensors), AdamW(), []
    state = optimizer.start(model.parameters_to_change())
    for _ in range(steps):
        loss, gradients = model.value_and_grad(**call)
        optimizer.update(model.parameters_to_change(), gradients, state, 2e-3)
        found.append(float(loss))
    return found


def test_training_reaches_the_loss_of_float32():
    float32, bfloat16 = losses(NUMBA, 60), losses(BFLOAT16, 60)
    assert float32 != bfloat16
    fall = float32[0] - float32[-1]
    assert fall > float32[0] / 2
    assert np.abs(np.subtract(bfloat16, float32)).max() < TRAINED_BFLOAT16 * fall


def digest():
    """The SHA-256 of some gradients, for other units to give too."""
    found = hashlib.sha256()
    for name in ("masked words", "sizes that fit nothing"):
        kind, config, tensors, call = case(**CASES[name])
        for x in BFLOAT16.model(kind, config, tensors).value_and_grad(**call)[1].values():
            found.update(x.tobytes())
    return found.hexdigest()


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{"ALBERT_NP_SIMD": "avx512"}, {"ALBERT_NP_SIMD": "avx2"}, {"ALBERT_NP_TILES": "emulated"}], ids=str
)
def test_other_units_of_this_machine_give_the_same_bits(options):
    rung = options.get("ALBERT_NP_SIMD")
    if rung is not None and (rung not in simd.available() or rung == units.bfloat16()[1]):
        pytest.skip(f"this CPU has no {rung}, or tests run on it anyway")
    assert printed("from test_cpu_bfloat16_training import digest\nprint(digest())", **options) == [digest()]
