"""Style "hf_fast": the tokenizer.json built from spiece.model, and rows equal to those the `tokenizers` library makes."""

import builtins
import json
import logging
import pickle

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support import needs
from support.texts import TEXT
from support.vocabularies import trained

from albert_np import AlbertTokenizer, AlbertTokenizerFast
from albert_np.tokenization import styles
from albert_np.tokenization.spiece import load_spiece
from albert_np.tokenization.tokenizer_json import build_tokenizer_json, read_tokenizer_json

tokenizers = needs.module("test", "tokenizers")
MANY = settings(max_examples=250, deadline=None, derandomize=True)


@pytest.fixture(scope="module")
def fast(tiny_dir):
    return AlbertTokenizerFast.from_pretrained(tiny_dir)


@pytest.fixture(scope="module")
def library(fast):
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(fast.to_json()))
    return lambda: tokenizer  # a failing example would print the whole vocabulary otherwise


def test_what_is_built_from_spiece_model_is_the_tokenizer_json_of_the_real_vocabulary(fixtures_dir):
    folder = fixtures_dir / "tokenizer"
    named = AlbertTokenizer.from_pretrained(folder)._vocab.named
    built = build_tokenizer_json(load_spiece(folder / "spiece.model"), named, do_lower_case=True, keep_accents=False)
    stored = json.loads((folder / "tokenizer.json").read_text())
    ours, theirs = built["model"].pop("vocab"), stored["model"].pop("vocab")
    assert built == stored
    assert [piece for piece, _ in ours] == [piece for piece, _ in theirs]
    np.testing.assert_array_equal(np.float32([s for _, s in ours]), np.float32([s for _, s in theirs]))


def test_only_the_five_special_tokens_are_added_tokens(fast):
    """transformers' own conversion adds ( ) " - . – £ € too, and so takes the ▁ away from words after them."""
    assert sorted(fast.added_tokens_decoder) == [0, 1, 2, 3, 4]
    assert fast.tokenize("(a) -a")[-1] == "a"


def test_a_conversion_that_differs_from_transformers_is_said_once_and_only_where_there_is_one(
    tiny_dir, tmp_path, caplog
):
    styles._say_how_it_is_made.cache_clear()  # as in a new process
    with caplog.at_level(logging.WARNING, "albert_np"):
        AlbertTokenizer.from_pretrained(tiny_dir)
        fast = AlbertTokenizerFast(tiny_dir / "spiece.model")
        AlbertTokenizerFast.from_pretrained(tiny_dir)
        AlbertTokenizer(tiny_dir / "spiece.model", style="hf_fast")
    (message,) = [record.getMessage() for record in caplog.records]
    assert "makes one from spiece.model" in message
    fast.save_pretrained(tmp_path)
    styles._say_how_it_is_made.cache_clear()
    caplog.clear()
    AlbertTokenizerFast.from_pretrained(tmp_path)
    assert not caplog.records


@pytest.mark.slow  # needs protobuf, which nothing else does
@pytest.mark.parity
def test_the_conversion_of_transformers_differs_as_the_warning_says(transformers, tiny_dir):
    needs.module("parity", "google.protobuf")
    theirs = transformers.AlbertTokenizerFast(str(tiny_dir / "spiece.model"))
    fast, slow = AlbertTokenizerFast.from_pretrained(tiny_dir), AlbertTokenizer.from_pretrained(tiny_dir)
    for text in ("a (b) c", "a-b", 'say "x" now', "e.g. x"):
        assert fast.tokenize(text) == slow.tokenize(text) != theirs.tokenize(text)
    assert fast.tokenize("light on") == slow.tokenize("light on") == theirs.tokenize("light on")


@MANY
@given(first=TEXT, second=st.none() | TEXT)
def test_rows_are_those_of_the_library(fast, library, first, second):
    ours = fast(first, second, return_offsets_mapping=True, return_special_tokens_mask=True)
    theirs = library().encode(first, second)
    assert ours["input_ids"] == theirs.ids
    assert ours["token_type_ids"] == theirs.type_ids
    assert ours["offset_mapping"] == theirs.offsets
    assert ours["special_tokens_mask"] == theirs.special_tokens_mask
    assert (ours.tokens(), ours.sequence_ids(), ours.word_ids()) == (
        theirs.tokens,
        theirs.sequence_ids,
        theirs.word_ids,
    )


