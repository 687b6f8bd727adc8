"""Compare and blame: the first op that is wrong and no other; what is missing, extra or misshapen; parts; precisions."""

import dataclasses
import json
import warnings
from xml.etree import ElementTree

import numpy as np
import pytest
from support.refusals import refusal

import albert_np
from albert_np import cli, golden
from albert_np.golden.arithmetic import Exact
from albert_np.golden.budgets.judging import judge
from albert_np.golden.budgets.precisions import precision
from albert_np.golden.budgets.table import Budgets
from albert_np.golden.cases import CASES, PARTS, TINY, batch, trained_like
from albert_np.golden.comparing.text import as_junit, as_text
from albert_np.golden.graph import run
from albert_np.golden.measures.ulps import rounded


def recorded(name, folder, mask_mode="uniform", **changed):
    kind, changes, features = CASES[name]
    config = albert_np.AlbertConfig(**TINY | changes | changed)
    tensors = trained_like(config, PARTS[kind], 3)
    model = getattr(albert_np, kind)(config, backend="numpy", dtype="float32", tensors=tensors)
    call = {key: x for key, x in batch(config, kind, 5, **features).items() if key not in model.labels}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return golden.record(model, call, folder, mask_mode=mask_mode), model, call


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return recorded("pretraining", tmp_path_factory.mktemp("goldens") / "pretraining")[0]


def plain(recording, steps=None, dtype=np.float32, **how):
    """What NumPy computes in float32 from the recording's inputs and weights: a candidate with the names of a trace."""
    weights = {name: x.astype(dtype) for name, x in recording.weights.items()}
    given = {name: x.astype(dtype) if x.dtype.kind == "f" else x for name, x in recording.batch.items()}
    values = run(steps or recording.steps, given, weights, Exact(), **how)
    return {name: x for name, x in values.items() if name in recording and not name.endswith("_embeddings")}


def changed(recording, name, **change):
    """The steps with one of them replaced."""
    return [dataclasses.replace(one, **change) if one.name == name else one for one in recording.steps]


# --- verdicts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_a_correct_candidate_passes(name, tmp_path):
    recording, _, _ = recorded(name, tmp_path / "goldens")
    comparison = golden.compare(recording, plain(recording))
    assert comparison.verdict == "pass", as_text(comparison)
    assert comparison.first_bad_op is None
    assert comparison.precision == "float32"
    assert all(one.budget_share < 1 for one in comparison.ops)


@pytest.mark.parametrize("mask_mode", ["zeros", "nan"])
def test_a_row_with_nothing_to_attend_to_is_judged_by_the_policy_of_the_recording(mask_mode, tmp_path):
    recording, _, _ = recorded("model_nothing_to_attend", tmp_path / "goldens", mask_mode)
    assert golden.compare(recording, plain(recording)).verdict == "pass"
    other, _, _ = recorded("model_nothing_to_attend", tmp_path / "others")
    found = golden.compare(recording, plain(other))
    assert found.first_bad_op == "encoder.layer.0.attention.probs"


def test_our_own_kernels_pass(reference):
    pytest.importorskip("numba")
    model = albert_np.AlbertForPreTraining.from_pretrained(reference.folder / "model", backend="numba")
    call = dict(reference.call)
    trace = model(**call, trace="unfused").trace
    comparison = golden.compare(reference, dict(trace))
    assert comparison.verdict == "pass", as_text(comparison)


def our_bfloat16(recording, call, **changes):
    """The fused trace of the numba backend in bfloat16, with the config changed."""
    pytest.importorskip("numba")
    folder, kind = recording.folder / "model", recording.architecture
    return getattr(albert_np, kind).from_pretrained(folder, backend="numba", dtype="bfloat16", **changes)(
        **call, trace=True
    )


