"""Style "wordpiece": folders with BERT's vocab.txt, as Chinese ALBERT has them.

The expected ids were made by BertTokenizerFast of transformers 4.57.6 (tokenizers 0.22.2) from the same vocabulary; where its
slow BertTokenizer gives others, a test says so.
"""

import builtins
import json
import logging
import pickle
import random

import numpy as np
import pytest
from support import needs

import albert_np
from albert_np import AddedToken, AlbertTokenizer, AlbertTokenizerFast, AutoTokenizer, pipeline
from albert_np.tokenization import vocab_txt

tokenizers = needs.module("test", "tokenizers")

# fmt: off
TOKENS = [
    "[PAD]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"今天气很好我在北京大学中文你说。，：“”!?.,'#abest",
    "un", "##aff", "##able", "##e", "##s", "##a", "hello", "Hello", "cafe", "caf\u00e9", "CAFE", "don", "1", "##9", "##7",
    "##0", "##天", "##中", "[", "]", "mask", "\u6a02",
]
# fmt: on
VOCAB = "".join(f"{token}\n" for token in TOKENS)
# text, ids in lower case, ids as written
TEXTS = [
    ("今天天气很好。", [6, 7, 7, 8, 9, 10, 21], None),
    ("我在北京大学学中文", [11, 12, 13, 14, 15, 16, 16, 17, 18], None),
    ("Hello, unaffable CAF\u00c9!", [43, 29, 37, 38, 39, 45, 26], [44, 29, 37, 38, 39, 2, 26]),
    ("hello a天b 天a", [43, 32, 7, 33, 7, 32], None),
    ("don't", [48, 30, 36], None),
    ("1970a19 70", [2, 2], None),
    ("[MASK]天[mask]", [5, 7, 55, 57, 56], None),
    ("a\x00b\ufffd a\u200bb\ta\nb\u3000b", [2, 2, 32, 33, 33], None),
    ("x" * 101 + " a", [2, 32], None),
    ("a" * 100 + " b b", [32, *[42] * 99, 33, 33], None),
    ("", [], None),
    (" \n ", [], None),
    ("\U0001f44d天", [2, 7], None),
    ("你说：“你好！”", [19, 20, 23, 24, 19, 10, 2, 25], None),
    ("[CLS] 今 [SEP]", [3, 6, 4], None),
    # the slow tokenizer composes characters first: as written, it finds 樂 and café in these too
    ("\U00020000天\uf914", [2, 7, 58], [2, 7, 2]),
    ("cafe\u0301 caf\u00e9", [45, 45], [2, 46]),
]


def write(folder, vocab=VOCAB, **files):
    """A folder with a vocab.txt (none, if it is None) and JSON files."""
    folder.mkdir(exist_ok=True)
    if vocab is not None:
        (folder / "vocab.txt").write_bytes(vocab if isinstance(vocab, bytes) else vocab.encode())
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    return folder


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "zh")


@pytest.fixture(scope="module")
def tok(tmp_path_factory):
    return AlbertTokenizer.from_pretrained(write(tmp_path_factory.mktemp("zh")))


def refused(folder, message, error=ValueError, **options):
    with pytest.raises(error, match=message) as caught:
        AlbertTokenizer.from_pretrained(folder, **options)
    assert "\n" not in str(caught.value)


# --- what a folder gives ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [
        None,
        {},
        {"do_lower_case": True, "model_max_length": 512},
        {"tokenizer_class": "BertTokenizer"},
        {"tokenizer_class": "BertTokenizerFast", "strip_accents": None, "never_split": None, "do_basic_tokenize": True},
        {"tokenizer_class": "AlbertTokenizer"},
        {"tokenizer_class": "PreTrainedTokenizerFast"},
    ],
)
@pytest.mark.parametrize("loader", [AlbertTokenizer, AlbertTokenizerFast, AutoTokenizer])
def test_a_folder_with_a_vocab_txt_gives_berts_tokenizer_whoever_loads_it(folder, config, loader, caplog):
    write(folder, config={"model_type": "albert"}, **({} if config is None else {"tokenizer_config": config}))
    with caplog.at_level(logging.WARNING, "albert_np"):
        tokenizer = loader.from_pretrained(folder)
    assert not caplog.records
    assert isinstance(tokenizer, AlbertTokenizer)
    assert isinstance(tokenizer, AlbertTokenizerFast)
    assert (tokenizer.style, tokenizer.is_fast) == ("wordpiece", True)
    for text, lower, _ in TEXTS:
        assert tokenizer(text)["input_ids"] == [3, *lower, 4], text