@settings(MANY, max_examples=400)
@given(
    first=st.text("ab c.", max_size=30),
    second=st.none() | st.text("ab c.", min_size=1, max_size=30),
    strategy=st.sampled_from(["longest_first", "only_first", "only_second"]),
    max_length=st.integers(4, 16),
    stride=st.integers(0, 4),
    side=st.sampled_from(["left", "right"]),
    style=st.sampled_from(["hf_fast", "hf_slow"]),
)
def test_windows_are_those_of_the_library(tiny_dir, library, first, second, strategy, max_length, stride, side, style):
    """Both styles, since plain text is the same pieces in both: ids, spans, order and padding of every window."""
    assume(stride < max_length - (2 if second is None else 3))  # the library refuses the setting itself
    tokenizer = _cached(tiny_dir, style)
    tokenizer.truncation_side = side
    options = {"truncation": strategy, "max_length": max_length, "stride": stride, "padding": True}

    def call():
        return tokenizer(first, second, return_overflowing_tokens=True, return_offsets_mapping=True, **options)

    try:
        ours = call()
    except ValueError as error:
        if "stride" in str(error):  # the library panics there, and says so at length
            return
        ours = None
    library().enable_truncation(max_length, stride=stride, strategy=strategy, direction=side)
    try:
        encoding = library().encode(first, second)
    except Exception as error:
        refused = str(error)
    else:
        refused = ""
    finally:
        library().no_truncation()
    if refused:
        assert "Truncation error" in refused
        assert ours is None
        return
    rows = [encoding, *encoding.overflowing]
    if ours is None:  # a text left with no room at all: see windows()
        assert any(len(row.ids) > max_length for row in rows)
        return
    width = max(len(row.ids) for row in rows)
    assert ours["input_ids"] == [row.ids + [0] * (width - len(row.ids)) for row in rows]
    assert ours["offset_mapping"] == [row.offsets + [(0, 0)] * (width - len(row.ids)) for row in rows]
    assert ours["token_type_ids"] == [row.type_ids + [0] * (width - len(row.ids)) for row in rows]
    assert ours["overflow_to_sample_mapping"] == [0] * len(rows)


CACHE = {}


def _cached(folder, style):
    if style not in CACHE:
        CACHE[style] = AlbertTokenizer.from_pretrained(folder, style=style)
    return CACHE[style]


def test_split_words_have_word_ids_and_spans_in_their_words(fast, library):
    words = ["Light,", "1999,", "on"]
    theirs = library().encode(words, is_pretokenized=True)
    ours = fast(words, is_split_into_words=True, return_offsets_mapping=True)
    assert (ours["input_ids"], ours["offset_mapping"], ours.word_ids()) == (theirs.ids, theirs.offsets, theirs.word_ids)


def test_newline_and_extra_spaces_and_special_tokens_slow_and_fast(fast, tiny_dir):
    """transformers#11358: spaces are the same in both; a special token in small letters is one to the slow style only."""
    slow = AlbertTokenizer.from_pretrained(tiny_dir)
    assert slow("a\n\n light \t on")["input_ids"] == fast("a\n\n light \t on")["input_ids"]
    assert slow("<PAD>")["input_ids"] == [2, 0, 3]
    assert fast("<PAD>")["input_ids"] != [2, 0, 3]


def test_decoding_is_the_librarys(fast, library):
    ids = fast("A [MASK] light , it 's \u6f22 .")["input_ids"]
    assert fast.decode(ids, clean_up_tokenization_spaces=False) == library().decode(ids, skip_special_tokens=False)
    assert fast.decode(ids, True, clean_up_tokenization_spaces=False) == library().decode(ids)
    assert fast.convert_tokens_to_string(["\u2581a", "b"]) == "ab"


def test_saved_and_pickled_tokenizers_are_the_same(fast, tmp_path):
    paths = fast.save_pretrained(tmp_path)
    assert {path.rsplit("/", 1)[1] for path in paths} == {
        "tokenizer_config.json",
        "special_tokens_map.json",
        "tokenizer.json",
        "spiece.model",
    }
    text = "A [MASK], 1999, (x)"
    for again in (AlbertTokenizerFast.from_pretrained(tmp_path), pickle.loads(pickle.dumps(fast))):
        assert dict(again(text)) == dict(fast(text))
        assert again.get_vocab() == fast.get_vocab()
    (tmp_path / "spiece.model").unlink()
    alone = AlbertTokenizerFast.from_pretrained(tmp_path)
    assert dict(alone(text)) == dict(fast(text))
    with pytest.raises(ValueError, match=r"no spiece\.model to save"):
        alone.save_vocabulary(tmp_path)


