"""Whole models on the cuda backend against the reference in float64: every class, everything a call can have on, its memory."""

import numpy as np
import pytest
from support.backends import CUDA, CUDA_TESTS, NUMPY, PLAIN
from support.cuda.models import (
    CONFIG,
    SMALL,
    check_same_bits_alone_and_together,
    check_same_bits_with_a_trace,
    plain_call,
    tiny,
)
from support.refusals import refusal
from support.variations import KINDS, VARIATIONS, judged, varied
from tolerances import SAME_MODEL_FLOAT32

from albert_np.backends.cuda import engine as cuda_engine
from albert_np.backends.cuda import program as cuda_program
from albert_np.backends.cuda.arrays import DeviceArray
from albert_np.golden.cases import PARTS, trained_like
from albert_np.golden.tolerances import assert_close, assert_float32_rule_in_the_mean
from albert_np.kernels.cuda import device
from albert_np.kernels.cuda.matmul import CHUNK

SIMULATED = CUDA_TESTS == "simulator"


def check_rule(name, several, made=tiny):
    cases = {}
    for kind, seed in several:
        config, tensors, call = made(kind, seed, name)
        found = judged(CUDA, CUDA.model(kind, config, tensors), kind, config, tensors, call)
        cases |= {f"{kind} {seed} {key}": case for key, case in found.items()}
    assert len(cases) > 1  # one array alone says nothing, see FLOAT32_ONE_CASE
    assert_float32_rule_in_the_mean(name, cases)


INFERENCE = [name for name, (_, options, _) in VARIATIONS.items() if "training" not in options]
TWINS = ("nothing to attend to, nan",)  # of "… zeros"


@pytest.mark.parametrize("name", [pytest.param(x, marks=pytest.mark.slow if x in TWINS else []) for x in INFERENCE])
def test_float32_rule(name):
    """Every variation, and every class in turn."""
    number = list(VARIATIONS).index(name)
    check_rule(name, [(KINDS[number % len(KINDS)], 5000 + number)])


# the variations go through all classes too
IN_CI = ("AlbertForPreTraining", "AlbertForTokenClassification", "AlbertForQuestionAnswering")


@pytest.mark.parametrize("kind", [pytest.param(x, marks=[] if x in IN_CI else pytest.mark.slow) for x in KINDS])
def test_every_class_with_nothing_kept(kind):
    """The way of a plain call: attention without scores in memory, logits without a way back."""
    config, tensors, call = tiny(kind, 6000 + KINDS.index(kind), "as it comes")
    call = {key: x for key, x in call.items() if key not in ("output_hidden_states", "output_attentions", "trace")}
    assert_float32_rule_in_the_mean(kind, judged(CUDA, CUDA.model(kind, config, tensors), kind, config, tensors, call))


@pytest.mark.slow
@pytest.mark.parametrize("name", INFERENCE)
def test_every_variation_of_every_class(name):
    check_rule(name, [(kind, 7000 + 100 * list(VARIATIONS).index(name) + i) for i, kind in enumerate(KINDS)], varied)


def small(kind="AlbertForPreTraining", changes=None, seed=0):
    config = CONFIG.replace(**(SMALL | (changes or {})))
    return config, CUDA.model(kind, config, trained_like(config, PARTS[kind], seed))


def test_a_sequence_has_the_same_bits_alone_in_a_batch_and_without_padding():
    _, model = small()
    check_same_bits_alone_and_together(model)


def test_a_traced_call_has_the_bits_of_a_plain_one():
    _, model = small(changes={"num_hidden_layers": 2})
    check_same_bits_with_a_trace(model)


def test_one_copy_up_and_one_down_for_each_output():
    if not SIMULATED:
        pytest.skip("copies are counted by the simulator")
    config, model = small(changes={"num_hidden_layers": 2})
    call = plain_call(config, "AlbertForPreTraining", 1)
    model(**call)  # weights go up
    device.copies.clear()
    device.launches.clear()
    model(**call)
    assert [way for way, _ in device.copies] == ["up", "down", "down"]
    names = [name for name, _ in device.launches]
    layer = ["matmul", "attention", "matmul", "layer_norm", "matmul", "matmul", "layer_norm"]
    assert names[:2] == ["embed", "matmul"]
    assert names[2 : 2 + 2 * len(layer)] == 2 * layer
    assert len(names) <= 2 + 2 * len(layer) + 8  # heads


