"""Products on AMX's tiles with the tile instructions emulated: blocks alone, and whole models.

test_cpu_tiles_compiled.py has the instructions themselves, test_cpu_tiles_permission.py whether a process may use them.
"""

import ctypes
import json

import numpy as np
import pytest
from support import needs
from support.same_bits import python

needs.module("numba", "numba")

from llvmlite import binding, ir  # noqa: E402

from albert_np.kernels.cpu import build, simd, tile_blocks, tile_emulation, tiles  # noqa: E402
from albert_np.kernels.cpu.bfloat16 import emulation  # noqa: E402

unchecked = pytest.mark.skipif(
    simd.is_checked(), reason="these operands belong to no program, so a checked build has none"
)
INTEGER = ctypes.c_int64


# --- blocks alone ---------------------------------------------------------------------------------------------------------


class Machine:
    """Blocks of both kinds, and an emulated core whose tiles can be looked at."""

    def __init__(self):
        linked = binding.parse_assembly(str(ir.Module("linked")))
        for kind in tile_blocks.INSTRUCTIONS:
            linked.link_in(binding.parse_assembly(str(tile_blocks.blocks(kind, kind))))
        for function in tile_emulation.ENTRIES:
            linked.link_in(binding.parse_assembly(build._llvm(function)[0]))
        machine = binding.Target.from_default_triple().create_target_machine(jit=True)
        self.engine = binding.create_mcjit_compiler(linked, machine)
        self.engine.finalize_object()
        place = self.engine.get_global_value_address("albert_np_tiles")
        self.state = np.ctypeslib.as_array((ctypes.c_uint8 * tile_emulation.SIZE).from_address(place))

    def call(self, name, *arguments):
        function = ctypes.CFUNCTYPE(None, *[INTEGER] * len(arguments))(self.engine.get_function_address(name))
        function(*arguments)

    @property
    def is_misused(self):
        return bool(self.state[tile_emulation.MISUSED])

    def product(self, kind, a, b, c, rows, steps, add, *, a_row=None, shape=None):
        """C = or += A·B in place. a (rows, 64·steps) bytes, b (strips, steps, 1 KB) bytes, c (rows, 16·strips)."""
        self.call(f"{kind}_shape", rows if shape is None else shape)
        self.call(kind, *self.block(a, b, c, steps, add, a_row))
        self.call(f"{kind}_release")

    @staticmethod
    def block(a, b, c, steps, add, a_row=None):
        place = [x.ctypes.data for x in (a, b, c)]
        a_row = a.strides[0] if a_row is None else a_row
        return (b.shape[0], place[0], a_row, place[1], b.strides[0], place[2], c.strides[0], steps, int(add), 0, 0)


@pytest.fixture(scope="module")
def emulated():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALBERT_NP_TILES", "emulated")
        return Machine()


@pytest.fixture
def machine(emulated):
    emulated.state[:] = 0
    return emulated


