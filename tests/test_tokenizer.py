"""AlbertTokenizer on the tests' vocabulary (and ALBERT's own where it is at hand): the surface people call.

Which ids are right is settled in test_tokenizer_goldens.py and, live, in test_tokenizer_parity.py; the literals here are
of the real vocabulary, and each regression test is named after the question people asked.
"""

import pickle
import unicodedata
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import TINY_MODEL
from support.damaged_vocabularies import piece

from albert_np import AlbertTokenizer
from albert_np.tokenization.alignment import _SPACES
from albert_np.tokenization.batch import BatchEncoding
from albert_np.tokenization.lengths import kept_lengths, window_lengths, windows


@pytest.fixture(scope="module")
def tok(tiny_dir):
    return AlbertTokenizer.from_pretrained(tiny_dir)


@pytest.fixture(scope="module")
def real(fixtures_dir):
    return AlbertTokenizer.from_pretrained(fixtures_dir / "tokenizer")


def vocabulary(path, *pieces):
    """A spiece.model of the five special pieces and the given (piece, score) pairs."""
    special = [piece(p, 0.0, 2 if p == "<unk>" else 3) for p in ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]")]
    path.write_bytes(b"".join([*special, *(piece(p, score) for p, score in pieces)]))
    return path


# --------------------------------------------------------------------------------------------- what people have asked


def test_digit_comma_rule(real):
    """google-research/albert#249, transformers#13999: a year before a comma is two pieces, as in pre-training."""
    assert real.tokenize("In 1999, it 9,9 x9, 1,234") == [
        "\u2581in",
        "\u25811999",
        ",",
        "\u2581it",
        "\u25819",
        ",",
        "9",
        "\u2581x",
        "9",
        ",",
        "\u25811",
        ",",
        "234",
    ]
    pieces = real.convert_ids_to_tokens(list(range(30_000)))
    commas = [i for i, p in enumerate(pieces) if p[-1] == "," and p[-2:-1].isdigit()]
    assert len(commas) == 141
    produced = {i for index in commas for i in real(pieces[index].replace("\u2581", " "))["input_ids"]}
    assert not produced & set(commas)


def test_digit_comma_rule_on_a_custom_vocabulary_differs_from_googles(tmp_path):
    """Where a piece "9," has no ▁, Google's Python 3 code compares str with bytes and leaves a ▁ that transformers drops."""
    path = vocabulary(
        tmp_path / "spiece.model",
        ("\u2581x", -1.0),
        ("9,", -1.0),
        ("9", -3.0),
        ("\u25819", -3.0),
        (",", -4.0),
        ("\u2581", -4.0),
    )
    assert AlbertTokenizer(path).tokenize("x9,") == ["\u2581x", "9", ","]
    assert AlbertTokenizer(path, style="google").tokenize("x9,") == ["\u2581x", "\u25819", ","]
    only_space = vocabulary(
        tmp_path / "other.model", ("\u2581x", -1.0), ("9,", -1.0), ("9", -3.0), ("\u2581", -4.0), (",", -4.0)
    )
    assert AlbertTokenizer(only_space).tokenize("x9,") == ["\u2581x", "9", ","]
    assert AlbertTokenizer(only_space, style="google").tokenize("x9,") == ["\u2581x", "\u2581", "9", ","]
    spans = AlbertTokenizer(path)("x9,", return_offsets_mapping=True)["offset_mapping"]
    assert spans == [(0, 0), (0, 1), (1, 2), (2, 3), (0, 0)]


def test_keep_accents_do_lower_case_and_nfkd(tiny_dir):
    """FARM#215, tokenizers#413, transformers#2742."""

    def pieces(text, **options):
        return (
            "".join(AlbertTokenizer.from_pretrained(tiny_dir, **options).tokenize(text)).replace("\u2581", " ").strip()
        )

    assert pieces("\u00c9te\u0301") == "ete"
    assert pieces("\u00c9te\u0301", do_lower_case=False) == "Ete"
    assert pieces("\u00c9te\u0301", keep_accents=True) == unicodedata.normalize("NFC", "\u00e9te\u0301")
    assert pieces("\ufb01 \u2460 \u00bd") == "fi 1 1\u20442"


