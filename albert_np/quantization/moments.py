"""What the inputs of a layer's four products are like: their second moments, and how coarse their 8-bit steps are.

A float32 forward, op by op, hands each input to a Trace that keeps none of them. The layers are shared, so that the moments of
a stored layer are summed over all its applications. Everything is deterministic: the same rows give the same moments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from albert_np import inputs
from albert_np.backends import choose
from albert_np.backends.numpy import encode
from albert_np.config import AlbertConfig
from albert_np.encoder import applications, step
from albert_np.ops import Array
from albert_np.quantization.rounding import COLUMNS
from albert_np.quantized import PRODUCTS
from albert_np.run import Run, Trace, Wanted, weight_tree

ROWS, LENGTH = 64, 64  # of random ids, without calibration texts
MASKED = 0.15  # of tokens, as in pre-training
CLS, SEP, MASK = 2, 3, 4  # ids of ALBERT's vocabularies; the first that is drawn is the next
TOKENS = 1024  # that are computed together
PENDING = 2048  # rows that are added to moments together: a product is faster than its parts

Row = Sequence[int]


@dataclass
class Moments:
    """Of the inputs (R,K) of one product.

    blocks: Σ xᵀx in float64, as blocks on the diagonal of (K,K). step: Σ s², the squared steps of rows that are rounded to
    8 bits. rows: R.
    """

    K: int
    blocks: list[Array] = field(default_factory=list)
    step: float = 0.0
    rows: int = 0
    _pending: list[Array] = field(default_factory=list)

    def __post_init__(self) -> None:
        count = -(-self.K // COLUMNS)
        sizes = [self.K * (i + 1) // count - self.K * i // count for i in range(count)]
        self.blocks = [np.zeros((size, size)) for size in sizes]

    def add(self, x: Array) -> None:  # (…,K)
        rows = np.array(x, np.float32).reshape(-1, self.K)
        reach = np.maximum(rows.max(axis=1), 0).astype(np.float64) - np.minimum(rows.min(axis=1), 0)
        self.step += float(np.square(reach / 255).sum())
        self.rows += len(rows)
        self._pending.append(rows)
        if sum(map(len, self._pending)) >= PENDING:
            self.settle()

    def settle(self) -> None:
        """Adds what is pending."""
        if not self._pending:
            return
        rows, first = np.concatenate(self._pending), 0
        self._pending.clear()
        for block in self.blocks:
            x = rows[:, first : first + len(block)]
            block += x.T @ x
            first += len(block)

    @property
    def mean(self) -> list[Array]:
        """E[xᵀx]."""
        return [block / max(self.rows, 1) for block in self.blocks]

    @property
    def are_finite(self) -> bool:
        return all(np.isfinite(block).all() for block in self.blocks)

    @property
    def rounding(self) -> float:
        """The expected square of the error of one entry, rounded to 8 bits: that of a uniform distribution, s²/12."""
        return self.step / max(self.rows, 1) / 12


class _Taps(Trace):
    """Adds every array that it is given to the moments of the product that reads it, and keeps nothing."""

    def __init__(self, config: AlbertConfig) -> None:
        super().__init__()
        self.readers: dict[str, Moments] = {}
        self.found: dict[tuple[int, int, str], Moments] = {}
        x = "encoder.embedding_hidden_mapping_in"
        for application, group, inner in applications(config):
            at = f"{step(application, 'attention')}."
            names = (x, f"{at}context", f"{at}LayerNorm", step(application, "activation"))
            x = step(application, "full_layer_layer_norm")
            for name, product in zip(names, PRODUCTS, strict=True):
                K = config.intermediate_size if product == "ffn_output" else config.hidden_size
                self.readers[name] = self.found.setdefault((group, inner, product), Moments(K))

    def __setitem__(self, name: str, x: Array) -> None:
        self.readers[name].add(x)


def random_rows(config: AlbertConfig, seed: int) -> list[list[int]]:  # ROWS × LENGTH ids
    """[CLS] ids [SEP], with [MASK] in the place of MASKED of them. A small vocabulary has fewer to draw from."""
    draw = np.random.default_rng([seed, 8])
    V, length = config.vocab_size, min(LENGTH, config.max_position_embeddings)
    ids = draw.integers(min(MASK + 1, V - 1), V, (ROWS, length))
    ids[draw.random(ids.shape) < MASKED] = min(MASK, V - 1)
    ids[:, 0], ids[:, -1] = min(CLS, V - 1), min(SEP, V - 1)
    return ids.tolist()


def moments_of(
    tensors: dict[str, Array], config: AlbertConfig, rows: Iterable[Row], progress: Callable[[int, int], object]
) -> dict[tuple[int, int, str], Moments]:
    """(group, layer inside it, product) -> the moments of its inputs, when a model of these float32 arrays reads rows of ids.

    progress: called as progress(more, all) when more of all rows are done. Raises ValueError for ids that the model does not
    have.
    """
    weights = weight_tree(tensors)
    engine = choose.make(choose.resolve_backend("auto", "float32"), weights, config, "float32")
    taps = _Taps(config)
    run = Run(engine.ops, config, trace=taps, wanted=taps.readers.__contains__)
    batches = _batches(list(rows))
    total = sum(map(len, batches))
    for ids in batches:
        batch = inputs.prepare(config, np.dtype(np.float32), **_given(ids))
        encode(run, weights, batch, Wanted())
        progress(len(ids), total)
    for moments in taps.found.values():
        moments.settle()
    return taps.found


def _given(ids: Any) -> dict[str, Any]:
    given = dict.fromkeys(("attention_mask", "token_type_ids", "position_ids", "inputs_embeds", "head_mask"))
    return {"input_ids": ids, "head_mask_mode": "shared", **given}


def _batches(rows: list[Row]) -> list[list[Row]]:
    """Rows of one length together, about TOKENS tokens at a time: so no batch has padding, which counts in no moments."""
    by_length: dict[int, list[Row]] = {}
    for row in rows:
        by_length.setdefault(len(row), []).append(row)
    batches = []
    for length in sorted(by_length):
        some, most = by_length[length], max(1, TOKENS // max(length, 1))
        batches += [some[i : i + most] for i in range(0, len(some), most)]
    return batches
