"""Fill-mask, with the results in transformers' form (4.57.6, pipelines/fill_mask.py)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from albert_np import ops
from albert_np.model import AlbertForMaskedLM, AlbertForPreTraining
from albert_np.pipelines.base import Pipeline, checked_tokenizer_options, shortened, warn
from albert_np.tasks.masked_lm import likeliest


class FillMaskPipeline(Pipeline):
    """The likeliest pieces for each [MASK] of a text."""

    task = "fill-mask"
    models = (AlbertForMaskedLM, AlbertForPreTraining)
    needs = "a masked-language model"

    def __init__(self, model: Any, tokenizer: Any, *, top_k: int | None = None) -> None:
        super().__init__(model, tokenizer)
        self.top_k = 5 if top_k is None else top_k

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model!r}, {self.tokenizer!r}, top_k={self.top_k})"

    def __call__(
        self,
        inputs: str | list[str] | Iterable[str],
        *,
        top_k: int | None = None,
        targets: str | list[str] | None = None,
        tokenizer_kwargs: dict[str, Any] | None = None,
        batch_size: int | None = None,
    ) -> Any:
        """Fills the masks of one text, of each text of a list, or of an iterable of texts, lazily.

        A text with one mask gives a list of {"score", "token", "token_str", "sequence"}, best first. A text with several
        masks gives a list of such lists, one for each mask, which is filled while the others stay. A list of texts gives a
        list of these (a list of one text gives its answer itself, as in transformers). Scores are probabilities over the
        whole vocabulary.
        top_k: how many answers there are (5). targets: the words to choose among.
        A text with more tokens than the model has positions is cut, with a warning. tokenizer_kwargs can change that:
        {"truncation": False} refuses such a text, True cuts it without a warning.
        batch_size: how many texts are computed together, without their padding; by default 16 for a list, and 1 for an
        iterable, whose next text may take a while to come.
        Raises ValueError if a text has no mask, or if it has none left after it was cut.
        """
        ids = None if targets is None else self._target_ids(targets)
        count = self._checked_top_k(self.top_k if top_k is None else top_k)
        options = checked_tokenizer_options(tokenizer_kwargs)

        def fill(texts: list[Any]) -> list[list]:
            return self._fill(texts, count, ids, options)

        answers = self._answers(inputs, fill, batch_size)
        return answers[0] if isinstance(inputs, (list, tuple)) and len(inputs) == 1 else answers

    def _fill(
        self, texts: list[Any], top_k: int, targets: np.ndarray | None, tokenizer_kwargs: dict[str, Any]
    ) -> list[list]:
        """The answers for each of several texts, which the model computes together."""
        encodings, columns = [], []
        for text in texts:
            encodings.append(self._encoded(text, tokenizer_kwargs))
            columns.append(np.flatnonzero(np.array(encodings[-1]["input_ids"]) == self.tokenizer.mask_token_id))
            if len(columns[-1]) == 0:
                raise ValueError(self._nothing_to_fill(text, sum(encodings[-1]["attention_mask"])))
        most = max(map(len, columns))
        # a text with fewer masks than another asks for its last one again
        positions = np.stack([np.pad(x, (0, most - len(x)), mode="edge") for x in columns])
        out = self._called(encodings, logits_positions=positions)
        logits = out.logits if "logits" in out else out.prediction_logits  # (B,M,V)
        answers = []
        for encoding, masks, rows in zip(encodings, columns, logits, strict=True):
            # a row at a time: NumPy's exp may round a number another way in another place of an array
            ids, probs = np.array(encoding["input_ids"]), [ops.softmax(row) for row in rows[: len(masks)]]  # M × (V,)
            alone = len(masks) == 1
            filled = [self._best(ids, mask, row, top_k, targets, alone) for mask, row in zip(masks, probs, strict=True)]
            answers.append(filled[0] if alone else filled)
        return answers

    def _nothing_to_fill(self, text: str, kept: int) -> str:
        mask, whole = self.tokenizer.mask_token, self.tokenizer(text, verbose=False)["input_ids"]
        if self.tokenizer.mask_token_id not in whole:
            return f"there is no {mask} in {shortened(text)!r}, so there is nothing to fill"
        cut = f"{shortened(text)!r}, cut from {len(whole):,} tokens to {kept:,}"
        return f"no {mask} is left in {cut}: shorten the text around it"

    def _best(  # (T,), (), (V,)
        self, ids: np.ndarray, column: Any, probs: np.ndarray, top_k: int, targets: np.ndarray | None, alone: bool
    ) -> list[dict[str, Any]]:
        candidates = np.arange(len(self.tokenizer)) if targets is None else targets
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

    def _checked_top_k(self, top_k: Any) -> int:
        V = len(self.tokenizer)
        if isinstance(top_k, bool) or not isinstance(top_k, (int, np.integer)) or not 0 < top_k <= V:
            raise ValueError(f"top_k must be a whole number from 1 to the vocabulary's {V}; got {top_k!r}")
        return int(top_k)

    def _target_ids(self, targets: Any) -> np.ndarray:  # -> (n,) int, each id once
        """The ids of the targets. One that is not a piece of the vocabulary counts as its first piece, with a warning."""
        targets = [targets] if isinstance(targets, str) else targets
        if not isinstance(targets, (list, tuple)) or not all(isinstance(target, str) for target in targets):
            raise ValueError("targets must be words: a str or a list of str")
        vocab = self.tokenizer.get_vocab()
        ids: list[int] = []
        for target in targets:
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
