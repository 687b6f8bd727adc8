"""Fixtures that several test files share. A skip here always has a reason; in the parity run it is a failure instead."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT, TINY_MODEL, unmeasured
from support.backends import BACKENDS, CUDA_TESTS, runnable


@pytest.fixture(scope="session", autouse=True)
def compiled_kernels():
    """Kernels are compiled before the first test, by a process whose every line is not measured: that is three times slower."""
    if importlib.util.find_spec("numba") is not None and not CUDA_TESTS:  # there, none of the CPU's runs
        for options in ("", ", '--training'"):
            command = f"import sys; from albert_np.cli import main; sys.exit(main(['warmup'{options}]))"
            subprocess.run(
                [sys.executable, "-c", command], env=unmeasured(), check=False, capture_output=True, timeout=600
            )


def require(name):
    """Import a module of the `parity` extra, or skip; with ALBERT_NP_REQUIRE_PARITY=1 a missing module fails."""
    try:
        return __import__(name)
    except ImportError as error:
        message = f"{name} is not installed (pip install 'albert-np[parity]'): {error}"
        if os.environ.get("ALBERT_NP_REQUIRE_PARITY") == "1":
            pytest.fail(message)
        pytest.skip(message)


@pytest.fixture(params=BACKENDS, ids=str, scope="module")
def backend(request):
    """Each backend in turn; `@pytest.mark.parametrize("backend", [NUMPY], ids=str, indirect=True)` chooses."""
    return runnable(request.param)


@pytest.fixture(scope="session")
def torch():
    return require("torch")


@pytest.fixture(scope="session")
def transformers():
    require("torch")
    return require("transformers")


@pytest.fixture(scope="session")
def fixtures_dir():
    """The folder of real data that is never committed (genuine vocabulary, published goldens)."""
    folder = Path(os.environ.get("ALBERT_NP_FIXTURES") or ROOT.parent / "shared" / "fixtures")
    if not folder.is_dir():
        pytest.skip(f"no fixtures at {folder}: set ALBERT_NP_FIXTURES to a folder that holds them")
    return folder


@pytest.fixture(scope="session")
def tiny_dir():
    return TINY_MODEL


@pytest.fixture(scope="session")
def toy_books(tmp_path_factory):
    """Ten made-up books, the last four of which have the names of those that the demo's recipe holds out."""
    from support.made_up_books import write_corpus

    from albert_np.demo.recipe import corpus as demo_corpus

    names = [*(f"books/{letter}" for letter in "abcdef"), *demo_corpus.HELD_OUT]
    return write_corpus(tmp_path_factory.mktemp("corpus"), names)


@pytest.fixture(scope="session")
def toy_run(toy_books, tmp_path_factory):
    """What the demo's recipe leaves of six steps on them."""
    from support.made_up_books import arguments

    from albert_np.demo.recipe import train as train_demo

    folder = tmp_path_factory.mktemp("run")
    train_demo.train(train_demo.parser().parse_args(arguments(toy_books, folder)))
    return folder


@pytest.fixture(scope="session")
def toy_checkpoint(toy_run):
    return toy_run / "checkpoint-6"


@pytest.fixture(scope="session")
def toy_texts(toy_books, toy_checkpoint, tmp_path_factory):
    """(training text in tokens, held-out books) for the checkpoint's vocabulary."""
    from albert_np import AlbertTokenizer
    from albert_np.demo.recipe import evaluate as evaluate_demo

    given = ["--corpus", str(toy_books / "corpus.txt"), "--books", str(toy_books / "BOOKS.md")]
    parser = evaluate_demo.argparse.ArgumentParser()
    evaluate_demo.add_options(parser)
    tokenizer = AlbertTokenizer.from_pretrained(toy_checkpoint)
    args, folder = parser.parse_args(given), tmp_path_factory.mktemp("parts")
    training, books, _ = evaluate_demo.read_corpus(args, folder, tokenizer, False)
    return training, books