def test_a_final_sigma_is_lowered_as_any_other(tok):
    """Text is lowered letter by letter first, so no Σ knows that it ends a word; one that NFKD makes later does."""
    assert "".join(tok.tokenize("\u039f\u0394\u039f\u03a3")) == "\u2581\u03bf\u03b4\u03bf\u03c3"
    assert "".join(tok.tokenize("a\U0001d6ba")) == "\u2581a\u03c2"


def test_quotes_become_one_character(tok):
    text = "``a'' 'b' ```"
    assert "".join(tok.tokenize(text)).replace("\u2581", " ").strip() == '"a" \'b\' "`'
    spans = dict(zip(tok.tokenize(text), tok(text, return_offsets_mapping=True)["offset_mapping"][1:-1], strict=True))
    assert spans["a"] == (2, 3)


def test_newline_and_extra_spaces_are_single_spaces(tok):
    """transformers#11358."""
    assert tok.tokenize("a light\n\nand \t a\u3000light ") == tok.tokenize("a light and a light")


def test_mask_id_and_the_space_before_it(real):
    """transformers#2031: the id is the piece's own, and [MASK] takes the space on its left with it, not on its right."""
    assert real.mask_token_id == 4
    assert real("The capital of [MASK] is")["input_ids"] == real("The capital of[MASK] is")["input_ids"]
    assert real("The capital of [MASK] is")["input_ids"] == [2, 14, 1057, 16, 4, 25, 3]
    assert real.tokenize("[MASK]is") == ["[MASK]", "\u2581is"]
    assert real.decode([2, 14, 1057, 16, 4, 25, 3]) == "[CLS] the capital of[MASK] is[SEP]"


def test_special_tokens_in_text_are_special_in_upper_case_too(tok):
    assert tok.convert_tokens_to_ids(tok.tokenize("[SEP]<pad><PAD><unk>")) == [3, 0, 0, 1]
    assert 4 not in tok("[mask] [MASK")["input_ids"]
    assert 4 not in tok("[MASK]", split_special_tokens=True)["input_ids"]


def test_split_special_tokens_counts_in_a_batch_too(tok):
    """transformers 4.57.6 honours it for one text and forgets it in a batch; here both do what the argument says."""
    alone = tok("a [MASK]", split_special_tokens=True)["input_ids"]
    assert tok(["a [MASK]"], split_special_tokens=True)["input_ids"] == [alone]


@pytest.mark.parametrize("offsets", [False, True])
def test_a_long_text_is_cut_as_a_short_one(tok, offsets):
    """Long texts are worked on in chunks: no seam may show. How long they take, benchmarks/bench_tokenizer.py says."""
    short, long = "the capital of a country, 9,000 [MASK] ", 4_000
    once = tok(short)["input_ids"][1:-1]
    encoding = tok(short * long, return_offsets_mapping=offsets, verbose=False)
    assert encoding["input_ids"][1:-1] == once * long
    if offsets:
        spans = encoding["offset_mapping"][1:-1]
        first = spans[: len(once)]
        assert spans[-len(once) :] == [(a + len(short) * (long - 1), b + len(short) * (long - 1)) for a, b in first]


@pytest.mark.slow  # compares times, which a busy machine may upset
@pytest.mark.parametrize(
    "text", ["word " * 20_000, "x" * 100_000, " " * 100_000, "\n" * 100_000, "a\n" * 50_000, "9," * 50_000]
)
@pytest.mark.parametrize("offsets", [False, True])
def test_normaliser_linear_time(tok, text, offsets):
    """transformers#4560: doubling a long text about doubles the time (a quadratic step would take four times as long)."""
    from time import process_time

    def seconds(value):
        start = process_time()
        tok(value, return_offsets_mapping=offsets, verbose=False)
        return process_time() - start

    once = min(seconds(text) for _ in range(2))
    assert min(seconds(text * 3) for _ in range(2)) < 6 * once + 0.2


# -------------------------------------------------------------------------------------------------- the shape of results


