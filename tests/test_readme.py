"""README says what is true: its commands are two, its Python runs, its links lead somewhere."""

import ast
import contextlib
import io
import json
import re
import tokenize

import pytest
from support import ROOT

README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.M | re.S)


def test_quick_start_is_one_block_of_exactly_two_commands():
    section = README.split("## Quick start\n")[1].split("\n## ")[0]
    fenced = re.findall(r"^```\w*\n(.*?)^```$", section, re.M | re.S)
    first, second = fenced[0].strip().splitlines()
    assert "albert-np fill-mask" in first
    assert "[test]" in second
    assert second.endswith("pytest -q")


def test_python_block_runs_and_its_shapes_are_right():
    (code,) = blocks("python")
    names = {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(code, names)
    (shape,) = re.findall(r"^out\.logits\.shape  # (\(.*\))$", code, re.M)
    assert str(names["out"].logits.shape) == shape
    assert list(names["out"].trace)[:2] == ["embeddings.LayerNorm", "encoder.embedding_hidden_mapping_in"]


def test_the_batch_of_sentences_is_that_of_the_results():
    rows = json.loads((ROOT / "benchmarks" / "results" / "cpu_forward.json").read_text())["rows"]
    said = re.search(r"a batch\sof (\d+) sentences of up to (\d+)\stokens", README)
    measured = {(row["sequences"], row["width"]) for row in rows if row["shape"] == "ragged"}
    assert measured == {(int(said[1]), int(said[2]))}


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_relative_links_lead_to_files(name):
    links = re.findall(r"\]\(([^)]+)\)", (ROOT / name).read_text())
    relative = [link for link in links if "://" not in link]
    assert len(relative) >= 5
    missing = [link for link in relative if not (ROOT / link.partition("#")[0]).exists()]
    assert not missing


MODEL_FILES = ("ops.py", "activations.py", "losses.py", "embeddings.py", "encoder.py", "heads.py")
NOT_CODE = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)


def code_lines(text):
    """The numbers of the lines that hold code: no blank lines, no comments alone, no docstrings."""
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NOT_CODE:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            lines -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return lines


def test_code_lines_are_those_that_run():
    text = (
        '"""A module.\n\nOf text."""\n\n# a comment\nx = """two\nlines"""  # one\ndef f():\n    "Text."\n    return x\n'
    )
    assert code_lines(text) == {6, 7, 8, 10}


def test_the_lines_of_the_model_files_are_as_many_as_stated():
    """And few enough to be read in one sitting."""
    (stated_code, stated_all) = re.findall(r"have\sabout\s(\d+)\slines\sof\scode,\sor\s(\d+)\slines\swith", README)[0]
    texts = {name: (ROOT / "albert_np" / name).read_text() for name in MODEL_FILES}
    for name in texts:
        assert f"](albert_np/{name})" in README
    code = sum(len(code_lines(text)) for text in texts.values())
    everything = sum(len(text.splitlines()) for text in texts.values())
    assert (int(stated_code), int(stated_all)) == (round(code, -1), round(everything, -1))
    assert code <= 500
