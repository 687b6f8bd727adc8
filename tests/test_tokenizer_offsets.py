"""Spans of characters, which transformers' slow tokenizer does not have: compared with the `tokenizers` library wherever
its pieces are the same, and held to what any spans must satisfy everywhere.
"""

import json
import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import needs
from support.texts import TEXT

from albert_np import AlbertTokenizer
from albert_np.tokenization.alignment import Preprocessing, preprocess, preprocess_aligned

tokenizers = needs.module("test", "tokenizers")
MANY = settings(max_examples=200, deadline=None, derandomize=True)


@pytest.fixture(scope="module")
def tok(tiny_dir):
    return AlbertTokenizer.from_pretrained(tiny_dir)


@pytest.fixture(scope="module")
def library(tiny_dir):
    """The library itself over the tests' vocabulary."""
    fast = AlbertTokenizer.from_pretrained(tiny_dir, style="hf_fast")
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(fast.to_json()))
    return lambda: tokenizer  # a failing example would print the whole vocabulary otherwise


def removed_by_the_charsmap(char):
    """Controls and the like. The library loses count where a text begins with one: "\\x1fhello" gets the span (0, 5)."""
    return unicodedata.category(char)[0] == "C" or unicodedata.category(char) in ("Mn", "Mc", "Me")


def pieces_of(encoding):
    """The library writes [MASK] with the space it took; otherwise pieces as they are."""
    return ["[MASK]" if token.strip() == "[MASK]" else token for token in encoding.tokens]


@MANY
@given(text=TEXT)
def test_spans_are_those_of_the_tokenizers_library_where_its_pieces_are(tok, library, text):
    ours, theirs = tok(text, return_offsets_mapping=True), library().encode(text)
    if ours.tokens() == pieces_of(theirs) and not any(map(removed_by_the_charsmap, text)):
        assert ours["offset_mapping"] == theirs.offsets


def test_spans_are_compared_often_enough(tok, library):
    """The test above says nothing about texts that the two cut differently; on plain ones they must agree."""
    texts = (
        "Light, ``half'' of [MASK] \u00bd caf\u00e9 (x) - y.",
        "'ll a  [MASK][SEP] b",
        "\ufdfa \uff21\ufb01 \u0130x",
        "q\u0323\u0307 r",
    )
    for text in texts:
        ours, theirs = tok(text, return_offsets_mapping=True), library().encode(text)
        assert ours.tokens() == pieces_of(theirs)
        assert ours["offset_mapping"] == theirs.offsets


def test_spans_after_a_removed_character_are_right_where_the_library_is_not(tok, library):
    ours, theirs = tok("\x1fLight on", return_offsets_mapping=True), library().encode("\x1fLight on")
    assert ours.tokens() == pieces_of(theirs)
    assert ours["offset_mapping"][1][0] == 1
    assert theirs.offsets[1][0] == 0


@MANY
@given(text=TEXT, style=st.sampled_from(["hf_slow", "google"]), lower=st.booleans(), space=st.booleans())
def test_spans_lie_in_the_text_in_order_and_do_not_change_the_pieces(tiny_dir, text, style, lower, space):
    tokenizer = AlbertTokenizer(
        tiny_dir / "spiece.model", do_lower_case=lower, remove_space=space or style == "google", style=style
    )
    encoding = tokenizer(text, return_offsets_mapping=True)
    assert encoding["input_ids"] == tokenizer(text)["input_ids"]
    spans = encoding["offset_mapping"][1:-1]
    assert all(0 <= a < b <= len(text) for a, b in spans)
    assert all(x[0] <= y[0] and x[1] <= y[1] for x, y in pairwise(spans))


@MANY
@given(text=st.text("abc XYZ,.\n019", max_size=40))
def test_in_plain_text_a_span_is_its_piece(tok, text):
    """Where every character stays one character, the text of a span, lowered, is the piece without its ▁."""
    encoding = tok(text, return_offsets_mapping=True, add_special_tokens=False)
    for piece, (start, end) in zip(encoding.tokens(), encoding["offset_mapping"], strict=True):
        if piece != "\u2581":
            assert text[start:end].lower() == piece.replace("\u2581", "")
    covered = {i for start, end in encoding["offset_mapping"] for i in range(start, end)}
    assert covered == {i for i, char in enumerate(text) if not char.isspace()}


@MANY
@given(text=TEXT, steps=st.builds(Preprocessing, st.booleans(), st.booleans(), st.booleans(), st.booleans()))
def test_the_aligned_preprocessing_gives_the_same_text(text, steps):
    import numpy as np

    aligned, source = preprocess_aligned(text, np.arange(len(text)), steps)
    assert aligned == preprocess(text, steps)
    assert len(source) == len(aligned)
    assert (np.diff(source) >= 0).all()
    assert all(0 <= i < len(text) for i in source)


@pytest.mark.parity
def test_preprocessing_is_transformers(transformers, tiny_dir):
    """parity of the unaligned form; the texts are those of tests/goldens"""
    theirs = transformers.AlbertTokenizer.from_pretrained(tiny_dir)
    for text in ("  \u00c9 ``a''\n b", "a\U0001d6ba", "\u0130 \ufb01\u3000\u00bd", ""):
        assert preprocess(text, Preprocessing()) == theirs.preprocess_text(text)


def test_spans_survive_pairs_truncation_and_padding(tok):
    first, second = "the light, 1999, on", "In the house"
    spans = [tok(t, return_offsets_mapping=True, add_special_tokens=False)["offset_mapping"] for t in (first, second)]
    pair = tok(first, second, return_offsets_mapping=True)["offset_mapping"]
    assert pair == [(0, 0), *spans[0], (0, 0), *spans[1], (0, 0)]
    cut = tok(first, return_offsets_mapping=True, truncation=True, max_length=5, padding="max_length")["offset_mapping"]
    assert cut == [(0, 0), *spans[0][:3], (0, 0)]
    padded = tok(first, return_offsets_mapping=True, padding="max_length", max_length=40, padding_side="left")
    assert padded["offset_mapping"] == [*[(0, 0)] * (40 - len(spans[0]) - 2), (0, 0), *spans[0], (0, 0)]


def test_a_mask_claims_the_space_it_takes(tok):
    """As in the `tokenizers` library: text[start:end] of [MASK] has the space on its left in it."""
    text = "on \t [MASK] off"
    encoding = tok(text, return_offsets_mapping=True)
    start, end = encoding["offset_mapping"][encoding["input_ids"].index(4)]
    assert text[start:end] == " \t [MASK]"