def test_a_text_gives_flat_lists_and_a_batch_lists_of_lists(tok):
    one, batch = tok("a light"), tok(["a light", "a"])
    assert list(one) == ["input_ids", "token_type_ids", "attention_mask"]
    assert one.input_ids == one["input_ids"] == batch["input_ids"][0]
    assert [len(row) for row in batch.attention_mask] == [len(one.input_ids), 3]
    assert dict(**one) == dict(one)
    assert isinstance(one, BatchEncoding)
    with pytest.raises(AttributeError, match="no 'labels'; it has input_ids"):
        one.labels  # noqa: B018


def test_arrays_have_a_batch_axis_and_are_int64(tok):
    for text, shape in (("a light", (1, 4)), (["a light", "a light"], (2, 4))):
        encoding = tok(text, return_tensors="np", return_offsets_mapping=True, return_length=True)
        assert encoding["input_ids"].shape == shape
        assert encoding["offset_mapping"].shape == (*shape, 2)
        assert encoding["length"].shape == shape[:1]
        assert {array.dtype for array in encoding.values()} == {np.dtype(np.int64)}
    assert tok("", add_special_tokens=False, return_tensors="np")["input_ids"].shape == (1, 0)


@pytest.mark.parametrize("kind", ["pt", "tf", "jax", "list", 3])
def test_other_tensors_are_refused_by_name(tok, kind):
    with pytest.raises(ValueError, match="return_tensors"):
        tok("a", return_tensors=kind)


def test_ragged_arrays_are_refused_with_the_way_out(tok):
    with pytest.raises(ValueError, match="padding=True"):
        tok(["a", "a light"], return_tensors="np")


def test_pairs_have_types(tok):
    encoding = tok("a", "light", return_special_tokens_mask=True)
    a, b = tok.tokenize("a"), tok.tokenize("light")
    assert encoding.tokens() == ["[CLS]", *a, "[SEP]", *b, "[SEP]"]
    assert encoding["token_type_ids"] == [0] * (len(a) + 2) + [1] * (len(b) + 1)
    assert encoding.sequence_ids() == [None, *[0] * len(a), None, *[1] * len(b), None]
    assert encoding["special_tokens_mask"] == [1, *[0] * len(a), 1, *[0] * len(b), 1]
    ids = [tok.convert_tokens_to_ids(x) for x in (a, b)]
    assert tok.build_inputs_with_special_tokens(*ids) == encoding["input_ids"] == tok.encode("a", "light")
    assert tok.create_token_type_ids_from_sequences(*ids) == encoding["token_type_ids"]
    assert tok.get_special_tokens_mask(*ids) == encoding["special_tokens_mask"]
    assert (
        tok.get_special_tokens_mask(encoding["input_ids"], already_has_special_tokens=True)
        == encoding["special_tokens_mask"]
    )
    assert (tok.num_special_tokens_to_add(), tok.num_special_tokens_to_add(pair=True)) == (2, 3)


def test_words_are_encoded_one_by_one_and_counted(tok):
    encoding = tok(["light", "", "house"], is_split_into_words=True, return_offsets_mapping=True)
    light, house = tok.tokenize("light"), tok.tokenize("house")
    assert encoding.tokens()[1:-1] == [*light, *house]
    assert encoding.word_ids() == [None, *[0] * len(light), *[2] * len(house), None]
    assert encoding["offset_mapping"][1][0] == encoding["offset_mapping"][1 + len(light)][0] == 0
    assert encoding["offset_mapping"][-2][1] == len("house")


def test_padding_and_pad_agree(tok):
    texts = ["a", "a light in the house", ""]
    for side in ("right", "left"):
        padded = tok(texts, padding=True, padding_side=side, pad_to_multiple_of=4, return_special_tokens_mask=True)
        width = len(padded["input_ids"][0])
        assert width % 4 == 0
        assert {len(row) for name in padded for row in padded[name]} == {width}
        again = tok.pad(tok(texts, return_special_tokens_mask=True), padding_side=side, pad_to_multiple_of=4)
        assert dict(again) == dict(padded)
        listed = [tok(text, return_special_tokens_mask=True) for text in texts]
        assert dict(tok.pad(listed, padding_side=side, pad_to_multiple_of=4)) == dict(padded)
        row = padded["input_ids"][0]
        assert (row if side == "right" else row[::-1])[-1] == tok.pad_token_id
        assert padded["attention_mask"][0].count(0) == width - 3
    assert tok.pad(tok(texts), return_tensors="np")["input_ids"].dtype == np.int64
    assert len(tok.pad(tok("a"), padding="max_length", max_length=7)["input_ids"]) == 7