@pytest.mark.parametrize("name", CASES)
def test_our_own_bfloat16_passes(name, tmp_path):
    """What products read is rounded and the rest is float32, as with autocast: half of the tensors show it."""
    recording, _, call = recorded(name, tmp_path / "goldens")
    comparison = golden.compare(recording, dict(our_bfloat16(recording, call).trace), partial=True)
    assert comparison.verdict == "pass", as_text(comparison)
    assert comparison.precision == "bfloat16"


def test_our_own_bfloat16_passes_on_the_demo(tmp_path):
    demo, tokens = albert_np.AlbertModel.from_pretrained("demo"), np.random.default_rng(0)
    call = {"input_ids": tokens.integers(5, demo.config.vocab_size, (1, 12))}
    recording = golden.record(demo, call, tmp_path / "goldens")
    comparison = golden.compare(recording, dict(our_bfloat16(recording, call).trace), partial=True)
    assert comparison.verdict == "pass", as_text(comparison)
    assert comparison.precision == "bfloat16"


def test_a_product_inside_a_fused_step_may_have_rounded_what_was_recorded_in_float32(tmp_path):
    """Its own result is not there to show it: LayerNorm's output is float32, and the activation is what follows."""
    sizes = {"hidden_size": 48, "intermediate_size": 72, "hidden_act": "tanh"}
    recording, _, call = recorded("model", tmp_path / "goldens", **sizes)
    np.savez(tmp_path / "ours.npz", **our_bfloat16(recording, call).trace)
    comparison = golden.compare(recording, tmp_path / "ours.npz", partial=True)
    assert comparison.verdict == "pass", as_text(comparison)
    assert cli.main(["golden", "compare", str(recording.folder), str(tmp_path / "ours.npz"), "--partial"]) == 0
    assert max(one.budget_share for one in comparison.ops if one.op == "activation") < 0.5
    wrong = dict(our_bfloat16(recording, call, hidden_act="silu").trace)
    assert golden.compare(recording, wrong, partial=True).first_bad_op == "encoder.layer.0.activation"


MISTAKES = {
    "encoder.layer.2.activation": {"attributes": {"name": "gelu"}},
    "encoder.layer.1.attention.LayerNorm": {"attributes": {"eps": 1e-5}},
    "encoder.layer.3.attention.context": {
        "inputs": ("encoder.layer.3.attention.probs", "encoder.layer.3.attention.key")
    },
    "encoder.layer.0.attention.scores": {
        "inputs": ("encoder.layer.0.attention.key", "encoder.layer.0.attention.query")
    },
    "encoder.layer.0.ffn": {"inputs": ("encoder.embedding_hidden_mapping_in",)},
    "embeddings.LayerNorm": {"attributes": {"eps": 1e-5}},
    "predictions.decoder": {"weights": ("embeddings.word_embeddings.weight", "zeros")},
    "pooler_activation": {"op": "activation", "attributes": {"name": "silu"}},
}


@pytest.mark.parametrize("name", MISTAKES)
def test_the_op_with_a_mistake_is_named_and_no_other_is_bad(name, reference):
    steps = changed(reference, name, **MISTAKES[name])
    reference.weights["zeros"] = np.zeros(reference.config.vocab_size)
    comparison = golden.compare(reference, plain(reference, steps))
    assert comparison.verdict in ("fail", "suspicious")
    assert comparison.first_bad_op == name
    assert [one.name for one in comparison.ops if one.bad] == [name]
    assert comparison[name].local > 10 * comparison[name].inherited


def test_a_residual_mistake_belongs_to_its_sum_or_without_it_to_the_layer_norm_behind(reference):
    name = "encoder.layer.1.attention.sum"
    steps = changed(reference, name, inputs=("encoder.layer.1.attention.dense",))
    candidate = plain(reference, steps)
    assert golden.compare(reference, candidate).first_bad_op == name
    without = {key: x for key, x in candidate.items() if not (key.startswith("encoder") and key.endswith(".sum"))}
    comparison = golden.compare(reference, without)
    assert comparison.first_bad_op == "encoder.layer.1.attention.LayerNorm"
    assert not comparison.problems


