"""The encoder on the kernels of kernels/cpu, forward and back: what value_and_grad runs on backend "numba".

The same maths as encoder.py and gradients.py, in float32, written down as two programs before they run. Of each
application the forward keeps what the way back reads: the layer's input, q, k and v, the context, what the two LayerNorms and
the activation were given, and what they gave; or, with recompute, the input alone.

What the loss does not read has no gradient, and is left out: padding, where no label is on it, throughout, since no other token
sees it; and of the last application, behind attention, all rows but those that the loss reads: with masked words to guess a
sixth of them, and to classify sequences one a sequence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from albert_np.backends.cpu.ops import CpuOps, add_attention, add_layer_norm
from albert_np.config import AlbertConfig
from albert_np.encoder import applications
from albert_np.gradients import LAYERS
from albert_np.inputs import Inputs
from albert_np.kernels.cpu import operands
from albert_np.kernels.cpu.arena import Buffers
from albert_np.kernels.cpu.layout import COLUMNS_A_TILE, MASK_MODES, QUERIES, SUMMED, padded
from albert_np.kernels.cpu.names import ACTIVATION_CODES
from albert_np.kernels.cpu.operands import Packed, Sequences, add_gemm, add_pack
from albert_np.kernels.cpu.program import Program
from albert_np.ops import Array
from albert_np.run import Weights


@dataclass(frozen=True)
class Layer:
    """What one application computed, in the rows of all sequences end to end; behind attention, in those that are read."""

    x: Array  # (R,H), its input
    qkv: Array  # (R,3H)
    context: Array  # (R,H)
    summed: Array  # (R,H), x + dense
    attended: Array  # (R,H), its LayerNorm
    before: Array  # (R,I), what the activation is given
    active: Array  # (R,I)
    summed_again: Array  # (R,H), attended + ffn_output
    y: Array  # (R,H), its LayerNorm


@dataclass(frozen=True)
class Kept:
    """Everything that the way back needs."""

    w: Weights
    config: AlbertConfig
    who: Sequences
    mask_mode: str
    shape: tuple[int, int]  # (B, T)
    places: Array  # (R,) int64: which of the B·T tokens are a row
    buffers: Buffers
    embedded: Array  # (R,E)
    layers: list[Layer]
    rows: Array | None  # (r,) int64: those of the last application that are read; None is all
    last: Layer  # the last application behind attention, in these rows
    recompute: bool


def can(config: AlbertConfig, batch: Inputs, dropout: bool) -> bool:
    """Is this what the programs can do? Dropout, head masks and relative positions go step by step."""
    drops = dropout and (config.hidden_dropout_prob or config.attention_probs_dropout_prob)
    return config.position_embedding_type == "absolute" and batch.head_mask is None and not drops


def encode(  # (B,T,E), (B,T) or (B,T,T) bool, (B,T) bool -> (B,T,H)
    ops: CpuOps,
    w: Weights,
    config: AlbertConfig,
    x: Array,
    mask: Array,
    mask_mode: str,
    buffers: Buffers,
    recompute: bool,
    reads: Array | None = None,
) -> tuple[Array, Kept]:
    """The encoder's output, and what was kept. buffers stay taken until encode_backward has run.

    reads: which states the loss reads; the others come out as zeros. None is all.
    """
    B, T, E = x.shape
    if mask_mode == "nan" and not mask.any(axis=-1).all():
        reads = None  # what is not read is NaN all the same, and so are gradients by weights that saw it
    skips = reads is not None and mask.ndim == 2 and not (reads & ~mask).any()
    places = np.flatnonzero(mask) if skips else np.arange(B * T)
    H, I, R, A = config.hidden_size, config.intermediate_size, len(places), len(list(applications(config)))
    embedded = buffers.rows("embedded", R, E)
    embedded[:, :E] = x.reshape(B * T, E)[places]
    inputs = [buffers.rows(f"x {a}", R, H) for a in range(A + 1)]
    widths = {"qkv": 3 * H, "context": H, "summed": H, "attended": H, "before": I, "active": I, "summed_again": H}
    layers = []
    for a in range(A):
        number = 0 if recompute else a
        arrays = {name: buffers.rows(f"{name} {number}", R, columns) for name, columns in widths.items()}
        layers.append(Layer(x=inputs[a], y=inputs[a + 1], **arrays))
    rows = None if reads is None or reads.all() else np.flatnonzero(reads.reshape(-1)[places])
    last = layers[-1] if rows is None else _rows_of(layers[-1], buffers.rows("x read", len(rows), H))
    who = operands.real_sequences(mask) if skips else operands.sequences(mask)
    kept = Kept(w, config, who, mask_mode, (B, T), places, buffers, embedded, layers, rows, last, recompute)

    program = Program(training=True)
    mapping = w.embedding_hidden_mapping_in
    packed, bias = ops.packed((mapping.weight,), (mapping.bias,))
    add_gemm(program, embedded, packed, inputs[0], R, bias=bias)
    for application, group, inner in applications(config):
        here, layer = layers[application], w.albert_layer_groups[group].albert_layers[inner]
        _add_attended(program, ops, kept, here, layer)
        if application == A - 1 and rows is not None:
            program.run()
            last.x[:], last.context[:] = here.x[rows], here.context[rows]
            program, here = Program(training=True), last
        _add_rest(program, ops, config, here, layer)
    program.run()
    hidden = np.zeros((B * T, H), np.float32)
    hidden[places if rows is None else places[rows]] = last.y[:, :H]
    return hidden.reshape(B, T, H), kept


def _rows_of(layer: Layer, x: Array) -> Layer:  # (r,H)
    """A layer with room for r rows: the first of its own arrays, and x, since the input is read again on the way back."""
    names = ("context", "summed", "attended", "before", "active", "summed_again", "y")
    return replace(layer, x=x, **{name: getattr(layer, name)[: len(x)] for name in names})


def _add_attended(program: Program, ops: CpuOps, kept: Kept, here: Layer, w: Weights) -> None:
    """The first half of an application, as engine.py; but nothing is overwritten."""
    config, R, a = kept.config, len(here.x), w.attention
    H, N = config.hidden_size, config.num_attention_heads
    packed, bias = ops.packed((a.query.weight, a.key.weight, a.value.weight), (a.query.bias, a.key.bias, a.value.bias))
    add_gemm(program, here.x, packed, here.qkv, R, bias=bias)
    qkv = here.qkv, here.qkv[:, H:], here.qkv[:, 2 * H :]
    add_attention(
        program, kept.buffers, qkv, here.context, kept.who, N, kept.shape[1], D=H // N, mask_mode=kept.mask_mode
    )


def _add_rest(program: Program, ops: CpuOps, config: AlbertConfig, here: Layer, w: Weights) -> None:
    """The second half, which takes every row for itself."""
    R, eps, a = len(here.x), config.layer_norm_eps, w.attention
    packed, bias = ops.packed((a.dense.weight,), (a.dense.bias,))
    add_gemm(program, here.context, packed, here.summed, R, bias=bias, residual=here.x)
    add_layer_norm(program, here.summed, a.LayerNorm.weight, a.LayerNorm.bias, eps, here.attended, R)
    packed, bias = ops.packed((w.ffn.weight,), (w.ffn.bias,))
    code = ACTIVATION_CODES[config.hidden_act]
    add_gemm(program, here.attended, packed, here.active, R, bias=bias, activation=code, before=here.before)
    packed, bias = ops.packed((w.ffn_output.weight,), (w.ffn_output.bias,))
    add_gemm(program, here.active, packed, here.summed_again, R, bias=bias, residual=here.attended)
    norm = w.full_layer_layer_norm
    add_layer_norm(program, here.summed_again, norm.weight, norm.bias, eps, here.y, R)


class _Gradients:
    """Where the gradients of the weights are summed: one array a parameter, or one for each of its applications."""

    def __init__(self, per_application: bool) -> None:
        self.per_application = per_application
        self.arrays: dict[str, list[Array]] = {}
        self.columns: dict[str, int] = {}

    def place(self, name: str, rows: int, columns: int) -> tuple[Array, bool]:
        """(rows, columns and their padding), and whether to add to what is there."""
        arrays, self.columns[name] = self.arrays.setdefault(name, []), columns
        if arrays and not self.per_application:
            return arrays[0], True
        arrays.append(operands.rows_of(rows, columns))
        return arrays[-1], False

    def found(self, H: int) -> dict[str, list[Array]]:
        """Under the parameters' names, without the padding: three of them were computed as one, and weight beside bias."""
        found: dict[str, list[Array]] = {}
        for name, arrays in self.arrays.items():
            layer, _, kind = name.rpartition(".")
            whole = [x[:, : self.columns[name]] for x in arrays]
            if kind == "both":  # of a LayerNorm
                found[f"{layer}.weight"] = [x[0, :H].copy() for x in whole]
                found[f"{layer}.bias"] = [x[0, padded(H) : padded(H) + H].copy() for x in whole]
                continue
            parts = {layer: whole}
            if layer.endswith(".qkv"):
                rows = kind == "weight"
                parts = {
                    layer.removesuffix("qkv") + part: [
                        x[i * H : (i + 1) * H] if rows else x[:, i * H : (i + 1) * H] for x in whole
                    ]
                    for i, part in enumerate(("query", "key", "value"))
                }
            for part, values in parts.items():
                found[f"{part}.{kind}"] = [np.ascontiguousarray(x if kind == "weight" else x[0]) for x in values]
        return found


