"""The catalogue of porting mistakes: each runs on every model that can have it, changes what it says, and nothing before it."""

import importlib.util

import numpy as np
import pytest
from support import ROOT
from support.golden_models import KINDS, of_seed, tiny

from albert_np.golden.arithmetic import Exact
from albert_np.golden.cases import random_config
from albert_np.golden.graph import graph, run
from albert_np.golden.mistakes.catalogue import catalogue, first_wrong_step, mistakes, with_mistake
from albert_np.golden.mistakes.rewriting import matches


@pytest.mark.parametrize("seed", range(8))
def test_every_mistake_runs_and_changes_only_what_comes_after_the_step_that_it_falls_on(seed):
    case = of_seed(seed)
    for mistake in mistakes(case.config, case.architecture):
        if mistake.name == "head_mask_ignored" and seed % 3:
            continue
        if mistake.name.startswith("heads_") and seed % 3 == 0 and mistake.description.startswith("number"):
            continue
        wrong = with_mistake(case.steps, mistake)
        values = case.run(wrong)
        first = first_wrong_step(case.steps, wrong, optional=True)
        for name, x in values.items():
            if name == first:
                break
            if name in case.values:
                np.testing.assert_array_equal(x, case.values[name], err_msg=f"{mistake.name}: {name}")
        for key, x in case.outputs(values, wrong).items():
            assert x.shape == case.outputs(case.values, case.steps)[key].shape, (mistake.name, key)
            assert x.dtype == np.float64, mistake.name


@pytest.mark.parametrize("kind", KINDS)
def test_nearly_every_mistake_is_seen_in_the_outputs_of_a_model_with_padding(kind):
    """What is not seen has a reason that stands here."""
    silent = {"bias_missing.key", "bias_twice.key"}  # the same number for all keys of a query
    silent |= {"scores_clipped_at_5", "scores_clipped_at_10"}  # scores are smaller
    silent |= {"relu6", "relu6.encoder", "relu6.predictions", "gelu_clipped.predictions"}  # arguments are smaller
    silent |= {"gelu_without_half.predictions"}  # a factor, which the LayerNorm behind it takes away
    if kind in ("AlbertForSequenceClassification", "AlbertForMultipleChoice"):  # which see nothing of padded rows
        silent |= {"mask_on_queries_and_keys", "padding_embedding_zero", "positions_of_real_tokens"}
    small = 1e-9  # ε is far below the variances
    case = tiny(kind)
    seen = set()
    for mistake in mistakes(case.config, case.architecture):
        if mistake.name == "head_mask_ignored":
            continue
        wrong = with_mistake(case.steps, mistake)
        right, off = case.outputs(case.values, case.steps), case.outputs(case.run(wrong), wrong)
        if max(np.abs(off[key] - right[key]).max() for key in right) > small:
            seen.add(mistake.name)
    silent |= {one.name for one in mistakes(case.config, case.architecture) if one.name.startswith("epsilon")}
    lost = {one.name for one in mistakes(case.config, case.architecture)} - seen - silent - {"head_mask_ignored"}
    assert not lost


def test_a_mistake_in_one_application_leaves_the_others_as_they_are():
    case = tiny()
    for mistake in mistakes(case.config, case.architecture):
        here = [one for one in case.steps if one.application == 2 and matches(one, mistake.where, 2)]
        if not here or mistake.name in ("head_mask_ignored", "one_application_too_few", "half_of_the_applications"):
            continue
        if mistake.name in ("one_application_too_many", "only_one_application"):
            continue
        wrong = with_mistake(case.steps, mistake, application=2)
        changed = {one.name: one for one in wrong}
        for one in case.steps:
            if one.application != 2:
                assert changed[one.name] == one, mistake.name
        assert first_wrong_step(case.steps, wrong).startswith("encoder.layer.2."), mistake.name


def test_blame_has_the_name_of_the_step_that_is_wrong():
    case = tiny()
    for name, application, first in (
        ("erf_gelu_instead_of_tanh", 1, "encoder.layer.1.activation"),
        ("erf_gelu_instead_of_tanh", None, "encoder.layer.0.activation"),
        ("mask_after_softmax", 3, "encoder.layer.3.attention.probs"),
        ("query_and_key_exchanged", None, "encoder.layer.0.attention.query"),
        ("bias_twice.ffn_output", 2, "encoder.layer.2.ffn_output"),
        ("residual_missing.attention", 2, "encoder.layer.2.attention.LayerNorm"),
        ("residual_missing.ffn", 2, "encoder.layer.2.full_layer_layer_norm"),
        ("positions_from_2", None, "embeddings.sum"),
        ("pre_norm_instead_of_post_norm", None, "encoder.layer.0.attention.query"),
        ("predictions_norm_before_activation", None, "predictions.LayerNorm"),
        ("pooler_of_mean", None, "pooler"),
    ):
        wrong = with_mistake(case.steps, case.mistake(name), application)
        assert first_wrong_step(case.steps, wrong) == first, name


