"""Jobs: answers in order, and a file that is the same whatever stopped its writing. No model is asked here."""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support import needs, unmeasured

from albert_np.pipelines import job_files, jobs
from albert_np.pipelines.job_files import GrowingFile, form_of

WIDTH = 5
ENDINGS = [".jsonl", ".csv", ".npy", ".parquet"]


def some_inputs(n=60):
    """Texts, some of which cannot be read."""
    for i in range(n):
        place = f"line {i + 1}"
        yield (place, ValueError(f"{place} is not text")) if i % 17 == 3 else (place, f"text {i}, with ünïcode")


def answer(text):
    if text.startswith("text 5"):
        return ValueError("too long")
    return {"label": text, "score": len(text) / 7, "more": [text, text[:3]]}


def vector(text):
    return answer(text) if text.startswith("text 5") else np.arange(WIDTH, dtype=np.float32) / len(text)


def job(path, **options):
    """Runs a job in this process."""
    if path.suffix == ".parquet":
        needs.module("test", "pyarrow.parquet")
    of_vectors = path.suffix == ".npy"
    form = form_of(path, ("label", "score", "more", "error"), width=WIDTH if of_vectors else None)
    file = GrowingFile(path, form, {"top_k": 3}, **options)
    one = vector if of_vectors else answer
    jobs.run(some_inputs(), lambda texts: [one(text) for text in texts], file, window=7, skip=True)
    return file


@pytest.fixture(params=ENDINGS)
def ending(request):
    return request.param


@pytest.fixture
def often(monkeypatch):
    """Everything is made durable after every window."""
    monkeypatch.setattr(job_files, "SETTLE_AFTER", -1)


def test_every_row_is_there_in_order(tmp_path, ending):
    path = tmp_path / f"out{ending}"
    file = job(path)
    items = [item for _, item in some_inputs()]
    assert (file.done.rows, file.done.failed) == (60, 14)
    if ending == ".npy":
        found = np.load(path)
        assert found.shape == (60, WIDTH)
        assert found.dtype == np.float32
        for row, item in zip(found, items, strict=True):
            bad = isinstance(item, ValueError) or item.startswith("text 5")
            np.testing.assert_array_equal(row, np.full(WIDTH, np.nan) if bad else vector(item))
        return
    if ending == ".jsonl":
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    elif ending == ".csv":
        with path.open(encoding="utf-8", newline="") as lines:
            rows = [{k: v for k, v in row.items() if v} for row in csv.DictReader(lines)]
        for row in rows:
            if "more" in row:
                row |= {"more": json.loads(row["more"]), "score": float(row["score"])}
    else:
        import pyarrow.parquet

        rows = [{k: v for k, v in row.items() if v is not None} for row in pyarrow.parquet.read_table(path).to_pylist()]
        for row in rows:
            row |= {"more": json.loads(row["more"])} if isinstance(row.get("more"), str) else {}
    assert len(rows) == 60
    for i, (row, item) in enumerate(zip(rows, items, strict=True)):
        if isinstance(item, ValueError):
            assert row == {"error": f"line {i + 1} is not text"}
        elif item.startswith("text 5"):
            assert row == {"error": f"line {i + 1}: too long"}
        else:
            assert row == answer(item)


def test_a_file_of_vectors_is_what_numpy_saves(tmp_path):
    job(tmp_path / "out.npy")
    np.save(tmp_path / "saved.npy", np.load(tmp_path / "out.npy"))
    assert (tmp_path / "saved.npy").read_bytes() == (tmp_path / "out.npy").read_bytes()


def test_nothing_is_left_beside_a_file_that_is_complete(tmp_path, ending):
    job(tmp_path / f"out{ending}")
    assert os.listdir(tmp_path) == [f"out{ending}"]


CHANGES = {"write", "truncate", "fsync", "replace", "unlink", "open", "chmod", "mkdir", "close"}


def test_from_whatever_moment_a_job_is_resumed_the_file_is_the_same(tmp_path, ending, often):
    """What the disk holds after each change of a file is what a kill leaves at that moment."""
    folder, moments = tmp_path / "work", []
    folder.mkdir()
    path = folder / f"out{ending}"
    job(tmp_path / f"undisturbed{ending}")
    whole = (tmp_path / f"undisturbed{ending}").read_bytes()

    def look(frame, event, what):
        if event == "c_return" and getattr(what, "__name__", "") in CHANGES:
            here = {name: (folder / name).read_bytes() for name in os.listdir(folder)}
            if not moments or moments[-1] != here:
                moments.append(here)

    def watched(frame, event, what):
        sys.setprofile(None)
        look(frame, event, what)
        sys.setprofile(watched)

    sys.setprofile(watched)
    try:
        job(path)
    finally:
        sys.setprofile(None)
    assert path.read_bytes() == whole
    assert len(moments) > 30
    for moment in moments:
        shutil.rmtree(folder)
        folder.mkdir()
        for name, data in moment.items():
            (folder / name).write_bytes(data)
        job(path, resume=True)
        assert path.read_bytes() == whole
        assert [name for name in os.listdir(folder) if not name.endswith(".lock")] == [path.name]


