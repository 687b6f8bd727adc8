"""The encoder on the kernels of kernels/cpu, forward and back: value_and_grad runs this on backend "numba".

It is the same maths as encoder.py and gradients.py, in float32, written down as two programs before they run; products.py
says in what the layers' products are computed. For each application, the forward keeps what the way back reads: the layer's
input; q, k and v; the context; the inputs and outputs of the two LayerNorms and of the activation; and what dropout drew. With
recompute it keeps only the input and the generator's state.

What the loss does not read has no gradient and is left out. Padding without a label is left out everywhere, since no other
token sees it. In the last application, after attention, only the rows that the loss reads are computed: about a sixth of them
for masked words, and one row for each sequence that is classified.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from albert_np.backends.cpu.ops import activation_code, dropout_factors
from albert_np.backends.cpu.products import Products
from albert_np.config import AlbertConfig
from albert_np.encoder import applications, layer_name
from albert_np.gradients import Back, Encode
from albert_np.inputs import Inputs
from albert_np.kernels.cpu import operands
from albert_np.kernels.cpu.layout import padded
from albert_np.kernels.cpu.operands import Sequences
from albert_np.kernels.cpu.program import Program
from albert_np.kernels.cpu.steps import (
    add_attention,
    add_attention_backward,
    add_column_sums,
    add_dropout,
    add_layer_norm,
    add_layer_norm_backward,
)
from albert_np.ops import MASK_MODES, Array
from albert_np.run import WantedGradients, Weights, generator_at


@dataclass(frozen=True)
class Layer:
    """What one application computed, in the rows of all sequences end to end; after attention, in the rows that are read."""

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
class Dropped:
    """The factors of dropout in one application: 0 or 1/(1 − p) for each entry. None: nothing was dropped."""

    probs: Array | None  # (B,N,T,T), as steps.add_attention wants them
    output: Array | None  # (R,H)


@dataclass(frozen=True)
class Kept:
    """Everything that the way back needs."""

    w: Weights
    config: AlbertConfig
    batch: Inputs
    who: Sequences
    products: Products
    wanted: WantedGradients
    places: Array  # (R,) int64: which of the B·T tokens are a row
    embedded: Array  # (R,E)
    layers: list[Layer]
    rows: Array | None  # (r,) int64: those of the last application that are read; None is all
    last: Layer  # the last application behind attention, in these rows
    draws: list[Callable[[], Dropped]]  # by application

    @property
    def projection(self) -> Products:
        """The products of the embeddings' projection: float32, as bfloat16/operand.py says."""
        return Products(self.products.ops, self.products.buffers)

    def attention_of(self, w: Weights, application: int, dropped: Dropped) -> dict[str, Any]:
        """The arguments that steps.add_attention and its way back share."""
        config, head_masks = self.config, self.batch.head_mask
        return {
            "who": self.who,
            "N": config.num_attention_heads,
            "T": self.batch.shape[1],
            "D": config.hidden_size // config.num_attention_heads,
            "mode": MASK_MODES.index(self.wanted.mask_mode),
            "head_mask": None if head_masks is None else np.ascontiguousarray(head_masks[application]),
            "dropout": dropped.probs,
            "distances": self.products.ops.distances_of(w, config),
        }


def encoder(
    back: Back, products: Products, w: Weights, batch: Inputs, wanted: WantedGradients, reads: Array | None
) -> Encode:
    """The encoder as gradients.loss_and_gradients runs it. The buffers stay in use until the way back has run.

    reads (B,T) bool: which states the loss reads; the others come out as zeros. None means all.
    """

    def encode(x: Array) -> tuple[Array, Callable[[Array], Array]]:
        hidden, kept = _encode(back, products, w, batch, wanted, reads, x)

        def backward(d_hidden: Array) -> Array:
            d_x, found = _encode_backward(kept, d_hidden)
            back.found.update(found)
            return d_x

        return hidden, backward

    return encode


