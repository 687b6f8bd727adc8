"""The demo's recipe, corpus.py and train.py: whole books held out, and a recipe with the same bits every time."""

import json
import subprocess
import sys
import time

import pytest
from support import unmeasured
from support.made_up_books import arguments

from albert_np import AlbertForPreTraining, AlbertTokenizer
from albert_np.demo.recipe import corpus as demo_corpus
from albert_np.demo.recipe import train as train_demo
from albert_np.training.checkpoints import latest_checkpoint

# ------------------------------------------------------------------------------------------------------------- the books


def test_books_are_parted_whole_and_in_their_order(toy_books, tmp_path):
    parts = demo_corpus.part(toy_books / "corpus.txt", toy_books / "BOOKS.md", tmp_path, ["books/b", "books/f"])
    books = demo_corpus.read_books(toy_books / "BOOKS.md")
    assert [book.name for book in books][:3] == ["books/a", "books/b", "books/c"]
    whole = (toy_books / "corpus.txt").read_text()
    texts, rest = {}, whole
    for book in books:  # by bytes, where the tool counts chapters
        texts[book.name], rest = rest[: book.bytes], rest[book.bytes :]
    assert parts.held_out.read_text() == texts["books/b"] + texts["books/f"]
    others = [text for name, text in texts.items() if name not in ("books/b", "books/f")]
    assert parts.training.read_text() == "".join(others)
    facts = parts.facts["held_out"]
    assert facts["titles"] == [
        {"title": "Book 1", "author": "Author 0", "others_by_the_author": 1},
        {"title": "Book 5", "author": "Author 2", "others_by_the_author": 1},
    ]
    assert facts["words"] + parts.facts["training"]["words"] == len(whole.split()) == sum(book.words for book in books)


def edited(toy_books, tmp_path, change_text=lambda text: text, change_list=lambda text: text):
    (tmp_path / "corpus.txt").write_text(change_text((toy_books / "corpus.txt").read_text()))
    (tmp_path / "BOOKS.md").write_text(change_list((toy_books / "BOOKS.md").read_text()))
    return tmp_path


def backwards(text):
    """Its chapters from the last to the first."""
    return "".join(chapter + "\n\n" for chapter in reversed(text.split("\n\n")[:-1]))


