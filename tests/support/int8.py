"""Products of int8 on the kernels of this process, beside the same in NumPy. Also run by the children of test_cpu_int8.py."""

import copy
import functools
import hashlib

import numpy as np

from albert_np import AlbertModel, num_threads
from albert_np.backends import numpy as reference
from albert_np.backends.cpu.ops import CpuOps, activation_code
from albert_np.kernels.cpu import operands
from albert_np.kernels.cpu.arena import Buffers
from albert_np.kernels.cpu.int8 import emulation, steps
from albert_np.kernels.cpu.program import Program
from albert_np.quantization.weights import quantised
from albert_np.quantized import QuantizedWeight
from support import same_bits

ROWS = ("plain", "wide", "zeros", "same", "ones with a sign", "tiny", "subnormal", "huge", "one number")


def rows(rng, R, K):  # -> (R,K) float32
    """Rows of all kinds: small and large ranges, zeros, constants, subnormal numbers, and numbers whose range is infinite."""
    x = rng.standard_normal((R, K)).astype(np.float32)
    for row in x:
        kind = ROWS[rng.integers(len(ROWS))]
        if kind == "wide":
            row *= np.float32(10.0) ** rng.integers(-30, 30, K).astype(np.float32)
        elif kind == "zeros":
            row[:] = 0
        elif kind == "same":
            row[:] = row[0]
        elif kind == "ones with a sign":
            row[:] = np.where(row > 0, 1, -1)
        elif kind == "tiny":
            row *= np.float32(1e-33)
        elif kind == "subnormal":
            row *= np.float32(1e-42)
        elif kind == "huge":
            row[:] = np.tanh(row) * np.float32(3.4e38)
        elif kind == "one number":
            row[:] = 0
            row[rng.integers(K)] = rng.standard_normal()
    return x


def codes(rng, N, K):  # -> (N,K) int8
    found = rng.integers(-127, 128, (N, K)).astype(np.int8)
    found[rng.random(N) < 0.2] = rng.choice([-127, 0, 127])
    return found


def machine(x, codes, scale, passes, bias, activation="", residual=None):  # (R,K), (N,K), (N,), (N,) -> (R,N)
    """One product by the kernels. Buffers hold NaN, or codes of 255, where nothing was written."""
    (R, K), N = x.shape, len(codes)
    buffers, program, packed = Buffers(), Program("int8"), steps.pack8(codes, scale, passes)
    a = steps.quantised_rows(buffers, "a", R, K, passes)
    a.codes[:], a.scales[:], a.zeros[:] = 255, np.nan, 99
    out = buffers.rows("out", R, N)
    out[:] = np.nan
    if residual is not None:
        padded = buffers.rows("residual", R, N)
        padded[:, :N], residual = residual, padded
    source = buffers.rows("x", R, K)
    source[:], source[:, :K] = np.nan, x
    steps.add_quantise(program, source, R, K, a)
    code = activation_code(activation) if activation else 0
    steps.add_gemm8(
        program, buffers, a, packed, R, bias=operands.padded_vector(bias), out=out, activation=code, residual=residual
    )
    program.run()
    return out[:, :N].copy()


def emulated(x, codes, scale, passes, bias, activation="", residual=None):
    """The same in NumPy; the activation is that of the float32 kernels."""
    y = emulation.linear(x, codes, scale, passes, bias)
    if activation:
        y = CpuOps().activation(y, activation)
    return y if residual is None else y + residual


def same(found, expected):
    """The same bits, or NaN in both."""
    return bool(((found.view(np.int32) == expected.view(np.int32)) | (np.isnan(found) & np.isnan(expected))).all())


def many(seed=0, least=100_000):
    """The SHA-256 of at least so many numbers, of products of all sizes. Each is compared with NumPy's bits."""
    rng, done, digest = np.random.default_rng(seed), 0, hashlib.sha256()
    while done < least:
        R, K, N = (int(rng.integers(1, 71)) for _ in range(3))
        K *= int(rng.choice([1, 1, 7]))
        x, weight, passes = rows(rng, R, K), codes(rng, N, K), int(rng.integers(1, 3))
        if rng.random() < 0.2:
            x[rng.integers(R), rng.integers(K)] = rng.choice([np.nan, np.inf, -np.inf])
        scale = np.exp(rng.normal(-4, 3, N)).astype(np.float32)
        bias = rng.standard_normal(N).astype(np.float32)
        found = machine(x, weight, scale, passes, bias)
        assert same(found, emulated(x, weight, scale, passes, bias)), (R, K, N, passes)
        digest.update(np.where(np.isnan(found), np.float32(0), found).tobytes())
        done += found.size
    return digest.hexdigest()


def extremes():
    """The SHA-256 of products whose sums come next to what 32 bits hold, each compared with NumPy's bits."""
    digest = hashlib.sha256()
    for K in (64, 3072, 16384, 65536):
        x = np.stack([np.ones(K), -np.ones(K), np.where(np.arange(K) % 2, 3e38, -3e38), np.full(K, 3e38)])
        weight = np.stack([np.full(K, 127), np.full(K, -127), np.where(np.arange(K) % 2, 127, -127)]).astype(np.int8)
        scale, bias = np.full(3, 2.0**-30, np.float32), np.zeros(3, np.float32)
        for passes in (1, 2):
            found = machine(x.astype(np.float32), weight, scale, passes, bias)
            assert same(found, emulated(x.astype(np.float32), weight, scale, passes, bias)), (K, passes)
            digest.update(found.tobytes())
    return digest.hexdigest()


# --- whole models -----------------------------------------------------------------------------------------------------------


class Emulated(CpuOps):
    """The float32 kernels, and NumPy for products with weights in int8."""

    def linear(self, x, weight, bias):  # (..., in), (out, in), (out,) -> (..., out)
        if not isinstance(weight, QuantizedWeight):
            return super().linear(x, weight, bias)
        rows = emulation.linear(x.reshape(-1, x.shape[-1]), weight.codes, weight.scale, weight.passes, bias)
        return rows.reshape(*x.shape[:-1], -1)


@functools.cache
def model(name="heads of 16", more_passes=False):
    """A model of same_bits.CONFIGS in int8; with more_passes, qkv and dense have two as well."""
    exact = same_bits.model(name)
    tensors = quantised(exact._tensors, exact.config)
    if more_passes:
        tensors = {
            name: QuantizedWeight(x.codes, x.scale, 2) if isinstance(x, QuantizedWeight) else x
            for name, x in tensors.items()
        }
    return AlbertModel(exact.config, backend="numba", dtype="int8", tensors=tensors)


def emulated_model(of):
    """The same, computed step by step with Emulated."""
    twin = copy.copy(of)
    twin._engine = reference.make(twin._weights, twin.config, "float32")
    twin._engine.ops = Emulated()
    return twin


def one(threads=8, name="heads of 16"):
    """What same_bits.ROWS[0] is, computed in some batches. All the same, or this fails."""
    with num_threads(threads):
        found = {
            same_bits.answers(model(name), same_bits.ROWS[:1])[0],
            same_bits.answers(model(name), same_bits.ROWS, padding=3)[0],
            same_bits.answers(model(name), same_bits.ROWS[::-1], skip_padding=True)[-1],
        }
    (digest,) = found
    return digest