def _encode(  # (B,T,E) -> (B,T,H)
    back: Back,
    products: Products,
    w: Weights,
    batch: Inputs,
    wanted: WantedGradients,
    reads: Array | None,
    x: Array,
) -> tuple[Array, Kept]:
    config, mask, (B, T, E), buffers = back.run.config, batch.mask, x.shape, products.buffers
    if wanted.mask_mode == "nan" and not mask.any(axis=-1).all():
        reads = None  # what is not read is NaN all the same, and so are gradients with respect to weights that saw it
    skips = reads is not None and mask.ndim == 2 and not (reads & ~mask).any()
    places = np.flatnonzero(mask) if skips else np.arange(B * T)
    H, I, R, A = config.hidden_size, config.intermediate_size, len(places), len(list(applications(config)))
    embedded = buffers.rows("embedded", R, E)
    embedded[:, :E] = x.reshape(B * T, E)[places]
    inputs = [buffers.rows(f"x {a}", R, H) for a in range(A + 1)]
    widths = {"qkv": 3 * H, "context": H, "summed": H, "attended": H, "before": I, "active": I, "summed_again": H}
    layers = []
    for a in range(A):
        number = 0 if wanted.recompute else a
        arrays = {name: buffers.rows(f"{name} {number}", R, columns) for name, columns in widths.items()}
        layers.append(Layer(x=inputs[a], y=inputs[a + 1], **arrays))
    rows = None if reads is None or reads.all() else np.flatnonzero(reads.reshape(-1)[places])
    last = layers[-1] if rows is None else _rows_of(layers[-1], buffers.rows("x read", len(rows), H))
    who = operands.real_sequences(mask) if skips else operands.sequences(mask)
    kept = Kept(w, config, batch, who, products, wanted, places, embedded, layers, rows, last, [])

    program = products.start()
    kept.projection.add_forward(program, embedded, (w.embedding_hidden_mapping_in,), inputs[0])
    for application, group, inner in applications(config):
        here, layer = layers[application], w.albert_layer_groups[group].albert_layers[inner]
        dropped = _draw(kept, mask if skips else None)
        _add_attended(program, kept, here, layer, application, dropped)
        if application == A - 1 and rows is not None:
            program.run()
            last.x[:], last.context[:] = here.x[rows], here.context[rows]
            program, here, dropped = products.start(), last, _read_of(dropped, rows)
        _add_rest(program, kept, here, layer, dropped)
        if wanted.recompute:  # a program keeps its operands alive: what dropout drew goes with it
            program.run()
            program = products.start()
    if len(program):
        program.run()
    hidden = np.zeros((B * T, H), np.float32)
    hidden[places if rows is None else places[rows]] = last.y[:, :H]
    return hidden.reshape(B, T, H), kept


def _draw(kept: Kept, real: Array | None) -> Dropped:  # (B,T) bool
    """Draws the next application's dropout, in the order of encoder.py. With recompute it will be drawn again.

    real: which tokens have a row, if padding is left out.
    """
    rng, config, (B, T) = kept.wanted.rng, kept.config, kept.batch.shape
    H, N = config.hidden_size, config.num_attention_heads

    def drawn(generator: np.random.Generator | None) -> Dropped:
        probs = dropout_factors((B, N, T, T), config.attention_probs_dropout_prob, generator)
        output = dropout_factors((B * T, H), config.hidden_dropout_prob, generator)
        if probs is not None and real is not None:
            for b, columns in enumerate(map(np.flatnonzero, real)):  # to the upper left, where the kernels look
                probs[b, :, : len(columns), : len(columns)] = probs[b][:, columns[:, None], columns]
        return Dropped(probs, None if output is None else output[kept.places])

    if rng is not None and kept.wanted.recompute:
        state = rng.bit_generator.state
        kept.draws.append(lambda: drawn(generator_at(state)))
        return drawn(rng)
    dropped = drawn(rng)
    kept.draws.append(lambda: dropped)
    return dropped


def _read_of(dropped: Dropped, rows: Array) -> Dropped:
    return replace(dropped, output=None if dropped.output is None else dropped.output[rows])


def _rows_of(layer: Layer, x: Array) -> Layer:  # (r,H)
    """A layer with room for r rows: the first rows of its arrays, but the same x, which is read again on the way back."""
    names = ("context", "summed", "attended", "before", "active", "summed_again", "y")
    return replace(layer, x=x, **{name: getattr(layer, name)[: len(x)] for name in names})


def _add_attended(program: Program, kept: Kept, here: Layer, w: Weights, application: int, dropped: Dropped) -> None:
    """The first half of an application, as in engine.py, except that nothing is overwritten."""
    H, a = kept.config.hidden_size, w.attention
    kept.products.add_forward(program, here.x, (a.query, a.key, a.value), here.qkv)
    qkv = here.qkv, here.qkv[:, H:], here.qkv[:, 2 * H :]
    add_attention(program, kept.products.buffers, qkv, here.context, **kept.attention_of(a, application, dropped))


