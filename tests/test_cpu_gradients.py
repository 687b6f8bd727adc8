"""value_and_grad on backend "numba": the same gradients as the reference, within what float32 allows, always the same bits."""

import numpy as np
import pytest
from support.backends import NUMBA, NUMPY, runnable
from tolerances import GRADIENT_FLOAT32, GRADIENT_FLOOR, SHARES_FLOAT32

from albert_np import AlbertConfig, num_threads
from albert_np.golden.cases import PARTS, TINY, batch, random_case, trained_like
from albert_np.golden.tolerances import assert_close, assert_float32_rule_in_the_mean

KINDS = [kind for kind in PARTS if kind != "AlbertModel"]


@pytest.fixture(scope="module", autouse=True)
def numba():
    return runnable(NUMBA)


def case(seed, kind):
    """As the live comparison's; every other one is what the encoder's two programs can do."""
    config, tensors, call = random_case(seed, kind)
    if seed % 2 == 0:
        config = config.replace(position_embedding_type="absolute")
        tensors = {name: x for name, x in tensors.items() if "distance_embedding" not in name}
        call.pop("head_mask", None)
    return config, tensors, call


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_keep_the_float32_rule(kind):
    """Those that are zero in mathematics too: they consist of rounding alone, and so are their draws."""
    cases = {}
    for seed in range(8):
        config, tensors, call = case(seed, kind)
        models = [backend.model(kind, config, tensors) for backend in (NUMBA, NUMPY)]
        (loss, found), (true_loss, truth) = (model.value_and_grad(**call) for model in models)
        if np.isnan(true_loss):  # every label happened to be ignored
            assert np.isnan(loss)
            continue
        assert list(found) == list(truth)
        draws = NUMPY.draws(lambda model, call=call: model.value_and_grad(**call)[1], kind, config, tensors)
        cases |= {(seed, name): (found[name], [draw[name] for draw in draws], x) for name, x in truth.items()}
    assert len(cases) > 100
    assert_float32_rule_in_the_mean(kind, cases)


def masked_lm(**changes):
    config = AlbertConfig(**TINY | changes)
    call = batch(config, "AlbertForMaskedLM", 5, padding=True)
    return NUMBA.model("AlbertForMaskedLM", config, trained_like(config, PARTS["AlbertForMaskedLM"], 1)), call


def same(one, other):
    return list(one) == list(other) and all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("options", [{}, {"recompute": True}, {"all_logits": True}], ids=str)
def test_gradients_have_the_same_bits_on_any_threads(options):
    model, call = masked_lm(num_hidden_groups=2, inner_group_num=2)
    with num_threads(1):
        loss, gradients = model.value_and_grad(**call, **options)
    for threads in (2, 3, 8):
        with num_threads(threads):
            again, others = model.value_and_grad(**call, **options)
        assert loss == again
        assert same(gradients, others)


def test_computing_again_changes_no_bit_and_shares_add_up():
    model, call = masked_lm(num_hidden_layers=6)
    loss, gradients = model.value_and_grad(**call)
    again, recomputed = model.value_and_grad(recompute=True, **call)
    assert loss == again
    assert same(gradients, recomputed)
    shares = model.value_and_grad(per_application=True, **call)[1]
    for name, x in gradients.items():
        if "albert_layers" in name:
            assert shares[name].shape == (6, *x.shape)
            if "key.bias" not in name:  # zero in mathematics
                assert_close(name, shares[name].sum(axis=0), x, limit=SHARES_FLOAT32)
        else:
            assert np.array_equal(shares[name], x)


def test_a_change_of_the_weights_is_seen_by_the_next_call():
    model, call = masked_lm()
    before = model.value_and_grad(**call)[0]
    name = "albert.encoder.albert_layer_groups.0.albert_layers.0.ffn.weight"
    parameters = model.parameters_to_change()
    parameters[name] *= 2
    after, gradients = model.value_and_grad(**call)
    assert after == model.value_and_grad(**call)[0] != before
    fresh = NUMBA.model(
        "AlbertForMaskedLM", model.config, {key.removeprefix("albert."): x for key, x in model.named_parameters()}
    )
    loss, others = fresh.value_and_grad(**call)
    assert loss == after
    assert same(gradients, others)


@pytest.mark.parametrize("mask_mode", ["uniform", "zeros", "nan"])
def test_a_sequence_with_nothing_to_attend_to(mask_mode):
    model, call = masked_lm()
    call["attention_mask"] = np.array(call["attention_mask"])
    call["attention_mask"][0] = 0
    reference = NUMPY.model(
        "AlbertForMaskedLM", model.config, {key.removeprefix("albert."): x for key, x in model.named_parameters()}
    )
    found, truth = (m.value_and_grad(mask_mode=mask_mode, **call)[1] for m in (model, reference))
    for name, x in truth.items():
        assert np.array_equal(np.isnan(found[name]).any(), np.isnan(x).any())
        if not np.isnan(x).any() and "key.bias" not in name:
            assert_close(name, found[name], x, limit=GRADIENT_FLOAT32, dtype=np.float32)


