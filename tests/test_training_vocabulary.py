"""A vocabulary of one's own: ALBERT's special pieces and settings, the same bytes every time, transformers' ids."""

import sys

import pytest
from support import TINY_MODEL
from support.refusals import refusal

from albert_np import AlbertTokenizer
from albert_np.tokenization.spiece import CONTROL, NORMAL, UNKNOWN, USER_DEFINED, load_spiece
from albert_np.training import vocabulary
from albert_np.training.documents import TextCounts
from albert_np.training.vocabulary import train_vocabulary

TEXT = TINY_MODEL / "text.txt"
# read off the published spiece.model
FIRST = ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]", "(", ")", '"', "-", ".", "\u2013", "\u00a3", "\u20ac")
KINDS = (CONTROL, UNKNOWN, CONTROL, CONTROL, CONTROL) + 8 * (USER_DEFINED,)

SAMPLES = [
    "Plants create energy through photosynthesis (a process of light).",
    'The "old" map cost \u00a312.50 \u2013 or \u20ac15, in 1999, it said.',
    "[MASK] is  the\tcapital of ``Fran\u00e7e'' \u2026 \u6f22\u5b57 \ufb01sh \u2460",
    "ABC-def. 3,000 km\u00b2",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vocabulary")
    return folder, train_vocabulary(TEXT, folder, vocab_size=800, character_coverage=1.0)


def text_file(folder, content):
    path = folder / "text.txt"
    folder.mkdir(exist_ok=True)
    path.write_text(content, "utf-8")
    return path


def test_special_pieces_and_settings_are_those_of_the_published_file(trained, fixtures_dir):
    ours = load_spiece(trained[0] / "spiece.model")
    published = load_spiece(fixtures_dir / "tokenizer" / "spiece.model")
    assert len(ours.pieces) == 800
    assert ours.pieces[:13] == published.pieces[:13] == FIRST
    assert ours.types[:13] == published.types[:13] == KINDS
    assert ours.scores[:13] == published.scores[:13]
    assert set(ours.types[13:]) == set(published.types[13:]) == {NORMAL}
    assert ours.unk_id == published.unk_id == 1
    for name in ("name", "add_dummy_prefix", "remove_extra_whitespaces", "escape_whitespaces"):
        assert getattr(ours.normalizer, name) == getattr(published.normalizer, name)
    assert ours.treat_whitespace_as_suffix == published.treat_whitespace_as_suffix
    assert max(map(len, ours.pieces)) <= 16


def test_the_tests_vocabulary_comes_out_again(tmp_path):
    """Its own tool has the same settings, written down apart from these."""
    train_vocabulary(TEXT, tmp_path, vocab_size=1000, character_coverage=1.0)
    ours, tiny = load_spiece(tmp_path / "spiece.model"), load_spiece(TINY_MODEL / "spiece.model")
    assert ours.pieces == tiny.pieces
    assert ours.scores == tiny.scores


def test_the_same_text_gives_the_same_bytes(trained, tmp_path):
    again = train_vocabulary([TEXT], tmp_path, vocab_size=800, character_coverage=1.0)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["special_tokens_map.json", "spiece.model", "tokenizer_config.json"]
    assert all((tmp_path / name).read_bytes() == (trained[0] / name).read_bytes() for name in files)
    assert [again.encode(text) for text in SAMPLES] == [trained[1].encode(text) for text in SAMPLES]


def test_the_tokenizer_comes_back_from_its_folder(trained):
    folder, tokenizer = trained
    loaded = AlbertTokenizer.from_pretrained(folder)
    assert [loaded.encode(text) for text in SAMPLES] == [tokenizer.encode(text) for text in SAMPLES]
    assert (
        loaded.pad_token_id,
        loaded.unk_token_id,
        loaded.cls_token_id,
        loaded.sep_token_id,
        loaded.mask_token_id,
    ) == (
        0,
        1,
        2,
        3,
        4,
    )
    ids = loaded.encode("The Capital of France")
    assert 1 not in ids
    assert loaded.decode(ids, skip_special_tokens=True) == "the capital of france"


@pytest.mark.parity
def test_transformers_gives_the_same_ids(trained, tmp_path, transformers):
    folder, tokenizer = trained
    cased = train_vocabulary(TEXT, tmp_path, vocab_size=800, do_lower_case=False, keep_accents=True)
    for place, ours in ((folder, tokenizer), (tmp_path, cased)):
        theirs = transformers.AlbertTokenizer.from_pretrained(str(place))
        for text in SAMPLES + TEXT.read_text("utf-8").splitlines()[:200]:
            assert ours.encode(text) == theirs.encode(text)


def test_a_cased_vocabulary_keeps_capitals_and_accents_also_when_it_is_loaded_again(tmp_path):
    path = text_file(tmp_path, TEXT.read_text("utf-8") + "\u00c9t\u00e9 in Paris. The Caf\u00e9 was open.\n" * 20)
    options = {"vocab_size": 500, "character_coverage": 1.0}
    cased = train_vocabulary(path, tmp_path / "cased", do_lower_case=False, keep_accents=True, **options)
    text = "The Caf\u00e9 was in Paris"
    for tokenizer in (cased, AlbertTokenizer.from_pretrained(tmp_path / "cased")):
        assert tokenizer.decode(tokenizer.encode(text), skip_special_tokens=True) == text
    lower = train_vocabulary(path, tmp_path / "lower", **options)
    assert lower.decode(lower.encode(text), skip_special_tokens=True) == "the cafe was in paris"
    assert all(piece == piece.lower() for piece in load_spiece(tmp_path / "lower" / "spiece.model").pieces[13:])


def test_coverage_leaves_rare_letters_out(tmp_path):
    path = text_file(tmp_path, TEXT.read_text("utf-8") + "\u6f22\n")
    for coverage, unknown in ((0.9995, True), (1.0, False)):
        tokenizer = train_vocabulary(path, tmp_path / "v", vocab_size=300, character_coverage=coverage)
        assert (tokenizer.unk_token_id in tokenizer.encode("\u6f22")) == unknown
        assert tokenizer.unk_token_id not in tokenizer.encode("night and day")


def test_lines_of_any_length_count_and_words_of_any_length_do_no_harm(tmp_path):
    lines = TEXT.read_text("utf-8").splitlines()
    long = " ".join(lines)  # far beyond what the trainer takes as one sentence
    assert len(long.encode()) > 5 * vocabulary.MAX_BYTES
    options = {"vocab_size": 500, "character_coverage": 1.0}
    train_vocabulary(text_file(tmp_path, long + "\n" + "x" * 5000), tmp_path / "a", **options)
    train_vocabulary(TEXT, tmp_path / "b", **options)
    a, b = (load_spiece(tmp_path / name / "spiece.model") for name in "ab")
    assert len(set(a.pieces) & set(b.pieces)) >= 490  # what the trainer starts from depends a little on where lines end


def test_hostile_text_does_no_harm(tmp_path):
    lines = [
        "the\tlight \u2581night\u2581 [CLS] <pad> </s>\r",
        "\ufeff\u200b\u0301\u2028 x",
        "\x01\x02 light",
        "``day''",
    ]
    tokenizer = train_vocabulary(
        text_file(tmp_path, "\n".join([TEXT.read_text("utf-8"), *lines * 50])), tmp_path / "v", vocab_size=300
    )
    assert tokenizer.encode("[MASK] day")[1] == tokenizer.mask_token_id
    assert len(tokenizer) == 300


def test_a_sample_of_a_large_text_is_drawn_by_the_seed(tmp_path, monkeypatch):
    path = text_file(tmp_path, "\n".join(f"line {n}" for n in range(1000)))
    seen = []

    def train(*, sentence_iterator, model_writer, **settings):
        seen.append(list(sentence_iterator))
        raise RuntimeError("enough")

    monkeypatch.setattr("sentencepiece.SentencePieceTrainer.train", train)
    for seed in (0, 0, 1):
        assert "enough" in refusal(train_vocabulary, path, tmp_path / "v", max_lines=100, seed=seed)
    assert seen[0] == seen[1] != seen[2]
    numbers = [int(line.split()[1]) for line in seen[0]]
    assert len(set(numbers)) == 100
    assert numbers == sorted(numbers)
    assert 350 < sum(numbers) / 100 < 650
    assert list(vocabulary._sample(iter("abc"), 5, 0)) == ["a", "b", "c"]


def test_what_was_left_out_is_counted(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(TEXT.read_bytes() + b"caf\xe9\n" + b"x" * (2 << 20))
    counts = TextCounts()
    train_vocabulary(path, tmp_path / "v", vocab_size=300, bad_lines="skip", counts=counts)
    assert (counts.bad_lines, counts.long_lines) == (1, 1)
    assert counts.lines == TEXT.read_bytes().count(b"\n") + 2


CASES = {
    "is empty": ("", {}),
    "has no text to make a vocabulary from": ("\n \n\u200a\n", {}),
    "vocab_size can be 15 at most": ("a", {"vocab_size": 1000}),
    "vocab_size 20 is too small: the text has": ("abcdefghijklmnopqrstuvwxyz " * 9, {"vocab_size": 20}),
    "SentencePiece cannot make a vocabulary of this text": ("\x01\n", {}),
    "vocab_size must be a whole number of at least 14": ("a", {"vocab_size": 3}),
    "num_threads must be": ("a", {"num_threads": 0}),
    "max_lines must be": ("a", {"max_lines": 1.5}),
    "character_coverage must be from 0.9 to 1": ("a", {"character_coverage": 2}),
    "do_lower_case must be True or False": ("a", {"do_lower_case": 1}),
    "seed must be a whole number": ("a", {"seed": -1}),
    "line 1 holds a NUL": ("a\0", {}),
}


@pytest.mark.parametrize("message", CASES)
def test_refusals_say_what_is_wrong_and_leave_no_file(message, tmp_path):
    content, options = CASES[message]
    path = text_file(tmp_path, content)
    assert message in refusal(train_vocabulary, path, tmp_path / "v", **options)
    assert not (tmp_path / "v").exists()


def test_without_sentencepiece_the_message_names_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    assert "pip install sentencepiece" in refusal(train_vocabulary, TEXT, tmp_path)


def test_several_files_and_a_missing_one(tmp_path):
    lines = TEXT.read_text("utf-8").splitlines()
    paths = [text_file(tmp_path / name, "\n".join(part)) for name, part in (("a", lines[::2]), ("b", lines[1::2]))]
    options = {"vocab_size": 300, "character_coverage": 1.0}
    both = train_vocabulary(paths, tmp_path / "v", **options)
    assert set(load_spiece(both.vocab_file).pieces) == set(
        load_spiece(train_vocabulary(TEXT, tmp_path / "w", **options).vocab_file).pieces
    )
    with pytest.raises(OSError, match="there is no file"):
        train_vocabulary([*paths, tmp_path / "c"], tmp_path / "x")
    with pytest.raises(OSError, match="is a file; name a folder"):
        train_vocabulary(paths, paths[0])
