"""The command line as a user meets it: output, errors in one line, exit codes."""

import io
import json
import os
import subprocess
import sys

import pytest

from albert_np import __version__
from albert_np.cli import main

ONE = "The capital of [MASK] is Paris."


def run(capsys, *argv, stdin=None, monkeypatch=None):
    if stdin is not None:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
    code = main(list(argv))
    out, err = capsys.readouterr()
    return code, out, err


def test_fill_mask_prints_a_table(capsys):
    code, out, err = run(capsys, "fill-mask", ONE, "--top-k", "3")
    lines = out.splitlines()
    assert code == 0
    assert lines[0] == ONE
    assert lines[1].split() == ["score", "token", "sentence"]
    assert len([line for line in lines[2:] if line]) == 3
    assert "not trained yet" in err  # the demo says what it is


def test_fill_mask_json_is_the_pipelines_value(capsys):
    from albert_np import pipeline

    code, out, _ = run(capsys, "fill-mask", ONE, "The [MASK] of [MASK].", "--json")
    assert code == 0
    answers = [json.loads(line) for line in out.splitlines()]  # one line a sentence
    assert answers == [pipeline("fill-mask")(ONE), pipeline("fill-mask")("The [MASK] of [MASK].")]


def test_fill_mask_several_masks_and_targets(capsys):
    code, out, _ = run(capsys, "fill-mask", "The [MASK] of [MASK].", "--targets", "▁the", "▁a")
    assert code == 0
    assert "mask 1 of 2" in out
    assert "mask 2 of 2" in out


def test_fill_mask_reads_lines_from_stdin(capsys, monkeypatch):
    code, out, _ = run(capsys, "fill-mask", "-", "--json", stdin=f"{ONE}\n\nA [MASK].\r\n", monkeypatch=monkeypatch)
    assert code == 0
    assert len(out.splitlines()) == 2


def test_warnings_are_one_line(capsys):
    code, _, err = run(capsys, "fill-mask", ONE, "--targets", "incomprehensible")
    assert code == 0
    assert "albert-np: warning: the target 'incomprehensible' is " in err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("fill-mask", "nothing to fill"), "there is no [MASK]"),
        (("fill-mask", ONE, "--model", "./no-such-folder"), "there is no folder ./no-such-folder"),
        (("fill-mask", ONE, "--top-k", "0"), "top_k must be"),
        (("fill-mask", ONE, "--dtype", "int8"), "dtype must be one of"),
        (("fill-mask", ONE, "--backend", "tpu"), "backend must be one of"),
        (("fill-mask", "[MASK]" + " word" * 200), "at most 128 tokens"),
        (("info", "./no-such-folder"), "there is no folder"),
    ],
)
def test_refusals_are_one_line_and_exit_code_1(capsys, argv, message):
    code, out, err = run(capsys, *argv)
    assert (code, out) == (1, "")
    assert message in err
    assert len([line for line in err.splitlines() if "not trained yet" not in line]) == 1
    assert "Traceback" not in err


def test_a_line_of_stdin_is_named_where_it_is_refused(capsys, monkeypatch):
    code, out, err = run(capsys, "fill-mask", "-", stdin=f"{ONE}\nnothing\n", monkeypatch=monkeypatch)
    assert code == 1
    assert ONE in out
    assert "sentence 2: there is no [MASK] in 'nothing'" in err


def test_a_terminal_that_cannot_show_a_letter_still_gets_the_rest():
    for argv in (["info"], ["info", "--json"], ["fill-mask", ONE, "--json"]):
        done = subprocess.run(
            [sys.executable, "-m", "albert_np", *argv],
            capture_output=True,
            env=os.environ | {"PYTHONIOENCODING": "ascii"},
        )
        assert done.returncode == 0, done.stderr
        if "--json" in argv:
            json.loads(done.stdout.decode("ascii"))


