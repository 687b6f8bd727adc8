"""Every backend against the reference in float64, with everything that a call can have on; and what a backend's name means."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from support import needs
from support.backends import BACKENDS, BFLOAT16, CUDA, NUMBA, NUMPY, ON_GPU, PLAIN, runnable
from support.outputs import flat
from support.refusals import refusal
from support.variations import KINDS, TRACED, VARIATIONS, judged, varied

import albert_np
from albert_np import AlbertConfig
from albert_np.backends import choose
from albert_np.golden.cases import PARTS, TINY, batch, random_case, trained_like
from albert_np.golden.tolerances import assert_float32_rule, assert_float32_rule_in_the_mean
from albert_np.run import Wanted, Weights

CONFIG = AlbertConfig(**TINY)


# --- the float32 rule -------------------------------------------------------------------------------------------------


def kind_of(name):
    """What is judged together: a step of all layers, hidden states, attentions, losses; and all that heads compute."""
    words = [part for part in name.split(".") if not part.isdecimal()]
    in_encoder = words[:2] in (["trace", "embeddings"], ["trace", "encoder"])
    return ".".join(words) if in_encoder or words[0] in ("hidden_states", "attentions", "loss") else "heads"


@pytest.mark.parametrize("backend", [NUMBA, ON_GPU], ids=str, indirect=True)
@pytest.mark.parametrize("name", VARIATIONS)
def test_float32_rule(backend, name):
    cases = {}
    for i, kind in enumerate(KINDS * 2):
        seed = 100 * list(VARIATIONS).index(name) + i
        config, tensors, call = varied(kind, seed, name)
        if backend == CUDA and call.get("training"):
            assert refusal(backend.model(kind, config, tensors), **call).startswith(
                "backend 'cuda' computes no dropout"
            )
            continue
        model = backend.model(kind, config, tensors)
        for key, case in judged(backend, model, kind, config, tensors, call).items():
            cases.setdefault(kind_of(key), {})[f"{kind} {seed} {key}"] = case
    assert not cases or len(cases["heads"]) > len(KINDS)
    for what, arrays in cases.items():
        assert_float32_rule_in_the_mean(f"{name}, {what}", arrays)


@pytest.mark.parametrize("backend", [NUMBA, ON_GPU], ids=str, indirect=True)
@pytest.mark.parametrize("size", [(1, 1), (3, 17), (2, 40)])
def test_float32_rule_in_the_sizes_of_the_published_models(backend, size):
    """Two applications of one layer of albert-base, whose sums run over 768 and 3072 numbers."""
    config = AlbertConfig(
        vocab_size=200,
        embedding_size=128,
        hidden_size=768,
        num_attention_heads=12,
        intermediate_size=3072,
        num_hidden_layers=2,
        max_position_embeddings=64,
    )
    tensors = trained_like(config, ("predictions",), 1)
    tokens = np.random.default_rng(size[1]).integers(1, 200, size)
    mask = np.arange(size[1]) < np.linspace(size[1], size[1] / 2, size[0])[:, None]
    call = {"input_ids": tokens, "attention_mask": mask, "output_hidden_states": True}
    model = backend.model("AlbertForMaskedLM", config, tensors)
    for key, case in judged(backend, model, "AlbertForMaskedLM", config, tensors, call).items():
        assert_float32_rule(key, *case)


# --- with a trace and without -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", [*BACKENDS, BFLOAT16, ON_GPU], ids=str, indirect=True)
@pytest.mark.parametrize("name", [name for name, (_, options, _) in VARIATIONS.items() if "training" not in options])
def test_a_traced_call_has_the_bits_of_a_plain_one(backend, name):
    """Whatever is kept: what is traced is what runs."""
    for i, kind in enumerate(KINDS):
        config, tensors, call = varied(kind, 2000 + 100 * list(VARIATIONS).index(name) + i, name)
        model = backend.model(kind, config, tensors)
        call = {key: x for key, x in call.items() if key not in TRACED}
        plain = flat(model(**call))  # nothing kept: where there is one layer, all of them are one program
        more = [{"output_hidden_states": True}]
        if not call.get("skip_padding"):  # which has neither trace nor attentions
            more.append({"output_hidden_states": True, "trace": True})
        if not call.get("skip_padding") and backend is not CUDA:  # there attentions take other kernels
            more += [{"output_attentions": True}, TRACED]
        for options in more:
            kept = flat(model(**call, **options))
            assert all(np.array_equal(x, kept[key], equal_nan=True) for key, x in plain.items()), (kind, options)


@pytest.mark.parametrize("backend", [NUMBA, ON_GPU], ids=str, indirect=True)
def test_a_fused_trace_says_what_it_lacks_and_an_unfused_one_lacks_nothing(backend):
    config, tensors, call = random_case(1, "AlbertForMaskedLM")
    call = {key: x for key, x in call.items() if key not in TRACED}
    model = backend.model("AlbertForMaskedLM", config, tensors)
    reference, fused, unfused = (
        one(**call, trace=how).trace
        for one, how in (
            (NUMPY.model("AlbertForMaskedLM", config, tensors), True),
            (model, True),
            (model, "unfused"),
        )
    )
    assert (reference.backend, reference.dtype, reference.fused, reference.absent) == ("numpy", "float64", False, {})
    assert (fused.backend, fused.dtype, fused.fused) == (backend.name, "float32", True)
    assert set(fused.absent) == set(backend.absent)
    assert list(unfused) == list(reference)
    assert not unfused.fused
    with pytest.raises(KeyError, match=r"encoder.layer.0.ffn: .*trace='unfused' computes it"):
        fused["encoder.layer.0.ffn"]
    with pytest.raises(KeyError, match="no such step"):
        fused["no such step"]
    assert refusal(model, **call, trace="some").startswith(
        "trace must be True, False, 'unfused' or a Trace; got 'some'"
    )


@pytest.mark.cuda
def test_the_gpu_refuses_what_it_has_no_kernels_for():
    """Nothing goes to the host in silence."""
    try:
        engine = choose.make("cuda", Weights(), CONFIG, "float32")
    except ImportError as error:
        needs.missing("cuda-compiler", f"numba-cuda does not load here: {error}")
    with pytest.raises(ValueError, match="backend 'cuda' computes no gradients: choose backend='numba'"):
        engine.loss_and_gradients(None, None, None)
    with pytest.raises(ValueError, match="backend 'cuda' computes no dropout"):
        engine.forward(None, None, Wanted(rng=np.random.default_rng(0)))


# --- batches, memory --------------------------------------------------------------------------------------------------


def part_of(call, some):
    return {name: x[some] if isinstance(x, np.ndarray) else x for name, x in call.items()}


@pytest.mark.parametrize("backend", [*BACKENDS, BFLOAT16, ON_GPU], ids=str, indirect=True)
@pytest.mark.parametrize("skip_padding", [False, True])
def test_a_sequence_among_thousands_of_tokens_is_what_it_is_among_few(backend, skip_padding):
    """More rows than the CPU's engine takes at once, in sequences of every length, cut at no place in particular."""
    B, T = 130, 17
    config = CONFIG.replace(position_embedding_type="relative_key_query" if skip_padding else "absolute")
    model = backend.model("AlbertForPreTraining", config, trained_like(config, PARTS["AlbertForPreTraining"], 4))
    rng = np.random.default_rng(0)
    call = {
        "input_ids": rng.integers(1, config.vocab_size, (B, T)),
        "attention_mask": np.arange(T) < rng.integers(1, T + 1, (B, 1)),
        "token_type_ids": rng.integers(0, 2, (B, T)),
        "position_ids": rng.integers(0, config.max_position_embeddings, (B, T)),
        "output_hidden_states": True,
        "output_attentions": not skip_padding,
        "skip_padding": skip_padding,
    }
    every = flat(model(**call))
    for some in (slice(0, 1), slice(58, 63), slice(129, 130)):
        few = flat(model(**part_of(call, some)))
        for name, x in few.items():
            backend.assert_same(name, every[name][some], x)


