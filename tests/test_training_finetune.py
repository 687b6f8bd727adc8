"""`albert-np finetune` on all tasks: made-up data that a tiny fresh model learns in seconds, and refusals before it begins."""

import contextlib
import csv
import json
import shutil
import warnings

import numpy as np
import pytest
from support import TINY_MODEL

from albert_np import (
    AlbertConfig,
    AlbertForMaskedLM,
    AlbertForSequenceClassification,
    AlbertForTokenClassification,
    AlbertTokenizer,
)
from albert_np.cli import main
from albert_np.demo.recipe import genre
from albert_np.tasks.question_answering import Context, Window, squad_answers
from albert_np.training.finetune import TASKS, finetune

WORDS = ["house", "river", "garden", "horse", "window", "letter", "morning", "table", "winter", "brother"]
FAST = {"learning_rate": 1e-2, "batch_size": 16, "backend": "numba"}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A fresh model with the tests' vocabulary."""
    folder = tmp_path_factory.mktemp("base")
    config = AlbertConfig.from_pretrained(
        TINY_MODEL,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        embedding_size=16,
        max_position_embeddings=64,
        classifier_dropout_prob=0.0,
    )
    AlbertForMaskedLM(config, seed=1).save_pretrained(folder)
    AlbertTokenizer.from_pretrained(TINY_MODEL).save_pretrained(folder)
    return folder


@contextlib.contextmanager
def refused(*words):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the words are looked for below)
        yield
    message = str(caught.value)
    assert "\n" not in message
    assert [word for word in words if word not in message] == [], message


def some_words(rng, n):
    return [str(word) for word in rng.choice(WORDS[2:], n)]


