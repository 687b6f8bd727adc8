"""The kernels for the GPU, without one: simulated, and compiled. Each way is a process of its own, see support/backends.py."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT, TINY_MODEL, needs, unmeasured, with_helpers
from support.refusals import refusal

import albert_np
from albert_np.backends import choose as backends
from albert_np.backends import cuda

ON_BOTH = (
    "test_model_tensor.py",
    "test_matmul_tensor.py",
    "test_attention_tensor.py",
    "test_model.py",
    "test_attention.py",
    "test_rows.py",
    "test_matmul.py",
    "test_arrays.py",
)
# the longest first; of the goldens two small ones, the others are slow
SIMULATED = {name: [f"cuda/{name}"] for name in (*ON_BOTH, "test_simulator.py")} | {
    "test_goldens.py": [
        f"test_goldens.py::test_float32_rule[{name}-cuda-float32]" for name in ("sequence_single", "question_head_mask")
    ]
}
VARIED = "test_model.py, varied"
SIMULATED[VARIED] = ["cuda/test_model.py"]
ALIKE = "every_class or every_variation or float32_rule"  # most of that file's time
CHOSEN = {VARIED: ("-k", ALIKE), "test_model.py": ("-k", f"not ({ALIKE})")}
# these run lines of albert_np that no other test does: they count in coverage, which makes a simulation crawl
MEASURED = ("test_model.py", "test_arrays.py")


def run_tests(mode, paths, *options, limit, measured=False, under=()):
    """pytest on what lies there below tests/, in its own process, which another may start and watch."""
    environment = (dict(os.environ) if measured else unmeasured()) | {"ALBERT_NP_CUDA_TESTS": mode}
    environment.pop("PYTEST_ADDOPTS", None)
    command = [*under, sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0", *options]
    command += [f"tests/{path}" for path in paths]
    child = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=limit, check=False
    )
    says = "\n".join(child.stdout.splitlines()[-60:])
    nothing_to_run = child.returncode == 5 and " skipped" in child.stdout
    assert child.returncode == 0 or nothing_to_run, f"{says}\n{child.stderr[-2000:]}"
    return child


@pytest.fixture(scope="module")
def compiler():
    """Its test is skipped where no kernel can be compiled. What fails to load does no harm in a process of its own."""
    code = "import albert_np.kernels.cuda.target"
    child = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, env=unmeasured(), check=False
    )
    if child.returncode != 0:
        says = child.stderr.strip().splitlines()[-1]
        needs.missing("cuda-compiler", f"kernels for the GPU cannot be compiled here: {says}")


@pytest.mark.cuda
@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("name", ["test_compiled.py", "test_compiled_tensor.py"])
def test_compiled(name, record_property):
    """It takes longest, so it comes first."""
    child = run_tests("compiled", [f"cuda/{name}"], "-s", limit=1800)
    if " passed" not in child.stdout:
        (reason,) = (line.strip() for line in child.stdout.splitlines() if " skipped: " in line)
        needs.missing("cuda-compiler", reason)
    record_property(f"registers, shared memory and warps of the kernels of {name}", child.stderr)


@pytest.mark.cuda
@pytest.mark.parametrize("name", SIMULATED)
def test_simulated(name):
    needs.module("simulator", "greenlet")
    child = run_tests("simulator", SIMULATED[name], *CHOSEN.get(name, ()), limit=1800, measured=name in MEASURED)
    assert " passed" in child.stdout


@pytest.mark.cuda
@pytest.mark.usefixtures("compiler")
def test_compiled_once_and_launched():
    """kernels/cuda/device.py and cache.py, up to the driver."""
    run_tests("compiled", ["cuda/test_device.py"], limit=600)


@pytest.mark.cuda
@pytest.mark.slow
@pytest.mark.parametrize("chosen", ["test_float32_rule", "trace_in_float32", "as_they_like"])
def test_the_suites_of_every_backend_simulated(chosen):
    """All goldens, step by step too; of the rest, what is small enough. tests/cuda/test_model.py has the variations."""
    needs.module("simulator", "greenlet")
    suite = "test_backends.py" if chosen == "as_they_like" else "test_goldens.py"
    run_tests("simulator", [suite], "-k", f"cuda-float32 and {chosen}", limit=3600)


@pytest.mark.cuda
@pytest.mark.slow
def test_what_takes_long_simulated():
    needs.module("simulator", "greenlet")
    run_tests("simulator", ["cuda"], "-m", "slow", limit=3600)


@pytest.mark.cuda
@pytest.mark.usefixtures("compiler")
def test_what_runs_on_a_gpu_can_be_collected_without_one():
    assert " collected" in run_tests("gpu", ["cuda"], "--collect-only", limit=600).stdout


@pytest.fixture
def gpu():
    answer = backends.available()["cuda"]
    if answer != "yes":
        needs.missing("gpu", f"backend cuda: {answer}")


@pytest.mark.gpu
@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("name", ON_BOTH)
def test_on_a_gpu(name):
    """The same tests as in the simulator, slow ones too; tests/cuda/test_gpu.py has the real sizes."""
    run_tests("gpu", SIMULATED[name], "-m", "slow or not slow", limit=1800)


@pytest.mark.gpu
@pytest.mark.usefixtures("gpu")
def test_real_sizes_on_a_gpu():
    run_tests("gpu", ["cuda/test_gpu.py", "cuda/test_gpu_tensor.py"], limit=1800)


FOUND = 99  # what compute-sanitizer ends with where it found something


def sanitizer(tool):
    """The beginning of a command that a tool of it watches."""
    place = Path(os.environ.get("CUDA_HOME", "/usr/local/cuda"), "bin", "compute-sanitizer")
    found = shutil.which("compute-sanitizer") or shutil.which(place)
    if found is None:
        pytest.skip("compute-sanitizer, of the CUDA toolkit, is not installed")
    return [found, "--tool", tool, "--target-processes", "all", "--error-exitcode", str(FOUND)]


@pytest.mark.gpu
@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "synccheck"])
def test_compute_sanitizer_finds_nothing(tool):
    """Each kernel that a layer of a small model takes, in float32 and on tensor cores."""
    files = ["cuda/test_model.py", "cuda/test_model_tensor.py"]
    run_tests("gpu", files, "-k", "float32_rule or plain_call or same_bits", limit=1800, under=sanitizer(tool))


PLANTED = {"racecheck": "a barrier is missing", "memcheck": "more rows than there are"}


@pytest.mark.gpu
@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("tool", PLANTED)
def test_compute_sanitizer_finds_what_is_planted(tool):
    """Else it finds nothing because it sees nothing."""
    command = [*sanitizer(tool), sys.executable, "-P", ROOT / "tests" / "support" / "cuda" / "planted.py"]
    for what, expected in (("nothing", 0), (PLANTED[tool], FOUND)):
        child = subprocess.run([*command, what], capture_output=True, text=True, check=False, env=with_helpers())
        assert child.returncode == expected, (what, child.stdout[-2000:], child.stderr[-2000:])


# --- without a GPU, what a user is told ---------------------------------------------------------------------------------


def test_the_backend_says_what_is_missing():
    answer = backends.available()["cuda"]
    if answer == "yes":
        pytest.skip("there is a GPU")
    message = refusal(albert_np.AlbertModel, albert_np.AlbertConfig(num_hidden_layers=1), backend="cuda")
    assert message.startswith("backend 'cuda' needs an NVIDIA GPU, its driver and numba-cuda: ")
    assert message.endswith("or choose backend='numba'")
    assert answer == f"no ({message})"
    assert cuda.describe() is None


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("sys.modules['numba_cuda'] = None", "no module named numba_cuda"),
        ("sys.modules['numba'] = None", "no module named numba"),
        ("sys.modules['numba_cuda'] = None; sys.modules['llvmlite'] = None", "no module named"),
        (
            "find = lambda self, name, *_: 1 // 0 if name == 'numba_cuda' else None\n"
            "sys.meta_path.insert(0, type('Broken', (), {'find_spec': find})())",
            "numba-cuda does not load (ZeroDivisionError: ",
        ),
    ],
)
def test_each_thing_that_can_be_missing(code, says):
    program = f"import os, sys; {code}\nfrom albert_np.backends import choose; print(choose.available()['cuda'])"
    answer = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True, env=os.environ
    ).stdout
    if "yes" not in answer:
        assert f"needs an NVIDIA GPU, its driver and numba-cuda: {says}" in answer


@pytest.mark.parametrize("asked", [{"torch_dtype": "torch.float16", "device": 0}, {"dtype": "half", "backend": "cuda"}])
def test_a_missing_gpu_is_said_before_a_dtype_that_no_backend_has(monkeypatch, tmp_path, asked):
    """So that transformers' first example, half precision on device 0, ends where the GPU is missing."""
    albert_np.AlbertForMaskedLM(albert_np.AlbertConfig.from_pretrained(TINY_MODEL)).save_pretrained(tmp_path)
    albert_np.AlbertTokenizer.from_pretrained(TINY_MODEL).save_pretrained(tmp_path)
    monkeypatch.setattr(cuda, "missing", lambda dtype: "backend 'cuda' needs an NVIDIA GPU")
    assert refusal(albert_np.pipeline, "fill-mask", model=tmp_path, **asked) == "backend 'cuda' needs an NVIDIA GPU"
    monkeypatch.setattr(cuda, "missing", lambda dtype: "")
    assert refusal(albert_np.pipeline, "fill-mask", model=tmp_path, **asked).startswith("dtype must be one of float32")


def test_float64_is_refused():
    message = refusal(albert_np.AlbertModel, albert_np.AlbertConfig(), backend="cuda", dtype="float64")
    assert message == (
        "backend 'cuda' computes in float32, tf32, bfloat16; got float64: choose backend='numpy', or dtype='float32'"
    )