def _add_rest(program: Program, kept: Kept, here: Layer, w: Weights, dropped: Dropped) -> None:
    """The second half of an application, which treats each row by itself."""
    products, config, R, eps, a = kept.products, kept.config, len(here.x), kept.config.layer_norm_eps, w.attention
    if dropped.output is None:
        products.add_forward(program, here.context, (a.dense,), here.summed, residual=here.x)
    else:
        products.add_forward(program, here.context, (a.dense,), here.summed)
        add_dropout(program, here.summed, dropped.output, here.summed, R, config.hidden_size, residual=here.x)
    add_layer_norm(program, here.summed, a.LayerNorm.weight, a.LayerNorm.bias, eps, here.attended, R)
    products.add_activated(program, here.attended, w.ffn, here.before, here.active, activation_code(config.hidden_act))
    products.add_forward(program, here.active, (w.ffn_output,), here.summed_again, residual=here.attended)
    norm = w.full_layer_layer_norm
    add_layer_norm(program, here.summed_again, norm.weight, norm.bias, eps, here.y, R)


class _Gradients:
    """The sums of the weights' gradients: one array for each parameter, or one for each of its applications."""

    def __init__(self, per_application: bool) -> None:
        self.per_application = per_application
        self.arrays: dict[str, list[Array]] = {}
        self.columns: dict[str, int] = {}
        self.tables: dict[str, list[Array]] = {}

    def place(self, name: str, rows: int, columns: int) -> tuple[Array, bool]:
        """The array (rows, columns and their padding), and whether to add to what is in it."""
        self.columns[name] = columns
        return self._place(self.arrays.setdefault(name, []), lambda: operands.rows_of(rows, columns))

    def table(self, name: str, span: int, D: int) -> tuple[Array, bool]:
        """The same for a table of distances between `span` places: see operands.distance_sums."""
        return self._place(self.tables.setdefault(name, []), lambda: operands.distance_sums(span, D))

    def _place(self, arrays: list[Array], make: Callable[[], Array]) -> tuple[Array, bool]:
        if arrays and not self.per_application:
            return arrays[0], True
        arrays.append(make())
        return arrays[-1], False

    def found(self, config: AlbertConfig) -> dict[str, list[Array]]:
        """The gradients under the parameters' names, without padding. Query, key and value were computed as one array, and
        each weight beside its bias."""
        H, D = config.hidden_size, config.hidden_size // config.num_attention_heads
        of_distances = 2 * config.max_position_embeddings - 1
        found = {
            name: [operands.table_gradient(x, of_distances, D) for x in arrays] for name, arrays in self.tables.items()
        }
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


def _encode_backward(kept: Kept, d_hidden: Array) -> tuple[Array, dict[str, list[Array]]]:  # (B,T,H) -> (B,T,E)
    """The gradient with respect to the embeddings, and those with respect to the encoder's weights, as in Back.found."""
    config, w, (B, T), products = kept.config, kept.w, kept.batch.shape, kept.products
    H, E, R = config.hidden_size, config.embedding_size, len(kept.places)
    way = _Way(products.start(), kept, _Gradients(kept.wanted.per_application))
    dy, dx, d_sum, d_context = (kept.products.buffers.rows(name, R, H) for name in ("dy", "dx", "d_sum", "d_context"))
    rows = kept.rows
    dy[: len(kept.last.x), :H] = d_hidden.reshape(B * T, H)[kept.places if rows is None else kept.places[rows]]
    for application, group, inner in reversed(list(applications(config))):
        layer, name = w.albert_layer_groups[group].albert_layers[inner], layer_name(group, inner)
        here, is_last = kept.layers[application], application == len(kept.layers) - 1
        dropped = kept.draws.pop()()
        if kept.wanted.recompute and not is_last:  # that was the last thing computed
            _add_attended(way.program, kept, here, layer, application, dropped)
            _add_rest(way.program, kept, here, layer, dropped)
        rest, dropped_rest = here, dropped
        if is_last and rows is not None:
            rest, dropped_rest = kept.last, _read_of(dropped, rows)
        r = len(rest.x)
        _add_rest_backward(way, rest, layer, name, dropped_rest, dy[:r], d_sum[:r], d_context[:r])
        if is_last and rows is not None:
            way.program.run()
            way = replace(way, program=products.start())
            for x in (d_sum, d_context):
                found = x[:r].copy()
                x[:] = 0
                x[rows] = found
        _add_attended_backward(way, here, layer, name, application, dropped, d_sum, d_context, dx)
        dy, dx = dx, dy
        if kept.wanted.recompute:
            way.program.run()
            way = replace(way, program=products.start())
    d_embedded = kept.products.buffers.rows("d_embedded", R, E)
    kept.projection.add_back(way.program, dy, (w.embedding_hidden_mapping_in,), d_embedded)
    way.weight_and_bias("encoder.embedding_hidden_mapping_in", dy, kept.embedded, H, E, kept.projection)
    way.program.run()
    by_token = np.zeros((B * T, E), np.float32)
    by_token[kept.places] = d_embedded[:, :E]
    return by_token.reshape(B, T, E), way.gradients.found(config)


