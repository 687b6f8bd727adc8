"""Every backward function of ops.py against central differences of its forward, in float64; and the whole model's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.backends import NUMPY
from tolerances import CENTRAL_DIFFERENCE, REORDERED_FLOAT64

from albert_np import ops
from albert_np.golden.cases import PARTS, random_case
from albert_np.golden.tolerances import assert_close

STEP = 2.0**-17  # the error is about STEP² · f''' / 6 and u · |f| / STEP: both near 1e-11
few = settings(max_examples=15, deadline=None)
seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 4)


def assert_gradients(forward, gradients, inputs, rng):
    """gradients(dy) against Σ dy·(f(x + h) − f(x − h)) / 2h, for every entry of every input."""
    dy = rng.standard_normal(np.shape(forward(*inputs)))
    for place, (x, found) in enumerate(zip(inputs, gradients(dy), strict=True)):
        expected = np.empty_like(x)
        for i in np.ndindex(x.shape):
            ends = []
            for step in (STEP, -STEP):
                moved = [a.copy() for a in inputs]
                moved[place][i] += step
                ends.append(np.sum(dy * forward(*moved)))
            expected[i] = (ends[0] - ends[1]) / (2 * STEP)
        scale = 1 + np.abs(expected).max()  # a gradient may be all zeros
        assert found.shape == x.shape
        assert_close(f"input {place}", found / scale + 1, expected / scale + 1, limit=CENTRAL_DIFFERENCE)


def draw(rng, *shape):
    return rng.standard_normal(shape)


@few
@given(seed=seeds, B=sizes, T=sizes, K=sizes, N=sizes)
def test_linear(seed, B, T, K, N):
    rng = np.random.default_rng(seed)
    x, weight, bias = draw(rng, B, T, K), draw(rng, N, K), draw(rng, N)
    assert_gradients(ops.linear, lambda dy: ops.linear_backward(dy, x, weight), [x, weight, bias], rng)


@few
@given(seed=seeds, B=sizes, T=sizes, V=st.integers(2, 5), pad=st.booleans())
def test_embedding(seed, B, T, V, pad):
    """A row that is read twice gathers both gradients; the pad row's lookup is a constant."""
    rng = np.random.default_rng(seed)
    ids, table = rng.integers(0, V, (B, T)), draw(rng, V, 3)
    padding_idx = 1 if pad else None

    def forward(table):
        rows = table[ids]
        return np.where((ids == padding_idx)[..., None], 0, rows) if pad else rows

    assert_gradients(forward, lambda dy: [ops.embedding_backward(dy, ids, V, padding_idx)], [table], rng)


@few
@given(seed=seeds, rows=sizes, H=st.integers(2, 7), eps=st.sampled_from([1e-12, 1e-5]))
def test_layer_norm(seed, rows, H, eps):
    rng = np.random.default_rng(seed)
    # neighbours are 1 apart or more: in a row that is nearly constant, central differences have no digits left
    x, weight, bias = rng.uniform(-1, 1, (rows, H)) + 3 * np.arange(H), draw(rng, H), draw(rng, H)
    assert_gradients(
        lambda *given: ops.layer_norm(*given, eps),
        lambda dy: ops.layer_norm_backward(dy, x, weight, eps),
        [x, weight, bias],
        rng,
    )


def test_layer_norm_of_float16_is_computed_wider():
    rng = np.random.default_rng(0)
    x, weight, dy = (draw(rng, 4, 64).astype(np.float16) * 30 for _ in range(3))
    found = ops.layer_norm_backward(dy, x, weight[0], 1e-12)
    truth = ops.layer_norm_backward(*(a.astype(np.float64) for a in (dy, x, weight[0])), 1e-12)
    assert found[0].dtype == np.float16
    assert all(np.isfinite(a).all() for a in found)
    assert_close("dx", found[0], truth[0], limit=0.01, dtype=np.float16)


@few
@given(seed=seeds, rows=sizes, T=st.integers(1, 6))
def test_softmax(seed, rows, T):
    rng = np.random.default_rng(seed)
    x = 2 * draw(rng, rows, T)
    assert_gradients(ops.softmax, lambda dy: [ops.softmax_backward(dy, ops.softmax(x))], [x], rng)


