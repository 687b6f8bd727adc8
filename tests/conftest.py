"""Fixtures that several test files share, and how a run is set up: processes, kernels, hypothesis, the summary at its end."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings
from support import ROOT, TINY_MODEL, needs, unmeasured
from support.backends import BACKENDS, CUDA_TESTS, runnable
from support.processes import processes
from support.summary import Summary


def pytest_configure(config):
    needs.required()  # an unknown name ends the run here
    config.pluginmanager.register(Summary())
    if config.option.numprocesses:  # workers have a core each, and threads of NumPy's BLAS would fight for it
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


# how long an example takes says how busy the machine is, and two processes share what was found: hypothesis keeps it in files
# that appear whole
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


def pytest_xdist_auto_num_workers(config):
    """What `-n auto` is, the default."""
    return processes(config.option.markexpr, config.args)


@pytest.fixture(scope="session", autouse=True)
def compiled_kernels(tmp_path_factory, worker_id):
    """Kernels are compiled before the first test, once for all workers, and kept for later runs (kernels/cpu/cache.py).

    Processes of their own do it, where coverage does not measure every line: that would be three times slower.
    """
    if importlib.util.find_spec("numba") is None or CUDA_TESTS:  # there, none of the CPU's runs
        return
    # the workers' folders lie in one of the run
    shared = tmp_path_factory.getbasetemp() if worker_id == "master" else tmp_path_factory.getbasetemp().parent
    with FileLock(shared / "compiling.lock"):
        commands = [[sys.executable, "-P", "-m", "albert_np", "warmup", *more] for more in ([], ["--training"])]
        bfloat16 = "from albert_np.kernels.cpu import native; native.warm_up(kind='bfloat16')"
        commands.append([sys.executable, "-P", "-c", bfloat16])
        compiling = [
            subprocess.Popen(command, env=unmeasured(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            for command in commands
        ]
        for process in compiling:
            says, _ = process.communicate(timeout=600)
            assert process.returncode == 0, says


@pytest.fixture(params=BACKENDS, ids=str, scope="module")
def backend(request):
    """Each backend in turn; `@pytest.mark.parametrize("backend", [NUMPY], ids=str, indirect=True)` chooses."""
    return runnable(request.param)


@pytest.fixture(scope="session")
def torch():
    return needs.module("parity", "torch")


@pytest.fixture(scope="session")
def transformers():
    needs.module("parity", "torch")
    return needs.module("parity", "transformers")


@pytest.fixture(scope="session")
def fixtures_dir():
    """The folder of real data that is never committed (genuine vocabulary, published goldens)."""
    folder = Path(os.environ.get("ALBERT_NP_FIXTURES") or ROOT.parent / "shared" / "fixtures")
    if not folder.is_dir():
        needs.missing("data", "no genuine vocabulary and no published goldens")
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