def test_the_limit_of_the_model_is_the_default_length(tok):
    long = "light " * 300
    assert tok.model_max_length == 128
    assert len(tok(long, truncation=True)["input_ids"]) == 128
    assert len(tok("a", padding="max_length")["input_ids"]) == 128


def test_truncation_keeps_the_named_side_of_the_named_text(tok):
    first, full = tok("a b c d")["input_ids"], tok("a b c d", "e f")["input_ids"]
    n, options = len(first) - 1, {"truncation": "only_first", "max_length": len(full) - 2}
    assert tok("a b c d", "e f", **options)["input_ids"] == first[: n - 2] + full[n:]
    left = AlbertTokenizer.from_pretrained(TINY_MODEL, truncation_side="left")
    assert left("a b c d", "e f", **options)["input_ids"] == [full[0], *full[3:]]


def test_lengths_of_truncated_pairs_as_transformers_and_as_tokenizers():
    """Who keeps the odd token is the one thing they do not agree on (measured with 4.57.6 and 0.22)."""
    assert kept_lengths(10, 10, 5, "longest_first") == (8, 7)
    assert kept_lengths(10, 8, 5, "longest_first") == (7, 6)
    assert kept_lengths(8, 10, 5, "longest_first") == (7, 6)
    assert kept_lengths(10, 4, 3, "longest_first") == (7, 4)
    assert kept_lengths(10, 4, 30, "longest_first") == (0, 0)
    assert window_lengths(10, 10, 15, "longest_first") == (7, 8)
    assert window_lengths(4, 10, 7, "longest_first") == (3, 4)


@given(
    n=st.integers(0, 60), size=st.integers(1, 20), stride=st.integers(0, 19), side=st.sampled_from(["left", "right"])
)
def test_windows_cover_the_text_and_share_the_stride(n, size, stride, side):
    if n > size and stride >= size:
        with pytest.raises(ValueError, match="stride"):
            windows(n, size, stride, side)
        return
    spans = windows(n, size, stride, side)
    ordered = spans if side == "right" else spans[::-1]
    assert {i for a, b in spans for i in range(a, b)} == set(range(n))
    assert all(b - a <= size for a, b in spans)
    assert all(previous[1] - following[0] == stride for previous, following in pairwise(ordered))


def test_windows_of_a_question_and_a_context(tok):
    context = "the light in the house was on, and the house was old and dark; nobody had been in it for years"
    encoding = tok(
        "who?",
        context,
        truncation="only_second",
        max_length=16,
        stride=3,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        padding=True,
    )
    assert len(encoding["input_ids"]) == len(encoding["overflow_to_sample_mapping"]) > 2
    assert set(encoding["overflow_to_sample_mapping"]) == {0}
    question = tok("who?")["input_ids"]
    seen = set()
    for row, ids in enumerate(encoding["input_ids"]):
        assert len(ids) == 16
        assert ids[: len(question)] == question
        for span, number in zip(encoding["offset_mapping"][row], encoding.sequence_ids(row), strict=True):
            if number == 1:
                seen.add(span)
    whole = tok(context, return_offsets_mapping=True)["offset_mapping"][1:-1]
    assert seen == set(whole)


# ------------------------------------------------------------------------------------------------- vocabulary and decode


def test_every_piece_converts_both_ways(tok):
    ids = list(range(len(tok)))
    pieces = tok.convert_ids_to_tokens(ids)
    assert len(pieces) == tok.vocab_size == len(set(pieces)) == 1000
    assert tok.convert_tokens_to_ids(pieces) == ids
    assert tok.get_vocab() == {p: i for i, p in enumerate(pieces)}
    assert tok.convert_ids_to_tokens(7) == pieces[7]
    assert tok.convert_tokens_to_ids("no such piece") == tok.unk_token_id == 1
    assert tok.convert_tokens_to_ids(None) is None


