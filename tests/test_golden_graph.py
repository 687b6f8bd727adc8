"""The graph of steps says what the book does: its names and bits are those of a trace."""

import warnings

import numpy as np
import pytest

import albert_np
from albert_np.golden.arithmetic import Exact
from albert_np.golden.cases import CASES, PARTS, TINY, batch, random_case, trained_like
from albert_np.golden.graph import ARCHITECTURES, batch_values, graph, outputs, run

KINDS = tuple(PARTS)
INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids", "inputs_embeds")


def case(name):
    if name not in CASES:
        kind = KINDS[name % len(KINDS)]
        return kind, *random_case(name, kind)
    kind, changes, features = CASES[name]
    config = albert_np.AlbertConfig(**TINY | changes)
    return kind, config, trained_like(config, PARTS[kind], 3), batch(config, kind, 5, **features)


def both_ways(name, mask_mode="uniform"):
    """What a call says, its trace, and the graph's steps and values."""
    kind, config, tensors, call = case(name)
    tensors = {key: x.astype(np.float64) for key, x in tensors.items()}
    model = getattr(albert_np, kind)(config, backend="numpy", dtype="float64", tensors=tensors)
    call = {key: x for key, x in call.items() if key not in model.labels}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # padding on the left
        out = model(**call, trace="unfused", mask_mode=mask_mode)
        given = {key: call.get(key) for key in INPUTS}
        checked, _ = model._check(given, call.get("head_mask"), "shared", mask_mode, False, None, {})
    embeds, head_mask = "inputs_embeds" in call, "head_mask" in call
    steps = graph(config, kind, mask_mode=mask_mode, embeds=embeds, head_mask=head_mask)
    return out, steps, run(steps, batch_values(checked), model._tensors, Exact(), beside=True)


@pytest.mark.parametrize("name", [*CASES, *range(14)])
def test_the_graph_has_the_names_and_the_bits_of_a_trace(name):
    out, steps, values = both_ways(name)
    asked = [one.name for one in steps if one.name in out.trace]
    assert asked == list(out.trace)
    assert {one.name for one in steps if not one.optional} <= set(out.trace)
    for key, x in out.trace.items():
        np.testing.assert_array_equal(values[key], x, err_msg=key, strict=True)


@pytest.mark.parametrize("mask_mode", ["zeros", "nan"])
def test_the_graph_has_every_answer_for_a_row_with_nothing_to_attend_to(mask_mode):
    out, _, values = both_ways("model_nothing_to_attend", mask_mode)
    for key, x in out.trace.items():
        np.testing.assert_array_equal(values[key], x, err_msg=key, strict=True)


@pytest.mark.parametrize("name", range(14))
def test_outputs_name_the_steps_that_a_call_returns(name):
    out, steps, values = both_ways(name)
    named = outputs(steps, KINDS[name % len(KINDS)])
    assert list(named) == [key for key in out if key not in ("trace", "hidden_states", "attentions", "loss")]
    for i, (key, step) in enumerate(named.items()):
        value = values[step][..., i] if step == "qa_outputs" else values[step]
        np.testing.assert_array_equal(value.reshape(out[key].shape), out[key], err_msg=key)


def test_every_step_reads_what_comes_before_it_and_weights_that_there_are():
    for seed, kind in enumerate(KINDS * 3):
        config, tensors, _ = random_case(seed, kind)
        known = {"input_ids", "token_type_ids", "position_ids", "allowed"}
        used = set()
        for one in graph(config, kind):
            assert known >= set(one.inputs), one
            known.add(one.name)
            used.update(one.weights)
        absent = {"embeddings.position_embeddings.weight"} if config.position_embedding_type != "absolute" else set()
        unused = {name for name in set(tensors) - used - absent if not unreached(name, config)}
        assert not unused
        assert used <= set(tensors)


def unreached(name, config):
    """A group that no layer applies."""
    from albert_np.encoder import applications, layer_name

    reached = tuple(layer_name(group, inner) + "." for _, group, inner in applications(config))
    return name.startswith("encoder.albert_layer_groups.") and not name.startswith(reached)


def test_what_lies_beside_the_way_is_read_by_nobody():
    for kind in ARCHITECTURES:
        steps = graph(albert_np.AlbertConfig(**TINY), kind)
        beside = {one.name for one in steps if one.beside}
        assert beside
        assert not beside & {name for one in steps for name in one.inputs}
