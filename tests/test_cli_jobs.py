"""The commands that ask a model about texts: what people and programs see, files in and out, refusals, stops."""

import csv
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support import needs, task_models, unmeasured

from albert_np import AlbertTokenizer, SentenceEncoder, cli, pipeline

TEXT = "Emily wrote to Charlotte."
CONTEXT = "The house by the river is old, and the garden behind it is new."


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return task_models.save(tmp_path_factory.mktemp("models"))


@pytest.fixture
def run(models, tmp_path, monkeypatch, capsys):
    """Runs a command in an empty folder; names of models are those of task_models."""
    monkeypatch.chdir(tmp_path)

    def call(*argv, stdin=None):
        if stdin is not None:
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        argv = [str(models / arg) if arg in task_models.MODELS else arg for arg in argv]
        try:
            code = cli.main(argv)
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return call


# --- one argument ---------------------------------------------------------------------------------------------------------

ASKED = {
    "classify": ["classify", TEXT, "--model", "my-reviews"],
    "ner": ["ner", TEXT, "--model", "my-names"],
    "qa": ["qa", "Which house is it?", CONTEXT, "--model", "my-squad"],
    "zero-shot": ["zero-shot", TEXT, "--labels", "sport", "music", "--model", "my-nli"],
    "choose": ["choose", TEXT, "--choices", "She came.", "It rained.", "--model", "my-swag"],
    "order": ["order", TEXT, "She came.", "--model", "my-albert"],
    "embed": ["embed", TEXT, "--model", "my-albert"],
    "tokenize": ["tokenize", TEXT, "--model", "my-albert"],
    "fill-mask": ["fill-mask", "A [MASK].", "--model", "my-albert"],
}


def value(name, models):
    """What Python gives for the same question."""
    if name == "embed":
        return SentenceEncoder.from_pretrained(models / "my-albert").encode(TEXT).tolist()
    if name == "tokenize":
        tokenizer = AlbertTokenizer.from_pretrained(models / "my-albert")
        row = tokenizer(TEXT, return_offsets_mapping=True)
        tokens = tokenizer.convert_ids_to_tokens(row["input_ids"])
        return {"tokens": tokens, "input_ids": row["input_ids"], "offsets": list(map(list, row["offset_mapping"]))}
    tasks = {"classify": "text-classification", "ner": "token-classification", "qa": "question-answering"}
    tasks |= {"zero-shot": "zero-shot-classification", "choose": "multiple-choice", "order": "sentence-order"}
    pipe = pipeline(tasks.get(name, name), models / ASKED[name][-1])
    arguments = {
        "classify": ({"text": TEXT},),
        "qa": ("Which house is it?", CONTEXT),
        "zero-shot": (TEXT, ["sport", "music"]),
        "choose": (TEXT, ["She came.", "It rained."]),
        "order": (TEXT, "She came."),
        "fill-mask": ("A [MASK].",),
    }
    return pipe(TEXT, aggregation_strategy="simple") if name == "ner" else pipe(*arguments[name])


