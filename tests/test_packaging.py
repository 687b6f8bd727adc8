"""What gets installed, and what importing it costs: only albert_np, and only NumPy."""

import importlib.metadata
import json
import re
import subprocess
import sys
import venv
import zipfile

import pytest
from support import ROOT

README = (ROOT / "README.md").read_text()


def python(code, *options, **environment):
    command = [sys.executable, *options, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd="/", **environment).stdout


def test_import_albert_np_imports_numpy_and_nothing_heavy():
    loaded = python("import sys, albert_np; print(*sorted(m for m in sys.modules if '.' not in m))").split()
    heavy = {
        "numba",
        "llvmlite",
        "sentencepiece",
        "safetensors",
        "huggingface_hub",
        "tqdm",
        "tokenizers",
        "torch",
        "requests",
    }
    assert "albert_np" in loaded
    assert not heavy & set(loaded)


def test_model_runs_without_numba_or_sentencepiece():
    code = (
        "import sys\n"
        "for name in ('numba', 'sentencepiece', 'huggingface_hub', 'tqdm', 'torch'): sys.modules[name] = None\n"
        "from albert_np import AlbertForMaskedLM\n"
        "print(AlbertForMaskedLM.from_pretrained('demo')([[2, 4, 3]]).logits.shape)"
    )
    V = json.loads((ROOT / "albert_np" / "demo" / "config.json").read_text())["vocab_size"]
    assert python(code).strip() == f"(1, 3, {V})"


def test_inference_imports_nothing_of_training():
    code = (
        "import sys\n"
        "from albert_np import AlbertForMaskedLM, AlbertTokenizer, pipeline\n"
        "tokenizer = AlbertTokenizer.from_pretrained('demo')\n"
        "for backend in ('numpy', 'auto'):\n"
        "    model = AlbertForMaskedLM.from_pretrained('demo', backend=backend)\n"
        "    model(**tokenizer('a [MASK]', return_tensors='np'))\n"
        "pipeline('fill-mask')('a [MASK]')\n"
        "print(*(name for name in sys.modules if name.startswith('albert_np')))"
    )
    loaded = python(code).split()
    assert "albert_np.pipelines.fill_mask" in loaded
    assert [name for name in loaded if "training" in name] == []


def test_tasks_import_neither_training_nor_pipelines():
    code = (
        "import importlib, pkgutil, sys, albert_np.tasks as tasks\n"
        "for module in pkgutil.iter_modules(tasks.__path__): importlib.import_module(f'albert_np.tasks.{module.name}')\n"
        "print(*(name for name in sys.modules if name.startswith('albert_np')))"
    )
    loaded = python(code).split()
    assert "albert_np.tasks.question_answering" in loaded
    assert [name for name in loaded if name.startswith(("albert_np.training", "albert_np.pipelines"))] == []


def test_kernels_is_installed_under_our_name_only():
    import albert_np.kernels

    assert albert_np.kernels.__doc__
    assert importlib.metadata.version("albert-np") == importlib.import_module("albert_np").__version__
    found = python("import importlib.util as u; print(u.find_spec('kernels'))").strip()
    assert str(ROOT) not in found  # nothing there, or Hugging Face's package of that name


