"""Weights from memory: load_state_dict, and from_pretrained and save_pretrained with state_dict=, by the rules of files."""

import numpy as np
import pytest
from support.backends import BACKENDS, runnable
from support.checkpoints import CONFIG, assert_holds, tensors, write
from support.outputs import flat
from support.refusals import refusal
from tolerances import PARITY_FLOAT64

import albert_np
from albert_np import AlbertConfig, AlbertForMaskedLM, AlbertForSequenceClassification, AlbertModel
from albert_np.golden.cases import PARTS, TINY, batch
from albert_np.golden.tolerances import assert_close

KINDS = list(PARTS)
IDS = [[2, 7, 3]]


def with_prefix(prefix, arrays):
    return {prefix + name: x for name, x in arrays.items()}


# --- load_state_dict --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_dict_goes_from_one_model_to_another(kind):
    first, second = (getattr(albert_np, kind)(CONFIG, seed=seed) for seed in (1, 2))
    keys = second.load_state_dict(first.state_dict())
    assert keys == ([], [])
    assert (keys.missing_keys, keys.unexpected_keys) == ([], [])
    assert_holds(second, first.state_dict())


@pytest.mark.parametrize("backend", BACKENDS, ids=str)
def test_a_model_that_has_run_computes_with_the_new_weights_and_shares_no_memory(backend):
    arrays = tensors("AlbertForMaskedLM")
    model = runnable(backend).model("AlbertForMaskedLM", CONFIG)
    before = model(IDS).logits
    model.load_state_dict(arrays)
    after = model(IDS).logits
    assert not np.array_equal(before, after)
    same = AlbertForMaskedLM.from_pretrained(
        None, config=CONFIG, state_dict=arrays, backend=backend.name, dtype=backend.dtype
    )
    assert np.array_equal(after, same(IDS).logits)
    for x in arrays.values():
        x[...] = 0  # still writeable, although packing made the model's own read-only
    assert np.array_equal(model(IDS).logits, after)


def test_the_encoder_of_a_model_with_a_head_loads_into_the_whole_model():
    arrays = tensors("AlbertForMaskedLM")
    model, whole = AlbertForMaskedLM(CONFIG), AlbertForMaskedLM.from_pretrained(None, config=CONFIG, state_dict=arrays)
    encoder = {name: x for name, x in arrays.items() if name.startswith("albert.")}
    model(IDS)
    assert model.albert.load_state_dict(encoder) == ([], [])
    assert_holds(model, encoder)
    assert np.array_equal(model.albert(IDS).last_hidden_state, whole.albert(IDS).last_hidden_state)
    model.load_state_dict(arrays)
    assert np.array_equal(model(IDS).logits, whole(IDS).logits)


def test_values_are_rounded_to_the_dtype_of_the_model():
    wide = {name: x.astype(np.float64) * (1 + 1e-9) for name, x in tensors("AlbertModel").items()}
    narrow = AlbertModel(CONFIG)
    narrow.load_state_dict(wide)
    assert_holds(narrow, {name: x.astype(np.float32) for name, x in wide.items()})
    half = {name: x.astype(np.float16) for name, x in wide.items()}
    model = AlbertModel(CONFIG, dtype="float64")
    model.load_state_dict(half)
    assert {x.dtype for x in model.state_dict().values()} == {np.dtype(np.float64)}
    assert_holds(model, half)


def test_strict_refuses_what_is_missing_and_unexpected_and_changes_nothing():
    model = AlbertForSequenceClassification(CONFIG, seed=3)
    before = {name: x.copy() for name, x in model.state_dict().items()}
    arrays = tensors("AlbertForSequenceClassification")
    short = {name: x for name, x in arrays.items() if name != "classifier.bias"}
    assert refusal(model.load_state_dict, short) == (
        "state_dict has no classifier.bias; strict=False loads what it can and keeps the rest"
    )
    extra = arrays | {"predictions.bias": np.zeros(3), "ours.extra": np.zeros(1)}
    assert "state_dict holds predictions.bias, ours.extra, which this class does not have" in refusal(
        model.load_state_dict, extra
    )
    assert "has no classifier.bias and holds x, which" in refusal(model.load_state_dict, short | {"x": np.zeros(1)})
    assert_holds(model, before)
    keys = model.load_state_dict(short | {"x": np.zeros(1)}, strict=False)
    assert keys == (["classifier.bias"], ["x"])
    assert_holds(model, short | {"classifier.bias": before["classifier.bias"]})


