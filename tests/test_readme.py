"""README says what is true: its commands are two, its Python runs, its links lead somewhere."""

import contextlib
import io
import re
import subprocess
import sys

import pytest
from support import ROOT, unmeasured

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


def show_demo(*arguments):
    command = [sys.executable, ROOT / "tools" / "show_demo.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=unmeasured(), check=False)


def test_the_table_of_answers_is_what_the_embedded_model_answers(tmp_path):
    """And is put between the marks of a text that has them, in place of what is there."""
    before, mark, rest = README.partition("<!-- tools/show_demo.py -->\n")
    table, end, after = rest.partition("<!-- end of the table -->\n")
    printed = show_demo().stdout
    assert printed.strip("\n") == table.strip("\n")
    assert len(printed.splitlines()) == 2 + 10
    copy = tmp_path / "README.md"
    copy.write_text(f"{before}{mark}| old |\n{end}{after}")
    assert show_demo("--readme", copy).returncode == 0
    assert copy.read_text() == README
    copy.write_text(f"{before}{end}{mark}{after}")
    refused = show_demo("--readme", copy)
    assert refused.returncode == 1
    assert "the marks are missing" in refused.stderr
    assert copy.read_text() == f"{before}{end}{mark}{after}"


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_relative_links_lead_to_files(name):
    links = re.findall(r"\]\(([^)]+)\)", (ROOT / name).read_text())
    relative = [link for link in links if "://" not in link]
    assert len(relative) >= 5
    missing = [link for link in relative if not (ROOT / link).exists()]
    assert not missing


def test_the_model_files_can_be_read_in_one_sitting():
    lines = {
        name: len((ROOT / "albert_np" / name).read_text().splitlines())
        for name in ("ops.py", "embeddings.py", "encoder.py", "heads.py")
    }
    assert sum(lines.values()) <= 500, lines