@pytest.mark.parametrize("after", range(1, 56, 7))
def test_an_interrupt_leaves_whole_rows_and_resume_adds_the_others(tmp_path, after):
    path = tmp_path / "out.jsonl"
    asked = []

    def ask(texts):
        for text in texts:
            asked.append(text)
            if len(asked) == after:
                raise KeyboardInterrupt
            yield answer(text)

    file = GrowingFile(path, form_of(path, ()), {})
    with pytest.raises(KeyboardInterrupt):
        jobs.run(some_inputs(), ask, file, window=7, skip=True)
    rows = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    assert len(rows) == file.done.rows
    assert all(row.endswith(b"\n") and json.loads(row) for row in rows)
    jobs.run(some_inputs(), ask, GrowingFile(path, form_of(path, ()), {}, resume=True), window=7, skip=True)
    assert len(path.read_bytes().splitlines()) == 60
    assert len(asked) <= 56 + 7 + after  # no more than a window is asked twice


def test_the_row_of_a_full_disk_is_taken_back(tmp_path, monkeypatch):
    path = tmp_path / "out.jsonl"
    file = GrowingFile(path, form_of(path, ()), {})

    def full(text):
        if text.startswith("text 30"):
            real = file._file

            class Full:
                def __getattr__(self, name):
                    return getattr(real, name)

                def write(self, data):
                    real.write(bytes(data)[:9])
                    raise OSError(28, "No space left on device")

            file._file = Full()
        return answer(text)

    with pytest.raises(OSError, match="No space left"):
        jobs.run(some_inputs(), lambda texts: map(full, texts), file, window=7, skip=True)
    assert path.read_bytes().endswith(b"\n")
    rows = path.read_bytes().splitlines()
    assert len(rows) == file.done.rows == 28
    assert all(map(json.loads, rows))


# --- who may write what ---------------------------------------------------------------------------------------------------


def stopped(path, rows=20, settings=None, inputs=some_inputs):
    """A job that ended after some rows."""
    left = iter(range(rows))

    def ask(texts):
        for text in texts:
            if next(left, None) is None:
                raise KeyboardInterrupt
            yield answer(text)

    with pytest.raises(KeyboardInterrupt):
        jobs.run(inputs(), ask, GrowingFile(path, form_of(path, ()), settings or {}), window=3, skip=True)


def resumed(path, settings=None, inputs=some_inputs, **options):
    file = GrowingFile(path, form_of(path, ()), settings or {}, **options)
    jobs.run(inputs(), lambda texts: map(answer, texts), file, window=3, skip=True)
    return file


def test_what_is_there_is_not_written_over(tmp_path):
    path = tmp_path / "out.jsonl"
    stopped(path)
    for told in (
        "is unfinished: --resume continues it, or --overwrite",
        "is there already: name another file, or --overwrite",
    ):
        before = path.read_bytes()
        with pytest.raises(OSError, match=told):
            resumed(path)
        assert path.read_bytes() == before
        resumed(path, resume=True)
    assert resumed(path, resume=True).complete
    path.write_text("other")
    resumed(path, overwrite=True)
    assert len(path.read_bytes().splitlines()) == 60


def test_a_job_is_resumed_with_its_own_settings_only(tmp_path):
    path = tmp_path / "out.jsonl"
    stopped(path, settings={"top_k": 3, "model": "a"})
    with pytest.raises(ValueError, match=r"was begun with other settings: top_k was 3 and is 5. Use the same"):
        resumed(path, settings={"top_k": 5, "model": "a"}, resume=True)
    resumed(path, settings={"top_k": 3, "model": "a"}, resume=True)


def test_a_job_on_a_file_whose_name_is_not_utf_8_is_resumed(tmp_path):
    path, settings = tmp_path / "out.jsonl", {"inputs": ["caf\udce9.txt"]}
    stopped(path, settings=settings)
    assert resumed(path, settings=settings, resume=True).done.rows == 60


def test_a_job_is_resumed_on_its_own_inputs_only(tmp_path):
    path = tmp_path / "out.jsonl"
    stopped(path)
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}

    def others():
        for number, (place, item) in enumerate(some_inputs()):
            yield place, "another" if number == 4 else item

    def fewer():
        return some_inputs(10)

    for inputs in (others, fewer):
        with pytest.raises(ValueError, match=r"the first 21 rows of the input are not those that .* was made from"):
            resumed(path, inputs=inputs, resume=True)
        assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == before

    def more():
        yield from some_inputs(70)

    resumed(path, inputs=more, resume=True)  # a file that has grown
    assert len(path.read_bytes().splitlines()) == 70