READ_IN_PART = [
    "AlbertForMaskedLM",
    "AlbertForPreTraining",
    "AlbertForSequenceClassification",
    "AlbertForTokenClassification",
    "AlbertForMultipleChoice",
]


@pytest.mark.parametrize("kind", READ_IN_PART)
@pytest.mark.parametrize("options", [{}, {"recompute": True}], ids=str)
def test_padding_that_the_loss_does_not_read_changes_no_bit(kind, options):
    """It is not computed, on whichever side it is: what follows it would be summed in another order."""
    config = AlbertConfig(**TINY)
    model = NUMBA.model(kind, config, trained_like(config, PARTS[kind], 2))
    call = batch(config, kind, 6)
    call["position_ids"] = np.broadcast_to(np.arange(call["input_ids"].shape[-1]), call["input_ids"].shape)
    of_tokens = [name for name, x in call.items() if x.shape[-1:] == call["input_ids"].shape[-1:] and x.ndim > 1]
    call["attention_mask"][..., 1] = 0  # a hole
    if call["labels"].ndim == 2:
        call["labels"][:, 1] = -100
    loss, found = model.value_and_grad(**call, **options)
    for before, behind in ((0, 3), (2, 0), (1, 5)):
        padded = dict(call)
        for name in of_tokens:
            value = -100 if name == "labels" else 0
            padded[name] = np.pad(
                call[name], [(0, 0)] * (call[name].ndim - 1) + [(before, behind)], constant_values=value
            )
        if kind not in ("AlbertForMaskedLM", "AlbertForTokenClassification") and before:
            continue  # the first token is read, and would be padding
        again, others = model.value_and_grad(**padded, **options)
        assert again == loss
        assert same(*({name: x for name, x in g.items() if ".encoder." in name} for g in (found, others)))


def three_axes(call):
    mask = np.tril(np.ones((*call["input_ids"].shape, call["input_ids"].shape[-1]), int))
    return call | {"attention_mask": mask * call["attention_mask"][:, None]}


def on_padding(call):
    call["labels"][0, np.flatnonzero(call["attention_mask"][0] == 0)[0]] = 1
    return call


def nothing_real(call):
    mask = call["attention_mask"].copy()
    mask[0] = 0
    labels = call["labels"].copy()
    labels[0] = -100
    return call | {"attention_mask": mask, "labels": labels}


@pytest.mark.parametrize("mask_mode", ["uniform", "zeros", "nan"])
@pytest.mark.parametrize("position_type", ["absolute", "relative_key_query"])
@pytest.mark.parametrize("changed", [three_axes, on_padding, nothing_real], ids=lambda f: f.__name__)
def test_padding_that_is_read_or_seen_is_computed(changed, mask_mode, position_type):
    config = AlbertConfig(**TINY | {"position_embedding_type": position_type})
    tensors = trained_like(config, PARTS["AlbertForTokenClassification"], 2)
    call = batch(config, "AlbertForTokenClassification", 6, padding=True)
    assert (call["attention_mask"][0] == 0).any()
    call["labels"] = np.where(call["attention_mask"] == 1, call["labels"], -100)
    call = changed(call)
    found, truth = (
        backend.model("AlbertForTokenClassification", config, tensors).value_and_grad(mask_mode=mask_mode, **call)[1]
        for backend in (NUMBA, NUMPY)
    )
    for name, x in truth.items():
        assert np.array_equal(np.isnan(found[name]).any(), np.isnan(x).any()), name
        if not np.isnan(x).any() and "key.bias" not in name:
            assert_close(name, found[name], x, limit=GRADIENT_FLOAT32, dtype=np.float32)


@pytest.mark.parametrize("kind", READ_IN_PART[:4])
@pytest.mark.parametrize("options", [{}, {"recompute": True}], ids=str)
def test_rows_that_the_loss_does_not_read_change_nothing(kind, options):
    """Of the last application they are not computed at all: one label, in a sequence of two, and the first tokens."""
    config = AlbertConfig(**TINY)
    call = batch(config, kind, 6)
    if kind != "AlbertForSequenceClassification":
        labels = np.full_like(call["labels"], -100)
        labels[1, 2] = 1
        call["labels"] = labels
    tensors = trained_like(config, PARTS[kind], 2)
    (loss, found), (true_loss, truth) = (
        backend.model(kind, config, tensors).value_and_grad(**call, **options) for backend in (NUMBA, NUMPY)
    )
    assert_close("loss", np.float32(loss), np.float64(true_loss), limit=GRADIENT_FLOAT32, dtype=np.float32)
    floor = GRADIENT_FLOOR * max(np.abs(x).max() for x in truth.values())
    for name, x in truth.items():
        if np.abs(x).max() > floor:
            assert_close(name, found[name], x, limit=GRADIENT_FLOAT32, dtype=np.float32)
