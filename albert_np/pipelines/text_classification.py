"""Text classification, with the results in transformers' form (4.57.6, pipelines/text_classification.py)."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from albert_np.activations import sigmoid
from albert_np.files import listed
from albert_np.model import AlbertForSequenceClassification
from albert_np.ops import Array, softmax
from albert_np.pipelines.base import Pipeline, Prepared, TextOptions, checked_count
from albert_np.tasks.text_classification import MULTI, REGRESSION

FUNCTIONS = ("softmax", "sigmoid", "none")
BESIDE = ("id", "idx", "index", "label", "labels")  # what rows of a data set hold beside their texts


@dataclass(frozen=True)
class TextClassificationOptions(TextOptions):
    """top_k: how many classes are named, best first; None names all. function_to_apply: "softmax", "sigmoid" or "none"; by
    default softmax for one of several classes, sigmoid for one class or several labels, none for regression."""

    MEANS_SOMETHING: ClassVar[tuple[str, ...]] = ("top_k",)

    top_k: int | str | None = ""  # "": one class, in the shape that this pipeline has always had
    function_to_apply: str | None = None
    return_all_scores: bool | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.top_k not in ("", None):
            checked_count(self.top_k, "top_k")
        if self.function_to_apply is not None and str(self.function_to_apply).lower() not in FUNCTIONS:
            raise ValueError(
                f"function_to_apply must be one of {', '.join(FUNCTIONS)}; got {self.function_to_apply!r:.80}"
            )


class TextClassificationPipeline(Pipeline[TextClassificationOptions]):
    """The class of a text, or of a pair of texts."""

    task = "text-classification"
    models = (AlbertForSequenceClassification,)
    needs = "a model for sequence classification"
    options_class = TextClassificationOptions

    def __call__(self, inputs: str | Mapping[str, str] | Iterable[Any], **options: Any) -> Any:
        """Classifies one text, each of a list, or each of an iterable, lazily.

        An input is a text, or {"text", "text_pair"}. Its answer is {"label", "score"}; with top_k, at the call or when the
        pipeline was made, it is a list of these, best first. A single str gives a list of one answer, unless top_k is given
        at the call: so does transformers.
        options: top_k, function_to_apply, and those of TextOptions. return_all_scores is the older name of top_k=None.
        """
        older, asked = options.get("return_all_scores"), self._asked(self.options, options)
        if "top_k" not in options and (older if asked.top_k != "" else asked.return_all_scores) is not None:
            warnings.warn("return_all_scores is deprecated: use top_k=None, or top_k=1", FutureWarning, stacklevel=2)
            if asked.top_k != "":  # that of the construction
                asked = replace(asked, top_k=None if older else 1)
        answers = self._answers(inputs, asked)
        return [answers] if isinstance(inputs, str) and "top_k" not in options else answers

    def _prepare(self, item: Any, options: TextClassificationOptions) -> Prepared:
        text, pair = text_and_pair(item)
        return Prepared([self._encoded(text, pair, options.of_tokenizer())])

    def _answer(self, outputs: list[Array], note: Any, options: TextClassificationOptions) -> Any:
        scores = self._scores(outputs[0], options.function_to_apply)
        found = [{"label": self.names[i], "score": score} for i, score in enumerate(scores.tolist())]
        if options.top_k == "":
            return found if options.return_all_scores else found[int(scores.argmax())]
        best = sorted(found, key=lambda one: one["score"], reverse=True)
        return best if options.top_k is None else best[: int(options.top_k)]

    def _scores(self, logits: Array, function: str | None) -> Array:  # (K,) -> (K,)
        config = self.model.config
        if function is None:
            one_by_one = config.problem_type == MULTI or config.num_labels == 1
            function = "none" if config.problem_type == REGRESSION else "sigmoid" if one_by_one else "softmax"
        if function.lower() == "softmax":
            return softmax(logits)
        return sigmoid(logits) if function.lower() == "sigmoid" else logits


def text_and_pair(item: Any) -> tuple[Any, Any]:
    """The two texts of an input; the second may be None. Raises ValueError for what may be meant as a pair and is none."""
    if isinstance(item, Mapping):
        unknown = sorted(map(str, set(item) - {"text", "text_pair", *BESIDE}))
        if "text" not in item or unknown:
            raise ValueError(
                f'an input that is a dict has "text" and perhaps "text_pair"; got {listed(sorted(map(str, item)))}'
            )
        return item["text"], item.get("text_pair")
    if isinstance(item, list) and len(item) == 1 and isinstance(item[0], list) and len(item[0]) == 2:
        return item[0][0], item[0][1]  # an older form, [[text, pair]]
    if isinstance(item, (list, tuple)):
        raise ValueError('a pair of texts is given as {"text": …, "text_pair": …}; got a ' + type(item).__name__)
    return item, None
