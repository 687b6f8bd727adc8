"""The functions a config may name, applied to each number: a kernel of their own, and the epilogue of the matmul.

Each has one name here, that of the function in albert_np/activations.py; which other names a config may use stands there.

The naive version, naive_gelu_new below: one thread a number, and the formula of the reference, x·½(1 + tanh u), whose
1 + tanh u is all rounding error for x < −5.

The ladder: four numbers a thread, loaded and stored at once; x·sigmoid(2u) = x / (1 + e^(−2u)), one exponential and one
division, whose left tail keeps its digits. Inside the matmul's epilogue the numbers never leave their registers, and a layer
moves 2·R·I numbers less.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from albert_np.kernels.cuda.intrinsics import erfc, exp, load4_constant, product, store4, tanh
from albert_np.kernels.cuda.kernel import Kernel
from albert_np.kernels.cuda.target import cuda, device, f32, u32
from albert_np.kernels.cuda.tensor_intrinsics import exp2, reciprocal

SQRT_2_OVER_PI = 0.7978845608028654
CUBE = 0.044715
SQRT_HALF = 0.7071067811865476
LOG2_E = 1.4426950408889634


def _naive_gelu_new(x, out, n):  # (n,) -> (n,); a thread a number
    i = cuda.grid(1)
    if i < n:
        u = f32(SQRT_2_OVER_PI) * (x[i] + f32(CUBE) * x[i] * x[i] * x[i])
        out[i] = f32(0.5) * x[i] * (f32(1) + tanh(u))


naive_gelu_new = Kernel(_naive_gelu_new, "FFi", 256)


@device
def _none(x):
    return x


@device
def _gelu_new(x):
    """x·sigmoid(2u), u = √(2/π)(x + 0.044715 x³)"""
    return x / (f32(1) + exp(x * (f32(-2 * SQRT_2_OVER_PI) + f32(-2 * SQRT_2_OVER_PI * CUBE) * x * x)))


@device
def _gelu(x):
    """x·½ erfc(−x/√2). Rounded here, so that a residual added behind gives the same bits in every kernel."""
    return product(x, f32(0.5) * erfc(x * f32(-SQRT_HALF)))


@device
def _relu(x):
    """NaN stays NaN."""
    return f32(0) if x < f32(0) else x


@device
def _silu(x):
    return x / (f32(1) + exp(-x))


@device
def _tanh(x):
    return tanh(x)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "none": _none,
    "gelu_new": _gelu_new,
    "gelu": _gelu,
    "relu": _relu,
    "silu": _silu,
    "tanh": _tanh,
}


@device
def _quick_gelu_new(x):
    """x·sigmoid(2u) within some units in the last place, of which tensor cores leave none to be lost: two instructions for eˣ
    and 1/x, where the exact ones are forty, and a matmul spends a third of its time on them."""
    power = x * (f32(-2 * SQRT_2_OVER_PI * LOG2_E) + f32(-2 * SQRT_2_OVER_PI * CUBE * LOG2_E) * x * x)
    return x * reciprocal(f32(1) + exp2(power))


QUICK = FUNCTIONS | {"gelu_new": _quick_gelu_new}  # of products in bfloat16 and tf32
THREADS = 256


@lru_cache
def activate(name: str) -> Kernel:
    f = FUNCTIONS[name]

    def activate(x, out, n):  # (n,) -> (n,); four numbers a thread
        i = (u32(cuda.blockIdx.x) * u32(THREADS) + u32(cuda.threadIdx.x)) * u32(4)
        if i + u32(4) <= n:
            a, b, c, d = load4_constant(x, i)
            store4(out, i, f(a), f(b), f(c), f(d))
        else:
            while i < n:
                out[i] = f(x[i])
                i = u32(i + u32(1))

    return Kernel(activate, "FFu", THREADS)
