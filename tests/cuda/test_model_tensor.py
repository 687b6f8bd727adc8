"""Whole models whose products run on tensor cores: as wrong as the reference is when it rounds what they round, and no more."""

import pickle
from functools import partial

import numpy as np
import pytest
from support.backends import CUDA, CUDA_TESTS
from support.cuda.models import (
    CONFIG,
    SMALL,
    check_same_bits_alone_and_together,
    check_same_bits_with_a_trace,
    plain_call,
    tiny,
)
from support.cuda.models_tensor import RoundedOps, on_tensor_cores
from support.refusals import refusal
from support.variations import judged

import albert_np.model
from albert_np.golden.cases import PARTS, trained_like
from albert_np.golden.tolerances import assert_float32_rule_in_the_mean
from albert_np.kernels.cuda import device

KEPT = ("output_hidden_states", "output_attentions", "trace")


def check_rule(kind, several, variation, *, changes=None, keeps=True):
    cases = {}
    for name, seed in several:
        config, tensors, call = tiny(name, seed, variation)
        if changes:
            config = config.replace(**changes)
            tensors = trained_like(config, PARTS[name], seed)
        if not keeps:
            call = {key: x for key, x in call.items() if key not in KEPT}
        D = config.hidden_size // config.num_attention_heads
        fused = not call.get("output_attentions") and config.position_embedding_type == "absolute"
        table = partial(RoundedOps, kind, kind == "bfloat16" and fused and D % 8 == 0)
        model = on_tensor_cores(kind, name, config, tensors)
        found = judged(CUDA, model, name, config, tensors, call, table=table)
        cases |= {f"{name} {seed} {key}": case for key, case in found.items()}
    assert len(cases) > 1
    assert_float32_rule_in_the_mean(f"{kind}, {variation}", cases)


WAYS = {  # the ways of attention and padding, each with a class of its own
    "as it comes": "AlbertForPreTraining",
    "a mask of pairs, zeros": "AlbertForMaskedLM",
    "relative_key": "AlbertForTokenClassification",
    "padding skipped": "AlbertForQuestionAnswering",
    "padding skipped, relative": "AlbertForMaskedLM",
    "a head mask of rows": "AlbertForSequenceClassification",
}


CASES = [("bfloat16", variation) for variation in WAYS]
CASES += [("tf32", "as it comes"), ("tf32", "padding skipped"), ("tf32x3", "as it comes")]


@pytest.mark.parametrize(("kind", "variation"), CASES)
def test_no_more_wrong_than_the_rounding_makes_it(kind, variation):
    check_rule(kind, [(WAYS[variation], 9000 + list(WAYS).index(variation))], variation)


SLOW = [("tf32", (18, 3)), ("bfloat16", (18, 3)), ("bfloat16", (12, 1)), ("tf32x3", (16, 2))]


@pytest.mark.parametrize(
    ("kind", "sizes"), [("bfloat16", (16, 2)), *(pytest.param(*x, marks=pytest.mark.slow) for x in SLOW)]
)
def test_a_plain_call(kind, sizes):
    """Nothing kept, so attention is fused: on tensor cores where a head has a multiple of 8 numbers; rows of any length."""
    changes = {"hidden_size": sizes[0], "num_attention_heads": sizes[1], "embedding_size": 6, "intermediate_size": 22}
    several = [("AlbertForPreTraining", 9101), ("AlbertForTokenClassification", 9103)]  # without a head mask
    check_rule(kind, several, "as it comes", changes=changes, keeps=False)


@pytest.mark.parametrize("kind", ["bfloat16", pytest.param("tf32", marks=pytest.mark.slow)])
def test_a_sequence_has_the_same_bits_alone_in_a_batch_and_without_padding(kind):
    config = CONFIG.replace(**SMALL)
    tensors = trained_like(config, PARTS["AlbertForPreTraining"], 0)
    check_same_bits_alone_and_together(on_tensor_cores(kind, "AlbertForPreTraining", config, tensors))


def test_a_traced_call_has_the_bits_of_a_plain_one():
    config = CONFIG.replace(**SMALL | {"num_hidden_layers": 2})
    tensors = trained_like(config, PARTS["AlbertForPreTraining"], 0)
    check_same_bits_with_a_trace(on_tensor_cores("bfloat16", "AlbertForPreTraining", config, tensors))


def test_a_layer_in_bfloat16_is_seven_kernels_too():
    if CUDA_TESTS != "simulator":
        pytest.skip("launches are counted by the simulator")
    config = CONFIG.replace(**SMALL | {"num_hidden_layers": 2})
    model = on_tensor_cores("bfloat16", "AlbertModel", config, trained_like(config, PARTS["AlbertModel"], 0))
    call = plain_call(config, "AlbertModel", 1)
    device.launches.clear()
    model(**call)
    layer = ["tensor_matmul", "tensor_attention", "tensor_matmul", "rounded_layer_norm"]
    layer += ["tensor_matmul", "tensor_matmul", "rounded_layer_norm"]
    names = [name for name, _ in device.launches]
    assert names[:4] == ["embed", "_round_rows", "tensor_matmul", "_round_rows"]
    assert names[4 : 4 + 2 * len(layer)] == 2 * layer


@pytest.mark.parametrize("dtype", [pytest.param("tf32", marks=pytest.mark.slow), "bfloat16"])
def test_what_a_model_says_of_itself(dtype, tmp_path):
    config = CONFIG.replace(**SMALL)
    model = albert_np.model.AlbertModel(config, backend="cuda", dtype=f"torch.{dtype}")
    assert model.precision == dtype
    assert model.dtype == np.float32
    assert f"dtype={dtype!r}" in repr(model)
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again([[3, 4]]).last_hidden_state, model([[3, 4]]).last_hidden_state)
    assert again._engine.ops.kind == dtype
    model.save_pretrained(tmp_path)
    assert albert_np.AlbertConfig.from_pretrained(tmp_path).dtype == "float32"
    loaded = albert_np.model.AlbertModel.from_pretrained(tmp_path, backend="cuda", dtype=dtype)
    assert np.array_equal(loaded([[3, 4]]).last_hidden_state, model([[3, 4]]).last_hidden_state)


@pytest.mark.parametrize("dtype", ["tf32", "bfloat16"])
def test_a_gpu_without_them_is_refused(dtype, monkeypatch):
    monkeypatch.setattr(device, "capability", lambda: (7, 5))
    message = refusal(albert_np.model.AlbertModel, CONFIG, backend="cuda", dtype=dtype)
    assert message == (
        f"dtype {dtype!r} needs a GPU of compute capability 8.0 (A100, RTX 30) or newer; this one has 7.5: "
        "choose dtype='float32'"
    )
