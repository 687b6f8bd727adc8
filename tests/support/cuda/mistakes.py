"""Kernels with one mistake each, which the simulator has to notice."""

import functools
import types

import numpy as np

from albert_np.kernels.cuda import simulator


def differs(function, module, expected):
    """Whether some order of threads and copies shows it."""
    for seed in (None, 1, 2, 3, 4):
        simulator.order(seed)
        try:
            if not np.array_equal(function(module), expected):
                return True
        except (simulator.Divergence, IndexError, ValueError, ArithmeticError):
            return True
    return False


@functools.cache
def unchanged(function, module):
    """What the mutants of a module are held against: computed once."""
    return function(module)


def mutant(module, old, new):
    """The module with every place of its source changed that reads so."""
    with open(module.__file__) as file:
        source = file.read()
    assert old in source, old
    changed = types.ModuleType(module.__name__)
    changed.__file__ = module.__file__
    exec(compile(source.replace(old, new), module.__file__, "exec"), changed.__dict__)
    return changed
