"""The table of ops of backend "cuda": the functions that models call of ops.py, on the kernels of kernels/cuda.

NumPy arrays are carried to the GPU and back, op by op: the way of trace="unfused". A DeviceArray stays there, and so does
what is computed from it: the way of heads, behind an encoder that engine.py runs as a whole.
"""

from __future__ import annotations

import threading
from math import prod
from typing import Any

import numpy as np

from albert_np import ops
from albert_np.backends.cuda.arrays import FLOAT, DeviceArray, Layout, Pool
from albert_np.backends.cuda.precision import operand_dtype, operands_of, row_of
from albert_np.backends.cuda.program import (
    Heads,
    Linear,
    Program,
    Related,
    add_layer_norm,
    add_linear,
    add_rounding,
    add_scores,
    split_sums,
)
from albert_np.kernels.cuda import device
from albert_np.kernels.cuda.activations import THREADS, activate
from albert_np.kernels.cuda.embeddings import COPIED, take_rows
from albert_np.kernels.cuda.kernel import Buffer, OutOfMemoryError, ceil_div
from albert_np.ops import Array, Attending

INT = np.dtype(np.int32)


class CudaOps:
    """A table for one model: it keeps the model's weights on the GPU, uploaded when first used.

    Arrays are float32; kind says what products are computed in (precision.py).
    """

    embedding = staticmethod(ops.embedding)

    def __init__(self, kind: str = "float32") -> None:
        self.kind = kind
        self.pool = Pool()
        self.lock = threading.RLock()  # one stream, one call at a time
        self._weights: dict[tuple[Any, ...], tuple[Any, tuple[Array, ...]]] = {}

    # --- what is resident --------------------------------------------------------------------------------------------

    def forget_weights(self) -> None:
        """Before they change."""
        with self.lock:
            self._weights.clear()

    def resident(self, x: Array) -> Buffer:  # of that shape
        """A table or vector on the GPU, as it is. The array becomes read-only: a change in place would not be seen."""
        return self._kept(("as it is", id(x)), (x,), lambda: _upload(x))

    def linear_of(self, weights: tuple[Array, ...], biases: tuple[Array, ...]) -> Linear:
        """(out, in) weights, one below the other, and their biases."""
        key = ("linear", *(id(x) for x in (*weights, *biases)))

        def upload() -> Linear:
            N, K = sum(len(w) for w in weights), weights[0].shape[1]
            row = ceil_div(N, 4) * 4
            bias = np.zeros(row, FLOAT)
            bias[:N] = np.concatenate(biases)
            if self.kind != "float32":
                return Linear(_upload(operands_of(self.kind, np.concatenate(weights))), _upload(bias), N, K, self.kind)
            turned = np.zeros((K, row), FLOAT)
            turned[:, :N] = np.concatenate(weights).T
            return Linear(_upload(turned), _upload(bias), N, K)

        return self._kept(key, (*weights, *biases), upload)

    def _kept(self, key: tuple[Any, ...], arrays: tuple[Array, ...], upload: Any) -> Any:
        with self.lock:
            if key not in self._weights:
                for x in arrays:
                    x.flags.writeable = False
                # the arrays are kept too, so that no other array can come by their id
                self._weights[key] = (upload(), arrays)
            return self._weights[key][0]

    # --- arrays ------------------------------------------------------------------------------------------------------

    def empty(self, shape: tuple[int, ...]) -> DeviceArray:
        layout = Layout()
        layout.add("result", shape)
        return DeviceArray(self.pool.take(layout.nbytes), 0, shape)

    def to_device(self, x: Array | DeviceArray) -> DeviceArray:
        if isinstance(x, DeviceArray):
            return x
        out = self.empty(x.shape)
        out.buffer.memory.write(out.offset, np.ascontiguousarray(x, FLOAT))
        return out

    def take(self, x: DeviceArray, rows: Array) -> DeviceArray:  # (…,H), (…) int -> (…,H)
        """Rows by number, counted over all axes but the last."""
        columns = x.shape[-1]
        with self.lock:
            which = _upload(np.ascontiguousarray(rows, INT).reshape(-1))
            out = self.empty((*rows.shape, columns))
            program = Program()
            grid = (ceil_div(out.size, COPIED),)
            program.add(take_rows, grid, x.buffer, columns, which, out.buffer, rows.size, columns)
            self._run(program)
            device.synchronize()  # `which` is in use until here, and is not of the pool
        return out

    def _run(self, program: Program) -> None:
        """Nobody waits: memory that goes back to the pool now is written again on the same stream, behind these launches."""
        program.run()

    # --- the table ---------------------------------------------------------------------------------------------------

    def linear(  # (..., in), (out, in), (out,) -> (..., out)
        self, x: Any, weight: Array, bias: Array
    ) -> Any:
        w = self.linear_of((weight,), (bias,))
        with self.lock:
            rows, row = _rows(self.to_device(x))
            M = rows.shape[0]
            out = self.empty((*x.shape[:-1], w.N))
            sums = self.empty((split_sums(M, w.N, w.K, w.kind),))
            program, operand, rounded = Program(), rows.buffer, Layout()
            rounded.add("operand", (M, row_of(w.kind, w.K)), operand_dtype(w.kind))
            if w.kind == "bfloat16":
                kept = self.pool.take(rounded.nbytes)
                operand = rounded.buffers(kept)["operand"]
                add_rounding(program, rows.buffer, row, operand, M, w.K)
                row = operand.shape[1]
            add_linear(program, operand, row, w, out.buffer, M, sums=sums.buffer)
            self._run(program)
        return _like(x, out)

    def layer_norm(self, x: Any, weight: Array, bias: Array, eps: float) -> Any:  # (..., H), (H,), (H,) -> (..., H)
        with self.lock:
            given, out, program = self.to_device(x), self.empty(x.shape), Program()
            rows = prod(x.shape[:-1])
            add_layer_norm(
                program, given.buffer, self.resident(weight), self.resident(bias), out.buffer, rows, float(eps)
            )
            self._run(program)
        return _like(x, out)

    def activation(self, x: Any, name: str) -> Any:  # (...,) -> (...,)
        with self.lock:
            given, out, program = self.to_device(x), self.empty(x.shape), Program()
            n = prod(x.shape)
            program.add(activate(canonical(name)), (ceil_div(n, 4 * THREADS),), given.buffer, out.buffer, n)
            self._run(program)
        return _like(x, out)

    def tanh(self, x: Any) -> Any:  # (...,) -> (...,)
        return self.activation(x, "tanh")

    def dropout(self, x: Any, p: float | None, rng: np.random.Generator | None) -> Any:  # (...,) -> (...,)
        """Nothing: this backend runs inference alone."""
        assert rng is None
        return x

    def attention(  # 3 × (B,T,H) -> (B,T,H), 2 × (B,N,T,T)
        self, query: Array, key: Array, value: Array, attending: Attending, rng: np.random.Generator | None = None
    ) -> tuple[Array, Array, Array]:
        """As ops.attention: context, scores without the mask, and probs."""
        assert rng is None
        B, T, H = query.shape
        N, allowed = attending.num_heads, attending.allowed
        with self.lock:
            q, k, v = (self.to_device(x) for x in (query, key, value))
            scores, probs, context = self.empty((B, N, T, T)), self.empty((B, N, T, T)), self.empty((B, T, H))
            seen = _upload(np.ascontiguousarray(allowed[:, 0, 0] if allowed.shape[2] == 1 else allowed[:, 0], np.uint8))
            factors = None
            if attending.head_mask is not None:
                factors = _upload(np.ascontiguousarray(attending.head_mask, FLOAT))
            starts = _upload(np.arange(B + 1, dtype=INT) * T)
            heads = Heads(
                q=q.buffer,
                k=k.buffer,
                v=v.buffer,
                row=H,
                N=N,
                D=H // N,
                B=B,
                starts=starts,
                longest=T,
                mask="keys" if allowed.shape[2] == 1 else "pairs",
                allowed=seen,
                mode=attending.mask_mode,
                factors=factors,
            )
            related = None
            if attending.position_type != "absolute":
                assert attending.distance_table is not None
                columns = np.tile(np.arange(T) if attending.positions is None else attending.positions, B).astype(INT)
                both = attending.position_type == "relative_key_query"
                related = Related(self.resident(attending.distance_table), _upload(columns), both)
            program = Program()
            add_scores(program, heads, T, scores.buffer, probs.buffer, context.buffer, H, related)
            self._run(program)
            device.synchronize()  # uploads of this call are in use until here, and are not of the pool
        return context.numpy(), scores.numpy(), probs.numpy()


