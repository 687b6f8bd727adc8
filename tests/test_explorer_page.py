"""The explorer's page and its command: nobody's HTML, never more bytes than it says, and refusals in one line."""

import html
import json
import os
import re

import numpy as np
import pytest
from support import ROOT
from support.explored import TEXT, demo_tokenizer, of_the_demo, small
from support.pages import HOSTILE, Page, assert_nothing_outside, assert_policy

import albert_np
from albert_np import AlbertConfig, AlbertForPreTraining, cli
from albert_np.explorer import size

FOLDER = ROOT / "albert_np" / "explorer"


@pytest.fixture
def tokenizer():
    return demo_tokenizer()


@pytest.fixture
def explored():
    return of_the_demo()


# --- the page ---------------------------------------------------------------------------------------------------------------


def test_the_page_holds_the_data_and_is_the_same_every_time(explored):
    page = Page(explored.html())
    assert page.data == json.loads(json.dumps(explored.data))
    assert explored.html() == albert_np.explore(TEXT).html()
    assert "".join(page.text).split()[:2] == ["Inside", "ALBERT:"]
    assert "computed in float64 by the reference" in "".join(page.text)


def test_the_page_refers_to_nothing_outside_itself_and_runs_this_script_alone(explored):
    page = Page(explored.html())
    assert_nothing_outside(page)
    assert_policy(page)


def test_what_no_piece_can_write_is_marked(tokenizer):
    tokens = albert_np.explore("a 日").data["tokens"]
    assert [token["id"] == tokenizer.unk_token_id for token in tokens] == [token["unknown"] for token in tokens]
    assert any(token["unknown"] for token in tokens)


def test_an_empty_text_has_a_heading():
    assert "(an empty text)" in Page(albert_np.explore("").html()).text


def test_hostile_text_stays_text(explored):
    hostile = HOSTILE[:60] + "\u202e"
    found = albert_np.explore(f"{hostile} [MASK]", pair=hostile)
    page = Page(found.html())
    assert page.tags() == Page(explored.html()).tags()
    assert page.data["text"].startswith("</script>")
    assert "\u202e" not in found.html()
    assert_nothing_outside(page)
    assert_policy(page)


def test_a_notebook_shows_the_page_in_a_frame_that_may_only_run_its_script(explored):
    frame = explored._repr_html_()
    ((tag, attributes),) = Page(frame).elements
    assert tag == "iframe"
    assert attributes["sandbox"] == "allow-scripts"
    assert attributes["srcdoc"] == explored.html()
    assert "src" not in attributes
    assert attributes["title"]
    assert html.unescape(frame).count("</iframe>") == 1
    assert repr(explored) == "Exploration of 15 tokens through 6 applications (demo)"


def test_every_part_of_the_page_is_in_its_script(explored):
    script = Page(explored.html()).blocks["script"][1]
    for file in FOLDER.glob("*.js"):
        assert file.read_text() in script
        assert len(file.read_text().splitlines()) < 260  # small enough to be read


# --- sizes and refusals -------------------------------------------------------------------------------------------------------

DEEP = {"num_hidden_layers": 24, "num_attention_heads": 16, "hidden_size": 64, "intermediate_size": 64}


