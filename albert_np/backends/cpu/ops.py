"""The table of ops of backend "numba": the functions of ops.py that models call, on the kernels of kernels/cpu, in float32.

Each op is a program of a step or two. Heads use these ops, and so do calls that are computed step by step (trace="unfused",
training=True). Otherwise the encoder goes through engine.py and training.py, which write whole layers down before they run
them. The kernels are the same, and so are the bits.

On the way back, NumPy computes the LayerNorms and activations of heads and embeddings, and gathers the tables' gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from albert_np import imports, ops
from albert_np.config import AlbertConfig
from albert_np.kernels.cpu import operands
from albert_np.kernels.cpu.arena import Arena
from albert_np.kernels.cpu.names import ACTIVATION_CODES
from albert_np.kernels.cpu.operands import Distances, Packed, add_gemm
from albert_np.kernels.cpu.program import Program
from albert_np.kernels.cpu.steps import add_activation, add_attention, add_layer_norm
from albert_np.ops import Array, Attending
from albert_np.quantized import QuantizedWeight
from albert_np.run import Weights


def whole_rows(x: Array) -> Array:  # (..., K) -> (R,K), contiguous
    return np.ascontiguousarray(x, np.float32).reshape(-1, x.shape[-1])


class CpuOps:
    """A table for one model. It keeps the model's weights in the GEMM's panels, which are packed when they are first used."""

    embedding = staticmethod(ops.embedding)
    embedding_backward = staticmethod(ops.embedding_backward)
    dropout = staticmethod(ops.dropout)
    dropout_backward = staticmethod(ops.dropout_backward)
    layer_norm_backward = staticmethod(ops.layer_norm_backward)
    activation_backward = staticmethod(ops.activation_backward)

    def __init__(self) -> None:
        self.arena = Arena()
        self._packed: dict[tuple[Any, ...], tuple[Any, Array | None, tuple[Array, ...]]] = {}

    def packed(self, weights: tuple[Array, ...], biases: tuple[Array, ...] = ()) -> tuple[Packed, Array | None]:
        """The panels of (out, in) weights side by side, and their padded bias. Packed weights become read-only, because a
        change in place would not be seen."""
        return self._kept("float32", lambda parts: operands.pack(_whole(parts).T), weights, biases)

    def packed16(self, weights: tuple[Array, ...], biases: tuple[Array, ...] = ()) -> tuple[Any, Array | None]:
        """The same as strips of bfloat16."""
        return self._kept("bfloat16", lambda parts: bfloat16_steps().pack16(_whole(parts)), weights, biases)

    def packed8(self, weights: tuple[QuantizedWeight, ...], biases: tuple[Array, ...]) -> tuple[Any, Array | None]:
        """The same of int8. Side by side they share the rows that they multiply: `passes` must be the same."""
        return self._kept("int8", _packed8, weights, biases)

    def packed_straight(self, weights: tuple[Array, ...]) -> Packed:
        """The panels of (out, in) weights below each other, as they are stored: for gradients with respect to inputs."""
        return self._kept("straight", lambda parts: operands.pack(_whole(parts)), weights)[0]

    def packed_straight16(self, weights: tuple[Array, ...]) -> Any:
        """The same as strips of bfloat16."""
        return self._kept("bfloat16 straight", lambda parts: bfloat16_steps().pack_rows16(_whole(parts)), weights)[0]

    def _kept(
        self, how: str, pack: Callable[[Any], Any], weights: tuple[Any, ...], biases: tuple[Array, ...] = ()
    ) -> tuple[Any, Array | None]:
        key = (how, *(id(x) for x in (*weights, *biases)))
        if key not in self._packed:
            for x in (*weights, *biases):
                for array in (x.codes, x.scale) if isinstance(x, QuantizedWeight) else (x,):
                    array.flags.writeable = False
            bias = operands.padded_vector(np.concatenate(biases)) if biases else None
            # the arrays are kept too, so that no other array can come by their id; of two threads that pack, one is kept
            self._packed.setdefault(key, (pack(weights), bias, (*weights, *biases)))
        packed, bias, _ = self._packed[key]
        return packed, bias

    def forget_weights(self) -> None:
        """Forgets what was packed, before the weights change."""
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
        add_activation(program, rows, out, len(rows), rows.shape[1], activation_code(name))
        program.run()
        return out.reshape(x.shape)

    def tanh(self, x: Array) -> Array:  # (...,) -> (...,)
        return self.activation(x, "tanh")

    def attention(  # 3 × (B,T,H) -> (B,T,H), 2 × (B,N,T,T)
        self, query: Array, key: Array, value: Array, attending: Attending, rng: np.random.Generator | None = None
    ) -> tuple[Array, Array, Array]:
        """Like ops.attention: the context, the scores without the mask, and the probs."""
        B, T, H = query.shape
        N, allowed, positions = attending.num_heads, attending.allowed, attending.positions
        q, k, v = (whole_rows(x) for x in (query, key, value))
        context = np.empty_like(q)
        scores, probs = (np.zeros((B, N, T, T), np.float32) for _ in range(2))
        if q.size == 0:
            return context.reshape(B, T, H), scores, probs
        head_mask = None if attending.head_mask is None else np.ascontiguousarray(attending.head_mask, np.float32)
        masked = operands.sequences(allowed[:, 0, 0] if allowed.shape[2] == 1 else allowed[:, 0])
        every = operands.sequences(np.ones((B, T), bool))
        where: dict[str, Any] = {
            "D": H // N,
            "distances": self.distances(attending.distance_table, attending.position_type),
            "columns": None if positions is None else np.tile(np.ascontiguousarray(positions, np.int64), B),
            "span": None if positions is None else int(np.ptp(positions)) + 1,
        }
        program = Program()
        with self.arena.buffers() as buffers:
            add_attention(program, buffers, (q, k, v), np.empty_like(q), every, N, T, scores=scores, **where)
            add_attention(
                program,
                buffers,
                (q, k, v),
                context,
                masked,
                N,
                T,
                mode=ops.MASK_MODES.index(attending.mask_mode),
                head_mask=head_mask,
                dropout=dropout_factors(probs.shape, attending.dropout_probability, rng),
                probs=probs,
                **where,
            )
            program.run()
        return context.reshape(B, T, H), scores, probs

    def distances_of(self, w: Weights, config: AlbertConfig) -> Distances | None:
        """The packed table of distances of an attention, if positions are relative."""
        relative = config.position_embedding_type != "absolute"
        return self.distances(w.distance_embedding.weight if relative else None, config.position_embedding_type)

    def distances(self, table: Array | None, position_type: str) -> Distances | None:
        if position_type == "absolute":
            return None
        assert table is not None
        return Distances(self.packed((table,))[0], position_type == "relative_key_query")

    def distances16_of(self, w: Weights, config: AlbertConfig) -> Any:
        """The same as strips of bfloat16."""
        if config.position_embedding_type == "absolute":
            return None
        both = config.position_embedding_type == "relative_key_query"
        return bfloat16_steps().Distances16(self.packed16((w.distance_embedding.weight,))[0], both)


def bfloat16_steps() -> Any:
    """The module, which float32 does without."""
    with imports.lock:
        from albert_np.kernels.cpu.bfloat16 import steps
    return steps


def _whole(parts: tuple[Array, ...]) -> Array:  # (out, in) each -> (all out, in)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _packed8(parts: tuple[QuantizedWeight, ...]) -> Any:  # (out, in) each -> Packed8
    with imports.lock:
        from albert_np.kernels.cpu.int8.steps import pack8
    passes = {part.passes for part in parts}
    if len(passes) > 1:
        raise ValueError(
            f"weights that read the same rows must have the same passes; got {sorted(passes)}: quantize again"
        )
    return pack8(_whole(tuple(part.codes for part in parts)), _whole(tuple(part.scale for part in parts)), *passes)


def activation_code(name: str) -> int:
    """The number by which kernels know the activation of a config."""
    return ACTIVATION_CODES[ops.ACTIVATIONS[name].__name__]


def dropout_factors(  # -> (...) float32
    shape: tuple[int, ...], p: float | None, rng: np.random.Generator | None
) -> Array | None:
    """0 or 1/(1 − p) for each entry, as ops.dropout draws them; None if nothing is dropped."""
    return ops.dropout(np.ones(shape, np.float32), p, rng) if rng is not None and p else None


def _product(a: Array, b: Packed, bias: Array | None = None) -> Array:  # (M,K), (K,N), (N,) -> (M,N)
    out = operands.aligned(len(a) * b.columns).reshape(len(a), b.columns)
    program = Program("inference" if operands.column_of(a) == 1 else "training")
    add_gemm(program, a, b, out, len(a), bias=bias)
    program.run()
    return out if b.columns == b.N else np.ascontiguousarray(out[:, : b.N])