def encode_backward(  # (B,T,H) -> (B,T,E)
    ops: CpuOps, kept: Kept, d_hidden: Array, per_application: bool
) -> tuple[Array, dict[str, list[Array]]]:
    """The gradient by the embeddings, and those by the encoder's weights as training.gradients.Back.found has them."""
    config, w, (B, T) = kept.config, kept.w, kept.shape
    H, E, R = config.hidden_size, config.embedding_size, len(kept.places)
    way = _Way(Program(training=True), ops, kept, _Gradients(per_application))
    dy, dx, d_sum, d_context = (kept.buffers.rows(name, R, H) for name in ("dy", "dx", "d_sum", "d_context"))
    rows = kept.rows
    dy[: len(kept.last.x), :H] = d_hidden.reshape(B * T, H)[kept.places if rows is None else kept.places[rows]]
    for application, group, inner in reversed(list(applications(config))):
        layer, name = w.albert_layer_groups[group].albert_layers[inner], f"{LAYERS}{group}.albert_layers.{inner}"
        here, is_last = kept.layers[application], application == len(kept.layers) - 1
        if kept.recompute and not is_last:  # that was the last thing computed
            _add_attended(way.program, ops, kept, here, layer)
            _add_rest(way.program, ops, config, here, layer)
        rest = kept.last if is_last else here
        r = len(rest.x)
        _add_rest_backward(way, rest, layer, name, dy[:r], d_sum[:r], d_context[:r])
        if is_last and rows is not None:
            way.program.run()
            way = replace(way, program=Program(training=True))
            for x in (d_sum, d_context):
                found = x[:r].copy()
                x[:] = 0
                x[rows] = found
        _add_attended_backward(way, here, layer, name, d_sum, d_context, dx)
        dy, dx = dx, dy
    d_embedded = kept.buffers.rows("d_embedded", R, E)
    mapping = w.embedding_hidden_mapping_in
    add_gemm(way.program, dy, ops.packed_straight((mapping.weight,)), d_embedded, R)
    way.weight_and_bias("encoder.embedding_hidden_mapping_in", dy, kept.embedded, H, E)
    way.program.run()
    by_token = np.zeros((B * T, E), np.float32)
    by_token[kept.places] = d_embedded[:, :E]
    return by_token.reshape(B, T, E), way.gradients.found(H)


