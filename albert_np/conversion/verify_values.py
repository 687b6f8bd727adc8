"""The numbers of a checkpoint: are they finite, and do they look like those of a model that was trained?"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from albert_np.checkpoints.formats.protocol import Tensor
from albert_np.checkpoints.names import HEADS, PARTS, WORDS
from albert_np.config import AlbertConfig
from albert_np.conversion.findings import Findings
from albert_np.encoder import LAYERS
from albert_np.files import listed, shown
from albert_np.ops import Array

LAYER_NORM = ("LayerNorm", "layer_norm")
FAR = 50.0  # published models have LayerNorm weights from 0.1 to 20
FRESH_SPREAD = 0.2  # how far the spread of freshly drawn weights may be from config.initializer_range, in parts of it
ENOUGH = 64  # numbers that tell a spread


class Numbers(NamedTuple):
    """What is kept of a tensor's values when the next one is read."""

    shape: tuple[int, ...]
    zero: bool  # all of them
    one: bool
    constant: bool
    median: float  # of a vector
    spread: float
    sha256: str


def check_values(
    held: dict[str, Tensor], names: list[str], config: AlbertConfig, findings: Findings, done: Callable[[int], object]
) -> None:
    """Reads each tensor once. names: those that the class computes with. done: called with the size of each."""
    seen: dict[str, Numbers] = {}
    for name in names:
        x = held[name].load()
        done(x.size)
        if x.size and _check_finite(name, held[name], x, findings):
            seen[name] = _numbers(x)
            if name == WORDS:
                _check_rows(x, config, findings)
    _check_zeros(seen, findings)
    _check_layer_norms(seen, findings)
    _check_fresh(seen, config, findings)
    _check_duplicates(seen, findings)


def _check_finite(name: str, tensor: Tensor, x: Array, findings: Findings) -> bool:
    finite = np.isfinite(x)
    if finite.all():
        with np.errstate(over="ignore"):
            if x.dtype != np.float64 or np.isfinite(x.astype(np.float32)).all():
                return True
        findings.error(
            "too-large",
            f"{name} has numbers up to {np.abs(x).max():.3g}",
            "float32 does not hold them, and from_pretrained refuses the folder unless dtype='float64'.",
        )
        return False
    first = tuple(int(i) for i in np.argwhere(~finite)[0])
    count = int((~finite).sum())
    findings.error(
        "finite",
        f"{shown(tensor.name)} holds {x[first]} at {list(first)}, the first of {count:,} numbers that are not finite",
        "Outputs would be NaN. A training with too large a step or in half precision ends so.",
        "Take an earlier checkpoint. check_finite='warn' loads it, to look into it.",
    )
    return False


def _numbers(x: Array) -> Numbers:
    flat = np.ascontiguousarray(x).reshape(-1)
    return Numbers(
        shape=x.shape,
        zero=not flat.any(),
        one=bool((flat == 1).all()),
        constant=bool((flat == flat[0]).all()),
        median=float(np.median(flat)) if x.ndim == 1 else math.nan,
        spread=float(flat.std(dtype=np.float64)),
        sha256=hashlib.sha256(flat.view(np.uint8).data).hexdigest(),
    )


def _check_rows(x: Array, config: AlbertConfig, findings: Findings) -> None:
    """Rows of zeros in the word table: that of the pad token is drawn so, others belong to no token that was seen."""
    empty = np.flatnonzero(~x.any(axis=1))
    pad = None if config.pad_token_id is None else config.pad_token_id % len(x)
    if pad in empty:
        findings.note(
            "pad-row",
            f"the word table's row {pad}, of the pad token, is zero",
            "transformers draws it so, and keeps it; Google's models have numbers there. The attention mask hides the token.",
        )
    others = [int(row) for row in empty if row != pad]
    if others and len(others) < len(x) - 1:
        findings.warning(
            "zero-rows",
            f"{len(others):,} rows of the word table are zero, the first is {others[0]}",
            "Tokens with these ids all look the same to the model. The table may have been enlarged without a training.",
        )