def test_errors_behind_the_first_are_inherited(reference):
    name = "encoder.layer.1.activation"
    comparison = golden.compare(reference, plain(reference, changed(reference, name, attributes={"name": "relu"})))
    later = comparison["encoder.layer.3.full_layer_layer_norm"]
    assert later.inherited > 1e4 * later.local
    assert later.verdict == "pass"


def test_optional_tensors_are_judged_where_they_are(reference):
    candidate = plain(reference, beside=True)
    right = golden.compare(reference, candidate)
    assert right.verdict == "pass", as_text(right)
    assert {one.op for one in right.ops} >= {"heads", "mean", "variance", "masked_scores"}
    beside = [one.name for one in reference.steps if one.beside and one.application == 2]
    assert len(beside) == 8
    for name in beside:
        wrong = candidate[name] + np.float32(0.5)
        assert golden.compare(reference, candidate | {name: wrong}).first_bad_op == name


# --- what is no matter of rounding -----------------------------------------------------------------------------------------


def problems(comparison):
    return {(one.kind, one.name) for one in comparison.problems}


def test_missing_extra_and_misshapen_tensors_are_failures_with_their_own_words(reference):
    candidate = plain(reference)
    ffn = "encoder.layer.2.ffn"
    less = {key: x for key, x in candidate.items() if key != ffn}
    comparison = golden.compare(reference, less)
    assert (comparison.verdict, comparison.first_bad_op) == ("fail", None)
    assert problems(comparison) == {("missing", ffn)}
    assert golden.compare(reference, less, partial=True).verdict == "pass"
    comparison = golden.compare(reference, candidate | {"encoder.layer.9.ffn": candidate[ffn]})
    assert (comparison.verdict, problems(comparison)) == ("fail", {("extra", "encoder.layer.9.ffn")})
    comparison = golden.compare(reference, candidate | {ffn: candidate[ffn][:, :-1]})
    assert (comparison.verdict, comparison.first_bad_op) == ("fail", ffn)
    assert problems(comparison) == {("shape", ffn)}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_op_that_makes_the_first_nan_is_named(value, reference):
    candidate = plain(reference)
    name = "encoder.layer.1.attention.dense"
    candidate[name] = candidate[name].copy()
    candidate[name][0, 0, 0] = value
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        comparison = golden.compare(reference, candidate)
    assert (comparison.verdict, comparison.first_bad_op) == ("fail", name)
    json.dumps(comparison.as_dict(), allow_nan=False)


def test_a_constant_tensor_fails(reference):
    candidate = plain(reference)
    name = "encoder.layer.0.ffn"
    candidate[name] = np.full_like(candidate[name], candidate[name].mean())
    result = golden.compare(reference, candidate)[name]
    assert (result.verdict, result.reason) == ("fail", "every element is the same")


def test_other_inputs_are_said(reference):
    ids = reference.call["input_ids"].copy()
    ids[0, 0] += 1
    comparison = golden.compare(reference, plain(reference) | {"input_ids": ids})
    assert problems(comparison) == {("input", "input_ids")}


def test_what_cannot_be_compared_is_refused(reference, tmp_path):
    assert "give a name map" in refusal(golden.compare, reference, {"x": np.zeros(3)})
    candidate, _, _ = recorded("model", tmp_path / "one")
    model = albert_np.AlbertModel.from_pretrained(candidate.folder / "model", backend="numpy")
    candidate = golden.record(model, dict(candidate.call), tmp_path / "two", truth=False)
    assert "a candidate: the reference is recorded without" in refusal(golden.compare, candidate, candidate)


# --- parts ---------------------------------------------------------------------------------------------------------------


def test_layers_alone_are_enough_to_find_the_layer(reference):
    steps = changed(reference, "encoder.layer.2.attention.LayerNorm", attributes={"eps": 1e-2})
    candidate = plain(reference, steps)
    layers = {key: x for key, x in candidate.items() if key.endswith("full_layer_layer_norm")}
    comparison = golden.compare(reference, layers, partial=True)
    assert comparison.first_bad_op == "encoder.layer.2.full_layer_layer_norm"
    assert comparison.span[0] == "encoder.layer.2.attention.query"
    assert "encoder.layer.2.attention.LayerNorm" in comparison.span
    assert golden.compare(reference, {key: plain(reference)[key] for key in layers}, partial=True).verdict == "pass"


