"""AMX's tile instructions as functions, for tests on CPUs without tiles: ALBERT_NP_TILES=emulated, in one thread.

They follow the pseudocode of Intel's manual (SDM volume 2: LDTILECFG, TILELOADD, TILESTORED, TILEZERO, TILERELEASE, TDPBF16PS,
TDPBUSD). The configuration is taken at its word: a load of r rows of b bytes reads just those, and the rest of the tile becomes
zero; a store writes just those. What would be an exception on the CPU is noted, and from then on every store writes NaN, so
that no result survives it:

    a configuration of another palette than 1, of more than 16 rows or 64 bytes, or with rows and no bytes
    any use of tiles without a configuration, or after tilerelease
    a multiplication whose shapes do not fit: C and A of other rows, C and B of other bytes, B of other rows than A has words

In a checked build (NUMBA_BOUNDSCHECK=1) the rows that a load reads and a store writes are compared with the operands, as every
other access is.
"""

from __future__ import annotations

from llvmlite import ir
from numba import float32, float64, types
from numba.extending import intrinsic

from albert_np.kernels.cpu.bfloat16.emulation import LEAST
from albert_np.kernels.cpu.vector import F32, I8, I16, I32, I64, element_pointer, helper

# the state: eight tiles of 1 KB, then the configuration as ldtilecfg takes it, then two flags
TILE, ROW, CONFIGURATION = 1024, 64, 8 * 1024
CONFIGURED, MISUSED, SIZE = CONFIGURATION + 64, CONFIGURATION + 65, CONFIGURATION + 66
NAN = 0x7FC00000


@intrinsic
def _state(typing_context):
    """Where the tiles are."""

    def codegen(context, builder, sig, args):
        kind = ir.ArrayType(I8, SIZE)
        name = "albert_np_tiles"
        if name not in builder.module.globals:
            variable = ir.GlobalVariable(builder.module, kind, name)
            variable.linkage, variable.align = "linkonce_odr", 64
            variable.initializer = ir.Constant(kind, None)
        return builder.ptrtoint(builder.module.globals[name], I64)

    return types.int64(), codegen


def _reader(element, result, convert):
    """Reads an element at an address and so many bytes, unchecked: of the state, or where _memory has looked."""

    @intrinsic
    def read(typing_context, x, i):
        def codegen(context, builder, sig, args):
            value = builder.load(builder.inttoptr(builder.add(*args), element.as_pointer()))
            value.align = 1
            return convert(builder, value)

        return result(types.int64, types.int64), codegen

    return read


_byte = _reader(I8, types.int64, lambda builder, x: builder.zext(x, I64))
_signed = _reader(I8, types.int64, lambda builder, x: builder.sext(x, I64))
_word = _reader(I32, types.int64, lambda builder, x: builder.sext(x, I64))
_float = _reader(F32, types.float32, lambda builder, x: x)
_bfloat = _reader(
    I16, types.float32, lambda builder, x: builder.bitcast(builder.shl(builder.zext(x, I32), I32(16)), F32)
)


def _writer(element, kind):
    @intrinsic
    def write(typing_context, x, i, value):
        def codegen(context, builder, sig, args):
            value = args[2] if element == F32 else builder.trunc(args[2], element)
            builder.store(value, builder.inttoptr(builder.add(args[0], args[1]), element.as_pointer())).align = 1
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, kind), codegen

    return write


_put_byte, _put_word, _put_float = _writer(I8, types.int64), _writer(I32, types.int64), _writer(F32, types.float32)


def _memory(writes):
    @intrinsic
    def memory(typing_context, x, i, count):
        """x + i, in a checked build looked up first for `count` bytes."""

        def codegen(context, builder, sig, args):
            x, i, count = args
            return builder.ptrtoint(element_pointer(builder, x, i, I8, count, writes=writes), I64)

        return types.int64(types.int64, types.int64, types.int64), codegen

    return memory


_to_read, _to_write = _memory(False), _memory(True)


@helper
def _rows(t):  # of tile t
    return _byte(_state(), CONFIGURATION + 48 + t)


@helper
def _bytes(t):  # of a row of tile t
    return _byte(_state(), CONFIGURATION + 16 + 2 * t) + 256 * _byte(_state(), CONFIGURATION + 17 + 2 * t)


