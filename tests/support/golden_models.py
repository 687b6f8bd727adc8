"""Tiny models for tests of the golden kit, with programs that compute them in another precision, or with a mistake."""

import numpy as np

import albert_np
from albert_np.golden.arithmetic import Exact
from albert_np.golden.cases import PARTS, TINY, batch, random_config, trained_like
from albert_np.golden.graph import graph, outputs, run
from albert_np.golden.mistakes.catalogue import Mistaken, mistakes
from albert_np.golden.mistakes.noise import NARROW, rounded
from albert_np.golden.recording import batch_of

KINDS = tuple(PARTS)


class Case:
    """A tiny model, its inputs, and what it should compute: as much of a recording as programs need."""

    def __init__(self, config, kind, seed, **features):
        self.config, self.architecture, self.seed = config, kind, seed
        tensors = {name: x.astype(np.float64) for name, x in trained_like(config, PARTS[kind], seed).items()}
        self.model = getattr(albert_np, kind)(config, backend="numpy", dtype="float64", tensors=tensors)
        self.weights = self.model._tensors
        call = batch(config, kind, seed, **features)
        self.call = {name: x for name, x in call.items() if name not in self.model.labels}
        self.batch = batch_of(config, kind, self.call)
        self.steps = graph(config, kind, head_mask="head_mask" in call, embeds="inputs_embeds" in call)
        self.values = run(self.steps, self.batch, self.weights, Exact())

    def run(self, steps):
        return run(steps, self.batch, self.weights, Mistaken(Exact()))

    def outputs(self, values, steps):
        """What a call returns, by name."""
        found = {key: values[name] for key, name in outputs(steps, self.architecture).items()}
        columns = {"start_logits": 0, "end_logits": 1}
        return {key: x[..., columns[key]] if key in columns else x for key, x in found.items()}

    def program(self, steps, precision="float32"):
        """The outputs of a program in that precision, with these steps: in 16 bits, each op's result is rounded."""
        narrow = precision if precision in NARROW else None
        table = Rounding(Mistaken(Exact()), narrow)
        arrays = ({name: _narrow(x, narrow) for name, x in known.items()} for known in (self.batch, self.weights))
        with np.errstate(all="ignore"):
            return self.outputs(run(steps, *arrays, table), steps)

    def mistake(self, name):
        return next(one for one in mistakes(self.config, self.architecture) if one.name == name)


class Rounding:
    """A table in float32, whose results are rounded."""

    def __init__(self, table, precision):
        self.table, self.precision = table, precision

    def __getattr__(self, op):
        method = getattr(self.table, op)
        return lambda *arrays, **attributes: _narrow(np.asarray(method(*arrays, **attributes)), self.precision)


def _narrow(x, precision):
    if x.dtype.kind != "f":
        return x
    x = x.astype(np.float32)
    return x if precision is None else rounded(x, precision)


def of_seed(seed):
    """A random model of a random class, with padding for even seeds and factors for the heads for every third."""
    kind = KINDS[seed % len(KINDS)]
    return Case(random_config(seed, kind), kind, seed, padding=seed % 2 == 0, head_mask=seed % 3 == 0)


def tiny(kind="AlbertForPreTraining", seed=1, padding=True, **changes):
    """A model with two segments, three heads and four applications."""
    return Case(albert_np.AlbertConfig(**TINY | changes), kind, seed, padding=padding)
