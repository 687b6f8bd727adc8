"""The structure of the project: who may import whom. Read from the sources, whether or not a line is ever run.

Inside the package imports go down: LAYERS has its rooms, the lowest first, and a module imports from its own layer and from
those below it. Imports inside functions count too: that is where an arrow that goes up hides. Tests, tools, benchmarks and
notebooks import the package and helpers in their own folder, and never one another.
"""

import ast
import functools
import json
from graphlib import CycleError, TopologicalSorter
from typing import NamedTuple

import pytest
from support import ROOT

# a module or folder of the package, "albert_np." left out; whoever adds a module says where it belongs
LAYERS = [
    ["kernels"],
    ["version", "imports", "files", "protobuf", "text_files", "machine", "page"],
    ["config_defaults", "config_google", "config_labels", "config_values", "config", "device"],
    # the book: ids to logits and back, and what it is written over
    ["ops", "activations", "losses", "embeddings", "encoder", "heads", "gradients", "inputs", "outputs", "run"],
    ["quantized", "tree"],
    ["checkpoints", "costs"],
    ["golden.cases", "golden.stochastic", "golden.tolerances"],  # what tests judge the project itself with
    ["backends"],
    ["quantization"],
    ["model", "calling", "module", "pretrained", "resize", "tensorflow", "flax", "flax_outputs", "flax_params"],
    ["tokenization"],
    ["auto"],
    ["golden"],
    ["conversion"],
    ["tasks"],
    ["pipelines", "distributed", "vectorizer", "explorer"],
    ["training"],
    ["demo"],
    ["cli", "__main__", ""],  # "" is albert_np/__init__.py, which knows every public name's home
]
# Imports that go up all the same, (from, to): a pair that is here and no longer in the sources fails too
UPWARDS = {("config", "checkpoints.hub")}  # AlbertConfig.from_pretrained takes hub ids
# the same for imports of types alone, which nothing runs
UPWARDS_OF_TYPES: set[tuple[str, str]] = set()
# imports of another folder, (file, module)
ACROSS: set[tuple[str, str]] = set()

FOLDERS = ("tests", "tools", "benchmarks", "notebooks")


class Import(NamedTuple):
    source: str  # modules, without "albert_np."
    target: str
    when: str  # "module", "function" or "types"


# --- the package --------------------------------------------------------------------------------------------------------


@functools.cache
def modules():
    """Name without "albert_np." -> its file: kernels/ is albert_np.kernels."""
    found = {}
    for folder, package in ((ROOT / "albert_np", ""), (ROOT / "kernels", "kernels")):
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            name = ".".join(part for part in (package, *parts) if part and part != "__init__")
            found[name] = path
    return found


@functools.cache
def homes():
    """Public name -> the module that it is from, as albert_np/__init__.py tells type checkers."""
    tree = ast.parse(modules()[""].read_text())
    return {
        alias.name: node.module.removeprefix("albert_np").removeprefix(".")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module.startswith("albert_np")
        for alias in node.names
    }


def imported(node):
    """The modules of the package that an import statement names."""
    if isinstance(node, ast.Import):
        full = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.level == 0:
        full = [f"{node.module}.{alias.name}" for alias in node.names]
    else:
        assert not isinstance(node, ast.ImportFrom), "imports name the whole path"
        full = []
    for name in full:
        if name.partition(".")[0] == "albert_np":
            inside = name.removeprefix("albert_np").removeprefix(".")
            inside = homes().get(inside, inside)
            yield inside if inside in modules() else inside.rpartition(".")[0]


def walk(node, when="module"):
    """Each statement below it, and whether it runs with the module, in a function, or for type checkers alone."""
    for child in ast.iter_child_nodes(node):
        at = when
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and when == "module":
            at = "function"
        elif isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            yield from walk(ast.Module(child.body, []), "types")
            yield from walk(ast.Module(child.orelse, []), when)
            continue
        yield child, at
        yield from walk(child, at)


@functools.cache
def imports():
    """All of the package's own, once each."""
    found = {}
    for source, path in modules().items():
        for node, when in walk(ast.parse(path.read_text())):
            for target in imported(node):
                if target != source:
                    found[Import(source, target, when)] = None
    return list(found)


def layer(module):
    """The number of its layer: that of the longest name in LAYERS that it begins with."""
    fitting = [
        (len(name), number)
        for number, names in enumerate(LAYERS)
        for name in names
        if name == module or (name and module.startswith(f"{name}."))
    ]
    return max(fitting)[1] if fitting else None


def upwards(*when):
    return {(x.source, x.target) for x in imports() if x.when in when and layer(x.source) < layer(x.target)}


def test_every_module_has_a_layer_and_every_name_is_a_module():
    assert [module for module in modules() if layer(module) is None] == []
    named = [name for names in LAYERS for name in names]
    assert len(set(named)) == len(named)
    assert [name for name in named if name not in modules()] == []


def test_imports_are_found():
    """Or the rest would say nothing."""
    assert len(imports()) > 300
    assert {x.when for x in imports()} == {"module", "function", "types"}
    assert Import("model", "calling", "module") in imports()
    assert Import("kernels.cuda.simulator", "kernels.cuda.simulator.machine", "function") in imports()


def test_imports_go_down_except_those_that_are_listed():
    assert upwards("module", "function") == UPWARDS


def test_imports_of_types_go_down_except_those_that_are_listed():
    assert upwards("types") == UPWARDS_OF_TYPES


def test_no_modules_import_each_other_in_a_circle():
    graph = {module: set() for module in modules()}
    for x in imports():
        if x.when == "module":
            graph[x.source].add(x.target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_no_import_is_hidden_in_a_string():
    hiding = [
        name
        for name, path in modules().items()
        if "import_module(" in (text := path.read_text()) or "__import__(" in text
    ]
    assert hiding == ["", "golden"]  # which load public names when they are first used


def test_the_simulator_is_loaded_by_nobody_but_who_asks_for_it():
    room = "kernels.cuda.simulator"
    assert [x for x in imports() if x.target.startswith(room) and not x.source.startswith(room)] == []


# --- tests, tools, benchmarks, notebooks ----------------------------------------------------------------------------------


def code(path):
    """The text of a file of Python, or of a notebook's code cells."""
    if path.suffix == ".py":
        return path.read_text()
    cells = json.loads(path.read_text())["cells"]
    lines = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code").splitlines()
    return "\n".join(line for line in lines if not line.startswith(("%", "!")))


def sources(folder):
    return sorted(path for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".ipynb"))


def first_names(path):
    """Of all modules that a file imports, what stands before the first dot."""
    for node in ast.walk(ast.parse(code(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.partition(".")[0]


def helpers(folder):
    """What a file of a folder can import from there: its modules, and its packages."""
    files = {path.stem for path in (ROOT / folder).glob("*.py")}
    return files | {path.parent.name for path in (ROOT / folder).glob("*/__init__.py")}


def test_no_folder_imports_from_another():
    found = set()
    for folder in FOLDERS:
        others = {name for other in FOLDERS if other != folder for name in helpers(other)}
        for path in sources(folder):
            for name in first_names(path):
                if name in others - helpers(folder):
                    found.add((str(path.relative_to(ROOT)), name))
    assert found == ACROSS


def test_no_test_imports_a_test_and_no_benchmark_a_benchmark():
    """What they share is in helpers: modules of another name."""
    for folder, prefix in (("tests", "test_"), ("benchmarks", "bench_")):
        names = {path.stem for path in sources(folder) if path.stem.startswith(prefix)} | {"conftest"}
        assert len(names) > 5
        for path in sources(folder):
            assert not names & set(first_names(path)), path.name
