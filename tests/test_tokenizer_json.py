"""Folders without a spiece.model: the default style is made from tokenizer.json, and has SentencePiece's ids.

The folders are written in transformers 5's form here; test_transformers_5.py compares with those of the real one.
"""

import dataclasses
import json
import logging
import pickle

import pytest
from hypothesis import given, settings
from support.as_transformers_5 import FLAGS, content_of, write_folder
from support.damaged_vocabularies import piece
from support.texts import TEXT
from support.vocabularies import trained

from albert_np import AlbertTokenizer, AlbertTokenizerFast, AutoTokenizer
from albert_np.tokenization.spiece import NormalizerSpec, load_spiece, write_spiece

SAMPLE = "Light (on) - \u00a35, it's 1999, \"A.\" \u00c9 ``x'' [MASK] <PAD> [SEP] 9,9"
METASPACE = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}
SETTINGS = [
    {},
    {"do_lower_case": False},
    {"keep_accents": True},
    {"do_lower_case": False, "keep_accents": True},
    {"tokenizer_class": "TokenizersBackend"},
]


@pytest.fixture(scope="module")
def vocabulary(tiny_dir):
    return tiny_dir / "spiece.model"


@pytest.fixture(scope="module", params=SETTINGS, ids=lambda x: "-".join(map(str, x)) or "default")
def both(request, vocabulary, tmp_path_factory):
    """(the tokenizer of a folder of transformers 5, that of the spiece.model from which it was made)."""
    flags = {name: value for name, value in request.param.items() if name != "tokenizer_class"}
    folder = write_folder(tmp_path_factory.mktemp("five"), vocabulary, **request.param)
    return AlbertTokenizer.from_pretrained(folder), AlbertTokenizer(vocabulary, model_max_length=128, **flags)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(text=TEXT)
def test_the_default_style_has_the_pieces_offsets_and_text_of_spiece_model(both, text):
    five, ours = both
    assert five.style == "hf_slow"
    found, expected = (tokenizer(text, return_offsets_mapping=True) for tokenizer in both)
    assert dict(found) == dict(expected)
    assert found.tokens() == expected.tokens()
    assert five.decode(found["input_ids"]) == ours.decode(found["input_ids"])
    assert five.decode(found["input_ids"], skip_special_tokens=True) == ours.decode(found["input_ids"], True)


def test_the_vocabulary_in_tokenizer_json_is_that_of_spiece_model_to_the_bit(both, vocabulary):
    found, expected = both[0]._spiece, load_spiece(vocabulary)
    for name in ("pieces", "scores", "types", "unk_id", "model_type", "byte_fallback", "treat_whitespace_as_suffix"):
        assert getattr(found, name) == getattr(expected, name), name
    for name in ("charsmap", "add_dummy_prefix", "remove_extra_whitespaces", "escape_whitespaces"):
        assert getattr(found.normalizer, name) == getattr(expected.normalizer, name), name


def test_user_defined_pieces_are_no_added_tokens(vocabulary, tmp_path):
    """transformers 5 lists ( ) " - . as added tokens, which would take the \u2581 away from the words after them."""
    five = AlbertTokenizer.from_pretrained(write_folder(tmp_path, vocabulary))
    assert sorted(five.added_tokens_decoder) == [0, 1, 2, 3, 4]
    assert five.additional_special_tokens == []
    assert five.encode("a (b)") == AlbertTokenizer(vocabulary).encode("a (b)")
    assert five.decode(five.encode("a (b)"), skip_special_tokens=True) == "a (b)"
    for style in ("hf_slow", "google", "hf_fast"):
        assert "(" not in AlbertTokenizer.from_pretrained(tmp_path, style=style).all_special_tokens


def test_a_tokenizer_json_alone_says_how_letters_are_normalised(vocabulary, tmp_path):
    folder = write_folder(tmp_path, vocabulary, do_lower_case=False, keep_accents=True)
    (folder / "tokenizer_config.json").unlink()
    for tokenizer in (
        AlbertTokenizer.from_pretrained(folder),
        AlbertTokenizer(tokenizer_file=folder / "tokenizer.json"),
        AlbertTokenizerFast.from_pretrained(folder),
    ):
        assert (tokenizer.do_lower_case, tokenizer.keep_accents) == (False, True)
    assert AlbertTokenizer.from_pretrained(folder, do_lower_case=True).do_lower_case


