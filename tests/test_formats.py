"""Checkpoints that other frameworks wrote (tools/make_format_goldens.py), and what those frameworks computed of them."""

import json
import subprocess
import sys

import numpy as np
import pytest
from support import TESTS
from tolerances import OTHER_FRAMEWORK_FLOAT32

import albert_np
from albert_np.golden.cases import PARTS
from albert_np.golden.tolerances import assert_close

FORMATS = TESTS / "goldens" / "formats"
MANIFEST = json.loads((FORMATS / "manifest.json").read_text())
PREFIXES = {"tensorflow": ("", "TF"), "flax": ("", "Flax")}
CASES = [
    (folder, prefix + about["class"])
    for folder, about in MANIFEST.items()
    for prefix in PREFIXES.get(about["writer"], ("",))
]


@pytest.mark.parametrize(("folder", "kind"), CASES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_the_writing_framework_computed(folder, kind, dtype):
    model = getattr(albert_np, kind).from_pretrained(FORMATS / folder, backend="numpy", dtype=dtype)
    saved = np.load(FORMATS / folder / "expected.npz")
    out = model(**{name[3:]: saved[name] for name in saved if name.startswith("in_")})
    expected = {name[4:]: saved[name] for name in saved if name.startswith("out_")}
    assert expected, "the golden holds no result"
    for name, want in expected.items():
        got = getattr(out, name)
        assert got.shape == want.shape
        assert_close(name, got, want.astype(got.dtype), limit=OTHER_FRAMEWORK_FLOAT32)


@pytest.mark.parametrize("writer", ["tensorflow", "flax", "torch"])
def test_each_framework_wrote_each_of_the_seven_classes(writer):
    assert {about["class"] for about in MANIFEST.values() if about["writer"] == writer} == set(PARTS)


def test_the_shared_set_of_formats_loads_whole(fixtures_dir):
    """Checkpoints in every format, damaged and hostile ones too, with a program that judges them."""
    folder = fixtures_dir / "formats"
    done = subprocess.run(
        [sys.executable, folder / "check_formats.py", folder], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " 0 failed" in done.stdout