@dataclass(frozen=True)
class _Way:
    """The program of the way back, with the steps that it repeats."""

    program: Program
    kept: Kept
    gradients: _Gradients

    def weight_and_bias(
        self, name: str, dy: Array, x: Array, out: int, into: int, products: Products | None = None
    ) -> None:  # (R,out), (R,in)
        """y = x·Wᵀ + b: dW += dyᵀ·x, db += Σ dy. products: None means those of the layers."""
        d_weight, adds = self.gradients.place(f"{name}.weight", out, into)
        (products or self.kept.products).add_to_weight(self.program, dy, x, d_weight, into, add=adds)
        d_bias, adds = self.gradients.place(f"{name}.bias", 1, out)
        add_column_sums(self.program, dy, out, d_bias, add=adds)

    def layer_norm(self, name: str, dy: Array, x: Array, w: Weights, dx: Array) -> None:  # (R,H), (R,H) -> (R,H)
        d_both, adds = self.gradients.place(f"{name}.both", 1, 2 * padded(len(w.weight)))
        eps, buffers = self.kept.config.layer_norm_eps, self.kept.products.buffers
        add_layer_norm_backward(self.program, buffers, dy, x, w.weight, eps, dx, d_both, len(x), add=adds)


def _add_rest_backward(  # (r,H) -> (r,H), (r,H)
    way: _Way,
    here: Layer,
    w: Weights,
    name: str,
    dropped: Dropped,
    dy: Array,
    d_sum: Array,
    d_context: Array,
) -> None:
    """gradients.albert_layer_backward on rows, back to the output of attention. It overwrites dy.

    d_sum: the gradient with respect to the sum of attention's output and the layer's input; so, apart from dropout, with
    respect to both.
    """
    config, program, products, r = way.kept.config, way.program, way.kept.products, len(dy)
    H, I, a = config.hidden_size, config.intermediate_size, w.attention
    d_wide = way.kept.products.buffers.rows("d_wide", r, I)

    way.layer_norm(f"{name}.full_layer_layer_norm", dy, here.summed_again, w.full_layer_layer_norm, d_sum)
    way.weight_and_bias(f"{name}.ffn_output", d_sum, here.active, H, I)
    products.add_back_activated(program, d_sum, w.ffn_output, here.before, d_wide, activation_code(config.hidden_act))
    way.weight_and_bias(f"{name}.ffn", d_wide, here.attended, I, H)
    products.add_back(program, d_wide, (w.ffn,), dy, residual=d_sum)

    way.layer_norm(f"{name}.attention.LayerNorm", dy, here.summed, a.LayerNorm, d_sum)
    d_dense = d_sum
    if dropped.output is not None:
        d_dense = dy
        add_dropout(program, d_sum, dropped.output, d_dense, r, H)
    way.weight_and_bias(f"{name}.attention.dense", d_dense, here.context, H, H)
    products.add_back(program, d_dense, (a.dense,), d_context)


def _add_attended_backward(  # (R,H), (R,H) -> (R,H)
    way: _Way,
    here: Layer,
    w: Weights,
    name: str,
    application: int,
    dropped: Dropped,
    d_sum: Array,
    d_context: Array,
    dx: Array,
) -> None:
    """The rest of it, back to the layer's input."""
    config, kept, R, a = way.kept.config, way.kept, len(here.x), w.attention
    H, T, D = config.hidden_size, kept.batch.shape[1], config.hidden_size // config.num_attention_heads
    d_qkv = kept.products.buffers.rows("d_qkv", R, 3 * H)
    table: dict[str, Any] = {}
    if config.position_embedding_type != "absolute":
        d_table, adds = way.gradients.table(f"{name}.attention.distance_embedding.weight", T, D)
        table = {"table": a.distance_embedding.weight, "d_table": d_table, "add": adds}
    add_attention_backward(
        way.program,
        kept.products.buffers,
        d_context,
        (here.qkv, here.qkv[:, H:], here.qkv[:, 2 * H :]),
        (d_qkv, d_qkv[:, H:], d_qkv[:, 2 * H :]),
        **kept.attention_of(a, application, dropped),
        **table,
    )
    way.weight_and_bias(f"{name}.attention.qkv", d_qkv, here.x, 3 * H, H)
    kept.products.add_back(way.program, d_qkv, (a.query, a.key, a.value), dx, residual=d_sum)