def test_final_outputs_alone_are_judged_too(reference):
    right = plain(reference)
    outputs = {"prediction_logits": right["predictions.decoder"], "sop_logits": right["sop_classifier.classifier"]}
    assert golden.compare(reference, outputs, partial=True).verdict == "pass"
    wrong = plain(reference, changed(reference, "encoder.layer.0.activation", attributes={"name": "relu"}))
    outputs["prediction_logits"] = wrong["predictions.decoder"]
    comparison = golden.compare(reference, outputs, partial=True)
    assert comparison.first_bad_op == "predictions.decoder"
    assert len(comparison.span) > 40
    said = comparison.as_dict()
    assert said["span"] == ["embeddings.sum", "predictions.decoder"]
    assert said["span_ops"][-1] == said["first_bad_op"]


def test_scores_with_the_mask_added_are_recognised(reference):
    for covered in (-1e4, -np.inf, np.finfo(np.float32).min):
        candidate = plain(reference)
        for name in [key for key in candidate if key.endswith(".scores")]:
            allowed = np.broadcast_to(reference.batch["allowed"], candidate[name].shape)
            candidate[name] = np.where(allowed, candidate[name], np.float32(covered))
        comparison = golden.compare(reference, candidate)
        assert comparison.verdict == "pass", as_text(comparison)
        assert any("has the mask added already" in note for note in comparison.notes)


def test_padding_can_be_ignored(reference):
    candidate = plain(reference)
    real = reference.call["attention_mask"].astype(bool)
    assert not real.all()
    for name, x in candidate.items():
        if x.ndim == 3 and x.shape[:2] == real.shape:
            candidate[name] = np.where(real[..., None], x, np.float32(7))
        elif x.ndim == 4:
            candidate[name] = np.where(real[:, None, :, None] & real[:, None, None, :], x, np.float32(7))
    assert golden.compare(reference, candidate).verdict == "fail"
    comparison = golden.compare(reference, candidate, ignore_padding=True)
    assert comparison.verdict == "pass", as_text(comparison)


# --- precision -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_half_precision_is_found_from_the_values(name, reference):
    weights = {key: rounded(x, name) for key, x in reference.weights.items()}
    values = {}

    for one in reference.steps:
        arrays = [values.get(x, reference.batch.get(x)) for x in one.inputs] + [weights[x] for x in one.weights]
        values[one.name] = rounded(getattr(Exact(), one.op)(*arrays, **one.attributes), name)
    candidate = {key: values[key].astype(np.float32) for key in plain(reference)}
    comparison = golden.compare(reference, candidate)
    assert comparison.precision == name
    assert comparison.verdict == "pass", as_text(comparison)
    forced = golden.compare(reference, candidate, precision="float32")
    assert forced.verdict == "fail"


@pytest.mark.parametrize("name", ["tf32", "bfloat16"])
def test_rounded_operands_are_found_from_the_products(name, reference):
    class Narrow(Exact):
        def linear(self, x, weight, bias, **how):
            return super().linear(rounded(x, name), rounded(weight, name), bias, **how).astype(np.float32)

    given = {key: x.astype(np.float32) if x.dtype.kind == "f" else x for key, x in reference.batch.items()}
    weights = {key: x.astype(np.float32) for key, x in reference.weights.items()}
    values = run(reference.steps, given, weights, Narrow())
    candidate = {key: values[key].astype(np.float32) for key in plain(reference)}
    comparison = golden.compare(reference, candidate)
    assert comparison.precision == name
    assert comparison.verdict == "pass", as_text(comparison)


# --- the command ---------------------------------------------------------------------------------------------------------


