"""Tokens that are added after a tokenizer was made. The literals were each checked once against transformers 4.57.6."""

import copy
import pickle

import pytest
from support import TINY_MODEL
from support.refusals import refusal

from albert_np import AddedToken, AlbertTokenizer, AlbertTokenizerFast

STYLES = ["hf_slow", "hf_fast", "google"]


@pytest.fixture
def tok():
    return AlbertTokenizer.from_pretrained(TINY_MODEL)


class Theirs:
    """An object with the fields of an AddedToken, as that of the `tokenizers` library."""

    def __init__(self, content, **flags):
        defaults = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False}
        vars(self).update(defaults | flags, content=content)


def test_added_tokens_get_the_next_ids_and_are_kept_whole(tok):
    assert tok.tokenize("the qux house") == ["▁the", "▁", "q", "u", "x", "▁house"]
    assert tok.add_tokens(["QUX", "house", "qux", ""]) == 1  # in lower case, as texts are; "house" is a piece already
    assert tok.get_added_vocab()["house"] < 1000
    assert (len(tok), tok.convert_tokens_to_ids("qux")) == (1001, 1000)
    assert tok.tokenize("the Qux house") == ["▁the", "qux", "house"]
    assert tok.add_tokens([]) == 0


@pytest.mark.parametrize("kind", [AddedToken, Theirs], ids=["ours", "theirs"])
def test_flags_of_an_added_token_decide_what_it_does_to_its_neighbours(tok, kind):
    tok.add_tokens([kind("qux", lstrip=True), kind("zig", single_word=True), kind("Zag", normalized=False)])
    assert tok.tokenize("the   qux house") == ["▁the", "qux", "▁house"]
    assert "zig" not in tok.tokenize("zigs zigzig")
    assert "zig" in tok.tokenize("a zig .")
    assert tok.get_added_vocab()["Zag"] == 1002
    assert tok.added_tokens_decoder[1000] == AddedToken("qux", lstrip=True)


@pytest.mark.parametrize("style", STYLES)
def test_added_tokens_survive_files_and_copies_in_all_styles(tmp_path, style):
    tok = AlbertTokenizer.from_pretrained(TINY_MODEL, style=style)
    tok.add_tokens(["qux", AddedToken("zig zag", lstrip=True)])
    tok.add_special_tokens({"pad_token": "[EMPTY]", "additional_special_tokens": ["<ent>", AddedToken("<loc>")]})
    tok.save_pretrained(tmp_path)
    said = tok.get_vocab(), tok.added_tokens_decoder, tok.special_tokens_map, tok("the qux zig zag <ent>").data
    assert [tok.convert_tokens_to_ids(t) for t in ("qux", "zig zag", "[EMPTY]", "<ent>", "<loc>")] == list(
        range(1000, 1005)
    )
    assert tok.pad_token_id == 1002
    loaded = AlbertTokenizer.from_pretrained(tmp_path, style=style)
    for again in (loaded, pickle.loads(pickle.dumps(tok)), copy.deepcopy(tok), copy.copy(tok)):
        assert (
            again.get_vocab(),
            again.added_tokens_decoder,
            again.special_tokens_map,
            again("the qux zig zag <ent>").data,
        ) == said


def test_special_tokens_that_are_added_are_left_out_of_text(tok):
    assert tok.add_special_tokens({"additional_special_tokens": ["<ent>"]}) == 1
    assert tok.add_tokens("<loc>", special_tokens=True) == 1
    assert tok.additional_special_tokens == ["<ent>", "<loc>"]
    ids = tok.encode("the <ent> house <loc>")
    assert tok.decode(ids, skip_special_tokens=True) == "the house"
    assert (
        tok.add_special_tokens({"additional_special_tokens": ["<per>"]}) == 1
    )  # they replace the others, which stay tokens
    assert tok.additional_special_tokens == ["<per>"]
    assert "<ent>" in tok.tokenize("the <ent>")
    tok.add_special_tokens({"additional_special_tokens": ["<ent>"]}, replace_additional_special_tokens=False)
    assert tok.additional_special_tokens == ["<per>", "<ent>"]
    assert len(tok) == 1003