@pytest.mark.parametrize("name", ["AlbertForPreTraining", "AlbertForQuestionAnswering"])
def test_the_gpu_is_done_when_a_call_returns(name):
    """Nothing waits in between, and somebody else may read the outputs where they lie."""
    if not SIMULATED:
        pytest.skip("the simulator knows what was waited for")
    config, model = small(name)
    call = plain_call(config, name, 1)
    for _ in range(3):
        model(**call, output="device")
        assert device.unfinished == 0


def test_a_plan_is_written_once_for_a_shape(monkeypatch):
    config, model = small()
    monkeypatch.setattr(cuda_engine, "PLANS", 2)
    first, second = (plain_call(config, "AlbertForPreTraining", 1) for _ in range(2))
    second["input_ids"] = first["input_ids"][::-1].copy()
    second["attention_mask"] = first["attention_mask"][::-1].copy()
    second["token_type_ids"] = first["token_type_ids"][::-1].copy()
    a, b = model(**first), model(**second)
    assert len(model._engine.plans) == 1
    assert np.array_equal(b.sop_logits[::-1], a.sop_logits)
    assert np.array_equal(b.prediction_logits[::-1], a.prediction_logits)
    for T in (1, 2):
        model([[1] * T])
    assert len(model._engine.plans) == 2
    assert np.array_equal(model(**first).sop_logits, a.sop_logits)


# --- plans that are run again: one launch -------------------------------------------------------------------------------------


@pytest.fixture
def recording(monkeypatch):
    """How many steps were recorded as a graph, each time; and no refusal of earlier."""
    lengths, recorded = [], device.recorded
    monkeypatch.setattr(device, "recorded", lambda steps: lengths.append(len(steps)) or recorded(steps))
    monkeypatch.setattr(cuda_program, "_refusals", [])
    return lengths


def test_a_plan_becomes_a_graph_at_its_second_run_and_no_bit_changes(recording, monkeypatch):
    _, model = small("AlbertModel")
    calls = [[1, 2, 3]], [[4, 5, 6]]  # what changes from call to call is read by the steps, and not recorded
    monkeypatch.setenv("ALBERT_NP_CUDA_GRAPHS", "0")
    expected = [model(call).last_hidden_state for call in calls]
    assert recording == []
    monkeypatch.delenv("ALBERT_NP_CUDA_GRAPHS")
    model.parameters_to_change()  # the plan goes
    for i in (0, 1, 0, 1):  # the first may leave memory in another order
        assert np.array_equal(model(calls[i]).last_hidden_state, expected[i])
    assert recording == [2 + 7]
    if SIMULATED:
        assert device.replays[-2:] == 2 * recording
    for i in (1, 0, 1, 0, 1, 0):  # outputs that somebody holds lie elsewhere, in places that take turns
        kept = model(calls[i], output="device").last_hidden_state
        assert np.array_equal(kept.numpy(), expected[i])
    assert 1 < len(recording) <= 3
    for x in model.parameters_to_change().values():
        x *= np.float32(1.25)
    assert not np.array_equal(model(calls[0]).last_hidden_state, expected[0])


def program_of(log):
    program = cuda_program.Program()
    program.steps = [lambda i=i: log.append(i) for i in range(3)]
    return program


@pytest.mark.parametrize("error", [RuntimeError("CUDA_ERROR_STREAM_CAPTURE_INVALIDATED: no\nmore"), MemoryError()])
def test_without_graphs_the_steps_go_one_by_one_and_a_warning_says_why_once(monkeypatch, error):
    attempts, log = [], []

    def refuse(steps):
        attempts.append(len(steps))
        raise error

    monkeypatch.setattr(device, "recorded", refuse)
    monkeypatch.setattr(cuda_program, "_refusals", [])
    program, other = program_of(log), program_of(log)
    program.run()
    with pytest.warns(UserWarning, match="launches cannot be recorded as a CUDA graph") as warned:
        program.run()
    says = str(error).partition("\n")[0]
    assert f"({type(error).__name__}: {says}): they are sent one by one" in str(warned[0].message)
    assert "ALBERT_NP_CUDA_GRAPHS=0" in str(warned[0].message)
    for one in (program, other, other):  # a second warning would be an error
        one.run()
    assert attempts == [3]
    assert log == [0, 1, 2] * 5