@settings(deadline=None, max_examples=200, derandomize=True)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_encoding_what_was_decoded_changes_nothing(tok, text):
    """After one round everything is normal form; unknown pieces become <unk> and stay so."""
    once = tok.decode(tok.encode(text, add_special_tokens=False), clean_up_tokenization_spaces=False)
    twice = tok.decode(tok.encode(once, add_special_tokens=False), clean_up_tokenization_spaces=False)
    thrice = tok.decode(tok.encode(twice, add_special_tokens=False), clean_up_tokenization_spaces=False)
    assert thrice == twice


def test_decoding_skips_special_tokens_and_cleans_up_on_request(tok):
    ids = tok("Light , and [MASK] it 's .")["input_ids"]
    assert tok.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=True) == "light, and it's."
    assert tok.decode(np.array(ids), skip_special_tokens=True) == tok.decode(ids, skip_special_tokens=True)
    assert tok.batch_decode([ids, ids[:3]]) == [tok.decode(ids), tok.decode(ids[:3])]
    assert tok.batch_decode(np.array([ids])) == [tok.decode(ids)]
    assert tok.decode(5) == tok.decode([5])
    assert tok.decode([]) == ""


def test_special_tokens_have_attributes(tok):
    names = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
    found = {name: (getattr(tok, f"{name}_token"), getattr(tok, f"{name}_token_id")) for name in names}
    assert found == {
        "bos": ("[CLS]", 2),
        "eos": ("[SEP]", 3),
        "unk": ("<unk>", 1),
        "sep": ("[SEP]", 3),
        "pad": ("<pad>", 0),
        "cls": ("[CLS]", 2),
        "mask": ("[MASK]", 4),
    }
    assert tok.all_special_tokens == ["[CLS]", "[SEP]", "<unk>", "<pad>", "[MASK]"]
    assert tok.all_special_ids == [2, 3, 1, 0, 4]
    assert tok.special_tokens_map["mask_token"] == "[MASK]"
    assert tok.added_tokens_encoder == {"<pad>": 0, "<unk>": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4}
    assert (tok.is_fast, tok.pad_token_type_id) == (False, 0)


def test_a_pickled_tokenizer_is_the_same(tok):
    again = pickle.loads(pickle.dumps(tok))
    assert dict(again("A [MASK], 1999,")) == dict(tok("A [MASK], 1999,"))
    assert repr(again) == repr(tok)
    assert pickle.loads(pickle.dumps(tok("a"))) == tok("a")


def test_the_spaces_known_to_alignment_are_those_of_python():
    assert {chr(c) for c in _SPACES} == {c for c in map(chr, range(0x110000)) if c.isspace()}


