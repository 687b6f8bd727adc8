"""Live comparison with transformers 4.57.6: tokens that are added to a tokenizer after it was made.

Both get the same calls; afterwards they say the same of every token, cut texts alike, and read each other's folders.
"""

import copy
import logging
import pickle

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from albert_np import AddedToken, AlbertTokenizer, AlbertTokenizerFast

pytestmark = pytest.mark.parity

# pieces and no pieces, one inside another, in upper case, with spaces, twice
ORDINARY = ["new", "NEW", "newer", "house", "▁the", "an ox", "é", "ﬁ", "İx", "#", ""]
# A token that is special by its name and is then added as an ordinary one stays special here. There, the tokenizer and the
# `tokenizers` library no longer agree on what it is, and so the two kinds of token are kept apart.
SPECIAL = ["[MASK]", "[SEP]", "<ent>", "<ENT>", "the", "a", "<ent>s"]
CONTENTS = [*ORDINARY, *SPECIAL]
FLAGS = ("single_word", "lstrip", "rstrip", "special", "normalized")


def tokens_of(contents):
    return st.sampled_from(contents) | st.builds(
        lambda content, flags: {"content": content, **flags},
        st.sampled_from([content for content in contents if content]),
        # normalized=True is what a token is that says nothing; the library tells the two apart, and others cannot
        st.fixed_dictionaries(
            {}, optional={flag: st.booleans() for flag in FLAGS[:-1]} | {"normalized": st.just(False)}
        ),
    )


def content_of(token):
    return token["content"] if isinstance(token, dict) else token


def each_once(names):
    """Whether no token has two names in one call: with other flags under each, here the last count, there it depends."""
    contents = [content_of(token) for token in names.values() if not isinstance(token, list)]
    contents += map(content_of, names.get("additional_special_tokens", []))
    return len(set(contents)) == len(contents)


NAMES = ("pad_token", "mask_token", "eos_token", "bos_token", "unk_token")
CALL = st.one_of(
    st.tuples(st.just("add_tokens"), st.lists(tokens_of(ORDINARY), max_size=4), st.just(False)),
    st.tuples(st.just("add_tokens"), st.lists(tokens_of(SPECIAL), max_size=3), st.just(True)),
    st.tuples(
        st.just("add_special_tokens"),
        st.fixed_dictionaries(
            {},
            optional={
                **{name: tokens_of(SPECIAL) for name in NAMES},
                "additional_special_tokens": st.lists(tokens_of(SPECIAL), max_size=3, unique_by=content_of),
            },
        ).filter(each_once),
        st.booleans(),
    ),
)
TEXT = st.lists(
    st.sampled_from([*CONTENTS, *CONTENTS, " ", "  ", ".", "a", "The", "\t", "\n"]), min_size=1, max_size=8
).map("".join)
FEW = settings(max_examples=50, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def made(token, kind):
    """A token as `kind` writes it."""
    if isinstance(token, dict):
        return kind(token["content"], **{name: value for name, value in token.items() if name != "content"})
    if isinstance(token, list):
        return [made(item, kind) for item in token]
    return token


def carried_out(tokenizer, call, kind):
    name, tokens, flag = call
    if name == "add_special_tokens":
        tokens = {key: made(value, kind) for key, value in tokens.items()}
        return tokenizer.add_special_tokens(tokens, replace_additional_special_tokens=flag)
    return tokenizer.add_tokens(made(tokens, kind), special_tokens=flag)


def said_of(tokenizer, texts):
    """What a tokenizer says of its tokens, and of texts."""
    tokens = {i: {flag: getattr(t, flag) for flag in FLAGS} for i, t in tokenizer.added_tokens_decoder.items()}
    ids = [tokenizer.encode(text) for text in texts]
    return {
        "tokens": tokens,
        "contents": tokenizer.added_tokens_encoder,
        "size": len(tokenizer),
        "special": tokenizer.all_special_tokens,
        "ids": ids,
        "text": [tokenizer.decode(row) for row in ids],
        "plain": [tokenizer.decode(row, skip_special_tokens=True) for row in ids],
    }


@pytest.fixture(scope="module")
def quiet(transformers):
    logging.getLogger("albert_np").setLevel(logging.CRITICAL)
    transformers.logging.set_verbosity(logging.CRITICAL + 1)
    return transformers


@pytest.fixture(scope="module")
def fast_dir(quiet, tiny_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fast")
    AlbertTokenizerFast.from_pretrained(tiny_dir).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("fast", [False, True], ids=["slow", "fast"])
@FEW
@given(calls=st.lists(CALL, min_size=1, max_size=3), texts=st.lists(TEXT, min_size=1, max_size=3))
def test_added_tokens_are_those_of_transformers_and_survive_its_files(
    quiet, fast_dir, tmp_path_factory, fast, calls, texts
):
    from tokenizers import AddedToken as TheirToken

    name = "AlbertTokenizerFast" if fast else "AlbertTokenizer"
    theirs_class, ours_class = getattr(quiet, name), AlbertTokenizerFast if fast else AlbertTokenizer
    theirs, ours = theirs_class.from_pretrained(fast_dir), ours_class.from_pretrained(fast_dir)
    for i, call in enumerate(calls):
        # ours takes its own tokens and theirs
        assert carried_out(ours, call, (AddedToken, TheirToken)[i % 2]) == carried_out(theirs, call, TheirToken)
    folder = tmp_path_factory.mktemp("saved")
    ours.save_pretrained(folder / "ours")
    theirs.save_pretrained(folder / "theirs")
    if fast:
        # until it is saved, the library also finds a token as it was before it was added again with other flags
        theirs = theirs_class.from_pretrained(folder / "theirs")
    said = said_of(ours, texts)
    assert said == said_of(theirs, texts)
    for again in (pickle.loads(pickle.dumps(ours)), copy.deepcopy(ours), copy.copy(ours)):
        assert said_of(again, texts) == said
    kept = {key: said[key] for key in ("size", "ids", "text")}
    for loaded in (
        ours_class.from_pretrained(folder / "ours"),
        theirs_class.from_pretrained(folder / "ours"),
        ours_class.from_pretrained(folder / "theirs"),
    ):
        assert {key: said_of(loaded, texts)[key] for key in kept} == kept
