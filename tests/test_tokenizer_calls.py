"""The calls of a tokenizer as code for transformers writes them: by place, by older names, with arrays of other libraries.

The literals were each checked once against transformers 4.57.6.
"""

import copy
import inspect
import pickle

import numpy as np
import pytest
from support import TINY_MODEL
from support.refusals import refusal

from albert_np import AlbertTokenizer, AlbertTokenizerFast, BatchEncoding


@pytest.fixture(scope="module")
def tok():
    return AlbertTokenizer.from_pretrained(TINY_MODEL)


class Tensor:
    """What other libraries' tensors have in common."""

    def __init__(self, array):
        self.array = np.asarray(array)
        self.ndim, self.shape, self.dtype = self.array.ndim, self.array.shape, self.array.dtype

    def tolist(self):
        return self.array.tolist()

    def __iter__(self):
        return map(Tensor, self.array)


class ArrayOnly:
    """An object with nothing but __array__."""

    def __init__(self, array):
        self.array = np.asarray(array)

    def __array__(self, dtype=None, copy=None):
        return self.array


# --- which text it is --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["a", None],), "text[1] must be a str or a list of str; got NoneType, None"),
        (([None, "a"],), "text[0] must be a str or a list of str; got NoneType, None"),
        ((["a", "b", float("nan")],), "text[2] must be a str or a list of str; got float, nan"),
        ((["a", b"b"],), "text[1] must be a str or a list of str; got bytes, b'b'"),
        ((["a", "\ud800"],), "text[1]: text holds a lone surrogate"),
        ((["a", "b"], ["c", None]), "text_pair[1] must be a str or a list of str; got NoneType, None"),
        (([("a", "b"), ("c", None)],), "text[1]: the second text of the pair is None"),
        (([("a", "b"), (None, "c")],), "text[1]: a text is a str"),
        (([("a", "b"), ("c", 5)],), "text_pair[1]: a text is a str"),
        (([("a", "b"), ("c",)],), "text[1]: an item of a batch is a text or a pair of them; got a list of 1"),
        ((["a", 7],), "text[1] must be a str or a list of str; got int, 7; ids go to encode()"),
        ((None,), "text must be a str or a list of them; got None"),
    ],
)
def test_a_batch_says_which_text_is_none(tok, arguments, message):
    assert refusal(lambda: tok(*arguments)).startswith(message)


def test_a_batch_of_words_says_which_word_is_none(tok):
    words = [["a", "house"], ["the", None]]
    message = refusal(lambda: tok(words, is_split_into_words=True))
    assert message == "text[1]: a list of words or tokens must hold str only; item 1 is None"
    assert "text[1]" in refusal(lambda: tok(["a", None], is_split_into_words=True))


# --- arguments by place, and keywords of transformers ------------------------------------------------------------------


def test_options_by_place_are_those_of_transformers(tok):
    by_name = {"padding": "max_length", "truncation": True, "max_length": 8}
    assert tok.encode("a", None, True, "max_length", True, 8) == tok.encode("a", **by_name)
    assert len(tok.encode("a", None, True, "max_length", True, 8)) == 8
    side = tok.encode("a", None, True, "max_length", True, 8, 0, "left", "np")  # stride, padding_side, return_tensors
    assert (side.shape, side[0, 0]) == ((1, 8), tok.pad_token_id)
    assert tok("a", "house", None, None, False).data == tok("a", "house", add_special_tokens=False).data
    assert tok("a", None, None, None, True, "max_length", True, 8).data == tok("a", **by_name).data
    assert tok.encode_plus("a", None, True, "max_length", True, 8).data == tok("a", **by_name).data
    assert tok.batch_encode_plus(["a", "b"], True, "max_length", True, 8).data == tok(["a", "b"], **by_name).data
    ids = tok.encode("the house", add_special_tokens=False)
    ready = tok.prepare_for_model(ids, None, True, "max_length", True, 8, 0, None, "left", "np")
    assert ready["input_ids"].shape == (8,)
    assert ready["input_ids"][0] == tok.pad_token_id