def table(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def jsonl(path, rows):
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return path


def texts(n, seed=0):
    """Texts about a house or about a river."""
    rng = np.random.default_rng(seed)
    for _ in range(n):
        words, label = some_words(rng, 5), int(rng.integers(2))
        words[int(rng.integers(5))] = WORDS[label]
        yield " ".join(words), WORDS[label]


def run(task, path, folder, base, **options):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*drawn from seed")  # the new head
        return finetune(task, path, folder, model=base, **FAST | options)


@pytest.fixture(scope="module")
def trained(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    path = table(folder / "texts.csv", [{"text": text, "label": label} for text, label in texts(160)])
    done = run("text-classification", path, folder / "out", base, epochs=6)
    return path, folder / "out", done


def test_classes_of_texts(trained):
    _, folder, done = trained
    assert done.trained.stopped == "steps"
    assert done.trained.step == 6 * 9
    assert done.counts["train"]["examples"] == 144
    assert done.counts["held out"]["examples"] == 16
    assert done.trained.best["metric"] == "accuracy"
    assert done.trained.best["value"] == 1.0
    model = AlbertForSequenceClassification.from_pretrained(done.trained.checkpoint)
    tokenizer = AlbertTokenizer.from_pretrained(done.trained.checkpoint)
    assert model.config.id2label == {0: "house", 1: "river"}
    assert model.config.problem_type.startswith("single")
    unseen = list(texts(40, seed=5))
    out = model(**tokenizer([text for text, _ in unseen], padding=True, return_tensors="np"))
    right = [model.config.id2label[int(i)] == label for i, (_, label) in zip(out.logits.argmax(1), unseen, strict=True)]
    assert np.mean(right) >= 0.95
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert {"loss", "accuracy", "f1", "matthews"} == set(log[-1]["evaluation"])
    assert sum("evaluation" in line for line in log) == 6  # once an epoch


def test_a_repeated_and_a_resumed_finetune_have_the_same_bits(trained, base, tmp_path):
    path, folder, done = trained
    last = done.trained.checkpoint.name
    run("text-classification", path, tmp_path / "again", base, epochs=6)
    assert (tmp_path / "again" / last / "model.safetensors").read_bytes() == (
        folder / last / "model.safetensors"
    ).read_bytes()
    (best,) = (x for x in folder.glob("checkpoint-*") if x.name != last)
    shutil.copytree(best, tmp_path / "resumed" / best.name)
    run("text-classification", path, tmp_path / "resumed", base, epochs=6, resume=True)
    assert (tmp_path / "resumed" / last / "model.safetensors").read_bytes() == (
        folder / last / "model.safetensors"
    ).read_bytes()


def test_a_file_to_validate_with_keeps_the_labels_of_the_first(base, tmp_path):
    path = table(tmp_path / "a.csv", [{"text": text, "label": label} for text, label in texts(32)])
    other = table(tmp_path / "b.csv", [{"text": text, "label": label} for text, label in texts(8) if label == "river"])
    done = run("text-classification", path, tmp_path / "out", base, validation=other, steps=1)
    assert done.counts["train"]["examples"] == 32
    assert done.trained.step == 1
    table(other, [{"text": "a lake", "label": "lake"}])
    with refused("lake", "house"):
        run("text-classification", path, tmp_path / "out2", base, validation=other, steps=1)


def test_a_number_a_text(base, tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(160):
        words = some_words(rng, 6)
        count = int(rng.integers(5))
        words[:count] = ["house"] * count
        rng.shuffle(words)
        rows.append({"text": " ".join(words), "label": count / 4})
    path = table(tmp_path / "numbers.csv", rows)
    reading = {"problem_type": "regression"}
    done = run("text-classification", path, tmp_path / "out", base, reading=reading, epochs=10)
    assert done.trained.best["metric"] == "pearson"
    assert done.trained.best["value"] > 0.9
    assert AlbertForSequenceClassification.from_pretrained(done.trained.checkpoint).config.num_labels == 1


def test_several_labels_a_text(base, tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(240):
        words, has = some_words(rng, 5), rng.random(2) < 0.5
        words[:2] = [word if h else "table" for word, h in zip(WORDS, has, strict=False)]
        labels = [word for word, h in zip(WORDS, has, strict=False) if h]
        rows.append({"text": " ".join(words), "label": labels})
    path = jsonl(tmp_path / "several.jsonl", rows)
    reading = {"problem_type": "multi_label_classification"}
    done = run("text-classification", path, tmp_path / "out", base, reading=reading, epochs=12)
    assert done.trained.best["metric"] == "micro_f1"
    assert done.trained.best["value"] > 0.95


def test_classes_of_words(base, tmp_path):
    rng = np.random.default_rng(0)
    tags = dict.fromkeys(WORDS, "O") | {"house": "B-PLACE", "river": "B-PLACE", "brother": "B-WHO"}
    rows = [
        {"tokens": (words := [*some_words(rng, 5), "house"]), "labels": [tags[x] for x in words]} for _ in range(160)
    ]
    done = run("token-classification", jsonl(tmp_path / "words.jsonl", rows), tmp_path / "out", base, epochs=6)
    assert done.trained.best["metric"] == "f1"
    assert done.trained.best["value"] > 0.95
    assert {"accuracy", "precision", "recall", "f1", "loss"} == set(done.trained.metrics)
    model = AlbertForTokenClassification.from_pretrained(done.trained.checkpoint)
    assert sorted(model.config.id2label.values()) == ["B-PLACE", "B-WHO", "O"]


@pytest.mark.parametrize("marks", ["BIES", "BILU"])
def test_entities_whose_last_words_are_marked(base, tmp_path, marks):
    begin, inside, last, single = marks
    tags = {"house": f"{begin}-X", "river": f"{inside}-X", "garden": f"{last}-X", "horse": f"{single}-X"}
    sentence = "".join(
        f"{word} {tags.get(word, 'O')}\n" for word in ("the", "house", "river", "garden", "and", "horse")
    )
    (tmp_path / "words.conll").write_text("\n".join([sentence] * 40))
    done = run("token-classification", tmp_path / "words.conll", tmp_path / "out", base, epochs=8, batch_size=4)
    assert done.trained.best["metric"] == "f1"
    assert done.trained.best["value"] == 1
    assert done.trained.metrics["recall"] == 1


def test_the_right_choice(base, tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(200):
        right = int(rng.integers(3))
        choices = [" ".join(some_words(rng, 3)) for _ in range(3)]
        choices[right] += " house"
        rows.append({"context": " ".join(some_words(rng, 3)), "choices": choices, "label": right})
    done = run("multiple-choice", jsonl(tmp_path / "choices.jsonl", rows), tmp_path / "out", base, epochs=6)
    assert done.trained.best["metric"] == "accuracy"
    assert done.trained.best["value"] > 0.9


def squad_file(path, n, impossible, seed=0):
    """Which place is it? A house or a river; the context names one, or none."""
    rng = np.random.default_rng(seed)
    paragraphs = []
    for i in range(n):
        words, answers = some_words(rng, 7), []
        if not (impossible and i % 3 == 0):
            at, answer = int(rng.integers(7)), WORDS[int(rng.integers(2))]
            answers = [{"text": answer, "answer_start": len(" ".join([*words[:at], ""]))}]
            words[at] = answer
        question = {"id": str(i), "question": "which place is it", "answers": answers, "is_impossible": not answers}
        paragraphs.append({"context": " ".join(words), "qas": [question]})
    path.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    return path


@pytest.mark.parametrize("impossible", [False, True])
def test_answers_in_a_context(base, tmp_path, impossible):
    path = squad_file(tmp_path / "squad.json", 240, impossible)
    reading = {"doc_stride": 8}
    done = run("question-answering", path, tmp_path / "out", base, reading=reading, epochs=6, max_length=48)
    assert done.trained.best["metric"] == "f1"
    assert done.trained.best["value"] > 80
    assert done.counts["held out"]["examples"] == 24
    assert ("NoAns_f1" in done.trained.metrics) == impossible


def test_questions_about_one_context_are_held_back_with_a_warning(base, tmp_path):
    context = "the river is cold and the house is old"
    asked = [
        {"id": str(i), "question": f"which {i}", "answers": [{"text": "cold", "answer_start": context.index("cold")}]}
        for i in range(8)
    ]
    path = tmp_path / "squad.json"
    path.write_text(json.dumps({"data": [{"paragraphs": [{"context": context, "qas": asked}]}]}))
    with pytest.warns(UserWarning, match="all 8 questions are about one context, so some of them are held back"):
        done = run("question-answering", path, tmp_path / "out", base, steps=1)
    assert done.counts["held out"]["examples"] == 1


def test_the_best_part_of_a_context_by_hand():
    context = Context("ab cd ef gh", np.arange(4), np.array([[0, 2], [3, 5], [6, 8], [9, 11]]))
    question = np.arange(2)
    first, second = (Window(7, question, context, a, b, 0, 0) for a, b in ((0, 3), (1, 4)))
    start, end = np.zeros((2, 8)), np.zeros((2, 8))
    start[0, 4 + 1], end[0, 4 + 2], start[0, 1], end[0, 0] = 3, 2, 50, 1  # "cd ef" with 5; the question is no answer
    start[1, 4 + 2], end[1, 4 + 0] = 4, 3  # that end is before the beginning: "gh" with 4
    both = list(zip(start, end, strict=True))
    assert squad_answers([first, second], both)[7] == ("cd ef", 0.0 - 5.0)
    assert squad_answers([first, second], both, max_answer_length=1)[7] == ("gh", 0.0 - 4.0)
    empty = Window(8, question, Context("", np.zeros(0), np.zeros((0, 2))), 0, 0, 0, 0)
    assert squad_answers([empty], both[:1])[8] == ("", np.inf)
    with refused("max_answer_length", "0"):
        squad_answers([first], both[:1], 0)


def test_command_line(trained, base, tmp_path, capsys):
    path, *_ = trained
    command = ["finetune", str(path), "--task", "text-classification", "--model", str(base), "--output"]
    options = ["--backend", "numpy", "--steps", "2", "--batch-size", "4", "--columns", "text=text", "label=label"]
    assert main([*command, str(tmp_path / "a"), *options]) == 0
    said = capsys.readouterr().out
    assert "144 examples" in said
    assert "step 2" in said
    assert "accuracy" in said
    assert main([*command, str(tmp_path / "b"), *options, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["step"] == 2
    assert answer["data"]["held out"] == {"examples": 16}
    assert main([*command, str(tmp_path / "c"), *options[:-2], "text"]) == 1
    assert "NAME=COLUMN" in capsys.readouterr().err


def test_bad_rows_are_skipped_and_counted_by_the_command(base, tmp_path, capsys):
    rows = [{"text": text, "label": label} for text, label in texts(12)]
    files = {
        "text-classification": jsonl(tmp_path / "texts.jsonl", [*rows, {"text": "no label"}, ["no object"]]),
        "question-answering": squad_file(tmp_path / "squad.json", 12, False),
        "token-classification": tmp_path / "words.conll",
    }
    questions = json.loads(files["question-answering"].read_text())
    questions["data"][0]["paragraphs"] += [
        {"context": "no questions"},
        {"context": "c", "qas": [{"id": "no question"}]},
    ]
    files["question-answering"].write_text(json.dumps(questions))
    files["token-classification"].write_text("# newdoc\nhouse O\n\n" + "house O\nriver B-X\n\n" * 12 + "house\n")
    for task, path in files.items():
        command = [
            "finetune",
            str(path),
            "--task",
            task,
            "--model",
            str(base),
            "--steps",
            "1",
            "--batch-size",
            "4",
            "--json",
        ]
        command += ["--backend", "numpy", "--output"]
        assert main([*command, str(tmp_path / task), "--on-bad-row", "skip"]) == 0
        assert json.loads(capsys.readouterr().out)["data"]["train"]["bad_rows"] == 2
        assert main([*command, str(tmp_path / "other")]) == 1
        assert path.name in capsys.readouterr().err
    columns = ["--columns", "comments=skip", "word_column=0", "label_column=1"]
    assert main([*command, str(tmp_path / "other"), "--on-bad-row", "skip", *columns]) == 0
    assert json.loads(capsys.readouterr().out)["data"]["train"]["comments"] == 1
    several = table(tmp_path / "several.csv", [{"text": text, "label": "a,b"} for text, _ in texts(8)])
    command = [
        "finetune",
        str(several),
        "--task",
        "text-classification",
        "--model",
        str(base),
        "--steps",
        "1",
        "--json",
    ]
    command += ["--backend", "numpy", "--problem", "multi", "--output"]
    assert main([*command, str(tmp_path / "refused")]) == 1
    assert "such as separator=';'" in capsys.readouterr().err
    assert main([*command, str(tmp_path / "several"), "--columns", "separator=,"]) == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"task": "translation"}, ("task must be one of", "translation")),
        ({"optimizer": "sgd"}, ("optimizer must be one of", "sgd")),
        ({"epochs": 0}, ("epochs", "0")),
        ({"batch_size": True}, ("batch_size", "True")),
        ({"held_out": 0.0}, ("held_out", "0.0")),
        ({"max_length": 65}, ("max_length", "64 positions", "65")),
        ({"reading": {"tokens": "text"}}, ("reads no tokens", "pair")),
        ({"reading": {"label": "class"}}, ("no column 'class'", "text, label")),
        ({"steps": 0}, ("steps",)),
        ({"backend": "gpu"}, ("backend",)),
    ],
)
def test_refusals(base, tmp_path, changes, words):
    path = table(tmp_path / "texts.csv", [{"text": text, "label": label} for text, label in texts(8)])
    options = {"task": "text-classification"} | changes
    with refused(*words):
        run(options.pop("task"), path, tmp_path / "out", base, **options)
    assert not list((tmp_path / "out").glob("checkpoint-*"))


def test_a_model_of_other_shapes_is_no_new_head(base, tmp_path):
    path = table(tmp_path / "texts.csv", [{"text": text, "label": label} for text, label in texts(8)])
    shutil.copytree(base, tmp_path / "other")
    config = json.loads((base / "config.json").read_text())
    (tmp_path / "other" / "config.json").write_text(json.dumps(config | {"embedding_size": 24}))
    with refused("not those that its config.json says"):
        run("text-classification", path, tmp_path / "out", tmp_path / "other", steps=1)


def test_a_head_of_another_task_is_replaced(trained, base, tmp_path):
    """MNLI's three classes, then RTE's two, as the paper does (Lan et al. 2019, appendix A.4)."""
    _, _, done = trained
    rows = [{"text": text, "label": i % 3} for i, (text, _) in enumerate(texts(12))]
    path = table(tmp_path / "three.csv", rows)
    run("text-classification", path, tmp_path / "out", done.trained.checkpoint, steps=1)
    model = AlbertForSequenceClassification.from_pretrained(tmp_path / "out" / "checkpoint-1")
    assert model.config.num_labels == 3


def test_the_command_knows_every_task():
    from albert_np.cli.finetune import TASKS as NAMED

    assert tuple(TASKS) == NAMED


def test_the_recipe_learns_a_genre_from_other_books(base, fixtures_dir, tmp_path):
    """recipe/genre.py with fewer paragraphs and a fresh model: words alone tell more than the commonest genre."""

    corpus = fixtures_dir / "corpus"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*drawn from seed")
        done, floor = genre.run(
            corpus / "standard_ebooks.txt", corpus / "BOOKS.md", tmp_path, each=50, model=base, epochs=3, **FAST
        )
    assert done.counts["train"]["examples"] == 15 * 50
    assert done.counts["held out"]["examples"] == 8 * 50
    assert floor == 0.25
    assert done.trained.best["value"] > 0.35  # 0.42 of 400: five deviations above 0.25 is 0.36
