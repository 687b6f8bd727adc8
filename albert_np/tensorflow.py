"""The TFAlbert classes: the models of model.py, called as TensorFlow's classes in transformers 4.57.6 were.

All inputs may come in the first argument, as a mapping or a list; their order is that of TensorFlow's `call`; tf_model.h5 is
looked for first; losses have TensorFlow's shapes. There is no second implementation: what is computed, the checks and every
option are those of the classes above. Arrays in and out are NumPy's.

Where TensorFlow computes something else than PyTorch, these classes compute what PyTorch does: a sequence that is masked as a
whole is attended to evenly, and the sentence-order head has two logits whatever num_labels says.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from albert_np import inputs
from albert_np.calling import AlbertPreTrainedModel
from albert_np.files import listed, shown
from albert_np.inputs import Inputs
from albert_np.losses import log_softmax
from albert_np.model import (
    AlbertForMaskedLM,
    AlbertForMultipleChoice,
    AlbertForPreTraining,
    AlbertForQuestionAnswering,
    AlbertForSequenceClassification,
    AlbertForTokenClassification,
    AlbertModel,
)
from albert_np.ops import Array
from albert_np.outputs import (
    AlbertForPreTrainingOutput,
    BaseModelOutputWithPooling,
    MaskedLMOutput,
    ModelOutput,
    MultipleChoiceModelOutput,
    QuestionAnsweringModelOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)

INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids", "head_mask", "inputs_embeds")
ASKED = ("output_attentions", "output_hidden_states", "return_dict")

# what Keras's models have and these do not -> what to do
ELSEWHERE = (
    dict.fromkeys(("predict", "predict_on_batch"), "call the model; pipelines take many texts")
    | dict.fromkeys(
        ("compile", "evaluate", "fit", "prepare_tf_dataset", "train_on_batch"),
        "albert-np finetune and albert_np.training train models",
    )
    | dict.fromkeys(
        ("get_weights", "trainable_variables", "trainable_weights", "variables", "weights"),
        "named_parameters() has the arrays by name, and value_and_grad(…) their gradients",
    )
    | dict.fromkeys(
        ("load_weights", "set_weights"), "from_pretrained(…) reads files, and load_state_dict(…) takes arrays"
    )
    | dict.fromkeys(("save", "save_weights"), "save_pretrained(folder, safe_serialization=False) writes tf_model.h5")
    | {
        "build": "a model is built when it is made",
        "count_params": "num_parameters() counts them",
        "layers": "named_modules() has the parts by name",
        "trainable": "value_and_grad(…) gives all gradients, and what you do not change stays as it is",
        "summary": "print(model) shows sizes, and named_parameters() has the arrays by name",
    }
)

# --- outputs --------------------------------------------------------------------------------------------------------------


@dataclass
class TFBaseModelOutputWithPooling(BaseModelOutputWithPooling):
    """What TFAlbertModel returns."""


@dataclass
class TFAlbertForPreTrainingOutput(AlbertForPreTrainingOutput):
    """What TFAlbertForPreTraining returns. loss (1,): the sum of two means over the labels that count."""


@dataclass
class TFMaskedLMOutput(MaskedLMOutput):
    """What TFAlbertForMaskedLM returns. loss (1,): the mean over the labels that count."""


@dataclass
class TFSequenceClassifierOutput(SequenceClassifierOutput):
    """What TFAlbertForSequenceClassification returns. loss (B,): one for each sequence."""


@dataclass
class TFMultipleChoiceModelOutput(MultipleChoiceModelOutput):
    """What TFAlbertForMultipleChoice returns. loss (B,): one for each question."""


@dataclass
class TFTokenClassifierOutput(TokenClassifierOutput):
    """What TFAlbertForTokenClassification returns. loss (1,): the mean over the labels that count."""


@dataclass
class TFQuestionAnsweringModelOutput(QuestionAnsweringModelOutput):
    """What TFAlbertForQuestionAnswering returns. loss (B,): for each sequence, the mean of that of its start and its end."""


# --- calling --------------------------------------------------------------------------------------------------------------


class TFAlbertPreTrainedModel(AlbertPreTrainedModel[Any]):
    """TensorFlow's calling habits. Each of the seven classes takes them, and all else from a class of model.py."""

    own_format = "h5"
    class_prefix = "TF"
    elsewhere = ELSEWHERE
    output_class: ClassVar[type[ModelOutput]]
    axes: ClassVar[int] = 2  # of input_ids

    def __call__(self, input_ids: Any = None, *more: Any, **named: Any) -> Any:
        """Runs the model on a batch, with the arguments of AlbertPreTrainedModel.__call__.

        input_ids: (B,T) ints; or a mapping of arguments by name, such as a tokenizer's result; or a list or tuple of inputs
        in the order of INPUTS. A list of numbers, or of rows of numbers, is input_ids itself.
        more: the arguments behind input_ids in TensorFlow's order: those of INPUTS, then output_attentions,
        output_hidden_states and return_dict, then the labels of the class, then training.
        training: apply dropout, drawn from `seed`, which must then be given, as in the classes of model.py.
        Labels of −100 are ignored where losses are means over tokens; a loss for each sequence takes none of them.
        Raises ValueError for anything that it cannot do.
        """
        given = self._by_name(input_ids, more, named)
        return_dict, training = given.pop("return_dict", None), given.pop("training", None)
        for name, value in {"return_dict": return_dict, "training": training}.items():
            if value is not None and not isinstance(value, (bool, np.bool_, int)):
                raise ValueError(f"{name} must be True, False or None; got {shown(repr(value), 80)}")
        if return_dict is None:
            return_dict = self.config.return_dict and not self.config.torchscript
        found: ModelOutput = super().__call__(**given, training=bool(training), return_dict=True)
        fields = {name: getattr(found, name) for name in found._fields()}
        if fields.get("loss") is not None:
            fields["loss"] = self._loss_of(found, {name: given[name] for name in self.labels})
        out = self.output_class(**fields)
        out.precision = found.precision
        return out if return_dict else self._as_tuple(out)

    call = __call__  # Keras's name for it

    @property
    def dummy_inputs(self) -> dict[str, Array]:
        """A small batch of ones, for code that calls a model once to have its weights made."""
        shape = (1, *[2] * (self.axes - 1))
        return {name: np.ones(shape, np.int64) for name in INPUTS[:3]}

    def _by_name(self, first: Any, more: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, Any]:
        """All arguments of a call that are not None. ValueError where there are too many, or one is given twice."""
        names = (*INPUTS, *ASKED, *self.labels, "training")
        if isinstance(first, Mapping):
            packed = dict(first)
        elif isinstance(first, (list, tuple)) and any(self._is_input(x) for x in first):
            packed = self._in_order(names, tuple(first))
        else:
            packed = {"input_ids": first}
        given: dict[str, Any] = {}
        for some in (packed, self._in_order(names[1:], more), named):
            some = {name: value for name, value in some.items() if value is not None}
            twice = [str(name) for name in some if name in given]
            if twice:
                raise ValueError(f"{listed(twice)}: given in the first argument or in its place, and again")
            given |= some
        if not all(isinstance(name, str) for name in given):
            raise ValueError(f"a mapping of inputs has their names as keys; got {listed(list(map(repr, given)))}")
        return given

    def _in_order(self, names: tuple[str, ...], values: tuple[Any, ...]) -> dict[str, Any]:
        if len(values) > len(names):
            raise ValueError(
                f"{type(self).__name__} takes {', '.join(names)} in this order; got {len(values)} arguments"
            )
        return dict(zip(names, values, strict=False))

    def _is_input(self, x: Any) -> bool:
        """Whether a member of a list is an input as a whole. Else the list is input_ids, and this is one of its rows."""
        axes = 0
        while axes < self.axes and isinstance(x, (list, tuple)) and len(x):
            x, axes = x[0], axes + 1
        return x is None or axes + len(getattr(x, "shape", ())) >= self.axes

    def _loss_of(self, out: Any, labels: dict[str, Any]) -> Array:
        """A loss (1,) or (B,). The mean over all labels that count is what model.py computes."""
        return np.reshape(out.loss, (1,))

    def save_pretrained(  # type: ignore[override]
        self,
        save_directory: str | os.PathLike,
        saved_model: bool = False,
        version: int = 1,
        push_to_hub: bool = False,
        signatures: Any = None,
        max_shard_size: int | str = "5GB",
        create_pr: bool = False,
        safe_serialization: bool = True,
        **options: Any,
    ) -> None:
        """Writes config.json and model.safetensors with PyTorch's names, which any class reads, as that of model.py does.

        safe_serialization: False writes tf_model.h5, which transformers' TensorFlow classes read.
        saved_model: only False; version, signatures and create_pr then say nothing. options: those of AlbertPreTrainedModel.
        """
        if saved_model:
            raise ValueError("saved_model=True would write a graph of TensorFlow: there is none, so leave it out")
        options |= {"push_to_hub": push_to_hub, "max_shard_size": max_shard_size}
        super().save_pretrained(save_directory, safe_serialization=safe_serialization, **options)