def canonical(name: str) -> str:
    """The name by which kernels know the activation of a config."""
    return ops.ACTIVATIONS[name].__name__


class Rows(DeviceArray):
    """What heads are given: arrays of integers over the first axes take rows of it, as in NumPy."""

    def __init__(self, ops: CudaOps, x: DeviceArray) -> None:
        super().__init__(x.block, x.offset, x.shape)
        self._ops = ops

    def __getitem__(self, index: Any) -> DeviceArray:
        if isinstance(index, tuple) and all(isinstance(i, np.ndarray) for i in index):
            rows = np.ravel_multi_index(np.broadcast_arrays(*index), self.shape[: len(index)])
            return self._ops.take(self, rows)
        return super().__getitem__(index)


def _upload(x: Array) -> Buffer:
    """Memory of its own for an array."""
    try:
        memory = device.Memory(x.nbytes)
    except OutOfMemoryError as error:
        raise ValueError(f"the GPU has no {error.nbytes:,} bytes left for what a model keeps there") from error
    memory.write(0, np.ascontiguousarray(x))
    return Buffer(memory, 0, x.shape, x.dtype)


def _rows(x: DeviceArray) -> tuple[DeviceArray, int]:  # (..., K) -> (M,K), numbers from row to row
    """As rows, where they lie the same distance apart."""
    if x.ndim == 2 and x.strides[1] == FLOAT.itemsize:
        return x, x.strides[0] // FLOAT.itemsize
    return x.reshape(-1, x.shape[-1]), x.shape[-1]


def _like(x: Any, out: DeviceArray) -> Any:
    return out if isinstance(x, DeviceArray) else out.numpy()
