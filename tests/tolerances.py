"""Every tolerance that only tests use, each with its reason. What others can use is in albert_np/golden/tolerances.py.

A number here is derived, or a contract, or measured and then rounded up; raising one takes the evidence in the same line.
"""

from __future__ import annotations

import collections
import math
from typing import Any

import numpy as np

from albert_np.golden.tolerances import UNIT

# The project's contract: max|a − b| / max|b| of every output array in float64 against transformers in float64. Both round
# about 10⁴ times between input and output (u = 1.1e-16), and trained weights amplify that by 10² at most.
PARITY_FLOAT64 = 1e-10

# The project's contract for gradients in float64 against autograd: max|Δg| over the largest entry of that parameter's
# gradient, or over a millionth of the largest of all, below which there is nothing but what rounding leaves (both add some
# 10⁵ products of sizes near that largest one: √10⁵ · 1.1e-16 is 4e-14 of it).
GRADIENT_FLOAT64, GRADIENT_FLOOR = 1e-9, 1e-6
# The contract is not met in 14 of 1,200 random models, 13 of them for question answering: where all states of a model are the
# same, so are all places that an answer may be at, and a gradient is what is left of terms a million times larger. There
# autograd itself is further than that from the same sums with 64 bits of fraction. Neither side may then be nearer to them. In
# one model that is a matter of luck (the geometric mean over all parameters of our error by autograd's has a deviation of
# e^0.55 when nothing but the roundings change, and 0.36 to 2.4 were seen), so it is the mean over as many models whose weights
# differ by so little: over all parameters ours may not be above autograd's by three times its own standard error (0.87 to 1.08
# were seen), and each parameter's stays within this factor, either way (0.64 to 1.36 were seen).
NEIGHBOURS, NEARNESS, ONE_GRADIENT = 64, 1e-4, 2
# The share of random models for which that may be so: of 200, 13 and 1 were counted, and none for other heads; two more for the
# first, since with another order of sums they are others.
ROUNDED = collections.defaultdict(float, AlbertForQuestionAnswering=0.075, AlbertForMultipleChoice=0.005)

# A gradient in float64 against central differences with steps of 2⁻¹⁷ (7.6e-6): cut off at step²·f‴/6, of the order of
# 1e-11·f‴, and rounded by u·|f|/step, 1e-11·|f|; third derivatives and sums of the tests' functions reach some hundreds.
CENTRAL_DIFFERENCE = 1e-8

# The same float64 numbers, added or multiplied in another order: sums of up to a few thousand terms of one size, off by
# γₙ with n = 4096, which is 4.5e-13 (math.fsum against a dot product, one sequence against a padded batch).
REORDERED_FLOAT64 = 1e-12

# Two ways to the same float32 numbers, in a tiny model of four layers, where BLAS adds in another order for another batch:
# measured 1.2e-6 at most on all tests that use it, rounded up. A position, key or bias confused shows from 1e-3 on.
SAME_MODEL_FLOAT32 = 1e-5

# The same float32 numbers, added or multiplied in another order: sums of some twenty terms, and functions of a few roundings
# each; γ₆₄ is 3.8e-6.
REORDERED_FLOAT32 = 4e-6

# The project's contract: the gradients of a layer's applications, on the CPU kernels, add up to the whole one within this
# of its largest entry.
SHARES_FLOAT32 = 1e-5

# A gradient of the CPU kernels in float32 against float64 truth, of its largest entry, in a tiny model of four layers: sums
# of a few hundred products (γ₂₅₆ is 1.5e-5).
GRADIENT_FLOAT32 = 2e-5

# The gradients of a tiny model of four layers in bfloat16 against float64 truth, all as one vector, |Δg|/|g|. Each of a layer's
# four products, forward and back, rounds two operands by 2⁻⁹ at most: √(4·4·2·2)·2⁻⁹ if errors are independent. Measured 0.005.
GRADIENT_BFLOAT16 = 2.0**-6

