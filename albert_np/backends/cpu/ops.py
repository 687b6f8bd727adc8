"""The table of ops of backend "numba": the functions that models call of ops.py, on the kernels of kernels/cpu, in float32.

Each is a program of a step or two. A plain forward does not come this way but through engine.py, which writes a whole
layer down before it runs; traces, dropout and heads do. Both use the same kernels and give the same bits.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from albert_np import ops
from albert_np.kernels.cpu import operands
from albert_np.kernels.cpu.arena import Arena
from albert_np.kernels.cpu.layout import MASK_MODES, ROWS_A_TILE
from albert_np.kernels.cpu.names import ACTIVATION_CODES
from albert_np.kernels.cpu.operands import Distances, Packed, Sequences, add_gemm
from albert_np.kernels.cpu.program import Program
from albert_np.ops import Array, MaskMode


def whole_rows(x: Array) -> Array:  # (..., K) -> (R,K), contiguous
    return np.ascontiguousarray(x, np.float32).reshape(-1, x.shape[-1])


def tiles_of(rows: int) -> int:
    return -(-rows // ROWS_A_TILE)


class CpuOps:
    """A table for one model: it keeps the model's weights in the GEMM's panels, packed when first used."""

    embedding = staticmethod(ops.embedding)
    embedding_backward = staticmethod(ops.embedding_backward)
    dropout = staticmethod(ops.dropout)
    dropout_backward = staticmethod(ops.dropout_backward)
    layer_norm_backward = staticmethod(ops.layer_norm_backward)
    activation_backward = staticmethod(ops.activation_backward)
    attention_backward = staticmethod(ops.attention_backward)

    def __init__(self) -> None:
        self.arena = Arena()
        self._packed: dict[tuple[Any, ...], tuple[Packed, Array | None, tuple[Array, ...]]] = {}

    def packed(self, weights: tuple[Array, ...], biases: tuple[Array, ...] = ()) -> tuple[Packed, Array | None]:
        """The panels of (out, in) weights, side by side, and their padded bias. Packed weights become read-only:
        a change in place would not be seen."""
        key = tuple(id(x) for x in (*weights, *biases))
        if key not in self._packed:
            for x in (*weights, *biases):
                x.flags.writeable = False
            bias = operands.padded_vector(np.concatenate(biases)) if biases else None
            whole = weights[0] if len(weights) == 1 else np.concatenate(weights)
            # the arrays are kept too, so that no other array can come by their id; of two threads that pack, one is kept
            self._packed.setdefault(key, (operands.pack(whole.T), bias, (*weights, *biases)))
        packed, bias, _ = self._packed[key]
        return packed, bias

    def packed_straight(self, weights: tuple[Array, ...]) -> Packed:
        """The panels of (out, in) weights below each other, as they are stored: for the gradient by what they were given."""
        key = ("straight", *(id(x) for x in weights))
        if key not in self._packed:
            for x in weights:
                x.flags.writeable = False
            whole = weights[0] if len(weights) == 1 else np.concatenate(weights)
            self._packed.setdefault(key, (operands.pack(whole), None, weights))
        return self._packed[key][0]

    def forget_weights(self) -> None:
        """Before they change."""
        self._packed.clear()

    def linear(self, x: Array, weight: Array, bias: Array) -> Array:  # (..., in), (out, in), (out,) -> (..., out)
        packed, padded_bias = self.packed((weight,), (bias,))
        return _product(whole_rows(x), packed, padded_bias).reshape(*x.shape[:-1], packed.N)

    def linear_backward(  # (..., out), (..., in), (out, in) -> (..., in), (out, in), (out,)
        self, dy: Array, x: Array, weight: Array
    ) -> tuple[Array, Array, Array]:
        rows_dy, rows_x = whole_rows(dy), whole_rows(x)
        dx = _product(rows_dy, self.packed_straight((weight,))).reshape(x.shape)
        return dx, _product(rows_dy.T, operands.pack(rows_x)), rows_dy.sum(axis=0)

    def layer_norm(self, x: Array, weight: Array, bias: Array, eps: float) -> Array:  # (..., H), (H,), (H,) -> (..., H)
        rows = whole_rows(x)
        out = np.empty_like(rows)
        program = Program()
        add_layer_norm(program, rows, weight, bias, eps, out, len(rows))
        program.run()
        return out.reshape(x.shape)

    def activation(self, x: Array, name: str) -> Array:  # (...,) -> (...,)
        rows = whole_rows(x)
        out = np.empty_like(rows)
        program = Program()
        program.add(
            "activate",
            tiles_of(len(rows)),
            x=rows,
            x_row=rows.shape[1],
            out=out,
            out_row=rows.shape[1],
            rows=len(rows),
            columns=rows.shape[1],
            which=ACTIVATION_CODES[name],
        )
        program.run()
        return out.reshape(x.shape)

    def tanh(self, x: Array) -> Array:  # (...,) -> (...,)
        return self.activation(x, "tanh")

    def attention(  # 3 × (B,T,H), (B,1,1|T,T) bool, (N,) -> (B,T,H), 2 × (B,N,T,T)
        self,
        query: Array,
        key: Array,
        value: Array,
        allowed: Array,
        num_heads: int,
        *,
        mask_mode: MaskMode = "uniform",
        head_mask: Array | None = None,
        position_type: str = "absolute",
        distance_table: Array | None = None,
        positions: Array | None = None,
        dropout_probability: float | None = None,
        rng: np.random.Generator | None = None,
    ) -> tuple[Array, Array, Array]:
        """As ops.attention: context, scores without the mask, and probs."""
        B, T, H = query.shape
        q, k, v = (whole_rows(x) for x in (query, key, value))
        context = np.empty_like(q)
        scores, probs = (np.zeros((B, num_heads, T, T), np.float32) for _ in range(2))
        if q.size == 0:
            return context.reshape(B, T, H), scores, probs
        head_mask = None if head_mask is None else np.ascontiguousarray(head_mask, np.float32)
        factors = None
        if rng is not None and dropout_probability:
            factors = ops.dropout(np.ones_like(probs), dropout_probability, rng)
        masked = operands.sequences(allowed[:, 0, 0] if allowed.shape[2] == 1 else allowed[:, 0])
        every = operands.sequences(np.ones((B, T), bool))
        shared = {
            "D": H // num_heads,
            "distances": self.distances(distance_table, position_type),
            "columns": None if positions is None else np.tile(np.ascontiguousarray(positions, np.int64), B),
            "span": None if positions is None else int(np.ptp(positions)) + 1,
        }
        program = Program()
        with self.arena.buffers() as buffers:
            add_attention(program, buffers, (q, k, v), np.empty_like(q), every, num_heads, T, scores=scores, **shared)
            add_attention(
                program,
                buffers,
                (q, k, v),
                context,
                masked,
                num_heads,
                T,
                mask_mode=mask_mode,
                head_mask=head_mask,
                dropout=factors,
                probs=probs,
                **shared,
            )
            program.run()
        return context.reshape(B, T, H), scores, probs

    def distances(self, table: Array | None, position_type: str) -> Distances | None:
        if position_type == "absolute":
            return None
        assert table is not None
        return Distances(self.packed((table,))[0], position_type == "relative_key_query")


def _product(a: Array, b: Packed, bias: Array | None = None) -> Array:  # (M,K), (K,N), (N,) -> (M,N)
    out = operands.aligned(len(a) * b.columns).reshape(len(a), b.columns)
    program = Program(training=a.strides[1] != 4)
    add_gemm(program, a, b, out, len(a), bias=bias)
    program.run()
    return out if b.columns == b.N else np.ascontiguousarray(out[:, : b.N])


def add_layer_norm(  # (R,H), (H,), (H,) -> (R,H)
    program: Program,
    x: Array,
    weight: Array,
    bias: Array,
    eps: float,
    out: Array,
    rows: int,
    places: Array | None = None,
) -> None:
    program.add(
        "layer_norm",
        tiles_of(rows),
        x=x,
        x_row=x.strides[0] // 4,
        weight=np.ascontiguousarray(weight),
        bias=np.ascontiguousarray(bias),
        out=out,
        out_row=out.strides[0] // 4,
        places=places,
        rows=rows,
        H=len(weight),
        eps=float(eps),
    )


def add_attention(  # 3 × (R,H) of one row stride -> (R,H)
    program: Program,
    buffers: Any,
    qkv: tuple[Array, Array, Array],
    context: Array,
    who: Sequences,
    N: int,
    T: int,
    *,
    D: int,
    mask_mode: str = "uniform",
    head_mask: Array | None = None,
    dropout: Array | None = None,
    scores: Array | None = None,
    probs: Array | None = None,
    distances: Distances | None = None,
    columns: Array | None = None,
    span: int | None = None,
) -> None:
    """Attention of every sequence and head as one step.

    columns (R,) and span: other places than `who` has, for relative positions, and how far apart they may be, plus one.
    """
    q, k, v = qkv
    relative = {} if distances is None else distances.operands(span or T)
    tasks = operands.attention_tasks(who.lengths, N, program.threads)
    size = operands.attention_scratch(who.most_keys, D, relative.get("width", 0))
    program.add(
        "attention",
        len(tasks),
        q=q,
        k=k,
        v=v,
        row=q.strides[0] // 4,
        context=context,
        context_row=context.strides[0] // 4,
        tasks=tasks,
        starts=who.starts,
        keys=who.keys,
        key_starts=who.key_starts,
        blanks=who.blanks,
        pairs=who.pairs,
        N=N,
        T=T,
        D=D,
        scale=1 / math.sqrt(D),
        mode=MASK_MODES[mask_mode],
        head_mask=head_mask,
        dropout=dropout,
        scores_out=scores,
        probs_out=probs,
        columns=who.columns if columns is None else columns,
        scratch=buffers.numbers("scratch", size * program.threads),
        scratch_size=size,
        **relative,
    )
