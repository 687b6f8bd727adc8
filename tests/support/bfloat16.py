"""bfloat16 on the CPU's kernels beside kernels/cpu/bfloat16/emulation.py. Also run by children, for other registers."""

from __future__ import annotations

import functools
import hashlib
from typing import Any

import numpy as np

from albert_np import AlbertConfig, AlbertModel
from albert_np.backends.cpu.ops import CpuOps
from albert_np.embeddings import embeddings
from albert_np.encoder import applications
from albert_np.golden.cases import trained_like
from albert_np.inputs import prepare
from albert_np.kernels.cpu import operands, units
from albert_np.kernels.cpu.arena import Buffers
from albert_np.kernels.cpu.bfloat16 import emulation
from albert_np.kernels.cpu.bfloat16.steps import add_gemm16, operand_rows, pack16, values_of
from albert_np.kernels.cpu.layout import ROWS_A_TILE
from albert_np.kernels.cpu.names import FUNCTION_CODES
from albert_np.kernels.cpu.program import Program
from albert_np.run import Run
from support.same_bits import ROWS, SMALL, call

# --- products -------------------------------------------------------------------------------------------------------------


def bits(x):  # (...) float32 -> (...) uint32
    """What the numbers are, to the sign of a zero; one NaN is like another."""
    return np.where(np.isnan(x), np.uint32(0x7FC00000), np.ascontiguousarray(x).view(np.uint32))


def assert_same_bits(actual, expected, name=""):
    assert actual.dtype == expected.dtype == np.float32
    assert actual.shape == expected.shape
    wrong = np.argwhere(bits(actual) != bits(expected))
    if len(wrong):
        place = tuple(wrong[0].tolist())
        got, wanted = (float(x[place]).hex() for x in (actual, expected))
        raise AssertionError(f"{name}{place}: got {got}, expected {wanted}; {len(wrong)} of {actual.size} differ")


