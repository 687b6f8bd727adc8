"""One plan: which arrays a forward on the GPU needs, where they lie, and its launches from ids to hidden states.

A plan holds for every batch of one Shape, as long as memory lies where it did. It has an array for each thing that steps hand
on, a row for each token (R rows), and in bfloat16 what products read lies there rounded, as NAME.rounded:

    array         columns    in float32, tf32    in bfloat16
    embedded      E          float32             float32, and a rounded copy
    x             H          float32             float32, and a rounded copy
    qkv           3H         float32             only rounded          } float32, and a rounded copy of the context, where
    context       H          float32             only rounded          }   attention does not run on tensor cores
    y             H          float32             float32
    attended      H          float32             float32, and a rounded copy
    wide          I          float32             only rounded

    ids ─ embed ─> embedded ─ linear ─> x ─┬─ linear ─> qkv ─ attention ─> context ─ linear ─> y ─ LayerNorm ─> attended ─┐
                                           ^   the residual of the first y is x, that of the second is attended           │
                                           └───────────────── LayerNorm ─ y <─ linear ─ wide <─ linear ───────────────────┘

The state between two layers is x. But where a state is an output (the last is, and with hidden_states all are), and no row is
missing there, it is computed in that output; else it is spread to it from x, among zeros.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from albert_np.backends.cuda.arrays import FLOAT, Layout
from albert_np.backends.cuda.ops import INT, CudaOps, canonical
from albert_np.backends.cuda.precision import row_of
from albert_np.backends.cuda.program import (
    Heads,
    Program,
    Related,
    add_attention,
    add_layer_norm,
    add_linear,
    add_rounding,
    add_scores,
    is_fused,
    is_tensor_fused,
    split_sums,
)
from albert_np.config import AlbertConfig
from albert_np.encoder import group_of_layer, step
from albert_np.inputs import Inputs
from albert_np.kernels.cuda.embeddings import COPIED, embed, spread_rows
from albert_np.kernels.cuda.kernel import Buffer, ceil_div
from albert_np.kernels.cuda.rows import row_of as lanes_of
from albert_np.ops import Array, MaskMode
from albert_np.run import Wanted, Weights


@dataclass(frozen=True)
class Shape:
    """What a plan depends on."""

    B: int
    T: int
    rows: int  # R, of all sequences
    longest: int  # rows of a sequence
    lengths: tuple[int, ...]  # rows of each sequence, where they are attended to one by one; else none
    embeds: bool  # inputs_embeds, not input_ids
    mask: str  # "none", "keys", "pairs"
    mode: MaskMode
    factors: bool  # a head mask
    skip_padding: bool
    hidden_states: bool
    attentions: bool
    fused: bool  # attention without scores in memory


def shape_of(config: AlbertConfig, batch: Inputs, wanted: Wanted) -> Shape:
    (B, T), skips = batch.shape, wanted.skip_padding
    lengths = lengths_of(batch, skips)
    fused = is_fused(*_attention_of(config, wanted.attentions))
    return Shape(
        B=B,
        T=T,
        rows=sum(lengths),
        longest=max(lengths),
        lengths=lengths if skips and not fused else (),
        embeds=batch.input_ids is None,
        mask="none" if skips or batch.mask.all() else "keys" if batch.mask.ndim == 2 else "pairs",
        mode=wanted.mask_mode,
        factors=batch.head_mask is not None,
        skip_padding=skips,
        hidden_states=wanted.hidden_states,
        attentions=wanted.attentions,
        fused=fused,
    )


def lengths_of(batch: Inputs, skip_padding: bool) -> tuple[int, ...]:
    """Rows of each sequence."""
    B, T = batch.shape
    return tuple(batch.mask.sum(axis=1).tolist()) if skip_padding else (T,) * B


def _attention_of(config: AlbertConfig, keeps_probs: bool) -> tuple[int, bool, bool]:
    """What is_fused asks: D, whether positions are relative, and whether probabilities are kept."""
    D = config.hidden_size // config.num_attention_heads
    return D, config.position_embedding_type != "absolute", keeps_probs


def given(batch: Inputs, shape: Shape) -> dict[str, Array]:
    """What goes up in each call: a row each of the tokens that are computed, end to end; and masks."""
    B, T = shape.B, shape.T
    places = np.flatnonzero(batch.mask) if shape.skip_padding else None

    def flat(x: Array) -> Array:  # (B|1,T) -> (R,) int32
        rows = np.broadcast_to(x, (B, T)).reshape(-1)
        return np.ascontiguousarray(rows if places is None else rows[places], INT)

    found = {
        "token_types": flat(batch.token_type_ids),
        "positions": flat(batch.position_ids),
        "columns": flat(np.arange(T)[None]),
        "starts": np.concatenate([[0], np.cumsum(lengths_of(batch, shape.skip_padding))]).astype(INT),
    }
    if batch.input_ids is not None:
        found["ids"] = flat(batch.input_ids)
    else:
        assert batch.inputs_embeds is not None
        rows = batch.inputs_embeds.reshape(B * T, -1)
        found["embeds"] = np.ascontiguousarray(rows if places is None else rows[places], FLOAT)
    if shape.factors:
        assert batch.head_mask is not None
        found["head_mask"] = np.ascontiguousarray(batch.head_mask, FLOAT)
    if shape.mask != "none":
        found["allowed"] = np.ascontiguousarray(batch.mask, np.uint8)
    elif not shape.fused:
        found["allowed"] = np.ones((B, T), np.uint8)
    if places is not None:
        source = np.full(B * T, -1, INT)
        source[places] = np.arange(len(places))
        found["source"] = source
    return found


def lay_out(work: Layout, outputs: Layout, config: AlbertConfig, shape: Shape, kind: str) -> None:
    """Adds what steps hand on to `work`, beside what was given, and what a call returns to `outputs`."""
    R, B, T, N = shape.rows, shape.B, shape.T, config.num_attention_heads
    E, H, I = config.embedding_size, config.hidden_size, config.intermediate_size
    columns = {"embedded": E, "x": H, "qkv": 3 * H, "context": H, "y": H, "attended": H, "wide": I}
    rounded, only_rounded = set(), set()  # what products read, and what nobody else does
    if kind == "bfloat16":
        on_tensor_cores = is_tensor_fused(*_attention_of(config, shape.attentions))
        only_rounded = {"qkv", "context", "wide"} if on_tensor_cores else {"wide"}
        rounded = only_rounded | {"embedded", "x", "context", "attended"}
    for name, width in columns.items():
        if name not in only_rounded:
            work.add(name, (R, width))
        if name in rounded:
            work.add(f"{name}.rounded", (R, row_of(kind, width)), np.uint16)
    products = ((E, H), (H, 3 * H), (H, H), (H, I), (I, H))
    work.add("sums", (max(split_sums(R, width, K, kind) for K, width in products),))
    if not shape.fused and not shape.attentions:
        work.add("scores", (1 if shape.skip_padding else B, N, shape.longest, shape.longest))
    outputs.add("hidden", (B, T, H))
    if shape.hidden_states:
        for i in range(config.num_hidden_layers):
            outputs.add(f"hidden_states.{i}", (B, T, H))  # the last is `hidden`
    if shape.attentions:
        for i in range(config.num_hidden_layers * config.inner_group_num):
            outputs.add(f"attentions.{i}", (B, N, T, T))


class Forward:
    """Writes down every step from ids to hidden states, as backends/cpu/engine.py does. Arrays are known by their names."""

    def __init__(
        self, program: Program, ops: CudaOps, config: AlbertConfig, shape: Shape, buffers: dict[str, Buffer]
    ) -> None:
        self.program, self.ops, self.config, self.shape, self.at = program, ops, config, shape, buffers
        self.x = self.place(0)  # where the state lies that the next layer takes

    def write(self, w: Weights) -> None:
        config = self.config
        L, G = config.num_hidden_layers, config.num_hidden_groups
        self.embeddings(w)
        self.keep(0)
        application = 0
        for i in range(L):
            for layer in w.encoder.albert_layer_groups[group_of_layer(i, L, G)].albert_layers:
                self.layer(layer, application, self.place(i + 1))
                application += 1
            self.keep(i + 1)

    def embeddings(self, w: Weights) -> None:  # -> (R,H)
        """LayerNorm(word + token type + position), and the projection."""
        self.embed(w.embeddings)
        self.tap("embeddings.LayerNorm", "embedded", self.config.embedding_size)
        self.round("embedded")
        self.linear("embedded", (w.encoder.embedding_hidden_mapping_in,), self.x)
        self.tap("encoder.embedding_hidden_mapping_in", self.x, self.config.hidden_size)
        self.round(self.x)

    def layer(self, w: Weights, application: int, out: str) -> None:  # (R,H) -> (R,H)
        config, H, a = self.config, self.config.hidden_size, w.attention
        at = step(application, "attention")
        self.linear(self.x, (a.query, a.key, a.value), "qkv")
        for i, part in enumerate(("query", "key", "value")):
            self.tap(f"{at}.{part}", "qkv", H, i * H)
        self.attention(a, application)
        self.tap(f"{at}.context", "context", H)
        self.round("context")
        self.linear("context", (a.dense,), "y", residual=self.x)
        self.tap(f"{at}.sum", "y", H)
        self.layer_norm("y", a.LayerNorm, "attended")
        self.tap(f"{at}.LayerNorm", "attended", H)
        self.linear("attended", (w.ffn,), "wide", activation=canonical(config.hidden_act))
        self.tap(step(application, "activation"), "wide", config.intermediate_size)
        self.linear("wide", (w.ffn_output,), "y", residual="attended")
        self.tap(step(application, "sum"), "y", H)
        self.layer_norm("y", w.full_layer_layer_norm, out)
        self.tap(step(application, "full_layer_layer_norm"), out, H)
        self.x = out

    def embed(self, w: Weights) -> None:  # (R,) -> (R,E)
        """Word, token type and position, added and normalised: one kernel."""
        ops, at, config, E, R = self.ops, self.at, self.config, self.config.embedding_size, self.shape.rows
        absolute = config.position_embedding_type == "absolute"
        words = at["embeds"] if self.shape.embeds else ops.resident(w.word_embeddings.weight)
        self.program.add(
            embed(E, not self.shape.embeds, absolute),
            (ceil_div(R, lanes_of(E).rows_a_block),),
            at.get("ids"),
            words,
            at["token_types"],
            ops.resident(w.token_type_embeddings.weight),
            at["positions"],
            ops.resident(w.position_embeddings.weight) if absolute else None,
            ops.resident(w.LayerNorm.weight),
            ops.resident(w.LayerNorm.bias),
            at["embedded"],
            R,
            float(config.layer_norm_eps),
        )

    def linear(  # (R,K) -> (R,N)
        self, x: str, layers: tuple[Weights, ...], out: str, *, activation: str = "none", residual: str | None = None
    ) -> None:
        operand = self.operand(x)
        add_linear(
            self.program,
            operand,
            operand.shape[-1],
            self.ops.linear_of(tuple(one.weight for one in layers), tuple(one.bias for one in layers)),
            self.result(out),
            self.shape.rows,
            activation=activation,
            residual=None if residual is None else self.at[residual],
            sums=self.at["sums"],
        )

    def layer_norm(self, x: str, w: Weights, out: str) -> None:  # (R,H) -> (R,H)
        weight, bias = self.ops.resident(w.weight), self.ops.resident(w.bias)
        eps = float(self.config.layer_norm_eps)
        rounded = self.operand(out) if self.operand(out) is not self.at[out] else None
        add_layer_norm(self.program, self.at[x], weight, bias, self.at[out], self.shape.rows, eps, rounded)

    def attention(self, w: Weights, application: int) -> None:  # (R,3H) -> (R,H)
        config, shape, at, H = self.config, self.shape, self.at, self.config.hidden_size
        N, qkv, context = config.num_attention_heads, self.result("qkv"), self.result("context")
        heads = Heads(
            q=qkv,
            k=qkv.behind(H),
            v=qkv.behind(2 * H),
            row=3 * H,
            N=N,
            D=H // N,
            B=shape.B,
            starts=at["starts"],
            longest=shape.longest,
            mask=shape.mask if shape.fused or shape.mask != "none" else "keys",
            allowed=at.get("allowed"),
            mode=shape.mode,
            factors=at["head_mask"].behind(application * N) if shape.factors else None,
        )
        if shape.fused:
            add_attention(self.program, heads, context, H, shape.T)
            return
        related = None
        if config.position_embedding_type != "absolute":
            related = Related(
                table=self.ops.resident(w.distance_embedding.weight),
                columns=at["columns"],
                both=config.position_embedding_type == "relative_key_query",
            )
        scores = at[f"attentions.{application}"] if shape.attentions else at["scores"]
        if not shape.skip_padding:
            add_scores(self.program, heads, shape.T, scores, scores, context, H, related)
            return
        first = 0
        for length in shape.lengths:  # one sequence after the other: each has another length
            one = replace(
                heads,
                q=heads.q.behind(first * heads.row),
                k=heads.k.behind(first * heads.row),
                v=heads.v.behind(first * heads.row),
                B=1,
                longest=length,
            )
            its = None if related is None else replace(related, columns=related.columns.behind(first))
            add_scores(self.program, one, length, scores, scores, context.behind(first * H), H, its)
            first += length

    def tap(self, name: str, x: str, columns: int, first: int = 0) -> None:
        """Marks the columns of an array as that step of a trace: they are read only when a trace is wanted."""
        if not self.shape.skip_padding:
            self.program.tap(name, x if x in self.at else f"{x}.rounded", columns, first)

    # --- where states lie ------------------------------------------------------------------------------------------------

    def output(self, i: int) -> str:
        """The array that keeps the state after i layers; "x" where none does."""
        if i == self.config.num_hidden_layers:
            return "hidden"
        return f"hidden_states.{i}" if self.shape.hidden_states else "x"

    def place(self, i: int) -> str:
        """Where that state is computed: in its output, if no row is missing there."""
        return "x" if self.shape.skip_padding else self.output(i)

    def keep(self, i: int) -> None:
        """Spreads that state to its output, among zeros, where padding was skipped; else it lies there already."""
        out = self.output(i)
        if self.place(i) != out:
            rows, H = self.shape.B * self.shape.T, self.config.hidden_size
            grid = (ceil_div(rows * H, COPIED),)
            self.program.add(spread_rows, grid, self.at["x"], self.at["source"], self.at[out], rows, H)

    # --- what is rounded ---------------------------------------------------------------------------------------------------

    def operand(self, x: str) -> Buffer:
        """What products read of an array: in bfloat16 a copy, one for whatever array the state lies in."""
        copies = (f"{x}.rounded", "x.rounded", x)
        return next(self.at[name] for name in copies if name in self.at)

    def result(self, x: str) -> Buffer:
        """Where an array is computed."""
        return self.at[x] if x in self.at else self.at[f"{x}.rounded"]

    def round(self, x: str) -> None:
        """For products, where what computed it has not done so already."""
        if self.operand(x) is not self.result(x):
            columns = self.at[x].shape[-1]
            add_rounding(self.program, self.at[x], columns, self.operand(x), self.shape.rows, columns)
