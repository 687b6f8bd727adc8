"""Correct programs that differ: each stays inside the budget of every op, and they lie near one another."""

from itertools import islice

import numpy as np
import pytest
from support.golden_models import of_seed, tiny

from albert_np.golden.arithmetic import Exact
from albert_np.golden.budgets.judging import judge
from albert_np.golden.budgets.precisions import precision
from albert_np.golden.budgets.table import Budgets
from albert_np.golden.graph import evaluate
from albert_np.golden.twin.other_programs import PLAIN, variants


def root_mean_square(x):
    return float(np.sqrt(np.mean(x * x)))


@pytest.mark.parametrize("name", PLAIN)
def test_correct_programs_lie_near_one_another(name):
    """In the root mean square over all steps, none is four times as far from the truth as the plain program, or a fifth."""
    ratios = []
    for seed, kind in enumerate(("AlbertForPreTraining", "AlbertForMaskedLM", "AlbertForMultipleChoice")):
        case = tiny(kind, seed)
        errors = []
        for _, program in islice(variants(name, seed), 16):
            values = program.forward(case.steps, case.batch, case.weights)
            assert list(values) == list(case.values)
            size = {key: root_mean_square(x) for key, x in case.values.items()}
            errors.append(
                [root_mean_square(values[key] - x) / size[key] for key, x in case.values.items() if size[key]]
            )
        overall = [root_mean_square(np.array(row)) for row in errors]
        ratios += [one / overall[0] for one in overall[1:]]
    assert 0.2 < min(ratios) < 1 < max(ratios) < 4, (min(ratios), max(ratios))


def alarms(case, name, program):
    """The steps of a program, computed again in float64 from its own recorded inputs, that leave their budgets."""
    found = program.forward(case.steps, case.batch, case.weights, beside=True)
    known = case.batch | {key: x.astype(np.float64) for key, x in found.items()}
    weights = {key: program.store(x).astype(np.float64) for key, x in case.weights.items()}
    budgets = Budgets(precision(name))
    for one in case.steps:
        error = known[one.name] - evaluate(one, known, weights, Exact())
        judgement = judge(error, evaluate(one, known, weights, budgets))
        if judgement.verdict != "pass":
            yield one.name, judgement


@pytest.mark.parametrize("name", PLAIN)
def test_no_correct_program_leaves_a_budget(name):
    for seed in range(4):
        case = tiny(("AlbertModel", "AlbertForPreTraining")[seed % 2], 20 + seed)
        for what, program in islice(variants(name, 20 + seed), 3):
            assert not list(alarms(case, name, program)), what


@pytest.mark.slow
@pytest.mark.parametrize("name", PLAIN)
def test_of_500_correct_programs_on_random_models_none_leaves_a_budget(name):
    for seed in range(25):
        case = of_seed(seed)
        for what, program in islice(variants(name, seed), 5):
            assert not list(alarms(case, name, program)), (seed, what)


def test_variants_of_a_seed_are_the_same_again_and_of_another_seed_are_others():
    first, again, other = ([name for name, _ in islice(variants("bfloat16", seed), 9)] for seed in (1, 1, 2))
    assert first == again
    assert first[1:] != other[1:]
    assert len(set(first)) == 9
    with pytest.raises(ValueError, match="precision must be one of"):
        next(variants("int8"))
