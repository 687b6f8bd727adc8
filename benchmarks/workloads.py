"""What the benchmarks of whole forwards compute: ALBERT-base checkpoints from a seed, batches by name, and their cost.

Checkpoints are made once and kept in a folder of the user's cache, never in the repository.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from machine import ROOT

from albert_np import AlbertConfig, AlbertForMaskedLM, AlbertModel
from albert_np.costs import multiply_adds
from albert_np.golden.cases import trained_like
from albert_np.machine import installed

CONFIG = AlbertConfig(
    vocab_size=30000,
    embedding_size=128,
    hidden_size=768,
    num_hidden_layers=12,
    num_attention_heads=12,
    intermediate_size=3072,
    hidden_act="gelu_new",
    max_position_embeddings=512,
)
RAGGED = "ragged"
SHAPES = ("1x8", "1x32", "1x128", "1x512", "8x128", RAGGED)
GPU_SHAPES, GPU_DTYPES = [(1, 16), (1, 128), (8, 128), (32, 128), (8, 512)], ("float32", "tf32", "bfloat16")
SEQUENCES, MEDIAN, SPREAD, SHORTEST, LONGEST = 32, 30, 0.8, 3, 256  # of the ragged batch


def cache_folder() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "albert_np_benchmarks"


def ragged_lengths(seed: int = 0) -> np.ndarray:  # -> (B,)
    """Log-normal, as lengths of real sentences are: most are short, and a few decide the width of the batch."""
    z = np.random.default_rng(seed).standard_normal(SEQUENCES)
    return np.clip(np.rint(MEDIAN * np.exp(SPREAD * z)), SHORTEST, LONGEST).astype(int)


def shape_name(text: str) -> str:
    """The name of a shape, checked: for argparse, which shows the reason."""
    if text != RAGGED and not re.fullmatch(r"[1-9]\d{0,3}x[1-9]\d{0,2}", text):
        raise argparse.ArgumentTypeError(f"a shape is BxT, such as 8x128, or {RAGGED!r}; got {text!r}")
    if text != RAGGED and int(text.split("x")[1]) > CONFIG.max_position_embeddings:
        raise argparse.ArgumentTypeError(f"the model has {CONFIG.max_position_embeddings} positions; got {text!r}")
    return text


def batch(shape: str) -> tuple[np.ndarray, np.ndarray]:  # -> (B,T), (B,T)
    """ids and attention mask, int64 as tokenizers give them; padding on the right."""
    lengths = ragged_lengths() if shape == RAGGED else np.full(*map(int, shape.split("x")))
    T = int(lengths.max())
    mask = (np.arange(T) < lengths[:, None]).astype(np.int64)
    ids = np.random.default_rng(T).integers(5, CONFIG.vocab_size, mask.shape) * mask
    return ids, mask


def useful_flops(mask: np.ndarray) -> float:  # (B,T) ->
    """Multiplications and additions of the matrix products that real tokens need; padding counts as nothing.

    Softmax, GELU and LayerNorm are left out, so 100 % of a peak counted in these is out of anybody's reach.
    """
    return float(sum(2 * sum(multiply_adds(CONFIG, int(tokens)).values()) for tokens in mask.sum(axis=1)))


def made_once(name: str, make: Callable[[Path], None]) -> Path:
    """A folder of the cache that `make` fills; it appears whole or not at all."""
    folder = cache_folder() / name
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            make(Path(temporary) / "new")
            (Path(temporary) / "new").rename(folder)
    return folder


def trained_tensors(parts: tuple[str, ...], seed: int) -> dict[str, np.ndarray]:
    """The statistics of trained weights: nothing zero or one, so an engine that drops a bias is found out."""
    return trained_like(CONFIG, parts, seed)


def encoder_checkpoint(seed: int = 0) -> Path:
    """ALBERT-base without pooler and heads."""

    def make(folder: Path) -> None:
        AlbertModel(CONFIG, add_pooling_layer=False, tensors=trained_tensors((), seed)).save_pretrained(folder)

    return made_once(f"encoder-{seed}", make)


def embedded_checkpoint(name: str) -> Path:
    """A copy of an embedded model, "demo" or "demo-speech", beside which graphs may be kept; another one when it changes."""
    source = ROOT / "albert_np" / "demo" / name.removeprefix("demo").removeprefix("-")
    digest = hashlib.sha256((source / "model.safetensors").read_bytes()).hexdigest()

    def make(folder: Path) -> None:
        folder.mkdir()
        for file in ("config.json", "model.safetensors"):
            shutil.copy(source / file, folder / file)

    return made_once(f"{name}-{digest[:12]}", make)


def masked_lm_checkpoint(seed: int = 0) -> Path:
    """ALBERT-base with its masked-language-model head and the demo's tokenizer, which has fewer pieces than the model."""

    def make(folder: Path) -> None:
        AlbertForMaskedLM(CONFIG, tensors=trained_tensors(("predictions",), seed)).save_pretrained(folder)
        for name in ("spiece.model", "tokenizer_config.json"):
            shutil.copy(ROOT / "albert_np" / "demo" / name, folder / name)

    return made_once(f"masked-lm-{seed}", make)


def fresh_masked_lm_checkpoint(seed: int = 0) -> Path:
    """The same model as transformers initialises it: normal weights of deviation 0.02, no biases."""

    def make(folder: Path) -> None:
        import torch
        import transformers

        torch.manual_seed(seed)
        config = transformers.AlbertConfig(**CONFIG.to_dict())
        transformers.AlbertForMaskedLM(config).save_pretrained(folder)

    return made_once(f"masked-lm-fresh-{seed}-transformers-{installed('transformers')}", make)