def test_options_that_come_twice_or_too_many_are_refused(tok):
    assert "padding is given twice" in refusal(lambda: tok.encode("a", None, True, True, padding=True))
    assert "options without a name" in refusal(lambda: tok.encode("a", None, *[True] * 12))
    assert (
        refusal(lambda: AlbertTokenizerFast(tok.vocab_file, True))
        == "tokenizer_file is the path of a tokenizer.json; got True"
    )
    assert "text_target: text must be a str" in refusal(lambda: tok("a", "b", False))


def test_the_fast_class_takes_tokenizer_json_in_the_second_place(tmp_path):
    AlbertTokenizerFast.from_pretrained(TINY_MODEL).save_pretrained(tmp_path)
    fast = AlbertTokenizerFast(None, str(tmp_path / "tokenizer.json"))
    assert fast.encode("the house") == AlbertTokenizerFast.from_pretrained(TINY_MODEL).encode("the house")
    cased = AlbertTokenizerFast(str(tmp_path / "spiece.model"), None, False, True, True, "<s>")
    assert (cased.do_lower_case, cased.keep_accents, cased.bos_token) == (False, True, "<s>")
    assert list(inspect.signature(AlbertTokenizerFast).parameters)[:2] == ["vocab_file", "tokenizer_file"]


@pytest.mark.parametrize("kind", [AlbertTokenizer, AlbertTokenizerFast])
def test_keywords_of_from_pretrained_that_change_nothing_are_taken(kind):
    ignored = {"use_fast": True, "trust_remote_code": False, "resume_download": None, "proxies": None, "legacy": True}
    ignored |= {"chat_template": None, "config": object(), "low_cpu_mem_usage": True, "device_map": "cpu"}
    tok = kind.from_pretrained(pretrained_model_name_or_path=TINY_MODEL, **ignored)
    assert tok.encode("the house") == kind.from_pretrained(TINY_MODEL).encode("the house")
    assert kind.from_pretrained(TINY_MODEL, max_len=7, verbose=False).model_max_length == 7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trust_remote_code": True}, "trust_remote_code=True runs code"),
        ({"chat_template": "{{ x }}"}, "chat_template can only be None here, because there are no chat templates"),
        ({"proxies": {"http": "x"}}, "proxies are not passed on"),
        ({"gguf_file": "x.gguf"}, "gguf_file can only be None"),
        ({"tokenizer_type": "bert"}, "tokenizer_type can only be None or 'albert'"),
        ({"bogus": 1, "vocab_file": "x"}, "knows no argument 'bogus', 'vocab_file'"),
        ({"add_special_tokens": True}, "knows no argument 'add_special_tokens', which is one of its methods"),
        ({"use_auth_token": "x", "token": "y"}, "token and use_auth_token are two names"),
    ],
)
def test_keywords_of_from_pretrained_that_cannot_be_honoured_are_refused_by_name(options, message):
    assert message in refusal(lambda: AlbertTokenizer.from_pretrained(TINY_MODEL, **options))


def test_a_keyword_that_names_a_method_is_refused_as_here_and_as_there():
    for error in (ValueError, AttributeError):
        with pytest.raises(error, match="which is one of its methods"):
            AlbertTokenizer.from_pretrained(TINY_MODEL, get_vocab=True)


def test_more_than_a_name_by_place_is_refused():
    assert "takes one value without a name" in refusal(lambda: AlbertTokenizer.from_pretrained(TINY_MODEL, "x"))