def test_special_tokens_have_the_ids_of_their_lines(tok):
    assert tok.special_tokens_map == {
        "unk_token": "[UNK]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
    }
    named = (tok.pad_token_id, tok.unk_token_id, tok.cls_token_id, tok.sep_token_id, tok.mask_token_id)
    assert named == (0, 2, 3, 4, 5)
    assert (tok.bos_token, tok.eos_token, len(tok), tok.vocab_size) == (None, None, len(TOKENS), len(TOKENS))
    assert tok.get_vocab() == {token: index for index, token in enumerate(TOKENS)}
    assert tok.added_tokens_decoder[5] == AddedToken(
        "[MASK]", normalized=False, special=True
    )  # no lstrip, as ALBERT's has


@pytest.mark.parametrize("where", ["argument", "settings"])
def test_without_lower_case_ids_are_those_of_the_text_as_written(folder, where):
    if where == "settings":
        write(folder, tokenizer_config={"do_lower_case": False})
    options = {"do_lower_case": False} if where == "argument" else {}
    tokenizer = AutoTokenizer.from_pretrained(folder, **options)
    assert not tokenizer.do_lower_case
    for text, lower, cased in TEXTS:
        assert tokenizer.encode(text, add_special_tokens=False) == (cased or lower), text


@pytest.mark.parametrize(
    ("options", "text", "ids"),
    [
        ({"strip_accents": False}, "CAF\u00c9 caf\u00e9", [46, 46]),
        ({"do_lower_case": False, "strip_accents": True}, "CAF\u00c9 caf\u00e9", [47, 45]),
        ({"tokenize_chinese_chars": False}, "今天天气", [2]),
        ({"tokenize_chinese_chars": False}, "1天中", [49, 53, 54]),
    ],
)
def test_settings_of_berts_normaliser_are_kept_when_saved(folder, tmp_path, options, text, ids):
    tokenizer = AlbertTokenizer.from_pretrained(folder, **options)
    assert tokenizer.encode(text, add_special_tokens=False) == ids
    tokenizer.save_pretrained(tmp_path / "saved")
    for left_out in ("nothing", "tokenizer.json"):
        (tmp_path / "saved" / left_out).unlink(missing_ok=True)
        again = AlbertTokenizer.from_pretrained(tmp_path / "saved")
        assert again.encode(text, add_special_tokens=False) == ids
        assert {name: getattr(again, name) for name in options} == options


# --- what a call gives -----------------------------------------------------------------------------------------------------


def test_a_pair_with_all_that_a_call_returns(tok):
    spans = [(0, 0), (0, 1), (1, 2), (3, 5), (5, 8), (8, 12), (12, 13)]
    made = tok("今天 unaffable!", "Caf\u00e9 你好", return_offsets_mapping=True, return_special_tokens_mask=True)
    assert dict(made) == {
        "input_ids": [3, 6, 7, 37, 38, 39, 26, 4, 45, 19, 10, 4],
        "token_type_ids": [0] * 8 + [1] * 4,
        "attention_mask": [1] * 12,
        "special_tokens_mask": [1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1],
        "offset_mapping": [*spans, (0, 0), (0, 4), (5, 6), (6, 7), (0, 0)],
    }
    assert made.tokens()[1:6] == ["今", "天", "un", "##aff", "##able"]
    assert made.word_ids() == [None, 0, 1, 2, 2, 2, 3, None, 0, 1, 2, None]
    assert made.sequence_ids() == [None, *[0] * 6, None, 1, 1, 1, None]
    assert made.char_to_token(6) == 4
    assert made.word_to_chars(2) == (3, 12)