@dataclass(frozen=True)
class _Way:
    """The program of the way back, and the steps that occur in it several times."""

    program: Program
    ops: CpuOps
    kept: Kept
    gradients: _Gradients

    def weight_and_bias(self, name: str, dy: Array, x: Array, out: int, into: int) -> None:  # (R,out), (R,in)
        """y = x·Wᵀ + b: dW += dyᵀ·x, db += Σ dy."""
        R = len(x)
        packed = Packed(self.kept.buffers.numbers("packed", R * padded(into)), R, into)
        add_pack(self.program, x[:, :into], packed)
        d_weight, adds = self.gradients.place(f"{name}.weight", out, into)
        add_gemm(self.program, dy[:, :out].T, packed, d_weight, out, add=adds)
        self.column_sums(f"{name}.bias", dy, out)

    def column_sums(self, name: str, x: Array, columns: int) -> None:
        out, adds = self.gradients.place(name, 1, columns)
        self.program.add(
            "column_sums",
            -(-columns // COLUMNS_A_TILE),
            x=x,
            x_row=x.strides[0] // 4,
            rows=len(x),
            columns=columns,
            out=out,
            add=int(adds),
        )

    def layer_norm(self, name: str, dy: Array, x: Array, w: Weights, dx: Array) -> None:  # (R,H), (R,H) -> (R,H)
        H, R = len(w.weight), len(x)
        tiles = -(-R // SUMMED)
        sums = self.kept.buffers.rows("sums", tiles, 2 * padded(H))
        self.program.add(
            "layer_norm_backward",
            tiles,
            dy=dy,
            dy_row=dy.strides[0] // 4,
            x=x,
            x_row=x.strides[0] // 4,
            weight=w.weight,
            dx=dx,
            dx_row=dx.strides[0] // 4,
            sums=sums,
            sums_row=2 * padded(H),
            rows=R,
            H=H,
            eps=float(self.kept.config.layer_norm_eps),
        )
        self.column_sums(f"{name}.both", sums[:, : 2 * padded(H)], 2 * padded(H))

    def attention(self, here: Layer, d_context: Array, d_qkv: Array) -> None:  # (R,H) -> (R,3H)
        config, who, (B, T) = self.kept.config, self.kept.who, self.kept.shape
        H, N, D = config.hidden_size, config.num_attention_heads, config.hidden_size // config.num_attention_heads
        keys, deep = padded(who.most_keys), padded(D)
        size = padded(2 * D * keys + 3 * keys * deep + QUERIES * (3 * keys + 2 * deep))
        self.program.add(
            "attention_backward",
            B * N,
            q=here.qkv,
            k=here.qkv[:, H:],
            v=here.qkv[:, 2 * H :],
            row=here.qkv.strides[0] // 4,
            d_context=d_context,
            context_row=d_context.strides[0] // 4,
            dq=d_qkv,
            dk=d_qkv[:, H:],
            dv=d_qkv[:, 2 * H :],
            d_row=d_qkv.strides[0] // 4,
            starts=who.starts,
            lengths=who.lengths,
            keys=who.keys,
            key_starts=who.key_starts,
            blanks=who.blanks,
            pairs=who.pairs,
            N=N,
            T=T,
            D=D,
            scale=1 / math.sqrt(D),
            mode=MASK_MODES[self.kept.mask_mode],
            scratch=self.kept.buffers.numbers("scratch back", size * self.program.threads),
            scratch_size=size,
        )


def _add_rest_backward(  # (r,H) -> (r,H), (r,H)
    way: _Way, here: Layer, w: Weights, name: str, dy: Array, d_sum: Array, d_context: Array
) -> None:
    """training.gradients.albert_layer_backward in rows, down to attention's output. dy is used up.

    d_sum: by the sum of attention's output and the layer's input, so by both.
    """
    config, ops, program, buffers, r = way.kept.config, way.ops, way.program, way.kept.buffers, len(dy)
    H, I, a = config.hidden_size, config.intermediate_size, w.attention
    d_wide = buffers.rows("d_wide", r, I)

    way.layer_norm(f"{name}.full_layer_layer_norm", dy, here.summed_again, w.full_layer_layer_norm, d_sum)
    way.weight_and_bias(f"{name}.ffn_output", d_sum, here.active, H, I)
    code, straight = ACTIVATION_CODES[config.hidden_act], ops.packed_straight
    add_gemm(
        program, d_sum, straight((w.ffn_output.weight,)), d_wide, r, activation=code, before=here.before, slopes=True
    )
    way.weight_and_bias(f"{name}.ffn", d_wide, here.attended, I, H)
    add_gemm(program, d_wide, straight((w.ffn.weight,)), dy, r, residual=d_sum)

    way.layer_norm(f"{name}.attention.LayerNorm", dy, here.summed, a.LayerNorm, d_sum)
    way.weight_and_bias(f"{name}.attention.dense", d_sum, here.context, H, H)
    add_gemm(program, d_sum, straight((a.dense.weight,)), d_context, r)


def _add_attended_backward(  # (R,H), (R,H) -> (R,H)
    way: _Way, here: Layer, w: Weights, name: str, d_sum: Array, d_context: Array, dx: Array
) -> None:
    """And down to the layer's input."""
    H, R, a = way.kept.config.hidden_size, len(here.x), w.attention
    d_qkv = way.kept.buffers.rows("d_qkv", R, 3 * H)
    way.attention(here, d_context, d_qkv)
    way.weight_and_bias(f"{name}.attention.qkv", d_qkv, here.x, 3 * H, H)
    straight = way.ops.packed_straight((a.query.weight, a.key.weight, a.value.weight))
    add_gemm(way.program, d_qkv, straight, dx, R, residual=d_sum)