@pytest.mark.parity
def test_the_fast_tokenizer_of_transformers_does_the_same(transformers, fast, tmp_path):
    fast.save_pretrained(tmp_path)
    theirs = transformers.AlbertTokenizerFast.from_pretrained(tmp_path)
    assert theirs.backend_tokenizer.to_str() == tokenizers.Tokenizer.from_str(json.dumps(fast.to_json())).to_str()
    texts = ["A [MASK], 1999, (x)", "light\non", "``a'' \u00bd"]
    options = {"padding": True, "truncation": True, "max_length": 9, "stride": 2, "return_offsets_mapping": True}
    for overflow in (False, True):
        expected = theirs(texts, return_overflowing_tokens=overflow, return_length=True, **options)
        assert dict(fast(texts, return_overflowing_tokens=overflow, return_length=True, **options)) == dict(expected)
    ids = fast(texts[0])["input_ids"]
    assert fast.decode(ids) == theirs.decode(ids)


def test_without_the_library_the_refusal_names_the_extra(tiny_dir, monkeypatch):
    real_import = builtins.__import__

    def missing(name, *args, **kwargs):
        if name == "tokenizers":
            raise ImportError("No module named 'tokenizers'")
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ValueError, match=r'pip install "albert-np\[fast\]"'):
        AlbertTokenizer.from_pretrained(tiny_dir, style="hf_fast")


def test_bytes_of_a_spiece_model_are_bytes_of_the_library(tmp_path):
    path = tmp_path / "spiece.model"
    path.write_bytes(trained("unigram with bytes"))
    fast, slow = AlbertTokenizer(path, style="hf_fast"), AlbertTokenizer(path)
    text = "light on (a) \u6f22 \U0001f600"
    found = fast(text, return_offsets_mapping=True)
    assert dict(found) == dict(slow(text, return_offsets_mapping=True))
    assert fast.decode(found["input_ids"], True) == slow.decode(found["input_ids"], True) == text


@pytest.mark.parametrize("name", ["bpe", "char", "word"])
def test_vocabularies_of_other_types_are_called_what_they_are(tmp_path, name):
    path = tmp_path / "spiece.model"
    path.write_bytes(trained(name))
    with pytest.raises(ValueError, match=rf"this one is of type (?i:{name}); use style='hf_slow'"):
        AlbertTokenizer(path, style="hf_fast")


def damaged(fast, change):
    content = fast.to_json()
    change(content)
    return content


def _wordpiece(content):
    content["model"] = {"type": "WordPiece", "vocab": {}, "unk_token": "x"}


def _charsmap(content):
    content["normalizer"]["normalizers"][-1]["precompiled_charsmap"] = "////AAAA"


def _not_base64(content):
    content["normalizer"]["normalizers"][-1]["precompiled_charsmap"] = "?"


def _template(content):
    content["post_processor"] = None


def _unknown_part(content):
    content["pre_tokenizer"] = {"type": "Imagined"}


def _repeated(content):
    content["model"]["vocab"][7] = content["model"]["vocab"][8]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_wordpiece, "'WordPiece'; ALBERT's is Unigram"),
        (_charsmap, "precompiled_charsmap of .* claims a trie|has only"),
        (_not_base64, "is not base64"),
        (_template, "post_processor of tokenizer.json"),
        (_unknown_part, "cannot read this tokenizer.json"),
        (_repeated, "repeated pieces"),
    ],
)
def test_a_tokenizer_json_that_is_not_alberts_is_refused(fast, tmp_path, change, message):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(damaged(fast, change)))
    with pytest.raises(ValueError, match=message):
        AlbertTokenizerFast(tokenizer_file=path)


def test_a_tokenizer_json_that_is_no_json_is_refused(tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ValueError, match="Git-LFS pointer"):
        read_tokenizer_json(path)
    path.write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"nested too deeply|not JSON"):
        read_tokenizer_json(path)


def test_the_class_has_one_style_and_needs_a_file():
    with pytest.raises(ValueError, match="use AlbertTokenizer"):
        AlbertTokenizerFast(style="hf_slow")
    with pytest.raises(ValueError, match="needs vocab_file"):
        AlbertTokenizerFast()