@pytest.mark.parametrize("name", ASKED)
def test_programs_get_the_value_that_python_gives(name, run, models):
    code, out, err = run(*ASKED[name], "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == value(name, models)


@pytest.mark.parametrize("name", [name for name in ASKED if name not in ("zero-shot", "order", "embed", "tokenize")])
def test_predict_reads_the_task_from_the_model(name, run):
    arguments, model = ASKED[name][1:-2], ASKED[name][-1]
    assert run("predict", model, *arguments) == run(*ASKED[name])


def test_people_see_entities_in_the_sentence_and_answers_in_the_context(run, models):
    entities = value("ner", models)
    assert entities
    marked = TEXT
    for one in reversed(entities):
        marked = f"{marked[: one['start']]}[{marked[one['start'] : one['end']]}: {one['entity_group']}]{marked[one['end'] :]}"
    assert run(*ASKED["ner"]) == (0, f"{marked}\n", "")
    found = value("qa", models)
    whole = f"{CONTEXT[: found['start']]}[{found['answer']}]{CONTEXT[found['end'] :]}"
    _, out, _ = run(*ASKED["qa"])
    question, answer = out.splitlines()
    assert question == "Which house is it?"
    score, place = answer.split(maxsplit=1)
    assert float(score) == round(found["score"], 4)
    assert place.strip("…") in whole
    assert f"[{found['answer']}]" in place


def test_people_see_a_table(run):
    _, out, _ = run("classify", TEXT, "It rained.", "--model", "my-reviews")
    assert [line.split(maxsplit=2)[2] for line in out.splitlines()] == [TEXT, "It rained."]
    for name in ("zero-shot", "choose"):
        title, *rows = run(*ASKED[name])[1].splitlines()
        assert title == TEXT
        scores = [float(row.split()[0]) for row in rows]
        assert scores == sorted(scores, reverse=True)
        assert len(scores) == 2
    _, out, _ = run("classify", TEXT, "--model", "my-reviews", "--top-k", "all")
    assert len(out.splitlines()) == 3


def test_similar_ranks_texts_and_writes_the_score_of_each(run, tmp_path):
    texts = ["A man is eating.", "It rains.", "Emily wrote a letter."]
    encoder = SentenceEncoder.from_pretrained()
    scores = encoder.similarity(encoder.encode([TEXT]), encoder.encode(texts))[0].tolist()
    _, out, _ = run("similar", TEXT, *texts, "--json", "--top-k", "2")
    found = [json.loads(line) for line in out.splitlines()]
    best = sorted(range(3), key=lambda i: -scores[i])[:2]
    assert [row["index"] for row in found] == best
    assert [row["text"] for row in found] == [texts[i] for i in best]
    np.testing.assert_allclose([row["score"] for row in found], [scores[i] for i in best], rtol=1e-6)
    Path("corpus.txt").write_text("\n".join(texts))
    assert run("similar", TEXT, "corpus.txt", "--out", "scores.csv")[0] == 0
    with open("scores.csv", newline="") as file:
        np.testing.assert_allclose([float(row["score"]) for row in csv.DictReader(file)], scores, rtol=1e-6)


# --- files ----------------------------------------------------------------------------------------------------------------

ROWS = [{"text": "one house", "pair": "a, b"}, {"text": 'two "rivers"', "pair": ""}, {"text": "ünï code", "pair": "c"}]


def write_rows(path):
    if path.suffix == ".parquet":
        pa = needs.module("test", "pyarrow")
        needs.module("test", "pyarrow.parquet").write_table(pa.Table.from_pylist(ROWS), path)
    elif path.suffix in (".json", ".jsonl"):
        path.write_text(json.dumps(ROWS) if path.suffix == ".json" else "\n".join(map(json.dumps, ROWS)))
    elif path.suffix == ".tsv":
        path.write_text("\n".join("\t".join(row) for row in [["text", "pair"], *(row.values() for row in ROWS)]))
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["text", "pair"])
            writer.writeheader()
            writer.writerows(ROWS)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.json", "a.parquet"])
def test_tables_of_each_form_give_the_same(name, run, models):
    write_rows(Path(name).resolve())
    pipe = pipeline("text-classification", models / "my-reviews")
    alone = [pipe({"text": row["text"]}) for row in ROWS]
    pairs = [pipe({"text": row["pair"], "text_pair": row["text"]}) for row in ROWS]
    _, out, _ = run("classify", name, "--model", "my-reviews", "--json")
    assert [json.loads(line) for line in out.splitlines()] == alone
    _, out, _ = run("classify", name, "--model", "my-reviews", "--json", "--columns", "text=pair", "pair=text")
    assert [json.loads(line) for line in out.splitlines()] == pairs


def test_texts_files_and_stdin_come_in_the_order_of_the_arguments(run):
    Path("a.txt").write_bytes("\ufeffone\r\n\ntwo".encode())
    write_rows(Path("b.csv").resolve())
    code, out, err = run("tokenize", "first", "a.txt", "-", "b.csv", "last", "--json", stdin="ünï\n".encode())
    assert (code, err) == (0, "")
    expected = ["first", "one", "", "two", "ünï", *(row["text"] for row in ROWS), "last"]
    tokenizer = AlbertTokenizer.from_pretrained("demo")
    assert [json.loads(line)["input_ids"] for line in out.splitlines()] == [tokenizer(t)["input_ids"] for t in expected]


