"""Added tokens and settings that change: literals, each checked once against transformers 4.57.6."""

import numpy as np
import pytest
from support import TINY_MODEL
from support.refusals import refusal

from albert_np import AlbertTokenizer, AlbertTokenizerFast
from albert_np.tokenization.added_tokens import AddedToken, Cutter

ENT = {"content": "<ent>"}


@pytest.fixture
def tok():
    return AlbertTokenizer.from_pretrained(TINY_MODEL)


@pytest.mark.parametrize(
    ("tokens", "text", "pieces", "decoded"),
    [
        ([ENT], "the <ent> house", ["▁the", "<ent>", "▁house"], "the <ent> house"),
        ([ENT | {"lstrip": True, "rstrip": True}], "the <ent> house", ["▁the", "<ent>", "▁house"], "the <ent> house"),
        # a word alone only: inside other letters it joins its neighbour, which is cut as text
        (
            [{"content": "ent", "single_word": True}],
            "rent ent, entry",
            ["▁r", "ent", "▁", "ent", ",", "▁", "ent", "ry"],
            "r ent ent , ent ry",
        ),
        ([{"content": "house"}], "the house and houses", ["▁the", "house", "▁and", "house", "▁", "s"], None),
        # where one token is part of another, the longest wins
        (
            [{"content": "house"}, {"content": "houses"}],
            "the house and houses",
            ["▁the", "house", "▁and", "houses"],
            "the house and houses",
        ),
    ],
)
def test_added_tokens_are_kept_whole_and_meet_their_neighbours(tiny_dir, tokens, text, pieces, decoded):
    added = {1000 + i: AddedToken(**token) for i, token in enumerate(tokens)}
    tokenizer = AlbertTokenizer(tiny_dir / "spiece.model", added_tokens_decoder=added)
    assert tokenizer.tokenize(text) == pieces
    encoding = tokenizer(text, return_offsets_mapping=True)
    ids = encoding["input_ids"]
    assert [i for i in ids if i >= 1000] == [
        tokenizer.added_tokens_encoder[p] for p in pieces if p in map(str, added.values())
    ]
    for i, (start, end) in zip(ids, encoding["offset_mapping"], strict=True):
        if i >= 1000:  # the span is the token and the spaces it took
            assert text[start:end].strip() == str(added[i])
    if decoded:
        assert tokenizer.decode(ids, skip_special_tokens=True) == decoded
    assert len(tokenizer) == len(tokenizer.get_vocab())  # a piece that is added too counts once


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("xbyz", ["xbyz"]),  # "b" is read to its end first, and the earlier token is taken instead
        ("xbq", ["x", "b", "q"]),
        ("xbqyz", ["xbqyz"]),  # what breaks the earlier token is passed over, once
        ("xb", ["x", "b"]),
    ],
)
def test_tokens_that_hold_one_another_are_cut_as_transformers_cuts_them(text, parts):
    assert [text[start:end] for start, end in Cutter(["b", "xbyz"]).cut(text)] == parts


def test_words_are_known_where_they_came_split(tok):
    split = tok(["my", "dog"], is_split_into_words=True)
    words = split.word_ids()
    assert words[0] is None
    assert words[-1] is None
    assert sorted(set(words[1:-1])) == [0, 1]
    assert "words are known" in refusal(tok("my dog").word_ids)
    assert AlbertTokenizerFast.from_pretrained(TINY_MODEL)("my dog").word_ids()[1] == 0


def test_settings_that_change_are_checked_and_the_others_are_refused(tok):
    tok.padding_side = "left"
    assert tok(["a", "the house"], padding=True)["attention_mask"][0][0] == 0
    assert "left" in refusal(setattr, tok, "padding_side", "middle")
    assert "left" in refusal(setattr, tok, "truncation_side", "x")
    assert "whole number" in refusal(setattr, tok, "model_max_length", "abc")
    for name in ("do_lower_case", "remove_space", "keep_accents", "style"):
        with pytest.raises(AttributeError, match=f"{name} is built into the tokenizer"):
            setattr(tok, name, False)


