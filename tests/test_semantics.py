"""What DESIGN settles once, a test a row: the places where ALBERT implementations quietly disagree. On every backend."""

import math
import warnings
from itertools import combinations

import numpy as np
import pytest
from tolerances import REORDERED, REORDERED_FLOAT64, SAME_MODEL

import albert_np.model
from albert_np import AlbertConfig, ops
from albert_np.checkpoints.names import expected_shapes
from albert_np.encoder import group_of_layer
from albert_np.golden.cases import PARTS, TINY, batch, trained_like
from albert_np.golden.tolerances import assert_close


@pytest.fixture
def make(backend):
    """A tiny trained-like model of a class, with changes to its config, on each backend in turn."""

    def made(kind="AlbertModel", seed=0, **changes):
        config = AlbertConfig(**(TINY | changes))
        return backend.model(kind, config, trained_like(config, PARTS[kind], seed))

    return made


def ids(model, B=2, T=7, seed=1):
    return np.random.default_rng(seed).integers(1, model.config.vocab_size, (B, T))


def test_truth_is_accurate_where_the_textbook_gelu_is_not():
    # x·½(1 + tanh u) in float64 is 0 at −8; the value to 17 digits is by mpmath at 50 digits
    x = np.array([-8.0])
    assert 0.5 * (1 + math.tanh(ops.SQRT_2_OVER_PI * (-8 + 0.044715 * -512))) == 0
    assert ops.gelu_new(x)[0] == pytest.approx(-3.107782937501111218e-21, rel=REORDERED_FLOAT64, abs=0)


def test_gelu_names_mean_two_functions(backend):
    x, table = np.linspace(-4, 4, 41).astype(backend.dtype), backend.ops
    tanh_form = [table.activation(x, name) for name in ("gelu_new", "gelu_pytorch_tanh", "gelu_fast")]
    erf_form = [table.activation(x, name) for name in ("gelu", "gelu_python")]
    assert all(np.array_equal(y, tanh_form[0]) for y in tanh_form)
    assert all(np.array_equal(y, erf_form[0]) for y in erf_form)
    assert 1e-4 < np.max(np.abs(tanh_form[0] - erf_form[0])) < 1e-3
    one = table.activation(np.ones(1, backend.dtype), "gelu")
    assert_close("Φ(1)", one, np.array([0.8413447460685429]), limit=REORDERED[backend.dtype], dtype=backend.dtype)


def test_hidden_act_of_the_config_is_honoured(make):
    outs = {act: make(hidden_act=act)(ids(make()))[0] for act in ("gelu_new", "gelu", "relu", "silu", "tanh")}
    for (a, x), (b, y) in combinations(outs.items(), 2):
        assert not np.allclose(x, y, rtol=0, atol=1e-6), (a, b)


