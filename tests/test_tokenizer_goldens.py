"""Stored expectations: three styles on hard texts, and what others have published for ALBERT's real vocabulary.

The expectations of tokenizer_*.json come from three independent programs; tools/make_tokenizer_goldens.py says which.
"""

import json
from pathlib import Path

import pytest
from support import needs

from albert_np import AlbertTokenizer

GOLDENS = Path(__file__).resolve().parent / "goldens"
TINY = json.loads((GOLDENS / "tokenizer_tiny.json").read_text())["cases"]
REAL = json.loads((GOLDENS / "tokenizer_real.json").read_text())["cases"]
STYLES = ("hf_slow", "hf_fast", "google")


@pytest.fixture(scope="module", params=STYLES)
def tiny(request, tiny_dir):
    if request.param == "hf_fast":
        needs.module("test", "tokenizers")
    return AlbertTokenizer.from_pretrained(tiny_dir, style=request.param)


@pytest.fixture(scope="module", params=STYLES)
def real(request, fixtures_dir):
    if request.param == "hf_fast":
        needs.module("test", "tokenizers")
    return AlbertTokenizer.from_pretrained(fixtures_dir / "tokenizer", style=request.param)


def check(tokenizer, case):
    expected = case[tokenizer.style]
    encoding = tokenizer(case["text"], return_offsets_mapping=True)
    assert encoding["input_ids"] == expected["ids"]
    assert tokenizer(case["text"])["input_ids"] == expected["ids"]
    if "pieces" in expected:
        assert tokenizer.tokenize(case["text"]) == expected["pieces"]
        assert encoding.tokens()[1:-1] == expected["pieces"]
    if "decoded" in expected:
        decoded = tokenizer.decode(expected["ids"], clean_up_tokenization_spaces=tokenizer.style == "hf_slow")
        assert decoded == expected["decoded"]
    if "offsets" in expected:
        assert encoding["offset_mapping"] == list(map(tuple, expected["offsets"]))


@pytest.mark.parametrize("name", TINY)
def test_tiny_vocabulary(tiny, name):
    check(tiny, TINY[name])


@pytest.mark.parametrize("name", REAL)
def test_real_vocabulary(real, name):
    check(real, REAL[name])


def test_the_styles_differ_where_they_should():
    """Goldens in which every style agreed would test one style three times."""

    def differing(a, b):
        return {name for name, case in REAL.items() if case[a]["ids"] != case[b]["ids"]}

    assert differing("hf_slow", "hf_fast") == {"digit_comma", "odd_digits_and_comma", "special_in_text"}
    assert differing("hf_slow", "google") == {"quotes", "mask", "special_in_text", "punctuation"}


def test_published_short_strings(fixtures_dir):
    """29 strings of transformers.js. The text of an unknown piece is the fast tokenizer's there, without U+FE0F."""
    cases = json.loads((fixtures_dir / "tokenizer" / "goldens_short_strings.json").read_text())
    tokenizer = AlbertTokenizer.from_pretrained(fixtures_dir / "tokenizer")
    assert len(cases) == 29
    for case in cases:
        assert tokenizer(case["text"])["input_ids"] == case["ids"], case["name"]
        known = [i for i, index in enumerate(case["ids"][1:-1]) if index != 1]
        pieces = tokenizer.tokenize(case["text"])
        assert [pieces[i] for i in known] == [case["tokens"][i] for i in known], case["name"]


def test_published_short_strings_decode_in_style_hf_fast(fixtures_dir):
    needs.module("test", "tokenizers")
    cases = json.loads((fixtures_dir / "tokenizer" / "goldens_short_strings.json").read_text())
    tokenizer = AlbertTokenizer.from_pretrained(fixtures_dir / "tokenizer", style="hf_fast")
    assert [tokenizer.decode(case["ids"]) for case in cases] == [case["decoded"] for case in cases]


def test_published_long_texts(fixtures_dir):
    """The three texts of Hugging Face's integration test."""
    cases = json.loads((fixtures_dir / "tokenizer" / "goldens_long_texts.json").read_text())
    tokenizer = AlbertTokenizer.from_pretrained(fixtures_dir / "tokenizer")
    assert [tokenizer(case["text"])["input_ids"] for case in cases] == [case["ids"] for case in cases]
    padded = tokenizer([case["text"] for case in cases], padding=True)
    width = max(len(case["ids"]) for case in cases)
    assert padded["input_ids"] == [case["ids"] + [0] * (width - len(case["ids"])) for case in cases]
    assert [sum(mask) for mask in padded["attention_mask"]] == [len(case["ids"]) for case in cases]