def test_words_windows_and_arrays(tok):
    words = tok([["今天", "unaffable"], ["a"]], is_split_into_words=True, padding=True, return_offsets_mapping=True)
    assert words["input_ids"] == [[3, 6, 7, 37, 38, 39, 4], [3, 32, 4, 0, 0, 0, 0]]
    assert words["offset_mapping"][0] == [(0, 0), (0, 1), (1, 2), (0, 2), (2, 5), (5, 9), (0, 0)]
    assert words.word_ids(0) == [None, 0, 0, 1, 1, 1, None]
    options = {"truncation": "only_first", "max_length": 10, "padding": "max_length"}
    windows = tok("今天天气很好。", "我在北京", stride=1, return_overflowing_tokens=True, **options)
    second = [4, 11, 12, 13, 14, 4]
    assert windows["input_ids"] == [[3, 6, 7, 7, *second], [3, 7, 8, 9, *second], [3, 9, 10, 21, *second]]
    assert windows["overflow_to_sample_mapping"] == [0, 0, 0]
    arrays = tok(["今", "今天"], return_tensors="np", padding=True, pad_to_multiple_of=3)
    np.testing.assert_array_equal(arrays["input_ids"], [[3, 6, 4, 0, 0, 0], [3, 6, 7, 4, 0, 0]])


def test_ids_are_made_ready_by_the_rule_of_slow_tokenizers_as_in_transformers(tok):
    """Of two texts of one length, its prepare_for_model takes the odd token from the second, and a call from the first."""
    first, second = [33, 49, 35], [13, 27, 28]
    made = tok.prepare_for_model(first, second, truncation="longest_first", max_length=8)
    assert made["input_ids"] == [3, *first, 4, 13, 27, 4]
    assert tok("b1s", "北?.", truncation=True, max_length=8)["token_type_ids"] == [0, 0, 0, 1, 1, 1, 1]


def test_ids_become_text_again(tok):
    ids = [3, 6, 7, 37, 38, 39, 26, 4, 45, 19, 10, 4]
    assert tok.decode(ids) == "[CLS] 今 天 unaffable! [SEP] cafe 你 好 [SEP]"
    assert tok.decode(ids, skip_special_tokens=True) == "今 天 unaffable! cafe 你 好"
    assert tok.batch_decode([[37, 38, 39], [6, 7], [39]]) == ["unaffable", "今 天", "##able"]
    assert tok.convert_tokens_to_string(["un", "##aff", "##able", "!", "天", "##天"]) == "unaffable! 天天"
    assert tok.convert_ids_to_tokens([3, 38]) == ["[CLS]", "##aff"]
    assert tok.convert_tokens_to_ids(["##aff", "nothing"]) == [38, 2]


def test_tokens_are_added_as_the_library_adds_them(folder, tmp_path):
    tokenizer = AlbertTokenizer.from_pretrained(folder)
    new = ["天气", AddedToken("<e>", lstrip=True, special=True), AddedToken("Foo", single_word=True)]
    assert tokenizer.add_tokens(new) == 3
    n = len(TOKENS)
    expected = [n, n + 1, 6, n + 2, 2]
    assert tokenizer.encode("天气 <e>今 Foo Foos", add_special_tokens=False) == expected
    tokenizer.save_pretrained(tmp_path / "saved")
    for again in (AlbertTokenizer.from_pretrained(tmp_path / "saved"), pickle.loads(pickle.dumps(tokenizer))):
        assert again.encode("天气 <e>今 Foo Foos", add_special_tokens=False) == expected
        assert again.get_vocab() == tokenizer.get_vocab()
    assert tokenizer.decode([n, n + 1, 6], skip_special_tokens=True) == "天气 今"
    tokenizer.cls_token = "你"
    assert tokenizer.encode("今") == [19, 6, 4]


@pytest.mark.parametrize("content", ["\u200b", "\ufffd\x00", "\u0301"])
def test_a_token_of_which_normalising_leaves_nothing_is_refused(folder, content):
    """The library would find it everywhere, and fill memory with it."""
    tokenizer = AlbertTokenizer.from_pretrained(folder)
    with pytest.raises(ValueError, match="is an empty text once it is normalized"):
        tokenizer.add_tokens(content)
    assert tokenizer.add_tokens(AddedToken(content, normalized=False)) == 1
    assert tokenizer.encode(f"今{content}天") == [3, 6, len(TOKENS), 7, 4]
    tokenizer.save_pretrained(folder)
    content = json.loads((folder / "tokenizer.json").read_text())
    content["added_tokens"][-1]["normalized"] = True
    write(folder, tokenizer=content)
    (folder / "tokenizer_config.json").unlink()
    refused(folder, "is an empty text once it is normalized")


# --- files -----------------------------------------------------------------------------------------------------------------


