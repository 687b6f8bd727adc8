"""Live comparison with transformers 4.57.6: calls by place and older names, look-ups of characters, ids made ready."""

import logging

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.texts import TEXT

from albert_np import AlbertTokenizer, AlbertTokenizerFast

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore::UserWarning")]  # advice about max_length
FEW = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
IDS = st.lists(st.integers(5, 999), min_size=1, max_size=9)


@pytest.fixture(scope="module")
def slow(transformers, tiny_dir):
    logging.getLogger("albert_np").setLevel(logging.CRITICAL)
    transformers.logging.set_verbosity(logging.CRITICAL + 1)
    return transformers.AlbertTokenizer.from_pretrained(tiny_dir), AlbertTokenizer.from_pretrained(tiny_dir)


@pytest.fixture(scope="module")
def fast(transformers, slow, tiny_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fast")
    AlbertTokenizerFast.from_pretrained(tiny_dir).save_pretrained(folder)
    return transformers.AlbertTokenizerFast.from_pretrained(folder), AlbertTokenizerFast.from_pretrained(folder)


def outcome(call, tensors=None):
    """What a call returns, as lists, or that it raises ValueError."""
    try:
        value = call()
    except ValueError:
        return "refused"
    if not hasattr(value, "items"):
        return np.asarray(value).tolist()
    if tensors == "np" and any(np.asarray(item).dtype == object for item in value.values()):
        return "refused"  # there, rows of different lengths become an array of arrays
    return {name: item if isinstance(item, list) else np.asarray(item).tolist() for name, item in value.items()}


@FEW
@given(
    text=TEXT,
    second=st.none() | TEXT,
    special=st.booleans(),
    padding=st.sampled_from([True, False, "max_length"]),
    truncation=st.sampled_from([True, False, None, "only_first"]),
    length=st.sampled_from([None, 4, 8]),
    side=st.sampled_from([None, "left"]),
    tensors=st.sampled_from([None, "np"]),
)
def test_options_by_place_mean_the_same(slow, text, second, special, padding, truncation, length, side, tensors):
    theirs, ours = slow
    encode = (text, second, special, padding, truncation, length, 0, side, tensors)
    more = (special, padding, truncation, length, 0, False, None, side, tensors)
    pairs = [(text, second), (text, text)] if second is not None else [text, text]
    for call in (
        lambda tok: tok.encode(*encode),
        lambda tok: tok(text, second, None, None, *more),
        lambda tok: tok.encode_plus(text, second, *more),
        lambda tok: tok.batch_encode_plus(pairs, *more),
    ):
        assert outcome(lambda: call(ours), tensors) == outcome(lambda: call(theirs), tensors)  # noqa: B023


@FEW
@given(
    first=IDS,
    second=st.none() | IDS,
    remove=st.integers(0, 9),
    strategy=st.sampled_from(["longest_first", "only_first", "only_second", "do_not_truncate"]),
    stride=st.integers(0, 3),
    side=st.sampled_from(["left", "right"]),
    length=st.sampled_from([None, 4, 7, 12]),
    special=st.booleans(),
    padding=st.sampled_from([False, "max_length"]),
    tensors=st.sampled_from([None, "np"]),
)
def test_ids_are_truncated_and_made_ready_alike(
    slow, first, second, remove, strategy, stride, side, length, special, padding, tensors
):
    theirs, ours = slow
    theirs.truncation_side = ours.truncation_side = side
    if strategy != "only_second" or second is not None:  # there, None has no length
        expected = theirs.truncate_sequences(first, second, remove, strategy, stride)
        assert ours.truncate_sequences(first, second, remove, strategy, stride) == expected
    options = {"truncation": strategy, "max_length": length, "padding": padding, "return_tensors": tensors}
    if strategy == "only_second" and second is None:
        return
    assert outcome(lambda: ours.prepare_for_model(first, second, special, **options)) == outcome(
        lambda: theirs.prepare_for_model(first, second, special, **options)
    )


@FEW
@given(
    rows=st.lists(IDS, min_size=1, max_size=3),
    kind=st.sampled_from([list, np.array]),
    listed=st.booleans(),
    padding=st.sampled_from([True, "max_length"]),
    multiple=st.sampled_from([None, 4]),
    tensors=st.sampled_from([None, "np"]),
)
def test_arrays_and_lists_are_padded_alike(slow, rows, kind, listed, padding, multiple, tensors):
    theirs, ours = slow

    def given():
        if listed:
            return [{"input_ids": kind(row), "attention_mask": kind([1] * len(row))} for row in rows]
        return {"input_ids": [kind(row) for row in rows], "attention_mask": [kind([1] * len(row)) for row in rows]}

    options = {"padding": padding, "max_length": 12, "pad_to_multiple_of": multiple, "return_tensors": tensors}
    expected, padded = theirs.pad(given(), **options), ours.pad(given(), **options)
    assert outcome(lambda: padded) == outcome(lambda: expected)
    assert {name: type(value) for name, value in padded.items()} == {
        name: type(value) for name, value in expected.items()
    }
    one = {"input_ids": list(rows[0])}
    assert outcome(lambda: ours.pad(dict(one), **options)) == outcome(lambda: theirs.pad(dict(one), **options))


@FEW
@given(text=TEXT, second=st.none() | TEXT.filter(bool), words=st.booleans())  # an empty second text is none there
def test_characters_words_and_tokens_are_found_alike(fast, text, second, words):
    texts = [text.split(), None if second is None else second.split()] if words else [text, second]
    if words and not (texts[0] and (texts[1] is None or texts[1])):
        return
    expected, found = (tok(*texts, is_split_into_words=words) for tok in fast)
    assert found["input_ids"] == expected["input_ids"]
    n, longest = len(found["input_ids"]), max(len(text), len(second or ""))
    assert found.n_sequences == expected.n_sequences
    for i in range(n):
        assert found.token_to_sequence(i) == expected.token_to_sequence(i)
        assert found.token_to_chars(i) == expected.token_to_chars(i)
        assert found.token_to_word(i) == expected.token_to_word(i)
    for sequence in range(1 if second is None else 2):
        for at in range(longest + 1):
            for name in ("char_to_token", "char_to_word", "word_to_tokens"):
                look_up = getattr(found, name)(at, sequence_index=sequence)
                assert look_up == getattr(expected, name)(at, sequence_index=sequence), (name, at)
            if expected.word_to_tokens(at, sequence_index=sequence) is not None:
                assert found.word_to_chars(at, sequence_index=sequence) == expected.word_to_chars(
                    at, sequence_index=sequence
                )


def test_names_that_both_have_say_the_same(slow, fast):
    for theirs, ours in (slow, fast):
        for name in (
            "max_len_single_sentence",
            "max_len_sentences_pair",
            "model_input_names",
            "is_fast",
            "pad_token_type_id",
            "all_special_tokens",
            "special_tokens_map",
            "vocab_size",
            "init_inputs",
        ):
            assert getattr(ours, name) == getattr(theirs, name), name
        ids, second = [5, 6, 7], [8, 9]
        for pair in (None, second):
            assert ours.build_inputs_with_special_tokens(ids, pair) == theirs.build_inputs_with_special_tokens(
                ids, pair
            )
            assert ours.create_token_type_ids_from_sequences(ids, pair) == theirs.create_token_type_ids_from_sequences(
                ids, pair
            )
            assert ours.num_special_tokens_to_add(pair is not None) == theirs.num_special_tokens_to_add(
                pair is not None
            )
        assert ours.get_special_tokens_mask([2, 5, 3], already_has_special_tokens=True) == [1, 0, 1]
        for text in ("the house", "a [MASK] of 1999, and"):
            assert ours.tokenize(text) == theirs.tokenize(text)


def test_tensors_of_torch_are_ids_and_are_padded(slow):
    import torch

    theirs, ours = slow
    ids = ours.encode("the house and")
    for tensor in (torch.tensor(ids), torch.tensor(ids, dtype=torch.int32), ids):
        assert ours.decode(tensor) == theirs.decode(tensor)
        assert ours.convert_ids_to_tokens(tensor) == theirs.convert_ids_to_tokens(list(ids))
    assert ours.batch_decode(torch.tensor([ids, ids])) == theirs.batch_decode(torch.tensor([ids, ids]))
    assert ours.decode(torch.tensor(5)) == theirs.decode(torch.tensor(5))
    padded = ours.pad([{"input_ids": torch.tensor(ids)}, {"input_ids": torch.tensor([5])}])
    assert (
        padded["input_ids"].tolist()
        == theirs.pad([{"input_ids": torch.tensor(ids)}, {"input_ids": torch.tensor([5])}])["input_ids"].tolist()
    )
    assert ours("the").to(torch.device("cpu"))["input_ids"]
