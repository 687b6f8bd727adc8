"""The command line as a user meets it: output, errors in one line, exit codes."""

import io
import json
import os
import subprocess
import sys

import pytest
from support import TESTS, TINY_MODEL

import albert_np
from albert_np import __version__
from albert_np.cli import main, warmup

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
    assert err == ""


def test_fill_mask_json_is_the_pipelines_value(capsys):
    from albert_np import pipeline

    code, out, _ = run(capsys, "fill-mask", ONE, "The [MASK] of [MASK].", "--json")
    assert code == 0
    answers = [json.loads(line) for line in out.splitlines()]  # one line a sentence
    assert answers == [pipeline("fill-mask")(ONE), pipeline("fill-mask")("The [MASK] of [MASK].")]


def test_fill_mask_runs_on_each_backend(capsys, backend):
    code, out, _ = run(capsys, "fill-mask", ONE, "--json", "--backend", backend.name, "--dtype", backend.dtype)
    assert code == 0
    assert len(json.loads(out)) == 5


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
    code, _, err = run(capsys, "fill-mask", ONE, "--targets", "photosynthesis")
    assert code == 0
    assert "albert-np: warning: the target 'photosynthesis' is " in err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("fill-mask", "nothing to fill"), "there is no [MASK]"),
        (("fill-mask", ONE, "--model", "./no-such-folder"), "there is no folder ./no-such-folder"),
        (("fill-mask", ONE, "--top-k", "0"), "top_k must be"),
        (("fill-mask", ONE, "--dtype", "int4"), "dtype must be one of"),
        (("fill-mask", ONE, "--backend", "tpu"), "backend must be one of"),
        (("fill-mask", ONE, "--threads", "0"), "--threads takes a whole number of threads from 1 to 256; got 0"),
        (("fill-mask", ONE, "--backend", "numba", "--dtype", "float64"), "backend 'numba' computes in float32"),
        (("fill-mask", "word " * 200 + "[MASK]", "--truncate"), "no [MASK] is left"),
        (("info", "./no-such-folder"), "there is no folder"),
    ],
)
def test_refusals_are_one_line_and_exit_code_1(capsys, argv, message):
    code, out, err = run(capsys, *argv)
    assert (code, out) == (1, "")
    assert message in err
    assert len(err.splitlines()) == 1
    assert "Traceback" not in err


def test_a_line_of_stdin_is_named_where_it_is_refused(capsys, monkeypatch):
    code, out, err = run(capsys, "fill-mask", "-", stdin=f"{ONE}\nnothing\n", monkeypatch=monkeypatch)
    assert code == 1
    assert ONE in out
    assert "stdin line 2: there is no [MASK] in 'nothing'" in err


def test_a_terminal_that_cannot_show_a_letter_still_gets_the_rest():
    for argv in (["info"], ["info", "--json"], ["fill-mask", ONE, "--json"]):
        done = subprocess.run(
            [sys.executable, "-m", "albert_np", *argv],
            capture_output=True,
            env=os.environ | {"PYTHONIOENCODING": "ascii"},
            check=False,
        )
        assert done.returncode == 0, done.stderr
        if "--json" in argv:
            json.loads(done.stdout.decode("ascii"))


def test_streams_that_are_closed_or_not_text_are_refused_in_one_line():
    command = f"{sys.executable} -m albert_np fill-mask - --json"
    for shell, message in (
        (f"{command} <&-", "no standard input"),
        (f"printf 'A [MASK].\\ncaf\\351 [MASK]\\n' | PYTHONUTF8=1 {command}", "stdin line 2 is not UTF-8"),
        (f"{sys.executable} -m albert_np info >&-", "no standard output"),
    ):
        done = subprocess.run(shell, shell=True, capture_output=True, text=True, check=False)
        assert done.returncode == 1, shell
        assert message in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["embed", "predict", "similar", "info", "warmup", "finetune", "pretrain"])
def test_the_first_paragraph_of_help_is_as_wide_as_the_terminal(capsys, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "50")
    with pytest.raises(SystemExit):
        main([command, "--help"])
    said = capsys.readouterr().out
    paragraph = said.split("\n\n")[1]
    assert len(paragraph) > 50
    assert max(map(len, paragraph.splitlines())) <= 50
    assert "\n  albert-np " in said  # examples keep their lines


