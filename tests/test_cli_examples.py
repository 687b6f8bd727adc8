"""Every example of every --help, of README and of docs/ runs: on made-up files, with a tiny model in the place of the hub's.

An example that somebody adds is run too, with files of the names and columns that its own arguments tell.
"""

import argparse
import csv
import io
import json
import random
import re
import shlex
import shutil
import sys
import warnings
from pathlib import Path

import pytest
from support import ROOT, TINY_MODEL, task_models

from albert_np import AlbertConfig, AlbertForPreTraining, AlbertTokenizer, cli
from albert_np.checkpoints import hub
from albert_np.training import log

WORDS = ["house", "river", "garden", "horse", "window", "letter", "morning", "table", "winter", "brother"]
# what takes hours otherwise; said after the example's own, so that it wins
SIZES = {"vocab-size": 40, "hidden-size": 16, "embedding-size": 8, "heads": 2, "layers": 1, "max-length": 32}


def parsers():
    """The parser of `albert-np` itself and those of its commands, by name."""
    main = cli._parser()
    (commands,) = (action for action in main._actions if isinstance(action, argparse._SubParsersAction))
    return {"": main, **commands.choices}


def examples(text):
    """The lines of a text that are commands, as (what is piped in, arguments)."""
    for line in text.splitlines():
        before, pipe, command = line.strip().rpartition(" | ")
        if command.startswith("albert-np "):
            assert not pipe or before.startswith("cat ")
            yield before.removeprefix("cat ") or None, shlex.split(command, comments=True)[1:]


# those of `golden` read one another's files: tests/test_golden_cli.py runs them
HELPS = {name: list(examples(parser.format_help())) for name, parser in parsers().items() if name != "golden"}
# blocks without a language; those of `console` show what comes out, and tests/test_docs.py runs them
CODE = {
    path.name: "\n".join(re.findall(r"^```\n(albert-np .*?)^```", path.read_text(), re.M | re.S))
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("[a-z]*.md"))]
}
SHOWN = HELPS | {name: list(examples(text)) for name, text in CODE.items() if text}


def test_examples_are_found():
    """Or the rest would say nothing. Whoever adds a command shows how it is called."""
    assert [name for name, found in HELPS.items() if not found] == []
    assert (None, ["fill-mask", "The capital of [MASK] is Paris."]) in HELPS[""]
    assert ("sentences.txt", ["fill-mask", "-", "--model", "./my-albert", "--json"]) in HELPS["fill-mask"]
    assert sum(map(len, HELPS.values())) >= 20
    assert len(SHOWN["README.md"]) >= 4


# --- what the examples read ----------------------------------------------------------------------------------------------


def sentence(rng):
    return " ".join(rng.choice(WORDS) for _ in range(rng.randrange(4, 9)))


def text_rows(rng, columns, problem):
    pair, label = columns.get("pair"), columns.get("label", "label")
    for i in range(20):
        labels = {"regression": rng.random(), "multi": "good|long" if i % 2 else "good"}.get(
            problem, ["bad", "good"][i % 2]
        )
        yield {columns.get("text", "text"): sentence(rng), **({pair: sentence(rng)} if pair else {}), label: labels}


def word_rows(rng, columns, problem):
    for _ in range(20):
        words = sentence(rng).split()
        tags = ["B-PLACE" if word in ("house", "river") else "O" for word in words]
        yield {columns.get("tokens", "tokens"): words, columns.get("labels", "labels"): tags}


def choice_rows(rng, columns, problem):
    choices = columns.get("choices", "choices")
    for i in range(20):
        row = {columns.get("context", "context"): sentence(rng), columns.get("label", "label"): i % 2}
        if isinstance(choices, list):
            yield row | {name: sentence(rng) for name in choices}
        else:
            yield row | {choices: [sentence(rng), sentence(rng)]}


def squad(rng, impossible):
    """Contexts of which some are longer than any window of the models here."""
    paragraphs = []
    for i in range(12):
        context = " . ".join(sentence(rng) for _ in range(40 if i % 4 == 0 else 3))
        word = context.split()[2]
        answers = [] if impossible and i % 3 == 0 else [{"text": word, "answer_start": context.index(word)}]
        question = {"id": f"q{i}", "question": f"which {word} is it?", "answers": answers, "is_impossible": not answers}
        paragraphs.append({"context": context, "qas": [question]})
    return {"data": [{"title": "made up", "paragraphs": paragraphs}]}


INPUTS = (".csv", ".tsv", ".jsonl", ".json", ".txt", ".conll")
ROWS = {"text-classification": text_rows, "token-classification": word_rows, "multiple-choice": choice_rows}


def write_examples(path, args, seed):
    """A file for `finetune`, of the form that its name says."""
    rng, kind = random.Random(seed), path.suffix
    if args.task == "question-answering":
        path.write_text(json.dumps(squad(rng, "v2" in path.name)))
        return
    rows = list(ROWS[args.task](rng, cli.shared.parse_columns(args.columns), args.problem))
    if kind == ".conll":
        blocks = ["\n".join(map(" ".join, zip(row["tokens"], row["labels"], strict=True))) for row in rows]
        path.write_text("\n\n".join(blocks) + "\n")
    elif kind == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    else:
        assert kind in (".csv", ".tsv"), f"what is {path.name} made of?"
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="," if kind == ".csv" else "\t")
            writer.writeheader()
            writer.writerows(rows)


