"""The functions that are applied to every number: the softmax's exp, and the activations that a config may name.

The naive versions, kept for teaching, one number at a time:

    def gelu_new(x):
        return 0.5 * x * (1 + math.tanh(0.7978845608 * (x + 0.044715 * x**3)))

    def gelu(x):
        return 0.5 * x * (1 + math.erf(x / math.sqrt(2)))

The ladder, gelu_new and exp in nanoseconds a number (first cache, one core of a Zen 3):

    the above in Python                                      198      48
    compiled, through the C library's tanhf and expf          13.6     2.7
    NumPy in float32                                           7.1     1.6
    sixteen at a time, one polynomial, one division            0.52    0.33
    … and the argument's rounding error given back             0.56

- 1 + tanh u = 2σ(2u), and every function here is made of one power, 2^w. Its whole part n becomes the exponent of a float32
  by one shift of the bits that rounding left behind, and no integer is ever converted; the rest is a polynomial.
- The gates work in base 2 from the start. Then w is a product a·b and its rest is a·b − n: one FMA, to which the product is
  known to its last bit. exp stays in base e, where no more than n·ln 2 is taken off, so that it needs no FMA to be right.
- x·σ(x) is computed as max(x, 0) − |x|·σ(−|x|). For x > 0 the second term is small and so are its errors: 0.45 u in root
  mean square over a normal distribution, 0.69 u for x/(1 + e⁻ˣ), 0.64 u for the naive formula in float32 (u = 2⁻²⁴). For
  x < 0 nothing cancels, and the left tail, which 1 + tanh u loses, keeps its digits.
- What rounds b = c₁ + c₃x² is found by one FMA and added behind the product. At x = −3 the error falls from 6.4 to 2.9 ulp.

Tried, and left: Estrin's scheme for the polynomials (as fast, and less exact); an exp for x ≤ 0 alone (a sixth faster, 0.2 %
of a layer at 512 tokens); giving back what rounds x² as well (15 % slower, helps below −2 only); results of the gates that
are subnormal (a fifth slower, and three times where they occur): where 2^w overflows, they are zeros.

How exact each function is stands with it, in ulp, as measured on every float32: with FMA; and where the CPU has none and
rounds twice. A number's result has the same bits in every lane and whatever stands beside it.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from albert_np.kernels.cpu.layout import ROWS_A_TILE
from albert_np.kernels.cpu.names import FUNCTION_CODES
from albert_np.kernels.cpu.simd import LANES
from albert_np.kernels.cpu.vector import (
    VI,
    V,
    absolute,
    at,
    copysign,
    f32x16,
    fma,
    helper,
    load_some,
    select,
    splat,
    store_some,
)

ROUND = 12582912.0  # 1.5·2²³: a sum with it has no room for a fraction, and its last bits are a whole number
EXPONENT_0 = 127.0  # float32's biased exponent of 2⁰

LOG2_E, LOG2_E_LOW = 1.442695, 1.925963e-08  # log₂ e, in two float32 numbers
LN2_HIGH, LN2_LOW = 0.693145751953125, 1.42860677e-06  # ln 2; the high part has 15 bits, so n·LN2_HIGH is exact
SQRT_2 = 1.4142135
LINEAR, CUBIC = 2.3022082, 0.10294324  # gelu_new's exponent in base 2: 2√(2/π)·log₂ e, and 0.044715 times that

# Polynomials, the highest power first: minimax by Remez' exchange, then a search among the float32 numbers nearby. The error
# named is that of the polynomial alone; a test measures it anew.
EXP = (0.0013838934, 0.008369193, 0.041668102, 0.16666517, 0.49999994, 1.0, 1.0)  # eʳ, |r| ≤ ½ ln 2: relative 2⁻²⁸·²
EXP2 = (0.00015354145, 0.001339263, 0.009618457, 0.055503566, 0.24022648, 0.6931472, 1.0)  # 2ʳ, |r| ≤ ½: 2⁻²⁸·¹
# tanh(x)/x − 1 in x², |x| ≤ 0.55: 2⁻²⁹·⁶
TANH = (-0.0062742396, 0.021071687, -0.053852074, 0.13332576, -0.33333316, 0.0)
# erf(x)/x − 1 in x², |x| ≤ 0.8: 2⁻²⁷·⁶
ERF = (-0.00065352366, 0.00508522, -0.0268208, 0.1128311, -0.37612602, 0.12837917)
# e^(y²/2)·Φ(−y) for 0 ≤ y ≤ 13, as a quotient: 2⁻²⁶·⁶. All coefficients are positive, so nothing cancels.
TAIL_OVER = (0.003994567, 0.039810415, 0.18078914, 0.43498352, 0.5)
TAIL_UNDER = (0.010012744, 0.09979756, 0.46301425, 1.1923276, 1.6678519, 1.0)


# --- pieces ---------------------------------------------------------------------------------------------------------------


@intrinsic
def _as_power(typing_context, z):
    """2^(b − 127), for the last eight bits b of z as an integer: 0 for b = 0 and ∞ for b = 255."""

    def codegen(context, builder, sig, args):
        bits = builder.bitcast(args[0], VI)
        return builder.bitcast(builder.shl(bits, ir.Constant(VI, [23] * LANES)), V)

    return f32x16(f32x16), codegen


@intrinsic
def _as_two_powers(typing_context, z):
    """As _as_power for nine bits: 2^(b − 254) as a product, because float32 has no 2⁻¹⁵⁰ and no 2¹²⁸. 0 for b = 0."""

    def codegen(context, builder, sig, args):
        bits = builder.bitcast(args[0], VI)
        half = builder.lshr(bits, ir.Constant(VI, [1] * LANES))
        other = builder.sub(bits, half)
        powers = [builder.bitcast(builder.shl(part, ir.Constant(VI, [23] * LANES)), V) for part in (half, other)]
        return context.make_tuple(builder, sig.return_type, powers)

    return types.UniTuple(f32x16, 2)(f32x16), codegen


@helper
def _polynomial(x, coefficients):
    value = splat(coefficients[0])
    for c in coefficients[1:]:
        value = fma(value, x, c)
    return value


@helper
def size_of(x, most):
    """|x|, but no more than that. NaN stays: it compares false."""
    x = absolute(x)
    return select(x > most, most, x)


@helper
def _step(x):
    """1 for x > 0, else 0. A product with it is max(x, 0), but NaN for NaN and for −∞, as x·σ(x) is in the reference."""
    return select(x > 0.0, 1.0, 0.0)


@helper
def _power(a, b, b_low):
    """p and s, of which p·s is 2^(a·(b + b_low)). s is 0 where n is −127 and ∞ where it is 128: no callers go further."""
    z = fma(a, b, ROUND + EXPONENT_0)
    n = z - (ROUND + EXPONENT_0)
    r = fma(a, b_low, fma(a, b, -n))  # the product is not rounded before n has been taken off
    return _polynomial(r, EXP2), _as_power(z)


@helper
def over_one_plus_power(x, a, b, b_low):
    """x / (1 + 2^(a·(b + b_low))): with log₂ e for b, x·sigmoid(−a). 0 from 2^127.5 on."""
    p, power = _power(a, b, b_low)
    return x / fma(p, power, 1.0)


@helper
def normal_tail(y, factor):
    """g and s, of which g·s is factor·Φ(−y), for 0 ≤ y ≤ 13.27: Φ is the normal distribution, Φ(−y) = ½ erfc(y/√2)."""
    square = y * (-0.5 * LOG2_E)
    square_low = fma(y, -0.5 * LOG2_E_LOW, fma(y, -0.5 * LOG2_E, -square))
    p, power = _power(y, square, square_low)  # e^(−y²/2)
    return p * factor * _polynomial(y, TAIL_OVER) / _polynomial(y, TAIL_UNDER), power


# --- the functions --------------------------------------------------------------------------------------------------------


@helper
def exp(x):
    """eˣ, down through the subnormals and up to ∞: 0.9 ulp; 1.2. Not quite monotone: 2922 values lie one ulp above the next."""
    x = select(x > 89.0, 89.0, x)
    x = select(x < -176.0, -176.0, x)  # where the powers are exact zeros: rounding to 0 is three times as slow
    z = fma(x, LOG2_E, ROUND + 2 * EXPONENT_0)
    n = z - (ROUND + 2 * EXPONENT_0)
    r = fma(n, -LN2_LOW, fma(n, -LN2_HIGH, x))
    power, other_power = _as_two_powers(z)
    return _polynomial(r, EXP) * power * other_power  # only the last product can round


@helper
def sigmoid(x):
    """1/(1 + e⁻ˣ): 2.5 ulp; 2 from −1 on, growing to 46. 0 below −88.376."""
    return absolute(_step(x) - over_one_plus_power(splat(1.0), size_of(x, 88.7), LOG2_E, LOG2_E_LOW))


@helper
def silu(x):
    """x·sigmoid(x): 2.4 ulp; 2 from −1 on, growing to 46. 0 below −88.376, −∞ gives NaN."""
    size = size_of(x, 88.7)
    return fma(x, _step(x), -over_one_plus_power(size, size, LOG2_E, LOG2_E_LOW))


@helper
def gelu_new(x):
    """x·sigmoid(2u), u = √(2/π)·(x + 0.044715 x³): in ulp, from that x on. 0 below −10.046, −∞ gives NaN.

    x ≥            −1      −2      −3      −4      −5.5    −10.046
    with FMA       2.01    2.25    3.2     4.3     10.5    53
    without        2.01    4.8     8.8     11.6    28      142
    """
    size = size_of(x, 10.07)
    square = size * size
    b = fma(square, CUBIC, LINEAR)
    b_low = fma(square, CUBIC, LINEAR - b)  # what b lost when it was rounded
    return fma(x, _step(x), -over_one_plus_power(size, size, b, b_low))


@helper
def gelu(x):
    """x·Φ(x) = max(x, 0) − |x|·Φ(−|x|): in ulp, from that x on. 0 below −13.243, −∞ gives NaN.

    x ≥            0.5     −1      −2      −3      −5.5    −13.243
    with FMA       2       4.6     4.8     5.5     6.2     6.5
    without        2.3     4.6     7.7     11.5    22      116
    """
    size = size_of(x, 13.27)
    tail, power = normal_tail(size, size)
    return fma(-tail, power, x * _step(x))


@helper
def erf(x):
    """2·Φ(√2·x) − 1, and a polynomial around 0: 2 ulp; 2.3."""
    near = fma(_polynomial(x * x, ERF), x, x)
    tail, power = normal_tail(size_of(x * SQRT_2, 13.27), 2.0)
    return select(absolute(x) < 0.8, near, copysign(fma(-tail, power, 1.0), x))


@helper
def tanh(x):
    """1 − 2/(1 + e²ˣ), and a polynomial around 0: 1.65 ulp; 1.75. Monotone."""
    near = fma(_polynomial(x * x, TANH), x, x)
    far = 1.0 - over_one_plus_power(splat(2.0), size_of(x, 10.0), 2 * LOG2_E, 2 * LOG2_E_LOW)
    return select(absolute(x) < 0.55, near, copysign(far, x))


@helper
def relu(x):
    """max(x, 0), and NaN stays NaN. Exact."""
    return select(x < 0.0, 0.0, x)


# --- by number ------------------------------------------------------------------------------------------------------------

GELU_NEW_CODE, GELU_CODE, RELU_CODE, SILU_CODE = (FUNCTION_CODES[name] for name in ("gelu_new", "gelu", "relu", "silu"))
TANH_CODE, SIGMOID_CODE, ERF_CODE, EXP_CODE = (FUNCTION_CODES[name] for name in ("tanh", "sigmoid", "erf", "exp"))


@helper
def apply(which, x):
    """The function of that code in names.py. Any other code leaves x as it is."""
    if which == GELU_NEW_CODE:
        return gelu_new(x)
    if which == GELU_CODE:
        return gelu(x)
    if which == RELU_CODE:
        return relu(x)
    if which == SILU_CODE:
        return silu(x)
    if which == TANH_CODE:
        return tanh(x)
    if which == SIGMOID_CODE:
        return sigmoid(x)
    if which == ERF_CODE:
        return erf(x)
    if which == EXP_CODE:
        return exp(x)
    return x


@helper
def _activate_row(x, out, columns, which):  # (C,) -> (C,)
    for j in range(0, columns, LANES):
        store_some(out, j, columns - j, apply(which, load_some(x, j, columns - j, 0.0)))


def activate(x, x_row, out, out_row, rows, columns, which, tile, worker):  # (R,C) -> (R,C)
    """out[r, j] = f(x[r, j]), with apply's f. x and out may be the same. One tile is ROWS_A_TILE rows."""
    for r in range(tile * ROWS_A_TILE, min(rows, (tile + 1) * ROWS_A_TILE)):
        _activate_row(at(x, r * x_row), at(out, r * out_row), columns, which)


KERNELS = (activate,)