@few
@given(
    seed=seeds,
    B=st.integers(1, 2),
    N=st.integers(1, 3),
    T=st.integers(1, 4),
    D=st.integers(1, 3),
    position_type=st.sampled_from(["absolute", "relative_key", "relative_key_query"]),
    mask=st.sampled_from(["keys", "pairs"]),
    head_mask=st.booleans(),
    dropout=st.booleans(),
    far=st.booleans(),
)
def test_attention(seed, B, N, T, D, position_type, mask, head_mask, dropout, far):
    rng = np.random.default_rng(seed)
    allowed = rng.random((B, 1, 1 if mask == "keys" else T, T)) < 0.7
    allowed[..., 0] = True
    relative = position_type != "absolute"
    positions = np.sort(rng.permutation(9)[:T]) if far else None
    inputs = [draw(rng, B, T, N * D) for _ in range(3)] + ([draw(rng, 17, D)] if relative else [])
    options = {
        "position_type": position_type,
        "positions": positions,
        "dropout_probability": 0.3,
        "head_mask": draw(rng, N) if head_mask else None,
    }

    def call(q, k, v, table=None):
        again = np.random.default_rng(5) if dropout else None
        return ops.attention(q, k, v, ops.Attending(allowed, N, distance_table=table, **options), again)

    def gradients(dy):
        q, k, v, *table = inputs
        again = np.random.default_rng(5) if dropout else None
        how = ops.Attending(allowed, N, distance_table=table[0] if table else None, **options)
        found = ops.attention_backward(dy, q, k, v, call(*inputs)[1], how, again)
        return found if relative else found[:3]

    assert_gradients(lambda *given: call(*given)[0], gradients, inputs, rng)


@pytest.mark.parametrize("name", ops.ACTIVATIONS)
def test_activation(name):
    rng = np.random.default_rng(0)
    x = np.concatenate([6 * draw(rng, 40), [-39.5, -9.0, 1e-3, 9.0, 41.0]])
    assert_gradients(lambda x: ops.activation(x, name), lambda dy: [ops.activation_backward(dy, x, name)], [x], rng)


@pytest.mark.parametrize("name", ops.ACTIVATIONS)
def test_slopes_at_the_ends(name):
    """Far to the left the slope is 0 and far to the right 1 (tanh: 0); at 0 of relu it is 0, as torch's."""
    ends = np.array([-1e30, -100.0, 100.0, 1e30])
    slopes = ops.activation_backward(np.ones(4), ends, name)
    assert_close(
        name, slopes + 1, np.array([1.0, 1, 1, 1] if name == "tanh" else [1.0, 1, 2, 2]), limit=REORDERED_FLOAT64
    )
    assert name != "relu" or ops.activation_backward(np.ones(1), np.zeros(1), name) == 0


@few
@given(seed=seeds, rows=st.integers(1, 5), K=st.integers(1, 5))
def test_cross_entropy(seed, rows, K):
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random(rows) < 0.7, rng.integers(0, K, rows), -100)
    labels[0] = 0
    z = 3 * draw(rng, rows, K)
    assert_gradients(
        lambda z: ops.cross_entropy(z, labels), lambda dy: [dy * ops.cross_entropy_backward(z, labels)], [z], rng
    )
    assert not ops.cross_entropy_backward(z, np.full(rows, -100)).any()


@pytest.mark.parametrize("loss", ["mse_loss", "bce_with_logits"])
@few
@given(seed=seeds, rows=sizes, K=sizes)
def test_other_losses(loss, seed, rows, K):
    rng = np.random.default_rng(seed)
    z, target = 3 * draw(rng, rows, K), rng.random((rows, K))
    forward, backward = getattr(ops, loss), getattr(ops, f"{loss}_backward")
    assert_gradients(lambda z: forward(z, target), lambda dy: [dy * backward(z, target)], [z], rng)


def test_dropout_loses_the_same_entries_on_the_way_back():
    x = np.ones((50, 40))
    y, dx = ops.dropout(x, 0.4, np.random.default_rng(3)), ops.dropout_backward(x, 0.4, np.random.default_rng(3))
    assert 0 < np.count_nonzero(y) < y.size
    assert np.array_equal(dx, y)
    assert ops.dropout_backward(x, 0.4, None) is x


