"""Compiled kernels on disk: found again, never trusted when damaged or old, and done without where nothing can be kept."""

import os
import platform
import shutil
import stat
import sys
import threading
import time
from pathlib import Path

import numba
import numba.core.config
import pytest
from support.same_bits import one, python

from albert_np.kernels.cpu import build, cache, native, simd

COMPILING = f"albert_np: compiling the CPU kernels once, about {cache.SECONDS['inference']} seconds\n"
compile_kernels = build.compile_kernels


@pytest.fixture(scope="module")
def kept():
    """What compiling gives: machine code and arguments."""
    native.library()
    return cache.read() or compile_kernels()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A cache of this test alone, in a process that has no kernels yet."""
    monkeypatch.setenv("ALBERT_NP_CACHE_DIR", str(tmp_path / "kernels"))
    monkeypatch.setattr(native, "_libraries", {})
    monkeypatch.setattr(cache, "_sources", lambda: cache._SOURCES)  # whoever edits them while the tests run
    return tmp_path / "kernels"


@pytest.fixture
def compiled(kept, monkeypatch):
    """Compiling takes no time here; a list that grows with each."""
    done = []

    def compile_at_once(progress, kind):
        for name in native.names():
            progress(name)
        done.append(1)
        return kept

    monkeypatch.setattr(build, "compile_kernels", compile_at_once)
    return done


def start_again():
    """A new process, as far as the kernels are concerned."""
    native._libraries.clear()
    return native.library()


# --- found again ----------------------------------------------------------------------------------------------------------


def test_the_first_process_compiles_and_says_so_in_one_line_and_the_next_is_silent_and_without_numba(tmp_path):
    settings = {"ALBERT_NP_CACHE_DIR": str(tmp_path / "kernels, a cache für œuvres")}
    code = "from support.same_bits import *\nprint(one(), 'numba' in sys.modules)"
    assert python(code, **settings) == (f"{one()} True\n", COMPILING)
    assert python(code, **settings) == (f"{one()} False\n", "")


def test_kernels_are_compiled_once(folder, compiled, capsys):
    library = native.library()
    assert native.library() is library
    assert (len(compiled), capsys.readouterr().err) == (1, COMPILING)
    start_again()
    assert (len(compiled), capsys.readouterr().err) == (1, "")
    assert [path.name for path in folder.iterdir()] == [cache.path().name]


@pytest.mark.parametrize("kind", native.KERNELS)
@pytest.mark.parametrize("tiles", ["", "emulated"])
def test_the_names_of_what_is_compiled_are_those_that_are_waited_for(kind, tiles, monkeypatch):
    monkeypatch.setenv("ALBERT_NP_TILES", tiles)
    functions, _ = build.kernels(kind)
    assert [function.__name__ for function in [*functions, *build._entries(kind)]] == native.names(kind)


def test_inference_waits_for_no_kernel_of_training(compiled, folder):
    native.library()
    assert compiled == [1]
    assert not native.is_compiled("training")
    assert cache.path("training").parent == folder != cache.path("training")
    assert cache.path("training").name.startswith("kernels-training-")


def test_nothing_is_printed_where_there_is_no_stderr(folder, compiled, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", None)
    native.library()
    assert capsys.readouterr().out == ""


def test_several_python_threads_compile_once(folder, compiled):
    threads = [threading.Thread(target=native.library) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(compiled) == 1


# --- damaged, old, foreign ------------------------------------------------------------------------------------------------

FORGED = {  # (code, arguments) -> the same, or what follows the checksum
    "a header that is no JSON": lambda code, names: b"garbage\n" + code,
    "a kernel that is missing in the header": lambda code, names: (code, {k: names[k] for k in names if k != "gemm"}),
    "a kernel that is missing in the code": lambda code, names: (
        code.replace(b"\0layer_norm\0", b"\0layer_morn\0"),
        names,
    ),
    "a kernel too many": lambda code, names: (code, names | {"softmax": []}),
    "no machine code": lambda code, names: (b"", names),
    "machine code that is none": lambda code, names: (b"garbage" * 1000, names),
    "machine code that ends early": lambda code, names: (code[: len(code) // 2], names),
}
DAMAGED = {
    "empty": lambda content: b"",
    "one byte": lambda content: content[:1],
    "no code": lambda content: content[: len(cache.MAGIC) + 32],
    "cut": lambda content: content[:-1],
    "longer": lambda content: content + b"\0",
    "another format": lambda content: b"albert_np kernels 1\n" + content[len(cache.MAGIC) :],
    "another checksum": lambda content: content[:25] + bytes([content[25] ^ 1]) + content[26:],
    "a bit of the header": lambda content: content[:60] + bytes([content[60] ^ 4]) + content[61:],
    "a bit of the code": lambda content: content[:-1000] + bytes([content[-1000] ^ 128]) + content[-999:],
    "zeros": lambda content: bytes(len(content)),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_file_is_compiled_again(damage, folder, compiled):
    native.library()
    content = cache.path().read_bytes()
    cache.path().write_bytes(DAMAGED[damage](content))
    assert not native.is_compiled()
    start_again()
    assert len(compiled) == 2
    assert cache.path().read_bytes() == content


@pytest.mark.parametrize("forgery", FORGED)
def test_a_whole_file_of_another_content_is_compiled_again(forgery, folder, compiled, kept):
    """Its checksum is right: it was written so."""
    content = FORGED[forgery](*kept)
    if isinstance(content, bytes):
        folder.mkdir()
        cache.path().write_bytes(cache._opening(cache.path(), content) + content)
    else:
        cache.write(*content)
    assert not native.is_compiled()
    native.library()
    assert len(compiled) == 1
    assert cache.read() == kept


def test_a_file_under_another_name_is_none(folder, compiled, monkeypatch):
    """Kernels for other registers, say."""
    native.library()
    there = cache.path()
    other = there.rename(folder / "kernels-other.bin")
    monkeypatch.setattr(cache, "path", lambda kind: other)
    assert cache.read() is None
    monkeypatch.setattr(cache, "path", lambda kind: other.rename(there))
    assert cache.read() is not None


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="files have no owners here")
def test_a_file_that_somebody_else_could_have_written_is_none(folder, compiled, monkeypatch):
    native.library()
    assert stat.S_IMODE(cache.path().stat().st_mode) == 0o644
    cache.path().chmod(0o646)
    assert cache.read() is None
    cache.path().chmod(0o600)
    assert cache.read() is not None
    status = os.stat_result((0o100644, 1, 1, 1, 4711, 1, 1, 1, 1, 1))
    monkeypatch.setattr(os, "fstat", lambda file: status)
    assert cache.read() is None
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    assert cache.read() is not None


# --- the key --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda patch: patch.setattr(cache, "_SOURCES", b"other"),
        lambda patch: patch.setattr(simd, "target", lambda: ("alpha", "")),
        lambda patch: patch.setattr(simd, "chosen_level", lambda: simd.LEVELS["neon"]),
        lambda patch: patch.setattr(simd, "is_checked", lambda: not numba.config.BOUNDSCHECK),
        lambda patch: patch.setattr(simd, "are_tiles_emulated", lambda: True),
        lambda patch: patch.setattr(sys, "platform", "plan9"),
        lambda patch: patch.setattr(platform, "machine", lambda: "ppc64"),
        lambda patch: patch.setattr("llvmlite.__version__", "0.0.1"),
        lambda patch: patch.setattr(cache, "numba_version", lambda: "01234567"),
        lambda patch: patch.setenv("NUMBA_OPT", "0"),
        lambda patch: patch.setenv("NUMBA_CPU_NAME", "generic"),
    ],
)
def test_whatever_decides_the_machine_code_is_in_the_name_of_its_file(change, monkeypatch):
    before = cache.path()
    change(monkeypatch)
    cache.key.cache_clear()
    try:
        assert cache.path() != before
    finally:
        monkeypatch.undo()
        cache.key.cache_clear()
    assert cache.path() == before


def test_every_source_file_of_the_kernels_counts(tmp_path, monkeypatch):
    """One that is edited, added or renamed."""
    sources = Path(cache.__file__).parent
    copies = shutil.copytree(sources, tmp_path / "cpu", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(cache, "__file__", str(tmp_path / "cpu" / "cache.py"))
    found = {cache._sources()}
    assert cache._sources() in found
    for path in Path(copies).glob("*.py"):
        path.write_bytes(path.read_bytes() + b"\n")
        found.add(cache._sources())
    path.rename(path.with_name("another.py"))
    found.add(cache._sources())
    assert len(found) == len(list(sources.glob("*.py"))) + 2


def test_kernels_of_sources_that_were_edited_meanwhile_are_not_kept(folder, compiled, monkeypatch):
    """The process has the old ones, or a mixture, and would file them under the old key."""
    monkeypatch.setattr(cache, "_sources", lambda: b"edited")
    native.library()
    assert not folder.exists()
    with pytest.raises(OSError, match="edited while they were compiled: try again"):
        native.warm_up()


def test_the_version_of_numba_is_that_of_the_installed_one(tmp_path, monkeypatch):
    version = cache.numba_version()
    assert len(version) == 8
    cache.numba_version.cache_clear()
    monkeypatch.setattr(numba.__spec__, "origin", str(tmp_path / "__init__.py"))  # a build without _version.py
    assert len(cache.numba_version()) == 8
    assert cache.numba_version() != version
    monkeypatch.undo()
    cache.numba_version.cache_clear()
    assert cache.numba_version() == version


# --- where it lies --------------------------------------------------------------------------------------------------------


def test_the_folder_is_the_one_asked_for_or_the_users(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ALBERT_NP_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache.folder() == tmp_path / ".cache" / "albert_np"
    monkeypatch.setenv("XDG_CACHE_HOME", "/a")
    assert cache.folder() == Path("/a/albert_np")
    monkeypatch.setenv("ALBERT_NP_CACHE_DIR", "~/b c")
    assert cache.folder() == tmp_path / "b c"
    monkeypatch.delenv("ALBERT_NP_CACHE_DIR")
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", "/d")
    assert cache.folder() == Path("/d/albert_np")


def no_home(monkeypatch, tmp_path):
    def refuse():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("ALBERT_NP_CACHE_DIR")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    monkeypatch.setattr(Path, "home", refuse)


def no_such_home(monkeypatch, tmp_path):
    monkeypatch.setenv("ALBERT_NP_CACHE_DIR", "~nobody-of-that-name/kernels")


def a_file(monkeypatch, tmp_path):
    (tmp_path / "kernels").write_text("not a folder")


def inside_a_file(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("ALBERT_NP_CACHE_DIR", str(tmp_path / "file" / "kernels"))


def full(monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)


TROUBLES = {
    no_home: "anywhere, since there is no home folder",
    no_such_home: "anywhere, since ALBERT_NP_CACHE_DIR is '~nobody-of-that-name/kernels', and there is no such home folder",
    a_file: "in {0}/kernels (File exists)",
    inside_a_file: "in {0}/file/kernels (Not a directory)",
    full: "in {0}/kernels (No space left on device)",
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_where_nothing_can_be_kept_the_kernels_live_in_memory_and_one_warning_says_so(
    trouble, folder, compiled, monkeypatch, tmp_path, recwarn
):
    trouble(monkeypatch, tmp_path)
    library = native.library()
    assert native.library() is library
    (warning,) = recwarn
    assert str(warning.message) == (
        f"compiled kernels cannot be kept {TROUBLES[trouble].format(tmp_path)}: point ALBERT_NP_CACHE_DIR at a folder that "
        "can be written; until then each start compiles again"
    )
    assert len(compiled) == 1
    assert not folder.is_dir() or not list(folder.iterdir())  # no piece is left behind


def test_that_warning_as_an_error_loses_no_kernels(folder, compiled, monkeypatch, tmp_path):
    a_file(monkeypatch, tmp_path)
    with pytest.raises(UserWarning, match="cannot be kept"):
        native.library()
    native.library()
    assert len(compiled) == 1


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="an administrator may write everywhere")
def test_a_folder_that_may_only_be_read_serves_its_kernels(folder, compiled):
    native.library()
    folder.chmod(0o555)
    start_again()
    assert len(compiled) == 1
    cache.path().chmod(0)
    with pytest.warns(UserWarning, match="cannot be kept"):
        start_again()
    folder.chmod(0o755)


def test_old_files_go_and_pieces_of_killed_processes_too(folder, compiled):
    folder.mkdir()
    now = time.time()
    for i in range(cache.KEPT + 3):
        (folder / f"kernels-{i}.bin").write_text("old")
        os.utime(folder / f"kernels-{i}.bin", (now, now - 1000 * (i + 1)))
    for name, age in ((".kernels-new", 10), (".kernels-old", 4000), ("other", 10**6)):
        (folder / name).write_text("piece")
        os.utime(folder / name, (now, now - age))
    native.library()
    old = [f"kernels-{i}.bin" for i in range(cache.KEPT - 1)]
    assert {path.name for path in folder.iterdir()} == {cache.path().name, *old, ".kernels-new", "other"}


def test_readers_never_see_a_file_half_written(folder, kept):
    cache.write(*kept)
    done, seen = threading.Event(), []

    def write():
        while not done.is_set():
            cache.write(*kept)

    writing = [threading.Thread(target=write) for _ in range(3)]
    for thread in writing:
        thread.start()
    seen = [cache.read() == kept for _ in range(200)]
    done.set()
    for thread in writing:
        thread.join(60)
    assert all(seen)
    assert [path.name for path in folder.iterdir()] == [cache.path().name]


@pytest.mark.slow  # both compile
def test_two_processes_that_compile_at_once_do_each_other_no_harm(tmp_path):
    found = []
    code = "from support.same_bits import *\nprint(one())"

    def run():
        found.append(python(code, timeout=280, ALBERT_NP_CACHE_DIR=str(tmp_path)))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [(f"{one()}\n", COMPILING)] * 2
    assert python(code, ALBERT_NP_CACHE_DIR=str(tmp_path)) == (f"{one()}\n", "")
    assert len(list(tmp_path.iterdir())) == 1


# --- without Numba, without LLVM ------------------------------------------------------------------------------------------


def refused(code, **environment):
    """What a child is told, in one line."""
    code = f"try:\n    {code}\nexcept ValueError as error:\n    print(error)"
    out, err = python(f"import sys\nfrom albert_np.kernels.cpu import native\n{code}", **environment)
    assert (out.count("\n"), err.replace(COMPILING, "")) == (1, "")
    return out


def test_kernels_that_are_there_run_without_numba(kept):
    code = "sys.modules['numba'] = None\nfrom albert_np.kernels.cpu import native\nprint(len(native.library().kernels))"
    assert python(f"import sys\n{code}") == (f"{len(native.INFERENCE)}\n", "")


def test_without_numba_kernels_that_are_not_there_are_refused_in_words(tmp_path):
    code = "sys.modules['numba'] = None; native.library()"
    assert f"no compiled kernels kept in {tmp_path}; and Numba" in refused(code, ALBERT_NP_CACHE_DIR=str(tmp_path))


def test_without_llvm_the_backend_is_refused_in_words():
    assert "runs through llvmlite, which cannot be imported" in refused(
        "sys.modules['llvmlite'] = None; native.library()"
    )


def test_a_numba_that_must_not_compile_is_refused_in_words(folder, monkeypatch):
    monkeypatch.setattr(numba.core.config, "DISABLE_JIT", 1)
    with pytest.raises(ValueError, match="NUMBA_DISABLE_JIT=1: choose backend='numpy'"):
        native.library()


# --- filled ahead of time -------------------------------------------------------------------------------------------------


def test_warm_up_compiles_what_is_not_there_and_tells_of_each_kernel(folder, compiled, capsys):
    names = []
    assert not native.is_compiled()
    assert native.warm_up(names.append)
    assert names == native.names()
    assert native.is_compiled()
    assert not native.warm_up(names.append)
    assert native.warm_up(force=True)
    assert len(compiled) == 2
    assert capsys.readouterr() == ("", "")


def test_warm_up_where_nothing_can_be_kept_is_refused_before_it_compiles(folder, compiled, monkeypatch, tmp_path):
    for trouble in (a_file, inside_a_file, no_such_home, no_home):
        trouble(monkeypatch, tmp_path)
        with pytest.raises(OSError, match=r"cannot be kept (in|anywhere, since) .*: point ALBERT_NP_CACHE_DIR at"):
            native.warm_up()
    assert not compiled