def test_keywords_of_the_class_and_of_decode_are_taken_or_refused_by_name(tok):
    made = AlbertTokenizer(
        TINY_MODEL / "spiece.model", use_fast=False, chat_template=None, additional_special_tokens=None
    )
    assert made.encode("the house") == tok.encode("the house")
    assert refusal(lambda: AlbertTokenizer(tok.vocab_file, bogus=1)) == "AlbertTokenizer knows no argument 'bogus'"
    assert (
        refusal(lambda: AlbertTokenizerFast(tok.vocab_file, bogus=1)) == "AlbertTokenizerFast knows no argument 'bogus'"
    )
    assert tok.decode([5], use_source_tokenizer=False) == tok.decode([5])
    for call in (tok.decode, tok.batch_decode):
        assert refusal(lambda: call([], bogus=1)) == "decode knows no argument 'bogus'"  # noqa: B023


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_save_pretrained_takes_the_arguments_of_transformers(tmp_path):
    tok = AlbertTokenizer.from_pretrained(TINY_MODEL)
    tok.save_pretrained(save_directory=tmp_path / "a", legacy_format=None, filename_prefix="x", push_to_hub=False)
    assert {name[:2] for name in names(tmp_path / "a")} == {"x-"}
    tok.save_pretrained(tmp_path / "b", True, None, False, save_jinja_files=False, max_shard_size="5GB", token=None)
    assert "spiece.model" in names(tmp_path / "b")
    fast = AlbertTokenizerFast.from_pretrained(TINY_MODEL)
    fast.save_pretrained(tmp_path / "c", legacy_format=False)
    assert "tokenizer.json" in names(tmp_path / "c")
    assert "spiece.model" not in names(tmp_path / "c")
    fast.save_pretrained(tmp_path / "d", legacy_format=True)
    assert "tokenizer.json" not in names(tmp_path / "d")
    for folder in "cd":
        assert AlbertTokenizerFast.from_pretrained(tmp_path / folder).encode("the house") == fast.encode("the house")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"push_to_hub": True}, "push_to_hub can only be None or False here"),
        ({"legacy_format": False}, "legacy_format=False leaves out spiece.model, the only file of this vocabulary"),
        ({"legacy_format": "no"}, "legacy_format must be True or False"),
        ({"bogus": 1}, "save_pretrained of a tokenizer knows no argument 'bogus'"),
    ],
)
def test_what_save_pretrained_cannot_honour_is_refused_by_name(tmp_path, options, message):
    tok = AlbertTokenizer.from_pretrained(TINY_MODEL)
    assert message in refusal(lambda: tok.save_pretrained(tmp_path / "x", **options))
    assert not (tmp_path / "x").exists()


# --- methods -----------------------------------------------------------------------------------------------------------


def test_tokenize_takes_a_second_text_and_special_tokens(tok):
    assert tok.tokenize("the house", add_special_tokens=True) == ["[CLS]", "▁the", "▁house", "[SEP]"]
    assert tok.tokenize("the", "house", True) == ["[CLS]", "▁the", "[SEP]", "▁house", "[SEP]"]
    assert tok.tokenize("the", pair="house") == ["▁the", "▁house"]
    assert tok.tokenize("the house and", truncation=True, max_length=2) == ["▁the", "▁house"]
    assert "must be a str" in refusal(lambda: tok.tokenize(["the"]))
    assert "the tokenizer knows no bogus" in refusal(lambda: tok.tokenize("the", bogus=True))


def test_older_names_return_what_a_call_returns(tok):
    assert tok.encode_plus("the", "house").data == tok("the", "house").data
    assert tok.encode_plus(["▁the", "▁house"])["input_ids"] == tok.encode("the house")
    assert tok.batch_encode_plus([("the", "house"), ("a", "b")]).data == tok(["the", "a"], ["house", "b"]).data
    assert tok.batch_encode_plus(["the"], return_tensors="np")["input_ids"].shape == (1, 3)
    assert "a batch is a list" in refusal(lambda: tok.batch_encode_plus("the"))
    targets = tok(["the", "a"], text_target=["house", "b"], padding=True)
    assert targets["labels"] == tok(["house", "b"], padding=True)["input_ids"]
    assert tok(text_target="house").data == tok("house").data
    pair = tok.prepare_seq2seq_batch(["the house and"], ["house house"], max_length=3, max_target_length=4)
    assert (len(pair["input_ids"][0]), len(pair["labels"][0])) == (3, 4)


def test_ids_are_prepared_for_the_model(tok):
    first, second = (tok.encode(text, add_special_tokens=False) for text in ("the house", "and a house"))
    assert tok.prepare_for_model(first, second).data == tok("the house", "and a house").data
    cut = tok.prepare_for_model(Tensor(first), second, truncation="only_second", max_length=6, return_length=True)
    assert (cut["length"], cut["input_ids"]) == (6, [2, *first, 3, second[0], 3])
    assert tok.prepare_for_model([])["input_ids"] == [2, 3]
    assert tok.prepare_for_model(first, return_tensors="np", prepend_batch_axis=True)["input_ids"].shape == (1, 4)
    assert tok.prepare_for_model(first, return_tensors="np")["input_ids"].shape == (4,)
    assert "outside the vocabulary" in refusal(lambda: tok.prepare_for_model([10**6]))
    assert "ids must be a list of ids" in refusal(lambda: tok.prepare_for_model(5))
    assert "ids" in refusal(lambda: tok.prepare_for_model("the house"))