def test_what_is_saved_is_the_vocabulary_and_what_transformers_reads(folder, tmp_path):
    (folder / "vocab.txt").write_bytes(VOCAB.replace("\n", "\r\n").encode())
    saved = tmp_path / "saved"
    paths = AlbertTokenizer.from_pretrained(folder).save_pretrained(saved)
    assert {path.rsplit("/", 1)[1] for path in paths} == {
        "tokenizer_config.json",
        "special_tokens_map.json",
        "tokenizer.json",
        "vocab.txt",
    }
    assert (saved / "vocab.txt").read_bytes() == (folder / "vocab.txt").read_bytes()
    config = json.loads((saved / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "BertTokenizer"
    assert not {"remove_space", "keep_accents", "sp_model_kwargs", "add_prefix_space"} & set(config)
    (saved / "vocab.txt").unlink()
    alone = AutoTokenizer.from_pretrained(saved)
    assert alone.get_vocab() == {token: index for index, token in enumerate(TOKENS)}
    alone.save_pretrained(saved, legacy_format=True)
    assert (saved / "vocab.txt").read_text() == VOCAB


def test_settings_of_bert_count_before_tokenizer_json_and_those_of_no_class_after_it(folder, tmp_path):
    """BertTokenizerFast gives the normaliser its own defaults; PreTrainedTokenizerFast leaves it as it is."""
    AlbertTokenizer.from_pretrained(folder, do_lower_case=False).save_pretrained(tmp_path / "saved")
    (tmp_path / "saved" / "vocab.txt").unlink()
    for config, lower in (
        ({"tokenizer_class": "BertTokenizer"}, True),
        ({"tokenizer_class": "BertTokenizer", "do_lower_case": False}, False),
        ({"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": True}, False),
        ({}, False),
        ({"do_lower_case": True}, True),
    ):
        write(tmp_path / "saved", None, tokenizer_config=config)
        tokenizer = AlbertTokenizer.from_pretrained(tmp_path / "saved")
        assert tokenizer.do_lower_case is lower
        assert tokenizer.tokenize("Hello") == ["hello" if lower else "Hello"], config
    assert AlbertTokenizer.from_pretrained(tmp_path / "saved", do_lower_case=False).tokenize("Hello") == ["Hello"]


def test_sentencepiece_counts_before_a_vocab_txt_unless_the_settings_say_bert(folder, tiny_dir):
    (folder / "spiece.model").write_bytes((tiny_dir / "spiece.model").read_bytes())
    assert AlbertTokenizer.from_pretrained(folder).style == "hf_slow"
    assert AlbertTokenizer.from_pretrained(folder, style="wordpiece").style == "wordpiece"
    write(folder, tokenizer_config={"tokenizer_class": "BertTokenizer"})
    assert AlbertTokenizer.from_pretrained(folder).style == "wordpiece"
    (folder / "spiece.model").unlink()
    (folder / "vocab.txt").rename(folder / "vocab_chinese.txt")  # as in google-research/albert's archives
    assert AlbertTokenizer.from_pretrained(folder).encode("今天") == [3, 6, 7, 4]
    (folder / "vocab_chinese.txt").unlink()
    refused(folder, r"no file spiece\.model", OSError)
    refused(folder, r"no file vocab\.txt", OSError, style="wordpiece")


@pytest.mark.parametrize(
    "vocab",
    [
        VOCAB.replace("\n", "\r\n"),
        VOCAB.replace("\n", "\r"),
        VOCAB.rstrip("\n"),
        VOCAB + "\n\n",
        b"\xef\xbb\xbf" + VOCAB.encode(),
    ],
    ids=["crlf", "cr", "no_last_newline", "blank_last_lines", "byte_order_mark"],
)
def test_forms_of_a_text_file_change_no_id(tmp_path, vocab):
    tokenizer = AlbertTokenizer.from_pretrained(write(tmp_path, vocab))
    assert tokenizer.get_vocab() == {token: index for index, token in enumerate(TOKENS)}
    assert tokenizer.encode("今天。") == [3, 6, 7, 21, 4]


def test_odd_lines_keep_their_ids(tmp_path, caplog):
    """A token with spaces, an empty line, a line that is not a line to others; of equal lines the last one counts."""
    odd = ["a b", "", "\u2028", " 今", "天", "##aff"]
    with caplog.at_level(logging.WARNING, "albert_np"):
        tokenizer = AlbertTokenizer.from_pretrained(
            write(tmp_path, VOCAB + "".join(f"{token}\n" for token in odd) + "z\n")
        )
    (message,) = [record.getMessage() for record in caplog.records]
    assert "2 lines that come again further down, such as line 8, '天'" in message
    n = len(TOKENS)
    assert tokenizer.convert_tokens_to_ids([*odd, "z"]) == list(range(n, n + 7))
    assert tokenizer.encode("今天 z unaffable", add_special_tokens=False) == [6, n + 4, n + 6, 37, n + 5, 39]
    assert (len(tokenizer), tokenizer.add_tokens("zz"), tokenizer.encode("zz")[1]) == (n + 7, 1, n + 7)
    tokenizer.save_pretrained(tmp_path)
    assert AlbertTokenizer.from_pretrained(tmp_path).get_vocab() == tokenizer.get_vocab()


@pytest.mark.parametrize(
    ("vocab", "message"),
    [
        ("", "is empty"),
        ("\n\r\n", "is empty"),
        (VOCAB.encode("gb18030"), "is not UTF-8 text"),
        (VOCAB.encode("utf-16"), "is not UTF-8 text"),
        (VOCAB + "a\0\n", "holds a NUL character"),
        (VOCAB + "x" * 1001, "line 60 of .* has more than 1000 bytes"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 109540\n", "is a Git-LFS pointer"),
        ("<!DOCTYPE html>\n<html>\n", "is a web page"),
        ("[UNK]\n[CLS]\na\n", r"has no \[SEP\], the sep_token"),
        ("the\nof\n", r"has no \[UNK\], the unk_token"),
        ("\n" * (1 << 19) + "[UNK]", "has over 524,288 lines"),
    ],
)
def test_what_is_no_vocabulary_is_refused_in_one_line(tmp_path, vocab, message):
    refused(write(tmp_path, vocab), rf"vocab\.txt.* {message}|{message}")


def test_a_large_file_is_refused_before_it_is_read(folder, monkeypatch):
    with (folder / "vocab.txt").open("r+b") as file:
        file.truncate(100 << 20)
    monkeypatch.setattr(vocab_txt.Path, "read_bytes", lambda path: pytest.fail("it was read"))
    refused(folder, r"has 104,857,600 bytes; a WordPiece vocabulary has at most")


def test_settings_of_another_vocabulary_are_refused(folder):
    write(folder, special_tokens_map={"unk_token": "<unk>"})
    refused(folder, r"has no <unk>, the unk_token of .*the settings")
    assert AlbertTokenizer.from_pretrained(folder, unk_token="[UNK]").encode("z") == [3, 2, 4]


def test_a_mask_token_that_the_file_lacks_gets_a_new_id_and_that_is_said(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "albert_np"):
        tokenizer = AlbertTokenizer.from_pretrained(write(tmp_path, VOCAB.replace("[MASK]", "[unused5]")))
    assert "has no [MASK], which has the new id 59 now" in caplog.text
    assert tokenizer.encode("今[MASK]") == [3, 6, 59, 4]
    tokenizer.save_pretrained(tmp_path)
    caplog.clear()
    assert AlbertTokenizer.from_pretrained(tmp_path).mask_token_id == 59
    assert not caplog.records
    assert AlbertTokenizer.from_pretrained(tmp_path, mask_token=None).mask_token is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["model"].update(vocab=[]), "must map tokens to ids"),
        (lambda c: c["model"]["vocab"].update(a=True), "gives 'a' the id True"),
        (lambda c: c["model"]["vocab"].update(a=-1), "gives 'a' the id -1"),
        (lambda c: c["model"]["vocab"].update(a=1 << 40), "gives 'a' the id 1099511627776"),
        (lambda c: c["model"]["vocab"].update(a=7), "and another token the id 7"),
        (lambda c: c["model"].update(unk_token="x"), "unk_token of .*'x', is not in its vocab"),
        (lambda c: c["model"].pop("unk_token"), "unk_token of .*None, is not in its vocab"),
        (lambda c: c["model"].update(max_input_chars_per_word=1 << 62), "must be 1 to 10,000"),
        (lambda c: c["model"].update(continuing_subword_prefix=3), "cannot read this tokenizer.json"),
        (lambda c: c.update(pre_tokenizer={"type": "Nothing"}), "cannot read this tokenizer.json"),
        (lambda c: c.update(post_processor=None), "post_processor of tokenizer.json"),
        (lambda c: c.update(added_tokens=None), "added_tokens of .* must be a list"),
        (lambda c: c["added_tokens"][0].update(id=50), "another in tokenizer.json|has the id 50"),
    ],
)
def test_a_damaged_tokenizer_json_is_refused_in_one_line(folder, change, message):
    AlbertTokenizer.from_pretrained(folder).save_pretrained(folder)
    (folder / "tokenizer_config.json").unlink()
    content = json.loads((folder / "tokenizer.json").read_text())
    change(content)
    write(folder, tokenizer=content)
    refused(folder, message)