# Losses of 60 steps of AdamW in bfloat16 against float32, of the fall of the loss: each gradient is off by 2⁻⁸ or so, and
# another way down is taken. A step that goes astray, or a gradient that is missing, shows as a tenth and more.
TRAINED_BFLOAT16 = 0.03

SAME_MODEL = {"float64": PARITY_FLOAT64, "float32": SAME_MODEL_FLOAT32}
REORDERED = {"float64": REORDERED_FLOAT64, "float32": REORDERED_FLOAT32}

# A number rounded to a code of int8, in units of its row's scale: half a code; where low/scale and high/scale are both
# rounded up, the largest code is one short of them, which is another half; and 1/scale, the product with it and the scale round
# once each, by 2⁻²⁴ of at most 65,535 codes.
INT8_CODE = 1 + 3 * 65535 * 2.0**-24
# What follows the exact sums rounds five times in float32, and the row's scale three times more: 8 units at most.
INT8_PRODUCT = 8 * UNIT[np.dtype(np.float32)]

# The deviation of 24,000 drawn values (2,000 pieces by 12): its standard error is 1/√(2n) = 0.46 %, four of which are this.
SAMPLE_DEVIATION = 0.02

# (x − mean)/√(variance + ε) with ε = 1e-12 in place of 0: 1/√(1 + 1e-12) is 5e-13 short of 1, so twice that.
LAYER_NORM_EPS = 1e-12


def ulps(actual: Any, exact: Any) -> Any:
    """|a − exact| in units of the last place of each exact value, subnormals included; exact is an array of mpmath.mpf.

    For functions with tails, where max|b| would hide an error in every small value.
    """
    actual = np.asarray(actual)
    assert actual.shape == np.shape(exact), f"shape {actual.shape}, expected {np.shape(exact)}"
    assert actual.size > 0, "nothing to compare"
    assert np.all(np.isfinite(actual)), f"not finite: {actual[~np.isfinite(actual)][:3]}"
    unit = np.spacing(np.abs(exact).astype(actual.dtype))
    return np.array([float(abs(a - b) / u) for a, b, u in zip(*_flat(actual, exact, unit), strict=True)])


def assert_ulps(name: str, actual: Any, exact: Any, *, limit: Any, dtype: Any) -> None:
    """Fails unless every element of `actual`, of that dtype, lies within `limit` (one, or one each) ulp of exact."""
    assert np.asarray(actual).dtype == np.dtype(dtype), f"{name}: dtype {np.asarray(actual).dtype}, expected {dtype}"
    errors = ulps(actual, exact)
    limits = np.broadcast_to(limit, np.shape(actual)).ravel()
    worst = int(np.argmax(errors / limits))
    got, expected = np.ravel(actual)[worst], np.ravel(exact)[worst]
    assert errors[worst] <= limits[worst], (
        f"{name}: {errors[worst]:.3g} ulp at {worst}, more than {limits[worst]:.3g}: got {got!r}, expected {expected!r}"
    )


def _flat(actual: Any, exact: Any, unit: Any) -> tuple[list, list, list]:
    """Three flat lists of Python numbers: mpmath takes no NumPy scalar."""
    return np.ravel(actual).astype(object).tolist(), np.ravel(exact).tolist(), np.ravel(unit).astype(object).tolist()


# --- elementwise functions, in units in the last place (one ulp is between u and 2u, so k roundings make at most k ulp) ---

LIBM = 4  # ulp of exp, log, tanh, erfc, so 8u: NumPy's policy for vectorised loops (glibc is at 1, Intel's SVML at 4)


def sigmoid_ulps(x: Any) -> Any:
    """exp, of which e/(1 + e) shows no more than the relative error; then the sum and the division."""
    return np.full(np.shape(x), 2 * LIBM + 2.0)


