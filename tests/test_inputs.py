"""What a call accepts and what it refuses: always a ValueError, in one line, before any arithmetic."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support.backends import NUMBA, PLAIN
from support.refusals import refusal
from tolerances import REORDERED

from albert_np.config import AlbertConfig

V, E, P, N, L = 20, 3, 6, 2, 3
CONFIG = AlbertConfig(
    vocab_size=V,
    embedding_size=E,
    hidden_size=4,
    num_attention_heads=N,
    intermediate_size=5,
    num_hidden_layers=L,
    max_position_embeddings=P,
    num_labels=3,
    initializer_range=0.5,
)
IDS = np.array([[5, 0, 19], [1, 2, 3]])
EMBEDS = np.random.default_rng(0).standard_normal((2, 3, E))


@pytest.fixture(scope="module")
def model(backend):
    return backend.model("AlbertModel", CONFIG)


@pytest.fixture(scope="module")
def hidden(model):
    return lambda **call: model(**call).last_hidden_state


# --- accepted, and the same --------------------------------------------------------------------------------------------

CALL = {
    "input_ids": IDS,
    "attention_mask": np.array([[1, 1, 0], [1, 1, 1]]),
    "token_type_ids": np.array([[0, 0, 0], [0, 1, 1]]),
    "position_ids": np.array([[0, 1, 2], [3, 4, 5]]),
}


@pytest.mark.parametrize("as_given", [np.ndarray.tolist, np.uint8, np.int16, np.int32, np.uint64, np.asfortranarray])
def test_lists_and_integers_of_any_width_give_the_same_bits(hidden, as_given):
    converted = {name: as_given(x) for name, x in CALL.items()}
    assert np.array_equal(hidden(**converted), hidden(**CALL))


@pytest.mark.parametrize("as_given", [bool, float, np.float16, np.uint8])
def test_a_mask_is_ones_and_zeros_of_any_type(hidden, as_given):
    mask = np.array([[1, 1, 0], [1, 0, 1]])
    one, other = (hidden(input_ids=IDS, attention_mask=x) for x in (mask, mask.astype(as_given)))
    assert np.array_equal(one, other)


def test_masks_of_pairs_have_the_bits_of_the_key_mask_they_repeat(hidden):
    mask = np.array([[1, 1, 0], [1, 0, 1]])
    pairs = np.repeat(mask[:, None], 3, axis=1)
    one = hidden(input_ids=IDS, attention_mask=mask)
    assert not np.array_equal(one, hidden(input_ids=IDS))
    for other in (pairs, pairs[:, None]):
        assert np.array_equal(hidden(input_ids=IDS, attention_mask=other), one)


def test_one_axis_is_a_batch_of_one(hidden):
    flat = hidden(**{name: x[0] for name, x in CALL.items()})
    assert flat.shape == (1, 3, 4)
    assert np.array_equal(flat, hidden(**{name: x[:1] for name, x in CALL.items()}))


def test_what_is_left_out_has_a_default(model, hidden):
    given_out = {
        "attention_mask": np.ones((2, 3)),
        "token_type_ids": np.zeros((2, 3), int),
        "position_ids": [[0, 1, 2]],
    }
    assert np.array_equal(hidden(input_ids=IDS), hidden(input_ids=IDS, **given_out))
    assert np.array_equal(hidden(input_ids=IDS), hidden(input_ids=IDS, head_mask=[True, True]))
    words = model.state_dict()["embeddings.word_embeddings.weight"]
    assert np.array_equal(hidden(input_ids=IDS), hidden(inputs_embeds=words[IDS]))


@pytest.mark.parity
def test_torch_tensors_are_arrays(model, hidden, torch):
    tensors = {name: torch.tensor(x) for name, x in CALL.items()}
    assert np.array_equal(hidden(**tensors), hidden(**CALL))
    assert np.array_equal(hidden(inputs_embeds=torch.tensor(EMBEDS)), hidden(inputs_embeds=EMBEDS))
    message = refusal(model, inputs_embeds=torch.tensor(EMBEDS, requires_grad=True))
    assert "NumPy cannot read it: Can't call numpy() on Tensor that requires grad" in message


# --- refused ---------------------------------------------------------------------------------------------------------

RANGE = "is outside 0 … 19; was this text encoded with another tokenizer?"
EMPTY = ": a batch holds at least one sequence of one token"
HEAD_MASK = np.ones((L, N))

REFUSED = [
    ({"input_ids": None}, "a call takes input_ids or inputs_embeds; got neither"),
    ({"inputs_embeds": EMBEDS}, "a call takes input_ids or inputs_embeds; got both"),
    ({"input_ids": [[1, 2], [3, 20]]}, f"token id 20 at [1, 1] of input_ids {RANGE}"),
    ({"input_ids": [7, -1]}, f"token id -1 at [0, 1] of input_ids {RANGE}"),
    ({"input_ids": [2**63]}, "input_ids holds 9223372036854775808, which no signed 64-bit integer can"),
    ({"input_ids": [2**64]}, "input_ids must hold numbers; got list that NumPy reads as object"),
    ({"input_ids": [[1.0, 2.0]]}, "input_ids must be integers; got float64"),
    ({"input_ids": [[True, False]]}, "input_ids must be integers; got bool"),
    ({"input_ids": "a text"}, "input_ids must hold numbers; got str that NumPy reads as <U6"),
    ({"input_ids": [1, None]}, "input_ids must hold numbers; got list that NumPy reads as object"),
    ({"input_ids": [1j]}, "input_ids must hold numbers; got list that NumPy reads as complex128"),
    ({"input_ids": [[1, 2], [3]]}, "input_ids has rows of different lengths: use padding=True in the tokenizer"),
    ({"input_ids": []}, f"input_ids is empty, of shape (0,){EMPTY}"),
    *[
        ({"input_ids": np.zeros(shape, int)}, f"input_ids is empty, of shape {shape}{EMPTY}")
        for shape in ((2, 0), (0, 3))
    ],
    ({"input_ids": 5}, "input_ids must have the shape (B, T), or (T,) for a batch of one; got ()"),
    ({"input_ids": [[[5]]]}, "input_ids must have the shape (B, T), or (T,) for a batch of one; got (1, 1, 1)"),
    (
        {"input_ids": [[1] * 7]},
        "this model takes at most 6 tokens (max_position_embeddings); got 7: truncate, or split",
    ),
    *[
        (
            {"attention_mask": np.ones(shape)},
            f"attention_mask must have the shape (2, 3), (2, 3, 3) or (2, 1, 3, 3) [query, key]; got {shape}",
        )
        for shape in ((3,), (2, 4), (3, 2), (2, 1, 3), (2, 2, 3, 3), (2, 1, 1, 3), ())
    ],
    *[
        (
            {"attention_mask": np.array([[1, 1, 1], [1, bad, 1]])},
            f"attention_mask holds 1 (attend) and 0 (do not); got {bad} at [1, 1]",
        )
        for bad in (0.5, 2, -1, -10000.0, np.nan, np.inf)
    ],
    (
        {"token_type_ids": [[0, 1, 2], [0, 0, 0]]},
        "token type 2 at [0, 2] of token_type_ids is outside 0 … 1; segments are",
    ),
    ({"token_type_ids": [[0, 1]]}, "token_type_ids must have the shape (2, 3) or (1, 3) of the batch; got (1, 2)"),
    ({"token_type_ids": np.zeros((2, 3))}, "token_type_ids must be integers; got float64"),
    (
        {"position_ids": [[0, 1, 6]]},
        "position 6 at [0, 2] of position_ids is outside 0 … 5; positions are counted from 0",
    ),
    ({"position_ids": [[-1, 1, 2]]}, "position -1 at [0, 0] of position_ids is outside 0 … 5"),
    ({"position_ids": [0, 1]}, "position_ids must have the shape (2, 3) or (1, 3) of the batch; got (1, 2)"),
    *[
        ({"head_mask": np.ones(shape)}, f"head_mask must have the shape (2,) or (3, 2); got {shape}")
        for shape in ((3,), (2, 3), (1, 2), (3, 1, 2), ())
    ],
    ({"head_mask": HEAD_MASK * [1, np.nan]}, "head_mask must hold finite {dtype} numbers; got nan at [0, 1]"),
    ({"head_mask": [np.inf, 1]}, "head_mask must hold finite {dtype} numbers; got inf at [0]"),
    ({"head_mask": ["1", "0"]}, "head_mask must hold numbers; got list that NumPy reads as <U1"),
    ({"head_mask_mode": "each"}, "head_mask_mode must be 'shared' or 'per_application'; got 'each'"),
    ({"mask_mode": "ones"}, "mask_mode must be one of uniform, zeros, nan; got 'ones'"),
    ({"labels": [1, 2]}, "AlbertModel takes no labels beside its inputs; got labels"),
    ({"attention_masks": [[1]]}, "AlbertModel takes no labels beside its inputs; got attention_masks"),
    ({"training": True}, "training=True draws dropout and needs a seed=… to draw the same again"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_a_refusal_says_what_arrived_and_where(model, change, message):
    assert refusal(model, **{"input_ids": IDS} | change).startswith(message.replace("{dtype}", model.dtype.name))


EMBEDS_SHAPE = "inputs_embeds must be floats of shape (B, T, 3), the embedding_size; got"


@pytest.mark.parametrize(
    ("embeds", "message"),
    [
        (EMBEDS[..., :2], f"{EMBEDS_SHAPE} float64 (2, 3, 2)"),
        (EMBEDS[0], f"{EMBEDS_SHAPE} float64 (3, 3)"),
        (EMBEDS.astype(int), f"{EMBEDS_SHAPE} int64 (2, 3, 3)"),
        (EMBEDS[:, :0], f"inputs_embeds is empty, of shape (2, 0, 3){EMPTY}"),
        (EMBEDS * np.array([1, np.nan, 1]), "inputs_embeds must hold finite {dtype} numbers; got nan at [0, 0, 1]"),
        (np.ones((1, 7, 3)), "this model takes at most 6 tokens (max_position_embeddings); got 7"),
    ],
)
def test_embeds_are_refused_too(model, embeds, message):
    assert refusal(model, inputs_embeds=embeds).startswith(message.replace("{dtype}", model.dtype.name))


@pytest.mark.parametrize("backend", [PLAIN, NUMBA], ids=str, indirect=True)
def test_numbers_beyond_float32_are_refused_by_a_float32_model(model):
    message = refusal(model, inputs_embeds=EMBEDS * 0 + 1e39)
    assert message == "inputs_embeds must hold finite float32 numbers; got inf at [0, 0, 0]"


def test_a_head_mask_where_transformers_has_no_row_for_it(backend):
    model = backend.model("AlbertModel", CONFIG.replace(inner_group_num=2, num_hidden_groups=2))
    assert "has int(L/G) = 1 rows a group and inner_group_num is 2" in refusal(model, IDS, head_mask=HEAD_MASK)
    each = np.ones((2 * L, N))
    assert np.array_equal(model(IDS, head_mask=each, head_mask_mode="per_application")[0], model(IDS)[0])
    message = refusal(model, IDS, head_mask=HEAD_MASK, head_mask_mode="per_application")
    assert message == "head_mask must have the shape (2,) or (6, 2); got (3, 2)"


def test_padding_on_the_left_is_told_in_a_warning(model):
    with pytest.warns(UserWarning, match="even if that is padding on the left") as caught:
        model(IDS, attention_mask=[[0, 1, 1], [1, 1, 1]])
    assert len(caught) == 1
    model(IDS, attention_mask=[[0, 1, 1], [1, 1, 1]], position_ids=[[0, 0, 1], [0, 1, 2]])  # who says where is not told
    model(IDS, attention_mask=[[0, 0, 0], [1, 1, 0]])


LABELS = [  # model, changes to the config, labels, message
    ("AlbertForMaskedLM", {}, {"labels": IDS[:, :2]}, "labels must have the shape (2, 3) of the batch; got (2, 2)"),
    (
        "AlbertForMaskedLM",
        {},
        {"labels": IDS + 1},
        "label 20 at [0, 2] of labels is outside 0 … 19 and not −100 (ignored)",
    ),
    ("AlbertForMaskedLM", {}, {"labels": IDS - 1}, "label -1 at [0, 1] of labels is outside 0 … 19 and not −100"),
    (
        "AlbertForMaskedLM",
        {},
        {"labels": [[5, -101, 1], [-100] * 3]},
        "label -101 at [0, 1] of labels is outside 0 … 19",
    ),
    ("AlbertForMaskedLM", {}, {"labels": IDS * 1.0}, "labels must be integers; got float64"),
    (
        "AlbertForTokenClassification",
        {},
        {"labels": [[0, 1, 3], [0, 0, 0]]},
        "label 3 at [0, 2] of labels is outside 0 … 2",
    ),
    ("AlbertForSequenceClassification", {}, {"labels": [0, 3]}, "label 3 at [1] of labels is outside 0 … 2"),
    (
        "AlbertForSequenceClassification",
        {},
        {"labels": [0, 1, 2]},
        "labels must have the shape (2,) of the batch; got (3,)",
    ),
    (
        "AlbertForSequenceClassification",
        {},
        {"labels": [0.5, 1]},
        "labels must have the shape (2, 3) of the batch; got (2,)",
    ),
    (
        "AlbertForSequenceClassification",
        {"num_labels": 1},
        {"labels": [0.5, np.nan]},
        "labels must hold finite {dtype}",
    ),
    (
        "AlbertForPreTraining",
        {},
        {"labels": IDS, "sentence_order_label": [0, 2]},
        "label 2 at [1] of sentence_order_label is",
    ),
    (
        "AlbertForQuestionAnswering",
        {},
        {"start_positions": [0, 1], "end_positions": [1]},
        "end_positions must have the shape",
    ),
    (
        "AlbertForQuestionAnswering",
        {},
        {"labels": [0, 1]},
        "AlbertForQuestionAnswering takes start_positions, end_positions",
    ),
    (
        "AlbertForMaskedLM",
        {},
        {"logits_positions": [[3], [0]]},
        "column 3 at [0, 0] of logits_positions is outside 0 … 2",
    ),
    (
        "AlbertForMaskedLM",
        {},
        {"logits_positions": [[0]]},
        "logits_positions must have the shape (2, M), M columns a sequence",
    ),
]


@pytest.mark.parametrize(("kind", "change", "given_labels", "message"), LABELS)
def test_labels_are_refused(backend, kind, change, given_labels, message):
    model = backend.model(kind, CONFIG.replace(**change))
    assert refusal(model, IDS, **given_labels).startswith(message.replace("{dtype}", backend.dtype))


def test_a_label_of_minus_100_does_not_count(backend):
    model = backend.model("AlbertForMaskedLM", CONFIG)
    losses = [model(IDS, labels=[[5, -100, -100], [-100, last, -100]]).loss for last in (7, -100)]
    alone = model(IDS[1:], labels=[[-100, 7, -100]]).loss
    assert losses[0] == pytest.approx((losses[1] + alone) / 2, rel=REORDERED[backend.dtype])


# --- anything at all ---------------------------------------------------------------------------------------------------

numbers = st.integers(-3, 25) | st.integers() | st.floats(-1e6, 1e6) | st.sampled_from([np.nan, np.inf])
leaves = st.none() | st.booleans() | numbers | st.sampled_from(["", "1", "shared", "zeros", b"0"])
junk = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
)
shapes = st.sampled_from([(2, 3), (1, 3), (3,), (2, 3, 3), (2, 1, 3, 3), (2, 3, E), (L, N), (N,), (), (0,), (2, 0)])
dtypes = hnp.scalar_dtypes() | st.sampled_from(["i8", "u1", "i2", "f2", "f8", "?", "O", "V4"]).map(np.dtype)
arrays = st.tuples(shapes, st.integers(0, 2), dtypes).map(lambda given: np.full(*given[:2]).astype(given[2]))
ARRAYS = [*CALL, "head_mask", "inputs_embeds", "labels"]
calls = st.dictionaries(st.sampled_from(ARRAYS), junk | arrays, max_size=3)
modes = st.dictionaries(st.sampled_from(["mask_mode", "head_mask_mode"]), junk, max_size=1)


@pytest.mark.filterwarnings("ignore:positions are counted from the first column:UserWarning")
@settings(deadline=None, max_examples=300)
@given(default=st.sampled_from([{}, {"input_ids": IDS}]), call=calls, mode=modes)
def test_anything_is_an_answer_or_a_value_error_in_one_line(model, default, call, mode):
    call = default | call | mode
    try:
        out = model(**call)
    except ValueError:
        assert refusal(model, **call)
        return
    assert np.all(np.isfinite(out.last_hidden_state))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"training": True, "seed": "a"}, "seed must be a whole number, 0 or more; got 'a'"),
        ({"training": True, "seed": 1.5}, "seed must be a whole number"),
        ({"mask_mode": np.zeros((), "V4")}, "mask_mode must be one of uniform, zeros, nan"),
        ({"two\nlines": 1}, "takes no labels beside its inputs; got two?lines"),
    ],
)
def test_options_are_refused(model, call, message):
    assert message in refusal(model, IDS, **call)