def test_a_class_of_no_architecture_goes_by_tokenizer_json_and_alberts_by_its_settings(vocabulary, tmp_path):
    """As in transformers 5, where only AlbertTokenizer builds the normaliser anew from its settings."""
    folder = write_folder(tmp_path, vocabulary)
    config = folder / "tokenizer_config.json"
    values = json.loads(config.read_text()) | {"do_lower_case": False}
    config.write_text(json.dumps(values))
    assert AlbertTokenizer.from_pretrained(folder).tokenize("A") == AlbertTokenizer(vocabulary, False).tokenize("A")
    config.write_text(json.dumps(values | {"tokenizer_class": "PreTrainedTokenizerFast"}))
    assert AlbertTokenizer.from_pretrained(folder).tokenize("A") == AlbertTokenizer(vocabulary).tokenize("A")


def test_scores_that_transformers_4_lowered_are_restored(vocabulary, tmp_path):
    """Its converter takes 100 from pieces such as `\u25811999,`; SentencePiece must find them, and they are split then."""

    def penalty(content):
        content["model"]["vocab"] = [
            [piece, score - 100 if piece[-1] == "," and piece[-2:-1].isdigit() else score]
            for piece, score in content["model"]["vocab"]
        ]
        content["normalizer"]["normalizers"] += [{"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}]
        content["pre_tokenizer"] = content["pre_tokenizer"]["pretokenizers"][1]

    path = tmp_path / "more.model"
    path.write_bytes(vocabulary.read_bytes() + piece("\u25811999,", -7.25) + piece("1,", -7.5))
    folder = write_folder(tmp_path, path, change=penalty)
    found = AlbertTokenizer.from_pretrained(folder)
    assert found._spiece.scores == load_spiece(path).scores
    text = "In 1999, a1,"
    assert found.tokenize(text) == AlbertTokenizer(path).tokenize(text)
    assert found.encode(text) == AlbertTokenizer(path).encode(text)


def test_bytes_in_a_tokenizer_json_are_bytes(tmp_path):
    path = tmp_path / "spiece.model"
    path.write_bytes(trained("unigram with bytes"))
    five = AlbertTokenizer.from_pretrained(write_folder(tmp_path / "five", path))
    text = "light on (a) \u6f22 1999,"
    assert five(text) == AlbertTokenizer(path, model_max_length=128)(text)
    assert five._spiece.types == AlbertTokenizer(path)._spiece.types

    def turned_off(content):  # as transformers 5 does
        content["model"]["byte_fallback"] = False
        content["decoder"] = METASPACE

    five = AlbertTokenizer.from_pretrained(write_folder(tmp_path / "off", path, change=turned_off))
    assert five(text) == AlbertTokenizer(path, model_max_length=128)(text)
    assert five._spiece == dataclasses.replace(five._spiece, types=AlbertTokenizer(path)._spiece.types)


@pytest.mark.parametrize("name", ["bpe", "char"])
def test_types_of_pieces_are_known_whatever_the_scores_mean(vocabulary, tmp_path, name):
    """transformers 5 runs the pieces of any spiece.model as unigram; BPE's scores are minus the ranks of its merges."""
    path = tmp_path / "spiece.model"
    path.write_bytes(trained(name))
    content = content_of(load_spiece(vocabulary))
    scored = load_spiece(path)
    content["model"] |= {"vocab": [[p, s] for p, s in zip(scored.pieces, scored.scores, strict=True)]}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    assert AlbertTokenizer(tokenizer_file=tmp_path / "tokenizer.json")._spiece.types == scored.types


def test_a_vocabulary_without_a_charsmap(vocabulary, tmp_path):
    path = tmp_path / "spiece.model"
    path.write_bytes(write_spiece(dataclasses.replace(load_spiece(vocabulary), normalizer=NormalizerSpec())))
    five = AlbertTokenizer.from_pretrained(write_folder(tmp_path / "five", path, keep_accents=True))
    ours = AlbertTokenizer(path, keep_accents=True)
    assert five._spiece.normalizer.charsmap == b""
    for text in (SAMPLE, "\u2460 \ufb01 e\u0301 \u200b x  y"):
        assert five.encode(text) == ours.encode(text)
        assert five.encode(text) != AlbertTokenizer(vocabulary).encode(text)


def test_a_folder_of_the_fast_tokenizer_of_transformers_4_has_the_ids_of_spiece_model_too(vocabulary, tmp_path):
    """Its settings list the user-defined pieces as well, as added_tokens_decoder."""
    folder = write_folder(tmp_path, vocabulary, extra_special_tokens={})
    content = json.loads((folder / "tokenizer.json").read_text())
    decoder = {str(token.pop("id")): token for token in content["added_tokens"]}
    config = folder / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"added_tokens_decoder": decoder}))
    four = AlbertTokenizer.from_pretrained(folder)
    assert sorted(four.added_tokens_decoder) == [0, 1, 2, 3, 4]
    assert four.encode(SAMPLE) == AlbertTokenizer(vocabulary).encode(SAMPLE)
    assert AutoTokenizer.from_pretrained(folder).encode(SAMPLE) == four.encode(SAMPLE)


