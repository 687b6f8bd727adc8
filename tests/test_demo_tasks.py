"""The embedded models for tasks, which pipelines without a model use: their answers, their files, and what their cards say."""

import json
import logging
import subprocess
import sys

import pytest
from support import ROOT

import albert_np
from albert_np import (
    AlbertConfig,
    AlbertForSequenceClassification,
    AlbertForTokenClassification,
    AlbertTokenizer,
)
from albert_np.checkpoints.formats import safetensors as safetensors_format
from albert_np.demo.recipe import names, neighbours, speech
from albert_np.pipelines import make

DEMO = ROOT / "albert_np" / "demo"
KINDS = {
    "demo-names": (AlbertForTokenClassification, names),
    "demo-speech": (AlbertForSequenceClassification, speech),
}
every = pytest.mark.parametrize("name", KINDS)


def folder(name):
    return DEMO / name.removeprefix("demo-")


def facts(name):
    return json.loads((folder(name) / "evaluation.json").read_text())


# --- answers ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def names_in():
    tagger = albert_np.pipeline("ner", "demo-names", aggregation_strategy="simple")

    def found(text):
        return [(text[x["start"] : x["end"]], round(x["score"], 2)) for x in tagger(text)]

    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("he told dr. watson of a farm near exeter", [("dr. watson", 1.0), ("exeter", 0.94)]),
        (
            "In a letter from Mr. J. Holt to Lady Ann there was nothing about the old house in Devon.",
            [("Mr. J. Holt", 0.99), ("Lady Ann", 0.9), ("Devon", 0.84)],
        ),
        ("the captain and the cook went to london with peter", [("london", 1.0), ("peter", 1.0)]),
    ],
)
def test_names_and_their_scores(names_in, text, expected):
    assert names_in(text) == [(name, pytest.approx(score, abs=0.011)) for name, score in expected]


def test_the_mistakes_with_names_that_the_card_shows(names_in):
    of = {
        "After we had washed them - well, the river between Reading and Henley was much cleaner.": ["Henley"],
        "As soon as grandfather had fixed the date he let Jake and Otto know of it.": ["grandfather", "Jake", "Otto"],
        "He would move the flock slowly at first, until the Yosemite Creek basin was reached and crossed.": [
            "os",
            "ite",
        ],
    }
    for text, expected in of.items():
        assert [name for name, _ in names_in(text)] == expected


@pytest.mark.parametrize(
    ("text", "label", "score"),
    [
        ("I do not know what you mean by that", "speech", 0.98),
        ("She rose and went slowly to the window", "narrative", 0.99),
        ("Tell me at once where you have put the key", "speech", 0.99),
        # the mistakes that the card shows
        ("He returned to Dartmoor and awaited the arrival of the baronet", "narrative", None),
        ("We are very fond of pineapple, all three of us", "speech", None),
        ("The whole wilderness seems to be alive and familiar, full of humanity", "speech", None),
    ],
)
def test_spoken_and_told_sentences(text, label, score):
    (answer,) = albert_np.pipeline("text-classification", "demo-speech")(text)
    assert answer["label"] == label
    assert score is None or answer["score"] == pytest.approx(score, abs=0.011)


# --- files --------------------------------------------------------------------------------------------------------------


@every
def test_a_class_loads_it_by_name_with_the_vocabulary_of_demo(name):
    kind, _ = KINDS[name]
    model, info = kind.from_pretrained(name, output_loading_info=True)
    assert not any(info.values())
    tokenizer, demo = AlbertTokenizer.from_pretrained(name), AlbertTokenizer.from_pretrained("demo")
    assert tokenizer("Mr. Ambrosch said (no).") == demo("Mr. Ambrosch said (no).")
    assert tokenizer.model_max_length == model.config.max_position_embeddings == 128
    assert len(tokenizer) == model.config.vocab_size


@every
def test_its_folder_holds_half_precision_and_no_second_vocabulary(name):
    files = {path.name: path.stat().st_size for path in folder(name).iterdir()}
    assert set(files) == {"README.md", "config.json", "evaluation.json", "model.safetensors"}
    assert sum(files.values()) < 4_000_000
    assert {tensor.dtype for tensor in safetensors_format.read(folder(name) / "model.safetensors")} == {"F16"}
    config = AlbertConfig.from_pretrained(name)
    assert config.dtype == "float16"
    assert config.architectures == [KINDS[name][0].__name__]


@every
def test_its_card_is_what_its_recipe_makes_of_its_figures(name):
    assert (folder(name) / "README.md").read_text() == KINDS[name][1].card(facts(name))


def test_the_card_of_demo_has_the_figures_of_its_sentence_embeddings():
    found = json.loads((DEMO / "evaluation.json").read_text())["embeddings"]
    card = (DEMO / "README.md").read_text()
    assert neighbours.section(found) in card
    assert card.count(neighbours.TITLE) == 1


@every
def test_saved_it_is_a_folder_of_its_own(name, tmp_path):
    make.pipeline(model=name).save_pretrained(tmp_path)
    assert (tmp_path / "spiece.model").read_bytes() == (DEMO / "spiece.model").read_bytes()
    assert make.pipeline(model=tmp_path).task == make.pipeline(model=name).task


# --- defaults -----------------------------------------------------------------------------------------------------------

NAMED = {
    "feature-extraction": "demo",
    "fill-mask": "demo",
    "sentence-order": "demo",
    "sentence-similarity": "demo",
    "text-classification": "demo-speech",
    "token-classification": "demo-names",
}


@pytest.mark.parametrize(("task", "name"), NAMED.items())
def test_a_task_without_a_model_uses_its_embedded_one_and_says_so_once(task, name, caplog):
    make.default_model.cache_clear()
    with caplog.at_level(logging.WARNING, "albert_np"):
        made = [albert_np.pipeline(task) for _ in range(2)]
    (line,) = caplog.messages
    assert line.startswith(f"{task} without a model uses the embedded {name}, a small model ")
    assert line.endswith("; for real work pass model= (--model)")
    model = made[0].encoder.model if task == "sentence-similarity" else made[0].model
    assert model.config == AlbertConfig.from_pretrained(name)


def test_the_line_goes_to_stderr_and_none_comes_for_a_named_model():
    code = "import albert_np; albert_np.pipeline({}); albert_np.pipeline({})"
    said = [
        subprocess.run([sys.executable, "-c", code.format(x, x)], capture_output=True, text=True, check=True)
        for x in ("'ner'", "'ner', 'demo-names'")
    ]
    assert said[0].stdout == said[1].stdout == said[1].stderr == ""
    (line,) = said[0].stderr.splitlines()
    assert line.startswith("token-classification without a model uses the embedded demo-names, ")


@pytest.mark.parametrize("task", ["multiple-choice", "question-answering", "zero-shot-classification"])
def test_a_task_without_an_embedded_model_asks_for_one(task):
    with pytest.raises(ValueError, match=rf"^{task} has no embedded model: pass model=, "):
        albert_np.pipeline(task)


def test_nothing_named_at_all_is_fill_mask():
    assert albert_np.pipeline().task == "fill-mask"