def write_text(path, seed):
    rng = random.Random(seed)
    paragraph = ". ".join
    documents = (
        "\n".join(paragraph(sentence(rng).capitalize() for _ in range(4)) for _ in range(3)) for _ in range(12)
    )
    path.write_text("\n\n".join(documents) + ".\n")


def write_inputs(path, args):
    """A file for a command that asks a model, with the columns that the command reads."""
    rng = random.Random(0)
    if path.suffix == ".txt":
        write_text(path, 0)
        return
    if path.suffix == ".json":
        path.write_text(json.dumps(squad(rng, "v2" in path.name)))
        return
    if path.suffix == ".conll":
        path.write_text("\n".join(f"{word} O" for word in sentence(rng).split()) + "\n")
        return
    columns, shape = cli.shared.parse_columns(args.columns), args.job.shape(args)
    names = [name for name in shape.needed if name not in shape.given] + [n for n in shape.optional if n in columns]
    rows = []
    for _ in range(5):
        row = {}
        for name in names:
            column = columns.get(name, name)
            if isinstance(column, list):
                row |= {part: sentence(rng) for part in column}
            else:
                row[column] = {"tokens": WORDS[:4], "choices": WORDS[:3]}.get(name) or sentence(rng)
        rows.append(row)
    if path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)) + "\n")
        return
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="," if path.suffix == ".csv" else "\t")
        writer.writeheader()
        writer.writerows(rows)


def quick(args):
    if args.command == "quantize":
        return ["--at-least=0"]  # a model that has learnt nothing is sure of no answer
    if args.command != "pretrain":
        return []
    sizes = SIZES if args.model is None else {}  # which has its own
    quickly = sizes | {"batch-size": 4, "steps": 5 if args.resume else 3, "save-every": 2}
    return [f"--{name}={value}" for name, value in quickly.items()]


def prepare(args, tiny):
    """Everything that a command reads, in the working folder."""
    for name in ("model", "source", "folder"):  # source is of convert, folder of verify
        model = getattr(args, name, None)
        if model and model.startswith("."):
            named = tiny.parent / "tasks" / Path(model).name
            shutil.copytree(named if named.exists() else tiny, model, dirs_exist_ok=True)
    if args.command == "quantize":
        for name in filter(None, (args.calibration, args.text)):
            write_text(Path(name), seed=1)
    if args.command in ("convert", "quantize"):
        shutil.rmtree(args.target, ignore_errors=True)  # of the example before
    if args.command == "finetune":
        for seed, name in enumerate(filter(None, (args.train, args.validation))):
            write_examples(Path(name), args, seed)
    if args.command == "pretrain":
        for seed, name in enumerate(args.text):
            write_text(Path(name), seed)


# --- running them ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A model with the demo's 128 positions."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    task_models.save(folder.parent / "tasks")
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = AlbertConfig.from_pretrained(TINY_MODEL, **small, embedding_size=8, max_position_embeddings=128)
    AlbertForPreTraining(config, seed=1).save_pretrained(folder)
    AlbertTokenizer.from_pretrained(TINY_MODEL).save_pretrained(folder)
    return folder


@pytest.fixture
def hub_of_one(tiny, monkeypatch):
    """Every hub id means the tiny model, and so does demo, whose own weights would take ten times longer."""
    here = hub.local_folder
    monkeypatch.setattr(hub, "DEMO_FOLDER", tiny)
    monkeypatch.setitem(hub.EMBEDDED, hub.DEMO, tiny)
    monkeypatch.setattr(hub, "local_folder", lambda name: here(name) or tiny)
    monkeypatch.setattr(log, "draw", lambda *_: False)  # a third of a second each


@pytest.mark.parametrize("name", SHOWN, ids=lambda name: name or "albert-np")
@pytest.mark.usefixtures("hub_of_one")
def test_every_example_that_is_shown_runs(name, tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for piped, argv in SHOWN[name]:
        if argv[-1] == "--help":
            with pytest.raises(SystemExit, match="0"):
                cli.main(argv)
            continue
        args = cli._parser().parse_args(argv)
        prepare(args, tiny)
        args = args.meant(args) if "meant" in args else args
        if "job" in args:
            for file in map(Path, (vars(args).get("context_file") or "", *args.inputs)):
                if file.suffix in INPUTS and not file.exists():
                    write_inputs(file, args)
        monkeypatch.setattr(sys, "stdin", io.StringIO("A [MASK] in the garden.\nThe [MASK].\n" if piped else ""))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code = cli.main([*argv, *quick(args)])
        out, err = capsys.readouterr()
        assert code == 0, (argv, err)
        assert out.strip()
        if getattr(args, "json", False):
            assert all(map(json.loads, out.splitlines() if "job" in args else [out]))
        if getattr(args, "out", None):
            assert Path(args.out).stat().st_size
        if getattr(args, "output", None):
            (told,) = (line for line in out.splitlines() if line.startswith("step "))
            checkpoint = Path(told.partition(": ")[2])
            assert checkpoint.parent == Path(args.output)
            assert AlbertConfig.from_pretrained(checkpoint).architectures
            AlbertTokenizer.from_pretrained(checkpoint)
            assert "not finite" not in out
        if argv[0] == "finetune":
            predict = shlex.split(out.splitlines()[-1])
            assert predict[:2] == ["albert-np", "predict"]
            assert cli.main([*predict[1:], "--json"]) == 0
            assert len(list(map(json.loads, capsys.readouterr().out.splitlines()))) > 1