# --- tokens that a user added -------------------------------------------------------------------------------------------


def added(*tokens):
    """A change of tokenizer.json: tokens with new ids, or with those of their pieces."""

    def change(content):
        ids = {piece: i for i, (piece, _) in enumerate(content["model"]["vocab"])}
        for content_, flags in tokens:
            new = max(len(ids), *(token["id"] + 1 for token in content["added_tokens"]))
            index = ids.get(content_, new)
            content["added_tokens"] = [token for token in content["added_tokens"] if token["id"] != index]
            content["added_tokens"] += [{"id": index, "content": content_, **FLAGS, **flags}]

    return change


def test_tokens_that_a_user_added_are_kept(vocabulary, tmp_path):
    tokens = [
        ("foo", {"normalized": True}),
        ("Bar baz", {"normalized": True, "single_word": True}),
        ("<ent>", {"special": True}),
        ("\u2581light", {"normalized": True}),  # a piece that somebody added: with the flag that add_tokens sets
        (")", {"special": True}),  # a user-defined piece that somebody made special
    ]
    folder = write_folder(tmp_path, vocabulary, change=added(*tokens), extra_special_tokens=["<ent>", ")"])
    five = AlbertTokenizer.from_pretrained(folder)
    assert [str(five.added_tokens_decoder[i]) for i in (1000, 1001, 1002)] == ["foo", "Bar baz", "<ent>"]
    assert five.added_tokens_decoder[1001].single_word
    assert five.convert_tokens_to_ids(["foo", ")", "("]) == [1000, 6, 5]
    assert set(five.added_tokens_encoder) >= {"foo", "Bar baz", "<ent>", "\u2581light", ")"}
    assert "(" not in five.added_tokens_encoder
    assert five.additional_special_tokens == ["<ent>", ")"]
    assert five.tokenize("xfoo <ent>") == ["\u2581", "x", "foo", "<ent>"]
    assert five.tokenize("a ) b")[-1] == "\u2581b"


def test_tokens_with_names_of_their_own_and_lists_of_tokens(vocabulary, tmp_path):
    change = added(("<img>", {"special": True}), ("<e1>", {"special": True}))
    for settings_, names, more in (
        ({"model_specific_special_tokens": {"img_token": "<img>"}}, {"img_token": "<img>"}, []),
        ({"extra_special_tokens": {"img_token": "<img>"}}, {"img_token": "<img>"}, []),
        ({"extra_special_tokens": ["(", "<e1>", "<img>", "[CLS]"]}, {}, ["<e1>", "<img>"]),
        ({"extra_special_tokens": [{"__type": "AddedToken", "content": "<e1>", "special": True}]}, {}, ["<e1>"]),
        ({"extra_special_tokens": ["<img>"], "additional_special_tokens": ["<e1>"]}, {}, ["<e1>", "<img>"]),
    ):
        five = AlbertTokenizer.from_pretrained(write_folder(tmp_path, vocabulary, change=change, **settings_))
        assert five.additional_special_tokens == more
        assert names.items() <= five.special_tokens_map.items()
        assert five.tokenize("a<img>b") == ["\u2581a", "<img>", "\u2581b"]
        assert five.convert_tokens_to_ids(["<img>", "<e1>"]) == [1000, 1001]
    assert AlbertTokenizer(vocabulary, extra_special_tokens=["<e1>"]).additional_special_tokens == ["<e1>"]


def test_a_list_of_transformers_5_beside_a_spiece_model(vocabulary, tmp_path):
    """Somebody put the vocabulary into the folder: its pieces are no added tokens either."""
    folder = write_folder(tmp_path, vocabulary)
    (folder / "spiece.model").write_bytes(vocabulary.read_bytes())
    for _ in range(2):
        assert AlbertTokenizer.from_pretrained(folder).encode(SAMPLE) == AlbertTokenizer(vocabulary).encode(SAMPLE)
        (folder / "tokenizer.json").unlink(missing_ok=True)