def test_a_tokenizer_json_with_holes_and_one_of_other_rules(folder):
    AlbertTokenizer.from_pretrained(folder).save_pretrained(folder)
    content = json.loads((folder / "tokenizer.json").read_text())
    del content["model"]["vocab"]["气"], content["model"]["type"]  # the first files of this kind name no type
    content["normalizer"] = {"type": "Lowercase"}
    write(folder, tokenizer=content)
    tokenizer = AlbertTokenizer.from_pretrained(folder)
    assert tokenizer.tokenize("HELLO 气 好") == ["hello", "[UNK]", "好"]
    assert tokenizer.add_tokens("气") == 1
    assert tokenizer.convert_tokens_to_ids("气") == len(TOKENS)
    refused(folder, "the normalizer of .* is not BERT's, so do_lower_case cannot change it", do_lower_case=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"style": "hf_slow"}, "whose only style is 'wordpiece'"),
        ({"keep_accents": True}, "keep_accents is a setting of SentencePiece's"),
        ({"do_lower_case": 1}, "do_lower_case must be True or False"),
        ({"strip_accents": "no"}, "strip_accents must be True or False"),
        ({"tokenize_chinese_chars": None}, "tokenize_chinese_chars must be True or False"),
        ({"clean_text": False}, "knows no argument 'clean_text'"),
        ({"unk_token": None}, "unk_token must be set|has no None"),
    ],
)
def test_arguments_that_mean_nothing_here_are_refused(folder, options, message):
    refused(folder, message, **options)