def test_a_line_of_stdin_is_a_row_of_the_form_that_is_named(models):
    command = (
        f"{sys.executable} -m albert_np classify - --format jsonl --model {models}/my-reviews --json --on-error skip"
    )
    given = '{"text": "a"}\n{"text": 1}\n'
    done = subprocess.run(
        command, shell=True, input=given, capture_output=True, text=True, env=unmeasured(), check=False
    )
    assert done.returncode == 0, done.stderr
    good, bad = map(json.loads, done.stdout.splitlines())
    assert set(good) == {"label", "score"}
    assert bad == {"error": "/dev/stdin line 2: the text must be text; got 1"}


def test_words_lists_and_questions_are_read_from_files_that_finetune_reads(run, models):
    words = ["Emily", "wrote", "to", "Charlotte", "."]
    Path("w.jsonl").write_text(json.dumps({"tokens": words, "labels": ["O"] * 5}))
    Path("w.conll").write_text("\n".join(f"{word} O" for word in words) + "\n")
    pipe = pipeline("ner", models / "my-names", aggregation_strategy="simple")
    for name in ("w.jsonl", "w.conll"):
        code, out, err = run("ner", name, "--columns", "tokens=tokens", "--model", "my-names", "--json")
        assert (code, err) == (0, "")
        assert json.loads(out) == pipe(words, is_split_into_words=True)[0]
    question = {"id": "1", "question": "Which house is it?", "answers": [], "is_impossible": True}
    Path("q.json").write_text(json.dumps({"data": [{"paragraphs": [{"context": CONTEXT, "qas": [question]}]}]}))
    assert json.loads(run("qa", "q.json", "--model", "my-squad", "--json")[1]) == value("qa", models)
    Path("context.txt").write_text(CONTEXT)
    _, out, _ = run("qa", "Which house is it?", "--context-file", "context.txt", "--model", "my-squad", "--json")
    assert json.loads(out) == value("qa", models)
    Path("c.csv").write_text("sent1,end1,end2\nEmily wrote to Charlotte.,She came.,It rained.\n")
    columns = ["--columns", "context=sent1", "choices=end1,end2"]
    _, out, _ = run("choose", "c.csv", *columns, "--model", "my-swag", "--json")
    assert json.loads(out) == value("choose", models)


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_a_file_has_a_row_for_each_input(ending, run, models):
    write_rows(Path("a.csv").resolve())
    if ending == "parquet":
        needs.module("test", "pyarrow.parquet")
    code, out, err = run("classify", "a.csv", "--model", "my-reviews", "--out", f"out.{ending}")
    assert (code, out, err) == (0, f"wrote 3 rows to out.{ending}\n", "")
    if ending == "jsonl":
        rows = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    elif ending == "csv":
        rows = [
            row | {"score": float(row["score"])} for row in csv.DictReader(io.StringIO(Path("out.csv").read_text()))
        ]
    else:
        import pyarrow.parquet

        rows = pyarrow.parquet.read_table("out.parquet").to_pylist()
    pipe = pipeline("text-classification", models / "my-reviews")
    assert rows == pipe([{"text": row["text"]} for row in ROWS])
    code, out, _ = run("classify", "a.csv", "--model", "my-reviews", "--out", f"out.{ending}", "--resume")
    assert (code, out) == (0, f"out.{ending} is complete: nothing to do\n")


def test_embed_writes_the_vectors_that_python_gives(run, models):
    texts = [row["text"] for row in ROWS]
    Path("a.txt").write_text("\n".join(texts))
    vectors = SentenceEncoder.from_pretrained(models / "my-albert").encode(texts, normalize_embeddings=True)
    assert run("embed", "a.txt", "--model", "my-albert", "--normalize", "--out", "out.npy")[0] == 0
    np.testing.assert_array_equal(np.load("out.npy", mmap_mode="r"), vectors)


# --- bad rows -------------------------------------------------------------------------------------------------------------

