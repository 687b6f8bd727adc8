"""Fill-mask, with the results in transformers' form (4.57.6, pipelines/fill_mask.py)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from albert_np.model import AlbertForMaskedLM, AlbertForPreTraining
from albert_np.ops import Array, softmax
from albert_np.pipelines.base import (
    Pipeline,
    PipelineException,
    Prepared,
    Row,
    TextOptions,
    checked_count,
    shortened,
    warn,
)
from albert_np.tasks.masked_lm import likeliest


@dataclass(frozen=True)
class FillMaskOptions(TextOptions):
    """top_k: how many answers each mask has. targets: the words to choose among."""

    top_k: int = 5
    targets: str | list[str] | None = None


class FillMaskPipeline(Pipeline[FillMaskOptions]):
    """The likeliest pieces for each [MASK] of a text."""

    task = "fill-mask"
    models = (AlbertForMaskedLM, AlbertForPreTraining)
    needs = "a masked-language model"
    options_class = FillMaskOptions
    column = "text"

    def __init__(self, model: Any, tokenizer: Any, **options: Any) -> None:
        """As Pipeline. Raises PipelineException if the tokenizer has no mask token."""
        super().__init__(model, tokenizer, **options)
        if tokenizer.mask_token_id is None:
            raise self._failed("the tokenizer has no mask token, so there is nothing to fill")
        self._check(self.options)

    def _check(self, options: FillMaskOptions) -> None:
        checked_count(options.top_k, "top_k", len(self.tokenizer))
        if options.targets is not None:
            self._words(options.targets)

    def _failed(self, reason: str) -> PipelineException:
        return PipelineException(self.task, self.model.base_model_prefix, reason)

    def __call__(self, inputs: str | list[str] | Iterable[str], **options: Any) -> Any:
        """Fills the masks of one text, of each text of a list, or of an iterable of texts, lazily.

        A text with one mask gives a list of {"score", "token", "token_str", "sequence"}, best first. A text with several
        masks gives a list of such lists, one for each mask, which is filled while the others stay. A list of texts gives a
        list of these (a list of one text gives its answer itself, as in transformers). Scores are probabilities over the
        whole vocabulary.
        options: top_k (5), targets, and those of TextOptions.
        Raises ValueError; it is a PipelineException if a text has no mask, or none left after it was cut.
        """
        asked = self._asked(self.options, options)
        self._check(asked)
        answers = self._answers(inputs, asked)
        return answers[0] if isinstance(inputs, (list, tuple)) and len(inputs) == 1 else answers

    def _prepare(self, item: Any, options: FillMaskOptions) -> Prepared:
        row = self._encoded(item, None, options.of_tokenizer())
        if self.tokenizer.mask_token_id not in row["input_ids"]:
            raise self._failed(self._nothing_to_fill(item, sum(row["attention_mask"])))
        return Prepared([row], np.array(row["input_ids"]))

    def _forward(self, rows: list[Row]) -> list[Array]:  # -> B × (M,V), the logits at the masks of each row
        columns = [np.flatnonzero(np.array(row["input_ids"]) == self.tokenizer.mask_token_id) for row in rows]
        most = max(map(len, columns))
        # a text with fewer masks than another asks for its last one again
        positions = np.stack([np.pad(x, (0, most - len(x)), mode="edge") for x in columns])
        out = self._called(rows, logits_positions=positions)
        logits = out.logits if "logits" in out else out.prediction_logits  # (B,M,V)
        return [row[: len(masks)] for row, masks in zip(logits, columns, strict=True)]

    def _answer(self, outputs: list[Array], note: Any, options: FillMaskOptions) -> list[Any]:
        candidates = np.arange(len(self.tokenizer)) if options.targets is None else self._target_ids(options.targets)
        masks = np.flatnonzero(note == self.tokenizer.mask_token_id)
        # a row at a time: NumPy's exp may round a number another way in another place of an array
        probs, alone = [softmax(row) for row in outputs[0]], len(masks) == 1  # M × (V,)
        filled = [
            self._best(note, mask, row, options.top_k, candidates, alone)
            for mask, row in zip(masks, probs, strict=True)
        ]
        return filled[0] if alone else filled

    def _nothing_to_fill(self, text: str, kept: int) -> str:
        mask, whole = self.tokenizer.mask_token, self.tokenizer(text, verbose=False)["input_ids"]
        if self.tokenizer.mask_token_id not in whole:
            return f"there is no {mask} in {shortened(text)!r}, so there is nothing to fill"
        cut = f"{shortened(text)!r}, cut from {len(whole):,} tokens to {kept:,}"
        return f"no {mask} is left in {cut}: shorten the text around it"

    def _best(  # (T,), (), (V,)
        self, ids: np.ndarray, column: Any, probs: np.ndarray, top_k: int, candidates: np.ndarray, alone: bool
    ) -> list[dict[str, Any]]:
        pieces, scores = likeliest(probs, candidates, top_k)
        answers = []
        for token, score in zip(pieces.tolist(), scores.tolist(), strict=True):
            filled = ids.copy()
            filled[column] = token
            filled = filled[filled != self.tokenizer.pad_token_id]
            # with several masks special tokens stay, or the other masks would vanish from the text (transformers 4.57.6)
            sequence = self.tokenizer.decode(filled.tolist(), skip_special_tokens=alone)
            token_str = self.tokenizer.decode([token])
            answers.append({"score": score, "token": token, "token_str": token_str, "sequence": sequence})
        return answers

    def _words(self, targets: Any) -> list[str]:
        targets = [targets] if isinstance(targets, str) else targets
        if not isinstance(targets, (list, tuple)) or not all(isinstance(target, str) for target in targets):
            raise ValueError("targets must be words: a str or a list of str")
        return list(targets)

    def _target_ids(self, targets: Any) -> np.ndarray:  # -> (n,) int, each id once
        """The ids of the targets. One that is not a piece of the vocabulary counts as its first piece, with a warning."""
        vocab = self.tokenizer.get_vocab()
        ids: list[int] = []
        for target in self._words(targets):
            if target in vocab:
                ids.append(vocab[target])
                continue
            pieces = self.tokenizer(target, add_special_tokens=False)["input_ids"]
            if not pieces:
                warn(f"the target {target!r} has no piece in the vocabulary and is left out")
                continue
            if len(pieces) > 1:
                first = self.tokenizer.convert_ids_to_tokens(pieces[0])
                message = f"the target {target!r} is {len(pieces)} pieces of the vocabulary: only {first!r}, the first, counts"
                warn(message)
            ids.append(pieces[0])
        if not ids:
            raise ValueError("no target is left to choose among: name at least one that the vocabulary knows")
        return np.array(sorted(set(ids)))