def silu_ulps(x: Any) -> Any:
    """One product more; where the sigmoid is subnormal, x multiplies an error that is absolute."""
    return sigmoid_ulps(x) + 1 + np.abs(np.asarray(x, np.float64))


def gelu_new_ulps(x: Any) -> Any:
    """As silu, and exp turns the 7 roundings behind its argument 2u into 7·|2u| of its own."""
    z = np.asarray(x, np.float64)
    return silu_ulps(x) + 7 * np.abs(1.6 * (z + 0.044715 * z**3))


def gelu_ulps(x: Any) -> Any:
    """erfc(y) makes of a relative error of y up to 2y² + 1 of its own; y = −x·√½ has 2 roundings. Then one product.

    In float32 and float16 all that happens in float64, and half an ulp is the rounding at the end.
    """
    z = np.asarray(x)
    return 2 * LIBM + 1 + 2 * (z * z + 1) if z.dtype == np.float64 else np.full(z.shape, 0.501)


# --- the CPU kernels' exp and activations (kernels/cpu/activations.py), in ulp of float32 --------------------------------

# name -> steps: from this x upwards, at most so many ulp with FMA, and without. The largest errors among all 2³² arguments,
# measured on x86 by the slow test and rounded up by 1 to 5 % (without FMA, exp, tanh, erf and sigmoid from 2⁻¹⁶ to 2⁸ only).
# To the left they grow with the exponent, whose rounding the power turns into a relative error of the result.
KERNEL_ULPS = {
    "exp": ((-math.inf, 0.9, 1.2),),
    "tanh": ((-math.inf, 1.65, 1.75),),
    "erf": ((-math.inf, 2.0, 2.3),),
    "relu": ((-math.inf, 0, 0),),
    "sigmoid": (
        (-1, 2.0, 2.0),
        (-3, 2.3, 3.8),
        (-5, 2.3, 4.7),
        (-10, 2.3, 7.3),
        (-20, 2.5, 13.5),
        (-math.inf, 2.5, 46),
    ),
    "silu": ((-1, 2.0, 2.0), (-3, 2.2, 3.2), (-5, 2.2, 4.2), (-10, 2.2, 7.1), (-20, 2.4, 13.5), (-math.inf, 2.4, 46)),
    "gelu_new": (
        (-1, 2.01, 2.01),
        (-2, 2.25, 4.8),
        (-3, 3.2, 8.8),
        (-4, 4.3, 11.6),
        (-5.5, 10.5, 28),
        (-math.inf, 53, 142),
    ),
    "gelu": ((0.5, 2.0, 2.3), (-1, 4.6, 4.6), (-2, 4.8, 7.7), (-3, 5.5, 11.5), (-5.5, 6.2, 22), (-math.inf, 6.5, 116)),
}

# Below this the gates give 0: their 2^w is ∞ from 2^127.5 on, and gelu's is 0 from 2^−126.5 down. Times |x| there, rounded up.
KERNEL_ZERO = {"sigmoid": 4.2e-39, "silu": 3.7e-37, "gelu_new": 4.2e-38, "gelu": 3.4e-39}

# The relative error of each polynomial in float32 coefficients, without that of its evaluation; as stated beside it.
KERNEL_POLYNOMIALS = {"EXP": 2**-28.2, "EXP2": 2**-28.1, "TANH": 2**-29.6, "ERF": 2**-27.6, "TAIL": 2**-26.6}


def kernel_ulps(actual: Any, truth: Any) -> Any:
    """|a − b| in float32's units in the last place of each b, a float64 array. 0 for two NaN or the same ∞, ∞ for one."""
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = truth.astype(np.float32)
        errors = np.abs(actual - truth) / np.spacing(np.abs(rounded)).astype(np.float64)
    same = (actual == rounded) | (np.isnan(actual) & np.isnan(rounded))
    return np.where(np.isfinite(actual) & np.isfinite(rounded), errors, np.where(same, 0, np.inf))