BAD = {
    "a.txt": (b"ok\n\xff\xfe\nfine\nok\0\nlast", ["a.txt line 2 is not UTF-8", "a.txt line 4 holds a NUL"]),
    "a.jsonl": (
        b'{"text": "ok"}\n{"x": 1}\n{"text": null}\n[]\n{"text": "\\ud800"}\nno\n{"text": "ok"}\n',
        [
            "line 2 has no column 'text'",
            "line 3: the text must be text",
            "line 4 must be an object",
            "line 5: the text holds half a character",
            "line 6 is not JSON",
        ],
    ),
    "a.csv": (
        b'text,n\nok,1\nfew\n"a\nb",2\nx,y,z\n\xff,1\nok,2\n',
        ["line 3 has 1 f", "line 6 has 3 f", "line 7 is not UTF-8"],
    ),
    "a.tsv": (b"text\tn\nok\t1\nfew\nok\t2\n", ["line 3 has 1 fields"]),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_has_its_error_with_its_place_and_the_rest_goes_on(name, run):
    data, told = BAD[name]
    Path(name).write_bytes(data)
    code, out, err = run("classify", name, "--model", "my-reviews", "--json", "--on-error", "skip")
    assert (code, err) == (0, f"albert-np: inputs without an answer: {len(told)}\n")
    rows = [json.loads(line) for line in out.splitlines()]
    errors = [row["error"] for row in rows if "error" in row]
    assert all(message in error for message, error in zip(told, errors, strict=True))
    assert all("a." in error for error in errors)
    assert len(rows) - len(errors) >= 2
    assert "label" in rows[0]
    assert "label" in rows[-1]
    code, out, err = run("classify", name, "--model", "my-reviews", "--json")
    assert code == 1
    assert errors[0] in err
    assert len(err.splitlines()) == 1
    assert len(out.splitlines()) == 1  # what came before it


def test_an_input_that_a_pipeline_refuses_is_named_by_its_line(run):
    Path("q.txt").write_text("a house\n\nb\n")
    argv = ["zero-shot", "q.txt", "--labels", "x", "y", "--model", "my-nli", "--json"]
    code, out, err = run(*argv)
    assert (code, err) == (1, "albert-np: q.txt line 2: an empty text has no label\n")
    _, out, _ = run(*argv, "--on-error", "skip")
    assert [set(json.loads(line)) == {"error"} for line in out.splitlines()] == [False, True, False]


def test_a_context_in_which_no_answer_is_found_is_a_bad_row_too(run):
    contexts = (CONTEXT, "\u200b", CONTEXT)
    Path("q.jsonl").write_text("\n".join(json.dumps({"question": "Who?", "context": text}) for text in contexts))
    code, out, _ = run("qa", "q.jsonl", "--model", "my-squad", "--json", "--on-error", "skip")
    assert code == 0
    good, bad, again = map(json.loads, out.splitlines())
    assert bad == {"error": "q.jsonl line 2: the context '\\u200b' holds nothing that could be an answer"}
    assert good == again


def test_warnings_of_many_texts_are_shown_in_part(run):
    Path("a.txt").write_text("word " * 200 + "\n" + "".join(f"{i} " + "word " * 200 + "\n" for i in range(8)))
    code, out, err = run("classify", "a.txt", "--model", "my-reviews")
    assert code == 0
    assert len(err.splitlines()) == 6
    assert err.endswith("albert-np: 4 more warnings\n")
    assert run("classify", "a.txt", "--model", "my-reviews", "--truncate") == (0, out, "")


# --- refusals -------------------------------------------------------------------------------------------------------------

REVIEWS = ("--model", "my-reviews")
REFUSED = [
    (("classify", "a.txt", *REVIEWS), "there is no file a.txt (--format text takes it as a text)"),
    (("classify", "folder", *REVIEWS), "folder is a folder; name the files in it"),
    (("classify", "empty.txt", *REVIEWS), "empty.txt is empty"),
    (("classify", "empty.csv", *REVIEWS), "empty.csv is empty"),
    (("classify", "binary", *REVIEWS), "binary line 1 holds a NUL at byte 0: not text"),
    (("classify", "utf16.txt", *REVIEWS), "utf16.txt is UTF-16 or UTF-32, not UTF-8 text; convert it first"),
    (("classify", "table.csv", *REVIEWS), "has no column 'text'; it has a, b. --columns text=… says which"),
    (("classify", "table.csv", *REVIEWS, "--on-error", "skip"), "has no column 'text'"),
    (("classify", "latin.txt", *REVIEWS), "latin.txt line 1 is not UTF-8"),
    (("classify", "german.csv", *REVIEWS), "it has text;label. --columns 'delimiter=;' parts its fields"),
    (("classify", "header.csv", *REVIEWS), "header.csv has no rows"),
    (("classify", "header.csv", *REVIEWS, "--out", "a.csv"), "header.csv has no rows"),
    (("classify", "blank.jsonl", *REVIEWS), "blank.jsonl has no rows"),
    (("classify", "table.xlsx", *REVIEWS), "table.xlsx is a zip, not UTF-8 text; convert it first"),
    (("classify", "caf\udce9", *REVIEWS), "holds half a character"),
    (
        ("ner", TEXT, *REVIEWS),
        "is a model for text-classification, and ner needs a model for token classification: albert-np cl",
    ),
    (
        ("classify", TEXT, "--model", "demo"),
        "demo is a model for fill-mask, and classify needs a model for sequence classification",
    ),
    (("order", TEXT, TEXT, "--model", "my-squad"), "order needs a pre-training model (AlbertForPreTraining)"),
    (
        ("fill-mask", "A [MASK].", *REVIEWS),
        "and fill-mask needs a masked-language model: albert-np classify asks this one",
    ),
    (
        ("zero-shot", TEXT, "--labels", "x", "--model", "my-names"),
        "albert-np ner asks this one; albert-np finetune makes others",
    ),
    (("qa", "table.txt", "--model", "my-squad"), "a line of text is one text, and an input has question and context"),
    (("classify", TEXT, "--model", "./nowhere"), "there is no folder ./nowhere"),
    (("predict", "table.csv", TEXT), "table.csv is a file; give the folder that holds it"),
    (("classify", "-", *REVIEWS), "stdin is empty"),
    (("classify", TEXT, *REVIEWS, "--out", "table.csv"), "table.csv is there already"),
    (
        ("classify", "table.csv", *REVIEWS, "--out", "table.csv", "--overwrite"),
        "table.csv is an input: name another file",
    ),
    (("classify", TEXT, *REVIEWS, "--out", "a.npy"), ".npy is for embeddings"),
    (("classify", TEXT, *REVIEWS, "--top-k", "0"), "top_k must be"),
    (
        ("zero-shot", TEXT, "--labels", "x", "--template", "none", "--model", "my-nli"),
        "hypothesis_template must hold {}",
    ),
    (("embed", TEXT, "--pooling", "best"), "pooling is one or several of"),
    (("embed", TEXT, "--prompt-name", "query"), "there is no prompt 'query'"),
    (("similar", TEXT, TEXT, "--top-k", "0"), "--top-k must be a whole number"),
    (("classify", "table.csv", *REVIEWS, "--columns", "text"), "--columns takes NAME=COLUMN"),
]


@pytest.mark.parametrize(("argv", "message"), REFUSED)
def test_refusals_are_one_line_and_exit_code_1(argv, message, run):
    Path("folder").mkdir()
    for name, data in {
        "empty.txt": b"",
        "empty.csv": b"",
        "binary": bytes(range(256)) * 9,
        "utf16.txt": "hello".encode("utf-16"),
        "table.csv": b"a,b\n1,2\n",
        "table.txt": b"one\n",
        "latin.txt": b"caf\xe9\n",
        "german.csv": b"text;label\na;b\n",
        "header.csv": b"text,label\n",
        "blank.jsonl": b"\n\n",
        "table.xlsx": b"PK\x03\x04" + bytes(range(99)),
    }.items():
        Path(name).write_bytes(data)
    code, out, err = run(*argv, stdin=b"")
    assert (code, out) == (1, "")
    assert message in err
    assert len(err.splitlines()) == 1
    assert "Traceback" not in err
    assert Path("table.csv").read_bytes() == b"a,b\n1,2\n"


def test_a_parquet_file_that_is_none_is_refused(run):
    needs.module("test", "pyarrow.parquet")
    Path("a.parquet").write_bytes(b"PAR1 and then something else")
    code, out, err = run("classify", "a.parquet", *REVIEWS)
    assert (code, out) == (1, "")
    assert err.startswith("albert-np: a.parquet cannot be read as parquet: ")
    assert len(err.splitlines()) == 1


def test_a_file_whose_name_is_not_utf_8_is_read_and_its_job_resumed(run, models, tmp_path):
    name = os.fsdecode(b"caf\xe9.txt")
    try:
        Path(name).write_text("one\ntwo\n")
    except (OSError, UnicodeEncodeError):
        pytest.skip("this file system has names of text only")
    argv = ("classify", name, *REVIEWS, "--out", "a.jsonl")
    assert run(*argv)[:2] == (0, "wrote 2 rows to a.jsonl\n")
    assert run(*argv, "--resume")[:2] == (0, "a.jsonl is complete: nothing to do\n")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("zero-shot", TEXT, "--labels", "a", "b"), "zero-shot has no model of its own: --model names"),
        (("classify", *REVIEWS), "the following arguments are required: TEXT"),
        (("classify", TEXT, *REVIEWS, "--out", "a.txt"), "the ending says the form, and is one of .jsonl, .csv"),
        (("classify", TEXT, *REVIEWS, "--resume"), "--resume and --overwrite are about the file of --out"),
        (("classify", TEXT, *REVIEWS, "--out", "a.csv", "--resume", "--overwrite"), "choose one"),
        (("classify", TEXT, *REVIEWS, "--columns", "title=x"), "--columns names title; an input here has text, pair"),
        (("classify", TEXT, *REVIEWS, "--batch-size", "0"), "a whole number of at least 1, not '0'"),
        (("classify", TEXT, *REVIEWS, "--top-k", "many"), "a whole number, or all; not 'many'"),
        (("order", TEXT), "texts come in turn as text and pair; got 1"),
        (("choose", TEXT, "--model", "my-swag"), "a text needs choices too: --choices"),
        (("zero-shot", TEXT, "--model", "my-nli"), "required: --labels"),
        (("predict", "my-reviews"), "required: TEXT"),
        (("predict",), "required: FOLDER"),
    ],
)
def test_wrong_usage_is_exit_code_2(argv, message, run):
    code, out, err = run(*argv)
    assert (code, out) == (2, "")
    assert err.startswith("usage: albert-np ")
    assert message in err
    assert len(err.splitlines()) == 2


