"""Live comparison with transformers 4.57.6: on any text, with any options, the same ids, masks, pieces and text.

The examples are drawn from an alphabet of what has gone wrong somewhere: special tokens and their lower-case twins, digits
with commas, quotes, marks that NFKD reorders, letters whose lower case depends on their neighbours, spaces of every kind,
characters that disappear, unassigned code points.
"""

import json
import logging

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.texts import TEXT

from albert_np import AlbertTokenizer
from albert_np.tokenization.added_tokens import AddedToken, Cutter

pytestmark = pytest.mark.parity

CONFIGS = [
    {},
    {"do_lower_case": False},
    {"keep_accents": True, "remove_space": False},
    {"additional_special_tokens": ["<ent>", "Foo", "oo b"]},
]
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "truncation": st.sampled_from(
            [True, False, None, "only_first", "only_second", "longest_first", "do_not_truncate"]
        ),
        "max_length": st.sampled_from([0, 1, 2, 3, 4, 5, 6, 8, 9, 12, 16]),
        "padding": st.sampled_from([True, False, "max_length", "longest", "do_not_pad"]),
        "pad_to_multiple_of": st.sampled_from([2, 3, 8]),
        "padding_side": st.sampled_from(["left", "right"]),
        "return_special_tokens_mask": st.booleans(),
        "return_length": st.booleans(),
        "add_special_tokens": st.booleans(),
        "return_attention_mask": st.booleans(),
        "return_token_type_ids": st.booleans(),
    },
)
INPUTS = st.one_of(
    st.tuples(TEXT, st.none() | TEXT, st.just({})),
    st.integers(1, 3).flatmap(
        lambda n: st.tuples(
            st.lists(TEXT, min_size=n, max_size=n), st.none() | st.lists(TEXT, min_size=n, max_size=n), st.just({})
        )
    ),
    st.tuples(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=2), st.none(), st.just({})),
    st.tuples(
        st.lists(TEXT, min_size=1, max_size=4),
        st.none() | st.lists(TEXT, min_size=1, max_size=3),
        st.just({"is_split_into_words": True}),
    ),
    st.tuples(
        st.lists(st.lists(TEXT, min_size=1, max_size=3), min_size=1, max_size=2),
        st.none(),
        st.just({"is_split_into_words": True}),
    ),
)
FEW = settings(max_examples=250, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module", params=range(len(CONFIGS)), ids=lambda i: "-".join(CONFIGS[i]) or "default")
def both(request, transformers, tiny_dir):
    """(transformers' slow tokenizer, ours) of the tests' vocabulary with one set of settings."""
    logging.getLogger("albert_np").setLevel(logging.CRITICAL)
    transformers.logging.set_verbosity(logging.CRITICAL)
    config = CONFIGS[request.param]
    return transformers.AlbertTokenizer.from_pretrained(tiny_dir, **config), AlbertTokenizer.from_pretrained(
        tiny_dir, **config
    )


@pytest.mark.filterwarnings("ignore::UserWarning")  # transformers' advice about max_length
@FEW
@given(inputs=INPUTS, options=OPTIONS, side=st.sampled_from(["left", "right"]))
def test_a_call_returns_what_transformers_returns(both, inputs, options, side):
    theirs, ours = both
    theirs.truncation_side = ours.truncation_side = side
    first, second, words = inputs
    options = options | words
    try:
        expected = dict(theirs(first, second, **options))
    except ValueError:
        with pytest.raises(ValueError, match=r"\w"):
            ours(first, second, **options)
        return
    assert dict(ours(first, second, **options)) == expected


@FEW
@given(text=TEXT, skip=st.booleans(), clean=st.sampled_from([None, True, False]), spaces=st.booleans())
def test_pieces_and_decoding_are_transformers(both, text, skip, clean, spaces):
    theirs, ours = both
    pieces = theirs.tokenize(text)
    assert ours.tokenize(text) == pieces
    assert ours.tokenize(text, split_special_tokens=True) == theirs.tokenize(text, split_special_tokens=True)
    ids = theirs.convert_tokens_to_ids(pieces)
    assert ours.convert_tokens_to_ids(pieces) == ids
    assert ours.convert_ids_to_tokens(ids, skip_special_tokens=skip) == theirs.convert_ids_to_tokens(ids, skip)
    options = {
        "skip_special_tokens": skip,
        "clean_up_tokenization_spaces": clean,
        "spaces_between_special_tokens": spaces,
    }
    assert ours.decode(ids, **options) == theirs.decode(ids, **options)
    assert ours.convert_tokens_to_string(pieces) == theirs.convert_tokens_to_string(pieces)


@FEW
@given(ids=st.lists(st.integers(0, 999), min_size=1, max_size=12), skip=st.booleans())
def test_any_ids_decode_as_in_transformers(both, ids, skip):
    theirs, ours = both
    assert ours.decode(ids, skip_special_tokens=skip) == theirs.decode(ids, skip_special_tokens=skip)
    assert ours.encode(ids) == theirs.encode(ids)
    assert ours.get_special_tokens_mask(ids, already_has_special_tokens=True) == theirs.get_special_tokens_mask(
        ids, already_has_special_tokens=True
    )


@FEW
@given(
    tokens=st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=5), text=st.text("abcd", max_size=14)
)
def test_text_is_cut_at_added_tokens_as_the_trie_of_transformers_cuts(transformers, tokens, text):
    """Tokens that contain one another included, where that trie does not always find the longest match."""
    from transformers.tokenization_utils import Trie

    assert [text[a:b] for a, b in Cutter(tokens).cut(text)] == Trie(tokens).split(text)


