"""The engine of backend "numpy": the reference, op by op, in float64 or float32.

`encode` and `answer` run any table of ops in this way. The other engines use them for what they compute step by step.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from albert_np import gradients, ops
from albert_np.config import AlbertConfig
from albert_np.embeddings import embeddings
from albert_np.encoder import attending_of, encoder
from albert_np.inputs import Inputs
from albert_np.ops import Array
from albert_np.outputs import ModelOutput
from albert_np.run import Encoded, Head, Run, Trace, TrainingOps, Wanted, WantedGradients, Weights

NAME = "numpy"
DTYPES = ("float32", "float64")


def missing(dtype: str) -> str:
    """Why this backend cannot run here: always "", since NumPy is always there."""
    return ""


class NumpyEngine:
    """See protocol.Engine."""

    outputs = ("numpy",)

    def __init__(self, w: Weights, config: AlbertConfig, dtype: str) -> None:
        self.w, self.config, self.dtype = w, config, dtype
        self.ops: TrainingOps = ops

    def forward(self, batch: Inputs, head: Head, wanted: Wanted) -> ModelOutput:
        run = Run(self.ops, self.config, wanted.rng, wanted.new_trace(NAME, self.dtype))
        return answer(run, head, encode(run, self.w, batch, wanted))

    def loss_and_gradients(
        self, batch: Inputs, head: Head, wanted: WantedGradients
    ) -> tuple[Any, dict[str, list[Array]]]:
        needed = gradients.between_layers if wanted.recompute else gradients.reads_back
        run = Run(self.ops, self.config, wanted.rng, Trace(), labelled_only=not wanted.all_logits, wanted=needed)
        back = gradients.Back(run, self.ops, taps=None if wanted.into is None else wanted.into.begin(NAME, self.dtype))
        attending = attending_of(self.config, batch.allowed, wanted.mask_mode, None)
        by_layers = gradients.encode_by_layers(back, self.w.encoder, attending, batch.head_mask)
        return gradients.loss_and_gradients(back, self.w, batch, head, by_layers)

    def forget_weights(self, w: Weights) -> None:
        self.w = w


def make(w: Weights, config: AlbertConfig, dtype: str) -> NumpyEngine:
    return NumpyEngine(w, config, dtype)


def answer(run: Run, head: Head, encoded: Encoded) -> ModelOutput:
    """What a call returns after the encoder has run."""
    out = head.forward(run, encoded)
    out.hidden_states, out.attentions, out.trace = encoded.hidden_states, encoded.attentions, run.trace
    return out


def encode(run: Run, w: Weights, batch: Inputs, wanted: Wanted) -> Encoded:
    """From ids to hidden states, op by op, on all tokens or on real tokens only."""
    if wanted.skip_padding:
        return _encode_real_tokens(run, w, batch, wanted)
    return _encode(run, w, batch, wanted, None)


def _encode(run: Run, w: Weights, batch: Inputs, wanted: Wanted, positions: Array | None) -> Encoded:
    x = embeddings(run, w.embeddings, batch.input_ids, batch.inputs_embeds, batch.token_type_ids, batch.position_ids)
    x, hidden_states, attentions = encoder(
        run,
        w.encoder,
        x,
        attending_of(run.config, batch.allowed, wanted.mask_mode, positions),
        batch.head_mask,
        keep_hidden_states=wanted.hidden_states,
        keep_attentions=wanted.attentions,
    )
    return Encoded(x, hidden_states if wanted.hidden_states else None, attentions if wanted.attentions else None)


def _encode_real_tokens(run: Run, w: Weights, batch: Inputs, wanted: Wanted) -> Encoded:
    """Computes one sequence after the other without its padding, where zeros stay. Real tokens keep their positions."""
    rows = []
    for b in range(len(batch.mask)):
        columns = np.flatnonzero(batch.mask[b])
        rows.append((columns, _encode(run, w, batch.tokens(b, columns), wanted, columns)))

    def scattered(states: list[Array]) -> Array:  # B × (1,t,H) -> (B,T,H)
        full = np.zeros((*batch.shape, states[0].shape[-1]), states[0].dtype)
        for b, state in enumerate(states):
            full[b, rows[b][0]] = state[0]
        return full

    hidden_states = None
    if wanted.hidden_states:
        of_layers = zip(*(e.hidden_states or () for _, e in rows), strict=True)
        hidden_states = tuple(scattered(list(layer)) for layer in of_layers)
    return Encoded(scattered([e.hidden for _, e in rows]), hidden_states, None, batch.mask)