def assert_kernel_ulps(name: str, actual: Any, truth: Any, *, x: Any, fma: bool) -> None:
    """Fails unless every f(x) is within KERNEL_ULPS of its truth, or is 0 where KERNEL_ZERO allows it."""
    assert actual.dtype == np.float32, f"{name}: dtype {actual.dtype}"
    assert truth.dtype == np.float64, f"{name}: the truth must be float64"
    assert actual.shape == truth.shape == x.shape, f"{name}: shapes {actual.shape}, {truth.shape} and {x.shape}"
    assert x.size > 0, f"{name}: nothing to compare"
    limits = np.full(x.shape, np.inf)  # of NaN, that is
    for low, with_fma, without in reversed(KERNEL_ULPS[name]):
        limits[x >= low] = with_fma if fma else without
    errors = kernel_ulps(actual, truth)
    errors[(actual == 0) & (np.abs(truth) < KERNEL_ZERO.get(name, 0))] = 0
    limits[np.isnan(x)] = 0
    wrong = np.flatnonzero(~(errors <= limits))
    if len(wrong):
        worst = wrong[np.argmax(errors[wrong] / np.maximum(limits[wrong], 1e-9))]
        raise AssertionError(
            f"{name}({x[worst]!r}): {errors[worst]:.4g} ulp, more than {limits[worst]}: got {actual[worst]!r}, "
            f"expected {truth[worst]!r}; {len(wrong)} of {x.size} are wrong"
        )


# --- training ------------------------------------------------------------------------------------------------------------

# 20 updates of an optimizer in float64 against torch, or against an oracle with another order of operations: some 15
# roundings an update of parameters and moments of size 1, 20 updates that carry them on, so γ₃₀₀ = 3.3e-14, times 30 for
# the square root of moments that are still small. Measured 3e-16 (AdamW), 1e-15 (element by element) and 2e-17 (LAMB).
UPDATES_FLOAT64 = 1e-12

# The same in float32: the roundings are 2²⁹ times as large (γ₃₀₀ = 1.8e-5), and do not all go one way. Measured
# 1.2e-7 against torch, and 2.4e-7 (LAMB) against float64; torch may contract a product and a sum.
UPDATES_FLOAT32 = 2e-6

# Five rounds of Newton-Schulz in float64: a round multiplies what the one before lost by 3.44 at most (the polynomial's slope
# at 0), 485 in all, and adds about √n roundings itself: 485 · 16 · 1.1e-16 = 9e-13. Measured 2e-15.
NEWTON_SCHULZ = 1e-12

# Torch's Muon rounds every product to bfloat16 (2⁻⁹ = 0.002), thrice a round for five rounds: √15 · 0.002 = 0.008 if errors
# only added up, and those of small singular values grow. Of the length of a step, measured 0.016 in the worst of 40. Without
# the Nesterov term, or with a coefficient or the scale off by 5 %, it is above 0.045.
MUON_BFLOAT16 = 0.03

# A norm of n values, added in float64: γ₄₀₉₆ is 4.5e-13. Torch adds float32 values in float32,
# in blocks: γ₃₂ is 1.9e-6. Measured 2e-16 and 0.
NORM_FLOAT64 = 1e-12
NORM_FLOAT32 = 2e-6

# A metric from counts, or a correlation of up to 200 values, against scikit-learn's and SciPy's: another order of adding.
METRIC = 1e-12

# The losses of the first 20 steps in float64 against torch, with AdamW and with LAMB. The contract is 1e-6; measured 3e-16.
# The way there is as long as PARITY_FLOAT64's, 20 times, and the steps are short, so they carry little of it on.
TWENTY_LOSSES = 1e-10

# --- the kernels for the GPU (tests/cuda) --------------------------------------------------------------------------------

# gelu_new, gelu and silu between −8 and −1, relative to each value: the exponent, up to 55 in size at −8, is rounded four
# times on its way, and the exponential turns 4·55·u into a relative error; beside it its own error and that of a division.
LEFT_TAIL_FLOAT32 = 240 * UNIT[np.dtype(np.float32)]