@pytest.mark.parametrize("backend", [*BACKENDS, BFLOAT16, ON_GPU], ids=str, indirect=True)
def test_a_sequence_of_more_tokens_than_are_computed_at_once(backend):
    config = CONFIG.replace(max_position_embeddings=1100, num_hidden_layers=1, num_attention_heads=1)
    tensors = trained_like(config, ("pooler",), 2)
    tokens = np.random.default_rng(0).integers(1, config.vocab_size, (1, 1100))
    mask = (np.arange(1100) < 1050)[None]
    alone = backend.model("AlbertModel", config, tensors)(tokens[:, :1050])
    padded = backend.model("AlbertModel", config, tensors)(tokens, mask)
    backend.assert_same("hidden", padded[0][:, :1050], alone[0])
    if backend.dtype == "float32":
        truth = NUMPY.model("AlbertModel", config, tensors)(tokens, mask)[0]
        drawn = NUMPY.draws(lambda model: model(tokens, mask)[0], "AlbertModel", config, tensors)
        assert_float32_rule("hidden", padded[0], drawn, truth)


def backwards(x):
    """The same numbers in the middle of others, each axis backwards in memory."""
    room = np.full([2 * n for n in x.shape], 7, x.dtype)
    view = room[tuple(slice(None, None, -2) for _ in x.shape)]
    view[...] = x
    return view


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


