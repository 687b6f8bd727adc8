"""Amplification: derivatives of every op, gains against noise that is run, what follows from them, and where they end."""

import json
import math
import re

import numpy as np
import pytest

import albert_np
from albert_np import cli, golden
from albert_np.golden.amplifier.dynamics import along, growth
from albert_np.golden.amplifier.injection import deviation, sites
from albert_np.golden.amplifier.tangents import pull, push
from albert_np.golden.arithmetic import Exact
from albert_np.golden.cases import CASES, PARTS, TINY, batch, trained_like
from albert_np.golden.graph import evaluate, graph, run
from albert_np.golden.models.generator import sized
from albert_np.golden.recording import batch_of
from albert_np.run import Trace


def made(name):
    kind, changes, features = CASES[name]
    config = albert_np.AlbertConfig(**TINY | changes)
    tensors = {key: x.astype(np.float64) for key, x in trained_like(config, PARTS[kind], 3).items()}
    model = getattr(albert_np, kind)(config, backend="numpy", dtype="float64", tensors=tensors)
    return kind, model, batch(config, kind, 5, **features)


def computed(name):
    """A case's steps on the way, the values that they read and have, and the weights."""
    kind, model, call = made(name)
    plain = {key: x for key, x in call.items() if key not in model.labels}
    steps = graph(model.config, kind, embeds="inputs_embeds" in plain, head_mask="head_mask" in plain)
    steps = [one for one in steps if not one.beside]
    known = batch_of(model.config, kind, plain)
    return steps, {**known, **run(steps, known, model._tensors, Exact())}, model._tensors


def changing(step, values):
    """The inputs that may change: numbers, but not masks."""
    return [name for name in step.inputs if values[name].dtype.kind == "f" and not name.startswith("head_mask")]


@pytest.fixture(scope="module")
def tiny():
    _, model, call = made("masked_lm")
    return golden.amplification(model, call, probes=32)


# --- derivatives ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_changes_go_through_every_op_as_central_differences_say(name):
    steps, values, weights = computed(name)
    rng, h = np.random.default_rng(1), 1e-6
    seen = set()
    for one in steps:
        inputs = changing(one, values)
        if not inputs or (one.op, one.attributes.get("name")) in seen:
            continue
        seen.add((one.op, one.attributes.get("name")))
        changes = {key: rng.standard_normal((2, *values[key].shape)) for key in inputs}
        pushed = push(one, values, changes, weights)
        for p in range(2):
            up, down = (
                evaluate(
                    one, values | {key: values[key] + sign * h * changes[key][p] for key in inputs}, weights, Exact()
                )
                for sign in (1, -1)
            )
            expected = (up - down) / (2 * h)
            np.testing.assert_allclose(
                pushed[p], expected, rtol=1e-6, atol=1e-7 * np.abs(expected).max(), err_msg=one.name
            )
    assert {op for op, _ in seen} >= {"linear", "layer_norm", "scores", "probs", "context", "activation", "add"}


@pytest.mark.parametrize("name", CASES)
def test_the_way_back_is_the_transpose_of_the_way_forth(name):
    steps, values, weights = computed(name)
    rng = np.random.default_rng(2)
    for one in steps:
        inputs = changing(one, values)
        if not inputs:
            continue
        v = {key: rng.standard_normal((3, *values[key].shape)) for key in inputs}
        c = rng.standard_normal((3, *values[one.name].shape))
        forth, back = push(one, values, v, weights), pull(one, values, c, weights)
        assert set(back) == set(inputs), one.name
        assert all(back[key].shape == v[key].shape for key in inputs), one.name
        sides = np.sum(c * forth), sum(np.sum(back[key] * v[key]) for key in inputs)
        scale = np.linalg.norm(c) * np.linalg.norm(forth)
        assert abs(sides[0] - sides[1]) <= 1e-12 * scale, one.name
        for site in sites(one, values, weights):  # and what is off inside of an op
            d = rng.standard_normal((3, *site.value.shape))
            spread = site.spread(d)
            scale = np.linalg.norm(c) * np.linalg.norm(spread)
            assert abs(np.sum(c * spread) - np.sum(site.collect(c) * d)) <= 1e-12 * scale, site.key