# --- the kernels on tensor cores (tests/cuda/test_*_tensor.py) -----------------------------------------------------------

# Unit roundoffs of what tensor cores multiply: 8 and 11 bits of fraction.
OPERANDS = {"bfloat16": 2.0**-8, "tf32": 2.0**-11}
DEPTH = {"bfloat16": 16, "tf32": 8}  # products of one mma

# No slope of an activation is larger: gelu and gelu_new reach 1.129 at √2, silu 1.0999 at 2.4.
SLOPE = 1.13


def tensor_core_sum(kind: str, K: int) -> float:
    """A sum of K products of tensor cores is off by at most so much, times the sum of the products' sizes.

    One mma cuts off its addends, DEPTH products and the sum so far, one bit below the largest one's float32 (2u of it, half
    that each) and then the sum (2u of it).
    """
    return math.ceil(K / DEPTH[kind]) * (DEPTH[kind] + 1 + 2) * UNIT[np.dtype(np.float32)]


def tensor_matmul_limit(kind: str, K: int, size: float, added: float, truth: Any, *, rounded: bool) -> float:
    """For relative_error of f(A·B + bias) + residual, A and B as tensor cores see them. size: the largest of |A|·|B|.

    added: the largest bias and residual. In float32 there are the bias, f (an exponential and a few operations: 8u of what
    goes in) and the residual; at the end perhaps half a unit of bfloat16.
    """
    largest = float(np.max(np.abs(truth)))
    error = SLOPE * tensor_core_sum(kind, K) * size + 16 * UNIT[np.dtype(np.float32)] * (size + added)
    return error / largest + (OPERANDS["bfloat16"] if rounded else 0)


def tensor_attention_limit(scores: Any, mixed: Any, truth: Any) -> float:
    """For relative_error of attention of q, k and v that are bfloat16. scores: |q|·|k|ᵀ/√D, its largest; mixed: probs·|v|.

    Each probability is rounded to bfloat16, and so is what is written. What float32 leaves of a score, by 16 products of 128 at
    most and 4 roundings more, stands in the exponent, in numerator and denominator.
    """
    largest = np.max(np.abs(truth))
    exponent = (tensor_core_sum("bfloat16", 128) + 4 * UNIT[np.dtype(np.float32)]) * np.max(scores)
    return OPERANDS["bfloat16"] * (1 + np.max(mixed) / largest) + 2 * exponent * np.max(mixed) / largest


# --- products of bfloat16 on the CPU (tests/test_cpu_bfloat16.py) --------------------------------------------------------


def bfloat16_sum(K: int) -> float:
    """A sum of K products is off by at most so much, times the sum of their sizes: in the order of AMX a product goes through
    16 additions in its chain, one of even and odd, and one for each 32 k. (A flushed result is 2⁻¹²⁶, and not counted.)"""
    n = (17 + math.ceil(K / 32)) * UNIT[np.dtype(np.float32)]
    return n / (1 - n)


def bfloat16_product(K: int) -> float:
    """The same where the operands are float32 numbers, which are rounded to bfloat16 first."""
    each = (1 + OPERANDS["bfloat16"]) ** 2
    return each * (1 + bfloat16_sum(K)) - 1


# The results of TensorFlow, Flax, PyTorch and ONNX Runtime in float32 against ours, of the largest entry: the two sides differ
# by float32's rounding in some 50 steps one behind another. Measured: up to 3.1e-6 over 70 small models.
OTHER_FRAMEWORK_FLOAT32 = 2e-5

# Second moments that are summed in float32, 2,048 rows at a time, and then in float64, against sums in float64: γ₂₀₄₈ is
# 1.2e-4 if all roundings have one sign, and √2048 of them at random are 3e-6. Inputs are float32 themselves.
MOMENTS_FLOAT32 = 2e-5