def test_changed_special_tokens(vocabulary, tmp_path):
    change = added(("<mask>", {"special": True, "lstrip": True}), ("[PAD]", {"special": True}))
    five = AlbertTokenizer.from_pretrained(
        write_folder(tmp_path, vocabulary, change=change, mask_token="<mask>", pad_token="[PAD]")
    )
    assert (five.mask_token_id, five.pad_token_id) == (1000, 1001)
    assert five("a <mask>", padding="max_length", max_length=6)["input_ids"][2:] == [1000, 3, 1001, 1001]


def test_the_class_itself_reads_added_tokens_too(vocabulary, tmp_path):
    folder = write_folder(tmp_path, vocabulary, change=added(("foo", {"normalized": True})))
    five = AlbertTokenizer(tokenizer_file=folder / "tokenizer.json")
    assert (five.convert_tokens_to_ids("foo"), len(five)) == (1000, 1001)
    assert five.encode(SAMPLE) == AlbertTokenizer(vocabulary).encode(SAMPLE)
    assert pickle.loads(pickle.dumps(five)).encode(SAMPLE) == five.encode(SAMPLE)


# --- saved again --------------------------------------------------------------------------------------------------------


def test_saved_it_is_read_here_and_tokenizer_json_is_as_it_was(vocabulary, tmp_path):
    folder = write_folder(tmp_path / "five", vocabulary, change=added(("foo", {"normalized": True})))
    five = AlbertTokenizer.from_pretrained(folder)
    paths = five.save_pretrained(tmp_path / "again")
    assert {path.rpartition("/")[2] for path in paths} >= {"spiece.model", "tokenizer.json", "tokenizer_config.json"}
    for name in ("tokenizer.json", "spiece.model", None):
        again = AlbertTokenizer.from_pretrained(tmp_path / "again")
        assert again.added_tokens_decoder == five.added_tokens_decoder
        for text in (SAMPLE, "xfoo <ent>"):
            assert dict(again(text, return_offsets_mapping=True)) == dict(five(text, return_offsets_mapping=True))
        if name == "tokenizer.json":
            before, after = (json.loads((place / name).read_text()) for place in (folder, tmp_path / "again"))
            assert after == before
        if name is not None:  # each of the two is enough
            (tmp_path / "again" / name).rename(tmp_path / name)
            if name == "spiece.model":
                (tmp_path / "again" / "spiece.model").write_bytes((tmp_path / "spiece.model").read_bytes())


@pytest.mark.parity
def test_saved_it_is_read_by_transformers_4(transformers, vocabulary, tmp_path):
    change = added(("foo", {"normalized": True}), ("<ent>", {"special": True}))
    five = AlbertTokenizer.from_pretrained(
        write_folder(tmp_path / "five", vocabulary, change=change, extra_special_tokens=["<ent>"])
    )
    five.save_pretrained(tmp_path / "again")
    slow = transformers.AlbertTokenizer.from_pretrained(tmp_path / "again")
    fast = transformers.AlbertTokenizerFast.from_pretrained(tmp_path / "again")
    ours = AlbertTokenizerFast.from_pretrained(tmp_path / "again")
    for text in (SAMPLE, "xfoo <ent> (a)"):
        assert slow.encode(text) == five.encode(text)
        assert fast.encode(text) == ours.encode(text)
    assert slow.additional_special_tokens == fast.additional_special_tokens == ["<ent>"]


def test_saved_with_other_settings_tokenizer_json_says_so(vocabulary, tmp_path):
    folder = write_folder(tmp_path / "five", vocabulary)
    AlbertTokenizer.from_pretrained(
        folder, do_lower_case=False, keep_accents=True, additional_special_tokens=["<new>"]
    ).save_pretrained(tmp_path / "again")
    content = json.loads((tmp_path / "again" / "tokenizer.json").read_text())
    assert [step["type"] for step in content["normalizer"]["normalizers"]] == ["Replace", "Replace", "Precompiled"]
    assert (content["added_tokens"][-1]["content"], content["added_tokens"][-1]["id"]) == ("<new>", 1000)


# --- what is not ALBERT's -----------------------------------------------------------------------------------------------


def _normalizer(*steps):
    def change(content):
        content["normalizer"] = {"type": "Sequence", "normalizers": list(steps)} if steps else None

    return change


def _pre_tokenizer(value):
    def change(content):
        content["pre_tokenizer"] = value

    return change


