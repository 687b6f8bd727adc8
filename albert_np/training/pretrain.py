"""Pre-training from plain text: a vocabulary, a fresh model, masked words and sentence order (Lan et al. 2019, section 4.1).

folder/tokenizer/        spiece.model and its settings, made from the text or copied
folder/tokens/           the text in tokens, cut up once
folder/checkpoint-…/     what training leaves (loop.py): a Hugging Face folder each, with the optimizer's state
"""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from albert_np import AlbertConfig, AlbertForPreTraining, AlbertTokenizer
from albert_np.backends import choose
from albert_np.files import shown
from albert_np.ops import Array
from albert_np.tasks.masked_lm import right_where_labelled
from albert_np.text_files import open_binary, text_paths
from albert_np.tokenization.files import FAST, VOCAB
from albert_np.training.documents import TextForm
from albert_np.training.log import SKIPPED
from albert_np.training.loop import OPTIMIZERS, Optimizer, Plan, Trained, train
from albert_np.training.optimizers import Schedule
from albert_np.training.pretraining import PretrainingData, PretrainingOptions
from albert_np.training.step import count_labels
from albert_np.training.token_corpus import TokenCorpus, tokenize_corpus
from albert_np.training.vocabulary import train_vocabulary


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
    group_by_length: bool = False,
    optimizer: str | Optimizer = "adamw",
    learning_rate: float = 5e-4,
    warmup_steps: int | None = None,
    schedule: Callable[[int], float] | None = None,
    held_out: float | str | os.PathLike | Iterable[str | os.PathLike] = 0.05,
    evaluation_batches: int = 20,
    seed: int = 0,
    backend: str = "auto",
    dtype: str = "float32",
    start: str | os.PathLike | None = None,
    initial: Callable[[AlbertForPreTraining], None] | None = None,
    resume: bool = False,
    progress: bool = False,
) -> Trained:
    """Trains an AlbertForPreTraining on text files, and writes into a folder. The same arguments and text give the same bits.

    config: values that replace AlbertConfig's own; dropout is 0 unless config says otherwise, as in ALBERT v2.
    vocabulary: a folder with spiece.model; without it, a vocabulary of vocab_size pieces is made.
    held_out: what is used for evaluation and never for training: a part of the documents, or separate text files, which the
    vocabulary does not see either. group_by_length: the examples of an update have similar lengths, with little padding.
    optimizer: a name, or an optimizer object. warmup_steps: by default a tenth of all steps. schedule: step -> learning rate;
    the default is a line up to learning_rate and then down to 0.
    start: a model whose weights training begins with, instead of weights from the seed: a folder, "demo" or a hub id. Its
    vocabulary is used too, unless `vocabulary` is given, and its sizes. What config says must agree with them, except for the
    number of layers, since the weights of a group fit any number of them. The encoder must be there; the heads and the pooler
    are drawn from the seed where they are not, and a warning says so. initial: a function that changes weights from the seed,
    in place, before the first step.
    dtype: what the model computes in, on backend numba "float32" or "bfloat16"; weights and updates are float32 for both.
    options: without them, sequences have 128 tokens, or as many as `start` has positions if they are fewer.
    Raises ValueError (arguments, text) or OSError (files), like the functions that it calls.
    """
    if isinstance(optimizer, str) and optimizer not in OPTIMIZERS:
        raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}; got {optimizer!r}")
    choose.resolve_backend(backend, dtype)
    rule = OPTIMIZERS[optimizer]() if isinstance(optimizer, str) else optimizer
    if schedule is None:
        schedule = Schedule(learning_rate, plan.steps // 10 if warmup_steps is None else warmup_steps, plan.steps)
    folder, options = Path(folder), options or PretrainingOptions(max_length=usual_length(start))
    training_paths = text_paths(paths)
    held_out_paths = None if isinstance(held_out, (int, float)) else _held_out_paths(held_out, training_paths)
    settings = _settings(start, config or {}, options.max_length)
    rows = None if start is None else settings.vocab_size
    another = vocabulary is not None
    vocabulary = start if vocabulary is None else vocabulary
    tokenizer = _tokenizer(training_paths, folder / "tokenizer", vocabulary, vocab_size, seed, rows, another)

    def tokens(named: list[Path]) -> TokenCorpus:
        return tokenize_corpus(named, tokenizer, form, cache_dir=folder / "tokens", progress=progress)

    def examples(corpus: TokenCorpus, documents: Array | None, epochs: int | None) -> PretrainingData:
        return PretrainingData(
            corpus,
            tokenizer,
            batch_size=batch_size,
            options=options,
            seed=seed,
            documents=documents,
            epochs=epochs,
            group_by_length=plan.accumulate if group_by_length else 0,
        )

    corpus = tokens(training_paths)
    if held_out_paths is None:
        chosen, kept_back = corpus.split(held_out, seed)  # type: ignore[arg-type]
        data, held = examples(corpus, chosen, None), examples(corpus, kept_back, 1)
    else:
        data, held = examples(corpus, None, None), examples(tokens(held_out_paths), None, 1)
    if start is None:
        settings = settings.replace(vocab_size=(config or {}).get("vocab_size", len(tokenizer)))
        model = AlbertForPreTraining(settings, seed=seed, backend=backend, dtype=dtype)
    else:
        model = AlbertForPreTraining.from_pretrained(
            start, config=settings, missing="init", seed=seed, backend=backend, dtype=dtype
        )
    if initial is not None and start is None:
        initial(model)
    return train(
        model,
        data,
        folder,
        optimizer=rule,
        schedule=schedule,
        plan=plan,
        evaluate=lambda model: evaluate(model, held, evaluation_batches),
        tokenizer=tokenizer,
        resume=resume,
    )


def _held_out_paths(held_out: str | os.PathLike | Iterable[str | os.PathLike], training: list[Path]) -> list[Path]:
    paths = text_paths(held_out)
    trained_on = {path.resolve() for path in training}
    for path in paths:
        if path.resolve() in trained_on:
            raise ValueError(f"{shown(path, 300)} is to be trained on, so it cannot be held out: name other text")
        open_binary(path).close()  # a wrong name is refused now, not after minutes of making a vocabulary
    return paths


def usual_length(start: str | os.PathLike | None) -> int:
    """The tokens of a sequence where nobody says how many: 128, or the positions of the model to start from, if fewer."""
    return 128 if start is None else min(128, AlbertConfig.from_pretrained(start).max_position_embeddings)


def _settings(start: str | os.PathLike | None, given: dict[str, Any], max_length: int) -> AlbertConfig:
    """The model's config, but for the vocabulary's size where there is no model to start from."""
    no_dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "classifier_dropout_prob": 0.0}
    if start is None:
        return AlbertConfig(**{"max_position_embeddings": max_length} | no_dropout | given)
    found = AlbertConfig.from_pretrained(start)
    settings = no_dropout | given
    for name, value in settings.items():
        if getattr(found, name) != value and name not in (*no_dropout, "num_hidden_layers"):
            raise ValueError(f"{shown(start, 300)} has {name} {getattr(found, name)!r}, and this training {value!r}")
    if max_length > found.max_position_embeddings:
        raise ValueError(
            f"max_length {max_length} is more than the {found.max_position_embeddings} positions of {shown(start, 300)}: "
            "choose a smaller one"
        )
    return found.replace(**settings)


