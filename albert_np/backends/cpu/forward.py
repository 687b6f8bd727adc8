"""One forward of float32, written down step by step and run: what engine.py runs for a batch, or for a part of it.

A layer is seven steps on six buffers:

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

from collections.abc import Callable
from typing import Any

import numpy as np

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
from albert_np.run import Wanted, Weights


class Taps:
    """Fills a trace, for some of the B sequences."""

    def __init__(self, trace: dict[str, Array], B: int, some: slice, attentions: list[Array]) -> None:
        self.trace, self.B, self.some = trace, B, some
        self.attentions = attentions  # (B,N,T,T) each, which the attention kernel fills

    def keep(self, name: str, rows: Array, T: int) -> None:  # (b·T,C)
        whole = self.trace.setdefault(name, np.empty((self.B, T, rows.shape[1]), np.float32))
        whole[self.some] = rows.reshape(-1, T, rows.shape[1])


class Forward:
    """Writes down every step from the ids of some sequences to their hidden states, and runs them."""

    kind = "inference"  # of the programs

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
        self.program = Program(self.kind)

    def run(self, w: Weights, hidden: Array, hidden_states: list[Array], attentions: list[Array]) -> None:
        config = self.config
        L, G, inner = config.num_hidden_layers, config.num_hidden_groups, config.inner_group_num
        self.take_buffers()
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

    def take_buffers(self) -> None:
        H = self.config.hidden_size
        self.x, self.y, self.context, self.attended = (
            self.buffers.rows(name, self.R, H) for name in ("x", "y", "context", "attended")
        )
        self.qkv = self.buffers.rows("qkv", self.R, 3 * H)
        self.wide = self.buffers.rows("wide", self.R, self.config.intermediate_size)

    def embeddings(self, w: Weights) -> None:  # -> (R,H)
        """LayerNorm(word + token type + position) for the rows in `places`, and the projection."""
        embedded = self.buffers.rows("embedded", self.R, self.config.embedding_size)
        self.embed(w.embeddings, embedded)
        self.linear(embedded, (w.encoder.embedding_hidden_mapping_in,), self.x)
        self.tap("encoder.embedding_hidden_mapping_in", self.x[:, : self.config.hidden_size])

    def embed(self, tables: Weights, out: Array) -> None:  # -> (R,E)
        batch, config, E, (B, T) = self.batch, self.config, self.config.embedding_size, self.batch.shape

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
            out,
        )
        self.tap("embeddings.LayerNorm", out[:, :E])

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
        H = self.config.hidden_size
        qkv = self.qkv, self.qkv[:, H:], self.qkv[:, 2 * H :]
        self.attend(add_attention, qkv, self.context, application, probs, self.ops.distances_of(w, self.config))

    def attend(
        self,
        add: Callable[..., None],
        qkv: tuple[Array, Array, Array],
        context: Array,
        application: int,
        probs: Array | None,
        distances: Any,
    ) -> None:  # 3 × (R,H) -> (R,H)
        """Writes attention down by `add`, add_attention or one that takes the same."""
        N, batch = self.config.num_attention_heads, self.batch
        add(
            self.program,
            self.buffers,
            qkv,
            context,
            self.who,
            N,
            batch.shape[1],
            D=self.config.hidden_size // N,
            mode=MASK_MODES.index(self.wanted.mask_mode),
            head_mask=None if batch.head_mask is None else np.ascontiguousarray(batch.head_mask[application]),
            probs=probs,
            distances=distances,
        )

    def linear(
        self, x: Array, layers: tuple[Weights, ...], out: Array, *, activation: int = 0, residual: Array | None = None
    ) -> None:  # (R,in) -> (R,out)
        packed, bias = self.ops.packed(tuple(one.weight for one in layers), tuple(one.bias for one in layers))
        add_gemm(self.program, x, packed, out, self.R, bias=bias, activation=activation, residual=residual)

    def layer_norm(self, x: Array, w: Weights, out: Array, narrow: Array | None = None) -> None:  # (R,H) -> (R,H)
        add_layer_norm(self.program, x, w.weight, w.bias, self.config.layer_norm_eps, out, self.R, narrow)

    def keep(self, to: Array) -> None:  # (b,T,H), contiguous
        H = self.config.hidden_size
        add_copy_rows(self.program, self.x, to.reshape(-1, H), self.R, H, self.places)

    def tap(self, name: str, x: Array) -> None:  # (R,C)
        """If a trace is wanted: runs what is written down so far, and keeps x under its name."""
        if self.taps is not None:
            self.run_so_far()
            self.taps.keep(name, x, self.batch.shape[1])

    def run_so_far(self) -> None:
        """Runs the steps that are written down, and goes on with none."""
        if len(self.program):
            self.program.run()
            self.program = Program(self.kind)
