"""Whole models in dtype="bfloat16" of backend "numba": the bits of the emulation, and the same ones however they are asked."""

from __future__ import annotations

import os
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.backends import BFLOAT16, runnable
from support.bfloat16 import FLOAT32, assert_same_bits, check_model, emulated, made
from support.refusals import refusal
from support.same_bits import ROWS, answers, call, model, one, printed, sequence

import albert_np
from albert_np import num_threads
from albert_np.encoder import step
from albert_np.kernels.cpu import arena
from albert_np.kernels.cpu.bfloat16 import emulation
from albert_np.ops import ACTIVATIONS, MASK_MODES

# head sizes around the steps of 32, hidden sizes that are no multiple of 4, groups, inner layers, positions and activations
CONFIGS = {
    "heads of 5, two groups of two": {
        "hidden_size": 15,
        "num_attention_heads": 3,
        "num_hidden_groups": 2,
        "inner_group_num": 2,
        "num_hidden_layers": 4,
        "hidden_act": "silu",
    },
    "heads of 20": {"hidden_size": 60, "hidden_act": "gelu"},
    "heads of 24": {"hidden_size": 72, "position_embedding_type": "relative_key"},
    "heads of 32": {"hidden_size": 64, "num_attention_heads": 2, "hidden_act": "relu"},
    "heads of 33": {"hidden_size": 66, "num_attention_heads": 2, "position_embedding_type": "relative_key_query"},
    "heads of 64": {"hidden_size": 128, "num_attention_heads": 2, "embedding_size": 128, "hidden_act": "tanh"},
    "heads of 64, relative": {
        "hidden_size": 64,
        "num_attention_heads": 1,
        "position_embedding_type": "relative_key_query",
    },
    "one number a head": {"hidden_size": 3, "embedding_size": 1, "intermediate_size": 1},
    "long sums": {"hidden_size": 264, "num_attention_heads": 8, "intermediate_size": 530, "num_hidden_layers": 1},
}


@pytest.fixture(autouse=True, scope="module")
def _kernels():
    runnable(BFLOAT16)


# --- the emulation ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONFIGS)
def test_a_model_has_the_bits_of_the_emulation(name):
    with num_threads(3):
        check_model(made(**CONFIGS[name]))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_has_the_bits_of_the_emulation(activation):
    check_model(made(hidden_act=activation, num_hidden_layers=1), **call(ROWS[:1]))


def test_the_demo_has_the_bits_of_the_emulation():
    demo = albert_np.AlbertModel.from_pretrained("demo", backend="numba", dtype="bfloat16")
    tokens = np.random.default_rng(0).integers(5, demo.config.vocab_size, (1, 40))
    check_model(demo, input_ids=tokens)
    short = demo(tokens[:, :9])
    pooler = FLOAT32.tanh(
        FLOAT32.linear(short.last_hidden_state[:, 0], demo._weights.pooler.weight, demo._weights.pooler.bias)
    )
    assert_same_bits(short.pooler_output, pooler)


def masks(kind, random, B, T):
    if kind == "pairs":
        return random.random((B, T, T)) < 0.6
    mask = random.random((B, T)) < 0.6
    mask[:, 0] = True
    return mask


@pytest.mark.parametrize("name", ["heads of 20", "heads of 33"])
@pytest.mark.parametrize("mode", MASK_MODES)
@pytest.mark.parametrize("kind", ["keys", "pairs"])
def test_masks_have_the_bits_of_the_emulation(name, mode, kind):
    """With holes, and with queries that see nothing."""
    random = np.random.default_rng(0)
    mask = masks(kind, random, 3, 37)
    mask[1, 5] = mask[2] = False
    tokens, of = random.integers(1, 90, (3, 37)), made(**CONFIGS[name])
    factors = np.array([0, 0.37, 2][: of.config.num_attention_heads])
    check_model(of, input_ids=tokens, attention_mask=mask, mask_mode=mode)
    check_model(of, input_ids=tokens, attention_mask=mask, mask_mode=mode, head_mask=factors)


def test_other_inputs_have_the_bits_of_the_emulation():
    random, of = np.random.default_rng(0), made()
    embeds = random.standard_normal((2, 19, 12)).astype(np.float32)
    types, positions = random.integers(0, 2, (2, 19)), random.integers(0, 90, (2, 19))
    check_model(of, inputs_embeds=embeds, token_type_ids=types, position_ids=positions)
    for size in (1e-44, 1e-38, 1e-20, 1e18):
        check_model(of, inputs_embeds=np.float32(size) * embeds)


# --- how it is asked --------------------------------------------------------------------------------------------------------


@st.composite
def batches(draw):
    """A config, a sequence of it, neighbours on both sides, and how the batch is computed."""
    rows = st.builds(sequence, st.integers(0, 3), st.sampled_from([1, 2, 15, 16, 17, 31, 32, 33, 48, 49, 64, 80]))
    options = {"padding": draw(st.integers(0, 10)), "skip_padding": draw(st.booleans())}
    around = draw(st.lists(rows, max_size=3)), draw(st.lists(rows, max_size=3))
    return draw(st.sampled_from(list(CONFIGS))), draw(rows), around, options, draw(st.sampled_from([1, 2, 3, 8]))


@settings(deadline=None, max_examples=100)
@given(batches())
def test_a_sequence_has_the_same_bits_beside_any_neighbours_with_any_padding_on_any_threads(drawn):
    name, row, (before, after), options, threads = drawn
    of = MODELS[name]
    with num_threads(1):
        alone = answers(of, [row])
    with num_threads(threads):
        assert answers(of, [*before, row, *after], **options)[len(before)] == alone[0]


