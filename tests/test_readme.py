"""README says what is true: its commands are two, its Python runs, its links lead somewhere."""

import contextlib
import io
import re

import pytest
import show_demo
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


def test_the_table_of_answers_is_what_the_embedded_model_answers():
    begin, end = show_demo.MARKS
    assert README.split(begin)[1].split(end)[0].strip("\n") == show_demo.table().strip("\n")
    assert len(show_demo.SENTENCES) == 10


def test_a_table_is_put_between_the_marks_of_a_text_that_has_them():
    begin, end = show_demo.MARKS
    first = show_demo.put_into(f"a\n{begin}{end}b\n", "| x |\n")
    assert first == f"a\n{begin}\n| x |\n\n{end}b\n"
    assert show_demo.put_into(first, "| y |\n") == first.replace("x", "y")
    with pytest.raises(ValueError, match="the marks are missing"):
        show_demo.put_into(f"a\n{end}{begin}", "| x |\n")


def test_relative_links_lead_to_files():
    links = re.findall(r"\]\(([^)]+)\)", README)
    relative = [link for link in links if "://" not in link]
    assert len(relative) > 5
    missing = [link for link in relative if not (ROOT / link).exists()]
    assert not missing


def test_the_model_files_can_be_read_in_one_sitting():
    lines = {
        name: len((ROOT / "albert_np" / name).read_text().splitlines())
        for name in ("ops.py", "embeddings.py", "encoder.py", "heads.py")
    }
    assert sum(lines.values()) <= 500, lines