def test_predict_shows_the_options_of_the_models_command(run, models):
    code, out, _ = run("predict", "my-names", "--help")
    assert code == 0
    assert out.startswith(f"usage: albert-np predict {models}/my-names TEXT … [options]\n")
    assert "--aggregation" in out


# --- long work ------------------------------------------------------------------------------------------------------------


SETTLED = "from albert_np.pipelines import job_files as f; f.SETTLE_AFTER = {}; from albert_np.cli import main; main()"


def long_job(models, folder, name, *more, settle_after=None):
    """A job of some seconds, on its way. settle_after: seconds between two moments from which it can be resumed."""
    argv = ["embed", "corpus.txt", "--model", str(models / "my-albert"), "--batch-size", "8", "--threads", "1"]
    program = ["-m", "albert_np"] if settle_after is None else ["-c", SETTLED.format(settle_after)]
    command = [sys.executable, *program, *argv, "--out", name, *more]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=unmeasured(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )


def write_corpus(folder, lines):
    rng = random.Random(0)
    words = ["house", "river", "garden", "horse", "window", "letter", "morning", "table", "winter", "brother"]
    texts = (" ".join(rng.choices(words, k=int(rng.lognormvariate(3, 0.7)) + 1)) for _ in range(lines))
    (folder / "corpus.txt").write_text("\n".join(texts) + "\n")


