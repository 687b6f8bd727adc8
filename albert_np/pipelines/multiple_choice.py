"""Multiple choice: the likeliest of some continuations. transformers has no such pipeline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from albert_np.files import listed, shown
from albert_np.model import AlbertForMultipleChoice
from albert_np.ops import Array, softmax
from albert_np.pipelines.base import Pipeline, Prepared, Row, TextOptions


@dataclass(frozen=True)
class MultipleChoiceOptions(TextOptions):
    """Only those that all pipelines of texts have."""


class MultipleChoicePipeline(Pipeline[MultipleChoiceOptions]):
    """The right one of some answers or continuations."""

    task = "multiple-choice"
    models = (AlbertForMultipleChoice,)
    needs = "a model for multiple choice"
    options_class = MultipleChoiceOptions

    def __call__(self, prompt: str | Mapping[str, Any] | Iterable[Any], choices: Any = None, **options: Any) -> Any:
        """Ranks the choices of a prompt: a list of {"index", "choice", "score"}, best first. The scores add up to 1.

        One input is a text and its choices, two or more; several are an iterable of {"prompt", "choices"}. The model reads
        `[CLS] prompt [SEP] choice [SEP]` for each choice.
        """
        asked = self._asked(self.options, options)
        if choices is not None:
            if not isinstance(prompt, str):
                raise ValueError(f"choices belong to one prompt, a text; got {type(prompt).__name__}")
            return self._answers({"prompt": prompt, "choices": choices}, asked)
        if isinstance(prompt, str):
            raise ValueError("multiple-choice needs the choices of this prompt: pass choices=[…]")
        return self._answers(prompt, asked)

    def _prepare(self, item: Any, options: MultipleChoiceOptions) -> Prepared:
        if not isinstance(item, Mapping) or not {"prompt", "choices"} <= set(item):
            got = listed(sorted(map(str, item))) if isinstance(item, Mapping) else type(item).__name__
            raise ValueError(f'an input of multiple-choice is {{"prompt": text, "choices": [text, …]}}; got {got}')
        choices = item["choices"]
        if not isinstance(choices, (list, tuple)) or len(choices) < 2:
            raise ValueError(f"choices must be a list of at least two; got {shown(repr(choices), 80)}")
        asked = options.of_tokenizer()
        return Prepared([self._encoded(item["prompt"], choice, asked) for choice in choices], list(choices))

    def _forward(self, rows: list[Row]) -> list[Array]:
        # (B,1,T): a choice's score does not depend on the other choices
        inputs = (values[:, None] for values in self._batch(rows))
        return list(self.model(*inputs, skip_padding=True, return_dict=True).logits[:, 0])

    def _answer(self, outputs: list[Array], note: Any, options: MultipleChoiceOptions) -> list[dict[str, Any]]:
        scores = softmax(np.array(outputs))
        found = [{"index": i, "choice": choice, "score": float(scores[i])} for i, choice in enumerate(note)]
        return sorted(found, key=lambda one: one["score"], reverse=True)