FOREIGN = {
    "none": _normalizer(),
    "as T5's": _normalizer({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "\u2581"}),
    "lower case alone": _normalizer({"type": "Lowercase"}),
    "unknown step": _normalizer({"type": "Replace", "pattern": {"String": "``"}, "content": '"'}, {"type": "NFC"}),
    "no prefix": _pre_tokenizer(METASPACE | {"prepend_scheme": "never"}),
    "another letter": _pre_tokenizer(METASPACE | {"replacement": "_"}),
    "other words": _pre_tokenizer({"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}, METASPACE]}),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_rules_that_are_not_alberts_are_run_by_the_library_and_that_is_said_once(vocabulary, tmp_path, caplog, name):
    pytest.importorskip("tokenizers")
    folder = write_folder(tmp_path, vocabulary, change=FOREIGN[name])
    with caplog.at_level(logging.WARNING, "albert_np"):
        found = AlbertTokenizer.from_pretrained(folder)
    (message,) = [record.getMessage() for record in caplog.records]
    assert "is not ALBERT's" in message
    assert "only style='hf_fast' can run it, so that is the style it has now" in message
    assert found.style == "hf_fast"
    fast = AlbertTokenizer.from_pretrained(folder, style="hf_fast")
    assert found.encode(SAMPLE) == fast.encode(SAMPLE)
    for style in ("hf_slow", "google"):
        with pytest.raises(ValueError, match=r"is not ALBERT's.*only style='hf_fast' can run it"):
            AlbertTokenizer.from_pretrained(folder, style=style)


def test_older_files_and_other_forms_of_the_same_rules_are_alberts(vocabulary, tmp_path):
    def older(content):
        metaspace = {"type": "Metaspace", "replacement": "\u2581", "add_prefix_space": True}
        content["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace]}
        content["decoder"] = metaspace
        content["post_processor"] = {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}
        del content["model"]["byte_fallback"], content["model"]["type"]

    found = AlbertTokenizer.from_pretrained(write_folder(tmp_path, vocabulary, change=older))
    assert found.style == "hf_slow"
    assert found.encode(SAMPLE) == AlbertTokenizer(vocabulary).encode(SAMPLE)


def _change(*where, value):
    def change(content):
        for name in where[:-1]:
            content = content[name]
        content[where[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_change("post_processor", value=None), "post_processor of tokenizer.json makes other rows"),
        (_change("post_processor", "single", value=[]), "post_processor of tokenizer.json makes other rows"),
        (_change("post_processor", "pair", 3, value={}), "post_processor of tokenizer.json makes other rows"),
        (_change("model", value={"type": "BPE", "vocab": {}, "merges": []}), "is 'BPE'; ALBERT's is Unigram"),
        (_change("model", value={"type": "WordPiece"}), "the vocab of .* must map tokens to ids"),
        (_change("model", value=None), "is None; ALBERT's is Unigram"),
        (_change("model", "vocab", value={}), "must be a list of pieces with their scores"),
        (_change("model", "vocab", 7, value=["x"]), r"entry 7 of the vocab of .* must be \[piece, score\]"),
        (_change("model", "vocab", 7, value=["x", "y"]), r"entry 7 of the vocab of .* must be \[piece, score\]"),
        (_change("model", "vocab", 7, value=["x", float("nan")]), "entry 7 .* must be a log probability"),
        (_change("model", "vocab", 7, value=["x", 1e300]), "entry 7 .* must be a log probability"),
        (_change("model", "vocab", 7, value=["", -1.0]), "piece 7 is empty"),
        (_change("model", "vocab", 7, value=["x" * 5000, -1.0]), "piece 7 has 5000 bytes"),
        (_change("model", "vocab", 7, value=["(", -1.0]), "piece 7 repeats piece 5"),
        (_change("model", "unk_id", value=None), "unk_id of .* must be the id of a piece"),
        (_change("model", "unk_id", value=1000), "unk_id of .* must be the id of a piece"),
        (_change("added_tokens", value=None), "added_tokens of .* must be a list"),
        (_change("added_tokens", 0, "id", value="x"), "a token id is a whole number"),
        (_change("added_tokens", 0, "content", value=3), "content must be a str"),
    ],
)
def test_a_damaged_tokenizer_json_is_refused_in_one_line(vocabulary, tmp_path, change, message):
    folder = write_folder(tmp_path, vocabulary, change=change)
    with pytest.raises(ValueError, match=message) as caught:
        AlbertTokenizer.from_pretrained(folder)
    assert "\n" not in str(caught.value)
