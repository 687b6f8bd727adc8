"""Zero-shot classification, with the results in transformers' form (4.57.6, pipelines/zero_shot_classification.py)."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from albert_np.files import listed, shown
from albert_np.model import AlbertForSequenceClassification
from albert_np.ops import Array, softmax
from albert_np.pipelines.base import Pipeline, Prepared, TextOptions, warn


@dataclass(frozen=True)
class ZeroShotOptions(TextOptions):
    """candidate_labels: a list, or a text with commas between the labels. hypothesis_template: where {} is, a label goes.
    multi_label: whether several labels may hold, so that each is judged alone."""

    candidate_labels: str | list[str] | None = None
    hypothesis_template: str = "This example is {}."
    multi_label: bool = False


class ZeroShotClassificationPipeline(Pipeline[ZeroShotOptions]):
    """Labels that a model has never seen: it judges whether the text entails "This example is {label}."."""

    task = "zero-shot-classification"
    models = (AlbertForSequenceClassification,)
    needs = "a model for sequence classification that was trained on entailment (NLI)"
    options_class = ZeroShotOptions
    column = "text"

    def __init__(self, model: Any, tokenizer: Any, **options: Any) -> None:
        """As Pipeline. A warning says so if no label of the model says entailment: then it is the last, as in transformers."""
        super().__init__(model, tokenizer, **options)
        named = (model.config.label2id or {}).items() or [(name, i) for i, name in self.names.items()]
        self._classes = {str(name).lower(): i for name, i in named if type(i) is int and i in self.names}
        if self._class_named("entail") is None:
            warn(
                "zero-shot-classification needs a label whose name begins with “entail”; this model's are "
                f"{listed(list(self._classes))}: the last is taken for it, which is a guess. Use a model that was trained on "
                "entailment, or name its labels in config.json"
            )

    def _class_named(self, start: str) -> int | None:
        found = [number for name, number in self._classes.items() if name.startswith(start)]
        return found[0] if found else None

    def __call__(self, sequences: str | Iterable[str], candidate_labels: Any = None, **options: Any) -> Any:
        """For each text {"sequence", "labels", "scores"}, the likeliest label first.

        With one answer possible, the scores of the labels add up to 1. With multi_label, or a single label, each score is
        the probability of entailment against contradiction. Where the text is too long, the text is cut, not the label.
        options: candidate_labels, hypothesis_template, multi_label, and those of TextOptions.
        """
        if candidate_labels is not None:
            options["candidate_labels"] = candidate_labels
        if options.get("multi_class") is not None:
            warnings.warn("multi_class is deprecated: use multi_label", FutureWarning, stacklevel=2)
            options["multi_label"] = options.pop("multi_class")
        asked = self._asked(self.options, options)
        self._labels(asked)
        if isinstance(sequences, (str, list, tuple)) and not sequences:
            raise ValueError("zero-shot-classification needs at least one text")
        return self._answers(sequences, asked)

    def _labels(self, options: ZeroShotOptions) -> list[str]:
        labels = options.candidate_labels
        if isinstance(labels, str):
            labels = [label.strip() for label in labels.split(",") if label.strip()]
        if not isinstance(labels, (list, tuple)) or not labels or not all(isinstance(label, str) for label in labels):
            raise ValueError(f"candidate_labels must name at least one label; got {shown(repr(labels), 80)}")
        template = options.hypothesis_template
        try:
            same = template.format(labels[0]) == template
        except (AttributeError, IndexError, KeyError, ValueError):
            same = True
        if same:
            raise ValueError(f"hypothesis_template must hold {{}}, where a label goes; got {shown(repr(template), 80)}")
        return list(labels)

    def _prepare(self, item: Any, options: ZeroShotOptions) -> Prepared:
        if isinstance(item, str) and not item:
            raise ValueError("an empty text has no label")
        labels = self._labels(options)
        asked = options.of_tokenizer()
        hypotheses = [options.hypothesis_template.format(label) for label in labels]
        rows = [self._encoded(item, hypothesis, asked, cut="only_first") for hypothesis in hypotheses]
        return Prepared(rows, (item, labels))

    def _answer(self, outputs: list[Array], note: Any, options: ZeroShotOptions) -> dict[str, Any]:
        sequence, labels = note
        logits = np.stack(outputs)  # (n,K) for n labels
        entails, against = self._class_named("entail"), self._class_named("contra")
        entails = logits.shape[1] - 1 if entails is None else entails
        if options.multi_label or len(labels) == 1:
            if against is None:  # as transformers: the first class, or the last if the first is entailment
                against = logits.shape[1] - 1 if entails == 0 else 0
            scores = softmax(logits[:, [against, entails]])[:, 1]
        else:
            scores = softmax(logits[:, entails])
        best = np.argsort(scores)[::-1]
        return {"sequence": sequence, "labels": [labels[i] for i in best], "scores": scores[best].tolist()}