def test_interrupted_has_an_exit_code_of_its_own(capsys, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    for part in ("describe.describe", "_parser"):  # at work, and before that
        monkeypatch.setattr(f"albert_np.cli.{part}", interrupt)
        code, _, err = run(capsys, "info")
        assert (code, err) == (130, "albert-np: interrupted\n")


def test_long_texts_are_cut_with_a_warning_or_without(capsys):
    code, out, err = run(capsys, "fill-mask", "[MASK]" + " word" * 200)
    assert code == 0
    assert "128 tokens are kept" in err
    code, again, err = run(capsys, "fill-mask", "[MASK]" + " word" * 200, "--truncate")
    assert (code, again) == (0, out)
    assert "tokens" not in err


@pytest.mark.parametrize(
    "argv",
    [
        (),
        ("fill-mask",),
        ("no-such-command",),
        ("fill-mask", ONE, "--top-k", "many"),
        ("fill-mask", ONE, "--threads", "two"),
        ("warmup", "--model", "demo"),
    ],
)
def test_wrong_usage_is_exit_code_2(capsys, argv):
    with pytest.raises(SystemExit) as stopped:
        main(list(argv))
    assert stopped.value.code == 2
    assert "usage: albert-np" in capsys.readouterr().err


def test_help_and_version(capsys):
    for argv in (["warmup", "--help"], ["--help"], ["fill-mask", "--help"], ["info", "--help"]):
        with pytest.raises(SystemExit) as stopped:
            main(argv)
        assert stopped.value.code == 0
    assert "The capital of [MASK] is Paris." in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"albert-np {__version__}\n"


def test_info_of_the_backends_alone_needs_no_model(capsys):
    code, out, _ = run(capsys, "info", "./no-such-folder", "--backends")
    assert code == 0
    assert "numpy    yes" in out
    found = json.loads(run(capsys, "info", "--backends", "--json")[1])
    assert set(found["backends"]) == {"numpy", "numba", "cuda"}
    assert (found["cuda"] is None) == (found["backends"]["cuda"] != "yes")


def test_info_counts_parameters_stored_and_unshared(capsys):
    code, out, _ = run(capsys, "info", str(TINY_MODEL))
    assert code == 0
    assert "num_hidden_layers        4" in out
    info = json.loads(run(capsys, "info", str(TINY_MODEL), "--json")[1])
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
    assert info["backends"].keys() == {"numpy", "numba", "cuda"}
    assert info["backends"]["numpy"] == "yes"


def test_info_is_about_the_embedded_model_unless_another_is_named(capsys):
    info = json.loads(run(capsys, "info", "--json")[1])
    assert info == json.loads(run(capsys, "info", "demo", "--json")[1])
    assert info["model"] == "demo"
    assert info["counted_from"] == "model.safetensors"


def test_info_of_a_saved_model_counts_what_its_file_holds(capsys, tmp_path):
    from albert_np import AlbertConfig, AlbertForPreTraining

    config = AlbertConfig.from_pretrained(TINY_MODEL, num_hidden_groups=2, inner_group_num=2)
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


@pytest.mark.parametrize(
    ("folder", "kind", "file", "words"),
    [
        ("bin_masked_lm_sharded", "bin", "pytorch_model-00001-of-00003.bin", "AlbertForMaskedLM"),
        ("flax_model", "msgpack", "flax_model.msgpack", "AlbertModel"),
        ("h5_pretraining", "h5", "tf_model.h5", "AlbertForPreTraining"),
        ("google_saved_model", "tf1", "variables.index", "AlbertForPreTraining"),
    ],
)
def test_info_names_the_format_the_heads_and_the_dtypes_of_any_checkpoint(capsys, folder, kind, file, words):
    path = TESTS / "goldens" / "formats" / folder
    code, out, err = run(capsys, "info", str(path))
    assert (code, err) == (0, "")
    heads = "without a head" if words == "AlbertModel" else f"with the heads of {words}"
    assert f"weights in the format {kind}, {heads}\n" in out
    sizes = [line for line in out.splitlines() if line.endswith(" bytes")]
    assert len({len(line) for line in sizes}) == 1  # in one column, also behind a long name
    info = json.loads(run(capsys, "info", str(path), "--json")[1])
    assert info["weights"]["format"] == kind
    assert info["weights"]["files"][0]["name"] == file
    assert sum(sum(one["dtypes"].values()) for one in info["weights"]["files"]) == sum(
        one["tensors"] for one in info["weights"]["files"]
    )
    model = getattr(albert_np, words).from_pretrained(path)
    assert info["stored"] == model.num_parameters()


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


def test_answers_do_not_depend_on_the_number_of_threads(capsys):
    from albert_np import get_num_threads

    before = get_num_threads()
    answers = [run(capsys, "fill-mask", ONE, "--json", "--threads", n)[1] for n in ("1", "2", "8")]
    assert answers[0] == answers[1] == answers[2] != ""
    assert get_num_threads() == before


def test_fill_mask_names_the_backends_and_runs_on_each(capsys):
    with pytest.raises(SystemExit):
        main(["fill-mask", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "numba, the compiled engine; numpy, the reference; or auto: numba where it runs" in text
    words = {
        backend: [
            row["token_str"] for row in json.loads(run(capsys, "fill-mask", ONE, "--json", "--backend", backend)[1])
        ]
        for backend in ("numba", "numpy", "auto")
    }
    assert words["numba"] == words["numpy"] == words["auto"]


def test_info_says_what_the_numba_backend_runs_with(capsys, monkeypatch, tmp_path):
    from albert_np.kernels.cpu import simd, units

    monkeypatch.setenv("NUMBA_NUM_THREADS", "3")
    monkeypatch.setenv("ALBERT_NP_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("albert_np.kernels.cpu.threads._everywhere", None)
    level = simd.chosen_level().name
    info = json.loads(run(capsys, "info", "--json")[1])
    assert info["backends"]["numba"] == "yes"
    why_not = units.why_no_tiles()
    assert info["numba"] == {
        "registers": level,
        "bfloat16": "{} ({})".format(*units.bfloat16()),
        "int8": "{} ({})".format(*units.int8()),
        "tiles": f"no ({why_not})" if why_not else "yes",
        "threads": 3,
        "cache": str(tmp_path),
        "compiled": False,
    }
    out = run(capsys, "info")[1]
    for line in (
        f"registers  {level}",
        f"bfloat16   {units.bfloat16()[0]} ({units.bfloat16()[1]})",
        f"int8       {units.int8()[0]} ({units.int8()[1]})",
        f"tiles      {info['numba']['tiles']}",
        "threads    3",
        f"cache      {tmp_path}",
        "compiled   no: the first call does it",
    ):
        assert line in out


@pytest.mark.parametrize(
    ("answer", "emulated", "said"),
    [
        ("the system refuses the tiles (EIO: …)", "", "no (the system refuses the tiles (EIO: …))"),
        ("", "", "yes"),
        ("", "emulated", "emulated, for tests"),
    ],
)
def test_info_says_whether_there_are_tiles(capsys, monkeypatch, answer, emulated, said):
    from albert_np.kernels.cpu import simd, tiles

    monkeypatch.setattr(tiles, "_answer", answer)
    monkeypatch.setattr(simd, "available", lambda: ("amx", "avx512", "avx2", "plain"))
    monkeypatch.setattr(simd, "chosen_level", lambda: simd.LEVELS["avx512"])
    monkeypatch.setenv("ALBERT_NP_SIMD", "amx")
    monkeypatch.setenv("ALBERT_NP_TILES", emulated)
    info = json.loads(run(capsys, "info", "--json")[1])["numba"]
    assert info["tiles"] == said
    unit = ["floats (avx512)", "words (avx512)"] if answer else ["tiles (amx)", "tiles (amx)"]
    assert [info["bfloat16"], info["int8"]] == unit
    assert f"tiles      {said}" in run(capsys, "info")[1]


def test_info_goes_on_where_the_numba_backend_cannot(capsys, monkeypatch):
    def refuse():
        raise ValueError("no such registers")

    monkeypatch.setenv("NUMBA_NUM_THREADS", "many")
    monkeypatch.setattr("albert_np.kernels.cpu.threads._everywhere", None)
    monkeypatch.setattr("albert_np.kernels.cpu.simd.chosen_level", refuse)
    code, out, err = run(capsys, "info")
    assert (code, err) == (0, "")
    assert "registers  none (no such registers)" in out
    assert "threads    none (NUMBA_NUM_THREADS takes a whole number of threads from 1 to 256; got 'many')" in out


@pytest.fixture
def cache_folder(tmp_path, monkeypatch):
    """An empty cache, and a compiler that takes no time."""
    from albert_np.kernels.cpu import build, cache, native

    native.library()
    made = cache.read() or build.compile_kernels()
    monkeypatch.setenv("ALBERT_NP_CACHE_DIR", str(tmp_path / "kernels"))
    monkeypatch.setattr(cache, "_sources", lambda: cache._SOURCES)
    monkeypatch.setattr(
        build, "compile_kernels", lambda progress, kind: [progress(name) for name in native.names()] and made
    )
    return tmp_path / "kernels"


def test_warmup_fills_the_cache_and_says_where_it_is(capsys, cache_folder):
    code, out, err = run(capsys, "warmup")
    (path,) = cache_folder.iterdir()
    assert (code, err) == (0, "")  # no bar where nobody watches
    assert out.startswith("compiled ")
    assert out.endswith(f" s: {path} ({path.stat().st_size:,} bytes)\n")
    code, out, _ = run(capsys, "warmup")
    assert (code, out.split(":")[0]) == (0, "nothing to do")
    assert str(path) in out
    assert run(capsys, "warmup", "--force")[1].startswith("compiled ")
    path.write_bytes(b"damaged")
    assert run(capsys, "warmup")[1].startswith("compiled ")


def test_warmup_json(capsys, cache_folder):
    from albert_np.kernels.cpu import simd

    for compiled in (True, False):
        answer = json.loads(run(capsys, "warmup", "--json")[1])
        (path,) = cache_folder.iterdir()
        assert answer.pop("seconds") >= 0
        assert answer == {
            "compiled": compiled,
            "registers": simd.chosen_level().name,
            "path": str(path),
            "bytes": path.stat().st_size,
        }


def test_warmup_shows_a_bar_with_the_kernels_on_a_terminal(capsys, cache_folder, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    main(["warmup"])
    assert "gemm" in sys.stderr.getvalue()
    assert "100%" in sys.stderr.getvalue()


def test_warmup_where_nothing_can_be_written_is_one_line_and_exit_code_1(capsys, cache_folder):
    cache_folder.write_text("a file")
    code, out, err = run(capsys, "warmup")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert (
        f"compiled kernels cannot be kept in {cache_folder} (File exists): point ALBERT_NP_CACHE_DIR at a folder" in err
    )


def test_warmup_compiles_what_each_dtype_needs_and_refuses_to_train_in_int8(capsys, monkeypatch):
    from albert_np.kernels.cpu import native

    asked = []
    monkeypatch.setattr(warmup, "_warm_up", lambda kind, args: asked.append(kind))
    for argv in (["--dtype", "int8"], ["--training"], ["--training", "--dtype", "bfloat16"]):
        assert run(capsys, "warmup", *argv)[0] == 0
    assert asked == ["inference", "int8", "training", "training", "bfloat16_training"]
    assert set(asked) <= set(native.KERNELS)
    code, _, err = run(capsys, "warmup", "--training", "--dtype", "int8")
    assert (code, len(asked)) == (1, 5)
    assert "training computes in float32, bfloat16: leave out --training, or --dtype int8" in err


def test_warmup_without_numba_is_one_line_and_exit_code_1(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    code, out, err = run(capsys, "warmup")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "needs numba" in err


def test_the_hubs_client_does_not_tell_of_each_retry():
    """It is imported after the command has begun, and sets the level of its log then."""
    code = "from albert_np.cli import main; main(['info', '--backends', '--json']); import huggingface_hub.utils._http as h; "
    code += "h.logger.warning('Retrying in 1s'); h.logger.error('an error')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Retrying" not in done.stderr
    assert "an error" in done.stderr


NOBODY = """
import os, pwd, sys
from albert_np.cli import main

def unknown(number):
    raise KeyError(number)

pwd.getpwuid = unknown  # as for a user without an entry, which containers have
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="users have an entry there")
def test_a_user_without_a_home_folder_gets_answers_and_messages_that_say_it_once(tmp_path):
    keep = {name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_CACHE_HOME")}
    keep.pop("ALBERT_NP_CACHE_DIR", None)

    def nobody(*argv, **environment):
        command = [sys.executable, "-c", NOBODY, *argv]
        return subprocess.run(command, capture_output=True, text=True, env=keep | environment, check=False)

    told = "point ALBERT_NP_CACHE_DIR at a folder that can be written\n"
    done = nobody("warmup")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"albert-np: compiled kernels cannot be kept anywhere, since there is no home folder: {told}"
    (tmp_path / "file").touch()
    done = nobody("warmup", ALBERT_NP_CACHE_DIR=str(tmp_path / "file"))
    assert done.stderr == f"albert-np: compiled kernels cannot be kept in {tmp_path / 'file'} (File exists): {told}"
    done = nobody("warmup", ALBERT_NP_CACHE_DIR="~/kernels")
    assert "ALBERT_NP_CACHE_DIR is '~/kernels', and there is no such home folder: point" in done.stderr
    done = nobody("info")
    assert (done.returncode, done.stderr) == (0, "")
    assert "cache      none (there is no home folder)" in done.stdout
    done = nobody("fill-mask", ONE, "--json", "--backend", "numpy")
    assert (done.returncode, done.stderr, len(json.loads(done.stdout))) == (0, "", 5)
