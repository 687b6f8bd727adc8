"""What a model returns: like transformers' ModelOutput, with attributes, keys and indices. A field that is None is left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, NoReturn, overload

from albert_np.ops import Array
from albert_np.run import Trace


class ModelOutput:
    """Fields in order: `out.logits`, `out["logits"]`, `out[0]`, `out[:2]`, `out.to_tuple()` and `dict(out)` all work.

    `out["logits"] = x` sets a field; under any other name it adds an item behind the fields. No item is taken out again.
    """

    # each output names these again, in their place after its own; here no field, only a promise to the type checker
    hidden_states: tuple[Array, ...] | None
    attentions: tuple[Array, ...] | None
    trace: Trace | None
    # what the model computed in, one of backends/choose.py's DTYPES; no field, and so no item either
    precision: str | None = None

    def __post_init__(self) -> None:
        """An output of one dict has its items: code that rebuilds mappings does `type(out)({…})`."""
        first, *others = self._fields()
        items = getattr(self, first)
        if isinstance(items, dict) and all(getattr(self, name) is None for name in others):
            setattr(self, first, None)
            for name, value in items.items():
                self[name] = value

    def _fields(self) -> list[str]:
        return [f.name for f in fields(self)]  # type: ignore[arg-type]

    def keys(self) -> list[str]:
        """The names of the fields that are not None, in order, and then those of items that were added."""
        return [name for name in (*self._fields(), *vars(self).get("_added", ())) if getattr(self, name) is not None]

    def values(self) -> list[Any]:
        """The values of these fields, in the same order."""
        return [getattr(self, name) for name in self.keys()]

    def items(self) -> list[tuple[str, Any]]:
        """Pairs of the name and the value of these fields."""
        return [(name, getattr(self, name)) for name in self.keys()]

    def to_tuple(self) -> tuple[Any, ...]:
        """The fields that are not None, in order: what `return_dict=False` returns."""
        return tuple(self.values())

    @overload
    def __getitem__(self, key: str | int) -> Any: ...
    @overload
    def __getitem__(self, key: slice) -> tuple[Any, ...]: ...
    def __getitem__(self, key: str | int | slice) -> Any:
        if isinstance(key, str):
            if key not in self.keys():
                raise KeyError(f"{key!r}: this output holds {', '.join(self.keys())}")
            return getattr(self, key)
        return self.to_tuple()[key]

    def __setitem__(self, key: str, value: Any) -> None:
        """Sets a field, or adds an item behind the fields. Raises ValueError if it is no str, or the name of a method."""
        if not isinstance(key, str):
            raise ValueError(f"a field is set by its name; got {key!r:.80}")
        if key not in self._fields():
            if key.startswith("_") or hasattr(type(self), key):
                raise ValueError(f"{key} is no name for a field of {type(self).__name__}, which has its own")
            added = vars(self).get("_added", ())
            vars(self)["_added"] = added if key in added else (*added, key)
        setattr(self, key, value)

    def _refuse(self, what: str) -> NoReturn:
        raise ValueError(
            f"{type(self).__name__} has no {what}: out[name] = value sets a field, and dict(out) is a dict"
        )

    def __delitem__(self, key: Any) -> NoReturn:
        self._refuse("del")

    def pop(self, *args: Any) -> NoReturn:
        """Raises ValueError, as all that takes items out."""
        self._refuse("pop")

    def popitem(self, *args: Any) -> NoReturn:
        """Raises ValueError, as all that takes items out."""
        self._refuse("popitem")

    def clear(self) -> NoReturn:
        """Raises ValueError, as all that takes items out."""
        self._refuse("clear")

    def update(self, *args: Any, **items: Any) -> NoReturn:
        """Raises ValueError: items are set one by one."""
        self._refuse("update")

    def setdefault(self, *args: Any) -> NoReturn:
        """Raises ValueError: items are set one by one."""
        self._refuse("setdefault")

    def get(self, key: str, default: Any = None) -> Any:
        """A field by name; the default if the field is None or does not exist."""
        return getattr(self, key) if key in self.keys() else default

    def __iter__(self) -> Iterator[str]:  # over the keys, as in a mapping and in transformers
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.keys())

    def __contains__(self, key: object) -> bool:
        return key in self.keys()


Mapping.register(ModelOutput)


@dataclass
class BaseModelOutputWithPooling(ModelOutput):
    """What AlbertModel returns."""

    last_hidden_state: Array | None = None  # (B,T,H)
    pooler_output: Array | None = None  # (B,H)
    hidden_states: tuple[Array, ...] | None = None  # L+1 × (B,T,H), the projected embeddings first
    attentions: tuple[Array, ...] | None = None  # L · inner_group_num × (B,N,T,T)
    trace: Trace | None = None


@dataclass
class AlbertForPreTrainingOutput(ModelOutput):
    """What AlbertForPreTraining returns."""

    loss: Any = None  # ()
    prediction_logits: Array | None = None  # (B,T,V)
    sop_logits: Array | None = None  # (B,2)
    hidden_states: tuple[Array, ...] | None = None
    attentions: tuple[Array, ...] | None = None
    trace: Trace | None = None


@dataclass
class _LossAndLogits(ModelOutput):
    loss: Any = None  # ()
    logits: Array | None = None
    hidden_states: tuple[Array, ...] | None = None
    attentions: tuple[Array, ...] | None = None
    trace: Trace | None = None


@dataclass
class MaskedLMOutput(_LossAndLogits):
    """logits (B,T,V), or (B,M,V) with logits_positions."""


@dataclass
class SequenceClassifierOutput(_LossAndLogits):
    """logits (B,K)."""


@dataclass
class MultipleChoiceModelOutput(_LossAndLogits):
    """logits (B, choices)."""


@dataclass
class TokenClassifierOutput(_LossAndLogits):
    """logits (B,T,K)."""


@dataclass
class QuestionAnsweringModelOutput(ModelOutput):
    """What AlbertForQuestionAnswering returns."""

    loss: Any = None  # ()
    start_logits: Array | None = None  # (B,T)
    end_logits: Array | None = None  # (B,T)
    hidden_states: tuple[Array, ...] | None = None
    attentions: tuple[Array, ...] | None = None
    trace: Trace | None = None