def test_what_only_the_slow_tokenizer_obeys_is_said(folder, caplog):
    with caplog.at_level(logging.WARNING, "albert_np"):
        AlbertTokenizer.from_pretrained(folder, do_basic_tokenize=False)
    assert "do_basic_tokenize and never_split change nothing" in caplog.text


def test_arguments_of_bert_are_none_of_sentencepieces(tiny_dir):
    refused(tiny_dir, "knows no argument 'strip_accents'", strip_accents=True)
    refused(tiny_dir, r"no file vocab\.txt", OSError, style="wordpiece")


def test_a_class_of_ones_own_is_not_replaced_in_silence(folder):
    class Mine(AlbertTokenizer):
        pass

    with pytest.raises(ValueError, match="is BERT's WordPiece, which Mine is no class for"):
        Mine.from_pretrained(folder)


def test_without_the_library_the_refusal_names_the_extra(folder, monkeypatch):
    real_import = builtins.__import__

    def missing(name, *args, **kwargs):
        if name == "tokenizers":
            raise ImportError("No module named 'tokenizers'")
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    refused(folder, r'vocab\.txt .* tokenizers library, which is not installed: pip install "albert-np\[formats\]"')


# --- what uses it ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def models(tmp_path_factory, tok):
    """Folder by class: tiny models with random weights, and the tokenizer beside them."""
    found = {}
    for seed, name in enumerate(("MaskedLM", "TokenClassification", "QuestionAnswering", "SequenceClassification")):
        config = albert_np.AlbertConfig(
            vocab_size=len(TOKENS),
            embedding_size=4,
            hidden_size=8,
            num_attention_heads=2,
            intermediate_size=8,
            num_hidden_layers=1,
            max_position_embeddings=32,
            initializer_range=0.6,
            num_labels=3,
        )
        found[name] = tmp_path_factory.mktemp(name)
        getattr(albert_np, f"AlbertFor{name}")(config, seed=seed).save_pretrained(found[name])
        tok.save_pretrained(found[name])
    return found


