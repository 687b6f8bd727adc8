"""Hostile pytorch_model.bin files: each is refused in one line, within a second and in little memory, and none is obeyed."""

import io
import json
import os
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import TESTS, checkpoints, evil_pickles, torch_files
from support.evil_pickles import PWNED, SOUND, STORED
from support.refusals import refusal
from support.torch_files import legacy, number, program, storage, table, text, view, zipped

import albert_np
from albert_np.checkpoints.formats import bin, pickle_program

X = np.arange(6, dtype=np.float32)
STORAGES, WIDTHS = {"0": X.tobytes()}, {"0": 4}
GOOD = table({"x": SOUND})
CASES = {name: (code, message) for name, code, message in evil_pickles.values()}
# what Python tells about what a process does; reading a file may only open that file
EVENTS = (
    "import",
    "exec",
    "compile",
    "open",
    "os.",
    "subprocess.",
    "socket.",
    "shutil.",
    "pickle.",
    "marshal.",
    "ctypes.",
    "tempfile.",
)

watching: tuple[int, list] | None = None  # thread, events


def _heard(event, arguments):
    if watching and watching[0] == threading.get_ident() and event.startswith(EVENTS):
        watching[1].append((event, str(arguments[0]) if arguments else ""))


sys.addaudithook(_heard)


def load(path):
    return {tensor.name: tensor.load() for tensor in bin.read(path)}


def refused(folder, content):
    """The message of a file's refusal, which did nothing else."""
    global watching
    path = folder / "pytorch_model.bin"
    path.write_bytes(content)
    Path(PWNED).unlink(missing_ok=True)
    events: list = []
    watching = threading.get_ident(), events
    try:
        message = refusal(load, path)
    finally:
        watching = None
    assert {event for event in events if event != ("open", str(path))} <= {("import", "msvcrt")}
    assert not Path(PWNED).exists()
    assert message.startswith(str(path))
    assert len(message) < 400 + len(str(path))
    return message


def test_the_sound_file_is_read_and_the_watch_hears(tmp_path):
    """Or the refusals would say nothing."""
    global watching
    path = tmp_path / "pytorch_model.bin"
    for content in (zipped(program(GOOD), STORAGES), legacy(program(table({"x": older(SOUND)})), STORAGES, WIDTHS)):
        path.write_bytes(content)
        events: list = []
        watching = threading.get_ident(), events
        try:
            assert np.array_equal(load(path)["x"], X.reshape(2, 3))
            assert set(events) == {("open", str(path))}
            exec("import os; os.listdir('/')")
        finally:
            watching = None
        assert {"exec", "os.listdir"} <= {event for event, _ in events}


def older(code):
    """The same code with the storages of the older format, which have one value more."""
    return code.replace(number(6) + b"t" + torch_files.BINPERSID, number(6) + b"Nt" + torch_files.BINPERSID)


# --- programs -------------------------------------------------------------------------------------------------------------


KINDS = ("calls", "tensors", "storages", "tables", "bombs")


def of_kind(kind):
    found = {name: case for name, case in CASES.items() if name.startswith(f"{kind}: ")}
    assert len(found) > 10
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_an_evil_value_among_good_tensors_is_refused(tmp_path, kind):
    for name, (code, message) in of_kind(kind).items():
        assert message in refused(tmp_path, zipped(program(table({"x": SOUND, "y": code})), STORAGES)), name


def test_an_evil_call_is_refused_wherever_the_older_format_has_a_program(tmp_path):
    head = [program(number(n)) for n in (torch_files.MAGIC, torch_files.PROTOCOL)]
    about, good = program(table({"little_endian": torch_files.TRUE})), program(table({"x": older(SOUND)}))
    for start in ([], head[:1], head, [*head, about], [*head, about, good]):
        for name, (code, message) in list(of_kind("calls").items())[::7]:
            assert message in refused(tmp_path, b"".join(start) + program(code)), name


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("function", ["system", "eval"])
def test_what_python_pickles_is_refused_in_every_protocol(tmp_path, protocol, function):
    import pickle

    how = (os.system, evil_pickles.COMMAND) if function == "system" else (eval, evil_pickles.SOURCE)
    code = pickle.dumps({"weight": evil_pickles.Evil(*how)}, protocol)
    for content in (zipped(code, STORAGES), code, legacy(code, STORAGES, WIDTHS)):
        message = refused(tmp_path, content)
        assert function in message or "protocol" in message or "torch.save" in message


