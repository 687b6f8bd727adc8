"""A tokenizer's folder: what is honoured, what is refused and how, and that nothing is ever half written.

What the files mean is compared with transformers in test_tokenizer_parity.py.
"""

import json
import os

import pytest
from support import ROOT

from albert_np import AlbertTokenizer, AlbertTokenizerFast, AutoTokenizer, pipeline


@pytest.fixture
def folder(tmp_path, tiny_dir):
    for name in ("spiece.model", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((tiny_dir / name).read_bytes())
    return tmp_path


def rewrite(folder, **changes):
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_demo_is_the_embedded_vocabulary():
    embedded = AlbertTokenizer.from_pretrained(ROOT / "albert_np" / "demo").get_vocab()
    assert AlbertTokenizer.from_pretrained("demo").get_vocab() == embedded


def test_the_config_of_a_folder_counts_and_arguments_count_more(folder):
    rewrite(folder, do_lower_case=False, model_max_length=99, padding_side="left")
    tokenizer = AlbertTokenizer.from_pretrained(folder)
    assert (tokenizer.do_lower_case, tokenizer.model_max_length, tokenizer.padding_side) == (False, 99, "left")
    assert AlbertTokenizer.from_pretrained(folder, do_lower_case=True).do_lower_case
    (folder / "tokenizer_config.json").unlink()
    assert AlbertTokenizer.from_pretrained(folder).model_max_length == int(1e30)  # what transformers says for no limit


def test_a_subfolder_is_a_folder(folder):
    (folder / "inner").mkdir()
    for path in list(folder.glob("*.*")):
        path.rename(folder / "inner" / path.name)
    assert AlbertTokenizer.from_pretrained(folder, subfolder="inner").vocab_size == 1000
    with pytest.raises(OSError, match=r"no file spiece\.model|no spiece\.model"):
        AlbertTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("name", ["vocab_file", "tokenizer_file", "special_tokens_map_file", "name_or_path"])
def test_a_path_inside_the_config_is_never_followed(folder, tmp_path_factory, name):
    """transformers 4.57.6 opens the vocab_file of a config, wherever it points (transformers#46279)."""
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "spiece.model"
    elsewhere.write_bytes(b"\xff" * 100)
    expected = AlbertTokenizer.from_pretrained(folder).get_vocab()
    for value in (str(elsewhere), "../" * 8 + "etc/passwd", str(elsewhere.parent)):
        rewrite(folder, **{name: value})
        tokenizer = AlbertTokenizer.from_pretrained(folder)
        assert tokenizer.get_vocab() == expected
        assert tokenizer.vocab_file == str(folder / "spiece.model")


@pytest.mark.parametrize(
    "text",
    [
        "[PAD]\n[UNK]\n",
        "[PAD]\r\n[unused1]\r\n[UNK]\r\n[CLS]\r\n##ing\r\n",
        "\ufeff[PAD]\n[UNK]\n",
        "!\n\u7684\n[UNK]\n",
        "the\nof\n",  # nothing but the name of the file says what it is
    ],
)
def test_wordpiece_is_called_what_it_is_where_a_folder_is_not_given(folder, text):
    """google-research/albert#154: Chinese ALBERT has BERT's vocabulary. tests/test_wordpiece.py has its folders."""
    (folder / "spiece.model").unlink()
    path = folder / "vocab.txt"
    path.write_bytes(text.encode())
    ways = [
        lambda: AlbertTokenizer.from_pretrained(path),
        lambda: AlbertTokenizer.from_pretrained(str(path)),
        lambda: AutoTokenizer.from_pretrained(path),
        lambda: pipeline("fill-mask", tokenizer=path),
        lambda: AlbertTokenizer(path),
        lambda: AlbertTokenizer(vocab_file=str(path), style="hf_fast"),
        lambda: AlbertTokenizer(tokenizer_file=path),
        lambda: AlbertTokenizerFast(None, tokenizer_file=path),
    ]
    for way in ways:
        with pytest.raises(ValueError, match=r"vocab\.txt.* BERT's WordPiece vocabulary") as caught:
            way()
        assert "\n" not in str(caught.value)
    if "[UNK]" in text:
        path.rename(folder / "spiece.model")
        with pytest.raises(ValueError, match=r"spiece\.model is BERT's WordPiece vocabulary"):
            AlbertTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("name", [5, None, b"vocab.txt", "a\0b", ["vocab.txt"]])
def test_a_name_that_is_no_name_is_a_value_error(name):
    for kind in (AlbertTokenizer, AutoTokenizer):
        with pytest.raises(ValueError, match=r"a model name is"):
            kind.from_pretrained(name)


def test_other_files_that_are_given_for_a_vocabulary_are_called_what_they_are(folder):
    path = folder / "other"
    for text, message in (
        ("<unk>\t0\n\u2581a\t-2.5\n", r"lists pieces as text \(a \.vocab\)"),
        ('{"model": {}}', "is JSON, not a SentencePiece vocabulary"),
        ('["a", "b"]', "is JSON, not a SentencePiece vocabulary"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            AlbertTokenizer(path)
    with pytest.raises(OSError, match="is a file; give the folder that holds it"):
        AlbertTokenizer.from_pretrained(folder / "spiece.model")


def test_an_lfs_pointer_or_web_page_in_place_of_the_vocabulary_is_named(folder):
    """gector#99: what arrives as an error of ParseFromArray elsewhere."""
    (folder / "spiece.model").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 760289\n")
    with pytest.raises(ValueError, match=r"spiece\.model is a Git-LFS pointer"):
        AlbertTokenizer.from_pretrained(folder)
    (folder / "spiece.model").write_text("<!doctype html><title>404</title>")
    with pytest.raises(ValueError, match=r"spiece\.model is a web page"):
        AlbertTokenizer.from_pretrained(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"do_lower_case": "true"}, "do_lower_case must be True or False; got 'true'"),
        ({"model_max_length": -1}, "model_max_length must be"),
        ({"model_max_length": [512]}, "model_max_length must be"),
        ({"padding_side": 3}, "padding_side must be"),
        ({"mask_token": 4}, "mask_token of .*tokenizer_config.json must be a str"),
        ({"mask_token": {"content": 4}}, "content must be a str"),
        ({"mask_token": {"content": "x", "lstrip": 1}}, "lstrip must be a bool"),
        ({"mask_token": {"text": "x"}}, r"got the keys text$"),
        ({"cls_token": None}, "cls_token must be set"),
        ({"additional_special_tokens": "x"}, "must be a list"),
        ({"extra_special_tokens": "x"}, "must be a list of tokens"),
        ({"extra_special_tokens": [3]}, r"extra_special_tokens\[0\] must be a str"),
        ({"model_specific_special_tokens": ["x"]}, "must map names to tokens"),
        ({"added_tokens_decoder": []}, "must map ids to tokens"),
        ({"added_tokens_decoder": {"-1": {"content": "x"}}}, "a token id is a whole number"),
        ({"added_tokens_decoder": {"9" * 30: {"content": "x"}}}, "a token id is a whole number"),
        ({"added_tokens_decoder": {"1000": "x"}}, "must be an object with content"),
        ({"sp_model_kwargs": {"enable_sampling": True, "nbest_size": -1, "alpha": 0.1}}, "sampling is not supported"),
        ({"sp_model_kwargs": {"enable_sampling": 1}}, "enable_sampling=1: sampling is not supported"),
        ({"sp_model_kwargs": {"reverse": True}}, "asks for reverse=True, which would change the pieces"),
        ({"sp_model_kwargs": {"add_bos": True}}, "asks for add_bos=True"),
        ({"sp_model_kwargs": {"model_file": "/etc/passwd"}}, "has 'model_file', which no tokenizer"),
        ({"sp_model_kwargs": ["nbest_size"]}, "sp_model_kwargs must be an object"),
    ],
)
def test_values_of_the_config_are_checked(folder, changes, message):
    rewrite(folder, **changes)
    with pytest.raises(ValueError, match=message) as caught:
        AlbertTokenizer.from_pretrained(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        None,
        {"enable_sampling": False},
        {"enable_sampling": None, "nbest_size": 0, "alpha": 0.1},
        {"enable_sampling": False, "nbest_size": -1, "alpha": 0.1, "add_bos": False, "reverse": None, "num_threads": 1},
        {"nbest_size": 1},
    ],
)
def test_arguments_of_sentencepiece_that_change_nothing_are_taken(folder, kwargs):
    expected = AlbertTokenizer.from_pretrained(folder).encode("light on")
    assert AlbertTokenizer.from_pretrained(folder, sp_model_kwargs=kwargs).encode("light on") == expected
    rewrite(folder, sp_model_kwargs=kwargs)
    assert AlbertTokenizer.from_pretrained(folder).encode("light on") == expected