def test_a_file_that_was_cut_is_not_resumed(tmp_path):
    path = tmp_path / "out.jsonl"
    stopped(path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match=r"has [\d,]+ bytes where [\d,]+ were written"):
        resumed(path, resume=True)
    for damaged in (b'{"rows": "x"}', b"", b"[1]", b"\xff\x00"):
        (tmp_path / "out.jsonl.unfinished").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"does not say how far a job is.*: --overwrite begins anew"):
            resumed(path, resume=True)


@pytest.mark.parametrize("name", ["plain/out.jsonl", "plain/in/it/out.jsonl"])
def test_a_place_that_cannot_be_written_is_named_with_the_reason(tmp_path, name):
    (tmp_path / "plain").write_text("no folder")
    path = tmp_path / name
    with pytest.raises(OSError, match=r"^cannot write .*\.jsonl: .*: name another place$"):
        resumed(path)


def test_two_jobs_do_not_write_one_file(tmp_path):
    path = tmp_path / "out.jsonl"
    with GrowingFile(path, form_of(path, ()), {}), pytest.raises(OSError, match="another process is writing"):
        resumed(path, resume=True)


def test_without_skip_the_rows_before_a_bad_one_are_written(tmp_path):
    path = tmp_path / "out.jsonl"
    file = GrowingFile(path, form_of(path, ()), {})
    with pytest.raises(ValueError, match=r"^line 4 is not text$"):
        jobs.run(some_inputs(), lambda texts: map(answer, texts), file)
    assert len(path.read_bytes().splitlines()) == 3
    with pytest.raises(ValueError, match=r"^1: broken$"):
        list(jobs.answered(iter([("1", "a")]), lambda texts: [ValueError("broken")]))


def test_a_job_that_fails_at_its_first_row_leaves_nothing(tmp_path):
    path = tmp_path / "out.csv"
    with pytest.raises(ValueError, match="no"):
        jobs.run(iter([("", ValueError("no"))]), list, GrowingFile(path, form_of(path, ("a",)), {}))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [("a.npy", r"\.npy is for embeddings"), ("a.txt", "the ending says the form"), ("a", "the ending says the form")],
)
def test_names_that_say_no_form_are_refused(name, message):
    with pytest.raises(ValueError, match=message):
        form_of(Path(name), ("a",))


def test_parquet_without_pyarrow_is_refused_in_words(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ValueError, match=r'parquet files need pyarrow: pip install "albert-np\[parquet\]", or use'):
        form_of(Path("a.parquet"), ("a",))


def test_windows_are_smaller_where_they_take_long(monkeypatch):
    now, sizes = [0.0], []
    monkeypatch.setattr(jobs.time, "monotonic", lambda: now[0])

    def ask(texts):
        sizes.append(len(texts))
        now[0] += len(texts) * (0.01 if sum(sizes) < 1000 else 1)
        return texts

    found = [x for _, answers in jobs.answered(((str(i), i) for i in range(1500)), ask, window=256) for x in answers]
    assert found == list(range(1500))
    assert sizes[0] == 32
    assert max(sizes) == 256
    assert sizes[-2] == 5


# --- killed ---------------------------------------------------------------------------------------------------------------

SLOW_JOB = """
import sys, time
from pathlib import Path
from albert_np.pipelines import job_files, jobs

job_files.SETTLE_AFTER = 0.02
path = Path(sys.argv[1])
width = 5 if path.suffix == ".npy" else None

def ask(texts):
    time.sleep(0.01)
    import numpy as np
    for text in texts:
        yield np.arange(5) / len(text) if width else {"text": text * 20}

form = job_files.form_of(path, ("text",), width=width)
file = job_files.GrowingFile(path, form, {}, resume=True)
jobs.run(((f"line {i}", f"text {i}") for i in range(400)), ask, file, window=4)
"""


@pytest.mark.parametrize("ending", [".jsonl", ".npy"])
def test_killed_at_two_moments_and_resumed_the_file_is_the_same(tmp_path, ending):
    def start(path):
        return subprocess.Popen([sys.executable, "-c", SLOW_JOB, str(path)], env=unmeasured())

    whole, path = tmp_path / f"whole{ending}", tmp_path / f"out{ending}"
    undisturbed = start(whole)
    rng = random.Random(ending)
    rows = []
    for _ in range(2):
        process = start(path)
        deadline = time.monotonic() + 60
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(rng.uniform(0.1, 0.4))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        rows.append(json.loads((tmp_path / f"out{ending}.unfinished").read_bytes())["rows"])
    assert rows[-1] > 0
    assert start(path).wait(timeout=60) == 0
    assert undisturbed.wait(timeout=60) == 0
    assert path.read_bytes() == whole.read_bytes()