def test_a_model_with_an_evil_entry_is_refused_by_every_way_in(tmp_path):
    entries, storages = torch_files.described(checkpoints.tensors("AlbertModel"))
    code, _ = CASES["calls: os.system by __reduce__"]
    checkpoints.CONFIG.save_pretrained(tmp_path)
    content = zipped(program(table(entries | {"y": code})), storages)
    refused(tmp_path, content)
    assert "system" in refusal(albert_np.AlbertModel.from_pretrained, tmp_path)
    assert not Path(PWNED).exists()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (b"", "cut off"),
        (b"\x80\x02", "cut off"),
        (b"\x80\x02.", "stack"),
        (b"\x80\x01}.", "protocol"),
        (b"\x80\x06}.", "protocol"),
        (b"}.", "protocol"),
        (program(GOOD)[:-1], "cut off"),
        (program(GOOD) + b"x", "follow its pickle program"),
        (program(GOOD) + program(GOOD), "follow its pickle program"),
        (program(GOOD + GOOD), "more than one value"),
        (program(b"(" + GOOD), "more than one value"),
        (program(torch_files.NONE), "no state dict"),
        (program(torch_files.EMPTY_LIST), "no state dict"),
        (program(SOUND), "no state dict"),
        (program(table({"state_dict": GOOD})), "is a table"),
        (program(table({"x": SOUND, "epoch": number(3)})), "is no tensor"),
        (program(table({"x": STORED})), "is no tensor"),
        (program(table({"x\n\x1b[31m": torch_files.NONE})), "'x??[31m'"),
        (program(table({"x" * 10**5: torch_files.NONE})), "…"),
    ],
)
def test_a_program_that_gives_no_state_dict_is_refused(tmp_path, code, message):
    assert message in refused(tmp_path, zipped(code, STORAGES))


@given(
    st.lists(
        st.sampled_from([*pickle_program.OPERATIONS, *(code for code, _ in CASES.values() if len(code) < 99)]),
        max_size=40,
    )
)
def test_no_sequence_of_opcodes_raises_anything_else(codes):
    """And no value comes out that is not one of the few kinds."""
    code = program(b"".join(codes) + bytes(8))
    message = "file: its pickle program "
    value = None
    try:
        value, _ = pickle_program.run(code, 0, "file")
    except ValueError as error:
        message = str(error)
    assert message.startswith("file: its pickle program ")
    kinds = (type(None), bool, int, str, tuple, list, dict, pickle_program.OrderedTable, pickle_program.Known)
    assert type(value) in (*kinds, pickle_program.Storage, pickle_program.View)


# --- storages -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("older_format", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("length", [7, 5, 2**38, 2**62, 2**100])
def test_a_storage_of_another_length_than_its_numbers_is_refused(tmp_path, length, older_format):
    """Also one of a terabyte: nothing is allocated for it."""
    code = program(table({"x": view(storage("0", length, older=older_format), (5,))}))
    make = legacy(code, STORAGES, WIDTHS) if older_format else zipped(code, STORAGES)
    assert "a storage of" in refused(tmp_path, make)


@pytest.mark.parametrize(
    "key", ["1", "", ".", "..", "../version", "../../etc/passwd", "/etc/passwd", "0/../0", "0\0", "data.pkl"]
)
def test_a_storage_that_is_no_member_is_refused(tmp_path, key):
    assert "has no member" in refused(tmp_path, zipped(program(table({"x": view(storage(key, 6), (6,))})), STORAGES))


