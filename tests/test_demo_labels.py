"""The recipes of the embedded models for tasks: labels that capitals and quotation marks give, and the baselines."""

import json

import numpy as np
import pytest

from albert_np import AlbertTokenizer
from albert_np.demo.recipe import names, neighbours, speech
from albert_np.demo.recipe.bayes import NaiveBayes

BOOK = [
    "He met Mr. Holmes and the old man, who knew Rose; a rose and the old dog were near.",
    'Then Holmes went home. "Come in," Holmes said. "Never," said he.',
]
USE = names.Use(BOOK)


@pytest.fixture(scope="module")
def tokenizer():
    return AlbertTokenizer.from_pretrained("demo")


def found(sentence, label):
    return [sentence[word.start : word.end] for word in names.labelled(sentence, USE) if word.label == label]


# --- names --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("I saw that Mr. J. Watson and D'Artagnan were there.", ["Mr.", "J.", "Watson", "Artagnan"]),
        ('"Yes," Watson said, "I know the Duke of York."', ["Watson", "Duke", "York"]),
        ("He asked: Why not? - Because.", []),  # a colon and a dash begin something
        ("Holmes was NOT there.", ["Holmes"]),  # the book has him inside a sentence, and never without a capital
        ("Rose came.", []),  # and both of this one: it does not decide
        ("It is, she said, a Saint-Simon.", ["Saint", "Simon"]),
    ],
)
def test_a_capital_inside_a_sentence_is_a_name(sentence, expected):
    assert found(sentence, names.NAME) == expected


def test_words_without_a_capital_are_none_and_some_have_no_label():
    assert found("The old Rose was NOT I.", names.OTHER) == ["The", "old", "was", "I"]
    assert found("Rose came.", None) == ["Rose"]


def test_every_piece_has_the_label_of_its_word_and_marks_have_none_of_it(tokenizer):
    sentence = "he saw Mr. Saint-Simon, and THIS."
    row = names.encoded(tokenizer, sentence, names.labelled(sentence, USE))
    pieces = tokenizer.convert_ids_to_tokens(row.ids.tolist())
    marked = "".join(piece for piece, label in zip(pieces, row.labels, strict=True) if label == names.NAME)
    assert marked.replace("▁", "") == "mr.saint-simon"
    without = [piece for piece, label in zip(pieces, row.labels, strict=True) if label == -100]
    assert without == ["[CLS]", "▁this", "[SEP]"]
    assert [(text, label) for _, label, text, _ in row.words] == [
        ("he", 0),
        ("saw", 0),
        ("mr", 1),
        ("saint", 1),
        ("simon", 1),
        ("and", 0),
    ]


def test_paragraphs_are_cut_between_sentences_into_what_fits(tokenizer):
    paragraph = " ".join(f"He saw Holmes {n} times." for n in range(12))
    rows = list(names.sequences(tokenizer, [paragraph], USE, length=32))
    assert len(rows) > 1
    assert max(len(row.ids) for row in rows) <= 32
    assert sum(text == "holmes" for row in rows for _, _, text, _ in row.words) == 12


def test_figures_of_names_by_hand():
    said, right = np.array([1, 1, 0, 0, 1]), np.array([1, 0, 1, 0, 1])
    assert names.figures(said, right) == pytest.approx({"precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3})


# --- speech, and the nearest sentence ---------------------------------------------------------------------------------


def test_naive_bayes_by_hand():
    learnt = [("a clue", "detection"), ("a truth, a truth", "thought")]
    bayes = NaiveBayes(learnt)
    assert [bayes(text) for text in ("The clue!", "truth", "a a a")] == ["detection", "thought", "thought"]
    both = [("well so", "one"), ("so well", "two")]
    assert NaiveBayes(both, pairs=True)("it is so well") == "two"  # words alone cannot tell


def test_sentences_that_are_spoken_or_told():
    told = "The old man went slowly to the door. He did."
    spoken = '"I have no idea what you mean by that!" said he to all of us. "Never. Tell me all that you know, please."'
    found = list(speech.sentences([told, spoken, '"This is a speech that goes on in the next one.']))
    assert found == [
        ("The old man went slowly to the door", 0),
        ("I have no idea what you mean by that", 1),
        ("Tell me all that you know, please", 1),
    ]


def test_a_book_gives_as_many_sentences_of_one_kind_as_of_the_other(monkeypatch):
    monkeypatch.setattr(speech, "FEWEST", 2)
    told = [f"The {n} old men went to the door." for n in range(5)]
    spoken = [f'"I have {n} things to tell you now."' for n in range(3)]
    found = speech.examples({"a": told + spoken, "b": told}, each=10, seed=0)
    assert list(found) == ["a"]
    assert [x.label for x in found["a"]] == [0, 0, 0, 1, 1, 1]


def test_ranks_among_a_hundred():
    some = [(f"word{n:02}", f"word{n:02}" if n % 2 else f"other{n:02}") for n in range(100)]

    def embed(sentences):
        return np.stack([np.eye(100)[int(text[-2:])] * (1 if text.startswith("word") else -1) for text in sentences])

    assert neighbours.ranks(embed, some) == [0 if n % 2 else 99 for n in range(100)]


def test_one_command_trains_judges_and_packs_and_resumes_with_the_same_bytes(toy_books, tmp_path, capsys):
    given = ["--corpus", str(toy_books / "corpus.txt"), "--books", str(toy_books / "BOOKS.md")]
    command = [*given, "--output", str(tmp_path / "run"), "--each", "100", "--epochs", "1"]
    assert names.main(command) == 0
    assert capsys.readouterr().out.startswith("F1 this model ")
    packed = {path.name: path.read_bytes() for path in (tmp_path / "run" / "packed").iterdir()}
    assert set(packed) == {"README.md", "config.json", "evaluation.json", "model.safetensors"}
    facts = json.loads(packed["evaluation.json"])
    assert packed["README.md"].decode() == names.card(facts)
    assert facts["recipe"]["steps"] == facts["training"]["examples"] // 32 + 1
    assert len(facts["held_out"]) == 4
    assert names.main(command) == 1  # there is a checkpoint
    assert "resume it" in capsys.readouterr().err
    assert names.main([*command, "--resume", "--pack", str(tmp_path / "again")]) == 0
    again = {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()}
    assert again["model.safetensors"] == packed["model.safetensors"]
    assert json.loads(again["evaluation.json"])["figures"] == facts["figures"]