def test_that_warning_as_an_error_costs_one_call(monkeypatch):
    log = []
    monkeypatch.setattr(device, "recorded", lambda steps: 1 // 0)
    monkeypatch.setattr(cuda_program, "_refusals", [])
    program = program_of(log)
    program.run()
    with pytest.raises(UserWarning, match="ZeroDivisionError"):
        program.run()
    program.run()
    assert log == [0, 1, 2] * 2


def test_a_program_is_recorded_once_and_no_graph_is_asked_for_where_none_is_wanted(monkeypatch):
    attempts, log = [], []
    monkeypatch.setattr(device, "recorded", lambda steps: attempts.append(1) or (lambda: log.append("graph")))
    monkeypatch.setattr(cuda_program, "_refusals", [])
    program = program_of(log)
    for _ in range(4):
        program.run()
    assert (attempts, log) == ([1], [0, 1, 2, "graph", "graph", "graph"])
    monkeypatch.setenv("ALBERT_NP_CUDA_GRAPHS", "0")
    program = program_of(log)
    for _ in range(4):
        program.run()
    assert attempts == [1]
    assert log[6:] == [0, 1, 2] * 4


# --- outputs on the GPU -------------------------------------------------------------------------------------------------------


def test_outputs_may_stay_on_the_gpu():
    config, model = small()
    call = plain_call(config, "AlbertForPreTraining", 1)
    expected = model(**call, output_hidden_states=True, output_attentions=True)
    plain = model(**call)
    kept = model(**call, output="device", output_hidden_states=True, output_attentions=True)
    least = model(**call, output="device")
    for x in (kept.prediction_logits, kept.hidden_states[0], least.prediction_logits):
        assert isinstance(x, DeviceArray)
    assert np.array_equal(least.prediction_logits.numpy(), plain.prediction_logits)
    model([[1, 2, 3]])  # writes to none of them
    for key in expected:
        pairs = (
            zip(kept[key], expected[key], strict=True)
            if isinstance(expected[key], tuple)
            else [(kept[key], expected[key])]
        )
        for a, b in pairs:
            assert np.array_equal(np.asarray(a), b), key
    interface = kept.sop_logits.__cuda_array_interface__
    assert interface["shape"] == expected.sop_logits.shape
    assert interface["typestr"] == "<f4"
    assert interface["strides"] is None
    assert interface["data"][0] == kept.sop_logits.block.memory.address
    with pytest.raises(ValueError, match="without a copy"):
        np.asarray(kept.sop_logits, copy=False)
    with pytest.raises(IndexError, match="integers, slices"):
        kept.sop_logits[np.array([0])]


def test_start_and_end_logits_are_views():
    config, model = small("AlbertForQuestionAnswering")
    call = plain_call(config, "AlbertForQuestionAnswering", 1)
    expected, kept = model(**call), model(**call, output="device")
    assert kept.end_logits.__cuda_array_interface__["strides"] == (8 * expected.end_logits.shape[1], 8)
    assert np.array_equal(kept.start_logits.numpy(), expected.start_logits)
    assert np.array_equal(kept.end_logits.numpy(), expected.end_logits)
    assert np.array_equal(kept.end_logits[1:, ::2].numpy(), expected.end_logits[1:, ::2])
    with pytest.raises(ValueError, match="keeps its shape"):
        kept.end_logits.reshape(-1)


def test_only_chosen_columns_get_logits():
    config, model = small("AlbertForMaskedLM")
    call = plain_call(config, "AlbertForMaskedLM", 1)
    B = len(call["input_ids"])
    every, columns = model(**call).logits, np.tile([2, 0], (B, 1))
    for skip_padding in (False, True):
        some = model(**call, logits_positions=columns, skip_padding=skip_padding).logits
        real = call["attention_mask"][np.arange(B)[:, None], columns] == 1
        assert np.array_equal(some[real], every[np.arange(B)[:, None], columns][real])


def test_what_cannot_stay_on_the_gpu_is_refused():
    _, model = small("AlbertForMaskedLM")
    assert refusal(model, [[1, 2]], labels=[[1, 2]], output="device").startswith("output='device' gives logits")
    assert refusal(model, [[1, 2]], skip_padding=True, output="device").startswith("output='device' computes padded")
    assert refusal(model, [[1, 2]], trace=True, output="device").startswith("output must be 'numpy', or 'device'")
    assert refusal(model, [[1, 2]], output="torch").startswith("output must be 'numpy', or 'device'")
    numpy = PLAIN.model("AlbertForMaskedLM", model.config)
    assert refusal(numpy, [[1, 2]], output="device").endswith("got 'device' with backend='numpy'")


def test_too_little_memory_is_an_error_and_the_model_goes_on(monkeypatch):
    if not SIMULATED:
        pytest.skip("the simulator has as little memory as it is told")
    config, model = small("AlbertForMaskedLM")
    expected = model([[3, 4, 5]]).logits
    monkeypatch.setattr(device, "limit", device.used + 1000)
    message = refusal(model, np.full((400, 19), 3))
    assert message.startswith("400 sequences of 19 tokens need ")
    assert "bytes of GPU memory more than there are: run fewer at a time" in message
    assert np.array_equal(model([[3, 4, 5]]).logits, expected)
    fresh = CUDA.model("AlbertForMaskedLM", config, trained_like(config, PARTS["AlbertForMaskedLM"], 0))
    monkeypatch.setattr(device, "limit", device.used + 100)
    assert "bytes" in refusal(fresh, [[3, 4, 5]])
    monkeypatch.setattr(device, "limit", None)
    assert np.array_equal(fresh([[3, 4, 5]]).logits, expected)


def test_memory_is_kept_for_the_next_call_and_goes_with_the_model():
    if not SIMULATED:
        pytest.skip("the simulator counts")
    before = device.used
    config, model = small("AlbertForMaskedLM")
    call = plain_call(config, "AlbertForMaskedLM", 1)
    model(**call)
    held = device.used
    for _ in range(3):
        model(**call)
    assert device.used == held
    del model
    assert device.used == before


def test_weights_are_read_only_once_they_are_on_the_gpu_and_change_through_the_door():
    config, model = small("AlbertForMaskedLM")
    call = plain_call(config, "AlbertForMaskedLM", 1)
    first = model(**call).logits
    assert all(not x.flags.writeable for _, x in model.named_parameters())
    for x in model.parameters_to_change().values():
        x *= np.float32(1.25)
    again = model(**call).logits
    assert not np.array_equal(again, first)


def test_a_resized_model_and_its_encoder_have_the_new_table_on_the_gpu():
    config, model = small()
    call, base = {"input_ids": [[2, 5, config.vocab_size - 1, 3]]}, model.albert
    before = model(**call).prediction_logits
    model.resize_token_embeddings(config.vocab_size + 5)
    after = model(**call)
    assert np.array_equal(after.prediction_logits[..., : config.vocab_size], before)
    fresh = CUDA.model("AlbertForPreTraining", model.config, model._tensors)
    assert np.array_equal(after.prediction_logits, fresh(**call).prediction_logits)
    assert np.array_equal(base(**call).pooler_output, fresh.albert(**call).pooler_output)
    assert model.to("cuda").to(0).device == "cuda:0"
    assert refusal(model.cpu) == (
        "a model on cuda:0 does not move to cpu: make it there with from_pretrained(…, backend='auto')"
    )


def test_a_long_sum_is_split_among_blocks():
    """I of more than one chunk: what one sentence of a model of the published sizes meets."""
    config, model = small("AlbertModel", {"intermediate_size": 2 * CHUNK + 3})
    call = plain_call(config, "AlbertModel", 2)
    truth = NUMPY.model("AlbertModel", config, trained_like(config, PARTS["AlbertModel"], 0))(**call)
    actual = model(**call)
    if SIMULATED:
        assert "add_chunks" in [name for name, _ in device.launches]
    assert_close(
        "hidden", actual.last_hidden_state, truth.last_hidden_state, limit=SAME_MODEL_FLOAT32, dtype=np.float32
    )