def test_sequences_are_truncated_as_ids(tok):
    five, three = [5, 6, 7, 8, 9], [10, 11, 12]
    assert tok.truncate_sequences(five, None, 2) == ([5, 6, 7], None, [8, 9])
    assert tok.truncate_sequences(five, three, 2, "only_first", 1) == ([5, 6, 7], three, [7, 8, 9])
    assert tok.truncate_sequences(five, three, 1, "only_second") == (five, [10, 11], [12])
    assert tok.truncate_sequences(five, three, 3) == ([5, 6, 7], [10, 11], [])
    assert tok.truncate_sequences(five, three, 0) == (five, three, [])
    assert tok.truncate_sequences([5], None, 3, "only_first") == ([5], None, [])  # too short: left as it is
    left = AlbertTokenizer.from_pretrained(TINY_MODEL, truncation_side="left")
    assert left.truncate_sequences(five, three, 2, "only_first", 1) == ([7, 8, 9], three, [5, 6, 7])
    assert "stride must be 0 or more" in refusal(lambda: tok.truncate_sequences(five, None, 1, stride=-1))
    assert "truncation must be" in refusal(lambda: tok.truncate_sequences(five, None, 1, "middle"))


def test_lengths_that_fit_the_model(tok):
    assert (tok.max_len_single_sentence, tok.max_len_sentences_pair) == (
        tok.model_max_length - 2,
        tok.model_max_length - 3,
    )


@pytest.mark.parametrize("kind", [np.asarray, Tensor, ArrayOnly])
def test_arrays_of_any_library_are_ids(tok, kind):
    ids = tok.encode("the house")
    assert tok.decode(kind(ids)) == tok.decode(ids)
    assert tok.convert_ids_to_tokens(kind(ids)) == tok.convert_ids_to_tokens(ids)
    assert tok.decode([kind(index) for index in ids]) == tok.decode(ids)
    assert tok.decode(kind(5)) == tok.decode(5)
    assert "one row of integers" in refusal(lambda: tok.decode(kind([ids])))
    assert "one row of integers" in refusal(lambda: tok.decode(kind([1.5])))
    if kind is not ArrayOnly:
        assert tok.batch_decode(kind([ids, ids])) == [tok.decode(ids)] * 2


def test_model_input_names_say_what_a_call_returns():
    tok = AlbertTokenizer.from_pretrained(TINY_MODEL)
    assert tok.model_input_names == ["input_ids", "token_type_ids", "attention_mask"]
    tok.model_input_names = ["input_ids"]
    assert list(tok("a")) == ["input_ids"]
    assert list(tok("a", return_attention_mask=True)) == ["input_ids", "attention_mask"]
    assert list(tok.pad([{"input_ids": [5]}, {"input_ids": [5, 6]}])) == ["input_ids"]
    tok.model_input_names = ["inputs", "attention_mask"]
    assert tok.pad({"inputs": [[5], [6, 7]]}).data == {"inputs": [[5, 0], [6, 7]], "attention_mask": [[1, 0], [1, 1]]}
    assert "with inputs" in refusal(lambda: tok.pad({"input_ids": [5]}))
    for wrong in ("input_ids", [], [5], None):
        assert "must be a list of names" in refusal(lambda: setattr(tok, "model_input_names", wrong))  # noqa: B023


def test_model_input_names_are_saved_and_loaded(tmp_path):
    tok = AlbertTokenizer.from_pretrained(TINY_MODEL, model_input_names=["input_ids", "attention_mask"])
    assert list(tok("a")) == ["input_ids", "attention_mask"]
    tok.save_pretrained(tmp_path)
    assert list(AlbertTokenizer.from_pretrained(tmp_path)("a")) == ["input_ids", "attention_mask"]