def test_unknown_options_are_refused_by_name(tok):
    message = refusal(tok, "x", return_offset_mapping=True)
    assert message.startswith("the tokenizer knows no return_offset_mapping; it takes add_special_tokens, is_split")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda tok: tok.encode("a", bogus=1), "knows no bogus"),
        (lambda tok: tok("a", stride="x"), "stride must be"),
        (lambda tok: tok("a", split_special_tokens="maybe"), "split_special_tokens must be True or False"),
        (lambda tok: tok("a", padding="max_length", max_length=10**12), "would fill memory"),
        (lambda tok: tok("a", padding="max_length", max_length=10**30), "would fill memory"),
        (lambda tok: tok("a", padding=True, pad_to_multiple_of=10**13), "would fill memory"),
        (lambda tok: tok.pad({"input_ids": [[1], 2]}), "input_ids"),
        (lambda tok: tok.pad({"input_ids": None}), "must be a list of ids"),
        (lambda tok: tok.pad({"input_ids": np.array(4)}), "must be a list of ids"),
        (lambda tok: tok.pad({"input_ids": [1], "attention_mask": 1}), "attention_mask must be a list"),
        (lambda tok: tok.pad([{"input_ids": [1]}, 5]), "or a list of them"),
        (lambda tok: AlbertTokenizer(5), "path of a spiece.model; got 5"),
        (lambda tok: AlbertTokenizer(b"x"), "path of a spiece.model"),
        (lambda tok: AlbertTokenizer("a\0b"), "path of a spiece.model"),
        (
            lambda tok: AlbertTokenizer.from_pretrained(TINY_MODEL, sp_model_kwargs=5),
            "sp_model_kwargs must be an object",
        ),
        (lambda tok: tok.convert_tokens_to_string([30000]), "a list of str"),
        (lambda tok: tok.convert_tokens_to_string(["\udc80"]), "lone surrogate"),
        (lambda tok: tok.batch_decode(5), "a list of id lists"),
        (lambda tok: tok.build_inputs_with_special_tokens("5"), "token ids must be"),
        (lambda tok: tok.get_special_tokens_mask("5"), "token ids must be"),
        (lambda tok: tok.create_token_type_ids_from_sequences(None), "token ids must be"),
        (lambda tok: tok.save_vocabulary(5), "path of a folder"),
        (lambda tok: tok.save_pretrained("a\0b"), "NUL"),
        (lambda tok: tok.save_pretrained("a", filename_prefix="../x"), "not a path"),
        (lambda tok: tok("a").tokens("a"), "rows are counted"),
        (lambda tok: setattr(tok, "clean_up_tokenization_spaces", "x"), "True or False"),
    ],
)
def test_misuse_of_every_method_is_a_value_error(tok, call, message):
    assert message in refusal(call, tok)


def test_pad_takes_what_a_collator_holds(tok):
    rows = [{"input_ids": [2, 5, 3]}, {"input_ids": [2, 3]}]
    assert dict(tok.pad(rows)) == {"input_ids": [[2, 5, 3], [2, 3, 0]], "attention_mask": [[1, 1, 1], [1, 1, 0]]}
    assert dict(tok.pad({"input_ids": []}, padding="max_length", max_length=5)) == {"input_ids": []}


def test_the_type_of_padding_is_one_setting(tok):
    tok.pad_token_type_id = 1
    called = tok(["a", "the house"], padding=True)
    padded = tok.pad({name: list(map(list, x)) for name, x in tok(["a", "the house"]).items()})
    assert called["token_type_ids"] == padded["token_type_ids"]
    assert called["token_type_ids"][0][-1] == 1


def test_thousands_of_added_tokens_and_no_more(tiny_dir):
    """One of 4,000 tokens contains another, which is found without comparing all pairs."""
    added = {1000 + i: AddedToken(f"<{i}>") for i in range(4000)} | {5000: AddedToken("x<7>x")}
    tokenizer = AlbertTokenizer(tiny_dir / "spiece.model", added_tokens_decoder=added)
    assert tokenizer.tokenize("a <7> b x<7>x") == ["▁a", "<7>", "▁b", "x<7>x"]
    many = {1000 + i: AddedToken(f"<{i}>") for i in range(10_001)}
    assert "at most 10,000" in refusal(AlbertTokenizer, tiny_dir / "spiece.model", added_tokens_decoder=many)