@helper
def _misuse():
    _put_byte(_state(), MISUSED, 1)


@helper
def _check_configured():
    if _byte(_state(), CONFIGURED) == 0:
        _misuse()


@helper
def _clear(first, count):
    for i in range(first, first + count):
        _put_byte(_state(), i, 0)


def albert_np_ldtilecfg(place):
    _clear(0, MISUSED)
    for i in range(64):
        _put_byte(_state(), CONFIGURATION + i, _byte(place, i))
    if _byte(place, 0) != 1:
        _misuse()
    for i in range(1, 16):
        if _byte(place, i) != 0:
            _misuse()
    for t in range(8):
        if _rows(t) > 16 or _bytes(t) > ROW or (_rows(t) == 0) != (_bytes(t) == 0):
            _misuse()
    _put_byte(_state(), CONFIGURED, 1)


def albert_np_tilerelease():
    _clear(0, MISUSED)


def albert_np_tilezero(t):
    _check_configured()
    _clear(TILE * t, TILE)


def albert_np_tileloadd64(t, place, stride):
    _check_configured()
    _clear(TILE * t, TILE)
    for r in range(_rows(t)):
        row = _to_read(place, r * stride, _bytes(t))
        for i in range(_bytes(t)):
            _put_byte(_state(), TILE * t + ROW * r + i, _byte(row, i))


def albert_np_tilestored64(t, place, stride):
    _check_configured()
    if _byte(_state(), MISUSED) != 0:
        for r in range(min(max(_rows(t), 1), 16)):
            row = _to_write(place, r * stride, ROW)
            for i in range(0, ROW, 4):
                _put_word(row, i, NAN)
        return
    for r in range(_rows(t)):
        row = _to_write(place, r * stride, _bytes(t))
        for i in range(_bytes(t)):
            _put_byte(row, i, _byte(_state(), TILE * t + ROW * r + i))


@helper
def _check_shapes(c, a, b):
    _check_configured()
    fit = _rows(c) == _rows(a) and _bytes(c) == _bytes(b) and _bytes(a) == 4 * _rows(b)
    if not fit or _bytes(c) % 4 != 0 or c in (a, b) or a == b:
        _misuse()


@helper
def _input(x):  # float32 -> float64, subnormal numbers are zeros of their sign
    wide = float64(x)
    return wide * 0.0 if abs(wide) < 2.0**-126 else wide


@helper
def _rounded(x):
    """A sum as float32 has it, subnormal ones zeros. bfloat16/emulation.py says why float64 may round it first."""
    return x * 0.0 if abs(x) < LEAST else float64(float32(x))


def albert_np_tdpbf16ps(c, a, b):
    _check_shapes(c, a, b)
    to, from_a, from_b = _state() + TILE * c, _state() + TILE * a, _state() + TILE * b
    for m in range(_rows(c)):
        for n in range(_bytes(c) // 4):
            even = odd = 0.0
            for k in range(_bytes(a) // 4):
                x, y = ROW * m + 4 * k, ROW * k + 4 * n
                even = _rounded(even + _input(_bfloat(from_a, x)) * _input(_bfloat(from_b, y)))
                odd = _rounded(odd + _input(_bfloat(from_a, x + 2)) * _input(_bfloat(from_b, y + 2)))
            place = ROW * m + 4 * n
            _put_float(to, place, float32(_rounded(_input(_float(to, place)) + _rounded(even + odd))))


def albert_np_tdpbusd(c, a, b):
    _check_shapes(c, a, b)
    to, from_a, from_b = _state() + TILE * c, _state() + TILE * a, _state() + TILE * b
    for m in range(_rows(c)):
        for n in range(_bytes(c) // 4):
            place = ROW * m + 4 * n
            total = _word(to, place)
            for k in range(_bytes(a)):
                total += _byte(from_a, ROW * m + k) * _signed(from_b, ROW * (k // 4) + 4 * n + k % 4)
            _put_word(to, place, total)


ENTRIES = (
    albert_np_ldtilecfg,
    albert_np_tilerelease,
    albert_np_tilezero,
    albert_np_tileloadd64,
    albert_np_tilestored64,
    albert_np_tdpbf16ps,
    albert_np_tdpbusd,
)