FLAGGED = st.builds(
    AddedToken,
    st.sampled_from(["<x>", "<y>", "ab", "a", "Qq", " t "]),
    single_word=st.booleans(),
    lstrip=st.booleans(),
    rstrip=st.booleans(),
    normalized=st.booleans(),
    special=st.booleans(),
)


@settings(FEW, max_examples=120)
@given(
    tokens=st.lists(FLAGGED, max_size=4, unique_by=str),
    text=st.lists(
        st.sampled_from(["<x>", "<y>", "ab", "a", "Qq", "qq", " t ", " ", "\n", "\x1c", "b", "[MASK]"]), max_size=9
    ),
)
def test_added_tokens_of_every_kind_meet_their_neighbours_as_in_transformers(transformers, tiny_dir, tokens, text):
    text = "".join(text)
    added = {1000 + i: token for i, token in enumerate(tokens)}
    path = str(tiny_dir / "spiece.model")
    theirs = transformers.AlbertTokenizer(
        path, added_tokens_decoder={i: transformers.AddedToken(**token.to_json()) for i, token in added.items()}
    )
    theirs._update_trie()
    ours = AlbertTokenizer(path, added_tokens_decoder=added)
    assert ours.tokenize(text) == theirs.tokenize(text)
    encoding = ours(text, return_offsets_mapping=True)
    assert encoding.tokens()[1:-1] == theirs.tokenize(text)
    assert all(0 <= a < b <= len(text) for a, b in encoding["offset_mapping"][1:-1])
    ids = encoding["input_ids"]
    assert ours.decode(ids) == theirs.decode(ids)


def description(tokenizer):
    """All a tokenizer says about itself, and what it does to two texts."""
    added = {
        i: (t.content, t.single_word, t.lstrip, t.rstrip, t.normalized, t.special)
        for i, t in tokenizer.added_tokens_decoder.items()
    }
    names = ("model_max_length", "padding_side", "truncation_side", "all_special_tokens", "all_special_ids")
    return {
        "added": added,
        "vocab": tokenizer.get_vocab(),
        "size": (len(tokenizer), tokenizer.vocab_size),
        "map": tokenizer.special_tokens_map,
        "clean": bool(tokenizer.clean_up_tokenization_spaces),
        **{name: getattr(tokenizer, name) for name in names},
        "ids": [tokenizer(t)["input_ids"] for t in ("Light [MASK] <x> y <ent> 1999, \u00c9", "<X>z a<ent>b [PAD]")],
    }


