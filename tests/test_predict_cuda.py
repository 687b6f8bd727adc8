"""Predictions for a GPU, without CUDA packages: the arithmetic of one, and what the committed results say."""

import json
import subprocess
import sys
from math import inf
from types import SimpleNamespace

import pytest
from support import ROOT, unmeasured

from albert_np.kernels.cuda import roofline

RESULTS = ROOT / "benchmarks" / "results"


def compiled(threads=256, warps=16, share=1.0, length=1000):
    """What compiled.Compiled says of a kernel."""
    return SimpleNamespace(threads=threads, warps=warps, share=lambda name: share, instructions=[""] * length)


def launch(blocks, letter="F"):
    return SimpleNamespace(parameters=letter), (blocks,), ()


def test_every_multiply_add_at_once_is_the_peak():
    """A wave of blocks that do nothing else takes as long as the data sheet says; one block more takes a second wave."""
    asked = roofline.Work(0, fmas=10**9)
    least = roofline.times(launch(roofline.SMS), asked, compiled())["least"]
    assert 2 * 10**9 * roofline.SMS / least == pytest.approx(roofline.FLOAT32, rel=1e-3)
    assert roofline.times(launch(roofline.SMS + 1), asked, compiled())["least"] == 2 * least
    assert roofline.times(launch(1), asked, compiled(share=0.5))["least"] == pytest.approx(2 * least)


@pytest.mark.parametrize(("letter", "peak"), [("H", "BFLOAT16"), ("F", "TF32")])
def test_tensor_cores_reach_the_peak_of_mma(letter, peak):
    least = roofline.times(launch(roofline.SMS, letter), roofline.Work(0, fmas=10**9, shared=1), compiled())["least"]
    assert 2 * 10**9 * roofline.SMS / least == pytest.approx(roofline.MMA * getattr(roofline, peak))
    slow = roofline.times(launch(1, letter), roofline.Work(0, fmas=10**9, shared=1e12), compiled())
    assert slow["least"] == pytest.approx(1e12 / roofline.BANKS / roofline.CLOCK)


def test_one_warp_takes_one_of_four_schedulers():
    lone, many = (roofline.times(launch(1), roofline.Work(0, fmas=1), compiled(threads)) for threads in (32, 128))
    assert lone["arithmetic"] == pytest.approx(4 * many["arithmetic"])


def test_memory_and_waiting():
    found = roofline.times(
        launch(4 * roofline.SMS), roofline.Work(roofline.COPY, steps=10, wait=100), compiled(warps=8)
    )
    assert found["bytes"] == pytest.approx(1 / roofline.BYTES_REACHED)
    assert found["waiting"] == pytest.approx(4 * 10 * 100 / roofline.CLOCK)  # an SM holds one block of eight warps


def test_the_document_says_first_that_nothing_was_measured():
    result = json.loads((RESULTS / "cuda_predicted.json").read_text())
    command = [sys.executable, ROOT / "benchmarks" / "predict_cuda.py", "--text"]
    text = (RESULTS / "cuda_predicted.md").read_text()
    assert subprocess.run(command, capture_output=True, text=True, check=True, env=unmeasured()).stdout == text
    first = text.splitlines()[0]
    assert all(
        words in first
        for words in ("Nothing here was measured", "before any GPU was at hand", "benchmarks/bench_cuda.py")
    )
    assert result["measured"] is False
    for name, assumed in result["assumed"].items():
        assert float(assumed["value"]) == getattr(roofline, name), f"{name} has changed: run benchmarks/predict_cuda.py"


def test_no_prediction_is_better_than_what_bounds_it():
    predicted = json.loads((RESULTS / "cuda_predicted.json").read_text())["predicted"]
    for row in predicted["kernel"].values():
        assert 0 < row["predicted TFLOP/s or TB/s"] <= row["without guesses at most"] < inf
    for name, forwards in predicted.items():
        for row in forwards.values() if name.startswith("forward") else ():
            parts = sum(row[f"{part} ms"] for part in ("arithmetic", "bytes", "waiting", "gaps", "host"))
            assert row["without guesses at least ms"] < row["predicted ms"] == pytest.approx(parts)
