"""Packs: each op in each format is whole, agrees with itself, passes right programs and fails wrong ones."""

import json
import runpy
import subprocess
import sys
import warnings

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator
from support import needs, unmeasured
from support.refusals import refusal

import albert_np
from albert_np import cli, golden
from albert_np.golden.arithmetic import Exact
from albert_np.golden.budgets.precisions import precision
from albert_np.golden.budgets.table import Budgets
from albert_np.golden.candidates import candidate as candidates
from albert_np.golden.cases import CASES, PARTS, TINY, batch, trained_like
from albert_np.golden.graph import evaluate
from albert_np.golden.packs import c_header, extraction, pack
from albert_np.golden.packs.boundaries import boundaries, resolve

# every op of the graph, with what changes it, in a dtype each
DRAWN = [
    ("model", "float32"),
    ("model_groups_inner", "float16"),
    ("pretraining", "bfloat16"),
    ("masked_lm_untied", "float32"),
    ("question_head_mask", "float64"),
    ("relative_key", "bfloat16"),
    ("relative_key_query", "float16"),
]


@pytest.fixture(autouse=True)
def no_power_cuts(monkeypatch):
    """Hundreds of files are written here, and waiting for the disk each time would be half of the time."""
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Recordings by case and mask mode, each made once."""
    made = {}

    def get(name, mask_mode="uniform", **more):
        key = (name, mask_mode, *more.items())
        if key not in made:
            kind, changes, features = CASES[name]
            config = albert_np.AlbertConfig(**TINY | changes | more)
            tensors = trained_like(config, PARTS[kind], 3)
            model = getattr(albert_np, kind)(config, backend="numpy", dtype="float32", tensors=tensors)
            folder = tmp_path_factory.mktemp("recording")
            made[key] = golden.record(model, batch(config, kind, 5, **features), folder, mask_mode=mask_mode)
        return made[key]

    return get


def different(recording):
    """A boundary of each kind: the same ops on tensors of the same shapes are there once."""
    found = {}
    for one in boundaries(recording.steps):
        key = tuple((x.op, str(x.attributes), len(x.inputs), recording.entries[x.name]["shape"][1:]) for x in one.steps)
        found.setdefault(str(key), one.name)
    return list(found.values())


def share(output, expected, budget):
    """The largest share of its budget that an element uses; infinity for NaN in the wrong place."""
    output = np.asarray(output).astype(np.float64)
    assert output.shape == expected.shape
    with np.errstate(invalid="ignore", divide="ignore"):
        used = np.abs(output - expected) / budget
    used = np.where((output == expected) | (np.isnan(output) & np.isnan(expected)), 0, used)
    used = np.where(np.isinf(budget) & ~np.isnan(output), 0, used)
    return np.max(np.where(np.isnan(used), np.inf, used))


def run_onnx(folder):
    model = onnx.load(folder / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    feeds = {}
    for i, one in enumerate(model.graph.input):
        feeds[one.name] = protobuf(folder / "test_data_set_0" / f"input_{i}.pb")
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        (output,) = ReferenceEvaluator(model).run(None, feeds)
    return output


def arrays(path):
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def protobuf(path):
    tensor = onnx.TensorProto()
    tensor.ParseFromString(path.read_bytes())
    return onnx.numpy_helper.to_array(tensor)


def compiled(folder, *options, source="check.c"):
    """The exit code of the checked program, and what it says. Warnings are errors."""
    command = ["cc", "-std=c99", "-Wall", "-Werror", *options, source, "-o", "check", "-lm"]
    try:
        built = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        needs.missing("cc", "there is no C compiler")
    assert built.returncode == 0, built.stderr
    done = subprocess.run(["./check"], cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def run_pytest_file(folder, function):
    """The tests of a pack on one function, called here."""
    tests = runpy.run_path(str(folder / "test_op.py"))
    output = np.asarray(function(**tests["ARGUMENTS"])).astype(np.float64)
    for name, test in tests.items():
        if name.startswith("test_"):
            test(output)


# --- every op in every format -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("case", "dtype"), DRAWN)
def test_every_op_in_every_format_agrees_with_itself(case, dtype, recorded, tmp_path):
    recording = recorded(case)
    names = different(recording)
    assert len(names) >= 20
    for i, name in enumerate(names):
        out = tmp_path / str(i)
        files = golden.extract(recording, name, out, dtype=dtype)
        assert sorted(files) == sorted(path for path in out.rglob("*") if path.is_file())
        same_in_npz_raw_and_pytest(recording, out, name, dtype)
        expected, budget = np.load(out / "onnx" / "expected_float64.npy"), np.load(out / "onnx" / "budget.npy")
        rounded = protobuf(out / "onnx" / "test_data_set_0" / "output_0.pb")
        assert share(rounded, expected, budget) <= 1, name
        assert share(run_onnx(out / "onnx"), expected, budget) <= 1, name


def same_in_npz_raw_and_pytest(recording, out, name, dtype):
    """npz, raw and the data of pytest hold the same; what float64 makes of it is the expected output."""
    said = json.loads((out / "raw" / "manifest.json").read_text())
    raw = candidates.read(out / "raw")
    stored, data = arrays(out / "npz" / "op.npz"), arrays(out / "pytest" / "op_data.npz")
    known = {}
    for entry in said["tensors"]:
        x = stored[entry["argument"]]
        assert list(x.shape) == entry["shape"]
        if entry["dtype"] == "bfloat16":
            x = (x.astype(np.uint32) << 16).view(np.float32)
        np.testing.assert_array_equal(raw[entry["name"]], x)
        np.testing.assert_array_equal(data[entry["argument"]], x)
        known[entry["name"]] = x if x.dtype.kind in "ib" else x.astype(np.float64)
    boundary = resolve(name, recording.steps, recording.config.hidden_act)
    for one in boundary.steps:
        if one.op == "masked_scores":
            return
        known[one.name] = evaluate(one, known, known, Exact())
    np.testing.assert_array_equal(stored["expected"], known[boundary.steps[-1].name])
    assert stored["budget"].shape == stored["expected"].shape
    assert (stored["budget"] >= 0).all()


@pytest.mark.parametrize(
    ("case", "dtype", "names"),
    [
        ("pretraining", "bfloat16", None),
        ("relative_key_query", "float16", ["scores:0", "probs:1", "attention:2"]),
        ("question_head_mask", "float64", ["scores:0", "probs:1", "attention.LayerNorm:0", "gelu:1", "qa_outputs"]),
    ],
)
def test_the_example_in_c_passes_its_own_check(case, dtype, names, recorded, tmp_path):
    recording = recorded(case)
    for i, name in enumerate(names or different(recording)):
        golden.extract(recording, name, tmp_path / str(i), ["c"], dtype=dtype)
        assert compiled(tmp_path / str(i) / "c")[0] == 0, name


@pytest.mark.parametrize(
    "name", ["gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu", "gelu_python", "relu", "silu", "swish", "tanh"]
)
def test_every_activation(name, recorded, tmp_path):
    recording = recorded("model", hidden_act=name)
    dtype = "bfloat16" if name in ("relu", "silu") else "float32"
    golden.extract(recording, "activation:1", tmp_path / "out", dtype=dtype)
    expected, budget = (np.load(tmp_path / "out" / "onnx" / f"{x}.npy") for x in ("expected_float64", "budget"))
    assert share(run_onnx(tmp_path / "out" / "onnx"), expected, budget) <= 1
    assert compiled(tmp_path / "out" / "c")[0] == 0


@pytest.mark.parametrize("mask_mode", ["uniform", "zeros", "nan"])
def test_every_answer_for_a_row_with_nothing_to_attend_to(mask_mode, recorded, tmp_path):
    recording = recorded("model_nothing_to_attend", mask_mode)
    for i, name in enumerate(("probs:0", "attention:0", "context:0")):
        out = tmp_path / str(i)
        golden.extract(recording, name, out)
        expected, budget = (np.load(out / "onnx" / f"{x}.npy") for x in ("expected_float64", "budget"))
        assert np.isnan(expected).any() == (mask_mode == "nan")
        assert share(run_onnx(out / "onnx"), expected, budget) <= 1
        assert compiled(out / "c")[0] == 0, name


# --- wrong programs fail --------------------------------------------------------------------------------------------------


def test_a_planted_bug_in_c_fails_and_so_do_nan_and_nothing_written(recorded, tmp_path):
    golden.extract(recorded("model"), "attention.query:1", tmp_path / "out", ["c"])
    folder = tmp_path / "out" / "c"
    code, said = compiled(folder)
    assert (code, said[:5]) == (0, "pass:")
    header = (folder / "op.h").read_text()
    (folder / "op.h").write_text(header.replace("sum + bias[o]", "sum - bias[o]"))
    code, said = compiled(folder)
    assert (code, said[:5]) == (1, "FAIL:")
    for planted in ("NAN", "sum + bias[o] + (o == 3 ? 0.0001f : 0)"):
        (folder / "op.h").write_text(header.replace("sum + bias[o]", planted))
        assert compiled(folder)[0] == 1
    (folder / "op.h").write_text(header)
    (folder / "mine.c").write_text(
        "static void mine(const float *x, const float *w, const float *b, float *y) { (void)x, (void)w, (void)b, (void)y; }\n"
        '#define GOLDEN_CANDIDATE mine\n#include "op.h"\n'
    )
    assert compiled(folder, source="mine.c")[0] == 1


def test_arrays_too_large_for_a_header_lie_in_files(recorded, tmp_path, monkeypatch):
    monkeypatch.setattr(c_header, "MAX_VALUES", 100)
    for i, (name, dtype) in enumerate(
        [("ffn+gelu:0", "bfloat16"), ("word_embeddings", "float64"), ("probs:0", "float32")]
    ):
        golden.extract(recorded("model"), name, tmp_path / str(i), ["c"], dtype=dtype)
        folder = tmp_path / str(i) / "c"
        assert (folder / "op.h").stat().st_size < 9000
        assert compiled(folder)[0] == 0, name
    (folder / "golden_scores.bin").unlink()
    code, said = compiled(folder)
    assert code == 2
    assert "golden_scores.bin cannot be read here" in said


def test_the_test_file_passes_a_right_function_and_says_what_is_wrong(recorded, tmp_path):
    golden.extract(recorded("model"), "gelu:2", tmp_path / "out", ["pytest"])
    folder = tmp_path / "out" / "pytest"
    run_pytest_file(folder, lambda x: x / (1 + np.exp(-1.5957691216057308 * (x + 0.044715 * x**3))))
    with pytest.raises(
        pytest.fail.Exception, match=r"elements are outside.*got .*, expected .*, allowed .* times as much"
    ):
        run_pytest_file(folder, lambda x: x / (1 + np.exp(-1.702 * x)))
    with pytest.raises(AssertionError):
        run_pytest_file(folder, lambda x: np.where(x == x.max(), np.nan, x))
    with pytest.raises(AssertionError):
        run_pytest_file(folder, lambda x: x[0])


def test_the_test_file_runs_under_pytest_with_a_function_by_name(recorded, tmp_path):
    golden.extract(recorded("model"), "tanh", tmp_path / "out", ["pytest"])
    folder = tmp_path / "out" / "pytest"
    (folder / "mine.py").write_text("import numpy\ndef tanh(x):\n    return numpy.tanh(x)\n")

    def tested(**more):
        alone = unmeasured() | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": ".", "PYTEST_ADDOPTS": ""} | more
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_op.py"]
        return subprocess.run(command, cwd=folder, env=alone, capture_output=True, text=True, check=False)

    right, unset = tested(GOLDEN_CANDIDATE="mine:tanh"), tested()
    assert right.returncode == 0, right.stdout
    assert unset.returncode == 1
    assert "set GOLDEN_CANDIDATE to the function to test" in unset.stdout


# --- the budget of a fused op -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["attention:0", "ffn+gelu:0", "bias+gelu:0", "residual+LayerNorm:0"])
def test_a_fused_op_that_is_off_inside_its_budgets_stays_inside_the_whole(name, dtype, recorded):
    """Each inner step is moved to an edge of its own budget, in a random direction, and so is the last."""
    made = extraction.make(recorded("relative_key"), name, dtype)
    rng = np.random.default_rng(5)
    table = Budgets(precision(dtype))
    most = 0
    for _ in range(20):
        known = {one.source: one.value for one in made.arguments}
        for one in made.steps:
            y, worst = evaluate(one, known, known, Exact()), evaluate(one, known, known, table).worst
            known[one.name] = y + worst * rng.choice([-1, 1], y.shape)
        most = max(most, share(known[made.steps[-1].name], made.expected, made.budget))
    assert 0.02 < most <= 1


# --- names --------------------------------------------------------------------------------------------------------------


def test_short_names_mean_what_they_say(recorded):
    recording = recorded("pretraining")
    meant = {
        "encoder.layer.3.attention.query": "encoder.layer.3.attention.query",
        "attention.query:3": "encoder.layer.3.attention.query",
        "query:3": "encoder.layer.3.attention.query",
        "gelu:2": "encoder.layer.2.activation",
        "activation:2": "encoder.layer.2.activation",
        "softmax:0": "encoder.layer.0.attention.probs",
        "attention.LayerNorm:0": "encoder.layer.0.attention.LayerNorm",
        "full_layer_layer_norm:1": "encoder.layer.1.full_layer_layer_norm",
        "pooler": "pooler",
        "tanh": "pooler_activation",
        "word_embeddings": "embeddings.word_embeddings",
        "decoder": "predictions.decoder",
        "attention:3": "encoder.layer.3.attention",
        "bias+gelu:0": "encoder.layer.0.bias+activation",
        "ffn+activation:3": "encoder.layer.3.ffn+activation",
        "residual+LayerNorm:1": "encoder.layer.1.residual+LayerNorm",
        "attention.residual+LayerNorm:1": "encoder.layer.1.attention.residual+LayerNorm",
    }
    assert {asked: resolve(asked, recording.steps, "gelu_new").name for asked in meant} == meant


def test_a_fused_boundary_reads_what_is_outside_it(recorded):
    made = extraction.make(recorded("question_head_mask"), "attention:1")
    at = "encoder.layer.1.attention"
    assert {one.name: one.source for one in made.arguments} == {
        "query": f"{at}.query",
        "key": f"{at}.key",
        "allowed": "allowed",
        "head_mask": "head_mask.1",
        "value": f"{at}.value",
    }
    assert made.steps[-1].name == f"{at}.context"
    bias = extraction.make(recorded("model"), "bias+gelu:1", "float64")
    ffn = extraction.make(recorded("model"), "ffn+gelu:1", "float64")
    assert bias.arguments[0].source == "encoder.layer.1.ffn.product"
    np.testing.assert_allclose(bias.expected, ffn.expected, rtol=1e-12, atol=1e-12)


def test_unknown_and_ambiguous_names_are_refused_with_what_is_near(recorded, tmp_path):
    recording = recorded("model")

    def refused(op, **options):
        return refusal(golden.extract, recording, op, tmp_path / "out", **options)

    assert "attention.query:0, attention.query:1, attention.query:2, attention.query:3: say which" in refused("query")
    assert "near it are attention.query:2" in refused("atention.qery:2")
    assert "the layers are applied 4 times here, 0 to 3" in refused("query:4")
    assert "near it are pooler" in refused("pooler:0")
    assert "is no op of this recording" in refused("relu:0")
    assert "an op is named NAME or NAME:APPLICATION" in refused("query:x")
    assert "an op is named" in refused("")
    assert "dtype is one of float32" in refused("pooler", dtype="int8")
    assert "formats are npz, raw" in refused("pooler", formats=["csv"])
    assert not (tmp_path / "out").exists()


# --- values and files ---------------------------------------------------------------------------------------------------


def test_bfloat16_is_rounded_once_to_the_nearest_and_ties_to_even():
    x = np.array([1 + 2.0**-8, 1 + 3 * 2.0**-8, 1 + 2.0**-8 + 2.0**-40, -0.0, 2.0**-134, 3 * 2.0**-134, np.nan, np.inf])
    y = pack.rounded(x, "bfloat16", "x")
    np.testing.assert_array_equal(y, [1, 1 + 2.0**-6, 1 + 2.0**-7, -0.0, 0, 2.0**-132, np.nan, np.inf])
    assert np.signbit(y[3])
    bits = pack.stored(y, "bfloat16")
    np.testing.assert_array_equal((bits.astype(np.uint32) << 16).view(np.float32), y)


def test_values_that_the_dtype_cannot_hold_are_refused():
    assert "w has values up to 1e+05, and float16 ends at 6.55e+04" in refusal(
        pack.rounded, np.array([1.0, -1e5]), "float16", "w"
    )
    assert "choose --dtype" in refusal(pack.rounded, np.array([3.4e38]), "bfloat16", "w")


def test_a_masked_score_is_the_lowest_value_of_the_dtype_and_anything_else_but_nan_is_right_too(recorded, tmp_path):
    for dtype, lowest in (("float16", -65504), ("float32", -3.4028234663852886e38)):
        made = extraction.make(recorded("model"), "masked_scores:0", dtype)
        masked = ~np.broadcast_to(recorded("model").batch["allowed"], made.expected.shape)
        assert masked.any()
        assert set(made.expected[masked]) == {lowest}
        assert share(np.where(masked, -np.inf, made.expected), made.expected, made.budget) == 0
        assert share(np.where(masked, np.nan, made.expected), made.expected, made.budget) == np.inf


def test_an_older_pack_is_replaced_and_nothing_else_is(recorded, tmp_path):
    recording, out = recorded("model"), tmp_path / "out"
    golden.extract(recording, "pooler", out)
    (out / "c" / "mine.c").write_text("int x;")
    golden.extract(recording, "tanh", out, ["npz"])
    assert {path.name for path in out.rglob("*") if path.is_file()} == {
        "README.md",
        "pack.json",
        "op.npz",
        "README.json",
        "mine.c",
    }
    (tmp_path / "victim").write_text("kept")
    said = json.loads((out / "pack.json").read_text())
    (out / "pack.json").write_text(json.dumps(said | {"files": ["../victim"]}))
    golden.extract(recording, "tanh", out, ["npz"])
    assert (tmp_path / "victim").read_text() == "kept"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(OSError, match="is no pack: choose a new folder"):
        golden.extract(recording, "tanh", tmp_path / "mine")
    with pytest.raises(OSError, match="is a file; a pack is a folder"):
        golden.extract(recording, "tanh", tmp_path / "victim")


def test_without_onnx_the_other_formats_are_written_and_onnx_says_what_to_install(recorded, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert 'pip install "albert-np[golden]"' in refusal(golden.extract, recorded("model"), "pooler", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert golden.extract(recorded("model"), "pooler", tmp_path / "out", ["npz", "raw", "c", "pytest"])


def test_the_readme_has_the_command_lines_with_shapes(recorded, tmp_path):
    golden.extract(recorded("model"), "attention:0", tmp_path / "out", dtype="float16")
    text = (tmp_path / "out" / "README.md").read_text()
    B, T = recorded("model").batch["input_ids"].shape
    assert f"iree-run-module --module=op.vmfb --function=op --input={B}x{T}x24xf16=@raw/query.bin" in text
    assert "iree-import-onnx onnx/model.onnx" in text
    assert f"--input={B}x1x1x{T}xi8=@raw/allowed.bin" in text
    assert all(f"## {name}" in text for name in extraction.FORMATS)


def test_the_command_writes_a_pack_and_refuses_in_one_line(recorded, tmp_path, capsys):
    folder = str(recorded("model").folder)
    assert (
        cli.main(["golden", "extract", folder, "gelu:3", "-o", str(tmp_path / "out"), "--format", "npz", "c", "--json"])
        == 0
    )
    said = json.loads(capsys.readouterr().out)
    assert str(tmp_path / "out" / "c" / "op.h") in said["files"]
    assert cli.main(["golden", "extract", folder, "gelu:3", "-o", str(tmp_path / "all"), "--dtype", "bfloat16"]) == 0
    assert "gelu:3 in bfloat16" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "all").iterdir() if path.is_dir()) == sorted(extraction.FORMATS)
    assert cli.main(["golden", "extract", folder, "gelu:9", "-o", str(tmp_path / "none")]) == 2
    assert cli.main(["golden", "extract", str(tmp_path), "gelu:3", "-o", str(tmp_path / "none")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2