# ---------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: t(None), "text must be a str"),
        (lambda t: t(3), "text must be a str"),
        (lambda t: t(b"bytes"), "got bytes"),
        (lambda t: t([1, 2]), "ids go to encode"),
        (lambda t: t([]), "batch is empty"),
        (lambda t: t(["a", 3]), r"text\[1\] must be a str or a list of str; got int, 3"),
        (lambda t: t([["a", "b", "c"]]), "is_split_into_words"),
        (lambda t: t([], is_split_into_words=True), "not empty"),
        (lambda t: t(["a", 3], is_split_into_words=True), r"text\[1\] must be a str"),
        (lambda t: t(["a", "b"], "c"), "as many second texts"),
        (lambda t: t(["a", "b"], ["c"]), "got 1 of them"),
        (lambda t: t("a\ud800b"), "U\\+D800, at position 1"),
        (lambda t: t("a", padding="wide"), "padding must be"),
        (lambda t: t("a", truncation="some"), "truncation must be"),
        (lambda t: t("a", max_length=-1), "max_length must be"),
        (lambda t: t("a", max_length="9"), "max_length must be"),
        (lambda t: t("a", pad_to_multiple_of=0), "at least 1"),
        (lambda t: t("a", padding_side="up"), "padding_side must be"),
        (lambda t: t("a", truncation=True, padding=True, max_length=9, pad_to_multiple_of=2), "not a multiple"),
        (lambda t: t("a", add_special_tokens=False, return_token_type_ids=True), "needs add_special_tokens"),
        (lambda t: t("a b c", truncation=True, max_length=4, stride=2, return_overflowing_tokens=True), "stride must"),
        (lambda t: t("a b", truncation=True, max_length=2, return_overflowing_tokens=True), "leaves no room"),
        (
            lambda t: t("a b c d", "e", truncation="only_second", max_length=5, return_overflowing_tokens=True),
            "cannot make room",
        ),
        (lambda t: t.encode([1, "a"]), "must be ints"),
        (lambda t: t.encode(["a", 1]), "must hold str only"),
        (lambda t: t.encode([1, 2], return_offsets_mapping=True), "needs text"),
        (lambda t: t.decode([0, 1000]), "token id 1000 is outside the vocabulary"),
        (lambda t: t.decode([-1]), "token id -1"),
        (lambda t: t.decode("text"), "must be an int or a list"),
        (lambda t: t.decode([1.5]), "must be ints"),
        (lambda t: t.decode(np.zeros((2, 2), int)), "one row of integers"),
        (lambda t: t.convert_tokens_to_ids([1]), "takes a str"),
        (lambda t: t.get_special_tokens_mask([1], [2], already_has_special_tokens=True), "one sequence"),
        (lambda t: t.pad({"attention_mask": [1]}), "with input_ids"),
        (lambda t: t.pad({"input_ids": [[1, 2]], "attention_mask": [[1]]}), "must be parallel"),
        (lambda t: t.pad([{"input_ids": [1]}, {"ids": [1]}]), "different keys"),
        (lambda t: t.to_json(), "has no tokenizer.json"),
        (lambda t: t("a").tokens(1), "row 1 of an encoding that has 1"),
        (lambda t: BatchEncoding({"input_ids": [1]}).tokens(), "not made from text"),
    ],
)
def test_misuse_is_a_value_error_that_says_what_to_do(tok, call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call(tok)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"style": "fast"}, "style must be one of hf_slow, hf_fast, google"),
        ({"do_lower_case": "yes"}, "do_lower_case must be True or False"),
        ({"padding_side": "middle"}, "padding_side must be"),
        ({"model_max_length": "long"}, "model_max_length must be"),
        ({"model_max_length": float("inf")}, "model_max_length must be"),
        ({"sp_model_kwargs": {"enable_sampling": True}}, "sampling is not supported"),
        ({"mask_token": 4}, "mask_token must be a str"),
        ({"mask_token": ""}, "empty string"),
        ({"mask_token": "\ud800"}, "lone surrogate"),
        ({"cls_token": None}, "cls_token must be set"),
        ({"additional_special_tokens": "<x>"}, "must be a list"),
        ({"style": "google", "keep_accents": True}, "always removes accents"),
        ({"added_tokens_decoder": {"x": "y"}}, "token id is a whole number"),
        ({"added_tokens_decoder": {2_000_000_000: {"content": "x"}}}, "far beyond"),
    ],
)
def test_settings_are_checked(tiny_dir, settings, message):
    with pytest.raises(ValueError, match=message):
        AlbertTokenizer(tiny_dir / "spiece.model", **settings)


def test_a_tokenizer_needs_a_vocabulary():
    with pytest.raises(ValueError, match="needs vocab_file"):
        AlbertTokenizer()


def test_padding_without_a_pad_token_is_refused(tiny_dir):
    tokenizer = AlbertTokenizer(tiny_dir / "spiece.model", pad_token=None)
    assert tokenizer.pad_token_id is None
    with pytest.raises(ValueError, match="no pad_token"):
        tokenizer(["a", "a light"], padding=True)


def test_text_without_letters_has_no_tokens(tok):
    for text in ("", " ", "\n\t\u3000", "\u200b", "\x01"):
        assert tok.tokenize(text) == []
        encoding = tok(text, return_offsets_mapping=True)
        assert (encoding["input_ids"], encoding["offset_mapping"]) == ([2, 3], [(0, 0), (0, 0)])


def test_nul_unassigned_and_private_characters_are_text(tok):
    for char in "\0\u0378\ue000\U0010ffff":
        assert tok(f"a{char}b", return_offsets_mapping=True)["offset_mapping"][-2] == (2, 3)