@pytest.mark.parametrize("second", [storage("0", 3, "DoubleStorage"), storage("0", 5), storage("0", 12, "HalfStorage")])
def test_two_tensors_that_see_a_storage_differently_are_refused(tmp_path, second):
    code = program(table({"x": SOUND, "y": view(second, (2,))}))
    assert "takes storage" in refused(tmp_path, zipped(code, STORAGES))


# --- the older format -----------------------------------------------------------------------------------------------------


def older_file(**changes):
    return legacy(program(table({"x": older(SOUND)})), STORAGES, WIDTHS, **changes)


def test_damage_to_the_older_format_is_refused(tmp_path):
    good = older_file()
    magic = program(number(torch_files.MAGIC))
    start = torch_files.EMPTY_LIST + torch_files.MARK
    listed = program(start + text("0") + b"e")
    assert listed in good
    others = (
        number(1),
        torch_files.NONE,
        text("0"),
        table({"0": torch_files.NONE}),
        start + torch_files.EMPTY_LIST + b"e",
    )
    for content, message in {
        good.replace(magic, program(number(torch_files.MAGIC + 1))): "torch's number",
        good.replace(magic, program(torch_files.TRUE)): "torch's number",
        good.replace(program(number(1001)), program(number(1002))): "version of torch's format",
        older_file(about=torch_files.EMPTY_LIST): "little-endian",
        older_file(about=table({"little_endian": torch_files.FALSE})): "little-endian",
        older_file(keys=[]): "are not those of its tensors",
        older_file(keys=["0", "0"]): "are not those of its tensors",
        **{good.replace(listed, program(other)): "are not those of its tensors" for other in others},
        good + b"\0": "follow its last tensor",
        good + program(CASES["calls: os.system by __reduce__"][0]): "follow its last tensor",
        good[:-1]: "is cut off",
        good[:-32] + (5).to_bytes(8, "little") + good[-24:]: "5 numbers are said to be there",
        good[:-32] + b"\xff" * 8 + good[-24:]: "numbers are said to be there",
    }.items():
        assert message in refused(tmp_path, content)


def test_an_archive_of_torch_before_0_1_10_is_refused_in_words(tmp_path):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in ("storages", "tensors", "pickle"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    assert "tar archive" in refused(tmp_path, out.getvalue())


# --- all together ---------------------------------------------------------------------------------------------------------


def test_a_cut_anywhere_is_refused(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    for content in (zipped(program(GOOD), STORAGES), older_file()):
        for length in range(0, len(content), 3):
            path.write_bytes(content[:length])
            refusal(load, path)


def test_one_changed_bit_never_does_more_than_change_numbers_and_names(tmp_path):
    rng = np.random.default_rng(11)
    path = tmp_path / "pytorch_model.bin"
    for content in (zipped(program(GOOD), STORAGES), older_file()):
        messages = []
        for at in range(0, len(content), 2):
            changed = bytearray(content)
            changed[at] ^= 1 << rng.integers(8)
            path.write_bytes(changed)
            try:
                assert sum(x.size for x in load(path).values()) <= 6
            except ValueError as error:
                messages.append(str(error))
        assert not [message for message in messages if "\n" in message]
        assert len(content) / 4 < len(messages) <= len(content) / 2 - 12  # the numbers may change


def test_refusing_takes_under_100_mb_and_a_second(tmp_path):
    for i, (code, _) in enumerate(CASES.values()):
        (tmp_path / f"{i:04}.bin").write_bytes(zipped(program(table({"x": SOUND, "y": code})), STORAGES))
    run = [sys.executable, "-m", "support.evil_pickles", str(tmp_path)]
    unmeasured = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run(run, cwd=TESTS, env=unmeasured, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr + done.stdout
    taken = json.loads(done.stdout)
    assert taken["bytes"] < 100e6
    assert taken["seconds"] < 1


def test_a_name_of_a_text_is_no_name_of_a_global(tmp_path):
    code = program(table({"x": torch_files.call(text("torch._utils._rebuild_tensor_v2"), STORED)}))
    assert "cannot be called" in refused(tmp_path, zipped(code, STORAGES))