def _of_each(logits: Array, labels: Any) -> Array:  # (B,K), B ints of any shape -> (B,)
    """−log p[label] of each row."""
    B = len(logits)
    return -log_softmax(logits)[np.arange(B), np.reshape(labels, B)]


# --- the classes ----------------------------------------------------------------------------------------------------------


class TFAlbertModel(TFAlbertPreTrainedModel, AlbertModel):
    """AlbertModel with TensorFlow's calling habits."""

    output_class = TFBaseModelOutputWithPooling


TFAlbertMainLayer = TFAlbertModel  # in transformers, the same model as a layer of the others


class TFAlbertForPreTraining(TFAlbertPreTrainedModel, AlbertForPreTraining):
    """AlbertForPreTraining with TensorFlow's calling habits."""

    output_class = TFAlbertForPreTrainingOutput
    encoder_class = TFAlbertModel


class TFAlbertForMaskedLM(TFAlbertPreTrainedModel, AlbertForMaskedLM):
    """AlbertForMaskedLM with TensorFlow's calling habits."""

    output_class = TFMaskedLMOutput
    encoder_class = TFAlbertModel


class TFAlbertForSequenceClassification(TFAlbertPreTrainedModel, AlbertForSequenceClassification):
    """AlbertForSequenceClassification with TensorFlow's calling habits.

    One label is regression, several are classes, whatever config.problem_type says.
    """

    output_class = TFSequenceClassifierOutput
    encoder_class = TFAlbertModel
    head_inputs = ("labels",)  # type: ignore[assignment]

    def _checked(self, batch: Inputs, choices: int | None, labels: Any = None) -> dict[str, Any]:  # type: ignore[override]
        B, K = batch.shape[0], self.config.num_labels
        problem = None if labels is None else "regression" if K == 1 else "single_label_classification"
        if problem == "regression":
            labels = inputs.floats("labels", labels, (B, 1), self.dtype)
        elif labels is not None:
            labels = inputs.labels("labels", labels, (B,), K, may_ignore=False)
        return {"labels": labels, "problem": problem, "class_weights": None}

    def _loss_of(self, out: Any, labels: dict[str, Any]) -> Array:
        if self.config.num_labels > 1:
            return _of_each(out.logits, labels["labels"])
        targets = np.asarray(labels["labels"], self.dtype).reshape(-1, 1)
        return np.mean((out.logits - targets) ** 2, axis=1)


