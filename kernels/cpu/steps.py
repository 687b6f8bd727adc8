"""One function a kernel, which writes a step down: what an engine's program is made of, beside operands.add_gemm and add_pack.

Arrays are float32 with columns side by side, and rows any distance apart, unless it says otherwise. Rows are those of
kernels/cpu: of all sequences, end to end. Which kernels need a program of training: those with `backward` in their name,
add_column_sums and add_dropout.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from albert_np.kernels.cpu import operands
from albert_np.kernels.cpu.arena import Buffers
from albert_np.kernels.cpu.layout import (
    COLUMNS_A_TILE,
    ROWS_A_TILE,
    SUMMED,
    attention_scratch,
    backward_scratch,
    padded,
)
from albert_np.kernels.cpu.operands import Array, Distances, Packed, Sequences, row_of
from albert_np.kernels.cpu.program import Program


def tiles_of(rows: int) -> int:
    return -(-rows // ROWS_A_TILE)


# --- rows -----------------------------------------------------------------------------------------------------------------


def add_embeddings(  # (R,) int64, (V,E), (R,) int64, (2,E), (R,) int64, (P,E), (E,), (E,) -> (R,E)
    program: Program,
    ids: Array | None,
    words: Array,
    token_types: Array,
    types: Array,
    position_ids: Array,
    positions: Array | None,
    weight: Array,
    bias: Array,
    eps: float,
    out: Array,
) -> None:
    """LayerNorm(words[ids] + types[token_types] + positions[position_ids]). All but out are contiguous.

    ids None: words is (R,E), the embeddings themselves. positions None: nothing is added for the position.
    """
    rows, E = len(token_types), words.shape[1]
    program.add(
        "embed",
        tiles_of(rows),
        ids=ids,
        words=words,
        token_types=token_types,
        types=types,
        position_ids=position_ids,
        positions=positions,
        weight=weight,
        bias=bias,
        out=out,
        out_row=row_of(out),
        rows=rows,
        E=E,
        eps=float(eps),
    )


def add_layer_norm(  # (R,H), (H,), (H,) -> (R,H)
    program: Program,
    x: Array,
    weight: Array,
    bias: Array,
    eps: float,
    out: Array,
    rows: int,
    narrow: Array | None = None,
) -> None:
    """narrow (R,H) operand: where it is rounded for the next product too, in a program of bfloat16."""
    rounded: dict[str, Any] = {} if narrow is None else {"narrow": narrow, "narrow_stride": row_of(narrow)}
    program.add(
        "layer_norm" if narrow is None else "layer_norm16",
        tiles_of(rows),
        x=x,
        x_row=row_of(x),
        weight=np.ascontiguousarray(weight),
        bias=np.ascontiguousarray(bias),
        out=out,
        out_row=row_of(out),
        rows=rows,
        H=len(weight),
        eps=float(eps),
        **rounded,
    )


def add_layer_norm_backward(  # (R,H), (R,H), (H,) -> (R,H), (2·padded H,)
    program: Program,
    buffers: Buffers,
    dy: Array,
    x: Array,
    weight: Array,
    eps: float,
    dx: Array,
    d_both: Array,
    rows: int,
    add: bool = False,
) -> None:
    """x is what the LayerNorm was given; dx may be dy.

    d_both: the gradients with respect to weight and bias side by side, the second from padded(H) on; or, with add, what they
    are added to.
    """
    H, tiles = len(weight), -(-rows // SUMMED)
    both = 2 * padded(H)
    sums = buffers.numbers("layer norm sums", tiles * both).reshape(tiles, both)
    program.add(
        "layer_norm_backward",
        tiles,
        dy=dy,
        dy_row=row_of(dy),
        x=x,
        x_row=row_of(x),
        weight=np.ascontiguousarray(weight),
        dx=dx,
        dx_row=row_of(dx),
        sums=sums,
        sums_row=both,
        rows=rows,
        H=H,
        eps=float(eps),
    )
    add_column_sums(program, sums, both, d_both, add=add)


def add_column_sums(  # (R,C) -> (C,)
    program: Program, x: Array, columns: int, out: Array, *, add: bool = False
) -> None:
    """out = Σ over the rows of x, or += with add. All rows of x are summed."""
    program.add(
        "column_sums",
        -(-columns // COLUMNS_A_TILE),
        x=x,
        x_row=row_of(x),
        rows=len(x),
        columns=columns,
        out=out,
        add=int(add),
    )


def add_activation(
    program: Program, x: Array, out: Array, rows: int, columns: int, code: int
) -> None:  # (R,C) -> (R,C)
    """out = f(x), f by its code in names.py. out may be x."""
    program.add(
        "activate",
        tiles_of(rows),
        x=x,
        x_row=row_of(x),
        out=out,
        out_row=row_of(out),
        rows=rows,
        columns=columns,
        which=code,
    )


def add_copy_rows(  # (R,H) -> (R,H)
    program: Program, x: Array, out: Array, rows: int, H: int, places: Array | None = None
) -> None:
    """places (R,) int64: which row of out each one goes to; None is its own place."""
    program.add(
        "copy_rows", tiles_of(rows), x=x, x_row=row_of(x), places=places, out=out, out_row=row_of(out), rows=rows, H=H
    )


def add_dropout(  # (R,C), (R,C), (R,C) -> (R,C)
    program: Program, x: Array, factors: Array, out: Array, rows: int, columns: int, residual: Array | None = None
) -> None:
    """out = x·factors + residual. The way back is the same with dy for x, and no residual. out may be x or the residual."""
    program.add(
        "drop",
        tiles_of(rows),
        x=x,
        x_row=row_of(x),
        factors=factors,
        factors_row=row_of(factors),
        residual=residual,
        residual_row=0 if residual is None else row_of(residual),
        out=out,
        out_row=row_of(out),
        rows=rows,
        columns=columns,
    )


# --- attention ------------------------------------------------------------------------------------------------------------


def add_attention(  # 3 × (R,H) of one row stride -> (R,H)
    program: Program,
    buffers: Buffers,
    qkv: tuple[Array, Array, Array],
    context: Array,
    who: Sequences,
    N: int,
    T: int,
    *,
    D: int,
    mode: int = 0,
    head_mask: Array | None = None,
    dropout: Array | None = None,
    scores: Array | None = None,
    probs: Array | None = None,
    distances: Any = None,
    columns: Array | None = None,
    span: int | None = None,
    kernel: str = "attention",
    size_of: Callable[..., Any] = attention_scratch,
) -> None:
    """Attention of every sequence and head as one step.

    mode: the code of a mask mode, which is its place in ops.MASK_MODES.
    head_mask (N,), contiguous. dropout (B,N,T,T), contiguous: factors of the probabilities; query and key are counted in the
    rows of their sequence, so where padding is left out they stand in the upper left corner. scores, probs (B,N,T,T): where
    they are kept, counted likewise; what no key may be seen by is not written.
    columns (R,) and span: other places than `who` has, for relative positions, and how far apart they may be, plus one.
    kernel, size_of: another kernel with these operands, and what its scratch is.
    """
    relative = {} if distances is None else distances.operands(span or T)
    tasks = operands.attention_tasks(who.lengths, N, program.threads)
    size = padded(size_of(who.most_keys, D, relative.get("width", 0)).end)
    program.add(
        kernel,
        len(tasks),
        **_heads(qkv, N, T, D),
        **_sight(who, mode),
        context=context,
        context_row=row_of(context),
        tasks=tasks,
        head_mask=head_mask,
        dropout=dropout,
        scores_out=scores,
        probs_out=probs,
        columns=who.columns if columns is None else columns,
        scratch=buffers.numbers("scratch", size * program.threads),
        scratch_size=size,
        **relative,
    )


def add_attention_backward(  # (R,H), 3 × (R,H) of one row stride -> 3 × (R,H) of one row stride
    program: Program,
    buffers: Buffers,
    d_context: Array,
    qkv: tuple[Array, Array, Array],
    d_qkv: tuple[Array, Array, Array],
    who: Sequences,
    N: int,
    T: int,
    *,
    D: int,
    mode: int = 0,
    head_mask: Array | None = None,
    dropout: Array | None = None,
    distances: Distances | None = None,
    table: Array | None = None,
    d_table: Array | None = None,
    add: bool = False,
    columns: Array | None = None,
    span: int | None = None,
) -> None:
    """The way back of add_attention, with the same operands; probabilities are computed again, with the same bits.

    With distances: table (2P−1,D), from which they were packed; d_table, an array of distance_sums, takes the gradient with
    respect to it, or, with add, it is added to what is there; operands.table_gradient makes (2P−1,D) of it at the end.
    """
    B, deep = len(who.lengths), padded(D)
    relative: dict[str, Any] = {}
    reach = 0
    if distances is not None:
        assert table is not None
        assert d_table is not None
        reach = operands.reach_of(span or T)
        packed = Packed(buffers.numbers("distance rows", reach * deep), reach, D)
        operands.add_pack(program, operands.rows_around(table, reach), packed)
        d_tables = buffers.numbers("distance sums", B * N * reach * deep).reshape(B * N, reach * deep)
        relative = distances.operands(span or T) | {"table": packed.panels, "reach": reach, "d_tables": d_tables}
    size = padded(backward_scratch(who.most_keys, D, relative.get("width", 0), reach).end)
    dq, dk, dv = d_qkv
    program.add(
        "attention_backward",
        B * N,
        **_heads(qkv, N, T, D),
        **_sight(who, mode),
        d_context=d_context,
        context_row=row_of(d_context),
        dq=dq,
        dk=dk,
        dv=dv,
        d_row=row_of(dq),
        lengths=who.lengths,
        head_mask=head_mask,
        dropout=dropout,
        columns=who.columns if columns is None else columns,
        scratch=buffers.numbers("scratch back", size * program.threads),
        scratch_size=size,
        **relative,
    )
    if d_table is not None:
        add_column_sums(program, d_tables, reach * deep, d_table, add=add)


def _heads(qkv: tuple[Array, Array, Array], N: int, T: int, D: int) -> dict[str, Any]:
    q, k, v = qkv
    return {"q": q, "k": k, "v": v, "row": row_of(q), "N": N, "T": T, "D": D, "scale": 1 / math.sqrt(D)}


def _sight(who: Sequences, mode: int) -> dict[str, Any]:
    return {
        "starts": who.starts,
        "keys": who.keys,
        "key_starts": who.key_starts,
        "blanks": who.blanks,
        "pairs": who.pairs,
        "mode": mode,
    }