def _check_zeros(seen: dict[str, Numbers], findings: Findings) -> None:
    zero = [name for name, x in seen.items() if x.zero and (len(x.shape) > 1 or _is_norm_weight(name))]
    if zero:
        findings.warning(
            "zeros",
            f"{listed(zero)} {'is' if len(zero) == 1 else 'are'} all zero",
            "No training leaves a matrix so: it was never filled.",
            "Look whether the checkpoint was converted or downloaded whole.",
        )


def _is_norm_weight(name: str) -> bool:
    return name.endswith(".weight") and any(word in name for word in LAYER_NORM)


def _check_layer_norms(seen: dict[str, Numbers], findings: Findings) -> None:
    for name, x in seen.items():
        bias = seen.get(name.removesuffix("weight") + "bias")
        if not _is_norm_weight(name) or bias is None or x.zero:
            continue
        if abs(x.median) < 0.3 and abs(bias.median - 1) < 0.3:
            findings.warning(
                "layer-norm",
                f"{name} lies around {x.median:.2g}, and its bias around {bias.median:.2g}",
                "They look exchanged: a LayerNorm's weight (gamma) lies near 1 and its bias (beta) near 0.",
                "Compare with the checkpoint that this one was converted from.",
            )
        elif not 1 / FAR <= abs(x.median) <= FAR:
            findings.note(
                "layer-norm",
                f"{name} lies around {x.median:.2g}, far from 1",
                "A LayerNorm begins at 1 and seldom goes as far as this.",
            )


def _check_fresh(seen: dict[str, Numbers], config: AlbertConfig, findings: Findings) -> None:
    """Tensors as they are drawn: zero biases, LayerNorms of 1, and matrices with the config's deviation."""
    norms = [x for name, x in seen.items() if _is_norm_weight(name)]
    biases = [x for name, x in seen.items() if name.endswith("bias")]
    if norms and all(x.one for x in norms) and all(x.zero for x in biases):
        findings.warning(
            "untrained",
            "every LayerNorm weight is 1 and every bias is 0",
            "So is a model that was drawn from a seed and never trained. Its answers mean nothing.",
        )
        return
    for part in HEADS:
        names = [name for name in PARTS[part] if name in seen]
        biases = [seen[name] for name in names if name.endswith("bias")]
        matrices = [seen[name] for name in names if len(seen[name].shape) > 1]
        drawn = [x for x in matrices if np.prod(x.shape) >= ENOUGH and _as_drawn(x.spread, config.initializer_range)]
        if biases and all(x.zero for x in biases) and drawn and len(drawn) == len(matrices):
            findings.warning(
                "untrained",
                f"the head {part} looks freshly drawn: its biases are zero, and its weights spread as new ones do",
                "The head may never have been trained. transformers draws a head that a checkpoint lacks, and saves it.",
                "Fine-tune it, or take the checkpoint that the head was trained in.",
            )
            return


def _as_drawn(spread: float, deviation: float) -> bool:
    """Whether numbers spread as a normal distribution does, or as one that is cut at two deviations."""
    return any(abs(spread / (deviation * factor) - 1) < FRESH_SPREAD for factor in (1.0, 0.88))


def _check_duplicates(seen: dict[str, Numbers], findings: Findings) -> None:
    """Tensors of equal numbers under names that are not tied."""
    same: dict[tuple[tuple[int, ...], str], list[str]] = {}
    for name, x in seen.items():
        if not x.constant:
            same.setdefault((x.shape, x.sha256), []).append(name)
    copies = [names for names in same.values() if len(names) > 1]
    layers = [names for names in copies if all(name.startswith(LAYERS) for name in names) and _one_word(names)]
    if layers:
        findings.note(
            "duplicates",
            f"{len(layers)} tensors have the same numbers in several layers, such as {listed(layers[0])}",
            "The layers may be copies of one shared layer, as ALBERT without groups has it: one of them would be enough.",
        )
    for names in copies:
        if names not in layers:
            findings.warning(
                "duplicates",
                f"{listed(names)} have the same numbers",
                "Two different weights are never equal after a training: one may have been written in the other's place.",
                "Compare with the checkpoint that this one was converted from.",
            )


def _one_word(names: list[str]) -> bool:
    """Whether names differ in the number of their layer alone."""
    return len({"".join(c for c in name if not c.isdigit()) for name in names}) == 1