@pytest.mark.parametrize("kind", [np.asarray, Tensor, ArrayOnly])
def test_padding_arrays_gives_arrays(tok, kind):
    both = tok.pad({"input_ids": kind([[5, 6], [7, 8]])}, padding="max_length", max_length=3)
    assert isinstance(both["input_ids"], np.ndarray)
    assert both["input_ids"].tolist() == [[5, 6, 0], [7, 8, 0]]
    assert both["attention_mask"].dtype == np.int64
    listed = tok.pad([{"input_ids": kind([5]), "labels": 0.5}, {"input_ids": kind([6, 7]), "labels": 2}])
    assert listed["input_ids"].tolist() == [[5, 0], [6, 7]]
    assert listed["labels"].tolist() == [0.5, 2]
    assert tok.pad({"input_ids": kind([5, 6])})["input_ids"].shape == (2,)
    assert tok.pad({"input_ids": [[5], [6, 7]]})["input_ids"] == [[5, 0], [6, 7]]


def test_what_makes_no_array_of_numbers_is_refused(tok):
    for labels in (["x", "y"], [None, 1], ["1", "2"]):
        given = {"input_ids": [[5], [6]], "labels": labels}
        assert "labels makes no array of numbers" in refusal(lambda: tok.pad(given, return_tensors="np"))  # noqa: B023


def test_chat_templates_are_refused_by_name(tok):
    assert "no chat templates" in refusal(lambda: tok.apply_chat_template([{"role": "user", "content": "a"}]))


def test_a_tokenizer_keeps_what_it_was_made_with(tok):
    assert set(inspect.signature(AlbertTokenizer).parameters) - {"options"} == set(tok.init_kwargs)
    assert tok.init_inputs == ()


# --- BatchEncoding -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["hf_slow", "hf_fast"])
def styled(request):
    return AlbertTokenizer.from_pretrained(TINY_MODEL, style=request.param)


def test_from_characters_to_tokens_and_back(styled):
    text, second = "the house and", "a house"
    enc = styled(text, second)  # nobody asked for offsets
    tokens = enc.tokens()
    for i, token in enumerate(tokens):
        span = enc.token_to_chars(i)
        if token in ("[CLS]", "[SEP]"):
            assert span is None
            assert enc.token_to_sequence(i) is None
            continue
        sequence = enc.token_to_sequence(i)
        assert (text, second)[sequence][span.start : span.end] == token.strip("▁")
        assert [enc.char_to_token(at, sequence_index=sequence) for at in range(*span)] == [i] * (span.end - span.start)
    assert (enc.char_to_token(3), enc.char_to_token(99)) == (None, None)  # a space, and a place behind the text
    assert enc.token_to_chars(99) is None
    assert enc.n_sequences == 2
    assert enc.is_fast == styled.is_fast
    assert "offset_mapping" not in enc


def test_look_ups_take_the_row_first(styled):
    enc = styled(["the house", "and a house"], padding=True)
    assert enc.char_to_token(1, 4) == 2
    assert enc.token_to_chars(1, 1) == (0, 3)
    assert enc.token_to_chars(0, -1) is None  # padding
    assert enc.token_to_sequence(1, 1) == 0
    assert "row 2 of an encoding that has 2" in refusal(lambda: enc.token_to_chars(2, 1))
    assert "whole number" in refusal(lambda: enc.char_to_token("1"))
    assert "sequence_index is 0" in refusal(lambda: enc.char_to_token(0, 1, sequence_index=2))
    assert enc.char_to_token(0, 1, sequence_index=1) is None  # there is one text


def test_from_words_to_tokens_and_characters(styled):
    enc = styled(["the", "houses", "and"], is_split_into_words=True)
    words = enc.word_ids()
    start, end = enc.word_to_tokens(1)
    assert words[start:end] == [1] * (end - start)
    assert words.count(1) == end - start
    assert enc.word_to_chars(1) == (0, len("houses"))
    assert [enc.token_to_word(i) for i in range(len(words))] == words
    assert enc.word_to_tokens(7) is None
    assert enc.word_to_chars(0, 1) == (0, len("houses"))


