"""What all pipelines share: one input, a list or a stream of them; rows for the model, computed together; bad inputs.

A pipeline turns each input into rows (`_prepare`), lets the model compute rows of many inputs at once (`_forward`), and turns
what belongs to an input into its answer (`_answer`). The answer to an input never depends on its neighbours.
"""

from __future__ import annotations

import copy
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import islice
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import numpy as np

from albert_np.calling import AlbertPreTrainedModel
from albert_np.device import Device
from albert_np.files import class_of, listed
from albert_np.ops import Array
from albert_np.tokenization.batch import BatchEncoding
from albert_np.tokenization.tokenizer import AlbertTokenizer

LIST_BATCH = 64  # inputs of a list that are prepared together
TOKENS_AT_ONCE = 2048  # tokens of the rows that the model is given together
ON_ERROR = ("raise", "skip")
WITHOUT_EFFECT = ("num_workers",)  # of transformers' options: inputs are read in this process
MODEL_INPUTS = ("input_ids", "attention_mask", "token_type_ids")

Row = Mapping[str, Any]  # parallel lists under the names of MODEL_INPUTS, for one row of the model


class PipelineException(ValueError):  # noqa: N818 - the name is transformers'
    """What a pipeline raises where transformers' pipelines raise an error of this name. It has their `task` and `model`."""

    def __init__(self, task: str, model: str, reason: str) -> None:
        super().__init__(reason)
        self.task, self.model = task, model

    def __reduce__(self) -> Any:
        return type(self), (self.task, self.model, str(self))


@dataclass(frozen=True)
class Options:
    """What a caller may ask of every pipeline, when it is made and at each call.

    batch_size: how many inputs are prepared together. None means LIST_BATCH for a list, and 1 for an iterable, whose next
    input may take a while to come.
    on_error: "raise" stops at an input that has no answer, with its position in the message; "skip" gives the answer
    {"error": message} for it and goes on.
    """

    MEANS_SOMETHING: ClassVar[tuple[str, ...]] = ()  # options for which None is a choice of its own

    batch_size: int | None = None
    on_error: str = "raise"

    def __post_init__(self) -> None:
        if self.batch_size is not None:
            checked_count(self.batch_size, "batch_size")
        if self.on_error not in ON_ERROR:
            raise ValueError(f"on_error must be one of {', '.join(ON_ERROR)}; got {self.on_error!r:.80}")


@dataclass(frozen=True)
class TextOptions(Options):
    """Options of pipelines whose inputs are texts: also the tokenizer's, which say how long a text may be.

    truncation: None cuts a text that is longer than the model's positions, with a warning; True cuts without one; False
    refuses such a text. tokenizer_kwargs: the same options once more, as a dict.
    """

    truncation: bool | str | None = None
    max_length: int | None = None
    padding: bool | str | None = None
    pad_to_multiple_of: int | None = None
    tokenizer_kwargs: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.of_tokenizer()

    def of_tokenizer(self) -> dict[str, Any]:
        """The options that the tokenizer is given. Raises ValueError for one that it does not have."""
        names = ("truncation", "max_length", "padding", "pad_to_multiple_of")
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        more = {} if self.tokenizer_kwargs is None else self.tokenizer_kwargs
        if not isinstance(more, Mapping) or not set(more) <= set(names):
            raise ValueError(f"tokenizer_kwargs may set {', '.join(names)}; got {more!r:.200}")
        twice = sorted(set(given) & set(more))
        if twice:
            raise ValueError(f"{listed(twice)} is given twice: as an option and in tokenizer_kwargs")
        return {**given, **more}


class Prepared(NamedTuple):
    """An input as rows for the model, and what its answer needs beside their outputs."""

    rows: Sequence[Row]
    note: Any = None


Asked = TypeVar("Asked", bound=Options)


