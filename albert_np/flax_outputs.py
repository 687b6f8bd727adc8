"""What the Flax classes return: outputs.py's under Flax's names, without a loss, because Flax's classes take no labels."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Self

from albert_np.ops import Array
from albert_np.outputs import ModelOutput
from albert_np.run import Trace


class FlaxModelOutput(ModelOutput):
    """As a ModelOutput; `replace` is what every dataclass of Flax's has."""

    def replace(self, **changed: Any) -> Self:
        """A copy with other values for some fields."""
        return dataclasses.replace(self, **changed)  # type: ignore[type-var]

    @classmethod
    def of(cls, out: ModelOutput) -> Self:
        """The same arrays as `out`, whose class has these fields too."""
        made = cls(**{field.name: getattr(out, field.name) for field in dataclasses.fields(cls)})  # type: ignore[arg-type]
        made.precision = out.precision
        return made


@dataclass
class FlaxBaseModelOutputWithPooling(FlaxModelOutput):
    """What FlaxAlbertModel returns."""

    last_hidden_state: Array | None = None  # (B,T,H)
    pooler_output: Array | None = None  # (B,H)
    hidden_states: tuple[Array, ...] | None = None  # L+1 × (B,T,H), the projected embeddings first
    attentions: tuple[Array, ...] | None = None  # L · inner_group_num × (B,N,T,T)
    trace: Trace | None = None


@dataclass
class FlaxAlbertForPreTrainingOutput(FlaxModelOutput):
    """What FlaxAlbertForPreTraining returns."""

    prediction_logits: Array | None = None  # (B,T,V)
    sop_logits: Array | None = None  # (B,2)
    hidden_states: tuple[Array, ...] | None = None
    attentions: tuple[Array, ...] | None = None
    trace: Trace | None = None


@dataclass
class _Logits(FlaxModelOutput):
    logits: Array | None = None
    hidden_states: tuple[Array, ...] | None = None
    attentions: tuple[Array, ...] | None = None
    trace: Trace | None = None


@dataclass
class FlaxMaskedLMOutput(_Logits):
    """logits (B,T,V)."""


@dataclass
class FlaxSequenceClassifierOutput(_Logits):
    """logits (B,K)."""


@dataclass
class FlaxMultipleChoiceModelOutput(_Logits):
    """logits (B, choices)."""


@dataclass
class FlaxTokenClassifierOutput(_Logits):
    """logits (B,T,K)."""


@dataclass
class FlaxQuestionAnsweringModelOutput(FlaxModelOutput):
    """What FlaxAlbertForQuestionAnswering returns."""

    start_logits: Array | None = None  # (B,T)
    end_logits: Array | None = None  # (B,T)
    hidden_states: tuple[Array, ...] | None = None
    attentions: tuple[Array, ...] | None = None
    trace: Trace | None = None
