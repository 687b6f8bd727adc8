"""How the states move: how far each application carries them, into which direction, and their paths on a plane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from albert_np.config import AlbertConfig
from albert_np.encoder import applications, step
from albert_np.ops import Array
from albert_np.run import Trace

DIGITS = 4


@dataclass(frozen=True)
class States:
    """The states (T,H) before the first application and after each."""

    states: list[Array]

    def data(self) -> dict[str, Any]:
        """Lists by depth of lists by token; `plane` holds two coordinates for each, `explained` their shares of variance."""
        pairs = list(zip(self.states, self.states[1:], strict=False))
        plane, explained = on_a_plane(np.stack(self.states))
        return {
            "norm": [_rounded(np.linalg.norm(x, axis=-1)) for x in self.states],
            "distance": [_rounded(np.linalg.norm(y - x, axis=-1)) for x, y in pairs],
            "cosine": [_rounded(cosine(x, y)) for x, y in pairs],
            "plane": [[_rounded(point) for point in depth] for depth in plane],
            "explained": _rounded(explained),
        }


def states_of(config: AlbertConfig, trace: Trace) -> States:
    """The states of the only sequence of a trace."""
    names = [step(application, "full_layer_layer_norm") for application, _, _ in applications(config)]
    return States([trace[name][0] for name in ("encoder.embedding_hidden_mapping_in", *names)])


def cosine(x: Array, y: Array) -> Array:  # 2 × (T,H) -> (T,)
    """The cosine of the angle between the states before and after. Where one of them is zero, 0."""
    lengths = np.linalg.norm(x, axis=-1) * np.linalg.norm(y, axis=-1)
    return np.sum(x * y, axis=-1) / np.where(lengths == 0, 1, lengths)


def on_a_plane(states: Array) -> tuple[Array, Array]:  # (A+1,T,H) -> (A+1,T,2), (2,)
    """The two directions in which all states differ most (principal components), and the share of the variance in each.

    A sign of a direction means nothing; here each points to where its farthest state is.
    """
    rows = states.reshape(-1, states.shape[-1])
    centred = rows - rows.mean(axis=0)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    points = centred @ directions[:2].T
    if points.shape[1] < 2:  # H = 1
        points = np.concatenate([points, np.zeros_like(points)], axis=1)
        sizes = np.append(sizes, 0)
    farthest = points[np.abs(points).argmax(axis=0), [0, 1]]
    total = np.sum(sizes**2)
    explained = sizes[:2] ** 2 / total if total > 0 else np.zeros(2)
    return (points * np.where(farthest < 0, -1, 1)).reshape(*states.shape[:2], 2), explained


def _rounded(row: Array) -> list[float]:
    return [float(f"{x:.{DIGITS}g}") for x in row.tolist()]
