"""Sentence order: whether two segments stand in their order, which ALBERT is pre-trained to tell. transformers has no such
pipeline, although its checkpoints hold this head."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from albert_np.files import listed
from albert_np.model import AlbertForPreTraining
from albert_np.ops import Array, softmax
from albert_np.pipelines.base import Pipeline, Prepared, Row, TextOptions

LABELS = (
    "in order",
    "swapped",
)  # the classes of ALBERT's head: 0 and 1 (google-research/albert, create_pretraining_data)


@dataclass(frozen=True)
class SentenceOrderOptions(TextOptions):
    """Only those that all pipelines of texts have."""


class SentenceOrderPipeline(Pipeline[SentenceOrderOptions]):
    """Whether the first of two texts comes before the second."""

    task = "sentence-order"
    models = (AlbertForPreTraining,)
    needs = "a pre-training model (AlbertForPreTraining), which has the head for sentence order"
    options_class = SentenceOrderOptions

    def __call__(
        self, first: str | Mapping[str, str] | Iterable[Any], second: str | None = None, **options: Any
    ) -> Any:
        """{"label", "score"}: "in order" or "swapped", and its probability.

        One input is two texts, or {"text", "text_pair"}; several are an iterable of such dicts.
        """
        asked = self._asked(self.options, options)
        if second is not None:
            return self._answers({"text": first, "text_pair": second}, asked)
        if isinstance(first, str):
            raise ValueError("sentence-order compares two texts: pass the second one too")
        return self._answers(first, asked)

    def _prepare(self, item: Any, options: SentenceOrderOptions) -> Prepared:
        if not isinstance(item, Mapping) or not {"text", "text_pair"} <= set(item):
            got = listed(sorted(map(str, item))) if isinstance(item, Mapping) else type(item).__name__
            raise ValueError(f'an input of sentence-order is {{"text": first, "text_pair": second}}; got {got}')
        return Prepared([self._encoded(item["text"], item["text_pair"], options.of_tokenizer())])

    def _forward(self, rows: list[Row]) -> list[Array]:
        return list(self._called(rows, logits_positions=[[0]] * len(rows)).sop_logits)  # no words are asked for

    def _answer(self, outputs: list[Array], note: Any, options: SentenceOrderOptions) -> dict[str, Any]:
        scores = softmax(outputs[0])
        return {"label": LABELS[int(scores.argmax())], "score": float(scores.max())}
