"""The encoder on the CPU: the same maths as embeddings.py and encoder.py, but neighbouring operations are done together.

The rows of all sequences lie end to end, with those of padding only if they are asked for, and are computed about ROWS at a
time. A layer is seven steps on six buffers, written down once for each stored layer and repeated L times:

    qkv      = x·[Wq Wk Wv] + b          one product instead of three
    context  = attention(qkv)            softmax between its two products, a head at a time
    y        = context·Wo + b + x        the residual is added while the sum is in cache
    attended = LayerNorm(y)
    wide     = gelu(attended·W1 + b)     and so is the activation
    y        = wide·W2 + b + attended
    x        = LayerNorm(y)

A trace is taken from these buffers: the program runs up to a step, and the result is copied.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from albert_np import gradients, imports
from albert_np.backends import cpu
from albert_np.backends import numpy as reference
from albert_np.backends.cpu.ops import CpuOps, activation_code
from albert_np.config import AlbertConfig
from albert_np.encoder import group_of_layer, step
from albert_np.inputs import Inputs
from albert_np.kernels.cpu import operands
from albert_np.kernels.cpu.arena import Buffers
from albert_np.kernels.cpu.operands import add_gemm
from albert_np.kernels.cpu.program import Program
from albert_np.kernels.cpu.steps import add_attention, add_copy_rows, add_embeddings, add_layer_norm
from albert_np.ops import MASK_MODES, Array
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
    """See protocol.Engine. A call with dropout or with trace="unfused" is computed step by step, on the same kernels."""

    outputs = ("numpy",)

    def __init__(self, w: Weights, config: AlbertConfig) -> None:
        self.w, self.config = w, config
        self.ops = CpuOps()

    def forward(self, batch: Inputs, head: Head, wanted: Wanted) -> ModelOutput:
        by_steps = wanted.rng is not None or wanted.trace == "unfused"
        trace = wanted.new_trace(cpu.NAME, "float32", {} if by_steps else ABSENT)
        run = Run(self.ops, self.config, wanted.rng, trace)
        encode = reference.encode if by_steps else self._encode
        return reference.answer(run, head, encode(run, self.w, batch, wanted))

    def loss_and_gradients(
        self, batch: Inputs, head: Head, wanted: WantedGradients
    ) -> tuple[Any, dict[str, list[Array]]]:
        with imports.lock:
            from albert_np.backends.cpu import training  # inference does without it

        run = Run(self.ops, self.config, wanted.rng, Trace(), labelled_only=not wanted.all_logits)
        back = gradients.Back(run, self.ops)
        with self.ops.arena.buffers() as buffers:
            reads = head.reads(run, batch)
            encode = training.encoder(back, self.ops, self.w.encoder, batch, wanted, buffers, reads)
            return gradients.loss_and_gradients(back, self.w, batch, head, encode)

    def forget_weights(self, w: Weights) -> None:
        self.ops.forget_weights()
        self.w = w

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
                _Forward(self.ops, self.config, batch.sequences(some), wanted, buffers, taps).run(w, *outputs)
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


class Taps:
    """Fills a trace, for some of the B sequences."""

    def __init__(self, trace: dict[str, Array], B: int, some: slice, attentions: list[Array]) -> None:
        self.trace, self.B, self.some = trace, B, some
        self.attentions = attentions  # (B,N,T,T) each, which the attention kernel fills

    def keep(self, name: str, rows: Array, T: int) -> None:  # (b·T,C)
        whole = self.trace.setdefault(name, np.empty((self.B, T, rows.shape[1]), np.float32))
        whole[self.some] = rows.reshape(-1, T, rows.shape[1])


class _Forward:
    """Writes down every step from the ids of some sequences to their hidden states, and runs them."""

    def __init__(
        self, ops: CpuOps, config: AlbertConfig, batch: Inputs, wanted: Wanted, buffers: Buffers, taps: Taps | None
    ) -> None:
        self.ops, self.config, self.batch, self.wanted, self.buffers = ops, config, batch, wanted, buffers
        self.taps = taps
        skips = wanted.skip_padding
        self.who = operands.real_sequences(batch.mask) if skips else operands.sequences(batch.mask)
        self.R = len(self.who.columns)
        # where row r goes in (B·T, H), and its ids; None is its own place
        self.places = np.flatnonzero(batch.mask) if skips else None
        self.program = Program()

    def run(self, w: Weights, hidden: Array, hidden_states: list[Array], attentions: list[Array]) -> None:
        config, H = self.config, self.config.hidden_size
        L, G, inner = config.num_hidden_layers, config.num_hidden_groups, config.inner_group_num
        self.x, self.y, self.context, self.attended = (
            self.buffers.rows(name, self.R, H) for name in ("x", "y", "context", "attended")
        )
        self.qkv = self.buffers.rows("qkv", self.R, 3 * H)
        self.wide = self.buffers.rows("wide", self.R, config.intermediate_size)
        self.embeddings(w)
        if hidden_states:
            self.keep(hidden_states[0])
        application = 0
        for i in range(L):
            first = len(self.program)
            for layer in w.encoder.albert_layer_groups[group_of_layer(i, L, G)].albert_layers:
                self.layer(layer, application, attentions[application] if attentions else None)
                application += 1
            if G == inner == 1 and self.batch.head_mask is None and not (attentions or hidden_states or self.taps):
                self.program.repeat(first, L)
                break
            if hidden_states and i + 1 < L:
                self.keep(hidden_states[i + 1])
        self.keep(hidden)
        self.program.run()

    def embeddings(self, w: Weights) -> None:  # -> (R,H)
        """LayerNorm(word + token type + position) for the rows in `places`, and the projection."""
        batch, config, E, (B, T) = self.batch, self.config, self.config.embedding_size, self.batch.shape
        tables = w.embeddings

        def flat(x: Array) -> Array:  # (B,T) -> (R,) int64
            rows = np.broadcast_to(x, (B, T)).reshape(-1)
            return np.ascontiguousarray(rows if self.places is None else rows[self.places], np.int64)

        ids, words = None, tables.word_embeddings.weight
        if batch.input_ids is not None:
            ids = flat(batch.input_ids)
        else:
            assert batch.inputs_embeds is not None
            rows = batch.inputs_embeds.reshape(-1, E)
            words = np.ascontiguousarray(rows if self.places is None else rows[self.places])
        absolute = config.position_embedding_type == "absolute"
        embedded = self.buffers.rows("embedded", self.R, E)
        add_embeddings(
            self.program,
            ids,
            words,
            flat(batch.token_type_ids),
            tables.token_type_embeddings.weight,
            flat(batch.position_ids),
            tables.position_embeddings.weight if absolute else None,
            tables.LayerNorm.weight,
            tables.LayerNorm.bias,
            config.layer_norm_eps,
            embedded,
        )
        self.tap("embeddings.LayerNorm", embedded[:, :E])
        self.linear(embedded, (w.encoder.embedding_hidden_mapping_in,), self.x)
        self.tap("encoder.embedding_hidden_mapping_in", self.x[:, : config.hidden_size])

    def layer(self, w: Weights, application: int, probs: Array | None) -> None:  # (R,H) -> (R,H)
        config, H, a = self.config, self.config.hidden_size, w.attention
        at = step(application, "attention")
        self.linear(self.x, (a.query, a.key, a.value), self.qkv)
        for i, part in enumerate(("query", "key", "value")):
            self.tap(f"{at}.{part}", self.qkv[:, i * H : (i + 1) * H])
        self.attention(a, application, probs)
        if self.taps is not None:
            self.taps.trace[f"{at}.probs"] = self.taps.attentions[application]
        self.tap(f"{at}.context", self.context[:, :H])
        self.linear(self.context, (a.dense,), self.y, residual=self.x)
        self.tap(f"{at}.sum", self.y[:, :H])
        self.layer_norm(self.y, a.LayerNorm, self.attended)
        self.tap(f"{at}.LayerNorm", self.attended[:, :H])
        self.linear(self.attended, (w.ffn,), self.wide, activation=activation_code(config.hidden_act))
        self.tap(step(application, "activation"), self.wide[:, : config.intermediate_size])
        self.linear(self.wide, (w.ffn_output,), self.y, residual=self.attended)
        self.tap(step(application, "sum"), self.y[:, :H])
        self.layer_norm(self.y, w.full_layer_layer_norm, self.x)
        self.tap(step(application, "full_layer_layer_norm"), self.x[:, :H])

    def attention(self, w: Weights, application: int, probs: Array | None) -> None:  # (R,3H) -> (R,H)
        config, batch, H = self.config, self.batch, self.config.hidden_size
        add_attention(
            self.program,
            self.buffers,
            (self.qkv, self.qkv[:, H:], self.qkv[:, 2 * H :]),
            self.context,
            self.who,
            config.num_attention_heads,
            batch.shape[1],
            D=H // config.num_attention_heads,
            mode=MASK_MODES.index(self.wanted.mask_mode),
            head_mask=None if batch.head_mask is None else np.ascontiguousarray(batch.head_mask[application]),
            probs=probs,
            distances=self.ops.distances_of(w, config),
        )

    def linear(
        self, x: Array, layers: tuple[Weights, ...], out: Array, *, activation: int = 0, residual: Array | None = None
    ) -> None:  # (R,in) -> (R,out)
        packed, bias = self.ops.packed(tuple(one.weight for one in layers), tuple(one.bias for one in layers))
        add_gemm(self.program, x, packed, out, self.R, bias=bias, activation=activation, residual=residual)

    def layer_norm(self, x: Array, w: Weights, out: Array) -> None:  # (R,H) -> (R,H)
        add_layer_norm(self.program, x, w.weight, w.bias, self.config.layer_norm_eps, out, self.R)

    def keep(self, to: Array) -> None:  # (b,T,H), contiguous
        H = self.config.hidden_size
        add_copy_rows(self.program, self.x, to.reshape(-1, H), self.R, H, self.places)

    def tap(self, name: str, x: Array) -> None:  # (R,C)
        """If a trace is wanted: runs what is written down so far, and keeps x under its name."""
        if self.taps is not None:
            if len(self.program):
                self.program.run()
                self.program = Program()
            self.taps.keep(name, x, self.batch.shape[1])
