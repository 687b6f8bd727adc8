"""A call on the GPU: the same maths as embeddings.py, encoder.py and heads.py, without a way back between ids and logits.

The rows of all sequences lie end to end, padded ones only where they are asked for. A layer is the seven steps of
backends/cpu/engine.py, each one kernel, or two where a matrix product is split:

    qkv      = x·[Wq Wk Wv] + b          one product instead of three
    context  = attention(qkv)            without its scores in memory; in bfloat16 qkv, context and wide are nothing else,
                                         and beside embedded, x and attended lies a copy in it, for products to read
    y        = context·Wo + b + x
    attended = LayerNorm(y)
    wide     = gelu(attended·W1 + b)
    y        = wide·W2 + b + attended
    x        = LayerNorm(y)

A plan, the launches with all their numbers, is kept for each shape of batch while memory lies where it did; what changes from
call to call, ids, types, positions, masks, goes up in one piece. All of a call, its head too, is sent to one stream, and the
host waits once, at the end: what it prepares meanwhile costs no time.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from albert_np.backends import cuda
from albert_np.backends import numpy as reference
from albert_np.backends.cuda import plan
from albert_np.backends.cuda.arrays import Block, DeviceArray, Layout
from albert_np.backends.cuda.ops import CudaOps, Rows
from albert_np.backends.cuda.program import Program, Tap
from albert_np.config import AlbertConfig
from albert_np.inputs import Inputs
from albert_np.kernels.cuda import device
from albert_np.kernels.cuda.kernel import Buffer, OutOfMemoryError
from albert_np.outputs import ModelOutput
from albert_np.run import Encoded, Head, Run, Trace, Wanted, WantedGradients, Weights

PLANS = 16  # kept, for so many shapes of batch
LOGITS = ("classifier", "qa_outputs", "predictions.decoder", "sop_classifier.classifier")

# the steps of encoder.py and embeddings.py that are no step of their own here
ABSENT = {
    "embeddings.sum": "the sum of the embeddings and its LayerNorm are one kernel",
    "attention.scores": "attention is one kernel, which never has all scores in memory",
    "attention.probs": "attention is one kernel, which never has all probabilities in memory",
    "attention.dense": "the product, its bias and the residual are one kernel, which gives encoder.layer.….attention.sum",
    "ffn": "the product, its bias and the activation are one kernel",
    "ffn_output": "the product, its bias and the residual are one kernel, which gives encoder.layer.….sum",
}


@dataclass(frozen=True)
class DeviceRun(Run):
    """Lets a head run on the GPU. Its logits come down where they are wanted as NumPy arrays, and so does all for a trace."""

    downloads: bool = True

    def record(self, name: str, x: Any) -> Any:
        here = x.numpy() if isinstance(x, DeviceArray) and (self.trace is not None or name in LOGITS) else x
        super().record(name, here)
        return here if self.downloads and name in LOGITS else x


class CudaEngine:
    """See protocol.Engine. It computes no gradients and no dropout; trace="unfused" goes op by op, carried up and down."""

    outputs = ("numpy", "device")

    def __init__(self, w: Weights, config: AlbertConfig, dtype: str) -> None:
        self.w, self.config, self.dtype = w, config, dtype
        self.ops = CudaOps(dtype)
        self.plans: dict[tuple[plan.Shape, int, int], Program] = {}
        self._going_up: Any = None

    def forward(self, batch: Inputs, head: Head, wanted: Wanted) -> ModelOutput:
        if wanted.rng is not None:
            raise ValueError("backend 'cuda' computes no dropout: leave out training=True, or choose backend='numba'")
        if wanted.trace == "unfused":
            run = Run(self.ops, self.config, trace=wanted.new_trace(cuda.NAME, self.dtype))
            return reference.answer(run, head, reference.encode(run, self.w, batch, wanted))
        trace = wanted.new_trace(cuda.NAME, self.dtype, ABSENT)
        run = DeviceRun(self.ops, self.config, trace=trace, downloads=not wanted.on_device)
        try:
            with self.ops.lock:
                out = self._answer(run, batch, head, wanted)
                device.synchronize()
                return out
        except OutOfMemoryError as error:
            B, T = batch.shape
            raise ValueError(
                f"{B} sequences of {T} tokens need {error.nbytes:,} bytes of GPU memory more than there are: run fewer at a "
                "time, or ask for fewer outputs (logits_positions, no attentions, no hidden states)"
            ) from error

    def _answer(self, run: Run, batch: Inputs, head: Head, wanted: Wanted) -> ModelOutput:
        encoded = self._encode(run, self.w, batch, wanted)
        hidden = Rows(self.ops, encoded.hidden)  # a head asks no more of it than indexing, and hands it on to ops
        out = reference.answer(run, head, replace(encoded, hidden=hidden))
        for field in fields(out):  # type: ignore[arg-type]  # every output is a dataclass
            x = getattr(out, field.name)
            if x is hidden:
                x = encoded.hidden
            if field.name != "trace":
                setattr(out, field.name, x if wanted.on_device else _downloaded(x))
        return out

    def loss_and_gradients(self, batch: Inputs, head: Head, wanted: WantedGradients) -> Any:
        raise ValueError("backend 'cuda' computes no gradients: choose backend='numba'")

    def forget_weights(self, w: Weights) -> None:
        with self.ops.lock:
            self.plans.clear()
            self.ops.forget_weights()
            self.w = w

    def _encode(self, run: Run, w: Weights, batch: Inputs, wanted: Wanted) -> Any:  # (B,T) -> (B,T,H)
        """Encoded, of DeviceArrays: zeros where nothing was computed. No call writes there while somebody holds one."""
        config, ops = self.config, self.ops
        shape = plan.shape_of(config, batch, wanted)
        given, work, outputs = plan.given(batch, shape), Layout(), Layout()
        for name, x in given.items():
            work.add(name, x.shape, x.dtype)
        packed = work.packed(given)
        plan.lay_out(work, outputs, config, shape, ops.kind)
        block, kept = ops.pool.take(work.nbytes), ops.pool.take(outputs.nbytes)
        self._going_up = packed  # as long as the copy may take: until the next call at least
        block.memory.write(0, packed, wait=False)
        buffers = work.buffers(block) | outputs.buffers(kept)
        program = self._program((shape, block.memory.address, kept.memory.address), w, buffers)
        if run.trace is None:
            program.run()
        else:
            program.run_and_look(Taps(run.trace, batch.shape, buffers).keep)
        return _encoded(batch, shape, kept, outputs)

    def _program(self, key: tuple[plan.Shape, int, int], w: Weights, buffers: dict[str, Buffer]) -> Program:
        """The launches for batches of a shape, on memory at these addresses: kept ones, or written down now."""
        program = self.plans.pop(key, None)
        if program is None:
            program = Program()
            plan.Forward(program, self.ops, self.config, key[0], buffers).write(w)
        self.plans[key] = program  # the last one used stands last
        while len(self.plans) > PLANS:
            del self.plans[next(iter(self.plans))]
        return program


def _downloaded(x: Any) -> Any:
    if isinstance(x, tuple):
        return tuple(_downloaded(one) for one in x)
    return x.numpy() if isinstance(x, DeviceArray) else x


class Taps:
    """Where a trace is filled, for (B,T) tokens, from a plan's arrays."""

    def __init__(self, trace: Trace, shape: tuple[int, int], buffers: dict[str, Buffer]) -> None:
        self.trace, self.shape, self.buffers = trace, shape, buffers

    def keep(self, tap: Tap) -> None:
        B, T = self.shape
        self.trace[tap.name] = tap.read(self.buffers[tap.array], B * T).reshape(B, T, tap.columns)


def _encoded(batch: Inputs, shape: plan.Shape, kept: Block, outputs: Layout) -> Any:
    """Encoded, of the outputs in that block."""
    found: dict[str, Any] = {name: DeviceArray(kept, x.offset, x.shape) for name, x in outputs.buffers(kept).items()}

    def named(prefix: str) -> tuple[Any, ...]:
        return tuple(x for name, x in found.items() if name.startswith(prefix))

    return Encoded(
        found["hidden"],
        (*named("hidden_states."), found["hidden"]) if shape.hidden_states else None,
        named("attentions.") if shape.attentions else None,
        batch.mask if shape.skip_padding else None,
    )