@pytest.mark.parametrize("changes", [{}, DEEP], ids=["demo", "deep"])
def test_a_page_has_no_more_bytes_than_is_said_beforehand(tokenizer, changes):
    model = small(**changes) if changes else AlbertForPreTraining.from_pretrained("demo")
    most = size.most_tokens(model.config)
    for T in (2, most // 2, most):
        words = ["the", "old", "[MASK]", "man", "went", "away", "and", "a", "boy"] * T
        found = albert_np.explore(" ".join(words[: T - 2]), model, tokenizer=tokenizer)
        assert len(found.data["tokens"]) == T
        bytes_ = len(found.html().encode())
        assert bytes_ <= size.bytes_of(T, model.config)
        assert bytes_ > 0.55 * size.bytes_of(T, model.config)
    assert bytes_ < size.MOST_BYTES


def test_what_does_not_fit_is_refused_in_one_line_before_anything_is_computed(monkeypatch):
    monkeypatch.setattr(AlbertForPreTraining, "from_pretrained", lambda *_, **__: pytest.fail("it was loaded"))
    with pytest.raises(ValueError, match=r"has 102 tokens, and a page has at most 2,000,000 bytes: \d+ tokens") as met:
        albert_np.explore("word " * 100)
    assert "\n" not in str(met.value)
    most = int(re.search(r"(\d+) tokens fit", str(met.value))[1])
    assert most == size.most_tokens(AlbertConfig.from_pretrained("demo")) > 60
    with pytest.raises(ValueError, match="the text has 302 tokens, and the model has 128 positions"):
        albert_np.explore("word " * 300)


def test_a_page_that_comes_out_too_large_is_refused_too(monkeypatch):
    monkeypatch.setattr("albert_np.explorer.explore.MOST_BYTES", 1000)
    with pytest.raises(ValueError, match=r"its page would have [\d,]+ bytes"):
        albert_np.explore("a")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3,), "text must be a str; got int"),
        ((["a"],), "text must be a str; got list"),
        (("a", 3), "model must be a name or one of the model classes; got int"),
        (("a", "demo", {"pair": 3}), "pair must be a str; got int"),
        (("a", "demo", {"tokenizer": 5}), "tokenizer must be a name or a tokenizer; got int"),
        (("a", "demo", {"dtype": "float32"}), "unknown dtype: explore takes pair, tokenizer, revision"),
        (("a", "nowhere/at/all"), "nowhere/at/all"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    *given, options = (*arguments, {}) if not isinstance(arguments[-1], dict) else arguments
    with pytest.raises((ValueError, OSError), match=message):
        albert_np.explore(*given, **options)


def test_numbers_that_are_none_are_refused_with_the_name_of_the_step(tokenizer):
    model = small()
    model._tensors["encoder.albert_layer_groups.0.albert_layers.0.ffn.weight"][0, 0] = np.nan
    with pytest.raises(ValueError, match=r"encoder\.layer\.0\.ffn has NaN or infinity"):
        albert_np.explore("a", model, tokenizer=tokenizer)


def test_models_that_cannot_be_explored_are_refused(tokenizer):
    with pytest.raises(ValueError, match="follows one text"):
        albert_np.explore("a", small(albert_np.AlbertForMultipleChoice), tokenizer=tokenizer)
    with pytest.raises(ValueError, match="pass tokenizer= too"):
        albert_np.explore("a", small())
    with pytest.raises(ValueError, match="revision: the model is loaded already"):
        albert_np.explore("a", small(), tokenizer=tokenizer, revision="x")


# --- the command -----------------------------------------------------------------------------------------------------------


def test_the_command_writes_the_page_and_says_so(explored, tmp_path, capsys):
    path = tmp_path / "page.html"
    assert cli.main(["explore", TEXT, "-o", str(path)]) == 0
    assert path.read_text(encoding="utf-8") == explored.html()
    assert capsys.readouterr().out == f"{path}: 15 tokens, {path.stat().st_size:,} bytes; open it in a browser\n"
    assert cli.main(["explore", "It rained.", "--pair", "Wet.", "-o", str(path), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {"file": str(path), "bytes": path.stat().st_size, "tokens": 9}


def test_the_command_refuses_in_one_line_and_writes_nothing(tmp_path, capsys):
    path = tmp_path / "page.html"
    assert cli.main(["explore", "word " * 100, "-o", str(path)]) == 1
    err = capsys.readouterr().err
    assert err.startswith("albert-np: the text has 102 tokens")
    assert err.count("\n") == 1
    assert not path.exists()
    (tmp_path / "file").touch()
    assert cli.main(["explore", "a", "-o", str(tmp_path / "file" / "page.html")]) == 1
    capsys.readouterr()
    assert cli.main(["explore", "a", "-o", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"albert-np: {tmp_path} is a folder; name a file\n"
    assert cli.main(["explore", "a", "-o", "-", "--json"]) == 1
    assert capsys.readouterr().err == "albert-np: --json and -o - would both print; name a file for the page\n"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with a name here")
def test_the_page_takes_the_place_of_a_file_and_of_nothing_else(tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe")
    assert cli.main(["explore", "a", "-o", str(tmp_path / "pipe")]) == 1
    assert "is a pipe or a device; name a file" in capsys.readouterr().err
    assert (tmp_path / "pipe").is_fifo()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_the_command_prints_the_page(explored, capfdbinary):
    assert cli.main(["explore", TEXT, "-o", "-"]) == 0
    assert capfdbinary.readouterr().out == explored.html().encode()
