"""Another number of tokens: longer or shorter tables of embeddings, with the rows that stay as they are."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from albert_np.checkpoints.initialise import check_seed, truncated_normal, within_memory
from albert_np.config import AlbertConfig
from albert_np.ops import Array

SPREAD = 1e-9  # of the averaged rows: their covariance is that of the old rows times this, as in transformers 4.57.6
TABLES = ("embeddings.word_embeddings.weight", "predictions.decoder.weight")
BIAS = "predictions.bias"


def resized_config(config: AlbertConfig, tokens: Any, multiple: Any) -> AlbertConfig:
    """The config with that vocab_size, rounded up to a multiple. None means the size as it is, and no rounding."""
    tokens = config.vocab_size if tokens is None else _whole("new_num_tokens", tokens)
    if multiple is not None:
        multiple = _whole("pad_to_multiple_of", multiple)
        tokens = -(-tokens // multiple) * multiple
    pad = config.pad_token_id
    # a negative id counts from the end, which moves
    return config.replace(vocab_size=tokens, pad_token_id=pad if pad is None else pad % config.vocab_size)


def resized(
    tensors: Mapping[str, Array], old: AlbertConfig, new: AlbertConfig, mean_resizing: bool, seed: int
) -> dict[str, Array]:
    """The same tensors, with tables and bias for the new vocab_size. Raises ValueError if memory does not suffice."""
    check_seed(seed)
    if mean_resizing not in (True, False):
        raise ValueError(f"mean_resizing must be True or False; got {mean_resizing!r:.80}")
    changed = {name: x for name, x in tensors.items() if name in (*TABLES, BIAS)}
    more = new.vocab_size - old.vocab_size
    made = dict(tensors)
    with within_memory({name: (new.vocab_size, *x.shape[1:]) for name, x in changed.items()}, changed[TABLES[0]].dtype):
        for name, x in changed.items():
            key = [int(seed), zlib.crc32(name.encode()), len(x)]  # of its own: no row is drawn a second time
            if more <= 0:
                added = x[:0]
            elif name == BIAS:
                # the bias of a decoder of its own is averaged as its rows are, and that of a tied one is padded
                averaged = mean_resizing and not new.tie_word_embeddings
                added = np.full(more, np.mean(x, dtype=np.float64) if averaged else 0, x.dtype)
            elif mean_resizing:
                added = _around_the_mean(x, more, key)
            else:
                added = truncated_normal((more, x.shape[1]), new.initializer_range, key, x.dtype)
            made[name] = np.concatenate([x[: new.vocab_size], added])
    return made


def _around_the_mean(x: Array, more: int, key: list[int]) -> Array:  # (V,E) -> (more,E)
    """Normal rows with the mean of x and SPREAD times its covariance; the mean alone if the covariance is singular."""
    x64 = x.astype(np.float64)
    mean = x64.mean(axis=0)
    covariance = (x64 - mean).T @ (x64 - mean) / len(x)
    try:
        factor = np.linalg.cholesky(SPREAD * covariance)
    except np.linalg.LinAlgError:
        factor = np.zeros_like(covariance)
    return (mean + np.random.default_rng(key).standard_normal((more, len(mean))) @ factor.T).astype(x.dtype)


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, or None; got {value!r:.80}")
    return int(value)
