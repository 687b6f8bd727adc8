"""Everything that a call can have on, as variations of random cases."""

from __future__ import annotations

import numpy as np

from albert_np.golden.cases import PARTS, random_case, trained_like
from support.backends import NUMPY
from support.outputs import everything

KINDS = list(PARTS)


def pairs(call, rng):
    """Who may see whom, at random; the first query may see nothing. Multiple choice takes no such mask."""
    *lead, T = call["token_type_ids"].shape
    if len(lead) > 1:
        return {}
    mask = rng.random((*lead, T, T)) < 0.6
    mask[:, 0] = False
    return {"attention_mask": mask}


def one_row_masked(call, rng):
    mask = np.array(call["attention_mask"])
    mask.reshape(-1, mask.shape[-1])[0] = 0
    return {"attention_mask": mask}


def holes(call, rng):
    """A mask with holes, and positions that count over them."""
    mask = rng.random(call["token_type_ids"].shape) < 0.6
    mask[..., 0] = True
    return {"attention_mask": mask, "skip_padding": True}


def head_mask_rows(call, rng):
    return {"head_mask": lambda applications, N: rng.random((applications, N)), "head_mask_mode": "per_application"}


TRACED = {"output_hidden_states": True, "output_attentions": True, "trace": True}
# what a call has on beside the features of random_case: name -> (changes to the config, the call's own, drawn for the call)
VARIATIONS = {
    "as it comes": ({}, TRACED, None),
    "one layer for all": (
        {"num_hidden_groups": 1, "inner_group_num": 1, "num_hidden_layers": 5},
        TRACED,
        lambda call, rng: {"head_mask": None},
    ),
    "relative_key": ({"position_embedding_type": "relative_key"}, TRACED, None),
    "relative_key_query": ({"position_embedding_type": "relative_key_query"}, TRACED, None),
    "a mask of pairs": ({}, TRACED, pairs),
    "a mask of pairs, zeros": (
        {"position_embedding_type": "relative_key_query"},
        TRACED | {"mask_mode": "zeros"},
        pairs,
    ),
    "nothing to attend to, zeros": ({}, TRACED | {"mask_mode": "zeros"}, one_row_masked),
    "nothing to attend to, nan": ({}, TRACED | {"mask_mode": "nan"}, one_row_masked),
    "a head mask of rows": ({}, TRACED, head_mask_rows),
    "training": (
        {"attention_probs_dropout_prob": 0.3, "hidden_dropout_prob": 0.1},
        TRACED | {"training": True, "seed": 5},
        None,
    ),
    "padding skipped": ({}, {"output_hidden_states": True}, holes),
    "padding skipped, relative": (
        {"position_embedding_type": "relative_key_query"},
        {"output_hidden_states": True},
        holes,
    ),
    "padding skipped, training": (
        {"position_embedding_type": "relative_key", "attention_probs_dropout_prob": 0.3},
        {"training": True, "seed": 6},
        holes,
    ),
}


def varied(kind, seed, name):
    """A random case with a variation: configuration, tensors and call."""
    changes, options, drawn = VARIATIONS[name]
    config, tensors, call = random_case(seed, kind)
    if changes:
        config = config.replace(**changes)
        tensors = trained_like(config, PARTS[kind], seed)
    call |= options
    if drawn:
        call |= drawn(call, np.random.default_rng(seed))
    if callable(call.get("head_mask")):
        applications = config.num_hidden_layers * config.inner_group_num
        call["head_mask"] = call["head_mask"](applications, config.num_attention_heads)
    return config, tensors, call


def judged(backend, model, kind, config, tensors, call, **options):
    """(actual, draws, truth) of each array that a model of that backend gives: its numbers, and NaN where truth has it."""
    out, truth = model(**call), everything(NUMPY.model(kind, config, tensors)(**call))
    drawn = NUMPY.draws(lambda model: everything(model(**call)), kind, config, tensors, **options)
    actual, cases = everything(out), {}
    assert list(actual) == backend.has(out, truth)
    for key in actual:
        expected = truth[key]
        numbers = ~np.isnan(expected)  # NaN where mask_mode asks for it, and of losses without a label
        assert np.array_equal(np.isnan(actual[key]), ~numbers), key
        if numbers.any():
            found, *others = (np.asarray(x)[numbers] for x in (actual[key], *(x[key] for x in drawn)))
            cases[key] = found, others, np.asarray(expected)[numbers]
    return cases