MASK = {"content": "[MASK]", "lstrip": True, "normalized": False, "rstrip": False, "single_word": False}
ENT = {"content": "<ent>", "lstrip": False, "normalized": False, "rstrip": True, "single_word": False, "special": True}
ODD = {"content": "<x>", "lstrip": False, "normalized": True, "rstrip": False, "single_word": True, "special": False}
FOLDERS = {
    "no files but the vocabulary": {},
    "empty config": {"tokenizer_config.json": {}},
    "flags": {"tokenizer_config.json": {"keep_accents": True, "remove_space": False, "do_lower_case": False}},
    "no limit": {"tokenizer_config.json": {"model_max_length": 10**30}},
    "old name of the limit": {"tokenizer_config.json": {"max_len": 99}},
    "typed token": {"tokenizer_config.json": {"mask_token": {"__type": "AddedToken", **MASK}}},
    "no mask": {"tokenizer_config.json": {"mask_token": None}},
    "tokens of the map": {
        "tokenizer_config.json": {"cls_token": "[CLS]"},
        "special_tokens_map.json": {
            "mask_token": MASK,
            "additional_special_tokens": ["<ent>", {**MASK, "content": "<x>"}],
        },
    },
    "the map adds a token": {"special_tokens_map.json": {"pad_token": "[PAD]"}},
    "added tokens": {"added_tokens.json": {"<x>": 1000, "<ent>": 1001}},
    "added special token": {
        "added_tokens.json": {"<x>": 1000, "<ent>": 1001},
        "special_tokens_map.json": {"additional_special_tokens": ["<ent>"]},
    },
    "decoder": {"tokenizer_config.json": {"added_tokens_decoder": {"1000": ENT, "1001": ODD}}},
    "decoder over a piece": {"tokenizer_config.json": {"added_tokens_decoder": {"7": ENT}}},
    "decoder with a hole": {"tokenizer_config.json": {"added_tokens_decoder": {"1010": ENT}}},
    "decoder silences the map": {
        "tokenizer_config.json": {"added_tokens_decoder": {"1000": ENT}},
        "special_tokens_map.json": {"mask_token": "<x>"},
    },
    "extra": {"tokenizer_config.json": {"extra_special_tokens": {"image_token": "<ent>"}}},
}


@pytest.fixture
def folder(tmp_path, tiny_dir):
    def make(files):
        (tmp_path / "spiece.model").write_bytes((tiny_dir / "spiece.model").read_bytes())
        for name, value in files.items():
            (tmp_path / name).write_text(json.dumps(value))
        return tmp_path

    return make


@pytest.mark.parametrize("case", FOLDERS)
def test_files_of_a_folder_mean_what_they_mean_to_transformers(transformers, folder, case):
    path = folder(FOLDERS[case])
    theirs, ours = transformers.AlbertTokenizer.from_pretrained(path), AlbertTokenizer.from_pretrained(path)
    assert description(ours) == description(theirs)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"additional_special_tokens": ["<ent>", "<x>"], "do_lower_case": False, "padding_side": "left"},
        {"mask_token": "<x>"},
    ],
)
def test_a_saved_tokenizer_is_read_back_by_both(transformers, tmp_path, tiny_dir, arguments):
    ours = AlbertTokenizer.from_pretrained(tiny_dir, **arguments)
    ours.save_pretrained(tmp_path / "ours")
    expected = description(ours)
    assert description(AlbertTokenizer.from_pretrained(tmp_path / "ours")) == expected
    assert description(transformers.AlbertTokenizer.from_pretrained(tmp_path / "ours")) == expected
    theirs = transformers.AlbertTokenizer.from_pretrained(tiny_dir, **arguments)
    theirs.save_pretrained(tmp_path / "theirs")
    assert description(AlbertTokenizer.from_pretrained(tmp_path / "theirs")) == expected


def test_every_piece_of_the_real_vocabulary_converts_and_comes_back_as_in_transformers(transformers, fixtures_dir):
    path = fixtures_dir / "tokenizer"
    theirs, ours = transformers.AlbertTokenizer.from_pretrained(path), AlbertTokenizer.from_pretrained(path)
    pieces = ours.convert_ids_to_tokens(list(range(30_000)))
    assert pieces == theirs.convert_ids_to_tokens(list(range(30_000)))
    assert ours.convert_tokens_to_ids(pieces) == list(range(30_000))
    for i in range(30_000):
        text = ours.decode([i])
        assert text == theirs.decode([i])
        assert ours.tokenize(text) == theirs.tokenize(text)
