"""What one call carries from box to box: the table of ops, the config, the dropout's generator and the trace; and its results.

A Head is the part above the encoder, as functions. An engine (backends/) runs both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from albert_np.config import AlbertConfig
from albert_np.ops import Array, Attending, MaskMode

if TYPE_CHECKING:
    from albert_np.inputs import Inputs


class Ops(Protocol):
    """The table of ops that a forward calls: the functions of ops.py, as one backend computes them. ops.py is such a table."""

    def embedding(self, ids: Array, table: Array) -> Array: ...
    def linear(self, x: Array, weight: Array, bias: Array) -> Array: ...
    def layer_norm(self, x: Array, weight: Array, bias: Array, eps: float) -> Array: ...
    def activation(self, x: Array, name: str) -> Array: ...
    def tanh(self, x: Array) -> Array: ...
    def dropout(self, x: Array, p: float | None, rng: np.random.Generator | None) -> Array: ...
    def attention(
        self, query: Array, key: Array, value: Array, attending: Attending, rng: np.random.Generator | None = None
    ) -> tuple[Array, Array, Array]: ...


class TrainingOps(Ops, Protocol):
    """The table with the ops that the way back calls too."""

    def embedding_backward(self, dy: Array, ids: Array, rows: int, padding_idx: int | None = None) -> Array: ...
    def linear_backward(self, dy: Array, x: Array, weight: Array) -> tuple[Array, Array, Array]: ...
    def layer_norm_backward(self, dy: Array, x: Array, weight: Array, eps: float) -> tuple[Array, Array, Array]: ...
    def activation_backward(self, dy: Array, x: Array, name: str) -> Array: ...
    def dropout_backward(self, dy: Array, p: float | None, rng: np.random.Generator | None) -> Array: ...


class LayerOps(TrainingOps, Protocol):
    """And the one that the way back through encoder.py calls. An engine that has its own encoder does without."""

    def attention_backward(
        self,
        d_context: Array,
        query: Array,
        key: Array,
        value: Array,
        scores: Array,
        attending: Attending,
        rng: np.random.Generator | None = None,
    ) -> tuple[Array, Array, Array, Array | None]: ...


class Weights(SimpleNamespace):
    """The stored tensors as attributes that follow Hugging Face's names: `w.albert_layers[0].attention.query.weight`."""

    def __getattr__(self, name: str) -> Any:  # only called for what is missing; here for the type checker's sake
        raise AttributeError(f"no weight {name!r}; there are {', '.join(vars(self))}")


def weight_tree(named: Mapping[str, Array]) -> Any:  # {"a.0.weight": x} -> .a[0].weight
    """Turns dotted names into attributes and numbers into list places. The arrays are the same objects."""
    branches: dict[str, dict[str, Array]] = {}
    for name, array in named.items():
        head, _, rest = name.partition(".")
        branches.setdefault(head, {})[rest] = array
    children = {head: rest[""] if "" in rest else weight_tree(rest) for head, rest in branches.items()}
    if all(head.isdecimal() for head in children):
        return [children[str(i)] for i in range(len(children))]
    return Weights(**children)


class Trace(dict[str, Array]):
    """The intermediates of a call by name, in the order in which they were computed.

    backend, dtype: what computed them. absent: the steps that are not in the trace, and why: a fused engine computes some
    steps only as parts of a larger one. absent is empty if every step was computed by itself.
    """

    def __init__(self, backend: str = "numpy", dtype: str = "float32", absent: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.backend, self.dtype, self.absent = backend, dtype, dict(absent or {})

    @property
    def fused(self) -> bool:
        return bool(self.absent)

    def __missing__(self, name: str) -> Array:
        """Raises KeyError, and says why a step is not there where that is known."""
        step = re.sub(r"^encoder\.layer\.\d+\.", "", str(name))
        if step in self.absent:
            raise KeyError(f"{name}: {self.absent[step]}; trace='unfused' computes it by itself")
        raise KeyError(name)

    def begin(self, backend: str, dtype: str) -> Trace:
        """The same trace, which that backend is about to fill. For traces that the caller brings."""
        self.backend, self.dtype = backend, dtype
        return self

    def copy(self) -> Trace:
        """The same arrays, in a trace of its own."""
        other = Trace(self.backend, self.dtype, self.absent)
        other.update(self)
        return other


@dataclass(frozen=True)
class Run:
    """One forward, as the boxes of embeddings.py, encoder.py and heads.py see it."""

    ops: Ops
    config: AlbertConfig
    rng: np.random.Generator | None = None  # None: inference, where dropout does nothing
    trace: Trace | None = None
    labelled_only: bool = False  # vocabulary logits for labelled tokens only: the loss reads no others
    wanted: Callable[[str], bool] | None = None  # which names the trace keeps; None: all
    states: dict[str, Any] = field(default_factory=dict)  # of the generator, before each draw, where a trace is kept

    def record(self, name: str, x: Array) -> Array:
        """Returns x, and keeps it under its name if a trace was asked for."""
        if self.trace is not None and (self.wanted is None or self.wanted(name)):
            self.trace[name] = x
        return x

    def draw(self, name: str) -> np.random.Generator | None:
        """The generator for the dropout of that name."""
        if self.rng is not None and self.trace is not None:
            self.states[name] = self.rng.bit_generator.state
        return self.rng

    def draw_again(self, name: str) -> np.random.Generator | None:
        """A generator that draws what the dropout of that name drew."""
        return None if self.rng is None else generator_at(self.states[name])


def generator_at(state: Any) -> np.random.Generator:
    """A new generator in the given state."""
    again = np.random.default_rng()
    again.bit_generator.state = state
    return again


@dataclass(frozen=True)
class Encoded:
    """What a head starts from."""

    hidden: Array  # (B,T,H)
    hidden_states: tuple[Array, ...] | None = None
    attentions: tuple[Array, ...] | None = None
    real: Array | None = None  # (B,T) bool with skip_padding: where something was computed; None is everywhere


@dataclass(frozen=True)
class Wanted:
    """What a call asks of an engine."""

    hidden_states: bool = False
    attentions: bool = False
    skip_padding: bool = False
    mask_mode: MaskMode = "uniform"
    trace: Literal[False, "fused", "unfused"] = False  # "fused": of what a plain call runs; "unfused": step by step
    into: Trace | None = None  # where the caller wants an "unfused" trace to be kept
    rng: np.random.Generator | None = None  # None: without dropout
    on_device: bool = False  # the answer stays where it was computed

    def new_trace(self, backend: str, dtype: str, absent: Mapping[str, str] | None = None) -> Trace | None:
        """Where an engine keeps its steps: None if nobody asked."""
        if self.into is not None:
            return self.into.begin(backend, dtype)
        return Trace(backend, dtype, absent) if self.trace else None


@dataclass(frozen=True)
class WantedGradients:
    """What value_and_grad asks of an engine."""

    mask_mode: MaskMode = "uniform"
    rng: np.random.Generator | None = None  # None: without dropout
    per_application: bool = False
    recompute: bool = False
    all_logits: bool = False
    into: Trace | None = None  # where the gradients with respect to every step are kept, if the caller wants them


@dataclass(frozen=True)
class Head:
    """The part above the encoder, with its weights and the labels of one call: all that an engine sees of a model."""

    forward: Callable[[Run, Encoded], Any]  # -> a ModelOutput
    backward: Callable[[Any, Encoded], Array]  # gradients.Back -> (B,T,H), the gradient with respect to `hidden`
    reads: Callable[[Run, Inputs], Array | None]  # -> (B,T) bool: the states that the loss reads; None is all