class TFAlbertForTokenClassification(TFAlbertPreTrainedModel, AlbertForTokenClassification):
    """AlbertForTokenClassification with TensorFlow's calling habits."""

    output_class = TFTokenClassifierOutput
    encoder_class = TFAlbertModel


class TFAlbertForQuestionAnswering(TFAlbertPreTrainedModel, AlbertForQuestionAnswering):
    """AlbertForQuestionAnswering with TensorFlow's calling habits. Positions outside the input are refused."""

    output_class = TFQuestionAnsweringModelOutput
    encoder_class = TFAlbertModel

    def __call__(self, input_ids: Any = None, *more: Any, **named: Any) -> Any:
        given = self._by_name(input_ids, more, named)
        if given.get("skip_padding") and any(name in given for name in self.labels):
            raise ValueError("a loss for each sequence needs every column: leave out skip_padding or the positions")
        return super().__call__(given)

    call = __call__

    def _checked(
        self, batch: Inputs, choices: int | None, start_positions: Any = None, end_positions: Any = None
    ) -> dict[str, Any]:
        checked = super()._checked(batch, choices, start_positions, end_positions)
        for name, value in {"start_positions": start_positions, "end_positions": end_positions}.items():
            if value is not None:
                x = np.asarray(value).reshape(-1)
                inputs.in_range(name, x, batch.shape[1], "TensorFlow has a loss for each sequence", "position")
        return checked

    def _loss_of(self, out: Any, labels: dict[str, Any]) -> Array:
        both = _of_each(out.start_logits, labels["start_positions"]) + _of_each(out.end_logits, labels["end_positions"])
        return both / both.dtype.type(2)


class TFAlbertForMultipleChoice(TFAlbertPreTrainedModel, AlbertForMultipleChoice):
    """AlbertForMultipleChoice with TensorFlow's calling habits: input_ids (B, choices, T)."""

    output_class = TFMultipleChoiceModelOutput
    encoder_class = TFAlbertModel
    axes = 3

    def _checked(self, batch: Inputs, choices: int | None, labels: Any = None) -> dict[str, Any]:
        assert choices is not None
        if labels is not None:
            labels = inputs.labels("labels", labels, (batch.shape[0] // choices,), choices, may_ignore=False)
        return {"labels": labels, "choices": choices}

    def _loss_of(self, out: Any, labels: dict[str, Any]) -> Array:
        return _of_each(out.logits, labels["labels"])