def _tokenizer(
    paths: list[Path],
    folder: Path,
    vocabulary: str | os.PathLike | None,
    vocab_size: int,
    seed: int,
    rows: int | None,
    another: bool,
) -> AlbertTokenizer:
    """The tokenizer of the folder, if it has one: a resumed training must not get another.

    rows: of the word table that the pieces must fit, if there is one already. It may have more rows than the model's own
    vocabulary has pieces; `another` must have as many.
    """
    here = AlbertTokenizer.from_pretrained(folder) if any((folder / name).is_file() for name in (VOCAB, FAST)) else None
    if vocabulary is None:
        return here or train_vocabulary(paths, folder, vocab_size=vocab_size, seed=seed)
    tokenizer = AlbertTokenizer.from_pretrained(vocabulary)
    if here is not None and here.get_vocab() != tokenizer.get_vocab():
        raise ValueError(
            f"{shown(folder, 300)} is another vocabulary than that of {shown(vocabulary, 300)}: choose another folder, or "
            "remove that"
        )
    if rows is not None and (len(tokenizer) > rows or (another and len(tokenizer) < rows)):
        raise ValueError(
            f"the vocabulary of {shown(vocabulary, 300)} has {len(tokenizer):,} pieces, and the model's word table {rows:,} "
            "rows: do they belong together?"
        )
    if here is None:
        tokenizer.save_pretrained(folder)
    return here or tokenizer


def evaluate(model: AlbertForPreTraining, held: PretrainingData, batches: int) -> dict[str, float]:
    """The loss, and how often masked words and the order of segments are right, on the first batches that were held back.

    The loss is the mean over batches. One in which no masked word, or no order, counts has no loss: it is left out, and
    counted. What counts nowhere has no figure, and a warning says so.
    """
    held.rewind()
    losses, words, orders = list[float](), list[Array](), list[Array]()
    skipped = 0
    for batch in itertools.islice(held, batches):
        given: dict[str, Any] = dict(batch)
        out = model(**given, skip_padding=True)
        if count_labels(batch):
            losses.append(float(out.loss))
        else:
            skipped += 1
        words.append(right_where_labelled(out.prediction_logits, batch["labels"]))
        orders.append(right_where_labelled(out.sop_logits, batch["sentence_order_label"]))
    figures = {
        "loss": np.array(losses),
        "masked_word_accuracy": np.concatenate(words),
        "sentence_order_accuracy": np.concatenate(orders),
    }
    nothing = [name for name, values in figures.items() if not len(values)]
    if nothing:
        warnings.warn(f"no label of the text held out counts for {', '.join(nothing)}", stacklevel=2)
    found = {name: float(np.mean(values)) for name, values in figures.items() if len(values)}
    return found | ({SKIPPED: skipped} if skipped else {})
