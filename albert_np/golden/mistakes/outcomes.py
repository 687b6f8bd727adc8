"""What the outputs of a program are: the numbers that a candidate has, beside the numbers that a list of steps gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from albert_np.config import AlbertConfig
from albert_np.files import shown
from albert_np.golden.candidates.candidate import Candidate
from albert_np.golden.candidates.output_names import as_steps
from albert_np.golden.graph import Step, outputs
from albert_np.ops import Array

PAIR = {"start_logits": 0, "end_logits": 1}  # columns of qa_outputs


class Output(NamedTuple):
    """One output: its name, the step that it is, and one column of it or all."""

    name: str
    step: str
    column: int | None = None

    def of(self, value: Array) -> Array:
        """The output, from the step's value."""
        return value if self.column is None else value[..., self.column]


def last_layer(steps: list[Step]) -> str:
    """The step that the encoder ends with."""
    return [one.name for one in steps if one.name.endswith(".full_layer_layer_norm")][-1]


def found_outputs(
    candidate: Candidate, architecture: str, config: AlbertConfig, steps: list[Step], values: Mapping[str, Array]
) -> dict[Output, Array]:
    """The candidate's outputs, in the shapes of the steps' values; if it has none, all the steps that it has.

    Raises ValueError if it has neither, or if a shape is not the step's.
    """
    lone = [name for name in PAIR if name in candidate]
    kept = [name for name in candidate if len(lone) == 2 or name not in lone]
    named = as_steps(Candidate(candidate.path, candidate.kind, map(candidate.tensor, kept)), architecture, config)
    final = set(outputs(steps, architecture).values()) | {last_layer(steps)}
    chosen = [name for name in values if name in named and name in final]
    if not lone:
        chosen = chosen or [name for name in values if name in named]
    arrays = {Output(name, name): named[name] for name in chosen}
    if len(lone) == 1 and architecture == "AlbertForQuestionAnswering":
        arrays[Output(lone[0], "qa_outputs", PAIR[lone[0]])] = candidate[lone[0]]
    if not arrays:
        fields = ", ".join(outputs(steps, architecture))
        some = ", ".join(shown(name, 40) for name in list(candidate)[:5])
        raise ValueError(
            f"{candidate.path} holds no output of {architecture}: name one of {fields}, or a step; it has {some}"
        )
    return {output: _fitting(candidate.path, output, x, output.of(values[output.step])) for output, x in arrays.items()}


def _fitting(path: str, output: Output, x: Array, right: Array) -> Array:
    if x.dtype.kind not in "fiu":
        raise ValueError(f"{path}: {shown(output.name)} must hold numbers; it is of {x.dtype}")
    if x.size == right.size and np.squeeze(x).shape == np.squeeze(right).shape:
        return x.reshape(right.shape).astype(np.float64)
    raise ValueError(f"{path}: {shown(output.name)} must have the shape {right.shape}; it has {x.shape}")


def chosen_values(
    wanted: Mapping[Output, Any], values: Mapping[str, Array], steps: list[Step], right: list[Step]
) -> list[Array] | None:
    """The same outputs of another list of steps, whose encoder may end elsewhere. None if it does not have them."""
    ends = {last_layer(right): last_layer(steps)}
    found = [output.of(values[ends.get(output.step, output.step)]) for output in wanted if _there(output, ends, values)]
    return found if len(found) == len(wanted) else None


def _there(output: Output, ends: Mapping[str, str], values: Mapping[str, Array]) -> bool:
    return ends.get(output.step, output.step) in values


def real_tokens(wanted: Mapping[Output, Array], allowed: Array) -> Iterator[Array]:  # (B,1,1|T,T) bool -> (...) bool
    """Which numbers of each output belong to tokens that are no padding."""
    mask = allowed[:, 0].any(-2)
    for output, x in wanted.items():
        by_token = x.ndim == 3 or output.column is not None
        yield np.broadcast_to(mask.reshape(*mask.shape, *(1,) * (x.ndim - 2)) if by_token else np.True_, x.shape)
