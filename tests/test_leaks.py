"""Nothing but ValueError comes out of a call, whatever goes in; and models travel: copies, pickles, processes."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import TINY_MODEL
from support.refusals import refusal

import albert_np
from albert_np import AlbertConfig
from albert_np.golden.cases import PARTS, TINY, batch, trained_like

CONFIG = AlbertConfig(**TINY)
CALLS = {kind: batch(CONFIG, kind, 5, padding=True) for kind in PARTS}
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 70),
    st.floats(width=32),
    st.text(max_size=3),
    st.just(object()),
    st.lists(st.integers(-2, 70), max_size=8),
    st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=4),
    st.tuples(*[st.integers(0, 4)] * 2).map(np.ones),
    st.tuples(*[st.integers(0, 4)] * 3).map(lambda s: np.zeros(s, int)),
)
NAMES = [
    "input_ids",
    "attention_mask",
    "token_type_ids",
    "position_ids",
    "head_mask",
    "inputs_embeds",
    "labels",
    "sentence_order_label",
    "start_positions",
    "end_positions",
    "logits_positions",
    "num_choices",
    "mask_mode",
    "head_mask_mode",
    "seed",
]


@pytest.fixture(scope="module")
def models(backend):
    return {kind: backend.model(kind, CONFIG) for kind in PARTS}


@pytest.mark.filterwarnings("ignore:positions are counted from the first column:UserWarning")
@settings(deadline=None, max_examples=300)
@given(st.sampled_from(list(PARTS)), st.dictionaries(st.sampled_from(NAMES), JUNK, max_size=2), st.booleans())
def test_every_class_answers_or_raises_a_value_error_in_one_line(models, kind, changes, skip_padding):
    call, message = CALLS[kind] | changes, ""
    try:
        assert len(models[kind](**call, skip_padding=skip_padding, training="seed" in changes)) > 0
    except ValueError as error:
        message = str(error)
    assert "\n" not in message
    assert "reshape" not in message  # NumPy's words, not ours


def test_an_encoding_is_handed_on_by_name(models):
    assert "model(**encoding)" in refusal(models["AlbertModel"], {"input_ids": [1]})


def test_reprs_say_what_a_thing_is(models, backend):
    shape = "V=60, E=12, H=24, L=4"
    assert repr(models["AlbertForMaskedLM"]).startswith(
        f"AlbertForMaskedLM({shape}, backend='{backend.name}', dtype='{backend.dtype}', "
    )
    fill = albert_np.pipeline("fill-mask")
    assert repr(fill).startswith(f"FillMaskPipeline(AlbertForMaskedLM(V={len(fill.tokenizer)}, ")


def test_a_pooler_left_out_keeps_its_place_in_a_tuple(backend):
    model = backend.model("AlbertModel", CONFIG, add_pooling_layer=False)
    hidden, pooled, states = model(np.ones((1, 3), int), return_dict=False, output_hidden_states=True)
    assert (hidden.shape, pooled, len(states)) == ((1, 3, 24), None, 5)
    assert list(model(np.ones((1, 3), int))) == ["last_hidden_state"]


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        ("AlbertForMaskedLM", {"labels": "bad"}),
        ("AlbertForMaskedLM", {"logits_positions": [[99]]}),
        ("AlbertForPreTraining", {"sentence_order_label": [2, 0]}),
        ("AlbertForSequenceClassification", {"labels": [5, 0]}),
        ("AlbertForTokenClassification", {"labels": [[0]]}),
        ("AlbertForQuestionAnswering", {"start_positions": [0.5, 0]}),
        ("AlbertForMultipleChoice", {"labels": [7, 7]}),
    ],
)
def test_labels_are_refused_before_the_encoder_runs(models, backend, kind, bad, monkeypatch):
    monkeypatch.setattr(backend.encoder, lambda *_, **__: pytest.fail("the encoder ran"))
    call = {name: x for name, x in CALLS[kind].items() if "label" not in name and "positions" not in name}
    refusal(models[kind], **(call | bad))


def test_choices_are_no_argument_and_empty_ones_are_refused(models):
    model = models["AlbertForMultipleChoice"]
    assert "takes labels beside its inputs; got num_choices" in refusal(model, np.ones((2, 3, 4), int), num_choices=3)
    assert "none of them empty; got (2, 3, 0)" in refusal(model, np.zeros((2, 3, 0), int))
    different = {"input_ids": np.ones((2, 3, 4), int), "attention_mask": np.ones((2, 2, 4), int)}
    assert "same (B, choices)" in refusal(model, **different)


def test_memory_that_runs_out_is_a_refusal(models, backend, monkeypatch):
    def exhausted(*_, **__):
        raise MemoryError

    monkeypatch.setattr(backend.encoder, exhausted)
    assert "2 sequences of 3 tokens do not fit" in refusal(models["AlbertModel"], np.ones((2, 3), int))


@pytest.mark.parametrize("kind", PARTS)
def test_models_can_be_copied_and_pickled(models, kind):
    model, call = models[kind], CALLS[kind]
    expected = model(**call)
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        out = again(**call)
        assert list(out) == list(expected)
        assert all(np.array_equal(out[name], expected[name], equal_nan=True) for name in expected)
        state = again.state_dict()
        if "predictions.bias" in state:  # tied stays tied
            assert state["predictions.decoder.weight"] is state["albert.embeddings.word_embeddings.weight"]


@pytest.mark.parametrize("folder", [5, None, b"x", ""])
def test_a_save_takes_a_path(folder):
    for thing in (CONFIG, albert_np.AlbertModel(CONFIG), albert_np.AlbertTokenizer.from_pretrained(TINY_MODEL)):
        assert "takes the path of a folder" in refusal(thing.save_pretrained, folder)


def test_arguments_of_constructors_are_refused_in_words():
    assert "must be one of" in refusal(albert_np.AlbertModel, CONFIG, dtype=np.integer)
    assert "arrays of this config" in refusal(albert_np.AlbertModel, CONFIG, tensors=5)
    assert "arrays of this config" in refusal(albert_np.AlbertModel, CONFIG, tensors={"a": [1]})
    assert "max_layers must be" in refusal(AlbertConfig, max_layers="x")
    assert "named by str" in refusal(AlbertConfig.from_dict, {1: 2})
    assert "cannot hold" in refusal(AlbertConfig(foo={(1, 2): 3}).to_json_string)


def test_one_row_of_types_or_mask_serves_the_whole_batch(models):
    model = models["AlbertModel"]
    ids, mask, types = np.arange(1, 13).reshape(3, 4), np.array([[1, 1, 1, 0]]), np.array([[0, 0, 1, 1]])
    every = model(ids, mask.repeat(3, axis=0), types.repeat(3, axis=0))
    assert np.array_equal(model(ids, mask, types)[0], every[0])


@pytest.mark.parametrize("kind", PARTS)
@pytest.mark.parametrize("embeds", [False, True])
def test_skipped_padding_changes_no_real_number_with_segments_embeds_and_head_masks(backend, kind, embeds):
    """Holes in the mask, so that a column confused with a row of what is left would show."""
    config = CONFIG.replace(type_vocab_size=3)
    model = backend.model(kind, config, trained_like(config, PARTS[kind], 2))
    rng = np.random.default_rng(0)
    lead = (2, 2) if kind == "AlbertForMultipleChoice" else (2,)
    mask = np.broadcast_to([1, 1, 0, 1, 0, 1, 1, 0], (*lead, 8))
    call = {"attention_mask": mask, "token_type_ids": rng.integers(0, 3, (*lead, 8))}
    call["head_mask"] = np.array([1.0, 0.5, 0])
    if embeds:
        call["inputs_embeds"] = rng.standard_normal((*lead, 8, config.embedding_size))
    else:
        call["input_ids"] = rng.integers(1, config.vocab_size, (*lead, 8))
    if kind in ("AlbertForMaskedLM", "AlbertForPreTraining"):
        call["logits_positions"] = [[0, 2, 3], [7, 6, 5]]
    full, skipped = model(**call), model(**call, skip_padding=True)
    for name in full:
        a, b = full[name], skipped[name]
        if "logits_positions" in call and name != "sop_logits":
            real = np.array([[1, 0, 1], [0, 1, 1]], bool)
        else:
            real = mask.astype(bool) if a.shape[:2] == mask.shape else np.ones(a.shape[:1], bool)
        backend.assert_same(name, b[real], a[real])
        assert np.all(b[~real] == 0)
