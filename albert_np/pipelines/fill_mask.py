"""Text in, answers out, in plain Python values of transformers' shapes (4.57.6, pipelines/fill_mask.py)."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np

from albert_np import ops
from albert_np.checkpoints import hub
from albert_np.model import AlbertForMaskedLM, AlbertForPreTraining
from albert_np.tokenization.tokenizer import AlbertTokenizer

TASKS = ("fill-mask",)
LIST_BATCH = 16  # texts of a list that are computed together
# what a caller may tell the tokenizer: how long a text may be, and how it is filled up
TOKENIZER_OPTIONS = ("max_length", "pad_to_multiple_of", "padding", "truncation")


def pipeline(
    task: str,
    model: Any = None,
    tokenizer: Any = None,
    *,
    backend: str | None = None,
    dtype: Any = None,
    torch_dtype: Any = None,
    device: Any = None,
    top_k: int | None = None,
    **options: Any,
) -> FillMaskPipeline:
    """A callable for a task. `pipeline("fill-mask")("The capital of [MASK] is Paris.")`

    model, tokenizer: a folder, "demo" (the default) or a hub id, or loaded objects; the tokenizer comes from the model's
    place where none is named. options: revision, cache_dir, local_files_only, token, subfolder, force_download.
    device is accepted where it says the CPU. Raises ValueError for an unknown task, OSError where files are missing.
    """
    if task not in TASKS:
        raise ValueError(f"task must be one of {', '.join(TASKS)}; got {task!r}")
    if str(device) not in ("None", "-1", "cpu"):
        raise ValueError(f"device: pipelines run on the CPU; got {device!r}")
    unknown = sorted(set(options) - set(hub.OPTIONS))
    if unknown:
        raise ValueError(f"pipeline knows no {', '.join(unknown)}; it takes {', '.join(hub.OPTIONS)} beside its own")
    model = hub.DEMO if model is None else model
    is_name = isinstance(model, (str, os.PathLike))
    if not is_name:
        if tokenizer is None:
            raise ValueError("a loaded model does not know its tokenizer: pass tokenizer= too")
        late = {"backend": backend, "dtype": dtype, "torch_dtype": torch_dtype} | options
        unused = sorted(name for name, value in late.items() if value is not None)
        if unused and isinstance(tokenizer, AlbertTokenizer):
            raise ValueError(f"{', '.join(unused)}: the model is loaded already; pass this to its from_pretrained")
    if tokenizer is None or isinstance(tokenizer, (str, os.PathLike)):
        tokenizer = AlbertTokenizer.from_pretrained(model if tokenizer is None else tokenizer, **options)
    if is_name:
        model = AlbertForMaskedLM.from_pretrained(
            model, backend=backend or "auto", dtype=dtype, torch_dtype=torch_dtype, **options
        )
    return FillMaskPipeline(model, tokenizer, top_k=top_k)


class FillMaskPipeline:
    """The likeliest pieces for each [MASK] of a text."""

    task = "fill-mask"

    def __init__(self, model: Any, tokenizer: Any, *, top_k: int | None = None) -> None:
        if not isinstance(model, (AlbertForMaskedLM, AlbertForPreTraining)):
            raise ValueError(f"fill-mask needs a masked-language model; got {type(model).__name__}")
        if not isinstance(tokenizer, AlbertTokenizer):
            raise ValueError(f"tokenizer must be a name or an AlbertTokenizer; got {type(tokenizer).__name__}")
        if len(tokenizer) > model.config.vocab_size:
            raise ValueError(
                f"the tokenizer has {len(tokenizer)} tokens and the model {model.config.vocab_size}: do they belong together?"
            )
        self.model, self.tokenizer, self.top_k = model, tokenizer, 5 if top_k is None else top_k

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

        A text with one mask gives a list of {"score", "token", "token_str", "sequence"}, best first; with several masks a
        list of such lists, one a mask, each filled while the others stand. A list of texts gives a list of these (a list
        of one text gives its answer itself, as transformers). Scores are probabilities over the whole vocabulary.
        top_k: how many answers (5); targets: words to choose among. A text longer than the model's positions is cut to them,
        with a warning; tokenizer_kwargs decide otherwise: {"truncation": False} has it refused, True cuts without a word.
        batch_size: how many texts are computed together, without their padding; by default 16 of a list, and 1 of an
        iterable, whose next text may be a while in coming.
        Raises ValueError where a text has no mask, or none in what is kept of it.
        """
        ids = None if targets is None else self._target_ids(targets)
        count = self._checked_top_k(self.top_k if top_k is None else top_k)
        options = {} if tokenizer_kwargs is None else tokenizer_kwargs
        if not isinstance(options, dict) or not set(options) <= set(TOKENIZER_OPTIONS):
            raise ValueError(f"tokenizer_kwargs may set {', '.join(TOKENIZER_OPTIONS)}; got {options!r:.200}")
        if batch_size is not None and (type(batch_size) is not int or batch_size < 1):
            raise ValueError(f"batch_size must be a whole number of at least 1; got {batch_size!r}")
        if isinstance(inputs, str):
            return self._fill([inputs], count, ids, options)[0]
        if isinstance(inputs, (list, tuple)):
            answers = list(self._lazily(inputs, count, ids, options, batch_size or LIST_BATCH))
            return answers[0] if len(answers) == 1 else answers
        if isinstance(inputs, Iterable):
            return self._lazily(inputs, count, ids, options, batch_size or 1)
        raise ValueError(f"fill-mask takes a text or several; got {type(inputs).__name__}")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model!r}, {self.tokenizer!r}, top_k={self.top_k})"

    def save_pretrained(self, folder: str | os.PathLike) -> None:
        """Model and tokenizer, side by side."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def _lazily(
        self, texts: Iterable[str], top_k: int, targets: Any, options: dict[str, Any], batch_size: int
    ) -> Iterator[Any]:
        texts = iter(texts)
        while batch := list(islice(texts, batch_size)):
            yield from self._fill(batch, top_k, targets, options)

    def _fill(
        self, texts: list[Any], top_k: int, targets: np.ndarray | None, tokenizer_kwargs: dict[str, Any]
    ) -> list[list]:
        """The answers for each of some texts, which the model sees together."""
        encodings, columns = [], []
        for text in texts:
            if not isinstance(text, str):
                raise ValueError(f"fill-mask takes texts; got {type(text).__name__}")
            encodings.append(self._encoded(text, tokenizer_kwargs))
            columns.append(np.flatnonzero(np.array(encodings[-1]["input_ids"]) == self.tokenizer.mask_token_id))
            if len(columns[-1]) == 0:
                raise ValueError(self._nothing_to_fill(text, sum(encodings[-1]["attention_mask"])))
        # on the right, whatever the tokenizer prefers: positions are counted from the first column
        batch = self.tokenizer.pad(
            [dict(encoding) for encoding in encodings], padding_side="right", return_tensors="np"
        )
        most = max(map(len, columns))
        # a text with fewer masks than another asks for its last one again
        positions = np.stack([np.pad(x, (0, most - len(x)), mode="edge") for x in columns])
        out = self.model(
            batch["input_ids"],
            batch["attention_mask"],
            batch["token_type_ids"],
            logits_positions=positions,
            skip_padding=True,
            return_dict=True,
            output_attentions=False,
            output_hidden_states=False,  # whatever the config prefers
        )
        logits = out.logits if "logits" in out else out.prediction_logits  # (B,M,V)
        answers = []
        for encoding, masks, rows in zip(encodings, columns, logits, strict=True):
            # a row at a time: NumPy's exp may round a number another way in another place of an array
            ids, probs = np.array(encoding["input_ids"]), [ops.softmax(row) for row in rows[: len(masks)]]  # M × (V,)
            alone = len(masks) == 1
            filled = [self._best(ids, mask, row, top_k, targets, alone) for mask, row in zip(masks, probs, strict=True)]
            answers.append(filled[0] if alone else filled)
        return answers

    def _encoded(self, text: str, tokenizer_kwargs: dict[str, Any]) -> Any:
        """One text, cut where the model has no more positions, unless the caller said whether to cut."""
        most, options = self.model.config.max_position_embeddings, dict(tokenizer_kwargs)
        if options.get("truncation") and options.get("max_length") is None:
            options["max_length"] = min(most, self.tokenizer.model_max_length)  # a tokenizer may state no limit
        encoding = self.tokenizer(text, **options, verbose=False)
        if len(encoding["input_ids"]) <= most or options.get("truncation") is not None:
            return encoding
        tokens = sum(encoding["attention_mask"])
        if tokens > most:  # else it is padding that goes beyond
            warnings.warn(
                f"{_shortened(text)!r} is {tokens:,} tokens, and the model has {most:,} positions: {most:,} tokens are kept "
                "(tokenizer_kwargs={'truncation': False} refuses such a text)",
                stacklevel=4,
            )
        return self.tokenizer(text, **options | {"truncation": True, "max_length": most}, verbose=False)

    def _nothing_to_fill(self, text: str, kept: int) -> str:
        mask, whole = self.tokenizer.mask_token, self.tokenizer(text, verbose=False)["input_ids"]
        if self.tokenizer.mask_token_id not in whole:
            return f"there is no {mask} in {_shortened(text)!r}, so nothing to fill"
        cut = f"{_shortened(text)!r}, cut from {len(whole):,} tokens to {kept:,}"
        return f"no {mask} is left in {cut}: shorten the text around it"

    def _best(  # (T,), (), (V,)
        self, ids: np.ndarray, column: Any, probs: np.ndarray, top_k: int, targets: np.ndarray | None, alone: bool
    ) -> list[dict[str, Any]]:
        candidates = np.arange(len(self.tokenizer)) if targets is None else targets
        scores = probs[candidates]
        order = np.argsort(-scores, kind="stable")[:top_k]
        answers = []
        for token, score in zip(candidates[order].tolist(), scores[order].tolist(), strict=True):
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
        """A target is a piece of the vocabulary, or else the first piece of its text, with a warning."""
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
                warnings.warn(f"the target {target!r} has no piece in the vocabulary and is left out", stacklevel=4)
                continue
            if len(pieces) > 1:
                first = self.tokenizer.convert_ids_to_tokens(pieces[0])
                message = f"the target {target!r} is {len(pieces)} pieces of the vocabulary: only {first!r}, the first, counts"
                warnings.warn(message, stacklevel=4)
            ids.append(pieces[0])
        if not ids:
            raise ValueError("no target is left to choose among: name at least one that the vocabulary knows")
        return np.array(sorted(set(ids)))


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"