def test_the_command_says_it_in_text_json_and_junit(reference, tmp_path, capsys):
    name = "encoder.layer.1.activation"
    np.savez(tmp_path / "right.npz", **plain(reference))
    np.savez(tmp_path / "wrong.npz", **plain(reference, changed(reference, name, attributes={"name": "gelu"})))
    folder = str(reference.folder)
    assert cli.main(["golden", "compare", folder, str(tmp_path / "right.npz")]) == 0
    assert capsys.readouterr().out.startswith("PASS: no op is wrong")
    junit = tmp_path / "junit.xml"
    assert cli.main(["golden", "compare", folder, str(tmp_path / "wrong.npz"), "--json", "--junit", str(junit)]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["first_bad_op"] == name
    assert found["verdict"] in ("fail", "suspicious")
    one = next(x for x in found["ops"] if x["name"] == name)
    assert {"name", "application", "local", "inherited", "budget_share"} <= set(one)
    assert one["application"] == 1
    suite = ElementTree.parse(junit).getroot()
    assert [case.get("name") for case in suite if case.find("failure") is not None] == [name]
    assert cli.main(["golden", "compare", folder, str(tmp_path / "nothing.npz")]) == 2
    assert "nothing.npz" in capsys.readouterr().err
    assert cli.main(["golden", "compare", str(tmp_path), str(tmp_path / "right.npz")]) == 2


def test_text_and_junit_of_problems(reference):
    candidate = plain(reference)
    del candidate["encoder.layer.2.ffn"]
    comparison = golden.compare(reference, candidate)
    assert "missing: encoder.layer.2.ffn" in as_text(comparison)
    assert 'type="missing"' in as_junit(comparison)


# --- beside a twin -------------------------------------------------------------------------------------------------------


def test_a_twin_tells_what_the_precision_costs_from_what_is_broken(reference, tmp_path, capsys):
    twin = golden.emulate(reference.model(), "bfloat16", stepwise=True)
    candidate = {name: x for name, x in twin.run(dict(reference.call)).items() if name in plain(reference)}
    comparison = golden.compare(reference, candidate, twin=True)
    assert comparison.verdict == "pass"
    assert "broken" not in {one.three_way for one in comparison.ops}
    assert comparison["predictions.decoder"].three_way == "expected"
    wrong = dict(candidate)
    wrong["predictions.decoder"] = candidate["predictions.decoder"] + np.float32(0.5)
    np.savez(tmp_path / "wrong.npz", **wrong)
    assert cli.main(["golden", "compare", str(reference.folder), str(tmp_path / "wrong.npz"), "--twin"]) == 1
    said = capsys.readouterr().out
    assert "at the end" in said
    assert "1 broken" in said
    assert golden.compare(reference, wrong, twin=True)["predictions.decoder"].three_way == "broken"


# --- exact numbers -------------------------------------------------------------------------------------------------------


def test_a_recording_of_exact_numbers_is_compared_to_the_bit(tmp_path):
    from albert_np.golden.models.exact_model import save_exact

    save_exact(tmp_path / "model")
    model = albert_np.AlbertForPreTraining.from_pretrained(tmp_path / "model", backend="numpy", dtype="float64")
    with np.load(tmp_path / "model" / "inputs.npz") as file:
        recording = golden.record(model, dict(file), tmp_path / "goldens")
    assert recording.manifest["exact"]
    candidate = plain(recording)
    assert golden.compare(recording, candidate).verdict == "pass"
    name = "encoder.layer.1.ffn_output"
    candidate[name] = candidate[name].copy()
    candidate[name][0, 0, 0] = np.nextafter(candidate[name][0, 0, 0], np.float32(100))
    comparison = golden.compare(recording, candidate)
    assert (comparison.verdict, comparison.first_bad_op) == ("fail", name)
    assert not recorded("model", tmp_path / "other")[0].manifest["exact"]


class Mixed(Exact):
    """Products of operands that are rounded to bfloat16, and all else in float32: the bias, the tables, and the results."""

    def linear(self, x, weight, bias, *, first_token=False):
        x, weight = rounded(x, "bfloat16"), rounded(weight, "bfloat16")
        return super().linear(x, weight, bias, first_token=first_token).astype(np.float32)


def test_a_program_that_rounds_only_the_factors_of_its_products_passes(reference):
    """OpenVINO does in bfloat16; and PyTorch's autocast keeps the tables of embeddings in float32."""
    steps = [one for one in reference.steps if not one.beside]
    found = run(steps, reference.batch, reference.weights, Mixed())
    comparison = golden.compare(
        reference, {name: x.astype(np.float32) for name, x in found.items()}, precision="bfloat16"
    )
    assert comparison.passed, as_text(comparison)
    assert comparison["embeddings.word_embeddings"].local < 1e-6
    assert comparison["predictions.decoder"].local < 1e-4  # the bias was found not to be rounded


def test_a_residual_sum_may_be_made_of_a_product_that_was_not_rounded_yet(reference):
    """The epilogue of a product: in float32 the sum of the unrounded dense output and the residual, where both cancel."""
    candidate, a = plain(reference), "encoder.layer.1."
    x, weights = candidate["encoder.layer.0.full_layer_layer_norm"].astype(np.float64), reference.weights
    layer = next(one.weights[0] for one in reference.steps if one.name == f"{a}attention.dense").rpartition(".")[0]
    wide = (
        candidate[f"{a}attention.context"].astype(np.float64) @ weights[f"{layer}.weight"].T + weights[f"{layer}.bias"]
    )
    candidate[f"{a}attention.dense"] = wide.astype(np.float32)
    candidate[f"{a}attention.sum"] = (x + wide).astype(np.float32)
    assert golden.compare(reference, candidate, partial=True)[f"{a}attention.sum"].verdict == "pass"
    candidate[f"{a}attention.sum"] = (x + 0.9999 * wide).astype(np.float32)
    assert golden.compare(reference, candidate, partial=True)[f"{a}attention.sum"].verdict == "fail"


@pytest.mark.parametrize("fused", [True, False])
def test_the_terms_of_a_sum_that_was_not_recorded_count_where_they_cancel(fused):
    """A sum that cancels, in float16: a fused LayerNorm reads terms that were not rounded yet."""
    rng = np.random.default_rng(0)
    wide = rng.standard_normal((40, 64))
    wide[:, 7] = 50 + rng.standard_normal(40)
    residual = rounded(rng.standard_normal((40, 64)), "float16")
    residual[:, 7] = rounded(-wide[:, 7] + rng.standard_normal(40) / 50, "float16")
    dense, one, zero = rounded(wide, "float16"), np.ones(64), np.zeros(64)
    truth = Exact().layer_norm(residual + dense, one, zero, eps=1e-12)
    got = rounded(Exact().layer_norm(residual + wide, one, zero, eps=1e-12), "float16")
    terms = {"terms": [residual, dense]} if fused else {}
    allowed = Budgets(precision("float16")).layer_norm(residual + dense, one, zero, eps=1e-12, **terms)
    assert (judge(got - truth, allowed).verdict == "pass") == fused


def test_ignored_padding_does_not_choose_the_operands_that_a_program_rounded(reference):
    """Autocast: LayerNorm hands out float32, and the next product rounds it to bfloat16; padded rows hold anything."""
    candidate, weights = plain(reference), reference.weights
    x, n = candidate["embeddings.LayerNorm"], "encoder.embedding_hidden_mapping_in"
    weight, bias = (rounded(weights[f"{n}.{kind}"], "bfloat16") for kind in ("weight", "bias"))
    y = rounded(rounded(x.astype(np.float64), "bfloat16") @ weight.T + bias, "bfloat16")
    real = reference.batch["allowed"][:, 0, 0]
    assert not real.all()
    y[~real] = 99
    few = {"embeddings.LayerNorm": x, n: y}
    found = golden.compare(reference, few, partial=True, precision="bfloat16", ignore_padding=True)
    assert found[n].verdict == "pass", as_text(found)


def test_numbers_that_are_rounded_to_the_same_one_are_no_constant_tensor(tmp_path):
    """Logits that differ by less than a rounding are all equal in a correct program."""
    _, model, call = recorded("sequence_single", tmp_path / "first")
    tensors = {name: x.copy() for name, x in model._tensors.items()}
    tensors["classifier.weight"] *= np.float32(1e-10)
    tensors["classifier.bias"][:] = 1
    model = albert_np.AlbertForSequenceClassification(model.config, tensors=tensors)
    recording = golden.record(model, call, tmp_path / "goldens")
    candidate = plain(recording)
    assert np.ptp(candidate["classifier"]) == 0 < np.ptp(recording["classifier"])
    comparison = golden.compare(recording, candidate)
    assert comparison.passed, as_text(comparison)


def test_the_pooler_reads_its_first_token_where_padding_is_ignored(tmp_path):
    """A sequence with nothing to attend to, or one that is padded on the left, is pooled all the same."""
    recording, _, _ = recorded("model_nothing_to_attend", tmp_path / "goldens")
    assert not recording.call["attention_mask"][:, 0].all()
    comparison = golden.compare(recording, plain(recording), ignore_padding=True)
    assert comparison.passed, as_text(comparison)


def test_large_scores_of_16_bits_may_have_been_far_from_what_was_recorded():
    """bfloat16 has one number in 4 around 1000: fused attention has scores between them."""
    rng = np.random.default_rng(1)
    wide = 1000 + 30 * rng.standard_normal((2, 3, 12, 12))
    scores, allowed = rounded(wide, "bfloat16"), np.ones((2, 1, 1, 12), bool)
    error = rounded(Exact().probs(wide, allowed), "bfloat16") - Exact().probs(scores, allowed)
    assert judge(error, Budgets(precision("bfloat16")).probs(scores, allowed)).verdict == "pass"


@pytest.mark.parametrize("broken", ["few tensors", "no shapes", "no inputs", "other inputs"])
def test_a_recording_that_is_broken_is_refused_in_one_line(broken, tmp_path):
    recording, _, _ = recorded("model", tmp_path / "goldens")
    candidate, manifest = plain(recording), recording.folder / "manifest.json"
    said = json.loads(manifest.read_text())
    if broken == "few tensors":
        said["tensors"] = said["tensors"][:5]
    if broken == "no shapes":
        for entry in said["tensors"]:
            del entry["shape"]
    manifest.write_text(json.dumps(said))
    if broken == "no inputs":
        (recording.folder / "inputs.npz").unlink()
    if broken == "other inputs":
        (recording.folder / "inputs.npz").write_bytes(b"x" * 100)
    with pytest.raises((ValueError, OSError), match="record again"):
        golden.compare(recording.folder, candidate)


def test_the_text_says_what_to_do_next(reference):
    candidate = plain(reference)
    candidate["encoder.layer.1.ffn"] = candidate["encoder.layer.1.ffn"] * np.float32(1.5)
    text = as_text(golden.compare(reference, candidate))
    assert f"golden extract {reference.folder} encoder.layer.1.ffn -o repro" in text
    few = {name: candidate[name] for name in ("encoder.layer.1.attention.query", "encoder.layer.1.ffn")}
    assert "next: record the tensors between" in as_text(golden.compare(reference, few, partial=True))
    one = {"embeddings.sum": candidate["embeddings.sum"]}
    assert "PASS: no op is wrong; 1 tensor inside the budget" in as_text(golden.compare(reference, one, partial=True))


def test_a_recording_with_an_unknown_policy_is_refused(tmp_path):
    recording, _, _ = recorded("model", tmp_path / "goldens")
    manifest = recording.folder / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"mask_mode": "foo"}))
    with pytest.raises(ValueError, match="mask_mode"):
        golden.Recording(recording.folder)