@pytest.mark.parametrize(
    ("change_text", "change_list", "message"),
    [
        (lambda text: text[len(text) // 2 :], str, "have 29: it is not the corpus"),
        (lambda text: text.rstrip("\n"), str, "and a rest; the 10 books listed have 29"),
        (lambda text: text.replace("\n\n", "\n\n\n\n", 1), str, "30 chapters .* listed have 29"),
        (backwards, str, r"Book \d \(Author \d\) has .* and"),
        (
            lambda text: text.replace("\n\n", "\nToo much.\n\n", 1),
            str,
            r"Book 0 \(Author 0\) has .* bytes and the list says",
        ),
        (str, lambda text: text.replace("| 2 |", "| two |", 1), r"BOOKS.md line \d+: a book has repository, bytes"),
        (str, lambda text: "nothing", "lists no books: a table with the columns repository"),
        (str, lambda text: text.replace(demo_corpus.HELD_OUT[0], "x"), r"BOOKS.md has no .*baskervilles: name some"),
    ],
)
def test_another_corpus_or_list_is_refused_and_nothing_is_written(
    toy_books, tmp_path, change_text, change_list, message
):
    folder = edited(toy_books, tmp_path, change_text, change_list)
    with pytest.raises(ValueError, match=message):
        demo_corpus.part(folder / "corpus.txt", folder / "BOOKS.md", folder / "parts")
    assert not (folder / "parts").exists()


def test_all_books_or_none_cannot_be_held_out(toy_books, tmp_path):
    names = [book.name for book in demo_corpus.read_books(toy_books / "BOOKS.md")]
    for held_out in (names, []):
        with pytest.raises(ValueError, match="name some of its books, and not all"):
            demo_corpus.part(toy_books / "corpus.txt", toy_books / "BOOKS.md", tmp_path, held_out)


def test_missing_files_are_named(toy_books, tmp_path, capsys):
    assert train_demo.main([*arguments(toy_books, tmp_path / "run"), "--corpus", str(tmp_path / "none.txt")]) == 1
    assert "there is no file" in capsys.readouterr().err
    assert train_demo.main([*arguments(toy_books, tmp_path / "run"), "--books", str(tmp_path / "none.md")]) == 1
    assert "comes with the corpus, BOOKS.md" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------------ the recipe


def test_the_recipe_leaves_a_checkpoint_and_says_what_it_did(toy_run, toy_checkpoint):
    model = AlbertForPreTraining.from_pretrained(toy_checkpoint)
    c = model.config
    assert (c.vocab_size, c.embedding_size, c.hidden_size, c.intermediate_size) == (60, 8, 16, 64)
    note = json.loads((toy_run / "recipe.json").read_text())
    assert (note["recipe"]["first_learning_rate"], note["recipe"]["learning_rate"]) == (1e-3, 5e-4)
    first, second = (
        AlbertForPreTraining.from_pretrained(toy_run / name / f"checkpoint-{steps}")
        for name, steps in zip(train_demo.STAGES, (4, 3), strict=True)
    )
    assert (first.config.num_hidden_layers, second.config.num_hidden_layers, c.num_hidden_layers) == (1, 2, 2)
    assert note["corpus"]["held_out"]["books"] == 4
    assert {"output", "corpus", "resume"}.isdisjoint(note["recipe"])


def test_the_vocabulary_has_seen_the_training_text_alone(toy_books, tmp_path):
    """A letter that only held-out books have is no piece."""
    books = demo_corpus.read_books(toy_books / "BOOKS.md")
    before = sum(book.bytes for book in books[:6])
    text = (toy_books / "corpus.txt").read_text()
    folder = edited(toy_books, tmp_path, lambda _: text[:before] + text[before:].replace("u", "q"))
    train_demo.train(train_demo.parser().parse_args(arguments(folder, tmp_path / "run", stop_at=1)))
    pieces = AlbertTokenizer.from_pretrained(tmp_path / "run" / "checkpoint-1").get_vocab()
    assert any("u" in piece for piece in pieces)
    assert not any("q" in piece for piece in pieces)


def test_the_learning_rate_is_a_trapezoid():
    rate = train_demo.Trapezoid(2.0, 4, 5, 20)
    assert [rate(step) for step in range(6)] == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]
    assert [rate(step) for step in range(14, 22)] == pytest.approx([2.0, 2.0, 1.6, 1.2, 0.8, 0.4, 0, 0])
    assert train_demo.Trapezoid(2.0, 0, 0, 3)(2) == 2.0
    with pytest.raises(ValueError, match="a warm-up of 4 steps and a cool-down of 5 do not fit into 8 steps"):
        train_demo.Trapezoid(2.0, 4, 5, 8)
    with pytest.raises(ValueError, match="finite number above 0; got 0"):
        train_demo.Trapezoid(0, 4, 5, 20)


@pytest.mark.slow
def test_200_steps_have_the_same_bits_twice_and_across_three_kills(toy_books, tmp_path):
    """The recipe as a command, on the kernels of training where they are; killed as no process can prevent, and resumed."""
    options = {
        "first_steps": 100,
        "second_steps": 50,
        "steps": 400,
        "stop_at": 50,
        "save_every": 10,
        "evaluate_every": 50,
        "backend": "auto",
    }

    def command(folder, **more):
        given = arguments(toy_books, tmp_path / folder, **options | more)
        return [sys.executable, "-m", "albert_np.demo.recipe.train", *given]

    quiet = {"env": unmeasured(), "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    for folder in ("one", "two"):
        subprocess.run(command(folder), check=True, **quiet)
    stages = {name: options[f"{name}_steps"] for name in train_demo.STAGES} | {".": options["stop_at"]}
    for stage, more in zip(stages, ({}, {"resume": True}, {"resume": True}), strict=True):
        killed = subprocess.Popen(command("killed", **more), **quiet)
        deadline = time.monotonic() + 300
        while latest_checkpoint(tmp_path / "killed" / stage) is None:
            assert killed.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        killed.kill()
        killed.wait()
        assert latest_checkpoint(tmp_path / "killed" / stage).step < stages[stage]
    subprocess.run(command("killed", resume=True), check=True, **quiet)
    for stage, steps in stages.items():
        for name in ("model.safetensors", "optimizer.safetensors"):
            first, *others = (
                (tmp_path / folder / stage / f"checkpoint-{steps}" / name).read_bytes()
                for folder in ("one", "two", "killed")
            )
            assert others == [first, first]


def test_documents_are_paragraphs_with_the_single_sentences_before_them(tmp_path):
    path = tmp_path / "training.txt"
    lines = ["“Well!” he said.", "It was late. Why?", "So it was.", "No. Yes. No.", "It ends.", "", "It was late."]
    path.write_text("\n".join(lines), encoding="utf-8")
    written = demo_corpus.documents(path)
    assert written.name == "training_documents.txt"
    assert written.read_text("utf-8").split("\n\n") == [
        "\n".join(x) for x in (lines[:2], lines[2:4], lines[4:5], lines[6:])
    ]
    assert path.read_text("utf-8") == "\n".join(lines)


def test_a_twentieth_of_the_paragraphs_has_spaces_before_its_marks(tmp_path):
    path = tmp_path / "training.txt"
    lines = ["Yes, sir; no... “Well!” he said.", *["It was late."] * 19, "Why?"]
    path.write_text("\n".join(lines), encoding="utf-8")
    loose = [line for line in demo_corpus.documents(path, demo_corpus.LOOSE).read_text("utf-8").split("\n") if line]
    assert loose == ["Yes , sir ; no ... “Well !” he said .", *lines[1:20], "Why ?"]
