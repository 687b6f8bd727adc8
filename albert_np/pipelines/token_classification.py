"""Token classification, with the results in transformers' form (4.57.6, pipelines/token_classification.py)."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from albert_np.files import shown
from albert_np.model import AlbertForTokenClassification
from albert_np.ops import Array, softmax
from albert_np.pipelines.base import (
    MODEL_INPUTS,
    Options,
    Pipeline,
    Prepared,
    Row,
    real_tokens,
    shortened,
    warn,
)
from albert_np.tasks.entities import STRATEGIES, Token, begins_word, entities, spaced, without_overlap
from albert_np.tokenization.batch import BatchEncoding


@dataclass(frozen=True)
class TokenClassificationOptions(Options):
    """aggregation_strategy: "none" (a result for each token), "simple", "first", "average" or "max".
    ignore_labels: names that are left out. stride: a text that is longer than the model's positions is read in windows that
    share so many tokens; without it the text is cut, with a warning.
    is_split_into_words: inputs are lists of words, and offsets count in the words joined by delimiter."""

    aggregation_strategy: str | None = None
    ignore_labels: Sequence[Any] = ("O",)
    stride: int | None = None
    is_split_into_words: bool = False
    delimiter: str = " "
    grouped_entities: bool | None = None
    ignore_subwords: bool | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.aggregation_strategy is not None and self.strategy not in STRATEGIES:
            given = shown(repr(self.aggregation_strategy), 80)
            raise ValueError(f"aggregation_strategy must be one of {', '.join(STRATEGIES)}; got {given}")
        if isinstance(self.ignore_labels, str) or not isinstance(self.ignore_labels, (list, tuple, set, frozenset)):
            raise ValueError(f"ignore_labels must be a list of names; got {shown(repr(self.ignore_labels), 80)}")
        if self.stride is not None:
            if type(self.stride) is not int or self.stride < 0:
                raise ValueError(f"stride must be a whole number, 0 or more; got {shown(repr(self.stride), 80)}")
            if self.aggregation_strategy is not None and self.strategy == "none":
                raise ValueError(
                    'stride merges the entities of windows: it needs an aggregation_strategy other than "none"'
                )
        if not isinstance(self.delimiter, str):
            raise ValueError(f"delimiter must be a text; got {shown(repr(self.delimiter), 80)}")

    @property
    def strategy(self) -> str:
        """The strategy by its name, also where it came under an older one."""
        if self.aggregation_strategy is not None:
            given = getattr(self.aggregation_strategy, "value", self.aggregation_strategy)  # an enum of transformers
            return str(given).lower()
        return ("first" if self.ignore_subwords else "simple") if self.grouped_entities else "none"


class TokenClassificationPipeline(Pipeline[TokenClassificationOptions]):
    """Names in a text, or another class for each of its tokens."""

    task = "token-classification"
    models = (AlbertForTokenClassification,)
    needs = "a model for token classification"
    options_class = TokenClassificationOptions
    column = "text"

    def __call__(self, inputs: str | Iterable[Any], **options: Any) -> Any:
        """For each text a list of entities, in order, as tasks.entities.entities gives them.

        start and end count characters of the text as it was given. A single list of words, with is_split_into_words, gives
        a list of one answer: so does transformers.
        options: those of TokenClassificationOptions. grouped_entities and ignore_subwords are older names of strategies.
        """
        asked = self._asked(self.options, options)
        if options.get("grouped_entities") is not None or options.get("ignore_subwords") is not None:
            message = f"grouped_entities is deprecated: use aggregation_strategy={asked.strategy!r}"
            warnings.warn(message, FutureWarning, stacklevel=2)
        if isinstance(inputs, (list, tuple)) and not inputs:
            raise ValueError("token-classification needs at least one text")
        if asked.is_split_into_words and isinstance(inputs, (list, tuple)):
            words = [isinstance(one, str) for one in inputs]
            inputs = [list(inputs)] if all(words) else inputs
        return self._answers(inputs, asked)

    def _prepare(self, item: Any, options: TokenClassificationOptions) -> Prepared:
        begins = None
        text = item
        if options.is_split_into_words:
            if not isinstance(item, (list, tuple)) or not item or not all(isinstance(word, str) for word in item):
                raise ValueError(f"with is_split_into_words an input is a list of words; got {shown(repr(item), 80)}")
            text = options.delimiter.join(item)
            begins = np.cumsum([0, *(len(word) + len(options.delimiter) for word in item[:-1])]).tolist()
        elif not isinstance(item, str):
            raise ValueError(f"token-classification takes texts; got {type(item).__name__}")
        windows = self._windows(list(item) if begins else item, text, options)
        rows = [{name: windows[name][i] for name in MODEL_INPUTS} for i in range(len(windows["input_ids"]))]
        return Prepared(rows, [self._tokens(windows, i, text, begins) for i in range(len(rows))])

    def _windows(self, given: Any, text: str, options: TokenClassificationOptions) -> BatchEncoding:
        """A text, or the words of one, as a batch of one row, or of several windows."""
        most = min(self.model.config.max_position_embeddings, self.tokenizer.model_max_length)
        if options.stride is not None and options.stride >= most - 2:
            raise ValueError(f"stride must be below {most - 2}, the tokens of a window; got {options.stride}")
        asked: dict[str, Any] = {
            "is_split_into_words": options.is_split_into_words,
            "return_special_tokens_mask": True,
            "return_offsets_mapping": True,
            "verbose": False,
        }
        whole = self.tokenizer([given], **asked)
        size = len(whole["input_ids"][0])
        if size <= most:
            return whole
        asked |= {"truncation": True, "max_length": most}
        if options.stride is None:
            warn(
                f"{shortened(text)!r} is {size:,} tokens, and the model has {most:,} positions: {most:,} tokens are kept "
                "(stride=… reads all of them, in windows)"
            )
            return self.tokenizer([given], **asked)
        return self.tokenizer([given], stride=options.stride, return_overflowing_tokens=True, **asked)

    def _tokens(self, windows: BatchEncoding, i: int, text: str, begins: list[int] | None) -> list[Token]:
        """The tokens of a row that are no special ones, with their characters in the text."""
        pieces, special = windows.tokens(i), windows["special_tokens_mask"][i]
        added, unknown = self.tokenizer.added_tokens_encoder, self.tokenizer.unk_token_id
        words = windows.word_ids(i) if begins else []
        found: list[Token] = []
        before: str | None = None
        for at, (piece, (start, end)) in enumerate(zip(pieces, windows["offset_mapping"][i], strict=True)):
            if special[at]:
                continue
            first = begins_word(piece, before, added, self.tokenizer.starts_word(piece))
            if begins:  # offsets count in each word
                first_character = begins[words[at] or 0]
                start, end = start + first_character, end + first_character
            before = piece
            shown_piece = text[start:end] if windows["input_ids"][i][at] == unknown else piece
            found.append(Token(at, shown_piece, start, end, first))
        return found

    def _forward(self, rows: list[Row]) -> list[Array]:
        return real_tokens(self._called(rows).logits, rows)

    def _answer(self, outputs: list[Array], note: list[list[Token]], options: TokenClassificationOptions) -> Any:
        join = self.tokenizer.convert_tokens_to_string if self.tokenizer.is_fast else spaced
        found: list[dict[str, Any]] = []
        for logits, tokens in zip(outputs, note, strict=True):
            scores = softmax(logits)[[token.place for token in tokens]]
            found += entities(
                tokens,
                scores,
                self.names,
                strategy=options.strategy,
                join=join,
                ignored=options.ignore_labels,
            )
        return found if len(note) == 1 else without_overlap(found)