# --- the whole model ------------------------------------------------------------------------------------------------------

KINDS = [kind for kind in PARTS if kind != "AlbertModel"]


@pytest.mark.parametrize("kind", KINDS)
def test_loss_falls_along_the_gradient_as_fast_as_it_says(kind):
    """With dropout on: the same seed draws the same in both calls, and on the way back."""
    config, tensors, call = random_case(7, kind)
    config = config.replace(
        hidden_dropout_prob=0.2, attention_probs_dropout_prob=0.1, classifier_dropout_prob=0.3, hidden_act="gelu_new"
    )
    model = NUMPY.model(kind, config, tensors)
    call |= {"training": True, "seed": 3}
    loss, gradients = model.value_and_grad(**call)
    rng, ends = np.random.default_rng(0), []
    away = {name: draw(rng, *x.shape) for name, x in gradients.items()}
    for step in (1e-6, -2e-6):
        for name, x in model.parameters_to_change().items():
            x += step * away[name]
        ends.append(model(**call).loss)
    expected = (ends[0] - ends[1]) / 2e-6
    found = sum(np.sum(away[name] * x) for name, x in gradients.items())
    assert abs(found - expected) <= 1e-5 * max(1, abs(expected)), (found, expected, loss)


@pytest.mark.parametrize("kind", KINDS)
def test_shares_of_the_applications_add_up_and_computing_again_changes_no_bit(kind):
    config, tensors, call = random_case(11, kind)
    config = config.replace(hidden_dropout_prob=0.2, attention_probs_dropout_prob=0.1)
    model = NUMPY.model(kind, config, tensors)
    call |= {"training": True, "seed": 3}
    loss, gradients = model.value_and_grad(**call)
    again, recomputed = model.value_and_grad(recompute=True, **call)
    assert loss == again
    assert_close("loss", loss, model(**call).loss, limit=REORDERED_FLOAT64)
    shares = model.value_and_grad(per_application=True, **call)[1]
    for name, x in gradients.items():
        assert np.array_equal(recomputed[name], x)
        if "albert_layers" not in name:
            assert np.array_equal(shares[name], x)
            continue
        assert shares[name].shape[1:] == x.shape
        total = shares[name][-1].copy()
        for share in shares[name][-2::-1]:  # as the way back finds them
            total += share
        assert np.array_equal(total, x)


def test_the_pad_row_learns_from_the_decoder_alone():
    config, tensors, call = random_case(3, "AlbertForMaskedLM")
    config = config.replace(pad_token_id=2, tie_word_embeddings=True)
    tensors.pop("predictions.decoder.weight", None)
    call.pop("inputs_embeds", None)
    shape = call["token_type_ids"].shape
    call["input_ids"] = np.where(np.arange(shape[1]) % 2, 2, 5) + np.zeros(shape, int)
    call["labels"] = np.full(shape, 7)
    name = "albert.embeddings.word_embeddings.weight"
    both = NUMPY.model("AlbertForMaskedLM", config, tensors).value_and_grad(**call)[1][name]
    other = config.replace(pad_token_id=3)
    lookup_too = NUMPY.model("AlbertForMaskedLM", other, tensors).value_and_grad(**call)[1][name]
    assert both[2].any()
    assert not np.array_equal(both[2], lookup_too[2])
    assert np.array_equal(both[5], lookup_too[5])


def test_a_loss_is_needed():
    for kind, missing in (("AlbertModel", "a head"), ("AlbertForPreTraining", "labels and sentence_order_label")):
        config, tensors, call = random_case(3, kind)
        call = {name: x for name, x in call.items() if "label" not in name}
        with pytest.raises(ValueError, match=f"no loss to differentiate without {missing}"):
            NUMPY.model(kind, config, tensors).value_and_grad(**call)


def test_logits_positions_leave_no_loss():
    config, tensors, call = random_case(3, "AlbertForMaskedLM")
    call.pop("labels")
    with pytest.raises(ValueError, match="no loss"):
        NUMPY.model("AlbertForMaskedLM", config, tensors).value_and_grad(logits_positions=[[0]] * 3, **call)