def test_not_strict_takes_anything_but_a_wrong_shape():
    model = AlbertModel(CONFIG)
    assert model.load_state_dict({}, strict=False).missing_keys == list(dict(model.named_parameters()))
    head = tensors("AlbertForSequenceClassification")
    assert model.load_state_dict(head, strict=False) == ([], ["classifier.weight", "classifier.bias"])
    assert_holds(model, {name.removeprefix("albert."): x for name, x in head.items() if name.startswith("albert.")})
    wrong = {"pooler.bias": np.zeros(3, np.float32)}
    assert refusal(model.load_state_dict, wrong, strict=False) == (
        "state_dict: tensor pooler.bias has the shape (3,), but the config says (24,); is it of a model with this config?"
    )


def test_a_state_dict_inside_another_dict_is_named():
    saved = {"state_dict": tensors("AlbertModel"), "epoch": 3}
    assert refusal(AlbertModel(CONFIG).load_state_dict, saved) == (
        "state_dict: state_dict holds names of its own: give that one, state_dict['state_dict']"
    )


@pytest.mark.parametrize("wrapper", ["", "module.", "_orig_mod.", "student."])
def test_names_are_read_as_in_files(wrapper):
    arrays = tensors("AlbertForMaskedLM")
    old = {name.replace("LayerNorm.weight", "LayerNorm.gamma"): x for name, x in arrays.items()}
    old["predictions.decoder.bias"] = old.pop("predictions.bias")
    model = AlbertForMaskedLM(CONFIG)
    assert model.load_state_dict(with_prefix(wrapper, old)) == ([], [])
    assert_holds(model, arrays)


def test_both_biases_of_a_tied_and_of_an_untied_decoder():
    arrays = tensors("AlbertForMaskedLM")
    both = arrays | {"predictions.decoder.bias": arrays["predictions.bias"] + 1}
    assert "are tied, but differ" in refusal(AlbertForMaskedLM(CONFIG).load_state_dict, both)
    untied = AlbertConfig(**TINY, tie_word_embeddings=False)
    model = AlbertForMaskedLM(untied)
    own = tensors("AlbertForMaskedLM", untied)
    model.load_state_dict(own | {"predictions.decoder.bias": own["predictions.bias"] + 1})
    assert np.array_equal(model.state_dict()["predictions.bias"], own["predictions.bias"] + 1)


@pytest.mark.parametrize(
    ("state_dict", "says"),
    [
        ([], "state_dict must map names to arrays; got list"),
        (None, "state_dict must map names to arrays; got NoneType"),
        ({3: np.zeros(1)}, "the names of a state_dict are str; got 3"),
        ({"epoch": 3}, "state_dict: epoch must be an array; got int"),
        ({"model": {"x": np.zeros(1)}}, "state_dict: model holds names of its own: give that one"),
        ({"pooler.bias": np.zeros(24, int)}, "tensor pooler.bias is int64; weights are read from F32, F16, BF16, F64"),
        ({"pooler.bias": np.full(24, None)}, "tensor pooler.bias is object; weights are read from F32"),
        ({"pooler.bias": np.full(24, np.nan)}, r"tensor pooler.bias holds nan at \[0\]"),
    ],
)
def test_what_is_no_state_dict_is_refused_in_words(state_dict, says):
    model = AlbertModel(CONFIG)
    with pytest.raises(ValueError, match=says):
        model.load_state_dict(state_dict, strict=False)
    if state_dict is not None:
        with pytest.raises(ValueError, match=r"."):
            AlbertModel.from_pretrained(None, config=CONFIG, state_dict=state_dict)


def test_assign_is_refused_and_nan_loads_when_asked():
    model = AlbertModel(CONFIG)
    assert "assign=True would share memory" in refusal(model.load_state_dict, tensors("AlbertModel"), assign=True)
    holes = {"pooler.bias": np.full(24, np.nan)}
    model.load_state_dict(holes, strict=False, check_finite="off")
    assert np.isnan(model.state_dict()["pooler.bias"]).all()
    with pytest.warns(UserWarning, match="pooler.bias holds nan") as caught:
        model.load_state_dict(holes, strict=False, check_finite="warn")
    assert caught[0].filename == __file__


