"""The encoder on the CPU: the same maths as embeddings.py and encoder.py, but neighbouring operations are done together.

The rows of all sequences lie end to end, with those of padding only if they are asked for, and are computed about ROWS at a
time. A layer is written down once for each stored layer and repeated L times: forward.py, and bfloat16.py and int8.py
for products of those types.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from albert_np import gradients, imports
from albert_np.backends import cpu
from albert_np.backends import numpy as reference
from albert_np.backends.cpu.forward import Forward, Taps
from albert_np.backends.cpu.ops import CpuOps
from albert_np.config import AlbertConfig
from albert_np.inputs import Inputs
from albert_np.kernels.cpu.arena import Buffers
from albert_np.ops import Array
from albert_np.outputs import ModelOutput
from albert_np.run import Encoded, Head, Run, Trace, Wanted, WantedGradients, Weights

ROWS = 1024  # at a time: their widest buffer is 12 MB with I = 3072, and the weights pass by once for all of them

# the steps of encoder.py and embeddings.py that are only part of a larger step here
ABSENT = {
    "embeddings.sum": "the sum of the embeddings and its LayerNorm are one kernel",
    "attention.scores": "scores become probabilities a few queries at a time, and those of masked keys are not computed",
    "attention.dense": "the product, its bias and the residual are one kernel, which gives encoder.layer.….attention.sum",
    "ffn": "the product, its bias and the activation are one kernel",
    "ffn_output": "the product, its bias and the residual are one kernel, which gives encoder.layer.….sum",
}


class CpuEngine:
    """See protocol.Engine. A call with dropout or with trace="unfused" is computed step by step, on the same kernels.

    dtype: what products are computed in. Step by step there is float32 alone; value_and_grad computes in bfloat16 too, where
    that is the dtype of the layers' linear products, and everything else, attention too, is float32.
    """

    outputs = ("numpy",)

    def __init__(self, w: Weights, config: AlbertConfig, dtype: str = "float32") -> None:
        self.w, self.config, self.dtype = w, config, dtype
        self.ops = CpuOps()

    def forward(self, batch: Inputs, head: Head, wanted: Wanted) -> ModelOutput:
        by_steps = wanted.rng is not None or wanted.trace == "unfused"
        if by_steps:
            self._only_float32("a call with training=True" if wanted.trace != "unfused" else "trace='unfused'")
        trace = wanted.new_trace(cpu.NAME, self.dtype, {} if by_steps else ABSENT)
        run = Run(self.ops, self.config, wanted.rng, trace)
        encode = reference.encode if by_steps else self._encode
        return reference.answer(run, head, encode(run, self.w, batch, wanted))

    def loss_and_gradients(
        self, batch: Inputs, head: Head, wanted: WantedGradients
    ) -> tuple[Any, dict[str, list[Array]]]:
        if self.dtype != "bfloat16":
            self._only_float32("value_and_grad")
        with imports.lock:
            from albert_np.backends.cpu import products, training  # inference does without them

            kind = products.Products
            if self.dtype == "bfloat16":
                from albert_np.backends.cpu import bfloat16_products

                kind = bfloat16_products.Products16

        run = Run(self.ops, self.config, wanted.rng, Trace(), labelled_only=not wanted.all_logits)
        back = gradients.Back(run, self.ops)
        with self.ops.arena.buffers() as buffers:
            reads = head.reads(run, batch)
            encode = training.encoder(back, kind(self.ops, buffers), self.w.encoder, batch, wanted, reads)
            return gradients.loss_and_gradients(back, self.w, batch, head, encode)

    def forget_weights(self, w: Weights) -> None:
        self.ops.forget_weights()
        self.w = w

    def _forward(self, batch: Inputs, wanted: Wanted, buffers: Buffers, taps: Taps | None) -> Forward:
        kind = Forward
        if self.dtype == "bfloat16":
            with imports.lock:
                from albert_np.backends.cpu import bfloat16
            kind = bfloat16.Forward16
        elif self.dtype == "int8":
            with imports.lock:
                from albert_np.backends.cpu import int8
            kind = int8.Forward8
        return kind(self.ops, self.config, batch, wanted, buffers, taps)

    def _only_float32(self, what: str) -> None:
        if self.dtype != "float32":
            raise ValueError(
                f"{what} of backend 'numba' computes in float32 alone; this model computes in {self.dtype}: "
                "load it with dtype='float32' for that"
            )

    def _encode(self, run: Run, w: Weights, batch: Inputs, wanted: Wanted) -> Encoded:
        (B, T), H, L = batch.shape, self.config.hidden_size, self.config.num_hidden_layers
        N, applications = self.config.num_attention_heads, L * self.config.inner_group_num
        fresh = np.zeros if wanted.skip_padding else np.empty
        hidden = fresh((B, T, H), np.float32)
        # the last of the hidden states is `hidden`
        hidden_states = [fresh((B, T, H), np.float32) for _ in range(L)] if wanted.hidden_states else []
        attentions = []
        if wanted.attentions or run.trace is not None:
            attentions = [np.zeros((B, N, T, T), np.float32) for _ in range(applications)]
        for some in _chunks(batch, wanted.skip_padding):
            outputs = hidden[some], [x[some] for x in hidden_states], [x[some] for x in attentions]
            taps = None if run.trace is None else Taps(run.trace, B, some, attentions)
            with self.ops.arena.buffers() as buffers:
                self._forward(batch.sequences(some), wanted, buffers, taps).run(w, *outputs)
        return Encoded(
            hidden,
            (*hidden_states, hidden) if wanted.hidden_states else None,
            tuple(attentions) if wanted.attentions else None,
            batch.mask if wanted.skip_padding else None,
        )


def _chunks(batch: Inputs, skip_padding: bool) -> Iterator[slice]:
    """Groups of sequences with about ROWS rows each."""
    B, T = batch.shape
    lengths = batch.mask.sum(axis=1).tolist() if skip_padding else [T] * B
    first, rows = 0, 0
    for b, length in enumerate(lengths):
        if rows and rows + length > ROWS:
            yield slice(first, b)
            first, rows = b, 0
        rows += length
    yield slice(first, B)
