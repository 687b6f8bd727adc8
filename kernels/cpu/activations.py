"""draft"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from albert_np.kernels.cpu.names import FUNCTION_CODES
from albert_np.kernels.cpu.simd import LANES
from albert_np.kernels.cpu.vector import (
    VI,
    V,
    absolute,
    copysign,
    f32x16,
    fma,
    helper,
    load,
    load_some,
    select,
    splat,
    store,
    store_some,
)

ROUND = 12582912.0  # 1.5·2²³
LOG2_E = 1.442695
LOG2_E_LOW = 1.925963e-08
LN2_HIGH = 0.693145751953125
LN2_LOW = 1.42860677e-06


@intrinsic
def exponent_bits(typing_context, z):
    def codegen(context, builder, sig, args):
        bits = builder.bitcast(args[0], VI)
        return builder.bitcast(builder.shl(bits, ir.Constant(VI, [23] * LANES)), V)

    return f32x16(f32x16), codegen


@intrinsic
def halved_exponent_bits(typing_context, z):
    def codegen(context, builder, sig, args):
        bits = builder.bitcast(args[0], VI)
        low = builder.lshr(bits, ir.Constant(VI, [1] * LANES))
        both = (low, builder.sub(bits, low))
        powers = [builder.bitcast(builder.shl(half, ir.Constant(VI, [23] * LANES)), V) for half in both]
        return context.make_tuple(builder, sig.return_type, powers)

    return types.UniTuple(f32x16, 2)(f32x16), codegen


@helper
def _exp_remainder(r):
    q = fma(splat(0.0013838934), r, 0.008369193)
    q = fma(q, r, 0.041668102)
    q = fma(q, r, 0.16666517)
    return fma(q, r, 0.49999994)


@helper
def _two_to_the(r):
    p = fma(splat(0.00015354145), r, 0.001339263)
    p = fma(p, r, 0.009618457)
    p = fma(p, r, 0.055503566)
    p = fma(p, r, 0.24022648)
    p = fma(p, r, 0.6931472)
    return fma(p, r, 1.0)


@helper
def exp(x):
    x = select(x > 89.0, 89.0, x)
    x = select(x < -176.0, -176.0, x)
    z = fma(x, LOG2_E, ROUND + 254.0)
    n = z - (ROUND + 254.0)
    r = fma(n, -LN2_LOW, fma(n, -LN2_HIGH, x))
    p = fma(fma(_exp_remainder(r), r, 1.0), r, 1.0)
    half, other_half = halved_exponent_bits(z)
    return p * half * other_half


@helper
def _gate(numerator, a, v, e):
    z = fma(a, v, ROUND + 127.0)
    n = z - (ROUND + 127.0)
    r = fma(a, e, fma(a, v, -n))
    return numerator / fma(_two_to_the(r), exponent_bits(z), 1.0)


@helper
def sigmoid(x):
    return _gate(splat(1.0), _between(x, -88.7, 80.0), -LOG2_E, -LOG2_E_LOW)


@helper
def silu(x):
    return _gate(x, _between(x, -88.7, 80.0), -LOG2_E, -LOG2_E_LOW)


@helper
def gelu_new(x):
    a = _between(x, -10.07, 9.0)
    square = a * a
    rest = fma(a, a, -square)
    v = fma(square, -0.10294324, -2.3022082)
    e = fma(rest, -0.10294324, fma(square, -0.10294324, -2.3022082 - v))
    return _gate(x, a, v, e)


@helper
def _between(x, low, high):
    x = select(x > high, high, x)
    return select(x < low, low, x)


@helper
def _normal_tail(y, factor):
    y = select(y > 13.27, 13.27, y)
    v = y * -0.7213475
    e = fma(y, -9.629815e-09, fma(y, -0.7213475, -v))
    z = fma(y, v, ROUND + 127.0)
    n = z - (ROUND + 127.0)
    r = fma(y, e, fma(y, v, -n))
    p = fma(splat(0.003994567), y, 0.039810415)
    p = fma(p, y, 0.18078914)
    p = fma(p, y, 0.43498352)
    p = fma(p, y, 0.5)
    q = fma(splat(0.010012744), y, 0.09979756)
    q = fma(q, y, 0.46301425)
    q = fma(q, y, 1.1923276)
    q = fma(q, y, 1.6678519)
    q = fma(q, y, 1.0)
    return _two_to_the(r) * p * factor / q, exponent_bits(z)


@helper
def gelu(x):
    y = absolute(x)
    y = select(y > 13.27, 13.27, y)
    tail, power = _normal_tail(y, y)
    return fma(-tail, power, x * select(x > 0.0, 1.0, 0.0))


@helper
def erf(x):
    tail, power = _normal_tail(absolute(x) * 1.41421356, 2.0)
    far = copysign(fma(-tail, power, 1.0), x)
    s = x * x
    p = fma(splat(-0.00065352366), s, 0.00508522)
    p = fma(p, s, -0.0268208)
    p = fma(p, s, 0.1128311)
    p = fma(p, s, -0.37612602)
    p = fma(p, s, 0.12837917)
    return select(absolute(x) < 0.8, fma(p, x, x), far)


@helper
def tanh(x):
    a = absolute(x)
    a = select(a > 10.0, 10.0, a)
    a = a + a
    z = fma(a, LOG2_E, ROUND + 127.0)
    n = z - (ROUND + 127.0)
    r = fma(n, -LN2_LOW, fma(n, -LN2_HIGH, a))
    power = exponent_bits(z)
    e = fma(fma(_exp_remainder(r), r * r, r), power, power - 1.0)
    return copysign(e / (e + 2.0), x)


@helper
def relu(x):
    return select(x < 0.0, 0.0, x)


GELU_NEW, GELU, RELU, SILU = (FUNCTION_CODES[name] for name in ("gelu_new", "gelu", "relu", "silu"))
TANH, SIGMOID, ERF, EXP = (FUNCTION_CODES[name] for name in ("tanh", "sigmoid", "erf", "exp"))


@helper
def apply(which, x):
    if which == GELU_NEW:
        return gelu_new(x)
    if which == GELU:
        return gelu(x)
    if which == RELU:
        return relu(x)
    if which == SILU:
        return silu(x)
    if which == TANH:
        return tanh(x)
    if which == SIGMOID:
        return sigmoid(x)
    if which == ERF:
        return erf(x)
    if which == EXP:
        return exp(x)
    return x


def activate(x, x_row, out, out_row, rows, columns, which, tile, worker):
    x, out = x + 4 * x_row * tile, out + 4 * out_row * tile
    whole = columns // LANES * LANES
    for j in range(0, whole, LANES):
        store(out, j, apply(which, load(x, j)))
    if whole < columns:
        some = columns - whole
        store_some(out, whole, some, apply(which, load_some(x, whole, some, 0.0)))


KERNELS = (activate,)
