"""AlbertModel and the six heads beside it: what each computes on top of the encoder, and its loss.

Names, arguments, defaults and result fields are transformers' (4.57.6, modeling_albert.py), so that changing one import is
the whole migration. The arithmetic is in embeddings.py, encoder.py and heads.py; how a call proceeds is in calling.py.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np

from albert_np import heads, inputs, ops
from albert_np.calling import AlbertPreTrainedModel, Output, ignore_skipped, zero_skipped
from albert_np.config import AlbertConfig
from albert_np.gradients import Back, classifier_backward, predictions_backward
from albert_np.inputs import Inputs
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
from albert_np.run import Encoded, Run


class AlbertModel(AlbertPreTrainedModel[BaseModelOutputWithPooling]):
    """The encoder alone, with the pooler unless add_pooling_layer=False."""

    parts: tuple[str, ...] = ("pooler",)  # type: ignore[misc]
    head_inputs = ()

    def __init__(self, config: AlbertConfig, add_pooling_layer: bool = True, **made: Any) -> None:
        self.parts = ("pooler",) if add_pooling_layer else ()
        super().__init__(config, **made)

    @classmethod
    def _parts(cls, options: dict[str, Any]) -> tuple[str, ...]:
        return ("pooler",) if options.pop("add_pooling_layer", True) else ()

    @classmethod
    def _with_parts(cls, config: AlbertConfig, parts: tuple[str, ...], **made: Any) -> Self:
        return cls(config, add_pooling_layer=bool(parts), **made)

    def _head(self, run: Run, encoded: Encoded) -> BaseModelOutputWithPooling:
        pooled = self._pooled(run, encoded) if "pooler" in self.parts else None
        return BaseModelOutputWithPooling(last_hidden_state=encoded.hidden, pooler_output=pooled)

    def _as_tuple(self, out: ModelOutput) -> tuple[Any, ...]:
        # as in transformers, the pooler keeps its place, so that `hidden, pooled = model(…, return_dict=False)` always works
        first, *rest = out.to_tuple()
        return (first, *rest) if "pooler_output" in out else (first, None, *rest)


class _WithHead(AlbertPreTrainedModel[Output]):
    """Every class but AlbertModel."""

    encoder_class: ClassVar[type[AlbertModel]] = AlbertModel

    @property
    def albert(self) -> AlbertModel:
        """The encoder as an AlbertModel on the same arrays: what changes in one of the two changes in the other."""
        self._take_on_changes()
        base = None if self._base is None else self._base()
        if base is None:
            base = self.encoder_class.__new__(self.encoder_class)
            base.parts = tuple(part for part in self.parts if part == "pooler")
            base._owner, self._base = self, weakref.ref(base)
            self._share_with_base()
        return base


class _Predicts(_WithHead[Output]):
    """The masked-language-model head, which two classes have."""

    def _check_predictions(self, batch: Inputs, labels: Any, logits_positions: Any) -> dict[str, Array | None]:
        """Checks labels (B,T) or logits_positions (B,M). Both together are refused: a loss needs the logits of every token."""
        B, T = batch.shape
        if logits_positions is None:
            checked = None if labels is None else inputs.labels("labels", labels, (B, T), self.config.vocab_size)
            return {"labels": checked, "logits_positions": None}
        if labels is not None:
            raise ValueError("labels need the logits of every token: leave out labels or logits_positions")
        positions = inputs.integers("logits_positions", logits_positions, batch_of_one=True)
        if positions.ndim != 2 or len(positions) != B:
            raise ValueError(
                f"logits_positions must have the shape ({B}, M), M columns a sequence; got {positions.shape}"
            )
        inputs.in_range("logits_positions", positions, T, "columns are counted from 0", "column")
        return {"labels": None, "logits_positions": positions}

    def _where(self, run: Run, labels: Array | None, positions: Array | None) -> Any:
        """The places (B,T) whose vocabulary logits are wanted, as an index; None means all of them."""
        if positions is not None:
            return np.arange(len(positions))[:, None], positions
        if run.labelled_only and labels is not None and np.any(labels != ops.IGNORE_INDEX):
            return np.nonzero(labels != ops.IGNORE_INDEX)
        return None

    def _reads(self, run: Run, batch: Inputs, labels: Any = None, **other: Any) -> Array | None:
        where = self._where(run, labels, None)
        if where is None:
            return None
        reads = _first_tokens(batch) if "pooler" in self.parts else np.zeros(batch.shape, bool)
        reads[where] = True
        return reads

    def _predictions(self, run: Run, encoded: Encoded, where: Any) -> Array:  # -> (B,T,V), (B,M,V) or (M,V)
        hidden, real = encoded.hidden, encoded.real
        if where is not None:
            hidden, real = hidden[where], None if real is None else real[where]
        w = self._weights
        table = w.embeddings.word_embeddings if self.config.tie_word_embeddings else w.predictions.decoder
        return zero_skipped(heads.predictions(run, w.predictions, table.weight, hidden), real)

    def _mlm_loss(self, encoded: Encoded, logits: Array, labels: Array, where: Any) -> Any:
        return _token_loss(logits, ignore_skipped(labels, encoded.real) if where is None else labels[where])

    def _mlm_backward(self, back: Back, encoded: Encoded, labels: Array) -> Array:  # (B,T) -> (B,T,H)
        w, tied, where = self._weights, self.config.tie_word_embeddings, self._where(back.run, labels, None)
        table = w.embeddings.word_embeddings if tied else w.predictions.decoder
        where = slice(None) if where is None else where
        d_logits = _token_loss_backward(back["predictions.decoder"], labels[where])
        d_hidden = np.zeros_like(encoded.hidden)
        d_hidden[where] = predictions_backward(back, w.predictions, table.weight, tied, d_logits, encoded.hidden[where])
        return d_hidden


class AlbertForPreTraining(_Predicts[AlbertForPreTrainingOutput]):
    """Masked-language-model and sentence-order logits. With both kinds of labels, the loss is the sum of both losses."""

    parts = ("pooler", "predictions", "sop_classifier")
    head_inputs = ("labels", "sentence_order_label", "logits_positions")

    def _checked(
        self,
        batch: Inputs,
        choices: int | None,
        labels: Any = None,
        sentence_order_label: Any = None,
        logits_positions: Any = None,
    ) -> dict[str, Any]:
        order = sentence_order_label
        if order is not None:
            order = inputs.labels("sentence_order_label", order, batch.shape[:1], 2)
        return self._check_predictions(batch, labels, logits_positions) | {"sentence_order_label": order}

    def _head(
        self, run: Run, encoded: Encoded, labels: Any, logits_positions: Any, sentence_order_label: Any
    ) -> AlbertForPreTrainingOutput:
        where = self._where(run, labels, logits_positions)
        pooled = self._pooled(run, encoded)
        prediction_logits = self._predictions(run, encoded, where)
        sop_logits = heads.sop_classifier(run, self._weights.sop_classifier, pooled)
        loss = None
        if labels is not None and sentence_order_label is not None:
            order_loss = ops.cross_entropy(sop_logits, sentence_order_label)
            loss = self._mlm_loss(encoded, prediction_logits, labels, where) + order_loss
        return AlbertForPreTrainingOutput(loss=loss, prediction_logits=prediction_logits, sop_logits=sop_logits)

    def _head_backward(
        self, back: Back, encoded: Encoded, labels: Any, logits_positions: Any, sentence_order_label: Any
    ) -> Array:
        d_sop = ops.cross_entropy_backward(back["sop_classifier.classifier"], sentence_order_label)
        d_pooled = classifier_backward(
            back,
            "sop_classifier.classifier",
            self._weights.sop_classifier.classifier,
            d_sop,
            back["pooler_activation"],
            self.config.classifier_dropout_prob,
            "sop_classifier.dropout",
        )
        return self._mlm_backward(back, encoded, labels) + self._pooled_backward(back, encoded, d_pooled)


class AlbertForMaskedLM(_Predicts[MaskedLMOutput]):
    """Vocabulary logits for every token, or only for the columns in logits_positions (B,M)."""

    parts = ("predictions",)
    head_inputs = ("labels", "logits_positions")

    def _checked(
        self, batch: Inputs, choices: int | None, labels: Any = None, logits_positions: Any = None
    ) -> dict[str, Any]:
        return self._check_predictions(batch, labels, logits_positions)

    def _head(self, run: Run, encoded: Encoded, labels: Any, logits_positions: Any) -> MaskedLMOutput:
        where = self._where(run, labels, logits_positions)
        logits = self._predictions(run, encoded, where)
        loss = None if labels is None else self._mlm_loss(encoded, logits, labels, where)
        return MaskedLMOutput(loss=loss, logits=logits)

    def _head_backward(self, back: Back, encoded: Encoded, labels: Any, logits_positions: Any) -> Array:
        return self._mlm_backward(back, encoded, labels)


class AlbertForSequenceClassification(_WithHead[SequenceClassifierOutput]):
    """One row of K logits for each sequence. config.problem_type says which loss it has; without it, the labels decide.

    class_weights (K,) weigh the classes in the loss: Σ w·l / Σ w for one class a sequence (torch.nn.CrossEntropyLoss), and
    for several labels the terms of those that a sequence has (pos_weight of torch.nn.BCEWithLogitsLoss).
    """

    parts = ("pooler", "classifier")
    head_inputs = ("labels", "class_weights")

    def _checked(
        self, batch: Inputs, choices: int | None, labels: Any = None, class_weights: Any = None
    ) -> dict[str, Any]:
        """Infers the type as transformers does: one label is regression, integer labels are classes, others are multi-label.

        The inferred type is not written into the config, because it would bind the next call.
        """
        if labels is None:
            return {"labels": None, "problem": None, "class_weights": None}
        B, K = batch.shape[0], self.config.num_labels
        problem = self.config.problem_type
        if problem is None:
            is_int = inputs.array("labels", labels).dtype.kind in "iu"
            several = "single_label_classification" if is_int else "multi_label_classification"
            problem = "regression" if K == 1 else several
        if problem == "regression" and class_weights is not None:
            raise ValueError("class_weights weigh classes, and regression has none: leave them out")
        if problem == "single_label_classification":
            labels = inputs.labels("labels", labels, (B,), K)
        else:
            labels = inputs.floats("labels", labels, (B, K), self.dtype)
        weights = inputs.class_weights(class_weights, K, self.dtype)
        return {"labels": labels, "problem": problem, "class_weights": weights}

    def _reads(self, run: Run, batch: Inputs, **checked: Any) -> Array | None:
        return _first_tokens(batch)

    def _head(
        self, run: Run, encoded: Encoded, labels: Any, problem: str | None, class_weights: Array | None
    ) -> SequenceClassifierOutput:
        logits = heads.classifier(run, self._weights.classifier, self._pooled(run, encoded), self._dropout)
        losses: dict[str, Callable[..., Any]] = {
            "single_label_classification": ops.cross_entropy,
            "multi_label_classification": ops.bce_with_logits,
            "regression": ops.mse_loss,
        }
        loss = None if problem is None else losses[problem](logits, labels, **_weighing(class_weights))
        return SequenceClassifierOutput(loss=loss, logits=logits)

    def _head_backward(
        self, back: Back, encoded: Encoded, labels: Any, problem: str | None, class_weights: Array | None
    ) -> Array:
        backwards: dict[str | None, Callable[..., Array]] = {
            "single_label_classification": ops.cross_entropy_backward,
            "multi_label_classification": ops.bce_with_logits_backward,
            "regression": ops.mse_loss_backward,
        }
        d_logits = backwards[problem](back["classifier"], labels, **_weighing(class_weights))
        d_pooled = self._classifier_backward(back, d_logits, back["pooler_activation"])
        return self._pooled_backward(back, encoded, d_pooled)


class AlbertForTokenClassification(_WithHead[TokenClassifierOutput]):
    """One row of K logits for each token. class_weights (K,) weigh the classes in the loss: Σ w·l / Σ w over the tokens."""

    parts = ("classifier",)
    head_inputs = ("labels", "class_weights")

    def _checked(
        self, batch: Inputs, choices: int | None, labels: Any = None, class_weights: Any = None
    ) -> dict[str, Any]:
        K = self.config.num_labels
        return {
            "labels": None if labels is None else inputs.labels("labels", labels, batch.shape, K),
            "class_weights": inputs.class_weights(class_weights, K, self.dtype),
        }

    def _reads(self, run: Run, batch: Inputs, labels: Any = None, **other: Any) -> Array | None:
        counts = None if labels is None else labels != ops.IGNORE_INDEX
        return counts if np.any(counts) else None

    def _head(self, run: Run, encoded: Encoded, labels: Any, class_weights: Array | None) -> TokenClassifierOutput:
        logits = heads.classifier(run, self._weights.classifier, encoded.hidden, self._dropout)
        logits = zero_skipped(logits, encoded.real)
        loss = None
        if labels is not None:
            loss = _token_loss(logits, ignore_skipped(labels, encoded.real), class_weights)
        return TokenClassifierOutput(loss=loss, logits=logits)

    @property
    def _dropout(self) -> float | None:
        """If classifier_dropout_prob is None, this head, and only this one, takes hidden_dropout_prob."""
        config = self.config
        return config.hidden_dropout_prob if config.classifier_dropout_prob is None else config.classifier_dropout_prob

    def _head_backward(self, back: Back, encoded: Encoded, labels: Any, class_weights: Array | None) -> Array:
        d_logits = _token_loss_backward(back["classifier"], labels, class_weights)
        return self._classifier_backward(back, d_logits, encoded.hidden)


class AlbertForQuestionAnswering(_WithHead[QuestionAnsweringModelOutput]):
    """Start and end logits for every token. With both positions, the loss is the mean of both losses."""

    parts = ("qa_outputs",)
    head_inputs = ("start_positions", "end_positions")

    def _checked(
        self, batch: Inputs, choices: int | None, start_positions: Any = None, end_positions: Any = None
    ) -> dict[str, Any]:
        """Positions (B,) are clamped to [0, T]. T is outside the input and is ignored by the loss."""
        B, T = batch.shape
        checked: dict[str, Any] = {"start_positions": start_positions, "end_positions": end_positions}
        for name, value in checked.items():
            if value is not None:
                x = inputs.integers(name, value)
                x = x[:, 0] if x.shape == (B, 1) else x
                inputs.same_shape(name, x, (B,))
                checked[name] = np.clip(x, 0, T)
        return checked

    def _head(
        self, run: Run, encoded: Encoded, start_positions: Any, end_positions: Any
    ) -> QuestionAnsweringModelOutput:
        both = heads.qa_outputs(run, self._weights.qa_outputs, encoded.hidden)
        start_logits, end_logits = (zero_skipped(x, encoded.real) for x in both)
        loss = None
        if start_positions is not None and end_positions is not None:
            start_loss = self._loss(start_logits, start_positions, encoded.real)
            # halved in its own dtype: NumPy 1 makes a float64 of a float32 scalar and an int
            loss = (start_loss + self._loss(end_logits, end_positions, encoded.real)) / start_logits.dtype.type(2)
        return QuestionAnsweringModelOutput(loss=loss, start_logits=start_logits, end_logits=end_logits)

    def _loss(self, logits: Array, positions: Array, real: Array | None) -> Any:  # (B,T), (B,) int, (B,T) bool -> ()
        """Cross entropy over the columns. A skipped column is no possible answer, and no part of the sum."""
        B, T = logits.shape
        if real is not None:
            answerable = np.append(real, np.zeros((B, 1), bool), axis=1)[np.arange(B), positions]
            positions = np.where(answerable, positions, T)
            logits = np.where(real, logits, np.finfo(logits.dtype).min)
        return ops.cross_entropy(logits, positions, ignore_index=T)

    def _head_backward(self, back: Back, encoded: Encoded, start_positions: Any, end_positions: Any) -> Array:
        both = back["qa_outputs"]
        d_logits = np.stack(
            [
                ops.cross_entropy_backward(both[..., i], positions, ignore_index=both.shape[1]) / 2
                for i, positions in enumerate((start_positions, end_positions))
            ],
            axis=-1,
        )
        back.record("qa_outputs", d_logits)
        return back.linear("qa_outputs", d_logits, encoded.hidden, self._weights.qa_outputs.weight)


class AlbertForMultipleChoice(_WithHead[MultipleChoiceModelOutput]):
    """One logit for each choice: inputs are (B, choices, T), or (B, choices, T, E), and logits (B, choices)."""

    parts = ("pooler", "choice")

    def _flatten(self, given: dict[str, Any]) -> tuple[dict[str, Any], int | None]:
        """Each choice becomes a sequence of its own: (B, choices, …) -> (B · choices, …)."""
        arrays = {name: inputs.array(name, value) for name, value in given.items() if value is not None}
        for name, x in arrays.items():
            axes = 4 if name == "inputs_embeds" else 3
            if x.ndim != axes or x.size == 0:
                E = ", E" if axes == 4 else ""
                raise ValueError(f"{name} must have {axes} axes (B, choices, T{E}), none of them empty; got {x.shape}")
        shapes = {name: x.shape[:2] for name, x in arrays.items()}
        if len(set(shapes.values())) > 1:
            raise ValueError(f"all inputs must begin with the same (B, choices); got {shapes}")
        flat = {name: x.reshape(-1, *x.shape[2:]) for name, x in arrays.items()}
        return given | flat, next(iter(shapes.values()), (0, None))[1]

    def _checked(self, batch: Inputs, choices: int | None, labels: Any = None) -> dict[str, Any]:
        assert choices is not None
        if labels is not None:
            labels = inputs.labels("labels", labels, (batch.shape[0] // choices,), choices)
        return {"labels": labels, "choices": choices}

    def _reads(self, run: Run, batch: Inputs, **checked: Any) -> Array | None:
        return _first_tokens(batch)

    def _head(self, run: Run, encoded: Encoded, labels: Any, choices: int) -> MultipleChoiceModelOutput:
        logits = heads.classifier(run, self._weights.classifier, self._pooled(run, encoded), self._dropout)
        logits = logits.reshape(-1, choices)
        loss = None if labels is None else ops.cross_entropy(logits, labels)
        return MultipleChoiceModelOutput(loss=loss, logits=logits)

    def _head_backward(self, back: Back, encoded: Encoded, labels: Any, choices: int) -> Array:
        d_logits = ops.cross_entropy_backward(back["classifier"].reshape(-1, choices), labels)
        d_pooled = self._classifier_backward(back, d_logits.reshape(-1, 1), back["pooler_activation"])
        return self._pooled_backward(back, encoded, d_pooled)


def _first_tokens(batch: Inputs) -> Array:  # -> (B,T) bool
    """The states that the pooler reads: those of each sequence's first token."""
    reads = np.zeros(batch.shape, bool)
    reads[:, 0] = True
    return reads


def _weighing(class_weights: Array | None) -> dict[str, Array]:
    """The argument of a loss and of its backward. Regression's take none."""
    return {} if class_weights is None else {"weights": class_weights}


def _token_loss(logits: Array, labels: Array, weights: Array | None = None) -> Any:  # (B,T,K), (B,T) int, (K,) -> ()
    return ops.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), weights=weights)


def _token_loss_backward(  # (B,T,K), (B,T) int, (K,) -> (B,T,K)
    logits: Array, labels: Array, weights: Array | None = None
) -> Array:
    rows = logits.reshape(-1, logits.shape[-1])
    return ops.cross_entropy_backward(rows, labels.reshape(-1), weights=weights).reshape(logits.shape)