@pytest.mark.parametrize("name", ["pretraining", "relative_key_query", "question_head_mask", "choice", "tokens"])
def test_the_way_back_through_the_graph_is_that_of_the_gradients(name):
    _, model, call = made(name)
    taps = Trace()
    model.value_and_grad(**call, trace=taps, all_logits=True)
    steps, values, weights = computed(name)
    read = {key for one in steps for key in one.inputs}
    cotangents = {one.name: taps[one.name].reshape(1, *values[one.name].shape) for one in steps if one.name not in read}
    compared = 0
    for one in reversed(steps):
        if one.name not in cotangents:
            continue
        if one.name in taps:
            expected = taps[one.name].reshape(values[one.name].shape)
            np.testing.assert_allclose(cotangents[one.name][0], expected, rtol=1e-9, atol=1e-13, err_msg=one.name)
            compared += 1
        for key, x in pull(one, values, cotangents[one.name], weights).items():
            cotangents[key] = cotangents[key] + x if key in cotangents else x
    assert compared >= len(taps) - 1 > 40


def test_where_the_mask_swallows_all_scores_their_changes_change_nothing():
    steps, values, weights = computed("model_nothing_to_attend")
    one = next(one for one in steps if one.op == "probs")
    v = np.random.default_rng(0).standard_normal((1, *values[one.inputs[0]].shape))
    moved = push(one, values, {one.inputs[0]: v}, weights)[0]
    assert not moved[0].any()
    assert moved[1].any()
    assert not pull(one, values, v, weights)[one.inputs[0]][0, 0].any()


@pytest.mark.parametrize("name", ["masked_lm", "relative_key_query", "sequence_regression"])
def test_an_error_inside_an_op_moves_its_result_as_the_op_written_out_says(name):
    steps, values, weights = computed(name)
    h, seen = 1e-6, set()
    for one in steps:
        x = values[one.inputs[0]] if changing(one, values) else None
        for site in sites(one, values, weights):
            if not site.function:
                continue
            seen.add(site.function)
            d = np.random.default_rng(3).standard_normal(site.value.shape)
            off = site.value + h * d
            if site.function == "rsqrt":
                weight, bias = (weights[key] for key in one.weights)
                y = (x - x.mean(-1, keepdims=True)) * off * weight + bias
            elif site.function == "exp":
                factors = values[one.inputs[2]][:, None, None] if len(one.inputs) > 2 else 1.0
                y = off / off.sum(-1, keepdims=True) * factors
            else:
                y = 0.5 * x * (1 + off) if one.attributes.get("name") == "gelu_new" else off
            expected = (y - values[one.name]) / h
            np.testing.assert_allclose(site.spread(d), expected, atol=1e-4 * np.abs(expected).max(), err_msg=site.key)
    assert seen == {"rsqrt", "exp", "tanh"}


# --- gains ----------------------------------------------------------------------------------------------------------------


def test_a_gain_is_the_norm_of_the_jacobian_times_the_deviations():
    _, model, call = made("sequence_single")
    amp = golden.amplification(model, call, precision="float16")
    step = next(one for one in amp.way if one.name == "encoder.layer.2.attention.key")
    x = amp.values[step.name]
    changes = {step.name: np.eye(x.size).reshape(x.size, *x.shape) * deviation(x, "float16")}
    for one in amp.way[amp.way.index(step) + 1 :]:
        change = push(one, amp.values, changes, amp.weights)
        if change is not None:
            changes[one.name] = change
    expected = math.sqrt(np.sum(changes["classifier"] ** 2) / amp.values["classifier"].size)
    (gain,) = amp.matching(step.name)
    assert amp.values["classifier"].size <= amp.probes  # each output is a probe of its own, so nothing is estimated
    assert gain.rms["logits"] == pytest.approx(expected, rel=1e-10)


def ratios(amp, output, step=1):
    """Predicted over measured error, of one unit at each place that the output depends on.

    Where one direction has the whole error, its mean square is that of one normal number in each run: it takes many.
    """
    found = []
    for gain in amp.gains[::step]:
        if gain.rms[output]:
            draws = math.ceil(max(gain.spread[output], 0.1) / 0.12)
            found.append(gain.rms[output] / amp.measure({gain.key: 1.0}, output=output, draws=draws).rms)
    return np.array(found)


def said(unit, r):
    return (
        f"{unit}: {len(r)} places, predicted/measured min {r.min():.3f}, median {np.median(r):.3f}, max {r.max():.3f}"
    )


