"""Vocabularies of the other types that SentencePiece trains: BPE, characters, words, and any with byte_fallback."""

import pytest
import sentencepiece
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.texts import CHUNKS, TEXT
from support.vocabularies import TYPES, trained

from albert_np import AlbertTokenizer
from albert_np.tokenization.alignment import Preprocessing, lower_each, preprocess

FEW = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
# without what happens before and after SentencePiece: added tokens, and numbers with commas
PLAIN = [chunk for chunk in CHUNKS if not set("[]<,\uff0c") & set(chunk)]


@pytest.fixture(scope="module", params=TYPES)
def path(request, tmp_path_factory):
    path = tmp_path_factory.mktemp(request.param.replace(" ", "-")) / "spiece.model"
    path.write_bytes(trained(request.param))
    return path


@pytest.fixture(scope="module")
def tokenizer(path):
    return AlbertTokenizer(path)


@pytest.fixture(scope="module")
def theirs(path):
    return sentencepiece.SentencePieceProcessor(model_file=str(path))


@FEW
@given(text=st.lists(st.sampled_from(PLAIN), max_size=10).map("".join))
def test_pieces_ids_and_text_are_sentencepieces(tokenizer, theirs, text):
    prepared = preprocess(lower_each(text), Preprocessing())
    assert tokenizer.tokenize(text) == theirs.encode(prepared, out_type=str)
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert ids == theirs.encode(prepared)
    if tokenizer.unk_token_id not in ids:  # which transformers writes as <unk>
        assert tokenizer.decode(ids) == theirs.decode(ids)


@FEW
@given(text=TEXT)
def test_offsets_are_those_of_the_same_pieces_and_never_go_back(tokenizer, text):
    found = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
    assert found["input_ids"] == tokenizer.encode(text, add_special_tokens=False)
    spans = found["offset_mapping"]
    assert len(spans) == len(found["input_ids"])
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert sorted(spans) == spans


@pytest.mark.parametrize("name", [name for name in TYPES if "bytes" in name])
def test_the_bytes_of_a_character_all_have_its_span(tmp_path, name):
    path = tmp_path / "spiece.model"
    path.write_bytes(trained(name))
    tokenizer = AlbertTokenizer(path)
    found = tokenizer("a \u6f22\U0001f600", return_offsets_mapping=True, add_special_tokens=False)
    bytes_ = [f"<0x{byte:02X}>" for byte in "\u6f22\U0001f600".encode()]
    assert found.tokens()[-7:] == bytes_
    assert found["offset_mapping"][-7:] == [(2, 3)] * 3 + [(3, 4)] * 4
    # the bytes of a whole word are the bytes of its space too, which SentencePiece does not turn back
    space = "\u2581" if "word" in name else " "
    assert tokenizer.decode(found["input_ids"]) == f"a{space}\u6f22\U0001f600"
    assert tokenizer.convert_tokens_to_ids("<0xE6>") == found["input_ids"][-7]


def test_saved_it_is_the_same(tokenizer, path, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    assert (tmp_path / "spiece.model").read_bytes() == path.read_bytes()
    text = "Light 1999, (on) \u6f22"
    assert AlbertTokenizer.from_pretrained(tmp_path).encode(text) == tokenizer.encode(text)
    assert AlbertTokenizer(path, style="google").encode(text) == tokenizer.encode(text)


@pytest.mark.parity
@FEW
@given(text=TEXT)
def test_transformers_has_the_same_ids_and_text(transformers, path, tokenizer, text):
    other = transformers.AlbertTokenizer(str(path))
    ids = other.encode(text)
    assert tokenizer.tokenize(text) == other.tokenize(text)
    assert tokenizer.encode(text) == ids
    assert tokenizer.decode(ids) == other.decode(ids)