def test_threads_forks_and_other_python_threads_give_the_same_bits():
    code = """
from functools import partial
from support.same_bits import *
mine = partial(one, dtype="bfloat16")
print(*in_threads(8, mine), *(mine(n) for n in (1, 2, 3, 8)), *in_threads(4, mine))
"""
    if hasattr(os, "fork"):
        code += "for _ in range(3): print(in_fork(mine))\n"
    assert set(printed(code, NUMBA_NUM_THREADS="8")) == {one(1, dtype="bfloat16")}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("name", ["heads of 20", "heads of 64"])
def test_nan_and_infinity_stay_in_their_sequence_and_those_of_a_masked_token_in_its_row(name, bad):
    """A word whose embedding is spoilt."""
    of, random = made(**CONFIGS[name]), np.random.default_rng(0)
    words = of.get_input_embeddings().weight.copy()
    words[89] = bad
    tensors = of.state_dict() | {"embeddings.word_embeddings.weight": words}
    spoilt = albert_np.AlbertModel(of.config, backend="numba", dtype="bfloat16", tensors=tensors)
    tokens, mask = random.integers(1, 89, (3, 41)), np.ones((3, 41), int)
    mask[1, 25:] = 0
    expected = of(tokens, mask).last_hidden_state
    for place in (4, 37):
        tokens[1, place], before = 89, tokens[1, place]
        with np.errstate(all="ignore"):
            found = spoilt(tokens, mask).last_hidden_state
            check_model(spoilt, input_ids=tokens, attention_mask=mask)
        tokens[1, place] = before
        same = np.ones((3, 41), bool)
        same[1, place if mask[1, place] == 0 else slice(None)] = False
        assert_same_bits(found[same], expected[same])
        assert bad == 3e38 or np.isnan(found[1, place]).all()


MODELS = {name: made(**changes) for name, changes in CONFIGS.items()}


def test_nothing_is_left_from_other_calls(monkeypatch):
    """Buffers hold NaN before each use, whatever was in them: all that is read has been written."""
    numbers, taken = arena.Buffers.numbers, set()

    def poisoned(self, name, count):
        memory = numbers(self, name, count)
        memory.view(np.uint8)[:] = 255  # NaN, as float32 and as bfloat16
        taken.add(name)
        return memory

    sizes = [(1, 3), (3, 70), (2, 33), (1, 1), (4, 17)]
    for of in MODELS.values():
        batches = [np.random.default_rng(T).integers(1, 90, (B, T)) for B, T in sizes]
        expected = [of(tokens, output_hidden_states=True) for tokens in batches]
        with monkeypatch.context() as patch:
            patch.setattr(arena.Buffers, "numbers", poisoned)
            for tokens, before in zip(batches, expected, strict=True):
                out = of(tokens, output_hidden_states=True)
                for x, y in zip(out.hidden_states, before.hidden_states, strict=True):
                    assert_same_bits(x, y)
                assert_same_bits(of(tokens, skip_padding=True).last_hidden_state, before.last_hidden_state)
    assert {"x", "y", "x16", "wide16", "context16", "sums"} <= taken


# --- traces and what there is not -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["heads of 20", "heads of 33", "heads of 5, two groups of two"])
def test_a_trace_holds_what_the_kernels_write(name):
    of = MODELS[name]
    out = of(**call(ROWS, 3), trace=True, output_attentions=True)
    plain = of(**call(ROWS, 3))
    assert_same_bits(out.last_hidden_state, plain.last_hidden_state)
    other = model("heads of 16")(**call(ROWS), trace=True).trace
    assert (out.trace.backend, out.trace.dtype, out.trace.fused) == ("numba", "bfloat16", True)
    assert out.trace.absent == other.absent
    steps = {key.split(".", 3)[3] for key in other if key.startswith("encoder.layer.0.")}
    applications = of.config.num_hidden_layers * of.config.inner_group_num
    assert {key for key in out.trace if key.startswith("encoder.layer.")} == {
        step(i, part) for i in range(applications) for part in steps
    }
    states, attentions = emulated(of, **call(ROWS, 3))
    assert_same_bits(out.trace["encoder.embedding_hidden_mapping_in"], states[0])
    for i in range(applications):
        found = SimpleNamespace(**{part.replace(".", "_"): out.trace[step(i, part)] for part in steps})
        for part in (found.attention_query, found.attention_key, found.attention_value, found.attention_context):
            assert_same_bits(part, emulation.round_to_bfloat16(part))
        assert_same_bits(found.activation, emulation.round_to_bfloat16(found.activation))
        assert_same_bits(found.attention_probs, attentions[i])
        assert_same_bits(found.full_layer_layer_norm, states[i + 1])
        w = of._weights.encoder.albert_layer_groups[0].albert_layers[0]
        if i == 0:
            q = emulation.linear(states[0].reshape(-1, of.config.hidden_size), w.attention.query)
            assert_same_bits(found.attention_query, emulation.round_to_bfloat16(q).reshape(states[0].shape))
            y = emulation.linear(found.activation.reshape(-1, found.activation.shape[-1]), w.ffn_output)
            assert_same_bits(found.sum, y.reshape(states[0].shape) + found.attention_LayerNorm)


def test_what_computes_in_float32_alone_is_refused_in_words():
    config = made().config
    of = albert_np.AlbertForSequenceClassification(config, backend="numba", dtype="bfloat16")
    assert (of.precision, of.dtype) == ("bfloat16", np.float32)
    says = "of backend 'numba' computes in float32 alone; this model computes in bfloat16: load it with dtype='float32'"
    for what, ask in {
        "trace='unfused'": lambda: of([[1, 2]], trace="unfused"),
        "a call with training=True": lambda: of([[1, 2]], training=True, seed=0),
    }.items():
        assert refusal(ask).startswith(f"{what} {says}")