def finished(process):
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def wait_for(path, process, seconds=60):
    deadline = time.monotonic() + seconds
    while not path.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)


def test_an_interrupted_job_leaves_whole_rows_and_says_how_to_continue(models, tmp_path):
    write_corpus(tmp_path, 3000)
    process = long_job(models, tmp_path, "out.jsonl")
    wait_for(tmp_path / "out.jsonl", process)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    code, out, err = finished(process)
    assert (code, out) == (130, "")
    told = err.splitlines()[-1]
    assert told.startswith("albert-np: interrupted after ")
    assert told.endswith(" --out out.jsonl --resume")
    rows = (tmp_path / "out.jsonl").read_bytes()
    assert rows.endswith(b"\n")
    assert all(map(json.loads, rows.splitlines()))
    assert f"after {len(rows.splitlines()):,} rows" in told
    code, out, err = finished(long_job(models, tmp_path, "out.jsonl", "--resume"))
    assert (code, err) == (0, "")
    assert len((tmp_path / "out.jsonl").read_bytes().splitlines()) == 3000


@pytest.mark.slow
@pytest.mark.parametrize("name", ["out.jsonl", "out.npy", "out.csv", "out.parquet"])
def test_killed_at_ten_random_moments_and_resumed_the_file_is_the_same(name, models, tmp_path):
    if name == "out.parquet":
        needs.module("test", "pyarrow.parquet")
    write_corpus(tmp_path, 30000)
    start = time.monotonic()
    code, _, err = finished(long_job(models, tmp_path, f"whole-{name}"))
    assert code == 0, err
    longest = (time.monotonic() - start) / 20  # so that ten of them do not finish the job, however fast the machine is
    rng, kills, rows = random.Random(name), 0, [0]
    while kills < 10:
        state = tmp_path / f"{name}.unfinished"
        process = long_job(models, tmp_path, name, "--resume", settle_after=0.02)
        while process.poll() is None and not (state.exists() and json.loads(state.read_bytes())["rows"] > rows[-1]):
            time.sleep(0.005)  # it is starting
        time.sleep(rng.uniform(0, longest))
        process.send_signal(signal.SIGKILL)
        assert finished(process)[0] == -signal.SIGKILL, "the job was complete before ten kills: give it more lines"
        kills += 1
        rows.append(json.loads(state.read_bytes())["rows"])
    assert rows == sorted(rows)
    assert rows[-1] > 0
    code, _, err = finished(long_job(models, tmp_path, name, "--resume"))
    assert code == 0, err
    assert (tmp_path / name).read_bytes() == (tmp_path / f"whole-{name}").read_bytes()
    assert sorted(os.listdir(tmp_path)) == sorted(["corpus.txt", name, f"whole-{name}"])


