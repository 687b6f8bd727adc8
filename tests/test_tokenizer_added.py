"""Added tokens and settings that change: literals, each checked once against transformers 4.57.6."""

import pytest
from refusals import refusal

from albert_np import AlbertTokenizer, AlbertTokenizerFast
from albert_np.tokenization.added_tokens import AddedToken

ENT = {"content": "<ent>"}


@pytest.fixture
def tok():
    return AlbertTokenizer.from_pretrained("demo")


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
def test_added_tokens_are_kept_whole_and_meet_their_neighbours(demo_dir, tokens, text, pieces, decoded):
    added = {1000 + i: AddedToken(**token) for i, token in enumerate(tokens)}
    tokenizer = AlbertTokenizer(demo_dir / "spiece.model", added_tokens_decoder=added)
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


def test_words_are_known_where_they_came_split(tok):
    split = tok(["my", "dog"], is_split_into_words=True)
    words = split.word_ids()
    assert words[0] is None
    assert words[-1] is None
    assert sorted(set(words[1:-1])) == [0, 1]
    assert "words are known" in refusal(tok("my dog").word_ids)
    assert AlbertTokenizerFast.from_pretrained("demo")("my dog").word_ids()[1] == 0


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
    assert message.startswith("the tokenizer knows no return_offset_mapping; it takes is_split_into_words, max_length")