@pytest.mark.parametrize("unit", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["masked_lm", "relative_key_query", "model"])
def test_noise_at_any_place_ends_as_large_as_predicted_in_tiny_models(name, unit):
    _, model, call = made(name)
    amp = golden.amplification(model, call, precision=unit, probes=32)
    for output in amp.outputs:
        r = ratios(amp, output)
        assert len(r) >= 70
        assert 0.5 <= r.min() <= r.max() <= 2, (output, said(unit, r))


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["float32", "bfloat16"])
def test_noise_at_any_place_ends_as_large_as_predicted_in_the_embedded_model(unit):
    model = albert_np.AlbertForPreTraining.from_pretrained("demo", backend="numpy", dtype="float64")
    tokenizer = albert_np.AlbertTokenizer.from_pretrained("demo")
    call = tokenizer("The city lies on a river.", "It has many people.", return_tensors="np")
    amp = golden.amplification(model, call, precision=unit, probes=32)
    for output in amp.outputs:
        r = ratios(amp, output)
        print(output, said(unit, r))
        assert 0.5 <= r.min() <= r.max() <= 2, (output, said(unit, r))


@pytest.mark.slow
@pytest.mark.parametrize(("unit", "step"), [("bfloat16", 1), ("float32", 4)])
def test_noise_at_any_place_ends_as_large_as_predicted_in_a_synthetic_albert_large(unit, step, tmp_path):
    config = sized("large")
    golden.save_synthetic(tmp_path, config, 1, "AlbertModel")
    model = albert_np.AlbertModel.from_pretrained(tmp_path, backend="numpy", dtype="float64")
    call = golden.inputs("text", config, batch=1, length=8)
    amp = golden.amplification(model, call, precision=unit, probes=32)
    r = ratios(amp, "last_hidden_state", step=step)
    print(said(unit, r))
    assert 0.5 <= r.min() <= r.max() <= 2, said(unit, r)


def test_the_same_error_in_each_application_adds_up_as_measured(tiny):
    for name in ("encoder.layer.*.full_layer_layer_norm", "layer_norm", "tanh", "all"):
        predicted = tiny.predict({name: 0.2}, repeated=True)
        measured = tiny.measure({name: 0.2}, repeated=True, draws=12)
        assert not predicted.measured
        assert predicted.rms == pytest.approx(measured.rms, rel=0.3), name
    alone = tiny.predict({"encoder.layer.1.ffn": 0.2}, repeated=True)
    assert alone.rms == pytest.approx(tiny.predict({"encoder.layer.1.ffn": 0.2}).rms)


def test_errors_of_different_places_add_in_squares_and_scale_with_their_size(tiny):
    one, other = tiny.predict({"encoder.layer.0.ffn": 0.3}), tiny.predict({"encoder.layer.2.attention.probs": 2.0})
    both = tiny.predict({"encoder.layer.0.ffn": 0.3, "encoder.layer.2.attention.probs": 2.0})
    assert both.rms == pytest.approx(math.hypot(one.rms, other.rms))
    assert tiny.predict({"encoder.layer.0.ffn": 0.6}).rms == pytest.approx(2 * one.rms)
    assert tiny.predict({"encoder.layer.0.ffn": 0.0}).pcc == 1
    assert tiny.predict({}).snr == math.inf


def test_units_are_ulps_of_a_format_or_shares_or_plain_numbers():
    _, model, call = made("model")
    amps = {unit: golden.amplification(model, call, precision=unit) for unit in ("float32", "bfloat16", "relative")}
    wide, narrow, relative = (amp.gains for amp in amps.values())
    for a, b, c in zip(wide, narrow, relative, strict=True):
        for output in a.rms:
            assert b.rms[output] == pytest.approx(2**16 * a.rms[output])
            assert 2**-8 * c.rms[output] <= b.rms[output] * (1 + 1e-9) <= 2**-7 * c.rms[output] * (1 + 1e-9)
    with pytest.raises(
        ValueError, match=r"precision must be one of float64, float32, .*, relative, absolute; got 'fp8'"
    ):
        golden.amplification(model, call, precision="fp8")


# --- what follows ---------------------------------------------------------------------------------------------------------


def test_pcc_cosine_and_snr_follow_from_the_error_as_measured(tiny):
    for size in (0.1, 0.5, 1.0):
        predicted, measured = tiny.predict({"all": size}), tiny.measure({"all": size}, draws=12)
        assert (predicted.measured, measured.measured) == (False, True)
        assert 1 - predicted.pcc == pytest.approx(1 - measured.pcc, rel=0.4)
        assert 1 - predicted.cosine == pytest.approx(1 - measured.cosine, rel=0.4)
        assert predicted.snr == pytest.approx(measured.snr, abs=2)


@pytest.mark.parametrize("name", ["tanh", "activation", "layer_norm", "all"])
def test_what_is_allowed_gives_that_pcc(tiny, name):
    for repeated in (False, True):
        ulps = tiny.allowed(name, 0.99, repeated=repeated)
        assert tiny.measure({name: ulps}, repeated=repeated, draws=16).pcc == pytest.approx(0.99, abs=0.006)
    assert tiny.allowed(name, 0.999) < tiny.allowed(name, 0.99) < tiny.allowed(name, 0.9)