def test_a_bar_shows_on_a_terminal_only(run, models, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    write_corpus(Path(), 20)
    assert run("embed", "corpus.txt", "--out", "a.npy") == (0, "wrote 20 rows to a.npy\n", "")
    monkeypatch.setattr(sys, "stderr", Terminal())
    run("embed", "corpus.txt", "--out", "b.npy")
    shown = sys.stderr.getvalue()
    assert "100%" in shown
    assert "20/20" in shown
    assert "rows/s" in shown
    for argv in (("embed", "corpus.txt", "--json"), ("similar", TEXT, "corpus.txt")):
        monkeypatch.setattr(sys, "stderr", Terminal())
        run(*argv)
        assert "20/20" in sys.stderr.getvalue()
    # where answers scroll by on the same terminal, there is none
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(sys, "stdout", Terminal())
    run("tokenize", "corpus.txt")
    assert sys.stderr.getvalue() == ""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read from /proc")
def test_memory_does_not_grow_with_the_file(models, tmp_path):
    """40,000 lines take little more than 2,000."""
    script = (
        "import sys; from albert_np.cli import main; code = main(sys.argv[1:]); "
        "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]); sys.exit(code)"
    )
    peaks = []
    for lines in (2000, 40000):
        write_corpus(tmp_path, lines)
        argv = ["embed", "corpus.txt", "--model", str(models / "my-albert"), "--out", f"{lines}.npy"]
        command = [sys.executable, "-c", script, *argv]
        done = subprocess.run(command, cwd=tmp_path, env=unmeasured(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout.split()[-1]))
    assert peaks[1] - peaks[0] < 8_000  # KiB; the lines are 5 MB more, and their vectors 2 MB