def test_words_that_are_not_known_are_refused_and_not_none(tok):
    enc = tok("the house")
    for call in (enc.token_to_word, enc.char_to_word, enc.word_to_tokens, enc.word_to_chars):
        assert "words are known where they came split" in refusal(lambda: call(1))  # noqa: B023


def test_words_of_the_fast_style():
    enc = AlbertTokenizerFast.from_pretrained(TINY_MODEL)("the house")
    assert (enc.char_to_word(5), enc.token_to_word(2), enc.word_to_tokens(1), enc.word_to_chars(1)) == (
        1,
        1,
        (2, 3),
        (4, 9),
    )


def test_places_of_windows_and_of_truncated_texts_are_known(styled):
    text = "the house and the house and the house"
    enc = styled(text, truncation=True, max_length=5, stride=1, return_overflowing_tokens=True)
    for row in range(len(enc["input_ids"])):
        start, end = enc.token_to_chars(row, 1)
        assert text[start:end] == enc.tokens(row)[1].strip("▁")


def test_ids_have_no_places_in_a_text(tok):
    enc = tok.prepare_for_model([5, 6])
    assert "ids have no characters to point at" in refusal(lambda: enc.token_to_chars(1))
    assert "encode with return_offsets_mapping=True" in refusal(
        lambda: pickle.loads(pickle.dumps(enc)).token_to_chars(1)
    )
    with pytest.raises(ValueError, match="was not made from text"):
        BatchEncoding({"input_ids": [1]}).tokens()


@pytest.mark.parametrize("data", [3, [None], np.zeros(3), b"x"])
def test_an_encoding_of_no_lists_by_name_is_refused_in_words(data):
    assert "a BatchEncoding is made of lists by name; got " in refusal(BatchEncoding, data)


def test_slices_are_encodings_of_fewer_rows(tok):
    enc = tok(["the", "a house", "and"])
    assert enc[1:].data == {name: value[1:] for name, value in enc.items()}
    assert enc[1:2].tokens() == ["[CLS]", "▁a", "▁house", "[SEP]"]
    assert tok("the house")[:2]["input_ids"] == tok.encode("the house")[:2]
    assert tok(["the", "a"], return_tensors="np")[:1]["input_ids"].shape == (1, 3)
    assert enc[1].tokens == enc.tokens(1)
    assert (enc[1].ids, enc[-1].ids) == (enc["input_ids"][1], enc["input_ids"][-1])
    assert [row.ids for row in enc.encodings] == enc["input_ids"]
    assert "row 3 of an encoding that has 3" in refusal(lambda: enc[3])
    assert "was not made from text" in refusal(lambda: BatchEncoding({"input_ids": [1]})[0])


def test_lists_become_arrays_in_place(tok):
    enc = tok(["the", "a"])
    assert enc.convert_to_tensors(None) is enc
    assert enc.convert_to_tensors("np") is enc
    assert enc["input_ids"].shape == (2, 3)
    assert tok("the").convert_to_tensors("np", prepend_batch_axis=True)["input_ids"].shape == (1, 3)
    assert BatchEncoding({"input_ids": [1, 2]}, tensor_type="np")["input_ids"].tolist() == [1, 2]
    assert "different lengths" in refusal(lambda: tok(["the", "a house"]).convert_to_tensors("np"))
    assert "NumPy arrays only" in refusal(lambda: tok("the").convert_to_tensors("pt"))


def test_an_encoding_is_where_models_take_it(tok):
    enc = tok("the", return_tensors="np")
    assert enc.to("cpu") is enc
    assert enc.to("cuda:0", non_blocking=True) is enc  # the backend takes its arrays from there
    assert "device" in refusal(lambda: enc.to("tpu"))


def test_encodings_are_pickled_and_copied_without_the_tokenizer(tok):
    enc = tok("the house")
    again = pickle.loads(pickle.dumps(enc))
    assert len(pickle.dumps(enc)) < 2000
    assert (again.data, again.tokens()) == (enc.data, enc.tokens())
    assert copy.deepcopy(enc).tokens() == enc.tokens()
    assert enc.token_to_chars(1) == (0, 3)