def test_layer_norm_eps_of_the_config_is_honoured(make):
    model, other = make(), make(layer_norm_eps=1e-2)
    assert not np.allclose(model(ids(model))[0], other(ids(model))[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize(("mode", "expected"), [("uniform", 1 / 5), ("zeros", 0.0), ("nan", np.nan)])
def test_attention_mask_row_with_nothing_to_attend_to(make, backend, mode, expected):
    model = make()
    mask = np.array([[0] * 5, [1] * 5])
    attentions = model(ids(model, T=5), mask, output_attentions=True, mask_mode=mode).attentions
    assert np.array_equal(attentions[0][0], np.full((3, 5, 5), expected, backend.dtype), equal_nan=True)
    assert np.all(np.isfinite(attentions[0][1]))


def test_attention_mask_modes_agree_on_every_other_row(make):
    model = make()
    mask = np.array([[1, 1, 1, 0, 0], [1] * 5])
    outs = [model(ids(model, T=5), mask, mask_mode=mode)[0] for mode in ("uniform", "zeros", "nan")]
    assert np.array_equal(outs[0], outs[1])
    assert np.array_equal(outs[0], outs[2])


def test_mask_shapes_a_broadcast_mask_gives_the_same_bits(make):
    model = make()
    mask = np.array([[1] * 7, [1] * 4 + [0] * 3])
    pairs = np.repeat(mask[:, None, :], 7, axis=1)
    expected = model(ids(model), mask, output_attentions=True)
    for wide in (pairs, pairs[:, None]):
        actual = model(ids(model), wide, output_attentions=True)
        assert np.array_equal(actual[0], expected[0])
        assert all(np.array_equal(a, b) for a, b in zip(actual.attentions, expected.attentions, strict=True))


def test_mask_shapes_a_mask_of_pairs_against_a_row_by_row_oracle(make, backend):
    model = make()
    T = 7
    pairs = np.random.default_rng(5).random((2, T, T)) < 0.6
    pairs |= np.eye(T, dtype=bool)
    out = model(ids(model), pairs, trace="unfused", output_attentions=True)
    scores, probs = (out.trace[f"encoder.layer.0.attention.{name}"] for name in ("scores", "probs"))
    for b, n, i in np.ndindex(probs.shape[:3]):  # each query alone, over the keys it may see
        seen = pairs[b, i]
        e = [math.exp(s) for s in scores[b, n, i, seen]]
        assert np.allclose(probs[b, n, i, seen], np.array(e) / math.fsum(e), rtol=REORDERED[backend.dtype], atol=0)
        assert np.all(probs[b, n, i, ~seen] == 0)


def test_mask_none_is_all_ones(make):
    model = make()
    assert np.array_equal(model(ids(model))[0], model(ids(model), np.ones((2, 7)))[0])


def test_head_mask_shared_reads_row_zero_with_one_group(make, backend):
    model = make()
    rows = np.ones((4, 3))
    rows[0] = [1, 0, 2]
    rows[1:] = 7  # never read: there is one group of one layer
    shared = model(ids(model), head_mask=rows, output_attentions=True)
    vector = model(ids(model), head_mask=rows[0], output_attentions=True)
    assert np.array_equal(shared[0], vector[0])
    for probs in shared.attentions:
        assert np.all(probs[:, 1] == 0)
        assert np.allclose(probs[:, 2].sum(-1), 2, rtol=REORDERED[backend.dtype], atol=0)


def test_head_mask_shared_reads_row_g_times_layers_per_group_plus_inner(make):
    model = make(num_hidden_groups=2, inner_group_num=2)  # L = 4: group g, inner j reads row 2g + j
    rows = np.array([[1.0, 1, 1], [2, 2, 2], [3, 3, 3], [4, 4, 4]])
    attentions = model(ids(model), head_mask=rows, output_attentions=True).attentions
    assert [round(float(probs[0, 0, 0].sum())) for probs in attentions] == [1, 2, 1, 2, 3, 4, 3, 4]


def test_head_mask_per_application_gives_each_application_its_row(make):
    model = make()
    rows = np.arange(1.0, 5)[:, None].repeat(3, axis=1)
    attentions = model(ids(model), head_mask=rows, head_mask_mode="per_application", output_attentions=True).attentions
    assert [round(float(probs[0, 0, 0].sum())) for probs in attentions] == [1, 2, 3, 4]


def test_head_mask_is_refused_where_transformers_raises_index_error(make):
    model = make(num_hidden_layers=2, num_hidden_groups=2, inner_group_num=2)
    with pytest.raises(ValueError, match=r"IndexError.*per_application"):
        model(ids(model), head_mask=np.ones(3))
    assert np.all(np.isfinite(model(ids(model))[0]))  # without one the model runs
    assert np.all(np.isfinite(model(ids(model), head_mask=np.ones((4, 3)), head_mask_mode="per_application")[0]))


def test_group_of_layer_is_float_division_and_all():
    assert group_of_layer(9, 18, 14) == 6 != 9 * 14 // 18
    assert [group_of_layer(i, 12, 5) for i in range(12)] == [0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 4, 4]
    for L in range(1, 49):
        for G in (G for G in range(1, L + 1) if L % G == 0):
            assert [group_of_layer(i, L, G) for i in range(L)] == [i * G // L for i in range(L)]


def test_groups_are_applied_in_turn(make):
    """Zeroing a group's attention output changes hidden states from its first layer on, and none before."""
    model = make(num_hidden_groups=2)
    changed = make(num_hidden_groups=2)
    w = changed._weights.encoder.albert_layer_groups[1].albert_layers[0].attention.dense.weight
    w[...] = 0
    a = model(ids(model), output_hidden_states=True).hidden_states
    b = changed(ids(model), output_hidden_states=True).hidden_states
    assert [np.array_equal(x, y) for x, y in zip(a, b, strict=True)] == [True, True, True, False, False]


def test_projection_is_there_also_when_e_equals_h(make):
    config = AlbertConfig(**(TINY | {"embedding_size": 24}))
    assert expected_shapes(config, ())["encoder.embedding_hidden_mapping_in.weight"] == (24, 24)
    model = make(embedding_size=24)
    trace = model(ids(model), trace=True).trace
    assert not np.allclose(trace["encoder.embedding_hidden_mapping_in"], trace["embeddings.LayerNorm"])


def test_tied_decoder_is_the_word_table_and_its_bias_is_added_once(make, backend):
    model = make("AlbertForMaskedLM")
    state = model.state_dict()
    assert state["predictions.decoder.weight"] is state["albert.embeddings.word_embeddings.weight"]
    assert state["predictions.decoder.bias"] is state["predictions.bias"]
    trace = model(ids(model), trace=True).trace
    once = trace["predictions.LayerNorm"] @ state["predictions.decoder.weight"].T + state["predictions.bias"]
    assert_close("logits", trace["predictions.decoder"], once, limit=SAME_MODEL[backend.dtype])
    assert np.abs(state["predictions.bias"]).max() > 1  # so that adding it twice would show


def test_untied_decoder_has_its_own_weight_and_the_tied_bias(make):
    model = make("AlbertForMaskedLM", tie_word_embeddings=False)
    state = model.state_dict()
    assert state["predictions.decoder.weight"] is not state["albert.embeddings.word_embeddings.weight"]
    assert state["predictions.decoder.bias"] is state["predictions.bias"]
    tied = make("AlbertForMaskedLM")
    assert not np.allclose(model(ids(model)).logits, tied(ids(model)).logits)


@pytest.mark.parametrize("num_labels", [1, 2, 3])
def test_sop_and_qa_heads_always_have_two_logits(make, num_labels):
    model = make("AlbertForPreTraining", num_labels=num_labels)
    assert model(ids(model)).sop_logits.shape == (2, 2)
    out = make("AlbertForQuestionAnswering", num_labels=num_labels)(ids(model))
    assert out.start_logits.shape == out.end_logits.shape == (2, 7)


def test_pretraining_loss_only_when_both_labels_are_given(make):
    model = make("AlbertForPreTraining")
    tokens, order = ids(model), [0, 1]
    assert model(tokens, labels=tokens).loss is None
    assert model(tokens, sentence_order_label=order).loss is None
    both = model(tokens, labels=tokens, sentence_order_label=order)
    mlm = make("AlbertForMaskedLM")(tokens, labels=tokens)
    assert both.loss > 0
    assert not math.isclose(both.loss, mlm.loss)
    assert both[0] is both.loss


def test_hidden_states_and_attentions_count(make):
    model = make(inner_group_num=2, num_hidden_layers=3)
    out = model(ids(model), output_hidden_states=True, output_attentions=True)
    assert len(out.hidden_states) == 3 + 1  # one a layer, not one an application, as transformers 4.57.6
    assert len(out.attentions) == 3 * 2
    trace = model(ids(model), trace=True).trace
    assert np.array_equal(out.hidden_states[0], trace["encoder.embedding_hidden_mapping_in"])
    assert np.array_equal(out.hidden_states[1], trace["encoder.layer.1.full_layer_layer_norm"])
    assert np.array_equal(out.hidden_states[-1], out.last_hidden_state)


@pytest.mark.parametrize("position_type", ["absolute", "relative_key"])
def test_attentions_can_always_be_returned(make, backend, position_type):
    """No fused path drops them (SDPA in transformers does): with a head mask, padding and relative positions alike."""
    model = make(position_embedding_type=position_type)
    mask = np.array([[1] * 7, [1] * 3 + [0] * 4])
    attentions = model(ids(model), mask, head_mask=np.ones(3), output_attentions=True).attentions
    assert [probs.shape for probs in attentions] == [(2, 3, 7, 7)] * 4
    for probs in attentions:
        assert np.all(probs[1, :, :, 3:] == 0)
        assert np.allclose(probs.sum(-1), 1, rtol=REORDERED[backend.dtype], atol=0)


@pytest.mark.parametrize("kind", ["relative_key", "relative_key_query"])
def test_position_embeddings_relative(make, kind):
    model = make(position_embedding_type=kind)
    names = [name for name, _ in model.named_parameters()]
    assert "embeddings.position_embeddings.weight" in names  # in the file, and not added
    assert "encoder.albert_layer_groups.0.albert_layers.0.attention.distance_embedding.weight" in names
    table = model._weights.embeddings.position_embeddings.weight
    before = model(ids(model))[0]
    table += 1
    assert np.array_equal(before, model(ids(model))[0])
    shuffled = model(ids(model), position_ids=np.arange(7)[::-1][None])[0]
    assert np.array_equal(before, shuffled)  # position_ids are ignored


def test_pad_row_is_zero_when_initialised():
    model = albert_np.model.AlbertModel(AlbertConfig(**(TINY | {"pad_token_id": 3})))
    table = model.state_dict()["embeddings.word_embeddings.weight"]
    assert np.all(table[3] == 0)
    assert np.all(table[[0, 1, 2, 4]].any(axis=1))


def test_losses_are_nan_when_every_label_is_ignored(make):
    model = make("AlbertForMaskedLM")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(model(ids(model), labels=np.full((2, 7), -100)).loss)
        question = make("AlbertForQuestionAnswering")
        assert np.isnan(question(ids(model), start_positions=[7, 99], end_positions=[99, 99]).loss)


def test_losses_inferred_problem_type_is_not_written_into_the_config(make, backend):
    model = make("AlbertForSequenceClassification", num_labels=3)
    single = model(ids(model), labels=[0, 2]).loss
    assert model.config.problem_type is None
    multi = model(ids(model), labels=np.eye(3)[[0, 2]]).loss  # the same model, another kind of label
    assert single != multi
    log_p = ops.log_softmax(model(ids(model)).logits)
    assert single == pytest.approx(-(log_p[0, 0] + log_p[1, 2]) / 2, rel=REORDERED[backend.dtype])


def test_losses_qa_positions_are_clamped(make):
    model = make("AlbertForQuestionAnswering")
    base = model(ids(model), start_positions=[0, 1], end_positions=[2, 3]).loss
    assert model(ids(model), start_positions=[-5, 1], end_positions=[2, 3]).loss == base
    beyond = model(ids(model), start_positions=[0, 7], end_positions=[2, 3]).loss
    assert beyond == model(ids(model), start_positions=[0, 1000], end_positions=[2, 3]).loss != base


def test_dropout_is_off_unless_training_with_a_seed(make):
    model = make(hidden_dropout_prob=0.5, attention_probs_dropout_prob=0.5)
    tokens = ids(model)
    assert np.array_equal(model(tokens)[0], model(tokens)[0])
    assert np.array_equal(model(tokens)[0], make()(tokens)[0])
    once = model(tokens, training=True, seed=1)[0]
    assert np.array_equal(once, model(tokens, training=True, seed=1)[0])
    assert not np.array_equal(once, model(tokens, training=True, seed=2)[0])
    with pytest.raises(ValueError, match="needs a seed"):
        model(tokens, training=True)


def test_tensors_given_to_a_class_must_be_those_of_its_config():
    config = AlbertConfig(**TINY)
    tensors = trained_like(config, ("pooler",), 0)
    albert_np.model.AlbertModel(config, tensors=tensors)
    with pytest.raises(ValueError, match="in float64"):
        albert_np.model.AlbertModel(config, tensors=tensors, dtype="float64")
    tensors.pop("pooler.bias")
    with pytest.raises(ValueError, match="arrays of this config"):
        albert_np.model.AlbertModel(config, tensors=tensors)


class Draws:
    """In place of NumPy's generator: keeps everything, and notes the shape of each draw and the p it is compared with."""

    def __init__(self):
        self.noted = []

    def random(self, shape):
        class Uniform(np.ndarray):
            def __ge__(_, p):  # noqa: N805
                self.noted.append((shape, p))
                return np.ones(shape, bool)

        return np.zeros(shape).view(Uniform)


@pytest.fixture
def draws(monkeypatch):
    """What dropout draws in one call of a model, wherever its backend does so."""

    def of(model):
        tokens, noting = ids(model), Draws()
        with monkeypatch.context() as patch:
            patch.setattr(np.random, "default_rng", lambda seed: noting)
            model(tokens, training=True, seed=0)
        return noting.noted

    return of


def test_dropout_places_are_those_of_transformers(make, draws):
    """Embeddings, attention probabilities, attention output, head; none after ffn_output."""
    model = make(
        "AlbertForSequenceClassification",
        num_hidden_layers=2,
        hidden_dropout_prob=0.1,
        attention_probs_dropout_prob=0.2,
        classifier_dropout_prob=0.3,
    )
    layer = [((2, 3, 7, 7), 0.2), ((2, 7, 24), 0.1)]
    assert draws(model) == [((2, 7, 12), 0.1), *layer, *layer, ((2, 24), 0.3)]


def test_dropout_reaches_the_sentence_order_head(make):
    model = make("AlbertForPreTraining", classifier_dropout_prob=0.9)
    training, still = model(ids(model), training=True, seed=0), model(ids(model))
    assert not np.array_equal(training.sop_logits, still.sop_logits)
    assert np.array_equal(training.prediction_logits, still.prediction_logits)  # that head has none


@pytest.mark.parametrize(
    ("kind", "last"), [("AlbertForTokenClassification", ((2, 7, 24), 0.4)), ("AlbertForSequenceClassification", None)]
)
def test_dropout_of_the_token_head_falls_back_to_the_hidden_one(make, draws, kind, last):
    model = make(kind, classifier_dropout_prob=None, hidden_dropout_prob=0.4, attention_probs_dropout_prob=0)
    encoder = [((2, 7, 12), 0.4), *[((2, 7, 24), 0.4)] * 4]
    assert draws(model) == ([*encoder, last] if last else encoder)


def test_padding_on_the_left_warns_and_counts_from_the_first_column(make, backend):
    model = make()
    right, left = ids(model, B=1), np.roll(ids(model, B=1), 2, axis=1)
    mask = np.array([[0, 0, 1, 1, 1, 1, 1]])
    with pytest.warns(UserWarning, match="padding on the left"):
        padded = model(left, mask)[0]
    alone = model(right[:, :5])[0]
    assert not np.allclose(padded[0, 2:], alone[0])
    given = np.array([[0, 0, 0, 1, 2, 3, 4]])
    backend.assert_same("given positions", model(left, mask, position_ids=given)[0][0, 2:], alone[0])


def test_padding_on_the_left_needs_no_warning_with_relative_positions(make, backend):
    model = make(position_embedding_type="relative_key")
    tokens, mask = ids(model, B=1), np.array([[0, 0, 1, 1, 1, 1, 1]])
    alone = model(tokens[:, 2:])[0]
    backend.assert_same("distances alone count", model(tokens, mask)[0][:, 2:], alone)


def test_padding_does_not_change_real_tokens(make, backend):
    model = make()
    tokens = ids(model, B=1)
    padded = np.pad(tokens, ((0, 0), (0, 6)))
    out = model(padded, np.array([[1] * 7 + [0] * 6]))[0]
    backend.assert_same("real tokens", out[:, :7], model(tokens)[0])
    assert np.any(out[:, 7:] != 0)  # padded positions are computed, as Hugging Face does


@pytest.mark.parametrize("kind", [kind for kind in PARTS if kind != "AlbertForMultipleChoice"])
@pytest.mark.parametrize("position_type", ["absolute", "relative_key_query"])
def test_padding_skipped_equals_padding_computed_at_real_tokens(make, backend, kind, position_type):
    model = make(kind, position_embedding_type=position_type, num_labels=3)
    mask = np.array([[1, 1, 1, 1, 1, 1, 1], [1, 1, 0, 1, 1, 0, 0]])  # holes are allowed
    call = {"input_ids": ids(model), "attention_mask": mask, "output_hidden_states": True}
    full, skipped = model(**call), model(**call, skip_padding=True)
    assert full.keys() == skipped.keys()
    for name in full.keys():  # noqa: SIM118
        several = name == "hidden_states"
        for a, b in zip(full[name], skipped[name], strict=True) if several else [(full[name], skipped[name])]:
            if a.shape[:2] == (2, 7):
                backend.assert_same(name, b[mask == 1], a[mask == 1])
                assert np.all(b[mask == 0] == 0)
            else:
                backend.assert_same(name, b, a)


def test_padding_skipped_is_ignored_by_losses(make, backend):
    mask = np.array([[1] * 7, [1, 1, 0, 1, 1, 0, 0]])
    model = make("AlbertForMaskedLM")
    labels = np.random.default_rng(3).integers(0, 60, (2, 7))
    expected = model(ids(model), mask, labels=np.where(mask == 1, labels, -100)).loss
    skipped = model(ids(model), mask, labels=labels, skip_padding=True).loss
    backend.assert_same("loss", skipped, expected, limits=REORDERED)
    question = make("AlbertForQuestionAnswering")
    out = question(ids(model), mask, skip_padding=True, start_positions=[1, 3], end_positions=[2, 5])

    def minus_log_p(logits, b, i):
        real = logits[b][mask[b] == 1]
        return math.log(math.fsum(math.exp(x) for x in real)) - logits[b, i]

    start = (minus_log_p(out.start_logits, 0, 1) + minus_log_p(out.start_logits, 1, 3)) / 2
    end = minus_log_p(out.end_logits, 0, 2)  # column 5 of the second sequence was skipped, so it is no answer
    assert out.loss == pytest.approx((start + end) / 2, rel=REORDERED[backend.dtype])


def test_padding_skipped_refusals(make):
    model, base = make(), make("AlbertForMaskedLM")
    mask = np.array([[1] * 7, [0] * 7])
    with pytest.raises(ValueError, match="rectangular"):
        model(ids(model), skip_padding=True, output_attentions=True)
    with pytest.raises(ValueError, match=r"\(B, T\) attention_mask"):
        model(ids(model), np.ones((2, 7, 7)), skip_padding=True)
    with pytest.raises(ValueError, match="sequence 1 has none"):
        base(ids(model), mask, skip_padding=True)
    with pytest.raises(ValueError, match="pooler reads column 0"):
        model(ids(model), np.array([[1] * 7, [0] + [1] * 6]), skip_padding=True, position_ids=np.arange(7)[None])


def test_empty_batches_and_sequences_are_refused_and_an_all_masked_row_is_legal(make):
    model = make()
    for shape in ((0, 5), (2, 0), (0, 0)):
        with pytest.raises(ValueError, match="at least one"):
            model(np.zeros(shape, np.int64))
    assert np.all(np.isfinite(model(ids(model), np.zeros((2, 7)))[0]))


def test_nan_in_a_comparison_is_always_a_failure():
    x = np.array([1.0, np.nan])
    for a, b in ((x, x), (x, np.ones(2)), (np.ones(2), x)):
        with pytest.raises(AssertionError):
            assert_close("nan", a, b, limit=1e9)


def test_logits_positions_are_those_columns_of_all_logits(make, backend):
    model = make("AlbertForMaskedLM")
    every, columns = model(ids(model)).logits, np.array([[0, 6, 6], [3, 1, 2]])
    some = model(ids(model), logits_positions=columns).logits
    backend.assert_same("logits", some, every[np.arange(2)[:, None], columns])
    with pytest.raises(ValueError, match="column 7"):
        model(ids(model), logits_positions=[[7], [0]])
    with pytest.raises(ValueError, match="labels need the logits of every token"):
        model(ids(model), logits_positions=columns, labels=ids(model))


def test_multiple_choice_flattens_choices_into_the_batch(make):
    choice, sequence = make("AlbertForMultipleChoice"), make("AlbertForSequenceClassification", num_labels=1)
    call = batch(choice.config, "AlbertForMultipleChoice", 3, padding=True)
    labels = call.pop("labels")
    B, C, T = call["input_ids"].shape
    flat = {name: x.reshape(B * C, T) for name, x in call.items()}
    out = choice(**call, labels=labels)
    assert np.array_equal(out.logits, sequence(**flat).logits.reshape(B, C))
    with pytest.raises(ValueError, match="3 axes"):
        choice(flat["input_ids"])
    one_label = make("AlbertForMultipleChoice", num_labels=5)  # K plays no part in this head
    assert np.array_equal(one_label(**call).logits, out.logits)


def layer_names(i):
    inside = ["query", "key", "value", "scores", "probs", "context", "dense", "sum", "LayerNorm"]
    after = ["ffn", "activation", "ffn_output", "sum", "full_layer_layer_norm"]
    return [f"encoder.layer.{i}.attention.{name}" for name in inside] + [f"encoder.layer.{i}.{name}" for name in after]


BEFORE = ["embeddings.sum", "embeddings.LayerNorm", "encoder.embedding_hidden_mapping_in"]
POOLER = ["pooler", "pooler_activation"]
MLM = ["predictions.dense", "predictions.activation", "predictions.LayerNorm", "predictions.decoder"]


@pytest.mark.parametrize(
    ("kind", "after"),
    [
        ("AlbertModel", POOLER),
        ("AlbertForPreTraining", [*POOLER, *MLM, "sop_classifier.classifier"]),
        ("AlbertForMaskedLM", MLM),
        ("AlbertForSequenceClassification", [*POOLER, "classifier"]),
        ("AlbertForTokenClassification", ["classifier"]),
        ("AlbertForQuestionAnswering", ["qa_outputs"]),
        ("AlbertForMultipleChoice", [*POOLER, "classifier"]),
    ],
)
def test_trace_names_are_pinned(make, kind, after):
    """The golden kit, the notebooks and every backend speak these names: changing one breaks them all."""
    model = make(kind, num_hidden_layers=2, inner_group_num=2)
    tokens = ids(model)[:, None] if kind == "AlbertForMultipleChoice" else ids(model)
    trace = model(tokens, trace="unfused").trace
    layers = [name for i in range(4) for name in layer_names(i)]  # one number for each application
    assert list(trace) == [*BEFORE, *layers, *after]
    assert trace["encoder.layer.0.attention.query"].shape == (2, 7, 24)
    assert trace["encoder.layer.0.attention.scores"].shape == (2, 3, 7, 7)
    assert model(tokens).get("trace") is None