@pytest.mark.parametrize("backend", [*BACKENDS, BFLOAT16, ON_GPU], ids=str, indirect=True)
@pytest.mark.parametrize("layout", [np.asfortranarray, backwards, read_only])
def test_weights_and_inputs_lie_in_memory_as_they_like(backend, layout):
    config = CONFIG.replace(position_embedding_type="relative_key")
    tensors = {
        name: x.astype(backend.arrays) for name, x in trained_like(config, PARTS["AlbertForMaskedLM"], 0).items()
    }
    made = {"backend": backend.name, "dtype": backend.dtype}
    one = albert_np.AlbertForMaskedLM(config, **made, tensors=tensors)
    other = albert_np.AlbertForMaskedLM(config, **made, tensors={name: layout(x) for name, x in tensors.items()})
    rng = np.random.default_rng(0)
    call = {
        "inputs_embeds": rng.standard_normal((2, 7, config.embedding_size)),
        "attention_mask": rng.random((2, 7, 7)) < 0.7,
        "token_type_ids": rng.integers(0, 2, (2, 7)),
        "position_ids": rng.integers(0, 20, (2, 7)),
        "head_mask": rng.random((config.num_hidden_layers, config.num_attention_heads)),
        "logits_positions": rng.integers(0, 7, (2, 3)),
    }
    expected = one(**call, head_mask_mode="per_application").logits
    again = other(**{name: layout(x) for name, x in call.items()}, head_mask_mode="per_application").logits
    backend.assert_same("logits", again, expected)


@pytest.mark.parametrize("backend", [*BACKENDS, BFLOAT16, ON_GPU], ids=str, indirect=True)
def test_a_weight_that_is_changed_in_place_counts_or_is_read_only(backend):
    """A backend may keep weights in a form of its own; but then the array says so, and none is silently ignored."""
    call = batch(CONFIG, "AlbertForPreTraining", 1)
    tensors = trained_like(CONFIG, PARTS["AlbertForPreTraining"], 0)
    expected = flat(backend.model("AlbertForPreTraining", CONFIG, tensors)(**call))
    for name, _ in backend.model("AlbertForPreTraining", CONFIG, tensors).named_parameters():
        model = backend.model("AlbertForPreTraining", CONFIG, tensors)
        model(**call)
        weight = dict(model.named_parameters())[name]
        if weight.flags.writeable:
            weight *= 1.5
            out = flat(model(**call))
            # the key's bias adds the same to a query's scores: nothing but rounding changes
            assert name.endswith("key.bias") or any(not np.array_equal(out[key], expected[key]) for key in out), name
        else:
            assert backend in (NUMBA, BFLOAT16, CUDA), name


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", np.float64, "torch.float32"])
def test_auto_is_numba_in_float32_and_numpy_in_float64(dtype):
    model = albert_np.AlbertModel(CONFIG, dtype=dtype)
    assert model.backend == ("numba" if model.dtype == np.float32 and choose.available()["numba"] == "yes" else "numpy")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"backend": "numba", "dtype": "float64"}, "backend 'numba' computes in float32, bfloat16, int8; got float64"),
        ({"backend": "cuda", "dtype": "float64"}, "backend 'cuda' computes in float32, tf32, bfloat16; got float64"),
        ({"backend": "tpu"}, "backend must be one of numpy, numba, cuda, auto; got 'tpu'"),
    ],
)
def test_a_backend_that_cannot_run_is_refused(tmp_path, given, message):
    assert refusal(albert_np.AlbertModel, CONFIG, **given).startswith(message)
    albert_np.AlbertModel(CONFIG).save_pretrained(tmp_path)
    assert refusal(albert_np.AlbertModel.from_pretrained, tmp_path, **given).startswith(message)


@pytest.mark.parametrize("name", ["numba", "llvmlite"])
def test_without_numba_auto_is_numpy_and_numba_says_what_is_missing(monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    assert albert_np.AlbertModel(CONFIG).backend == "numpy"
    message = refusal(albert_np.AlbertModel, CONFIG, backend="numba")
    assert (
        message == f"backend 'numba' needs numba: no module named {name}; pip install numba, or choose backend='numpy'"
    )
    assert choose.available() == choose.available() | {"numpy": "yes", "numba": f"no ({message})"}


def test_a_backend_that_cannot_run_here_is_a_skip_with_a_reason(monkeypatch):
    monkeypatch.delenv("ALBERT_NP_REQUIRE", raising=False)
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(pytest.skip.Exception, match=r"backend numba: no .*no module named numba"):
        runnable(NUMBA)
    assert [runnable(one) for one in BACKENDS if one is not NUMBA] == [NUMPY, PLAIN]