class Pipeline(Generic[Asked]):
    """A model and its tokenizer as one callable. A subclass names its task, prepares inputs and makes answers."""

    task: ClassVar[str]
    options_class: type[Asked]
    models: ClassVar[tuple[type[AlbertPreTrainedModel], ...]]  # those that can do it; a name is loaded as the first
    needs: ClassVar[str]  # the same in words
    column: ClassVar[str | None] = None  # an input may also be a row of a data set, a dict with this column
    framework = "np"  # whose arrays a model takes and gives

    def __init__(self, model: Any, tokenizer: Any, **options: Any) -> None:
        """options: those of a call, as its defaults."""
        if not isinstance(model, self.models):
            raise ValueError(f"{self.task} needs {self.needs}; got {class_of(model)}")
        if not isinstance(tokenizer, AlbertTokenizer):
            raise ValueError(f"tokenizer must be a name or an AlbertTokenizer; got {class_of(tokenizer)}")
        if len(tokenizer) > model.config.vocab_size:
            raise ValueError(
                f"the tokenizer has {len(tokenizer)} tokens and the model {model.config.vocab_size}: do they belong together? "
                "model.resize_token_embeddings(len(tokenizer)) makes room for tokens that were added"
            )
        self.model, self.tokenizer = model, tokenizer
        self.options = self._asked(self.options_class(), options)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model!r}, {self.tokenizer!r}, {self.options!r})"

    def _asked(self, before: Asked, given: Mapping[str, Any]) -> Asked:
        """The options of a call: those before, changed by those that are given. None stands for "as before"."""
        known = [field.name for field in fields(before)]
        unknown = sorted(set(given) - {*known, *WITHOUT_EFFECT})
        if unknown:
            raise ValueError(f"{self.task} knows no {listed(unknown)}; it takes {', '.join(known)}")
        own = before.MEANS_SOMETHING
        meant = {name: value for name, value in given.items() if name in known and (value is not None or name in own)}
        return replace(before, **meant)

    @classmethod
    def load(cls, name_or_path: str | os.PathLike, **made: Any) -> AlbertPreTrainedModel:
        """The model of a name, as the first class of `models`. made: the arguments of from_pretrained."""
        return cls.models[0].from_pretrained(name_or_path, **made)

    @property
    def device(self) -> Device:
        """Where the model computes."""
        return self.model.device

    @property
    def names(self) -> Mapping[int, Any]:
        """The names of the classes."""
        return self.model.config.label_names

    def save_pretrained(self, folder: str | os.PathLike) -> None:
        """Saves model and tokenizer into one folder."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    # --- what a subclass says ----------------------------------------------------------------------------------------

    def _prepare(self, item: Any, options: Asked) -> Prepared:
        """The rows of one input. Raises ValueError if it is none."""
        raise NotImplementedError

    def _forward(self, rows: list[Row]) -> list[Any]:
        """The model's output for each row: its logits."""
        return list(self._called(rows).logits)

    def _answer(self, outputs: list[Any], note: Any, options: Asked) -> Any:
        """The answer to one input from the outputs of its rows."""
        raise NotImplementedError

    def _is_one(self, inputs: Any) -> bool:
        """Whether a call was given one input, not several."""
        return isinstance(inputs, (str, Mapping))

    # --- one, many, or a stream --------------------------------------------------------------------------------------

    def _answers(self, inputs: Any, options: Asked) -> Any:
        """The answer to one input, a list of answers to a list of inputs, or a generator of answers to any other iterable."""
        if self._is_one(inputs):
            (answer,) = self._together([inputs], options, None)
            return answer
        if isinstance(inputs, (list, tuple)):
            return list(self._stream(inputs, options, options.batch_size or LIST_BATCH))
        if isinstance(inputs, Iterable):
            return self._stream(inputs, options, options.batch_size or 1)
        raise ValueError(f"{self.task} takes a text or several; got {type(inputs).__name__}")

    def _stream(self, inputs: Iterable[Any], options: Asked, size: int) -> Iterator[Any]:
        inputs, position = iter(inputs), 0
        while items := list(islice(inputs, size)):
            yield from self._together(items, options, position)
            position += len(items)

    def _together(self, items: list[Any], options: Asked, position: int | None) -> Iterator[Any]:
        """The answers to some inputs, whose rows the model computes together. position: that of the first."""

        def refused(error: ValueError, number: int) -> ValueError:
            place = "" if position is None else f"input {position + number}: "
            refusal = copy.copy(error)  # of any class, with whatever it says beside its message
            refusal.args = (f"{place}{error}",)
            if options.on_error == "raise":
                raise refusal from error
            return refusal

        found: list[Prepared | ValueError] = []
        for number, item in enumerate(items):
            try:
                found.append(self._prepare(self._of_row(item), options))
            except ValueError as error:
                found.append(refused(error, number))
        outputs = iter(self._computed([row for one in found if isinstance(one, Prepared) for row in one.rows]))
        for number, one in enumerate(found):
            if isinstance(one, Prepared):
                try:
                    answer = self._answer(list(islice(outputs, len(one.rows))), one.note, options)
                except ValueError as error:
                    answer = {"error": str(refused(error, number))}
                yield answer
            else:
                yield {"error": str(one)}

    def _of_row(self, item: Any) -> Any:
        return item[self.column] if isinstance(item, Mapping) and self.column in item else item

    def _computed(self, rows: list[Row]) -> list[Any]:
        """The outputs of rows, in their order. The model is given rows of like length together, TOKENS_AT_ONCE at most."""
        outputs: list[Any] = [None] * len(rows)
        lengths = [len(row["input_ids"]) for row in rows]
        order = sorted(range(len(rows)), key=lengths.__getitem__)
        first = 0
        while first < len(order):
            last = first + 1
            while last < len(order) and (last + 1 - first) * lengths[order[last]] <= TOKENS_AT_ONCE:
                last += 1
            group = order[first:last]
            for at, output in zip(group, self._forward([rows[i] for i in group]), strict=True):
                outputs[at] = output
            first = last
        return outputs

    # --- text to rows, rows to the model -----------------------------------------------------------------------------

    def _encoded(
        self,
        text: Any,
        pair: Any = None,
        tokenizer_options: Mapping[str, Any] | None = None,
        *,
        cut: bool | str = True,
        **asked: Any,
    ) -> BatchEncoding:
        """One text or pair as a row, cut to the model's positions with a warning, unless the caller said whether to cut.

        cut: the strategy of truncation for a row that is too long. asked: further options of the tokenizer.
        """
        for value in (text,) if pair is None else (text, pair):
            if not isinstance(value, str):
                raise ValueError(f"{self.task} takes texts; got {type(value).__name__}")
        most, options = self.model.config.max_position_embeddings, {**(tokenizer_options or {}), **asked}
        if options.get("truncation") and options.get("max_length") is None:
            options["max_length"] = min(most, self.tokenizer.model_max_length)  # a tokenizer may state no limit
        encoding = self.tokenizer(text, pair, **options, verbose=False)
        if len(encoding["input_ids"]) <= most or options.get("truncation") is not None:
            return encoding
        tokens = sum(encoding["attention_mask"])
        if tokens > most:  # else it is padding that goes beyond
            warn(
                f"{shortened(text)!r} is {tokens:,} tokens, and the model has {most:,} positions: {most:,} tokens are kept "
                "(truncation=False refuses such a text)"
            )
        return self.tokenizer(text, pair, **options | {"truncation": cut, "max_length": most}, verbose=False)

    def _batch(self, rows: list[Row]) -> list[Array]:  # -> three arrays (B,T), in the order of MODEL_INPUTS
        """Some rows side by side, filled up to the length of the longest."""
        # on the right, whatever the tokenizer prefers: positions are counted from the first column
        batch = self.tokenizer.pad(
            [{name: row[name] for name in MODEL_INPUTS} for row in rows], padding_side="right", return_tensors="np"
        )
        return [batch[name] for name in MODEL_INPUTS]

    def _called(self, rows: list[Row], **asked: Any) -> Any:
        """The model's output for some rows. Only real tokens are computed."""
        return self.model(
            *self._batch(rows),
            skip_padding=True,
            return_dict=True,
            output_attentions=False,
            output_hidden_states=False,  # whatever the config prefers
            **asked,
        )


def real_tokens(values: Array, rows: list[Row]) -> list[Array]:  # (B,T,…) -> B × (n,…)
    """What belongs to the tokens of each row, without what the batch was filled up with."""
    return [value[: len(row["input_ids"])] for value, row in zip(values, rows, strict=True)]


def checked_count(value: Any, name: str, most: int | None = None) -> int:
    """A count of at least 1."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 0 < value <= (most or value):
        allowed = "of at least 1" if most is None else f"from 1 to {most:,}"
        raise ValueError(f"{name} must be a whole number {allowed}; got {value!r:.80}")
    return int(value)


def shortened(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"


def warn(message: str) -> None:
    """A warning that names the line which called the package, however deep in it a pipeline is."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("albert_np."):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)