def operand(x, buffers=None):  # (M,K) float32 -> (M,stride) operand
    """Rows for a product to read: the numbers rounded, in the order of this process's unit."""
    M, K = x.shape
    rows = operand_rows(buffers or Buffers(), "a", M, K)
    narrow = emulation.round_to_bfloat16(x)
    if rows.dtype == np.float32:
        rows[:, :K] = narrow
        return rows
    wide = -(-K // 4) * 4
    halves = np.zeros((M, wide), np.uint16)
    halves[:, :K] = narrow.view(np.uint32) >> 16
    order = (2, 0, 3, 1) if units.bfloat16()[0] == "pairs" else (0, 1, 2, 3)
    rows[:, :wide] = halves.reshape(M, -1, 4)[:, :, order].reshape(M, wide)
    return rows


def product(a, b):  # (M,K), (K,N) -> (M,N)
    """The kernel's a·b, with the signs of its zeros: the bias is −0, which changes none."""
    (M, _), N = a.shape, b.shape[1]
    out = operands.rows_of(M + 1, operands.padded(N) + 16)
    out[:] = 7
    program = Program("bfloat16")
    bias = operands.padded_vector(np.full(N, -0.0, np.float32))
    add_gemm16(program, Buffers(), operand(a), pack16(b.T), M, bias=bias, out=out)
    program.run()
    assert np.all(out[M] == 7)
    assert np.all(out[:, operands.padded(N) :][:, :16] == 7)
    return out[:M, :N].copy()


def rounded(x):  # (C,) float32 -> (C,)
    """What the kernels make of 0 + x when they write an operand."""
    program, buffers, zero = Program("bfloat16"), Buffers(), np.zeros((1, 1), np.float32)
    narrow = operand_rows(buffers, "narrow", 1, len(x))
    bias = operands.padded_vector(x)
    add_gemm16(
        program, buffers, operand(zero, buffers), pack16(np.zeros((len(x), 1), np.float32)), 1, bias=bias, narrow=narrow
    )
    program.run()
    return values_of(narrow, len(x))[0]


SPECIAL = np.array(
    [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 2.0**-126, -(2.0**-126), 3.3e38, -3.3e38, 1.0], np.float32
)


def _normal(random, shape, low=0, high=1):
    return (random.standard_normal(shape) * 2.0 ** random.integers(low, high, shape)).astype(np.float32)


def _special(random, shape):
    x = _normal(random, shape)
    places = random.random(shape) < 0.02
    x[places] = random.choice(SPECIAL, np.count_nonzero(places))
    return x


def _around_tiny(random, shape):
    """Numbers of few bits, whose products and sums lie around 2⁻¹²⁶, and half way between neighbours there."""
    powers = random.choice([-1, -12, -23, -24, -25, -26, -50, -63, -64, -74, -75, -76, -100, -125, -126], shape)
    sizes = (1 + random.integers(0, 4, shape) / 4) * 2.0**powers
    return (sizes * random.choice([-1, 1], shape)).astype(np.float32)


# what operands may be -> how they are drawn
KINDS = {
    "normal": _normal,
    "wide": functools.partial(_normal, low=-60, high=60),
    "sums around 2^-126": functools.partial(_normal, low=-70, high=-58),
    "products of all sizes below 1": functools.partial(_normal, low=-140, high=-10),
    "sums beyond float32 and back": functools.partial(_normal, low=50, high=70),
    "all patterns of bits": lambda random, shape: (
        random.integers(0, 1 << 32, shape, np.uint64).astype(np.uint32).view(np.float32)
    ),
    "infinity, NaN, zeros and subnormals": _special,
    "ties around 2^-126": _around_tiny,
}


def check_products(count=20, seed=0):
    """Products at many edges, each kind of operand `count` times: the kernel's bits are the emulation's. -> how many numbers"""
    random, numbers = np.random.default_rng(seed), 0
    for kind, drawn in KINDS.items():
        for _ in range(count):
            M, K, N = random.integers(1, 71, 3).tolist()
            with np.errstate(all="ignore"):
                a, b = drawn(random, (M, K)), drawn(random, (K, N))
                expected = emulation.product(a, b)
            assert_same_bits(product(a, b), expected, f"{kind} {M}×{K}×{N} ")
            numbers += M * N
    return numbers


# --- models ---------------------------------------------------------------------------------------------------------------


class Functions(CpuOps):
    """The float32 kernels, for what is not a product."""

    def exp(self, x):  # (R,C) -> (R,C)
        rows, program = np.ascontiguousarray(x, np.float32), Program()
        out, which = np.empty_like(rows), FUNCTION_CODES["exp"]
        tiles, columns = -(-len(rows) // ROWS_A_TILE), rows.shape[1]
        program.add(
            "activate",
            tiles,
            x=rows,
            x_row=columns,
            out=out,
            out_row=columns,
            rows=len(rows),
            columns=columns,
            which=which,
        )
        program.run()
        return out


FLOAT32 = Functions()
GIVEN = ("input_ids", "attention_mask", "token_type_ids", "position_ids", "head_mask", "inputs_embeds")


def emulated(model: Any, mask_mode: str = "uniform", **call: Any) -> tuple[list[Any], list[Any]]:
    """(B,T,H) of the projection and behind each application, and (B,N,T,T) of each: sequence by sequence."""
    config, w = model.config, model._weights
    given = dict.fromkeys(GIVEN) | {"head_mask_mode": "shared"} | call
    batch = prepare(config, np.dtype(np.float32), **given)
    run = Run(FLOAT32, config)
    x = embeddings(run, w.embeddings, batch.input_ids, batch.inputs_embeds, batch.token_type_ids, batch.position_ids)
    groups = w.encoder.albert_layer_groups
    layers = [groups[group].albert_layers[inner] for _, group, inner in applications(config)]
    projection = w.encoder.embedding_hidden_mapping_in
    x = FLOAT32.linear(x, projection.weight, projection.bias)
    found = [
        emulation.encoder(FLOAT32, config, layers, x[b], batch.mask[b], batch.head_mask, mask_mode)
        for b in range(len(x))
    ]
    states, attentions = zip(*found, strict=True)
    return [np.stack(x) for x in zip(*states, strict=True)], [np.stack(x) for x in zip(*attentions, strict=True)]


def check_model(model, **given):
    """All hidden states and attentions of a model have the bits of the emulation."""
    mask_mode = given.pop("mask_mode", "uniform")
    given = given or call(ROWS, 3)
    out = model(**given, output_hidden_states=True, output_attentions=True, mask_mode=mask_mode)
    states, attentions = emulated(model, mask_mode, **given)
    for i, (actual, expected) in enumerate(zip(out.attentions, attentions, strict=True)):
        assert_same_bits(actual, expected, f"attention {i} ")
    behind_layers = [states[0], *states[model.config.inner_group_num :: model.config.inner_group_num]]
    for i, (actual, expected) in enumerate(zip(out.hidden_states, behind_layers, strict=True)):
        assert_same_bits(actual, expected, f"states {i} ")


def made(seed=1, **changes):
    """A small model whose config has these changes."""
    config = AlbertConfig(**SMALL | changes)
    tensors = {name: x.astype(np.float32) for name, x in trained_like(config, ("pooler",), seed).items()}
    return AlbertModel(config, backend="numba", dtype="bfloat16", tensors=tensors)


@functools.cache
def models():
    """Two that differ in much."""
    return made(), made(hidden_size=66, num_attention_heads=2, position_embedding_type="relative_key_query")


def digests():
    """The SHA-256 of what they answer, for other units to give too. The pooler, which is float32, is left out."""
    found = []
    for model in models():
        out = model(**call(ROWS, 3), output_hidden_states=True, output_attentions=True)
        digest = hashlib.sha256()
        for x in (*out.hidden_states, *out.attentions):
            digest.update(np.ascontiguousarray(x).tobytes())
        found.append(digest.hexdigest())
    return found