def test_fill_mask_writes_pieces_and_text_as_bert_does(models):
    answers = pipeline("fill-mask", models["MaskedLM"], top_k=len(TOKENS))("今天[MASK]气")
    assert len(answers) == len(TOKENS)
    for answer in answers:
        piece = TOKENS[answer["token"]]
        assert answer["token_str"] == piece
        if piece.startswith("##"):
            assert answer["sequence"] == f"今 天{piece[2:]} 气"
        elif piece == "好":
            assert answer["sequence"] == "今 天 好 气"


def test_entities_are_whole_words_and_their_places_are_those_of_the_text(models):
    text = "今天Unaffable，你说hello"
    find = pipeline("token-classification", models["TokenClassification"], ignore_labels=[])
    each = find(text)
    assert [text[one["start"] : one["end"]].lower() for one in each] == [one["word"].removeprefix("##") for one in each]
    assert [one["word"] for one in each] == ["今", "天", "un", "##aff", "##able", "，", "你", "说", "hello"]
    words = {(0, 1), (1, 2), (2, 11), (11, 12), (12, 13), (13, 14), (14, 19)}
    starts, ends = {start for start, _ in words}, {end for _, end in words}
    for strategy in ("first", "average", "max"):
        for one in find(text, aggregation_strategy=strategy):
            assert one["start"] in starts
            assert one["end"] in ends


def test_answers_are_parts_of_the_context(models):
    context = "他说unaffable。今天天气很好，我在北京"
    words = {"他", "说", "unaffable", "。", *"今天天气很好，我在北京"}
    answers = pipeline("question-answering", models["QuestionAnswering"])(
        question="天气?", context=context, top_k=8, max_answer_len=1
    )
    assert answers
    for answer in answers:
        assert answer["answer"] == context[answer["start"] : answer["end"]]
        assert answer["answer"] in words


