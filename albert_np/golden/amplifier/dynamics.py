"""The shared layer as a dynamical system: what becomes of a small error on its way, application by application.

Applied again and again, one block is a discrete dynamical system x → f(x). Its largest finite-time Lyapunov exponent, the
mean logarithm of the growth of a small random change, says whether errors die out (below 0) or grow (above).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from albert_np.encoder import step
from albert_np.golden.amplifier.gains import Amplification
from albert_np.golden.amplifier.injection import deviation, generator, sites
from albert_np.golden.amplifier.tangents import push
from albert_np.golden.arithmetic import Exact
from albert_np.golden.graph import Step, graph, run
from albert_np.ops import Array


@dataclass(frozen=True)
class Growth:
    """What one application does to a small change of its input, relative to the size of the state."""

    application: int
    fresh: float  # to a random change of this application's input
    followed: float  # to what became of a random change of the first application's input
    exponent: float  # mean logarithm of `followed` from the first application to this one


def growth(amp: Amplification, applications: int | None = None, *, probes: int = 8) -> list[Growth]:
    """Each application's growth; also of more applications than the model has, if one layer is shared by all of them.

    Raises ValueError for more applications of several groups, or with a head mask, which has a row for each application.
    """
    config, states = amp.config, "encoder.embedding_hidden_mapping_in"
    L, head_mask = config.num_hidden_layers, "head_mask.0" in amp.values
    wanted = L if applications is None else applications
    if not 1 <= wanted or (wanted > L and (config.num_hidden_groups > 1 or head_mask)):
        raise ValueError(f"applications must be from 1 to {L} (or more, with one group and no head mask); got {wanted}")
    steps = [
        one
        for one in graph(config.replace(num_hidden_layers=wanted), head_mask=head_mask, pooler=False)
        if one.application is not None and not one.beside
    ]
    values = {**amp.values, **run(steps, amp.values, amp.weights, Exact())}
    found: list[Growth] = []
    name, logarithms = states, 0.0
    followed = _probes(amp, 0, (probes, *values[name].shape))
    for a in range(wanted * config.inner_group_num):
        block = [one for one in steps if one.application == a]
        out = step(a, "full_layer_layer_norm")
        sizes = []
        for x in (_probes(amp, a + 1, (probes, *values[name].shape)), followed):
            changes = _pushed(block, values, {name: x}, amp.weights)
            sizes.append(_size(changes[out], values[out]) / _size(x, values[name]))
            last = changes[out]
        logarithms += math.log(sizes[1]) if sizes[1] else -math.inf
        found.append(Growth(a, sizes[0], sizes[1], logarithms / (a + 1)))
        followed, name = last / (_size(last, values[out]) or 1.0), out
    return found


@dataclass(frozen=True)
class State:
    """The state behind one application, with the error that it has there."""

    application: int
    predicted: float  # root mean square of the error, as a share of the state's standard deviation
    pcc: float  # that follows from it
    measured: float
    measured_pcc: float


def along(amp: Amplification, errors: Mapping[str, float], *, probes: int = 4, draws: int = 2) -> list[State]:
    """How the error grows over the applications: predicted, by carrying random errors along, and measured with noise."""
    sizes = amp.sizes(errors)
    changes: dict[str, Array] = {}
    for one in amp.way:
        change = push(one, amp.values, changes, amp.weights)
        for site in sites(one, amp.values, amp.weights):
            if sizes.get(site.key):
                z = generator(site.key, (amp.seed, 1)).standard_normal((probes, *site.value.shape))
                more = site.spread(sizes[site.key] * deviation(site.value, amp.unit) * z)
                change = more if change is None else change + more
        if change is not None:
            changes[one.name] = change
    noisy = [amp.draw(sizes, i) for i in range(draws)]
    found = []
    for one in amp.way:
        if one.application is None or one.name != step(one.application, "full_layer_layer_norm"):
            continue
        x = amp.values[one.name]
        share = float(np.sqrt(np.mean(np.square(changes[one.name]))) / np.std(x)) if one.name in changes else 0.0
        off = [values[one.name] for values in noisy]
        measured = float(np.sqrt(np.mean([np.mean((y - x) ** 2) for y in off])) / np.std(x))
        pcc = float(np.mean([np.corrcoef(y.ravel(), x.ravel())[0, 1] for y in off]))
        found.append(State(one.application, share, 1 / math.hypot(1, share), measured, pcc))
    return found


def _probes(amp: Amplification, number: int, shape: tuple[int, ...]) -> Array:
    return np.random.default_rng([amp.seed, number]).standard_normal(shape)


def _pushed(
    steps: list[Step], values: Mapping[str, Array], changes: Mapping[str, Array], weights: Mapping[str, Array]
) -> dict[str, Array]:
    found = dict(changes)
    for one in steps:
        change = push(one, values, found, weights)
        if change is not None:
            found[one.name] = change
    return found


def _size(change: Array, state: Array) -> float:
    """Relative to the state, both in the root mean square."""
    return float(np.sqrt(np.mean(np.square(change)) / np.mean(np.square(state))))