# --- from_pretrained and save_pretrained ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_is_made_of_a_config_and_a_state_dict(tmp_path, kind):
    arrays = tensors(kind)
    model, info = getattr(albert_np, kind).from_pretrained(
        None, config=CONFIG, state_dict=with_prefix("module.", arrays), output_loading_info=True
    )
    assert_holds(model, arrays)
    assert not any(info.values())
    CONFIG.save_pretrained(tmp_path)  # a folder without weights
    for where in (
        {"pretrained_model_name_or_path": tmp_path},
        {"pretrained_model_name_or_path": None, "config": tmp_path},
    ):
        again = getattr(albert_np, kind).from_pretrained(state_dict=arrays, **where)
        assert again.config == CONFIG
        assert_holds(again, arrays)


def test_without_a_name_both_config_and_weights_are_needed():
    for given in ({}, {"config": CONFIG}, {"state_dict": {}}):
        assert refusal(AlbertModel.from_pretrained, None, **given) == (
            "without a name or path, from_pretrained needs both config= and state_dict="
        )
    assert "has no embeddings.word_embeddings.weight" in refusal(
        AlbertModel.from_pretrained, None, config=CONFIG, state_dict={}, missing="init"
    )


def test_a_head_is_drawn_over_a_state_dict_when_asked():
    base = tensors("AlbertModel")
    with pytest.warns(UserWarning, match="state_dict: classifier.weight, classifier.bias drawn from seed 0"):
        model = AlbertForSequenceClassification.from_pretrained(None, config=CONFIG, state_dict=base, missing="init")
    assert_holds(model, with_prefix("albert.", base))


def test_other_weights_are_saved_under_the_names_of_the_model(tmp_path):
    model, other = AlbertForMaskedLM(CONFIG, seed=1), tensors("AlbertForMaskedLM", seed=2)
    before = {name: x.copy() for name, x in model.state_dict().items()}
    model.save_pretrained(tmp_path, state_dict=with_prefix("module.", other))
    assert_holds(AlbertForMaskedLM.from_pretrained(tmp_path), other)
    assert_holds(model, before)
    assert "state_dict has no" in refusal(model.save_pretrained, tmp_path, state_dict={})


# --- torch ------------------------------------------------------------------------------------------------------------


@pytest.mark.parity
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_state_dict_of_a_torch_model_loads(torch, transformers, kind, dtype):
    theirs = getattr(transformers, kind)(transformers.AlbertConfig(**TINY)).to(getattr(torch, dtype)).eval()
    ours = getattr(albert_np, kind)(AlbertConfig(**TINY), dtype="float64")
    assert ours.load_state_dict(theirs.state_dict()) == ([], [])
    assert ours.load_state_dict(dict(theirs.named_parameters())) == ([], [])  # these require gradients
    theirs = theirs.double()
    call = batch(ours.config, kind, seed=2, padding=True)
    with torch.no_grad():
        expected = theirs(**{name: torch.from_numpy(x) for name, x in call.items()})
    out = flat(ours(**call))
    for name, truth in expected.items():
        assert_close(f"{kind} {name}", out[name], truth.numpy(), limit=PARITY_FLOAT64)


@pytest.mark.parity
def test_our_state_dict_loads_into_a_torch_model_and_both_report_the_same_keys(torch, transformers):
    ours = AlbertForMaskedLM(AlbertConfig(**TINY), seed=1)
    theirs = transformers.AlbertForMaskedLM(transformers.AlbertConfig(**TINY))
    arrays = {name: torch.from_numpy(x.copy()) for name, x in ours.state_dict().items()}
    assert theirs.load_state_dict(arrays) == ([], [])
    given = {name: x for name, x in arrays.items() if "dense.bias" not in name} | {"extra": arrays["predictions.bias"]}
    said, expected = (model.load_state_dict(given, strict=False) for model in (ours, theirs))
    assert sorted(said.missing_keys) == sorted(expected.missing_keys)
    assert said.unexpected_keys == expected.unexpected_keys


@pytest.mark.parity
def test_a_torch_tensor_without_values_is_refused(torch):
    for x in (torch.zeros(24, device="meta"), torch.zeros(24).to_sparse()):
        message = refusal(AlbertModel(CONFIG).load_state_dict, {"pooler.bias": x}, strict=False)
        assert message.startswith("state_dict: NumPy makes no array of pooler.bias: ")


def test_a_file_and_a_state_dict_of_the_same_tensors_give_the_same_bits(tmp_path):
    arrays = tensors("AlbertForMaskedLM")
    from_file = AlbertForMaskedLM.from_pretrained(write(tmp_path, arrays))
    assert_holds(AlbertForMaskedLM.from_pretrained(tmp_path, state_dict=arrays), from_file.state_dict())