def test_what_does_not_reach_an_output_may_be_off_without_limit():
    _, model, call = made("model")
    amp = golden.amplification(model, call)
    assert amp.allowed("pooler", output="last_hidden_state") == math.inf
    assert amp.allowed("pooler", output="pooler_output") < 100


def test_errors_that_are_not_small_are_run_and_not_extrapolated(tiny):
    errors = {"encoder.layer.0.attention.LayerNorm": 40000.0}
    found, untrusted = tiny.predict(errors), tiny.predict(errors, measure=False)
    assert (found.measured, untrusted.measured) == (True, False)
    assert re.fullmatch(r"the error of encoder.layer.0.attention.LayerNorm itself is \d+% of the values", found.why)
    assert untrusted.why == found.why
    spread = np.std(tiny.of(tiny.values, "logits"))
    assert found.rms < 2 * spread < untrusted.rms  # the derivative does not know that values end
    together = tiny.predict({"all": 18.0}, output="last_hidden_state")
    assert together.measured
    assert "the predicted error of last_hidden_state is" in together.why


def test_a_pcc_that_only_large_errors_have_is_found_by_running_them(tiny):
    ulps = tiny.allowed("all", 0.5)
    assert tiny.predict({"all": ulps}).measured
    assert tiny.predict({"all": ulps}).pcc == pytest.approx(0.5, abs=0.08)


def test_refusals(tiny):
    with pytest.raises(ValueError, match=r"an error is of one of all, gather, .*, or of a step; got 'gelu'"):
        tiny.predict({"gelu": 1.0})
    with pytest.raises(ValueError, match=r"an error is a finite number ≥ 0; got all nan"):
        tiny.predict({"all": math.nan})
    with pytest.raises(ValueError, match=r"output must be one of logits, last_hidden_state; got 'pooled'"):
        tiny.predict({"all": 1.0}, output="pooled")
    with pytest.raises(ValueError, match=r"pcc must lie between 0 and 1; got 1"):
        tiny.allowed("all", 1)
    with pytest.raises(ValueError, match=r"repeated errors of .* must be in one of its applications, or equal in all"):
        tiny.predict({"encoder.layer.0.ffn": 1.0, "encoder.layer.1.ffn": 1.0}, repeated=True)
    _, model, call = made("masked_lm")
    with pytest.raises(ValueError, match=r"amplification takes one of the model classes; got dict"):
        golden.amplification({}, call)
    with pytest.raises(ValueError, match=r"probes must be 1 or more; got 0"):
        golden.amplification(model, call, probes=0)
    model._tensors["embeddings.word_embeddings.weight"][:] = np.nan
    with pytest.raises(ValueError, match=r"finite values; logits of this model has NaN or infinity"):
        golden.amplification(model, call)


# --- the layer as a dynamical system --------------------------------------------------------------------------------------


def test_growth_is_that_of_a_small_change_of_the_state():
    _, model, call = made("model")
    amp = golden.amplification(model, call)
    grown = growth(amp, probes=16)
    assert [one.application for one in grown] == [0, 1, 2, 3]
    assert grown[-1].exponent == pytest.approx(np.mean([math.log(one.followed) for one in grown]))
    state = amp.values["encoder.embedding_hidden_mapping_in"]
    rng, h, found = np.random.default_rng(0), 1e-7, []
    for _ in range(16):
        d = rng.standard_normal(state.shape)
        moved = {**amp.values, "encoder.embedding_hidden_mapping_in": state + h * d}
        later = run([one for one in amp.way if one.application is not None], moved, amp.weights, Exact())
        name = "encoder.layer.3.full_layer_layer_norm"
        end = amp.values[name]
        found.append(np.mean(((later[name] - end) / h) ** 2) / np.mean(end**2) / (np.mean(d**2) / np.mean(state**2)))
    assert math.exp(4 * grown[-1].exponent) == pytest.approx(math.sqrt(np.mean(found)), rel=0.3)


def test_one_shared_layer_may_be_applied_more_often_than_the_model_does():
    _, model, call = made("model")
    amp = golden.amplification(model, call)
    longer = growth(amp, 12)
    assert longer[:4] == growth(amp)
    assert len(longer) == 12
    _, model, call = made("pretraining")
    with pytest.raises(ValueError, match=r"applications must be from 1 to 4 \(or more, .*\); got 5"):
        growth(golden.amplification(model, call), 5)