@pytest.mark.parametrize("style", ["hf_slow", "hf_fast"])
def test_a_new_cls_and_sep_stand_around_texts_and_come_back_from_files(tmp_path, style):
    tok = AlbertTokenizer.from_pretrained(TINY_MODEL, style=style)
    tok.add_special_tokens({"cls_token": "<s>", "sep_token": "</s>"})
    assert tok("a").tokens() == ["<s>", "▁a", "</s>"]
    tok.save_pretrained(tmp_path)
    assert AlbertTokenizer.from_pretrained(tmp_path, style=style).encode("a") == tok.encode("a") == [1000, 17, 1001]


def test_special_tokens_are_attributes_that_can_be_set(tok):
    tok.pad_token = tok.eos_token
    assert tok(["a", "the house"], padding=True)["input_ids"][0][-1] == tok.eos_token_id == 3
    tok.pad_token_id = 0
    assert tok.pad_token == "<pad>"
    tok.cls_token = None
    assert (tok.cls_token, tok.cls_token_id) == (None, None)
    assert (
        refusal(lambda: tok("a")) == "this tokenizer has no cls_token; set it, or encode with add_special_tokens=False"
    )
    assert tok.tokenize("a") == ["▁a"]
    tok.additional_special_tokens = ["house"]
    assert tok.additional_special_tokens_ids == [tok.convert_tokens_to_ids("house")]
    tok.additional_special_tokens_ids = []
    assert tok.additional_special_tokens == []


def test_a_token_that_is_given_twice_behaves_as_it_was_given_last(tok):
    assert tok.add_tokens(["<ent>", AddedToken("<ent>", lstrip=True)], special_tokens=True) == 1
    assert tok.added_tokens_decoder[1000] == AddedToken("<ent>", lstrip=True, normalized=True, special=True)
    assert tok.additional_special_tokens == ["<ent>"]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda t: t.add_tokens([5]), "token 0 must be a str or an object with content"),
        (lambda t: t.add_tokens(["a", None]), "token 1 must be a str"),
        (lambda t: t.add_tokens(7), "token 0 must be a str"),
        (lambda t: t.add_tokens("\ud800"), "lone surrogate"),
        (lambda t: t.add_tokens([Theirs("x", lstrip=1)]), "lstrip must be a bool"),
        (lambda t: t.add_tokens([f"x{i}" for i in range(10_001)]), "at most 10,000"),
        (lambda t: t.add_tokens("x", special_tokens="yes"), "special_tokens must be True or False"),
        (lambda t: t.add_special_tokens(["[X]"]), "a dict of names and tokens"),
        (lambda t: t.add_special_tokens({"start_token": "[X]"}), "'start_token' is no special token; the names are"),
        (lambda t: t.add_special_tokens({"additional_special_tokens": "[X]"}), "must be a list of tokens"),
        (lambda t: t.add_special_tokens({"pad_token": None}), "pad_token must be a str"),
        (lambda t: setattr(t, "pad_token", "[NEW]"), "not in the vocabulary; add_special_tokens"),
        (lambda t: setattr(t, "pad_token", 5), "pad_token must be a str"),
        (lambda t: setattr(t, "pad_token_id", 123456), "outside the vocabulary"),
        (lambda t: setattr(t, "additional_special_tokens", ["[NEW]"]), "not in the vocabulary"),
    ],
)
def test_what_is_refused_changes_nothing(tok, call, words):
    before = tok.get_vocab(), tok.special_tokens_map
    assert words in refusal(lambda: call(tok))
    assert (tok.get_vocab(), tok.special_tokens_map) == before


def test_thousands_of_tokens_can_be_added(tok):
    assert tok.add_tokens([f"<x{i}>" for i in range(5000)], special_tokens=True) == 5000
    assert tok.tokenize("the <x4711>") == ["▁the", "<x4711>"]


def test_the_fast_class_counts_a_piece_as_the_library_does():
    tok = AlbertTokenizerFast.from_pretrained(TINY_MODEL)
    assert tok.add_tokens(["house", "qux", "qux"]) == 2
    assert (len(tok), tok.convert_tokens_to_ids("qux")) == (1001, 1000)