def test_blame_may_name_an_optional_step_that_the_candidate_has():
    case = tiny()
    wrong = with_mistake(case.steps, case.mistake("residual_missing.attention"), 2)
    assert first_wrong_step(case.steps, wrong, optional=True) == "encoder.layer.2.attention.sum"


def test_formulas_of_mistakes_are_what_their_names_say():
    """Against formulas that are written out here."""
    case = tiny()
    x = case.values["encoder.layer.0.ffn"]
    values = case.run(with_mistake(case.steps, case.mistake("quick_gelu")))
    np.testing.assert_allclose(values["encoder.layer.0.activation"], x / (1 + np.exp(-1.702 * x)), rtol=1e-12)
    values = case.run(with_mistake(case.steps, case.mistake("variance_unbiased")))
    y = case.values["embeddings.sum"]
    weight, bias = (case.weights[f"embeddings.LayerNorm.{part}"] for part in ("weight", "bias"))
    expected = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True, ddof=1) + 1e-12) * weight + bias
    np.testing.assert_allclose(values["embeddings.LayerNorm"], expected, rtol=1e-12)
    values = case.run(with_mistake(case.steps, case.mistake("scale_by_D")))
    scores = "encoder.layer.0.attention.scores"
    np.testing.assert_allclose(values[scores], case.values[scores] / np.sqrt(8), rtol=1e-12)
    values = case.run(with_mistake(case.steps, case.mistake("query_and_key_exchanged")))
    np.testing.assert_allclose(values[scores], case.values[scores].swapaxes(-1, -2), rtol=1e-12)


def test_a_mistake_of_the_structure_is_another_model():
    """The same tensors in a model of another shape compute the same numbers."""
    case = tiny("AlbertModel", padding=False)
    for name, changes in (
        ("one_application_too_few", {"num_hidden_layers": 3}),
        ("one_application_too_many", {"num_hidden_layers": 5}),
        ("only_one_application", {"num_hidden_layers": 1}),
        ("erf_gelu_instead_of_tanh", {"hidden_act": "gelu"}),
        ("epsilon_1e-5_instead_of_1e-12", {"layer_norm_eps": 1e-5}),
        ("heads_one", {"num_attention_heads": 1}),
    ):
        wrong = with_mistake(case.steps, case.mistake(name))
        off = case.outputs(case.run(wrong), wrong)
        steps = graph(case.config.replace(**changes), case.architecture)
        other = case.outputs(run(steps, case.batch, case.weights, Exact()), steps)
        for key, x in other.items():
            np.testing.assert_allclose(off[key], x, rtol=1e-12, err_msg=name)


def test_a_mistake_that_changes_nothing_is_refused():
    case = tiny()
    with pytest.raises(
        ValueError, match="pooler_of_mean changes none of the steps of application 1: it falls on pooler"
    ):
        with_mistake(case.steps, case.mistake("pooler_of_mean"), application=1)
    with pytest.raises(ValueError, match="the two lists of steps are the same"):
        first_wrong_step(case.steps, case.steps)
    with pytest.raises(ValueError, match="architecture must be one of AlbertModel"):
        mistakes(case.config, "BertModel")


def test_names_and_descriptions_of_the_catalogue_are_different_from_each_other():
    known = catalogue()
    assert len(known) >= 300
    assert len({one.description for one in known.values()}) == len(known)
    for seed in range(21):
        kind = KINDS[seed % len(KINDS)]
        names = [one.name for one in mistakes(random_config(seed, kind), kind)]
        assert len(names) == len(set(names))


def test_the_page_of_the_catalogue_is_what_the_catalogue_says():
    path = ROOT / "tools" / "list_mistakes.py"
    spec = importlib.util.spec_from_file_location("list_mistakes", path)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert tool.page() == tool.PAGE.read_text(encoding="utf-8"), "run tools/list_mistakes.py"
