"""Recordings: complete, in order, equal to the trace, streamed, checked as they are read; damaged ones are refused."""

import json
import shutil

import numpy as np
import pytest
from support.refusals import refusal

import albert_np
from albert_np import golden
from albert_np.golden import recording as recordings
from albert_np.golden.arithmetic import Exact
from albert_np.golden.cases import CASES, PARTS, TINY, batch, trained_like
from albert_np.golden.graph import evaluate, outputs, run


def made(name, dtype="float32"):
    kind, changes, features = CASES[name]
    config = albert_np.AlbertConfig(**TINY | changes)
    model = getattr(albert_np, kind)(
        config,
        backend="numpy",
        dtype=dtype,
        tensors={k: x.astype(dtype) for k, x in trained_like(config, PARTS[kind], 3).items()},
    )
    return model, batch(config, kind, 5, **features)


def unusable(function):
    """The message of the OSError that a call must raise."""
    with pytest.raises(OSError) as caught:  # noqa: PT011 (the callers read the message)
        function()
    return str(caught.value)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("goldens") / "pretraining"
    model, call = made("pretraining")
    return golden.record(model, call, folder)


@pytest.mark.parametrize("file_format", ["safetensors", "npz"])
@pytest.mark.parametrize("name", CASES)
def test_a_recording_holds_every_step_of_the_graph_in_order(name, file_format, tmp_path):
    model, call = made(name)
    recording = golden.record(model, call, tmp_path / "out", file_format=file_format)
    assert [one.name for one in recording.steps] == list(recording)
    values = run(recording.steps, recording.batch, recording.weights, Exact(), beside=True)
    for key, x in recording.items():
        np.testing.assert_array_equal(values[key], x, err_msg=key, strict=True)
    reference, _ = made(name, "float64")
    plain = {key: x for key, x in call.items() if key not in reference.labels}
    for key, x in reference(**plain, trace=True).trace.items():
        np.testing.assert_array_equal(recording[key], x, err_msg=key, strict=True)


def test_the_model_and_the_inputs_lie_beside_it(recorded):
    model, call = made("pretraining")
    again = albert_np.AlbertForPreTraining.from_pretrained(recorded.folder / "model", backend="numpy", dtype="float32")
    for key, x in model.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[key], x, err_msg=key, strict=True)
    assert {key: x.tolist() for key, x in recorded.call.items()} == {
        key: np.asarray(x).tolist() for key, x in call.items()
    }


def test_the_manifest_says_what_is_what(recorded):
    manifest = json.loads((recorded.folder / "manifest.json").read_text())
    assert (manifest["backend"], manifest["dtype"]) == ("numpy", "float64")
    entry = next(x for x in manifest["tensors"] if x["name"] == "encoder.layer.3.attention.query")
    assert entry["op"] == "linear"
    assert entry["application"] == 3
    assert entry["inputs"] == ["encoder.layer.2.full_layer_layer_norm"]
    assert entry["module"] == "albert.encoder.albert_layer_groups.1.albert_layers.0.attention.query"
    assert entry["weights"] == [
        f"encoder.albert_layer_groups.1.albert_layers.0.attention.query.{x}" for x in ("weight", "bias")
    ]
    assert len(entry["sha256"]) == 64


def test_two_recordings_of_one_call_are_the_same_files(tmp_path):
    model, call = made("model")
    for name in ("one", "two"):
        golden.record(model, call, tmp_path / name)
    files = [
        path.relative_to(tmp_path / "one")
        for path in (tmp_path / "one").rglob("*")
        if path.suffix in (".json", ".safetensors")
    ]
    assert len(files) == 4
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file


def test_no_more_than_a_shard_is_held(tmp_path, monkeypatch):
    monkeypatch.setattr(recordings, "SHARD_BYTES", 20_000)
    held = []
    flush = recordings.Writer._flush
    monkeypatch.setattr(
        recordings.Writer,
        "_flush",
        lambda self: (held.append(sum(x.nbytes for x in self._shard.values())), flush(self))[1],
    )
    model, call = made("model")
    recording = golden.record(model, call, tmp_path / "out")
    assert len({entry["file"] for entry in recording.entries.values()}) > 5
    assert max(held) <= 20_000
    assert all(np.isfinite(x).all() for x in recording.values())


def test_another_backend_is_recorded_as_a_candidate(tmp_path):
    model, call = made("model")
    candidate = golden.record(model, call, tmp_path / "out", truth=False)
    assert candidate.dtype == "float32"
    assert {x.dtype.name for x in candidate.values()} == {"float32"}


def test_a_recording_without_a_folder_goes_with_its_object():
    model, call = made("model")
    recording = golden.record(model, call)
    folder = recording.folder
    assert np.isfinite(recording["pooler"]).all()
    del recording
    assert not folder.exists()


