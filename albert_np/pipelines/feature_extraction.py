"""Feature extraction: the hidden states of the last layer (as transformers 4.57.6, pipelines/feature_extraction.py)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from albert_np.model import AlbertModel
from albert_np.ops import Array
from albert_np.pipelines.base import Pipeline, Prepared, Row, TextOptions, real_tokens


@dataclass(frozen=True)
class FeatureExtractionOptions(TextOptions):
    """return_tensors: arrays instead of lists. tokenize_kwargs: the name that tokenizer_kwargs has in transformers here."""

    return_tensors: bool = False
    tokenize_kwargs: Mapping[str, Any] | None = None


class FeatureExtractionPipeline(Pipeline[FeatureExtractionOptions]):
    """What the encoder makes of each token of a text."""

    task = "feature-extraction"
    models = (AlbertModel,)
    needs = "a model without a head (AlbertModel)"
    options_class = FeatureExtractionOptions
    column = "text"

    @classmethod
    def load(cls, name_or_path: str | os.PathLike, **made: Any) -> AlbertModel:
        """The encoder of any ALBERT, with or without a head or a pooler."""
        return AlbertModel.from_pretrained(name_or_path, add_pooling_layer=False, **made)

    def __call__(self, inputs: str | Iterable[str], **options: Any) -> Any:
        """For each text a list (1,T,H) of hidden states; with return_tensors, an array.

        options: return_tensors, and those of TextOptions.
        """
        return self._answers(inputs, self._asked(self.options, options))

    def _prepare(self, item: Any, options: FeatureExtractionOptions) -> Prepared:
        if options.tokenize_kwargs is not None:
            options = self._asked(options, {"tokenizer_kwargs": options.tokenize_kwargs})
        return Prepared([self._encoded(item, None, options.of_tokenizer())])

    def _forward(self, rows: list[Row]) -> list[Array]:
        return real_tokens(self._called(rows).last_hidden_state, rows)

    def _answer(self, outputs: list[Array], note: Any, options: FeatureExtractionOptions) -> Any:
        states = outputs[0][None]  # (1,T,H)
        return states.copy() if options.return_tensors else states.tolist()
