"""What finetune() counts in tokens: it fits the model, whatever its positions are, and is refused early where it cannot."""

import json
import warnings

import pytest
from support import TINY_MODEL
from support.refusals import refusal

from albert_np import AlbertConfig, AlbertForMaskedLM, AlbertTokenizer
from albert_np.cli import main
from albert_np.tasks.question_answering import read_squad, squad_lengths, squad_windows
from albert_np.training import log
from albert_np.training.finetune import finetune

SMALL = {
    "hidden_size": 8,
    "embedding_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
}
CONTEXT = "the house by the river was cold in the winter and the garden was white . " * 12


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr(log, "draw", lambda *_: False)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder with a model of so many positions; or the embedded one."""

    def made(positions):
        if positions == "demo":
            return positions
        folder = tmp_path_factory.mktemp(f"positions{positions}")
        config = AlbertConfig.from_pretrained(TINY_MODEL, **SMALL, max_position_embeddings=positions)
        AlbertForMaskedLM(config, seed=1).save_pretrained(folder)
        AlbertTokenizer.from_pretrained(TINY_MODEL).save_pretrained(folder)
        return str(folder)

    return made


@pytest.fixture
def questions(tmp_path):
    """A short question and one of some hundred tokens, about contexts of some two hundred."""
    asked = ["which place", "which place by the river was cold in the winter and white " * 12]
    paragraphs = [
        {
            "context": f"{CONTEXT} {i}",
            "qas": [
                {
                    "id": str(i),
                    "question": asked[i % 2],
                    "answers": [{"text": "garden", "answer_start": CONTEXT.index("garden")}],
                }
            ],
        }
        for i in range(4)
    ]
    path = tmp_path / "q.json"
    path.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    return path


@pytest.mark.parametrize("positions", ["demo", 8, 40, 64, 127, 200, 384, 512])
def test_question_answering_fits_the_model_without_being_told(model, questions, tmp_path, capsys, positions):
    options = ["--task", "question-answering", "--model", model(positions), "--output", str(tmp_path / "out")]
    command = [
        "finetune",
        str(questions),
        *options,
        "--steps",
        "1",
        "--batch-size",
        "2",
        "--json",
        "--backend",
        "numpy",
    ]
    assert main(command) == 0
    answer = json.loads(capsys.readouterr().out)
    lengths = answer["lengths"]
    assert list(lengths) == ["max_length", "doc_stride", "max_query_length"]
    assert lengths["max_length"] == min(384, 128 if positions == "demo" else positions)
    assert 0 <= lengths["doc_stride"] < lengths["max_length"] - lengths["max_query_length"] - 3
    assert answer["data"]["train"]["cut_questions"] >= 1


def test_the_usual_numbers_and_those_that_fit():
    assert squad_lengths(384) == {"max_length": 384, "doc_stride": 128, "max_query_length": 64}
    assert squad_lengths(512) == {"max_length": 512, "doc_stride": 128, "max_query_length": 64}
    assert squad_lengths(128) == {"max_length": 128, "doc_stride": 31, "max_query_length": 62}
    assert squad_lengths(128, 64, 40) == {"max_length": 128, "doc_stride": 64, "max_query_length": 40}
    for max_length in range(5, 700):
        lengths = squad_lengths(max_length)
        room = max_length - 3 - lengths["max_query_length"]
        assert lengths["max_query_length"] >= 1
        assert 0 <= lengths["doc_stride"] < room


def test_windows_fit_any_max_length_without_being_told(questions):
    tokenizer = AlbertTokenizer.from_pretrained(TINY_MODEL)
    examples = read_squad(questions).examples
    for max_length in (5, 9, 64, 128):
        windows, _ = squad_windows(examples, tokenizer, max_length=max_length)
        longest = max(window.offset + window.last - window.first + 1 for window in windows)
        assert longest == max_length


def test_the_command_says_what_it_chose(model, questions, tmp_path, capsys):
    options = ["--model", model(64), "--steps", "1", "--backend", "numpy", "--output"]
    assert main(["finetune", str(questions), "--task", "question-answering", *options, str(tmp_path / "a")]) == 0
    assert "in tokens: max_length 64, doc_stride 15, max_query_length 30\n" in capsys.readouterr().out
    (tmp_path / "t.csv").write_text("text,label\n" + "the house,a\nthe river,b\n" * 4)
    command = ["finetune", str(tmp_path / "t.csv"), "--task", "text-classification", *options, str(tmp_path / "b")]
    assert main(command) == 0
    assert "in tokens: max_length 64\n" in capsys.readouterr().out


CANNOT = [
    ({"reading": {"doc_stride": 128}}, "max_length 64 leaves 31 tokens for the context beside a question of 30"),
    ({"reading": {"doc_stride": 31}}, "that must be more than doc_stride (31); choose a smaller"),
    ({"reading": {"doc_stride": -1}}, "doc_stride must be a whole number of at least 0; got -1"),
    ({"reading": {"doc_stride": 7.5}}, "doc_stride must be a whole number"),
    ({"reading": {"max_query_length": 64}}, "leaves 0 tokens for the context beside a question of 64"),
    ({"reading": {"max_query_length": 0}}, "max_query_length must be a whole number of at least 1; got 0"),
    ({"reading": {"max_answer_length": 0}}, "max_answer_length must be a whole number of at least 1; got 0"),
    ({"max_length": 65}, "from 4 to the model's 64 positions; got 65"),
    ({"max_length": 4}, "max_length must be a whole number of at least 5; got 4"),
    ({"max_length": 32, "reading": {"doc_stride": 15}}, "max_length 32 leaves 15 tokens"),
    ({"steps": 0}, "steps must be a whole number"),
    ({"accumulate": 0}, "accumulate must be a whole number"),
    ({"hours": 0}, "hours must be more than 0"),
    ({"backend": "gpu"}, "backend must be one of"),
    ({"learning_rate": float("nan")}, "the learning rate must be a finite number"),
    ({"warmup_steps": -3}, "warmup_steps must be 0 or more; got -3"),
    ({"warmup_steps": 5, "steps": 4}, "a warm-up of 5 steps does not fit into 4 steps"),
    ({"held_out": 1.5}, "held_out must be a part between 0 and 1, unless a file for validation is named; got 1.5"),
    ({"held_out": "some"}, "held_out must be a part between 0 and 1"),
]


@pytest.fixture(scope="module")
def sixty_four(model):
    return model(64)


@pytest.mark.parametrize(("options", "says"), CANNOT, ids=[says for _, says in CANNOT])
def test_what_cannot_work_is_refused_before_the_examples_are_read(sixty_four, tmp_path, options, says):
    """There are no examples here, which would be refused too."""
    message = refusal(
        finetune, "question-answering", tmp_path / "none.json", tmp_path / "out", model=sixty_four, **options
    )
    assert says in message
    assert not (tmp_path / "out").exists()


def test_numbers_that_just_fit_do_work(sixty_four, questions, tmp_path):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*drawn from seed")
        options = {"steps": 1, "backend": "numpy", "batch_size": 4}
        reading = {"doc_stride": 30, "max_query_length": 30}
        done = finetune("question-answering", questions, tmp_path / "out", model=sixty_four, reading=reading, **options)
    assert done.lengths == {"max_length": 64, "doc_stride": 30, "max_query_length": 30}


def test_questions_whose_answers_are_nowhere_are_refused(sixty_four, tmp_path):
    questions = [
        {"id": str(i), "question": "which place", "answers": [{"text": "Spain", "answer_start": 2}]} for i in (0, 1)
    ]
    paragraphs = [{"context": f"{CONTEXT} {i}", "qas": [question]} for i, question in enumerate(questions)]
    (tmp_path / "q.json").write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    message = refusal(finetune, "question-answering", tmp_path / "q.json", tmp_path / "out", model=sixty_four)
    assert "q.json has no question to train on: none of 1 answers is in its context" in message


def test_the_log_begins_with_the_lengths_and_a_resume_with_others_is_warned_about(sixty_four, questions, tmp_path):
    (tmp_path / "t.csv").write_text("text,label\n" + "the house,a\nthe river,b\n" * 4)

    def run(task, path, **options):
        settled = {"steps": 1, "backend": "numpy", "batch_size": 4, "model": sixty_four} | options
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            finetune(task, path, tmp_path / task, **settled)
        return [str(warning.message) for warning in caught if "other settings" in str(warning.message)]

    assert run("question-answering", questions) == []
    lines = log.read(tmp_path / "question-answering" / "log.jsonl")
    assert lines[0] == {"step": 0, "max_length": 64, "doc_stride": 15, "max_query_length": 30}
    assert run("text-classification", tmp_path / "t.csv") == []
    assert run("text-classification", tmp_path / "t.csv", resume=True) == []
    (warned,) = run("text-classification", tmp_path / "t.csv", resume=True, max_length=32)
    assert warned.endswith("checkpoint-1 with other settings: max_length 64 -> 32")
    assert [line["step"] for line in log.read(tmp_path / "text-classification" / "log.jsonl")].count(0) == 1
