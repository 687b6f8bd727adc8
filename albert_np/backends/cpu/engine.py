"""The encoder on the CPU: the same maths as embeddings.py and encoder.py, with what is next to each other done together.

The rows of all sequences lie end to end, padded ones only where they are asked for, and are computed some ROWS at a time. A
layer is seven steps on six buffers, written down once for each stored layer and repeated L times:

    qkv      = x·[Wq Wk Wv] + b          one product instead of three
    context  = attention(qkv)            softmax between its two products, a head at a time
    y        = context·Wo + b + x        the residual is added while the sum is in cache
    attended = LayerNorm(y)
    wide     = gelu(attended·W1 + b)     and so is the activation applied
    y        = wide·W2 + b + attended
    x        = LayerNorm(y)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from albert_np.backends.cpu.ops import CpuOps, add_attention, add_layer_norm, tiles_of
from albert_np.config import AlbertConfig
from albert_np.encoder import group_of_layer
from albert_np.inputs import Inputs
from albert_np.kernels.cpu import operands
from albert_np.kernels.cpu.arena import Buffers
from albert_np.kernels.cpu.names import ACTIVATION_CODES
from albert_np.kernels.cpu.operands import Distances, add_gemm
from albert_np.kernels.cpu.program import Program
from albert_np.ops import Array
from albert_np.run import Weights

ROWS = 1024  # at a time: their widest buffer is 12 MB with I = 3072, and the weights pass by once for all of them


@dataclass(frozen=True)
class States:
    """What the encoder leaves, with zeros where nothing was computed."""

    hidden: Array  # (B,T,H)
    hidden_states: tuple[Array, ...] | None
    attentions: tuple[Array, ...] | None


def encode(  # (B,T) -> (B,T,H)
    ops: CpuOps,
    w: Weights,
    config: AlbertConfig,
    batch: Inputs,
    *,
    mask_mode: str = "uniform",
    skip_padding: bool = False,
    keep_hidden_states: bool = False,
    keep_attentions: bool = False,
) -> States:
    B, T = batch.shape
    H, L, N = config.hidden_size, config.num_hidden_layers, config.num_attention_heads
    fresh = np.zeros if skip_padding else np.empty
    hidden = fresh((B, T, H), np.float32)
    hidden_states = (
        [fresh((B, T, H), np.float32) for _ in range(L)] if keep_hidden_states else []
    )  # the last is `hidden`
    applications = L * config.inner_group_num
    attentions = [np.zeros((B, N, T, T), np.float32) for _ in range(applications)] if keep_attentions else []
    for some in _chunks(batch, skip_padding):
        part = _some_sequences(batch, some)
        outputs = hidden[some], [x[some] for x in hidden_states], [x[some] for x in attentions]
        with ops.arena.buffers() as buffers:
            _program(ops, w, config, part, mask_mode, skip_padding, buffers, *outputs).run()
    return States(
        hidden, (*hidden_states, hidden) if keep_hidden_states else None, tuple(attentions) if keep_attentions else None
    )


def _chunks(batch: Inputs, skip_padding: bool) -> Iterator[slice]:
    """Sequences, some ROWS rows at a time."""
    B, T = batch.shape
    lengths = batch.mask.sum(axis=1).tolist() if skip_padding else [T] * B
    first, rows = 0, 0
    for b, length in enumerate(lengths):
        if rows and rows + length > ROWS:
            yield slice(first, b)
            first, rows = b, 0
        rows += length
    yield slice(first, B)


def _some_sequences(batch: Inputs, some: slice) -> Inputs:
    positions = batch.position_ids
    return replace(
        batch,
        input_ids=None if batch.input_ids is None else batch.input_ids[some],
        inputs_embeds=None if batch.inputs_embeds is None else batch.inputs_embeds[some],
        token_type_ids=batch.token_type_ids[some],
        position_ids=positions if len(positions) == 1 else positions[some],
        mask=batch.mask[some],
    )


def _program(
    ops: CpuOps,
    w: Weights,
    config: AlbertConfig,
    batch: Inputs,
    mask_mode: str,
    skip_padding: bool,
    buffers: Buffers,
    hidden: Array,
    hidden_states: list[Array],
    attentions: list[Array],
) -> Program:
    """Every step from ids to hidden states."""
    T = batch.shape[1]
    H, L, N, G = config.hidden_size, config.num_hidden_layers, config.num_attention_heads, config.num_hidden_groups
    who = operands.real_sequences(batch.mask) if skip_padding else operands.sequences(batch.mask)
    R = len(who.columns)
    # where row r goes in (B·T, H), and its ids; None is its own place
    places = np.flatnonzero(batch.mask) if skip_padding else None
    embedded, x, qkv, context, y, attended, wide = (
        buffers.rows(name, R, columns)
        for name, columns in {
            "embedded": config.embedding_size,
            "x": H,
            "qkv": 3 * H,
            "context": H,
            "y": H,
            "attended": H,
            "wide": config.intermediate_size,
        }.items()
    )
    program = Program()

    def keep(to: Array) -> None:
        program.add(
            "copy_rows", tiles_of(R), x=x, x_row=x.strides[0] // 4, places=places, out=to, out_row=H, rows=R, H=H
        )

    _add_embeddings(program, w.embeddings, config, batch, places, embedded, R)
    packed, bias = ops.packed(
        (w.encoder.embedding_hidden_mapping_in.weight,), (w.encoder.embedding_hidden_mapping_in.bias,)
    )
    add_gemm(program, embedded, packed, x, R, bias=bias)
    if hidden_states:
        keep(hidden_states[0])

    application = 0
    for i in range(L):
        for layer in w.encoder.albert_layer_groups[group_of_layer(i, L, G)].albert_layers:
            first = len(program)
            a, norm = layer.attention, layer.full_layer_layer_norm
            packed, bias = ops.packed(
                (a.query.weight, a.key.weight, a.value.weight), (a.query.bias, a.key.bias, a.value.bias)
            )
            add_gemm(program, x, packed, qkv, R, bias=bias)
            add_attention(
                program,
                buffers,
                (qkv, qkv[:, H:], qkv[:, 2 * H :]),
                context,
                who,
                N,
                T,
                D=H // N,
                mask_mode=mask_mode,
                head_mask=None if batch.head_mask is None else np.ascontiguousarray(batch.head_mask[application]),
                probs=attentions[application] if attentions else None,
                distances=_distances(ops, a, config),
            )
            packed, bias = ops.packed((a.dense.weight,), (a.dense.bias,))
            add_gemm(program, context, packed, y, R, bias=bias, residual=x)
            add_layer_norm(program, y, a.LayerNorm.weight, a.LayerNorm.bias, config.layer_norm_eps, attended, R)
            packed, bias = ops.packed((layer.ffn.weight,), (layer.ffn.bias,))
            add_gemm(program, attended, packed, wide, R, bias=bias, activation=ACTIVATION_CODES[config.hidden_act])
            packed, bias = ops.packed((layer.ffn_output.weight,), (layer.ffn_output.bias,))
            add_gemm(program, wide, packed, y, R, bias=bias, residual=attended)
            add_layer_norm(program, y, norm.weight, norm.bias, config.layer_norm_eps, x, R)
            application += 1
        one_for_all = (
            G == config.inner_group_num == 1 and batch.head_mask is None and not attentions and not hidden_states
        )
        if one_for_all:
            program.repeat(first, L)
            break
        if hidden_states and i + 1 < L:
            keep(hidden_states[i + 1])
    keep(hidden)
    return program


def _add_embeddings(  # (B,T) -> (R,E)
    program: Program, w: Weights, config: AlbertConfig, batch: Inputs, places: Array | None, out: Array, R: int
) -> None:
    """LayerNorm(word + token type + position), for the rows in `places`."""
    B, T = batch.shape
    E = config.embedding_size

    def flat(x: Array) -> Array:  # (B,T) -> (R,) int64
        rows = np.broadcast_to(x, (B, T)).reshape(-1)
        return np.ascontiguousarray(rows if places is None else rows[places], np.int64)

    if batch.input_ids is not None:
        words = {"ids": flat(batch.input_ids), "words": w.word_embeddings.weight}
    else:
        assert batch.inputs_embeds is not None
        rows = batch.inputs_embeds.reshape(-1, E)
        words = {"words": np.ascontiguousarray(rows if places is None else rows[places])}
    absolute = config.position_embedding_type == "absolute"
    program.add(
        "embed",
        tiles_of(R),
        **words,
        token_types=flat(batch.token_type_ids),
        types=w.token_type_embeddings.weight,
        position_ids=flat(batch.position_ids),
        positions=w.position_embeddings.weight if absolute else None,
        weight=w.LayerNorm.weight,
        bias=w.LayerNorm.bias,
        out=out,
        out_row=out.strides[0] // 4,
        rows=R,
        E=E,
        eps=float(config.layer_norm_eps),
    )


def _distances(ops: CpuOps, w: Weights, config: AlbertConfig) -> Distances | None:
    relative = config.position_embedding_type != "absolute"
    return ops.distances(w.distance_embedding.weight if relative else None, config.position_embedding_type)