def strips_of(b, words):
    """(K,N) -> (strips, steps, 1 KB) bytes: in each tile a row for `words` of k, and a word for each of 16 columns."""
    K, N = b.shape
    shaped = b.reshape(K // (16 * words), 16, words, N // 16, 16).transpose(3, 0, 1, 4, 2)
    return np.ascontiguousarray(shaped).view(np.uint8).reshape(N // 16, K // (16 * words), 1024)


def bits(x):
    """bfloat16 values -> uint16"""
    return (np.ascontiguousarray(x, np.float32).view(np.uint32) >> 16).astype(np.uint16)


def drawn(rng, shape, kind):
    """float32 numbers that are bfloat16, so many of a kind as make sums that overflow, or become subnormal, or are neither."""
    if kind == "any bits":
        return (rng.integers(0, 2**16, shape).astype(np.uint32) << 16).view(np.float32)
    low, high = {"normal": (-2, 2), "wide": (-40, 40), "tiny": (-70, -58), "huge": (58, 66)}[kind]
    x = np.ldexp(rng.standard_normal(shape), rng.integers(low, high, shape)).astype(np.float32)
    return emulation.round_to_bfloat16(x)


@unchecked
@pytest.mark.parametrize("kind", ["normal", "wide", "tiny", "huge", "any bits"])
def test_emulated_bfloat16_tiles_compute_what_amx_is_said_to(machine, kind):
    rng = np.random.default_rng(7)
    for rows in range(1, 17):
        strips, steps, add = 1 + rows % 2, 1 + rows % 3, rows % 4 < 2
        a, b = drawn(rng, (rows, 32 * steps), kind), drawn(rng, (32 * steps, 16 * strips), kind)
        before = drawn(rng, (rows, 16 * strips), "wide" if kind == "any bits" else kind) ** (2 if kind == "tiny" else 1)
        c = before.copy()
        machine.product("bf16", bits(a).view(np.uint8), strips_of(bits(b), 2), c, rows, steps, add)
        expected = before if add else np.zeros_like(before)
        for k in range(0, 32 * steps, 32):
            expected = emulation.add(
                np.where(np.abs(expected) < 2.0**-126, np.copysign(np.float32(0), expected), expected),
                emulation.product(a[:, k : k + 32], b[k : k + 32]),
            )
        assert np.array_equal(np.isnan(c), np.isnan(expected))
        assert np.array_equal(c.view(np.uint32)[~np.isnan(c)], expected.view(np.uint32)[~np.isnan(c)])
    assert not machine.is_misused
    assert not machine.state.any()  # released


@unchecked
def test_emulated_int8_tiles_are_exact(machine):
    rng = np.random.default_rng(8)
    for rows in (1, 7, 16):
        for strips, steps, add in ((1, 1, False), (2, 3, True), (2, 1, False)):
            a = rng.integers(0, 256, (rows, 64 * steps), np.uint8)
            b = rng.integers(-128, 128, (64 * steps, 16 * strips), np.int8)
            before = rng.integers(-(2**20), 2**20, (rows, 16 * strips), np.int32)
            c = before.copy()
            machine.product("u8s8", a, strips_of(b, 4), c, rows, steps, add)
            assert np.array_equal(c, a.astype(np.int32) @ b.astype(np.int32) + (before if add else 0))
    assert not machine.is_misused


def small(rows=5, steps=2):
    rng = np.random.default_rng(9)
    a, b = rng.standard_normal((rows, 32 * steps)), rng.standard_normal((32 * steps, 32))
    a, b = emulation.round_to_bfloat16(a), emulation.round_to_bfloat16(b)
    return bits(a).view(np.uint8), strips_of(bits(b), 2), np.zeros((rows, 32), np.float32), emulation.product(a, b)


@unchecked
def test_rows_that_are_not_there_are_neither_read_nor_written(machine):
    a, b, _, expected = small()
    around = np.full((16, 128), 0xFF, np.uint8)  # NaN, and far from what a has
    around[:5] = a
    c = np.full((16, 32), 7, np.float32)
    machine.product("bf16", around, b, c, 5, 2, False)
    assert np.array_equal(c[:5], expected)
    assert (c[5:] == 7).all()
    # what a forgotten configuration of the last rows would do is seen
    machine.product("bf16", around, b, c, 5, 2, False, shape=16)
    assert np.isnan(c[5:]).all()


@unchecked
def test_a_wrong_stride_changes_bits(machine):
    a, b, c, expected = small()
    machine.product("bf16", a, b, c, 5, 2, False)
    assert np.array_equal(c, expected)
    machine.product("bf16", a, b, c, 5, 2, False, a_row=64)
    assert not np.array_equal(c, expected)
    machine.product("bf16", a, b[:, ::-1].copy(), c, 5, 2, False)
    assert not np.array_equal(c, expected)


@unchecked
def test_tiles_without_a_configuration_give_nan_for_ever(machine):
    a, b, c, _ = small()
    machine.call("bf16", *machine.block(a, b, c, 2, False))
    assert machine.is_misused
    assert np.isnan(c[0, :16]).all()
    assert np.isnan(c[0, 16:]).all()
    machine.product("bf16", a, b, c, 5, 2, False)
    assert np.isnan(c).all()


@unchecked
def test_tiles_that_were_released_are_not_configured(machine):
    a, b, c, expected = small()
    machine.product("bf16", a, b, c, 5, 2, False)
    assert np.array_equal(c, expected)
    machine.call("bf16", *machine.block(a, b, c, 2, False))
    assert machine.is_misused


@unchecked
@pytest.mark.parametrize(
    ("byte", "value"),
    [(0, 0), (0, 2), (1, 1), (2, 1), (16 + 2 * 6, 60), (48 + 6, 4), (48 + 7, 5), (48, 17), (48, 0), (17, 1)],
)
def test_a_configuration_that_does_not_fit_gives_nan(machine, byte, value):
    """Of palettes that are not 1; of rows or bytes of A, B or the sums that do not belong together; of too many."""
    a, b, _, _ = small(rows=16)
    configuration = np.array(tile_blocks._configuration(5), np.uint8)
    configuration[byte] = value
    machine.call("albert_np_ldtilecfg", configuration.ctypes.data)
    c = np.ones((16, 32), np.float32)  # room for what is wrong
    machine.call("bf16", *machine.block(a, b, c, 2, False))
    assert machine.is_misused
    assert np.isnan(c[0]).all()


# --- whole models and products, in a process of its own -------------------------------------------------------------------

BITS = """
from support.same_bits import *
from albert_np.kernels.cpu import operands, units
from albert_np.kernels.cpu.arena import Buffers
from albert_np.kernels.cpu.bfloat16 import steps
from albert_np.kernels.cpu.program import Program
from albert_np.kernels.cpu.steps import add_layer_norm

found = {}

def note(name, *arrays):
    assert not any(np.isnan(x).any() for x in arrays), name
    found[name] = hashlib.sha256(b"".join(np.ascontiguousarray(x).tobytes() for x in arrays)).hexdigest()

rng = np.random.default_rng(0)
for M, K, N in ((1, 1, 1), (2, 33, 17), (15, 31, 16), (16, 64, 32), (17, 70, 33), (31, 400, 15), (33, 800, 40), (47, 32, 48),
                (49, 768, 33), (130, 100, 96), (257, 96, 64), (300, 1056, 16)):
    x, w = rng.standard_normal((M, K), np.float32), rng.standard_normal((N, K), np.float32)
    buffers, program = Buffers(), Program("bfloat16")
    one, zero = np.ones(K, np.float32), np.zeros(K, np.float32)
    a, out = steps.operand_rows(buffers, "a", M, K), operands.rows_of(M, N)
    wide = operands.rows_of(M, K)
    wide[:, :K] = x
    add_layer_norm(program, wide, one, zero, 1e-12, operands.rows_of(M, K), M, a)
    narrow, bias = steps.operand_rows(buffers, "narrow", M, N), operands.padded_vector(rng.standard_normal(N, np.float32))
    steps.add_gemm16(program, buffers, a, steps.pack16(w), M, bias=bias, out=out, narrow=narrow)
    program.run()
    note(f"{M} x {K} x {N}", out[:, :N], steps.values_of(narrow, N))

def model16(name, **more):
    config = AlbertConfig(**SMALL | CONFIGS[name] | more)
    tensors = trained_like(config, PARTS["AlbertModel"], 1)
    return AlbertModel(config, backend="numba", dtype="bfloat16", tensors=tensors)

for name in CONFIGS:
    of = model16(name)
    note(name, *(of(**call(ROWS, 2), skip_padding=skip).last_hidden_state[0, :41] for skip in (False, True)))
    note(f"{name}, one row", of(ROWS[0][None, :1]).pooler_output)
of = model16("heads of 16", position_embedding_type="relative_key")
note("relative keys", of(**call(ROWS)).last_hidden_state)
of = model16("heads of 20")
mask = rng.integers(0, 2, (3, 70, 70)) | np.eye(70, dtype=int)
note("a mask a query", of(call(ROWS)["input_ids"], mask).last_hidden_state)
note("nothing to see", of(call(ROWS)["input_ids"], np.zeros((3, 70), int)).last_hidden_state)
demo = AlbertModel.from_pretrained("demo", backend="numba", dtype="bfloat16")
ids = rng.integers(5, demo.config.vocab_size, (2, 37))
note("demo", demo(ids).last_hidden_state)
print("/".join(units.bfloat16()), json.dumps(found))
"""


def answers(**settings):
    unit, found = python("import json\n" + BITS, timeout=560, **settings)[0].split(" ", 1)
    return unit, json.loads(found)


@pytest.fixture(scope="module")
def expected():
    """What the best unit without tiles gives here."""
    rung = next(rung for rung in simd.available() if rung != "amx")
    unit, found = answers(ALBERT_NP_SIMD=rung, ALBERT_NP_TILES="")
    assert unit.partition("/")[0] in ("pairs", "floats")
    return found


def test_products_and_models_on_emulated_tiles_have_the_bits_of_the_other_units(expected):
    assert answers(ALBERT_NP_SIMD="amx", ALBERT_NP_TILES="emulated") == ("tiles/amx", expected)


@pytest.mark.skipif(bool(tiles.why_not()), reason=f"no AMX tiles here: {tiles.why_not()}")
def test_products_and_models_on_tiles_have_the_bits_of_the_other_units(expected):
    assert answers(ALBERT_NP_SIMD="amx", ALBERT_NP_TILES="") == ("tiles/amx", expected)