def test_public_names_are_importable_and_listed():
    import albert_np

    for name in albert_np.__all__:
        assert getattr(albert_np, name) is not None
        assert name in dir(albert_np)
    with pytest.raises(AttributeError, match="no attribute 'AlbertForCausalLM'"):
        _ = albert_np.AlbertForCausalLM


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel of the tree, built in a copy so that no build folder is left behind."""
    out = tmp_path_factory.mktemp("wheel")
    tree = out / "tree"
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in tracked.stdout.splitlines():
        if (ROOT / name).is_file() and not name.startswith(("tests/", "notebooks/", "benchmarks/")):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_bytes((ROOT / name).read_bytes())
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(out)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(tree)], check=True, capture_output=True)
    (path,) = out.glob("*.whl")
    return path


def test_wheel_contains_only_albert_np(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    packaged = [name for name in names if ".dist-info/" not in name]
    assert all(name.startswith("albert_np/") for name in packaged)
    assert {"albert_np/kernels/__init__.py", "albert_np/py.typed"} <= set(packaged)
    sources = {f"albert_np/{p.relative_to(ROOT / 'albert_np')}" for p in (ROOT / "albert_np").rglob("*.py")}
    sources |= {f"albert_np/kernels/{p.relative_to(ROOT / 'kernels')}" for p in (ROOT / "kernels").rglob("*.py")}
    assert sources <= set(packaged)  # no module forgotten in setup.cfg
    (top_level,) = (zipfile.ZipFile(wheel).read(name) for name in names if name.endswith("top_level.txt"))
    assert top_level.split() == [b"albert_np"]


def test_wheel_contains_the_files_that_pages_are_made_of(wheel):
    kinds = (".css", ".html", ".js")
    files = {str(p.relative_to(ROOT)) for p in (ROOT / "albert_np").rglob("*") if p.suffix in kinds}
    assert {path.rpartition("/")[2] for path in files} >= {"page.css", "drawing.js", "report.html", "explorer.html"}
    assert files <= set(zipfile.ZipFile(wheel).namelist())


def test_wheel_contains_the_embedded_model_in_at_most_six_million_bytes(wheel):
    sizes = {info.filename: info.file_size for info in zipfile.ZipFile(wheel).infolist()}
    demo = {name.rpartition("/")[2]: size for name, size in sizes.items() if re.match(r"albert_np/demo/[^/]+$", name)}
    needed = {"model.safetensors", "config.json", "spiece.model", "tokenizer_config.json"}
    assert set(demo) == {"__init__.py", "README.md", "evaluation.json", *needed}
    assert sum(demo.values()) <= 6_000_000


def test_wheel_contains_the_embedded_models_for_tasks_with_one_vocabulary_for_all(wheel):
    from albert_np.checkpoints import hub

    tasks = {folder.name for name, folder in hub.EMBEDDED.items() if name != "demo"}
    found = {name: info.file_size for info in zipfile.ZipFile(wheel).infolist() if (name := info.filename)}
    for task in tasks:
        files = {name for name in found if name.startswith(f"albert_np/demo/{task}/")}
        assert {name.rpartition("/")[2] for name in files} == {
            "README.md",
            "config.json",
            "evaluation.json",
            "model.safetensors",
        }
        assert sum(found[name] for name in files) <= 4_000_000
    assert [name for name in found if name.endswith("spiece.model")] == ["albert_np/demo/spiece.model"]


def test_wheel_installs_into_an_empty_environment_and_quick_start_answers_offline(wheel, tmp_path):
    """The wheel alone is new there; its dependencies are this environment's, and the network is blocked."""
    (sentence,) = re.findall(r'^python3 -m pip install \. && albert-np fill-mask "(.*)"$', README, re.M)
    venv.create(tmp_path / "env", with_pip=False)
    target = next((tmp_path / "env" / "lib").glob("python*")) / "site-packages"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    here = next(path for path in sys.path if path.endswith("site-packages"))
    code = (
        "import sys, socket\n"
        "def blocked(*a, **k): raise OSError('no network here')\n"
        "socket.socket.connect = socket.getaddrinfo = blocked\n"
        f"sys.path.append({here!r})\n"
        "import albert_np; assert 'env' in albert_np.__file__, albert_np.__file__\n"
        "from albert_np.cli import main\n"
        f"sys.exit(main(['fill-mask', {sentence!r}]))"
    )
    done = subprocess.run(
        [str(tmp_path / "env" / "bin" / "python"), "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    before = re.escape(sentence.partition(" [MASK]")[0].lower())
    assert len(re.findall(rf"^ *0\.\d{{4}}  \S* +{before}", done.stdout, re.M)) == 5