def test_streams_that_are_closed_or_not_text_are_refused_in_one_line():
    command = f"{sys.executable} -m albert_np fill-mask - --json"
    for shell, message in (
        (f"{command} <&-", "no standard input"),
        (f"printf 'A [MASK].\\ncaf\\351 [MASK]\\n' | PYTHONUTF8=1 {command}", "is not UTF-8 text"),
        (f"{sys.executable} -m albert_np info >&-", "no standard output"),
    ):
        done = subprocess.run(shell, shell=True, capture_output=True, text=True)
        assert done.returncode == 1, shell
        assert message in done.stderr
        assert "Traceback" not in done.stderr


def test_interrupted_is_exit_code_1(capsys, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("albert_np.info.describe", interrupt)
    code, _, err = run(capsys, "info")
    assert (code, err) == (1, "albert-np: interrupted\n")


def test_truncate_cuts_long_texts(capsys):
    assert run(capsys, "fill-mask", "[MASK]" + " word" * 200, "--truncate")[0] == 0


@pytest.mark.parametrize("argv", [(), ("fill-mask",), ("no-such-command",), ("fill-mask", ONE, "--top-k", "many")])
def test_wrong_usage_is_exit_code_2(capsys, argv):
    with pytest.raises(SystemExit) as stopped:
        main(list(argv))
    assert stopped.value.code == 2
    assert "usage: albert-np" in capsys.readouterr().err


def test_help_and_version(capsys):
    for argv in (["--help"], ["fill-mask", "--help"], ["info", "--help"]):
        with pytest.raises(SystemExit) as stopped:
            main(argv)
        assert stopped.value.code == 0
    assert "The capital of [MASK] is Paris." in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"albert-np {__version__}\n"


def test_info_counts_parameters_stored_and_unshared(capsys):
    code, out, _ = run(capsys, "info", "demo")
    assert code == 0
    assert "num_hidden_layers        4" in out
    info = json.loads(run(capsys, "info", "--json")[1])
    rows = {row["part"]: row for row in info["parameters"]}
    H, intermediate = 64, 256
    attention = 4 * (H * H + H) + 2 * H
    assert rows["shared layer: attention"] == {
        "part": "shared layer: attention",
        "stored": attention,
        "unshared": 4 * attention,
    }
    feed_forward = 2 * H * intermediate + intermediate + H
    assert rows["shared layer: feed-forward"]["stored"] == feed_forward
    assert info["stored"] == sum(row["stored"] for row in info["parameters"])
    assert info["backends"]["numpy"] == "yes"


def test_info_of_a_saved_model_counts_what_its_file_holds(capsys, tmp_path):
    from albert_np import AlbertConfig, AlbertForPreTraining

    config = AlbertConfig.from_pretrained("demo", num_hidden_groups=2, inner_group_num=2)
    model = AlbertForPreTraining(config)
    model.save_pretrained(tmp_path)
    info = json.loads(run(capsys, "info", str(tmp_path), "--json")[1])
    assert info["stored"] == model.num_parameters()
    rows = {row["part"]: row for row in info["parameters"]}
    feed_forward = rows[
        "shared layer: feed-forward"
    ]  # 2 · 2 stored layers, each applied as often as it is stored twice
    assert feed_forward["unshared"] == feed_forward["stored"] * (4 * 2) // (2 * 2)
    assert info["counted_from"] == "model.safetensors"
    assert info["config"]["architectures"] == ["AlbertForPreTraining"]
    assert {"config.json", "model.safetensors"} == {file["name"] for file in info["files"]}


def test_python_m_and_closed_pipe():
    command = [sys.executable, "-m", "albert_np", "fill-mask", *[ONE] * 3, "--top-k", "1000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline().strip() == ONE
    process.stdout.close()  # as `… | head -1`
    error = process.stderr.read()
    assert process.wait(timeout=60) == 0
    assert "Traceback" not in error
    assert "BrokenPipe" not in error
    process.stderr.close()
