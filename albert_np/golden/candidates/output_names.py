"""What models return under Hugging Face's names -> the steps of the graph that it is.

last_hidden_state, pooler_output, logits, prediction_logits, sop_logits, start_logits and end_logits; hidden_states and
attentions, one by one (hidden_states.3, hidden_states[3]) or stacked in one array.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

import numpy as np

from albert_np.config import AlbertConfig
from albert_np.encoder import step
from albert_np.files import shown
from albert_np.golden.candidates.candidate import Candidate
from albert_np.golden.candidates.files import Found
from albert_np.golden.graph import graph, outputs
from albert_np.ops import Array

_NUMBERED = re.compile(r"(hidden_states|attentions)(?:[._/](\d{1,4})|\[(\d{1,4})\])")


class Source(NamedTuple):
    """Which output a step is, and how to get it out."""

    names: tuple[str, ...]  # of outputs; two for question answering
    item: int | None = None  # of a stack
    of: int | None = None  # how many items the stack must have
    how: str = ""  # "columns": the outputs are columns of the step; "rows": each number is a row of it


def outputs_as_steps(names: Iterable[str], architecture: str, config: AlbertConfig) -> dict[str, list[Source]]:
    """Step -> the outputs that it is; two where hidden_states ends with last_hidden_state, say. Other names are left out.

    Raises ValueError for an architecture that is not ALBERT's.
    """
    names = list(names)
    steps = graph(config, architecture)
    last = [one.name for one in steps if one.name.endswith(".full_layer_layer_norm")][-1]
    fields = {"last_hidden_state": last, "pooler_output": "pooler_activation"} | outputs(steps, architecture)
    if architecture == "AlbertForQuestionAnswering":
        fields |= {"logits": "qa_outputs"}
    known = {one.name for one in steps}
    found: dict[str, list[Source]] = {}

    def add(to: str, source: Source) -> None:
        if to in known:
            found.setdefault(to, []).append(source)

    for name in names:
        if name in ("start_logits", "end_logits"):
            if name == "start_logits" and "end_logits" in names:
                add("qa_outputs", Source(("start_logits", "end_logits"), how="columns"))
        elif name in fields:
            rows = name == "logits" and architecture == "AlbertForMultipleChoice"
            add(fields[name], Source((name,), how="rows" if rows else ""))
    numbered = {"hidden_states": _hidden_states(config), "attentions": _attentions(config)}
    for name in names:
        match = _NUMBERED.fullmatch(name)
        if match and int(match[2] or match[3]) < len(numbered[match[1]]):
            add(numbered[match[1]][int(match[2] or match[3])], Source((name,)))
        for i, to in enumerate(numbered.get(name, ())):
            add(to, Source((name,), item=i, of=len(numbered[name])))
    return found


def _hidden_states(config: AlbertConfig) -> list[str]:
    """The projected embeddings, and what each of the L layers ends with: the last of its inner ones."""
    inner = config.inner_group_num
    ends = [step(i * inner + inner - 1, "full_layer_layer_norm") for i in range(config.num_hidden_layers)]
    return ["encoder.embedding_hidden_mapping_in", *ends]


def _attentions(config: AlbertConfig) -> list[str]:
    return [step(a, "attention.probs") for a in range(config.num_hidden_layers * config.inner_group_num)]


def as_steps(candidate: Candidate, architecture: str, config: AlbertConfig) -> Candidate:
    """The candidate with outputs under the names of steps. What is under the name of a step already stays.

    Raises ValueError if two tensors are the same step and differ, or a stack has not as many items as the model has layers.
    """
    found = outputs_as_steps(candidate, architecture, config)
    taken = {name for sources in found.values() for source in sources for name in source.names}
    tensors = {name: candidate.tensor(name) for name in candidate if name not in taken}
    notes = []
    for to, sources in found.items():
        for source in sources:
            new = _read(candidate, to, source)
            if to not in tensors:
                tensors[to] = new
            elif not np.array_equal(tensors[to].load(), new.load(), equal_nan=True):
                raise ValueError(
                    f"{candidate.path}: {' and '.join(source.names)} must equal the other tensor that is {to}; they differ"
                )
        notes.append(f"{' and '.join(sources[0].names)} was read as {to}")
    return Candidate(candidate.path, candidate.kind, tensors.values(), [*candidate.notes, *notes])


def _read(candidate: Candidate, to: str, source: Source) -> Found:
    parts = [candidate.tensor(name) for name in source.names]
    shape = parts[0].shape
    if source.of is not None:
        if not shape or shape[0] != source.of:
            raise ValueError(
                f"{candidate.path}: {shown(source.names[0])} must have {source.of} items, one for each step; "
                f"its shape is {shape}"
            )
        shape = shape[1:]
    elif source.how == "columns":
        if parts[1].shape != shape:
            raise ValueError(
                f"{candidate.path}: {' and '.join(source.names)} must be of one shape; got {shape} and {parts[1].shape}"
            )
        shape = (*shape, 2)
    elif source.how == "rows":
        shape = (int(np.prod(shape, dtype=object)), 1)
    return Found(to, shape, parts[0].dtype, partial(_taken, parts, source))


def _taken(parts: list[Found], source: Source) -> Array:
    arrays = [part.load() for part in parts]
    if source.item is not None:
        return arrays[0][source.item]
    if source.how == "columns":
        return np.stack(arrays, axis=-1)
    return arrays[0].reshape(-1, 1) if source.how == "rows" else arrays[0]