def test_an_older_recording_is_replaced_and_nothing_else_is(tmp_path):
    model, call = made("model")
    golden.record(model, call, tmp_path / "out", file_format="npz")
    golden.record(model, call, tmp_path / "out")
    assert not (tmp_path / "out" / "tensors.npz").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    assert "is no recording: choose a new folder" in unusable(lambda: golden.record(model, call, tmp_path / "mine"))
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_a_recording_that_fails_leaves_nothing_that_looks_like_one(tmp_path):
    model, call = made("model")
    call["input_ids"] = call["input_ids"] + 1000
    assert "is outside" in refusal(golden.record, model, call, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.json"))


def test_damaged_recordings_are_refused_with_what_is_wrong(recorded, tmp_path):
    def damaged(change):
        folder = tmp_path / "copy"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(recorded.folder, folder)
        manifest = json.loads((folder / "manifest.json").read_text())
        change(folder, manifest)
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return lambda: [*golden.Recording(folder).values()]

    def flip(folder, manifest):
        path = folder / "tensors-00001.safetensors"
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)

    assert "its SHA-256 differs" in refusal(damaged(flip))
    assert "outside its folder" in refusal(damaged(lambda f, m: m["tensors"][0].update(file="../x.safetensors")))
    assert "lists nothing and does not hold it" in refusal(
        damaged(lambda f, m: m["tensors"].append(m["tensors"][0] | {"name": "nothing"}))
    )
    assert "format version 9" in refusal(damaged(lambda f, m: m.update(format_version=9)))
    assert "lacks 'architecture'" in refusal(damaged(lambda f, m: m.pop("architecture")))
    assert "its format is not" in refusal(damaged(lambda f, m: m.update(format="other")))
    assert "has no manifest.json" in unusable(lambda: golden.Recording(tmp_path))


# --- the way back --------------------------------------------------------------------------------------------------------

WITH_LOSS = [
    "pretraining",
    "masked_lm",
    "sequence_single",
    "tokens",
    "question_head_mask",
    "choice",
    "relative_key_query",
]


@pytest.mark.parametrize("name", WITH_LOSS)
def test_gradients_are_recorded_for_every_step_and_those_of_shared_weights_by_application(name, tmp_path):
    model, call = made(name, "float64")
    recording = golden.record(model, call, tmp_path / "out", backward=True)
    on_the_way = {one.name for one in recording.steps if not one.beside and one.op != "gather"}
    assert {f"gradient/{step}" for step in on_the_way} <= set(recording)
    loss, gradients = model.value_and_grad(**call)
    assert recording["loss"] == loss
    L, G = model.config.num_hidden_layers, model.config.num_hidden_groups
    for key, whole in gradients.items():
        parts = [x for x in recording if x == f"gradient/{key}" or x.startswith(f"gradient/{key}[")]
        assert len(parts) == (L // G if "albert_layer_groups" in key else 1)
        np.testing.assert_allclose(sum(recording[part] for part in parts), whole, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("name", WITH_LOSS)
def test_the_gradient_of_a_step_says_what_a_small_change_of_it_does(name, tmp_path):
    """Each step's value is moved a little, and all that follows is computed again: the last outputs move as it foretells."""
    model, call = made(name, "float64")
    recording = golden.record(model, call, tmp_path / "out", backward=True)
    rng, steps, table = np.random.default_rng(0), recording.steps, Exact()
    values = dict(recording.batch) | {one.name: recording[one.name] for one in steps}
    last = set(outputs(steps, recording.architecture).values())
    for place, one in enumerate(steps):
        if one.beside or one.op == "gather":
            continue
        direction = rng.standard_normal(values[one.name].shape) * 1e-4 * np.sqrt(np.mean(values[one.name] ** 2))

        def moved(sign, place=place, one=one, direction=direction):
            known = values | {one.name: values[one.name] + sign * direction}
            for later in steps[place + 1 :]:
                if not later.beside:
                    known[later.name] = evaluate(later, known, recording.weights, table)
            return sum(np.sum(recording[f"gradient/{step}"] * known[step]) for step in last)

        measured = (moved(1) - moved(-1)) / 2
        foretold = np.sum(recording[f"gradient/{one.name}"] * direction)
        scale = np.sqrt(np.sum(recording[f"gradient/{one.name}"] ** 2) * np.mean(direction**2))
        assert abs(measured - foretold) <= 1e-4 * scale + 1e-13, one.name


def test_gradients_need_labels_and_the_reference(tmp_path):
    model, call = made("pretraining")
    del call["labels"]
    assert "needs labels and sentence_order_label" in refusal(
        golden.record, model, call, tmp_path / "out", backward=True
    )
    model, call = made("model")
    assert "a head that has a loss" in refusal(golden.record, model, call, tmp_path / "out", backward=True)