def test_classes_and_the_command_line(models, capsys):
    from albert_np.cli import main

    (answer,) = pipeline("text-classification", models["SequenceClassification"])(["今天天气很好"])
    assert answer["label"] in {"LABEL_0", "LABEL_1", "LABEL_2"}
    assert main(["tokenize", "今天 unaffable", "--model", str(models["MaskedLM"]), "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["tokens"] == ["[CLS]", "今", "天", "un", "##aff", "##able", "[SEP]"]
    assert made["offsets"][3:6] == [[3, 5], [5, 8], [8, 12]]


def test_a_model_with_fewer_rows_than_the_vocabulary_is_said_to_be_anothers(models, tmp_path):
    more = AlbertTokenizer.from_pretrained(write(tmp_path, VOCAB + "more\n"))
    with pytest.raises(ValueError, match="the tokenizer has 60 tokens and the model 59"):
        pipeline("fill-mask", albert_np.AlbertForMaskedLM.from_pretrained(models["MaskedLM"]), more)


def test_words_for_masking_begin_where_no_piece_is_continued(tok):
    from albert_np.training.masking import pieces_of

    table = pieces_of(tok)
    assert not table.begins_word[[38, 39, 40]].any()
    assert table.begins_word[[6, 7, 37, 43]].all()
    assert set(np.flatnonzero(table.special)) == {0, 2, 3, 4, 5}


# --- live comparison -------------------------------------------------------------------------------------------------------

# fmt: off
CHUNKS = [
    *"abehstunCAFE\u00c9\u00e9\u00e8\u00fc\u00dc\u00df\u0130\u0131\u01c50179.,!?'\"#()[]-_@$\u00b7\u2026“”《》。，！？、；：（）【】",
    *"今天天气很好我在北京大学学中文你说他\u3400\u34a8\u8c48\uf914\u4e3dカタあいが\u304b\u3099な한국어\u1112\u1161가กข",
    "\u3000", " ", " ", "\t", "\n", "\r", "\x00", "\x01", "\x7f", "\x85", "\xad", "\u200b", "\u200d", "\u2003", "\u2028",
    "\ufeff", "\ufffd", "\u0301", "\u0308", "\u0345", "\u1680", "\ue000", "\u0378", "\U0010ffff", "\U00020000",
    "\U0002a700", "\U0002b740", "\U0002b820", "\U0002f800", "\U0001f600", "\U0001f469\u200d\u2764", "\U0001f3fd",
    "e\u0301", "\uff21", "\ufb01", "\u212b", "[MASK]", "[CLS]", "[UNK]", "[mask]", " [SEP] ", "<e>", "Foo", "##a", "##",
    "x" * 101, "a" * 100, "中" * 120, "unaffable", "don't", " n't", "hello",
]
# fmt: on
OPTIONS = {
    "truncation": [True, False, "only_first", "only_second", "longest_first"],
    "max_length": [3, 4, 5, 6, 8, 12, 16],
    "padding": [True, False, "max_length"],
    "pad_to_multiple_of": [2, 4],
    "padding_side": ["left", "right"],
    "stride": [0, 1, 2],
    "return_overflowing_tokens": [True],
    "return_offsets_mapping": [True],
    "return_special_tokens_mask": [True],
    "return_length": [True],
    "add_special_tokens": [False],
    "return_attention_mask": [False],
}


def _inputs(rng):
    def text(n=20):
        return "".join(rng.choices(CHUNKS, k=rng.randrange(n)))

    def texts(n=20):
        return [text(n) for _ in range(rng.randrange(1, 4))]

    form = rng.randrange(6)
    if form == 5:
        return ([texts(6), texts(6)],), {"is_split_into_words": True}
    if form == 4:
        return (texts(6),), {"is_split_into_words": True}
    both = texts()
    return [(text(),), (text(), text() or "a"), (both,), (both, [text() for _ in both])][form], {}


def _asked(tokenizer, arguments, options):
    """What a call gives, or what it says instead. The library's panics are none of Exception."""
    try:
        return tokenizer(*arguments, **options), ""
    except BaseException as error:
        return None, str(error)


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"do_lower_case": False},
        {"strip_accents": False, "truncation_side": "left", "padding_side": "left"},
        {"strip_accents": True, "do_lower_case": False},
        {"tokenize_chinese_chars": False, "additional_special_tokens": ["<e>", "天气"]},
    ],
    ids=str,
)
def test_any_text_with_any_options_gives_what_transformers_gives(transformers, folder, tmp_path, settings):
    transformers.logging.set_verbosity(logging.CRITICAL)
    logging.getLogger("albert_np").setLevel(logging.CRITICAL)
    theirs = transformers.BertTokenizerFast.from_pretrained(folder, **settings)
    ours = AlbertTokenizer.from_pretrained(folder, **settings)
    ours.save_pretrained(tmp_path / "saved")
    slow = transformers.BertTokenizer.from_pretrained(tmp_path / "saved")
    rng = random.Random(str(settings))
    compared = 0
    for _ in range(300):
        arguments, options = _inputs(rng)
        options |= {name: rng.choice(values) for name, values in OPTIONS.items() if rng.random() < 0.35}
        expected, problem = _asked(theirs, arguments, options)
        found, refusal = _asked(ours, arguments, options)
        if expected is None:
            assert "stride" in problem or "runcation" in problem, problem
            continue
        if found is None:  # the library makes empty windows here, or some that are longer than max_length
            assert "room" in refusal or "stride" in refusal, (refusal, arguments, options)
            continue
        compared += 1
        assert dict(found) == dict(expected), (arguments, options)
        for row, ids in enumerate(encoding.ids for encoding in expected.encodings):
            for name in ("tokens", "word_ids", "sequence_ids"):
                assert getattr(found, name)(row) == getattr(expected, name)(row)
            for skip in (False, True):
                assert ours.decode(ids, skip) == theirs.decode(ids, skip)
            assert ours.convert_tokens_to_string(found.tokens(row)) == theirs.convert_tokens_to_string(
                found.tokens(row)
            )
    assert compared > 200
    for text, *_ in TEXTS[:-2]:
        assert slow.encode(text) == ours.encode(text)


@pytest.mark.parity
def test_what_we_save_transformers_loads_and_the_other_way_round(transformers, folder, tmp_path):
    ours = AlbertTokenizer.from_pretrained(folder, do_lower_case=False)
    ours.add_tokens(["天气", AddedToken("<e>", lstrip=True, special=True)])
    ours.save_pretrained(tmp_path / "ours")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "ours")
    assert type(theirs).__name__ == "BertTokenizerFast"
    theirs.save_pretrained(tmp_path / "theirs")
    again = AutoTokenizer.from_pretrained(tmp_path / "theirs")
    text = "Hello 天气 <e> 今 CAF\u00c9 hello"
    assert dict(theirs(text, "a")) == dict(ours(text, "a")) == dict(again(text, "a"))
    assert theirs.get_vocab() == ours.get_vocab() == again.get_vocab()