@pytest.mark.parametrize("name", ["tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[]", "must hold a JSON object; it holds list"),
        (b"{", "is not JSON"),
        (b"\xff\xfe{}", "is not UTF-8"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"x": ' + b"9" * 5000 + b"}", "of 5000 digits, more than any real file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git-LFS pointer"),
    ],
)
def test_files_that_are_no_json_objects_are_refused(folder, name, content, message):
    config = folder / "tokenizer_config.json"
    values = json.loads(config.read_text())
    del values["added_tokens_decoder"]  # with one, the other two files are not asked
    config.write_text(json.dumps(values))
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        AlbertTokenizer.from_pretrained(folder)


def test_unknown_arguments_are_refused_by_name(folder):
    for name in ("do_lower", "vocab_file"):
        with pytest.raises(ValueError, match=f"no argument '{name}'"):
            AlbertTokenizer.from_pretrained(folder, **{name: True})


def test_save_vocabulary_copies_the_file_byte_for_byte(tiny_dir, tmp_path):
    tokenizer = AlbertTokenizer.from_pretrained(tiny_dir)
    (path,) = tokenizer.save_vocabulary(tmp_path, filename_prefix="mine")
    assert path == str(tmp_path / "mine-spiece.model")
    assert (tmp_path / "mine-spiece.model").read_bytes() == (tiny_dir / "spiece.model").read_bytes()
    with pytest.raises(OSError, match="is not a folder"):
        tokenizer.save_vocabulary(tmp_path / "nowhere")


def test_save_pretrained_is_read_back(tiny_dir, tmp_path):
    tokenizer = AlbertTokenizer.from_pretrained(tiny_dir, additional_special_tokens=["<ent>"], truncation_side="left")
    paths = tokenizer.save_pretrained(tmp_path / "new" / "folder")
    names = {"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "spiece.model"}
    assert {os.path.basename(path) for path in paths} == set(os.listdir(tmp_path / "new" / "folder")) == names
    again = AlbertTokenizer.from_pretrained(tmp_path / "new" / "folder")
    text = "a <ent> [MASK], 1999,"
    assert dict(again(text)) == dict(tokenizer(text))
    assert again.added_tokens_decoder == tokenizer.added_tokens_decoder
    assert (again.truncation_side, again.model_max_length) == ("left", 128)
    assert json.loads((tmp_path / "new" / "folder" / "added_tokens.json").read_text()) == {"<ent>": 1000}


def test_saving_fails_whole_or_not_at_all(folder, monkeypatch):
    """A disk that fills up while writing leaves the old file and nothing else."""
    tokenizer = AlbertTokenizer.from_pretrained(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        tokenizer.save_pretrained(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    with pytest.raises(OSError, match="is a file"):
        tokenizer.save_pretrained(folder / "spiece.model")