def test_the_error_along_the_way_is_as_measured_and_ends_where_the_way_back_says():
    _, model, call = made("model")
    amp = golden.amplification(model, call, precision="float16", probes=64)
    states = along(amp, {"all": 1.0}, probes=32, draws=8)
    assert [one.application for one in states] == [0, 1, 2, 3]
    for one in states:
        assert one.predicted == pytest.approx(one.measured, rel=0.3)
        assert 1 - one.pcc == pytest.approx(1 - one.measured_pcc, rel=0.5)
    assert states[-1].predicted == pytest.approx(
        amp.predict({"all": 1.0}, output="last_hidden_state").relative, rel=0.2
    )


# --- the command ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("amplify")
    _, model, call = made("pretraining")
    model.save_pretrained(folder / "model")
    np.savez(folder / "inputs.npz", **call)
    return str(folder / "model"), str(folder / "inputs.npz")


def test_the_command_prints_a_table_and_says_in_words_what_it_means(saved, capsys):
    model, inputs = saved
    assert cli.main(["golden", "amplify", model, "--inputs", inputs, "--output", "last_hidden_state"]) == 0
    out = capsys.readouterr().out
    assert "the error of last_hidden_state, in % of its" in out
    lines = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line}
    assert len(lines["attention.query"]) == 7  # first, middle, last, all, the same in all; units allowed twice
    assert "~" in lines["attention.query"][5]  # too large for derivatives
    assert "~" not in "".join(lines["all"])  # measured
    assert set(lines) >= {"attention.probs:exp", "activation:tanh", "layer_norm", "tanh", "all"}
    assert "If every op is off by 1 ULP of bfloat16 at random" in out
    assert "each application of the layer" in out


def test_the_command_measures_the_rows_that_are_named(saved, capsys):
    model, inputs = saved
    argv = ["golden", "amplify", model, "--inputs", inputs, "--json", "--pcc", "0.9"]
    argv += ["--measure", "attention.query", "layer_norm"]
    assert cli.main(argv) == 0
    found = json.loads(capsys.readouterr().out)
    rows = {row["name"]: row for row in found["parts"] + found["together"]}
    assert {name for name, row in rows.items() if row["measured"]} == {
        "encoder.layer.*.attention.query",
        "layer_norm",
        "all",
    }
    _, same, call = made("pretraining")
    amp = golden.amplification(same, call)
    row = rows["layer_norm"]
    assert row["allowed"] == pytest.approx(amp.allowed(row["name"], 0.9))
    assert amp.measure({row["name"]: row["allowed"]}).pcc == pytest.approx(0.9, abs=0.01)
    assert row["allowed_why"] == ""
    assert rows["encoder.layer.*.attention.key"]["allowed_why"]


def test_the_command_in_json_has_what_the_function_says(saved, capsys):
    model, inputs = saved
    argv = ["golden", "amplify", model, "--inputs", inputs, "--json", "--precision", "float32", "--pcc", "0.9999"]
    assert cli.main(argv) == 0
    found = json.loads(capsys.readouterr().out)
    _, same, call = made("pretraining")
    amp = golden.amplification(same, call, precision="float32")
    assert (found["unit"], found["output"], found["pcc"]) == ("float32", "prediction_logits", 0.9999)
    assert [one["name"] for one in found["gains"]] == [gain.key for gain in amp.gains]
    assert [one["rms"] for one in found["gains"]] == [pytest.approx(gain.rms) for gain in amp.gains]
    whole = {row["name"]: row for row in found["together"]}
    assert whole["tanh"]["allowed"] == pytest.approx(amp.allowed("tanh", 0.9999))
    assert found["predicted"]["pcc"] == pytest.approx(amp.predict({"all": 1.0}).pcc)
    assert len(found["growth"]) == 4
    parts = {row["name"] for row in found["parts"]}
    assert {"encoder.layer.*.activation", "predictions.activation", "embeddings.LayerNorm:rsqrt"} <= parts


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--precision", "int8"], "precision must be one of"),
        (["--measure", "nothing"], "--measure names a row of the table"),
        (["--pcc", "2"], "pcc must lie between 0 and 1"),
        (["--output", "logits"], "output must be one of prediction_logits, sop_logits, last_hidden_state"),
    ],
)
def test_the_command_refuses_with_code_2(saved, capsys, options, message):
    model, inputs = saved
    assert cli.main(["golden", "amplify", model, "--inputs", inputs, *options]) == 2
    assert message in capsys.readouterr().err
