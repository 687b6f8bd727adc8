"""Pre-training from plain text: a vocabulary, a fresh model, masked words and sentence order (Lan et al. 2019, section 4.1).

folder/tokenizer/        spiece.model and its settings, made from the text or copied
folder/tokens/           the text in tokens, cut up once
folder/checkpoint-…/     what training leaves (loop.py): a Hugging Face folder each, with the optimizer's state
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from albert_np import AlbertConfig, AlbertForPreTraining, AlbertTokenizer
from albert_np.tokenization.files import VOCAB
from albert_np.training.documents import TextForm
from albert_np.training.loop import Plan, Trained, train
from albert_np.training.optimizers import LAMB, AdamW, Schedule
from albert_np.training.pretraining import PretrainingData, PretrainingOptions
from albert_np.training.token_corpus import tokenize_corpus
from albert_np.training.vocabulary import train_vocabulary

OPTIMIZERS = {"adamw": AdamW, "lamb": LAMB}


def pretrain(
    paths: str | os.PathLike | Iterable[str | os.PathLike],
    folder: str | os.PathLike,
    *,
    plan: Plan,
    config: dict[str, Any] | None = None,
    vocabulary: str | os.PathLike | None = None,
    vocab_size: int = 8000,
    form: TextForm | None = None,
    options: PretrainingOptions | None = None,
    batch_size: int = 16,
    optimizer: str = "adamw",
    learning_rate: float = 5e-4,
    warmup_steps: int | None = None,
    held_out: float = 0.05,
    evaluation_batches: int = 20,
    seed: int = 0,
    backend: str = "auto",
    resume: bool = False,
    progress: bool = False,
) -> Trained:
    """Trains an AlbertForPreTraining on text files, into a folder. The same arguments and text give the same bits.

    config: values that replace AlbertConfig's own; dropout is 0 unless it says otherwise, as ALBERT v2.
    vocabulary: a folder with spiece.model, instead of making one of vocab_size pieces. held_out: the part of the documents
    that is evaluated and never trained on. warmup_steps: a tenth of all steps, unless given.
    Raises ValueError (arguments, text) or OSError (files), as the functions it is made of.
    """
    if optimizer not in OPTIMIZERS:
        raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}; got {optimizer!r}")
    folder, options = Path(folder), options or PretrainingOptions(max_length=128)
    paths = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    tokenizer = _tokenizer(paths, folder / "tokenizer", vocabulary, vocab_size, seed)
    corpus = tokenize_corpus(paths, tokenizer, form, cache_dir=folder / "tokens", progress=progress)
    chosen, kept_back = corpus.split(held_out, seed)
    data, held = (
        PretrainingData(
            corpus, tokenizer, batch_size=batch_size, options=options, seed=seed, documents=documents, epochs=epochs
        )
        for documents, epochs in ((chosen, None), (kept_back, 1))
    )
    no_dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "classifier_dropout_prob": 0.0}
    settings = {"vocab_size": len(tokenizer), "max_position_embeddings": options.max_length} | no_dropout
    model = AlbertForPreTraining(AlbertConfig(**settings | (config or {})), seed=seed, backend=backend)
    warmup = plan.steps // 10 if warmup_steps is None else warmup_steps
    return train(
        model, data, folder, optimizer=OPTIMIZERS[optimizer](), schedule=Schedule(learning_rate, warmup, plan.steps),
        plan=plan, evaluate=lambda model: evaluate(model, held, evaluation_batches), tokenizer=tokenizer, resume=resume,
    )  # fmt: skip


def _tokenizer(
    paths: list[Any], folder: Path, vocabulary: str | os.PathLike | None, vocab_size: int, seed: int
) -> AlbertTokenizer:
    """The folder's own, where it has one: a resumed training must not get another."""
    if (folder / VOCAB).is_file():
        return AlbertTokenizer.from_pretrained(folder)
    if vocabulary is None:
        return train_vocabulary(paths, folder, vocab_size=vocab_size, seed=seed)
    tokenizer = AlbertTokenizer.from_pretrained(vocabulary)
    tokenizer.save_pretrained(folder)
    return tokenizer


def evaluate(model: AlbertForPreTraining, held: PretrainingData, batches: int) -> dict[str, float]:
    """Loss, and how often the masked word and the order of the segments are right, on the first batches held back."""
    held.rewind()
    losses, words, orders = [], [], []
    for batch in itertools.islice(held, batches):
        given: dict[str, Any] = dict(batch)
        out = model(**given)
        labels = batch["labels"]
        masked = labels != -100
        losses.append(float(out.loss))
        words.append(out.prediction_logits[masked].argmax(axis=-1) == labels[masked])
        orders.append(out.sop_logits.argmax(axis=-1) == batch["sentence_order_label"])
    return {
        "loss": float(np.mean(losses)),
        "masked_word_accuracy": float(np.concatenate(words).mean()),
        "sentence_order_accuracy": float(np.concatenate(orders).mean()),
    }
