"""JSON from strangers: what is read, and what is refused in one line."""

import pytest

from albert_np.files import parse_json


@pytest.mark.parametrize(
    ("text", "value"), [("5", 5), ('"a"', "a"), ("[[], {}]", [[], {}]), ('"\\ud83d\\ude00"', "😀"), ("null", None)]
)
def test_json_that_is_fine_is_read(text, value):
    assert parse_json(text.encode(), "it") == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"1" * 5000, "it has the number 11111111111111111111…, of 5000 digits, more than any real file"),
        (b'"\\ud800"', "it is not UTF-8"),
        (b'{"a\\n": 1, "a\\n": 2}', r"it holds the key 'a\?' twice"),
        (b"[1", "it is not JSON: .* at line 1 column 3"),
    ],
)
def test_json_that_is_not_is_refused(text, words):
    with pytest.raises(ValueError, match=words):
        parse_json(text, "it")
