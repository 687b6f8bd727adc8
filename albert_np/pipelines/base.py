"""What all pipelines share: one input, a list or a stream of them; text to a batch; a model and its tokenizer."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, ClassVar

from albert_np.calling import AlbertPreTrainedModel
from albert_np.tokenization.tokenizer import AlbertTokenizer

LIST_BATCH = 16  # inputs of a list that are computed together
# what a caller may tell the tokenizer: how long a text may be, and how it is filled up
TOKENIZER_OPTIONS = ("max_length", "pad_to_multiple_of", "padding", "truncation")

Answer = Callable[[list[Any]], list[Any]]  # some inputs -> an answer for each


class Pipeline:
    """A model and its tokenizer as one callable. A subclass names its task, and answers several inputs together."""

    task: ClassVar[str]
    models: ClassVar[tuple[type[AlbertPreTrainedModel], ...]]  # those that can do it; a name is loaded as the first
    needs: ClassVar[str]  # the same in words

    def __init__(self, model: Any, tokenizer: Any) -> None:
        if not isinstance(model, self.models):
            raise ValueError(f"{self.task} needs {self.needs}; got {type(model).__name__}")
        if not isinstance(tokenizer, AlbertTokenizer):
            raise ValueError(f"tokenizer must be a name or an AlbertTokenizer; got {type(tokenizer).__name__}")
        if len(tokenizer) > model.config.vocab_size:
            raise ValueError(
                f"the tokenizer has {len(tokenizer)} tokens and the model {model.config.vocab_size}: do they belong together?"
            )
        self.model, self.tokenizer = model, tokenizer

    def save_pretrained(self, folder: str | os.PathLike) -> None:
        """Saves model and tokenizer into one folder."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    # --- one, many, or a stream --------------------------------------------------------------------------------------

    def _answers(self, inputs: Any, answer: Answer, batch_size: int | None) -> Any:
        """The answer for one text, a list of answers for a list of texts, or a generator of answers for any other iterable.

        batch_size: how many inputs `answer` is given at a time. None means LIST_BATCH for a list, and 1 for an iterable, whose
        next input may take a while to come. Raises ValueError for other inputs.
        """
        if batch_size is not None and (type(batch_size) is not int or batch_size < 1):
            raise ValueError(f"batch_size must be a whole number of at least 1; got {batch_size!r}")
        if isinstance(inputs, str):
            return answer([inputs])[0]
        if isinstance(inputs, (list, tuple)):
            return list(_in_batches(inputs, answer, batch_size or LIST_BATCH))
        if isinstance(inputs, Iterable):
            return _in_batches(inputs, answer, batch_size or 1)
        raise ValueError(f"{self.task} takes a text or several; got {type(inputs).__name__}")

    # --- text to a batch ---------------------------------------------------------------------------------------------

    def _encoded(self, text: Any, tokenizer_kwargs: dict[str, Any]) -> Any:
        """One text, cut to the model's positions, unless the caller said whether to cut."""
        if not isinstance(text, str):
            raise ValueError(f"{self.task} takes texts; got {type(text).__name__}")
        most, options = self.model.config.max_position_embeddings, dict(tokenizer_kwargs)
        if options.get("truncation") and options.get("max_length") is None:
            options["max_length"] = min(most, self.tokenizer.model_max_length)  # a tokenizer may state no limit
        encoding = self.tokenizer(text, **options, verbose=False)
        if len(encoding["input_ids"]) <= most or options.get("truncation") is not None:
            return encoding
        tokens = sum(encoding["attention_mask"])
        if tokens > most:  # else it is padding that goes beyond
            warn(
                f"{shortened(text)!r} is {tokens:,} tokens, and the model has {most:,} positions: {most:,} tokens are kept "
                "(tokenizer_kwargs={'truncation': False} refuses such a text)"
            )
        return self.tokenizer(text, **options | {"truncation": True, "max_length": most}, verbose=False)

    def _called(self, encodings: list[Any], **asked: Any) -> Any:
        """The model's output for some encodings. Only real tokens are computed."""
        # on the right, whatever the tokenizer prefers: positions are counted from the first column
        batch = self.tokenizer.pad(
            [dict(encoding) for encoding in encodings], padding_side="right", return_tensors="np"
        )
        return self.model(
            batch["input_ids"],
            batch["attention_mask"],
            batch["token_type_ids"],
            skip_padding=True,
            return_dict=True,
            output_attentions=False,
            output_hidden_states=False,  # whatever the config prefers
            **asked,
        )


def _in_batches(inputs: Iterable[Any], answer: Answer, batch_size: int) -> Iterator[Any]:
    inputs = iter(inputs)
    while batch := list(islice(inputs, batch_size)):
        yield from answer(batch)


def checked_tokenizer_options(given: Any) -> dict[str, Any]:
    options = {} if given is None else given
    if not isinstance(options, dict) or not set(options) <= set(TOKENIZER_OPTIONS):
        raise ValueError(f"tokenizer_kwargs may set {', '.join(TOKENIZER_OPTIONS)}; got {options!r:.200}")
    return options


def shortened(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"


def warn(message: str) -> None:
    """A warning that names the line which called the package, however deep in it a pipeline is."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("albert_np."):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)
